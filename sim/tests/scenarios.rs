//! Every scenario on fixed seeds, the seeds and the plans that are kept because they failed once.

use std::fs;
use std::path::{Path, PathBuf};

use forebay_sim::differential::{self, Removed};
use forebay_sim::plan::Plan;
use forebay_sim::report::{self, Outcome};
use forebay_sim::scenario::{self, Scenario};

fn testdata() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../testdata")
}

fn must_hold(outcome: &Outcome, replay: &str) {
    assert!(outcome.is_fine(), "{}", outcome.failure(replay));
}

fn play(scenario: &Scenario, seed: u64) {
    let outcome = scenario.play(seed);
    let outcome = outcome.unwrap_or_else(|error| panic!("{} {seed}: {error}", scenario.name));
    must_hold(&outcome, &format!("cargo sim {} --seed {seed}", scenario.name));
}

/// A test per scenario, so that they run side by side and a failure names its own.
macro_rules! scenarios {
    ($($name:ident: $seeds:expr,)*) => {
        $(
            #[test]
            fn $name() {
                let scenario = scenario::find(stringify!($name)).expect("it is in the list");
                $seeds.into_iter().for_each(|seed| play(scenario, seed));
            }
        )*

        #[test]
        fn every_scenario_is_played() {
            let played = [$(stringify!($name)),*, "long_day", "nic_saturation"];
            for scenario in scenario::ALL {
                assert!(played.contains(&scenario.name), "{} is played by no test", scenario.name);
            }
        }
    };
}

scenarios! {
    dispensable: 0..2,
    choosy_viewer: 0..3,
    jumping_clock: 0..3,
    last_words: 0..3,
    full_line: 0..2,
    cut_reads: 0..2,
    radio: 0..2,
    smoke: 0..3,
    calm: 0..3,
    hls: 0..3,
    hls_restart: 0..3,
    hls_silence: 0..3,
    reference: 0..3,
    relay_flaps: 0..3,
    slow_viewer: 0..2,
    deaf_viewer: 0..3,
    tunnel: 0..3,
    late_join: 0..2,
    crowd: [0],
    churn: 0..3,
    publisher_returns: 0..3,
    publisher_vanishes: 0..3,
    odd_encoder: 0..3,
    old_clock: 0..3,
    endless_gop: 0..3,
    bad_neighbours: 0..3,
    rolling_restart: 0..3,
    crash_loop: 0..3,
    frozen_node: 0..3,
    crashing_disk: 0..8,
    weather: 0..3,
    everything: 0..12,
}

/// A thousand viewers and a whole day are for `cargo ci`, which builds for speed.
#[test]
#[ignore = "takes minutes: `cargo ci sim` plays them"]
fn long_scenarios() {
    for name in ["long_day", "nic_saturation"] {
        play(scenario::find(name).expect("it is in the list"), 0);
    }
}

#[test]
fn kept_seeds() {
    let text = fs::read_to_string(testdata().join("seeds.txt")).expect("the kept seeds");
    let mut kept = 0;
    for line in text.lines().filter(|line| !line.is_empty() && !line.starts_with('#')) {
        let (what, reason) = line.split_once('#').unwrap_or((line, ""));
        assert!(!reason.trim().is_empty(), "{line}: a seed is kept for a reason");
        let words: Vec<_> = what.split_whitespace().collect();
        let [name, seed] = words[..] else { panic!("{line}: a scenario and a seed") };
        let scenario = scenario::find(name).unwrap_or_else(|why| panic!("{line}: {why}"));
        play(scenario, seed.parse().unwrap_or_else(|_| panic!("{line}: {seed} is no seed")));
        kept += 1;
    }
    assert!(kept > 0);
}

#[test]
fn kept_plans() {
    let mut files: Vec<_> = fs::read_dir(testdata().join("plans"))
        .expect("the kept plans")
        .map(|file| file.expect("a file").path())
        .filter(|path| path.extension().is_some_and(|extension| extension == "plan"))
        .collect();
    files.sort();
    assert!(!files.is_empty());
    for path in files {
        let name = path.display();
        let text = fs::read_to_string(&path).expect("a plan's text");
        let plan: Plan = text.parse().unwrap_or_else(|error| panic!("{name}: {error}"));
        assert!(plan.title.contains(": "), "{name}: it says which rule was broken, and why");
        let outcome = report::run_and_judge(&plan);
        let outcome = outcome.unwrap_or_else(|error| panic!("{name}: {error}"));
        must_hold(&outcome, &format!("cargo sim replay {name}"));
        // A rule about two runs needs both.
        let is_broken = |removed: &Removed| plan.title.starts_with(removed.difference().name);
        let differences = differential::judge_twins(&outcome, is_broken);
        let differences = differences.unwrap_or_else(|error| panic!("{name}: {error}"));
        assert!(differences.is_empty(), "{name}: {differences:?}");
    }
}
