//! Report: a plan is run and judged, and what came of it is told: in a few lines, the last of which
//! replays it.

use std::collections::BTreeSet;
use std::fmt::Write as _;
use std::time::Duration;

use forebay::config::Config;
use forebay::hub::{Overflow, Start};

use crate::differential;
use crate::goal;
use crate::invariant::{self, Judged, Limits, RelayBounds, Violation};
use crate::plan::{Act, Plan};
use crate::run::{self, Run, RunError};
use crate::trace::Who;

/// Lines of the trace in front of a violation that a report shows.
const CONTEXT_LINES: usize = 8;

/// What came of a plan.
#[derive(Debug)]
pub struct Outcome {
    /// What happened.
    pub run: Run,
    /// What should not have: the first violation of each invariant, in order of time.
    pub violations: Vec<Violation>,
    /// States that a campaign has to reach, and that this run reached.
    pub goals: BTreeSet<&'static str>,
}

/// Carries out a plan, and judges it by all invariants.
///
/// # Errors
///
/// If it cannot be carried out.
pub fn run_and_judge(plan: &Plan) -> Result<Outcome, RunError> {
    Ok(judge(run::run(plan)?))
}

/// Judges a run by all invariants.
pub fn judge(run: Run) -> Outcome {
    let judged = Judged::new(&run.trace, &run.plan, limits(&run.plan, &run.config));
    let violations = invariant::judge(&judged);
    let goals = goal::reached(&judged);
    Outcome { run, violations, goals }
}

/// The bounds that a run is judged by: those that its nodes are configured with.
pub fn limits(plan: &Plan, config: &Config) -> Limits {
    let defaults = Limits::default();
    let late = plan.lines.iter().filter_map(|line| match line.act {
        Act::Late(most, _) => Some(most),
        _ => None,
    });
    Limits {
        tick: plan.tick,
        handshake: config.connection.handshake_timeout,
        setup: config.connection.setup_timeout,
        publisher_idle: config.connection.publish_idle_timeout,
        ring_bytes: config.hub.ring.pinned_bytes_max,
        ring_tags: config.hub.ring.tags_max as u64,
        gop_ms: config.hub.ring.gop_ms_max,
        history_ms: config.hub.ring.history_ms,
        audio_gop_ms: config.hub.audio_gop_ms,
        coalesce: config.hub.coalesce,
        out_of_step: if config.hls.enabled { Duration::ZERO } else { config.hub.coalesce },
        takeover: config.hub.takeover,
        grace: config.grace,
        starts_with_gop: config.play.start == Start::Gop,
        backlog_bytes: config.play.policy.backlog_bytes_max,
        backlog_ms: config.play.policy.backlog_ms_max,
        disconnects: config.play.policy.overflow == Overflow::Disconnect,
        play_wait: config.play.wait,
        write_stall: config.play.write_stall_timeout,
        unsent_bytes: u64::from(config.play.unsent_len_max) + config.play.write_len_max as u64,
        connections: config.listen.connections_max,
        archive_sync: config.archive.limits.sync,
        archive_file_ms: config.archive.limits.file_ms_max,
        drain: config.drain_timeout,
        relays: RelayBounds {
            connect: config.relays.connect_timeout,
            backoff_min: config.relays.limits.backoff.min,
            backoff_max: config.relays.limits.backoff.max,
            stable: config.relays.limits.backoff.stable,
            doubt: config.relays.limits.doubt,
            write_stall: config.relays.write_stall_timeout,
            end: config.relays.end_timeout,
        },
        late: late.max().unwrap_or_default(),
        ..defaults
    }
}

impl Outcome {
    /// Whether every invariant holds.
    pub fn is_fine(&self) -> bool {
        self.violations.is_empty()
    }

    /// What is wrong, for people. `replay` is the command that shows it again.
    pub fn failure(&self, replay: &str) -> String {
        let mut text = String::new();
        let Some(first) = self.violations.first() else { return text };
        let title = self.run.plan.title.lines().next().unwrap_or_default();
        let rules = invariant::ALL.iter().map(|rule| (rule.name, rule.id, rule.why));
        let differences = differential::ALL.iter().map(|rule| (rule.name, rule.id, rule.why));
        let rule = rules.chain(differences).find(|(name, ..)| *name == first.invariant);
        let (_, id, why) = rule.unwrap_or_default();
        let mut line = |name: &str, what: &str| {
            let _infallible = writeln!(text, "  {name:<10} {what}");
        };
        line("invariant", &format!("{id} {}: {why}", first.invariant));
        line("saw", &first.saw);
        for event in self.before(first) {
            line("before", &event);
        }
        for other in self.violations.iter().skip(1) {
            line("also", &format!("{} at {}: {}", other.invariant, other.at, other.saw));
        }
        line("replay", replay);
        format!("FAILED {title} at {}s, event {}\n{text}", first.at, first.event)
    }

    /// The last events of whoever it happened to, and what was done to the world.
    fn before(&self, violation: &Violation) -> Vec<String> {
        let trace = &self.run.trace;
        let until = (violation.event + 1).min(trace.events.len());
        let matters = |who: Who| who == violation.who || who == Who::WORLD;
        let mut lines: Vec<_> = trace.events[..until]
            .iter()
            .rev()
            .filter(|event| matters(event.who) || event.what.is_fault())
            .take(CONTEXT_LINES)
            .map(|event| trace.line(event))
            .collect();
        lines.reverse();
        lines
    }
}

/// Ends a test that a violation was found in.
///
/// # Panics
///
/// Always: with the report.
pub fn fail(outcome: &Outcome) -> ! {
    panic!("{}{}", outcome.failure("the plan below, by `cargo sim replay FILE`"), outcome.run.plan)
}
