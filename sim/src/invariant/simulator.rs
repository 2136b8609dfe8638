//! PROPERTIES 1.11: the simulation itself.

use super::{Finding, Judged, Part, Verdict, first};
use crate::plan::{Act, When};
use crate::relay;
use crate::time::SimTime;
use crate::trace::{Close, LagCause, Level, What};

/// D4. Calm is a plan without faults, quirks and bad neighbours in which every link suffices.
pub(super) fn calm(run: &Judged<'_>) -> Verdict {
    let connections = &run.ledger.connections;
    let is_good = |c: &&crate::ledger::Connection| match run.cast.part(c.who) {
        Some(Part::Publisher(publish)) => publish.quirks.is_empty(),
        Some(Part::Viewer(_)) => c.topic.is_none() || run.is_healthy(c),
        Some(Part::Bad(..) | Part::Target(_)) | None => false,
    };
    // Nor is it calm where more may come than are let in.
    let is_crowded = connections.len() > run.limits.connections;
    if !run.cast.is_calm || is_crowded || !connections.iter().all(|c| is_good(&c)) {
        return None;
    }
    // Whoever relays to a target that refuses, or is not there yet, says so.
    let odd = run.plan.lines.iter().filter(|line| match &line.act {
        Act::Target(target) => !target.quirks.is_empty() || line.when != When::At(SimTime::ZERO),
        _ => false,
    });
    let odd: Vec<_> =
        odd.map(|line| relay::label(&line.who.name, "")).map(|it| format!("target={it}")).collect();
    let is_of_odd = |text: &str| odd.iter().any(|label| text.contains(label));
    let lines = (0..).zip(&run.trace.events).filter_map(|(index, event)| match &event.what {
        What::Log { level, text } if *level >= Level::Warn && !is_of_odd(text) => {
            Some(Finding::new(index, event.who, "complaint on a calm day", format!("log: {text}")))
        }
        _ => None,
    });
    let ends = connections.iter().filter_map(|connection| {
        let (told, close) = connection.closed?;
        matches!(close, Close::Reset | Close::Refused | Close::TimedOut).then(|| {
            let saw = format!("closed: {close:?}");
            Finding::new(told.event, connection.who, "cut on a calm day", saw)
        })
    });
    let losses = connections.iter().filter_map(|connection| {
        let mut lags = connection.lags.iter();
        let lost = lags.find(|lost| lost.cause != LagCause::NoKeyframe)?;
        let saw = format!("lost {} tags: {:?}", lost.tags, lost.cause);
        Some(Finding::new(lost.event, connection.who, "loss on a calm day", saw))
    });
    let holes = run.ledger.viewers().filter_map(|(connection, topic)| {
        let started = |got: &crate::ledger::GotTag| got.tag.role.is_picture();
        let picture = connection.got.iter().position(started)?;
        let hole = connection.holes.iter().find(|h| h.got > picture && h.tags() > h.orphans)?;
        let got = &connection.got[hole.got];
        let saw = format!("{} tags of {} are missing before {}", hole.tags(), topic.key, got.tag);
        Some(Finding::new(got.event, connection.who, "loss on a calm day", saw))
    });
    first(lines.chain(ends).chain(losses).chain(holes).chain(super::relay::calm(run)))
}

/// D7.
pub(super) fn physics(run: &Judged<'_>) -> Verdict {
    (0..).zip(&run.trace.events).find_map(|(index, event)| match &event.what {
        What::Unphysical { why } => {
            Some(Finding::new(index, event.who, "impossible link", why.to_string()))
        }
        _ => None,
    })
}
