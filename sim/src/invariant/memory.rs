//! PROPERTIES 1.4, and what else gauges tell. A gauge belongs to an invariant by its name's
//! beginning; M1 takes those that no other knows.

use std::time::Duration;

use super::{Finding, Judged, Verdict, first};
use crate::trace::{Close, What};

/// Beginnings of names, and who judges them.
const OWNED: [&str; 7] = ["connection_", "ring_", "gop_", "pool_", "pinned_", "left_", "archive_"];

/// The first gauge of such a name that is over its bound.
pub(super) fn over_bound(run: &Judged<'_>, beginning: &str) -> Verdict {
    gauges(run, |name| name.starts_with(beginning))
}

fn gauges(run: &Judged<'_>, is_mine: impl Fn(&str) -> bool) -> Verdict {
    (0..).zip(&run.trace.events).find_map(|(index, event)| match &event.what {
        What::Gauge { name, value, bound } if value > bound && is_mine(name) => {
            let saw = format!("{name} is {value}, may be {bound}");
            Some(Finding::new(index, event.who, format!("{name} over its bound"), saw))
        }
        _ => None,
    })
}

/// G8.
pub(super) fn gop_cache(run: &Judged<'_>) -> Verdict {
    first(over_bound(run, "ring_").into_iter().chain(over_bound(run, "gop_")))
}

/// H18.
pub(super) fn churn(run: &Judged<'_>) -> Verdict {
    let forgotten = run.ledger.connections.iter().filter_map(|connection| {
        let (playing, _) = connection.playing.as_ref()?;
        let (closed, Close::Left) = connection.closed? else { return None };
        let by = closed.at + run.limits.linger + Duration::from_secs(5);
        let is_fair = by < run.end() && run.is_undisturbed(connection, playing.at, by);
        let is_open = connection.account.is_none_or(|(at, ..)| at > by);
        (is_fair && is_open).then(|| {
            let saw = format!("left at {}, and its node goes on serving it", closed.at);
            Finding::new(closed.event, connection.who, "left and not forgotten", saw)
        })
    });
    first(forgotten.chain(over_bound(run, "left_")))
}

/// M1.
pub(super) fn retained(run: &Judged<'_>) -> Verdict {
    gauges(run, |name| !OWNED.iter().any(|beginning| name.starts_with(beginning)))
}

/// M2.
pub(super) fn pool(run: &Judged<'_>) -> Verdict {
    over_bound(run, "pool_")
}

/// M3: a tag whose frame is right and whose bytes are not.
pub(super) fn reuse(run: &Judged<'_>) -> Verdict {
    first(run.ledger.viewers().filter_map(|(connection, topic)| {
        let mut foreign =
            connection.got.iter().filter(|got| got.matched == crate::ledger::Matched::Foreign);
        foreign.find_map(|got| {
            let published = topic.published_at(&got.tag)?;
            let saw = format!("got {}, published {published}", got.tag);
            Some(Finding::new(got.event, connection.who, "other bytes in a tag's place", saw))
        })
    }))
}

/// M5.
pub(super) fn pinned(run: &Judged<'_>) -> Verdict {
    over_bound(run, "pinned_")
}

/// M6.
pub(super) fn empty_pool(run: &Judged<'_>) -> Verdict {
    let empty = run.trace.events.iter().find(|e| e.what == What::Goal("pool_at_limit"))?.at;
    let patience = Duration::from_secs(5);
    first(
        run.ledger
            .connections
            .iter()
            .flat_map(|c| c.publications.iter().map(move |p| (c, p)))
            .filter_map(|(connection, publication)| {
                let sent = publication.sent.iter().find(|sent| sent.at >= empty)?;
                let by = sent.at + patience;
                let entered = run
                    .ledger
                    .topics
                    .iter()
                    .filter(|t| t.node == connection.node && t.key == publication.key)
                    .any(|t| t.entered_by(by) > t.tags.partition_point(|tag| tag.at < sent.at));
                let is_fair = by < run.end().min(connection.over_at())
                    && connection.errors.is_empty()
                    && run.is_undisturbed(connection, sent.at, by);
                (is_fair && !entered).then(|| {
                    let saw =
                        format!("sent {} at an empty pool, and nothing entered since", sent.tag);
                    Finding::new(sent.event, connection.who, "no progress with an empty pool", saw)
                })
            }),
    )
}
