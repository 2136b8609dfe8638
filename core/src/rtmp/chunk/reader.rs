//! ChunkReader: chunks in, cut anywhere; messages out, nothing copied.

use bytes::{Buf, Bytes};

use super::{CHUNK_SIZE_DEFAULT, EXTENDED, HEADER_LEN_MAX};
use crate::rope::{self, Rope, RopeBuilder, RopePool};
use crate::rtmp::message::{Message, message_type};
use crate::time::Timestamp;

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
    /// Index of the chunk stream that was used last: most often it is the next one's, too.
    last: usize,
    ropes: RopePool,
}

#[derive(Clone, Copy, PartialEq)]
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
    /// Of its chunk stream, if that is known.
    index: Option<usize>,
    /// Bytes it takes on the wire.
    len: usize,
    /// The timestamp field, resolved: the extended one if there is one.
    time: u32,
    extended: Option<u32>,
    message_len: usize,
    type_id: u8,
    stream_id: u32,
}

/// Where payload ended: at the end of what was received with `left` bytes to come, before a header
/// that is to be looked at, or with its message.
struct PayloadEnd {
    at: usize,
    left: usize,
    is_message: bool,
}

/// Chunks of one message that follow each other from the front of the input on; becomes one run of
/// its rope.
struct Run {
    index: usize,
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
            last: 0,
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
    // Inlined, and with a message made in two places: so its fields stay in registers until somebody
    // keeps it. Moved through memory field by field, it costs as much again as parsing it.
    #[inline(always)]
    pub fn read(&mut self, input: &mut Bytes) -> Result<Option<Message>, ChunkError> {
        if let Some((index, chunks, len)) = self.take_whole(input) {
            let ChunkStream { csid, type_id, stream_id, timestamp, .. } = self.streams[index];
            let payload = Rope::chunks(chunks, len, self.chunk_size);
            return Ok(Some(Message { csid, type_id, stream_id, timestamp, payload }));
        }
        let Some((index, payload)) = self.take_any(input)? else { return Ok(None) };
        let ChunkStream { csid, type_id, stream_id, timestamp, .. } = self.streams[index];
        Ok(Some(Message { csid, type_id, stream_id, timestamp, payload }))
    }

    /// A message that is all there, with no other unfinished, and with headers of one byte between its
    /// chunks: nearly every one is. It is one slice; the chunk stream it is of, the chunks behind its
    /// header, and how many bytes of them are payload.
    #[inline(always)]
    fn take_whole(&mut self, input: &mut Bytes) -> Option<(usize, Bytes, usize)> {
        if self.unfinished > 0 || self.cut.len > 0 {
            return None;
        }
        // What is wrong with it is said when it is looked at again.
        let header = self.parse_header(input, self.offset).ok()??;
        let index = header.index?;
        let (chunk_size, len) = (self.chunk_size, header.message_len);
        let chunk_count = if len <= chunk_size { 1 } else { len.div_ceil(chunk_size) };
        let end = header.len + len + chunk_count - 1;
        let is_one_byte = header.csid < 64 && header.extended.is_none();
        if !is_one_byte || is_control(header.type_id) || end > input.len() {
            return None;
        }
        let continuation = 0xC0 | header.csid as u8;
        let mut chunk_end = header.len + chunk_size;
        while chunk_end < end {
            if input[chunk_end] != continuation {
                return None;
            }
            chunk_end += 1 + chunk_size;
        }
        self.last = index;
        let stream = &mut self.streams[index];
        stream.extended = None;
        stream.begin_message(&header);
        let chunks = input.slice(header.len..end);
        self.consume(input, end);
        Some((index, chunks, len))
    }

    /// Takes whatever there is until a message is complete: its chunk stream, and its payload.
    #[inline(never)]
    fn take_any(&mut self, input: &mut Bytes) -> Result<Option<(usize, Rope)>, ChunkError> {
        loop {
            match self.state {
                // An empty message waits for nothing.
                State::Header | State::Payload { left: 1.., .. } if input.is_empty() => {
                    return self.check_buffered().map(|()| None);
                }
                State::Header => {
                    let Some(header) = self.take_header(input)? else {
                        self.consume(input, input.len());
                        return self.check_buffered().map(|()| None);
                    };
                    let offset = self.offset + header.len as u64;
                    let index = self.apply_header(&header, offset)?;
                    let left = self.begin_chunk(index, &header, offset);
                    self.state = State::Payload { index, left };
                    self.consume(input, header.len);
                }
                State::Payload { index, left } => match self.take_chunks(input, index, left) {
                    Some(payload) => return self.taken(index, payload).map(Some),
                    None if self.state == State::Header => {}
                    None => return self.check_buffered().map(|()| None),
                },
            }
        }
    }

