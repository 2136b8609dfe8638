//! HLS (RFC 8216 and its second edition): a test per row of the checklist, named after it.

use std::collections::{BTreeMap, BTreeSet};
use std::io::Read as _;

use tokio::time::sleep;

use crate::hls_fmp4::{contains_box, width_height};
use crate::hls_playlist::{Playlist, attributes, resolve};
use crate::hls_stage::{
    Camera, MEDIA, MULTIVARIANT, SECOND, SPS_180, SPS_360, Stage, get, ms, simulate,
};
use crate::hls_watch::Watch;

/// A stream with nothing unusual in it, watched to its end.
async fn watched(stage: &Stage, camera: Camera<'_>) -> Watch {
    let _publishing = stage.publish(camera.plan());
    Watch::of(stage, SECOND * camera.seconds).await
}

/// How far apart two times may be and still be the same: half of the last digit that is written.
const ROUNDING_S: f64 = 0.0011;

#[test]
fn hl_1_playlists_are_utf8_typed_and_gzipped_when_that_is_offered() {
    simulate(&[], |stage| async move {
        let _publishing = stage.publish(Camera::default().plan());
        sleep(15 * SECOND).await;
        for path in [MULTIVARIANT, MEDIA] {
            let plain = stage.get(path).await;
            assert!(plain.text().starts_with("#EXTM3U\n"), "{path}");
            let content_type = plain.header("content-type").to_ascii_lowercase();
            assert_eq!(content_type, "application/vnd.apple.mpegurl", "{path}");
            assert_eq!(plain.header("content-encoding"), "", "{path}: nobody offered");
            let versions: Vec<_> =
                plain.text().lines().filter(|line| line.starts_with("#EXT-X-VERSION")).collect();
            assert!(versions.len() <= 1, "{versions:?}");

            let zipped = get(&stage.net, path, "Accept-Encoding: gzip, deflate, br\r\n").await;
            assert_eq!(zipped.header("content-encoding"), "gzip", "{path}");
            assert!(
                zipped.header("vary").to_ascii_lowercase().contains("accept-encoding"),
                "{path}"
            );
            let mut text = String::new();
            flate2::read::GzDecoder::new(&zipped.body[..]).read_to_string(&mut text).unwrap();
            assert_eq!(text, plain.text(), "{path}");
            let refused = get(&stage.net, path, "Accept-Encoding: gzip;q=0\r\n").await;
            assert_eq!(refused.header("content-encoding"), "", "{path}: gzip was refused");
        }
        // EXT-X-MAP needs 6 (section 8); EXT-X-SKIP, which only delta updates contain, 9.
        let playlist = Playlist::parse(stage.get(MEDIA).await.text());
        let needed =
            if playlist.server_control.contains_key("CAN-SKIP-UNTIL") { 6..=9 } else { 6..=6 };
        assert!(needed.contains(&playlist.version.unwrap_or(1)), "{:?}", playlist.version);
    });
}

#[test]
fn hl_2_the_target_duration_holds_whatever_the_keyframes_do() {
    // Early, late, at odd times, in a row, and then never again.
    let keyframes = [400, 800, 840, 880, 2600, 8000, 8040, 13_240, 15_000, 15_480, 21_000];
    let irregular =
        Camera { seconds: 60, keyframes: &keyframes, keyframe_every_ms: None, ..Camera::default() };
    let audio_only = Camera { has_video: false, ..Camera::default() };
    let video_only =
        Camera { has_audio: false, keyframe_every_ms: Some(3360), ..Camera::default() };
    for camera in [irregular, audio_only, video_only] {
        simulate(&[], |stage| async move {
            let watch = watched(&stage, camera).await;
            let target = watch.versions[0].playlist.target_duration;
            for version in &watch.versions {
                assert_eq!(version.playlist.target_duration, target, "at {:?}", version.at);
                for segment in &version.playlist.segments {
                    let rounded = segment.duration.round() as u32;
                    assert!(rounded <= target, "{} s, target {target}", segment.duration);
                    assert!(segment.duration > 0.0, "an empty segment");
                }
            }
            assert!(watch.segments().len() >= camera.seconds as usize / 6, "few segments");
        });
    }
}

