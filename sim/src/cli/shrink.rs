//! `cargo sim shrink`: a failing world made small.

use std::io::{IsTerminal as _, stderr};
use std::path::PathBuf;

use forebay_sim::differential;
use forebay_sim::invariant::{self, Violation};
use forebay_sim::plan::Plan;
use forebay_sim::report::{self, Outcome};
use forebay_sim::run::RunError;
use forebay_sim::shrink::shrink;
use indicatif::ProgressBar;

use super::print;
use super::subject::Subject;

/// Make a failing world small: fewer peers, faults and lines, shorter, on simpler links.
///
/// What is left fails the same invariant by the same kind of event. Where every invariant holds, the
/// world is compared with its twins, and the rule about two runs that they break is kept.
#[derive(clap::Args)]
pub(crate) struct Arguments {
    #[command(flatten)]
    subject: Subject,
    /// The invariant or the rule about two runs that has to go on failing; the first that fails if
    /// it is not given.
    #[arg(long, value_name = "NAME", value_parser = invariant)]
    invariant: Option<&'static str>,
    /// Where the plan goes; `NAME-SEED.plan` here if it is not given.
    #[arg(long, value_name = "FILE")]
    out: Option<PathBuf>,
    /// Runs at most, those of twins not counted.
    #[arg(long, default_value_t = 400)]
    runs: u32,
}

fn invariant(name: &str) -> Result<&'static str, String> {
    invariant::find(name).ok_or_else(|| {
        let names: Vec<_> = invariant::names().collect();
        format!("there are {}", names.join(", "))
    })
}

pub(crate) fn run(arguments: &Arguments) -> anyhow::Result<bool> {
    let subject = &arguments.subject;
    let outcome = subject.play()?;
    let Some(violation) = violation(&outcome, arguments.invariant)? else {
        let holds = arguments.invariant.unwrap_or("every invariant, also beside its twins,");
        anyhow::bail!("{}: {holds} holds, there is nothing to shrink", subject.name());
    };
    let mut plan = outcome.run.plan;
    let was =
        format!("{} of {}", violation.invariant, plan.title.lines().next().unwrap_or_default());
    plan.title = format!("{was} (was: {} lines, {})", plan.line_count(), violation.saw);
    let bar = if stderr().is_terminal() {
        ProgressBar::new(arguments.runs.into())
    } else {
        ProgressBar::hidden()
    };
    let mut fails = |plan: &Plan| {
        bar.inc(1);
        let fails_so = |outcome: &Outcome| {
            let mut violations = violations(outcome, violation.invariant)?.into_iter();
            Ok::<_, RunError>(violations.any(|found| found.kind == violation.kind))
        };
        // A plan that cannot be carried out, or whose twin cannot, does not fail.
        report::run_and_judge(plan).and_then(|outcome| fails_so(&outcome)).unwrap_or(false)
    };
    let shrunk = shrink(&plan, arguments.runs, &mut fails, &mut |plan, _| {
        bar.set_message(format!("{} lines", plan.line_count()));
    });
    bar.finish_and_clear();
    let text = shrunk.plan.to_string();
    let out = arguments.out.clone().unwrap_or_else(|| format!("{}.plan", subject.name()).into());
    std::fs::write(&out, &text)?;
    print(text.trim_end());
    let lines = shrunk.plan.line_count();
    print(&format!("{lines} lines after {} runs: {}", shrunk.runs, out.display()));
    Ok(true)
}

/// What is to go on failing.
fn violation(
    outcome: &Outcome,
    invariant: Option<&'static str>,
) -> Result<Option<Violation>, RunError> {
    if let Some(invariant) = invariant {
        return Ok(violations(outcome, invariant)?.into_iter().next());
    }
    match outcome.violations.first() {
        Some(first) => Ok(Some(first.clone())),
        None => Ok(differential::judge_twins(outcome, |_| true)?.into_iter().next()),
    }
}

/// What is wrong by this invariant, or by this rule about two runs.
fn violations(outcome: &Outcome, invariant: &'static str) -> Result<Vec<Violation>, RunError> {
    let own = outcome.violations.iter().filter(|found| found.invariant == invariant);
    let mut violations: Vec<_> = own.cloned().collect();
    let twins =
        differential::judge_twins(outcome, |removed| removed.difference().name == invariant)?;
    violations.extend(twins);
    Ok(violations)
}
