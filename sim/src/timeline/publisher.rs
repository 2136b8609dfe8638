//! A publisher's lane: its sessions, the rate it sends with, its keyframes with their GOPs.

use super::canvas::{Canvas, Span};
use super::delay;
use super::lanes::Lane;
use super::peer;
use super::scale::WIDTH;
use super::story::Story;
use super::text::bytes;
use crate::ledger::{Connection, Publication, Topic};
use crate::tag::Role;
use crate::time::SimTime;
use crate::trace::Who;

/// The bar of a session, with its keyframes.
const BAR: f64 = 11.0;

/// Keyframes closer to one another than this, in pixels, are one tick.
const TICK_GAP: f64 = 2.5;

/// Columns of the rate: wide ones, for it is a matter of seconds.
const RATE_COLUMNS: usize = 160;

pub(super) fn draw(story: &Story<'_>, lane: &Lane, canvas: &mut Canvas) {
    let Some(who) = lane.members.first().copied() else { return };
    let base = lane.height() - BAR - 5.0;
    peer::draw_faults(story, lane, canvas);
    canvas.path("rate", &rate_path(story, who, base - 1.0, base - 12.0));
    for connection in story.connections(who) {
        peer::draw_connection(story, connection, canvas, lane.height() - 5.0);
        peer::draw_told(story, connection, canvas, base + BAR / 2.0);
        for publication in &connection.publications {
            draw_session(story, connection, publication, canvas, base);
        }
    }
}

/// Bytes per column, against the most of any.
fn rate_path(story: &Story<'_>, who: Who, base: f64, height: f64) -> String {
    let mut series = vec![None; RATE_COLUMNS];
    let column_micros = (story.end.micros() / RATE_COLUMNS as u64).max(1);
    for publication in story.connections(who).flat_map(|c| &c.publications) {
        for sent in &publication.sent {
            let column = (sent.at.micros() / column_micros).min(RATE_COLUMNS as u64 - 1);
            *series[column as usize].get_or_insert(0) += u64::from(sent.tag.len);
        }
    }
    let most = series.iter().flatten().copied().max().unwrap_or(1).max(1);
    delay::curve(&series, |len| base - len as f64 / most as f64 * height, base, true)
}

fn draw_session(
    story: &Story<'_>,
    connection: &Connection,
    publication: &Publication,
    canvas: &mut Canvas,
    y: f64,
) {
    let from = publication.accepted.at;
    let mut next = connection.publications.iter().map(|p| p.accepted.at).filter(|at| *at > from);
    let to = next.next().unwrap_or_else(|| story.over_at(connection));
    let (name, key) = (story.name(connection.who), &publication.key);
    let entered = session_of(story, connection, publication);
    let session = entered.map_or_else(
        || "nothing of it entered the hub".to_owned(),
        |(_, session, _)| format!("session {session}"),
    );
    let len: u64 = publication.sent.iter().map(|sent| u64::from(sent.tag.len)).sum();
    let title = format!(
        "{from} … {to} s\n{name} publishes {key}, {session}: {} tags, {}",
        publication.sent.len(),
        bytes(len)
    );
    let class = if entered.is_some() { "session" } else { "session refused" };
    canvas.span(class, Span { from, to, y, height: BAR }, &title);
    canvas.label("session-words", from, y - 3.0, &format!("{key}, {session}"));
    draw_keyframes(story, publication, entered.map(|(_, _, gop)| gop), canvas, y);
}

/// The topic that a publication went into, the session's number, and the first GOP's in it.
fn session_of<'a>(
    story: &'a Story<'_>,
    connection: &Connection,
    publication: &Publication,
) -> Option<(&'a Topic, u64, u32)> {
    let is_it = |index: &(usize, usize)| {
        let known = &story.ledger.connections[index.0];
        known.dialed == connection.dialed
            && known.publications[index.1].accepted == publication.accepted
    };
    story.ledger.topics.iter().find_map(|topic| {
        let session = topic
            .sessions
            .iter()
            .find(|session| session.publication.is_some_and(|index| is_it(&index)))?;
        let first =
            topic.tags[session.places.clone()].iter().find(|tag| tag.tag.role == Role::Keyframe);
        Some((topic, session.session, first.map_or(0, |tag| tag.gop)))
    })
}

fn draw_keyframes(
    story: &Story<'_>,
    publication: &Publication,
    first_gop: Option<u32>,
    canvas: &mut Canvas,
    y: f64,
) {
    let gap_micros = (story.end.micros() as f64 * TICK_GAP / WIDTH) as u64;
    let mut drawn: Option<SimTime> = None;
    let keyframes = publication.sent.iter().filter(|sent| sent.tag.role == Role::Keyframe);
    for (sent, index) in keyframes.zip(0..) {
        if drawn.is_some_and(|last| sent.at.micros() < last.micros() + gap_micros) {
            continue;
        }
        drawn = Some(sent.at);
        let gop = first_gop.map(|first| first + index);
        let number = gop.map_or_else(String::new, |gop| format!(" of GOP {gop}"));
        let (at, tag) = (sent.at, sent.tag);
        let title =
            format!("{at} s\nkeyframe{number}, {} ms, {}", tag.timestamp_ms, bytes(tag.len.into()));
        canvas.mark("key", at, y, &title);
        if let Some(gop) = gop {
            canvas.label("gop", at, y + BAR - 2.5, &gop.to_string());
        }
    }
    let headers = publication.sent.iter().filter(|sent| sent.tag.role == Role::Header);
    // The first of each kind is no news.
    for sent in headers.skip(2) {
        let title = format!("{} s\n{:?} sequence header again", sent.at, sent.tag.kind);
        canvas.mark(
            "header",
            sent.at,
            y,
            &title.replace("Video", "video").replace("Audio", "audio"),
        );
    }
}
