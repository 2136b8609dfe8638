//! What entered a hub: tags with what a decoder needs for them, and the sessions they came in.

use std::ops::Range;
use std::sync::Arc;
use std::time::Duration;

use super::{Connection, Told};
use crate::tag::{Kind, Role, TagSeen};
use crate::time::SimTime;
use crate::trace::Who;

/// No step of timestamps is more stream time than this.
const STEP_MS_MAX: i32 = 1_000;

/// One stream key at one node, for as long as its numbers run on. A *place* is an index into
/// `tags`.
#[derive(Clone, Debug)]
pub struct Topic {
    /// The node.
    pub node: Who,
    /// The stream.
    pub key: Arc<str>,
    /// Which life of the node's process.
    pub life: usize,
    /// In order of their numbers.
    pub tags: Vec<PublishedTag>,
    /// In order.
    pub sessions: Vec<Session>,
    /// When the stream was seen to be over, and how many tags it had.
    pub overs: Vec<Told>,
    /// More came at once than the ring holds, and some tags entered unseen; or many are so alike
    /// that nobody could tell which of them came. Nothing that has to do with them can be judged.
    pub is_partial: bool,
    /// Fingerprints of the tags, sorted, each with its place.
    exact: Vec<(u64, u32)>,
    /// Fingerprints without timestamps of what is no picture and no sound, sorted.
    repeatable: Vec<(u64, u32)>,
}

/// One publish.
#[derive(Clone, Debug)]
pub struct Session {
    /// Its number, by the hub.
    pub session: u64,
    /// Its places.
    pub places: Range<usize>,
    /// Connection and publication that it came from: the one with which it has most in common.
    pub publication: Option<(usize, usize)>,
    /// So many tags of both are the same, from the first on.
    pub common: usize,
    /// When its publisher sent the first of them: nobody has any of it before.
    pub sent: SimTime,
}

/// A tag that entered a hub.
#[derive(Clone, Copy, Debug)]
pub struct PublishedTag {
    /// The event's index.
    pub event: usize,
    /// When it was seen to enter.
    pub at: SimTime,
    /// Which publish.
    pub session: u64,
    /// Its number in the topic.
    pub number: u64,
    /// The tag.
    pub tag: TagSeen,
    /// Place of the newest header of its kind in its session, before it.
    pub header: Option<u32>,
    /// Place of the newest script data in its session, up to it.
    pub metadata: Option<u32>,
    /// Keyframes in the topic, up to it.
    pub gop: u32,
    /// Place of its GOP's keyframe, if its session had one.
    pub keyframe: Option<u32>,
    /// Stream time in milliseconds up to it; never goes back.
    pub clock_ms: u64,
    /// Steps back of timestamps in the topic, of any kind of media within one session, up to it.
    pub back_steps: u32,
    /// It may be withheld from everybody: what it needs was never published.
    pub is_orphan: bool,
    /// Sums over everything before it.
    pub before: Sums,
}

/// Sums over tags.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Sums {
    /// Payload bytes.
    pub bytes: u64,
    /// Tags that may be withheld from everybody.
    pub orphans: u32,
    /// Pictures that other pictures need, orphans not counted.
    pub needed: u32,
    /// Pictures that no other needs, orphans not counted.
    pub disposable: u32,
}

/// Codecs whose pictures and sounds say all that a decoder has to know.
const IN_BAND: [&[u8; 4]; 3] = [b"vp08", b"vp09", b".mp3"];

impl PublishedTag {
    pub(super) fn new(event: usize, at: SimTime, session: u64, number: u64, tag: TagSeen) -> Self {
        Self {
            event,
            at,
            session,
            number,
            tag,
            header: None,
            metadata: None,
            gop: 0,
            keyframe: None,
            clock_ms: 0,
            back_steps: 0,
            is_orphan: false,
            before: Sums::default(),
        }
    }

    /// Sums over everything up to it.
    pub fn sums(&self) -> Sums {
        let Self { tag, is_orphan, before, .. } = self;
        let counts = |yes: bool| u32::from(yes && !is_orphan);
        Sums {
            bytes: before.bytes + u64::from(tag.len),
            orphans: before.orphans + u32::from(*is_orphan),
            needed: before.needed + counts(matches!(tag.role, Role::Keyframe | Role::Inter)),
            disposable: before.disposable + counts(tag.role == Role::Disposable),
        }
    }
}

