//! Cursor: how one subscriber moves through the ring, and what it loses when it is slow.

use std::sync::Arc;

use smallvec::SmallVec;

use super::ring::{Class, EntryPoint, Ring};
use super::topic::State;
use super::{Cause, Counters, Lag, Overflow, Policy, Receive, Start};
use crate::gop::Headers;
use crate::time::Timestamp;

/// Where a subscriber is. Everything happens under the topic's lock, in [`step`](Self::step).
pub(crate) struct Cursor {
    policy: Policy,
    /// Joined when its publisher had more than it had pushed, and is to join when that is there.
    joins: Option<Start>,
    phase: Phase,
    receive: Receive,
    /// The tag to be given next.
    number: u64,
    /// Payload bytes published before it.
    bytes_at: u64,
    /// Stream time of the last tag given or skipped.
    clock_ms: u64,
    /// Version of the headers that the subscriber has.
    headers_version: u64,
    headers_due: Option<HeadersDue>,
    /// A header passed by during a pause.
    missed_header: bool,
    /// Backlog that it began with and has not worked off; the policy bounds what comes on top.
    debt: Backlog,
    /// Lost and not yet told, one per cause.
    lags: SmallVec<[Lag; 1]>,
    /// How often the stream had ended before it joined.
    ends_before: u64,
    /// Whether the first end is its end, even if another stream of this name has begun since.
    is_of_one_stream: bool,
    /// Payload bytes published before its first tag.
    bytes_before: u64,
    /// Its first tag.
    joined_at: u64,
    counters: Counters,
}

#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum Phase {
    /// What comes next can be decoded.
    Live,
    /// No picture before the next keyframe; `audio` and headers meanwhile, or nothing at all.
    AwaitKeyframe { audio: bool },
}

/// Headers to repeat, and the time to give them.
pub(crate) struct HeadersDue {
    pub(crate) headers: Arc<Headers>,
    pub(crate) timestamp: Timestamp,
}

/// What a subscriber has not been given yet.
#[derive(Clone, Copy, Default, PartialEq, Eq, Debug)]
struct Backlog {
    bytes: u64,
    ms: u64,
}

/// What comes next for a subscriber.
pub(crate) enum Step {
    /// Headers that it lacks, before anything else.
    Headers(HeadersDue),
    /// It lost something; told before what follows the gap.
    Lag(Lag),
    /// This tag.
    Tag(u64),
    /// Nothing until the publisher pushes.
    Pending,
    /// Nothing ever again.
    End,
    /// It fell behind further than its policy allows.
    Disconnected,
}

impl Cursor {
    pub(crate) fn join(state: &State, start: Start, policy: Policy) -> Self {
        let ring = &state.ring;
        let mut cursor = Self {
            policy,
            joins: (state.is_catching_up() && !policy.witness).then_some(start),
            phase: match policy.witness {
                true => Phase::Live,
                false => Phase::AwaitKeyframe { audio: true },
            },
            receive: Receive::default(),
            number: ring.end(),
            bytes_at: ring.bytes(),
            clock_ms: ring.clock_ms(),
            headers_version: 0,
            headers_due: None,
            missed_header: false,
            debt: Backlog::default(),
            lags: SmallVec::new(),
            ends_before: state.ends,
            is_of_one_stream: false,
            bytes_before: 0,
            joined_at: 0,
            counters: Counters::default(),
        };
        match Self::entry_point(state, start) {
            Some(entry) => cursor.start_at(state, entry),
            None => {
                let timestamp = ring.last_timestamp();
                cursor.take_headers(state.gop.headers(), timestamp);
            }
        }
        cursor.bytes_before = cursor.bytes_at;
        cursor.joined_at = cursor.number;
        cursor
    }

    /// As [`join`](Self::join), for one that consumes a stream from its beginning to its end.
    pub(crate) fn follow(state: &State, policy: Policy) -> Self {
        Self { is_of_one_stream: true, ..Self::join(state, Start::Gop, policy) }
    }

    fn entry_point(state: &State, start: Start) -> Option<&EntryPoint> {
        if !state.is_live() {
            return None;
        }
        let ring = &state.ring;
        // Without pictures every moment is a place to start: a little of the past fills the buffer.
        let newest = match state.gop.has_pictures() {
            true => ring.newest_entry_point(),
            false => ring.entry_point_within(state.limits.audio_gop_ms),
        };
        newest.filter(|entry| match start {
            Start::Gop => true,
            Start::Live => false,
            Start::Auto { gop_ms_max } => {
                ring.clock_ms() - ring.clock_at(entry.number) <= gop_ms_max
            }
        })
    }

    fn start_at(&mut self, state: &State, entry: &EntryPoint) {
        let ring = &state.ring;
        self.number = entry.number;
        self.bytes_at = ring.bytes_before(entry.number);
        self.phase = Phase::Live;
        self.debt = self.backlog(ring);
        self.missed_header = false;
        let timestamp =
            ring.get(entry.number).map_or(ring.last_timestamp(), |first| first.tag.timestamp);
        // What describes the stream as a whole is true from the start, whenever it was said. Of a
        // stream that is over, or that another publisher went on with, only the ring knows.
        match state.is_live() && ring.is_joinable(entry) {
            true => {
                let headers = entry.headers.with_metadata_of(state.gop.headers());
                self.take_headers(&headers, timestamp);
            }
            false => self.take_headers(&entry.headers, timestamp),
        }
    }

