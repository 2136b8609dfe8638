//! The hub under every order of its threads that shuttle finds: join against publish against lag.
//!
//! `cargo test -p forebay --no-default-features --features shuttle --test hub_shuttle`
#![cfg(feature = "shuttle")]
#![allow(
    clippy::unwrap_used,
    clippy::disallowed_methods,
    reason = "a test; the clock is only a place to count from"
)]

use std::task::{Context, Poll, Wake, Waker};
use std::time::{Duration, Instant};

use forebay::flv::{Tag, TagKind};
use forebay::hub::{
    Delivery, Hub, HubLimits, Next, Policy, Publisher, RingLimits, Start, Subscriber, Viewer,
};
use forebay::time::Timestamp;
use forebay::wire_log::Protocol;
use shuttle::sync::{Arc, Condvar, Mutex};
use shuttle::thread;

const KEY: &str = "live/test";
const GOPS: u32 = 3;
const GOP: u32 = 3;

/// A task's waker as a thread sees it. A wake-up that is lost is a deadlock, which shuttle reports.
#[derive(Default)]
struct Bell {
    rung: Mutex<bool>,
    ring: Condvar,
}

impl Bell {
    fn wait(&self) {
        let mut rung = self.rung.lock().unwrap();
        while !*rung {
            rung = self.ring.wait(rung).unwrap();
        }
        *rung = false;
    }
}

impl Wake for Bell {
    fn wake(self: std::sync::Arc<Self>) {
        *self.rung.lock().unwrap() = true;
        self.ring.notify_all();
    }
}

fn bell() -> (std::sync::Arc<Bell>, Waker) {
    let bell = std::sync::Arc::new(Bell::default());
    (bell.clone(), bell.into())
}

fn video(ms: u32, payload: &[u8]) -> Tag {
    Tag {
        kind: TagKind::Video,
        timestamp: Timestamp::from_ms(ms),
        payload: payload.to_vec().into(),
    }
}

fn hub() -> Hub {
    // Small enough that a subscriber that is not scheduled for a while is overtaken.
    let ring = RingLimits { history_ms: 80, ..RingLimits::default() };
    Hub::new(HubLimits { ring, coalesce: Duration::ZERO, ..HubLimits::default() })
}

fn publish(mut publisher: Publisher) {
    let now = Instant::now();
    publisher.push(now, video(0, &[0x17, 0, 0, 0, 0, 1]), 0).unwrap();
    for frame in 0..GOPS * GOP {
        let first = if frame % GOP == 0 { 0x17 } else { 0x27 };
        publisher.push(now, video(frame * 40, &[first, 1, 0, 0, 0, frame as u8]), 0).unwrap();
        publisher.flush(now);
    }
    publisher.end();
}

fn policy() -> Policy {
    Policy { backlog_ms_max: 80, backlog_bytes_max: 1 << 20, ..Policy::default() }
}

fn take(mut subscriber: Subscriber) {
    let (bell, waker) = bell();
    let mut expect_keyframe = true;
    let mut last = None;
    loop {
        match subscriber.poll_delivery(&mut Context::from_waker(&waker)) {
            Poll::Pending => bell.wait(),
            Poll::Ready(Delivery::Lag(_)) => expect_keyframe = true,
            Poll::Ready(Delivery::Tag { number, tag }) => {
                let is_header = tag.payload.get(1) == Some(0);
                if let Some(number) = number {
                    assert!(
                        last.is_none_or(|last| number == last + 1 || expect_keyframe),
                        "a gap untold"
                    );
                    last = Some(number);
                }
                assert!(is_header || !expect_keyframe || tag.payload.get(0) == Some(0x17));
                expect_keyframe &= is_header;
            }
            Poll::Ready(Delivery::End) => break,
            Poll::Ready(Delivery::Disconnected) => unreachable!("the policy does not disconnect"),
        }
    }
    let counters = subscriber.counters();
    assert!(counters.is_balanced() && counters.unsent_tags == 0, "{counters:?}");
}

