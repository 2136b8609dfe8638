//! Draw: worlds from a seed. First the shape, then who comes, then *which* faults exist at all,
//! how strong they are, and when. Off is a value: a little of everything all the time averages
//! into mild weather.

mod disk;
mod faults;
mod relays;

use std::time::Duration;

use crate::capture::Capture;
use crate::link::Link;
use crate::plan::{Act, Actor, Line, Moment, MomentKind, Player, Quirk, Start, When};
use crate::publisher::Encoder;
use crate::random::Rng;
use crate::time::SimTime;
use crate::world::{Units as _, World};

/// What a drawn world may hold.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Mix {
    /// Its name, for the command line.
    pub name: &'static str,
    /// What it is, in a sentence.
    pub about: &'static str,
    /// Faults of links and connections.
    pub network: bool,
    /// Encoders that differ from good ones.
    pub odd_encoders: bool,
    /// Publishers that vanish, return, and quarrel about a key.
    pub restless_publishers: bool,
    /// Viewers that are slow, stuck, restless.
    pub bad_viewers: bool,
    /// Peers that do not speak RTMP as they should.
    pub bad_neighbours: bool,
    /// Nodes that crash, stop, freeze; tasks that panic or are cancelled.
    pub node: bool,
    /// Nodes that record, on disks that fail, and lose their power.
    pub disk: bool,
    /// Settings other than the defaults, limits among them.
    pub settings: bool,
    /// Players of HLS among the viewers.
    pub hls: bool,
    /// Targets that nodes relay to, and what happens to them.
    pub relays: bool,
}

const NOTHING: Mix = Mix {
    name: "calm",
    about: "good encoders, ample links, viewers that read",
    network: false,
    odd_encoders: false,
    restless_publishers: false,
    bad_viewers: false,
    bad_neighbours: false,
    node: false,
    disk: false,
    settings: false,
    hls: false,
    relays: false,
};

const CALM: Mix = Mix { hls: true, ..NOTHING };

/// All mixes, by name.
pub(crate) const MIXES: [Mix; 9] = [
    CALM,
    Mix { name: "weather", about: "links of all kinds that fail", network: true, ..NOTHING },
    Mix { name: "odd_encoder", about: "encoders with two quirks", odd_encoders: true, ..NOTHING },
    Mix {
        name: "publisher_returns",
        about: "publishers that vanish, return and quarrel",
        restless_publishers: true,
        ..NOTHING
    },
    Mix {
        name: "slow_viewer",
        about: "viewers that are slow, stuck, or come and go",
        bad_viewers: true,
        ..NOTHING
    },
    Mix {
        name: "bad_neighbours",
        about: "peers that speak as they should not",
        bad_neighbours: true,
        ..NOTHING
    },
    Mix { name: "node", about: "nodes that crash, stop and freeze", node: true, ..NOTHING },
    Mix {
        name: "crashing_disk",
        about: "nodes that record, on disks that fail, and lose their power",
        disk: true,
        ..NOTHING
    },
    Mix {
        name: "everything",
        about: "a random subset of all of the above",
        network: true,
        odd_encoders: true,
        restless_publishers: true,
        bad_viewers: true,
        bad_neighbours: true,
        node: true,
        disk: true,
        settings: true,
        hls: true,
        relays: true,
    },
];

/// Recordings that every part of the product can be expected to handle.
const CAPTURES: [&str; 8] = [
    "obs-360p30-base",
    "obs-360p30-base",
    "obs-360p30-zerolat",
    "obs-360p30-muted",
    "obs-720p30-cbr2500",
    "enh-hevc-aac",
    "enh-avc-opus",
    "enh-two-audio",
];

/// Recordings that are odd in themselves, or were made on the wire.
const ODD_CAPTURES: [&str; 14] = [
    "odd-empty-and-dup",
    "odd-exttime-wrap",
    "odd-time-backwards",
    "odd-time24-noext",
    "odd-time32-wrap",
    "enh-av1-opus",
    "enh-vp9-aac",
    "obs-publish-360p60",
    "obs-publish-killed",
    "ffmpeg5-publish-360p30",
    "ffmpeg5-publish-exttime",
    "ffmpeg5-publish-extdelta",
    "gst-librtmp-360p30",
    "gst-rtmp2sink-360p30",
];

impl World {
    /// Fills this world from its seed with what the mix may hold, for a run of `time`. Faults end
    /// at three fifths of it.
    pub(crate) fn draw(&mut self, mix: Mix, time: Duration) {
        let quiet = time.mul_f64(0.6);
        Draw {
            mix,
            quiet,
            world: self,
            publishers: Vec::new(),
            keys: Vec::new(),
            viewers: Vec::new(),
            is_segmented: false,
        }
        .all();
        if mix != CALM {
            self.quiet(quiet);
        }
    }
}

