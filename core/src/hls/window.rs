//! Window: the segments that are listed, the ones that still may be fetched, and the open one.

use std::collections::VecDeque;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;

use super::Settings;
use super::track::{Track, TrackKind};

/// A fraction of a segment, as soon as it is there.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Part {
    /// Where it begins, on the presentation's time line.
    pub start_ms: u64,
    /// How long it lasts.
    pub duration_ms: u64,
    /// There is a place in it where a decoder can start.
    pub is_independent: bool,
    /// A decoder can start with its first sample.
    pub starts_with_key: bool,
    /// A fragment: `moof` and `mdat`.
    pub bytes: Bytes,
}

/// A stretch of media that a decoder can start with, as a rule.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Segment {
    /// Its Media Sequence Number.
    pub number: u64,
    /// Where it begins, on the presentation's time line.
    pub start_ms: u64,
    /// How long it lasts; so far, if it is open.
    pub duration_ms: u64,
    /// Its bytes, one part behind the other.
    pub parts: Vec<Part>,
    /// The init section that it needs.
    pub init: Arc<Init>,
    /// It does not continue the one before.
    pub has_discontinuity: bool,
    /// When its first frame was received, in time since the Unix epoch.
    pub utc: Duration,
    /// There is nothing in it: nothing came.
    pub is_gap: bool,
    /// Bytes of all parts.
    pub len: u64,
}

/// What a decoder has to know of a segment's tracks.
#[derive(PartialEq, Eq, Debug)]
pub struct Init {
    /// Its number within the presentation.
    pub number: u64,
    /// `ftyp` and `moov`.
    pub bytes: Bytes,
    /// Whether there are pictures.
    pub has_video: bool,
    /// The tracks' codecs, as in `CODECS`.
    pub codecs: String,
    /// Width and height, if there are pictures and they say it.
    pub resolution: Option<(u16, u16)>,
    /// Pictures in a thousand seconds.
    pub frames_per_1000_s: Option<u64>,
}

/// How a segment begins.
#[derive(Clone, Copy)]
pub(super) struct SegmentStart {
    pub(super) start_ms: u64,
    pub(super) has_discontinuity: bool,
    pub(super) utc: Duration,
}

/// What is held and what has been, for those who look on.
#[derive(Clone, Copy, Default, PartialEq, Eq, Debug)]
pub struct Totals {
    /// Of the segment that is being made.
    pub media_sequence: u64,
    /// Segments that a playlist lists.
    pub listed_segments: u64,
    /// Segments that may be fetched and are no longer listed.
    pub removed_segments: u64,
    /// Parts made since the start.
    pub parts: u64,
    /// Bytes of all parts made since the start.
    pub made_bytes: u64,
    /// Segments made since the start.
    pub segments: u64,
    /// Bytes of all segments that are held.
    pub held_bytes: u64,
    /// Discontinuities since the start.
    pub discontinuities: u64,
    /// Segments let go before their time because of `bytes_max`.
    pub evicted_segments: u64,
}

struct Removed {
    until: Duration,
    segment: Arc<Segment>,
}

pub(super) struct Window {
    settings: Settings,
    pub(super) target_ms: Option<u64>,
    pub(super) part_target_ms: u64,
    pub(super) listed: VecDeque<Arc<Segment>>,
    pub(super) open: Option<Segment>,
    removed: VecDeque<Removed>,
    init: Option<Arc<Init>>,
    next_number: u64,
    pub(super) discontinuity_sequence: u64,
    pub(super) is_ended: bool,
    utc: Duration,
    /// When the last segment was listed.
    pub(super) listed_utc: Duration,
    /// The highest bit rate of a segment so far.
    pub(super) bits_per_second_max: u64,
    pub(super) bits_per_second_mean: u64,
    totals: Totals,
    /// Grows with everything that a playlist shows.
    pub(super) version: u64,
}

