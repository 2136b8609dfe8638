//! Where a joiner may start: headers in force, epochs, and what nobody can decode.

use std::sync::Arc;

use crate::flv::{
    AudioCodec, AudioHeader, Tag, TagKind, TagRole, TrackSet, VideoCodec, VideoHeader,
};

/// Sequence headers and descriptions kept per topic. Two codecs on two tracks need six.
const HEADERS_MAX: usize = 64;

/// A header longer than this is passed on and not kept, in bytes. Real ones have 50.
const HEADER_LEN_MAX: usize = 256 << 10;

/// What has to be known before the next frame: metadata, and each track's sequence header.
///
/// Immutable: a change makes another one, so that a place to start can hold on to the one that was
/// in force there.
#[derive(Clone, Default, Debug)]
pub struct Headers {
    version: u64,
    metadata: Option<Tag>,
    kept: Vec<Kept>,
}

#[derive(Clone, Debug)]
struct Kept {
    slot: Slot,
    tracks: TrackSet,
    tag: Tag,
}

/// What a header describes. Sorted as a joiner must get them.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug)]
enum Slot {
    AudioSequenceHeader,
    VideoSequenceHeader,
    AudioMultichannelConfig,
    VideoMetadata,
}

impl Headers {
    /// The tags, in the order in which a joiner must get them: metadata, sequence headers, and
    /// what builds on those.
    pub fn tags(&self) -> impl Iterator<Item = &Tag> {
        self.metadata.iter().chain(self.kept.iter().map(|kept| &kept.tag))
    }

    /// The newest `onMetaData`.
    pub fn metadata(&self) -> Option<&Tag> {
        self.metadata.as_ref()
    }

    /// These headers with the metadata of others.
    pub(crate) fn with_metadata_of(self: &Arc<Self>, newest: &Arc<Self>) -> Arc<Self> {
        if Arc::ptr_eq(self, newest) {
            return self.clone();
        }
        Arc::new(Self { metadata: newest.metadata.clone(), ..Self::clone(self) })
    }

    /// The primary video track's sequence header.
    pub fn video(&self) -> Option<&Tag> {
        self.primary(Slot::VideoSequenceHeader)
    }

    /// The primary audio track's sequence header.
    pub fn audio(&self) -> Option<&Tag> {
        self.primary(Slot::AudioSequenceHeader)
    }

    fn primary(&self, slot: Slot) -> Option<&Tag> {
        let kept = self.kept.iter().find(|kept| kept.slot == slot && kept.tracks.contains(0));
        kept.map(|kept| &kept.tag)
    }

    /// Grows with every change within a topic; two equal ones have the same content.
    pub fn version(&self) -> u64 {
        self.version
    }
}

/// Watches the tags of a topic: keeps the headers in force and tells which tags are places to start.
pub(crate) struct GopWatch {
    headers: Arc<Headers>,
    video: Option<VideoCodec>,
    audio: Option<AudioCodec>,
    /// A keyframe was published that the frames after it build on.
    has_keyframe: bool,
    has_video: bool,
    has_pictures: bool,
    has_audio: bool,
}

/// What a tag is for those who come later.
#[derive(PartialEq, Eq)]
pub(crate) enum Placement {
    /// For everybody, at any time.
    Header,
    /// Another sequence header: what was published before it is no place to start any more.
    NewSequenceHeader,
    /// A place to start.
    Entry,
    Audio,
    Video {
        disposable: bool,
    },
    /// Its keyframe or its sequence header was never published.
    Orphan,
}

impl GopWatch {
    pub(crate) fn new() -> Self {
        Self {
            headers: Arc::default(),
            video: None,
            audio: None,
            has_keyframe: false,
            has_video: false,
            has_pictures: false,
            has_audio: false,
        }
    }

    /// Another publisher begins: nothing of the last one is in force.
    pub(crate) fn begin_session(&mut self) {
        let version = self.headers.version + 1;
        *self =
            Self { headers: Arc::new(Headers { version, ..Headers::default() }), ..Self::new() };
    }

    pub(crate) fn headers(&self) -> &Arc<Headers> {
        &self.headers
    }

    /// Whether any video came.
    pub(crate) fn has_video(&self) -> bool {
        self.has_video
    }

    /// Whether there are pictures to see, now or after the next keyframe. Frames that nobody can
    /// decode are none: whoever waited for them would not hear the sound either.
    pub(crate) fn has_pictures(&self) -> bool {
        self.has_pictures
    }

    pub(crate) fn has_audio(&self) -> bool {
        self.has_audio
    }

    pub(crate) fn place(&mut self, tag: &Tag) -> Placement {
        let role = tag.role();
        match tag.kind {
            TagKind::Video => self.has_video |= !tag.payload.is_empty(),
            TagKind::Audio => self.has_audio |= !tag.payload.is_empty(),
            TagKind::Script => {}
        }
        let placement = self.place_by_role(tag, role);
        self.has_pictures |=
            tag.kind == TagKind::Video && !tag.payload.is_empty() && placement != Placement::Orphan;
        placement
    }

