//! Relays, and what is done to their targets.

use crate::link::Link;
use crate::plan::Leave;
use crate::world::{Play, Units as _, World};

/// One target is left alone, two are not; nobody at home may notice.
pub(super) fn relay_flaps(world: &mut World) {
    for bound in ["backoff_ms_min=300", "backoff_ms_max=3000", "stable_ms=2000"] {
        world.set(&format!("relays.{bound}"));
    }
    // Over a satellite it takes five times 600 ms.
    world.set("relays.connect_timeout_ms=4000");
    world.set("relays.write_stall_timeout_ms=3000");
    world.publisher("studio", "obs-360p30-base").comes(100.ms());
    world.viewers("sofa", 2, Play::Rtmp).link(Link::fiber()).comes(1.s());
    world.target("steady").link(Link::fiber());
    world.draw_targets(2, 25.s());
    world.quiet(25.s());
    // Long enough for whoever is patient, and then the stream is over.
    world.at(58.s()).leave("studio", Leave::Goodbye);
    world.run(70.s());
    assert_eq!(world.log("sofa").lag(), 0);
}
