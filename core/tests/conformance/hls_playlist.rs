//! Playlists as RFC 8216 and its second edition describe them, read strictly.

use std::collections::BTreeMap;

/// A media playlist.
#[derive(Clone, Debug, Default, PartialEq)]
pub(crate) struct Playlist {
    pub(crate) version: Option<u32>,
    pub(crate) target_duration: u32,
    pub(crate) media_sequence: u64,
    pub(crate) discontinuity_sequence: u64,
    pub(crate) server_control: BTreeMap<String, String>,
    pub(crate) part_target: Option<f64>,
    pub(crate) playlist_type: Option<String>,
    /// Of a delta update: how many segments are left out in front of those listed.
    pub(crate) skipped: Option<u64>,
    pub(crate) segments: Vec<Segment>,
    /// Of the segment that is not complete yet.
    pub(crate) parts: Vec<Part>,
    pub(crate) hints: Vec<BTreeMap<String, String>>,
    pub(crate) is_ended: bool,
}

#[derive(Clone, Debug, Default, PartialEq)]
pub(crate) struct Segment {
    pub(crate) sequence: u64,
    pub(crate) duration: f64,
    pub(crate) uri: String,
    pub(crate) is_discontinuity: bool,
    pub(crate) is_gap: bool,
    /// In force, wherever it was said.
    pub(crate) map: String,
    pub(crate) date: Option<String>,
    pub(crate) parts: Vec<Part>,
    /// Everything said of it, except its parts.
    pub(crate) lines: Vec<String>,
}

#[derive(Clone, Debug, Default, PartialEq)]
pub(crate) struct Part {
    pub(crate) duration: f64,
    pub(crate) uri: String,
    pub(crate) is_independent: bool,
    pub(crate) is_gap: bool,
}

impl Playlist {
    /// Panics with what is wrong with it.
    #[track_caller]
    pub(crate) fn parse(text: &str) -> Self {
        assert!(text.starts_with("#EXTM3U\n"), "it begins with {:?}", text.lines().next());
        assert!(text.ends_with('\n'), "cut in its last line");
        let mut playlist = Self::default();
        let mut segment = Segment::default();
        let mut map = String::new();
        let mut seen: BTreeMap<&str, u32> = BTreeMap::new();
        for line in text.lines().skip(1).filter(|line| !line.is_empty()) {
            let (tag, value) = match line.strip_prefix('#') {
                None => ("", line),
                Some(tag) => tag.split_once(':').unwrap_or((tag, "")),
            };
            *seen.entry(tag).or_default() += 1;
            let part = |attributes: &BTreeMap<String, String>| Part {
                duration: attributes["DURATION"].parse().unwrap(),
                uri: attributes["URI"].clone(),
                is_independent: attributes.get("INDEPENDENT").is_some_and(|yes| yes == "YES"),
                is_gap: attributes.get("GAP").is_some_and(|yes| yes == "YES"),
            };
            match tag {
                "EXT-X-VERSION" => playlist.version = Some(value.parse().unwrap()),
                "EXT-X-TARGETDURATION" => playlist.target_duration = value.parse().unwrap(),
                "EXT-X-MEDIA-SEQUENCE" => playlist.media_sequence = value.parse().unwrap(),
                "EXT-X-DISCONTINUITY-SEQUENCE" => {
                    playlist.discontinuity_sequence = value.parse().unwrap();
                    assert!(playlist.segments.is_empty(), "{line} behind a segment");
                }
                "EXT-X-SERVER-CONTROL" => playlist.server_control = attributes(value),
                "EXT-X-PART-INF" => {
                    playlist.part_target = Some(attributes(value)["PART-TARGET"].parse().unwrap());
                }
                "EXT-X-PLAYLIST-TYPE" => playlist.playlist_type = Some(value.to_owned()),
                "EXT-X-INDEPENDENT-SEGMENTS" => {}
                "EXT-X-SKIP" => {
                    assert!(playlist.segments.is_empty(), "{line} behind a segment");
                    playlist.skipped = Some(attributes(value)["SKIPPED-SEGMENTS"].parse().unwrap());
                }
                "EXT-X-ENDLIST" => playlist.is_ended = true,
                "EXT-X-PRELOAD-HINT" => playlist.hints.push(attributes(value)),
                "EXT-X-PART" => segment.parts.push(part(&attributes(value))),
                "EXT-X-MAP" => {
                    // Said again in front of whatever is the first, so it is none of its lines.
                    map = attributes(value)["URI"].clone();
                }
                "EXT-X-DISCONTINUITY" => {
                    segment.is_discontinuity = true;
                    segment.lines.push(line.to_owned());
                }
                "EXT-X-GAP" => {
                    segment.is_gap = true;
                    segment.lines.push(line.to_owned());
                }
                "EXT-X-PROGRAM-DATE-TIME" => {
                    segment.date = Some(value.to_owned());
                    segment.lines.push(line.to_owned());
                }
                "EXTINF" => {
                    let (duration, _title) = value.split_once(',').expect("EXTINF ends in a comma");
                    segment.duration = duration.parse().unwrap();
                    segment.lines.push(line.to_owned());
                }
                "" => {
                    segment.lines.push(line.to_owned());
                    segment.uri = value.to_owned();
                    segment.map = map.clone();
                    playlist.segments.push(std::mem::take(&mut segment));
                }
                tag if tag.starts_with("EXT") => panic!("unknown tag {line}"),
                _comment => {}
            }
        }
        playlist.parts = segment.parts;
        for once in ["EXT-X-VERSION", "EXT-X-TARGETDURATION", "EXT-X-MEDIA-SEQUENCE", "EXT-X-SKIP"]
        {
            assert!(seen.get(once).is_none_or(|&n| n == 1), "{once} more than once");
        }
        assert_eq!(seen.get("EXT-X-TARGETDURATION"), Some(&1), "a target duration is required");
        let first = playlist.media_sequence + playlist.skipped.unwrap_or(0);
        for (segment, sequence) in playlist.segments.iter_mut().zip(first..) {
            segment.sequence = sequence;
        }
        playlist
    }

