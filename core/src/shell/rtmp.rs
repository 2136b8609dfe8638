//! One RTMP connection: its socket, its clock, and what it publishes and plays.

use std::collections::VecDeque;
use std::future::{Future, poll_fn};
use std::io::{self, IoSlice};
use std::net::SocketAddr;
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::task::{Context, Poll, ready};
use std::time::{Duration, Instant};

use bytes::{Buf, Bytes};
use smallvec::SmallVec;
use tokio::sync::watch;
use tokio::time::Sleep;

use super::doze::{Doze, Sends};
use super::ingest::Ingest;
use super::net::Stream;
use super::play::{Player, Progress};
use super::receive::poll_receive;
use super::{Counters, OpenConnection, Shared, Shutdown, now, shutdown};
use crate::blocks::BlockPool;
use crate::hub::StreamKey;
use crate::rtmp::server::Output;
use crate::rtmp::{ConnectionError, Input, ServerConnection};

/// Answers that wait to be written, in bytes, past which nothing more is read: a peer that asks
/// and does not listen waits for itself.
const OUTBOX_LEN_MAX: usize = 64 << 10;

/// How long the last words to a peer may take.
const LINGER: Duration = Duration::from_secs(5);

/// Slices in one write.
const SLICES_MAX: usize = 24;

pub(super) async fn serve<S: Stream>(
    shared: Arc<Shared>,
    stream: S,
    peer: SocketAddr,
    stopped: watch::Receiver<bool>,
    _open: OpenConnection,
) {
    let mut connection = Connection::new(shared, stream, peer, stopped);
    let end = poll_fn(|cx| connection.poll(cx)).await;
    connection.finish(end);
}

struct Connection<S> {
    shared: Arc<Shared>,
    stream: S,
    peer: String,
    blocks: BlockPool,
    rtmp: ServerConnection,
    /// When the connection wants to be told the time.
    rtmp_deadline: Option<Instant>,
    /// Answers to be written between two tags of what is played.
    outbox: VecDeque<Bytes>,
    outbox_len: usize,
    ingest: Ingest,
    player: Option<Player>,
    doze: Doze,
    timer: Pin<Box<Sleep>>,
    timer_at: Instant,
    /// Since when the socket takes nothing although there is something.
    stalled_since: Option<Instant>,
    /// The peer closed its side of the socket.
    peer_is_done: bool,
    closing: Option<Closing>,
    stopped: watch::Receiver<bool>,
    shutdown: Shutdown,
    awaits_shutdown: bool,
    is_shutting_down: bool,
}

struct Closing {
    error: Option<ConnectionError>,
    since: Instant,
    /// Our side of the socket is closed.
    has_finished: bool,
}

/// Why a connection is over.
enum End {
    Closed(Option<ConnectionError>),
    Io(io::Error),
    Stalled,
}

impl<S: Stream> Connection<S> {
    fn new(
        shared: Arc<Shared>,
        stream: S,
        peer: SocketAddr,
        stopped: watch::Receiver<bool>,
    ) -> Self {
        let now = now();
        let limits = shared.config.connection;
        // Differs from connection to connection, and not from run to run.
        let seed = shared.origin.seed ^ shared.counters.connections.load(Ordering::Relaxed);
        Self {
            stream,
            peer: peer.to_string(),
            blocks: BlockPool::counted(shared.config.blocks, shared.blocks.clone()),
            rtmp: ServerConnection::new(now, seed, limits),
            rtmp_deadline: Some(now + limits.handshake_timeout),
            outbox: VecDeque::new(),
            outbox_len: 0,
            ingest: Ingest::new(shared.clone(), stopped.clone()),
            player: None,
            doze: Doze::new(shared.config.hub.coalesce, now),
            timer: Box::pin(tokio::time::sleep(limits.handshake_timeout)),
            timer_at: now + limits.handshake_timeout,
            stalled_since: None,
            peer_is_done: false,
            closing: None,
            shutdown: shutdown(stopped.clone()),
            stopped,
            awaits_shutdown: false,
            is_shutting_down: false,
            shared,
        }
    }

