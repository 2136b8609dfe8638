//! Link: what a connection's way through the network is like, as a value with a name.

use std::time::Duration;

use crate::time::SimTime;

/// A connection's way, both directions.
#[derive(Clone, Debug, PartialEq)]
pub struct Link {
    /// From the node to the peer: what a viewer plays through.
    pub down: Path,
    /// From the peer to the node: what a publisher publishes through.
    pub up: Path,
    /// Bytes sent and not yet read that a receiver allows, per direction: TCP's window.
    pub window: u64,
}

/// One direction.
#[derive(Clone, Debug, PartialEq)]
pub struct Path {
    /// What passes.
    pub capacity: Capacity,
    /// How long the way is.
    pub delay: Duration,
    /// The delay varies by up to this, correlated in time.
    pub jitter: Duration,
    /// Bytes that wait in front of the bottleneck. A burst that does not fit costs its connection
    /// a round trip.
    pub queue: u64,
    /// Bursts of loss, each a stall of the connection.
    pub loss: Loss,
    /// Reads are cut to pieces of at most this many bytes.
    pub segment: Option<u64>,
    /// What arrives is held and delivered in bursts this far apart.
    pub burst: Duration,
}

/// What passes through a path in a second.
#[derive(Clone, Debug, PartialEq)]
pub enum Capacity {
    /// As much as there is.
    Unlimited,
    /// Bits per second, always the same.
    Constant(u64),
    /// Steps `(from, bits per second)`, the first from zero on; repeated after `period`.
    Trace {
        /// In order of time.
        steps: Vec<(Duration, u64)>,
        /// When it starts over.
        period: Duration,
    },
}

impl Capacity {
    /// The whole rate for a while, then what others leave of it who come and go: cross traffic.
    pub fn shared(bits: u64, left: u64, alone: Duration, together: Duration) -> Self {
        Self::Trace { steps: vec![(Duration::ZERO, bits), (alone, left)], period: alone + together }
    }

    /// A rate that nothing passes at for a while, over and over: what comes back in a tunnel.
    pub fn outage(bits: u64, good: Duration, out: Duration) -> Self {
        Self::shared(bits, 0, good, out)
    }

    /// A rate that falls step by step from the highest to the lowest, and is back at once.
    pub fn sawtooth(highest: u64, lowest: u64, steps: u32, period: Duration) -> Self {
        let steps = steps.max(2);
        let fall = highest.saturating_sub(lowest);
        let step = |n: u32| {
            let bits = highest - fall * u64::from(n) / u64::from(steps - 1);
            let from = period.as_micros() as u64 * u64::from(n) / u64::from(steps);
            (Duration::from_micros(from), bits)
        };
        Self::Trace { steps: (0..steps).map(step).collect(), period }
    }

    /// These rates, one after the other, each for so long.
    pub fn steps(rates: &[u64], each: Duration) -> Self {
        let steps = (0..).zip(rates).map(|(n, bits)| (each * n, *bits)).collect();
        Self::Trace { steps, period: each * rates.len() as u32 }
    }
}

/// Loss in bursts: a two-state model. A lost packet stalls its connection for 200 ms, the next
/// loss in a row for twice as long.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Loss {
    /// Share of packets of 1460 bytes lost while the path is bad, 0.0 to 1.0.
    pub share: f64,
    /// How long the path is bad.
    pub bad: Duration,
    /// How long it is good in between.
    pub good: Duration,
}

impl Loss {
    /// None.
    pub const NONE: Self = Self { share: 0.0, bad: Duration::ZERO, good: Duration::ZERO };
}

impl Path {
    /// No limit but the way itself.
    pub const fn free(delay: Duration) -> Self {
        Self {
            capacity: Capacity::Unlimited,
            delay,
            jitter: Duration::ZERO,
            queue: 1 << 20,
            loss: Loss::NONE,
            segment: None,
            burst: Duration::ZERO,
        }
    }

    /// A constant rate in bits per second.
    pub fn constant(bits: u64, delay: Duration, queue: u64) -> Self {
        let mut path = Self::free(delay);
        path.capacity = Capacity::Constant(bits);
        path.queue = queue;
        path
    }
}

impl Default for Link {
    fn default() -> Self {
        Self::lan()
    }
}

