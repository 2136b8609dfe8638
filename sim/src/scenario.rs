//! Scenario: the list. Each says what happens; the seed says how; every invariant is always on.

mod media;
mod nodes;
mod people;
mod relays;

use crate::invariant::Violation;
use crate::panics;
use crate::report::Outcome;
use crate::run::RunError;
use crate::trace::Who;
use crate::world::{Moot, World};

/// A world with a name.
#[derive(Clone, Copy, Debug)]
pub struct Scenario {
    /// Its name, for the command line.
    pub name: &'static str,
    /// What it is about, in a sentence.
    pub about: &'static str,
    /// Its share of a campaign; 0: only when it is asked for, for it takes long.
    pub share: u32,
    /// Builds it, runs it, and asks its own questions.
    play: fn(&mut World),
}

/// What a scenario asks itself, beside the invariants, as the name of a violation.
pub const ASKS: &str = "scenario_asks";

impl Scenario {
    /// Plays it. A violation is in the outcome, and so is a question of its own that was answered
    /// otherwise than it should.
    ///
    /// # Errors
    ///
    /// If the plan it makes cannot be carried out.
    pub fn play(&self, seed: u64) -> Result<Outcome, RunError> {
        let mut world = World::of_campaign(self.name, seed);
        let caught = panics::catch(|| (self.play)(&mut world)).err();
        let (payload, words) = match caught {
            None => (None, String::new()),
            Some((payload, words)) => (Some(payload), words),
        };
        let payload = match payload.map(|payload| payload.downcast::<RunError>()) {
            Some(Ok(error)) => return Err(*error),
            Some(Err(payload)) => Some(payload),
            None => None,
        };
        let own = payload.filter(|payload| !payload.is::<Moot>());
        let Some(mut outcome) = world.into_outcome() else {
            return Err(RunError::Plan(format!("{} did not run: {words}", self.name)));
        };
        if own.is_some() {
            let (event, at) =
                (outcome.run.trace.events.len().saturating_sub(1), outcome.run.plan.end);
            let kind = "answer of the scenario".to_owned();
            outcome.violations.push(Violation {
                invariant: ASKS,
                at,
                event,
                who: Who::WORLD,
                saw: words,
                kind,
            });
        }
        Ok(outcome)
    }
}

const fn row(
    name: &'static str,
    share: u32,
    play: fn(&mut World),
    about: &'static str,
) -> Scenario {
    Scenario { name, about, share, play }
}

/// All of them.
#[rustfmt::skip]
pub static ALL: &[Scenario] = &[
    row("smoke", 2, people::smoke, "one publisher, a player of each kind, three seconds"),
    row("calm", 4, people::calm, "good encoders, ample links, viewers that read"),
    row("reference", 0, people::reference, "the mix whose speed is promised: 8 viewers, one slow, one late"),
    row("hls", 2, people::hls, "players of HLS of all habits; a publisher that returns, perhaps with other pictures"),
    row("hls_silence", 2, people::hls_silence, "players of HLS of an encoder that falls silent, and of one whose keyframes come late"),
    row("hls_restart", 2, nodes::hls_restart, "a node dies while its stream is watched by HLS, and the stream goes on"),
    row("relay_flaps", 4, relays::relay_flaps, "targets that refuse, cut, stall, die and return while a stream is relayed to them"),
    row("slow_viewer", 2, people::slow_viewer, "a slow, a stuck and a tunnelling viewer beside four healthy ones"),
    row("deaf_viewer", 1, people::deaf_viewer, "viewers that never read again beside two healthy ones"),
    row("dispensable", 1, people::dispensable, "viewers that are too slow for all pictures, and not for those that count"),
    row("choosy_viewer", 1, people::choosy_viewer, "viewers that want no pictures, then nothing, while headers change"),
    row("full_line", 1, people::full_line, "equal viewers ask for more than their node may send"),
    row("tunnel", 2, people::tunnel, "a phone loses its link and comes back"),
    row("late_join", 2, people::late_join, "joins at every tag of two GOPs, with changing headers"),
    row("crowd", 1, people::crowd, "a hundred joins in a tenth of a second, at a keyframe, through a narrow NIC"),
    row("churn", 2, people::churn, "viewers that come and go all the time"),
    row("nic_saturation", 0, people::nic_saturation, "1000 viewers at 4 Mbit/s against 1, 4.2 or 10 Gbit/s"),
    row("publisher_returns", 2, media::publisher_returns, "a publisher vanishes and is back before it is missed; another takes its key"),
    row("publisher_vanishes", 1, media::publisher_vanishes, "a publisher falls silent or leaves, and does not return"),
    row("odd_encoder", 6, media::odd_encoder, "encoders with two quirks"),
    row("old_clock", 2, media::old_clock, "an encoder that has run for weeks, and keyframes of two chunks"),
    row("jumping_clock", 1, media::jumping_clock, "an encoder whose clock is set ahead while it runs"),
    row("last_words", 1, media::last_words, "a stream that is over with its first picture, and guests that begin to listen meanwhile"),
    row("cut_reads", 2, media::cut_reads, "reads of a few bytes, and chunks of three messages in turn"),
    row("radio", 1, media::radio, "sound alone, and a listener too slow for it"),
    row("endless_gop", 2, media::endless_gop, "no second keyframe, and a small ring"),
    row("long_day", 0, media::long_day, "24 simulated hours, both timestamp wraps"),
    row("bad_neighbours", 2, nodes::bad_neighbours, "everybody who should not be there, at once"),
    row("rolling_restart", 2, nodes::rolling_restart, "two nodes stop and start one after the other; viewers reconnect"),
    row("crash_loop", 2, nodes::crash_loop, "a node that dies every few seconds"),
    row("frozen_node", 2, nodes::frozen_node, "a node stands still, then goes on"),
    row("crashing_disk", 8, nodes::crashing_disk, "nodes that record, on disks that fail, and lose their power"),
    row("weather", 6, nodes::weather, "links of all kinds that fail"),
    row("everything", 40, nodes::everything, "a random subset of all of the above"),
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
