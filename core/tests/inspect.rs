//! `forebay inspect`: what it says of every recorded file is what `testdata/manifest.json` says,
//! which another parser counted; damage is found where it was made, and all behind it is recovered.
#![cfg(feature = "shell")]
#![allow(clippy::unwrap_used, reason = "a test that panics has failed")]

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};
use std::process::{Command, Output};

use bytes::Bytes;
use forebay::flv::{Tag, TagKind};
use forebay::inspect::{
    CaptureScanner, Damage, Event, FileScanner, Inspector, OddityKind, Report, Status, TagCounts,
};
use forebay::rope::Rope;
use forebay::time::Timestamp;
use proptest::prelude::*;
use serde_json::{Value, json};

fn root() -> PathBuf {
    PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("..")
}

fn testdata(name: &str) -> Bytes {
    let folder = if name.ends_with(".flv") { "flv" } else { "rtmp" };
    let path = root().join("testdata").join(folder).join(name);
    std::fs::read(&path).unwrap_or_else(|error| panic!("{}: {error}", path.display())).into()
}

fn manifest(format: &str) -> Vec<(String, Value)> {
    let text = std::fs::read(root().join("testdata/manifest.json")).unwrap();
    let all: Vec<Value> = serde_json::from_slice(&text).unwrap();
    let of_format: Vec<_> = all.into_iter().filter(|entry| entry["format"] == format).collect();
    assert!(of_format.len() >= 14, "{} files are not the capture set", of_format.len());
    of_format.into_iter().map(|entry| (entry["file"].as_str().unwrap().to_owned(), entry)).collect()
}

fn scan(scanner: FileScanner, bytes: &Bytes, piece_len: usize) -> Vec<Event> {
    let (mut scanner, mut events) = (scanner, Vec::new());
    for piece in bytes.chunks(piece_len) {
        scanner.push(bytes.slice_ref(piece));
        events.extend(std::iter::from_fn(|| scanner.poll_event()));
    }
    scanner.finish();
    events.extend(std::iter::from_fn(|| scanner.poll_event()));
    events
}

fn scan_capture(bytes: &[u8], piece_len: usize) -> (Vec<Event>, CaptureScanner) {
    let (mut scanner, mut events) = (CaptureScanner::new(), Vec::new());
    for piece in bytes.chunks(piece_len) {
        scanner.push(piece).unwrap();
        events.extend(std::iter::from_fn(|| scanner.poll_event()));
    }
    scanner.finish();
    events.extend(std::iter::from_fn(|| scanner.poll_event()));
    (events, scanner)
}

fn report(events: &[Event]) -> Report {
    let mut inspector = Inspector::new();
    for event in events {
        match event {
            Event::Tag(found) => inspector.add(found.at, &found.tag),
            Event::Damage(damage) => inspector.add_damage(damage.clone()),
        }
    }
    inspector.report()
}

/// What there is up to the first damage, as the manifest counts it: with the tag whose length is
/// wrong, as long as it claims to be.
fn report_before_damage(events: &[Event]) -> (Report, Option<&Damage>) {
    let mut inspector = Inspector::new();
    for event in events {
        match event {
            Event::Tag(found) => inspector.add(found.at, &found.tag),
            Event::Damage(damage) => {
                if let Some(suspect) = &damage.suspect {
                    inspector.add(suspect.at, &suspect.tag);
                }
                return (inspector.report(), Some(damage));
            }
        }
    }
    (inspector.report(), None)
}

fn tags<'a>(events: &'a [Event]) -> Vec<&'a Tag> {
    let tag = |event: &'a Event| match event {
        Event::Tag(found) => Some(&found.tag),
        Event::Damage(_) => None,
    };
    events.iter().filter_map(tag).collect()
}

fn damage<'a>(events: &'a [Event]) -> Vec<&'a Damage> {
    let damage = |event: &'a Event| match event {
        Event::Damage(damage) => Some(damage),
        Event::Tag(_) => None,
    };
    events.iter().filter_map(damage).collect()
}

