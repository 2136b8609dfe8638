//! What does holding tags back save, and what does it cost a viewer?
//!
//! For several values of `hub.coalesce_ms`: the server's CPU time per GB delivered, as in `fanout`,
//! and how long a tag is on its way, from before the encoder's write to a player that has all of
//! it, by one clock. Drawn into `target/charts/coalesce.svg`.

use std::fs;
use std::path::PathBuf;
use std::sync::mpsc;
use std::thread;
use std::time::{Duration, Instant};

use anyhow::Context as _;
use clap::Parser;
use comfy_table::{Table, presets};
use forebay::flv::{Tag, TagKind};
use forebay::rtmp::client::Role;
use forebay_benches::peer::Peer;
use forebay_benches::process::stay_on;
use forebay_benches::publisher::Publisher;
use forebay_benches::server::Server;
use forebay_benches::sink::Sink;
use forebay_benches::turn::{self, median, percentile};
use forebay_benches::{helpers, obs};
use plotters::prelude::*;

/// Cores of the server and of everybody else.
const SERVER: usize = 0;
const OTHERS: usize = 1;

/// Draws cost and latency over `hub.coalesce_ms`.
#[derive(Parser)]
struct Args {
    /// Number of viewers.
    #[arg(long, default_value_t = 100)]
    viewers: usize,
    /// Values of `hub.coalesce_ms`.
    #[arg(long, value_delimiter = ',', default_value = "0,10,20,50,100,200,350")]
    coalesce_ms: Vec<u64>,
    /// Turns of each.
    #[arg(long, default_value_t = 3)]
    rounds: usize,
    /// Length of a turn.
    #[arg(long, default_value_t = 3.0)]
    seconds: f64,
}

/// One point of both curves.
struct Point {
    coalesce_ms: u64,
    /// CPU seconds.
    per_gb: f64,
    p50_ms: f64,
    p99_ms: f64,
}

fn main() -> anyhow::Result<()> {
    if let Some(done) = helpers::run_if_asked() {
        return done;
    }
    let args = Args::parse();
    stay_on(OTHERS)?;
    let clip = obs::clip()?;
    let mut table = Table::new();
    table.load_preset(presets::ASCII_MARKDOWN);
    table.set_header(["coalesce_ms", "CPU s per GB", "p50 ms", "p99 ms"]);
    let mut points = Vec::new();
    for &coalesce_ms in &args.coalesce_ms {
        let point = measure(&clip, coalesce_ms, &args)?;
        let values = [point.per_gb, point.p50_ms, point.p99_ms];
        let cells = values.map(|value| format!("{value:.2}"));
        table.add_row([coalesce_ms.to_string()].into_iter().chain(cells));
        points.push(point);
    }
    println!("{table}");
    let chart = draw(&points, args.viewers).context("cannot draw")?;
    println!("drawn: {}", chart.display());
    Ok(())
}

/// A tag by kind and timestamp in milliseconds, and when it had arrived.
type Arrival = (TagKind, u32, Instant);

fn measure(clip: &[Tag], coalesce_ms: u64, args: &Args) -> anyhow::Result<Point> {
    let coalesce = format!("hub.coalesce_ms={coalesce_ms}");
    let server = Server::forebay(Some(SERVER), &[&coalesce, "hls.enabled=false"])?;
    let mut publisher = Publisher::start(server.rtmp_port, "cam", clip)?;
    publisher.publish(Duration::from_millis(200))?;
    let mut sink = Sink::start(OTHERS)?;
    let viewers = sink.play(server.rtmp_port, "cam", args.viewers)?;
    let arrivals = probe(server.rtmp_port)?;
    let duration = Duration::from_secs_f64(args.seconds);
    publisher.publish(duration)?;
    let (mut per_gb, mut latencies_ms) = (Vec::new(), Vec::new());
    for _ in 0..args.rounds {
        let mut sent_at = None;
        let settle = Duration::from_millis(coalesce_ms + 150);
        let turn = turn::take(&mut sink, viewers, server.pid, duration, settle, || {
            let published = publisher.publish(duration)?;
            sent_at = Some(published.sent_at);
            Ok(published.bytes)
        })?;
        per_gb.push(turn.per_gb);
        let sent_at = sent_at.unwrap_or_default();
        latencies_ms.extend(arrivals.try_iter().filter_map(|(kind, ms, arrived)| {
            let sent = sent_at.get(&(kind, ms))?;
            Some(arrived.saturating_duration_since(*sent).as_secs_f64() * 1e3)
        }));
    }
    Ok(Point {
        coalesce_ms,
        per_gb: median(per_gb),
        p50_ms: percentile(&latencies_ms, 50),
        p99_ms: percentile(&latencies_ms, 99),
    })
}

/// A player in a thread of its own, until the server ends.
fn probe(port: u16) -> anyhow::Result<mpsc::Receiver<Arrival>> {
    let (sender, arrivals) = mpsc::channel();
    let mut peer = Peer::open(port, Role::Play, "cam")?;
    thread::spawn(move || {
        // Nobody listens any more: the next value is measured.
        let mut see = |tag: Tag| _ = sender.send((tag.kind, tag.timestamp.as_ms(), Instant::now()));
        while peer.receive(&mut see).is_ok() {}
    });
    Ok(arrivals)
}

fn draw(points: &[Point], viewers: usize) -> anyhow::Result<PathBuf> {
    let folder = PathBuf::from(concat!(env!("CARGO_MANIFEST_DIR"), "/../target/charts"));
    fs::create_dir_all(&folder)?;
    let file = folder.join("coalesce.svg");
    let root = SVGBackend::new(&file, (720, 640)).into_drawing_area();
    root.fill(&WHITE)?;
    let (upper, lower) = root.split_vertically(320);
    let cost = format!("CPU seconds per GB delivered, {viewers} viewers");
    curves(&upper, &cost, points, &[("server", BLUE, |point| point.per_gb)])?;
    let latency: [Curve; 2] =
        [("p50", BLUE, |point| point.p50_ms), ("p99", RED, |point| point.p99_ms)];
    curves(&lower, "milliseconds from encoder to player", points, &latency)?;
    root.present()?;
    drop((upper, lower, root));
    Ok(file)
}

/// A name, a colour, and what is drawn.
type Curve = (&'static str, RGBColor, fn(&Point) -> f64);

fn curves(
    area: &DrawingArea<SVGBackend<'_>, plotters::coord::Shift>,
    title: &str,
    points: &[Point],
    curves: &[Curve],
) -> anyhow::Result<()> {
    let x_max = points.iter().map(|point| point.coalesce_ms).max().unwrap_or(1) as f64;
    let values = curves.iter().flat_map(|(_, _, of)| points.iter().map(of));
    let y_max = values.fold(0.0, f64::max) * 1.1;
    let mut chart = ChartBuilder::on(area)
        .caption(title, ("sans-serif", 16))
        .margin(12)
        .x_label_area_size(36)
        .y_label_area_size(48)
        .build_cartesian_2d(0.0..x_max, 0.0..y_max)?;
    chart.configure_mesh().x_desc("hub.coalesce_ms").draw()?;
    for (name, colour, of) in curves {
        let line = points.iter().map(|point| (point.coalesce_ms as f64, of(point)));
        chart
            .draw_series(LineSeries::new(line.clone(), colour))?
            .label(*name)
            .legend(move |(x, y)| PathElement::new([(x, y), (x + 16, y)], colour));
        chart.draw_series(line.map(|at| Circle::new(at, 3, colour.filled())))?;
    }
    chart.configure_series_labels().border_style(BLACK).background_style(WHITE).draw()?;
    Ok(())
}
