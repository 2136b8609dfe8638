//! Differential: the same seed run again with one thing removed, and the rest must not notice.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use crate::invariant::{Finding, Judged, Violation};
use crate::ledger::{Connection, Topic};
use crate::tag::{Kind, TagSeen};
use crate::trace::What;

/// What one run has and the other has not.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Removed<'a> {
    /// The way in which bytes are cut into reads (I2).
    Segmentation,
    /// The way in which chunk streams are interleaved (I4).
    Interleaving,
    /// All viewers (I5).
    Viewers,
    /// A bad neighbour, by name (I6).
    BadPeer(&'a str),
    /// Slow viewers, by name (H13).
    SlowViewers(&'a [&'a str]),
}

/// A rule about two runs.
#[derive(Clone, Copy, Debug)]
pub struct Difference {
    /// Its number, as in `I2`.
    pub id: &'static str,
    /// What must hold, as a name.
    pub name: &'static str,
    /// The goal without which its silence means nothing.
    pub goal: Option<&'static str>,
}

/// All of them, in the order of [`Removed`].
pub static ALL: &[Difference] = &[
    Difference { id: "I2", name: "segmentation_does_not_matter", goal: Some("tag_cut_in_header") },
    Difference {
        id: "I4",
        name: "chunk_streams_are_independent",
        goal: Some("chunks_interleaved"),
    },
    Difference { id: "I5", name: "publisher_never_waits_for_a_subscriber", goal: None },
    Difference { id: "I6", name: "a_bad_peer_hurts_only_itself", goal: None },
    Difference {
        id: "H13",
        name: "slow_neighbours_are_invisible",
        goal: Some("healthy_beside_stuck"),
    },
];

impl Removed<'_> {
    /// The rule about it.
    pub fn difference(self) -> &'static Difference {
        match self {
            Self::Segmentation => &ALL[0],
            Self::Interleaving => &ALL[1],
            Self::Viewers => &ALL[2],
            Self::BadPeer(_) => &ALL[3],
            Self::SlowViewers(_) => &ALL[4],
        }
    }
}

/// Compares a run with the run without something. The first violation, at its event in `with`.
pub fn compare(with: &Judged<'_>, without: &Judged<'_>, removed: Removed<'_>) -> Option<Violation> {
    let finding = match removed {
        Removed::Segmentation => compare_topics(with, without, |a, b| same_tags(a, b, None)),
        Removed::Interleaving => compare_topics(with, without, |a, b| {
            let kinds = [Kind::Audio, Kind::Video, Kind::Script].into_iter();
            kinds.filter_map(|kind| same_tags(a, b, Some(kind))).min()
        }),
        Removed::Viewers => compare_topics(with, without, |a, b| no_later(with, a, b)),
        Removed::BadPeer(name) => panics(with)
            .or_else(|| compare_viewers(with, without, |c| with.trace.name(c.who) == name, None)),
        Removed::SlowViewers(names) => {
            let is_gone = |c: &Connection| names.contains(&with.trace.name(c.who));
            let is_other = |c: &Connection| is_gone(c) || !with.is_healthy(c);
            compare_viewers(with, without, is_other, Some(with.limits.tick))
        }
    };
    finding.map(|finding| with.violation(removed.difference().name, finding))
}

/// A place in the first topic where two differ, and how.
type Odd = (usize, String);

fn compare_topics(
    with: &Judged<'_>,
    without: &Judged<'_>,
    differ: impl Fn(&Topic, &Topic) -> Option<Odd>,
) -> Option<Finding> {
    let others = by_name(without, &without.ledger.topics);
    let topics = by_name(with, &with.ledger.topics);
    topics.into_iter().find_map(|(name, topic)| {
        let nothing = Topic::new(topic.node, topic.key.clone(), topic.life);
        let (place, saw) = differ(topic, others.get(&name).copied().unwrap_or(&nothing))?;
        let event = topic.tags.get(place).or(topic.tags.last()).map_or(0, |tag| tag.event);
        Some(Finding::new(event, topic.node, "entered otherwise", saw))
    })
}

