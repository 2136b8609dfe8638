//! An encoder in real time: a clip over and over, each tag when its time has come.

use std::cmp::Reverse;
use std::collections::{BinaryHeap, HashMap};
use std::thread;
use std::time::{Duration, Instant};

use forebay::flv::{Tag, TagKind};
use forebay::rtmp::client::Role;
use forebay::time::Timestamp;

use crate::peer::Peer;

/// Time of one frame, in milliseconds: how far a pass begins behind the last tag of the one before.
const FRAME_MS: u32 = 33;

/// When the tags of a clip that is repeated are due.
pub struct Clock {
    begun: Instant,
    first: Option<Timestamp>,
    last: Timestamp,
    /// Added to timestamps: what the passes before have taken.
    shift_ms: u32,
}

impl Clock {
    /// The first tag is due at `begun`.
    pub fn start(begun: Instant) -> Self {
        Self { begun, first: None, last: Timestamp::ZERO, shift_ms: 0 }
    }

    /// When this tag, which follows the one asked for last, is due, counted from the start. Tags
    /// are asked for in the order of the clip; time that goes back begins a new pass.
    pub fn at(&mut self, tag: &Tag) -> Duration {
        let first = *self.first.get_or_insert(tag.timestamp);
        let new_pass_ms = -1000;
        if tag.timestamp.since(self.last) < new_pass_ms {
            self.shift_ms += self.last.since(tag.timestamp) as u32 + FRAME_MS;
        }
        self.last = tag.timestamp;
        Duration::from_millis((tag.timestamp.since(first).max(0) as u32 + self.shift_ms).into())
    }

    /// The same as a moment.
    pub fn moment(&mut self, tag: &Tag) -> Instant {
        let at = self.at(tag);
        self.begun + at
    }
}

/// What was published in one turn.
#[derive(Default)]
pub struct Published {
    /// Payload, in bytes.
    pub bytes: u64,
    /// Writes: one for each tag.
    pub tags: u64,
    /// When each tag was given to the system, by its kind and its timestamp in milliseconds.
    pub sent_at: HashMap<(TagKind, u32), Instant>,
}

/// An encoder with one connection.
pub struct Publisher<'a> {
    peer: Peer,
    clip: &'a [Tag],
    next: usize,
    /// Stream time, which goes on over passes and turns.
    now_ms: u32,
}

impl<'a> Publisher<'a> {
    /// Begins to publish `live/NAME`, with the headers of the clip.
    pub fn start(port: u16, name: &str, clip: &'a [Tag]) -> anyhow::Result<Self> {
        Ok(Self { peer: Peer::open(port, Role::Publish, name)?, clip, next: 0, now_ms: 0 })
    }

    /// Publishes for so long.
    pub fn publish(&mut self, duration: Duration) -> anyhow::Result<Published> {
        let (begun, begun_ms) = (Instant::now(), self.now_ms);
        let mut clock = Clock::start(begun);
        let mut published = Published::default();
        loop {
            let tag = &self.clip[self.next];
            let at = clock.at(tag);
            if at > duration {
                self.now_ms += duration.as_millis() as u32;
                return Ok(published);
            }
            thread::sleep((begun + at).saturating_duration_since(Instant::now()));
            let now_ms = begun_ms + at.as_millis() as u32;
            let tag = Tag { timestamp: Timestamp::from_ms(now_ms), ..tag.clone() };
            published.sent_at.insert((tag.kind, now_ms), Instant::now());
            published.bytes += tag.payload.len() as u64;
            published.tags += 1;
            self.peer.send(&tag)?;
            self.next = (self.next + 1) % self.clip.len();
        }
    }
}

/// Many encoders of one clip, each with a connection, in one thread.
pub struct Crowd<'a> {
    members: Vec<Member>,
    clip: &'a [Tag],
    /// Who is next, and when, counted from the start of the crowd's own time.
    due: BinaryHeap<Reverse<(Duration, usize)>>,
    now: Duration,
}

struct Member {
    peer: Peer,
    next: usize,
    clock: Clock,
    /// How much later than the first it began, so that they do not all send at once.
    offset: Duration,
}

impl<'a> Crowd<'a> {
    /// Begins to publish `live/NAME0` and so on.
    pub fn start(port: u16, name: &str, count: usize, clip: &'a [Tag]) -> anyhow::Result<Self> {
        let mut members = Vec::new();
        let mut due = BinaryHeap::new();
        for index in 0..count {
            let peer = Peer::open(port, Role::Publish, &format!("{name}{index}"))?;
            let offset = Duration::from_secs(1) * index as u32 / count as u32;
            due.push(Reverse((offset, index)));
            members.push(Member { peer, next: 0, clock: Clock::start(Instant::now()), offset });
        }
        Ok(Self { members, clip, due, now: Duration::ZERO })
    }

    /// Publishes for so long. Says how late the latest tag was.
    pub fn publish(&mut self, duration: Duration) -> anyhow::Result<Duration> {
        let begun = Instant::now();
        let end = self.now + duration;
        let mut latest = Duration::ZERO;
        while let Some(&Reverse((at, index))) = self.due.peek()
            && at <= end
        {
            let elapsed = begun.elapsed();
            let wait = (at - self.now).saturating_sub(elapsed);
            match wait.is_zero() {
                true => latest = latest.max(elapsed - (at - self.now)),
                false => thread::sleep(wait),
            }
            self.due.pop();
            let member = &mut self.members[index];
            let tag = &self.clip[member.next];
            let timestamp = Timestamp::from_ms((at - member.offset).as_millis() as u32);
            member.peer.send(&Tag { timestamp, ..tag.clone() })?;
            member.clock.at(tag);
            member.next = (member.next + 1) % self.clip.len();
            let next = member.clock.at(&self.clip[member.next]);
            self.due.push(Reverse((member.offset + next, index)));
        }
        self.now = end;
        Ok(latest)
    }
}