struct Draw<'a> {
    mix: Mix,
    quiet: Duration,
    world: &'a mut World,
    publishers: Vec<String>,
    /// What each of them publishes.
    keys: Vec<String>,
    viewers: Vec<String>,
    /// Whether somebody plays segments.
    is_segmented: bool,
}

/// One of these.
fn pick<T: Clone>(random: &mut Rng, from: &[T]) -> T {
    from[random.usize(..from.len())].clone()
}

impl Draw<'_> {
    fn all(&mut self) {
        let mut shape = self.world.random("draw/shape");
        if self.mix != CALM && shape.u32(..8) == 0 {
            self.world.tick(1.ms());
        }
        let publishers = if shape.u32(..4) == 0 { 2 } else { 1 };
        let viewers = shape.u32(2..=6);
        for index in 0..publishers {
            self.publisher(index);
        }
        for index in 0..viewers {
            self.viewer(index);
        }
        // Where they are made for nobody, a stream has somebody who takes it all the time.
        if !self.is_segmented && self.world.random("draw/segments").bool() {
            self.world.set("hls.enabled=false");
        }
        if self.mix == CALM && shape.u32(..2) == 0 {
            self.world.draw_live_and_dead();
        }
        if self.mix.settings {
            self.settings();
        }
        if self.mix.bad_viewers {
            self.bad_viewers();
        }
        if self.mix.restless_publishers {
            self.restless_publishers();
        }
        if self.mix.bad_neighbours {
            self.bad_neighbours();
        }
        if self.mix.network {
            self.network();
        }
        if self.mix.node {
            self.node();
        }
        if self.records() {
            self.disk();
        }
        if self.mix.relays && self.has("targets") {
            let count = self.world.random("draw/targets").u32(1..3);
            self.world.draw_targets(count, self.quiet);
        }
    }

    /// Whether nodes record: where that is what it is about, and in some worlds among much else.
    fn records(&self) -> bool {
        self.mix.disk && (!self.mix.network || self.has("recordings"))
    }

    /// Whether this family of faults exists in this world.
    fn has(&self, family: &str) -> bool {
        self.world.random(&format!("draw/{family}/exists")).u32(..4) == 0
    }

    fn publisher(&mut self, index: u32) {
        let name = ["studio", "garage"][index as usize % 2];
        let mut random = self.world.random(&format!("draw/{name}"));
        // What is recorded of an encoder that says the same at other times cannot be told apart.
        let records = self.records();
        let is_odd = self.mix.odd_encoders && random.u32(..3) == 0 && !records;
        let capture =
            if is_odd { pick(&mut random, &ODD_CAPTURES) } else { pick(&mut random, &CAPTURES) };
        let mut publisher = self.world.publisher(name, capture);
        publisher = publisher.key(["live/a", "live/b"][index as usize % 2]);
        let Ok(capture) = Capture::load(capture) else { return };
        if let Some(wire) = &capture.wire {
            publisher = publisher.key(&wire.key).once();
        } else if self.mix.odd_encoders {
            if random.u32(..4) == 0 {
                // Its node reads it in small pieces, cut anywhere.
                let mut link = Link::lan();
                link.up.segment = Some(pick(&mut random, &[5, 50, 500]));
                publisher = publisher.link(link);
            }
            for _ in 0..random.u32(..3) {
                let quirk = quirk(&mut random);
                let mut with_it = publisher.line().clone();
                with_it.quirks.push(quirk);
                // Nor which of the tags in front of its headers are in a file, or of sounds that are
                // all silence.
                if records && matches!(quirk, Quirk::HeadersLate(_) | Quirk::NoVideo) {
                    continue;
                }
                // Rounds without times cannot be told apart, nor can publishes.
                let is_alike =
                    |quirk: &Quirk| matches!(quirk, Quirk::AllZero | Quirk::Republishes(_));
                if is_alike(&quirk) && publisher.line().quirks.iter().any(is_alike) {
                    continue;
                }
                // Some make no sense with this recording, or with each other.
                if Encoder::check(&with_it, &capture).is_ok() {
                    publisher = publisher.quirk(quirk);
                }
            }
        }
        if self.mix.disk && !self.mix.odd_encoders && random.u32(..4) == 0 {
            publisher = publisher.quirk(Quirk::KeyframeEvery(random.u32(2..5)));
        }
        if publisher.line().quirks.contains(&Quirk::AllZero) {
            // Rounds without times cannot be told apart.
            publisher = publisher.once();
        } else if self.mix.restless_publishers || self.mix.network || self.mix.node || self.mix.disk
        {
            publisher = publisher.again(random.u64(100..2_000).ms());
        }
        self.keys.push(publisher.line().key.clone());
        self.publishers.push(name.to_owned());
    }

    fn viewer(&mut self, index: u32) {
        let name = format!("viewer{index}");
        let mut random = self.world.random(&format!("draw/{name}"));
        let player =
            pick(&mut random, &[Player::Rtmp, Player::Rtmp, Player::Flv, Player::Flv, Player::Rml]);
        let links = [Link::lan as fn() -> Link, Link::fiber, Link::dsl, Link::far, Link::satellite];
        let link = pick(&mut random, &links)();
        // A draw of its own: without it the others are as they were.
        let by_hls = self.world.random(&format!("draw/{name}/hls")).u32(..6) == 0;
        let player = if self.mix.hls && by_hls { Player::Hls } else { player };
        self.is_segmented |= player == Player::Hls;
        // Two of three want the first stream.
        let stream = (random.usize(..3) / 2).min(self.keys.len() - 1);
        let (key, publisher) = (self.keys[stream].clone(), self.publishers[stream].clone());
        let start = pick(
            &mut random,
            &[None, None, Some(Start::Gop), Some(Start::Live), Some(Start::Auto)],
        );
        let count = if random.u32(..8) == 0 { random.u32(2..12) } else { 1 };
        let mut viewer = self.world.viewers(&name, count, player).key(&key).link(link);
        if let Some(start) = start {
            viewer = viewer.start(start);
        }
        if count > 1 {
            viewer = viewer.apart(random.u64(..60).ms());
        }
        if random.u32(..4) == 0 {
            // Joins at a chosen point of the GOP.
            let event =
                pick(&mut random, &[MomentKind::Keyframe, MomentKind::Header, MomentKind::Tag]);
            let count =
                if event == MomentKind::Tag { random.u32(1..200) } else { random.u32(1..4) };
            viewer = viewer.comes_when(&publisher, event, count, random.u64(..30).ms());
        }
        if self.mix != CALM && random.u32(..2) == 0 {
            viewer.again(random.u64(100..1_500).ms());
        }
        self.viewers.push(name);
    }

    /// A moment before the quiet phase; every third aims at something of the media.
    fn moment(&self, random: &mut Rng) -> When {
        let latest = (self.quiet.as_millis() as u64).max(1_200);
        if random.u32(..3) != 0 {
            return When::At(SimTime::from_millis(random.u64(800..latest)));
        }
        let event = pick(random, &[MomentKind::Keyframe, MomentKind::Keyframe, MomentKind::Header]);
        // A keyframe a second at least: the moment comes before the quiet phase.
        let count = match event {
            MomentKind::Keyframe => random.u32(1..=(latest / 2_500).max(2) as u32),
            _ => random.u32(1..=2),
        };
        let who = pick(random, &self.publishers);
        When::On { moment: Moment { who, event, count }, delay: random.u64(..40).ms() }
    }

    /// How long a fault lasts that begins at such a moment, so that it is over when all is quiet.
    fn lasts(&self, random: &mut Rng, when: &When, most: Duration) -> Duration {
        let begins = match when {
            When::At(at) => at.since(SimTime::ZERO),
            When::On { .. } => self.quiet.mul_f64(0.6),
        };
        let most = self.quiet.saturating_sub(begins).min(most).as_millis() as u64;
        random.u64(50..most.max(100)).ms()
    }

    fn push(&mut self, when: When, name: &str, act: Act) {
        self.world.push(Line { when, who: Actor { name: name.to_owned(), count: 1 }, act });
    }

    /// Up to three faults of a family, if it exists.
    fn family(&mut self, family: &str, mut one: impl FnMut(&mut Self, &mut Rng, When)) {
        if !self.has(family) {
            return;
        }
        let mut random = self.world.random(&format!("draw/{family}"));
        for _ in 0..random.u32(1..=3) {
            let when = self.moment(&mut random);
            one(self, &mut random, when);
        }
    }

    fn anybody(&self, random: &mut Rng) -> String {
        let peers: Vec<_> = self.publishers.iter().chain(&self.viewers).cloned().collect();
        pick(random, &peers)
    }

    fn settings(&mut self) {
        let mut random = self.world.random("draw/settings");
        let coalesce = pick(&mut random, &[0, 50, 50, 350]);
        self.world.set(&format!("hub.coalesce_ms={coalesce}"));
        self.world.set(&format!("hub.grace_ms={}", random.u64(0..4_000)));
        self.world.set(&format!("play.backlog_ms_max={}", random.u64(1_000..6_000)));
        if random.bool() {
            let overflow = pick(&mut random, &["drop-disposable-first", "disconnect"]);
            self.world.set(&format!("play.overflow=\"{overflow}\""));
        }
        if random.u32(..4) == 0 {
            self.world.set("hub.takeover=false");
        }
        if random.u32(..4) == 0 {
            self.world.set("rtmp.message_len_max=1048576");
            self.world.set(&format!("hub.ring_bytes_max={}", random.u64(1 << 20..4 << 20)));
        }
        if random.u32(..4) == 0 {
            self.world.set(&format!("receive.waiting_blocks_max={}", random.u64(1..4)));
        }
        if random.u32(..6) == 0 {
            self.world.set(&format!("hub.subscribers_max={}", random.u64(2..6)));
        }
        if random.u32(..6) == 0 {
            self.world.set(&format!("listen.connections_max={}", random.u64(3..9)));
        }
        if random.u32(..4) == 0 {
            self.world.set(&format!("receive.block_len={}", 1 << random.u32(14..18)));
        }
        if random.u32(..4) == 0 {
            self.world.set("play.write_stall_timeout_ms=4000");
        }
        if random.u32(..4) == 0 {
            self.world.set("rtmp.publish_idle_timeout_ms=3000");
        }
    }
}