/// The counts in the manifest's words.
fn counts(tags: &TagCounts) -> Value {
    let mut counts = json!({
        "video_key": tags.keyframes,
        "video_inter": tags.inter_frames,
        "audio": tags.audio_frames,
        "script": tags.metadata + tags.script,
        "video_seq": tags.video_sequence_headers,
        "audio_seq": tags.audio_sequence_headers,
        "video_end": tags.video_ends,
    });
    let others = [
        ("empty", tags.empty),
        ("video_other", tags.video_metadata),
        ("audio_other", tags.multichannel_configs),
    ];
    for (name, count) in others.into_iter().filter(|(_, count)| *count > 0) {
        counts[name] = count.into();
    }
    let rest = tags.secondary_frames + tags.audio_ends + tags.unreadable + tags.other;
    assert_eq!(rest, 0, "the manifest has no word for {tags:?}");
    counts
}

/// A codec of the manifest in our words, and the track that it is of.
fn codec(of_manifest: &str) -> (&'static str, &'static str, u8) {
    match of_manifest {
        "avc" => ("h264", "video", 0),
        "hvc1" => ("hevc", "video", 0),
        "av01" => ("av1", "video", 0),
        "vp09" => ("vp9", "video", 0),
        "aac" => ("aac", "audio", 0),
        "mp3" => ("mp3", "audio", 0),
        "fLaC" => ("flac", "audio", 0),
        "Opus" => ("opus", "audio", 0),
        "multitrack mp4a" => ("aac", "audio", 1),
        other => panic!("{other} is new"),
    }
}

fn assert_agrees(report: &Report, entry: &Value, file: &str) {
    assert_eq!(counts(&report.tags), entry["tags"], "{file}: tags");

    let ours: BTreeSet<_> =
        report.tracks.iter().map(|track| (track.codec.as_str(), track.kind, track.id)).collect();
    let theirs = entry["codecs"].as_array().unwrap().iter();
    let theirs = theirs.map(|name| codec(name.as_str().unwrap())).collect();
    assert_eq!(ours, theirs, "{file}: codecs");

    let times = &report.timestamps;
    let ours = json!({
        "first_timestamp_ms": times.first_ms,
        "last_timestamp_ms": times.last_ms,
        "first_media_ms": times.first_media_ms,
        "last_media_ms": times.last_media_ms,
        "first_keyframe_ms": times.first_keyframe_ms,
        "backward_steps": times.backward_steps,
        "tags_with_extended_timestamp": times.extended,
        "largest_step_ms": times.largest_step_ms,
    });
    for (key, value) in ours.as_object().unwrap() {
        assert_eq!(Some(value), entry.get(key).or(Some(&Value::Null)), "{file}: {key}");
    }

    let list = report.gops.as_ref().map_or(&[][..], |gops| &gops.list);
    let ours: BTreeSet<_> = list.iter().filter_map(|gop| gop.duration_ms).collect();
    let theirs = entry.get("keyframe_steps_ms").and_then(Value::as_array);
    // The manifest subtracts plain numbers; the way round 2^32 is the same.
    let theirs = theirs.into_iter().flatten().map(|ms| ms.as_i64().unwrap() as u32 as i32);
    assert_eq!(ours, theirs.collect(), "{file}: keyframe_steps_ms");

    let video = report.tracks.iter().find(|track| track.kind == "video");
    let ours = video.and_then(|track| track.composition_time);
    let ours = ours.map(|times| json!([times.min, times.max]));
    let theirs = &entry["composition_time_ms"];
    let theirs = theirs.is_object().then(|| json!([theirs["min"], theirs["max"]]));
    assert_eq!(ours, theirs, "{file}: composition_time_ms");

    if let Some(metadata) = entry.get("metadata") {
        let ours = Value::Object(report.metadata.first.clone());
        assert_eq!(ours, metadata[1], "{file}: metadata");
    }
}

#[test]
fn every_flv_file_is_what_the_manifest_says() {
    for (file, entry) in manifest("flv") {
        let bytes = testdata(&file);
        let events = scan(FileScanner::strict(), &bytes, 1 << 20);
        let (before, first) = report_before_damage(&events);
        assert_agrees(&before, &entry, &file);
        assert_eq!(framing(first), entry["framing"], "{file}");

        let lenient = scan(FileScanner::lenient(), &bytes, 1 << 20);
        let (before, first) = report_before_damage(&lenient);
        let theirs = entry.get("ignoring_previous_tag_size").unwrap_or(&entry);
        assert_eq!(framing(first), theirs["framing"], "{file}, lenient");
        assert_eq!(counts(&before.tags), theirs["tags"], "{file}, lenient");
        let last = before.timestamps.last_ms;
        assert_eq!(last.map(u64::from), theirs["last_timestamp_ms"].as_u64(), "{file}, lenient");
    }
}

