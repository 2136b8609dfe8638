//! Doze: a publisher that sends all the time is looked after once per tick, not once per tag.
//!
//! Viewers see what was published in ticks of `hub.coalesce_ms`. What comes between two of them needs
//! not be read before the next one, and is then read with one call after one wake-up. Nobody sees
//! anything later: who has sent nothing for a tick is read, and shown, as soon as he sends again. What
//! nobody takes is read less often still, until somebody comes: then all that is there is read at once.

use std::time::{Duration, Instant};

/// What wakes before the tick, in bytes. Less than the smallest window: who may send no more is read.
pub(super) const RECEIVE_LEN_MIN: u32 = 48 << 10;

/// And that of who sends faster than that, at most: two blocks. Who sends it within a tick is woken for
/// less often; who does not has shown how much he may send, and is never asked for as much again.
const RECEIVE_LEN_MAX: u32 = 512 << 10;

/// The tick of a stream that nobody takes, unless viewers have a longer one: a wake-up out of sleep
/// costs ten times what there is to be read. Only [`RECEIVE_LEN_MAX`] wakes before it, and, on Linux,
/// one who may send no more.
const TICK_ALONE: Duration = Duration::from_millis(400);

/// Who has sent for so many ticks is one who sends all the time: the first picture waits for nothing.
const STEADY_TICKS: u32 = 8;

/// Or so many bytes: more than any first picture, from one who is not held up by a clock.
const STEADY_LEN: u64 = 4 << 20;

/// What becomes of what a connection sends.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum Sends {
    /// It publishes nothing: not yet, or no more.
    Words,
    /// A stream that nobody takes.
    Unwatched,
    Watched,
}

/// When a publisher's connection is read.
pub(super) struct Doze {
    tick: Duration,
    last_read: Option<Instant>,
    /// Without a pause as long as a tick.
    sends_since: Instant,
    /// Bytes since then.
    sent: u64,
    /// When it looked last, and when to look, while nobody is told what comes.
    looked_at: Instant,
    look_at: Option<Instant>,
    /// Bytes read since the last look.
    came: u32,
    /// Nobody took what it published, at the last look.
    is_alone: bool,
    /// What must have come to be woken for it, while it dozes, and what that may become.
    len_min: u32,
    len_max: u32,
}

impl Doze {
    /// `tick`: none if it is nothing.
    pub(super) fn new(tick: Duration, now: Instant) -> Self {
        Self {
            tick,
            last_read: None,
            sends_since: now,
            sent: 0,
            looked_at: now,
            look_at: None,
            came: 0,
            is_alone: false,
            len_min: RECEIVE_LEN_MIN,
            len_max: RECEIVE_LEN_MAX,
        }
    }

    /// Behind each try to read. `read`: so many bytes. `due`: when viewers are shown something next;
    /// what has come by then is shown with it. Says what must have come to be woken for it, if that
    /// changes.
    pub(super) fn look(
        &mut self,
        now: Instant,
        read: Option<usize>,
        sends: Sends,
        due: Option<Instant>,
    ) -> Option<u32> {
        let is_publishing = sends != Sends::Words;
        let is_alone = sends == Sends::Unwatched;
        let tick = if is_alone { self.tick.max(TICK_ALONE) } else { self.tick };
        // A witness is shown something, too, and is in no hurry.
        let due = due.filter(|due| !is_alone && now < *due && *due < now + tick);
        let next = due.unwrap_or(now + tick);
        if let Some(len) = read {
            self.came = self.came.saturating_add(len.try_into().unwrap_or(u32::MAX));
            if self.last_read.is_none_or(|last| now >= last + tick) {
                (self.sends_since, self.sent) = (now, 0);
            }
            self.sent = self.sent.saturating_add(len as u64);
            self.last_read = Some(now);
        }
        let has_sent_on =
            now >= self.sends_since + self.tick * STEADY_TICKS || self.sent >= STEADY_LEN;
        let is_steady = read.is_some() && has_sent_on;
        // Who has said nothing for a tick is not let wait when he goes on.
        let is_silent = self.last_read.is_none_or(|last| now >= last + tick);
        match self.look_at {
            None if is_publishing && is_steady && !self.tick.is_zero() => {
                (self.looked_at, self.look_at, self.came) = (now, Some(next), 0);
                Some(self.begin(is_alone))
            }
            None => None,
            Some(at) if is_publishing && (now < at || !is_silent) => {
                // Behind the last read of a look it is known what is due.
                if read.is_some() {
                    return None;
                }
                self.look_at = Some(if now < at && !is_alone { at.min(next) } else { next });
                let since = std::mem::replace(&mut self.looked_at, now);
                let came = std::mem::take(&mut self.came);
                match is_alone == self.is_alone {
                    true => self.adapt(came, now < at, now >= since + tick),
                    false => Some(self.begin(is_alone)),
                }
            }
            Some(_) => {
                self.look_at = None;
                Some(1)
            }
        }
    }

