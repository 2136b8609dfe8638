//! ServerConnection: a peer's bytes in, tags and answers out.

mod commands;

use std::collections::VecDeque;
use std::time::{Duration, Instant};

use bytes::Bytes;

use super::chunk::ChunkLimits;
use super::command::{Command, CommandLimits, Level};
use super::handshake::ServerHandshake;
use super::message::{Message, message_type};
use super::session::{
    CSID_CONNECTION, CSID_STREAM, ConnectionError, Input, Session, to_relayed, user_control,
};
use crate::flv::Tag;

/// Bytes collected before they are sent although there is more to say: a peer that asks much in
/// one piece must not make us hold all answers.
const SEND_LEN_MAX: usize = 64 << 10;

/// What a server grants a connection, and for how long.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct ConnectionLimits {
    /// Messages and chunk streams.
    pub chunks: ChunkLimits,
    /// Commands and the names in them.
    pub commands: CommandLimits,
    /// From accepting the connection to the last byte of C2. A slow mobile link needs two round
    /// trips of a second; 10 s is generous.
    pub handshake_timeout: Duration,
    /// From accepting the connection, or from the end of its last stream, to `publish` or `play`.
    /// OBS needs one round trip, a person restarting a stream in the encoder some seconds.
    pub setup_timeout: Duration,
    /// A publisher that sends no media for so long has vanished or is frozen, and its name is free
    /// again. Longer than a Wi-Fi hand-over or an encoder's hiccup.
    pub publish_idle_timeout: Duration,
    /// A player from which nothing comes for so long, not even answers to pings, has vanished.
    /// Three pings.
    pub play_idle_timeout: Duration,
    /// Players have nothing to say, so they are asked.
    pub ping_interval: Duration,
    /// Message streams that exist at the same time. Encoders use one; a few publish several.
    pub streams_max: usize,
    /// Bytes after which the peer tells us what it has received: what Adobe's server asks for.
    pub window_ack_size: u32,
    /// What Set Peer Bandwidth says, in bytes. Nobody obeys it.
    pub peer_bandwidth: u32,
    /// Length of the chunks we send, in bytes. The largest that all players are known to take.
    pub chunk_size: u32,
}

impl Default for ConnectionLimits {
    fn default() -> Self {
        Self {
            chunks: ChunkLimits::default(),
            commands: CommandLimits::default(),
            handshake_timeout: Duration::from_secs(10),
            setup_timeout: Duration::from_secs(15),
            publish_idle_timeout: Duration::from_secs(20),
            play_idle_timeout: Duration::from_secs(90),
            ping_interval: Duration::from_secs(30),
            streams_max: 8,
            window_ack_size: 2_500_000,
            peer_bandwidth: 2_500_000,
            chunk_size: 65536,
        }
    }
}

/// What a connection asks of the outside world.
#[derive(Debug)]
pub enum Output {
    /// Write these bytes. Everything that one input produced comes in one piece, after all other
    /// outputs, so that an answer is one write and no delayed acknowledgement holds it back.
    Send(Bytes),
    /// The peer wants to publish. Answer with [`ServerConnection::accept_publish`] or
    /// [`ServerConnection::refuse_publish`] before the next `poll_output`: tags follow at once.
    Publish {
        /// The message stream it will be on.
        stream_id: u32,
        /// The app of `connect`, without its query.
        app: String,
        /// The stream's name, without its query.
        name: String,
        /// The queries of name and app, in this order and joined by `&`.
        query: String,
    },
    /// The peer wants to play. Answer with [`ServerConnection::accept_play`] or
    /// [`ServerConnection::refuse_play`], now or later.
    Play {
        /// The message stream that the media have to be on.
        stream_id: u32,
        /// The app of `connect`, without its query.
        app: String,
        /// The stream's name, without its query.
        name: String,
        /// The queries of name and app, in this order and joined by `&`.
        query: String,
        /// Whether what played before on this stream is to be forgotten.
        reset: bool,
    },
    /// A tag of a stream being published. Metadata come without `@setDataFrame`.
    Tag {
        /// The message stream it came on.
        stream_id: u32,
        /// The tag.
        tag: Tag,
        /// Bytes received on this connection since the previous tag, up to the end of this one:
        /// what this tag keeps in memory, headers and strangers included.
        pinned: u32,
    },
    /// The peer ended its publishing properly: `FCUnpublish`, `closeStream` or `deleteStream`.
    Unpublish {
        /// The message stream it was on.
        stream_id: u32,
    },
    /// The peer ended its playing.
    StopPlay {
        /// The message stream it was on.
        stream_id: u32,
    },
    /// A player wants less, or more again. `None` is no change.
    Receive {
        /// The message stream that plays.
        stream_id: u32,
        /// Whether to send audio.
        audio: Option<bool>,
        /// Whether to send video; when it is turned on, from the next keyframe.
        video: Option<bool>,
        /// Whether to send nothing at all.
        pause: Option<bool>,
    },
    /// Close the socket, after what was to be sent. Publishers and players that did not end before
    /// end now. With an error if it was the peer's mistake or silence; it has been told.
    Close(Option<ConnectionError>),
    /// Nothing more to do before this moment, or before the next input if `None`.
    Wait(Option<Instant>),
}

