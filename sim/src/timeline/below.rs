//! Below the picture: the plan, the lines of the trace that matter, goals and gauges.

use std::collections::BTreeSet;
use std::fmt::Write as _;

use super::story::Story;
use super::text::{Text, clip};
use super::{Detail, LeftOut, gauges};
use crate::trace::{Close, DiskOutcome, Event, HlsSeen, Level, What, Who};

/// Characters of a line; what a peer says may be of any length.
const LINE_LEN: usize = 240;

pub(super) fn write(story: &Story<'_>, detail: Detail, left_out: &mut LeftOut) -> String {
    let mut out = String::from("<main>\n<section class=\"lines\">");
    trace(story, detail.trace_lines, &mut out);
    out.push_str("</section>\n<section class=\"plan\">");
    plan(story, detail.plan_lines, left_out, &mut out);
    gauges::write(story, &mut out);
    goals(story, &mut out);
    out.push_str("</section>\n</main>\n");
    out
}

fn plan(story: &Story<'_>, lines_max: usize, left_out: &mut LeftOut, out: &mut String) {
    let text = story.outcome.run.plan.to_string();
    out.push_str("<h2>The plan</h2>\n<pre>");
    for line in text.lines().take(lines_max) {
        let class = class_of(line);
        put!(out, "<span class=\"{class}\">{}</span>\n", Text(&clip(line, LINE_LEN)));
    }
    out.push_str("</pre>");
    left_out.plan_lines += text.lines().count().saturating_sub(lines_max);
}

/// Who comes is black, what is done to them is not.
fn class_of(line: &str) -> &'static str {
    let comes = [" publish ", " play ", " speak "].iter().any(|word| line.contains(word));
    let is_head = line.starts_with('#') || line.starts_with("plan ");
    let is_set = ["seed ", "tick ", "set "].iter().any(|word| line.starts_with(word));
    let is_end = line.ends_with(" end") || line.ends_with(" quiet");
    match (comes, is_head || is_set || is_end) {
        (true, _) => "comes",
        (_, true) => "setting",
        _ => "done",
    }
}

/// What led to the violation; without one, what was worth a line.
fn trace(story: &Story<'_>, lines_max: usize, out: &mut String) {
    let first = story.outcome.violations.first();
    match first {
        Some(first) => put!(
            out,
            "<h2>Around the violation: {}, and what was done to the world</h2>\n",
            Text(&clip(story.name(first.who), 60))
        ),
        None => out.push_str("<h2>What happened, but for what went well</h2>\n"),
    }
    let lines = lines(story, lines_max);
    out.push_str("<pre>");
    for index in &lines {
        let event = &story.trace.events[*index];
        let is_last = first.is_some_and(|first| first.event == *index);
        let class = if is_last { "broke" } else { class_of_event(&event.what) };
        let line = clip(&story.trace.line(event), LINE_LEN);
        put!(
            out,
            "<span class=\"{class}\" data-at=\"{}\">{}</span>\n",
            event.at.micros(),
            Text(&line)
        );
    }
    out.push_str("</pre>");
}

/// Indexes of events, in order. Tags of a moment must not hide the fault of the moment before:
/// some lines are for what is rarer.
fn lines(story: &Story<'_>, lines_max: usize) -> BTreeSet<usize> {
    let events = &story.trace.events;
    let Some(first) = story.outcome.violations.first() else {
        let news = (0..events.len()).rev().filter(|index| is_news(&events[*index].what));
        return news.take(lines_max).collect();
    };
    let matters =
        |event: &Event| event.who == first.who || event.who == Who::WORLD || event.what.is_fault();
    let until = (first.event + 1).min(events.len());
    let of_them = || (0..until).rev().filter(|index| matters(&events[*index]));
    let news = of_them().filter(|index| is_news(&events[*index].what));
    let mut lines: BTreeSet<_> = news.take(lines_max / 3).collect();
    let others: Vec<_> = of_them().filter(|index| !lines.contains(index)).collect();
    lines.extend(others.into_iter().take(lines_max - lines.len()));
    // What is missing is seen behind it only, as with a picture that did not come.
    let behind = (until..events.len()).filter(|index| events[*index].who == first.who);
    let room = (lines_max - lines.len()).max(lines_max / 5);
    lines.extend(behind.take(room));
    lines
}

/// What goes well needs no line.
fn is_news(what: &What) -> bool {
    match what {
        What::Sent(_) | What::Got(_) | What::Entered { .. } | What::Gauge { .. } => false,
        What::Hls(HlsSeen::Fetched(fetched)) => fetched.status != 200,
        What::Hls(HlsSeen::Stalled(_)) => true,
        What::Hls(_) => false,
        What::Disk(seen) => !matches!(seen.outcome, DiskOutcome::Begun | DiskOutcome::Done),
        What::Durable { .. } | What::Recordings(_) => false,
        What::Goal(_) | What::Dialed { .. } | What::Connected | What::Playing { .. } => false,
        What::Closed(Close::Left) => false,
        What::Log { level, .. } => *level > Level::Info,
        What::Account { account, .. } => account.lag > 0,
        _ => true,
    }
}

fn class_of_event(what: &What) -> &'static str {
    match what {
        what if what.is_fault() => "done",
        What::Lag { .. } | What::ToldError { .. } | What::Garbled { .. } => "bad",
        What::Panicked { .. } | What::Unphysical { .. } => "bad",
        _ => "",
    }
}

fn goals(story: &Story<'_>, out: &mut String) {
    let goals = &story.outcome.goals;
    out.push_str("<h2>Goals reached</h2>\n");
    if goals.is_empty() {
        out.push_str("<p class=\"none\">none</p>");
        return;
    }
    out.push_str("<ul class=\"goals\">");
    for goal in goals {
        put!(out, "<li>{}</li>", Text(goal));
    }
    out.push_str("</ul>");
}