#[test]
fn hl_3_the_media_sequence_counts_what_was_removed_across_reconnects_and_restarts() {
    simulate(&["hub.grace_ms=0"], |mut stage| async move {
        let mut watch = Watch::default();
        let minute = Camera { seconds: 60, ..Camera::default() };
        for take in 0..3 {
            if take == 2 {
                stage.crash().await;
                sleep(7 * SECOND).await;
                stage.start().await;
            }
            let publishing = stage.publish(minute.plan());
            watch.go_on(&stage, 60 * SECOND).await;
            drop(publishing.await.unwrap());
            sleep(5 * SECOND).await;
            // What the end of the stream closed, before somebody else begins.
            watch.look(&stage).await;
        }
        let mut removed = 0;
        for (before, after) in watch.pairs() {
            let (before, after) = (&before.playlist, &after.playlist);
            let step = after.media_sequence.checked_sub(before.media_sequence);
            let step = step.expect("the media sequence fell") as usize;
            removed += step.min(1);
            // What is gone from the front is what the number says, or everything is gone.
            if let Some(kept) = before.segments.get(step) {
                let is_restart = after.segments.iter().all(|segment| segment.uri != kept.uri);
                assert!(is_restart || after.segments[0].uri == kept.uri, "{kept:?}");
                assert!(!is_restart || after.media_sequence >= before.next_sequence(), "reused");
            }
        }
        assert!(removed > 10, "nothing was removed");
        // A URI never means two things: the watch has fetched each once; now again what is left.
        let mut uris: BTreeMap<String, u64> = BTreeMap::new();
        for version in &watch.versions {
            for segment in &version.playlist.segments {
                let number = *uris.entry(segment.uri.clone()).or_insert(segment.sequence);
                assert_eq!(number, segment.sequence, "{} is two segments", segment.uri);
            }
        }
        for segment in &watch.last().segments {
            let again = stage.get(&resolve(MEDIA, &segment.uri)).await;
            assert_eq!(again.body, watch.bodies[&segment.uri], "{} changed", segment.uri);
        }
        let by_content: BTreeSet<_> = uris.keys().map(|uri| &watch.bodies[uri]).collect();
        assert_eq!(by_content.len(), uris.len(), "two segments are the same bytes");
    });
}

#[test]
fn hl_4_discontinuities_are_declared_where_they_are_and_counted_when_they_go() {
    simulate(&[], |stage| async move {
        let first = Camera { seconds: 10, ..Camera::default() };
        let second = Camera { start_ms: 10_000, seconds: 10, sps: SPS_180, ..Camera::default() };
        // Encoders do jump: back to the start, and far ahead.
        let third = Camera { start_ms: 500_000, seconds: 10, sps: SPS_180, ..Camera::default() };
        let mut plan = first.plan();
        plan.extend(second.plan());
        let publishing = stage.publish(plan);
        let mut watch = Watch::of(&stage, 20 * SECOND).await;
        drop(publishing.await.unwrap());
        let third_is = stage.publish(Camera { seconds: 60, ..third }.plan());
        watch.go_on(&stage, 60 * SECOND).await;
        drop(third_is);

        let segments = watch.segments();
        let mut expected = Vec::new();
        for pair in segments.windows(2) {
            let config = |at: usize| watch.init(&pair[at]).tracks;
            let spans = [0, 1].map(|at| watch.span(&pair[at], "vide").expect("video"));
            let is_jump = (spans[1].0 - spans[0].1).abs() > 0.25;
            if config(0) != config(1) || is_jump {
                expected.push(pair[1].sequence);
            }
        }
        let declared: Vec<_> = segments
            .iter()
            .skip(1)
            .filter(|segment| segment.is_discontinuity)
            .map(|segment| segment.sequence)
            .collect();
        // A new publish may be declared although its times happen to fit.
        assert!(
            expected.iter().all(|number| declared.contains(number)),
            "{expected:?} {declared:?}"
        );
        assert!(!expected.is_empty() && declared.len() <= 2, "{expected:?} {declared:?}");

        for (before, after) in watch.pairs() {
            let (before, after) = (&before.playlist, &after.playlist);
            let gone = (after.media_sequence - before.media_sequence) as usize;
            let tags = before.segments.iter().take(gone).filter(|segment| segment.is_discontinuity);
            let counted = after.discontinuity_sequence - before.discontinuity_sequence;
            assert_eq!(counted, tags.count() as u64, "at media sequence {}", after.media_sequence);
        }
        assert!(watch.last().discontinuity_sequence >= declared.len() as u64, "none slid out");
    });
}

