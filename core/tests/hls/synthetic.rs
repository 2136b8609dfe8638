//! Streams that no recording has: rare and irregular keyframes, returns, changes, holes, long lives.

use std::time::Duration;

use forebay::flv::{Tag, TagKind};
use forebay::hls::{Delta, PlaylistRequest, Presentation, RequestError, Settings, State};
use forebay::time::Timestamp;

use crate::boxes;
use crate::captures::{START, Seen};
use crate::playlists::Playlist;

const AVC_CONFIG: &[u8] =
    b"\x17\0\0\0\0\x01\x64\x00\x1f\xff\xe1\x00\x04\x67\x64\x00\x1f\x01\x00\x02\x68\xee";
const OTHER_AVC_CONFIG: &[u8] =
    b"\x17\0\0\0\0\x01\x4d\x00\x1f\xff\xe1\x00\x04\x67\x4d\x00\x1f\x01\x00\x02\x68\xee";
const AAC_CONFIG: &[u8] = &[0xAF, 0, 0x11, 0x90];

fn tag(kind: TagKind, ms: u64, payload: &[u8]) -> Tag {
    Tag { kind, timestamp: Timestamp::from_ms(ms as u32), payload: payload.to_vec().into() }
}

fn picture(ms: u64, is_key: bool) -> Tag {
    let first = if is_key { 0x17 } else { 0x27 };
    tag(TagKind::Video, ms, &[first, 1, 0, 0, 0, 0, 0, 0, 2, 0x65, ms as u8])
}

fn sound(ms: u64) -> Tag {
    tag(TagKind::Audio, ms, &[0xAF, 1, 0x21, ms as u8])
}

/// A stream of 25 pictures a second.
struct Camera {
    seen: Seen,
    session: u64,
    ms: u64,
}

impl Camera {
    fn begin(settings: Settings) -> Self {
        let mut camera = Self { seen: Seen::begin(settings), session: 1, ms: 0 };
        camera.push(tag(TagKind::Video, 0, AVC_CONFIG));
        camera
    }

    fn push(&mut self, tag: Tag) {
        self.seen.push(&tag, self.session, START + Duration::from_millis(self.ms));
    }

    /// Pictures for so long, a keyframe wherever `is_key` says.
    fn film(&mut self, ms: u64, is_key: impl Fn(u64) -> bool) {
        let begin = self.ms;
        while self.ms < begin + ms {
            self.push(picture(self.ms, is_key(self.ms - begin)));
            self.ms += 40;
        }
    }
}

#[test]
fn the_target_duration_holds_when_a_keyframe_never_comes() {
    let mut camera = Camera::begin(Settings::default());
    camera.film(60_000, |ms| ms == 0);
    camera.seen.end();
    let last = camera.seen.versions.last().unwrap();
    assert_eq!(last.target_ms, 10_000);
    assert!(last.segments.len() >= 4, "{:?}", last.segments);
    assert_eq!(camera.seen.samples().len(), 1_500);
}

#[test]
fn the_target_duration_holds_when_keyframes_become_rare_and_irregular() {
    let mut camera = Camera::begin(Settings { window_ms: 600_000, ..Settings::default() });
    camera.film(20_000, |ms| ms % 2_000 == 0);
    camera.film(30_000, |ms| [0, 280, 3_000, 9_120, 9_160, 20_000].contains(&ms));
    camera.film(20_000, |ms| ms % 1_400 == 0);
    camera.seen.end();
    let last = camera.seen.versions.last().unwrap();
    assert_eq!(last.target_ms, 2_000, "it is what it was");
    assert_eq!(camera.seen.samples().len(), 1_750);
    let begins_late = camera
        .seen
        .segments
        .iter()
        .filter(|(name, _)| !boxes::fragments(&camera.seen.files[name]).1[0].is_sync);
    assert!(begins_late.count() <= 13, "only where there was no keyframe in time");
}

#[test]
fn the_target_duration_is_no_less_than_what_was_cut_before_it_was_decided() {
    let mut camera = Camera::begin(Settings::default());
    // A publisher that is gone before its second keyframe, and one with keyframes in time.
    camera.film(3_400, |ms| ms == 0);
    camera.session = 2;
    camera.push(tag(TagKind::Video, camera.ms, AVC_CONFIG));
    camera.film(5_000, |ms| ms % 2_000 == 0);
    let playlist = camera.seen.versions.last().unwrap();
    assert_eq!(playlist.segments[0].duration_ms, 3_400);
    assert_eq!(playlist.target_ms, 4_000);
}

