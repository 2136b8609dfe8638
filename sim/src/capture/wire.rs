//! `.rtmpcap` files: the bytes of a connection, and the tags in them.

use std::time::Duration;

use bytes::Bytes;

use super::{CaptureTag, Wire};
use crate::tag::{Kind, SET_DATA_FRAME};
use crate::viewer::amf0::{self, Value};
use crate::viewer::chunks::{ChunkReader, Message, Rules};

/// The AMF0 string `@clearDataFrame`: for the server, not for players.
const CLEAR_DATA_FRAME: &[u8; 18] = b"\x02\x00\x0f@clearDataFrame";

/// C0, C1 and C2.
const HANDSHAKE_LEN: u64 = 1 + 2 * 1536;

pub(super) fn read(file: &Bytes) -> Result<(Vec<CaptureTag>, Wire), String> {
    let records = records(file)?;
    let rules = Rules { relative_first: true, ..Rules::STRICT };
    let mut reader = ChunkReader::new(HANDSHAKE_LEN, rules);
    let mut said = Said::default();
    let mut handshake_left = HANDSHAKE_LEN as usize;
    for (_, bytes) in &records {
        let in_handshake = handshake_left.min(bytes.len());
        handshake_left -= in_handshake;
        let mut input = &bytes[in_handshake..];
        while let Some(message) = reader.read(&mut input)? {
            said.take(message)?;
        }
    }
    let Said { tags, tag_ends, app, published, .. } = said;
    let (name, publish_end) = published.ok_or("nothing was published")?;
    Ok((tags, Wire { records, tag_ends, publish_end, key: format!("{app}/{name}") }))
}

/// What direction 0 sent, and when.
fn records(file: &Bytes) -> Result<Vec<(Duration, Bytes)>, String> {
    let mut records = Vec::new();
    let mut at = 8;
    if !file.starts_with(b"RTMPCAP1") {
        return Err("no RTMPCAP1 file".to_owned());
    }
    while let Some(&[a, b, c, d, e, f, g, h, direction, k, l, m, n]) =
        file.get(at..).and_then(<[u8]>::first_chunk)
    {
        let micros = u64::from_le_bytes([a, b, c, d, e, f, g, h]);
        let start = at + 13;
        at = start + u32::from_le_bytes([k, l, m, n]) as usize;
        if at > file.len() {
            return Err(format!("byte {start}: the record is longer than the file"));
        }
        if direction == 0 && at > start {
            records.push((Duration::from_micros(micros), file.slice(start..at)));
        }
    }
    Ok(records)
}

#[derive(Default)]
struct Said {
    tags: Vec<CaptureTag>,
    tag_ends: Vec<u64>,
    app: String,
    /// What, and where the command ends.
    published: Option<(String, u64)>,
    over: bool,
}

impl Said {
    fn take(&mut self, message: Message) -> Result<(), String> {
        match message.type_id {
            20 => self.command(&message),
            8 | 9 | 18 if self.published.is_some() && !self.over => {
                self.tag(message);
                Ok(())
            }
            15 | 17 | 22 => Err(format!("a message of type {}", message.type_id)),
            _ => Ok(()),
        }
    }

    fn tag(&mut self, message: Message) {
        let Some(kind) = Kind::of_type(message.type_id) else { return };
        if kind == Kind::Script && message.payload.starts_with(CLEAR_DATA_FRAME) {
            return;
        }
        let Message { timestamp_ms, payload, end, .. } = message;
        let mut payload = Bytes::from(payload);
        if kind == Kind::Script && payload.starts_with(SET_DATA_FRAME) {
            payload = payload.slice(SET_DATA_FRAME.len()..);
        }
        self.tags.push(CaptureTag { kind, timestamp_ms, payload });
        self.tag_ends.push(end);
    }

    fn command(&mut self, message: &Message) -> Result<(), String> {
        let values = amf0::read_all(&message.payload)?;
        let argument = |index: usize| values.get(index).and_then(Value::as_text);
        match argument(0) {
            Some("connect") => {
                let app = values.get(2).and_then(|object| object.get("app")?.as_text());
                self.app = app.unwrap_or_default().to_owned();
            }
            Some("publish") => {
                let name = argument(3).unwrap_or_default();
                let name = name.split('?').next().unwrap_or_default();
                self.published = Some((name.to_owned(), message.end));
            }
            Some("FCUnpublish" | "deleteStream" | "closeStream") => {
                self.over = self.published.is_some();
            }
            _ => {}
        }
        Ok(())
    }
}
