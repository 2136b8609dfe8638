//! Campaign: many seeds of many scenarios, on as many threads as there are cores, and what they
//! came to together.

use std::collections::BTreeMap;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::mpsc;
use std::thread;
use std::time::Duration;

use crate::canary;
use crate::cpu;
use crate::differential::{self, twins};
use crate::invariant::Violation;
use crate::plan::Plan;
use crate::random;
use crate::report::Outcome;
use crate::run::RunError;
use crate::scenario::{self, Scenario};

/// What to play.
#[derive(Clone, Debug)]
pub struct Campaign {
    /// The scenarios, drawn by their shares, or all alike if none has one.
    pub scenarios: Vec<&'static Scenario>,
    /// The first seed; the others follow.
    pub first_seed: u64,
    /// Seeds at most.
    pub seeds_max: u64,
    /// CPU time at most, of all threads together; what is being played is finished.
    pub cpu_max: Duration,
    /// Worlds that are played at once.
    pub threads: usize,
    /// Whether to go on behind a failure.
    pub keeps_going: bool,
}

/// A world that was played.
#[derive(Debug)]
pub struct Played {
    /// What was played.
    pub scenario: &'static Scenario,
    /// Its seed.
    pub seed: u64,
    /// What its trace comes to.
    pub digest: u64,
    /// Events in its trace.
    pub events: usize,
    /// How long it was, in simulated time.
    pub simulated: Duration,
    /// What carrying it out and judging it cost, in CPU time.
    pub cost: Duration,
    /// Goals that it reached.
    pub goals: Vec<&'static str>,
    /// The rule about two runs by which it was compared with a twin, now and then.
    pub twin: Option<&'static str>,
    /// What is wrong.
    pub failure: Option<Failure>,
}

/// What is wrong with a world.
#[derive(Debug)]
pub struct Failure {
    /// The first violation of each invariant, in order of time; there is one.
    pub violations: Vec<Violation>,
    /// The whole report, for people.
    pub text: String,
    /// What was carried out.
    pub plan: Plan,
}

/// What a campaign came to.
#[derive(Debug, Default)]
pub struct Tally {
    /// Worlds played.
    pub worlds: u64,
    /// CPU time, of all threads together.
    pub cpu: Duration,
    /// Simulated time.
    pub simulated: Duration,
    /// Events in all traces.
    pub events: u64,
    /// By goal: how many worlds reached it, and the first.
    pub goals: BTreeMap<&'static str, (u64, String)>,
    /// Worlds that failed, in order of their seeds.
    pub failures: Vec<Played>,
    /// Comparisons with a twin, by the rule about it.
    pub twins: BTreeMap<&'static str, u64>,
    /// Planted failures, and how many of them were found.
    pub canaries: (u64, u64),
}

impl Campaign {
    /// Every scenario that has a share, from seed 0 on, without bounds.
    pub fn new() -> Self {
        let threads = thread::available_parallelism().map_or(1, usize::from);
        Self {
            scenarios: scenario::ALL.iter().filter(|scenario| scenario.share > 0).collect(),
            first_seed: 0,
            seeds_max: u64::MAX,
            cpu_max: Duration::MAX,
            threads,
            keeps_going: false,
        }
    }

