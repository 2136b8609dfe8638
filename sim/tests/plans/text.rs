//! What a plan's text says: both ways, for every plan, and what it answers to a text that is none.

use std::time::Duration;

use forebay_sim::link::{Link, Path};
use forebay_sim::plan::{Act, Plan, PlanError};
use forebay_sim::time::SimTime;
use proptest::prelude::*;
use proptest::sample::select;

use crate::any;

const EXAMPLE: &str = "\
plan 1
# resumes_decodable, seed 8412 (was: 14 viewers, 3 nodes, 211 events, 60 s)
seed     8412
tick     5 ms
set      play.backlog_ms_max=2000
0.000    studio   publish live/a obs-360p30-base 0.000..4.200 repeats quirk chunk-size 1 quirk starts-at 4294960000 link fiber
0.310    phone    play live/a rtmp start gop link 3 Mbit/s 40 ms queue 64 KiB
0.310    crowd*20 play live/a flv apart 0.005 stay 2.000 again 0.500
1.900    phone    link 0 bit/s for 1.300
studio.keyframe#3+0.005 phone    leave vanish
2.000    node     crash for 0.500
3.000    quiet
4.200    end
";

fn parse(text: &str) -> Plan {
    text.parse().unwrap_or_else(|error| panic!("{error}\n{text}"))
}

/// A text of one line with a time, between a viewer, a publisher, a group and the end.
fn with(line: &str) -> Result<Plan, PlanError> {
    let head =
        "plan 1\n0 studio publish live/a c\n0 phone play live/a rtmp\n0 crowd*3 play live/a flv\n";
    format!("{head}{line}\n9 end\n").parse()
}

#[test]
fn the_example_is_read_and_written_as_it_stands() {
    let plan = parse(EXAMPLE);
    assert_eq!(plan.to_string(), EXAMPLE);
    assert_eq!((plan.hosts(), plan.line_count()), (23, 6));
    assert_eq!(plan.check(), Ok(()));
    let Act::Play(play) = &plan.lines[1].act else { panic!("{:?}", plan.lines[1]) };
    let path = Path::constant(3_000_000, Duration::from_millis(40), 64 << 10);
    assert_eq!(play.link, Link { down: path.clone(), up: path, window: 1 << 20 });
}

#[test]
fn comments_and_blank_lines_are_allowed_anywhere_and_only_the_title_is_kept() {
    let text = "# before\n\nplan 1 # one\n# title\n#\n# more\n\n# not kept\nseed 7\n  # nor this\n1.5 end # over\n#\n";
    let plan = parse(text);
    assert_eq!(plan.title, "title\n\nmore");
    assert_eq!((plan.seed, plan.end), (7, SimTime::from_millis(1_500)));
    let printed = "plan 1\n# title\n#\n# more\nseed     7\ntick     5 ms\n1.500    end\n";
    assert_eq!(plan.to_string(), printed);
}

#[test]
fn every_act_is_written_as_it_is_read() {
    for line in [
        "1.000    studio   publish live/b x-1 again 2.000 at b link satellite",
        "1.000    phone    play live/b rml start live stay 0.000001 at b link far window 1 MiB",
        "1.000    bad*2    speak garbage-after-handshake at b",
        "1.000    crowd-3  stop-reading for 0.500",
        "1.000    tube     target live/* key s3cret quirk refuses bad-name times 3 quirk cuts after 30 KiB at b link far",
        "1.000    tube     target live/a quirk refuses auth quirk silent quirk takes av01 quirk window 1 B",
        "1.000    phone    leave goodbye",
        "1.000    phone    link lan",
        "1.000    phone    link cellular jitter 0 ms",
        "1.000    phone    link loss 0.02 of 200 ms every 2.2 s segment 1 burst 300 ms for 1.000",
        "1.000    phone    link 2.5 Mbit/s 40.5 ms up 1 Mbit/s 60 ms",
        "1.000    phone    link 12 Mbit/s to 0.700 500 kbit/s to 1.500 up unlimited loss none",
        "1.000    phone    cut for 1.000",
        "1.000    phone    cut up for 1.000",
        "1.000    phone    forget",
        "1.000    crowd    reset",
        "1.000    studio   stall for 1.000",
        "1.000    phone    receive audio-off",
        "1.000    phone    cancel",
        "1.000    phone    panic",
        "1.000    node     crash silent",
        "1.000    node     stop for 1.000",
        "1.000    node     freeze for 1.000",
        "1.000    node     late 50 ms for 1.000",
        "1.000    node     egress 20 Mbit/s",
        "1.000    node     refuse for 1.000",
        "1.000    node     hang for 1.000",
        "crowd.lag+0.5 node     hang for 1.000",
        "node.started#2 phone    cut down for 0.0005",
    ] {
        let plan = with(line).unwrap_or_else(|error| panic!("{line}: {error}"));
        let line = line.replace(" up unlimited loss none", " up unlimited");
        let line = line.replace("lag+0.5 ", "lag+0.500 ");
        assert_eq!(plan.lines[3].to_string(), line);
    }
}

