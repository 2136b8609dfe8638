//! Which published tag each delivered one is.

use std::ops::Range;
use std::time::Duration;

use super::published::{is_media, same_content};
use super::{Connection, Topic};
use crate::tag::{Kind, Role, TagSeen};
use crate::time::SimTime;

/// A tag that a viewer got.
#[derive(Clone, Copy, Debug)]
pub struct GotTag {
    /// When its last byte arrived.
    pub at: SimTime,
    /// The event's index.
    pub event: usize,
    /// The tag.
    pub tag: TagSeen,
    /// What it is.
    pub matched: Matched,
}

/// What a delivered tag is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Matched {
    /// The published tag at this place; `is_sure` unless it may as well be a header repeated.
    Place {
        /// The place.
        place: u32,
        /// It cannot be anything else.
        is_sure: bool,
    },
    /// A header or metadata in force, said again; `is_sure` unless it may be published there.
    Repeated {
        /// It cannot be anything else.
        is_sure: bool,
    },
    /// The end of the pictures, which the server adds.
    EndOfSequence,
    /// A published tag whose time had passed.
    Late {
        /// Its place.
        place: u32,
        /// The viewer had got it.
        is_twice: bool,
    },
    /// Published shortly before the node died, too late to be seen entering.
    Unwitnessed,
    /// Nothing that was published.
    Foreign,
}

impl Matched {
    /// The place, if it was that tag's turn.
    pub fn place(self) -> Option<u32> {
        match self {
            Self::Place { place, .. } => Some(place),
            _ => None,
        }
    }
}

impl GotTag {
    pub(super) fn is_bad(&self) -> bool {
        matches!(self.matched, Matched::Late { .. } | Matched::Foreign)
    }

    /// A picture or sound.
    pub fn is_media(&self) -> bool {
        is_media(&self.tag)
    }
}

/// Places that a viewer did not get, between two that it got.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Hole {
    /// The first place that is missing.
    pub from: u32,
    /// The first place behind it.
    pub to: u32,
    /// Index of the first tag behind it in what the viewer got.
    pub got: usize,
    /// Payload bytes missing.
    pub bytes: u64,
    /// Tags that everybody may miss.
    pub orphans: u32,
    /// Pictures missing that other pictures need.
    pub needed: u32,
    /// Pictures missing that no other picture needs.
    pub disposable: u32,
}

impl Hole {
    /// Tags missing.
    pub fn tags(&self) -> u32 {
        self.to - self.from
    }
}

/// Says of each tag that the connection got which published one it is.
pub(super) fn match_tags(topic: &Topic, connection: &Connection) -> Vec<GotTag> {
    let mut got = connection.got.clone();
    let start = connection.connected.map_or(connection.dialed.at, |told| told.at);
    let joined = topic.entered_by(start) as u32;
    let known = match connection.account {
        Some((over, ..)) => topic.entered_by(over + UNSEEN) as u32,
        None => topic.tags.len() as u32,
    };
    match_media(topic, &mut got, known);
    let mut last = None;
    let mut start = 0;
    while start < got.len() {
        if is_media(&got[start].tag) {
            last = got[start].matched.place().or(last);
            start += 1;
            continue;
        }
        let len = got[start..].iter().take_while(|tag| !is_media(&tag.tag)).count();
        let run = start..start + len;
        let next = got[run.end..].iter().find_map(|tag| tag.matched.place());
        match last {
            Some(last) => match_between(topic, &mut got[run.clone()], last, next),
            None => match_prelude(topic, &mut got[run.clone()], joined, next),
        }
        start = run.end;
    }
    if let Some(last) = got.last_mut().filter(|last| last.matched == Matched::Foreign)
        && (last.tag.kind, last.tag.role) == (Kind::Video, Role::Other)
    {
        last.matched = Matched::EndOfSequence;
    }
    // Whoever joins, and all that look after that, see what was pushed a moment ago, and the witness
    // only with the next flush: if the node dies in between, nobody has seen it enter.
    got.iter_mut()
        .filter(|tag| tag.is_bad() && topic.is_cut_off(tag.at))
        .for_each(|tag| tag.matched = Matched::Unwitnessed);
    got
}

/// The witness may see a tag so much later than a joiner is given it: the longest time for which
/// flushes are coalesced, and a little.
const UNSEEN: Duration = Duration::from_millis(370);

/// The tags at places before `known` are those that the connection can have been given.
fn match_media(topic: &Topic, got: &mut [GotTag], known: u32) {
    let media: Vec<_> = (0..got.len()).filter(|index| is_media(&got[*index].tag)).collect();
    let mut next = 0;
    let mut seen = vec![false; topic.tags.len()];
    for (nth, index) in media.iter().enumerate() {
        let tag = got[*index].tag;
        let adjacent = topic.media_from(next).next().filter(|_| next > 0);
        let place = match adjacent.filter(|place| topic.tags[*place as usize].tag == tag) {
            Some(place) => Some(place),
            None => likeliest(topic, got, &media[nth..], next..known),
        };
        got[*index].matched = match place {
            Some(place) => {
                seen[place as usize] = true;
                next = place + 1;
                Matched::Place { place, is_sure: true }
            }
            None => match topic.find(&tag, 0) {
                Some(place) => Matched::Late { place, is_twice: seen[place as usize] },
                None => Matched::Foreign,
            },
        };
    }
}

