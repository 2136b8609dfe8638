//! Session: a whole server connection, sent anything behind a valid handshake.

use std::collections::BTreeMap;
use std::time::Instant;

use bytes::Bytes;
use forebay::amf0;
use forebay::rtmp::chunk::{ChunkError, ChunkLimits, ChunkReader};
use forebay::rtmp::command::{Command, CommandLimits};
use forebay::rtmp::message::message_type;
use forebay::rtmp::server::{ConnectionLimits, Output};
use forebay::rtmp::{ConnectionError, Input, ServerConnection};

use crate::pieces::{Ledger, cut, split};

/// C0, C1 and C2, or S0, S1 and S2.
const HANDSHAKE_LEN: usize = 1 + 2 * 1536;
/// What a connection collects before it sends, and room for the one answer that goes past it.
const SEND_LEN_MAX: usize = (64 << 10) + (8 << 10);

/// Low enough that short inputs reach them.
fn limits() -> ConnectionLimits {
    ConnectionLimits {
        chunks: ChunkLimits {
            message_len_max: 1 << 10,
            chunk_streams_max: 6,
            unfinished_messages_max: 3,
            buffered_bytes_max: 1 << 10,
            spare_ropes_max: 4,
        },
        commands: CommandLimits {
            command_len_max: 2 << 10,
            name_len_max: 32,
            query_len_max: 64,
            amf0: amf0::Limits { depth_max: 8, elements_max: 128 },
        },
        streams_max: 3,
        chunk_size: 256,
        ..ConnectionLimits::default()
    }
}

/// Panics if a connection that is sent `data` behind its first byte breaks a promise.
pub fn check(data: &[u8]) {
    let Some((cuts, data)) = split(data) else { return };
    let in_pieces = converse(cut(data, cuts));
    let whole = converse(std::iter::once(data));
    // How much is waiting is looked at when a piece is used up.
    let is_limit_of_pieces = |error: &Option<ConnectionError>| {
        matches!(
            error,
            Some(ConnectionError::Chunk { source: ChunkError::TooMuchBuffered { .. }, .. })
        )
    };
    let len = match (is_limit_of_pieces(&in_pieces.error), is_limit_of_pieces(&whole.error)) {
        (false, false) => {
            // As people see it: how much was consumed before a header was refused depends on cuts.
            let text = |error: Option<ConnectionError>| error.map(|error| error.to_string());
            assert_eq!(text(in_pieces.error), text(whole.error), "cuts {cuts}");
            usize::MAX
        }
        _ => in_pieces.events.len().min(whole.events.len()),
    };
    let first = |events: &[String]| events[..len.min(events.len())].to_vec();
    assert_eq!(first(&in_pieces.events), first(&whole.events), "cuts {cuts}");
}

/// What came of a connection.
struct Outcome {
    events: Vec<String>,
    error: Option<ConnectionError>,
}

/// What a message stream is in use for.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum Use {
    Publish,
    Play,
}

/// A host that lets everybody in whose name does not begin with an `r`.
struct Host {
    connection: ServerConnection,
    now: Instant,
    uses: BTreeMap<u32, Use>,
    events: Vec<String>,
    sent: Vec<u8>,
    received: usize,
    pinned: usize,
}

#[expect(clippy::disallowed_methods, reason = "std has no other Instant; it is never read again")]
fn converse<'a>(pieces: impl Iterator<Item = &'a [u8]>) -> Outcome {
    let (now, limits, ledger) = (Instant::now(), limits(), Ledger::default());
    let mut host = Host {
        connection: ServerConnection::new(now, 7, limits),
        now,
        uses: BTreeMap::new(),
        events: Vec::new(),
        sent: Vec::new(),
        received: 0,
        pinned: 0,
    };
    let mut hello = [0; HANDSHAKE_LEN];
    hello[0] = 3;
    let mut closed = host.input(Input::Received(ledger.receive(&hello)), HANDSHAKE_LEN);
    assert_eq!(ledger.held(), 0, "the handshake is over");
    let mut piece_len_max = 0;
    for piece in pieces {
        if closed.is_some() {
            break;
        }
        piece_len_max = piece_len_max.max(piece.len());
        closed = host.input(Input::Received(ledger.receive(piece)), piece.len());
        let (held, held_max) = (ledger.held(), limits.chunks.buffered_bytes_max + piece_len_max);
        assert!(closed.is_some() || held <= held_max, "{held} bytes are held, not {held_max}");
    }
    let error = closed.unwrap_or_else(|| {
        let closed = host.input(Input::Close, 0);
        assert_eq!(closed, Some(None), "it closes when its peer does, and nobody is to blame");
        None
    });
    error.iter().for_each(|error| check_error(error, host.received as u64));
    assert_eq!(host.connection.received_bytes(), host.received as u64);
    assert!(host.pinned <= host.received, "tags pin more than was received");
    check_sent(&host.sent);
    Outcome { events: host.events, error }
}

