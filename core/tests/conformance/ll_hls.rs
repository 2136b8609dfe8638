//! Low-latency HLS (RFC 8216, second edition): a test per row of the checklist, named after it.

use std::collections::{BTreeMap, BTreeSet};

use tokio::task::JoinHandle;
use tokio::time::{Instant, sleep};

use crate::hls_playlist::{Playlist, resolve};
use crate::hls_stage::{Answer, Camera, MEDIA, SECOND, Stage, ms, simulate};
use crate::hls_watch::Watch;

async fn playlist(stage: &Stage) -> Playlist {
    Playlist::parse(stage.get_when_there(MEDIA).await.text())
}

fn live(stage: &Stage, seconds: u32) -> JoinHandle<crate::peer::Peer> {
    stage.publish(Camera { seconds, ..Camera::default() }.plan())
}

fn reload(stage: &Stage, query: &str) -> JoinHandle<Answer> {
    stage.ask(&format!("{MEDIA}?{query}"))
}

/// More than what is written of a duration.
const ROUNDING_S: f64 = 0.0011;

#[test]
fn ll_1_promises_do_not_change() {
    simulate(&["hub.grace_ms=0"], |stage| async move {
        let mut watch = Watch::default();
        for start_ms in [0, 5_000] {
            let keyframes = [400, 2600, 7000, 7040];
            let camera = Camera { start_ms, keyframes: &keyframes, ..Camera::default() };
            let publishing = stage.publish(camera.plan());
            watch.go_on(&stage, 30 * SECOND).await;
            drop(publishing.await.unwrap());
        }
        let first = &watch.versions[0].playlist;
        for version in &watch.versions {
            let playlist = &version.playlist;
            assert_eq!(playlist.part_target, first.part_target);
            assert_eq!(playlist.server_control, first.server_control);
            assert_eq!(playlist.target_duration, first.target_duration);
        }
        assert_eq!(first.server_control["CAN-BLOCK-RELOAD"], "YES");
    });
}

#[test]
fn ll_2_parts_are_as_long_as_promised_and_come_in_time() {
    simulate(&[], |stage| async move {
        let keyframes = [400, 2600, 7000, 7040, 9360];
        let camera = Camera { keyframes: &keyframes, seconds: 40, ..Camera::default() };
        let _publishing = stage.publish(camera.plan());
        let watch = Watch::of(&stage, 40 * SECOND).await;
        let target = watch.last().part_target.unwrap();
        let mut count = 0;
        for segment in watch.segments() {
            let last = segment.parts.len().saturating_sub(1);
            for (index, part) in segment.parts.iter().enumerate() {
                count += 1;
                assert!(part.duration <= target + 1e-9, "{} s of {target}", part.duration);
                let is_excused = part.is_independent || part.is_gap || index == last;
                let is_long = part.duration >= 0.85 * target - 1e-9;
                assert!(is_excused || is_long, "{} s of {target}", part.duration);
            }
        }
        assert!(count > 100, "{count} parts");
        let mut last = watch.versions[0].at;
        for (before, after) in watch.pairs() {
            if after.playlist.progress() > before.playlist.progress() {
                let waited = (after.at - last).as_secs_f64();
                // The watch looks every 20 ms, and the camera has a picture every 40.
                assert!(waited <= target + 0.065, "{waited} s without a part at {:?}", after.at);
                last = after.at;
            }
        }
    });
}

#[test]
fn ll_3_players_are_told_to_hold_back_enough() {
    simulate(&[], |stage| async move {
        let _publishing = live(&stage, 10);
        let playlist = playlist(&stage).await;
        let (target, part) = (f64::from(playlist.target_duration), playlist.part_target.unwrap());
        assert!(playlist.control("PART-HOLD-BACK") >= 2.0 * part - 1e-9);
        if playlist.server_control.contains_key("HOLD-BACK") {
            assert!(playlist.control("HOLD-BACK") >= 3.0 * target - 1e-9);
        }
        if playlist.server_control.contains_key("CAN-SKIP-UNTIL") {
            assert!(playlist.control("CAN-SKIP-UNTIL") >= 6.0 * target - 1e-9);
        }
    });
}