fn framing(first: Option<&Damage>) -> String {
    // Behind the semicolon is what else was found out.
    let what = |damage: &Damage| damage.what.split("; ").next().unwrap().to_owned();
    first.map_or("intact".to_owned(), |damage| format!("breaks: {}", what(damage)))
}

#[test]
fn every_capture_is_what_the_manifest_says() {
    for (file, entry) in manifest("rtmpcap") {
        let (events, scanner) = scan_capture(&testdata(&file), 1 << 20);
        assert!(damage(&events).is_empty(), "{file}");
        assert_agrees(&report(&events), &entry, &file);

        let connection = scanner.report();
        for (ours, theirs) in
            [(&connection.client, &entry["client"]), (&connection.server, &entry["server"])]
        {
            assert_eq!(json!(ours.bytes), theirs["bytes"], "{file}");
            assert_eq!(json!(ours.reads), theirs["reads"], "{file}");
            assert_eq!(json!(ours.chunk_sizes), theirs["chunk_sizes_set"], "{file}");
            assert_eq!(json!(ours.unfinished_bytes), theirs["unfinished_bytes"], "{file}");
        }
        let theirs = entry["client"]["handshake"].as_str().unwrap();
        let theirs = if theirs.contains("bytes 4-7 00000000") { "plain" } else { "digest" };
        assert_eq!(connection.handshake, theirs, "{file}");
        let commands = connection.commands.iter().map(|command| {
            let code = if command.name == "onStatus" { &command.about } else { "" };
            format!("{} {} {code}", command.from, command.name).trim_end().to_owned()
        });
        assert_eq!(json!(commands.collect::<Vec<_>>()), entry["commands"], "{file}");
    }
}

#[test]
fn pictures_and_sound_are_described_by_their_sequence_headers() {
    for (file, video, audio) in [
        ("obs-1080p30-cbr6000.flv", "h264 avc1.640028 1920x1080", "aac mp4a.40.2 48000"),
        ("obs-360p30-base.flv", "h264 avc1.64001e 640x360", "aac mp4a.40.2 48000"),
        ("enh-hevc-aac.flv", "hevc hvc1.1.6.L63.90 640x360", "aac mp4a.40.2 44100"),
        ("enh-av1-opus.flv", "av1 av01.0.01M.08 640x360", "opus opus 48000"),
        // VP9 does not say there how large it is.
        ("enh-vp9-aac.flv", "vp9 vp09.00.21.08 ", "aac mp4a.40.2 44100"),
    ] {
        let report = report(&scan(FileScanner::strict(), &testdata(file), 1 << 20));
        let [pictures, sound] = &report.tracks[..] else { panic!("{file}: two tracks") };
        let size = pictures.width.zip(pictures.height).map(|(w, h)| format!("{w}x{h}"));
        let text = |text: &Option<String>| text.clone().unwrap_or_default();
        let codec = text(&pictures.codec_string);
        assert_eq!(format!("{} {codec} {}", pictures.codec, text(&size)), video, "{file}");
        let (codec, rate) = (text(&sound.codec_string), sound.sample_rate.unwrap());
        assert_eq!(format!("{} {codec} {rate}", sound.codec), audio, "{file}");
        assert_eq!(pictures.frame_rate.map(f64::round), Some(30.0), "{file}");
        assert_eq!(pictures.frame_rate_claimed, Some(30.0), "{file}");
    }
}

