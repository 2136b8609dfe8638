//! PROPERTIES 1.10: nodes that stop, die, and come back, and what they say about it.

use std::collections::BTreeMap;
use std::time::Duration;

use super::fanout::{read_to_the_end, unsure};
use super::{Finding, Judged, Part, Verdict, first};
use crate::ledger::{Border, Connection};
use crate::plan::Player;
use crate::time::SimTime;
use crate::trace::{Close, What, Who};

/// L1.
pub(super) fn drain(run: &Judged<'_>) -> Verdict {
    let stops = run.ledger.lives.iter().flat_map(|(node, lives)| {
        let stops = lives.iter().enumerate().filter(|(_, life)| life.border == Border::Stopping);
        stops.map(move |(index, life)| (*node, *life, lives.get(index + 1).copied()))
    });
    first(stops.flat_map(|(node, stop, next)| {
        let by = stop.at + run.limits.drain + run.limits.linger + Duration::from_secs(1);
        let over = next.map_or(run.end(), |next| next.at);
        let late = (over > by && by < run.end()).then(|| {
            let saw = format!("told to stop at {}, did not by {by}", stop.at);
            Finding::new(stop.event, node, "does not stop", saw)
        });
        let stopped = run.trace.events.partition_point(|event| event.at < stop.at);
        let early = (stopped..).zip(&run.trace.events[stopped..]).find_map(|(index, event)| {
            let What::Stopped { cut } = event.what else { return None };
            // A node whose timers are late is in a hurry, by its own clock.
            let by = stop.at + run.limits.drain / 10;
            let is_early = event.who == node && cut > 0 && event.at < by;
            let saw = format!("told to stop at {}, and cut {cut} connections", stop.at);
            is_early.then(|| Finding::new(index, node, "does not drain", saw))
        });
        let here = move |c: &&Connection| c.node == node;
        let newcomers = run.ledger.connections.iter().filter(here).filter_map(move |connection| {
            let began = connection.publications.first().map(|publication| publication.accepted);
            let began = began.or(connection.playing.as_ref().map(|(told, _)| *told))?;
            let is_new = connection.dialed.at > stop.at && began.at < over;
            let saw = format!("was let in, its node was told to stop at {}", stop.at);
            is_new.then(|| Finding::new(began.event, connection.who, "let in while stopping", saw))
        });
        let cut = run.ledger.viewers().filter(move |(c, _)| c.node == node).filter_map(
            move |(connection, topic)| {
                let was_there = run.told_to_play(connection) + Duration::from_secs(5) < stop.at
                    && connection.over_at() > stop.at;
                let is_fair = was_there
                    && next.is_some_and(|next| next.border == Border::Stopped)
                    && run.link_suffices(connection)
                    && connection.deaf.is_empty()
                    && !connection.is_told_by(stop.at)
                    && !matches!(connection.closed, Some((_, Close::Left | Close::Vanished)))
                    && !run.cast.is_touched(connection.who, connection.dialed.at, over)
                    && !run.cast.is_touched(node, connection.dialed.at, stop.at - MOMENT);
                let entered = topic.entered_by(stop.at).checked_sub(1)?;
                let (last, got) = connection.places().next_back()?;
                // What nobody could decode is given to nobody.
                let flight = topic.tags.get(last as usize + 1..=entered).unwrap_or_default();
                let missing = flight.iter().filter(|tag| !tag.is_orphan).count();
                let saw = format!("{missing} tags in flight were not delivered, last {}", got.tag);
                (is_fair && missing > 0)
                    .then(|| Finding::new(got.event, connection.who, "cut while stopping", saw))
            },
        );
        late.into_iter().chain(early).chain(newcomers).chain(cut).collect::<Vec<_>>()
    }))
}

/// A stop is itself something that is done to a node, and begins a little earlier in a plan.
const MOMENT: Duration = Duration::from_millis(1);

/// L2.
pub(super) fn restart(run: &Judged<'_>) -> Verdict {
    first(run.ledger.connections.iter().filter_map(|connection| {
        let publish = run.cast.publish(connection.who)?;
        let lives = run.ledger.lives.get(&connection.node)?;
        let started = lives.iter().rfind(|life| life.at <= connection.dialed.at)?;
        let has_crashed = lives.iter().any(|l| l.border == Border::Crashed && l.at < started.at);
        let by = connection.dialed.at + run.limits.restart;
        let first_tag = run
            .ledger
            .topics
            .iter()
            .filter(|topic| topic.node == connection.node && *topic.key == *publish.key)
            .flat_map(|topic| {
                topic.tags.get(topic.tags.partition_point(|t| t.at < connection.dialed.at))
            })
            .map(|tag| tag.at)
            .min();
        let is_fair = has_crashed
            && open_at(run, connection) < run.limits.connections
            && started.border == Border::Started
            && by < run.end()
            && !matches!(connection.closed, Some((_, Close::Left | Close::Vanished)))
            && !run.cast.is_touched(connection.who, connection.dialed.at, by)
            && !run.cast.is_touched(connection.node, started.at + MOMENT, by)
            && run.ledger.is_up(connection.node, connection.dialed.at, by);
        (is_fair && first_tag.is_none_or(|at| at > by)).then(|| {
            let saw =
                format!("dialed at {}, and nothing of it entered by {by}", connection.dialed.at);
            Finding::new(connection.dialed.event, connection.who, "not served after a crash", saw)
        })
    }))
}

