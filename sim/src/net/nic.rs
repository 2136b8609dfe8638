//! Nic: what leaves a host, shared by all its connections: a quantum each, in turn.

use std::collections::VecDeque;
use std::time::Duration;

use super::fabric::Way;

/// A host's network card, in the direction out.
#[derive(Debug, Default)]
pub(super) struct Nic {
    /// Bits per second; `None`: no bound.
    pub(super) rate: Option<u64>,
    /// Who waits, in turn.
    pub(super) waiting: VecDeque<Way>,
    /// Whether a quantum is on the wire.
    pub(super) is_busy: bool,
    /// Bytes that left, bounded or not.
    pub(super) carried: u64,
}

impl Nic {
    /// Bytes of one turn: a tenth of a millisecond of the wire, as offload makes bursts.
    pub(super) fn quantum(&self) -> usize {
        let bytes = self.rate.unwrap_or(u64::MAX) / 8 / 10_000;
        bytes.clamp(1460, 64 << 10) as usize
    }

    /// How long so many bytes take.
    pub(super) fn time(&self, len: usize) -> Duration {
        match self.rate {
            Some(0) => Duration::from_secs(3600),
            Some(rate) => Duration::from_secs_f64(len as f64 * 8.0 / rate as f64),
            None => Duration::ZERO,
        }
    }
}