    /// What must come before the next look, from now on.
    fn begin(&mut self, is_alone: bool) -> u32 {
        self.is_alone = is_alone;
        self.len_min = if is_alone { RECEIVE_LEN_MAX } else { RECEIVE_LEN_MIN };
        self.len_min
    }

    /// Behind a look at what came, early or at its time, a whole tick behind the last one: what must
    /// come before the next one, if that changes.
    fn adapt(&mut self, came: u32, is_early: bool, is_whole: bool) -> Option<u32> {
        let len_min = match (is_early, came >= self.len_min) {
            _ if self.is_alone => return None,
            (true, true) => (self.len_min * 2).min(self.len_max),
            (false, false) if is_whole && self.len_min > RECEIVE_LEN_MIN => {
                self.len_max = self.len_min / 2;
                RECEIVE_LEN_MIN
            }
            _ => return None,
        };
        (std::mem::replace(&mut self.len_min, len_min) != len_min).then_some(len_min)
    }

    /// Whether it dozes for as long as it does while nobody takes what comes.
    pub(super) fn is_alone(&self) -> bool {
        self.look_at.is_some() && self.is_alone
    }

    /// When to read although nobody says that anything came.
    pub(super) fn look_at(&self) -> Option<Instant> {
        self.look_at
    }
}

#[cfg(test)]
mod tests {
    use super::Sends::{Unwatched, Watched, Words};
    use super::*;

    const TICK: Duration = Duration::from_millis(50);

    fn start() -> Instant {
        tokio::time::Instant::now().into_std()
    }

