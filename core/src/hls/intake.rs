//! Intake: tags to frames of the primary tracks, on a clock that does not wrap.

use std::sync::Arc;

use bytes::Bytes;
use smallvec::SmallVec;

use super::sound;
use super::track::{Track, TrackKind, Unsupported};
use crate::flv::{AudioCodec, AudioHeader, Tag, TagKind, VideoCodec, VideoHeader};
use crate::rope::Rope;
use crate::time::Timestamp;

/// A frame of the primary track of its kind.
#[derive(Clone, Debug)]
pub(super) struct Frame {
    pub(super) kind: TrackKind,
    /// Milliseconds since the first frame behind the last break.
    pub(super) time_ms: i64,
    pub(super) composition_ms: i32,
    /// A decoder can start here. True of all sound.
    pub(super) is_key: bool,
    pub(super) body: Rope,
    /// In units of the track's timescale, where the frame says it.
    pub(super) len: Option<u32>,
}

/// What a tag came to.
#[derive(Default, Debug)]
pub(super) struct Taken {
    /// What follows does not continue what was before: another encoder run, another decoder
    /// configuration, or a jump in time.
    pub(super) breaks: bool,
    pub(super) frame: Option<Frame>,
}

/// Bytes of a frame that codecs are told by.
const FRAME_HEAD_LEN: usize = 16;
/// Nothing is longer that configures a decoder.
const RECORD_LEN_MAX: usize = 64 << 10;
/// Frames may come this much out of order; what is further back is another clock.
const BACK_MS_MAX: i64 = 500;
/// A hole in all tracks. What is longer is a jump, unless frames are as rare as that.
const HOLE_MS_MAX: i64 = 1_000;
/// The second frame of all, which nothing can be compared with, and the rarest frames.
const INTERVAL_MS_MAX: i64 = 5_000;

/// Takes tags. Remembers what has to be known of the ones before.
#[derive(Default)]
pub(super) struct Intake {
    session: Option<u64>,
    video: Source<VideoCodec>,
    audio: Source<AudioCodec>,
    clock: Option<Clock>,
    /// By kind: the time of its last frame since the last break.
    last: [Option<i64>; 2],
    unsupported: Option<Unsupported>,
}

struct Clock {
    timestamp: Timestamp,
    time_ms: i64,
    newest_ms: i64,
    interval_ms: Option<i64>,
}

/// One kind of media: which codec, and what its decoder has to know.
struct Source<C> {
    codec: Option<C>,
    record: Bytes,
    /// Made with the first frame.
    track: Option<Arc<Track>>,
}

impl<C> Default for Source<C> {
    fn default() -> Self {
        Self { codec: None, record: Bytes::new(), track: None }
    }
}

impl<C: PartialEq + Copy> Source<C> {
    /// Takes a configuration. Says whether frames of another one came before.
    fn configure(&mut self, codec: C, record: Bytes) -> bool {
        if self.codec == Some(codec) && self.record == record {
            return false;
        }
        let had_frames = self.track.is_some();
        *self = Self { codec: Some(codec), record, track: None };
        had_frames
    }
}

impl Intake {
    /// The tracks that frames came of, pictures first.
    pub(super) fn track(&self, kind: TrackKind) -> Option<&Arc<Track>> {
        match kind {
            TrackKind::Video => self.video.track.as_ref(),
            TrackKind::Audio => self.audio.track.as_ref(),
        }
    }

    /// Why nothing comes of this stream.
    pub(super) fn unsupported(&self) -> Option<&Unsupported> {
        self.unsupported.as_ref()
    }

    /// Whether pictures are to be expected.
    pub(super) fn has_video(&self) -> bool {
        self.video.codec.is_some()
    }

    /// Whether sound is to be expected.
    pub(super) fn has_audio(&self) -> bool {
        self.audio.codec.is_some()
    }

    /// Tags were lost: what follows is a break.
    pub(super) fn reset_clock(&mut self) {
        self.clock = None;
        self.last = [None; 2];
    }

    /// Takes a tag of a session.
    pub(super) fn take(&mut self, tag: &Tag, session: u64) -> Taken {
        let mut taken = Taken::default();
        if self.session != Some(session) {
            taken.breaks = self.session.is_some();
            *self = Self { session: Some(session), ..Self::default() };
        }
        match tag.kind {
            TagKind::Video => self.take_video(tag, &mut taken),
            TagKind::Audio => self.take_audio(tag, &mut taken),
            TagKind::Script => {}
        }
        if taken.breaks {
            self.reset_clock();
        }
        if let Some(frame) = &mut taken.frame {
            taken.breaks |= self.place(frame, tag.timestamp);
        }
        taken
    }

