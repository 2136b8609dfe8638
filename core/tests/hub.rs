//! The hub by hand: joins, lags, takeovers, and accounts that add up.
#![allow(missing_docs, clippy::unwrap_used, reason = "a test")]
#![allow(clippy::disallowed_methods, reason = "a clock to count from")]

use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::{Duration, Instant};

use bytes::Bytes;
use forebay::flv::{Tag, TagKind};
use forebay::hub::{
    Cause, Delivery, Hub, HubLimits, Next, Overflow, Policy, Publisher, Receive, RingLimits, Start,
};
use forebay::rtmp::chunk::{ChunkLimits, ChunkReader};
use forebay::time::Timestamp;
use forebay::wire_log::Protocol;

const KEY: &str = "live/test";

fn tag(kind: TagKind, ms: u32, payload: Vec<u8>) -> Tag {
    Tag { kind, timestamp: Timestamp::from_ms(ms), payload: payload.into() }
}

fn avc_header(n: u8) -> Tag {
    tag(TagKind::Video, 0, vec![0x17, 0, 0, 0, 0, 1, n])
}

fn keyframe(ms: u32, len: usize) -> Tag {
    let mut payload = vec![0x17, 1, 0, 0, 0];
    payload.resize(len.max(5), 0xEE);
    tag(TagKind::Video, ms, payload)
}

fn inter(ms: u32, len: usize) -> Tag {
    let mut payload = vec![0x27, 1, 0, 0, 0];
    payload.resize(len.max(5), 0xDD);
    tag(TagKind::Video, ms, payload)
}

fn audio_header() -> Tag {
    tag(TagKind::Audio, 0, vec![0xAF, 0, 0x12, 0x10])
}

fn audio(ms: u32) -> Tag {
    tag(TagKind::Audio, ms, vec![0xAF, 1, 1, 2, 3])
}

/// A stream of 25 frames a second with a keyframe every `gop` frames and audio behind each frame.
struct Studio {
    publisher: Publisher,
    now: Instant,
    frame: u32,
    gop: u32,
    frame_len: usize,
}

impl Studio {
    fn new(hub: &Hub, gop: u32, frame_len: usize) -> Self {
        let publisher = hub.publish(KEY.into(), "studio").unwrap();
        let mut studio = Self { publisher, now: Instant::now(), frame: 0, gop, frame_len };
        studio.push(audio_header());
        studio.push(avc_header(1));
        studio
    }

    fn push(&mut self, tag: Tag) {
        self.publisher.push(self.now, tag, 0).unwrap();
        self.publisher.flush(self.now);
    }

    fn frames(&mut self, count: u32) {
        for _ in 0..count {
            let ms = self.frame * 40;
            let picture = match self.frame % self.gop {
                0 => keyframe(ms, self.frame_len),
                _ => inter(ms, self.frame_len),
            };
            self.now += Duration::from_millis(40);
            self.push(picture);
            self.push(audio(ms));
            self.frame += 1;
        }
    }
}

fn drain(subscriber: &mut forebay::hub::Subscriber) -> Vec<Delivery> {
    std::iter::from_fn(|| subscriber.next_delivery()).collect()
}

fn is_keyframe(tag: &Tag) -> bool {
    tag.kind == TagKind::Video && tag.payload.first_chunk() == Some([0x17, 1])
}

fn is_inter(tag: &Tag) -> bool {
    tag.kind == TagKind::Video && tag.payload.get(0) == Some(0x27)
}

fn tags(deliveries: &[Delivery]) -> Vec<(Option<u64>, &Tag)> {
    deliveries
        .iter()
        .filter_map(|delivery| match delivery {
            Delivery::Tag { number, tag } => Some((*number, tag)),
            _ => None,
        })
        .collect()
}

/// Headers first, then a keyframe, then every tag of the stream.
fn assert_starts_decodable(deliveries: &[Delivery]) {
    let tags = tags(deliveries);
    let first_picture = tags.iter().position(|(_, tag)| is_keyframe(tag)).expect("a keyframe");
    assert!(
        !tags[..first_picture].iter().any(|(_, tag)| is_inter(tag)),
        "an inter frame came first"
    );
    let headers = &tags[..first_picture];
    assert!(
        headers.iter().any(|(_, tag)| tag.kind == TagKind::Video),
        "no video header before the keyframe"
    );
    assert!(
        headers.iter().any(|(_, tag)| tag.kind == TagKind::Audio),
        "no audio header before the keyframe"
    );
    let numbers: Vec<_> = tags[first_picture..].iter().filter_map(|(number, _)| *number).collect();
    assert!(numbers.windows(2).all(|pair| pair[1] == pair[0] + 1), "a hole: {numbers:?}");
}

