//! The recordings, each as one life of a stream.

use std::collections::BTreeMap;
use std::time::Duration;

use forebay::flv::{AudioHeader, Tag, TagKind, VideoHeader};
use forebay::hls::{Delta, Found, Presentation, Settings, State};

use crate::boxes::{self, Sample};
use crate::capture::{Capture, intact};
use crate::playlists::Playlist;

/// A life of a stream, seen from outside.
pub(crate) struct Seen {
    pub(crate) presentation: Presentation,
    pub(crate) versions: Vec<Playlist>,
    /// Everything that was ever to be had, by name.
    pub(crate) files: BTreeMap<String, Vec<u8>>,
    /// Names of all complete segments with whether a discontinuity stands before them, in order.
    pub(crate) segments: Vec<(String, bool)>,
}

pub(crate) const START: Duration = Duration::from_secs(1_700_000_000);

impl Seen {
    pub(crate) fn begin(settings: Settings) -> Self {
        Self {
            presentation: Presentation::new(settings, "life".to_owned(), START.as_secs()),
            versions: Vec::new(),
            files: BTreeMap::new(),
            segments: Vec::new(),
        }
    }

    pub(crate) fn push(&mut self, tag: &Tag, session: u64, utc: Duration) {
        let version = self.presentation.version();
        self.presentation.push(tag, session, utc);
        if self.presentation.version() != version {
            self.look();
        }
    }

    pub(crate) fn end(&mut self) {
        self.presentation.end();
        self.look();
    }

    /// As [`look`](Self::look), if there is anything new.
    pub(crate) fn look_again(&mut self) {
        let before = self.versions.last().cloned();
        if before != Some(Playlist::read(&self.presentation.media(Delta::Full))) {
            self.look();
        }
    }

    /// Fetches the playlist and everything that is new in it.
    pub(crate) fn look(&mut self) {
        if matches!(self.presentation.state(), State::Starting | State::Unsupported(_)) {
            return;
        }
        let playlist = Playlist::read(&self.presentation.media(Delta::Full));
        playlist.check();
        if let Some(before) = self.versions.last() {
            before.check_next(&playlist);
        }
        for segment in playlist.segments.iter().chain([&playlist.open]) {
            for part in &segment.parts {
                self.fetch(&part.uri);
            }
            if segment.uri.is_empty() || segment.is_gap {
                continue;
            }
            self.fetch(&segment.map);
            if self.segments.iter().all(|(uri, _)| *uri != segment.uri) {
                let joined: Vec<u8> =
                    segment.parts.iter().flat_map(|part| self.fetch(&part.uri)).collect();
                let bytes = self.fetch(&segment.uri);
                assert!(
                    segment.parts.is_empty() || joined == bytes,
                    "parts joined are the segment"
                );
                self.segments.push((segment.uri.clone(), segment.has_discontinuity));
            }
        }
        if let Some(hint) = &playlist.hint {
            let wanted = self.presentation.wanted(hint).unwrap();
            assert_eq!(self.presentation.find(wanted), Some(Found::NotYet));
        }
        self.versions.push(playlist);
    }

    /// What a name gives now, which must be what it always gave.
    pub(crate) fn fetch(&mut self, name: &str) -> Vec<u8> {
        let wanted = self.presentation.wanted(name).unwrap_or_else(|| panic!("{name}"));
        let bytes = match self.presentation.find(wanted) {
            Some(Found::Init(init)) => init.bytes.to_vec(),
            Some(Found::Part(bytes)) => bytes.to_vec(),
            Some(Found::Segment(segment)) => {
                segment.parts.iter().flat_map(|part| part.bytes.to_vec()).collect()
            }
            other => panic!("{name} is listed and gives {other:?}"),
        };
        let known = self.files.entry(name.to_owned()).or_insert_with(|| bytes.clone());
        assert!(*known == bytes, "{name} names two things");
        bytes
    }

    /// The samples of all complete segments.
    pub(crate) fn samples(&self) -> Vec<Sample> {
        self.segments.iter().flat_map(|(name, _)| boxes::fragments(&self.files[name]).1).collect()
    }
}