#[test]
fn an_error_names_the_place_what_was_expected_and_the_nearest_word() {
    let cases = [
        ("1.0 phone levae vanish", 11, "expected what happens, not `levae`: did you mean `leave`?"),
        ("1.0 phone leave", 16, "expected how to leave, not the end of the line"),
        ("1.0 phone leave now", 17, "expected how to leave, not `now`: did you mean `close`?"),
        ("1.0 phon leave close", 5, "nobody introduced `phon`: did you mean `phone`?"),
        ("1.0 crowd-4 reset", 5, "nobody introduced `crowd-4`: did you mean `crowd`?"),
        ("phon.lag phone reset", 1, "nobody introduced `phon`: did you mean `phone`?"),
        ("studio.lag phone reset", 1, "`studio` publishes: there is no `lag` of it"),
        (
            "studio.keyfram phone reset",
            1,
            "expected a moment, not `keyfram`: did you mean `keyframe`?",
        ),
        ("studio.tag#0 phone reset", 1, "expected a count from 1 after `#`, not `0`"),
        ("studio.tag+x phone reset", 1, "expected seconds after `+`, not `x`"),
        ("1.0 x*0 play live/a rtmp", 5, "expected a count from 1 to 10000, not `0`"),
        ("1.0 x*10001 play live/a rtmp", 5, "expected a count from 1 to 10000, not `10001`"),
        ("1.0 crowd*3 reset", 5, "a whole group is meant by its name: `crowd`"),
        ("1.0 phone*2 play live/a rtmp", 5, "`phone` was introduced as 1 of its kind"),
        ("1.0 phone publish live/a c", 5, "`phone` already plays"),
        ("1.0 crowd-3 play live/a rtmp", 5, "`crowd-3` is in a group"),
        ("1.0 x play live/a rtmp at phone", 7, "`phone` is no node: it plays"),
        ("1.0 phone crash", 11, "this can only happen to a node or a target, and `phone` plays"),
        ("1.0 x*2 target live/a", 5, "each target is a server of its own"),
        ("1.0 x target live", 14, "expected streams, as live/a or live/*, not `live`"),
        (
            "1.0 x target live/a quirk silence",
            27,
            "expected a quirk of a target, not `silence`: did you mean `silent`?",
        ),
        (
            "1.0 x target live/a quirk refuses bad-nam",
            35,
            "expected how it refuses, not `bad-nam`: did you mean `bad-name`?",
        ),
        (
            "1.0 x target live/a quirk refuses auth times 0",
            46,
            "expected a number from 1 to 4294967295, not `0`",
        ),
        ("1.0 x target live/a quirk takes av1", 33, "expected a FourCC, as av01, not `av1`"),
        ("1.0 node reset", 10, "this can only happen to a peer, and `node` is a node"),
        ("1.0 x play live rtmp", 12, "expected a stream, as live/a, not `live`"),
        ("1.0 x play live/a rmtp", 19, "expected a player, not `rmtp`: did you mean `rtmp`?"),
        (
            "1.0 x play live/a rtmp agian 1",
            24,
            "expected the end of the line, not `agian`: did you mean `again`?",
        ),
        ("1.0 x play live/a rtmp again 1 again 2", 32, "said for the second time"),
        (
            "1.0 x publish live/a c 4.2..0",
            24,
            "expected a part that begins before it ends, as 0.000..4.200, not `4.2..0`",
        ),
        (
            "1.0 x publish live/a c quirk chunk-sise 1",
            30,
            "expected a quirk, not `chunk-sise`: did you mean `chunk-size`?",
        ),
        (
            "1.0 x publish live/a c quirk chunk-size 0",
            41,
            "expected a number from 1 to 2147483647, not `0`",
        ),
        ("1.0 x publish live/a c quirk huge 9 MiB every 2", 37, "expected `B`, not `MiB`"),
        ("1.0 phone link 3 Mbit 40 ms", 18, "expected a unit, not `Mbit`: did you mean `Mbit/s`?"),
        (
            "1.0 phone link 3 Mbit/s jiter 10 ms",
            25,
            "expected the end of the line, not `jiter`: did you mean `jitter`?",
        ),
        ("1.0 phone link 3 Mbit/s 4 Mbit/s", 25, "`4` says again what was said"),
        (
            "1.0 phone link 1 kbit/s to 2 3 kbit/s",
            38,
            "expected `to` and when the trace starts over, not the end of the line",
        ),
        (
            "1.0 phone link queue 0.3 B",
            22,
            "expected a length from 0 B to 1048576 MiB, not `0.3 B`",
        ),
        (
            "1.0 phone link loss 1.5 of 1 ms every 2 ms",
            21,
            "expected a share from 0 to 1, as 0.02, not `1.5`",
        ),
        (
            "1.0 phone link lan up window 1 B",
            23,
            "a window is of both directions: expected it before `up`",
        ),
        ("1.0 phone cut for", 18, "expected seconds, as 0.310, not the end of the line"),
        ("99999999 phone reset", 1, "expected seconds, as 0.310, not `99999999`"),
        ("1.0 quiet now", 11, "expected the end of the line, not `now`"),
        ("9.1 quiet", 0, "the run ends before it is quiet"),
        ("seed 1\nseed 2", 0, "said for the second time"),
        (
            "sed 1",
            1,
            "expected a time, or a moment as studio.keyframe#3, not `sed`: did you mean `seed`?",
        ),
        ("set a.b", 5, "expected a setting, as section.key=value, not `a.b`"),
        ("tick 0 ms", 6, "expected a tick from 0.001 ms to 1 s, not `0 ms`"),
        ("0 end", 1, "a run must last"),
        ("8 end", 0, "expected nothing after the end, not `9`"),
    ];
    for (line, column, reason) in cases {
        let error = with(line).expect_err(line);
        assert_eq!(error.reason, reason, "{line}");
        // The place is on the next line where the column is 0.
        let place = if column == 0 { (6, 1) } else { (5, column) };
        assert_eq!((error.line, error.column), place, "{line}: {reason}");
    }
}

