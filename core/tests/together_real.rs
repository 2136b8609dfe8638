//! All consumers at once, on real sockets and a real disk that stalls: two servers side by side, one
//! with nothing but its hub. Whoever publishes to them and plays from them are programs of their own.
#![cfg(feature = "shell")]
#![allow(clippy::unwrap_used, reason = "a test that cannot go on has failed")]

use std::io;
use std::net::{Ipv4Addr, SocketAddr};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use bytes::Bytes;
use forebay::config::Builder;
use forebay::shell::disk::{Disk, Entry, File, RealDisk, RealFile};
use forebay::shell::net::TokioNet;
use forebay::shell::{Origin, Server};
use serde_json::Value;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::{TcpListener, TcpStream};
use tokio::runtime::Runtime;
use tokio::sync::Notify;
use tokio::time::{Instant, sleep};

const SECONDS: u32 = 22;
const VIEWERS: usize = 20;
const POLLING: usize = 50;
/// In every twenty seconds.
const STALL: std::ops::Range<u64> = 8..13;

/// The disk of this machine, which does nothing at all for five seconds.
#[derive(Clone)]
struct StallingDisk {
    disk: RealDisk,
    start: Instant,
    stalled: Arc<AtomicUsize>,
}

impl StallingDisk {
    async fn stall(&self) {
        let second = self.start.elapsed().as_secs() % 20;
        if STALL.contains(&second) {
            self.stalled.fetch_add(1, Ordering::Relaxed);
            sleep(Duration::from_secs(STALL.end - second)).await;
        }
    }
}

struct StallingFile {
    file: RealFile,
    disk: StallingDisk,
}

impl Disk for StallingDisk {
    type File = StallingFile;

    async fn create(&self, path: &Path) -> io::Result<StallingFile> {
        self.stall().await;
        Ok(StallingFile { file: self.disk.create(path).await?, disk: self.clone() })
    }

    async fn open(&self, path: &Path) -> io::Result<StallingFile> {
        self.stall().await;
        Ok(StallingFile { file: self.disk.open(path).await?, disk: self.clone() })
    }

    async fn create_dir(&self, path: &Path) -> io::Result<()> {
        self.disk.create_dir(path).await
    }

    async fn list(&self, dir: &Path) -> io::Result<Vec<Entry>> {
        self.disk.list(dir).await
    }

    async fn rename(&self, from: &Path, to: &Path) -> io::Result<()> {
        self.stall().await;
        self.disk.rename(from, to).await
    }

    async fn remove(&self, path: &Path) -> io::Result<()> {
        self.disk.remove(path).await
    }

    async fn sync_dir(&self, dir: &Path) -> io::Result<()> {
        self.stall().await;
        self.disk.sync_dir(dir).await
    }
}

impl File for StallingFile {
    async fn append(&mut self, slices: Vec<Bytes>) -> io::Result<()> {
        self.disk.stall().await;
        self.file.append(slices).await
    }

    async fn write_at(&mut self, at: u64, bytes: Bytes) -> io::Result<()> {
        self.disk.stall().await;
        self.file.write_at(at, bytes).await
    }

    async fn read_at(&mut self, at: u64, len: usize) -> io::Result<Bytes> {
        self.file.read_at(at, len).await
    }

    async fn size(&mut self) -> io::Result<u64> {
        self.file.size().await
    }

    async fn truncate(&mut self, size: u64) -> io::Result<()> {
        self.file.truncate(size).await
    }

    async fn sync(&mut self) -> io::Result<()> {
        self.disk.stall().await;
        self.file.sync().await
    }
}

/// A server of this process, on ports and threads of its own: what holds up one is not felt by
/// another for that.
struct Serving {
    runtime: Runtime,
    rtmp: SocketAddr,
    http: SocketAddr,
    stop: Arc<Notify>,
    task: tokio::task::JoinHandle<usize>,
}

