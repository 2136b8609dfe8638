//! Source: a capture's tags, or a part of them, with the time at which an encoder has each.

use std::cmp::Reverse;
use std::time::Duration;

use crate::capture::{Capture, CaptureTag};
use crate::tag::{Kind, Role, role_and_codec};
use crate::time::SimTime;

/// What an encoder produces once.
pub(super) struct Source {
    /// Metadata, audio header, video header, and what else comes before media.
    pub(super) preamble: Vec<CaptureTag>,
    /// Milliseconds since the first, its index in the capture, and the tag.
    pub(super) media: Vec<(u64, u32, CaptureTag)>,
    /// The timestamp of the first media.
    pub(super) first_ms: u32,
    /// How long it is, up to where it could begin again.
    pub(super) cycle_ms: u64,
    /// How far timestamps have moved then.
    pub(super) timestamps_ms: u32,
}

/// A step of timestamps over this takes no time: it is a jump and not silence.
const STEP_MS_MAX: i64 = 1_000;

/// What has come before the encoder could send: one of each, the last.
fn replace(preamble: &mut Vec<CaptureTag>, tag: &CaptureTag) {
    // Tracks differ in the first byte: legacy or multitrack.
    let key = |tag: &CaptureTag| {
        let (role, _) = role_and_codec(tag.kind, &tag.payload);
        (tag.kind, role, tag.payload.first().copied())
    };
    match preamble.iter_mut().find(|known| key(known) == key(tag)) {
        Some(known) => *known = tag.clone(),
        None => preamble.push(tag.clone()),
    }
}

impl Source {
    pub(super) fn new(
        capture: &Capture,
        part: Option<(SimTime, SimTime)>,
        keep: impl Fn(Kind) -> bool,
    ) -> Result<Self, String> {
        let role = |tag: &CaptureTag| role_and_codec(tag.kind, &tag.payload).0;
        let is_coded = |role: Role| role.is_picture() || role == Role::Sound;
        let tags = || capture.tags.iter().enumerate().filter(|(_, tag)| keep(tag.kind));
        let has_pictures = tags().any(|(_, tag)| role(tag).is_picture());
        let (from, to) = part.unwrap_or((SimTime::ZERO, SimTime::MAX));
        let nothing = || format!("{} has nothing to send there", capture.name);

        let (mut preamble, mut media) = (Vec::new(), Vec::<(u64, u32, CaptureTag)>::new());
        let (mut clock, mut first_of_capture, mut started) = (None::<Clock>, None, false);
        for (index, tag) in tags() {
            let role = role(tag);
            if clock.is_none() && !is_coded(role) {
                preamble.push(tag.clone());
                continue;
            }
            let clock = clock.get_or_insert(Clock { zero_ms: tag.timestamp_ms, now_ms: 0 });
            first_of_capture.get_or_insert(tag.timestamp_ms);
            let due_ms = clock.at(tag.timestamp_ms);
            let at = SimTime::from_millis(due_ms);
            if at >= to {
                break;
            }
            let may_start = if has_pictures { role == Role::Keyframe } else { is_coded(role) };
            // The whole capture begins where it begins.
            started |= part.is_none() || at >= from && may_start;
            if started {
                media.push((due_ms, index as u32, tag.clone()));
            } else if matches!(role, Role::Header | Role::Script) {
                replace(&mut preamble, tag);
            }
        }
        let (start_ms, _, first) = media.first().ok_or_else(nothing)?;
        let (start_ms, first_of_part) = (*start_ms, first.timestamp_ms);
        let first_ms = first_of_capture.unwrap_or(first_of_part);
        // A part begins as the capture does.
        let shift = first_of_part.wrapping_sub(first_ms);
        for (due_ms, _, tag) in &mut media {
            *due_ms -= start_ms;
            tag.timestamp_ms = tag.timestamp_ms.wrapping_sub(shift);
        }
        preamble.sort_by_key(|tag| {
            (Reverse(tag.kind == Kind::Script), Reverse(tag.kind == Kind::Audio))
        });
        if part.is_some() {
            preamble.iter_mut().for_each(|tag| tag.timestamp_ms = first_ms);
        }
        let step_ms = step_ms(&media);
        // Some encoders end with a tag whose timestamp is below the last but one.
        let (last_ms, last) = media.iter().fold((0, first_ms), |(at, last), (due_ms, _, tag)| {
            if *due_ms > at { (*due_ms, tag.timestamp_ms) } else { (at, last) }
        });
        let timestamps_ms = last.wrapping_sub(first_ms).wrapping_add(step_ms as u32);
        Ok(Self { preamble, media, first_ms, cycle_ms: last_ms + step_ms, timestamps_ms })
    }

    /// Time between the starts of two rounds.
    pub(super) fn cycle(&self) -> Duration {
        Duration::from_millis(self.cycle_ms)
    }
}

/// The encoder's clock, told from timestamps.
struct Clock {
    /// The timestamp of time zero.
    zero_ms: u32,
    now_ms: u64,
}

impl Clock {
    /// Never goes back; jumps take no time.
    fn at(&mut self, timestamp_ms: u32) -> u64 {
        let expected = self.zero_ms.wrapping_add(self.now_ms as u32);
        let step = i64::from(timestamp_ms.wrapping_sub(expected) as i32);
        if step.abs() > STEP_MS_MAX {
            self.zero_ms = timestamp_ms.wrapping_sub(self.now_ms as u32);
        } else {
            self.now_ms += step.max(0) as u64;
        }
        self.now_ms
    }
}

/// The usual time between two pictures, or between two sounds if there are none.
fn step_ms(media: &[(u64, u32, CaptureTag)]) -> u64 {
    let of = |kind: Kind| {
        let times = media.iter().filter(|(_, _, tag)| tag.kind == kind).map(|(due_ms, ..)| *due_ms);
        let times: Vec<_> = times.collect();
        let span = times.last().zip(times.first()).map(|(last, first)| last - first);
        span.map(|span| span / (times.len() as u64 - 1).max(1)).filter(|&step| step > 0)
    };
    of(Kind::Video).or(of(Kind::Audio)).unwrap_or(33)
}
