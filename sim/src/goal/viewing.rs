//! Goals about timestamps, joins, gaps and ends, read off the ledger.

use std::time::Duration;

use crate::invariant::Judged;
use crate::ledger::{Connection, Hole, PublishedTag, Topic};
use crate::tag::{Kind, Role};
use crate::time::SimTime;

fn any_step(run: &Judged<'_>, is_it: impl Fn(u32, u32) -> bool) -> bool {
    run.ledger.topics.iter().any(|topic| {
        let media = topic.tags.iter().filter(|tag| tag.tag.kind != Kind::Script);
        let times: Vec<_> = media.map(|tag| tag.tag.timestamp_ms).collect();
        times.windows(2).any(|pair| is_it(pair[0], pair[1]))
    })
}

pub(super) fn wrapped_24(run: &Judged<'_>) -> bool {
    any_step(run, |a, b| a < 1 << 24 && b >= 1 << 24 && b - a < 10_000)
}

pub(super) fn wrapped_32(run: &Judged<'_>) -> bool {
    any_step(run, |a, b| a > u32::MAX - 10_000 && b < 10_000)
}

/// At least two viewers waited for longer than a publisher may be silent.
pub(super) fn publisher_frozen(run: &Judged<'_>) -> bool {
    run.ledger.topics.iter().any(|topic| {
        let ends = topic.tags.iter().skip(1).map(|tag| tag.at).chain([run.end()]);
        topic.tags.iter().zip(ends).any(|(tag, end)| {
            let is_silence = tag.at + run.limits.publisher_idle < end;
            let waits = |(c, t): &(&Connection, &Topic)| {
                is_same(t, topic)
                    && run.told_to_play(c) < tag.at + run.limits.publisher_idle
                    && c.over_at() > tag.at + run.limits.publisher_idle
            };
            is_silence && run.ledger.viewers().filter(waits).count() >= 2
        })
    })
}

fn is_same(a: &Topic, b: &Topic) -> bool {
    std::ptr::eq(a, b)
}

/// The newest tag that had entered when a viewer was told to play.
fn joined_at<'r>(run: &Judged<'_>, c: &Connection, topic: &'r Topic) -> Option<&'r PublishedTag> {
    topic.tags.get(topic.entered_by(run.told_to_play(c)).checked_sub(1)?)
}

pub(super) fn joined_behind_header(run: &Judged<'_>) -> bool {
    run.ledger.viewers().any(|(connection, topic)| {
        let end = topic.entered_by(run.told_to_play(connection));
        let last = topic.tags[..end].iter().rev();
        let mut behind = last.take_while(|tag| tag.tag.role != Role::Keyframe);
        behind.any(|tag| tag.tag.role == Role::Header && tag.tag.kind == Kind::Video)
    })
}

pub(super) fn joined_on_keyframe(run: &Judged<'_>) -> bool {
    run.ledger.viewers().any(|(connection, topic)| {
        let joined = run.told_to_play(connection);
        let since = topic.entered_by(joined - run.limits.tick);
        let until = topic.entered_by(joined + run.limits.tick);
        topic.tags[since..until].iter().any(|tag| tag.tag.role == Role::Keyframe)
    })
}

/// It joined a stream with pictures and was given none at once: the cache had none to give.
pub(super) fn joined_endless_gop(run: &Judged<'_>) -> bool {
    run.ledger.viewers().any(|(connection, topic)| {
        let Some(tag) = joined_at(run, connection, topic) else { return false };
        let Some(keyframe) = tag.keyframe.map(|place| &topic.tags[place as usize]) else {
            return false;
        };
        let bytes = tag.before.bytes - keyframe.before.bytes;
        let tags = tag.number - keyframe.number;
        let is_full = bytes > run.limits.ring_bytes
            || tags > run.limits.ring_tags
            || tag.clock_ms - keyframe.clock_ms > run.limits.gop_ms;
        is_full && connection.places().next().is_some()
    })
}

fn any_hole(run: &Judged<'_>, is_it: impl Fn(&Hole, &Topic) -> bool) -> bool {
    run.ledger.viewers().any(|(connection, topic)| {
        let lagged = connection.slow_lags().next().is_some();
        lagged && connection.holes.iter().any(|hole| is_it(hole, topic))
    })
}

fn missing<'t>(hole: &Hole, topic: &'t Topic) -> &'t [PublishedTag] {
    &topic.tags[hole.from as usize..hole.to as usize]
}

pub(super) fn header_in_gap(run: &Judged<'_>) -> bool {
    any_hole(run, |hole, topic| missing(hole, topic).iter().any(|tag| tag.tag.role == Role::Header))
}

pub(super) fn gap_from_keyframe(run: &Judged<'_>) -> bool {
    any_hole(run, |hole, topic| topic.tags[hole.from as usize].tag.role == Role::Keyframe)
}

