//! What is in segments, against what was published.

use std::time::Duration;

use super::history::{History, histories};
use super::{Finding, Judged, Verdict, first, segments};
use crate::ledger::{PublishedTag, Topic};
use crate::tag::{Kind, Role, TagSeen};
use crate::time::SimTime;
use crate::trace::{Fetched, Resource};
use crate::viewer::hls::Span;

/// Decode times may be rounded, and no more.
const SEAM_US: u64 = 2_000;

/// Neighbours among the segments that a player fetched.
fn neighbours<'r>(
    run: &'r Judged<'_>,
    history: &History,
) -> Vec<(u64, &'r Fetched, usize, &'r Fetched)> {
    let segments = segments(run, history);
    let pairs = segments.iter().zip(segments.iter().skip(1));
    pairs
        .filter(|((before, _), (after, _))| **before + 1 == **after)
        .map(|((_, (_, old)), (sequence, (event, new)))| (*sequence, *old, *event, *new))
        .collect()
}

/// S6. What begins with a picture begins with one that a decoder can begin with. The exceptions are
/// segments that were cut because no keyframe came, as the target duration asks for, or because sound
/// was ahead of the pictures and reached it before them, and those behind one that was listed as it was
/// because nothing came.
pub(in crate::invariant) fn keyframes(run: &Judged<'_>) -> Verdict {
    first(super::fetches(run).filter_map(|(event, at, who, fetched)| {
        let Resource::Segment(_) = fetched.what else { return None };
        let bad = fetched.spans.iter().find(|span| span.is_video && !span.begins_with_sync)?;
        let play = run.cast.play(who)?;
        // The newest life of the stream that it can be of.
        let topics = run.ledger.topics.iter();
        let mut mine = topics.filter(|topic| *topic.key == *play.key && topic.began() <= at);
        let topic = mine.next_back()?;
        let histories = histories(run);
        let versions = histories.iter().filter(|it| it.who == who).flat_map(|it| &it.versions);
        let target = versions.map(|version| version.playlist.target_duration).max()?;
        let begins = begins(topic, fetched);
        let is_excused = longest_gop_us(topic) > target * 1_000_000
            || is_irregular(topic, &begins, target * 1_000)
            || sound_is_ahead(topic, &begins, target * 1_000)
            || has_waited(run, topic, &begins, Duration::from_secs(target), at);
        (!is_excused).then(|| {
            let saw = format!("{} begins inside a GOP, at {} us", fetched.uri, bad.start_us);
            Finding::new(event, who, "segment without a keyframe", saw)
        })
    }))
}

/// Where a segment's first picture was published; everywhere if it cannot be known again, as its codec's
/// tags cannot be told from samples.
fn begins<'r>(topic: &'r Topic, fetched: &Fetched) -> Vec<&'r PublishedTag> {
    let picture = fetched.tags.iter().find(|tag| tag.kind == Kind::Video);
    let pictures = || topic.tags.iter().filter(|tag| tag.tag.role.is_picture());
    let is_it = |tag: &&PublishedTag| picture.is_some_and(|it| it.digest == tag.tag.digest);
    let begins: Vec<_> = pictures().filter(is_it).collect();
    if begins.is_empty() { pictures().collect() } else { begins }
}

/// Whether nothing came for so long, around one of these, that the playlist went on without it: a
/// quarter of a target duration, on the node's clock. Behind the last tag nothing came until the segment
/// was `seen`.
fn has_waited(
    run: &Judged<'_>,
    topic: &Topic,
    begins: &[&PublishedTag],
    target: Duration,
    seen: SimTime,
) -> bool {
    let came: Vec<_> = topic.tags.iter().map(|tag| tag.at).collect();
    let silence = came.last().map(|last| [*last, seen]);
    let mut pairs = came.windows(2).map(|pair| [pair[0], pair[1]]).chain(silence);
    pairs.any(|[before, after]| {
        let around = before - target..=after + target;
        let is_near = begins.iter().any(|tag| around.contains(&tag.at));
        is_near && (after.since(before) + 3 * run.limits.late) * 4 >= target
    })
}

/// Whether some keyframe in front of one of these comes too early to end a segment, which is for three
/// quarters of a target duration, and the next one behind it too late.
fn is_irregular(topic: &Topic, begins: &[&PublishedTag], target_ms: u64) -> bool {
    let keyframes = topic.tags.iter().filter(|tag| tag.tag.role == Role::Keyframe);
    let times: Vec<_> = keyframes.map(|tag| tag.clock_ms).collect();
    times.iter().enumerate().any(|(index, time)| {
        let lengths = times[index..].iter().map(|later| later - time);
        let mut long_enough = lengths.filter(|length| length * 4 >= target_ms * 3);
        let is_late = long_enough.next().is_some_and(|length| length >= target_ms + 500);
        let reach = *time..=time + 2 * target_ms;
        is_late && begins.iter().any(|tag| reach.contains(&tag.clock_ms))
    })
}

/// Whether sound, in the two target durations in front of one of these, was ahead of the pictures by
/// about what a segment may be longer than its GOP.
fn sound_is_ahead(topic: &Topic, begins: &[&PublishedTag], target_ms: u64) -> bool {
    const AHEAD_MS: i32 = 250;
    let mut newest = None;
    topic.tags.iter().any(|tag| {
        let ms = tag.tag.timestamp_ms;
        if tag.tag.role.is_picture() {
            newest = Some((tag.session, ms));
        }
        let is_ahead = newest.is_some_and(|(session, picture_ms)| {
            session == tag.session && ms.wrapping_sub(picture_ms) as i32 >= AHEAD_MS
        });
        let reach = tag.clock_ms..=tag.clock_ms + 2 * target_ms;
        let is_near =
            |begin: &&PublishedTag| begin.number > tag.number && reach.contains(&begin.clock_ms);
        tag.tag.role == Role::Sound && is_ahead && begins.iter().any(is_near)
    })
}

