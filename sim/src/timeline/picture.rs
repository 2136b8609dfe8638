//! The picture: lanes over one time axis, and over all of them what broke.

use std::fmt::Write as _;

use super::canvas::{Canvas, Span};
use super::delay::{self, Series};
use super::hls;
use super::lanes::{self, Lane, Role};
use super::scale::{Scale, WIDTH, tick_label};
use super::story::Story;
use super::text::{self, Px, Text, clip, grouped};
use super::{Detail, LeftOut, neighbour, node, publisher, viewer, violation};
use crate::invariant::Part;
use crate::plan::Player;
use crate::trace::What;

/// Names of lanes stand to the left of the axis.
const NAMES_WIDTH: f64 = 200.0;

/// To the right of the axis.
const BORDER: f64 = 12.0;

/// Flags of violations, then the axis' numbers.
const AXIS_HEIGHT: f64 = 42.0;

/// Between two lanes.
const GAP: f64 = 3.0;

/// Delays below this are drawn as small as they are.
const DELAY_MS_MIN: u64 = 2_000;

/// A lane with its place, and with the delays drawn in it.
struct Placed {
    lane: Lane,
    top: f64,
    series: Vec<Series>,
}

pub(super) fn draw(story: &Story<'_>, detail: Detail, left_out: &mut LeftOut) -> String {
    let (lanes, hidden) = lanes::arrange(story, detail.lanes);
    left_out.lanes += hidden;
    let placed = place(story, lanes, detail.columns);
    let height = placed.last().map_or(AXIS_HEIGHT, |last| last.top + last.lane.height()) + 6.0;
    let most = placed.iter().flat_map(|placed| &placed.series).flatten().flatten().max();
    let delay_ms_max = most.copied().unwrap_or(0).max(DELAY_MS_MIN);
    let scale = Scale { end: story.end, delay_ms_max };
    let mut out = String::new();
    let width = NAMES_WIDTH + WIDTH + BORDER;
    put!(
        out,
        "<figure>\
         <svg id=\"picture\" xmlns=\"http://www.w3.org/2000/svg\" viewBox=\"0 0 {} {}\" \
         role=\"img\" tabindex=\"0\" data-end=\"{}\" data-width=\"{WIDTH}\" data-left=\"{}\">\n{}\n",
        Px(width),
        Px(height),
        story.end.micros(),
        Px(NAMES_WIDTH),
        include_str!("signs.svg"),
    );
    for placed in &placed {
        out.push_str(&name(story, placed, &scale));
    }
    put!(
        out,
        "<defs><clipPath id=\"plot\"><rect x=\"-1\" y=\"0\" width=\"{}\" height=\"{}\"/></clipPath>\
         </defs>\n<g transform=\"translate({} 0)\"><g id=\"clip\" clip-path=\"url(#plot)\">\n",
        Px(WIDTH + BORDER),
        Px(height),
        Px(NAMES_WIDTH),
    );
    out.push_str(&backdrop(story, &scale, height));
    for placed in &placed {
        let mut canvas = Canvas::new(scale, detail.marks);
        draw_lane(story, placed, &scale, &mut canvas);
        left_out.marks += canvas.left_out;
        out.push_str(&canvas.finish(placed.top));
    }
    let lane_of = |who| {
        let of = placed.iter().find(|placed| placed.lane.members.contains(&who));
        of.map_or((0.0, AXIS_HEIGHT), |placed| (placed.top, placed.lane.height()))
    };
    out.push_str(&violation::draw(story, &scale, height, lane_of));
    put!(out, "<g id=\"cursor\"><line y1=\"0\" y2=\"{}\"/><text y=\"39\"/></g>", Px(height));
    out.push_str("</g></g></svg>\n");
    out.push_str(include_str!("legend.html"));
    out.push_str("</figure>\n");
    out
}

fn place(story: &Story<'_>, lanes: Vec<Lane>, columns: usize) -> Vec<Placed> {
    let mut top = AXIS_HEIGHT + GAP;
    let placed = lanes.into_iter().map(|lane| {
        let is_viewer = lane.role == Role::Viewer;
        let members = lane.members.iter().filter(|_| is_viewer);
        let all: Vec<_> = members.map(|who| delay::series(story, *who, columns)).collect();
        let series = match lane.is_crowd() && is_viewer {
            true => <[Series; 2]>::from(delay::middle_and_worst(&all, columns)).into(),
            false => all,
        };
        let placed = Placed { top, series, lane };
        top += placed.lane.height() + GAP;
        placed
    });
    placed.collect()
}

fn draw_lane(story: &Story<'_>, placed: &Placed, scale: &Scale, canvas: &mut Canvas) {
    let lane = &placed.lane;
    match (lane.role, &placed.series[..]) {
        (Role::Node, _) => node::draw(story, lane, canvas),
        (Role::Publisher, _) => publisher::draw(story, lane, canvas),
        (Role::Viewer, [series]) => viewer::draw(story, lane, scale, series, canvas),
        (Role::Viewer, [middle, worst]) => {
            viewer::draw_crowd(story, lane, scale, (middle, worst), canvas);
        }
        _ => neighbour::draw(story, lane, canvas),
    }
}

