//! Acknowledged: how long a server takes to say that it has received what it was sent.

use std::collections::VecDeque;
use std::time::{Duration, Instant};

use forebay::shell::client::Acknowledgement;
use serde_json::{Value, json};

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
    delays: Vec<Duration>,
}

impl Acknowledged {
    /// So many bytes of the connection were sent, the last of them since they were due.
    pub(super) fn sent(&mut self, bytes: u64, due: Instant) {
        if self.sent.len() < SENT_MAX && self.sent.back().is_none_or(|(sent, _)| *sent < bytes) {
            self.sent.push_back((bytes, due));
        }
    }

    /// What the server last said; the same as before is nothing new.
    pub(super) fn hear(&mut self, heard: Acknowledgement) {
        if heard.bytes <= self.heard {
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

    /// `null` if nothing was heard.
    pub(super) fn to_json(&self) -> Value {
        let mut delays = self.delays.clone();
        delays.sort_unstable();
        let at = |percent: usize| {
            let rank = (delays.len() * percent).div_ceil(100);
            delays.get(rank.saturating_sub(1)).map(|delay| delay.as_micros() as f64 / 1_000.0)
        };
        match delays.is_empty() {
            true => Value::Null,
            false => json!({
                "count": delays.len(), "p50": at(50), "p90": at(90), "p99": at(99), "max": at(100),
            }),
        }
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
}
