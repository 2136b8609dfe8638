//! Fake encoders, and what a decoder would make of what a player was given.
//!
//! Every frame says what it was encoded with: its sequence header, its description (colour or
//! channels), its group of pictures and its place in it.

use crate::codec::{Amf, Media, amf, message_type};

#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Style {
    /// AVC and AAC as FLV has always had them.
    Legacy,
    /// HEVC and Opus in Enhanced RTMP.
    Enhanced,
}

#[derive(Clone, Debug)]
pub(crate) struct Camera {
    pub(crate) style: Style,
    pub(crate) ms: u32,
    pub(crate) step_ms: u32,
    /// Frames of a group of pictures.
    pub(crate) gop_len: u16,
    /// Added to every video frame.
    pub(crate) padding: usize,
    pub(crate) composition_ms: i32,
    /// Sequence headers, as numbers.
    pub(crate) video: u8,
    pub(crate) audio: u8,
    /// What is described beside them; 0 is nothing.
    pub(crate) color: u8,
    pub(crate) channels: u8,
    /// Where it is: groups begun, the next frame in the group, sounds made.
    pub(crate) gop: u16,
    pub(crate) frame: u16,
    pub(crate) sounds: u32,
}

impl Camera {
    pub(crate) fn new(style: Style) -> Self {
        Self {
            style,
            ms: 0,
            step_ms: 40,
            gop_len: 8,
            padding: 20,
            composition_ms: 0,
            video: 1,
            audio: 1,
            color: 0,
            channels: 0,
            gop: 0,
            frame: 0,
            sounds: 0,
        }
    }

    pub(crate) fn legacy() -> Self {
        Self::new(Style::Legacy)
    }

    pub(crate) fn enhanced() -> Self {
        Self { color: 1, channels: 1, ..Self::new(Style::Enhanced) }
    }

    /// Metadata as an encoder says them, and both sequence headers.
    pub(crate) fn start(&self) -> Vec<Media> {
        vec![set_data_frame(self.ms, 1.0), self.audio_header(), self.video_header()]
    }

    /// The next frame is a keyframe.
    pub(crate) fn cut(&mut self) {
        self.frame = 0;
    }

    pub(crate) fn video_header(&self) -> Media {
        let body = match self.style {
            Style::Legacy => vec![0x17, 0, 0, 0, 0, self.video],
            Style::Enhanced => [b"\x90hvc1", &[self.video][..]].concat(),
        };
        Media { kind: message_type::VIDEO, time: self.ms, body }
    }

    pub(crate) fn audio_header(&self) -> Media {
        let body = match self.style {
            Style::Legacy => vec![0xAF, 0, self.audio],
            Style::Enhanced => [b"\x90Opus", &[self.audio][..]].concat(),
        };
        Media { kind: message_type::AUDIO, time: self.ms, body }
    }

    /// `colorInfo` (ERTMP, Metadata Frame).
    pub(crate) fn color_info(&self) -> Media {
        let mut body = b"\x94hvc1".to_vec();
        let config = Amf::object(&[("transferCharacteristics", f64::from(self.color).into())]);
        body.extend(amf(&["colorInfo".into(), Amf::object(&[("colorConfig", config)])]));
        Media { kind: message_type::VIDEO, time: self.ms, body }
    }

    /// Native channel order, two channels, and which (ERTMP, Enhanced Audio).
    pub(crate) fn channel_config(&self) -> Media {
        let body = [b"\x94Opus\x01\x02\0\0\0", &[self.channels][..]].concat();
        Media { kind: message_type::AUDIO, time: self.ms, body }
    }

    pub(crate) fn picture(&mut self) -> Media {
        let is_key = self.frame == 0;
        self.gop += u16::from(is_key);
        let mut body = match (self.style, is_key) {
            (Style::Legacy, true) => vec![0x17, 1],
            (Style::Legacy, false) => vec![0x27, 1],
            (Style::Enhanced, true) => b"\x91hvc1".to_vec(),
            (Style::Enhanced, false) => b"\xA1hvc1".to_vec(),
        };
        body.extend(&self.composition_ms.to_be_bytes()[1..]);
        body.extend([self.video, self.color]);
        body.extend(self.gop.to_be_bytes());
        body.extend(self.frame.to_be_bytes());
        body.resize(body.len() + self.padding, 0xEE);
        self.frame = (self.frame + 1) % self.gop_len;
        Media { kind: message_type::VIDEO, time: self.ms, body }
    }

