//! When relays dial, and when they stop.

use std::time::Duration;

use super::super::cast::{is_clean, rate};
use super::super::{Finding, Judged, RelayBounds, Verdict, first};
use super::told::FINAL;
use super::{SLACK, round, targets, who};
use crate::ledger::{RelayDial, Relayed};
use crate::plan::{Act, Refusal, Target, TargetQuirk};
use crate::time::SimTime;
use crate::trace::{Close, Who};

/// How long the last words of a connection may take: the node's own constant.
const LINGER: Duration = Duration::from_secs(2);

/// A target that is idle for so long has forgotten who published to it.
const IDLE: Duration = crate::peer::TARGET_IDLE;

/// A target that is sent one stream by one node: only then is it known what a dial is for.
struct Way<'r> {
    target: &'r Target,
    who: Who,
    node: Who,
    key: &'r str,
}

fn ways<'r>(run: &'r Judged<'_>) -> impl Iterator<Item = Way<'r>> {
    // A bad neighbour may publish under any name.
    let strangers = run.plan.lines.iter().any(|line| matches!(line.act, Act::Speak { .. }));
    targets(run).filter(move |_| !strangers).filter_map(|(name, target)| {
        let published = run.plan.lines.iter().filter_map(|line| match &line.act {
            Act::Publish(publish) if publish.node == target.node => Some(publish.key.as_str()),
            _ => None,
        });
        let mut keys: Vec<_> = published.filter(|key| target.takes(key)).collect();
        keys.sort_unstable();
        keys.dedup();
        let [key] = keys[..] else { return None };
        Some(Way { target, who: who(run, name)?, node: who(run, &target.node)?, key })
    })
}

impl Way<'_> {
    /// Dials of the relay of one stream, from its beginning to its end: each list is one's.
    fn runs<'r>(&self, run: &'r Judged<'_>) -> Vec<Vec<&'r RelayDial>> {
        let mut runs: Vec<Vec<&RelayDial>> = Vec::new();
        let dials = run.ledger.dials.iter();
        for dial in dials.filter(|it| (it.target, it.node) == (self.who, self.node)) {
            match runs.last_mut() {
                Some(last) if last.last().is_some_and(|it| self.is_one(run, it, dial)) => {
                    last.push(dial);
                }
                _ => runs.push(vec![dial]),
            }
        }
        runs
    }

    /// Whether no stream ended, and no node, between two dials.
    fn is_one(&self, run: &Judged<'_>, a: &RelayDial, b: &RelayDial) -> bool {
        a.life == b.life && !self.is_over(run, a.at - run.limits.unseen(), b.at)
    }

    fn is_over(&self, run: &Judged<'_>, from: SimTime, to: SimTime) -> bool {
        let mine =
            run.ledger.topics.iter().filter(|it| it.node == self.node && *it.key == *self.key);
        mine.flat_map(|topic| &topic.overs).any(|over| (from..=to).contains(&over.at))
    }

    fn is_undisturbed(&self, run: &Judged<'_>, from: SimTime, to: SimTime) -> bool {
        let since = from - Duration::from_secs(10);
        !run.cast.is_touched(self.who, since, to)
            && !run.cast.is_touched(self.node, since, to)
            && run.ledger.is_up(self.node, from, to)
    }
}

fn came<'r>(run: &'r Judged<'_>, dial: &RelayDial) -> Option<&'r Relayed> {
    let mut all = run.ledger.relayed.iter();
    all.find(|it| it.connection.who == dial.target && it.connection.address == dial.from)
}

/// The longest pause behind the nth failure in a row; the shortest is half of it.
fn ceiling(bounds: &RelayBounds, failures: u32) -> Duration {
    let ceiling = bounds.backoff_min.saturating_mul(2_u32.saturating_pow(failures + 1));
    ceiling.min(bounds.backoff_max)
}

/// R3. Pauses double up to the cap, and begin anew behind a connection that lasted; whoever was
/// told no for good does not ask again.
pub(in super::super) fn polite(run: &Judged<'_>) -> Verdict {
    first(ways(run).flat_map(|way| {
        let runs = way.runs(run);
        runs.into_iter().filter_map(|dials| impolite(run, &way, &dials)).collect::<Vec<_>>()
    }))
}

fn impolite(run: &Judged<'_>, way: &Way<'_>, dials: &[&RelayDial]) -> Verdict {
    let bounds = &run.limits.relays;
    // So many failures in a row at least, and at most, if some connection may have lasted.
    let (mut least, mut most) = (0, 0);
    dials.windows(2).find_map(|pair| {
        let (dial, next) = (pair[0], pair[1]);
        let is_calm = way.is_undisturbed(run, dial.at, next.at);
        let failed = failed(came(run, dial)).filter(|_| is_calm);
        let waited = next.at.since(failed.unwrap_or(dial.at));
        let finding = |kind: &str, saw: String| Some(Finding::new(next.event, way.node, kind, saw));
        let came = came(run, dial);
        let said = came.and_then(|it| it.refused.as_ref());
        if is_calm && said.is_some_and(|(_, code)| FINAL.contains(&&**code)) {
            return finding("asks again", "dials again, having been told no for good".to_owned());
        }
        let published = came.and_then(Relayed::published);
        if published.is_some_and(|at| next.at.since(at) >= bounds.stable) {
            least = 0;
        }
        let round = round(run, way.target);
        if lasted(came).is_some_and(|lasted| lasted >= bounds.stable + 2 * round) {
            most = 0;
        }
        let shortest = ceiling(bounds, least) / 2;
        // A node whose timers are late is in a hurry, by its own clock.
        let is_sure = run.limits.late.is_zero();
        if is_sure && waited + 2 * run.limits.tick < shortest {
            let failures = least + 1;
            return finding(
                "impatient",
                format!("dials again after {waited:?}, failure {failures} in a row"),
            );
        }
        let longest = ceiling(bounds, most) + round + SLACK;
        if failed.is_some() && waited > longest {
            return finding("too patient", format!("dials again {waited:?} after it failed"));
        }
        (least, most) = (least + 1, most + 1);
        None
    })
}