    /// The scenario that this seed plays.
    pub fn scenario_of(&self, seed: u64) -> &'static Scenario {
        let is_shared = self.scenarios.iter().any(|scenario| scenario.share > 0);
        let share = |scenario: &Scenario| if is_shared { scenario.share } else { 1 };
        let all: u32 = self.scenarios.iter().map(|scenario| share(scenario)).sum();
        let mut drawn = random::stream(seed, "campaign").u32(..all);
        for scenario in &self.scenarios {
            match drawn.checked_sub(share(scenario)) {
                Some(rest) => drawn = rest,
                None => return scenario,
            }
        }
        unreachable!("the draw is below the sum of all shares")
    }

    /// Plays it. `told` hears of every world, in the order in which they end.
    ///
    /// # Errors
    ///
    /// If a world cannot be played.
    pub fn run(&self, told: &mut dyn FnMut(&Played, &Tally)) -> Result<Tally, RunError> {
        let next = AtomicU64::new(self.first_seed);
        let spent_us = AtomicU64::new(0);
        let ends = AtomicBool::new(false);
        let seeds_end = self.first_seed.saturating_add(self.seeds_max);
        let mut tally = Tally::default();
        let (results, played) = mpsc::sync_channel(1_024);
        thread::scope(|scope| {
            for _ in 0..self.threads.max(1) {
                let results = results.clone();
                let (next, spent_us, ends) = (&next, &spent_us, &ends);
                scope.spawn(move || {
                    while !ends.load(Ordering::Relaxed)
                        && u128::from(spent_us.load(Ordering::Relaxed)) < self.cpu_max.as_micros()
                    {
                        let seed = next.fetch_add(1, Ordering::Relaxed);
                        if seed >= seeds_end {
                            return;
                        }
                        let result = play(self.scenario_of(seed), seed);
                        if let Ok((played, _)) = &result {
                            let cost_us = played.cost.as_micros() as u64;
                            spent_us.fetch_add(cost_us, Ordering::Relaxed);
                        }
                        if results.send(result).is_err() {
                            return;
                        }
                    }
                });
            }
            drop(results);
            for result in played {
                let (played, canary) =
                    result.inspect_err(|_| ends.store(true, Ordering::Relaxed))?;
                tally.add(&played, canary);
                told(&played, &tally);
                if played.failure.is_some() {
                    ends.fetch_or(!self.keeps_going, Ordering::Relaxed);
                    tally.failures.push(played);
                }
            }
            Ok::<_, RunError>(())
        })?;
        tally.failures.sort_by_key(|played| played.seed);
        Ok(tally)
    }
}

impl Default for Campaign {
    fn default() -> Self {
        Self::new()
    }
}

/// Plays one world, and now and then one with a planted failure behind it.
fn play(scenario: &'static Scenario, seed: u64) -> Result<(Played, Option<bool>), RunError> {
    let started = cpu::of_thread();
    let mut outcome = scenario.play(seed)?;
    let twin = compare_with_a_twin(&mut outcome, seed)?;
    let cost = cpu::of_thread() - started;
    let canary = canary::is_due(seed).then(|| canary::is_noticed(seed)).transpose()?;
    Ok((Played::new(scenario, seed, outcome, twin, cost), canary))
}

/// So many worlds have one among them that is compared with a twin, if it has one.
const TWINS: u32 = 10;

/// Compares a world with one of its twins, now and then; says by which rule.
fn compare_with_a_twin(outcome: &mut Outcome, seed: u64) -> Result<Option<&'static str>, RunError> {
    let mut random = random::stream(seed, "twin");
    if random.u32(..TWINS) != 0 || !outcome.is_fine() {
        return Ok(None);
    }
    let mut twins = twins(&outcome.run.plan);
    if twins.is_empty() {
        return Ok(None);
    }
    let (removed, twin) = twins.swap_remove(random.usize(..twins.len()));
    outcome.violations.extend(differential::judge(outcome, &removed, &twin)?);
    Ok(Some(removed.difference().id))
}

impl Played {
    fn new(
        scenario: &'static Scenario,
        seed: u64,
        outcome: Outcome,
        twin: Option<&'static str>,
        cost: Duration,
    ) -> Self {
        let option = if twin.is_some() { " --twins" } else { "" };
        let replay = format!("cargo sim {} --seed {seed}{option}", scenario.name);
        let failure = (!outcome.is_fine()).then(|| Failure {
            violations: outcome.violations.clone(),
            text: outcome.failure(&replay),
            plan: outcome.run.plan.clone(),
        });
        Self {
            scenario,
            seed,
            digest: outcome.run.trace.digest(),
            events: outcome.run.trace.events.len(),
            simulated: outcome.run.plan.end.since(crate::time::SimTime::ZERO),
            cost,
            twin,
            goals: outcome.goals.into_iter().collect(),
            failure,
        }
    }
}

impl Tally {
    fn add(&mut self, played: &Played, canary: Option<bool>) {
        self.worlds += 1;
        self.cpu += played.cost;
        self.simulated += played.simulated;
        self.events += played.events as u64;
        for goal in &played.goals {
            let first = || (0, format!("{} --seed {}", played.scenario.name, played.seed));
            self.goals.entry(goal).or_insert_with(first).0 += 1;
        }
        if let Some(rule) = played.twin {
            *self.twins.entry(rule).or_default() += 1;
        }
        if let Some(is_noticed) = canary {
            self.canaries.0 += 1;
            self.canaries.1 += u64::from(is_noticed);
        }
    }

    /// Whether nothing failed, and every planted failure was found.
    pub fn is_fine(&self) -> bool {
        self.failures.is_empty() && self.canaries.0 == self.canaries.1
    }
}