/// L4.
pub(super) fn no_panic(run: &Judged<'_>) -> Verdict {
    (0..).zip(&run.trace.events).find_map(|(index, event)| match &event.what {
        What::Panicked { why, injected: false } => {
            Some(Finding::new(index, event.who, "panic", why.to_string()))
        }
        _ => None,
    })
}

/// L5. A cause is a connection, as far as lines name one, and else a kind of line in one second; of
/// streams, each publish is one.
pub(super) fn logs(run: &Judged<'_>) -> Verdict {
    let mut counts: BTreeMap<(Who, u64, String), usize> = BTreeMap::new();
    let mut publishes = 0;
    (0..).zip(&run.trace.events).find_map(|(index, event)| {
        let What::Log { text, .. } = &event.what else { return None };
        // Each is a publish of its own, however often a publisher begins anew.
        if text.starts_with("publishing ") {
            publishes += usize::from(text.starts_with("publishing begins"));
            return None;
        }
        let cause = match peer_of(text) {
            Some(peer) => (event.who, 0, peer.to_owned()),
            None => (event.who, 1 + event.at.millis() / 1_000, without_digits(text)),
        };
        let count = counts.entry(cause).or_default();
        *count += 1;
        let is_of_streams = peer_of(text).is_none() && text.contains("stream=");
        let causes = if is_of_streams { publishes } else { 1 };
        (*count > run.limits.log_lines.max(causes)).then(|| {
            let saw = format!("line {count} of one cause: {text}");
            Finding::new(index, event.who, "many lines of one cause", saw)
        })
    })
}

fn peer_of(text: &str) -> Option<&str> {
    let peer = text.split_once("peer=")?.1.trim_start_matches('"');
    peer.split([' ', '"', ',']).next().filter(|peer| !peer.is_empty())
}

fn without_digits(text: &str) -> String {
    text.chars().filter(|c| !c.is_ascii_digit()).collect()
}

/// L6.
pub(super) fn counters(run: &Judged<'_>) -> Verdict {
    let viewers = run.ledger.viewers();
    first(viewers.filter_map(|(connection, topic)| {
        let (at, event, account) = connection.account?;
        let finding =
            |saw: String| Some(Finding::new(event, connection.who, "counter is wrong", saw));
        let got = connection.places().count() as u64;
        let room = unsure(connection);
        if read_to_the_end(run, connection) && got.abs_diff(account.delivered) > room {
            return finding(format!("told of {} tags delivered, it got {got}", account.delivered));
        }
        let (first, _) = connection.places().next()?;
        // It joined with its first tag, or earlier if it had to wait or did not want any yet.
        let earliest = (first as usize).min(run.oldest_start(connection, topic));
        // What came shortly before the end of the run may not have been shown to anybody.
        let shown = at + run.limits.unseen();
        let is_known = shown < run.end() && run.ledger.is_up(connection.node, at, shown);
        let pushed = topic.entered_by(shown) as u64;
        let most = match is_known {
            true => pushed - (earliest as u64).min(pushed) + room,
            false => u64::MAX,
        };
        // Within one moment of the clock, only the order of the trace tells what came before.
        let seen = topic.tags.partition_point(|tag| tag.event < event) as u64;
        let least = seen.saturating_sub(u64::from(first)).saturating_sub(room);
        if account.published > most || account.published < least {
            let published = account.published;
            return finding(format!(
                "told of {published} tags published, it was {least} to {most}"
            ));
        }
        None
    }))
}

/// L7.
pub(super) fn refusals(run: &Judged<'_>) -> Verdict {
    let wordless = run.ledger.connections.iter().filter_map(|connection| {
        let (told, code, _) =
            connection.errors.iter().find(|(.., words)| words.trim().is_empty())?;
        let saw = format!("was told {code} without a reason");
        Some(Finding::new(told.event, connection.who, "no reason", saw))
    });
    let thrown_out = run.ledger.connections.iter().filter_map(|connection| {
        let (told, close) = connection.closed?;
        let is_peer =
            matches!(run.cast.part(connection.who), Some(Part::Publisher(_) | Part::Viewer(_)));
        let is_served = connection.playing.is_some() || !connection.publications.is_empty();
        let is_fair = is_peer
            && !is_served
            && connection.errors.is_empty()
            && matches!(close, Close::Eof | Close::Reset)
            && run.is_undisturbed(connection, connection.dialed.at, told.at);
        // Over this limit there is nobody yet who could say anything.
        (is_fair && open_at(run, connection) < run.limits.connections).then(|| {
            let saw = format!("closed without a word: {close:?}");
            Finding::new(told.event, connection.who, "no reason", saw)
        })
    });
    first(wordless.chain(thrown_out))
}

/// Connections of one player of HLS, at most: it has one for each request, and nobody sees them.
const HLS_CONNECTIONS_MAX: usize = 32;

/// Connections at its node that were, or lingered, while it was being accepted.
fn open_at(run: &Judged<'_>, connection: &Connection) -> usize {
    let others = run.ledger.connections.iter().filter(|c| c.node == connection.node);
    let (from, to) = (connection.dialed.at, connection.over_at());
    // Nobody tells a node of a peer that vanished.
    let over = |c: &Connection| match c.closed {
        Some((_, Close::Vanished)) => c.account.map_or(SimTime::MAX, |(at, ..)| at),
        _ => c.over_at() + run.limits.linger,
    };
    let there = others.filter(|c| c.dialed.at <= to && over(c) > from);
    let by_hls =
        |c: &Connection| run.cast.play(c.who).is_some_and(|play| play.player == Player::Hls);
    there.map(|c| if by_hls(c) { HLS_CONNECTIONS_MAX } else { 1 }).sum()
}