#[test]
fn hl_5_times_run_on_across_segments_without_drift() {
    // Far from zero, so that what is rounded shows.
    let camera = Camera { start_ms: 7_654_321, seconds: 900, ..Camera::default() };
    simulate(&[], |stage| async move {
        let watch = watched(&stage, camera).await;
        let segments = watch.segments();
        assert!(segments.len() > 400, "{}", segments.len());
        let mut last_sequence = None;
        let mut ends: BTreeMap<u32, u64> = BTreeMap::new();
        for segment in &segments {
            assert!(!segment.is_discontinuity || segment.sequence == segments[0].sequence);
            for fragment in watch.fragments(segment) {
                let follows = last_sequence.is_none_or(|last| fragment.sequence >= last);
                assert!(follows, "mfhd {} after {last_sequence:?}", fragment.sequence);
                last_sequence = Some(fragment.sequence);
                let end = ends.insert(fragment.track, fragment.end());
                assert!(end.is_none_or(|end| end == fragment.decode_time), "a seam: {end:?}");
            }
        }
        let start = watch.span(&segments[0], "vide").unwrap().0;
        let mut sum = 0.0;
        for segment in &segments {
            sum += segment.duration;
            let end = watch.span(segment, "vide").unwrap().1;
            let drift = (end - start - sum).abs();
            // The last segment's last picture may be known by its neighbour only.
            assert!(drift <= 0.005, "{drift} s after {sum} s");
        }
    });
}

#[test]
fn hl_6_what_is_listed_is_there_whole() {
    simulate(&[], |stage| async move {
        // The watch has asked for each entry in the instant in which it was first listed, and would
        // not have stood a body that is not whole. Again, in every version, at the same moment:
        let watch = watched(&stage, Camera { seconds: 40, ..Camera::default() }).await;
        for segment in &watch.last().segments {
            for uri in [&segment.uri, &segment.map] {
                let again = stage.get(&resolve(MEDIA, uri)).await;
                assert_eq!(again.status, 200);
                assert_eq!(again.body, watch.bodies[uri], "{uri} was not whole when it was listed");
            }
        }
        for segment in watch.segments() {
            assert!(!watch.fragments(&segment).is_empty());
        }
    });
}