#[test]
fn bitrates_are_those_of_the_tags() {
    let bytes = testdata("obs-720p30-cbr2500.flv");
    let events = scan(FileScanner::strict(), &bytes, 1 << 20);
    let report = report(&events);
    // Counted again: all video bytes, and those of the fullest second.
    let (mut all, mut seconds) = (0, [0u64; 8]);
    for tag in tags(&events).into_iter().filter(|tag| tag.kind == TagKind::Video) {
        let role = tag.role();
        let len = match role {
            forebay::flv::TagRole::VideoSequenceHeader(_) => tag.payload.len() - 5,
            forebay::flv::TagRole::EndOfSequence => 0,
            _ => {
                seconds[tag.timestamp.as_ms() as usize / 1000] += tag.payload.len() as u64;
                tag.payload.len()
            }
        };
        all += len as u64;
    }
    let video = &report.tracks[0];
    assert_eq!(video.bytes, all);
    assert_eq!(video.bits_per_second_peak, seconds.iter().max().unwrap() * 8);
    // 233 pictures at 30 a second.
    let average = all as f64 * 8.0 / (233.0 / 30.0);
    let ratio = video.bits_per_second.unwrap() as f64 / average;
    assert!((0.999..1.001).contains(&ratio), "{ratio}");
    assert_eq!(report.bitrate.piece_ms, 1000);
    assert_eq!(report.bitrate.bits_per_second.len(), 8);
    // The first picture is shown with the first sound.
    assert_eq!(report.timestamps.audio_after_video_ms, Some(67));
    assert_eq!(report.timestamps.audio_after_picture_ms, Some(0));
}

/// The damaged regions of a file.
type Regions = &'static [(u64, u64)];

/// The damaged file, its regions, and how many tags of the undamaged file there are.
const DAMAGED: &[(&str, Regions, usize)] = &[
    ("bad-cut-in-body.flv", &[(118_322, 118_465)], 120),
    ("bad-cut-in-header.flv", &[(93_708, 93_714)], 90),
    ("bad-cut-in-prevsize.flv", &[(105_233, 105_235)], 101),
    ("bad-datasize-long.flv", &[(58_583, 58_586)], 278),
    ("bad-garbage-between.flv", &[(49_463, 49_500), (141_877, 142_277)], 278),
    ("bad-prevsize-one.flv", &[(41_211, 41_215)], 278),
];

#[test]
fn behind_damage_every_tag_is_recovered() {
    let base = scan(FileScanner::strict(), &testdata("obs-360p30-base.flv"), 1 << 20);
    for &(file, regions, count) in DAMAGED {
        let events = scan(FileScanner::strict(), &testdata(file), 1 << 20);
        let found: Vec<_> = damage(&events).iter().map(|found| (found.from, found.to)).collect();
        assert_eq!(found, regions, "{file}");
        assert!(tags(&events) == tags(&base)[..count], "{file}");
        let report = report(&events);
        assert_eq!(report.verdict.status, Status::Damaged, "{file}");
        assert!(report.verdict.text.starts_with(&format!("damaged at byte {}: ", regions[0].0)));
        let behind: u64 = report.damage.regions.iter().map(|region| region.tags_behind).sum();
        assert_eq!(behind, report.damage.tags_behind, "{file}");
    }
}

#[test]
fn where_no_previous_tag_size_is_right_tags_are_found_by_their_headers() {
    let base = scan(FileScanner::strict(), &testdata("obs-360p30-base.flv"), 1 << 20);
    let bytes = testdata("bad-prevsize-zero.flv");
    let events = scan(FileScanner::strict(), &bytes, 1 << 20);
    assert!(tags(&events) == tags(&base));
    let regions = damage(&events);
    assert_eq!(regions.len(), 278);
    assert!(regions.iter().all(|region| region.to - region.from == 4));

    // Garbage on top, and still nothing but headers to go by.
    let mut worse = bytes.to_vec();
    worse.splice(41_215..41_215, (0..500u32).map(|n| (n * n / 7) as u8));
    let worse = Bytes::from(worse);
    let events = scan(FileScanner::lenient(), &worse, 1 << 20);
    assert!(tags(&events) == tags(&base));
    assert_eq!(damage(&events).len(), 1);
    assert!(tags(&scan(FileScanner::strict(), &worse, 1 << 20)) == tags(&base));
}

