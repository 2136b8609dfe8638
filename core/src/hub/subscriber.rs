//! Subscriber: takes a topic's tags one by one, as consumers do.

use std::task::{Context, Poll, Waker};

use super::cursor::{Cursor, HeadersDue, Step};
use super::topic::SharedTopic;
use super::{Counters, Delivery, Hub, Receive, StreamKey};
use crate::flv::Tag;

/// Takes tags. Dropping it leaves the topic.
///
/// Ask until it has nothing more, then wait to be woken:
///
/// ```
/// # use std::time::Instant;
/// # use forebay::{flv::{Tag, TagKind}, time::Timestamp};
/// use forebay::hub::{Delivery, Hub, HubLimits, Policy, Start};
/// # let now = Instant::now();
/// # let metadata = Tag {
/// #     kind: TagKind::Script, timestamp: Timestamp::ZERO, payload: b"\x02\x00\x0aonMetaData\x05".as_slice().into(),
/// # };
/// let hub = Hub::new(HubLimits::default());
/// let mut publisher = hub.publish("live/obs".into(), "127.0.0.1:5000")?;
/// let mut subscriber = hub.subscribe("live/obs".into(), Start::Gop, Policy::default(), "archive")?;
/// publisher.push(now, metadata, 0)?;
/// publisher.flush(now);
/// while let Some(delivery) = subscriber.next_delivery() {
///     match delivery {
///         Delivery::Tag { tag, .. } => println!("{:?} at {:?}", tag.kind, tag.timestamp),
///         Delivery::Lag(lag) => println!("{} tags lost", lag.tags),
///         Delivery::End | Delivery::Disconnected => break,
///     }
/// }
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
pub struct Subscriber {
    hub: Hub,
    topic: SharedTopic,
    slot: usize,
    cursor: Cursor,
    /// Headers to give before the next tag, from the last one to the first.
    headers: Vec<Tag>,
    session: u64,
}

impl Subscriber {
    pub(super) fn new(hub: Hub, topic: SharedTopic, slot: usize, cursor: Cursor) -> Self {
        Self { hub, topic, slot, cursor, headers: Vec::new(), session: 0 }
    }

    /// What comes next, or `None` until the publisher pushes more.
    pub fn next_delivery(&mut self) -> Option<Delivery> {
        match self.poll_delivery(&mut Context::from_waker(Waker::noop())) {
            Poll::Ready(delivery) => Some(delivery),
            Poll::Pending => None,
        }
    }

    /// What comes next; if nothing, the task is woken at the publisher's next flush.
    pub fn poll_delivery(&mut self, cx: &mut Context<'_>) -> Poll<Delivery> {
        if let Some(tag) = self.headers.pop() {
            return Poll::Ready(Delivery::Tag { number: None, tag });
        }
        let topic = self.topic.clone();
        let mut state = topic.lock();
        let delivery = match self.cursor.step(&state) {
            Step::Headers(HeadersDue { headers, timestamp }) => {
                let repeated = |tag: &Tag| Tag { timestamp, ..tag.clone() };
                self.headers.extend(headers.tags().map(repeated));
                self.headers.reverse();
                let next = state.ring.get(self.cursor.number());
                self.session = next.map_or(state.session(), |entry| entry.session);
                drop(state);
                // Empty headers leave nothing to give: look again.
                return self.poll_delivery(cx);
            }
            Step::Lag(lag) => Some(Delivery::Lag(lag)),
            Step::Tag(number) => state.ring.get(number).map(|entry| {
                let tag = entry.tag.clone();
                self.session = entry.session;
                self.cursor.given(1, tag.payload.len() as u64);
                self.cursor.has_seen(&state.ring, number);
                Delivery::Tag { number: Some(number), tag }
            }),
            Step::Pending => None,
            Step::End => Some(Delivery::End),
            Step::Disconnected => Some(Delivery::Disconnected),
        };
        state.note(self.slot, &self.cursor, delivery.is_none().then_some(cx.waker()));
        delivery.map_or(Poll::Pending, Poll::Ready)
    }

    /// The stream's name.
    pub fn key(&self) -> &StreamKey {
        self.topic.key()
    }

    /// Ready once the stream is over, whatever of it is still to be taken; until then the task is
    /// woken at each of the publisher's flushes.
    pub fn poll_over(&mut self, cx: &mut Context<'_>) -> Poll<()> {
        let mut state = self.topic.lock();
        if self.cursor.has_ended(&state) {
            return Poll::Ready(());
        }
        state.note(self.slot, &self.cursor, Some(cx.waker()));
        Poll::Pending
    }

    /// Which publish the last tag came with: another number is another encoder run, whose headers
    /// and time may have nothing to do with the last one's. Repeated headers belong to what follows.
    pub fn session(&self) -> u64 {
        self.session
    }

    /// What kinds it wants from now on.
    pub fn set_receive(&mut self, receive: Receive) {
        self.cursor.set_receive(receive);
    }

    /// The account: published, delivered, lost, unsent.
    pub fn counters(&self) -> Counters {
        self.cursor.counters(&self.topic.lock().ring)
    }
}

impl Drop for Subscriber {
    fn drop(&mut self) {
        self.topic.lock().leave(self.slot);
        self.hub.forget_if_unused(self.topic.key());
    }
}
