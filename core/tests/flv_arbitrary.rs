//! Whatever the bytes are and wherever they are cut: no panic, no byte outside the payload, and
//! the same outcome as in one piece.

use bytes::Bytes;
use forebay::flv::file::{self, FileReader};
use forebay::flv::{AudioHeader, HeaderError, Tag, TagKind, VideoHeader, script};
use forebay::rope::Rope;
use forebay::time::Timestamp;
use proptest::prelude::*;

/// Bytes that mean something in a header more often than chance would have it.
fn header_bytes() -> impl Strategy<Value = Vec<u8>> {
    let piece = prop_oneof![
        4 => any::<u8>().prop_map(|byte| vec![byte]),
        4 => (0u8..8).prop_map(|byte| vec![byte]),
        2 => prop::sample::select(vec![0x17, 0x96, 0x97, 0xD6, 0x95, 0x91, 0xAF, 255])
            .prop_map(|byte| vec![byte]),
        2 => prop::sample::select(vec![*b"avc1", *b"hvc1", *b"av01", *b"Opus", *b"mp4a"])
            .prop_map(|four_cc| four_cc.to_vec()),
        1 => Just(b"\x02\x00\x0d@setDataFrame".to_vec()),
        1 => Just(b"\x02\x00\x0aonMetaData".to_vec()),
    ];
    prop::collection::vec(piece, 0..40).prop_map(|pieces| pieces.concat())
}

/// Pieces of the given lengths, over and over, until there are no bytes.
fn cut(bytes: &Bytes, lens: &[usize]) -> Vec<Bytes> {
    let (mut rest, mut pieces) = (bytes.clone(), Vec::new());
    for &len in lens.iter().cycle() {
        if rest.is_empty() {
            break;
        }
        pieces.push(rest.split_to(len.min(rest.len())));
    }
    pieces
}

fn describe(payload: &Rope) -> String {
    let video = VideoHeader::parse(payload);
    let video_tracks: Vec<_> = video.iter().flat_map(|header| header.tracks(payload)).collect();
    let audio = AudioHeader::parse(payload);
    let audio_tracks: Vec<_> = audio.iter().flat_map(|header| header.tracks(payload)).collect();
    check(payload, video.map(|h| (h.header_len, h.body_len)), video_tracks.iter().map(|t| &t.body));
    check(payload, audio.map(|h| (h.header_len, h.body_len)), audio_tracks.iter().map(|t| &t.body));
    let roles = [TagKind::Video, TagKind::Audio, TagKind::Script]
        .map(|kind| Tag { kind, timestamp: Timestamp::ZERO, payload: payload.clone() }.role());
    let stripped = script::strip_set_data_frame(payload).to_bytes();
    format!("{video:?} {video_tracks:?} {audio:?} {audio_tracks:?} {roles:?} {stripped:?}")
}

fn check<'a>(
    payload: &Rope,
    lens: Result<(usize, usize), HeaderError>,
    bodies: impl Iterator<Item = &'a std::ops::Range<usize>>,
) {
    let Ok((header_len, body_len)) = lens else { return };
    assert!(header_len + body_len <= payload.len());
    let mut end = header_len;
    let mut len = 0;
    for body in bodies {
        assert!(end <= body.start && body.start <= body.end && body.end <= payload.len());
        end = body.end;
        len += body.len();
    }
    assert!(len == 0 || len == body_len, "{len} bytes in tracks, {body_len} in the header");
}

fn read_file(mut reader: FileReader, pieces: Vec<Bytes>) -> String {
    let mut found = Vec::new();
    for piece in pieces {
        reader.push(piece);
        while let Ok(Some(tag)) = reader.next_tag() {
            found.push(format!("{} {:?}", tag.at, tag.tag.payload.to_bytes()));
        }
    }
    let end = reader.finish();
    assert_eq!(reader.finish(), end, "asking twice changes nothing");
    format!("{found:?} {end:?}")
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 2000, failure_persistence: None, ..Default::default() })]

    #[test]
    fn a_payload_of_arbitrary_bytes_is_read_the_same_however_cut(
        bytes in header_bytes(),
        lens in prop::collection::vec(1usize..9, 1..5),
    ) {
        let bytes = Bytes::from(bytes);
        let whole = describe(&Rope::from(bytes.clone()));
        prop_assert_eq!(describe(&cut(&bytes, &lens).into_iter().collect()), whole);
    }

    #[test]
    fn a_header_asked_about_another_payload_does_not_panic(a in header_bytes(), b in header_bytes()) {
        let (a, b) = (Rope::from(a), Rope::from(b));
        let _ = VideoHeader::parse(&a).map(|header| header.tracks(&b).count());
        let _ = AudioHeader::parse(&a).map(|header| header.tracks(&b).count());
    }

    #[test]
    fn a_file_of_arbitrary_bytes_is_read_the_same_however_cut(
        payloads in prop::collection::vec(header_bytes(), 0..4),
        damage in prop::option::of((any::<prop::sample::Index>(), any::<u8>())),
        lens in prop::collection::vec(1usize..40, 1..5),
    ) {
        let mut bytes = file::file_header(true, true).to_vec();
        for payload in &payloads {
            bytes.extend(file::tag_header(TagKind::Video, payload.len(), Timestamp::ZERO));
            bytes.extend(payload);
            bytes.extend(file::previous_tag_size(payload.len()));
        }
        if let Some((at, byte)) = damage {
            let at = at.index(bytes.len());
            bytes[at] = byte;
        }
        let bytes = Bytes::from(bytes);
        for reader in [FileReader::strict, FileReader::lenient] {
            let whole = read_file(reader(), vec![bytes.clone()]);
            prop_assert_eq!(read_file(reader(), cut(&bytes, &lens)), whole);
        }
    }

    #[test]
    fn arbitrary_bytes_are_no_file_and_no_panic(bytes in prop::collection::vec(any::<u8>(), 0..200)) {
        read_file(FileReader::strict(), vec![Bytes::from(bytes.clone())]);
        let flv = [&file::file_header(true, true)[..], &bytes].concat();
        read_file(FileReader::lenient(), vec![Bytes::from(flv)]);
    }
}
