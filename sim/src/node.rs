//! Node: the real server on a simulated host, with a witness in its hub and a look at its gauges.

mod durable;
mod gauges;
mod relay;

use std::future::poll_fn;
use std::net::SocketAddr;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use forebay::config::Config;
use forebay::flv::{Tag, TagKind};
use forebay::hub::{Delivery, Hub, Overflow, Policy, Start, StreamKey};
use forebay::shell::disk::Disk;
use forebay::shell::net::Net;
use forebay::shell::{Control, Origin, Server};
use tokio::sync::Notify;

use crate::disk::SimDisk;
use crate::net::SimNet;
use crate::program::{Place, Program};
use crate::random;
use crate::recorder::Recorder;
use crate::tag::{Kind, TagSeen};
use crate::time::SimTime;
use crate::trace::{Level, What, Who};

/// The time of day at the start of a run: the first second of 2026.
const EPOCH: Duration = Duration::from_secs(1_767_225_600);

/// How soon a server that does not start is started again.
const START_AGAIN: Duration = Duration::from_secs(1);

/// What the world holds of a node: it outlives the node's process.
#[derive(Clone)]
pub(crate) struct Node<N = SimNet, D = SimDisk> {
    pub(crate) who: Who,
    pub(crate) net: N,
    pub(crate) disk: D,
    pub(crate) config: Config,
    pub(crate) seed: u64,
    /// The streams that the plan's publishers publish, for the witnesses.
    pub(crate) keys: Arc<[String]>,
    pub(crate) recorder: Recorder,
    pub(crate) running: Arc<Mutex<Running>>,
}

/// What the world holds of a node's process.
#[derive(Default)]
pub(crate) struct Running {
    /// How often it has started.
    starts: u64,
    stop: Arc<Notify>,
    /// Where it listens for RTMP and HTTP; `None` until it does.
    addresses: Option<[SocketAddr; 2]>,
    control: Option<Control>,
    has_stopped: bool,
    /// Bytes of receive blocks held when a task was cancelled in this step.
    held_at_cancel: Option<usize>,
    /// Timers fire up to this late, until then.
    late: Option<(Duration, SimTime)>,
    now: SimTime,
}

impl<N: Net, D: Disk> Node<N, D> {
    fn with<T>(&self, f: impl FnOnce(&mut Running) -> T) -> T {
        f(&mut self.running.lock().unwrap_or_else(PoisonError::into_inner))
    }

    pub(crate) fn stop(&self) {
        self.with(|running| running.stop.notify_one());
    }

    /// Whether it has stopped by itself.
    pub(crate) fn has_stopped(&self) -> bool {
        self.with(|running| running.has_stopped)
    }

    /// Where it listens for RTMP and HTTP; `None` until it does.
    pub(crate) fn addresses(&self) -> Option<[SocketAddr; 2]> {
        self.with(|running| running.addresses)
    }

    /// Cancels the task that serves this address. It ends in the next step.
    pub(crate) fn cancel(&self, peer: SocketAddr) -> bool {
        self.with(|running| {
            let Some(control) = &running.control else { return false };
            let is_there = control.disconnect(peer);
            if is_there {
                running.held_at_cancel = Some(control.receive_blocks().held_bytes);
            }
            is_there
        })
    }

    /// After a step: whether a task that was cancelled before it has given blocks back.
    pub(crate) fn take_released(&self) -> bool {
        self.with(|running| {
            let held = running.held_at_cancel.take();
            let now = running.control.as_ref().map(|control| control.receive_blocks().held_bytes);
            held.zip(now).is_some_and(|(held, now)| now < held)
        })
    }

    pub(crate) fn set_late(&self, max: Duration, until: SimTime) {
        self.with(|running| running.late = Some((max, until)));
    }

    pub(crate) fn set_now(&self, now: SimTime) {
        self.with(|running| running.now = now);
    }

    /// A life begins: its seed, and what it is told to stop by.
    fn begin(&self) -> (u64, Arc<Notify>) {
        self.with(|running| {
            running.starts += 1;
            running.stop = Arc::default();
            running.has_stopped = false;
            (self.seed ^ running.starts, running.stop.clone())
        })
    }

    /// The node has stopped by itself, and cut so many connections. A host whose program returns
    /// freezes with its sockets open; the world ends it instead.
    async fn end(&self, cut: u64) -> turmoil::Result {
        self.recorder.push(self.who, What::Stopped { cut });
        self.with(|running| running.has_stopped = true);
        std::future::pending().await
    }

