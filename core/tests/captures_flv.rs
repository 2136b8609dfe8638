//! Every recorded FLV file gives exactly what `testdata/manifest.json` says, which another parser
//! counted, and stops where that one says the framing breaks.

use std::collections::BTreeMap;
use std::path::PathBuf;

use bytes::Bytes;
use forebay::flv::file::FileReader;
use forebay::flv::{AudioHeader, AudioPacketType, HeaderError, Tag, TagKind, TagRole, VideoHeader};
use serde_json::{Map, Value, json};

fn testdata(name: &str) -> Vec<u8> {
    let path = PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("../testdata").join(name);
    std::fs::read(&path).unwrap_or_else(|error| panic!("{}: {error}", path.display()))
}

fn manifest() -> Vec<Map<String, Value>> {
    let all: Vec<Map<String, Value>> =
        serde_json::from_slice(&testdata("manifest.json")).expect("an array");
    let flv: Vec<_> = all.into_iter().filter(|entry| entry["format"] == "flv").collect();
    assert!(flv.len() >= 20, "{} files are not the capture set", flv.len());
    flv
}

/// What the manifest counts, counted with our parsers.
#[derive(Default, PartialEq, Debug)]
struct Facts {
    framing: String,
    flags: u8,
    tags: BTreeMap<&'static str, u64>,
    first_tags: Vec<String>,
    timestamps: Vec<u32>,
    keyframes: Vec<u32>,
    composition_times: Vec<i32>,
}

impl Facts {
    fn read(mut reader: FileReader, bytes: &Bytes, piece_len: usize) -> Self {
        let mut facts = Self::default();
        let mut pieces = bytes.chunks(piece_len);
        let end = loop {
            match reader.next_tag() {
                Ok(Some(found)) => facts.add(&found.tag),
                Err(error) => break Err(error),
                Ok(None) => match pieces.next() {
                    Some(piece) => reader.push(bytes.slice_ref(piece)),
                    None => break reader.finish(),
                },
            }
        };
        facts.framing = end.map_or_else(|error| format!("breaks: {error}"), |()| "intact".into());
        let header = reader.header().expect("all files have a header");
        facts.flags = u8::from(header.has_video) | u8::from(header.has_audio) << 2;
        facts
    }

    fn add(&mut self, tag: &Tag) {
        let (kind, ms) = (kind(tag), tag.timestamp.as_ms());
        *self.tags.entry(kind).or_default() += 1;
        if self.first_tags.len() < 8 {
            self.first_tags.push(format!("{kind}@{ms}"));
        }
        self.timestamps.push(ms);
        if kind == "video_key" {
            self.keyframes.push(ms);
        }
        if let ("video_key" | "video_inter", Ok(header)) = (kind, VideoHeader::parse(&tag.payload))
        {
            let codec = header.codec.expect("a frame has a codec");
            if codec.is_avc() || codec.is_hevc() {
                self.composition_times.push(header.composition_time.as_ms());
            }
        }
    }

    /// The same facts in the manifest's words.
    fn to_json(&self) -> Value {
        let mut tags: BTreeMap<_, u64> =
            ["video_key", "video_inter", "audio", "script", "video_seq", "audio_seq", "video_end"]
                .map(|kind| (kind, 0))
                .into();
        tags.extend(&self.tags);
        let mut values = self.composition_times.clone();
        values.sort_unstable();
        values.dedup();
        let composition_time_ms = values
            .first()
            .map(|min| json!({"min": min, "max": values.last(), "values": &values[..values.len().min(12)]}));
        json!({
            "framing": self.framing,
            "flags": self.flags,
            "tags": tags,
            "first_tags": self.first_tags,
            "first_timestamp_ms": self.timestamps.first(),
            "last_timestamp_ms": self.timestamps.last(),
            "first_keyframe_ms": self.keyframes.first(),
            "composition_time_ms": composition_time_ms,
            "tags_with_extended_timestamp": self.timestamps.iter().filter(|&&ms| ms > 0xFF_FFFF).count(),
            "backward_steps": self.timestamps.windows(2).filter(|pair| pair[1] < pair[0]).count(),
        })
    }
}