    fn take_headers(&mut self, headers: &Arc<Headers>, timestamp: Timestamp) {
        if headers.version() != self.headers_version {
            self.headers_version = headers.version();
            self.headers_due = Some(HeadersDue { headers: headers.clone(), timestamp });
        }
    }

    fn backlog(&self, ring: &Ring) -> Backlog {
        Backlog {
            bytes: ring.bytes() - self.bytes_at,
            ms: ring.clock_ms() - ring.clock_at(self.number.max(ring.first())),
        }
    }

    /// Decides what comes next. The cursor moves over what is skipped, not over what is given:
    /// that is [`given`](Self::given)'s part.
    pub(crate) fn step(&mut self, state: &State) -> Step {
        if let Some(start) = self.joins {
            if state.is_catching_up() {
                return Step::Pending;
            }
            *self = Self {
                receive: self.receive,
                ends_before: self.ends_before,
                is_of_one_stream: self.is_of_one_stream,
                ..Self::join(state, start, self.policy)
            };
        }
        loop {
            if !self.keep_up(state) {
                return Step::Disconnected;
            }
            // Asked behind everything that skips: what is skipped may be the last there was.
            if self.is_over(state) {
                return self.take_lag(|_| true).map_or(Step::End, Step::Lag);
            }
            if self.phase != Phase::Live
                && let Some(entry) = state.ring.entry_point_at(self.number)
            {
                self.start_at(state, entry);
            }
            if let Some(due) = self.headers_due.take() {
                return match self.take_lag(|lag| lag.cause == Cause::Overflow) {
                    Some(lag) => {
                        self.headers_due = Some(due);
                        Step::Lag(lag)
                    }
                    None => Step::Headers(due),
                };
            }
            if self.phase == (Phase::AwaitKeyframe { audio: false }) {
                match state.ring.newest_entry_point().filter(|entry| entry.number > self.number) {
                    Some(entry) => {
                        self.skip_to(&state.ring, entry.number, Cause::Overflow);
                        continue;
                    }
                    None if self.number < state.ring.end() => {
                        self.skip_to(&state.ring, state.ring.end(), Cause::Overflow);
                        continue;
                    }
                    None => return Step::Pending,
                }
            }
            let Some(entry) = state.ring.get(self.number).filter(|_| self.number < state.shown)
            else {
                return Step::Pending;
            };
            match self.reason_to_skip(entry.class, &state.ring) {
                Some(cause) => {
                    self.missed_header |= entry.class == Class::Header;
                    self.skip_to(&state.ring, self.number + 1, cause);
                }
                None if self.missed_header => {
                    // The pause lasts until the newest headers are in force: only they are known.
                    let headers = state.gop.headers();
                    if entry.headers_version == headers.version() {
                        self.missed_header = false;
                        self.take_headers(headers, entry.tag.timestamp);
                    } else {
                        self.skip_to(&state.ring, self.number + 1, Cause::Filtered);
                    }
                }
                None => {
                    let resumes =
                        matches!(entry.class, Class::Video { .. }) || !state.gop.has_pictures();
                    return match self.take_lag(|lag| resumes || lag.cause == Cause::Overflow) {
                        Some(lag) => Step::Lag(lag),
                        None => Step::Tag(self.number),
                    };
                }
            }
        }
    }

    /// Whether the stream ended after this subscriber joined, and it has had all of it.
    fn is_over(&self, state: &State) -> bool {
        match self.is_of_one_stream {
            true => state.end_after(self.ends_before).is_some_and(|end| self.number >= end),
            false => state.ends > self.ends_before && self.number >= state.end_number(),
        }
    }

    /// Whether the stream ended after this subscriber joined, whatever of it is still to be given.
    pub(crate) fn has_ended(&self, state: &State) -> bool {
        state.ends > self.ends_before
    }

    fn take_lag(&mut self, is_due: impl Fn(&Lag) -> bool) -> Option<Lag> {
        self.lags.iter().position(is_due).map(|index| self.lags.remove(index))
    }

    fn reason_to_skip(&self, class: Class, ring: &Ring) -> Option<Cause> {
        let Receive { audio, video, paused } = self.receive;
        match class {
            Class::Orphan if !self.policy.witness => Some(Cause::NoKeyframe),
            _ if paused => Some(Cause::Filtered),
            Class::Header | Class::Orphan => None,
            Class::Audio => (!audio).then_some(Cause::Filtered),
            Class::Video { .. } if !video => Some(Cause::Filtered),
            Class::Video { .. } if self.phase != Phase::Live => Some(Cause::NoKeyframe),
            Class::Video { disposable } => {
                (disposable && self.is_pressed(ring)).then_some(Cause::Disposable)
            }
        }
    }

