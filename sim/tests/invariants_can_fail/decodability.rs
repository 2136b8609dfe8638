//! 1.2 Decodability.

use forebay_sim::plan::Start;
use forebay_sim::tag::{Kind, Role};
use forebay_sim::trace::{LagCause, What};

use crate::story::{Story, audio_header, metadata, video_header};
use crate::{Case, case};

pub(crate) const CASES: &[Case] = &[
    case("G1", no_keyframe_first, waits_for_a_keyframe_with_sound),
    case("G2", reference_missing, disposables_missing),
    case("G3", sound_missing_inside, disposables_missing),
    case("G4", no_header, stream_without_header_at_first),
    case("G5", || header_changed_in_gap(false), || header_changed_in_gap(true)),
    case("G6", leading_after_entry, leading_in_passing),
    case("G7", starts_a_gop_early, keyframe_while_it_joins),
    case("G8", || ring(101), || ring(100)),
    case("G9", || radio(3_000), || radio(100)),
    case("G10", || metadata_updated(2_000), || metadata_updated(77)),
];

fn no_keyframe_first() -> Story {
    let mut story = Story::new(8);
    let viewer = story.watch("sofa", 5_000);
    let keyframe = viewer.index(4_000, Kind::Video);
    viewer.got.remove(keyframe);
    story
}

/// It joins live: sound at once, pictures from the next keyframe on.
fn waits_for_a_keyframe_with_sound() -> Story {
    let mut story = Story::new(8);
    let first = story.place(4_850, Kind::Audio);
    let viewer = story.watch_from("sofa", 5_000, first);
    viewer.start = Some(Start::Live);
    let until = viewer.index(6_000, Kind::Video);
    let is_early = |index: usize, got: &(u64, _)| index < until && is_picture(got);
    let lost: Vec<_> = (0..until).filter(|i| is_early(*i, &viewer.got[*i])).collect();
    let bytes = lost.iter().map(|index| u64::from(viewer.got[*index].1.len)).sum();
    for index in lost.iter().rev() {
        viewer.got.remove(*index);
    }
    viewer.lags.push((6_215, LagCause::NoKeyframe, lost.len() as u64, bytes));
    story
}

fn is_picture(got: &(u64, forebay_sim::tag::TagSeen)) -> bool {
    got.1.role.is_picture()
}

fn reference_missing() -> Story {
    let mut story = Story::new(8);
    let viewer = story.watch("sofa", 2_500);
    let lost = viewer.index(4_500, Kind::Video);
    viewer.lose(lost, lost + 1, 4_600, LagCause::Disposable);
    story
}

/// A viewer is about to be too slow, and loses only what no other picture needs.
fn disposables_missing() -> Story {
    let mut story = Story::new(12);
    let viewer = story.watch("sofa", 2_500);
    viewer.deaf(4_000, 7_000);
    for ms in [6_600, 6_400, 6_200] {
        let lost = viewer.index(ms, Kind::Video);
        assert_eq!(viewer.got[lost].1.role, Role::Disposable);
        viewer.lose(lost, lost + 1, 6_990, LagCause::Disposable);
    }
    story
}

fn sound_missing_inside() -> Story {
    let mut story = Story::new(8);
    let viewer = story.watch("sofa", 2_500);
    let lost = viewer.index(4_550, Kind::Audio);
    viewer.lose(lost, lost + 1, 4_600, LagCause::Overflow);
    story
}

fn no_header() -> Story {
    let mut story = Story::new(8);
    let viewer = story.watch("sofa", 2_500);
    viewer.got.retain(|got| (got.1.role, got.1.kind) != (Role::Header, Kind::Video));
    story
}

/// The encoder sends the header of its sound late: what was sent before it has none to come after.
fn stream_without_header_at_first() -> Story {
    let mut story = Story::new(8);
    let header = story.tags.remove(2);
    story.tags.insert(8, header);
    let at = story.tags[7];
    (story.tags[8].sent_ms, story.tags[8].entered_ms) = (at.sent_ms, at.entered_ms);
    story.watch_from("sofa", 230, 0);
    story
}

/// The header of the pictures changes while a viewer is in a tunnel.
fn header_changed_in_gap(is_told: bool) -> Story {
    let mut story = Story::new(16);
    let at = story.place(6_000, Kind::Video);
    let mut changed = story.tags[at];
    for tag in [&mut changed.sent, &mut changed.entered].into_iter().flatten() {
        *tag = forebay_sim::tag::TagSeen { timestamp_ms: 5_999, ..video_header(66) };
    }
    story.tags.insert(at, changed);
    story.watch("sofa", 2_500);
    story.tunnel(4_300, 10_300);
    if is_told {
        let viewer = story.viewer();
        let resumed = viewer.index(10_000, Kind::Video);
        let header = forebay_sim::tag::TagSeen { timestamp_ms: 10_000, ..video_header(66) };
        viewer.got.insert(resumed, (10_305, header));
    }
    story
}

fn leading(gop_ms: u32) -> Story {
    let mut story = Story::new(8);
    let leading = story.place(gop_ms + 200, Kind::Video);
    story.leading.insert(story.entered(leading).digest);
    story.watch("sofa", 2_500);
    story
}

fn leading_after_entry() -> Story {
    leading(2_000)
}

fn leading_in_passing() -> Story {
    leading(4_000)
}

fn starts_a_gop_early() -> Story {
    let mut story = Story::new(8);
    let early = story.place(2_000, Kind::Video);
    story.watch_from("sofa", 5_000, early);
    story
}

/// The next keyframe enters after it connected and before it is told that it plays.
fn keyframe_while_it_joins() -> Story {
    let mut story = Story::new(8);
    let next = story.place(4_000, Kind::Video);
    story.watch_from("sofa", 4_200, next);
    story
}

fn ring(value: u64) -> Story {
    let mut story = Story::new(3);
    story.push(1_000, "a", What::Gauge { name: "ring_pinned_bytes", value, bound: 100 });
    story
}

fn radio(wait_ms: u64) -> Story {
    let mut story = Story::new(10);
    story.tags.retain(|tag| tag.entered.is_some_and(|tag| tag.kind != Kind::Video));
    let first = story.place(4_050, Kind::Audio);
    let viewer = story.watch_from("sofa", 5_000, first);
    viewer.got.iter_mut().for_each(|got| got.0 = got.0.max(5_000 + wait_ms));
    story
}

/// Metadata changes to 77; a joiner is told this.
fn metadata_updated(told: u64) -> Story {
    let mut story = Story::new(10);
    let at = story.place(3_050, Kind::Audio);
    let mut changed = story.tags[at];
    for tag in [&mut changed.sent, &mut changed.entered].into_iter().flatten() {
        *tag = forebay_sim::tag::TagSeen { timestamp_ms: 3_050, ..metadata(77) };
    }
    story.tags.insert(at, changed);
    let viewer = story.watch("sofa", 5_000);
    assert_eq!(viewer.got[0].1.role, Role::Script);
    let digest = if told == 77 { 77 } else { 1_000 };
    viewer.got[0].1 = metadata(digest);
    assert_eq!(viewer.got[1].1.digest, audio_header(1_002).digest);
    story
}
