//! Fabric: all hosts, connections and what is on its way between them; a queue of events in
//! simulated time, moved on by the world.

mod dialing;
mod faults;

use std::cmp::Reverse;
use std::collections::{BTreeMap, BinaryHeap, VecDeque};
use std::io::{self, IoSlice};
use std::net::SocketAddr;
use std::ops::RangeInclusive;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::task::{Context, Poll, Waker};
use std::time::Duration;

use bytes::{Bytes, BytesMut};
use tokio::io::ReadBuf;

use super::connection::{Connection, EndState, Opening};
use super::nic::Nic;
use super::{End, SimNet};
use crate::landmark::{Landmark, Sight};
use crate::link::Link;
use crate::time::SimTime;

const MESSAGE_OF_INJECTED_PANIC: &str = "a panic that the plan asked for";

/// Who dialed, whom, and from where.
pub(crate) type Dial = (HostId, HostId, SocketAddr);

/// A host of the network.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
pub struct HostId(u32);

/// A connection; numbers are not used again.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
pub struct ConnectionId(u64);

/// One direction of a connection.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) struct Way {
    id: ConnectionId,
    /// Who writes.
    from: End,
}

/// The network. Clones are the same network.
#[derive(Clone)]
pub struct Fabric(Arc<Mutex<State>>);

struct State {
    now: SimTime,
    seed: u64,
    hosts: Vec<Host>,
    connections: BTreeMap<ConnectionId, Connection>,
    next_id: u64,
    events: BinaryHeap<Reverse<(SimTime, u64, Event)>>,
    next_event: u64,
    /// Socket buffers are drawn from this; `None`: all are alike.
    send_buffers: Option<RangeInclusive<usize>>,
    /// To be woken when the lock is free.
    wakers: Vec<Waker>,
    complaints: Vec<String>,
    /// Goals that reads have reached.
    reached: Vec<&'static str>,
    /// Who dialed whom, and from where, as far as those have lines of their own.
    dials: Vec<Dial>,
    /// Types of chunk headers that a read has ended in.
    cut_headers: [bool; 4],
}

struct Host {
    name: String,
    link: Link,
    cuts: [bool; 2],
    /// Connections to it are on its line, and not on that of who dials.
    has_line: bool,
    nic: Nic,
    next_port: u16,
    listeners: BTreeMap<u16, Listener>,
    /// Its machine has no power: it says nothing.
    is_dark: bool,
    is_frozen: bool,
    refuses: bool,
    hangs: bool,
}

#[derive(Default)]
struct Listener {
    backlog: VecDeque<ConnectionId>,
    waker: Option<Waker>,
}

#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug)]
enum Event {
    /// A SYN reaches the acceptor's host.
    Syn(ConnectionId),
    /// The answer reaches the dialer.
    SynAnswer(ConnectionId, bool),
    /// What a bottleneck was serving has passed.
    Served(ConnectionId, usize, u64),
    /// Something may have reached the other end.
    Landed(ConnectionId, usize),
    /// A stall may be over.
    Pump(ConnectionId, usize),
    /// A quantum has left a host: in which turn, and how much.
    Left(HostId, u64, usize),
    /// A reset reaches an end.
    Reset(ConnectionId, usize),
    /// What was written may have waited too long to be acknowledged.
    Unheard(ConnectionId, usize),
}

impl Fabric {
    /// A network without hosts.
    pub fn new(seed: u64) -> Self {
        Self(Arc::new(Mutex::new(State {
            now: SimTime::ZERO,
            seed,
            hosts: Vec::new(),
            connections: BTreeMap::new(),
            next_id: 0,
            events: BinaryHeap::new(),
            next_event: 0,
            send_buffers: None,
            wakers: Vec::new(),
            complaints: Vec::new(),
            reached: Vec::new(),
            dials: Vec::new(),
            cut_headers: [false; 4],
        })))
    }

