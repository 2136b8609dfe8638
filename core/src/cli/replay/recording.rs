//! Recording: the tags of an FLV file, once or over and over with time running on.

use std::io::{Read, Seek};
use std::path::Path;

use anyhow::{Context as _, bail};
use bytes::Bytes;
use forebay::flv::file::{FileError, FileReader};
use forebay::flv::{Tag, TagKind, TagRole, VideoHeader};
use forebay::rope::Rope;
use forebay::time::Timestamp;

#[expect(clippy::disallowed_types, reason = "a command reads its own files; nothing is simulated")]
type File = std::fs::File;

/// Bytes that are read at a time.
const BLOCK_LEN: usize = 256 << 10;

/// Between two frames there is at most this, or it is a pause and says nothing about the rate.
const FRAME_MS_MAX: i64 = 1000;

/// What is taken for the duration of a frame if there is only one.
const FRAME_MS_DEFAULT: i64 = 33;

/// A tag and when its turn is, in milliseconds of a time that never wraps.
pub(super) struct Next {
    pub(super) tag: Tag,
    pub(super) at_ms: i64,
}

/// The tags of a file.
///
/// Played over and over, each pass is shifted by the duration of the media plus one frame, so that
/// no track steps back. What an encoder says once is said once: metadata and headers are left out
/// where they are those in force, and so are the ends of sequences.
pub(super) struct Recording {
    name: String,
    file: File,
    reader: FileReader,
    is_looped: bool,
    passes: u64,
    has_warned: bool,
    timeline: Timeline,
    shift_ms: i64,
    /// Frames of this pass.
    frames: u64,
    in_force: Vec<(TagRole, Rope)>,
}

impl Recording {
    pub(super) fn open(path: &Path, is_looped: bool) -> anyhow::Result<Self> {
        let name = path.display().to_string();
        let file = File::open(path).with_context(|| format!("cannot read {name}"))?;
        Ok(Self {
            name,
            file,
            reader: FileReader::lenient(),
            is_looped,
            passes: 0,
            has_warned: false,
            timeline: Timeline::default(),
            shift_ms: 0,
            frames: 0,
            in_force: Vec::new(),
        })
    }

    /// Frames of this pass so far.
    pub(super) fn frames(&self) -> u64 {
        self.frames
    }

    /// Passes that are over.
    pub(super) fn passes(&self) -> u64 {
        self.passes
    }

    /// How much of the media was given, in milliseconds from the first frame on.
    pub(super) fn played_ms(&self) -> i64 {
        self.shift_ms + self.timeline.played_ms()
    }

    /// The next tag; `None` at the end, which a looped recording does not have.
    ///
    /// # Errors
    ///
    /// If the file cannot be read, or is damaged: the tags in front of the damage were given. A
    /// looped recording plays them again and again and says so once.
    pub(super) fn next(&mut self) -> anyhow::Result<Option<Next>> {
        loop {
            let found = match self.next_in_file()? {
                Ok(Some(tag)) => tag,
                Ok(None) if !self.is_looped => return Ok(None),
                Ok(None) => {
                    self.rewind()?;
                    continue;
                }
                Err(error) if self.is_looped && self.frames > 0 => {
                    if !self.has_warned {
                        self.has_warned = true;
                        let name = &self.name;
                        tracing::warn!("{name} is damaged: {error}. What is before is played");
                    }
                    self.rewind()?;
                    continue;
                }
                Err(error) => {
                    let frames = self.frames;
                    bail!("{} is damaged behind {frames} frames: {error}", self.name)
                }
            };
            if let Some(next) = self.place(found) {
                return Ok(Some(next));
            }
        }
    }

    fn next_in_file(&mut self) -> anyhow::Result<Result<Option<Tag>, FileError>> {
        loop {
            match self.reader.next_tag() {
                Ok(Some(found)) => return Ok(Ok(Some(found.tag))),
                Ok(None) => {}
                Err(error) => return Ok(Err(error)),
            }
            let mut block = vec![0; BLOCK_LEN];
            let len = self.file.read(&mut block);
            let len = len.with_context(|| format!("cannot read {}", self.name))?;
            if len == 0 {
                return Ok(self.reader.finish().map(|()| None));
            }
            block.truncate(len);
            self.reader.push(Bytes::from(block));
        }
    }

    fn rewind(&mut self) -> anyhow::Result<()> {
        if self.frames == 0 {
            bail!("{} has neither audio nor video in it", self.name);
        }
        self.file.rewind().with_context(|| format!("cannot read {} again", self.name))?;
        self.reader = FileReader::lenient();
        self.passes += 1;
        self.shift_ms += self.timeline.rewind();
        self.frames = 0;
        Ok(())
    }

