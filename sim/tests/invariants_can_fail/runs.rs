//! 1.10 Lifecycle, 1.11 the simulator.

use forebay_sim::plan::Act;
use forebay_sim::trace::{Account, Close, Level, What};

use crate::story::{KEY, Story, stream};
use crate::{Case, case};

pub(crate) const CASES: &[Case] = &[
    case("L1", || stops(None), || stops(Some(8_000))),
    case("L1", || cuts(10, 2), || cuts(10_000, 2)),
    case("L2", || returns(9_500), || returns(1_000)),
    case("L4", || panics(false), || panics(true)),
    case("L5", || talks(9), || talks(8)),
    case("L6", || counts(40), || counts(0)),
    case("L7", || refuses(""), || refuses("live/a has 5 subscribers, which is the limit")),
    case("D4", || complains(false), || complains(true)),
    case("D7", || physics(true), || physics(false)),
];

fn stops(after_ms: Option<u64>) -> Story {
    let mut story = Story::new(10).and_then(40);
    story.push(10_200, "a", What::Stopping);
    let viewer = story.watch("sofa", 3_000);
    if let Some(ms) = after_ms {
        viewer.ends.push(10_250);
        viewer.closed = Some((10_260, Close::Eof));
        story.push(10_200 + ms, "a", What::Stopped { cut: 0 });
    }
    story.closes.push((1, 10_210, Close::Eof));
    story
}

/// A node stops so long after it was told to, without having waited for these connections.
fn cuts(after_ms: u64, cut: u64) -> Story {
    let mut story = Story::new(10).and_then(40);
    story.push(10_200, "a", What::Stopping);
    story.push(10_200 + after_ms, "a", What::Stopped { cut });
    story.closes.push((1, 10_210, Close::Eof));
    story
}

/// The node dies and is back a second later; the publisher's first tag enters so late.
fn returns(late_ms: u64) -> Story {
    let mut story = Story::new(5);
    story.closes.push((1, 5_210, Close::Reset));
    story.push(5_205, "a", What::Crashed);
    story.push(6_200, "a", What::Started);
    let mut again = stream(10, 8_000, 1, 500_000);
    again.iter_mut().for_each(|tag| tag.entered_ms = tag.entered_ms.max(7_900 + late_ms));
    // The node counts from one again; the publisher's second connection is written by hand.
    story.dial("studio", 7_900);
    story.push(7_910, "studio", What::Publishing { key: KEY.into() });
    story.tags.extend(again);
    story.end_ms = 19_000;
    for (number, tag) in story.tags.split_off(103).into_iter().enumerate() {
        let (key, number) = (KEY.into(), number as u64);
        story.push(tag.sent_ms, "studio", What::Sent(tag.sent.expect("it is sent")));
        let tag_seen = tag.entered.expect("it enters");
        let what = What::Entered { key, session: 1, number, tag: tag_seen };
        story.push(tag.entered_ms, "a", what);
    }
    story
}

fn panics(injected: bool) -> Story {
    let mut story = Story::new(3);
    story.push(1_000, "a", What::Panicked { why: "ring.rs:1: empty".into(), injected });
    story
}

fn talks(lines: u64) -> Story {
    let mut story = Story::new(20);
    story.bad_neighbour("thief", 500);
    story.push(19_000, "thief", What::Closed(Close::Left));
    for line in 0..lines {
        let text = format!("connection closed peer=10.0.0.7:{} error=\"at {line}\"", 5_000).into();
        story.push(1_000 + line * 1_500, "a", What::Log { level: Level::Warn, text });
    }
    story
}

/// The stream ends and everything was read; the account is off by so much.
fn counts(wrong: u64) -> Story {
    let mut story = Story::new(6).and_then(3);
    story.closes.push((1, 6_250, Close::Left));
    story.push(6_260, "a", What::Over { key: KEY.into() });
    let viewer = story.watch("sofa", 3_000);
    let delivered = viewer.got.len() as u64 - 3;
    viewer.ends = vec![6_300];
    viewer.closed = Some((6_310, Close::Eof));
    let (published, delivered) = (delivered + wrong, delivered + wrong);
    viewer.account = Some((6_305, Account { published, delivered, lag: 0, unsent: 0 }));
    story
}

fn refuses(words: &str) -> Story {
    let mut story = Story::new(6);
    story.bad_neighbour("sixth", 1_000);
    let (code, words) = ("NetStream.Play.Failed".into(), words.into());
    story.push(1_020, "sixth", What::ToldError { code, words });
    story.push(1_030, "sixth", What::Closed(Close::Left));
    story
}

fn complains(has_reason: bool) -> Story {
    let mut story = Story::new(6);
    story.watch("sofa", 3_000);
    story.push(3_500, "a", What::Log { level: Level::Error, text: "oh".into() });
    if has_reason {
        story.line("sofa", Act::Reset);
    }
    story
}

fn physics(broken: bool) -> Story {
    let mut story = Story::new(3);
    if broken {
        story.push(1_000, "a", What::Unphysical { why: "9 bytes where 8 fit".into() });
    }
    story
}
