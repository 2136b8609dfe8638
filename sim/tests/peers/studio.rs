//! A small server of the tests' own, and an encoder that publishes to it.

use std::time::Duration;

use forebay_sim::publisher::encode::{ChunkWriter, Header};
use forebay_sim::publisher::{Encoder, Heard, Step};
use forebay_sim::tag::{Kind, TagSeen};
use forebay_sim::viewer::amf0::{self, Value};
use forebay_sim::viewer::chunks::{ChunkReader, Message, Rules};

const HANDSHAKE_LEN: usize = 1 + 2 * 1536;

/// Says yes to everything.
pub(crate) struct Server {
    handshake: Vec<u8>,
    reader: ChunkReader,
    writer: ChunkWriter,
    out: Vec<u8>,
    received: u64,
    acknowledged: u64,
    window: Option<u32>,
    streams: u32,
    publishing: bool,
    pub(crate) commands: Vec<String>,
    pub(crate) got: Vec<TagSeen>,
}

impl Server {
    pub(crate) fn new(rules: Rules) -> Self {
        Self {
            handshake: Vec::new(),
            reader: ChunkReader::new(HANDSHAKE_LEN as u64, rules),
            writer: ChunkWriter::new(),
            out: Vec::new(),
            received: 0,
            acknowledged: 0,
            window: None,
            streams: 0,
            publishing: false,
            commands: Vec::new(),
            got: Vec::new(),
        }
    }

    pub(crate) fn take_output(&mut self) -> Vec<u8> {
        std::mem::take(&mut self.out)
    }

    pub(crate) fn receive(&mut self, mut bytes: &[u8]) {
        self.received += bytes.len() as u64;
        let before = self.handshake.len();
        let (front, rest) = bytes.split_at(bytes.len().min(HANDSHAKE_LEN - before));
        self.handshake.extend_from_slice(front);
        bytes = rest;
        if before < 1537 && self.handshake.len() >= 1537 {
            self.out.push(3);
            self.out.extend([0; 1536]);
            self.out.extend_from_slice(&self.handshake[1..1537]);
        }
        while let Some(message) = self.reader.read(&mut bytes).unwrap() {
            self.take(&message);
        }
        if self.window.is_some_and(|window| self.received - self.acknowledged >= window.into()) {
            self.acknowledged = self.received;
            self.writer.write_control(3, &(self.received as u32).to_be_bytes(), &mut self.out);
        }
    }

    fn take(&mut self, message: &Message) {
        let Message { type_id, timestamp_ms, ref payload, stream_id, .. } = *message;
        match type_id {
            5 => self.window = payload.first_chunk().map(|&size| u32::from_be_bytes(size)),
            8 | 9 | 18 => {
                assert!(self.publishing && stream_id == self.streams);
                let kind = Kind::of_type(type_id).unwrap();
                self.got.push(TagSeen::of(kind, timestamp_ms, payload));
            }
            22 => self.split(timestamp_ms, payload),
            20 => self.command(payload),
            _ => {}
        }
    }

    fn split(&mut self, base_ms: u32, mut body: &[u8]) {
        let mut first = None;
        while !body.is_empty() {
            let len = u32::from_be_bytes([0, body[1], body[2], body[3]]) as usize;
            let ms = u32::from_be_bytes([body[7], body[4], body[5], body[6]]);
            let since = ms.wrapping_sub(*first.get_or_insert(ms));
            let kind = Kind::of_type(body[0]).unwrap();
            self.got.push(TagSeen::of(kind, base_ms.wrapping_add(since), &body[11..11 + len]));
            let back = u32::from_be_bytes(body[11 + len..][..4].try_into().unwrap());
            assert_eq!(back as usize, 11 + len);
            body = &body[15 + len..];
        }
    }

    fn command(&mut self, body: &[u8]) {
        let values = amf0::read_all(body).unwrap();
        let (name, id) = (values[0].as_text().unwrap(), values[1].as_number().unwrap());
        self.commands.push(name.to_owned());
        let mut answer = |stream_id, values: &[Value]| {
            let header = Header { csid: 3, type_id: 20, stream_id, timestamp_ms: 0 };
            self.writer.write(header, &amf0::to_bytes(values), &mut self.out);
        };
        let result = [Value::text("_result"), Value::Number(id), Value::Null];
        match name {
            "connect" => answer(0, &result),
            "createStream" => {
                self.streams += 1;
                let number = Value::Number(self.streams.into());
                answer(0, &[&result[..], &[number]].concat());
            }
            "publish" => {
                self.publishing = true;
                let code = Value::text("NetStream.Publish.Start");
                let information = Value::Object(vec![("code".to_owned(), code)]);
                let status = [Value::text("onStatus"), Value::Number(0.0), Value::Null];
                answer(self.streams, &[&status[..], &[information]].concat());
            }
            "deleteStream" => self.publishing = false,
            _ => {}
        }
    }
}

/// What an encoder did.
#[derive(Default)]
pub(crate) struct Run {
    pub(crate) announced: Vec<(Duration, TagSeen)>,
    pub(crate) heard: Vec<Heard>,
    pub(crate) writes: usize,
    pub(crate) windows: usize,
}

impl Run {
    pub(crate) fn tags(&self) -> Vec<TagSeen> {
        self.announced.iter().map(|(_, tag)| *tag).collect()
    }
}

/// Lets an encoder publish to whatever answers, up to so many writes. `exchange` takes what is
/// sent, with how many tags are complete by then, and returns what comes back. The last byte of a
/// tag comes alone.
pub(crate) fn run(
    encoder: &mut Encoder,
    writes_max: usize,
    mut exchange: impl FnMut(&[u8], usize) -> Vec<u8>,
) -> Run {
    let mut run = Run::default();
    let mut answers = Vec::new();
    let mut last_at = Duration::ZERO;
    while run.writes < writes_max {
        match encoder.poll() {
            Some(Step::Send { at, bytes, tags }) => {
                if !tags.is_empty() {
                    assert!(at >= last_at, "{at:?} after {last_at:?}");
                    last_at = at;
                }
                run.writes += 1;
                let mut begin = 0;
                for complete in tags.chunk_by(|(end, _), (next, _)| end == next) {
                    let end = complete[0].0;
                    answers.extend(exchange(&bytes[begin..end - 1], run.announced.len()));
                    run.announced.extend(complete.iter().map(|(_, tag)| (at, *tag)));
                    answers.extend(exchange(&bytes[end - 1..end], run.announced.len()));
                    begin = end;
                }
                answers.extend(exchange(&bytes[begin..], run.announced.len()));
            }
            Some(wait) => {
                run.windows += usize::from(wait == Step::WaitForAcknowledgement);
                let answers = std::mem::take(&mut answers);
                assert!(!answers.is_empty(), "{wait:?} for ever");
                for byte in answers.chunks(1) {
                    run.heard.extend(encoder.receive(byte));
                }
            }
            None => break,
        }
    }
    run.heard.extend(encoder.receive(&answers));
    run
}
