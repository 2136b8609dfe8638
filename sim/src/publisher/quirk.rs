//! Quirks: how an encoder differs from a good one, checked, and what they do to a payload.

use bytes::Bytes;

use crate::capture::{Capture, CaptureTag};
use crate::plan::Quirk;
use crate::tag::{Kind, Role, role_and_codec};
use crate::viewer::amf0::{self, Value};

/// A plan's quirks by name; nothing is the good encoder.
#[derive(Clone, Debug, Default)]
pub(super) struct Quirks {
    pub(super) starts_at: Option<u32>,
    pub(super) no_extended_on_type_3: bool,
    pub(super) jumps: Vec<(u32, i32)>,
    pub(super) all_zero: bool,
    pub(super) audio_late: u32,
    pub(super) no_audio: bool,
    pub(super) no_video: bool,
    pub(super) video_after: u32,
    pub(super) headers_repeated: bool,
    pub(super) header_changes: Option<(u32, i32)>,
    pub(super) codec_changes: Option<u32>,
    pub(super) headers_late: u32,
    pub(super) no_headers: bool,
    pub(super) keyframe_every: Option<u32>,
    pub(super) all_keyframes: bool,
    pub(super) disposable: Option<u32>,
    pub(super) composition_time: i32,
    pub(super) huge: Option<(u32, u32)>,
    pub(super) storm: u32,
    pub(super) empty_tags: Option<u32>,
    pub(super) chunk_size: Option<u32>,
    pub(super) chunk_size_changes: bool,
    pub(super) interleaved: bool,
    pub(super) aborts: bool,
    pub(super) aggregates: bool,
    pub(super) unknown_types: bool,
    pub(super) metadata_updates: bool,
    pub(super) bursts: u32,
    pub(super) drift: i32,
    pub(super) swings: Option<u32>,
    pub(super) republishes: Option<u32>,
    pub(super) thin: Option<u32>,
    pub(super) window: Option<u32>,
}

/// Bytes of a message, at most: the field has 24 bits.
const LEN_MAX: u32 = (1 << 24) - 1;

impl Quirks {
    /// # Errors
    ///
    /// If one makes no sense, alone, with another, or with this capture.
    pub(super) fn new(quirks: &[Quirk], capture: &Capture) -> Result<Self, String> {
        let mut all = Self::default();
        for &quirk in quirks {
            all.add(quirk);
            all.check(quirk, capture).map_err(|why| format!("{quirk:?}: {why}"))?;
        }
        let together = |name: &str, a: bool, b: bool| match a && b {
            true => Err(format!("{name} contradict each other")),
            false => Ok(()),
        };
        together("NoAudio and NoVideo", all.no_audio, all.no_video)?;
        together("HeadersRepeated and NoHeaders", all.headers_repeated, all.no_headers)?;
        together("HeadersLate and NoHeaders", all.headers_late > 0, all.no_headers)?;
        together("HeaderChanges and NoHeaders", all.header_changes.is_some(), all.no_headers)?;
        together("NoVideo and VideoAfter", all.no_video, all.video_after > 0)?;
        together(
            "AllKeyframes and KeyframeEvery",
            all.all_keyframes,
            all.keyframe_every.is_some(),
        )?;
        together("AllKeyframes and Disposable", all.all_keyframes, all.disposable.is_some())?;
        together("Aggregates and Interleaved", all.aggregates, all.interleaved)?;
        together(
            "ChunkSize and ChunkSizeChanges",
            all.chunk_size.is_some(),
            all.chunk_size_changes,
        )?;
        Ok(all)
    }

