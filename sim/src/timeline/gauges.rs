//! Gauges as small curves, each with its bound.

use std::collections::BTreeMap;
use std::fmt::Write as _;

use super::story::Story;
use super::text::{Px, Text, bytes, clip, grouped};
use crate::time::SimTime;
use crate::trace::{What, Who};

/// Pixels of a small curve.
const WIDTH: f64 = 150.0;
const HEIGHT: f64 = 20.0;

/// Rows of the table, at most.
const ROWS_MAX: usize = 24;

#[derive(Default)]
struct Gauge {
    /// The most so far, whenever it grew.
    steps: Vec<(SimTime, u64)>,
    bound: u64,
}

pub(super) fn write(story: &Story<'_>, out: &mut String) {
    let mut gauges: BTreeMap<(Who, &str), Gauge> = BTreeMap::new();
    for event in &story.trace.events {
        if let What::Gauge { name, value, bound } = event.what {
            let gauge = gauges.entry((event.who, name)).or_default();
            gauge.steps.push((event.at, value));
            gauge.bound = bound;
        }
    }
    out.push_str("<h2>Gauges against their bounds</h2>\n<table>");
    for ((who, name), gauge) in gauges.iter().take(ROWS_MAX) {
        let most = gauge.steps.iter().map(|(_, value)| *value).max().unwrap_or(0);
        let say = |value: u64| if name.ends_with("_bytes") { bytes(value) } else { grouped(value) };
        let percent = most as f64 * 100.0 / gauge.bound.max(1) as f64;
        let class = if most > gauge.bound { " class=\"over\"" } else { "" };
        put!(
            out,
            "<tr{class}><th>{}</th><td>{}</td><td>{}</td><td class=\"number\">{}</td>\
             <td>of {}</td><td class=\"number\">{}</td></tr>\n",
            Text(&clip(story.name(*who), 20)),
            Text(name),
            curve(story, gauge, most),
            say(most),
            say(gauge.bound),
            share(percent)
        );
    }
    out.push_str("</table>");
    if gauges.is_empty() {
        out.push_str("<p class=\"none\">none</p>");
    }
}

fn share(percent: f64) -> String {
    match percent {
        ..0.1 => "&lt; 0.1 %".to_owned(),
        ..10.0 => format!("{percent:.1} %"),
        _ => format!("{percent:.0} %"),
    }
}

/// The curve fills its box; the bound is a line where it is within twice the most.
fn curve(story: &Story<'_>, gauge: &Gauge, most: u64) -> String {
    let is_near = most.saturating_mul(2) >= gauge.bound;
    let top = if is_near { most.max(gauge.bound) } else { most }.max(1) as f64;
    let y = |value: u64| Px(HEIGHT - 1.0 - value as f64 / top * (HEIGHT - 3.0));
    let x = |at: SimTime| Px(at.micros() as f64 / story.end.micros() as f64 * WIDTH);
    let mut path = format!("M0 {}", Px(HEIGHT - 1.0));
    for (at, value) in &gauge.steps {
        put!(path, "H{}V{}", x(*at), y(*value));
    }
    put!(path, "H{}", Px(WIDTH));
    let bound = if is_near {
        format!("<path class=\"bound\" d=\"M0 {}H{}\"/>", y(gauge.bound), Px(WIDTH))
    } else {
        String::new()
    };
    format!(
        "<svg class=\"spark\" viewBox=\"0 0 {} {}\"><path class=\"spark-area\" d=\"{path}V{}H0Z\"/>\
         <path class=\"spark-line\" d=\"{path}\"/>{bound}</svg>",
        Px(WIDTH),
        Px(HEIGHT),
        Px(HEIGHT - 1.0)
    )
}
