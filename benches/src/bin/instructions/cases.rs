//! What is counted: each case prepares, does its work inside `counted`, and says how much it was.

use std::hint::black_box;
use std::task::{Context, Poll, Waker};
use std::time::{Duration, Instant};

use anyhow::Context as _;
use bytes::Bytes;
use forebay::archive::{ArchiveLimits, Archiver};
use forebay::flv::{Tag, TagRole};
use forebay::hls::{Presentation, Settings};
use forebay::hub::{Hub, HubLimits, Next, Policy, Publisher, Start, Viewer};
use forebay::rtmp::chunk::{ChunkLimits, ChunkReader};
use forebay::wire_log::Protocol;
use forebay_benches::callgrind::counted;
use forebay_benches::{obs, received};

/// What the ring keeps in 10 s and a GOP, and some more: from then on a tag leaves for each that comes.
const WARM_UP_TAGS: usize = 1_200;
/// As `play.write_len_max` and OBS's chunk size.
const WRITE_LEN_MAX: usize = 1 << 20;
const CHUNK_SIZE: u32 = 4096;
/// Of the publisher: one tag, on average.
const TAG_TIME: Duration = Duration::from_millis(13);

/// How much was done.
pub(crate) struct Done {
    /// Tags, deliveries or joins.
    pub(crate) units: u64,
    /// Payload bytes.
    pub(crate) bytes: u64,
}

/// Chunks as they were received, to tags.
pub(crate) fn parse(chunk_size: u32) -> anyhow::Result<Done> {
    let mut pieces = received::pieces(&obs::clip()?, 1_000, chunk_size).into_iter();
    let mut reader = ChunkReader::new(ChunkLimits::default());
    // Until the reader has its chunk streams and spare ropes.
    pieces.by_ref().take(100).try_for_each(|piece| parse_piece(&mut reader, piece, |_| Ok(())))?;
    let mut done = Done { units: 0, bytes: 0 };
    counted(|| {
        pieces.by_ref().try_for_each(|piece| {
            parse_piece(&mut reader, piece, |tag| {
                done.units += 1;
                done.bytes += black_box(&tag).payload.len() as u64;
                Ok(())
            })
        })
    })?;
    Ok(done)
}

fn parse_piece(
    reader: &mut ChunkReader,
    mut piece: Bytes,
    mut f: impl FnMut(Tag) -> anyhow::Result<()>,
) -> anyhow::Result<()> {
    while let Some(message) = reader.read(&mut piece)? {
        message.into_tags()?.into_iter().try_for_each(&mut f)?;
    }
    Ok(())
}

/// Chunks as they were received, into a hub whose ring is full. With a viewer they are encoded into
/// a wire log as well; he takes nothing.
pub(crate) fn publish(viewer: Option<Protocol>) -> anyhow::Result<Done> {
    let topic = Topic::new()?;
    let _viewer = viewer.map(|protocol| topic.view(protocol)).transpose()?;
    let Topic { mut publisher, mut now, .. } = topic;
    let mut pieces = received::pieces(&obs::clip()?, WARM_UP_TAGS + 1_000, CHUNK_SIZE).into_iter();
    let mut reader = ChunkReader::new(ChunkLimits::default());
    let mut done = Done { units: 0, bytes: 0 };
    let mut publish = |piece| {
        parse_piece(&mut reader, piece, |tag| {
            let len = tag.payload.len();
            (done.units, done.bytes) = (done.units + 1, done.bytes + len as u64);
            Ok(publisher.push(now, tag, len as u32)?)
        })?;
        now += TAG_TIME;
        publisher.flush(now);
        anyhow::Ok(())
    };
    pieces.by_ref().take(WARM_UP_TAGS).try_for_each(&mut publish)?;
    counted(|| pieces.by_ref().try_for_each(&mut publish))?;
    done.units -= WARM_UP_TAGS as u64;
    Ok(done)
}

/// From the flush to the last viewer's last byte, sockets and tasks left out. `tick_ms` of the
/// stream are flushed together; 0: every tag alone.
pub(crate) fn deliver(
    protocol: Protocol,
    viewer_count: usize,
    tick_ms: u32,
) -> anyhow::Result<Done> {
    let mut topic = Topic::new()?;
    let tags = received::tags(&obs::clip()?, 500, CHUNK_SIZE)?;
    let (before, after) = tags.split_at(200);
    topic.push(before)?;
    let mut viewers =
        (0..viewer_count).map(|_| topic.view(protocol)).collect::<anyhow::Result<Vec<_>>>()?;
    viewers.iter_mut().for_each(take_all);
    let mut done = Done { units: 0, bytes: 0 };
    let is_same_tick = |one: &Tag, next: &Tag| {
        next.timestamp.as_ms() / tick_ms.max(1) == one.timestamp.as_ms() / tick_ms.max(1)
    };
    for tick in after.chunk_by(|one, next| tick_ms > 0 && is_same_tick(one, next)) {
        topic.push(tick)?;
        counted(|| {
            topic.publisher.flush(topic.now);
            viewers.iter_mut().for_each(take_all);
        });
        let bytes = tick.iter().map(|tag| tag.payload.len() as u64).sum::<u64>();
        done.units += (tick.len() * viewer_count) as u64;
        done.bytes += bytes * viewer_count as u64;
    }
    for viewer in &viewers {
        let counters = viewer.counters();
        anyhow::ensure!(counters.unsent_tags == 0 && counters.overflow_tags() == 0, "{counters:?}");
    }
    Ok(done)
}

