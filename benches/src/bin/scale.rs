//! How many can one process serve on this machine, and what breaks first?
//!
//! Two crowds of 300 kbit/s, one after the other: viewers of one stream, and publishers with one
//! viewer each. For some seconds nobody may lag, lose a byte or be disconnected. Memory per viewer
//! is what the process grows by from a fifth of them to all; per publisher, what it holds more than
//! the stream's ring, wire log and segments, each of which has a bound in the configuration.
//!
//! Seen on two shared cores with 20,000 files (2026-11-30, 20 s each): nothing of the server's broke at
//! 5,000 viewers nor at 500 publishers, at one core. Not the backlog of connections to
//! be accepted (1024 by the library, 4096 by the system), and not ports, 28,000 for each address of
//! a server. Where a system gives a process 1024 files, those would be first: the server asks for as
//! many as it is allowed.

use std::thread;
use std::time::Duration;

use clap::Parser;
use comfy_table::{Table, presets};
use forebay::flv::Tag;
use forebay_benches::measured::measured;
use forebay_benches::process::{cpu_s, rss_bytes};
use forebay_benches::publisher::{Crowd, Publisher};
use forebay_benches::server::Server;
use forebay_benches::sink::Sink;
use forebay_benches::{helpers, obs};
use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};

/// The sink's core; the server has both.
const OTHERS: usize = 1;
/// Longer than `hub.history_ms`.
const WARM_UP: Duration = Duration::from_secs(11);
const SETTLE: Duration = Duration::from_millis(500);

/// Puts thousands of viewers and hundreds of publishers on one server.
#[derive(Parser)]
struct Args {
    /// Viewers of one stream.
    #[arg(long, default_value_t = 5000)]
    viewers: usize,
    /// Publishers with one viewer each.
    #[arg(long, default_value_t = 500)]
    publishers: usize,
    /// How long nobody may lag.
    #[arg(long, default_value_t = 20.0)]
    seconds: f64,
    /// `hub.coalesce_ms` of the server.
    #[arg(long, default_value_t = 50)]
    coalesce_ms: u64,
}

fn main() -> anyhow::Result<()> {
    if let Some(done) = helpers::run_if_asked() {
        return done;
    }
    let args = Args::parse();
    let maximum = getrlimit(Resource::Nofile).maximum;
    // Inherited by the sink, which has a socket for every viewer.
    setrlimit(Resource::Nofile, Rlimit { current: maximum, maximum })?;
    let clip = obs::light_clip()?;
    let mut table = Table::new();
    let columns =
        ["crowd", "lag tags", "lost bytes", "closed", "server CPU", "sink CPU", "KiB each"];
    table.load_preset(presets::ASCII_MARKDOWN).set_header(columns);
    let viewers = viewers(&clip, &args)?;
    table.add_row(viewers.row(&format!("{} viewers", args.viewers)));
    let publishers = publishers(&clip, &args)?;
    table.add_row(publishers.row(&format!("{} publishers", args.publishers)));
    measured("scale.viewers_lag_tags", viewers.lag_tags as f64);
    measured("scale.viewers_lost", (viewers.missing + viewers.closed) as f64);
    measured("scale.viewer_kib", viewers.kib_each);
    measured("scale.publishers_lag_tags", publishers.lag_tags as f64);
    measured("scale.publishers_lost", (publishers.missing + publishers.closed) as f64);
    measured("scale.publisher_kib_over_its_bounds", publishers.kib_each);
    println!("{table}");
    println!("CPU: seconds per second");
    Ok(())
}

/// What became of a crowd.
struct Outcome {
    lag_tags: u64,
    /// Bytes that the viewer who got least is short of.
    missing: u64,
    closed: u64,
    server_cpu: f64,
    sink_cpu: f64,
    kib_each: f64,
}

impl Outcome {
    fn row(&self, name: &str) -> [String; 7] {
        [
            name.to_owned(),
            self.lag_tags.to_string(),
            self.missing.to_string(),
            self.closed.to_string(),
            format!("{:.2}", self.server_cpu),
            format!("{:.2}", self.sink_cpu),
            format!("{:.1}", self.kib_each),
        ]
    }
}

