//! RTMP chunks, AMF0 and FLV tags by hand, from the specifications: the other end of the wire.
//!
//! It shares no code with the core, so that the two cannot be wrong in the same way, and it is
//! strict: what no specification allows is a panic.

use std::collections::BTreeMap;

/// AMF0 values, as many as a session needs.
#[derive(Clone, PartialEq, Debug)]
pub(crate) enum Amf {
    Number(f64),
    Boolean(bool),
    String(String),
    Object(Vec<(String, Amf)>),
    EcmaArray(Vec<(String, Amf)>),
    Null,
    Undefined,
    StrictArray(Vec<Amf>),
}

impl Amf {
    pub(crate) fn object(entries: &[(&str, Amf)]) -> Self {
        Self::Object(entries.iter().map(|(key, value)| ((*key).into(), value.clone())).collect())
    }

    pub(crate) fn get(&self, wanted: &str) -> &Amf {
        let (Self::Object(entries) | Self::EcmaArray(entries)) = self else {
            panic!("{self:?} has no entries")
        };
        let found = entries.iter().find(|(key, _)| key == wanted);
        &found.unwrap_or_else(|| panic!("no {wanted} in {self:?}")).1
    }

    pub(crate) fn text(&self) -> &str {
        let Self::String(text) = self else { panic!("{self:?} is no string") };
        text
    }

    pub(crate) fn number(&self) -> f64 {
        let Self::Number(number) = self else { panic!("{self:?} is no number") };
        *number
    }

    pub(crate) fn write(&self, out: &mut Vec<u8>) {
        match self {
            Self::Number(number) => {
                out.push(0);
                out.extend(number.to_be_bytes());
            }
            Self::Boolean(value) => out.extend([1, u8::from(*value)]),
            Self::String(text) => {
                out.push(2);
                write_text(text, out);
            }
            Self::Object(entries) => {
                out.push(3);
                write_entries(entries, out);
            }
            Self::Null => out.push(5),
            Self::Undefined => out.push(6),
            Self::StrictArray(values) => {
                out.push(10);
                out.extend((values.len() as u32).to_be_bytes());
                values.iter().for_each(|value| value.write(out));
            }
            Self::EcmaArray(entries) => {
                out.push(8);
                out.extend((entries.len() as u32).to_be_bytes());
                write_entries(entries, out);
            }
        }
    }

    fn read(input: &mut &[u8]) -> Self {
        match take::<1>(input)[0] {
            0 => Self::Number(f64::from_be_bytes(take(input))),
            1 => Self::Boolean(take::<1>(input)[0] != 0),
            2 => Self::String(read_text(input)),
            3 => Self::Object(read_entries(input)),
            5 => Self::Null,
            6 => Self::Undefined,
            8 => {
                take::<4>(input);
                Self::EcmaArray(read_entries(input))
            }
            10 => {
                let count = u32::from_be_bytes(take(input));
                Self::StrictArray((0..count).map(|_| Self::read(input)).collect())
            }
            marker => panic!("AMF0 marker {marker}"),
        }
    }

    /// All values of a message's body.
    pub(crate) fn read_all(mut input: &[u8]) -> Vec<Self> {
        let mut values = Vec::new();
        while !input.is_empty() {
            values.push(Self::read(&mut input));
        }
        values
    }
}

impl From<&str> for Amf {
    fn from(text: &str) -> Self {
        Self::String(text.into())
    }
}

impl From<f64> for Amf {
    fn from(number: f64) -> Self {
        Self::Number(number)
    }
}

impl From<bool> for Amf {
    fn from(value: bool) -> Self {
        Self::Boolean(value)
    }
}

/// The values one after the other, as a command or data message carries them.
pub(crate) fn amf(values: &[Amf]) -> Vec<u8> {
    let mut out = Vec::new();
    for value in values {
        value.write(&mut out);
    }
    out
}

fn write_text(text: &str, out: &mut Vec<u8>) {
    out.extend((text.len() as u16).to_be_bytes());
    out.extend(text.as_bytes());
}

fn write_entries(entries: &[(String, Amf)], out: &mut Vec<u8>) {
    for (key, value) in entries {
        write_text(key, out);
        value.write(out);
    }
    out.extend([0, 0, 9]);
}

fn read_text(input: &mut &[u8]) -> String {
    let len = u16::from_be_bytes(take(input)) as usize;
    let (text, rest) = input.split_at(len);
    *input = rest;
    String::from_utf8(text.to_vec()).expect("UTF-8")
}

