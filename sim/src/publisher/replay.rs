//! Replay: a recorded connection, sent again as it was.

use std::collections::VecDeque;
use std::time::Duration;

use super::Step;
use crate::capture::{Capture, CaptureTag, Wire};
use crate::plan;

/// What is left of a recorded connection.
pub(super) struct Replay {
    /// Up to the end of `publish`: due at once.
    before: VecDeque<Step>,
    /// At recorded times since `publish`.
    after: VecDeque<Step>,
}

impl Replay {
    pub(super) fn new(
        publish: &plan::Publish,
        capture: &Capture,
        wire: &Wire,
    ) -> Result<Self, String> {
        let name = &capture.name;
        if publish.key != wire.key {
            let (recorded, wanted) = (&wire.key, &publish.key);
            return Err(format!("{name} was recorded publishing {recorded}, not {wanted}"));
        }
        if publish.part.is_some() || publish.repeats {
            return Err(format!("{name} was recorded on the wire, and is sent whole and once"));
        }
        let mut tags = wire.tag_ends.iter().zip(&capture.tags).peekable();
        let (mut before, mut after) = (VecDeque::new(), VecDeque::new());
        let (mut end, mut allowed_at) = (0, Duration::ZERO);
        for (at, bytes) in &wire.records {
            let start = end;
            end += bytes.len() as u64;
            let mut complete = Vec::new();
            while let Some((tag_end, tag)) = tags.next_if(|(tag_end, _)| **tag_end <= end) {
                complete.push(((tag_end - start) as usize, CaptureTag::seen(tag)));
            }
            let bytes = bytes.clone();
            if start < wire.publish_end {
                allowed_at = *at;
                before.push_back(Step::Send { at: Duration::ZERO, bytes, tags: complete });
            } else {
                let at = at.saturating_sub(allowed_at);
                after.push_back(Step::Send { at, bytes, tags: complete });
            }
        }
        Ok(Self { before, after })
    }

    pub(super) fn poll(&mut self, may_publish: bool) -> Option<Step> {
        if let Some(step) = self.before.pop_front() {
            return Some(step);
        }
        if self.after.is_empty() || may_publish {
            return self.after.pop_front();
        }
        Some(Step::WaitForServer)
    }
}
