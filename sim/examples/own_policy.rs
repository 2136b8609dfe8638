//! Does a policy of one's own keep its promise? Here: whoever falls two seconds behind is let go,
//! and comes back at once. Run with `cargo run -p forebay-sim --example own_policy`.

use forebay_sim::plan::MomentKind;
use forebay_sim::{Link, Play, Units as _, World};

fn main() {
    for seed in 0..5 {
        let mut world = World::new("own_policy", seed);
        world.set("play.overflow=\"disconnect\"");
        world.set("play.backlog_ms_max=2000");
        world.publisher("studio", "obs-720p30-cbr2500");
        world.viewers("sofa", 2, Play::Rtmp).link(Link::fiber());
        world.viewer("phone", Play::Rtmp).comes(1.s()).again(200.ms());
        world.when("studio", MomentKind::Keyframe, 2).cut("phone", 6.s());
        world.quiet(12.s());
        world.run(25.s());

        let phone = world.log("phone");
        assert_eq!(world.log("sofa").lag(), 0, "seed {seed}: others noticed");
        assert!(phone.longest_gap() < 15.s(), "seed {seed}: it did not come back");
        println!("seed {seed}: the phone saw {} pictures", phone.pictures());
    }
}
