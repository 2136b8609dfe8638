//! Rules about two runs: a pair that each rejects, and a near miss that it accepts.

use std::collections::BTreeSet;

use forebay_sim::differential::{ALL, Removed, compare, twins};
use forebay_sim::plan::{Act, Plan, Speech, Start};
use forebay_sim::tag::{Kind, Role};
use forebay_sim::trace::{Close, What};

use crate::story::{Story, tag};

/// A run, and the run without something.
type Pair = (Story, Story);

struct Case {
    removed: fn() -> Removed,
    bad: fn() -> Pair,
    near: fn() -> Pair,
}

const fn case(removed: fn() -> Removed, bad: fn() -> Pair, near: fn() -> Pair) -> Case {
    Case { removed, bad, near }
}

const CASES: &[Case] = &[
    case(|| Removed::Segmentation, changed_tag, cut_off_at_the_end),
    case(|| Removed::Segmentation, lost_tag, cut_off_at_the_end),
    case(|| Removed::Interleaving, lost_tag, swapped_kinds),
    case(|| Removed::Viewers, || entered_later(100), || entered_later(5)),
    case(|| Removed::Viewers, changed_tag, cut_off_at_the_end),
    case(|| Removed::Viewers, published_in_two, session_of_another_number),
    case(|| Removed::BadPeer("thief".to_owned()), lost_picture, || got_later(100)),
    case(|| Removed::BadPeer("thief".to_owned()), panicked, thief_alone_suffers),
    case(slow, || got_later(100), || got_later(5)),
    case(slow, lost_picture, slow_alone_suffers),
    case(targets, || got_later(100), || got_later(5)),
    case(targets, || entered_later(100), || entered_later(5)),
    case(|| Removed::DiskFaults, || got_later(100), || got_later(5)),
    case(|| Removed::DiskFaults, || joined_live(4_800, 1), || joined_live(4_800, 0)),
    case(|| Removed::DiskFaults, || joined_live(4_000, 1), || joined_live(4_000, 0)),
];

fn targets() -> Removed {
    Removed::Targets(vec!["tube".to_owned()])
}

fn slow() -> Removed {
    Removed::SlowViewers(vec!["slow".to_owned()])
}

fn saw(removed: &Removed, (with, without): &Pair) -> Option<String> {
    with.told(|with| {
        without.told(|without| {
            let found = compare(with, without, removed)?;
            assert_eq!(found.invariant, removed.difference().name);
            Some(found.saw)
        })
    })
}

#[test]
fn every_rule_about_two_runs_has_a_bad_pair_and_a_near_miss() {
    let tested: BTreeSet<_> = CASES.iter().map(|case| (case.removed)().difference().id).collect();
    let known: BTreeSet<_> = ALL.iter().map(|rule| rule.id).collect();
    assert_eq!(tested, known);
}

