//! Criterion with CPU time instead of wall time: whoever else uses this machine costs nothing.

use std::path::PathBuf;
use std::time::Duration;

use anyhow::Context as _;
use criterion::Criterion;
use criterion::measurement::{Measurement, ValueFormatter, WallTime};
use forebay_benches::loopback::thread_cpu_s;

/// CPU time of this thread, in nanoseconds.
pub(crate) struct CpuTime;

impl Measurement for CpuTime {
    type Intermediate = f64;
    type Value = f64;

    fn start(&self) -> f64 {
        thread_cpu_s()
    }

    fn end(&self, start: f64) -> f64 {
        (thread_cpu_s() - start) * 1e9
    }

    fn add(&self, one: &f64, other: &f64) -> f64 {
        one + other
    }

    fn zero(&self) -> f64 {
        0.0
    }

    fn to_f64(&self, value: &f64) -> f64 {
        *value
    }

    fn formatter(&self) -> &dyn ValueFormatter {
        WallTime.formatter()
    }
}

fn folder() -> PathBuf {
    let target = std::env::var_os("CARGO_TARGET_DIR").map(PathBuf::from);
    target.unwrap_or_else(|| concat!(env!("CARGO_MANIFEST_DIR"), "/../target").into())
}

/// Short runs: what is compared differs by more than their noise.
pub(crate) fn criterion() -> Criterion<CpuTime> {
    Criterion::default()
        .with_measurement(CpuTime)
        .output_directory(&folder().join("criterion"))
        .sample_size(10)
        .warm_up_time(Duration::from_millis(300))
        .measurement_time(Duration::from_secs(1))
        .configure_from_args()
}

/// The least sample of the run that has just ended, in nanoseconds: what it takes when nobody else
/// wants the memory.
pub(crate) fn least_ns(group: &str, function: &str) -> anyhow::Result<f64> {
    let path = folder().join("criterion").join(group).join(function).join("new/sample.json");
    let text = std::fs::read(&path).with_context(|| path.display().to_string())?;
    let sample: serde_json::Value = serde_json::from_slice(&text)?;
    let numbers = |name: &str| {
        let numbers = sample[name].as_array().into_iter().flatten();
        numbers.filter_map(serde_json::Value::as_f64).collect::<Vec<_>>()
    };
    let samples = numbers("times").into_iter().zip(numbers("iters"));
    samples.map(|(ns, count)| ns / count).reduce(f64::min).context("criterion took no samples")
}

/// Three digits: the others are noise.
pub(crate) fn round(value: f64) -> f64 {
    (value * 1000.0).round() / 1000.0
}
