//! The network by itself, without a server: what a link lets through and when, and what faults do
//! to connections. Time is the runtime's, paused: it moves the fabric on by milliseconds.

mod capacity;
mod closing;
mod faults;
mod opening;
mod order;
mod random;
mod sharing;
mod window;

use std::cell::Cell;
use std::io::ErrorKind;
use std::net::SocketAddr;
use std::sync::{Arc, Mutex, MutexGuard};
use std::time::Duration;

use forebay::shell::net::Net as _;
use forebay_sim::Link;
use forebay_sim::link::{Capacity, Path};
use forebay_sim::net::{Fabric, HostId, SimListener, SimNet, SimStream};
use forebay_sim::time::SimTime;
use tokio::io::{AsyncRead, AsyncReadExt as _, AsyncWrite, AsyncWriteExt as _};
use tokio::task::yield_now;
use tokio::time::{Instant, sleep_until, timeout};

const PORT: u16 = 1935;

/// More than any link in these tests holds.
const WIDE: u64 = 1 << 30;

const fn ms(millis: u64) -> Duration {
    Duration::from_millis(millis)
}

const fn at(millis: u64) -> SimTime {
    SimTime::from_millis(millis)
}

/// A link that is free of limits but for its delay, with both directions alike.
fn free(delay_ms: u64) -> Link {
    let path = Path::free(ms(delay_ms));
    Link { down: path.clone(), up: path, window: WIDE }
}

/// A link that is free but for what passes down.
fn bounded(capacity: Capacity, delay_ms: u64) -> Link {
    let mut link = free(delay_ms);
    link.down.capacity = capacity;
    link
}

/// A network with a node that listens, and time that passes on it.
struct World {
    fabric: Fabric,
    node: HostId,
    node_net: SimNet,
    listener: SimListener,
    start: Instant,
    peers: Cell<u32>,
}

/// A connection, both its ends.
struct Connected {
    /// Who dialled.
    host: HostId,
    peer: SimStream,
    node: SimStream,
}

/// Runs a test in simulated time. Afterwards no link may have broken physics.
fn simulate(seed: u64, test: impl AsyncFnOnce(&World)) {
    let mut builder = tokio::runtime::Builder::new_current_thread();
    let runtime = builder.enable_time().start_paused(true).build().expect("nothing can fail");
    runtime.block_on(async {
        let fabric = Fabric::new(seed);
        let start = Instant::now();
        let moved = fabric.clone();
        tokio::spawn(async move {
            for millis in 0.. {
                sleep_until(start + ms(millis)).await;
                moved.advance(at(millis));
            }
        });
        let (node, node_net) = fabric.add_host("node", Link::lan());
        let address = SocketAddr::from(([0, 0, 0, 0], PORT));
        let listener = node_net.bind(address).await.expect("the port is free");
        let peers = Cell::new(0);
        let world = World { fabric, node, node_net, listener, start, peers };
        test(&world).await;
        let complaints = world.fabric.take_complaints();
        assert!(complaints.is_empty(), "the links broke physics: {complaints:#?}");
    });
}

impl World {
    fn now(&self) -> SimTime {
        SimTime::ZERO + self.start.elapsed()
    }

    async fn until(&self, millis: u64) {
        sleep_until(self.start + ms(millis)).await;
        // The fabric may be woken behind us.
        yield_now().await;
    }

    fn host(&self, link: &Link) -> (HostId, SimNet) {
        let number = self.peers.replace(self.peers.get() + 1);
        self.fabric.add_host(&format!("peer-{number}"), link.clone())
    }

    async fn accept(&self) -> (SimStream, SocketAddr) {
        self.node_net.accept(&self.listener).await.expect("it listens")
    }

    /// A new host's connection to the node.
    async fn connect(&self, link: &Link) -> Connected {
        let (host, net) = self.host(link);
        let (peer, node) = tokio::join!(net.connect("node", PORT), self.accept());
        Connected { host, peer: peer.expect("the node listens"), node: node.0 }
    }

    /// Reads what comes, checks that it is the pattern, and notes when it came.
    fn read_all(&self, mut stream: impl AsyncRead + Unpin + Send + 'static) -> Arrivals {
        let arrivals = Arrivals::default();
        let (seen, start) = (arrivals.clone(), self.start);
        tokio::spawn(async move {
            let mut buffer = vec![0; 256 << 10];
            let mut total = 0;
            loop {
                let end = match stream.read(&mut buffer).await {
                    Ok(0) => Ok(()),
                    Ok(len) => {
                        let is_next =
                            (total..).zip(&buffer[..len]).all(|(i, byte)| *byte == nth(i));
                        assert!(is_next, "what follows byte {total} is not what was written there");
                        total += len as u64;
                        seen.lock().pieces.push((SimTime::ZERO + start.elapsed(), total));
                        continue;
                    }
                    Err(error) => Err(error.kind()),
                };
                seen.lock().end = Some((SimTime::ZERO + start.elapsed(), end));
                return stream;
            }
        });
        arrivals
    }
}

/// The byte at this offset of what everybody writes.
fn nth(offset: u64) -> u8 {
    (offset % 251) as u8 ^ (offset / 251) as u8
}

fn pattern(from: u64, len: u64) -> Vec<u8> {
    (from..from + len).map(nth).collect()
}

/// Writes bytes `from..to` of the pattern as fast as they are taken, and leaves the stream open.
fn feed(mut stream: impl AsyncWrite + Unpin + Send + 'static, from: u64, to: u64) {
    tokio::spawn(async move {
        let mut from = from;
        while from < to {
            let len = (to - from).min(50_000);
            if stream.write_all(&pattern(from, len)).await.is_err() {
                return;
            }
            from += len;
        }
        std::future::pending().await
    });
}

/// What came, and when.
#[derive(Clone, Default)]
struct Arrivals(Arc<Mutex<Seen>>);

#[derive(Default)]
struct Seen {
    /// So many bytes in all by then.
    pieces: Vec<(SimTime, u64)>,
    end: Option<(SimTime, Result<(), ErrorKind>)>,
}

impl Arrivals {
    fn lock(&self) -> MutexGuard<'_, Seen> {
        self.0.lock().expect("no reader panics with it")
    }

    fn pieces(&self) -> Vec<(SimTime, u64)> {
        self.lock().pieces.clone()
    }

    fn total(&self) -> u64 {
        self.lock().pieces.last().map_or(0, |piece| piece.1)
    }

    /// Bytes that had come by this time, itself included.
    fn by(&self, time: SimTime) -> u64 {
        let seen = self.lock();
        let count = seen.pieces.partition_point(|piece| piece.0 <= time);
        count.checked_sub(1).map_or(0, |index| seen.pieces[index].1)
    }

    /// How the stream ended, if it did, and when.
    fn end(&self) -> Option<(SimTime, Result<(), ErrorKind>)> {
        self.lock().end
    }

    /// When each piece came.
    fn times(&self) -> Vec<u64> {
        self.lock().pieces.iter().map(|piece| piece.0.millis()).collect()
    }
}

/// Reads once, unless nothing comes in this time.
async fn read_within(stream: &mut SimStream, time: Duration) -> Option<std::io::Result<usize>> {
    timeout(time, stream.read(&mut [0; 1 << 16])).await.ok()
}
