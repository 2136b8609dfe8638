//! Topic: one stream key's tags, its publisher, and everybody who takes them.

use std::collections::VecDeque;
use std::sync::Arc;
use std::task::Waker;
use std::time::{Duration, Instant};

use super::cursor::Cursor;
use super::given::GivenLists;
use super::ring::{Class, Ring};
use super::{Counters, HubLimits, Kind, Policy, StreamKey, SubscriberInfo, TopicInfo};
use crate::flv::{Tag, TagKind};
use crate::gop::{GopWatch, Placement};
use crate::sync::{Mutex, MutexGuard};
use crate::time::Timestamp;
use crate::wire_log::{Protocol, WireLog};

/// One stream key's place in the hub. Lives while it has a publisher or subscribers.
pub(crate) struct Topic {
    key: StreamKey,
    state: Mutex<State>,
}

/// What the topic's lock protects.
pub(crate) struct State {
    pub(crate) limits: HubLimits,
    pub(crate) ring: Ring,
    pub(crate) gop: GopWatch,
    /// Subscribers see the tags before this number: those of the last flush.
    pub(crate) shown: u64,
    /// Number of the newest publish; 0 before the first.
    session: u64,
    phase: Phase,
    publisher: Option<String>,
    publisher_waker: Option<Waker>,
    /// The publisher leaves tags where they are, until it is woken.
    publisher_rests: bool,
    /// Somebody joined meanwhile, and nothing was shown since.
    is_catching_up: bool,
    /// How often a stream ended here, and the numbers behind the last tags of those that somebody
    /// may still be reading.
    pub(crate) ends: u64,
    end_numbers: VecDeque<u64>,
    logs: [Option<SharedLog>; Protocol::ALL.len()],
    slots: Vec<Option<Slot>>,
    pub(super) given: GivenLists,
    /// Added to the timestamps of this session, so that time goes on where the last one stopped.
    shift: Option<u32>,
    last_push: Option<Instant>,
    newest_timestamp: Timestamp,
    last_gop: GopLength,
    gop_started: GopLength,
}

#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum Phase {
    /// Nobody has published since the topic was made or ended.
    Idle,
    Live,
    /// The publisher vanished and may return.
    Grace,
}

struct SharedLog {
    log: WireLog,
    viewers: usize,
}

struct Slot {
    kind: Kind,
    peer: String,
    policy: Policy,
    waker: Option<Waker>,
    counters: Counters,
    /// Position at the last look, to tell the backlog of one that does not look any more.
    number: u64,
}

/// Stream time and tags: of a GOP, or where one began.
#[derive(Clone, Copy, Default)]
struct GopLength {
    ms: u64,
    tags: u64,
}

impl Topic {
    pub(crate) fn new(key: StreamKey, limits: HubLimits) -> Self {
        let state = State {
            limits,
            ring: Ring::new(limits.ring),
            gop: GopWatch::new(),
            shown: 0,
            session: 0,
            phase: Phase::Idle,
            publisher: None,
            publisher_waker: None,
            publisher_rests: false,
            is_catching_up: false,
            ends: 0,
            end_numbers: VecDeque::new(),
            logs: [const { None }; Protocol::ALL.len()],
            slots: Vec::new(),
            given: GivenLists::default(),
            shift: None,
            last_push: None,
            newest_timestamp: Timestamp::ZERO,
            last_gop: GopLength::default(),
            gop_started: GopLength::default(),
        };
        Self { key, state: Mutex::new(state) }
    }

    pub(crate) fn key(&self) -> &StreamKey {
        &self.key
    }

    pub(crate) fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock()
    }

    pub(crate) fn info(&self) -> TopicInfo {
        self.lock().info(self.key.clone())
    }
}

impl State {
    pub(crate) fn is_live(&self) -> bool {
        self.phase != Phase::Idle
    }

    /// Whether a publisher is connected, not only awaited.
    pub(crate) fn has_publisher(&self) -> bool {
        self.phase == Phase::Live
    }

