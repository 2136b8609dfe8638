//! `cargo sim`: plays scenarios, sweeps over seeds, and makes what fails small.

mod cli {
    //! One file per command.
    pub(crate) mod goals;
    pub(crate) mod judge;
    pub(crate) mod list;
    pub(crate) mod mutants;
    pub(crate) mod one;
    pub(crate) mod real;
    pub(crate) mod show;
    pub(crate) mod shrink;
    pub(crate) mod subject;
    pub(crate) mod sweep;
    pub(crate) mod twice;

    use std::io::Write as _;

    /// Prints a result. Whoever reads it may stop in the middle, as `head` does.
    pub(crate) fn print(text: &str) {
        drop(writeln!(std::io::stdout(), "{text}"));
    }
}

use std::process::ExitCode;

use clap::{Args as _, CommandFactory as _, FromArgMatches as _, Parser, Subcommand};
use forebay_sim::scenario::{self, Scenario};

/// The simulator: the real server under modelled networks, one seed one trace.
///
/// A scenario says what happens, the seed says how, and every invariant is always on. A failure
/// ends with the command that shows it again, and shrinks to a plan of a few lines.
#[derive(Parser)]
#[command(name = "cargo sim", version, max_term_width = 100, after_long_help = EXAMPLES)]
#[command(subcommand_value_name = "COMMAND | SCENARIO")]
struct Arguments {
    #[command(subcommand)]
    command: Command,
}

const EXAMPLES: &str = "\
A scenario is a command of its own, as in `cargo sim tunnel --seed 7`; `cargo sim list` names them.

Examples:
  One world, and what came of it:
      cargo sim everything --seed 42
  Two minutes of CPU time, all scenarios by their shares:
      cargo sim sweep --cpu 2m
  A failure made small, and drawn:
      cargo sim shrink everything --seed 42 --out small.plan
      cargo sim show small.plan
  Mistakes planted in the core, to see whether they are seen:
      cargo sim mutants

Exit status: 0 everything holds; 1 something does not; 2 the question makes no sense.";

#[derive(Subcommand)]
enum Command {
    List(cli::list::Arguments),
    Sweep(cli::sweep::Arguments),
    Goals(cli::goals::Arguments),
    Twice(cli::twice::Arguments),
    #[command(hide = true)]
    Traces(cli::twice::TracesArguments),
    #[command(hide = true)]
    Judge(cli::judge::Arguments),
    Replay(cli::one::ReplayArguments),
    Shrink(cli::shrink::Arguments),
    Show(cli::show::Arguments),
    Real(cli::real::Arguments),
    Mutants(cli::mutants::Arguments),
}

fn main() -> ExitCode {
    let mut command = Arguments::command();
    for scenario in scenario::ALL {
        let about = format!("{}.", scenario.about);
        let of_scenario = clap::Command::new(scenario.name).about(about).hide(true);
        command = command.subcommand(cli::one::PlayArguments::augment_args(of_scenario));
    }
    let matches = command.get_matches();
    let result = match scenario_of(&matches) {
        Some((scenario, arguments)) => cli::one::play(scenario, &arguments),
        None => match Arguments::from_arg_matches(&matches) {
            Ok(arguments) => run(arguments.command),
            Err(error) => error.exit(),
        },
    };
    match result {
        Ok(true) => ExitCode::SUCCESS,
        Ok(false) => ExitCode::FAILURE,
        Err(error) => {
            eprintln!("cargo sim: {error:#}");
            ExitCode::from(2)
        }
    }
}

/// Whether everything holds.
fn run(command: Command) -> anyhow::Result<bool> {
    match command {
        Command::List(arguments) => cli::list::run(&arguments),
        Command::Sweep(arguments) => cli::sweep::run(&arguments),
        Command::Goals(arguments) => cli::goals::run(&arguments),
        Command::Twice(arguments) => cli::twice::run(&arguments),
        Command::Traces(arguments) => cli::twice::print_traces(&arguments),
        Command::Judge(arguments) => cli::judge::run(&arguments),
        Command::Replay(arguments) => cli::one::replay(&arguments),
        Command::Shrink(arguments) => cli::shrink::run(&arguments),
        Command::Show(arguments) => cli::show::run(&arguments),
        Command::Real(arguments) => cli::real::run(&arguments),
        Command::Mutants(arguments) => cli::mutants::run(&arguments),
    }
}

fn scenario_of(matches: &clap::ArgMatches) -> Option<(&'static Scenario, cli::one::PlayArguments)> {
    let (name, matches) = matches.subcommand()?;
    let scenario = scenario::find(name).ok()?;
    Some((scenario, cli::one::PlayArguments::from_arg_matches(matches).ok()?))
}
