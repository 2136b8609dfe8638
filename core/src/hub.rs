//! Hub, Publisher, Subscriber: the ring, lossy fan-out with lag.
//!
//! A topic is one stream key: a ring of tags, a publisher, and everybody who takes them. A
//! subscriber is a cursor in the ring, so memory does not depend on how many there are or how slow
//! they are. Nothing here waits: a publisher pushes, and whoever cannot keep up loses tags, is told
//! so in a [`Lag`], and resumes at a keyframe.
//!
//! For every subscriber, at every moment: published = delivered + lag + unsent.

mod cursor;
mod follow;
mod given;
mod ring;
mod subscriber;
mod topic;
mod viewer;

use std::collections::BTreeMap;
use std::fmt;
use std::sync::{Arc, Weak};
use std::task::{Context, Poll, Waker};
use std::time::{Duration, Instant};

use self::cursor::Cursor;
use self::follow::Followers;
use self::topic::{SharedTopic, Topic};
use crate::flv::Tag;
use crate::gop::Headers;
use crate::sync::Mutex;
use crate::wire_log::Protocol;

pub use self::follow::Follower;
pub use self::ring::RingLimits;
pub use self::subscriber::Subscriber;
pub use self::viewer::{Batch, Next, Viewer};

/// The name of a stream: application and name, as in `live/obs`.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct StreamKey(Arc<str>);

impl StreamKey {
    /// The stream `name` of application `app`.
    ///
    /// A slash in the name is escaped, so that no two pairs of app and name are the same key.
    pub fn new(app: &str, name: &str) -> Self {
        let name = name.replace('%', "%25").replace('/', "%2F");
        Self(format!("{app}/{name}").into())
    }

    /// As text.
    pub fn as_str(&self) -> &str {
        &self.0
    }

    /// The stream's name, as its publisher gave it.
    pub fn name(&self) -> String {
        let name = self.0.rsplit_once('/').map_or(&*self.0, |(_, name)| name);
        name.replace("%2F", "/").replace("%25", "%")
    }
}

impl From<&str> for StreamKey {
    fn from(key: &str) -> Self {
        Self(key.into())
    }
}

impl fmt::Display for StreamKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl fmt::Debug for StreamKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:?}", &*self.0)
    }
}

/// What the hub may hold.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct HubLimits {
    /// Each topic's ring.
    pub ring: RingLimits,
    /// Stream time in milliseconds that a joiner of a stream without video gets of the past.
    pub audio_gop_ms: u64,
    /// Topics, published or waited for.
    pub topics_max: usize,
    /// Subscribers of one topic.
    pub subscribers_max: usize,
    /// How long tags are held back at most so that they are written together. 0: not at all.
    pub coalesce: Duration,
    /// A second publisher of a key takes over from the first, instead of being refused.
    pub takeover: bool,
}

impl Default for HubLimits {
    fn default() -> Self {
        Self {
            ring: RingLimits::default(),
            audio_gop_ms: 2_000,
            topics_max: 10_000,
            subscribers_max: 100_000,
            coalesce: Duration::from_millis(50),
            takeover: true,
        }
    }
}

/// Where a subscriber starts.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Start {
    /// With the newest keyframe: a picture at once, at most one GOP behind.
    Gop,
    /// With what is published next: sound at once, a picture at the next keyframe, no delay.
    Live,
    /// As `Gop` if the newest keyframe is not older than this, else as `Live`.
    Auto {
        /// Stream time in milliseconds.
        gop_ms_max: u64,
    },
}

/// What happens to a subscriber that does not keep up.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Overflow {
    /// It loses tags up to the newest keyframe. For players.
    SkipToKeyframe,
    /// It loses frames that no other frame needs, and only then as above.
    DropDisposableFirst,
    /// It is let go.
    Disconnect,
}

/// How far a subscriber may fall behind: beyond what it started with, in bytes and in time.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Policy {
    /// Payload bytes.
    pub backlog_bytes_max: u64,
    /// Stream time in milliseconds.
    pub backlog_ms_max: u64,
    /// What happens beyond that.
    pub overflow: Overflow,
    /// Whether it writes down all that came, and is in no hurry. It is given what nobody can decode,
    /// too, as its keyframe or its sequence header was never published; and while nobody else takes
    /// a stream, its publisher does as if nobody did.
    pub witness: bool,
}

