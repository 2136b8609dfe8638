//! Judged: a run as the judges see it.

use std::collections::BTreeSet;
use std::time::Duration;

use super::cast::{is_clean, rate};
use super::{Cast, Finding, Limits, Violation};
use crate::ledger::{Connection, Ledger, Topic};
use crate::plan::{Plan, Start};
use crate::tag::Role;
use crate::time::SimTime;
use crate::trace::{Trace, What, Who};

/// A run, with all that is known of it.
pub struct Judged<'a> {
    /// What happened.
    pub trace: &'a Trace,
    /// What was planned.
    pub plan: &'a Plan,
    /// The configured bounds.
    pub limits: Limits,
    /// Published against delivered.
    pub ledger: Ledger,
    /// Who did what, and to whom something was done.
    pub cast: Cast<'a>,
    /// Digests of the pictures that need the GOP before theirs, by the captures' manifests.
    pub leading: BTreeSet<u64>,
    peaks: Vec<Peak>,
}

/// What is asked of a viewer's link in the worst second of a topic.
#[derive(Clone)]
struct Peak {
    bits: u64,
    clock_ms: u64,
}

/// How long a fault goes on to be felt: queues drain, windows open, back-offs run out.
const AFTERMATH: Duration = Duration::from_secs(10);

impl<'a> Judged<'a> {
    /// Reads the trace of a run.
    pub fn new(trace: &'a Trace, plan: &'a Plan, limits: Limits) -> Self {
        let ledger = Ledger::new(trace);
        let peak =
            |topic: &Topic| Peak { bits: topic.peak_second() * 8, clock_ms: topic.peak_clock_ms() };
        let peaks = ledger.topics.iter().map(peak).collect();
        let (cast, leading) = (Cast::new(plan, trace), BTreeSet::new());
        Self { trace, plan, limits, ledger, cast, leading, peaks }
    }

    pub(crate) fn violation(&self, invariant: &'static str, finding: Finding) -> Violation {
        let Finding { event, who, kind, saw } = finding;
        let at = self.trace.events.get(event).map_or_else(|| self.end(), |event| event.at);
        let saw = format!("{}: {saw}", self.trace.name(who));
        Violation { invariant, at, event, who, saw, kind }
    }

    /// When the run ended.
    pub fn end(&self) -> SimTime {
        self.trace.events.last().map_or(SimTime::ZERO, |last| last.at)
    }

    /// When the quiet phase began.
    pub fn quiet(&self) -> Option<SimTime> {
        self.trace.events.iter().find(|event| event.what == What::Quiet).map(|event| event.at)
    }

    /// Whether nothing was done to the peer or its node from `from` to `to`, and nothing shortly
    /// before that could still be felt.
    pub fn is_undisturbed(&self, connection: &Connection, from: SimTime, to: SimTime) -> bool {
        let since = from - AFTERMATH;
        !self.cast.is_touched(connection.who, since, to)
            && !self.cast.is_touched(connection.node, since, to)
            && self.ledger.is_up(connection.node, from, to)
    }

    /// The same run, with the targets of relays in the place of the viewers.
    pub(super) fn of_targets(&self) -> Self {
        let ledger = Ledger {
            topics: self.ledger.topics.clone(),
            connections: self.ledger.relayed.iter().map(|it| it.connection.clone()).collect(),
            lives: self.ledger.lives.clone(),
            ..Ledger::default()
        };
        Self {
            trace: self.trace,
            plan: self.plan,
            limits: self.limits.clone(),
            ledger,
            cast: self.cast.clone(),
            leading: self.leading.clone(),
            peaks: self.peaks.clone(),
        }
    }

    /// Whether a viewer's or a target's link carries what its topic asks of it in any second, with a fifth to
    /// spare.
    pub fn link_suffices(&self, connection: &Connection) -> bool {
        let Some((link, topic)) = self.cast.link(connection.who).zip(connection.topic) else {
            return false;
        };
        let carried = rate(link, &link.down);
        is_clean(&link.down)
            && is_clean(&link.up)
            && carried >= self.peaks[topic].bits.saturating_mul(6) / 5
    }

    /// Whether a viewer's link carries half as much again as the busiest second of any topic needs.
    /// Who plays HLS is in no topic's ledger.
    pub(super) fn link_carries(&self, connection: &Connection) -> bool {
        let Some(play) = self.cast.play(connection.who) else { return false };
        let needed = self.peaks.iter().map(|peak| peak.bits).max().unwrap_or(0);
        is_clean(&play.link.down)
            && is_clean(&play.link.up)
            && rate(&play.link, &play.link.down) >= needed.saturating_mul(3) / 2
    }

    /// Whether a topic's tags come as they are played. An encoder that catches up a backlog's
    /// worth at once costs even the best viewer tags.
    fn is_even(&self, topic: usize) -> bool {
        let peak = &self.peaks[topic];
        peak.clock_ms <= self.limits.backlog_ms / 2
            && peak.bits / 8 <= self.limits.backlog_bytes.min(self.limits.ring_bytes / 2) / 2
    }

