//! What the log says of one viewer: that it came, what it lost, and its account when it left.

use crate::hub::{Cause, Counters, Lag, Start, StreamKey};

/// The log of one viewer, whatever its protocol.
pub(super) struct ViewerLog {
    peer: String,
    key: StreamKey,
    has_lagged: bool,
}

impl ViewerLog {
    pub(super) fn begin(peer: &str, key: StreamKey, start: Start) -> Self {
        tracing::debug!(peer, stream = %key, ?start, "playing begins");
        Self { peer: peer.to_owned(), key, has_lagged: false }
    }

    pub(super) fn key(&self) -> &StreamKey {
        &self.key
    }

    /// Each lag, for those who trace; the first for want of speed, for everybody.
    pub(super) fn lags(&mut self, lags: &[Lag]) {
        let Self { peer, key, .. } = self;
        for &Lag { cause, tags, bytes, ms } in lags {
            tracing::trace!(peer, stream = %key, ?cause, tags, bytes, ms, "lag");
            if cause == Cause::Overflow && !self.has_lagged {
                self.has_lagged = true;
                tracing::info!(peer, stream = %key, tags, ms, "a slow player lost tags, its first");
            }
        }
    }

    pub(super) fn end(&self, counters: Counters) {
        tracing::debug!(
            peer = self.peer,
            stream = %self.key,
            published = counters.published_tags,
            delivered = counters.delivered_tags,
            lag = counters.lag_tags.iter().sum::<u64>(),
            unsent = counters.unsent_tags,
            "playing ends"
        );
    }
}
