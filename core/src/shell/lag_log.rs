//! What the log says of what a consumer lost: the first loss at once, further ones summed up, so that
//! a bad hour is no flood of words.

use std::time::{Duration, Instant};

use crate::hub::Lag;

/// From one line to the next, at least.
const PAUSE: Duration = Duration::from_secs(10);

/// Losses that no line was written of yet.
#[derive(Clone, Copy, Default, PartialEq, Eq, Debug)]
pub(super) struct Lost {
    /// How often something was lost.
    pub(super) times: u64,
    pub(super) tags: u64,
    /// Of the stream's time.
    pub(super) ms: u64,
}

#[derive(Default)]
pub(super) struct LagLog {
    silent_until: Option<Instant>,
    untold: Lost,
}

impl LagLog {
    /// What a line is to be written of, if one is.
    pub(super) fn add(&mut self, lag: &Lag, now: Instant) -> Option<Lost> {
        self.untold.times += 1;
        self.untold.tags += lag.tags;
        self.untold.ms += lag.ms;
        let is_silent = self.silent_until.is_some_and(|until| now < until);
        if is_silent {
            return None;
        }
        self.silent_until = Some(now + PAUSE);
        self.rest()
    }

    /// What is left to tell when all is over.
    pub(super) fn rest(&mut self) -> Option<Lost> {
        let lost = std::mem::take(&mut self.untold);
        (lost.times > 0).then_some(lost)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::hub::Cause;

    #[test]
    fn a_thousand_losses_in_a_minute_are_a_few_lines_that_add_up() {
        let (mut log, start) = (LagLog::default(), crate::shell::now());
        let lag = Lag { cause: Cause::Overflow, tags: 2, bytes: 30, ms: 40 };
        let at = |n: u64| start + Duration::from_millis(n * 60);
        let mut lines: Vec<_> = (0..1_000).filter_map(|n| log.add(&lag, at(n))).collect();
        assert_eq!(lines[0], Lost { times: 1, tags: 2, ms: 40 });
        assert_eq!(lines.len(), 6);
        lines.extend(log.rest());
        let told = lines.iter().fold((0, 0), |sum, lost| (sum.0 + lost.times, sum.1 + lost.tags));
        assert_eq!((told, log.rest()), ((1_000, 2_000), None));
    }
}
