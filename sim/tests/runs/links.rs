//! Network faults: PROPERTIES N1 to N20.

use forebay_sim::trace::{Close, What};

use crate::{at, between, bytes, carry_out, ms, pause, with_viewers};

#[test]
fn n1_delay_makes_everything_late_by_itself_and_then_no_longer() {
    let ran = with_viewers("3.000 phone link 300 ms for 2.000\n7.000 end");
    for (from, to, least, most) in
        [(1_000, 3_000, 0, 70), (3_400, 5_000, 300, 370), (5_400, 7_000, 0, 70)]
    {
        let delays = ran.delays("phone", from, to);
        assert!(delays.len() > 50, "{} tags from {from} to {to}", delays.len());
        let is_so = delays.iter().all(|delay| (ms(least)..=ms(most)).contains(delay));
        assert!(is_so, "from {from} to {to}: {delays:?}");
    }
    ran.is_untouched("phone");
    assert!(ran.delays("sofa", 1_000, 7_000).iter().all(|delay| *delay <= ms(70)));
}

#[test]
fn n2_jitter_varies_the_delay() {
    let spread = |lines: &str| {
        let delays = with_viewers(lines).delays("phone", 3_500, 6_000);
        // What the node itself holds back differs by up to its coalescing.
        delays.iter().max().zip(delays.iter().min()).map(|(max, min)| *max - *min)
    };
    let (calm, jittery) =
        (spread("6.000 end"), spread("3.000 phone link jitter 400 ms\n6.000 end"));
    assert!(calm <= Some(ms(70)) && jittery >= Some(ms(150)), "{calm:?} and {jittery:?}");
}

#[test]
fn n3_directions_differ() {
    let late = |link: &str| {
        let ran = carry_out(&format!(
            "0.000 studio publish live/a obs-360p30-base repeats link {link}\n4.000 end"
        ));
        let (sent, entered) = (ran.sent("studio"), ran.entered("node"));
        let of = |tag| entered.iter().find(|(_, known)| *known == tag);
        let late: Vec<_> =
            sent.iter().filter_map(|(at, tag)| Some(of(*tag)?.0.since(*at))).collect();
        assert!(late.len() > 100, "{} tags", late.len());
        late.iter().copied().min().zip(late.into_iter().max())
    };
    // What the node itself holds back is up to its coalescing.
    let (up, down) = (late("lan up 250 ms"), late("250 ms up 1 ms"));
    assert!(up.is_some_and(|(min, max)| min >= ms(250) && max <= ms(320)), "{up:?}");
    assert!(down.is_some_and(|(min, max)| min <= ms(5) && max <= ms(70)), "{down:?}");
}

#[test]
fn n4_capacity_bounds_what_is_got_and_loss_is_told() {
    let ran = with_viewers("3.000 phone link 150 kbit/s queue 16 KiB for 6.000\n14.000 end");
    let phone = ran.got("phone");
    // 18,750 bytes a second, chunk headers included; the picture alone would need three times that.
    let got = bytes(&phone, 4_000, 9_000);
    // The first tag in it may have begun to come before.
    assert!((60_000..=93_750 + 6_000).contains(&got), "{got} bytes in 5 s");
    assert!(bytes(&ran.got("sofa"), 4_000, 9_000) > 2 * got);
    // Afterwards it has all there is.
    let (phone, sofa) = (bytes(&phone, 12_000, 14_000), bytes(&ran.got("sofa"), 12_000, 14_000));
    assert!(phone.abs_diff(sofa) < sofa / 10, "{phone} and {sofa}");
    ran.is_untouched("sofa");
}

#[test]
fn n5_a_capacity_trace_lets_nothing_through_in_its_outages() {
    let ran = with_viewers("3.000 phone link 4 Mbit/s to 0.500 0 bit/s to 1.000\n7.000 end");
    let phone = ran.got("phone");
    for second in 3..7 {
        let (on, off) = (second * 1_000, second * 1_000 + 500);
        assert!(between(&phone, on, off).len() > 20, "from {on} to {off}");
        // A byte takes a millisecond, and a tick.
        let off = between(&phone, off + 10, off + 500);
        assert_eq!(off.len(), 0, "in the outage of second {second}");
    }
    ran.is_untouched("sofa");
}

#[test]
fn n6_a_short_queue_costs_round_trips() {
    let worst = |queue: &str| {
        let link = format!("2 Mbit/s 200 ms queue {queue}");
        let ran = with_viewers(&format!("3.000 phone link {link}\n8.000 end"));
        ran.delays("phone", 3_500, 8_000).into_iter().max()
    };
    let (long, short) = (worst("1 MiB"), worst("4 KiB"));
    assert!(long < Some(ms(500)) && short > Some(ms(600)), "{long:?} and {short:?}");
}

