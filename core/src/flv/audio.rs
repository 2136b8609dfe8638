//! AudioHeader: what an audio payload says about itself, legacy (FLV E.4.2) or Enhanced RTMP.

use std::fmt;
use std::ops::Range;

use crate::rope::Rope;

use super::enhanced::{
    Cursor, FourCc, HeaderError, MultitrackKind, RawTrack, RawTracks, cursor, read_common_four_cc,
    read_mod_ex, read_multitrack, tracks_of_parsed,
};

/// The front of an audio payload: codec and packet type.
///
/// Codecs and packet types that are not known parse as they are and are never taken for a legacy
/// codec, so that the tag can be relayed untouched.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct AudioHeader {
    /// The codec, of the primary track if there are several; `None` where the message names none
    /// (a track layout that is not known).
    pub codec: Option<AudioCodec>,
    /// What the payload carries.
    pub packet_type: AudioPacketType,
    /// What a legacy header says about the samples. AAC says 44.1 kHz and stereo whatever is true.
    pub sound: Option<Sound>,
    /// Nanoseconds to add to the presentation time of this message only (ERTMP ModEx); 0 to 2^24 - 1,
    /// although more than 999 999 has no meaning.
    pub nanosecond_offset: u32,
    /// How the tracks are laid out; `None` if there is but one, whose id is 0.
    pub multitrack: Option<MultitrackKind>,
    /// Bytes before the coded ones. In a multitrack message, bytes before the first track.
    pub header_len: usize,
    /// Bytes behind all headers, in all tracks.
    pub body_len: usize,
}

/// A codec, by its number in the legacy header or by its FourCC.
#[derive(Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Debug)]
pub enum AudioCodec {
    /// SoundFormat of FLV E.4.2.1: four bits, never 9.
    Legacy(u8),
    /// Four characters, any four.
    FourCc([u8; 4]),
}

impl AudioCodec {
    /// MP3 in the legacy header.
    pub const LEGACY_MP3: Self = Self::Legacy(2);
    /// AAC in the legacy header.
    pub const LEGACY_AAC: Self = Self::Legacy(10);
    /// AAC.
    pub const AAC: Self = Self::FourCc(*b"mp4a");
    /// Opus.
    pub const OPUS: Self = Self::FourCc(*b"Opus");
    /// FLAC.
    pub const FLAC: Self = Self::FourCc(*b"fLaC");
    /// AC-3.
    pub const AC3: Self = Self::FourCc(*b"ac-3");
    /// Enhanced AC-3.
    pub const EAC3: Self = Self::FourCc(*b"ec-3");
    /// MP3.
    pub const MP3: Self = Self::FourCc(*b".mp3");

    /// Whether it is AAC, in either header.
    pub fn is_aac(self) -> bool {
        matches!(self, Self::LEGACY_AAC | Self::AAC)
    }

    /// Whether nothing can be decoded before a sequence header came.
    pub fn needs_sequence_header(self) -> bool {
        self.is_aac() || matches!(self, Self::OPUS | Self::FLAC)
    }

    /// Its four characters, unless it is a legacy one.
    pub fn four_cc(self) -> Option<[u8; 4]> {
        match self {
            Self::Legacy(_) => None,
            Self::FourCc(four_cc) => Some(four_cc),
        }
    }

    /// The number that stands for it as `audiocodecid` in `onMetaData`: a FourCC is the big-endian
    /// number of its characters (ERTMP "Enhancing onMetaData").
    pub fn id(self) -> u32 {
        match self {
            Self::Legacy(id) => id.into(),
            Self::FourCc(four_cc) => u32::from_be_bytes(four_cc),
        }
    }

    /// The codec behind an `audiocodecid`: a legacy number up to 15, else a FourCC.
    pub fn from_id(id: u32) -> Self {
        match id {
            0..=0x0F => Self::Legacy(id as u8),
            _ => Self::FourCc(id.to_be_bytes()),
        }
    }
}

