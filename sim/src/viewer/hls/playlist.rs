//! Media playlists (RFC 8216 and its second edition), read strictly.

use std::collections::BTreeMap;
use std::time::Duration;

use xxhash_rust::xxh3::xxh3_64;

/// A media playlist.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Playlist {
    /// `EXT-X-TARGETDURATION`, in seconds.
    pub target_duration: u64,
    /// `EXT-X-MEDIA-SEQUENCE`.
    pub media_sequence: u64,
    /// `EXT-X-DISCONTINUITY-SEQUENCE`.
    pub discontinuity_sequence: u64,
    /// `PART-TARGET`.
    pub part_target: Option<Duration>,
    /// `CAN-BLOCK-RELOAD=YES`.
    pub can_block: bool,
    /// Complete segments.
    pub segments: Vec<Segment>,
    /// Of the segment that is not complete.
    pub parts: Vec<Part>,
    /// URI of the part that comes next.
    pub hint: Option<String>,
    /// `EXT-X-ENDLIST`.
    pub is_ended: bool,
}

/// A segment in a playlist.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Segment {
    /// Its media sequence number.
    pub sequence: u64,
    /// `EXTINF`.
    pub duration: Duration,
    /// Where it is.
    pub uri: String,
    /// Where its initialization section is.
    pub map: String,
    /// A discontinuity comes before it.
    pub is_discontinuity: bool,
    /// `EXT-X-GAP`: it is not there.
    pub is_gap: bool,
    /// Its parts, where they are still listed.
    pub parts: Vec<Part>,
    /// Digest of all that is said of it, except its parts.
    pub said: u64,
}

/// A part of a segment.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Part {
    /// `DURATION`.
    pub duration: Duration,
    /// Where it is.
    pub uri: String,
    /// It begins with a keyframe.
    pub is_independent: bool,
    /// It is not there.
    pub is_gap: bool,
}

impl Playlist {
    /// Reads a playlist.
    ///
    /// # Errors
    ///
    /// What is wrong with it.
    pub fn parse(text: &str) -> Result<Self, String> {
        if !text.starts_with("#EXTM3U\n") || !text.ends_with('\n') {
            return Err("no #EXTM3U at its start, or no end of line at its end".to_owned());
        }
        let mut playlist = Self::default();
        let mut segment = Segment::default();
        let (mut map, mut said, mut has_target) = (String::new(), String::new(), false);
        for line in text.lines().skip(1).filter(|line| !line.is_empty()) {
            let (tag, value) = match line.strip_prefix('#') {
                None => ("", line),
                Some(tag) => tag.split_once(':').unwrap_or((tag, "")),
            };
            // Not the map: it is said again in front of whatever is the first.
            let is_of_segment = matches!(
                tag,
                "" | "EXTINF" | "EXT-X-DISCONTINUITY" | "EXT-X-GAP" | "EXT-X-PROGRAM-DATE-TIME"
            );
            if is_of_segment {
                said.push_str(line);
                said.push('\n');
            }
            match tag {
                "EXT-X-TARGETDURATION" => {
                    (playlist.target_duration, has_target) = (number(value)?, true);
                }
                "EXT-X-MEDIA-SEQUENCE" => playlist.media_sequence = number(value)?,
                "EXT-X-DISCONTINUITY-SEQUENCE" => playlist.discontinuity_sequence = number(value)?,
                "EXT-X-SERVER-CONTROL" => {
                    let control = attributes(value)?;
                    playlist.can_block =
                        control.get("CAN-BLOCK-RELOAD").is_some_and(|v| v == "YES");
                }
                "EXT-X-PART-INF" => {
                    playlist.part_target = Some(seconds(&required(value, "PART-TARGET")?)?);
                }
                "EXT-X-PRELOAD-HINT" if required(value, "TYPE")? == "PART" => {
                    playlist.hint = Some(required(value, "URI")?);
                }
                "EXT-X-PART" => segment.parts.push(part(value)?),
                "EXT-X-MAP" => map = required(value, "URI")?,
                "EXT-X-DISCONTINUITY" => segment.is_discontinuity = true,
                "EXT-X-GAP" => segment.is_gap = true,
                "EXTINF" => segment.duration = seconds(value.split(',').next().unwrap_or(""))?,
                "EXT-X-ENDLIST" => playlist.is_ended = true,
                "" => {
                    segment.uri = value.to_owned();
                    segment.map = map.clone();
                    said.push_str(&map);
                    segment.said = xxh3_64(said.as_bytes());
                    segment.sequence = playlist.next_sequence();
                    said.clear();
                    playlist.segments.push(std::mem::take(&mut segment));
                }
                _ => {}
            }
        }
        playlist.parts = segment.parts;
        has_target.then_some(playlist).ok_or_else(|| "no target duration".to_owned())
    }

