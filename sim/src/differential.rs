//! Differential: the same seed run again with one thing removed, and the rest must not notice.

mod twins;

use std::collections::BTreeMap;
use std::fmt;
use std::ops::Range;
use std::sync::Arc;
use std::time::Duration;

pub use self::twins::twins;
use crate::invariant::{Finding, Judged, Violation};
use crate::ledger::{Connection, GotTag, Matched, PublishedTag, same_content};
use crate::plan::Plan;
use crate::report::{Outcome, limits};
use crate::run::{self, RunError};
use crate::tag::{Kind, Role, TagSeen};
use crate::time::SimTime;
use crate::trace::{What, Who};

/// The last moments of a connection or of a run are cut off where they are cut off: what is missing
/// there, and only there, is no difference.
const BORDER: Duration = Duration::from_millis(500);

/// What one run has and the other has not.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Removed {
    /// The way in which bytes are cut into reads (I2).
    Segmentation,
    /// The way in which chunk streams are interleaved (I4).
    Interleaving,
    /// All viewers (I5).
    Viewers,
    /// A bad neighbour, by name (I6).
    BadPeer(String),
    /// Slow viewers, by name (H13).
    SlowViewers(Vec<String>),
    /// Targets of relays, by name (R5).
    Targets(Vec<String>),
    /// All that goes wrong with disks (A6).
    DiskFaults,
}

/// A rule about two runs.
#[derive(Clone, Copy, Debug)]
pub struct Difference {
    /// Its number, as in `I2`.
    pub id: &'static str,
    /// What must hold, as a name.
    pub name: &'static str,
    /// Why anybody cares.
    pub why: &'static str,
    /// The goal without which its silence means nothing.
    pub goal: Option<&'static str>,
}

/// All of them, in the order of [`Removed`].
pub static ALL: &[Difference] = &[
    Difference {
        id: "I2",
        name: "segmentation_does_not_matter",
        why: "networks cut bytes as they like",
        goal: Some("tag_cut_in_header"),
    },
    Difference {
        id: "I4",
        name: "chunk_streams_are_independent",
        why: "encoders interleave as they like",
        goal: Some("chunks_interleaved"),
    },
    Difference {
        id: "I5",
        name: "publisher_never_waits_for_a_subscriber",
        why: "one viewer could hold up all others",
        goal: None,
    },
    Difference {
        id: "I6",
        name: "a_bad_peer_hurts_only_itself",
        why: "anybody may connect, and say anything",
        goal: None,
    },
    Difference {
        id: "H13",
        name: "slow_neighbours_are_invisible",
        why: "a good line is not paid for to wait for a bad one",
        goal: Some("healthy_beside_stuck"),
    },
    Difference {
        id: "R5",
        name: "relay_never_slows_its_source",
        why: "a service that is down must not be felt at home",
        goal: Some("relay_at_backoff_cap"),
    },
    Difference {
        id: "A6",
        name: "disk_trouble_stays_local",
        why: "a full disk is no reason not to be on air",
        goal: Some("disk_full_then_free"),
    },
];

impl Removed {
    /// The rule about it.
    pub fn difference(&self) -> &'static Difference {
        match self {
            Self::Segmentation => &ALL[0],
            Self::Interleaving => &ALL[1],
            Self::Viewers => &ALL[2],
            Self::BadPeer(_) => &ALL[3],
            Self::SlowViewers(_) => &ALL[4],
            Self::Targets(_) => &ALL[5],
            Self::DiskFaults => &ALL[6],
        }
    }
}

impl fmt::Display for Removed {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Segmentation => write!(f, "publishers' bytes cut otherwise"),
            Self::Interleaving => write!(f, "chunks not interleaved"),
            Self::Viewers => write!(f, "no viewers"),
            Self::BadPeer(name) => write!(f, "no {name}"),
            Self::SlowViewers(names) | Self::Targets(names) => {
                write!(f, "no {}", names.join(", "))
            }
            Self::DiskFaults => write!(f, "disks that work"),
        }
    }
}

