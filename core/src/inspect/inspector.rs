//! Inspector: tags in, a report out.

use std::collections::BTreeMap;

use super::gops::Gops;
use super::metadata;
use super::report::{
    DamageReport, MetadataReport, Region, Report, SequenceHeader, Start, TagCounts, TimestampReport,
};
use super::scan::Damage;
use super::timeline::Timeline;
use super::track::{Config, Frame, Track};
use super::verdict::{Oddity, OddityKind, Verdict};
use crate::describe;
use crate::flv::{AudioHeader, FrameType, Tag, TagKind, VideoCodec, VideoHeader};
use crate::rope::Rope;
use crate::time::Timestamp;

/// Watches the tags of a stream, wherever they come from; see [the module](super).
pub struct Inspector {
    tags: TagCounts,
    /// Video first: a `TagKind` sorts the other way.
    tracks: BTreeMap<(Media, u8), Track>,
    metadata: MetadataReport,
    last_metadata: Option<Rope>,
    sequence_headers: Vec<SequenceHeader>,
    times: Times,
    gops: Gops,
    timeline: Timeline,
    empty: Vec<Start>,
    duplicates: Vec<Start>,
    ends_of_sequence: Vec<Start>,
    damage: DamageReport,
    noted: Vec<Oddity>,
}

/// Entries of each list that says where something is.
const LISTED_MAX: usize = 100;

#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
enum Media {
    Video,
    Audio,
}

#[derive(Default)]
struct Times {
    report: TimestampReport,
    last_video: Option<Timestamp>,
    last_audio: Option<Timestamp>,
    start: Option<Timestamp>,
}

impl Default for Inspector {
    fn default() -> Self {
        Self::new()
    }
}

impl Inspector {
    /// One that has seen nothing.
    pub fn new() -> Self {
        Self {
            tags: TagCounts::default(),
            tracks: BTreeMap::new(),
            metadata: MetadataReport::default(),
            last_metadata: None,
            sequence_headers: Vec::new(),
            times: Times::default(),
            gops: Gops::default(),
            timeline: Timeline::new(),
            empty: Vec::new(),
            duplicates: Vec::new(),
            ends_of_sequence: Vec::new(),
            damage: DamageReport::default(),
            noted: Vec::new(),
        }
    }

    /// Takes the next tag, which was found at byte `at` of whatever it was read from.
    pub fn add(&mut self, at: u64, tag: &Tag) {
        let (empty, ends) = (self.tags.empty, self.tags.video_ends + self.tags.audio_ends);
        self.tags.add(tag);
        if self.tags.empty > empty {
            list(&mut self.empty, start(at, tag));
        }
        if self.tags.video_ends + self.tags.audio_ends > ends {
            list(&mut self.ends_of_sequence, start(at, tag));
        }
        self.times.add(tag);
        if self.damage.count > 0 {
            self.damage.tags_behind += 1;
        }
        if self.damage.count == self.damage.regions.len() as u64
            && let Some(region) = self.damage.regions.last_mut()
        {
            region.tags_behind += 1;
        }
        match tag.kind {
            TagKind::Script => self.add_script(tag),
            TagKind::Video => self.add_video(at, tag),
            TagKind::Audio => self.add_audio(at, tag),
        }
    }

    /// Takes note of bytes that are no tags, between the tags before and those that follow.
    pub fn add_damage(&mut self, damage: Damage) {
        let Damage { from, to, what, .. } = damage;
        self.damage.count += 1;
        self.damage.bytes += to - from;
        list(&mut self.damage.regions, Region { from, to, what, tags_behind: 0 });
    }

    /// Takes note of something odd that tags do not show.
    pub fn add_oddity(&mut self, kind: OddityKind, text: String) {
        list(&mut self.noted, Oddity { kind, text });
    }

