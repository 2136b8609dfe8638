//! Followers: consumers that are subscribed to every stream, from its first tag to its end.
#![allow(
    clippy::unwrap_used,
    clippy::disallowed_methods,
    reason = "a test; the clock is only a place to count from"
)]

use std::time::{Duration, Instant};

use forebay::flv::{Tag, TagKind};
use forebay::hub::{Delivery, Hub, HubLimits, Policy, Start, StreamKey, Subscriber};
use forebay::time::Timestamp;

fn tag(ms: u32) -> Tag {
    let payload = [if ms == 0 { 0x17 } else { 0x27 }, 1, 0, 0, 0, 9];
    Tag {
        kind: TagKind::Video,
        timestamp: Timestamp::from_ms(ms),
        payload: payload.to_vec().into(),
    }
}

fn header() -> Tag {
    Tag {
        kind: TagKind::Video,
        timestamp: Timestamp::ZERO,
        payload: vec![0x17, 0, 0, 0, 0, 1].into(),
    }
}

fn everything(_: &StreamKey) -> Option<Policy> {
    Some(Policy::default())
}

/// Publishes a header and a GOP of three frames, and says goodbye.
fn publish(hub: &Hub, key: &str) {
    let now = Instant::now();
    let mut publisher = hub.publish(key.into(), "studio").unwrap();
    publisher.push(now, header(), 0).unwrap();
    for ms in [0, 40, 80] {
        publisher.push(now, tag(ms), 0).unwrap();
    }
    publisher.end();
}

/// The frames' times, and whether the end was told.
fn take(subscriber: &mut Subscriber) -> (Vec<u32>, bool) {
    let mut times = Vec::new();
    loop {
        match subscriber.next_delivery() {
            Some(Delivery::Tag { tag, .. }) => {
                if !tag.payload.slices().next().unwrap()[1..2].starts_with(&[0]) {
                    times.push(tag.timestamp.as_ms());
                }
            }
            Some(Delivery::End) => return (times, true),
            Some(other) => panic!("{other:?}"),
            None => return (times, false),
        }
    }
}

#[test]
fn a_stream_that_is_over_before_anybody_looked_is_followed_whole() {
    let hub = Hub::new(HubLimits::default());
    let mut follower = hub.follow("archive", everything);
    publish(&hub, "live/a");
    publish(&hub, "live/b");
    publish(&hub, "live/a");
    for key in ["live/a", "live/b", "live/a"] {
        let mut subscriber = follower.next_stream().expect(key);
        assert_eq!(subscriber.key().as_str(), key);
        assert_eq!(take(&mut subscriber), (vec![0, 40, 80], true), "{key}");
    }
    assert!(follower.next_stream().is_none());
    assert!(hub.topics().is_empty(), "nobody is left, and nothing of them");
}

#[test]
fn a_stream_that_was_live_before_is_followed_from_its_keyframe() {
    let hub = Hub::new(HubLimits::default());
    let now = Instant::now();
    let mut publisher = hub.publish("live/a".into(), "studio").unwrap();
    publisher.push(now, header(), 0).unwrap();
    publisher.push(now, tag(0), 0).unwrap();
    let mut follower = hub.follow("archive", everything);
    let mut subscriber = follower.next_stream().unwrap();
    publisher.push(now, tag(40), 0).unwrap();
    publisher.flush(now);
    assert_eq!(take(&mut subscriber), (vec![0, 40], false));
}

#[test]
fn a_publisher_who_takes_over_or_returns_goes_on_with_the_same_stream() {
    let hub = Hub::new(HubLimits { coalesce: Duration::ZERO, ..HubLimits::default() });
    let now = Instant::now();
    let mut follower = hub.follow("archive", everything);
    let first = hub.publish("live/a".into(), "studio").unwrap();
    let mut subscriber = follower.next_stream().unwrap();
    let second = hub.publish("live/a".into(), "other studio").unwrap();
    drop(first);
    let absence = second.vanish();
    let mut third = hub.publish("live/a".into(), "studio").unwrap();
    assert!(!absence.end(), "somebody has returned");
    third.push(now, header(), 0).unwrap();
    third.push(now, tag(0), 0).unwrap();
    third.end();
    let (times, is_over) = take(&mut subscriber);
    assert_eq!((times.len(), is_over), (1, true));
    assert_eq!(subscriber.session(), 3);
    assert!(follower.next_stream().is_none(), "one stream, one subscriber");
}

#[test]
fn streams_that_are_not_wanted_are_not_followed() {
    let hub = Hub::new(HubLimits::default());
    let mut follower =
        hub.follow("archive", |key| key.as_str().starts_with("rec/").then(Policy::default));
    publish(&hub, "live/a");
    publish(&hub, "rec/a");
    assert_eq!(follower.next_stream().unwrap().key().as_str(), "rec/a");
    assert!(follower.next_stream().is_none());
}

#[test]
fn a_follower_that_is_dropped_leaves_what_it_never_took() {
    let hub = Hub::new(HubLimits::default());
    let follower = hub.follow("archive", everything);
    let publisher = hub.publish("live/a".into(), "studio").unwrap();
    assert_eq!(hub.topics()[0].subscribers.len(), 1);
    drop(follower);
    assert_eq!(hub.topics()[0].subscribers.len(), 0);
    drop(publisher);
    publish(&hub, "live/b");
    assert!(hub.topics().is_empty());
}

#[test]
fn followers_take_nobodys_place() {
    let hub = Hub::new(HubLimits { subscribers_max: 1, ..HubLimits::default() });
    let _first = hub.follow("archive", everything);
    let _second = hub.follow("hls", everything);
    let _publisher = hub.publish("live/a".into(), "studio").unwrap();
    assert_eq!(hub.topics()[0].subscribers.len(), 2);
    let subscribe = || hub.subscribe("live/a".into(), Start::Gop, Policy::default(), "viewer");
    let _viewer = subscribe().expect("there is one place");
    assert!(subscribe().is_err(), "and only one");
}
