//! History: what is recorded, file by file, against what entered the hub.

use std::cmp::Reverse;
use std::ops::Range;
use std::sync::Arc;

use super::super::Judged;
use crate::ledger::{Border, Topic};
use crate::tag::{Role, TagSeen};
use crate::time::SimTime;
use crate::trace::{DiskOutcome, RecordedTag, Recording, Recordings, What, Who};

/// A look at a node's disk.
pub(super) struct Look<'r> {
    pub(super) event: usize,
    pub(super) at: SimTime,
    pub(super) who: Who,
    pub(super) recordings: &'r Arc<Recordings>,
    /// What is judged: as recovery leaves what is there, or what would be there without power.
    pub(super) files: &'r [Recording],
    /// The disk has said that something is durable which was not, and has lost its power since, or
    /// what was read from it is not what it has. What is on it then is nobody's fault.
    pub(super) was_betrayed: bool,
}

/// All looks, in order.
pub(super) fn looks<'r>(run: &'r Judged<'_>) -> Vec<Look<'r>> {
    let mut lied: Vec<Who> = Vec::new();
    let mut betrayed: Vec<Who> = Vec::new();
    let mut looks = Vec::new();
    for (event, seen) in run.trace.events.iter().enumerate() {
        match &seen.what {
            What::Disk(disk) if disk.outcome == DiskOutcome::Lied => lied.push(seen.who),
            What::Disk(disk) if disk.outcome == DiskOutcome::Flipped => betrayed.push(seen.who),
            What::Recordings(recordings) => {
                if recordings.has_lost_power && lied.contains(&seen.who) {
                    betrayed.push(seen.who);
                }
                let (at, who) = (seen.at, seen.who);
                let is_betrayed = betrayed.contains(&who);
                let would_be = is_betrayed || lied.contains(&who);
                let both =
                    [(&recordings.recovered, is_betrayed), (&recordings.unpowered, would_be)];
                looks.extend(both.map(|(files, was_betrayed)| Look {
                    event,
                    at,
                    who,
                    recordings,
                    files,
                    was_betrayed,
                }));
            }
            _ => {}
        }
    }
    looks
}

/// A file, and where its tags were published.
pub(super) struct Placed<'r> {
    pub(super) file: &'r Recording,
    /// Index of its topic.
    pub(super) topic: usize,
    pub(super) session: u64,
    /// The place of its first tag that is not only repeated.
    pub(super) first: usize,
    /// The place of its last one.
    pub(super) last: usize,
    /// Tags said to be missing in front of its first frame.
    pub(super) gap_before: u64,
    /// All that it says to be missing.
    pub(super) gaps: u64,
    /// Places between two of its tags, with what is said to be missing there.
    pub(super) skips: Vec<Skip>,
    /// Index of the tag that was not published, or not behind those before it.
    pub(super) odd: Option<usize>,
    /// Index of its first frame.
    pub(super) frame: usize,
    /// The place of that.
    frame_place: usize,
    /// As much of its session is in front of it as is said to be missing.
    has_room: bool,
    /// It was there when the file began.
    is_in_time: bool,
    /// So many of its last tags nobody may have seen.
    unseen: usize,
}

/// Places that are not in a file, between two that are.
pub(super) struct Skip {
    pub(super) from: usize,
    pub(super) to: usize,
    /// How many of them anybody was given.
    pub(super) owed: u64,
    pub(super) declared: u64,
}

/// How many tags at these places anybody was given: what nobody could decode is recorded by nobody.
pub(super) fn owed(topic: &Topic, places: Range<usize>) -> u64 {
    topic.tags[places].iter().filter(|tag| !tag.is_orphan).count() as u64
}

impl Placed<'_> {
    /// Tags that are missing, and not said to be.
    pub(super) fn undeclared(&self) -> Option<&Skip> {
        self.skips.iter().find(|skip| skip.owed > skip.declared)
    }

    /// Whether a place is in it.
    pub(super) fn has(&self, place: usize) -> bool {
        let skipped = self.skips.iter().any(|skip| (skip.from..skip.to).contains(&place));
        (self.first..=self.last).contains(&place) && !skipped
    }
}

