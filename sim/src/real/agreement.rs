//! Agreement: whether a run on sockets has the contents of the simulated one.
//!
//! Publishers are cut off by the end of a run, and viewers come when they come: so what is common
//! to both runs has to be the same, and each run has to be sound for itself.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::time::Duration;

use crate::invariant::{self, Judged, Violation};
use crate::ledger::{Connection, PublishedTag};
use crate::report::limits;
use crate::run::Run;
use crate::tag::TagSeen;
use crate::time::SimTime;

/// Invariants that do not depend on time, which the run on sockets is judged by, and why each can
/// be.
pub const JUDGED: &[(&str, &str)] = &[
    ("I1", "what entered is compared with what was sent"),
    ("G1", "about the order of what was got"),
    ("G2", "about the order of what was got"),
    ("G3", "about the order of what was got"),
    ("G4", "about the order of what was got"),
    ("G5", "about the order of what was got"),
    ("H1", "about the order of what was got"),
    ("H2", "about the order of what was got"),
    ("H3", "about payloads"),
    ("H4", "an account adds up at any speed"),
    ("H6", "a gap is told before what follows it"),
    ("H8", "about timestamps, which are content"),
    ("H19", "about the order of what was got"),
    ("L4", "a panic is one at any speed"),
];

/// What may be missing at the end of what one of the runs has, in stream time: real encoders and
/// players are not where simulated ones are when a run ends.
const SLACK: Duration = Duration::from_secs(2);

/// Nobody can expect anything of a connection like this.
const TOO_SHORT: &str = "too short to compare";

/// What two runs of a plan have in common.
#[derive(Debug)]
pub struct Agreement {
    /// What entered the hubs.
    pub streams: Vec<Row>,
    /// What viewers got.
    pub viewers: Vec<Row>,
    /// Where the run on sockets is not sound.
    pub violations: Vec<Violation>,
}

/// One stream, or one viewer with all its connections, in both runs.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Row {
    /// Whose.
    pub name: String,
    /// Tags in the simulation.
    pub simulated: usize,
    /// Tags on sockets.
    pub real: usize,
    /// Whether it is the same.
    pub agrees: bool,
    /// How, in words.
    pub words: String,
}

impl Agreement {
    /// Whether contents are the same, and sound.
    pub fn is_fine(&self) -> bool {
        let mut rows = self.streams.iter().chain(&self.viewers);
        rows.all(|row| row.agrees) && self.violations.is_empty()
    }
}

/// Compares two runs of a plan, the second on sockets.
pub fn compare(simulated: &Run, real: &Run) -> Agreement {
    let judged = |run: &'_ Run| limits(&run.plan, &run.config);
    let a = Judged::new(&simulated.trace, &simulated.plan, judged(simulated));
    let b = Judged::new(&real.trace, &real.plan, judged(real));
    let (a, b) = (Side::new(&a), Side::new(&b));
    let mut common = BTreeMap::new();
    let names: BTreeSet<_> = a.streams.keys().chain(b.streams.keys()).cloned().collect();
    let streams = names.into_iter().map(|name| stream(&a, &b, name, &mut common)).collect();
    let viewers = viewers(&a, &b, &common);
    let ids = |id: &str| JUDGED.iter().any(|(judged, _)| *judged == id);
    let known = invariant::ALL.iter().filter(|invariant| ids(invariant.id));
    let broken = known
        .filter_map(|invariant| Some(b.run.violation(invariant.name, (invariant.judge)(b.run)?)));
    Agreement { streams, viewers, violations: broken.collect() }
}

/// A stream at a node.
type Name = (String, Arc<str>);

/// One publish of a stream, as the how manyeth.
type Nth = (Name, usize);

/// What both runs have of a publish.
#[derive(Clone, Copy, Default)]
struct Common {
    /// Tags, from its first on.
    len: usize,
    /// Its timestamps on sockets are so much greater: a node lets a publish go on where the one
    /// before it left off, and that is cut off by time.
    shift_ms: u32,
}

impl Common {
    fn of(sim: &[PublishedTag], real: &[PublishedTag], is_first: bool) -> Self {
        let firsts = sim.first().zip(real.first()).filter(|_| !is_first);
        let mut common = Self::default();
        if let Some((s, r)) = firsts {
            common.shift_ms = r.tag.timestamp_ms.wrapping_sub(s.tag.timestamp_ms);
        }
        let pairs = sim.iter().zip(real);
        common.len = pairs.take_while(|(s, r)| common.shifted(s.tag) == r.tag).count();
        common
    }

    /// A simulated tag, as it is on sockets.
    fn shifted(self, tag: TagSeen) -> TagSeen {
        TagSeen { timestamp_ms: tag.timestamp_ms.wrapping_add(self.shift_ms), ..tag }
    }
}

/// Where a tag is in its stream: in the how manyeth publish, the how manyeth.
type Place = (usize, usize);

struct Side<'a> {
    run: &'a Judged<'a>,
    /// Every publish, in order.
    streams: BTreeMap<Name, Vec<&'a [PublishedTag]>>,
    /// By topic: its stream, and how many publishes came before its own.
    topics: Vec<(Name, usize)>,
}

