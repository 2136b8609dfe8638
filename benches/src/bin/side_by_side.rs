//! How does the server compare with nginx and its RTMP module, on the same machine in the same run?
//!
//! Both are processes of their own on one core, as they are installed, but for addresses; nginx has
//! one worker. Viewers and the encoder, a recorded OBS stream of 6 Mbit/s in real time, are on the
//! other core. The two take turns, but for ingest, and what a ratio compares are medians of turns:
//!
//! - CPU time per GB that viewers receive: as in `fanout`, ours with its default `hub.coalesce_ms`.
//! - Write calls per viewer and second: strace, attached for a turn with few viewers.
//! - Memory per viewer: what the process grew by while they joined and watched for a turn, when some
//!   had watched for long: what a stream costs whoever watches is not theirs. nginx's queues are.
//! - CPU time of ingest: turns without viewers, per second of the stream. Both have an encoder at the
//!   same time, all the time: what a wake-up costs depends more on what else the machine does than on
//!   who is woken.
//! - Joins, spread over a GOP: from connecting to the last byte of the first keyframe. nginx keeps
//!   no GOP, so its joiners wait for the next one: that is what a viewer has of it.

use std::thread;
use std::time::Duration;

use clap::Parser;
use comfy_table::{Table, presets};
use forebay::flv::Tag;
use forebay_benches::join::{By, join};
use forebay_benches::measured::{measured, unmeasured};
use forebay_benches::process::{cpu_s, rss_bytes, stay_on};
use forebay_benches::publisher::Publisher;
use forebay_benches::server::Server;
use forebay_benches::sink::{Group, Sink};
use forebay_benches::strace::Following;
use forebay_benches::turn::{self, median, percentile};
use forebay_benches::{helpers, obs};

/// Cores of the servers and of everybody else.
const SERVERS: usize = 0;
const OTHERS: usize = 1;
/// Viewers while strace is attached, which would be the bottleneck of more.
const TRACED_VIEWERS: usize = 10;
/// A write of at least so many bytes is media: nothing that a server says for itself is as long, and
/// the clip's sounds are longer.
const MEDIA_LEN_MIN: u64 = 300;
/// Longer than our `hub.history_ms`: from then on a stream's memory does not grow.
const WARM_UP: Duration = Duration::from_secs(11);
/// Two GOPs, and some more.
const START: Duration = Duration::from_secs(5);
/// What the last flush may take.
const SETTLE: Duration = Duration::from_millis(300);
const INGEST: &str = "ingest.cpu_over_nginx";
/// Ratios, by the name of the budget.
const RATIOS: [(&str, &str); 5] = [
    ("side_by_side.cpu_per_gb_over_nginx", "CPU s per GB delivered"),
    ("side_by_side.writes_over_nginx", "writes per viewer-second"),
    ("side_by_side.memory_over_nginx", "KiB per viewer"),
    (INGEST, "ingest CPU ms per stream-second"),
    ("joins.p50_over_nginx", "join p50 ms, RTMP"),
];

/// Measures the server against nginx-rtmp.
#[derive(Parser)]
struct Args {
    /// Number of viewers.
    #[arg(long, default_value_t = 300)]
    viewers: usize,
    /// Turns of each server.
    #[arg(long, default_value_t = 5)]
    rounds: usize,
    /// Length of a turn.
    #[arg(long, default_value_t = 3.0)]
    seconds: f64,
    /// Joins of each protocol, spread over a GOP of 2 s.
    #[arg(long, default_value_t = 50)]
    joins: usize,
    /// Measures ingest and joins, and nothing that needs viewers.
    #[arg(long)]
    no_viewers: bool,
}