#[test]
fn a_text_that_is_no_plan_is_told_from_its_first_word() {
    let reason = |text: &str| text.parse::<Plan>().expect_err(text).to_string();
    assert_eq!(reason(""), "line 1, column 1: expected `plan 1`, not the end of the text");
    assert_eq!(
        reason("plan 0"),
        "line 1, column 6: plan format 0 is not known; this simulator reads 1"
    );
    assert_eq!(reason("{\"a\""), "line 1, column 1: expected `plan`, not `{\"a\"`");
    assert_eq!(
        reason("plan 1\nseed 1\n"),
        "line 3, column 1: expected when the run is over, as `4.200 end`"
    );
}

#[test]
fn a_plan_that_no_text_can_say_is_not_valid() {
    let good = parse(EXAMPLE);
    let broken = |change: fn(&mut Plan)| {
        let mut plan = good.clone();
        change(&mut plan);
        plan.check().expect_err("a broken plan")
    };
    let nanos = broken(|plan| plan.tick = Duration::from_nanos(5_000_001));
    assert_eq!(nanos, "its text would be another plan's");
    let lost = broken(|plan| plan.lines.retain(|line| line.who.name != "studio"));
    assert!(lost.contains("nobody introduced `studio`"), "{lost}");
    assert!(lost.ends_with("in `studio.keyframe#3+0.005 phone    leave vanish`"), "{lost}");
    broken(|plan| plan.quiet = Some(SimTime::MAX));
    broken(|plan| plan.settings.push("a.b=1 2".to_owned()));
    broken(|plan| plan.title = "a\rb\r\n".to_owned() + "\u{85}\n\rx").clear();
}

