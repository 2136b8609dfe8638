//! What does a join cost, by the length of the GOP that the viewer joins?
//!
//! One viewer comes, is given its headers and the log from the newest keyframe on, and leaves: CPU
//! time of the hub, sockets and tasks left out. `first` ends with the first batch, which is all that a
//! picture needs; `whole` goes on until the viewer has all of the GOP. Another viewer of the protocol stays all
//! the time, so that there is a log.

#[path = "shared/cpu.rs"]
mod cpu;

use std::hint::black_box;
use std::task::{Context, Poll, Waker};
use std::time::{Duration, Instant};

use anyhow::{Context as _, ensure};
use forebay::flv::{Tag, TagRole};
use forebay::hub::{Hub, HubLimits, Next, Policy, Publisher, Start, Viewer};
use forebay::wire_log::Protocol;
use forebay_benches::charts::{self, Line};
use forebay_benches::measured::measured;
use forebay_benches::obs;

const GOPS_S: [u32; 3] = [1, 2, 10];
/// As `play.write_len_max`.
const WRITE_LEN_MAX: usize = 262_144;

fn main() -> anyhow::Result<()> {
    let mut criterion = cpu::criterion();
    let clip = obs::clip()?;
    let mut lines = Vec::new();
    for (protocol, name) in [(Protocol::Rtmp, "rtmp"), (Protocol::Flv, "http_flv")] {
        let (mut first, mut whole) = (Vec::new(), Vec::new());
        for seconds in GOPS_S {
            let (hub, _publisher) = published(&clip, seconds)?;
            let _stays = view(&hub, protocol)?;
            let len = take(&mut view(&hub, protocol)?, usize::MAX);
            ensure!(len > seconds as usize * 600_000, "a GOP of {seconds} s has {len} bytes");
            let group_name = format!("join_{name}_{seconds}s");
            let mut group = criterion.benchmark_group(&group_name);
            for (function, batches) in [("first", 1), ("whole", usize::MAX)] {
                group.bench_function(function, |bencher| {
                    bencher
                        .iter(|| view(&hub, protocol).map(|mut viewer| take(&mut viewer, batches)));
                });
            }
            group.finish();
            let us = |function| anyhow::Ok(cpu::least_ns(&group_name, function)? / 1e3);
            first.push((f64::from(seconds), us("first")?));
            whole.push((f64::from(seconds), us("whole")?));
        }
        measured(&format!("gop.join_{name}_10s_over_1s"), cpu::round(first[2].1 / first[0].1));
        lines.push(Line { label: format!("{name}, first batch"), points: first });
        lines.push(Line { label: format!("{name}, whole GOP"), points: whole });
    }
    let axes = ["length of the GOP, s (6 Mbit/s)", "CPU time of the hub, µs"];
    println!("chart: {}", charts::lines("join.svg", "What a join costs", axes, &lines)?.display());
    Ok(())
}

/// A stream whose newest GOP is so many seconds long: a keyframe, and the clip's other frames and
/// sound over and over.
fn published(clip: &[Tag], seconds: u32) -> anyhow::Result<(Hub, Publisher)> {
    let hub = Hub::new(HubLimits { coalesce: Duration::ZERO, ..HubLimits::default() });
    let mut publisher = hub.publish("live/obs".into(), "obs")?;
    let keyframe = clip.iter().position(|tag| tag.role() == TagRole::Keyframe);
    let keyframe = keyframe.context("the clip has no keyframe")?;
    let (headers, gop) = clip.split_at(keyframe);
    let others: Vec<_> = gop[1..].iter().filter(|tag| tag.role() != TagRole::Keyframe).collect();
    let round_ms = others.last().map_or(0, |last| last.timestamp.as_ms());
    let rest = (0..).flat_map(|round| {
        others.iter().map(move |tag| Tag {
            timestamp: tag.timestamp.plus_ms(round * round_ms),
            ..(*tag).clone()
        })
    });
    let mut now = Instant::now();
    let start_ms = gop[0].timestamp.as_ms();
    let in_gop = rest.take_while(|tag| tag.timestamp.as_ms() < start_ms + seconds * 1000);
    for tag in headers.iter().chain(&gop[..1]).cloned().chain(in_gop) {
        now += Duration::from_millis(13);
        let pinned = tag.payload.len() as u32;
        publisher.push(now, tag, pinned)?;
        publisher.flush(now);
    }
    Ok((hub, publisher))
}

fn view(hub: &Hub, protocol: Protocol) -> anyhow::Result<Viewer> {
    Ok(hub.view("live/obs".into(), protocol, 1, Start::Gop, Policy::default(), "v")?)
}

/// Takes at most so many batches. Says how many bytes they have.
fn take(viewer: &mut Viewer, batches_max: usize) -> usize {
    let mut cx = Context::from_waker(Waker::noop());
    let mut taken = 0;
    for _ in 0..batches_max {
        let Poll::Ready(Next::Batch(batch)) = viewer.poll_batch(&mut cx, WRITE_LEN_MAX) else {
            break;
        };
        let len = black_box(batch).len();
        viewer.advance(len);
        taken += len;
    }
    taken
}
