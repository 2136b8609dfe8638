//! Gops: groups of pictures of the primary video track, and how long they are.

use serde::Serialize;

use crate::time::Timestamp;

/// A group of pictures: a keyframe and all pictures up to the next one.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Serialize)]
pub struct Gop {
    /// Where the keyframe is, in bytes.
    pub at: u64,
    /// The keyframe's timestamp.
    pub timestamp_ms: u32,
    /// Pictures, the keyframe included.
    pub frames: u32,
    /// Bytes of its video tags.
    pub bytes: u64,
    /// From keyframe to keyframe, negative if time stepped back; none for the last group.
    pub duration_ms: Option<i32>,
}

/// The least, the middle and the most.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Serialize)]
#[allow(missing_docs, reason = "their names say it")]
pub struct Spread {
    pub min: i64,
    pub median: i64,
    pub max: i64,
}

impl Spread {
    fn of(mut values: Vec<i64>) -> Option<Self> {
        values.sort_unstable();
        let (min, max) = (*values.first()?, *values.last()?);
        Some(Self { min, median: values[values.len() / 2], max })
    }
}

/// What the groups of pictures are like.
///
/// Whether a group is open (has pictures that need the group before) is not known: it takes more
/// than headers to tell.
#[derive(Clone, PartialEq, Debug, Serialize)]
pub struct GopReport {
    /// How many there are, the last and unfinished one included.
    pub count: u64,
    /// Pictures before the first keyframe, which belong to none.
    pub frames_before: u64,
    /// From keyframe to keyframe, of those listed.
    pub duration_ms: Option<Spread>,
    /// Pictures, of those listed and complete.
    pub frames: Option<Spread>,
    /// Bytes, of those listed and complete.
    pub bytes: Option<Spread>,
    /// The first 16384 of them.
    pub list: Vec<Gop>,
}

/// Groups that are listed: nine hours of groups of two seconds, half a megabyte.
const LISTED_MAX: usize = 1 << 14;

#[derive(Default)]
pub(super) struct Gops {
    list: Vec<Gop>,
    count: u64,
    frames_before: u64,
}

impl Gops {
    pub(super) fn add(&mut self, is_keyframe: bool, at: u64, timestamp: Timestamp, len: usize) {
        let len = len as u64;
        if is_keyframe {
            self.end_last(timestamp);
            self.count += 1;
            if self.list.len() < LISTED_MAX {
                let timestamp_ms = timestamp.as_ms();
                self.list.push(Gop { at, timestamp_ms, frames: 1, bytes: len, duration_ms: None });
            }
        } else if self.count == 0 {
            self.frames_before += 1;
        } else if self.count == self.list.len() as u64
            && let Some(last) = self.list.last_mut()
        {
            last.frames = last.frames.saturating_add(1);
            last.bytes += len;
        }
    }

    fn end_last(&mut self, next: Timestamp) {
        if let Some(last) = self.list.last_mut() {
            let start = Timestamp::from_ms(last.timestamp_ms);
            last.duration_ms = last.duration_ms.or(Some(next.since(start)));
        }
    }

    pub(super) fn report(&self) -> Option<GopReport> {
        if self.count == 0 && self.frames_before == 0 {
            return None;
        }
        let complete = || self.list.iter().filter(|gop| gop.duration_ms.is_some());
        Some(GopReport {
            count: self.count,
            frames_before: self.frames_before,
            duration_ms: Spread::of(
                complete().filter_map(|gop| gop.duration_ms.map(i64::from)).collect(),
            ),
            frames: Spread::of(complete().map(|gop| gop.frames.into()).collect()),
            bytes: Spread::of(complete().map(|gop| gop.bytes as i64).collect()),
            list: self.list.clone(),
        })
    }
}