/// Topics by node, key, and the how manyeth of those it is.
fn by_name<'t>(
    run: &Judged<'_>,
    topics: &'t [Topic],
) -> BTreeMap<(String, Arc<str>, usize), &'t Topic> {
    let mut named = BTreeMap::new();
    for topic in topics {
        let name = |nth| (run.trace.name(topic.node).to_owned(), topic.key.clone(), nth);
        let nth = (0..).find(|nth| !named.contains_key(&name(*nth))).unwrap_or_default();
        named.insert(name(nth), topic);
    }
    named
}

fn same_tags(with: &Topic, without: &Topic, kind: Option<Kind>) -> Option<Odd> {
    let of_kind = |topic: &Topic| -> Vec<(usize, u64, TagSeen)> {
        let tags = topic.tags.iter().enumerate().map(|(place, t)| (place, t.session, t.tag));
        tags.filter(|(.., tag)| kind.is_none_or(|kind| tag.kind == kind)).collect()
    };
    let (a, b) = (of_kind(with), of_kind(without));
    let odd = a.iter().zip(&b).position(|(a, b)| (a.1, a.2) != (b.1, b.2));
    let odd = odd.or((a.len() != b.len()).then_some(a.len().min(b.len())))?;
    let line = |tag: Option<&(usize, u64, TagSeen)>| {
        tag.map_or("nothing".to_owned(), |(_, session, tag)| format!("{tag} of session {session}"))
    };
    let place = a.get(odd).map_or(with.tags.len(), |tag| tag.0);
    Some((place, format!("{} with it, {} without", line(a.get(odd)), line(b.get(odd)))))
}

/// No tag may enter earlier without viewers: it would have waited for one.
fn no_later(run: &Judged<'_>, with: &Topic, without: &Topic) -> Option<Odd> {
    if let Some(odd) = same_tags(with, without, None) {
        return Some(odd);
    }
    let mut pairs = with.tags.iter().zip(&without.tags);
    let late = pairs.position(|(a, b)| a.at > b.at + run.limits.tick)?;
    let (a, b) = (&with.tags[late], &without.tags[late]);
    Some((late, format!("{} entered at {} with viewers, at {} without", a.tag, a.at, b.at)))
}

fn panics(run: &Judged<'_>) -> Option<Finding> {
    (0..).zip(&run.trace.events).find_map(|(index, event)| match &event.what {
        What::Panicked { why, injected: false } => {
            Some(Finding::new(index, event.who, "panic", why.to_string()))
        }
        _ => None,
    })
}

/// Viewers that `is_other` does not except got the same in both runs, within `tick` if that is to
/// be compared.
fn compare_viewers(
    with: &Judged<'_>,
    without: &Judged<'_>,
    is_other: impl Fn(&Connection) -> bool,
    tick: Option<Duration>,
) -> Option<Finding> {
    let mut others: BTreeMap<&str, Vec<&Connection>> = BTreeMap::new();
    for connection in without.ledger.connections.iter().rev() {
        others.entry(without.trace.name(connection.who)).or_default().push(connection);
    }
    with.ledger.connections.iter().find_map(|connection| {
        let name = with.trace.name(connection.who);
        let other = others.get_mut(name).and_then(Vec::pop);
        if connection.playing.is_none() || is_other(connection) {
            return None;
        }
        let theirs = other.map_or(&[][..], |other| &other.got[..]);
        let odd = connection.got.iter().zip(theirs).position(|(a, b)| {
            let apart = a.at.since(b.at) + b.at.since(a.at);
            a.tag != b.tag || tick.is_some_and(|tick| apart > tick)
        });
        let lens = (connection.got.len(), theirs.len());
        let odd = odd.or((lens.0 != lens.1).then_some(lens.0.min(lens.1)))?;
        let line = |got: Option<&crate::ledger::GotTag>| {
            got.map_or("nothing".to_owned(), |got| format!("{} at {}", got.tag, got.at))
        };
        let (a, b) = (connection.got.get(odd), theirs.get(odd));
        let saw = format!("got {} with it, {} without", line(a), line(b));
        let event = a.or(connection.got.last()).map_or(connection.dialed.event, |got| got.event);
        Some(Finding::new(event, connection.who, "others notice", saw))
    })
}
