//! CaptureScanner: a recorded RTMP connection (`.rtmpcap`) to its tags, and what else was said.

use std::collections::VecDeque;

use bytes::{Buf, Bytes, BytesMut};
use serde::Serialize;

use super::record::{RecordHeader, SIGNATURE};
use super::scan::{Damage, Event};
use crate::amf0::{self, Value};
use crate::flv::file::FileTag;
use crate::flv::{Tag, TagKind, script};
use crate::rtmp::ServerHandshake;
use crate::rtmp::chunk::{ChunkLimits, ChunkReader};
use crate::rtmp::command::Command;
use crate::rtmp::message::{Message, message_type};

/// C0, C1 and C2, or S0, S1 and S2.
const HANDSHAKE_LEN: u64 = 1 + 2 * 1536;
/// Commands that are listed.
const COMMANDS_MAX: usize = 64;
/// Chunk sizes that are listed, of each side.
const CHUNK_SIZES_MAX: usize = 16;
/// Bytes of a command that is read.
const COMMAND_LEN_MAX: usize = 64 << 10;

/// Whether a file that begins like this is a capture.
pub fn is_capture(start: &[u8]) -> bool {
    start.starts_with(SIGNATURE)
}

/// A file that is no capture.
#[derive(Clone, Copy, PartialEq, Eq, Debug, thiserror::Error)]
pub enum CaptureError {
    /// The first eight bytes are others.
    #[error("no RTMPCAP1 signature")]
    NoSignature,
}

/// Reads a captured RTMP connection as it arrives, cut anywhere.
///
/// It is driven like [`FileScanner`](super::FileScanner). The places of tags, and of what breaks the
/// chunks, count the bytes of the side that sent them; those of a broken record count the bytes of the
/// file.
pub struct CaptureScanner {
    input: BytesMut,
    /// Bytes of the file taken off the front of `input`.
    at: u64,
    state: State,
    client: Side,
    server: Side,
    commands: Vec<CommandSeen>,
    events: VecDeque<Event>,
    last_record_us: u64,
    last_media_us: Option<u64>,
    silence: Option<(u64, u64)>,
    /// Said by the client: then the media come from the server.
    plays: bool,
}

#[derive(Clone, Copy)]
enum State {
    Signature,
    RecordHeader,
    Record { us: u64, from_client: bool, left: usize },
    Over,
}

/// A command that was sent.
#[derive(Clone, PartialEq, Eq, Debug, Serialize)]
pub struct CommandSeen {
    /// Since the client was accepted.
    pub ms: u64,
    /// `client` or `server`.
    pub from: &'static str,
    /// Its name, as in `publish`.
    pub name: String,
    /// What it is about: an app, a stream name, a status code.
    pub about: String,
}

/// One direction of a connection.
#[derive(Clone, PartialEq, Eq, Debug, Serialize)]
pub struct SideReport {
    /// How many were sent.
    pub bytes: u64,
    /// In how many pieces.
    pub reads: u64,
    /// The messages they were.
    pub messages: u64,
    /// What it set its chunks to. They begin with 128 bytes.
    pub chunk_sizes: Vec<u32>,
    /// Bytes behind the last whole message.
    pub unfinished_bytes: u64,
    /// Whether it closed the connection.
    pub is_closed: bool,
}

/// A connection besides its media.
#[derive(Clone, PartialEq, Eq, Debug, Serialize)]
pub struct ConnectionReport {
    /// `plain`, `digest`, or `unfinished`.
    pub handshake: &'static str,
    /// From the accepted connection to the last byte.
    pub duration_ms: u64,
    /// The longest time between two pieces with media, and when it began.
    pub longest_silence_ms: Option<u64>,
    /// Since the client was accepted.
    pub longest_silence_at_ms: Option<u64>,
    /// What the client sent.
    pub client: SideReport,
    /// What the server sent.
    pub server: SideReport,
    /// The first commands.
    pub commands: Vec<CommandSeen>,
}

struct Side {
    name: &'static str,
    handshake: ServerHandshake,
    reader: ChunkReader,
    bytes: u64,
    reads: u64,
    messages: u64,
    chunk_sizes: Vec<u32>,
    message_end: u64,
    is_closed: bool,
    is_broken: bool,
}

impl Side {
    fn new(name: &'static str) -> Self {
        Self {
            name,
            // Both directions have the same lengths, and no answer is wanted.
            handshake: ServerHandshake::new(0),
            reader: ChunkReader::new(ChunkLimits::default()),
            bytes: 0,
            reads: 0,
            messages: 0,
            chunk_sizes: Vec::new(),
            message_end: HANDSHAKE_LEN,
            is_closed: false,
            is_broken: false,
        }
    }

