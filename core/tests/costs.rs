//! What a tag costs, in counts that no busy machine can change: allocations, copied bytes, reads.
#![allow(clippy::unwrap_used, reason = "a test that cannot go on has failed")]

#[path = "common/receive.rs"]
mod receive;

use std::sync::{Mutex, MutexGuard, PoisonError};
use std::task::{Context, Poll, Waker};
use std::time::{Duration, Instant};

use bytes::{Bytes, BytesMut};
use forebay::blocks::{BlockLimits, BlockPool};
use forebay::flv::Tag;
use forebay::flv::file::FileReader;
use forebay::hub::{Hub, HubLimits, Next, Policy, Publisher, Start, Viewer};
use forebay::rope::copied_bytes;
use forebay::rtmp::chunk::{ChunkLimits, ChunkReader, ChunkWriter, MessageHeader};
use forebay::time::Timestamp;
use forebay::wire_log::Protocol;
use receive::receive;

/// A recorded OBS stream as an endless RTMP publisher's chunks, and the pool they are received in.
struct Encoder {
    tags: Vec<Tag>,
    next: usize,
    shift: u32,
    chunks: ChunkWriter,
}

impl Encoder {
    fn new(chunk_size: u32) -> Self {
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
    fn write(&mut self, out: &mut BytesMut) {
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

struct Ingest {
    encoder: Encoder,
    reader: ChunkReader,
    pool: BlockPool,
    publisher: Publisher,
    wire: BytesMut,
    now: Instant,
}

impl Ingest {
    fn new(hub: &Hub, chunk_size: u32) -> Self {
        let mut reader = ChunkReader::new(ChunkLimits::default());
        let mut set_size = BytesMut::new();
        let header =
            MessageHeader { csid: 2, type_id: 1, stream_id: 0, timestamp: Timestamp::ZERO };
        ChunkWriter::new().write(header, &chunk_size.to_be_bytes(), &mut set_size);
        reader.read(&mut set_size.freeze()).unwrap();
        #[expect(
            clippy::disallowed_methods,
            reason = "std has no other Instant; it is never read again"
        )]
        let now = Instant::now();
        Self {
            encoder: Encoder::new(chunk_size),
            reader,
            pool: BlockPool::new(BlockLimits::default()),
            publisher: hub.publish("live/test".into(), "studio").unwrap(),
            wire: BytesMut::with_capacity(1 << 20),
            now,
        }
    }

    /// Receives and publishes `count` tags, as many at a time as come in one read. The encoder's
    /// own work is done before `work` is given to the counter.
    fn tags(&mut self, count: usize, viewers: &mut [Viewer]) {
        for _ in 0..count {
            self.wire.clear();
            self.encoder.write(&mut self.wire);
            self.receive(viewers);
        }
    }

    fn receive(&mut self, viewers: &mut [Viewer]) {
        let (publisher, now) = (&mut self.publisher, self.now);
        receive(&mut self.pool, &mut self.reader, &self.wire, |tag| {
            let pinned = tag.payload.len() as u32;
            publisher.push(now, tag, pinned).unwrap();
        });
        self.now += Duration::from_millis(10);
        self.publisher.flush(self.now);
        viewers.iter_mut().for_each(take_all);
    }
}

/// Copied bytes are counted for the whole process: one test at a time.
fn alone() -> MutexGuard<'static, ()> {
    static ONE: Mutex<()> = Mutex::new(());
    ONE.lock().unwrap_or_else(PoisonError::into_inner)
}

fn take_all(viewer: &mut Viewer) {
    let mut cx = Context::from_waker(Waker::noop());
    while let Poll::Ready(Next::Batch(batch)) = viewer.poll_batch(&mut cx, 256 << 10) {
        let len = batch.len();
        viewer.advance(len);
    }
}

fn hub() -> Hub {
    Hub::new(HubLimits { coalesce: Duration::ZERO, ..HubLimits::default() })
}

