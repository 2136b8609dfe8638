//! Faults of time, processes and memory: PROPERTIES T4, T5, X1 to X3, X5 to X8.

use forebay_sim::trace::{Close, Level, What};

use crate::{at, between, bytes, carry_out, ms, pause, with_viewers};

#[test]
fn t4_a_frozen_node_does_nothing_and_then_goes_on() {
    let ran = with_viewers("2.000 node freeze for 1.500\n6.000 end");
    for name in ["phone", "sofa"] {
        assert_eq!(between(&ran.got(name), 2_010, 3_500).len(), 0, "{name}");
        ran.is_untouched(name);
    }
    assert_eq!(between(&ran.entered("node"), 2_005, 3_500).len(), 0);
    let (sent, entered) = (ran.sent("studio"), ran.entered("node"));
    // What was sent in the meantime comes when it goes on: as much as a read takes at once, and what
    // that has left with the next tick.
    assert!(between(&sent, 2_010, 3_500).len() > 50);
    assert!(between(&entered, 3_500, 3_520).len() > 20);
    assert!(between(&entered, 3_500, 3_555).len() > 50);
}

#[test]
fn t5_no_timer_is_later_than_the_bound() {
    // Whoever says nothing is closed by a timer of the node.
    let closed = |late: &str| {
        let ran = carry_out(&format!(
            "set rtmp.handshake_timeout_ms=3000\n\
             0.000 studio publish live/a obs-360p30-base repeats\n\
             1.000 mute speak silence\n{late}8.000 end"
        ));
        let (when, how) = ran.end("mute");
        assert_eq!(how, Close::Eof);
        when
    };
    let (punctual, late) = (closed(""), closed("0.900 node late 200 ms for 7.000\n"));
    assert!(punctual >= at(4_000) && punctual <= at(4_030), "{punctual}");
    // A node's clock cannot be held, it can only jump ahead: what falls into a jump is late for the
    // node, and early for the world.
    assert!(late != punctual && late <= punctual + ms(200), "{late}, punctual {punctual}");
}

#[test]
fn x1_a_crash_is_told_by_the_system_and_the_node_comes_back() {
    let ran = carry_out(
        "0.000 studio publish live/a obs-360p30-base repeats again 0.300\n\
         0.500 phone play live/a rtmp\n\
         2.000 node crash for 0.500\n\
         2.200 early play live/a rtmp\n\
         3.000 late play live/a rtmp\n\
         7.000 end",
    );
    let (when, how) = ran.end("phone");
    assert!(matches!(how, Close::Eof | Close::Reset), "{how:?}");
    assert!(when >= at(2_000) && when <= at(2_010), "{when}");
    assert_eq!(ran.end("early").1, Close::Refused, "nobody listens");
    assert_eq!(ran.times("node", |what| *what == What::Crashed), [at(2_000)]);
    let starts = ran.times("node", |what| *what == What::Started);
    assert!(starts.len() == 2 && starts[1] >= at(2_500) && starts[1] <= at(2_510), "{starts:?}");
    assert!(ran.times("studio", |what| matches!(what, What::Publishing { .. })).len() == 2);
    assert!(bytes(&ran.got("late"), 4_000, 7_000) > 50_000, "it serves again");
    assert_eq!(between(&ran.entered("node"), 2_000, 2_500).len(), 0, "a dead process does nothing");
}

#[test]
fn x1_a_silent_crash_is_told_to_nobody() {
    let ran = with_viewers("2.000 node crash silent for 0.500\n30.000 end");
    for name in ["phone", "sofa", "studio"] {
        let early: Vec<_> =
            ran.closed(name).into_iter().filter(|(when, _)| *when < at(30_000)).collect();
        assert_eq!(early, [], "{name} was told");
    }
    assert_eq!(between(&ran.got("phone"), 2_005, 30_000).len(), 0);
    assert_eq!(ran.times("node", |what| *what == What::Started).len(), 2);
}

#[test]
fn x2_a_node_that_is_told_to_stop_says_goodbye_and_returns() {
    let ran = with_viewers("2.000 node stop for 0.500\n5.000 late play live/a rtmp\n7.000 end");
    for name in ["phone", "sofa"] {
        let told = ran.times(name, |what| *what == What::ToldEnd);
        let (when, how) = ran.end(name);
        assert!(how == Close::Eof && told.len() == 1 && told[0] <= when, "{name}: {how:?}");
        assert!(when >= at(2_000) && when < at(3_000), "{name} at {when}");
    }
    assert_eq!(ran.times("node", |what| *what == What::Stopping), [at(2_000)]);
    let stopped = ran.times("node", |what| *what == What::Stopped { cut: 0 });
    assert_eq!(stopped.len(), 1, "nobody had to be cut");
    let starts = ran.times("node", |what| *what == What::Started);
    assert!(starts.len() == 2 && starts[1].since(stopped[0]) <= ms(520), "{starts:?}");
    assert_eq!(ran.times("late", |what| *what == What::Connected).len(), 1);
}

