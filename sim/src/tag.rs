//! TagSeen: what a judge keeps of a tag. Whether it may be lost, and what it needs, is read from
//! its bytes by code of our own: nothing here comes from the core.

use std::fmt;

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

impl fmt::Display for TagSeen {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { kind, role, timestamp_ms, len, digest, .. } = self;
        write!(f, "{kind:?} {role:?} at {timestamp_ms} ms, {len} bytes, {digest:016x}")
    }
}
