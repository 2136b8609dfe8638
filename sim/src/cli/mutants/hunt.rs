//! The hunt for a mutant: worlds are played with it until one violates what it should, and that
//! world is made small.

use std::path::Path;
use std::time::Duration;

use anyhow::Context as _;
use forebay_sim::mutant::Mutant;
use forebay_sim::plan::Plan;
use forebay_sim::report;
use forebay_sim::scenario::{self, Scenario};
use forebay_sim::shrink::shrink;

use super::child::{self, Judge, Lines};

/// The world that a mutant died in.
pub(super) struct Kill {
    /// By what.
    pub(super) invariant: &'static str,
    /// Which world it was.
    pub(super) scenario: &'static str,
    pub(super) seed: u64,
    /// What was played until then, in CPU time.
    pub(super) cpu: Duration,
}

/// What is left of that world.
pub(super) struct Small {
    pub(super) plan: Plan,
    pub(super) runs: u32,
    pub(super) cpu: Duration,
}

/// Plays worlds: first those that the mutant names, each for its part of the time, then all.
pub(super) fn hunt(
    mutant: &Mutant,
    binary: &Path,
    cpu_max: Duration,
) -> anyhow::Result<Option<Kill>> {
    let mut phases: Vec<_> = mutant.scenarios.iter().map(|scenario| Some(*scenario)).collect();
    phases.push(None);
    let mut cpu = Duration::ZERO;
    while !phases.is_empty() {
        let part = cpu_max.saturating_sub(cpu) / phases.len() as u32;
        let kill = sweep(mutant, binary, phases.remove(0), part, &mut cpu)?;
        if kill.is_some() {
            return Ok(kill);
        }
    }
    Ok(None)
}

/// Plays worlds of one scenario, or of all, until one kills.
fn sweep(
    mutant: &Mutant,
    binary: &Path,
    scenario: Option<&Scenario>,
    cpu_max: Duration,
    cpu: &mut Duration,
) -> anyhow::Result<Option<Kill>> {
    let time = format!("{}ms", cpu_max.as_millis());
    // One at a time, so that the first that kills is the same every time.
    let mut arguments = vec!["sweep", "--json", "--keep-going", "--threads", "1", "--cpu", &time];
    arguments.extend(scenario.iter().flat_map(|scenario| ["--mix", scenario.name]));
    let lines = Lines::of(binary, &arguments)?;
    // What a machine with other work to do may need, and then some; a world that never ends is
    // nobody's right reason to die.
    let wall_max = Duration::from_secs(60) + cpu_max * 4;
    while let Some(world) = lines.next(wall_max) {
        let Some(seed) = world["seed"].as_u64() else { break };
        let scenario = world["scenario"].as_str().unwrap_or_default();
        let scenario = scenario::find(scenario).map_err(anyhow::Error::msg)?;
        *cpu += child::cpu(&world);
        let violated = child::violated(&world);
        let mut right = mutant.kills.iter().filter(|name| violated.contains(**name)).peekable();
        if right.peek().is_none() {
            continue;
        }
        let unmutated = scenario.play(seed)?.violations;
        let is_luck = |name: &str| unmutated.iter().any(|found| found.invariant == name);
        if let Some(invariant) = right.find(|name| !is_luck(name)) {
            let scenario = scenario.name;
            return Ok(Some(Kill { invariant, scenario, seed, cpu: *cpu }));
        }
    }
    Ok(None)
}

/// Makes the world small, as long as it kills: it violates the invariant with the mutant, and
/// does not without. The answer of a scenario to its own question needs the whole scenario.
pub(super) fn make_small(kill: &Kill, binary: &Path, cpu_max: Duration) -> anyhow::Result<Small> {
    let seed = kill.seed.to_string();
    let lines = Lines::of(binary, &[kill.scenario, "--seed", &seed, "--json"])?;
    let world = lines.next(Judge::WALL_MAX).context("the world cannot be played again")?;
    let plan: Plan = world["plan"].as_str().unwrap_or_default().parse()?;
    let mut small = Small { plan, runs: 0, cpu: Duration::ZERO };
    if kill.invariant == scenario::ASKS {
        return Ok(small);
    }
    let mut judge = Judge::new(binary);
    let mut error = None;
    let mut kills = |plan: &Plan| {
        if error.is_some() || small.cpu >= cpu_max {
            return false;
        }
        small.runs += 1;
        let verdict = judge.judge(plan).unwrap_or_else(|why| {
            error = Some(why);
            child::Verdict::default()
        });
        small.cpu += verdict.cpu;
        if !verdict.violated.contains(kill.invariant) {
            return false;
        }
        let Ok(unmutated) = report::run_and_judge(plan) else { return false };
        small.cpu += unmutated.run.cost;
        !unmutated.violations.iter().any(|violation| violation.invariant == kill.invariant)
    };
    small.plan.title = format!(
        "{} of {}, seed {} (was: {} lines)",
        kill.invariant,
        kill.scenario,
        kill.seed,
        small.plan.line_count()
    );
    let shrunk = shrink(&small.plan, u32::MAX, &mut kills, &mut |_, _| ());
    small.plan = shrunk.plan;
    error.map_or(Ok(small), Err)
}