#[test]
fn n7_a_burst_of_loss_is_a_stall_and_no_gap() {
    let ran = with_viewers("3.000 phone link loss 1 of 100 ms every 2 s for 4.000\n9.000 end");
    let phone = ran.got("phone");
    let (from, to) = pause(&phone);
    assert!(to.since(from) >= ms(200), "from {from} to {to}");
    // Lost in the first tenth of second 4 or 6; what is lost next in a row comes 400 ms late.
    let begins = from.millis() % 2_000;
    assert!(!(500..=1_900).contains(&begins), "from {from} to {to}");
    ran.is_untouched("phone");
    ran.is_untouched("sofa");
}

#[test]
fn n8_egress_bounds_the_sum_of_what_leaves_a_node_as_asked() {
    let ran = carry_out(
        "0.000 studio publish live/a obs-720p30-cbr2500 repeats\n\
         0.500 crowd*3 play live/a flv\n\
         3.000 node egress 3 Mbit/s for 6.000\n\
         13.000 end",
    );
    let sum = |from, to| {
        let of = |member: u32| bytes(&ran.got(&format!("crowd-{member}")), from, to);
        (1..=3).map(of).sum::<u64>()
    };
    // Windows are full of what was sent before; after a second only the card is left.
    let (before, bounded, after) =
        (sum(1_000, 3_000) / 2, sum(4_500, 8_500) / 4, sum(11_000, 13_000) / 2);
    let asked = 3_000_000 / 8;
    assert!(before > 2 * asked && after > 2 * asked, "{before}, {bounded}, {after} bytes a second");
    assert!(bounded <= asked + asked / 50 && bounded >= asked * 9 / 10, "{bounded} of {asked}");
}

#[test]
fn n10_a_black_hole_swallows_nothing_in_the_end() {
    let ran = with_viewers("3.000 phone cut for 1.500\n9.000 end");
    // Retransmissions are tried 0.2, 0.6, 1.4 and 3 s after the cut.
    let (from, to) = pause(&ran.got("phone"));
    assert!(from <= at(3_005) && from > at(2_900), "from {from} to {to}");
    assert!(to >= at(6_000) && to <= at(6_005), "from {from} to {to}");
    assert!(ran.closed("phone").is_empty(), "a black hole tells nobody");
    ran.is_untouched("phone");
    ran.is_untouched("sofa");
}

#[test]
fn n11_a_cut_of_a_group_is_one_of_each_member() {
    let ran = carry_out(
        "0.000 studio publish live/a obs-360p30-base repeats\n\
         0.500 crowd*3 play live/a flv\n\
         0.500 sofa play live/a rtmp\n\
         2.000 crowd cut for 0.500\n\
         4.000 end",
    );
    for member in 1..=3 {
        let got = ran.got(&format!("crowd-{member}"));
        assert_eq!(between(&got, 2_010, 2_500).len(), 0, "crowd-{member}");
        assert!(between(&got, 3_000, 4_000).len() > 30, "crowd-{member}");
    }
    ran.is_untouched("sofa");
}

#[test]
fn n11_a_cut_of_a_node_is_one_of_everybody_at_it_also_of_who_comes_meanwhile() {
    let ran = carry_out(
        "0.000 studio publish live/a obs-360p30-base repeats\n\
         0.500 crowd*2 play live/a flv\n\
         0.500 sofa play live/a rtmp\n\
         2.200 late play live/a flv\n\
         2.000 node cut for 0.500\n\
         6.000 end",
    );
    for name in ["crowd-1", "crowd-2", "sofa", "late"] {
        let got = ran.got(name);
        assert_eq!(between(&got, 2_010, 2_500).len(), 0, "{name}");
        assert!(between(&got, 4_500, 6_000).len() > 30, "{name}");
    }
    assert_eq!(between(&ran.entered("node"), 2_010, 2_500).len(), 0);
}

#[test]
fn n12_a_cut_one_way_stops_that_way_only() {
    // A viewer says nothing, so that cut from it to the node it misses nothing.
    for (direction, stops) in [("up", false), ("down", true)] {
        let ran = with_viewers(&format!("2.000 phone cut {direction} for 0.500\n4.000 end"));
        let got = between(&ran.got("phone"), 2_010, 2_500).len();
        assert_eq!(got == 0, stops, "{got} tags in a cut {direction}");
    }
    for (direction, stops) in [("up", true), ("down", false)] {
        let ran = with_viewers(&format!("2.000 studio cut {direction} for 0.500\n4.000 end"));
        let entered = between(&ran.entered("node"), 2_010, 2_500).len();
        assert_eq!(entered == 0, stops, "{entered} tags entered in a cut {direction}");
    }
}

#[test]
fn n13_links_cut_in_one_order_heal_in_another() {
    let ran = with_viewers(
        "2.000 phone cut for 2.000\n2.300 studio cut for 0.500\n\
         2.500 sofa cut for 1.000\n9.000 end",
    );
    for (name, until) in [("phone", 4_000), ("sofa", 3_500)] {
        assert_eq!(between(&ran.got(name), 2_510, until).len(), 0, "{name}");
        ran.is_untouched(name);
    }
    assert_eq!(between(&ran.entered("node"), 2_310, 2_800).len(), 0);
}

