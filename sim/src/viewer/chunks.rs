//! ChunkReader: chunk streams to messages (RTMP 5.3), strict by default.

use std::collections::BTreeMap;

/// A message of a chunk stream.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Message {
    /// The chunk stream it came on.
    pub csid: u32,
    /// What it is (RTMP 5.4, 6.1, 7.1).
    pub type_id: u8,
    /// The message stream it belongs to; 0 is the connection itself.
    pub stream_id: u32,
    /// Absolute time in milliseconds, modulo 2^32.
    pub timestamp_ms: u32,
    /// The body.
    pub payload: Vec<u8>,
    /// Bytes of the connection up to its end.
    pub end: u64,
}

/// How strict a reader is: a server has to be perfect, recorded encoders are as they are.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Rules {
    /// A chunk stream may begin with a header that is relative to nothing: `rtmp2sink` does so.
    pub relative_first: bool,
    /// Type 3 chunks repeat the extended timestamp, as RTMP 5.3.1.3 demands.
    pub extended_on_type_3: bool,
}

impl Rules {
    /// What the specification says.
    pub const STRICT: Self = Self { relative_first: false, extended_on_type_3: true };
}

/// Reads chunks, however they are cut. After an error it must not be used.
pub struct ChunkReader {
    rules: Rules,
    /// Bytes of the connection taken so far.
    offset: u64,
    chunk_size: usize,
    header: Vec<u8>,
    /// The chunk stream whose chunk is being read, and what is missing of the chunk.
    body: Option<(u32, usize)>,
    streams: BTreeMap<u32, Stream>,
}

#[derive(Default)]
struct Stream {
    len: usize,
    type_id: u8,
    stream_id: u32,
    timestamp_ms: u32,
    delta_ms: u32,
    /// The extended field of the last header of types 0 to 2, if it had one.
    extended: Option<u32>,
    /// A message is begun.
    begun: bool,
    payload: Vec<u8>,
}

const MARK: u32 = 0xFF_FFFF;

fn u24([a, b, c]: [u8; 3]) -> u32 {
    u32::from_be_bytes([0, a, b, c])
}

/// What is in a header, field by field; `None` while bytes are missing.
struct Header {
    fmt: u8,
    csid: u32,
    time: u32,
    len_and_type: Option<(usize, u8)>,
    stream_id: Option<u32>,
    /// Bytes up to where an extended timestamp would be.
    len: usize,
}

impl Header {
    fn read(bytes: &[u8]) -> Option<Self> {
        let &first = bytes.first()?;
        let (fmt, low) = (first >> 6, first & 0x3F);
        let (csid, at) = match low {
            0 => (64 + u32::from(*bytes.get(1)?), 2),
            1 => (64 + u32::from(u16::from_le_bytes([*bytes.get(1)?, *bytes.get(2)?])), 3),
            low => (low.into(), 1),
        };
        let len = at + [11, 7, 3, 0][usize::from(fmt)];
        let fields = bytes.get(at..len)?;
        let time = fields.first_chunk().map_or(0, |&time| u24(time));
        let len_and_type = match fields {
            [_, _, _, a, b, c, type_id, ..] => Some((u24([*a, *b, *c]) as usize, *type_id)),
            _ => None,
        };
        let stream_id = fields.get(7..).and_then(|id| id.first_chunk().copied());
        let stream_id = stream_id.map(u32::from_le_bytes);
        Some(Self { fmt, csid, time, len_and_type, stream_id, len })
    }
}

impl ChunkReader {
    /// A reader of what begins at this byte of the connection: behind the handshake.
    pub fn new(offset: u64, rules: Rules) -> Self {
        let streams = BTreeMap::new();
        Self { rules, offset, chunk_size: 128, header: Vec::with_capacity(18), body: None, streams }
    }

    /// Whether a header or a message has come in part.
    pub fn is_partial(&self) -> bool {
        self.body.is_some()
            || !self.header.is_empty()
            || self.streams.values().any(|stream| stream.begun)
    }

