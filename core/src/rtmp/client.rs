//! ClientConnection: tags in, a remote server's bytes out; or its bytes in, tags out.

use std::collections::VecDeque;
use std::time::{Duration, Instant};

use bytes::Bytes;

use super::chunk::ChunkLimits;
use super::codecs::ServerCodecs;
use super::command::{Command, CommandError, CommandLimits, connect_object};
use super::handshake::ClientHandshake;
use super::message::{Message, message_type};
use super::session::{
    CSID_CONNECTION, CSID_STREAM, ConnectionError, HANDSHAKE_LEN, Input, Session, to_relayed,
    user_control, with_body,
};
use super::url::Url;
use crate::amf0::Value;
use crate::flv::{Tag, TagKind, script};
use crate::rope::Rope;

/// Audio and metadata go on one chunk stream and video on another, as FFmpeg has it: headers are
/// compressed against the last one of the same kind.
const CSID_AUDIO: u32 = 4;
const CSID_VIDEO: u32 = 6;

/// What a client is there for.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Role {
    /// Sends tags.
    Publish,
    /// Receives tags.
    Play,
}

/// How a client behaves and how long it is patient.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct ClientOptions {
    /// What the server may send.
    pub chunks: ChunkLimits,
    /// Commands of the server.
    pub commands: CommandLimits,
    /// From the TCP connection to the accepted `publish` or `play`.
    pub setup_timeout: Duration,
    /// A server that sends a player nothing for so long, not even a ping, has vanished. Servers
    /// ping every 30 to 60 s.
    pub play_idle_timeout: Duration,
    /// Length of the chunks we send, in bytes; told before `connect`, as OBS does.
    pub chunk_size: u32,
    /// Bytes after which the server tells us what it has received, and we tell it when playing.
    pub window_ack_size: u32,
    /// How long the server may assume that we buffer when playing, in milliseconds.
    pub buffer_ms: u32,
    /// Whether `connect` says that we know Enhanced RTMP. Some old servers refuse who says so.
    pub enhanced: bool,
}

impl Default for ClientOptions {
    fn default() -> Self {
        Self {
            chunks: ChunkLimits::default(),
            commands: CommandLimits::default(),
            setup_timeout: Duration::from_secs(10),
            play_idle_timeout: Duration::from_secs(90),
            chunk_size: 65536,
            window_ack_size: 2_500_000,
            buffer_ms: 1000,
            enhanced: true,
        }
    }
}

/// What a client asks of the outside world.
#[derive(Debug)]
pub enum Output {
    /// Write these bytes.
    Send(Bytes),
    /// The server accepted: a publisher may call [`ClientConnection::send_tag`] from now on, a
    /// player gets tags.
    Started,
    /// A tag of the stream being played.
    Tag {
        /// The tag. Metadata come without `@setDataFrame`.
        tag: Tag,
        /// Bytes received on this connection since the previous tag, up to the end of this one.
        pinned: u32,
    },
    /// The publisher of the stream being played has left, says the server. It may come back.
    Ended,
    /// Close the socket, after what was to be sent. With an error unless we or the server ended it
    /// properly.
    Close(Option<ClientError>),
    /// Nothing more to do before this moment, or before the next input if `None`.
    Wait(Option<Instant>),
}

