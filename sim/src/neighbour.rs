//! Bad neighbours: what they say, and when. They listen to nothing.

use std::time::Duration;

use crate::plan::Speech;
use crate::publisher::encode::{ChunkWriter, Header};
use crate::viewer::amf0::{self, Value};
use crate::viewer::connection::{c0_c1, fill};

/// How often those who do something again and again do it.
const AGAIN: Duration = Duration::from_millis(500);

/// What a bad neighbour sends, and when since its connection was opened; each time after the one
/// before. `key` is a stream that somebody may be publishing.
pub fn speech(speech: Speech, key: &str, seed: u64) -> Vec<(Duration, Vec<u8>)> {
    let (app, name) = key.rsplit_once('/').unwrap_or(("", key));
    let caller = || Caller::new(seed, app);
    let at_once = |bytes: Vec<u8>| vec![(Duration::ZERO, bytes)];
    match speech {
        Speech::Silence => Vec::new(),
        // Not 3, which would begin a handshake.
        Speech::Garbage => at_once(garbage(seed, &[0x9E], 4_000)),
        Speech::Http => at_once(request(key)),
        Speech::Tls => at_once(tls_hello(seed)),
        Speech::HalfHandshake => at_once(c0_c1(seed)[..700].to_vec()),
        Speech::SlowHandshake => slowly(&c0_c1(seed)),
        Speech::WrongVersion => at_once(garbage(seed, &[9], 4_000)),
        Speech::GarbageAfterHandshake => at_once(garbage(seed, &handshake(seed), 4_000)),
        Speech::LongMessage => in_pieces(&caller().long_message()),
        Speech::ManyChunkStreams => at_once(caller().many_chunk_streams()),
        Speech::DeepAmf => at_once(caller().deep_amf()),
        Speech::UnknownCommands => at_once(caller().unknown_commands()),
        Speech::MediaFirst => at_once(caller().media_first()),
        Speech::PlaysNothing => caller().plays_nothing(),
        Speech::Intruder => at_once(caller().intruder(name)),
        Speech::SlowHttp => slowly(&request(key)),
    }
}

fn garbage(seed: u64, front: &[u8], len: usize) -> Vec<u8> {
    let mut bytes = front.to_vec();
    bytes.resize(front.len() + len, 0);
    fill(seed, &mut bytes[front.len()..]);
    bytes
}

/// C0, C1, and a C2 that repeats nothing.
fn handshake(seed: u64) -> Vec<u8> {
    let mut bytes = c0_c1(seed);
    bytes.resize(1 + 2 * 1536, 0);
    bytes
}

fn request(key: &str) -> Vec<u8> {
    format!("GET /{key}.flv HTTP/1.1\r\nHost: sim\r\n\r\n").into_bytes()
}

/// A record of TLS 1.0 with a ClientHello in it.
fn tls_hello(seed: u64) -> Vec<u8> {
    let mut bytes = b"\x16\x03\x01\x00\xbd\x01\x00\x00\xb9\x03\x03".to_vec();
    bytes.extend(garbage(seed, &[], 183));
    bytes
}

/// A byte a second.
fn slowly(bytes: &[u8]) -> Vec<(Duration, Vec<u8>)> {
    let at = (0..).map(Duration::from_secs);
    at.zip(bytes.iter().map(|byte| vec![*byte])).collect()
}

fn in_pieces(bytes: &[u8]) -> Vec<(Duration, Vec<u8>)> {
    let at = (0..).map(|index| Duration::from_millis(100 * index));
    at.zip(bytes.chunks(64 << 10).map(<[u8]>::to_vec)).collect()
}

/// A client that has said its handshake and `connect`, without waiting.
struct Caller {
    writer: ChunkWriter,
    out: Vec<u8>,
    seed: u64,
}

impl Caller {
    fn new(seed: u64, app: &str) -> Self {
        let mut caller = Self { writer: ChunkWriter::new(), out: handshake(seed), seed };
        let object = Value::Object(vec![("app".to_owned(), Value::text(app))]);
        caller.command(0, "connect", 1.0, &[object]);
        caller
    }