/// A link's name, and the link.
pub type Named = (&'static str, fn() -> Link);

/// The links with names.
pub const NAMED: [Named; 6] = [
    ("lan", Link::lan),
    ("fiber", Link::fiber),
    ("dsl", Link::dsl),
    ("cellular", Link::cellular),
    ("satellite", Link::satellite),
    ("far", Link::far),
];

impl Link {
    fn symmetric(path: Path) -> Self {
        Self { down: path.clone(), up: path, window: 1 << 20 }
    }

    /// 1 ms, no limit.
    pub fn lan() -> Self {
        Self::symmetric(Path::free(Duration::from_millis(1)))
    }

    /// 10 ms, 200 Mbit/s.
    pub fn fiber() -> Self {
        Self::symmetric(Path::constant(200_000_000, Duration::from_millis(10), 1 << 20))
    }

    /// 25 ms, 16 Mbit/s down and 8 up.
    pub fn dsl() -> Self {
        let mut link =
            Self::symmetric(Path::constant(16_000_000, Duration::from_millis(25), 512 << 10));
        link.up.capacity = Capacity::Constant(8_000_000);
        link
    }

    /// A downlink of so many bits per second, with little room for what waits.
    pub fn narrow(rate: u64) -> Self {
        let mut link = Self::dsl();
        link.down.capacity = Capacity::Constant(rate);
        link.down.queue = 64 << 10;
        link.window = 128 << 10;
        link
    }

    /// 45 ms with jitter, a rate that swings between 2 and 24 Mbit/s.
    pub fn cellular() -> Self {
        let mbit = |n: u64| n * 1_000_000;
        let ms = Duration::from_millis;
        let steps = [(0, 12), (700, 24), (1500, 6), (2300, 16), (3100, 2), (3600, 10), (4400, 20)];
        let mut path = Path::free(ms(45));
        path.capacity = Capacity::Trace {
            steps: steps.map(|(at, rate)| (ms(at), mbit(rate))).to_vec(),
            period: ms(5_000),
        };
        path.jitter = ms(15);
        path.queue = 1 << 20;
        Self::symmetric(path)
    }

    /// 300 ms, 20 Mbit/s.
    pub fn satellite() -> Self {
        let mut link =
            Self::symmetric(Path::constant(20_000_000, Duration::from_millis(300), 2 << 20));
        link.window = 4 << 20;
        link
    }

    /// 120 ms, 100 Mbit/s: another continent.
    pub fn far() -> Self {
        let mut link =
            Self::symmetric(Path::constant(100_000_000, Duration::from_millis(120), 2 << 20));
        link.window = 4 << 20;
        link
    }
}

impl Capacity {
    /// Bits per second at this moment.
    pub fn rate_at(&self, now: SimTime) -> u64 {
        match self {
            Self::Unlimited => u64::MAX,
            Self::Constant(rate) => *rate,
            Self::Trace { steps, period } => {
                let phase = Duration::from_micros(now.micros() % period.as_micros().max(1) as u64);
                steps.iter().rev().find(|(from, _)| *from <= phase).map_or(0, |(_, rate)| *rate)
            }
        }
    }

    /// When `bits` that begin to pass now have passed; [`SimTime::MAX`] if they never will.
    pub fn time_to_pass(&self, now: SimTime, bits: f64) -> SimTime {
        self.pass(now, bits).0
    }

    /// When `bits` that begin to pass now have passed, and how many more could have by then: time
    /// has a grain.
    pub(crate) fn pass(&self, now: SimTime, bits: f64) -> (SimTime, f64) {
        match self {
            Self::Unlimited => (now, 0.0),
            Self::Constant(0) => (SimTime::MAX, 0.0),
            Self::Constant(rate) => round_up(now, bits, *rate as f64),
            Self::Trace { steps, period } => {
                if bits > 0.0 && steps.iter().all(|(_, rate)| *rate == 0) {
                    return (SimTime::MAX, 0.0);
                }
                let period = period.as_micros().max(1) as u64;
                let (mut at, mut left) = (now, bits);
                loop {
                    let phase = at.micros() % period;
                    let rate = self.rate_at(at) as f64;
                    let next = steps.iter().map(|(from, _)| from.as_micros() as u64);
                    let end = next.filter(|&from| from > phase).min().unwrap_or(period).min(period);
                    let lasts = Duration::from_micros(end - phase);
                    let passes = rate * lasts.as_secs_f64();
                    if passes >= left {
                        return round_up(at, left, rate.max(1.0));
                    }
                    left -= passes;
                    at += lasts;
                }
            }
        }
    }
}

/// Rounded up to the grain of simulated time, with the bits of the rest of it. Rounded down, many
/// pieces in a row would be faster than their link.
fn round_up(at: SimTime, bits: f64, rate: f64) -> (SimTime, f64) {
    let exact = bits * 1e6 / rate;
    let micros = exact.ceil();
    (at + Duration::from_micros(micros as u64), (micros - exact) * rate / 1e6)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn ms(ms: u64) -> Duration {
        Duration::from_millis(ms)
    }

    fn trace(steps: &[(u64, u64)], period: u64) -> Capacity {
        let steps = steps.iter().map(|(from, bits)| (ms(*from), *bits)).collect();
        Capacity::Trace { steps, period: ms(period) }
    }

    #[test]
    fn rates_that_change_are_what_their_names_say() {
        let saw = Capacity::sawtooth(9, 3, 4, ms(1_000));
        assert_eq!(saw, trace(&[(0, 9), (250, 7), (500, 5), (750, 3)], 1_000));
        assert_eq!(Capacity::steps(&[5, 1, 3], ms(20)), trace(&[(0, 5), (20, 1), (40, 3)], 60));
        assert_eq!(Capacity::shared(8, 2, ms(30), ms(10)), trace(&[(0, 8), (30, 2)], 40));
        assert_eq!(Capacity::outage(8, ms(30), ms(10)), trace(&[(0, 8), (30, 0)], 40));
    }
}
