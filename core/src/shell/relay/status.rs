//! What relays are doing, for the API and the metrics.

use std::collections::BTreeMap;
use std::time::Duration;

use super::super::Shared;
use crate::hub::StreamKey;
use crate::sync::Mutex;

/// All relays of streams that are live or may return.
#[derive(Default)]
pub(in crate::shell) struct Board {
    relays: Mutex<BTreeMap<(StreamKey, usize), Status>>,
}

/// What one relay is doing.
#[derive(Clone, Debug)]
pub struct Status {
    /// Where to, without what is secret.
    pub target: String,
    /// Doing what.
    pub phase: Phase,
    /// Why the last connection or attempt came to nothing.
    pub reason: Option<String>,
    /// Connections dialled.
    pub attempts: u64,
    /// Given to connections.
    pub sent_tags: u64,
    /// Their payload bytes.
    pub sent_bytes: u64,
    /// Lost because the target was slow or away.
    pub lag_tags: u64,
    /// Not sent because the target lacks the beginning of their GOP: the connection was cut in it.
    pub skipped_tags: u64,
    /// Waiting to be sent, when something was last.
    pub backlog_tags: u64,
}

impl Status {
    pub(super) fn new(target: String) -> Self {
        Self {
            target,
            phase: Phase::Connecting,
            reason: None,
            attempts: 0,
            sent_tags: 0,
            sent_bytes: 0,
            lag_tags: 0,
            skipped_tags: 0,
            backlog_tags: 0,
        }
    }
}

/// The state of a relay, as it is shown.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Phase {
    /// It dials, or waits for the target to accept.
    Connecting,
    /// The target accepted.
    Live,
    /// Until then, since the Unix epoch.
    Backoff(Duration),
    /// It has given up.
    Rejected,
}

impl Phase {
    pub(in crate::shell) const NAMES: [&str; 4] = ["connecting", "live", "backoff", "rejected"];

    pub(in crate::shell) fn name(self) -> &'static str {
        match self {
            Self::Connecting => "connecting",
            Self::Live => "live",
            Self::Backoff(_) => "backoff",
            Self::Rejected => "rejected",
        }
    }
}

impl Board {
    /// All of them.
    pub(in crate::shell) fn all(&self) -> Vec<(StreamKey, Status)> {
        let relays = self.relays.lock();
        relays.iter().map(|((key, _), status)| (key.clone(), status.clone())).collect()
    }

    /// The relays of one stream, in the order of the configuration.
    pub(in crate::shell) fn of(&self, key: &StreamKey) -> Vec<Status> {
        let relays = self.relays.lock();
        let from = (key.clone(), 0)..=(key.clone(), usize::MAX);
        relays.range(from).map(|(_, status)| status.clone()).collect()
    }
}

/// One relay's place on the board, for as long as it runs.
pub(super) struct Place<'a> {
    board: &'a Board,
    id: (StreamKey, usize),
}

impl<'a> Place<'a> {
    pub(super) fn take(shared: &'a Shared, key: &StreamKey, index: usize, status: Status) -> Self {
        let id = (key.clone(), index);
        shared.relays.relays.lock().insert(id.clone(), status);
        Self { board: &shared.relays, id }
    }

    pub(super) fn change(&self, change: impl FnOnce(&mut Status)) {
        if let Some(status) = self.board.relays.lock().get_mut(&self.id) {
            change(status);
        }
    }
}

impl Drop for Place<'_> {
    fn drop(&mut self) {
        self.board.relays.lock().remove(&self.id);
    }
}
