//! The recorded streams, and what a viewer who joins one of them receives.

use std::path::PathBuf;
use std::task::{Context, Poll, Waker};
use std::time::{Duration, Instant};

use bytes::Bytes;
use forebay::flv::file::FileReader;
use forebay::flv::{Tag, TagKind};
use forebay::hub::{Hub, HubLimits, Next, Policy, Start, Viewer};
use forebay::rtmp::server::{ConnectionLimits, Output};
use forebay::rtmp::{Input, ServerConnection};
use forebay::wire_log::Protocol;
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

/// A tag as a viewer sees it.
#[derive(Clone, PartialEq, Eq)]
pub(crate) struct Seen {
    pub(crate) kind: u8,
    pub(crate) ms: u32,
    pub(crate) payload: Vec<u8>,
}

impl Seen {
    pub(crate) fn of(tag: &Tag) -> Self {
        Self {
            kind: tag.kind as u8,
            ms: tag.timestamp.as_ms(),
            payload: tag.payload.to_bytes().into(),
        }
    }
}

impl std::fmt::Debug for Seen {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let head = &self.payload[..self.payload.len().min(6)];
        write!(f, "{}@{} {head:02x?}+{}", self.kind, self.ms, self.payload.len())
    }
}

/// FLV tags, read here and not with the parser under test.
pub(crate) fn read_flv(mut bytes: &[u8]) -> Vec<Seen> {
    let mut seen = Vec::new();
    while !bytes.is_empty() {
        let len = u32::from_be_bytes([0, bytes[1], bytes[2], bytes[3]]) as usize;
        let ms = u32::from_be_bytes([bytes[7], bytes[4], bytes[5], bytes[6]]);
        seen.push(Seen { kind: bytes[0], ms, payload: bytes[11..11 + len].to_vec() });
        let back = u32::from_be_bytes(bytes[11 + len..15 + len].try_into().unwrap());
        assert_eq!(back as usize, 11 + len, "PreviousTagSize");
        bytes = &bytes[15 + len..];
    }
    seen
}

/// RTMP messages, read by rml_rtmp.
pub(crate) fn read_rtmp(bytes: &[u8]) -> Vec<Seen> {
    let mut chunks = rml_rtmp::chunk_io::ChunkDeserializer::new();
    chunks.set_max_chunk_size(65536).unwrap();
    let mut seen = Vec::new();
    let mut input = bytes;
    while let Some(message) = chunks.get_next_message(input).unwrap() {
        input = &[];
        assert_eq!(message.message_stream_id, 1);
        seen.push(Seen {
            kind: message.type_id,
            ms: message.timestamp.value,
            payload: message.data.to_vec(),
        });
    }
    seen
}

/// Both protocols' bytes as tags.
pub(crate) fn read(protocol: Protocol, bytes: &[u8]) -> Vec<Seen> {
    match protocol {
        Protocol::Flv => read_flv(bytes),
        Protocol::Rtmp => read_rtmp(bytes),
    }
}

/// Coded media, by the first two bytes (FLV E.4.2, E.4.3; E-RTMP), read here.
pub(crate) fn is_keyframe(tag: &Seen) -> bool {
    is_picture(tag) && tag.payload[0] >> 4 & 7 == 1
}

pub(crate) fn is_picture(tag: &Seen) -> bool {
    match (tag.kind == TagKind::Video as u8, &tag.payload[..]) {
        // Extended: coded frames with and without composition time.
        (true, [first, ..]) if first & 0x80 != 0 => matches!(first & 15, 1 | 3),
        (true, [first, packet_type, ..]) if first & 15 == 7 => *packet_type == 1,
        _ => false,
    }
}
