//! What audio and video headers share in Enhanced RTMP: ModEx packets, FourCCs and tracks.

use std::ops::Range;

use crate::rope::Rope;

/// Why a payload has no audio or video header. The tag can still be relayed as it is.
#[derive(Clone, Copy, PartialEq, Eq, Debug, thiserror::Error)]
pub enum HeaderError {
    /// No byte at all: encoders send such tags, and nothing is wrong with the stream.
    #[error("the payload is empty")]
    Empty,
    /// The header goes on where the payload ends.
    #[error("the header needs {needed} bytes, the payload has {len}")]
    Truncated {
        /// Bytes from the start of the payload to the end of the field that is cut.
        needed: usize,
        /// Bytes of the payload.
        len: usize,
    },
    /// A multitrack packet of multitrack packets (ERTMP forbids it).
    #[error("multitrack inside multitrack at byte {at}")]
    NestedMultitrack {
        /// Where the inner packet type is, in bytes from the start of the payload.
        at: usize,
    },
    /// A track's size goes past the end of the message.
    #[error("track {id} has {track_len} bytes, the message has {left} left")]
    TrackTooLong {
        /// The track's id.
        id: u8,
        /// What the track's size field says, in bytes.
        track_len: usize,
        /// Bytes behind the size field.
        left: usize,
    },
    /// A track's size leaves no room for the composition time that its codec begins with.
    #[error("track {id} has {track_len} bytes, its composition time alone has 3")]
    TrackTooShort {
        /// The track's id.
        id: u8,
        /// What the track's size field says, in bytes.
        track_len: usize,
    },
    /// More than [`TRACK_COUNT_MAX`] tracks in one message.
    #[error("more than {TRACK_COUNT_MAX} tracks in one message")]
    TooManyTracks,
}

/// Tracks in one message, at most: an id has 8 bits.
pub const TRACK_COUNT_MAX: usize = 1 << 8;

/// How the tracks of a multitrack message are laid out (ERTMP, AvMultitrackType).
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
pub enum MultitrackKind {
    /// One track, up to the end of the message.
    OneTrack,
    /// Tracks of one codec, each with its size.
    ManyTracks,
    /// Tracks each with its codec and its size.
    ManyTracksManyCodecs,
}

impl MultitrackKind {
    /// `None` for the reserved values, whose layout nobody knows yet.
    pub(super) fn parse(nibble: u8) -> Option<Self> {
        match nibble {
            0 => Some(Self::OneTrack),
            1 => Some(Self::ManyTracks),
            2 => Some(Self::ManyTracksManyCodecs),
            _ => None,
        }
    }
}

/// Four characters that name a codec, as they are on the wire.
pub(super) type FourCc = [u8; 4];

/// Reads a payload front to back, wherever it is cut.
///
/// Each slice is visited once, so a message of a million one-byte slices costs a million steps
/// however many fields its header has.
pub(super) struct Cursor<'a, I> {
    slices: I,
    slice: &'a [u8],
    at: usize,
    len: usize,
}

/// A cursor at the first byte.
pub(super) fn cursor(payload: &Rope) -> Cursor<'_, impl Iterator<Item = &[u8]>> {
    Cursor { slices: payload.slices(), slice: &[], at: 0, len: payload.len() }
}

impl<'a, I: Iterator<Item = &'a [u8]>> Cursor<'a, I> {
    /// Bytes read so far.
    pub(super) fn at(&self) -> usize {
        self.at
    }

    /// Bytes still to read.
    pub(super) fn left(&self) -> usize {
        self.len - self.at
    }

    pub(super) fn read<const N: usize>(&mut self) -> Result<[u8; N], HeaderError> {
        self.check(N)?;
        let mut out = [0; N];
        let mut filled = 0;
        while filled < N && self.refill() {
            let n = self.slice.len().min(N - filled);
            out[filled..filled + n].copy_from_slice(&self.slice[..n]);
            filled += n;
            self.advance(n);
        }
        Ok(out)
    }

    pub(super) fn read_u8(&mut self) -> Result<u8, HeaderError> {
        self.read::<1>().map(|[byte]| byte)
    }

    pub(super) fn skip(&mut self, n: usize) -> Result<(), HeaderError> {
        self.check(n)?;
        let mut left = n;
        while left > 0 && self.refill() {
            let n = self.slice.len().min(left);
            left -= n;
            self.advance(n);
        }
        Ok(())
    }

    fn check(&self, n: usize) -> Result<(), HeaderError> {
        if n > self.left() {
            return Err(HeaderError::Truncated { needed: self.at + n, len: self.len });
        }
        Ok(())
    }

    fn refill(&mut self) -> bool {
        while self.slice.is_empty() {
            let Some(slice) = self.slices.next() else { return false };
            self.slice = slice;
        }
        true
    }

    fn advance(&mut self, n: usize) {
        self.slice = &self.slice[n..];
        self.at += n;
    }
}

