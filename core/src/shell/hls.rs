//! HLS: a presentation for each stream that is live, made by a consumer and shared by its viewers.
//!
//! It is made for every stream, watched or not: the first viewer finds a full window and a picture
//! at once, and the bandwidth is known. It costs one copy of the stream and the memory of the window.

use std::collections::BTreeMap;
use std::future::poll_fn;
use std::pin::pin;
use std::sync::Arc;
use std::task::{Context, Poll, Waker};
use std::time::{Duration, Instant};

use bytes::Bytes;
use tokio::sync::Notify;

use super::consumers::Consumer;
use super::lag_log::{LagLog, Lost};
use super::store::{self, Store};
use super::{Shared, now};
use crate::config::Hls;
use crate::hls::{Delta, Presentation, Settings, State, Totals, Wanted};
use crate::hub::{Cause, Delivery, Policy, StreamKey, Subscriber};
use crate::sync::Mutex;

/// Lives of one stream that are over and may still be fetched, with the newest one: who publishes over
/// and over again does not fill the memory.
const LIVES_MAX: usize = 4;

/// The presentations of all streams, by key: the lives of each, the newest last, none without any.
#[derive(Default)]
pub(crate) struct Presentations {
    streams: Mutex<BTreeMap<StreamKey, Vec<Arc<LiveStream>>>>,
    begun: Notify,
}

impl Presentations {
    pub(crate) fn get(&self, key: &StreamKey) -> Option<Arc<LiveStream>> {
        self.streams.lock().get(key)?.last().cloned()
    }

    /// Whether no other life of the stream has begun since this one.
    pub(crate) fn is_newest(&self, key: &StreamKey, stream: &Arc<LiveStream>) -> bool {
        self.get(key).is_none_or(|newest| Arc::ptr_eq(&newest, stream))
    }

    /// The life of a stream that a file name is of.
    pub(crate) fn of_name(&self, key: &StreamKey, name: &str) -> Option<(Arc<LiveStream>, Wanted)> {
        let lives = self.streams.lock().get(key)?.clone();
        lives.into_iter().rev().find_map(|life| {
            let wanted = life.read(|presentation| presentation.wanted(name))?;
            Some((life, wanted))
        })
    }

    pub(crate) fn all(&self) -> Vec<(StreamKey, Arc<LiveStream>)> {
        let streams = self.streams.lock();
        let newest = |(key, lives): (&StreamKey, &Vec<Arc<LiveStream>>)| {
            lives.last().map(|stream| (key.clone(), stream.clone()))
        };
        streams.iter().filter_map(newest).collect()
    }

    /// The stream, waited for until `deadline` while `is_expected`.
    pub(crate) async fn wait_for(
        &self,
        key: &StreamKey,
        deadline: Instant,
        is_expected: impl Fn() -> bool,
    ) -> Option<Arc<LiveStream>> {
        loop {
            let begun = self.begun.notified();
            match self.get(key) {
                // The life that is over is not the one that has begun and is about to show up.
                Some(stream) if !stream.is_over() || !is_expected() => return Some(stream),
                None if !is_expected() => return None,
                over => {
                    if tokio::time::timeout_at(deadline.into(), begun).await.is_err() {
                        return over;
                    }
                }
            }
        }
    }

    fn begin(&self, shared: &Shared, key: &StreamKey) -> Arc<LiveStream> {
        let utc = shared.utc();
        // No stream has four new segments a second for long, however often it breaks off: numbers stay
        // behind the clock, and a restart goes on above them.
        let former = self.get(key);
        let before = former.as_ref().map_or(0, |former| former.read(Presentation::next_number));
        let first_number = number_at(utc).max(before);
        // Milliseconds, and what differs between two starts of a server whose clock was set back.
        let id = format!("{:x}{:04x}", utc.as_millis(), shared.origin.seed & 0xFFFF);
        let mut presentation = Presentation::new(shared.config.hls.settings, id, first_number);
        if let Some(former) = former {
            former.read(|former| presentation.keep_promises_of(former));
        }
        let stream = Arc::new(LiveStream::new(presentation, shared.config.hls));
        let mut streams = self.streams.lock();
        let lives = streams.entry(key.clone()).or_default();
        lives.push(stream.clone());
        lives.drain(..lives.len().saturating_sub(LIVES_MAX));
        drop(streams);
        self.begun.notify_waiters();
        stream
    }

    fn forget(&self, key: &StreamKey, stream: &Arc<LiveStream>) {
        let mut streams = self.streams.lock();
        let Some(lives) = streams.get_mut(key) else { return };
        lives.retain(|life| !Arc::ptr_eq(life, stream));
        if lives.is_empty() {
            streams.remove(key);
        }
    }
}