fn read_entries(input: &mut &[u8]) -> Vec<(String, Amf)> {
    let mut entries = Vec::new();
    loop {
        let key = read_text(input);
        if key.is_empty() && input.first() == Some(&9) {
            take::<1>(input);
            return entries;
        }
        entries.push((key, Amf::read(input)));
    }
}

fn take<const N: usize>(input: &mut &[u8]) -> [u8; N] {
    let (taken, rest) = input.split_first_chunk().expect("a value that is not cut");
    *input = rest;
    *taken
}

/// Message type ids (RTMP 5.4, 6.1, 7.1).
pub(crate) mod message_type {
    pub(crate) const SET_CHUNK_SIZE: u8 = 1;
    pub(crate) const USER_CONTROL: u8 = 4;
    pub(crate) const WINDOW_ACK_SIZE: u8 = 5;
    pub(crate) const SET_PEER_BANDWIDTH: u8 = 6;
    pub(crate) const AUDIO: u8 = 8;
    pub(crate) const VIDEO: u8 = 9;
    pub(crate) const DATA: u8 = 18;
    pub(crate) const COMMAND: u8 = 20;
    pub(crate) const AGGREGATE: u8 = 22;
}

/// A whole message.
#[derive(Clone, PartialEq, Debug)]
pub(crate) struct Message {
    pub(crate) type_id: u8,
    pub(crate) stream_id: u32,
    pub(crate) time: u32,
    pub(crate) body: Vec<u8>,
}

/// Chunks in, messages out (RTMP 5.3).
pub(crate) struct ChunkReader {
    chunk_size: usize,
    buffer: Vec<u8>,
    streams: BTreeMap<u32, ReadStream>,
}

#[derive(Clone)]
struct ReadStream {
    message: Message,
    len: usize,
    /// Of the last type 0 header its timestamp, of a type 1 or 2 header its delta.
    delta: u32,
    is_extended: bool,
}

impl ChunkReader {
    pub(crate) fn new() -> Self {
        Self { chunk_size: 128, buffer: Vec::new(), streams: BTreeMap::new() }
    }

    /// The messages that are complete with these bytes.
    pub(crate) fn read(&mut self, bytes: &[u8]) -> Vec<Message> {
        self.buffer.extend_from_slice(bytes);
        let buffer = std::mem::take(&mut self.buffer);
        let mut left = &buffer[..];
        let mut messages = Vec::new();
        while let Some((message, rest)) = self.read_chunk(left) {
            left = rest;
            messages.extend(message);
        }
        self.buffer = left.to_vec();
        messages
    }

    /// Whether the last byte read was the last of a message.
    pub(crate) fn is_between_messages(&self) -> bool {
        self.buffer.is_empty() && self.streams.values().all(|stream| stream.message.body.is_empty())
    }

    fn read_chunk<'a>(&mut self, input: &'a [u8]) -> Option<(Option<Message>, &'a [u8])> {
        let (first, mut rest) = input.split_first()?;
        let (fmt, mut csid) = (first >> 6, u32::from(first & 63));
        if csid < 2 {
            let len = csid as usize + 1;
            let (more, after) = rest.split_at_checked(len)?;
            // RTMP 5.3.1.1: the second byte is the low-order part.
            csid = 64 + u32::from(more[0]) + more.get(1).map_or(0, |high| u32::from(*high) << 8);
            rest = after;
        }
        let (header, rest) = rest.split_at_checked([11, 7, 3, 0][fmt as usize])?;
        let mut stream = match self.streams.get(&csid) {
            Some(stream) => stream.clone(),
            None => {
                assert_eq!(fmt, 0, "chunk stream {csid} begins without a type 0 header");
                ReadStream {
                    message: Message { type_id: 0, stream_id: 0, time: 0, body: Vec::new() },
                    len: 0,
                    delta: 0,
                    is_extended: false,
                }
            }
        };
        let is_new = stream.message.body.is_empty();
        assert!(is_new || fmt == 3, "a new header inside a message");
        let mut field = stream.delta;
        if fmt < 3 {
            field = u24(&header[..3]);
            stream.is_extended = field == 0xFF_FFFF;
        }
        if fmt < 2 {
            stream.len = u24(&header[3..6]) as usize;
            stream.message.type_id = header[6];
        }
        if fmt == 0 {
            stream.message.stream_id =
                u32::from_le_bytes([header[7], header[8], header[9], header[10]]);
        }
        let mut rest = rest;
        if stream.is_extended {
            let (extended, after) = rest.split_first_chunk()?;
            let extended = u32::from_be_bytes(*extended);
            assert!(fmt < 3 || extended == stream.delta, "another extended time on a type 3 chunk");
            assert!(extended >= 0xFF_FFFF, "an extended time of {extended}");
            (field, rest) = (extended, after);
        }
        stream.delta = field;
        if is_new {
            let base = if fmt == 0 { 0 } else { stream.message.time };
            stream.message.time = base.wrapping_add(field);
        }
        let wanted = self.chunk_size.min(stream.len - stream.message.body.len());
        let (payload, rest) = rest.split_at_checked(wanted)?;
        stream.message.body.extend_from_slice(payload);
        let mut message = None;
        if stream.message.body.len() == stream.len {
            message = Some(stream.message.clone());
            stream.message.body.clear();
        }
        self.streams.insert(csid, stream);
        if let Some(message) =
            message.as_ref().filter(|m| m.type_id == message_type::SET_CHUNK_SIZE)
        {
            self.chunk_size = u32::from_be_bytes(message.body[..].try_into().unwrap()) as usize;
        }
        Some((message, rest))
    }
}

