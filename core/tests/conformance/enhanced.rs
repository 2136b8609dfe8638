//! §8: Enhanced RTMP, as far as parsing goes.

use std::fmt::Debug;

use bytes::Bytes;
use forebay::flv::file::{self, FileReader};
use forebay::flv::{
    AudioCodec, AudioHeader, AudioPacketType, FrameType, HeaderError, MultitrackKind, Tag, TagKind,
    TagRole, TrackSet, VideoCodec, VideoHeader, VideoPacketType,
};
use forebay::rope::Rope;
use forebay::time::Timestamp;

/// The ground rule of the dagger rows: in one piece, byte by byte, and cut in two everywhere.
fn however_cut<T: PartialEq + Debug>(bytes: &[u8], parse: impl Fn(&Rope) -> T) -> T {
    let bytes = Bytes::copy_from_slice(bytes);
    let whole = parse(&Rope::from(bytes.clone()));
    let singles = bytes.chunks(1).map(|byte| bytes.slice_ref(byte)).collect();
    assert_eq!(parse(&singles), whole, "byte by byte");
    for cut in 0..=bytes.len() {
        let two = Rope::from_iter([bytes.slice(..cut), bytes.slice(cut..)]);
        assert_eq!(parse(&two), whole, "cut at {cut}");
    }
    whole
}

fn video(bytes: &[u8]) -> Result<VideoHeader, HeaderError> {
    however_cut(bytes, VideoHeader::parse)
}

fn audio(bytes: &[u8]) -> Result<AudioHeader, HeaderError> {
    however_cut(bytes, AudioHeader::parse)
}

fn role(kind: TagKind, bytes: &[u8]) -> TagRole {
    however_cut(bytes, |payload| {
        Tag { kind, timestamp: Timestamp::ZERO, payload: payload.clone() }.role()
    })
}

/// Tracks as (id, codec, composition time, coded bytes).
fn video_tracks(bytes: &[u8]) -> Vec<(u8, VideoCodec, i32, Vec<u8>)> {
    however_cut(bytes, |payload| {
        let header = VideoHeader::parse(payload).expect("a header");
        let tracks = header.tracks(payload).map(|track| {
            let body = payload.slice(track.body).to_bytes().to_vec();
            (track.id, track.codec, track.composition_time.as_ms(), body)
        });
        tracks.collect()
    })
}

fn audio_tracks(bytes: &[u8]) -> Vec<(u8, AudioCodec, Vec<u8>)> {
    however_cut(bytes, |payload| {
        let header = AudioHeader::parse(payload).expect("a header");
        let tracks = header.tracks(payload);
        tracks.map(|t| (t.id, t.codec, payload.slice(t.body).to_bytes().to_vec())).collect()
    })
}

fn tracks(ids: &[u8]) -> TrackSet {
    ids.iter().copied().collect()
}

#[test]
fn er_1_the_top_bit_selects_the_extended_video_header() {
    let header = video(b"\x91hvc1\x00\x00\x21coded").unwrap();
    assert_eq!(header.frame_type, FrameType::Key);
    assert_eq!(header.packet_type, VideoPacketType::CodedFrames);
    assert_eq!(header.codec, Some(VideoCodec::HEVC));
    assert_eq!((header.composition_time.as_ms(), header.header_len, header.body_len), (33, 8, 5));
    assert_eq!(header.multitrack, None);

    let header = video(b"\xA0av01config").unwrap();
    assert_eq!(header.frame_type, FrameType::Inter);
    assert_eq!(header.packet_type, VideoPacketType::SequenceHeader);
    assert_eq!((header.codec, header.header_len), (Some(VideoCodec::AV1), 5));
}

#[test]
fn er_1_sound_format_9_selects_the_extended_audio_header() {
    let header = audio(b"\x91Opuscoded").unwrap();
    assert_eq!(header.packet_type, AudioPacketType::CodedFrames);
    assert_eq!((header.codec, header.sound), (Some(AudioCodec::OPUS), None));
    assert_eq!((header.header_len, header.body_len), (5, 5));
    for (nibble, packet_type) in [
        (0, AudioPacketType::SequenceHeader),
        (2, AudioPacketType::EndOfSequence),
        (4, AudioPacketType::MultichannelConfig),
    ] {
        let header = audio(&[0x90 | nibble, b'f', b'L', b'a', b'C', 1]).unwrap();
        assert_eq!((header.packet_type, header.codec), (packet_type, Some(AudioCodec::FLAC)));
    }
}