/// The manifest's name for a tag, from the headers; the role has to agree.
fn kind(tag: &Tag) -> &'static str {
    let (kind, agrees) = match tag.kind {
        TagKind::Script => ("script", tag.role() == TagRole::Metadata),
        TagKind::Video => match VideoHeader::parse(&tag.payload) {
            Err(HeaderError::Empty) => ("empty", tag.role() == TagRole::Other),
            Err(error) => panic!("{error}"),
            Ok(header) if header.is_keyframe() => ("video_key", tag.role() == TagRole::Keyframe),
            Ok(header) if header.is_frame() => {
                ("video_inter", matches!(tag.role(), TagRole::InterFrame { .. }))
            }
            Ok(header) if header.is_sequence_header() => {
                ("video_seq", matches!(tag.role(), TagRole::VideoSequenceHeader(_)))
            }
            Ok(header) if header.is_end_of_sequence() => {
                ("video_end", tag.role() == TagRole::EndOfSequence)
            }
            Ok(_) => ("video_other", matches!(tag.role(), TagRole::VideoMetadata(_))),
        },
        TagKind::Audio => match AudioHeader::parse(&tag.payload) {
            Err(HeaderError::Empty) => ("empty", tag.role() == TagRole::Other),
            Err(error) => panic!("{error}"),
            Ok(header) if header.is_frame() => ("audio", tag.role() == TagRole::AudioFrame),
            Ok(header) if header.is_sequence_header() => {
                ("audio_seq", matches!(tag.role(), TagRole::AudioSequenceHeader(_)))
            }
            Ok(header) if header.packet_type == AudioPacketType::CodedFrames => {
                ("empty", tag.role() == TagRole::Other)
            }
            Ok(_) => ("audio_other", matches!(tag.role(), TagRole::AudioMultichannelConfig(_))),
        },
    };
    assert!(agrees, "{kind} has the role {:?}", tag.role());
    kind
}

fn assert_is_part_of(facts: &Value, entry: &Map<String, Value>, keys: &[&str], file: &str) {
    for &key in keys {
        let expected = entry.get(key).unwrap_or(&Value::Null);
        assert_eq!(&facts[key], expected, "{file}: {key}");
    }
}

#[test]
fn every_recorded_file_gives_what_the_manifest_counts() {
    for entry in manifest() {
        let file = entry["file"].as_str().unwrap();
        let bytes = Bytes::from(testdata(&format!("flv/{file}")));
        let strict = Facts::read(FileReader::strict(), &bytes, bytes.len()).to_json();
        let keys: Vec<_> = strict.as_object().unwrap().keys().map(String::as_str).collect();
        assert_is_part_of(&strict, &entry, &keys, file);

        let lenient = Facts::read(FileReader::lenient(), &bytes, bytes.len()).to_json();
        match entry.get("ignoring_previous_tag_size") {
            None => assert_eq!(lenient, strict, "{file}"),
            Some(expected) => assert_is_part_of(
                &lenient,
                expected.as_object().unwrap(),
                &["framing", "tags", "last_timestamp_ms"],
                file,
            ),
        }
    }
}

#[test]
fn every_recorded_file_reads_the_same_in_pieces_of_any_length() {
    for entry in manifest() {
        let file = entry["file"].as_str().unwrap();
        let bytes = Bytes::from(testdata(&format!("flv/{file}")));
        let whole = Facts::read(FileReader::strict(), &bytes, bytes.len());
        // Byte by byte, about a packet, and a page.
        for piece_len in [1, 1447, 4096] {
            let cut = Facts::read(FileReader::strict(), &bytes, piece_len);
            assert_eq!(cut, whole, "{file} in pieces of {piece_len}");
        }
    }
}
