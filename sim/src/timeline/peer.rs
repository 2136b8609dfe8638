//! What lanes of peers have in common: faults, connections, what peers were told.

use std::time::Duration;

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
        match fault.to {
            Some(_) => canvas.label("fault-words", fault.from, 8.5, &fault.words()),
            None => canvas.label_beside("fault-words", fault.from, 8.5, &fault.words()),
        }
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

/// Errors and ends: signs at `y`, words at `words_y`.
pub(super) fn draw_told(
    story: &Story<'_>,
    c: &Connection,
    canvas: &mut Canvas,
    y: f64,
    words_y: f64,
) {
    let name = story.name(c.who);
    for (told, code, words) in &c.errors {
        let title = format!("{} s\n{name} was told {code}: {words}", told.at);
        canvas.mark("error", told.at, y, &title);
        canvas.label_beside("error-words", told.at, words_y, short(code));
    }
    if let Some((told, why)) = &c.garbled {
        canvas.mark("error", told.at, y, &format!("{} s\n{name} cannot parse: {why}", told.at));
        canvas.label_beside("error-words", told.at, words_y, "cannot parse");
    }
    for told in &c.ends {
        let title = format!("{} s\n{name} was told that the stream is over", told.at);
        canvas.mark("end", told.at, y, &title);
        canvas.label_beside("end-words", told.at, words_y, "told the end");
    }
    draw_close(c, name, canvas, y, words_y);
}

fn draw_close(c: &Connection, name: &str, canvas: &mut Canvas, y: f64, words_y: f64) {
    let Some((told, close)) = &c.closed else { return };
    let (word, meaning) = closed(*close);
    let title = format!("{} s\n{name} closed: {word}: {meaning}", told.at);
    let is_rough = !matches!(close, Close::Left | Close::Eof);
    // Who was told an error a moment ago, and why, needs no second sign.
    let is_answer = c.errors.iter().any(|(error, ..)| told.at.since(error.at) <= ANSWER);
    if is_rough {
        canvas.mark("cut", told.at, y, &title);
        canvas.label_beside("error-words", told.at, words_y, word);
    } else if !is_answer {
        canvas.mark("close", told.at, y, &title);
    }
}

/// A connection that ends so soon after an error ends because of it.
const ANSWER: Duration = Duration::from_millis(20);

/// `NetStream.Publish.BadName` is `BadName` to whoever knows RTMP.
fn short(code: &str) -> &str {
    code.rsplit('.').next().unwrap_or(code)
}

/// How a connection ended, in a word and in a sentence.
fn closed(close: Close) -> (&'static str, &'static str) {
    match close {
        Close::Eof => ("EOF", "the node closed it in order"),
        Close::Reset => ("reset", "the node, or something on the way, reset it"),
        Close::Refused => ("refused", "it could not be opened"),
        Close::TimedOut => ("timed out", "the peer gave up waiting"),
        Close::Left => ("left", "the peer left in order"),
        Close::Vanished => ("vanished", "nothing was said to the node"),
    }
}