    pub(crate) fn sound(&mut self) -> Media {
        let mut body = match self.style {
            Style::Legacy => vec![0xAF, 1],
            Style::Enhanced => b"\x91Opus".to_vec(),
        };
        body.extend([self.audio, self.channels]);
        body.extend(self.sounds.to_be_bytes());
        self.sounds += 1;
        Media { kind: message_type::AUDIO, time: self.ms, body }
    }

    pub(crate) fn tick(&mut self) {
        self.ms = self.ms.wrapping_add(self.step_ms);
    }

    /// Pictures, each with sound behind it.
    pub(crate) fn run(&mut self, count: u32) -> Vec<Media> {
        let mut media = Vec::new();
        for _ in 0..count {
            media.extend([self.picture(), self.sound()]);
            self.tick();
        }
        media
    }

    pub(crate) fn run_audio(&mut self, count: u32) -> Vec<Media> {
        let mut media = Vec::new();
        for _ in 0..count {
            media.push(self.sound());
            self.tick();
        }
        media
    }

    pub(crate) fn run_video(&mut self, count: u32) -> Vec<Media> {
        let mut media = Vec::new();
        for _ in 0..count {
            media.push(self.picture());
            self.tick();
        }
        media
    }
}

fn metadata_values(width: f64) -> [Amf; 2] {
    let entries = [("width", width.into()), ("encoder", "camera".into())];
    let Amf::Object(entries) = Amf::object(&entries) else { unreachable!() };
    ["onMetaData".into(), Amf::EcmaArray(entries)]
}

/// What encoders send.
pub(crate) fn set_data_frame(time: u32, width: f64) -> Media {
    let mut body = amf(&["@setDataFrame".into()]);
    body.extend(amf(&metadata_values(width)));
    Media { kind: message_type::DATA, time, body }
}

/// What players are to see of it.
pub(crate) fn on_meta_data(time: u32, width: f64) -> Media {
    Media { kind: message_type::DATA, time, body: amf(&metadata_values(width)) }
}

/// What players are to see of what an encoder sent: all of it, but for `@setDataFrame`.
pub(crate) fn as_played(sent: &[Media]) -> Vec<Media> {
    let marker = amf(&["@setDataFrame".into()]);
    let strip = |media: &Media| {
        let body = media.body.strip_prefix(&marker[..]).unwrap_or(&media.body);
        Media { body: body.to_vec(), ..media.clone() }
    };
    sent.iter().map(strip).collect()
}

/// What a tag is, by its bytes.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum What {
    Metadata,
    VideoHeader(u8),
    AudioHeader(u8),
    Color(u8),
    Channels(u8),
    Picture(Picture),
    Sound { header: u8, channels: u8, number: u32 },
    Empty,
}

#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) struct Picture {
    pub(crate) is_key: bool,
    pub(crate) header: u8,
    pub(crate) color: u8,
    pub(crate) gop: u16,
    pub(crate) frame: u16,
}

impl Media {
    pub(crate) fn what(&self) -> What {
        let body = &self.body[..];
        match (self.kind, body) {
            (message_type::DATA, _) => {
                assert_eq!(Amf::read_all(body)[0], "onMetaData".into());
                What::Metadata
            }
            (_, []) => What::Empty,
            (message_type::VIDEO, [0x17, 0, 0, 0, 0, id]) => What::VideoHeader(*id),
            (message_type::VIDEO, [0x90, b'h', b'v', b'c', b'1', id]) => What::VideoHeader(*id),
            (message_type::VIDEO, [0x94, b'h', b'v', b'c', b'1', info @ ..]) => {
                let values = Amf::read_all(info);
                let color = values[1].get("colorConfig").get("transferCharacteristics").number();
                What::Color(color as u8)
            }
            (message_type::VIDEO, [0x17, 1, rest @ ..])
            | (message_type::VIDEO, [0x91, b'h', b'v', b'c', b'1', rest @ ..]) => {
                picture(true, rest)
            }
            (message_type::VIDEO, [0x27, 1, rest @ ..])
            | (message_type::VIDEO, [0xA1, b'h', b'v', b'c', b'1', rest @ ..]) => {
                picture(false, rest)
            }
            (message_type::AUDIO, [0xAF, 0, id]) => What::AudioHeader(*id),
            (message_type::AUDIO, [0x90, b'O', b'p', b'u', b's', id]) => What::AudioHeader(*id),
            (message_type::AUDIO, [0x94, b'O', b'p', b'u', b's', 1, 2, 0, 0, 0, id]) => {
                What::Channels(*id)
            }
            (message_type::AUDIO, [0xAF, 1, header, channels, number @ ..])
            | (
                message_type::AUDIO,
                [0x91, b'O', b'p', b'u', b's', header, channels, number @ ..],
            ) => What::Sound {
                header: *header,
                channels: *channels,
                number: u32::from_be_bytes(number.try_into().unwrap()),
            },
            _ => panic!("what is {self:?}"),
        }
    }

