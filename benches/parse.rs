//! How fast are bytes turned into messages, beside what others would use?
//!
//! The same bytes of a recorded encoder, its media repeated to 64 MiB, by our `ChunkReader`, by
//! rml_rtmp, scuffle-rtmp and shiguredo_rtmp: one thread, CPU time. Each receives as its own server
//! does: others what came as it came, in pieces as long as the reads of the recording were, ours what
//! came within a tick; `forebay_as_it_came` is ours with their reads. A copy stands for `recv`; what the
//! copies alone take is measured beside (`receive`) and taken off all figures. What others give is joined, each
//! message a piece of memory of its own; ours gives ropes, as in the server. All take turns, twice, and the
//! least counts: what is left of ours is less than what receiving varies by while others use the memory.
//!
//! Before the clock starts, all have found the same number of messages and payload bytes. rml_rtmp
//! panics where an encoder begins a message on one chunk stream inside another's; these three do not.
//!
//! `flv` compares reading all tags of a file, and the headers inside audio and video, with scuffle-flv.

#[path = "parse/contestants.rs"]
mod contestants;
#[path = "shared/cpu.rs"]
mod cpu;

use anyhow::ensure;
use bytes::Bytes;
use criterion::{BenchmarkGroup, SamplingMode, Throughput};
use forebay_benches::capture::Stream;
use forebay_benches::charts::{self, Group};
use forebay_benches::measured::measured;

use cpu::CpuTime;

use contestants::{
    forebay, forebay_as_it_came, forebay_tags, receive, rml_rtmp, scuffle_rtmp, scuffle_tags,
    shiguredo_rtmp,
};

const STREAM_LEN: usize = 64 << 20;

/// Who sent it, and the recording.
const STREAMS: [(&str, &str); 3] = [
    ("obs", "obs-publish-720p30"),
    ("ffmpeg", "ffmpeg5-publish-360p30"),
    ("librtmp", "gst-librtmp-360p30"),
];

/// What is behind a group's name.
const TURNS: [&str; 2] = ["", "_again"];

/// What all of them do first.
const RECEIVE: &str = "receive";
const OURS: &str = "forebay";
const AS_IT_CAME: &str = "forebay_as_it_came";
const OTHERS: [&str; 3] = ["rml_rtmp", "scuffle-rtmp", "shiguredo_rtmp"];

fn main() -> anyhow::Result<()> {
    let mut criterion = cpu::criterion();
    let mut charts = Vec::new();
    let mut figures = Vec::new();
    for (encoder, recording) in STREAMS {
        let stream = Stream::repeated(recording, STREAM_LEN)?;
        agree(&stream)?;
        for turn in TURNS {
            let mut group = criterion.benchmark_group(format!("parse_{encoder}{turn}"));
            group.throughput(Throughput::Bytes(stream.len() as u64));
            time(&mut group, &stream);
            group.finish();
        }
        let received = least_ns(&format!("parse_{encoder}"), RECEIVE)?;
        let as_it_came = compare(encoder, stream.len(), received, AS_IT_CAME, &OTHERS)?;
        let chart = compare(encoder, stream.len(), received, OURS, &OTHERS)?;
        figures.push((encoder, chart.1, as_it_came.1));
        charts.push(chart.0);
    }
    let file = Bytes::from(std::fs::read(concat!(
        env!("CARGO_MANIFEST_DIR"),
        "/../testdata/flv/obs-720p30-cbr2500.flv"
    ))?);
    let (ours, theirs) = (forebay_tags(&file)?, scuffle_tags(&file)?);
    ensure!(ours == theirs, "{ours:?} and {theirs:?}");
    for turn in TURNS {
        let mut group = criterion.benchmark_group(format!("parse_flv{turn}"));
        group.throughput(Throughput::Bytes(file.len() as u64));
        group.bench_function(OURS, |bencher| bencher.iter(|| forebay_tags(&file)));
        group.bench_function("scuffle-flv", |bencher| bencher.iter(|| scuffle_tags(&file)));
        group.finish();
    }
    let (_, flv) = compare("flv", file.len(), 0.0, OURS, &["scuffle-flv"])?;
    let title = "RTMP chunks to messages: GB per CPU second";
    println!("chart: {}", charts::bars("parse.svg", title, &charts)?.display());
    for (encoder, times, as_it_came) in figures {
        measured(&format!("parse.times_fastest_other_{encoder}"), cpu::round(times));
        println!("{encoder}, read as it came: {as_it_came:.1} times as fast");
    }
    measured("parse.times_scuffle_flv", cpu::round(flv));
    Ok(())
}

/// Everybody must find the same in it.
fn agree(stream: &Stream) -> anyhow::Result<()> {
    let ours = forebay(stream)?;
    let theirs = [rml_rtmp(stream)?, scuffle_rtmp(stream)?, shiguredo_rtmp(stream)?];
    for (name, seen) in OTHERS.into_iter().zip(theirs) {
        ensure!(seen == ours, "{name} finds {seen:?}, we find {ours:?}");
    }
    println!("all find {ours:?} in {} bytes", stream.len());
    Ok(())
}

fn time(group: &mut BenchmarkGroup<'_, CpuTime>, stream: &Stream) {
    group.sampling_mode(SamplingMode::Flat);
    group.bench_function(RECEIVE, |bencher| bencher.iter(|| receive(stream)));
    group.bench_function(OURS, |bencher| bencher.iter(|| forebay(stream)));
    group.bench_function(AS_IT_CAME, |bencher| bencher.iter(|| forebay_as_it_came(stream)));
    group.bench_function(OTHERS[0], |bencher| bencher.iter(|| rml_rtmp(stream)));
    group.bench_function(OTHERS[1], |bencher| bencher.iter(|| scuffle_rtmp(stream)));
    group.bench_function(OTHERS[2], |bencher| bencher.iter(|| shiguredo_rtmp(stream)));
}

/// The least of all turns.
fn least_ns(group: &str, name: &str) -> anyhow::Result<f64> {
    let turns = TURNS.map(|turn| cpu::least_ns(&format!("{group}{turn}"), name));
    turns.into_iter().try_fold(f64::INFINITY, |least, ns| Ok(least.min(ns?)))
}

/// What is beyond receiving: the chart's bars, and how many times as fast as the fastest other one we are.
fn compare(
    encoder: &str,
    len: usize,
    received_ns: f64,
    ours: &str,
    others: &[&str],
) -> anyhow::Result<(Group, f64)> {
    let group = format!("parse_{encoder}");
    let net_ns = |name| anyhow::Ok(least_ns(&group, name)? - received_ns);
    let ours_ns = net_ns(ours)?;
    ensure!(
        ours_ns > 0.0,
        "{group}: {ours} took no longer than receiving; is something else running?"
    );
    let mut fastest = f64::INFINITY;
    let mut bars = Vec::new();
    for name in [&[ours], others].concat() {
        let ns = net_ns(name)?;
        let gb_per_s = len as f64 / ns;
        let mut note = format!("{gb_per_s:.2}");
        if name != ours {
            fastest = fastest.min(ns);
            note += &format!("  (1/{:.1})", ns / ours_ns);
        }
        bars.push((name.to_owned(), gb_per_s, note));
    }
    Ok((Group { heading: encoder.to_owned(), bars }, fastest / ours_ns))
}
