//! Follow: the endless file. A viewer is a place in the presentation, and takes its parts.

use std::sync::Arc;

use bytes::Bytes;

use super::window::{Init, Segment, Window};

/// Where a viewer of the endless file is: behind the init section, before this part.
#[derive(Clone, Debug)]
pub struct Position {
    init: Arc<Init>,
    number: u64,
    part: usize,
    time_ms: u64,
    /// How far behind it began: that is no lag.
    debt_ms: u64,
}

/// What comes next for such a viewer.
#[derive(Debug)]
pub enum Follow {
    /// These fragments, shared with everybody.
    Fragments(Vec<Bytes>),
    /// It was too slow and goes on with a keyframe, so much later.
    Skipped {
        /// Stream time left out.
        ms: u64,
    },
    /// Nothing until there is a new part.
    Pending,
    /// Nothing ever again: the stream is over, or goes on with other tracks, which are another file.
    End,
}

impl Position {
    /// The init section, to be given first.
    pub fn init(&self) -> &Arc<Init> {
        &self.init
    }
}

impl Window {
    /// The newest place where a decoder can start. A little of the past, where every place is one.
    pub(super) fn join(&self) -> Option<Position> {
        let newest_ms = self.newest_ms();
        let segments = self.listed.iter().map(|segment| &**segment).chain(&self.open);
        let position = |segment: &Segment, part: usize| Position {
            init: segment.init.clone(),
            number: segment.number,
            part,
            time_ms: segment.parts[part].start_ms,
            debt_ms: newest_ms - segment.parts[part].start_ms,
        };
        segments.rev().find_map(|segment| {
            let has_video = segment.init.has_video;
            let is_start = |&part: &usize| segment.parts[part].starts_with_key;
            let mut parts = 0..segment.parts.len();
            let part = if has_video { parts.rfind(is_start) } else { parts.find(is_start) };
            part.map(|part| position(segment, part))
        })
    }

    fn newest_ms(&self) -> u64 {
        let newest = self.open.as_ref().filter(|open| !open.parts.is_empty());
        let newest = newest.or_else(|| self.listed.back().map(|segment| &**segment));
        newest.map_or(0, |segment| segment.start_ms + segment.duration_ms)
    }

    /// Takes what there is from `position` on, about `len_max` bytes. Further than `behind_ms_max`
    /// behind, beyond what it began with, a viewer skips to the newest place to start.
    pub(super) fn follow(
        &self,
        position: &mut Position,
        len_max: usize,
        behind_ms_max: u64,
    ) -> Follow {
        let behind_ms = self.newest_ms().saturating_sub(position.time_ms);
        position.debt_ms = position.debt_ms.min(behind_ms);
        let is_gone =
            position.number < self.open_number() && self.segment(position.number).is_none();
        if is_gone || behind_ms > behind_ms_max.saturating_add(position.debt_ms) {
            let newest = self.join().filter(|join| join.time_ms > position.time_ms);
            if let Some(newest) = newest {
                if newest.init.number != position.init.number {
                    return Follow::End;
                }
                let ms = newest.time_ms - position.time_ms;
                *position = newest;
                return Follow::Skipped { ms };
            }
        }
        let (mut fragments, mut len) = (Vec::new(), 0);
        while len < len_max
            && let Some(segment) = self.any_segment(position.number)
        {
            if segment.init.number != position.init.number {
                return if fragments.is_empty() {
                    Follow::End
                } else {
                    Follow::Fragments(fragments)
                };
            }
            match segment.parts.get(position.part) {
                Some(part) => {
                    len += part.bytes.len();
                    fragments.push(part.bytes.clone());
                    position.part += 1;
                    position.time_ms = part.start_ms + part.duration_ms;
                }
                None if position.number < self.open_number() => {
                    (position.number, position.part) = (position.number + 1, 0);
                }
                None => break,
            }
        }
        match fragments.is_empty() {
            false => Follow::Fragments(fragments),
            true if self.is_ended => Follow::End,
            true => Follow::Pending,
        }
    }

    fn any_segment(&self, number: u64) -> Option<&Segment> {
        match &self.open {
            Some(open) if open.number == number => Some(open),
            _ => self.segment(number).map(|segment| &**segment),
        }
    }
}
