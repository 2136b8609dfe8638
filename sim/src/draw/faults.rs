//! What goes wrong with links, viewers, publishers, neighbours and nodes.

use super::{CAPTURES, Draw, pick};
use crate::link::{Capacity, Link, Loss};
use crate::plan::{Act, Direction, Leave, MomentKind, Player, Receive, Speech, When};
use crate::random::Rng;
use crate::time::SimTime;
use crate::world::{NODE, Units as _};

impl Draw<'_> {
    pub(super) fn network(&mut self) {
        self.family("link", |draw, random, when| {
            let (who, link) = (draw.anybody(random), bad_link(random));
            let lasts = draw.lasts(random, &when, 8.s());
            draw.push(when, &who, Act::Link(link, Some(lasts)));
        });
        self.family("cut", |draw, random, when| {
            let who = draw.anybody(random);
            let direction =
                pick(random, &[Direction::Both, Direction::Both, Direction::Up, Direction::Down]);
            let lasts = draw.lasts(random, &when, 6.s());
            draw.push(when, &who, Act::Cut(direction, lasts));
        });
        self.family("partition", |draw, random, when| {
            let lasts = draw.lasts(random, &when, 4.s());
            let cut = Act::Cut(Direction::Both, lasts);
            if random.bool() {
                draw.push(when, NODE, cut);
                return;
            }
            let mut peers: Vec<_> = draw.publishers.iter().chain(&draw.viewers).cloned().collect();
            random.shuffle(&mut peers);
            for name in &peers[..peers.len().div_ceil(2)] {
                draw.push(when.clone(), name, cut.clone());
            }
        });
        self.family("capacity", |draw, random, when| {
            let who = draw.anybody(random);
            let mut link = Link::dsl();
            link.down.capacity = changing(random);
            if random.bool() {
                link.up.capacity = changing(random);
            }
            let lasts = draw.lasts(random, &when, 8.s());
            draw.push(when, &who, Act::Link(link, Some(lasts)));
        });
        self.family("reset", |draw, random, when| {
            let who = draw.anybody(random);
            draw.push(when, &who, Act::Reset);
        });
        self.family("forget", |draw, random, when| {
            let who = pick(random, &draw.viewers);
            draw.push(when, &who, Act::Forget);
        });
        self.family("swizzle", |draw, random, when| {
            let begins = match when {
                When::At(at) => at,
                When::On { .. } => SimTime::ZERO + draw.quiet.mul_f64(0.5),
            };
            for name in draw.viewers.clone() {
                let at = When::At(begins + random.u64(..1_000).ms());
                let lasts = draw.lasts(random, &at, 3.s());
                draw.push(at, &name, Act::Cut(Direction::Both, lasts));
            }
        });
        self.family("egress", |draw, random, when| {
            let rate = random.u64(500_000..20_000_000);
            let lasts = draw.lasts(random, &when, 6.s());
            draw.push(when, NODE, Act::Egress(rate, Some(lasts)));
        });
        self.family("connect", |draw, random, when| {
            let lasts = draw.lasts(random, &when, 3.s());
            let act = pick(random, &[Act::Refuse(lasts), Act::Hang(lasts)]);
            draw.push(when, NODE, act);
        });
    }

    pub(super) fn bad_viewers(&mut self) {
        self.family("stops-reading", |draw, random, when| {
            let who = pick(random, &draw.viewers);
            let lasts = draw.lasts(random, &when, 12.s());
            draw.push(when, &who, Act::StopReading(lasts));
        });
        self.family("slow", |draw, random, when| {
            let who = pick(random, &draw.viewers);
            let rate = random.u64(100_000..1_500_000);
            let lasts = draw.lasts(random, &when, 10.s());
            draw.push(when, &who, Act::Link(Link::narrow(rate), Some(lasts)));
        });
        self.family("leaves", |draw, random, when| {
            let who = pick(random, &draw.viewers);
            draw.push(when, &who, Act::Leave(leave(random)));
        });
        self.family("receive", |draw, random, when| {
            let who = pick(random, &draw.viewers);
            let [off, on] = pick(
                random,
                &[
                    [Receive::Pause, Receive::Resume],
                    [Receive::AudioOff, Receive::AudioOn],
                    [Receive::VideoOff, Receive::VideoOn],
                ],
            );
            let back = draw.lasts(random, &when, 4.s());
            let later = match when.clone() {
                When::At(at) => When::At(at + back),
                When::On { moment, delay } => When::On { moment, delay: delay + back },
            };
            draw.push(when, &who, Act::Receive(off));
            draw.push(later, &who, Act::Receive(on));
        });
        if self.has("crowd") {
            let mut random = self.world.random("draw/crowd");
            let player = pick(&mut random, &[Player::Rtmp, Player::Flv]);
            let count = random.u32(10..60);
            let delay = random.u64(..20).ms();
            self.world
                .viewers("crowd", count, player)
                .comes_when("studio", MomentKind::Keyframe, random.u32(1..3), delay)
                .apart(random.u64(..3).ms());
        }
        if self.has("churn") {
            let mut random = self.world.random("draw/churn");
            let stay = random.u64(10..3_000).ms();
            self.world
                .viewers("churn", random.u32(1..6), Player::Rtmp)
                .stay(stay)
                .again(random.u64(10..500).ms())
                .apart(random.u64(..300).ms());
        }
    }

    pub(super) fn restless_publishers(&mut self) {
        self.family("publisher-leaves", |draw, random, when| {
            let who = pick(random, &draw.publishers);
            draw.push(when, &who, Act::Leave(leave(random)));
        });
        self.family("stall", |draw, random, when| {
            let who = pick(random, &draw.publishers);
            let lasts = draw.lasts(random, &when, 5.s());
            draw.push(when, &who, Act::Stall(lasts));
        });
        self.family("rival", |draw, random, when| {
            let capture = pick(random, &CAPTURES);
            // What two say alike cannot be told apart in what is recorded.
            let is_said = draw.world.publishes(capture);
            if draw.records() && is_said {
                return;
            }
            let index = draw.publishers.len();
            let name = format!("rival{index}");
            draw.world.publisher(&name, capture).once();
            if let Some(last) = draw.world.last_line() {
                last.when = when;
            }
            draw.publishers.push(name);
        });
    }

    pub(super) fn bad_neighbours(&mut self) {
        self.family("speech", |draw, random, when| {
            let speech = pick(random, &Speech::ALL);
            let at = match when {
                When::At(at) => at.since(SimTime::ZERO),
                When::On { .. } => random.u64(500..4_000).ms(),
            };
            let name = format!("rogue{}", random.u32(..1_000_000));
            draw.world.neighbour(&name, speech, at);
        });
        self.family("segments", |draw, random, when| {
            let who = draw.anybody(random);
            let mut link = Link::lan();
            let max = pick(random, &[1, 2, 7, 100, 1_000]);
            link.up.segment = Some(max);
            link.down.segment = Some(max.max(100));
            let lasts = draw.lasts(random, &when, 3.s());
            draw.push(when, &who, Act::Link(link, Some(lasts)));
        });
    }

    pub(super) fn node(&mut self) {
        self.family("crash", |draw, random, when| {
            let lasts = draw.lasts(random, &when, 2.s());
            let silent = random.bool();
            draw.push(when, NODE, Act::Crash { down: Some(lasts), silent });
        });
        self.family("stop", |draw, random, when| {
            let lasts = draw.lasts(random, &when, 2.s());
            draw.push(when, NODE, Act::Stop(Some(lasts)));
        });
        self.family("freeze", |draw, random, when| {
            let lasts = draw.lasts(random, &when, 4.s());
            draw.push(when, NODE, Act::Freeze(lasts));
        });
        // A node whose clock jumps begins its files at times that nobody knows.
        let records = self.records();
        self.family("late", |draw, random, when| {
            if records {
                return;
            }
            let lasts = draw.lasts(random, &when, 5.s());
            draw.push(when, NODE, Act::Late(random.u64(5..200).ms(), lasts));
        });
        self.family("task", |draw, random, when| {
            let who = draw.anybody(random);
            let act = pick(random, &[Act::Cancel, Act::Panic]);
            draw.push(when, &who, act);
        });
    }
}

