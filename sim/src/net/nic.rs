//! Nic: what leaves a host, shared by all its connections: a quantum each, in turn.

use std::collections::VecDeque;
use std::time::Duration;

use super::fabric::Way;
use crate::time::SimTime;

/// A host's network card, in the direction out.
#[derive(Debug, Default)]
pub(super) struct Nic {
    /// Bits per second; `None`: no bound.
    pub(super) rate: Option<u64>,
    /// Who waits, in turn.
    pub(super) waiting: VecDeque<Way>,
    /// Whose quantum is on the wire.
    pub(super) on_wire: Option<Way>,
    /// Which quantum that is: one that was interrupted never leaves.
    pub(super) turn: u64,
    /// When the wire is free, finer than the grain of simulated time.
    free_at: Duration,
    /// Bytes that left, bounded or not.
    pub(super) carried: u64,
}

impl Nic {
    /// Bytes of one turn: a tenth of a millisecond of the wire, as offload makes bursts.
    pub(super) fn quantum(&self) -> usize {
        let bytes = self.rate.unwrap_or(u64::MAX) / 8 / 10_000;
        bytes.clamp(1460, 64 << 10) as usize
    }

    /// Begins to send so many bytes of a connection. Says when they have left.
    pub(super) fn begin(&mut self, now: SimTime, way: Way, len: usize) -> SimTime {
        self.turn += 1;
        self.on_wire = Some(way);
        let now = Duration::from_micros(now.micros());
        // Behind another quantum without a pause: a microsecond lost with each would be percents.
        let is_next = now < self.free_at + Duration::from_micros(1);
        self.free_at = if is_next { self.free_at } else { now } + self.time(len);
        SimTime::from_micros(self.free_at.as_nanos().div_ceil(1_000) as u64)
    }

    /// The rate is another from now on; what was on the wire is first in turn again.
    pub(super) fn set_rate(&mut self, rate: Option<u64>) {
        self.rate = rate;
        self.free_at = Duration::ZERO;
        self.turn += 1;
        if let Some(way) = self.on_wire.take() {
            self.waiting.push_front(way);
        }
    }

    /// How long so many bytes take.
    fn time(&self, len: usize) -> Duration {
        match self.rate {
            Some(0) => Duration::from_secs(3600),
            Some(rate) => Duration::from_secs_f64(len as f64 * 8.0 / rate as f64),
            None => Duration::ZERO,
        }
    }
}