/// Carries out a twin of a plan that was carried out, and compares.
///
/// # Errors
///
/// If the twin cannot be carried out.
pub fn judge(
    outcome: &Outcome,
    removed: &Removed,
    twin: &Plan,
) -> Result<Option<Violation>, RunError> {
    let (with, without) = (&outcome.run, run::run(twin)?);
    let with = Judged::new(&with.trace, &with.plan, limits(&with.plan, &with.config));
    let bounds = limits(twin, &without.config);
    Ok(compare(&with, &Judged::new(&without.trace, twin, bounds), removed))
}

/// Carries out those twins of a plan that was carried out that lack what is wanted, and compares
/// with each.
///
/// # Errors
///
/// If a twin cannot be carried out.
pub fn judge_twins(
    outcome: &Outcome,
    is_wanted: impl Fn(&Removed) -> bool,
) -> Result<Vec<Violation>, RunError> {
    let twins = twins(&outcome.run.plan).into_iter();
    let wanted = twins.filter(|(removed, _)| is_wanted(removed));
    let judged = wanted.map(|(removed, twin)| judge(outcome, &removed, &twin));
    judged.filter_map(Result::transpose).collect()
}

/// Compares a run with the run without something. The first violation, at its event in `with`.
pub fn compare(with: &Judged<'_>, without: &Judged<'_>, removed: &Removed) -> Option<Violation> {
    let finding = match removed {
        Removed::Segmentation => compare_streams(with, without, |a, b| same_tags(with, a, b, None)),
        Removed::Interleaving => compare_streams(with, without, |a, b| {
            let kinds = [Kind::Audio, Kind::Video, Kind::Script].into_iter();
            kinds.filter_map(|kind| same_tags(with, a, b, Some(kind))).min()
        }),
        Removed::Viewers => compare_streams(with, without, |a, b| no_later(with, a, b)),
        Removed::BadPeer(name) => panics(with)
            .or_else(|| compare_viewers(with, without, |c| with.trace.name(c.who) == name, None)),
        Removed::DiskFaults => compare_viewers(with, without, |_| false, Some(with.limits.tick)),
        Removed::SlowViewers(names) => {
            let is_gone =
                |c: &Connection| names.iter().any(|name| run::is_of(with.trace.name(c.who), name));
            let is_other = |c: &Connection| is_gone(c) || !with.is_healthy(c);
            let apart = with.limits.tick + with.limits.out_of_step;
            compare_viewers(with, without, is_other, Some(apart))
        }
        Removed::Targets(_) => {
            compare_streams(with, without, |a, b| no_later(with, a, b)).or_else(|| {
                let is_other = |c: &Connection| !with.is_healthy(c);
                // One more who listens may begin the time for which tags are gathered.
                let apart = with.limits.tick + with.limits.coalesce;
                compare_viewers(with, without, is_other, Some(apart))
            })
        }
    };
    finding.map(|mut finding| {
        finding.saw = format!("{}; without: {removed}", finding.saw);
        with.violation(removed.difference().name, finding)
    })
}

/// A place in the first stream where two differ, and how.
type Odd = (usize, String);

/// What entered as one stream of a node, whether or not the node forgot it in between: that depends
/// on who is there to watch.
struct Stream<'t> {
    node: Who,
    /// In order, each with the how manyeth publish it is of.
    tags: Vec<(usize, &'t PublishedTag)>,
    is_partial: bool,
}

/// By node and key.
fn streams<'t>(run: &'t Judged<'_>) -> BTreeMap<(&'t str, Arc<str>), Stream<'t>> {
    let mut streams = BTreeMap::new();
    for topic in &run.ledger.topics {
        let name = (run.trace.name(topic.node), topic.key.clone());
        let nothing = || Stream { node: topic.node, tags: Vec::new(), is_partial: false };
        let stream = streams.entry(name).or_insert_with(nothing);
        stream.is_partial |= topic.is_partial;
        for session in &topic.sessions {
            let nth = stream.tags.last().map_or(0, |(last, _)| last + 1);
            let tags = topic.tags[session.places.clone()].iter();
            stream.tags.extend(tags.map(|tag| (nth, tag)));
        }
    }
    streams
}