    fn poll(&mut self, cx: &mut Context<'_>) -> Poll<End> {
        loop {
            let now = now();
            self.poll_shutdown(cx, now);
            let was_unheard = self.is_unheard();
            let read = match self.poll_read(cx, now) {
                Ok(read) => read,
                Err(error) => return Poll::Ready(End::Io(error)),
            };
            if self.ingest.poll_superseded(cx, &mut self.rtmp, now) {
                self.drain(now);
            }
            // All that has come since the last look is shown together.
            let due = match read.is_some() && self.doze.look_at().is_some() {
                true => None,
                false => self.ingest.flush_due(now),
            };
            if let Some(len) = self.doze.look(now, read, self.sends(), due) {
                // Whatever is wrong with the socket, the next read says it.
                let _best_effort = self.stream.set_receive_len_min(len);
            }
            if !self.ingest.set_rests(self.doze.is_alone()) {
                // Somebody came since it was looked whether anybody is there: look again.
                cx.waker().wake_by_ref();
            }
            if let Err(error) = self.poll_writes(cx, now) {
                return Poll::Ready(End::Io(error));
            }
            if self.poll_last_words(cx, now)
                && let Some(closing) = &mut self.closing
            {
                return Poll::Ready(End::Closed(closing.error.take()));
            }
            if self.is_stalled(now) {
                return Poll::Ready(End::Stalled);
            }
            if read.is_some() || was_unheard && !self.is_unheard() {
                continue;
            }
            ready!(self.poll_timer(cx, now));
            self.rtmp.handle_input(super::now(), Input::Timeout);
            self.drain(super::now());
        }
    }

    /// Looks whether the server stops. Its future has the task's waker from the first look on, so
    /// that all others are spared: a thousand viewers are woken at every tick, and never for this.
    fn poll_shutdown(&mut self, cx: &mut Context<'_>, now: Instant) {
        // An error: nobody is left to say it, which is as good.
        let is_due = !self.awaits_shutdown || !matches!(self.stopped.has_changed(), Ok(false));
        if is_due && !self.is_shutting_down && self.shutdown.as_mut().poll(cx).is_ready() {
            self.shut_down(now);
        }
        self.awaits_shutdown = true;
    }

    /// Whether the peer asks and does not listen: nothing is read meanwhile.
    fn is_unheard(&self) -> bool {
        self.closing.is_none() && self.outbox_len >= OUTBOX_LEN_MAX
    }

    /// What its peer may still send.
    fn sends(&self) -> Sends {
        match () {
            () if self.ingest.is_empty() || self.closing.is_some() || self.peer_is_done => {
                Sends::Words
            }
            () if self.ingest.is_awaited() => Sends::Watched,
            () => Sends::Unwatched,
        }
    }

    /// Reads once. Says how many bytes there were; none at the end.
    fn poll_read(&mut self, cx: &mut Context<'_>, now: Instant) -> io::Result<Option<usize>> {
        if self.is_unheard() || self.peer_is_done {
            return Ok(None);
        }
        let Poll::Ready(input) = poll_receive(cx, &mut self.stream, &mut self.blocks)? else {
            return Ok(None);
        };
        let len = match &input {
            Input::Received(bytes) => bytes.len(),
            _ => 0,
        };
        Counters::add(&self.shared.counters.received_bytes, len as u64);
        self.peer_is_done |= len == 0;
        if self.closing.is_some() {
            return Ok(Some(len));
        }
        self.rtmp.handle_input(now, input);
        self.drain(now);
        Ok(Some(len))
    }

    /// Says goodbye so that it is heard: a socket closed with unread bytes in it is reset, and a
    /// reset discards what was written last. Whether everything is said.
    fn poll_last_words(&mut self, cx: &mut Context<'_>, now: Instant) -> bool {
        let Some(closing) = &mut self.closing else { return false };
        if now >= closing.since + LINGER {
            return true;
        }
        if !self.outbox.is_empty() {
            return false;
        }
        if !closing.has_finished {
            // An error means that the peer is gone, which is as good.
            closing.has_finished = Pin::new(&mut self.stream).poll_shutdown(cx).is_ready();
        }
        closing.has_finished && self.peer_is_done
    }