impl<'a> Side<'a> {
    fn new(run: &'a Judged<'a>) -> Self {
        let mut side = Self { run, streams: BTreeMap::new(), topics: Vec::new() };
        for topic in &run.ledger.topics {
            let name = (run.trace.name(topic.node).to_owned(), topic.key.clone());
            let all = side.streams.entry(name.clone()).or_default();
            side.topics.push((name, all.len()));
            let tags = topic.sessions.iter().map(|session| &topic.tags[session.places.clone()]);
            all.extend(tags);
        }
        side
    }

    fn is_partial(&self, name: &Name) -> bool {
        let topics = self.run.ledger.topics.iter().zip(&self.topics);
        topics.filter(|(_, (known, _))| known == name).any(|(topic, _)| topic.is_partial)
    }

    /// Pictures, sounds and what is between them that a connection got, by their places.
    fn got(&self, connection: &Connection) -> Option<(&Name, Vec<(Place, TagSeen)>)> {
        let index = connection.topic?;
        let topic = &self.run.ledger.topics[index];
        let (name, before) = &self.topics[index];
        let first = connection.got.iter().position(|got| got.is_media())?;
        let places = connection.got[first..].iter().filter_map(|got| {
            let place = got.matched.place()? as usize;
            let nth = topic.sessions.iter().position(|s| s.places.contains(&place))?;
            let offset = place - topic.sessions[nth].places.start;
            Some(((before + nth, offset), got.tag))
        });
        Some((name, places.collect()))
    }
}

fn stream(a: &Side<'_>, b: &Side<'_>, name: Name, common: &mut BTreeMap<Nth, Common>) -> Row {
    let none = Vec::new();
    let all = |side: &Side<'_>| -> Vec<Vec<PublishedTag>> {
        let publishes = side.streams.get(&name).unwrap_or(&none);
        publishes.iter().map(|tags| tags.to_vec()).collect()
    };
    let (sims, reals) = (all(a), all(b));
    let count = |all: &[Vec<PublishedTag>]| all.iter().map(Vec::len).sum();
    let row = |agrees, words: String| Row {
        name: format!("{} at {}", name.1, name.0),
        simulated: count(&sims),
        real: count(&reals),
        agrees,
        words,
    };
    if a.is_partial(&name) || b.is_partial(&name) {
        return row(true, "tags too alike to tell them apart".to_owned());
    }
    let mut same = 0;
    for nth in 0..sims.len().max(reals.len()) {
        let of = |all: &[Vec<PublishedTag>]| all.get(nth).cloned().unwrap_or_default();
        let (sim, real) = (of(&sims), of(&reals));
        let both = Common::of(&sim, &real, nth == 0);
        let len = both.len;
        common.insert((name.clone(), nth), both);
        same += len;
        if let Some((s, r)) = sim.get(len).zip(real.get(len)) {
            let what = format!("publish {nth}, tag {len}: {} in the simulation, ", s.tag);
            return row(false, format!("{what}{} on sockets", r.tag));
        }
        let longer = if sim.len() > real.len() { &sim } else { &real };
        let missing = &longer[len..];
        if span(missing) > SLACK {
            let where_ = if sim.len() > real.len() { "on sockets" } else { "in the simulation" };
            let words = format!("publish {nth}: {} tags are missing {where_}", missing.len());
            return row(false, words);
        }
    }
    row(true, format!("{same} in both, the same"))
}

/// How long the run took for these.
fn span(tags: &[PublishedTag]) -> Duration {
    let ends = tags.first().zip(tags.last());
    ends.map_or(Duration::ZERO, |(first, last)| last.at.since(first.at))
}

fn viewers(a: &Side<'_>, b: &Side<'_>, common: &BTreeMap<Nth, Common>) -> Vec<Row> {
    let (sims, reals) = (playing(a), playing(b));
    let names: BTreeSet<_> = sims.keys().chain(reals.keys()).copied().collect();
    let rows = names.into_iter().map(|name| {
        let of = |all: &BTreeMap<&str, Vec<_>>| all.get(name).cloned().unwrap_or_default();
        let (sims, reals): (Vec<&Connection>, Vec<&Connection>) = (of(&sims), of(&reals));
        let nth = 0..sims.len().max(reals.len());
        let verdicts: Vec<_> = nth
            .map(|nth| viewer((a, sims.get(nth).copied()), (b, reals.get(nth).copied()), common))
            .collect();
        let count = |all: &[&Connection]| all.iter().map(|connection| connection.got.len()).sum();
        let (agrees, words) = sum_up(&verdicts);
        Row { name: name.to_owned(), simulated: count(&sims), real: count(&reals), agrees, words }
    });
    rows.collect()
}