    /// The same, with sockets of which each takes so many bytes before it says "later": a system
    /// grows that with a connection's round trip, and shrinks it when memory is short.
    #[must_use]
    pub fn with_send_buffers(self, lens: RangeInclusive<usize>) -> Self {
        self.lock().send_buffers = Some(lens);
        self
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Does `f`, then wakes whoever has something to do because of it.
    fn with<T>(&self, f: impl FnOnce(&mut State) -> T) -> T {
        let mut state = self.lock();
        let value = f(&mut state);
        let wakers = std::mem::take(&mut state.wakers);
        drop(state);
        wakers.into_iter().for_each(Waker::wake);
        value
    }

    /// Adds a host, behind this link where it dials.
    pub fn add_host(&self, name: &str, link: Link) -> (HostId, SimNet) {
        let mut state = self.lock();
        let id = HostId(state.hosts.len() as u32);
        state.hosts.push(Host {
            name: name.to_owned(),
            link,
            cuts: [false; 2],
            has_line: false,
            nic: Nic::default(),
            next_port: 1024,
            listeners: BTreeMap::new(),
            is_dark: false,
            is_frozen: false,
            refuses: false,
            hangs: false,
        });
        (id, SimNet::new(self.clone(), id))
    }

    /// Adds a host that is dialed over a line of its own.
    pub(crate) fn add_target(&self, name: &str, link: Link) -> (HostId, SimNet) {
        let added = self.add_host(name, link);
        self.lock().host(added.0).has_line = true;
        added
    }

    /// Who has dialed a target since the last call.
    pub(crate) fn take_dials(&self) -> Vec<Dial> {
        std::mem::take(&mut self.lock().dials)
    }

    /// Lets time pass up to `now`.
    pub fn advance(&self, now: SimTime) {
        self.with(|state| {
            while state.events.peek().is_some_and(|Reverse((at, ..))| *at <= now) {
                let Some(Reverse((at, _, event))) = state.events.pop() else { break };
                state.now = at;
                state.happen(event);
            }
            state.now = now;
        });
    }

    /// How links broke physics since the last call.
    pub fn take_complaints(&self) -> Vec<String> {
        std::mem::take(&mut self.lock().complaints)
    }

    /// Goals that reads have reached since the last call.
    pub(crate) fn take_reached(&self) -> Vec<&'static str> {
        std::mem::take(&mut self.lock().reached)
    }

    /// Connections that somebody still holds, or that something is on its way for.
    pub fn open_connections(&self) -> usize {
        self.lock().connections.len()
    }

    /// Bytes that have left a host.
    pub fn carried(&self, host: HostId) -> u64 {
        self.lock().host(host).nic.carried
    }

    // What faults do.

    // What programs do.

    pub(super) fn set_unsent_max(&self, id: ConnectionId, end: End, max: usize) {
        if let Some(connection) = self.lock().connections.get_mut(&id) {
            connection.outgoing(end).set_unsent_max(max.max(1));
        }
    }

    pub(super) fn set_receive_len_min(&self, id: ConnectionId, end: End, len: usize) {
        self.with(|state| {
            let Some(connection) = state.connections.get_mut(&id) else { return };
            let pipe = connection.incoming(end);
            pipe.receive_len_min = len;
            let waker = if pipe.is_worth_waking() { pipe.reader.take() } else { None };
            state.wakers.extend(waker);
        });
    }

    pub(super) fn set_unacknowledged_max(&self, id: ConnectionId, end: End, time: Duration) {
        if let Some(connection) = self.lock().connections.get_mut(&id) {
            connection.outgoing(end).unacknowledged_max = Some(time);
        }
    }

    pub(super) fn poll_read(
        &self,
        id: ConnectionId,
        end: End,
        cx: &mut Context<'_>,
        buf: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        let polled = self.with(|state| state.poll_read(id, end, cx, buf));
        match polled {
            Some(polled) => polled,
            None => panic!("{MESSAGE_OF_INJECTED_PANIC}"),
        }
    }

