//! Packer: tags to the bytes of one write, in the ways encoders and quirks have.

use super::encode::{ChunkWriter, Header, Outgoing};
use super::quirk::Quirks;
use super::tags::Planned;
use crate::capture::CaptureTag;
use crate::landmark::Landmark;
use crate::tag::{Kind, SET_DATA_FRAME, TagSeen};
use crate::viewer::connection::fill;

/// Chunk streams: all media on one, as OBS has it, or one a kind.
const CSID_MEDIA: u32 = 4;
const CSID_VIDEO: u32 = 6;
const CSID_SCRIPT: u32 = 8;
/// For what is begun and never ended, and for what nobody knows.
const CSID_ABORTED: u32 = 7;
const CSID_UNKNOWN: u32 = 9;

/// The chunk sizes of an encoder that cannot decide.
const CHUNK_SIZES: [u32; 4] = [1, 128, 4096, 65536];

pub(super) struct Packer {
    interleaved: bool,
    aggregates: bool,
    aborts: bool,
    unknown_types: bool,
    chunk_size_changes: bool,
    /// A clock that began long ago is that of hardware, which says the absolute time with every
    /// keyframe.
    full_headers: bool,
    seed: u64,
    packed: u64,
}

/// A tag as the body of its message.
fn body(tag: &CaptureTag) -> Vec<u8> {
    match tag.kind {
        Kind::Script => [&SET_DATA_FRAME[..], &tag.payload].concat(),
        Kind::Audio | Kind::Video => tag.payload.to_vec(),
    }
}

impl Packer {
    pub(super) fn new(quirks: &Quirks, seed: u64) -> Self {
        Self {
            interleaved: quirks.interleaved,
            aggregates: quirks.aggregates,
            aborts: quirks.aborts,
            unknown_types: quirks.unknown_types,
            chunk_size_changes: quirks.chunk_size_changes,
            full_headers: quirks.starts_at.is_some(),
            seed,
            packed: 0,
        }
    }

    /// Whether `next` goes into one write with the tags of `group`, which is not empty.
    pub(super) fn belongs(&self, group: &[Planned], next: &Planned) -> bool {
        let (Some(first), false) = (group.first(), next.republish) else { return false };
        let span_ms = next.at.saturating_sub(first.at).as_millis();
        let is_script = |planned: &Planned| planned.tag.kind == Kind::Script;
        if self.interleaved {
            let has_kind = group.iter().any(|planned| planned.tag.kind == next.tag.kind);
            !has_kind && span_ms <= 60
        } else if self.aggregates {
            let alone = is_script(first) || is_script(next) || next.gop.is_some();
            !alone && group.len() < 8 && span_ms <= 200
        } else {
            false
        }
    }

    /// Appends the tags of a group, and returns them in the order in which they are complete, each
    /// with the length of the output by then.
    pub(super) fn pack(
        &mut self,
        group: &[Planned],
        stream_id: u32,
        writer: &mut ChunkWriter,
        out: &mut Vec<u8>,
    ) -> Vec<(usize, TagSeen)> {
        self.packed += 1;
        let gop = group.iter().find_map(|planned| planned.gop);
        if self.unknown_types && self.packed.is_multiple_of(7) {
            self.write_unknown(stream_id, writer, out);
        }
        if self.aborts && gop.is_some() {
            write_aborted(stream_id, writer, out);
        }
        if self.full_headers && gop.is_some() {
            [CSID_MEDIA, CSID_VIDEO].into_iter().for_each(|csid| writer.forget(csid));
        }
        let chunk_size = gop
            .filter(|_| self.chunk_size_changes)
            .and_then(|gop| CHUNK_SIZES.get(gop as usize % CHUNK_SIZES.len()));
        let tags: Vec<_> = group.iter().map(|planned| &planned.tag).collect();
        match tags[..] {
            [first, ..] if self.aggregates && first.kind != Kind::Script => {
                let body = self.aggregate(&tags);
                let header = self.header(22, first.timestamp_ms, CSID_MEDIA, stream_id);
                write_all(&[(header, body)], chunk_size, writer, out);
                tags.into_iter().map(|tag| (out.len(), tag.seen())).collect()
            }
            _ => {
                let message = |tag: &&CaptureTag| {
                    let csid = match tag.kind {
                        Kind::Video if self.interleaved => CSID_VIDEO,
                        Kind::Script if self.interleaved => CSID_SCRIPT,
                        _ => CSID_MEDIA,
                    };
                    let type_id = tag.kind.type_id();
                    (self.header(type_id, tag.timestamp_ms, csid, stream_id), body(tag))
                };
                let messages: Vec<_> = tags.iter().map(message).collect();
                let order = write_all(&messages, chunk_size, writer, out);
                order.into_iter().map(|(index, end)| (end, tags[index].seen())).collect()
            }
        }
    }