    /// Does what the protocol asks for until it waits.
    fn drain(&mut self, now: Instant) {
        loop {
            match self.rtmp.poll_output() {
                Output::Send(bytes) => {
                    self.outbox_len += bytes.len();
                    self.outbox.push_back(bytes);
                }
                Output::Publish { stream_id, app, name, .. } => {
                    let key = StreamKey::new(&app, &name);
                    self.ingest.begin(&mut self.rtmp, now, stream_id, key, &self.peer);
                }
                Output::Tag { stream_id, tag, pinned } => {
                    self.ingest.push(&mut self.rtmp, now, stream_id, tag, pinned);
                }
                Output::Unpublish { stream_id } => self.ingest.end(now, stream_id),
                Output::Play { stream_id, app, name, query, .. } => {
                    self.begin_play(now, stream_id, StreamKey::new(&app, &name), &query);
                }
                Output::StopPlay { stream_id } => {
                    if self.player.as_ref().is_some_and(|player| player.stream_id() == stream_id) {
                        self.end_play();
                    }
                }
                Output::Receive { stream_id, audio, video, pause } => {
                    if let Some(player) =
                        self.player.as_mut().filter(|p| p.stream_id() == stream_id)
                    {
                        player.set_receive(audio, video, pause);
                    }
                }
                Output::Close(error) => {
                    // Now and not when the last words are said: the name is free for the next one.
                    self.ingest.vanish(now, !self.is_shutting_down);
                    self.end_play();
                    self.rtmp_deadline = None;
                    self.closing.get_or_insert(Closing { error, since: now, has_finished: false });
                    return;
                }
                Output::Wait(deadline) => {
                    self.rtmp_deadline = deadline;
                    return;
                }
            }
        }
    }

    fn begin_play(&mut self, now: Instant, stream_id: u32, key: StreamKey, query: &str) {
        if self.player.is_some() {
            let reason = "this connection plays a stream already; open another one";
            return self.rtmp.refuse_play(stream_id, "NetStream.Play.Failed", reason);
        }
        match Player::begin(&self.shared, now, stream_id, key, query, &self.peer) {
            Ok(player) => {
                self.player = Some(player);
                if self.ingest.is_empty() {
                    self.blocks.rest();
                }
            }
            Err(error) => {
                self.rtmp.refuse_play(stream_id, "NetStream.Play.Failed", &error.to_string())
            }
        }
    }

    fn end_play(&mut self) {
        let Some(mut player) = self.player.take() else { return };
        // A tag that was begun is finished, or the peer could not read what follows.
        for (index, bytes) in player.viewer().take_rest().enumerate() {
            self.outbox_len += bytes.len();
            self.outbox.insert(index, bytes);
        }
    }

    fn shut_down(&mut self, now: Instant) {
        self.is_shutting_down = true;
        if !self.ingest.is_empty() || self.player.is_none() {
            self.ingest.vanish(now, false);
            self.rtmp.shut_down("the server is shutting down");
            self.drain(now);
        }
    }

    /// Writes until there is nothing more, or the socket takes nothing more.
    fn poll_writes(&mut self, cx: &mut Context<'_>, now: Instant) -> io::Result<()> {
        while self.poll_write(cx, now)? {}
        Ok(())
    }

