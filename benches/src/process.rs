//! Other processes: which core they run on, what they cost, and a conversation by lines.

use std::fs;
use std::io::{BufRead, BufReader, Write};
use std::process::{Child, ChildStdin, ChildStdout, Command, Stdio};

use anyhow::{Context as _, ensure};
use rustix::thread::{CpuSet, sched_getaffinity, sched_setaffinity};

/// Starts a process that keeps to one core, if there are at least two of them.
pub fn spawn_on(core: usize, command: &mut Command) -> anyhow::Result<Child> {
    let before = sched_getaffinity(None)?;
    if before.count() > 1 && before.is_set(core) {
        let mut only = CpuSet::new();
        only.set(core);
        // A child inherits the affinity of the thread that starts it.
        sched_setaffinity(None, &only)?;
    }
    let child =
        command.spawn().with_context(|| format!("cannot start {:?}", command.get_program()));
    sched_setaffinity(None, &before)?;
    child
}

/// The calling thread, and those it starts, keep to one core.
pub fn stay_on(core: usize) -> anyhow::Result<()> {
    let mut only = CpuSet::new();
    only.set(core);
    if sched_getaffinity(None)?.count() > 1 {
        sched_setaffinity(None, &only)?;
    }
    Ok(())
}

/// CPU time of all threads of a process, user and system, in seconds, as the scheduler counts it
/// in nanoseconds.
pub fn cpu_s(pid: u32) -> anyhow::Result<f64> {
    let mut ns = 0;
    for task in fs::read_dir(format!("/proc/{pid}/task"))? {
        let stat = fs::read_to_string(task?.path().join("schedstat"))?;
        ns += stat.split(' ').next().unwrap_or_default().parse::<u64>()?;
    }
    Ok(ns as f64 / 1e9)
}

/// Resident memory of a process that is its own, in bytes: no files, nothing shared.
pub fn rss_bytes(pid: u32) -> anyhow::Result<u64> {
    let status = fs::read_to_string(format!("/proc/{pid}/status"))?;
    let line = status.lines().find_map(|line| line.strip_prefix("RssAnon:"));
    let kib = line.and_then(|line| line.trim().strip_suffix(" kB")).context("no RssAnon")?;
    Ok(kib.trim().parse::<u64>()? * 1024)
}

/// A second process of this program, which does what it is told in lines and answers in lines.
pub struct Helper {
    child: Child,
    stdin: ChildStdin,
    stdout: BufReader<ChildStdout>,
}

impl Helper {
    /// Starts this program as `what`, on one core.
    pub fn start(what: &str, core: usize) -> anyhow::Result<Self> {
        let mut command = Command::new(std::env::current_exe()?);
        command.args([HELPER, what]).stdin(Stdio::piped()).stdout(Stdio::piped());
        let mut child = spawn_on(core, &mut command)?;
        let stdin = child.stdin.take().context("no stdin")?;
        let stdout = BufReader::new(child.stdout.take().context("no stdout")?);
        Ok(Self { child, stdin, stdout })
    }

    /// Gives an order and waits for the answer: numbers.
    pub fn ask(&mut self, order: &str) -> anyhow::Result<Vec<u64>> {
        writeln!(self.stdin, "{order}")?;
        let mut answer = String::new();
        self.stdout.read_line(&mut answer)?;
        ensure!(answer.ends_with('\n'), "the process that was told {order:?} is gone");
        answer.split_whitespace().map(|number| Ok(number.parse()?)).collect()
    }

    /// Its process id.
    pub fn pid(&self) -> u32 {
        self.child.id()
    }
}

impl Drop for Helper {
    fn drop(&mut self) {
        // Whatever it was doing, its work is over.
        drop(self.child.kill());
        drop(self.child.wait());
    }
}

const HELPER: &str = "--helper";

/// What this process was started as, if it is not the program itself but a helper of it.
pub fn helper() -> Option<String> {
    let mut args = std::env::args().skip(1);
    (args.next()? == HELPER).then(|| args.next())?
}

/// Answers orders until there are none left.
pub fn obey(mut answer: impl FnMut(&[&str]) -> anyhow::Result<Vec<u64>>) -> anyhow::Result<()> {
    for order in std::io::stdin().lines() {
        let order = order?;
        let numbers = answer(&order.split(' ').collect::<Vec<_>>())?;
        let words: Vec<_> = numbers.iter().map(u64::to_string).collect();
        println!("{}", words.join(" "));
    }
    Ok(())
}
