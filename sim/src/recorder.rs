//! Recorder: writes the trace while a run goes on. Clones write into the same trace.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Instant;

use crate::time::SimTime;
use crate::trace::{Event, Trace, What, Who};

/// Where everything that happens is written down.
#[derive(Clone, Default)]
pub(crate) struct Recorder(Arc<Mutex<Inner>>);

#[derive(Default)]
struct Inner {
    now: SimTime,
    /// On real time: when the run began. The clock is read at every event then.
    since: Option<Instant>,
    trace: Trace,
    /// Whose connection comes from which address.
    addresses: BTreeMap<String, Who>,
    /// A process is being killed: what its destructors say, it would never have said.
    is_muted: bool,
    /// Goals that were reached.
    reached: BTreeSet<&'static str>,
}

impl Inner {
    fn now(&self) -> SimTime {
        self.since.map_or(self.now, |since| since.elapsed().into())
    }
}

impl Recorder {
    pub(crate) fn new() -> Self {
        let recorder = Self::default();
        recorder.lock().trace = Trace::new();
        recorder
    }

    /// The run begins now, on real time. What happened before is at zero.
    pub(crate) fn begin_real_time(&self) {
        self.lock().since = Some(Instant::now());
    }

    fn lock(&self) -> MutexGuard<'_, Inner> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// The grain of a trace's time is the world's step: hosts run one after the other in it, and a
    /// finer time would not be in order.
    pub(crate) fn set_now(&self, now: SimTime) {
        self.lock().now = now;
    }

    /// The time by which events are recorded.
    pub(crate) fn now(&self) -> SimTime {
        self.lock().now()
    }

    pub(crate) fn set_muted(&self, is_muted: bool) {
        self.lock().is_muted = is_muted;
    }

    pub(crate) fn who(&self, name: &str) -> Who {
        self.lock().trace.who(name)
    }

    pub(crate) fn push(&self, who: Who, what: What) {
        let mut inner = self.lock();
        let at = inner.now();
        inner.trace.push(at, who, what);
    }

    /// A goal that only the inside can see: once is enough.
    pub(crate) fn reach(&self, who: Who, goal: &'static str) {
        if self.lock().reached.insert(goal) {
            self.push(who, What::Goal(goal));
        }
    }

    /// What a node's program says.
    pub(crate) fn push_unless_muted(&self, who: Who, what: What) {
        if !self.lock().is_muted {
            self.push(who, what);
        }
    }

    pub(crate) fn dialed(&self, who: Who, node: Who, address: String) {
        self.lock().addresses.insert(address.clone(), who);
        self.push(who, What::Dialed { node, address: address.into() });
    }

    pub(crate) fn at_address(&self, address: &str) -> Option<Who> {
        self.lock().addresses.get(address).copied()
    }

    pub(crate) fn name(&self, who: Who) -> String {
        self.lock().trace.name(who).to_owned()
    }

    /// The address that somebody dialled from last.
    pub(crate) fn address_of(&self, who: Who) -> Option<String> {
        let inner = self.lock();
        let mut dialed = inner.trace.events.iter().rev().filter(|event| event.who == who);
        dialed.find_map(|event| match &event.what {
            What::Dialed { address, .. } => Some(address.to_string()),
            _ => None,
        })
    }

    /// Looks at what happened from the `from`th event on.
    pub(crate) fn each_since(&self, from: usize, mut f: impl FnMut(usize, &Event)) {
        let inner = self.lock();
        let events = inner.trace.events.iter().enumerate().skip(from);
        events.for_each(|(index, event)| f(index, event));
    }

    /// The trace so far; the recorder begins a new one.
    pub(crate) fn take(&self) -> Trace {
        self.lock().reached.clear();
        std::mem::replace(&mut self.lock().trace, Trace::new())
    }
}