    /// The number that the next complete segment will have.
    pub(crate) fn next_sequence(&self) -> u64 {
        self.media_sequence + self.skipped.unwrap_or(0) + self.segments.len() as u64
    }

    pub(crate) fn duration(&self) -> f64 {
        self.segments.iter().map(|segment| segment.duration).sum()
    }

    pub(crate) fn control(&self, name: &str) -> f64 {
        let value = self.server_control.get(name).unwrap_or_else(|| panic!("no {name}"));
        value.parse().unwrap()
    }

    /// The segment and the part that come next: what is asked for by `_HLS_msn` and `_HLS_part`.
    pub(crate) fn next_part(&self) -> (u64, u64) {
        (self.next_sequence(), self.parts.len() as u64)
    }

    /// How far it has come, as the spec orders playlists: by segments, then by parts.
    pub(crate) fn progress(&self) -> (u64, u64) {
        self.next_part()
    }
}

/// `NAME=value,NAME="quoted, value"`.
pub(crate) fn attributes(text: &str) -> BTreeMap<String, String> {
    let mut found = BTreeMap::new();
    let mut rest = text;
    while !rest.is_empty() {
        let (name, value) = rest.split_once('=').unwrap_or_else(|| panic!("attribute in {text}"));
        let (value, behind) = match value.strip_prefix('"') {
            Some(quoted) => quoted.split_once('"').expect("a closing quote"),
            None => value.split_at(value.find(',').unwrap_or(value.len())),
        };
        assert!(found.insert(name.to_owned(), value.to_owned()).is_none(), "{name} twice: {text}");
        rest = behind.strip_prefix(',').unwrap_or(behind);
    }
    found
}

/// Where a URI in a playlist leads (RFC 3986, as far as these need it).
pub(crate) fn resolve(base: &str, uri: &str) -> String {
    let base = base.split('?').next().unwrap();
    match uri.starts_with('/') {
        true => uri.to_owned(),
        false => format!("{}/{uri}", base.rsplit_once('/').unwrap().0),
    }
}
