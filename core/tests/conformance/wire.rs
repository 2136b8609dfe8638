//! RTMP as a peer writes and reads it, by hand from the specification. It shares no code with the
//! core, so that no mistake can hide by being made on both sides.

use std::collections::BTreeMap;
use std::fmt::Debug;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use bytes::Bytes;
use forebay::rtmp::Input;
use forebay::rtmp::chunk::{ChunkLimits, ChunkReader};
use forebay::rtmp::server::{ConnectionLimits, Output, ServerConnection};

/// The length of C1, C2, S1 and S2 (RTMP 5.2.3, 5.2.4).
pub(crate) const PACKET: usize = 1536;
/// S0, S1 and S2; as long as C0, C1 and C2.
pub(crate) const HANDSHAKE: usize = 1 + 2 * PACKET;

/// The ground rule of the dagger rows: the same outcome in one piece, byte by byte, cut between
/// all `parts`, and cut in two at every byte.
pub(crate) fn however_cut<T: PartialEq + Debug>(
    parts: &[Vec<u8>],
    run: impl Fn(&[Bytes]) -> T,
) -> T {
    let whole = Bytes::from(parts.concat());
    let outcome = run(std::slice::from_ref(&whole));
    let singles: Vec<_> = whole.chunks(1).map(|byte| whole.slice_ref(byte)).collect();
    assert_eq!(run(&singles), outcome, "byte by byte");
    let parts: Vec<_> = parts.iter().map(|part| Bytes::copy_from_slice(part)).collect();
    assert_eq!(run(&parts), outcome, "cut between all parts");
    for cut in 1..whole.len() {
        assert_eq!(run(&[whole.slice(..cut), whole.slice(cut..)]), outcome, "cut at {cut}");
    }
    outcome
}

/// A block of memory with received bytes in it.
struct Block {
    bytes: Vec<u8>,
    held: Arc<AtomicUsize>,
}

impl AsRef<[u8]> for Block {
    fn as_ref(&self) -> &[u8] {
        &self.bytes
    }
}

impl Drop for Block {
    fn drop(&mut self) {
        self.held.fetch_sub(self.bytes.len(), Ordering::Relaxed);
    }
}

/// `bytes` in a block of their own, which `held` counts until nobody holds on to any of it.
pub(crate) fn block(bytes: Vec<u8>, held: &Arc<AtomicUsize>) -> Bytes {
    held.fetch_add(bytes.len(), Ordering::Relaxed);
    Bytes::from_owner(Block { bytes, held: held.clone() })
}

/// Bytes that look like nothing in particular, and differ from `seed` to `seed`.
pub(crate) fn noise(len: usize, seed: u32) -> Vec<u8> {
    let mut state = seed.wrapping_mul(0x9E37_79B9) | 1;
    let step = |_| {
        state = state.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
        (state >> 24) as u8
    };
    (0..len).map(step).collect()
}

/// C1 of the plain handshake: a time, four zeros, noise (RTMP 5.2.3).
pub(crate) fn c1(time: u32) -> Vec<u8> {
    [&time.to_be_bytes()[..], &[0; 4], &noise(PACKET - 8, time)].concat()
}

/// C0, C1 and a C2 that nobody filled in.
pub(crate) fn handshake() -> Vec<u8> {
    [vec![3], c1(0x0102_0304), vec![0; PACKET]].concat()
}

/// Basic header, in the form that the id is meant for (RTMP 5.3.1.1).
pub(crate) fn basic(fmt: u8, csid: u32) -> Vec<u8> {
    match csid {
        2..=63 => vec![fmt << 6 | csid as u8],
        64..=319 => vec![fmt << 6, (csid - 64) as u8],
        _ => basic_of_three(fmt, csid),
    }
}

/// Basic header of three bytes: the low-order part first (RTMP 5.3.1.1).
pub(crate) fn basic_of_three(fmt: u8, csid: u32) -> Vec<u8> {
    assert!((64..=65599).contains(&csid));
    vec![fmt << 6 | 1, ((csid - 64) % 256) as u8, ((csid - 64) / 256) as u8]
}

fn three(value: u32) -> [u8; 3] {
    [(value >> 16) as u8, (value >> 8) as u8, value as u8]
}

/// What the extended timestamp field holds, if there is one (RTMP 5.3.1.3).
pub(crate) fn extended(time: u32) -> Option<u32> {
    (time >= 0xFF_FFFF).then_some(time)
}

