//! `budgets`: what the program may cost, as `ci/budgets.toml` promises it, measured and compared.
//!
//! A prover is a program of `benches/` that prints, beside what it shows people, lines
//! `measured NAME VALUE`, and `unmeasured NAME REASON` for what cannot be measured here. Each runs
//! once. Counts and ratios only: a busy machine must not change them.

mod compare;
mod file;
mod lines;

use std::collections::BTreeMap;
use std::fs;
use std::path::Path;

use anyhow::{Context, Result, ensure};
use clap::Parser;

use crate::Args;
use crate::command::{cargo, run as run_command};
use crate::packages::install;
use crate::report::{Report, Verdict};
use crate::workspace::{find_program, in_ci};

use compare::{Outcome, compare, table};
use file::{Budgets, Prover};
use lines::{Measured, parse};

const FILE: &str = "ci/budgets.toml";

/// What can be chosen for this step.
#[derive(clap::Args)]
#[group(skip)]
pub(crate) struct Options {
    /// Step budgets: run only this prover, and look only at what it proves
    #[arg(long, value_name = "PROVER")]
    only: Option<String>,

    /// Step budgets: write what was counted into ci/budgets.toml where a count is `recorded` there
    #[arg(long)]
    update: bool,
}

/// Runs the provers and compares what they say with the budgets.
pub(crate) fn run(root: &Path, report: &mut Report) -> Result<Verdict> {
    let Options { only, update } = Args::parse().budgets;
    let text = fs::read_to_string(root.join(FILE)).context(FILE)?;
    let Budgets { provers, mut budgets } = Budgets::parse(&text).context(FILE)?;
    let provers = chosen(provers, only.as_deref())?;
    budgets.retain(|_, budget| provers.contains_key(&budget.proof));

    let packages: Vec<_> = provers.values().flat_map(missing).collect();
    install(&packages, report)?;
    let (mut measured, mut problems) = (BTreeMap::new(), Vec::new());
    for (name, prover) in &provers {
        match prove(name, prover, report)? {
            Ok(found) => measured.extend(found),
            Err(problem) => problems.push(problem),
        }
    }
    let rows = compare(&budgets, &measured);
    let mut shown: Vec<_> = table(&rows).to_string().lines().map(str::to_owned).collect();
    if update {
        let (text, changes) = file::update(&text, &measured)?;
        fs::write(root.join(FILE), text).context(FILE)?;
        shown.extend(changes);
    }
    for row in &rows {
        match &row.outcome {
            Outcome::Within => {}
            // It has just been recorded.
            Outcome::Rose | Outcome::Renew if update => {}
            Outcome::Renew => {
                shown.push(format!("{} fell: record it by `cargo ci budgets --update`", row.name));
            }
            Outcome::NotMeasured { reason: Some(reason) } if !in_ci() => {
                report.not_run(format!("NOT MEASURED {}: {reason}", row.name));
            }
            bad => problems.push(format!("{bad} {}", row.explanation())),
        }
    }
    report.summary(format!("{} budgets, {} provers", budgets.len(), provers.len()));
    match problems.is_empty() {
        true => shown.into_iter().for_each(|line| report.show(line)),
        false => shown.into_iter().for_each(|line| report.say(line)),
    }
    Ok(Verdict::from_problems(problems, report))
}

fn chosen(
    mut provers: BTreeMap<String, Prover>,
    only: Option<&str>,
) -> Result<BTreeMap<String, Prover>> {
    let Some(only) = only else { return Ok(provers) };
    let names: Vec<_> = provers.keys().cloned().collect();
    provers.retain(|name, _| name == only);
    ensure!(!provers.is_empty(), "no prover {only}: {}", names.join(", "));
    Ok(provers)
}

/// Debian's packages of the programs that a prover needs and that are not there.
fn missing(prover: &Prover) -> impl Iterator<Item = &str> {
    let absent = prover.needs.iter().filter(|(program, _)| find_program(program).is_none());
    absent.map(|(_, packages)| packages.as_str())
}

/// What a prover measured, or what is wrong with it.
fn prove(
    name: &str,
    prover: &Prover,
    report: &mut Report,
) -> Result<std::result::Result<BTreeMap<String, Measured>, String>> {
    for arguments in &prover.cargo {
        let from = report.line_count();
        let passed = run_command(cargo(arguments), report)?;
        if !passed {
            return Ok(Err(format!("prover {name} failed: cargo {arguments}")));
        }
        let is_last = prover.cargo.last() == Some(arguments);
        if is_last {
            return Ok(parse(report.lines_from(from)).map_err(|why| format!("{name}: {why}")));
        }
    }
    Ok(Err(format!("prover {name} has no command")))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_misspelt_prover_is_refused() {
        let provers = || {
            let text = "[prover.a]\ncargo = [\"x\"]\n[prover.b]\ncargo = [\"y\"]";
            Budgets::parse(text).unwrap().provers
        };
        assert_eq!(chosen(provers(), None).unwrap().len(), 2);
        assert!(chosen(provers(), Some("b")).unwrap().contains_key("b"));
        assert_eq!(chosen(provers(), Some("c")).unwrap_err().to_string(), "no prover c: a, b");
    }

    #[test]
    fn only_what_is_not_there_is_installed() {
        let prover = Prover {
            cargo: Vec::new(),
            needs: [("sh", "dash"), ("no-such-program", "no-such-package")]
                .map(|(program, package)| (program.to_owned(), package.to_owned()))
                .into(),
        };
        assert_eq!(missing(&prover).collect::<Vec<_>>(), ["no-such-package"]);
    }

    #[test]
    fn the_file_of_this_repository_is_sound() {
        let text =
            fs::read_to_string(concat!(env!("CARGO_MANIFEST_DIR"), "/budgets.toml")).unwrap();
        let Budgets { provers, budgets } = Budgets::parse(&text).unwrap();
        for name in provers.keys() {
            assert!(budgets.values().any(|budget| budget.proof == *name), "{name} proves nothing");
        }
    }
}
