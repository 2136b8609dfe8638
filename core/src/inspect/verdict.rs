//! Verdict: intact, odd or damaged, and why.

use std::fmt;

use serde::Serialize;

use super::report::Report;
use super::steps::Step;
use super::track::TrackReport;

/// In a word.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Status {
    /// All bytes are tags, and nothing is odd about these.
    Intact,
    /// All bytes are tags, and something about these may trouble a player.
    Odd,
    /// Some bytes are no tags.
    Damaged,
}

/// In a word, and why. As text it is one line.
#[derive(Clone, PartialEq, Eq, Debug, Serialize)]
pub struct Verdict {
    /// In a word.
    pub status: Status,
    /// The same as a line of text.
    pub text: String,
    /// What may trouble a player, also if there is damage besides.
    pub odd: Vec<Oddity>,
}

/// Something that may trouble a player.
#[derive(Clone, PartialEq, Eq, Debug, Serialize)]
pub struct Oddity {
    /// For programs.
    pub kind: OddityKind,
    /// For people.
    pub text: String,
}

/// What may trouble a player.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug, Serialize)]
#[serde(rename_all = "snake_case")]
#[allow(missing_docs, reason = "their names say it, and the text of the oddity the rest")]
pub enum OddityKind {
    NoMedia,
    NoSequenceHeader,
    StartsWithoutKeyframe,
    SequenceHeaderChanges,
    TimeWraps,
    TimeCrosses24Bits,
    TimeLosesExtendedByte,
    TimeStepsBack,
    TimeJumps,
    FramesMissing,
    EmptyTags,
    DuplicatedFrames,
    UnreadableTags,
    WrongPreviousTagSizes,
    UnfinishedMessage,
}

impl fmt::Display for Verdict {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.text)
    }
}

impl Verdict {
    pub(super) fn unknown() -> Self {
        Self { status: Status::Intact, text: String::new(), odd: Vec::new() }
    }

    /// What all of `report` but its verdict amounts to. `noted` is odd already.
    pub(super) fn of(report: &Report, noted: Vec<Oddity>) -> Self {
        let mut odd = noted;
        odd.extend(oddities(report));
        let (status, text) = match report.damage.regions.first() {
            Some(first) => {
                let text = format!("damaged at byte {}: {}", first.from, first.what);
                (Status::Damaged, text + &extent(report))
            }
            None if odd.is_empty() => (Status::Intact, "intact".to_owned()),
            None => {
                let texts: Vec<_> = odd.iter().map(|oddity| oddity.text.as_str()).collect();
                (Status::Odd, format!("odd: {}", texts.join("; ")))
            }
        };
        Self { status, text, odd }
    }
}

fn extent(report: &Report) -> String {
    let damage = &report.damage;
    let regions = if damage.count > 1 {
        format!("; {} regions, {} bytes in all", damage.count, damage.bytes)
    } else {
        format!("; {}", counted(damage.bytes, "byte"))
    };
    format!("{regions}, {} recovered behind", counted(damage.tags_behind, "tag"))
}

fn oddities(report: &Report) -> Vec<Oddity> {
    let mut odd = Vec::new();
    let mut note = |kind, text| odd.push(Oddity { kind, text });
    if report.tracks.iter().all(|track| track.frames == 0) {
        note(OddityKind::NoMedia, "there is no audio and no video".to_owned());
    }
    if let Some(gops) = report.gops.as_ref().filter(|gops| gops.frames_before > 0) {
        let frames = counted(gops.frames_before, "picture");
        note(OddityKind::StartsWithoutKeyframe, format!("{frames} before the first keyframe"));
    }
    for header in report.sequence_headers.iter().filter(|header| header.is_change) {
        let text = format!(
            "the {} sequence header changes at {}, to {}",
            header.kind,
            seconds(header.timestamp_ms),
            header.describes
        );
        note(OddityKind::SequenceHeaderChanges, text);
    }
    for track in &report.tracks {
        odd_times(track, &mut note);
    }
    let tags = &report.tags;
    if tags.empty > 0 {
        let first =
            report.empty.first().map_or(String::new(), |tag| format!(", first at byte {}", tag.at));
        note(OddityKind::EmptyTags, format!("{}{first}", counted(tags.empty, "empty tag")));
    }
    let duplicates = report.tracks.iter().map(|track| track.duplicates).sum();
    if let (true, Some(first)) = (duplicates > 0, report.duplicates.first()) {
        let text =
            format!("{}, first at byte {}", counted(duplicates, "duplicated frame"), first.at);
        note(OddityKind::DuplicatedFrames, text);
    }
    if tags.unreadable > 0 {
        let text = format!("{} cut inside their own header", counted(tags.unreadable, "tag"));
        note(OddityKind::UnreadableTags, text);
    }
    odd
}

