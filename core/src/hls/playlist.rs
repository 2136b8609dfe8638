//! Playlists: what a window looks like to a player (RFC 8216 and its second edition's drafts).
//!
//! Written by hand: it is a dozen lines, numbers are whole milliseconds, and a line is never written
//! in two ways. Tests read it with a parser of others.

use std::collections::VecDeque;
use std::fmt::Write as _;
use std::time::Duration;

use super::window::{Part, Segment, Window};

/// `EXT-X-VERSION` that `EXT-X-MAP` and `EXT-X-SKIP` need (RFC 8216 7; bis 8).
const VERSION: u32 = 6;
const VERSION_OF_DELTA: u32 = 9;
/// In target durations: what skipped segments are older than, where players start, and how far from
/// the end parts are listed.
const CAN_SKIP_UNTIL: u64 = 6;
const HOLD_BACK: u64 = 3;
const PARTS_LISTED: u64 = 3;
/// In part targets.
const PART_HOLD_BACK: u64 = 3;
/// Of what is promised over what was seen: the next segments may be larger, and a player with one
/// variant has no other choice anyway.
pub(super) const HEADROOM: u64 = 2;
/// Segments past the last listed one that may be asked for.
const SEGMENTS_AHEAD_MAX: u64 = 2;

/// Whether old segments may be left out.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug)]
pub enum Delta {
    /// All of it.
    Full,
    /// `_HLS_skip=YES`.
    Skip,
}

/// The delivery directives of a playlist's URL (bis 6.2.5).
#[derive(Clone, Copy, Default, PartialEq, Eq, Debug)]
pub struct PlaylistRequest {
    /// `_HLS_msn`: not before this segment is listed.
    pub number: Option<u64>,
    /// `_HLS_part`: or this part of it.
    pub part: Option<u64>,
    /// `_HLS_skip`.
    pub skip: bool,
}

/// Why a playlist's URL makes no sense.
#[derive(Clone, PartialEq, Eq, Debug, thiserror::Error)]
#[allow(missing_docs, reason = "the message of each variant says it")]
pub enum RequestError {
    #[error("_HLS_part without _HLS_msn")]
    PartWithoutSegment,
    #[error("{name}={value} is no number")]
    NotANumber { name: String, value: String },
    #[error("_HLS_msn={number} is too far ahead: the last segment is {last}")]
    SegmentTooFar { number: u64, last: u64 },
    #[error("_HLS_part={part} of segment {number} is too far ahead")]
    PartTooFar { number: u64, part: u64 },
}

impl PlaylistRequest {
    /// Reads the directives in a query. Others than these do not matter.
    pub fn parse(query: &str) -> Result<Self, RequestError> {
        let mut request = Self::default();
        for pair in query.split('&') {
            let (name, value) = pair.split_once('=').unwrap_or((pair, ""));
            let number = || {
                let (name, text) = (name.to_owned(), value.to_owned());
                value.parse().map_err(|_| RequestError::NotANumber { name, value: text })
            };
            match name {
                "_HLS_msn" => request.number = Some(number()?),
                "_HLS_part" => request.part = Some(number()?),
                "_HLS_skip" => request.skip = matches!(value, "YES" | "v2"),
                _ => {}
            }
        }
        if request.part.is_some() && request.number.is_none() {
            return Err(RequestError::PartWithoutSegment);
        }
        Ok(request)
    }

    /// Which playlist answers it.
    pub fn delta(&self) -> Delta {
        if self.skip { Delta::Skip } else { Delta::Full }
    }

    /// Whether the window has what is asked for; not yet, if not.
    pub(super) fn is_met(&self, window: &Window) -> Result<bool, RequestError> {
        let Some(number) = self.number.filter(|_| !window.is_ended) else { return Ok(true) };
        // The open segment is the one behind the last listed.
        let open = window.open_number();
        if number > open - 1 + SEGMENTS_AHEAD_MAX {
            return Err(RequestError::SegmentTooFar { number, last: open - 1 });
        }
        let Some(part) = self.part else { return Ok(number < open) };
        let open_parts = window.open.as_ref().map_or(0, |open| open.parts.len() as u64);
        let there = if number == open { open_parts } else { 0 };
        if number >= open && part >= there + parts_ahead_max(window.part_target_ms) {
            return Err(RequestError::PartTooFar { number, part });
        }
        let parts_of =
            |number| window.segment(number).map_or(0, |segment| segment.parts.len() as u64);
        Ok(match number {
            number if number > open => false,
            number if number == open => open_parts > part,
            // A part past the last one of its segment is the first of the next.
            number if number + 1 == open && part >= parts_of(number) => open_parts > 0,
            _ => true,
        })
    }
}

