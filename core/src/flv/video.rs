//! VideoHeader: what a video payload says about itself, legacy (FLV E.4.3) or Enhanced RTMP.

use std::fmt;
use std::ops::Range;

use crate::rope::Rope;
use crate::time::CompositionTime;

use super::enhanced::{
    Cursor, FourCc, HeaderError, MultitrackKind, RawTrack, RawTracks, cursor, read_common_four_cc,
    read_mod_ex, read_multitrack, tracks_of_parsed,
};

/// The front of a video payload: frame type, codec, packet type, composition time.
///
/// Codecs, packet types and frame types that are not known parse as `Other` and are never taken
/// for a legacy codec, so that the tag can be relayed untouched.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct VideoHeader {
    /// Key, inter or command. Says little about packets that are no frame.
    pub frame_type: FrameType,
    /// The codec, of the primary track if there are several; `None` where the message names none
    /// (a command, or a track layout that is not known).
    pub codec: Option<VideoCodec>,
    /// What the payload carries.
    pub packet_type: VideoPacketType,
    /// Presentation time minus decode time, of the primary track if there are several. Zero where
    /// the wire has none.
    pub composition_time: CompositionTime,
    /// Nanoseconds to add to the presentation time of this message only (ERTMP ModEx); 0 to 2^24 - 1,
    /// although more than 999 999 has no meaning.
    pub nanosecond_offset: u32,
    /// How the tracks are laid out; `None` if there is but one, whose id is 0.
    pub multitrack: Option<MultitrackKind>,
    /// Bytes before the coded ones. In a multitrack message, bytes before the first track.
    pub header_len: usize,
    /// Bytes behind all headers, in all tracks.
    pub body_len: usize,
    /// CodedFrames have a composition time if the codec has one; CodedFramesX have none.
    has_composition_time: bool,
}

/// FLV E.4.3.1; three bits in Enhanced RTMP.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
pub enum FrameType {
    /// 1: a decoder can start here.
    Key,
    /// 2: needs the frames before it.
    Inter,
    /// 3: needs the frames before it, and no frame needs it.
    DisposableInter,
    /// 4: reserved for servers, which made it from inter frames. Not taken for a keyframe.
    GeneratedKey,
    /// 5: tells a player to do something, or carries metadata. Not a picture.
    Command,
    /// 0, 6 and 7 mean nothing yet.
    Other(u8),
}

impl FrameType {
    const fn parse(bits: u8) -> Self {
        match bits {
            1 => Self::Key,
            2 => Self::Inter,
            3 => Self::DisposableInter,
            4 => Self::GeneratedKey,
            5 => Self::Command,
            _ => Self::Other(bits),
        }
    }
}

/// A codec, by its number in the legacy header or by its FourCC.
#[derive(Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Debug)]
pub enum VideoCodec {
    /// CodecID of FLV E.4.3.1: four bits.
    Legacy(u8),
    /// Four characters, any four.
    FourCc([u8; 4]),
}

impl VideoCodec {
    /// H.264 in the legacy header.
    pub const LEGACY_AVC: Self = Self::Legacy(7);
    /// H.265 as Chinese encoders sent it before Enhanced RTMP, with the packet types of AVC.
    pub const LEGACY_HEVC: Self = Self::Legacy(12);
    /// H.264.
    pub const AVC: Self = Self::FourCc(*b"avc1");
    /// H.265.
    pub const HEVC: Self = Self::FourCc(*b"hvc1");
    /// H.266.
    pub const VVC: Self = Self::FourCc(*b"vvc1");
    /// AV1.
    pub const AV1: Self = Self::FourCc(*b"av01");
    /// VP9.
    pub const VP9: Self = Self::FourCc(*b"vp09");
    /// VP8.
    pub const VP8: Self = Self::FourCc(*b"vp08");

    /// Whether it is H.264, in either header.
    pub fn is_avc(self) -> bool {
        matches!(self, Self::LEGACY_AVC | Self::AVC)
    }

    /// Whether it is H.265, in either header.
    pub fn is_hevc(self) -> bool {
        matches!(self, Self::LEGACY_HEVC | Self::HEVC)
    }

