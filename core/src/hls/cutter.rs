//! Cutter: frames to samples, samples to parts, parts to segments.

mod epoch;

use std::time::Duration;

use self::epoch::Epoch;
use super::Settings;
use super::intake::{Frame, Intake};
use super::mux;
use super::track::{Track, TrackKind, Unsupported};
use super::window::{SegmentStart, Window};
use crate::flv::Tag;

/// How long the tracks of a stream may take to show up, and how much of it is looked at to tell how
/// long its frames are.
const FIRST_LOOK_MS: i64 = 1_000;
/// The same after a break, when it is known how long parts are.
const LOOK_MS: i64 = 500;
/// Bytes of frames kept meanwhile.
const LOOK_BYTES_MAX: usize = 16 << 20;
/// A segment may end this much before it should: a keyframe a little early is better than none in
/// time, and a scene's first picture is one.
const EARLY_DIVISOR: u64 = 4;
/// What rounds to the target duration is not over it.
const ROUNDING_MS: u64 = 499;
/// Milliseconds by which frames' timestamps are rounded, in a part.
const PART_ROUNDING_MS: u64 = 5;

/// Cuts a stream of tags. What comes of it goes into a [`Window`].
pub(super) struct Cutter {
    settings: Settings,
    intake: Intake,
    /// Frames from the first keyframe on, while it is not known which tracks there are.
    starting: Vec<Frame>,
    starting_bytes: usize,
    starting_utc: Duration,
    epoch: Option<Epoch>,
    /// When the last frame came.
    frame_utc: Duration,
    /// The next frame does not continue what is in the window.
    is_broken: bool,
    pace: Pace,
    failed: Option<Unsupported>,
}

/// What stays the same however often a stream breaks off.
#[derive(Clone, Copy, Default)]
struct Pace {
    /// Where what was cut ends, on the one time line.
    end_ms: u64,
    target_ms: Option<u64>,
    part_target_ms: Option<u64>,
    gop_ms_max: u64,
    fragments: u32,
}

impl Cutter {
    /// The first fragment's number is a matter of taste; the same one for two lives of a stream would
    /// give their first segments the same bytes.
    pub(super) fn new(settings: Settings, first_fragment: u32) -> Self {
        Self {
            settings,
            intake: Intake::default(),
            starting: Vec::new(),
            starting_bytes: 0,
            starting_utc: Duration::ZERO,
            epoch: None,
            frame_utc: Duration::ZERO,
            is_broken: false,
            pace: Pace { fragments: first_fragment, ..Pace::default() },
            failed: None,
        }
    }

    /// Keeps what a former life of the stream has promised its players.
    pub(super) fn keep_promises_of(&mut self, former: &Self, window: &mut Window) {
        let Pace { target_ms, part_target_ms, gop_ms_max, .. } = former.pace;
        self.pace = Pace { target_ms, part_target_ms, gop_ms_max, ..self.pace };
        window.target_ms = target_ms;
    }

    /// Why nothing comes of this stream.
    pub(super) fn unsupported(&self) -> Option<&Unsupported> {
        self.failed.as_ref().or(self.intake.unsupported())
    }

    pub(super) fn push(&mut self, tag: &Tag, session: u64, utc: Duration, window: &mut Window) {
        let taken = self.intake.take(tag, session);
        if taken.breaks {
            self.break_off(window);
        }
        if self.intake.unsupported().is_some() {
            self.break_off(window);
            return;
        }
        let Some(frame) = taken.frame else { return };
        self.frame_utc = utc;
        let is_new_track = self.epoch.as_mut().is_some_and(|epoch| epoch.misses(&frame));
        if is_new_track {
            self.break_off(window);
        }
        match &mut self.epoch {
            None => self.collect(frame, utc, window),
            Some(epoch) => {
                if let Err(error) = epoch.push(frame, &self.settings, &mut self.pace, window) {
                    self.failed = Some(error.into());
                }
            }
        }
    }

    /// Tags were lost: what comes next is another time.
    pub(super) fn lose(&mut self, window: &mut Window) {
        self.break_off(window);
        self.intake.reset_clock();
    }

