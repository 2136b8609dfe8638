//! The checker on the links: written against their definition, not against their code.

use crate::link::Capacity;
use crate::time::SimTime;

/// What passed through one direction of one connection, watched from outside.
#[derive(Debug, Default)]
pub(super) struct Physics {
    /// Bits that passed and that the capacity up to `at` has not paid for.
    unpaid: f64,
    at: SimTime,
    entered: u64,
    passed: u64,
    arrived: u64,
}

/// A path may run ahead of its capacity by what it serves at once, and by one rounding to the grain
/// of time.
fn ahead_max(capacity: &Capacity) -> f64 {
    let peak = match capacity {
        Capacity::Unlimited => u64::MAX,
        Capacity::Constant(rate) => *rate,
        Capacity::Trace { steps, .. } => steps.iter().map(|step| step.1).max().unwrap_or(0),
    };
    8.0 * (64 << 10) as f64 + 8.0 + peak as f64 / 1e6
}

impl Physics {
    /// The capacity is another from now on: what it owes is forgotten.
    pub(super) fn forget_debt(&mut self, now: SimTime) {
        self.unpaid = 0.0;
        self.at = now;
    }

    pub(super) fn enter(&mut self, len: usize) {
        self.entered += len as u64;
    }

    /// `len` bytes left the bottleneck.
    pub(super) fn pass(
        &mut self,
        now: SimTime,
        len: usize,
        capacity: &Capacity,
    ) -> Result<(), String> {
        self.passed += len as u64;
        if self.passed > self.entered {
            return Err(format!("{} bytes passed, {} entered", self.passed, self.entered));
        }
        if *capacity == Capacity::Unlimited {
            return Ok(());
        }
        let paid = bits_between(capacity, self.at, now);
        self.at = now;
        self.unpaid = (self.unpaid - paid).max(0.0) + len as f64 * 8.0;
        if self.unpaid > ahead_max(capacity) {
            return Err(format!("{:.0} bits more than the capacity allows", self.unpaid));
        }
        Ok(())
    }

    /// `len` bytes that were sent at `offset` of the connection reached the other end.
    pub(super) fn arrive(&mut self, offset: u64, len: usize) -> Result<(), String> {
        if offset != self.arrived {
            return Err(format!("byte {offset} came where byte {} was due", self.arrived));
        }
        self.arrived += len as u64;
        if self.arrived > self.passed {
            return Err(format!("{} bytes arrived, {} passed", self.arrived, self.passed));
        }
        Ok(())
    }
}

/// Bits that may pass in this time: the rate, added up by milliseconds at most.
fn bits_between(capacity: &Capacity, from: SimTime, to: SimTime) -> f64 {
    match capacity {
        Capacity::Unlimited => f64::INFINITY,
        Capacity::Constant(rate) => *rate as f64 * to.since(from).as_secs_f64(),
        Capacity::Trace { steps, period } => {
            let period = (period.as_micros() as u64).max(1);
            let mut bits = 0.0;
            let mut at = from.micros();
            while at < to.micros() {
                let phase = at % period;
                let started =
                    |step: &&(std::time::Duration, u64)| step.0.as_micros() as u64 <= phase;
                let rate = steps.iter().rev().find(started).map_or(0, |step| step.1);
                let next =
                    steps.iter().map(|step| step.0.as_micros() as u64).find(|&at| at > phase);
                let until = (at - phase + next.unwrap_or(period).min(period)).min(to.micros());
                bits += rate as f64 * (until - at) as f64 / 1e6;
                at = until;
            }
            bits
        }
    }
}

#[cfg(test)]
mod tests;
