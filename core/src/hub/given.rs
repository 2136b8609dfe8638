//! What a viewer was given and has not written: lists of tags, lent by the topic.

/// A tag in a viewer's batch.
#[derive(Clone, Copy)]
pub(super) struct GivenTag {
    /// Where it ends in the batch.
    pub(super) end: usize,
    pub(super) payload_len: u32,
    pub(super) is_orphan: bool,
}

/// Lists that are not in use. A viewer needs one from taking bytes until they are written, which is
/// a moment: thousands of viewers get along with as many lists as threads, allocate none, and hold
/// none while they wait.
#[derive(Default)]
pub(super) struct GivenLists {
    spare: Vec<Vec<GivenTag>>,
}

/// Lists kept: more than threads that write at a time.
const LISTS_MAX: usize = 64;
/// Tags that a kept list has room for, at most: seconds of a stream. Longer ones are a joiner's.
const LIST_TAGS_MAX: usize = 512;

impl GivenLists {
    /// An empty list.
    pub(super) fn lend(&mut self) -> Vec<GivenTag> {
        self.spare.pop().unwrap_or_default()
    }

    /// Takes a list back, whatever is in it.
    pub(super) fn give_back(&mut self, mut list: Vec<GivenTag>) {
        let is_list = (1..=LIST_TAGS_MAX).contains(&list.capacity());
        if is_list && self.spare.len() < LISTS_MAX {
            list.clear();
            self.spare.push(list);
        }
    }
}
