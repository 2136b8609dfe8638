//! PROPERTIES 1.6: the archive, by what is on the disks of nodes whenever their processes are dead,
//! as they left it, and as recovery leaves a copy of it. A6 compares two runs.

mod files;
mod history;

use std::collections::BTreeMap;
use std::time::Duration;

use self::history::{Look, Placed, is_media, looks, owed, place_all, same};
use super::memory::over_bound;
use super::{Finding, Judged, Verdict, first};
use crate::ledger::{Border, PublishedTag, Topic};
use crate::tag::{Kind, Role};
use crate::time::SimTime;
use crate::trace::{DiskOutcome, What, Who};

pub(super) use self::files::{complete, damage, even};

/// Judges each look at a disk that keeps its promises.
fn by_looks(
    run: &Judged<'_>,
    kind: &'static str,
    judge: impl Fn(&Look<'_>) -> Option<String>,
) -> Verdict {
    looks(run).iter().filter(|look| !look.was_betrayed).find_map(|look| {
        let saw = judge(look)?;
        Some(Finding::new(look.event, look.who, kind, saw))
    })
}

/// A1.
pub(super) fn prefix(run: &Judged<'_>) -> Verdict {
    by_looks(run, "recovered otherwise", |look| {
        let (placed, stranger) = place_all(run, look);
        let odd = placed.iter().find_map(|one| {
            let path = &one.file.path;
            if let Some((at, why)) = &one.file.broken {
                return Some(format!("{path}: byte {at}: {why}"));
            }
            let topic = &run.ledger.topics[one.topic];
            let told = |number: usize| {
                let (tag, last) = (one.file.tags[number].tag, &topic.tags[one.last]);
                let next = topic.tags.get(one.last + 1).map_or("nothing".to_owned(), |next| {
                    format!("{} of session {}", next.tag, next.session)
                });
                format!(
                    "{path}: tag {number} is {tag}; before it is {} of session {}, behind which {next} entered",
                    last.tag, last.session
                )
            };
            let hole = |skip: &history::Skip| {
                let (count, declared) = (skip.owed, skip.declared);
                let tag = topic.tags[skip.from].tag;
                format!("{path}: {count} tags from {tag} are missing, {declared} are said to be")
            };
            one.odd.map(told).or_else(|| one.undeclared().map(hole))
        });
        let foreign = || stranger.map(|(file, why)| format!("{}: {why}", file.path));
        odd.or_else(foreign)
    })
}

/// A2. Of what was reported as durable, nothing is missing but what is said to be.
pub(super) fn survive(run: &Judged<'_>) -> Verdict {
    by_looks(run, "durable and gone", |look| {
        let (placed, _) = place_all(run, look);
        (0..run.ledger.topics.len()).find_map(|topic| {
            let durable = durable_places(run, topic, look);
            let lost = Lost::of(run, topic, &placed, durable);
            let place = lost.undeclared()?;
            let (key, tag) = (&run.ledger.topics[topic].key, run.ledger.topics[topic].tags[place].tag);
            let (missing, declared) = (lost.places.len(), lost.declared);
            Some(format!(
                "{key}: {missing} tags were durable and are in no file, {declared} are said to be missing; \
                 one is {tag}"
            ))
        })
    })
}

/// The places of a topic that its node had reported as durable before a look: of each session up to
/// the newest report of it. A session's end may have come while the disk failed.
fn durable_places(run: &Judged<'_>, topic: usize, look: &Look<'_>) -> Vec<usize> {
    let topic = &run.ledger.topics[topic];
    if topic.node != look.who || topic.is_partial {
        return Vec::new();
    }
    let mut newest = BTreeMap::new();
    for report in reports(run, topic).filter(|report| report.event < look.event) {
        let number = newest.entry(report.session).or_insert(report.number);
        *number = report.number.max(*number);
    }
    let is_durable = |place: &usize| {
        let tag = &topic.tags[*place];
        newest.get(&tag.session).is_some_and(|number| tag.number <= *number)
    };
    (0..topic.tags.len()).filter(is_durable).collect()
}

/// What a node said of a topic's tags.
struct Report {
    event: usize,
    at: SimTime,
    session: u64,
    number: u64,
}

fn reports<'r>(run: &'r Judged<'_>, topic: &'r Topic) -> impl Iterator<Item = Report> + use<'r> {
    // Numbers begin again with every life of a node.
    let borders = run.ledger.lives.get(&topic.node).map_or(&[][..], Vec::as_slice);
    let ends =
        borders.iter().filter(|life| matches!(life.border, Border::Crashed | Border::Stopped));
    let ends: Vec<_> = ends.map(|life| life.event).collect();
    let begin = topic.life.checked_sub(1).and_then(|before| ends.get(before)).copied();
    let end = ends.get(topic.life).copied().unwrap_or(usize::MAX);
    (0..).zip(&run.trace.events).filter_map(move |(event, seen)| match &seen.what {
        What::Durable { key, session, number }
            if seen.who == topic.node
                && *key == topic.key
                && (begin.unwrap_or(0)..end).contains(&event)
                && topic.sessions.iter().any(|known| known.session == *session) =>
        {
            Some(Report { event, at: seen.at, session: *session, number: *number })
        }
        _ => None,
    })
}

