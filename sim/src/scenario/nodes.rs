//! Nodes, and what is done to them.

use crate::plan::{Act, Leave, Speech};
use crate::world::{NODE, Play, Units as _, World};

pub(super) fn bad_neighbours(world: &mut World) {
    world.publisher("studio", "obs-360p30-base").comes(100.ms());
    world.viewers("sofa", 2, Play::Rtmp).comes(1.s());
    world.viewer("desk", Play::Flv).comes(1_100.ms());
    let all = [
        ("silent", Speech::Silence),
        ("garbage", Speech::Garbage),
        ("browser", Speech::Http),
        ("tls", Speech::Tls),
        ("half", Speech::HalfHandshake),
        ("slow", Speech::SlowHandshake),
        ("future", Speech::WrongVersion),
        ("then-garbage", Speech::GarbageAfterHandshake),
        ("long", Speech::LongMessage),
        ("many", Speech::ManyChunkStreams),
        ("deep", Speech::DeepAmf),
        ("unknown", Speech::UnknownCommands),
        ("eager", Speech::MediaFirst),
        ("lost", Speech::PlaysNothing),
        ("slow-http", Speech::SlowHttp),
    ];
    for (name, speech) in all {
        let comes = world.random(name).u64(1_500..4_000).ms();
        world.neighbour(name, speech, comes);
    }
    // As long as whoever says nothing may stay.
    world.run(50.s());
    for name in ["sofa", "desk"] {
        assert_eq!(world.log(name).lag(), 0, "{name} noticed");
        assert!(world.log(name).longest_gap() < 300.ms(), "{name} waited");
    }
}

/// The studio and its viewers are at both nodes; each is stopped while the other runs.
pub(super) fn rolling_restart(world: &mut World) {
    for node in ["east", "west"] {
        let [studio, sofa, desk] = ["studio", "sofa", "desk"].map(|name| format!("{name}-{node}"));
        world.publisher(&studio, "obs-360p30-base").node(node).comes(200.ms()).again(500.ms());
        world.viewers(&sofa, 2, Play::Rtmp).node(node).comes(1.s()).again(400.ms());
        world.viewer(&desk, Play::Flv).node(node).comes(1_300.ms()).again(400.ms());
    }
    let mut random = world.random("restart");
    world.at(5.s()).stop("east", random.u64(200..1_500).ms());
    world.at(20.s()).stop("west", random.u64(200..1_500).ms());
    world.quiet(35.s());
    world.run(50.s());
}

pub(super) fn hls_restart(world: &mut World) {
    // Segments have left the window when the node dies.
    world.set("hls.window_ms=6000");
    world.publisher("studio", "obs-360p30-base").comes(100.ms()).again(300.ms());
    world.viewers("web", 4, Play::Hls).comes(500.ms()).apart(300.ms());
    let mut random = world.random("crashes");
    for crash in 0..2 {
        let at = (15_000 + crash * 20_000 + random.u64(..4_000)).ms();
        world.at(at).crash(NODE, random.u64(100..2_000).ms());
    }
    world.quiet(45.s());
    world.run(60.s());
}

pub(super) fn crash_loop(world: &mut World) {
    world.publisher("studio", "obs-360p30-base").comes(100.ms()).again(300.ms());
    world.viewers("sofa", 3, Play::Rtmp).comes(1.s()).again(300.ms());
    world.viewer("desk", Play::Flv).comes(1_200.ms()).again(300.ms());
    let mut random = world.random("crashes");
    for crash in 0..4 {
        let at = (2_000 + crash * 3_000 + random.u64(..1_500)).ms();
        let down = Some(random.u64(50..900).ms());
        world.at(at).does(NODE, Act::Crash { down, silent: random.bool() });
    }
    world.quiet(16.s());
    world.run(60.s());
}

pub(super) fn frozen_node(world: &mut World) {
    let frozen = world.random("frozen").u64(500..9_000).ms();
    world.publisher("studio", "obs-360p30-base").comes(100.ms());
    world.viewers("sofa", 3, Play::Rtmp).comes(1.s());
    world.viewer("gone", Play::Flv).comes(1.s());
    world.at(5.s()).freeze(NODE, frozen);
    world.at(5_500.ms()).leave("gone", Leave::Close);
    world.quiet(15.s());
    world.run(35.s());
}

pub(super) fn weather(world: &mut World) {
    world.draw(super::mix("weather"), 25.s());
    world.run(25.s());
}

/// What was recorded is there, whatever happens to the disk and whenever the power goes.
pub(super) fn crashing_disk(world: &mut World) {
    world.draw(super::mix("crashing_disk"), 30.s());
    world.run(30.s());
}

/// Any world at all: shape, work, faults and their strength come from the seed.
pub(super) fn everything(world: &mut World) {
    world.draw(super::mix("everything"), 20.s());
    world.run(20.s());
}
