//! WireLog: a topic's stream as one protocol's bytes; a viewer is a position in it.
//!
//! Viewers of one protocol receive the same bytes, so they are encoded once. Encoding copies each
//! payload once, into blocks that are used again; a viewer's write is then a few slices of the log,
//! however many tags they hold, and nothing is computed or copied for it.

use std::collections::VecDeque;

use bytes::Bytes;

use crate::blocks::{BlockCounters, BlockLimits, BlockPool, Sink};
use crate::flv::{Tag, TagKind, file};
use crate::rope;
use crate::rtmp::chunk::{ChunkWriter, MessageHeader};
use crate::rtmp::message::message_type;
use crate::time::Timestamp;

/// What a stream can be encoded as.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug)]
pub enum Protocol {
    /// RTMP chunks, behind [`Encoder::RTMP_CHUNK_SIZE`] was announced.
    Rtmp,
    /// FLV tags, behind the file header.
    Flv,
}

impl Protocol {
    /// All of them.
    pub const ALL: [Self; 2] = [Self::Rtmp, Self::Flv];
}

/// Tags to the bytes of one protocol.
pub struct Encoder {
    protocol: Protocol,
    chunks: ChunkWriter,
    stream_id: u32,
}

impl Encoder {
    /// The chunk size of all RTMP that viewers get, in bytes: most tags are one chunk.
    pub const RTMP_CHUNK_SIZE: u32 = 65536;

    /// The message stream that most players create first; the log is written for it.
    pub const RTMP_STREAM_ID: u32 = 1;

    /// An encoder at a point where a reader may begin. `stream_id` is for RTMP only.
    pub fn new(protocol: Protocol, stream_id: u32) -> Self {
        let mut chunks = ChunkWriter::new();
        chunks.set_chunk_size(Self::RTMP_CHUNK_SIZE);
        Self { protocol, chunks, stream_id }
    }

    /// The next tag can be read without any before it.
    pub fn reset(&mut self) {
        self.chunks.reset();
    }

    /// Appends a tag.
    pub fn encode(&mut self, tag: &Tag, out: &mut impl Sink) {
        self.encode_at(tag, tag.timestamp, out);
    }

    /// Appends a tag as if it had another timestamp.
    pub fn encode_at(&mut self, tag: &Tag, timestamp: Timestamp, out: &mut impl Sink) {
        match self.protocol {
            Protocol::Rtmp => {
                let type_id = match tag.kind {
                    TagKind::Audio => message_type::AUDIO,
                    TagKind::Video => message_type::VIDEO,
                    TagKind::Script => message_type::DATA_AMF0,
                };
                let csid = csid(self.stream_id, tag.kind);
                let header = MessageHeader { csid, type_id, stream_id: self.stream_id, timestamp };
                self.chunks.write_rope(header, &tag.payload, out);
            }
            Protocol::Flv => {
                let len = tag.payload.len();
                out.put(&file::tag_header(tag.kind, len, timestamp));
                rope::count_copied(len);
                tag.payload.slices().for_each(|slice| out.put(slice));
                out.put(&file::previous_tag_size(len));
            }
        }
    }
}

/// The chunk stream of a kind of media on a message stream. A connection may play several streams,
/// whose headers are compressed without knowing of each other, so each has its own three.
fn csid(stream_id: u32, kind: TagKind) -> u32 {
    let index = match kind {
        TagKind::Audio => 0,
        TagKind::Video => 1,
        TagKind::Script => 2,
    };
    match stream_id {
        0 | Encoder::RTMP_STREAM_ID => 4 + 2 * index,
        other => CSID_OTHER_MIN + (other - 2) % CSID_OTHER_COUNT * 3 + index,
    }
}

/// Behind those of the first message stream.
const CSID_OTHER_MIN: u32 = 9;
/// As many message streams as have room up to the highest chunk stream id (RTMP 5.3.1.1).
const CSID_OTHER_COUNT: u32 = (65_599 - CSID_OTHER_MIN + 1) / 3;

/// A protocol's encoded stream, parallel to the ring: tag by tag the same numbers.
pub(crate) struct WireLog {
    encoder: Encoder,
    out: LogBlocks,
    /// Where each tag ends, in bytes since the log began.
    ends: VecDeque<u64>,
    /// Number of the oldest tag.
    first: u64,
    /// Where the oldest tag starts.
    start: u64,
    /// Tags before this number are flushed.
    flushed: u64,
}