#[test]
fn a_joiner_at_any_tag_starts_with_headers_and_a_keyframe_and_has_no_seam() {
    for at in 1..75 {
        let hub = Hub::new(HubLimits::default());
        let mut studio = Studio::new(&hub, 30, 100);
        studio.frames(at);
        let mut joiner =
            hub.subscribe(KEY.into(), Start::Gop, Policy::default(), "joiner").unwrap();
        let mut got = drain(&mut joiner);
        studio.frames(10);
        got.extend(drain(&mut joiner));
        assert_starts_decodable(&got);
        let counters = joiner.counters();
        assert!(counters.is_balanced(), "{counters:?}");
        assert_eq!((counters.overflow_tags(), counters.unsent_tags), (0, 0));
    }
}

#[test]
fn a_live_joiner_hears_at_once_and_sees_from_the_next_keyframe() {
    let hub = Hub::new(HubLimits::default());
    let mut studio = Studio::new(&hub, 30, 100);
    studio.frames(10);
    let mut joiner = hub.subscribe(KEY.into(), Start::Live, Policy::default(), "joiner").unwrap();
    studio.frames(40);
    let got = drain(&mut joiner);
    assert_starts_decodable(&got);
    let first = tags(&got).into_iter().find(|(number, _)| number.is_some()).unwrap().1;
    assert_eq!(*first, audio(400), "sound comes from the moment of joining");
    assert!(joiner.counters().is_balanced());
}

#[test]
fn an_auto_joiner_takes_a_young_gop_and_waits_past_an_old_one() {
    let hub = Hub::new(HubLimits::default());
    let mut studio = Studio::new(&hub, 100, 100);
    let start = Start::Auto { gop_ms_max: 1_000 };
    studio.frames(20);
    let mut young = hub.subscribe(KEY.into(), start, Policy::default(), "young").unwrap();
    assert!(tags(&drain(&mut young)).iter().any(|(_, tag)| is_keyframe(tag)));
    studio.frames(20);
    let mut old = hub.subscribe(KEY.into(), start, Policy::default(), "old").unwrap();
    assert!(
        !tags(&drain(&mut old))
            .iter()
            .any(|(_, tag)| tag.kind == TagKind::Video && !is_header(tag))
    );
}

fn is_header(tag: &Tag) -> bool {
    tag.payload.get(1) == Some(0)
}

#[test]
fn a_slow_subscriber_loses_its_own_tags_and_resumes_at_a_keyframe() {
    let hub = Hub::new(HubLimits::default());
    let mut studio = Studio::new(&hub, 30, 1000);
    let policy = Policy { backlog_ms_max: 2_000, ..Policy::default() };
    let mut slow = hub.subscribe(KEY.into(), Start::Gop, policy, "slow").unwrap();
    let mut healthy = hub.subscribe(KEY.into(), Start::Gop, policy, "healthy").unwrap();
    let mut got = Vec::new();
    let mut all = Vec::new();
    for round in 0..40 {
        studio.frames(10);
        all.extend(drain(&mut healthy));
        if round % 13 == 0 {
            got.extend(drain(&mut slow));
        }
    }
    let lags: Vec<_> = got
        .iter()
        .filter_map(|delivery| if let Delivery::Lag(lag) = delivery { Some(lag) } else { None })
        .collect();
    assert!(!lags.is_empty(), "it never lagged");
    for (index, delivery) in got.iter().enumerate() {
        if let Delivery::Lag(lag) = delivery {
            assert_eq!(lag.cause, Cause::Overflow);
            let Some(Delivery::Tag { tag, .. }) = got.get(index + 1) else {
                panic!("a lag, then {:?}", got.get(index + 1))
            };
            assert!(is_keyframe(tag), "resumed with {tag:?}");
        }
    }
    let told: u64 = lags.iter().map(|lag| lag.tags).sum();
    let counters = slow.counters();
    assert_eq!(counters.overflow_tags(), told);
    assert!(counters.is_balanced(), "{counters:?}");
    assert_eq!(healthy.counters().overflow_tags(), 0);
    let numbered = tags(&all).iter().filter(|(number, _)| number.is_some()).count();
    assert_eq!(numbered as u64, healthy.counters().delivered_tags);
}

