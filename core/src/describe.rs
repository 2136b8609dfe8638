//! Headers in words: which codec, which resolution, which sample rate.
//!
//! For people and programs that look on. Nothing that is relayed depends on it, so what cannot be
//! understood is left out.

mod picture;

use serde::Serialize;

use crate::amf0::{self, Decoder, Value};
use crate::flv::{AudioCodec, AudioHeader, Tag, VideoCodec, VideoHeader};
use crate::gop::Headers;

/// A video track.
#[derive(Clone, Debug, Default, PartialEq, Serialize)]
pub struct VideoInfo {
    /// Its name, as in `h264`.
    pub codec: String,
    /// As in RFC 6381: `avc1.64001f`. Only where the sequence header says it.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub codec_string: Option<String>,
    /// Width in pixels: the sequence header's, or else what the metadata claim.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub width: Option<u32>,
    /// Height in pixels.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub height: Option<u32>,
    /// Pictures per second, as the metadata claim.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub frame_rate: Option<f64>,
}

/// An audio track.
#[derive(Clone, Debug, Default, PartialEq, Serialize)]
pub struct AudioInfo {
    /// Its name, as in `aac`.
    pub codec: String,
    /// As in RFC 6381: `mp4a.40.2`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub codec_string: Option<String>,
    /// In hertz.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub sample_rate: Option<u32>,
    /// How many.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub channels: Option<u32>,
}

/// What the primary video track is, as far as its sequence header and the metadata say.
pub fn video(headers: &Headers) -> Option<VideoInfo> {
    let metadata = Metadata::of(headers);
    let mut info = match headers.video() {
        Some(tag) => {
            let header = VideoHeader::parse(&tag.payload).ok()?;
            video_config(header.codec?, &body(tag, header.header_len))
        }
        None => video_config(VideoCodec::from_id(metadata.number("videocodecid")? as u32), &[]),
    };
    info.width = info.width.or_else(|| metadata.number("width").map(|width| width as u32));
    info.height = info.height.or_else(|| metadata.number("height").map(|height| height as u32));
    info.frame_rate = metadata.number("framerate");
    Some(info)
}

/// What the primary audio track is.
pub fn audio(headers: &Headers) -> Option<AudioInfo> {
    let metadata = Metadata::of(headers);
    let mut info = match headers.audio() {
        Some(tag) => {
            let header = AudioHeader::parse(&tag.payload).ok()?;
            audio_config(header.codec?, &body(tag, header.header_len))
        }
        None => audio_config(AudioCodec::from_id(metadata.number("audiocodecid")? as u32), &[]),
    };
    let claimed = |key| metadata.number(key).map(|number| number as u32);
    info.sample_rate = info.sample_rate.or_else(|| claimed("audiosamplerate"));
    info.channels = info.channels.or_else(|| claimed("audiochannels"));
    Some(info)
}

/// What is behind a header, in one piece.
fn body(tag: &Tag, header_len: usize) -> bytes::Bytes {
    tag.payload.slice(header_len.min(tag.payload.len())..tag.payload.len()).to_bytes()
}

/// What a video track's sequence header says: `record` is what is behind the codec.
pub fn video_config(codec: VideoCodec, record: &[u8]) -> VideoInfo {
    let mut info = VideoInfo { codec: video_codec_name(codec), ..VideoInfo::default() };
    match codec {
        codec if codec.is_avc() => describe_avc(record, &mut info),
        codec if codec.is_hevc() => describe_hevc(record, &mut info),
        VideoCodec::AV1 => describe_av1(record, &mut info),
        VideoCodec::VP9 => describe_vp9(record, &mut info),
        _ => {}
    }
    info
}

/// What an audio track's sequence header says: `config` is what is behind the codec.
pub fn audio_config(codec: AudioCodec, config: &[u8]) -> AudioInfo {
    let mut info = AudioInfo { codec: audio_codec_name(codec), ..AudioInfo::default() };
    match codec {
        codec if codec.is_aac() => describe_aac(config, &mut info),
        AudioCodec::OPUS => describe_opus(config, &mut info),
        _ => {}
    }
    info
}

/// The encoder's name for itself.
pub fn encoder(headers: &Headers) -> Option<String> {
    Metadata::of(headers).text("encoder")
}

/// A codec's name, as in `h264`; a FourCC that is not known is printed as it is.
pub fn video_codec_name(codec: VideoCodec) -> String {
    match codec {
        codec if codec.is_avc() => "h264".to_owned(),
        codec if codec.is_hevc() => "hevc".to_owned(),
        VideoCodec::Legacy(2) => "h263".to_owned(),
        VideoCodec::Legacy(4 | 5) => "vp6".to_owned(),
        VideoCodec::Legacy(id) => format!("legacy-{id}"),
        VideoCodec::FourCc(four_cc) => match &four_cc {
            b"av01" => "av1".to_owned(),
            b"vp09" => "vp9".to_owned(),
            b"vp08" => "vp8".to_owned(),
            b"vvc1" => "vvc".to_owned(),
            other => other.escape_ascii().to_string(),
        },
    }
}

