//! TagSeen: what a judge keeps of a tag. Whether it may be lost, and what it needs, is read from
//! its bytes by code of our own: nothing here comes from the core.

mod header;

use std::fmt;

use xxhash_rust::xxh3::xxh3_64;

/// A tag as a peer or a witness saw it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct TagSeen {
    /// Audio, video or script data.
    pub kind: Kind,
    /// What it is for.
    pub role: Role,
    /// FourCC of its codec; `avc1` and `mp4a` for the legacy codecs 7 and 10, `----` for script
    /// data and whatever cannot be read.
    pub codec: [u8; 4],
    /// Milliseconds, modulo 2^32.
    pub timestamp_ms: u32,
    /// Bytes of payload.
    pub len: u32,
    /// Digest of the payload (XXH3, 64 bits).
    pub digest: u64,
}

/// What kind of tag.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Kind {
    /// FLV type 8.
    Audio,
    /// FLV type 9.
    Video,
    /// FLV type 18.
    Script,
}

/// What a tag is for.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Role {
    /// `onMetaData` and other script data.
    Script,
    /// Decoder configuration of audio or video: a sequence header.
    Header,
    /// A picture that a decoder can start with.
    Keyframe,
    /// A picture that needs others, and that others may need.
    Inter,
    /// A picture that needs others and that no other needs.
    Disposable,
    /// Coded sound.
    Sound,
    /// End of sequence, metadata of a codec, commands, empty payloads, what cannot be read: no
    /// coded media.
    Other,
}

impl Role {
    /// A coded picture.
    pub fn is_picture(self) -> bool {
        matches!(self, Self::Keyframe | Self::Inter | Self::Disposable)
    }
}

/// The AMF0 string `@setDataFrame`: what encoders put in front of metadata, and servers remove.
pub const SET_DATA_FRAME: &[u8; 16] = b"\x02\x00\x0d@setDataFrame";

impl TagSeen {
    /// What a judge keeps of this tag.
    ///
    /// Script data are seen without `@setDataFrame`, so that what an encoder sends and what a
    /// player gets are equal.
    pub fn of(kind: Kind, timestamp_ms: u32, payload: &[u8]) -> Self {
        let payload = match kind {
            Kind::Script => payload.strip_prefix(&SET_DATA_FRAME[..]).unwrap_or(payload),
            Kind::Audio | Kind::Video => payload,
        };
        let (role, codec) = role_and_codec(kind, payload);
        let (len, digest) = (payload.len() as u32, xxh3_64(payload));
        Self { kind, role, codec, timestamp_ms, len, digest }
    }
}

/// What a payload is for, and its codec, without looking at all of it.
pub fn role_and_codec(kind: Kind, payload: &[u8]) -> (Role, [u8; 4]) {
    match kind {
        Kind::Audio => header::audio(payload),
        Kind::Video => header::video(payload),
        Kind::Script => (Role::Script, header::NO_CODEC),
    }
}

impl Kind {
    /// FLV's tag type, which is also RTMP's message type.
    pub fn type_id(self) -> u8 {
        match self {
            Self::Audio => 8,
            Self::Video => 9,
            Self::Script => 18,
        }
    }

    /// The kind behind an FLV tag type.
    pub fn of_type(type_id: u8) -> Option<Self> {
        match type_id {
            8 => Some(Self::Audio),
            9 => Some(Self::Video),
            18 => Some(Self::Script),
            _ => None,
        }
    }
}

impl fmt::Display for TagSeen {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { kind, role, timestamp_ms, len, digest, .. } = self;
        write!(f, "{kind:?} {role:?} at {timestamp_ms} ms, {len} bytes, {digest:016x}")
    }
}