fn compare_streams(
    with: &Judged<'_>,
    without: &Judged<'_>,
    differ: impl Fn(&Stream<'_>, &Stream<'_>) -> Option<Odd>,
) -> Option<Finding> {
    let others = streams(without);
    streams(with).into_iter().find_map(|(name, stream)| {
        let nothing = Stream { node: stream.node, tags: Vec::new(), is_partial: false };
        let other = others.get(&name).unwrap_or(&nothing);
        if stream.is_partial || other.is_partial {
            return None;
        }
        let (place, saw) = differ(&stream, other)?;
        let event = stream.tags.get(place).or(stream.tags.last()).map_or(0, |(_, tag)| tag.event);
        Some(Finding::new(event, stream.node, "entered otherwise", saw))
    })
}

/// The run's end may come a tag earlier in one of them.
fn same_tags(
    run: &Judged<'_>,
    with: &Stream<'_>,
    without: &Stream<'_>,
    kind: Option<Kind>,
) -> Option<Odd> {
    fn of_kind<'t>(
        stream: &Stream<'t>,
        kind: Option<Kind>,
    ) -> Vec<(usize, usize, &'t PublishedTag)> {
        let tags = stream.tags.iter().enumerate().map(|(place, (nth, tag))| (place, *nth, *tag));
        tags.filter(|(.., tag)| kind.is_none_or(|kind| tag.tag.kind == kind)).collect()
    }
    let (a, b) = (of_kind(with, kind), of_kind(without, kind));
    let is_same = |a: &(usize, usize, &PublishedTag), b: &(usize, usize, &PublishedTag)| {
        a.1 == b.1 && (a.2.tag == b.2.tag || a.1 > 0 && is_resumed(run, &a.2.tag, &b.2.tag))
    };
    let odd = a.iter().zip(&b).position(|(a, b)| !is_same(a, b));
    let is_cut_off = |place: usize| {
        let longer = if a.len() > b.len() { &a } else { &b };
        longer.get(place).is_none_or(|(.., tag)| tag.at + BORDER >= run.end())
    };
    let shorter = a.len().min(b.len());
    let odd = odd.or((!is_cut_off(shorter)).then_some(shorter))?;
    let line = |tag: Option<&(usize, usize, &PublishedTag)>| {
        tag.map_or("nothing".to_owned(), |(_, nth, entered)| {
            format!("{} of publish {nth} at {}", entered.tag, entered.at)
        })
    };
    let place = a.get(odd).map_or(with.tags.len(), |tag| tag.0);
    Some((place, format!("{} with it, {} without", line(a.get(odd)), line(b.get(odd)))))
}

/// Whether two tags of a publisher that returned differ at most by when what came before was read:
/// its time goes on from there.
fn is_resumed(run: &Judged<'_>, a: &TagSeen, b: &TagSeen) -> bool {
    let apart = run.limits.out_of_step + run.limits.tick;
    let ms = (a.timestamp_ms.wrapping_sub(b.timestamp_ms) as i32).unsigned_abs();
    !run.limits.out_of_step.is_zero()
        && same_content(a, b)
        && Duration::from_millis(ms.into()) <= apart
}