#[test]
fn hl_7_a_playlist_only_slides_and_ends() {
    simulate(&["hub.grace_ms=1000"], |stage| async move {
        let publishing = stage.publish(Camera { seconds: 60, ..Camera::default() }.plan());
        let mut watch = Watch::of(&stage, 60 * SECOND).await;
        publishing.await.unwrap().stop_publishing().await;
        watch.go_on(&stage, 5 * SECOND).await;
        for (before, after) in watch.pairs() {
            let (before, after) = (&before.playlist, &after.playlist);
            assert!(!before.is_ended, "it changed after its end");
            assert!(before.playlist_type.is_none() && after.playlist_type.is_none());
            assert_eq!(before.version, after.version);
            assert_eq!(before.server_control, after.server_control);
            let gone = (after.media_sequence - before.media_sequence) as usize;
            assert!(after.next_sequence() >= before.next_sequence(), "a segment vanished");
            let kept = before.segments.iter().skip(gone);
            for (old, new) in kept.zip(&after.segments) {
                assert_eq!(
                    (&old.lines, &old.map),
                    (&new.lines, &new.map),
                    "segment {}",
                    old.sequence
                );
                // Parts only go, and all of a segment's at once.
                let is_same = old.parts == new.parts || new.parts.is_empty();
                assert!(is_same, "{:?} became {:?}", old.parts, new.parts);
            }
            // The parts in front of the edge are those that were listed at it.
            if let Some(closed) = after.segments.get(before.segments.len() - gone) {
                assert!(closed.parts.starts_with(&before.parts), "{:?}", closed.parts);
            } else if !after.is_ended {
                assert!(after.parts.starts_with(&before.parts), "{:?}", after.parts);
            }
        }
        assert!(watch.last().is_ended, "the publisher said goodbye and it goes on");
        assert!(watch.last().hints.is_empty(), "a hint of what will never be");
    });
}

#[test]
fn hl_8_the_window_is_long_enough_and_what_left_it_can_still_be_had() {
    let camera = Camera { seconds: 150, ..Camera::default() };
    simulate(&[], |stage| async move {
        let publishing = stage.publish(camera.plan());
        let mut watch = Watch::default();
        let mut last_moments = BTreeMap::new();
        for _ in 0..camera.seconds * 10 {
            sleep(ms(100)).await;
            watch.look(&stage).await;
            let Some(now) = watch.versions.last() else { continue };
            // Segments that left are asked for once, at the last moment that the spec leaves them.
            if let Some((before, after)) = watch.pairs().last() {
                let gone =
                    (after.playlist.media_sequence - before.playlist.media_sequence) as usize;
                for segment in before.playlist.segments.iter().take(gone) {
                    let longest = watch
                        .versions
                        .iter()
                        .filter(|version| version.playlist.segments.contains(segment))
                        .map(|version| version.playlist.duration())
                        .fold(0.0, f64::max);
                    let until = after.at.as_secs_f64() + segment.duration + longest;
                    last_moments.entry(segment.uri.clone()).or_insert(until);
                }
                if gone > 0 {
                    let three = 3.0 * f64::from(after.playlist.target_duration);
                    let left = after.playlist.duration();
                    assert!(left >= three - ROUNDING_S, "{left} s are left of {three}");
                }
            }
            let at = now.at.as_secs_f64();
            let due: Vec<_> = last_moments
                .iter()
                .filter(|(_, until)| **until > at + 0.1 && **until <= at + 0.21)
                .map(|(uri, _)| uri.clone())
                .collect();
            for uri in due {
                let answer = stage.get(&resolve(MEDIA, &uri)).await;
                assert_eq!(answer.status, 200, "{uri} at its last legal moment");
                assert_eq!(answer.body, watch.bodies[&uri]);
            }
        }
        assert!(last_moments.len() > 20, "hardly anything left the window");
        drop(publishing);
    });
}

#[test]
fn hl_9_a_live_playlist_never_freezes() {
    simulate(&["hub.grace_ms=60000", "rtmp.publish_idle_timeout_ms=60000"], |stage| async move {
        // Twenty seconds of tags, and then a publisher that is connected and silent.
        let _silent = stage.publish(Camera { seconds: 20, ..Camera::default() }.plan());
        let watch = Watch::of(&stage, 40 * SECOND).await;
        let target = f64::from(watch.last().target_duration);
        let mut changes: Vec<_> = Vec::new();
        for (before, after) in watch.pairs() {
            let (old, new) = (&before.playlist, &after.playlist);
            if new.next_sequence() > old.next_sequence() || new.is_ended {
                changes.push(after.at.as_secs_f64());
            }
        }
        for pair in changes.windows(2) {
            assert!(pair[1] - pair[0] <= 1.5 * target + 0.05, "nothing between {pair:?}");
        }
        let last = *changes.last().unwrap();
        assert!(watch.last().is_ended || last >= 40.0 - 1.5 * target, "it froze at {last} s");
        if !watch.last().is_ended {
            let late = watch.segments().into_iter().filter(|segment| segment.is_gap).count();
            assert!(late > 0, "what is not there is not called a gap");
        }
    });
}