impl Default for Policy {
    fn default() -> Self {
        // Past five seconds a viewer would rather see now than what he missed.
        Self {
            backlog_bytes_max: 16 << 20,
            backlog_ms_max: 5_000,
            overflow: Overflow::SkipToKeyframe,
            witness: false,
        }
    }
}

/// Which kinds a subscriber wants.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Receive {
    /// Audio.
    pub audio: bool,
    /// Video; turned on again it resumes at a keyframe.
    pub video: bool,
    /// Nothing at all.
    pub paused: bool,
}

impl Default for Receive {
    fn default() -> Self {
        Self { audio: true, video: true, paused: false }
    }
}

/// Why a subscriber was not given a tag.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug)]
pub enum Cause {
    /// It was too slow.
    Overflow,
    /// A frame that no other needs, left out for one that was about to be too slow.
    Disposable,
    /// It could not be decoded: the keyframe or the header that it needs was never there.
    NoKeyframe,
    /// The subscriber did not want it.
    Filtered,
}

/// Tags that a subscriber was not given.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Lag {
    /// Why.
    pub cause: Cause,
    /// How many.
    pub tags: u64,
    /// Their payload bytes.
    pub bytes: u64,
    /// The stream time they span, in milliseconds.
    pub ms: u64,
}

/// What a subscriber gets.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Delivery {
    /// A tag.
    Tag {
        /// Its place in the topic; `None` for a header in force, repeated for this subscriber
        /// before its first tag and after a lag in which headers changed.
        number: Option<u64>,
        /// The tag itself.
        tag: Tag,
    },
    /// Tags before the next one were lost.
    Lag(Lag),
    /// The stream ended. Nothing follows.
    End,
    /// The subscriber fell behind further than its policy allows. Nothing follows.
    Disconnected,
}

/// One subscriber's account. `published = delivered + lag + unsent`, in tags and in payload bytes.
#[derive(Clone, Copy, Default, PartialEq, Eq, Debug)]
pub struct Counters {
    /// Published since its first tag.
    pub published_tags: u64,
    /// Payload bytes published since its first tag.
    pub published_bytes: u64,
    /// Given to it.
    pub delivered_tags: u64,
    /// Payload bytes given to it.
    pub delivered_bytes: u64,
    /// Lost, by cause, in the order of [`Cause`].
    pub lag_tags: [u64; 4],
    /// Payload bytes lost, by cause.
    pub lag_bytes: [u64; 4],
    /// Waiting for it, or begun and not finished.
    pub unsent_tags: u64,
    /// Payload bytes waiting for it.
    pub unsent_bytes: u64,
}

impl Counters {
    /// Tags lost to slowness.
    pub fn overflow_tags(&self) -> u64 {
        self.lag_tags[Cause::Overflow as usize] + self.lag_tags[Cause::Disposable as usize]
    }

    /// Whether the account adds up.
    pub fn is_balanced(&self) -> bool {
        let lag_tags: u64 = self.lag_tags.iter().sum();
        let lag_bytes: u64 = self.lag_bytes.iter().sum();
        self.published_tags == self.delivered_tags + lag_tags + self.unsent_tags
            && self.published_bytes == self.delivered_bytes + lag_bytes + self.unsent_bytes
    }

    fn count_lag(&mut self, cause: Cause, tags: u64, bytes: u64) {
        self.lag_tags[cause as usize] += tags;
        self.lag_bytes[cause as usize] += bytes;
    }
}

/// Who takes a topic's tags.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Kind {
    /// Takes tags.
    Subscriber,
    /// Takes tags for a [`Follower`]: not counted against [`HubLimits::subscribers_max`].
    Consumer,
    /// A viewer of one protocol.
    Viewer(Protocol),
}

