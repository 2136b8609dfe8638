//! A client's connection to another RTMP server: its socket and its clock, to publish or to play.

use std::collections::VecDeque;
use std::future::{Future, poll_fn};
use std::io;
use std::pin::Pin;
use std::task::{Context, Poll};
use std::time::{Duration, Instant};

use bytes::{Buf, Bytes};
use tokio::time::Sleep;

use super::net::{Net, Stream};
use super::now;
use super::receive::poll_receive;
use crate::blocks::{BlockLimits, BlockPool};
use crate::flv::Tag;
use crate::rtmp::client::{ClientError, ClientOptions, Output, Role};
use crate::rtmp::{ClientConnection, Input, ServerCodecs, Url};

/// Pieces that wait to be written, past which nothing more is read: a server that asks and does
/// not listen waits for itself.
const OUTBOX_PIECES_MAX: usize = 64;

/// How long the last words to a server may take.
const LINGER: Duration = Duration::from_secs(2);

/// What a client saw.
#[derive(Debug)]
pub enum Event {
    /// The server accepted.
    Started,
    /// A tag of the stream being played, and the received bytes that it pins.
    Tag(Tag, u32),
    /// The server says that the publisher of the stream being played has left.
    Ended,
    /// The server closed the connection, having said all it wanted to.
    Closed,
}

/// Why a client's connection came to nothing. The message has the reason in it.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// There is no TCP connection.
    #[error("cannot connect to {peer}: {reason}")]
    Connect {
        /// Host and port.
        peer: String,
        /// Why.
        reason: io::Error,
    },
    /// The URL says `rtmps`.
    #[error("{peer}: rtmps is not supported")]
    Tls {
        /// Host and port.
        peer: String,
    },
    /// The server said no, went silent, or does not speak RTMP.
    #[error("{peer}: {reason}")]
    Rtmp {
        /// Host and port.
        peer: String,
        /// Why.
        reason: ClientError,
    },
    /// The socket failed.
    #[error("{peer}: the connection was lost: {reason}")]
    Lost {
        /// Host and port.
        peer: String,
        /// Why.
        reason: io::Error,
    },
    /// The server closed the connection to a publisher that had more to say.
    #[error("{peer}: the server closed the connection")]
    Closed {
        /// Host and port.
        peer: String,
    },
}

/// Dials the host of `url`, for at most `timeout`.
///
/// # Errors
///
/// If it does not answer or does not listen.
pub async fn dial<N: Net>(net: &N, url: &Url, timeout: Duration) -> Result<N::Stream, Error> {
    if url.is_tls() {
        return Err(Error::Tls { peer: peer_of(url) });
    }
    dial_host(net, url, timeout).await
}

/// The same, whatever is to be spoken on it.
pub(super) async fn dial_host<N: Net>(
    net: &N,
    url: &Url,
    timeout: Duration,
) -> Result<N::Stream, Error> {
    let peer = peer_of(url);
    let connected = tokio::time::timeout(timeout, net.connect(url.host(), url.port())).await;
    let connected = connected.unwrap_or_else(|_| {
        Err(io::Error::new(io::ErrorKind::TimedOut, format!("no answer within {timeout:?}")))
    });
    connected.map_err(|reason| Error::Connect { peer, reason })
}

fn peer_of(url: &Url) -> String {
    match url.host() {
        host if host.contains(':') => format!("[{host}]:{}", url.port()),
        host => format!("{host}:{}", url.port()),
    }
}

/// One connection that publishes or plays.
///
/// Wait for [`event`](Self::event)s; the first is [`Event::Started`]. A publisher then gives tags
/// to [`send`](Self::send) and calls [`flush`](Self::flush), which waits until the socket has taken
/// them: that is its back pressure. While it has nothing to send it waits for events all the same,
/// because that is when pings are answered and a lost connection is noticed. In the end,
/// [`finish`](Self::finish). Every method may be cancelled.
pub struct Client<S> {
    stream: S,
    peer: String,
    rtmp: ClientConnection,
    rtmp_deadline: Option<Instant>,
    blocks: BlockPool,
    outbox: VecDeque<Bytes>,
    /// The stream has taken bytes that it may still hold: an encrypted one gathers them.
    is_unflushed: bool,
    timer: Pin<Box<Sleep>>,
    timer_at: Instant,
    received_bytes: u64,
    sent_bytes: u64,
    /// The last that was heard of.
    acknowledgement: Option<Acknowledgement>,
    /// The server closed its side of the socket.
    peer_is_done: bool,
}

/// What the server said of how much it has received.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Acknowledgement {
    /// Bytes of the connection, from its first.
    pub bytes: u64,
    /// When that was heard.
    pub at: Instant,
}

