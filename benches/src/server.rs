//! The servers that are measured, each a process of its own with a configuration of its own.

use std::io::{BufRead, BufReader, Read, Write};
use std::net::{Ipv4Addr, TcpListener, TcpStream};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};
use std::{fs, thread};

use anyhow::{Context as _, bail, ensure};

use crate::process::spawn_on;

/// The server's program, beside this one.
fn forebay() -> anyhow::Result<PathBuf> {
    let path = std::env::current_exe()?.with_file_name("forebay");
    ensure!(path.exists(), "{} is missing: cargo build --release -p forebay", path.display());
    Ok(path)
}

/// A server that runs until it is dropped.
pub struct Server {
    child: Child,
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
        let mut command = Command::new(forebay()?);
        command.args(["serve", "--log=warn", "--rtmp=127.0.0.1:0", "--http=127.0.0.1:0"]);
        command.args(set.iter().flat_map(|assignment| ["--set", assignment]));
        command.stdout(Stdio::piped()).stdin(Stdio::null());
        let mut child = match core {
            Some(core) => spawn_on(core, &mut command)?,
            None => command.spawn()?,
        };
        let mut lines = BufReader::new(child.stdout.take().context("no stdout")?).lines();
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
        Ok(Self { pid: child.id(), child, rtmp_port, http_port, folder: None })
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
        let child = spawn_on(core, &mut command)?;
        let mut server = Self { pid: 0, child, rtmp_port, http_port: None, folder: Some(folder) };
        server.pid = server.worker()?;
        Ok(server)
    }

    /// nginx serves in a child of the process that was started.
    fn worker(&self) -> anyhow::Result<u32> {
        let (master, begun) = (self.child.id(), Instant::now());
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

    /// Tags that viewers who are connected have lost to slowness, of Forebay.
    pub fn lag_tags(&self) -> anyhow::Result<u64> {
        let metrics = self.get("/metrics")?;
        let lags = metrics.lines().filter(|line| line.contains("stream_lag_tags{"));
        lags.map(|line| Ok(line.rsplit(' ').next().unwrap_or_default().parse::<u64>()?)).sum()
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        if self.folder.is_some() {
            // nginx's worker would outlive a master that is killed.
            let pid = rustix::process::Pid::from_raw(self.child.id() as i32);
            pid.map(|pid| rustix::process::kill_process(pid, rustix::process::Signal::TERM));
        } else {
            drop(self.child.kill());
        }
        drop(self.child.wait());
        self.folder.iter().for_each(|folder| drop(fs::remove_dir_all(folder)));
    }
}