/// A topic, for the API and for logs.
#[derive(Clone, Debug)]
#[allow(missing_docs, reason = "the names say it; units are in them")]
pub struct TopicInfo {
    pub key: StreamKey,
    /// Number of the newest publish.
    pub session: u64,
    /// A publisher is connected.
    pub is_live: bool,
    /// Where the publisher is, while he is there or may return.
    pub publisher: Option<String>,
    pub headers: Arc<Headers>,
    pub has_video: bool,
    pub has_audio: bool,
    pub published_tags: u64,
    pub published_bytes: u64,
    /// Over the last five seconds of stream time.
    pub bits_per_second: u64,
    /// The last complete GOP.
    pub gop_ms: u64,
    pub gop_tags: u64,
    /// Age of the newest place to start in stream time; `None`: headers and audio only.
    pub cached_ms: Option<u64>,
    pub cached_tags: u64,
    pub ring_tags: u64,
    /// Bytes of receive blocks that the ring keeps.
    pub pinned_bytes: u64,
    /// Bytes of the wire logs' blocks, and of those among them that are in use.
    pub log_bytes: u64,
    pub log_pinned_bytes: u64,
    /// How often a block of the wire logs that are open now was used again.
    pub log_reclaimed: u64,
    pub subscribers: Vec<SubscriberInfo>,
}

/// A subscriber, for the API.
#[derive(Clone, Debug)]
#[allow(missing_docs, reason = "the names say it; units are in them")]
pub struct SubscriberInfo {
    pub kind: Kind,
    pub peer: String,
    pub policy: Policy,
    pub backlog_tags: u64,
    pub backlog_bytes: u64,
    pub backlog_ms: u64,
    /// As of the last time it asked for tags.
    pub counters: Counters,
}

/// Why nobody may publish or subscribe here.
#[derive(Debug, thiserror::Error, PartialEq, Eq)]
#[allow(missing_docs, reason = "the message of each variant says it")]
pub enum HubError {
    #[error("stream {key} is being published already")]
    InUse { key: StreamKey },
    #[error("stream {key} would be one more than the limit of {max}")]
    TooManyTopics { key: StreamKey, max: usize },
    #[error("stream {key} has {max} subscribers, which is the limit")]
    TooManySubscribers { key: StreamKey, max: usize },
}

/// Another publisher took over.
#[derive(Debug, thiserror::Error, PartialEq, Eq)]
#[error("stream {key}: another publisher took over")]
pub struct Superseded {
    /// The stream.
    pub key: StreamKey,
}

/// All topics. Clones are the same hub.
#[derive(Clone)]
pub struct Hub {
    shared: Arc<Shared>,
}

struct Shared {
    limits: HubLimits,
    topics: Mutex<BTreeMap<StreamKey, SharedTopic>>,
    followers: Mutex<Followers>,
}

impl Hub {
    /// A hub without topics.
    pub fn new(limits: HubLimits) -> Self {
        let (topics, followers) = (Mutex::default(), Mutex::default());
        Self { shared: Arc::new(Shared { limits, topics, followers }) }
    }

    /// The limits it was made with.
    pub fn limits(&self) -> &HubLimits {
        &self.shared.limits
    }

    /// Begins to publish. `peer` is for the API and for logs.
    pub fn publish(&self, key: StreamKey, peer: &str) -> Result<Publisher, HubError> {
        let (topic, (session, superseded, places)) = self.with_topic(&key, |topic| {
            let mut state = topic.lock();
            if state.has_publisher() && !self.shared.limits.takeover {
                return Err(HubError::InUse { key: key.clone() });
            }
            let begins = !state.is_live();
            let (session, superseded) = state.begin_session(peer.to_owned());
            drop(state);
            let places = match begins {
                true => self.shared.followers.lock().places(topic),
                false => Vec::new(),
            };
            Ok((session, superseded, places))
        })?;
        superseded.into_iter().for_each(Waker::wake);
        places.into_iter().for_each(|place| place.hand_over(self, &topic));
        let coalesce = self.shared.limits.coalesce;
        Ok(Publisher {
            hub: self.clone(),
            topic,
            session,
            coalesce,
            last_flush: None,
            flush_at: None,
            rests: false,
            wake: Vec::new(),
        })
    }

    /// Begins to take tags, or waits for a publisher if there is none. `peer` is for the API.
    pub fn subscribe(
        &self,
        key: StreamKey,
        start: Start,
        policy: Policy,
        peer: &str,
    ) -> Result<Subscriber, HubError> {
        let (topic, slot, cursor) = self.join(&key, Kind::Subscriber, start, policy, peer)?;
        Ok(Subscriber::new(self.clone(), topic, slot, cursor))
    }