/// Why a client's connection ends.
#[derive(Debug, PartialEq, Eq, thiserror::Error)]
pub enum ClientError {
    /// The server does not speak RTMP, or went silent.
    #[error(transparent)]
    Connection(#[from] ConnectionError),
    /// The server said no.
    #[error("{command} was refused: {code} ({description})")]
    Refused {
        /// What we asked for; `publish` or `play` also when it was revoked later.
        command: &'static str,
        /// The server's code, such as `NetStream.Publish.BadName`.
        code: String,
        /// The server's words.
        description: String,
    },
    /// The server took too long.
    #[error("the server did not answer {awaited} within {after:?}")]
    Unanswered {
        /// What we waited for.
        awaited: &'static str,
        /// The limit, from the TCP connection on.
        after: Duration,
    },
    /// The server closed the connection before it had accepted.
    #[error("the server closed the connection before it answered {awaited}")]
    ClosedEarly {
        /// What we waited for.
        awaited: &'static str,
    },
}

/// One RTMP connection to a server, without its socket.
///
/// It is driven like a [`ServerConnection`](super::ServerConnection): **tell it one thing, then
/// call `poll_output` until it says `Wait` or `Close`.** It has something to send at once, so poll
/// before the first input.
///
/// ```
/// # use std::time::Instant;
/// use forebay::rtmp::client::{ClientConnection, ClientOptions, Output, Role};
///
/// # fn run(now: Instant) -> Result<(), forebay::rtmp::UrlError> {
/// let url = "rtmp://example.org/live/cam1?key=secret".parse()?;
/// # let seed = 1;
/// let mut client =
///     ClientConnection::new(now, Role::Publish, &url, seed, ClientOptions::default());
/// let Output::Send(c0_and_c1) = client.poll_output() else { unreachable!() };
/// # Ok(())
/// # }
/// ```
pub struct ClientConnection {
    options: ClientOptions,
    role: Role,
    url: Url,
    phase: Phase,
    session: Session,
    input: Bytes,
    outputs: VecDeque<Output>,
    connected_at: Instant,
    now: Instant,
    received_at: Instant,
    /// Where the last tag ended.
    tag_end: u64,
    codecs: ServerCodecs,
    error: Option<ClientError>,
}

/// What the server has to answer next.
enum Phase {
    Handshake(Box<ClientHandshake>),
    Connect,
    CreateStream,
    /// `publish` or `play`.
    Start {
        stream_id: u32,
    },
    Started {
        stream_id: u32,
    },
    Closing,
}

/// Transaction ids, in the order of OBS. The two that OBS leaves unanswered are so here.
mod transaction {
    pub(super) const CONNECT: f64 = 1.0;
    pub(super) const RELEASE_STREAM: f64 = 2.0;
    pub(super) const FC_PUBLISH: f64 = 3.0;
    pub(super) const CREATE_STREAM: f64 = 4.0;
    pub(super) const START: f64 = 5.0;
    pub(super) const FC_UNPUBLISH: f64 = 6.0;
}

impl ClientConnection {
    /// A client whose TCP (or TLS) connection to the host of `url` was just made. `seed` should
    /// differ from connection to connection; it is no secret.
    pub fn new(now: Instant, role: Role, url: &Url, seed: u64, options: ClientOptions) -> Self {
        let (handshake, c0_c1) = ClientHandshake::new(seed);
        let mut session = Session::new(options.chunks);
        session.write_raw(&c0_c1);
        Self {
            options,
            role,
            url: url.clone(),
            phase: Phase::Handshake(Box::new(handshake)),
            session,
            input: Bytes::new(),
            outputs: VecDeque::new(),
            connected_at: now,
            now,
            received_at: now,
            tag_end: HANDSHAKE_LEN,
            codecs: ServerCodecs::default(),
            error: None,
        }
    }

    /// Takes what happened. The outputs of the input before must have been drained.
    ///
    /// # Panics
    ///
    /// If `poll_output` was not called until it said `Wait` or `Close`.
    pub fn handle_input(&mut self, now: Instant, input: Input) {
        assert!(self.input.is_empty(), "outputs are drained before the next input");
        self.now = now;
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
            Input::Close => {
                if let Some(awaited) = self.awaited() {
                    self.error = Some(ClientError::ClosedEarly { awaited });
                }
                return self.close();
            }
        }
        if self.deadline().is_some_and(|deadline| now >= deadline) {
            self.fail(match self.awaited() {
                Some(awaited) => {
                    ClientError::Unanswered { awaited, after: self.options.setup_timeout }
                }
                None => ConnectionError::Timeout {
                    awaited: "a sign of life from the server",
                    after: self.options.play_idle_timeout,
                }
                .into(),
            });
        }
    }

    /// What to do next.
    pub fn poll_output(&mut self) -> Output {
        loop {
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
            _ => Output::Wait(self.deadline()),
        }
    }

    /// Bytes that the server has said it received, modulo 2^32 (RTMP 5.4.3), if it has.
    pub fn acknowledged(&self) -> Option<u32> {
        self.session.acknowledged_by_peer()
    }

    /// Which codecs the server takes, as far as it has said: known once it has accepted.
    pub fn server_codecs(&self) -> &ServerCodecs {
        &self.codecs
    }

    /// Sends a tag; its payload is copied once, into the `Send` that the next `poll_output` gives.
    /// Several tags sent before that share one `Send`. Ignored once the connection is closing.
    ///
    /// # Panics
    ///
    /// If the connection has not [`Started`](Output::Started), or if it plays.
    pub fn send_tag(&mut self, tag: &Tag) {
        let stream_id = match self.phase {
            Phase::Started { stream_id } if self.role == Role::Publish => stream_id,
            Phase::Closing => return,
            _ => panic!("tags are sent once the publisher has started"),
        };
        let csid = if tag.kind == TagKind::Video { CSID_VIDEO } else { CSID_AUDIO };
        if tag.kind == TagKind::Script && script::is_on_meta_data(&tag.payload) {
            // FLV E.5: it tells the server to keep them for those who join.
            let command = Bytes::from_static(b"\x02\0\x0d@setDataFrame");
            let metadata = script::strip_set_data_frame(&tag.payload);
            let payload: Rope = std::iter::once(command).chain(metadata.owned_slices()).collect();
            return self.session.write_tag(csid, stream_id, tag, &payload);
        }
        self.session.write_tag(csid, stream_id, tag, &tag.payload);
    }

