//! Acknowledged: how long a server takes to say that it has received what it was sent.

use std::collections::VecDeque;
use std::time::{Duration, Instant};

use forebay::shell::client::Acknowledgement;
use serde_json::Value;

use crate::cli::percentiles::{self, ms, percentile};

/// What is remembered of what was sent, and of what was measured: a server that never says anything
/// costs no more than this.
const SENT_MAX: usize = 10_000;
const DELAYS_MAX: usize = 100_000;

/// Delays of a server's acknowledgements.
#[derive(Default)]
pub(super) struct Acknowledged {
    /// Bytes of the connection up to the end of a write, and when that was due.
    sent: VecDeque<(u64, Instant)>,
    heard: u64,
    /// Bytes whose time is not known any more.
    forgotten: u64,
    delays: Vec<Duration>,
}

impl Acknowledged {
    /// So many bytes of the connection were sent, the last of them since they were due.
    pub(super) fn sent(&mut self, bytes: u64, due: Instant) {
        if self.sent.back().is_some_and(|(sent, _)| bytes <= *sent) {
            return;
        }
        if self.sent.len() >= SENT_MAX {
            self.forgotten = self.sent.pop_front().map_or(0, |(bytes, _)| bytes);
        }
        self.sent.push_back((bytes, due));
    }

    /// What the server last said; the same as before is nothing new.
    pub(super) fn hear(&mut self, heard: Acknowledgement) {
        if heard.bytes <= self.heard.max(self.forgotten) {
            return;
        }
        self.heard = heard.bytes;
        let mut newest = None;
        while let Some((_, due)) = self.sent.pop_front_if(|(bytes, _)| *bytes <= heard.bytes) {
            newest = Some(due);
        }
        // What arrived up to the middle of a write was due with it.
        let due = newest.or_else(|| self.sent.front().map(|(_, due)| *due));
        if let Some(due) = due.filter(|_| self.delays.len() < DELAYS_MAX) {
            self.delays.push(heard.at.saturating_duration_since(due));
        }
    }

    fn sorted(&self) -> Vec<Duration> {
        let mut delays = self.delays.clone();
        delays.sort_unstable();
        delays
    }

    /// For people; nothing if nothing was heard.
    pub(super) fn figures(&self) -> Option<String> {
        let delays = self.sorted();
        let at = |percent| percentile(&delays, percent).map(ms);
        let (half, most, all) = (at(50)?, at(90)?, at(100)?);
        Some(format!("acknowledged after {half:.1} ms (p50), {most:.1} (p90), {all:.1} (max)"))
    }

    /// `null` if nothing was heard.
    pub(super) fn to_json(&self) -> Value {
        let delays = self.sorted();
        if delays.is_empty() {
            return Value::Null;
        }
        let mut times = percentiles::to_json(|percent| percentile(&delays, percent));
        times["count"] = delays.len().into();
        times
    }
}

#[cfg(test)]
mod tests {
    use super::super::now;
    use super::*;

    #[test]
    fn a_delay_is_from_when_the_newest_of_what_arrived_was_due() {
        let start = now();
        let at = |ms| start + Duration::from_millis(ms);
        let mut acknowledged = Acknowledged::default();
        assert_eq!(acknowledged.to_json(), Value::Null);
        acknowledged.sent(1_000, at(0));
        acknowledged.sent(2_000, at(100));
        acknowledged.sent(3_000, at(200));
        acknowledged.hear(Acknowledgement { bytes: 2_500, at: at(130) });
        acknowledged.hear(Acknowledgement { bytes: 2_500, at: at(190) });
        acknowledged.hear(Acknowledgement { bytes: 2_700, at: at(210) });
        let json = acknowledged.to_json();
        assert_eq!(json["count"], 2);
        assert_eq!([&json["p50"], &json["max"]], [10.0, 30.0]);
    }

    #[test]
    fn what_was_sent_too_long_ago_is_not_measured() {
        let start = now();
        let mut acknowledged = Acknowledged::default();
        for write in 1..=SENT_MAX as u64 + 5 {
            acknowledged.sent(write, start + Duration::from_millis(write));
        }
        acknowledged.hear(Acknowledgement { bytes: 5, at: start + Duration::from_secs(60) });
        assert_eq!(acknowledged.to_json(), Value::Null);
        acknowledged.hear(Acknowledgement { bytes: 6, at: start + Duration::from_millis(16) });
        assert_eq!(acknowledged.to_json()["max"], 10.0);
    }
}
