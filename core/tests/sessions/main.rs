//! Whole RTMP sessions, joined by hand, with a clock that only moves when it is told to.
#![allow(clippy::unwrap_used, reason = "a test that cannot go on has failed")]

mod captures;
mod pair;
mod rml;
mod server;

use std::time::Instant;

use bytes::{Bytes, BytesMut};
use forebay::flv::{Tag, TagKind};
use forebay::rope::Rope;
use forebay::rtmp::server::{ConnectionLimits, Output};
use forebay::rtmp::{ConnectionError, Input, ServerConnection};
use forebay::time::Timestamp;

/// When every test begins.
#[expect(clippy::disallowed_methods, reason = "std has no other Instant; it is never read again")]
fn epoch() -> Instant {
    Instant::now()
}

fn tag(kind: TagKind, ms: u32, payload: impl Into<Vec<u8>>) -> Tag {
    Tag { kind, timestamp: Timestamp::from_ms(ms), payload: Rope::from(payload.into()) }
}

/// A server that lets everybody publish and play, and what it had to say.
struct Host {
    connection: ServerConnection,
    now: Instant,
    seen: Seen,
}

#[derive(Default)]
struct Seen {
    /// Publishes, plays and their ends, as text.
    events: Vec<String>,
    tags: Vec<(u32, Tag)>,
    /// Sum over all tags.
    pinned: u64,
    sent: BytesMut,
    /// How often something was sent.
    sends: usize,
    /// Message streams that play.
    plays: Vec<u32>,
    closed: bool,
    error: Option<ConnectionError>,
    deadline: Option<Instant>,
}

impl Host {
    fn new() -> Self {
        Self::with(ConnectionLimits::default())
    }

    fn with(limits: ConnectionLimits) -> Self {
        let now = epoch();
        Self { connection: ServerConnection::new(now, 7, limits), now, seen: Seen::default() }
    }

    fn receive(&mut self, bytes: impl Into<Bytes>) {
        self.input(Input::Received(bytes.into()));
    }

    fn input(&mut self, input: Input) {
        self.connection.handle_input(self.now, input);
        self.drain();
    }

    fn drain(&mut self) {
        let (connection, seen) = (&mut self.connection, &mut self.seen);
        loop {
            match connection.poll_output() {
                Output::Send(bytes) => {
                    seen.sent.extend_from_slice(&bytes);
                    seen.sends += 1;
                }
                Output::Publish { stream_id, app, name, query } => {
                    seen.events.push(format!("publish {stream_id} {app} {name} {query}"));
                    if name == "taken" {
                        let code = "NetStream.Publish.BadName";
                        connection.refuse_publish(stream_id, code, "This name is in use.");
                    } else {
                        connection.accept_publish(stream_id);
                    }
                }
                Output::Play { stream_id, app, name, query, reset } => {
                    seen.events.push(format!("play {stream_id} {app} {name} {query} {reset}"));
                    if name == "missing" {
                        let code = "NetStream.Play.StreamNotFound";
                        connection.refuse_play(stream_id, code, "There is no such stream.");
                    } else {
                        connection.accept_play(stream_id);
                        seen.plays.push(stream_id);
                    }
                }
                Output::Tag { stream_id, tag, pinned } => {
                    seen.tags.push((stream_id, tag));
                    seen.pinned += u64::from(pinned);
                }
                Output::Unpublish { stream_id } => {
                    seen.events.push(format!("unpublish {stream_id}"))
                }
                Output::StopPlay { stream_id } => seen.events.push(format!("stop {stream_id}")),
                Output::Receive { stream_id, audio, video, pause } => {
                    seen.events.push(format!("receive {stream_id} {audio:?} {video:?} {pause:?}"));
                }
                Output::Close(error) => {
                    seen.closed = true;
                    seen.error = seen.error.take().or(error);
                    return;
                }
                Output::Wait(deadline) => {
                    seen.deadline = deadline;
                    return;
                }
            }
        }
    }

    fn take_sent(&mut self) -> Bytes {
        self.seen.sent.split().freeze()
    }
}