#[test]
fn er_1_legacy_tags_still_parse() {
    let header = video(&[0x17, 1, 0, 0, 67, 1, 2]).unwrap();
    assert_eq!(header.codec, Some(VideoCodec::LEGACY_AVC));
    assert_eq!((header.composition_time.as_ms(), header.header_len, header.body_len), (67, 5, 2));
    assert!(header.is_keyframe());
    assert!(video(&[0x17, 0, 0, 0, 0, 1]).unwrap().is_sequence_header());
    assert!(video(&[0x17, 2, 0, 0, 0]).unwrap().is_end_of_sequence());
    assert!(video(&[0x17, 2]).unwrap().is_end_of_sequence(), "the time may be missing");
    // H.265 before there was a FourCC for it.
    let header = video(&[0x1C, 1, 0xFF, 0xFF, 0xFF, 1]).unwrap();
    assert_eq!(header.codec, Some(VideoCodec::LEGACY_HEVC));
    assert_eq!(header.composition_time.as_ms(), -1);
    // Sorenson H.263 has no packet type, and disposable frames.
    let header = video(&[0x32, 0, 0]).unwrap();
    assert_eq!((header.codec, header.header_len), (Some(VideoCodec::Legacy(2)), 1));
    assert!(header.is_disposable());

    let header = audio(&[0xAF, 1, 7]).unwrap();
    assert_eq!((header.codec, header.header_len), (Some(AudioCodec::LEGACY_AAC), 2));
    assert!(header.is_frame());
    assert!(audio(&[0xAF, 0, 0x12, 0x10]).unwrap().is_sequence_header());
    let sound = audio(&[0x2A, 7]).unwrap().sound.unwrap();
    assert_eq!((sound.sample_rate_hz, sound.sample_bits, sound.channel_count), (22050, 16, 1));
}

#[test]
fn er_1_a_header_cut_anywhere_is_an_error_with_the_lengths() {
    for whole in [&b"\x91hvc1\x00\x00\x21"[..], &[0x17, 1, 0, 0, 0], b"\x96\x00av01\x00"] {
        assert!(video(whole).is_ok());
        assert_eq!(video(&[]), Err(HeaderError::Empty));
        for len in 1..whole.len() {
            let Err(HeaderError::Truncated { needed, len: have }) = video(&whole[..len]) else {
                panic!("{len} bytes of {whole:x?}");
            };
            assert!(have == len && needed > len && needed <= whole.len(), "{needed} of {len}");
        }
    }
    assert_eq!(audio(&[]), Err(HeaderError::Empty));
    assert_eq!(audio(&[0xAF]), Err(HeaderError::Truncated { needed: 2, len: 1 }));
    assert_eq!(audio(b"\x91Opu"), Err(HeaderError::Truncated { needed: 5, len: 4 }));
}

#[test]
fn er_2_only_coded_frames_of_avc_hevc_and_vvc_carry_a_composition_time() {
    for four_cc in [b"avc1", b"hvc1", b"vvc1"] {
        let payload = |packet_type| [&[packet_type], &four_cc[..], &[0xFF, 0xFF, 0xDF, 9]].concat();
        let header = video(&payload(0xA1)).unwrap();
        assert_eq!((header.composition_time.as_ms(), header.header_len), (-33, 8));
        let header = video(&payload(0xA3)).unwrap();
        assert_eq!((header.composition_time.as_ms(), header.header_len), (0, 5), "CodedFramesX");
        assert!(header.is_frame());
    }
    for four_cc in [b"av01", b"vp09", b"vp08"] {
        for first in [0xA1, 0xA3] {
            let header = video(&[&[first], &four_cc[..], &[0xFF; 4]].concat()).unwrap();
            assert_eq!((header.composition_time.as_ms(), header.header_len), (0, 5));
            assert!(header.is_frame());
        }
    }
}

