//! The servers that are measured, each a process of its own with a configuration of its own.

use std::ffi::OsStr;
use std::io::{BufRead, BufReader, Read, Write};
use std::net::{Ipv4Addr, TcpListener, TcpStream};
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};
use std::{fs, thread};

use anyhow::{Context as _, bail, ensure};

use crate::program::{Player, Running, forebay};

/// A server that runs until it is dropped.
pub struct Server {
    process: Running,
    /// The process that serves: nginx's worker, Forebay itself.
    pub pid: u32,
    /// Where it speaks RTMP.
    pub rtmp_port: u16,
    /// Where it speaks HTTP, if it does.
    pub http_port: Option<u16>,
    /// nginx's folder, removed with the server.
    folder: Option<PathBuf>,
}

impl Server {
    /// The release binary, with these keys of its configuration set.
    pub fn forebay(core: Option<usize>, set: &[&str]) -> anyhow::Result<Self> {
        Self::start(core, set, forebay()?.args(["serve"]))
    }

    /// The same, which publishes what it is given to another server.
    pub fn forebay_relaying_to(other: &Self) -> anyhow::Result<Self> {
        let port = other.rtmp_port;
        let file = std::env::temp_dir().join(format!("forebay-relay-{port}.toml"));
        let relay =
            format!("[[relay]]\nstream = \"live/*\"\nurl = \"rtmp://127.0.0.1:{port}/live\"\n");
        fs::write(&file, relay)?;
        let server = Self::start(None, &[], forebay()?.arg("serve").arg("--config").arg(&file));
        fs::remove_file(&file)?;
        server
    }

    fn start(core: Option<usize>, set: &[&str], command: &mut Command) -> anyhow::Result<Self> {
        command.args(["--rtmp=127.0.0.1:0", "--http=127.0.0.1:0"]);
        command.args(set.iter().flat_map(|assignment| ["--set", assignment]));
        command.stdout(Stdio::piped());
        let mut process = match core {
            Some(core) => Running::start_on(core, command)?,
            None => Running::start(command)?,
        };
        let mut lines = BufReader::new(process.stdout()?).lines();
        // Its last line is the one about its status; before it come all addresses.
        let mut said = String::new();
        while !said.contains("status") {
            said += &lines.next().context("the server did not start")??;
        }
        let port = |scheme: &str| -> anyhow::Result<u16> {
            let (_, rest) = said.split_once(scheme).context("no address")?;
            let digits: String = rest.chars().take_while(char::is_ascii_digit).collect();
            Ok(digits.parse()?)
        };
        let rtmp_port = port("rtmp://127.0.0.1:")?;
        let http_port = Some(port("http://127.0.0.1:")?);
        Ok(Self { pid: process.pid(), process, rtmp_port, http_port, folder: None })
    }

    /// nginx with its RTMP module, one worker.
    pub fn nginx(core: usize) -> anyhow::Result<Self> {
        let module = "/usr/lib/nginx/modules/ngx_rtmp_module.so";
        ensure!(
            Path::new(module).exists(),
            "nginx-rtmp is missing: apt-get install nginx-light libnginx-mod-rtmp"
        );
        let rtmp_port = TcpListener::bind((Ipv4Addr::LOCALHOST, 0))?.local_addr()?.port();
        let folder = std::env::temp_dir().join(format!("forebay-nginx-{rtmp_port}"));
        fs::create_dir_all(&folder)?;
        let config = format!(
            "load_module {module};\ndaemon off;\nworker_processes 1;\npid nginx.pid;\n\
             worker_rlimit_nofile 20000;\nerror_log error.log warn;\n\
             events {{ worker_connections 10000; }}\n\
             rtmp {{ access_log off; server {{ listen 127.0.0.1:{rtmp_port}; \
             application live {{ live on; }} }} }}\n"
        );
        let file = folder.join("nginx.conf");
        fs::write(&file, config)?;
        let mut command = Command::new("nginx");
        command.arg("-p").arg(&folder).arg("-c").arg(&file).stderr(Stdio::null());
        let process = Running::start_on(core, &mut command)?;
        let mut server = Self { pid: 0, process, rtmp_port, http_port: None, folder: Some(folder) };
        server.pid = server.worker()?;
        Ok(server)
    }

