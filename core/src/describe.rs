//! Headers in words: which codec, which resolution, which sample rate.
//!
//! For people and programs that look on. Nothing that is relayed depends on it, so what cannot be
//! understood is left out.

use serde::Serialize;

use crate::amf0::{self, Decoder, Value};
use crate::flv::{AudioCodec, AudioHeader, Tag, VideoCodec, VideoHeader};
use crate::gop::Headers;
use crate::rope::Rope;

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
    let (codec, body) = match headers.video() {
        Some(tag) => {
            let header = VideoHeader::parse(&tag.payload).ok()?;
            (
                header.codec?,
                tag.payload.slice(header.header_len.min(tag.payload.len())..tag.payload.len()),
            )
        }
        None => (VideoCodec::from_id(metadata.number("videocodecid")? as u32), Rope::new()),
    };
    let mut info = VideoInfo { codec: video_codec_name(codec), ..VideoInfo::default() };
    if codec.is_avc() {
        describe_avc(&body.to_bytes(), &mut info);
    }
    info.width = info.width.or_else(|| metadata.number("width").map(|width| width as u32));
    info.height = info.height.or_else(|| metadata.number("height").map(|height| height as u32));
    info.frame_rate = metadata.number("framerate");
    Some(info)
}

/// What the primary audio track is.
pub fn audio(headers: &Headers) -> Option<AudioInfo> {
    let metadata = Metadata::of(headers);
    let mut info = AudioInfo {
        sample_rate: metadata.number("audiosamplerate").map(|rate| rate as u32),
        channels: metadata.number("audiochannels").map(|count| count as u32),
        ..AudioInfo::default()
    };
    match headers.audio() {
        Some(tag) => {
            let header = AudioHeader::parse(&tag.payload).ok()?;
            let codec = header.codec?;
            info.codec = audio_codec_name(codec);
            let body =
                tag.payload.slice(header.header_len.min(tag.payload.len())..tag.payload.len());
            if codec.is_aac() {
                describe_aac(&body, &mut info);
            }
        }
        None => {
            info.codec =
                audio_codec_name(AudioCodec::from_id(metadata.number("audiocodecid")? as u32))
        }
    }
    Some(info)
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

fn describe_aac(config: &Rope, info: &mut AudioInfo) {
    /// ISO/IEC 14496-3 1.6.3.4.
    const SAMPLE_RATES: [u32; 13] =
        [96000, 88200, 64000, 48000, 44100, 32000, 24000, 22050, 16000, 12000, 11025, 8000, 7350];
    let Some(bits) = config.first_chunk().map(u16::from_be_bytes) else { return };
    let (object_type, rate_index, channels) = (bits >> 11, bits >> 7 & 15, bits >> 3 & 15);
    info.codec_string = Some(format!("mp4a.40.{object_type}"));
    info.sample_rate = SAMPLE_RATES.get(usize::from(rate_index)).copied().or(info.sample_rate);
    info.channels = match channels {
        0 => info.channels,
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
