//! Track: what a sequence header becomes in an MP4 file, and what it is called in a playlist.

use bytes::Bytes;
use mp4_atom::{
    Atom as _, Audio, Av01, Av1c, Avc1, Avcc, Codec, Dops, Hvc1, Hvcc, Mp4a, Opus,
    OpusChannelMapping, Visual, Vp09, VpcC, esds,
};

use super::sound::{self, Mp3Frame};
use crate::describe;
use crate::flv::{AudioCodec, VideoCodec};

/// Sound or pictures.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug)]
pub enum TrackKind {
    /// Pictures.
    Video,
    /// Sound.
    Audio,
}

/// Why a stream has no segments, in a sentence for whoever asks for them.
#[derive(Clone, PartialEq, Eq, Debug, thiserror::Error)]
pub enum Unsupported {
    /// No MP4 segment can carry it, or no player would play it.
    #[error(
        "the video is {codec}: HLS here is H.264, HEVC, AV1 or VP9; RTMP and HTTP-FLV play it as it is"
    )]
    VideoCodec {
        /// Its name.
        codec: String,
    },
    /// As of video.
    #[error(
        "the audio is {codec}: HLS here is AAC, Opus, FLAC or MP3; RTMP and HTTP-FLV play it as it is"
    )]
    AudioCodec {
        /// Its name.
        codec: String,
    },
    /// The decoder's configuration makes no sense.
    #[error("the {codec} sequence header cannot be understood: {reason}")]
    SequenceHeader {
        /// The codec's name.
        codec: String,
        /// What is wrong.
        reason: String,
    },
    /// No file can be made of it.
    #[error("no segments can be made of this stream: {reason}")]
    Mux {
        /// What is wrong.
        reason: String,
    },
}

impl From<mp4_atom::Error> for Unsupported {
    fn from(error: mp4_atom::Error) -> Self {
        Self::Mux { reason: error.to_string() }
    }
}

/// One track's description, as it stands in the init section.
#[derive(Clone, PartialEq, Debug)]
pub(super) struct Track {
    pub(super) kind: TrackKind,
    pub(super) entry: Codec,
    /// RFC 6381, for `CODECS`.
    pub(super) codec_string: String,
    /// Units per second of this track's times.
    pub(super) timescale: u32,
    pub(super) width: u16,
    pub(super) height: u16,
    pub(super) frame_len: FrameLen,
}

/// How many units of its timescale a frame of sound lasts.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum FrameLen {
    /// Only the next frame's timestamp tells.
    Unknown,
    /// Always so many.
    Fixed(u32),
    /// The frame says it (RFC 6716 3.1).
    Opus,
    /// The frame says it (RFC 9639 9.1).
    Flac,
}

/// FLV counts milliseconds.
const VIDEO_TIMESCALE: u32 = 1000;

impl Track {
    /// A video track, by its sequence header's record. `keyframe` has the first bytes of one, for
    /// codecs that say there what others say in the record.
    pub(super) fn video(
        codec: VideoCodec,
        record: &Bytes,
        keyframe: &[u8],
    ) -> Result<Self, Unsupported> {
        let name = describe::video_codec_name(codec);
        let failed = |reason: &dyn std::fmt::Display| Unsupported::SequenceHeader {
            codec: name.clone(),
            reason: reason.to_string(),
        };
        let info = describe::video_config(codec, record);
        let mut size = (info.width.unwrap_or(0), info.height.unwrap_or(0));
        if codec == VideoCodec::VP9 {
            size = vp9_size(keyframe).unwrap_or(size);
        }
        let [width, height] = [size.0, size.1].map(|side| u16::try_from(side).unwrap_or(0));
        let visual = Visual { data_reference_index: 1, width, height, ..Visual::default() };
        let body = &mut record.as_ref();
        let entry: Codec = match codec {
            codec if codec.is_avc() => {
                let avcc = Avcc::decode_body(body).map_err(|error| failed(&error))?;
                Avc1 { visual, avcc, ..Avc1::default() }.into()
            }
            codec if codec.is_hevc() => {
                let hvcc = Hvcc::decode_body(body).map_err(|error| failed(&error))?;
                Hvc1 { visual, hvcc, ..Hvc1::default() }.into()
            }
            VideoCodec::AV1 => {
                let av1c = Av1c::decode_body(body).map_err(|error| failed(&error))?;
                Av01 { visual, av1c, ..Av01::default() }.into()
            }
            VideoCodec::VP9 => {
                let vpcc = vpcc(record).ok_or_else(|| failed(&"it is too short"))?;
                Vp09 { visual, vpcc, btrt: None, colr: None, pasp: None, spatial: None }.into()
            }
            _ => return Err(Unsupported::VideoCodec { codec: name }),
        };
        Ok(Self {
            kind: TrackKind::Video,
            entry,
            codec_string: info.codec_string.ok_or_else(|| failed(&"it names no profile"))?,
            timescale: VIDEO_TIMESCALE,
            width,
            height,
            frame_len: FrameLen::Unknown,
        })
    }

