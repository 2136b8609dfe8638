//! Does the wire log pay? CPU time of the thread that writes, per GB that viewers get.
//!
//! This process writes one stream to N loopback sockets, a second one drains them. Four ways to write
//! take turns on the same sockets, each with the same tags:
//!
//! - `log`: the product. Tags are pushed into a hub, each viewer's batches are written until it has
//!   none. Tasks and their wake-ups are not in it.
//! - `ropes`: tags are pushed into a hub that has no viewers; per viewer one `writev` of all headers
//!   (made once) and received slices. Viewers have no position, no policy and no account: a rope path
//!   in the product would cost more.
//! - `encode`: each tick is encoded once into one buffer used again at once, and written from there. No
//!   hub: what it has over `floor` is the one copy, and what `log` has over it is the hub and blocks gone cold.
//! - `floor`: the same bytes, encoded before the clock starts.
//!
//! Not in the time: reading the publisher's chunks, which happens just before so that a tick's bytes
//! are as warm as `recv` leaves them, and waiting until the viewers have everything, which happens
//! after each tick so that sockets are empty at each write, as they are in real time. Sockets block;
//! the loopback's receive path runs in the writer's time, in all four the same.
//!
//! Measured on 2 shared cores (load 5 to 9), 2026-11-22, 9 rounds, as ratios to `floor` in the same
//! round, medians. Single rounds are up to 40 % off.
//!
//! | viewers | every tag: log | ropes | encode | 350 ms: log | ropes | encode |
//! |--------:|---------------:|------:|-------:|------------:|------:|-------:|
//! |       1 |           1.57 |  1.31 |   1.05 |        2.21 |  1.38 |   1.34 |
//! |       3 |           1.38 |  1.22 |   1.06 |        1.50 |  1.21 |   1.17 |
//! |      20 |           1.22 |  1.06 |   1.04 |        1.09 |  1.05 |   1.02 |
//! |     300 |           1.21 |  1.07 |   0.97 |        1.15 |  1.09 |   0.99 |
//!
//! Written tag by tag, `log` is dearer than these best-case ropes at every number of viewers, by 8 to
//! 20 %. At 350 ms it is 60 % dearer for one viewer, 20 % for three, and for 20 and 300 it is a tie:
//! an earlier run had it 1 and 11 % cheaper, this one 4 and 5 % dearer. From 20 viewers on, where copy
//! and push are shared, `encode` is at the floor and ropes are 3 to 10 % above it. What `log`
//! has over `encode`, written tag by tag, is 1.5 µs per write for 300 viewers and 5 µs for one: the
//! viewer's part of the hub, which `ropes` lack, and the push, which `encode` lacks. For one and three
//! viewers the two are therefore not to be compared with each other. At 350 ms `log` writes twice,
//! because `write_len_max` was 256 KiB then, less than a tick; with 1 MiB it writes once and saves
//! little CPU.

use std::io::{IoSlice, Write};
use std::task::{Context, Poll, Waker};
use std::time::Instant;

use anyhow::{bail, ensure};
use bytes::BytesMut;
use clap::Parser;
use comfy_table::{Table, presets};
use forebay::flv::{Tag, TagKind};
use forebay::hub::{Hub, HubLimits, Next, Policy, Publisher, Start, Viewer};
use forebay::rope;
use forebay::wire_log::{Encoder, Protocol};
use forebay_benches::loopback::{Sockets, drain, thread_cpu_s, write_all};
use forebay_benches::obs::{self, Ingest};
use serde_json::{Value, json};

/// Slices in one write of the product.
const SLICES_MAX: usize = 24;
/// No tick, and OBS's frames as they come: every tag is written alone.
const TICKS_MS: [u32; 2] = [0, 350];

/// CPU seconds per GB delivered, median, least and most; times that of the log and of the floor,
/// medians of each round's ratio; bytes copied per published byte; writes per MB.
const COLUMNS: [&str; 10] =
    ["tick_ms", "viewers", "way", "cpu", "min", "max", "of_log", "of_floor", "copied", "writes"];

/// Compares the wire log with ropes and writev, in CPU time per GB delivered.
#[derive(Parser)]
struct Args {
    /// Numbers of viewers.
    #[arg(long, value_delimiter = ',', default_value = "1,3,20,300")]
    viewers: Vec<usize>,
    /// Times that each way has its turn, behind one that does not count.
    #[arg(long, default_value_t = 7)]
    rounds: usize,
    /// Delivered in one turn, to all viewers together.
    #[arg(long, default_value_t = 80)]
    megabytes: usize,
    /// As `play.write_len_max`, whose default this is.
    #[arg(long, default_value_t = 1_048_576)]
    write_len_max: usize,
    /// As `hub.history_ms`: what the ring and the log keep besides the newest GOP.
    #[arg(long, default_value_t = 10_000)]
    history_ms: u64,
    /// Three short rounds, under 10 s.
    #[arg(long)]
    quick: bool,
    /// Prints JSON instead of a table.
    #[arg(long)]
    json: bool,
    /// Drains `viewers` connections to this port: the second process.
    #[arg(long, hide = true)]
    drain: Option<u16>,
}