/// bis 6.2.5.2: the Advance Part Limit.
fn parts_ahead_max(part_target_ms: u64) -> u64 {
    if part_target_ms < 1000 { 3000u64.div_ceil(part_target_ms.max(1)) } else { 3 }
}

/// How segments, parts and init sections are called.
pub(super) struct Names<'a>(pub(super) &'a str);

impl Names<'_> {
    pub(super) fn segment(&self, number: u64) -> String {
        format!("seg-{}-{number}.m4s", self.0)
    }

    pub(super) fn part(&self, number: u64, part: usize) -> String {
        format!("part-{}-{number}-{part}.m4s", self.0)
    }

    pub(super) fn init(&self, number: u64) -> String {
        format!("init-{}-{number}.m4s", self.0)
    }
}

/// Milliseconds as seconds.
struct Seconds(u64);

impl std::fmt::Display for Seconds {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{}.{:03}", self.0 / 1000, self.0 % 1000)
    }
}

/// The media playlist. Empty before the window is ready.
pub(super) fn media(window: &Window, names: &Names<'_>, delta: Delta) -> String {
    let mut out = String::with_capacity(8 << 10);
    if let Some(target_ms) = window.target_ms.filter(|_| window.is_ready()) {
        let _infallible = write_media(&mut out, window, names, delta, target_ms);
    }
    out
}

fn write_media(
    out: &mut String,
    window: &Window,
    names: &Names<'_>,
    delta: Delta,
    target_ms: u64,
) -> std::fmt::Result {
    let listed_ms: u64 = window.listed.iter().map(|segment| segment.duration_ms).sum();
    let open = window.open.as_ref().filter(|_| !window.is_ended);
    let mut left_ms = listed_ms + open.map_or(0, |open| open.duration_ms);
    let first = window.listed.front().map_or(window.open_number(), |segment| segment.number);
    let skipped = match delta {
        Delta::Skip if !window.is_ended => {
            let mut left_ms = left_ms;
            let is_old = |duration_ms: u64| {
                left_ms -= duration_ms;
                left_ms >= CAN_SKIP_UNTIL * target_ms
            };
            window
                .listed
                .iter()
                .map(|segment| segment.duration_ms)
                .map_while({
                    let mut is_old = is_old;
                    move |duration_ms| is_old(duration_ms).then_some(())
                })
                .count()
        }
        _ => 0,
    };
    let version = if skipped > 0 { VERSION_OF_DELTA } else { VERSION };
    writeln!(out, "#EXTM3U\n#EXT-X-VERSION:{version}")?;
    writeln!(out, "#EXT-X-TARGETDURATION:{}", target_ms / 1000)?;
    writeln!(
        out,
        "#EXT-X-SERVER-CONTROL:CAN-BLOCK-RELOAD=YES,CAN-SKIP-UNTIL={},HOLD-BACK={},PART-HOLD-BACK={}",
        Seconds(CAN_SKIP_UNTIL * target_ms),
        Seconds(HOLD_BACK * target_ms),
        Seconds(PART_HOLD_BACK * window.part_target_ms),
    )?;
    writeln!(out, "#EXT-X-PART-INF:PART-TARGET={}", Seconds(window.part_target_ms))?;
    writeln!(out, "#EXT-X-MEDIA-SEQUENCE:{first}")?;
    writeln!(out, "#EXT-X-DISCONTINUITY-SEQUENCE:{}", window.discontinuity_sequence)?;
    if skipped > 0 {
        writeln!(out, "#EXT-X-SKIP:SKIPPED-SEGMENTS={skipped}")?;
    }
    let mut init = None;
    for (index, segment) in window.listed.iter().enumerate() {
        let new_init = (init != Some(segment.init.number)).then_some(segment.init.number);
        init = Some(segment.init.number);
        if index >= skipped {
            // Whoever skips has the section that was in force before.
            let known = skipped > 0 && index == skipped && {
                window.listed[index - 1].init.number == segment.init.number
            };
            let new_init = new_init.filter(|_| !known);
            write_segment_head(out, names, new_init, segment.has_discontinuity, segment.utc)?;
            if left_ms <= PARTS_LISTED * target_ms {
                write_parts(out, segment, names)?;
            }
            if segment.is_gap {
                writeln!(out, "#EXT-X-GAP")?;
            }
            let name = names.segment(segment.number);
            writeln!(out, "#EXTINF:{},\n{name}", Seconds(segment.duration_ms))?;
        }
        left_ms -= segment.duration_ms;
    }
    if window.is_ended {
        return writeln!(out, "#EXT-X-ENDLIST");
    }
    let (number, part) = match open {
        Some(open) => {
            if !open.parts.is_empty() {
                let new_init = (init != Some(open.init.number)).then_some(open.init.number);
                write_segment_head(out, names, new_init, open.has_discontinuity, open.utc)?;
                write_parts(out, open, names)?;
            }
            (open.number, open.parts.len())
        }
        None => (window.open_number(), 0),
    };
    writeln!(out, "#EXT-X-PRELOAD-HINT:TYPE=PART,URI=\"{}\"", names.part(number, part))
}

