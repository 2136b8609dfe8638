//! Programs that run for a while, none of them longer than it may: a server of ours, and its peers.
#![allow(
    clippy::disallowed_methods,
    clippy::disallowed_types,
    reason = "these tests are processes that talk over sockets"
)]

use std::io::{BufRead, BufReader, Read, Write};
use std::net::TcpStream;
use std::process::{Child, Command, Stdio};
use std::thread::{JoinHandle, sleep, spawn};
use std::time::Duration;

use serde_json::Value;

pub(crate) const POLL: Duration = Duration::from_millis(50);

/// How many polls anything may take: half a minute.
pub(crate) const POLLS_MAX: usize = 600;

/// A program that is running, and is no more when the test is over.
pub(crate) struct Program {
    name: String,
    child: Child,
    stdout: Option<JoinHandle<Vec<u8>>>,
    stderr: Option<JoinHandle<Vec<u8>>>,
}

/// What a program said, and how it ended.
pub(crate) struct Done {
    name: String,
    /// `None` for one that was killed.
    pub(crate) code: Option<i32>,
    pub(crate) stdout: Vec<u8>,
    pub(crate) stderr: String,
}

impl Program {
    /// `arguments` are separated by spaces; none of ours has any.
    pub(crate) fn start(program: &str, arguments: &str) -> Self {
        let mut command = Command::new(program);
        command.args(arguments.split_whitespace());
        command.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped());
        let mut child = command
            .spawn()
            .unwrap_or_else(|error| panic!("{program}: {error}; `cargo ci judges` installs it"));
        let stderr = child.stderr.take().map(collect);
        Self { name: format!("{program} {arguments}"), child, stdout: None, stderr }.collected()
    }

    fn collected(mut self) -> Self {
        self.stdout = self.child.stdout.take().map(collect);
        self
    }

    /// Waits until it ends by itself.
    #[track_caller]
    pub(crate) fn finish(mut self) -> Done {
        for _ in 0..POLLS_MAX {
            if self.child.try_wait().unwrap().is_some() {
                return self.end();
            }
            sleep(POLL);
        }
        let done = self.kill();
        panic!("{} did not end: {}", done.name, done.said());
    }

    /// Without a chance to say goodbye.
    pub(crate) fn kill(mut self) -> Done {
        self.child.kill().unwrap();
        self.end()
    }

    pub(crate) fn signal(&self, signal: &str) {
        let id = self.child.id().to_string();
        assert!(Command::new("kill").args([signal, &id]).status().unwrap().success());
    }

    fn end(&mut self) -> Done {
        let code = self.child.wait().unwrap().code();
        let [stdout, stderr] = [self.stdout.take(), self.stderr.take()]
            .map(|pipe| pipe.map(|pipe| pipe.join().unwrap()).unwrap_or_default());
        let stderr = String::from_utf8_lossy(&stderr).into_owned();
        Done { name: self.name.clone(), code, stdout, stderr }
    }
}

impl Drop for Program {
    fn drop(&mut self) {
        drop(self.child.kill());
        drop(self.child.wait());
    }
}

impl Done {
    fn said(&self) -> String {
        format!("{}{}", String::from_utf8_lossy(&self.stdout), self.stderr)
    }

    /// It ended well and had nothing to complain about.
    #[track_caller]
    pub(crate) fn assert_content(&self) {
        assert_eq!(self.code, Some(0), "{}: {}", self.name, self.said());
        assert_eq!(self.stderr, "", "{}", self.name);
    }

    /// As if it had not said the lines that contain this.
    pub(crate) fn without(mut self, known: &str) -> Self {
        self.stderr = self.stderr.lines().filter(|line| !line.contains(known)).collect();
        self
    }

    /// The last `frame=` of ffmpeg's `-progress`: how many pictures it decoded.
    #[track_caller]
    pub(crate) fn assert_decoded(&self, frames_min: u64) {
        self.assert_content();
        let said = self.said();
        let mut counts = said.lines().filter_map(|line| line.strip_prefix("frame="));
        let frames: u64 = counts.next_back().map_or(0, |count| count.trim().parse().unwrap());
        assert!(frames >= frames_min, "{}: {frames} frames of {frames_min}", self.name);
    }
}

/// Everything that comes, as it comes: a full pipe would stop the program.
fn collect(mut pipe: impl Read + Send + 'static) -> JoinHandle<Vec<u8>> {
    spawn(move || {
        let mut bytes = Vec::new();
        pipe.read_to_end(&mut bytes).unwrap();
        bytes
    })
}

