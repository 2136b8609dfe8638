//! TagRole: what a tag means to a cache, a joiner and a subscriber that lost tags.

use std::fmt;

use super::{AudioHeader, Tag, TagKind, VideoHeader, script};

/// What a tag is good for, whatever its codec.
///
/// The header roles replace an earlier tag of the same role and track, and are what a joiner
/// receives before media (RTMP practice; ERTMP "Metadata Frame").
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum TagRole {
    /// Script data named `onMetaData`, with `@setDataFrame` in front or without.
    Metadata,
    /// Configures the video decoders of these tracks.
    VideoSequenceHeader(TrackSet),
    /// Configures the audio decoders of these tracks.
    AudioSequenceHeader(TrackSet),
    /// Describes the pictures of these tracks from the next one on (`colorInfo`).
    VideoMetadata(TrackSet),
    /// Says for these audio tracks which channel is which loudspeaker.
    AudioMultichannelConfig(TrackSet),
    /// A picture of the primary video track where a decoder can start.
    Keyframe,
    /// A picture of the primary video track that needs others before it.
    InterFrame {
        /// Whether no other picture needs it.
        disposable: bool,
    },
    /// Pictures of other video tracks only. They open no group of pictures.
    SecondaryFrame,
    /// Sound of any track.
    AudioFrame,
    /// No more pictures, or no more sound, on the primary track.
    EndOfSequence,
    /// Anything else: other script data, commands, empty payloads, and what cannot be understood.
    Other,
}

impl Tag {
    /// What the tag means to a cache. Looks at its first bytes only, however long it is; at
    /// the head of every track if it has several.
    pub fn role(&self) -> TagRole {
        match self.kind {
            TagKind::Video => VideoHeader::parse(&self.payload)
                .map_or(TagRole::Other, |header| self.video_role(&header)),
            TagKind::Audio => AudioHeader::parse(&self.payload)
                .map_or(TagRole::Other, |header| self.audio_role(&header)),
            TagKind::Script if script::is_on_meta_data(&self.payload) => TagRole::Metadata,
            TagKind::Script => TagRole::Other,
        }
    }

    fn video_role(&self, header: &VideoHeader) -> TagRole {
        let tracks = || header.tracks(&self.payload).map(|track| (track.id, track.body.len()));
        if header.is_frame() {
            let primary = tracks().any(|(id, body_len)| id == 0 && body_len > 0);
            match (primary, header.is_keyframe()) {
                (false, _) => TagRole::SecondaryFrame,
                (true, true) => TagRole::Keyframe,
                (true, false) => TagRole::InterFrame { disposable: header.is_disposable() },
            }
        } else if header.is_sequence_header() {
            TagRole::VideoSequenceHeader(TrackSet::with_body(tracks()))
        } else if header.is_metadata() {
            TagRole::VideoMetadata(TrackSet::with_body(tracks()))
        } else if header.is_end_of_sequence() && tracks().any(|(id, _)| id == 0) {
            TagRole::EndOfSequence
        } else {
            TagRole::Other
        }
    }

    fn audio_role(&self, header: &AudioHeader) -> TagRole {
        let tracks = || header.tracks(&self.payload).map(|track| (track.id, track.body.len()));
        if header.is_frame() {
            TagRole::AudioFrame
        } else if header.is_sequence_header() {
            TagRole::AudioSequenceHeader(TrackSet::with_body(tracks()))
        } else if header.is_multichannel_config() {
            TagRole::AudioMultichannelConfig(TrackSet::with_body(tracks()))
        } else if header.is_end_of_sequence() && tracks().any(|(id, _)| id == 0) {
            TagRole::EndOfSequence
        } else {
            TagRole::Other
        }
    }
}

/// A set of track ids, 0 to 255.
#[derive(Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Default)]
pub struct TrackSet([u64; 4]);

impl TrackSet {
    /// Track 0 alone, which is what a message without tracks is about.
    pub const PRIMARY: Self = Self([1, 0, 0, 0]);

    /// A track with no byte in it is as if it were not there.
    fn with_body(tracks: impl Iterator<Item = (u8, usize)>) -> Self {
        tracks.filter(|&(_, body_len)| body_len > 0).map(|(id, _)| id).collect()
    }

