//! Play: what a connection watches, from the hub's wire log into its socket.

use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::Instant;

use super::Shared;
use super::viewer_log::ViewerLog;
use crate::hub::{Next, Receive, StreamKey, Viewer};
use crate::rtmp::ServerConnection;
use crate::wire_log::Protocol;

/// The stream that one connection plays.
pub(super) struct Player {
    stream_id: u32,
    viewer: Viewer,
    receive: Receive,
    /// Whether the player was told that it plays. It is told with the first bytes, in one write.
    is_accepted: bool,
    /// How long it waits for somebody to publish.
    wait_until: Instant,
    log: ViewerLog,
}

/// What came of asking a player for bytes.
pub(super) enum Progress {
    /// There are bytes in [`Viewer::poll_batch`]'s batch.
    Batch,
    /// Nothing to write yet.
    Pending,
    /// The connection has something to say: drain it. Its playing may be over.
    Told {
        /// Whether the player is to be dropped.
        is_over: bool,
    },
}

impl Player {
    pub(super) fn begin(
        shared: &Arc<Shared>,
        now: Instant,
        stream_id: u32,
        key: StreamKey,
        query: &str,
        peer: &str,
    ) -> Result<Self, crate::hub::HubError> {
        let play = &shared.config.play;
        let start = play.start_of(query);
        let viewer =
            shared.hub.view(key.clone(), Protocol::Rtmp, stream_id, start, play.policy, peer)?;
        Ok(Self {
            stream_id,
            viewer,
            receive: Receive::default(),
            is_accepted: false,
            wait_until: now + play.wait,
            log: ViewerLog::begin(peer, key, start),
        })
    }

    pub(super) fn stream_id(&self) -> u32 {
        self.stream_id
    }

    pub(super) fn viewer(&mut self) -> &mut Viewer {
        &mut self.viewer
    }

    /// Looks for bytes; answers the player's request with the first.
    pub(super) fn poll(
        &mut self,
        cx: &mut Context<'_>,
        shared: &Shared,
        rtmp: &mut ServerConnection,
        now: Instant,
        peer: &str,
    ) -> Progress {
        match self.viewer.poll_batch(cx, shared.config.play.write_len_max) {
            Poll::Ready(Next::Batch(batch)) => {
                self.log.lags(batch.lags());
                if self.is_accepted {
                    return Progress::Batch;
                }
                self.is_accepted = true;
                rtmp.accept_play(self.stream_id);
                Progress::Told { is_over: false }
            }
            Poll::Ready(Next::End) => {
                match self.is_accepted {
                    true => rtmp.end_play(self.stream_id),
                    false => self.refuse(rtmp, "the stream has just ended"),
                }
                Progress::Told { is_over: true }
            }
            Poll::Ready(Next::Disconnected) => {
                tracing::info!(peer, stream = %self.log.key(), "player disconnected: it was too slow");
                self.refuse(rtmp, "too slow for this stream");
                Progress::Told { is_over: true }
            }
            Poll::Pending
                if !self.is_accepted
                    && now >= self.wait_until
                    && !shared.hub.is_live(self.log.key()) =>
            {
                tracing::info!(peer, stream = %self.log.key(), "player refused: nobody publishes this stream");
                self.refuse(rtmp, "nobody publishes this stream");
                Progress::Told { is_over: true }
            }
            Poll::Pending => Progress::Pending,
        }
    }

    fn refuse(&self, rtmp: &mut ServerConnection, reason: &str) {
        rtmp.refuse_play(
            self.stream_id,
            "NetStream.Play.StreamNotFound",
            &format!("{}: {reason}", self.log.key()),
        );
    }

    /// When to look although nobody published anything.
    pub(super) fn deadline(&self, now: Instant) -> Option<Instant> {
        (!self.is_accepted && self.wait_until > now).then_some(self.wait_until)
    }

    pub(super) fn set_receive(
        &mut self,
        audio: Option<bool>,
        video: Option<bool>,
        pause: Option<bool>,
    ) {
        self.receive.audio = audio.unwrap_or(self.receive.audio);
        self.receive.video = video.unwrap_or(self.receive.video);
        self.receive.paused = pause.unwrap_or(self.receive.paused);
        self.viewer.set_receive(self.receive);
    }
}

impl Drop for Player {
    fn drop(&mut self) {
        self.log.end(self.viewer.counters());
    }
}