    /// Whether the topic can be forgotten.
    pub(crate) fn is_unused(&self) -> bool {
        self.phase == Phase::Idle && self.slots.iter().all(Option::is_none)
    }

    /// How many there are that count against the limit.
    pub(crate) fn subscriber_count(&self) -> usize {
        self.slots.iter().flatten().filter(|slot| slot.kind != Kind::Consumer).count()
    }

    pub(crate) fn has_subscribers(&self) -> bool {
        // The last place is never empty: see `leave`.
        !self.slots.is_empty()
    }

    /// Whether there are subscribers that are no witnesses.
    pub(crate) fn has_audience(&self) -> bool {
        self.slots.iter().flatten().any(|slot| !slot.policy.witness)
    }

    /// Says whether it does.
    pub(crate) fn set_publisher_rests(&mut self, rests: bool) {
        self.publisher_rests = rests;
    }

    /// Whether somebody joined while the publisher rested, and it has not shown what it left.
    pub(crate) fn is_catching_up(&self) -> bool {
        self.is_catching_up
    }

    pub(crate) fn session(&self) -> u64 {
        self.session
    }

    /// Begins a publish, taking over from whoever publishes now. Returns its number, and whom to
    /// wake because he is superseded.
    pub(crate) fn begin_session(&mut self, peer: String) -> (u64, Option<Waker>) {
        let superseded = self.publisher_waker.take();
        self.publisher_rests = false;
        self.session += 1;
        // A stream that nobody waited for starts its own time.
        self.shift = (self.phase == Phase::Idle).then_some(0);
        self.phase = Phase::Live;
        self.publisher = Some(peer);
        self.gop.begin_session();
        self.ring.bar_joiners();
        (self.session, superseded)
    }

    /// Whether publish number `session` is the one that may push.
    pub(crate) fn is_current(&self, session: u64) -> bool {
        self.session == session && self.phase == Phase::Live
    }

    /// The publisher is gone without a word. Subscribers wait.
    pub(crate) fn begin_grace(&mut self) {
        self.phase = Phase::Grace;
        self.publisher_waker = None;
        self.publisher_rests = false;
    }

    /// The stream is over. Subscribers get what is left of it, and the end.
    pub(crate) fn end_session(&mut self) {
        self.phase = Phase::Idle;
        self.publisher = None;
        self.publisher_waker = None;
        self.publisher_rests = false;
        self.ends += 1;
        let first = self.ring.first();
        self.end_numbers.retain(|number| *number > first);
        self.end_numbers.push_back(self.ring.end());
        self.gop.begin_session();
    }

    /// The number behind the last tag of the stream that ended here most recently.
    pub(crate) fn end_number(&self) -> u64 {
        self.end_numbers.back().copied().unwrap_or(0)
    }

    /// The number behind the last tag of the stream that was next to end when `ends` had; `None` if
    /// it has not ended.
    pub(crate) fn end_after(&self, ends: u64) -> Option<u64> {
        let since = self.ends.checked_sub(ends).filter(|since| *since > 0)? as usize;
        let index = self.end_numbers.len().checked_sub(since);
        // What has left the ring is over for whoever is as far behind.
        Some(index.map_or(self.ring.first(), |index| self.end_numbers[index]))
    }

    pub(crate) fn set_publisher_waker(&mut self, waker: &Waker) {
        self.publisher_waker = Some(waker.clone());
    }