pub(crate) struct Server {
    program: Program,
    rtmp: String,
    http: String,
}

impl Server {
    /// On ports that are free.
    pub(crate) fn start(arguments: &str) -> Self {
        Self::start_at("127.0.0.1:0", "127.0.0.1:0", arguments)
    }

    pub(crate) fn start_at(rtmp: &str, http: &str, arguments: &str) -> Self {
        let name = env!("CARGO_BIN_EXE_forebay");
        let mut child = Command::new(name)
            .args(["--log", "warn", "serve", "--rtmp", rtmp, "--http", http])
            .args(arguments.split_whitespace())
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn()
            .unwrap();
        let stderr = child.stderr.take().map(collect);
        let mut lines = BufReader::new(child.stdout.take().unwrap()).lines();
        let mut program = Program { name: name.to_owned(), child, stdout: None, stderr };
        let mut invitation = String::new();
        while !invitation.contains("/api/streams") {
            let Some(line) = lines.next() else {
                panic!("the server did not start: {invitation}{}", program.end().stderr);
            };
            invitation += &(line.unwrap() + "\n");
        }
        let address = |scheme: &str| {
            let start = invitation.find(scheme).unwrap() + scheme.len();
            invitation[start..].split('/').next().unwrap().to_owned()
        };
        let (rtmp, http) = (address("rtmp://"), address("http://"));
        Self { program, rtmp, http }
    }

    pub(crate) fn rtmp(&self, stream: &str) -> String {
        format!("rtmp://{}/{stream}", self.rtmp)
    }

    pub(crate) fn http(&self, stream: &str) -> String {
        format!("http://{}/{stream}.flv", self.http)
    }

    /// Where a stream is played, by each protocol.
    pub(crate) fn urls(&self, stream: &str) -> [String; 2] {
        [self.rtmp(stream), self.http(stream)]
    }

    /// Where a person looks.
    pub(crate) fn page(&self) -> String {
        format!("http://{}/", self.http)
    }

    /// A request whose answer nobody waits for, as long as this is held.
    pub(crate) fn ask(&self, path: &str) -> TcpStream {
        let mut socket = TcpStream::connect(&self.http).unwrap();
        write!(socket, "GET {path} HTTP/1.1\r\nHost: x\r\n\r\n").unwrap();
        socket
    }

    /// The body of a response, until the server closes the connection.
    pub(crate) fn get(&self, path: &str) -> Vec<u8> {
        let mut socket = TcpStream::connect(&self.http).unwrap();
        socket.set_read_timeout(Some(POLL * POLLS_MAX as u32)).unwrap();
        // HTTP/1.0 knows no chunks.
        write!(socket, "GET {path} HTTP/1.0\r\nHost: x\r\n\r\n").unwrap();
        let mut response = Vec::new();
        socket.read_to_end(&mut response).unwrap();
        let head_len = response.windows(4).position(|bytes| bytes == b"\r\n\r\n").unwrap() + 4;
        assert!(response.starts_with(b"HTTP/1.0 200") || response.starts_with(b"HTTP/1.1 200"));
        response.split_off(head_len)
    }

    /// What the API says about a stream. Null if there is none.
    pub(crate) fn stream(&self, key: &str) -> Value {
        let document: Value = serde_json::from_slice(&self.get("/api/streams")).unwrap();
        let streams = document["streams"].as_array().unwrap();
        streams.iter().find(|stream| stream["key"] == key).cloned().unwrap_or_default()
    }

    #[track_caller]
    pub(crate) fn wait_until(&self, key: &str, is_so: impl Fn(&Value) -> bool) {
        for _ in 0..POLLS_MAX {
            if is_so(&self.stream(key)) {
                return;
            }
            sleep(POLL);
        }
        panic!("it never came so far: {:#}", self.stream(key));
    }

    #[track_caller]
    pub(crate) fn wait_until_live(&self, key: &str) {
        self.wait_until(key, |stream| stream["state"] == "live");
    }

    #[track_caller]
    pub(crate) fn wait_for_subscribers(&self, key: &str, count: usize) {
        self.wait_until(key, |stream| {
            let all = stream["subscribers"].as_array().into_iter().flatten();
            all.filter(|subscriber| subscriber["kind"] != "consumer").count() == count
        });
    }

    /// Ends it at once, as a loss of power does to what it had in memory.
    pub(crate) fn kill(self) -> Done {
        self.program.kill()
    }

    /// Asks it to stop, as a service manager does.
    pub(crate) fn terminate(self) -> Done {
        self.program.signal("-TERM");
        self.program.finish()
    }
}