    /// Whether no frame can be decoded before a sequence header came. VP8 and VP9 have one too,
    /// but their frames describe themselves.
    pub fn needs_sequence_header(self) -> bool {
        self.is_avc() || self.is_hevc() || matches!(self, Self::VVC | Self::AV1)
    }

    /// The number that stands for it as `videocodecid` in `onMetaData`: a FourCC is the big-endian
    /// number of its characters (ERTMP "Enhancing onMetaData").
    pub fn id(self) -> u32 {
        match self {
            Self::Legacy(id) => id.into(),
            Self::FourCc(four_cc) => u32::from_be_bytes(four_cc),
        }
    }

    /// The codec behind a `videocodecid`: a legacy number up to 15, else a FourCC.
    pub fn from_id(id: u32) -> Self {
        match id {
            0..=0x0F => Self::Legacy(id as u8),
            _ => Self::FourCc(id.to_be_bytes()),
        }
    }

    /// Its four characters, unless it is a legacy one.
    pub fn four_cc(self) -> Option<[u8; 4]> {
        match self {
            Self::Legacy(_) => None,
            Self::FourCc(four_cc) => Some(four_cc),
        }
    }

    /// The payload that ends a stream of this codec (FLV E.4.3.1, AVCPacketType 2), if it has one.
    pub fn end_of_sequence(self) -> Option<Rope> {
        match self {
            Self::LEGACY_AVC => Some(Rope::from(&[0x17, 2, 0, 0, 0][..])),
            Self::LEGACY_HEVC => Some(Rope::from(&[0x1C, 2, 0, 0, 0][..])),
            Self::Legacy(_) => None,
            Self::FourCc([a, b, c, d]) => Some(Rope::from(vec![0x92, a, b, c, d])),
        }
    }
}

/// `avc1`; `legacy 7` for a number.
impl fmt::Display for VideoCodec {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Legacy(id) => write!(f, "legacy {id}"),
            Self::FourCc(four_cc) => write!(f, "{}", four_cc.escape_ascii()),
        }
    }
}

/// What a video payload carries, in the words of FLV E.4.3.1 and ERTMP's VideoPacketType.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
pub enum VideoPacketType {
    /// The decoder's configuration.
    SequenceHeader,
    /// A picture, or part of one. CodedFramesX is this too, with a composition time of zero.
    CodedFrames,
    /// No more pictures.
    EndOfSequence,
    /// AMF values about the picture, `colorInfo` among them.
    Metadata,
    /// The decoder's configuration as an MPEG-2 TS descriptor (AV1 only).
    Mpeg2TsSequenceStart,
    /// A byte that tells a player what to do (frame type 5); nothing else.
    Command,
    /// A number that is not known. A multitrack message whose layout is not known is `Other(6)`.
    Other(u8),
}

/// One track of a video message.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct VideoTrack {
    /// 0 is the primary track.
    pub id: u8,
    /// The track's codec.
    pub codec: VideoCodec,
    /// Presentation time minus decode time.
    pub composition_time: CompositionTime,
    /// Where its coded bytes are in the payload.
    pub body: Range<usize>,
}

impl VideoTrack {
    fn from_raw(raw: RawTrack) -> Self {
        Self {
            id: raw.id,
            codec: VideoCodec::FourCc(raw.four_cc),
            composition_time: CompositionTime::from_be_bytes(raw.composition_time),
            body: raw.body,
        }
    }
}

const SEQUENCE_START: u8 = 0;
const CODED_FRAMES: u8 = 1;
const SEQUENCE_END: u8 = 2;
const CODED_FRAMES_X: u8 = 3;
const METADATA: u8 = 4;
const MPEG2_TS_SEQUENCE_START: u8 = 5;
const MULTITRACK: u8 = 6;

impl VideoHeader {
    /// Reads the header. No byte of the body is looked at.
    ///
    /// # Errors
    ///
    /// If the payload is empty or cut inside the header, or its tracks are not laid out as
    /// Enhanced RTMP says. None of these is a reason to end a session.
    pub fn parse(payload: &Rope) -> Result<Self, HeaderError> {
        match payload.get(0) {
            None => Err(HeaderError::Empty),
            Some(first) if first & 0x80 == 0 => Self::parse_legacy(payload, first),
            Some(_) => Self::parse_enhanced(payload),
        }
    }