    /// Appends a tag to the ring and to the logs.
    pub(crate) fn push(&mut self, now: Instant, mut tag: Tag, pinned: u32) {
        let placement = self.gop.place(&tag);
        let is_frame = !matches!(placement, Placement::Header | Placement::NewSequenceHeader);
        tag.timestamp = self.shifted(now, tag.timestamp, is_frame);
        if matches!(placement, Placement::NewSequenceHeader) {
            self.ring.bar_joiners();
        }
        let entry_headers =
            matches!(placement, Placement::Entry).then(|| self.gop.headers().clone());
        let is_entry = entry_headers.is_some();
        let class = match (placement, tag.kind) {
            (Placement::Header | Placement::NewSequenceHeader, _) => Class::Header,
            (Placement::Audio, _) | (Placement::Entry, TagKind::Audio) => Class::Audio,
            (Placement::Entry, _) => Class::Video { disposable: false },
            (Placement::Video { disposable }, _) => Class::Video { disposable },
            (Placement::Orphan, _) => Class::Orphan,
        };
        for shared in self.logs.iter_mut().flatten() {
            shared.log.append((class != Class::Orphan).then_some(&tag), is_entry);
        }
        self.ring.push(
            tag,
            pinned,
            self.session,
            class,
            self.gop.headers().version(),
            entry_headers,
        );
        let is_watched = self.has_subscribers();
        self.ring.trim(is_watched);
        let first = self.ring.first();
        self.logs.iter_mut().flatten().for_each(|shared| shared.log.trim(first));
        if is_entry && class != Class::Audio {
            self.count_gop();
        }
    }

    /// A returning publisher counts from zero again, and players stop at time that goes back: so
    /// one constant is added per session, found at its first frame.
    fn shifted(&mut self, now: Instant, timestamp: Timestamp, is_frame: bool) -> Timestamp {
        let pause =
            self.last_push.map_or(Duration::ZERO, |last| now.saturating_duration_since(last));
        let pause_ms = pause.as_millis().clamp(1, 3_600_000) as u32;
        let resumed = self.newest_timestamp.plus_ms(pause_ms);
        if self.shift.is_none() && is_frame {
            self.shift = Some(resumed.as_ms().wrapping_sub(timestamp.as_ms()));
        }
        let Some(shift) = self.shift else { return resumed };
        let timestamp = timestamp.plus_ms(shift);
        if is_frame {
            self.last_push = Some(now);
            self.newest_timestamp = timestamp;
        }
        timestamp
    }

    fn count_gop(&mut self) {
        let now = GopLength { ms: self.ring.clock_ms(), tags: self.ring.end() };
        self.last_gop =
            GopLength { ms: now.ms - self.gop_started.ms, tags: now.tags - self.gop_started.tags };
        self.gop_started = now;
    }

    /// Shows subscribers what was pushed, and says whom to wake.
    pub(crate) fn flush(&mut self, wake: &mut Vec<Waker>) {
        self.is_catching_up = false;
        self.show();
        wake.extend(self.slots.iter_mut().flatten().filter_map(|slot| slot.waker.take()));
    }

    fn show(&mut self) {
        self.shown = self.ring.end();
        self.logs.iter_mut().flatten().for_each(|shared| shared.log.flush());
    }

    /// Makes room for a subscriber, and a log for the first viewer of its protocol. A publisher that
    /// rests is to be woken.
    pub(crate) fn join(
        &mut self,
        kind: Kind,
        peer: String,
        policy: Policy,
    ) -> (usize, Option<Waker>) {
        let is_due = self.publisher_rests && !policy.witness;
        self.is_catching_up |= is_due;
        let publisher = self.publisher_waker.clone().filter(|_| is_due);
        if let Kind::Viewer(protocol) = kind {
            self.open_log(protocol);
        }
        self.show();
        let slot = Some(Slot {
            kind,
            peer,
            policy,
            waker: None,
            counters: Counters::default(),
            number: self.ring.end(),
        });
        let index = match self.slots.iter().position(Option::is_none) {
            Some(index) => {
                self.slots[index] = slot;
                index
            }
            None => {
                self.slots.push(slot);
                self.slots.len() - 1
            }
        };
        (index, publisher)
    }