/// A viewer's first bytes: it joins when the GOP is as long as it gets.
pub(crate) fn join(protocol: Protocol) -> anyhow::Result<Done> {
    let clip = obs::clip()?;
    let keyframes = clip.iter().enumerate().filter(|(_, tag)| tag.role() == TagRole::Keyframe);
    let (end, _) = keyframes.skip(1).nth(1).context("the clip has too few keyframes")?;
    let mut topic = Topic::new()?;
    topic.push(&received::tags(&clip, end, CHUNK_SIZE)?)?;
    topic.publisher.flush(topic.now);
    // Not the first of its protocol, for whom the log is made.
    let _first = topic.view(protocol)?;
    let mut viewers = Vec::with_capacity(50);
    let mut done = Done { units: 50, bytes: 0 };
    counted(|| {
        (0..done.units).try_for_each(|_| {
            let mut viewer = topic.view(protocol)?;
            let mut cx = Context::from_waker(Waker::noop());
            if let Poll::Ready(Next::Batch(batch)) = viewer.poll_batch(&mut cx, WRITE_LEN_MAX) {
                done.bytes += black_box(batch).len() as u64;
            }
            viewers.push(viewer);
            anyhow::Ok(())
        })
    })?;
    anyhow::ensure!(
        done.bytes > 50 * 100_000,
        "a GOP of 6 Mbit/s is longer than {} bytes",
        done.bytes / 50
    );
    Ok(done)
}

/// Tags into parts and segments of HLS, behind a warm-up in which the window gets full. A unit is a
/// part.
pub(crate) fn segment() -> anyhow::Result<Done> {
    let tags = received::tags(&obs::clip()?, 6_000, CHUNK_SIZE)?;
    let (before, after) = tags.split_at(5_000);
    let mut presentation = Presentation::new(Settings::default(), "x".to_owned(), 1);
    let mut utc = Duration::ZERO;
    let mut push = |presentation: &mut Presentation, tags: &[Tag]| {
        for tag in tags {
            utc += TAG_TIME;
            presentation.push(tag, 1, utc);
        }
    };
    push(&mut presentation, before);
    let so_far = presentation.totals();
    anyhow::ensure!(so_far.removed_segments > 0, "the window is not full: {so_far:?}");
    counted(|| push(&mut presentation, after));
    let totals = presentation.totals();
    Ok(Done { units: totals.parts - so_far.parts, bytes: totals.made_bytes - so_far.made_bytes })
}

/// Tags into what is written to a recording; the disk does everything at once.
pub(crate) fn record() -> anyhow::Result<Done> {
    let tags = received::tags(&obs::clip()?, 1_500, CHUNK_SIZE)?;
    let mut archiver = Archiver::new(ArchiveLimits::default());
    let (mut now, mut number) = (Instant::now(), 0);
    let mut done = Done { units: 0, bytes: 0 };
    let mut record = |tags: &[Tag]| {
        for tag in tags {
            now += TAG_TIME;
            number += 1;
            archiver.take(now, Duration::from_secs(1), 1, Some(number), tag);
            if archiver.due().is_some_and(|due| due <= now) {
                archiver.flush(now);
                while let Some(operation) = archiver.next_operation() {
                    drop(black_box(operation));
                    archiver.succeeded();
                }
            }
        }
    };
    let (before, after) = tags.split_at(500);
    record(before);
    counted(|| record(after));
    for tag in after {
        (done.units, done.bytes) = (done.units + 1, done.bytes + tag.payload.len() as u64);
    }
    anyhow::ensure!(archiver.status().syncs > 10, "nothing was synced");
    Ok(done)
}

/// A hub with one stream.
struct Topic {
    hub: Hub,
    publisher: Publisher,
    now: Instant,
}

impl Topic {
    fn new() -> anyhow::Result<Self> {
        let hub = Hub::new(HubLimits { coalesce: Duration::ZERO, ..HubLimits::default() });
        let publisher = hub.publish("live/obs".into(), "obs")?;
        Ok(Self { hub, publisher, now: Instant::now() })
    }

    fn view(&self, protocol: Protocol) -> anyhow::Result<Viewer> {
        Ok(self.hub.view("live/obs".into(), protocol, 1, Start::Gop, Policy::default(), "v")?)
    }

    fn push(&mut self, tags: &[Tag]) -> anyhow::Result<()> {
        for tag in tags {
            self.now += TAG_TIME;
            self.publisher.push(self.now, tag.clone(), tag.payload.len() as u32)?;
        }
        Ok(())
    }
}

/// What the server's loop asks of the hub, with a socket that takes everything.
fn take_all(viewer: &mut Viewer) {
    let mut cx = Context::from_waker(Waker::noop());
    while let Poll::Ready(Next::Batch(batch)) = viewer.poll_batch(&mut cx, WRITE_LEN_MAX) {
        let len = black_box(batch).len();
        viewer.advance(len);
    }
}