#[test]
fn a_member_of_a_group_is_no_node() {
    let plan =
        parse("plan 1\n0.0 crowd*20 play live/a rtmp\n1.0 crowd-3 stop-reading for 1.0\n2.0 end\n");
    assert_eq!(plan.nodes(), ["node"]);
    assert_eq!(parse(EXAMPLE).nodes(), ["node"]);
}

#[test]
fn a_fault_knows_its_family() {
    let family = |line: &str| {
        let plan = with(line).expect(line);
        plan.family(&plan.lines[3])
    };
    assert_eq!(family("1 x play live/a rtmp"), None);
    assert_eq!(family("1 studio leave vanish"), Some("P22"));
    assert_eq!(family("1 crowd-2 leave vanish"), Some("V10"));
    assert_eq!(family("1 phone leave half-close"), Some("N15"));
    assert_eq!(family("1 phone link 0 bit/s"), Some("N4"));
    assert_eq!(family("1 phone link cellular"), Some("N5"));
    assert_eq!(family("1 phone link 4 Mbit/s to 1 400 kbit/s to 1.5"), Some("N9"));
    assert_eq!(family("1 phone link 4 Mbit/s to 1 0 bit/s to 1.5"), Some("N5"));
    assert_eq!(family("1 phone link 2 ms"), Some("N1"));
    assert_eq!(family("1 phone link segment 1 up burst 1 ms"), Some("N17"));
    assert_eq!(family("1 phone cut for 1"), Some("N10"));
    assert_eq!(family("1 node cut for 1"), Some("N11"));
    assert_eq!(family("1 phone cut down for 1"), Some("N12"));
    assert_eq!(family("1 node cut up for 1"), Some("N12"));
    assert_eq!(family("1 x speak tls"), Some("P26"));
}

proptest! {
    #[test]
    fn every_plan_is_read_as_it_was_written(plan in any::plan()) {
        let text = plan.to_string();
        let read = text.parse::<Plan>();
        prop_assert!(read.is_ok(), "{:?}\n{}", read, text);
        prop_assert_eq!(read.as_ref(), Ok(&plan), "{}", text);
        prop_assert_eq!(read.map(|plan| plan.to_string()), Ok(text));
        prop_assert_eq!(plan.check(), Ok(()));
    }

    #[test]
    fn any_text_is_answered(text in "(plan 1\n)?(\\PC|[\\s#.*+])*") {
        let _ = text.parse::<Plan>();
    }

    #[test]
    fn a_mutated_plan_is_answered_with_a_place_in_it(
        plan in any::plan(),
        at in any::<prop::sample::Index>(),
        len in 0..8_usize,
        with in prop_oneof![
            "\\PC{0,3}",
            select(vec!["link", "for", "0", "9999999999999999999999", ".", "..", "#", "*", "+",
                "-1", "quirk", "Mbit/s", "\n", " ", "1e9", "NaN", "up", "to", "é"])
                .prop_map(str::to_owned),
        ],
    ) {
        let mut text: Vec<char> = plan.to_string().chars().collect();
        let from = at.index(text.len());
        let to = (from + len).min(text.len());
        text.splice(from..to, with.chars());
        let text: String = text.into_iter().collect();
        match text.parse::<Plan>() {
            Ok(plan) => prop_assert_eq!(plan.check(), Ok(()), "{}", text),
            Err(error) => {
                let line = text.split('\n').nth(error.line - 1);
                prop_assert!(line.is_some_and(|line| error.column <= line.chars().count() + 1));
            }
        }
    }
}
