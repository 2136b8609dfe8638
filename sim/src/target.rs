//! Target: a server that streams are published to, without I/O. Its parsers are the viewers', and
//! share no code with the core; it is strict.

use crate::plan::{Refusal, Target, TargetQuirk};
use crate::publisher::encode::{ChunkWriter, Header};
use crate::tag::{Kind, TagSeen};
use crate::viewer::amf0::{self, Value};
use crate::viewer::chunks::{ChunkReader, Message, Rules};
use crate::viewer::connection::fill;

/// What a target saw on one connection.
#[derive(Debug)]
pub enum Seen {
    /// It asks to publish this stream: [`Session::answer`] says whether it may.
    Asks(String),
    /// It was told no.
    Refused(&'static str),
    /// A tag.
    Tag(TagSeen),
    /// The stream is over, it says.
    Ended,
    /// What it says breaks the protocol.
    Garbled(String),
}

/// Bytes of each of C1, C2, S1 and S2.
const LEN: usize = 1536;
/// What a server says where the plan says nothing.
const WINDOW: u32 = 2_500_000;
const CHUNK_SIZE: u32 = 4_096;
const STREAM_ID: u32 = 1;

/// A target's end of a connection, without its socket.
pub struct Session {
    plan: Target,
    /// Refuses what comes, like this.
    refusal: Option<Refusal>,
    seed: u64,
    /// C0 to C2 as far as they have come; `None` behind them.
    handshake: Option<Vec<u8>>,
    reader: ChunkReader,
    writer: ChunkWriter,
    received: u64,
    acknowledged: u64,
    /// The peer's window, once it is known.
    window: Option<u64>,
    /// The name asked for and not answered yet.
    asked: Option<f64>,
    publishes: bool,
    garbled: bool,
    out: Vec<u8>,
}

impl Session {
    /// A connection that just came. `refusal`: it is told no.
    pub fn new(plan: Target, refusal: Option<Refusal>, seed: u64) -> Self {
        Self {
            plan,
            refusal,
            seed,
            handshake: Some(Vec::new()),
            reader: ChunkReader::new(1 + 2 * LEN as u64, Rules::STRICT),
            writer: ChunkWriter::new(),
            received: 0,
            acknowledged: 0,
            window: None,
            asked: None,
            publishes: false,
            garbled: false,
            out: Vec::new(),
        }
    }

    /// What is to be sent.
    pub fn take_output(&mut self) -> Vec<u8> {
        std::mem::take(&mut self.out)
    }

    /// Whether a message, a header or the handshake has come in part.
    pub fn is_partial(&self) -> bool {
        match &self.handshake {
            Some(have) => !have.is_empty(),
            None => self.reader.is_partial(),
        }
    }

    /// Takes bytes, however they are cut. After [`Seen::Garbled`] nothing more is understood.
    pub fn receive(&mut self, bytes: &[u8]) -> Vec<Seen> {
        let mut seen = Vec::new();
        if self.garbled || self.plan.quirks.contains(&TargetQuirk::Silent) {
            return seen;
        }
        if let Err(why) = self.read(bytes, &mut seen) {
            self.garbled = true;
            seen.push(Seen::Garbled(why));
        }
        seen
    }

    fn read(&mut self, mut bytes: &[u8], seen: &mut Vec<Seen>) -> Result<(), String> {
        self.received += bytes.len() as u64;
        if !self.shake_hands(&mut bytes)? {
            return Ok(());
        }
        while let Some(message) = self.reader.read(&mut bytes)? {
            self.take(&message, seen)?;
        }
        if let Some(window) = self.window
            && self.received - self.acknowledged >= window
        {
            self.acknowledged = self.received;
            let count = (self.received as u32).to_be_bytes();
            self.writer.write_control(3, &count, &mut self.out);
        }
        Ok(())
    }

    /// Whether that is over.
    fn shake_hands(&mut self, bytes: &mut &[u8]) -> Result<bool, String> {
        let Some(have) = &mut self.handshake else { return Ok(true) };
        let before = have.len();
        let taken = bytes.len().min(1 + 2 * LEN - before);
        have.extend_from_slice(&bytes[..taken]);
        *bytes = &bytes[taken..];
        if let Some(c0) = have.first().filter(|c0| **c0 != 3) {
            return Err(format!("byte 0: C0 is {c0}"));
        }
        if before <= LEN && have.len() > LEN {
            let mut s0_s1 = vec![0; 1 + LEN];
            s0_s1[0] = 3;
            fill(self.seed, &mut s0_s1[9..]);
            self.out.extend(s0_s1);
            // RTMP 5.2.4: S2 is C1.
            self.out.extend_from_slice(&have[1..=LEN]);
        }
        let is_done = have.len() > 2 * LEN;
        if is_done {
            self.handshake = None;
        }
        Ok(is_done)
    }

    fn take(&mut self, message: &Message, seen: &mut Vec<Seen>) -> Result<(), String> {
        let Message { type_id, stream_id, ref payload, end, timestamp_ms, .. } = *message;
        match type_id {
            1..=4 | 6 => {}
            5 => {
                let field = payload.first_chunk().map(|&field| u32::from_be_bytes(field));
                self.window = field.filter(|&window| window > 0).map(u64::from);
            }
            8 | 9 | 18 if !self.publishes => {
                return Err(format!("byte {end}: media before the publish was accepted"));
            }
            8 | 9 | 18 if stream_id != STREAM_ID => {
                return Err(format!("byte {end}: media on message stream {stream_id}"));
            }
            8 | 9 | 18 => seen.extend(
                Kind::of_type(type_id)
                    .map(|kind| Seen::Tag(TagSeen::of(kind, timestamp_ms, payload))),
            ),
            20 => self.command(message, seen)?,
            other => return Err(format!("byte {end}: message of type {other}")),
        }
        Ok(())
    }

