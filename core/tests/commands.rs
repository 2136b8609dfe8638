//! The commands, run as a user runs them: a server, recordings published into it, viewers.
#![allow(clippy::unwrap_used, reason = "a test that cannot go on has failed")]
#![allow(
    clippy::disallowed_methods,
    clippy::disallowed_types,
    reason = "these tests are processes that talk over sockets"
)]

use std::io::{BufRead, BufReader, Read, Write};
use std::net::{TcpListener, TcpStream};
use std::path::PathBuf;
use std::process::{Child, Command, Output, Stdio};
use std::time::Duration;

use serde_json::Value;

/// A tenth of a second each.
const POLLS_MAX: usize = 300;

fn forebay(arguments: &[&str]) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_forebay"));
    command.args(["--log", "warn"]).args(arguments);
    command.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped());
    command
}

/// What a command printed, and its exit code.
struct Done {
    code: i32,
    stdout: String,
    stderr: String,
}

impl From<Output> for Done {
    fn from(output: Output) -> Self {
        Self {
            code: output.status.code().expect("no signal"),
            stdout: String::from_utf8(output.stdout).unwrap(),
            stderr: String::from_utf8(output.stderr).unwrap(),
        }
    }
}

impl Done {
    fn json(&self) -> Value {
        serde_json::from_str(&self.stdout)
            .unwrap_or_else(|error| panic!("{error}: {}{}", self.stdout, self.stderr))
    }

    #[track_caller]
    fn assert_fails(&self, code: i32, message: &str) {
        assert_eq!(self.code, code, "{}", self.stderr);
        assert!(self.stderr.contains(message), "{}", self.stderr);
    }
}

fn run(arguments: &[&str]) -> Done {
    forebay(arguments).output().unwrap().into()
}

/// A command that is still running, and is no more when the test is over.
struct Running(Option<Child>);

impl Running {
    fn start(arguments: &[&str]) -> Self {
        Self(Some(forebay(arguments).spawn().unwrap()))
    }

    fn finish(mut self) -> Done {
        self.0.take().unwrap().wait_with_output().unwrap().into()
    }

    fn interrupt(&self) {
        let id = self.0.as_ref().unwrap().id().to_string();
        assert!(Command::new("kill").args(["-INT", &id]).status().unwrap().success());
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        if let Some(child) = &mut self.0 {
            drop(child.kill());
            drop(child.wait());
        }
    }
}

struct Server {
    _process: Running,
    /// What it said about itself.
    invitation: String,
    rtmp: String,
    http: String,
}

impl Server {
    fn start(arguments: &[&str]) -> Self {
        let ports = ["serve", "--rtmp", "127.0.0.1:0", "--http", "127.0.0.1:0"];
        let mut child = forebay(&[&ports[..], arguments].concat()).spawn().unwrap();
        let mut lines = BufReader::new(child.stdout.take().unwrap()).lines();
        let mut invitation = String::new();
        while !invitation.contains("/api/streams") {
            let Some(line) = lines.next() else {
                let mut stderr = String::new();
                child.stderr.take().unwrap().read_to_string(&mut stderr).unwrap();
                panic!("the server did not start: {invitation}{stderr}");
            };
            invitation += &(line.unwrap() + "\n");
        }
        let address = |scheme: &str| {
            let start = invitation.find(scheme).unwrap() + scheme.len();
            invitation[start..].split('/').next().unwrap().to_owned()
        };
        let (rtmp, http) = (address("rtmp://"), address("http://"));
        Self { _process: Running(Some(child)), invitation, rtmp, http }
    }

    fn rtmp(&self, stream: &str) -> String {
        format!("rtmp://{}/{stream}", self.rtmp)
    }

    fn http(&self, stream: &str) -> String {
        format!("http://{}/{stream}.flv", self.http)
    }

    /// What the API says about a stream. Null if there is none.
    fn stream(&self, key: &str) -> Value {
        let mut socket = TcpStream::connect(&self.http).unwrap();
        let request = "GET /api/streams HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n";
        socket.write_all(request.as_bytes()).unwrap();
        let mut response = String::new();
        socket.read_to_string(&mut response).unwrap();
        let body = response.split_once("\r\n\r\n").unwrap().1;
        let document: Value = serde_json::from_str(body).unwrap();
        let streams = document["streams"].as_array().unwrap();
        streams.iter().find(|stream| stream["key"] == key).cloned().unwrap_or_default()
    }

