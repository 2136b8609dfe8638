//! A recording of OBS, as it sends it and as the server receives it.

use anyhow::Context as _;
use bytes::Bytes;
use forebay::blocks::{BlockLimits, BlockPool};
use forebay::flv::{Tag, TagRole, file::FileReader};
use forebay::rtmp::chunk::{ChunkLimits, ChunkReader, ChunkWriter, MessageHeader};
use forebay::rtmp::message::message_type;
use forebay::time::Timestamp;

const CLIP: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/../testdata/flv/obs-1080p30-cbr6000.flv");
const LIGHT_CLIP: &str =
    concat!(env!("CARGO_MANIFEST_DIR"), "/../testdata/flv/obs-360p30-muted.flv");
/// What OBS announces.
const CHUNK_SIZE: u32 = 4096;

/// 1080p30 at 6 Mbit/s.
pub fn clip() -> anyhow::Result<Vec<Tag>> {
    read(CLIP)
}

/// 300 kbit/s, in as many tags: 360p30, whose pictures between keyframes are cut short. Nobody who
/// measures decodes them.
pub fn light_clip() -> anyhow::Result<Vec<Tag>> {
    let mut clip = read(LIGHT_CLIP)?;
    for tag in &mut clip {
        if matches!(tag.role(), TagRole::InterFrame { .. }) {
            let kept = tag.payload.len() * 11 / 20;
            let bytes: Vec<u8> = tag.payload.slices().flatten().copied().take(kept).collect();
            tag.payload = Bytes::from(bytes).into();
        }
    }
    Ok(clip)
}

fn read(file: &'static str) -> anyhow::Result<Vec<Tag>> {
    let mut reader = FileReader::strict();
    reader.push(std::fs::read(file).context(file)?.into());
    let mut clip = Vec::new();
    while let Some(found) = reader.next_tag()? {
        clip.push(found.tag);
    }
    Ok(clip)
}

/// The clip over and over, as OBS sends it and as the server receives it.
pub struct Ingest<'a> {
    clip: &'a [Tag],
    next: usize,
    shift_ms: u32,
    writer: ChunkWriter,
    blocks: BlockPool,
    reader: ChunkReader,
}

impl<'a> Ingest<'a> {
    /// Begins with the first tag of `clip`.
    pub fn new(clip: &'a [Tag]) -> Self {
        let blocks = BlockPool::new(BlockLimits::default());
        let reader = ChunkReader::new(ChunkLimits::default());
        Self { clip, next: 0, shift_ms: 0, writer: ChunkWriter::new(), blocks, reader }
    }

    /// The next tags whose timestamps are within `tick_ms`, and what each pins; at least one.
    pub fn tick(&mut self, tick_ms: u32) -> anyhow::Result<Vec<(Tag, u32)>> {
        let mut tags = Vec::new();
        let start = self.clip[self.next].timestamp;
        let mut wire = Vec::new();
        if self.next == 0 && self.shift_ms == 0 {
            let type_id = message_type::SET_CHUNK_SIZE;
            let header = MessageHeader { csid: 2, type_id, stream_id: 0, timestamp: start };
            self.writer.write(header, &CHUNK_SIZE.to_be_bytes(), &mut wire);
            self.writer.set_chunk_size(CHUNK_SIZE);
        }
        while tags.is_empty() || self.clip[self.next].timestamp.since(start) < tick_ms as i32 {
            let Tag { kind, timestamp, payload } = &self.clip[self.next];
            let timestamp = timestamp.plus_ms(self.shift_ms);
            let header = MessageHeader { csid: 4, type_id: *kind as u8, stream_id: 1, timestamp };
            self.writer.write_rope(header, payload, &mut wire);
            self.receive(&wire, &mut tags)?;
            wire.clear();
            self.next += 1;
            if self.next == self.clip.len() {
                let frame_ms = 33;
                self.shift_ms +=
                    self.clip[self.next - 1].timestamp.since(Timestamp::ZERO) as u32 + frame_ms;
                self.next = 0;
                break;
            }
        }
        Ok(tags)
    }

    fn receive(&mut self, mut wire: &[u8], tags: &mut Vec<(Tag, u32)>) -> anyhow::Result<()> {
        while !wire.is_empty() {
            wire = &wire[self.blocks.append(wire)..];
            let mut received = self.blocks.take_received();
            while let Some(message) = self.reader.read(&mut received)? {
                let pinned = message.payload.len() as u32;
                tags.extend(message.into_tags()?.into_iter().map(|tag| (tag, pinned)));
            }
        }
        Ok(())
    }
}