/// The recovered files that have frames, each with its place, in order of their names; and the
/// first that has none.
pub(super) fn place_all<'r>(
    run: &Judged<'_>,
    look: &Look<'r>,
) -> (Vec<Placed<'r>>, Option<(&'r Recording, String)>) {
    let (mut placed, mut stranger) = (Vec::new(), None);
    for file in look.files.iter().filter(|file| file.is_final()) {
        let Some((name, begun)) = name_and_time(&file.path) else { continue };
        if !file.tags.iter().any(|tag| is_media(&tag.tag)) {
            continue;
        }
        match place(run, look.who, &name, begun, file, &placed) {
            Place::Found(found) => placed.push(found),
            Place::Nowhere => {
                stranger.get_or_insert((file, "it is of no stream that was published".to_owned()));
            }
            Place::Unknown => {}
        }
    }
    placed.sort_by_key(|one| (one.topic, one.first, one.last));
    (placed, stranger)
}

/// Names of files say when they began, counted from the start of 2026.
pub(super) fn name_and_time(path: &str) -> Option<(String, SimTime)> {
    let path = path.rsplit_once(".flv")?.0;
    let (directory, file) = path.rsplit_once('/')?;
    let app = directory.rsplit('/').next()?;
    let z = file.rfind('Z')?;
    let stamp = file.get(z.checked_sub(19)?..z)?;
    let name = file.get(..z - 20)?;
    let number = |range: Range<usize>| stamp.get(range)?.parse::<u64>().ok();
    let days = number(6..8)?.checked_sub(1)?;
    let (hours, minutes, seconds) = (number(9..11)?, number(11..13)?, number(13..15)?);
    let ms = (((days * 24 + hours) * 60 + minutes) * 60 + seconds) * 1_000 + number(16..19)?;
    stamp.starts_with("202601").then(|| (format!("{app}/{name}"), SimTime::from_millis(ms)))
}

enum Place<'r> {
    Found(Placed<'r>),
    Nowhere,
    /// Not all that entered was seen.
    Unknown,
}

fn place<'r>(
    run: &Judged<'_>,
    node: Who,
    key: &str,
    begun: SimTime,
    file: &'r Recording,
    others: &[Placed<'r>],
) -> Place<'r> {
    // Nobody records what a life before has published.
    let life = life_at(run, node, begun);
    let is_it = |topic: &Topic| topic.node == node && *topic.key == *key && topic.life == life;
    let topics = run.ledger.topics.iter().enumerate().filter(|(_, topic)| is_it(topic));
    if topics.clone().any(|(_, topic)| topic.is_partial) {
        return Place::Unknown;
    }
    let Some(frame) = file.tags.iter().position(|tag| is_media(&tag.tag)) else {
        return Place::Unknown;
    };
    let first = file.tags[frame].tag;
    let latest = begun + run.limits.unseen();
    // What came last before a process died, or before the end, nobody may have seen.
    let is_unseen = |at: SimTime| {
        let until = at + run.limits.unseen();
        until > run.end() || !run.ledger.is_up(node, at, until)
    };
    let ends_unseen = |topic: &Topic| is_unseen(topic.last_at());
    let mut best: Option<Placed<'r>> = None;
    for (index, topic) in topics {
        let places = topic.tags.iter().enumerate();
        let alike = places.filter(|(_, entered)| same(&entered.tag, &first));
        // Something that is said again later is not what a file began with before.
        for (at, _) in alike {
            let mut candidate = walk(topic, index, file, frame, at, ends_unseen(topic));
            // A session's first file may begin with headers and a loss: frames are as late then.
            let start = session_of(topic, at).start;
            let is_told = owed(topic, start..at) <= candidate.gap_before + frame as u64;
            let waits =
                candidate.gap_before > 0 || topic.tags[start..at].iter().any(|it| it.is_orphan);
            let is_late_start = waits && is_told;
            let from = if is_late_start { start } else { candidate.first };
            // What is seen of it is seen a little later than it is recorded.
            if topic.tags[from].at > latest {
                continue;
            }
            candidate.has_room = owed(topic, start..at) + frame as u64 >= candidate.gap_before;
            candidate.is_in_time = topic.tags[candidate.first].at <= latest;
            let likelihood = |placed: &_| likelihood(placed, others);
            let known = best.as_ref().map(likelihood);
            if known.is_none_or(|known| likelihood(&candidate) >= known) {
                best = Some(candidate);
            }
        }
    }
    match best {
        Some(found) => Place::Found(found),
        None if is_unseen(begun) => Place::Unknown,
        None => Place::Nowhere,
    }
}

/// Which life of a node that is.
fn life_at(run: &Judged<'_>, node: Who, at: SimTime) -> usize {
    let borders = run.ledger.lives.get(&node).map_or(&[][..], Vec::as_slice);
    let is_end = |border| matches!(border, Border::Crashed | Border::Stopped);
    borders.iter().filter(|it| is_end(it.border) && it.at < at).count()
}

