//! Recording: the bytes of one file, from its first tag to its last.

use bytes::{BufMut, Bytes, BytesMut};

use super::head::{self, HEAD_LEN, RECORDS_AT, Record};
use super::summary::Summary;
use crate::flv::Tag;
use crate::flv::file::{
    PREVIOUS_TAG_SIZE_LEN, TAG_HEADER_LEN, file_payload, previous_tag_size, tag_header,
};
use crate::time::Timestamp;

/// An encoder's clock that steps back by less was only not sorted.
const STEP_BACK_MS_MAX: i32 = 1_000;

/// A file that grows.
///
/// Its time begins at zero with its first frame (FLV E.4.1), so that a player of the third hour
/// does not wait for two.
pub(super) struct Recording {
    summary: Summary,
    /// Bytes of the file with what is gathered.
    len: u64,
    crc: crc32fast::Hasher,
    /// The publisher's time that is zero here; there is none before the first frame.
    base: Option<Timestamp>,
    last: Timestamp,
    clock_stepped_back: bool,
    gathered: Vec<Bytes>,
    gathered_len: usize,
    /// Payload bytes of the last tag, whose size still has to be said behind it.
    unsaid: Option<usize>,
    /// Where headers are made: one allocation for many tags.
    frames: BytesMut,
    /// Which record is written next.
    next_record: usize,
}

/// Bytes of headers that one allocation is for.
const FRAMES_LEN: usize = 4096;
const FRAME_LEN: usize = PREVIOUS_TAG_SIZE_LEN + TAG_HEADER_LEN;

impl Recording {
    pub(super) fn new() -> Self {
        Self {
            summary: Summary::default(),
            len: HEAD_LEN as u64,
            crc: crc32fast::Hasher::new(),
            base: None,
            last: Timestamp::ZERO,
            clock_stepped_back: false,
            gathered: vec![head::unfinished()],
            gathered_len: HEAD_LEN,
            unsaid: None,
            frames: BytesMut::new(),
            next_record: 0,
        }
    }

    /// One more tag. Its payload is not copied: the slices are.
    pub(super) fn push(&mut self, tag: &Tag, is_frame: bool) {
        if is_frame && self.base.is_none() {
            self.base = Some(tag.timestamp);
        }
        if self.base.is_some() {
            self.clock_stepped_back |= tag.timestamp.since(self.last) < -STEP_BACK_MS_MAX;
        }
        self.last = tag.timestamp;
        let payload = file_payload(tag);
        let tag = Tag { kind: tag.kind, timestamp: self.shifted(tag.timestamp), payload };

        if self.frames.capacity() < FRAME_LEN {
            self.frames = BytesMut::with_capacity(FRAMES_LEN);
        }
        self.say_size();
        self.summary.add(self.len + self.frames.len() as u64, &tag);
        self.frames.put_slice(&tag_header(tag.kind, tag.payload.len(), tag.timestamp));
        self.gather_frame();
        tag.payload.owned_slices().for_each(|slice| self.gather(slice));
        self.unsaid = Some(tag.payload.len());
    }

    /// The time of a tag in this file. What comes late before the first frame comes with it.
    fn shifted(&self, timestamp: Timestamp) -> Timestamp {
        let ms = self.base.map_or(0, |base| timestamp.since(base).max(0));
        Timestamp::from_ms(ms.unsigned_abs())
    }

    fn say_size(&mut self) {
        if let Some(payload_len) = self.unsaid.take() {
            self.frames.put_slice(&previous_tag_size(payload_len));
        }
    }

    fn gather_frame(&mut self) {
        if !self.frames.is_empty() {
            let frame = self.frames.split().freeze();
            self.gather(frame);
        }
    }

    fn gather(&mut self, slice: Bytes) {
        self.crc.update(&slice);
        self.len += slice.len() as u64;
        self.gathered_len += slice.len();
        self.gathered.push(slice);
    }

    /// What was gathered, to be written behind the rest. Ends with a whole tag.
    pub(super) fn take_gathered(&mut self) -> Vec<Bytes> {
        self.say_size();
        self.gather_frame();
        self.gathered_len = 0;
        std::mem::take(&mut self.gathered)
    }

    pub(super) fn has_gathered(&self) -> bool {
        self.gathered_len > 0
    }

    pub(super) fn gathered_len(&self) -> usize {
        self.gathered_len
    }

    /// After [`take_gathered`](Self::take_gathered): how far the file is sound, and where to write
    /// it so that the record before it stays.
    pub(super) fn record(&mut self) -> (u64, Bytes) {
        let at = RECORDS_AT[self.next_record];
        self.next_record = (self.next_record + 1) % RECORDS_AT.len();
        (at, Bytes::copy_from_slice(&self.whole().to_bytes()))
    }

    fn whole(&self) -> Record {
        Record { len: self.len, crc: self.crc.clone().finalize() }
    }

    /// The head of the file if it ends here.
    pub(super) fn finished_head(&self) -> Bytes {
        head::finished(&self.summary, self.whole())
    }

    /// Milliseconds of sound and pictures.
    pub(super) fn duration_ms(&self) -> u64 {
        self.summary.last_ms.into()
    }

    pub(super) fn len(&self) -> u64 {
        self.len
    }

    /// Whether the publisher's time went back, which players of a file take badly.
    pub(super) fn clock_stepped_back(&self) -> bool {
        self.clock_stepped_back
    }

    /// The publisher's time of the last tag.
    pub(super) fn last_timestamp(&self) -> Timestamp {
        self.last
    }
}
