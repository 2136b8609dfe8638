//! What is left of a failing plan: what it takes to fail, and nothing else.

use std::fmt::Write as _;
use std::mem::{Discriminant, discriminant};

use forebay_sim::link::{Capacity, Link};
use forebay_sim::plan::{Act, Leave, Line, MomentKind, Plan, When};
use forebay_sim::shrink::{Shrunk, shrink};
use forebay_sim::time::SimTime;
use proptest::prelude::*;

use crate::any;

/// Three nodes, 14 peers, and faults all over a minute.
fn large() -> Plan {
    let mut text = "plan 1\n# large\nseed 1\nset play.backlog_ms_max=2000\nset hub.tags=9\n\
        0 studio publish live/a obs-1080p30-cbr6000 0..60 repeats quirk all-zero quirk storm 3 link fiber\n\
        0 other publish live/b enh-av1-opus again 1 at b\n\
        0.313 phone play live/a flv start gop link cellular\n\
        0.517 crowd*20 play live/a flv apart 0.005 stay 50 again 0.5 at b\n"
        .to_owned();
    for index in 0..10 {
        let node = ["node", "b", "c"][index % 3];
        let _ =
            writeln!(text, "{index}.77{index} viewer-{index}x play live/a rtmp again 1 at {node}");
    }
    let acts = [
        "stop-reading for 3.1",
        "link 3 Mbit/s 40 ms jitter 10 ms queue 64 KiB up 1 Mbit/s for 9",
        "cut for 2.2",
        "reset",
        "receive pause",
        "cancel",
    ];
    for index in 0..36_usize {
        let (peer, act) = (index * 7 % 10, acts[index * 5 % 6]);
        let _ = writeln!(text, "{}.{:03} viewer-{peer}x {act}", 5 + index, index * 37);
        if index % 6 == 0 {
            let _ =
                writeln!(text, "{}.5 {} freeze for 1", 5 + index, ["node", "b", "c"][index % 3]);
        }
    }
    text.push_str(
        "17.219 phone link 300 kbit/s 80 ms jitter 10 ms queue 64 KiB loss 0.1 of 200 ms every 2 s up 1 Mbit/s for 7.7\n\
         studio.keyframe#9+0.005 phone leave vanish\n\
         17.903 phone receive audio-off\n\
         50 quiet\n60 end\n",
    );
    text.parse().unwrap_or_else(|error| panic!("{error}"))
}

/// Shrinks, and checks what is true of every shrinking.
fn shrunk(plan: &Plan, runs_max: u32, fails: &dyn Fn(&Plan) -> bool) -> Shrunk {
    assert!(fails(plan), "{plan}");
    let (mut runs, mut last) = (0, plan.clone());
    let shrunk = shrink(
        plan,
        runs_max,
        &mut |plan| {
            runs += 1;
            assert_eq!(plan.check(), Ok(()), "{plan}");
            fails(plan)
        },
        &mut |plan, _| last = plan.clone(),
    );
    assert_eq!(shrunk.plan, last, "the last one that was told of");
    assert_eq!(shrunk.runs, runs);
    assert!(runs <= runs_max);
    assert!(fails(&shrunk.plan), "{}", shrunk.plan);
    assert!(shrunk.plan.line_count() <= plan.line_count());
    assert!(shrunk.plan.hosts() <= plan.hosts());
    assert!(shrunk.plan.end <= plan.end);
    shrunk
}

fn any_line(plan: &Plan, is: impl Fn(&Line) -> bool) -> bool {
    plan.lines.iter().any(is)
}

fn group_of_three(plan: &Plan) -> bool {
    any_line(plan, |line| matches!(line.act, Act::Play(_)) && line.who.count >= 3)
}

fn slow(link: &Link) -> bool {
    matches!(link.down.capacity, Capacity::Constant(bits) if bits < 1_000_000)
}

fn at(line: &Line) -> Option<SimTime> {
    if let When::At(time) = line.when { Some(time) } else { None }
}

#[test]
fn a_leave_at_a_keyframe_after_a_slow_link_among_a_crowd_is_what_stays() {
    let fails = |plan: &Plan| {
        let leaves = any_line(plan, |line| {
            line.act == Act::Leave(Leave::Vanish)
                && line.who.name == "phone"
                && matches!(&line.when, When::On { moment, .. }
                    if moment.event == MomentKind::Keyframe)
        });
        let slow = any_line(plan, |line| matches!(&line.act, Act::Link(link, _) if slow(link)));
        leaves && slow && group_of_three(plan)
    };
    let plan = large();
    let shrunk = shrunk(&plan, 300, &fails);
    let expected = "\
plan 1
# large
seed     1
tick     5 ms
0.000    studio   publish live/a obs-360p30-base
0.000    phone*3  play live/a rtmp
0.000    phone    link 300 kbit/s 80 ms for 0.010
studio.keyframe phone    leave vanish
0.010    end
";
    assert_eq!(shrunk.plan.to_string(), expected);
    assert!(shrunk.runs <= 120, "{}", shrunk.runs);
}

