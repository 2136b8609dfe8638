//! What lanes of peers have in common: faults, connections, what peers were told.

use super::canvas::{Canvas, Span};
use super::lanes::Lane;
use super::story::Story;
use crate::ledger::Connection;
use crate::trace::{Close, Who};

/// The strip on top of a lane where faults have their words.
pub(super) const FAULTS_HEIGHT: f64 = 11.0;

/// Shades what was done to this one, and what its nodes did not do for it.
pub(super) fn draw_faults(story: &Story<'_>, lane: &Lane, canvas: &mut Canvas) {
    let Some(first) = lane.members.first() else { return };
    let height = lane.height();
    draw_nodes_faults(story, lane, canvas);
    for fault in story.faults_of(*first) {
        let title = fault.title(story.name(fault.who));
        match fault.to {
            Some(to) => {
                canvas.span("fault", Span { from: fault.from, to, y: 0.0, height }, &title);
                let strip = Span { from: fault.from, to, y: 0.0, height: FAULTS_HEIGHT };
                canvas.span("fault-strip", strip, &title);
            }
            None => canvas.mark("fault-moment", fault.from, 6.0, &title),
        }
        let words = match fault.to {
            Some(_) => fault.words(),
            None => format!("  {}", fault.words()),
        };
        canvas.label("fault-words", fault.from, 8.5, &words);
    }
}

/// What happens to a node happens to whoever is connected to it.
fn draw_nodes_faults(story: &Story<'_>, lane: &Lane, canvas: &mut Canvas) {
    let height = lane.height();
    for node in story.nodes() {
        let is_there = |who: &Who| story.connections(*who).any(|c| c.node == node);
        if !lane.members.iter().any(is_there) {
            continue;
        }
        for (from, to, why) in story.downs(node) {
            let title = format!("{from} … {to} s\n{} has {why}", story.name(node));
            canvas.span("down", Span { from, to, y: 0.0, height }, &title);
        }
        let lasting = story.faults_of(node).filter(|fault| !fault.is_end_of_process());
        for fault in lasting {
            if let Some(to) = fault.to {
                let title = fault.title(story.name(node));
                canvas.span("fault-far", Span { from: fault.from, to, y: 0.0, height }, &title);
            }
        }
    }
}

/// A strip for as long as the connection lasts, and how it ended.
pub(super) fn draw_connection(story: &Story<'_>, c: &Connection, canvas: &mut Canvas, y: f64) {
    let over = story.over_at(c);
    let (name, node) = (story.name(c.who), story.name(c.node));
    let title =
        format!("{} … {over} s\n{name} connected to {node} from {}", c.dialed.at, c.address);
    canvas.span("conn", Span { from: c.dialed.at, to: over, y, height: 4.0 }, &title);
    if c.connected.is_none() {
        let title = format!("{} s\n{name} dials {node} from {}", c.dialed.at, c.address);
        canvas.mark("dial", c.dialed.at, y + 2.0, &title);
    }
}

/// Errors and ends with their words.
pub(super) fn draw_told(story: &Story<'_>, c: &Connection, canvas: &mut Canvas, y: f64) {
    let name = story.name(c.who);
    for (told, code, words) in &c.errors {
        let title = format!("{} s\n{name} was told {code}: {words}", told.at);
        canvas.mark("error", told.at, y, &title);
        canvas.label("error-words", told.at, y - 5.0, &format!(" {}", short(code)));
    }
    if let Some((told, why)) = &c.garbled {
        canvas.mark("error", told.at, y, &format!("{} s\n{name} cannot parse: {why}", told.at));
        canvas.label("error-words", told.at, y - 5.0, " cannot parse");
    }
    if let Some((told, close)) = &c.closed {
        let how = closed(*close);
        let title = format!("{} s\n{name} closed: {close:?} ({how})", told.at);
        let sign = if is_rough(*close) { "cut" } else { "close" };
        canvas.mark(sign, told.at, y, &title);
        if is_rough(*close) {
            canvas.label("error-words", told.at, y - 5.0, &format!(" {close:?}").to_lowercase());
        }
    }
    for told in &c.ends {
        let title = format!("{} s\n{name} was told that the stream is over", told.at);
        canvas.mark("end", told.at, y, &title);
        canvas.label("end-words", told.at, y - 5.0, " told the end");
    }
}

/// `NetStream.Publish.BadName` is `BadName` to whoever knows RTMP.
fn short(code: &str) -> &str {
    code.rsplit('.').next().unwrap_or(code)
}

fn is_rough(close: Close) -> bool {
    !matches!(close, Close::Left | Close::Eof)
}

/// How a connection ended, in words.
pub(super) fn closed(close: Close) -> &'static str {
    match close {
        Close::Eof => "the node closed it in order",
        Close::Reset => "reset by the node or on the way",
        Close::Refused => "it could not be opened",
        Close::TimedOut => "the peer gave up waiting",
        Close::Left => "the peer left in order",
        Close::Vanished => "the peer vanished, and nobody was told",
    }
}
