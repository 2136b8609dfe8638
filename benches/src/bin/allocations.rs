//! What do a tag, a delivery and a join cost in heap allocations, copied bytes and memory held?
//!
//! One thread, no sockets: a recording of OBS, 720p30 at 2.5 Mbit/s, is chunked, received into
//! blocks and published into a hub, and viewers take what they are shown. The ring keeps its newest
//! GOP of 2 s and 10 s of history, as it does by default. Everything is measured behind a warm-up in
//! which the ring has dropped more than it keeps.

#[allow(clippy::unwrap_used, reason = "shared with tests, where what cannot go on has failed")]
#[path = "../../../core/tests/common/ingest.rs"]
mod ingest;

use std::time::{Duration, Instant};

use allocation_counter::measure;
use clap::Parser;
use forebay::archive::{ArchiveLimits, Archiver, Operation};
use forebay::hls::{Follow, Presentation, Settings};
use forebay::hub::{Delivery, Hub, HubError, HubLimits, Policy, Start, Subscriber, Viewer};
use forebay::wire_log::Protocol;
use forebay_benches::measured::measured;
use ingest::{Ingest, take_all};

/// What a ring keeps of this stream is about 1,000 tags.
const WARM_UP_TAGS: usize = 4_000;
const TAGS: usize = 1_000;
const VIEWERS: [usize; 3] = [1, 10, 1000];
const CHUNK_SIZES: [u32; 3] = [128, 4096, 65536];

/// Counts heap allocations, copied payload bytes and bytes held, for each published tag, delivery,
/// join and subscriber, and prints a line `measured NAME VALUE` for each budget.
#[derive(Parser)]
struct Args {}

fn main() -> anyhow::Result<()> {
    let Args {} = Args::parse();
    publish();
    for protocol in Protocol::ALL {
        for coalesce_ms in [0, 350] {
            for count in VIEWERS {
                deliver(protocol, coalesce_ms, count)?;
            }
        }
        join(protocol)?;
    }
    segment()?;
    record()?;
    hold()
}

fn hub(coalesce_ms: u64) -> Hub {
    Hub::new(HubLimits { coalesce: Duration::from_millis(coalesce_ms), ..HubLimits::default() })
}

/// A stream that is warm: published into a hub, and taken by all viewers.
fn stream(hub: &Hub, chunk_size: u32, viewers: &mut [Viewer]) -> Ingest {
    let mut ingest = Ingest::new(hub, chunk_size, Instant::now());
    ingest.tags(WARM_UP_TAGS, viewers);
    ingest
}

fn view(hub: &Hub, protocol: Protocol) -> Result<Viewer, HubError> {
    hub.view("live/test".into(), protocol, 1, Start::Gop, Policy::default(), "127.0.0.1:50000")
}

fn subscribe(hub: &Hub) -> Result<Subscriber, HubError> {
    hub.subscribe("live/test".into(), Start::Gop, Policy::default(), "archive of live/test")
}

fn name(protocol: Protocol) -> &'static str {
    match protocol {
        Protocol::Rtmp => "rtmp",
        Protocol::Flv => "http_flv",
    }
}

fn published_bytes(hub: &Hub) -> u64 {
    hub.topics().iter().map(|topic| topic.published_bytes).sum()
}

/// From received bytes to the ring, with nobody who takes them.
fn publish() {
    for chunk_size in CHUNK_SIZES {
        let hub = hub(0);
        let mut ingest = stream(&hub, chunk_size, &mut []);
        let (copied, published) = (ingest.copied_bytes(), published_bytes(&hub));
        // Six times as many, because an allocation may come with every hundredth tag at most.
        let counted = measure(|| ingest.tags(6 * TAGS, &mut []));
        let per_tag = counted.count_total as f64 / (6 * TAGS) as f64;
        measured(&format!("allocations.per_published_tag_in_chunks_of_{chunk_size}"), per_tag);
        let copied = ingest.copied_bytes() - copied;
        let share = copied as f64 / (published_bytes(&hub) - published) as f64;
        measured(&format!("copies.per_published_byte_in_chunks_of_{chunk_size}"), share);
    }
}