    /// Writes once, answers before media, in one call. Says whether anything was written.
    fn poll_write(&mut self, cx: &mut Context<'_>, now: Instant) -> io::Result<bool> {
        let mut has_batch = false;
        while let Some(player) = &mut self.player {
            match player.poll(cx, &self.shared, &mut self.rtmp, now, &self.peer) {
                Progress::Batch => {
                    has_batch = true;
                    break;
                }
                Progress::Pending => break,
                Progress::Told { is_over } => {
                    if is_over {
                        self.end_play();
                        if self.is_shutting_down {
                            self.rtmp.shut_down("the server is shutting down");
                        }
                    }
                    self.drain(now);
                    // The connection learns the time only with an input, and counts from here.
                    self.rtmp.handle_input(now, Input::Timeout);
                    self.drain(now);
                }
            }
        }
        let viewer = self.player.as_mut().filter(|_| has_batch).map(Player::viewer);
        let answers_first = viewer.as_ref().is_none_or(|viewer| viewer.is_between_tags());
        let mut slices = SmallVec::<[IoSlice<'_>; SLICES_MAX]>::new();
        let mut answers_len = 0;
        if answers_first {
            for bytes in self.outbox.iter().take(SLICES_MAX / 2) {
                answers_len += bytes.len();
                slices.push(IoSlice::new(bytes));
            }
        }
        if let Some(viewer) = &viewer {
            let room = SLICES_MAX - slices.len();
            slices
                .extend(viewer.batch().slices().iter().take(room).map(|bytes| IoSlice::new(bytes)));
        }
        if slices.is_empty() {
            self.stalled_since = None;
            return Ok(false);
        }
        let Poll::Ready(written) = Pin::new(&mut self.stream).poll_write_vectored(cx, &slices)
        else {
            self.stalled_since.get_or_insert(now);
            return Ok(false);
        };
        let written = written?;
        drop(slices);
        if written == 0 {
            return Err(io::ErrorKind::WriteZero.into());
        }
        self.stalled_since = None;
        Counters::add(&self.shared.counters.sent_bytes, written as u64);
        let answered = written.min(answers_len);
        if let Some(viewer) = viewer {
            viewer.advance(written - answered);
        }
        self.advance_outbox(answered);
        Ok(true)
    }

    fn advance_outbox(&mut self, mut len: usize) {
        self.outbox_len -= len;
        while let Some(front) = self.outbox.front_mut()
            && len > 0
        {
            let take = len.min(front.len());
            front.advance(take);
            len -= take;
            if front.is_empty() {
                self.outbox.pop_front();
            }
        }
    }

    fn is_stalled(&self, now: Instant) -> bool {
        self.stalled_since
            .is_some_and(|since| now >= since + self.shared.config.play.write_stall_timeout)
    }

    /// Ready when it is time for something.
    fn poll_timer(&mut self, cx: &mut Context<'_>, now: Instant) -> Poll<()> {
        let deadline = [
            self.rtmp_deadline,
            self.ingest.flush_due(now),
            self.doze.look_at(),
            self.player.as_ref().and_then(|player| player.deadline(now)),
            self.stalled_since.map(|since| since + self.shared.config.play.write_stall_timeout),
            self.closing.as_ref().map(|closing| closing.since + LINGER),
        ]
        .into_iter()
        .flatten()
        .min();
        // Most deadlines move away all the time; the timer follows only when one comes nearer.
        // Firing early is harmless, and rarer than moving it with every read.
        if let Some(deadline) = deadline
            && (deadline < self.timer_at || self.timer.is_elapsed())
        {
            self.timer_at = deadline;
            self.timer.as_mut().reset(deadline.into());
        }
        self.timer.as_mut().poll(cx)
    }

    fn finish(mut self, end: End) {
        let now = now();
        self.end_play();
        let offset = self.rtmp.received_bytes();
        let peer = &self.peer;
        match &end {
            End::Closed(None) => tracing::debug!(peer, offset, "connection closed"),
            End::Closed(Some(error)) => {
                Counters::add(&self.shared.counters.failed_connections, 1);
                // To be silent violates nothing: players stay when a stream is over, and scanners call.
                match error {
                    ConnectionError::Timeout { .. } => {
                        tracing::info!(peer, offset, %error, "connection closed");
                    }
                    _ => tracing::warn!(peer, offset, %error, "connection closed"),
                }
            }
            End::Io(error) => tracing::info!(peer, offset, %error, "connection lost"),
            End::Stalled => {
                tracing::info!(peer, offset, "connection closed: the peer takes nothing")
            }
        }
        self.ingest.vanish(now, !self.is_shutting_down);
    }
}
