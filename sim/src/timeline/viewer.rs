//! A viewer's lane: its delay to the live edge, what it lost, where it resumed, why it ended.

use std::time::Duration;

use super::canvas::{Canvas, Span};
use super::delay::{self, Series};
use super::hls;
use super::lanes::Lane;
use super::peer;
use super::scale::Scale;
use super::story::Story;
use super::text::{bytes, grouped};
use crate::ledger::{Connection, GotTag, Hole, Topic};
use crate::plan::Player;
use crate::tag::Role;
use crate::time::SimTime;
use crate::trace::{LagCause, Who};

/// From the lane's border to the base of the delay's curve.
const BELOW: f64 = 8.0;

/// Pixels of the delay's curve.
fn height(lane: &Lane) -> f64 {
    lane.height() - BELOW - peer::FAULTS_HEIGHT - 2.0
}

/// One viewer.
pub(super) fn draw(
    story: &Story<'_>,
    lane: &Lane,
    scale: &Scale,
    series: &Series,
    canvas: &mut Canvas,
) {
    let Some(who) = lane.members.first().copied() else { return };
    let base = lane.height() - BELOW;
    peer::draw_faults(story, lane, canvas);
    let is_hls = is_hls(story, who);
    if is_hls {
        hls::draw(story, who, lane, canvas);
    } else {
        draw_scale(lane, scale, canvas);
        canvas.path("delay", &delay::path(series, scale, base, height(lane), true));
    }
    for connection in story.connections(who) {
        peer::draw_connection(story, connection, canvas, base + 2.0);
        draw_playing(story, connection, canvas, base + 2.0);
        draw_deaf(story, lane, connection, canvas);
        draw_losses(story, lane, connection, canvas);
        peer::draw_told(story, connection, canvas, base + 4.0, base - 1.0);
    }
}

/// Whether it fetches, and gets no tags.
pub(super) fn is_hls(story: &Story<'_>, who: Who) -> bool {
    story.cast.play(who).is_some_and(|play| play.player == Player::Hls)
}

/// Many viewers: the one in the middle, and the worst.
pub(super) fn draw_crowd(
    story: &Story<'_>,
    lane: &Lane,
    scale: &Scale,
    (middle, worst): (&Series, &Series),
    canvas: &mut Canvas,
) {
    let base = lane.height() - BELOW;
    peer::draw_faults(story, lane, canvas);
    draw_scale(lane, scale, canvas);
    canvas.path("delay worst", &delay::path(worst, scale, base, height(lane), true));
    canvas.path("middle", &delay::path(middle, scale, base, height(lane), false));
    draw_crowd_size(story, lane, canvas, base + 2.0);
    draw_crowd_losses(story, lane, canvas);
}

fn draw_scale(lane: &Lane, scale: &Scale, canvas: &mut Canvas) {
    for ms in scale.delays() {
        let y = lane.height() - BELOW - scale.up(ms, height(lane));
        canvas.path("grid", &format!("M0 {}H{}", super::text::Px(y), super::scale::WIDTH));
    }
}

fn draw_playing(story: &Story<'_>, connection: &Connection, canvas: &mut Canvas, y: f64) {
    let Some((told, key)) = &connection.playing else { return };
    let to = story.over_at(connection);
    let got = connection.got.len() as u64;
    let lost: u64 = connection.slow_lags().map(|lag| lag.tags).sum();
    let name = story.name(connection.who);
    let account = connection.account.map_or_else(String::new, |(_, _, account)| {
        format!(
            "\nthe node's account: {} published, {} delivered, {} lost, {} unsent",
            account.published, account.delivered, account.lag, account.unsent
        )
    });
    let came = match is_hls(story, connection.who) {
        true => hls::result(story, connection.who),
        false => format!("got {} tags, lost {}", grouped(got), grouped(lost)),
    };
    let title = format!("{} … {to} s\n{name} plays {key}: {came}{account}", told.at);
    canvas.span("waits", Span { from: told.at, to, y, height: 4.0 }, &title);
    for (from, to) in arrivals(story, connection) {
        canvas.span("play", Span { from, to, y, height: 4.0 }, &title);
    }
}

