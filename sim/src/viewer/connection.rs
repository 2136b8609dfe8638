//! Connection: what every RTMP client does, whether it plays or publishes: handshake, chunks,
//! acknowledgements, answers to pings.

use super::amf0::{self, Value};
use super::chunks::{ChunkReader, Message, Rules};
use crate::landmark::Landmark;
use crate::publisher::encode::{ChunkWriter, Header};

/// What a client learns of its connection.
pub enum Event {
    /// The handshake is done: commands may follow.
    Open,
    /// A message that is not only about the connection itself, or an Acknowledgement.
    Message(Message),
}

/// Bytes of each of C1, C2, S1 and S2.
const LEN: usize = 1536;

/// The chunk streams of commands to the connection and to a stream, as OBS has them.
const CSID_CONNECTION: u32 = 3;
const CSID_STREAM: u32 = 4;

/// A client's end of a connection, without its socket.
pub struct Connection {
    c1: Vec<u8>,
    /// S0 to S2 as far as they have come; `None` behind them.
    handshake: Option<Vec<u8>>,
    reader: ChunkReader,
    writer: ChunkWriter,
    received: u64,
    acknowledged: u64,
    /// The server's window, once it is known.
    window: Option<u32>,
    out: Vec<u8>,
}

/// Fills `bytes` with what looks random (SplitMix64).
pub fn fill(seed: u64, bytes: &mut [u8]) {
    let mut state = seed;
    for piece in bytes.chunks_mut(8) {
        state = state.wrapping_add(0x9E37_79B9_7F4A_7C15);
        let mut mixed = (state ^ state >> 30).wrapping_mul(0xBF58_476D_1CE4_E5B9);
        mixed = (mixed ^ mixed >> 27).wrapping_mul(0x94D0_49BB_1331_11EB);
        let mixed = (mixed ^ mixed >> 31).to_le_bytes();
        piece.copy_from_slice(&mixed[..piece.len()]);
    }
}

/// C0 and C1 of a plain handshake: time 0, version 0, random bytes.
pub fn c0_c1(seed: u64) -> Vec<u8> {
    let mut bytes = vec![0; 1 + LEN];
    bytes[0] = 3;
    fill(seed, &mut bytes[9..]);
    bytes
}

impl Connection {
    /// C0 and C1 are in the output.
    pub fn new(seed: u64, writer: ChunkWriter) -> Self {
        let out = c0_c1(seed);
        Self {
            c1: out[1..].to_vec(),
            handshake: Some(Vec::new()),
            reader: ChunkReader::new(1 + 2 * LEN as u64, Rules::STRICT),
            writer,
            received: 0,
            acknowledged: 0,
            window: None,
            out,
        }
    }

    /// A client whose words were recorded elsewhere: only what the server says is of interest.
    pub fn listening() -> Self {
        Self { c1: Vec::new(), out: Vec::new(), ..Self::new(0, ChunkWriter::new()) }
    }

    /// What is to be sent.
    pub fn take_output(&mut self) -> Vec<u8> {
        self.take_output_with_landmarks().0
    }

    /// What is to be sent, and what is where in it.
    pub fn take_output_with_landmarks(&mut self) -> (Vec<u8>, Vec<Landmark>) {
        (std::mem::take(&mut self.out), self.writer.take_landmarks())
    }

    /// Where to write what is to be sent, and with what.
    pub fn writer(&mut self) -> (&mut ChunkWriter, &mut Vec<u8>) {
        (&mut self.writer, &mut self.out)
    }

    /// Says a command.
    pub fn command(&mut self, stream_id: u32, name: &str, id: f64, arguments: &[Value]) {
        let mut body = amf0::to_bytes(&[Value::text(name), Value::Number(id)]);
        body.extend(amf0::to_bytes(arguments));
        let csid = if stream_id == 0 { CSID_CONNECTION } else { CSID_STREAM };
        let header = Header { csid, type_id: 20, stream_id, timestamp_ms: 0 };
        self.writer.write(header, &body, &mut self.out);
    }