fn main() -> anyhow::Result<()> {
    let mut args = Args::parse();
    if let Some(port) = args.drain {
        return drain(port, args.viewers[0]);
    }
    if args.quick {
        (args.rounds, args.megabytes) = (3, 25);
    }
    let clip = obs::clip()?;
    let mut table = Table::new();
    table.load_preset(presets::ASCII_MARKDOWN).set_header(COLUMNS);
    let mut json = Vec::new();
    for &viewers in &args.viewers {
        let mut sockets = Sockets::open(viewers)?;
        for tick_ms in TICKS_MS {
            let rounds = measure(&clip, tick_ms, &mut sockets, &args)?;
            for (index, way) in Way::ALL.into_iter().enumerate() {
                let ratio = |to: Way| {
                    let of =
                        |costs: &[Cost; 4]| costs[index].per_gb() / costs[to as usize].per_gb();
                    spread(rounds.iter().map(of).collect())[1]
                };
                let [min, cpu, max] = spread(rounds.iter().map(|c| c[index].per_gb()).collect());
                let cost = &rounds[0][index];
                let copied = cost.copied as f64 / cost.published as f64;
                let writes = cost.writes as f64 * 1e6 / cost.delivered as f64;
                let values = [cpu, min, max, ratio(Way::Log), ratio(Way::Floor), copied, writes];
                let way = format!("{way:?}").to_lowercase();
                let mut row = vec![tick_ms.to_string(), viewers.to_string(), way.clone()];
                row.extend(values.map(|value| format!("{value:.2}")));
                table.add_row(row);
                let key = [json!(tick_ms), json!(viewers), json!(way)];
                let row = key.into_iter().chain(values.map(|value| json!(value)));
                json.push(COLUMNS.into_iter().map(str::to_owned).zip(row).collect::<Value>());
            }
        }
        sockets.close()?;
    }
    match args.json {
        true => println!("{:#}", Value::Array(json)),
        false => println!("{table}"),
    }
    Ok(())
}

/// Least, median and most.
fn spread(mut values: Vec<f64>) -> [f64; 3] {
    values.sort_by(f64::total_cmp);
    [values[0], values[values.len() / 2], values[values.len() - 1]]
}

type Rounds = Vec<[Cost; 4]>;

/// Each round has one turn of each way; the order rotates.
fn measure(
    clip: &[Tag],
    tick_ms: u32,
    sockets: &mut Sockets,
    args: &Args,
) -> anyhow::Result<Rounds> {
    let mut lanes = Vec::new();
    for way in Way::ALL {
        lanes.push(Lane::new(way, clip, sockets.viewers.len(), args)?);
    }
    let published_min = (args.megabytes * 1_000_000 / sockets.viewers.len()).min(16_000_000) as u64;
    let mut costs = vec![[Cost::default(); 4]; args.rounds + 1];
    for (round, costs) in costs.iter_mut().enumerate() {
        for turn in 0..lanes.len() {
            let index = (round + turn) % lanes.len();
            while costs[index].published < published_min {
                lanes[index].tick(tick_ms, sockets, &mut costs[index])?;
            }
        }
    }
    Ok(costs.split_off(1))
}

#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum Way {
    Log,
    Ropes,
    Encode,
    Floor,
}

impl Way {
    const ALL: [Self; 4] = [Self::Log, Self::Ropes, Self::Encode, Self::Floor];
}

#[derive(Clone, Copy, Default)]
struct Cost {
    cpu_s: f64,
    published: u64,
    delivered: u64,
    copied: u64,
    writes: u64,
}

impl Cost {
    fn per_gb(&self) -> f64 {
        self.cpu_s * 1e9 / self.delivered as f64
    }
}

/// One way to write, with a stream of its own.
struct Lane<'a> {
    way: Way,
    ingest: Ingest<'a>,
    publisher: Publisher,
    viewers: Vec<Viewer>,
    encoder: Encoder,
    encoded: BytesMut,
    args: &'a Args,
}

impl<'a> Lane<'a> {
    fn new(way: Way, clip: &'a [Tag], count: usize, args: &'a Args) -> anyhow::Result<Self> {
        let mut limits = HubLimits::default();
        limits.ring.history_ms = args.history_ms;
        let hub = Hub::new(limits);
        let mut viewers = Vec::new();
        if way == Way::Log {
            for _ in 0..count {
                let (key, policy) = ("live/obs".into(), Policy::default());
                viewers.push(hub.view(key, Protocol::Rtmp, 1, Start::Gop, policy, "v")?);
            }
        }
        let publisher = hub.publish("live/obs".into(), "obs")?;
        let encoder = Encoder::new(Protocol::Rtmp, Encoder::RTMP_STREAM_ID);
        let (ingest, encoded) = (Ingest::new(clip), BytesMut::new());
        Ok(Self { way, ingest, publisher, viewers, encoder, encoded, args })
    }

