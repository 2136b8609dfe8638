//! Epoch: a stretch of a stream without a break; one set of tracks, one clock.

use super::{Pace, ROUNDING_MS};
use crate::hls::Settings;
use crate::hls::intake::Frame;
use crate::hls::mux::{self, Sample};
use crate::hls::track::{Track, TrackKind};
use crate::hls::window::{Part, SegmentStart, Window};

const VIDEO: usize = TrackKind::Video as usize;
const AUDIO: usize = TrackKind::Audio as usize;

/// How far sound may be from where its count of samples puts it, beyond one frame.
const JITTER_MS: u64 = 5;

/// How much later a picture may be shown than decoded, for where the next epoch begins.
const COMPOSITION_MS_MAX: u64 = 2_000;

/// A part of more bytes ends early, as a fraction of all that may be held.
const PART_BYTES_DIVISOR: u64 = 32;

pub(super) struct Epoch {
    /// Units per second, by kind; `None`: there is no such track.
    timescales: [Option<u32>; 2],
    /// Between the frames' clock and the time line of all.
    shift_ms: i64,
    frame_ms: u64,
    start: SegmentStart,
    /// The newest frame of each kind, whose duration the next one tells.
    held: [Option<Held>; 2],
    part: [Vec<Sample>; 2],
    part_start_ms: u64,
    part_bytes: u64,
    segment_start_ms: u64,
    last_key_ms: Option<u64>,
    /// Where the last picture shown ends. Pictures are shown later than they are decoded.
    shown_ms: u64,
    /// A track came that is not among these.
    has_new_track: bool,
}

struct Held {
    sample: Sample,
    /// Where it is on the time line.
    time_ms: u64,
    /// What it lasts if nothing tells otherwise.
    len: u32,
}

impl Epoch {
    pub(super) fn begin(
        tracks: &[&Track],
        first_time_ms: i64,
        frame_us: u64,
        start: SegmentStart,
        window: &mut Window,
    ) -> Self {
        let timescale =
            |kind| tracks.iter().find(|track| track.kind == kind).map(|track| track.timescale);
        window.begin_segment(start);
        Self {
            timescales: [timescale(TrackKind::Video), timescale(TrackKind::Audio)],
            shift_ms: start.start_ms as i64 - first_time_ms,
            frame_ms: frame_us.div_ceil(1000),
            start,
            held: [None, None],
            part: [Vec::new(), Vec::new()],
            part_start_ms: start.start_ms,
            part_bytes: 0,
            segment_start_ms: start.start_ms,
            last_key_ms: None,
            shown_ms: start.start_ms,
            has_new_track: false,
        }
    }

    /// Whether an epoch with more tracks has to begin with this frame.
    pub(super) fn misses(&mut self, frame: &Frame) -> bool {
        self.has_new_track |= self.timescales[frame.kind as usize].is_none();
        self.has_new_track && (frame.kind == TrackKind::Video) && frame.is_key
    }

    pub(super) fn push(
        &mut self,
        frame: Frame,
        settings: &Settings,
        pace: &mut Pace,
        window: &mut Window,
    ) -> Result<(), mp4_atom::Error> {
        let Some(timescale) = self.timescales[frame.kind as usize] else { return Ok(()) };
        let held = self.place(&frame, timescale);
        if frame.kind == TrackKind::Video {
            let shown_ms = held.time_ms.saturating_add_signed(frame.composition_ms.into());
            // No encoder delays a picture by more; a number off the wire may.
            let shown_ms = shown_ms.min(held.time_ms + COMPOSITION_MS_MAX);
            self.shown_ms = self.shown_ms.max(shown_ms + self.frame_ms);
        }
        if frame.kind == TrackKind::Audio && self.timescales[VIDEO].is_some() {
            self.complete(frame.kind, held.sample.decode_time);
            if self.pictures_are_late(held.time_ms, window) {
                let part_end_ms = self.part_start_ms + window.part_target_ms;
                let end_ms = held.time_ms.min(part_end_ms).min(self.latest_end_ms(pace));
                self.cut(end_ms, false, settings, pace, window)?;
            }
        } else {
            self.keep_short(held.time_ms, pace, window)?;
            self.complete(frame.kind, held.sample.decode_time);
            self.cut(held.time_ms, frame.is_key, settings, pace, window)?;
        }
        self.held[frame.kind as usize] = Some(held);
        Ok(())
    }

