//! Where a moment and a delay are on the page.

use crate::time::SimTime;

/// Pixels of the run from its start to its end.
pub(super) const WIDTH: f64 = 1_320.0;

/// Ticks on the axis, at most.
const TICKS_MAX: u64 = 22;

/// The delay below which nobody cares: the scale is linear up to about here, then logarithmic.
const KNEE_MS: f64 = 60.0;

/// The common time axis, and the common scale of delays.
#[derive(Clone, Copy)]
pub(super) struct Scale {
    pub(super) end: SimTime,
    pub(super) delay_ms_max: u64,
}

impl Scale {
    pub(super) fn x(&self, at: SimTime) -> f64 {
        let end = self.end.micros().max(1) as f64;
        (at.micros() as f64 / end).min(1.0) * WIDTH
    }

    /// How far up from the base of a drawing of this height.
    pub(super) fn up(&self, delay_ms: u64, height: f64) -> f64 {
        let log = |ms: u64| (1.0 + ms as f64 / KNEE_MS).ln();
        log(delay_ms) / log(self.delay_ms_max.max(1)) * height
    }

    /// Round delays worth a line across a drawing.
    pub(super) fn delays(&self) -> impl Iterator<Item = u64> + use<> {
        let max = self.delay_ms_max;
        [100, 1_000, 10_000, 100_000].into_iter().filter(move |ms| *ms <= max)
    }

    /// Moments that get a number.
    pub(super) fn ticks(&self) -> impl Iterator<Item = SimTime> + use<> {
        let end = self.end.micros();
        let steps = (3..12).flat_map(|power| [1, 2, 5].map(|one| one * 10_u64.pow(power)));
        let step = steps.into_iter().find(|step| end / step <= TICKS_MAX).unwrap_or(end.max(1));
        (0..=end / step).map(move |tick| SimTime::from_micros(tick * step))
    }
}

/// A tick's number, without zeros that say nothing.
pub(super) fn tick_label(at: SimTime) -> String {
    let text = at.to_string();
    let text = text.trim_end_matches('0').trim_end_matches('.');
    format!("{} s", if text.is_empty() { "0" } else { text })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ticks_are_round_and_few() {
        for seconds in [1, 3, 20, 50, 60, 600, 86_400] {
            let scale = Scale { end: SimTime::from_millis(seconds * 1_000), delay_ms_max: 1_000 };
            let ticks: Vec<_> = scale.ticks().collect();
            assert!((8..=TICKS_MAX as usize + 1).contains(&ticks.len()), "{seconds}: {ticks:?}");
        }
        assert_eq!(tick_label(SimTime::from_millis(10_500)), "10.5 s");
        assert_eq!(tick_label(SimTime::from_millis(10_000)), "10 s");
        assert_eq!(tick_label(SimTime::ZERO), "0 s");
    }

    #[test]
    fn delays_grow_upwards_to_the_height() {
        let scale = Scale { end: SimTime::from_millis(1), delay_ms_max: 40_000 };
        let ups = [0, 50, 1_000, 40_000].map(|ms| scale.up(ms, 30.0));
        assert!(ups.is_sorted() && ups[0] == 0.0 && (ups[3] - 30.0).abs() < 1e-9, "{ups:?}");
    }
}
