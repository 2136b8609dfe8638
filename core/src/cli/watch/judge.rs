//! Judge: whether what a player received can be decoded, as far as the tags show it.

use std::collections::{BTreeMap, VecDeque};

use forebay::flv::{AudioCodec, AudioHeader, Tag, TagKind, TagRole, VideoCodec, VideoHeader};
use forebay::rope::Rope;
use forebay::time::Timestamp;

/// Problems that are kept in words.
const PROBLEMS_MAX: usize = 5;
/// Steps between pictures from which the frame rate is taken.
const STEPS: usize = 16;

/// What one player received.
#[derive(Default)]
pub(super) struct Judge {
    pub(super) video_tags: u64,
    pub(super) audio_tags: u64,
    pub(super) script_tags: u64,
    pub(super) keyframes: u64,
    /// Resumes at a keyframe behind a hole: the server (or the encoder) left something out.
    pub(super) lags: u64,
    pub(super) lag_ms: u64,
    /// Times at which the timestamps began anew, behind new headers: the publisher returned.
    pub(super) restarts: u64,
    problems: Vec<String>,
    problem_count: u64,
    video: Video,
    audio: BTreeMap<u8, Audio>,
}

#[derive(Default)]
struct Video {
    header: Option<(VideoCodec, Rope)>,
    has_begun: bool,
    /// The last header was followed by no frame.
    is_fresh: bool,
    previous: Option<Timestamp>,
    /// The latest presentation so far.
    presented: Option<Timestamp>,
    /// The last steps, in milliseconds.
    steps: VecDeque<i32>,
}

#[derive(Default)]
struct Audio {
    header: Option<AudioCodec>,
    is_fresh: bool,
    previous: Option<Timestamp>,
}

impl Judge {
    /// Takes the next tag.
    pub(super) fn see(&mut self, tag: &Tag) {
        match tag.kind {
            TagKind::Video => self.see_video(tag),
            TagKind::Audio => self.see_audio(tag),
            TagKind::Script => self.script_tags += 1,
        }
    }

    /// What is wrong. Nothing: every decoder is content.
    pub(super) fn problems(&self) -> Vec<String> {
        let mut problems = self.problems.clone();
        let more = self.problem_count - problems.len() as u64;
        if more > 0 {
            problems.push(format!("{more} more"));
        }
        let has_audio = self.audio.values().any(|track| track.previous.is_some());
        if self.keyframes == 0 && self.video.header.is_some() {
            problems.push("no picture came".to_owned());
        } else if self.keyframes == 0 && !has_audio {
            problems.push("no media came".to_owned());
        }
        problems
    }

    fn problem(&mut self, problem: String) {
        self.problem_count += 1;
        if self.problems.len() < PROBLEMS_MAX {
            self.problems.push(problem);
        }
    }

    fn see_video(&mut self, tag: &Tag) {
        self.video_tags += 1;
        match tag.role() {
            TagRole::VideoSequenceHeader(tracks) if tracks.contains(0) => {
                let codec = VideoHeader::parse(&tag.payload).ok().and_then(|header| header.codec);
                let Some(codec) = codec else { return };
                if self.video.header.as_ref().is_none_or(|(_, payload)| *payload != tag.payload) {
                    // What comes now cannot be decoded with what came before.
                    self.video.has_begun = false;
                    self.video.header = Some((codec, tag.payload.detach()));
                }
                self.video.is_fresh = true;
                self.audio.values_mut().for_each(|track| track.is_fresh = true);
            }
            TagRole::Keyframe => {
                self.keyframes += 1;
                self.see_picture(tag, true);
            }
            TagRole::InterFrame { .. } => self.see_picture(tag, false),
            TagRole::EndOfSequence => self.video.has_begun = false,
            _ => {}
        }
    }

    fn see_picture(&mut self, tag: &Tag, is_keyframe: bool) {
        let Ok(header) = VideoHeader::parse(&tag.payload) else { return };
        let at = tag.timestamp;
        let configured = self.video.header.as_ref().map(|(codec, _)| *codec);
        if header.needs_sequence_header() && configured != header.codec {
            self.problem(format!("picture at {at:?} before the sequence header of its codec"));
        }
        if !is_keyframe && !self.video.has_begun {
            self.problem(format!("inter frame at {at:?} where a keyframe has to come first"));
        }
        self.video.has_begun = true;
        let is_fresh = std::mem::take(&mut self.video.is_fresh);
        let presented = at.plus_ms(header.composition_time.as_ms() as u32);
        if let (Some(previous), Some(latest)) = (self.video.previous, self.video.presented) {
            let step_ms = at.since(previous);
            if step_ms < 0 && is_fresh && is_keyframe {
                self.restarts += 1;
                (self.video.presented, self.video.steps) = (None, VecDeque::new());
            } else if step_ms < 0 {
                self.problem(format!("video steps back by {} ms at {at:?}", -step_ms));
            } else if is_keyframe {
                // The last pictures of a GOP may be decoded long before they are presented, and
                // the first of an open one are presented before its keyframe.
                self.see_lag(step_ms.min(presented.since(latest)));
            } else {
                self.see_hole(step_ms, at);
            }
            self.video.steps.push_back(step_ms);
            if self.video.steps.len() > STEPS {
                self.video.steps.pop_front();
            }
        }
        self.video.previous = Some(at);
        let is_later = |latest: Timestamp| presented.since(latest) > 0;
        if self.video.presented.is_none_or(is_later) {
            self.video.presented = Some(presented);
        }
    }

    fn see_lag(&mut self, step_ms: i32) {
        let Some(frame_ms) = self.video.frame_ms() else { return };
        if step_ms * 2 > frame_ms * 3 {
            self.lags += 1;
            self.lag_ms += (step_ms - frame_ms) as u64;
        }
    }

