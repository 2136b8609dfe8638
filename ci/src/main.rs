//! The program behind `cargo ci`: every check of this repository, in one command.

mod budgets;
mod command;
mod fuzz;
mod judges;
mod layers;
mod licences;
mod links;
mod packages;
mod report;
mod select;
mod simulate;
mod steps;
mod testdata;
mod tokens;
mod workspace;

use std::process::ExitCode;
use std::time::Instant;

use anyhow::Result;
use clap::Parser;
use clap::builder::PossibleValuesParser;

use report::{Report, Verdict, duration, print};
use steps::{STEPS, Step};

const TEACHING: &str = "\
Each step prints one line with its duration. What a failed step printed follows its line; the other
steps still run, so that one look shows every failure. What could not be checked on this machine is
named NOT RUN, with what to install.

Examples:
  cargo ci                     everything, as the server runs it
  cargo ci fmt clippy test     before a commit
  cargo ci --skip judges       everything that needs nothing but Rust
  cargo ci layers -v           one step, with all it says
  cargo ci fuzz --seconds 600 --target session
                               one fuzz target for ten minutes (20 s each otherwise)
  cargo ci budgets --only system_calls
                               what one program measures, against its limits
  cargo ci --list              the steps and what each of them checks

With CI=true an outside judge that cannot be had is a failure, not a remark.
Exit code: 0 all is well, 1 a step failed, 2 these arguments make no sense.";

/// Checks this repository: the same steps here, before a commit, and on the server.
#[derive(Parser)]
#[command(name = "cargo ci", bin_name = "cargo ci", after_help = TEACHING)]
struct Args {
    /// Run only these steps [default: all, in the order of --list]
    #[arg(value_name = "STEP", value_parser = step_names(), hide_possible_values = true)]
    steps: Vec<String>,

    /// Leave this step out; may be given more than once
    #[arg(long, value_name = "STEP", value_parser = step_names(), hide_possible_values = true)]
    skip: Vec<String>,

    /// Show the steps and what each of them checks
    #[arg(long)]
    list: bool,

    /// Show everything the steps print, while they print it
    #[arg(long, short)]
    verbose: bool,

    #[command(flatten)]
    fuzz: fuzz::Options,

    #[command(flatten)]
    budgets: budgets::Options,
}

fn step_names() -> PossibleValuesParser {
    PossibleValuesParser::new(STEPS.iter().map(|step| step.name))
}

fn main() -> Result<ExitCode> {
    let args = Args::parse();
    if args.list {
        STEPS.iter().for_each(|step| print(&format!("{:<10} {}\n", step.name, step.about)));
        return Ok(ExitCode::SUCCESS);
    }
    let root = workspace::root()?;
    std::env::set_current_dir(&root)?;
    let (start, mut passed, mut skipped, mut failed, mut not_run) =
        (Instant::now(), 0, Vec::new(), Vec::new(), Vec::new());
    for step in chosen(&args) {
        let mut report = Report::begin(step.name, args.verbose);
        let verdict = (step.run)(&root, &mut report).unwrap_or_else(|error| {
            report.say(format!("{error:#}"));
            Verdict::Failed
        });
        match &verdict {
            Verdict::Passed => passed += 1,
            Verdict::Failed => failed.push(step.name),
            Verdict::Skipped(_) => skipped.push(step.name),
        }
        not_run.extend(report.end(&verdict).into_iter().map(|what| (step.name, what)));
    }
    let (skipped, broken) = (count("skipped", &skipped), count("FAILED", &failed));
    print(&format!("\n{passed} ok, {skipped}, {broken} in {}\n", duration(start.elapsed())));
    for (step, what) in not_run {
        print(&format!("NOT RUN  {step}: {what}\n"));
    }
    if failed.is_empty() {
        return Ok(ExitCode::SUCCESS);
    }
    print(&format!("again:   cargo ci {}\n", failed.join(" ")));
    Ok(ExitCode::FAILURE)
}

/// The steps to run, always in the order of the list.
fn chosen(args: &Args) -> impl Iterator<Item = &'static Step> {
    STEPS.iter().filter(|step| {
        let named = |names: &[String]| names.iter().any(|name| name == step.name);
        (args.steps.is_empty() || named(&args.steps)) && !named(&args.skip)
    })
}

fn count(word: &str, names: &[&str]) -> String {
    match names {
        [] => format!("0 {word}"),
        names => format!("{} {word} ({})", names.len(), names.join(", ")),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn names(args: &[&str]) -> Vec<&'static str> {
        let words = ["cargo ci"].iter().chain(args);
        chosen(&Args::try_parse_from(words).unwrap()).map(|step| step.name).collect()
    }

    #[test]
    fn no_arguments_mean_every_step() {
        assert_eq!(names(&[]).len(), STEPS.len());
    }

    #[test]
    fn named_steps_run_in_the_order_of_the_list() {
        assert_eq!(names(&["test", "fmt"]), ["fmt", "test"]);
        assert_eq!(names(&["test", "fmt", "--skip", "test"]), ["fmt"]);
    }

    #[test]
    fn a_misspelt_step_is_refused() {
        assert!(Args::try_parse_from(["cargo ci", "clipy"]).is_err());
    }
}