/// What is in no file.
struct Lost {
    places: Vec<usize>,
    /// So many are said to be missing.
    declared: u64,
}

impl Lost {
    /// Of these places.
    fn of(
        run: &Judged<'_>,
        topic: usize,
        placed: &[Placed<'_>],
        of: impl IntoIterator<Item = usize>,
    ) -> Self {
        let files: Vec<_> = placed.iter().filter(|one| one.topic == topic).collect();
        let is_lost = |place: &usize| !files.iter().any(|file| file.has(*place));
        let topic = &run.ledger.topics[topic];
        // A header that nothing came behind is no loss.
        let is_frame = |place: &usize| {
            let tag = &topic.tags[*place];
            is_media(&tag.tag) && !tag.is_orphan
        };
        let frames = of.into_iter().filter(is_frame);
        let places = frames.filter(is_lost).collect();
        Self { places, declared: files.iter().map(|file| file.gaps).sum() }
    }

    /// One of them, if more are lost than are said to be.
    fn undeclared(&self) -> Option<usize> {
        let is_told = self.places.len() as u64 <= self.declared;
        self.places.last().copied().filter(|_| !is_told)
    }
}

/// A5. Whatever is not the first file of a session goes on where the one before it ends, and opens
/// with headers and a keyframe.
pub(super) fn rotation(run: &Judged<'_>) -> Verdict {
    by_looks(run, "lost between files", |look| {
        let (placed, _) = place_all(run, look);
        let seams = placed.windows(2).find_map(|pair| {
            let [before, after] = pair else { return None };
            let is_seam = before.topic == after.topic && before.session == after.session;
            if !is_seam || after.odd.or(before.odd).is_some() {
                return None;
            }
            let (end, begin, path) = (before.last, after.first, &after.file.path);
            let topic = &run.ledger.topics[before.topic];
            if begin <= end {
                // Headers behind the last frame are those that the next file begins with.
                let both = topic.tags[begin..=end].iter();
                let twice = both.filter(|tag| is_media(&tag.tag)).count();
                if twice == 0 {
                    return None;
                }
                return Some(format!("{path}: {twice} tags are in the file before it as well"));
            }
            let lost = owed(topic, end + 1..begin);
            let declared = after.gap_before + trailing_gap(before);
            (lost > declared).then(|| {
                format!("{lost} tags in front of {path} are in no file, {declared} are said to be missing")
            })
        });
        seams
            .or_else(|| placed.iter().find_map(|file| opening(run, file)))
            .or_else(|| placed.iter().find_map(|file| late_rotation(run, file)))
    })
}

/// What a file says to be missing behind its last frame.
fn trailing_gap(placed: &Placed<'_>) -> u64 {
    let trailing = placed.file.tags.iter().rev().take_while(|tag| !is_media(&tag.tag));
    trailing.filter_map(|tag| tag.gap).sum()
}

/// What is wrong with how a file begins that is not a session's first.
fn opening(run: &Judged<'_>, placed: &Placed<'_>) -> Option<String> {
    let topic = &run.ledger.topics[placed.topic];
    let session = topic.sessions.iter().find(|known| known.places.contains(&placed.first))?;
    if placed.first == session.places.start {
        return None;
    }
    let (path, tags) = (&placed.file.path, &placed.file.tags);
    let frame_place = (placed.first..topic.tags.len())
        .find(|place| same(&topic.tags[*place].tag, &tags[placed.frame].tag))?;
    let before = &topic.tags[session.places.start..frame_place];
    for kind in [Kind::Audio, Kind::Video] {
        let in_force =
            before.iter().rev().find(|tag| tag.tag.kind == kind && tag.tag.role == Role::Header);
        let is_there = |wanted: &PublishedTag| {
            tags[..placed.frame].iter().any(|tag| same(&tag.tag, &wanted.tag))
        };
        if in_force.is_some_and(|wanted| !is_there(wanted)) {
            return Some(format!("{path} does not begin with the header of {kind:?} in force"));
        }
    }
    let is_entry = |tag: &PublishedTag| tag.tag.role == Role::Keyframe && !tag.is_orphan;
    let has_video = before.iter().any(is_entry);
    let opens = tags[placed.frame].tag.role;
    (has_video && opens != Role::Keyframe).then(|| format!("{path} begins with {opens:?}"))
}

/// A keyframe that should have begun the next file.
fn late_rotation(run: &Judged<'_>, placed: &Placed<'_>) -> Option<String> {
    let limit = run.limits.archive_file_ms;
    let mut reached = 0;
    placed.file.tags.iter().skip(placed.frame + 1).find_map(|recorded| {
        let tag = recorded.tag;
        let is_late = tag.role == Role::Keyframe && u64::from(reached) >= limit;
        if is_media(&tag) {
            reached = reached.max(tag.timestamp_ms);
        }
        is_late.then(|| format!("{}: {tag} is behind {limit} ms of it", placed.file.path))
    })
}

/// A7.
pub(super) fn backlog(run: &Judged<'_>) -> Verdict {
    over_bound(run, "archive_")
}

/// What a healthy disk, and the node's own rhythm, may add to `archive.sync_ms`.
const SLACK: Duration = Duration::from_millis(200);

/// A8. Judged where nothing was done to the node: by its files when it dies, and by what it says
/// meanwhile.
pub(super) fn loss_window(run: &Judged<'_>) -> Verdict {
    let window = run.limits.archive_sync + SLACK + run.limits.unseen();
    let by_bytes = by_looks(run, "lost too much", |look| {
        let since = look.at - window;
        if is_disturbed(run, look.who, since, look.at - run.limits.tick) {
            return None;
        }
        let (placed, _) = place_all(run, look);
        let topics = (0..).zip(&run.ledger.topics).filter(|(_, topic)| topic.node == look.who);
        topics.filter(|(_, topic)| !topic.is_partial && topic.began() < look.at).find_map(
            |(index, topic)| {
                // Of a life before, the look at its end was asked.
                let is_newest = topic.last_at() + window >= look.at;
                let lost = Lost::of(run, index, &placed, 0..topic.entered_by(since));
                let place = lost.undeclared().filter(|_| is_newest)?;
                if hangs(run, look.who, since, look.at) {
                    return None;
                }
                let tag = &topic.tags[place];
                Some(format!("{}: {} entered at {} and is in no file", topic.key, tag.tag, tag.at))
            },
        )
    });
    first(by_bytes.into_iter().chain(by_reports(run, window)))
}

fn by_reports(run: &Judged<'_>, window: Duration) -> Verdict {
    let records = run.trace.events.iter().any(|event| matches!(event.what, What::Durable { .. }));
    let topics = run.ledger.topics.iter().filter(|topic| records && !topic.is_partial);
    first(topics.filter_map(|topic| {
        let reports: Vec<_> = reports(run, topic).collect();
        topic.tags.iter().find_map(|tag| {
            let until = tag.at + window;
            let is_over = topic.overs.iter().any(|over| over.at <= until)
                || until >= run.end()
                || is_disturbed(run, topic.node, tag.at, until)
                || !run.ledger.is_up(topic.node, tag.at, until);
            let covers = |report: &Report| {
                let so_far = (report.session, report.number);
                (tag.at..=until).contains(&report.at) && so_far >= (tag.session, tag.number)
            };
            let is_due = is_media(&tag.tag) && !tag.is_orphan;
            let is_late = !is_over
                && is_due
                && !reports.iter().any(covers)
                && !hangs(run, topic.node, tag.at, until);
            let saw = || {
                let ms = window.as_millis();
                format!("{} entered at {} and was not durable {ms} ms later", tag.tag, tag.at)
            };
            is_late.then(|| Finding::new(tag.event, topic.node, "durable late", saw()))
        })
    }))
}

/// Whether something was done to a node, or could still be felt: an archive that failed tries again
/// at a keyframe behind a pause.
fn is_disturbed(run: &Judged<'_>, node: Who, from: SimTime, to: SimTime) -> bool {
    run.cast.is_touched(node, from - FELT, to)
}

/// How long something can be felt.
const FELT: Duration = Duration::from_secs(15);

/// Whether a disk was told something while something was done to it, and had not done it, or has not
/// for long: how long a call takes is decided when it begins.
fn hangs(run: &Judged<'_>, node: Who, from: SimTime, to: SimTime) -> bool {
    let mut begun = BTreeMap::new();
    let is_felt = |begun: SimTime, done: SimTime| {
        begun <= to && done + FELT >= from && run.cast.is_touched(node, begun, begun)
    };
    let mut of_node = run.trace.events.iter().filter(|seen| seen.who == node);
    of_node.any(|seen| {
        let What::Disk(disk) = &seen.what else { return false };
        let what = (disk.call, disk.path.clone());
        match disk.outcome {
            DiskOutcome::Begun => {
                begun.insert(what, seen.at);
                false
            }
            _ => begun.remove(&what).is_some_and(|begun| is_felt(begun, seen.at)),
        }
    }) || begun.into_values().any(|begun| is_felt(begun, run.end()))
}