/// The encoded bytes: a segment is what was encoded between two flushes, in one piece unless it
/// crossed the end of a block.
struct LogBlocks {
    pool: BlockPool,
    segments: VecDeque<Segment>,
    /// Offset behind the last segment.
    flushed_end: u64,
    /// Offset behind the last byte encoded.
    end: u64,
}

struct Segment {
    start: u64,
    bytes: Bytes,
}

impl Sink for LogBlocks {
    fn put(&mut self, mut bytes: &[u8]) {
        while !bytes.is_empty() {
            if self.pool.room() == 0 {
                self.flush();
            }
            let take = self.pool.append(bytes);
            self.end += take as u64;
            bytes = &bytes[take..];
        }
    }
}

impl LogBlocks {
    fn flush(&mut self) {
        let bytes = self.pool.take_received();
        if !bytes.is_empty() {
            let start = self.flushed_end;
            self.flushed_end += bytes.len() as u64;
            self.segments.push_back(Segment { start, bytes });
        }
    }
}

impl WireLog {
    /// A log that begins with tag `first`.
    pub(crate) fn new(protocol: Protocol, first: u64) -> Self {
        let limits = BlockLimits { first_block_len: 64 << 10, ..BlockLimits::default() };
        Self {
            encoder: Encoder::new(protocol, Encoder::RTMP_STREAM_ID),
            out: LogBlocks {
                pool: BlockPool::new(limits),
                segments: VecDeque::new(),
                flushed_end: 0,
                end: 0,
            },
            ends: VecDeque::new(),
            first,
            start: 0,
            flushed: first,
        }
    }

    /// Appends the next tag; `None` if nobody could decode it, so that it takes a number and no
    /// bytes. A reader may begin with it if `is_entry`.
    pub(crate) fn append(&mut self, tag: Option<&Tag>, is_entry: bool) {
        if is_entry {
            self.encoder.reset();
        }
        if let Some(tag) = tag {
            self.encoder.encode(tag, &mut self.out);
        }
        self.ends.push_back(self.out.end);
    }

    /// Shows viewers what was appended.
    pub(crate) fn flush(&mut self) {
        self.out.flush();
        self.flushed = self.first + self.ends.len() as u64;
    }

    /// Drops all tags before `first`.
    pub(crate) fn trim(&mut self, first: u64) {
        while self.first < first {
            let Some(end) = self.ends.pop_front() else { break };
            (self.start, self.first) = (end, self.first + 1);
        }
        while let Some(segment) = self.out.segments.front()
            && segment.start + segment.bytes.len() as u64 <= self.start
        {
            self.out.segments.pop_front();
        }
    }

    /// Number of the oldest tag.
    pub(crate) fn first(&self) -> u64 {
        self.first
    }

    /// Where tag `number` starts.
    pub(crate) fn start_of(&self, number: u64) -> u64 {
        match number.checked_sub(self.first + 1) {
            None => self.start,
            Some(index) => self.ends.get(index as usize).copied().unwrap_or(self.out.end),
        }
    }

    /// Ends of the tags from `number` on that viewers may see.
    pub(crate) fn ends_from(&self, number: u64) -> impl Iterator<Item = u64> {
        let (from, to) = (number - self.first, self.flushed - self.first);
        self.ends.range(from as usize..to as usize).copied()
    }

    /// The bytes between two offsets, as slices of the log.
    pub(crate) fn slices(&self, from: u64, to: u64) -> impl Iterator<Item = Bytes> {
        let index = self
            .out
            .segments
            .partition_point(|segment| segment.start + segment.bytes.len() as u64 <= from);
        self.out.segments.range(index..).take_while(move |segment| segment.start < to).map(
            move |segment| {
                let start = from.saturating_sub(segment.start) as usize;
                let end = ((to - segment.start) as usize).min(segment.bytes.len());
                segment.bytes.slice(start..end)
            },
        )
    }

    /// What its blocks hold.
    pub(crate) fn counters(&mut self) -> BlockCounters {
        self.out.pool.counters()
    }
}
