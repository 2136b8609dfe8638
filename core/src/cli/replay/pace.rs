//! Pace: when it is a tag's turn.

use std::str::FromStr;
use std::time::{Duration, Instant};

/// A step of time this long, forwards, is a cut and not a pause: nobody waits for it.
const PAUSE_MS_MAX: i64 = 10_000;
/// Audio and video are interleaved this well, or time went back.
const BACK_MS_MAX: i64 = 1_000;
/// What is later than this is caught up no more: it would be a flood.
const LATE_MAX: Duration = Duration::from_secs(10);

/// How fast a recording is played.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(crate) enum Pace {
    /// As many times faster than it was recorded; 1 is real time.
    Times(f64),
    /// As fast as the socket takes it.
    Max,
}

impl FromStr for Pace {
    type Err = &'static str;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let times = match text {
            "max" => return Ok(Self::Max),
            "realtime" => return Ok(Self::Times(1.0)),
            _ => text.strip_prefix('x').and_then(|times| times.parse().ok()),
        };
        match times {
            Some(times) if (0.01..=1000.0).contains(&times) => Ok(Self::Times(times)),
            _ => Err("expected `realtime`, `max`, or `x` and a number from 0.01 to 1000, as in x4"),
        }
    }
}

/// Tells for one position after the other when it is due.
pub(super) struct Pacer {
    pace: Pace,
    /// A position and when it was due.
    anchor: Option<(i64, Instant)>,
    previous_ms: i64,
}

impl Pacer {
    pub(super) fn new(pace: Pace) -> Self {
        Self { pace, anchor: None, previous_ms: 0 }
    }

    /// When the position is due; `None` if at once. Never before its time, so what was held up is
    /// caught up.
    pub(super) fn due(&mut self, now: Instant, at_ms: i64) -> Option<Instant> {
        let Pace::Times(times) = self.pace else { return None };
        let step_ms = at_ms - self.previous_ms;
        let (anchor_ms, anchor) = match self.anchor {
            Some((anchor_ms, anchor)) if (-BACK_MS_MAX..=PAUSE_MS_MAX).contains(&step_ms) => {
                (anchor_ms, anchor)
            }
            // Goes on from where the one before was due.
            Some((anchor_ms, anchor)) => {
                (at_ms, anchor + scaled(self.previous_ms - anchor_ms, times))
            }
            None => (at_ms, now),
        };
        let due = anchor + scaled(at_ms - anchor_ms, times);
        let lost = now.saturating_duration_since(due).saturating_sub(LATE_MAX);
        self.anchor = Some((anchor_ms, anchor + lost));
        self.previous_ms = at_ms;
        (due > now).then_some(due)
    }
}

fn scaled(ms: i64, times: f64) -> Duration {
    Duration::try_from_secs_f64(ms.max(0) as f64 / 1000.0 / times).unwrap_or(Duration::MAX / 4)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn after(now: Instant, due: Option<Instant>) -> Option<u128> {
        due.map(|due| due.duration_since(now).as_millis())
    }

    fn epoch() -> Instant {
        tokio::time::Instant::now().into_std()
    }

    #[test]
    fn nothing_is_due_before_its_time_and_a_stall_is_caught_up() {
        let now = epoch();
        let mut pacer = Pacer::new(Pace::Times(1.0));
        assert_eq!(after(now, pacer.due(now, 5_000)), None);
        assert_eq!(after(now, pacer.due(now, 5_033)), Some(33));
        assert_eq!(after(now, pacer.due(now, 5_010)), Some(10), "audio may be a little behind");
        let late = now + Duration::from_secs(2);
        assert_eq!(pacer.due(late, 6_000), None);
        assert_eq!(after(late, pacer.due(late, 7_100)), Some(100));
    }

    #[test]
    fn a_cut_is_not_waited_for_in_either_direction() {
        let now = epoch();
        let mut pacer = Pacer::new(Pace::Times(2.0));
        pacer.due(now, 0);
        assert_eq!(after(now, pacer.due(now, 100)), Some(50));
        assert_eq!(after(now, pacer.due(now, 16_800_000)), Some(50));
        assert_eq!(after(now, pacer.due(now, 16_800_040)), Some(70));
        assert_eq!(after(now, pacer.due(now, 40)), Some(70));
        assert_eq!(after(now, pacer.due(now, 80)), Some(90));
    }

    #[test]
    fn after_a_very_long_stall_only_the_last_seconds_are_caught_up() {
        let now = epoch();
        let mut pacer = Pacer::new(Pace::Times(1.0));
        pacer.due(now, 0);
        let late = now + Duration::from_secs(3600);
        assert_eq!(pacer.due(late, 40), None);
        assert_eq!(pacer.due(late, 9_000), None);
        assert_eq!(after(late, pacer.due(late, 11_040)), Some(1000));
    }

    #[test]
    fn a_pace_is_a_word_or_a_factor() {
        assert_eq!("realtime".parse(), Ok(Pace::Times(1.0)));
        assert_eq!("x0.5".parse(), Ok(Pace::Times(0.5)));
        assert_eq!("max".parse(), Ok(Pace::Max));
        for wrong in ["", "x", "4", "x0", "xNaN", "xinf", "x-1", "fast"] {
            assert!(wrong.parse::<Pace>().is_err(), "{wrong}");
        }
    }
}
