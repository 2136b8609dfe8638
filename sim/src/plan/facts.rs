//! What a plan says about itself: who is in it, and how long things last.

use std::collections::BTreeSet;
use std::time::Duration;

use super::cast::{Cast, Role};
use super::{Act, Plan, Target};

impl Plan {
    /// The nodes, by name: whoever peers come to, and whoever is no peer.
    pub fn nodes(&self) -> Vec<String> {
        let mut nodes = BTreeSet::new();
        for line in &self.lines {
            let node = match &line.act {
                Act::Publish(publish) => &publish.node,
                Act::Play(play) => &play.node,
                Act::Speak { node, .. } => node,
                Act::Target(target) => &target.node,
                _ => continue,
            };
            nodes.insert(node.clone());
        }
        let cast = Cast::of(self).0;
        let named = self.lines.iter().map(|line| &line.who.name);
        nodes.extend(named.filter(|name| cast.role(name) == Some(Role::Node)).cloned());
        nodes.into_iter().collect()
    }

    /// The servers that nodes relay to, by name.
    pub fn targets(&self) -> impl Iterator<Item = (&str, &Target)> {
        self.lines.iter().filter_map(|line| match &line.act {
            Act::Target(target) => Some((line.who.name.as_str(), target)),
            _ => None,
        })
    }

    /// The streams that are published or played.
    pub fn keys(&self) -> Vec<String> {
        let keys = self.lines.iter().filter_map(|line| match &line.act {
            Act::Publish(publish) => Some(publish.key.clone()),
            Act::Play(play) => Some(play.key.clone()),
            _ => None,
        });
        keys.collect::<BTreeSet<_>>().into_iter().collect()
    }
}

impl Act {
    /// How long it is done to somebody; `None` for what happens once or for good.
    pub fn lasts(&self) -> Option<Duration> {
        match self {
            Self::StopReading(time)
            | Self::Cut(_, time)
            | Self::Stall(time)
            | Self::Freeze(time)
            | Self::Late(_, time)
            | Self::Refuse(time)
            | Self::Hang(time) => Some(*time),
            Self::Link(_, lasts) | Self::Egress(_, lasts) | Self::Disk(_, lasts) => *lasts,
            Self::Crash { down, .. } => *down,
            Self::Publish(_)
            | Self::Play(_)
            | Self::Speak { .. }
            | Self::Target(_)
            | Self::Leave(_)
            | Self::Forget
            | Self::Reset
            | Self::Receive(_)
            | Self::Cancel
            | Self::Panic
            | Self::Stop(_) => None,
        }
    }
}
