//! System calls of a process, counted by strace.

use std::fs;
use std::io::{BufRead, BufReader};
use std::path::PathBuf;
use std::process::{Child, Command, Stdio};

use anyhow::Context as _;
use rustix::process::{Pid, Signal, kill_process};

/// All calls that send.
const SENDS: [&str; 5] = ["write", "writev", "sendto", "sendmsg", "sendfile"];

/// strace, attached to a process until it is asked what it saw.
pub struct Strace {
    child: Child,
    output: PathBuf,
}

impl Strace {
    /// Attaches to all threads of a process.
    pub fn attach(pid: u32) -> anyhow::Result<Self> {
        let output = std::env::temp_dir().join(format!("forebay-strace-{pid}"));
        let mut child = Command::new("strace")
            .args(["-f", "-e", "trace=accept,accept4,write,writev,sendto,sendmsg,sendfile"])
            .args(["-s", "0", "-o"])
            .arg(&output)
            .args(["-p", &pid.to_string()])
            .stderr(Stdio::piped())
            .spawn()
            .context("strace is missing: apt-get install strace")?;
        // It says that it is attached.
        let mut line = String::new();
        let stderr = child.stderr.take().context("no stderr")?;
        BufReader::new(stderr).read_line(&mut line)?;
        Ok(Self { child, output })
    }

    /// Detaches. All calls that were made, one a line.
    pub fn detach(mut self) -> anyhow::Result<Calls> {
        let pid = Pid::from_raw(self.child.id() as i32).context("no pid")?;
        kill_process(pid, Signal::INT)?;
        self.child.wait()?;
        let lines = fs::read_to_string(&self.output)?;
        drop(fs::remove_file(&self.output));
        Ok(Calls { lines })
    }
}

/// What a process called while strace was attached.
pub struct Calls {
    lines: String,
}

impl Calls {
    /// Calls that sent something: with the file descriptor and how many bytes.
    fn sends(&self) -> impl Iterator<Item = (u32, u64)> {
        self.lines.lines().filter_map(|line| {
            let (_, call) = line.split_once(' ')?;
            let (name, rest) = call.trim_start().split_once('(')?;
            let fd = rest.split([',', ')']).next()?.trim().parse().ok()?;
            let sent = rest.rsplit_once("= ")?.1.split(' ').next()?.parse().ok()?;
            SENDS.contains(&name).then_some((fd, sent))
        })
    }

    /// How many calls sent something of at least `len_min` bytes.
    pub fn send_count(&self, len_min: u64) -> usize {
        self.sends().filter(|(_, sent)| *sent >= len_min).count()
    }

    /// Of the connection that was accepted last: how many calls sent something before the first
    /// that sent at least `len` bytes.
    pub fn sends_before(&self, len: u64) -> Option<usize> {
        let accepted = |line: &str| -> Option<u32> {
            let call = line.split_once("accept")?.1;
            call.rsplit_once("= ")?.1.split(' ').next()?.parse().ok()
        };
        let accepted = self.lines.lines().rev().find_map(accepted)?;
        self.sends().filter(|(fd, _)| *fd == accepted).position(|(_, sent)| sent >= len)
    }
}
