//! Encoders without I/O: they play a capture as OBS would, or otherwise if a plan says so.

pub mod encode;
mod pack;
mod quirk;
mod replay;
mod source;
mod tags;

use std::iter::Peekable;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;

use self::encode::ChunkWriter;
use self::pack::Packer;
use self::quirk::Quirks;
use self::replay::Replay;
use self::source::Source;
use self::tags::{Planned, Tags};
use crate::capture::Capture;
use crate::landmark::Landmark;
use crate::plan;
use crate::tag::{Kind, TagSeen};
use crate::viewer::amf0::Value;
use crate::viewer::chunks::Message;
use crate::viewer::connection::{Answer, Connection, Event};

/// What an encoder does next.
#[derive(Clone, Debug, PartialEq)]
pub enum Step {
    /// Send this.
    Send {
        /// When, since the encoder was first allowed to publish. What comes before that is due at
        /// once, and is at zero.
        at: Duration,
        /// Whole messages.
        bytes: Bytes,
        /// The tags that are complete with these bytes, in order, each with how many of the bytes
        /// it takes.
        tags: Vec<(usize, TagSeen)>,
    },
    /// There is nothing to send before the server has answered. Ask again after `receive`.
    WaitForServer,
    /// The window is full (P27). Ask again after `receive`.
    WaitForAcknowledgement,
}

/// What an encoder hears.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Heard {
    /// It may publish.
    Publishing,
    /// It was told that something is wrong. It sends nothing more if it may not publish.
    ToldError {
        /// A code of RTMP.
        code: String,
        /// For people.
        words: String,
    },
    /// It was told that its stream is over.
    ToldEnd,
    /// What came breaks the protocol: `byte N: why`. Nothing is heard after it.
    Garbled(String),
}

/// Plays a capture as an encoder would.
///
/// # Driving it
///
/// Ask `poll` for the next step and do it; after a `Wait…` ask again when something was received.
/// Answers to the server (pongs, acknowledgements) are steps too, due at once.
pub struct Encoder {
    connection: Connection,
    phase: Phase,
    app: String,
    name: String,
    last_id: f64,
    create_id: f64,
    stream_id: u32,
    chunk_size: u32,
    window: Option<u32>,
    sent: u64,
    acknowledged: u64,
    garbled: bool,
    /// Of what was to be sent since they were taken.
    landmarks: Vec<Landmark>,
    media: Media,
}

enum Media {
    Played {
        tags: Box<Peekable<Tags>>,
        packer: Packer,
        /// The next to be sent, when the stream is published again before it.
        held: Option<Planned>,
    },
    Recorded(Replay),
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Phase {
    Handshake,
    /// `connect` is not answered yet.
    Connecting,
    /// `createStream` is not answered yet.
    Creating,
    /// `publish` is not answered yet.
    Starting,
    Publishing,
    Refused,
}

const CONNECT: f64 = 1.0;

impl Encoder {
    /// Whether an encoder can do what this line of a plan wants of it.
    ///
    /// # Errors
    ///
    /// As [`new`](Self::new).
    pub fn check(publish: &plan::Publish, capture: &Arc<Capture>) -> Result<(), String> {
        Self::new(publish, capture.clone(), 0, 0).map(drop)
    }