    fn message(&mut self, csid: u32, type_id: u8, stream_id: u32, body: &[u8]) {
        let header = Header { csid, type_id, stream_id, timestamp_ms: 0 };
        self.writer.write(header, body, &mut self.out);
    }

    fn command(&mut self, stream_id: u32, name: &str, id: f64, arguments: &[Value]) {
        let mut body = amf0::to_bytes(&[Value::text(name), Value::Number(id)]);
        body.extend(amf0::to_bytes(arguments));
        self.message(3, 20, stream_id, &body);
    }

    fn open_stream(&mut self, name: &str, what: &str) {
        self.command(0, "createStream", 2.0, &[Value::Null]);
        self.command(1, what, 3.0, &[Value::Null, Value::text(name), Value::text("live")]);
    }

    /// 16 MiB less one, on a stream of its own: allowed by the protocol, and more than is needed.
    fn long_message(mut self) -> Vec<u8> {
        self.open_stream("long-message", "publish");
        self.writer.write_chunk_size(65_536, &mut self.out);
        let mut body = vec![0x17, 1, 0, 0, 0];
        body.resize((1 << 24) - 1, 0);
        self.message(4, 9, 1, &body);
        self.out
    }

    /// A message begun on every chunk stream that needs two bytes or less.
    fn many_chunk_streams(mut self) -> Vec<u8> {
        for csid in 3..320 {
            let header = Header { csid, type_id: 9, stream_id: 1, timestamp_ms: 0 };
            let body = [0; 1_000];
            self.writer.forget(csid);
            let chunk_size = self.writer.chunk_size();
            let _nobody_asks =
                self.writer.begin(header, &body).write_chunk(chunk_size, &mut self.out);
        }
        self.out
    }

    fn deep_amf(mut self) -> Vec<u8> {
        // Short enough for a limit on length, too deep for a stack.
        const DEPTH: usize = 10_000;
        let mut body = amf0::to_bytes(&[Value::text("deep"), Value::Number(4.0)]);
        for _ in 0..DEPTH {
            body.extend(b"\x03\x00\x01a");
        }
        self.message(3, 20, 0, &body);
        self.out
    }

    fn unknown_commands(mut self) -> Vec<u8> {
        let object =
            Value::Object(vec![("a".to_owned(), Value::StrictArray(vec![Value::Null; 3]))]);
        let wrong = [object, Value::Number(f64::NAN), Value::Boolean(true), Value::Undefined];
        for index in 0..20 {
            let name = format!("command{}", (self.seed % 97) * 20 + index);
            self.command(index as u32 % 3, &name, 10.0 + index as f64, &wrong);
        }
        for name in ["publish", "play", "createStream", "deleteStream", "closeStream", "pause"] {
            self.command(1, name, 40.0, &wrong);
            self.command(1, name, f64::INFINITY, &[]);
        }
        // No name, and no command at all.
        self.message(3, 20, 0, &amf0::to_bytes(&wrong));
        self.message(3, 20, 0, b"\x02\xff\xffx");
        self.out
    }

    fn media_first(mut self) -> Vec<u8> {
        for index in 0..50u8 {
            let (type_id, body) = match index % 2 {
                0 => (9, vec![0x17, u8::from(index > 0), 0, 0, 0, index]),
                _ => (8, vec![0xAF, u8::from(index > 1), index]),
            };
            self.message(4, type_id, 1, &body);
        }
        self.out
    }

    /// Never the same name, so that each is a new nothing.
    fn plays_nothing(mut self) -> Vec<(Duration, Vec<u8>)> {
        const TIMES: u32 = 20;
        self.command(0, "createStream", 2.0, &[Value::Null]);
        let mut said = Vec::new();
        for index in 0..TIMES {
            let name = format!("nothing-{}-{index}", self.seed % 1_000);
            self.command(1, "play", 3.0, &[Value::Null, Value::String(name)]);
            said.push((AGAIN * index, std::mem::take(&mut self.out)));
        }
        said
    }

    fn intruder(mut self, name: &str) -> Vec<u8> {
        self.open_stream(name, "publish");
        for index in 0..10u8 {
            self.message(4, 9, 1, &[0x17, u8::from(index > 0), 0, 0, 0, 0xBA, 0xD0, index]);
        }
        self.out
    }
}