    #[track_caller]
    fn wait_until(&self, key: &str, is_so: impl Fn(&Value) -> bool) {
        for _ in 0..POLLS_MAX {
            if is_so(&self.stream(key)) {
                return;
            }
            std::thread::sleep(Duration::from_millis(100));
        }
        panic!("it never came so far: {:#}", self.stream(key));
    }
}

fn testdata(file: &str) -> String {
    let folder = if file.ends_with(".flv") { "flv" } else { "rtmp" };
    let path = PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("../testdata").join(folder);
    path.join(file).to_str().unwrap().to_owned()
}

/// How many tags of which kind the manifest counts.
fn counted(file: &str, kind: &str) -> u64 {
    let path = PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("../testdata/manifest.json");
    let manifest: Value = serde_json::from_slice(&std::fs::read(path).unwrap()).unwrap();
    let found = manifest.as_array().unwrap().iter().find(|entry| entry["file"] == file).unwrap();
    found["tags"][kind].as_u64().unwrap()
}

/// Viewers by both protocols that wait for the stream, the recording, and what they saw of it.
fn watch_a_replay(file: &str, stream: &str, options: &[&str]) -> Vec<Value> {
    // Flat out is faster than any viewer; none is to lose anything for that.
    let patience = ["play.wait_ms=60000", "play.backlog_ms_max=60000", "hub.history_ms=60000"];
    let server = Server::start(&patience.map(|setting| ["--set", setting]).concat());
    let viewers = [server.rtmp(stream), server.http(stream)]
        .map(|url| Running::start(&["watch", &url, "--json", "--timeout", "60"]));
    let subscribers = |topic: &Value| {
        let all = topic["subscribers"].as_array().into_iter().flatten();
        all.filter(|subscriber| subscriber["kind"] != "consumer").count()
    };
    server.wait_until(stream, |topic| subscribers(topic) == viewers.len());
    let replay = ["replay", &testdata(file), &server.rtmp(stream), "--json"];
    let sent = run(&[&replay, options].concat());
    assert_eq!(sent.code, 0, "{}", sent.stderr);
    assert!(sent.json()["tags"].as_u64() > Some(0));
    viewers
        .into_iter()
        .map(|viewer| {
            let done = viewer.finish();
            assert_eq!(done.code, 0, "{file}: {}{}", done.stdout, done.stderr);
            let report = done.json();
            assert_eq!(report["decodable_count"], 1);
            assert!(report["late_ms"]["p99"].is_number(), "{report:#}");
            report["viewers"][0].clone()
        })
        .collect()
}

#[test]
fn what_is_replayed_flat_out_is_what_viewers_see() {
    let file = "obs-360p30-base.flv";
    for seen in watch_a_replay(file, "live/x", &["--pace", "max"]) {
        assert_eq!(seen["keyframes"], counted(file, "video_key"));
        assert_eq!(seen["audio_tags"], counted(file, "audio") + counted(file, "audio_seq"));
        assert_eq!(seen["script_tags"], 1);
        assert_eq!((&seen["lags"], &seen["problems"]), (&0.into(), &Value::Array(vec![])));
    }
}

#[test]
fn a_server_acknowledges_at_least_twice_in_a_window() {
    let server = Server::start(&[]);
    let (file, url) = (testdata("obs-360p30-base.flv"), server.rtmp("live/x"));
    let replay =
        |window: &[&str]| run(&[&["replay", &file, &url, "--json"], window].concat()).json();
    assert_eq!(replay(&["--pace", "max"])["acknowledged_ms"], Value::Null);
    let sent = replay(&["--pace", "x2", "--window", "16384"]);
    let count = sent["acknowledged_ms"]["count"].as_u64().unwrap();
    // What came in one read is acknowledged at once, and the last is said when nobody listens.
    let bytes = sent["bytes"].as_u64().unwrap();
    assert!((bytes / 16_384 / 2..=bytes / 8_192).contains(&count), "{sent:#}");
    let said = run(&["replay", &file, &url, "--pace", "x4", "--window", "16384"]);
    assert!(said.stdout.contains("; acknowledged after "), "{}", said.stdout);
    let capture = testdata("obs-publish-360p60.rtmpcap");
    let refused = run(&["replay", &capture, &url, "--window", "16384"]);
    assert!(
        refused.code != 0 && refused.stderr.contains("--window is for FLV files"),
        "{}",
        refused.stderr
    );
}