    /// An audio track, by its sequence header's record, or by a frame where there is none.
    pub(super) fn audio(
        codec: AudioCodec,
        record: &Bytes,
        frame: &[u8],
    ) -> Result<Self, Unsupported> {
        let name = describe::audio_codec_name(codec);
        let failed = |reason: &str| Unsupported::SequenceHeader {
            codec: name.clone(),
            reason: reason.to_owned(),
        };
        match codec {
            codec if codec.is_aac() => {
                let info = describe::audio_config(codec, record);
                let rate =
                    sound::aac_sample_rate(record).ok_or_else(|| failed("no sample rate"))?;
                let codec_string = info.codec_string.ok_or_else(|| failed("no object type"))?;
                let channels = info.channels.unwrap_or(2) as u16;
                let entry = mp4a(AAC_OBJECT_TYPE, Some(record), rate, channels);
                let frame_len = FrameLen::Fixed(sound::aac_frame_len(record));
                Ok(Self::sound(entry, codec_string, rate, frame_len))
            }
            AudioCodec::OPUS => {
                let dops = dops(record).ok_or_else(|| failed("it is no OpusHead"))?;
                let audio = audio(OPUS_RATE, dops.output_channel_count.into());
                let entry = Opus { audio, dops, btrt: None }.into();
                Ok(Self::sound(entry, "opus".to_owned(), OPUS_RATE, FrameLen::Opus))
            }
            AudioCodec::FLAC => {
                let (rate, entry) = sound::flac(record).ok_or_else(|| failed("no STREAMINFO"))?;
                Ok(Self::sound(entry, "fLaC".to_owned(), rate, FrameLen::Flac))
            }
            AudioCodec::LEGACY_MP3 | AudioCodec::Legacy(14) | AudioCodec::MP3 => {
                let frame = Mp3Frame::parse(frame).ok_or_else(|| failed("no MP3 frame header"))?;
                let entry = mp4a(MP3_OBJECT_TYPE, None, frame.sample_rate, frame.channels);
                let frame_len = FrameLen::Fixed(frame.samples);
                Ok(Self::sound(entry, "mp4a.6B".to_owned(), frame.sample_rate, frame_len))
            }
            _ => Err(Unsupported::AudioCodec { codec: name }),
        }
    }

    fn sound(entry: Codec, codec_string: String, timescale: u32, frame_len: FrameLen) -> Self {
        let (width, height) = (0, 0);
        Self { kind: TrackKind::Audio, entry, codec_string, timescale, width, height, frame_len }
    }

    /// How long a frame of sound lasts, in units of the timescale.
    pub(super) fn frame_len(&self, frame: &[u8]) -> Option<u32> {
        match self.frame_len {
            FrameLen::Unknown => None,
            FrameLen::Fixed(len) => Some(len),
            FrameLen::Opus => sound::opus_frame_len(frame),
            FrameLen::Flac => sound::flac_frame_len(frame),
        }
    }
}

/// ISO/IEC 14496-1 7.2.6.6: MPEG-4 audio, and MPEG-1 audio.
const AAC_OBJECT_TYPE: u8 = 0x40;
const MP3_OBJECT_TYPE: u8 = 0x6B;
/// A decoder's output, whatever was encoded.
const OPUS_RATE: u32 = 48_000;

pub(super) fn audio(rate: u32, channel_count: u16) -> Audio {
    // A rate that does not fit the field stands in the codec's own configuration.
    let sample_rate = u16::try_from(rate).unwrap_or(0).into();
    Audio { data_reference_index: 1, channel_count, sample_size: 16, sample_rate }
}

fn mp4a(object_type: u8, config: Option<&Bytes>, rate: u32, channels: u16) -> Codec {
    const AUDIO_STREAM: u8 = 5;
    let dec_specific = config
        .map(|raw| esds::DecoderSpecific { raw: raw.to_vec(), ..esds::DecoderSpecific::default() });
    let dec_config = esds::DecoderConfig {
        object_type_indication: object_type,
        stream_type: AUDIO_STREAM,
        dec_specific,
        ..esds::DecoderConfig::default()
    };
    let es_desc = esds::EsDescriptor { dec_config, ..esds::EsDescriptor::default() };
    Mp4a { audio: audio(rate, channels), esds: esds::Esds { es_desc }, btrt: None, taic: None }
        .into()
}