#[test]
fn x3_a_crash_loop_is_one_start_for_each_crash() {
    let ran = with_viewers(
        "1.000 node crash for 0.100\n1.500 node crash for 0.100\n2.000 node crash for 0.100\n\
         3.000 end",
    );
    assert_eq!(ran.times("node", |what| *what == What::Crashed).len(), 3);
    let starts = ran.times("node", |what| *what == What::Started);
    let starts: Vec<_> = starts.into_iter().map(|start| start.millis() / 100).collect();
    assert_eq!(starts, [0, 11, 16, 21]);
}

#[test]
fn x5_a_cancelled_task_ends_its_connection_and_no_other() {
    let ran = with_viewers("2.000 phone cancel\n4.000 end");
    let (when, how) = ran.end("phone");
    assert!(matches!(how, Close::Eof | Close::Reset), "{how:?}");
    assert!(when >= at(2_000) && when <= at(2_010), "{when}");
    ran.is_untouched("sofa");
    assert!(ran.closed("studio").is_empty());
}

#[test]
fn x5_a_cancelled_publisher_may_return_to_its_viewers() {
    let ran = carry_out(
        "0.000 studio publish live/a obs-360p30-base repeats again 1.000\n\
         0.500 phone play live/a rtmp\n\
         0.500 sofa play live/a flv\n\
         2.000 studio cancel\n\
         7.000 end",
    );
    assert_eq!(ran.closed("studio").len(), 1);
    for name in ["phone", "sofa"] {
        assert!(ran.closed(name).is_empty(), "{name}: {:?}", ran.closed(name));
        assert!(ran.times(name, |what| *what == What::ToldEnd).is_empty());
        assert!(between(&ran.got(name), 4_000, 7_000).len() > 100, "{name}");
    }
}

#[test]
fn x6_a_panic_in_a_connections_task_ends_that_connection_and_no_other() {
    // A viewer says nothing that its task would read: it panics when its task looks at it.
    for (victim, others) in [("phone", ["sofa", "studio"]), ("studio", ["sofa", "phone"])] {
        let ran = with_viewers(&format!("2.000 {victim} panic\n4.000 end"));
        let (when, how) = ran.end(victim);
        assert!(matches!(how, Close::Eof | Close::Reset), "{victim}: {how:?}");
        assert!(when >= at(2_000) && when <= at(2_050), "{victim} at {when}");
        for name in others {
            assert!(ran.closed(name).is_empty(), "{victim} took {name} with it");
        }
        let panicked = ran.times("world", |what| matches!(what, What::Panicked { .. }));
        assert_eq!(panicked.len(), 1, "{victim}");
        let injected = |what: &What| matches!(what, What::Panicked { injected: true, .. });
        assert_eq!(ran.times("world", injected).len(), 1, "{victim}: it was asked for");
        let errors = ran.log("node", Level::Error);
        assert!(errors.len() == 1 && errors[0].contains("panicked"), "{victim}: {errors:?}");
    }
}

#[test]
fn x7_a_pool_at_its_limit_changes_no_tag() {
    let ran = carry_out(
        "set receive.waiting_blocks_max=1\n\
         set receive.block_len=16384\n\
         0.000 studio publish live/a obs-720p30-cbr2500\n\
         0.500 phone play live/a rtmp\n\
         5.000 end",
    );
    let (sent, entered) = (ran.sent("studio"), ran.entered("node"));
    assert!(entered.len() > 300, "{} tags", entered.len());
    assert!(sent.iter().zip(&entered).all(|(sent, entered)| sent.1 == entered.1));
    ran.is_untouched("phone");
}

#[test]
fn x8_one_connection_too_many_is_closed_and_the_others_stay() {
    let ran = with_viewers("set listen.connections_max=3\n2.000 late play live/a rtmp\n4.000 end");
    let (when, how) = ran.end("late");
    assert!(matches!(how, Close::Eof | Close::Reset), "{how:?}");
    assert!(when <= at(2_020), "{when}");
    ran.is_untouched("phone");
    ran.is_untouched("sofa");
    assert!(ran.log("node", Level::Warn).iter().any(|line| line.contains("connections_max")));
}

#[test]
fn x8_a_stream_or_a_viewer_too_many_is_told_so() {
    // The simulator's own witness of each stream has a place besides.
    let ran = with_viewers("set hub.subscribers_max=2\n2.000 late play live/a rtmp\n4.000 end");
    assert_eq!(ran.errors("late").len(), 1, "{:?}", ran.errors("late"));
    assert!(ran.got("late").is_empty());
    ran.is_untouched("phone");
    ran.is_untouched("sofa");
    let ran = carry_out(
        "set hub.topics_max=1\n\
         0.000 studio publish live/a obs-360p30-base repeats\n\
         1.000 late play live/b rtmp\n\
         3.000 end",
    );
    assert_eq!(ran.errors("late").len(), 1, "{:?}", ran.errors("late"));
    assert!(ran.closed("studio").is_empty());
    assert!(pause(&ran.entered("node")).1.since(pause(&ran.entered("node")).0) < ms(200));
}
