//! Simulated and real agree (D6): one plan on modelled links and on loopback sockets, and what
//! everybody got is the same.
#![allow(clippy::expect_used, reason = "a test that cannot go on has failed")]

use forebay_sim::link::Link;
use forebay_sim::plan::{Act, Plan};
use forebay_sim::real::{self, Agreement};
use forebay_sim::run::{self, Run};
use forebay_sim::scenario;
use forebay_sim::tag::{Role, TagSeen};
use forebay_sim::time::SimTime;
use forebay_sim::trace::What;

fn smoke() -> Run {
    let smoke = scenario::find("smoke").expect("a scenario of this name");
    smoke.play(1).expect("smoke can be played").run
}

fn wrong(agreement: &Agreement) -> Vec<String> {
    let rows = agreement.streams.iter().chain(&agreement.viewers).filter(|row| !row.agrees);
    let rows = rows.map(|row| format!("{}: {}", row.name, row.words));
    rows.chain(agreement.violations.iter().map(|v| format!("{}: {}", v.invariant, v.saw))).collect()
}

#[test]
fn smoke_on_sockets_has_the_contents_of_the_simulation() {
    let (plan, left_out) = real::possible(&smoke().plan, None).expect("smoke needs no faults");
    assert_eq!(left_out, [], "smoke is on good links");
    let simulated = run::run(&plan).expect("it can be simulated");
    let real = real::run(&plan).expect("it can be carried out");
    let agreement = real::compare(&simulated, &real);
    assert!(agreement.is_fine(), "{}", wrong(&agreement).join("\n"));
    let viewers = agreement.viewers.iter();
    let lens: Vec<_> = viewers.map(|row| (row.name.as_str(), row.real > 0)).collect();
    assert_eq!(lens, [("flv", true), ("other", true), ("rtmp", true)]);
}

/// Compares a run with another of the same plan to which something was done.
fn compared(change: impl FnOnce(&mut Run)) -> Vec<String> {
    let simulated = smoke();
    let mut other = run::run(&simulated.plan).expect("smoke can be carried out");
    change(&mut other);
    wrong(&real::compare(&simulated, &other))
}

/// The what manyeth event that this finds.
fn event(run: &Run, nth: usize, find: impl Fn(&TagSeen, &What) -> bool) -> usize {
    let tag = |what: &What| match what {
        What::Got(tag) | What::Entered { tag, .. } | What::Sent(tag) => Some(*tag),
        _ => None,
    };
    let events = run.trace.events.iter().enumerate();
    let mut found =
        events.filter(|(_, event)| tag(&event.what).is_some_and(|t| find(&t, &event.what)));
    found.nth(nth).expect("smoke has such tags").0
}

#[test]
fn another_tag_in_the_hub_is_a_difference() {
    let wrong = compared(|run| {
        for event in &mut run.trace.events {
            let (What::Sent(tag) | What::Entered { tag, .. } | What::Got(tag)) = &mut event.what
            else {
                continue;
            };
            tag.digest ^= u64::from(tag.timestamp_ms == 1_000);
        }
    });
    assert!(wrong.iter().any(|wrong| wrong.contains("on sockets")), "{wrong:?}");
}

#[test]
fn a_picture_missing_at_a_viewer_is_a_difference() {
    let wrong = compared(|run| {
        let is_it =
            |tag: &TagSeen, what: &What| matches!(what, What::Got(_)) && tag.role == Role::Inter;
        let index = event(run, 40, is_it);
        run.trace.events.remove(index);
    });
    assert!(!wrong.is_empty());
}

#[test]
fn a_stream_that_never_entered_is_a_difference() {
    let wrong = compared(|run| {
        run.trace.events.retain(|event| {
            !matches!(event.what, What::Entered { .. } | What::Got(_) | What::Sent(_))
        });
    });
    assert!(wrong.iter().any(|wrong| wrong.contains("missing on sockets")), "{wrong:?}");
}

#[test]
fn a_run_that_is_cut_off_earlier_is_no_difference() {
    let wrong = compared(|run| {
        run.trace.events.retain(|event| event.at <= SimTime::from_millis(2_600));
    });
    assert!(wrong.is_empty(), "{wrong:?}");
}

#[test]
fn what_loopback_cannot_do_is_left_out_and_said() {
    let text = "plan 1\n0.000 studio publish live/a obs-360p30-base link dsl\n\
                0.500 phone play live/a rtmp\n1.000 phone cut for 0.500\n2.000 node crash\n\
                2.500 phone leave vanish\n9.000 end\n";
    let plan: Plan = text.parse().expect("a plan");
    let at_most = Some(std::time::Duration::from_secs(3));
    let (possible, left_out) = real::possible(&plan, at_most).expect("two peers are left");
    let what: Vec<_> = left_out.iter().map(|left_out| left_out.what.as_str()).collect();
    assert_eq!(what.len(), 3, "{what:?}");
    assert!(what.iter().any(|what| what.ends_with("link dsl")), "{what:?}");
    assert_eq!(possible.lines.len(), 3, "{possible}");
    assert_eq!(possible.end, SimTime::from_millis(3_000));
    let link = possible.lines.iter().find_map(|line| match &line.act {
        Act::Publish(publish) => Some(publish.link.clone()),
        _ => None,
    });
    assert_eq!(link, Some(Link::lan()));
}
