//! What does it cost to serve a viewer, against a loop that does nothing but write?
//!
//! Three processes: the release server, the *floor*, which writes the same stream to as many
//! sockets from memory with nothing but a clock and `writev`, and a *sink*, which throws away what
//! both of them send. Server and floor share one core and take turns on it; the sink and the
//! encoder, which is this process, have another. A turn is some seconds of a recorded OBS stream of
//! 6 Mbit/s in real time. Its cost is the CPU time of the writer's threads from before its first
//! tag until everything has arrived, per GB that arrived: reading the encoder is in the server's.
//! The ratio is that of neighbouring turns; the median of all rounds is the result.
//!
//! A turn does not count if bytes are missing at its end, if a viewer lost tags, or if the sink had
//! no CPU time left (`SINK_LOAD_MAX`).

use std::time::Duration;

use anyhow::ensure;
use clap::Parser;
use comfy_table::{Table, presets};
use forebay::flv::Tag;
use forebay_benches::floor::Floor;
use forebay_benches::measured::{measured, unmeasured};
use forebay_benches::process::stay_on;
use forebay_benches::publisher::Publisher;
use forebay_benches::server::Server;
use forebay_benches::sink::{Group, Sink};
use forebay_benches::turn::{self, Turn};
use forebay_benches::{helpers, obs};

/// Cores of the writers and of everybody else.
const WRITERS: usize = 0;
const OTHERS: usize = 1;

/// A sink that needs more of its core than this may have been what the turn waited for.
const SINK_LOAD_MAX: f64 = 0.85;

/// Measures the server's CPU time per GB delivered against that of a bare write loop.
#[derive(Parser)]
struct Args {
    /// Numbers of viewers.
    #[arg(long, value_delimiter = ',', default_value = "300,1000")]
    viewers: Vec<usize>,
    /// Values of `hub.coalesce_ms`; the floor writes as often.
    #[arg(long, value_delimiter = ',', default_value = "350,0")]
    coalesce_ms: Vec<u64>,
    /// Turns of each writer.
    #[arg(long, default_value_t = 5)]
    rounds: usize,
    /// Length of a turn.
    #[arg(long, default_value_t = 3.0)]
    seconds: f64,
    /// Another key of the server's configuration, as in `forebay serve --set`.
    #[arg(long, value_name = "SECTION.KEY=VALUE")]
    set: Vec<String>,
}

fn main() -> anyhow::Result<()> {
    if let Some(done) = helpers::run_if_asked() {
        return done;
    }
    let args = Args::parse();
    stay_on(OTHERS)?;
    let clip = obs::clip()?;
    let mut table = Table::new();
    let columns =
        ["coalesce_ms", "viewers", "server", "floor", "ratio", "least", "most", "sink", "turns"];
    table.load_preset(presets::ASCII_MARKDOWN).set_header(columns);
    for &coalesce_ms in &args.coalesce_ms {
        for &viewers in &args.viewers {
            let rounds = measure(&clip, viewers, coalesce_ms, &args)?;
            let counted: Vec<_> = rounds.iter().filter(|round| round.counts()).collect();
            let spread = |of: &dyn Fn(&Round) -> f64| {
                let mut values: Vec<_> = counted.iter().map(|round| of(round)).collect();
                values.sort_by(f64::total_cmp);
                [values.first(), values.get(values.len() / 2), values.last()]
                    .map(|value| value.copied().unwrap_or(f64::NAN))
            };
            let [least, ratio, most] = spread(&|round| round.server.per_gb / round.floor.per_gb);
            let row = [
                spread(&|round| round.server.per_gb)[1],
                spread(&|round| round.floor.per_gb)[1],
                ratio,
                least,
                most,
                spread(&|round| round.server.sink_load)[1],
            ];
            let mut row: Vec<_> = row.iter().map(|value| format!("{value:.3}")).collect();
            row.splice(0..0, [coalesce_ms.to_string(), viewers.to_string()]);
            row.push(format!("{}/{}", counted.len(), rounds.len()));
            table.add_row(row);
            let name = match coalesce_ms {
                350 => format!("fanout.cpu_over_floor_{viewers}"),
                0 => format!("fanout.cpu_over_floor_{viewers}_every_frame"),
                ms => format!("fanout.cpu_over_floor_{viewers}_at_{ms}_ms"),
            };
            match counted.len() * 2 > rounds.len() {
                true => measured(&name, ratio),
                false => unmeasured(&name, "in most turns the sink did not keep up"),
            }
        }
    }
    println!("{table}");
    println!("server and floor: CPU seconds per GB, medians; sink: CPU seconds per second");
    Ok(())
}

