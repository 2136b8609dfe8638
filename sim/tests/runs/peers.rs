//! What peers do themselves, as a plan tells them: stall, stop reading, want less, leave, return.

use forebay_sim::tag::{Kind, Role, TagSeen};
use forebay_sim::trace::{Close, What};

use crate::{at, between, bytes, carry_out, ms, pause, with_viewers};

#[test]
fn p19_a_publisher_that_stalls_is_silent_and_then_catches_up() {
    let ran = with_viewers("2.000 studio stall for 1.000\n5.000 end");
    let sent = ran.sent("studio");
    assert_eq!(between(&sent, 2_005, 3_000).len(), 0);
    assert!(between(&sent, 3_000, 3_050).len() > 60, "it did not catch up");
    ran.is_untouched("phone");
    ran.is_untouched("sofa");
}

#[test]
fn p22_a_publisher_that_vanishes_is_missed_only_after_its_idle_time() {
    let ran = with_viewers(
        "set rtmp.publish_idle_timeout_ms=3000\nset hub.grace_ms=1000\n\
         2.000 studio leave vanish\n8.000 end",
    );
    assert_eq!(ran.end("studio"), (at(2_000), Close::Vanished));
    let over = ran.times("node", |what| matches!(what, What::Over { .. }));
    let is_due = |time| (at(5_900)..=at(6_200)).contains(&time);
    assert!(over.len() == 1 && is_due(over[0]), "{over:?}");
    for name in ["phone", "sofa"] {
        assert_eq!(ran.times(name, |what| *what == What::ToldEnd).len(), 1, "{name}");
    }
}

#[test]
fn v4_a_viewer_that_does_not_read_gets_nothing_in_the_meantime() {
    let ran = with_viewers("2.000 phone stop-reading for 1.500\n6.000 end");
    assert_eq!(ran.times("phone", |what| *what == What::Reads(false)), [at(2_000)]);
    let again = ran.times("phone", |what| *what == What::Reads(true));
    assert!(again.len() == 1 && again[0].since(at(3_500)) <= ms(10), "{again:?}");
    assert_eq!(between(&ran.got("phone"), 2_005, 3_500).len(), 0);
    // It is its own system that holds so little: nothing is lost.
    ran.is_untouched("phone");
    ran.is_untouched("sofa");
}

#[test]
fn v10_viewers_leave_as_they_are_told_to() {
    for (leave, close) in [
        ("goodbye", Close::Left),
        ("close", Close::Left),
        ("reset", Close::Left),
        ("vanish", Close::Vanished),
    ] {
        let ran = with_viewers(&format!("2.000 phone leave {leave}\n4.000 end"));
        let (when, how) = ran.end("phone");
        assert!(how == close && when <= at(2_010), "{leave}: {how:?} at {when}");
        let accounts = ran.times("phone", |what| matches!(what, What::Account { .. }));
        match leave {
            // Nobody tells the node, which goes on as if the viewer were slow.
            "vanish" => assert!(accounts.is_empty(), "{accounts:?}"),
            _ => assert!(
                accounts.len() == 1 && accounts[0] <= at(2_200),
                "{leave}: the node closed its account at {accounts:?}"
            ),
        }
        ran.is_untouched("sofa");
    }
}

#[test]
fn v11_a_viewer_that_wants_less_gets_less_and_more_again() {
    let ran = with_viewers(
        "2.000 phone receive audio-off\n4.000 phone receive audio-on\n\
         6.000 phone receive video-off\n8.000 phone receive video-on\n11.000 end",
    );
    let phone = ran.got("phone");
    let count =
        |from, to, kind| between(&phone, from, to).iter().filter(|tag| tag.kind == kind).count();
    for (from, to, audio, video) in [
        (1_000, 2_000, true, true),
        (2_100, 4_000, false, true),
        (4_100, 6_000, true, true),
        (6_100, 8_000, true, false),
        (9_200, 11_000, true, true),
    ] {
        for (kind, is_wanted) in [(Kind::Audio, audio), (Kind::Video, video)] {
            let count = count(from, to, kind);
            assert_eq!(count > 10, is_wanted, "{count} of {kind:?} from {from} to {to}");
            assert!(is_wanted || count == 0, "{count} of {kind:?} from {from} to {to}");
        }
    }
    let back = between(&phone, 8_000, 11_000).into_iter().find(|tag| tag.role.is_picture());
    assert_eq!(back.map(|tag| tag.role), Some(Role::Keyframe), "it came back in mid-GOP");
    ran.is_untouched("sofa");
}

#[test]
fn v11_a_viewer_that_pauses_gets_nothing_and_resumes_at_a_keyframe() {
    let ran = with_viewers("2.000 phone receive pause\n4.000 phone receive resume\n7.000 end");
    let phone = ran.got("phone");
    assert_eq!(bytes(&phone, 2_100, 4_000), 0);
    let back = between(&phone, 4_000, 7_000).into_iter().find(|tag| tag.role.is_picture());
    assert_eq!(back.map(|tag| tag.role), Some(Role::Keyframe));
    ran.is_untouched("sofa");
}

#[test]
fn whoever_comes_again_comes_after_its_pause() {
    let ran = carry_out(
        "0.000 studio publish live/a obs-360p30-base repeats\n\
         0.500 phone play live/a rtmp stay 1.000 again 0.700\n\
         4.000 end",
    );
    let dials = ran.times("phone", |what| matches!(what, What::Dialed { .. }));
    assert!(dials.len() == 3, "{dials:?}");
    for (time, end) in dials.iter().skip(1).zip(ran.closed("phone")) {
        let pause = time.since(end.0);
        assert!(end.1 == Close::Left && pause >= ms(700) && pause <= ms(710), "{pause:?}");
    }
    let (from, to) = pause(&ran.got("phone"));
    assert!(to.since(from) >= ms(700));
}

#[test]
fn what_nobody_takes_enters_in_larger_pieces_until_somebody_comes() {
    let ran = carry_out(
        "set hls.enabled=false\n\
         0.000 studio publish live/a obs-360p30-base repeats\n\
         5.030 sofa play live/a rtmp\n\
         9.000 end",
    );
    let entered = ran.entered("node");
    let times = |from, to| {
        let mut times: Vec<_> = entered
            .iter()
            .map(|(time, _)| *time)
            .filter(|time| (at(from)..at(to)).contains(time))
            .collect();
        times.dedup();
        times.len()
    };
    // Every 400 ms; and in ticks of 50 ms.
    assert!((4..=6).contains(&times(3_000, 5_000)), "{} pieces", times(3_000, 5_000));
    assert!(times(6_000, 8_000) >= 38, "{} pieces", times(6_000, 8_000));
    // Who comes is shown what is there, not what was there at the last look.
    let newest = |tags: Vec<TagSeen>| tags.iter().map(|tag| tag.timestamp_ms).max();
    let sent = newest(between(&ran.sent("studio"), 0, 5_020));
    let got = newest(between(&ran.got("sofa"), 5_030, 5_130));
    assert!(got >= sent, "{got:?} of {sent:?}");
}
