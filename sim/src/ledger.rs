//! Ledger: published against delivered, tag by tag, from the trace of a run alone.

mod connection;
mod matching;
mod published;
mod relayed;

use std::collections::BTreeMap;
use std::sync::Arc;

pub use self::connection::{Connection, Lost, Publication, SentTag, Told};
pub use self::matching::{GotTag, Hole, Matched};
pub(crate) use self::published::same_content;
pub use self::published::{PublishedTag, Session, Topic};
pub use self::relayed::{RelayDial, Relayed};

use crate::time::SimTime;
use crate::trace::{Event, Trace, What, Who};

/// Who sent what, what entered the hubs, and what arrived.
#[derive(Clone, Debug, Default)]
pub struct Ledger {
    /// What entered the hubs: a topic each from its first tag until its node forgets it.
    pub topics: Vec<Topic>,
    /// Peers' connections in the order in which they were dialed.
    pub connections: Vec<Connection>,
    /// What nodes dialed to relay, in order.
    pub dials: Vec<RelayDial>,
    /// Targets' connections in the order in which they came.
    pub relayed: Vec<Relayed>,
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
        ledger.match_targets();
        ledger
    }

    fn match_viewer(&mut self, index: usize) {
        if let Some((topic, got, holes)) = self.matched(&self.connections[index]) {
            let connection = &mut self.connections[index];
            (connection.topic, connection.got, connection.holes) = (Some(topic), got, holes);
        }
    }

    /// The topic that a connection was served from, what of it came, and what did not.
    fn matched(&self, connection: &Connection) -> Option<(usize, Vec<GotTag>, Vec<Hole>)> {
        if connection.got.is_empty() {
            return None;
        }
        let candidates =
            self.topics.iter().enumerate().filter(|(_, topic)| topic.may_have_served(connection));
        let matched = candidates.map(|(index, topic)| {
            let got = matching::match_tags(topic, connection);
            let bad = got.iter().filter(|tag| tag.is_bad()).count();
            (bad, index, got)
        });
        // An encoder that comes back may say the same again: a tie goes to the newest that had begun,
        // or else to the next that did.
        let first = connection.got.first().map_or(SimTime::MAX, |got| got.at);
        let likelihood = |(bad, index, _): &(usize, usize, Vec<GotTag>)| {
            let began_later = self.topics[*index].began() > first;
            (*bad, began_later, if began_later { *index } else { usize::MAX - index })
        };
        let (_, topic, got) = matched.min_by_key(likelihood)?;
        let holes = matching::holes(&self.topics[topic], &got);
        Some((topic, got, holes))
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
            .filter(|(_, topic)| !topic.is_partial)
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
                let connection = Connection::new(*who, *node, address.clone(), *at, index, life);
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
            What::Crashed => {
                self.border(*who, *at, index, Border::Crashed);
                self.ledger.end_relays(index, *at, *who);
            }
            What::Entered { key, session, number, tag } => {
                let life = self.life(*who);
                let topic = self.topic(*who, key, life, *number);
                topic.enter(PublishedTag::new(index, *at, *session, *number, *tag));
            }
            What::Missed { key, .. } => {
                let life = self.life(*who);
                self.topic(*who, key, life, u64::MAX).is_partial = true;
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
            What::Relay(seen) => {
                let life = self.life(*who);
                self.ledger.read_relay(index, *at, *who, life, seen);
            }
            What::Account { from, .. } | What::Lag { from, .. } => {
                // Nodes notice late that a peer has vanished, and it may have come again.
                if let Some(connection) = self.at_address(*who, from) {
                    self.ledger.connections[connection].read(index, *at, what);
                }
            }
            _ => {
                if let Some(newest) = self.connections_of.get(who).and_then(|all| all.last()) {
                    self.ledger.connections[*newest].read(index, *at, what);
                }
            }
        }
    }

    /// This peer's newest connection from this address.
    fn at_address(&self, who: Who, address: &str) -> Option<usize> {
        let mut all = self.connections_of.get(&who)?.iter().rev().copied();
        all.find(|index| *self.ledger.connections[*index].address == *address)
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