    /// The tag where it belongs in what is published, if it does.
    fn place(&mut self, mut tag: Tag) -> Option<Next> {
        let role = tag.role();
        let is_frame = is_frame(role);
        self.frames += u64::from(is_frame);
        let mut at_ms = self.timeline.see(&tag, is_frame) + self.shift_ms;
        if !is_frame && self.passes > 0 {
            // Many files have their headers at 0 and their frames much later.
            at_ms = at_ms.max(self.timeline.first_ms() + self.shift_ms);
        }
        if self.is_looped {
            match role {
                TagRole::EndOfSequence => return None,
                TagRole::Metadata => tag.payload = without_duration(&tag.payload),
                _ => {}
            }
        }
        if is_header(role) && !self.bring_in_force(role, &tag.payload) {
            return None;
        }
        // The low 32 bits: that is how a timestamp wraps.
        tag.timestamp = Timestamp::from_ms(at_ms as u32);
        Some(Next { tag, at_ms })
    }

    /// Whether the header is to be said. In the first pass a file says what it wants.
    fn bring_in_force(&mut self, role: TagRole, payload: &Rope) -> bool {
        match self.in_force.iter_mut().find(|(other, _)| *other == role) {
            Some((_, in_force)) if in_force == payload => self.passes == 0,
            Some((_, in_force)) => {
                *in_force = payload.detach();
                true
            }
            None => {
                self.in_force.push((role, payload.detach()));
                true
            }
        }
    }
}

/// Where frames are, in milliseconds that do not wrap. The first tag of a file is where it says.
#[derive(Default)]
struct Timeline {
    previous: Option<(Timestamp, i64)>,
    /// When frames are decoded, over all passes.
    decoding: Span,
    /// When frames are presented. The last picture of a recording is often presented well after
    /// the last one was decoded, and what follows must not come before it.
    presentation: Span,
    /// The last frame of this pass, and how long the last one took: video, audio.
    tracks: [(Option<i64>, Option<i64>); 2],
    /// How far this pass is.
    played_to_ms: Option<i64>,
}

/// From the earliest to the latest.
#[derive(Default)]
struct Span(Option<(i64, i64)>);

impl Span {
    fn see(&mut self, at_ms: i64) {
        let (first_ms, last_ms) = self.0.unwrap_or((at_ms, at_ms));
        self.0 = Some((first_ms.min(at_ms), last_ms.max(at_ms)));
    }

    fn first_ms(&self) -> i64 {
        self.0.map_or(0, |(first_ms, _)| first_ms)
    }

    fn len_ms(&self) -> i64 {
        self.0.map_or(0, |(first_ms, last_ms)| last_ms - first_ms)
    }
}

impl Timeline {
    fn see(&mut self, tag: &Tag, is_frame: bool) -> i64 {
        let at_ms = match self.previous {
            None => tag.timestamp.as_ms().into(),
            Some((previous, at_ms)) => at_ms + i64::from(tag.timestamp.since(previous)),
        };
        self.previous = Some((tag.timestamp, at_ms));
        if is_frame {
            self.see_frame(tag, at_ms);
        }
        at_ms
    }

    fn see_frame(&mut self, tag: &Tag, at_ms: i64) {
        let header = (tag.kind == TagKind::Video).then(|| VideoHeader::parse(&tag.payload).ok());
        let composition_time = header.flatten().map_or(0, |header| header.composition_time.as_ms());
        self.decoding.see(at_ms);
        self.presentation.see(at_ms + i64::from(composition_time));
        self.played_to_ms = Some(self.played_to_ms.map_or(at_ms, |to_ms| to_ms.max(at_ms)));
        let (last_ms, frame_ms) = &mut self.tracks[usize::from(tag.kind == TagKind::Audio)];
        let step_ms = at_ms - last_ms.unwrap_or(at_ms);
        if (1..=FRAME_MS_MAX).contains(&step_ms) {
            *frame_ms = Some(step_ms);
        }
        *last_ms = Some(at_ms);
    }

    fn first_ms(&self) -> i64 {
        self.decoding.first_ms()
    }

    fn played_ms(&self) -> i64 {
        self.played_to_ms.map_or(0, |to_ms| to_ms - self.first_ms())
    }

    /// Begins the next pass. Says by how much it comes later than this one.
    fn rewind(&mut self) -> i64 {
        let [(_, video_frame_ms), (_, audio_frame_ms)] = self.tracks;
        let frame_ms = video_frame_ms.or(audio_frame_ms).unwrap_or(FRAME_MS_DEFAULT);
        self.tracks = [(None, video_frame_ms), (None, audio_frame_ms)];
        (self.previous, self.played_to_ms) = (None, None);
        self.decoding.len_ms().max(self.presentation.len_ms()) + frame_ms
    }
}