    /// The next message in `input`, or what is wrong with it and where.
    fn read(&mut self, input: &mut Bytes) -> Result<Option<Message>, (u64, String)> {
        if !self.handshake.is_done() {
            self.handshake.read(input).map_err(|error| (0, format!("handshake: {error}")))?;
            if !self.handshake.is_done() {
                return Ok(None);
            }
        }
        if input.is_empty() {
            return Ok(None);
        }
        let message = self.reader.read(input).map_err(|error| {
            let at = HANDSHAKE_LEN + self.reader.offset();
            (at, format!("chunks, behind the {HANDSHAKE_LEN} bytes of the handshake, {error}"))
        })?;
        if let Some(message) = &message {
            self.messages += 1;
            self.message_end = HANDSHAKE_LEN + self.reader.offset();
            if message.type_id == message_type::SET_CHUNK_SIZE
                && let Some(size) = message.payload.first_chunk().map(u32::from_be_bytes)
                && self.chunk_sizes.len() < CHUNK_SIZES_MAX
            {
                self.chunk_sizes.push(size);
            }
        }
        Ok(message)
    }

    fn unfinished(&self) -> u64 {
        self.bytes.saturating_sub(self.message_end)
    }

    fn report(&self) -> SideReport {
        SideReport {
            bytes: self.bytes,
            reads: self.reads,
            messages: self.messages,
            chunk_sizes: self.chunk_sizes.clone(),
            unfinished_bytes: self.unfinished(),
            is_closed: self.is_closed,
        }
    }
}

impl Default for CaptureScanner {
    fn default() -> Self {
        Self::new()
    }
}

impl CaptureScanner {
    /// One that has read nothing.
    pub fn new() -> Self {
        Self {
            input: BytesMut::new(),
            at: 0,
            state: State::Signature,
            client: Side::new("client"),
            server: Side::new("server"),
            commands: Vec::new(),
            events: VecDeque::new(),
            last_record_us: 0,
            last_media_us: None,
            silence: None,
            plays: false,
        }
    }

    /// Gives the scanner the next bytes of the file.
    ///
    /// # Errors
    ///
    /// If it is no capture.
    pub fn push(&mut self, bytes: &[u8]) -> Result<(), CaptureError> {
        self.input.extend_from_slice(bytes);
        while self.step()? {}
        Ok(())
    }

    /// Says that the file ends here. Take the remaining events then.
    pub fn finish(&mut self) {
        let end = self.at + self.input.len() as u64;
        match self.state {
            State::Over => {}
            State::RecordHeader if self.input.is_empty() => {}
            _ => self.damage(self.at, end, "the capture is cut inside a record".to_owned()),
        }
        self.state = State::Over;
    }

    /// What was found next, or `None` if more bytes are needed, or all is over.
    pub fn poll_event(&mut self) -> Option<Event> {
        self.events.pop_front()
    }

    /// What was said besides the media, until now.
    pub fn report(&self) -> ConnectionReport {
        ConnectionReport {
            handshake: match (self.client.handshake.is_done(), self.client.handshake.has_digest()) {
                (false, _) => "unfinished",
                (true, true) => "digest",
                (true, false) => "plain",
            },
            duration_ms: self.last_record_us / 1000,
            longest_silence_ms: self.silence.map(|(us, _)| us / 1000),
            longest_silence_at_ms: self.silence.map(|(_, at)| at / 1000),
            client: self.client.report(),
            server: self.server.report(),
            commands: self.commands.clone(),
        }
    }

    /// Bytes of the publisher, or of the server if the client plays, behind its last message.
    pub fn unfinished_bytes(&self) -> u64 {
        if self.plays { self.server.unfinished() } else { self.client.unfinished() }
    }

    fn step(&mut self) -> Result<bool, CaptureError> {
        match self.state {
            State::Signature => {
                let Some(signature) = self.take::<{ SIGNATURE.len() }>() else { return Ok(false) };
                if signature != *SIGNATURE {
                    return Err(CaptureError::NoSignature);
                }
                self.state = State::RecordHeader;
            }
            State::RecordHeader => {
                let Some(header) = self.take::<{ RecordHeader::LEN }>() else { return Ok(false) };
                self.begin_record(header);
            }
            State::Record { us, from_client, left } => {
                let take = left.min(self.input.len());
                if take == 0 && left > 0 {
                    return Ok(false);
                }
                let bytes = self.input.split_to(take).freeze();
                self.at += take as u64;
                self.state = match left - take {
                    0 => State::RecordHeader,
                    left => State::Record { us, from_client, left },
                };
                self.read_side(us, from_client, bytes);
            }
            State::Over => return Ok(false),
        }
        Ok(true)
    }