    /// Reads of who sends every `interval_ms`, for a second: how many, and what was asked for when.
    fn second(interval_ms: u64, sends: Sends) -> (usize, Vec<(u64, u32)>) {
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
                for read in [has_read.then_some(1_000), None] {
                    if let Some(len) = doze.look(now, read, sends, None) {
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
        doze.look(start, Some(1_000), Watched, due);
        let mut now = start;
        while doze.look_at().is_none() {
            now += TICK / 2;
            doze.look(now, Some(1_000), Watched, due.map(|_| now + TICK / 3));
        }
        (doze, now)
    }

    #[test]
    fn an_encoder_in_real_time_is_read_in_ticks() {
        // As it comes for 400 ms, and then every fifty.
        assert_eq!(second(13, Watched), (32 + 11, vec![(403, RECEIVE_LEN_MIN)]));
    }

    #[test]
    fn what_nobody_takes_is_read_less_often() {
        // Behind 400 ms, and every four hundred from there.
        assert_eq!(second(13, Unwatched), (32 + 1, vec![(403, RECEIVE_LEN_MAX)]));
    }

    #[test]
    fn whoever_comes_has_it_read_at_once_and_in_ticks_until_he_goes() {
        let (mut doze, mut now) = dozing(None);
        let mut look = |now: Instant, sends| {
            assert_eq!(doze.look(now, Some(1_000), sends, None), None);
            let len_min = doze.look(now, None, sends, None);
            (doze.look_at().expect("it dozes") - now, len_min)
        };
        assert_eq!(look(now, Unwatched), (TICK_ALONE, Some(RECEIVE_LEN_MAX)));
        now += TICK_ALONE;
        assert_eq!(look(now, Unwatched), (TICK_ALONE, None));
        now += 3 * TICK;
        assert_eq!(look(now, Watched), (TICK, Some(RECEIVE_LEN_MIN)));
        now += TICK;
        assert_eq!(look(now, Watched), (TICK, None));
        now += TICK;
        assert_eq!(look(now, Unwatched), (TICK_ALONE, Some(RECEIVE_LEN_MAX)));
    }

    #[test]
    fn what_comes_now_and_then_is_read_as_it_comes() {
        assert_eq!(second(60, Watched), (17, vec![]));
    }

    #[test]
    fn nobody_but_a_publisher_is_let_wait() {
        assert_eq!(second(13, Words), (77, vec![]));
    }

    #[test]
    fn who_falls_silent_is_heard_at_once_when_he_sends_again() {
        let (mut doze, now) = dozing(None);
        assert_eq!(doze.look(now + TICK, Some(1_000), Watched, None), None);
        assert_eq!(doze.look(now + TICK, None, Watched, None), None, "all is read");
        assert_eq!(doze.look(now + 2 * TICK, None, Watched, None), Some(1));
        assert_eq!(doze.look_at(), None);
    }

    #[test]
    fn what_comes_until_viewers_are_shown_something_is_shown_with_it() {
        let (mut doze, now) = dozing(Some(start()));
        assert_eq!(doze.look_at(), Some(now + TICK / 3));
        // Another tick from there.
        doze.look(now + TICK / 3, Some(1_000), Watched, None);
        doze.look(now + TICK / 3, None, Watched, None);
        assert_eq!(doze.look_at(), Some(now + TICK / 3 + TICK));
    }

    #[test]
    fn a_witness_is_not_read_for_earlier_than_nobody() {
        let (mut doze, now) = dozing(None);
        doze.look(now, Some(1_000), Unwatched, None);
        doze.look(now, None, Unwatched, Some(now + TICK / 3));
        assert_eq!(doze.look_at(), Some(now + TICK_ALONE));
    }

    #[test]
    fn who_stops_publishing_is_told_of_everything() {
        let (mut doze, now) = dozing(None);
        assert_eq!(doze.look(now, Some(1_000), Words, None), Some(1));
    }

    #[test]
    fn without_ticks_everything_is_read_as_it_comes() {
        let (start, mut doze) = (start(), Doze::new(Duration::ZERO, start()));
        assert_eq!(doze.look(start, Some(1_000), Watched, None), None);
        assert_eq!(doze.look(start, Some(1_000), Watched, None), None);
    }

    #[test]
    fn who_sends_fast_is_woken_for_more_and_who_may_not_is_woken_for_less_again() {
        let (mut doze, now) = dozing(None);
        let mut look = |at: Instant, len: u32| {
            assert_eq!(doze.look(at, Some(len as usize), Watched, None), None);
            doze.look(at, None, Watched, None)
        };
        let soon = now + TICK / 10;
        let mut len = RECEIVE_LEN_MIN;
        while len < RECEIVE_LEN_MAX {
            len = (2 * len).min(RECEIVE_LEN_MAX);
            assert_eq!(look(soon, len), Some(len));
        }
        assert_eq!(look(soon, len), None, "it is enough");
        // All that he may send at once has come, and a tick is over.
        let later = soon + TICK;
        assert_eq!(look(later, 300 << 10), Some(RECEIVE_LEN_MIN));
        let wants: Vec<_> = (0..9).filter_map(|_| look(later, 300 << 10)).collect();
        assert_eq!(wants, [96 << 10, 192 << 10, 256 << 10]);
    }

    #[test]
    fn who_sends_much_at_once_need_not_go_on_for_long() {
        let (start, mut doze) = (start(), Doze::new(TICK, start()));
        let mut reads = (1..).map(|_| doze.look(start, Some(64 << 10), Watched, None));
        assert_eq!(reads.position(|len| len == Some(RECEIVE_LEN_MIN)), Some(63));
    }
}
