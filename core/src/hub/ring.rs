//! Ring: the newest tags of a topic, numbered, and where among them a joiner may start.

use std::collections::VecDeque;
use std::sync::Arc;

use crate::flv::{Tag, TagKind};
use crate::gop::Headers;
use crate::time::Timestamp;

/// Bookkeeping of one tag in the ring, counted as if it were payload: an endless storm of empty
/// tags must meet the bound in bytes too.
const ENTRY_LEN: u64 = size_of::<Entry>() as u64 + 96;

/// How much of a stream is kept. All bounds hold at once.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct RingLimits {
    /// Bytes of receive blocks that the tags of one topic may pin. A GOP that outgrows it is
    /// forgotten from its start: until the next keyframe a joiner gets headers and audio only.
    pub pinned_bytes_max: u64,
    /// Tags of one topic.
    pub tags_max: usize,
    /// Stream time in milliseconds that one GOP may span.
    pub gop_ms_max: u64,
    /// Stream time in milliseconds kept for slow subscribers besides the newest GOP.
    pub history_ms: u64,
}

impl Default for RingLimits {
    fn default() -> Self {
        Self {
            // 85 s of 6 Mbit/s: a keyframe a minute still gives every joiner a picture at once.
            pinned_bytes_max: 64 << 20,
            tags_max: 100_000,
            gop_ms_max: 600_000,
            history_ms: 10_000,
        }
    }
}

/// One published tag.
pub(crate) struct Entry {
    pub(crate) tag: Tag,
    /// Bytes that this tag keeps in memory.
    pinned: u64,
    /// Payload bytes published before this tag.
    pub(crate) bytes_before: u64,
    /// Stream time when it was published; never goes back, whatever the timestamps do.
    pub(crate) clock_ms: u64,
    /// Version of the headers in force behind this tag.
    pub(crate) headers_version: u64,
    /// Which publish it came with.
    pub(crate) session: u64,
    pub(crate) class: Class,
}

/// What the hub needs to know about a tag.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Class {
    /// Headers, metadata and other data: for everybody, at any time.
    Header,
    Audio,
    /// A frame of video; `disposable` if no other frame needs it.
    Video {
        disposable: bool,
    },
    /// Nobody can decode it: its keyframe or its sequence header was never published.
    Orphan,
}

/// A tag that a subscriber may start with.
pub(crate) struct EntryPoint {
    pub(crate) number: u64,
    /// What has to be said before it.
    pub(crate) headers: Arc<Headers>,
}

/// The newest tags of a topic. The GOP cache is its suffix from the newest entry point.
pub(crate) struct Ring {
    limits: RingLimits,
    entries: VecDeque<Entry>,
    entry_points: VecDeque<EntryPoint>,
    /// Joiners do not start before this number.
    joinable: u64,
    /// Number of the oldest entry.
    first: u64,
    pinned: u64,
    /// Payload bytes published since the topic began.
    bytes: u64,
    clock_ms: u64,
    /// Audio and video.
    tracks: [Option<Track>; 2],
    last_timestamp: Option<Timestamp>,
}

/// One kind's own time: encoders let the clocks of sound and picture differ by any amount.
#[derive(Clone, Copy)]
struct Track {
    last_timestamp: Timestamp,
    clock_ms: u64,
}

/// No step of the timestamps counts for more: behind a jump, or a pause, of the encoder nobody has more
/// to catch up with than there are tags.
const CLOCK_STEP_MS_MAX: i32 = 1_000;
/// A step back beyond this begins anew; up to it time stands until it is made up for.
const CLOCK_STEP_MS_MIN: i32 = -10_000;

impl Ring {
    pub(crate) fn new(limits: RingLimits) -> Self {
        Self {
            limits,
            entries: VecDeque::new(),
            entry_points: VecDeque::new(),
            joinable: 0,
            first: 0,
            pinned: 0,
            bytes: 0,
            clock_ms: 0,
            tracks: [None; 2],
            last_timestamp: None,
        }
    }

    /// Number of the oldest tag kept.
    pub(crate) fn first(&self) -> u64 {
        self.first
    }

    /// Number that the next tag will get.
    pub(crate) fn end(&self) -> u64 {
        self.first + self.entries.len() as u64
    }

    /// Payload bytes published since the topic began.
    pub(crate) fn bytes(&self) -> u64 {
        self.bytes
    }

    /// Bytes kept in memory by the tags.
    pub(crate) fn pinned(&self) -> u64 {
        self.pinned
    }

    /// Stream time now, in milliseconds since the topic began.
    pub(crate) fn clock_ms(&self) -> u64 {
        self.clock_ms
    }

    /// Timestamp of the newest medium, as far as time runs forward.
    pub(crate) fn last_timestamp(&self) -> Timestamp {
        self.last_timestamp.unwrap_or_default()
    }