fn viewers(hub: &Hub, count: usize, protocol: Protocol) -> Vec<Viewer> {
    let view = || hub.view("live/test".into(), protocol, 1, Start::Gop, Policy::default(), "v");
    (0..count).map(|_| view().unwrap()).collect()
}

/// Allocations while `count` tags are received and given to all viewers, the encoder's included.
fn allocations(ingest: &mut Ingest, count: usize, viewers: &mut [Viewer]) -> u64 {
    allocation_counter::measure(|| ingest.tags(count, viewers)).count_total
}

#[test]
fn the_counter_counts() {
    let counted = allocation_counter::measure(|| drop(std::hint::black_box(vec![1; 100])));
    assert_eq!(counted.count_total, 1);
}

#[test]
fn a_published_tag_costs_no_allocation() {
    let _alone = alone();
    for chunk_size in [128, 4096, 65536] {
        let hub = hub();
        let mut ingest = Ingest::new(&hub, chunk_size);
        // Warm-up: until the ring has dropped as much as it keeps.
        ingest.tags(4_000, &mut []);
        let count = allocations(&mut ingest, 6_000, &mut []);
        println!("chunk size {chunk_size}: {count} allocations for 6000 tags");
        assert!(count <= 60, "chunk size {chunk_size}: {count} allocations for 6000 tags");
    }
}

#[test]
fn a_delivery_costs_no_allocation() {
    let _alone = alone();
    for protocol in Protocol::ALL {
        for viewer_count in [1, 10, 1000] {
            let hub = hub();
            let mut ingest = Ingest::new(&hub, 4096);
            let mut viewers = viewers(&hub, viewer_count, protocol);
            ingest.tags(4_000, &mut viewers);
            let count = allocations(&mut ingest, 1_000, &mut viewers);
            println!("{protocol:?}, {viewer_count} viewers: {count} allocations for 1000 tags");
            // 0.01 per tag for its publication, and 0.01 per delivery.
            let max = 10 + 10 * viewer_count as u64;
            assert!(count <= max, "{protocol:?}, {viewer_count} viewers: {count} allocations");
        }
    }
}

#[test]
fn a_payload_is_the_memory_it_was_received_in() {
    let _alone = alone();
    let mut encoder = Encoder::new(4096);
    encoder.chunks.set_chunk_size(128);
    let mut wire = BytesMut::new();
    (0..200).for_each(|_| encoder.write(&mut wire));
    let received = wire.freeze();
    let memory = received.as_ptr() as usize..received.as_ptr() as usize + received.len();
    // Reads of 1447 bytes cut everything somewhere.
    let mut reader = ChunkReader::new(ChunkLimits::default());
    let before = copied_bytes();
    let mut tags = 0;
    for piece in received.chunks(1447) {
        let mut input: Bytes = received.slice_ref(piece);
        while let Some(message) = reader.read(&mut input).unwrap() {
            tags += 1;
            for slice in message.payload.slices() {
                assert!(memory.contains(&(slice.as_ptr() as usize)), "a payload byte was copied");
            }
        }
    }
    assert_eq!(tags, 200);
    assert_eq!(copied_bytes(), before);
}

#[test]
fn viewers_of_one_protocol_share_one_copy() {
    let _alone = alone();
    let hub = hub();
    let mut ingest = Ingest::new(&hub, 4096);
    let mut viewers = viewers(&hub, 50, Protocol::Rtmp);
    ingest.tags(1_000, &mut viewers);
    let published = |hub: &Hub| hub.topics()[0].published_bytes;
    let bytes = published(&hub);
    let before = copied_bytes();
    ingest.tags(2_000, &mut viewers);
    let copied = copied_bytes() - before;
    let published = published(&hub) - bytes;
    println!("{copied} bytes copied for {published} published to 50 viewers");
    // Once by the encoder that plays OBS here, once into the log; never per viewer.
    assert_eq!(copied, 2 * published);
}
