//! Publishers and what they send.

use crate::link::{Capacity, Link};
use crate::plan::{Act, Leave, MomentKind, Quirk, Receive};
use crate::trace::What;
use crate::world::{Play, Units as _, World};

pub(super) fn publisher_returns(world: &mut World) {
    let mut random = world.random("returns");
    let (gone, grace) = (random.u64(100..1_500).ms(), random.u64(1_600..3_000));
    world.set(&format!("hub.grace_ms={grace}"));
    world.publisher("studio", "obs-360p30-base").comes(100.ms()).again(gone);
    world.viewers("sofa", 3, Play::Rtmp).comes(1.s());
    world.viewers("desk", 2, Play::Flv).comes(1_200.ms());
    world.viewer("early", Play::Rtmp).comes(10.ms());
    // It loses tags all the time, so also those with which another session begins.
    world.set("play.backlog_ms_max=2500");
    world.set("play.unsent_len_max=16384");
    let rate = random.u64(60_000..250_000);
    world.viewer("narrow", Play::Rtmp).comes(1_500.ms()).link(Link::narrow(rate));
    let how = [Leave::Vanish, Leave::Reset, Leave::Close][random.usize(..3)];
    world.when("studio", MomentKind::Keyframe, 3).plus(random.u64(..400).ms()).leave("studio", how);
    // Another encoder takes the key over, and the first one fights for it once.
    world.publisher("rival", "obs-360p30-zerolat").comes(8.s()).once();
    world.quiet(9.s());
    world.run(25.s());
    for name in ["sofa", "desk"] {
        assert!(!is_told_the_end(world, name), "{name} was to wait for a publisher that returns");
    }
}

/// The encoder's network dies, or the encoder hangs, and nobody comes in its place.
pub(super) fn publisher_vanishes(world: &mut World) {
    let mut random = world.random("vanishes");
    world.set("rtmp.publish_idle_timeout_ms=4000");
    world.set(&format!("hub.grace_ms={}", random.u64(500..2_000)));
    world.publisher("studio", "obs-360p30-base").comes(100.ms());
    world.viewers("sofa", 2, Play::Rtmp).comes(1.s());
    world.viewer("desk", Play::Flv).comes(1_200.ms());
    let acts = [Leave::Vanish, Leave::Reset, Leave::Close, Leave::Goodbye].map(Act::Leave);
    let act = acts.into_iter().chain([Act::Stall(60.s())]).nth(random.usize(..5));
    world.at(random.u64(3_000..6_000).ms()).does("studio", act.unwrap_or(Act::Reset));
    world.quiet(7.s());
    world.run(25.s());
    for name in ["sofa", "desk"] {
        assert!(is_told_the_end(world, name), "{name} waits for somebody who does not return");
    }
}

fn is_told_the_end(world: &World, name: &str) -> bool {
    world.log(name).events().any(|event| event.what == What::ToldEnd)
}

pub(super) fn odd_encoder(world: &mut World) {
    world.draw(super::mix("odd_encoder"), 15.s());
    world.run(15.s());
}

pub(super) fn endless_gop(world: &mut World) {
    world.set("rtmp.message_len_max=524288");
    world.set("hub.ring_bytes_max=1048576");
    world.publisher("studio", "obs-720p30-cbr2500").comes(100.ms()).quirk(Quirk::KeyframeEvery(0));
    world.viewers("before", 2, Play::Rtmp).comes(1.s());
    world.viewers("after", 2, Play::Flv).comes(10.s());
    world.viewer("slow", Play::Rtmp).comes(1.s()).link(Link::dsl());
    world.run(20.s());
    assert!(world.log("before").pictures() > 500, "a picture at once, and on and on");
    assert_eq!(world.log("after").pictures(), 0, "its GOP is forgotten: sound until a keyframe");
}

/// An encoder that has run for hours or weeks when it begins to publish, and whose keyframes need
/// two chunks on every connection.
pub(super) fn old_clock(world: &mut World) {
    let mut random = world.random("old_clock");
    let starts = [0xFF_F000, 0x100_0000, 0x7FFF_F000, 0xFFFF_F000][random.usize(..4)];
    let captures = ["obs-360p30-base", "obs-360p30-zerolat", "enh-hevc-aac"];
    world
        .publisher("studio", captures[random.usize(..captures.len())])
        .comes(100.ms())
        .quirk(Quirk::StartsAt(starts))
        .quirk(Quirk::ChunkSize(65_536))
        .quirk(Quirk::Huge { len: random.u32(70_000..130_000), every: 1 });
    world.viewers("sofa", 2, Play::Rtmp).comes(1.s());
    world.viewer("desk", Play::Flv).comes(1.s());
    world.viewer("other", Play::Rml).comes(5.s());
    world.run(12.s());
}