#[test]
fn hl_10_segments_begin_with_what_a_decoder_needs() {
    simulate(&[], |stage| async move {
        let first = Camera { seconds: 10, ..Camera::default() };
        let second = Camera { start_ms: 10_000, seconds: 20, sps: SPS_180, ..Camera::default() };
        let mut plan = first.plan();
        plan.extend(second.plan());
        let _publishing = stage.publish(plan);
        let watch = Watch::of(&stage, 30 * SECOND).await;
        let segments = watch.segments();
        for segment in &segments {
            let init = watch.init(segment);
            let fragments = watch.fragments(segment);
            for (id, track) in &init.tracks {
                let mut mine = fragments.iter().filter(|fragment| fragment.track == *id);
                let first = mine.next().expect("each track is in each segment");
                if track.handler == "vide" {
                    let sample = &first.samples[0];
                    assert!(sample.is_sync, "segment {} begins inside a GOP", segment.sequence);
                    // AVCC: a length, and then an IDR's first byte. So as the camera made it.
                    assert_eq!(sample.data[4], 0x65);
                    assert_eq!(track.entry, "avc1");
                    let sps = if width_height(&track.description) == (640, 360) {
                        SPS_360
                    } else {
                        SPS_180
                    };
                    assert!(track.description.windows(sps.len()).any(|bytes| bytes == sps));
                } else {
                    assert_eq!(track.entry, "mp4a");
                    assert!(contains_box(&track.description, "esds"));
                }
            }
        }
        let maps: BTreeSet<_> = segments.iter().map(|segment| segment.map.clone()).collect();
        assert_eq!(maps.len(), 2, "one init section per set of parameters: {maps:?}");
    });
    simulate(&[], |stage| async move {
        let watch = watched(&stage, Camera { has_video: false, ..Camera::default() }).await;
        for segment in watch.segments() {
            assert!((1.0..=3.0).contains(&segment.duration), "{} s", segment.duration);
            assert_eq!(watch.init(&segment).tracks.len(), 1);
        }
    });
}

#[test]
fn hl_11_the_multivariant_playlist_promises_what_is_kept() {
    let both = Camera { frame_len: 4000, ..Camera::default() };
    let cases = [
        (both, vec!["avc1.64001e", "mp4a.40.2"]),
        (Camera { has_audio: false, ..both }, vec!["avc1.64001e"]),
        (Camera { has_video: false, ..both }, vec!["mp4a.40.2"]),
    ];
    for (camera, codecs) in cases {
        simulate(&[], |stage| async move {
            let watch = watched(&stage, Camera { seconds: 29, ..camera }).await;
            let text = stage.get(MULTIVARIANT).await;
            let text = text.text();
            let lines: Vec<_> = text.lines().collect();
            let at = lines.iter().position(|line| line.starts_with("#EXT-X-STREAM-INF:")).unwrap();
            let stream = attributes(lines[at].split_once(':').unwrap().1);
            let named: Vec<_> = stream["CODECS"].split(',').map(str::to_lowercase).collect();
            assert_eq!(named, codecs, "{text}");
            assert_eq!(resolve(MULTIVARIANT, lines[at + 1]), MEDIA, "{text}");
            let promised: f64 = stream["BANDWIDTH"].parse().unwrap();
            for segment in watch.segments() {
                let bits = watch.bodies[&segment.uri].len() as f64 * 8.0 / segment.duration;
                assert!(bits <= promised, "{bits} bit/s, BANDWIDTH={promised}");
            }
            if camera.has_video {
                assert_eq!(stream["RESOLUTION"], "640x360");
            }
        });
    }
}
