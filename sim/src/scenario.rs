//! Scenario: the list. Each says what happens; the seed says how; every invariant is always on.

mod media;
mod nodes;
mod people;

use crate::world::World;

/// A world with a name.
#[derive(Clone, Copy)]
pub struct Scenario {
    /// Its name, for the command line.
    pub name: &'static str,
    /// What it is about, in a sentence.
    pub about: &'static str,
    /// Builds it, runs it, and asks its own questions.
    pub play: fn(&mut World),
}

/// All of them.
pub static ALL: &[Scenario] = &[
    Scenario { name: "smoke", about: "one publisher, a player of each kind, three seconds", play: people::smoke },
    Scenario { name: "calm", about: "good encoders, ample links, viewers that read", play: people::calm },
    Scenario { name: "reference", about: "the mix whose speed is promised: 8 viewers, one slow, one late", play: people::reference },
    Scenario { name: "slow_viewer", about: "a slow, a stuck and a tunnelling viewer beside four healthy ones", play: people::slow_viewer },
    Scenario { name: "tunnel", about: "a phone loses its link and comes back", play: people::tunnel },
    Scenario { name: "late_join", about: "joins at every tag of two GOPs, with changing headers", play: people::late_join },
    Scenario { name: "crowd", about: "a hundred joins in a tenth of a second, at a keyframe, through a narrow NIC", play: people::crowd },
    Scenario { name: "churn", about: "viewers that come and go all the time", play: people::churn },
    Scenario { name: "nic_saturation", about: "1000 viewers at 4 Mbit/s against 1, 4.2 or 10 Gbit/s", play: people::nic_saturation },
    Scenario { name: "publisher_returns", about: "a publisher vanishes and is back before it is missed; another takes its key", play: media::publisher_returns },
    Scenario { name: "odd_encoder", about: "encoders with two quirks", play: media::odd_encoder },
    Scenario { name: "endless_gop", about: "no second keyframe, and a small ring", play: media::endless_gop },
    Scenario { name: "long_day", about: "24 simulated hours, both timestamp wraps", play: media::long_day },
    Scenario { name: "bad_neighbours", about: "everybody who should not be there, at once", play: nodes::bad_neighbours },
    Scenario { name: "rolling_restart", about: "two nodes stop and start one after the other; viewers reconnect", play: nodes::rolling_restart },
    Scenario { name: "crash_loop", about: "a node that dies every few seconds", play: nodes::crash_loop },
    Scenario { name: "frozen_node", about: "a node stands still, then goes on", play: nodes::frozen_node },
    Scenario { name: "weather", about: "links of all kinds that fail", play: nodes::weather },
    Scenario { name: "everything", about: "a random subset of all of the above", play: nodes::everything },
];

/// The scenario of this name, or the names there are.
pub fn find(name: &str) -> Result<&'static Scenario, String> {
    ALL.iter().find(|scenario| scenario.name == name).ok_or_else(|| {
        let names: Vec<_> = ALL.iter().map(|scenario| scenario.name).collect();
        format!("there is no scenario `{name}`; there are {}", names.join(", "))
    })
}

fn mix(name: &str) -> crate::draw::Mix {
    let mixes = crate::draw::MIXES;
    *mixes.iter().find(|mix| mix.name == name).unwrap_or(&mixes[0])
}
