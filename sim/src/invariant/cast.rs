//! Cast: who plays which part in a run, and what was done to them when.

use std::collections::BTreeMap;
use std::time::Duration;

use crate::link::{Capacity, Link, Loss, Path};
use crate::plan::{Act, Leave, Line, Plan, Play, Publish, Speech, Target, When};
use crate::time::SimTime;
use crate::trace::{Trace, What, Who};

/// The peers of a run, by the plan; what was done to them, by plan and trace.
#[derive(Clone, Debug, Default)]
pub struct Cast<'a> {
    parts: BTreeMap<Who, Part<'a>>,
    /// In order of their beginning, per peer or node.
    touches: BTreeMap<Who, Vec<(SimTime, SimTime)>>,
    /// When nothing passed on a peer's line.
    cuts: BTreeMap<Who, Vec<(SimTime, SimTime)>>,
    /// What viewers want other than everything.
    choosy: Vec<Who>,
    /// Whose connection a box on the way has forgotten, since when: nothing heals that.
    forgotten: Vec<(Who, SimTime)>,
    /// Nothing was done to anybody.
    pub is_calm: bool,
}

/// What a peer does.
#[derive(Clone, Copy, Debug)]
pub enum Part<'a> {
    /// It publishes.
    Publisher(&'a Publish),
    /// It plays.
    Viewer(&'a Play),
    /// It is relayed to.
    Target(&'a Target),
    /// It misbehaves.
    Bad(Speech, &'a str),
}

impl<'a> Part<'a> {
    /// The node that it comes to, or that relays to it.
    fn node(self) -> &'a str {
        match self {
            Self::Publisher(publish) => &publish.node,
            Self::Viewer(play) => &play.node,
            Self::Target(target) => &target.node,
            Self::Bad(_, node) => node,
        }
    }
}

/// How the line of a cut begins.
const CUT: &str = "cut ";

/// How long after something that has no duration its consequences go on.
const MOMENT: Duration = Duration::from_secs(1);

impl<'a> Cast<'a> {
    /// Reads the plan, with the names and the faults of the trace.
    pub fn new(plan: &'a Plan, trace: &Trace) -> Self {
        let publish =
            |act: &'a Act| if let Act::Publish(publish) = act { Some(publish) } else { None };
        let mut keys: Vec<_> =
            plan.lines.iter().filter_map(|line| publish(&line.act)).map(|p| &p.key).collect();
        keys.sort_unstable();
        // Two who publish the same stream are no calm day for either.
        let is_calm = keys.windows(2).all(|pair| pair[0] != pair[1]);
        let mut cast = Self { is_calm, ..Self::default() };
        let mut faults = Vec::new();
        for line in &plan.lines {
            let whom = members(trace, &line.who.name);
            let part = match &line.act {
                Act::Publish(publish) => Some(Part::Publisher(publish)),
                Act::Play(play) => Some(Part::Viewer(play)),
                Act::Speak { speech, node } => Some(Part::Bad(*speech, node)),
                Act::Target(target) => Some(Part::Target(target)),
                _ => None,
            };
            match part {
                Some(part) => cast.parts.extend(whom.map(|who| (who, part))),
                None => faults.push(line),
            }
        }
        for line in faults {
            let whom = cast.met(trace, &line.who.name, matches!(line.act, Act::Cut(..)));
            cast.touch_by_plan(line, whom);
        }
        cast.touch_by_trace(trace);
        cast
    }

    /// Whom a fault of this name meets: a node that is cut off is so from all of its peers.
    fn met(&self, trace: &Trace, name: &str, is_cut: bool) -> Vec<Who> {
        let at_node = self.parts.iter().filter(|(_, part)| is_cut && part.node() == name);
        members(trace, name).chain(at_node.map(|(who, _)| *who)).collect()
    }

    fn touch_by_plan(&mut self, line: &Line, whom: Vec<Who>) {
        // Who leaves in order is well until then.
        if matches!(line.act, Act::Leave(Leave::Goodbye | Leave::HalfClose)) {
            return;
        }
        self.is_calm = false;
        let span = match line.when {
            When::At(at) => Some((at, lasts(&line.act).map_or(SimTime::MAX, |lasts| at + lasts))),
            // The trace says when that was.
            When::On { .. } => None,
        };
        for who in whom {
            if matches!(line.act, Act::Receive(_)) {
                self.choosy.push(who);
            } else if let Some(span) = span {
                self.touches.entry(who).or_default().push(span);
            }
        }
    }

    fn touch_by_trace(&mut self, trace: &Trace) {
        let end = trace.events.last().map_or(SimTime::ZERO, |last| last.at);
        let mut faults: Vec<(&str, Who, SimTime)> = Vec::new();
        for event in &trace.events {
            let (at, who) = (event.at, event.who);
            self.is_calm &= !matches!(
                event.what,
                What::FaultBegins { .. } | What::Crashed | What::Reads(false)
            );
            match &event.what {
                What::FaultBegins { line, .. } => {
                    // The name may be that of a group, whose members are meant.
                    for who in self.met(trace, trace.name(who), line.starts_with(CUT)) {
                        if **line == *"forget" {
                            self.forgotten.push((who, at));
                        }
                        self.touches.entry(who).or_default().push((at, SimTime::MAX));
                        faults.push((line, who, at));
                    }
                }
                What::FaultEnds { line, .. } => faults.retain(|(begun, who, since)| {
                    if **begun != **line {
                        return true;
                    }
                    end_touch(&mut self.touches, *who, *since, at);
                    if line.starts_with(CUT) {
                        self.cuts.entry(*who).or_default().push((*since, at));
                    }
                    false
                }),
                What::Reads(false) | What::Crashed => {
                    self.touches.entry(who).or_default().push((at, SimTime::MAX));
                }
                What::Reads(true) | What::Started => {
                    let open = self.touches.get_mut(&who).into_iter().flatten();
                    open.filter(|span| span.1 == SimTime::MAX).for_each(|span| span.1 = at);
                }
                _ => {}
            }
        }
        debug_assert!(faults.iter().all(|(.., since)| *since <= end));
    }

    /// What this peer does.
    pub fn part(&self, who: Who) -> Option<Part<'a>> {
        self.parts.get(&who).copied()
    }

    /// The plan's line of a viewer.
    pub fn play(&self, who: Who) -> Option<&'a Play> {
        match self.part(who) {
            Some(Part::Viewer(play)) => Some(play),
            _ => None,
        }
    }

    /// All publishers, with their lines of the plan.
    pub fn publishers(&self) -> impl Iterator<Item = (Who, &'a Publish)> {
        let parts = self.parts.iter();
        parts.filter_map(|(who, part)| match part {
            Part::Publisher(publish) => Some((*who, *publish)),
            _ => None,
        })
    }

    /// The plan's line of a publisher.
    pub fn publish(&self, who: Who) -> Option<&'a Publish> {
        match self.part(who) {
            Some(Part::Publisher(publish)) => Some(publish),
            _ => None,
        }
    }

    /// The link that a viewer or a target came with.
    pub fn link(&self, who: Who) -> Option<&'a Link> {
        match self.part(who)? {
            Part::Viewer(play) => Some(&play.link),
            Part::Target(target) => Some(&target.link),
            Part::Publisher(publish) => Some(&publish.link),
            Part::Bad(..) => None,
        }
    }

    /// The plan's line of a target.
    pub fn target(&self, who: Who) -> Option<&'a Target> {
        match self.part(who) {
            Some(Part::Target(target)) => Some(target),
            _ => None,
        }
    }

    /// Whether this viewer asked for less than everything at some time.
    pub fn is_choosy(&self, who: Who) -> bool {
        self.choosy.contains(&who)
    }

    /// How long nothing passed on a peer's line at the longest. The next retransmission comes at most
    /// as long after that, and a first time-out.
    pub fn longest_outage(&self, who: Who) -> Duration {
        longest(self.cuts.get(&who).cloned().unwrap_or_default())
    }

    /// Whether something was done to a peer or a node at some time from `from` to `to`.
    pub fn is_touched(&self, who: Who, from: SimTime, to: SimTime) -> bool {
        let touches = self.touches.get(&who).into_iter().flatten();
        touches.into_iter().any(|(begin, end)| *begin <= to && *end >= from)
            || self.forgotten.iter().any(|(lost, since)| *lost == who && *since <= to)
    }
}

