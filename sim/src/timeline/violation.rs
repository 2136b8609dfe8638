//! What broke: a line through all lanes, and a box at the lane it happened to.

use std::fmt::Write as _;

use super::scale::{Scale, WIDTH};
use super::story::Story;
use super::text::{Px, Text, clip};
use crate::invariant::{self, Violation};
use crate::trace::Who;

/// Pixels of a bold character of a box, roughly.
const CHAR_WIDTH: f64 = 6.7;

/// Characters of what was seen in a box; the head of the page has all.
const SAW_LEN: usize = 96;

/// The number and the reason of an invariant.
pub(super) fn id_and_why(violation: &Violation) -> (&'static str, &'static str) {
    let invariant = invariant::ALL.iter().find(|known| known.name == violation.invariant);
    invariant.map_or(("", "what the scenario itself asks"), |known| (known.id, known.why))
}

/// Number and name, as a person says them.
pub(super) fn words(violation: &Violation) -> String {
    format!("{} {}", id_and_why(violation).0, violation.invariant).trim_start().to_owned()
}

/// Lines, flags, and the box of the first. `lane_of` tells top and height of somebody's lane.
pub(super) fn draw(
    story: &Story<'_>,
    scale: &Scale,
    height: f64,
    lane_of: impl Fn(Who) -> (f64, f64),
) -> String {
    let mut out = String::new();
    // The first is drawn last: on top.
    for (index, violation) in story.outcome.violations.iter().enumerate().rev() {
        let x = scale.x(violation.at);
        let class = if index == 0 { "violation first" } else { "violation" };
        let (top, lane_height) = lane_of(violation.who);
        let title = format!("{} s\n{}\n{}", violation.at, words(violation), violation.saw);
        put!(
            out,
            "<g class=\"m {class}\" data-x=\"{}\" transform=\"translate({} 0)\"><title>{}</title>",
            Px(x),
            Px(x),
            Text(&clip(&title, 600))
        );
        put!(out, "<line y1=\"0\" y2=\"{}\"/>", Px(height));
        put!(out, "<circle cy=\"{}\" r=\"6\"/>", Px(top + lane_height / 2.0));
        if index == 0 {
            let id = id_and_why(violation).0;
            let flag = format!("✕ {id} broken at {} s", violation.at);
            out.push_str(&boxed(&flag, "", x, 0.0, 17.0));
            let saw = clip(violation.saw.lines().next().unwrap_or_default(), SAW_LEN);
            let what = format!("✕ {}", words(violation));
            out.push_str(&boxed(&what, &saw, x, top + lane_height / 2.0 - 17.0, 34.0));
        }
        out.push_str("</g>\n");
    }
    out
}

/// To the right of the line at `at`, for what led to it is to its left.
fn boxed(first: &str, second: &str, at: f64, y: f64, height: f64) -> String {
    let chars = first.chars().count().max(second.chars().count() * 9 / 10);
    let width = chars as f64 * CHAR_WIDTH + 14.0;
    let x = if at + width + 9.0 > WIDTH { -width - 9.0 } else { 9.0 };
    let mut out = String::new();
    put!(
        out,
        "<rect class=\"box\" x=\"{}\" y=\"{}\" width=\"{}\" height=\"{}\" rx=\"3\"/>",
        Px(x),
        Px(y),
        Px(width),
        Px(height)
    );
    put!(
        out,
        "<text class=\"box-head\" x=\"{}\" y=\"{}\">{}</text>",
        Px(x + 7.0),
        Px(y + 13.0),
        Text(first)
    );
    if !second.is_empty() {
        put!(
            out,
            "<text class=\"box-saw\" x=\"{}\" y=\"{}\">{}</text>",
            Px(x + 7.0),
            Px(y + 27.0),
            Text(second)
        );
    }
    out
}
