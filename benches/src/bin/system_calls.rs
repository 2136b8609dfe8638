//! How often does the server call the system, for what it receives and for what it delivers?
//!
//! The release binary runs under strace, alone: its publisher and its players are processes beside
//! it. The stream is a recording of OBS, 1080p30 at 6 Mbit/s, 77 tags a second, over and over.

use std::process::Stdio;
use std::thread::sleep;
use std::time::Duration;

use anyhow::{Context as _, ensure};
use clap::Parser;
use comfy_table::{Table, presets};
use forebay::flv::TagKind;
use forebay_benches::join::{By, join};
use forebay_benches::measured::{measured, unmeasured};
use forebay_benches::obs;
use forebay_benches::program::{Player, Running, recording};
use forebay_benches::server::Server;
use forebay_benches::strace::{self, Calls, Counting, Following};
use serde_json::Value;

const CLIP: &str = "obs-1080p30-cbr6000.flv";
const COALESCE_MS: [u32; 3] = [0, 50, 350];
const EPOLL_WAITING: [&str; 2] = ["epoll_wait", "epoll_pwait"];
/// No keyframe of the recording is shorter, and nothing else that a joiner is sent is as long.
const KEYFRAME_LEN_MIN: u64 = 10_000;
const MIB: f64 = (1 << 20) as f64;
/// Until players have what they were owed for joining.
const SETTLE: Duration = Duration::from_secs(2);

/// What is measured, by its name in `ci/budgets.toml`.
const FLAT_OUT: &str = "syscalls.recv_per_mib_flat_out";
const REAL_TIME: &str = "syscalls.recv_per_write_real_time";
const EPOLL_WAITS: &str = "syscalls.epoll_waits_per_delivered_tag";
const ARCHIVE: &str = "syscalls.archive_disk_calls_per_second";
const RELAY: &str = "syscalls.relay_writes_per_second_at_50_ms";
const FUTEXES: &str = "syscalls.futexes_per_delivered_tag";
const UNTAKEN: &str = "syscalls.epoll_waits_per_second_of_a_stream_that_nobody_takes";
const SEGMENTED: &str = "syscalls.epoll_waits_per_second_of_a_stream_in_segments";
const RTMP_JOIN: &str = "syscalls.writes_before_the_keyframe_of_an_rtmp_join";
const HTTP_JOIN: &str = "syscalls.writes_before_the_keyframe_of_an_http_flv_join";

fn writes(player: Player, coalesce_ms: u32) -> String {
    format!("syscalls.writes_per_{}_viewer_second_at_{coalesce_ms}_ms", player.name())
}

/// Counts the server's system calls, with a publisher and players beside it, and prints a line
/// `measured NAME VALUE` for each budget. It needs strace and the release binary: cargo build
/// --release -p forebay.
#[derive(Parser)]
struct Args {
    /// Seconds of stream for each figure.
    #[arg(long, default_value_t = 6)]
    seconds: u32,
    /// Players at a time.
    #[arg(long, default_value_t = 10)]
    viewers: usize,
}