#[test]
fn n14_a_reset_ends_its_connection_and_no_other() {
    let ran = with_viewers("2.000 phone reset\n4.000 end");
    assert_eq!(ran.end("phone"), (at(2_000), Close::Reset));
    ran.is_untouched("sofa");
    assert!(ran.closed("studio").is_empty());
    let ran = with_viewers("2.000 studio reset\n4.000 end");
    assert_eq!(ran.end("studio"), (at(2_000), Close::Reset));
    assert!(ran.closed("sofa").is_empty(), "viewers wait for the one who may return");
    assert_eq!(between(&ran.entered("node"), 2_010, 4_000).len(), 0);
}

#[test]
fn n15_a_half_closed_viewer_is_read_to_its_end_and_let_go_in_order() {
    let ran = with_viewers("2.000 phone leave half-close\n5.000 end");
    let (when, how) = ran.end("phone");
    assert!(how == Close::Eof && when >= at(2_000) && when < at(3_000), "{how:?} at {when}");
    ran.is_untouched("sofa");
    let ran = with_viewers("2.000 studio leave half-close\n5.000 end");
    let (when, how) = ran.end("studio");
    assert!(how == Close::Eof && when >= at(2_000) && when < at(3_000), "{how:?} at {when}");
    assert_eq!(between(&ran.entered("node"), 2_100, 5_000).len(), 0);
}

#[test]
fn n16_a_forgotten_viewer_hears_nothing_and_nobody_tells_it() {
    let ran = with_viewers("2.000 phone forget\n34.000 end");
    assert_eq!(between(&ran.got("phone"), 2_005, 34_000).len(), 0);
    // It gives up by itself, after its own patience of 30 s.
    let (when, how) = ran.end("phone");
    assert!(how == Close::TimedOut && when >= at(31_900), "{how:?} at {when}");
    ran.is_untouched("sofa");
}

#[test]
fn n17_reads_of_single_bytes_change_no_tag() {
    let ran = carry_out(
        "0.000 studio publish live/a obs-360p30-base link segment 1\n\
         0.100 phone play live/a rtmp link segment 2\n\
         0.100 sofa play live/a flv link segment 3\n\
         2.000 end",
    );
    let (sent, entered) = (ran.sent("studio"), ran.entered("node"));
    assert!(entered.len() > 100);
    assert!(sent.iter().zip(&entered).all(|(sent, entered)| sent.1 == entered.1));
    ran.is_untouched("phone");
    ran.is_untouched("sofa");
}

#[test]
fn n18_what_comes_in_bursts_is_read_at_once() {
    let ran = with_viewers("2.000 phone link burst 400 ms\n6.000 end");
    let mut times: Vec<_> = ran.got("phone").into_iter().map(|(at, _)| at.millis()).collect();
    times.retain(|time| *time > 2_000);
    times.dedup();
    assert_eq!(times, [2_400, 2_800, 3_200, 3_600, 4_000, 4_400, 4_800, 5_200, 5_600]);
    ran.is_untouched("sofa");
}

#[test]
fn n19_a_window_of_one_byte_is_next_to_none() {
    let ran = with_viewers("2.000 phone link window 1 B for 2.000\n6.000 end");
    let phone = ran.got("phone");
    // A byte a tick at best.
    assert!(bytes(&phone, 2_010, 4_000) <= 400, "{}", bytes(&phone, 2_010, 4_000));
    assert!(bytes(&phone, 4_000, 6_000) > 50_000);
    ran.is_untouched("phone");
    ran.is_untouched("sofa");
}

#[test]
fn n20_a_refused_peer_is_told_at_once_and_those_inside_notice_nothing() {
    let ran = with_viewers(
        "2.000 node refuse for 1.000\n\
         2.500 late play live/a rtmp\n\
         3.500 later play live/a rtmp\n\
         5.000 end",
    );
    let (when, how) = ran.end("late");
    assert!(how == Close::Refused && when < at(2_520), "{how:?} at {when}");
    assert!(ran.times("late", |what| *what == What::Connected).is_empty());
    for name in ["sofa", "phone", "later"] {
        ran.is_untouched(name);
    }
}

#[test]
fn n20_a_connect_that_hangs_stands_when_it_is_asked_again_behind_the_fault() {
    let ran = with_viewers("2.000 node hang for 1.200\n2.100 late play live/a rtmp\n8.000 end");
    // Asked at 2.1, 3.1 and 5.1 s.
    let connected = ran.times("late", |what| *what == What::Connected);
    assert!(connected.len() == 1 && connected[0] >= at(5_100) && connected[0] < at(5_120));
    for name in ["sofa", "phone", "late"] {
        ran.is_untouched(name);
    }
}