fn leave(random: &mut Rng) -> Leave {
    pick(random, &[Leave::Goodbye, Leave::Close, Leave::HalfClose, Leave::Reset, Leave::Vanish])
}

/// A rate that does not stay: from a tenth of a small stream's to what carries several.
fn changing(random: &mut Rng) -> Capacity {
    let rates: Vec<_> = (0..random.usize(2..6)).map(|_| random.u64(50_000..4_000_000)).collect();
    let [mut rate, lowest] = [rates[0], rates[1]];
    let (some, more) = (random.u64(50..1_500).ms(), random.u64(200..3_000).ms());
    match random.u32(..4) {
        0 => Capacity::steps(&rates, some),
        1 => Capacity::sawtooth(rate.max(lowest), rate.min(lowest), random.u32(2..8), more),
        2 => Capacity::outage(rate, more, some),
        _ => {
            rate = rate.max(10 * 50_000);
            Capacity::shared(rate, rate * random.u64(10..100) / 100, more, some)
        }
    }
}

pub(super) fn bad_link(random: &mut Rng) -> Link {
    let mut link = pick(random, &[Link::cellular(), Link::dsl(), Link::satellite(), Link::far()]);
    for path in [&mut link.down, &mut link.up] {
        if random.u32(..3) == 0 {
            path.loss = Loss {
                share: random.u32(1..100) as f64 / 1_000.0,
                bad: random.u64(100..1_000).ms(),
                good: random.u64(500..4_000).ms(),
            };
        }
        if random.u32(..3) == 0 {
            path.jitter = random.u64(1..100).ms();
        }
        if random.u32(..3) == 0 {
            path.capacity = Capacity::Constant(random.u64(200_000..6_000_000));
        }
        if random.u32(..4) == 0 {
            path.queue = random.u64(4 << 10..512 << 10);
        }
        if random.u32(..4) == 0 {
            path.burst = random.u64(10..400).ms();
        }
    }
    if random.u32(..4) == 0 {
        link.window = random.u64(1 << 10..256 << 10);
    }
    link
}