    /// A server that listens. One that cannot record does not; whoever started it starts it again.
    async fn bind(&self, seed: u64) -> std::io::Result<Server<N, D>> {
        loop {
            let utc = EPOCH + self.with(|running| running.now).since(SimTime::ZERO);
            let origin = Origin { seed, utc };
            let (net, disk) = (self.net.clone(), self.disk.clone());
            match Server::bind(net, disk, self.config.clone(), origin).await {
                Err(error) if self.config.archive.directory.is_some() => {
                    let text = format!("it does not start: {error}").into();
                    self.recorder.push(self.who, What::Log { level: Level::Error, text });
                    tokio::time::sleep(START_AGAIN).await;
                }
                bound => return bound,
            }
        }
    }

    /// The node's program, from its start to its stop.
    pub(crate) async fn run(self) -> turmoil::Result {
        let (seed, stop) = self.begin();
        let server = self.bind(seed).await?;
        let hub = server.hub().clone();
        let addresses = [server.rtmp_addr()?, server.http_addr()?];
        self.with(|running| {
            running.addresses = Some(addresses);
            running.control = Some(server.control());
        });
        self.recorder.push(self.who, What::Started);
        for key in &*self.keys {
            tokio::spawn(witness(self.clone(), hub.clone(), key.clone()));
        }
        tokio::spawn(gauges::look(self.clone(), hub, server.control()));
        tokio::spawn(relay::look(self.clone(), server.control()));
        if self.config.archive.directory.is_some() {
            tokio::spawn(durable::look(self.clone(), server.control()));
        }
        tokio::spawn(be_late(self.clone(), seed));
        let cut = server.run(async move { stop.notified().await }).await as u64;
        self.end(cut).await
    }
}

impl Node {
    /// Somebody's own program in the place of the server.
    pub(crate) async fn run_own(self, program: Program) -> turmoil::Result {
        let (seed, stop) = self.begin();
        let (net, config, recorder) =
            (self.net.clone(), self.config.clone(), self.recorder.clone());
        let place = Place::new(self.who, net, config, seed, stop, recorder);
        self.recorder.push(self.who, What::Started);
        tokio::spawn(be_late(self.clone(), seed));
        program.run(place).await?;
        self.end(0).await
    }
}

/// Sees every tag that enters the hub, as a subscriber that is never slow.
async fn witness<N: Net, D: Disk>(node: Node<N, D>, hub: Hub, key: String) {
    let never = Policy {
        backlog_bytes_max: u64::MAX,
        backlog_ms_max: u64::MAX,
        overflow: Overflow::SkipToKeyframe,
        witness: true,
    };
    let shared: Arc<str> = key.as_str().into();
    loop {
        let subscriber = hub.subscribe(StreamKey::from(key.as_str()), Start::Gop, never, "witness");
        let Ok(mut subscriber) = subscriber else {
            // The hub is at its limit, because a plan wants it to be.
            tokio::time::sleep(gauges::INTERVAL).await;
            continue;
        };
        loop {
            let delivery = poll_fn(|cx| subscriber.poll_delivery(cx)).await;
            let what = match delivery {
                Delivery::Tag { number: Some(number), tag } => {
                    let session = subscriber.session();
                    What::Entered { key: shared.clone(), session, number, tag: seen(&tag) }
                }
                // Headers in force when it came.
                Delivery::Tag { number: None, .. } => continue,
                Delivery::Lag(lag) => What::Missed { key: shared.clone(), tags: lag.tags },
                Delivery::End => What::Over { key: shared.clone() },
                Delivery::Disconnected => break,
            };
            let is_over = matches!(what, What::Over { .. });
            node.recorder.push_unless_muted(node.who, what);
            if is_over {
                break;
            }
        }
    }
}

fn seen(tag: &Tag) -> TagSeen {
    let kind = match tag.kind {
        TagKind::Audio => Kind::Audio,
        TagKind::Video => Kind::Video,
        TagKind::Script => Kind::Script,
    };
    let payload: Vec<u8> = tag.payload.slices().flatten().copied().collect();
    TagSeen::of(kind, tag.timestamp.as_ms(), &payload)
}

/// Lets the node's clock jump, as far as the plan wants it to: every timer that falls into the jump
/// fires late, behind its end.
async fn be_late<N: Net, D: Disk>(node: Node<N, D>, seed: u64) {
    let mut random = random::stream(seed, "late timers");
    loop {
        tokio::time::sleep(Duration::from_millis(random.u64(20..120))).await;
        let (late, now) = node.with(|running| (running.late, running.now));
        if let Some((max, _)) = late.filter(|(_, until)| now < *until) {
            tokio::time::advance(max.mul_f64(random.f64())).await;
        }
    }
}