/// Two frames' place or more, if it is no habit.
const MISSING_MIN: i32 = 3;
/// Of a hundred steps, how many may be gaps before they are a habit: a variable frame rate.
const HABIT_PERCENT: u64 = 5;

fn odd_times(track: &TrackReport, note: &mut impl FnMut(OddityKind, String)) {
    let (name, steps) = (name(track), &track.steps);
    if track.frames_before_sequence_header > 0 {
        let frames = counted(track.frames_before_sequence_header, "frame");
        note(OddityKind::NoSequenceHeader, format!("{name}: {frames} without a sequence header"));
    }
    if let Some(step) = steps.wraps.first() {
        note(OddityKind::TimeWraps, format!("{name} time passes 2^32 ms {}", place(step)));
    }
    if let Some(step) = steps.crosses_24_bits.first() {
        note(OddityKind::TimeCrosses24Bits, format!("{name} time passes 2^24 ms {}", place(step)));
    }
    if let Some(step) = steps.backward.iter().find(|step| loses_extended_byte(step)) {
        let text = format!("{name} time falls back by 2^24 ms {}: no extended byte", place(step));
        note(OddityKind::TimeLosesExtendedByte, text);
    } else if let Some(largest) = steps.backward.iter().min_by_key(|step| step.step_ms) {
        let times = times(steps.backward_count);
        let by = seconds(largest.step_ms.unsigned_abs());
        let text = format!("{name} time steps back {times}, by up to {by} {}", place(largest));
        note(OddityKind::TimeStepsBack, text);
    }
    if let Some(largest) = steps.jumps.iter().max_by_key(|step| step.step_ms) {
        let (times, by) = (times(steps.jump_count), seconds(largest.step_ms as u32));
        let text = format!("{name} time jumps {times}, by up to {by} {}", place(largest));
        note(OddityKind::TimeJumps, text);
    }
    let typical = steps.typical_ms.unwrap_or_default().max(1);
    let missing = |step: &&Step| {
        step.step_ms <= 1000 && (step.step_ms + typical / 4) / typical >= MISSING_MIN
    };
    if let Some(largest) = steps.gaps.iter().filter(missing).max_by_key(|step| step.step_ms)
        && steps.gap_count * 100 <= track.frames * HABIT_PERCENT
    {
        let by = format!("{} ms instead of {typical}", largest.step_ms);
        let text = format!("{name} frames are missing: a step of {by} {}", place(largest));
        note(OddityKind::FramesMissing, text);
    }
}

/// 2^24 ms less than it would have been.
fn loses_extended_byte(step: &Step) -> bool {
    const SLACK_MS: i32 = 1000;
    (step.step_ms + (1 << 24)).abs() <= SLACK_MS
}

fn name(track: &TrackReport) -> String {
    match track.id {
        0 => track.kind.to_owned(),
        id => format!("{} track {id}", track.kind),
    }
}

fn place(step: &Step) -> String {
    format!("at {} (byte {})", seconds(step.from_ms), step.at)
}

fn seconds(ms: u32) -> String {
    format!("{}.{:03} s", ms / 1000, ms % 1000)
}

fn times(count: u64) -> String {
    if count == 1 { "once".to_owned() } else { format!("{count} times") }
}

fn counted(count: u64, what: &str) -> String {
    if count == 1 { format!("1 {what}") } else { format!("{count} {what}s") }
}
