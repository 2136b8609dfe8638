//! `cargo sim twice`: the same worlds in two processes, compared line by line.

use std::io::{BufRead as _, BufReader, BufWriter, Write as _, stdout};
use std::process::{Child, ChildStdout, Command, Stdio};

use anyhow::Context as _;
use forebay_sim::scenario::{self, Scenario};

use super::print;

/// Play the same worlds in two processes, one of them on two threads, and stop at the first line
/// that differs.
#[derive(clap::Args)]
pub(crate) struct Arguments {
    #[arg(default_value = "everything")]
    scenario: String,
    /// So many seeds.
    #[arg(long, value_name = "N", default_value_t = 1)]
    seeds: u64,
    /// The first seed.
    #[arg(long, value_name = "SEED", default_value_t = 0)]
    seed: u64,
}

/// Print the traces of many seeds.
#[derive(clap::Args)]
pub(crate) struct TracesArguments {
    scenario: String,
    #[arg(long, default_value_t = 1)]
    seeds: u64,
    #[arg(long, default_value_t = 0)]
    seed: u64,
    #[arg(long, default_value_t = 1)]
    threads: usize,
}

fn find(name: &str) -> anyhow::Result<&'static Scenario> {
    scenario::find(name).map_err(anyhow::Error::msg)
}

pub(crate) fn run(arguments: &Arguments) -> anyhow::Result<bool> {
    find(&arguments.scenario)?;
    let (mut one, mut other) = (Traces::of(arguments, 1)?, Traces::of(arguments, 2)?);
    let (mut number, mut world) = (0_u64, String::new());
    loop {
        let lines = (one.next()?, other.next()?);
        match lines {
            (None, None) => break,
            (Some(a), Some(b)) if a == b => {
                number += 1;
                if let Some(name) = a.strip_prefix("# ") {
                    world = name.to_owned();
                }
            }
            (a, b) => {
                let line = |line: Option<String>| line.unwrap_or_else(|| "nothing".to_owned());
                print(&format!("FAILED {world}: line {number} differs"));
                print(&format!("  one process    {}", line(a)));
                print(&format!("  the other      {}", line(b)));
                print(&format!("  before         {}", one.before));
                return Ok(false);
            }
        }
    }
    let fine = one.ended_well()? && other.ended_well()?;
    let verdict = if fine { "equal" } else { "FAILED: a process did not end well" };
    print(&format!(
        "{} seeds of {}, {number} lines: {verdict}",
        arguments.seeds, arguments.scenario
    ));
    Ok(fine)
}

/// What a process prints.
struct Traces {
    child: Child,
    lines: std::io::Lines<BufReader<ChildStdout>>,
    before: String,
    last: String,
}

impl Traces {
    fn of(arguments: &Arguments, threads: usize) -> anyhow::Result<Self> {
        let mut child = Command::new(std::env::current_exe()?)
            .args(["traces", &arguments.scenario])
            .args(["--seeds", &arguments.seeds.to_string()])
            .args(["--seed", &arguments.seed.to_string()])
            .args(["--threads", &threads.to_string()])
            .stdout(Stdio::piped())
            .spawn()
            .context("a second process")?;
        let stdout = child.stdout.take().context("its output")?;
        let lines = BufReader::with_capacity(1 << 20, stdout).lines();
        Ok(Self { child, lines, before: String::new(), last: String::new() })
    }

    fn next(&mut self) -> anyhow::Result<Option<String>> {
        let line = self.lines.next().transpose()?;
        let last = line.clone().unwrap_or_default();
        self.before = std::mem::replace(&mut self.last, last);
        Ok(line)
    }

    fn ended_well(&mut self) -> anyhow::Result<bool> {
        Ok(self.child.wait()?.success())
    }
}

impl Drop for Traces {
    fn drop(&mut self) {
        // It may be in the middle of its worlds.
        drop(self.child.kill());
        drop(self.child.wait());
    }
}

pub(crate) fn print_traces(arguments: &TracesArguments) -> anyhow::Result<bool> {
    let scenario = find(&arguments.scenario)?;
    let mut out = BufWriter::with_capacity(1 << 20, stdout().lock());
    let seeds: Vec<_> = (0..arguments.seeds).map(|n| arguments.seed.wrapping_add(n)).collect();
    for batch in seeds.chunks(arguments.threads.max(1)) {
        let outcomes = std::thread::scope(|scope| {
            let runs = batch.iter().map(|seed| scope.spawn(|| scenario.play(*seed)));
            // All of them begin before the first is waited for.
            let runs: Vec<_> = runs.collect();
            runs.into_iter().map(std::thread::ScopedJoinHandle::join).collect::<Vec<_>>()
        });
        for (seed, outcome) in batch.iter().zip(outcomes) {
            let outcome = outcome.map_err(|_| anyhow::anyhow!("seed {seed} panicked"))??;
            writeln!(out, "# {} --seed {seed}", scenario.name)?;
            let trace = &outcome.run.trace;
            for event in &trace.events {
                writeln!(out, "{}", trace.line(event))?;
            }
            for violation in &outcome.violations {
                writeln!(out, "{violation:?}")?;
            }
        }
    }
    out.flush()?;
    Ok(true)
}
