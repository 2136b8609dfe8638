//! First of all: a seed is a trace, in every process and on any number of threads.

use std::collections::BTreeMap;
use std::process::Command;

use forebay_sim::campaign::Campaign;
use forebay_sim::scenario;

#[test]
fn a_seed_gives_the_same_lines_in_two_processes() {
    for scenario in ["everything", "crash_loop", "bad_neighbours"] {
        let twice = Command::new(env!("CARGO_BIN_EXE_forebay-sim"))
            .args(["twice", scenario, "--seeds", "4"])
            .output()
            .expect("the command runs");
        let said = String::from_utf8_lossy(&twice.stdout);
        assert!(twice.status.success(), "{said}");
        assert!(said.contains("4 seeds") && said.trim().ends_with("equal"), "{said}");
    }
}

#[test]
fn a_campaign_comes_to_the_same_on_one_thread_and_on_two() {
    let digests = |threads| {
        let mut digests = BTreeMap::new();
        let scenarios = vec![scenario::find("everything").expect("there is everything")];
        let campaign =
            Campaign { scenarios, seeds_max: 12, threads, keeps_going: true, ..Campaign::new() };
        let told = &mut |played: &forebay_sim::campaign::Played, _: &_| {
            digests.insert(played.seed, (played.digest, played.events));
        };
        campaign.run(told).expect("every world can be played");
        digests
    };
    let (one, two) = (digests(1), digests(2));
    assert_eq!(one.len(), 12);
    assert_eq!(one, two);
}

#[test]
fn another_seed_gives_another_trace() {
    let calm = scenario::find("calm").expect("there is calm");
    let digest = |seed| calm.play(seed).expect("it can be played").run.trace.digest();
    assert_ne!(digest(1), digest(2));
    assert_eq!(digest(1), digest(1));
}
