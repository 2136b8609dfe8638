//! Viewers of all kinds.

use crate::link::Link;
use crate::plan::{Act, MomentKind, Quirk, Receive};
use crate::world::{NODE, Play, Units as _, World};

pub(super) fn smoke(world: &mut World) {
    world.publisher("studio", "obs-360p30-base").comes(100.ms());
    world.viewer("rtmp", Play::Rtmp).comes(500.ms());
    world.viewer("flv", Play::Flv).comes(700.ms());
    world.viewer("other", Play::Rml).comes(900.ms());
    world.run(3.s());
    for name in ["rtmp", "flv", "other"] {
        assert!(world.log(name).pictures() > 50, "{name} saw too little");
    }
}

pub(super) fn calm(world: &mut World) {
    world.set("archive.directory=\"records\"");
    world.set("archive.file_ms_max=6000");
    world.draw(super::mix("calm"), 20.s());
    world.run(20.s());
}

pub(super) fn hls(world: &mut World) {
    let captures = ["obs-360p30-base", "obs-720p30-keyint10", "obs-360p30-zerolat"];
    let mut random = world.random("hls");
    let capture = captures[random.usize(..captures.len())];
    // Segments leave the window while somebody looks.
    world.set("hls.window_ms=12000");
    world.publisher("studio", capture).comes(100.ms());
    world.viewers("web", 4, Play::Hls).link(Link::fiber()).comes(500.ms()).apart(700.ms());
    world.viewer("desk", Play::Flv).comes(1.s());
    let other = captures[random.usize(..captures.len())];
    world.publisher("studio2", other).comes(35.s());
    world.run(75.s());
}

/// An encoder that says nothing for a while, but is there; then another whose keyframes come later than
/// the first one's did.
pub(super) fn hls_silence(world: &mut World) {
    let mut random = world.random("hls_silence");
    world.set("hls.window_ms=12000");
    world.publisher("studio", "obs-360p30-base").comes(100.ms());
    world.viewers("web", 4, Play::Hls).link(Link::fiber()).comes(500.ms()).apart(700.ms());
    let silence = random.u64(4_000..16_000);
    world.at((10_000 + random.u64(..2_000)).ms()).stall("studio", silence.ms());
    let late = Quirk::KeyframeEvery(random.u32(2..6));
    world.publisher("studio2", "obs-360p30-base").comes(35.s()).quirk(late);
    world.run(65.s());
}

/// What a second of simulated time is measured by.
pub(super) fn reference(world: &mut World) {
    world.publisher("studio", "obs-720p30-cbr2500").comes(100.ms());
    world.viewers("sofa", 3, Play::Rtmp).link(Link::fiber());
    world.viewers("desk", 3, Play::Flv).link(Link::fiber());
    world.viewer("slow", Play::Rtmp).link(Link::narrow(1_500_000));
    world.viewer("late", Play::Rtmp).comes(20.s());
    world.run(60.s());
    assert!(world.log("slow").lag() > 0, "1.5 Mbit/s are too little for 2.5");
}

pub(super) fn slow_viewer(world: &mut World) {
    let long_gops = world.random("slow/gops").u32(..2) == 0;
    let studio = world.publisher("studio", "obs-720p30-cbr2500").comes(100.ms());
    if long_gops {
        // Longer than a backlog may be: often there is no keyframe to skip to.
        studio.quirk(Quirk::KeyframeEvery(5));
    }
    world.viewers("sofa", 2, Play::Rtmp);
    world.viewers("desk", 2, Play::Flv);
    let rate = world.random("slow/rate").u64(900_000..2_400_000);
    world.viewer("slow", Play::Rtmp).link(Link::narrow(rate));
    world.viewer("stuck", Play::Flv).comes(1.s());
    world.viewer("tunnel", Play::Rtmp).comes(1.s());
    world.at(2.s()).stop_reading("stuck", 40.s());
    world.at(4.s()).stop_reading("tunnel", 15.s());
    world.quiet(25.s());
    world.run(50.s());
    for healthy in ["sofa", "desk"] {
        assert_eq!(world.log(healthy).lag(), 0, "{healthy} noticed");
    }
    assert!(world.log("stuck").lag() > 0);
    assert!(world.log("tunnel").lag() > 0);
}

/// A link that carries what has to be seen, and not what nobody would miss.
pub(super) fn dispensable(world: &mut World) {
    world.set("play.overflow=\"drop-disposable-first\"");
    world.publisher("studio", "obs-720p30-cbr2500").comes(100.ms()).quirk(Quirk::Disposable(2));
    world.viewers("sofa", 2, Play::Rtmp).comes(500.ms());
    let rate = world.random("dispensable/rate").u64(1_700_000..2_300_000);
    world.viewer("slow", Play::Rtmp).comes(500.ms()).link(Link::narrow(rate));
    world.viewer("desk", Play::Flv).comes(500.ms()).link(Link::narrow(rate));
    world.run(35.s());
    assert_eq!(world.log("sofa").lag(), 0);
    assert!(world.log("slow").lag() > 0, "{rate} bit/s are too little for 2.5 Mbit/s");
}