#[test]
fn ll_4_a_reload_is_held_until_what_it_asks_for_is_there() {
    simulate(&[], |stage| async move {
        let _publishing = live(&stage, 60);
        sleep(20 * SECOND).await;
        // Each takes a segment's time, and the stream has 40 seconds more.
        for _ in 0..15 {
            let now = playlist(&stage).await;
            let (msn, part) = now.next_part();
            let next = reload(&stage, &format!("_HLS_msn={msn}&_HLS_part={part}"));
            let segment = reload(&stage, &format!("_HLS_msn={msn}"));
            // Far past the last of its segment: the first part of the one behind.
            let past = reload(&stage, &format!("_HLS_msn={}&_HLS_part=99", msn - 1));
            let had = reload(&stage, &format!("_HLS_msn={}", msn - 1)).await.unwrap();
            assert_eq!(had.after, ms(0), "what is there is not waited for");

            let next = next.await.unwrap();
            assert!(next.after > ms(0), "the next part was there already");
            let got = Playlist::parse(next.text());
            assert!(
                got.progress() > (msn, part) || got.next_sequence() > msn,
                "{:?}",
                got.progress()
            );
            assert!(got.skipped.is_none() && got.media_sequence >= now.media_sequence, "not whole");
            let target = got.part_target.unwrap();
            assert!(next.after.as_secs_f64() <= target + 0.05, "held for {:?}", next.after);

            let past = Playlist::parse(past.await.unwrap().text());
            assert!(past.progress() >= (msn, 1), "{:?}", past.progress());
            let segment = Playlist::parse(segment.await.unwrap().text());
            assert!(segment.next_sequence() > msn, "segment {msn} is not listed");
        }
    });
}

#[test]
fn ll_5_directives_that_make_no_sense_are_refused_and_others_ignored() {
    simulate(&["hub.grace_ms=0"], |stage| async move {
        let publishing = live(&stage, 20);
        sleep(15 * SECOND).await;
        assert_eq!(stage.get(&format!("{MEDIA}?_HLS_part=1")).await.status, 400);
        for junk in
            ["_HLS_msn=x", "_HLS_msn=-1", "_HLS_msn=1&_HLS_part=x", "_HLS_msn=99999999999999999999"]
        {
            assert_eq!(stage.get(&format!("{MEDIA}?{junk}")).await.status, 400, "{junk}");
        }
        let plain = stage.get(MEDIA).await;
        for other in ["_HLS_push=1", "_HLS_report=x&a=b", "session=5"] {
            let answer = stage.get(&format!("{MEDIA}?{other}")).await;
            assert_eq!(answer.text(), plain.text(), "{other}");
        }
        publishing.await.unwrap().stop_publishing().await;
        sleep(ms(100)).await;
        let ended = playlist(&stage).await;
        assert!(ended.is_ended);
        let msn = ended.next_sequence() + 1;
        for query in [
            format!("_HLS_msn={msn}"),
            format!("_HLS_msn={msn}&_HLS_part=0"),
            "_HLS_skip=YES".into(),
        ] {
            let answer = reload(&stage, &query).await.unwrap();
            assert_eq!(answer.after, ms(0), "{query} was held for what never comes");
            assert_eq!(Playlist::parse(answer.text()), ended, "{query}");
        }
    });
}