#[test]
fn what_is_odd_is_called_odd_for_its_reason() {
    use OddityKind::*;
    let all = manifest("flv").into_iter().chain(manifest("rtmpcap"));
    for (file, _) in all.filter(|(file, _)| !file.starts_with("bad-")) {
        let bytes = testdata(&file);
        let events = match file.ends_with(".flv") {
            true => scan(FileScanner::strict(), &bytes, 1 << 20),
            false => scan_capture(&bytes, 1 << 20).0,
        };
        let verdict = report(&events).verdict;
        let kinds: BTreeSet<_> = verdict.odd.iter().map(|oddity| oddity.kind).collect();
        let expected: &[OddityKind] = match file.as_str() {
            "odd-empty-and-dup.flv" => &[FramesMissing, EmptyTags, DuplicatedFrames],
            "odd-exttime-wrap.flv" => &[TimeCrosses24Bits],
            "odd-time-backwards.flv" => &[TimeStepsBack],
            "odd-time24-noext.flv" => &[TimeLosesExtendedByte],
            "odd-time32-wrap.flv" => &[TimeWraps],
            "ffmpeg5-publish-exttime.rtmpcap" => &[TimeCrosses24Bits],
            // FFmpeg ends FLAC with a frame of nothing, and another header that has its checksum.
            "enh-avc-flac.flv" => &[SequenceHeaderChanges, EmptyTags],
            "obs-publish-stalled.rtmpcap" => &[TimeJumps, FramesMissing],
            _ => &[],
        };
        assert_eq!(kinds, expected.iter().copied().collect(), "{file}: {verdict}");
        let status = if expected.is_empty() { Status::Intact } else { Status::Odd };
        assert_eq!(verdict.status, status, "{file}");
    }
}

#[test]
fn files_and_captures_cut_anywhere_give_the_same() {
    for (file, _) in manifest("flv").into_iter().filter(|(file, _)| !file.starts_with("obs")) {
        let bytes = testdata(&file);
        let whole = scan(FileScanner::strict(), &bytes, bytes.len());
        for piece_len in [7, 1447] {
            assert!(scan(FileScanner::strict(), &bytes, piece_len) == whole, "{file}: {piece_len}");
        }
    }
    let bytes = testdata("obs-publish-killed.rtmpcap");
    let (whole, _) = scan_capture(&bytes, bytes.len());
    assert!(scan_capture(&bytes, 13).0 == whole);
}

#[test]
fn a_capture_that_is_cut_is_damaged() {
    let bytes = testdata("obs-publish-killed.rtmpcap");
    let (events, scanner) = scan_capture(&bytes[..300_000], 1 << 20);
    let [found] = damage(&events)[..] else { panic!("one damage") };
    assert_eq!((found.what.as_str(), found.to), ("the capture is cut inside a record", 300_000));
    assert!(scanner.unfinished_bytes() > 0);
    assert!(CaptureScanner::new().push(b"RTMPCAP2").is_err());
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 48, ..ProptestConfig::default() })]

    #[test]
    fn garbage_between_tags_costs_no_tag(
        index in 1usize..278,
        garbage in prop::collection::vec(any::<u8>(), 1..2000),
    ) {
        let base = testdata("obs-360p30-base.flv");
        let events = scan(FileScanner::strict(), &base, 1 << 20);
        let Event::Tag(before) = &events[index] else { unreachable!() };
        let mut bytes = base.to_vec();
        bytes.splice(before.at as usize..before.at as usize, garbage.iter().copied());
        let found = scan(FileScanner::strict(), &bytes.into(), 4096);
        prop_assert!(tags(&found) == tags(&events));
        let regions = damage(&found);
        prop_assert_eq!(regions.len(), 1);
        // Garbage whose length cannot be told from a tag's claims no more than itself.
        prop_assert_eq!(regions[0].from, before.at);
        prop_assert_eq!(regions[0].to, before.at + garbage.len() as u64);
    }

    #[test]
    fn whatever_is_overwritten_regions_and_tags_stay_apart(
        damages in prop::collection::vec((any::<prop::sample::Index>(), any::<u8>()), 1..40),
        len in any::<prop::sample::Index>(),
    ) {
        let mut bytes = testdata("obs-360p30-base.flv").to_vec();
        bytes.truncate(len.index(bytes.len()));
        for (at, byte) in damages {
            let len = bytes.len().max(1);
            bytes.get_mut(at.index(len)).into_iter().for_each(|place| *place = byte);
        }
        let bytes = Bytes::from(bytes);
        let events = scan(FileScanner::strict(), &bytes, 4096);
        let mut end = 0;
        for event in &events {
            match event {
                Event::Tag(found) => {
                    prop_assert!(found.at >= end, "tag at {}, {end} was reached", found.at);
                    end = found.end();
                }
                Event::Damage(found) => {
                    prop_assert!(found.from <= found.to && found.to <= bytes.len() as u64);
                }
            }
        }
        let _report = report(&events);
    }
}