#[test]
fn a_window_slides_and_what_left_it_can_be_fetched_for_as_long_as_it_was_listed() {
    let mut camera = Camera::begin(Settings::default());
    camera.film(120_000, |ms| ms % 2_000 == 0);
    let last = camera.seen.versions.last().unwrap().clone();
    assert!((15..=16).contains(&last.segments.len()), "{}", last.segments.len());
    assert!(last.first > START.as_secs() + 40);
    let names: Vec<_> = camera.seen.segments.iter().map(|(name, _)| name.clone()).collect();
    let is_there = |camera: &Camera, name: &str| {
        let presentation = &camera.seen.presentation;
        presentation.find(presentation.wanted(name).unwrap()).is_some()
    };
    let listed_from = names.iter().position(|name| *name == last.segments[0].uri).unwrap();
    // Its own 2 s and the 30 s of the playlist that listed it.
    for name in &names[listed_from - 16..] {
        assert!(is_there(&camera, name), "{name}");
    }
    assert!(!is_there(&camera, &names[0]), "not for ever");
    let totals = camera.seen.presentation.totals();
    assert!(totals.removed_segments <= 20, "{totals:?}");
}

#[test]
fn a_bound_on_bytes_shortens_the_window_and_is_counted() {
    let mut camera = Camera::begin(Settings { bytes_max: 20_000, ..Settings::default() });
    camera.film(60_000, |ms| ms % 2_000 == 0);
    let totals = camera.seen.presentation.totals();
    assert!(totals.held_bytes <= 20_000 && totals.evicted_segments > 0, "{totals:?}");
}

#[test]
fn a_publisher_that_returns_is_a_discontinuity_with_numbers_and_times_going_on() {
    let mut camera = Camera::begin(Settings::default());
    camera.film(10_000, |ms| ms % 2_000 == 0);
    camera.session = 2;
    camera.push(tag(TagKind::Video, camera.ms, AVC_CONFIG));
    camera.film(10_000, |ms| ms % 2_000 == 0);
    camera.seen.end();
    let breaks: Vec<_> = camera.seen.segments.iter().map(|(_, is_break)| *is_break).collect();
    assert_eq!(breaks, [false, false, false, false, false, true, false, false, false, false]);
    let last = camera.seen.versions.last().unwrap();
    assert!(last.segments.iter().all(|segment| segment.map == last.segments[0].map), "{last:?}");
}

#[test]
fn another_configuration_is_another_init_section_behind_a_discontinuity() {
    let mut camera = Camera::begin(Settings::default());
    camera.film(4_000, |ms| ms % 2_000 == 0);
    camera.push(tag(TagKind::Video, camera.ms, AVC_CONFIG));
    camera.film(4_000, |ms| ms % 2_000 == 0);
    camera.push(tag(TagKind::Video, camera.ms, OTHER_AVC_CONFIG));
    camera.film(4_000, |ms| ms % 2_000 == 0);
    camera.seen.end();
    let last = camera.seen.versions.last().unwrap();
    let maps: Vec<_> = last.segments.iter().map(|segment| segment.map.as_str()).collect();
    let (old, new) = ("init-life-0.m4s", "init-life-1.m4s");
    assert_eq!(maps, [old, old, old, old, new, new]);
    let breaks: Vec<_> = last.segments.iter().map(|segment| segment.has_discontinuity).collect();
    assert_eq!(breaks, [false, false, false, false, true, false], "the same header again is none");
    assert!(camera.seen.presentation.multivariant().contains("CODECS=\"avc1.4d001f\""));
}

#[test]
fn sound_that_comes_late_is_another_init_section_from_the_next_keyframe_on() {
    let mut camera = Camera::begin(Settings::default());
    camera.film(4_000, |ms| ms % 2_000 == 0);
    camera.push(tag(TagKind::Audio, camera.ms, AAC_CONFIG));
    for _ in 0..100 {
        camera.push(picture(camera.ms, camera.ms.is_multiple_of(2_000)));
        camera.push(sound(camera.ms));
        camera.ms += 40;
    }
    camera.seen.end();
    let last = camera.seen.versions.last().unwrap();
    let maps: Vec<_> = last.segments.iter().map(|segment| segment.map.clone()).collect();
    assert_eq!(maps.last().unwrap(), "init-life-1.m4s", "{maps:?}");
    let codecs = camera.seen.presentation.multivariant();
    assert!(codecs.contains("CODECS=\"avc1.64001f,mp4a.40.2\""), "{codecs}");
}