    /// Adds a track.
    pub fn insert(&mut self, id: u8) {
        self.0[usize::from(id) / 64] |= 1 << (id % 64);
    }

    /// Whether the track is in it.
    pub fn contains(&self, id: u8) -> bool {
        self.0[usize::from(id) / 64] & 1 << (id % 64) != 0
    }

    /// Whether every track of it is in `other`.
    pub fn is_subset(&self, other: &Self) -> bool {
        self.0.iter().zip(other.0).all(|(mine, theirs)| mine & !theirs == 0)
    }

    /// Whether there is no track in it.
    pub fn is_empty(&self) -> bool {
        self.0 == [0; 4]
    }

    /// The tracks, in order.
    pub fn iter(&self) -> impl Iterator<Item = u8> + use<> {
        let set = *self;
        (0..=u8::MAX).filter(move |&id| set.contains(id))
    }
}

impl FromIterator<u8> for TrackSet {
    fn from_iter<T: IntoIterator<Item = u8>>(ids: T) -> Self {
        let mut set = Self::default();
        ids.into_iter().for_each(|id| set.insert(id));
        set
    }
}

impl fmt::Debug for TrackSet {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_set().entries(self.iter()).finish()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::rope::Rope;
    use crate::time::Timestamp;

    fn role(kind: TagKind, payload: &'static [u8]) -> TagRole {
        Tag { kind, timestamp: Timestamp::ZERO, payload: Rope::from(payload) }.role()
    }

    #[test]
    fn what_obs_sends_has_the_roles_a_cache_needs() {
        assert_eq!(role(TagKind::Script, b"\x02\x00\x0aonMetaData\x08"), TagRole::Metadata);
        let header = TagRole::VideoSequenceHeader(TrackSet::PRIMARY);
        assert_eq!(role(TagKind::Video, &[0x17, 0, 0, 0, 0, 1, 100, 0, 30]), header);
        let header = TagRole::AudioSequenceHeader(TrackSet::PRIMARY);
        assert_eq!(role(TagKind::Audio, &[0xAF, 0, 0x11, 0x90]), header);
        assert_eq!(role(TagKind::Video, &[0x17, 1, 0, 0, 66, 0]), TagRole::Keyframe);
        let inter = TagRole::InterFrame { disposable: false };
        assert_eq!(role(TagKind::Video, &[0x27, 1, 0, 0, 166, 0]), inter);
        assert_eq!(role(TagKind::Audio, &[0xAF, 1, 0x21]), TagRole::AudioFrame);
        assert_eq!(role(TagKind::Video, &[0x17, 2, 0, 0, 0]), TagRole::EndOfSequence);
    }

    #[test]
    fn what_cannot_be_understood_is_other() {
        assert_eq!(role(TagKind::Video, &[]), TagRole::Other);
        assert_eq!(role(TagKind::Audio, &[]), TagRole::Other);
        assert_eq!(role(TagKind::Script, b"\x02\x00\x0aonCuePoint"), TagRole::Other);
        assert_eq!(role(TagKind::Video, &[0x17, 1, 0]), TagRole::Other);
        assert_eq!(role(TagKind::Video, b"\x96\x66av01"), TagRole::Other);
        // A configuration of no bytes must not replace the one in force.
        assert_eq!(role(TagKind::Video, &[0x17, 0, 0, 0, 0]), TagRole::Other);
        assert_eq!(role(TagKind::Audio, &[0xAF, 0]), TagRole::Other);
    }

    #[test]
    fn a_track_set_holds_every_id() {
        let odd: TrackSet = (0..=255).filter(|id| id % 2 == 1).collect();
        assert!((0..=255).all(|id| odd.contains(id) == (id % 2 == 1)));
        assert_eq!(odd.iter().collect::<Vec<_>>(), (0..128).map(|n| 2 * n + 1).collect::<Vec<_>>());
        let some: TrackSet = [1, 63, 65, 255].into_iter().collect();
        assert!(some.is_subset(&odd) && !odd.is_subset(&some));
        assert!(!TrackSet::PRIMARY.is_subset(&odd) && TrackSet::default().is_subset(&some));
        assert_eq!(TrackSet::PRIMARY, [0].into_iter().collect());
        assert!(TrackSet::default().is_empty() && !some.is_empty());
        assert_eq!(format!("{some:?}"), "{1, 63, 65, 255}");
    }
}