    pub(super) fn poll_write(
        &self,
        id: ConnectionId,
        end: End,
        cx: &mut Context<'_>,
        bufs: &[IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        self.with(|state| state.poll_write(id, end, cx, bufs))
    }

    /// What is where in the bytes that this end will have written.
    pub(super) fn note(&self, id: ConnectionId, end: End, landmarks: Vec<Landmark>) {
        if let Some(connection) = self.lock().connections.get_mut(&id) {
            connection.outgoing(end).landmarks.extend(landmarks);
        }
    }

    pub(super) fn shutdown(&self, id: ConnectionId, end: End) {
        self.with(|state| {
            // What was reset has nothing to end.
            let connection = state.connections.get_mut(&id);
            if let Some(connection) = connection.filter(|c| c.ends[end as usize] == EndState::Open)
            {
                connection.outgoing(end).finish();
                state.pump(Way { id, from: end });
            }
        });
    }

    pub(super) fn close(&self, id: ConnectionId, end: End) {
        self.with(|state| state.close(id, end));
    }

    pub(super) fn vanish(&self, id: ConnectionId, end: End) {
        self.with(|state| {
            if let Some(connection) = state.connections.get_mut(&id) {
                connection.pipes.iter_mut().for_each(|pipe| pipe.is_forgotten = true);
                connection.outgoing(end).clear();
                connection.ends[end as usize] = EndState::Reset;
                state.forget_if_over(id);
            }
        });
    }

    pub(super) fn reset(&self, id: ConnectionId, end: End) {
        self.with(|state| state.send_reset(id, end.other()));
    }
}

/// Whether a panic's message is of one that the plan asked for.
pub(crate) fn is_injected_panic(message: &str) -> bool {
    message.contains(MESSAGE_OF_INJECTED_PANIC)
}

impl State {
    fn host(&mut self, id: HostId) -> &mut Host {
        &mut self.hosts[id.0 as usize]
    }

    fn schedule(&mut self, at: SimTime, event: Event) {
        if at < SimTime::MAX {
            self.events.push(Reverse((at.max(self.now), self.next_event, event)));
            self.next_event += 1;
        }
    }

    /// The pipe that goes up a host's line: what it writes itself.
    fn up(&mut self, host: HostId) -> usize {
        usize::from(self.host(host).has_line)
    }

    fn complain(&mut self, result: Result<(), String>, id: ConnectionId) {
        if let Err(complaint) = result {
            self.complaints.push(format!("connection {}: {complaint}", id.0));
        }
    }

    fn happen(&mut self, event: Event) {
        match event {
            Event::Syn(id) => self.syn(id),
            Event::SynAnswer(id, stands) => self.syn_answer(id, stands),
            Event::Served(id, way, service) => self.served(id, way, service),
            Event::Landed(id, way) => self.landed(id, way),
            Event::Pump(id, way) => self.pump(Way { id, from: end(way) }),
            Event::Left(host, turn, len) => self.left(host, turn, len),
            Event::Reset(id, way) => self.told_reset(id, end(way)),
            Event::Unheard(id, way) => self.unheard(id, end(way)),
        }
    }

    // Opening.

    // Bytes.

    /// Sends what may be sent in one direction.
    fn pump(&mut self, way: Way) {
        let now = self.now;
        loop {
            let Some(connection) = self.connections.get_mut(&way.id) else { return };
            let host = connection.host(way.from);
            let pipe = connection.outgoing(way.from);
            if pipe.stalled_until > now && !pipe.unsent.is_empty() {
                let at = pipe.stalled_until;
                self.schedule(at, Event::Pump(way.id, way.from as usize));
                break;
            }
            let Some(len) = pipe.sendable(now) else { break };
            if self.hosts[host.0 as usize].nic.rate.is_some() {
                if !pipe.in_nic {
                    pipe.in_nic = true;
                    self.host(host).nic.waiting.push_back(way);
                    self.turn(host);
                }
                break;
            }
            let sent = pipe.send(now, len);
            self.host(host).nic.carried += len as u64;
            self.complain(sent, way.id);
            self.carry(way);
        }
        self.wake_writer(way);
    }