fn view(mut viewer: Viewer) {
    let (bell, waker) = bell();
    let mut bytes = Vec::new();
    loop {
        let written = match viewer.poll_batch(&mut Context::from_waker(&waker), 40) {
            Poll::Pending => {
                bell.wait();
                continue;
            }
            // Writes stop in the middle of tags.
            Poll::Ready(Next::Batch(batch)) => {
                let written = batch.len().min(13);
                bytes.extend(batch.slices().iter().flatten().take(written));
                written
            }
            Poll::Ready(Next::End) => break,
            Poll::Ready(Next::Disconnected) => unreachable!("the policy does not disconnect"),
        };
        viewer.advance(written);
    }
    let counters = viewer.counters();
    assert!(counters.is_balanced() && counters.unsent_tags == 0, "{counters:?}");
    let mut rest = &bytes[..];
    let mut last: Option<u8> = None;
    while let [9, _, _, len, ..] = *rest {
        let payload = &rest[11..11 + usize::from(len)];
        if payload[1] == 1 {
            let frame = payload[5];
            let follows = last.is_some_and(|last| frame == last + 1);
            assert!(follows || payload[0] == 0x17, "inter frame {frame} after {last:?}");
            last = Some(frame);
        }
        rest = &rest[15 + usize::from(len)..];
    }
    assert!(rest.is_empty(), "bytes that are no tag: {rest:?}");
}

#[test]
fn join_against_publish_against_lag() {
    shuttle::check_random(
        || {
            let hub = hub();
            let publisher = hub.publish(KEY.into(), "studio").unwrap();
            let early = hub.subscribe(KEY.into(), Start::Gop, policy(), "early").unwrap();
            let studio = thread::spawn(move || publish(publisher));
            let early = thread::spawn(move || take(early));
            let joiner = hub.clone();
            let late = thread::spawn(move || {
                let subscriber =
                    joiner.subscribe(KEY.into(), Start::Gop, policy(), "late").unwrap();
                // Too late for the stream: nobody will ever end it.
                if joiner.is_live(&KEY.into()) { Some(subscriber) } else { None }
            });
            studio.join().unwrap();
            early.join().unwrap();
            drop(late.join().unwrap());
            assert!(hub.topics().is_empty(), "something is left");
        },
        2_000,
    );
}

#[test]
fn viewers_against_publish_against_lag() {
    shuttle::check_random(
        || {
            let hub = hub();
            let publisher = hub.publish(KEY.into(), "studio").unwrap();
            let viewers: Vec<_> = (0..2)
                .map(|_| {
                    let viewer =
                        hub.view(KEY.into(), Protocol::Flv, 0, Start::Gop, policy(), "v").unwrap();
                    thread::spawn(move || view(viewer))
                })
                .collect();
            let studio = thread::spawn(move || publish(publisher));
            studio.join().unwrap();
            viewers.into_iter().for_each(|viewer| viewer.join().unwrap());
            assert!(hub.topics().is_empty(), "something is left");
        },
        2_000,
    );
}

/// As a connection does: sleeps while nobody is there, and is woken by who comes.
fn rest_and_publish(mut publisher: Publisher) {
    let (bell, waker) = bell();
    let now = Instant::now();
    publisher.push(now, video(0, &[0x17, 0, 0, 0, 0, 1]), 0).unwrap();
    publisher.push(now, video(0, &[0x17, 1, 0, 0, 0, 0]), 0).unwrap();
    loop {
        assert!(publisher.poll_superseded(&mut Context::from_waker(&waker)).is_pending());
        publisher.catch_up(now);
        if publisher.is_awaited() {
            break;
        }
        if publisher.set_rests(true) {
            bell.wait();
        }
    }
    publisher.set_rests(false);
    publish(publisher);
}

#[test]
fn whoever_comes_while_the_publisher_rests_wakes_it_whenever_that_is() {
    shuttle::check_random(
        || {
            let hub = hub();
            let publisher = hub.publish(KEY.into(), "studio").unwrap();
            let joiner = {
                let hub = hub.clone();
                thread::spawn(move || {
                    take(hub.subscribe(KEY.into(), Start::Gop, policy(), "sofa").unwrap());
                })
            };
            rest_and_publish(publisher);
            joiner.join().unwrap();
        },
        2_000,
    );
}