#[test]
fn two_times_that_must_stay_close_move_to_the_start_together() {
    let fails = |plan: &Plan| {
        let slowed =
            plan.lines.iter().find(|line| matches!(&line.act, Act::Link(link, _) if slow(link)));
        let muted = plan
            .lines
            .iter()
            .find(|line| matches!(line.act, Act::Receive(_)) && line.who.name == "phone");
        let (Some(slowed), Some(muted)) = (slowed.and_then(at), muted.and_then(at)) else {
            return false;
        };
        let gap = muted.since(slowed).as_millis();
        (300..1_000).contains(&gap) && plan.end > muted && group_of_three(plan)
    };
    let plan = large();
    let shrunk = shrunk(&plan, 300, &fails);
    let expected = "\
plan 1
# large
seed     1
tick     5 ms
0.000    phone*3  play live/a rtmp
0.000    phone    link 300 kbit/s 80 ms for 0.010
0.300    phone    receive audio-off
0.310    end
";
    assert_eq!(shrunk.plan.to_string(), expected);
    assert!(shrunk.runs <= 120, "{}", shrunk.runs);
}

#[test]
fn a_moment_becomes_a_time_where_a_time_does() {
    let leaves = |line: &Line| line.act == Act::Leave(Leave::Vanish);
    let plan = large();
    let shrunk = shrunk(&plan, 300, &|plan| any_line(plan, leaves));
    let expected = "\
plan 1
# large
seed     1
tick     5 ms
0.000    phone    play live/a rtmp
0.000    phone    leave vanish
0.010    end
";
    assert_eq!(shrunk.plan.to_string(), expected);
}

#[test]
fn two_publishers_become_one_who_comes_twice() {
    let comes = |line: &&Line| matches!(line.act, Act::Publish(_));
    let plan = large();
    let shrunk = shrunk(&plan, 300, &|plan| plan.lines.iter().filter(comes).count() == 2);
    let expected = "\
plan 1
# large
seed     1
tick     5 ms
0.000    studio   publish live/a obs-360p30-base
0.000    studio   publish live/b obs-360p30-base
0.010    end
";
    assert_eq!(shrunk.plan.to_string(), expected);
}

#[test]
fn a_plan_that_always_fails_becomes_nothing() {
    let shrunk = shrunk(&large(), 300, &|_| true);
    assert_eq!(
        shrunk.plan.to_string(),
        "plan 1\n# large\nseed     1\ntick     5 ms\n0.010    end\n"
    );
}

#[test]
fn a_plan_that_fails_only_as_it_is_stays_and_costs_no_more_than_allowed() {
    let plan = large();
    let shrunk = shrunk(&plan, 40, &|candidate| *candidate == plan);
    assert_eq!((shrunk.plan == plan, shrunk.runs), (true, 40));
}

/// Fails if the plan has some lines of the same kinds: whatever a seed picks from it.
fn has_kinds(plan: &Plan, kinds: &[Discriminant<Act>]) -> bool {
    kinds.iter().all(|kind| any_line(plan, |line| discriminant(&line.act) == *kind))
}

#[test]
fn a_cause_of_four_lines_is_found_in_300_runs() {
    let plan = large();
    let mut seed = 1_u64;
    let mut pick = || {
        seed = seed.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        &plan.lines[(seed >> 33) as usize % plan.lines.len()]
    };
    let mut runs = Vec::new();
    for _ in 0..50 {
        let picked = [pick(), pick(), pick(), pick()];
        // Late in its second, too: most times and most gaps cannot be made any rounder.
        let late = |line: &Line| at(line).map_or(0, |time| time.millis() % 1_000);
        let stays = |line: &Line, pick: &Line, plan: &Plan| {
            line.who.name == pick.who.name
                && discriminant(&line.act) == discriminant(&pick.act)
                && late(line) >= late(pick)
                && at(line).is_none_or(|time| time < plan.end)
        };
        let fails =
            |plan: &Plan| picked.iter().all(|pick| any_line(plan, |line| stays(line, pick, plan)));
        let shrunk = shrunk(&plan, 300, &fails);
        assert!(shrunk.plan.line_count() <= 2 * picked.len(), "{}", shrunk.plan);
        runs.push(shrunk.runs);
    }
    runs.sort_unstable();
    assert!(runs[25] <= 200 && runs[45] < 300, "{runs:?}");
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(64))]

    #[test]
    fn what_is_left_fails_for_the_same_cause_and_is_never_larger(
        plan in any::plan(),
        picks in proptest::collection::vec(any::<prop::sample::Index>(), 0..4),
    ) {
        let kind = |index: prop::sample::Index| {
            discriminant(&plan.lines[index.index(plan.lines.len())].act)
        };
        let kinds: Vec<_> = picks.into_iter().map(kind).collect();
        let first = shrunk(&plan, 300, &|plan| has_kinds(plan, &kinds));
        let again = shrunk(&plan, 300, &|plan| has_kinds(plan, &kinds));
        prop_assert_eq!(&first, &again, "deterministic");
        prop_assert!(first.plan.line_count() <= 2 * kinds.len(), "{}", first.plan);
    }
}