fn main() -> anyhow::Result<()> {
    if let Some(done) = helpers::run_if_asked() {
        return done;
    }
    let args = Args::parse();
    stay_on(OTHERS)?;
    let clip = obs::clip()?;
    // What the other does not do is not asked of ours.
    let set = ["rtmp.publish_idle_timeout_ms=600000", "hls.enabled=false"];
    let ours = Server::forebay(Some(SERVERS), &set)?;
    let theirs = Server::nginx(SERVERS);
    let mut sides = vec![Side::open(ours, &clip, &args)?];
    match theirs {
        Ok(theirs) => sides.push(Side::open(theirs, &clip, &args)?),
        Err(error) => {
            let names = RATIOS.iter().map(|(name, _)| name).filter(|name| args.measures(name));
            names.for_each(|name| unmeasured(name, &error.to_string()));
        }
    }
    // Until there is a GOP, and history for the slow: whatever is allocated once is so by then.
    publish_to_all(&mut sides, WARM_UP)?;
    for _ in 0..args.rounds {
        ingest(&mut sides, Duration::from_secs_f64(args.seconds))?;
    }
    sides[0].join_all(args.joins)?;
    if !args.no_viewers {
        sides.iter_mut().skip(1).try_for_each(|side| side.join_all(args.joins))?;
        sides.iter_mut().try_for_each(Side::trace)?;
        sides.iter_mut().try_for_each(|side| side.fill(args.viewers))?;
        for _ in 0..args.rounds {
            sides.iter_mut().try_for_each(Side::serve)?;
        }
    }
    report(&sides, &args);
    Ok(())
}

impl Args {
    /// Whether a ratio is among what is measured.
    fn measures(&self, name: &str) -> bool {
        !self.no_viewers || name == INGEST
    }
}

