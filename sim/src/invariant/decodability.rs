//! PROPERTIES 1.2: whatever arrives can be decoded, as far as what was published can be.

use std::time::Duration;

use super::cast::{rate, round_trip};
use super::{Finding, Judged, Verdict, first};
use crate::ledger::{Connection, GotTag, PublishedTag, Topic};
use crate::plan::Player;
use crate::tag::{Kind, Role, TagSeen};
use crate::time::SimTime;

/// The first finding of one viewer after another.
fn each_viewer<'r>(
    run: &'r Judged<'_>,
    judge: impl Fn(&'r Connection, &'r Topic) -> Verdict,
) -> Verdict {
    first(run.ledger.viewers().filter_map(|(connection, topic)| judge(connection, topic)))
}

/// Pictures that a viewer got, each with its place, and whether the decoder starts anew with it:
/// the first one, the first of a session, and whatever follows a loss of pictures that matter.
fn pictures<'r>(
    connection: &'r Connection,
    topic: &'r Topic,
) -> impl Iterator<Item = (usize, &'r GotTag, bool)> {
    let mut last: Option<usize> = None;
    let all = connection.places().filter(|(_, got)| got.tag.role.is_picture());
    all.map(move |(place, got)| {
        let place = place as usize;
        let starts = last.is_none_or(|last| {
            let (last, this) = (&topic.tags[last], &topic.tags[place]);
            last.session != this.session || this.before.needed > last.sums().needed
        });
        last = Some(place);
        (place, got, starts)
    })
}

/// G1.
pub(super) fn first_video(run: &Judged<'_>) -> Verdict {
    each_viewer(run, |connection, topic| {
        let mut all = pictures(connection, topic);
        let (_, got, _) = all.find(|(_, got, starts)| *starts && got.tag.role != Role::Keyframe)?;
        let saw = format!("starts with {}", got.tag);
        Some(Finding::new(got.event, connection.who, "no keyframe after a start or a gap", saw))
    })
}

/// G2.
pub(super) fn reference_chain(run: &Judged<'_>) -> Verdict {
    each_viewer(run, |connection, topic| {
        let (mut gop, mut delivered) = (None, 0);
        for (place, got, _) in pictures(connection, topic) {
            let tag = &topic.tags[place];
            if gop != Some((tag.session, tag.keyframe)) {
                (gop, delivered) = (Some((tag.session, tag.keyframe)), 0);
            }
            let needed = tag
                .keyframe
                .map(|keyframe| tag.before.needed - topic.sums_before(keyframe as usize).needed);
            if needed.is_none_or(|needed| needed > delivered) {
                let needed = needed.map_or("a keyframe".to_owned(), |n| format!("{n} pictures"));
                let saw = format!("got {} after {delivered} of {needed} it needs", got.tag);
                let kind = "picture without its references";
                return Some(Finding::new(got.event, connection.who, kind, saw));
            }
            let counts = matches!(tag.tag.role, Role::Keyframe | Role::Inter) && !tag.is_orphan;
            delivered += u32::from(counts);
        }
        None
    })
}

/// G3.
pub(super) fn gop_prefix(run: &Judged<'_>) -> Verdict {
    each_viewer(run, |connection, topic| {
        if run.cast.is_choosy(connection.who) {
            return None;
        }
        let (mut last, mut whole): (Option<usize>, Option<u32>) = (None, None);
        // Headers may have been said again, and say nothing about holes.
        for (place, got) in connection.places().filter(|(_, got)| got.is_media()) {
            let place = place as usize;
            let tag = &topic.tags[place];
            if tag.tag.role == Role::Keyframe {
                whole = Some(tag.gop);
            }
            let last_place = last.filter(|_| whole == Some(tag.gop));
            if let Some(last) = last_place.map(|last| &topic.tags[last])
                && (last.gop, last.session) == (tag.gop, tag.session)
                && tag.keyframe.is_some()
            {
                let is_missed = |tag: &&PublishedTag| {
                    let (role, len) = (tag.tag.role, tag.tag.len);
                    (role.is_picture() || role == Role::Sound)
                        && role != Role::Disposable
                        && !tag.is_orphan
                        && len > 0
                };
                let from = last_place.map_or(0, |last| last + 1);
                let missing = topic.tags[from..place].iter().filter(is_missed).count();
                if missing > 0 {
                    let saw = format!("{missing} tags are missing before {} in its GOP", got.tag);
                    let kind = "hole inside a GOP";
                    return Some(Finding::new(got.event, connection.who, kind, saw));
                }
            }
            last = Some(place);
        }
        None
    })
}