/// As FFmpeg sends it: STREAMINFO alone. Mono at 48 kHz, 16 bits; 1024 samples in a frame.
fn flac_config(frame_len_max: u8, sample_count: u8, checksum: u8) -> Vec<u8> {
    let head = [0x90, b'f', b'L', b'a', b'C', 4, 0, 4, 0, 0, 0, 0, 0, 0, frame_len_max];
    let sound = [0x0B, 0xB8, 0x00, 0xF0, 0, 0, 0, sample_count];
    [&head[..], &sound, &[checksum; 16]].concat()
}

#[test]
fn flac_whose_encoder_sums_it_up_at_its_end_goes_on() {
    let mut camera = Camera::begin(Settings::default());
    camera.push(tag(TagKind::Audio, 0, &flac_config(0, 0, 0)));
    for number in 0..150 {
        camera.push(tag(TagKind::Audio, number * 1024 / 48, b"\x91fLaC\xFF\xF8\xAA\x08\0\xED"));
        if number % 2 == 0 {
            camera.film(40, |_| number % 50 == 0);
        }
    }
    let pictures =
        |camera: &Camera| camera.seen.samples().iter().filter(|sample| sample.track == 1).count();
    // Now it knows how much there was, and what the sum is. Pictures go on.
    camera.push(tag(TagKind::Audio, camera.ms, &flac_config(252, 200, 7)));
    camera.film(2_000, |ms| ms == 1_000);
    camera.seen.end();
    assert_eq!(pictures(&camera), 75 + 50);
    let last = camera.seen.versions.last().unwrap();
    assert!(last.segments.iter().all(|segment| !segment.has_discontinuity), "{last:?}");
    assert!(last.segments.iter().all(|segment| segment.map == last.segments[0].map), "{last:?}");
    let codecs = camera.seen.presentation.multivariant();
    assert!(codecs.contains("CODECS=\"avc1.64001f,fLaC\""), "{codecs}");
}

#[test]
fn time_that_wraps_goes_on() {
    let mut camera = Camera::begin(Settings::default());
    camera.ms = (1 << 32) - 5_000;
    camera.film(10_000, |ms| ms % 2_000 == 0);
    camera.seen.end();
    let last = camera.seen.versions.last().unwrap();
    assert_eq!(last.segments.len(), 5);
    assert!(last.segments.iter().all(|segment| !segment.has_discontinuity));
}

#[test]
fn durations_do_not_drift_in_a_day_of_sound() {
    // 1024 samples at 44.1 kHz are 23.22 ms, which timestamps round.
    let mut presentation = Presentation::new(Settings::default(), "x".to_owned(), 1);
    presentation.push(&tag(TagKind::Audio, 0, &[0xAF, 0, 0x12, 0x10]), 1, START);
    let frames = 24 * 3600 * 44_100 / 1024;
    for frame in 0..frames {
        let ms = frame * 1024 * 1000 / 44_100;
        presentation.push(&sound(ms), 1, START + Duration::from_millis(ms));
    }
    let position = presentation.join().unwrap();
    let text = presentation.media(Delta::Full);
    let playlist = crate::playlists::Playlist::read(&text);
    let segments = playlist.first - 1;
    let listed: u64 = playlist.segments.iter().map(|segment| segment.duration_ms).sum();
    let mean = listed as f64 / playlist.segments.len() as f64;
    let end_ms = 24.0 * 3_600_000.0;
    assert!((segments as f64 * mean + listed as f64 - end_ms).abs() < 3_000.0, "{position:?}");
    assert_eq!(presentation.totals().discontinuities, 0);
}

#[test]
fn a_blocking_reload_waits_for_its_part_and_a_far_one_is_refused() {
    let mut camera = Camera::begin(Settings::default());
    camera.film(9_000, |ms| ms % 2_000 == 0);
    let presentation = &mut camera.seen.presentation;
    let open = presentation.totals().media_sequence;
    let parts = presentation
        .media(Delta::Full)
        .rsplit("#EXTINF")
        .next()
        .unwrap()
        .matches("X-PART:")
        .count() as u64;
    assert!(parts >= 2, "{parts}");
    let ask = |number, part| {
        presentation.is_met(&PlaylistRequest { number: Some(number), part, skip: false })
    };
    assert_eq!(ask(open - 1, None), Ok(true));
    assert_eq!(ask(open, None), Ok(false));
    assert_eq!(ask(open, Some(parts - 1)), Ok(true));
    assert_eq!(ask(open, Some(parts)), Ok(false));
    assert_eq!(ask(open - 1, Some(99)), Ok(true), "it means part 0 of the next");
    assert_eq!(ask(open + 1, None), Ok(false));
    assert!(matches!(ask(open + 2, None), Err(RequestError::SegmentTooFar { .. })));
    assert!(matches!(ask(open, Some(parts + 15)), Err(RequestError::PartTooFar { .. })));
    presentation.end();
    let late = PlaylistRequest { number: Some(open + 9), part: Some(9), skip: false };
    assert_eq!(presentation.is_met(&late), Ok(true), "behind the end nothing is waited for");
}

