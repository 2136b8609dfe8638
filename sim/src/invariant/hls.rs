//! PROPERTIES 1.5: HLS, by the playlists that players saw one after the other, and by what they
//! fetched.

mod history;
mod media;

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use self::history::{History, histories};
pub(super) use self::media::{keyframes, tiles};
use super::{Finding, Judged, Verdict, first};
use crate::capture::Capture;
use crate::ledger::Connection;
use crate::time::SimTime;
use crate::trace::{Fetched, HlsSeen, Listed, Resource, What, Who};
use crate::viewer::hls::Playlist;

/// What is written of a duration is rounded.
const ROUNDING: Duration = Duration::from_millis(1);

/// More connections than all peers of a world have.
const MANY_CONNECTIONS: usize = 1_000;

/// An answer that nothing has to be waited for comes within this, beside its link's delays.
const AT_ONCE: Duration = Duration::from_secs(1);

/// What players of HLS fetched: the event's index, when it was seen, and who.
fn fetches<'r>(run: &'r Judged<'_>) -> impl Iterator<Item = (usize, SimTime, Who, &'r Fetched)> {
    (0..).zip(&run.trace.events).filter_map(|(index, event)| match &event.what {
        What::Hls(HlsSeen::Fetched(fetched)) => Some((index, event.at, event.who, &**fetched)),
        _ => None,
    })
}

/// Judges each version by the one before it, of the same life of the node.
fn by_pairs(
    run: &Judged<'_>,
    kind: &'static str,
    judge: impl Fn(&Playlist, &Playlist) -> Option<String>,
) -> Verdict {
    by_pairs_of(run, kind, |_, [before, after]| judge(&before.playlist, &after.playlist))
}

/// The same, knowing whose they are and when they were seen.
fn by_pairs_of(
    run: &Judged<'_>,
    kind: &'static str,
    judge: impl Fn(&History, [&history::Version; 2]) -> Option<String>,
) -> Verdict {
    first(histories(run).iter().flat_map(|history| {
        let judge = &judge;
        // A node whose clock ran ahead begins its next life in the past of the one before.
        let is_sure =
            |before, after| run.limits.late.is_zero() || is_one_life(run, history, before, after);
        let pairs = history.pairs().filter(move |(before, after)| is_sure(before.at, after.at));
        pairs.filter_map(move |(before, after)| {
            let saw = judge(history, [before, after])?;
            Some(Finding::new(after.event, history.who, kind, saw))
        })
    }))
}

/// S1. Also across restarts of the node and returns of the publisher.
pub(super) fn media_sequence(run: &Judged<'_>) -> Verdict {
    by_pairs(run, "media sequence", |before, after| {
        let (old, new) = (before.media_sequence, after.media_sequence);
        (new < old).then(|| format!("media sequence {new} after {old}"))
    })
}

/// S2.
pub(super) fn slides(run: &Judged<'_>) -> Verdict {
    by_pairs(run, "edited playlist", |before, after| {
        if after.next_sequence() < before.next_sequence() {
            let (old, new) = (before.next_sequence(), after.next_sequence());
            return Some(format!("it ends before segment {new}, after {old}"));
        }
        before.segments.iter().find_map(|old| {
            let new = after.segment(old.sequence)?;
            let is_same = new.said == old.said && (new.parts == old.parts || new.parts.is_empty());
            (!is_same).then(|| format!("segment {} is described otherwise", old.sequence))
        })
    })
}

/// What two lives of a node cannot agree upon: they know of each other nothing but the time, and see
/// the same only of one good encoder.
fn is_other_life(run: &Judged<'_>, history: &History, pair: [&history::Version; 2]) -> bool {
    let mut encoders = run.cast.publishers().filter(|(_, it)| *it.key == *history.key);
    let one = encoders.next().filter(|_| encoders.next().is_none());
    let is_good = one.is_some_and(|(who, publish)| {
        publish.quirks.is_empty()
            && Capture::load(&publish.capture).is_ok_and(|capture| capture.wire.is_none())
            && !run.cast.is_touched(who, SimTime::ZERO, pair[1].at)
    });
    !is_good && !is_one_life(run, history, pair[0].at, pair[1].at)
}

/// The longest that an answer is under way.
const UNDER_WAY: Duration = Duration::from_secs(3);

/// Whether a node was up all the time while a player saw one answer and then another.
fn is_one_life(run: &Judged<'_>, history: &History, before: SimTime, after: SimTime) -> bool {
    run.ledger.is_up(history.node, before - UNDER_WAY, after)
}