    fn place_by_role(&mut self, tag: &Tag, role: TagRole) -> Placement {
        match role {
            TagRole::Metadata => self.keep_metadata(tag),
            TagRole::AudioSequenceHeader(tracks) => self.audio_header(tracks, tag),
            TagRole::AudioMultichannelConfig(tracks) => {
                self.keep(Slot::AudioMultichannelConfig, tracks, tag);
                Placement::Header
            }
            TagRole::VideoMetadata(tracks) => {
                self.keep(Slot::VideoMetadata, tracks, tag);
                Placement::Header
            }
            TagRole::VideoSequenceHeader(tracks) => self.video_header(tracks, tag),
            TagRole::Keyframe => self.keyframe(tag),
            TagRole::AudioFrame => self.audio_frame(tag),
            TagRole::InterFrame { disposable } if self.has_keyframe => {
                Placement::Video { disposable }
            }
            TagRole::SecondaryFrame if self.has_keyframe => Placement::Video { disposable: false },
            TagRole::InterFrame { .. } | TagRole::SecondaryFrame => Placement::Orphan,
            TagRole::EndOfSequence | TagRole::Other => match tag.kind {
                TagKind::Script => Placement::Header,
                TagKind::Audio => Placement::Audio,
                TagKind::Video if self.has_keyframe => {
                    Placement::Video { disposable: role == TagRole::Other }
                }
                TagKind::Video => Placement::Orphan,
            },
        }
    }

    fn keep_metadata(&mut self, tag: &Tag) -> Placement {
        let is_known =
            self.headers.metadata.as_ref().is_some_and(|known| known.payload == tag.payload);
        if !is_known && tag.payload.len() <= HEADER_LEN_MAX {
            self.change(|headers| headers.metadata = Some(detached(tag)));
        }
        Placement::Header
    }

    fn video_header(&mut self, tracks: TrackSet, tag: &Tag) -> Placement {
        let changed = self.keep(Slot::VideoSequenceHeader, tracks, tag);
        if !tracks.contains(0) || !changed {
            return Placement::Header;
        }
        self.video = VideoHeader::parse(&tag.payload).ok().and_then(|header| header.codec);
        Placement::NewSequenceHeader
    }

    /// The first one is no change: pictures without sound may have been published before it.
    fn audio_header(&mut self, tracks: TrackSet, tag: &Tag) -> Placement {
        let is_first = self.headers.audio().is_none();
        let changed = self.keep(Slot::AudioSequenceHeader, tracks, tag);
        if !tracks.contains(0) {
            return Placement::Header;
        }
        self.audio = AudioHeader::parse(&tag.payload).ok().and_then(|header| header.codec);
        if changed && !is_first { Placement::NewSequenceHeader } else { Placement::Header }
    }

    fn keyframe(&mut self, tag: &Tag) -> Placement {
        let header = VideoHeader::parse(&tag.payload).ok();
        // A picture without the sequence header of its codec decodes nowhere.
        let is_decodable = header
            .is_some_and(|header| !header.needs_sequence_header() || self.video == header.codec);
        self.has_keyframe = is_decodable;
        if is_decodable { Placement::Entry } else { Placement::Orphan }
    }

    fn audio_frame(&mut self, tag: &Tag) -> Placement {
        let header = AudioHeader::parse(&tag.payload).ok();
        let is_decodable = header.is_some_and(|header| {
            !header.needs_sequence_header()
                || header.multitrack.is_some()
                || self.audio == header.codec
        });
        match (is_decodable, self.has_pictures) {
            (false, _) => Placement::Orphan,
            (true, true) => Placement::Audio,
            (true, false) => Placement::Entry,
        }
    }

    /// Keeps a header for joiners. Says whether it is another one than before.
    fn keep(&mut self, slot: Slot, tracks: TrackSet, tag: &Tag) -> bool {
        let kept = &self.headers.kept;
        let same = |kept: &Kept| {
            kept.slot == slot && kept.tracks == tracks && kept.tag.payload == tag.payload
        };
        if kept.iter().any(same) {
            return false;
        }
        let replaced = |kept: &Kept| kept.slot == slot && kept.tracks.is_subset(&tracks);
        let full = kept.len() >= HEADERS_MAX && !kept.iter().any(replaced);
        if full || tag.payload.len() > HEADER_LEN_MAX {
            return true;
        }
        self.change(|headers| {
            headers.kept.retain(|kept| !replaced(kept));
            let at = headers.kept.partition_point(|kept| kept.slot <= slot);
            headers.kept.insert(at, Kept { slot, tracks, tag: detached(tag) });
        });
        true
    }

    fn change(&mut self, change: impl FnOnce(&mut Headers)) {
        let mut headers = Headers::clone(&self.headers);
        headers.version += 1;
        change(&mut headers);
        self.headers = Arc::new(headers);
    }
}

/// Kept for as long as the stream runs, so it must not pin the block it came in.
fn detached(tag: &Tag) -> Tag {
    Tag { payload: tag.payload.detach(), ..*tag }
}
