//! ChunkReader, ChunkWriter: chunk streams to and from messages (RTMP 5.3).

mod reader;
mod writer;

pub use reader::{ChunkError, ChunkLimits, ChunkReader};
pub use writer::{ChunkWriter, MessageHeader};

/// The chunk size both sides begin with (RTMP 5.4.1).
const CHUNK_SIZE_DEFAULT: u32 = 128;

/// A 24-bit timestamp field of this value says that 32 more bits follow (RTMP 5.3.1.3).
const EXTENDED: u32 = 0xFF_FFFF;

/// Basic header (3), message header (11) and extended timestamp (4).
const HEADER_LEN_MAX: usize = 18;

#[cfg(test)]
mod tests {
    use bytes::{BufMut, Bytes, BytesMut};

    use super::*;
    use crate::rtmp::message::Message;
    use crate::time::Timestamp;

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
        // Headers of one byte between its chunks, of two and three, and with the timestamp again.
        for (csid, ms) in [(6, 0), (100, 0), (400, 0), (6, 1 << 24)] {
            let mut wire = BytesMut::new();
            ChunkWriter::new().write(header(csid, ms), &[5; 10_000], &mut wire);
            let mut input = wire.freeze();
            let (start, end) = (input.as_ptr() as usize, input.as_ptr() as usize + input.len());
            let mut reader = ChunkReader::new(ChunkLimits::default());
            let message = reader.read(&mut input).unwrap().unwrap();
            assert_eq!(message.payload.run_count(), 1, "chunk stream {csid} at {ms} ms");
            for slice in message.payload.slices() {
                let at = slice.as_ptr() as usize;
                assert!((start..end).contains(&at), "a payload byte was copied");
            }
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
