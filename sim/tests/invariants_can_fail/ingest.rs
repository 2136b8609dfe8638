//! 1.1 Ingest.

use forebay_sim::plan::Quirk;
use forebay_sim::tag::{Kind, Role};
use forebay_sim::trace::{Close, What};

use crate::story::{KEY, OnWay, Story, stream, tag};
use crate::{Case, case};

pub(crate) const CASES: &[Case] = &[
    case("I1", changed_tag, tail_that_never_arrived),
    case("I1", || turned_out(6_500), || turned_out(27_000)),
    case("I1", || closed_while_publishing(Close::Eof), || closed_while_publishing(Close::Left)),
    case("I3", time_off_by_one, second_session_with_shifted_time),
    case("I7", || gauge(101), || gauge(100)),
    case("I8", || mute_peer(None), || mute_peer(Some(20_000))),
    case("I9", || window(5_000), || window(1_500)),
    case("I9", || window_for_good(5_000), || window_for_good(1_500)),
    case("I10", || intruder(true), || intruder(false)),
    case("I10", || told_that_it_is_taken("studio"), || told_that_it_is_taken("thief")),
    case("I11", || frozen(None), || frozen(Some(36_000))),
];

fn changed_tag() -> Story {
    let mut story = Story::new(10);
    story.tags[30].entered.as_mut().expect("it enters").digest += 1_000_000;
    story
}

/// The publisher's network dies: what was sent last is lost, and nobody is to blame.
fn tail_that_never_arrived() -> Story {
    let mut story = Story::new(10);
    let len = story.tags.len();
    story.tags[len - 5..].iter_mut().for_each(|tag| tag.entered = None);
    story.closes.push((1, 10_300, Close::Vanished));
    story.and_then(2)
}

/// The publisher falls silent after six seconds, and is told that it is turned out then.
fn turned_out(told_ms: u64) -> Story {
    let mut story = Story::new(30);
    story.tags.retain(|tag| tag.sent_ms < 6_000);
    let (code, words) = ("NetStream.Failed".into(), "media did not come within 20s".into());
    story.push(told_ms, "studio", What::ToldError { code, words });
    story.closes.push((1, told_ms + 100, Close::Eof));
    story
}

/// The connection ends in the middle of the stream, without a word.
fn closed_while_publishing(how: Close) -> Story {
    let mut story = Story::new(12);
    story.tags.retain(|tag| tag.sent_ms < 6_000);
    story.closes.push((1, 6_050, how));
    story
}

fn time_off_by_one() -> Story {
    let mut story = Story::new(10);
    story.tags[30].entered.as_mut().expect("it enters").timestamp_ms += 1;
    story
}

/// The publisher returns and counts from zero again; the viewers' time goes on, headers that come
/// before the first picture included, which are not shifted by the same.
fn second_session_with_shifted_time() -> Story {
    let mut story = Story::new(6);
    story.closes.push((1, 6_250, Close::Vanished));
    let mut again = stream(6, 8_000, 2, 500_000);
    for (index, tag) in again.iter_mut().enumerate() {
        let entered = tag.entered.as_mut().expect("it enters");
        entered.timestamp_ms += if index < 3 { 7_700 } else { 7_802 };
    }
    story.tags.extend(again);
    story.end_ms = 14_500;
    story.watch("sofa", 3_000);
    story
}

fn gauge(value: u64) -> Story {
    let mut story = Story::new(3);
    story.push(1_000, "a", What::Gauge { name: "connection_buffered_bytes", value, bound: 100 });
    story
}

fn mute_peer(closed_ms: Option<u64>) -> Story {
    let mut story = Story::new(60);
    story.bad_neighbour("mute", 1_000);
    if let Some(at) = closed_ms {
        story.push(at, "mute", What::Closed(Close::Eof));
    }
    story
}

/// The publisher stops in the middle for so long, and time in the stream does not.
fn window(stall_ms: u64) -> Story {
    let mut story = Story::new(10);
    story.quirks.push(Quirk::Window(100_000));
    let shift = |tag: &mut OnWay| {
        tag.sent_ms += stall_ms;
        tag.entered_ms += stall_ms;
    };
    story.tags[100..].iter_mut().for_each(shift);
    story.end_ms += stall_ms;
    story
}

/// The publisher stops so long before the end, and does not go on.
fn window_for_good(before_end_ms: u64) -> Story {
    let mut story = Story::new(10);
    story.quirks.push(Quirk::Window(100_000));
    let last = story.end_ms - before_end_ms;
    story.tags.retain(|tag| tag.sent_ms < last);
    story
}

/// Two want a name that cannot be taken over, and one of them is told that it is in use.
fn told_that_it_is_taken(who: &'static str) -> Story {
    let mut story = Story::new(10);
    story.limits.takeover = false;
    story.bad_neighbour("thief", 3_000);
    let (code, words) = ("NetStream.Publish.BadName".into(), "in use".into());
    story.push(3_010, who, What::ToldError { code, words });
    story.push(3_500, "thief", What::Closed(Close::Eof));
    story
}

/// Somebody sends a tag without being allowed to publish.
fn intruder(enters: bool) -> Story {
    let mut story = Story::new(10);
    story.bad_neighbour("thief", 1_000);
    let stolen = tag(Kind::Video, Role::Keyframe, 3_000, 999, 77);
    let (code, words) = ("NetStream.Publish.BadName".into(), "in use".into());
    story.push(1_010, "thief", What::ToldError { code, words });
    story.push(3_000, "thief", What::Sent(stolen));
    story.push(3_500, "thief", What::Closed(Close::Eof));
    if enters {
        let (sent, entered) = (None, Some(stolen));
        let at = story.tags.partition_point(|tag| tag.entered_ms < 3_010);
        let stolen = OnWay { sent_ms: 0, sent, entered_ms: 3_010, entered, session: 1 };
        story.tags.insert(at, stolen);
    }
    story
}

/// The publisher says nothing any more after five seconds.
fn frozen(told_after_ms: Option<u64>) -> Story {
    let mut story = Story::new(5).and_then(60);
    let over = 5_200 + told_after_ms.unwrap_or(0);
    story.watch("sofa", 3_000);
    if told_after_ms.is_some() {
        story.viewer().ends.push(over);
        story.closes.push((1, 26_000, Close::Eof));
        story.push(over - 10, "a", What::Over { key: KEY.into() });
    }
    story
}
