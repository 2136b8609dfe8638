//! Faults: what a plan's lines do to peers, links and nodes, and how it ends.

use std::mem::discriminant;
use std::net::SocketAddr;

use super::agenda::Do;
use super::{NodeHandle, World, is_of};
use crate::disk::Death;
use crate::link::Link;
use crate::net::HostId;
use crate::peer::Order;
use crate::plan::{Act, Direction};
use crate::time::SimTime;
use crate::trace::What;

impl World<'_> {
    /// Does what a line says, and remembers when it is over.
    pub(super) fn begin_fault(&mut self, index: usize) {
        let plan = self.plan;
        let line = &plan.lines[index];
        self.tell_fault(index, true);
        if self.nodes.contains_key(&line.who.name) {
            self.do_to_node(&line.who.name, index, &line.act);
        } else {
            for name in self.members(&line.who.name) {
                self.do_to_peer(&name, &line.act);
            }
        }
        if let Some(lasts) = line.act.lasts() {
            self.active.push(index);
            self.agenda.add(self.now + lasts, Do::EndFault(index));
        }
    }

    /// Undoes what a line did for a while, as far as no other line goes on doing it.
    pub(super) fn end_fault(&mut self, index: usize) {
        let plan = self.plan;
        let line = &plan.lines[index];
        self.active.retain(|active| *active != index);
        self.tell_fault(index, false);
        if let Some(NodeHandle { host, node, .. }) = self.nodes.get(&line.who.name) {
            let host = *host;
            match &line.act {
                Act::Disk(..) => node.disk.end(index),
                Act::Cut(direction, _) => {
                    for (name, peer) in self.at_node(&line.who.name) {
                        self.heal(&name, peer, *direction);
                    }
                }
                act if self.goes_on(&line.who.name, act) => {}
                Act::Freeze(_) => self.fabric.set_frozen(host, false),
                Act::Egress(..) => self.fabric.set_egress(host, None),
                Act::Refuse(_) => self.fabric.set_refuses(host, false),
                Act::Hang(_) => self.fabric.set_hangs(host, false),
                _ => {}
            }
            return;
        }
        for name in self.members(&line.who.name) {
            let Some(peer) = self.peers.get(&name) else { continue };
            match &line.act {
                Act::Link(..) if !self.goes_on(&name, &line.act) => {
                    self.fabric.set_link(peer.host, &peer.link);
                }
                Act::Cut(direction, _) => self.heal(&name, peer.host, *direction),
                Act::Freeze(_) | Act::Refuse(_) | Act::Hang(_) | Act::Crash { .. }
                    if self.goes_on(&name, &line.act) => {}
                Act::Freeze(_) => self.fabric.set_frozen(peer.host, false),
                Act::Refuse(_) => self.fabric.set_refuses(peer.host, false),
                Act::Hang(_) => self.fabric.set_hangs(peer.host, false),
                Act::Crash { .. } => {
                    self.fabric.set_dark(peer.host, false);
                    let _it_never_came = peer.orders.send(Order::Start);
                }
                _ => {}
            }
        }
    }

    /// Whether another line does the same to a peer or a node.
    fn goes_on(&self, name: &str, act: &Act) -> bool {
        self.active
            .iter()
            .map(|index| &self.plan.lines[*index])
            .any(|line| is_of(name, &line.who.name) && discriminant(&line.act) == discriminant(act))
    }

    /// Ends a cut in the directions that no other line cuts.
    fn heal(&self, name: &str, host: HostId, direction: Direction) {
        for way in [Direction::Up, Direction::Down] {
            if [way, Direction::Both].contains(&direction) && !self.is_cut(name, way) {
                self.fabric.set_cut(host, way, false);
            }
        }
    }

    /// Who comes while he, his group or his node is cut off gets no further.
    pub(super) fn cut_off(&self, name: &str, host: HostId) {
        for way in [Direction::Up, Direction::Down] {
            if self.is_cut(name, way) {
                self.fabric.set_cut(host, way, true);
            }
        }
    }

    /// Whether a line cuts a peer's way in this direction.
    fn is_cut(&self, name: &str, way: Direction) -> bool {
        let node = self.peers.get(name).map_or("", |peer| &peer.node);
        self.active.iter().map(|index| &self.plan.lines[*index]).any(|line| {
            let concerns = is_of(name, &line.who.name) || line.who.name == node;
            let cuts =
                matches!(&line.act, Act::Cut(cut, _) if [way, Direction::Both].contains(cut));
            concerns && cuts
        })
    }

    fn tell_fault(&self, index: usize, begins: bool) {
        let line = &self.plan.lines[index];
        let Some(family) = self.plan.family(line) else { return };
        let who = self.recorder.who(&line.who.name);
        let line = line.act.to_string().into();
        self.recorder.push(
            who,
            match begins {
                true => What::FaultBegins { family, line },
                false => What::FaultEnds { family, line },
            },
        );
    }

    fn members(&self, actor: &str) -> Vec<String> {
        self.peers.keys().filter(|name| is_of(name, actor)).cloned().collect()
    }

    fn do_to_peer(&mut self, name: &str, act: &Act) {
        let Some(peer) = self.peers.get_mut(name) else { return };
        let host = peer.host;
        let order = |order| {
            // A peer that has left for good takes no orders.
            let _gone = peer.orders.send(order);
        };
        match act {
            Act::StopReading(time) => order(Order::StopReading(*time)),
            Act::Leave(leave) => order(Order::Leave(*leave)),
            Act::Stall(time) => order(Order::Stall(*time)),
            Act::Receive(receive) => order(Order::Receive(*receive)),
            Act::Link(link, lasts) => {
                if lasts.is_none() {
                    peer.link = link.clone();
                }
                let link: Link = link.clone();
                self.fabric.set_link(host, &link);
            }
            Act::Cut(direction, _) => self.fabric.set_cut(host, *direction, true),
            Act::Forget => self.fabric.forget(host),
            Act::Reset => self.fabric.reset_all(host),
            Act::Panic => self.fabric.panic_at_next_read(host),
            Act::Cancel => self.cancel(name),
            Act::Freeze(_) => self.fabric.set_frozen(host, true),
            Act::Refuse(_) => self.fabric.set_refuses(host, true),
            Act::Hang(_) => self.fabric.set_hangs(host, true),
            Act::Crash { silent, .. } => {
                let who = peer.who;
                order(Order::Crash);
                self.recorder.push(who, What::Crashed);
                self.fabric.set_dark(host, *silent);
                self.fabric.close_all(host);
            }
            _ => {}
        }
    }

    fn cancel(&self, name: &str) {
        let Some(peer) = self.peers.get(name) else { return };
        let address = self.recorder.address_of(peer.who);
        let address = address.and_then(|address| address.parse::<SocketAddr>().ok());
        if let Some((address, node)) = address.zip(self.nodes.get(&peer.node)) {
            node.node.cancel(address);
        }
    }

    fn do_to_node(&mut self, name: &str, index: usize, act: &Act) {
        let Some(handle) = self.nodes.get_mut(name) else { return };
        let host = handle.host;
        match act {
            Act::Crash { down, silent } => {
                let until = down.map_or(SimTime::MAX, |down| self.now + down);
                if handle.down_until.is_none() {
                    self.fabric.set_dark(host, *silent);
                    handle.returns = None;
                    let death = if *silent { Death::OfMachine } else { Death::OfProcess };
                    self.kill(name, death);
                }
                self.stay_down(name, until);
            }
            Act::Stop(_) if handle.down_until.is_some() || handle.returns.is_some() => {}
            Act::Stop(returns) => {
                handle.returns = Some(*returns);
                self.recorder.push(handle.node.who, What::Stopping);
                handle.node.stop();
            }
            Act::Freeze(_) => self.fabric.set_frozen(host, true),
            Act::Late(max, lasts) => handle.node.set_late(*max, self.now + *lasts),
            Act::Egress(rate, _) => self.fabric.set_egress(host, Some(*rate)),
            Act::Refuse(_) => self.fabric.set_refuses(host, true),
            Act::Hang(_) => self.fabric.set_hangs(host, true),
            Act::Disk(fault, lasts) => {
                let records = handle.node.config.archive.directory.clone().unwrap_or_default();
                let once = fault.is_single() && lasts.is_none();
                handle.node.disk.begin(index, *fault, once, &records);
            }
            Act::Cut(direction, _) => {
                for (_, peer) in self.at_node(name) {
                    self.fabric.set_cut(peer, *direction, true);
                }
            }
            _ => {}
        }
    }

    fn at_node(&self, node: &str) -> Vec<(String, HostId)> {
        let peers = self.peers.iter().filter(|(_, peer)| peer.node == node);
        peers.map(|(name, peer)| (name.clone(), peer.host)).collect()
    }

    /// Ends a node's process on the spot.
    fn kill(&mut self, name: &str, death: Death) {
        let Some(handle) = self.nodes.get(name) else { return };
        let who = handle.node.who;
        self.recorder.push(who, What::Crashed);
        self.end_process(name, death);
    }

    pub(super) fn end_process(&mut self, name: &str, death: Death) {
        // What destructors would log, a killed process does not.
        self.recorder.set_muted(true);
        if let Some(handle) = self.nodes.get(name) {
            self.fabric.close_all(handle.host);
        }
        self.sim.crash(name);
        self.recorder.set_muted(false);
        self.look_at_disk(name, death);
    }

    /// A node that has stopped by itself leaves its process, and may come back.
    pub(super) fn after_step(&mut self) {
        for handle in self.nodes.values().filter(|handle| handle.node.take_released()) {
            self.recorder.reach(handle.node.who, "task_cancelled_holding_a_block");
        }
        let stopping: Vec<_> = self
            .nodes
            .iter()
            .filter(|(_, handle)| handle.returns.is_some() && handle.node.has_stopped())
            .map(|(name, _)| name.clone())
            .collect();
        for name in stopping {
            self.end_process(&name, Death::OfProcess);
            let returns = self.nodes.get_mut(&name).and_then(|handle| handle.returns.take());
            let down = returns.flatten();
            self.stay_down(&name, down.map_or(SimTime::MAX, |down| self.now + down));
        }
    }

    /// A node that is down stays so until then at least.
    fn stay_down(&mut self, name: &str, until: SimTime) {
        let Some(handle) = self.nodes.get_mut(name) else { return };
        handle.down_until = handle.down_until.max(Some(until));
        if until < SimTime::MAX {
            self.agenda.add(until, Do::Return(name.to_owned()));
        }
    }

    /// Starts a node's process again.
    pub(super) fn restart(&mut self, name: &str) {
        let Some(handle) = self.nodes.get_mut(name) else { return };
        if handle.down_until.is_none_or(|until| until > self.now) {
            return;
        }
        handle.down_until = None;
        self.fabric.set_dark(handle.host, false);
        self.sim.bounce(name);
    }
}