#[test]
fn captures_of_three_encoders_give_the_tags_of_the_manifest() {
    for (file, stream) in [
        ("obs-publish-360p60.rtmpcap", "live/obs-capture"),
        ("ffmpeg5-publish-360p30.rtmpcap", "live/ffmpeg5-publish-360p30"),
        ("gst-librtmp-360p30.rtmpcap", "live/gst-librtmp-360p30"),
    ] {
        for seen in watch_a_replay(file, stream, &["--pace", "max"]) {
            assert_eq!(seen["keyframes"], counted(file, "video_key"), "{file}");
            let audio = counted(file, "audio") + counted(file, "audio_seq");
            assert_eq!(seen["audio_tags"], audio, "{file}");
        }
    }
}

#[test]
fn a_looped_recording_is_one_decodable_stream() {
    let options = ["--loop", "--seconds", "20", "--pace", "x20"];
    for seen in watch_a_replay("obs-360p30-base.flv", "live/x", &options) {
        assert_eq!(seen["restarts"], 0);
        assert!(seen["keyframes"].as_u64() > Some(20), "{seen:#}");
    }
}

#[test]
fn the_server_replays_recordings_and_captures_itself() {
    let server = Server::start(&["--replay", &testdata("obs-360p30-base.flv")]);
    assert!(server.invitation.contains("live/obs.flv"), "{}", server.invitation);
    server.wait_until("live/obs", |topic| topic["state"] == "live");
    for url in [server.rtmp("live/obs"), server.http("live/obs")] {
        let done = run(&["watch", &url, "-n", "5", "--seconds", "1"]);
        assert_eq!(done.code, 0, "{}{}", done.stdout, done.stderr);
        assert!(done.stdout.contains("5 of 5 viewers"), "{}", done.stdout);
    }

    let server = Server::start(&["--replay", &testdata("gst-librtmp-360p30.rtmpcap")]);
    assert!(server.invitation.contains("live/gst-librtmp-360p30"), "{}", server.invitation);
    server.wait_until("live/gst-librtmp-360p30", |topic| topic["state"] == "live");

    let capture = testdata("gst-librtmp-360p30.rtmpcap");
    let done = run(&["serve", "--replay", &capture, "--replay-as", "live/x"]);
    done.assert_fails(1, "published as it was recorded, which is live/gst-librtmp-360p30");
}

#[test]
fn an_interrupted_replay_ends_its_stream_properly() {
    let server = Server::start(&[]);
    let (file, url) = (testdata("obs-360p30-base.flv"), server.rtmp("live/x"));
    let replay = Running::start(&["replay", "--loop", &file, &url]);
    server.wait_until("live/x", |topic| topic["published_tags"].as_u64() > Some(10));
    replay.interrupt();
    let done = replay.finish();
    assert_eq!(done.code, 0, "{}", done.stderr);
    assert!(done.stdout.starts_with("sent "), "{}", done.stdout);
    assert_eq!(server.stream("live/x"), Value::Null, "no grace for who says goodbye");
}

#[test]
fn files_that_cannot_be_replayed_are_named_with_the_reason() {
    let url = "rtmp://127.0.0.1:1/live/x";
    let manifest = testdata("manifest.json").replace("rtmp/", "");
    run(&["replay", "missing.flv", url]).assert_fails(1, "missing.flv: No such file");
    run(&["replay", &manifest, url]).assert_fails(1, "neither an FLV file nor an .rtmpcap");
    run(&["serve", "--replay", "missing.flv"]).assert_fails(1, "missing.flv: No such file");
}

#[test]
fn a_damaged_file_is_published_up_to_the_damage() {
    let server = Server::start(&[]);
    let file = testdata("bad-garbage-between.flv");
    let done = run(&["replay", &file, &server.rtmp("live/x"), "--pace", "max"]);
    done.assert_fails(1, "is damaged behind 47 frames: unknown tag type 33 at 49463");
    assert!(done.stdout.starts_with("sent 50 tags"), "{}", done.stdout);
}

#[test]
fn wrong_addresses_are_errors_of_usage() {
    let file = testdata("obs-360p30-base.flv");
    for url in ["http://127.0.0.1/live/x", "rtmp://127.0.0.1/live", "rtmps://127.0.0.1/live/x"] {
        run(&["replay", &file, url]).assert_fails(2, "<URL>");
    }
    for url in ["127.0.0.1/live/x", "https://127.0.0.1/live/x.flv", "rtmp://127.0.0.1"] {
        run(&["watch", url]).assert_fails(2, "<URL>");
    }
    run(&["replay", &file, "rtmp://h/a/b", "--pace", "fast"]).assert_fails(2, "realtime");
}