/// A listener who wants no pictures, and for a while nothing at all, while headers change.
pub(super) fn choosy_viewer(world: &mut World) {
    let mut random = world.random("choosy");
    let offset = random.i32(-2..3);
    world
        .publisher("studio", "obs-360p30-base")
        .comes(100.ms())
        .quirk(Quirk::HeaderChanges { every: 1, offset });
    world.viewer("sofa", Play::Rtmp).comes(1.s());
    for name in ["ears", "other"] {
        world.viewer(name, Play::Rtmp).comes(1.s());
        let wishes = [Receive::VideoOff, Receive::Pause, Receive::Resume, Receive::VideoOn];
        for (wish, at) in wishes.into_iter().zip([1_500, 3_000, 6_000, 9_000]) {
            world.at((at + random.u64(..1_000)).ms()).receive(name, wish);
        }
    }
    world.run(12.s());
    assert_eq!(world.log("sofa").lag(), 0);
}

/// More is asked of the node's network than it carries, for a while, by viewers who are equal.
pub(super) fn full_line(world: &mut World) {
    let mut random = world.random("full_line");
    let count = random.u32(4..9);
    let share = random.u64(30..60);
    world.publisher("studio", "obs-720p30-cbr2500").comes(100.ms());
    world.viewers("home", count, Play::Rtmp).comes(500.ms()).apart(100.ms());
    let rate = u64::from(count) * 2_500_000 * share / 100;
    world.at(4.s()).does(NODE, Act::Egress(rate, Some(17.s())));
    world.quiet(22.s());
    world.run(35.s());
    assert!(world.log("home").lag() > 0, "{count} viewers, and {share} % of what they need");
}

/// Two viewers that never read again: each costs its node a socket's buffers, and not for long.
pub(super) fn deaf_viewer(world: &mut World) {
    world.set("play.write_stall_timeout_ms=5000");
    world.publisher("studio", "obs-720p30-cbr2500").comes(100.ms());
    world.viewers("sofa", 2, Play::Rtmp);
    for (name, player) in [("deaf", Play::Rtmp), ("dead", Play::Flv)] {
        world.viewer(name, player).comes(1.s());
        world.at(2.s()).stop_reading(name, 60.s());
    }
    world.run(35.s());
    assert_eq!(world.log("sofa").lag(), 0);
}

pub(super) fn tunnel(world: &mut World) {
    world.publisher("studio", "obs-720p30-cbr2500").comes(100.ms());
    world.viewers("sofa", 4, Play::Rtmp).link(Link::fiber());
    world.viewer("phone", Play::Rtmp).link(Link::fiber()).comes(1.s());
    world.at(8.s()).cut("phone", 7.s());
    world.quiet(15.s());
    world.run(35.s());
    let gap = world.log("phone").longest_gap();
    assert!(gap < 16.s(), "back within the last retransmission's time, not after {gap:?}");
    assert_eq!(world.log("sofa").lag(), 0);
}

/// A viewer for every tag of two GOPs.
pub(super) fn late_join(world: &mut World) {
    let captures = ["obs-360p30-base", "obs-360p30-zerolat", "enh-hevc-aac", "obs-720p30-cbr2500"];
    let mut random = world.random("late_join");
    let capture = captures[random.usize(..captures.len())];
    let offset = random.i32(-2..3);
    world
        .publisher("studio", capture)
        .comes(100.ms())
        .quirk(Quirk::HeaderChanges { every: 1, offset });
    for tag in 0..150 {
        let player = [Play::Rtmp, Play::Flv][tag as usize % 2];
        world
            .viewer(&format!("join{tag}"), player)
            .comes_when("studio", MomentKind::Tag, 80 + tag, 0.ms())
            .stay(1_500.ms());
    }
    world.run(8.s());
}

pub(super) fn crowd(world: &mut World) {
    let rate = world.random("crowd/egress").u64(30_000_000..80_000_000);
    world.publisher("studio", "obs-360p30-base").comes(100.ms());
    world
        .viewers("crowd", 100, Play::Rtmp)
        .comes_when("studio", MomentKind::Keyframe, 2, 5.ms())
        .apart(1.ms());
    world.at(50.ms()).does(NODE, Act::Egress(rate, None));
    world.run(20.s());
}

pub(super) fn churn(world: &mut World) {
    world.publisher("studio", "obs-360p30-base").comes(100.ms());
    world.viewers("sofa", 2, Play::Rtmp);
    for (name, stay) in [("blink", 10), ("glance", 300), ("look", 2_000)] {
        let player = if name == "glance" { Play::Flv } else { Play::Rtmp };
        world.viewers(name, 4, player).stay(stay.ms()).again(50.ms()).apart(70.ms());
    }
    world.run(15.s());
    assert_eq!(world.log("sofa").lag(), 0);
}

/// The law `viewers × bitrate ≤ NIC`: 4.2 Gbit/s are just enough for 1000 viewers at 4 Mbit/s.
/// Past it everybody gets an equal share, and a picture that decodes.
pub(super) fn nic_saturation(world: &mut World) {
    let rates = [1_000_000_000, 4_200_000_000, 10_000_000_000];
    let rate = rates[world.seed() as usize % rates.len()];
    world.set("play.write_stall_timeout_ms=60000");
    world.publisher("studio", "obs-1080p30-cbr4000").comes(50.ms());
    world.viewers("home", 1_000, Play::Rtmp).comes(1.s()).apart(1.ms());
    world.at(10.ms()).does(NODE, Act::Egress(rate, None));
    world.run(16.s());
    let homes = world.log("home");
    match rate {
        1_000_000_000 => assert!(homes.lag() > 0, "4 Gbit/s through 1"),
        _ => assert_eq!(homes.lag(), 0, "4 Gbit/s through {rate} bit/s"),
    }
}