#[test]
fn a_lag_over_a_header_change_is_followed_by_the_new_header() {
    let hub = Hub::new(HubLimits::default());
    let mut studio = Studio::new(&hub, 30, 100);
    let policy = Policy { backlog_ms_max: 500, ..Policy::default() };
    let mut slow = hub.subscribe(KEY.into(), Start::Gop, policy, "slow").unwrap();
    studio.frames(10);
    drain(&mut slow);
    studio.frames(20);
    studio.push(avc_header(2));
    studio.frames(32);
    let got = drain(&mut slow);
    let Delivery::Lag(_) = &got[0] else { panic!("{:?}", got[0]) };
    let tags = tags(&got);
    let header = tags
        .iter()
        .position(|(_, tag)| tag.payload == avc_header(2).payload)
        .expect("the new header");
    let picture = tags.iter().position(|(_, tag)| is_keyframe(tag)).expect("a keyframe");
    assert!(header < picture);
    assert!(
        tags[..picture].iter().all(|(number, _)| number.is_none()),
        "only headers before the keyframe"
    );
}

/// The header arrives while the subscriber waits for a keyframe with nothing to wait at.
#[test]
fn a_header_lost_in_a_lag_without_a_keyframe_is_given_before_the_next() {
    let hub = Hub::new(HubLimits::default());
    let mut studio = Studio::new(&hub, 1000, 100);
    let policy = Policy { backlog_ms_max: 500, ..Policy::default() };
    let mut slow = hub.subscribe(KEY.into(), Start::Gop, policy, "slow").unwrap();
    let mut viewer = hub.view(KEY.into(), Protocol::Flv, 1, Start::Gop, policy, "slow").unwrap();
    studio.frames(10);
    drain(&mut slow);
    let mut written = Vec::new();
    write_all(&mut viewer, usize::MAX, &mut written);
    studio.frames(20);
    studio.push(avc_header(2));
    assert!(tags(&drain(&mut slow)).is_empty());
    written.clear();
    write_all(&mut viewer, usize::MAX, &mut written);
    assert!(written.is_empty());
    studio.frame = 1000;
    studio.frames(3);
    let got = drain(&mut slow);
    assert_starts_decodable(&got);
    assert!(tags(&got).iter().any(|(_, tag)| tag.payload == avc_header(2).payload));
    write_all(&mut viewer, usize::MAX, &mut written);
    let read = read_flv(&written);
    assert!(read.iter().any(|(_, _, payload)| *payload == avc_header(2).payload), "{read:?}");
}

#[test]
fn no_joiner_gets_frames_of_two_headers() {
    let hub = Hub::new(HubLimits::default());
    let mut studio = Studio::new(&hub, 30, 100);
    studio.frames(10);
    studio.push(avc_header(2));
    studio.frames(5);
    let mut joiner = hub.subscribe(KEY.into(), Start::Gop, Policy::default(), "joiner").unwrap();
    studio.frames(30);
    let got = drain(&mut joiner);
    assert_starts_decodable(&got);
    assert!(
        !tags(&got).iter().any(|(_, tag)| tag.payload == avc_header(1).payload),
        "the old header"
    );
}

#[test]
fn a_repeated_header_changes_nothing() {
    let hub = Hub::new(HubLimits::default());
    let mut studio = Studio::new(&hub, 30, 100);
    studio.frames(10);
    studio.push(avc_header(1));
    studio.frames(5);
    let mut joiner = hub.subscribe(KEY.into(), Start::Gop, Policy::default(), "joiner").unwrap();
    let got = drain(&mut joiner);
    assert_eq!(
        tags(&got).iter().filter(|(_, tag)| is_keyframe(tag)).count(),
        1,
        "a picture at once"
    );
}

#[test]
fn sound_beside_pictures_that_nobody_can_decode_is_joined_as_sound_alone() {
    let hub = Hub::new(HubLimits::default());
    let mut publisher = hub.publish(KEY.into(), "studio").unwrap();
    let now = Instant::now();
    publisher.push(now, audio_header(), 0).unwrap();
    for ms in (0..10_000).step_by(40) {
        publisher.push(now, audio(ms), 0).unwrap();
        // Its sequence header never came.
        publisher.push(now, keyframe(ms, 10), 0).unwrap();
    }
    publisher.flush(now);
    let mut late = hub.subscribe(KEY.into(), Start::Gop, Policy::default(), "late").unwrap();
    let got = drain(&mut late);
    let first = tags(&got).into_iter().find(|(number, _)| number.is_some()).unwrap().1;
    let behind_ms = 9_960 - first.timestamp.as_ms();
    assert!(behind_ms <= HubLimits::default().audio_gop_ms as u32, "{behind_ms} ms late");
}