impl Topic {
    pub(crate) fn new(node: Who, key: Arc<str>, life: usize) -> Self {
        let (tags, sessions, overs) = (Vec::new(), Vec::new(), Vec::new());
        let (exact, repeatable) = (Vec::new(), Vec::new());
        let is_partial = false;
        Self { node, key, life, tags, sessions, overs, is_partial, exact, repeatable }
    }

    pub(super) fn enter(&mut self, tag: PublishedTag) {
        let place = self.tags.len();
        match self.sessions.last_mut().filter(|last| last.session == tag.session) {
            Some(last) => last.places.end = place + 1,
            None => self.sessions.push(Session {
                session: tag.session,
                places: place..place + 1,
                publication: None,
                common: 0,
                sent: SimTime::ZERO,
            }),
        }
        self.tags.push(tag);
    }

    /// Fills in what follows from the order of the tags.
    pub(super) fn complete(&mut self) {
        let mut clock = Clock::default();
        let mut before = Sums::default();
        let mut gop = 0;
        let mut force = InForce::default();
        let mut session = None;
        for place in 0..self.tags.len() {
            let tag = self.tags[place].tag;
            if session != Some(self.tags[place].session) {
                session = Some(self.tags[place].session);
                force = InForce::default();
            }
            let header = force.headers[tag.kind as usize];
            let header_tag = header.map(|place| self.tags[place as usize].tag);
            let has_header = IN_BAND.contains(&&tag.codec)
                || header_tag.is_some_and(|header| header.codec == tag.codec);
            match tag.role {
                Role::Script => force.metadata = Some(place as u32),
                Role::Keyframe => {
                    gop += 1;
                    (force.keyframe, force.has_picture) = (Some(place as u32), has_header);
                }
                _ => {}
            }
            clock.step(&tag, self.tags[place].session);
            let entry = &mut self.tags[place];
            (entry.header, entry.metadata, entry.keyframe) =
                (header.filter(|_| has_header), force.metadata, force.keyframe);
            (entry.gop, entry.clock_ms, entry.back_steps) = (gop, clock.ms, clock.back_steps);
            entry.before = before;
            entry.is_orphan = match tag.role {
                Role::Keyframe | Role::Sound => !has_header,
                Role::Inter | Role::Disposable => !force.has_picture,
                Role::Other => tag.kind == Kind::Video && !force.has_picture,
                Role::Header | Role::Script => false,
            };
            before = entry.sums();
            if tag.role == Role::Header {
                force.headers[tag.kind as usize] = Some(place as u32);
            }
        }
        let places = || (0..).zip(&self.tags);
        self.exact = places().map(|(place, entry)| (exact(&entry.tag), place)).collect();
        self.repeatable = places()
            .filter(|(_, entry)| !is_media(&entry.tag))
            .map(|(place, entry)| (timeless(&entry.tag), place))
            .collect();
        self.exact.sort_unstable();
        let twins = self.exact.windows(2).filter(|pair| pair[0].0 == pair[1].0);
        let is_twin = |pair: &[(u64, u32)]| {
            let [a, b] = [pair[0].1, pair[1].1].map(|place| &self.tags[place as usize]);
            a.session == b.session && is_media(&a.tag)
        };
        self.is_partial |= twins.filter(|pair| is_twin(pair)).count() * 10 > self.tags.len();
        self.repeatable.sort_unstable();
    }

