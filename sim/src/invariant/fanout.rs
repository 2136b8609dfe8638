//! PROPERTIES 1.3: what a viewer gets is what was published, less what it was told it lost. How
//! fast, and until when, is in [`pace`].

mod pace;

use super::{Finding, Judged, Verdict, first};
use crate::ledger::{Connection, GotTag, Lost, Matched, Topic};
use crate::tag::Kind;
use crate::tag::Role;
use crate::time::SimTime;
use crate::trace::{Account, Close, LagCause};

pub(super) use self::pace::{end, first_picture, lag_heals, live_delay, saturation, stuck_viewer};

fn bad_tag(run: &Judged<'_>, kind: &str, is_bad: impl Fn(Matched) -> Option<String>) -> Verdict {
    first(run.ledger.viewers().filter_map(|(connection, topic)| {
        let mut bad = connection.got.iter().filter_map(|got| Some((got, is_bad(got.matched)?)));
        let (got, how) = bad.next()?;
        let published = topic.published_otherwise(&got.tag).filter(|tag| *tag != got.tag);
        let published = published.map_or(String::new(), |tag| format!("; published: {tag}"));
        let saw = format!("got {} {how}{published}", got.tag);
        Some(Finding::new(got.event, connection.who, kind, saw))
    }))
}

/// H1.
pub(super) fn order(run: &Judged<'_>) -> Verdict {
    bad_tag(run, "out of order", |matched| match matched {
        Matched::Late { is_twice: false, place } => Some(format!("after its time, place {place}")),
        _ => None,
    })
}

/// H2.
pub(super) fn nothing_twice(run: &Judged<'_>) -> Verdict {
    bad_tag(run, "twice", |matched| match matched {
        Matched::Late { is_twice: true, place } => Some(format!("again, place {place}")),
        _ => None,
    })
}

/// H3.
pub(super) fn untouched(run: &Judged<'_>) -> Verdict {
    let foreign = bad_tag(run, "not as published", |matched| {
        (matched == Matched::Foreign).then(|| "which nobody published so".to_owned())
    });
    // Viewers of a stream that no hub ever had.
    let unknown = run.ledger.connections.iter().filter(|connection| connection.topic.is_none());
    let invented = unknown.filter_map(|connection| {
        let got = connection.got.first()?;
        let saw = format!("got {} of a stream that never entered", got.tag);
        let died = !run.ledger.is_up(connection.node, connection.dialed.at, got.at);
        (!died).then(|| Finding::new(got.event, connection.who, "not as published", saw))
    });
    let garbled = run.ledger.connections.iter().filter_map(|connection| {
        let (told, why) = connection.garbled.as_ref()?;
        Some(Finding::new(told.event, connection.who, "unreadable", why.to_string()))
    });
    first(foreign.into_iter().chain(invented).chain(garbled))
}

/// Accounts of connections of which everything that their nodes told is known to be theirs.
fn accounts<'r>(
    run: &'r Judged<'_>,
) -> impl Iterator<Item = (&'r Connection, &'r Topic, usize, Account)> {
    run.ledger.viewers().filter_map(|(connection, topic)| {
        let (_, event, account) = connection.account?;
        Some((connection, topic, event, account))
    })
}

/// H4.
pub(super) fn conserved(run: &Judged<'_>) -> Verdict {
    first(accounts(run).filter_map(|(connection, _, event, account)| {
        let Account { published, delivered, lag, unsent } = account;
        let saw = |what: &str| {
            format!(
                "{what}: published {published}, delivered {delivered}, lag {lag}, unsent {unsent}"
            )
        };
        let finding = |what| Some(Finding::new(event, connection.who, "account", saw(what)));
        if published != delivered + lag + unsent {
            return finding("does not add up");
        }
        // As sets: everything in a hole is lost, so no less than that may be in the account.
        let missing: u64 = connection.holes.iter().map(|hole| u64::from(hole.tags())).sum();
        if lag + unsure(connection) < missing {
            return finding(&format!("{missing} tags are missing between those it got"));
        }
        let got = connection.places().count() as u64;
        if got > delivered + unsent + unsure(connection) + 1 {
            return finding(&format!("it got {got} tags"));
        }
        None
    }))
}