/// A count of bytes by its last 32 bits, of somebody who cannot have got more than was sent.
fn unwrapped(sequence_number: u32, sent_bytes: u64) -> Option<u64> {
    let behind = (sent_bytes as u32).wrapping_sub(sequence_number);
    sent_bytes.checked_sub(behind.into())
}

impl<S: Stream> Client<S> {
    /// A client on a socket that is connected to the host of `url`. `seed` should differ from
    /// connection to connection; it is no secret.
    pub fn new(
        stream: S,
        role: Role,
        url: &Url,
        seed: u64,
        options: ClientOptions,
        blocks: BlockLimits,
    ) -> Self {
        let now = now();
        let timer_at = now + options.setup_timeout;
        // Or the last byte of a command waits 40 ms for a delayed acknowledgement.
        let _best_effort = stream.set_nodelay(true);
        Self {
            stream,
            peer: peer_of(url),
            rtmp: ClientConnection::new(now, role, url, seed, options),
            rtmp_deadline: None,
            blocks: BlockPool::new(blocks),
            outbox: VecDeque::new(),
            is_unflushed: false,
            timer: Box::pin(tokio::time::sleep_until(timer_at.into())),
            timer_at,
            received_bytes: 0,
            sent_bytes: 0,
            acknowledgement: None,
            peer_is_done: false,
        }
    }

    /// Host and port of the server.
    pub fn peer(&self) -> &str {
        &self.peer
    }

    /// Bytes received on the socket.
    pub fn received_bytes(&self) -> u64 {
        self.received_bytes
    }

    /// Bytes that the socket has taken.
    pub fn sent_bytes(&self) -> u64 {
        self.sent_bytes
    }

    /// What the server last said of how much it has received: at least twice in
    /// [`ClientOptions::window_ack_size`] bytes, if it does what it is asked for.
    pub fn acknowledgement(&self) -> Option<Acknowledgement> {
        self.acknowledgement
    }

    /// Waits for what happens next. There is nothing to wait for after an error or
    /// [`Event::Closed`].
    ///
    /// # Errors
    ///
    /// If the connection is lost or the server said no.
    pub async fn event(&mut self) -> Result<Event, Error> {
        poll_fn(|cx| self.poll_event(cx)).await
    }

    /// Waits until the server has accepted.
    ///
    /// # Errors
    ///
    /// If it has not.
    pub async fn start(&mut self) -> Result<(), Error> {
        loop {
            match self.event().await? {
                Event::Started => return Ok(()),
                Event::Closed => return Err(Error::Closed { peer: self.peer.clone() }),
                Event::Tag(..) | Event::Ended => {}
            }
        }
    }

    /// Which codecs the server takes, as far as it has said.
    pub fn server_codecs(&self) -> &ServerCodecs {
        self.rtmp.server_codecs()
    }

    /// Takes a tag to be sent with the next [`flush`](Self::flush); what is taken before one flush
    /// is written at once. Only for publishers that have started.
    pub fn send(&mut self, tag: &Tag) {
        self.rtmp.send_tag(tag);
    }

    /// Waits until the socket has taken everything. Only for publishers.
    ///
    /// # Errors
    ///
    /// If the connection is lost, or the server ended it.
    pub async fn flush(&mut self) -> Result<(), Error> {
        poll_fn(|cx| {
            loop {
                match self.poll_event(cx) {
                    Poll::Ready(Ok(Event::Closed)) => {
                        return Poll::Ready(Err(Error::Closed { peer: self.peer.clone() }));
                    }
                    Poll::Ready(Ok(_)) => {}
                    Poll::Ready(Err(error)) => return Poll::Ready(Err(error)),
                    Poll::Pending if self.outbox.is_empty() && !self.is_unflushed => {
                        return Poll::Ready(Ok(()));
                    }
                    Poll::Pending => return Poll::Pending,
                }
            }
        })
        .await
    }

    /// Ends the stream as an encoder does, and the connection, within a moment.
    pub async fn finish(mut self) {
        self.rtmp.finish();
        // Whatever goes wrong now, it is over.
        let last_words = poll_fn(|cx| self.poll_last_words(cx));
        drop(tokio::time::timeout(LINGER, last_words).await);
    }

    fn poll_event(&mut self, cx: &mut Context<'_>) -> Poll<Result<Event, Error>> {
        loop {
            if let Some(event) = self.drain() {
                return Poll::Ready(event);
            }
            let written = match self.poll_write(cx) {
                Ok(has_written) => has_written,
                Err(reason) => return Poll::Ready(Err(self.lost(reason))),
            };
            let read = match self.poll_read(cx) {
                Ok(has_read) => has_read,
                Err(reason) => return Poll::Ready(Err(self.lost(reason))),
            };
            if written || read {
                continue;
            }
            if self.poll_timer(cx).is_pending() {
                return Poll::Pending;
            }
            self.rtmp.handle_input(now(), Input::Timeout);
        }
    }

