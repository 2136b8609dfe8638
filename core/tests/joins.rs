//! A viewer may join any recorded stream at any moment, by either protocol.
#![allow(clippy::unwrap_used, reason = "a test that cannot go on has failed")]

#[path = "common/capture.rs"]
mod capture;

use capture::{Capture, Seen, is_keyframe, is_picture, read, watch};
use forebay::hub::Start;
use forebay::wire_log::Protocol;

/// Every moment of the first two GOPs: behind none of the tags, behind one, and so on.
fn moments(capture: &Capture) -> usize {
    let keyframes = capture.tags.iter().enumerate().filter(|(_, tag)| is_keyframe(&Seen::of(tag)));
    keyframes.map(|(index, _)| index).nth(2).unwrap_or(capture.tags.len())
}

/// Script data, sequence headers and descriptions: what is no media.
fn is_header(tag: &Seen) -> bool {
    match (tag.kind, &tag.payload[..]) {
        (18, _) => true,
        (9, [first, ..]) if first & 0x80 != 0 => matches!(first & 15, 0 | 4),
        (9, [first, packet_type, ..]) => first & 15 == 7 && *packet_type == 0,
        // Extended audio; in a multitrack packet the second byte has the kind.
        (8, [first, second, ..]) if first >> 4 == 9 => match first & 15 {
            0 | 4 => true,
            5 => matches!(second & 15, 0 | 4),
            _ => false,
        },
        (8, [first, packet_type, ..]) => first >> 4 == 10 && *packet_type == 0,
        _ => false,
    }
}

/// Headers, then a keyframe, then everything: the recording from some keyframe on, without a hole.
fn check(capture: &Capture, protocol: Protocol, joined_at: usize) {
    let what = format!("{} {protocol:?} joined at tag {joined_at}", capture.name);
    let seen = read(protocol, &watch(&capture.tags, joined_at, protocol, Start::Gop));
    let all: Vec<_> = capture.tags.iter().map(Seen::of).collect();
    let media = seen.iter().position(|tag| !is_header(tag)).unwrap_or(seen.len());

    let has_video = all.iter().any(is_picture);
    let newest_keyframe = all[..joined_at].iter().rposition(is_keyframe);
    // The recording from where this viewer came in, as far as it can be decoded.
    let expected: Vec<_> = match newest_keyframe {
        Some(keyframe) => all[keyframe..].iter().collect(),
        None if has_video => {
            let first = all.iter().position(is_keyframe).unwrap();
            let late =
                |(index, tag): &(usize, &Seen)| *index >= first.max(joined_at) || !is_picture(tag);
            all.iter().enumerate().skip(joined_at).filter(late).map(|(_, tag)| tag).collect()
        }
        // Without video a joiner gets two seconds of the past, if there are.
        None => {
            let first = seen.get(media).map_or(0, |tag| all.iter().position(|t| t == tag).unwrap());
            assert!(first <= joined_at || all[..joined_at].iter().all(is_header), "{what}");
            let since = all[..joined_at].last().map_or(0, |tag| tag.ms.saturating_sub(2_100));
            assert!(all[first].ms >= since, "{what}: began too far back, at {:?}", all[first]);
            all[first..].iter().collect()
        }
    };
    let expected: Vec<_> =
        expected.into_iter().filter(|tag| !is_header(tag) || tag.kind == 18).collect();
    let mut given: Vec<_> =
        seen.iter().skip(media).filter(|tag| !is_header(tag) || tag.kind == 18).collect();
    // Headers that came live, in front of the first media, are in both.
    let live_scripts = expected.iter().take_while(|tag| is_header(tag)).count();
    let expected = &expected[live_scripts..];
    if protocol == Protocol::Flv && given.len() == expected.len() + 1 {
        let end = given.pop().unwrap();
        assert!(!is_picture(end) && end.kind == 9, "{what}: {end:?} is no end of sequence");
    }
    let differs = given.iter().zip(expected).position(|(given, expected)| given != expected);
    assert_eq!(differs, None, "{what}: given {:?}", differs.map(|at| (given[at], expected[at])));
    assert_eq!(given.len(), expected.len(), "{what}");

    if has_video {
        let picture = given.iter().find(|tag| is_picture(tag)).unwrap();
        assert!(is_keyframe(picture), "{what}: the first picture is {picture:?}");
    }
    // Every header that the stream had by then comes first, metadata before the others.
    let first_media = all.iter().position(|tag| Some(&tag) == given.first()).unwrap();
    for kind in [8, 9] {
        let newest = all[..first_media].iter().rfind(|tag| tag.kind == kind && is_header(tag));
        let is_given = newest
            .is_none_or(|newest| seen[..media].iter().any(|tag| tag.payload == newest.payload));
        assert!(is_given, "{what}: header {newest:?} is missing");
    }
    let metadata = seen[..media].iter().position(|tag| tag.kind == 18);
    let has_metadata = all[..first_media].iter().any(|tag| tag.kind == 18);
    assert!(!has_metadata || metadata == Some(0), "{what}: metadata at {metadata:?}");
}

fn check_all(protocol: Protocol) {
    for capture in capture::intact() {
        for joined_at in 0..moments(&capture).min(capture.tags.len()) {
            check(&capture, protocol, joined_at);
        }
    }
}

#[test]
fn an_rtmp_viewer_may_join_at_any_tag_of_two_gops() {
    check_all(Protocol::Rtmp);
}

#[test]
fn an_http_flv_viewer_may_join_at_any_tag_of_two_gops() {
    check_all(Protocol::Flv);
}