    /// Looks at the time: a playlist has a new segment every so often, also when nothing comes. First
    /// what there is of one, then gaps, behind which media is another time.
    pub(super) fn idle(&mut self, utc: Duration, window: &mut Window) {
        let Some(target_ms) = self.pace.target_ms.filter(|_| window.is_ready()) else { return };
        let target = Duration::from_millis(target_ms);
        let is_idle = utc.saturating_sub(self.frame_utc) * 4 >= target;
        // RFC 8216 6.2.1: no later than 1.5 target durations behind the last one.
        let is_due = utc.saturating_sub(window.listed_utc) * 5 >= target * 6;
        if !is_idle || !is_due {
            return;
        }
        let before = window.open_number();
        if let Some(epoch) = &mut self.epoch
            && let Err(error) = epoch.list(&mut self.pace, window)
        {
            self.failed = Some(error.into());
        }
        if window.open_number() == before {
            self.break_off(window);
        }
        if window.open_number() == before {
            window.push_gap(self.pace.end_ms, target_ms);
            self.pace.end_ms += target_ms;
            self.is_broken = true;
        }
    }

    /// Finishes what was begun.
    pub(super) fn break_off(&mut self, window: &mut Window) {
        if !self.starting.is_empty() {
            self.begin(window);
        }
        if let Some(epoch) = self.epoch.take() {
            self.is_broken = true;
            if let Err(error) = epoch.finish(&mut self.pace, window) {
                self.failed = Some(error.into());
            }
        }
    }

    /// Finishes everything: nothing follows.
    pub(super) fn finish(&mut self, window: &mut Window) {
        self.break_off(window);
        if self.pace.target_ms.is_none() {
            self.pace.decide_target(self.settings.segment_duration_ms, window);
        }
    }

    /// Keeps a frame until it is known which tracks there are.
    fn collect(&mut self, frame: Frame, utc: Duration, window: &mut Window) {
        let has_pictures = self.starting.iter().any(|frame| frame.kind == TrackKind::Video);
        match frame.kind {
            TrackKind::Video if has_pictures => {}
            TrackKind::Video if frame.is_key => {
                // Sound from before the first picture is no part of the first segment.
                self.starting.clear();
                self.starting_bytes = 0;
            }
            TrackKind::Video => return,
            TrackKind::Audio if self.intake.has_video() && !has_pictures => return,
            TrackKind::Audio => {}
        }
        if self.starting.is_empty() {
            self.starting_utc = utc;
        }
        let time_ms = frame.time_ms;
        self.starting_bytes += frame.body.len();
        self.starting.push(frame);
        let span_ms = time_ms - self.starting.first().map_or(time_ms, |first| first.time_ms);
        let has = |kind| self.starting.iter().any(|frame| frame.kind == kind);
        let is_complete = self.intake.has_video() == has(TrackKind::Video)
            && self.intake.has_audio() == has(TrackKind::Audio);
        let is_known = match self.pace.part_target_ms {
            None => span_ms >= FIRST_LOOK_MS,
            Some(_) => span_ms >= LOOK_MS || is_complete && self.intake.has_video(),
        };
        if is_known || self.starting_bytes > LOOK_BYTES_MAX {
            self.begin(window);
        }
    }

    /// Begins with what was collected.
    fn begin(&mut self, window: &mut Window) {
        self.starting_bytes = 0;
        let frames = std::mem::take(&mut self.starting);
        let kinds = [TrackKind::Video, TrackKind::Audio];
        let has = |kind: TrackKind| frames.iter().any(|frame| frame.kind == kind);
        let tracks: Vec<&Track> = kinds
            .into_iter()
            .filter(|&kind| has(kind))
            .filter_map(|kind| self.intake.track(kind).map(|track| &**track))
            .collect();
        let Some(first) = frames.first() else { return };
        let init = match mux::init(tracks.iter().copied()) {
            Ok(init) => init,
            Err(error) => {
                self.failed = Some(error.into());
                return;
            }
        };
        let frame_us = frame_us(&frames);
        let part_target_ms = *self
            .pace
            .part_target_ms
            .get_or_insert_with(|| part_target_ms(self.settings.part_duration_ms, frame_us));
        window.part_target_ms = part_target_ms;
        window.begin_init(init, &tracks, frame_us);
        let start = SegmentStart {
            start_ms: self.pace.end_ms,
            has_discontinuity: std::mem::take(&mut self.is_broken),
            utc: self.starting_utc,
        };
        let mut epoch = Epoch::begin(&tracks, first.time_ms, frame_us, start, window);
        for frame in frames {
            if let Err(error) = epoch.push(frame, &self.settings, &mut self.pace, window) {
                self.failed = Some(error.into());
            }
        }
        self.epoch = Some(epoch);
    }
}

