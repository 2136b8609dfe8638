//! What is done to hosts and their lines.

use super::{ConnectionId, Event, Fabric, HostId, State, Way, end};
use crate::link::{Link, Path};
use crate::net::End;
use crate::net::connection::Connection;
use crate::plan::Direction;

impl Fabric {
    /// From now on a host's line is another.
    pub fn set_link(&self, host: HostId, link: &Link) {
        self.with(|state| {
            state.host(host).link = link.clone();
            let up = state.up(host);
            for id in state.on_line_of(host) {
                state.change_path(id, up, link.up.clone(), link.window);
                state.change_path(id, 1 - up, link.down.clone(), link.window);
            }
        });
    }

    /// Nothing passes on this host's line, or everything does again.
    pub fn set_cut(&self, host: HostId, direction: Direction, is_cut: bool) {
        self.with(|state| {
            let ways: &[usize] = match direction {
                Direction::Both => &[0, 1],
                Direction::Up => &[0],
                Direction::Down => &[1],
            };
            let up = state.up(host);
            for &way in ways {
                state.host(host).cuts[way] = is_cut;
                for id in state.on_line_of(host) {
                    state.set_cut(id, if up == 0 { way } else { 1 - way }, is_cut);
                }
            }
        });
    }

    /// A box on the way forgets the connections on a host's line.
    pub fn forget(&self, host: HostId) {
        self.with(|state| {
            for id in state.on_line_of(host) {
                let Some(connection) = state.connections.get_mut(&id) else { continue };
                connection.pipes.iter_mut().for_each(|pipe| pipe.is_forgotten = true);
            }
        });
    }

    /// A box on the way resets the connections on a host's line.
    pub fn reset_all(&self, host: HostId) {
        self.with(|state| state.on_line_of(host).into_iter().for_each(|id| state.reset(id)));
    }

    /// The node's task of each of this dialer's connections panics at its next read.
    pub fn panic_at_next_read(&self, host: HostId) {
        self.with(|state| {
            for id in state.on_line_of(host) {
                let Some(connection) = state.connections.get_mut(&id) else { continue };
                connection.panics = true;
                let wakers: Vec<_> = connection.pipes[0].reader.take().into_iter().collect();
                state.wakers.extend(wakers);
            }
        });
    }

    /// Bounds what leaves a host, in bits per second.
    pub fn set_egress(&self, host: HostId, rate: Option<u64>) {
        self.with(|state| {
            state.host(host).nic.set_rate(rate);
            let ids: Vec<_> = state.connections.keys().copied().collect();
            ids.into_iter().for_each(|id| {
                state.pump(Way { id, from: End::Dialer });
                state.pump(Way { id, from: End::Acceptor });
            });
            state.turn(host);
        });
    }

    /// The host's machine has no power, or has it again.
    pub fn set_dark(&self, host: HostId, is_dark: bool) {
        self.with(|state| state.host(host).is_dark = is_dark);
    }

    /// The host's program stands still, or goes on.
    pub fn set_frozen(&self, host: HostId, is_frozen: bool) {
        self.with(|state| {
            state.host(host).is_frozen = is_frozen;
            if !is_frozen {
                state.wake_host(host);
            }
        });
    }

    /// The host's program is dead: its system closes all its connections, in order of their age.
    ///
    /// Destructors would close them too, in an order that depends on what other threads do: tokio
    /// numbers the tasks of a whole process.
    pub fn close_all(&self, host: HostId) {
        self.with(|state| {
            let ids: Vec<_> = state.connections.keys().copied().collect();
            for id in ids {
                for end in [End::Dialer, End::Acceptor] {
                    let is_here = |known: &Connection| known.host(end) == host;
                    if state.connections.get(&id).is_some_and(is_here) {
                        state.close(id, end);
                    }
                }
            }
        });
    }

    /// Connects to the host are refused, or not.
    pub fn set_refuses(&self, host: HostId, refuses: bool) {
        self.with(|state| state.host(host).refuses = refuses);
    }

    /// Connects to the host hang, or do not.
    pub fn set_hangs(&self, host: HostId, hangs: bool) {
        self.with(|state| state.host(host).hangs = hangs);
    }
}

impl State {
    pub(super) fn on_line_of(&self, host: HostId) -> Vec<ConnectionId> {
        let owner = |[dialer, acceptor]: [HostId; 2]| match self.hosts[acceptor.0 as usize].has_line
        {
            true => acceptor,
            false => dialer,
        };
        let of_host =
            |(_, connection): &(&ConnectionId, &Connection)| owner(connection.hosts) == host;
        self.connections.iter().filter(of_host).map(|(id, _)| *id).collect()
    }

    pub(super) fn wake_host(&mut self, host: HostId) {
        let of_host = |connection: &&mut Connection| connection.hosts.contains(&host);
        let wakers: Vec<_> =
            self.connections.values_mut().filter(of_host).flat_map(Connection::wakers).collect();
        self.wakers.extend(wakers);
        let listeners = self.hosts[host.0 as usize].listeners.values_mut();
        self.wakers.extend(listeners.filter_map(|listener| listener.waker.take()));
    }

    pub(super) fn change_path(&mut self, id: ConnectionId, way: usize, path: Path, window: u64) {
        let now = self.now;
        let Some(connection) = self.connections.get_mut(&id) else { return };
        let pipe = &mut connection.pipes[way];
        (pipe.path, pipe.window) = (path, window);
        let restarted = pipe.restart_service(now).map(|at| (at, pipe.service));
        if let Some((at, service)) = restarted {
            self.schedule(at, Event::Served(id, way, service));
        }
        self.carry(Way { id, from: end(way) });
        self.pump(Way { id, from: end(way) });
    }

    pub(super) fn set_cut(&mut self, id: ConnectionId, way: usize, is_cut: bool) {
        let now = self.now;
        let Some(connection) = self.connections.get_mut(&id) else { return };
        let pipe = &mut connection.pipes[way];
        if is_cut {
            pipe.cut(now);
            return;
        }
        pipe.heal(now);
        let restarted = pipe.restart_service(now).map(|at| (at, pipe.service));
        let dues: Vec<_> = pipe.flights.iter().map(|flight| flight.due).collect();
        if let Some((at, service)) = restarted {
            self.schedule(at, Event::Served(id, way, service));
        }
        dues.into_iter().for_each(|at| self.schedule(at, Event::Landed(id, way)));
        self.carry(Way { id, from: end(way) });
        self.pump(Way { id, from: end(way) });
    }
}