/// Stream time between keyframes, at most.
pub(super) fn longest_gop_us(topic: &Topic) -> u64 {
    let keyframes = topic.tags.iter().filter(|tag| tag.tag.role == Role::Keyframe);
    let mut times: Vec<_> = keyframes.map(|tag| tag.clock_ms).collect();
    times.extend(topic.tags.last().map(|last| last.clock_ms));
    times.windows(2).map(|pair| (pair[1] - pair[0]) * 1_000).max().unwrap_or(0)
}

/// S7. Sounds and pictures apart, because a segment has them apart.
pub(in crate::invariant) fn tiles(run: &Judged<'_>) -> Verdict {
    first(histories(run).iter().flat_map(|history| {
        let pairs = neighbours(run, history);
        let inside = segments(run, history).into_values().map(|(event, it)| (event, None, it));
        let across = pairs
            .into_iter()
            .filter(|(sequence, ..)| !history.is_discontinuity(*sequence))
            .map(|(_, old, event, new)| (event, Some(old), new));
        let found = inside.chain(across).filter_map(|(event, old, new)| {
            [Kind::Video, Kind::Audio].into_iter().find_map(|kind| {
                let of_kind = |it: &Fetched| {
                    it.tags.iter().filter(|tag| tag.kind == kind).copied().collect::<Vec<_>>()
                };
                let mut run_of_tags = old.map(of_kind).unwrap_or_default();
                run_of_tags.extend(of_kind(new));
                let saw = is_not_a_run(run, history, kind, &run_of_tags)?;
                let saw = format!("{}: {kind:?}: {saw}", new.uri);
                Some(Finding::new(event, history.who, "lost, doubled or foreign samples", saw))
            })
        });
        found.collect::<Vec<_>>()
    }))
}

/// Why these tags are nowhere, one behind the other, in what was published.
fn is_not_a_run(
    run: &Judged<'_>,
    history: &History,
    kind: Kind,
    tags: &[TagSeen],
) -> Option<String> {
    let head = tags.first()?;
    let is_media = |tag: &&PublishedTag| {
        tag.tag.kind == kind && (tag.tag.role.is_picture() || tag.tag.role == Role::Sound)
    };
    let mut longest = 0;
    for topic in run.ledger.topics.iter().filter(|topic| history.is_of(topic)) {
        if topic.is_partial || has_tracks(topic, kind) || has_disposable(topic, kind) {
            return None;
        }
        let published: Vec<_> =
            topic.tags.iter().filter(is_media).map(|tag| tag.tag.digest).collect();
        let starts = (0..published.len()).filter(|start| published[*start] == head.digest);
        for start in starts {
            let same = published[start..].iter().zip(tags);
            let common = same.take_while(|(digest, tag)| **digest == tag.digest).count();
            if common == tags.len() {
                return None;
            }
            longest = longest.max(common);
        }
    }
    Some(format!("{} samples, of which {longest} are together in what was published", tags.len()))
}

/// Several tracks of a kind, of which HLS has the first. Which of them a tag is of is not in a
/// trace; each has a configuration, and these come one behind the other.
fn has_tracks(topic: &Topic, kind: Kind) -> bool {
    let mine: Vec<_> = topic.tags.iter().filter(|tag| tag.tag.kind == kind).collect();
    mine.windows(2).any(|pair| {
        let is_header = |tag: &PublishedTag| tag.tag.role == Role::Header;
        is_header(pair[0]) && is_header(pair[1]) && pair[0].tag.digest != pair[1].tag.digest
    })
}

/// Pictures that no other needs: that is in the first byte of their tags, and in no sample.
fn has_disposable(topic: &Topic, kind: Kind) -> bool {
    topic.tags.iter().any(|tag| tag.tag.kind == kind && tag.tag.role == Role::Disposable)
}

/// S8: a jump, or another configuration, that is not declared.
pub(super) fn undeclared(run: &Judged<'_>) -> Option<Finding> {
    first(histories(run).iter().flat_map(|history| {
        let found =
            neighbours(run, history).into_iter().filter_map(|(sequence, old, event, new)| {
                if history.is_discontinuity(sequence) {
                    return None;
                }
                let what = if history.map(sequence - 1) != history.map(sequence) {
                    "another initialization section".to_owned()
                } else {
                    jump(&old.spans, &new.spans)?
                };
                let saw = format!("{what} before {}, and no discontinuity", new.uri);
                Some(Finding::new(event, history.who, "undeclared discontinuity", saw))
            });
        found.collect::<Vec<_>>()
    }))
}

fn jump(old: &[Span], new: &[Span]) -> Option<String> {
    [true, false].into_iter().find_map(|is_video| {
        let of = |spans: &[Span]| spans.iter().find(|span| span.is_video == is_video).copied();
        let (old, new) = (of(old)?, of(new)?);
        let is_seam = old.end_us.abs_diff(new.start_us) <= SEAM_US;
        (!is_seam).then(|| format!("a jump from {} to {} us", old.end_us, new.start_us))
    })
}