/// A codec's name, as in `aac`.
pub fn audio_codec_name(codec: AudioCodec) -> String {
    match codec {
        codec if codec.is_aac() => "aac".to_owned(),
        AudioCodec::Legacy(2 | 14) => "mp3".to_owned(),
        AudioCodec::Legacy(7) => "pcm-alaw".to_owned(),
        AudioCodec::Legacy(8) => "pcm-mulaw".to_owned(),
        AudioCodec::Legacy(11) => "speex".to_owned(),
        AudioCodec::Legacy(id) => format!("legacy-{id}"),
        AudioCodec::FourCc(four_cc) => match &four_cc {
            b"Opus" => "opus".to_owned(),
            b"fLaC" => "flac".to_owned(),
            b".mp3" => "mp3".to_owned(),
            other => other.escape_ascii().to_string(),
        },
    }
}

fn describe_avc(record: &[u8], info: &mut VideoInfo) {
    // ISO/IEC 14496-15 5.3.3.1: version, profile, compatibility, level.
    if let [1, profile, compatibility, level, ..] = record {
        info.codec_string = Some(format!("avc1.{profile:02x}{compatibility:02x}{level:02x}"));
    }
    let Ok(record) = h264_reader::avcc::AvcDecoderConfigurationRecord::try_from(record) else {
        return;
    };
    let Ok(context) = record.create_context() else { return };
    if let Some(Ok((width, height))) = context.sps().next().map(|sps| sps.pixel_dimensions()) {
        (info.width, info.height) = (Some(width), Some(height));
    }
}

/// ISO/IEC 14496-15 8.3.3.1, and annex E for the string.
fn describe_hevc(record: &[u8], info: &mut VideoInfo) {
    let Some(&[1, profile, f0, f1, f2, f3, ref constraints @ .., level]) =
        record.first_chunk::<13>()
    else {
        return;
    };
    let space = ["", "A", "B", "C"][usize::from(profile >> 6)];
    let tier = if profile & 0x20 == 0 { 'L' } else { 'H' };
    let flags = u32::from_be_bytes([f0, f1, f2, f3]).reverse_bits();
    let mut text = format!("hvc1.{space}{}.{flags:X}.{tier}{level}", profile & 0x1F);
    let used = constraints.iter().rposition(|&byte| byte != 0).map_or(0, |last| last + 1);
    constraints[..used].iter().for_each(|byte| text += &format!(".{byte:X}"));
    info.codec_string = Some(text);
    (info.width, info.height) = picture::hevc_size(record).unzip();
}

/// AV1 Codec ISO Media File Format Binding 2.3.3, and section 5 for the string.
fn describe_av1(record: &[u8], info: &mut VideoInfo) {
    let Some((&[0x81, profile_level, depth, _], obus)) = record.split_first_chunk() else { return };
    let (profile, level) = (profile_level >> 5, profile_level & 0x1F);
    let tier = if depth & 0x80 == 0 { 'M' } else { 'H' };
    let bits = match depth & 0x60 {
        0x60 => 12,
        0x40 => 10,
        _ => 8,
    };
    info.codec_string = Some(format!("av01.{profile}.{level:02}{tier}.{bits:02}"));
    (info.width, info.height) = picture::av1_size(obus).unzip();
}

/// VP Codec ISO Media File Format Binding; behind the version and flags of its box, or without.
fn describe_vp9(record: &[u8], info: &mut VideoInfo) {
    let record = record.strip_prefix(&[1, 0, 0, 0]).unwrap_or(record);
    if let [profile, level, depth, ..] = record {
        info.codec_string = Some(format!("vp09.{profile:02}.{level:02}.{:02}", depth >> 4));
    }
}

/// RFC 7845 5.1. The rate in it is the input's; a decoder's is always 48 kHz.
fn describe_opus(head: &[u8], info: &mut AudioInfo) {
    info.codec_string = Some("opus".to_owned());
    if let [b'O', b'p', b'u', b's', b'H', b'e', b'a', b'd', _, channels, ..] = *head {
        (info.sample_rate, info.channels) = (Some(48000), Some(channels.into()));
    }
}

fn describe_aac(config: &[u8], info: &mut AudioInfo) {
    /// ISO/IEC 14496-3 1.6.3.4.
    const SAMPLE_RATES: [u32; 13] =
        [96000, 88200, 64000, 48000, 44100, 32000, 24000, 22050, 16000, 12000, 11025, 8000, 7350];
    let Some(bits) = config.first_chunk().copied().map(u16::from_be_bytes) else { return };
    let (object_type, rate_index, channels) = (bits >> 11, bits >> 7 & 15, bits >> 3 & 15);
    info.codec_string = Some(format!("mp4a.40.{object_type}"));
    info.sample_rate = SAMPLE_RATES.get(usize::from(rate_index)).copied();
    info.channels = match channels {
        0 => None,
        7 => Some(8),
        count => Some(count.into()),
    };
}

/// `onMetaData`, read once.
struct Metadata {
    payload: bytes::Bytes,
}

impl Metadata {
    fn of(headers: &Headers) -> Self {
        Self {
            payload: headers.metadata().map(|tag: &Tag| tag.payload.to_bytes()).unwrap_or_default(),
        }
    }

    fn with<T>(&self, key: &str, read: impl FnOnce(&Value<'_>) -> Option<T>) -> Option<T> {
        let mut decoder = Decoder::new(&self.payload, amf0::Limits::default());
        while let Ok(Some(value)) = decoder.next_value() {
            if let Some(value) = value.get(key) {
                return read(value);
            }
        }
        None
    }

    fn number(&self, key: &str) -> Option<f64> {
        self.with(key, |value| value.as_number()).filter(|number| number.is_finite())
    }

    fn text(&self, key: &str) -> Option<String> {
        self.with(key, |value| value.to_str_lossy().map(|text| text.into_owned()))
    }
}