/// One life of a stream, and who waits for its next part.
pub(crate) struct LiveStream {
    inner: Mutex<Inner>,
    limits: Hls,
}

struct Inner {
    presentation: Presentation,
    waiting: BTreeMap<u64, Waker>,
    next_waiter: u64,
    blocked: usize,
    viewers: usize,
    tasks: usize,
    cache: BTreeMap<(Delta, bool), (u64, Bytes)>,
}

/// A place among those who wait; given up when it is dropped.
pub(crate) struct Waiter {
    stream: Arc<LiveStream>,
    id: u64,
    whose: Whose,
}

/// Whose place it is.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(crate) enum Whose {
    /// Of a request that waits.
    Request,
    /// Of a viewer of the endless file.
    Viewer,
    /// Of a task of ours.
    Task,
}

/// What is going on, for the API and the metrics.
#[derive(Clone)]
pub(crate) struct Watched {
    pub(crate) state: State,
    pub(crate) totals: Totals,
    pub(crate) blocked: usize,
    pub(crate) viewers: usize,
}

/// The number of a segment that begins at this time of day, if none before has a larger one: quarters
/// of a second since 2020. That is less than 2^31 until 2037, for players that count so far.
fn number_at(utc: Duration) -> u64 {
    const YEAR_2020: Duration = Duration::from_secs(1_577_836_800);
    utc.saturating_sub(YEAR_2020).as_millis() as u64 / 250
}

impl LiveStream {
    fn new(presentation: Presentation, limits: Hls) -> Self {
        let inner = Inner {
            presentation,
            waiting: BTreeMap::new(),
            next_waiter: 0,
            blocked: 0,
            viewers: 0,
            tasks: 0,
            cache: BTreeMap::new(),
        };
        Self { inner: Mutex::new(inner), limits }
    }

    /// Looks at the presentation.
    pub(crate) fn read<T>(&self, read: impl FnOnce(&Presentation) -> T) -> T {
        read(&self.inner.lock().presentation)
    }

    pub(crate) fn is_over(&self) -> bool {
        self.read(|presentation| presentation.state() == State::Ended)
    }

    pub(crate) fn watched(&self) -> Watched {
        let inner = self.inner.lock();
        Watched {
            state: inner.presentation.state(),
            totals: inner.presentation.totals(),
            blocked: inner.blocked,
            viewers: inner.viewers,
        }
    }

    /// The media playlist, written once for all who ask before it changes.
    pub(crate) fn playlist(
        &self,
        delta: Delta,
        compress: fn(&str) -> Option<Bytes>,
    ) -> Option<Bytes> {
        let mut inner = self.inner.lock();
        let version = inner.presentation.version();
        let key = (delta, compress("").is_some());
        if let Some((_, bytes)) = inner.cache.get(&key).filter(|(cached, _)| *cached == version) {
            return Some(bytes.clone());
        }
        let text = inner.presentation.media(delta);
        let bytes = compress(&text).unwrap_or_else(|| Bytes::from(text));
        inner.cache.insert(key, (version, bytes.clone()));
        Some(bytes)
    }

    /// Changes the presentation, and wakes who waits if there is anything new.
    fn change(&self, change: impl FnOnce(&mut Presentation)) {
        let mut inner = self.inner.lock();
        let (version, state) = (inner.presentation.version(), inner.presentation.state());
        change(&mut inner.presentation);
        let is_new = inner.presentation.version() != version || inner.presentation.state() != state;
        let woken = if is_new { std::mem::take(&mut inner.waiting) } else { BTreeMap::new() };
        drop(inner);
        woken.into_values().for_each(Waker::wake);
    }

    /// A place in the line; `None`: there are too many.
    pub(crate) fn wait_in_line(self: &Arc<Self>, whose: Whose) -> Option<Waiter> {
        let mut inner = self.inner.lock();
        let (count, max) = match whose {
            Whose::Viewer => (&mut inner.viewers, self.limits.viewers_max),
            Whose::Request => (&mut inner.blocked, self.limits.blocked_requests_max),
            Whose::Task => (&mut inner.tasks, usize::MAX),
        };
        if *count >= max {
            return None;
        }
        *count += 1;
        inner.next_waiter += 1;
        let id = inner.next_waiter;
        Some(Waiter { stream: self.clone(), id, whose })
    }
}

impl Waiter {
    /// What `read` finds; if nothing, the task is woken when there is something new.
    pub(crate) fn poll<T>(
        &self,
        cx: &mut Context<'_>,
        read: impl FnOnce(&Presentation) -> Option<T>,
    ) -> Poll<T> {
        let mut inner = self.stream.inner.lock();
        match read(&inner.presentation) {
            Some(found) => Poll::Ready(found),
            None => {
                inner.waiting.insert(self.id, cx.waker().clone());
                Poll::Pending
            }
        }
    }