#[test]
fn what_nobody_can_decode_is_given_to_recorders_only() {
    let hub = Hub::new(HubLimits::default());
    let mut early = hub.subscribe(KEY.into(), Start::Gop, Policy::default(), "early").unwrap();
    let everything = Policy { witness: true, ..Policy::default() };
    let mut recorder = hub.subscribe(KEY.into(), Start::Gop, everything, "recorder").unwrap();
    let mut publisher = hub.publish(KEY.into(), "studio").unwrap();
    let now = Instant::now();
    let stream = [
        keyframe(0, 10),
        audio(0),
        inter(40, 10),
        audio_header(),
        audio(40),
        avc_header(1),
        inter(80, 10),
        keyframe(120, 10),
        inter(160, 10),
    ];
    for tag in stream {
        publisher.push(now, tag, 0).unwrap();
    }
    publisher.flush(now);
    let got = drain(&mut early);
    let numbers: Vec<_> = tags(&got).iter().filter_map(|(number, _)| *number).collect();
    assert_eq!(numbers, [3, 4, 5, 7, 8]);
    let counters = early.counters();
    assert_eq!(counters.lag_tags[Cause::NoKeyframe as usize], 4);
    assert!(counters.is_balanced());
    let got = drain(&mut recorder);
    let numbers: Vec<_> = tags(&got).iter().filter_map(|(number, _)| *number).collect();
    assert_eq!(numbers, [0, 1, 2, 3, 4, 5, 6, 7, 8]);
    // A header behind the keyframe makes it one that nobody can start with.
    for tag in [avc_header(2), keyframe(200, 10), avc_header(3), inter(240, 10)] {
        publisher.push(now, tag, 0).unwrap();
    }
    publisher.flush(now);
    assert_eq!(tags(&drain(&mut recorder)).len(), 4);
    assert!(recorder.counters().is_balanced());
}

#[test]
fn an_endless_gop_is_bounded_and_never_gives_an_inter_frame_first() {
    let ring = RingLimits { pinned_bytes_max: 1 << 20, ..RingLimits::default() };
    let hub = Hub::new(HubLimits { ring, ..HubLimits::default() });
    let mut studio = Studio::new(&hub, u32::MAX, 2_000);
    studio.frames(100);
    let mut before = hub.subscribe(KEY.into(), Start::Gop, Policy::default(), "before").unwrap();
    assert_starts_decodable(&drain(&mut before));
    studio.frames(2_000);
    assert!(hub.topics()[0].pinned_bytes <= 1 << 20);
    let mut after = hub.subscribe(KEY.into(), Start::Gop, Policy::default(), "after").unwrap();
    studio.frames(50);
    let heard = drain(&mut after);
    assert!(
        tags(&heard).iter().any(|(number, tag)| number.is_some() && tag.kind == TagKind::Audio),
        "no sound"
    );
    assert!(
        !tags(&heard).iter().any(|(_, tag)| is_inter(tag)),
        "an inter frame without its keyframe"
    );
    studio.frame = 0;
    studio.frames(5);
    let seen = drain(&mut after);
    let first = tags(&seen).into_iter().find(|(_, tag)| tag.kind == TagKind::Video).unwrap().1;
    assert!(is_keyframe(first));
    assert!(after.counters().is_balanced());
}

#[test]
fn a_returning_publisher_keeps_its_viewers_and_time_goes_on() {
    let hub = Hub::new(HubLimits::default());
    let mut studio = Studio::new(&hub, 30, 100);
    studio.frames(40);
    let mut viewer = hub.subscribe(KEY.into(), Start::Gop, Policy::default(), "viewer").unwrap();
    drain(&mut viewer);
    let now = studio.now;
    let absence = studio.publisher.vanish();
    assert_eq!(viewer.next_delivery(), None, "it waits");
    let mut studio = Studio::new(&hub, 30, 100);
    studio.now = now + Duration::from_secs(3);
    studio.frames(5);
    assert!(!absence.end(), "somebody publishes");
    let got = drain(&mut viewer);
    let tags = tags(&got);
    assert!(is_header(tags[0].1) && is_header(tags[1].1) && is_keyframe(tags[2].1));
    let times: Vec<_> = tags.iter().map(|(_, tag)| tag.timestamp.as_ms()).collect();
    assert!(times.is_sorted(), "{times:?}");
    assert_eq!(times[2], 39 * 40 + 3_000 + 40);
}