    fn take_video(&mut self, tag: &Tag, taken: &mut Taken) {
        let Ok(header) = VideoHeader::parse(&tag.payload) else { return };
        let Some(track) = header.tracks(&tag.payload).find(|track| track.id == 0) else { return };
        if track.body.is_empty() {
            return;
        }
        let body = tag.payload.slice(track.body.clone());
        if header.is_sequence_header() {
            if let Some(record) = record(&body) {
                taken.breaks |= self.video.configure(track.codec, record);
                self.unsupported = None;
            }
            return;
        }
        if !header.is_frame() {
            return;
        }
        if self.video.codec != Some(track.codec) {
            if track.codec.needs_sequence_header() {
                return;
            }
            taken.breaks |= self.video.configure(track.codec, Bytes::new());
        }
        let is_key = header.is_keyframe();
        if self.video.track.is_none() {
            // Only a keyframe begins a track, and only it says what the track is.
            if !is_key {
                return;
            }
            let made = Track::video(track.codec, &self.video.record, &head(&body));
            let Some(made) = self.noted(made) else { return };
            self.video.track = Some(made);
        }
        let composition_ms = track.composition_time.as_ms();
        let kind = TrackKind::Video;
        taken.frame = Some(Frame { kind, time_ms: 0, composition_ms, is_key, body, len: None });
    }

    fn take_audio(&mut self, tag: &Tag, taken: &mut Taken) {
        let Ok(header) = AudioHeader::parse(&tag.payload) else { return };
        let Some(track) = header.tracks(&tag.payload).find(|track| track.id == 0) else { return };
        if track.body.is_empty() {
            return;
        }
        let body = tag.payload.slice(track.body.clone());
        if header.is_sequence_header() {
            if let Some(mut record) = record(&body) {
                if track.codec == AudioCodec::FLAC
                    && let Some(info) = sound::flac_record(&record)
                {
                    record = Bytes::copy_from_slice(&info);
                }
                taken.breaks |= self.audio.configure(track.codec, record);
                self.unsupported = None;
            }
            return;
        }
        if !header.is_frame() {
            return;
        }
        if self.audio.codec != Some(track.codec) {
            if track.codec.needs_sequence_header() {
                return;
            }
            taken.breaks |= self.audio.configure(track.codec, Bytes::new());
        }
        let head = head(&body);
        if self.audio.track.is_none() {
            let made = Track::audio(track.codec, &self.audio.record, &head);
            let Some(made) = self.noted(made) else { return };
            self.audio.track = Some(made);
        }
        let len = self.audio.track.as_ref().and_then(|track| track.frame_len(&head));
        let kind = TrackKind::Audio;
        taken.frame = Some(Frame { kind, time_ms: 0, composition_ms: 0, is_key: true, body, len });
    }

    fn noted(&mut self, made: Result<Track, Unsupported>) -> Option<Arc<Track>> {
        match made {
            Ok(track) => Some(Arc::new(track)),
            Err(error) => {
                self.unsupported = Some(error);
                None
            }
        }
    }

    /// Gives a frame its time. `true`: it does not continue the ones before, and is at 0.
    fn place(&mut self, frame: &mut Frame, timestamp: Timestamp) -> bool {
        let last = &mut self.last[frame.kind as usize];
        let Some(clock) = &mut self.clock else {
            self.clock = Some(Clock { timestamp, time_ms: 0, newest_ms: 0, interval_ms: None });
            *last = Some(0);
            return false;
        };
        let time_ms = clock.time_ms + i64::from(timestamp.since(clock.timestamp));
        let hole_ms_max = match clock.interval_ms {
            None => INTERVAL_MS_MAX,
            Some(ms) => (3 * ms).clamp(HOLE_MS_MAX, INTERVAL_MS_MAX),
        };
        let floor = last.unwrap_or(clock.newest_ms - INTERVAL_MS_MAX) - BACK_MS_MAX;
        if time_ms < floor || time_ms > clock.newest_ms + hole_ms_max {
            self.reset_clock();
            self.place(frame, timestamp);
            return true;
        }
        if time_ms > clock.newest_ms {
            clock.interval_ms = Some(time_ms - clock.newest_ms);
        }
        (clock.timestamp, clock.time_ms) = (timestamp, time_ms);
        clock.newest_ms = clock.newest_ms.max(time_ms);
        *last = Some(time_ms);
        frame.time_ms = time_ms;
        false
    }
}

/// A configuration, kept for as long as the stream runs: it must not pin the block it came in.
fn record(body: &Rope) -> Option<Bytes> {
    (body.len() <= RECORD_LEN_MAX).then(|| body.detach().to_bytes())
}

fn head(body: &Rope) -> SmallVec<[u8; FRAME_HEAD_LEN]> {
    let mut head = SmallVec::from([0; FRAME_HEAD_LEN]);
    let len = body.read_at(0, &mut head);
    head.truncate(len);
    head
}
