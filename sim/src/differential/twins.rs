//! Twins: which smaller or changed plans a plan has whose runs can be compared with its own. Only
//! where nothing is shared that what was removed could have used up, and nothing waits for it: a
//! difference is then a fault, and not the plan's wish.

use std::collections::BTreeSet;

use super::Removed;
use crate::link::{Capacity, Link, Loss};
use crate::plan::{Act, Line, MomentKind, Plan, Quirk, Speech, When};
use crate::random;
use crate::run::is_of;

/// Settings by which one peer takes another's place.
const SHARED: [&str; 4] = [
    "listen.connections_max=",
    "hub.subscribers_max=",
    "hub.topics_max=",
    "receive.waiting_blocks_max=",
];

/// A viewer that cannot receive so much is slow: bits per second.
const SLOW: u64 = 2_000_000;

/// A plan's twins, each with what it lacks.
pub fn twins(plan: &Plan) -> Vec<(Removed, Plan)> {
    if !is_comparable(plan) {
        return Vec::new();
    }
    let mut twins = Vec::new();
    twins.extend(resegmented(plan).map(|twin| (Removed::Segmentation, twin)));
    twins.extend(disentangled(plan).map(|twin| (Removed::Interleaving, twin)));
    twins.extend(without(plan, &viewers(plan)).map(|twin| (Removed::Viewers, twin)));
    for line in &plan.lines {
        let name = &line.who.name;
        if let Act::Speak { .. } = line.act {
            let twin = without(plan, std::slice::from_ref(name));
            twins.extend(twin.map(|twin| (Removed::BadPeer(name.clone()), twin)));
        }
    }
    let slow = slow_viewers(plan);
    if slow.len() < viewers(plan).len() {
        twins.extend(without(plan, &slow).map(|twin| (Removed::SlowViewers(slow), twin)));
    }
    let targets: Vec<_> = plan.targets().map(|(name, _)| name.to_owned()).collect();
    twins.extend(without(plan, &targets).map(|twin| (Removed::Targets(targets), twin)));
    twins.extend(whole_disks(plan).map(|twin| (Removed::DiskFaults, twin)));
    twins.retain(|(_, twin)| twin != plan && twin.check().is_ok());
    twins
}

/// Whether peers of a plan have nothing to do with each other but their streams.
fn is_comparable(plan: &Plan) -> bool {
    let nodes = plan.nodes();
    let is_shared = |setting: &String| SHARED.iter().any(|shared| setting.starts_with(shared));
    let concerns_all = |line: &Line| match &line.act {
        // A disk is nobody's but its archive's.
        Act::Disk(..) => false,
        // What a node suffers, all suffer, and how long depends on who is there.
        _ if nodes.contains(&line.who.name) => true,
        // At its next read, or whatever it is that it does.
        Act::Panic | Act::Cancel => true,
        Act::Speak { speech, .. } => *speech == Speech::Intruder,
        _ => false,
    };
    let keys = publishes(plan).map(|(_, publish)| (&publish.node, &publish.key));
    let keys: Vec<_> = keys.collect();
    let are_alone = keys.iter().collect::<BTreeSet<_>>().len() == keys.len();
    are_alone && !plan.settings.iter().any(is_shared) && !plan.lines.iter().any(concerns_all)
}

fn publishes(plan: &Plan) -> impl Iterator<Item = (&Line, &crate::plan::Publish)> {
    plan.lines.iter().filter_map(|line| match &line.act {
        Act::Publish(publish) => Some((line, publish)),
        _ => None,
    })
}

fn viewers(plan: &Plan) -> Vec<String> {
    let plays = plan.lines.iter().filter(|line| matches!(line.act, Act::Play(_)));
    plays.map(|line| line.who.name.clone()).collect()
}

/// Viewers, or groups with some, that read or receive too little.
fn slow_viewers(plan: &Plan) -> Vec<String> {
    let is_narrow = |link: &Link| match &link.down.capacity {
        Capacity::Unlimited => false,
        Capacity::Constant(bits) => *bits < SLOW,
        Capacity::Trace { steps, .. } => steps.iter().any(|(_, bits)| *bits < SLOW),
    };
    let slows = |act: &Act| match act {
        Act::StopReading(_) => true,
        Act::Play(crate::plan::Play { link, .. }) | Act::Link(link, _) => is_narrow(link),
        _ => false,
    };
    let mut names = viewers(plan);
    names.retain(|name| {
        plan.lines.iter().any(|line| is_of(&line.who.name, name) && slows(&line.act))
    });
    names
}

