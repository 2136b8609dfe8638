//! What is announced is what is on the wire.

use std::time::Duration;

use forebay_sim::capture::{self, Capture, CaptureTag};
use forebay_sim::plan::Quirk;
use forebay_sim::publisher::{Encoder, Heard};
use forebay_sim::tag::{Kind, Role, TagSeen};
use forebay_sim::time::SimTime;
use forebay_sim::viewer::chunks::Rules;

use crate::studio::{Run, Server, run};
use crate::{MS, encoder, every_quirk, publish};

const RULES: Rules = Rules { relative_first: true, ..Rules::STRICT };

fn run_against(encoder: &mut Encoder, rules: Rules, writes_max: usize) -> (Run, Server) {
    let mut server = Server::new(rules);
    let run = run(encoder, writes_max, |bytes, _| {
        server.receive(bytes);
        server.take_output()
    });
    (run, server)
}

fn publish_all(capture: &str, quirks: &[Quirk]) -> Run {
    let mut encoder = encoder(&publish(capture, quirks)).unwrap();
    let extended_on_type_3 = !quirks.contains(&Quirk::NoExtendedOnType3);
    let (run, server) =
        run_against(&mut encoder, Rules { extended_on_type_3, ..RULES }, usize::MAX);
    assert_eq!(run.heard[0], Heard::Publishing, "{capture} {quirks:?}");
    assert!(run.heard.iter().all(|heard| *heard == Heard::Publishing), "{capture} {quirks:?}");
    let (announced, got) = (run.tags(), server.got);
    if let Some(at) = announced.iter().zip(&got).position(|(a, b)| a != b) {
        panic!("{capture} {quirks:?}: tag {at}: {} and {}", announced[at], got[at]);
    }
    assert_eq!(announced.len(), got.len(), "{capture} {quirks:?}");
    run
}

#[test]
fn every_capture_is_sent_whole() {
    for name in capture::names() {
        let capture = Capture::load(&name).unwrap();
        if capture.tags.is_empty() || capture.tags.len() == 1 {
            continue;
        }
        let mut sent = publish_all(&name, &[]).tags();
        let mut recorded: Vec<_> = capture.tags.iter().map(CaptureTag::seen).collect();
        let key = |tag: &TagSeen| (tag.kind, tag.timestamp_ms, tag.digest);
        if capture.wire.is_none() {
            let first = recorded.iter().position(|tag| tag.role != Role::Script);
            let first = first.unwrap();
            // MP3 has none.
            if recorded.iter().any(|tag| tag.kind == Kind::Audio && tag.role == Role::Header) {
                assert_eq!(sent[first].kind, Kind::Audio, "{name}: the audio header comes first");
            }
            sent.sort_by_key(key);
            recorded.sort_by_key(key);
        }
        assert!(sent == recorded, "{name}");
    }
}

#[test]
fn every_quirk_is_announced_as_it_is_sent() {
    for quirks in every_quirk() {
        publish_all("obs-720p30-keyint10", &quirks);
        publish_all("obs-360p30-base", &quirks);
        // What makes no sense with another codec is refused.
        for name in ["enh-hevc-aac", "enh-two-audio", "enh-vp9-aac"] {
            match encoder(&publish(name, &quirks)) {
                Ok(_) => drop(publish_all(name, &quirks)),
                Err(why) => assert!(why.contains(':'), "{why}"),
            }
        }
    }
}

#[test]
fn every_file_survives_every_chunk_size() {
    use Quirk::{Aggregates, ChunkSize, Interleaved};
    for name in capture::names() {
        let capture = Capture::load(&name).unwrap();
        let len: usize = capture.tags.iter().map(|tag| tag.payload.len()).sum();
        // Chunks of one byte take their time.
        if capture.wire.is_some() || capture.tags.len() < 2 || len > 400_000 {
            continue;
        }
        let plain = publish_all(&name, &[]).tags();
        for size in [1, 128, 4096, 65536] {
            for quirks in [vec![ChunkSize(size)], vec![ChunkSize(size), Aggregates]] {
                assert!(publish_all(&name, &quirks).tags() == plain, "{name} {quirks:?}");
            }
            publish_all(&name, &[ChunkSize(size), Interleaved]);
        }
    }
}