fn is_frame(role: TagRole) -> bool {
    matches!(
        role,
        TagRole::Keyframe
            | TagRole::InterFrame { .. }
            | TagRole::SecondaryFrame
            | TagRole::AudioFrame
    )
}

fn is_header(role: TagRole) -> bool {
    matches!(
        role,
        TagRole::Metadata
            | TagRole::VideoSequenceHeader(_)
            | TagRole::AudioSequenceHeader(_)
            | TagRole::VideoMetadata(_)
            | TagRole::AudioMultichannelConfig(_)
    )
}

/// `onMetaData` with a duration and a file size of 0, as an encoder has them: what is looped lasts
/// longer than its recording, and players believe the number.
fn without_duration(metadata: &Rope) -> Rope {
    let mut bytes = metadata.to_bytes().to_vec();
    for key in [&b"\0\x08duration\0"[..], b"\0\x08filesize\0", b"\0\x08fileSize\0"] {
        let found = bytes.windows(key.len()).position(|window| window == key);
        let number = found.and_then(|at| bytes.get_mut(at + key.len()..at + key.len() + 8));
        if let Some(number) = number {
            number.fill(0);
        }
    }
    Rope::from(bytes)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn testdata(file: &str) -> std::path::PathBuf {
        Path::new(env!("CARGO_MANIFEST_DIR")).join("../testdata/flv").join(file)
    }

    fn take(file: &str, count: usize) -> Vec<Next> {
        let mut recording = Recording::open(&testdata(file), true).unwrap();
        (0..count).map(|_| recording.next().unwrap().unwrap()).collect()
    }

    #[test]
    fn time_runs_on_over_loops_and_headers_are_said_once() {
        let tags = take("obs-360p30-base.flv", 2000);
        let mut headers = tags.iter().filter(|next| is_header(next.tag.role()));
        assert_eq!(headers.by_ref().count(), 3, "metadata, video and audio header");
        assert!(!tags.iter().any(|next| next.tag.role() == TagRole::EndOfSequence));
        for kind in [TagKind::Video, TagKind::Audio] {
            let times: Vec<_> =
                tags.iter().filter(|n| n.tag.kind == kind).map(|n| n.at_ms).collect();
            assert!(times.is_sorted(), "{kind:?}");
            let largest = times.windows(2).map(|pair| pair[1] - pair[0]).max().unwrap();
            // The last pictures are presented 167 ms after they are decoded.
            assert!(largest < 250, "{kind:?}: a gap of {largest} ms");
        }
        let presented: Vec<_> = tags
            .iter()
            .filter_map(|next| {
                let header = VideoHeader::parse(&next.tag.payload).ok();
                let header = header.filter(|h| next.tag.kind == TagKind::Video && h.is_frame())?;
                let at_ms = next.at_ms + i64::from(header.composition_time.as_ms());
                Some((at_ms, header.is_keyframe()))
            })
            .collect();
        for (index, _) in presented.iter().enumerate().filter(|(_, (_, is_key))| *is_key) {
            let before = presented[..index].iter().map(|(at_ms, _)| at_ms).max();
            assert!(
                before < Some(&presented[index].0),
                "a picture is presented after the next GOP"
            );
        }
    }

    #[test]
    fn time_runs_on_across_the_wrap_and_over_the_loop_behind_it() {
        let tags = take("odd-time32-wrap.flv", 1000);
        let frames: Vec<_> = tags.iter().filter(|n| n.tag.kind == TagKind::Video).collect();
        for pair in frames.windows(2).skip(1) {
            let step_ms = pair[1].tag.timestamp.since(pair[0].tag.timestamp);
            assert!((1..250).contains(&step_ms), "{step_ms} ms at {:?}", pair[0].tag.timestamp);
        }
    }

    #[test]
    fn a_damaged_tail_is_left_out_of_a_loop_and_an_error_without() {
        let tags = take("bad-cut-in-body.flv", 400);
        assert!(tags.iter().filter(|next| next.tag.role() == TagRole::Keyframe).count() > 4);
        let mut once = Recording::open(&testdata("bad-cut-in-body.flv"), false).unwrap();
        let error = loop {
            match once.next() {
                Ok(next) => assert!(next.is_some(), "the damage must be noticed"),
                Err(error) => break error.to_string(),
            }
        };
        assert!(error.contains("tag at 118322"), "{error}");
    }

    #[test]
    fn a_looped_stream_says_no_duration() {
        let metadata = b"\x02\0\x0aonMetaData\x08\0\0\0\x01\0\x08duration\0\x40\x0e\x22\xd0\xe5\x60\x41\x89\0\0\x09";
        let without = without_duration(&Rope::from(metadata.to_vec())).to_bytes();
        assert_eq!(without.len(), metadata.len());
        assert!(without.ends_with(b"duration\0\0\0\0\0\0\0\0\0\0\0\x09"));
    }
}