fn message_header(fmt: u8, csid: u32, time: u32, rest: &[u8]) -> Vec<u8> {
    let last = extended(time).map_or(vec![], |time| time.to_be_bytes().to_vec());
    [basic(fmt, csid), three(time.min(0xFF_FFFF)).to_vec(), rest.to_vec(), last].concat()
}

/// Chunk header of type 0: everything, with an absolute time (RTMP 5.3.1.2.1).
pub(crate) fn type_0(csid: u32, time: u32, len: usize, type_id: u8, stream_id: u32) -> Vec<u8> {
    let mut rest = three(len as u32).to_vec();
    rest.push(type_id);
    rest.extend(stream_id.to_le_bytes());
    message_header(0, csid, time, &rest)
}

/// Chunk header of type 1: the message stream is that of before (RTMP 5.3.1.2.2).
pub(crate) fn type_1(csid: u32, delta: u32, len: usize, type_id: u8) -> Vec<u8> {
    let mut rest = three(len as u32).to_vec();
    rest.push(type_id);
    message_header(1, csid, delta, &rest)
}

/// Chunk header of type 2: only the time is new (RTMP 5.3.1.2.3).
pub(crate) fn type_2(csid: u32, delta: u32) -> Vec<u8> {
    message_header(2, csid, delta, &[])
}

/// Chunk header of type 3: nothing is new. `repeated` is the extended timestamp of the header
/// before, if it had one (RTMP 5.3.1.2.4, 5.3.1.3).
pub(crate) fn type_3(csid: u32, repeated: Option<u32>) -> Vec<u8> {
    let last = repeated.map_or(vec![], |time| time.to_be_bytes().to_vec());
    [basic(3, csid), last].concat()
}

/// A message as it was meant, or as it was understood.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Msg {
    pub(crate) csid: u32,
    pub(crate) time: u32,
    pub(crate) type_id: u8,
    pub(crate) stream_id: u32,
    pub(crate) body: Vec<u8>,
}

impl Msg {
    pub(crate) fn new(csid: u32, time: u32, type_id: u8, stream_id: u32, body: &[u8]) -> Self {
        Self { csid, time, type_id, stream_id, body: body.to_vec() }
    }

    /// Protocol control: chunk stream 2, message stream 0 (RTMP 5.4).
    pub(crate) fn control(type_id: u8, body: &[u8]) -> Self {
        Self::new(2, 0, type_id, 0, body)
    }

    pub(crate) fn command(csid: u32, stream_id: u32, values: &[Amf]) -> Self {
        Self::new(csid, 0, 20, stream_id, &values.iter().flat_map(Amf::bytes).collect::<Vec<_>>())
    }

    /// The chunks, the first with a header of type 0, the others of type 3.
    pub(crate) fn chunks(&self, chunk_size: usize) -> Vec<Vec<u8>> {
        let first = type_0(self.csid, self.time, self.body.len(), self.type_id, self.stream_id);
        chunks(&first, &type_3(self.csid, extended(self.time)), &self.body, chunk_size)
    }

    pub(crate) fn bytes(&self, chunk_size: usize) -> Vec<u8> {
        self.chunks(chunk_size).concat()
    }
}

/// A body in chunks: `first` is the header of the first, `next` that of all others.
pub(crate) fn chunks(first: &[u8], next: &[u8], body: &[u8], chunk_size: usize) -> Vec<Vec<u8>> {
    let (head, rest) = body.split_at(body.len().min(chunk_size));
    let first = [first, head].concat();
    let others = rest.chunks(chunk_size).map(|part| [next, part].concat());
    std::iter::once(first).chain(others).collect()
}

/// Set Chunk Size (RTMP 5.4.1).
pub(crate) fn set_chunk_size(size: u32) -> Msg {
    Msg::control(1, &size.to_be_bytes())
}

/// A user control message: an event and what belongs to it (RTMP 6.2).
pub(crate) fn user_control(event: u16, data: &[u8]) -> Msg {
    Msg::control(4, &[&event.to_be_bytes()[..], data].concat())
}

/// A chunk as it was found on the wire.
#[derive(Clone, Debug)]
pub(crate) struct Chunk {
    pub(crate) fmt: u8,
    pub(crate) csid: u32,
    pub(crate) basic_len: usize,
    /// The timestamp field: an absolute time, a delta, or what type 3 repeats of it.
    pub(crate) extended: Option<u32>,
    /// Whether it is the first of its message.
    pub(crate) begins: bool,
}

