//! The steps, in order. To add one: a line here, and a function that returns a verdict.

use std::path::Path;
use std::process::Command;

use anyhow::Result;

use crate::command::{cargo, has_cargo, output_or_say, run, run_tests};
use crate::report::{Report, Verdict};
use crate::{budgets, fuzz, judges, layers, licences, links, select, simulate, testdata};

/// One check.
pub(crate) struct Step {
    pub(crate) name: &'static str,
    pub(crate) about: &'static str,
    /// Called in the workspace's root, which is also its first argument.
    pub(crate) run: fn(&Path, &mut Report) -> Result<Verdict>,
}

/// All of them. What costs nothing but finds much comes early.
pub(crate) const STEPS: &[Step] = &[
    Step { name: "fmt", about: "the code is formatted (.rustfmt.toml)", run: fmt },
    Step {
        name: "clippy",
        about: "no warning, with the shell and without it, and with S3",
        run: clippy,
    },
    Step {
        name: "layers",
        about: "core's modules use lower layers only, and only the shell does I/O",
        run: layers::run,
    },
    Step {
        name: "no-shell",
        about: "core builds without its shell, and then without tokio",
        run: no_shell,
    },
    Step {
        name: "select",
        about: "every select! in core and sim begins with `biased;`",
        run: select::run,
    },
    Step { name: "test", about: "all tests of the workspace, and the examples in docs", run: test },
    Step { name: "shuttle", about: "the hub under thousands of thread schedules", run: shuttle },
    Step {
        name: "sim",
        about: "the simulator: twice the same, a sweep, and the long scenarios",
        run: simulate::run,
    },
    Step {
        name: "fuzz",
        about: "libFuzzer finds no bytes that break what core/fuzz says must hold",
        run: fuzz::run,
    },
    Step { name: "doc", about: "the documentation builds, and its links lead somewhere", run: doc },
    Step {
        name: "deny",
        about: "dependencies: licences and sources of ci/deny.toml; advisories with cargo-deny",
        run: licences::run,
    },
    Step {
        name: "budgets",
        about: "calls, allocations, copies, memory: within the limits of ci/budgets.toml",
        run: budgets::run,
    },
    Step {
        name: "judges",
        about: "programs of others (FFmpeg, rtmpdump, GStreamer, …) agree with us",
        run: judges::run,
    },
    Step {
        name: "readme",
        about: "paths, links and commands in the READMEs exist",
        run: links::run,
    },
    Step {
        name: "testdata",
        about: "every recording is in the manifest, with its bytes, and in the README",
        run: testdata::run,
    },
];

fn fmt(_: &Path, report: &mut Report) -> Result<Verdict> {
    Ok(Verdict::passed_if(run(cargo("fmt --all --check"), report)?))
}

fn clippy(_: &Path, report: &mut Report) -> Result<Verdict> {
    let all = run(cargo("clippy --workspace --all-targets -- -D warnings"), report)?;
    let bare = cargo("clippy -p forebay --no-default-features --all-targets -- -D warnings");
    let bare = run(bare, report)?;
    let s3 = cargo("clippy -p forebay --features s3 -- -D warnings");
    Ok(Verdict::passed_if(run(s3, report)? && bare && all))
}

fn no_shell(_: &Path, report: &mut Report) -> Result<Verdict> {
    if !run(cargo("build -p forebay --no-default-features"), report)? {
        return Ok(Verdict::Failed);
    }
    let tree = cargo("tree -p forebay --no-default-features -e normal --prefix none -f {p}");
    let Some(tree) = output_or_say(tree, report)? else { return Ok(Verdict::Failed) };
    let runtimes: Vec<_> =
        runtimes(&tree).map(|line| format!("without shell, but: {line}")).collect();
    report.summary(format!("{} packages", tree.lines().count()));
    Ok(Verdict::from_problems(runtimes, report))
}

/// The lines of a dependency tree that are tokio or one of its crates.
fn runtimes(tree: &str) -> impl Iterator<Item = &str> {
    tree.lines().filter(|line| {
        let name = line.split(' ').next().unwrap_or_default();
        name == "tokio" || name.starts_with("tokio-") || name == "mio"
    })
}

fn test(_: &Path, report: &mut Report) -> Result<Verdict> {
    let tests = if has_cargo("nextest") {
        run_tests(cargo("nextest run --workspace"), report)?
    } else {
        report.not_run("a time limit per test: cargo install --locked cargo-nextest");
        run_tests(cargo("test --workspace --lib --bins --tests --no-fail-fast"), report)?
    };
    let examples = run_tests(cargo("test --workspace --doc"), report)?;
    Ok(Verdict::passed_if(tests && examples))
}

fn shuttle(root: &Path, report: &mut Report) -> Result<Verdict> {
    let file = "core/tests/hub_shuttle.rs";
    if !root.join(file).exists() {
        return Ok(Verdict::Skipped(format!("{file} is not there")));
    }
    let features = "--no-default-features --features shuttle";
    let tests = cargo(&format!("test -p forebay {features} --test hub_shuttle"));
    Ok(Verdict::passed_if(run_tests(tests, report)?))
}

fn doc(_: &Path, report: &mut Report) -> Result<Verdict> {
    let mut doc: Command = cargo("doc --no-deps --workspace");
    doc.env("RUSTDOCFLAGS", "--cfg tokio_unstable -D warnings");
    Ok(Verdict::passed_if(run(doc, report)?))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_runtime_in_the_tree_is_seen() {
        let tree =
            "forebay v0.1.0 (core)\nbytes v1.12.0\ntokio v1.54.0\ntokio-util v0.8.0\nmio v1.0.0";
        assert_eq!(runtimes(tree).count(), 3);
        assert_eq!(runtimes("forebay v0.1.0\nbytes v1.12.0\nnot-tokio v1.0.0").count(), 0);
    }

    #[test]
    fn names_are_unique_and_fit_their_column() {
        for (index, step) in STEPS.iter().enumerate() {
            assert!(step.name.len() <= 10, "{}", step.name);
            assert!(STEPS[..index].iter().all(|other| other.name != step.name), "{}", step.name);
        }
    }
}