/// An encoder whose clock is set ahead while it runs: nobody has more to catch up with by that.
pub(super) fn jumping_clock(world: &mut World) {
    let mut random = world.random("jumping_clock");
    let (at_tag, by_ms) = (random.u32(150..350), random.i32(5_500..9_500));
    world
        .publisher("studio", "obs-360p30-base")
        .comes(100.ms())
        .quirk(Quirk::Jumps { at_tag, by_ms });
    world.viewers("sofa", 2, Play::Rtmp).comes(1.s()).link(Link::fiber());
    world.viewers("desk", 2, Play::Flv).comes(1.s()).link(Link::dsl());
    world.run(10.s());
    for name in ["sofa", "desk"] {
        assert!(world.log(name).pictures() > 200, "the pictures go on");
    }
}

/// A stream that is over with its first picture. Guests who want nothing until it is under way are
/// given what is left of it, behind what was said of it.
pub(super) fn last_words(world: &mut World) {
    let mut random = world.random("last_words");
    let mut link = Link::dsl();
    link.up.capacity = Capacity::Constant(random.u64(3_000_000..8_000_000));
    world.set("hub.grace_ms=0");
    for guest in ["guest", "other", "third"] {
        world.viewer(guest, Play::Rtmp).comes(10.ms());
        world.at(300.ms()).receive(guest, Receive::Pause);
        let back = random.u64(10..45).ms();
        world.when("studio", MomentKind::Tag, 1).plus(back).receive(guest, Receive::Resume);
    }
    let studio = world.publisher("studio", "obs-360p30-base");
    studio.comes(500.ms()).part(0.s(), 30.ms()).link(link);
    world.run(3.s());
}

/// Reads end inside every kind of chunk header, because they take a few bytes; messages of three
/// kinds are under way at once, and the chunk size changes between their chunks.
pub(super) fn cut_reads(world: &mut World) {
    let mut random = world.random("cut_reads");
    let mut link = Link::lan();
    link.up.segment = Some([2, 7, 30][random.usize(..3)]);
    let mut studio = world
        .publisher("studio", "obs-360p30-base")
        .comes(100.ms())
        .link(link)
        .quirk(Quirk::Interleaved)
        .quirk(Quirk::MetadataUpdates)
        .quirk(Quirk::StartsAt([0xFF_F000, 0x100_0000, 0xFFFF_F000][random.usize(..3)]));
    studio = match random.bool() {
        true => studio.quirk(Quirk::ChunkSizeChanges),
        false => studio.quirk(Quirk::ChunkSize(random.u32(40..200))),
    };
    if random.bool() {
        studio = studio.quirk(Quirk::NoExtendedOnType3);
    }
    if random.bool() {
        studio.quirk(Quirk::Window(random.u32(4_000..40_000)));
    }
    world.viewer("sofa", Play::Rtmp).comes(1.s());
    world.viewer("desk", Play::Flv).comes(1.s());
    world.run(8.s());
    assert!(world.log("sofa").pictures() > 100, "the pictures go on");
}

/// Sound alone, in blocks that outlive most of what is in them; a listener that is too slow.
pub(super) fn radio(world: &mut World) {
    let mut random = world.random("radio");
    world.set("receive.block_len=65536");
    world.set(&format!("hub.history_ms={}", random.u64(1_000..2_000)));
    world.set("play.backlog_ms_max=1500");
    world.set("play.unsent_len_max=4096");
    world.publisher("studio", "obs-360p30-base").comes(100.ms()).quirk(Quirk::NoVideo);
    world.viewers("sofa", 2, Play::Rtmp).comes(1.s());
    world.viewer("desk", Play::Flv).comes(1_500.ms());
    let mut link = Link::narrow(random.u64(20_000..70_000));
    (link.down.queue, link.window) = (8 << 10, 8 << 10);
    world.viewer("narrow", Play::Rtmp).comes(1.s()).link(link);
    world.run(25.s());
    for name in ["sofa", "desk"] {
        assert_eq!(world.log(name).lag(), 0, "{name} noticed");
    }
    assert!(world.log("narrow").lag() > 0, "its link is too narrow for sound");
}

/// A day, thinly: one sound in fifty, of the pictures the keyframes.
pub(super) fn long_day(world: &mut World) {
    world.tick(20.ms());
    world
        .publisher("studio", "obs-360p30-base")
        .comes(100.ms())
        .again(5.s())
        .quirk(Quirk::StartsAt(u32::MAX - 6 * 3_600_000))
        .quirk(Quirk::Thin(50));
    world.viewer("wall", Play::Rtmp).comes(1.s()).again(5.s());
    world.viewer("desk", Play::Flv).comes(2.s()).again(5.s());
    world.viewer("visitor", Play::Rtmp).comes(3.s()).stay(600.s()).again(1_800.s());
    world.run((24 * 3_600).s());
}
