//! 1.3 Fan-out: how fast, how fair, and until when.

use std::time::Duration;

use forebay_sim::plan::{Act, Start};
use forebay_sim::tag::Kind;
use forebay_sim::trace::{Account, Close, What, Who};

use crate::story::{KEY, Story};
use crate::{Case, case};

pub(crate) const CASES: &[Case] = &[
    case("H10", || ended(true), || ended(false)),
    case("H10", || left_alone(None), || left_alone(Some(8_000))),
    case("H11", || stuck(None), || stuck(Some(120_000))),
    Case { id: "H14", bad: || saturated(2), near: || saturated(0), is_lonely: true },
    case("H15", || heals(false), || heals(true)),
    case("H15", || comes_back(47_000), || comes_back(33_000)),
    case("H16", || waits_for_picture(2_000), || waits_for_picture(100)),
    case("H17", || late_tag(1_500), || late_tag(100)),
];

/// The stream ends, and the viewer is told twice; with a tag in between, or not.
fn ended(with_tag: bool) -> Story {
    let mut story = Story::new(6).and_then(3);
    story.closes.push((1, 6_250, Close::Left));
    story.push(6_260, "a", What::Over { key: KEY.into() });
    let viewer = story.watch("sofa", 3_000);
    viewer.ends = vec![6_300, 6_301];
    if with_tag {
        viewer.got.last_mut().expect("it got tags").0 = 6_301;
        viewer.ends[1] = 6_305;
    }
    story
}

/// The stream ends, the node is done with a viewer, and does not say so until it hangs up.
fn left_alone(closed_ms: Option<u64>) -> Story {
    let mut story = Story::new(6).and_then(12);
    story.closes.push((1, 6_250, Close::Left));
    story.push(6_260, "a", What::Over { key: KEY.into() });
    let viewer = story.watch("sofa", 3_000);
    let delivered = viewer.got.len() as u64 - 3;
    let account = Account { published: delivered, delivered, lag: 0, unsent: 0 };
    viewer.account = Some((6_305, account));
    viewer.closed = closed_ms.map(|ms| (ms, Close::Eof));
    story
}

/// A viewer reads nothing any more from the third second on.
fn stuck(released_ms: Option<u64>) -> Story {
    let mut story = Story::new(170);
    story.limits.write_stall = Duration::from_secs(5);
    let viewer = story.watch("sofa", 2_500);
    viewer.reads.push((3_000, false));
    viewer.got.retain(|got| got.0 <= 3_000);
    let delivered = viewer.got.len() as u64 - 3;
    let account = Account { published: 2_356, delivered, lag: 0, unsent: 2_356 - delivered };
    viewer.account = released_ms.map(|at| (at, account));
    viewer.closed = released_ms.map(|at| (at + 5, Close::Reset));
    story
}

/// Four equal viewers of a node that may send half of what they ask for; one gets less by so many
/// of each four tags.
fn saturated(less: usize) -> Story {
    let mut story = Story::new(25);
    story.line("a", Act::Egress(4 * 8 * 24_000, None));
    for name in ["n", "e", "s", "w"] {
        let viewer = story.watch(name, 2_500);
        let every = if name == "n" { 2 + less } else { 2 };
        let mut index = 0;
        viewer.got.retain(|_| {
            index += 1;
            index % every == 0
        });
        // All tags as one: 24 kB a second is then what each may have.
        let len = 2_388;
        viewer.got.iter_mut().for_each(|got| got.1.len = len);
    }
    story
}

/// A viewer lags in a tunnel, which has ended when the quiet phase begins.
fn heals(does: bool) -> Story {
    let mut story = Story::new(40);
    story.watch("sofa", 2_500);
    story.tunnel(4_300, 10_300);
    story.push(20_200, "world", What::Quiet);
    if !does {
        let late = story.viewer().got.iter_mut().filter(|got| got.0 > 11_000);
        late.for_each(|got| got.0 += 6_000);
    }
    story
}

/// Cut off for 12 s until all is quiet: the next retransmission comes as long after that at most.
fn comes_back(at_ms: u64) -> Story {
    let mut story = Story::new(60);
    story.watch("sofa", 2_500);
    story.tunnel(4_300, 10_300);
    let line = || "cut for 12.000".into();
    story.push(11_000, "sofa", What::FaultBegins { family: "N10", line: line() });
    story.push(23_000, "sofa", What::FaultEnds { family: "N10", line: line() });
    story.push(23_000, "world", What::Quiet);
    let late = story.viewer().got.iter_mut().filter(|got| got.0 > 11_000);
    late.for_each(|got| got.0 = got.0.max(at_ms));
    story
}

fn waits_for_picture(wait_ms: u64) -> Story {
    let mut story = Story::new(10);
    let viewer = story.watch("sofa", 5_000);
    viewer.got.iter_mut().for_each(|got| got.0 = got.0.max(5_000 + wait_ms));
    assert_eq!(viewer.start, None::<Start>);
    story
}

fn late_tag(late_ms: u64) -> Story {
    let mut story = Story::new(10);
    assert_eq!(Who::WORLD, Who(0));
    let viewer = story.watch("sofa", 2_500);
    let late = viewer.index(6_000, Kind::Video);
    let until = viewer.got[late].0 + late_ms;
    viewer.got[late..].iter_mut().for_each(|got| got.0 = got.0.max(until));
    story
}
