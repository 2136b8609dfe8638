//! 1.3 Fan-out: what is delivered.

use forebay_sim::tag::Kind;
use forebay_sim::tag::{Role, TagSeen};
use forebay_sim::trace::{Account, Close, LagCause};

use crate::story::{Story, stream, video_header};
use crate::{Case, case};

pub(crate) const CASES: &[Case] = &[
    case("H1", out_of_order, sound_and_picture_of_one_time),
    case("H2", twice, header_again_after_a_gap),
    case("H3", time_changed, headers_at_zero),
    case("H4", || account(3), || account(0)),
    case("H5", seam, seen_by_the_joiner_first),
    case("H6", || told_of_gap(-1), || told_of_gap(0)),
    case("H7", loss_without_need, || told_of_gap(0)),
    case("H8", out_of_order, encoder_steps_back),
    case("H8", || returns_at(0), || returns_at(7_802)),
    case("H9", || early_sound(1_000), || early_sound(300)),
    case("H12", loss_without_need, || told_of_gap(0)),
    case("H19", old_session_returns, || republished(true)),
];

fn watched() -> Story {
    let mut story = Story::new(8);
    story.watch("sofa", 2_500);
    story
}

fn out_of_order() -> Story {
    let mut story = watched();
    let viewer = story.viewer();
    let (a, b) = (viewer.index(5_000, Kind::Video), viewer.index(5_100, Kind::Video));
    let (first, second) = (viewer.got[a].1, viewer.got[b].1);
    (viewer.got[a].1, viewer.got[b].1) = (second, first);
    story
}

fn sound_and_picture_of_one_time() -> Story {
    let mut story = Story::new(8);
    for tag in story.tags.iter_mut().flat_map(|tag| [&mut tag.sent, &mut tag.entered]).flatten() {
        tag.timestamp_ms -= if tag.role == Role::Sound { 50 } else { 0 };
    }
    story.watch("sofa", 2_500);
    story
}

fn twice() -> Story {
    let mut story = watched();
    let viewer = story.viewer();
    let again = viewer.got[60];
    viewer.got.insert(61, again);
    story
}

/// Also with the time of a published one.
fn header_again_after_a_gap() -> Story {
    let mut story = told_of_gap(0);
    let viewer = story.viewer();
    let resumed = viewer.index(10_000, Kind::Video);
    let header = TagSeen { timestamp_ms: 10_000, ..video_header(1_001) };
    viewer.got.insert(resumed, (10_305, header));
    story
}

fn time_changed() -> Story {
    let mut story = watched();
    story.viewer().got[60].1.timestamp_ms += 1;
    story
}

/// HTTP-FLV begins at zero.
fn headers_at_zero() -> Story {
    let mut story = watched();
    story.viewer().got[..3].iter_mut().for_each(|got| got.1.timestamp_ms = 0);
    story
}

fn account(wrong: u64) -> Story {
    let mut story = watched();
    story.viewer().leaves(6_000);
    let (_, Account { published, unsent, .. }) =
        story.viewer().account.as_mut().expect("it has left");
    (*published, *unsent) = (*published + 2 + wrong, 2);
    story.and_then(12)
}

fn seam() -> Story {
    let mut story = watched();
    let viewer = story.viewer();
    let joined = viewer.got.iter().rposition(|got| got.0 == 2_520).expect("a snapshot");
    drop(viewer.got.drain(joined - 3..joined + 2));
    story
}

/// A joiner sees what is pushed at once, everybody else with the next flush.
fn seen_by_the_joiner_first() -> Story {
    let mut story = watched();
    let place = story.place(2_300, Kind::Video);
    story.tags[place].entered_ms = 2_545;
    story.tags[place + 1].entered_ms = 2_560;
    story
}

/// A tunnel of six seconds, and a lag that tells of so many more tags.
fn told_of_gap(wrong: i64) -> Story {
    let mut story = Story::new(14);
    story.watch("sofa", 2_500);
    story.tunnel(4_300, 10_300);
    let lag = &mut story.viewer().lags[0];
    lag.2 = lag.2.strict_add_signed(wrong);
    story
}

fn loss_without_need() -> Story {
    let mut story = watched();
    let viewer = story.viewer();
    let (from, to) = (viewer.index(5_500, Kind::Video), viewer.index(6_000, Kind::Video));
    viewer.lose(from, to, 6_205, LagCause::Overflow);
    story
}

fn encoder_steps_back() -> Story {
    let mut story = Story::new(8);
    for tag in story.tags.iter_mut().skip(80).flat_map(|t| [&mut t.sent, &mut t.entered]).flatten()
    {
        tag.timestamp_ms -= 1_000;
    }
    story.watch("sofa", 2_500);
    story
}

/// After a gap sound comes so long before the picture.
fn early_sound(ms: u32) -> Story {
    let mut story = told_of_gap(0);
    let from = story.place(10_000 - ms + 50, Kind::Audio);
    let to = story.place(10_000, Kind::Video);
    let tags: Vec<_> = (from..to).map(|place| story.entered(place)).collect();
    let viewer = story.viewer();
    let resumed = viewer.index(10_000, Kind::Video);
    for (index, tag) in tags.into_iter().filter(|tag| tag.role == Role::Sound).enumerate() {
        viewer.got.insert(resumed + index, (10_305, tag));
        let lag = &mut viewer.lags[0];
        (lag.2, lag.3) = (lag.2 - 1, lag.3 - u64::from(tag.len));
    }
    story
}

/// The publisher returns as another encoder, at this time of the stream; a viewer stays.
fn returns_at(ms: u32) -> Story {
    let mut story = Story::new(6);
    story.closes.push((1, 6_250, Close::Vanished));
    let mut again = stream(6, 8_000, 2, 500_000);
    for tag in &mut again {
        tag.entered.as_mut().expect("it enters").timestamp_ms += ms;
    }
    story.tags.extend(again);
    story.end_ms = 14_500;
    story.watch("sofa", 3_000);
    story
}

fn republished(with_headers: bool) -> Story {
    let mut story = returns_at(7_802);
    if !with_headers {
        story.viewer().got.retain(|got| got.1.digest != 500_001);
    }
    story
}

fn old_session_returns() -> Story {
    let mut story = republished(true);
    let viewer = story.viewer();
    let old = viewer.got[60].1;
    let len = viewer.got.len();
    viewer.got.insert(len - 10, (viewer.got[len - 10].0, old));
    assert!(republished(false).violations().iter().any(|(id, _)| *id == "H19"));
    story
}
