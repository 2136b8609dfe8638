//! Server: which task runs what; the only place with tasks, sockets and a clock.
//!
//! A task per connection, and one that accepts for each listener. A publisher's task pushes into
//! the hub and is the clock of its topic: it wakes the viewers' tasks. Nothing waits for a viewer.

mod archive;
pub mod client;
mod consumers;
pub mod disk;
mod doze;
pub(crate) mod hls;
mod http;
mod ingest;
mod lag_log;
pub mod net;
mod play;
mod random;
mod receive;
pub mod recover;
mod relay;
mod rtmp;
mod stall;
pub mod store;
mod tls;
mod viewer_log;

use std::collections::BTreeMap;
use std::future::Future;
use std::io;
use std::net::SocketAddr;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::path::PathBuf;
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};
use std::task::Poll;
use std::time::{Duration, Instant};

use tokio::sync::{Notify, watch};
use tokio::task::AbortHandle;

use self::disk::Disk;
use self::net::{Net, Stream as _};
use self::relay::RelayConsumer;
pub use self::relay::{Phase as RelayPhase, Status as RelayStatus};
use self::store::Store;
use crate::blocks::{BlockCounters, BlockTotals};
use crate::config::Config;
use crate::hub::{Absence, Hub, StreamKey};
use crate::sync::Mutex;

/// The time, as the runtime tells it: simulated where the runtime is.
pub(crate) fn now() -> Instant {
    tokio::time::Instant::now().into_std()
}

/// What all tasks share.
pub(crate) struct Shared {
    config: Config,
    hub: Hub,
    archive: archive::Board,
    presentations: hls::Presentations,
    counters: Counters,
    /// Of the blocks that RTMP connections receive in.
    blocks: Arc<BlockTotals>,
    open_connections: AtomicUsize,
    closed_connection: Notify,
    /// By peer; `None` while a connection's task is being spawned.
    tasks: Mutex<BTreeMap<SocketAddr, Option<AbortHandle>>>,
    relays: relay::Board,
    store: store::Board,
    started: Instant,
    origin: Origin,
    rtmp_port: u16,
}

impl Shared {
    /// The time of day: since the Unix epoch, as told at the start, and counted from there.
    pub(crate) fn utc(&self) -> Duration {
        self.origin.utc + now().saturating_duration_since(self.started)
    }
}

/// What differs from one start of a server to the next.
#[derive(Clone, Copy, Debug)]
pub struct Origin {
    /// Makes handshakes and pauses differ from server to server; it is no secret.
    pub seed: u64,
    /// The time of day at the start: since the Unix epoch.
    pub utc: Duration,
}

/// What happened since the start, for the metrics.
#[derive(Default)]
pub(crate) struct Counters {
    connections: AtomicU64,
    refused_connections: AtomicU64,
    failed_connections: AtomicU64,
    received_bytes: AtomicU64,
    sent_bytes: AtomicU64,
    published_tags: AtomicU64,
}

impl Counters {
    pub(crate) fn add(counter: &AtomicU64, n: u64) {
        counter.fetch_add(n, Ordering::Relaxed);
    }
}

/// Resolves when the server is told to stop.
type Shutdown = Pin<Box<dyn Future<Output = ()> + Send>>;

fn shutdown(mut receiver: watch::Receiver<bool>) -> Shutdown {
    Box::pin(async move {
        // An error means that the server is gone, which is as good.
        drop(receiver.wait_for(|&stop| stop).await);
    })
}

/// Held by every connection's task: so the server knows how many there are, and when the last
/// of them is gone.
pub(crate) struct OpenConnection {
    shared: Arc<Shared>,
    peer: SocketAddr,
}

impl OpenConnection {
    /// One more, if there is room.
    fn open(shared: &Arc<Shared>, peer: SocketAddr) -> Option<Self> {
        let max = shared.config.listen.connections_max;
        let before = shared.open_connections.load(Ordering::Relaxed);
        // Only the two accepting tasks count up: between them they may let one in too many.
        (before < max).then(|| {
            shared.open_connections.fetch_add(1, Ordering::Relaxed);
            shared.tasks.lock().insert(peer, None);
            Self { shared: shared.clone(), peer }
        })
    }
}

impl Drop for OpenConnection {
    fn drop(&mut self) {
        self.shared.tasks.lock().remove(&self.peer);
        self.shared.open_connections.fetch_sub(1, Ordering::Relaxed);
        self.shared.closed_connection.notify_one();
    }
}