    /// Begins to take bytes, or waits for a publisher if there is none. `stream_id` is the message
    /// stream that an RTMP viewer plays on.
    pub fn view(
        &self,
        key: StreamKey,
        protocol: Protocol,
        stream_id: u32,
        start: Start,
        policy: Policy,
        peer: &str,
    ) -> Result<Viewer, HubError> {
        let (topic, slot, cursor) = self.join(&key, Kind::Viewer(protocol), start, policy, peer)?;
        Ok(Viewer::new(self.clone(), topic, protocol, stream_id, slot, cursor))
    }

    fn join(
        &self,
        key: &StreamKey,
        kind: Kind,
        start: Start,
        policy: Policy,
        peer: &str,
    ) -> Result<(SharedTopic, usize, Cursor), HubError> {
        let max = self.shared.limits.subscribers_max;
        let (topic, (slot, cursor, publisher)) = self.with_topic(key, |topic| {
            let mut state = topic.lock();
            if state.subscriber_count() >= max {
                return Err(HubError::TooManySubscribers { key: key.clone(), max });
            }
            let (slot, publisher) = state.join(kind, peer.to_owned(), policy);
            Ok((slot, Cursor::join(&state, start, policy), publisher))
        })?;
        publisher.into_iter().for_each(Waker::wake);
        Ok((topic, slot, cursor))
    }

    /// Does `f` to a topic, made if there is none, while nobody can forget it.
    fn with_topic<T>(
        &self,
        key: &StreamKey,
        f: impl FnOnce(&Topic) -> Result<T, HubError>,
    ) -> Result<(SharedTopic, T), HubError> {
        let mut topics = self.shared.topics.lock();
        let known = topics.get(key).cloned();
        let max = self.shared.limits.topics_max;
        if known.is_none() && topics.len() >= max {
            return Err(HubError::TooManyTopics { key: key.clone(), max });
        }
        let is_new = known.is_none();
        let topic = known.unwrap_or_else(|| Arc::new(Topic::new(key.clone(), self.shared.limits)));
        let value = f(&topic)?;
        if is_new {
            topics.insert(key.clone(), topic.clone());
        }
        Ok((topic, value))
    }

    fn forget_if_unused(&self, key: &StreamKey) {
        let mut topics = self.shared.topics.lock();
        if topics.get(key).is_some_and(|topic| topic.lock().is_unused()) {
            topics.remove(key);
        }
    }

    /// Whether somebody publishes this key, or did and may return.
    pub fn is_live(&self, key: &StreamKey) -> bool {
        let topic = self.shared.topics.lock().get(key).cloned();
        topic.is_some_and(|topic| topic.lock().is_live())
    }

    /// All topics with their subscribers, sorted by key.
    pub fn topics(&self) -> Vec<TopicInfo> {
        let topics: Vec<_> = self.shared.topics.lock().values().cloned().collect();
        topics.iter().map(|topic| topic.info()).collect()
    }
}

/// Pushes tags. Dropped it ends its stream, as with [`end`](Self::end); if it may return, let it
/// [`vanish`](Self::vanish) instead.
pub struct Publisher {
    hub: Hub,
    topic: SharedTopic,
    session: u64,
    coalesce: Duration,
    last_flush: Option<Instant>,
    flush_at: Option<Instant>,
    rests: bool,
    /// Kept for its capacity.
    wake: Vec<Waker>,
}

impl Publisher {
    /// Appends a tag. `pinned` says how many received bytes it keeps in memory, headers and
    /// whatever else lay between it and the tag before included.
    ///
    /// Subscribers see it at the next flush: when [`flush_at`](Self::flush_at) says, or at once.
    pub fn push(&mut self, now: Instant, tag: Tag, pinned: u32) -> Result<(), Superseded> {
        let mut state = self.topic.lock();
        if !state.is_current(self.session) {
            return Err(Superseded { key: self.topic.key().clone() });
        }
        state.push(now, tag, pinned);
        // Who joins sees all that was pushed before.
        let is_awaited = state.has_subscribers();
        drop(state);
        if self.flush_at.is_none() && is_awaited {
            // Adaptive: after a pause the first tag goes at once, and those behind it together.
            self.flush_at =
                Some(self.last_flush.map_or(now, |last| (last + self.coalesce).max(now)));
        }
        Ok(())
    }

    /// Whether anybody takes what is pushed, witnesses apart.
    pub fn is_awaited(&self) -> bool {
        self.topic.lock().has_audience()
    }

