//! How often a process calls the system, counted by strace.
//!
//! strace stops the process at each call, so it runs slower than it would; how often it calls
//! per second of a stream stays, because the stream comes in real time.

use std::collections::BTreeMap;
use std::ffi::OsStr;
use std::fs;
use std::io::{BufRead, BufReader};
use std::path::PathBuf;
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use anyhow::{Context as _, ensure};
use rustix::process::{Pid, Signal, kill_process};

use crate::program::Running;

const OPTIONS: [&str; 5] = ["-f", "-c", "-U", "calls,name", "-o"];

/// What a process does from now on.
pub struct Strace {
    process: Running,
    file: PathBuf,
    attached: Instant,
}

impl Strace {
    /// Counts the calls of a running process, all its threads. Returns when it counts.
    pub fn attach(pid: u32) -> anyhow::Result<Self> {
        let file = summary_file(&format!("attached-{pid}"));
        let mut command = Command::new("strace");
        command.args(OPTIONS).arg(&file).arg(format!("--attach={pid}"));
        let (stderr, writer) = std::io::pipe()?;
        let process = Running::start(command.stderr(writer).stdin(Stdio::null()))?;
        drop(command);
        // It says so in one line, with all threads.
        let mut said = String::new();
        BufReader::new(stderr).read_line(&mut said)?;
        ensure!(said.contains("attached"), "strace cannot attach: {said}");
        Ok(Self { process, file, attached: Instant::now() })
    }

    /// Lets the process go. What it called, and in how much time.
    pub fn detach(self) -> anyhow::Result<(Calls, Duration)> {
        let took = self.attached.elapsed();
        let pid = Pid::from_raw(self.process.pid() as i32).context("a process id")?;
        kill_process(pid, Signal::INT)?;
        self.process.finish()?;
        Ok((Calls::take_from(&self.file)?, took))
    }
}

/// Runs a command to its end. What it called and printed.
pub fn run(command: &Command) -> anyhow::Result<(Calls, String)> {
    let file = summary_file("run");
    let mut strace = Command::new("strace");
    strace.args(OPTIONS).arg(&file).arg(command.get_program()).args(command.get_args());
    let process = Running::start(strace.stdout(Stdio::piped()).stdin(Stdio::null()))?;
    let (status, printed) = process.finish()?;
    ensure!(status.success(), "{:?} ended with {status}", command.get_program());
    Ok((Calls::take_from(&file)?, printed))
}

/// Whether strace is there and may do its work.
pub fn is_usable() -> bool {
    run(&Command::new(OsStr::new("true"))).is_ok()
}

fn summary_file(what: &str) -> PathBuf {
    std::env::temp_dir().join(format!("forebay-strace-{}-{what}", std::process::id()))
}

/// How often each system call was made, by its name.
pub struct Calls(BTreeMap<String, u64>);

impl Calls {
    fn take_from(file: &PathBuf) -> anyhow::Result<Self> {
        let summary = fs::read_to_string(file).context("strace left no summary")?;
        fs::remove_file(file)?;
        Ok(Self::parse(&summary))
    }

    /// Lines of a number and a name; what else is there are headings and a sum.
    fn parse(summary: &str) -> Self {
        let call = |line: &str| {
            let (count, name) = line.trim().split_once(char::is_whitespace)?;
            Some((name.trim().to_owned(), count.parse().ok()?))
        };
        let mut calls: BTreeMap<_, _> = summary.lines().filter_map(call).collect();
        calls.remove("total");
        Self(calls)
    }

    /// The calls of any of these names.
    pub fn of(&self, names: &[&str]) -> f64 {
        names.iter().filter_map(|name| self.0.get(*name)).sum::<u64>() as f64
    }

    /// Reads of a socket. Pipes and the runtime's own wake-ups are read by other calls.
    pub fn receives(&self) -> f64 {
        self.of(&["recvfrom", "recvmsg", "readv"])
    }

    /// Writes to a socket. The runtime wakes its own threads by `write`.
    pub fn sends(&self) -> f64 {
        self.of(&["sendto", "sendmsg", "writev"])
    }

    /// All of them, the most frequent first.
    pub fn most_frequent(&self) -> Vec<(&str, u64)> {
        let mut calls: Vec<_> =
            self.0.iter().map(|(name, &count)| (name.as_str(), count)).collect();
        calls.sort_by_key(|&(_, count)| std::cmp::Reverse(count));
        calls
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_summary_is_read_without_its_headings_and_its_sum() {
        let summary = "strace: Process 1 attached\n    calls syscall\n--------- ------------\n     \
                       120 recvfrom\n       30 sendto\n        5 writev\n--------- ------------\n      155 total\n";
        let calls = Calls::parse(summary);
        assert_eq!((calls.receives(), calls.sends()), (120.0, 35.0));
        assert_eq!(calls.most_frequent().len(), 3);
    }
}