    pub(crate) fn is_frame(&self) -> bool {
        matches!(self.what(), What::Picture(_) | What::Sound { .. })
    }

    pub(crate) fn is_keyframe(&self) -> bool {
        matches!(self.what(), What::Picture(Picture { is_key: true, .. }))
    }
}

fn picture(is_key: bool, rest: &[u8]) -> What {
    let [_, _, _, header, color, gop_1, gop_0, frame_1, frame_0, ..] = *rest else {
        panic!("a picture of {rest:?}")
    };
    What::Picture(Picture {
        is_key,
        header,
        color,
        gop: u16::from_be_bytes([gop_1, gop_0]),
        frame: u16::from_be_bytes([frame_1, frame_0]),
    })
}

/// What a decoder did.
#[derive(Clone, Copy, Default, PartialEq, Eq, Debug)]
pub(crate) struct Seen {
    pub(crate) keyframes: u32,
    pub(crate) pictures: u32,
    pub(crate) sounds: u32,
}

/// Decodes: every frame must have the headers it was encoded with, every picture the one before
/// it, and no sound may be missing between two.
pub(crate) fn decode(media: &[Media]) -> Seen {
    decode_with(media, false)
}

/// As `decode`, for a player that was too slow: it may have lost sound, and pictures up to the next
/// keyframe.
pub(crate) fn decode_with_losses(media: &[Media]) -> Seen {
    decode_with(media, true)
}

fn decode_with(media: &[Media], may_lose_sound: bool) -> Seen {
    let mut seen = Seen::default();
    let (mut video, mut audio, mut color, mut channels) = (None, None, 0, 0);
    let (mut last_picture, mut last_sound): (Option<Picture>, Option<u32>) = (None, None);
    for (at, tag) in media.iter().enumerate() {
        let place = || format!("tag {at}, {:?}, of {:?}", tag.what(), whats(media));
        match tag.what() {
            What::VideoHeader(id) => video = Some(id),
            What::Color(id) => color = id,
            What::Channels(id) => channels = id,
            What::AudioHeader(id) => (audio, last_sound) = (Some(id), None),
            What::Picture(picture) => {
                assert_eq!(video, Some(picture.header), "the wrong video header: {}", place());
                assert_eq!(color, picture.color, "the wrong colour: {}", place());
                if picture.is_key {
                    seen.keyframes += 1;
                } else {
                    let follows = last_picture.is_some_and(|last| {
                        last.gop == picture.gop && last.frame + 1 == picture.frame
                    });
                    assert!(follows, "undecodable: {}", place());
                }
                last_picture = Some(picture);
                seen.pictures += 1;
            }
            What::Sound { header, channels: described, number } => {
                assert_eq!(audio, Some(header), "the wrong audio header: {}", place());
                assert_eq!(channels, described, "the wrong channels: {}", place());
                let follows = last_sound.is_none_or(|last| last + 1 == number) || may_lose_sound;
                assert!(follows, "missing sound: {}", place());
                last_sound = Some(number);
                seen.sounds += 1;
            }
            What::Metadata | What::Empty => {}
        }
    }
    seen
}

/// What a joiner starts with, and what it was given of the stream itself. The headers that a
/// server repeats are those before its first frame.
pub(crate) fn split_start(media: &[Media]) -> (&[Media], &[Media]) {
    media.split_at(media.iter().position(Media::is_frame).unwrap_or(media.len()))
}

pub(crate) fn whats(media: &[Media]) -> Vec<What> {
    media.iter().map(Media::what).collect()
}