/// Which of the equal tags at `places` the first of `media` is: an encoder that comes back says the
/// same again. One that had been sent by then, the one that what follows fits best; if they fit alike,
/// the newest that had been seen to enter, else the next that was.
fn likeliest(topic: &Topic, got: &[GotTag], media: &[usize], places: Range<u32>) -> Option<u32> {
    let first = &got[*media.first()?];
    let fit = |place: u32| {
        let places = topic.media_from(place).zip(media);
        places.take_while(|(p, index)| topic.tags[*p as usize].tag == got[**index].tag).count()
    };
    let known = topic.find_all(&first.tag, places.start).take_while(|place| *place < places.end);
    known.max_by_key(|place| {
        let fit = fit(*place);
        // What comes behind all that was seen to enter may fit as well.
        let next = media.get(fit).map(|index| &got[*index]);
        let is_unseen = next.is_some_and(|next| topic.is_cut_off(next.at))
            && topic.media_from(*place).nth(fit).is_none();
        let fit = if is_unseen { media.len() } else { fit };
        // What does not fit must come from behind it.
        let goes_on = media
            .get(fit)
            .is_none_or(|index| topic.find(&got[*index].tag, place + fit as u32).is_some());
        let had_entered = topic.tags[*place as usize].at <= first.at + UNSEEN;
        let was_sent = topic.sent_from(*place) <= first.at;
        (was_sent, goes_on, fit, had_entered, if had_entered { *place } else { u32::MAX - place })
    })
}

/// What is neither picture nor sound, after a tag at `last` and before one at `next`.
fn match_between(topic: &Topic, run: &mut [GotTag], last: u32, next: Option<u32>) {
    let end = next.unwrap_or(topic.tags.len() as u32);
    let mut after = last + 1;
    // Behind one that may be a repetition, the next may be one too.
    let mut is_sure = true;
    for entry in run {
        let found = topic.find(&entry.tag, after).filter(|place| *place < end);
        entry.matched = match found {
            Some(place) => {
                // So may the headers that a session begins with.
                let session = |place: u32| topic.tags[place as usize].session;
                is_sure &= place == after && session(place) == session(last);
                after = place + 1;
                Matched::Place { place, is_sure }
            }
            None => repeated_or_late(topic, entry, last, end),
        };
    }
}

fn repeated_or_late(topic: &Topic, entry: &GotTag, last: u32, end: u32) -> Matched {
    match topic.repeats(&entry.tag, known_by(topic, entry, end)) {
        true => Matched::Repeated { is_sure: true },
        false => match topic.find(&entry.tag, 0).filter(|place| *place <= last) {
            Some(place) => Matched::Late { place, is_twice: false },
            None => Matched::Foreign,
        },
    }
}

/// What a joiner gets before the first picture or sound. The past is given from a picture or a
/// sound on, so what is neither and was published before it `joined` can only be said again.
/// What adjoins its first tag is taken for published, and may yet be a header with its time.
fn match_prelude(topic: &Topic, run: &mut [GotTag], joined: u32, next: Option<u32>) {
    let end = next.unwrap_or(topic.tags.len() as u32);
    let mut before = end;
    for entry in run.iter_mut().rev() {
        let adjoins =
            before > joined && next.is_some() && topic.tags[before as usize - 1].tag == entry.tag;
        let is_published = topic.find(&entry.tag, joined).is_some_and(|place| place < end);
        entry.matched = if adjoins {
            before -= 1;
            Matched::Place { place: before, is_sure: false }
        } else if topic.repeats(&entry.tag, known_by(topic, entry, end)) {
            Matched::Repeated { is_sure: !is_published }
        } else {
            Matched::Foreign
        };
    }
}

/// Up to where something said again before the tag at `end` may be from: headers are those of that
/// tag, metadata are the newest.
fn known_by(topic: &Topic, entry: &GotTag, end: u32) -> u32 {
    match entry.tag.role {
        Role::Script => end.max(topic.entered_by(entry.at + UNSEEN) as u32),
        _ => end,
    }
}

/// What is missing between the places that were got.
pub(super) fn holes(topic: &Topic, got: &[GotTag]) -> Vec<Hole> {
    let mut holes = Vec::new();
    let mut last = None;
    for (index, entry) in got.iter().enumerate() {
        let Some(place) = entry.matched.place() else { continue };
        let from = last.map_or(place, |last: u32| last + 1);
        if from < place {
            let (before, behind) =
                (topic.sums_before(from as usize), topic.sums_before(place as usize));
            holes.push(Hole {
                from,
                to: place,
                got: index,
                bytes: behind.bytes - before.bytes,
                orphans: behind.orphans - before.orphans,
                needed: behind.needed - before.needed,
                disposable: behind.disposable - before.disposable,
            });
        }
        last = Some(place);
    }
    holes
}

impl Topic {
    /// How such a tag was published, if it was, at another time: for messages.
    pub fn published_otherwise(&self, tag: &TagSeen) -> Option<TagSeen> {
        self.tags.iter().map(|known| known.tag).find(|known| same_content(known, tag))
    }

    /// The published tag of this kind at this time, if its bytes were others.
    pub fn published_at(&self, tag: &TagSeen) -> Option<TagSeen> {
        let same = |known: &TagSeen| {
            (known.kind, known.timestamp_ms, known.len) == (tag.kind, tag.timestamp_ms, tag.len)
        };
        self.tags.iter().map(|known| known.tag).find(same)
    }
}
