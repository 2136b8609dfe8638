//! Peer: what drives a publisher, a viewer or a bad neighbour over a network: it dials, reads,
//! writes, waits and obeys orders. What it says and understands is elsewhere, without I/O.

mod bad;
mod dial;
mod drive;
mod hls;
mod publish;
mod target;
mod view;

use std::time::Duration;

use tokio::sync::mpsc::UnboundedReceiver;

pub(crate) use self::bad::speak;
pub(crate) use self::dial::{Dial, Line};
pub(crate) use self::publish::publish;
pub(crate) use self::target::{IDLE as TARGET_IDLE, target};
pub(crate) use self::view::view;

use crate::plan::{Leave, Receive};
use crate::recorder::Recorder;
use crate::trace::{Close, What, Who};

/// Where nodes publish and play.
pub(crate) const RTMP_PORT: u16 = 1935;
pub(crate) const HTTP_PORT: u16 = 8080;

/// A peer that hears nothing for so long gives up.
const PATIENCE: Duration = Duration::from_secs(30);

/// What the plan wants of a peer while it is there.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Order {
    StopReading(Duration),
    Leave(Leave),
    Stall(Duration),
    Receive(Receive),
    /// A target's process dies; its sockets are closed.
    Crash,
    /// And starts again.
    Start,
}

/// A peer before it dials.
pub(crate) struct Peer<N> {
    pub(crate) who: Who,
    pub(crate) net: N,
    pub(crate) node: String,
    pub(crate) node_who: Who,
    pub(crate) recorder: Recorder,
    pub(crate) orders: UnboundedReceiver<Order>,
    pub(crate) seed: u64,
}

impl<N: Dial> Peer<N> {
    fn push(&self, what: What) {
        self.recorder.push(self.who, what);
    }

    /// Dials the node. `Err`: how it ended.
    async fn dial(&mut self, port: u16) -> Result<N::Stream, Close> {
        let Ok((address, socket)) = self.net.socket() else { return Err(Close::Refused) };
        self.recorder.dialed(self.who, self.node_who, address.to_string());
        let dialing = self.net.clone().connect(socket, self.node.clone(), port);
        let connected = tokio::select! {
            biased;
            leave = self.told_to_leave() => return Err(leave),
            connected = tokio::time::timeout(PATIENCE, dialing) => connected,
        };
        match connected {
            Ok(Ok(stream)) => {
                self.push(What::Connected);
                Ok(stream)
            }
            Ok(Err(_)) => Err(Close::Refused),
            Err(_) => Err(Close::TimedOut),
        }
    }

    /// Waits for the order to leave; others mean nothing without a connection.
    async fn told_to_leave(&mut self) -> Close {
        loop {
            match self.orders.recv().await {
                Some(Order::Leave(Leave::Vanish)) => return Close::Vanished,
                Some(Order::Leave(_)) => return Close::Left,
                Some(_) => {}
                None => return std::future::pending().await,
            }
        }
    }

    /// Waits until it comes back. `false`: it does not.
    async fn comes_again(&mut self, again: Option<Duration>) -> bool {
        let Some(pause) = again else { return false };
        let until = tokio::time::Instant::now() + pause;
        loop {
            tokio::select! {
                biased;
                _meaningless = self.told_to_leave() => {}
                () = tokio::time::sleep_until(until) => return true,
            }
        }
    }
}
