//! A turn: one writer serves its viewers for some seconds, and what that costs.

use std::thread;
use std::time::Duration;

use crate::process::cpu_s;
use crate::sink::{Group, Sink};

/// What a turn cost.
pub struct Turn {
    /// CPU seconds of the writer per GB that arrived.
    pub per_gb: f64,
    /// CPU seconds of the sink, per second.
    pub sink_load: f64,
    /// Every viewer received everything.
    pub is_complete: bool,
}

/// Takes a turn: `publish` says how many bytes each viewer should get, at least. What is on its
/// way when it returns has `settle` to arrive; all CPU time and all bytes up to then are the turn's.
pub fn take(
    sink: &mut Sink,
    viewers: Group,
    writer: u32,
    duration: Duration,
    settle: Duration,
    publish: impl FnOnce() -> anyhow::Result<u64>,
) -> anyhow::Result<Turn> {
    sink.received(viewers)?;
    let before = (cpu_s(writer)?, cpu_s(sink.pid())?);
    let published = publish()?;
    thread::sleep(settle);
    let after = (cpu_s(writer)?, cpu_s(sink.pid())?);
    let received = sink.received(viewers)?;
    Ok(Turn {
        per_gb: (after.0 - before.0) * 1e9 / received.total as f64,
        sink_load: (after.1 - before.1) / duration.as_secs_f64(),
        is_complete: received.least >= published && received.closed == 0,
    })
}

/// The middle one; NaN if there is none.
pub fn median(values: impl IntoIterator<Item = f64>) -> f64 {
    let mut values: Vec<_> = values.into_iter().collect();
    values.sort_by(f64::total_cmp);
    values.get(values.len() / 2).copied().unwrap_or(f64::NAN)
}

/// The value that `percent` of all do not exceed; NaN if there is none.
pub fn percentile(values: &[f64], percent: usize) -> f64 {
    let mut values = values.to_vec();
    values.sort_by(f64::total_cmp);
    let index = (values.len() * percent).div_ceil(100).saturating_sub(1);
    values.get(index).copied().unwrap_or(f64::NAN)
}