    /// Finds out where each session came from: the newest publication that could have sent all of
    /// it, or else the one that sent most of it.
    pub(super) fn find_publications(&mut self, connections: &[Connection]) {
        let (tags, node) = (&self.tags, self.node);
        for session in &mut self.sessions {
            let entered = &tags[session.places.clone()];
            let Some(first) = entered.first() else { continue };
            for (index, connection) in connections.iter().enumerate().rev() {
                if connection.node != node || connection.dialed.at > first.at {
                    continue;
                }
                for (number, publication) in connection.publications.iter().enumerate().rev() {
                    let sent = publication.sent.first().map(|sent| sent.at);
                    let Some(sent) = sent.filter(|sent| *sent <= first.at) else { continue };
                    if publication.key != self.key {
                        continue;
                    }
                    let pairs = entered.iter().zip(&publication.sent);
                    let same = |(p, s): &(&PublishedTag, &super::SentTag)| {
                        same_content(&p.tag, &s.tag) && s.at <= p.at
                    };
                    let common = pairs.take_while(same).count();
                    if session.publication.is_none() || common > session.common {
                        (session.publication, session.common) = (Some((index, number)), common);
                        session.sent = if common == 0 { SimTime::ZERO } else { sent };
                    }
                    if common == entered.len() {
                        break;
                    }
                }
                if session.common == entered.len() {
                    break;
                }
            }
        }
    }

    /// When its first tag entered.
    pub fn began(&self) -> SimTime {
        self.tags.first().map_or(SimTime::MAX, |first| first.at)
    }

    /// When its newest tag entered.
    pub fn last_at(&self) -> SimTime {
        self.tags.last().map_or(SimTime::ZERO, |last| last.at)
    }

    /// When the session of the tag at this place began to be sent.
    pub(super) fn sent_from(&self, place: u32) -> SimTime {
        let session = self.sessions.iter().find(|s| s.places.contains(&(place as usize)));
        session.map_or(SimTime::ZERO, |session| session.sent)
    }

    /// Whether more may have entered by then than was seen: nothing was seen later, as when the
    /// node died, and it was not said that the stream is over.
    pub fn is_cut_off(&self, at: SimTime) -> bool {
        at >= self.last_at()
            && self.overs.iter().all(|over| (over.place as usize) < self.tags.len())
    }

    /// How many tags had entered by then.
    pub fn entered_by(&self, at: SimTime) -> usize {
        self.tags.partition_point(|tag| tag.at <= at)
    }

    /// Sums over the tags before this place.
    pub fn sums_before(&self, place: usize) -> Sums {
        match self.tags.get(place) {
            Some(tag) => tag.before,
            None => self.tags.last().map(PublishedTag::sums).unwrap_or_default(),
        }
    }

    /// Whether a connection may have been served from this topic, by times alone.
    pub(super) fn may_have_served(&self, connection: &Connection) -> bool {
        let is_here = self.node == connection.node && self.life == connection.life;
        let is_it = connection.playing.as_ref().is_some_and(|(_, key)| *key == self.key);
        let last_got = connection.got.last().map_or(SimTime::ZERO, |got| got.at);
        is_here && is_it && self.began() <= last_got + Duration::from_secs(1)
    }

    /// The first place from `from` on with exactly this tag.
    pub fn find(&self, tag: &TagSeen, from: u32) -> Option<u32> {
        self.find_all(tag, from).next()
    }

    /// All places from `from` on with exactly this tag.
    pub(super) fn find_all(&self, tag: &TagSeen, from: u32) -> impl Iterator<Item = u32> {
        let (tag, print) = (*tag, exact(tag));
        let start = self.exact.partition_point(|known| *known < (print, from));
        let same = self.exact[start..].iter().take_while(move |(known, _)| *known == print);
        same.map(|(_, place)| *place).filter(move |place| self.tags[*place as usize].tag == tag)
    }

    /// Places of pictures and sounds from `from` on.
    pub(super) fn media_from(&self, from: u32) -> impl Iterator<Item = u32> {
        let places = from..self.tags.len() as u32;
        places.filter(|place| is_media(&self.tags[*place as usize].tag))
    }

    /// Whether such a tag, no picture and no sound, was published before this place, at any time
    /// of the stream.
    pub fn repeats(&self, tag: &TagSeen, before: u32) -> bool {
        let print = timeless(tag);
        let start = self.repeatable.partition_point(|known| known.0 < print);
        self.repeatable.get(start).is_some_and(|(known, place)| *known == print && *place < before)
    }