    /// What was found until now.
    pub fn report(&self) -> Report {
        let mut report = Report {
            verdict: Verdict::unknown(),
            metadata: self.metadata_report(),
            tracks: Vec::new(),
            tags: self.tags,
            timestamps: self.timestamp_report(),
            gops: self.gops.report(),
            bitrate: self.timeline.report(),
            sequence_headers: self.sequence_headers.clone(),
            empty: self.empty.clone(),
            duplicates: self.duplicates.clone(),
            ends_of_sequence: self.ends_of_sequence.clone(),
            damage: self.damage.clone(),
        };
        let frame_rate = self.metadata.first.get("framerate").and_then(|value| value.as_f64());
        for (&(media, id), track) in &self.tracks {
            let mut track = track.report(media.into(), id);
            track.frame_rate_claimed = frame_rate.filter(|_| (media, id) == (Media::Video, 0));
            report.tracks.push(track);
        }
        report.verdict = Verdict::of(&report, self.noted.clone());
        report
    }

    fn metadata_report(&self) -> MetadataReport {
        let mut report = self.metadata.clone();
        if report.changes > 0 {
            let last = self.last_metadata.as_ref().map(metadata::read);
            report.last = last.and_then(Result::ok).unwrap_or_default();
        }
        report
    }

    fn timestamp_report(&self) -> TimestampReport {
        let mut report = self.times.report.clone();
        let video = self.tracks.get(&(Media::Video, 0));
        let audio = self.tracks.get(&(Media::Audio, 0)).and_then(Track::first);
        if let Some((video, (picture, sound))) = video.zip(video.and_then(Track::first).zip(audio))
        {
            let after = sound.since(picture);
            report.audio_after_video_ms = Some(after);
            report.audio_after_picture_ms = Some(after - video.first_composition_time_ms());
        }
        report
    }

    fn add_script(&mut self, tag: &Tag) {
        if tag.role() != crate::flv::TagRole::Metadata {
            return;
        }
        let metadata = &mut self.metadata;
        metadata.count += 1;
        if self.last_metadata.as_ref() == Some(&tag.payload) {
            return;
        }
        let is_first = self.last_metadata.replace(tag.payload.detach()).is_none();
        if !is_first {
            metadata.changes += 1;
            return;
        }
        match metadata::read(&tag.payload) {
            Ok(first) => {
                metadata.encoder =
                    first.get("encoder").and_then(|value| value.as_str()).map(str::to_owned);
                metadata.first = first;
            }
            Err(error) => metadata.error = Some(error),
        }
    }

    fn add_video(&mut self, at: u64, tag: &Tag) {
        let Ok(header) = VideoHeader::parse(&tag.payload) else { return };
        let is_keyframe = header.frame_type == FrameType::Key;
        for found in header.tracks(&tag.payload) {
            let body = tag.payload.slice(found.body.clone());
            let codec = found.codec;
            let track = self.tracks.entry((Media::Video, found.id)).or_default();
            if track.config.codec.is_empty() {
                track.config.codec = describe::video_codec_name(codec);
            }
            if body.is_empty() {
                continue;
            } else if header.is_sequence_header() {
                let describe = |record: &[u8]| Config::from(describe::video_config(codec, record));
                if let Some(text) = track.add_header(&body, describe) {
                    self.list_header(at, tag, found.id, text);
                }
            } else if header.is_frame() {
                let len = if found.id == 0 && header.multitrack.is_none() {
                    tag.payload.len()
                } else {
                    body.len()
                };
                self.add_frame(
                    Media::Video,
                    found.id,
                    Frame {
                        at,
                        tag,
                        len,
                        is_keyframe,
                        needs_sequence_header: codec.needs_sequence_header(),
                        composition_time_ms: has_composition_time(codec)
                            .then(|| found.composition_time.as_ms()),
                    },
                );
                if found.id == 0 {
                    self.gops.add(is_keyframe, at, tag.timestamp, len);
                }
            }
        }
    }