/// Publishes to all at the same time.
fn publish_to_all(sides: &mut [Side<'_>], duration: Duration) -> anyhow::Result<()> {
    thread::scope(|scope| {
        let publishing: Vec<_> =
            sides.iter_mut().map(|side| scope.spawn(|| side.publisher.publish(duration))).collect();
        publishing.into_iter().try_for_each(|publishing| {
            publishing.join().map_err(|_| anyhow::anyhow!("a publisher panicked"))?.map(drop)
        })
    })
}

/// A turn of ingest, of all.
fn ingest(sides: &mut [Side<'_>], duration: Duration) -> anyhow::Result<()> {
    let cpu = |side: &Side<'_>| cpu_s(side.server.pid);
    let before: Vec<_> = sides.iter().map(cpu).collect::<Result<_, _>>()?;
    publish_to_all(sides, duration)?;
    for (side, before) in sides.iter_mut().zip(before) {
        let ms = (cpu_s(side.server.pid)? - before) * 1e3;
        side.ingest_ms.push(ms / duration.as_secs_f64());
    }
    Ok(())
}

/// One server with its encoder and its viewers, and what was measured of it.
struct Side<'a> {
    server: Server,
    publisher: Publisher<'a>,
    sink: Sink,
    viewers: Option<Group>,
    duration: Duration,
    ingest_ms: Vec<f64>,
    joins_ms: Vec<f64>,
    http_joins_ms: Vec<f64>,
    writes: f64,
    viewer_kib: f64,
    per_gb: Vec<f64>,
}

impl<'a> Side<'a> {
    fn open(server: Server, clip: &'a [Tag], args: &Args) -> anyhow::Result<Self> {
        let publisher = Publisher::start(server.rtmp_port, "cam", clip)?;
        Ok(Self {
            server,
            publisher,
            sink: Sink::start(OTHERS)?,
            viewers: None,
            duration: Duration::from_secs_f64(args.seconds),
            ingest_ms: Vec::new(),
            joins_ms: Vec::new(),
            http_joins_ms: Vec::new(),
            writes: f64::NAN,
            viewer_kib: f64::NAN,
            per_gb: Vec::new(),
        })
    }

    fn join_all(&mut self, count: usize) -> anyhow::Result<()> {
        self.joins_ms = self.join_by(By::Rtmp, self.server.rtmp_port, count)?;
        if let Some(port) = self.server.http_port {
            self.http_joins_ms = self.join_by(By::Http, port, count)?;
        }
        Ok(())
    }

    fn join_by(&mut self, by: By, port: u16, count: usize) -> anyhow::Result<Vec<f64>> {
        let gop = Duration::from_secs(2);
        let publisher = &mut self.publisher;
        thread::scope(|scope| {
            // The last to join may wait for a whole GOP.
            let publishing = scope.spawn(move || publisher.publish(3 * gop));
            let joins: Vec<_> = (0..count as u32)
                .map(|index| {
                    scope.spawn(move || {
                        thread::sleep(Duration::from_millis(500) + gop * index / count as u32);
                        join(by, port, "cam")
                    })
                })
                .collect();
            let joined = joins.into_iter().map(|join| {
                let took = join.join().map_err(|_| anyhow::anyhow!("a joiner panicked"))??;
                Ok(took.as_secs_f64() * 1e3)
            });
            let joined = joined.collect();
            publishing.join().map_err(|_| anyhow::anyhow!("the publisher panicked"))??;
            joined
        })
    }

    fn trace(&mut self) -> anyhow::Result<()> {
        let viewers = self.sink.play(self.server.rtmp_port, "cam", TRACED_VIEWERS)?;
        // Until all of them are given media, wherever in a GOP they came.
        self.publisher.publish(START)?;
        let strace = Following::attach(self.server.pid)?;
        self.publisher.publish(self.duration)?;
        thread::sleep(SETTLE);
        let writes = strace.detach()?.send_count(MEDIA_LEN_MIN);
        self.writes = writes as f64 / TRACED_VIEWERS as f64 / self.duration.as_secs_f64();
        self.sink.close(viewers)
    }

    fn fill(&mut self, count: usize) -> anyhow::Result<()> {
        let first = self.sink.play(self.server.rtmp_port, "cam", TRACED_VIEWERS)?;
        self.publisher.publish(WARM_UP)?;
        let before = self.own_bytes()?;
        let viewers = self.sink.play(self.server.rtmp_port, "cam", count)?;
        self.publisher.publish(self.duration)?;
        thread::sleep(SETTLE);
        let grown = self.own_bytes()?.saturating_sub(before);
        self.viewer_kib = grown as f64 / 1024.0 / count as f64;
        self.viewers = Some(viewers);
        self.sink.close(first)
    }

    /// Resident memory, but for what is kept of the stream, which changes from GOP to GOP.
    fn own_bytes(&self) -> anyhow::Result<u64> {
        let held = self.server.http_port.map_or(Ok(0), |_| self.server.held_bytes())?;
        Ok(rss_bytes(self.server.pid)?.saturating_sub(held))
    }

    fn serve(&mut self) -> anyhow::Result<()> {
        let Some(viewers) = self.viewers else { return Ok(()) };
        let (publisher, duration, pid) = (&mut self.publisher, self.duration, self.server.pid);
        let publish = || Ok(publisher.publish(duration)?.bytes);
        let turn = turn::take(&mut self.sink, viewers, pid, duration, SETTLE, publish)?;
        if turn.is_complete {
            self.per_gb.push(turn.per_gb);
        }
        Ok(())
    }

    fn values(&self) -> [f64; 5] {
        [
            median(self.per_gb.iter().copied()),
            self.writes,
            self.viewer_kib,
            median(self.ingest_ms.iter().copied()),
            percentile(&self.joins_ms, 50),
        ]
    }
}

/// The median ratio of neighbouring turns: what else runs on this machine meets both of them.
fn paired(ours: &[f64], theirs: &[f64]) -> f64 {
    median(ours.iter().zip(theirs).map(|(ours, theirs)| ours / theirs))
}

fn report(sides: &[Side<'_>], args: &Args) {
    let ours = &sides[0];
    for (name, joins) in [("joins", &ours.joins_ms), ("joins_http", &ours.http_joins_ms)] {
        let [p10, p50, p99] = [10, 50, 99].map(|percent| percentile(joins, percent));
        println!("{name}: p10 {p10:.2} ms, p50 {p50:.2} ms, p99 {p99:.2} ms");
    }
    let mut table = Table::new();
    table.load_preset(presets::ASCII_MARKDOWN).set_header(["", "Forebay", "nginx-rtmp", "ratio"]);
    let theirs = sides.get(1).map(Side::values);
    for (index, (name, what)) in RATIOS.into_iter().enumerate() {
        if !args.measures(name) {
            continue;
        }
        let our_value = ours.values()[index];
        let their_value = theirs.map_or(f64::NAN, |values| values[index]);
        let ratio = match sides.get(1) {
            Some(theirs) if name == INGEST => paired(&ours.ingest_ms, &theirs.ingest_ms),
            _ => our_value / their_value,
        };
        if theirs.is_some() {
            measured(name, ratio);
        }
        let numbers = [our_value, their_value, ratio];
        let cells = numbers.map(|number| format!("{number:.3}"));
        table.add_row([what.to_owned()].into_iter().chain(cells));
    }
    if !args.no_viewers {
        let joins = |side: &Side<'_>| percentile(&side.joins_ms, 99);
        let p99 = [joins(ours), sides.get(1).map_or(f64::NAN, joins)];
        let cells = [p99[0], p99[1], p99[0] / p99[1]].map(|number| format!("{number:.3}"));
        table.add_row(["join p99 ms, RTMP".to_owned()].into_iter().chain(cells));
    }
    println!("{table}");
}
