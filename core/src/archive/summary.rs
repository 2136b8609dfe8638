//! Summary: what the tags of a file come to, for its head.

use crate::flv::{Tag, TagKind, TagRole, script};
use crate::rope::Rope;

/// Keyframes in the index of a file, at most. Past it every second one is left out, again and again.
pub(super) const INDEX_MAX: usize = 1_800;

/// What is known of the tags behind a head. The same tags in the same places give the same summary,
/// whether they were just written or are read again.
#[derive(Clone, Default, Debug)]
pub(super) struct Summary {
    /// Of sound and pictures.
    pub(super) last_ms: u32,
    pub(super) tags: u64,
    pub(super) has_audio: bool,
    pub(super) has_video: bool,
    /// The publisher's, if he said it before any sound or picture.
    pub(super) metadata: Option<Rope>,
    /// When, and where in the file.
    pub(super) keyframes: Vec<(u32, u64)>,
    /// Of how many keyframes one is in the index, as a power of two.
    pub(super) stride_log2: u32,
    pub(super) keyframe_count: u64,
}

impl Summary {
    /// One more tag, which begins at `at` in the file.
    pub(super) fn add(&mut self, at: u64, tag: &Tag) {
        self.tags += 1;
        match tag.kind {
            TagKind::Script => {
                let is_first = self.metadata.is_none() && !self.has_audio && !self.has_video;
                if is_first && script::is_on_meta_data(&tag.payload) {
                    self.metadata = Some(tag.payload.detach());
                }
                return;
            }
            TagKind::Audio => self.has_audio = true,
            TagKind::Video => self.has_video = true,
        }
        self.last_ms = self.last_ms.max(tag.timestamp.as_ms());
        if tag.role() == TagRole::Keyframe {
            self.keyframe(tag.timestamp.as_ms(), at);
        }
    }

    fn keyframe(&mut self, ms: u32, at: u64) {
        let is_due = self.keyframe_count.trailing_zeros() >= self.stride_log2;
        self.keyframe_count += 1;
        if !is_due {
            return;
        }
        if self.keyframes.len() == INDEX_MAX {
            let mut nth = 0;
            self.keyframes.retain(|_| {
                nth += 1;
                nth % 2 == 1
            });
            self.stride_log2 += 1;
        }
        self.keyframes.push((ms, at));
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::time::Timestamp;

    #[test]
    fn an_index_that_is_full_keeps_every_second_keyframe_evenly() {
        let mut summary = Summary::default();
        for n in 0..10 * INDEX_MAX as u32 {
            let payload = Rope::from(&[0x17, 1, 0, 0, 0, 9][..]);
            let timestamp = Timestamp::from_ms(n);
            summary.add(u64::from(n), &Tag { kind: TagKind::Video, timestamp, payload });
            assert!(summary.keyframes.len() <= INDEX_MAX);
        }
        let steps: Vec<_> =
            summary.keyframes.windows(2).map(|pair| pair[1].0 - pair[0].0).collect();
        assert_eq!(steps, vec![16; steps.len()]);
        assert!(steps.len() >= INDEX_MAX / 2, "{}", steps.len());
    }
}