/// Tags that may be headers repeated, or not: counts are judged with so much room.
pub(super) fn unsure(connection: &Connection) -> u64 {
    let unsure = |got: &&GotTag| {
        matches!(
            got.matched,
            Matched::Place { is_sure: false, .. }
                | Matched::Repeated { is_sure: false }
                | Matched::Unwitnessed
        )
    };
    connection.got.iter().filter(unsure).count() as u64
}

/// H5.
pub(super) fn no_seam(run: &Judged<'_>) -> Verdict {
    first(run.ledger.viewers().filter_map(|(connection, topic)| {
        let joined = topic.entered_by(run.told_to_play(connection)) as u32;
        // Silent until the first picture: nothing was cached, so nothing is sewn.
        let picture = connection.got.iter().position(|got| got.tag.role.is_picture())?;
        let hole = connection
            .holes
            .iter()
            .find(|hole| hole.from <= joined && joined <= hole.to && hole.tags() > hole.orphans)?;
        // As any other gap: by the time of the picture behind it.
        let mut behind = connection.got[hole.got..].iter();
        let due = behind.find(|got| got.tag.role.is_picture()).map_or(SimTime::MAX, |got| got.at);
        let is_told = connection.lags.iter().any(|lost| lost.at <= due);
        // A pause looks like one.
        let is_choosy = run.cast.is_choosy(connection.who);
        let is_seam = hole.got > picture && !is_told && !is_choosy;
        let got = &connection.got[hole.got];
        let saw = format!("{} tags are missing before {} where it joined", hole.tags(), got.tag);
        is_seam.then(|| Finding::new(got.event, connection.who, "seam", saw))
    }))
}

/// H6.
pub(super) fn gaps_are_told(run: &Judged<'_>) -> Verdict {
    let viewers = run.ledger.viewers();
    first(viewers.filter_map(|(connection, topic)| {
        let (last, got) = connection.places().next_back()?;
        let room = unsure(connection);
        if let Some(finding) = untold(connection, topic, room) {
            return Some(finding);
        }
        let known = || connection.lags.iter().filter(|lost| !topic.is_cut_off(lost.at));
        let told: u64 = known().map(|lost| lost.tags).sum();
        let inside: u64 = connection.holes.iter().map(|hole| u64::from(hole.tags())).sum();
        let start = connection.connected.map_or(connection.dialed.at, |told| told.at);
        let first = connection.places().next().map_or(last, |(first, _)| first) as usize;
        // What is lost before the first tag may be of the past that it was to start with. What it
        // did not want is told behind it.
        let lost_first = connection.lags.first().is_some_and(|lost| {
            lost.cause == LagCause::Filtered
                || connection.places().next().is_some_and(|(_, got)| lost.at <= got.at)
        });
        let since = if lost_first { 0 } else { topic.entered_by(start) };
        let before = first.saturating_sub(since);
        let behind = topic.tags.len() as u64 - u64::from(last) - 1;
        if told > inside + before as u64 + behind + room {
            let event = connection.lags.last()?.event;
            let saw = format!("told of {told} tags lost, {inside} are missing");
            return Some(Finding::new(event, connection.who, "gap that is none", saw));
        }
        let missing_bytes: u64 = connection.holes.iter().map(|hole| hole.bytes).sum();
        let told_bytes: u64 = known().map(|lost| lost.bytes).sum();
        let is_exact = room == 0
            && told == inside
            && before == 0
            && connection.lags.last().is_none_or(|lost| lost.at <= got.at);
        (is_exact && told_bytes != missing_bytes).then(|| {
            let saw = format!("told of {told_bytes} bytes lost, {missing_bytes} are missing");
            let event = connection.lags.last().map_or(got.event, |lost| lost.event);
            Finding::new(event, connection.who, "wrong bytes of a gap", saw)
        })
    }))
}

/// The first gap that was not told by the time of the picture behind it. What could not have been
/// decoded anyway may be told with that one; without pictures any tag will do.
fn untold(connection: &Connection, topic: &Topic, room: u64) -> Option<Finding> {
    let has_video = topic.tags.iter().any(|tag| tag.tag.kind == Kind::Video);
    let mut lags = connection.lags.iter().peekable();
    let (mut missing, mut told) = (0, 0);
    let mut due = 0;
    for hole in &connection.holes {
        due = due.max(hole.got);
        while has_video && connection.got.get(due).is_some_and(|got| !got.tag.role.is_picture()) {
            due += 1;
        }
        let got = connection.got.get(due)?;
        missing += u64::from(hole.tags() - hole.orphans);
        while let Some(lost) = lags.next_if(|lost| lost.at <= got.at) {
            told += lost.tags;
        }
        if told + room < missing {
            let saw = format!("{missing} tags are missing up to {}, {told} were told", got.tag);
            return Some(Finding::new(got.event, connection.who, "gap that is not told", saw));
        }
    }
    None
}