/// The axis, the quiet phase, and what broke physics.
fn backdrop(story: &Story<'_>, scale: &Scale, height: f64) -> String {
    let mut canvas = Canvas::new(*scale, 1_000);
    for event in &story.trace.events {
        match &event.what {
            What::Quiet => {
                let title = format!(
                    "{} s: the quiet phase begins\nfaults have ended, and liveness is judged",
                    event.at
                );
                let span = Span { from: event.at, to: story.end, y: 0.0, height };
                canvas.span("quiet", span, &title);
                canvas.label("quiet-words", event.at, 24.0, "quiet phase: liveness is judged");
            }
            What::Unphysical { why } => {
                canvas.mark(
                    "error",
                    event.at,
                    20.0,
                    &format!("{} s\nbroke physics: {why}", event.at),
                );
            }
            _ => {}
        }
    }
    let mut out = canvas.finish(0.0);
    out.push_str("<g id=\"ticks\">");
    for at in scale.ticks() {
        let (x, label) = (Px(scale.x(at)), tick_label(at));
        put!(out, "<g class=\"m\" data-x=\"{x}\" transform=\"translate({x} 0)\">");
        put!(out, "<line class=\"tick\" y1=\"32\" y2=\"{}\"/>", Px(height));
        let is_last = scale.x(at) > WIDTH - 30.0;
        let (x, anchor) = if is_last { (-3, "end") } else { (3, "start") };
        put!(
            out,
            "<text class=\"tick\" x=\"{x}\" y=\"39\" text-anchor=\"{anchor}\">{label}</text></g>"
        );
    }
    out.push_str("</g>\n");
    out
}

/// The name of a lane, and in a few words what came of it.
fn name(story: &Story<'_>, placed: &Placed, scale: &Scale) -> String {
    let Placed { lane, top, series } = placed;
    let height = lane.height();
    let accused = story.outcome.violations.iter().any(|v| lane.members.contains(&v.who));
    let class = if accused { "name accused" } else { "name" };
    let mut out = String::new();
    put!(
        out,
        "<g class=\"{class}\" transform=\"translate(0 {})\"><rect class=\"lane-back\" width=\"{}\" \
         height=\"{}\"/>",
        Px(*top),
        Px(NAMES_WIDTH + WIDTH + BORDER),
        Px(height)
    );
    put!(out, "<text class=\"who\" x=\"8\" y=\"15\">{}</text>", Text(&clip(&lane.name, 24)));
    if lane.role == Role::Neighbour {
        // In one line with its name.
        let room = 28_usize.saturating_sub(lane.name.chars().count() * 4 / 3);
        put!(
            out,
            "<text class=\"about\" x=\"{}\" y=\"15\" text-anchor=\"end\">",
            NAMES_WIDTH - 8.0
        );
        put!(out, "{}</text>", Text(&clip(&about(story, lane), room)));
    } else {
        put!(
            out,
            "<text class=\"about\" x=\"8\" y=\"28\">{}</text>",
            Text(&clip(&about(story, lane), 34))
        );
    }
    if lane.role == Role::Viewer {
        put!(out, "<text class=\"about\" x=\"8\" y=\"41\">{}</text>", Text(&result(story, lane)));
        let worst = series.last().into_iter().flatten().flatten().max();
        if worst.is_some() {
            for ms in scale.delays() {
                let y = height - 8.0 - scale.up(ms, height - 21.0) + 3.0;
                put!(
                    out,
                    "<text class=\"unit\" x=\"{}\" y=\"{}\">{}</text>",
                    NAMES_WIDTH - 4.0,
                    Px(y),
                    text::delay(ms)
                );
            }
        }
    }
    out.push_str("</g>\n");
    out
}

/// What somebody does in this run.
fn about(story: &Story<'_>, lane: &Lane) -> String {
    let Some(who) = lane.members.first().copied() else { return String::new() };
    match (story.cast.part(who), lane.role) {
        (Some(Part::Publisher(publish)), _) => format!("{} {}", publish.key, publish.capture),
        (Some(Part::Viewer(play)), _) => {
            let how = match play.player {
                Player::Rtmp => "RTMP",
                Player::Flv => "HTTP-FLV",
                Player::Rml => "RTMP (rml)",
                Player::Hls => "HLS",
            };
            format!("{} {how}", play.key)
        }
        (Some(Part::Bad(speech, _)), _) => format!("{speech:?}"),
        (Some(Part::Target(target)), _) => format!("target of {}", target.streams),
        (None, Role::Node) => "node".to_owned(),
        (None, _) => "not in the plan".to_owned(),
    }
}

/// What came of a viewer, or of a crowd.
fn result(story: &Story<'_>, lane: &Lane) -> String {
    if let [who] = lane.members[..]
        && viewer::is_hls(story, who)
    {
        return hls::result(story, who);
    }
    let connections = || lane.members.iter().flat_map(|who| story.connections(*who));
    let got: u64 = connections().map(|c| c.got.len() as u64).sum();
    let lost: u64 = connections().flat_map(|c| c.slow_lags()).map(|lag| lag.tags).sum();
    match lost {
        0 => format!("got {}, no lag", grouped(got)),
        _ => format!("got {}, lost {}", grouped(got), grouped(lost)),
    }
}