#[test]
fn a_takeover_ends_the_first_publisher_and_a_refusal_the_second() {
    let hub = Hub::new(HubLimits::default());
    let mut first = Studio::new(&hub, 30, 100);
    let _second = Studio::new(&hub, 30, 100);
    assert!(first.publisher.push(first.now, audio(0), 0).is_err());

    let strict = Hub::new(HubLimits { takeover: false, ..HubLimits::default() });
    let mut first = Studio::new(&strict, 30, 100);
    assert!(strict.publish(KEY.into(), "second").is_err());
    first.frames(1);
}

#[test]
fn a_publisher_that_rests_is_woken_and_who_woke_it_begins_with_what_it_had_left() {
    struct Count(AtomicU32);
    impl std::task::Wake for Count {
        fn wake(self: Arc<Self>) {
            self.0.fetch_add(1, Ordering::Relaxed);
        }
    }
    let hub = Hub::new(HubLimits::default());
    let mut studio = Studio::new(&hub, 30, 100);
    let count = Arc::new(Count(AtomicU32::new(0)));
    let waker = count.clone().into();
    let mut cx = std::task::Context::from_waker(&waker);
    let woken = || count.0.load(Ordering::Relaxed);
    let join = || hub.subscribe(KEY.into(), Start::Gop, Policy::default(), "sofa").unwrap();
    assert!(studio.publisher.poll_superseded(&mut cx).is_pending());
    studio.frames(29);
    let mut early = join();
    assert_eq!(woken(), 0);
    assert_starts_decodable(&drain(&mut early));
    assert!(studio.publisher.is_awaited());
    drop(early);
    assert!(!studio.publisher.is_awaited());
    assert!(studio.publisher.set_rests(true));
    let mut first = join();
    assert_eq!(woken(), 1);
    let mut second = join();
    assert!(drain(&mut first).is_empty() && drain(&mut second).is_empty());
    // Two more pictures, of which one is a keyframe; and nothing for one who comes behind them.
    studio.frames(2);
    for joiner in [&mut first, &mut second] {
        let got = drain(joiner);
        assert_starts_decodable(&got);
        assert_eq!(tags(&got).iter().filter(|(number, _)| number.is_some()).count(), 2);
    }
    let mut third = join();
    studio.publisher.catch_up(studio.now);
    assert!(studio.publisher.set_rests(false));
    assert!(!studio.publisher.set_rests(true), "not while there are those");
    assert_starts_decodable(&drain(&mut third));
    let before = woken();
    assert_starts_decodable(&drain(&mut join()));
    assert_eq!(woken(), before);
}

#[test]
fn who_wakes_a_publisher_that_is_gone_is_told_of_its_end() {
    let hub = Hub::new(HubLimits::default());
    let mut studio = Studio::new(&hub, 30, 100);
    studio.frames(10);
    assert!(studio.publisher.set_rests(true));
    let mut sofa = hub.subscribe(KEY.into(), Start::Gop, Policy::default(), "sofa").unwrap();
    assert!(drain(&mut sofa).is_empty());
    studio.publisher.end();
    assert!(matches!(sofa.next_delivery(), Some(Delivery::End)));
}

#[test]
fn a_witness_is_no_audience() {
    let hub = Hub::new(HubLimits::default());
    let studio = Studio::new(&hub, 30, 100);
    let policy = Policy { witness: true, ..Policy::default() };
    let _witness = hub.subscribe(KEY.into(), Start::Gop, policy, "witness").unwrap();
    assert!(!studio.publisher.is_awaited());
    let _sofa = hub.subscribe(KEY.into(), Start::Gop, Policy::default(), "sofa").unwrap();
    assert!(studio.publisher.is_awaited());
}

