//! Tag: what a stream is made of, in files, on the wire and in the hub.

use crate::rope::Rope;
use crate::time::Timestamp;

/// What a tag carries (FLV E.4.1).
#[derive(Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Debug)]
#[repr(u8)]
pub enum TagKind {
    /// Tag type 8.
    Audio = 8,
    /// Tag type 9.
    Video = 9,
    /// Tag type 18: a name and a value in AMF0, `onMetaData` among them.
    Script = 18,
}

/// One tag: its kind, when it is decoded, and its bytes behind the tag header.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Tag {
    /// Audio, video or script data.
    pub kind: TagKind,
    /// Decode time in milliseconds, as the publisher counts.
    pub timestamp: Timestamp,
    /// The body: codec headers and media, as received.
    pub payload: Rope,
}