fn write_segment_head(
    out: &mut String,
    names: &Names<'_>,
    init: Option<u64>,
    has_discontinuity: bool,
    utc: Duration,
) -> std::fmt::Result {
    // In front of what belongs to the segment alone, so that it stays when the segment goes.
    if let Some(number) = init {
        writeln!(out, "#EXT-X-MAP:URI=\"{}\"", names.init(number))?;
    }
    if has_discontinuity {
        writeln!(out, "#EXT-X-DISCONTINUITY")?;
    }
    writeln!(out, "#EXT-X-PROGRAM-DATE-TIME:{}", DateTime(utc))
}

fn write_parts(out: &mut String, segment: &Segment, names: &Names<'_>) -> std::fmt::Result {
    for (index, Part { duration_ms, is_independent, .. }) in segment.parts.iter().enumerate() {
        let duration = Seconds(*duration_ms);
        let name = names.part(segment.number, index);
        write!(out, "#EXT-X-PART:DURATION={duration},URI=\"{name}\"")?;
        writeln!(out, "{}", if *is_independent { ",INDEPENDENT=YES" } else { "" })?;
    }
    Ok(())
}

/// What a playlist says of a segment that is kept elsewhere.
#[derive(Clone, Debug)]
pub(super) struct Shelved {
    pub(super) number: u64,
    pub(super) duration_ms: u64,
    pub(super) init: u64,
    pub(super) has_discontinuity: bool,
    pub(super) utc: Duration,
    pub(super) is_gap: bool,
}

impl Shelved {
    pub(super) fn of(segment: &Segment) -> Self {
        let Segment { number, duration_ms, has_discontinuity, utc, is_gap, .. } = *segment;
        Self { number, duration_ms, init: segment.init.number, has_discontinuity, utc, is_gap }
    }
}

/// The media playlist of segments that are kept where nobody answers questions: without parts.
pub(super) fn shelved(
    listed: &VecDeque<Shelved>,
    names: &Names<'_>,
    target: Duration,
    discontinuity_sequence: u64,
    is_ended: bool,
) -> String {
    let mut out = String::with_capacity(4 << 10);
    let first = listed.front().map_or(0, |first| first.number);
    let mut write = || {
        writeln!(out, "#EXTM3U\n#EXT-X-VERSION:{VERSION}")?;
        writeln!(out, "#EXT-X-TARGETDURATION:{}", target.as_secs())?;
        writeln!(out, "#EXT-X-MEDIA-SEQUENCE:{first}")?;
        writeln!(out, "#EXT-X-DISCONTINUITY-SEQUENCE:{discontinuity_sequence}")?;
        let mut init = None;
        for shelved in listed {
            let new_init = (init != Some(shelved.init)).then_some(shelved.init);
            init = Some(shelved.init);
            write_segment_head(&mut out, names, new_init, shelved.has_discontinuity, shelved.utc)?;
            if shelved.is_gap {
                writeln!(out, "#EXT-X-GAP")?;
            }
            let (duration, name) = (Seconds(shelved.duration_ms), names.segment(shelved.number));
            writeln!(out, "#EXTINF:{duration},\n{name}")?;
        }
        if is_ended {
            writeln!(out, "#EXT-X-ENDLIST")?;
        }
        std::fmt::Result::Ok(())
    };
    let _infallible = write();
    out
}