    /// An encoder at the end of a connection that has just been opened, as often before as `take`
    /// says: it sends other frames each time.
    ///
    /// # Errors
    ///
    /// If a quirk makes no sense, or not with this capture. A capture from the wire is sent as it
    /// was: without part, repetition or quirks, and to the key it was recorded with.
    pub fn new(
        publish: &plan::Publish,
        capture: Arc<Capture>,
        seed: u64,
        take: u32,
    ) -> Result<Self, String> {
        let quirks = Quirks::new(&publish.quirks, &capture)?;
        let mut writer = ChunkWriter::new();
        if quirks.no_extended_on_type_3 {
            writer = writer.without_extended_on_type_3();
        }
        let mut connection = Connection::new(seed, writer);
        let media = match &capture.wire {
            Some(wire) => {
                connection = Connection::listening();
                Media::Recorded(Replay::new(publish, &capture, wire)?)
            }
            None => {
                let keep = |kind| match kind {
                    Kind::Audio => !quirks.no_audio,
                    Kind::Video => !quirks.no_video,
                    Kind::Script => true,
                };
                let source = Source::new(&capture, publish.part, keep)?;
                let packer = Packer::new(&quirks, seed);
                let tags = Tags::new(source, quirks.clone(), publish.repeats, take);
                Media::Played { tags: Box::new(tags.peekable()), packer, held: None }
            }
        };
        let (app, name) = publish.key.rsplit_once('/').unwrap_or(("", &publish.key));
        Ok(Self {
            connection,
            phase: Phase::Handshake,
            app: app.to_owned(),
            name: name.to_owned(),
            last_id: CONNECT,
            create_id: 0.0,
            stream_id: 0,
            chunk_size: quirks.chunk_size.unwrap_or(4096),
            window: quirks.window,
            sent: 0,
            acknowledged: 0,
            garbled: false,
            landmarks: Vec::new(),
            media,
        })
    }

    /// What to do next; `None` when the capture is over, or the server has refused it.
    pub fn poll(&mut self) -> Option<Step> {
        if self.phase == Phase::Refused {
            return None;
        }
        if let Media::Recorded(replay) = &mut self.media {
            return replay.poll(self.phase == Phase::Publishing);
        }
        if let Some(answers) = self.send(Duration::ZERO, Vec::new()) {
            return Some(answers);
        }
        if self.phase != Phase::Publishing {
            return Some(Step::WaitForServer);
        }
        // It stops behind the window and not before it, or the server might have nothing to
        // acknowledge yet.
        let unacknowledged = self.sent.saturating_sub(self.acknowledged);
        if self.window.is_some_and(|window| unacknowledged >= window.into()) {
            return Some(Step::WaitForAcknowledgement);
        }
        self.poll_media()
    }

    fn poll_media(&mut self) -> Option<Step> {
        let Media::Played { tags, packer, held } = &mut self.media else { return None };
        let first = match held.take() {
            Some(first) => first,
            None => {
                let first = tags.next()?;
                if first.republish {
                    let at = first.at;
                    *held = Some(first);
                    self.say_goodbye();
                    self.create_stream();
                    return self.send(at, Vec::new());
                }
                first
            }
        };
        let mut group = vec![first];
        while let Some(next) = tags.next_if(|next| packer.belongs(&group, next)) {
            group.push(next);
        }
        let at = group.last().map_or(Duration::ZERO, |last| last.at);
        let (writer, out) = self.connection.writer();
        let tags = packer.pack(&group, self.stream_id, writer, out);
        self.send(at, tags)
    }

    /// All of the output as a step; `None` if there is none.
    fn send(&mut self, at: Duration, tags: Vec<(usize, TagSeen)>) -> Option<Step> {
        let (bytes, landmarks) = self.connection.take_output_with_landmarks();
        self.landmarks.extend(landmarks.into_iter().map(|landmark| landmark.behind(self.sent)));
        self.sent += bytes.len() as u64;
        (!bytes.is_empty()).then(|| Step::Send { at, bytes: bytes.into(), tags })
    }

    /// What is where in the bytes of all steps so far, from the first one's first byte on: what is
    /// new since the last call.
    pub fn take_landmarks(&mut self) -> Vec<Landmark> {
        std::mem::take(&mut self.landmarks)
    }

    /// Takes what came from the server.
    pub fn receive(&mut self, bytes: &[u8]) -> Vec<Heard> {
        let (mut events, mut heard) = (Vec::new(), Vec::new());
        if self.garbled {
            return heard;
        }
        let received = self.connection.receive(bytes, &mut events);
        let understood = events.into_iter().try_for_each(|event| match event {
            Event::Open => {
                self.connect();
                Ok(())
            }
            Event::Message(message) => self.hear(&message, &mut heard),
        });
        if let Err(why) = understood.and(received) {
            self.garbled = true;
            heard.push(Heard::Garbled(why));
        }
        if let Media::Recorded(_) = self.media {
            // What it had to say was recorded.
            self.connection.take_output();
        }
        heard
    }