#[test]
fn a_delta_update_and_what_it_skips_are_the_whole_playlist() {
    let mut camera = Camera::begin(Settings::default());
    camera.film(60_500, |ms| ms % 2_000 == 0);
    let presentation = &camera.seen.presentation;
    let full = crate::playlists::Playlist::read(&presentation.media(Delta::Full));
    let delta = crate::playlists::Playlist::read(&presentation.media(Delta::Skip));
    delta.check();
    assert_eq!(delta.skipped + delta.segments.len(), full.segments.len());
    assert!(delta.skipped >= 5, "{}", delta.skipped);
    let listed: u64 = delta.segments.iter().map(|segment| segment.duration_ms).sum();
    assert!(listed >= delta.can_skip_until_ms - 2_000, "only what is older may be skipped");
    for (ours, theirs) in delta.segments.iter().zip(&full.segments[delta.skipped..]) {
        assert_eq!(
            (&ours.uri, &ours.parts, &ours.date),
            (&theirs.uri, &theirs.parts, &theirs.date)
        );
    }
}

#[test]
fn sound_goes_on_in_parts_while_pictures_are_missing() {
    let mut camera = Camera::begin(Settings::default());
    camera.push(tag(TagKind::Audio, 0, AAC_CONFIG));
    let mut parts = Vec::new();
    for step in 0..500u64 {
        let ms = step * 21;
        camera.ms = ms;
        if !(4_000..7_000).contains(&ms) && step % 2 == 0 {
            camera.push(picture(ms, ms % 1_890 == 0));
        }
        camera.push(sound(ms));
        parts.push(camera.seen.presentation.totals().parts);
    }
    let in_the_hole = parts[320] - parts[240];
    assert!(in_the_hole >= 5, "{in_the_hole} parts in 1.7 s");
    camera.seen.end();
    let pictures = camera.seen.samples().iter().filter(|sample| sample.track == 1).count();
    assert_eq!(
        pictures,
        (0..500u64).filter(|s| !(4_000..7_000).contains(&(s * 21)) && s % 2 == 0).count()
    );
}

#[test]
fn the_target_duration_counts_sound_that_ran_ahead_of_the_first_segment_s_last_picture() {
    let mut camera = Camera::begin(Settings::default());
    camera.push(tag(TagKind::Audio, 0, AAC_CONFIG));
    for n in 0..40 {
        camera.push(sound(n * 40));
        camera.film(40, |_| n == 0);
    }
    for n in 0..30 {
        camera.push(sound(2_100 + n * 21));
    }
    camera.film(8_000, |ms| ms % 2_000 == 400);
    let playlist = camera.seen.versions.last().unwrap();
    let longest = playlist.segments.iter().map(|segment| segment.duration_ms).max().unwrap();
    assert!((2_500..3_500).contains(&longest), "{longest}");
    assert_eq!(playlist.target_ms, 3_000);
}

#[test]
fn the_target_duration_holds_when_sound_is_seconds_ahead_of_pictures() {
    let mut camera = Camera::begin(Settings::default());
    camera.push(tag(TagKind::Audio, 0, AAC_CONFIG));
    for n in 0..500 {
        camera.push(sound(if n < 100 { n * 40 } else { 4_000 + n * 40 }));
        camera.film(40, |_| n % 50 == 0);
    }
    camera.seen.end();
    let playlist = camera.seen.versions.last().unwrap();
    let longest = playlist.segments.iter().map(|segment| segment.duration_ms).max().unwrap();
    assert!(longest < playlist.target_ms + 500, "{longest}");
}