    /// What is there of a chunk with `left` bytes to come, and of those behind it that go on with its
    /// message at once. Its payload if it is complete; if not, the state says what comes next.
    fn take_chunks(&mut self, input: &mut Bytes, index: usize, left: usize) -> Option<Rope> {
        // Offsets into `input`. Slices of it are taken as late as possible: one per run.
        let mut run = Run::new(index);
        let mut end = self.take_payload(input, 0, left, &mut run);
        while end.left == 0 && !end.is_message {
            // The run goes on if nothing but a header like the last one lies between.
            let offset = self.offset + end.at as u64;
            let Ok(Some(header)) = self.parse_header(&input[end.at..], offset) else { break };
            let at = end.at + header.len;
            let is_next = header.fmt == 3 && header.index == Some(index);
            if !is_next || !run.resume(at, header.len, self.chunk_size) {
                break;
            }
            let left = self.begin_chunk(index, &header, offset);
            end = self.take_payload(input, at, left, &mut run);
        }
        self.close_run(input, run);
        self.consume(input, end.at);
        self.state = match end.left {
            0 => State::Header,
            left => State::Payload { index, left },
        };
        end.is_message.then(|| self.finish(index))
    }

    /// Payload from `at` on in `input`, of a chunk that has `left` bytes to come; and of those
    /// behind it that have nothing but one byte before them, as nearly all have.
    fn take_payload(&mut self, input: &[u8], at: usize, left: usize, run: &mut Run) -> PayloadEnd {
        let chunk_size = self.chunk_size;
        let stream = &mut self.streams[run.index];
        let repeated = stream.continuation();
        let message_len = stream.message_len;
        let Some(unfinished) = &mut stream.unfinished else {
            return PayloadEnd { at, left: 0, is_message: false };
        };
        let (mut at, mut left) = (at, left);
        loop {
            let take = left.min(input.len() - at);
            run.extend(take);
            at += take;
            left -= take;
            unfinished.received += take;
            let is_message = unfinished.received == message_len;
            let goes_on = left == 0
                && !is_message
                && repeated.is_some_and(|byte| input.get(at) == Some(&byte))
                && run.resume(at + 1, 1, chunk_size);
            if !goes_on {
                return PayloadEnd { at, left, is_message };
            }
            let unread = message_len - unfinished.received;
            let whole = whole_chunks(&input[at..], chunk_size, unread / chunk_size);
            at += 1;
            if whole > 0 {
                let len = whole * chunk_size;
                run.extend_chunks(whole, chunk_size);
                at += len + whole - 1;
                unfinished.received += len;
            } else {
                left = chunk_size.min(unread);
            }
        }
    }

    /// A header from the front of `input`, or from what was cut off before plus all of `input`. `len`
    /// of it is what it takes of `input`. `None`: all of `input` is part of a header that goes on.
    #[inline(always)]
    fn take_header(&mut self, input: &mut Bytes) -> Result<Option<ChunkHeader>, ChunkError> {
        if self.cut.len == 0
            && let Some(header) = self.parse_header(input, self.offset)?
        {
            return Ok(Some(header));
        }
        self.take_cut_header(input)
    }

