//! ChunkReader, ChunkWriter: chunk streams to and from messages (RTMP 5.3).

use bytes::{Buf, Bytes};

use super::message::{Message, message_type};
use crate::blocks::Sink;
use crate::rope::{self, Rope, RopeBuilder, RopePool};
use crate::time::Timestamp;

/// The chunk size both sides begin with (RTMP 5.4.1).
const CHUNK_SIZE_DEFAULT: u32 = 128;

/// A 24-bit timestamp field of this value says that 32 more bits follow (RTMP 5.3.1.3).
const EXTENDED: u32 = 0xFF_FFFF;

/// Basic header (3), message header (11) and extended timestamp (4).
const HEADER_LEN_MAX: usize = 18;

/// Where a peer's appetite ends.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ChunkLimits {
    /// Length of one message in bytes. The largest keyframes of 8K encoders are around 4 MiB.
    pub message_len_max: usize,
    /// Chunk streams one peer may use. Encoders use three to five.
    pub chunk_streams_max: usize,
    /// Messages begun and not finished at the same time. Encoders have one, rarely two.
    pub unfinished_messages_max: usize,
    /// Bytes that unfinished messages may hold: all that was received since the oldest of them
    /// began, because a slice pins its block, and the bookkeeping of their slices.
    pub buffered_bytes_max: usize,
    /// Ropes kept for reuse, about 150 bytes each. As many as tags leave a ring at once.
    pub spare_ropes_max: usize,
}

impl Default for ChunkLimits {
    fn default() -> Self {
        Self {
            message_len_max: 8 << 20,
            chunk_streams_max: 64,
            unfinished_messages_max: 16,
            buffered_bytes_max: 24 << 20,
            spare_ropes_max: 4096,
        }
    }
}

/// What a peer's chunks violated. `offset` counts the bytes behind the handshake.
#[derive(Debug, thiserror::Error, PartialEq, Eq)]
#[allow(missing_docs, reason = "the message of each variant says it")]
pub enum ChunkError {
    #[error(
        "byte {offset}: chunk stream {csid} starts with a type {fmt} header, and there is nothing to repeat"
    )]
    NoPreviousHeader { offset: u64, csid: u32, fmt: u8 },
    #[error("byte {offset}: message of {len} bytes is over the limit of {max}")]
    MessageTooLong { offset: u64, len: usize, max: usize },
    #[error("byte {offset}: chunk stream {csid} would be one more than the limit of {max}")]
    TooManyChunkStreams { offset: u64, csid: u32, max: usize },
    #[error("byte {offset}: one more unfinished message than the limit of {max}")]
    TooManyUnfinishedMessages { offset: u64, max: usize },
    #[error("byte {offset}: unfinished messages hold {bytes} bytes, the limit is {max}")]
    TooMuchBuffered { offset: u64, bytes: usize, max: usize },
    #[error("byte {offset}: Set Chunk Size to {size}, allowed are 1 to 2147483647")]
    ChunkSizeOutOfRange { offset: u64, size: u32 },
    #[error(
        "byte {offset}: protocol control message of type {type_id} has {len} bytes, it needs 4"
    )]
    ControlTooShort { offset: u64, type_id: u8, len: usize },
}

/// Chunks in, messages out. Payloads are not copied: a message's rope shares the slices fed in.
///
/// Feed what was received, cut anywhere, until it is used up:
///
/// ```
/// use bytes::Bytes;
/// use forebay::rtmp::chunk::{ChunkLimits, ChunkReader};
/// let mut reader = ChunkReader::new(ChunkLimits::default());
/// // Chunk stream 4, type 0, 40 ms, 3 bytes of audio on message stream 1.
/// let mut received = Bytes::from_static(&[4, 0, 0, 40, 0, 0, 3, 8, 1, 0, 0, 0, 0xAF, 1, 2]);
/// while let Some(message) = reader.read(&mut received)? {
///     assert_eq!((message.type_id, message.payload.len()), (8, 3));
/// }
/// assert!(received.is_empty());
/// # Ok::<(), forebay::rtmp::chunk::ChunkError>(())
/// ```
pub struct ChunkReader {
    limits: ChunkLimits,
    chunk_size: usize,
    streams: Vec<ChunkStream>,
    state: State,
    /// The start of a header that was cut by the end of what was received.
    cut: CutHeader,
    /// Bytes consumed.
    offset: u64,
    unfinished: usize,
    ropes: RopePool,
}