fn main() -> anyhow::Result<()> {
    let args = Args::parse();
    if !strace::is_usable() {
        let reason = "strace is missing, or must not trace here";
        let calm = [FLAT_OUT, REAL_TIME, UNTAKEN, SEGMENTED, RTMP_JOIN, HTTP_JOIN];
        let busy = [EPOLL_WAITS, FUTEXES, ARCHIVE, RELAY];
        calm.iter().chain(&busy).for_each(|name| unmeasured(name, reason));
        for player in Player::ALL {
            COALESCE_MS.iter().for_each(|&ms| unmeasured(&writes(player, ms), reason));
        }
        return Ok(());
    }
    let mut table = Table::new();
    table.load_preset(presets::ASCII_MARKDOWN).set_header(["run", "for", "calls"]);
    let mut note = |run: &str, unit: String, calls: &Calls| {
        let frequent = calls.most_frequent().into_iter().take(7);
        let text: Vec<_> = frequent.map(|(name, count)| format!("{name} {count}")).collect();
        table.add_row([run.to_owned(), unit, text.join(", ")]);
    };

    // The least of three: where others keep the publisher from its core, reads find less.
    let mut least = f64::INFINITY;
    for _ in 0..3 {
        let (calls, sent_mib) = flat_out()?;
        note("flat out", format!("{sent_mib:.1} MiB"), &calls);
        least = least.min(calls.receives() / sent_mib);
    }
    measured(FLAT_OUT, least);

    let (calls, publisher) = real_time(args.seconds)?;
    note("real time, no players", format!("{} writes", publisher.sends()), &calls);
    measured(REAL_TIME, calls.receives() / publisher.sends());

    for (name, set) in [(UNTAKEN, "hls.enabled=false"), (SEGMENTED, "hls.enabled=true")] {
        let (calls, seconds) = without_players(set, args.seconds)?;
        note(&format!("no players, {set}"), format!("{seconds:.1} s"), &calls);
        measured(name, calls.of(&EPOLL_WAITING) / seconds);
    }
    for (name, by) in [(RTMP_JOIN, By::Rtmp), (HTTP_JOIN, By::Http)] {
        match writes_before_keyframe(by)? {
            Some(writes) => measured(name, writes as f64),
            None => unmeasured(name, "no write was as long as a keyframe"),
        }
    }

    let tags_per_second = tags_per_second()?;
    for player in Player::ALL {
        for coalesce_ms in COALESCE_MS {
            let (calls, seconds) = delivery(player, coalesce_ms, &args)?;
            let viewer_seconds = seconds * args.viewers as f64;
            let run = format!("{}, {coalesce_ms} ms", player.name());
            note(&run, format!("{viewer_seconds:.1} viewer-seconds"), &calls);
            measured(&writes(player, coalesce_ms), calls.sends() / viewer_seconds);
            if player == Player::Rtmp && coalesce_ms == 50 {
                let delivered_tags = viewer_seconds * tags_per_second;
                measured(EPOLL_WAITS, calls.of(&EPOLL_WAITING) / delivered_tags);
                measured(FUTEXES, calls.of(&["futex"]) / delivered_tags);
            }
        }
    }
    let (calls, seconds) = recording_to_disk(&args)?;
    note("recorded", format!("{seconds:.1} s"), &calls);
    // Nobody plays: what else is sent are answers to the publisher, by other calls.
    let disk = ["writev", "pwrite64", "pwritev", "fsync", "fdatasync"];
    measured(ARCHIVE, calls.of(&disk) / seconds);

    let (calls, seconds) = relayed(&args)?;
    note("relayed", format!("{seconds:.1} s"), &calls);
    measured(RELAY, calls.sends() / seconds);
    println!("{table}");
    Ok(())
}

/// A publisher that sends as fast as the server takes it: the server's calls, and MiB received.
fn flat_out() -> anyhow::Result<(Calls, f64)> {
    let server = Server::forebay(None, &[])?;
    let strace = Counting::attach(server.pid)?;
    // 70 MiB.
    let arguments = ["--pace=max", "--loop", "--seconds=90", "--json"];
    let mut replay = server.replay(recording(CLIP).as_os_str(), &arguments)?;
    let (status, printed) = Running::start(&mut replay)?.finish()?;
    ensure!(status.success(), "the publisher failed");
    sleep(Duration::from_millis(300));
    let (calls, _) = strace.detach()?;
    let report: Value = serde_json::from_str(&printed)?;
    let sent_mib = report["bytes"].as_f64().context("bytes sent")? / MIB;
    ensure!(sent_mib >= 64.0, "only {sent_mib} MiB were sent");
    Ok((calls, sent_mib))
}

/// A publisher in real time: the calls of the server, and those of the publisher.
fn real_time(seconds: u32) -> anyhow::Result<(Calls, Calls)> {
    let server = Server::forebay(None, &[])?;
    let strace = Counting::attach(server.pid)?;
    let arguments = ["--loop".to_owned(), format!("--seconds={seconds}")];
    let arguments: Vec<_> = arguments.iter().map(String::as_str).collect();
    let (publisher, _) = strace::run(&server.replay(recording(CLIP).as_os_str(), &arguments)?)?;
    let (calls, _) = strace.detach()?;
    Ok((calls, publisher))
}

