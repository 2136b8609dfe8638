//! §7: FLV files, as far as reading and writing them goes.

use bytes::Bytes;
use forebay::flv::file::{self, FileError, FileReader, FileTag};
use forebay::flv::{Tag, TagKind, VideoCodec, VideoHeader};
use forebay::rope::Rope;
use forebay::time::Timestamp;

fn tag(kind: TagKind, ms: u32, payload: &'static [u8]) -> Tag {
    Tag { kind, timestamp: Timestamp::from_ms(ms), payload: Rope::from(payload) }
}

fn tags() -> Vec<Tag> {
    vec![
        tag(TagKind::Script, 0, b"\x02\x00\x0aonMetaData\x05"),
        tag(TagKind::Video, 0, &[0x17, 0, 0, 0, 0, 1, 100]),
        tag(TagKind::Audio, 0, &[0xAF, 0, 0x12, 0x10]),
        tag(TagKind::Video, 0xFF_FFFF, &[0x17, 1, 0, 0, 66, 9, 9]),
        tag(TagKind::Audio, 0x100_0000, &[]),
        tag(TagKind::Video, u32::MAX, &[0x17, 2, 0, 0, 0]),
    ]
}

fn written(tags: &[Tag]) -> Vec<u8> {
    let mut out = file::file_header(true, true).to_vec();
    for tag in tags {
        let len = tag.payload.len();
        out.extend(file::tag_header(tag.kind, len, tag.timestamp));
        tag.payload.copy_to(&mut out);
        out.extend(file::previous_tag_size(len));
    }
    out
}

fn read(mut reader: FileReader, pieces: Vec<Bytes>) -> (Vec<FileTag>, Result<(), FileError>) {
    let mut found = Vec::new();
    for piece in pieces {
        reader.push(piece);
        loop {
            match reader.next_tag() {
                Ok(Some(tag)) => found.push(tag),
                Ok(None) => break,
                Err(error) => return (found, Err(error)),
            }
        }
    }
    (found, reader.finish())
}

fn read_whole(bytes: &[u8]) -> (Vec<FileTag>, Result<(), FileError>) {
    read(FileReader::strict(), vec![Bytes::copy_from_slice(bytes)])
}

#[test]
fn fl_1_a_file_begins_with_its_header_and_a_zero_back_pointer() {
    for (audio, video, flags) in
        [(true, true, 5), (true, false, 4), (false, true, 1), (false, false, 0)]
    {
        let header = file::file_header(audio, video);
        assert_eq!(header, [b'F', b'L', b'V', 1, flags, 0, 0, 0, 9, 0, 0, 0, 0]);
        let mut reader = FileReader::strict();
        reader.push(Bytes::copy_from_slice(&header));
        assert_eq!(reader.next_tag(), Ok(None));
        let read = reader.header().unwrap();
        assert_eq!((read.has_audio, read.has_video, read.len), (audio, video, 9));
        assert_eq!(reader.finish(), Ok(()), "a file without tags is whole");
    }
}

#[test]
fn fl_1_a_file_that_begins_otherwise_is_refused_with_the_place() {
    let broken = |at: usize, byte: u8| {
        let mut bytes = file::file_header(true, true);
        bytes[at] = byte;
        read_whole(&bytes).1
    };
    assert_eq!(broken(0, b'X'), Err(FileError::NoSignature));
    assert_eq!(broken(3, 2), Err(FileError::UnknownVersion { version: 2 }));
    assert_eq!(broken(8, 8), Err(FileError::HeaderLen { len: 8 }));
    assert_eq!(broken(5, 1), Err(FileError::HeaderLen { len: 0x0100_0009 }));
    let wrong = FileError::WrongPreviousTagSize { at: 9, found: 1, expected: 0 };
    assert_eq!(broken(12, 1), Err(wrong));
}

#[test]
fn fl_1_a_longer_header_is_skipped() {
    let mut bytes = written(&tags());
    bytes[8] += 5;
    bytes.splice(9..9, [0xAA; 5]);
    let (found, end) = read_whole(&bytes);
    assert_eq!((found.len(), end), (tags().len(), Ok(())));
    assert_eq!(found[0].at, 18);
}

