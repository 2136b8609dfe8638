//! A recording of OBS as a server's socket gives it: pieces of receive blocks, cut where reads end.

use bytes::Bytes;
use forebay::blocks::{BlockLimits, BlockPool};
use forebay::flv::Tag;
use forebay::rtmp::chunk::{ChunkLimits, ChunkReader, ChunkWriter, MessageHeader};
use forebay::rtmp::message::message_type;
use forebay::time::Timestamp;

/// Between the last tag of the clip and the first of its next round.
const FRAME_MS: u32 = 33;

/// `count` tags of `clip` over and over in chunks of `chunk_size`, each received as soon as it was
/// sent: one piece for a tag, two where a block ends.
pub fn pieces(clip: &[Tag], count: usize, chunk_size: u32) -> Vec<Bytes> {
    let mut blocks = BlockPool::new(BlockLimits::default());
    let mut writer = ChunkWriter::new();
    let (mut wire, mut pieces) = (Vec::new(), Vec::new());
    let header = MessageHeader {
        csid: 2,
        type_id: message_type::SET_CHUNK_SIZE,
        stream_id: 0,
        timestamp: Timestamp::ZERO,
    };
    writer.write(header, &chunk_size.to_be_bytes(), &mut wire);
    writer.set_chunk_size(chunk_size);
    for (kind, timestamp, payload) in over_and_over(clip).take(count) {
        let header = MessageHeader { csid: 4, type_id: kind as u8, stream_id: 1, timestamp };
        writer.write_rope(header, payload, &mut wire);
        let mut rest = &wire[..];
        while !rest.is_empty() {
            rest = &rest[blocks.append(rest)..];
            pieces.push(blocks.take_received());
        }
        wire.clear();
    }
    pieces
}

/// `count` tags of `clip`, received as [`pieces`] are: ropes of blocks.
pub fn tags(clip: &[Tag], count: usize, chunk_size: u32) -> anyhow::Result<Vec<Tag>> {
    let mut reader = ChunkReader::new(ChunkLimits::default());
    let mut tags = Vec::with_capacity(count);
    for mut piece in pieces(clip, count, chunk_size) {
        while let Some(message) = reader.read(&mut piece)? {
            tags.extend(message.into_tags()?);
        }
    }
    Ok(tags)
}

/// Time runs on from round to round.
fn over_and_over(
    clip: &[Tag],
) -> impl Iterator<Item = (forebay::flv::TagKind, Timestamp, &forebay::rope::Rope)> {
    let round_ms = clip.last().map_or(0, |last| last.timestamp.as_ms() + FRAME_MS);
    (0..).flat_map(move |round| {
        clip.iter()
            .map(move |tag| (tag.kind, tag.timestamp.plus_ms(round * round_ms), &tag.payload))
    })
}
