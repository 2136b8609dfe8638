//! Changes that make a plan smaller or plainer, one kind a function. None asks whether it fails.

use std::collections::BTreeMap;
use std::mem::discriminant;
use std::time::Duration;

use crate::link::{Capacity, Link, Loss};
use crate::plan::{Act, Line, Moment, Plan, Play, Player, Publish, Target, When};
use crate::time::SimTime;

/// The smallest capture there is.
const CAPTURE: &str = "obs-360p30-base";

/// Ends a run earlier: what would begin later never does.
pub(super) fn cut(plan: &mut Plan, end: SimTime) {
    plan.end = plan.end.min(end);
    plan.quiet = plan.quiet.map(|quiet| quiet.min(end));
    plan.lines.retain(|line| !matches!(line.when, When::At(time) if time >= end));
    plan.prune();
}

/// Everybody to whom something happens, in order.
pub(super) fn names(plan: &Plan) -> Vec<String> {
    let mut names: Vec<String> = Vec::new();
    for Line { who, .. } in &plan.lines {
        if !names.contains(&who.name) {
            names.push(who.name.clone());
        }
    }
    names
}

/// The nodes with another name than the usual one.
pub(super) fn nodes(plan: &Plan) -> Vec<String> {
    let mut nodes: Vec<String> = Vec::new();
    for line in &plan.lines {
        match node(&line.act) {
            Some(node) if node != "node" && !nodes.contains(node) => nodes.push(node.clone()),
            _ => {}
        }
    }
    nodes
}

fn node(act: &Act) -> Option<&String> {
    match act {
        Act::Publish(Publish { node, .. })
        | Act::Play(Play { node, .. })
        | Act::Target(Target { node, .. })
        | Act::Speak { node, .. } => Some(node),
        _ => None,
    }
}

pub(super) fn drop_chosen<T>(items: &mut Vec<T>, chosen: &[bool]) {
    let mut chosen = chosen.iter();
    items.retain(|_| chosen.next() != Some(&true));
}

/// A group of another size; members it no longer has are the plan's to prune.
pub(super) fn resize(plan: &mut Plan, name: &str, count: u32) {
    let comes = |line: &&mut Line| line.who.name == name && node(&line.act).is_some();
    plan.lines.iter_mut().filter(comes).for_each(|line| line.who.count = count);
}

/// Gives a peer or a node another's name.
pub(super) fn rename(plan: &mut Plan, from: &str, to: &str) {
    let rename = |name: &mut String| {
        if name == from {
            to.clone_into(name);
        }
    };
    for line in &mut plan.lines {
        rename(&mut line.who.name);
        if let When::On { moment, .. } = &mut line.when {
            rename(&mut moment.who);
        }
        match &mut line.act {
            Act::Publish(Publish { node, .. })
            | Act::Play(Play { node, .. })
            | Act::Target(Target { node, .. })
            | Act::Speak { node, .. } => rename(node),
            _ => {}
        }
    }
}

/// The plan in which the `pair`th two that come alike are a group.
pub(super) fn merged(plan: &Plan, pair: usize) -> Option<Plan> {
    // With the next one alike only: three alike are two pairs, not three.
    let alike = |(index, first): (usize, &Line)| {
        let mut rest = plan.lines.iter().enumerate().skip(index + 1);
        let same = |line: &Line| line.act == first.act && line.who.name != first.who.name;
        rest.find(|(_, line)| same(line)).map(|(other, _)| (index, other))
    };
    let lines = plan.lines.iter().enumerate().filter(|(_, line)| node(&line.act).is_some());
    let (first, second) = lines.filter_map(alike).nth(pair)?;
    let mut candidate = plan.clone();
    let second = candidate.lines.remove(second).who;
    let first = candidate.lines[first].who.clone();
    rename(&mut candidate, &second.name, &first.name);
    resize(&mut candidate, &first.name, first.count + second.count);
    Some(candidate)
}