    /// Whether half of the backlog bound is used up, for the policy that drops the dispensable then.
    pub(crate) fn is_pressed(&self, ring: &Ring) -> bool {
        self.policy.overflow == Overflow::DropDisposableFirst
            && self.over(
                self.backlog(ring),
                self.policy.backlog_bytes_max / 2,
                self.policy.backlog_ms_max / 2,
            )
    }

    fn over(&self, backlog: Backlog, bytes_max: u64, ms_max: u64) -> bool {
        backlog.bytes > self.debt.bytes.saturating_add(bytes_max)
            || backlog.ms > self.debt.ms.saturating_add(ms_max)
    }

    /// Applies the policy if the subscriber is behind. `false`: it has to go.
    fn keep_up(&mut self, state: &State) -> bool {
        let ring = &state.ring;
        let backlog = self.backlog(ring);
        self.debt.bytes = self.debt.bytes.min(backlog.bytes);
        self.debt.ms = self.debt.ms.min(backlog.ms);
        let overtaken = self.number < ring.first();
        let over = self.over(backlog, self.policy.backlog_bytes_max, self.policy.backlog_ms_max);
        if !overtaken && !over {
            return true;
        }
        if self.policy.overflow == Overflow::Disconnect {
            self.skip_to(ring, ring.end(), Cause::Overflow);
            return false;
        }
        match ring.newest_entry_point().filter(|entry| entry.number > self.number) {
            Some(entry) => {
                self.skip_to(ring, entry.number, Cause::Overflow);
                self.start_at(state, entry);
            }
            None => {
                self.skip_to(ring, ring.end(), Cause::Overflow);
                self.phase = Phase::AwaitKeyframe { audio: false };
            }
        }
        true
    }

    fn skip_to(&mut self, ring: &Ring, number: u64, cause: Cause) {
        if number == self.number {
            return;
        }
        let (tags, bytes_at) = (number - self.number, ring.bytes_before(number));
        let bytes = bytes_at - self.bytes_at;
        let clock_ms = ring.clock_at(number);
        let ms = clock_ms.saturating_sub(self.clock_ms);
        match self.lags.iter_mut().find(|lag| lag.cause == cause) {
            Some(lag) => {
                (lag.tags, lag.bytes, lag.ms) = (lag.tags + tags, lag.bytes + bytes, lag.ms + ms)
            }
            None => self.lags.push(Lag { cause, tags, bytes, ms }),
        }
        self.counters.count_lag(cause, tags, bytes);
        (self.number, self.bytes_at, self.clock_ms) = (number, bytes_at, clock_ms);
    }

    /// Moves over tags that were given, all of `bytes` payload bytes.
    pub(crate) fn given(&mut self, tags: u64, bytes: u64) {
        self.number += tags;
        self.bytes_at += bytes;
        self.counters.delivered_tags += tags;
        self.counters.delivered_bytes += bytes;
    }

    /// Moves over a tag that nobody can decode.
    pub(crate) fn skipped_orphan(&mut self, bytes: u64) {
        self.number += 1;
        self.bytes_at += bytes;
        self.counters.count_lag(Cause::NoKeyframe, 1, bytes);
    }

    /// Remembers what tag `number`, which was given, and those before it have said. A tag that
    /// has left the ring since is forgotten: then headers are repeated once too often.
    pub(crate) fn has_seen(&mut self, ring: &Ring, number: u64) {
        if let Some(entry) = ring.get(number) {
            self.headers_version = entry.headers_version;
            self.clock_ms = entry.clock_ms;
        }
    }

    /// What the subscriber wants from now on. Video that was off, and everything behind a pause,
    /// resumes at a keyframe.
    pub(crate) fn set_receive(&mut self, receive: Receive) {
        let had_video = self.receive.video && !self.receive.paused;
        let has_video = receive.video && !receive.paused;
        if has_video && !had_video {
            self.phase = Phase::AwaitKeyframe { audio: true };
        }
        self.receive = receive;
    }

    /// Whether everything that is published is given, so that bytes encoded for all will do.
    pub(crate) fn takes_all(&self) -> bool {
        self.phase == Phase::Live
            && self.receive == Receive::default()
            && self.headers_due.is_none()
    }

    /// Whether it went over tags that the wire log holds, and has not said so yet.
    pub(crate) fn has_skipped(&self) -> bool {
        self.lags.iter().any(|lag| lag.cause != Cause::NoKeyframe)
    }

    pub(crate) fn number(&self) -> u64 {
        self.number
    }

    /// The account up to now. `published` and `unsent` are read off the ring and the position, not
    /// off the other two: that they add up is a statement.
    pub(crate) fn counters(&self, ring: &Ring) -> Counters {
        Counters {
            published_tags: ring.end() - self.joined_at,
            published_bytes: ring.bytes() - self.bytes_before,
            unsent_tags: ring.end() - self.number,
            unsent_bytes: ring.bytes() - self.bytes_at,
            ..self.counters
        }
    }
}
