//! Timeline: a run as one offline HTML page: what happened, to whom, when, and where a rule broke.
//!
//! The page needs no network and no script to be read: scripts only zoom. It is the same text for
//! the same run. Whatever comes from a trace or a plan is escaped (`text::Text`); the page is
//! well-formed XML, too, so that a test can prove it.

/// Appends to a `String`, which cannot fail.
macro_rules! put {
    ($out:expr, $($arg:tt)*) => {{
        let _infallible = write!($out, $($arg)*);
    }};
}

mod below;
mod canvas;
mod delay;
mod faults;
mod gauges;
mod head;
mod hls;
mod lanes;
mod neighbour;
mod node;
mod peer;
mod picture;
mod publisher;
mod scale;
mod story;
mod text;
mod viewer;
mod violation;

use std::fmt::Write as _;

use self::story::Story;
use self::text::{Text, clip};
use crate::report::Outcome;

/// No page is longer: beyond this, browsers and mails take offence.
pub const LEN_MAX: usize = 2 << 20;

/// How much of a run is drawn.
#[derive(Clone, Copy)]
struct Detail {
    /// Lanes.
    lanes: usize,
    /// Bars, marks and labels of a lane.
    marks: usize,
    /// Columns of a curve.
    columns: usize,
    /// Lines of the plan.
    plan_lines: usize,
    /// Lines of the trace.
    trace_lines: usize,
}

/// From all there is worth to what always fits.
const DETAILS: [Detail; 3] = [
    Detail { lanes: 48, marks: 600, columns: 660, plan_lines: 400, trace_lines: 40 },
    Detail { lanes: 32, marks: 200, columns: 440, plan_lines: 200, trace_lines: 40 },
    Detail { lanes: 16, marks: 60, columns: 220, plan_lines: 60, trace_lines: 40 },
];

/// What was left out for the page's length.
#[derive(Default)]
struct LeftOut {
    lanes: usize,
    marks: usize,
    plan_lines: usize,
}

impl LeftOut {
    /// What the page says about it; nothing if it is complete.
    fn words(&self) -> Option<String> {
        let parts = [(self.lanes, "peers"), (self.marks, "marks"), (self.plan_lines, "plan lines")];
        let parts: Vec<_> = parts
            .iter()
            .filter(|(count, _)| *count > 0)
            .map(|(count, what)| format!("{count} {what}"))
            .collect();
        let all = parts.join(", ");
        (!parts.is_empty()).then(|| format!("Thinned out: {all} are not on this page."))
    }
}

/// Draws a run.
pub fn page(outcome: &Outcome) -> String {
    let story = Story::new(outcome);
    let mut page = String::new();
    for detail in DETAILS {
        page = draw(&story, detail);
        if page.len() <= LEN_MAX {
            break;
        }
    }
    page
}

fn draw(story: &Story<'_>, detail: Detail) -> String {
    let mut left_out = LeftOut::default();
    let picture = picture::draw(story, detail, &mut left_out);
    let below = below::write(story, detail, &mut left_out);
    let title = head::title(story);
    let mut out = String::new();
    out.push_str("<!DOCTYPE html>\n<html lang=\"en\"><head><meta charset=\"utf-8\"/>\n");
    out.push_str("<meta name=\"viewport\" content=\"width=device-width\"/>\n");
    put!(out, "<title>{}</title>\n", Text(&clip(&title, 120)));
    put!(out, "<style>{}</style></head><body>\n", include_str!("timeline/page.css"));
    out.push_str(&head::write(story, left_out.words().as_deref()));
    out.push_str(&picture);
    out.push_str(&below);
    put!(out, "<script>//<![CDATA[\n{}//]]></script>\n", include_str!("timeline/page.js"));
    out.push_str("</body></html>\n");
    out
}