/// No tag may enter earlier without viewers: it would have waited for one.
fn no_later(run: &Judged<'_>, with: &Stream<'_>, without: &Stream<'_>) -> Option<Odd> {
    if let Some(odd) = same_tags(run, with, without, None) {
        return Some(odd);
    }
    let apart = run.limits.tick + run.limits.out_of_step;
    let mut pairs = with.tags.iter().zip(&without.tags);
    let late = pairs.position(|((_, a), (_, b))| a.at > b.at + apart)?;
    let ((_, a), (_, b)) = (with.tags[late], without.tags[late]);
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
    let has_returned = with.ledger.topics.iter().any(|topic| topic.sessions.len() > 1);
    with.ledger.connections.iter().find_map(|connection| {
        let name = with.trace.name(connection.who);
        let other = others.get_mut(name).and_then(Vec::pop);
        if connection.playing.is_none() || is_other(connection) {
            return None;
        }
        let seam = other.and_then(|other| live_seam(with, connection, other));
        let behind = |got: &[GotTag]| -> Vec<GotTag> {
            let is_before = |got: &&GotTag| !seam.as_ref().is_some_and(|seam| seam.holds(got));
            got.iter().filter(is_before).copied().collect()
        };
        let (a, b) = (behind(&connection.got), behind(other.map_or(&[], |other| &other.got)));
        let odd = a.iter().zip(&b).position(|(a, b)| {
            let apart = a.at.since(b.at) + b.at.since(a.at);
            let is_same = a.tag == b.tag
                || seam.is_some() && is_opening(a, b)
                || has_returned && is_resumed(with, &a.tag, &b.tag);
            !is_same || tick.is_some_and(|tick| apart > tick)
        });
        let over = other.map_or(SimTime::MAX, Connection::over_at).min(connection.over_at());
        let is_cut_off = |place: usize| {
            let longer = if a.len() > b.len() { &a } else { &b };
            longer.get(place).is_none_or(|got| got.at + BORDER >= over.min(with.end()))
        };
        let shorter = a.len().min(b.len());
        let odd = odd.or((!is_cut_off(shorter)).then_some(shorter))?;
        let line = |got: Option<&GotTag>| {
            got.map_or("nothing".to_owned(), |got| format!("{} at {}", got.tag, got.at))
        };
        let (a, b) = (a.get(odd), b.get(odd));
        let saw = format!("got {} with it, {} without", line(a), line(b));
        let event = a.or(connection.got.last()).map_or(connection.dialed.event, |got| got.event);
        Some(Finding::new(event, connection.who, "others notice", saw))
    })
}

/// What one of two live joins in the same instant has and the other has not.
struct Seam {
    /// Places that entered in that instant.
    places: Range<usize>,
    /// Pictures wait for a keyframe: if one is among them, those up to the next as well.
    pictures: Range<usize>,
}

impl Seam {
    fn holds(&self, got: &GotTag) -> bool {
        let Some(place) = first_place(std::slice::from_ref(got)) else { return false };
        let is_picture = got.tag.kind == Kind::Video;
        self.places.contains(&place) || (is_picture && self.pictures.contains(&place))
    }
}

/// Whether what a join was opened with differs at most by where it joined: headers that are said
/// again have the time of the tag before.
fn is_opening(a: &GotTag, b: &GotTag) -> bool {
    let is_repeated = |got: &GotTag| matches!(got.matched, Matched::Repeated { .. });
    is_repeated(a) && is_repeated(b) && same_content(&a.tag, &b.tag)
}

/// Who joins live while tags enter is given them or is not: which comes first within an instant,
/// the join or the tags, hangs on what else woke the node, and is promised to nobody.
fn live_seam(run: &Judged<'_>, with: &Connection, without: &Connection) -> Option<Seam> {
    if !run.starts_live(with) {
        return None;
    }
    let (a, b) = (first_place(&with.got)?, first_place(&without.got)?);
    let tags = &run.ledger.topic_of(with)?.tags;
    let at = tags.get(a.min(b))?.at;
    let in_instant = tags.partition_point(|tag| tag.at <= at);
    let places = a.min(b)..a.max(b).min(in_instant);
    let entered = tags.get(places.clone())?;
    if at < with.dialed.at || at > run.told_to_play(with) {
        return None;
    }
    let is_keyframe = |tag: &PublishedTag| tag.tag.role == Role::Keyframe;
    let mut pictures = places.end..places.end;
    if entered.iter().any(is_keyframe) {
        let next = tags[places.end..].iter().position(is_keyframe);
        pictures.end = next.map_or(tags.len(), |next| places.end + next);
    }
    Some(Seam { places, pictures })
}

/// The place of the first of these that can be nothing but what entered there.
fn first_place(got: &[GotTag]) -> Option<usize> {
    got.iter().find_map(|got| match got.matched {
        Matched::Place { place, is_sure: true } => Some(place as usize),
        _ => None,
    })
}