/// The plan in which the `nth` other who publishes or plays is the first who does.
pub(super) fn shared(plan: &Plan, nth: usize) -> Option<Plan> {
    let comes =
        |line: &&Line| line.who.count == 1 && matches!(line.act, Act::Publish(_) | Act::Play(_));
    let alone = plan.lines.iter().filter(comes);
    let pairs = alone.clone().filter_map(|other| {
        let first =
            alone.clone().find(|first| discriminant(&first.act) == discriminant(&other.act))?;
        (first.who != other.who).then_some((&other.who.name, &first.who.name))
    });
    let (other, first) = pairs.into_iter().nth(nth)?;
    let mut candidate = plan.clone();
    rename(&mut candidate, other, first);
    Some(candidate)
}

pub(super) fn quirk_count(line: &Line) -> usize {
    if let Act::Publish(publish) = &line.act { publish.quirks.len() } else { 0 }
}

/// Drops quirks, chosen among those of all lines.
pub(super) fn drop_quirks(plan: &mut Plan, chosen: &[bool]) {
    let mut rest = chosen;
    for line in &mut plan.lines {
        if let Act::Publish(publish) = &mut line.act {
            let (own, others) = rest.split_at(publish.quirks.len());
            drop_chosen(&mut publish.quirks, own);
            rest = others;
        }
    }
}

/// What a line can do without, or have as it usually is.
pub(super) const EXTRAS: [fn(&mut Line); 10] = [
    |line| match &mut line.act {
        Act::Publish(Publish { again, .. }) | Act::Play(Play { again, .. }) => *again = None,
        _ => {}
    },
    |line| {
        if let Act::Target(target) = &mut line.act {
            target.quirks.pop();
        }
    },
    |line| on_play(line, |play| play.stay = None),
    |line| on_play(line, |play| play.apart = Duration::ZERO),
    |line| on_play(line, |play| play.start = None),
    |line| on_play(line, |play| play.player = Player::Rtmp),
    |line| on_publish(line, |publish| CAPTURE.clone_into(&mut publish.capture)),
    |line| on_publish(line, |publish| publish.repeats = false),
    |line| on_publish(line, |publish| publish.part = None),
    |line| {
        if let Act::Crash { silent, .. } = &mut line.act {
            *silent = false;
        }
    },
];

fn on_play(line: &mut Line, change: fn(&mut Play)) {
    if let Act::Play(play) = &mut line.act {
        change(play);
    }
}

fn on_publish(line: &mut Line, change: impl Fn(&mut Publish)) {
    if let Act::Publish(publish) = &mut line.act {
        change(publish);
    }
}

/// Plainer links, the plainest first.
pub(super) const LINKS: [fn(&mut Link); 9] = [
    |link| *link = Link::lan(),
    |link| link.up.clone_from(&link.down),
    |link| each_path(link, |path| path.jitter = Duration::ZERO),
    |link| each_path(link, |path| path.loss = Loss::NONE),
    |link| each_path(link, |path| path.segment = None),
    |link| each_path(link, |path| path.burst = Duration::ZERO),
    |link| link.window = Link::lan().window,
    |link| each_path(link, |path| path.queue = Link::lan().down.queue),
    |link| {
        each_path(link, |path| {
            if let Capacity::Trace { steps, .. } = &path.capacity {
                let least = steps.iter().map(|(_, bits)| *bits).min();
                path.capacity = Capacity::Constant(least.unwrap_or_default());
            }
        });
    },
];

fn each_path(link: &mut Link, change: fn(&mut crate::link::Path)) {
    change(&mut link.down);
    change(&mut link.up);
}

/// Simplifies a line's link, unless that takes more words.
pub(super) fn simplify_link(line: &mut Line, simplify: fn(&mut Link)) {
    let link = match &mut line.act {
        Act::Publish(Publish { link, .. })
        | Act::Play(Play { link, .. })
        | Act::Target(Target { link, .. })
        | Act::Link(link, _) => link,
        _ => return,
    };
    let mut plain = link.clone();
    simplify(&mut plain);
    if plain.to_string().len() <= link.to_string().len() {
        *link = plain;
    }
}

/// Waits for the first of a kind, and for nothing after it.
pub(super) fn first_time(line: &mut Line) {
    if let When::On { moment, delay } = &mut line.when {
        moment.count = 1;
        *delay = Duration::ZERO;
    }
}