/// One accepted RTMP connection, without its socket.
///
/// # Driving it
///
/// **Tell it one thing with `handle_input`, then call `poll_output` until it says `Wait` or
/// `Close`.** The same after a command (`accept_*`, `refuse_*`, `end_*`, `reconnect`) that was not
/// given while draining. Parsing happens in `poll_output`, a message at a time: what is not asked
/// for takes no memory.
///
/// ```
/// # use std::time::{Duration, Instant};
/// # use bytes::Bytes;
/// use forebay::rtmp::server::{ConnectionLimits, Output, ServerConnection};
/// use forebay::rtmp::Input;
///
/// # fn run(now: Instant, received: Bytes, outbox: &mut Vec<Bytes>) -> Option<Option<Instant>> {
/// # let seed = 1;
/// let mut connection = ServerConnection::new(now, seed, ConnectionLimits::default());
/// connection.handle_input(now, Input::Received(received));
/// let deadline = loop {
///     match connection.poll_output() {
///         Output::Send(bytes) => outbox.push(bytes),
///         Output::Publish { stream_id, .. } => connection.accept_publish(stream_id),
///         Output::Tag { tag, .. } => { /* hub */ }
///         Output::Close(error) => return None,
///         Output::Wait(deadline) => break deadline,
///         _ => {}
///     }
/// };
/// // Wait for bytes or the deadline, whichever comes first.
/// # Some(deadline)
/// # }
/// ```
///
/// The media of a player are not written here. They share the socket: on the play's message
/// stream, in chunks of [`ConnectionLimits::chunk_size`], on chunk streams other than 2, 3 and 5
/// that no other message stream uses, a whole message at a time, and behind the `Send` that
/// follows `accept_play`.
pub struct ServerConnection {
    limits: ConnectionLimits,
    phase: Phase,
    session: Session,
    /// What was received and not yet read.
    input: Bytes,
    outputs: VecDeque<Output>,
    /// At most `streams_max`.
    streams: Vec<Stream>,
    next_stream_id: u32,
    /// Once `connect` was accepted.
    app: Option<App>,
    accepted_at: Instant,
    /// The time of the last input.
    now: Instant,
    /// The time of the last bytes.
    received_at: Instant,
    /// The time of the last media of a stream being published, or of the publish itself.
    media_at: Instant,
    /// Since when nothing is published or played; `None` since a moment after the last input, which
    /// the next one tells.
    idle_since: Option<Instant>,
    pinged_at: Instant,
    /// Where the last tag ended.
    tag_end: u64,
    error: Option<ConnectionError>,
}

enum Phase {
    Handshake(Box<ServerHandshake>),
    Open,
    Closing,
}

struct App {
    name: String,
    query: String,
    /// `capsEx` of `connect`: whether it can be sent elsewhere (E-RTMP, Reconnect Request).
    can_reconnect: bool,
}

struct Stream {
    id: u32,
    activity: Activity,
}

enum Activity {
    None,
    Publish { name_and_query: String },
    Play { reset: bool },
}

impl ServerConnection {
    /// A connection just accepted. `seed` should differ from connection to connection; it is no
    /// secret.
    pub fn new(now: Instant, seed: u64, limits: ConnectionLimits) -> Self {
        Self {
            limits,
            phase: Phase::Handshake(Box::new(ServerHandshake::new(seed))),
            session: Session::new(limits.chunks),
            input: Bytes::new(),
            outputs: VecDeque::new(),
            streams: Vec::new(),
            next_stream_id: 1,
            app: None,
            accepted_at: now,
            now,
            received_at: now,
            media_at: now,
            idle_since: Some(now),
            pinged_at: now,
            tag_end: 0,
            error: None,
        }
    }

    /// Bytes received, those of the handshake included.
    pub fn received_bytes(&self) -> u64 {
        self.session.received()
    }

    /// Takes what happened. The outputs of the input before must have been drained.
    ///
    /// # Panics
    ///
    /// If `poll_output` was not called until it said `Wait` or `Close`.
    pub fn handle_input(&mut self, now: Instant, input: Input) {
        assert!(self.input.is_empty(), "outputs are drained before the next input");
        self.now = now;
        self.idle_since.get_or_insert(now);
        if let Phase::Closing = self.phase {
            return;
        }
        match input {
            Input::Received(bytes) => {
                if !bytes.is_empty() {
                    self.received_at = now;
                }
                self.session.count_received(bytes.len());
                self.input = bytes;
            }
            Input::Timeout => {}
            Input::Close => return self.close(),
        }
        self.check_time();
    }

