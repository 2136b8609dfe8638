//! Ingest: what a connection publishes, from its messages into the hub.

use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::Instant;

use smallvec::SmallVec;
use tokio::runtime::Handle;
use tokio::sync::watch;

use super::{Counters, Shared, end_after_grace, now};
use crate::flv::Tag;
use crate::hub::{Publisher, StreamKey};
use crate::rtmp::ServerConnection;

/// `NetStream.Publish.BadName` is what encoders show as "stream key in use".
const BAD_NAME: &str = "NetStream.Publish.BadName";

/// The streams that one connection publishes: one, nearly always.
pub(super) struct Ingest {
    shared: Arc<Shared>,
    stopped: watch::Receiver<bool>,
    published: SmallVec<[Published; 1]>,
}

struct Published {
    stream_id: u32,
    publisher: Publisher,
    tags: u64,
    bytes: u64,
    began: Instant,
}

impl Ingest {
    pub(super) fn new(shared: Arc<Shared>, stopped: watch::Receiver<bool>) -> Self {
        Self { shared, stopped, published: SmallVec::new() }
    }

    pub(super) fn is_empty(&self) -> bool {
        self.published.is_empty()
    }

    pub(super) fn begin(
        &mut self,
        rtmp: &mut ServerConnection,
        now: Instant,
        stream_id: u32,
        key: StreamKey,
        peer: &str,
    ) {
        match self.shared.hub.publish(key.clone(), peer) {
            Ok(publisher) => {
                let session = publisher.session();
                tracing::info!(peer, stream = %key, session, "publishing begins");
                rtmp.accept_publish(stream_id);
                self.published.push(Published {
                    stream_id,
                    publisher,
                    tags: 0,
                    bytes: 0,
                    began: now,
                });
            }
            Err(error) => {
                tracing::warn!(peer, stream = %key, %error, "publisher refused");
                rtmp.refuse_publish(stream_id, BAD_NAME, &error.to_string());
            }
        }
    }

    pub(super) fn push(
        &mut self,
        rtmp: &mut ServerConnection,
        now: Instant,
        stream_id: u32,
        tag: Tag,
        pinned: u32,
    ) {
        let Some(index) =
            self.published.iter().position(|published| published.stream_id == stream_id)
        else {
            return;
        };
        let published = &mut self.published[index];
        published.tags += 1;
        published.bytes += tag.payload.len() as u64;
        Counters::add(&self.shared.counters.published_tags, 1);
        if let Err(superseded) = published.publisher.push(now, tag, pinned) {
            rtmp.refuse_publish(stream_id, BAD_NAME, &superseded.to_string());
            self.remove(index, now, "another publisher took over");
        }
    }

    /// The publisher said goodbye.
    pub(super) fn end(&mut self, now: Instant, stream_id: u32) {
        if let Some(index) =
            self.published.iter().position(|published| published.stream_id == stream_id)
            && let Some(published) = self.remove(index, now, "the publisher stopped")
        {
            published.publisher.end();
        }
    }

    /// The connection is gone, or the server stops: whoever comes back finds his viewers waiting.
    pub(super) fn vanish(&mut self, now: Instant, may_return: bool) {
        while let Some(published) = self.remove(0, now, "the connection is gone") {
            match may_return {
                true => {
                    let absence = published.publisher.vanish();
                    tokio::spawn(end_after_grace(
                        self.shared.config.grace,
                        absence,
                        self.stopped.clone(),
                    ));
                }
                false => published.publisher.end(),
            }
        }
    }

    fn remove(&mut self, index: usize, now: Instant, reason: &str) -> Option<Published> {
        if index >= self.published.len() {
            return None;
        }
        let published = self.published.remove(index);
        tracing::info!(
            stream = %published.publisher.key(),
            tags = published.tags,
            bytes = published.bytes,
            seconds = now.saturating_duration_since(published.began).as_secs_f64(),
            "publishing ends: {reason}"
        );
        Some(published)
    }

    /// Shows viewers what they may see by now, behind the last of what has come. Says when to come
    /// again.
    pub(super) fn flush_due(&mut self, now: Instant) -> Option<Instant> {
        for published in &mut self.published {
            published.publisher.catch_up(now);
            if published.publisher.flush_at().is_some_and(|at| at <= now) {
                published.publisher.flush(now);
            }
        }
        // Nobody waits for what is pushed into a stream that nobody takes.
        let next =
            |publisher: &Publisher| publisher.next_flush_at(now).filter(|_| publisher.is_awaited());
        let due = |publisher: &Publisher| publisher.flush_at().or_else(|| next(publisher));
        self.published.iter().filter_map(|published| due(&published.publisher)).min()
    }

    /// What comes is left where it is for a while, or no more. `false` if it must not be.
    pub(super) fn set_rests(&mut self, rests: bool) -> bool {
        let mut may = true;
        self.published.iter_mut().for_each(|published| may &= published.publisher.set_rests(rests));
        may
    }

    /// Whether anybody takes any of it.
    pub(super) fn is_awaited(&self) -> bool {
        self.published.iter().any(|published| published.publisher.is_awaited())
    }

    /// Refuses publishers that were taken over while they said nothing. Says whether there was one.
    pub(super) fn poll_superseded(
        &mut self,
        cx: &mut Context<'_>,
        rtmp: &mut ServerConnection,
        now: Instant,
    ) -> bool {
        let mut found = false;
        let mut index = 0;
        while let Some(published) = self.published.get(index) {
            match published.publisher.poll_superseded(cx) {
                Poll::Ready(superseded) => {
                    rtmp.refuse_publish(published.stream_id, BAD_NAME, &superseded.to_string());
                    self.remove(index, now, "another publisher took over");
                    found = true;
                }
                Poll::Pending => index += 1,
            }
        }
        found
    }
}

impl Drop for Ingest {
    /// A task that was cancelled, or that panicked, has not said goodbye for its publishers: it is
    /// as if their network had gone.
    fn drop(&mut self) {
        // Without a runtime nobody is left who could return, or wait.
        if !self.is_empty() && Handle::try_current().is_ok() {
            let may_return = !*self.stopped.borrow();
            self.vanish(now(), may_return);
        }
    }
}
