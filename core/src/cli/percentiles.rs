//! Percentiles: how long things took, for people and for programs.

use std::time::Duration;

use serde_json::{Value, json};

/// The nearest rank of sorted values.
pub(crate) fn percentile(sorted: &[Duration], percent: usize) -> Option<Duration> {
    let rank = (sorted.len() * percent).div_ceil(100);
    sorted.get(rank.saturating_sub(1)).copied()
}

/// Milliseconds.
pub(crate) fn to_json(at: impl Fn(usize) -> Option<Duration>) -> Value {
    let at = |percent| at(percent).map(ms);
    json!({ "p50": at(50), "p90": at(90), "p99": at(99), "max": at(100) })
}

pub(crate) fn ms(duration: Duration) -> f64 {
    duration.as_micros() as f64 / 1000.0
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_percentile_is_one_of_the_values() {
        let times: Vec<_> = (1..=10).map(Duration::from_millis).collect();
        let at = |percent| percentile(&times, percent).unwrap().as_millis();
        assert_eq!((at(50), at(90), at(99), at(100)), (5, 9, 10, 10));
        assert_eq!(percentile(&[], 50), None);
    }
}