    /// The next quantum leaves a host.
    fn turn(&mut self, host: HostId) {
        let now = self.now;
        while self.host(host).nic.on_wire.is_none() {
            let Some(way) = self.host(host).nic.waiting.pop_front() else { return };
            let quantum = self.host(host).nic.quantum();
            let Some(connection) = self.connections.get_mut(&way.id) else { continue };
            let pipe = connection.outgoing(way.from);
            let Some(len) = pipe.sendable(now) else {
                pipe.in_nic = false;
                continue;
            };
            let len = len.min(quantum);
            let nic = &mut self.host(host).nic;
            let at = nic.begin(now, way, len);
            let turn = nic.turn;
            self.schedule(at, Event::Left(host, turn, len));
        }
    }

    fn left(&mut self, host: HostId, turn: u64, len: usize) {
        let now = self.now;
        let nic = &mut self.host(host).nic;
        if nic.turn != turn {
            return;
        }
        let Some(way) = nic.on_wire.take() else { return };
        if let Some(connection) = self.connections.get_mut(&way.id) {
            let pipe = connection.outgoing(way.from);
            // A link that was cut in the meantime takes nothing.
            let len = pipe.sendable(now).unwrap_or(0).min(len);
            let sent = pipe.send(now, len);
            let goes_on = pipe.sendable(now).is_some();
            pipe.in_nic = goes_on;
            self.complain(sent, way.id);
            self.host(host).nic.carried += len as u64;
            if goes_on {
                self.host(host).nic.waiting.push_back(way);
            }
            self.carry(way);
            // A stall may have begun.
            self.pump(way);
        }
        self.turn(host);
    }

    /// What has entered a path goes on.
    fn carry(&mut self, way: Way) {
        let now = self.now;
        let Some(connection) = self.connections.get_mut(&way.id) else { return };
        let pipe = connection.outgoing(way.from);
        let service = pipe.begin_service(now).map(|at| (at, pipe.service));
        let lands = pipe.flights.back().map(|flight| flight.due);
        if let Some((at, service)) = service {
            self.schedule(at, Event::Served(way.id, way.from as usize, service));
        }
        if let Some(at) = lands {
            self.schedule(at, Event::Landed(way.id, way.from as usize));
        }
    }

    fn served(&mut self, id: ConnectionId, way: usize, service: u64) {
        let now = self.now;
        let Some(connection) = self.connections.get_mut(&id) else { return };
        let pipe = &mut connection.pipes[way];
        if pipe.service != service || pipe.cut_since.is_some() {
            return;
        }
        let passed = pipe.end_service(now);
        self.complain(passed, id);
        self.carry(Way { id, from: end(way) });
        // The queue has room again.
        self.pump(Way { id, from: end(way) });
    }

    fn landed(&mut self, id: ConnectionId, way: usize) {
        let now = self.now;
        let Some(connection) = self.connections.get_mut(&id) else { return };
        let reader = end(way).other();
        let state = connection.ends[reader as usize];
        let pipe = &mut connection.pipes[way];
        let mut has_landed = false;
        let mut complaint = Ok(());
        while let Some(piece) = pipe.land(now) {
            has_landed = true;
            complaint = complaint.and(pipe.physics.arrive(piece.offset, piece.bytes.len()));
            match state {
                EndState::Open => pipe.arrived.push(piece),
                EndState::Closed | EndState::Reset => {}
            }
        }
        if !has_landed {
            return;
        }
        let waker = if pipe.is_worth_waking() { pipe.reader.take() } else { None };
        self.wakers.extend(waker);
        self.complain(complaint, id);
        if state == EndState::Closed {
            // Nobody reads it there: a reset is the answer.
            self.send_reset(id, end(way));
        }
        self.forget_if_over(id);
    }

    fn wake_writer(&mut self, way: Way) {
        let Some(connection) = self.connections.get_mut(&way.id) else { return };
        let pipe = connection.outgoing(way.from);
        if pipe.has_room_again() {
            let waker = pipe.writer.take();
            self.wakers.extend(waker);
        }
    }