    fn parse_legacy(payload: &Rope, first: u8) -> Result<Self, HeaderError> {
        let frame_type = FrameType::parse(first >> 4);
        let codec = VideoCodec::Legacy(first & 0x0F);
        let mut header = Self {
            frame_type,
            codec: Some(codec),
            packet_type: VideoPacketType::CodedFrames,
            composition_time: CompositionTime::ZERO,
            nanosecond_offset: 0,
            multitrack: None,
            header_len: 1,
            body_len: payload.len() - 1,
            has_composition_time: false,
        };
        if frame_type == FrameType::Command {
            header.packet_type = VideoPacketType::Command;
        } else if codec.is_avc() || codec.is_hevc() {
            header.read_avc_fields(payload)?;
        }
        Ok(header)
    }

    /// FLV E.4.3.1: AVCPacketType and CompositionTime.
    fn read_avc_fields(&mut self, payload: &Rope) -> Result<(), HeaderError> {
        const AVC_HEADER_LEN: usize = 5;
        let mut fields = [0; AVC_HEADER_LEN];
        let len = payload.read_at(0, &mut fields);
        let [_, packet_type, composition_time @ ..] = fields;
        // An end of sequence is understood without the time that belongs to it.
        let needed = if packet_type == SEQUENCE_END { 2 } else { AVC_HEADER_LEN };
        if len < needed {
            return Err(HeaderError::Truncated { needed, len });
        }
        self.packet_type = match packet_type {
            SEQUENCE_START => VideoPacketType::SequenceHeader,
            CODED_FRAMES => VideoPacketType::CodedFrames,
            SEQUENCE_END => VideoPacketType::EndOfSequence,
            other => VideoPacketType::Other(other),
        };
        if packet_type == CODED_FRAMES {
            self.composition_time = CompositionTime::from_be_bytes(composition_time);
        }
        self.header_len = len;
        self.body_len = payload.len() - len;
        Ok(())
    }

    fn parse_enhanced(payload: &Rope) -> Result<Self, HeaderError> {
        let mut cursor = cursor(payload);
        let first = cursor.read_u8()?;
        let (packet_type, nanosecond_offset) = read_mod_ex(&mut cursor, first & 0x0F)?;
        let command = Self {
            frame_type: FrameType::parse(first >> 4 & 7),
            codec: None,
            packet_type: VideoPacketType::Command,
            composition_time: CompositionTime::ZERO,
            nanosecond_offset,
            multitrack: None,
            header_len: cursor.at(),
            body_len: cursor.left(),
            has_composition_time: false,
        };
        match (packet_type, command.frame_type) {
            (MULTITRACK, _) => command.read_multitrack(cursor),
            // Metadata has the frame type of a command, and a FourCC, which a command has not.
            (METADATA, _) => command.read_single_track(cursor, METADATA),
            (_, FrameType::Command) => Ok(command),
            _ => command.read_single_track(cursor, packet_type),
        }
    }

