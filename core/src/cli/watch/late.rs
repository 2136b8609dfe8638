//! Late: how evenly tags come, by their timestamps.

use std::collections::BTreeMap;
use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use forebay::time::Timestamp;

/// Different distances that are told from each other: more than a minute and a half.
const DISTANCES_MAX: usize = 100_000;

/// How many tags came so many milliseconds behind their timestamps. The two clocks have different
/// zeros, so only differences mean anything.
#[derive(Default)]
pub(super) struct Late(Mutex<BTreeMap<i64, u64>>);

impl Late {
    /// A tag came so long after everything began.
    pub(super) fn count(&self, after: Duration, timestamp: Timestamp) {
        let behind = after.as_millis() as i64 - i64::from(timestamp.as_ms());
        let mut tags = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        if tags.len() < DISTANCES_MAX || tags.contains_key(&behind) {
            *tags.entry(behind).or_default() += 1;
        }
    }

    /// So many percent of the tags came at most so much later than the earliest.
    pub(super) fn percentile(&self, percent: usize) -> Option<Duration> {
        let tags = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let rank = (tags.values().sum::<u64>() * percent as u64).div_ceil(100).max(1);
        let (earliest, _) = tags.first_key_value()?;
        let mut seen = 0;
        let (behind, _) = tags.iter().find(|(_, count)| {
            seen += **count;
            seen >= rank
        })?;
        Some(Duration::from_millis(behind.abs_diff(*earliest)))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_tag_is_late_by_how_much_the_earliest_was_not() {
        let late = Late::default();
        assert_eq!(late.percentile(50), None);
        for (came_ms, timestamp_ms) in [(5_000, 100), (5_043, 140), (5_080, 180), (5_310, 220)] {
            late.count(Duration::from_millis(came_ms), Timestamp::from_ms(timestamp_ms));
        }
        let at = |percent| late.percentile(percent).unwrap().as_millis();
        assert_eq!((at(50), at(75), at(100)), (0, 3, 190));
    }
}