/// The longest time that these spans cover without a break.
fn longest(mut spans: Vec<(SimTime, SimTime)>) -> Duration {
    spans.sort_unstable();
    let mut longest = Duration::ZERO;
    let mut covered: Option<(SimTime, SimTime)> = None;
    for (begin, end) in spans {
        let from = covered.filter(|(_, until)| begin <= *until).map_or(begin, |(from, _)| from);
        let until = covered.map_or(end, |(_, until)| until.max(end));
        covered = Some((from, until));
        longest = longest.max(until.since(from));
    }
    longest
}

fn end_touch(
    touches: &mut BTreeMap<Who, Vec<(SimTime, SimTime)>>,
    who: Who,
    since: SimTime,
    at: SimTime,
) {
    let spans = touches.get_mut(&who).into_iter().flatten();
    spans.filter(|span| **span == (since, SimTime::MAX)).for_each(|span| span.1 = at);
}

/// The peers that a line means by this name: the one of that name, or all of a group.
fn members<'t>(trace: &'t Trace, name: &'t str) -> impl Iterator<Item = Who> + use<'t> {
    let is_member = move |known: &str| {
        known.strip_prefix(name).is_some_and(|rest| {
            let number = rest.strip_prefix('-');
            rest.is_empty() || number.is_some_and(|n| n.bytes().all(|b| b.is_ascii_digit()))
        })
    };
    let names = (0..).zip(&trace.names);
    names.filter(move |(_, known)| is_member(known)).map(|(index, _)| Who(index))
}

