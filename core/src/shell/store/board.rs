//! Board: what was copied to the store, for the API and the metrics.

use crate::hls::ShelfTotals;
use crate::sync::Mutex;
use tokio::sync::Notify;

/// What is known of the store.
#[derive(Default)]
pub(in crate::shell) struct Board {
    /// `None`: there is no store.
    counts: Mutex<Option<Counts>>,
    /// A recording is complete.
    pub(in crate::shell) recorded: Notify,
}

/// Since the start.
#[derive(Clone, Default)]
pub(in crate::shell) struct Counts {
    pub(in crate::shell) recordings: u64,
    pub(in crate::shell) recording_bytes: u64,
    /// Recordings that are complete and not there.
    pub(in crate::shell) waiting_recordings: u64,
    pub(in crate::shell) segments: u64,
    pub(in crate::shell) segment_bytes: u64,
    /// Segments that were not taken in time.
    pub(in crate::shell) missing_segments: u64,
    pub(in crate::shell) errors: u64,
    /// What failed last, until something succeeds.
    pub(in crate::shell) failure: Option<String>,
}

impl Board {
    pub(in crate::shell) fn counts(&self) -> Option<Counts> {
        self.counts.lock().clone()
    }

    /// There is a store from here on.
    pub(in crate::shell) fn begin(&self) {
        *self.counts.lock() = Some(Counts::default());
    }

    fn change(&self, change: impl FnOnce(&mut Counts)) {
        self.counts.lock().as_mut().map(change);
    }

    pub(super) fn waiting(&self, recordings: usize) {
        self.change(|counts| counts.waiting_recordings = recordings as u64);
    }

    pub(super) fn stored_recording(&self, bytes: u64) {
        self.change(|counts| {
            counts.recordings += 1;
            counts.recording_bytes += bytes;
        });
    }

    pub(super) fn stored_segments(&self, before: ShelfTotals, after: ShelfTotals) {
        self.change(|counts| {
            counts.segments += after.segments - before.segments;
            counts.segment_bytes += after.bytes - before.bytes;
            counts.missing_segments += after.missing_segments - before.missing_segments;
        });
    }

    pub(super) fn succeeded(&self) {
        self.change(|counts| counts.failure = None);
    }

    pub(super) fn failed(&self, failure: &str) {
        self.change(|counts| {
            counts.errors += 1;
            counts.failure = Some(failure.to_owned());
        });
    }
}
