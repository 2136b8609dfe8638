//! Report: everything an [`Inspector`](super::Inspector) found, to be printed or serialized.

use serde::Serialize;
use serde_json::{Map, Value as Json};

use super::gops::GopReport;
use super::timeline::BitrateTimeline;
use super::track::TrackReport;
use super::verdict::Verdict;
use crate::flv::{
    AudioHeader, AudioPacketType, HeaderError, Tag, TagKind, TagRole, VideoHeader, VideoPacketType,
};

/// What is in a stream, and what is wrong with it.
#[derive(Clone, PartialEq, Debug, Serialize)]
pub struct Report {
    /// In a word, and why.
    pub verdict: Verdict,
    /// What `onMetaData` says.
    pub metadata: MetadataReport,
    /// Video first, by their ids.
    pub tracks: Vec<TrackReport>,
    /// Tags by what they are.
    pub tags: TagCounts,
    /// When.
    pub timestamps: TimestampReport,
    /// Groups of pictures, if there are pictures.
    pub gops: Option<GopReport>,
    /// Audio and video together.
    pub bitrate: BitrateTimeline,
    /// The first sequence header of each track, and every one that differs from the one before.
    pub sequence_headers: Vec<SequenceHeader>,
    /// Tags without a byte, or frames without a coded one: the first of them.
    pub empty: Vec<Start>,
    /// Frames that repeat the one before them: the first of them.
    pub duplicates: Vec<Start>,
    /// Where a track was said to be over.
    pub ends_of_sequence: Vec<Start>,
    /// Bytes that are no tags.
    pub damage: DamageReport,
}

/// Where a tag begins.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Serialize)]
pub struct Start {
    /// In bytes.
    pub at: u64,
    /// Its timestamp.
    pub timestamp_ms: u32,
    /// `audio`, `video` or `script`.
    pub kind: &'static str,
}

/// What `onMetaData` says.
#[derive(Clone, PartialEq, Debug, Default, Serialize)]
pub struct MetadataReport {
    /// How many there are.
    pub count: u64,
    /// How often it differed from the one before.
    pub changes: u64,
    /// Who wrote it.
    pub encoder: Option<String>,
    /// The properties of the first.
    pub first: Map<String, Json>,
    /// Those of the last, if it is another.
    #[serde(skip_serializing_if = "Map::is_empty")]
    pub last: Map<String, Json>,
    /// Why they cannot be read.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub error: Option<String>,
}

/// How much later pictures are shown than decoded, in milliseconds.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Serialize)]
#[allow(missing_docs, reason = "their names say it")]
pub struct CompositionTimes {
    pub min: i32,
    pub max: i32,
}

/// Tags by what they are.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default, Serialize)]
pub struct TagCounts {
    /// All of them.
    pub total: u64,
    /// Bytes of their payloads.
    pub bytes: u64,
    /// Pictures of the primary track where a decoder can start.
    pub keyframes: u64,
    /// Its other pictures.
    pub inter_frames: u64,
    /// Pictures of other tracks only.
    pub secondary_frames: u64,
    /// Sound, of any track.
    pub audio_frames: u64,
    /// Video sequence headers.
    pub video_sequence_headers: u64,
    /// Audio sequence headers.
    pub audio_sequence_headers: u64,
    /// `colorInfo` and the like.
    pub video_metadata: u64,
    /// Loudspeakers of channels.
    pub multichannel_configs: u64,
    /// Ends of video tracks.
    pub video_ends: u64,
    /// Ends of audio tracks.
    pub audio_ends: u64,
    /// `onMetaData`.
    pub metadata: u64,
    /// Other script data.
    pub script: u64,
    /// Without a byte, or a frame without a coded one.
    pub empty: u64,
    /// Audio and video whose header is cut or makes no sense.
    pub unreadable: u64,
    /// Whatever else is not known.
    pub other: u64,
}

impl TagCounts {
    pub(super) fn add(&mut self, tag: &Tag) {
        self.total += 1;
        self.bytes += tag.payload.len() as u64;
        *self.count_of(tag) += 1;
    }

