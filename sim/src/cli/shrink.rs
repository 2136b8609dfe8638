//! `cargo sim shrink`: a failing world made small.

use std::io::{IsTerminal as _, stderr};
use std::path::PathBuf;

use forebay_sim::plan::Plan;
use forebay_sim::report;
use forebay_sim::shrink::shrink;
use indicatif::ProgressBar;

use super::print;
use super::subject::Subject;

/// Make a failing world small: fewer peers, faults and lines, shorter, on simpler links.
///
/// What is left fails the same invariant by the same kind of event.
#[derive(clap::Args)]
pub(crate) struct Arguments {
    #[command(flatten)]
    subject: Subject,
    /// Where the plan goes; `NAME-SEED.plan` here if it is not given.
    #[arg(long, value_name = "FILE")]
    out: Option<PathBuf>,
    /// Runs at most.
    #[arg(long, default_value_t = 400)]
    runs: u32,
}

pub(crate) fn run(arguments: &Arguments) -> anyhow::Result<bool> {
    let outcome = arguments.subject.play()?;
    let Some(violation) = outcome.violations.first().cloned() else {
        anyhow::bail!(
            "{}: every invariant holds, there is nothing to shrink",
            arguments.subject.name()
        );
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
        let Ok(outcome) = report::run_and_judge(plan) else { return false };
        let mut violations = outcome.violations.iter();
        violations.any(|v| (v.invariant, &v.kind) == (violation.invariant, &violation.kind))
    };
    let shrunk = shrink(&plan, arguments.runs, &mut fails, &mut |plan, _| {
        bar.set_message(format!("{} lines", plan.line_count()));
    });
    bar.finish_and_clear();
    let text = shrunk.plan.to_string();
    let out = arguments
        .out
        .clone()
        .unwrap_or_else(|| format!("{}.plan", arguments.subject.name()).into());
    std::fs::write(&out, &text)?;
    print(text.trim_end());
    let lines = shrunk.plan.line_count();
    print(&format!("{lines} lines after {} runs: {}", shrunk.runs, out.display()));
    Ok(true)
}