/// How long an act lasts; `None`: for good.
fn lasts(act: &Act) -> Option<Duration> {
    match act {
        Act::StopReading(lasts) | Act::Cut(_, lasts) | Act::Stall(lasts) => Some(*lasts),
        Act::Freeze(lasts) | Act::Refuse(lasts) | Act::Hang(lasts) => Some(*lasts),
        Act::Late(_, lasts) => Some(*lasts),
        Act::Link(_, lasts) | Act::Egress(_, lasts) | Act::Disk(_, lasts) => *lasts,
        Act::Crash { down, .. } | Act::Stop(down) => *down,
        Act::Reset | Act::Cancel | Act::Panic | Act::Leave(_) => Some(MOMENT),
        Act::Forget | Act::Receive(_) => None,
        Act::Publish(_) | Act::Play(_) | Act::Speak { .. } | Act::Target(_) => Some(Duration::ZERO),
    }
}

/// Bits per second that a path carries at all times, with its window.
pub(super) fn rate(link: &Link, path: &Path) -> u64 {
    let capacity = match &path.capacity {
        Capacity::Unlimited => u64::MAX,
        Capacity::Constant(bits) => *bits,
        Capacity::Trace { steps, .. } => steps.iter().map(|(_, bits)| *bits).min().unwrap_or(0),
    };
    let window_bits = link.window as f64 * 8.0 / round_trip(link).as_secs_f64().max(1e-3);
    capacity.min(window_bits as u64)
}

/// A round trip at its slowest, without waiting in queues.
pub(super) fn round_trip(link: &Link) -> Duration {
    way(&link.up) + way(&link.down)
}

/// One way at its slowest, without waiting in queues.
pub(super) fn way(path: &Path) -> Duration {
    path.delay + path.jitter + path.burst
}

/// Whether nothing on this path makes a connection wait but its rate.
pub(super) fn is_clean(path: &Path) -> bool {
    path.loss == Loss::NONE && path.jitter <= Duration::from_millis(100)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn spans_that_touch_are_one() {
        let spans = |spans: &[(u64, u64)]| {
            let at = SimTime::from_millis;
            spans.iter().map(|(begin, end)| (at(*begin), at(*end))).collect()
        };
        let ms = |of: &[(u64, u64)]| longest(spans(of)).as_millis();
        assert_eq!(ms(&[]), 0);
        assert_eq!(ms(&[(5, 9), (20, 22)]), 4);
        assert_eq!(ms(&[(20, 25), (5, 9), (8, 20), (6, 7)]), 20);
    }

    #[test]
    fn a_node_that_is_cut_off_is_so_from_its_own_peers() {
        let plan: Plan = "plan 1\nseed 1\n0 studio publish live/a obs-360p30-base\n\
                          0 phone play live/a rtmp\n0 far play live/a rtmp at b\n\
                          studio.keyframe node cut for 1\n9 end\n"
            .parse()
            .expect("a plan");
        let mut trace = Trace::new();
        let [node, studio, phone, far] = ["node", "studio", "phone", "far"].map(|it| trace.who(it));
        let at = SimTime::from_millis;
        let (begun, ended) = ("cut for 1.000".into(), "cut for 1.000".into());
        trace.push(at(2_000), node, What::FaultBegins { family: "N11", line: begun });
        trace.push(at(3_000), node, What::FaultEnds { family: "N11", line: ended });
        let cast = Cast::new(&plan, &trace);
        let touched = |who| cast.is_touched(who, at(2_500), at(2_600));
        assert_eq!([node, studio, phone, far].map(touched), [true, true, true, false]);
        assert_eq!(cast.longest_outage(phone), Duration::from_secs(1));
        assert!(!cast.is_touched(phone, at(3_100), at(9_000)), "it is over");
    }
}