/// When tags arrived, one soon after the other.
fn arrivals(story: &Story<'_>, connection: &Connection) -> Vec<(SimTime, SimTime)> {
    let least = Duration::from_micros(story.end.micros() / 400);
    let mut spans: Vec<(SimTime, SimTime)> = Vec::new();
    let mut arrive = |at: SimTime, pause: Duration| match spans
        .last_mut()
        .filter(|last| at.since(last.1) <= pause.max(least))
    {
        Some(last) => last.1 = at,
        None => spans.push((at, at)),
    };
    if is_hls(story, connection.who) {
        let lasts = connection.dialed.at..story.over_at(connection);
        let mine = hls::arrivals(story, connection.who).filter(|at| lasts.contains(at));
        mine.for_each(|at| arrive(at, 3 * STARVES));
    } else {
        connection.got.iter().for_each(|got| arrive(got.at, STARVES));
    }
    spans
}

/// A player that gets nothing for so long has an empty buffer.
const STARVES: Duration = Duration::from_secs(1);

fn draw_deaf(story: &Story<'_>, lane: &Lane, connection: &Connection, canvas: &mut Canvas) {
    for (from, to) in &connection.deaf {
        let (from, to) = (*from, (*to).min(story.over_at(connection)));
        let title = format!("{from} … {to} s\n{} does not read", story.name(connection.who));
        let (y, height) = (peer::FAULTS_HEIGHT, lane.height() - peer::FAULTS_HEIGHT);
        canvas.span("deaf", Span { from, to, y, height }, &title);
    }
}

/// Lags as the node told them; holes and resumes as the viewer saw them.
fn draw_losses(story: &Story<'_>, lane: &Lane, connection: &Connection, canvas: &mut Canvas) {
    let name = story.name(connection.who);
    for lag in &connection.lags {
        let (at, tags) = (lag.at, grouped(lag.tags));
        let why = cause(lag.cause);
        let title = format!("{at} s\n{name} loses {tags} tags, {}: {why}", bytes(lag.bytes));
        let (sign, words) = match lag.cause {
            LagCause::Overflow | LagCause::Disposable => ("lag", "lag-words"),
            LagCause::NoKeyframe | LagCause::Filtered => ("withheld", "withheld-words"),
        };
        canvas.mark(sign, at, 12.0, &title);
        canvas.label_beside(words, at, 20.0, &format!("−{tags} tags"));
    }
    let Some(topic) = story.ledger.topic_of(connection) else { return };
    for hole in &connection.holes {
        draw_hole(lane, connection, topic, hole, canvas);
    }
}

fn draw_hole(lane: &Lane, c: &Connection, topic: &Topic, hole: &Hole, canvas: &mut Canvas) {
    let before = c.got[..hole.got].last().map_or(c.dialed.at, |got| got.at);
    let behind = c.got[hole.got].at;
    let lost_ms = clock_ms(topic, hole.to).saturating_sub(clock_ms(topic, hole.from));
    let title = format!(
        "{before} … {behind} s\ngap: {} tags, {}, {lost_ms} ms of the stream",
        hole.tags(),
        bytes(hole.bytes)
    );
    let (y, height) = (peer::FAULTS_HEIGHT, lane.height() - peer::FAULTS_HEIGHT - BELOW);
    canvas.span("gap", Span { from: before, to: behind, y, height }, &title);
    let Some(picture) = c.got[hole.got..].iter().find(|got| got.tag.role.is_picture()) else {
        return;
    };
    draw_resume(topic, picture, behind, lane.height() - BELOW, canvas);
}