impl Pace {
    /// Fixes the target duration for the life of the playlist, by the longest segment so far.
    fn decide_target(&mut self, longest_ms: u64, window: &mut Window) -> u64 {
        // What broke off before is listed as well.
        let longest_ms = longest_ms.max(window.longest_segment_ms());
        // A few milliseconds over are a rounded timestamp.
        let seconds = longest_ms.saturating_sub(100).div_ceil(1000).max(1);
        self.target_ms = Some(seconds * 1000);
        window.target_ms = self.target_ms;
        seconds * 1000
    }

    /// Whether a segment of this length ends here. Decides the target duration with the first.
    fn cuts(
        &mut self,
        elapsed_ms: u64,
        is_key: bool,
        frame_ms: u64,
        settings: &Settings,
        window: &mut Window,
    ) -> bool {
        let wanted_ms = settings.segment_duration_ms;
        let is_long_enough = is_key && elapsed_ms + wanted_ms / EARLY_DIVISOR >= wanted_ms;
        match self.target_ms {
            None if is_long_enough => {
                self.decide_target(elapsed_ms.max(wanted_ms), window);
                true
            }
            None if elapsed_ms + frame_ms > settings.target_duration_ms_max + ROUNDING_MS => {
                self.decide_target(settings.target_duration_ms_max, window);
                true
            }
            None => false,
            Some(target_ms) => {
                let limit_ms = target_ms + ROUNDING_MS;
                // The next keyframe may come too late, so this one has to do.
                let is_last_chance = is_key && elapsed_ms + self.gop_ms_max > limit_ms;
                elapsed_ms > 0
                    && (is_long_enough || is_last_chance || elapsed_ms + frame_ms > limit_ms)
            }
        }
    }
}

/// How long frames of the main track last, on average, in microseconds.
fn frame_us(frames: &[Frame]) -> u64 {
    const USUAL_US: u64 = 33_333;
    let has_pictures = frames.iter().any(|frame| frame.kind == TrackKind::Video);
    let main = if has_pictures { TrackKind::Video } else { TrackKind::Audio };
    let mut times = frames.iter().filter(|frame| frame.kind == main).map(|frame| frame.time_ms);
    let Some(first) = times.next() else { return USUAL_US };
    let (count, last) = times.fold((0, first), |(count, _), time| (count + 1, time));
    match ((last - first).max(0) as u64 * 1000).checked_div(count) {
        None | Some(0) => USUAL_US,
        // A second of a live source is a few per cent off what it is in the long run.
        Some(us) if has_pictures => {
            let rates = [60, 50, 30, 25, 24, 20, 15, 12, 10].map(|rate| 1_000_000 / rate);
            rates.into_iter().find(|usual| us.abs_diff(*usual) * 20 <= us).unwrap_or(us)
        }
        Some(us) => us,
    }
}

/// A whole number of frames near `wanted_ms`, and room for rounded timestamps: then every part can
/// be as long as the next, and none longer than this (LL-HLS wants 85 % at least).
fn part_target_ms(wanted_ms: u64, frame_us: u64) -> u64 {
    let frames = (wanted_ms * 1000 + frame_us / 2).checked_div(frame_us).unwrap_or(1).max(1);
    (frames * frame_us).div_ceil(1000) + PART_ROUNDING_MS
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_part_is_a_whole_number_of_frames() {
        // 30, 60, 25, 24 and 10 pictures per second, AAC at 44.1 kHz, slides.
        let targets = [33_333, 16_667, 40_000, 41_667, 100_000, 23_220, 1_000_000]
            .map(|frame_us| part_target_ms(200, frame_us));
        assert_eq!(targets, [205, 206, 205, 214, 205, 214, 1005]);
    }
}