/// The coded bytes of the primary tracks' frames, from the first keyframe on.
fn frames(capture: &Capture) -> [Vec<Vec<u8>>; 2] {
    let [mut video, mut audio] = [Vec::new(), Vec::new()];
    let has_video = capture.tags.iter().any(|tag| tag.kind == TagKind::Video);
    for tag in &capture.tags {
        let payload = tag.payload.to_bytes();
        match tag.kind {
            TagKind::Video => {
                let Ok(header) = VideoHeader::parse(&tag.payload) else { continue };
                if header.is_frame() && (header.is_keyframe() || !video.is_empty()) {
                    let track = header.tracks(&tag.payload).find(|track| track.id == 0);
                    video.extend(track.map(|track| payload[track.body].to_vec()));
                }
            }
            TagKind::Audio if has_video && video.is_empty() => {}
            TagKind::Audio => {
                let Ok(header) = AudioHeader::parse(&tag.payload) else { continue };
                let track = header.tracks(&tag.payload).find(|track| track.id == 0);
                audio.extend(
                    track.filter(|_| header.is_frame()).map(|track| payload[track.body].to_vec()),
                );
            }
            TagKind::Script => {}
        }
    }
    [video, audio]
}

fn seen(capture: &Capture) -> Seen {
    // All of it stays listed, so that all of it can be looked at.
    let mut seen = Seen::begin(Settings { window_ms: 600_000, ..Settings::default() });
    for (index, tag) in capture.tags.iter().enumerate() {
        seen.push(tag, 1, START + Duration::from_millis(15 * index as u64));
    }
    seen.end();
    seen
}

#[test]
fn segments_tile_every_recording_and_begin_with_a_keyframe() {
    for capture in intact() {
        let seen = seen(&capture);
        let samples = seen.samples();
        let of_track = |track| {
            let samples = samples.iter().filter(move |sample| sample.track == track);
            samples.map(|sample| sample.bytes.clone()).collect::<Vec<_>>()
        };
        let [video, audio] = frames(&capture);
        let breaks =
            seen.segments.iter().filter(|(_, has_discontinuity)| *has_discontinuity).count();
        // These jump in time: 1.5 s back and 4 s ahead; back by 2^24 ms.
        let jumps = match capture.name.as_str() {
            "odd-time-backwards.flv" => 2,
            "odd-time24-noext.flv" => 1,
            _ => 0,
        };
        assert_eq!(breaks, jumps, "{}", capture.name);
        if jumps == 0 {
            assert!(of_track(1) == video, "{}: every picture once, in order", capture.name);
            assert!(of_track(2) == audio, "{}: all sound once, in order", capture.name);
        } else {
            let mut left = video.iter();
            assert!(
                of_track(1).iter().all(|one| left.any(|other| one == other)),
                "{}",
                capture.name
            );
        }
        for (name, _) in &seen.segments {
            let (_, samples) = boxes::fragments(&seen.files[name]);
            let first =
                samples.iter().find(|sample| sample.track == 1 || video.is_empty()).unwrap();
            assert!(first.is_sync, "{}: {name}", capture.name);
        }
    }
}

#[test]
fn the_sound_of_a_recording_is_named_in_its_init_section_and_in_the_playlist() {
    for (name, entry, codecs, rate, count) in [
        ("ffmpeg5-avc-mp3.flv", "mp4a", "avc1.64000d,mp4a.6B", 44_100, 155),
        ("enh-avc-flac.flv", "fLaC", "avc1.64000d,fLaC", 48_000, 188),
        ("enh-avc-opus.flv", "Opus", "avc1.64001e,opus", 48_000, 201),
        ("obs-360p30-base.flv", "mp4a", "avc1.64001e,mp4a.40.2", 48_000, 166),
    ] {
        let seen = seen(&intact().into_iter().find(|capture| capture.name == name).unwrap());
        let sounds = seen.samples().iter().filter(|sample| sample.track == 2).count();
        assert_eq!(sounds, count, "{name}");
        let multivariant = seen.presentation.multivariant();
        assert!(multivariant.contains(&format!("CODECS=\"{codecs}\"")), "{name}: {multivariant}");
        let inits: Vec<_> =
            seen.files.iter().filter(|(file, _)| file.starts_with("init-")).collect();
        let [(_, init)] = inits[..] else { panic!("{name}: one sound, one init section") };
        assert_eq!(boxes::timescales(init)[1], (2, rate), "{name}");
        let (kind, body) = boxes::sample_entry(init, 2);
        assert_eq!(kind, entry, "{name}");
        // ISO/IEC 14496-12 12.2.3: what is about the decoder is behind 28 bytes about the sound.
        let (config, inside) = boxes::boxes(&body[28..])[0];
        let is_right = match entry {
            "fLaC" => config == "dfLa" && inside[4..8] == [0x80, 0, 0, 34] && inside.len() == 42,
            "Opus" => config == "dOps",
            // ISO/IEC 14496-1 7.2.6.6: objectTypeIndication, and streamType for sound.
            _ => {
                let object_type = if codecs.ends_with("6B") { 0x6B } else { 0x40 };
                config == "esds" && inside.windows(2).any(|pair| pair == [object_type, 5 << 2 | 1])
            }
        };
        assert!(is_right, "{name}: {config} {inside:02x?}");
    }
}

