//! Encoders and players without a network: what is sent is what was announced, and what is played
//! is what was sent.
#![allow(clippy::unwrap_used, reason = "a test that cannot go on has failed")]

mod against_core;
mod encoders;
#[path = "../../../core/tests/common/mem_net.rs"]
#[allow(dead_code, reason = "the core's tests look at more of it")]
mod mem_net;
mod players;
mod studio;
mod whole_server;

use std::sync::Arc;
use std::time::Duration;

use forebay_sim::capture::Capture;
use forebay_sim::link::Link;
use forebay_sim::plan::{Publish, Quirk};
use forebay_sim::publisher::Encoder;

fn publish(capture: &str, quirks: &[Quirk]) -> Publish {
    Publish {
        key: "live/a".to_owned(),
        capture: capture.to_owned(),
        part: None,
        repeats: false,
        quirks: quirks.to_vec(),
        link: Link::lan(),
        again: None,
        node: "node".to_owned(),
    }
}

fn encoder(publish: &Publish) -> Result<Encoder, String> {
    let capture = Capture::load(&publish.capture).unwrap();
    let mut publish = publish.clone();
    if let Some(wire) = &capture.wire {
        publish.key.clone_from(&wire.key);
    }
    Encoder::new(&publish, Arc::clone(&capture), 7, 0)
}

/// Every quirk, as a plan might have it.
fn every_quirk() -> Vec<Vec<Quirk>> {
    use Quirk::*;
    let alone = [
        StartsAt(0),
        StartsAt(0xFF_FF00),
        StartsAt(u32::MAX - 900),
        Jumps { at_tag: 100, by_ms: -5_000 },
        Jumps { at_tag: 50, by_ms: 20_000_000 },
        AllZero,
        AudioLate(700),
        NoAudio,
        NoVideo,
        VideoAfter(900),
        HeadersRepeated,
        HeaderChanges { every: 1, offset: 0 },
        HeaderChanges { every: 2, offset: 1 },
        HeaderChanges { every: 1, offset: -3 },
        HeaderChanges { every: 1, offset: 12 },
        CodecChanges(2),
        HeadersLate(800),
        NoHeaders,
        KeyframeEvery(2),
        KeyframeEvery(0),
        AllKeyframes,
        Disposable(2),
        CompositionTime(-40),
        CompositionTime(i32::MAX),
        Huge { len: 300_000, every: 2 },
        Storm(5),
        EmptyTags(7),
        ChunkSize(1),
        ChunkSize(128),
        ChunkSize(4096),
        ChunkSize(65536),
        ChunkSize(0x7FFF_FFFF),
        ChunkSizeChanges,
        Interleaved,
        Aborts,
        Aggregates,
        UnknownTypes,
        MetadataUpdates,
        Bursts(1_500),
        Drift(500),
        Drift(-500),
        Swings(5),
        Republishes(1),
        Window(1),
        Window(5_000),
        Window(100_000),
    ];
    let mut all: Vec<_> = alone.map(|quirk| vec![quirk]).into();
    all.extend([
        vec![],
        vec![StartsAt(0xFF_FF00), NoExtendedOnType3],
        vec![StartsAt(0xFF_FF00), NoExtendedOnType3, ChunkSize(1)],
        vec![StartsAt(0xFFFF_FF00), ChunkSize(128), Interleaved],
        vec![Interleaved, ChunkSizeChanges, Aborts, UnknownTypes],
        vec![Interleaved, ChunkSize(1)],
        vec![Aggregates, ChunkSizeChanges, EmptyTags(3)],
        vec![Aggregates, StartsAt(u32::MAX - 100), Storm(3)],
        vec![HeadersRepeated, MetadataUpdates, HeaderChanges { every: 1, offset: 0 }],
        vec![Republishes(1), Interleaved, ChunkSizeChanges, Window(3_000)],
        vec![CodecChanges(1), HeadersRepeated, AudioLate(300), Bursts(700)],
    ]);
    all
}

const MS: Duration = Duration::from_millis(1);