#[test]
fn fl_2_each_back_pointer_is_the_size_of_the_tag_before_it() {
    let bytes = written(&tags());
    let mut at = 13;
    for tag in tags() {
        let size = 11 + tag.payload.len();
        at += size + 4;
        assert_eq!(bytes[at - 4..at], (size as u32).to_be_bytes(), "the tag before {at}");
    }
    assert_eq!(at, bytes.len(), "the last tag has one too");
}

#[test]
fn fl_2_a_wrong_back_pointer_is_found_behind_its_tag_unless_told_not_to_look() {
    let mut bytes = written(&tags());
    let (whole, _) = read_whole(&bytes);
    let at = whole[2].end();
    bytes[at as usize + 3] += 1;
    let (found, end) = read_whole(&bytes);
    assert_eq!(found, whole[..3]);
    assert_eq!(end, Err(FileError::WrongPreviousTagSize { at, found: 16, expected: 15 }));
    let lenient = read(FileReader::lenient(), vec![Bytes::from(bytes)]);
    assert_eq!(lenient, (whole, Ok(())));
}

#[test]
fn fl_3_the_high_byte_of_the_time_comes_last_and_the_stream_id_is_zero() {
    let header = file::tag_header(TagKind::Video, 0x010203, Timestamp::from_ms(0xAABBCCDD));
    assert_eq!(header, [9, 1, 2, 3, 0xBB, 0xCC, 0xDD, 0xAA, 0, 0, 0]);
    let (found, end) = read_whole(&written(&tags()));
    assert_eq!(end, Ok(()));
    assert_eq!(
        found.iter().map(|found| &found.tag).collect::<Vec<_>>(),
        tags().iter().collect::<Vec<_>>()
    );
}

#[test]
fn fl_4_aac_says_44_khz_and_stereo_whatever_is_true() {
    for first in [0xA0, 0xA2, 0xAB, 0xAE, 0xAF] {
        let payload = Rope::from(vec![first, 1, 7, 8]);
        let tag = Tag { kind: TagKind::Audio, timestamp: Timestamp::ZERO, payload };
        assert!(file::file_payload(&tag) == [0xAF, 1, 7, 8][..], "{first:x}");
    }
    // MP3 at 22 kHz, extended AAC, video and emptiness stay what they are.
    for (kind, payload) in [
        (TagKind::Audio, &[0x2A, 1][..]),
        (TagKind::Audio, b"\x91mp4a\x01"),
        (TagKind::Video, &[0xA0, 1]),
        (TagKind::Audio, &[]),
    ] {
        let tag = tag(kind, 0, payload);
        assert_eq!(file::file_payload(&tag), tag.payload);
    }
}

#[test]
fn fl_4_composition_time_is_signed() {
    let payload = Rope::from(&[0x27, 1, 0xFF, 0xFF, 0xDF, 9][..]);
    assert_eq!(VideoHeader::parse(&payload).unwrap().composition_time.as_ms(), -33);
}

#[test]
fn fl_4_an_end_of_sequence_can_be_written_for_every_codec_that_has_one() {
    for codec in [
        VideoCodec::LEGACY_AVC,
        VideoCodec::LEGACY_HEVC,
        VideoCodec::AVC,
        VideoCodec::AV1,
        VideoCodec::FourCc(*b"new1"),
    ] {
        let header = VideoHeader::parse(&codec.end_of_sequence().unwrap()).unwrap();
        assert!(header.is_end_of_sequence(), "{codec}");
        assert_eq!(header.codec, Some(codec));
    }
    assert_eq!(VideoCodec::Legacy(2).end_of_sequence(), None);
    assert!(VideoCodec::LEGACY_AVC.end_of_sequence().unwrap() == [0x17, 2, 0, 0, 0][..]);
}

#[test]
fn a_file_reads_the_same_wherever_it_is_cut() {
    let bytes = Bytes::from(written(&tags()));
    let whole = read_whole(&bytes);
    assert_eq!(whole.1, Ok(()));
    for cut in 0..=bytes.len() {
        let pieces = vec![bytes.slice(..cut), bytes.slice(cut..)];
        assert_eq!(read(FileReader::strict(), pieces), whole, "cut at {cut}");
    }
    for len in [1, 2, 3, 7] {
        let pieces = bytes.chunks(len).map(|piece| bytes.slice_ref(piece)).collect();
        assert_eq!(read(FileReader::strict(), pieces), whole, "pieces of {len}");
    }
}

