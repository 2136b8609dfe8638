//! A media playlist, as a parser of others reads it.

use quick_m3u8::config::ParsingOptionsBuilder;
use quick_m3u8::tag::{KnownTag, hls};
use quick_m3u8::{HlsLine, Reader};

#[derive(Clone, Default, PartialEq, Debug)]
pub(crate) struct Playlist {
    pub(crate) version: u64,
    pub(crate) target_ms: u64,
    pub(crate) part_target_ms: u64,
    pub(crate) hold_back_ms: u64,
    pub(crate) part_hold_back_ms: u64,
    pub(crate) can_skip_until_ms: u64,
    pub(crate) first: u64,
    pub(crate) discontinuity_sequence: u64,
    pub(crate) skipped: usize,
    pub(crate) segments: Vec<Listed>,
    /// Of the segment that is not complete.
    pub(crate) open: Listed,
    pub(crate) hint: Option<String>,
    pub(crate) is_ended: bool,
}

#[derive(Clone, Default, PartialEq, Debug)]
pub(crate) struct Listed {
    pub(crate) uri: String,
    pub(crate) duration_ms: u64,
    pub(crate) map: String,
    pub(crate) has_discontinuity: bool,
    pub(crate) date: Option<String>,
    pub(crate) is_gap: bool,
    pub(crate) parts: Vec<ListedPart>,
}

#[derive(Clone, PartialEq, Debug)]
pub(crate) struct ListedPart {
    pub(crate) uri: String,
    pub(crate) duration_ms: u64,
    pub(crate) is_independent: bool,
}

fn ms(seconds: f64) -> u64 {
    (seconds * 1000.0).round() as u64
}

impl Playlist {
    pub(crate) fn read(text: &str) -> Self {
        assert!(text.starts_with("#EXTM3U\n") && text.ends_with('\n'), "{text}");
        let options = ParsingOptionsBuilder::new().with_parsing_for_all_tags().build();
        let mut reader = Reader::from_str(text, options);
        let mut playlist = Self::default();
        let mut map = String::new();
        while let Some(line) = reader.read_line().unwrap() {
            match line {
                HlsLine::KnownTag(KnownTag::Hls(tag)) => playlist.take(tag, &mut map),
                HlsLine::Uri(uri) => {
                    let segment = std::mem::take(&mut playlist.open);
                    let (uri, map) = (uri.to_string(), map.clone());
                    playlist.segments.push(Listed { uri, map, ..segment });
                }
                other => panic!("{other:?}"),
            }
        }
        playlist.open.map = map;
        playlist
    }

    fn take(&mut self, tag: hls::Tag<'_>, map: &mut String) {
        match tag {
            hls::Tag::M3u(_) => {}
            hls::Tag::Version(tag) => self.version = tag.version(),
            hls::Tag::Targetduration(tag) => self.target_ms = tag.target_duration() * 1000,
            hls::Tag::ServerControl(tag) => {
                assert!(tag.can_block_reload());
                self.hold_back_ms = ms(tag.hold_back().unwrap());
                self.part_hold_back_ms = ms(tag.part_hold_back().unwrap());
                self.can_skip_until_ms = ms(tag.can_skip_until().unwrap());
            }
            hls::Tag::PartInf(tag) => self.part_target_ms = ms(tag.part_target()),
            hls::Tag::MediaSequence(tag) => self.first = tag.media_sequence(),
            hls::Tag::DiscontinuitySequence(tag) => {
                self.discontinuity_sequence = tag.discontinuity_sequence();
            }
            hls::Tag::Skip(tag) => self.skipped = tag.skipped_segments() as usize,
            hls::Tag::Map(tag) => *map = tag.uri().to_owned(),
            hls::Tag::Discontinuity(_) => self.open.has_discontinuity = true,
            hls::Tag::ProgramDateTime(tag) => {
                self.open.date = Some(format!("{:?}", tag.program_date_time()));
            }
            hls::Tag::Gap(_) => self.open.is_gap = true,
            hls::Tag::Inf(tag) => self.open.duration_ms = ms(tag.duration()),
            hls::Tag::Part(tag) => self.open.parts.push(ListedPart {
                uri: tag.uri().to_owned(),
                duration_ms: ms(tag.duration()),
                is_independent: tag.independent(),
            }),
            hls::Tag::PreloadHint(tag) => {
                assert!(self.hint.is_none(), "one hint of each type");
                self.hint = Some(tag.uri().to_owned());
            }
            hls::Tag::Endlist(_) => self.is_ended = true,
            other => panic!("{other:?}"),
        }
    }

    /// Whether `next` is this one, slid on: a prefix removed, a suffix added.
    pub(crate) fn check_next(&self, next: &Self) {
        assert_eq!(
            (self.target_ms, self.part_target_ms, self.hold_back_ms, self.part_hold_back_ms),
            (next.target_ms, next.part_target_ms, next.hold_back_ms, next.part_hold_back_ms),
        );
        let removed = next.first.checked_sub(self.first).unwrap() as usize;
        let discontinuities =
            self.segments[..removed].iter().filter(|segment| segment.has_discontinuity).count();
        assert_eq!(
            next.discontinuity_sequence,
            self.discontinuity_sequence + discontinuities as u64
        );
        for (old, new) in self.segments[removed..].iter().zip(&next.segments) {
            let without_parts = |segment: &Listed| Listed { parts: Vec::new(), ..segment.clone() };
            assert_eq!(without_parts(old), without_parts(new), "a segment is described once");
            assert!(new.parts.is_empty() || new.parts == old.parts, "parts go, and do not change");
        }
        let next_open = next.segments.get(self.segments.len() - removed).unwrap_or(&next.open);
        if !next_open.parts.is_empty() {
            assert!(next_open.parts.starts_with(&self.open.parts), "parts are added behind");
        }
        if removed > 0 {
            let left: u64 = next.segments.iter().map(|segment| segment.duration_ms).sum();
            assert!(left >= 3 * next.target_ms, "{left} ms are left behind a removal");
        }
        assert!(!self.is_ended, "nothing follows an end");
    }

    /// What holds for every version by itself.
    pub(crate) fn check(&self) {
        assert_eq!(self.version, if self.skipped > 0 { 9 } else { 6 });
        assert!(self.part_hold_back_ms >= 2 * self.part_target_ms);
        assert!(self.hold_back_ms >= 3 * self.target_ms);
        assert!(self.can_skip_until_ms >= 6 * self.target_ms);
        for segment in &self.segments {
            let rounded = (segment.duration_ms + 500) / 1000 * 1000;
            assert!(rounded <= self.target_ms, "{segment:?} in {}", self.target_ms);
            assert!(!segment.is_gap || segment.parts.is_empty(), "there is nothing in a gap");
            if !segment.parts.is_empty() {
                let parts: u64 = segment.parts.iter().map(|part| part.duration_ms).sum();
                assert_eq!(parts, segment.duration_ms, "{segment:?}");
            }
        }
        assert_eq!(self.hint.is_none(), self.is_ended);
    }
}