    /// Inside a GOP, where a decoder misses what is left out. Only a stream of steady rate tells.
    fn see_hole(&mut self, step_ms: i32, at: Timestamp) {
        let Some(frame_ms) = self.video.frame_ms() else { return };
        let is_near = |&step_ms: &i32| (step_ms - frame_ms).abs() * 3 <= frame_ms;
        let is_steady = self.video.steps.len() == STEPS && self.video.steps.iter().all(is_near);
        if is_steady && step_ms * 2 > frame_ms * 3 {
            self.problem(format!("hole in a GOP: {step_ms} ms without a picture before {at:?}"));
        }
    }

    fn see_audio(&mut self, tag: &Tag) {
        self.audio_tags += 1;
        let Ok(header) = AudioHeader::parse(&tag.payload) else { return };
        match tag.role() {
            TagRole::AudioSequenceHeader(tracks) => {
                for id in tracks.iter() {
                    let track = self.audio.entry(id).or_default();
                    (track.header, track.is_fresh) = (header.codec, true);
                }
            }
            TagRole::AudioFrame => {
                let at = tag.timestamp;
                let ids: Vec<u8> = header.tracks(&tag.payload).map(|track| track.id).collect();
                for id in ids {
                    let track = self.audio.entry(id).or_default();
                    let is_configured = track.header == header.codec;
                    let is_fresh = std::mem::take(&mut track.is_fresh);
                    let step_ms = track.previous.map_or(0, |previous| at.since(previous));
                    track.previous = Some(at);
                    if header.needs_sequence_header() && !is_configured {
                        self.problem(format!("sound at {at:?} before its sequence header"));
                    }
                    if step_ms < 0 && !is_fresh {
                        self.problem(format!("audio steps back by {} ms at {at:?}", -step_ms));
                    }
                }
            }
            _ => {}
        }
    }
}

impl Video {
    /// How long a picture lasts: the median.
    fn frame_ms(&self) -> Option<i32> {
        let mut steps: Vec<_> = self.steps.iter().copied().collect();
        steps.sort_unstable();
        steps.get(steps.len() / 2).copied().filter(|&step_ms| step_ms > 0)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use bytes::Bytes;
    use forebay::flv::file::FileReader;

    fn tags(file: &str) -> Vec<Tag> {
        let path = std::path::Path::new(env!("CARGO_MANIFEST_DIR")).join("../testdata/flv");
        let mut reader = FileReader::lenient();
        reader.push(Bytes::from(std::fs::read(path.join(file)).unwrap()));
        std::iter::from_fn(|| reader.next_tag().ok().flatten()).map(|found| found.tag).collect()
    }

    fn judge<'a>(tags: impl IntoIterator<Item = &'a Tag>) -> Judge {
        let mut judge = Judge::default();
        tags.into_iter().for_each(|tag| judge.see(tag));
        judge
    }

    #[test]
    fn whole_recordings_are_decodable() {
        for file in [
            "obs-720p30-cbr2500.flv",
            "obs-360p30-zerolat.flv",
            "odd-time32-wrap.flv",
            "enh-hevc-aac.flv",
            "enh-av1-opus.flv",
            "enh-vp9-aac.flv",
            "enh-two-audio.flv",
        ] {
            let judge = judge(&tags(file));
            assert_eq!(judge.problems(), Vec::<String>::new(), "{file}");
            assert_eq!(judge.lags, 0, "{file}");
        }
    }

    #[test]
    fn a_stream_joined_in_the_middle_of_a_gop_is_not() {
        let tags = tags("obs-360p30-base.flv");
        let judge = judge(tags[..3].iter().chain(&tags[6..]));
        assert!(judge.problems()[0].starts_with("inter frame at"), "{:?}", judge.problems());
    }

    #[test]
    fn media_before_their_sequence_headers_are_not() {
        let tags = tags("obs-360p30-base.flv");
        let problems = judge(&tags[3..]).problems();
        assert!(problems.iter().any(|p| p.contains("before the sequence header")), "{problems:?}");
        assert!(problems.iter().any(|p| p.starts_with("sound at")), "{problems:?}");
    }

    #[test]
    fn a_hole_in_a_gop_is_a_problem_and_one_up_to_a_keyframe_is_a_lag() {
        let tags = tags("obs-720p30-cbr2500.flv");
        let is_key = |tag: &&Tag| tag.role() == TagRole::Keyframe;
        let second_key = tags.iter().position(|tag| is_key(&tag) && tag.timestamp.as_ms() > 0);
        let second_key = second_key.unwrap();
        let lagged = judge(tags[..second_key - 40].iter().chain(&tags[second_key..]));
        assert_eq!((lagged.lags, lagged.problems()), (1, Vec::new()));
        assert!(lagged.lag_ms > 300, "{}", lagged.lag_ms);
        let holed = judge(tags[..second_key - 40].iter().chain(&tags[second_key - 20..]));
        assert!(holed.problems()[0].starts_with("hole in a GOP"), "{:?}", holed.problems());
    }

    #[test]
    fn time_that_goes_back_is_a_problem_unless_headers_say_that_it_begins_anew() {
        let problems = judge(&tags("odd-time-backwards.flv")).problems();
        assert!(problems[0].contains("steps back by"), "{problems:?}");
        let tags = tags("obs-360p30-base.flv");
        let again = judge(tags.iter().chain(&tags));
        assert_eq!((again.restarts, again.problems()), (1, Vec::new()));
    }

    #[test]
    fn nothing_is_no_stream() {
        assert_eq!(judge(&[]).problems(), ["no media came"]);
        assert_eq!(judge(&tags("obs-360p30-base.flv")[..3]).problems(), ["no picture came"]);
    }
}
