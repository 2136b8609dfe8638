//! Track: what one track's headers and frames are like.

use serde::Serialize;

use bytes::Bytes;

use super::report::CompositionTimes;
use super::steps::{StepReport, Steps};
use super::timeline::PeakSecond;
use crate::describe::{AudioInfo, VideoInfo};
use crate::flv::{Tag, TagKind};
use crate::rope::Rope;
use crate::time::Timestamp;

/// One track of audio or video.
#[derive(Clone, PartialEq, Debug, Serialize)]
pub struct TrackReport {
    /// `audio` or `video`.
    pub kind: &'static str,
    /// 0 is the primary track.
    pub id: u8,
    /// Its name, as in `h264`.
    pub codec: String,
    /// As in RFC 6381: `avc1.64001f`.
    pub codec_string: Option<String>,
    /// Width in pixels, as the sequence header says.
    pub width: Option<u32>,
    /// Height in pixels.
    pub height: Option<u32>,
    /// In hertz, as the sequence header or a legacy tag says.
    pub sample_rate: Option<u32>,
    /// How many.
    pub channels: Option<u32>,
    /// Pictures per second, as the metadata claim; of the primary video track only.
    pub frame_rate_claimed: Option<f64>,
    /// Frames per second, by the timestamps.
    pub frame_rate: Option<f64>,
    /// Pictures, or packets of sound.
    pub frames: u64,
    /// Pictures where a decoder can start.
    pub keyframes: u64,
    /// Sequence headers, repeated ones included.
    pub sequence_headers: u64,
    /// How often a sequence header differed from the one before.
    pub sequence_header_changes: u64,
    /// Frames that came before the sequence header they need.
    pub frames_before_sequence_header: u64,
    /// Frames that repeat the one before: same time, same bytes.
    pub duplicates: u64,
    /// Bytes of its payloads.
    pub bytes: u64,
    /// The average over what was streamed.
    pub bits_per_second: Option<u64>,
    /// The most in one second.
    pub bits_per_second_peak: u64,
    /// The first frame's timestamp.
    pub first_ms: Option<u32>,
    /// The last frame's.
    pub last_ms: Option<u32>,
    /// How long it lasts, jumps in time left out.
    pub streamed_ms: u64,
    /// How much later than decoded the pictures are shown, if the codec can say.
    pub composition_time: Option<CompositionTimes>,
    /// How its timestamps go on.
    pub steps: StepReport,
}

/// What a sequence header says about a track.
#[derive(Default)]
pub(super) struct Config {
    pub(super) codec: String,
    codec_string: Option<String>,
    size: Option<(u32, u32)>,
    sample_rate: Option<u32>,
    channels: Option<u32>,
}

impl From<VideoInfo> for Config {
    fn from(info: VideoInfo) -> Self {
        Self {
            codec: info.codec,
            codec_string: info.codec_string,
            size: info.width.zip(info.height),
            ..Self::default()
        }
    }
}

impl From<AudioInfo> for Config {
    fn from(info: AudioInfo) -> Self {
        Self {
            codec: info.codec,
            codec_string: info.codec_string,
            sample_rate: info.sample_rate,
            channels: info.channels,
            ..Self::default()
        }
    }
}

impl Config {
    /// In words: `h264 avc1.64001f 1280x720`.
    fn to_text(&self) -> String {
        let size = self.size.map(|(width, height)| format!("{width}x{height}"));
        let rate = self.sample_rate.map(|rate| format!("{rate} Hz"));
        let channels = self.channels.map(|count| format!("{count} channels"));
        let parts = [self.codec_string.clone(), size, rate, channels];
        parts.into_iter().flatten().fold(self.codec.clone(), |text, part| text + " " + &part)
    }
}

/// A frame of one track.
pub(super) struct Frame<'a> {
    pub(super) at: u64,
    pub(super) tag: &'a Tag,
    /// Bytes that are this track's.
    pub(super) len: usize,
    pub(super) is_keyframe: bool,
    pub(super) needs_sequence_header: bool,
    pub(super) composition_time_ms: Option<i32>,
}