/// From the ring through one protocol's log to all viewers of it.
fn deliver(protocol: Protocol, coalesce_ms: u64, count: usize) -> anyhow::Result<()> {
    let hub = hub(coalesce_ms);
    let mut viewers = (0..count).map(|_| view(&hub, protocol)).collect::<Result<Vec<_>, _>>()?;
    let mut ingest = stream(&hub, 4096, &mut viewers);
    let (copied, published) = (ingest.copied_bytes(), published_bytes(&hub));
    let counted = measure(|| ingest.tags(TAGS, &mut viewers));
    let per_delivery = counted.count_total as f64 / (TAGS * count) as f64;
    let (kind, ticks) = (name(protocol), format!("in_ticks_of_{coalesce_ms}_ms"));
    measured(&format!("allocations.per_delivery_{kind}_to_{count}_{ticks}"), per_delivery);
    let copied = (ingest.copied_bytes() - copied) as f64;
    let published = (published_bytes(&hub) - published) as f64;
    if count == 1 && coalesce_ms == 0 {
        measured(&format!("copies.per_published_byte_{kind}"), copied / published);
    }
    if count == 1000 && coalesce_ms == 0 {
        // Beyond the one copy into the log, which is everybody's.
        let per_delivery = (copied - published).max(0.0) / (published * count as f64);
        measured(&format!("copies.per_delivered_byte_{kind}"), per_delivery);
    }
    Ok(())
}

/// Of a viewer that takes the newest GOP, while others have the log going.
fn join(protocol: Protocol) -> anyhow::Result<()> {
    let hub = hub(0);
    let mut viewers = vec![view(&hub, protocol)?];
    let mut ingest = stream(&hub, 4096, &mut viewers);
    let mut joiners = Vec::with_capacity(TAGS);
    let mut counted = 0;
    for _ in 0..TAGS {
        // The first one opens the log's tick to itself; what that costs, everybody has.
        ingest.tags(1, &mut viewers);
        let mut joined = Ok(());
        let info = measure(|| match view(&hub, protocol) {
            Ok(mut viewer) => {
                take_all(&mut viewer);
                joiners.push(viewer);
            }
            Err(error) => joined = Err(error),
        });
        joined?;
        counted += info.count_total;
    }
    measured(&format!("allocations.per_join_{}", name(protocol)), counted as f64 / TAGS as f64);
    Ok(())
}

/// From the ring into parts of segments, and out to a viewer of the endless file.
fn segment() -> anyhow::Result<()> {
    const PUBLISHED: usize = 4 * TAGS;
    let hub = hub(0);
    let mut ingest = stream(&hub, 4096, &mut []);
    let policy =
        Policy { backlog_ms_max: u64::MAX, backlog_bytes_max: u64::MAX, ..Policy::default() };
    let mut subscriber = hub.subscribe("live/test".into(), Start::Gop, policy, "hls")?;
    let mut presentation = Presentation::new(Settings::default(), "x".to_owned(), 1);
    let (mut utc, mut allocations, mut parts, mut published) = (Duration::ZERO, 0, 0, 0);
    let (mut copied, mut copied_by_ingest) = (0, 0);
    for tag in 0..PUBLISHED {
        let before = ingest.copied_bytes();
        ingest.tags(1, &mut []);
        copied_by_ingest += ingest.copied_bytes() - before;
        let before = (presentation.totals(), ingest.copied_bytes());
        let counted = measure(|| {
            while let Some(Delivery::Tag { tag, .. }) = subscriber.next_delivery() {
                utc += Duration::from_millis(13);
                presentation.push(&tag, 1, utc);
            }
        });
        // Behind a warm-up in which the window has got full.
        if tag >= 3 * TAGS {
            allocations += counted.count_total;
            parts += presentation.totals().parts - before.0.parts;
            copied += ingest.copied_bytes() - before.1;
            published += presentation.totals().made_bytes - before.0.made_bytes;
        }
    }
    anyhow::ensure!(copied_by_ingest == 0, "the way into the hub is none of this");
    measured("allocations.per_hls_part", allocations as f64 / parts as f64);
    measured("copies.per_segment_byte", copied as f64 / published as f64);
    let before = ingest.copied_bytes();
    let mut taken = 0;
    for _ in 0..100 {
        let mut position = presentation.join().ok_or_else(|| anyhow::anyhow!("nothing to join"))?;
        while let Follow::Fragments(fragments) =
            presentation.follow(&mut position, 1 << 20, u64::MAX)
        {
            taken += fragments.iter().map(|fragment| fragment.len() as u64).sum::<u64>();
        }
    }
    anyhow::ensure!(taken > 0, "nothing was taken");
    let per_byte = (ingest.copied_bytes() - before) as f64 / taken as f64;
    measured("copies.per_delivered_byte_hls", per_byte);
    Ok(())
}

