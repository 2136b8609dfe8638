//! Session: what both ends of a connection do behind the handshake. Chunks in and out,
//! acknowledgements, bandwidth, pings (RTMP 5.4, 6.2).

use std::time::Duration;

use bytes::{BufMut, Bytes, BytesMut};

use super::chunk::{ChunkError, ChunkLimits, ChunkReader, ChunkWriter, MessageHeader};
use super::command::{Command, CommandError};
use super::handshake::HandshakeError;
use super::message::{AggregateError, Message, message_type};
use crate::flv::{Tag, TagKind, script};
use crate::rope::Rope;
use crate::time::Timestamp;

/// What the outside world can tell a connection.
#[derive(Clone, Debug)]
pub enum Input {
    /// Bytes from the peer, cut anywhere. Ignored once the connection is closing.
    Received(Bytes),
    /// The moment of the last `Wait` has come. Too early does no harm.
    Timeout,
    /// The peer closed its side, or the connection is lost.
    Close,
}

/// Why a connection ends before its peer closed it.
///
/// `offset` counts the bytes received on this connection, those of the handshake included.
#[derive(Debug, PartialEq, Eq, thiserror::Error)]
pub enum ConnectionError {
    /// The peer does not speak RTMP.
    #[error("handshake, at byte {offset}: {source}")]
    Handshake {
        /// Bytes consumed before it was noticed.
        offset: u64,
        /// What was violated.
        source: HandshakeError,
    },
    /// The peer's chunks cannot be read on.
    #[error("chunks, behind the {HANDSHAKE_LEN} bytes of the handshake, {source}")]
    Chunk {
        /// Bytes consumed before it was noticed.
        offset: u64,
        /// What was violated. The offset in it begins behind the handshake.
        source: ChunkError,
    },
    /// A command cannot be read, or asks for something that we refuse.
    #[error("message ending at byte {offset}: {source}")]
    Command {
        /// Where the message ends.
        offset: u64,
        /// What was violated.
        source: CommandError,
    },
    /// The parts of an aggregate message do not add up.
    #[error("message ending at byte {offset}: {source}")]
    Aggregate {
        /// Where the message ends.
        offset: u64,
        /// What was violated.
        source: AggregateError,
    },
    /// The peer did not do in time what it had to.
    #[error("{awaited} did not come within {after:?}")]
    Timeout {
        /// What did not come.
        awaited: &'static str,
        /// The limit.
        after: Duration,
    },
}

/// C0, C1 and C2, or S0, S1 and S2.
pub(super) const HANDSHAKE_LEN: u64 = 1 + 2 * 1536;

/// Control messages have a chunk stream of their own (RTMP 5.4).
const CSID_CONTROL: u32 = 2;
/// NetConnection commands.
pub(super) const CSID_CONNECTION: u32 = 3;
/// `onStatus`, and a client's `publish` and `play`. Not the media's, whose headers are compressed
/// against each other.
pub(super) const CSID_STREAM: u32 = 5;

/// User control events (RTMP 7.1.7).
pub(super) mod user_control {
    pub(crate) const STREAM_BEGIN: u16 = 0;
    pub(crate) const STREAM_EOF: u16 = 1;
    pub(crate) const SET_BUFFER_LENGTH: u16 = 3;
    pub(crate) const PING_REQUEST: u16 = 6;
    pub(crate) const PING_RESPONSE: u16 = 7;
}

/// Limit types of Set Peer Bandwidth (RTMP 5.4.5).
mod limit_type {
    pub(super) const HARD: u8 = 0;
    pub(super) const SOFT: u8 = 1;
    pub(super) const DYNAMIC: u8 = 2;
}

pub(super) struct Session {
    reader: ChunkReader,
    writer: ChunkWriter,
    /// What is to be sent next.
    out: BytesMut,
    /// The body of the message being written.
    body: BytesMut,
    /// Bytes received, those of the handshake included.
    received: u64,
    /// How many of them the peer has been told of.
    acknowledged: u64,
    /// Bytes that the peer has told us it received, modulo 2^32.
    acknowledged_by_peer: Option<u32>,
    /// How many bytes the peer sends before it wants to be told, if it has said so.
    peer_window: Option<u32>,
    /// The Window Acknowledgement Size last sent.
    window: Option<u32>,
    /// Size and limit type of the peer's last Set Peer Bandwidth.
    bandwidth: Option<(u32, u8)>,
}

