//! The shipped program as others run it: a server, and its own `replay` and `watch` as load.

use std::ffi::OsStr;
use std::fs;
use std::io::{BufRead, BufReader, Read, Write};
use std::net::TcpStream;
use std::path::PathBuf;
use std::process::{Child, Command, ExitStatus, Stdio};

use anyhow::{Context as _, ensure};

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

    /// Its process id.
    pub fn pid(&self) -> u32 {
        self.0.id()
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

/// A server on free ports.
pub struct Server {
    process: Running,
    rtmp: String,
    http: String,
}

impl Server {
    /// A server with these keys of its configuration set, each as `section.key=value`.
    pub fn start(settings: &[&str]) -> anyhow::Result<Self> {
        let mut command = forebay()?;
        command.args(["serve", "--rtmp=127.0.0.1:0", "--http=127.0.0.1:0"]);
        command.args(settings.iter().flat_map(|setting| ["--set", setting]));
        let mut process = Running::start(command.stdout(Stdio::piped()))?;
        let stdout = process.0.stdout.take().context("the server's output is piped")?;
        let (mut rtmp, mut http) = (None, None);
        for line in BufReader::new(stdout).lines() {
            let line = line?;
            let address = |scheme| line.split_once(scheme)?.1.split('/').next().map(str::to_owned);
            rtmp = rtmp.or(address("rtmp://"));
            http = http.or(address("http://"));
            if line.starts_with("status") {
                break;
            }
        }
        let silent = "the server did not say where it listens";
        Ok(Self { process, rtmp: rtmp.context(silent)?, http: http.context(silent)? })
    }

    /// Its process id.
    pub fn pid(&self) -> u32 {
        self.process.pid()
    }

    /// Publishes a recording as `live/obs`, with further arguments of `forebay replay`.
    pub fn replay(&self, file: &OsStr, arguments: &[&str]) -> anyhow::Result<Command> {
        let mut command = forebay()?;
        command.arg("replay").args(arguments).arg(file);
        command.arg(format!("rtmp://{}/live/obs", self.rtmp)).stdout(Stdio::piped());
        Ok(command)
    }

    /// So many players of `live/obs`, for so many seconds.
    pub fn watch(&self, by: Player, count: usize, seconds: f64) -> anyhow::Result<Command> {
        let mut command = forebay()?;
        let url = match by {
            Player::Rtmp => format!("rtmp://{}/live/obs", self.rtmp),
            Player::HttpFlv => format!("http://{}/live/obs.flv", self.http),
        };
        command.args(["watch", &url, &format!("-n={count}"), &format!("--seconds={seconds}")]);
        command.stdout(Stdio::piped());
        Ok(command)
    }

    /// The body of its answer to a request for `path`.
    pub fn get(&self, path: &str) -> anyhow::Result<String> {
        let mut socket = TcpStream::connect(&self.http)?;
        write!(socket, "GET {path} HTTP/1.0\r\nHost: {}\r\n\r\n", self.http)?;
        let mut answer = String::new();
        socket.read_to_string(&mut answer)?;
        let (head, body) = answer.split_once("\r\n\r\n").context("no answer of HTTP")?;
        ensure!(head.contains(" 200 "), "{path}: {head}");
        Ok(body.to_owned())
    }

    /// Resident memory that is the server's own, in bytes: neither files nor anything shared.
    pub fn resident_len(&self) -> anyhow::Result<u64> {
        let status = fs::read_to_string(format!("/proc/{}/status", self.pid()))?;
        let line = status.lines().find_map(|line| line.strip_prefix("RssAnon:"));
        let kib = line.and_then(|line| line.trim().strip_suffix(" kB")).context("no RssAnon")?;
        Ok(kib.trim().parse::<u64>()? * 1024)
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
