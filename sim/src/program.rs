//! Program: what runs on the nodes of a world, if it is not the shipped server. It listens and
//! speaks on the simulated network, and says at its [`Place`] what enters its hub: publishers,
//! viewers, faults and judges are the same.
//!
//! What it does not say cannot be judged: without accounts nobody adds up (H4), and nothing asks for
//! gauges that it has not (section 1.4 of the invariants).

use std::collections::BTreeMap;
use std::fmt;
use std::future::Future;
use std::io;
use std::net::SocketAddr;
use std::pin::Pin;
use std::sync::{Arc, Mutex, PoisonError};

use forebay::config::Config;
use tokio::sync::Notify;

use crate::net::SimNet;
use crate::recorder::Recorder;
use crate::tag::{Kind, TagSeen};
use crate::trace::{Account, LagCause, What, Who};

type Running = Pin<Box<dyn Future<Output = io::Result<()>>>>;

/// A server of somebody's own.
#[derive(Clone)]
pub struct Program(Arc<dyn Fn(Place) -> Running>);

impl Program {
    /// A program that is started at each node, and again after each crash and each stop of it. It
    /// listens at once, on the addresses of [`Place::config`], and serves until [`Place::stopped`].
    ///
    /// Time is tokio's, and all its tasks are tokio's on the thread they are spawned on. What
    /// else it reads of the world, as a real clock, makes two runs of one seed differ.
    pub fn new<F>(start: impl Fn(Place) -> F + 'static) -> Self
    where
        F: Future<Output = io::Result<()>> + 'static,
    {
        Self(Arc::new(move |place| Box::pin(start(place))))
    }

    pub(crate) async fn run(&self, place: Place) -> io::Result<()> {
        (self.0)(place).await
    }
}

impl fmt::Debug for Program {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Program")
    }
}

/// Where a program runs: a node of a world, in one life of it. Clones are the same place.
#[derive(Clone)]
pub struct Place {
    who: Who,
    net: SimNet,
    config: Arc<Config>,
    seed: u64,
    stop: Arc<Notify>,
    recorder: Recorder,
    streams: Arc<Mutex<BTreeMap<String, Stream>>>,
}

/// What was said of a stream.
#[derive(Default)]
struct Stream {
    sessions: u64,
    tags: u64,
}

impl Place {
    pub(crate) fn new(
        who: Who,
        net: SimNet,
        config: Config,
        seed: u64,
        stop: Arc<Notify>,
        recorder: Recorder,
    ) -> Self {
        let (config, streams) = (Arc::new(config), Arc::default());
        Self { who, net, config, seed, stop, recorder, streams }
    }

    /// The node's network.
    pub fn net(&self) -> &SimNet {
        &self.net
    }

    /// By what the node is judged: the defaults, with what the world [sets](crate::World::set).
    /// Peers dial the addresses in it.
    pub fn config(&self) -> &Config {
        &self.config
    }

    /// For whatever it draws, another in each life.
    pub fn seed(&self) -> u64 {
        self.seed
    }

    /// Resolves when the node is told to stop.
    pub async fn stopped(&self) {
        self.stop.notified().await;
        // Whoever else waits is told as well.
        self.stop.notify_one();
    }

    fn push(&self, who: Who, what: What) {
        self.recorder.push_unless_muted(who, what);
    }

    fn with<T>(&self, key: &str, f: impl FnOnce(&mut Stream) -> T) -> T {
        let mut streams = self.streams.lock().unwrap_or_else(PoisonError::into_inner);
        f(streams.entry(key.to_owned()).or_default())
    }

    /// Somebody begins to publish this stream.
    pub fn begins(&self, key: &str) {
        self.with(key, |stream| stream.sessions += 1);
    }

    /// A tag of this stream is there for viewers. It is said in order, and before any viewer can
    /// have the tag.
    pub fn entered(&self, key: &str, kind: Kind, timestamp_ms: u32, payload: &[u8]) {
        let (session, number) = self.with(key, |stream| {
            stream.tags += 1;
            (stream.sessions, stream.tags)
        });
        let tag = TagSeen::of(kind, timestamp_ms, payload);
        self.push(self.who, What::Entered { key: key.into(), session, number, tag });
    }

    /// This stream is over, and its viewers are told.
    pub fn over(&self, key: &str) {
        self.push(self.who, What::Over { key: key.into() });
    }

    /// So many tags were withheld from a viewer, before the next that it is given.
    pub fn lost(&self, viewer: SocketAddr, cause: LagCause, tags: u64, bytes: u64) {
        let from = viewer.to_string();
        if let Some(who) = self.recorder.at_address(&from) {
            self.push(who, What::Lag { from: from.into(), cause, tags, bytes });
        }
    }

    /// A viewer's account, when its connection is over.
    pub fn account(&self, viewer: SocketAddr, account: Account) {
        let from = viewer.to_string();
        if let Some(who) = self.recorder.at_address(&from) {
            self.push(who, What::Account { from: from.into(), account });
        }
    }
}