/// S3. Across restarts too, where that is possible: a player has its buffers by it.
pub(super) fn target_duration(run: &Judged<'_>) -> Verdict {
    let too_long = |playlist: &Playlist| {
        let target = Duration::from_secs(playlist.target_duration) + Duration::from_millis(500);
        let long = playlist.segments.iter().find(|segment| segment.duration >= target)?;
        Some(format!("a segment of {:?}, target {}", long.duration, playlist.target_duration))
    };
    let singles = histories(run).into_iter().flat_map(|history| {
        let found = history.versions.iter().filter_map(|version| {
            let saw = too_long(&version.playlist)?;
            Some(Finding::new(version.event, history.who, "segment over target", saw))
        });
        found.collect::<Vec<_>>()
    });
    let changes = by_pairs_of(run, "target duration changed", |history, pair| {
        let of = |version: &history::Version| {
            (version.playlist.target_duration, version.playlist.part_target)
        };
        let [old, new] = pair.map(of);
        (old != new && !is_other_life(run, history, pair))
            .then(|| format!("target {new:?} after {old:?}"))
    });
    first(singles.chain(changes))
}

/// S4.
pub(super) fn window(run: &Judged<'_>) -> Verdict {
    by_pairs(run, "short window", |before, after| {
        let three = Duration::from_secs(3 * after.target_duration);
        let has_removed = after.media_sequence > before.media_sequence && !after.is_ended;
        // After a restart everything is gone, which no rule can help.
        let goes_on = before.segments.iter().any(|old| after.segment(old.sequence).is_some());
        let left = after.duration();
        (has_removed && goes_on && left + ROUNDING < three)
            .then(|| format!("{left:?} are left of three target durations, {three:?}"))
    })
}

/// S5.
pub(super) fn fetchable(run: &Judged<'_>) -> Verdict {
    first(fetches(run).filter_map(|(event, at, who, fetched)| {
        let may_ask = match fetched.listed {
            Listed::Yes => true,
            Listed::RemovedUntil(until) => at <= until,
            Listed::Hinted => false,
        };
        let node = node_of(run, who)?;
        // A new life knows nothing of an old one's segments.
        let same_life = run.ledger.is_up(node, fetched.asked - Duration::from_secs(60), at)
            || !matches!(fetched.listed, Listed::RemovedUntil(_));
        let is_up = run.ledger.is_up(node, fetched.asked - Duration::from_secs(2), at);
        let is_missing = fetched.status != 200 && fetched.status != 0;
        // Over a bad line it may be asked for long after it was seen.
        let is_near = connection_of(run, who)
            .is_some_and(|it| run.is_undisturbed(it, fetched.asked, at) && run.link_carries(it));
        (is_near && may_ask && same_life && is_up && is_missing).then(|| {
            let saw = format!(
                "{} is {:?} and was answered {}",
                fetched.uri, fetched.listed, fetched.status
            );
            Finding::new(event, who, "listed and not there", saw)
        })
    }))
}

/// S9.
pub(super) fn fresh(run: &Judged<'_>) -> Verdict {
    first(histories(run).into_iter().filter_map(|history| {
        let connection = history.connection(run)?;
        let topics = || run.ledger.topics.iter().filter(|topic| history.is_of(topic));
        let mut last: Option<&history::Version> = None;
        // That one, and those that list more of its last segment.
        let mut alike: Vec<&history::Version> = Vec::new();
        for version in &history.versions {
            let Some(before) = last else {
                (last, alike) = (Some(version), vec![version]);
                continue;
            };
            if version.playlist.next_sequence() == before.playlist.next_sequence() {
                alike.push(version);
                continue;
            }
            let target = Duration::from_secs(version.playlist.target_duration);
            // A poller sees it late, and so does whoever has a slow link.
            // It asks again when it has what the one before lists.
            let had = fetches(run).filter(|(_, at, who, it)| {
                let mut listed = alike.iter().flat_map(|version| version.playlist.uris());
                let mut is_listed = || listed.any(|uri| *uri == *it.uri);
                *who == history.who && (before.at..version.at).contains(at) && is_listed()
            });
            let had = had.map(|(_, at, ..)| at).last().unwrap_or(before.at);
            let waited = version.at.since(had);
            let bound = target + target / 2 + 2 * target + AT_ONCE;
            // Also while nothing comes of it.
            let lived = topics().any(|topic| {
                let is_over = |at: SimTime| (before.at..version.at).contains(&at);
                topic.began() <= before.at && !topic.overs.iter().any(|over| is_over(over.at))
            });
            // Where there are few connections, other peers may take all of them.
            let is_calm = run.is_undisturbed(connection, before.at, version.at)
                && run.limits.connections >= MANY_CONNECTIONS
                && run.link_carries(connection);
            if bound < waited && lived && is_calm {
                let saw = format!("no new segment for {waited:?}, target {target:?}");
                return Some(Finding::new(version.event, history.who, "stale playlist", saw));
            }
            (last, alike) = (Some(version), vec![version]);
        }
        None
    }))
}

