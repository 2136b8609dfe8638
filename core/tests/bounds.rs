//! Memory is bounded whatever the publisher does, at the sizes that real streams have.
#![allow(clippy::unwrap_used, reason = "a test that cannot go on has failed")]

#[path = "common/receive.rs"]
mod receive;
#[path = "common/seen.rs"]
mod seen;

use std::task::{Context, Poll, Waker};
use std::time::{Duration, Instant};

use bytes::BytesMut;
use forebay::blocks::{BlockLimits, BlockPool};
use forebay::hub::{Hub, HubLimits, Next, Policy, Publisher, Start, Viewer};
use forebay::rtmp::chunk::{ChunkLimits, ChunkReader, ChunkWriter, MessageHeader};
use forebay::time::Timestamp;
use forebay::wire_log::Protocol;
use receive::receive;
use seen::{Seen, is_keyframe, is_picture, read};

/// The default of `hub.ring_bytes_max`.
const BOUND: u64 = 64 << 20;

/// 30 frames of 10 kB a second and 47 audio frames of 400 bytes: 2.5 Mbit/s.
struct Studio {
    chunks: ChunkWriter,
    reader: ChunkReader,
    pool: BlockPool,
    publisher: Publisher,
    now: Instant,
    frame: u32,
}

impl Studio {
    #[expect(
        clippy::disallowed_methods,
        reason = "std has no other Instant; it is never read again"
    )]
    fn new(hub: &Hub) -> Self {
        let mut studio = Self {
            chunks: ChunkWriter::new(),
            reader: ChunkReader::new(ChunkLimits::default()),
            pool: BlockPool::new(BlockLimits::default()),
            publisher: hub.publish("live/test".into(), "studio").unwrap(),
            now: Instant::now(),
            frame: 0,
        };
        studio.send(8, &[0xAF, 0, 0x12, 0x10]);
        studio.send(9, &[0x17, 0, 0, 0, 0, 1, 2]);
        studio
    }

    fn send(&mut self, type_id: u8, payload: &[u8]) {
        let timestamp = Timestamp::from_ms(self.frame * 100 / 3);
        let mut wire = BytesMut::new();
        self.chunks.write(
            MessageHeader { csid: 4, type_id, stream_id: 1, timestamp },
            payload,
            &mut wire,
        );
        let (publisher, now) = (&mut self.publisher, self.now);
        let mut pinned = wire.len() as u32;
        receive(&mut self.pool, &mut self.reader, &wire, |tag| {
            publisher.push(now, tag, std::mem::take(&mut pinned)).unwrap();
        });
        self.now += Duration::from_millis(10);
        self.publisher.flush(self.now);
    }

    fn keyframe(&mut self) {
        let mut payload = vec![0x17, 1, 0, 0, 0];
        payload.resize(100_000, 0xAA);
        self.send(9, &payload);
        self.frame += 1;
    }

    fn inter_frames(&mut self, seconds: u32) {
        let mut payload = vec![0x27, 1, 0, 0, 0];
        payload.resize(10_000, 0xBB);
        let mut sound = vec![0xAF, 1];
        sound.resize(400, 0xCC);
        for _ in 0..seconds * 30 {
            self.send(9, &payload);
            self.send(8, &sound);
            self.frame += 1;
        }
    }
}

fn view(hub: &Hub, protocol: Protocol) -> Viewer {
    hub.view("live/test".into(), protocol, 1, Start::Gop, Policy::default(), "v").unwrap()
}

fn take(viewer: &mut Viewer) -> Vec<u8> {
    let mut cx = Context::from_waker(Waker::noop());
    let mut received = Vec::new();
    while let Poll::Ready(Next::Batch(batch)) = viewer.poll_batch(&mut cx, 256 << 10) {
        let len = batch.len();
        batch.slices().iter().for_each(|slice| received.extend_from_slice(slice));
        viewer.advance(len);
    }
    received
}

#[test]
fn an_endless_gop_of_five_minutes_stays_within_64_mib() {
    for protocol in Protocol::ALL {
        let hub = Hub::new(HubLimits::default());
        let mut studio = Studio::new(&hub);
        studio.keyframe();
        // Keeps the log alive from the beginning.
        let mut watching = view(&hub, protocol);
        studio.inter_frames(60);
        take(&mut watching);

        let early = read(protocol, &take(&mut view(&hub, protocol)));
        assert!(
            early.iter().any(is_keyframe),
            "{protocol:?}: a joiner after a minute sees nothing"
        );
        for _ in 0..24 {
            studio.inter_frames(10);
            take(&mut watching);
            let topic = &hub.topics()[0];
            let blocks = studio.pool.counters();
            assert!(
                topic.pinned_bytes <= BOUND,
                "{protocol:?}: {} bytes pinned",
                topic.pinned_bytes
            );
            // The oldest block and the current one are in use in part.
            assert!(blocks.pinned_bytes as u64 <= BOUND + (1 << 19), "{protocol:?}: {blocks:?}");
            // And one or two wait to be used again.
            assert!(blocks.held_bytes as u64 <= BOUND + (1 << 20), "{protocol:?}: {blocks:?}");
            let log = (topic.log_bytes, topic.log_pinned_bytes);
            assert!(log.0 <= BOUND + (1 << 20), "{protocol:?}: a log of {log:?} bytes");
            assert!(log.1 <= BOUND + (1 << 19), "{protocol:?}: a log of {log:?} bytes");
        }
        let published = hub.topics()[0].published_bytes;
        assert!(published > BOUND * 5 / 4, "{published} bytes do not reach the bound");

        let mut late = view(&hub, protocol);
        let mut received = take(&mut late);
        studio.inter_frames(2);
        received.extend(take(&mut late));
        let before: Vec<Seen> = read(protocol, &received);
        assert!(!before.iter().any(is_picture), "{protocol:?}: a picture without its keyframe");
        assert!(before.iter().filter(|tag| tag.kind == 8).count() > 50, "{protocol:?}: no sound");
        studio.keyframe();
        studio.inter_frames(1);
        received.extend(take(&mut late));
        let after = read(protocol, &received);
        let picture = after.iter().find(|tag| is_picture(tag));
        assert!(picture.is_some_and(is_keyframe), "{protocol:?}: {picture:?} came first");
        assert_eq!(after.iter().filter(|tag| is_picture(tag)).count(), 31);
        assert!(late.counters().is_balanced());
    }
}