#[test]
fn a_repeating_encoder_has_running_timestamps() {
    for quirks in every_quirk() {
        let mut publish = publish("obs-360p30-base", &quirks);
        publish.repeats = true;
        publish.part = Some((SimTime::from_millis(500), SimTime::from_millis(2500)));
        let mut encoder = encoder(&publish).unwrap();
        let extended_on_type_3 = !quirks.contains(&Quirk::NoExtendedOnType3);
        let rules = Rules { extended_on_type_3, ..RULES };
        let (run, server) = run_against(&mut encoder, rules, 2_000);
        assert_eq!(run.tags(), server.got, "{quirks:?}");
        let (at, tag) = run.announced.last().unwrap();
        assert!(*at > 4_000 * MS, "{quirks:?}: {at:?}");
        if quirks.is_empty() {
            assert!(u128::from(tag.timestamp_ms).abs_diff(at.as_millis()) < 2, "{tag} at {at:?}");
            let video = run.announced.iter().filter(|(_, tag)| tag.role.is_picture());
            let times: Vec<_> = video.map(|(_, tag)| tag.timestamp_ms).collect();
            assert!(times.windows(2).all(|pair| (30..70).contains(&(pair[1] - pair[0]))));
        }
    }
}

#[test]
fn a_part_begins_with_its_headers_and_a_keyframe() {
    let mut publish = publish("obs-360p30-base", &[]);
    publish.part = Some((SimTime::from_millis(700), SimTime::from_millis(1700)));
    let (run, _) = run_against(&mut encoder(&publish).unwrap(), RULES, usize::MAX);
    let tags = run.tags();
    let roles: Vec<_> = tags.iter().map(|tag| (tag.kind, tag.role)).take(4).collect();
    let expected = [
        (Kind::Script, Role::Script),
        (Kind::Audio, Role::Header),
        (Kind::Video, Role::Header),
        (Kind::Video, Role::Keyframe),
    ];
    assert_eq!(roles, expected);
    assert!(tags[..4].iter().all(|tag| tag.timestamp_ms == 0));
    let last = run.announced.last().unwrap().0;
    assert!(last > 600 * MS && last < 700 * MS, "{last:?}");
    publish.part = Some((SimTime::from_millis(60_000), SimTime::MAX));
    assert!(encoder(&publish).is_err());
}

fn count(run: &Run, role: Role, kind: Kind) -> usize {
    run.tags().iter().filter(|tag| (tag.role, tag.kind) == (role, kind)).count()
}