#[test]
fn ll_6_what_is_far_away_is_refused_and_what_does_not_come_is_an_error() {
    simulate(&["hub.grace_ms=100000", "rtmp.publish_idle_timeout_ms=100000"], |stage| async move {
        let _silent = live(&stage, 20);
        sleep(15 * SECOND).await;
        let now = playlist(&stage).await;
        let (msn, part) = now.next_part();
        let last_listed = msn - 1;
        let target = now.part_target.unwrap();
        let advance = if target < 1.0 { (3.0 / target).ceil() as u64 } else { 3 };
        for query in [
            format!("_HLS_msn={}", last_listed + 3),
            format!("_HLS_msn={}", last_listed + 1_000_000),
            format!("_HLS_msn={msn}&_HLS_part={}", part + advance + 1),
        ] {
            let answer = reload(&stage, &query).await.unwrap();
            assert_eq!((answer.status, answer.after), (400, ms(0)), "{query}");
        }
        assert_eq!(
            reload(&stage, &format!("_HLS_msn={}", last_listed + 2)).await.unwrap().status,
            200
        );
        // Nothing is published from now on.
        sleep(6 * SECOND).await;
        let now = playlist(&stage).await;
        let (msn, part) = now.next_part();
        let started = Instant::now();
        let held = reload(&stage, &format!("_HLS_msn={msn}&_HLS_part={part}")).await.unwrap();
        let three = 3.0 * f64::from(now.target_duration);
        let waited = started.elapsed().as_secs_f64();
        assert!(waited <= three + 0.01, "held for {waited} s");
        match held.status {
            503 => assert!(waited >= three - 0.01, "given up after {waited} s"),
            // A gap or an end is news too.
            200 => assert_ne!(Playlist::parse(held.text()), now, "an unchanged 200"),
            status => panic!("status {status}"),
        }
    });
}

#[test]
fn ll_7_a_delta_update_and_what_it_skips_are_the_whole() {
    simulate(&["hls.window_ms=60000"], |stage| async move {
        let publishing = live(&stage, 100);
        sleep(80 * SECOND).await;
        let mut seen = 0;
        for _ in 0..20 {
            sleep(ms(330)).await;
            let whole = playlist(&stage).await;
            let until = whole.control("CAN-SKIP-UNTIL");
            let delta = reload(&stage, "_HLS_skip=YES").await.unwrap();
            let delta = Playlist::parse(delta.text());
            let Some(skipped) = delta.skipped else { continue };
            seen += 1;
            assert!(delta.version >= Some(9), "EXT-X-SKIP needs version 9");
            assert_eq!(delta.media_sequence, whole.media_sequence);
            let skipped = skipped as usize;
            assert_eq!(skipped + delta.segments.len(), whole.segments.len());
            for (listed, full) in delta.segments.iter().zip(&whole.segments[skipped..]) {
                assert_eq!(listed.uri, full.uri);
                assert_eq!(listed.duration, full.duration);
                assert_eq!(listed.parts, full.parts);
                assert_eq!(listed.is_discontinuity, full.is_discontinuity);
            }
            assert_eq!(delta.parts, whole.parts);
            // The last one skipped ends before the boundary, counted from the end of what is listed.
            let from_end = |from: usize| {
                let segments: f64 = whole.segments[from..].iter().map(|s| s.duration).sum();
                segments + whole.parts.iter().map(|part| part.duration).sum::<f64>()
            };
            let last_skipped = from_end(skipped - 1);
            assert!(last_skipped >= until - ROUNDING_S, "{last_skipped} s, boundary {until}");
        }
        assert!(seen > 0, "no delta update was ever given");
        drop(publishing);
    });
}