pub(super) fn gap_to_keyframe(run: &Judged<'_>) -> bool {
    any_hole(run, |hole, topic| {
        let behind = topic.tags[hole.to as usize].tag.role == Role::Keyframe;
        behind && missing(hole, topic).iter().all(|tag| tag.tag.role != Role::Keyframe)
    })
}

pub(super) fn two_gaps_in_gop(run: &Judged<'_>) -> bool {
    run.ledger.viewers().any(|(connection, topic)| {
        let gop = |hole: &Hole| topic.tags[hole.from as usize].gop;
        connection.holes.windows(2).any(|pair| gop(&pair[0]) == gop(&pair[1]))
    })
}

pub(super) fn gap_over_ring(run: &Judged<'_>) -> bool {
    any_hole(run, |hole, topic| {
        let missing = missing(hole, topic);
        let ms = missing.last().map_or(0, |last| last.clock_ms) - missing[0].clock_ms;
        ms > run.limits.history_ms || hole.bytes > run.limits.ring_bytes
    })
}

pub(super) fn lost_audio_only(run: &Judged<'_>) -> bool {
    any_hole(run, |hole, topic| missing(hole, topic).iter().all(|tag| tag.tag.kind == Kind::Audio))
}

pub(super) fn lost_disposable_only(run: &Judged<'_>) -> bool {
    any_hole(run, |hole, topic| {
        missing(hole, topic).iter().all(|tag| tag.tag.role == Role::Disposable)
    })
}

pub(super) fn recovered(run: &Judged<'_>) -> bool {
    run.ledger.viewers().any(|(connection, _)| {
        let Some(last) = connection.slow_lags().last() else { return false };
        connection.got.last().is_some_and(|got| got.at > last.at + Duration::from_secs(10))
    })
}

/// A viewer that did not read for too long is gone for its node, whose stream goes on.
pub(super) fn evicted(run: &Judged<'_>) -> bool {
    run.ledger.viewers().any(|(connection, topic)| {
        let Some((at, _, account)) = connection.account else { return false };
        let is_stuck = |(from, to): &(SimTime, SimTime)| {
            let from = (*from).max(run.told_to_play(connection));
            from + run.limits.write_stall < at
                && at < *to
                && run.ledger.is_up(connection.node, from, at)
        };
        account.unsent > 0
            && connection.deaf.iter().any(is_stuck)
            && topic.overs.iter().all(|over| over.at > at)
    })
}

pub(super) fn healthy_beside_stuck(run: &Judged<'_>) -> bool {
    let all: Vec<_> = run.ledger.viewers().collect();
    all.iter().any(|(stuck, topic)| {
        let lagged = !stuck.deaf.is_empty() && stuck.slow_lags().next().is_some();
        lagged
            && all.iter().any(|(other, theirs)| {
                is_same(theirs, topic)
                    && other.slow_lags().next().is_none()
                    && run.is_healthy(other)
            })
    })
}

pub(super) fn crowd(run: &Judged<'_>) -> bool {
    run.ledger.topics.iter().any(|topic| {
        let mut joins = std::collections::BTreeMap::<u32, usize>::new();
        for (connection, theirs) in run.ledger.viewers().filter(|(_, t)| is_same(t, topic)) {
            let picture = connection.places().find(|(_, got)| got.tag.role.is_picture());
            if let Some((place, _)) = picture {
                *joins.entry(theirs.tags[place as usize].gop).or_default() += 1;
            }
        }
        joins.values().any(|joins| *joins >= 50)
    })
}

pub(super) fn left_mid_snapshot(run: &Judged<'_>) -> bool {
    run.ledger.viewers().any(|(connection, topic)| {
        let Some((first, _)) = connection.places().next() else { return false };
        let last = connection.places().next_back().map_or(first, |(last, _)| last);
        let joined = topic.entered_by(run.told_to_play(connection)) as u32;
        connection.closed.is_some() && last + 1 < joined
    })
}

fn session_pairs<'r>(run: &'r Judged<'_>) -> impl Iterator<Item = (&'r Topic, usize)> {
    run.ledger.topics.iter().flat_map(|t| (1..t.sessions.len()).map(move |session| (t, session)))
}

/// Some viewer got tags of two sessions on one connection.
pub(super) fn republished(run: &Judged<'_>) -> bool {
    run.ledger.viewers().any(|(connection, topic)| {
        let session = |(place, _): (u32, _)| topic.tags[place as usize].session;
        let first = connection.places().next().map(session);
        first.is_some() && first != connection.places().next_back().map(session)
    })
}

pub(super) fn republished_otherwise(run: &Judged<'_>) -> bool {
    let codec = |topic: &Topic, session: usize| {
        let mut tags = topic.tags[topic.sessions[session].places.clone()].iter();
        tags.find(|tag| tag.tag.role.is_picture()).map(|tag| tag.tag.codec)
    };
    let changed = session_pairs(run).any(|(topic, session)| {
        let (before, this) = (codec(topic, session - 1), codec(topic, session));
        before.is_some() && this.is_some() && before != this
    });
    changed && republished(run)
}