fn tag(kind: TagKind, ms: u32, payload: &[u8]) -> Tag {
    Tag { kind, timestamp: Timestamp::from_ms(ms), payload: Rope::from(payload.to_vec()) }
}

fn oddities(tags: impl IntoIterator<Item = Tag>) -> Vec<(OddityKind, String)> {
    let mut inspector = Inspector::new();
    for (at, tag) in tags.into_iter().enumerate() {
        inspector.add(at as u64, &tag);
    }
    let odd = inspector.report().verdict.odd;
    odd.into_iter().map(|oddity| (oddity.kind, oddity.text)).collect()
}

const AVC_HEADER: &[u8] = &[0x17, 0, 0, 0, 0, 1, 100, 0, 30, 255];
const OTHER_AVC_HEADER: &[u8] = &[0x17, 0, 0, 0, 0, 1, 100, 0, 31, 255];
const KEYFRAME: &[u8] = &[0x17, 1, 0, 0, 66, 0, 1];
const INTER: &[u8] = &[0x27, 1, 0, 0, 66, 0, 2];

#[test]
fn a_stream_that_cannot_be_decoded_from_its_start_is_odd() {
    let found = oddities([
        tag(TagKind::Video, 0, INTER),
        tag(TagKind::Video, 33, INTER),
        tag(TagKind::Video, 66, AVC_HEADER),
        tag(TagKind::Video, 66, KEYFRAME),
    ]);
    let expected = [
        (OddityKind::StartsWithoutKeyframe, "2 pictures before the first keyframe"),
        (OddityKind::NoSequenceHeader, "video: 2 frames without a sequence header"),
    ];
    assert_eq!(found, expected.map(|(kind, text)| (kind, text.to_owned())));
}

#[test]
fn another_sequence_header_is_odd_and_the_same_again_is_not() {
    let stream = |second: &[u8]| {
        oddities([
            tag(TagKind::Video, 0, AVC_HEADER),
            tag(TagKind::Video, 0, KEYFRAME),
            tag(TagKind::Video, 40, second),
            tag(TagKind::Video, 40, KEYFRAME),
        ])
    };
    assert_eq!(stream(AVC_HEADER), []);
    let text = "the video sequence header changes at 0.040 s, to h264 avc1.64001f".to_owned();
    assert_eq!(stream(OTHER_AVC_HEADER), [(OddityKind::SequenceHeaderChanges, text)]);
}

#[test]
fn nothing_and_unreadable_tags_are_odd() {
    let kinds =
        |tags: Vec<Tag>| oddities(tags).into_iter().map(|(kind, _)| kind).collect::<Vec<_>>();
    assert_eq!(kinds(vec![]), [OddityKind::NoMedia]);
    let cut = tag(TagKind::Video, 0, &[0x17, 1]);
    assert_eq!(kinds(vec![cut]), [OddityKind::NoMedia, OddityKind::UnreadableTags]);
}

#[test]
fn metadata_that_change_are_kept_first_and_last() {
    let metadata = |value: u8| {
        let mut payload = b"\x02\x00\x0aonMetaData\x08\x00\x00\x00\x01\x00\x01a\x01".to_vec();
        payload.extend([value, 0, 0, 9]);
        tag(TagKind::Script, 0, &payload)
    };
    let mut inspector = Inspector::new();
    for tag in [metadata(0), metadata(0), metadata(1)] {
        inspector.add(0, &tag);
    }
    let report = inspector.report().metadata;
    assert_eq!((report.count, report.changes, report.error), (3, 1, None));
    assert_eq!(Value::from(report.first), json!({"a": false}));
    assert_eq!(Value::from(report.last), json!({"a": true}));
}

/// The command, run where the names of its files are the same everywhere.
fn inspect(arguments: &[&str]) -> Output {
    let mut command = Command::new(env!("CARGO_BIN_EXE_forebay"));
    command.current_dir(root()).arg("inspect").args(arguments);
    command.env_remove("FOREBAY_LOG").output().unwrap()
}

fn stdout(output: &Output) -> &str {
    std::str::from_utf8(&output.stdout).unwrap()
}