/// The header that was last delivered before each picture and sound, with the one in force.
fn headers<'r>(
    connection: &'r Connection,
    topic: &'r Topic,
) -> impl Iterator<Item = (&'r GotTag, Option<TagSeen>, TagSeen)> {
    let mut last: [Option<TagSeen>; 3] = [None; 3];
    connection.got.iter().filter_map(move |got| {
        let kind = got.tag.kind as usize;
        if got.tag.role == Role::Header {
            last[kind] = Some(got.tag);
        }
        let place = got.matched.place().filter(|_| got.is_media())?;
        let in_force = topic.tags[place as usize].header?;
        Some((got, last[kind], topic.tags[in_force as usize].tag))
    })
}

/// G4.
pub(super) fn header_first(run: &Judged<'_>) -> Verdict {
    each_viewer(run, |connection, topic| {
        let mut missing = headers(connection, topic).filter(|(_, last, _)| last.is_none());
        let (got, ..) = missing.next()?;
        let saw = format!("got {} before any header of its kind", got.tag);
        Some(Finding::new(got.event, connection.who, "media before its header", saw))
    })
}

/// G5.
pub(super) fn header_matches(run: &Judged<'_>) -> Verdict {
    each_viewer(run, |connection, topic| {
        headers(connection, topic).find_map(|(got, last, in_force)| {
            let last =
                last.filter(|last| (last.digest, last.len) != (in_force.digest, in_force.len));
            let saw = format!("got {} under {}, published under {in_force}", got.tag, last?);
            Some(Finding::new(got.event, connection.who, "media under another header", saw))
        })
    })
}

/// G6.
pub(super) fn leading_pictures(run: &Judged<'_>) -> Verdict {
    if run.leading.is_empty() {
        return None;
    }
    each_viewer(run, |connection, topic| {
        let mut entered = None;
        for (place, got, starts) in pictures(connection, topic) {
            let gop = topic.tags[place].gop;
            if starts {
                entered = Some(gop);
            }
            if entered == Some(gop) && run.leading.contains(&got.tag.digest) {
                let saw = format!("entered at this GOP and got {}", got.tag);
                let kind = "leading picture after an entry";
                return Some(Finding::new(got.event, connection.who, kind, saw));
            }
        }
        None
    })
}

/// G7.
pub(super) fn snapshot(run: &Judged<'_>) -> Verdict {
    each_viewer(run, |connection, topic| {
        let from = connection.connected?.at;
        let to = run.told_to_play(connection);
        let (place, got) = connection.places().find(|(_, got)| got.is_media())?;
        let place = place as usize;
        let finding =
            |kind: &str, saw: String| Some(Finding::new(got.event, connection.who, kind, saw));
        let end = topic.entered_by(from);
        // At least this was there when it joined: what is older is of the past.
        let oldest = match topic.keyframe_before(end) {
            _ if run.starts_live(connection) => end,
            Some(keyframe) => keyframe,
            // Steps back hold the clock up, and more of the past is as young as it may be. Who
            // publishes next begins with one.
            None if end.checked_sub(1).is_some_and(|last| {
                let last = &topic.tags[last];
                last.back_steps > 0 || last.session != topic.tags[0].session
            }) =>
            {
                0
            }
            None => {
                let now = end.checked_sub(1).map_or(0, |last| topic.tags[last].clock_ms);
                let since = now.saturating_sub(run.limits.audio_gop_ms);
                topic.tags[..end].partition_point(|tag| tag.clock_ms < since)
            }
        };
        if place < oldest {
            let late = oldest - place;
            return finding(
                "starts in the past",
                format!("starts with {}, {late} tags early", got.tag),
            );
        }
        let cached = run.cached_keyframe(topic, from).filter(|_| run.starts_with_gop(connection));
        let newest = topic.entered_by(to + run.limits.unseen());
        // A header that comes meanwhile begins anew: what was cached before it is of no use.
        let is_stable = cached.is_some_and(|keyframe| {
            let meanwhile = topic.tags.get(keyframe..newest).unwrap_or_default();
            meanwhile.iter().all(|tag| tag.tag.role != Role::Header)
        });
        let is_same = topic.tags[place].session == topic.tags[end.saturating_sub(1)].session;
        if !is_stable || run.cached_keyframe(topic, to).is_none() || !is_same {
            return None;
        }
        let is_choosy = run.cast.is_choosy(connection.who);
        if topic.tags[place].keyframe != Some(place as u32) && !is_choosy {
            let saw = format!("starts with {} although a keyframe is cached", got.tag);
            return finding("does not start at the keyframe", saw);
        }
        if place >= newest && !is_choosy {
            let missed = place - newest;
            let saw = format!("starts with {}, {missed} tags after it joined", got.tag);
            return finding("does not start at the keyframe", saw);
        }
        None
    })
}