    pub(crate) fn leave(&mut self, index: usize) {
        let Some(slot) = self.slots[index].take() else { return };
        if let Kind::Viewer(protocol) = slot.kind {
            let shared = &mut self.logs[protocol as usize];
            if let Some(log) = shared {
                log.viewers -= 1;
                if log.viewers == 0 {
                    *shared = None;
                }
            }
        }
        while self.slots.last().is_some_and(Option::is_none) {
            self.slots.pop();
        }
    }

    fn open_log(&mut self, protocol: Protocol) {
        let ring = &self.ring;
        let shared = self.logs[protocol as usize].get_or_insert_with(|| {
            // The newest GOP is what a joiner starts with; without one, what comes next.
            let first = ring
                .entry_point_within(self.limits.audio_gop_ms)
                .map_or(ring.end(), |point| point.number);
            let mut log = WireLog::new(protocol, first);
            for (number, entry) in (first..).zip(ring.from(first)) {
                let tag = (entry.class != Class::Orphan).then_some(&entry.tag);
                log.append(tag, ring.entry_point_at(number).is_some());
            }
            SharedLog { log, viewers: 0 }
        });
        shared.viewers += 1;
    }

    pub(crate) fn log(&self, protocol: Protocol) -> Option<&WireLog> {
        self.logs[protocol as usize].as_ref().map(|shared| &shared.log)
    }

    /// Notes a subscriber's position; `waker` if it waits for more.
    pub(crate) fn note(&mut self, index: usize, cursor: &Cursor, waker: Option<&Waker>) {
        let counters = cursor.counters(&self.ring);
        if let Some(slot) = &mut self.slots[index] {
            (slot.counters, slot.number) = (counters, cursor.number());
            if let Some(waker) = waker {
                match &mut slot.waker {
                    Some(known) => known.clone_from(waker),
                    None => slot.waker = Some(waker.clone()),
                }
            }
        }
    }

    fn info(&mut self, key: StreamKey) -> TopicInfo {
        let [mut log_bytes, mut log_pinned_bytes, mut log_reclaimed] = [0; 3];
        for shared in self.logs.iter_mut().flatten() {
            let counters = shared.log.counters();
            log_bytes += counters.held_bytes as u64;
            log_pinned_bytes += counters.pinned_bytes as u64;
            log_reclaimed += counters.reclaimed;
        }
        let ring = &self.ring;
        let entry = ring.newest_entry_point();
        let recent = ring.clock_ms().saturating_sub(5_000).max(ring.clock_at(ring.first()));
        let since = ring.number_at(recent);
        let window_ms = ring.clock_ms() - ring.clock_at(since);
        let subscribers = self.slots.iter().flatten().map(|slot| {
            let number = slot.number.max(ring.first());
            SubscriberInfo {
                kind: slot.kind,
                peer: slot.peer.clone(),
                policy: slot.policy,
                backlog_tags: ring.end() - slot.number,
                backlog_bytes: ring.bytes() - ring.bytes_before(number),
                backlog_ms: ring.clock_ms() - ring.clock_at(number),
                counters: slot.counters,
            }
        });
        TopicInfo {
            key,
            session: self.session,
            is_live: self.has_publisher(),
            publisher: self.publisher.clone(),
            headers: self.gop.headers().clone(),
            has_video: self.gop.has_video(),
            has_audio: self.gop.has_audio(),
            published_tags: ring.end(),
            published_bytes: ring.bytes(),
            bits_per_second: (ring.bytes() - ring.bytes_before(since)) * 8_000 / window_ms.max(1),
            gop_ms: self.last_gop.ms,
            gop_tags: self.last_gop.tags,
            cached_ms: entry.map(|entry| ring.clock_ms() - ring.clock_at(entry.number)),
            cached_tags: entry.map_or(0, |entry| ring.end() - entry.number),
            ring_tags: ring.end() - ring.first(),
            pinned_bytes: ring.pinned(),
            log_bytes,
            log_pinned_bytes,
            log_reclaimed,
            subscribers: subscribers.collect(),
        }
    }
}

/// Shared by the publisher's and the subscribers' handles.
pub(crate) type SharedTopic = Arc<Topic>;
