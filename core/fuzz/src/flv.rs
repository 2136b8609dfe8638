//! FLV: files and the headers inside audio and video, whatever the bytes and wherever they are cut.

use std::ops::Range;

use bytes::Bytes;
use forebay::flv::file::{self, FileError, FileReader, FileTag, TAG_HEADER_LEN};
use forebay::flv::{
    AudioHeader, HeaderError, TRACK_COUNT_MAX, Tag, TagKind, TagRole, VideoHeader, script,
};
use forebay::rope::Rope;
use forebay::time::Timestamp;

use crate::pieces::{Ledger, cut, split};

/// Low enough that short inputs reach it.
const PAYLOAD_LEN_MAX: usize = 4 << 10;

/// Panics if `data` behind its first byte breaks a promise as a file or as a payload.
pub fn check(data: &[u8]) {
    let Some((cuts, data)) = split(data) else { return };
    for reader in [FileReader::strict, FileReader::lenient] {
        let reader = || reader().with_payload_len_max(PAYLOAD_LEN_MAX);
        let (tags, end) = read_file(reader(), cut(data, cuts));
        let whole = read_file(reader(), std::iter::once(data));
        assert_eq!((&tags, end), (&whole.0, whole.1), "cuts {cuts}");
        tags.iter().for_each(|tag| check_place(tag, data));
        end.iter().for_each(|error| check_error(error, data.len() as u64));
        check_rewritten(&tags, cuts);
        tags.iter().for_each(|found| drop(check_headers(&found.tag.payload)));
    }
    let payload = Rope::from(data.to_vec());
    let pieces = cut(data, cuts).map(Bytes::copy_from_slice).collect();
    assert_eq!(check_headers(&payload), check_headers(&pieces), "cuts {cuts}");
}

fn read_file<'a>(
    mut reader: FileReader,
    pieces: impl Iterator<Item = &'a [u8]>,
) -> (Vec<FileTag>, Option<FileError>) {
    let (ledger, mut piece_len_max, mut tags) = (Ledger::default(), 0, Vec::new());
    for piece in pieces {
        piece_len_max = piece_len_max.max(piece.len());
        reader.push(ledger.receive(piece));
        let broken = loop {
            match reader.next_tag() {
                // In memory of its own, so that only the reader holds on to pieces.
                Ok(Some(FileTag { at, tag })) => {
                    tags.push(FileTag { at, tag: Tag { payload: tag.payload.detach(), ..tag } });
                }
                Ok(None) => break false,
                Err(_) => break true,
            }
        };
        let held_max = if broken { 0 } else { PAYLOAD_LEN_MAX + 2 * piece_len_max };
        assert!(ledger.held() <= held_max, "{} held, not {held_max}", ledger.held());
    }
    let end = reader.finish();
    assert_eq!(reader.finish(), end, "asked twice");
    (tags, end.err())
}

/// A tag is what the file has at its place.
fn check_place(found: &FileTag, data: &[u8]) {
    let FileTag { at, tag } = found;
    let (at, end) = (*at as usize, found.end() as usize);
    let header = file::tag_header(tag.kind, tag.payload.len(), tag.timestamp);
    // FLV E.4.1: two bits in front of the kind are reserved. The stream id is 0 by the format, and
    // whatever the writer liked in practice.
    assert_eq!(data[at] & 0x3F, header[0], "at {at}");
    assert_eq!(data[at + 1..at + 8], header[1..8], "at {at}");
    assert!(tag.payload == data[at + TAG_HEADER_LEN..end], "payload of the tag at {at}");
}

/// What an error says about the file is true.
fn check_error(error: &FileError, file_len: u64) {
    match *error {
        FileError::NoSignature | FileError::UnknownVersion { .. } => {}
        FileError::HeaderLen { len } => {
            let allowed = file::FILE_HEADER_LEN..=file::FILE_HEADER_LEN_MAX;
            assert!(file_len >= 9 && !allowed.contains(&(len as usize)), "{error}");
        }
        FileError::UnknownKind { at, .. }
        | FileError::Encrypted { at }
        | FileError::WrongPreviousTagSize { at, .. } => assert!(at < file_len, "{error}"),
        FileError::PayloadTooLong { at, len, max } => {
            assert!(at < file_len && len > max && max == PAYLOAD_LEN_MAX, "{error}");
        }
        FileError::CutInFileHeader { at } => assert_eq!(at, file_len, "{error}"),
        FileError::CutInTagHeader { at } => assert!(at < file_len && file_len < at + 11, "{error}"),
        FileError::CutInPayload { at, len } => {
            let end = at + (TAG_HEADER_LEN + len) as u64;
            assert!(at + 11 <= file_len && file_len < end, "{error}");
        }
        FileError::CutInPreviousTagSize { at } => {
            assert!(at <= file_len && file_len < at + 4, "{error}");
        }
    }
}

