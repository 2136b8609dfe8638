//! Ledger: published against delivered, tag by tag, from the trace of a run alone.

mod connection;
mod matching;
mod published;

use std::collections::BTreeMap;
use std::sync::Arc;

pub use self::connection::{Connection, Lost, Publication, SentTag, Told};
pub use self::matching::{GotTag, Hole, Matched};
pub use self::published::{PublishedTag, Session, Topic};

use crate::time::SimTime;
use crate::trace::{Event, Trace, What, Who};

/// Who sent what, what entered the hubs, and what arrived.
#[derive(Clone, Debug, Default)]
pub struct Ledger {
    /// What entered the hubs: a topic each from its first tag until its node forgets it.
    pub topics: Vec<Topic>,
    /// Peers' connections in the order in which they were dialed.
    pub connections: Vec<Connection>,
    /// Per node, when its process ended and began, in order.
    pub lives: BTreeMap<Who, Vec<Life>>,
}

/// A border between two lives of a node's process.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Life {
    /// When.
    pub at: SimTime,
    /// The event's index.
    pub event: usize,
    /// What happened.
    pub border: Border,
}

/// What happened to a node's process.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Border {
    /// It listens.
    Started,
    /// It was told to stop.
    Stopping,
    /// It has stopped by itself.
    Stopped,
    /// It died.
    Crashed,
}

impl Ledger {
    /// Reads a trace.
    pub fn new(trace: &Trace) -> Self {
        let mut reader = Reader { ledger: Self::default(), connections_of: BTreeMap::new() };
        for (index, event) in trace.events.iter().enumerate() {
            reader.read(index, event);
        }
        let mut ledger = reader.ledger;
        for topic in &mut ledger.topics {
            topic.complete();
            topic.find_publications(&ledger.connections);
        }
        for index in 0..ledger.connections.len() {
            ledger.match_viewer(index);
        }
        ledger
    }

    fn match_viewer(&mut self, index: usize) {
        let connection = &self.connections[index];
        if connection.got.is_empty() {
            return;
        }
        let candidates =
            self.topics.iter().enumerate().filter(|(_, topic)| topic.may_have_served(connection));
        let matched = candidates.map(|(index, topic)| {
            let got = matching::match_tags(topic, connection);
            let bad = got.iter().filter(|tag| tag.is_bad()).count();
            (bad, index, got)
        });
        // A tie goes to the oldest: the one that had begun when it joined.
        let Some((_, topic, got)) = matched.min_by_key(|(bad, index, _)| (*bad, *index)) else {
            return;
        };
        let holes = matching::holes(&self.topics[topic], &got);
        let connection = &mut self.connections[index];
        (connection.topic, connection.got, connection.holes) = (Some(topic), got, holes);
    }

    /// The topic that a viewer's connection was served from.
    pub fn topic_of(&self, connection: &Connection) -> Option<&Topic> {
        connection.topic.map(|index| &self.topics[index])
    }

    /// Connections that play, with what they play.
    pub fn viewers(&self) -> impl Iterator<Item = (&Connection, &Topic)> {
        self.connections
            .iter()
            .filter_map(|connection| Some((connection, self.topic_of(connection)?)))
    }

    /// Every publication of a stream at a node, with its connection.
    pub fn publications<'a>(
        &'a self,
        node: Who,
        key: &'a str,
    ) -> impl Iterator<Item = (&'a Connection, &'a Publication)> {
        self.connections.iter().filter(move |connection| connection.node == node).flat_map(
            move |connection| {
                let of_key = connection.publications.iter().filter(move |p| *p.key == *key);
                of_key.map(move |publication| (connection, publication))
            },
        )
    }

    /// The publication that a session came from.
    pub fn publication_of(&self, session: &Session) -> Option<(&Connection, &Publication)> {
        let (connection, publication) = session.publication?;
        let connection = &self.connections[connection];
        Some((connection, &connection.publications[publication]))
    }

    /// Whether the node's process lives all the time from `from` to `to`.
    pub fn is_up(&self, node: Who, from: SimTime, to: SimTime) -> bool {
        let borders = self.lives.get(&node).map_or(&[][..], Vec::as_slice);
        let before = borders.iter().rfind(|life| life.at <= from);
        before.is_none_or(|life| life.border == Border::Started)
            && !borders
                .iter()
                .any(|life| life.at > from && life.at <= to && life.border != Border::Started)
    }
}