#[test]
fn er_3_only_coded_frames_of_type_key_open_a_group_of_pictures() {
    assert_eq!(role(TagKind::Video, b"\x91av01frame"), TagRole::Keyframe);
    assert_eq!(role(TagKind::Video, b"\x93hvc1frame"), TagRole::Keyframe);
    assert_eq!(role(TagKind::Video, b"\xA1av01frame"), TagRole::InterFrame { disposable: false });
    assert_eq!(role(TagKind::Video, b"\xB1av01frame"), TagRole::InterFrame { disposable: true });
    // Frame type 1 or 5, and yet not a frame: start, end, metadata, MPEG-2 TS start, a command.
    for first in [0x90, 0x92, 0x94, 0x95, 0xD0, 0xD1, 0xD3, 0xD4, 0x98, 0x9F] {
        let payload = [&[first], &b"av01something"[..]].concat();
        let header = video(&payload).unwrap();
        assert!(!header.is_keyframe() && !header.is_frame(), "{first:x}");
        let role = role(TagKind::Video, &payload);
        assert!(
            !matches!(role, TagRole::Keyframe | TagRole::InterFrame { .. }),
            "{first:x} {role:?}"
        );
    }
    // The same in legacy headers: sequence header, end, and the command frame of seeking.
    for payload in [&[0x17, 0, 0, 0, 0, 1][..], &[0x17, 2, 0, 0, 0], &[0x57, 0], &[0x52, 1]] {
        assert!(!video(payload).unwrap().is_frame(), "{payload:x?}");
    }
    // A key frame without a coded byte is nothing to start at.
    assert_eq!(role(TagKind::Video, b"\x91av01"), TagRole::Other);
    assert_eq!(role(TagKind::Video, &[0x17, 1, 0, 0, 0]), TagRole::Other);
    assert_eq!(role(TagKind::Video, &[]), TagRole::Other);
}

/// A ModEx packet: size, data, and the kind beside the packet type that follows.
fn mod_ex(kind: u8, next: u8, data: &[u8]) -> Vec<u8> {
    let size = match data.len() {
        len @ 1..256 => vec![len as u8 - 1],
        len => [&[255], &((len - 1) as u16).to_be_bytes()[..]].concat(),
    };
    [&size, data, &[kind << 4 | next]].concat()
}

#[test]
fn er_4_modex_with_an_8_bit_size_is_consumed_and_the_offset_is_of_3_bytes() {
    let nanoseconds = mod_ex(0, 1, &[0x0F, 0x42, 0x3F]);
    let header = video(&[&[0x97], &nanoseconds[..], b"hvc1\x00\x00\x21coded"].concat()).unwrap();
    assert_eq!(header.nanosecond_offset, 999_999);
    assert_eq!((header.codec, header.composition_time.as_ms()), (Some(VideoCodec::HEVC), 33));
    assert!(header.is_keyframe());
    assert_eq!((header.header_len, header.body_len), (1 + 5 + 7, 5));

    let header = audio(&[&[0x97], &nanoseconds[..], b"Opuscoded"].concat()).unwrap();
    assert_eq!((header.nanosecond_offset, header.codec), (999_999, Some(AudioCodec::OPUS)));
    assert!(header.is_frame());
    assert_eq!(audio(b"\x91Opuscoded").unwrap().nanosecond_offset, 0, "of that message only");
}

#[test]
fn er_4_modex_of_any_size_is_consumed() {
    for len in [1, 2, 3, 254, 255, 256, 257, 300, 65535, 65536] {
        let payload = [&[0xA7], &mod_ex(0, 1, &vec![1; len])[..], b"av01coded"].concat();
        // In two pieces everywhere would take minutes at the longest.
        let parse: fn(&[u8]) -> _ =
            if len < 1000 { video } else { |bytes| VideoHeader::parse(&bytes.to_vec().into()) };
        let header = parse(&payload).unwrap();
        assert_eq!(header.codec, Some(VideoCodec::AV1), "{len}");
        assert_eq!((header.header_len, header.body_len), (payload.len() - 5, 5), "{len}");
        let nanoseconds = if len < 3 { 0 } else { 0x010101 };
        assert_eq!(header.nanosecond_offset, nanoseconds, "a short offset means nothing: {len}");
    }
}