/// A publisher in real time and nobody else: the server's calls, and in how many seconds.
fn without_players(set: &str, seconds: u32) -> anyhow::Result<(Calls, f64)> {
    let server = Server::forebay(None, &[set])?;
    let mut replay = server.replay(recording(CLIP).as_os_str(), &["--loop"])?;
    let _publisher = Running::start(&mut replay)?;
    sleep(SETTLE);
    let strace = Counting::attach(server.pid)?;
    sleep(Duration::from_secs(seconds.into()));
    let (calls, took) = strace.detach()?;
    Ok((calls, took.as_secs_f64()))
}

/// How often the server writes before it writes a keyframe to who joins.
fn writes_before_keyframe(by: By) -> anyhow::Result<Option<usize>> {
    let server = Server::forebay(None, &["hls.enabled=false"])?;
    let mut replay = server.replay(recording(CLIP).as_os_str(), &["--loop"])?;
    let _publisher = Running::start(&mut replay)?;
    sleep(SETTLE);
    let port = match by {
        By::Rtmp => server.rtmp_port,
        By::Http => server.http_port.context("it has one")?,
    };
    let strace = Following::attach(server.pid)?;
    join(by, port, "obs")?;
    // The player has the keyframe before the call that wrote it has returned, and is written down.
    sleep(SETTLE);
    Ok(strace.detach()?.sends_before(KEYFRAME_LEN_MIN))
}

/// Players in real time: the server's calls, and in how many seconds.
fn delivery(player: Player, coalesce_ms: u32, args: &Args) -> anyhow::Result<(Calls, f64)> {
    let server = Server::forebay(None, &[&format!("hub.coalesce_ms={coalesce_ms}")])?;
    let mut replay = server.replay(recording(CLIP).as_os_str(), &["--loop"])?;
    let _publisher = Running::start(&mut replay)?;
    // Longer than it is measured: nobody leaves in between.
    let watched = SETTLE.as_secs_f64() + f64::from(args.seconds) + 60.0;
    let mut watch = server.watch(player, args.viewers, watched)?;
    let _players = Running::start(watch.stdout(Stdio::null()))?;
    sleep(SETTLE);
    let strace = Counting::attach(server.pid)?;
    sleep(Duration::from_secs(args.seconds.into()));
    let (calls, took) = strace.detach()?;
    Ok((calls, took.as_secs_f64()))
}

/// A publisher in real time whose stream is recorded: the server's calls, and in how many seconds.
fn recording_to_disk(args: &Args) -> anyhow::Result<(Calls, f64)> {
    let directory = std::env::temp_dir().join(format!("forebay-archive-{}", std::process::id()));
    let set = format!("archive.directory={}", directory.display());
    let server = Server::forebay(None, &[&set, "hls.enabled=false"])?;
    let counted = publishing(&server, args);
    drop(server);
    std::fs::remove_dir_all(directory)?;
    counted
}

/// A publisher in real time whose stream is published to another server.
fn relayed(args: &Args) -> anyhow::Result<(Calls, f64)> {
    let target = Server::forebay(None, &[])?;
    let server = Server::forebay_relaying_to(&target)?;
    publishing(&server, args)
}

fn publishing(server: &Server, args: &Args) -> anyhow::Result<(Calls, f64)> {
    let mut replay = server.replay(recording(CLIP).as_os_str(), &["--loop"])?;
    let _publisher = Running::start(&mut replay)?;
    sleep(SETTLE);
    let strace = Counting::attach(server.pid)?;
    sleep(Duration::from_secs(args.seconds.into()));
    let (calls, took) = strace.detach()?;
    Ok((calls, took.as_secs_f64()))
}

/// Tags a second of the recording, without what is said once.
fn tags_per_second() -> anyhow::Result<f64> {
    let clip = obs::clip()?;
    let is_media = |tag: &&forebay::flv::Tag| tag.kind != TagKind::Script;
    let times: Vec<_> = clip.iter().filter(is_media).map(|tag| tag.timestamp).collect();
    let (first, last) = (times.first().context("tags")?, times.last().context("tags")?);
    Ok(times.len() as f64 * 1000.0 / f64::from(last.since(*first)))
}
