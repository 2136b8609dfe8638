//! A node's lane: when its process lived, what was done to it, what it complained about.

use super::canvas::{Canvas, Span};
use super::lanes::Lane;
use super::peer::FAULTS_HEIGHT;
use super::story::Story;
use super::text::clip;
use crate::ledger::Border;
use crate::time::SimTime;
use crate::trace::{Level, What, Who};

/// Height of the bar that is the process.
const BAR: f64 = 9.0;

pub(super) fn draw(story: &Story<'_>, lane: &Lane, canvas: &mut Canvas) {
    let Some(node) = lane.members.first().copied() else { return };
    let base = lane.height() - BAR - 4.0;
    draw_process(story, node, canvas, base);
    draw_faults(story, lane, node, canvas);
    draw_words(story, node, canvas, base + BAR / 2.0);
}

fn draw_process(story: &Story<'_>, node: Who, canvas: &mut Canvas, y: f64) {
    let name = story.name(node);
    let mut lives = story.ledger.lives.get(&node).map_or(&[][..], Vec::as_slice).iter().peekable();
    let mut since = None;
    while let Some(life) = lives.next() {
        match life.border {
            Border::Started => {
                canvas.mark(
                    "start",
                    life.at,
                    y + BAR / 2.0,
                    &format!("{} s\n{name} listens", life.at),
                );
                since = Some(life.at);
            }
            Border::Stopping => {
                let title = format!("{} s\n{name} was told to stop", life.at);
                let to = lives.peek().map_or(story.end, |next| next.at);
                canvas.span("draining", Span { from: life.at, to, y, height: BAR }, &title);
                draw_up(story, node, since.take(), life.at, canvas, y);
            }
            Border::Stopped | Border::Crashed => {
                draw_up(story, node, since.take(), life.at, canvas, y);
                let title = format!("{} s\n{name} {:?}", life.at, life.border).to_lowercase();
                canvas.mark("cut", life.at, y + BAR / 2.0, &title);
            }
        }
    }
    draw_up(story, node, since, story.end, canvas, y);
    for (from, to, why) in story.downs(node) {
        let title = format!("{from} … {to} s\n{name} has {why}");
        canvas.span("down", Span { from, to, y: 0.0, height: y + BAR + 4.0 }, &title);
        canvas.label_beside("error-words", from, y + BAR - 1.0, why);
    }
}

fn draw_up(
    story: &Story<'_>,
    node: Who,
    since: Option<SimTime>,
    to: SimTime,
    canvas: &mut Canvas,
    y: f64,
) {
    if let Some(from) = since {
        let title = format!("{from} … {to} s\n{} is up", story.name(node));
        canvas.span("up", Span { from, to, y, height: BAR }, &title);
    }
}

fn draw_faults(story: &Story<'_>, lane: &Lane, node: Who, canvas: &mut Canvas) {
    for fault in story.faults_of(node) {
        let title = fault.title(story.name(node));
        let to = fault.to.unwrap_or(fault.from);
        let span = Span { from: fault.from, to, y: 0.0, height: FAULTS_HEIGHT };
        canvas.span("fault-strip", span, &title);
        let whole = Span { height: lane.height(), ..span };
        canvas.span("fault", whole, &title);
        canvas.label("fault-words", fault.from, 8.5, &fault.words());
    }
}

/// Panics, and what the log says with WARN or worse.
fn draw_words(story: &Story<'_>, node: Who, canvas: &mut Canvas, y: f64) {
    let name = story.name(node);
    for event in story.trace.events.iter().filter(|event| event.who == node) {
        let at = event.at;
        match &event.what {
            What::Panicked { why, injected } => {
                let planned = if *injected { " as planned" } else { "" };
                canvas.mark("error", at, y, &format!("{at} s\n{name} panicked{planned}: {why}"));
                canvas.label_beside("error-words", at, y + 3.5, &format!("panic{planned}"));
            }
            What::Log { level: Level::Error, text } => {
                canvas.mark("error", at, y, &format!("{at} s\n{name} log ERROR: {text}"));
                canvas.label_beside("error-words", at, y + 3.5, &clip(text, 30));
            }
            What::Log { level: Level::Warn, text } => {
                canvas.mark("warn", at, y, &format!("{at} s\n{name} log WARN: {text}"));
            }
            What::Over { key } => {
                canvas.mark("end", at, y, &format!("{at} s\n{name}: {key} is over"));
            }
            _ => {}
        }
    }
}