#[test]
fn er_4_several_modex_are_consumed_and_unknown_kinds_skipped_by_size() {
    let payload = [
        &[0x97][..],
        &mod_ex(9, 7, &[0xFF; 6]),
        &mod_ex(0, 7, &[0, 0, 5]),
        &mod_ex(15, 7, &[0xFF; 300]),
        &mod_ex(1, 1, &[0x91]),
        b"av01coded",
    ]
    .concat();
    let header = video(&payload).unwrap();
    assert_eq!(header.nanosecond_offset, 5);
    assert!(header.is_keyframe() && header.codec == Some(VideoCodec::AV1));
    assert_eq!(header.body_len, 5);
}

#[test]
fn er_4_modex_goes_before_multitrack_too() {
    let payload = [&[0x97], &mod_ex(0, 6, &[0, 1, 0])[..], b"\x01av01\x02coded"].concat();
    let header = video(&payload).unwrap();
    assert_eq!(
        (header.nanosecond_offset, header.multitrack),
        (256, Some(MultitrackKind::OneTrack))
    );
    assert_eq!(video_tracks(&payload), [(2, VideoCodec::AV1, 0, b"coded".to_vec())]);
}

#[test]
fn er_4_modex_longer_than_the_message_is_refused() {
    let whole = [&[0x97], &mod_ex(0, 1, &[1; 300])[..]].concat();
    for len in 1..whole.len() {
        assert!(matches!(video(&whole[..len]), Err(HeaderError::Truncated { .. })), "{len}");
    }
}

/// A track with its size, behind what the kind puts in front of it.
fn track(four_cc: &[u8], id: u8, body: &[u8]) -> Vec<u8> {
    let [_, a, b, c] = (body.len() as u32).to_be_bytes();
    [four_cc, &[id, a, b, c], body].concat()
}

#[test]
fn er_5_one_track_has_no_size() {
    let payload = b"\x96\x01hvc1\x03\x00\x00\x21coded";
    let header = video(payload).unwrap();
    assert_eq!(header.multitrack, Some(MultitrackKind::OneTrack));
    assert_eq!((header.header_len, header.body_len), (6, 5));
    assert_eq!(video_tracks(payload), [(3, VideoCodec::HEVC, 33, b"coded".to_vec())]);

    // As FFmpeg writes a second audio track.
    let payload = b"\x95\x01mp4a\x01coded";
    assert_eq!(audio_tracks(payload), [(1, AudioCodec::AAC, b"coded".to_vec())]);
    assert_eq!(
        audio(b"\x95\x00mp4a\x01\x12\x10").unwrap().packet_type,
        AudioPacketType::SequenceHeader
    );
}

#[test]
fn er_5_many_tracks_have_a_size_each_and_are_all_processed() {
    let payload = [
        &b"\x96\x11avc1"[..],
        &track(b"", 0, b"\x00\x00\x21first"),
        &track(b"", 7, b"\xFF\xFF\xFFsecond"),
        &track(b"", 255, b"\x00\x00\x00"),
    ]
    .concat();
    let header = video(&payload).unwrap();
    assert_eq!(header.multitrack, Some(MultitrackKind::ManyTracks));
    assert_eq!((header.codec, header.composition_time.as_ms()), (Some(VideoCodec::AVC), 33));
    assert_eq!(header.body_len, 11);
    assert_eq!(
        video_tracks(&payload),
        [
            (0, VideoCodec::AVC, 33, b"first".to_vec()),
            (7, VideoCodec::AVC, -1, b"second".to_vec()),
            (255, VideoCodec::AVC, 0, vec![]),
        ]
    );
    // CodedFramesX: the same bytes have no composition time in any track.
    let payload = [&b"\x96\x13avc1"[..], &track(b"", 0, b"abc"), &track(b"", 1, b"")].concat();
    assert_eq!(
        video_tracks(&payload),
        [(0, VideoCodec::AVC, 0, b"abc".to_vec()), (1, VideoCodec::AVC, 0, vec![])]
    );
}

