//! Role and codec from the first bytes of a payload: FLV E.4.2, E.4.3 and Enhanced RTMP.

use super::Role;

/// What stands for the codec where none is named.
pub(super) const NO_CODEC: [u8; 4] = *b"----";

const UNREADABLE: (Role, [u8; 4]) = (Role::Other, NO_CODEC);

/// A payload, read from its front; `None` where it is too short.
struct Front<'a>(&'a [u8]);

impl<'a> Front<'a> {
    fn take(&mut self, len: usize) -> Option<&'a [u8]> {
        let (front, rest) = self.0.split_at_checked(len)?;
        self.0 = rest;
        Some(front)
    }

    fn array<const N: usize>(&mut self) -> Option<[u8; N]> {
        self.take(N)?.try_into().ok()
    }

    fn byte(&mut self) -> Option<u8> {
        self.array().map(|[byte]| byte)
    }

    /// ERTMP ModEx: skips what modifies the packet, and returns the type of the packet itself.
    fn mod_ex(&mut self, mut packet_type: u8) -> Option<u8> {
        const MOD_EX: u8 = 7;
        while packet_type == MOD_EX {
            let mut len = usize::from(self.byte()?) + 1;
            if len == 256 {
                len = usize::from(u16::from_be_bytes(self.array()?)) + 1;
            }
            self.take(len)?;
            packet_type = self.byte()? & 0x0F;
        }
        Some(packet_type)
    }

    /// ERTMP Multitrack: the packet type inside, and the tracks.
    fn tracks(&mut self, multitrack: u8) -> Option<(u8, Vec<Track<'a>>)> {
        let first = self.byte()?;
        let (layout, packet_type) = (first >> 4, first & 0x0F);
        if layout > 2 || packet_type == multitrack {
            return None;
        }
        let common = if layout < 2 { Some(self.array()?) } else { None };
        let mut tracks = Vec::new();
        while !self.0.is_empty() {
            let codec = match common {
                Some(codec) => codec,
                None => self.array()?,
            };
            let id = self.byte()?;
            let len = match layout {
                0 => self.0.len(),
                _ => {
                    let [a, b, c] = self.array()?;
                    u32::from_be_bytes([0, a, b, c]) as usize
                }
            };
            tracks.push(Track { id, codec, body: self.take(len)? });
        }
        Some((packet_type, tracks))
    }
}

struct Track<'a> {
    id: u8,
    codec: [u8; 4],
    body: &'a [u8],
}

/// The role and codec of a video payload.
pub(super) fn video(payload: &[u8]) -> (Role, [u8; 4]) {
    let mut front = Front(payload);
    let Some(first) = front.byte() else { return UNREADABLE };
    if first & 0x80 == 0 {
        legacy_video(first, front)
    } else {
        enhanced_video(first, front).unwrap_or(UNREADABLE)
    }
}

fn picture(frame_type: u8) -> Role {
    match frame_type {
        1 => Role::Keyframe,
        3 => Role::Disposable,
        // 4 is a keyframe that a server made of inter frames: nobody is known to start at one.
        _ => Role::Inter,
    }
}

const COMMAND: u8 = 5;

fn legacy_video(first: u8, mut front: Front<'_>) -> (Role, [u8; 4]) {
    let (frame_type, number) = (first >> 4, first & 0x0F);
    let codec = match number {
        7 => *b"avc1",
        12 => *b"hvc1",
        _ => [b'v', b'-', b'0' + number / 10, b'0' + number % 10],
    };
    let has_packet_type = matches!(number, 7 | 12);
    let role = match (frame_type, has_packet_type) {
        (COMMAND, _) => return UNREADABLE,
        (_, false) if front.0.is_empty() => Role::Other,
        (_, false) => picture(frame_type),
        (_, true) => match (front.array::<4>(), front.0.is_empty()) {
            (Some([0, ..]), false) => Role::Header,
            (Some([1, ..]), false) => picture(frame_type),
            _ => Role::Other,
        },
    };
    (role, codec)
}

