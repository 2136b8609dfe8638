//! The shipped program as others run it, and processes that end with their owner.

use std::io::Read;
use std::path::PathBuf;
use std::process::{Child, ChildStdout, Command, ExitStatus, Stdio};

use anyhow::{Context as _, ensure};
use rustix::process::{Pid, Signal, kill_process};

use crate::process::spawn_on;

/// A recording of `testdata/flv`.
pub fn recording(name: &str) -> PathBuf {
    PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("../testdata/flv").join(name)
}

/// The program, which was built beside this one.
pub fn forebay() -> anyhow::Result<Command> {
    let path = std::env::current_exe()?.with_file_name("forebay");
    ensure!(path.exists(), "{} is missing: cargo build --release -p forebay", path.display());
    let mut command = Command::new(path);
    command.arg("--log=warn").stdin(Stdio::null());
    Ok(command)
}

/// Runs until it is dropped.
pub struct Running(Child);

impl Running {
    /// Starts it.
    pub fn start(command: &mut Command) -> anyhow::Result<Self> {
        let name = command.get_program().to_string_lossy().into_owned();
        Ok(Self(command.spawn().with_context(|| format!("cannot run {name}"))?))
    }

    /// Starts it on one core, if there are at least two of them.
    pub fn start_on(core: usize, command: &mut Command) -> anyhow::Result<Self> {
        Ok(Self(spawn_on(core, command)?))
    }

    /// Its process id.
    pub fn pid(&self) -> u32 {
        self.0.id()
    }

    /// What it prints, if that is piped and nobody has taken it.
    pub fn stdout(&mut self) -> anyhow::Result<ChildStdout> {
        self.0.stdout.take().context("what it prints is not piped")
    }

    /// Tells it to stop, and does not wait until it has.
    pub fn terminate(&self) -> anyhow::Result<()> {
        let pid = Pid::from_raw(self.0.id() as i32).context("a process id")?;
        Ok(kill_process(pid, Signal::TERM)?)
    }

    /// Waits until it ends by itself; gives what it printed, if that is piped.
    pub fn finish(mut self) -> anyhow::Result<(ExitStatus, String)> {
        let mut printed = String::new();
        if let Some(mut stdout) = self.0.stdout.take() {
            stdout.read_to_string(&mut printed)?;
        }
        Ok((self.0.wait()?, printed))
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        // It has ended, or is not needed any more.
        drop(self.0.kill());
        drop(self.0.wait());
    }
}

/// How a stream is played.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Player {
    /// RTMP.
    Rtmp,
    /// FLV in an endless HTTP response.
    HttpFlv,
}

impl Player {
    /// Both.
    pub const ALL: [Self; 2] = [Self::Rtmp, Self::HttpFlv];

    /// As names of budgets end.
    pub fn name(self) -> &'static str {
        match self {
            Self::Rtmp => "rtmp",
            Self::HttpFlv => "http_flv",
        }
    }
}
