//! What a player of HLS fetched: segments and parts, from asking to having; answers that were none;
//! when it had nothing to play.

use std::time::Duration;

use super::canvas::{Canvas, Span};
use super::lanes::Lane;
use super::peer;
use super::story::Story;
use super::text::{bytes, grouped};
use crate::time::SimTime;
use crate::trace::{Fetched, HlsSeen, Resource, What, Who};

/// Pixels of a fetch's bar, and from one row of them to the next.
const BAR: f64 = 7.0;
const ROW: f64 = 11.0;

fn seen<'s>(story: &'s Story<'_>, who: Who) -> impl Iterator<Item = (SimTime, &'s HlsSeen)> {
    story.trace.events.iter().filter_map(move |event| match &event.what {
        What::Hls(seen) if event.who == who => Some((event.at, seen)),
        _ => None,
    })
}

fn fetches<'s>(story: &'s Story<'_>, who: Who) -> impl Iterator<Item = (SimTime, &'s Fetched)> {
    seen(story, who).filter_map(|(at, seen)| match seen {
        HlsSeen::Fetched(fetched) => Some((at, &**fetched)),
        _ => None,
    })
}

/// When there was nothing to play.
fn stalls(story: &Story<'_>, who: Who) -> impl Iterator<Item = (SimTime, Duration)> {
    seen(story, who).filter_map(|(at, seen)| match seen {
        HlsSeen::Stalled(time) => Some((at, *time)),
        _ => None,
    })
}

/// When something came.
pub(super) fn arrivals(story: &Story<'_>, who: Who) -> impl Iterator<Item = SimTime> {
    fetches(story, who).filter(|(_, fetched)| fetched.status == 200).map(|(at, _)| at)
}

/// A row of segments, a row of parts, and stalls behind both.
pub(super) fn draw(story: &Story<'_>, who: Who, lane: &Lane, canvas: &mut Canvas) {
    let top = peer::FAULTS_HEIGHT;
    for (at, time) in stalls(story, who) {
        let from = at - time;
        let title = format!("{from} … {at} s\nnothing to play for {} ms", time.as_millis());
        let height = lane.height() - top - 8.0;
        canvas.span("gap", Span { from, to: at, y: top, height }, &title);
    }
    for run in runs(story, who) {
        let Run { first, from, to, count, len } = run;
        let (status, took) = (first.status, to.since(from).as_millis());
        let more = match count {
            1 => String::new(),
            _ => format!(" and {} more parts", count - 1),
        };
        let uri = &first.uri;
        let title = format!("{from} … {to} s\n{uri}{more}: {status}, {}, {took} ms", bytes(len));
        let y = top + 2.0 + if first.what == Resource::Part { ROW } else { 0.0 };
        let class = if is_bad(first) { "fetch missed" } else { "fetch" };
        canvas.span(class, Span { from, to, y, height: BAR }, &title);
        if let Resource::Segment(number) = first.what {
            canvas.label("gop", from, y + BAR - 1.0, &format!("{}", number % 1_000));
        }
    }
}

/// Fetches that are drawn as one.
struct Run<'s> {
    first: &'s Fetched,
    from: SimTime,
    to: SimTime,
    count: u64,
    len: u64,
}

/// Parts come one behind the other: a second of them is one.
fn runs<'s>(story: &'s Story<'_>, who: Who) -> Vec<Run<'s>> {
    const LEN: Duration = Duration::from_secs(1);
    const PAUSE: Duration = Duration::from_millis(100);
    let mut runs: Vec<Run<'s>> = Vec::new();
    for (at, fetched) in fetches(story, who) {
        let is_part = fetched.what == Resource::Part && !is_bad(fetched);
        let last = runs.iter_mut().rev().find(|run| run.first.what == Resource::Part);
        match last.filter(|last| {
            let is_next = fetched.asked.since(last.to) <= PAUSE && at.since(last.from) <= LEN;
            is_part && is_next && !is_bad(last.first)
        }) {
            Some(last) => {
                (last.to, last.count, last.len) = (at, last.count + 1, last.len + fetched.len)
            }
            None => runs.push(Run {
                first: fetched,
                from: fetched.asked,
                to: at,
                count: 1,
                len: fetched.len,
            }),
        }
    }
    runs
}

fn is_bad(fetched: &Fetched) -> bool {
    fetched.status != 200 || fetched.garbled.is_some()
}

/// What came of it.
pub(super) fn result(story: &Story<'_>, who: Who) -> String {
    let had = |is: fn(&Resource) -> bool| {
        let all = fetches(story, who).filter(|(_, it)| it.status == 200 && is(&it.what));
        grouped(all.count() as u64)
    };
    let segments = had(|what| matches!(what, Resource::Segment(_)));
    let parts = had(|what| matches!(what, Resource::Part));
    let missed = fetches(story, who).filter(|(_, fetched)| fetched.status != 200).count() as u64;
    let stalled: Duration = stalls(story, who).map(|(_, time)| time).sum();
    let mut out = format!("got {segments} seg");
    if parts != "0" {
        out += &format!(", {parts} parts");
    }
    if missed > 0 {
        out += &format!(", missed {}", grouped(missed));
    }
    if !stalled.is_zero() {
        out += &format!(", stalled {:.1} s", stalled.as_secs_f64());
    }
    out
}
