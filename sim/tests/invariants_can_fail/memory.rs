//! 1.4 Memory, and what churn leaves.

use forebay_sim::trace::What;

use crate::story::Story;
use crate::{Case, case};

pub(crate) const CASES: &[Case] = &[
    case("H18", || left(None), || left(Some(1_000))),
    case("M1", || gauge("retained_bytes", 101), || gauge("retained_bytes", 100)),
    case("M2", || gauge("pool_held_blocks", 101), || gauge("pool_held_blocks", 100)),
    case("M3", other_bytes, same_bytes),
    case("M5", || gauge("pinned_bytes", 101), || gauge("pinned_bytes", 100)),
    case("M6", || empty_pool(None), || empty_pool(Some(3_000))),
];

fn gauge(name: &'static str, value: u64) -> Story {
    let mut story = Story::new(3);
    story.push(1_000, "a", What::Gauge { name, value, bound: 100 });
    story
}

/// A viewer leaves, and its node notices so much later.
fn left(noticed_ms: Option<u64>) -> Story {
    let mut story = Story::new(30);
    let viewer = story.watch("sofa", 2_500);
    viewer.leaves(6_000);
    let (at, account) = viewer.account.take().expect("it has left");
    let account =
        forebay_sim::trace::Account { published: account.published + 21, unsent: 21, ..account };
    viewer.account = noticed_ms.map(|ms| (at + ms - 5, account));
    story
}

fn other_bytes() -> Story {
    let mut story = same_bytes();
    story.viewer().got[60].1.digest = 0x5e5e_5e5e;
    story
}

fn same_bytes() -> Story {
    let mut story = Story::new(8);
    story.watch("sofa", 2_500);
    story
}

/// The pool is empty from the fifth second on, and nothing enters for so long, or any more.
fn empty_pool(for_ms: Option<u64>) -> Story {
    let mut story = Story::new(16);
    story.push(5_000, "a", What::Goal("pool_at_limit"));
    for tag in story.tags.iter_mut().filter(|tag| tag.entered_ms > 5_000) {
        match for_ms {
            Some(ms) => tag.entered_ms = tag.entered_ms.max(5_000 + ms),
            None => tag.entered = None,
        }
    }
    story
}
