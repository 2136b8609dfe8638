//! The recorded streams, and what a viewer who joins one of them receives.

use std::path::PathBuf;
use std::task::{Context, Poll, Waker};
use std::time::{Duration, Instant};

#[path = "seen.rs"]
mod seen;

use bytes::Bytes;
use forebay::flv::Tag;
use forebay::flv::file::FileReader;
use forebay::hub::{Hub, HubLimits, Next, Policy, Start, Viewer};
use forebay::rtmp::server::{ConnectionLimits, Output};
use forebay::rtmp::{Input, ServerConnection};
use forebay::wire_log::Protocol;
#[allow(unused_imports, reason = "not every test looks at all of it")]
pub(crate) use seen::{Seen, is_keyframe, is_picture, read};
use serde_json::{Map, Value};

/// When every test begins.
#[expect(clippy::disallowed_methods, reason = "std has no other Instant; it is never read again")]
pub(crate) fn epoch() -> Instant {
    Instant::now()
}

pub(crate) fn testdata(name: &str) -> Vec<u8> {
    let path = PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("../testdata").join(name);
    std::fs::read(&path).unwrap_or_else(|error| panic!("{}: {error}", path.display()))
}

/// One recorded stream.
pub(crate) struct Capture {
    pub(crate) name: String,
    pub(crate) tags: Vec<Tag>,
}

/// All recordings whose framing is whole, as `testdata/manifest.json` lists them.
pub(crate) fn intact() -> Vec<Capture> {
    let all: Vec<Map<String, Value>> = serde_json::from_slice(&testdata("manifest.json")).unwrap();
    let is_intact =
        |entry: &Map<String, Value>| entry.get("framing").is_none_or(|framing| framing == "intact");
    let captures: Vec<_> = all
        .iter()
        .filter(|entry| is_intact(entry))
        .map(|entry| {
            let name = entry["file"].as_str().unwrap().to_owned();
            let tags = match name.ends_with(".flv") {
                true => flv_tags(testdata(&format!("flv/{name}")).into()),
                false => rtmp_tags(testdata(&format!("rtmp/{name}")).into()),
            };
            Capture { name, tags }
        })
        .collect();
    assert!(captures.len() >= 30, "{} recordings are not the set", captures.len());
    captures
}

fn flv_tags(bytes: Bytes) -> Vec<Tag> {
    let mut reader = FileReader::strict();
    reader.push(bytes);
    std::iter::from_fn(|| reader.next_tag().unwrap()).map(|found| found.tag).collect()
}

/// What the server reads from the publisher's side of a recorded connection.
fn rtmp_tags(capture: Bytes) -> Vec<Tag> {
    let mut connection = ServerConnection::new(epoch(), 1, ConnectionLimits::default());
    let mut tags = Vec::new();
    let mut rest = &capture[8..];
    while rest.len() >= 13 {
        let len = u32::from_le_bytes(rest[9..13].try_into().unwrap()) as usize;
        let (direction, bytes) = (rest[8], &rest[13..13 + len]);
        rest = &rest[13 + len..];
        if direction != 0 || len == 0 {
            continue;
        }
        connection.handle_input(epoch(), Input::Received(capture.slice_ref(bytes)));
        loop {
            match connection.poll_output() {
                Output::Publish { stream_id, .. } => connection.accept_publish(stream_id),
                Output::Tag { tag, .. } => tags.push(tag),
                Output::Wait(_) | Output::Close(None) => break,
                Output::Close(Some(error)) => panic!("{error}"),
                _ => {}
            }
        }
    }
    tags
}

/// Everything that a viewer receives who joins behind the first `joined_at` tags and stays.
pub(crate) fn watch(tags: &[Tag], joined_at: usize, protocol: Protocol, start: Start) -> Vec<u8> {
    let hub = Hub::new(HubLimits { coalesce: Duration::ZERO, ..HubLimits::default() });
    let now = epoch();
    let mut publisher = hub.publish("live/test".into(), "studio").unwrap();
    let mut viewer = None;
    let mut received = Vec::new();
    for (index, tag) in tags.iter().enumerate() {
        if index == joined_at {
            viewer = Some(
                hub.view("live/test".into(), protocol, 1, start, Policy::default(), "v").unwrap(),
            );
        }
        publisher.push(now, tag.clone(), 0).unwrap();
        publisher.flush(now);
        viewer.iter_mut().for_each(|viewer| take_all(viewer, &mut received));
    }
    publisher.end();
    let mut viewer = viewer.expect("it joins before the end");
    take_all(&mut viewer, &mut received);
    let counters = viewer.counters();
    assert!(counters.is_balanced() && counters.unsent_tags == 0, "{counters:?}");
    assert_eq!(counters.overflow_tags(), 0);
    received
}

fn take_all(viewer: &mut Viewer, received: &mut Vec<u8>) {
    let mut cx = Context::from_waker(Waker::noop());
    while let Poll::Ready(Next::Batch(batch)) = viewer.poll_batch(&mut cx, 1 << 20) {
        let len = batch.len();
        batch.slices().iter().for_each(|slice| received.extend_from_slice(slice));
        viewer.advance(len);
    }
}