impl Serving {
    async fn start<D: Disk>(disk: D, config: &str) -> Self {
        let listen = "[listen]\nrtmp = \"127.0.0.1:0\"\nhttp = \"127.0.0.1:0\"\n";
        let config = Builder::new().file("test.toml", &format!("{listen}{config}"));
        let config = config.and_then(Builder::build).unwrap();
        let origin = Origin { seed: 1, utc: Duration::from_secs(1_700_000_000) };
        let runtime = runtime();
        let bound = runtime.spawn(Server::bind(TokioNet, disk, config, origin));
        let server = bound.await.unwrap().unwrap();
        let (rtmp, http) = (server.rtmp_addr().unwrap(), server.http_addr().unwrap());
        let stop = Arc::new(Notify::new());
        let stopped = stop.clone();
        let task = runtime.spawn(server.run(async move { stopped.notified().await }));
        Self { runtime, rtmp, http, stop, task }
    }

    /// Viewers who wait for the stream and play all of it.
    fn watch(&self, count: usize) -> Child {
        let url = format!("rtmp://{}/live/obs", self.rtmp);
        forebay(&["watch", &url, &format!("-n={count}"), "--json", "--timeout=60"])
    }

    fn replay(&self) -> Child {
        let clip = "../testdata/flv/obs-720p30-cbr2500.flv";
        let url = format!("rtmp://{}/live/obs", self.rtmp);
        let seconds = format!("--seconds={SECONDS}");
        forebay(&["replay", clip, &url, "--json", "--loop", "--window=32768", &seconds])
    }

    async fn get(&self, path: &str) -> Option<Vec<u8>> {
        get(self.http, path).await
    }

    async fn stop(self) {
        self.stop.notify_one();
        self.task.await.unwrap();
        self.runtime.shutdown_background();
    }
}

fn runtime() -> Runtime {
    tokio::runtime::Builder::new_multi_thread().enable_all().build().unwrap()
}

fn forebay(arguments: &[&str]) -> Child {
    let mut command = Command::new(env!("CARGO_BIN_EXE_forebay"));
    command.args(arguments).stdout(Stdio::piped()).stderr(Stdio::null()).spawn().unwrap()
}

/// What a program printed when it was through.
#[expect(clippy::disallowed_methods, reason = "the test waits for programs, not the core")]
async fn printed(program: Child) -> Value {
    let (output, printed) = tokio::sync::oneshot::channel();
    std::thread::spawn(move || output.send(program.wait_with_output().unwrap()));
    let output = printed.await.unwrap();
    assert!(output.status.success(), "{:?}", output.status);
    serde_json::from_slice(&output.stdout).unwrap()
}

async fn get(address: SocketAddr, path: &str) -> Option<Vec<u8>> {
    let mut stream = TcpStream::connect(address).await.ok()?;
    let request = format!("GET {path} HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n");
    stream.write_all(request.as_bytes()).await.ok()?;
    let mut response = Vec::new();
    stream.read_to_end(&mut response).await.ok()?;
    let head_len = response.windows(4).position(|bytes| bytes == b"\r\n\r\n")? + 4;
    response.starts_with(b"HTTP/1.1 200").then(|| response.split_off(head_len))
}

/// Asks for the playlist behind the last one, as a player of low latency does, and for what is new.
async fn poll(address: SocketAddr, fetched: Arc<AtomicUsize>) {
    let mut query = String::new();
    loop {
        let Some(playlist) = get(address, &format!("/live/obs/media.m3u8{query}")).await else {
            sleep(Duration::from_millis(300)).await;
            query.clear();
            continue;
        };
        let playlist = String::from_utf8(playlist).unwrap();
        let mut segments = playlist.lines().filter(|line| line.starts_with("seg-"));
        let newest = segments.next_back().map(str::to_owned);
        let Some(newest) = newest else { continue };
        let number = newest.trim_end_matches(".m4s").rsplit('-').next().unwrap();
        query = format!("?_HLS_msn={}", number.parse::<u64>().unwrap() + 1);
        let media = get(address, &format!("/live/obs/{newest}")).await;
        fetched.fetch_add(media.map_or(0, |media| media.len()), Ordering::Relaxed);
        if playlist.contains("#EXT-X-ENDLIST") {
            return;
        }
    }
}

/// Tags, by viewer, and of each what it lost.
fn viewers(watched: &Value) -> Vec<[u64; 3]> {
    let number = |viewer: &Value, key: &str| viewer[key].as_u64().unwrap();
    let of = |viewer| ["audio_tags", "video_tags", "lags"].map(|key| number(viewer, key));
    watched["viewers"].as_array().unwrap().iter().map(of).collect()
}

