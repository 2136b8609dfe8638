//! Connection: two pipes between two hosts, and how far its opening and closing have come.

use std::net::SocketAddr;
use std::task::Waker;

use super::End;
use super::fabric::HostId;
use super::pipe::Pipe;

/// How far an end is.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum EndState {
    /// In use.
    Open,
    /// Its program has closed it; its system still sends what was written.
    Closed,
    /// It was told that the connection is reset.
    Reset,
}

/// How far the opening is.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum Opening {
    /// The SYN, or the answer to it, is on its way.
    Dialing,
    /// The dialer knows that the connection stands.
    Open,
    /// The dialer knows that it does not.
    Refused,
}

#[derive(Debug)]
pub(super) struct Connection {
    /// Dialer and acceptor.
    pub(super) hosts: [HostId; 2],
    /// Where the dialer dials from.
    pub(super) from: SocketAddr,
    pub(super) port: u16,
    pub(super) opening: Opening,
    /// SYNs sent so far.
    pub(super) syns: u32,
    pub(super) dialer: Option<Waker>,
    pub(super) ends: [EndState; 2],
    /// Up, written by the dialer; down, written by the acceptor.
    pub(super) pipes: [Pipe; 2],
    /// The acceptor's next read panics.
    pub(super) panics: bool,
}

impl Connection {
    /// The pipe that this end reads from.
    pub(super) fn incoming(&mut self, end: End) -> &mut Pipe {
        &mut self.pipes[end.other() as usize]
    }

    /// The pipe that this end writes to.
    pub(super) fn outgoing(&mut self, end: End) -> &mut Pipe {
        &mut self.pipes[end as usize]
    }

    pub(super) fn host(&self, end: End) -> HostId {
        self.hosts[end as usize]
    }

    /// Whether no program and no system needs it any longer.
    pub(super) fn is_over(&self) -> bool {
        let done = |end: End| match self.ends[end as usize] {
            EndState::Open => false,
            EndState::Reset => true,
            EndState::Closed => {
                let pipe = &self.pipes[end as usize];
                pipe.is_forgotten || pipe.unsent.is_empty()
            }
        };
        let idle = |pipe: &Pipe| {
            pipe.is_forgotten
                || (pipe.flights.is_empty() && pipe.queue.is_empty() && pipe.serving.is_none())
        };
        done(End::Dialer) && done(End::Acceptor) && self.pipes.iter().all(idle)
    }

    /// Everybody who waits for anything.
    pub(super) fn wakers(&mut self) -> impl Iterator<Item = Waker> {
        let [up, down] = &mut self.pipes;
        [
            up.reader.take(),
            up.writer.take(),
            down.reader.take(),
            down.writer.take(),
            self.dialer.take(),
        ]
        .into_iter()
        .flatten()
    }
}