/// H7: not even everything that it had not got yet at that moment makes a full backlog.
pub(super) fn pressure(run: &Judged<'_>) -> Verdict {
    let viewers = run.ledger.viewers();
    first(viewers.filter_map(|(connection, topic)| {
        connection.slow_lags().find_map(|lost| calm_loss(run, connection, topic, lost))
    }))
}

fn calm_loss(
    run: &Judged<'_>,
    connection: &Connection,
    topic: &Topic,
    lost: &Lost,
) -> Option<Finding> {
    let limits = &run.limits;
    let behind = run.behind(connection, topic, lost.at);
    // What no other picture needs goes at half the bound.
    let part = if lost.cause == LagCause::Disposable { 2 } else { 1 };
    // A tenth for the grain of the clocks.
    let over = |value: u64, bound: u64| value >= bound / 10 * 9;
    let backlog = over(behind.ms, limits.backlog_ms / part)
        || over(behind.bytes, limits.backlog_bytes / part);
    let overtaken = over(behind.ms, limits.history_ms.min(limits.gop_ms))
        || over(behind.tags, limits.ring_tags)
        || over(behind.bytes * 2 + behind.tags * 512, limits.ring_bytes);
    (!backlog && !overtaken && !topic.is_cut_off(lost.at)).then(|| {
        let saw = format!(
            "lost {} tags ({:?}) when it had not got {} ms, {} bytes at most",
            lost.tags, lost.cause, behind.ms, behind.bytes
        );
        Finding::new(lost.event, connection.who, "loss without pressure", saw)
    })
}

/// How far sound and picture of one publisher are apart, at most.
const RETURN_STEP_MS: i32 = 1_000;

/// H8.
pub(super) fn dts(run: &Judged<'_>) -> Verdict {
    first(run.ledger.viewers().filter_map(|(connection, topic)| {
        let mut last: [Option<(&GotTag, Option<u32>)>; 3] = [None; 3];
        for got in connection.got.iter().filter(|got| got.is_media()) {
            let place = got.matched.place();
            let before = last[got.tag.kind as usize].replace((got, place));
            let Some((before, before_place)) = before else { continue };
            let step = got.tag.timestamp_ms.wrapping_sub(before.tag.timestamp_ms) as i32;
            let excused = before_place.zip(place).is_some_and(|(before_place, this_place)| {
                let this = &topic.tags[this_place as usize];
                let before = &topic.tags[before_place as usize];
                // A publisher that returns goes on where it left off, and knows that of the kind
                // of media that was ahead. Behind an end time may begin again.
                let mut ends = topic.overs.iter().map(|over| over.place);
                let is_over = ends.any(|end| end > before_place && end <= this_place);
                let returned = before.session != this.session;
                // What goes back as published goes back as delivered, or as what was missed.
                before.back_steps < this.back_steps
                    || returned && (is_over || step > -RETURN_STEP_MS)
            });
            // Whoever wants no pictures for a while misses how their time got there.
            if step < 0 && !excused && !run.cast.is_choosy(connection.who) {
                let saw = format!("got {} after {} ms", got.tag, before.tag.timestamp_ms);
                return Some(Finding::new(got.event, connection.who, "time goes back", saw));
            }
        }
        None
    }))
}