    /// Puts a frame on its track's time line.
    fn place(&self, frame: &Frame, timescale: u32) -> Held {
        let scale = u64::from(timescale);
        let floor_ms = self.start.start_ms as i64;
        let wanted_ms = (frame.time_ms + self.shift_ms).max(floor_ms) as u64;
        let wanted = (wanted_ms * scale + 500) / 1000;
        let usual = (self.frame_ms * scale / 1000) as u32;
        let decode_time = match &self.held[frame.kind as usize] {
            None => wanted,
            Some(held) => {
                let expected = held.sample.decode_time + u64::from(held.len);
                let tolerance = u64::from(held.len) + JITTER_MS * scale / 1000;
                // Milliseconds are too coarse for sound: samples are counted, unless some are missing.
                if frame.kind == TrackKind::Audio && wanted.abs_diff(expected) <= tolerance {
                    expected
                } else {
                    wanted.max(held.sample.decode_time + 1)
                }
            }
        };
        let sample = Sample {
            decode_time,
            duration: 0,
            composition: frame.composition_ms,
            is_key: frame.is_key,
            body: frame.body.clone(),
        };
        Held { sample, time_ms: decode_time * 1000 / scale, len: frame.len.unwrap_or(usual).max(1) }
    }

    /// The held frame of a kind lasts until `end`, in units of its track.
    fn complete(&mut self, kind: TrackKind, end: u64) {
        if let Some(Held { mut sample, .. }) = self.held[kind as usize].take() {
            sample.duration = u32::try_from(end.saturating_sub(sample.decode_time)).unwrap_or(1);
            self.part_bytes += sample.body.len() as u64;
            self.part[kind as usize].push(sample);
        }
    }

    /// Sound goes on and pictures do not: then sound ends parts, so that it is heard.
    fn pictures_are_late(&self, time_ms: u64, window: &Window) -> bool {
        let newest = self.held[VIDEO].as_ref().map_or(0, |held| held.time_ms);
        time_ms > newest + window.part_target_ms + 2 * self.frame_ms
    }

    /// Where the open segment ends at the latest.
    fn latest_end_ms(&self, pace: &Pace) -> u64 {
        let longest_ms = pace.target_ms.map(|target_ms| target_ms + ROUNDING_MS);
        longest_ms.map_or(u64::MAX, |longest_ms| self.segment_start_ms + longest_ms)
    }

    /// The held frame, which lasts until `time_ms`, may be too long for the part and the segment
    /// that are open: then they end before it.
    fn keep_short(
        &mut self,
        time_ms: u64,
        pace: &mut Pace,
        window: &mut Window,
    ) -> Result<(), mp4_atom::Error> {
        let main = if self.timescales[VIDEO].is_some() { VIDEO } else { AUDIO };
        let Some(held_ms) = self.held[main].as_ref().map(|held| held.time_ms) else {
            return Ok(());
        };
        if time_ms > self.latest_end_ms(pace) && held_ms > self.segment_start_ms {
            self.end_part(held_ms, pace, window)?;
            self.end_segment(held_ms, window);
        } else if time_ms > self.part_start_ms + window.part_target_ms
            && held_ms > self.part_start_ms
        {
            self.end_part(held_ms, pace, window)?;
        }
        Ok(())
    }