/// The plan without these peers; `None` if there are none, or if somebody waits for them.
fn without(plan: &Plan, names: &[String]) -> Option<Plan> {
    let is_gone = |who: &str| names.iter().any(|name| is_of(who, name));
    let mut twin = plan.clone();
    twin.lines.retain(|line| !is_gone(&line.who.name));
    let waits = |line: &Line| matches!(&line.when, When::On { moment, .. } if is_gone(&moment.who));
    // A publisher that is gone would take its viewers' reason along.
    let goes = twin.lines.len() < plan.lines.len();
    (goes && !twin.lines.iter().any(waits)).then_some(twin)
}

/// The plan with disks that work; `None` if they do, or if somebody waits for what they do.
fn whole_disks(plan: &Plan) -> Option<Plan> {
    let mut twin = plan.clone();
    twin.lines.retain(|line| !matches!(line.act, Act::Disk(..)));
    let waits = |line: &Line| matches!(&line.when, When::On { moment, .. } if moment.event == MomentKind::Disk);
    (twin != *plan && !plan.lines.iter().any(waits)).then_some(twin)
}

/// The plan with its publishers' bytes cut otherwise.
fn resegmented(plan: &Plan) -> Option<Plan> {
    if !are_steady(plan) {
        return None;
    }
    let mut twin = plan.clone();
    let names: Vec<_> = publishes(plan).map(|(line, _)| line.who.name.clone()).collect();
    // The only lines that steady publishers have beside their own: links that cut.
    let is_cut = |line: &Line| names.contains(&line.who.name) && matches!(line.act, Act::Link(..));
    twin.lines.retain(|line| !is_cut(line));
    let was_cut = twin.lines.len() < plan.lines.len()
        || publishes(plan).any(|(_, publish)| publish.link.up.segment.is_some());
    // Each read of an unfinished message counts for more than its few bytes: megabytes in such reads
    // are more than a parser may hold, and are refused.
    let is_huge = |quirk: &Quirk| matches!(quirk, Quirk::Huge { .. });
    let has_huge = publishes(plan).any(|(_, publish)| publish.quirks.iter().any(is_huge));
    if has_huge && was_cut {
        return None;
    }
    let max = [if has_huge { 1_000 } else { 7 }, 100, 1_000]
        [random::stream(plan.seed, "twin/segment").usize(..3)];
    for line in &mut twin.lines {
        if let Act::Publish(publish) = &mut line.act {
            publish.link.up.segment = (!was_cut).then_some(max);
        }
    }
    Some(twin)
}

/// The plan with chunks of different streams one after the other.
fn disentangled(plan: &Plan) -> Option<Plan> {
    let is_tangled = |quirks: &[Quirk]| quirks.contains(&Quirk::Interleaved);
    if !are_steady(plan) || !publishes(plan).any(|(_, publish)| is_tangled(&publish.quirks)) {
        return None;
    }
    let mut twin = plan.clone();
    for line in &mut twin.lines {
        if let Act::Publish(publish) = &mut line.act {
            publish.quirks.retain(|quirk| *quirk != Quirk::Interleaved);
        }
    }
    Some(twin)
}

/// Whether what publishers send depends on themselves alone: nothing is done to them but that
/// their bytes are cut, and their links draw no random numbers, which cutting draws, too.
fn are_steady(plan: &Plan) -> bool {
    let is_even = |link: &Link| {
        let paths = [&link.up, &link.down];
        paths.iter().all(|path| path.loss == Loss::NONE && path.jitter.is_zero())
    };
    let uncut = |link: &Link| {
        let mut link = link.clone();
        (link.up.segment, link.down.segment) = (None, None);
        link
    };
    let mut all = publishes(plan);
    all.all(|(own, publish)| {
        let mut lines = plan.lines.iter().filter(|line| line.who.name == own.who.name);
        let is_harmless = |line: &Line| match &line.act {
            Act::Publish(_) => matches!(line.when, When::At(_)),
            Act::Link(link, _) => uncut(link) == uncut(&publish.link),
            _ => false,
        };
        is_even(&publish.link) && lines.all(is_harmless)
    })
}
