//! Another build of the simulator, as a process that is asked.

use std::collections::BTreeSet;
use std::io::{BufRead as _, BufReader, Write as _};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::mpsc::{self, Receiver};
use std::thread;
use std::time::Duration;

use anyhow::Context as _;
use forebay_sim::plan::Plan;
use serde_json::Value;

/// Lines of JSON from a process. It ends with its value: nobody wants more of it.
pub(super) struct Lines {
    child: Child,
    lines: Receiver<String>,
}

impl Lines {
    pub(super) fn of(binary: &Path, arguments: &[&str]) -> anyhow::Result<Self> {
        let mut command = Command::new(binary);
        command.args(arguments).stdin(Stdio::piped()).stdout(Stdio::piped());
        let spawned = command.spawn();
        let mut child = spawned.with_context(|| format!("{} cannot be run", binary.display()))?;
        let stdout = child.stdout.take().context("it has a standard output")?;
        let (sender, lines) = mpsc::channel();
        // A mistake of the core may keep a process from ever printing: nobody reads without end.
        thread::spawn(move || {
            for line in BufReader::new(stdout).lines().map_while(Result::ok) {
                if sender.send(line).is_err() {
                    return;
                }
            }
        });
        Ok(Self { child, lines })
    }

    /// The next line, unless the process ends or takes longer.
    pub(super) fn next(&self, wall_max: Duration) -> Option<Value> {
        let line = self.lines.recv_timeout(wall_max).ok()?;
        serde_json::from_str(&line).ok()
    }
}

impl Drop for Lines {
    fn drop(&mut self) {
        drop(self.child.kill());
        drop(self.child.wait());
    }
}

/// A build that judges plans.
pub(super) struct Judge {
    binary: PathBuf,
    lines: Option<Lines>,
}

/// What a build says of a plan.
#[derive(Default)]
pub(super) struct Verdict {
    /// The invariants that do not hold.
    pub(super) violated: BTreeSet<String>,
    /// What it cost, in CPU time.
    pub(super) cpu: Duration,
}

impl Judge {
    /// A plan is given up if it takes longer.
    pub(super) const WALL_MAX: Duration = Duration::from_secs(30);

    pub(super) fn new(binary: &Path) -> Self {
        Self { binary: binary.to_owned(), lines: None }
    }

    /// Judges a plan. One at which the process ends violates nothing that could be named.
    pub(super) fn judge(&mut self, plan: &Plan) -> anyhow::Result<Verdict> {
        let mut lines = match self.lines.take() {
            Some(lines) => lines,
            None => Lines::of(&self.binary, &["judge"])?,
        };
        let stdin = lines.child.stdin.as_mut().context("it has a standard input")?;
        let answer = match writeln!(stdin, "{plan}").and_then(|()| stdin.flush()) {
            Ok(()) => lines.next(Self::WALL_MAX),
            Err(_) => None,
        };
        let Some(answer) = answer else {
            return Ok(Verdict { cpu: Self::WALL_MAX, ..Verdict::default() });
        };
        self.lines = Some(lines);
        Ok(Verdict { violated: violated(&answer), cpu: cpu(&answer) })
    }
}

/// The invariants that a world violates, by what a sweep or a judge prints of it.
pub(super) fn violated(world: &Value) -> BTreeSet<String> {
    let violations = world["violations"].as_array().into_iter().flatten();
    violations.filter_map(|violation| violation["invariant"].as_str()).map(str::to_owned).collect()
}

/// What a world cost.
pub(super) fn cpu(world: &Value) -> Duration {
    Duration::from_secs_f64(world["cpu_s"].as_f64().unwrap_or_default().max(0.0))
}
