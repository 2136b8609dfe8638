//! Log: what a peer, or a whole group, saw in a run; for a scenario's own questions.

use std::time::Duration;

use crate::report::Outcome;
use crate::tag::{Role, TagSeen};
use crate::time::SimTime;
use crate::trace::{Event, LagCause, What, Who};

/// What some peers saw.
pub struct Log<'a> {
    outcome: &'a Outcome,
    peers: Vec<Who>,
}

impl<'a> Log<'a> {
    pub(super) fn new(outcome: &'a Outcome, name: &str) -> Self {
        let names = outcome.run.trace.names.iter().enumerate();
        let peers = names.filter(|(_, known)| crate::run::is_of(known, name));
        Self { outcome, peers: peers.map(|(index, _)| Who(index as u32)).collect() }
    }

    /// What happened to them, in order.
    pub fn events(&self) -> impl Iterator<Item = &'a Event> {
        let events = self.outcome.run.trace.events.iter();
        events.filter(|event| self.peers.contains(&event.who))
    }

    /// The tags that they got, with the times at which their last bytes came.
    pub fn got(&self) -> impl Iterator<Item = (SimTime, TagSeen)> {
        self.events().filter_map(|event| match &event.what {
            What::Got(tag) => Some((event.at, *tag)),
            _ => None,
        })
    }

    /// The tags that they sent.
    pub fn sent(&self) -> impl Iterator<Item = (SimTime, TagSeen)> {
        self.events().filter_map(|event| match &event.what {
            What::Sent(tag) => Some((event.at, *tag)),
            _ => None,
        })
    }

    /// How many pictures they got.
    pub fn pictures(&self) -> usize {
        self.got().filter(|(_, tag)| tag.role.is_picture()).count()
    }

    /// When the first keyframe came.
    pub fn first_keyframe(&self) -> Option<SimTime> {
        self.got().find(|(_, tag)| tag.role == Role::Keyframe).map(|(at, _)| at)
    }

    /// Tags that they lost because they were slow.
    pub fn lag(&self) -> u64 {
        self.events()
            .map(|event| match event.what {
                What::Lag { cause: LagCause::Overflow | LagCause::Disposable, tags, .. } => tags,
                _ => 0,
            })
            .sum()
    }

    /// The longest time between two tags of any of them, from the first to the last.
    pub fn longest_gap(&self) -> Duration {
        let gaps = self.peers.iter().filter_map(|peer| {
            let of_peer = self.events().filter(|event| event.who == *peer);
            let times: Vec<_> = of_peer
                .filter(|event| matches!(event.what, What::Got(_)))
                .map(|event| event.at)
                .collect();
            times.windows(2).map(|pair| pair[1].since(pair[0])).max()
        });
        gaps.max().unwrap_or_default()
    }

    /// How often connections ended like this.
    pub fn closed(&self, how: crate::trace::Close) -> usize {
        self.events().filter(|event| event.what == What::Closed(how)).count()
    }
}