    fn add_audio(&mut self, at: u64, tag: &Tag) {
        let Ok(header) = AudioHeader::parse(&tag.payload) else { return };
        for found in header.tracks(&tag.payload) {
            let body = tag.payload.slice(found.body.clone());
            let codec = found.codec;
            let track = self.tracks.entry((Media::Audio, found.id)).or_default();
            if track.config.codec.is_empty() {
                track.config.codec = describe::audio_codec_name(codec);
            }
            if body.is_empty() {
                continue;
            } else if header.is_sequence_header() {
                let describe = |config: &[u8]| Config::from(describe::audio_config(codec, config));
                if let Some(text) = track.add_header(&body, describe) {
                    self.list_header(at, tag, found.id, text);
                }
            } else if header.is_frame() {
                if let Some(sound) = header.sound.filter(|_| !codec.needs_sequence_header()) {
                    track.set_sound(sound.sample_rate_hz, sound.channel_count);
                }
                let is_alone = found.id == 0 && header.multitrack.is_none();
                self.add_frame(
                    Media::Audio,
                    found.id,
                    Frame {
                        at,
                        tag,
                        len: if is_alone { tag.payload.len() } else { body.len() },
                        is_keyframe: false,
                        needs_sequence_header: codec.needs_sequence_header(),
                        composition_time_ms: None,
                    },
                );
            }
        }
    }

    fn add_frame(&mut self, media: Media, id: u8, frame: Frame<'_>) {
        let (at, tag, len) = (frame.at, frame.tag, frame.len);
        let ms = tag.timestamp.as_ms();
        let times = &mut self.times;
        let begin = *times.start.get_or_insert(tag.timestamp);
        times.report.first_media_ms.get_or_insert(ms);
        times.report.last_media_ms = Some(ms);
        if (media, id, frame.is_keyframe) == (Media::Video, 0, true) {
            times.report.first_keyframe_ms.get_or_insert(ms);
        }
        let track = self.tracks.entry((media, id)).or_default();
        if track.is_duplicate(tag) {
            list(&mut self.duplicates, start(at, tag));
        }
        let clock_ms = track.add_frame(frame, begin);
        self.timeline.add(clock_ms, len);
    }

    fn list_header(&mut self, at: u64, tag: &Tag, track: u8, describes: String) {
        let (kind, timestamp_ms) = (kind(tag.kind), tag.timestamp.as_ms());
        let is_change =
            self.sequence_headers.iter().any(|header| (header.kind, header.track) == (kind, track));
        let header = SequenceHeader { at, timestamp_ms, kind, track, is_change, describes };
        list(&mut self.sequence_headers, header);
    }
}

impl Times {
    fn add(&mut self, tag: &Tag) {
        let report = &mut self.report;
        let ms = tag.timestamp.as_ms();
        report.first_ms.get_or_insert(ms);
        let last = report.last_ms.replace(ms);
        report.backward_steps += u64::from(last.is_some_and(|last| ms < last));
        report.extended += u64::from(ms >= 1 << 24);
        let same_kind = match tag.kind {
            TagKind::Script => return,
            TagKind::Video => &mut self.last_video,
            TagKind::Audio => &mut self.last_audio,
        };
        if let Some(last) = same_kind.replace(tag.timestamp) {
            report.largest_step_ms = report.largest_step_ms.max(tag.timestamp.since(last));
        }
    }
}

impl From<Media> for TagKind {
    fn from(media: Media) -> Self {
        match media {
            Media::Video => Self::Video,
            Media::Audio => Self::Audio,
        }
    }
}

/// ERTMP ExVideoTagBody: the codecs that have one on the wire.
fn has_composition_time(codec: VideoCodec) -> bool {
    codec.is_avc() || codec.is_hevc() || codec == VideoCodec::VVC
}

fn kind(kind: TagKind) -> &'static str {
    match kind {
        TagKind::Audio => "audio",
        TagKind::Video => "video",
        TagKind::Script => "script",
    }
}

fn start(at: u64, tag: &Tag) -> Start {
    Start { at, timestamp_ms: tag.timestamp.as_ms(), kind: kind(tag.kind) }
}

fn list<T>(all: &mut Vec<T>, one: T) {
    if all.len() < LISTED_MAX {
        all.push(one);
    }
}
