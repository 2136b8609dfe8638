//! How fast are bytes turned into messages, beside what others would use?
//!
//! The same bytes of a recorded encoder, its media repeated to 64 MiB, by our `ChunkReader`, by
//! rml_rtmp, scuffle-rtmp and shiguredo_rtmp: single-threaded, CPU time, from memory. What `recv`
//! would copy is in nobody's time. Ours gets pieces as long as the reads of the recording were, and
//! gives ropes, as in the server; the others get what costs them least: scuffle-rtmp a buffer that
//! holds everything already, shiguredo_rtmp one slice. What they give is joined, each message a
//! piece of memory of its own: they copy, which is most of the difference, and their users do not
//! have to. Whoever needs a payload in one piece from us pays for that copy then, as the wire log does.
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
use bytes::{Bytes, BytesMut};
use criterion::measurement::Measurement;
use criterion::{BatchSize, BenchmarkGroup, SamplingMode, Throughput};
use forebay_benches::capture::Stream;
use forebay_benches::charts::{self, Group};
use forebay_benches::measured::measured;

use contestants::{forebay, forebay_tags, rml_rtmp, scuffle_rtmp, scuffle_tags, shiguredo_rtmp};

/// As long as an hour of sound, so that nothing stays in the caches.
const STREAM_LEN: usize = 64 << 20;

/// Who sent it, and the recording.
const STREAMS: [(&str, &str); 3] = [
    ("obs", "obs-publish-720p30"),
    ("ffmpeg", "ffmpeg5-publish-360p30"),
    ("librtmp", "gst-librtmp-360p30"),
];

const OURS: &str = "forebay";
const OTHERS: [&str; 3] = ["rml_rtmp", "scuffle-rtmp", "shiguredo_rtmp"];

fn main() -> anyhow::Result<()> {
    let mut criterion = cpu::criterion();
    let mut charts = Vec::new();
    let mut figures = Vec::new();
    for (encoder, recording) in STREAMS {
        let stream = Stream::repeated(recording, STREAM_LEN)?;
        agree(&stream)?;
        let mut group = criterion.benchmark_group(format!("parse_{encoder}"));
        group.throughput(Throughput::Bytes(stream.whole.len() as u64));
        time(&mut group, &stream);
        group.finish();
        let chart = compare(encoder, stream.whole.len(), &OTHERS)?;
        figures.push((encoder, chart.1));
        charts.push(chart.0);
    }
    let file = Bytes::from(std::fs::read(concat!(
        env!("CARGO_MANIFEST_DIR"),
        "/../testdata/flv/obs-720p30-cbr2500.flv"
    ))?);
    let (ours, theirs) = (forebay_tags(&file)?, scuffle_tags(&file)?);
    ensure!(ours == theirs, "{ours:?} and {theirs:?}");
    let mut group = criterion.benchmark_group("parse_flv");
    group.throughput(Throughput::Bytes(file.len() as u64));
    group.bench_function(OURS, |bencher| bencher.iter(|| forebay_tags(&file)));
    group.bench_function("scuffle-flv", |bencher| bencher.iter(|| scuffle_tags(&file)));
    group.finish();
    let (_, flv) = compare("flv", file.len(), &["scuffle-flv"])?;
    let title = "RTMP chunks to messages, GB per CPU second, one thread";
    println!("chart: {}", charts::bars("parse.svg", title, &charts)?.display());
    for (encoder, times) in figures {
        measured(&format!("parse.times_fastest_other_{encoder}"), times);
    }
    measured("parse.times_scuffle_flv", flv);
    Ok(())
}

/// Everybody must find the same in it.
fn agree(stream: &Stream) -> anyhow::Result<()> {
    let ours = forebay(stream)?;
    let theirs = [
        rml_rtmp(stream)?,
        scuffle_rtmp(BytesMut::from(&stream.whole[..]))?,
        shiguredo_rtmp(stream)?,
    ];
    for (name, seen) in OTHERS.into_iter().zip(theirs) {
        ensure!(seen == ours, "{name} finds {seen:?}, we find {ours:?}");
    }
    println!("all find {ours:?} in {} pieces", stream.pieces.len());
    Ok(())
}

fn time<M: Measurement>(group: &mut BenchmarkGroup<'_, M>, stream: &Stream) {
    group.sampling_mode(SamplingMode::Flat);
    group.bench_function(OURS, |bencher| bencher.iter(|| forebay(stream)));
    group.bench_function(OTHERS[0], |bencher| bencher.iter(|| rml_rtmp(stream)));
    group.bench_function(OTHERS[1], |bencher| {
        let buffer = || BytesMut::from(&stream.whole[..]);
        bencher.iter_batched(buffer, scuffle_rtmp, BatchSize::PerIteration);
    });
    group.bench_function(OTHERS[2], |bencher| bencher.iter(|| shiguredo_rtmp(stream)));
}

/// The chart's bars, and how many times as fast as the fastest other one we are.
fn compare(encoder: &str, len: usize, others: &[&str]) -> anyhow::Result<(Group, f64)> {
    let group = format!("parse_{encoder}");
    let ours = cpu::median_ns(&group, OURS)?;
    let mut fastest = f64::INFINITY;
    let mut bars = Vec::new();
    for name in [&[OURS], others].concat() {
        let ns = cpu::median_ns(&group, name)?;
        let gb_per_s = len as f64 / ns;
        let mut note = format!("{gb_per_s:.2}");
        if name != OURS {
            fastest = fastest.min(ns);
            note += &format!("  (1/{:.1})", ns / ours);
        }
        bars.push((name.to_owned(), gb_per_s, note));
    }
    Ok((Group { heading: encoder.to_owned(), bars }, fastest / ours))
}