#[derive(Clone, Copy)]
enum State {
    Header,
    /// Inside a chunk of `streams[index]`, with `left` bytes of it to come.
    Payload {
        index: usize,
        left: usize,
    },
}

#[derive(Default)]
struct CutHeader {
    bytes: [u8; HEADER_LEN_MAX],
    len: usize,
}

/// What a chunk stream remembers for the headers that leave things out.
struct ChunkStream {
    csid: u32,
    timestamp: Timestamp,
    delta: u32,
    message_len: usize,
    type_id: u8,
    stream_id: u32,
    /// The extended field of the last type 0, 1 or 2 header, if it had one.
    extended: Option<u32>,
    unfinished: Option<Unfinished>,
}

struct Unfinished {
    rope: RopeBuilder,
    /// Payload bytes received, in the rope or in the open run.
    received: usize,
    /// Where in the input its first byte was.
    started: u64,
}

/// A chunk header as it stands on the wire.
struct ChunkHeader {
    fmt: u8,
    csid: u32,
    /// Bytes it takes on the wire.
    len: usize,
    /// The timestamp field, resolved: the extended one if there is one.
    time: u32,
    extended: Option<u32>,
    message_len: usize,
    type_id: u8,
    stream_id: u32,
}

/// Chunks of one message that follow each other in the input; becomes one run of its rope.
struct Run {
    index: usize,
    start: usize,
    end: usize,
    first: usize,
    stride: usize,
    gap: usize,
    payload_len: usize,
}

impl ChunkReader {
    /// A reader at the first byte behind the handshake.
    pub fn new(limits: ChunkLimits) -> Self {
        Self {
            limits,
            chunk_size: CHUNK_SIZE_DEFAULT as usize,
            streams: Vec::new(),
            state: State::Header,
            cut: CutHeader::default(),
            offset: 0,
            unfinished: 0,
            ropes: RopePool::new(limits.spare_ropes_max),
        }
    }

    /// Bytes consumed since the handshake.
    pub fn offset(&self) -> u64 {
        self.offset
    }

    /// Whether a message has begun and goes on in what comes next.
    pub fn is_mid_message(&self) -> bool {
        self.unfinished > 0
    }

    /// Takes bytes off the front of `input` until a message is complete.
    ///
    /// `Ok(None)` means that all of `input` was taken and the message goes on in what comes next.
    /// Set Chunk Size and Abort have taken effect when they are returned. After an error the
    /// connection is of no further use.
    pub fn read(&mut self, input: &mut Bytes) -> Result<Option<Message>, ChunkError> {
        // Offsets into `input`. Slices of it are taken as late as possible: one per run.
        let mut at = 0;
        let mut run: Option<Run> = None;
        loop {
            match self.state {
                State::Header => {
                    let Some(header) = self.take_header(input, at)? else {
                        self.close_run(input, run);
                        self.consume(input, input.len());
                        return self.check_buffered().map(|()| None);
                    };
                    at += header.len;
                    // The run goes on if nothing but a header like the last one lies between.
                    let goes_on = run.as_mut().is_some_and(|run| {
                        header.fmt == 3
                            && self.streams[run.index].csid == header.csid
                            && run.resume(at, header.len, self.chunk_size)
                    });
                    if !goes_on {
                        self.close_run(input, run.take());
                    }
                    let (index, chunk_len) = self.begin_chunk(&header, self.offset + at as u64)?;
                    self.state = State::Payload { index, left: chunk_len };
                }
                State::Payload { index, left } => {
                    let take = left.min(input.len() - at);
                    run.get_or_insert_with(|| Run::new(index, at)).extend(take);
                    at += take;
                    let complete = self.receive(index, take);
                    if take < left {
                        self.state = State::Payload { index, left: left - take };
                        self.close_run(input, run);
                        self.consume(input, at);
                        return self.check_buffered().map(|()| None);
                    }
                    self.state = State::Header;
                    if complete {
                        self.close_run(input, run);
                        self.consume(input, at);
                        let message = self.finish(index);
                        self.apply(&message)?;
                        return Ok(Some(message));
                    }
                }
            }
        }
    }