/// `Opus`; `legacy 10` for a number.
impl fmt::Display for AudioCodec {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Legacy(id) => write!(f, "legacy {id}"),
            Self::FourCc(four_cc) => write!(f, "{}", four_cc.escape_ascii()),
        }
    }
}

/// What an audio payload carries, in the words of FLV E.4.2.2 and ERTMP's AudioPacketType.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
pub enum AudioPacketType {
    /// The decoder's configuration.
    SequenceHeader,
    /// Sound.
    CodedFrames,
    /// No more sound.
    EndOfSequence,
    /// Which channel is which loudspeaker.
    MultichannelConfig,
    /// A number that is not known. A multitrack message whose layout is not known is `Other(5)`.
    Other(u8),
}

/// What the legacy header says about the samples (FLV E.4.2.1).
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
pub struct Sound {
    /// Samples per second: 5512, 11025, 22050 or 44100.
    pub sample_rate_hz: u32,
    /// Bits of a sample: 8 or 16.
    pub sample_bits: u8,
    /// 1 or 2.
    pub channel_count: u8,
}

impl Sound {
    const fn parse(first: u8) -> Self {
        Self {
            sample_rate_hz: [5512, 11025, 22050, 44100][(first >> 2 & 3) as usize],
            sample_bits: if first & 2 == 0 { 8 } else { 16 },
            channel_count: 1 + (first & 1),
        }
    }
}

/// One track of an audio message.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct AudioTrack {
    /// 0 is the primary track.
    pub id: u8,
    /// The track's codec.
    pub codec: AudioCodec,
    /// Where its coded bytes are in the payload.
    pub body: Range<usize>,
}

impl AudioTrack {
    fn from_raw(raw: RawTrack) -> Self {
        Self { id: raw.id, codec: AudioCodec::FourCc(raw.four_cc), body: raw.body }
    }
}

/// The SoundFormat that says Enhanced RTMP.
const EX_HEADER: u8 = 9;

const SEQUENCE_START: u8 = 0;
const CODED_FRAMES: u8 = 1;
const SEQUENCE_END: u8 = 2;
const MULTICHANNEL_CONFIG: u8 = 4;
const MULTITRACK: u8 = 5;

fn no_composition_time(_: FourCc) -> bool {
    false
}

impl AudioHeader {
    /// Reads the header. No byte of the body is looked at.
    ///
    /// # Errors
    ///
    /// If the payload is empty or cut inside the header, or its tracks are not laid out as
    /// Enhanced RTMP says. None of these is a reason to end a session.
    pub fn parse(payload: &Rope) -> Result<Self, HeaderError> {
        match payload.get(0) {
            None => Err(HeaderError::Empty),
            Some(first) if first >> 4 == EX_HEADER => Self::parse_enhanced(payload),
            Some(first) => Self::parse_legacy(payload, first),
        }
    }

    fn parse_legacy(payload: &Rope, first: u8) -> Result<Self, HeaderError> {
        let codec = AudioCodec::Legacy(first >> 4);
        let mut header = Self {
            codec: Some(codec),
            packet_type: AudioPacketType::CodedFrames,
            sound: Some(Sound::parse(first)),
            nanosecond_offset: 0,
            multitrack: None,
            header_len: 1,
            body_len: payload.len() - 1,
        };
        if codec.is_aac() {
            let Some(packet_type) = payload.get(1) else {
                return Err(HeaderError::Truncated { needed: 2, len: 1 });
            };
            header.packet_type = match packet_type {
                SEQUENCE_START => AudioPacketType::SequenceHeader,
                CODED_FRAMES => AudioPacketType::CodedFrames,
                other => AudioPacketType::Other(other),
            };
            (header.header_len, header.body_len) = (2, payload.len() - 2);
        }
        Ok(header)
    }