#[test]
fn er_5_many_codecs_have_a_fourcc_each() {
    let payload = [
        &b"\x96\x21"[..],
        &track(b"av01", 1, b"\x00\x00\x21"),
        &track(b"hvc1", 0, b"\x00\x00\x21coded"),
    ]
    .concat();
    let header = video(&payload).unwrap();
    assert_eq!(header.codec, Some(VideoCodec::HEVC), "of the primary track");
    assert_eq!(header.composition_time.as_ms(), 33);
    assert_eq!(
        video_tracks(&payload),
        [
            (1, VideoCodec::AV1, 0, b"\x00\x00\x21".to_vec()),
            (0, VideoCodec::HEVC, 33, b"coded".to_vec()),
        ]
    );
    let payload = [&b"\x95\x21"[..], &track(b"Opus", 0, b"o"), &track(b"ac-3", 1, b"a")].concat();
    assert_eq!(
        audio_tracks(&payload),
        [(0, AudioCodec::OPUS, b"o".to_vec()), (1, AudioCodec::AC3, b"a".to_vec())]
    );
}

#[test]
fn er_5_multitrack_inside_multitrack_is_refused() {
    for kind in 0..16 {
        let nested = Err(HeaderError::NestedMultitrack { at: 1 });
        assert_eq!(video(&[&[0x96, kind << 4 | 6], &b"av01\x00coded"[..]].concat()), nested);
        let nested = Err(HeaderError::NestedMultitrack { at: 1 });
        assert_eq!(audio(&[&[0x95, kind << 4 | 5], &b"Opus\x00coded"[..]].concat()), nested);
    }
}

#[test]
fn er_5_a_size_beyond_the_message_is_refused() {
    let first = track(b"", 0, b"whole");
    for (len, left) in [(6u8, 5), (255, 5), (1, 0)] {
        let body = vec![1; left];
        let payload = [&b"\x96\x11av01"[..], &first, &[1, 0, 0, len], &body].concat();
        let error = HeaderError::TrackTooLong { id: 1, track_len: len.into(), left };
        assert_eq!(video(&payload), Err(error));
        let payload = [&b"\x95\x11Opus"[..], &first, &[1, 0, 0, len], &body].concat();
        assert_eq!(audio(&payload), Err(error));
    }
    // A size that leaves no room for the composition time: the payload itself is long enough.
    let payload = [&b"\x96\x11avc1"[..], &track(b"", 7, b"ab"), &track(b"", 1, b"abcd")].concat();
    assert_eq!(video(&payload), Err(HeaderError::TrackTooShort { id: 7, track_len: 2 }));
    // A header that is cut, no track at all.
    for payload in [
        [&b"\x96\x11avc1"[..], &track(b"", 0, b"abcd"), &[1, 0, 0]].concat(),
        b"\x96\x11avc1".to_vec(),
        b"\x96\x01avc1".to_vec(),
        b"\x96\x21".to_vec(),
    ] {
        assert!(matches!(video(&payload), Err(HeaderError::Truncated { .. })), "{payload:x?}");
    }
}

#[test]
fn er_5_more_tracks_than_ids_are_refused() {
    let many = |count: usize| [&b"\x95\x11Opus"[..], &track(b"", 3, b"").repeat(count)].concat();
    let parse = |bytes: Vec<u8>| AudioHeader::parse(&Rope::from(bytes));
    assert!(parse(many(256)).is_ok());
    assert_eq!(parse(many(257)), Err(HeaderError::TooManyTracks));
}

