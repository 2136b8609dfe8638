//! What a tag costs, in counts that no busy machine can change: allocations, copied bytes, reads.
#![allow(clippy::unwrap_used, reason = "a test that cannot go on has failed")]

#[path = "common/ingest.rs"]
mod ingest;

use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use bytes::{Bytes, BytesMut};
use forebay::hub::{Hub, HubLimits, Policy, Start, Viewer};
use forebay::rope::copied_bytes;
use forebay::rtmp::chunk::{ChunkLimits, ChunkReader};
use forebay::wire_log::Protocol;
use ingest::{Encoder, Ingest};

fn publish(hub: &Hub, chunk_size: u32) -> Ingest {
    #[expect(
        clippy::disallowed_methods,
        reason = "std has no other Instant; it is never read again"
    )]
    Ingest::new(hub, chunk_size, Instant::now())
}

/// Copied bytes are counted for the whole process: one test at a time.
fn alone() -> MutexGuard<'static, ()> {
    static ONE: Mutex<()> = Mutex::new(());
    ONE.lock().unwrap_or_else(PoisonError::into_inner)
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
        let mut ingest = publish(&hub, chunk_size);
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
            let mut ingest = publish(&hub, 4096);
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
    let mut encoder = Encoder::new(128);
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
    let mut ingest = publish(&hub, 4096);
    let mut viewers = viewers(&hub, 50, Protocol::Rtmp);
    ingest.tags(1_000, &mut viewers);
    let published = |hub: &Hub| hub.topics()[0].published_bytes;
    let bytes = published(&hub);
    let before = ingest.copied_bytes();
    ingest.tags(2_000, &mut viewers);
    let copied = ingest.copied_bytes() - before;
    let published = published(&hub) - bytes;
    println!("{copied} bytes copied for {published} published to 50 viewers");
    // Once into the log; never per viewer.
    assert_eq!(copied, published);
}
