//! Every captured publisher, replayed into a server, however its bytes are cut.

use std::path::PathBuf;

use bytes::Bytes;
use forebay::flv::{Tag, TagKind};
use forebay::rtmp::Input;
use proptest::prelude::*;
use serde_json::Value;

use crate::{Host, Seen};

struct Capture {
    file: String,
    /// What the client sent.
    bytes: Bytes,
    manifest: Value,
}

fn testdata(path: &str) -> Vec<u8> {
    let path = PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("../testdata").join(path);
    std::fs::read(&path).unwrap_or_else(|error| panic!("{}: {error}", path.display()))
}

fn captures() -> Vec<Capture> {
    let manifest: Vec<Value> = serde_json::from_slice(&testdata("manifest.json")).unwrap();
    let files: Vec<_> = manifest
        .into_iter()
        .filter_map(|manifest| {
            let file = manifest["file"].as_str()?.to_string();
            let bytes = file.ends_with(".rtmpcap").then(|| testdata(&format!("rtmp/{file}")))?;
            Some(Capture { bytes: client_bytes(&bytes), file, manifest })
        })
        .collect();
    assert!(files.len() >= 10, "the captures are missing");
    files
}

/// Direction 0 of a `.rtmpcap`, without its cuts.
fn client_bytes(mut file: &[u8]) -> Bytes {
    assert_eq!(file.split_off(..8).unwrap(), b"RTMPCAP1");
    let mut bytes = Vec::new();
    while let Some(header) = file.split_off(..13) {
        let len = u32::from_le_bytes(header[9..].try_into().unwrap()) as usize;
        let record = file.split_off(..len).unwrap();
        if header[8] == 0 {
            bytes.extend_from_slice(record);
        }
    }
    bytes.into()
}

/// What a server makes of `bytes` in pieces that end at `cuts`.
fn ingest(bytes: &Bytes, cuts: impl IntoIterator<Item = usize>) -> Seen {
    let mut host = Host::new();
    let mut start = 0;
    for end in cuts.into_iter().chain([bytes.len()]) {
        host.receive(bytes.slice(start..end));
        start = end;
    }
    host.input(Input::Close);
    host.seen
}

fn media(seen: &Seen) -> impl Iterator<Item = &Tag> {
    seen.tags.iter().map(|(_, tag)| tag).filter(|tag| tag.kind != TagKind::Script)
}

#[test]
fn every_encoder_is_accepted_and_its_tags_are_those_of_the_manifest() {
    for Capture { file, bytes, manifest } in captures() {
        let seen = ingest(&bytes, []);
        assert_eq!(seen.error, None, "{file}");
        assert!(seen.closed, "{file}");

        let of_kind = |kind| seen.tags.iter().filter(|(_, tag)| tag.kind == kind).count() as u64;
        let counted = |prefix: &str| -> u64 {
            let counts = manifest["tags"].as_object().unwrap().iter();
            counts.filter(|(key, _)| key.starts_with(prefix)).filter_map(|(_, n)| n.as_u64()).sum()
        };
        assert_eq!(of_kind(TagKind::Video), counted("video"), "{file}: video");
        assert_eq!(of_kind(TagKind::Audio), counted("audio"), "{file}: audio");
        assert_eq!(of_kind(TagKind::Script), counted("script"), "{file}: script");

        let ms = |tag: Option<&Tag>| tag.map(|tag| u64::from(tag.timestamp.as_ms()));
        let first = seen.tags.first().map(|(_, tag)| tag);
        let last = seen.tags.last().map(|(_, tag)| tag);
        assert_eq!(ms(first), manifest["first_timestamp_ms"].as_u64(), "{file}: first");
        assert_eq!(ms(last), manifest["last_timestamp_ms"].as_u64(), "{file}: last");

        for (_, tag) in seen.tags.iter().filter(|(_, tag)| tag.kind == TagKind::Script) {
            assert_eq!(tag.payload.first_chunk(), Some(*b"\x02\0\x0aonMetaData"), "{file}");
        }
        let name = file.trim_end_matches(".rtmpcap");
        let publish = &seen.events[0];
        assert!(publish.starts_with("publish 1 live "), "{file}: {publish}");
        assert!(publish.contains(name) || publish.contains("obs-capture"), "{file}: {publish}");
        let ends = if file.contains("killed") { vec![] } else { vec!["unpublish 1"] };
        assert_eq!(seen.events[1..], ends, "{file}");
        let media_len: usize = media(&seen).map(|tag| tag.payload.len()).sum();
        assert!(seen.pinned >= media_len as u64 && seen.pinned <= bytes.len() as u64, "{file}");
    }
}