fn enhanced_video(first: u8, mut front: Front<'_>) -> Option<(Role, [u8; 4])> {
    const METADATA: u8 = 4;
    const MULTITRACK: u8 = 6;
    let frame_type = first >> 4 & 7;
    let packet_type = front.mod_ex(first & 0x0F)?;
    if packet_type == MULTITRACK {
        let (packet_type, tracks) = front.tracks(MULTITRACK)?;
        if frame_type == COMMAND && packet_type != METADATA {
            return None;
        }
        let codec = codec_of(&tracks);
        return Some((
            tracks_role(&tracks, |track| video_role(packet_type, frame_type, track))?,
            codec,
        ));
    }
    if frame_type == COMMAND && packet_type != METADATA {
        return None;
    }
    let codec = front.array()?;
    let track = Track { id: 0, codec, body: front.0 };
    Some((video_role(packet_type, frame_type, &track)?, codec))
}

/// `None` if it is cut inside its header.
fn video_role(packet_type: u8, frame_type: u8, track: &Track<'_>) -> Option<Role> {
    let mut front = Front(track.body);
    // ERTMP ExVideoTagBody: CodedFrames of these three begin with a composition time.
    if packet_type == 1 && matches!(&track.codec, b"avc1" | b"hvc1" | b"vvc1") {
        front.take(3)?;
    }
    Some(match packet_type {
        _ if front.0.is_empty() => Role::Other,
        0 | 5 => Role::Header,
        1 | 3 => picture(frame_type),
        _ => Role::Other,
    })
}