    pub(crate) fn get(&self, number: u64) -> Option<&Entry> {
        self.entries.get(number.checked_sub(self.first)? as usize)
    }

    /// Entries from `number` on, which must not be older than the first.
    pub(crate) fn from(&self, number: u64) -> impl Iterator<Item = &Entry> {
        self.entries.range((number - self.first) as usize..)
    }

    /// Entries before `number`, the newest first.
    pub(crate) fn back_from(&self, number: u64) -> impl Iterator<Item = &Entry> {
        let len = number.saturating_sub(self.first).min(self.entries.len() as u64);
        self.entries.range(..len as usize).rev()
    }

    /// Payload bytes published before tag `number`, which is in the ring or the next one.
    pub(crate) fn bytes_before(&self, number: u64) -> u64 {
        self.get(number).map_or(self.bytes, |entry| entry.bytes_before)
    }

    /// Stream time when tag `number` was published; now, for the next one.
    pub(crate) fn clock_at(&self, number: u64) -> u64 {
        self.get(number).map_or(self.clock_ms, |entry| entry.clock_ms)
    }

    /// Number of the first tag that is not older than `clock_ms` of stream time.
    pub(crate) fn number_at(&self, clock_ms: u64) -> u64 {
        self.first + self.entries.partition_point(|entry| entry.clock_ms < clock_ms) as u64
    }

    /// The newest place to start for a joiner.
    pub(crate) fn newest_entry_point(&self) -> Option<&EntryPoint> {
        self.entry_points.back().filter(|point| self.is_joinable(point))
    }

    /// The oldest place to start for a joiner that is not older than `ms` of stream time, or else the
    /// newest.
    pub(crate) fn entry_point_within(&self, ms: u64) -> Option<&EntryPoint> {
        let since = self.clock_ms.saturating_sub(ms);
        let is_too_old =
            |point: &EntryPoint| !self.is_joinable(point) || self.clock_at(point.number) < since;
        let index = self.entry_points.partition_point(is_too_old);
        self.entry_points.get(index).or_else(|| self.newest_entry_point())
    }

    /// The place to start at `number`, if it is one for who has come that far.
    pub(crate) fn entry_point_at(&self, number: u64) -> Option<&EntryPoint> {
        let index = self.entry_points.partition_point(|point| point.number < number);
        self.entry_points.get(index).filter(|point| point.number == number)
    }

    /// Whether a joiner may start there.
    pub(crate) fn is_joinable(&self, point: &EntryPoint) -> bool {
        point.number >= self.joinable
    }

    /// No joiner may start with what was published so far: another session or other headers follow.
    /// Who is on his way through it still may.
    pub(crate) fn bar_joiners(&mut self) {
        self.joinable = self.end();
    }

    /// Appends a tag; `entry_headers` makes it a place to start.
    pub(crate) fn push(
        &mut self,
        tag: Tag,
        pinned: u32,
        session: u64,
        class: Class,
        headers_version: u64,
        entry_headers: Option<Arc<Headers>>,
    ) {
        // Encoders say headers and metadata with time 0, whatever time their media have.
        if class != Class::Header {
            self.advance_clock(tag.kind, tag.timestamp);
            // They belong to what follows: a pause before it is nobody's backlog.
            let headers = self.entries.iter_mut().rev().take_while(|e| e.class == Class::Header);
            headers.for_each(|header| header.clock_ms = self.clock_ms);
        }
        if let Some(headers) = entry_headers {
            self.entry_points.push_back(EntryPoint { number: self.end(), headers });
        }
        let len = tag.payload.len() as u64;
        let pinned = u64::from(pinned).max(len) + ENTRY_LEN;
        self.entries.push_back(Entry {
            tag,
            pinned,
            bytes_before: self.bytes,
            clock_ms: self.clock_ms,
            headers_version,
            session,
            class,
        });
        self.bytes += len;
        self.pinned += pinned;
    }

    /// The clock is that of the track that is furthest.
    fn advance_clock(&mut self, kind: TagKind, timestamp: Timestamp) {
        let ahead = self.last_timestamp.map_or(0, |last| timestamp.since(last));
        // A track that lags a little behind the other does not make time run twice.
        if !(CLOCK_STEP_MS_MIN..=0).contains(&ahead) || self.last_timestamp.is_none() {
            self.last_timestamp = Some(timestamp);
        }
        let track = match kind {
            TagKind::Audio => &mut self.tracks[0],
            TagKind::Video => &mut self.tracks[1],
            TagKind::Script => return,
        };
        let step = track.map(|track| timestamp.since(track.last_timestamp));
        match (track, step) {
            (Some(_), Some(CLOCK_STEP_MS_MIN..=0)) => {}
            (Some(track), Some(step @ 1..)) => {
                track.last_timestamp = timestamp;
                track.clock_ms += step.min(CLOCK_STEP_MS_MAX) as u64;
                self.clock_ms = self.clock_ms.max(track.clock_ms);
            }
            (track, _) => {
                self.clock_ms += ahead.clamp(0, CLOCK_STEP_MS_MAX) as u64;
                *track = Some(Track { last_timestamp: timestamp, clock_ms: self.clock_ms });
            }
        }
    }

