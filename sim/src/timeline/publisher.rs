//! A publisher's lane: its sessions, the rate it sends with, its keyframes with their GOPs.

use std::time::Duration;

use super::canvas::{Canvas, Span};
use super::delay;
use super::lanes::Lane;
use super::peer;
use super::scale::WIDTH;
use super::story::Story;
use super::text::bytes;
use crate::ledger::{Connection, Publication};
use crate::tag::{Kind, Role};
use crate::time::SimTime;
use crate::trace::Who;

/// The bar of a session, with its keyframes.
const BAR: f64 = 11.0;

/// Where errors have their words: above those of sessions.
const WORDS_Y: f64 = 20.0;

/// Keyframes closer to one another than this, in pixels, are one tick.
const TICK_GAP: f64 = 2.5;

/// Keyframes this close on average are too many to be read; then they are drawn this far apart.
const DENSE_GAP: f64 = 8.0;
const SPARSE_GAP: f64 = 26.0;

/// What is sent for so long without being seen in the hub is lost.
const LOST: Duration = Duration::from_secs(1);

/// Columns of the rate: wide ones, for it is a matter of seconds.
const RATE_COLUMNS: usize = 160;

pub(super) fn draw(story: &Story<'_>, lane: &Lane, canvas: &mut Canvas) {
    let Some(who) = lane.members.first().copied() else { return };
    let base = lane.height() - BAR - 5.0;
    peer::draw_faults(story, lane, canvas);
    canvas.path("rate", &rate_path(story, who, base - 1.0, base - 12.0));
    for connection in story.connections(who) {
        peer::draw_connection(story, connection, canvas, lane.height() - 5.0);
        peer::draw_told(story, connection, canvas, base + BAR / 2.0, WORDS_Y);
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

/// What became of a publication in the hub.
struct Entered {
    session: u64,
    /// When its last tag was seen to enter.
    last_at: SimTime,
    /// The number of its first GOP, and how many entered.
    gops: (u32, u32),
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
    let entered = entered(story, connection, publication);
    let session = entered.as_ref().map_or_else(
        || "nothing of it was seen in the hub".to_owned(),
        |entered| format!("session {}", entered.session),
    );
    let len: u64 = publication.sent.iter().map(|sent| u64::from(sent.tag.len)).sum();
    let title = format!(
        "{from} … {to} s\n{name} publishes {key}, {session}: {} tags, {}",
        publication.sent.len(),
        bytes(len)
    );
    let last_sent = publication.sent.last().map_or(from, |sent| sent.at);
    let until = match &entered {
        None => from,
        Some(entered) if last_sent.since(entered.last_at) > LOST => entered.last_at,
        Some(_) => to,
    };
    if until > from {
        canvas.span("session", Span { from, to: until, y, height: BAR }, &title);
    }
    if until < to {
        let title = format!("{title}\nwhat was sent from {until} s on was not seen in the hub");
        canvas.span("session refused", Span { from: until, to, y, height: BAR }, &title);
        if until > from {
            canvas.label("error-words", until, WORDS_Y, "not seen in the hub");
        }
    }
    canvas.label("session-words", from, y - 3.0, &format!("{key}, {session}"));
    draw_keyframes(story, publication, entered.map_or((0, 0), |entered| entered.gops), canvas, y);
}

fn entered(
    story: &Story<'_>,
    connection: &Connection,
    publication: &Publication,
) -> Option<Entered> {
    let is_it = |(index, number): (usize, usize)| {
        let known = &story.ledger.connections[index];
        known.dialed == connection.dialed
            && known.publications[number].accepted == publication.accepted
    };
    story.ledger.topics.iter().find_map(|topic| {
        let mut sessions = topic.sessions.iter();
        let session = sessions.find(|session| session.publication.is_some_and(is_it))?;
        let tags = &topic.tags[session.places.clone()];
        let keyframes = || tags.iter().filter(|tag| tag.tag.role == Role::Keyframe);
        Some(Entered {
            session: session.session,
            last_at: tags.last()?.at,
            gops: (keyframes().next().map_or(0, |tag| tag.gop), keyframes().count() as u32),
        })
    })
}

fn draw_keyframes(
    story: &Story<'_>,
    publication: &Publication,
    (first_gop, gops): (u32, u32),
    canvas: &mut Canvas,
    y: f64,
) {
    let keyframes = || publication.sent.iter().filter(|sent| sent.tag.role == Role::Keyframe);
    let last = publication.sent.last().map_or(publication.accepted.at, |sent| sent.at);
    let drawn = last.since(publication.accepted.at).as_micros() as f64;
    let pixels = drawn / story.end.micros() as f64 * WIDTH;
    let is_dense = pixels / (keyframes().count().max(1) as f64) < DENSE_GAP;
    let mut thin = Thin::new(story, if is_dense { SPARSE_GAP } else { TICK_GAP });
    for (sent, index) in keyframes().zip(0..) {
        if !thin.takes(sent.at) {
            continue;
        }
        let (at, tag) = (sent.at, sent.tag);
        let gop = (index < gops).then_some(first_gop + index);
        let number = gop.map_or_else(String::new, |gop| format!(" of GOP {gop}"));
        let more = if is_dense { "\nthere are more than are drawn" } else { "" };
        let (ms, len) = (tag.timestamp_ms, bytes(tag.len.into()));
        canvas.mark("key", at, y, &format!("{at} s\nkeyframe{number}, {ms} ms, {len}{more}"));
        if let Some(gop) = gop {
            canvas.label("gop", at, y + BAR - 2.5, &gop.to_string());
        }
    }
    draw_headers(story, publication, canvas, y);
}

/// Sequence headers but for the first of each kind, which are no news.
fn draw_headers(story: &Story<'_>, publication: &Publication, canvas: &mut Canvas, y: f64) {
    let mut seen = Vec::new();
    let mut thin = Thin::new(story, SPARSE_GAP);
    for sent in publication.sent.iter().filter(|sent| sent.tag.role == Role::Header) {
        if !seen.contains(&sent.tag.kind) {
            seen.push(sent.tag.kind);
        } else if thin.takes(sent.at) {
            let kind = if sent.tag.kind == Kind::Video { "video" } else { "audio" };
            canvas.mark("header", sent.at, y, &format!("{} s\n{kind} sequence header", sent.at));
        }
    }
}

/// Takes moments that are far enough from one another.
struct Thin {
    gap_micros: u64,
    next: SimTime,
}

impl Thin {
    fn new(story: &Story<'_>, gap: f64) -> Self {
        let gap_micros = (story.end.micros() as f64 * gap / WIDTH) as u64;
        Self { gap_micros, next: SimTime::ZERO }
    }

    fn takes(&mut self, at: SimTime) -> bool {
        let takes = at >= self.next;
        if takes {
            self.next = SimTime::from_micros(at.micros() + self.gap_micros);
        }
        takes
    }
}