struct Round {
    server: Turn,
    floor: Turn,
}

impl Round {
    fn counts(&self) -> bool {
        [&self.server, &self.floor]
            .iter()
            .all(|turn| turn.is_complete && turn.sink_load < SINK_LOAD_MAX)
    }
}

/// Both writers with their viewers.
struct Bench<'a> {
    sink: Sink,
    server: Server,
    played: Group,
    publisher: Publisher<'a>,
    floor: Floor,
    read: Group,
    coalesce_ms: u64,
    duration: Duration,
}

fn measure(
    clip: &[Tag],
    viewers: usize,
    coalesce_ms: u64,
    args: &Args,
) -> anyhow::Result<Vec<Round>> {
    let mut sink = Sink::start(OTHERS)?;
    let coalesce = format!("hub.coalesce_ms={coalesce_ms}");
    // A publisher says nothing during the floor's turns.
    let set = [coalesce.as_str(), "rtmp.publish_idle_timeout_ms=600000", "hls.enabled=false"];
    let set: Vec<_> = set.into_iter().chain(args.set.iter().map(String::as_str)).collect();
    let server = Server::forebay(Some(WRITERS), &set)?;
    let mut publisher = Publisher::start(server.rtmp_port, "cam", clip)?;
    // The server answers a player with the first picture.
    publisher.publish(Duration::from_millis(200))?;
    let played = sink.play(server.rtmp_port, "cam", viewers)?;
    let floor = Floor::start(WRITERS)?;
    let read = sink.connect(floor.port(), viewers)?;
    let duration = Duration::from_secs_f64(args.seconds);
    let mut bench = Bench { sink, server, played, publisher, floor, read, coalesce_ms, duration };
    // What the first turn has to warm up does not count.
    bench.round()?;
    (0..args.rounds).map(|_| bench.round()).collect()
}

impl Bench<'_> {
    fn round(&mut self) -> anyhow::Result<Round> {
        Ok(Round { server: self.turn_of_server()?, floor: self.turn_of_floor()? })
    }

    fn turn_of_server(&mut self) -> anyhow::Result<Turn> {
        let (pid, publisher, duration) = (self.server.pid, &mut self.publisher, self.duration);
        let publish = || Ok(publisher.publish(duration)?.bytes);
        let turn = turn::take(
            &mut self.sink,
            self.played,
            pid,
            duration,
            settle(self.coalesce_ms),
            publish,
        )?;
        let lag = self.server.lag_tags()?;
        ensure!(lag == 0, "viewers lost {lag} tags: this machine cannot serve so many");
        Ok(turn)
    }

    fn turn_of_floor(&mut self) -> anyhow::Result<Turn> {
        let (pid, floor, duration) = (self.floor.pid(), &mut self.floor, self.duration);
        let (coalesce_ms, settle) = (self.coalesce_ms, settle(self.coalesce_ms));
        let write = || floor.write(duration, coalesce_ms);
        turn::take(&mut self.sink, self.read, pid, duration, settle, write)
    }
}

/// The last flush, and a moment for its bytes to arrive.
fn settle(coalesce_ms: u64) -> Duration {
    Duration::from_millis(coalesce_ms + 150)
}