/// The multivariant playlist: one variant, which is in `media.m3u8`. Empty before there is any.
pub(super) fn multivariant(window: &Window) -> String {
    let Some(init) = window.newest_init() else { return String::new() };
    let mean = window.bits_per_second_mean.max(1);
    let peak = bandwidth(window);
    let mut out = String::from("#EXTM3U\n#EXT-X-STREAM-INF:");
    let mut attributes = format!("BANDWIDTH={peak},AVERAGE-BANDWIDTH={mean}");
    let _infallible = write!(attributes, ",CODECS=\"{}\"", init.codecs);
    if let Some((width, height)) = init.resolution {
        let _infallible = write!(attributes, ",RESOLUTION={width}x{height}");
    }
    if let Some(rate) = init.frames_per_1000_s {
        let _infallible = write!(attributes, ",FRAME-RATE={}", Seconds(rate));
    }
    out.push_str(&attributes);
    out.push_str("\nmedia.m3u8\n");
    out
}

/// What the multivariant playlist promises to be enough for any segment, in bits per second.
pub(super) fn bandwidth(window: &Window) -> u64 {
    (window.bits_per_second_max * HEADROOM).max(window.bits_per_second_mean).max(1)
}

/// Time since the Unix epoch as ISO 8601 has it, in UTC.
struct DateTime(Duration);

impl std::fmt::Display for DateTime {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let (seconds, ms) = (self.0.as_secs(), self.0.subsec_millis());
        let (days, second) = (seconds / 86_400, seconds % 86_400);
        // Years that begin in March have their leap day at the end: 400 of them have 146,097 days.
        let shifted = days + 719_468;
        let (era, day) = (shifted / 146_097, shifted % 146_097);
        let year_of_era = (day - day / 1_460 + day / 36_524 - day / 146_096) / 365;
        let day_of_year = day - (365 * year_of_era + year_of_era / 4 - year_of_era / 100);
        let month_from_march = (5 * day_of_year + 2) / 153;
        let day_of_month = day_of_year - (153 * month_from_march + 2) / 5 + 1;
        let month = if month_from_march < 10 { month_from_march + 3 } else { month_from_march - 9 };
        let year = era * 400 + year_of_era + u64::from(month <= 2);
        let (hour, minute, second) = (second / 3600, second / 60 % 60, second % 60);
        write!(
            f,
            "{year:04}-{month:02}-{day_of_month:02}T{hour:02}:{minute:02}:{second:02}.{ms:03}Z"
        )
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn dates_are_those_of_the_calendar() {
        let date = |seconds: u64| DateTime(Duration::from_millis(seconds * 1000 + 7)).to_string();
        assert_eq!(date(0), "1970-01-01T00:00:00.007Z");
        assert_eq!(date(951_782_400), "2000-02-29T00:00:00.007Z");
        assert_eq!(date(1_709_251_199), "2024-02-29T23:59:59.007Z");
        assert_eq!(date(1_798_761_599), "2026-12-31T23:59:59.007Z");
        assert_eq!(date(4_107_542_400), "2100-03-01T00:00:00.007Z");
    }

    #[test]
    fn directives_are_read_and_others_left_alone() {
        let read = PlaylistRequest::parse;
        assert_eq!(read(""), Ok(PlaylistRequest::default()));
        assert_eq!(
            read("token=x&_HLS_msn=12&_HLS_part=3&_HLS_skip=YES&_HLS_report=y"),
            Ok(PlaylistRequest { number: Some(12), part: Some(3), skip: true })
        );
        assert_eq!(read("_HLS_part=3"), Err(RequestError::PartWithoutSegment));
        assert_eq!(
            read("_HLS_msn=-1").map_err(|error| error.to_string()),
            Err("_HLS_msn=-1 is no number".to_owned())
        );
    }
}
