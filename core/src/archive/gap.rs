//! The record of a gap: script data that says what is missing where it stands.

use bytes::BytesMut;

use crate::amf0;
use crate::flv::{Tag, TagKind};
use crate::time::Timestamp;

/// Tags that are in no file.
#[derive(Clone, Copy, Default, PartialEq, Eq, Debug)]
pub struct Gap {
    /// How many.
    pub tags: u64,
    /// Their payload bytes.
    pub bytes: u64,
}

impl Gap {
    pub(super) fn add(&mut self, tags: u64, bytes: u64) {
        self.tags += tags;
        self.bytes += bytes;
    }

    /// `onGap`, as a tag.
    pub(super) fn to_tag(self, timestamp: Timestamp, ms: u32) -> Tag {
        let mut out = BytesMut::new();
        amf0::write_string("onGap", &mut out);
        amf0::begin_ecma_array(3, &mut out);
        let (tags, bytes) = (self.tags as f64, self.bytes as f64);
        for (key, value) in [("tags", tags), ("bytes", bytes), ("milliseconds", ms.into())] {
            amf0::write_key(key, &mut out);
            amf0::write_number(value, &mut out);
        }
        amf0::end_object(&mut out);
        Tag { kind: TagKind::Script, timestamp, payload: out.freeze().into() }
    }
}