#[test]
fn a_stream_that_nobody_takes_is_its_newest_gop_and_history_begins_with_the_first_who_does() {
    let hub = Hub::new(HubLimits::default());
    let mut studio = Studio::new(&hub, 30, 1_000);
    let held = || hub.topics()[0].ring_tags;
    // A picture and a sound each, and not the headers before the first keyframe.
    studio.frames(30);
    assert_eq!(held(), 60);
    studio.frames(1);
    assert_eq!(held(), 2);
    studio.frames(4);
    let mut sofa = hub.subscribe(KEY.into(), Start::Gop, Policy::default(), "sofa").unwrap();
    studio.frames(60);
    assert_eq!(held(), 130, "from where it joined");
    assert_starts_decodable(&drain(&mut sofa));
    drop(sofa);
    studio.frames(1);
    assert_eq!(held(), 12, "from its newest keyframe, six pictures ago");
}

#[test]
fn the_end_comes_once_and_last() {
    let hub = Hub::new(HubLimits::default());
    let mut studio = Studio::new(&hub, 30, 100);
    studio.frames(3);
    let mut viewer = hub.subscribe(KEY.into(), Start::Gop, Policy::default(), "viewer").unwrap();
    studio.publisher.end();
    let mut got = Vec::new();
    while let Some(delivery) = viewer.next_delivery() {
        let is_end = delivery == Delivery::End;
        got.push(delivery);
        if is_end {
            break;
        }
    }
    assert_eq!(tags(&got).len(), 2 + 6);
    assert_eq!(got.last(), Some(&Delivery::End));
    drop(viewer);
    assert!(hub.topics().is_empty(), "nothing is left of it");
}

#[test]
fn an_absence_that_lasts_ends_the_stream() {
    let hub = Hub::new(HubLimits::default());
    let mut studio = Studio::new(&hub, 30, 100);
    studio.frames(3);
    let mut viewer = hub.subscribe(KEY.into(), Start::Gop, Policy::default(), "viewer").unwrap();
    drain(&mut viewer);
    assert!(studio.publisher.vanish().end());
    assert_eq!(viewer.next_delivery(), Some(Delivery::End));
}

#[test]
fn video_turned_off_and_on_resumes_at_a_keyframe() {
    let hub = Hub::new(HubLimits::default());
    let mut studio = Studio::new(&hub, 30, 100);
    studio.frames(5);
    let mut viewer = hub.subscribe(KEY.into(), Start::Gop, Policy::default(), "viewer").unwrap();
    drain(&mut viewer);
    viewer.set_receive(Receive { video: false, ..Receive::default() });
    studio.frames(30);
    assert!(tags(&drain(&mut viewer)).iter().all(|(_, tag)| tag.kind == TagKind::Audio));
    viewer.set_receive(Receive::default());
    studio.frames(40);
    let got = drain(&mut viewer);
    let first = tags(&got).into_iter().find(|(_, tag)| tag.kind == TagKind::Video).unwrap().1;
    assert!(is_keyframe(first));
    let counters = viewer.counters();
    assert!(
        counters.is_balanced() && counters.lag_tags[Cause::Filtered as usize] == 30,
        "{counters:?}"
    );
}

#[test]
fn dispensable_frames_go_first() {
    let hub = Hub::new(HubLimits::default());
    let mut studio = Studio::new(&hub, 1000, 100);
    let overflow = Overflow::DropDisposableFirst;
    let policy = Policy { backlog_ms_max: 2_000, overflow, ..Policy::default() };
    let mut viewer = hub.subscribe(KEY.into(), Start::Gop, policy, "viewer").unwrap();
    studio.frames(1);
    drain(&mut viewer);
    for frame in 1..40 {
        studio.push(tag(TagKind::Video, frame * 40, vec![0x37, 1, 0, 0, 0]));
        studio.push(inter(frame * 40 + 20, 10));
    }
    drain(&mut viewer);
    let counters = viewer.counters();
    assert!(counters.lag_tags[Cause::Disposable as usize] > 10, "{counters:?}");
    assert_eq!(counters.lag_tags[Cause::Overflow as usize], 0);
    assert!(counters.is_balanced());
}

