//! ChunkWriter: messages in, chunks out, with the headers that say no more than they must.

use super::{CHUNK_SIZE_DEFAULT, EXTENDED, HEADER_LEN_MAX};
use crate::blocks::Sink;
use crate::rope::{self, Rope};
use crate::time::Timestamp;

/// Where a message belongs and when: all of a chunk header that is not the payload's length.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct MessageHeader {
    /// Chunk stream id, 2 to 65599.
    pub csid: u32,
    /// Message type id; see [`message_type`](crate::rtmp::message::message_type).
    pub type_id: u8,
    /// Message stream id.
    pub stream_id: u32,
    /// Absolute time in milliseconds.
    pub timestamp: Timestamp,
}

/// Messages in, chunks out, with the most compact headers that express them (RTMP 5.3.1.2).
pub struct ChunkWriter {
    chunk_size: u32,
    streams: Vec<WrittenStream>,
}

struct WrittenStream {
    header: MessageHeader,
    len: usize,
    /// The delta of the last header; none behind a type 0, where readers disagree what it is.
    delta: Option<u32>,
}

impl Default for ChunkWriter {
    fn default() -> Self {
        Self::new()
    }
}

impl ChunkWriter {
    /// A writer at the first byte behind the handshake: chunk size 128.
    pub fn new() -> Self {
        Self { chunk_size: CHUNK_SIZE_DEFAULT, streams: Vec::new() }
    }

    /// From the next message on. The peer must have been told before.
    pub fn set_chunk_size(&mut self, size: u32) {
        assert!(size > 0, "a chunk has at least one byte (RTMP 5.4.1)");
        self.chunk_size = size;
    }

    /// Forgets all headers, so that a reader can begin with the next message of each chunk stream.
    pub fn reset(&mut self) {
        self.streams.clear();
    }

    /// Appends a message in one piece.
    pub fn write(&mut self, header: MessageHeader, payload: &[u8], out: &mut impl Sink) {
        self.write_slices(header, payload.len(), std::iter::once(payload), out);
    }

    /// Appends a message, copying its payload.
    pub fn write_rope(&mut self, header: MessageHeader, payload: &Rope, out: &mut impl Sink) {
        rope::count_copied(payload.len());
        self.write_slices(header, payload.len(), payload.slices(), out);
    }

    /// Bytes that a message of `payload_len` bytes takes at most.
    pub fn encoded_len_max(&self, payload_len: usize) -> usize {
        let chunk_count = payload_len / self.chunk_size as usize + 1;
        payload_len + HEADER_LEN_MAX + chunk_count * (3 + 4)
    }

    fn write_slices<'a>(
        &mut self,
        header: MessageHeader,
        len: usize,
        slices: impl Iterator<Item = &'a [u8]>,
        out: &mut impl Sink,
    ) {
        assert!(len <= 0xFF_FFFF, "a message has a 24-bit length (RTMP 5.3.1.2)");
        let extended = self.begin_message(header, len, out);
        let mut room = self.chunk_size as usize;
        for mut slice in slices {
            while !slice.is_empty() {
                if room == 0 {
                    let mut continuation = HeaderBytes::basic(3, header.csid);
                    // RTMP 5.3.1.3: repeated on type 3, or players stop after 4 h 39 min.
                    extended.into_iter().for_each(|value| continuation.put(value.to_be_bytes()));
                    out.put(continuation.as_slice());
                    room = self.chunk_size as usize;
                }
                let take = slice.len().min(room);
                out.put(&slice[..take]);
                slice = &slice[take..];
                room -= take;
            }
        }
    }

    /// Writes the first chunk's header. Says which extended timestamp the others repeat.
    fn begin_message(
        &mut self,
        header: MessageHeader,
        len: usize,
        out: &mut impl Sink,
    ) -> Option<u32> {
        let MessageHeader { csid, type_id, stream_id, timestamp } = header;
        let previous = self.streams.iter_mut().find(|stream| stream.header.csid == csid);
        // A delta is unsigned and has 24 bits: behind a step back or a jump of hours, and on
        // another message stream, the absolute time is said again.
        let delta = previous.as_ref().and_then(|previous| {
            let delta = timestamp.since(previous.header.timestamp);
            let fits =
                (0..EXTENDED as i32).contains(&delta) && previous.header.stream_id == stream_id;
            fits.then_some(delta as u32)
        });
        let Some((previous, delta)) = previous.zip(delta) else {
            let ms = timestamp.as_ms();
            let extended = (ms >= EXTENDED).then_some(ms);
            let mut bytes = HeaderBytes::basic(0, csid);
            bytes.put_u24(ms.min(EXTENDED));
            bytes.put_u24(len as u32);
            bytes.put([type_id]);
            // The one little-endian field of the protocol (RTMP 5.3.1.2.5).
            bytes.put(stream_id.to_le_bytes());
            extended.into_iter().for_each(|value| bytes.put(value.to_be_bytes()));
            out.put(bytes.as_slice());
            self.streams.retain(|stream| stream.header.csid != csid);
            self.streams.push(WrittenStream { header, len, delta: None });
            return extended;
        };
        let same_message = previous.len == len && previous.header.type_id == type_id;
        let fmt = match (same_message, previous.delta == Some(delta)) {
            (true, true) => 3,
            (true, false) => 2,
            (false, _) => 1,
        };
        let mut bytes = HeaderBytes::basic(fmt, csid);
        if fmt < 3 {
            bytes.put_u24(delta);
        }
        if fmt < 2 {
            bytes.put_u24(len as u32);
            bytes.put([type_id]);
        }
        out.put(bytes.as_slice());
        *previous = WrittenStream { header, len, delta: Some(delta) };
        None
    }
}

/// A chunk header in the making.
struct HeaderBytes {
    bytes: [u8; HEADER_LEN_MAX],
    len: usize,
}

impl HeaderBytes {
    /// Begins with the smallest basic header that has room for `csid` (RTMP 5.3.1.1).
    fn basic(fmt: u8, csid: u32) -> Self {
        let mut header = Self { bytes: [0; HEADER_LEN_MAX], len: 0 };
        match csid {
            2..=63 => header.put([fmt << 6 | csid as u8]),
            64..=319 => header.put([fmt << 6, (csid - 64) as u8]),
            320..=65599 => {
                header.put([fmt << 6 | 1]);
                header.put(((csid - 64) as u16).to_le_bytes());
            }
            _ => panic!("chunk stream id {csid} is none of 2 to 65599 (RTMP 5.3.1.1)"),
        }
        header
    }

    fn put<const N: usize>(&mut self, bytes: [u8; N]) {
        self.bytes[self.len..self.len + N].copy_from_slice(&bytes);
        self.len += N;
    }

    fn put_u24(&mut self, value: u32) {
        let [_, high, middle, low] = value.to_be_bytes();
        self.put([high, middle, low]);
    }

    fn as_slice(&self) -> &[u8] {
        &self.bytes[..self.len]
    }
}