#[test]
fn captures_fed_byte_by_byte_give_the_same_tags() {
    for Capture { file, bytes, .. } in captures() {
        let (whole, single) = (ingest(&bytes, []), ingest(&bytes, 1..bytes.len()));
        assert!(whole.tags == single.tags, "{file}");
        assert_eq!((whole.events, whole.pinned), (single.events, single.pinned), "{file}");
        assert_eq!(whole.sent, single.sent, "{file}");
    }
}

/// Where chunk headers begin and end, found here and not with the reader under test.
fn header_boundaries(bytes: &[u8]) -> Vec<usize> {
    let mut boundaries = Vec::new();
    // Per chunk stream: message length, how much of it has come, extended timestamp.
    let mut streams = std::collections::BTreeMap::<u32, (usize, usize, bool)>::new();
    let (mut at, mut chunk_size) = (1 + 1536 + 1536, 128);
    while at < bytes.len() {
        boundaries.push(at);
        let (fmt, mut csid, mut end) = (bytes[at] >> 6, u32::from(bytes[at] & 63), at + 1);
        if csid < 2 {
            let wide = csid == 1;
            csid = 64
                + u32::from(bytes[at + 1])
                + if wide { u32::from(bytes[at + 2]) << 8 } else { 0 };
            end += 1 + usize::from(wide);
        }
        let (len, received, extended) = streams.entry(csid).or_default();
        let fields = &bytes[end..];
        let u24 = |at: usize| {
            usize::from(fields[at]) << 16
                | usize::from(fields[at + 1]) << 8
                | usize::from(fields[at + 2])
        };
        if fmt < 3 {
            *extended = u24(0) == 0xFF_FFFF;
        }
        let mut type_id = 0;
        if fmt < 2 {
            (*len, type_id) = (u24(3), fields[6]);
        }
        end += [11, 7, 3, 0][usize::from(fmt)] + if *extended { 4 } else { 0 };
        boundaries.push(end);
        let take = (*len - *received).min(chunk_size);
        if type_id == 1 {
            chunk_size = u32::from_be_bytes(bytes[end..end + 4].try_into().unwrap()) as usize;
        }
        *received = (*received + take) % (*len).max(1);
        at = end + take;
    }
    assert_eq!(at, bytes.len(), "the walk is lost");
    boundaries
}

#[test]
fn captures_cut_at_every_header_boundary_give_the_same_tags() {
    for Capture { file, bytes, .. } in captures() {
        let boundaries = header_boundaries(&bytes);
        assert!(boundaries.len() > 200, "{file}");
        let (whole, cut) = (ingest(&bytes, []), ingest(&bytes, boundaries));
        assert!(whole.tags == cut.tags, "{file}");
        assert_eq!((whole.events, whole.sent), (cut.events, cut.sent), "{file}");
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 24, ..ProptestConfig::default() })]

    #[test]
    fn captures_cut_anywhere_give_the_same_tags(
        index in any::<prop::sample::Index>(),
        cuts in prop::collection::vec(any::<prop::sample::Index>(), 0..2000),
    ) {
        let captures = captures();
        let Capture { file, bytes, .. } = index.get(&captures);
        let mut cuts: Vec<_> = cuts.iter().map(|cut| cut.index(bytes.len())).collect();
        cuts.sort_unstable();
        let (whole, cut) = (ingest(bytes, []), ingest(bytes, cuts));
        prop_assert!(whole.tags == cut.tags, "{}", file);
        prop_assert_eq!(whole.events, cut.events);
    }

    /// Nothing but the connection may suffer: no panic, no endless loop, tags only in order.
    #[test]
    fn a_damaged_capture_ends_at_most_its_own_connection(
        index in any::<prop::sample::Index>(),
        damage in prop::collection::vec((any::<prop::sample::Index>(), any::<u8>()), 1..20),
        early in any::<bool>(),
    ) {
        let captures = captures();
        let Capture { bytes, .. } = index.get(&captures);
        let mut damaged = bytes.to_vec();
        for (at, byte) in damage {
            // Half of the damage goes where commands are.
            let len = if early { 5000 } else { damaged.len() };
            damaged[at.index(len)] = byte;
        }
        let seen = ingest(&damaged.into(), []);
        prop_assert!(seen.closed);
        prop_assert!(seen.pinned <= bytes.len() as u64);
    }
}