#[test]
fn bad_pairs_are_rejected_and_near_misses_accepted() {
    let mut wrong = Vec::new();
    for (index, case) in CASES.iter().enumerate() {
        let removed = (case.removed)();
        let id = removed.difference().id;
        if saw(&removed, &(case.bad)()).is_none() {
            wrong.push(format!("case {index}: {id} accepted its bad pair"));
        }
        if let Some(saw) = saw(&removed, &(case.near)()) {
            wrong.push(format!("case {index}: {id} rejected its near miss: {saw}"));
        }
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}

/// Two runs that are the same, with a viewer.
fn same() -> Pair {
    let story = || {
        let mut story = Story::new(6);
        story.watch("sofa", 3_000);
        story
    };
    (story(), story())
}

fn changed_tag() -> Pair {
    let (mut with, without) = same();
    let place = with.place(2_000, Kind::Video);
    with.tags[place].entered.as_mut().expect("it entered").digest += 1;
    (with, without)
}

fn lost_tag() -> Pair {
    let (mut with, without) = same();
    let place = with.place(2_050, Kind::Audio);
    with.tags.remove(place);
    (with, without)
}

fn cut_off_at_the_end() -> Pair {
    let (mut with, without) = same();
    with.tags.truncate(with.tags.len() - 4);
    (with, without)
}

/// What was one publish is two.
fn published_in_two() -> Pair {
    let (mut with, without) = same();
    let place = with.place(2_000, Kind::Video);
    with.tags.iter_mut().skip(place).for_each(|tag| tag.session = 2);
    (with, without)
}

/// A node that forgets a stream counts anew.
fn session_of_another_number() -> Pair {
    let (mut with, without) = same();
    with.tags.iter_mut().for_each(|tag| tag.session = 2);
    (with, without)
}

fn swapped_kinds() -> Pair {
    let (mut with, without) = same();
    let place = with.place(2_050, Kind::Audio);
    with.tags.swap(place, place + 1);
    let (at, then) = (with.tags[place].entered_ms, with.tags[place + 1].entered_ms);
    (with.tags[place].entered_ms, with.tags[place + 1].entered_ms) = (then, at);
    (with, without)
}

fn entered_later(ms: u64) -> Pair {
    let (mut with, without) = same();
    let place = with.place(2_000, Kind::Video);
    with.tags[place].entered_ms += ms;
    if ms > 50 {
        with.tags[place + 1].entered_ms += ms;
    }
    (with, without)
}

fn got_later(ms: u64) -> Pair {
    let (mut with, without) = same();
    with.viewer().got.iter_mut().for_each(|got| got.0 += ms);
    (with, without)
}

/// A viewer joins live while two tags enter, a picture first, so far apart; only without it they are
/// for it. If the picture is a keyframe, so are the pictures up to the next.
fn joined_live(picture_ms: u32, apart_ms: u64) -> Pair {
    let dialed_ms = u64::from(picture_ms) + 200;
    let story = |is_late: bool| {
        let mut story = Story::new(8);
        let first = story.place(picture_ms, Kind::Video);
        let entered_ms = dialed_ms + 10;
        for (tag, at) in
            story.tags[first..first + 2].iter_mut().zip([entered_ms, entered_ms + apart_ms])
        {
            tag.entered_ms = at;
        }
        let is_keyframe = story.entered(first).role == Role::Keyframe;
        let viewer = story.watch_from("sofa", dialed_ms, first);
        viewer.start = Some(Start::Live);
        if is_late {
            let headers = viewer.got.iter().take_while(|got| !got.1.role.is_picture()).count();
            viewer.got.drain(headers..headers + 2);
            // Headers that are said again have the time of the tag before.
            viewer.got[..headers].iter_mut().for_each(|got| got.1.timestamp_ms += 20);
            let next = viewer.got.iter().position(|got| got.1.role == Role::Keyframe);
            let mut index = 0;
            viewer.got.retain(|got| {
                index += 1;
                let waits = is_keyframe && next.is_some_and(|next| index <= next);
                !(waits && got.1.role.is_picture())
            });
        }
        story
    };
    (story(true), story(false))
}

fn lost_picture() -> Pair {
    let (mut with, without) = same();
    let index = with.viewer().index(4_000, Kind::Video);
    with.viewer().got.remove(index);
    (with, without)
}

fn panicked() -> Pair {
    let (mut with, without) = same();
    with.push(1_000, "a", What::Panicked { why: "ring.rs:1: empty".into(), injected: false });
    (with, without)
}

fn thief_alone_suffers() -> Pair {
    let (mut with, without) = same();
    with.bad_neighbour("thief", 500);
    let (code, words) = ("NetStream.Play.Failed".into(), "no".into());
    with.push(600, "thief", What::ToldError { code, words });
    with.push(700, "thief", What::Closed(Close::Reset));
    (with, without)
}

fn slow_alone_suffers() -> Pair {
    let (mut with, without) = same();
    let slow = with.watch("slow", 3_000);
    slow.got.truncate(10);
    let (kind, role) = (slow.got[9].1.kind, slow.got[9].1.role);
    slow.got[9].1 = tag(kind, role, 3_500, 1, 7);
    (with, without)
}

fn plan(lines: &str) -> Plan {
    let text = format!(
        "plan 1\nseed 5\n{lines}0.000 studio publish live/a obs-360p30-base\n\
         0.500 sofa*2 play live/a rtmp\n9.000 end\n"
    );
    text.parse().unwrap_or_else(|error| panic!("{error}\n{text}"))
}

/// Numbers of the rules by which a plan is compared.
fn rules(lines: &str) -> Vec<&'static str> {
    twins(&plan(lines)).iter().map(|(removed, _)| removed.difference().id).collect()
}