    /// A header from `at` on in `input`, or from what was cut off before plus all of `input`. `len`
    /// of it is what it takes of `input`. `None`: the rest of `input` is part of a header that goes
    /// on.
    fn take_header(
        &mut self,
        input: &mut Bytes,
        at: usize,
    ) -> Result<Option<ChunkHeader>, ChunkError> {
        let cut = self.cut.len;
        let rest = &input[at..];
        let offset = self.offset + (at as u64) - (cut as u64);
        if cut == 0 {
            if let Some(header) = self.parse_header(rest, offset)? {
                return Ok(Some(header));
            }
        } else {
            let take = rest.len().min(HEADER_LEN_MAX - cut);
            self.cut.bytes[cut..cut + take].copy_from_slice(&rest[..take]);
            if let Some(header) = self.parse_header(&self.cut.bytes[..cut + take], offset)? {
                self.cut.len = 0;
                // What could have been a repeated timestamp turned out to be payload, or even the
                // next header. It was consumed before and has to be read again.
                let again = &self.cut.bytes[header.len.min(cut)..cut];
                if !again.is_empty() {
                    self.offset -= again.len() as u64;
                    *input = [again, rest].concat().into();
                    rope::count_copied(input.len());
                }
                return Ok(Some(ChunkHeader { len: header.len.saturating_sub(cut), ..header }));
            }
        }
        // Not even all of it made a header, so it is shorter than the longest one.
        self.cut.bytes[cut..cut + rest.len()].copy_from_slice(rest);
        self.cut.len = cut + rest.len();
        Ok(None)
    }

    /// A header from the front of `input`, whose first byte is that at `offset`.
    fn parse_header(&self, input: &[u8], offset: u64) -> Result<Option<ChunkHeader>, ChunkError> {
        let Some((&first, _)) = input.split_first() else { return Ok(None) };
        let fmt = first >> 6;
        let (csid, basic_len) = match (first & 0x3F, input) {
            (0, [_, low, ..]) => (64 + u32::from(*low), 2),
            // RTMP 5.3.1.1: the second byte is the low-order part.
            (1, [_, low, high, ..]) => (64 + u32::from(*low) + 256 * u32::from(*high), 3),
            (0 | 1, _) => return Ok(None),
            (csid, _) => (u32::from(csid), 1),
        };
        let message_header_len = [11, 7, 3, 0][fmt as usize];
        let Some(fields) = input.get(basic_len..basic_len + message_header_len) else {
            return Ok(None);
        };
        let previous = self.streams.iter().find(|stream| stream.csid == csid);
        let rest = &input[basic_len + message_header_len..];
        let u24 = |at: usize| u32::from_be_bytes([0, fields[at], fields[at + 1], fields[at + 2]]);

        let mut header = ChunkHeader {
            fmt,
            csid,
            len: basic_len + message_header_len,
            time: 0,
            extended: None,
            message_len: 0,
            type_id: 0,
            stream_id: 0,
        };
        if fmt < 3 {
            header.time = u24(0);
            if header.time == EXTENDED {
                let Some(field) = rest.first_chunk() else { return Ok(None) };
                header.time = u32::from_be_bytes(*field);
                header.extended = Some(header.time);
                header.len += 4;
            }
        } else if let Some(value) = previous.and_then(|stream| stream.extended) {
            // RTMP 5.3.1.3 wants it repeated, and some peers leave it out. So it is only taken
            // if it is what it must be; the first byte that differs is payload.
            let expected = value.to_be_bytes();
            header.extended = Some(value);
            if rest.len() < 4 && expected.starts_with(rest) {
                return Ok(None);
            }
            header.len += if rest.starts_with(&expected) { 4 } else { 0 };
        }
        match (fmt, previous) {
            (0 | 1, _) => {
                header.message_len = u24(3) as usize;
                header.type_id = fields[6];
                header.stream_id = match fmt {
                    // The one little-endian field of the protocol (RTMP 5.3.1.2.5).
                    0 => u32::from_le_bytes([fields[7], fields[8], fields[9], fields[10]]),
                    // Some peers begin with type 1: the stream id they leave out is 0.
                    _ => previous.map_or(0, |stream| stream.stream_id),
                };
            }
            (_, Some(stream)) => {
                header.message_len = stream.message_len;
                header.type_id = stream.type_id;
                header.stream_id = stream.stream_id;
            }
            (_, None) => {
                return Err(ChunkError::NoPreviousHeader { offset, csid, fmt });
            }
        }
        if header.message_len > self.limits.message_len_max {
            let (len, max) = (header.message_len, self.limits.message_len_max);
            return Err(ChunkError::MessageTooLong { offset, len, max });
        }
        Ok(Some(header))
    }

