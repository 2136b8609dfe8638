//! The head of the page: which plan, what came of it, how to see it again.

use std::fmt::Write as _;

use super::story::Story;
use super::text::{Text, clip, grouped};
use super::violation;
use crate::invariant;

/// Violations with words of their own; a run that breaks more is wrong from the first on.
const VIOLATIONS_MAX: usize = 8;

/// Characters of what was seen.
const SAW_LEN: usize = 400;

/// What the plan is called.
pub(super) fn title(story: &Story<'_>) -> String {
    let first = story.outcome.run.plan.title.lines().next().unwrap_or_default();
    if first.is_empty() { "a plan without a title".to_owned() } else { first.to_owned() }
}

pub(super) fn write(story: &Story<'_>, left_out: Option<&str>) -> String {
    let mut out = String::from("<header>\n");
    put!(out, "<h1>{}</h1>\n", Text(&clip(&title(story), 160)));
    verdict(story, &mut out);
    facts(story, &mut out);
    if let Some(words) = left_out {
        put!(out, "<p class=\"thinned\">{}</p>\n", Text(words));
    }
    out.push_str("</header>\n");
    out
}

fn verdict(story: &Story<'_>, out: &mut String) {
    let violations = &story.outcome.violations;
    let Some(first) = violations.first() else {
        put!(
            out,
            "<p class=\"verdict fine\"><b>✓ every invariant holds</b> <span>{} were judged\
             </span></p>\n",
            invariant::ALL.len()
        );
        return;
    };
    put!(
        out,
        "<div class=\"verdict broken\"><p><b>✕ {} does not hold</b> <span>at {} s, event {}</span>\
         </p>\n",
        Text(&violation::words(first)),
        first.at,
        grouped(first.event as u64)
    );
    put!(out, "<p class=\"saw\"><i>saw</i> {}</p>\n", Text(&clip(&first.saw, SAW_LEN)));
    put!(out, "<p class=\"why\"><i>why</i> {}</p>\n", Text(violation::id_and_why(first).1));
    for other in violations.iter().skip(1).take(VIOLATIONS_MAX) {
        put!(
            out,
            "<p class=\"also\"><i>also</i> <b>{}</b> at {} s: {}</p>\n",
            Text(&violation::words(other)),
            other.at,
            Text(&clip(&other.saw, 160))
        );
    }
    if let Some(more) = violations.len().checked_sub(VIOLATIONS_MAX + 1).filter(|more| *more > 0) {
        put!(out, "<p class=\"also\">and {more} more</p>\n");
    }
    out.push_str("</div>\n");
}

fn facts(story: &Story<'_>, out: &mut String) {
    let plan = &story.outcome.run.plan;
    let facts = [
        ("simulated", format!("{} s", story.end)),
        ("tick", format!("{} ms", plan.tick.as_secs_f64() * 1e3)),
        ("events", grouped(story.trace.events.len() as u64)),
        ("peers", grouped(story.peers().count() as u64)),
        ("faults", grouped(story.faults.len() as u64)),
        ("goals", grouped(story.outcome.goals.len() as u64)),
        ("seed", plan.seed.to_string()),
        ("digest", format!("{:016x}", story.trace.digest())),
    ];
    out.push_str("<dl class=\"facts\">");
    for (name, value) in facts {
        put!(out, "<div><dt>{name}</dt><dd>{value}</dd></div>");
    }
    out.push_str(
        "<div class=\"replay\"><dt>replay</dt><dd><code>cargo sim replay FILE</code> \
         with the plan below as FILE</dd></div></dl>\n",
    );
}
