//! One connection of a peer, as the peer and the node told of it.

use std::sync::Arc;

use super::{GotTag, Hole, Matched};
use crate::tag::TagSeen;
use crate::time::SimTime;
use crate::trace::{Account, Close, LagCause, What, Who};

/// What a peer did and saw from one `Dialed` to the next.
#[derive(Clone, Debug)]
pub struct Connection {
    /// The peer.
    pub who: Who,
    /// The node.
    pub node: Who,
    /// Which life of the node's process it was dialed in.
    pub life: usize,
    /// The peer's address, as the node names it.
    pub address: Arc<str>,
    /// When it was dialed.
    pub dialed: Told,
    /// When it stood.
    pub connected: Option<Told>,
    /// What it published.
    pub publications: Vec<Publication>,
    /// What it sent without being a publisher.
    pub stray: Vec<SentTag>,
    /// When it was told that it plays, and what.
    pub playing: Option<(Told, Arc<str>)>,
    /// What it got.
    pub got: Vec<GotTag>,
    /// Index into the ledger's topics.
    pub topic: Option<usize>,
    /// What lies between what it got.
    pub holes: Vec<Hole>,
    /// What its node said it lost.
    pub lags: Vec<Lost>,
    /// What its node said when it was over.
    pub account: Option<(SimTime, usize, Account)>,
    /// When it was told that the stream is over, with the number of tags it had got.
    pub ends: Vec<Told>,
    /// Errors it was told, with their codes and words.
    pub errors: Vec<(Told, Arc<str>, Arc<str>)>,
    /// What it could not read.
    pub garbled: Option<(Told, Arc<str>)>,
    /// Since when it did not read, and until when.
    pub deaf: Vec<(SimTime, SimTime)>,
    /// When and how it was over for the peer.
    pub closed: Option<(Told, Close)>,
}

/// A moment of the trace.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Told {
    /// When.
    pub at: SimTime,
    /// The event's index.
    pub event: usize,
    /// How many tags there were.
    pub place: u32,
}

/// A lag that was told.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Lost {
    /// When.
    pub at: SimTime,
    /// The event's index.
    pub event: usize,
    /// Why.
    pub cause: LagCause,
    /// How many.
    pub tags: u64,
    /// Their payload bytes.
    pub bytes: u64,
}

/// What was sent between an accepted publish and the next.
#[derive(Clone, Debug)]
pub struct Publication {
    /// The stream.
    pub key: Arc<str>,
    /// When it was accepted, as the publisher was told.
    pub accepted: Told,
    /// In order.
    pub sent: Vec<SentTag>,
}

/// A tag that was sent.
#[derive(Clone, Copy, Debug)]
pub struct SentTag {
    /// When its last byte was handed over.
    pub at: SimTime,
    /// The event's index.
    pub event: usize,
    /// The tag.
    pub tag: TagSeen,
}

impl Connection {
    pub(super) fn new(
        who: Who,
        node: Who,
        address: Arc<str>,
        at: SimTime,
        event: usize,
        life: usize,
    ) -> Self {
        Self {
            who,
            node,
            life,
            address,
            dialed: Told { at, event, place: 0 },
            connected: None,
            publications: Vec::new(),
            stray: Vec::new(),
            playing: None,
            got: Vec::new(),
            topic: None,
            holes: Vec::new(),
            lags: Vec::new(),
            account: None,
            ends: Vec::new(),
            errors: Vec::new(),
            garbled: None,
            deaf: Vec::new(),
            closed: None,
        }
    }

    pub(super) fn read(&mut self, event: usize, at: SimTime, what: &What) {
        let told = Told { at, event, place: self.got.len() as u32 };
        match what {
            What::Connected => self.connected = Some(told),
            What::Publishing { key } => self.publications.push(Publication {
                key: key.clone(),
                accepted: told,
                sent: Vec::new(),
            }),
            What::Sent(tag) => {
                let log = self.publications.last_mut().map_or(&mut self.stray, |p| &mut p.sent);
                log.push(SentTag { at, event, tag: *tag });
            }
            What::Playing { key } => self.playing = Some((told, key.clone())),
            What::Got(tag) => {
                self.got.push(GotTag { at, event, tag: *tag, matched: Matched::Foreign })
            }
            // RTMP has two ways to say it, and says both.
            What::ToldEnd if self.ends.last().is_none_or(|last| last.place != told.place) => {
                self.ends.push(told);
            }
            What::ToldError { code, words } => {
                self.errors.push((told, code.clone(), words.clone()))
            }
            What::Garbled { why } => {
                self.garbled.get_or_insert_with(|| (told, why.clone()));
            }
            What::Closed(close) => self.closed = Some((told, *close)),
            What::Reads(true) => {
                if let Some(deaf) = self.deaf.last_mut() {
                    deaf.1 = at;
                }
            }
            What::Reads(false) => self.deaf.push((at, SimTime::MAX)),
            What::Account { account, .. } => self.account = Some((at, event, *account)),
            What::Lag { cause, tags, bytes, .. } => {
                let (cause, tags, bytes) = (*cause, *tags, *bytes);
                self.lags.push(Lost { at, event, cause, tags, bytes });
            }
            _ => {}
        }
    }

    /// When it was over for the peer, or for the node if that is all that is known.
    pub fn over_at(&self) -> SimTime {
        let closed = self.closed.map(|(told, _)| told.at);
        closed.or(self.account.map(|(at, ..)| at)).unwrap_or(SimTime::MAX)
    }

    /// The first thing after `at` that tells the peer that nothing more comes.
    pub fn is_told_by(&self, by: SimTime) -> bool {
        // What its node says about it is not told to the peer.
        self.ends.iter().any(|told| told.at <= by)
            || self.closed.is_some_and(|(told, _)| told.at <= by)
    }

    /// Tags lost for being slow.
    pub fn slow_lags(&self) -> impl Iterator<Item = &Lost> {
        let slow = |lost: &&Lost| matches!(lost.cause, LagCause::Overflow | LagCause::Disposable);
        self.lags.iter().filter(slow)
    }

    /// Places that it got, in order of arrival, with the tags.
    pub fn places(&self) -> impl DoubleEndedIterator<Item = (u32, &GotTag)> {
        self.got.iter().filter_map(|got| Some((got.matched.place()?, got)))
    }
}