#[test]
fn er_5_a_group_of_pictures_is_opened_by_the_primary_track_only() {
    let frames = |frame_type: u8, ids: &[u8]| {
        let tracks: Vec<u8> = ids.iter().flat_map(|&id| track(b"", id, b"coded")).collect();
        role(TagKind::Video, &[&[0x80 | frame_type << 4 | 6, 0x11], &b"av01"[..], &tracks].concat())
    };
    assert_eq!(frames(1, &[0]), TagRole::Keyframe);
    assert_eq!(frames(1, &[3, 0]), TagRole::Keyframe);
    assert_eq!(frames(1, &[1]), TagRole::SecondaryFrame);
    assert_eq!(frames(2, &[0, 1]), TagRole::InterFrame { disposable: false });
    assert_eq!(frames(3, &[0]), TagRole::InterFrame { disposable: true });
    assert_eq!(frames(2, &[1, 2]), TagRole::SecondaryFrame);
    // The primary track is there, and has no byte.
    let payload = [&b"\x96\x11av01"[..], &track(b"", 0, b""), &track(b"", 1, b"coded")].concat();
    assert_eq!(role(TagKind::Video, &payload), TagRole::SecondaryFrame);
}

#[test]
fn er_5_headers_say_which_tracks_they_are_for() {
    let payload = [&b"\x96\x10av01"[..], &track(b"", 0, b"c"), &track(b"", 200, b"c")].concat();
    assert_eq!(role(TagKind::Video, &payload), TagRole::VideoSequenceHeader(tracks(&[0, 200])));
    assert_eq!(
        role(TagKind::Audio, b"\x95\x00mp4a\x01\x12\x10"),
        TagRole::AudioSequenceHeader(tracks(&[1]))
    );
    assert_eq!(
        role(TagKind::Video, &[0x17, 0, 0, 0, 0, 1]),
        TagRole::VideoSequenceHeader(TrackSet::PRIMARY)
    );
    assert_eq!(
        role(TagKind::Video, b"\x96\x02av01\x01"),
        TagRole::Other,
        "track 1 ended, 0 goes on"
    );
    assert_eq!(role(TagKind::Video, b"\x96\x02av01\x00"), TagRole::EndOfSequence);
}

#[test]
fn er_6_an_unknown_fourcc_is_kept_and_never_read_as_a_legacy_codec() {
    // Lower nibble 7 would be AVC, and 0xA_ legacy AAC.
    for four_cc in [*b"new1", *b"\x07\x01\x00\x00", [0; 4], [0xFF; 4]] {
        let header = video(&[&[0x91], &four_cc[..], &[0, 0, 9, 9]].concat()).unwrap();
        assert_eq!(header.codec, Some(VideoCodec::FourCc(four_cc)));
        assert_eq!((header.composition_time.as_ms(), header.header_len), (0, 5));
        assert!(!header.needs_sequence_header());
        let header = audio(&[&[0x91], &four_cc[..], &[1]].concat()).unwrap();
        assert_eq!((header.codec, header.sound), (Some(AudioCodec::FourCc(four_cc)), None));
    }
}

#[test]
fn er_6_unknown_packet_types_are_no_frames_and_parse() {
    for nibble in 8..16 {
        let payload = [&[0x90 | nibble], &b"av01body"[..]].concat();
        let header = video(&payload).unwrap();
        assert_eq!(header.packet_type, VideoPacketType::Other(nibble));
        assert_eq!(header.codec, Some(VideoCodec::AV1));
        assert_eq!(role(TagKind::Video, &payload), TagRole::Other);
    }
    for nibble in [3, 6, 8, 9, 10, 11, 12, 13, 14, 15] {
        let payload = [&[0x90 | nibble], &b"Opusbody"[..]].concat();
        assert_eq!(audio(&payload).unwrap().packet_type, AudioPacketType::Other(nibble));
        assert_eq!(role(TagKind::Audio, &payload), TagRole::Other);
    }
    // Legacy AVC and AAC have such a field too.
    assert_eq!(video(&[0x17, 9, 0, 0, 0, 1]).unwrap().packet_type, VideoPacketType::Other(9));
    assert_eq!(audio(&[0xAF, 9, 1]).unwrap().packet_type, AudioPacketType::Other(9));
}

#[test]
fn er_6_unknown_frame_types_are_frames_that_need_others() {
    for frame_type in [0u8, 6, 7] {
        let payload = [&[0x81 | frame_type << 4], &b"av01body"[..]].concat();
        assert_eq!(video(&payload).unwrap().frame_type, FrameType::Other(frame_type));
        assert_eq!(role(TagKind::Video, &payload), TagRole::InterFrame { disposable: false });
    }
}

