//! Doze: a publisher that sends all the time is looked after once per tick, not once per tag.
//!
//! Viewers see what was published in ticks of `hub.coalesce_ms`. What comes between two of them needs
//! not be read before the next one, and is then read with one call after one wake-up. Nobody sees
//! anything later: who has sent nothing for a tick is read, and shown, as soon as he sends again.

use std::time::{Duration, Instant};

/// What wakes before the tick, in bytes. Less than the smallest window: who may send no more is read.
pub(super) const RECEIVE_LEN_MIN: u32 = 48 << 10;

/// When a publisher's connection is read.
pub(super) struct Doze {
    tick: Duration,
    last_read: Option<Instant>,
    /// When to look, while nobody is told what comes.
    look_at: Option<Instant>,
    /// Something was read since the last look.
    has_read: bool,
}

impl Doze {
    /// `tick`: none if it is nothing.
    pub(super) fn new(tick: Duration) -> Self {
        Self { tick, last_read: None, look_at: None, has_read: false }
    }

    /// Behind each try to read. `is_publishing`: not before, and no more after. Says what must have
    /// come to be woken for it, if that changes.
    pub(super) fn look(&mut self, now: Instant, read: bool, is_publishing: bool) -> Option<u32> {
        self.has_read |= read;
        let is_dense = read && self.last_read.is_some_and(|last| now < last + self.tick);
        if read {
            self.last_read = Some(now);
        }
        match self.look_at {
            None if is_publishing && is_dense => {
                (self.look_at, self.has_read) = (Some(now + self.tick), false);
                Some(RECEIVE_LEN_MIN)
            }
            None => None,
            Some(at) if is_publishing && (now < at || self.has_read) => {
                if now >= at {
                    (self.look_at, self.has_read) = (Some(now + self.tick), false);
                }
                None
            }
            Some(_) => {
                self.look_at = None;
                Some(1)
            }
        }
    }

    /// When to read although nobody says that anything came.
    pub(super) fn look_at(&self) -> Option<Instant> {
        self.look_at
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const TICK: Duration = Duration::from_millis(50);

    fn start() -> Instant {
        tokio::time::Instant::now().into_std()
    }

    /// Reads of who sends every `interval_ms`, for a second: when, and what was asked for when.
    fn second(interval_ms: u64, is_publishing: bool) -> (usize, Vec<(u64, u32)>) {
        let (start, mut doze) = (start(), Doze::new(TICK));
        let (mut waiting, mut len_min, mut reads, mut asked) = (0, 1, 0, Vec::new());
        for ms in 0..1_000 {
            let now = start + Duration::from_millis(ms);
            let came = ms % interval_ms == 0;
            waiting += u32::from(came);
            if came && len_min == 1 || doze.look_at().is_some_and(|at| at <= now) {
                let has_read = std::mem::take(&mut waiting) > 0;
                reads += 1;
                if let Some(len) = doze.look(now, has_read, is_publishing) {
                    len_min = len;
                    asked.push((ms, len));
                }
            }
        }
        (reads, asked)
    }

    #[test]
    fn an_encoder_in_real_time_is_read_in_ticks() {
        // Twice at once, and then every fifty milliseconds.
        assert_eq!(second(13, true), (2 + 19, vec![(13, RECEIVE_LEN_MIN)]));
    }

    #[test]
    fn what_comes_now_and_then_is_read_as_it_comes() {
        assert_eq!(second(60, true), (17, vec![]));
    }

    #[test]
    fn nobody_but_a_publisher_is_let_wait() {
        assert_eq!(second(13, false), (77, vec![]));
    }

    #[test]
    fn who_falls_silent_is_heard_at_once_when_he_sends_again() {
        let (start, mut doze) = (start(), Doze::new(TICK));
        assert_eq!(doze.look(start, true, true), None);
        assert_eq!(doze.look(start, true, true), Some(RECEIVE_LEN_MIN));
        assert_eq!(doze.look(start + TICK, true, true), None);
        assert_eq!(doze.look(start + TICK, false, true), None, "all is read");
        assert_eq!(doze.look(start + 2 * TICK, false, true), Some(1));
        assert_eq!(doze.look_at(), None);
    }

    #[test]
    fn who_stops_publishing_is_told_of_everything() {
        let (start, mut doze) = (start(), Doze::new(TICK));
        doze.look(start, true, true);
        doze.look(start, true, true);
        assert_eq!(doze.look(start, true, false), Some(1));
    }

    #[test]
    fn without_ticks_everything_is_read_as_it_comes() {
        let (start, mut doze) = (start(), Doze::new(Duration::ZERO));
        assert_eq!(doze.look(start, true, true), None);
        assert_eq!(doze.look(start, true, true), None);
    }
}