/// The places of the session that a place is in.
fn session_of(topic: &Topic, at: usize) -> Range<usize> {
    let session = topic.sessions.iter().find(|known| known.places.contains(&at));
    session.map_or(at..at + 1, |session| session.places.clone())
}

/// The further without a mistake, and the fewer undeclared holes, the likelier; then what is in no
/// other file, as an encoder that begins again fills one file like the other; then what has room for
/// what is missing; then what did not come late; then what leaves less to be unseen, as silence is the
/// same bytes over and over; then the later.
fn likelihood(placed: &Placed<'_>, others: &[Placed<'_>]) -> impl Ord + use<> {
    let mut of_topic = others.iter().filter(|other| other.topic == placed.topic);
    let is_taken = of_topic.any(|other| other.has(placed.frame_place));
    let odd = placed.odd.unwrap_or(usize::MAX);
    let is_whole = placed.undeclared().is_none();
    let seen = Reverse(placed.unseen);
    (odd, is_whole, !is_taken, placed.has_room, placed.is_in_time, seen)
}

fn walk<'r>(
    topic: &Topic,
    index: usize,
    file: &'r Recording,
    frame: usize,
    at: usize,
    ends_unseen: bool,
) -> Placed<'r> {
    let entered = &topic.tags[at];
    let session = entered.session;
    // The file's own zero, in the publisher's time.
    let base = entered.tag.timestamp_ms.wrapping_sub(file.tags[frame].tag.timestamp_ms);
    let places = session_of(topic, at);
    let gap_of = |tags: &[RecordedTag]| tags.iter().filter_map(|tag| tag.gap).sum::<u64>();
    let mut placed = Placed {
        file,
        topic: index,
        session,
        first: first_own(topic, file, frame, at, places.start),
        last: at,
        gap_before: gap_of(&file.tags[..frame]),
        gaps: gap_of(&file.tags),
        skips: Vec::new(),
        odd: None,
        frame,
        frame_place: at,
        has_room: false,
        is_in_time: false,
        unseen: 0,
    };
    let mut declared = 0;
    for (number, recorded) in file.tags.iter().enumerate().skip(frame + 1) {
        if let Some(gap) = recorded.gap {
            declared += gap;
            continue;
        }
        let is_it = |place: &usize| {
            let tag = &topic.tags[*place].tag;
            let ms = tag.timestamp_ms.wrapping_sub(base) as i32;
            same(tag, &recorded.tag) && ms.max(0) as u32 == recorded.tag.timestamp_ms
        };
        let next = placed.last + 1;
        let Some(found) = (next..places.end).find(is_it) else {
            // All that was seen is in front of it, or lost.
            if ends_unseen && owed(topic, next..topic.tags.len()) <= declared {
                placed.unseen = file.tags.len() - number;
                break;
            }
            // Behind a loss also those that came meanwhile.
            let known = if declared > 0 { places.clone() } else { places.start..next };
            let mut before = topic.tags[known].iter();
            if !is_media(&recorded.tag) && before.any(|tag| same(&tag.tag, &recorded.tag)) {
                // Headers are repeated where it goes on behind a loss.
                continue;
            }
            placed.odd = Some(number);
            break;
        };
        if found > next {
            let owed = owed(topic, next..found);
            placed.skips.push(Skip { from: next, to: found, owed, declared });
        }
        (placed.last, declared) = (found, 0);
    }
    placed
}

/// Where what is not only repeated begins: at the frame, or with the headers that came in front.
fn first_own(topic: &Topic, file: &Recording, frame: usize, at: usize, from: usize) -> usize {
    let mut front = file.tags[..frame].iter().rev().filter(|tag| tag.gap.is_none());
    let mut first = at;
    while first > from {
        let is_before = front.next().is_some_and(|tag| same(&topic.tags[first - 1].tag, &tag.tag));
        if !is_before {
            break;
        }
        first -= 1;
    }
    first
}

/// Whether it is the same but for its time, which is the file's own.
pub(super) fn same(one: &TagSeen, other: &TagSeen) -> bool {
    (one.kind, one.len, one.digest) == (other.kind, other.len, other.digest)
}

/// Sound and pictures. What else a codec says of itself may be said again in front of them.
pub(super) fn is_media(tag: &TagSeen) -> bool {
    tag.role.is_picture() || tag.role == Role::Sound
}
