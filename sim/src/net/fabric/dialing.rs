//! How connections come about: dialling, the handshake of TCP, and who listens.

use std::io;
use std::net::SocketAddr;
use std::task::{Context, Poll};
use std::time::Duration;

use super::{ConnectionId, Event, Fabric, HostId, Listener, State};
use crate::net::End;
use crate::net::connection::{Connection, EndState, Opening};
use crate::net::pipe::Pipe;
use crate::random;

/// Connections that wait to be accepted, as a kernel's backlog bounds them.
const BACKLOG_MAX: usize = 1024;

/// What a socket takes before it says "later", where nobody asks for less.
const SEND_BUFFER: usize = 1 << 20;

/// How often a SYN is sent until nobody asks any longer.
const SYNS_MAX: u32 = 7;

impl Fabric {
    pub(in crate::net) fn next_address(&self, host: HostId) -> SocketAddr {
        let mut state = self.lock();
        let port = &mut state.host(host).next_port;
        *port = port.checked_add(1).unwrap_or(1025);
        let [_, high, middle, low] = host.0.to_be_bytes();
        SocketAddr::from(([10, high, middle, low], *port))
    }

    pub(in crate::net) fn listen(&self, host: HostId, port: u16) -> io::Result<()> {
        let mut state = self.lock();
        let listeners = &mut state.host(host).listeners;
        if listeners.contains_key(&port) {
            return Err(io::ErrorKind::AddrInUse.into());
        }
        listeners.insert(port, Listener::default());
        Ok(())
    }

    pub(in crate::net) fn unlisten(&self, host: HostId, port: u16) {
        self.with(|state| {
            let listener = state.host(host).listeners.remove(&port);
            for id in listener.into_iter().flat_map(|listener| listener.backlog) {
                state.close(id, End::Acceptor);
            }
        });
    }

    pub(in crate::net) fn poll_accept(
        &self,
        host: HostId,
        port: u16,
        cx: &mut Context<'_>,
    ) -> Poll<io::Result<(ConnectionId, SocketAddr)>> {
        let mut state = self.lock();
        let is_frozen = state.host(host).is_frozen;
        let Some(listener) = state.host(host).listeners.get_mut(&port) else {
            return Poll::Ready(Err(io::ErrorKind::NotConnected.into()));
        };
        let arrived = if is_frozen { None } else { listener.backlog.pop_front() };
        let Some(id) = arrived else {
            listener.waker = Some(cx.waker().clone());
            return Poll::Pending;
        };
        let from = state.connections.get(&id).map(|connection| connection.from);
        Poll::Ready(
            from.map(|from| (id, from)).ok_or_else(|| io::ErrorKind::ConnectionReset.into()),
        )
    }

    pub(in crate::net) fn dial(
        &self,
        host: HostId,
        from: SocketAddr,
        to: &str,
        port: u16,
    ) -> io::Result<ConnectionId> {
        self.with(|state| {
            let acceptor = state.hosts.iter().position(|host| host.name == to);
            let Some(acceptor) = acceptor.map(|index| HostId(index as u32)) else {
                return Err(io::Error::new(io::ErrorKind::NotFound, format!("no host {to}")));
            };
            let id = ConnectionId(state.next_id);
            state.next_id += 1;
            // Whose line it is, and what goes up it.
            let owner = if state.host(acceptor).has_line { acceptor } else { host };
            let (link, mut cuts) = (state.host(owner).link.clone(), state.host(owner).cuts);
            let window = link.window;
            let (mut up, mut down) = (link.up, link.down);
            if owner == acceptor {
                state.dials.push((host, acceptor, from));
                std::mem::swap(&mut up, &mut down);
                cuts.reverse();
            }
            let purpose = format!("{}/{}", state.host(host).name, from.port());
            let pipe = |path, name| {
                let mut random = random::stream(state.seed, &format!("{purpose}/{name}"));
                let lens = state.send_buffers.clone();
                let send_buffer = lens.map_or(SEND_BUFFER, |lens| random.usize(lens));
                Pipe::new(path, window, send_buffer, random)
            };
            let mut pipes = [pipe(up, "up"), pipe(down, "down")];
            for (pipe, is_cut) in pipes.iter_mut().zip(cuts) {
                if is_cut {
                    pipe.cut(state.now);
                }
            }
            state.connections.insert(
                id,
                Connection {
                    hosts: [host, acceptor],
                    from,
                    port,
                    opening: Opening::Dialing,
                    syns: 0,
                    dialer: None,
                    ends: [EndState::Open; 2],
                    pipes,
                    panics: false,
                },
            );
            state.send_syn(id);
            Ok(id)
        })
    }

    pub(in crate::net) fn poll_connected(
        &self,
        id: ConnectionId,
        cx: &mut Context<'_>,
    ) -> Poll<io::Result<()>> {
        let mut state = self.lock();
        let Some(connection) = state.connections.get_mut(&id) else {
            return Poll::Ready(Err(io::ErrorKind::ConnectionReset.into()));
        };
        match connection.opening {
            Opening::Open => Poll::Ready(Ok(())),
            Opening::Refused => Poll::Ready(Err(io::ErrorKind::ConnectionRefused.into())),
            Opening::Dialing => {
                connection.dialer = Some(cx.waker().clone());
                Poll::Pending
            }
        }
    }
}

impl State {
    pub(super) fn send_syn(&mut self, id: ConnectionId) {
        let Some(connection) = self.connections.get_mut(&id) else { return };
        connection.syns += 1;
        let delay = connection.pipes[0].path.delay;
        let at = self.now + delay;
        self.schedule(at, Event::Syn(id));
    }

    pub(super) fn syn(&mut self, id: ConnectionId) {
        let Some(connection) = self.connections.get(&id) else { return };
        let (acceptor, port, syns) = (connection.hosts[1], connection.port, connection.syns);
        let has_given_up = connection.ends[End::Dialer as usize] != EndState::Open;
        let is_cut = connection.pipes.iter().any(|pipe| pipe.cut_since.is_some());
        let back = connection.pipes[1].path.delay;
        let host = self.host(acceptor);
        let is_listening = !host.refuses && host.listeners.contains_key(&port);
        let has_room =
            host.listeners.get(&port).is_none_or(|listener| listener.backlog.len() < BACKLOG_MAX);
        if is_cut || host.is_dark || host.hangs || !has_room || (has_given_up && syns > 1) {
            // Nobody answers. It is sent again after 1 s, then 2, then 4, if somebody waits.
            let Some(connection) = self.connections.get_mut(&id) else { return };
            if syns < SYNS_MAX && !has_given_up {
                connection.syns += 1;
                let at = self.now + Duration::from_secs(1 << (syns - 1));
                self.schedule(at, Event::Syn(id));
            } else {
                connection.ends[End::Acceptor as usize] = EndState::Reset;
                self.forget_if_over(id);
            }
            return;
        }
        if is_listening && let Some(listener) = self.host(acceptor).listeners.get_mut(&port) {
            listener.backlog.push_back(id);
            let waker = listener.waker.take();
            self.wakers.extend(waker);
        }
        let at = self.now + back;
        self.schedule(at, Event::SynAnswer(id, is_listening));
    }

    pub(super) fn syn_answer(&mut self, id: ConnectionId, stands: bool) {
        let Some(connection) = self.connections.get_mut(&id) else { return };
        connection.opening = if stands { Opening::Open } else { Opening::Refused };
        if !stands {
            connection.ends[End::Acceptor as usize] = EndState::Reset;
        }
        let waker = connection.dialer.take();
        self.wakers.extend(waker);
    }
}
