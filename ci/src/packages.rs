//! Packages of Debian, installed where that can be done without asking: by root, with apt-get.

use std::process::Command;

use anyhow::Result;

use crate::command::{output, program, run};
use crate::report::Report;
use crate::workspace::find_program;

/// Installs packages; each of `lists` has several, separated by spaces. What could not be installed
/// is for the caller to find out.
pub(crate) fn install(lists: &[&str], report: &mut Report) -> Result<()> {
    if lists.is_empty() {
        return Ok(());
    }
    let is_root = output(program("id", "-u")).is_some_and(|id| id.trim() == "0");
    if !is_root || find_program("apt-get").is_none() {
        report.say("packages are installed by root on Debian only");
        return Ok(());
    }
    run(apt("update"), report)?;
    let install = |packages: &str| apt(&format!("install -y --no-install-recommends {packages}"));
    if !run(install(&lists.join(" ")), report)? {
        // One package that is gone must not take the others with it.
        for packages in lists {
            run(install(packages), report)?;
        }
    }
    Ok(())
}

fn apt(args: &str) -> Command {
    let mut apt = program("apt-get", args);
    apt.env("DEBIAN_FRONTEND", "noninteractive");
    apt
}