    fn poll_read(
        &mut self,
        id: ConnectionId,
        end: End,
        cx: &mut Context<'_>,
        buf: &mut ReadBuf<'_>,
    ) -> Option<Poll<io::Result<()>>> {
        let Some(connection) = self.connections.get_mut(&id) else {
            return Some(Poll::Ready(Err(io::ErrorKind::ConnectionReset.into())));
        };
        if end == End::Acceptor && std::mem::take(&mut connection.panics) {
            return None;
        }
        let (host, state) = (connection.host(end), connection.ends[end as usize]);
        let pipe = connection.incoming(end);
        if self.hosts[host.0 as usize].is_frozen {
            pipe.reader = Some(cx.waker().clone());
            return Some(Poll::Pending);
        }
        let room = buf.remaining();
        let mut left = pipe.read_max(room);
        let mut len = 0;
        while left > 0 && pipe.arrived.front().is_some_and(|piece| !piece.bytes.is_empty()) {
            let Some(piece) = pipe.arrived.pop(left) else { break };
            buf.put_slice(&piece.bytes);
            left -= piece.bytes.len();
            len += piece.bytes.len();
        }
        if len == 0 && room > 0 {
            if pipe.arrived.front().is_some() {
                return Some(Poll::Ready(Ok(()))); // The end, which stays in front.
            }
            if state == EndState::Reset {
                return Some(Poll::Ready(Err(io::ErrorKind::ConnectionReset.into())));
            }
            pipe.reader = Some(cx.waker().clone());
            return Some(Poll::Pending);
        }
        pipe.outstanding -= len as u64;
        let sights = pipe.landmarks.read(len);
        self.see(sights);
        // The window has opened.
        self.pump(Way { id, from: end.other() });
        Some(Poll::Ready(Ok(())))
    }

    fn see(&mut self, sights: Vec<Sight>) {
        for sight in sights {
            match sight {
                Sight::Goal(name) => self.reached.push(name),
                Sight::CutExtended => self.reached.push("tag_cut_in_extended_timestamp"),
                Sight::CutHeader(fmt) => {
                    let known = &mut self.cut_headers[usize::from(fmt) % 4];
                    let is_new = !std::mem::replace(known, true);
                    if is_new && self.cut_headers == [true; 4] {
                        self.reached.push("tag_cut_in_header");
                    }
                }
            }
        }
    }

