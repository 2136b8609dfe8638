//! Message: types 1 to 22; an audio, video or data message becomes a Tag.

use smallvec::SmallVec;

use crate::flv::{Tag, TagKind};
use crate::rope::Rope;
use crate::time::Timestamp;

/// Message type ids (RTMP 5.4, 6.1, 7.1).
#[allow(missing_docs, reason = "the specification's names")]
pub mod message_type {
    pub const SET_CHUNK_SIZE: u8 = 1;
    pub const ABORT: u8 = 2;
    pub const ACKNOWLEDGEMENT: u8 = 3;
    pub const USER_CONTROL: u8 = 4;
    pub const WINDOW_ACKNOWLEDGEMENT_SIZE: u8 = 5;
    pub const SET_PEER_BANDWIDTH: u8 = 6;
    pub const AUDIO: u8 = 8;
    pub const VIDEO: u8 = 9;
    pub const DATA_AMF3: u8 = 15;
    pub const COMMAND_AMF3: u8 = 17;
    pub const DATA_AMF0: u8 = 18;
    pub const COMMAND_AMF0: u8 = 20;
    pub const AGGREGATE: u8 = 22;
}

/// One message of a chunk stream.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Message {
    /// The chunk stream it came on.
    pub csid: u32,
    /// What it is; see [`message_type`].
    pub type_id: u8,
    /// The message stream it belongs to; 0 is the connection itself.
    pub stream_id: u32,
    /// Absolute time in milliseconds.
    pub timestamp: Timestamp,
    /// The body.
    pub payload: Rope,
}

/// Parts that an aggregate message may have. Adobe's server puts some hundred milliseconds in one;
/// a message full of empty parts would become half a million tags.
const AGGREGATE_PARTS_MAX: usize = 4096;

/// An aggregate message whose parts do not add up.
#[derive(Debug, thiserror::Error, PartialEq, Eq)]
pub enum AggregateError {
    /// The last part is longer than what is left.
    #[error("aggregate message of {len} bytes ends inside the part at byte {at}")]
    PastEnd {
        /// Length of the aggregate's body.
        len: usize,
        /// Where the part begins that does not fit.
        at: usize,
    },
    /// Over the limit, which is fixed.
    #[error("aggregate message of more than {max} parts")]
    TooManyParts {
        /// The limit.
        max: usize,
    },
}

impl Message {
    /// The tags of this message: one for audio, video and data, several for an aggregate, none for
    /// anything else.
    pub fn into_tags(self) -> Result<SmallVec<[Tag; 1]>, AggregateError> {
        let kind = match self.type_id {
            message_type::AUDIO => TagKind::Audio,
            message_type::VIDEO => TagKind::Video,
            message_type::DATA_AMF0 => TagKind::Script,
            message_type::DATA_AMF3 => {
                // AMF3 data begins with a format byte; encoders send AMF0 behind it.
                let len = self.payload.len();
                let payload = self.payload.slice(1.min(len)..len);
                return Ok(SmallVec::from_buf([Tag {
                    kind: TagKind::Script,
                    timestamp: self.timestamp,
                    payload,
                }]));
            }
            message_type::AGGREGATE => return self.split(),
            _ => return Ok(SmallVec::new()),
        };
        Ok(SmallVec::from_buf([Tag { kind, timestamp: self.timestamp, payload: self.payload }]))
    }

    /// RTMP 7.1.6: each part is an FLV tag with its back pointer, and all times are shifted so
    /// that the first part has the aggregate's.
    fn split(self) -> Result<SmallVec<[Tag; 1]>, AggregateError> {
        // In one piece, or finding each part would walk over all chunks before it.
        let payload = Rope::from(self.payload.to_bytes());
        let len = payload.len();
        let mut tags = SmallVec::new();
        let mut first = None;
        let (mut at, mut part_count) = (0, 0);
        while at < len {
            part_count += 1;
            if part_count > AGGREGATE_PARTS_MAX {
                return Err(AggregateError::TooManyParts { max: AGGREGATE_PARTS_MAX });
            }
            let mut header = [0; 11];
            let whole_header = payload.read_at(at, &mut header) == header.len();
            let [kind, len_2, len_1, len_0, ms_2, ms_1, ms_0, ms_3, ..] = header;
            let start = at + header.len();
            let end = start + u32::from_be_bytes([0, len_2, len_1, len_0]) as usize;
            if !whole_header || end > len {
                return Err(AggregateError::PastEnd { len, at });
            }
            let time = Timestamp::from_ms(u32::from_be_bytes([ms_3, ms_2, ms_1, ms_0]));
            let since_first = time.since(*first.get_or_insert(time)) as u32;
            let kind = match kind {
                message_type::AUDIO => Some(TagKind::Audio),
                message_type::VIDEO => Some(TagKind::Video),
                message_type::DATA_AMF0 => Some(TagKind::Script),
                _ => None,
            };
            tags.extend(kind.map(|kind| Tag {
                kind,
                timestamp: self.timestamp.plus_ms(since_first),
                payload: payload.slice(start..end),
            }));
            // The last back pointer is missing in some encoders' aggregates.
            at = end + 4;
        }
        Ok(tags)
    }
}
