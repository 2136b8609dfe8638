//! A server that records on a real disk is killed at any moment: what is recovered is a beginning of
//! what was published, and all that it had said to be durable is in it.
#![cfg(feature = "shell")]
#![allow(
    clippy::disallowed_methods,
    clippy::disallowed_types,
    reason = "these tests are processes that talk over sockets and die"
)]

#[allow(dead_code, reason = "not every test looks at all of it")]
#[cfg(test)]
mod archive {
    pub(crate) mod files;
}
#[allow(dead_code, reason = "not every test looks at all of it")]
#[cfg(test)]
mod common {
    pub(crate) mod capture;
}

use std::io::{BufRead as _, BufReader, ErrorKind};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::Duration;

use archive::files::{Plain, media, published};
use common::capture::intact;
use forebay::shell::disk::RealDisk;
use forebay::shell::recover::{Action, recordings, recover};
use serde_json::Value;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};

const RECORDING: &str = "obs-720p30-cbr2500.flv";

/// How many servers run at a time.
const AT_ONCE: usize = 10;

/// Half of it is the disk's.
const SYNC_MS: u32 = 100;

/// A server that publishes a recording into itself. It is killed when this is dropped.
struct Server {
    child: Child,
    http: String,
    directory: PathBuf,
}

impl Server {
    fn start(n: usize) -> Self {
        let directory =
            std::env::temp_dir().join(format!("forebay-killed-{}-{n}", std::process::id()));
        let recording =
            Path::new(env!("CARGO_MANIFEST_DIR")).join("../testdata/flv").join(RECORDING);
        let mut child = Command::new(env!("CARGO_BIN_EXE_forebay"))
            .args(["--log", "error", "serve", "--rtmp", "127.0.0.1:0", "--http", "127.0.0.1:0"])
            .arg("--set")
            .arg(format!("archive.sync_ms={SYNC_MS}"))
            .arg("--set")
            .arg(format!("archive.directory={}", directory.display()))
            .arg("--replay")
            .arg(recording)
            .stdout(Stdio::piped())
            .spawn()
            .expect("the server starts");
        let mut lines = BufReader::new(child.stdout.take().expect("it is piped")).lines();
        let http = lines.find_map(|line| {
            let line = line.expect("it prints text");
            let status = line.strip_prefix("status ")?.trim().strip_prefix("http://")?;
            Some(status.strip_suffix("/api/streams")?.to_owned())
        });
        Self { child, http: http.expect("it says where it listens"), directory }
    }

    /// How many tags were published and how many of them are durable, by its own word.
    async fn tags(&self) -> Option<(u64, u64)> {
        let mut stream = tokio::net::TcpStream::connect(&self.http).await.ok()?;
        let request = b"GET /api/streams HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n";
        stream.write_all(request).await.ok()?;
        let mut answer = Vec::new();
        stream.read_to_end(&mut answer).await.ok()?;
        let body = answer.windows(4).position(|window| window == b"\r\n\r\n")? + 4;
        let value: Value = serde_json::from_slice(&answer[body..]).ok()?;
        let stream = &value["streams"][0];
        let durable = stream["archive"]["durable"]["tag"].as_u64().map_or(0, |tag| tag + 1);
        Some((stream["published_tags"].as_u64()?, durable))
    }

    /// Asks what is durable, over and over, until it is killed; says what it heard last.
    async fn live_and_die(mut self, life: Duration) -> (PathBuf, (u64, u64)) {
        let mut heard = (0, 0);
        let asking = async {
            loop {
                heard = self.tags().await.unwrap_or(heard);
                tokio::time::sleep(Duration::from_millis(5)).await;
            }
        };
        let _over = tokio::time::timeout(life, asking).await;
        self.child.kill().expect("it runs");
        self.child.wait().expect("it is ours");
        (self.directory.clone(), heard)
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        let _it_may_be_dead = self.child.kill();
    }
}