struct Reader {
    ledger: Ledger,
    /// Indexes of each peer's connections; the last is the newest.
    connections_of: BTreeMap<Who, Vec<usize>>,
}

impl Reader {
    fn read(&mut self, index: usize, event: &Event) {
        let Event { at, who, what } = event;
        match what {
            What::Dialed { node, address } => {
                let life = self.life(*node);
                let mut connection =
                    Connection::new(*who, *node, address.clone(), *at, index, life);
                connection.is_clouded = self.has_ghost(*who);
                self.connections_of.entry(*who).or_default().push(self.ledger.connections.len());
                self.ledger.connections.push(connection);
            }
            What::Connected => {
                if let Some(newest) = self.connections_of.get(who).and_then(|all| all.last()) {
                    // A dial may take longer than the node's process lives.
                    let life = self.life(self.ledger.connections[*newest].node);
                    self.ledger.connections[*newest].life = life;
                    self.ledger.connections[*newest].read(index, *at, what);
                }
            }
            What::Started => self.border(*who, *at, index, Border::Started),
            What::Stopping => self.border(*who, *at, index, Border::Stopping),
            What::Stopped { .. } => self.border(*who, *at, index, Border::Stopped),
            What::Crashed => self.border(*who, *at, index, Border::Crashed),
            What::Entered { key, session, number, tag } => {
                let life = self.life(*who);
                let topic = self.topic(*who, key, life, *number);
                topic.enter(PublishedTag::new(index, *at, *session, *number, *tag));
            }
            What::Over { key } => {
                let life = self.life(*who);
                let topics = self.ledger.topics.iter_mut().rev();
                let mut same = topics.filter(|t| t.node == *who && t.key == *key && t.life == life);
                if let Some(topic) = same.next() {
                    let place = topic.tags.len() as u32;
                    topic.overs.push(Told { at: *at, event: index, place });
                }
            }
            What::Account(account) => {
                if let Some(connection) = self.unaccounted(*who) {
                    let connection = &mut self.ledger.connections[connection];
                    connection.account = Some((*at, index, *account));
                }
            }
            _ => {
                if let Some(newest) = self.connections_of.get(who).and_then(|all| all.last()) {
                    self.ledger.connections[*newest].read(index, *at, what);
                }
            }
        }
    }

    /// A connection of this peer is over for the peer and, as far as is known, not for the node:
    /// what the node tells of the peer may be of either.
    fn has_ghost(&self, who: Who) -> bool {
        self.open_accounts(who).any(|index| self.ledger.connections[index].playing.is_some())
    }

    /// Nodes notice late that a peer vanished: the oldest account is still open then.
    fn unaccounted(&self, who: Who) -> Option<usize> {
        let connections = &self.ledger.connections;
        let is_over = |index: &usize| {
            connections[*index].closed.is_some() && connections[*index].playing.is_some()
        };
        self.open_accounts(who).find(is_over).or_else(|| self.open_accounts(who).last())
    }

    /// Connections of this peer for which their nodes, still alive, have given no account.
    fn open_accounts(&self, who: Who) -> impl Iterator<Item = usize> {
        let connections = &self.ledger.connections;
        self.connections_of.get(&who).into_iter().flatten().copied().filter(|index| {
            let connection = &connections[*index];
            connection.account.is_none() && connection.life == self.life(connection.node)
        })
    }

    fn life(&self, node: Who) -> usize {
        let ends = |life: &&Life| matches!(life.border, Border::Crashed | Border::Stopped);
        self.ledger.lives.get(&node).map_or(0, |lives| lives.iter().filter(ends).count())
    }

    fn border(&mut self, node: Who, at: SimTime, event: usize, border: Border) {
        self.ledger.lives.entry(node).or_default().push(Life { at, event, border });
    }

    fn topic(&mut self, node: Who, key: &Arc<str>, life: usize, number: u64) -> &mut Topic {
        let topics = &mut self.ledger.topics;
        let newest = topics.iter().rposition(|t| t.node == node && t.key == *key);
        // A node that forgot a topic counts from zero again.
        let goes_on = |t: &Topic| t.life == life && t.tags.last().is_none_or(|l| l.number < number);
        let index = newest.filter(|index| goes_on(&topics[*index])).unwrap_or_else(|| {
            topics.push(Topic::new(node, key.clone(), life));
            topics.len() - 1
        });
        &mut topics[index]
    }
}
