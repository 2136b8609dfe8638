//! RmlPlayer: rml_rtmp's client, which others wrote, in the shape of ours.
//!
//! It reads the real clock for its timestamps, and writes properties in the order of a `HashMap`.
//! What it says is therefore read and written again, with time 0 and sorted properties, so that
//! two runs send bytes of the same lengths at the same times. Only its handshake stays random,
//! which no length depends on.

use rml_rtmp::handshake::{Handshake, HandshakeProcessResult, PeerType};
use rml_rtmp::sessions::{
    ClientSession, ClientSessionConfig, ClientSessionError, ClientSessionEvent, ClientSessionResult,
};

use super::amf0::{self, Value};
use super::chunks::{ChunkReader, Rules};
use super::connection::Answer;
use super::{Seen, Target, check};
use crate::publisher::encode::{ChunkWriter, Header};
use crate::tag::{Kind, TagSeen};

/// A player that is rml_rtmp's. Of script data and errors it gives a few values only: our reader
/// reads them beside it.
pub(super) struct RmlPlayer {
    target: Target,
    /// Until it is done.
    handshake: Option<Handshake>,
    session: Option<ClientSession>,
    said: ChunkReader,
    heard: ChunkReader,
    writer: ChunkWriter,
    out: Vec<u8>,
    /// Bytes received.
    offset: u64,
    playing: bool,
    over: bool,
}

/// The status of a stream that is over.
const UNPUBLISHED: &str = "NetStream.Play.UnpublishNotify";

/// Bytes of S0, S1 and S2.
const HANDSHAKE_LEN: u64 = 1 + 2 * 1536;

fn words(error: impl std::fmt::Display) -> String {
    format!("rml_rtmp: {error}")
}

impl RmlPlayer {
    pub(super) fn new(target: Target) -> Self {
        let mut handshake = Handshake::new(PeerType::Client);
        let out = handshake.generate_outbound_p0_and_p1().unwrap_or_default();
        let session = ClientSession::new(ClientSessionConfig::new()).ok();
        Self {
            target,
            handshake: Some(handshake),
            session: session.map(|(session, _)| session),
            said: ChunkReader::new(0, Rules::STRICT),
            heard: ChunkReader::new(HANDSHAKE_LEN, Rules::STRICT),
            writer: ChunkWriter::new(),
            out,
            offset: 0,
            playing: false,
            over: false,
        }
    }

    pub(super) fn take_output(&mut self) -> Vec<u8> {
        std::mem::take(&mut self.out)
    }

    pub(super) fn receive(&mut self, bytes: &[u8]) -> Vec<Seen> {
        let mut seen = Vec::new();
        if self.over {
            return seen;
        }
        self.offset += bytes.len() as u64;
        if let Err(why) = self.read(bytes, &mut seen) {
            self.over = true;
            seen.push(Seen::Garbled(format!("byte {} or before: {why}", self.offset)));
        }
        seen
    }

    fn read(&mut self, bytes: &[u8], seen: &mut Vec<Seen>) -> Result<(), String> {
        let Some(handshake) = &mut self.handshake else { return self.input(bytes, seen) };
        match handshake.process_bytes(bytes).map_err(words)? {
            HandshakeProcessResult::InProgress { response_bytes } => {
                self.out.extend(response_bytes);
                Ok(())
            }
            HandshakeProcessResult::Completed { response_bytes, remaining_bytes } => {
                self.out.extend(response_bytes);
                self.handshake = None;
                let app = self.target.app.clone();
                self.ask(seen, |session| session.request_connection(app))?;
                self.input(&remaining_bytes, seen)
            }
        }
    }

    fn input(&mut self, bytes: &[u8], seen: &mut Vec<Seen>) -> Result<(), String> {
        let Some(session) = &mut self.session else { return Ok(()) };
        let results = session.handle_input(bytes).map_err(words)?;
        let first = seen.len();
        self.carry(results, seen)?;
        self.read_beside(bytes, first, seen)
    }

