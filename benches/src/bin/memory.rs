//! What does a viewer that waits cost in memory, in the whole process, and what a publisher?
//!
//! The release binary serves one stream to 100 players and then to 1,000 more; the slope of its
//! resident memory is a viewer's. Then it takes 100 publishers: what it grows by beyond what their
//! streams' rings, wire logs and segments hold is theirs, or is held by mistake. The kernel's own
//! memory for sockets is in no process.

use std::process::Stdio;
use std::thread::sleep;
use std::time::{Duration, Instant};

use anyhow::ensure;
use clap::Parser;
use forebay_benches::measured::measured;
use forebay_benches::obs;
use forebay_benches::process::rss_bytes;
use forebay_benches::program::{Player, Running, recording};
use forebay_benches::publisher::Crowd;
use forebay_benches::server::Server;

/// 420 kbit/s: players that get little, so that one process can play all of them.
const CLIP: &str = "obs-360p30-muted.flv";
/// Players who are there before: what the first ones cost, the stream costs.
const BEFORE: usize = 100;
/// Until the ring and the log are as large as they will be: 10 s of history.
const HISTORY: Duration = Duration::from_secs(14);

/// Measures the server's resident memory with few and with many players, and prints a line
/// `measured NAME VALUE` for each budget. It needs the release binary: cargo build --release -p
/// forebay.
#[derive(Parser)]
struct Args {
    /// Players whose memory is measured, beside 100 that were there before.
    #[arg(long, default_value_t = 1000)]
    viewers: usize,
    /// Seconds that all of them play before it is measured.
    #[arg(long, default_value_t = 6)]
    seconds: u64,
    /// Publishers of 300 kbit/s each.
    #[arg(long, default_value_t = 100)]
    publishers: usize,
}

fn main() -> anyhow::Result<()> {
    let args = Args::parse();
    for player in Player::ALL {
        let slope = slope(player, &args)?;
        measured(&format!("memory.process_bytes_per_{}_viewer", player.name()), slope);
    }
    measured("memory.process_bytes_per_publisher_beyond_its_bounds", publisher(args.publishers)?);
    Ok(())
}

/// Bytes of resident memory for each of so many publishers, but for what its stream may hold.
fn publisher(count: usize) -> anyhow::Result<f64> {
    let server = Server::forebay(None, &[])?;
    let before = rss_bytes(server.pid)?;
    let clip = obs::light_clip()?;
    let mut crowd = Crowd::start(server.rtmp_port, "cam", count, &clip)?;
    crowd.publish(HISTORY)?;
    let held = server.held_bytes()?;
    let grown = rss_bytes(server.pid)?.saturating_sub(before);
    drop(crowd);
    let mib = |bytes: u64| bytes as f64 / f64::from(1 << 20);
    println!("{count} publishers: {:.1} MiB, their streams {:.1} MiB", mib(grown), mib(held));
    Ok(grown.saturating_sub(held) as f64 / count as f64)
}

/// Bytes of resident memory for one more player.
fn slope(player: Player, args: &Args) -> anyhow::Result<f64> {
    let server = Server::forebay(None, &[])?;
    let mut replay = server.replay(recording(CLIP).as_os_str(), &["--loop"])?;
    let _publisher = Running::start(&mut replay)?;
    let _before = watch(&server, player, BEFORE)?;
    wait_for(&server, BEFORE)?;
    sleep(HISTORY);
    let before = rss_bytes(server.pid)?;
    let _more = watch(&server, player, args.viewers)?;
    wait_for(&server, BEFORE + args.viewers)?;
    sleep(Duration::from_secs(args.seconds));
    let with_more = rss_bytes(server.pid)?;
    ensure!(viewers(&server)? == BEFORE + args.viewers, "players left while it was measured");
    println!(
        "{}: {:.1} MiB with {BEFORE} players, {:.1} MiB with {} more",
        player.name(),
        before as f64 / f64::from(1 << 20),
        with_more as f64 / f64::from(1 << 20),
        args.viewers,
    );
    Ok((with_more as f64 - before as f64) / args.viewers as f64)
}

/// Players that stay until they are dropped.
fn watch(server: &Server, player: Player, count: usize) -> anyhow::Result<Running> {
    let mut watch = server.watch(player, count, 600.0)?;
    // One after the other, as they come; at once is another question.
    Running::start(watch.arg("--spread=4").stdout(Stdio::null()))
}

/// Waits until the server has so many players.
fn wait_for(server: &Server, count: usize) -> anyhow::Result<()> {
    let begun = Instant::now();
    while viewers(server)? < count {
        ensure!(begun.elapsed() < Duration::from_secs(60), "{count} players did not come");
        sleep(Duration::from_millis(200));
    }
    Ok(())
}

/// As its metrics say, whose text is short: what the server writes for us is in its memory, too.
fn viewers(server: &Server) -> anyhow::Result<usize> {
    let metrics = server.get("/metrics")?;
    let counts = metrics.lines().filter(|line| {
        line.starts_with("forebay_stream_subscribers{") && !line.contains("\"consumer\"")
    });
    counts.map(|line| Ok(line.rsplit(' ').next().unwrap_or_default().parse::<usize>()?)).sum()
}