#[test]
fn a_file_that_ends_at_any_byte_gives_its_whole_tags_and_says_what_was_cut() {
    let bytes = written(&tags());
    let (whole, _) = read_whole(&bytes);
    for len in 0..bytes.len() {
        let (found, end) = read_whole(&bytes[..len]);
        let count = whole.iter().take_while(|tag| tag.end() as usize <= len).count();
        assert_eq!(found, whole[..count], "{len} bytes");
        let begun = whole.iter().rev().find(|tag| tag.at as usize <= len);
        let expected = match begun {
            None if len < 9 => Err(FileError::CutInFileHeader { at: len as u64 }),
            None => Err(FileError::CutInPreviousTagSize { at: 9 }),
            Some(tag) if len as u64 == tag.at => Ok(()),
            Some(tag) if (len as u64) < tag.at + 11 => {
                Err(FileError::CutInTagHeader { at: tag.at })
            }
            Some(tag) if (len as u64) < tag.end() => {
                Err(FileError::CutInPayload { at: tag.at, len: tag.tag.payload.len() })
            }
            Some(tag) => Err(FileError::CutInPreviousTagSize { at: tag.end() }),
        };
        assert_eq!(end, expected, "{len} bytes");
    }
}

#[test]
fn what_is_no_tag_is_refused_with_its_place() {
    let bytes = written(&tags());
    let at = read_whole(&bytes).0[3].at;
    for (first, error) in [
        (0x08 | 0x20, FileError::Encrypted { at }),
        (0x00, FileError::UnknownKind { kind: 0, at }),
        (99, FileError::UnknownKind { kind: 99, at }),
        (0x20, FileError::UnknownKind { kind: 0x20, at }),
    ] {
        let mut bytes = bytes.clone();
        bytes[at as usize] = first;
        let (found, end) = read_whole(&bytes);
        assert_eq!((found.len(), end), (3, Err(error)));
        assert!(error.to_string().contains(&at.to_string()), "{error}");
    }
}

#[test]
fn a_payload_over_the_limit_is_refused_before_it_is_held() {
    let mut reader = FileReader::strict().with_payload_len_max(1000);
    reader.push(Bytes::copy_from_slice(&file::file_header(true, true)));
    reader.push(Bytes::copy_from_slice(&file::tag_header(TagKind::Video, 1001, Timestamp::ZERO)));
    let error = FileError::PayloadTooLong { at: 13, len: 1001, max: 1000 };
    assert_eq!(reader.next_tag(), Err(error));
    assert_eq!(reader.next_tag(), Err(error), "an error is for ever");
    assert_eq!(reader.finish(), Err(error));
}

#[test]
fn payloads_are_slices_of_what_was_pushed() {
    let bytes = Bytes::from(written(&tags()));
    let (found, _) = read(FileReader::strict(), vec![bytes.clone()]);
    for found in found {
        for slice in found.tag.payload.owned_slices() {
            assert!(bytes.as_ptr_range().contains(&slice.as_ptr()), "copied at {}", found.at);
        }
    }
}

/// As far as reading goes: what a recorder wrote before the power went.
#[test]
fn fl_5_a_file_cut_at_any_byte_plays_up_to_its_last_whole_tag() {
    let (tags, file) = (tags(), Bytes::from(written(&tags())));
    // Where each tag ends, its back pointer not counted: a tag is whole without it.
    let ends: Vec<_> = tags
        .iter()
        .scan(13, |at, tag| {
            let end = *at + 11 + tag.payload.len();
            *at = end + 4;
            Some(end)
        })
        .collect();
    for cut in 13..file.len() {
        let (found, _) = read(FileReader::strict(), vec![file.slice(..cut)]);
        let whole = ends.iter().filter(|&&end| end <= cut).count();
        assert_eq!(found.len(), whole, "cut at {cut}");
        assert!(found.iter().map(|found| &found.tag).eq(&tags[..whole]), "cut at {cut}");
    }
}
