//! The head of an archived file: `onMetaData` with room for what is known only at the end.
//!
//! ```text
//! 0      FLV header, PreviousTagSize                                   13 bytes
//! 13     tag header of one script tag that fills the rest             11 bytes
//! 24     onMetaData { duration, filesize, forebay: [ …, record, …, record ],
//!        what the publisher said, keyframes: { filepositions, times }, filler: [ … ] }
//! 40956  PreviousTagSize
//! 40960  the first tag
//! ```
//!
//! The tag has the same size and the same header whatever is in it, and a player passes over it by
//! its size. So a head that was being completed when the power went is never worse than one that
//! was not: the tags behind it are found, and [`Recovery`](super::Recovery) makes the head anew
//! from them.
//!
//! Each *record* is in a block of the disk of its own, and no write touches both but those that
//! change neither. So one of them always holds.

use bytes::{BufMut, Bytes, BytesMut};

use super::summary::{INDEX_MAX, Summary};
use crate::amf0::{self, Value};
use crate::flv::file::{
    FILE_HEADER_LEN, PREVIOUS_TAG_SIZE_LEN, TAG_HEADER_LEN, file_header, previous_tag_size,
    tag_header,
};
use crate::flv::{TagKind, script};
use crate::rope::Rope;
use crate::time::Timestamp;

/// Bytes of the head: where the first tag is.
pub const HEAD_LEN: usize = 10 * BLOCK;
/// What a disk writes as a whole or not at all.
const BLOCK: usize = 4096;

const TAG_AT: usize = FILE_HEADER_LEN + PREVIOUS_TAG_SIZE_LEN;
const BODY_AT: usize = TAG_AT + TAG_HEADER_LEN;
const BODY_LEN: usize = HEAD_LEN - BODY_AT - PREVIOUS_TAG_SIZE_LEN;
/// `onMetaData`, an array, `duration` and `filesize` are before it, with fixed lengths.
const RECORDS_KEY_AT: usize = BODY_AT + 13 + 5 + 2 * (2 + 8 + 9);
const RECORDS_KEY: &str = "forebay";

/// Where the records are in the file.
pub const RECORDS_AT: [u64; 2] = [512, BLOCK as u64];

/// What may be taken of the publisher's metadata, in bytes.
const PUBLISHER_LEN_MAX: usize = 4096;
/// A string of the publisher's that is longer is left out. Names of encoders are shorter.
const PUBLISHER_STRING_LEN_MAX: usize = 255;
/// Bytes of a string of spaces. Readers are known to give up on strings that are longer than 1024.
const FILLER_LEN_MAX: usize = 500;

/// How far a file is sound: its length, and the checksum of all that is behind the head.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Record {
    /// Bytes of the file, head included.
    pub len: u64,
    /// CRC-32 (IEEE) of the bytes from [`HEAD_LEN`] on.
    pub crc: u32,
}

impl Record {
    /// Bytes of a record: length, checksum, and a checksum of the two, as text.
    pub const LEN: usize = 16 + 1 + 8 + 1 + 8;

    /// As bytes.
    pub fn to_bytes(self) -> [u8; Self::LEN] {
        let text = format!("{:016x} {:08x}", self.len, self.crc);
        let text = format!("{text} {:08x}", crc32fast::hash(text.as_bytes()));
        let mut bytes = [b' '; Self::LEN];
        bytes.copy_from_slice(text.as_bytes());
        bytes
    }

    /// What these bytes say; `None` if they are no record.
    pub fn parse(bytes: &[u8]) -> Option<Self> {
        let text = std::str::from_utf8(bytes.get(..Self::LEN)?).ok()?;
        let record = Self {
            len: u64::from_str_radix(text.get(..16)?, 16).ok()?,
            crc: u32::from_str_radix(text.get(17..25)?, 16).ok()?,
        };
        (record.to_bytes() == bytes[..Self::LEN]).then_some(record)
    }
}

/// Whether a file that begins like this has a head of ours. The first block will do.
pub fn is_ours(start: &[u8]) -> bool {
    let tag = tag_header(TagKind::Script, BODY_LEN, Timestamp::ZERO);
    let key = RECORDS_KEY_AT + 2;
    start.get(..3) == Some(b"FLV")
        && start.get(TAG_AT..BODY_AT) == Some(&tag[..])
        && start.get(key..key + RECORDS_KEY.len()) == Some(RECORDS_KEY.as_bytes())
}