    /// OBS: Set Chunk Size and `connect` in one write.
    fn connect(&mut self) {
        let property = |name: &str, value: &str| (name.to_owned(), Value::text(value));
        let url = format!("rtmp://sim/{}", self.app);
        let object = Value::Object(vec![
            property("app", &self.app),
            property("type", "nonprivate"),
            ("supportsGoAway".to_owned(), Value::Boolean(true)),
            property("flashVer", "FMLE/3.0 (compatible; FMSc/1.0)"),
            property("swfUrl", &url),
            property("tcUrl", &url),
        ]);
        let (writer, out) = self.connection.writer();
        writer.write_chunk_size(self.chunk_size, out);
        if let Some(window) = self.window {
            writer.write_control(5, &window.to_be_bytes(), out);
        }
        self.connection.command(0, "connect", CONNECT, &[object]);
        self.phase = Phase::Connecting;
    }

    fn call(&mut self, stream_id: u32, name: &str, arguments: &[Value]) -> f64 {
        self.last_id += 1.0;
        self.connection.command(stream_id, name, self.last_id, arguments);
        self.last_id
    }

    /// OBS does not wait between these.
    fn create_stream(&mut self) {
        let name = Value::text(&self.name);
        self.call(0, "releaseStream", &[Value::Null, name.clone()]);
        self.call(0, "FCPublish", &[Value::Null, name]);
        self.create_id = self.call(0, "createStream", &[Value::Null]);
        self.phase = Phase::Creating;
    }

    fn hear(&mut self, message: &Message, heard: &mut Vec<Heard>) -> Result<(), String> {
        match message.type_id {
            20 => self.answer(&Answer::parse(message)?, heard),
            3 => {
                let field = message.payload.first_chunk().copied();
                let count = field.map(u32::from_be_bytes);
                let count = count.ok_or_else(|| format!("byte {}: short", message.end))?;
                // Modulo 2^32, and never more than was sent.
                let behind = (self.sent as u32).wrapping_sub(count);
                self.acknowledged = self.sent.saturating_sub(behind.into());
                Ok(())
            }
            4 => Ok(()),
            other => Err(format!("byte {}: message of type {other}", message.end)),
        }
    }

    fn answer(&mut self, answer: &Answer, heard: &mut Vec<Heard>) -> Result<(), String> {
        if let Some((code, words)) = answer.error() {
            if self.phase != Phase::Publishing {
                self.phase = Phase::Refused;
            }
            heard.push(Heard::ToldError { code, words });
            return Ok(());
        }
        let is_recorded = matches!(self.media, Media::Recorded(_));
        match (answer.name.as_str(), answer.information("code")) {
            ("_result", _) if is_recorded => {}
            ("_result", _) if self.phase == Phase::Connecting && answer.id == CONNECT => {
                self.create_stream();
            }
            ("_result", _) if self.phase == Phase::Creating && answer.id == self.create_id => {
                self.stream_id = answer.stream_id()?;
                let arguments = [Value::Null, Value::text(&self.name), Value::text("live")];
                self.call(self.stream_id, "publish", &arguments);
                self.phase = Phase::Starting;
            }
            ("onStatus", "NetStream.Publish.Start") => {
                self.phase = Phase::Publishing;
                heard.push(Heard::Publishing);
            }
            // In other phases it is the answer to our own goodbye.
            ("onStatus", "NetStream.Unpublish.Success") if self.phase == Phase::Publishing => {
                heard.push(Heard::ToldEnd);
            }
            _ => {}
        }
        Ok(())
    }

    fn say_goodbye(&mut self) {
        if self.stream_id == 0 {
            return;
        }
        let name = Value::text(&self.name);
        self.call(0, "FCUnpublish", &[Value::Null, name]);
        let id = Value::Number(self.stream_id.into());
        self.call(0, "deleteStream", &[Value::Null, id]);
    }

    /// What OBS says before it closes: nothing if there is no stream yet. A recorded connection
    /// has its own end, and says nothing.
    pub fn goodbye(&mut self) -> Vec<u8> {
        if let Media::Recorded(_) = self.media {
            return Vec::new();
        }
        self.say_goodbye();
        let bytes = self.connection.take_output();
        self.sent += bytes.len() as u64;
        bytes
    }
}