    fn begin_record(&mut self, header: [u8; RecordHeader::LEN]) {
        let RecordHeader { us, from_client, len: left } = match RecordHeader::parse(header) {
            Ok(header) => header,
            Err(error) => {
                let at = self.at - RecordHeader::LEN as u64;
                self.damage(at, self.at, format!("the record at {at} {error}"));
                self.state = State::Over;
                return;
            }
        };
        let side = if from_client { &mut self.client } else { &mut self.server };
        side.reads += u64::from(left > 0);
        side.is_closed |= left == 0;
        self.last_record_us = us;
        self.state = match left {
            0 => State::RecordHeader,
            left => State::Record { us, from_client, left },
        };
    }

    fn read_side(&mut self, us: u64, from_client: bool, mut bytes: Bytes) {
        let side = if from_client { &mut self.client } else { &mut self.server };
        side.bytes += bytes.len() as u64;
        while !self.side(from_client).is_broken {
            match self.side(from_client).read(&mut bytes) {
                Ok(Some(message)) => self.read_message(us, from_client, message),
                Ok(None) => return,
                Err((at, what)) => {
                    let side = self.side(from_client);
                    side.is_broken = true;
                    if from_client != self.plays {
                        self.damage(at, at, format!("{}: {what}", self.name(from_client)));
                    }
                }
            }
        }
    }

    fn side(&mut self, from_client: bool) -> &mut Side {
        if from_client { &mut self.client } else { &mut self.server }
    }

    fn name(&self, from_client: bool) -> &'static str {
        if from_client { self.client.name } else { self.server.name }
    }

    fn read_message(&mut self, us: u64, from_client: bool, message: Message) {
        let at = HANDSHAKE_LEN + self.side(from_client).reader.offset();
        if matches!(message.type_id, message_type::COMMAND_AMF0 | message_type::COMMAND_AMF3) {
            self.list_command(us, from_client, &message);
        } else if from_client != self.plays {
            match message.into_tags() {
                Ok(tags) => tags.into_iter().for_each(|tag| self.add_tag(us, at, tag)),
                Err(error) => self.damage(at, at, error.to_string()),
            }
        }
    }

    fn add_tag(&mut self, us: u64, at: u64, mut tag: Tag) {
        if tag.kind == TagKind::Script {
            tag.payload = script::strip_set_data_frame(&tag.payload);
        } else if let Some(last) = self.last_media_us.replace(us) {
            let silence = us.saturating_sub(last);
            if self.silence.is_none_or(|(longest, _)| silence > longest) {
                self.silence = Some((silence, last));
            }
        }
        self.events.push_back(Event::Tag(FileTag { at, tag }));
    }

    fn list_command(&mut self, us: u64, from_client: bool, message: &Message) {
        if message.payload.len() > COMMAND_LEN_MAX {
            return;
        }
        let body = message.payload.to_bytes();
        let command = Command::parse(message.type_id, &body, amf0::Limits::default());
        let (name, about) = match &command {
            Ok(command) => (command.name.to_owned(), about(command)),
            Err(error) => ("unreadable".to_owned(), error.to_string()),
        };
        self.plays |= from_client && name == "play";
        if self.commands.len() < COMMANDS_MAX {
            let from = self.name(from_client);
            self.commands.push(CommandSeen { ms: us / 1000, from, name, about });
        }
    }

    fn damage(&mut self, from: u64, to: u64, what: String) {
        self.events.push_back(Event::Damage(Damage { from, to, what, suspect: None }));
    }

    fn take<const N: usize>(&mut self) -> Option<[u8; N]> {
        let taken = *self.input.first_chunk::<N>()?;
        self.input.advance(N);
        self.at += N as u64;
        Some(taken)
    }
}

/// What a command is about, in words.
fn about(command: &Command<'_>) -> String {
    let text = |value: &Value<'_>| value.to_str_lossy().map(|text| text.into_owned());
    let of_object = |key: &str| command.object.get(key).and_then(text);
    let information = command.arguments.iter().find_map(|value| value.get("code").and_then(text));
    if command.name == "connect" {
        let parts = ["app", "flashVer"].map(|key| Some(format!("{key}={}", of_object(key)?)));
        return parts.into_iter().flatten().collect::<Vec<_>>().join(" ");
    }
    let first = command.arguments.iter().find_map(|value| match value {
        Value::Number(number) => Some(number.to_string()),
        value => text(value),
    });
    information.or(first).unwrap_or_default()
}