    /// Bytes of payload, and bytes around them, in the second in which most entered.
    pub fn peak_second(&self) -> u64 {
        let mut first = 0;
        let mut peak = 0;
        for (index, tag) in self.tags.iter().enumerate() {
            while self.tags[first].at + Duration::from_secs(1) < tag.at {
                first += 1;
            }
            let bytes = tag.sums().bytes - self.tags[first].before.bytes;
            peak = peak.max(bytes + 20 * (index - first + 1) as u64);
        }
        peak
    }

    /// The most stream time in milliseconds that entered within a second.
    pub fn peak_clock_ms(&self) -> u64 {
        let mut first = 0;
        let mut peak = 0;
        for tag in &self.tags {
            while self.tags[first].at + Duration::from_secs(1) < tag.at {
                first += 1;
            }
            peak = peak.max(tag.clock_ms - self.tags[first].clock_ms);
        }
        peak
    }

    /// The longest GOP, in milliseconds of stream time.
    pub fn gop_ms_max(&self) -> u64 {
        let keyframes = self.tags.iter().filter(|tag| tag.tag.role == Role::Keyframe);
        let clocks: Vec<_> = keyframes.chain(self.tags.last()).map(|tag| tag.clock_ms).collect();
        clocks.windows(2).map(|pair| pair[1] - pair[0]).max().unwrap_or(0)
    }

    /// The newest place before `place` in its session that a decoder can start with.
    pub fn keyframe_before(&self, place: usize) -> Option<usize> {
        let mut keyframe = self.tags.get(place.checked_sub(1)?)?.keyframe? as usize;
        let session = self.tags[keyframe].session;
        while self.tags[keyframe].is_orphan {
            let before = self.tags.get(keyframe.checked_sub(1)?)?;
            keyframe = before.keyframe.filter(|_| before.session == session)? as usize;
        }
        Some(keyframe)
    }

    /// Whether the session that this place is in had pictures up to it.
    pub fn has_video_before(&self, place: usize) -> bool {
        let Some(last) = place.checked_sub(1).and_then(|last| self.tags.get(last)) else {
            return false;
        };
        let session = self.tags[..place].iter().rev().take_while(|t| t.session == last.session);
        session.take(10_000).any(|tag| tag.tag.kind == Kind::Video)
    }
}

/// What is in force in a session.
#[derive(Default)]
struct InForce {
    headers: [Option<u32>; 3],
    metadata: Option<u32>,
    keyframe: Option<u32>,
    has_picture: bool,
}

/// Stream time: that of the kind of media that is furthest.
#[derive(Default)]
struct Clock {
    /// Of each kind the last timestamp, its session, and the stream time it came to.
    tracks: [Option<(u32, u64, u64)>; 3],
    ms: u64,
    back_steps: u32,
}

impl Clock {
    fn step(&mut self, tag: &TagSeen, session: u64) {
        // What is said about media, headers of all kinds among it, may say any time.
        if !is_media(tag) {
            return;
        }
        let track = &mut self.tracks[tag.kind as usize];
        let (last, of, ms) = track.unwrap_or((tag.timestamp_ms, session, self.ms));
        let step = tag.timestamp_ms.wrapping_sub(last) as i32;
        if step < 0 && of == session {
            self.back_steps += 1;
        }
        let passed = step.clamp(0, STEP_MS_MAX) as u64;
        *track = Some((tag.timestamp_ms, session, ms + passed));
        self.ms = self.ms.max(ms + passed);
    }
}

/// A picture or sound: what headers are for.
pub(super) fn is_media(tag: &TagSeen) -> bool {
    tag.role.is_picture() || tag.role == Role::Sound
}

/// Whether two tags are the same but for their time.
pub(crate) fn same_content(a: &TagSeen, b: &TagSeen) -> bool {
    (a.kind, a.len, a.digest) == (b.kind, b.len, b.digest)
}

fn timeless(tag: &TagSeen) -> u64 {
    (tag.digest ^ u64::from(tag.len) ^ (tag.kind as u64) << 62).wrapping_mul(0x9e37_79b9_7f4a_7c15)
}

fn exact(tag: &TagSeen) -> u64 {
    timeless(tag) ^ u64::from(tag.timestamp_ms).wrapping_mul(0xff51_afd7_ed55_8ccd)
}