/// S10.
pub(super) fn endlist(run: &Judged<'_>) -> Verdict {
    first(histories(run).iter().filter_map(|history| {
        history.pairs().find_map(|(before, after)| {
            let topics = run.ledger.topics.iter().filter(|topic| history.is_of(topic));
            // Somebody else published to the address, or another process has it.
            let is_new = topics.flat_map(|topic| &topic.sessions).count() > 1
                || !run.ledger.is_up(history.node, before.at, after.at);
            // Who comes back sees the end again.
            let differs = before.playlist != after.playlist;
            (before.playlist.is_ended && differs && !is_new).then(|| {
                let saw = "another playlist after its end".to_owned();
                Finding::new(after.event, history.who, "changed after its end", saw)
            })
        })
    }))
}

/// S11 and S13 compare all answers of one URI.
fn answers(
    run: &Judged<'_>,
    kind: &'static str,
    differ: impl Fn(&Fetched, &Fetched) -> Option<String>,
) -> Verdict {
    let mut seen: BTreeMap<(Who, String), &Fetched> = BTreeMap::new();
    first(fetches(run).filter_map(|(event, _, who, fetched)| {
        if fetched.status != 200 {
            return None;
        }
        let key = node_of(run, who).unwrap_or(Who::WORLD);
        let stream = run.cast.play(who).map_or("", |play| play.key.as_str());
        let uri = format!("{stream} {}", fetched.uri);
        let Some(before) = seen.get(&(key, uri.clone())) else {
            seen.insert((key, uri), fetched);
            return None;
        };
        Some(Finding::new(event, who, kind, differ(before, fetched)?))
    }))
}

/// S11.
pub(super) fn whole(run: &Judged<'_>) -> Verdict {
    let garbled = fetches(run).filter_map(|(event, _, who, fetched)| {
        let why = fetched.garbled.as_ref()?;
        Some(Finding::new(event, who, "half a segment", format!("{}: {why}", fetched.uri)))
    });
    let cut = answers(run, "half a segment", |before, after| {
        (before.len != after.len)
            .then(|| format!("{} has {} bytes, and had {}", after.uri, after.len, before.len))
    });
    first(garbled.chain(cut))
}

/// S12: parts, and reloads that wait for them.
pub(super) fn parts(run: &Judged<'_>) -> Verdict {
    let joined = fetches(run).filter_map(|(event, _, who, fetched)| {
        let is_other = fetched.is_its_parts == Some(false) && fetched.status == 200;
        is_other.then(|| {
            let saw = format!("{} is not its parts", fetched.uri);
            Finding::new(event, who, "parts of something else", saw)
        })
    });
    let reloads = (0..).zip(&run.trace.events).filter_map(|(index, event)| {
        let What::Hls(HlsSeen::Reloaded(reload)) = &event.what else { return None };
        let wanted = (reload.msn, reload.part.unwrap_or(0));
        let early = match (reload.progress, reload.part) {
            (Some((next, parts)), Some(part)) => {
                next < reload.msn || (next == reload.msn && parts <= part)
            }
            (Some((next, _)), None) => next <= reload.msn,
            (None, _) => false,
        };
        if early && !reload.is_ended {
            let saw = format!("asked for {wanted:?} and got {:?}", reload.progress);
            return Some(Finding::new(index, event.who, "early reload", saw));
        }
        let node = node_of(run, event.who)?;
        // The playlist that the player saw may be another life's, or another publisher's.
        let is_sure = run.ledger.is_up(node, reload.asked - Duration::from_secs(60), event.at);
        let is_hopeless = reload.msn > reload.seen.0 + 2 + 60;
        let is_gone = reload.msn < reload.seen.0;
        let waited = event.at.since(reload.asked);
        let is_slow = waited > AT_ONCE * 3;
        let is_near = connection_of(run, event.who).is_some_and(|it| {
            run.is_undisturbed(it, reload.asked, event.at) && run.link_carries(it)
        });
        let saw = || {
            format!("asked for {wanted:?} at {:?}: {} after {waited:?}", reload.seen, reload.status)
        };
        (is_sure && is_near && (is_hopeless || is_gone) && is_slow && reload.status != 0)
            .then(|| Finding::new(index, event.who, "held for nothing", saw()))
    });
    first(joined.chain(reloads))
}