    /// nginx serves in a child of the process that was started.
    fn worker(&self) -> anyhow::Result<u32> {
        let (master, begun) = (self.process.pid(), Instant::now());
        while begun.elapsed() < Duration::from_secs(5) {
            let children = fs::read_to_string(format!("/proc/{master}/task/{master}/children"))?;
            if let Some(pid) = children.split_whitespace().next()
                && TcpStream::connect((Ipv4Addr::LOCALHOST, self.rtmp_port)).is_ok()
            {
                return Ok(pid.parse()?);
            }
            thread::sleep(Duration::from_millis(20));
        }
        bail!("nginx does not listen");
    }

    /// Publishes a recording as `live/obs`, with further arguments of `forebay replay`.
    pub fn replay(&self, file: &OsStr, arguments: &[&str]) -> anyhow::Result<Command> {
        let mut command = forebay()?;
        command.arg("replay").args(arguments).arg(file);
        command.arg(format!("rtmp://127.0.0.1:{}/live/obs", self.rtmp_port));
        command.stdout(Stdio::piped());
        Ok(command)
    }

    /// So many players of `live/obs`, for so many seconds: `forebay watch`.
    pub fn watch(&self, by: Player, count: usize, seconds: f64) -> anyhow::Result<Command> {
        let mut command = forebay()?;
        let url = match by {
            Player::Rtmp => format!("rtmp://127.0.0.1:{}/live/obs", self.rtmp_port),
            Player::HttpFlv => {
                let port = self.http_port.context("this server has no HTTP")?;
                format!("http://127.0.0.1:{port}/live/obs.flv")
            }
        };
        command.args(["watch", &url, &format!("-n={count}"), &format!("--seconds={seconds}")]);
        command.stdout(Stdio::piped());
        Ok(command)
    }

    /// The body of an answer to GET, of Forebay.
    pub fn get(&self, path: &str) -> anyhow::Result<String> {
        let port = self.http_port.context("this server has no HTTP")?;
        let mut socket = TcpStream::connect((Ipv4Addr::LOCALHOST, port))?;
        write!(socket, "GET {path} HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n")?;
        let mut answer = String::new();
        socket.read_to_string(&mut answer)?;
        let (head, body) = answer.split_once("\r\n\r\n").context("no HTTP answer")?;
        ensure!(head.contains(" 200 "), "{path}: {head}");
        Ok(body.to_owned())
    }

    /// What all streams' rings, logs and segments hold, in bytes, of Forebay.
    pub fn held_bytes(&self) -> anyhow::Result<u64> {
        let streams: serde_json::Value = serde_json::from_str(&self.get("/api/streams")?)?;
        let streams = streams.as_array().or_else(|| streams["streams"].as_array());
        let held = |stream: &serde_json::Value| {
            let of = |part: &str, key: &str| stream[part][key].as_u64().unwrap_or(0);
            let hub = of("memory", "ring_bytes") + of("memory", "wire_log_bytes");
            hub + of("hls", "held_bytes")
        };
        Ok(streams.context("no list of streams")?.iter().map(held).sum())
    }

    /// Tags that viewers who are connected have lost to slowness, of Forebay.
    pub fn lag_tags(&self) -> anyhow::Result<u64> {
        let metrics = self.get("/metrics")?;
        let lags = metrics.lines().filter(|line| line.contains("stream_lag_tags{"));
        lags.map(|line| Ok(line.rsplit(' ').next().unwrap_or_default().parse::<u64>()?)).sum()
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        let Some(folder) = &self.folder else { return };
        // nginx's worker would outlive a master that is killed.
        drop(self.process.terminate());
        let begun = Instant::now();
        while Path::new(&format!("/proc/{}", self.pid)).exists()
            && begun.elapsed() < Duration::from_secs(5)
        {
            thread::sleep(Duration::from_millis(20));
        }
        drop(fs::remove_dir_all(folder));
    }
}
