//! How often a process calls the system, counted by strace.
//!
//! strace stops the process at each call, so it runs slower than it would; how often it calls
//! per second of a stream stays, because the stream comes in real time.

use std::collections::BTreeMap;
use std::ffi::OsStr;
use std::fs;
use std::io::{BufRead, BufReader};
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use anyhow::{Context as _, ensure};
use rustix::process::{Pid, Signal, kill_process};

use crate::program::Running;

const COUNT: [&str; 4] = ["-f", "-c", "-U", "calls,name"];
/// All calls that send.
const SEND_CALLS: [&str; 5] = ["write", "writev", "sendto", "sendmsg", "sendfile"];
const FOLLOW: [&str; 5] =
    ["-f", "-s", "0", "-e", "trace=accept,accept4,write,writev,sendto,sendmsg,sendfile"];

/// strace, attached to all threads of a process.
struct Attached {
    process: Running,
    file: PathBuf,
    since: Instant,
}

impl Attached {
    /// Returns when it sees what the process does.
    fn to(pid: u32, options: &[&str]) -> anyhow::Result<Self> {
        let file = output_file(&format!("attached-{pid}"));
        let mut command = Command::new("strace");
        command.args(options).arg("-o").arg(&file).arg(format!("--attach={pid}"));
        let (stderr, writer) = std::io::pipe()?;
        let process = Running::start(command.stderr(writer).stdin(Stdio::null()))
            .context("strace is missing: apt-get install strace")?;
        drop(command);
        // It says so in one line, with all threads.
        let mut said = String::new();
        BufReader::new(stderr).read_line(&mut said)?;
        ensure!(said.contains("attached"), "strace cannot attach: {said}");
        Ok(Self { process, file, since: Instant::now() })
    }

    /// What it wrote, and how long it was attached.
    fn detach(self) -> anyhow::Result<(String, Duration)> {
        let took = self.since.elapsed();
        let pid = Pid::from_raw(self.process.pid() as i32).context("a process id")?;
        kill_process(pid, Signal::INT)?;
        self.process.finish()?;
        Ok((take(&self.file)?, took))
    }
}

/// Counts what a process calls from now on.
pub struct Counting(Attached);

impl Counting {
    /// Attaches to a running process.
    pub fn attach(pid: u32) -> anyhow::Result<Self> {
        Ok(Self(Attached::to(pid, &COUNT)?))
    }

    /// Lets the process go. What it called, and in how much time.
    pub fn detach(self) -> anyhow::Result<(Calls, Duration)> {
        let (summary, took) = self.0.detach()?;
        Ok((Calls::parse(&summary), took))
    }
}

/// Writes down what a process sends from now on, call by call.
pub struct Following(Attached);

impl Following {
    /// Attaches to a running process.
    pub fn attach(pid: u32) -> anyhow::Result<Self> {
        Ok(Self(Attached::to(pid, &FOLLOW)?))
    }

    /// Lets the process go. All it sent.
    pub fn detach(self) -> anyhow::Result<Sends> {
        Ok(Sends { calls: whole_calls(&self.0.detach()?.0) })
    }
}

/// Runs a command to its end. What it called and printed.
pub fn run(command: &Command) -> anyhow::Result<(Calls, String)> {
    let file = output_file("run");
    let mut strace = Command::new("strace");
    strace.args(COUNT).arg("-o").arg(&file).arg(command.get_program()).args(command.get_args());
    let process = Running::start(strace.stdout(Stdio::piped()).stdin(Stdio::null()))?;
    let (status, printed) = process.finish()?;
    ensure!(status.success(), "{:?} ended with {status}", command.get_program());
    Ok((Calls::parse(&take(&file)?), printed))
}

/// Whether strace is there and may do its work.
pub fn is_usable() -> bool {
    run(&Command::new(OsStr::new("true"))).is_ok()
}

fn output_file(what: &str) -> PathBuf {
    std::env::temp_dir().join(format!("forebay-strace-{}-{what}", std::process::id()))
}

fn take(file: &Path) -> anyhow::Result<String> {
    let text = fs::read_to_string(file).context("strace left no output")?;
    fs::remove_file(file)?;
    Ok(text)
}

/// How often each system call was made, by its name.
pub struct Calls(BTreeMap<String, u64>);

impl Calls {
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

/// What a process sent, call by call.
pub struct Sends {
    /// A call each, without its thread.
    calls: Vec<String>,
}

/// Calls in the order in which they returned. One that another thread's came in between is in two
/// lines: `7 writev(12, <unfinished ...>` and `7 <... writev resumed>) = 500`.
fn whole_calls(lines: &str) -> Vec<String> {
    let mut begun = BTreeMap::new();
    let whole = lines.lines().filter_map(|line| {
        let (thread, call) = line.split_once(' ')?;
        let call = call.trim_start();
        if let Some(begin) = call.strip_suffix("<unfinished ...>") {
            begun.insert(thread, begin);
            return None;
        }
        match call.strip_prefix("<... ").and_then(|rest| rest.split_once(" resumed>")) {
            Some((_, end)) => begun.remove(thread).map(|begin| format!("{begin}{end}")),
            None => Some(call.to_owned()),
        }
    });
    whole.collect()
}

impl Sends {
    /// Calls that sent something: with the file descriptor and how many bytes.
    fn all(&self) -> impl Iterator<Item = (u32, u64)> {
        self.calls.iter().filter_map(|call| {
            let (name, rest) = call.split_once('(')?;
            let fd = rest.split([',', ')']).next()?.trim().parse().ok()?;
            let sent = rest.rsplit_once("= ")?.1.split(' ').next()?.parse().ok()?;
            SEND_CALLS.contains(&name).then_some((fd, sent))
        })
    }

    /// How many calls sent something of at least `len_min` bytes.
    pub fn send_count(&self, len_min: u64) -> usize {
        self.all().filter(|(_, sent)| *sent >= len_min).count()
    }

    /// Of the connection that was accepted last: how many calls sent something before the first
    /// that sent at least `len` bytes.
    pub fn sends_before(&self, len: u64) -> Option<usize> {
        let accepted = |call: &String| -> Option<u32> {
            let call = call.strip_prefix("accept")?;
            call.rsplit_once("= ")?.1.split(' ').next()?.parse().ok()
        };
        let accepted = self.calls.iter().rev().find_map(accepted)?;
        self.all().filter(|(fd, _)| *fd == accepted).position(|(_, sent)| sent >= len)
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

    #[test]
    fn what_was_sent_is_read_by_connection() {
        let lines = "7 accept4(9, NULL, NULL, SOCK_CLOEXEC|SOCK_NONBLOCK) = 12\n\
                     7 write(4, ..., 8) = 8\n7 writev(12, [...], 1) = 3073\n\
                     7 sendto(12, ..., 400) = -1 EAGAIN (Resource temporarily unavailable)\n\
                     7 writev(12, [...], 3 <unfinished ...>\n8 writev(13, [...], 1) = 600\n\
                     7 <... writev resumed>) = 90000\n7 writev(12, [...], 1) = 500\n";
        let sends = Sends { calls: whole_calls(lines) };
        assert_eq!(sends.send_count(300), 4);
        assert_eq!(sends.sends_before(10_000), Some(1));
    }
}
