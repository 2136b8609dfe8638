//! `sim`: what the simulator's tests leave out because it takes long, built for speed.

use std::path::Path;

use anyhow::Result;

use crate::command::{cargo, output, program, run as run_command};
use crate::report::{Report, Verdict};

/// What is played beside the sweep.
const COMMANDS: [&str; 3] =
    ["twice everything --seeds 60", "nic_saturation --seed 1", "long_day --seed 0"];

/// Servers of somebody's own, and policies.
const EXAMPLES: [&str; 2] = ["own_policy", "own_hub"];

/// Builds the simulator for speed, and plays.
pub(crate) fn run(_: &Path, report: &mut Report) -> Result<Verdict> {
    let build = cargo("build --profile sim -p forebay-sim --bins --examples");
    if !run_command(build, report)? {
        return Ok(Verdict::Failed);
    }
    let mut fine = true;
    for example in EXAMPLES {
        let example = format!("run --profile sim -p forebay-sim --example {example}");
        fine &= run_command(cargo(&example), report)?;
    }
    let sweep = sweep(output(program("git", "rev-parse HEAD")).as_deref());
    for command in COMMANDS.into_iter().chain([sweep.as_str()]) {
        let from = report.line_count();
        fine &= run_command(cargo(&format!("sim {command}")), report)?;
        let sums: Vec<_> =
            report.lines_from(from).iter().filter(|line| is_sum(line)).cloned().collect();
        sums.into_iter().for_each(|line| report.show(line));
    }
    Ok(Verdict::passed_if(fine))
}

/// Two minutes of CPU time on seeds that nobody has played, because no two commits have the same; all
/// its failures are told. Without git they are always the same.
fn sweep(commit: Option<&str>) -> String {
    let commit = commit.map_or("0", str::trim);
    format!("sweep --keep-going --cpu 2m --from {commit}")
}

/// Lines that say what a command came to.
fn is_sum(line: &str) -> bool {
    let line = line.trim_start();
    ["equal", "every invariant holds"].iter().any(|end| line.ends_with(end))
        || line.contains(" worlds, ")
        || line.contains(" goals reached; ")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_a_command_came_to_is_told_from_what_it_says() {
        assert!(is_sum("60 seeds of everything, 1035363 lines: equal"));
        assert!(is_sum("25 goals reached; 15 of 15 planted failures found; 0 worlds FAILED"));
        assert!(!is_sum("  goals      3: crowd_on_one_gop"));
    }

    #[test]
    fn every_commit_sweeps_seeds_of_its_own() {
        assert_eq!(sweep(Some("4f1c0de\n")), "sweep --keep-going --cpu 2m --from 4f1c0de");
        assert_eq!(sweep(None), "sweep --keep-going --cpu 2m --from 0");
    }
}