    /// Takes bytes from the front of `input` up to the end of the next message. `Ok(None)`: all of
    /// it was taken, and no message is complete. Set Chunk Size and Abort have been obeyed when
    /// they are returned.
    ///
    /// # Errors
    ///
    /// What breaks the protocol: `byte N: why`.
    pub fn read(&mut self, input: &mut &[u8]) -> Result<Option<Message>, String> {
        loop {
            if let Some((csid, left)) = self.body {
                let taken = left.min(input.len());
                let (bytes, rest) = input.split_at(taken);
                *input = rest;
                self.offset += taken as u64;
                let stream = self.streams.entry(csid).or_default();
                stream.payload.extend_from_slice(bytes);
                if taken < left {
                    self.body = Some((csid, left - taken));
                    return Ok(None);
                }
                self.body = None;
                if stream.payload.len() == stream.len {
                    stream.begun = false;
                    let message = Message {
                        csid,
                        type_id: stream.type_id,
                        stream_id: stream.stream_id,
                        timestamp_ms: stream.timestamp_ms,
                        payload: std::mem::take(&mut stream.payload),
                        end: self.offset,
                    };
                    self.obey(&message).map_err(|why| format!("byte {}: {why}", self.offset))?;
                    return Ok(Some(message));
                }
            } else {
                let Some((&byte, rest)) = input.split_first() else { return Ok(None) };
                *input = rest;
                self.header.push(byte);
                self.offset += 1;
                let at = self.offset - self.header.len() as u64;
                self.body = self.begin_chunk().map_err(|why| format!("byte {at}: {why}"))?;
            }
        }
    }

    /// The chunk stream and the length of the chunk whose header is complete.
    fn begin_chunk(&mut self) -> Result<Option<(u32, usize)>, String> {
        let Some(header) = Header::read(&self.header) else { return Ok(None) };
        let csid = header.csid;
        let known = self.streams.get(&csid);
        let has_extended = match header.fmt {
            3 => {
                self.rules.extended_on_type_3
                    && known.is_some_and(|stream| stream.extended.is_some())
            }
            _ => header.time == MARK,
        };
        let mut extended = None;
        if has_extended {
            let Some(field) = self.header.get(header.len..header.len + 4) else { return Ok(None) };
            extended = field.first_chunk().map(|&field| u32::from_be_bytes(field));
        }
        self.header.clear();
        if known.is_none() && header.fmt != 0 && !(self.rules.relative_first && header.fmt == 1) {
            return Err(format!("chunk stream {csid} begins with type {}", header.fmt));
        }
        let stream = self.streams.entry(csid).or_default();
        if stream.begun && header.fmt != 3 {
            let (has, len) = (stream.payload.len(), stream.len);
            return Err(format!("chunk stream {csid}: a new message after {has} of {len} bytes"));
        }
        if header.fmt == 3 && has_extended && extended != stream.extended {
            let (is, was) = (extended.unwrap_or(0), stream.extended.unwrap_or(0));
            return Err(format!("chunk stream {csid}: extended timestamp {is}, not {was} again"));
        }
        stream.update(&header, extended);
        let left = stream.len - stream.payload.len();
        Ok(Some((csid, left.min(self.chunk_size))))
    }

    /// What changes how chunks are read.
    fn obey(&mut self, message: &Message) -> Result<(), String> {
        if !matches!(message.type_id, 1 | 2) {
            return Ok(());
        }
        let Ok(field) = <[u8; 4]>::try_from(&message.payload[..]) else {
            let (type_id, len) = (message.type_id, message.payload.len());
            return Err(format!("message of type {type_id} has {len} bytes"));
        };
        let value = u32::from_be_bytes(field);
        match message.type_id {
            1 if value == 0 || value >> 31 != 0 => return Err(format!("chunk size {value}")),
            1 => self.chunk_size = value as usize,
            _ => {
                if let Some(stream) = self.streams.get_mut(&value) {
                    stream.begun = false;
                    stream.payload.clear();
                }
            }
        }
        Ok(())
    }
}

impl Stream {
    fn update(&mut self, header: &Header, extended: Option<u32>) {
        let begins = !self.begun;
        if let Some((len, type_id)) = header.len_and_type {
            (self.len, self.type_id) = (len, type_id);
        }
        self.stream_id = header.stream_id.unwrap_or(self.stream_id);
        if header.fmt < 3 {
            self.extended = extended;
            self.delta_ms = extended.unwrap_or(header.time);
        }
        if begins {
            // RTMP 5.3.1.2.4: behind a type 0 header, a type 3 header advances by its timestamp.
            self.timestamp_ms = match header.fmt {
                0 => self.delta_ms,
                _ => self.timestamp_ms.wrapping_add(self.delta_ms),
            };
            self.begun = true;
            self.payload.reserve(self.len);
        }
    }
}