    fn poll_write(
        &mut self,
        id: ConnectionId,
        end: End,
        cx: &mut Context<'_>,
        bufs: &[IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        let Some(connection) = self.connections.get_mut(&id) else {
            return Poll::Ready(Err(io::ErrorKind::ConnectionReset.into()));
        };
        if connection.ends[end as usize] == EndState::Reset {
            return Poll::Ready(Err(io::ErrorKind::ConnectionReset.into()));
        }
        let host = connection.host(end);
        let pipe = connection.outgoing(end);
        if pipe.is_finished {
            return Poll::Ready(Err(io::ErrorKind::BrokenPipe.into()));
        }
        let room = if self.hosts[host.0 as usize].is_frozen { 0 } else { pipe.room() };
        let len = bufs.iter().map(|buf| buf.len()).sum::<usize>().min(room);
        if room == 0 {
            pipe.writer = Some(cx.waker().clone());
            return Poll::Pending;
        }
        pipe.write(gather(bufs, len));
        self.pump(Way { id, from: end });
        self.expect_acknowledgement(id, end);
        Poll::Ready(Ok(len))
    }

    /// Something was written, and may get nowhere.
    fn expect_acknowledgement(&mut self, id: ConnectionId, from: End) {
        let now = self.now;
        let Some(connection) = self.connections.get_mut(&id) else { return };
        let pipe = connection.outgoing(from);
        let Some(time) = pipe.unacknowledged_max else { return };
        let is_lost = pipe.is_forgotten || pipe.cut_since.is_some();
        if is_lost && pipe.unheard_since.is_none() {
            pipe.unheard_since = Some(now);
            self.schedule(now + time, Event::Unheard(id, from as usize));
        }
    }

    /// Nothing was heard of what was written: the system gives the connection up, and tells its own
    /// program only.
    fn unheard(&mut self, id: ConnectionId, end: End) {
        let Some(connection) = self.connections.get_mut(&id) else { return };
        let pipe = connection.outgoing(end);
        let Some(since) = pipe.unheard_since.take() else { return };
        let is_cut = pipe.cut_since.is_some_and(|cut| cut <= since);
        if connection.ends[end as usize] == EndState::Open
            && (is_cut || connection.outgoing(end).is_forgotten)
        {
            connection.ends[end as usize] = EndState::Reset;
            connection.outgoing(end).clear();
            let wakers: Vec<_> = connection.wakers().collect();
            self.wakers.extend(wakers);
        }
    }

    // Closing.

    fn close(&mut self, id: ConnectionId, end: End) {
        let is_dark = self
            .connections
            .get(&id)
            .is_some_and(|connection| self.hosts[connection.host(end).0 as usize].is_dark);
        let Some(connection) = self.connections.get_mut(&id) else { return };
        if connection.ends[end as usize] != EndState::Open {
            self.forget_if_over(id);
            return;
        }
        connection.ends[end as usize] = EndState::Closed;
        if is_dark {
            connection.ends[end as usize] = EndState::Reset;
            connection.outgoing(end).clear();
            connection.pipes.iter_mut().for_each(|pipe| pipe.is_forgotten = true);
        } else if connection.opening == Opening::Refused {
            connection.ends[end as usize] = EndState::Reset;
        } else if connection.incoming(end).arrived.len > 0 {
            // Bytes that nobody has read: a system resets then, and what it had to send is gone.
            connection.outgoing(end).clear();
            self.send_reset(id, end.other());
        } else {
            connection.outgoing(end).finish();
            self.pump(Way { id, from: end });
        }
        self.forget_if_over(id);
    }

    /// A reset is on its way to an end.
    fn send_reset(&mut self, id: ConnectionId, to: End) {
        let Some(connection) = self.connections.get_mut(&id) else { return };
        let from = to.other();
        connection.ends[from as usize] = EndState::Reset;
        connection.outgoing(from).clear();
        let at = self.now + connection.outgoing(from).path.delay;
        self.schedule(at, Event::Reset(id, to as usize));
    }

    fn told_reset(&mut self, id: ConnectionId, end: End) {
        let Some(connection) = self.connections.get_mut(&id) else { return };
        if connection.incoming(end).cut_since.is_some() || connection.incoming(end).is_forgotten {
            self.forget_if_over(id);
            return;
        }
        connection.ends[end as usize] = EndState::Reset;
        connection.outgoing(end).clear();
        let wakers: Vec<_> = connection.wakers().collect();
        self.wakers.extend(wakers);
        self.forget_if_over(id);
    }

    fn reset(&mut self, id: ConnectionId) {
        let Some(connection) = self.connections.get_mut(&id) else { return };
        for end in [End::Dialer, End::Acceptor] {
            connection.ends[end as usize] = EndState::Reset;
            connection.outgoing(end).clear();
        }
        if connection.opening == Opening::Dialing {
            connection.opening = Opening::Refused;
        }
        let wakers: Vec<_> = connection.wakers().collect();
        self.wakers.extend(wakers);
    }

    fn forget_if_over(&mut self, id: ConnectionId) {
        if self.connections.get(&id).is_some_and(Connection::is_over) {
            self.connections.remove(&id);
        }
    }

    // Links.
}

fn end(way: usize) -> End {
    if way == End::Dialer as usize { End::Dialer } else { End::Acceptor }
}

fn gather(bufs: &[IoSlice<'_>], len: usize) -> Bytes {
    let mut bytes = BytesMut::with_capacity(len);
    for buf in bufs {
        let take = buf.len().min(len - bytes.len());
        bytes.extend_from_slice(&buf[..take]);
    }
    bytes.freeze()
}
