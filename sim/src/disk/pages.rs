//! Pages: a file's bytes as programs see them, and as they would be after a loss of power.

use std::collections::BTreeSet;

use crate::random::Rng;

/// What is written back as one: a page of the cache.
pub(super) const PAGE_LEN: usize = 4096;
/// What a device writes as a whole or not at all.
const SECTOR_LEN: usize = 512;

/// The bytes of a file.
#[derive(Clone, Debug, Default)]
pub(super) struct Pages {
    cached: Vec<u8>,
    durable: Vec<u8>,
    /// Pages that are to be written back.
    dirty: BTreeSet<usize>,
}

/// What a loss of power keeps of what was not synced.
#[derive(Clone, Copy)]
enum Keeps {
    Nothing,
    All,
    /// Each page by itself: all of it, nothing, or its first sectors.
    Each,
}

fn pages_of(at: usize, len: usize) -> std::ops::Range<usize> {
    at / PAGE_LEN..(at + len).div_ceil(PAGE_LEN)
}

impl Pages {
    /// Bytes that were there before the run.
    pub(super) fn of(bytes: Vec<u8>) -> Self {
        Self { durable: bytes.clone(), cached: bytes, dirty: BTreeSet::new() }
    }

    pub(super) fn bytes(&self) -> &[u8] {
        &self.cached
    }

    /// Bytes that are not on the device.
    pub(super) fn dirty_len(&self) -> usize {
        self.dirty.len() * PAGE_LEN
    }

    pub(super) fn write(&mut self, at: usize, bytes: &[u8]) {
        let end = at + bytes.len();
        if end > self.cached.len() {
            // A hole in front of it is there as well.
            self.dirty.extend(pages_of(self.cached.len(), end - self.cached.len()));
            self.cached.resize(end, 0);
        }
        self.cached[at..end].copy_from_slice(bytes);
        self.dirty.extend(pages_of(at, bytes.len()));
    }

    pub(super) fn truncate(&mut self, len: usize) {
        if len < self.cached.len() {
            self.cached.truncate(len);
            self.dirty.retain(|page| page * PAGE_LEN < len);
        }
    }

    /// Writes back all that is dirty.
    pub(super) fn sync(&mut self) {
        for page in std::mem::take(&mut self.dirty) {
            self.write_back(page);
        }
        self.durable.resize(self.cached.len(), 0);
    }

    /// All of it is on the device, also what was forgotten.
    pub(super) fn settle(&mut self) {
        self.dirty.clear();
        self.durable.clone_from(&self.cached);
    }

    /// The device fails while it is written to: what could not be written is forgotten, and
    /// whoever asks again is told that all is well.
    pub(super) fn fail_sync(&mut self, random: &mut Rng) {
        for page in std::mem::take(&mut self.dirty) {
            if random.bool() {
                self.write_back(page);
            }
        }
    }

    /// Some of it was written back when the process died.
    pub(super) fn sync_some(&mut self, random: &mut Rng) {
        for page in self.dirty.clone() {
            if random.bool() {
                self.write_back(page);
                self.dirty.remove(&page);
            }
        }
    }

    fn write_back(&mut self, page: usize) {
        let from = page * PAGE_LEN;
        let to = (from + PAGE_LEN).min(self.cached.len());
        keep(&mut self.durable, &self.cached, from, to);
    }

    /// The power is gone. Sizes and pages are written back in no order, so there may be a size
    /// without its bytes: zeros.
    pub(super) fn lose_power(&mut self, random: &mut Rng) {
        let keeps = [Keeps::Nothing, Keeps::All, Keeps::Each, Keeps::Each][random.usize(..4)];
        let (old, new) = (self.durable.len(), self.cached.len());
        let size = match keeps {
            Keeps::Nothing if random.u8(..3) > 0 => old,
            Keeps::Nothing | Keeps::All => new,
            Keeps::Each => match random.u8(..3) {
                0 => old,
                1 => new,
                _ => old.min(new) + random.usize(..=old.abs_diff(new)),
            },
        };
        let cached = std::mem::take(&mut self.cached);
        for page in std::mem::take(&mut self.dirty) {
            let (from, whole) = (page * PAGE_LEN, ((page + 1) * PAGE_LEN).min(new));
            let to = match keeps {
                Keeps::Nothing => from,
                Keeps::All => whole,
                Keeps::Each => match random.u8(..3) {
                    0 => from,
                    1 => whole,
                    _ => whole.min(from + SECTOR_LEN * random.usize(1..PAGE_LEN / SECTOR_LEN)),
                },
            };
            if from < to {
                keep(&mut self.durable, &cached, from, to);
            }
        }
        self.durable.resize(size, 0);
        self.cached.clone_from(&self.durable);
    }
}

fn keep(durable: &mut Vec<u8>, cached: &[u8], from: usize, to: usize) {
    if durable.len() < to {
        durable.resize(to, 0);
    }
    durable[from..to].copy_from_slice(&cached[from..to]);
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::random;

    fn after(seed: u64, write: impl Fn(&mut Pages)) -> Vec<u8> {
        let mut pages = Pages::default();
        pages.write(0, &[1; 5000]);
        pages.sync();
        write(&mut pages);
        pages.lose_power(&mut random::stream(seed, "test"));
        pages.bytes().to_vec()
    }

    #[test]
    fn what_was_synced_survives_and_what_was_not_may_be_there_or_not_or_in_part() {
        let ends: BTreeSet<_> =
            (0..400).map(|seed| after(seed, |pages| pages.write(5000, &[2; 9000]))).collect();
        assert!(ends.iter().all(|bytes| bytes.starts_with(&[1; 5000])));
        assert!(ends.contains(&vec![1; 5000]), "nothing of it");
        assert!(ends.contains(&[vec![1; 5000], vec![2; 9000]].concat()), "all of it");
        assert!(ends.contains(&[vec![1; 5000], vec![0; 9000]].concat()), "its size alone");
        let has_hole = |bytes: &Vec<u8>| {
            let hole = bytes[5000..].iter().position(|&byte| byte == 0);
            hole.is_some_and(|hole| bytes[5000 + hole..].contains(&2))
        };
        assert!(ends.iter().any(has_hole), "a hole in its middle");
        let is_torn = |bytes: &Vec<u8>| {
            bytes
                .iter()
                .position(|&byte| byte == 0)
                .is_some_and(|at| at % PAGE_LEN != 0 && at % SECTOR_LEN == 0)
        };
        assert!(ends.iter().any(is_torn), "a part of a page");
    }

    #[test]
    fn an_unsynced_cut_may_be_undone() {
        let ends: BTreeSet<_> =
            (0..50).map(|seed| after(seed, |pages| pages.truncate(4500)).len()).collect();
        assert!(ends.contains(&4500) && ends.contains(&5000), "{ends:?}");
    }

    #[test]
    fn what_a_failed_sync_forgot_no_later_one_brings_back() {
        let mut lost = 0;
        for seed in 0..20 {
            let bytes = after(seed, |pages| {
                pages.write(0, &[3; PAGE_LEN]);
                pages.fail_sync(&mut random::stream(seed, "sync"));
                pages.sync();
                assert!(pages.dirty.is_empty());
            });
            lost += usize::from(bytes[0] == 1);
        }
        assert!((5..15).contains(&lost), "{lost}");
    }
}