/// The packet type that announces a ModEx packet, in audio and in video.
pub(super) const MOD_EX: u8 = 7;

/// Consumes the ModEx packets in front of a packet type: the type, and the nanoseconds to add to
/// this message's presentation time.
pub(super) fn read_mod_ex<'a, I: Iterator<Item = &'a [u8]>>(
    cursor: &mut Cursor<'a, I>,
    mut packet_type: u8,
) -> Result<(u8, u32), HeaderError> {
    const TIMESTAMP_OFFSET_NANO: u8 = 0;
    let mut nanosecond_offset = 0;
    while packet_type == MOD_EX {
        let mut len = usize::from(cursor.read_u8()?) + 1;
        if len == 1 << 8 {
            len = usize::from(u16::from_be_bytes(cursor.read()?)) + 1;
        }
        // What the data means is said behind it. An offset of fewer than 3 bytes means nothing.
        let data = if len >= 3 { Some(cursor.read::<3>()?) } else { None };
        cursor.skip(if data.is_some() { len - 3 } else { len })?;
        let types = cursor.read_u8()?;
        packet_type = types & 0x0F;
        if let (TIMESTAMP_OFFSET_NANO, Some([a, b, c])) = (types >> 4, data) {
            nanosecond_offset = u32::from_be_bytes([0, a, b, c]);
        }
    }
    Ok((packet_type, nanosecond_offset))
}

/// Reads how the tracks are laid out and what they all carry: the kind, if it is known, and the
/// packet type. `multitrack` is the packet type that says multitrack.
pub(super) fn read_multitrack<'a, I: Iterator<Item = &'a [u8]>>(
    cursor: &mut Cursor<'a, I>,
    multitrack: u8,
) -> Result<(Option<MultitrackKind>, u8), HeaderError> {
    let byte = cursor.read_u8()?;
    let (kind, packet_type) = (byte >> 4, byte & 0x0F);
    if packet_type == multitrack {
        return Err(HeaderError::NestedMultitrack { at: cursor.at() - 1 });
    }
    Ok((MultitrackKind::parse(kind), packet_type))
}

/// One track of a message.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(super) struct RawTrack {
    pub(super) id: u8,
    pub(super) four_cc: FourCc,
    /// Zeros where the codec has none.
    pub(super) composition_time: [u8; 3],
    pub(super) body: Range<usize>,
}

/// Reads the FourCC that all tracks of a message share. Zeros if each has its own.
pub(super) fn read_common_four_cc<'a, I: Iterator<Item = &'a [u8]>>(
    cursor: &mut Cursor<'a, I>,
    kind: MultitrackKind,
) -> Result<FourCc, HeaderError> {
    match kind {
        MultitrackKind::ManyTracksManyCodecs => Ok([0; 4]),
        MultitrackKind::OneTrack | MultitrackKind::ManyTracks => cursor.read(),
    }
}

/// The tracks of a multitrack message, front to back. Ends behind the first error.
pub(super) struct RawTracks<'a, I> {
    cursor: Cursor<'a, I>,
    kind: MultitrackKind,
    /// What all tracks have in common. Not read if each has its own.
    four_cc: FourCc,
    /// Whether a track of this codec begins with a composition time.
    has_composition_time: fn(FourCc) -> bool,
    count: usize,
}

