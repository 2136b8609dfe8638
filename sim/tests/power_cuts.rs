//! A node that records loses its power at every call of its disk, and recovery does so again.

use forebay_sim::plan::Plan;
use forebay_sim::report::{Outcome, run_and_judge};
use forebay_sim::trace::{DiskOutcome, Recordings, What};

/// Two files, the first of which ends.
const RECORDS: &str = "set archive.directory=\"a/records\"
set archive.file_ms_max=1000
set archive.sync_ms=400
0.000 studio publish live/a obs-360p30-base
";

fn run(lines: &str, end: &str) -> Outcome {
    let text = format!("plan 1\n# power: cut\nseed 7\ntick 5 ms\n{RECORDS}{lines}{end} end\n");
    let plan: Plan = text.parse().unwrap_or_else(|error| panic!("{error}: {text}"));
    let outcome = run_and_judge(&plan).unwrap_or_else(|error| panic!("{error}: {text}"));
    assert!(outcome.is_fine(), "{}{text}", outcome.failure("the plan below"));
    outcome
}

fn calls(outcome: &Outcome) -> usize {
    let is_call =
        |what: &What| matches!(what, What::Disk(seen) if seen.outcome == DiskOutcome::Begun);
    outcome.run.trace.events.iter().filter(|event| is_call(&event.what)).count()
}

fn looks(outcome: &Outcome) -> Vec<&Recordings> {
    let events = outcome.run.trace.events.iter();
    events
        .filter_map(|event| match &event.what {
            What::Recordings(recordings) => Some(&**recordings),
            _ => None,
        })
        .collect()
}

fn tags(recordings: &Recordings) -> usize {
    recordings.recovered.iter().map(|file| file.tags.len()).sum()
}

#[test]
fn power_lost_at_any_call_leaves_what_was_durable() {
    let all = calls(&run("", "5.000"));
    assert!(all > 60, "{all} calls");
    let mut kept = Vec::new();
    for call in 1..=all {
        let outcome = run(&format!("node.disk#{call} node crash silent\n"), "5.100");
        let looks = looks(&outcome);
        assert_eq!(looks.len(), 1, "call {call}");
        assert!(looks[0].has_lost_power, "call {call}");
        kept.push(tags(looks[0]));
    }
    assert!(kept[0] == 0 && kept[all - 1] > 250, "{kept:?}");
}

#[test]
fn power_lost_at_any_call_of_recovery_changes_nothing_of_what_it_yields() {
    let first = "node.disk#45 node crash silent for 0.100\n";
    let undisturbed = run(first, "6.000");
    let (before, all) = (45, calls(&undisturbed));
    let wanted = looks(&undisturbed)[0].recovered.clone();
    assert!(tags(looks(&undisturbed)[0]) > 50, "there is something to recover");
    // The studio is not told, and does not come back: all calls of the second life are recovery's.
    assert!((5..100).contains(&(all - before)), "{all}");
    for call in before + 1..=all {
        let outcome =
            run(&format!("{first}node.disk#{call} node crash silent for 0.100\n"), "6.000");
        let looks = looks(&outcome);
        assert_eq!(looks.len(), 3, "call {call}");
        for look in &looks[1..] {
            assert_eq!(look.recovered, wanted, "call {call}");
        }
        // In the third life the server has done it itself.
        assert_eq!(looks[2].found, wanted, "call {call}");
    }
}