#[test]
fn times_run_on_from_fragment_to_fragment_and_fragments_are_numbered() {
    for capture in intact() {
        let seen = seen(&capture);
        let mut ends = BTreeMap::new();
        let mut last_number = START.as_secs() as u32;
        for (name, has_discontinuity) in &seen.segments {
            let (numbers, samples) = boxes::fragments(&seen.files[name]);
            for number in numbers {
                assert_eq!(number, last_number + 1, "{}: {name}", capture.name);
                last_number = number;
            }
            for (index, sample) in samples.iter().enumerate() {
                let end = ends.entry(sample.track).or_insert(sample.decode_time);
                let is_first = samples[..index].iter().all(|before| before.track != sample.track);
                if *has_discontinuity && is_first {
                    assert!(sample.decode_time >= *end, "{}: {name} goes back", capture.name);
                } else {
                    assert_eq!(sample.decode_time, *end, "{}: {name}", capture.name);
                }
                assert!(sample.duration > 0, "{}: {name}", capture.name);
                *end = sample.decode_time + u64::from(sample.duration);
            }
        }
        let init = seen.files.iter().find(|(name, _)| name.starts_with("init-")).unwrap().1;
        assert_eq!(boxes::timescales(init).len(), ends.len(), "{}", capture.name);
    }
}

#[test]
fn parts_are_no_longer_than_their_target_and_rarely_much_shorter() {
    for capture in intact() {
        let seen = seen(&capture);
        // GStreamer's live sources stamp pictures with what a busy machine's clock says.
        let full_percent = if capture.name.starts_with("gst-") { 75 } else { 85 };
        // Encoders that lost frames have a hole no part can be made of.
        let has_holes =
            ["odd-empty-and-dup.flv", "obs-publish-stalled.rtmpcap"].contains(&&*capture.name);
        for playlist in &seen.versions {
            for segment in &playlist.segments {
                let Some((_, rest)) = segment.parts.split_last() else { continue };
                let target = playlist.part_target_ms;
                for part in &segment.parts {
                    assert!(part.duration_ms <= target || has_holes, "{}: {part:?}", capture.name);
                }
                for part in rest {
                    let is_full = part.duration_ms * 100 >= target * full_percent;
                    assert!(
                        is_full || part.is_independent || has_holes,
                        "{}: {part:?} of {target}",
                        capture.name
                    );
                }
            }
        }
    }
}

#[test]
fn playlist_durations_add_up_to_the_media_time() {
    for capture in intact() {
        let seen = seen(&capture);
        let last = seen.versions.last().unwrap();
        let listed: u64 = last.segments.iter().map(|segment| segment.duration_ms).sum();
        let samples = seen.samples();
        let video = || samples.iter().filter(|sample| sample.track == 1);
        let media: u64 = video().map(|sample| u64::from(sample.duration)).sum();
        if media == 0 {
            continue;
        }
        assert!(listed.abs_diff(media) <= 50, "{}: {listed} of {media}", capture.name);
    }
}

#[test]
fn a_joiner_of_the_endless_file_gets_all_there_is_from_a_keyframe_on() {
    use forebay::hls::Follow;
    for capture in intact() {
        let mut presentation = Presentation::new(Settings::default(), "x".to_owned(), 7);
        let (first, second) = capture.tags.split_at(capture.tags.len() * 2 / 3);
        let push = |presentation: &mut Presentation, tags: &[Tag]| {
            tags.iter().for_each(|tag| presentation.push(tag, 1, START));
        };
        push(&mut presentation, first);
        let mut position = presentation.join().unwrap_or_else(|| panic!("{}", capture.name));
        push(&mut presentation, second);
        presentation.end();
        let mut bytes = Vec::new();
        loop {
            match presentation.follow(&mut position, 10_000, u64::MAX) {
                Follow::Fragments(fragments) => {
                    fragments.iter().for_each(|one| bytes.extend_from_slice(one))
                }
                Follow::End => break,
                other => panic!("{}: {other:?}", capture.name),
            }
        }
        let (numbers, samples) = boxes::fragments(&bytes);
        assert!(numbers.windows(2).all(|pair| pair[1] == pair[0] + 1), "{}", capture.name);
        assert!(samples[0].is_sync, "{}", capture.name);
        assert_eq!(
            u64::from(*numbers.last().unwrap()),
            7 + presentation.totals().parts,
            "{}",
            capture.name
        );
    }
}