fn quirk(random: &mut Rng) -> Quirk {
    let every = random.u32(1..4);
    let quirks = [
        Quirk::StartsAt(pick(random, &[0xFF_F000, 0xFFFF_F000, 0x7FFF_F000, 1_000_000])),
        Quirk::NoExtendedOnType3,
        Quirk::Jumps { at_tag: random.u32(20..400), by_ms: random.i32(-3_000..10_000) },
        Quirk::AllZero,
        Quirk::AudioLate(random.u32(100..3_000)),
        Quirk::NoAudio,
        Quirk::NoVideo,
        Quirk::VideoAfter(random.u32(100..3_000)),
        Quirk::HeadersRepeated,
        Quirk::HeaderChanges { every, offset: random.i32(-3..4) },
        Quirk::CodecChanges(every),
        Quirk::HeadersLate(random.u32(100..2_000)),
        Quirk::NoHeaders,
        Quirk::KeyframeEvery(random.u32(0..4)),
        Quirk::AllKeyframes,
        Quirk::Disposable(every),
        Quirk::CompositionTime(random.i32(-500..500)),
        Quirk::Huge { len: random.u32(100_000..3_000_000), every },
        Quirk::Storm(random.u32(2..20)),
        Quirk::EmptyTags(random.u32(2..20)),
        Quirk::ChunkSize(pick(random, &[1, 128, 4_096, 65_536, 0x7FFF_FFFF])),
        Quirk::ChunkSizeChanges,
        Quirk::Interleaved,
        Quirk::Aborts,
        Quirk::Aggregates,
        Quirk::UnknownTypes,
        Quirk::MetadataUpdates,
        Quirk::Bursts(random.u32(100..2_000)),
        Quirk::Drift(random.i32(-500..500)),
        Quirk::Swings(random.u32(2..20)),
        Quirk::Republishes(every),
        Quirk::Window(random.u32(4_000..2_000_000)),
    ];
    pick(random, &quirks)
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use super::*;

    #[test]
    fn every_kind_of_fault_is_drawn() {
        let everything = MIXES.iter().find(|mix| mix.name == "everything").expect("a mix");
        let mut drawn = BTreeSet::new();
        for seed in 0..300 {
            let mut world = World::new("everything", seed);
            world.draw(*everything, 20.s());
            let plan = world.plan();
            drawn.extend(plan.lines.iter().filter_map(|line| plan.family(line)));
        }
        // N1 and N3 come with every link, and N13 is several of N10.
        let network = [
            "N2", "N4", "N5", "N6", "N7", "N8", "N9", "N10", "N11", "N12", "N14", "N15", "N16",
            "N17", "N18", "N19", "N20",
        ];
        let node = ["T4", "T5", "X1", "X2", "X5", "X6"];
        let known = network.into_iter().chain(node);
        let missing: Vec<_> = known.filter(|family| !drawn.contains(family)).collect();
        assert!(missing.is_empty(), "{missing:?}");
    }
}