    /// Ends the part and the segment, if a frame that begins at `time_ms` is not to be in them.
    fn cut(
        &mut self,
        time_ms: u64,
        is_key: bool,
        settings: &Settings,
        pace: &mut Pace,
        window: &mut Window,
    ) -> Result<(), mp4_atom::Error> {
        if is_key && self.timescales[VIDEO].is_some() {
            let gop_ms = time_ms - self.last_key_ms.unwrap_or(time_ms).min(time_ms);
            pace.gop_ms_max = pace.gop_ms_max.max(gop_ms);
            self.last_key_ms = Some(time_ms);
        }
        // Sound may have ended parts behind this picture.
        let end_ms = time_ms.max(self.part_start_ms + 1);
        let elapsed_ms = end_ms.saturating_sub(self.segment_start_ms);
        if pace.cuts(elapsed_ms, is_key, self.frame_ms, settings, window) {
            self.end_part(end_ms, pace, window)?;
            self.end_segment(end_ms, window);
        } else {
            let is_full = time_ms + self.frame_ms > self.part_start_ms + window.part_target_ms
                || self.part_bytes > settings.bytes_max / PART_BYTES_DIVISOR;
            if is_full && time_ms > self.part_start_ms {
                self.end_part(time_ms, pace, window)?;
            }
        }
        Ok(())
    }

    fn end_part(
        &mut self,
        end_ms: u64,
        pace: &mut Pace,
        window: &mut Window,
    ) -> Result<(), mp4_atom::Error> {
        let [video, audio] = &self.part;
        if video.is_empty() && audio.is_empty() {
            return Ok(());
        }
        let has_video = self.timescales[VIDEO].is_some();
        pace.fragments = pace.fragments.wrapping_add(1);
        window.push_part(Part {
            start_ms: self.part_start_ms,
            duration_ms: end_ms.saturating_sub(self.part_start_ms),
            is_independent: !has_video || video.iter().any(|sample| sample.is_key),
            starts_with_key: !has_video || video.first().is_some_and(|sample| sample.is_key),
            bytes: mux::fragment(pace.fragments, &self.part)?,
        });
        self.part.iter_mut().for_each(Vec::clear);
        (self.part_start_ms, self.part_bytes) = (end_ms, 0);
        Ok(())
    }

    fn end_segment(&mut self, end_ms: u64, window: &mut Window) {
        if window.end_segment(end_ms) {
            let start = self.start;
            let utc = start.utc + std::time::Duration::from_millis(end_ms - start.start_ms);
            window.begin_segment(SegmentStart { start_ms: end_ms, has_discontinuity: false, utc });
            self.segment_start_ms = end_ms;
        }
    }

    /// Ends the segment with what is complete of it, if anything is.
    pub(super) fn list(
        &mut self,
        pace: &mut Pace,
        window: &mut Window,
    ) -> Result<(), mp4_atom::Error> {
        let main = if self.timescales[VIDEO].is_some() { VIDEO } else { AUDIO };
        if let Some(held_ms) = self.held[main].as_ref().map(|held| held.time_ms)
            && held_ms > self.part_start_ms
        {
            self.end_part(held_ms, pace, window)?;
        }
        self.end_segment(self.part_start_ms, window);
        Ok(())
    }

    /// Nothing follows: what is held lasts as long as frames do.
    pub(super) fn finish(
        mut self,
        pace: &mut Pace,
        window: &mut Window,
    ) -> Result<(), mp4_atom::Error> {
        let mut ends_ms = [0, 0];
        for kind in [TrackKind::Video, TrackKind::Audio] {
            if let (Some(held), Some(timescale)) =
                (&self.held[kind as usize], self.timescales[kind as usize])
            {
                let end = held.sample.decode_time + u64::from(held.len);
                ends_ms[kind as usize] = (end * 1000).div_ceil(timescale.into());
                self.complete(kind, end);
            }
        }
        let main = if self.timescales[VIDEO].is_some() { VIDEO } else { AUDIO };
        let end_ms = ends_ms[main].max(self.part_start_ms + 1);
        self.end_part(end_ms, pace, window)?;
        window.end_segment(end_ms);
        pace.end_ms = pace.end_ms.max(end_ms).max(ends_ms[AUDIO]).max(self.shown_ms);
        Ok(())
    }
}