/// What the connections of one viewer come to: the first that differs, or what all have in common.
fn sum_up(verdicts: &[Verdict]) -> (bool, String) {
    let unlike = verdicts.iter().enumerate().find_map(|(nth, verdict)| match verdict {
        Verdict::Unlike(words) => Some(format!("connection {}: {words}", nth + 1)),
        _ => None,
    });
    let same = verdicts.iter().filter_map(|verdict| match verdict {
        Verdict::Same(tags) => Some(tags),
        _ => None,
    });
    let moot = verdicts.iter().find_map(|verdict| match verdict {
        Verdict::Moot(why) => Some(*why),
        _ => None,
    });
    let same = match same.sum::<usize>() {
        0 => None,
        tags => Some(format!("{tags} in both, the same")),
    };
    let connections = match verdicts.len() {
        0 | 1 => None,
        len => Some(format!("{len} connections")),
    };
    let parts = [same, moot.map(str::to_owned), connections];
    match unlike {
        Some(unlike) => (false, unlike),
        None => (true, parts.into_iter().flatten().collect::<Vec<_>>().join("; ")),
    }
}

/// Connections that play, by viewer.
fn playing<'a>(side: &Side<'a>) -> BTreeMap<&'a str, Vec<&'a Connection>> {
    let mut all: BTreeMap<&str, Vec<&Connection>> = BTreeMap::new();
    for connection in &side.run.ledger.connections {
        if side.run.cast.play(connection.who).is_some() {
            all.entry(side.run.trace.name(connection.who)).or_default().push(connection);
        }
    }
    all
}

/// One end of a comparison.
type End<'a> = (&'a Side<'a>, Option<&'a Connection>);

/// What comes of a comparison.
enum Verdict {
    /// So many tags are the same.
    Same(usize),
    /// There is nothing to compare, or it need not be the same.
    Moot(&'static str),
    /// How they differ.
    Unlike(String),
}

fn viewer(sim: End<'_>, real: End<'_>, common: &BTreeMap<Nth, Common>) -> Verdict {
    let got = |(side, connection): End<'_>| {
        let (name, got) = side.got(connection?)?;
        Some((name.clone(), got))
    };
    let (Some((name, a)), Some((other, b))) = (got(sim), got(real)) else {
        return match watched(sim).max(watched(real)) > SLACK {
            true => Verdict::Unlike("only one of them got anything".to_owned()),
            false => Verdict::Moot(TOO_SHORT),
        };
    };
    if name != other {
        return Verdict::Unlike(format!("{} and {}", name.1, other.1));
    }
    if is_excused(sim) || is_excused(real) {
        return Verdict::Moot("lost or refused some, each by itself");
    }
    if sim.0.is_partial(&name) || real.0.is_partial(&name) {
        return Verdict::Moot("tags too alike to tell them apart");
    }
    let ends = |got: &[(Place, TagSeen)]| Some((got.first()?.0, got.last()?.0));
    let Some(((a_first, a_last), (b_first, b_last))) = ends(&a).zip(ends(&b)) else {
        return Verdict::Moot(TOO_SHORT);
    };
    let (first, last) = (a_first.max(b_first), a_last.min(b_last));
    let both = |nth| common.get(&(name.clone(), nth)).copied().unwrap_or_default();
    let in_both = |got: &[(Place, TagSeen)]| -> Vec<(Place, TagSeen)> {
        let known = |nth| both(nth).len;
        let is_in =
            |(nth, offset): Place| (first..=last).contains(&(nth, offset)) && offset < known(nth);
        got.iter().filter(|(place, _)| is_in(*place)).copied().collect()
    };
    let (mut a, b) = (in_both(&a), in_both(&b));
    a.iter_mut().for_each(|((nth, _), tag)| *tag = both(*nth).shifted(*tag));
    let odd = a.iter().zip(&b).position(|(a, b)| a != b);
    let odd = odd.or((a.len() != b.len()).then_some(a.len().min(b.len())));
    let tag = |got: Option<&(Place, TagSeen)>| {
        got.map_or("nothing".to_owned(), |((nth, offset), tag)| {
            format!("tag {offset} of publish {nth} ({tag})")
        })
    };
    if let Some(odd) = odd {
        let (a, b) = (tag(a.get(odd)), tag(b.get(odd)));
        return Verdict::Unlike(format!("{a} in the simulation, {b} on sockets"));
    }
    match a.len() {
        0 if watched(sim).min(watched(real)) > SLACK => {
            Verdict::Unlike("nothing in common".to_owned())
        }
        0 => Verdict::Moot(TOO_SHORT),
        tags => Verdict::Same(tags),
    }
}

/// From the first to the last tag it got.
fn watched((_, connection): End<'_>) -> Duration {
    let ends = connection.and_then(|c| c.got.first().zip(c.got.last()));
    ends.map_or(Duration::ZERO, |(first, last): (_, _)| {
        let (first, last): (SimTime, SimTime) = (first.at, last.at);
        last.since(first)
    })
}

/// Whether what it lost depends on how fast its node wrote: it was slow, or asked for less.
fn is_excused((side, connection): End<'_>) -> bool {
    connection.is_some_and(|connection| {
        let is_slow = connection.slow_lags().next().is_some() || !connection.deaf.is_empty();
        is_slow || side.run.cast.is_choosy(connection.who)
    })
}