    fn command(&mut self, message: &Message, seen: &mut Vec<Seen>) -> Result<(), String> {
        let place = |why| format!("byte {}: in the command ending here: {why}", message.end);
        let values = amf0::read_all(&message.payload).map_err(place)?;
        let [Value::String(name), Value::Number(id), rest @ ..] = &values[..] else {
            return Err(place("no name or transaction id".to_owned()));
        };
        let (name, id) = (name.as_str(), *id);
        let text = |index: usize| rest.get(index).and_then(Value::as_text).unwrap_or_default();
        match name {
            "connect" => {
                let app = rest.first().and_then(|object| object.get("app")?.as_text());
                self.connect(id, app.unwrap_or_default(), seen);
            }
            "releaseStream" | "getStreamLength" => self.result(id, Value::Undefined),
            "FCPublish" => self.say(0, "onFCPublish", 0.0, &[Value::Null]),
            "createStream" => self.result(id, Value::Number(STREAM_ID.into())),
            "publish" if message.stream_id != STREAM_ID || text(2) != "live" => {
                return Err(place(format!("publish of {rest:?} on {}", message.stream_id)));
            }
            "publish" => self.publish(id, text(1), seen),
            "FCUnpublish" | "deleteStream" | "closeStream" => {
                if std::mem::take(&mut self.publishes) {
                    seen.push(Seen::Ended);
                }
            }
            _ => return Err(place(format!("what is {name}?"))),
        }
        Ok(())
    }

    fn connect(&mut self, id: f64, app: &str, seen: &mut Vec<Seen>) {
        let window = self.plan.quirks.iter().find_map(|quirk| match quirk {
            TargetQuirk::Window(window) => Some(*window),
            _ => None,
        });
        let window = window.unwrap_or(WINDOW).to_be_bytes();
        self.writer.write_control(5, &window, &mut self.out);
        let bandwidth = [&window[..], &[2]].concat();
        self.writer.write_control(6, &bandwidth, &mut self.out);
        self.writer.write_chunk_size(CHUNK_SIZE, &mut self.out);
        if self.refusal == Some(Refusal::Auth) {
            let code = "NetConnection.Connect.Rejected";
            let words = "[ AccessManager.Reject ] : [ code=403 need auth; authmod=adobe ] : ";
            let information = information("error", code, words);
            self.say(0, "_error", id, &[Value::Null, information]);
            return seen.push(Seen::Refused(code));
        }
        if app != self.plan.app() {
            return seen.push(Seen::Garbled(format!("connect to the app {app}")));
        }
        let property = |name: &str, value| (name.to_owned(), value);
        let mut object = vec![
            property("fmsVer", Value::text("FMS/3,0,1,123")),
            property("capabilities", Value::Number(31.0)),
        ];
        for quirk in &self.plan.quirks {
            if let TargetQuirk::Takes(four_cc) = quirk {
                let four_cc = Value::String(four_cc.escape_ascii().to_string());
                object.push(property("fourCcList", Value::StrictArray(vec![four_cc])));
            }
        }
        let success = information("status", "NetConnection.Connect.Success", "welcome");
        self.say(0, "_result", id, &[Value::Object(object), success]);
    }

    fn publish(&mut self, id: f64, name: &str, seen: &mut Vec<Seen>) {
        let (name, query) = name.split_once('?').unwrap_or((name, ""));
        let key = self.plan.key.as_ref().map(|key| format!("key={key}"));
        if key.as_deref().unwrap_or_default() != query {
            // Of somebody who was given the right one.
            return seen.push(Seen::Garbled(format!("publish of {name} with `{query}`")));
        }
        let refusal = match self.refusal {
            Some(Refusal::BadName) => Some("NetStream.Publish.BadName"),
            Some(Refusal::Busy) => Some("NetStream.Failed"),
            _ => None,
        };
        if let Some(code) = refusal {
            return self.refuse(code, seen);
        }
        self.asked = Some(id);
        seen.push(Seen::Asks(format!("{}/{name}", self.plan.app())));
    }

    /// Answers who asked to publish. A name has one publisher.
    pub fn answer(&mut self, is_free: bool) -> Option<Seen> {
        let id = self.asked.take()?;
        if !is_free {
            let mut seen = Vec::new();
            self.refuse("NetStream.Publish.BadName", &mut seen);
            return seen.pop();
        }
        self.publishes = true;
        let start = information("status", "NetStream.Publish.Start", "go ahead");
        self.say(STREAM_ID, "onStatus", id, &[Value::Null, start]);
        None
    }

    fn refuse(&mut self, code: &'static str, seen: &mut Vec<Seen>) {
        let information = information("error", code, "not now");
        self.say(STREAM_ID, "onStatus", 0.0, &[Value::Null, information]);
        seen.push(Seen::Refused(code));
    }

    fn result(&mut self, id: f64, value: Value) {
        self.say(0, "_result", id, &[Value::Null, value]);
    }

    fn say(&mut self, stream_id: u32, name: &str, id: f64, arguments: &[Value]) {
        let mut body = amf0::to_bytes(&[Value::text(name), Value::Number(id)]);
        body.extend(amf0::to_bytes(arguments));
        let csid = if stream_id == 0 { 3 } else { 5 };
        let header = Header { csid, type_id: 20, stream_id, timestamp_ms: 0 };
        self.writer.write(header, &body, &mut self.out);
        // Nobody watches how these are cut.
        self.writer.take_landmarks();
    }
}

fn information(level: &str, code: &str, description: &str) -> Value {
    let property = |name: &str, text: &str| (name.to_owned(), Value::text(text));
    Value::Object(vec![
        property("level", level),
        property("code", code),
        property("description", description),
    ])
}
