//! Follower: is subscribed to every stream it wants, from the first tag on.

use std::collections::VecDeque;
use std::sync::{Arc, Weak};
use std::task::{Context, Poll, Waker};

use super::cursor::Cursor;
use super::topic::{SharedTopic, Topic};
use super::{Hub, Kind, Policy, StreamKey, Subscriber};
use crate::sync::Mutex;

/// Is given a [`Subscriber`] for each stream that begins; dropped it follows no more.
///
/// A stream begins when somebody publishes a key that nobody published, or whose last stream is
/// over. A publisher that takes over, or returns within its grace period, goes on with the same
/// stream: [`Subscriber::session`] tells. What was given out stays subscribed.
pub struct Follower(Arc<Following>);

type PolicyOf = dyn Fn(&StreamKey) -> Option<Policy> + Send + Sync;

/// What the hub knows of a follower.
pub(super) struct Following {
    name: Box<str>,
    policy_of: Box<PolicyOf>,
    begun: Mutex<Begun>,
}

/// Streams that began and were not taken yet. Each is a subscriber, which keeps its topic: so there
/// are no more than topics, unless streams end and begin faster than a follower looks.
#[derive(Default)]
struct Begun {
    subscribers: VecDeque<Subscriber>,
    waker: Option<Waker>,
    is_over: bool,
}

impl Following {
    fn add(&self, subscriber: Subscriber) {
        let mut begun = self.begun.lock();
        if begun.is_over {
            return;
        }
        begun.subscribers.push_back(subscriber);
        let waker = begun.waker.take();
        drop(begun);
        if let Some(waker) = waker {
            waker.wake();
        }
    }
}

/// A follower's place in a stream that begins, taken under the topic's lock.
pub(super) struct Place {
    following: Arc<Following>,
    slot: usize,
    cursor: Cursor,
    /// Is to be woken.
    publisher: Option<Waker>,
}

impl Place {
    /// Gives the follower its subscriber, when no lock is held.
    pub(super) fn hand_over(self, hub: &Hub, topic: &SharedTopic) {
        let subscriber = Subscriber::new(hub.clone(), topic.clone(), self.slot, self.cursor);
        self.following.add(subscriber);
        self.publisher.into_iter().for_each(Waker::wake);
    }
}

/// All followers of a hub.
#[derive(Default)]
pub(super) struct Followers(Vec<Weak<Following>>);

impl Followers {
    /// Places for those who want a stream that begins.
    pub(super) fn places(&mut self, topic: &Topic) -> Vec<Place> {
        self.0.retain(|following| following.strong_count() > 0);
        self.0.iter().filter_map(Weak::upgrade).filter_map(|one| place(&one, topic)).collect()
    }
}

/// Followers are the operator's own, and few: they do not count against `subscribers_max`.
fn place(following: &Arc<Following>, topic: &Topic) -> Option<Place> {
    let policy = (following.policy_of)(topic.key())?;
    let mut state = topic.lock();
    let (slot, publisher) = state.join(Kind::Consumer, following.name.to_string(), policy);
    let cursor = Cursor::follow(&state, policy);
    Some(Place { following: following.clone(), slot, cursor, publisher })
}

impl Hub {
    /// Follows all streams for which `policy_of` has a policy, those that are live now included.
    /// `name` is for the API. `policy_of` is asked under the hub's lock: it must not ask the hub.
    pub fn follow(
        &self,
        name: &str,
        policy_of: impl Fn(&StreamKey) -> Option<Policy> + Send + Sync + 'static,
    ) -> Follower {
        let following = Arc::new(Following {
            name: name.into(),
            policy_of: Box::new(policy_of),
            begun: Mutex::default(),
        });
        // In this order, and as `publish` does: no stream is missed, and none is given twice.
        let topics = self.shared.topics.lock();
        self.shared.followers.lock().0.push(Arc::downgrade(&following));
        let live = topics.values().filter(|topic| topic.lock().is_live());
        let places: Vec<_> =
            live.filter_map(|topic| Some((place(&following, topic)?, topic.clone()))).collect();
        drop(topics);
        places.into_iter().for_each(|(place, topic)| place.hand_over(self, &topic));
        Follower(following)
    }
}

impl Follower {
    /// The next stream; if there is none, the task is woken when one begins.
    pub fn poll_stream(&mut self, cx: &mut Context<'_>) -> Poll<Subscriber> {
        let mut begun = self.0.begun.lock();
        match begun.subscribers.pop_front() {
            Some(subscriber) => Poll::Ready(subscriber),
            None => {
                begun.waker = Some(cx.waker().clone());
                Poll::Pending
            }
        }
    }

    /// The next stream, if one has begun.
    pub fn next_stream(&mut self) -> Option<Subscriber> {
        match self.poll_stream(&mut Context::from_waker(Waker::noop())) {
            Poll::Ready(subscriber) => Some(subscriber),
            Poll::Pending => None,
        }
    }
}

impl Drop for Follower {
    fn drop(&mut self) {
        // Not by whoever holds the last reference: that may be under the hub's lock, which a
        // subscriber needs to leave.
        let mut begun = self.0.begun.lock();
        begun.is_over = true;
        let subscribers = std::mem::take(&mut begun.subscribers);
        drop(begun);
        drop(subscribers);
    }
}
