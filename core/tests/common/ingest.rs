//! A publisher without a network: a recorded stream, chunked, received into blocks, and published.

use std::task::{Context, Poll, Waker};
use std::time::{Duration, Instant};

use bytes::BytesMut;
use forebay::blocks::{BlockLimits, BlockPool};
use forebay::flv::Tag;
use forebay::flv::file::FileReader;
use forebay::hub::{Hub, Next, Publisher, Viewer};
use forebay::rope::copied_bytes;
use forebay::rtmp::chunk::{ChunkLimits, ChunkReader, ChunkWriter, MessageHeader};
use forebay::time::Timestamp;

#[path = "receive.rs"]
mod receive;
use receive::receive;

/// 77 tags a second: 30 pictures and 47 sounds.
const TAG_INTERVAL: Duration = Duration::from_millis(13);

/// A recorded OBS stream as the chunks of an RTMP publisher that never ends.
pub(crate) struct Encoder {
    tags: Vec<Tag>,
    next: usize,
    shift: u32,
    chunks: ChunkWriter,
}

impl Encoder {
    /// At the first tag, in chunks of this many bytes.
    pub(crate) fn new(chunk_size: u32) -> Self {
        let path = concat!(env!("CARGO_MANIFEST_DIR"), "/../testdata/flv/obs-720p30-cbr2500.flv");
        let mut reader = FileReader::strict();
        reader.push(std::fs::read(path).unwrap().into());
        let tags: Vec<_> =
            std::iter::from_fn(|| reader.next_tag().unwrap()).map(|found| found.tag).collect();
        let mut chunks = ChunkWriter::new();
        chunks.set_chunk_size(chunk_size);
        Self { tags, next: 0, shift: 0, chunks }
    }

    /// The bytes of the next tag, chunked on one chunk stream as OBS does.
    pub(crate) fn write(&mut self, out: &mut BytesMut) {
        if self.next == self.tags.len() {
            // Another round without the headers and the end: time runs on.
            self.next = 3;
            self.shift += 7_800;
        }
        let tag = &self.tags[self.next];
        self.next += 1;
        let timestamp = tag.timestamp.plus_ms(self.shift);
        let type_id = tag.kind as u8;
        let header = MessageHeader { csid: 4, type_id, stream_id: 1, timestamp };
        self.chunks.write_rope(header, &tag.payload, out);
    }
}

/// An encoder's connection, from its bytes to the hub.
pub(crate) struct Ingest {
    encoder: Encoder,
    reader: ChunkReader,
    pool: BlockPool,
    publisher: Publisher,
    wire: BytesMut,
    now: Instant,
    encoder_copied: u64,
}

impl Ingest {
    /// A publisher of `live/test` that announces a chunk size.
    pub(crate) fn new(hub: &Hub, chunk_size: u32, now: Instant) -> Self {
        let mut reader = ChunkReader::new(ChunkLimits::default());
        let mut set_size = BytesMut::new();
        let header =
            MessageHeader { csid: 2, type_id: 1, stream_id: 0, timestamp: Timestamp::ZERO };
        ChunkWriter::new().write(header, &chunk_size.to_be_bytes(), &mut set_size);
        reader.read(&mut set_size.freeze()).unwrap();
        Self {
            encoder: Encoder::new(chunk_size),
            reader,
            pool: BlockPool::new(BlockLimits::default()),
            publisher: hub.publish("live/test".into(), "studio").unwrap(),
            wire: BytesMut::with_capacity(1 << 20),
            now,
            encoder_copied: 0,
        }
    }

    /// Receives and publishes `count` tags, each as soon as it is there, and gives them to the
    /// viewers whenever the hub shows them.
    pub(crate) fn tags(&mut self, count: usize, viewers: &mut [Viewer]) {
        for _ in 0..count {
            self.wire.clear();
            let before = copied_bytes();
            self.encoder.write(&mut self.wire);
            self.encoder_copied += copied_bytes() - before;
            self.receive(viewers);
        }
    }

    fn receive(&mut self, viewers: &mut [Viewer]) {
        let (publisher, now) = (&mut self.publisher, self.now);
        receive(&mut self.pool, &mut self.reader, &self.wire, |tag| {
            let pinned = tag.payload.len() as u32;
            publisher.push(now, tag, pinned).unwrap();
        });
        self.now += TAG_INTERVAL;
        if publisher.flush_at().is_some_and(|at| at <= self.now) {
            publisher.flush(self.now);
            viewers.iter_mut().for_each(take_all);
        }
    }

    /// Payload bytes copied so far in this process, without those that the encoder copied.
    pub(crate) fn copied_bytes(&self) -> u64 {
        copied_bytes() - self.encoder_copied
    }
}

/// Everything that a viewer may have now.
pub(crate) fn take_all(viewer: &mut Viewer) {
    let mut cx = Context::from_waker(Waker::noop());
    while let Poll::Ready(Next::Batch(batch)) = viewer.poll_batch(&mut cx, 256 << 10) {
        let len = batch.len();
        viewer.advance(len);
    }
}