#[derive(Clone, Default)]
struct Stream {
    time: u32,
    delta: u32,
    len: usize,
    type_id: u8,
    stream_id: u32,
    extended: Option<u32>,
    body: Option<Vec<u8>>,
}

/// Reads chunks, and insists on every letter of RTMP 5.3.1.
pub(crate) struct Decoder {
    chunk_size: usize,
    streams: BTreeMap<u32, Stream>,
    pub(crate) chunks: Vec<Chunk>,
    pub(crate) messages: Vec<Msg>,
}

impl Decoder {
    pub(crate) fn new() -> Self {
        Self { chunk_size: 128, streams: BTreeMap::new(), chunks: vec![], messages: vec![] }
    }

    /// Chunks and messages of `bytes`, which end where a message does.
    pub(crate) fn of(bytes: &[u8]) -> Self {
        let mut decoder = Self::new();
        let mut rest = bytes;
        while !rest.is_empty() {
            decoder.chunk(&mut rest);
        }
        assert!(decoder.streams.values().all(|s| s.body.is_none()), "an unfinished message");
        decoder
    }

    fn chunk(&mut self, rest: &mut &[u8]) {
        let first = take(rest, 1)[0];
        let (fmt, low) = (first >> 6, first & 63);
        let (csid, basic_len) = match low {
            0 => (u32::from(take(rest, 1)[0]) + 64, 2),
            1 => {
                let more = take(rest, 2);
                (u32::from(more[1]) * 256 + u32::from(more[0]) + 64, 3)
            }
            low => (u32::from(low), 1),
        };
        assert!(fmt == 0 || self.streams.contains_key(&csid), "type {fmt} opens stream {csid}");
        let stream = self.streams.entry(csid).or_default();
        let begins = stream.body.is_none();
        assert!(begins || fmt == 3, "a header of type {fmt} in the middle of a message");
        let field = if fmt < 3 { be(take(rest, 3)) } else { 0 };
        if fmt < 2 {
            stream.len = be(take(rest, 3)) as usize;
            stream.type_id = take(rest, 1)[0];
        }
        if fmt < 1 {
            let id = take(rest, 4);
            stream.stream_id = u32::from_le_bytes([id[0], id[1], id[2], id[3]]);
        }
        let more = if fmt == 3 { stream.extended.is_some() } else { field == 0xFF_FFFF };
        let extended = more.then(|| be(take(rest, 4)));
        if fmt == 3 {
            assert_eq!(extended, stream.extended, "type 3 repeats the extended timestamp");
        } else {
            stream.extended = extended;
            stream.delta = extended.unwrap_or(field);
        }
        if begins {
            stream.time = if fmt == 0 { 0 } else { stream.time }.wrapping_add(stream.delta);
        }
        let body = stream.body.get_or_insert_default();
        body.extend(take(rest, (stream.len - body.len()).min(self.chunk_size)));
        let done = body.len() == stream.len;
        self.chunks.push(Chunk { fmt, csid, basic_len, extended, begins });
        if done {
            let body = stream.body.take().unwrap();
            if stream.type_id == 1 {
                self.chunk_size = be(&body) as usize;
            }
            let (type_id, stream_id) = (stream.type_id, stream.stream_id);
            self.messages.push(Msg { csid, time: stream.time, type_id, stream_id, body });
        }
    }
}

fn take<'a>(rest: &mut &'a [u8], len: usize) -> &'a [u8] {
    let (taken, left) = rest.split_at_checked(len).expect("bytes that end with a chunk");
    *rest = left;
    taken
}

/// A big-endian number of up to four bytes.
pub(crate) fn be(bytes: &[u8]) -> u32 {
    bytes.iter().fold(0, |value, &byte| value << 8 | u32::from(byte))
}

/// The AMF0 values that commands are made of (AMF0 2).
#[derive(Clone, Debug, PartialEq)]
pub(crate) enum Amf {
    Number(f64),
    Boolean(bool),
    Str(String),
    Object(Vec<(String, Amf)>),
    Null,
}

impl Amf {
    pub(crate) fn str(value: &str) -> Self {
        Self::Str(value.to_owned())
    }