    /// Takes bytes, however they are cut.
    ///
    /// # Errors
    ///
    /// What breaks the protocol: `byte N: why`. The events before it are in `events`; nothing may
    /// be received after it.
    pub fn receive(&mut self, mut bytes: &[u8], events: &mut Vec<Event>) -> Result<(), String> {
        self.received += bytes.len() as u64;
        if let Some(have) = &mut self.handshake {
            let before = have.len();
            let taken = bytes.len().min(1 + 2 * LEN - before);
            have.extend_from_slice(&bytes[..taken]);
            bytes = &bytes[taken..];
            if let Some(s0) = have.first().filter(|s0| **s0 != 3) {
                return Err(format!("byte 0: S0 is {s0}"));
            }
            if before <= LEN && have.len() > LEN {
                // RTMP 5.2.4: C2 is S1, with the time at which it was read.
                let mut c2 = have[1..=LEN].to_vec();
                c2[4..8].fill(0);
                self.out.extend(c2);
            }
            if have.len() <= 2 * LEN {
                return Ok(());
            }
            let s2 = &have[1 + LEN..];
            let repeats = |c1: &[u8]| s2[..4] == c1[..4] && s2[8..] == c1[8..];
            if !self.c1.is_empty() && !repeats(&self.c1) {
                return Err(format!("byte {}: S2 does not repeat C1", 1 + LEN));
            }
            self.handshake = None;
            events.push(Event::Open);
        }
        while let Some(message) = self.reader.read(&mut bytes)? {
            self.take(message, events)?;
        }
        self.acknowledge();
        Ok(())
    }

    fn take(&mut self, message: Message, events: &mut Vec<Event>) -> Result<(), String> {
        let Message { csid, type_id, stream_id, ref payload, end, .. } = message;
        if matches!(type_id, 1..=6) && (csid, stream_id) != (2, 0) {
            let place = format!("on chunk stream {csid} and message stream {stream_id}");
            return Err(format!("byte {end}: message of type {type_id} {place}"));
        }
        let field = |at: usize| {
            let field = payload.get(at..).and_then(|field| field.first_chunk().copied());
            let short =
                || format!("byte {end}: message of type {type_id} has {} bytes", payload.len());
            field.map(u32::from_be_bytes).ok_or_else(short)
        };
        match type_id {
            1 | 2 => {}
            // PingRequest (RTMP 7.1.7).
            4 if payload.starts_with(&[0, 6]) => {
                let answer = [&[0, 7], &field(2)?.to_be_bytes()[..]].concat();
                self.writer.write_control(4, &answer, &mut self.out);
            }
            5 => self.window = Some(field(0)?).filter(|&window| window > 0),
            6 if payload.len() == 5 => {}
            6 => return Err(format!("byte {end}: Set Peer Bandwidth has {} bytes", payload.len())),
            _ => events.push(Event::Message(message)),
        }
        Ok(())
    }

    /// RTMP 5.4.3: what was received since the connection began, handshake included.
    fn acknowledge(&mut self) {
        let Some(window) = self.window else { return };
        if self.received - self.acknowledged >= window.into() {
            self.acknowledged = self.received;
            let count = (self.received as u32).to_be_bytes();
            self.writer.write_control(3, &count, &mut self.out);
        }
    }
}

/// A command, as far as clients look at it.
pub struct Answer {
    /// Its name.
    pub name: String,
    /// The transaction it answers.
    pub id: f64,
    /// What follows the command object.
    pub arguments: Vec<Value>,
    /// Bytes of the connection up to its end.
    pub end: u64,
}

impl Answer {
    /// A message of type 20.
    ///
    /// # Errors
    ///
    /// If it is none: `byte N: why`.
    pub fn parse(message: &Message) -> Result<Self, String> {
        let place = |why| format!("byte {}: in the command ending here: {why}", message.end);
        let mut values = amf0::read_all(&message.payload).map_err(place)?.into_iter();
        let (Some(Value::String(name)), Some(Value::Number(id))) = (values.next(), values.next())
        else {
            return Err(place("no name or transaction id".to_owned()));
        };
        values.next();
        Ok(Self { name, id, arguments: values.collect(), end: message.end })
    }

    /// The message stream that `createStream` made.
    ///
    /// # Errors
    ///
    /// If there is none in it.
    pub fn stream_id(&self) -> Result<u32, String> {
        let id = self.arguments.first().and_then(Value::as_number).filter(|id| *id >= 1.0);
        let wrong = || format!("byte {}: createStream gave {:?}", self.end, self.arguments);
        id.map(|id| id as u32).ok_or_else(wrong)
    }

    /// A property of the information object.
    pub fn information(&self, name: &str) -> &str {
        let information = self.arguments.first();
        information.and_then(|value| value.get(name)?.as_text()).unwrap_or_default()
    }

    /// Code and words, if it tells of an error.
    pub fn error(&self) -> Option<(String, String)> {
        let is_error = self.name == "_error" || self.information("level") == "error";
        let text = |name| self.information(name).to_owned();
        is_error.then(|| (text("code"), text("description")))
    }
}
