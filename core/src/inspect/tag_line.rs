//! TagLine: one tag in a line of text, or of JSON.

use std::fmt;

use serde::Serialize;

use crate::describe;
use crate::flv::{
    AudioHeader, AudioPacketType, Tag, TagKind, TagRole, VideoHeader, VideoPacketType,
};

/// What is to be said of a tag in one line.
#[derive(Clone, PartialEq, Eq, Debug, Serialize)]
pub struct TagLine {
    /// Where it is, in bytes.
    pub at: u64,
    /// `audio`, `video` or `script`.
    pub kind: &'static str,
    /// What it is good for: `keyframe`, `audio sequence header`.
    pub role: &'static str,
    /// The tracks in it, if it does not have just the primary one.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub tracks: Vec<u8>,
    /// When it is decoded.
    pub timestamp_ms: u32,
    /// How much later it is shown; video frames only.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub composition_time_ms: Option<i32>,
    /// Bytes of its payload.
    pub len: usize,
    /// The codec's name.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub codec: Option<String>,
}

impl TagLine {
    /// Describes a tag that was found at byte `at`.
    pub fn new(at: u64, tag: &Tag) -> Self {
        let mut line = Self {
            at,
            kind: kind(tag.kind),
            role: role(tag),
            tracks: Vec::new(),
            timestamp_ms: tag.timestamp.as_ms(),
            composition_time_ms: None,
            len: tag.payload.len(),
            codec: None,
        };
        match tag.kind {
            TagKind::Video => line.add_video(tag),
            TagKind::Audio => line.add_audio(tag),
            TagKind::Script => {}
        }
        line
    }

    fn add_video(&mut self, tag: &Tag) {
        let Ok(header) = VideoHeader::parse(&tag.payload) else { return };
        self.codec = header.codec.map(describe::video_codec_name);
        self.composition_time_ms = header.is_frame().then(|| header.composition_time.as_ms());
        if header.multitrack.is_some() {
            self.tracks = header.tracks(&tag.payload).map(|track| track.id).collect();
        }
    }

    fn add_audio(&mut self, tag: &Tag) {
        let Ok(header) = AudioHeader::parse(&tag.payload) else { return };
        self.codec = header.codec.map(describe::audio_codec_name);
        if header.multitrack.is_some() {
            self.tracks = header.tracks(&tag.payload).map(|track| track.id).collect();
        }
    }
}

impl fmt::Display for TagLine {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { at, kind, role, timestamp_ms, len, .. } = self;
        let composition_time =
            self.composition_time_ms.map_or(String::new(), |ms| format!("{ms:+}"));
        write!(f, "{at:>10}  {kind:6}  {timestamp_ms:>10} {composition_time:>5}  {len:>8}")?;
        write!(f, "  {:5}  {role}", self.codec.as_deref().unwrap_or(""))?;
        if !self.tracks.is_empty() {
            write!(f, ", tracks {:?}", self.tracks)?;
        }
        Ok(())
    }
}

fn kind(kind: TagKind) -> &'static str {
    match kind {
        TagKind::Audio => "audio",
        TagKind::Video => "video",
        TagKind::Script => "script",
    }
}

fn role(tag: &Tag) -> &'static str {
    match tag.role() {
        _ if tag.payload.is_empty() => "empty",
        TagRole::Metadata => "metadata",
        TagRole::VideoSequenceHeader(_) => "video sequence header",
        TagRole::AudioSequenceHeader(_) => "audio sequence header",
        TagRole::VideoMetadata(_) => "video metadata",
        TagRole::AudioMultichannelConfig(_) => "multichannel config",
        TagRole::Keyframe => "keyframe",
        TagRole::InterFrame { disposable: false } => "inter frame",
        TagRole::InterFrame { disposable: true } => "disposable inter frame",
        TagRole::SecondaryFrame => "frame of another track",
        TagRole::AudioFrame => "audio frame",
        TagRole::EndOfSequence => "end of sequence",
        TagRole::Other => other(tag),
    }
}

fn other(tag: &Tag) -> &'static str {
    match tag.kind {
        TagKind::Script => "script data",
        TagKind::Video => match VideoHeader::parse(&tag.payload) {
            Err(_) => "unreadable",
            Ok(header) if header.packet_type == VideoPacketType::Command => "command",
            Ok(_) => "other",
        },
        TagKind::Audio => match AudioHeader::parse(&tag.payload) {
            Err(_) => "unreadable",
            Ok(header) if header.packet_type == AudioPacketType::CodedFrames => "empty frame",
            Ok(_) => "other",
        },
    }
}