#[test]
fn nobody_notices_what_the_consumers_do() {
    let directory = std::env::temp_dir().join(format!("forebay-together-{}", std::process::id()));
    runtime().block_on(run(&directory));
    std::fs::remove_dir_all(directory).unwrap();
}

async fn run(directory: &Path) {
    let stalled = Arc::new(AtomicUsize::new(0));
    let start = Instant::now();
    let disk = StallingDisk { disk: RealDisk::default(), start, stalled: stalled.clone() };
    let without = "[hls]\nenabled = false\n";
    let target = Serving::start(RealDisk::default(), without).await;
    // It accepts, and never says a word.
    let dead = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).await.unwrap();
    let relay = |address: SocketAddr| {
        format!("[[relay]]\nstream = \"live/*\"\nurl = \"rtmp://{address}/live\"\n")
    };
    let with = format!(
        "[archive]\ndirectory = \"{}\"\n{}{}",
        directory.display(),
        relay(target.rtmp),
        relay(dead.local_addr().unwrap())
    );
    let together = Serving::start(disk, &with).await;
    let alone = Serving::start(RealDisk::default(), without).await;

    let watching = [together.watch(VIEWERS), alone.watch(VIEWERS), target.watch(1)];
    let fetched = Arc::new(AtomicUsize::new(0));
    let polling: Vec<_> =
        (0..POLLING).map(|_| tokio::spawn(poll(together.http, fetched.clone()))).collect();
    let publishing = [together.replay(), alone.replay()];

    let mut published = Vec::new();
    for publisher in publishing {
        published.push(printed(publisher).await);
    }
    let mut seen = Vec::new();
    let mut late = Vec::new();
    for watched in watching {
        let watched = printed(watched).await;
        late.push(watched["late_ms"].clone());
        seen.push(viewers(&watched));
    }
    for poll in polling {
        poll.await.unwrap();
    }
    let streams = together.get("/api/streams").await;
    // The recording is complete when its server has stopped.
    together.stop().await;
    for server in [alone, target] {
        server.stop().await;
    }
    let count = |kind: &str| published[0]["tags_by_kind"][kind].as_u64().unwrap();
    let [seen_together, seen_alone, relayed] = seen.try_into().unwrap();
    // Each has every tag, as if nothing else was going on; so has who plays from the relay's target.
    let all = [count("audio"), count("video"), 0];
    assert_eq!(published[0]["tags_by_kind"], published[1]["tags_by_kind"]);
    assert_eq!(seen_together, vec![all; VIEWERS], "{streams:?}");
    assert_eq!(seen_alone, vec![all; VIEWERS]);
    assert_eq!(relayed, [all]);
    // Nor did anything take longer. Both servers had the same machine at the same time, and a disk
    // that stalled either for five seconds in twenty would be in their 90th percentile.
    let acknowledged = published.iter().map(|published| &published["acknowledged_ms"]);
    for times in [acknowledged.collect::<Vec<_>>(), late.iter().collect()] {
        println!("together {}, alone {}", times[0], times[1]);
        let [together, alone] = [0, 1].map(|server: usize| times[server]["p90"].as_f64().unwrap());
        assert!(together <= 3.0 * alone, "together {}, alone {}", times[0], times[1]);
    }
    // And they were there.
    assert!(stalled.load(Ordering::Relaxed) > 0, "the disk never stalled");
    let bytes = published[0]["bytes"].as_u64().unwrap() as usize;
    assert!(fetched.load(Ordering::Relaxed) > POLLING * bytes / 2, "HLS was hardly played");
    let files: Vec<PathBuf> = std::fs::read_dir(directory.join("live"))
        .unwrap()
        .map(|entry| entry.unwrap().path())
        .collect();
    assert_eq!(files.len(), 1, "{files:?}");
    let report = forebay(&["inspect", "--json", &files[0].display().to_string()]);
    let report = printed(report).await;
    // A disk that was away for five seconds is late, and misses nothing.
    for track in report["tracks"].as_array().unwrap() {
        let recorded = ["frames", "sequence_headers"].map(|key| track[key].as_u64().unwrap());
        assert_eq!(
            recorded.iter().sum::<u64>(),
            count(track["kind"].as_str().unwrap()),
            "{track:?}"
        );
    }
}