    fn count_of(&mut self, tag: &Tag) -> &mut u64 {
        match tag.role() {
            TagRole::Metadata => &mut self.metadata,
            TagRole::VideoSequenceHeader(_) => &mut self.video_sequence_headers,
            TagRole::AudioSequenceHeader(_) => &mut self.audio_sequence_headers,
            TagRole::VideoMetadata(_) => &mut self.video_metadata,
            TagRole::AudioMultichannelConfig(_) => &mut self.multichannel_configs,
            TagRole::Keyframe => &mut self.keyframes,
            TagRole::InterFrame { .. } => &mut self.inter_frames,
            TagRole::SecondaryFrame => &mut self.secondary_frames,
            TagRole::AudioFrame => &mut self.audio_frames,
            TagRole::EndOfSequence if tag.kind == TagKind::Audio => &mut self.audio_ends,
            TagRole::EndOfSequence => &mut self.video_ends,
            TagRole::Other => self.count_of_other(tag),
        }
    }

    fn count_of_other(&mut self, tag: &Tag) -> &mut u64 {
        let is_empty_frame = match tag.kind {
            TagKind::Script => return &mut self.script,
            TagKind::Video => VideoHeader::parse(&tag.payload)
                .map(|header| header.packet_type == VideoPacketType::CodedFrames),
            TagKind::Audio => AudioHeader::parse(&tag.payload)
                .map(|header| header.packet_type == AudioPacketType::CodedFrames),
        };
        match is_empty_frame {
            Err(HeaderError::Empty) | Ok(true) => &mut self.empty,
            Err(_) => &mut self.unreadable,
            Ok(false) => &mut self.other,
        }
    }
}

/// When, by all tags.
#[derive(Clone, PartialEq, Debug, Default, Serialize)]
pub struct TimestampReport {
    /// The first tag's timestamp, whatever it is.
    pub first_ms: Option<u32>,
    /// The last one's.
    pub last_ms: Option<u32>,
    /// The first frame's, of any track.
    pub first_media_ms: Option<u32>,
    /// The last one's.
    pub last_media_ms: Option<u32>,
    /// The first keyframe's of the primary video track.
    pub first_keyframe_ms: Option<u32>,
    /// Tags whose timestamp is a smaller number than that of the tag before, whatever its track:
    /// where tracks are interleaved loosely, where a sequence ends, and where time wraps too.
    pub backward_steps: u64,
    /// The longest way forward between neighbouring tags of one kind, headers included.
    pub largest_step_ms: i32,
    /// Tags whose timestamp needs more than 24 bits.
    pub extended: u64,
    /// How much later than the first picture is decoded the first sound comes; negative is earlier.
    pub audio_after_video_ms: Option<i32>,
    /// How much later than the first picture is shown the first sound comes.
    pub audio_after_picture_ms: Option<i32>,
}

/// A sequence header that was not yet in force.
#[derive(Clone, PartialEq, Eq, Debug, Serialize)]
pub struct SequenceHeader {
    /// Where its tag is, in bytes.
    pub at: u64,
    /// Its timestamp.
    pub timestamp_ms: u32,
    /// `audio` or `video`.
    pub kind: &'static str,
    /// The track.
    pub track: u8,
    /// Whether another one was in force.
    pub is_change: bool,
    /// In words.
    pub describes: String,
}

/// Bytes that are no tags.
#[derive(Clone, PartialEq, Eq, Debug, Default, Serialize)]
pub struct DamageReport {
    /// How many regions.
    pub count: u64,
    /// How many bytes are in them.
    pub bytes: u64,
    /// The first of them.
    pub regions: Vec<Region>,
    /// Tags behind the first.
    pub tags_behind: u64,
}

/// A damaged region, `[from..to)`.
#[derive(Clone, PartialEq, Eq, Debug, Serialize)]
pub struct Region {
    /// Its first byte.
    pub from: u64,
    /// The first byte behind it.
    pub to: u64,
    /// What is violated there.
    pub what: String,
    /// Tags between it and the next region, or the end.
    pub tags_behind: u64,
}