    /// The number that the next complete segment will have.
    pub fn next_sequence(&self) -> u64 {
        self.media_sequence + self.segments.len() as u64
    }

    /// How far it has come: segments, then parts of the next.
    pub fn progress(&self) -> (u64, u64) {
        (self.next_sequence(), self.parts.len() as u64)
    }

    /// Of all complete segments.
    pub fn duration(&self) -> Duration {
        self.segments.iter().map(|segment| segment.duration).sum()
    }

    /// The segment of this number.
    pub fn segment(&self, sequence: u64) -> Option<&Segment> {
        self.segments.get(usize::try_from(sequence.checked_sub(self.media_sequence)?).ok()?)
    }

    /// Everything that can be fetched, but for initialization sections.
    pub fn uris(&self) -> impl Iterator<Item = &str> {
        let parts = self.segments.iter().flat_map(|segment| &segment.parts).chain(&self.parts);
        let parts = parts.filter(|part| !part.is_gap).map(|part| part.uri.as_str());
        let segments = self.segments.iter().filter(|segment| !segment.is_gap);
        segments.map(|segment| segment.uri.as_str()).chain(parts)
    }
}

fn number(text: &str) -> Result<u64, String> {
    text.parse().map_err(|_| format!("{text:?} is no number"))
}

fn seconds(text: &str) -> Result<Duration, String> {
    let wrong = || format!("{text:?} is no duration");
    let seconds: f64 = text.parse().map_err(|_| wrong())?;
    Duration::try_from_secs_f64(seconds).map_err(|_| wrong())
}

fn part(value: &str) -> Result<Part, String> {
    let attributes = attributes(value)?;
    let is = |name: &str| attributes.get(name).is_some_and(|value| value == "YES");
    Ok(Part {
        duration: seconds(&required(value, "DURATION")?)?,
        uri: required(value, "URI")?,
        is_independent: is("INDEPENDENT"),
        is_gap: is("GAP"),
    })
}

fn required(value: &str, name: &str) -> Result<String, String> {
    attributes(value)?.remove(name).ok_or_else(|| format!("no {name} in {value:?}"))
}

/// `NAME=value,NAME="quoted, value"`.
fn attributes(text: &str) -> Result<BTreeMap<String, String>, String> {
    let wrong = || format!("attributes {text:?}");
    let mut found = BTreeMap::new();
    let mut rest = text;
    while !rest.is_empty() {
        let (name, value) = rest.split_once('=').ok_or_else(wrong)?;
        let (value, behind) = match value.strip_prefix('"') {
            Some(quoted) => quoted.split_once('"').ok_or_else(wrong)?,
            None => value.split_at(value.find(',').unwrap_or(value.len())),
        };
        found.insert(name.to_owned(), value.to_owned());
        rest = behind.strip_prefix(',').unwrap_or(behind);
    }
    Ok(found)
}

/// Where a URI of a playlist leads.
pub fn resolve(playlist: &str, uri: &str) -> String {
    let folder = playlist.split('?').next().unwrap_or("").rsplit_once('/').map_or("", |it| it.0);
    if uri.starts_with('/') { uri.to_owned() } else { format!("{folder}/{uri}") }
}