#[track_caller]
fn assert_usage(arguments: &[&str], words: &str) {
    let output = inspect(arguments);
    let stderr = String::from_utf8_lossy(&output.stderr);
    assert_eq!(output.status.code(), Some(2), "{stderr}");
    assert!(stderr.contains(words), "{stderr}");
    assert_eq!(stdout(&output), "");
}

#[test]
fn what_cannot_be_inspected_is_said_with_exit_code_2() {
    assert_usage(&["testdata/flv/none.flv"], "testdata/flv/none.flv: No such file");
    assert_usage(&["testdata"], "testdata: it is a directory");
    assert_usage(&["testdata/manifest.json"], "neither FLV nor an RTMP capture: it begins with");
    assert_usage(&["--json", "Cargo.toml"], "Cargo.toml is neither");
    assert_usage(&["ftp://example.org/a"], "a live stream is at rtmp:// or http://");
    assert_usage(&["rtmp://127.0.0.1/live"], "no stream name behind the app");
    assert_usage(&["rtmp://127.0.0.1:1/live/x"], "cannot connect to 127.0.0.1:1");
    assert_usage(&["http://127.0.0.1:1/live/x.flv"], "cannot connect");
    assert_usage(&["--seconds", "0", "x"], "seconds");
    assert_usage(&[], "FILE|URL");
}

#[test]
fn the_exit_code_is_1_for_damage_only() {
    for (file, arguments, code, verdict) in [
        ("obs-360p30-base.flv", &[][..], 0, "intact"),
        ("odd-time32-wrap.flv", &[], 0, "odd: video time passes 2^32 ms"),
        ("bad-cut-in-header.flv", &[], 1, "damaged at byte 93708: cut inside a tag header"),
        ("bad-prevsize-zero.flv", &[], 1, "damaged at byte 317: PreviousTagSize at 317 is 0"),
        ("bad-prevsize-zero.flv", &["--lenient"], 0, "odd: 278 PreviousTagSize fields are wrong"),
        ("bad-prevsize-one.flv", &["--tags"], 1, "damaged at byte 41211"),
    ] {
        let path = format!("testdata/flv/{file}");
        let output = inspect(&[arguments, &[path.as_str()]].concat());
        assert_eq!(output.status.code(), Some(code), "{file}");
        assert!(output.stderr.is_empty(), "{file}: no progress in a pipe");
        let text = stdout(&output);
        assert!(text.lines().any(|line| line.starts_with(verdict)), "{file}: {text}");
        assert!(!text.contains('\x1b'), "{file}: no colours in a pipe");
    }
}

#[test]
fn an_empty_file_is_damaged() {
    let path = Path::new(env!("CARGO_TARGET_TMPDIR")).join("empty.flv");
    std::fs::write(&path, []).unwrap();
    let output = inspect(&[path.to_str().unwrap()]);
    assert_eq!(output.status.code(), Some(1));
    assert!(stdout(&output).contains("damaged at byte 0: cut inside the file header at 0"));
}

#[test]
fn a_file_without_its_header_is_damaged_and_all_its_tags_are_found() {
    let path = Path::new(env!("CARGO_TARGET_TMPDIR")).join("headless.flv");
    std::fs::write(&path, &testdata("obs-360p30-base.flv")[13..]).unwrap();
    let output = inspect(&["--json", path.to_str().unwrap()]);
    assert_eq!(output.status.code(), Some(1));
    let document: Value = serde_json::from_slice(&output.stdout).unwrap();
    // The first tag is where the search begins.
    assert_eq!(document["tags"]["total"], 277);
}

#[test]
fn tags_are_printed_a_line_each_as_text_or_json() {
    let file = "testdata/flv/bad-garbage-between.flv";
    let text = inspect(&["--tags", file]);
    let lines: Vec<_> = stdout(&text).lines().collect();
    assert_eq!(lines.len(), 278 + 2 + 1);
    assert_eq!(lines[3], "       412  video            0   +67     12180  h264   keyframe");
    assert!(lines[50].ends_with("49463  damage up to 49500: unknown tag type 33 at 49463"));
    let json = inspect(&["--tags", "--json", file]);
    let values: Vec<Value> =
        stdout(&json).lines().map(|line| serde_json::from_str(line).unwrap()).collect();
    assert_eq!(values.len(), lines.len());
    assert_eq!(
        values[3],
        json!({"at": 412, "kind": "video", "role": "keyframe", "timestamp_ms": 0,
               "composition_time_ms": 67, "len": 12180, "codec": "h264"})
    );
    assert_eq!(values[50]["damage"]["from"], 49_463);
    assert_eq!(values[280]["verdict"]["status"], "damaged");
}