    pub(crate) fn bytes(&self) -> Vec<u8> {
        let text = |text: &str| [&(text.len() as u16).to_be_bytes(), text.as_bytes()].concat();
        match self {
            Self::Number(value) => [&[0][..], &value.to_be_bytes()].concat(),
            Self::Boolean(value) => vec![1, u8::from(*value)],
            Self::Str(value) => [vec![2], text(value)].concat(),
            Self::Object(entries) => {
                let entries = entries.iter().flat_map(|(k, v)| [text(k), v.bytes()].concat());
                [3].into_iter().chain(entries).chain([0, 0, 9]).collect()
            }
            Self::Null => vec![5],
        }
    }

    /// All values of a command's body.
    pub(crate) fn all(mut bytes: &[u8]) -> Vec<Self> {
        let mut values = vec![];
        while !bytes.is_empty() {
            values.push(Self::read(&mut bytes));
        }
        values
    }

    fn read(rest: &mut &[u8]) -> Self {
        match take(rest, 1)[0] {
            0 => Self::Number(f64::from_be_bytes(take(rest, 8).try_into().unwrap())),
            1 => Self::Boolean(take(rest, 1)[0] != 0),
            2 => Self::Str(Self::text(rest)),
            marker @ (3 | 8) => {
                take(rest, if marker == 8 { 4 } else { 0 });
                let mut entries = vec![];
                loop {
                    let key = Self::text(rest);
                    if key.is_empty() {
                        assert_eq!(take(rest, 1), [9], "the end of an object");
                        return Self::Object(entries);
                    }
                    entries.push((key, Self::read(rest)));
                }
            }
            5 | 6 => Self::Null,
            marker => panic!("an AMF0 marker {marker} in a command"),
        }
    }

    fn text(rest: &mut &[u8]) -> String {
        let len = be(take(rest, 2)) as usize;
        String::from_utf8(take(rest, len).to_vec()).unwrap()
    }
}

pub(crate) fn connect() -> Msg {
    let entries = [("app", "live"), ("type", "nonprivate"), ("tcUrl", "rtmp://localhost/live")];
    let object = entries.map(|(key, value)| (key.to_owned(), Amf::str(value))).to_vec();
    Msg::command(3, 0, &[Amf::str("connect"), Amf::Number(1.0), Amf::Object(object)])
}

fn create_stream() -> Msg {
    Msg::command(3, 0, &[Amf::str("createStream"), Amf::Number(2.0), Amf::Null])
}

/// A client up to the point where a server with its handshake behind it lets it publish `name`,
/// or play it. The one message stream of a fresh connection is 1 in all servers.
pub(crate) fn opening(verb: &str, name: &str) -> Vec<u8> {
    let values = [Amf::str(verb), Amf::Number(3.0), Amf::Null, Amf::str(name)];
    let ask = Msg::command(5, 1, &values);
    [connect(), create_stream(), ask].iter().flat_map(|message| message.bytes(128)).collect()
}

/// What a server told its surroundings, apart from bytes to send.
#[derive(Clone, Debug, PartialEq)]
pub(crate) enum Seen {
    Publish(String),
    Play(String),
    /// The tag's time and payload.
    Tag(u32, Vec<u8>),
    Ended,
    /// With the error's text, if there was one.
    Closed(Option<String>),
}

/// A `ServerConnection` that lets everybody publish and play, driven by a clock moved by hand.
pub(crate) struct Server {
    connection: ServerConnection,
    start: Instant,
    now: Instant,
    /// When it wants to be woken.
    deadline: Option<Instant>,
    pub(crate) sent: Vec<u8>,
    pub(crate) seen: Vec<Seen>,
}