/// A server that listens.
pub struct Server<N: Net, D: Disk> {
    net: N,
    disk: D,
    /// Recordings that an earlier life left behind.
    leftovers: Vec<PathBuf>,
    rtmp: N::Listener,
    http: N::Listener,
    relays: Vec<RelayConsumer<N>>,
    store: Option<Store>,
    shared: Arc<Shared>,
}

impl<N: Net, D: Disk> Server<N, D> {
    /// Begins to listen.
    pub async fn bind(net: N, disk: D, config: Config, origin: Origin) -> io::Result<Self> {
        // What follows may take its time, which the time of day must not lose.
        let started = now();
        let rtmp = bind(&net, config.listen.rtmp, "RTMP").await?;
        let http = bind(&net, config.listen.http, "HTTP").await?;
        let leftovers = archive::prepare(&disk, &config.archive).await?;
        let hub = Hub::new(config.hub);
        let shared = Shared {
            config,
            hub,
            archive: archive::Board::default(),
            presentations: hls::Presentations::default(),
            counters: Counters::default(),
            blocks: Arc::default(),
            open_connections: AtomicUsize::new(0),
            closed_connection: Notify::new(),
            tasks: Mutex::new(BTreeMap::new()),
            relays: relay::Board::default(),
            store: store::Board::default(),
            started,
            origin,
            rtmp_port: net.local_addr(&rtmp)?.port(),
        };
        let shared = Arc::new(shared);
        let relays = relay::consumers(&net, &shared)?;
        Ok(Self { net, disk, leftovers, rtmp, http, relays, store: None, shared })
    }

    /// Where recordings and segments are copied, as `[store]` says; its URL is not looked at here.
    pub fn with_store(self, store: Store) -> Self {
        let Config { archive, hls, store: wanted, .. } = &self.shared.config;
        let recordings = archive.directory.is_some() && wanted.recordings;
        let segments = hls.enabled && wanted.hls;
        if !recordings && !segments {
            tracing::warn!("nothing will be stored: archive.directory is empty, store.hls is off");
        }
        self.shared.store.begin();
        Self { store: Some(store), ..self }
    }

    /// Where encoders publish.
    pub fn rtmp_addr(&self) -> io::Result<SocketAddr> {
        self.net.local_addr(&self.rtmp)
    }

    /// Where HTTP is served.
    pub fn http_addr(&self) -> io::Result<SocketAddr> {
        self.net.local_addr(&self.http)
    }

    /// The hub, to add consumers to.
    pub fn hub(&self) -> &Hub {
        &self.shared.hub
    }

    /// To end connections from outside, also while the server runs.
    pub fn control(&self) -> Control {
        Control { shared: self.shared.clone() }
    }

    /// Serves until `stop` resolves, then ends all streams and waits until viewers have received
    /// what was published, or for the configured time. Says how many connections were cut.
    pub async fn run(self, stop: impl Future<Output = ()>) -> usize {
        let (stopping, stopped) = watch::channel(false);
        let Self { net, disk, leftovers, rtmp, http, relays, store, shared } = self;
        let mut consumers = consumers::start(&shared, &disk, leftovers, relays, store);
        let accept_rtmp = accept(&net, &rtmp, &shared, &stopped, rtmp::serve);
        let accept_http = accept(&net, &http, &shared, &stopped, http::serve);
        tokio::select! {
            biased;
            () = stop => {}
            () = accept_rtmp => {}
            () = accept_http => {}
        }
        drop((rtmp, http));
        let open = || shared.open_connections.load(Ordering::Relaxed);
        tracing::info!(connections = open(), "shutting down");
        let _nobody_waits = stopping.send(true);
        let drained = async {
            while open() > 0 {
                shared.closed_connection.notified().await;
            }
            consumers.finish().await;
        };
        match tokio::time::timeout(shared.config.drain_timeout, drained).await {
            Ok(()) => 0,
            Err(_) => {
                let waiting_recordings =
                    shared.store.counts().map_or(0, |it| it.waiting_recordings);
                let connections = open();
                tracing::warn!(
                    connections,
                    waiting_recordings,
                    "cut off: shutdown.drain_ms is over"
                );
                connections
            }
        }
    }
}

/// A hand on a running server.
#[derive(Clone)]
pub struct Control {
    shared: Arc<Shared>,
}

impl Control {
    /// Ends the connection of this peer at once, wherever it is in its work. What it published is
    /// treated as if its network had gone. `false`: there is no such connection.
    pub fn disconnect(&self, peer: SocketAddr) -> bool {
        let task = self.shared.tasks.lock().get(&peer).cloned().flatten();
        task.inspect(AbortHandle::abort).is_some()
    }