#[test]
fn a_reader_that_has_seen_enough_is_no_error() {
    use std::io::{BufRead, BufReader};
    let mut command = Command::new(env!("CARGO_BIN_EXE_forebay"));
    command.current_dir(root()).args(["inspect", "--tags"]);
    command.arg("testdata/flv/obs-720p30-keyint10.flv");
    command.stdout(std::process::Stdio::piped()).stderr(std::process::Stdio::piped());
    let mut child = command.spawn().unwrap();
    let mut line = String::new();
    BufReader::new(child.stdout.take().unwrap()).read_line(&mut line).unwrap();
    let output = child.wait_with_output().unwrap();
    assert!(line.contains("metadata"));
    assert_eq!((output.status.code(), output.stderr), (Some(0), vec![]));
}

/// A server with a recording in it, on ports of its own.
struct Server {
    process: std::process::Child,
    rtmp: String,
    http: String,
}

impl Server {
    fn start() -> Self {
        use std::io::{BufRead, BufReader};
        let mut command = Command::new(env!("CARGO_BIN_EXE_forebay"));
        command.current_dir(root()).args(["serve", "--rtmp", "127.0.0.1:0"]);
        command.args(["--http", "127.0.0.1:0", "--replay", "testdata/flv/obs-360p30-base.flv"]);
        command.stdout(std::process::Stdio::piped()).stderr(std::process::Stdio::null());
        let mut process = command.spawn().unwrap();
        let mut output = BufReader::new(process.stdout.take().unwrap());
        let mut text = String::new();
        while !text.contains("/api/streams") {
            assert!(output.read_line(&mut text).unwrap() > 0, "{text}");
        }
        let url = |end: &str, start: &str| {
            let is_it = |word: &&str| word.starts_with(start) && word.ends_with(end);
            text.split_whitespace().find(is_it).unwrap_or_else(|| panic!("{text}")).to_owned()
        };
        let (rtmp, http) = (url("/live/obs", "rtmp://"), url("/live/obs.flv", "http://"));
        Self { process, rtmp, http }
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        self.process.kill().and_then(|()| self.process.wait()).unwrap();
    }
}

#[test]
fn a_live_stream_is_watched_for_a_while() {
    let server = Server::start();
    // Until the recording has begun there is nothing to watch.
    let published =
        (0..100).any(|_| inspect(&["--seconds", "0.2", &server.http]).status.code() == Some(0));
    assert!(published);
    for (url, container) in [(&server.http, "http-flv"), (&server.rtmp, "rtmp")] {
        let output = inspect(&["--json", "--seconds", "1.5", url]);
        assert_eq!(output.status.code(), Some(0), "{output:?}");
        let document: Value = serde_json::from_slice(&output.stdout).unwrap();
        let source = &document["source"];
        assert_eq!(source["container"], container);
        assert_eq!(source["live"]["ended_by"], "the clock");
        assert!((1500..2500).contains(&source["live"]["watched_ms"].as_u64().unwrap()), "{source}");
        assert!(source["live"]["first_keyframe_ms"].as_u64().unwrap() < 1500, "{source}");
        assert_eq!(document["gops"]["frames_before"], 0, "{container}");
        let frames = |track: usize| document["tracks"][track]["frames"].as_u64().unwrap();
        // A second and a half, and what is older than that of the group of pictures.
        assert!((35..=80).contains(&frames(0)), "{container}: {}", frames(0));
        assert!((60..=120).contains(&frames(1)), "{container}: {}", frames(1));
    }
}

#[test]
fn the_report_of_a_damaged_file_reads_well() {
    insta::assert_snapshot!(stdout(&inspect(&["testdata/flv/bad-garbage-between.flv"])));
}

#[test]
fn the_report_of_a_capture_reads_well() {
    insta::assert_snapshot!(stdout(&inspect(&["testdata/rtmp/obs-publish-stalled.rtmpcap"])));
}

#[test]
fn the_report_for_programs_has_everything_in_it() {
    insta::assert_snapshot!(stdout(&inspect(&["--json", "testdata/flv/odd-empty-and-dup.flv"])));
}