/// G9.
pub(super) fn audio_only(run: &Judged<'_>) -> Verdict {
    first(run.ledger.connections.iter().filter_map(|connection| {
        let (playing, key) = connection.playing.as_ref()?;
        let play = run.cast.play(connection.who)?;
        let of_node =
            |topic: &&Topic| topic.node == connection.node && topic.life == connection.life;
        let topic = run
            .ledger
            .topics
            .iter()
            .find(|t| of_node(t) && t.key == *key && t.began() <= playing.at)?;
        let is_radio = topic.tags.iter().all(|tag| tag.tag.kind != Kind::Video);
        let slack = run.limits.start_slack + run.limits.coalesce + 12 * run.limits.tick;
        let by = connection.dialed.at + 6 * round_trip(&play.link) + slack;
        let of = |at: SimTime| topic.tags[..topic.entered_by(at)].last().map(|tag| tag.session);
        // It has to have something to hear: sound before it came, and sound until then; if it asked
        // for the present, sound that comes when it plays and has the time to reach it.
        let session = of(connection.dialed.at);
        let sounds = |from, to| {
            let range = topic.entered_by(from)..topic.entered_by(to);
            let mut tags = topic.tags.get(range).unwrap_or_default().iter();
            tags.any(|tag| {
                tag.tag.role == Role::Sound && !tag.is_orphan && Some(tag.session) == session
            })
        };
        let is_audible = |told: SimTime| match run.starts_live(connection) {
            // The past was there before it was seen to enter.
            true => {
                let (from, to) = (playing.at + run.limits.unseen(), by - round_trip(&play.link));
                sounds(from, to - run.limits.coalesce)
            }
            false => sounds(told, by),
        };
        let slack = Duration::from_secs(1);
        // What a player of HLS hears, it fetches.
        let is_fair = is_radio
            && play.player != Player::Hls
            && session == of(playing.at + run.limits.unseen())
            && sounds(connection.dialed.at - slack, connection.dialed.at)
            && connection.connected.is_some_and(|told| told.at < by && is_audible(told.at))
            && rate(&play.link, &play.link.down) >= topic.peak_second() * 12
            && by < run.end().min(connection.over_at())
            && run.is_undisturbed(connection, connection.dialed.at, by);
        let heard = connection.got.iter().find(|got| got.tag.role == Role::Sound);
        (is_fair && heard.is_none_or(|got| got.at > by)).then(|| {
            let after = heard.map_or(run.end(), |got| got.at).since(connection.dialed.at);
            let saw = format!("first sound {:.3} s after dialing", after.as_secs_f64());
            Finding::new(playing.event, connection.who, "sound comes late", saw)
        })
    }))
}

/// G10.
pub(super) fn metadata(run: &Judged<'_>) -> Verdict {
    each_viewer(run, |connection, topic| {
        let index = connection.got.iter().position(GotTag::is_media)?;
        let got = &connection.got[index];
        let tag = &topic.tags[got.matched.place()? as usize];
        let newest_by = |end: usize| {
            let mut before = topic.tags[..end].iter().rev();
            before.find(|last| last.session == tag.session)?.metadata
        };
        let known = newest_by(topic.entered_by(connection.connected?.at));
        // What was said since it came may have been said before or after it joined, and is said
        // again if it lags before it gets anything.
        let joined = got.at + run.limits.unseen();
        let oldest = known.max(tag.metadata)?;
        let newest = newest_by(topic.entered_by(joined)).unwrap_or(oldest).max(oldest);
        let held = connection.got[..index].iter().rfind(|got| got.tag.role == Role::Script);
        let is_current = held.is_some_and(|held| {
            let current = topic.tags[oldest as usize..=newest as usize].iter();
            current
                .filter(|tag| tag.tag.role == Role::Script)
                .any(|tag| (tag.tag.digest, tag.tag.len) == (held.tag.digest, held.tag.len))
        });
        let held = held.map_or("none".to_owned(), |held| held.tag.to_string());
        let wanted = &topic.tags[newest as usize].tag;
        (!is_current).then(|| {
            let saw = format!("metadata before its first media: {held}; newest: {wanted}");
            Finding::new(got.event, connection.who, "old or no metadata", saw)
        })
    })
}
