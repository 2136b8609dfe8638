//! `cargo sim SCENARIO` and `cargo sim replay PLAN`: one world, and what came of it.

use std::collections::BTreeMap;
use std::path::PathBuf;

use forebay_sim::differential::{self, twins};
use forebay_sim::report::{self, Outcome};
use forebay_sim::scenario::Scenario;
use forebay_sim::time::SimTime;
use forebay_sim::trace::What;
use serde_json::json;

use super::{print, subject};

#[derive(clap::Args)]
pub(crate) struct PlayArguments {
    /// What the scenario leaves open is drawn from it.
    #[arg(long, default_value_t = 0)]
    seed: u64,
    #[command(flatten)]
    telling: Telling,
}

/// Carry out a plan, and judge it.
#[derive(clap::Args)]
pub(crate) struct ReplayArguments {
    /// The file of a plan, as `cargo sim shrink` writes them.
    plan: PathBuf,
    #[command(flatten)]
    telling: Telling,
}

#[derive(clap::Args)]
struct Telling {
    /// Print every event.
    #[arg(long)]
    trace: bool,
    /// Print the events from this second on.
    #[arg(long, value_name = "SECONDS")]
    at: Option<f64>,
    /// Print the plan.
    #[arg(long)]
    plan_text: bool,
    /// Carry out its twins, too (without its viewers, without a bad neighbour, ...), and compare.
    #[arg(long)]
    twins: bool,
    /// As JSON.
    #[arg(long)]
    json: bool,
}

pub(crate) fn play(scenario: &Scenario, arguments: &PlayArguments) -> anyhow::Result<bool> {
    let outcome = scenario.play(arguments.seed)?;
    let replay = format!("cargo sim {} --seed {}", scenario.name, arguments.seed);
    arguments.telling.tell(outcome, &replay)
}

pub(crate) fn replay(arguments: &ReplayArguments) -> anyhow::Result<bool> {
    let outcome = report::run_and_judge(&subject::read_plan(&arguments.plan)?)?;
    let replay = format!("cargo sim replay {}", arguments.plan.display());
    arguments.telling.tell(outcome, &replay)
}

impl Telling {
    fn tell(&self, mut outcome: Outcome, replay: &str) -> anyhow::Result<bool> {
        let compared = if self.twins { compare_with_twins(&mut outcome)? } else { Vec::new() };
        let option = if self.twins { " --twins" } else { "" };
        let is_fine = self.print(&outcome, &format!("{replay}{option}"));
        if !compared.is_empty() && !self.json {
            print(&format!("  compared   {}", compared.join("; ")));
        }
        Ok(is_fine)
    }

    fn print(&self, outcome: &Outcome, replay: &str) -> bool {
        let run = &outcome.run;
        if self.plan_text {
            print(run.plan.to_string().trim_end());
        }
        if self.trace || self.at.is_some() {
            let from = SimTime::from_micros((self.at.unwrap_or(0.0).max(0.0) * 1e6) as u64);
            let events = run.trace.events.iter().filter(|event| event.at >= from);
            events.for_each(|event| print(&run.trace.line(event)));
        }
        if self.json {
            print(&json(outcome).to_string());
            return outcome.is_fine();
        }
        let verdict = if outcome.is_fine() { "every invariant holds" } else { "FAILED" };
        let title = run.plan.title.lines().next().unwrap_or_default();
        print(&format!("{title}: {verdict}"));
        print(&format!(
            "  simulated  {} s in {:.2} s of CPU time ({:.0} times as fast), {} events, digest {:016x}",
            run.plan.end,
            run.cost.as_secs_f64(),
            run.speed(),
            run.trace.events.len(),
            run.trace.digest()
        ));
        for (name, (value, bound)) in nearest(outcome) {
            let percent = value as f64 * 100.0 / bound.max(1) as f64;
            print(&format!("  nearest    {name} {value} of {bound} ({percent:.1} %)"));
        }
        let goals: Vec<_> = outcome.goals.iter().copied().collect();
        print(&format!("  goals      {}: {}", goals.len(), goals.join(" ")));
        if !outcome.is_fine() {
            print(&outcome.failure(replay));
        }
        outcome.is_fine()
    }
}

/// Compares with every twin; says by which rules, and what the twins lack.
fn compare_with_twins(outcome: &mut Outcome) -> anyhow::Result<Vec<String>> {
    let mut compared = Vec::new();
    for (removed, twin) in twins(&outcome.run.plan) {
        outcome.violations.extend(differential::judge(outcome, &removed, &twin)?);
        compared.push(format!("{} {removed}", removed.difference().id));
    }
    Ok(compared)
}

/// How near each gauge came to its bound, the nearest first.
fn nearest(outcome: &Outcome) -> Vec<(&'static str, (u64, u64))> {
    let mut nearest = BTreeMap::new();
    let share = |(value, bound): (u64, u64)| value as f64 / bound.max(1) as f64;
    for event in &outcome.run.trace.events {
        if let What::Gauge { name, value, bound } = event.what {
            let known = nearest.entry(name).or_insert((value, bound));
            if share((value, bound)) > share(*known) {
                *known = (value, bound);
            }
        }
    }
    let mut sorted: Vec<_> = nearest.into_iter().filter(|(_, (value, _))| *value > 0).collect();
    sorted.sort_by(|a, b| share(b.1).total_cmp(&share(a.1)));
    sorted
}

fn json(outcome: &Outcome) -> serde_json::Value {
    let run = &outcome.run;
    let violations = outcome.violations.iter().map(|violation| {
        json!({
            "invariant": violation.invariant,
            "at_s": violation.at.secs_f64(),
            "event": violation.event,
            "who": run.trace.name(violation.who),
            "saw": violation.saw,
        })
    });
    json!({
        "title": run.plan.title,
        "seed": run.plan.seed,
        "simulated_s": run.plan.end.secs_f64(),
        "cpu_s": run.cost.as_secs_f64(),
        "events": run.trace.events.len(),
        "digest": format!("{:016x}", run.trace.digest()),
        "goals": outcome.goals,
        "violations": violations.collect::<Vec<_>>(),
        "plan": run.plan.to_string(),
    })
}
