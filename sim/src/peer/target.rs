//! A target: listens, lets nodes publish to it, stops reading, dies and comes back.

use std::collections::BTreeMap;
use std::future::Future;
use std::net::SocketAddr;
use std::pin::Pin;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::task::Poll;
use std::time::Duration;

use bytes::Bytes;
use forebay::shell::net::Net as _;
use tokio::sync::mpsc::{UnboundedReceiver, UnboundedSender, unbounded_channel};
use tokio::time::Instant;

use super::drive::{Happened, next};
use super::view::append;
use super::{Order, Peer, RTMP_PORT};
use crate::net::{SimNet, SimStream};
use crate::plan::{Refusal, Target, TargetQuirk};
use crate::recorder::Recorder;
use crate::target::{Seen, Session};
use crate::trace::{Close, RelaySeen, What, Who};

/// A publisher that says nothing for so long is taken for gone.
pub(crate) const IDLE: Duration = Duration::from_secs(10);

/// Bytes of one read.
const READ_LEN: usize = 64 << 10;

/// What all connections of a target have in common.
struct Shared {
    plan: Target,
    who: Who,
    seed: u64,
    recorder: Recorder,
    state: Mutex<State>,
}

#[derive(Default)]
struct State {
    /// Connections, refusals, and who publishes what.
    connections: u32,
    refusals: u32,
    names: BTreeMap<String, u32>,
}

impl Shared {
    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn push(&self, seen: RelaySeen) {
        self.recorder.push(self.who, What::Relay(seen));
    }

    /// How the next connection is refused.
    fn refusal(&self) -> Option<Refusal> {
        let refused = self.state().refusals;
        self.plan.quirks.iter().find_map(|quirk| match quirk {
            TargetQuirk::Refuses { refusal, times } => {
                times.is_none_or(|times| refused < times).then_some(*refusal)
            }
            _ => None,
        })
    }
}

type Serving = Pin<Box<dyn Future<Output = ()> + Send>>;

/// A connection that is being served, and what it is told.
struct Open {
    serving: Serving,
    orders: UnboundedSender<Order>,
}

pub(crate) async fn target(mut peer: Peer<SimNet>, plan: Target) {
    let (who, seed, recorder) = (peer.who, peer.seed, peer.recorder.clone());
    let shared = Arc::new(Shared { plan, who, seed, recorder, state: Mutex::default() });
    loop {
        let address = SocketAddr::from(([0, 0, 0, 0], RTMP_PORT));
        let Ok(listener) = peer.net.bind(address).await else { return };
        peer.push(What::Started);
        let mut open: Vec<Open> = Vec::new();
        loop {
            let come = {
                let accepting = peer.net.accept(&listener);
                tokio::select! {
                    biased;
                    order = peer.orders.recv() => Err(order),
                    come = accepting => Ok(come),
                    () = serve_all(&mut open) => continue,
                }
            };
            match come {
                Ok(Ok((stream, from))) => open.push(accept(&shared, stream, from)),
                // Gone before it was accepted.
                Ok(Err(_)) => {}
                Err(Some(Order::Crash)) => break,
                Err(Some(order)) => {
                    for connection in &open {
                        // Its task may be over.
                        let _gone = connection.orders.send(order);
                    }
                }
                Err(None) => return std::future::pending().await,
            }
        }
        // The world has closed its sockets, in their order.
        drop((open, listener));
        shared.state().names.clear();
        while !matches!(peer.orders.recv().await, Some(Order::Start)) {}
    }
}

/// Lets all connections go on; resolves when one of them is over.
async fn serve_all(open: &mut Vec<Open>) {
    std::future::poll_fn(|cx| {
        let before = open.len();
        open.retain_mut(|connection| connection.serving.as_mut().poll(cx).is_pending());
        if open.len() < before { Poll::Ready(()) } else { Poll::Pending }
    })
    .await
}

fn accept(shared: &Arc<Shared>, stream: SimStream, from: SocketAddr) -> Open {
    let number = {
        let mut state = shared.state();
        state.connections += 1;
        state.connections
    };
    shared.push(RelaySeen::Accepted { connection: number, from: from.to_string().into() });
    let refusal = shared.refusal();
    let seed = shared.seed ^ u64::from(number);
    let session = Session::new(shared.plan.clone(), refusal, seed);
    let (orders, obeys) = unbounded_channel();
    let serving = Serve { shared: shared.clone(), number, session, received: 0 };
    Open { serving: Box::pin(serving.run(stream, obeys)), orders }
}

/// One connection.
struct Serve {
    shared: Arc<Shared>,
    number: u32,
    session: Session,
    received: u64,
}

impl Serve {
    async fn run(mut self, stream: SimStream, orders: UnboundedReceiver<Order>) {
        let close = self.serve(stream, orders).await;
        self.shared.state().names.retain(|_, publisher| *publisher != self.number);
        let (connection, is_partial) = (self.number, self.session.is_partial());
        self.shared.push(RelaySeen::Over { connection, close, is_partial });
    }

    async fn serve(
        &mut self,
        mut stream: SimStream,
        mut orders: UnboundedReceiver<Order>,
    ) -> Close {
        let cuts = self.shared.plan.quirks.iter().find_map(|quirk| match quirk {
            TargetQuirk::Cuts(bytes) => Some(*bytes),
            _ => None,
        });
        let mut buffer = vec![0; READ_LEN];
        let mut out = Bytes::new();
        let mut deaf_until: Option<Instant> = None;
        let mut heard_at = Instant::now();
        loop {
            let due = deaf_until.unwrap_or(heard_at + IDLE);
            let left = cuts.map_or(READ_LEN as u64, |cuts| cuts - self.received);
            let room = (left as usize).min(READ_LEN);
            let buffer = &mut buffer[..room];
            match next(&mut stream, buffer, deaf_until.is_some(), &mut out, due, &mut orders).await
            {
                Happened::Read(0) => return Close::Eof,
                Happened::Read(len) => {
                    heard_at = Instant::now();
                    self.received += len as u64;
                    let seen = self.session.receive(&buffer[..len]);
                    seen.into_iter().for_each(|seen| self.tell(seen));
                    out = append(out, self.session.take_output());
                    if cuts == Some(self.received) {
                        return Close::Left;
                    }
                }
                Happened::Written => {}
                Happened::Lost => return Close::Reset,
                Happened::Told(Order::StopReading(time)) => {
                    deaf_until = Some(Instant::now() + time);
                }
                Happened::Told(_) => {}
                Happened::Due if deaf_until.take().is_some() => heard_at = Instant::now(),
                Happened::Due => return Close::TimedOut,
            }
        }
    }

    fn tell(&mut self, seen: Seen) {
        let connection = self.number;
        self.shared.push(match seen {
            Seen::Asks(key) => {
                let mut state = self.shared.state();
                let is_free = *state.names.entry(key.clone()).or_insert(connection) == connection;
                drop(state);
                match self.session.answer(is_free) {
                    Some(seen) => return self.tell(seen),
                    None => RelaySeen::Publishing { connection, key: key.into() },
                }
            }
            Seen::Refused(code) => {
                self.shared.state().refusals += 1;
                RelaySeen::Refused { connection, code: code.into() }
            }
            Seen::Tag(tag) => RelaySeen::Got { connection, tag },
            Seen::Ended => {
                self.shared.state().names.retain(|_, publisher| *publisher != connection);
                RelaySeen::Ended { connection }
            }
            Seen::Garbled(why) => RelaySeen::Garbled { connection, why: why.into() },
        });
    }
}