    fn add(&mut self, quirk: Quirk) {
        match quirk {
            Quirk::StartsAt(ms) => self.starts_at = Some(ms),
            Quirk::NoExtendedOnType3 => self.no_extended_on_type_3 = true,
            Quirk::Jumps { at_tag, by_ms } => self.jumps.push((at_tag, by_ms)),
            Quirk::AllZero => self.all_zero = true,
            Quirk::AudioLate(ms) => self.audio_late = ms,
            Quirk::NoAudio => self.no_audio = true,
            Quirk::NoVideo => self.no_video = true,
            Quirk::VideoAfter(ms) => self.video_after = ms,
            Quirk::HeadersRepeated => self.headers_repeated = true,
            Quirk::HeaderChanges { every, offset } => self.header_changes = Some((every, offset)),
            Quirk::CodecChanges(after) => self.codec_changes = Some(after),
            Quirk::HeadersLate(ms) => self.headers_late = ms,
            Quirk::NoHeaders => self.no_headers = true,
            Quirk::KeyframeEvery(every) => self.keyframe_every = Some(every),
            Quirk::AllKeyframes => self.all_keyframes = true,
            Quirk::Disposable(every) => self.disposable = Some(every),
            Quirk::CompositionTime(ms) => self.composition_time = ms,
            Quirk::Huge { len, every } => self.huge = Some((len, every)),
            Quirk::Storm(count) => self.storm = count,
            Quirk::EmptyTags(every) => self.empty_tags = Some(every),
            Quirk::ChunkSize(size) => self.chunk_size = Some(size),
            Quirk::ChunkSizeChanges => self.chunk_size_changes = true,
            Quirk::Interleaved => self.interleaved = true,
            Quirk::Aborts => self.aborts = true,
            Quirk::Aggregates => self.aggregates = true,
            Quirk::UnknownTypes => self.unknown_types = true,
            Quirk::MetadataUpdates => self.metadata_updates = true,
            Quirk::Bursts(ms) => self.bursts = ms,
            Quirk::Drift(ppm) => self.drift = ppm,
            Quirk::Swings(factor) => self.swings = Some(factor),
            Quirk::Republishes(after) => self.republishes = Some(after),
            Quirk::Thin(every) => self.thin = Some(every),
            Quirk::Window(bytes) => self.window = Some(bytes),
        }
    }

    fn check(&self, quirk: Quirk, capture: &Capture) -> Result<(), String> {
        if capture.wire.is_some() {
            return Err("a capture from the wire is replayed as it is".to_owned());
        }
        let has = |kind| capture.tags.iter().any(|tag| tag.kind == kind);
        let is_legacy_avc = |tag: &CaptureTag| {
            tag.kind == Kind::Video && tag.payload.first().is_some_and(|first| first & 0x8F == 7)
        };
        let is_video_header = |tag: &CaptureTag| tag.kind == Kind::Video && is_header(tag);
        let needs_video = matches!(
            quirk,
            Quirk::NoVideo
                | Quirk::VideoAfter(_)
                | Quirk::HeaderChanges { .. }
                | Quirk::KeyframeEvery(_)
                | Quirk::AllKeyframes
                | Quirk::Disposable(_)
                | Quirk::CompositionTime(_)
                | Quirk::Huge { .. }
                | Quirk::Swings(_)
        );
        let needs_audio = matches!(quirk, Quirk::NoAudio | Quirk::AudioLate(_) | Quirk::Storm(_));
        let zero = match quirk {
            Quirk::HeaderChanges { every, .. } | Quirk::Huge { every, .. } => every == 0,
            Quirk::CodecChanges(n) | Quirk::EmptyTags(n) | Quirk::Swings(n) => n == 0,
            Quirk::Disposable(n) => n == 0,
            Quirk::Republishes(n) | Quirk::Window(n) | Quirk::Thin(n) | Quirk::Bursts(n) => n == 0,
            Quirk::ChunkSize(size) => size == 0,
            _ => false,
        };
        let why = match quirk {
            _ if zero => "0 makes no sense",
            _ if needs_video && !has(Kind::Video) => "the capture has no video",
            _ if needs_audio && !has(Kind::Audio) => "the capture has no audio",
            Quirk::NoAudio if !has(Kind::Video) => "nothing would be left",
            Quirk::NoVideo if !has(Kind::Audio) => "nothing would be left",
            Quirk::HeaderChanges { .. } if !capture.tags.iter().any(is_video_header) => {
                "the capture's video has no sequence header"
            }
            Quirk::ChunkSize(size) if size >> 31 != 0 => "a chunk size has 31 bits",
            Quirk::Huge { len, .. } if len > LEN_MAX => "a message is at most 16777215 bytes long",
            Quirk::CodecChanges(_) if !capture.tags.iter().any(is_legacy_avc) => {
                "only legacy H.264 can change to a FourCC here"
            }
            _ => return Ok(()),
        };
        Err(why.to_owned())
    }

    /// A picture or sound as this encoder sends it.
    pub(super) fn change_payload(&self, payload: &mut Bytes, media: Media) {
        if self.composition_time != 0 {
            shift_composition_time(payload, self.composition_time);
        }
        if let (Some((len, every)), Some(gop)) = (self.huge, media.gop)
            && gop % every == 0
        {
            pad(payload, len as usize);
        }
        if let Some(factor) = self.swings
            && media.is_picture
            && media.at_ms / 1000 % 2 == 1
        {
            pad(payload, (payload.len() * factor as usize).min(LEN_MAX as usize));
        }
    }
}