    fn read_single_track<'a>(
        mut self,
        mut cursor: Cursor<'a, impl Iterator<Item = &'a [u8]>>,
        packet_type: u8,
    ) -> Result<Self, HeaderError> {
        let four_cc = cursor.read()?;
        self.set_packet_type(packet_type);
        self.codec = Some(VideoCodec::FourCc(four_cc));
        if self.composition_time_rule()(four_cc) {
            self.composition_time = CompositionTime::from_be_bytes(cursor.read()?);
        }
        (self.header_len, self.body_len) = (cursor.at(), cursor.left());
        Ok(self)
    }

    fn read_multitrack<'a>(
        mut self,
        mut cursor: Cursor<'a, impl Iterator<Item = &'a [u8]>>,
    ) -> Result<Self, HeaderError> {
        let (kind, packet_type) = read_multitrack(&mut cursor, MULTITRACK)?;
        if self.frame_type == FrameType::Command && packet_type != METADATA {
            return Ok(self);
        }
        let Some(kind) = kind else {
            self.packet_type = VideoPacketType::Other(MULTITRACK);
            return Ok(self);
        };
        let four_cc = read_common_four_cc(&mut cursor, kind)?;
        self.set_packet_type(packet_type);
        self.multitrack = Some(kind);
        (self.header_len, self.body_len) = (cursor.at(), 0);
        for raw in RawTracks::new(cursor, kind, four_cc, self.composition_time_rule()) {
            let track = VideoTrack::from_raw(raw?);
            self.body_len += track.body.len();
            if track.id == 0 || self.codec.is_none() {
                self.codec = Some(track.codec);
                self.composition_time = track.composition_time;
            }
        }
        Ok(self)
    }

    fn set_packet_type(&mut self, nibble: u8) {
        self.has_composition_time = nibble == CODED_FRAMES;
        self.packet_type = match nibble {
            SEQUENCE_START => VideoPacketType::SequenceHeader,
            CODED_FRAMES | CODED_FRAMES_X => VideoPacketType::CodedFrames,
            SEQUENCE_END => VideoPacketType::EndOfSequence,
            METADATA => VideoPacketType::Metadata,
            MPEG2_TS_SEQUENCE_START => VideoPacketType::Mpeg2TsSequenceStart,
            other => VideoPacketType::Other(other),
        };
    }

    /// ERTMP ExVideoTagBody: which codecs' packets of this type begin with a composition time.
    fn composition_time_rule(&self) -> fn(FourCc) -> bool {
        match self.has_composition_time {
            true => |four_cc| matches!(&four_cc, b"avc1" | b"hvc1" | b"vvc1"),
            false => |_| false,
        }
    }

    /// Whether it is a picture: coded frames with at least one coded byte.
    pub fn is_frame(&self) -> bool {
        self.packet_type == VideoPacketType::CodedFrames && self.body_len > 0
    }

    /// Whether a decoder can start here: a frame whose frame type is key.
    pub fn is_keyframe(&self) -> bool {
        self.is_frame() && self.frame_type == FrameType::Key
    }

    /// Whether it is a frame that no other frame needs.
    pub fn is_disposable(&self) -> bool {
        self.is_frame() && self.frame_type == FrameType::DisposableInter
    }

    /// Whether it configures the decoder. An empty configuration is none.
    pub fn is_sequence_header(&self) -> bool {
        use VideoPacketType::{Mpeg2TsSequenceStart, SequenceHeader};
        matches!(self.packet_type, SequenceHeader | Mpeg2TsSequenceStart) && self.body_len > 0
    }

    /// Whether it says that no more pictures come.
    pub fn is_end_of_sequence(&self) -> bool {
        self.packet_type == VideoPacketType::EndOfSequence
    }

    /// Whether it describes the pictures (`colorInfo`).
    pub fn is_metadata(&self) -> bool {
        self.packet_type == VideoPacketType::Metadata && self.body_len > 0
    }

    /// Whether frames of this codec cannot be decoded before a sequence header came.
    pub fn needs_sequence_header(&self) -> bool {
        self.codec.is_some_and(VideoCodec::needs_sequence_header)
    }

    /// The tracks of the message this header was parsed from: several if it is a multitrack
    /// message, one with id 0 if it is not, none if it is a command or its layout is not known.
    pub fn tracks<'a>(&self, payload: &'a Rope) -> impl Iterator<Item = VideoTrack> + use<'a> {
        let (rule, codec) = (self.composition_time_rule(), self.codec);
        let many = self.multitrack.map(|kind| {
            tracks_of_parsed(
                payload,
                self.header_len,
                kind,
                codec.and_then(VideoCodec::four_cc),
                rule,
            )
        });
        self.single_track().into_iter().chain(many.into_iter().flatten().map(VideoTrack::from_raw))
    }

    fn single_track(&self) -> Option<VideoTrack> {
        if self.multitrack.is_some() || self.packet_type == VideoPacketType::Command {
            return None;
        }
        Some(VideoTrack {
            id: 0,
            codec: self.codec?,
            composition_time: self.composition_time,
            body: self.header_len..self.header_len + self.body_len,
        })
    }
}