fn u24(bytes: &[u8]) -> u32 {
    u32::from_be_bytes([0, bytes[0], bytes[1], bytes[2]])
}

/// Messages in, chunks out, as OBS writes them: type 0 first, then type 1 with a delta.
pub(crate) struct ChunkWriter {
    pub(crate) chunk_size: usize,
    /// Stream id and time of the last message of a chunk stream.
    written: BTreeMap<u8, (u32, u32)>,
}

impl ChunkWriter {
    pub(crate) fn new() -> Self {
        Self { chunk_size: 128, written: BTreeMap::new() }
    }

    pub(crate) fn write(&mut self, csid: u8, message: &Message) -> Vec<u8> {
        assert!((2..64).contains(&csid));
        let last = self.written.insert(csid, (message.stream_id, message.time));
        let delta = last
            .filter(|(stream_id, _)| *stream_id == message.stream_id)
            .map(|(_, time)| message.time.wrapping_sub(time))
            // Encoders write time that goes back as a type 0 header.
            .filter(|delta| *delta < 1 << 31);
        let (fmt, time) = delta.map_or((0, message.time), |delta| (1, delta));
        let field = time.min(0xFF_FFFF);
        let extended = (field == 0xFF_FFFF).then(|| time.to_be_bytes());
        let mut out = vec![fmt << 6 | csid];
        out.extend(&field.to_be_bytes()[1..]);
        out.extend(&(message.body.len() as u32).to_be_bytes()[1..]);
        out.push(message.type_id);
        if fmt == 0 {
            out.extend(message.stream_id.to_le_bytes());
        }
        out.extend(extended.iter().flatten());
        for (index, chunk) in message.body.chunks(self.chunk_size).enumerate() {
            if index > 0 {
                out.push(3 << 6 | csid);
                out.extend(extended.iter().flatten());
            }
            out.extend(chunk);
        }
        out
    }
}

/// What players play: an audio, video or data message, or an FLV tag.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(crate) struct Media {
    pub(crate) kind: u8,
    pub(crate) time: u32,
    pub(crate) body: Vec<u8>,
}

impl Media {
    pub(crate) fn on_stream(&self, stream_id: u32) -> Message {
        let Self { kind: type_id, time, body } = self.clone();
        Message { type_id, stream_id, time, body }
    }
}

/// FLV tags behind the file header (FLV E.3, E.4.1).
pub(crate) fn read_flv(mut input: &[u8]) -> Vec<Media> {
    let mut tags = Vec::new();
    while !input.is_empty() {
        let header: [u8; 11] = take(&mut input);
        assert!([8, 9, 18].contains(&header[0]), "tag type {}", header[0]);
        assert_eq!(header[8..], [0, 0, 0], "stream id");
        let time = u32::from_be_bytes([header[7], header[4], header[5], header[6]]);
        let (body, rest) = input.split_at(u24(&header[1..]) as usize);
        input = rest;
        assert_eq!(u32::from_be_bytes(take(&mut input)) as usize, 11 + body.len());
        tags.push(Media { kind: header[0], time, body: body.to_vec() });
    }
    tags
}