    /// Applies a header to its chunk stream. Says which one, and how long this chunk's payload is.
    fn begin_chunk(
        &mut self,
        header: &ChunkHeader,
        offset: u64,
    ) -> Result<(usize, usize), ChunkError> {
        let index = match self.streams.iter().position(|stream| stream.csid == header.csid) {
            Some(index) => index,
            None => self.add_stream(header.csid, offset)?,
        };
        let stream = &mut self.streams[index];
        // A full header in the middle of a message means that the peer has given it up: its length
        // may differ, and nothing is ever appended past the length first announced.
        if header.fmt < 2 && stream.unfinished.take().is_some() {
            self.unfinished -= 1;
        }
        if header.fmt < 3 {
            stream.extended = header.extended;
        }
        let so_far = match &stream.unfinished {
            Some(unfinished) => unfinished.received,
            None => {
                stream.begin_message(header);
                let max = self.limits.unfinished_messages_max;
                if self.unfinished >= max {
                    return Err(ChunkError::TooManyUnfinishedMessages { offset, max });
                }
                self.unfinished += 1;
                stream.unfinished =
                    Some(Unfinished { rope: self.ropes.builder(), received: 0, started: offset });
                0
            }
        };
        Ok((index, (stream.message_len - so_far).min(self.chunk_size)))
    }

    /// Counts payload of a chunk. Says whether the message is complete.
    fn receive(&mut self, index: usize, len: usize) -> bool {
        let stream = &mut self.streams[index];
        stream.unfinished.as_mut().is_some_and(|unfinished| {
            unfinished.received += len;
            unfinished.received == stream.message_len
        })
    }

    fn add_stream(&mut self, csid: u32, offset: u64) -> Result<usize, ChunkError> {
        let max = self.limits.chunk_streams_max;
        if self.streams.len() >= max {
            return Err(ChunkError::TooManyChunkStreams { offset, csid, max });
        }
        self.streams.push(ChunkStream {
            csid,
            timestamp: Timestamp::ZERO,
            delta: 0,
            message_len: 0,
            type_id: 0,
            stream_id: 0,
            extended: None,
            unfinished: None,
        });
        Ok(self.streams.len() - 1)
    }

    fn close_run(&mut self, input: &Bytes, run: Option<Run>) {
        if let Some(run) = run
            && let Some(unfinished) = &mut self.streams[run.index].unfinished
        {
            let bytes = input.slice(run.start..run.end);
            unfinished.rope.push_run(bytes, run.payload_len, run.first, run.stride, run.gap);
        }
    }