    /// Ends the stream properly, and then the connection: poll until `Close`.
    pub fn finish(&mut self) {
        let stream_id = match self.phase {
            Phase::Start { stream_id } | Phase::Started { stream_id } => stream_id,
            _ => return self.close(),
        };
        if self.role == Role::Publish {
            let name = self.url.name_and_query();
            self.call(CSID_CONNECTION, 0, "FCUnpublish", transaction::FC_UNPUBLISH, &[&name]);
        }
        let delete = Command {
            name: "deleteStream",
            transaction_id: 0.0,
            object: Value::Null,
            arguments: vec![Value::Number(stream_id.into())],
        };
        self.session.write_command(CSID_CONNECTION, 0, &delete);
        self.close();
    }

    /// Whether something was read. Then there may be an output.
    fn read(&mut self) -> Result<bool, ClientError> {
        match &mut self.phase {
            Phase::Closing => Ok(false),
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
                    self.connect();
                }
                Ok(done)
            }
            _ => {
                let message = self.session.read(&mut self.input).map_err(|source| {
                    ConnectionError::Chunk { offset: self.session.offset(), source }
                })?;
                let Some(message) = message else { return Ok(false) };
                self.handle_message(message)?;
                Ok(true)
            }
        }
    }

    fn handle_message(&mut self, message: Message) -> Result<(), ClientError> {
        let offset = self.session.offset();
        match message.type_id {
            message_type::COMMAND_AMF0 | message_type::COMMAND_AMF3 => {
                let limits = self.options.commands;
                let answered = with_body(&message.payload, limits.command_len_max, |body| {
                    let command = Command::parse(message.type_id, body, limits.amf0)?;
                    Ok(self.handle_command(&command))
                });
                answered
                    .map_err(|source: CommandError| ConnectionError::Command { offset, source })?
            }
            _ => self.handle_media(message, offset),
        }
    }

    fn handle_media(&mut self, message: Message, offset: u64) -> Result<(), ClientError> {
        // On whatever message stream: there is one, and FFmpeg as a server says 0.
        let (Role::Play, Phase::Started { .. }) = (self.role, &self.phase) else { return Ok(()) };
        let tags =
            message.into_tags().map_err(|source| ConnectionError::Aggregate { offset, source })?;
        for tag in tags {
            let Some(tag) = to_relayed(tag) else { continue };
            let pinned = (offset - self.tag_end).min(u32::MAX.into()) as u32;
            self.tag_end = offset;
            self.outputs.push_back(Output::Tag { tag, pinned });
        }
        Ok(())
    }

    fn handle_command(&mut self, command: &Command<'_>) -> Result<(), ClientError> {
        match command.name {
            "_result" => self.handle_result(command),
            "_error" => self.handle_error(command)?,
            "onStatus" => self.handle_status(command)?,
            // Bandwidth checks and the like; no server needs an answer to go on.
            _ => {}
        }
        Ok(())
    }

    fn handle_result(&mut self, command: &Command<'_>) {
        match self.phase {
            Phase::Connect if command.transaction_id == transaction::CONNECT => {
                self.codecs = ServerCodecs::of(command);
                self.create_stream();
            }
            Phase::CreateStream if command.transaction_id == transaction::CREATE_STREAM => {
                // A server that names no stream means the first.
                let stream_id = command.argument(0).and_then(Value::as_u32).unwrap_or(1);
                self.start(stream_id);
            }
            _ => {}
        }
    }

    /// Some servers refuse `releaseStream` and `FCPublish`, which matters to nobody.
    fn handle_error(&mut self, command: &Command<'_>) -> Result<(), ClientError> {
        match command.transaction_id {
            transaction::CONNECT => Err(refused("connect", command)),
            transaction::CREATE_STREAM => Err(refused("createStream", command)),
            transaction::START => Err(refused(self.start_name(), command)),
            // Of a command that asked for no answer: servers made of rml_rtmp refuse so.
            0.0 if matches!(self.phase, Phase::Start { .. }) => {
                Err(refused(self.start_name(), command))
            }
            _ => Ok(()),
        }
    }

    fn handle_status(&mut self, command: &Command<'_>) -> Result<(), ClientError> {
        let information = command.argument(0);
        let text = |key| {
            information.and_then(|value| value.get(key)).and_then(Value::as_str).unwrap_or("")
        };
        if text("level") == "error" {
            return Err(refused(self.awaited().unwrap_or(self.start_name()), command));
        }
        match text("code") {
            "NetStream.Publish.Start" | "NetStream.Play.Start" => {
                if let Phase::Start { stream_id } = self.phase {
                    self.phase = Phase::Started { stream_id };
                    self.outputs.push_back(Output::Started);
                }
            }
            "NetStream.Play.UnpublishNotify"
            | "NetStream.Play.Stop"
            | "NetStream.Play.Complete"
                if self.role == Role::Play =>
            {
                self.outputs.push_back(Output::Ended);
            }
            _ => {}
        }
        Ok(())
    }

    fn connect(&mut self) {
        self.session.write_chunk_size(self.options.chunk_size);
        let (app, tc_url) = (self.url.app(), self.url.tc_url());
        let connect = Command {
            name: "connect",
            transaction_id: transaction::CONNECT,
            object: connect_object(app, &tc_url, self.options.enhanced),
            arguments: Vec::new(),
        };
        self.session.write_command(CSID_CONNECTION, 0, &connect);
        self.phase = Phase::Connect;
    }

    fn create_stream(&mut self) {
        let name = self.url.name_and_query();
        self.session.write_window(self.options.window_ack_size);
        if self.role == Role::Publish {
            self.call(CSID_CONNECTION, 0, "releaseStream", transaction::RELEASE_STREAM, &[&name]);
            self.call(CSID_CONNECTION, 0, "FCPublish", transaction::FC_PUBLISH, &[&name]);
        }
        self.call(CSID_CONNECTION, 0, "createStream", transaction::CREATE_STREAM, &[]);
        self.phase = Phase::CreateStream;
    }

    fn start(&mut self, stream_id: u32) {
        let name = self.url.name_and_query();
        match self.role {
            Role::Publish => {
                let arguments = [name.as_str(), "live"];
                self.call(CSID_STREAM, stream_id, "publish", transaction::START, &arguments);
            }
            Role::Play => {
                self.call(CSID_STREAM, stream_id, "play", transaction::START, &[&name]);
                let values = [stream_id, self.options.buffer_ms];
                self.session.write_user_control(user_control::SET_BUFFER_LENGTH, &values);
            }
        }
        self.phase = Phase::Start { stream_id };
    }

    fn start_name(&self) -> &'static str {
        match self.role {
            Role::Publish => "publish",
            Role::Play => "play",
        }
    }

    /// What the server has to answer before anything starts.
    fn awaited(&self) -> Option<&'static str> {
        match self.phase {
            Phase::Handshake(_) => Some("the handshake"),
            Phase::Connect => Some("connect"),
            Phase::CreateStream => Some("createStream"),
            Phase::Start { .. } => Some(self.start_name()),
            Phase::Started { .. } | Phase::Closing => None,
        }
    }

    /// A server owes a publisher nothing: whether it is alive, TCP will tell.
    fn deadline(&self) -> Option<Instant> {
        match (&self.phase, self.role) {
            (Phase::Closing, _) | (Phase::Started { .. }, Role::Publish) => None,
            (Phase::Started { .. }, Role::Play) => {
                Some(self.received_at + self.options.play_idle_timeout)
            }
            _ => Some(self.connected_at + self.options.setup_timeout),
        }
    }

    fn call(
        &mut self,
        csid: u32,
        stream_id: u32,
        name: &str,
        transaction_id: f64,
        arguments: &[&str],
    ) {
        let arguments = arguments.iter().map(|text| Value::String(text.as_bytes())).collect();
        let command = Command { name, transaction_id, object: Value::Null, arguments };
        self.session.write_command(csid, stream_id, &command);
    }

    fn fail(&mut self, error: ClientError) {
        self.error = Some(error);
        self.close();
    }

    fn close(&mut self) {
        self.phase = Phase::Closing;
        self.input = Bytes::new();
    }
}

fn refused(command: &'static str, answer: &Command<'_>) -> ClientError {
    // Some servers put the information where the object belongs.
    let objects = || answer.arguments.first().into_iter().chain([&answer.object]);
    let text = |key| {
        let found = objects().find_map(|object| object.get(key)?.to_str_lossy());
        found.map_or_else(String::new, |text| text.into_owned())
    };
    ClientError::Refused { command, code: text("code"), description: text("description") }
}