#[test]
fn a_playlist_goes_on_with_what_there_is_and_then_with_gaps_when_nothing_comes() {
    let mut camera = Camera::begin(Settings::default());
    camera.film(9_000, |ms| ms % 2_000 == 0);
    let mut listed_at = Vec::new();
    let mut count = camera.seen.segments.len();
    for step in 0..40 {
        camera.seen.presentation.idle(START + Duration::from_millis(camera.ms + step * 250));
        camera.seen.look_again();
        let now = camera.seen.versions.last().unwrap().segments.len();
        if now > count {
            listed_at.push(step * 250 + 1_000);
            count = now;
        }
    }
    assert!(
        listed_at[0] <= 3_000 && listed_at.windows(2).all(|pair| pair[1] - pair[0] <= 3_000),
        "{listed_at:?}"
    );
    let last = camera.seen.versions.last().unwrap();
    let gaps: Vec<_> = last.segments.iter().map(|segment| segment.is_gap).collect();
    assert_eq!(gaps[..5], [false; 5], "the begun segment is listed first");
    assert!(gaps[6..].iter().all(|is_gap| *is_gap) && gaps.len() >= 8, "{gaps:?}");
    camera.ms += 10_000;
    camera.film(4_000, |ms| ms % 2_000 == 0);
    camera.seen.end();
    let last = camera.seen.versions.last().unwrap();
    let back = last.segments.iter().rposition(|segment| segment.is_gap).unwrap() + 1;
    assert!(last.segments[back].has_discontinuity && !last.segments[back].is_gap);
}

#[test]
fn a_short_stall_ends_a_segment_early_and_costs_no_picture() {
    let mut camera = Camera::begin(Settings::default());
    camera.film(9_000, |ms| ms % 2_000 == 0);
    for step in 0..14 {
        camera.seen.presentation.idle(START + Duration::from_millis(camera.ms + step * 250));
        camera.seen.look_again();
    }
    camera.film(5_000, |ms| ms % 2_000 == 1_000);
    camera.seen.end();
    assert_eq!(camera.seen.samples().len(), 350);
    assert_eq!(camera.seen.presentation.totals().discontinuities, 0);
}

#[test]
fn a_life_of_which_nothing_comes_has_no_playlist_and_keeps_what_was_promised() {
    let mut former = Camera::begin(Settings { part_duration_ms: 300, ..Settings::default() });
    former.film(9_000, |ms| ms % 3_000 == 0);
    let promised = Playlist::read(&former.seen.presentation.media(Delta::Full));
    assert_eq!((promised.target_ms, promised.part_target_ms), (3_000, 325));
    let mut empty = Presentation::new(Settings::default(), "empty".to_owned(), 100);
    empty.keep_promises_of(&former.seen.presentation);
    empty.end();
    assert_eq!((empty.state(), empty.media(Delta::Full)), (State::Ended, String::new()));
    let mut next = Camera::begin(Settings::default());
    next.seen.presentation.keep_promises_of(&empty);
    next.film(9_000, |ms| ms % 2_000 == 0);
    let kept = Playlist::read(&next.seen.presentation.media(Delta::Full));
    let targets = (kept.target_ms, kept.part_target_ms);
    assert_eq!(targets, (promised.target_ms, promised.part_target_ms));
}

#[test]
fn a_codec_that_mp4_does_not_carry_is_a_reason() {
    let mut presentation = Presentation::new(Settings::default(), "x".to_owned(), 1);
    presentation.push(&tag(TagKind::Video, 0, &[0x12, 1, 2, 3]), 1, START);
    let State::Unsupported(reason) = presentation.state() else { panic!("h263 is no MP4") };
    assert!(reason.to_string().contains("h263"), "{reason}");
    presentation.end();
    assert_eq!(
        presentation.media(Delta::Full).lines().filter(|line| !line.starts_with('#')).count(),
        0
    );
}

#[test]
fn names_of_another_life_and_malformed_ones_are_nothing() {
    let mut camera = Camera::begin(Settings::default());
    camera.film(9_000, |ms| ms % 2_000 == 0);
    let presentation = &camera.seen.presentation;
    let number = presentation.totals().media_sequence - 1;
    assert!(presentation.wanted(&format!("seg-life-{number}.m4s")).is_some());
    for name in [
        format!("seg-other-{number}.m4s"),
        format!("seg-life-0{number}.m4s"),
        format!("seg-life-+{number}.m4s"),
        format!("seg-life-{number}-1.m4s"),
        format!("seg-life-{number}.mp4"),
        "part-life-3.m4s".to_owned(),
        "seg-life-99999999999999999999999.m4s".to_owned(),
    ] {
        assert!(presentation.wanted(&name).is_none(), "{name}");
    }
}