    /// One that what was received ends in, or begins in.
    #[cold]
    fn take_cut_header(&mut self, input: &mut Bytes) -> Result<Option<ChunkHeader>, ChunkError> {
        let cut = self.cut.len;
        if cut > 0 {
            let offset = self.offset - cut as u64;
            let take = input.len().min(HEADER_LEN_MAX - cut);
            self.cut.bytes[cut..cut + take].copy_from_slice(&input[..take]);
            if let Some(header) = self.parse_header(&self.cut.bytes[..cut + take], offset)? {
                self.cut.len = 0;
                // What could have been a repeated timestamp turned out to be payload, or even the
                // next header. It was consumed before and has to be read again.
                let again = &self.cut.bytes[header.len.min(cut)..cut];
                if !again.is_empty() {
                    self.offset -= again.len() as u64;
                    *input = [again, input].concat().into();
                    rope::count_copied(input.len());
                }
                return Ok(Some(ChunkHeader { len: header.len.saturating_sub(cut), ..header }));
            }
        }
        // Not even all of it made a header, so it is shorter than the longest one.
        self.cut.bytes[cut..cut + input.len()].copy_from_slice(input);
        self.cut.len = cut + input.len();
        Ok(None)
    }

    /// A header from the front of `input`, whose first byte is that at `offset`.
    #[inline(always)]
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
        let index = self.index_of(csid);
        let previous = index.map(|index| &self.streams[index]);
        // What it leaves out is as before. Some peers begin with type 1: the stream id is 0 then.
        let (message_len, type_id, stream_id) = previous
            .map_or((0, 0, 0), |stream| (stream.message_len, stream.type_id, stream.stream_id));
        let mut header = ChunkHeader {
            fmt,
            csid,
            index,
            len: 0,
            time: 0,
            extended: None,
            message_len,
            type_id,
            stream_id,
        };
        let rest = match (fmt, &input[basic_len..]) {
            (0, [t0, t1, t2, l0, l1, l2, type_id, s0, s1, s2, s3, rest @ ..]) => {
                header.time = u24(t0, t1, t2);
                header.message_len = u24(l0, l1, l2) as usize;
                header.type_id = *type_id;
                // The one little-endian field of the protocol (RTMP 5.3.1.2.5).
                header.stream_id = u32::from_le_bytes([*s0, *s1, *s2, *s3]);
                rest
            }
            (1, [t0, t1, t2, l0, l1, l2, type_id, rest @ ..]) => {
                header.time = u24(t0, t1, t2);
                header.message_len = u24(l0, l1, l2) as usize;
                header.type_id = *type_id;
                rest
            }
            (2, [t0, t1, t2, rest @ ..]) => {
                header.time = u24(t0, t1, t2);
                rest
            }
            (3, rest) => rest,
            _ => return Ok(None),
        };
        header.len = input.len() - rest.len();
        if fmt < 3 && header.time == EXTENDED {
            let Some(field) = rest.first_chunk() else { return Ok(None) };
            header.time = u32::from_be_bytes(*field);
            header.extended = Some(header.time);
            header.len += 4;
        } else if fmt == 3
            && let Some(value) = previous.and_then(|stream| stream.extended)
        {
            // RTMP 5.3.1.3 wants it repeated, and some peers leave it out. So it is only taken
            // if it is what it must be; the first byte that differs is payload.
            let expected = value.to_be_bytes();
            header.extended = Some(value);
            if rest.len() < 4 && expected.starts_with(rest) {
                return Ok(None);
            }
            header.len += if rest.starts_with(&expected) { 4 } else { 0 };
        }
        if fmt > 1 && previous.is_none() {
            return Err(ChunkError::NoPreviousHeader { offset, csid, fmt });
        }
        if header.message_len > self.limits.message_len_max {
            let (len, max) = (header.message_len, self.limits.message_len_max);
            return Err(ChunkError::MessageTooLong { offset, len, max });
        }
        Ok(Some(header))
    }

    /// Finds the header's chunk stream, and whether it may begin a message if it does.
    fn apply_header(&mut self, header: &ChunkHeader, offset: u64) -> Result<usize, ChunkError> {
        let index = match header.index {
            Some(index) => index,
            None => self.add_stream(header.csid, offset)?,
        };
        self.last = index;
        let stream = &mut self.streams[index];
        // A full header in the middle of a message means that the peer has given it up: its length
        // may differ, and nothing is ever appended past the length first announced.
        if header.fmt < 2 && stream.unfinished.take().is_some() {
            self.unfinished -= 1;
        }
        if header.fmt < 3 {
            stream.extended = header.extended;
        }
        let max = self.limits.unfinished_messages_max;
        if stream.unfinished.is_none() && self.unfinished >= max {
            return Err(ChunkError::TooManyUnfinishedMessages { offset, max });
        }
        Ok(index)
    }

    /// Begins a chunk, and its message if it has not begun. Says how long the chunk's payload is.
    fn begin_chunk(&mut self, index: usize, header: &ChunkHeader, offset: u64) -> usize {
        let stream = &mut self.streams[index];
        let so_far = match &stream.unfinished {
            Some(unfinished) => unfinished.received,
            None => {
                stream.begin_message(header);
                self.unfinished += 1;
                let rope = RopeBuilder::default();
                stream.unfinished = Some(Unfinished { rope, received: 0, started: offset });
                0
            }
        };
        (stream.message_len - so_far).min(self.chunk_size)
    }

    fn index_of(&self, csid: u32) -> Option<usize> {
        let is_it = |stream: &ChunkStream| stream.csid == csid;
        match self.streams.get(self.last).is_some_and(is_it) {
            true => Some(self.last),
            false => self.streams.iter().position(is_it),
        }
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

    fn close_run(&mut self, input: &Bytes, run: Run) {
        if let Some(unfinished) = &mut self.streams[run.index].unfinished {
            let bytes = input.slice(..run.end);
            unfinished.rope.push_run(
                &self.ropes,
                bytes,
                run.payload_len,
                run.first,
                run.stride,
                run.gap,
            );
        }
    }

    fn consume(&mut self, input: &mut Bytes, len: usize) {
        input.advance(len);
        self.offset += len as u64;
    }

    fn finish(&mut self, index: usize) -> Rope {
        self.unfinished -= 1;
        let unfinished = self.streams[index].unfinished.take();
        unfinished.map_or_else(Rope::new, |unfinished| unfinished.rope.finish())
    }

    /// What a payload that is complete does to the reader itself.
    #[inline(always)]
    fn taken(&mut self, index: usize, payload: Rope) -> Result<(usize, Rope), ChunkError> {
        let type_id = self.streams[index].type_id;
        if is_control(type_id) {
            self.apply(type_id, &payload)?;
        }
        // A finished message may leave others waiting in blocks that it pins no more.
        self.check_buffered()?;
        Ok((index, payload))
    }

    fn check_buffered(&self) -> Result<(), ChunkError> {
        if self.unfinished == 0 {
            return Ok(());
        }
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
    #[cold]
    fn apply(&mut self, type_id: u8, payload: &Rope) -> Result<(), ChunkError> {
        let Some(value) = payload.first_chunk().map(u32::from_be_bytes) else {
            let (offset, len) = (self.offset, payload.len());
            return Err(ChunkError::ControlTooShort { offset, type_id, len });
        };
        if type_id == message_type::SET_CHUNK_SIZE {
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
    /// All of the header of a chunk that goes on with a message here, if that is one byte.
    fn continuation(&self) -> Option<u8> {
        let is_one_byte = (2..64).contains(&self.csid) && self.extended.is_none();
        is_one_byte.then_some(0xC0 | self.csid as u8)
    }

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

/// Three bytes on the wire.
fn u24(high: &u8, middle: &u8, low: &u8) -> u32 {
    u32::from_be_bytes([0, *high, *middle, *low])
}

/// Whether a message is the reader's own business.
fn is_control(type_id: u8) -> bool {
    matches!(type_id, message_type::SET_CHUNK_SIZE | message_type::ABORT)
}

/// How many of the chunks at the front of `input`, at most `max`, are there in full and have the
/// first one's header, which is one byte. Of small chunks a message has hundreds: this is what each
/// of them costs.
fn whole_chunks(input: &[u8], chunk_size: usize, max: usize) -> usize {
    let chunks = input.chunks_exact(1 + chunk_size).take(max);
    chunks.take_while(|chunk| chunk.first() == input.first()).count()
}

impl Run {
    fn new(index: usize) -> Self {
        Self { index, end: 0, first: 0, stride: 0, gap: 0, payload_len: 0 }
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

    /// By `count` chunks of which the first one's header is in the run already.
    fn extend_chunks(&mut self, count: usize, chunk_size: usize) {
        self.end += count * (1 + chunk_size) - 1;
        self.payload_len += count * chunk_size;
    }

    fn extend(&mut self, len: usize) {
        self.end += len;
        self.payload_len += len;
        if self.gap == 0 {
            self.first = self.payload_len;
        }
    }
}
