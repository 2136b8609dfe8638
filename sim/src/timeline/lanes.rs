//! Who gets a lane: nodes, publishers, viewers, and who should not be there; crowds share one.

use std::collections::{BTreeMap, BTreeSet};

use super::story::Story;
use crate::invariant::Part;
use crate::plan::Act;
use crate::run::is_of;
use crate::trace::Who;

/// With more peers than this, those with one name and many numbers share a lane.
const PEERS_MAX: usize = 12;

/// A group this large is condensed where there are too many.
const GROUP_MIN: usize = 4;

/// A row of the picture.
pub(super) struct Lane {
    pub(super) role: Role,
    pub(super) name: String,
    /// One, or a whole crowd.
    pub(super) members: Vec<Who>,
}

/// What is drawn in a lane.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Role {
    Node,
    Publisher,
    Viewer,
    /// A peer that speaks as it should not.
    Neighbour,
}

impl Lane {
    pub(super) fn height(&self) -> f64 {
        match self.role {
            Role::Node => 32.0,
            Role::Publisher => 50.0,
            Role::Viewer => 48.0,
            Role::Neighbour => 22.0,
        }
    }

    pub(super) fn is_crowd(&self) -> bool {
        self.members.len() > 1
    }
}

/// The lanes from top to bottom, and how many peers got none.
pub(super) fn arrange(story: &Story<'_>, lanes_max: usize) -> (Vec<Lane>, usize) {
    let mut lanes: Vec<_> =
        story.nodes().map(|node| lane(Role::Node, story.name(node), vec![node])).collect();
    let mut peers: Vec<_> = story.peers().map(|peer| (role(story, peer), peer)).collect();
    peers.sort_by_key(|(role, peer)| (*role, plan_line(story, *peer), *peer));
    let accused: BTreeSet<Who> =
        story.outcome.violations.iter().map(|violation| violation.who).collect();
    let crowds = crowds(story, &peers);
    let mut begun = BTreeSet::new();
    for (role, peer) in &peers {
        let crowd = crowds.iter().find(|(_, members)| members.contains(peer));
        let Some((key, members)) = crowd.filter(|_| !accused.contains(peer)) else {
            lanes.push(lane(*role, story.name(*peer), vec![*peer]));
            continue;
        };
        if begun.insert(key) {
            let members = members.iter().copied().filter(|who| !accused.contains(who));
            lanes.push(lane(*role, key.name, members.collect()));
        }
    }
    let is_accused = |lane: &Lane| lane.members.iter().any(|who| accused.contains(who));
    let mut left = lanes.len().saturating_sub(lanes_max);
    let mut hidden = 0;
    for index in (0..lanes.len()).rev() {
        if left > 0 && !is_accused(&lanes[index]) {
            hidden += lanes.remove(index).members.len();
            left -= 1;
        }
    }
    (lanes, hidden)
}

fn lane(role: Role, name: &str, members: Vec<Who>) -> Lane {
    let name = match members.len() {
        1 => name.to_owned(),
        count => format!("{name} × {count}"),
    };
    Lane { role, name, members }
}

/// Where the plan introduces somebody: its order is the one that the reader knows.
fn plan_line(story: &Story<'_>, peer: Who) -> usize {
    let name = story.name(peer);
    let lines = &story.outcome.run.plan.lines;
    let mut comes = lines.iter().map(|line| {
        matches!(line.act, Act::Publish(_) | Act::Play(_) | Act::Speak { .. } | Act::Target(_))
            && is_of(name, &line.who.name)
    });
    comes.position(|is_it| is_it).unwrap_or(lines.len())
}

/// What the plan says it is; of whom the plan does not speak, what it does.
fn role(story: &Story<'_>, peer: Who) -> Role {
    match story.cast.part(peer) {
        Some(Part::Publisher(_)) => Role::Publisher,
        Some(Part::Viewer(_)) => Role::Viewer,
        Some(Part::Bad(..) | Part::Target(_)) => Role::Neighbour,
        None if story.connections(peer).any(|c| !c.publications.is_empty()) => Role::Publisher,
        None if story.connections(peer).any(|c| c.playing.is_some()) => Role::Viewer,
        None => Role::Neighbour,
    }
}

/// What members of a crowd have in common.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
struct Crowd<'a> {
    name: &'a str,
    /// The stream that they play.
    key: &'a str,
}

/// Viewers that share a lane: groups of the plan, and if that is not enough, those whose names
/// differ in a number only.
fn crowds<'a>(story: &'a Story<'_>, peers: &[(Role, Who)]) -> BTreeMap<Crowd<'a>, Vec<Who>> {
    let mut crowds: BTreeMap<_, Vec<Who>> = BTreeMap::new();
    if peers.len() <= PEERS_MAX {
        return crowds;
    }
    let plan = &story.outcome.run.plan;
    let is_full = peers.len() > PEERS_MAX * 2;
    for (_, peer) in peers.iter().filter(|(role, _)| *role == Role::Viewer) {
        let line = plan.lines.get(plan_line(story, *peer));
        let is_group = line.is_some_and(|line| line.who.count > 1);
        let key = story.cast.play(*peer).map_or("", |play| &*play.key);
        if is_group || is_full {
            crowds.entry(Crowd { name: stem(story.name(*peer)), key }).or_default().push(*peer);
        }
    }
    crowds.retain(|_, members| members.len() >= GROUP_MIN);
    crowds
}

/// A name without its number.
fn stem(name: &str) -> &str {
    let stem = name.trim_end_matches(|char: char| char.is_ascii_digit());
    let stem = if stem.len() < name.len() { stem.trim_end_matches('-') } else { stem };
    if stem.is_empty() { name } else { stem }
}

#[cfg(test)]
mod tests {
    use super::stem;

    #[test]
    fn members_of_a_group_have_one_stem() {
        let stems = ["crowd-17", "join150", "desk", "7", "a-"].map(stem);
        assert_eq!(stems, ["crowd", "join", "desk", "7", "a-"]);
    }
}
