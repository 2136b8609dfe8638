//! What targets of relays got, as if they were viewers of the nodes that published to them.

use std::sync::Arc;

use super::{Connection, GotTag, Ledger, Matched, Told};
use crate::time::SimTime;
use crate::trace::{Close, RelaySeen, Who};

/// A relay dialed.
#[derive(Clone, Debug)]
pub struct RelayDial {
    /// When.
    pub at: SimTime,
    /// The event's index.
    pub event: usize,
    /// Who.
    pub node: Who,
    /// Which life of the node's process.
    pub life: usize,
    /// Whom.
    pub target: Who,
    /// From where.
    pub from: Arc<str>,
}

/// A target's connection.
#[derive(Clone, Debug)]
pub struct Relayed {
    /// The target's number of it.
    pub number: u32,
    /// What it got, as if it played: `playing` is when it let the node publish, and what.
    pub connection: Connection,
    /// How it said no.
    pub refused: Option<(Told, Arc<str>)>,
    /// It was told that the stream is over.
    pub ended: Option<Told>,
    /// It was over inside a message.
    pub was_partial: bool,
}

impl Relayed {
    /// When it let the node publish.
    pub fn published(&self) -> Option<SimTime> {
        self.connection.playing.as_ref().map(|(told, _)| told.at)
    }

    /// The stream that it let the node publish.
    pub fn key(&self) -> Option<&str> {
        self.connection.playing.as_ref().map(|(_, key)| &**key)
    }

    /// When and how it was over for the target.
    pub fn over(&self) -> Option<(SimTime, Close)> {
        self.connection.closed.map(|(told, close)| (told.at, close))
    }
}

impl Ledger {
    pub(super) fn read_relay(
        &mut self,
        event: usize,
        at: SimTime,
        who: Who,
        life: usize,
        seen: &RelaySeen,
    ) {
        match seen {
            RelaySeen::Dialed { target, from } => {
                let (node, target, from) = (who, *target, from.clone());
                self.dials.push(RelayDial { at, event, node, life, target, from });
            }
            RelaySeen::Accepted { connection, from } => {
                let mut dials = self.dials.iter().rev();
                let Some(dial) = dials.find(|it| it.target == who && it.from == *from) else {
                    return;
                };
                let (node, from) = (dial.node, from.clone());
                let mut known = Connection::new(who, node, from, dial.at, dial.event, dial.life);
                known.connected = Some(Told { at, event, place: 0 });
                self.relayed.push(Relayed {
                    number: *connection,
                    connection: known,
                    refused: None,
                    ended: None,
                    was_partial: false,
                });
            }
            RelaySeen::Publishing { connection, .. }
            | RelaySeen::Refused { connection, .. }
            | RelaySeen::Got { connection, .. }
            | RelaySeen::Ended { connection }
            | RelaySeen::Garbled { connection, .. }
            | RelaySeen::Over { connection, .. } => {
                let mut newest = self.relayed.iter_mut().rev();
                let is_it =
                    |it: &&mut Relayed| it.connection.who == who && it.number == *connection;
                if let Some(relayed) = newest.find(is_it) {
                    relayed.read(event, at, seen);
                }
            }
            RelaySeen::Told(_) => {}
        }
    }

    /// A target's process died, and its connections with it.
    pub(super) fn end_relays(&mut self, event: usize, at: SimTime, target: Who) {
        let open =
            |it: &&mut Relayed| it.connection.who == target && it.connection.closed.is_none();
        for relayed in self.relayed.iter_mut().filter(open) {
            let place = relayed.connection.got.len() as u32;
            let told = Told { at, event, place };
            relayed.connection.closed = Some((told, Close::Vanished));
        }
    }

    pub(super) fn match_targets(&mut self) {
        for index in 0..self.relayed.len() {
            if let Some((topic, got, holes)) = self.matched(&self.relayed[index].connection) {
                let connection = &mut self.relayed[index].connection;
                (connection.topic, connection.got, connection.holes) = (Some(topic), got, holes);
            }
        }
    }

    /// Connections of targets that were published to, and from which topic.
    pub fn relays(&self) -> impl Iterator<Item = (&Relayed, &super::Topic)> {
        self.relayed
            .iter()
            .filter_map(|relayed| Some((relayed, self.topic_of(&relayed.connection)?)))
            .filter(|(_, topic)| !topic.is_partial)
    }
}

impl Relayed {
    fn read(&mut self, event: usize, at: SimTime, seen: &RelaySeen) {
        let connection = &mut self.connection;
        let told = Told { at, event, place: connection.got.len() as u32 };
        match seen {
            RelaySeen::Publishing { key, .. } => connection.playing = Some((told, key.clone())),
            RelaySeen::Refused { code, .. } => self.refused = Some((told, code.clone())),
            RelaySeen::Got { tag, .. } => {
                connection.got.push(GotTag { at, event, tag: *tag, matched: Matched::Foreign });
            }
            RelaySeen::Ended { .. } => self.ended = Some(told),
            RelaySeen::Garbled { why, .. } => {
                connection.garbled.get_or_insert_with(|| (told, why.clone()));
            }
            RelaySeen::Over { close, is_partial, .. } => {
                connection.closed = Some((told, *close));
                self.was_partial = *is_partial;
            }
            RelaySeen::Dialed { .. } | RelaySeen::Accepted { .. } | RelaySeen::Told(_) => {}
        }
    }
}