/// S13: across crashes, restarts and publishers.
pub(super) fn one_meaning(run: &Judged<'_>) -> Verdict {
    answers(run, "a URI of two things", |before, after| {
        (before.digest != after.digest).then(|| {
            format!("{} is {:016x}, and was {:016x}", after.uri, after.digest, before.digest)
        })
    })
}

/// S8. What is not declared must run on; what slid out is counted.
pub(super) fn discontinuities(run: &Judged<'_>) -> Verdict {
    let counted = by_pairs_of(run, "discontinuity sequence", |history, pair| {
        let is_same_life = is_one_life(run, history, pair[0].at, pair[1].at);
        let [before, after] = pair.map(|version| &version.playlist);
        let (old, new) = (before.discontinuity_sequence, after.discontinuity_sequence);
        let gone = before.segments.iter().filter(|s| s.sequence < after.media_sequence);
        let tags = gone.filter(|segment| segment.is_discontinuity).count() as u64;
        // Between two versions of a slow player, segments may have come and gone.
        let is_seamless = is_same_life && after.media_sequence <= before.next_sequence();
        // Each life counts from the time of day when it began.
        let is_back = new < old && !is_other_life(run, history, pair);
        let is_wrong = is_back || (is_seamless && new - old != tags);
        is_wrong.then(|| format!("discontinuity sequence {new} after {old}, {tags} slid out"))
    });
    first(media::undeclared(run).into_iter().chain(counted))
}

/// S15: a player with half as much again as it needs, on a good day. Its first stall: who has
/// stalled before, for whatever reason, goes on without a reserve.
pub(super) fn stalls(run: &Judged<'_>) -> Verdict {
    let mut without_reserve = BTreeSet::new();
    (0..).zip(&run.trace.events).find_map(|(index, event)| {
        if let What::Playing { .. } = &event.what {
            without_reserve.remove(&event.who);
        }
        let What::Hls(HlsSeen::Stalled(time)) = &event.what else { return None };
        if !without_reserve.insert(event.who) {
            return None;
        }
        let connection = connection_of(run, event.who)?;
        let since = event.at - *time - Duration::from_secs(10);
        let play = run.cast.play(event.who)?;
        let flowed = run.ledger.topics.iter().any(|topic| {
            let is_it = topic.node == connection.node && *topic.key == *play.key;
            let edges: Vec<_> = topic.tags[topic.entered_by(since)..topic.entered_by(event.at)]
                .iter()
                .map(|tag| tag.at)
                .collect();
            is_it
                && edges.len() > 1
                && edges[0] < since + AT_ONCE
                && edges.windows(2).all(|pair| pair[1].since(pair[0]) < AT_ONCE)
        });
        let is_good = flowed
            && run.cast.is_calm
            && run.is_undisturbed(connection, since, event.at)
            && run.link_carries(connection);
        let saw = format!("stalled for {time:?}");
        is_good.then(|| Finding::new(index, event.who, "stall in good weather", saw))
    })
}

/// A viewer's newest connection.
fn connection_of<'r>(run: &'r Judged<'_>, who: Who) -> Option<&'r Connection> {
    run.ledger.connections.iter().rev().find(|it| it.who == who)
}

/// What it plays from.
fn node_of(run: &Judged<'_>, who: Who) -> Option<Who> {
    connection_of(run, who).map(|it| it.node)
}

/// Segments that were fetched, in order of their numbers, each once, by node and stream.
fn segments<'r>(run: &'r Judged<'_>, history: &History) -> BTreeMap<u64, (usize, &'r Fetched)> {
    let mine =
        fetches(run).filter(|(_, _, who, fetched)| *who == history.who && fetched.status == 200);
    let numbered = mine.filter_map(|(event, _, _, fetched)| match fetched.what {
        Resource::Segment(sequence) => Some((sequence, (event, fetched))),
        Resource::Init | Resource::Part => None,
    });
    numbered.collect()
}