#[test]
fn ll_8_a_hint_can_be_asked_for_at_once_and_nothing_else() {
    simulate(&[], |stage| async move {
        let _publishing = live(&stage, 60);
        sleep(20 * SECOND).await;
        for _ in 0..15 {
            let now = playlist(&stage).await;
            let types: Vec<_> = now.hints.iter().map(|hint| hint["TYPE"].clone()).collect();
            let distinct: BTreeSet<_> = types.iter().collect();
            assert_eq!(distinct.len(), types.len(), "{types:?}");
            let part = now.hints.iter().find(|hint| hint["TYPE"] == "PART").expect("a hint");
            let uri = part["URI"].clone();
            let (msn, index) = now.next_part();
            let early = stage.ask(&resolve(MEDIA, &uri));
            let listed =
                reload(&stage, &format!("_HLS_msn={msn}&_HLS_part={index}")).await.unwrap();
            let listed = Playlist::parse(listed.text());
            let early = early.await.unwrap();
            assert_eq!(early.status, 200, "{uri}");
            let closed = listed.segments.iter().flat_map(|segment| &segment.parts);
            let is_listed = closed.chain(&listed.parts).any(|part| part.uri == uri);
            assert!(is_listed, "{uri} was hinted and another came");
            let again = stage.get(&resolve(MEDIA, &uri)).await;
            assert_eq!(again.body, early.body, "{uri}");
            sleep(ms(90)).await;
        }
        // Neighbours of what exists, and what looks like it.
        let uri = playlist(&stage).await.hints[0]["URI"].clone();
        let digits: String = uri.chars().filter(char::is_ascii_digit).collect();
        assert!(!digits.is_empty(), "{uri} has no number");
        for unknown in [uri.replace(&digits[..1], "7777"), format!("{uri}x"), "0.m4s".into()] {
            let path = resolve(MEDIA, &unknown);
            let answer = stage.get(&path).await;
            assert_eq!((answer.status, answer.after), (404, ms(0)), "{path}");
        }
    });
}

#[test]
fn ll_9_parts_leave_in_order_stay_for_a_while_and_are_their_segment() {
    simulate(&[], |stage| async move {
        let publishing = live(&stage, 60);
        let mut watch = Watch::default();
        let mut left: BTreeMap<String, f64> = BTreeMap::new();
        for _ in 0..600 {
            sleep(ms(100)).await;
            watch.look(&stage).await;
            let Some((before, after)) = watch.pairs().last() else { continue };
            let target = f64::from(after.playlist.target_duration);
            // Those that are listed are those of the end.
            let with_parts: Vec<_> =
                after.playlist.segments.iter().map(|segment| !segment.parts.is_empty()).collect();
            assert!(with_parts.is_sorted(), "parts left out of order");
            let behind: f64 = after.playlist.parts.iter().map(|part| part.duration).sum();
            let mut from_end = behind;
            for segment in after.playlist.segments.iter().rev() {
                // A part is listed as long as any of it is near the end.
                if !segment.parts.is_empty() {
                    assert!(from_end <= 3.0 * target + ROUNDING_S, "{from_end} s from the end");
                }
                from_end += segment.duration;
            }
            for segment in &before.playlist.segments {
                let now = after.playlist.segments.iter().find(|s| s.sequence == segment.sequence);
                if now.is_none_or(|now| now.parts.is_empty()) {
                    for part in &segment.parts {
                        left.entry(part.uri.clone())
                            .or_insert(after.at.as_secs_f64() + 3.0 * target);
                    }
                }
            }
            let at = stage.started.elapsed().as_secs_f64();
            for (uri, until) in &left {
                if *until > at + 0.05 && *until <= at + 0.16 {
                    let answer = stage.get(&resolve(MEDIA, uri)).await;
                    assert_eq!(answer.status, 200, "{uri}, three target durations after it left");
                    assert_eq!(answer.body, watch.bodies[uri]);
                }
            }
        }
        assert!(left.len() > 50, "hardly any part left: {}", left.len());
        let mut compared = 0;
        for segment in watch.segments() {
            // As it was first listed: with all of its parts, if it was closed while they were there.
            if segment.parts.is_empty() || segment.parts.iter().any(|part| part.is_gap) {
                continue;
            }
            let joined: Vec<u8> =
                segment.parts.iter().flat_map(|part| watch.bodies[&part.uri].clone()).collect();
            assert_eq!(joined, watch.bodies[&segment.uri], "segment {}", segment.sequence);
            let sum: f64 = segment.parts.iter().map(|part| part.duration).sum();
            let error = (sum - segment.duration).abs();
            assert!(error <= ROUNDING_S * segment.parts.len() as f64, "{sum} {}", segment.duration);
            compared += 1;
        }
        assert!(compared > 20, "{compared} segments");
        drop(publishing);
    });
}