impl Window {
    /// Numbers begin with `first_number`: segments, and discontinuities too.
    pub(super) fn new(settings: Settings, first_number: u64) -> Self {
        Self {
            settings,
            target_ms: None,
            part_target_ms: settings.part_duration_ms,
            listed: VecDeque::new(),
            open: None,
            removed: VecDeque::new(),
            init: None,
            next_number: first_number,
            discontinuity_sequence: first_number,
            is_ended: false,
            utc: Duration::ZERO,
            listed_utc: Duration::ZERO,
            bits_per_second_max: 0,
            bits_per_second_mean: 0,
            totals: Totals::default(),
            version: 0,
        }
    }

    /// Number of the segment that is being made.
    pub(super) fn open_number(&self) -> u64 {
        self.next_number
    }

    /// Whether there is a playlist.
    pub(super) fn is_ready(&self) -> bool {
        self.target_ms.is_some() && !self.listed.is_empty()
    }

    pub(super) fn longest_segment_ms(&self) -> u64 {
        self.listed.iter().map(|segment| segment.duration_ms).max().unwrap_or(0)
    }

    /// Segments from here on need this init section. The same bytes as before are the same section.
    pub(super) fn begin_init(&mut self, bytes: Bytes, tracks: &[&Track], frame_us: u64) {
        if self.init.as_ref().is_some_and(|init| init.bytes == bytes) {
            return;
        }
        let number = self.init.as_ref().map_or(0, |init| init.number + 1);
        let codecs: Vec<_> = tracks.iter().map(|track| track.codec_string.as_str()).collect();
        let pictures = tracks.iter().find(|track| track.width > 0 && track.height > 0);
        self.init = Some(Arc::new(Init {
            number,
            bytes,
            has_video: tracks.iter().any(|track| track.kind == TrackKind::Video),
            codecs: codecs.join(","),
            resolution: pictures.map(|track| (track.width, track.height)),
            frames_per_1000_s: pictures.and_then(|_| 1_000_000_000u64.checked_div(frame_us)),
        }));
    }

    pub(super) fn begin_segment(&mut self, start: SegmentStart) {
        let Some(init) = self.init.clone() else { return };
        self.totals.discontinuities += u64::from(start.has_discontinuity);
        self.open = Some(Segment {
            number: self.next_number,
            start_ms: start.start_ms,
            duration_ms: 0,
            parts: Vec::new(),
            init,
            has_discontinuity: start.has_discontinuity,
            utc: start.utc,
            is_gap: false,
            len: 0,
        });
    }

    pub(super) fn push_part(&mut self, part: Part) {
        let Some(open) = &mut self.open else { return };
        open.duration_ms = part.start_ms + part.duration_ms - open.start_ms;
        open.len += part.bytes.len() as u64;
        self.totals.held_bytes += part.bytes.len() as u64;
        self.totals.made_bytes += part.bytes.len() as u64;
        self.totals.parts += 1;
        open.parts.push(part);
        self.version += 1;
        self.keep_within_bytes();
    }

    /// The open segment is complete. `false`: there is nothing in it, and it stays open.
    pub(super) fn end_segment(&mut self, end_ms: u64) -> bool {
        let Some(mut open) = self.open.take_if(|open| !open.parts.is_empty()) else { return false };
        open.duration_ms = end_ms.saturating_sub(open.start_ms).max(1);
        let bits_per_second = open.len * 8000 / open.duration_ms;
        // Of a second and more: a short one at a break says little.
        if open.duration_ms >= 1000 || self.bits_per_second_max == 0 {
            self.bits_per_second_max = self.bits_per_second_max.max(bits_per_second);
        }
        self.push_segment(open);
        true
    }

