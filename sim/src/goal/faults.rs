//! Goals about faults, stops and limits.

use std::collections::BTreeSet;
use std::time::Duration;

use crate::invariant::Judged;
use crate::plan::{Act, When};
use crate::tag::Role;
use crate::time::SimTime;
use crate::trace::{Close, What};

/// Families of faults that are active, after each event.
fn active<'r>(run: &'r Judged<'_>) -> impl Iterator<Item = (SimTime, BTreeSet<&'static str>)> {
    let mut lines: Vec<(&'static str, &'r str)> = Vec::new();
    run.trace.events.iter().map(move |event| {
        match &event.what {
            What::FaultBegins { family, line } => lines.push((family, line)),
            What::FaultEnds { family, line } => {
                let known = lines.iter().position(|known| *known == (*family, &**line));
                known.map(|known| lines.remove(known));
            }
            _ => {}
        }
        (event.at, lines.iter().map(|(family, _)| *family).collect())
    })
}

pub(super) fn three_at_once(run: &Judged<'_>) -> bool {
    active(run).any(|(_, families)| families.len() >= 3)
}

/// Every family of the run was active shortly before the quiet phase began.
pub(super) fn quiet_from_worst(run: &Judged<'_>) -> bool {
    let Some(quiet) = run.quiet() else { return false };
    let all: BTreeSet<_> = run
        .trace
        .events
        .iter()
        .filter_map(|event| match event.what {
            What::FaultBegins { family, .. } => Some(family),
            _ => None,
        })
        .collect();
    let recent = active(run).filter(|(at, _)| *at <= quiet && *at + MOMENT >= quiet);
    !all.is_empty() && recent.into_iter().any(|(_, families)| families == all)
}

/// The quiet phase begins by ending what was active.
const MOMENT: Duration = Duration::from_millis(100);

pub(super) fn on_keyframe(run: &Judged<'_>) -> bool {
    let keyframes: Vec<_> = run
        .ledger
        .topics
        .iter()
        .flat_map(|topic| &topic.tags)
        .filter(|tag| tag.tag.role == Role::Keyframe)
        .map(|tag| tag.at)
        .collect();
    let near = Duration::from_millis(20);
    run.trace.events.iter().any(|event| {
        let is_near = |at: &SimTime| event.at - near <= *at && *at <= event.at + near;
        matches!(event.what, What::FaultBegins { .. }) && keyframes.iter().any(is_near)
    })
}

pub(super) fn egress_saturated(run: &Judged<'_>) -> bool {
    run.plan.lines.iter().any(|line| {
        let (Act::Egress(bits, lasts), When::At(from)) = (&line.act, &line.when) else {
            return false;
        };
        let end = lasts.map_or(run.end(), |lasts| *from + lasts).min(run.end());
        if end.since(*from) < Duration::from_secs(5) {
            return false;
        }
        let viewers = run.ledger.viewers().filter(|(connection, _)| {
            run.trace.name(connection.node) == line.who.name
                && run.told_to_play(connection) <= *from
                && connection.over_at() >= *from + Duration::from_secs(5)
        });
        let asked = viewers.map(|(_, topic)| {
            let (start, end) = (topic.entered_by(*from), topic.entered_by(end));
            topic.sums_before(end).bytes - topic.sums_before(start).bytes
        });
        let asked: Vec<_> = asked.collect();
        let can = *bits as f64 / 8.0 * end.since(*from).as_secs_f64();
        asked.len() >= 4 && asked.iter().sum::<u64>() as f64 > can
    })
}

pub(super) fn drained_under_load(run: &Judged<'_>) -> bool {
    run.trace.events.iter().filter(|event| event.what == What::Stopping).any(|stop| {
        let here = run.ledger.connections.iter().filter(|c| c.node == stop.who);
        let playing = here.filter(|c| c.playing.as_ref().is_some_and(|(t, _)| t.at <= stop.at));
        playing.filter(|c| c.over_at() > stop.at).count() >= 10
    })
}

/// Somebody was refused although nothing was wrong with what he asked for.
pub(super) fn refused_at_limit(run: &Judged<'_>) -> bool {
    let limits = ["would be one more than the limit", "which is the limit"];
    run.ledger.connections.iter().any(|connection| {
        let told = |words: &str| limits.iter().any(|limit| words.contains(limit));
        let refused = connection.errors.iter().any(|(.., words)| told(words));
        let at = connection.dialed.at;
        let others = run.ledger.connections.iter().filter(|c| c.node == connection.node);
        let open = others.filter(|c| c.dialed.at <= at && c.over_at() > at).count();
        let turned_away = matches!(connection.closed, Some((_, Close::Eof | Close::Reset)))
            && connection.playing.is_none()
            && connection.publications.is_empty();
        refused || (turned_away && open > run.limits.connections)
    })
}
