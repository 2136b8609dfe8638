//! Board: what of each stream is recorded, for the API and the metrics.

use std::collections::BTreeMap;

use crate::archive::Status;
use crate::hub::StreamKey;
use crate::shell::recover::{Action, Recovered};
use crate::sync::Mutex;

/// What is known of all streams that are being recorded, and what came of those that were.
#[derive(Default)]
pub(in crate::shell) struct Board {
    inner: Mutex<Inner>,
}

#[derive(Default)]
struct Inner {
    streams: BTreeMap<StreamKey, Report>,
    /// Of streams that are over.
    past: Totals,
    recovered: u64,
}

/// Of one stream.
#[derive(Clone, Default)]
pub(in crate::shell) struct Report {
    pub(in crate::shell) status: Status,
    /// The file that is being written.
    pub(in crate::shell) file: Option<String>,
    /// Why there is none.
    pub(in crate::shell) failure: Option<String>,
}

/// Since the start.
#[derive(Clone, Copy, Default)]
pub(in crate::shell) struct Totals {
    pub(in crate::shell) tags: u64,
    pub(in crate::shell) written_bytes: u64,
    pub(in crate::shell) syncs: u64,
    pub(in crate::shell) files: u64,
    pub(in crate::shell) gaps: u64,
    pub(in crate::shell) missing_tags: u64,
    pub(in crate::shell) errors: u64,
    pub(in crate::shell) recovered_files: u64,
}

impl Totals {
    fn add(&mut self, status: &Status) {
        self.tags += status.tags;
        self.written_bytes += status.written_bytes;
        self.syncs += status.syncs;
        self.files += status.files;
        self.gaps += status.gaps;
        self.missing_tags += status.missing.tags;
        self.errors += status.errors;
    }
}

impl Board {
    pub(super) fn update(&self, key: &StreamKey, report: Report) {
        self.inner.lock().streams.insert(key.clone(), report);
    }

    /// The stream is over.
    pub(super) fn remove(&self, key: &StreamKey) {
        let mut inner = self.inner.lock();
        if let Some(report) = inner.streams.remove(key) {
            inner.past.add(&report.status);
        }
    }

    pub(super) fn count_recovered(&self, done: &Recovered) {
        if done.action == Action::Recovered {
            self.inner.lock().recovered += 1;
        }
    }

    pub(in crate::shell) fn of(&self, key: &StreamKey) -> Option<Report> {
        self.inner.lock().streams.get(key).cloned()
    }

    pub(in crate::shell) fn totals(&self) -> Totals {
        let inner = self.inner.lock();
        let mut totals = inner.past;
        inner.streams.values().for_each(|report| totals.add(&report.status));
        totals.recovered_files = inner.recovered;
        totals
    }
}