    /// Nothing came for so long: a segment without media, so that players know.
    pub(super) fn push_gap(&mut self, start_ms: u64, duration_ms: u64) {
        let last = self.listed.back();
        let utc = last.map(|last| last.utc + Duration::from_millis(last.duration_ms));
        let (Some(init), Some(utc)) = (self.init.clone(), utc) else { return };
        self.open = None;
        self.push_segment(Segment {
            number: self.next_number,
            start_ms,
            duration_ms,
            parts: Vec::new(),
            init,
            has_discontinuity: false,
            utc,
            is_gap: true,
            len: 0,
        });
    }

    fn push_segment(&mut self, segment: Segment) {
        self.listed_utc = self.utc;
        self.next_number += 1;
        self.totals.segments += 1;
        self.listed.push_back(Arc::new(segment));
        self.version += 1;
        self.slide();
        let (len, ms) = self
            .listed
            .iter()
            .fold((0, 0), |(len, ms), segment| (len + segment.len, ms + segment.duration_ms));
        self.bits_per_second_mean = len * 8000 / ms.max(1);
    }

    /// Removes from the front what the window need not have.
    fn slide(&mut self) {
        let Some(target_ms) = self.target_ms else { return };
        let keep_ms = self.settings.window_ms.max(4 * target_ms);
        let mut listed_ms: u64 = self.listed.iter().map(|segment| segment.duration_ms).sum();
        while let Some(first) = self.listed.front()
            && listed_ms - first.duration_ms >= keep_ms
        {
            // RFC 8216 6.2.2: its own length and that of the longest playlist that listed it.
            let keep = Duration::from_millis(first.duration_ms + listed_ms + 2 * target_ms);
            listed_ms -= first.duration_ms;
            if let Some(segment) = self.unlist() {
                self.removed.push_back(Removed { until: self.utc + keep, segment });
            }
        }
    }

    fn unlist(&mut self) -> Option<Arc<Segment>> {
        let first = self.listed.pop_front()?;
        self.discontinuity_sequence += u64::from(first.has_discontinuity);
        Some(first)
    }

    /// Lets go of what nobody may ask for any more.
    pub(super) fn expire(&mut self, utc: Duration) {
        self.utc = self.utc.max(utc);
        while let Some(removed) = self.removed.pop_front_if(|removed| removed.until < self.utc) {
            self.totals.held_bytes -= removed.segment.len;
        }
    }

    fn keep_within_bytes(&mut self) {
        while self.totals.held_bytes > self.settings.bytes_max {
            let first = self.removed.pop_front().map(|removed| removed.segment);
            let Some(segment) = first.or_else(|| self.unlist()) else { return };
            self.totals.held_bytes -= segment.len;
            self.totals.evicted_segments += 1;
        }
    }

    /// Complete segments, those that are no longer listed first.
    pub(super) fn complete(&self) -> impl DoubleEndedIterator<Item = &Arc<Segment>> {
        self.removed.iter().map(|removed| &removed.segment).chain(&self.listed)
    }

    /// A segment by its number, listed or not.
    pub(super) fn segment(&self, number: u64) -> Option<&Arc<Segment>> {
        self.complete().rev().find(|segment| segment.number == number)
    }

    /// A part by its segment's number and its own.
    pub(super) fn part(&self, number: u64, index: usize) -> Option<&Part> {
        match &self.open {
            Some(open) if open.number == number => open.parts.get(index),
            _ => self.segment(number)?.parts.get(index),
        }
    }

    /// An init section that some segment needs.
    pub(super) fn init(&self, number: u64) -> Option<&Arc<Init>> {
        let removed = self.removed.iter().map(|removed| &removed.segment.init);
        let listed = self.listed.iter().map(|segment| &segment.init);
        removed.chain(listed).chain(&self.init).find(|init| init.number == number)
    }

    /// The newest init section.
    pub(super) fn newest_init(&self) -> Option<&Arc<Init>> {
        self.init.as_ref()
    }

    pub(super) fn totals(&self) -> Totals {
        Totals {
            media_sequence: self.next_number,
            listed_segments: self.listed.len() as u64,
            removed_segments: self.removed.len() as u64,
            ..self.totals
        }
    }
}