/// What a payload is, for those who change it.
#[derive(Clone, Copy)]
pub(super) struct Media {
    /// The number of the GOP that it begins.
    pub(super) gop: Option<u32>,
    pub(super) is_picture: bool,
    pub(super) at_ms: u64,
}

/// Makes a frame that is sent once more another one, as no camera sees the same twice: what is to be
/// known again by its bytes would be taken for the one before.
pub(super) fn vary(payload: &mut Bytes, number: u32) {
    // What is in front tells decoders what it is.
    const HEAD_LEN: usize = 16;
    if let Some(tail) = payload.len().checked_sub(4).filter(|tail| *tail >= HEAD_LEN) {
        let mut varied = payload.to_vec();
        varied[tail..].iter_mut().zip(number.to_be_bytes()).for_each(|(byte, with)| *byte ^= with);
        *payload = varied.into();
    }
}

fn pad(payload: &mut Bytes, len: usize) {
    if payload.len() < len {
        let mut padded = payload.to_vec();
        padded.resize(len, 0);
        *payload = padded.into();
    }
}

/// Makes a picture a keyframe (1), an inter frame (2), or one that no other needs (3).
pub(super) fn set_frame_type(payload: &mut Bytes, frame_type: u8) {
    let mut changed = payload.to_vec();
    if let Some(first) = changed.first_mut() {
        *first = *first & 0x8F | frame_type << 4;
    }
    *payload = changed.into();
}

fn shift_composition_time(payload: &mut Bytes, by_ms: i32) {
    const MAX: i32 = (1 << 23) - 1;
    let at = match &payload[..] {
        [first, 1, ..] if matches!(first & 0x8F, 7 | 12) => 2,
        [first, codec @ ..] if first & 0x8F == 0x81 => match codec.first_chunk() {
            Some(b"avc1" | b"hvc1" | b"vvc1") => 5,
            _ => return,
        },
        _ => return,
    };
    let mut changed = payload.to_vec();
    let Some(field) = changed.get_mut(at..at + 3) else { return };
    let now = i32::from_be_bytes([field[0], field[1], field[2], 0]) >> 8;
    let then = now.saturating_add(by_ms).clamp(-MAX - 1, MAX);
    field.copy_from_slice(&then.to_be_bytes()[1..]);
    *payload = changed.into();
}

/// The `version`th other sequence header: another profile compatibility byte of AVCC, and the same
/// place in others. Nothing decodes it here.
pub(super) fn other_header(payload: &Bytes, version: u32) -> Bytes {
    const PLACE: usize = 7;
    let mut changed = payload.to_vec();
    let place = PLACE.min(changed.len().saturating_sub(1));
    if let Some(byte) = changed.get_mut(place) {
        // Version 0 is what the capture has.
        *byte = byte.wrapping_add((version % 255) as u8);
    }
    changed.into()
}

/// Legacy H.264 as if it were `hvc1`: the header says so, the coded bytes stay.
pub(super) fn to_hvc1(payload: &Bytes) -> Bytes {
    let &[first, packet_type, a, b, c, ref body @ ..] = &payload[..] else {
        return payload.clone();
    };
    if first & 0x8F != 7 || packet_type > 2 {
        return payload.clone();
    }
    let mut changed = vec![0x80 | first & 0x70 | packet_type];
    changed.extend(b"hvc1");
    if packet_type == 1 {
        changed.extend([a, b, c]);
    }
    changed.extend_from_slice(body);
    changed.into()
}

/// Metadata that differ from `payload`, and from those of another revision.
pub(super) fn other_metadata(payload: &[u8], revision: u32) -> Bytes {
    let name = Value::text("onMetaData");
    let values = amf0::read_all(payload).unwrap_or_default();
    let mut properties = match values.into_iter().nth(1) {
        Some(Value::EcmaArray(properties) | Value::Object(properties)) => properties,
        _ => Vec::new(),
    };
    properties.retain(|(name, _)| name != "revision");
    properties.push(("revision".to_owned(), Value::Number(revision.into())));
    amf0::to_bytes(&[name, Value::EcmaArray(properties)]).into()
}

/// A tiny audio payload beside `sound`.
pub(super) fn tiny(sound: &Bytes, index: u32) -> Bytes {
    let header_len = match sound.first() {
        Some(first) if first >> 4 == 9 => 5,
        Some(first) if first >> 4 == 10 => 2,
        _ => 1,
    };
    let mut tiny = sound[..header_len.min(sound.len())].to_vec();
    tiny.push(index as u8);
    tiny.into()
}

/// Whether it is decoder configuration.
pub(super) fn is_header(tag: &CaptureTag) -> bool {
    role_and_codec(tag.kind, &tag.payload).0 == Role::Header
}