impl Session {
    pub(super) fn new(limits: ChunkLimits) -> Self {
        Self {
            reader: ChunkReader::new(limits),
            writer: ChunkWriter::new(),
            out: BytesMut::new(),
            body: BytesMut::new(),
            received: 0,
            acknowledged: 0,
            acknowledged_by_peer: None,
            peer_window: None,
            window: None,
            bandwidth: None,
        }
    }

    /// Bytes received, those of the handshake included.
    pub(super) fn received(&self) -> u64 {
        self.received
    }

    /// Bytes that the peer has said it received, modulo 2^32 (RTMP 5.4.3).
    pub(super) fn acknowledged_by_peer(&self) -> Option<u32> {
        self.acknowledged_by_peer
    }

    pub(super) fn count_received(&mut self, len: usize) {
        self.received += len as u64;
    }

    /// Bytes of the connection consumed, once the handshake is over.
    pub(super) fn offset(&self) -> u64 {
        HANDSHAKE_LEN + self.reader.offset()
    }

    /// Whether a message has begun and goes on in what comes next.
    pub(super) fn is_mid_message(&self) -> bool {
        self.reader.is_mid_message()
    }

    /// The next message that is more than the connection's own housekeeping.
    ///
    /// `None`: all of `input` was consumed, and is acknowledged if the peer's window asks for it.
    pub(super) fn read(&mut self, input: &mut Bytes) -> Result<Option<Message>, ChunkError> {
        while !input.is_empty() {
            let Some(message) = self.reader.read(input)? else { break };
            if !self.keep_house(&message) {
                return Ok(Some(message));
            }
        }
        // An empty `Bytes` still holds on to its block.
        *input = Bytes::new();
        self.acknowledge();
        Ok(None)
    }

    /// Whether the message was for the connection itself and is done with.
    ///
    /// A payload shorter than its format, an unknown event: ignored (RTMP 6.2).
    fn keep_house(&mut self, message: &Message) -> bool {
        match message.type_id {
            // The reader has applied the first two. Nothing here waits for acknowledgements: the
            // hub drops for a slow peer, and TCP knows better what has arrived.
            message_type::SET_CHUNK_SIZE | message_type::ABORT => {}
            message_type::ACKNOWLEDGEMENT => {
                let bytes = message.payload.first_chunk().map(u32::from_be_bytes);
                self.acknowledged_by_peer = bytes.or(self.acknowledged_by_peer);
            }
            message_type::USER_CONTROL => {
                if let Some([event_high, event_low, time @ ..]) = message.payload.first_chunk::<6>()
                    && u16::from_be_bytes([event_high, event_low]) == user_control::PING_REQUEST
                {
                    self.write_user_control(
                        user_control::PING_RESPONSE,
                        &[u32::from_be_bytes(time)],
                    );
                }
            }
            message_type::WINDOW_ACKNOWLEDGEMENT_SIZE => {
                if let Some(size) = message.payload.first_chunk().map(u32::from_be_bytes) {
                    self.peer_window = (size > 0).then_some(size);
                }
            }
            message_type::SET_PEER_BANDWIDTH => {
                if let Some([size @ .., limit_type]) = message.payload.first_chunk::<5>() {
                    self.limit_bandwidth(u32::from_be_bytes(size), limit_type);
                }
            }
            _ => return false,
        }
        true
    }

    /// RTMP 5.4.5. The answer is all that is made of it: the sender is told our window, and what
    /// is sent is never held back for it.
    fn limit_bandwidth(&mut self, size: u32, limit_type: u8) {
        let (size, limit_type) = match (limit_type, self.bandwidth) {
            (limit_type::SOFT, Some((current, _))) => (size.min(current), limit_type),
            (limit_type::HARD | limit_type::SOFT, _) => (size, limit_type),
            (limit_type::DYNAMIC, Some((_, limit_type::HARD))) => (size, limit_type::HARD),
            _ => return,
        };
        self.bandwidth = Some((size, limit_type));
        if self.window != Some(size) {
            self.write_window(size);
        }
    }