impl<'a, I: Iterator<Item = &'a [u8]>> RawTracks<'a, I> {
    /// The tracks from where `cursor` is, which is behind what they have in common.
    pub(super) fn new(
        cursor: Cursor<'a, I>,
        kind: MultitrackKind,
        four_cc: FourCc,
        has_composition_time: fn(FourCc) -> bool,
    ) -> Self {
        Self { cursor, kind, four_cc, has_composition_time, count: 0 }
    }

    fn read_track(&mut self) -> Result<RawTrack, HeaderError> {
        if self.count == TRACK_COUNT_MAX {
            return Err(HeaderError::TooManyTracks);
        }
        self.count += 1;
        let four_cc = match self.kind {
            MultitrackKind::ManyTracksManyCodecs => self.cursor.read()?,
            _ => self.four_cc,
        };
        let id = self.cursor.read_u8()?;
        let track_len = match self.kind {
            MultitrackKind::OneTrack => self.cursor.left(),
            _ => {
                let [a, b, c] = self.cursor.read()?;
                u32::from_be_bytes([0, a, b, c]) as usize
            }
        };
        let left = self.cursor.left();
        if track_len > left {
            return Err(HeaderError::TrackTooLong { id, track_len, left });
        }
        let end = self.cursor.at() + track_len;
        let composition_time = match (self.has_composition_time)(four_cc) {
            false => [0; 3],
            true if track_len < 3 && self.kind != MultitrackKind::OneTrack => {
                return Err(HeaderError::TrackTooShort { id, track_len });
            }
            true => self.cursor.read()?,
        };
        let body = self.cursor.at()..end;
        self.cursor.skip(body.len())?;
        Ok(RawTrack { id, four_cc, composition_time, body })
    }
}

impl<'a, I: Iterator<Item = &'a [u8]>> Iterator for RawTracks<'a, I> {
    type Item = Result<RawTrack, HeaderError>;

    fn next(&mut self) -> Option<Self::Item> {
        // A message that announces tracks has at least one, so the end is only looked for behind it.
        if self.count > 0 && self.cursor.left() == 0 {
            return None;
        }
        let track = self.read_track();
        if track.is_err() {
            (self.count, self.cursor.at) = (1, self.cursor.len);
        }
        Some(track)
    }
}

/// The tracks of a message that was parsed before, from `header_len` bytes into its payload.
pub(super) fn tracks_of_parsed(
    payload: &Rope,
    header_len: usize,
    kind: MultitrackKind,
    four_cc: Option<FourCc>,
    has_composition_time: fn(FourCc) -> bool,
) -> impl Iterator<Item = RawTrack> {
    let mut cursor = cursor(payload);
    // A payload so short is not the one that was parsed, and has no tracks.
    let parsed = cursor.skip(header_len).is_ok();
    let tracks = RawTracks::new(cursor, kind, four_cc.unwrap_or_default(), has_composition_time);
    tracks.take_while(move |_| parsed).map_while(Result::ok)
}

#[cfg(test)]
mod tests {
    use super::*;
    use bytes::Bytes;

    #[test]
    fn a_cursor_reads_and_skips_across_slices() {
        let bytes = Bytes::from_static(b"0123456789");
        for len in 1..=bytes.len() {
            let rope = bytes.chunks(len).map(|slice| bytes.slice_ref(slice)).collect::<Rope>();
            let mut cursor = cursor(&rope);
            assert_eq!(cursor.read(), Ok(*b"012"));
            assert_eq!(cursor.skip(4), Ok(()));
            assert_eq!((cursor.at(), cursor.left()), (7, 3));
            let cut = HeaderError::Truncated { needed: 11, len: 10 };
            assert_eq!(cursor.read::<4>(), Err(cut));
            assert_eq!(cursor.skip(4), Err(cut));
            assert_eq!(cursor.read(), Ok(*b"789"), "a failed read takes nothing");
            assert_eq!((cursor.read_u8().is_err(), cursor.left()), (true, 0));
        }
    }

    #[test]
    fn a_header_of_many_fields_in_tiny_slices_visits_each_slice_once() {
        // 300 000 ModEx packets of 3 bytes, every byte a slice.
        let bytes = Bytes::from([0, 0, 0x17].repeat(300_000));
        let rope = bytes.chunks(1).map(|slice| bytes.slice_ref(slice)).collect::<Rope>();
        let visited = std::cell::Cell::new(0);
        let slices = rope.slices().inspect(|_| visited.set(visited.get() + 1));
        let mut cursor = Cursor { slices, slice: &[], at: 0, len: rope.len() };
        assert!(read_mod_ex(&mut cursor, MOD_EX).is_err(), "no packet type follows");
        assert_eq!(visited.get(), rope.len());
    }
}