/// From the ring into a file, as it is appended.
fn record() -> anyhow::Result<()> {
    let hub = hub(0);
    let mut ingest = stream(&hub, 4096, &mut []);
    let policy =
        Policy { backlog_ms_max: u64::MAX, backlog_bytes_max: u64::MAX, ..Policy::default() };
    let mut subscriber = hub.subscribe("live/test".into(), Start::Gop, policy, "archive")?;
    let mut archiver = Archiver::new(ArchiveLimits::default());
    let (mut now, mut utc, mut number) = (Instant::now(), Duration::ZERO, 0);
    let (mut copied, mut recorded) = (0, 0);
    for tag in 0..2 * TAGS {
        ingest.tags(1, &mut []);
        let before = ingest.copied_bytes();
        let mut appended = 0;
        while let Some(Delivery::Tag { tag, .. }) = subscriber.next_delivery() {
            (now, utc) = (now + Duration::from_millis(13), utc + Duration::from_millis(13));
            archiver.take(now, utc, 1, Some(number), &tag);
            number += 1;
            archiver.flush(now);
            while let Some(operation) = archiver.next_operation() {
                if let Operation::Append(slices) = operation {
                    appended += slices.iter().map(|slice| slice.len() as u64).sum::<u64>();
                }
                archiver.succeeded();
            }
        }
        // Behind the file's head, whose headers are copies.
        if tag >= TAGS {
            copied += ingest.copied_bytes() - before;
            recorded += appended;
        }
    }
    anyhow::ensure!(recorded > 1 << 20, "only {recorded} bytes were recorded");
    measured("copies.per_recorded_byte", copied as f64 / recorded as f64);
    Ok(())
}

/// What a subscriber keeps, itself included, when it has taken everything so far.
fn hold() -> anyhow::Result<()> {
    const COUNT: usize = 1000;
    for protocol in Protocol::ALL {
        let hub = hub(350);
        let mut first = [view(&hub, protocol)?];
        let mut ingest = stream(&hub, 4096, &mut first);
        let (mut viewers, mut joined) = (Vec::new(), Ok(()));
        let counted = measure(|| {
            viewers = Vec::with_capacity(COUNT);
            for _ in 0..COUNT {
                match view(&hub, protocol) {
                    Ok(viewer) => viewers.push(viewer),
                    Err(error) => joined = Err(error),
                }
            }
            ingest.tags(TAGS, &mut viewers);
        });
        joined?;
        let per_viewer = counted.bytes_current as f64 / COUNT as f64;
        measured(&format!("memory.hub_bytes_per_viewer_{}", name(protocol)), per_viewer);
    }
    let hub = hub(350);
    // History is kept while there is anybody, and is the stream's: it is there before they are.
    let _first = subscribe(&hub)?;
    let mut ingest = stream(&hub, 4096, &mut []);
    let (mut subscribers, mut joined) = (Vec::<Subscriber>::new(), Ok(()));
    let counted = measure(|| {
        subscribers = Vec::with_capacity(COUNT);
        for _ in 0..COUNT {
            match subscribe(&hub) {
                Ok(subscriber) => subscribers.push(subscriber),
                Err(error) => joined = Err(error),
            }
        }
        ingest.tags(TAGS, &mut []);
        for subscriber in &mut subscribers {
            while subscriber.next_delivery().is_some() {}
        }
    });
    joined?;
    measured("memory.hub_bytes_per_subscriber", counted.bytes_current as f64 / COUNT as f64);
    Ok(())
}