    /// What to do next; see [`ServerConnection`].
    pub fn poll_output(&mut self) -> Output {
        while self.session.pending_len() < SEND_LEN_MAX {
            if let Some(output) = self.outputs.pop_front() {
                return output;
            }
            match self.read() {
                Ok(true) => {}
                Ok(false) => break,
                Err(error) => self.fail(error),
            }
        }
        if let Some(bytes) = self.session.take_pending() {
            return Output::Send(bytes);
        }
        // All of it was read, and even an empty slice would hold on to its block.
        self.input = Bytes::new();
        match self.phase {
            Phase::Closing => Output::Close(self.error.take()),
            _ => Output::Wait(Some(self.deadline())),
        }
    }

    /// Lets the peer publish; it is told.
    pub fn accept_publish(&mut self, stream_id: u32) {
        if let Some(Activity::Publish { .. }) = self.activity(stream_id) {
            self.write_status(stream_id, Level::Status, "NetStream.Publish.Start", "Publishing.");
        }
    }

    /// Refuses a publisher, or ends one that was accepted: `code` is one that encoders know, such
    /// as `NetStream.Publish.BadName`, and `description` is for people.
    ///
    /// The connection is closed unless it has other streams.
    pub fn refuse_publish(&mut self, stream_id: u32, code: &str, description: &str) {
        self.refuse(stream_id, code, description);
    }

    /// Lets the peer play: Stream Begin and `NetStream.Play.Start` are the next to be sent.
    pub fn accept_play(&mut self, stream_id: u32) {
        let Some(&Activity::Play { reset }) = self.activity(stream_id) else { return };
        self.session.write_user_control(user_control::STREAM_BEGIN, &[stream_id]);
        if reset {
            let code = "NetStream.Play.Reset";
            self.write_status(stream_id, Level::Status, code, "Playing and resetting.");
        }
        self.write_status(stream_id, Level::Status, "NetStream.Play.Start", "Playing.");
    }

    /// Refuses a player: `code` is one that players know, such as `NetStream.Play.StreamNotFound`.
    ///
    /// The connection is closed unless it has other streams.
    pub fn refuse_play(&mut self, stream_id: u32, code: &str, description: &str) {
        self.refuse(stream_id, code, description);
    }

    /// Tells a player that its publisher has left: Stream EOF and `NetStream.Play.UnpublishNotify`.
    /// It may play again on the same stream.
    pub fn end_play(&mut self, stream_id: u32) {
        let Some(Activity::Play { .. }) = self.activity(stream_id) else { return };
        self.session.write_user_control(user_control::STREAM_EOF, &[stream_id]);
        let code = "NetStream.Play.UnpublishNotify";
        self.write_status(stream_id, Level::Status, code, "The publisher has left.");
        self.set_idle(stream_id);
        if !self.is_active() {
            self.idle_since = None;
        }
    }

    /// Asks the peer to connect again, to `tc_url` or where it is, and says whether it can: the
    /// connection goes on until it leaves (E-RTMP, Reconnect Request).
    pub fn reconnect(&mut self, tc_url: Option<&str>, description: &str) -> bool {
        if !self.app.as_ref().is_some_and(|app| app.can_reconnect) {
            return false;
        }
        let command = Command::reconnect_request(tc_url, description);
        self.session.write_command(CSID_CONNECTION, 0, &command);
        true
    }

    /// Ends the connection after what waits to be sent, because we want to: streams are told
    /// `NetStream.Failed` and `description`.
    pub fn shut_down(&mut self, description: &str) {
        if !matches!(self.phase, Phase::Closing) {
            self.tell_streams(description);
            self.close();
        }
    }

    /// Whether something was read. Then there may be an output.
    fn read(&mut self) -> Result<bool, ConnectionError> {
        match &mut self.phase {
            Phase::Handshake(handshake) => {
                let answer = handshake.read(&mut self.input).map_err(|source| {
                    let offset = self.session.received() - self.input.len() as u64;
                    ConnectionError::Handshake { offset, source }
                })?;
                let done = handshake.is_done();
                if self.input.is_empty() {
                    self.input = Bytes::new();
                }
                self.session.write_raw(&answer.unwrap_or_default());
                if done {
                    self.phase = Phase::Open;
                    self.tag_end = self.session.offset();
                }
                Ok(done)
            }
            Phase::Open => {
                let message = self.session.read(&mut self.input).map_err(|source| {
                    ConnectionError::Chunk { offset: self.session.offset(), source }
                })?;
                let Some(message) = message else {
                    // A keyframe on its way over a slow link is a sign of life before it is whole.
                    if self.session.is_mid_message() {
                        self.media_at = self.now;
                    }
                    return Ok(false);
                };
                self.handle_message(message)?;
                Ok(true)
            }
            Phase::Closing => Ok(false),
        }
    }

