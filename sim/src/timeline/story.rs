//! A run as the drawing needs it: the ledger, the cast and the faults, read once.

use std::collections::BTreeSet;

use super::faults::{self, Fault};
use crate::invariant::Cast;
use crate::ledger::{Border, Connection, Ledger};
use crate::report::Outcome;
use crate::run::is_of;
use crate::time::SimTime;
use crate::trace::{Trace, Who};

/// What is drawn.
pub(super) struct Story<'a> {
    pub(super) outcome: &'a Outcome,
    pub(super) trace: &'a Trace,
    pub(super) ledger: Ledger,
    pub(super) cast: Cast<'a>,
    pub(super) faults: Vec<Fault<'a>>,
    pub(super) end: SimTime,
    nodes: BTreeSet<Who>,
    peers: BTreeSet<Who>,
}

impl<'a> Story<'a> {
    pub(super) fn new(outcome: &'a Outcome) -> Self {
        let (trace, plan) = (&outcome.run.trace, &outcome.run.plan);
        let ledger = Ledger::new(trace);
        let last = trace.events.last().map_or(SimTime::ZERO, |event| event.at);
        let end = plan.end.max(last).max(SimTime::from_millis(1));
        let peers = ledger.connections.iter().map(|connection| connection.who).collect();
        let mut nodes: BTreeSet<Who> = ledger.lives.keys().copied().collect();
        nodes.extend(ledger.connections.iter().map(|connection| connection.node));
        let (cast, faults) = (Cast::new(plan, trace), faults::read(trace, end));
        Self { outcome, trace, ledger, cast, faults, end, nodes, peers }
    }

    pub(super) fn name(&self, who: Who) -> &str {
        self.trace.name(who)
    }

    pub(super) fn nodes(&self) -> impl Iterator<Item = Who> + '_ {
        self.nodes.iter().copied()
    }

    pub(super) fn peers(&self) -> impl Iterator<Item = Who> + '_ {
        self.peers.iter().copied()
    }

    pub(super) fn connections(&self, who: Who) -> impl Iterator<Item = &Connection> {
        self.ledger.connections.iter().filter(move |connection| connection.who == who)
    }

    /// Faults that name this one, or the group that it is of.
    pub(super) fn faults_of(&self, who: Who) -> impl Iterator<Item = &Fault<'a>> {
        let name = self.name(who);
        self.faults.iter().filter(move |fault| is_of(name, self.name(fault.who)))
    }

    /// When a node's process was not there, with the reason.
    pub(super) fn downs(&self, node: Who) -> Vec<(SimTime, SimTime, &'static str)> {
        let lives = self.ledger.lives.get(&node).map_or(&[][..], Vec::as_slice);
        let mut downs: Vec<(SimTime, SimTime, &'static str)> = Vec::new();
        for life in lives {
            match life.border {
                Border::Crashed => downs.push((life.at, self.end, "crashed")),
                Border::Stopped => downs.push((life.at, self.end, "stopped")),
                Border::Started => {
                    if let Some(down) = downs.last_mut().filter(|down| down.1 == self.end) {
                        down.1 = life.at;
                    }
                }
                Border::Stopping => {}
            }
        }
        downs
    }

    /// When a connection was over for its peer; the end of the run if it was not.
    pub(super) fn over_at(&self, connection: &Connection) -> SimTime {
        let next = self
            .connections(connection.who)
            .find(|next| next.dialed.event > connection.dialed.event);
        let next = next.map_or(self.end, |next| next.dialed.at);
        connection.closed.map_or(next, |(told, _)| told.at).min(self.end)
    }
}