    /// Puts script data and errors in their places among what rml_rtmp gave from `place` on.
    fn read_beside(
        &mut self,
        mut bytes: &[u8],
        mut place: usize,
        seen: &mut Vec<Seen>,
    ) -> Result<(), String> {
        while let Some(message) = self.heard.read(&mut bytes)? {
            match Kind::of_type(message.type_id) {
                Some(Kind::Script) => {
                    check(Kind::Script, &message.payload)?;
                    let tag = TagSeen::of(Kind::Script, message.timestamp_ms, &message.payload);
                    if matches!(seen.get(place), Some(Seen::Playing)) {
                        place += 1;
                    }
                    seen.insert(place, Seen::Tag(tag));
                    place += 1;
                }
                Some(_) => {
                    let media = seen[place..].iter().position(|seen| matches!(seen, Seen::Tag(_)));
                    place += media.map_or(0, |media| media + 1);
                }
                None if message.type_id == 20 => {
                    if let Some((code, words)) = Answer::parse(&message)?.error() {
                        seen.push(Seen::ToldError { code, words });
                    }
                }
                None => {}
            }
        }
        Ok(())
    }

    fn ask(
        &mut self,
        seen: &mut Vec<Seen>,
        what: impl FnOnce(&mut ClientSession) -> Result<ClientSessionResult, ClientSessionError>,
    ) -> Result<(), String> {
        let Some(session) = &mut self.session else { return Ok(()) };
        let result = what(session).map_err(words)?;
        self.carry(vec![result], seen)
    }

    fn carry(
        &mut self,
        results: Vec<ClientSessionResult>,
        seen: &mut Vec<Seen>,
    ) -> Result<(), String> {
        for result in results {
            match result {
                ClientSessionResult::OutboundResponse(packet) => self.say(&packet.bytes)?,
                ClientSessionResult::RaisedEvent(event) => self.event(event, seen)?,
                ClientSessionResult::UnhandleableMessageReceived(_) => {}
            }
        }
        Ok(())
    }

    /// Says again what rml_rtmp said, the same in every run.
    fn say(&mut self, mut bytes: &[u8]) -> Result<(), String> {
        while let Some(mut message) = self.said.read(&mut bytes)? {
            if message.type_id == 20 {
                let mut values = amf0::read_all(&message.payload)?;
                for value in &mut values {
                    if let Value::Object(properties) = value {
                        properties.sort_by(|(a, _), (b, _)| a.cmp(b));
                    }
                }
                message.payload = amf0::to_bytes(&values);
            }
            let (csid, type_id, stream_id) = (message.csid, message.type_id, message.stream_id);
            let header = Header { csid, type_id, stream_id, timestamp_ms: 0 };
            self.writer.write(header, &message.payload, &mut self.out);
        }
        Ok(())
    }

    fn event(&mut self, event: ClientSessionEvent, seen: &mut Vec<Seen>) -> Result<(), String> {
        let tag = |kind, ms, data: &[u8]| Seen::Tag(TagSeen::of(kind, ms, data));
        match event {
            ClientSessionEvent::ConnectionRequestAccepted => {
                let name = self.target.name_and_query();
                return self.ask(seen, |session| session.request_playback(name));
            }
            ClientSessionEvent::PlaybackRequestAccepted if !self.playing => {
                self.playing = true;
                seen.push(Seen::Playing);
            }
            ClientSessionEvent::AudioDataReceived { timestamp, data } => {
                seen.push(tag(Kind::Audio, timestamp.value, &data));
            }
            ClientSessionEvent::VideoDataReceived { timestamp, data } => {
                seen.push(tag(Kind::Video, timestamp.value, &data));
            }
            ClientSessionEvent::UnhandleableOnStatusCode { code } if code == UNPUBLISHED => {
                self.playing = false;
                seen.push(Seen::ToldEnd);
            }
            _ => {}
        }
        Ok(())
    }

    pub(super) fn goodbye(&mut self) {
        let results = self.session.as_mut().map(|session| session.stop_playback());
        if let Some(Ok(results)) = results {
            // What it could not say is not said: it is leaving.
            let _unsaid = self.carry(results, &mut Vec::new());
        }
        // Media on their way would be an error to it now.
        self.over = true;
    }
}
