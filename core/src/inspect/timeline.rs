//! Timeline: bytes over stream time, in as many pieces as fit a screen a few times over.

use serde::Serialize;

/// Audio and video bytes over stream time.
#[derive(Clone, PartialEq, Eq, Debug, Default, Serialize)]
pub struct BitrateTimeline {
    /// How long each piece is.
    pub piece_ms: u64,
    /// Bits a second in each piece, from the first frame on. The last one may be cut short.
    pub bits_per_second: Vec<u64>,
}

/// Pieces. When there are more, two become one.
const PIECES_MAX: usize = 1024;

pub(super) struct Timeline {
    piece_ms: u64,
    bytes: Vec<u64>,
}

impl Timeline {
    pub(super) fn new() -> Self {
        Self { piece_ms: 1000, bytes: Vec::new() }
    }

    /// `ms` from the first frame. What is before it shows nowhere.
    pub(super) fn add(&mut self, ms: i64, len: usize) {
        let Ok(ms) = u64::try_from(ms) else { return };
        while ms / self.piece_ms >= PIECES_MAX as u64 {
            self.piece_ms *= 2;
            self.bytes = self.bytes.chunks(2).map(|pair| pair.iter().sum()).collect();
        }
        let index = (ms / self.piece_ms) as usize;
        if self.bytes.len() <= index {
            self.bytes.resize(index + 1, 0);
        }
        self.bytes[index] += len as u64;
    }

    pub(super) fn report(&self) -> BitrateTimeline {
        let bits = |bytes: &u64| bytes * 8 * 1000 / self.piece_ms;
        BitrateTimeline {
            piece_ms: self.piece_ms,
            bits_per_second: self.bytes.iter().map(bits).collect(),
        }
    }
}

/// The most bytes that fall into one second of a track.
#[derive(Default)]
pub(super) struct PeakSecond {
    second: i64,
    bytes: u64,
    peak: u64,
}

impl PeakSecond {
    pub(super) fn add(&mut self, ms: i64, len: usize) {
        let second = ms.div_euclid(1000);
        if second != self.second {
            (self.second, self.bytes) = (second, 0);
        }
        self.bytes += len as u64;
        self.peak = self.peak.max(self.bytes);
    }

    pub(super) fn bits_per_second(&self) -> u64 {
        self.peak * 8
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_long_stream_is_shown_in_longer_pieces_with_all_its_bytes() {
        let mut timeline = Timeline::new();
        for second in 0..10_000 {
            timeline.add(second * 1000, 125);
        }
        let report = timeline.report();
        assert_eq!((report.piece_ms, report.bits_per_second.len()), (16_000, 625));
        assert!(report.bits_per_second.iter().all(|&rate| rate == 1000));
    }

    #[test]
    fn a_jump_of_weeks_takes_no_memory() {
        let mut timeline = Timeline::new();
        timeline.add(0, 1);
        timeline.add(i64::from(u32::MAX) * 8, 1);
        assert!(timeline.report().bits_per_second.len() <= PIECES_MAX);
    }
}