/// The head of a file that has only just begun: it is sound up to nowhere.
pub(super) fn unfinished() -> Bytes {
    encode(&Summary::default(), None)
}

/// The head of a file that is complete, or made complete.
pub(super) fn finished(summary: &Summary, record: Record) -> Bytes {
    encode(summary, Some(record))
}

fn encode(summary: &Summary, record: Option<Record>) -> Bytes {
    let mut out = BytesMut::with_capacity(HEAD_LEN);
    // Which kinds there will be is known at the end; until then nothing is promised too little.
    let (has_audio, has_video) = match record {
        Some(_) => (summary.has_audio, summary.has_video),
        None => (true, true),
    };
    out.put_slice(&file_header(has_audio, has_video));
    out.put_slice(&tag_header(TagKind::Script, BODY_LEN, Timestamp::ZERO));
    let publisher = summary.metadata.as_ref().map(publisher_entries).unwrap_or_default();
    amf0::write_string("onMetaData", &mut out);
    amf0::begin_ecma_array(5 + publisher.count, &mut out);
    number("duration", f64::from(summary.last_ms) / 1000.0, &mut out);
    number("filesize", record.map_or(0.0, |record| record.len as f64), &mut out);
    records(record, &mut out);
    out.put_slice(&publisher.bytes);
    index(summary, &mut out);
    fill(&mut out);
    amf0::end_object(&mut out);
    out.put_slice(&previous_tag_size(BODY_LEN));
    assert_eq!(out.len(), HEAD_LEN, "the head has one size");
    out.freeze()
}

fn number(key: &str, value: f64, out: &mut BytesMut) {
    amf0::write_key(key, out);
    amf0::write_number(value, out);
}

fn records(record: Option<Record>, out: &mut BytesMut) {
    let bytes = record.map_or([b' '; Record::LEN], Record::to_bytes);
    assert_eq!(out.len(), RECORDS_KEY_AT, "what is before the records has one size");
    amf0::write_key(RECORDS_KEY, out);
    // A string has three bytes in front: spaces up to those, then the record.
    let mut at = out.len() + ARRAY_OVERHEAD;
    let gaps = RECORDS_AT.map(|record_at| {
        let gap = record_at as usize - STRING_OVERHEAD - at;
        at = record_at as usize + Record::LEN;
        gap
    });
    let count: usize = gaps.iter().map(|&gap| space_count(gap)).sum();
    amf0::begin_strict_array(count + RECORDS_AT.len(), out);
    for gap in gaps {
        spaces(gap, out);
        amf0::write_string(bytes, out);
    }
}

/// Marker and length of a short string.
const STRING_OVERHEAD: usize = 3;
/// Marker and count of a strict array.
const ARRAY_OVERHEAD: usize = 5;

/// How many strings [`spaces`] makes of `len` bytes.
fn space_count(len: usize) -> usize {
    len.div_ceil(FILLER_LEN_MAX)
}

/// Strings of spaces that take `len` bytes, their markers and lengths included.
fn spaces(len: usize, out: &mut BytesMut) {
    let count = space_count(len);
    for n in 0..count {
        // As equal as can be, so that none is shorter than a string is.
        let one = len * (n + 1) / count - len * n / count;
        amf0::write_string(&[b' '; FILLER_LEN_MAX][..one - STRING_OVERHEAD], out);
    }
}

#[derive(Default)]
struct PublisherEntries {
    bytes: BytesMut,
    count: usize,
}

/// What the publisher said of the stream and stays true of the file: plain values, as they came.
fn publisher_entries(metadata: &Rope) -> PublisherEntries {
    const OURS: [&[u8]; 5] =
        [b"duration", b"filesize", b"keyframes", b"filler", RECORDS_KEY.as_bytes()];
    let mut entries = PublisherEntries::default();
    let payload = script::strip_set_data_frame(metadata).to_bytes();
    let mut decoder = amf0::Decoder::new(&payload, amf0::Limits::default());
    let (Ok(Some(_name)), Ok(Some(value))) = (decoder.next_value(), decoder.next_value()) else {
        return entries;
    };
    for (key, value) in value.entries().unwrap_or_default() {
        let is_plain = match value {
            Value::Number(_) | Value::Boolean(_) => true,
            Value::String(bytes) => bytes.len() <= PUBLISHER_STRING_LEN_MAX,
            _ => false,
        };
        let len = entries.bytes.len() + key.len() + PUBLISHER_STRING_LEN_MAX + 16;
        if is_plain && len <= PUBLISHER_LEN_MAX && !key.is_empty() && !OURS.contains(key) {
            amf0::write_key(key, &mut entries.bytes);
            amf0::encode(value, &mut entries.bytes);
            entries.count += 1;
        }
    }
    entries
}