    /// What came of recording this stream so far; `None` if it is not being recorded.
    pub fn archive_status(&self, key: &StreamKey) -> Option<crate::archive::Status> {
        self.shared.archive.of(key).map(|report| report.status)
    }

    /// The blocks that RTMP connections receive in, as of their last changes of blocks.
    pub fn receive_blocks(&self) -> BlockCounters {
        self.shared.blocks.counters()
    }

    /// Bytes of such blocks that one connection has held, at most.
    pub fn receive_bytes_max(&self) -> u64 {
        self.shared.blocks.pool_bytes_max()
    }

    /// What relays are doing, by their streams, and for each stream in the order of the
    /// configuration.
    pub fn relays(&self) -> Vec<(StreamKey, RelayStatus)> {
        self.shared.relays.all()
    }

    /// Connections open now.
    pub fn open_connections(&self) -> usize {
        self.shared.open_connections.load(Ordering::Relaxed)
    }
}

async fn bind<N: Net>(net: &N, address: SocketAddr, what: &str) -> io::Result<N::Listener> {
    let named = |error: io::Error| {
        io::Error::new(error.kind(), format!("cannot listen for {what} on {address}: {error}"))
    };
    net.bind(address).await.map_err(named)
}

/// Accepts for ever, a task per connection.
async fn accept<N: Net, F>(
    net: &N,
    listener: &N::Listener,
    shared: &Arc<Shared>,
    stopped: &watch::Receiver<bool>,
    serve: impl Fn(Arc<Shared>, N::Stream, SocketAddr, watch::Receiver<bool>, OpenConnection) -> F,
) where
    F: Future<Output = ()> + Send + 'static,
{
    loop {
        match net.accept(listener).await {
            Ok((stream, peer)) => {
                let Some(open) = OpenConnection::open(shared, peer) else {
                    Counters::add(&shared.counters.refused_connections, 1);
                    tracing::warn!(%peer, "connection refused: listen.connections_max is reached");
                    continue;
                };
                Counters::add(&shared.counters.connections, 1);
                // Or the last byte of an answer waits 40 ms for a delayed acknowledgement.
                let _best_effort = stream.set_nodelay(true);
                // A viewer's backlog belongs into the hub, which knows what may be dropped.
                let _best_effort = stream.set_unsent_len_max(shared.config.play.unsent_len_max);
                let serving = serve(shared.clone(), stream, peer, stopped.clone(), open);
                let task = tokio::spawn(contain(serving, move || {
                    tracing::error!(%peer, "connection lost: its task panicked, which is a bug");
                }));
                // A task that is over by now has taken itself off the list.
                if let Some(listed) = shared.tasks.lock().get_mut(&peer) {
                    *listed = Some(task.abort_handle());
                }
            }
            // A peer that is gone before it is accepted is nobody's concern.
            Err(error)
                if matches!(
                    error.kind(),
                    io::ErrorKind::ConnectionReset | io::ErrorKind::ConnectionAborted
                ) =>
            {
                tracing::debug!(%error, "gone before it was accepted");
            }
            Err(error) => {
                // Out of file descriptors, mostly: what closes in the meantime makes room.
                tracing::warn!(%error, "cannot accept");
                tokio::time::sleep(Duration::from_millis(100)).await;
            }
        }
    }
}

/// Does one task's work. A bug that panics costs this task and no other; `lost` says whose it was.
fn contain(work: impl Future<Output = ()>, lost: impl Fn()) -> impl Future<Output = ()> {
    // In a box, because a task has room for what it is given and for what it makes of it: a
    // connection would be in memory twice.
    let mut work = Box::pin(work);
    std::future::poll_fn(move |cx| {
        // What it shares with others stays usable: locks ignore poison, and `Drop` cleans up.
        match catch_unwind(AssertUnwindSafe(|| work.as_mut().poll(cx))) {
            Ok(polled) => polled,
            Err(_panic) => {
                lost();
                Poll::Ready(())
            }
        }
    })
}

/// Ends a stream whose publisher vanished and does not return within the grace period.
async fn end_after_grace(grace: Duration, absence: Absence, receiver: watch::Receiver<bool>) {
    let key = absence.key().clone();
    let mut stopped = receiver;
    tokio::select! {
        biased;
        _stopped = stopped.wait_for(|&stop| stop) => {}
        () = tokio::time::sleep(grace) => {}
    }
    if absence.end() {
        tracing::info!(stream = %key, "the publisher did not return: the stream is over");
    }
}