    fn consume(&mut self, input: &mut Bytes, len: usize) {
        input.advance(len);
        self.offset += len as u64;
    }

    fn finish(&mut self, index: usize) -> Message {
        let stream = &mut self.streams[index];
        self.unfinished -= 1;
        Message {
            csid: stream.csid,
            type_id: stream.type_id,
            stream_id: stream.stream_id,
            timestamp: stream.timestamp,
            payload: stream
                .unfinished
                .take()
                .map_or_else(Rope::new, |unfinished| unfinished.rope.finish()),
        }
    }

    fn check_buffered(&self) -> Result<(), ChunkError> {
        let unfinished = || self.streams.iter().filter_map(|stream| stream.unfinished.as_ref());
        let pinned =
            unfinished().map(|u| self.offset.saturating_sub(u.started)).max().unwrap_or(0) as usize;
        let runs: usize = unfinished().map(|u| u.rope.run_count() * RopeBuilder::RUN_LEN).sum();
        let (bytes, max) = (pinned + runs, self.limits.buffered_bytes_max);
        if bytes > max {
            return Err(ChunkError::TooMuchBuffered { offset: self.offset, bytes, max });
        }
        Ok(())
    }

    /// Set Chunk Size and Abort change how the very next chunk is read.
    fn apply(&mut self, message: &Message) -> Result<(), ChunkError> {
        let Message { type_id, payload, .. } = message;
        if !matches!(*type_id, message_type::SET_CHUNK_SIZE | message_type::ABORT) {
            // A finished message may leave others waiting in blocks that it pins no more.
            return if self.unfinished == 0 { Ok(()) } else { self.check_buffered() };
        }
        let Some(value) = payload.first_chunk().map(u32::from_be_bytes) else {
            let (offset, type_id, len) = (self.offset, *type_id, payload.len());
            return Err(ChunkError::ControlTooShort { offset, type_id, len });
        };
        if *type_id == message_type::SET_CHUNK_SIZE {
            if value == 0 || value > i32::MAX as u32 {
                return Err(ChunkError::ChunkSizeOutOfRange { offset: self.offset, size: value });
            }
            self.chunk_size = value as usize;
        } else if let Some(stream) = self.streams.iter_mut().find(|stream| stream.csid == value)
            && stream.unfinished.take().is_some()
        {
            self.unfinished -= 1;
        }
        Ok(())
    }
}

impl ChunkStream {
    fn begin_message(&mut self, header: &ChunkHeader) {
        match header.fmt {
            0 => {
                self.timestamp = Timestamp::from_ms(header.time);
                // RTMP 5.3.1.2.4: a type 3 right behind a type 0 has the type 0's time as delta.
                self.delta = header.time;
            }
            1 | 2 => {
                self.delta = header.time;
                self.timestamp = self.timestamp.plus_ms(self.delta);
            }
            _ => self.timestamp = self.timestamp.plus_ms(self.delta),
        }
        self.message_len = header.message_len;
        self.type_id = header.type_id;
        self.stream_id = header.stream_id;
    }
}

impl Run {
    fn new(index: usize, at: usize) -> Self {
        Self { index, start: at, end: at, first: 0, stride: 0, gap: 0, payload_len: 0 }
    }

    /// Whether a chunk whose payload begins at `at`, behind a header of `header_len` bytes,
    /// continues this run.
    fn resume(&mut self, at: usize, header_len: usize, chunk_size: usize) -> bool {
        if self.payload_len == 0 || self.end + header_len != at {
            return false;
        }
        if self.gap == 0 {
            (self.gap, self.stride) = (header_len, chunk_size);
        } else if self.gap != header_len || self.stride != chunk_size {
            return false;
        }
        self.end = at;
        true
    }