    /// Publishes what came in one tick, to all viewers.
    fn tick(&mut self, tick_ms: u32, sockets: &mut Sockets, cost: &mut Cost) -> anyhow::Result<()> {
        let tags = self.ingest.tick(tick_ms)?;
        let sent_before = sockets.sent;
        cost.published += tags.iter().map(|(tag, _)| tag.payload.len() as u64).sum::<u64>();
        let (mut clock, mut copied) = (thread_cpu_s(), rope::copied_bytes());
        match self.way {
            Way::Log => {
                self.publish(tags)?;
                cost.writes += write_log(&mut self.viewers, sockets, self.args.write_len_max)?;
            }
            Way::Ropes => {
                self.publish(tags.clone())?;
                cost.writes += write_ropes(&tags, sockets)?;
            }
            Way::Encode | Way::Floor => {
                self.encoded.clear();
                tags.iter().for_each(|(tag, _)| self.encoder.encode(tag, &mut self.encoded));
                if self.way == Way::Floor {
                    (clock, copied) = (thread_cpu_s(), rope::copied_bytes());
                }
                for socket in &mut sockets.viewers {
                    socket.write_all(&self.encoded)?;
                    sockets.sent += self.encoded.len() as u64;
                    cost.writes += 1;
                }
            }
        }
        cost.cpu_s += thread_cpu_s() - clock;
        cost.copied += rope::copied_bytes() - copied;
        cost.delivered += sockets.sent - sent_before;
        sockets.settle()
    }

    fn publish(&mut self, tags: Vec<(Tag, u32)>) -> anyhow::Result<()> {
        let now = Instant::now();
        for (tag, pinned) in tags {
            self.publisher.push(now, tag, pinned)?;
        }
        self.publisher.flush(now);
        Ok(())
    }
}

/// The loop of the product's connections, without its tasks. Says how many writes there were.
fn write_log(viewers: &mut [Viewer], sockets: &mut Sockets, len_max: usize) -> anyhow::Result<u64> {
    let mut cx = Context::from_waker(Waker::noop());
    let mut writes = 0;
    for (viewer, socket) in viewers.iter_mut().zip(&mut sockets.viewers) {
        while let Poll::Ready(next) = viewer.poll_batch(&mut cx, len_max) {
            let Next::Batch(batch) = next else { bail!("the viewer was let go") };
            ensure!(batch.lags().is_empty(), "the viewer lost tags: {:?}", batch.lags());
            let mut slices = [IoSlice::new(&[]); SLICES_MAX];
            let count = batch.slices().len().min(SLICES_MAX);
            for (slot, bytes) in slices.iter_mut().zip(batch.slices()) {
                *slot = IoSlice::new(bytes);
            }
            let written = socket.write_vectored(&slices[..count])?;
            viewer.advance(written);
            sockets.sent += written as u64;
            writes += 1;
        }
    }
    Ok(writes)
}

/// Headers are of type 0: four bytes more than the log's, and nothing to remember.
fn write_ropes(tags: &[(Tag, u32)], sockets: &mut Sockets) -> anyhow::Result<u64> {
    let headers: Vec<_> = tags.iter().map(|(tag, _)| chunk_header(tag)).collect();
    let continuations = headers.iter().map(|header| [0xC0 | header[0]]).collect::<Vec<_>>();
    let mut slices = Vec::new();
    for socket in &mut sockets.viewers {
        slices.clear();
        for (((tag, _), header), continuation) in tags.iter().zip(&headers).zip(&continuations) {
            slices.push(IoSlice::new(header));
            let mut room = Encoder::RTMP_CHUNK_SIZE as usize;
            for mut slice in tag.payload.slices() {
                while slice.len() > room {
                    let (head, rest) = slice.split_at(room);
                    slices.extend([IoSlice::new(head), IoSlice::new(continuation)]);
                    (slice, room) = (rest, Encoder::RTMP_CHUNK_SIZE as usize);
                }
                room -= slice.len();
                slices.push(IoSlice::new(slice));
            }
        }
        sockets.sent += write_all(socket, &mut slices)?;
    }
    Ok(sockets.viewers.len() as u64)
}

fn chunk_header(tag: &Tag) -> [u8; 12] {
    let csid = if tag.kind == TagKind::Audio { 4 } else { 6 };
    let [_, t0, t1, t2] = tag.timestamp.as_ms().to_be_bytes();
    let [_, l0, l1, l2] = (tag.payload.len() as u32).to_be_bytes();
    [csid, t0, t1, t2, l0, l1, l2, tag.kind as u8, 1, 0, 0, 0]
}