    fn handle_message(&mut self, message: Message) -> Result<(), ConnectionError> {
        let offset = self.session.offset();
        match message.type_id {
            message_type::COMMAND_AMF0 | message_type::COMMAND_AMF3 => self
                .handle_command(&message)
                .map_err(|source| ConnectionError::Command { offset, source }),
            _ => self.handle_media(message),
        }
    }

    /// Media of a stream that is not being published are ignored, and so are message types that
    /// are no media.
    fn handle_media(&mut self, message: Message) -> Result<(), ConnectionError> {
        let (offset, stream_id) = (self.session.offset(), message.stream_id);
        let Some(Activity::Publish { .. }) = self.activity(stream_id) else { return Ok(()) };
        self.media_at = self.now;
        let tags =
            message.into_tags().map_err(|source| ConnectionError::Aggregate { offset, source })?;
        for tag in tags {
            let Some(tag) = to_relayed(tag) else { continue };
            let pinned = (offset - self.tag_end).min(u32::MAX.into()) as u32;
            self.tag_end = offset;
            self.outputs.push_back(Output::Tag { stream_id, tag, pinned });
        }
        Ok(())
    }

    /// Ends the connection for a reason; streams are told.
    fn fail(&mut self, error: ConnectionError) {
        self.tell_streams(&error.to_string());
        self.close();
        self.error = Some(error);
    }

    fn tell_streams(&mut self, description: &str) {
        for stream in &self.streams {
            if !matches!(stream.activity, Activity::None) {
                let command = Command::status(Level::Error, "NetStream.Failed", description);
                self.session.write_command(CSID_STREAM, stream.id, &command);
            }
        }
    }

    fn close(&mut self) {
        self.phase = Phase::Closing;
        self.input = Bytes::new();
        self.streams.clear();
    }

    /// Whether something is published or played, or asked to be.
    fn is_active(&self) -> bool {
        self.streams.iter().any(|stream| !matches!(stream.activity, Activity::None))
    }

    fn publishes(&self) -> bool {
        self.streams.iter().any(|stream| matches!(stream.activity, Activity::Publish { .. }))
    }

    fn deadline(&self) -> Instant {
        let limits = &self.limits;
        if let Phase::Handshake(_) = self.phase {
            self.accepted_at + limits.handshake_timeout
        } else if !self.is_active() {
            self.idle_since.unwrap_or(self.now) + limits.setup_timeout
        } else if self.publishes() {
            self.media_at + limits.publish_idle_timeout
        } else {
            let idle = self.received_at + limits.play_idle_timeout;
            idle.min(self.pinged_at + limits.ping_interval)
        }
    }

    /// Does what is due. Called with every input: bytes that trickle in are no reason to be late.
    fn check_time(&mut self) {
        if self.now < self.deadline() {
            return;
        }
        let limits = &self.limits;
        let (awaited, after) = if let Phase::Handshake(_) = self.phase {
            ("the handshake", limits.handshake_timeout)
        } else if !self.is_active() {
            ("publish or play", limits.setup_timeout)
        } else if self.publishes() {
            ("media from the publisher", limits.publish_idle_timeout)
        } else if self.now >= self.received_at + limits.play_idle_timeout {
            ("a sign of life from the player", limits.play_idle_timeout)
        } else {
            return self.ping();
        };
        self.fail(ConnectionError::Timeout { awaited, after });
    }

    fn ping(&mut self) {
        self.pinged_at = self.now;
        let ms = self.now.duration_since(self.accepted_at).as_millis() as u32;
        self.session.write_user_control(user_control::PING_REQUEST, &[ms]);
    }

    fn activity(&self, stream_id: u32) -> Option<&Activity> {
        self.streams.iter().find(|stream| stream.id == stream_id).map(|stream| &stream.activity)
    }

    /// The stream remains, and may be published or played on again.
    fn set_idle(&mut self, stream_id: u32) {
        if let Some(stream) = self.streams.iter_mut().find(|stream| stream.id == stream_id) {
            stream.activity = Activity::None;
        }
        if !self.is_active() {
            self.idle_since = Some(self.now);
        }
    }

    fn refuse(&mut self, stream_id: u32, code: &str, description: &str) {
        if matches!(self.activity(stream_id), None | Some(Activity::None)) {
            return;
        }
        self.write_status(stream_id, Level::Error, code, description);
        self.set_idle(stream_id);
        if !self.is_active() {
            self.close();
        }
    }

    fn write_status(&mut self, stream_id: u32, level: Level, code: &str, description: &str) {
        let command = Command::status(level, code, description);
        self.session.write_command(CSID_STREAM, stream_id, &command);
    }
}