/// Tags that are written and read again are the same tags.
fn check_rewritten(tags: &[FileTag], cuts: u8) {
    let mut wire = file::file_header(true, true).to_vec();
    for FileTag { tag, .. } in tags {
        wire.extend(file::tag_header(tag.kind, tag.payload.len(), tag.timestamp));
        tag.payload.copy_to(&mut wire);
        wire.extend(file::previous_tag_size(tag.payload.len()));
    }
    let (again, end) = read_file(FileReader::strict(), cut(&wire, cuts));
    assert_eq!(end, None, "what we write is whole");
    assert!(again.iter().map(|found| &found.tag).eq(tags.iter().map(|found| &found.tag)));
}

/// What the headers of a payload say, as text, and what is behind `@setDataFrame`.
fn check_headers(payload: &Rope) -> (String, Bytes) {
    let video = VideoHeader::parse(payload);
    let video_tracks: Vec<_> = video.iter().flat_map(|header| header.tracks(payload)).collect();
    let audio = AudioHeader::parse(payload);
    let audio_tracks: Vec<_> = audio.iter().flat_map(|header| header.tracks(payload)).collect();
    check_lens(payload, video.map(|header| (header.header_len, header.body_len)), || {
        video_tracks.iter().map(|track| &track.body)
    });
    check_lens(payload, audio.map(|header| (header.header_len, header.body_len)), || {
        audio_tracks.iter().map(|track| &track.body)
    });
    let role = |kind| Tag { kind, timestamp: Timestamp::ZERO, payload: payload.clone() }.role();
    let (video_role, audio_role) = (role(TagKind::Video), role(TagKind::Audio));
    if let (Ok(header), TagRole::Keyframe) = (&video, video_role) {
        assert!(header.is_keyframe(), "{header:?}");
    }
    let script_role = role(TagKind::Script);
    let stripped = script::strip_set_data_frame(payload).to_bytes();
    assert!(payload.to_bytes().ends_with(&stripped));
    let text = format!(
        "{video:?} {video_tracks:?} {video_role:?} {audio:?} {audio_tracks:?} {audio_role:?} \
         {script_role:?}"
    );
    (text, stripped)
}

/// The bodies of all tracks are inside the payload, in order, and add up.
fn check_lens<'a, I: Iterator<Item = &'a Range<usize>>>(
    payload: &Rope,
    lens: Result<(usize, usize), HeaderError>,
    bodies: impl Fn() -> I,
) {
    match lens {
        Ok((header_len, body_len)) => {
            assert!(header_len + body_len <= payload.len());
            assert!(bodies().count() <= TRACK_COUNT_MAX);
            let mut end = header_len;
            for body in bodies() {
                assert!(end <= body.start && body.start <= body.end && body.end <= payload.len());
                end = body.end;
            }
            let len: usize = bodies().map(|body| body.len()).sum();
            assert!(bodies().count() == 0 || len == body_len, "tracks have {len} of {body_len}");
        }
        Err(HeaderError::Empty) => assert!(payload.is_empty()),
        Err(error @ HeaderError::Truncated { needed, len }) => {
            assert!(needed > len && len == payload.len(), "{error}");
        }
        Err(error @ HeaderError::NestedMultitrack { at }) => assert!(at < payload.len(), "{error}"),
        Err(error @ HeaderError::TrackTooLong { track_len, left, .. }) => {
            assert!(left < track_len && left < payload.len(), "{error}");
        }
        Err(error @ HeaderError::TrackTooShort { track_len, .. }) => {
            assert!(track_len < 3 && track_len < payload.len(), "{error}");
        }
        Err(HeaderError::TooManyTracks) => assert!(payload.len() > TRACK_COUNT_MAX),
    }
}