/// H9.
pub(super) fn together(run: &Judged<'_>) -> Verdict {
    first(run.ledger.viewers().filter_map(|(connection, topic)| {
        let lossy = connection.holes.iter().filter(|hole| {
            let before = hole.from.checked_sub(1).map(|last| topic.tags[last as usize].session);
            let is_start = hole.got == 0 || before.is_none();
            hole.needed > 0 && !is_start && before == Some(topic.tags[hole.to as usize].session)
        });
        lossy.filter(|_| !run.cast.is_choosy(connection.who)).find_map(|hole| {
            let shown = connection.got[..hole.got].iter().any(|got| got.tag.role.is_picture());
            let behind = &connection.got[hole.got..];
            let picture = behind.iter().position(|got| got.tag.role.is_picture())?;
            let due = behind[picture].tag.timestamp_ms;
            let early = behind[..picture].iter().find(|got| {
                let ahead = due.wrapping_sub(got.tag.timestamp_ms) as i32;
                got.tag.role == Role::Sound && ahead > run.limits.resume_skew_ms as i32
            })?;
            let ahead = due.wrapping_sub(early.tag.timestamp_ms);
            let saw = format!("got {} {ahead} ms before the picture that resumes", early.tag);
            shown.then(|| Finding::new(early.event, connection.who, "sound before picture", saw))
        })
    }))
}

/// H12.
pub(super) fn healthy(run: &Judged<'_>) -> Verdict {
    let healthy = run.ledger.viewers().filter(|(connection, _)| run.is_healthy(connection));
    first(healthy.filter_map(|(connection, _)| {
        let lost = connection.slow_lags().next();
        let lost = lost.map(|lost| {
            let saw = format!("lost {} tags ({:?}) on a link that suffices", lost.tags, lost.cause);
            Finding::new(lost.event, connection.who, "loss of the healthy", saw)
        });
        let evicted = connection.errors.iter().filter(|_| run.limits.disconnects).map(|error| {
            let saw = format!("was told {}: {}", error.1, error.2);
            Finding::new(error.0.event, connection.who, "loss of the healthy", saw)
        });
        let hole = connection.holes.iter().find(|hole| {
            let before = &connection.got[..hole.got];
            // Whoever waits for a picture is not given those before it.
            let shown = before.iter().any(|got| got.tag.role.is_picture());
            shown && hole.needed > 0 && !run.cast.is_choosy(connection.who)
        });
        let hole = hole.map(|hole| {
            let got = &connection.got[hole.got];
            let saw = format!("{} tags are missing before {}", hole.tags(), got.tag);
            Finding::new(got.event, connection.who, "loss of the healthy", saw)
        });
        first(lost.into_iter().chain(evicted).chain(hole))
    }))
}

/// H19.
pub(super) fn republish(run: &Judged<'_>) -> Verdict {
    first(run.ledger.viewers().filter_map(|(connection, topic)| {
        let (mut newest, mut fresh) = (None, [false; 3]);
        for got in &connection.got {
            let kind = got.tag.kind as usize;
            if got.tag.role == Role::Header {
                fresh[kind] = true;
            }
            let place = match got.matched {
                Matched::Place { place, .. } | Matched::Late { place, .. } => place as usize,
                _ => continue,
            };
            let tag = &topic.tags[place];
            let finding =
                |saw: String| Some(Finding::new(got.event, connection.who, "sessions mixed", saw));
            if newest.is_some_and(|newest| tag.session < newest) {
                let newest = newest.unwrap_or_default();
                return finding(format!(
                    "got {} of session {} after {newest}",
                    got.tag, tag.session
                ));
            }
            if !got.is_media() {
                continue;
            }
            if newest.is_some_and(|newest| newest < tag.session) {
                // Headers that were said since the last picture or sound are the new session's.
                fresh = fresh_since_media(connection, got);
            }
            newest = Some(tag.session);
            if tag.header.is_some() && !fresh[kind] {
                let saw = format!("got {} of session {} before its header", got.tag, tag.session);
                return finding(saw);
            }
        }
        None
    }))
}

/// Kinds of headers that were got right before this tag, since the last picture or sound.
fn fresh_since_media(connection: &Connection, got: &GotTag) -> [bool; 3] {
    let end = connection.got.partition_point(|known| known.event < got.event);
    let since = connection.got[..end].iter().rev().take_while(|known| !known.is_media());
    let mut fresh = [false; 3];
    since
        .filter(|known| known.tag.role == Role::Header)
        .for_each(|known| fresh[known.tag.kind as usize] = true);
    fresh
}

/// Whether the stream ended for this viewer as it should, with everything read to the last byte.
pub(super) fn read_to_the_end(run: &Judged<'_>, connection: &Connection) -> bool {
    let closed = connection.closed.map(|(_, close)| close);
    closed == Some(Close::Eof)
        && connection.ends.len() == 1
        && connection.errors.is_empty()
        && run.is_undisturbed(connection, connection.dialed.at, connection.over_at())
}