#[test]
fn a_calm_plan_has_twins_cut_otherwise_and_without_viewers() {
    assert_eq!(rules(""), ["I2", "I5"]);
}

#[test]
fn a_plan_has_a_twin_without_each_bad_neighbour_and_one_without_slow_viewers() {
    let lines = "0.100 thief speak garbage\n0.200 fool speak silence\n\
                 0.300 slow play live/a rtmp link 500 kbit/s\n1.000 sofa-1 stop-reading for 2.000\n\
                 0.400 desk play live/a rtmp\n";
    assert_eq!(rules(lines), ["I2", "I5", "I6", "I6", "H13"]);
    let twins = twins(&plan(lines));
    let without: Vec<_> = twins
        .iter()
        .map(|(_, twin)| twin.lines.iter().map(|line| line.who.name.as_str()).collect::<Vec<_>>())
        .collect();
    assert_eq!(without[1], ["thief", "fool", "studio"]);
    assert_eq!(without[4], ["thief", "fool", "desk", "studio"]);
    let speaks = |twin: &Plan| {
        let speeches = twin.lines.iter().filter_map(|line| match line.act {
            Act::Speak { speech, .. } => Some(speech),
            _ => None,
        });
        speeches.collect::<Vec<_>>()
    };
    assert_eq!(speaks(&twins[2].1), [Speech::Silence]);
}

#[test]
fn what_is_shared_has_no_twins() {
    for lines in [
        "set hub.subscribers_max=3\n",
        "set listen.connections_max=3\n",
        "1.000 node crash for 1.000\n",
        "1.000 node egress 1 Mbit/s\n",
        "0.100 thief speak intruder\n",
        "1.000 rival publish live/a obs-360p30-base\n",
        "1.000 sofa cancel\n",
    ] {
        assert_eq!(rules(lines), [""; 0], "{lines}");
    }
}

#[test]
fn a_disk_that_fails_is_its_archives_alone() {
    assert_eq!(rules("1.000 node disk full for 1.000\n"), ["I2", "I5", "A6"]);
}

#[test]
fn whoever_is_waited_for_is_not_removed() {
    let lines = "0.100 thief speak garbage\nthief.closed#1 sofa leave close\n";
    assert_eq!(rules(lines), ["I2", "I5"]);
    assert_eq!(rules("sofa.picture#1 studio stall for 1.000\n"), [""; 0]);
}

#[test]
fn a_publisher_to_whom_something_is_done_is_not_cut_otherwise() {
    assert_eq!(rules("2.000 studio cut for 1.000\n"), ["I5"]);
    assert_eq!(rules("2.000 studio link segment 7 for 1.000\n"), ["I2", "I5"]);
}

#[test]
fn megabytes_in_tiny_pieces_are_refused_and_so_not_compared_with_others() {
    let of_huge = |link| {
        let publish = "0.100 barn publish live/b obs-360p30-base quirk huge 2359869 B every 2";
        rules(&format!("{publish}{link}\n"))
    };
    assert_eq!(of_huge(""), ["I2", "I5"]);
    assert_eq!(of_huge(" link up segment 5"), ["I5"]);
}