    fn parse_enhanced(payload: &Rope) -> Result<Self, HeaderError> {
        let mut cursor = cursor(payload);
        let first = cursor.read_u8()?;
        let (packet_type, nanosecond_offset) = read_mod_ex(&mut cursor, first & 0x0F)?;
        let mut header = Self {
            codec: None,
            packet_type: Self::packet_type(packet_type),
            sound: None,
            nanosecond_offset,
            multitrack: None,
            header_len: cursor.at(),
            body_len: cursor.left(),
        };
        if packet_type == MULTITRACK {
            return header.read_multitrack(cursor);
        }
        header.codec = Some(AudioCodec::FourCc(cursor.read()?));
        (header.header_len, header.body_len) = (cursor.at(), cursor.left());
        Ok(header)
    }

    fn read_multitrack<'a>(
        mut self,
        mut cursor: Cursor<'a, impl Iterator<Item = &'a [u8]>>,
    ) -> Result<Self, HeaderError> {
        let (kind, packet_type) = read_multitrack(&mut cursor, MULTITRACK)?;
        let Some(kind) = kind else {
            return Ok(self);
        };
        let four_cc = read_common_four_cc(&mut cursor, kind)?;
        self.packet_type = Self::packet_type(packet_type);
        self.multitrack = Some(kind);
        (self.header_len, self.body_len) = (cursor.at(), 0);
        for raw in RawTracks::new(cursor, kind, four_cc, no_composition_time) {
            let track = AudioTrack::from_raw(raw?);
            self.body_len += track.body.len();
            if track.id == 0 || self.codec.is_none() {
                self.codec = Some(track.codec);
            }
        }
        Ok(self)
    }

    fn packet_type(nibble: u8) -> AudioPacketType {
        match nibble {
            SEQUENCE_START => AudioPacketType::SequenceHeader,
            CODED_FRAMES => AudioPacketType::CodedFrames,
            SEQUENCE_END => AudioPacketType::EndOfSequence,
            MULTICHANNEL_CONFIG => AudioPacketType::MultichannelConfig,
            other => AudioPacketType::Other(other),
        }
    }

    /// Whether it is sound: coded frames with at least one coded byte.
    pub fn is_frame(&self) -> bool {
        self.packet_type == AudioPacketType::CodedFrames && self.body_len > 0
    }

    /// Whether it configures the decoder. An empty configuration is none.
    pub fn is_sequence_header(&self) -> bool {
        self.packet_type == AudioPacketType::SequenceHeader && self.body_len > 0
    }

    /// Whether it says that no more sound comes.
    pub fn is_end_of_sequence(&self) -> bool {
        self.packet_type == AudioPacketType::EndOfSequence
    }

    /// Whether it says which channel is which loudspeaker.
    pub fn is_multichannel_config(&self) -> bool {
        self.packet_type == AudioPacketType::MultichannelConfig && self.body_len > 0
    }

    /// Whether nothing of this codec can be decoded before a sequence header came.
    pub fn needs_sequence_header(&self) -> bool {
        self.codec.is_some_and(AudioCodec::needs_sequence_header)
    }

    /// The tracks of the message this header was parsed from: several if it is a multitrack
    /// message, one with id 0 if it is not, none if its layout is not known.
    pub fn tracks<'a>(&self, payload: &'a Rope) -> impl Iterator<Item = AudioTrack> + use<'a> {
        let four_cc = self.codec.and_then(AudioCodec::four_cc);
        let many = self.multitrack.map(|kind| {
            tracks_of_parsed(payload, self.header_len, kind, four_cc, no_composition_time)
        });
        self.single_track().into_iter().chain(many.into_iter().flatten().map(AudioTrack::from_raw))
    }

    fn single_track(&self) -> Option<AudioTrack> {
        if self.multitrack.is_some() {
            return None;
        }
        let body = self.header_len..self.header_len + self.body_len;
        Some(AudioTrack { id: 0, codec: self.codec?, body })
    }
}