/// RFC 7845 5.1 has little-endian numbers behind `OpusHead`, the box has big-endian ones.
fn dops(head: &[u8]) -> Option<Dops> {
    let fields = head.strip_prefix(b"OpusHead")?;
    let (&[_version, channels, p0, p1, r0, r1, r2, r3, g0, g1, family], table) =
        fields.split_first_chunk()?;
    let channel_mapping = match (family, table) {
        (0, _) => None,
        (_, [stream_count, coupled_count, mapping @ ..]) => Some(OpusChannelMapping {
            family,
            stream_count: *stream_count,
            coupled_count: *coupled_count,
            channel_mapping: mapping.get(..channels.into())?.to_vec(),
        }),
        _ => return None,
    };
    Some(Dops {
        output_channel_count: channels,
        pre_skip: u16::from_le_bytes([p0, p1]),
        input_sample_rate: u32::from_le_bytes([r0, r1, r2, r3]),
        output_gain: i16::from_le_bytes([g0, g1]),
        channel_mapping,
    })
}

/// VP Codec ISO Media File Format Binding; behind the version and flags of its box, or without.
fn vpcc(record: &[u8]) -> Option<VpcC> {
    let record = record.strip_prefix(&[1, 0, 0, 0]).unwrap_or(record);
    let &[profile, level, depth, primaries, transfer, matrix] = record.first_chunk()?;
    Some(VpcC {
        profile,
        level,
        bit_depth: depth >> 4,
        chroma_subsampling: depth >> 1 & 7,
        video_full_range_flag: depth & 1 == 1,
        color_primaries: primaries,
        transfer_characteristics: transfer,
        matrix_coefficients: matrix,
        codec_initialization_data: Vec::new(),
    })
}

/// Width and height in a keyframe of profile 0 (VP9 6.2): other profiles stay without.
fn vp9_size(frame: &[u8]) -> Option<(u32, u32)> {
    let head: [u8; 10] = frame.get(..10)?.try_into().ok()?;
    let bits = head.iter().fold(0u128, |bits, &byte| bits << 8 | u128::from(byte));
    let read = |at: u32, len: u32| (bits >> (80 - at - len) & ((1 << len) - 1)) as u32;
    let (marker, profile, shown, inter) = (read(0, 2), read(2, 2), read(4, 1), read(5, 1));
    let is_keyframe = marker == 2 && profile == 0 && shown == 0 && inter == 0;
    let (sync, color_space) = (read(8, 24), read(32, 3));
    if !is_keyframe || sync != 0x49_83_42 || color_space == 7 {
        return None;
    }
    Some((read(36, 16) + 1, read(52, 16) + 1))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_codec_that_mp4_does_not_carry_is_named() {
        let error = Track::video(VideoCodec::Legacy(2), &Bytes::new(), &[]).unwrap_err();
        assert!(error.to_string().starts_with("the video is h263: HLS here is"), "{error}");
        let error = Track::audio(AudioCodec::Legacy(11), &Bytes::new(), &[]).unwrap_err();
        assert!(error.to_string().starts_with("the audio is speex: HLS here is"), "{error}");
    }

    #[test]
    fn a_cut_record_is_an_error_at_every_length() {
        let avcc = b"\x01\x64\x00\x1f\xff\xe1\x00\x04\x67\x64\x00\x1f\x01\x00\x02\x68\xee";
        for len in 0..avcc.len() {
            let record = Bytes::copy_from_slice(&avcc[..len]);
            assert!(Track::video(VideoCodec::AVC, &record, &[]).is_err(), "{len}");
        }
        let head = b"OpusHead\x01\x02\x38\x01\x80\xbb\x00\x00\x00\x00\x00";
        assert!((0..head.len()).all(|len| dops(&head[..len]).is_none()));
        assert_eq!(
            dops(head).map(|dops| (dops.pre_skip, dops.input_sample_rate)),
            Some((312, 48000))
        );
    }

    #[test]
    fn a_vp9_keyframe_says_how_large_it_is() {
        // FFmpeg's libvpx at 640x360.
        assert_eq!(vp9_size(b"\x82\x49\x83\x42\x00\x27\xf0\x16\x70\x00"), Some((640, 360)));
        assert_eq!(vp9_size(b"\x86\x49\x83\x42\x00\x27\xf0\x16\x70\x00"), None);
    }
}