    fn extend(&mut self, len: usize) {
        self.end += len;
        self.payload_len += len;
        if self.gap == 0 {
            self.first = self.payload_len;
        }
    }
}

/// Where a message belongs and when: all of a chunk header that is not the payload's length.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct MessageHeader {
    /// Chunk stream id, 2 to 65599.
    pub csid: u32,
    /// Message type id; see [`message_type`].
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

#[cfg(test)]
mod tests {
    use super::*;
    use bytes::{BufMut, BytesMut};

    fn header(csid: u32, ms: u32) -> MessageHeader {
        MessageHeader { csid, type_id: 9, stream_id: 1, timestamp: Timestamp::from_ms(ms) }
    }

    fn read_all(wire: &[u8], piece_len: usize) -> Vec<Message> {
        let mut reader = ChunkReader::new(ChunkLimits::default());
        let mut messages = Vec::new();
        for piece in wire.chunks(piece_len) {
            let mut input = Bytes::copy_from_slice(piece);
            while let Some(message) = reader.read(&mut input).unwrap() {
                messages.push(message);
            }
            assert!(input.is_empty());
        }
        messages
    }

    #[test]
    fn what_is_written_is_read_however_it_is_cut() {
        let mut writer = ChunkWriter::new();
        let mut wire = BytesMut::new();
        let sent: Vec<_> = [
            (4, 0, 3),
            (4, 21, 300),
            (6, 0xFF_FFFF, 1000),
            (6, 0xFF_FFFF, 0),
            (400, 5, 128),
            (4, 42, 300),
        ]
        .into_iter()
        .map(|(csid, ms, len)| (header(csid, ms), vec![csid as u8; len]))
        .collect();
        for (header, payload) in &sent {
            writer.write(*header, payload, &mut wire);
        }
        for piece_len in [1, 2, 3, 7, 129, wire.len()] {
            let read = read_all(&wire, piece_len);
            assert_eq!(read.len(), sent.len(), "pieces of {piece_len}");
            for (message, (header, payload)) in read.iter().zip(&sent) {
                assert_eq!(message.timestamp, header.timestamp, "pieces of {piece_len}");
                assert!(message.payload == payload[..], "pieces of {piece_len}");
            }
        }
    }

    #[test]
    fn a_message_received_in_one_piece_is_one_run_of_the_same_memory() {
        let mut wire = BytesMut::new();
        ChunkWriter::new().write(header(6, 0), &[5; 10_000], &mut wire);
        let mut input = wire.freeze();
        let (start, end) = (input.as_ptr() as usize, input.as_ptr() as usize + input.len());
        let message = ChunkReader::new(ChunkLimits::default()).read(&mut input).unwrap().unwrap();
        assert_eq!(message.payload.run_count(), 1);
        for slice in message.payload.slices() {
            let at = slice.as_ptr() as usize;
            assert!((start..end).contains(&at), "a payload byte was copied");
        }
    }

    #[test]
    fn a_message_that_pins_too_much_ends_the_connection() {
        let limits = ChunkLimits { buffered_bytes_max: 10_000, ..ChunkLimits::default() };
        let mut reader = ChunkReader::new(limits);
        let mut wire = BytesMut::new();
        // One byte of a long message, then many short ones behind it in the same blocks.
        wire.put_slice(&[4, 0, 0, 0, 0, 4, 0, 9, 1, 0, 0, 0]);
        wire.put_bytes(1, 128);
        let mut writer = ChunkWriter::new();
        for ms in 0..200 {
            writer.write(header(6, ms), &[0; 100], &mut wire);
        }
        let mut input = wire.freeze();
        let error = loop {
            match reader.read(&mut input) {
                Ok(Some(_)) => {}
                Ok(None) => panic!("nothing stopped it"),
                Err(error) => break error,
            }
        };
        assert!(matches!(error, ChunkError::TooMuchBuffered { max: 10_000, .. }), "{error}");
    }
}