/// An encoder that falls silent: its connection is woken for everything from then on, and nothing
/// is pushed that would be shown.
#[test]
fn whoever_comes_while_the_publisher_gets_up_is_not_left_waiting_for_a_tag() {
    shuttle::check_random(
        || {
            let hub = hub();
            let mut publisher = hub.publish(KEY.into(), "studio").unwrap();
            let now = Instant::now();
            publisher.push(now, video(0, &[0x17, 0, 0, 0, 0, 1]), 0).unwrap();
            publisher.push(now, video(0, &[0x17, 1, 0, 0, 0, 0]), 0).unwrap();
            let (bell, waker) = bell();
            assert!(publisher.poll_superseded(&mut Context::from_waker(&waker)).is_pending());
            let joiner = thread::spawn(move || {
                let mut sofa = hub.subscribe(KEY.into(), Start::Gop, policy(), "sofa").unwrap();
                let (wait, woken) = self::bell();
                while sofa.poll_delivery(&mut Context::from_waker(&woken)).is_pending() {
                    wait.wait();
                }
                waker.wake();
                sofa
            });
            publisher.set_rests(true);
            publisher.catch_up(now);
            publisher.set_rests(false);
            // Woken by whoever comes while it rests, or by who has been given something.
            bell.wait();
            publisher.catch_up(now);
            drop(joiner.join().unwrap());
        },
        2_000,
    );
}

#[test]
fn a_takeover_has_one_winner_and_loses_no_viewer() {
    shuttle::check_random(
        || {
            let hub = hub();
            let first = hub.publish(KEY.into(), "first").unwrap();
            let viewer = hub.subscribe(KEY.into(), Start::Gop, policy(), "viewer").unwrap();
            let watching = thread::spawn(move || take(viewer));
            let joined = Arc::new(Mutex::new(0));
            let pushes = joined.clone();
            let loser = thread::spawn(move || {
                let (mut first, now) = (first, Instant::now());
                while first.push(now, video(0, &[0x17, 0, 0, 0, 0, 1]), 0).is_ok() {
                    *pushes.lock().unwrap() += 1;
                    first.flush(now);
                    thread::yield_now();
                }
            });
            let second = hub.publish(KEY.into(), "second").unwrap();
            publish(second);
            loser.join().unwrap();
            watching.join().unwrap();
        },
        2_000,
    );
}

#[test]
fn followers_against_publish_against_their_own_end() {
    // By priorities: one of them has to be left behind for as long as two streams last.
    shuttle::check_pct(
        || {
            // Room for all: what is lost here is lost at a seam.
            let hub = Hub::new(HubLimits { coalesce: Duration::ZERO, ..HubLimits::default() });
            let patient = Policy { backlog_ms_max: u64::MAX, ..policy() };
            let mut follower =
                hub.follow("archive", move |key| (key.as_str() == KEY).then_some(patient));
            let studio_hub = hub.clone();
            let studio = thread::spawn(move || {
                for _ in 0..2 {
                    publish(studio_hub.publish(KEY.into(), "studio").unwrap());
                }
            });
            let other_hub = hub.clone();
            let other = thread::spawn(move || {
                for _ in 0..2 {
                    drop(other_hub.publish("live/other".into(), "other studio").unwrap());
                }
            });
            let latecomer_hub = hub.clone();
            let latecomer =
                thread::spawn(move || drop(latecomer_hub.follow("late", |_| Some(policy()))));
            let (bell, waker) = bell();
            let mut context = Context::from_waker(&waker);
            let mut subscriber = loop {
                match follower.poll_stream(&mut context) {
                    Poll::Pending => bell.wait(),
                    Poll::Ready(subscriber) => break subscriber,
                }
            };
            // The second stream may begin before, while, or after it goes.
            drop(follower);
            let mut frames = 0;
            loop {
                match subscriber.poll_delivery(&mut context) {
                    Poll::Pending => bell.wait(),
                    Poll::Ready(Delivery::Tag { tag, .. }) => {
                        frames += u32::from(tag.payload.get(1) == Some(1))
                    }
                    Poll::Ready(Delivery::End) => break,
                    Poll::Ready(other) => panic!("{other:?}"),
                }
            }
            assert_eq!(frames, GOPS * GOP, "one stream, from its first tag to its end");
            drop(subscriber);
            studio.join().unwrap();
            other.join().unwrap();
            latecomer.join().unwrap();
            assert!(hub.topics().is_empty(), "something is left");
        },
        2_000,
        3,
    );
}
