//! `sim`: what the simulator's tests leave out because it takes long, built for speed.

use std::path::Path;

use anyhow::Result;

use crate::command::{cargo, run as run_command};
use crate::report::{Report, Verdict};

/// What is played. The sweep is to be on the commit's own seed, for two minutes, as soon as the
/// judges have no false alarm left in thousands of worlds; until then its seeds are known.
const COMMANDS: [&str; 4] = [
    "twice everything --seeds 60",
    "nic_saturation --seed 1",
    "long_day --seed 0",
    "sweep --seeds 150 --from 30000",
];

/// Builds the simulator for speed, and plays.
pub(crate) fn run(_: &Path, report: &mut Report) -> Result<Verdict> {
    let build = cargo("build --profile sim -p forebay-sim --bins --examples");
    if !run_command(build, report)? {
        return Ok(Verdict::Failed);
    }
    let example = cargo("run --profile sim -p forebay-sim --example own_policy");
    let mut fine = run_command(example, report)?;
    for command in COMMANDS {
        let from = report.line_count();
        fine &= run_command(cargo(&format!("sim {command}")), report)?;
        let sums: Vec<_> =
            report.lines_from(from).iter().filter(|line| is_sum(line)).cloned().collect();
        sums.into_iter().for_each(|line| report.show(line));
    }
    Ok(Verdict::passed_if(fine))
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
}