/// Times at which a line's moment may well be: shortly after who it waits for comes, and in the
/// middle of the run.
pub(super) fn times_of(plan: &Plan, index: usize) -> Vec<When> {
    let When::On { moment: Moment { who, .. }, .. } = &plan.lines[index].when else {
        return Vec::new();
    };
    let came = plan.lines.iter().find(|line| line.who.name == *who && node(&line.act).is_some());
    let soon = match came.map(|line| &line.when) {
        Some(When::At(time)) => time.micros() + 500_000,
        _ => 500_000,
    };
    let guesses = [soon, plan.end.micros() / 2].map(|micros| micros / 100_000 * 100_000);
    guesses.map(|micros| When::At(SimTime::from_micros(micros))).to_vec()
}

/// All times that a plan names, in order.
pub(super) fn times(plan: &Plan) -> Vec<u64> {
    let at = |line: &Line| if let When::At(time) = line.when { Some(time) } else { None };
    let mut times: Vec<u64> = plan.lines.iter().filter_map(at).map(SimTime::micros).collect();
    times.extend(plan.quiet.map(SimTime::micros));
    times.push(plan.end.micros());
    times.sort_unstable();
    times.dedup();
    times
}

/// Shortens the chosen gaps before the times that a plan names: everything later comes earlier.
pub(super) fn close_gaps(plan: &mut Plan, chosen: &[bool], shorter: &dyn Fn(u64) -> u64) {
    let (mut before, mut now) = (0, 0);
    let mut moved = BTreeMap::new();
    for (time, chosen) in times(plan).into_iter().zip(chosen) {
        now += if *chosen { shorter(time - before) } else { time - before };
        before = time;
        moved.insert(time, now);
    }
    let all = vec![true; plan.lines.len() + 2];
    round_times(plan, &all, &|time| moved.get(&time).copied().unwrap_or(time));
}

/// Changes the chosen times: those of the lines, when it is quiet, and when it is over.
pub(super) fn round_times(plan: &mut Plan, chosen: &[bool], change: &dyn Fn(u64) -> u64) {
    let at = plan.lines.iter_mut().map(|line| match &mut line.when {
        When::At(time) => Some(time),
        When::On { .. } => None,
    });
    let times = at.chain([plan.quiet.as_mut(), Some(&mut plan.end)]).zip(chosen);
    for time in times.filter_map(|(time, chosen)| time.filter(|_| *chosen)) {
        *time = SimTime::from_micros(change(time.micros()));
    }
}

/// Changes how long things last, and how long after a moment they begin.
pub(super) fn durations(line: &mut Line, change: &dyn Fn(u64) -> u64) {
    let change = |duration: &mut Duration| {
        *duration = Duration::from_micros(change(SimTime::from(*duration).micros()));
    };
    if let When::On { delay, .. } = &mut line.when {
        change(delay);
    }
    match &mut line.act {
        Act::Publish(publish) => publish.again.iter_mut().for_each(change),
        Act::Play(play) => {
            play.again.iter_mut().chain(&mut play.stay).chain([&mut play.apart]).for_each(change);
        }
        Act::Link(_, lasts)
        | Act::Egress(_, lasts)
        | Act::Disk(_, lasts)
        | Act::Stop(lasts)
        | Act::Crash { down: lasts, .. } => lasts.iter_mut().for_each(change),
        Act::StopReading(lasts)
        | Act::Cut(_, lasts)
        | Act::Stall(lasts)
        | Act::Freeze(lasts)
        | Act::Refuse(lasts)
        | Act::Hang(lasts) => change(lasts),
        Act::Late(up_to, lasts) => [up_to, lasts].into_iter().for_each(change),
        Act::Speak { .. }
        | Act::Target(_)
        | Act::Leave(_)
        | Act::Forget
        | Act::Reset
        | Act::Receive(_)
        | Act::Cancel
        | Act::Panic => {}
    }
}

/// Publishes the first half of what was published, down to a quarter of a second.
pub(super) fn halve_part(line: &mut Line) {
    on_publish(line, |publish| {
        if let Some((from, to)) = &mut publish.part {
            let half = to.since(*from).as_millis() as u64 / 2;
            if half >= 250 {
                *to = *from + Duration::from_millis(half);
            }
        }
    });
}
