//! Chunks: the same messages wherever they are cut, bounded memory, and our writer's are read back.

use bytes::{Bytes, BytesMut};
use forebay::rtmp::chunk::{ChunkError, ChunkLimits, ChunkReader, ChunkWriter, MessageHeader};
use forebay::rtmp::message::{Message, message_type};

use crate::pieces::{Ledger, cut, split};

/// Low enough that short inputs reach them.
const LIMITS: ChunkLimits = ChunkLimits {
    message_len_max: 1 << 10,
    chunk_streams_max: 6,
    unfinished_messages_max: 3,
    buffered_bytes_max: 256,
    spare_ropes_max: 4,
};

/// Inputs up to here are also read byte by byte: every header is cut everywhere.
const BYTEWISE_LEN_MAX: usize = 256;

/// Panics if reading `data` behind its first byte breaks a promise.
pub fn check(data: &[u8]) {
    let Some((cuts, data)) = split(data) else { return };
    // How much is waiting is looked at when a piece is used up, so only without this limit is the
    // outcome the same.
    let limits = ChunkLimits { buffered_bytes_max: usize::MAX, ..LIMITS };
    let (messages, error) = read(limits, cut(data, cuts));
    let whole = read(limits, std::iter::once(data));
    assert_eq!((&messages, &error), (&whole.0, &whole.1), "cuts {cuts}");
    if data.len() <= BYTEWISE_LEN_MAX {
        assert_eq!(read(limits, cut(data, 0)), whole, "byte by byte");
    }
    error.iter().for_each(|error| check_error(error, data.len() as u64));
    check_rewritten(&messages, cuts);

    let (some, error) = read(LIMITS, cut(data, cuts));
    match error {
        Some(ChunkError::TooMuchBuffered { .. }) => assert!(messages.starts_with(&some)),
        _ => assert_eq!((some, error), (messages, whole.1)),
    }
}

fn read<'a>(
    limits: ChunkLimits,
    pieces: impl Iterator<Item = &'a [u8]>,
) -> (Vec<Message>, Option<ChunkError>) {
    let mut reader = ChunkReader::new(limits);
    let (ledger, mut piece_len_max, mut messages) = (Ledger::default(), 0, Vec::new());
    let mut fed = 0;
    for piece in pieces {
        piece_len_max = piece_len_max.max(piece.len());
        fed += piece.len() as u64;
        let mut input = ledger.receive(piece);
        loop {
            match reader.read(&mut input) {
                Ok(Some(message)) => {
                    assert!(message.payload.len() <= limits.message_len_max);
                    // In memory of its own, so that only the reader holds on to pieces.
                    messages.push(Message { payload: message.payload.detach(), ..message });
                    assert_eq!(reader.offset() + input.len() as u64, fed);
                }
                Ok(None) => break,
                Err(error) => return (messages, Some(error)),
            }
        }
        assert!(input.is_empty() && reader.offset() == fed, "all of a piece is consumed");
        drop(input);
        let held = ledger.held();
        let held_max = limits.buffered_bytes_max.saturating_add(piece_len_max);
        assert!(held <= held_max, "{held} bytes are held, the limit is {held_max}");
        assert!(held == 0 || reader.is_mid_message(), "{held} bytes are held for nothing");
    }
    (messages, None)
}

/// What an error says about the input is true.
fn check_error(error: &ChunkError, len: u64) {
    let offset = match *error {
        ChunkError::NoPreviousHeader { offset, csid, fmt } => {
            assert!(csid >= 2 && fmt >= 2, "{error}");
            offset
        }
        ChunkError::MessageTooLong { offset, len, max } => {
            assert!(len > max, "{error}");
            offset
        }
        ChunkError::TooManyChunkStreams { offset, max, .. } => {
            assert_eq!(max, LIMITS.chunk_streams_max);
            offset
        }
        ChunkError::TooManyUnfinishedMessages { offset, max } => {
            assert_eq!(max, LIMITS.unfinished_messages_max);
            offset
        }
        ChunkError::ChunkSizeOutOfRange { offset, size } => {
            assert!(size == 0 || size > i32::MAX as u32, "{error}");
            offset
        }
        ChunkError::ControlTooShort { offset, len, .. } => {
            assert!(len < 4, "{error}");
            offset
        }
        ChunkError::TooMuchBuffered { .. } => panic!("without a limit: {error}"),
    };
    assert!(offset <= len, "{error}, of {len}");
}

/// What our writer makes of messages is the same messages again.
fn check_rewritten(messages: &[Message], cuts: u8) {
    let (mut writer, mut wire) = (ChunkWriter::new(), BytesMut::new());
    for Message { csid, type_id, stream_id, timestamp, payload } in messages {
        let (csid, type_id, stream_id, timestamp) = (*csid, *type_id, *stream_id, *timestamp);
        let len_max = wire.len() + writer.encoded_len_max(payload.len());
        let header = MessageHeader { csid, type_id, stream_id, timestamp };
        writer.write_rope(header, payload, &mut wire);
        assert!(wire.len() <= len_max, "longer than was said");
        if type_id == message_type::SET_CHUNK_SIZE {
            let size = payload.first_chunk().map(u32::from_be_bytes);
            writer.set_chunk_size(size.expect("the reader has seen it"));
        }
    }
    let wire: Bytes = wire.freeze();
    let limits = ChunkLimits { buffered_bytes_max: usize::MAX, ..LIMITS };
    let (again, error) = read(limits, cut(&wire, cuts));
    assert_eq!(error, None, "our own writer's");
    assert_eq!(again, messages);
}