    /// Twice a window, so that a peer that stops at the window's end never has to stop.
    fn acknowledge(&mut self) {
        let Some(window) = self.peer_window else { return };
        if self.received - self.acknowledged >= u64::from(window.div_ceil(2)) {
            self.acknowledged = self.received;
            // RTMP 5.4.3 has 32 bits for it: they wrap at 4 GiB.
            let sequence_number = self.received as u32;
            self.write_control(message_type::ACKNOWLEDGEMENT, &sequence_number.to_be_bytes());
        }
    }

    /// Bytes of the handshake.
    pub(super) fn write_raw(&mut self, bytes: &[u8]) {
        self.out.put_slice(bytes);
    }

    /// From the next message on.
    pub(super) fn write_chunk_size(&mut self, size: u32) {
        self.write_control(message_type::SET_CHUNK_SIZE, &size.to_be_bytes());
        self.writer.set_chunk_size(size);
    }

    pub(super) fn write_window(&mut self, size: u32) {
        self.window = Some(size);
        self.write_control(message_type::WINDOW_ACKNOWLEDGEMENT_SIZE, &size.to_be_bytes());
    }

    pub(super) fn write_peer_bandwidth(&mut self, size: u32) {
        let [a, b, c, d] = size.to_be_bytes();
        let body = [a, b, c, d, limit_type::DYNAMIC];
        self.write_control(message_type::SET_PEER_BANDWIDTH, &body);
    }

    pub(super) fn write_user_control(&mut self, event: u16, values: &[u32]) {
        let mut body = BytesMut::with_capacity(10);
        body.put_u16(event);
        values.iter().for_each(|value| body.put_u32(*value));
        self.write_control(message_type::USER_CONTROL, &body);
    }

    fn write_control(&mut self, type_id: u8, body: &[u8]) {
        let timestamp = Timestamp::ZERO;
        let header = MessageHeader { csid: CSID_CONTROL, type_id, stream_id: 0, timestamp };
        self.writer.write(header, body, &mut self.out);
    }

    pub(super) fn write_command(&mut self, csid: u32, stream_id: u32, command: &Command<'_>) {
        let (type_id, timestamp) = (message_type::COMMAND_AMF0, Timestamp::ZERO);
        let header = MessageHeader { csid, type_id, stream_id, timestamp };
        self.body.clear();
        command.write(&mut self.body);
        self.writer.write(header, &self.body, &mut self.out);
    }

    pub(super) fn write_tag(&mut self, csid: u32, stream_id: u32, tag: &Tag, payload: &Rope) {
        let (type_id, timestamp) = (tag.kind as u8, tag.timestamp);
        let header = MessageHeader { csid, type_id, stream_id, timestamp };
        self.out.reserve(self.writer.encoded_len_max(payload.len()));
        self.writer.write_rope(header, payload, &mut self.out);
    }

    /// Bytes that wait to be sent.
    pub(super) fn pending_len(&self) -> usize {
        self.out.len()
    }

    /// All that waits to be sent, as one piece.
    pub(super) fn take_pending(&mut self) -> Option<Bytes> {
        // Taken with its memory: ten thousand silent connections must not keep a buffer each.
        (!self.out.is_empty()).then(|| std::mem::take(&mut self.out).freeze())
    }
}

/// Runs `read` on the body of a command, which is only copied if it came in several pieces.
pub(super) fn with_body<T>(
    payload: &Rope,
    len_max: usize,
    read: impl FnOnce(&[u8]) -> Result<T, CommandError>,
) -> Result<T, CommandError> {
    let len = payload.len();
    if len > len_max {
        return Err(CommandError::TooLong { len, max: len_max });
    }
    match payload.slices().next() {
        Some(first) if first.len() == len => read(first),
        _ => {
            let mut body = vec![0; len];
            payload.read_at(0, &mut body);
            read(&body)
        }
    }
}

/// The tag as players are to see it: metadata without the `@setDataFrame` in front (FLV E.5). None
/// if it is `@clearDataFrame`: metadata are forgotten when their publisher leaves.
pub(super) fn to_relayed(tag: Tag) -> Option<Tag> {
    const CLEAR_DATA_FRAME: &[u8; 18] = b"\x02\0\x0f@clearDataFrame";
    if tag.kind != TagKind::Script {
        return Some(tag);
    }
    let is_clear =
        tag.payload.first_chunk().is_some_and(|start: [u8; 18]| start == *CLEAR_DATA_FRAME);
    (!is_clear).then(|| Tag { payload: script::strip_set_data_frame(&tag.payload), ..tag })
}