#[derive(Default)]
pub(super) struct Track {
    pub(super) config: Config,
    /// The sequence header in force.
    header: Option<Bytes>,
    sequence_headers: u64,
    sequence_header_changes: u64,
    frames: u64,
    keyframes: u64,
    frames_before_header: u64,
    duplicates: u64,
    bytes: u64,
    first: Option<Timestamp>,
    last: Option<Timestamp>,
    first_composition_time_ms: Option<i32>,
    /// From the first frame of all tracks to this track's last one.
    clock_ms: i64,
    steps: Steps,
    peak: PeakSecond,
    composition_time: Option<CompositionTimes>,
    previous: Option<Tag>,
}

impl Track {
    /// Takes a sequence header. If it is not the one in force it is described.
    pub(super) fn add_header(
        &mut self,
        record: &Rope,
        describe: impl FnOnce(&[u8]) -> Config,
    ) -> Option<String> {
        self.sequence_headers += 1;
        self.bytes += record.len() as u64;
        if self.header.as_ref().is_some_and(|known| *record == known[..]) {
            return None;
        }
        self.sequence_header_changes += u64::from(self.header.is_some());
        // Kept for long, so it must not hold the block it came in.
        let record = record.detach().to_bytes();
        self.config = describe(&record);
        self.header = Some(record);
        Some(self.config.to_text())
    }

    /// Whether the frame is the one before over again.
    pub(super) fn is_duplicate(&self, tag: &Tag) -> bool {
        self.previous.as_ref() == Some(tag)
    }

    /// Takes a frame, and gives its time from the first frame of all tracks. `start` is that
    /// one's.
    pub(super) fn add_frame(&mut self, frame: Frame<'_>, start: Timestamp) -> i64 {
        let Frame { at, tag, len, .. } = frame;
        self.bytes += len as u64;
        self.duplicates += u64::from(self.is_duplicate(tag));
        self.previous = Some(tag.clone());
        self.frames += 1;
        self.keyframes += u64::from(frame.is_keyframe);
        self.frames_before_header +=
            u64::from(frame.needs_sequence_header && self.header.is_none());
        if self.first.is_none() {
            self.first = Some(tag.timestamp);
            self.first_composition_time_ms = frame.composition_time_ms;
            self.clock_ms = tag.timestamp.since(start).into();
        }
        self.last = Some(tag.timestamp);
        self.clock_ms += i64::from(self.steps.add(at, tag.timestamp).unwrap_or_default());
        self.peak.add(self.clock_ms, len);
        if let Some(ms) = frame.composition_time_ms {
            let known = self.composition_time.get_or_insert(CompositionTimes { min: ms, max: ms });
            (known.min, known.max) = (known.min.min(ms), known.max.max(ms));
        }
        self.clock_ms
    }

    /// The sample rate and channels of a codec without sequence headers.
    pub(super) fn set_sound(&mut self, sample_rate: u32, channels: u8) {
        self.config.sample_rate = Some(sample_rate);
        self.config.channels = Some(channels.into());
    }

    pub(super) fn first(&self) -> Option<Timestamp> {
        self.first
    }

    /// How much later than decoded the first picture is shown.
    pub(super) fn first_composition_time_ms(&self) -> i32 {
        self.first_composition_time_ms.unwrap_or_default()
    }

    pub(super) fn report(&self, kind: TagKind, id: u8) -> TrackReport {
        let config = &self.config;
        let streamed_ms = self.steps.streamed_ms();
        TrackReport {
            kind: if kind == TagKind::Video { "video" } else { "audio" },
            id,
            codec: config.codec.clone(),
            codec_string: config.codec_string.clone(),
            width: config.size.map(|(width, _)| width),
            height: config.size.map(|(_, height)| height),
            sample_rate: config.sample_rate,
            channels: config.channels,
            frame_rate_claimed: None,
            frame_rate: self.steps.rate(),
            frames: self.frames,
            keyframes: self.keyframes,
            sequence_headers: self.sequence_headers,
            sequence_header_changes: self.sequence_header_changes,
            frames_before_sequence_header: self.frames_before_header,
            duplicates: self.duplicates,
            bytes: self.bytes,
            bits_per_second: (self.bytes * 8 * 1000).checked_div(streamed_ms),
            bits_per_second_peak: self.peak.bits_per_second(),
            first_ms: self.first.map(Timestamp::as_ms),
            last_ms: self.last.map(Timestamp::as_ms),
            streamed_ms,
            composition_time: self.composition_time,
            steps: self.steps.report(),
        }
    }
}
