//! Below the picture: the plan, the lines of the trace that matter, goals and gauges.

use std::collections::VecDeque;
use std::fmt::Write as _;

use super::story::Story;
use super::text::{Text, clip};
use super::{Detail, LeftOut, gauges};
use crate::trace::{Event, Level, What, Who};

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
    let events = &story.trace.events;
    let first = story.outcome.violations.first();
    let until = first.map_or(events.len(), |first| (first.event + 1).min(events.len()));
    let accused = first.map(|first| first.who);
    let mut lines: VecDeque<&Event> = VecDeque::new();
    let mut before = 0;
    for event in &events[..until] {
        let matters = match accused {
            Some(who) => event.who == who || event.who == Who::WORLD || event.what.is_fault(),
            None => is_news(&event.what),
        };
        if matters {
            lines.push_back(event);
            if lines.len() > lines_max {
                lines.pop_front();
                before += 1;
            }
        }
    }
    match accused {
        Some(who) => put!(
            out,
            "<h2>Up to the violation: {}, and what was done to the world</h2>\n",
            Text(&clip(story.name(who), 60))
        ),
        None => out.push_str("<h2>What happened, but for what went well</h2>\n"),
    }
    out.push_str("<pre>");
    if before > 0 {
        put!(out, "<span class=\"setting\">… {before} lines before</span>\n");
    }
    for event in &lines {
        let is_last = accused.is_some() && std::ptr::eq(*event, &raw const events[until - 1]);
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

/// What goes well needs no line.
fn is_news(what: &What) -> bool {
    match what {
        What::Sent(_) | What::Got(_) | What::Entered { .. } | What::Gauge { .. } => false,
        What::Goal(_) | What::Dialed { .. } | What::Connected | What::Playing { .. } => false,
        What::Log { level, .. } => *level > Level::Info,
        What::Account(account) => account.lag > 0,
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