impl Server {
    pub(crate) fn new(limits: ConnectionLimits) -> Self {
        #[expect(
            clippy::disallowed_methods,
            reason = "any moment will do; from here on it is moved"
        )]
        let now = Instant::now();
        let connection = ServerConnection::new(now, 7, limits);
        let (deadline, sent, seen) = (None, vec![], vec![]);
        let mut server = Self { connection, start: now, now, deadline, sent, seen };
        server.drain();
        server
    }

    /// One with the handshake behind it.
    pub(crate) fn open() -> Self {
        let mut server = Self::new(ConnectionLimits::default());
        server.receive(handshake());
        server
    }

    /// One that has received `pieces` and nothing else.
    pub(crate) fn fed(pieces: &[Bytes]) -> Self {
        let mut server = Self::new(ConnectionLimits::default());
        pieces.iter().for_each(|piece| server.receive(piece.clone()));
        server
    }

    pub(crate) fn receive(&mut self, bytes: impl Into<Bytes>) {
        self.input(Input::Received(bytes.into()));
    }

    pub(crate) fn say(&mut self, message: &Msg) {
        self.receive(message.bytes(128));
    }

    fn input(&mut self, input: Input) {
        if !self.is_closed() {
            self.connection.handle_input(self.now, input);
            self.drain();
        }
    }

    /// Lets time go by, and wakes the connection whenever it asked for it.
    pub(crate) fn pass(&mut self, duration: Duration) {
        let end = self.now + duration;
        while let Some(deadline) = self.deadline.filter(|&at| at <= end && !self.is_closed()) {
            assert!(deadline > self.now, "a deadline that has passed would make a shell spin");
            self.now = deadline;
            self.input(Input::Timeout);
        }
        self.now = end;
    }

    fn drain(&mut self) {
        loop {
            let seen = match self.connection.poll_output() {
                Output::Send(bytes) => {
                    self.sent.extend_from_slice(&bytes);
                    continue;
                }
                Output::Wait(deadline) => {
                    self.deadline = deadline;
                    return;
                }
                Output::Close(error) => {
                    self.seen.push(Seen::Closed(error.map(|error| error.to_string())));
                    return;
                }
                Output::Publish { stream_id, name, .. } => {
                    self.connection.accept_publish(stream_id);
                    Seen::Publish(name)
                }
                Output::Play { stream_id, name, .. } => {
                    self.connection.accept_play(stream_id);
                    Seen::Play(name)
                }
                Output::Tag { tag, .. } => {
                    let payload: Vec<&[u8]> = tag.payload.slices().collect();
                    Seen::Tag(tag.timestamp.as_ms(), payload.concat())
                }
                _ => Seen::Ended,
            };
            self.seen.push(seen);
        }
    }

    pub(crate) fn is_closed(&self) -> bool {
        matches!(self.seen.last(), Some(Seen::Closed(_)))
    }

    /// Closed, and not because anybody wanted it.
    pub(crate) fn has_failed(&self) -> bool {
        matches!(self.seen.last(), Some(Seen::Closed(Some(_))))
    }

    /// How long it has lived.
    pub(crate) fn age(&self) -> Duration {
        self.now - self.start
    }

    /// What was sent behind the handshake.
    pub(crate) fn answer(&self) -> Decoder {
        Decoder::of(self.sent.get(HANDSHAKE..).unwrap_or_default())
    }

    /// The bodies of all messages of one type that were sent.
    pub(crate) fn answers(&self, type_id: u8) -> Vec<Vec<u8>> {
        let messages = self.answer().messages.into_iter();
        messages.filter(|message| message.type_id == type_id).map(|message| message.body).collect()
    }

    /// The names of all commands that were sent.
    pub(crate) fn answered_commands(&self) -> Vec<String> {
        let name = |body: Vec<u8>| match Amf::all(&body).swap_remove(0) {
            Amf::Str(name) => name,
            other => panic!("{other:?} is no command name"),
        };
        self.answers(20).into_iter().map(name).collect()
    }

    /// Whether it still does what it is told.
    pub(crate) fn is_alive(&mut self) -> bool {
        let before = self.answers(4).len();
        let data = [0xDE, 0xAD, 0xBE, 0xEF];
        self.say(&user_control(6, &data));
        let pongs = self.answers(4).split_off(before);
        pongs.contains(&[&[0, 7][..], &data].concat())
    }
}

/// What `ChunkReader` makes of `pieces`, and the error it ended with.
pub(crate) fn read(pieces: &[Bytes], limits: ChunkLimits) -> (Vec<Msg>, Option<String>) {
    let mut reader = ChunkReader::new(limits);
    let mut messages = vec![];
    for piece in pieces {
        let mut input = piece.clone();
        loop {
            match reader.read(&mut input) {
                Ok(Some(message)) => messages.push(Msg {
                    csid: message.csid,
                    time: message.timestamp.as_ms(),
                    type_id: message.type_id,
                    stream_id: message.stream_id,
                    body: message.payload.slices().collect::<Vec<_>>().concat(),
                }),
                Ok(None) => break,
                Err(error) => return (messages, Some(error.to_string())),
            }
        }
        assert!(input.is_empty(), "`None` means that all was taken");
    }
    (messages, None)
}

/// The messages in `parts`, however they are cut.
pub(crate) fn messages(parts: &[Vec<u8>]) -> Vec<Msg> {
    let (messages, error) = however_cut(parts, |pieces| read(pieces, ChunkLimits::default()));
    assert_eq!(error, None);
    messages
}
