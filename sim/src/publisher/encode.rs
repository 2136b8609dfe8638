//! ChunkWriter: messages to chunks, with the header compression of OBS (librtmp's).

use std::collections::BTreeMap;

use crate::landmark::Landmark;

/// What a message says of itself.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Header {
    /// The chunk stream it goes on.
    pub csid: u32,
    /// What it is.
    pub type_id: u8,
    /// The message stream it belongs to.
    pub stream_id: u32,
    /// Milliseconds, modulo 2^32.
    pub timestamp_ms: u32,
}

/// Writes messages as chunks.
pub struct ChunkWriter {
    chunk_size: usize,
    /// Whether type 3 chunks repeat an extended timestamp.
    extended_on_type_3: bool,
    streams: BTreeMap<u32, Previous>,
    /// Of what was written since they were taken, by its place in the output.
    landmarks: Vec<Landmark>,
}

struct Previous {
    header: Header,
    len: usize,
}

/// A message being written, chunk by chunk.
pub struct Outgoing<'a> {
    csid: u32,
    /// The type of the next chunk's header, and of all but the first.
    fmt: u8,
    is_extended: bool,
    extended_on_type_3: bool,
    /// The header of the next chunk.
    header: Vec<u8>,
    /// The header of all chunks but the first.
    type_3: Vec<u8>,
    rest: &'a [u8],
    done: bool,
}

const MARK: u32 = 0xFF_FFFF;

fn basic_header(fmt: u8, csid: u32, out: &mut Vec<u8>) {
    let fmt = fmt << 6;
    match csid {
        0..64 => out.push(fmt | csid as u8),
        64..320 => out.extend([fmt, (csid - 64) as u8]),
        _ => {
            out.push(fmt | 1);
            out.extend(((csid - 64) as u16).to_le_bytes());
        }
    }
}

impl ChunkWriter {
    /// Chunks of 128 bytes.
    pub fn new() -> Self {
        Self {
            chunk_size: 128,
            extended_on_type_3: true,
            streams: BTreeMap::new(),
            landmarks: Vec::new(),
        }
    }

    /// The other convention: type 3 chunks have no extended timestamp.
    pub fn without_extended_on_type_3(mut self) -> Self {
        self.extended_on_type_3 = false;
        self
    }

    /// Bytes of payload in a chunk, at most.
    pub fn chunk_size(&self) -> usize {
        self.chunk_size
    }

    /// Appends Set Chunk Size, and obeys it.
    pub fn write_chunk_size(&mut self, chunk_size: u32, out: &mut Vec<u8>) {
        self.write_control(1, &chunk_size.to_be_bytes(), out);
        self.chunk_size = chunk_size as usize;
    }

    /// Appends a protocol control or user control message. Always with a full header: it may come
    /// anywhere.
    pub fn write_control(&mut self, type_id: u8, payload: &[u8], out: &mut Vec<u8>) {
        self.streams.remove(&2);
        self.write(Header { csid: 2, type_id, stream_id: 0, timestamp_ms: 0 }, payload, out);
    }

    /// Appends a message.
    pub fn write(&mut self, header: Header, payload: &[u8], out: &mut Vec<u8>) {
        let mut outgoing = self.begin(header, payload);
        while !outgoing.is_done() {
            self.landmarks.push(outgoing.write_chunk(self.chunk_size, out));
        }
    }

    /// Notes a place in the output.
    pub fn note(&mut self, landmark: Landmark) {
        self.landmarks.push(landmark);
    }

    /// Places in the output since the last call, which has to be whenever the output is taken.
    pub fn take_landmarks(&mut self) -> Vec<Landmark> {
        std::mem::take(&mut self.landmarks)
    }

    /// The next message on this chunk stream gets a full header.
    pub fn forget(&mut self, csid: u32) {
        self.streams.remove(&csid);
    }

    /// Begins a message whose chunks are written one by one. Nothing else may be begun on its
    /// chunk stream until it is done.
    pub fn begin<'a>(&mut self, header: Header, payload: &'a [u8]) -> Outgoing<'a> {
        let len = payload.len();
        let previous = self.streams.insert(header.csid, Previous { header, len });
        let relative = previous.filter(|previous| {
            // Time that goes back fits no delta.
            let step = header.timestamp_ms.wrapping_sub(previous.header.timestamp_ms);
            previous.header.stream_id == header.stream_id && step < 1 << 31
        });
        let (fmt, time) = match relative {
            None => (0, header.timestamp_ms),
            Some(Previous { header: before, len: len_before }) => {
                let same = before.type_id == header.type_id && len_before == len;
                let step = header.timestamp_ms.wrapping_sub(before.timestamp_ms);
                (if same { 2 } else { 1 }, step)
            }
        };
        let mut first = Vec::with_capacity(18);
        basic_header(fmt, header.csid, &mut first);
        first.extend(&time.min(MARK).to_be_bytes()[1..]);
        if fmt < 2 {
            first.extend(&(len as u32).to_be_bytes()[1..]);
            first.push(header.type_id);
        }
        if fmt == 0 {
            first.extend(header.stream_id.to_le_bytes());
        }
        let mut type_3 = Vec::with_capacity(7);
        basic_header(3, header.csid, &mut type_3);
        if time >= MARK {
            first.extend(time.to_be_bytes());
            if self.extended_on_type_3 {
                type_3.extend(time.to_be_bytes());
            }
        }
        Outgoing {
            csid: header.csid,
            fmt,
            is_extended: time >= MARK,
            extended_on_type_3: self.extended_on_type_3,
            header: first,
            type_3,
            rest: payload,
            done: false,
        }
    }
}

impl Default for ChunkWriter {
    fn default() -> Self {
        Self::new()
    }
}

impl Outgoing<'_> {
    /// Whether all of it was written.
    pub fn is_done(&self) -> bool {
        self.done
    }

    /// The chunk stream it is on.
    pub fn csid(&self) -> u32 {
        self.csid
    }

    /// Appends the next chunk. Says where its header is.
    pub fn write_chunk(&mut self, chunk_size: usize, out: &mut Vec<u8>) -> Landmark {
        let landmark = Landmark::Header {
            fmt: self.fmt,
            start: out.len() as u64,
            len: self.header.len() as u8,
            is_extended: self.is_extended,
        };
        let (chunk, rest) = self.rest.split_at(self.rest.len().min(chunk_size));
        out.extend_from_slice(&self.header);
        out.extend_from_slice(chunk);
        self.header.clone_from(&self.type_3);
        self.rest = rest;
        self.done = rest.is_empty();
        self.fmt = 3;
        self.is_extended &= self.extended_on_type_3;
        landmark
    }
}