#[test]
fn er_6_an_unknown_track_layout_is_not_guessed() {
    for kind in 3..16u8 {
        let payload = [&[0x96, kind << 4 | 1], &b"av01\x00coded"[..]].concat();
        let header = video(&payload).unwrap();
        assert_eq!((header.packet_type, header.codec), (VideoPacketType::Other(6), None));
        assert_eq!(video_tracks(&payload), []);
        assert_eq!(role(TagKind::Video, &payload), TagRole::Other);
        let payload = [&[0x95, kind << 4 | 1], &b"Opus\x00coded"[..]].concat();
        assert_eq!(audio(&payload).unwrap().packet_type, AudioPacketType::Other(5));
        assert_eq!(role(TagKind::Audio, &payload), TagRole::Other);
    }
}

#[test]
fn er_9_video_metadata_and_multichannel_configuration_are_headers_of_their_tracks() {
    // As FFmpeg writes them.
    let color_info = b"\xD4av01\x02\x00\x09colorInfo\x03\x00\x00\x09";
    assert_eq!(role(TagKind::Video, color_info), TagRole::VideoMetadata(TrackSet::PRIMARY));
    assert_eq!(video(color_info).unwrap().codec, Some(VideoCodec::AV1));
    assert_eq!(
        role(TagKind::Audio, b"\x94Opus\x01\x02\x00\x00\x00\x03"),
        TagRole::AudioMultichannelConfig(TrackSet::PRIMARY)
    );
    assert_eq!(
        role(TagKind::Audio, b"\x95\x04mp4a\x01\x01\x02\x00\x00\x00\x03"),
        TagRole::AudioMultichannelConfig(tracks(&[1]))
    );
    // A frame type of 5 in front of multitrack metadata is no command.
    let payload = [&b"\xD6\x14av01"[..], &track(b"", 1, b"m"), &track(b"", 2, b"m")].concat();
    assert_eq!(role(TagKind::Video, &payload), TagRole::VideoMetadata(tracks(&[1, 2])));
}

#[test]
fn er_10_a_fourcc_in_metadata_is_the_big_endian_number_of_its_characters() {
    assert_eq!(VideoCodec::AV1.id(), 1_635_135_537);
    assert_eq!(AudioCodec::OPUS.id(), 1_332_770_163);
    assert_eq!(VideoCodec::from_id(1_635_135_537), VideoCodec::AV1);
    assert_eq!(AudioCodec::from_id(1_332_770_163), AudioCodec::OPUS);
    assert_eq!(VideoCodec::from_id(7), VideoCodec::LEGACY_AVC);
    assert_eq!(AudioCodec::from_id(10), AudioCodec::LEGACY_AAC);
    assert_eq!((VideoCodec::LEGACY_AVC.id(), AudioCodec::LEGACY_AAC.id()), (7, 10));
}

#[test]
fn er_10_a_recording_keeps_extended_headers() {
    for (kind, payload) in [
        (TagKind::Video, &b"\xD4hvc1\x02\x00\x09colorInfo"[..]),
        (TagKind::Video, b"\x91hvc1\x00\x00\x21coded"),
        (TagKind::Audio, b"\x95\x01mp4a\x01coded"),
        (TagKind::Audio, b"\x97\x02\x00\x00\x01\x01Opuscoded"),
    ] {
        let tag = Tag { kind, timestamp: Timestamp::from_ms(40), payload: Rope::from(payload) };
        let mut bytes = file::file_header(true, true).to_vec();
        let written = file::file_payload(&tag);
        bytes.extend(file::tag_header(kind, written.len(), tag.timestamp));
        written.copy_to(&mut bytes);
        bytes.extend(file::previous_tag_size(written.len()));
        let mut reader = FileReader::strict();
        reader.push(Bytes::from(bytes));
        assert_eq!(reader.next_tag().unwrap().unwrap().tag, tag);
        assert_eq!(reader.finish(), Ok(()));
    }
}