/// The codec of track 0, or of the first.
fn codec_of(tracks: &[Track<'_>]) -> [u8; 4] {
    let primary = tracks.iter().find(|track| track.id == 0);
    primary.or(tracks.first()).map_or(NO_CODEC, |track| track.codec)
}

/// A message is what its primary track is. Pictures of other tracks only are nothing that a player
/// of the primary one can start with or misses; headers and sound count on any track.
fn tracks_role(tracks: &[Track<'_>], role: impl Fn(&Track<'_>) -> Option<Role>) -> Option<Role> {
    let mut found = Role::Other;
    for track in tracks {
        let role = role(track)?;
        if role != Role::Other && (track.id == 0 || !role.is_picture()) {
            found = role;
        }
    }
    Some(found)
}

/// The role and codec of an audio payload.
pub(super) fn audio(payload: &[u8]) -> (Role, [u8; 4]) {
    const EX_HEADER: u8 = 9;
    let mut front = Front(payload);
    let Some(first) = front.byte() else { return UNREADABLE };
    match first >> 4 {
        EX_HEADER => enhanced_audio(first, front).unwrap_or(UNREADABLE),
        10 => {
            let packet_type = front.byte();
            let role = match packet_type {
                Some(packet_type) if !front.0.is_empty() => audio_role(packet_type),
                _ => Role::Other,
            };
            (role, *b"mp4a")
        }
        number => {
            let codec = match number {
                2 => *b".mp3",
                _ => [b'a', b'-', b'0' + number / 10, b'0' + number % 10],
            };
            (if front.0.is_empty() { Role::Other } else { Role::Sound }, codec)
        }
    }
}

fn enhanced_audio(first: u8, mut front: Front<'_>) -> Option<(Role, [u8; 4])> {
    const MULTITRACK: u8 = 5;
    let packet_type = front.mod_ex(first & 0x0F)?;
    let body_role = |packet_type, body: &[u8]| {
        if body.is_empty() { Role::Other } else { audio_role(packet_type) }
    };
    if packet_type == MULTITRACK {
        let (packet_type, tracks) = front.tracks(MULTITRACK)?;
        let role = tracks_role(&tracks, |track| Some(body_role(packet_type, track.body)))?;
        return Some((role, codec_of(&tracks)));
    }
    let codec = front.array()?;
    Some((body_role(packet_type, front.0), codec))
}

/// 0 and 1 mean the same in AAC's legacy header and in Enhanced RTMP.
fn audio_role(packet_type: u8) -> Role {
    match packet_type {
        0 => Role::Header,
        1 => Role::Sound,
        _ => Role::Other,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn seen(role: Role, codec: &[u8; 4]) -> (Role, [u8; 4]) {
        (role, *codec)
    }

    #[test]
    fn legacy_headers_are_read() {
        assert_eq!(video(b"\x17\0\0\0\0\x01"), seen(Role::Header, b"avc1"));
        assert_eq!(video(b"\x17\x01\0\0\x42\0"), seen(Role::Keyframe, b"avc1"));
        assert_eq!(video(b"\x27\x01\0\0\0\0"), seen(Role::Inter, b"avc1"));
        assert_eq!(video(b"\x37\x01\0\0\0\0"), seen(Role::Disposable, b"avc1"));
        assert_eq!(video(b"\x17\x02\0\0\0"), seen(Role::Other, b"avc1"));
        assert_eq!(video(b"\x1c\x01\0\0\0\0"), seen(Role::Keyframe, b"hvc1"));
        assert_eq!(video(b"\x12abc"), seen(Role::Keyframe, b"v-02"));
        assert_eq!(audio(b"\xaf\0\x11"), seen(Role::Header, b"mp4a"));
        assert_eq!(audio(b"\xaf\x01\x21"), seen(Role::Sound, b"mp4a"));
        assert_eq!(audio(b"\x2fabc"), seen(Role::Sound, b".mp3"));
        assert_eq!(audio(b"\x7fabc"), seen(Role::Sound, b"a-07"));
    }

    #[test]
    fn enhanced_headers_are_read() {
        assert_eq!(video(b"\x90hvc1\x01"), seen(Role::Header, b"hvc1"));
        assert_eq!(video(b"\x91hvc1\0\0\0\x01"), seen(Role::Keyframe, b"hvc1"));
        assert_eq!(video(b"\x93hvc1\x01"), seen(Role::Keyframe, b"hvc1"));
        assert_eq!(video(b"\xb1av01\x01"), seen(Role::Disposable, b"av01"));
        assert_eq!(video(b"\x92hvc1"), seen(Role::Other, b"hvc1"));
        assert_eq!(video(b"\xd4hvc1\x02"), seen(Role::Other, b"hvc1"));
        assert_eq!(audio(b"\x90OpusX"), seen(Role::Header, b"Opus"));
        assert_eq!(audio(b"\x91OpusX"), seen(Role::Sound, b"Opus"));
        assert_eq!(audio(b"\x94OpusX"), seen(Role::Other, b"Opus"));
        // Two ModEx packets, the second with a length of 16 bits.
        let mut long = b"\x97\x02\0\0\x01\x07\xff\x00\xff".to_vec();
        long.extend([0; 256]);
        long.extend(b"\x01vp09\x01");
        assert_eq!(video(&long), seen(Role::Keyframe, b"vp09"));
    }

    #[test]
    fn what_is_on_other_tracks_is_no_picture_to_start_with() {
        assert_eq!(video(b"\x96\x01av01\x00x"), seen(Role::Keyframe, b"av01"));
        assert_eq!(video(b"\x96\x01av01\x01x"), seen(Role::Other, b"av01"));
        assert_eq!(video(b"\x96\x11av01\x01\0\0\x01x\0\0\0\x01y"), seen(Role::Keyframe, b"av01"));
        let many = b"\x96\x21vp09\x01\0\0\x01xav01\0\0\0\x01y";
        assert_eq!(video(many), seen(Role::Keyframe, b"av01"));
        assert_eq!(video(b"\x96\x10av01\x01\0\0\x01x"), seen(Role::Header, b"av01"));
        assert_eq!(video(b"\x96\x16av01\x01\0\0\x01x"), UNREADABLE);
        assert_eq!(video(b"\x96\x11av01\x01\0\0\x09x"), UNREADABLE);
        assert_eq!(audio(b"\x95\x11mp4a\x01\0\0\x01x"), seen(Role::Sound, b"mp4a"));
    }

    #[test]
    fn what_cannot_be_read_is_other() {
        for payload in [&b""[..], b"\x57\0", b"\xd1\0", b"\x91hv", b"\x97\x05a", b"\x91hvc1\0\0"] {
            assert_eq!(video(payload), UNREADABLE, "{payload:x?}");
        }
        for payload in [&b""[..], b"\x91Op", b"\x95\x35mp4a"] {
            assert_eq!(audio(payload), UNREADABLE, "{payload:x?}");
        }
        assert_eq!(video(b"\x17\0\0\0\0").0, Role::Other, "a configuration of no bytes");
        assert_eq!(video(b"\x17\x01\0").0, Role::Other, "cut inside its header");
        assert_eq!(audio(b"\xaf\0").0, Role::Other, "a configuration of no bytes");
    }
}