    /// Waits until `read` finds something; `None`: not before `deadline`.
    pub(crate) async fn wait<T>(
        &self,
        deadline: Instant,
        read: impl Fn(&Presentation) -> Option<T>,
    ) -> Option<T> {
        let found = poll_fn(|cx| self.poll(cx, &read));
        tokio::time::timeout_at(deadline.into(), found).await.ok()
    }
}

impl Drop for Waiter {
    fn drop(&mut self) {
        let mut inner = self.stream.inner.lock();
        inner.waiting.remove(&self.id);
        match self.whose {
            Whose::Viewer => inner.viewers -= 1,
            Whose::Request => inner.blocked -= 1,
            Whose::Task => inner.tasks -= 1,
        }
    }
}

/// Makes the presentations.
pub(super) struct HlsConsumer {
    shared: Arc<Shared>,
    /// Where segments are copied.
    store: Option<Store>,
}

impl HlsConsumer {
    pub(super) fn new(shared: &Arc<Shared>, store: Option<Store>) -> Self {
        let store = store.filter(|_| shared.config.store.hls);
        Self { shared: shared.clone(), store }
    }

    /// Feeds the presentation until the stream is over.
    async fn present(&self, mut subscriber: Subscriber, stream: &Arc<LiveStream>) {
        let shared = &self.shared;
        let key = subscriber.key().clone();
        let (mut is_told, mut lags) = (false, LagLog::default());
        let log = |lost: Option<Lost>| {
            if let Some(Lost { times, tags, ms }) = lost {
                tracing::warn!(stream = %key, discontinuities = times, tags, ms, "HLS was too slow");
            }
        };
        let mut look = pin!(tokio::time::sleep(LOOK_INTERVAL));
        loop {
            let delivery = tokio::select! {
                biased;
                delivery = poll_fn(|cx| subscriber.poll_delivery(cx)) => delivery,
                () = &mut look => {
                    stream.change(|presentation| presentation.idle(shared.utc()));
                    look.as_mut().reset((now() + LOOK_INTERVAL).into());
                    continue;
                }
            };
            match delivery {
                Delivery::Tag { tag, .. } => {
                    let (session, utc) = (subscriber.session(), shared.utc());
                    stream.change(|presentation| presentation.push(&tag, session, utc));
                }
                Delivery::Lag(lag) if lag.cause == Cause::Overflow => {
                    log(lags.add(&lag, now()));
                    stream.change(Presentation::lose);
                }
                Delivery::Lag(_) => {}
                Delivery::End | Delivery::Disconnected => break,
            }
            if !is_told && let State::Unsupported(reason) = stream.read(Presentation::state) {
                is_told = true;
                tracing::warn!(stream = %key, %reason, "no HLS");
            }
        }
        log(lags.rest());
        stream.change(Presentation::end);
    }
}

impl Consumer for HlsConsumer {
    const NAME: &'static str = "hls";

    fn policy(&self, _key: &StreamKey) -> Option<Policy> {
        let hls = &self.shared.config.hls;
        hls.enabled.then_some(hls.policy)
    }

    async fn run(self: Arc<Self>, subscriber: Subscriber) {
        let shared = &self.shared;
        let key = subscriber.key().clone();
        let stream = shared.presentations.begin(shared, &key);
        let presented = async {
            self.present(subscriber, &stream).await;
            now()
        };
        let stored = async {
            let store = self.store.as_ref()?;
            Some((store.clone(), store::keep_up(store, shared, &key, &stream).await))
        };
        let (ended_at, stored) = tokio::join!(presented, stored);
        let retention = retention(&shared.config.hls.settings);
        let shared = shared.clone();
        // Not part of the run: the server need not wait for it when it stops.
        drop(tokio::spawn(async move {
            tokio::time::sleep_until((ended_at + retention).into()).await;
            shared.presentations.forget(&key, &stream);
            if let Some((store, shelf)) = stored {
                let is_last = shared.presentations.get(&key).is_none();
                store::clear(&store, &shared, &key, &shelf, is_last).await;
            }
        }));
    }
}

/// How often it is looked whether anything comes: a fraction of the shortest target duration.
const LOOK_INTERVAL: Duration = Duration::from_millis(250);

/// How long a stream that is over stays, unless another of its name begins.
fn retention(settings: &Settings) -> Duration {
    // RFC 8216 6.2.2: a segment's length and that of the playlist; players may be late by a target.
    Duration::from_millis(settings.window_ms + 3 * settings.target_duration_ms_max)
}