#[test]
fn quirks_do_what_their_names_say() {
    const NAME: &str = "obs-360p30-base";
    let with = |quirk| publish_all(NAME, &[quirk]);
    let plain = publish_all(NAME, &[]);
    let keyframes = count(&plain, Role::Keyframe, Kind::Video);
    let sounds = count(&plain, Role::Sound, Kind::Audio);
    let headers = |run: &Run| count(run, Role::Header, Kind::Video);
    assert!(keyframes == 4 && headers(&plain) == 1);

    assert_eq!(headers(&with(Quirk::HeadersRepeated)), keyframes);
    assert_eq!(headers(&with(Quirk::NoHeaders)), 0);
    assert_eq!(headers(&with(Quirk::HeaderChanges { every: 1, offset: 0 })), keyframes);
    let late = with(Quirk::HeadersLate(800));
    let header = late.announced.iter().find(|(_, tag)| tag.role == Role::Header).unwrap();
    assert_eq!((header.0, header.1.timestamp_ms), (800 * MS, 800));
    assert_eq!(count(&with(Quirk::KeyframeEvery(0)), Role::Keyframe, Kind::Video), 1);
    let all_keys = with(Quirk::AllKeyframes);
    assert_eq!(count(&all_keys, Role::Inter, Kind::Video), 0);
    let inter = count(&plain, Role::Inter, Kind::Video);
    let some_disposable = with(Quirk::Disposable(3));
    assert_eq!(count(&some_disposable, Role::Disposable, Kind::Video), inter / 3);
    assert_eq!(count(&with(Quirk::Storm(5)), Role::Sound, Kind::Audio), 6 * sounds);
    assert_eq!(count(&with(Quirk::MetadataUpdates), Role::Script, Kind::Script), keyframes);
    let changed = with(Quirk::CodecChanges(2)).tags();
    let first = changed.iter().position(|tag| tag.codec == *b"hvc1").unwrap();
    assert_eq!(changed[first].role, Role::Header);
    assert!(changed[first..].iter().all(|tag| tag.kind != Kind::Video || tag.codec == *b"hvc1"));
    let before = changed[..first].iter().filter(|tag| tag.role == Role::Keyframe).count();
    assert_eq!(before, 2);
    let republished = with(Quirk::Republishes(3));
    let times = republished.heard.iter().filter(|heard| **heard == Heard::Publishing).count();
    assert_eq!(times, keyframes.div_ceil(3));
    assert_eq!(headers(&republished), times);
    assert!(with(Quirk::Window(5_000)).windows > 10);
    let video_late = with(Quirk::VideoAfter(900)).announced;
    let (at, first) = video_late.iter().find(|(_, tag)| tag.kind == Kind::Video).unwrap();
    assert!(*at >= 900 * MS && first.role == Role::Header && first.timestamp_ms >= 900);
    let aggregated = with(Quirk::Aggregates);
    assert!(aggregated.writes < plain.writes / 3 && aggregated.tags() == plain.tags());
    let in_bursts = with(Quirk::Bursts(1_500)).announced;
    assert!(in_bursts.iter().all(|(at, _)| at.as_millis() % 1_500 == 0));
    let starts = with(Quirk::StartsAt(u32::MAX - 900)).tags();
    assert_eq!(starts[0].timestamp_ms, u32::MAX - 900);
    assert!(starts.last().unwrap().timestamp_ms < 10_000, "it wrapped");
    let huge = with(Quirk::Huge { len: 300_000, every: 2 }).tags();
    let huge = huge.iter().filter(|tag| tag.len == 300_000).count();
    assert_eq!(huge, keyframes.div_ceil(2));
}

#[test]
fn what_makes_no_sense_is_refused() {
    for (name, quirks) in [
        ("obs-360p30-base", vec![Quirk::NoAudio, Quirk::NoVideo]),
        ("obs-360p30-base", vec![Quirk::ChunkSize(0)]),
        ("obs-360p30-base", vec![Quirk::ChunkSize(1 << 31)]),
        ("obs-360p30-base", vec![Quirk::Huge { len: 1 << 24, every: 1 }]),
        ("obs-360p30-base", vec![Quirk::NoHeaders, Quirk::HeadersRepeated]),
        ("enh-av1-opus", vec![Quirk::CodecChanges(1)]),
        ("obs-publish-360p60", vec![Quirk::AllZero]),
    ] {
        let error = encoder(&publish(name, &quirks)).err().unwrap();
        assert!(!error.is_empty(), "{name} {quirks:?}");
    }
    let capture = Capture::load("obs-publish-360p60").unwrap();
    let error = Encoder::new(&publish("obs-publish-360p60", &[]), capture, 7, 0).err().unwrap();
    assert!(error.contains("was recorded publishing live/"), "{error}");
}

#[test]
fn a_recorded_connection_is_sent_at_its_times() {
    let capture = Capture::load("obs-publish-stalled").unwrap();
    let run = publish_all("obs-publish-stalled", &[]);
    let recorded: Vec<_> = capture.tags.iter().map(CaptureTag::seen).collect();
    assert_eq!(run.tags(), recorded);
    let times: Vec<_> = run.announced.iter().map(|(at, _)| *at).collect();
    let gap = times.windows(2).map(|pair| pair[1] - pair[0]).max().unwrap();
    assert!(gap > Duration::from_secs(3), "the stall is in it: {gap:?}");
}
