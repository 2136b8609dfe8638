//! RtmpPlayer: connect, createStream, play, and what comes of it.

use super::amf0::Value;
use super::chunks::Message;
use super::connection::{Answer, Connection, Event};
use super::{Seen, Target, check};
use crate::plan::Receive;
use crate::publisher::encode::ChunkWriter;
use crate::tag::{Kind, TagSeen};

/// A strict player of RTMP.
pub(super) struct RtmpPlayer {
    target: Target,
    connection: Connection,
    stream_id: Option<u32>,
    /// Asked for before there was a stream to ask on.
    wishes: Vec<Receive>,
    playing: bool,
    garbled: bool,
}

const CONNECT: f64 = 1.0;
const CREATE_STREAM: f64 = 2.0;

impl RtmpPlayer {
    pub(super) fn new(target: Target, seed: u64) -> Self {
        Self {
            target,
            connection: Connection::new(seed, ChunkWriter::new()),
            stream_id: None,
            wishes: Vec::new(),
            playing: false,
            garbled: false,
        }
    }

    pub(super) fn take_output(&mut self) -> Vec<u8> {
        self.connection.take_output()
    }

    pub(super) fn receive(&mut self, bytes: &[u8]) -> Vec<Seen> {
        let (mut events, mut seen) = (Vec::new(), Vec::new());
        if self.garbled {
            return seen;
        }
        let received = self.connection.receive(bytes, &mut events);
        let understood = events.into_iter().try_for_each(|event| match event {
            Event::Open => {
                self.connect();
                Ok(())
            }
            Event::Message(message) => self.message(&message, &mut seen),
        });
        if let Err(why) = understood.and(received) {
            self.garbled = true;
            seen.push(Seen::Garbled(why));
        }
        seen
    }

    fn connect(&mut self) {
        let property = |name: &str, value| (name.to_owned(), value);
        let url = format!("rtmp://sim/{}", self.target.app);
        let object = Value::Object(vec![
            property("app", Value::text(&self.target.app)),
            property("flashVer", Value::text("LNX 9,0,124,2")),
            property("tcUrl", Value::String(url)),
            property("fpad", Value::Boolean(false)),
            property("capabilities", Value::Number(15.0)),
        ]);
        self.connection.command(0, "connect", CONNECT, &[object]);
    }

    fn message(&mut self, message: &Message, seen: &mut Vec<Seen>) -> Result<(), String> {
        match message.type_id {
            8 | 9 | 18 => self.media(message, seen),
            20 => self.command(&Answer::parse(message)?, seen),
            4 => self.user_control(&message.payload, message.end, seen),
            // Parts of an aggregate are FLV tags; no server we play from sends them.
            22 => Err(format!("byte {}: an aggregate message was not announced", message.end)),
            3 => Ok(()),
            other => Err(format!("byte {}: message of type {other}", message.end)),
        }
    }

    fn media(&mut self, message: &Message, seen: &mut Vec<Seen>) -> Result<(), String> {
        let Message { stream_id, timestamp_ms, ref payload, end, .. } = *message;
        if Some(stream_id) != self.stream_id {
            return Err(format!("byte {end}: media on message stream {stream_id}"));
        }
        if let Some(kind) = Kind::of_type(message.type_id) {
            check(kind, payload).map_err(|why| format!("byte {end}: {why}"))?;
            seen.push(Seen::Tag(TagSeen::of(kind, timestamp_ms, payload)));
        }
        Ok(())
    }

    /// RTMP 7.1.7.
    fn user_control(&mut self, body: &[u8], end: u64, seen: &mut Vec<Seen>) -> Result<(), String> {
        match body {
            // Stream EOF.
            [0, 1, id @ ..] if id.len() == 4 => self.told_end(seen),
            // Stream Begin, Stream Dry, StreamIsRecorded.
            [0, 0 | 2 | 4, id @ ..] if id.len() == 4 => {}
            _ => return Err(format!("byte {end}: user control message {body:x?}")),
        }
        Ok(())
    }

    fn told_end(&mut self, seen: &mut Vec<Seen>) {
        if std::mem::take(&mut self.playing) {
            seen.push(Seen::ToldEnd);
        }
    }

    fn command(&mut self, answer: &Answer, seen: &mut Vec<Seen>) -> Result<(), String> {
        if let Some((code, words)) = answer.error() {
            seen.push(Seen::ToldError { code, words });
            return Ok(());
        }
        match (answer.name.as_str(), answer.id) {
            ("_result", CONNECT) => {
                self.connection.command(0, "createStream", CREATE_STREAM, &[Value::Null])
            }
            ("_result", CREATE_STREAM) => {
                self.stream_id = Some(answer.stream_id()?);
                let name = Value::String(self.target.name_and_query());
                self.say("play", &[Value::Null, name]);
                for wish in std::mem::take(&mut self.wishes) {
                    self.set_receive(wish);
                }
            }
            ("onStatus", _) => match answer.information("code") {
                "NetStream.Play.Start" if !self.playing => {
                    self.playing = true;
                    seen.push(Seen::Playing);
                }
                "NetStream.Play.UnpublishNotify" => self.told_end(seen),
                _ => {}
            },
            _ => {}
        }
        Ok(())
    }

    fn say(&mut self, name: &str, arguments: &[Value]) {
        if let Some(stream_id) = self.stream_id {
            self.connection.command(stream_id, name, 0.0, arguments);
        }
    }

    /// RTMP 7.2.2.4, 7.2.2.5 and 7.2.2.8.
    pub(super) fn set_receive(&mut self, receive: Receive) {
        if self.stream_id.is_none() {
            return self.wishes.push(receive);
        }
        let (name, on) = match receive {
            Receive::Pause => ("pause", true),
            Receive::Resume => ("pause", false),
            Receive::AudioOff => ("receiveAudio", false),
            Receive::AudioOn => ("receiveAudio", true),
            Receive::VideoOff => ("receiveVideo", false),
            Receive::VideoOn => ("receiveVideo", true),
        };
        let time = (name == "pause").then_some(Value::Number(0.0));
        let arguments = [Value::Null, Value::Boolean(on)].into_iter().chain(time);
        self.say(name, &arguments.collect::<Vec<_>>());
    }

    pub(super) fn goodbye(&mut self) {
        let Some(stream_id) = self.stream_id else { return };
        self.say("closeStream", &[Value::Null]);
        let id = Value::Number(stream_id.into());
        self.connection.command(0, "deleteStream", 0.0, &[Value::Null, id]);
    }
}