impl Host {
    /// `Some` if the connection has closed, with its error.
    fn input(&mut self, input: Input, len: usize) -> Option<Option<ConnectionError>> {
        self.received += len;
        self.connection.handle_input(self.now, input);
        // A message is a byte at least, and an aggregate's part eleven.
        let output_count_max = 2 * len + 4096;
        for _ in 0..output_count_max {
            match self.connection.poll_output() {
                Output::Send(bytes) => {
                    assert!(bytes.len() <= SEND_LEN_MAX, "{} bytes at once", bytes.len());
                    self.sent.extend_from_slice(&bytes);
                }
                Output::Wait(deadline) => {
                    assert!(deadline.is_some_and(|deadline| deadline > self.now));
                    return None;
                }
                Output::Close(error) => return Some(error),
                output => self.take(output),
            }
        }
        panic!("more than {output_count_max} outputs for {len} bytes");
    }

    fn take(&mut self, output: Output) {
        // Not a tag's share of the received bytes: which of them follow a message depends on cuts.
        match &output {
            Output::Tag { stream_id, tag, .. } => {
                let payload = tag.payload.to_bytes();
                let (kind, ms) = (tag.kind, tag.timestamp.as_ms());
                self.events.push(format!("{stream_id}: {kind:?} {ms} {payload:?}"));
            }
            other => self.events.push(format!("{other:?}")),
        }
        match output {
            Output::Publish { stream_id, name, .. } => {
                check_name(&name);
                self.begin(stream_id, Use::Publish);
                if name.starts_with('r') {
                    self.uses.remove(&stream_id);
                    let code = "NetStream.Publish.BadName";
                    return self.connection.refuse_publish(stream_id, code, "Not you.");
                }
                self.connection.accept_publish(stream_id);
            }
            Output::Play { stream_id, name, .. } => {
                check_name(&name);
                self.begin(stream_id, Use::Play);
                if name.starts_with('r') {
                    self.uses.remove(&stream_id);
                    let code = "NetStream.Play.StreamNotFound";
                    return self.connection.refuse_play(stream_id, code, "Not here.");
                }
                self.connection.accept_play(stream_id);
                if name.starts_with('e') {
                    self.uses.remove(&stream_id);
                    self.connection.end_play(stream_id);
                }
            }
            Output::Tag { stream_id, tag, pinned } => {
                assert_eq!(self.uses.get(&stream_id), Some(&Use::Publish), "a tag of no publish");
                assert!(tag.payload.len() <= limits().chunks.message_len_max);
                self.pinned += pinned as usize;
            }
            Output::Unpublish { stream_id } => {
                assert_eq!(self.uses.remove(&stream_id), Some(Use::Publish), "an end of nothing");
            }
            Output::StopPlay { stream_id } => {
                assert_eq!(self.uses.remove(&stream_id), Some(Use::Play), "an end of nothing");
            }
            Output::Receive { stream_id, .. } => {
                assert_eq!(self.uses.get(&stream_id), Some(&Use::Play), "a wish of no player");
            }
            Output::Send(_) | Output::Wait(_) | Output::Close(_) => unreachable!("taken before"),
        }
    }

    fn begin(&mut self, stream_id: u32, new: Use) {
        assert_eq!(self.uses.insert(stream_id, new), None, "stream {stream_id} is in use");
        assert!(self.uses.len() <= limits().streams_max);
    }
}

fn check_name(name: &str) {
    assert!(!name.is_empty() && name.len() <= limits().commands.name_len_max, "{name:?}");
    assert!(!name.contains(char::is_control), "{name:?}");
}

/// What an error says about the input is true.
fn check_error(error: &ConnectionError, received: u64) {
    let offset = match error {
        ConnectionError::Chunk { offset, .. }
        | ConnectionError::Command { offset, .. }
        | ConnectionError::Aggregate { offset, .. } => *offset,
        ConnectionError::Handshake { .. } => panic!("the handshake was valid: {error}"),
        ConnectionError::Timeout { .. } => panic!("no time has passed: {error}"),
    };
    assert!((HANDSHAKE_LEN as u64..=received).contains(&offset), "{error}, of {received}");
}

/// What a server says can be read, whatever it was asked.
fn check_sent(sent: &[u8]) {
    let mut reader = ChunkReader::new(ChunkLimits::default());
    let mut rest = Bytes::copy_from_slice(&sent[HANDSHAKE_LEN..]);
    loop {
        match reader.read(&mut rest) {
            Ok(Some(message)) if message.type_id == message_type::COMMAND_AMF0 => {
                let body = message.payload.to_bytes();
                let command = Command::parse(message.type_id, &body, amf0::Limits::default());
                let command = command.expect("our own command");
                assert!(["_result", "_error", "onStatus"].contains(&command.name), "{command:?}");
            }
            Ok(Some(message)) => assert!((1..=6).contains(&message.type_id), "{message:?}"),
            Ok(None) => break,
            Err(error) => panic!("our own chunks: {error}"),
        }
    }
    assert!(!reader.is_mid_message(), "half a message was sent");
}