/// In the wire log a tag's time is counted from the tag before it; a viewer that did not get that
/// one is given bytes of its own.
#[test]
fn times_behind_a_dispensable_frame_that_was_left_out_are_right() {
    let hub = Hub::new(HubLimits::default());
    let mut studio = Studio::new(&hub, 1000, 100);
    let overflow = Overflow::DropDisposableFirst;
    let policy = Policy { backlog_ms_max: 2_000, overflow, ..Policy::default() };
    let mut viewer = hub.view(KEY.into(), Protocol::Rtmp, 1, Start::Gop, policy, "v").unwrap();
    let mut written = Vec::new();
    studio.frames(1);
    write_all(&mut viewer, usize::MAX, &mut written);
    // A second behind at the frame that goes, and less at the sound that follows it.
    studio.push(tag(TagKind::Video, 40, vec![0x37, 1, 0, 0, 0]));
    studio.push(audio(60));
    studio.push(inter(80, 10));
    studio.push(inter(1_050, 10));
    write_all(&mut viewer, usize::MAX, &mut written);
    assert_eq!(viewer.counters().lag_tags[Cause::Disposable as usize], 1);
    assert_eq!(media_times(written, 9), [0, 80, 1_050]);
}

/// Times of RTMP messages with coded media of one type, of less than 128 bytes each.
fn media_times(written: Vec<u8>, type_id: u8) -> Vec<u32> {
    let mut reader = ChunkReader::new(ChunkLimits::default());
    let mut input = Bytes::from(written);
    std::iter::from_fn(|| reader.read(&mut input).unwrap())
        .filter(|message| message.type_id == type_id && message.payload.get(1) == Some(1))
        .map(|message| message.timestamp.as_ms())
        .collect()
}

/// Tags encoded for one viewer count their time from what that viewer got before, headers included.
#[test]
fn times_behind_headers_that_were_said_again_are_right() {
    let hub = Hub::new(HubLimits::default());
    let mut studio = Studio::new(&hub, 1000, 100);
    let policy = Policy::default();
    let mut viewer = hub.view(KEY.into(), Protocol::Rtmp, 1, Start::Gop, policy, "v").unwrap();
    let mut written = Vec::new();
    let sound_alone = Receive { video: false, ..Receive::default() };
    viewer.set_receive(sound_alone);
    studio.frames(3);
    write_all(&mut viewer, usize::MAX, &mut written);
    viewer.set_receive(Receive { paused: true, ..sound_alone });
    studio.push(tag(TagKind::Audio, 100, vec![0xAF, 0, 0x11, 0x90]));
    studio.push(audio(110));
    write_all(&mut viewer, usize::MAX, &mut written);
    viewer.set_receive(sound_alone);
    studio.push(audio(130));
    studio.push(audio(150));
    write_all(&mut viewer, usize::MAX, &mut written);
    assert_eq!(media_times(written, 8), [0, 40, 80, 130, 150]);
}

#[test]
fn a_jump_of_the_encoders_clock_is_nobodys_backlog() {
    let hub = Hub::new(HubLimits::default());
    let mut studio = Studio::new(&hub, 1000, 100);
    let policy = Policy { backlog_ms_max: 4_000, ..Policy::default() };
    let mut viewer = hub.subscribe(KEY.into(), Start::Gop, policy, "viewer").unwrap();
    studio.frames(3);
    drain(&mut viewer);
    // Two tags that it has not got yet, 9 s apart.
    studio.push(inter(120, 10));
    studio.push(inter(9_120, 10));
    assert_eq!(tags(&drain(&mut viewer)).len(), 2);
    assert_eq!(viewer.counters().overflow_tags(), 0);
}

/// Whoever is behind reads of a stream that is over what was said of that stream.
#[test]
fn a_picture_of_an_ended_stream_comes_with_its_own_metadata() {
    let hub = Hub::new(HubLimits::default());
    let metadata = tag(TagKind::Script, 0, b"\x02\x00\x0aonMetaData\x08\0\0\0\0".to_vec());
    let mut joiner = hub.subscribe(KEY.into(), Start::Gop, Policy::default(), "joiner").unwrap();
    joiner.set_receive(Receive { paused: true, ..Receive::default() });
    let mut studio = Studio::new(&hub, 10, 100);
    studio.push(metadata.clone());
    drain(&mut joiner);
    joiner.set_receive(Receive::default());
    studio.frames(3);
    studio.publisher.end();
    let rest = std::iter::from_fn(|| joiner.next_delivery());
    let got: Vec<_> = rest.take_while(|delivery| *delivery != Delivery::End).collect();
    let first = tags(&got).into_iter().next().map(|(_, tag)| tag);
    assert_eq!(first, Some(&metadata));
    assert_starts_decodable(&got);
}