    /// Strictly by the plan: link and stream leave no reason to lose anything, and nothing was
    /// done to viewer or node as long as the connection lasted.
    pub fn is_healthy(&self, connection: &Connection) -> bool {
        let Some(topic) = connection.topic else { return false };
        let to = connection.over_at().min(self.end());
        connection.deaf.is_empty()
            && self.link_suffices(connection)
            && self.is_even(topic)
            && self.is_undisturbed(connection, connection.dialed.at, to)
            && self.starts_near(connection, topic)
    }

    /// Whether what it joined with leaves it time to catch up before the ring forgets it.
    fn starts_near(&self, connection: &Connection, topic: usize) -> bool {
        let topic = &self.ledger.topics[topic];
        let Some((first, _)) = connection.places().next() else { return true };
        let joined = topic.entered_by(self.told_to_play(connection));
        let behind = joined.checked_sub(1).map_or(0, |last| {
            topic.tags[last].clock_ms.saturating_sub(topic.tags[first as usize].clock_ms)
        });
        behind <= self.limits.history_ms / 2
    }

    /// When a viewer was told that it plays; it joined before that.
    pub fn told_to_play(&self, connection: &Connection) -> SimTime {
        let playing = connection.playing.as_ref().map(|(told, _)| told.at);
        playing.unwrap_or(connection.dialed.at)
    }

    /// Whether it wants the newest GOP at once.
    pub fn starts_with_gop(&self, connection: &Connection) -> bool {
        self.cast.play(connection.who).is_some_and(|play| match play.start {
            Some(start) => start == Start::Gop,
            None => self.limits.starts_with_gop,
        })
    }

    /// Whether it wants nothing of the past.
    pub fn starts_live(&self, connection: &Connection) -> bool {
        let play = self.cast.play(connection.who);
        play.is_some_and(|play| play.start == Some(Start::Live))
    }

    /// The keyframe that whoever joins at `at` can be given for certain: cached well within the
    /// bounds, under headers that are still in force, of a stream that goes on.
    pub fn cached_keyframe(&self, topic: &Topic, at: SimTime) -> Option<usize> {
        let end = topic.entered_by(at);
        let keyframe = topic.keyframe_before(end)?;
        topic.tags[end - 1].keyframe.filter(|newest| *newest as usize == keyframe)?;
        let (first, last) = (&topic.tags[keyframe], &topic.tags[end - 1]);
        let bytes = topic.sums_before(end).bytes - first.before.bytes;
        let tags = (end - keyframe) as u64;
        let fits = bytes * 2 + tags * 512 < self.limits.ring_bytes / 2
            && tags < self.limits.ring_tags / 2
            && (last.clock_ms - first.clock_ms) < self.limits.gop_ms / 2;
        let new_header = topic.tags[keyframe..end].iter().any(|tag| tag.tag.role == Role::Header);
        // Another publisher may have begun and not sent anything yet.
        let goes_on = topic.tags.get(end).is_some_and(|next| {
            next.session == last.session && next.at <= at + Duration::from_secs(2)
        });
        let is_over = topic.overs.iter().any(|told| told.place as usize == end);
        (fits && !new_header && goes_on && !is_over).then_some(keyframe)
    }

    /// The oldest tag that a viewer may have started with.
    pub(super) fn oldest_start(&self, connection: &Connection, topic: &Topic) -> usize {
        let start = connection.connected.map_or(connection.dialed.at, |told| told.at);
        let end = topic.entered_by(start);
        let recent = topic.tags[..end].last().map_or(0, |last| last.clock_ms);
        let since = recent.saturating_sub(self.limits.audio_gop_ms);
        let audio = topic.tags[..end].partition_point(|tag| tag.clock_ms < since);
        topic.keyframe_before(end).unwrap_or(end).min(audio)
    }

    /// What bounds a viewer's lag from above: tags, bytes and stream time that had entered and that
    /// it had not got at that moment.
    pub(super) fn behind(&self, connection: &Connection, topic: &Topic, at: SimTime) -> Behind {
        let got = connection.got.partition_point(|got| got.at <= at);
        let last = connection.got[..got].iter().rev().find_map(|got| got.matched.place());
        let base =
            last.map_or_else(|| self.oldest_start(connection, topic), |last| last as usize + 1);
        let end = topic.entered_by(at + self.limits.unseen()).max(base);
        let clock = |place: usize| topic.tags.get(place).map_or(0, |tag| tag.clock_ms);
        Behind {
            tags: (end - base) as u64,
            bytes: topic.sums_before(end).bytes - topic.sums_before(base).bytes,
            ms: end.checked_sub(1).map_or(0, |last| clock(last).saturating_sub(clock(base))),
        }
    }

    /// A name, for messages.
    pub(super) fn name(&self, who: Who) -> &str {
        self.trace.name(who)
    }
}

/// What a viewer had not got yet.
pub(super) struct Behind {
    pub(super) tags: u64,
    pub(super) bytes: u64,
    pub(super) ms: u64,
}