/// The first picture after a gap: a decoder wants a keyframe.
fn draw_resume(topic: &Topic, got: &GotTag, since: SimTime, y: f64, canvas: &mut Canvas) {
    let gop = got.matched.place().map_or(0, |place| topic.tags[place as usize].gop);
    let at = got.at;
    let waits = at.since(since).as_millis();
    match got.tag.role {
        Role::Keyframe => {
            let title = format!("{at} s\nresumes with the keyframe of GOP {gop}, after {waits} ms");
            canvas.mark("resume", at, y, &title);
        }
        role => {
            let title = format!("{at} s\ngoes on in GOP {gop} with a picture that is {role:?}");
            canvas.mark("goes-on", at, y, &title.to_lowercase());
        }
    }
}

fn clock_ms(topic: &Topic, place: u32) -> u64 {
    topic.tags.get(place as usize).map_or(0, |tag| tag.clock_ms)
}

fn cause(cause: LagCause) -> &'static str {
    match cause {
        LagCause::Overflow => "it was too slow",
        LagCause::Disposable => "disposable frames, left out for a viewer that falls behind",
        LagCause::NoKeyframe => "they could not have been decoded",
        LagCause::Filtered => "the viewer does not want them",
    }
}

/// Parts of the picture that a crowd's events are counted in.
const CROWD_COLUMNS: u64 = 120;

/// How many of a crowd play, as the thickness of the strip.
fn draw_crowd_size(story: &Story<'_>, lane: &Lane, canvas: &mut Canvas, y: f64) {
    let mut steps: Vec<(SimTime, i64)> = Vec::new();
    for connection in lane.members.iter().flat_map(|who| story.connections(*who)) {
        if let Some((told, _)) = &connection.playing {
            steps.extend([(told.at, 1), (story.over_at(connection), -1)]);
        }
    }
    steps.sort_unstable();
    let (mut playing, mut since) = (0_i64, SimTime::ZERO);
    let share = |playing: i64| 5.0 * playing as f64 / lane.members.len() as f64;
    for (at, step) in steps.into_iter().chain([(story.end, 0)]) {
        // A step a pixel is enough.
        let is_worth = at.since(since).as_micros() * 600 > u128::from(story.end.micros());
        if playing > 0 && is_worth {
            let title = format!("{since} … {at} s\n{playing} of {} play", lane.members.len());
            let height = share(playing).max(0.5);
            canvas.span("play", Span { from: since, to: at, y, height }, &title);
        }
        if is_worth || playing == 0 {
            since = at;
        }
        playing += step;
    }
}

#[derive(Clone, Copy, Default)]
struct Tally {
    lags: u64,
    tags: u64,
    errors: u64,
    closes: u64,
}

fn draw_crowd_losses(story: &Story<'_>, lane: &Lane, canvas: &mut Canvas) {
    let micros = (story.end.micros() / CROWD_COLUMNS).max(1);
    let mut tallies = vec![Tally::default(); CROWD_COLUMNS as usize + 1];
    let column = |at: SimTime| (at.micros() / micros).min(CROWD_COLUMNS) as usize;
    for connection in lane.members.iter().flat_map(|who| story.connections(*who)) {
        for lag in connection.slow_lags() {
            let tally = &mut tallies[column(lag.at)];
            (tally.lags, tally.tags) = (tally.lags + 1, tally.tags + lag.tags);
        }
        for (told, ..) in &connection.errors {
            tallies[column(told.at)].errors += 1;
        }
        if let Some((told, _)) = &connection.closed {
            tallies[column(told.at)].closes += 1;
        }
    }
    for (index, tally) in (0..).zip(&tallies) {
        let at = SimTime::from_micros(index * micros);
        if tally.lags > 0 {
            let tags = grouped(tally.tags);
            canvas.mark("lag", at, 12.0, &format!("{at} s\n{} lags, {tags} tags", tally.lags));
            canvas.label_beside("lag-words", at, 20.0, &format!("−{tags} tags"));
        }
        if tally.errors > 0 {
            let y = lane.height() - BELOW + 4.0;
            canvas.mark("error", at, y, &format!("{at} s\n{} were told errors", tally.errors));
        }
        if tally.closes > 0 {
            let y = lane.height() - BELOW + 4.0;
            canvas.mark("close", at, y, &format!("{at} s\n{} connections closed", tally.closes));
        }
    }
}
