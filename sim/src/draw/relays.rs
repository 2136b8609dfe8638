//! Targets of relays, and what is done to them.

use std::time::Duration;

use super::faults::bad_link;
use super::pick;
use crate::link::Link;
use crate::plan::{Act, Actor, Direction, Line, Moment, MomentKind, Refusal, TargetQuirk, When};
use crate::random::Rng;
use crate::time::SimTime;
use crate::world::{Units as _, World};

impl World {
    /// So many targets with quirks, to each of which several things happen before `quiet`.
    pub(crate) fn draw_targets(&mut self, count: u32, quiet: Duration) {
        for index in 0..count {
            let name = format!("target{index}");
            let mut random = self.random(&format!("draw/{name}"));
            self.draw_target(&name, &mut random);
            let faults = random.u32(..6);
            for _ in 0..faults {
                let (when, most) = moment(&name, quiet, &mut random);
                let act = fault(&mut random, most);
                let who = Actor { name: name.clone(), count: 1 };
                self.push(Line { when, who, act });
            }
        }
    }

    fn draw_target(&mut self, name: &str, random: &mut Rng) {
        let links = [Link::lan as fn() -> Link, Link::fiber, Link::dsl, Link::far, Link::satellite];
        let mut target = self.target(name).link(pick(random, &links)());
        if random.u32(..4) == 0 {
            target = target.comes(random.u64(500..8_000).ms());
        }
        if random.u32(..3) == 0 {
            target = target.key("s3cret");
        }
        for _ in 0..random.u32(..3) {
            target = target.quirk(quirk(random));
        }
    }

    /// A target that is there, and one that never will be.
    pub(super) fn draw_live_and_dead(&mut self) {
        let mut random = self.random("draw/targets");
        let link = pick(&mut random, &[Link::lan as fn() -> Link, Link::fiber, Link::far])();
        // It listens before anybody publishes.
        let live = self.target("live").link(link);
        if random.bool() {
            live.key("s3cret");
        }
        let dead = pick(
            &mut random,
            &[
                TargetQuirk::Silent,
                TargetQuirk::Refuses { refusal: Refusal::Auth, times: None },
                TargetQuirk::Refuses { refusal: Refusal::BadName, times: None },
                TargetQuirk::Refuses { refusal: Refusal::Busy, times: None },
            ],
        );
        self.target("dead").quirk(dead);
    }
}

fn quirk(random: &mut Rng) -> TargetQuirk {
    let times = |random: &mut Rng| (random.u32(..6) != 0).then(|| random.u32(1..6));
    match random.u32(..10) {
        0 => TargetQuirk::Refuses { refusal: Refusal::Auth, times: times(random) },
        1 | 2 => TargetQuirk::Refuses { refusal: Refusal::BadName, times: times(random) },
        3 | 4 => TargetQuirk::Refuses { refusal: Refusal::Busy, times: times(random) },
        // Behind the handshake, among the headers, and long after the first keyframe.
        5 => TargetQuirk::Cuts(random.u64(3_000..6_000)),
        6 | 7 => TargetQuirk::Cuts(random.u64(20_000..1_500_000)),
        8 => TargetQuirk::Silent,
        _ => TargetQuirk::Window(pick(random, &[1, 500, 2_500, 100_000])),
    }
}

/// When, and how long what begins then may last: a time, or something that the target sees.
fn moment(name: &str, quiet: Duration, random: &mut Rng) -> (When, Duration) {
    let latest = quiet.as_millis() as u64;
    if random.u32(..2) == 0 {
        let at = random.u64(1_000..latest - 2_000);
        return (When::At(SimTime::from_millis(at)), Duration::from_millis(latest - at));
    }
    let events = [
        MomentKind::Connected,
        MomentKind::Publishing,
        MomentKind::Header,
        MomentKind::Keyframe,
        MomentKind::Keyframe,
        MomentKind::Tag,
    ];
    let event = pick(random, &events);
    let count = if event == MomentKind::Tag { random.u32(1..300) } else { random.u32(1..5) };
    let moment = Moment { who: name.to_owned(), event, count };
    (When::On { moment, delay: random.u64(..30).ms() }, quiet / 3)
}

fn fault(random: &mut Rng, most: Duration) -> Act {
    let most = (most.as_millis() as u64).clamp(100, 8_000);
    let lasts = random.u64(50..most).ms();
    match random.u32(..11) {
        0 => Act::StopReading(lasts),
        1 => Act::Link(bad_link(random), Some(lasts)),
        2 => Act::Link(Link::narrow(random.u64(100_000..600_000)), Some(lasts)),
        3 => Act::Cut(
            pick(random, &[Direction::Both, Direction::Both, Direction::Up, Direction::Down]),
            lasts,
        ),
        4 => Act::Forget,
        5 | 6 => Act::Reset,
        7 => Act::Crash { down: Some(lasts), silent: random.bool() },
        8 => Act::Freeze(lasts),
        9 => Act::Refuse(lasts),
        _ => Act::Hang(lasts),
    }
}
