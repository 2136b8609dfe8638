//! Steps: the distances between a track's neighbouring frames; where they are odd.

use std::collections::BTreeMap;

use serde::Serialize;

use crate::time::Timestamp;

/// One step that stands out.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Serialize)]
pub struct Step {
    /// Where the later frame is, in bytes.
    pub at: u64,
    /// The earlier frame's timestamp.
    pub from_ms: u32,
    /// The later one's.
    pub to_ms: u32,
    /// The way between them, the shorter one round 2^32; negative is backwards.
    pub step_ms: i32,
}

/// What a track's steps are like.
#[derive(Clone, PartialEq, Debug, Default, Serialize)]
pub struct StepReport {
    /// The median: a frame's duration.
    pub typical_ms: Option<i32>,
    /// The smallest.
    pub min_ms: Option<i32>,
    /// The largest.
    pub max_ms: Option<i32>,
    /// Steps back in time.
    pub backward_count: u64,
    /// The first of them.
    pub backward: Vec<Step>,
    /// Steps of more than a second forward.
    pub jump_count: u64,
    /// The first of them.
    pub jumps: Vec<Step>,
    /// Steps that leave room for at least one more frame, those of more than a second included.
    pub gap_count: u64,
    /// The largest of them, in the order of the stream.
    pub gaps: Vec<Step>,
    /// How often 2^32 ms were passed.
    pub wraps: Vec<Step>,
    /// Where 2^24 ms were passed, from where on a 24-bit field is too short.
    pub crosses_24_bits: Vec<Step>,
}

/// Steps of each kind that are listed.
const LISTED_MAX: usize = 16;
/// Different lengths that are told apart; streams have two to twenty.
const LENGTHS_MAX: usize = 4096;
const JUMP_MS: i32 = 1000;
/// Steps of more do not count as time that was streamed.
const STREAMED_MS_MAX: i32 = 10_000;

#[derive(Default)]
pub(super) struct Steps {
    last: Option<Timestamp>,
    /// How often each length occurs.
    lengths: BTreeMap<i32, u64>,
    count: u64,
    sum_ms: u64,
    min_ms: Option<i32>,
    max_ms: Option<i32>,
    backward_count: u64,
    backward: Vec<Step>,
    jump_count: u64,
    jumps: Vec<Step>,
    largest: Vec<Step>,
    wraps: Vec<Step>,
    crosses_24_bits: Vec<Step>,
}

impl Steps {
    /// Takes the next frame's time and gives the step to it.
    pub(super) fn add(&mut self, at: u64, timestamp: Timestamp) -> Option<i32> {
        let last = self.last.replace(timestamp)?;
        let (from_ms, to_ms) = (last.as_ms(), timestamp.as_ms());
        let step_ms = timestamp.since(last);
        let step = Step { at, from_ms, to_ms, step_ms };
        self.count += 1;
        self.min_ms = Some(self.min_ms.map_or(step_ms, |min| min.min(step_ms)));
        self.max_ms = Some(self.max_ms.map_or(step_ms, |max| max.max(step_ms)));
        if self.lengths.len() < LENGTHS_MAX || self.lengths.contains_key(&step_ms) {
            *self.lengths.entry(step_ms).or_default() += 1;
        }
        if step_ms < 0 {
            self.backward_count += 1;
            list(&mut self.backward, step);
            return Some(step_ms);
        }
        if step_ms <= STREAMED_MS_MAX {
            self.sum_ms += u64::from(step_ms.unsigned_abs());
        }
        if step_ms > JUMP_MS {
            self.jump_count += 1;
            list(&mut self.jumps, step);
        }
        if to_ms < from_ms {
            list(&mut self.wraps, step);
        } else if from_ms < 1 << 24 && to_ms >= 1 << 24 {
            list(&mut self.crosses_24_bits, step);
        }
        self.list_largest(step);
        Some(step_ms)
    }

    fn list_largest(&mut self, step: Step) {
        let least = self.largest.iter().map(|step| step.step_ms).min().unwrap_or_default();
        if self.largest.len() < LISTED_MAX {
            self.largest.push(step);
        } else if step.step_ms > least
            && let Some(index) = self.largest.iter().rposition(|step| step.step_ms == least)
        {
            self.largest.remove(index);
            self.largest.push(step);
        }
    }

    /// The time that was streamed: jumps and the way back from them left out.
    pub(super) fn streamed_ms(&self) -> u64 {
        self.sum_ms + u64::from(self.typical_ms().unwrap_or_default().unsigned_abs())
    }

    /// Frames in a second.
    pub(super) fn rate(&self) -> Option<f64> {
        let forward = self.count - self.backward_count;
        (self.sum_ms > 0).then(|| forward as f64 * 1000.0 / self.sum_ms as f64)
    }

    fn typical_ms(&self) -> Option<i32> {
        let listed: u64 = self.lengths.values().sum();
        let mut before = 0;
        self.lengths.iter().find_map(|(&ms, &count)| {
            before += count;
            (before * 2 >= listed).then_some(ms)
        })
    }

    pub(super) fn report(&self) -> StepReport {
        // Timestamps are rounded, and some encoders' clocks tremble.
        let gap_ms = self.typical_ms().map_or(i32::MAX, |typical| {
            typical.saturating_mul(7).saturating_div(4).max(typical.saturating_add(20))
        });
        let is_gap = |step: &&Step| step.step_ms >= gap_ms;
        StepReport {
            typical_ms: self.typical_ms(),
            min_ms: self.min_ms,
            max_ms: self.max_ms,
            backward_count: self.backward_count,
            backward: self.backward.clone(),
            jump_count: self.jump_count,
            jumps: self.jumps.clone(),
            gap_count: self.lengths.range(gap_ms..).map(|(_, count)| count).sum(),
            gaps: self.largest.iter().filter(is_gap).copied().collect(),
            wraps: self.wraps.clone(),
            crosses_24_bits: self.crosses_24_bits.clone(),
        }
    }
}

fn list(steps: &mut Vec<Step>, step: Step) {
    if steps.len() < LISTED_MAX {
        steps.push(step);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn steps(timestamps: impl IntoIterator<Item = u32>) -> Steps {
        let mut steps = Steps::default();
        for (at, ms) in timestamps.into_iter().enumerate() {
            steps.add(at as u64, Timestamp::from_ms(ms));
        }
        steps
    }

    #[test]
    fn a_wrap_is_a_step_like_any_other() {
        let steps = steps((0..10).map(|n| (u32::MAX - 100).wrapping_add(40 * n)));
        let report = steps.report();
        assert_eq!(
            (report.typical_ms, report.max_ms, report.backward_count),
            (Some(40), Some(40), 0)
        );
        assert_eq!(report.wraps.len(), 1);
        assert_eq!(steps.rate(), Some(25.0));
    }

    #[test]
    fn a_gap_is_where_frames_would_have_room() {
        let steps = steps([0, 33, 67, 100, 200, 233, 267, 2267]);
        let report = steps.report();
        assert_eq!(report.gaps.iter().map(|gap| gap.step_ms).collect::<Vec<_>>(), [100, 2000]);
        assert_eq!((report.gap_count, report.jump_count), (2, 1));
    }

    #[test]
    fn lists_are_bounded_and_keep_the_largest() {
        let mut at = 0;
        let times = (0..10_000u32).map(|n| {
            at += n;
            at
        });
        let report = steps(times).report();
        assert_eq!((report.jumps.len(), report.jump_count), (LISTED_MAX, 8999));
        assert_eq!(report.gaps.last().map(|gap| gap.step_ms), Some(9999));
        assert_eq!(report.gaps.len(), LISTED_MAX);
    }
}