    /// Does what the protocol asks for until something is to be told, or it waits.
    fn drain(&mut self) -> Option<Result<Event, Error>> {
        loop {
            match self.rtmp.poll_output() {
                Output::Send(bytes) => self.outbox.push_back(bytes),
                Output::Started => return Some(Ok(Event::Started)),
                Output::Tag { tag, pinned } => return Some(Ok(Event::Tag(tag, pinned))),
                Output::Ended => return Some(Ok(Event::Ended)),
                Output::Close(None) => return Some(Ok(Event::Closed)),
                Output::Close(Some(reason)) => {
                    return Some(Err(Error::Rtmp { peer: self.peer.clone(), reason }));
                }
                Output::Wait(deadline) => {
                    self.rtmp_deadline = deadline;
                    self.hear_acknowledgement();
                    return None;
                }
            }
        }
    }

    fn hear_acknowledgement(&mut self) {
        let Some(sequence_number) = self.rtmp.acknowledged() else { return };
        let Some(bytes) = unwrapped(sequence_number, self.sent_bytes) else { return };
        if self.acknowledgement.is_none_or(|heard| heard.bytes < bytes) {
            self.acknowledgement = Some(Acknowledgement { bytes, at: now() });
        }
    }

    /// Writes once. Says whether the socket took anything.
    fn poll_write(&mut self, cx: &mut Context<'_>) -> io::Result<bool> {
        let Some(front) = self.outbox.front_mut() else {
            if self.is_unflushed && Pin::new(&mut self.stream).poll_flush(cx)?.is_ready() {
                self.is_unflushed = false;
            }
            return Ok(false);
        };
        let Poll::Ready(written) = Pin::new(&mut self.stream).poll_write(cx, front) else {
            return Ok(false);
        };
        let written = written?;
        if written == 0 {
            return Err(io::ErrorKind::WriteZero.into());
        }
        self.sent_bytes += written as u64;
        self.is_unflushed = true;
        front.advance(written);
        if front.is_empty() {
            self.outbox.pop_front();
        }
        Ok(true)
    }

    /// Reads once. Says whether there was anything.
    fn poll_read(&mut self, cx: &mut Context<'_>) -> io::Result<bool> {
        if self.peer_is_done || self.outbox.len() >= OUTBOX_PIECES_MAX {
            return Ok(false);
        }
        let Poll::Ready(input) = poll_receive(cx, &mut self.stream, &mut self.blocks)? else {
            return Ok(false);
        };
        match &input {
            Input::Received(bytes) => self.received_bytes += bytes.len() as u64,
            _ => self.peer_is_done = true,
        }
        self.rtmp.handle_input(now(), input);
        Ok(true)
    }

    /// Writes what is left and waits for the server to hang up: a socket closed with unread bytes
    /// in it is reset, and a reset discards what was written last.
    fn poll_last_words(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        while self.drain().is_some_and(|event| !matches!(event, Ok(Event::Closed) | Err(_))) {}
        loop {
            if self.poll_write(cx)? {
                continue;
            }
            if !self.outbox.is_empty() || self.is_unflushed {
                return Poll::Pending;
            }
            let shut = Pin::new(&mut self.stream).poll_shutdown(cx)?;
            if shut.is_pending() || self.peer_is_done {
                return shut.map(Ok);
            }
            // Ignored: the connection is closing.
            if !self.poll_read(cx)? {
                return Poll::Pending;
            }
        }
    }

    /// Ready when the protocol is to be told the time. The timer follows only when a deadline
    /// comes nearer; firing early is harmless, and rarer than moving it with every read.
    fn poll_timer(&mut self, cx: &mut Context<'_>) -> Poll<()> {
        let Some(deadline) = self.rtmp_deadline else { return Poll::Pending };
        if deadline < self.timer_at || self.timer.is_elapsed() {
            self.timer_at = deadline;
            self.timer.as_mut().reset(deadline.into());
        }
        self.timer.as_mut().poll(cx)
    }

    fn lost(&self, reason: io::Error) -> Error {
        Error::Lost { peer: self.peer.clone(), reason }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_sequence_number_is_of_what_was_sent_last() {
        assert_eq!(unwrapped(1_000, 1_500), Some(1_000));
        assert_eq!(unwrapped(1_500, 1_500), Some(1_500));
        assert_eq!(unwrapped(1_501, 1_500), None, "more than was sent");
        let wrapped = 1 << 32;
        assert_eq!(unwrapped(200, wrapped + 300), Some(wrapped + 200));
        assert_eq!(unwrapped(u32::MAX, wrapped + 300), Some(wrapped - 1));
    }
}
