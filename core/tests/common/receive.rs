//! A connection's bytes as a server receives them: into blocks, then to tags.

use bytes::BufMut;
use forebay::blocks::BlockPool;
use forebay::flv::Tag;
use forebay::rtmp::chunk::ChunkReader;

/// Receives chunks, as many at a time as a block has room for, and gives their tags away.
pub(crate) fn receive(
    pool: &mut BlockPool,
    reader: &mut ChunkReader,
    mut wire: &[u8],
    mut push: impl FnMut(Tag),
) {
    while !wire.is_empty() {
        let block = pool.writable();
        let take = wire.len().min(block.capacity() - block.len());
        block.put_slice(&wire[..take]);
        wire = &wire[take..];
        let mut input = pool.take_received();
        while let Some(message) = reader.read(&mut input).unwrap() {
            message.into_tags().unwrap().into_iter().for_each(&mut push);
        }
    }
}