/// How long a connection was live, where the target itself ended it.
fn lasted(came: Option<&Relayed>) -> Option<Duration> {
    let came = came?;
    let (over, close) = came.over()?;
    (close == Close::Left).then(|| over.since(came.published().unwrap_or(over)))
}

/// When a connection failed, as the target saw it; `None`: only the node can say.
fn failed(came: Option<&Relayed>) -> Option<SimTime> {
    let came = came?;
    let cut = came.over().filter(|(_, close)| *close == Close::Left).map(|(at, _)| at);
    came.refused.as_ref().map(|(told, _)| told.at).or(cut)
}

/// R4. Once nothing is done to either any more, the stream gets there.
pub(in super::super) fn returns(run: &Judged<'_>) -> Verdict {
    let quiet = run.quiet()?;
    first(ways(run).filter(|way| !way.target.is_dead()).filter_map(|way| {
        let bounds = &run.limits.relays;
        let mut topics =
            run.ledger.topics.iter().filter(|topic| {
                topic.node == way.node && *topic.key == *way.key && !topic.is_partial
            });
        let topic = topics.next_back()?;
        let gop = Duration::from_millis(topic.gop_ms_max());
        // It has to notice that its connection is none, to be believed that the name is its own, and
        // to find the target there.
        let refusals = times(way.target);
        let patience =
            bounds.write_stall + bounds.connect + IDLE + bounds.backoff_max * (3 + refusals);
        let from = quiet.max(topic.began());
        let by = from + patience + gop + 6 * round(run, way.target) + SLACK;
        let goes_on = topic.last_at() >= by && topic.overs.iter().all(|over| over.at >= by);
        let is_even = {
            let times = topic.tags.iter().map(|tag| tag.at).filter(|at| *at >= from && *at <= by);
            let times: Vec<_> = times.collect();
            times.windows(2).all(|pair| pair[1].since(pair[0]) < Duration::from_secs(2))
        };
        let has_entry = topic.tags.iter().any(|tag| tag.at > from && !tag.is_orphan);
        let is_fair = goes_on
            && is_even
            && has_entry
            && by <= run.end()
            && is_willing(way.target)
            && bounds.connect >= 6 * round(run, way.target)
            && !run.cast.is_touched(way.who, quiet, by)
            && !run.cast.is_touched(way.node, quiet, by)
            && run.ledger.is_up(way.node, from, by)
            && is_wide(way.target, topic.peak_second());
        let has_come = run.ledger.relayed.iter().any(|it| {
            it.connection.who == way.who
                && it.connection.got.iter().any(|got| got.at > from && got.is_media())
        });
        (is_fair && !has_come).then(|| {
            let saw = format!("nothing of {} came from {from} to {by}", way.key);
            let last = run.trace.events.len() - 1;
            Finding::new(last, way.who, "does not return", saw)
        })
    }))
}

/// Whether its line carries the stream.
fn is_wide(target: &Target, peak_second: u64) -> bool {
    let link = &target.link;
    is_clean(&link.down) && is_clean(&link.up) && rate(link, &link.down) >= peak_second * 10
}

/// How often a target says no.
fn times(target: &Target) -> u32 {
    let times = target.quirks.iter().map(|quirk| match quirk {
        TargetQuirk::Refuses { times, .. } => times.unwrap_or(0),
        _ => 0,
    });
    times.sum()
}

/// Whether it takes whatever comes once it has said no often enough.
fn is_willing(target: &Target) -> bool {
    target.quirks.iter().all(|quirk| match quirk {
        TargetQuirk::Refuses { refusal, .. } => *refusal != Refusal::Auth,
        TargetQuirk::Window(_) => true,
        TargetQuirk::Cuts(_) | TargetQuirk::Silent | TargetQuirk::Takes(_) => false,
    })
}

/// R7.
pub(in super::super) fn ends(run: &Judged<'_>) -> Verdict {
    first(run.ledger.relays().filter_map(|(relayed, topic)| {
        let connection = &relayed.connection;
        let target = run.cast.target(connection.who)?;
        let over = topic.overs.iter().find(|over| over.at > connection.dialed.at)?;
        let by = over.at + run.limits.relays.end + LINGER + round(run, target) + SLACK;
        let closed = relayed.over().map_or(SimTime::MAX, |(at, _)| at);
        let is_fair = by < run.end()
            && run.is_undisturbed(connection, over.at, by)
            && run.link_suffices(connection);
        (closed > by && is_fair).then(|| {
            let saw = format!("{} was over at {}, and it is still open", topic.key, over.at);
            Finding::new(over.event, connection.who, "outlives its stream", saw)
        })
    }))
}
