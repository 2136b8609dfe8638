//! Backoff: how long to wait before the next attempt.

use std::time::Duration;

/// How long to wait between attempts.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct BackoffLimits {
    /// The first pause is at least this, and at most twice it.
    pub min: Duration,
    /// No pause is longer.
    pub max: Duration,
    /// A connection that lasted so long was a success: the next pause is a first one again. One
    /// that is accepted and cut at once must not bring the next attempt forward.
    pub stable: Duration,
}

impl Default for BackoffLimits {
    fn default() -> Self {
        Self {
            min: Duration::from_secs(1),
            max: Duration::from_secs(60),
            stable: Duration::from_secs(20),
        }
    }
}

/// Pauses that double, up to a cap, each with jitter: a thousand relays that lost one target at once
/// do not return at once. A pause is never shorter than the one before it, unless at the cap.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Backoff {
    limits: BackoffLimits,
    /// The next pause is between half of this and all of it.
    ceiling: Duration,
}

impl Backoff {
    pub(crate) fn new(limits: BackoffLimits) -> Self {
        Self { limits, ceiling: first_ceiling(limits) }
    }

    /// The next pause. `random` is any number.
    pub(crate) fn next(&mut self, random: u64) -> Duration {
        let half = self.ceiling / 2;
        // 53 bits are what a float holds: 0 up to and without 1.
        let fraction = (random >> 11) as f64 / (1_u64 << 53) as f64;
        self.ceiling = self.ceiling.saturating_mul(2).min(self.limits.max);
        half + half.mul_f64(fraction)
    }

    /// A connection was lost that had lasted so long.
    pub(crate) fn lasted(&mut self, lasted: Duration) {
        if lasted >= self.limits.stable {
            self.ceiling = first_ceiling(self.limits);
        }
    }
}

fn first_ceiling(limits: BackoffLimits) -> Duration {
    limits.min.saturating_mul(2).min(limits.max)
}

#[cfg(test)]
mod tests {
    use super::*;

    const LIMITS: BackoffLimits = BackoffLimits {
        min: Duration::from_millis(500),
        max: Duration::from_millis(7_000),
        stable: Duration::from_secs(10),
    };

    fn pauses(backoff: &mut Backoff, random: u64) -> Vec<u64> {
        (0..6).map(|_| backoff.next(random).as_millis() as u64).collect()
    }

    #[test]
    fn pauses_double_up_to_the_cap_and_jitter_keeps_them_apart() {
        assert_eq!(pauses(&mut Backoff::new(LIMITS), 0), [500, 1000, 2000, 3500, 3500, 3500]);
        let latest = pauses(&mut Backoff::new(LIMITS), u64::MAX);
        assert_eq!(latest, [1000, 2000, 4000, 7000, 7000, 7000]);
        let between = pauses(&mut Backoff::new(LIMITS), 1 << 63);
        assert_eq!(between, [750, 1500, 3000, 5250, 5250, 5250]);
    }

    #[test]
    fn only_a_connection_that_lasted_makes_the_next_pause_a_first_one() {
        let mut backoff = Backoff::new(LIMITS);
        pauses(&mut backoff, 0);
        backoff.lasted(Duration::from_millis(9_999));
        assert_eq!(backoff.next(0), Duration::from_millis(3_500));
        backoff.lasted(Duration::from_secs(10));
        assert_eq!(backoff.next(0), Duration::from_millis(500));
    }
}