#[test]
fn who_does_not_listen_is_named() {
    let address = TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap();
    let message = format!("cannot connect to {address}: Connection refused");
    let (rtmp, http) = (format!("rtmp://{address}/live/x"), format!("http://{address}/live/x.flv"));
    run(&["replay", &testdata("obs-360p30-base.flv"), &rtmp]).assert_fails(1, &message);
    let capture = testdata("gst-librtmp-360p30.rtmpcap");
    run(&["replay", &capture, &rtmp]).assert_fails(1, &message);
    run(&["watch", &rtmp]).assert_fails(1, &message);
    run(&["watch", &http]).assert_fails(1, &message);
}

#[test]
fn a_refused_publisher_is_told_why() {
    let server = Server::start(&["--set", "hub.takeover=false"]);
    let (file, url) = (testdata("obs-360p30-base.flv"), server.rtmp("live/x"));
    let _first = Running::start(&["replay", "--loop", &file, &url]);
    server.wait_until("live/x", |topic| topic["state"] == "live");
    run(&["replay", &file, &url]).assert_fails(1, "publish was refused: NetStream.Publish.BadName");
}

#[test]
fn a_stream_that_nobody_publishes_cannot_be_watched() {
    let server = Server::start(&["--set", "play.wait_ms=0"]);
    run(&["watch", &server.http("live/x")]).assert_fails(1, "404 Not Found");
    run(&["watch", &server.rtmp("live/x")]).assert_fails(1, "NetStream.Play.StreamNotFound");
    // Neither FLV nor RTMP.
    let no_flv = format!("http://{}/api/streams", server.http);
    run(&["watch", &no_flv]).assert_fails(1, "no FLV signature");
    run(&["watch", &format!("rtmp://{}/live/x", server.http)]).assert_fails(1, "no RTMP version");
}

#[test]
fn a_server_that_says_nothing_is_not_waited_for() {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = listener.local_addr().unwrap();
    for url in [format!("rtmp://{address}/live/x"), format!("http://{address}/live/x.flv")] {
        let done = run(&["watch", &url, "--timeout", "0.1"]);
        done.assert_fails(1, "nothing of the stream came within 100ms");
    }
}

/// A configuration that makes no sense is told from a machine that cannot do it: by the exit code.
#[test]
fn a_wrong_configuration_is_refused_with_its_place_and_its_reason() {
    let folder = std::env::temp_dir().join(format!("forebay-config-{}", std::process::id()));
    std::fs::create_dir_all(&folder).unwrap();
    let file = folder.join("forebay.toml");
    let file = file.to_str().unwrap();
    let serve = |text: &str| {
        std::fs::write(file, text).unwrap();
        run(&["serve", "--rtmp=127.0.0.1:0", "--http=127.0.0.1:0", "--config", file])
    };
    for (text, line, message) in [
        ("[[relay]]\nstream = \"live/*\"\nurl = \"http://x/live\"\n", 3, "`relay.url`"),
        ("[[relay]]\nstream = \"*\"\nurl = \"rtmp://x/live\"\n", 2, "`relay.stream` is \"*\""),
        (
            "[[relay]]\nstream = \"live/*\"\nurl = \"rtmp://x/live\"\nkey_file = \"/no/such\"\n",
            4,
            "`relay.key_file`",
        ),
        ("[store]\nurl = \"ftp://x\"\n", 2, "`store.url` is \"ftp://x\""),
        ("[store]\nurl = \"file://relative\"\n", 2, "begins with file:///"),
        ("[archive]\nsync_ms = 0\n", 2, "`archive.sync_ms` is 0"),
    ] {
        let refused = serve(text);
        refused.assert_fails(2, &format!("{file}:{line}: "));
        refused.assert_fails(2, message);
    }
    // What is right and cannot be had here.
    serve("[archive]\ndirectory = \"/dev/null/records\"\n").assert_fails(1, "archive.directory");
    serve("[store]\nurl = \"file:///dev/null/store\"\n").assert_fails(1, "store.url");
    std::fs::remove_dir_all(folder).unwrap();
}