    /// Says whether it leaves what comes where it is for a while. Then whoever begins to take the
    /// stream wakes the task of the last [`poll_superseded`](Self::poll_superseded), and waits for
    /// [`catch_up`](Self::catch_up) or a flush. `false` if it must not, because somebody came.
    pub fn set_rests(&mut self, rests: bool) -> bool {
        if self.rests != rests {
            let mut state = self.topic.lock();
            self.rests = rests && !state.has_audience();
            if state.is_current(self.session) {
                state.set_publisher_rests(self.rests);
            }
        }
        self.rests == rests
    }

    /// All that has come so far is pushed: who joined meanwhile begins at its newest GOP, and not
    /// at that of the last look.
    pub fn catch_up(&mut self, now: Instant) {
        if self.topic.lock().is_catching_up() {
            self.flush_at = Some(now);
            self.flush(now);
        }
    }

    /// When to call [`flush`](Self::flush); `None` if nothing was pushed since the last time, or
    /// nobody is there to see it.
    pub fn flush_at(&self) -> Option<Instant> {
        self.flush_at
    }

    /// The earliest moment at which what is pushed from now on will be due, unless that is at once.
    /// A timer that is set to it needs not be moved with the next tag.
    pub fn next_flush_at(&self, now: Instant) -> Option<Instant> {
        self.last_flush.map(|last| last + self.coalesce).filter(|at| *at > now)
    }

    /// Shows subscribers what was pushed, and wakes those who wait.
    pub fn flush(&mut self, now: Instant) {
        if self.flush_at.take().is_some() {
            self.last_flush = Some(now);
            self.wake_subscribers();
        }
    }

    fn wake_subscribers(&mut self) {
        self.topic.lock().flush(&mut self.wake);
        // Outside the lock: the first one woken would wait for it.
        self.wake.drain(..).for_each(Waker::wake);
    }

    /// Ready when another publisher has taken over.
    pub fn poll_superseded(&self, cx: &mut Context<'_>) -> Poll<Superseded> {
        let mut state = self.topic.lock();
        if state.is_current(self.session) {
            state.set_publisher_waker(cx.waker());
            return Poll::Pending;
        }
        Poll::Ready(Superseded { key: self.topic.key().clone() })
    }

    /// The stream's name.
    pub fn key(&self) -> &StreamKey {
        self.topic.key()
    }

    /// Which publish of this key it is, counted since the topic was made.
    pub fn session(&self) -> u64 {
        self.session
    }

    /// The stream is over: subscribers get what is left, and the end.
    pub fn end(mut self) {
        self.finish(|state| state.end_session());
    }

    /// The publisher vanished: subscribers wait for it to return until the absence is ended.
    pub fn vanish(mut self) -> Absence {
        self.finish(|state| state.begin_grace());
        Absence {
            hub: self.hub.clone(),
            topic: Arc::downgrade(&self.topic),
            key: self.topic.key().clone(),
            session: self.session,
        }
    }

    fn finish(&mut self, f: impl FnOnce(&mut topic::State)) {
        let mut state = self.topic.lock();
        if state.is_current(self.session) {
            f(&mut state);
        }
        drop(state);
        self.wake_subscribers();
    }
}

impl Drop for Publisher {
    fn drop(&mut self) {
        // After `end` and `vanish` there is nothing left to end.
        self.finish(|state| state.end_session());
        self.hub.forget_if_unused(self.topic.key());
    }
}

/// A publisher that may return. [`end`](Self::end) it when the grace period is over.
pub struct Absence {
    hub: Hub,
    topic: Weak<Topic>,
    key: StreamKey,
    session: u64,
}

impl Absence {
    /// The stream's name.
    pub fn key(&self) -> &StreamKey {
        &self.key
    }

    /// Nobody returned: the stream is over. Says whether it was: `false` if somebody publishes.
    pub fn end(self) -> bool {
        let Some(topic) = self.topic.upgrade() else { return false };
        let mut state = topic.lock();
        let is_absent =
            state.session() == self.session && state.is_live() && !state.has_publisher();
        let mut wake = Vec::new();
        if is_absent {
            state.end_session();
            state.flush(&mut wake);
        }
        drop(state);
        wake.into_iter().for_each(Waker::wake);
        self.hub.forget_if_unused(&self.key);
        is_absent
    }
}