fn index(summary: &Summary, out: &mut BytesMut) {
    let keyframes = &summary.keyframes[..summary.keyframes.len().min(INDEX_MAX)];
    amf0::write_key("keyframes", out);
    amf0::begin_object(out);
    amf0::write_key("filepositions", out);
    amf0::begin_strict_array(keyframes.len(), out);
    keyframes.iter().for_each(|&(_, at)| amf0::write_number(at as f64, out));
    amf0::write_key("times", out);
    amf0::begin_strict_array(keyframes.len(), out);
    keyframes.iter().for_each(|&(ms, _)| amf0::write_number(f64::from(ms) / 1000.0, out));
    amf0::end_object(out);
}

/// What is left, as an array of strings: one that long would be too long for some readers.
fn fill(out: &mut BytesMut) {
    const END_LEN: usize = 3 + PREVIOUS_TAG_SIZE_LEN;
    amf0::write_key("filler", out);
    let left = HEAD_LEN - END_LEN - out.len() - ARRAY_OVERHEAD;
    amf0::begin_strict_array(space_count(left), out);
    spaces(left, out);
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_head_has_one_size_and_one_framing() {
        let metadata = |len: usize| {
            let mut out = BytesMut::new();
            amf0::write_string("@setDataFrame", &mut out);
            amf0::write_string("onMetaData", &mut out);
            amf0::begin_ecma_array(0, &mut out);
            for n in 0..len {
                number(&format!("key{n}"), n as f64, &mut out);
            }
            amf0::end_object(&mut out);
            Rope::from(out.freeze())
        };
        let first = unfinished();
        for (keys, keyframes) in [(0, 0), (1, 1), (7, 500), (500, INDEX_MAX)] {
            let summary = Summary {
                metadata: Some(metadata(keys)),
                keyframes: (0..keyframes).map(|n| (n as u32, n as u64)).collect(),
                ..Summary::default()
            };
            let head = finished(&summary, Record { len: 1 << 40, crc: 7 });
            assert_eq!(head[..4], first[..4]);
            assert_eq!(head[5..38], first[5..38]);
            assert!(is_ours(&head));
            let mut reader = crate::flv::file::FileReader::strict();
            reader.push(head.clone());
            let tag = reader.next_tag().unwrap().unwrap().tag;
            assert!(reader.next_tag().unwrap().is_none());
            reader.finish().unwrap();
            let payload = tag.payload.to_bytes();
            let limits = amf0::Limits { elements_max: 10_000, ..amf0::Limits::default() };
            let mut decoder = amf0::Decoder::new(&payload, limits);
            decoder.next_value().unwrap();
            let value = decoder.next_value().unwrap().unwrap();
            assert!(decoder.next_value().unwrap().is_none(), "nothing behind the array");
            let times = value.get("keyframes").unwrap().get("times").unwrap();
            let Value::StrictArray(times) = times else { panic!("{times:?}") };
            assert_eq!(times.len(), keyframes);
            assert_eq!(value.get("key0").is_some(), keys > 0);
        }
    }

    #[test]
    fn a_record_is_read_as_it_was_written_and_no_other_way() {
        let record = Record { len: 123_456_789, crc: 0xdead_beef };
        let bytes = record.to_bytes();
        assert_eq!(Record::parse(&bytes), Some(record));
        for at in 0..bytes.len() {
            for bit in 0..8 {
                let mut flipped = bytes;
                flipped[at] ^= 1 << bit;
                assert_eq!(Record::parse(&flipped), None, "bit {bit} of byte {at}");
            }
        }
        for at in RECORDS_AT.map(|at| at as usize) {
            let head = finished(&Summary::default(), record);
            assert_eq!(Record::parse(&head[at..]), Some(record));
            assert_eq!(Record::parse(&unfinished()[at..]), None);
        }
    }
}