    /// Behind each tag: lets go what is not to be kept. `is_watched`: whether there is anybody for whom
    /// history is kept; a stream without is its newest GOP.
    pub(crate) fn trim(&mut self, is_watched: bool) {
        let history_ms = if is_watched { self.limits.history_ms } else { 0 };
        while let Some(oldest) = self.entries.front() {
            let age_ms = self.clock_ms - oldest.clock_ms;
            let in_newest_gop =
                self.newest_entry_point().is_some_and(|point| self.first >= point.number);
            let wanted = in_newest_gop || age_ms <= history_ms;
            let fits = self.pinned <= self.limits.pinned_bytes_max
                && self.entries.len() <= self.limits.tags_max
                && age_ms <= self.limits.gop_ms_max;
            // The newest tag stays even if it is over the bound alone: it was received already.
            if (wanted && fits) || self.entries.len() == 1 {
                break;
            }
            self.pinned -= oldest.pinned;
            self.entries.pop_front();
            self.first += 1;
            while self.entry_points.front().is_some_and(|point| point.number < self.first) {
                self.entry_points.pop_front();
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::rope::Rope;

    fn push(ring: &mut Ring, ms: u32, len: usize, entry: bool) {
        push_class(ring, Class::Video { disposable: false }, ms, len, entry);
    }

    fn push_class(ring: &mut Ring, class: Class, ms: u32, len: usize, entry: bool) {
        let tag = Tag {
            kind: TagKind::Video,
            timestamp: Timestamp::from_ms(ms),
            payload: Rope::from(vec![0; len]),
        };
        ring.push(tag, len as u32, 1, class, 0, entry.then(Arc::default));
        ring.trim(true);
    }

    fn limits() -> RingLimits {
        RingLimits {
            pinned_bytes_max: 1 << 20,
            tags_max: 1000,
            gop_ms_max: 60_000,
            history_ms: 1_000,
        }
    }

    #[test]
    fn an_old_gop_leaves_when_it_is_older_than_the_history() {
        let mut ring = Ring::new(limits());
        for n in 0..100 {
            push(&mut ring, n * 40, 10, n % 50 == 0);
        }
        // The newest GOP began with tag 50 at 2 s; it is 3.96 s now.
        assert_eq!(ring.first(), 50);
        for n in 100..110 {
            push(&mut ring, n * 40, 10, n % 50 == 0);
        }
        // Tag 100 began another; what is kept before it is a second of history.
        assert_eq!(ring.newest_entry_point().unwrap().number, 100);
        assert_eq!(ring.first(), 84);
    }

    #[test]
    fn a_gop_over_the_bound_leaves_no_place_to_start() {
        let mut ring = Ring::new(limits());
        push(&mut ring, 0, 1000, true);
        for n in 1..200 {
            push(&mut ring, n * 40, 10_000, false);
            assert!(ring.pinned() <= limits().pinned_bytes_max);
        }
        assert!(ring.newest_entry_point().is_none());
        push(&mut ring, 8_040, 10_000, true);
        assert_eq!(ring.newest_entry_point().unwrap().number, 200);
    }

    #[test]
    fn the_clock_passes_over_wraps_jumps_and_steps_back() {
        let mut ring = Ring::new(limits());
        for ms in [u32::MAX - 19, 20, 10, 60, 5_000_000, 5_000_040, 1_000, 1_040] {
            push(&mut ring, ms, 1, true);
        }
        // 40 across the wrap, 40 past the track behind, a second by the jump, none by the one back, 40
        // after each.
        assert_eq!(ring.clock_ms(), 1_160);
    }

    #[test]
    fn what_describes_the_stream_takes_no_time() {
        let mut ring = Ring::new(limits());
        // Its media begin at 9 s, and its headers at 0, again and again.
        for ms in [9_000, 9_040, 9_080] {
            push_class(&mut ring, Class::Header, 0, 1, false);
            push(&mut ring, ms, 1, false);
        }
        assert_eq!(ring.clock_ms(), 80);
        assert_eq!(ring.last_timestamp(), Timestamp::from_ms(9_080));
    }

    #[test]
    fn headers_are_as_old_as_what_follows_them() {
        let mut ring = Ring::new(limits());
        push(&mut ring, 0, 1, true);
        push_class(&mut ring, Class::Header, 0, 1, false);
        push_class(&mut ring, Class::Header, 6_000, 1, false);
        push(&mut ring, 6_000, 1, true);
        assert_eq!(ring.clock_ms() - ring.clock_at(1), 0, "no backlog behind a pause");
    }
}
