//! Doze: a publisher that sends all the time is looked after once per tick, not once per tag.
//!
//! Viewers see what was published in ticks of `hub.coalesce_ms`. What comes between two of them needs
//! not be read before the next one, and is then read with one call after one wake-up. Nobody sees
//! anything later: who has sent nothing for a tick is read, and shown, as soon as he sends again.

use std::time::{Duration, Instant};

/// What wakes before the tick, in bytes. Less than the smallest window: who may send no more is read.
pub(super) const RECEIVE_LEN_MIN: u32 = 48 << 10;

/// Who has sent for so many ticks is one who sends all the time: the first picture waits for nothing.
const STEADY_TICKS: u32 = 8;

/// When a publisher's connection is read.
pub(super) struct Doze {
    tick: Duration,
    last_read: Option<Instant>,
    /// Without a pause as long as a tick.
    sends_since: Instant,
    /// When to look, while nobody is told what comes.
    look_at: Option<Instant>,
}

impl Doze {
    /// `tick`: none if it is nothing.
    pub(super) fn new(tick: Duration, now: Instant) -> Self {
        Self { tick, last_read: None, sends_since: now, look_at: None }
    }

    /// Behind each try to read. `is_publishing`: not before, and no more after. `due`: when viewers
    /// are shown something next; what has come by then is shown with it. Says what must have come to
    /// be woken for it, if that changes.
    pub(super) fn look(
        &mut self,
        now: Instant,
        read: bool,
        is_publishing: bool,
        due: Option<Instant>,
    ) -> Option<u32> {
        let tick = now + self.tick;
        let next = due.filter(|due| now < *due && *due < tick).unwrap_or(tick);
        if read {
            if self.last_read.is_none_or(|last| now >= last + self.tick) {
                self.sends_since = now;
            }
            self.last_read = Some(now);
        }
        let is_steady = read && now >= self.sends_since + self.tick * STEADY_TICKS;
        // Who has said nothing for a tick is not let wait when he goes on.
        let is_silent = self.last_read.is_none_or(|last| now >= last + self.tick);
        match self.look_at {
            None if is_publishing && is_steady && !self.tick.is_zero() => {
                self.look_at = Some(next);
                Some(RECEIVE_LEN_MIN)
            }
            None => None,
            Some(at) if is_publishing && (now < at || !is_silent) => {
                // Behind the last read of a look it is known what is due.
                if !read {
                    self.look_at = Some(if now < at { at.min(next) } else { next });
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

    /// Reads of who sends every `interval_ms`, for a second: how many, and what was asked for when.
    fn second(interval_ms: u64, is_publishing: bool) -> (usize, Vec<(u64, u32)>) {
        let (start, mut doze) = (start(), Doze::new(TICK, start()));
        let (mut waiting, mut len_min, mut reads, mut asked) = (0, 1, 0, Vec::new());
        for ms in 0..1_000 {
            let now = start + Duration::from_millis(ms);
            let came = ms % interval_ms == 0;
            waiting += u32::from(came);
            if came && len_min == 1 || doze.look_at().is_some_and(|at| at <= now) {
                let has_read = std::mem::take(&mut waiting) > 0;
                reads += 1;
                // Until there is nothing more.
                for read in [has_read, false] {
                    if let Some(len) = doze.look(now, read, is_publishing, None) {
                        len_min = len;
                        asked.push((ms, len));
                    }
                }
            }
        }
        (reads, asked)
    }

    /// One that dozes, and since when.
    fn dozing(due: Option<Instant>) -> (Doze, Instant) {
        let (start, mut doze) = (start(), Doze::new(TICK, start()));
        doze.look(start, true, true, due);
        let mut now = start;
        while doze.look_at().is_none() {
            now += TICK / 2;
            doze.look(now, true, true, due.map(|_| now + TICK / 3));
        }
        (doze, now)
    }

    #[test]
    fn an_encoder_in_real_time_is_read_in_ticks() {
        // As it comes for 400 ms, and then every fifty.
        assert_eq!(second(13, true), (32 + 11, vec![(403, RECEIVE_LEN_MIN)]));
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
        let (mut doze, now) = dozing(None);
        assert_eq!(doze.look(now + TICK, true, true, None), None);
        assert_eq!(doze.look(now + TICK, false, true, None), None, "all is read");
        assert_eq!(doze.look(now + 2 * TICK, false, true, None), Some(1));
        assert_eq!(doze.look_at(), None);
    }

    #[test]
    fn what_comes_until_viewers_are_shown_something_is_shown_with_it() {
        let (mut doze, now) = dozing(Some(start()));
        assert_eq!(doze.look_at(), Some(now + TICK / 3));
        // Another tick from there.
        doze.look(now + TICK / 3, true, true, None);
        doze.look(now + TICK / 3, false, true, None);
        assert_eq!(doze.look_at(), Some(now + TICK / 3 + TICK));
    }

    #[test]
    fn who_stops_publishing_is_told_of_everything() {
        let (mut doze, now) = dozing(None);
        assert_eq!(doze.look(now, true, false, None), Some(1));
    }

    #[test]
    fn without_ticks_everything_is_read_as_it_comes() {
        let (start, mut doze) = (start(), Doze::new(Duration::ZERO, start()));
        assert_eq!(doze.look(start, true, true, None), None);
        assert_eq!(doze.look(start, true, true, None), None);
    }
}