/// Recovers what is in the directory, twice, and says which tags there are.
async fn recovered(directory: &Path) -> Vec<Plain> {
    let disk = RealDisk::default();
    let mut found = Vec::new();
    for path in recordings(&disk, directory, false).await.expect("the directory is there") {
        let done = recover(&disk, &path, false).await.expect("nobody writes it any more");
        assert!(!done.is_damaged(), "{done:?}");
        let Some(renamed) = done.renamed else {
            assert_eq!(done.action, Action::Removed);
            continue;
        };
        let bytes = std::fs::read(&renamed).expect("it has its final name");
        let again = loop {
            match recover(&disk, &renamed, false).await {
                // Its thread is about to close it.
                Err(error) if error.kind() == ErrorKind::WouldBlock => {
                    tokio::task::yield_now().await;
                }
                again => break again.expect("it can be opened"),
            }
        };
        assert_eq!(again.action, Action::Nothing);
        assert!(
            bytes == std::fs::read(&renamed).expect("it is there"),
            "a second time changes nothing"
        );
        found = media(&bytes);
    }
    found
}

/// Without metadata, which the server's replay makes anew.
fn frames(tags: &[Plain]) -> impl Iterator<Item = &Plain> {
    tags.iter().filter(|tag| tag.0 != 18)
}

/// Kills so many servers, each at another moment of its first second.
async fn kill(kills: usize) {
    let capture = intact().into_iter().find(|capture| capture.name == RECORDING);
    let all = published(&capture.expect("it is in the set").tags);
    let (mut with_tags, mut said_so, mut missing_ms_max) = (0, 0, 0);
    for round in 0..kills / AT_ONCE {
        let mut dying = tokio::task::JoinSet::new();
        for n in 0..AT_ONCE {
            // Spread over several syncs; the machine adds the chance.
            let life = Duration::from_millis(40 + ((n * 7919 + round * 104_729) % 1_100) as u64);
            dying.spawn(async move {
                let start = move || Server::start(round * AT_ONCE + n);
                let server = tokio::task::spawn_blocking(start).await.expect("it starts");
                server.live_and_die(life).await
            });
        }
        while let Some(died) = dying.join_next().await {
            let (directory, (published, mut durable)) = died.expect("it does not panic");
            let mut kept = recovered(&directory).await;
            // A disk that syncs for longer than the hub's history has a gap, and says so; a second
            // pass of the recording begins anew. What is in front of either is judged.
            let has_gap = |tag: &Plain| tag.0 == 18 && tag.2.windows(5).any(|it| it == b"onGap");
            if let Some(gap) = kept.iter().position(has_gap) {
                kept.truncate(gap);
                durable = 0;
            }
            // Its last tag is said once, not at the end of each pass.
            let judged = || frames(&kept).take(frames(&all).count() - 1);
            let same = judged().zip(frames(&all)).take_while(|(one, other)| one == other);
            let same = same.count();
            let other = judged().nth(same).map(|tag| (tag.0, tag.1, tag.2.len()));
            let wanted = frames(&all).nth(same).map(|tag| (tag.0, tag.1, tag.2.len()));
            assert!(other.is_none(), "frame {same} is {other:?} instead of {wanted:?}");
            assert!(kept.len() as u64 >= durable, "{} tags, {durable} were durable", kept.len());
            with_tags += usize::from(!kept.is_empty());
            said_so += usize::from(durable > 0);
            let time = |tags: usize| all[tags.clamp(1, all.len()) - 1].1;
            let missing_ms = time(published as usize).saturating_sub(time(kept.len()));
            missing_ms_max = missing_ms_max.max(missing_ms);
            std::fs::remove_dir_all(&directory).expect("it is ours");
        }
    }
    println!(
        "{kills} killed: {with_tags} had recorded, {said_so} had said so; \
         at most {missing_ms_max} ms were missing with archive.sync_ms = {SYNC_MS}"
    );
    // Or nothing was shown.
    assert!(with_tags > 0 && said_so > 0, "{with_tags} recorded, {said_so} said so");
}

#[tokio::test(flavor = "multi_thread")]
async fn servers_killed_at_any_moment_lose_nothing_that_was_durable() {
    kill(40).await;
}

#[tokio::test(flavor = "multi_thread")]
#[ignore = "more of the same: cargo test --test killed -- --ignored"]
async fn two_hundred_servers_killed_at_any_moment_lose_nothing_that_was_durable() {
    kill(200).await;
}