/// What a viewer writes, `step` bytes at a time, is what a subscriber gets, encoded.
#[test]
fn a_viewer_writes_the_same_tags_in_whatever_pieces() {
    for (step, protocol) in [1, 7, 1000, usize::MAX].into_iter().zip([Protocol::Flv; 4]) {
        let hub = Hub::new(HubLimits::default());
        let mut studio = Studio::new(&hub, 30, 700);
        studio.frames(20);
        let mut subscriber = hub.subscribe(KEY.into(), Start::Gop, Policy::default(), "s").unwrap();
        let mut viewer =
            hub.view(KEY.into(), protocol, 1, Start::Gop, Policy::default(), "v").unwrap();
        let mut written = Vec::new();
        let mut expected = drain(&mut subscriber);
        for _ in 0..4 {
            write_all(&mut viewer, step, &mut written);
            studio.frames(20);
            expected.extend(drain(&mut subscriber));
        }
        write_all(&mut viewer, step, &mut written);
        let read = read_flv(&written);
        let expected: Vec<_> = tags(&expected)
            .into_iter()
            .map(|(number, tag)| match number {
                None => (tag.kind, 0, tag.payload.clone()),
                Some(_) => (tag.kind, tag.timestamp.as_ms(), tag.payload.clone()),
            })
            .collect();
        assert!(
            read == expected,
            "pieces of {step}: {} tags, expected {}",
            read.len(),
            expected.len()
        );
        let (mine, theirs) = (viewer.counters(), subscriber.counters());
        assert_eq!(mine, theirs);
        assert!(mine.is_balanced());
    }
}

fn write_all(viewer: &mut forebay::hub::Viewer, step: usize, out: &mut Vec<u8>) {
    let mut cx = std::task::Context::from_waker(std::task::Waker::noop());
    while let std::task::Poll::Ready(Next::Batch(batch)) = viewer.poll_batch(&mut cx, 4000) {
        let mut left = step.min(batch.len());
        let written = left;
        for slice in batch.slices() {
            let take = left.min(slice.len());
            out.extend_from_slice(&slice[..take]);
            left -= take;
        }
        viewer.advance(written);
    }
}

fn read_flv(mut bytes: &[u8]) -> Vec<(TagKind, u32, forebay::rope::Rope)> {
    let mut tags = Vec::new();
    while !bytes.is_empty() {
        let len = u32::from_be_bytes([0, bytes[1], bytes[2], bytes[3]]) as usize;
        let ms = u32::from_be_bytes([bytes[7], bytes[4], bytes[5], bytes[6]]);
        let kind = match bytes[0] {
            8 => TagKind::Audio,
            9 => TagKind::Video,
            other => panic!("tag type {other}"),
        };
        tags.push((kind, ms, bytes[11..11 + len].to_vec().into()));
        assert_eq!(bytes[11 + len..15 + len], (11 + len as u32).to_be_bytes());
        bytes = &bytes[15 + len..];
    }
    tags
}

#[test]
fn a_stuck_viewer_finishes_its_tag_and_resumes_at_a_keyframe() {
    for cut in 0..400 {
        let hub = Hub::new(HubLimits::default());
        let mut studio = Studio::new(&hub, 30, 60);
        studio.frames(4);
        let policy = Policy { backlog_ms_max: 1_000, ..Policy::default() };
        let mut viewer = hub.view(KEY.into(), Protocol::Flv, 1, Start::Gop, policy, "v").unwrap();
        let mut written = Vec::new();
        let mut cx = std::task::Context::from_waker(std::task::Waker::noop());
        let std::task::Poll::Ready(Next::Batch(batch)) = viewer.poll_batch(&mut cx, 4000) else {
            panic!()
        };
        let cut = cut.min(batch.len());
        written.extend(batch.slices().iter().flatten().take(cut));
        viewer.advance(cut);
        studio.frames(400);
        write_all(&mut viewer, usize::MAX, &mut written);
        let read = read_flv(&written);
        let mut expect_keyframe = true;
        let mut last = None;
        for (kind, ms, payload) in read {
            if kind != TagKind::Video || payload.get(1) == Some(0) {
                continue;
            }
            if last.is_some_and(|last| ms > last + 40) {
                expect_keyframe = true;
            }
            assert!(
                !expect_keyframe || payload.get(0) == Some(0x17),
                "cut {cut}: inter frame at {ms}"
            );
            (expect_keyframe, last) = (false, Some(ms));
        }
        let counters = viewer.counters();
        assert!(counters.is_balanced() && counters.unsent_tags == 0, "cut {cut}: {counters:?}");
        assert!(counters.overflow_tags() > 0);
    }
}