fn server(args: &Args) -> anyhow::Result<Server> {
    let set = format!("hub.coalesce_ms={}", args.coalesce_ms);
    Server::forebay(None, &[&set, "rtmp.publish_idle_timeout_ms=600000"])
}

fn viewers(clip: &[Tag], args: &Args) -> anyhow::Result<Outcome> {
    let server = server(args)?;
    let mut sink = Sink::start(OTHERS)?;
    let mut publisher = Publisher::start(server.rtmp_port, "cam", clip)?;
    publisher.publish(Duration::from_secs(1))?;
    let first = args.viewers / 5;
    let early = sink.play(server.rtmp_port, "cam", first)?;
    publisher.publish(WARM_UP)?;
    let before = rss_bytes(server.pid)?;
    let late = sink.play(server.rtmp_port, "cam", args.viewers - first)?;
    publisher.publish(Duration::from_secs(2))?;
    thread::sleep(SETTLE);
    let grown = rss_bytes(server.pid)?.saturating_sub(before);
    for group in [early, late] {
        sink.received(group)?;
    }
    let duration = Duration::from_secs_f64(args.seconds);
    let cpu = (cpu_s(server.pid)?, cpu_s(sink.pid())?);
    let published = publisher.publish(duration)?.bytes;
    thread::sleep(SETTLE);
    let used = (cpu_s(server.pid)? - cpu.0, cpu_s(sink.pid())? - cpu.1);
    let (early, late) = (sink.received(early)?, sink.received(late)?);
    Ok(Outcome {
        lag_tags: server.lag_tags()?,
        missing: published.saturating_sub(early.least.min(late.least)),
        closed: early.closed + late.closed,
        server_cpu: used.0 / args.seconds,
        sink_cpu: used.1 / args.seconds,
        kib_each: grown as f64 / 1024.0 / (args.viewers - first) as f64,
    })
}

fn publishers(clip: &[Tag], args: &Args) -> anyhow::Result<Outcome> {
    let server = server(args)?;
    let mut sink = Sink::start(OTHERS)?;
    let before = rss_bytes(server.pid)?;
    let mut crowd = Crowd::start(server.rtmp_port, "cam", args.publishers, clip)?;
    crowd.publish(Duration::from_secs(2))?;
    let played = sink.play(server.rtmp_port, "cam*", args.publishers)?;
    crowd.publish(WARM_UP)?;
    thread::sleep(SETTLE);
    sink.received(played)?;
    let cpu = (cpu_s(server.pid)?, cpu_s(sink.pid())?);
    let late = crowd.publish(Duration::from_secs_f64(args.seconds))?;
    thread::sleep(SETTLE);
    let used = (cpu_s(server.pid)? - cpu.0, cpu_s(sink.pid())? - cpu.1);
    println!("the latest tag of a publisher was {} ms late", late.as_millis());
    let received = sink.received(played)?;
    let grown = rss_bytes(server.pid)?.saturating_sub(before);
    let held = server.held_bytes()?;
    // At least as much as a second less than all of it: publishers begin within a second.
    let expected = light_bytes(clip, args.seconds - 1.0);
    Ok(Outcome {
        lag_tags: server.lag_tags()?,
        missing: expected.saturating_sub(received.least),
        closed: received.closed,
        server_cpu: used.0 / args.seconds,
        sink_cpu: used.1 / args.seconds,
        kib_each: grown.saturating_sub(held) as f64 / 1024.0 / args.publishers as f64,
    })
}

/// Payload of so many seconds of the clip.
fn light_bytes(clip: &[Tag], seconds: f64) -> u64 {
    let bytes: usize = clip.iter().map(|tag| tag.payload.len()).sum();
    let (Some(first), Some(last)) = (clip.first(), clip.last()) else { return 0 };
    let clip_s = f64::from(last.timestamp.since(first.timestamp)) / 1e3;
    (bytes as f64 * seconds / (clip_s + 0.1)) as u64
}