    fn header(&self, type_id: u8, timestamp_ms: u32, csid: u32, stream_id: u32) -> Header {
        Header { csid, type_id, stream_id, timestamp_ms }
    }

    /// RTMP 7.1.6. The times inside begin anywhere: what counts is their distance to the first.
    fn aggregate(&self, tags: &[&CaptureTag]) -> Vec<u8> {
        let base_ms = tags.first().map_or(0, |tag| tag.timestamp_ms);
        let zero_ms = if self.packed.is_multiple_of(2) { 0 } else { 5_000 };
        let mut body = Vec::new();
        for tag in tags {
            let ms = tag.timestamp_ms.wrapping_sub(base_ms).wrapping_add(zero_ms);
            let [extended, t2, t1, t0] = ms.to_be_bytes();
            let len = tag.payload.len() as u32;
            body.push(tag.kind.type_id());
            body.extend(&len.to_be_bytes()[1..]);
            body.extend([t2, t1, t0, extended, 0, 0, 0]);
            body.extend_from_slice(&tag.payload);
            body.extend((11 + len).to_be_bytes());
        }
        body
    }

    fn write_unknown(&self, stream_id: u32, writer: &mut ChunkWriter, out: &mut Vec<u8>) {
        const TYPES: [u8; 8] = [7, 10, 11, 12, 13, 14, 99, 255];
        let mut body = [0; 40];
        fill(self.seed ^ self.packed, &mut body);
        let len = body[0] as usize % body.len();
        let type_id = TYPES[body[1] as usize % TYPES.len()];
        writer.write(self.header(type_id, 0, CSID_UNKNOWN, stream_id), &body[..len], out);
    }
}

/// Begins a message that needs more than one chunk, and aborts it (RTMP 5.4.2).
fn write_aborted(stream_id: u32, writer: &mut ChunkWriter, out: &mut Vec<u8>) {
    const LEN_MAX: usize = 1 << 20;
    let chunk_size = writer.chunk_size();
    if chunk_size >= LEN_MAX {
        return;
    }
    let body = vec![0x27; chunk_size * 2 + 1];
    writer.forget(CSID_ABORTED);
    let header = Header { csid: CSID_ABORTED, type_id: 9, stream_id, timestamp_ms: 0 };
    let begun = writer.begin(header, &body).write_chunk(chunk_size, out);
    writer.note(begun);
    writer.write_control(2, &CSID_ABORTED.to_be_bytes(), out);
}

/// Writes messages of different chunk streams chunk by chunk in turn, with a change of the chunk
/// size behind the first round. Returns their indices in the order in which they are complete, each
/// with the length of the output by then.
fn write_all(
    messages: &[(Header, Vec<u8>)],
    mut chunk_size: Option<&u32>,
    writer: &mut ChunkWriter,
    out: &mut Vec<u8>,
) -> Vec<(usize, usize)> {
    let begin = |(header, body)| writer.begin(header, body);
    let mut begin = begin;
    let mut outgoing: Vec<Outgoing<'_>> =
        messages.iter().map(|(header, body)| begin((*header, body.as_slice()))).collect();
    let mut order = Vec::new();
    while order.len() < messages.len() {
        for (index, message) in outgoing.iter_mut().enumerate() {
            if !message.is_done() {
                let chunk = message.write_chunk(writer.chunk_size(), out);
                writer.note(chunk);
                if message.is_done() {
                    order.push((index, out.len()));
                }
            }
        }
        let open = messages.len() - order.len();
        if open >= 3 {
            writer.note(Landmark::Goal { at: out.len() as u64, name: "chunks_interleaved" });
        }
        if let Some(&size) = chunk_size.take() {
            writer.write_chunk_size(size, out);
            if open > 0 {
                let name = "chunk_size_changed_mid_message";
                writer.note(Landmark::Goal { at: out.len() as u64, name });
            }
        }
    }
    order
}
