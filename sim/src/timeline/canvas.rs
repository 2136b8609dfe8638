//! One lane's drawing: shapes that stretch with the time axis, marks and labels that do not.

use std::fmt::Write as _;

use super::scale::{Scale, WIDTH};
use super::text::{Px, Text, clip};
use crate::time::SimTime;

/// Characters of a tooltip.
const TITLE_LEN: usize = 260;

/// Characters of a label.
const LABEL_LEN: usize = 48;

/// Pixels of a label's character, roughly.
const CHAR_WIDTH: f64 = 5.7;

/// From a mark's middle to what is written beside it.
const MARK_WIDTH: f64 = 7.0;

/// The narrowest that anything is drawn: a lag of one tag must be seen, too.
const SPAN_MIN: f64 = 2.0;

/// A lane under construction. Whatever is drawn first is kept where there is too much.
pub(super) struct Canvas {
    scale: Scale,
    shapes: String,
    marks: String,
    labels: Vec<Label>,
    room: usize,
    /// What there was no room for.
    pub(super) left_out: usize,
}

struct Label {
    y: f64,
    x: f64,
    class: &'static str,
    text: String,
    aside: f64,
}

/// From when to when, and where in the lane.
#[derive(Clone, Copy)]
pub(super) struct Span {
    pub(super) from: SimTime,
    pub(super) to: SimTime,
    pub(super) y: f64,
    pub(super) height: f64,
}

impl Canvas {
    /// An empty lane that takes so many marks.
    pub(super) fn new(scale: Scale, room: usize) -> Self {
        let (shapes, marks) = (String::new(), String::new());
        Self { scale, shapes, marks, labels: Vec::new(), room, left_out: 0 }
    }

    fn has_room(&mut self) -> bool {
        let has_room = self.room > 0;
        match has_room {
            true => self.room -= 1,
            false => self.left_out += 1,
        }
        has_room
    }

    /// A bar.
    pub(super) fn span(&mut self, class: &str, span: Span, title: &str) {
        if !self.has_room() {
            return;
        }
        let (from, to) = (self.scale.x(span.from), self.scale.x(span.to.min(self.scale.end)));
        let (x, y, height) = (Px(from), Px(span.y), Px(span.height));
        let width = Px((to - from).clamp(SPAN_MIN, WIDTH));
        put!(
            self.shapes,
            r#"<rect class="{class}" x="{x}" y="{y}" width="{width}" height="{height}""#
        );
        if title.is_empty() {
            self.shapes.push_str("/>");
        } else {
            put!(self.shapes, "><title>{}</title></rect>", Text(&clip(title, TITLE_LEN)));
        }
    }

    /// A curve: what `path` says.
    pub(super) fn path(&mut self, class: &str, path: &str) {
        if !path.is_empty() {
            put!(self.shapes, r#"<path class="{class}" d="{path}"/>"#);
        }
    }

    /// A sign at a moment; the page knows it by `sign`.
    pub(super) fn mark(&mut self, sign: &str, at: SimTime, y: f64, title: &str) {
        if !self.has_room() {
            return;
        }
        let (x, y) = (Px(self.scale.x(at)), Px(y));
        put!(self.marks, r##"<g class="m {sign}" data-x="{x}" transform="translate({x} 0)">"##);
        put!(
            self.marks,
            r##"<use href="#{sign}" y="{y}"/><title>{}</title></g>"##,
            Text(&clip(title, TITLE_LEN))
        );
    }

    /// Words at a moment. Labels of one line that would stand on one another are hidden until
    /// there is room for them.
    pub(super) fn label(&mut self, class: &'static str, at: SimTime, y: f64, text: &str) {
        self.say(class, at, y, text, 3.0);
    }

    /// As [`Self::label`], beside a mark.
    pub(super) fn label_beside(&mut self, class: &'static str, at: SimTime, y: f64, text: &str) {
        self.say(class, at, y, text, MARK_WIDTH);
    }

    fn say(&mut self, class: &'static str, at: SimTime, y: f64, text: &str, aside: f64) {
        if self.has_room() {
            let (x, text) = (self.scale.x(at), clip(text, LABEL_LEN));
            self.labels.push(Label { y, x, class, text, aside });
        }
    }

    /// The lane at this height of the page.
    pub(super) fn finish(mut self, top: f64) -> String {
        let mut out = String::new();
        put!(out, r#"<g class="lane" transform="translate(0 {})">"#, Px(top));
        put!(out, r#"<g class="z">{}</g>{}"#, self.shapes, self.marks);
        // Stable: of two labels at one place the one that was said first stays.
        self.labels.sort_by(|a, b| a.y.total_cmp(&b.y).then(a.x.total_cmp(&b.x)));
        let mut taken = (f64::NEG_INFINITY, f64::NEG_INFINITY);
        for Label { y, x, class, text, aside } in &self.labels {
            let width = text.chars().count() as f64 * CHAR_WIDTH + aside + 2.0;
            let end = if taken.0 == *y { taken.1 } else { f64::NEG_INFINITY };
            // At the right border it stands to the left of its moment.
            let is_left = x + width > WIDTH;
            let from = if is_left { x - width } else { *x };
            let is_hidden = from < end;
            if !is_hidden {
                taken = (*y, from + width);
            }
            let (off, left) =
                (if is_hidden { " off" } else { "" }, if is_left { " left" } else { "" });
            let (x, y) = (Px(*x), Px(*y));
            put!(out, r#"<g class="m" data-x="{x}" transform="translate({x} 0)">"#);
            put!(
                out,
                r#"<text class="l {class}{left}{off}" x="{}" y="{y}">{}</text></g>"#,
                Px(if is_left { -aside } else { *aside }),
                Text(text)
            );
        }
        out.push_str("</g>\n");
        out
    }
}
