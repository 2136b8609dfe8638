//! What a node says of its relays, and what came of them.

use super::super::{Finding, Judged, Verdict, first};
use super::{SLACK, round, targets, tells};
use crate::ledger::Relayed;
use crate::plan::TargetQuirk;
use crate::time::SimTime;
use crate::trace::{RelayState, RelayTold, What, Who};

/// Codes by which a target says no for good.
pub(super) const FINAL: [&str; 1] = ["NetConnection.Connect.Rejected"];

/// R10. And a key is shown nowhere.
pub(in super::super) fn told(run: &Judged<'_>) -> Verdict {
    let lies = tells(run).filter_map(|(event, at, node, target, told)| {
        let (kind, saw) = lie(run, at, node, target, told)?;
        Some(Finding::new(event, node, kind, saw))
    });
    first(lies.chain(shown(run)))
}

/// Keys are in no log, and in nothing that is told.
fn shown(run: &Judged<'_>) -> Option<Finding> {
    let keys: Vec<&str> = targets(run).filter_map(|(_, target)| target.key.as_deref()).collect();
    (0..).zip(&run.trace.events).filter(|_| !keys.is_empty()).find_map(|(index, event)| {
        let text = match &event.what {
            What::Log { text, .. } => text.to_string(),
            What::Relay(crate::trace::RelaySeen::Told(told)) => told.target.clone(),
            _ => return None,
        };
        let is_in = keys.iter().any(|key| text.contains(key));
        is_in.then(|| Finding::new(index, event.who, "a key is shown", text))
    })
}

fn lie(
    run: &Judged<'_>,
    at: SimTime,
    node: Who,
    who: Who,
    told: &RelayTold,
) -> Option<(&'static str, String)> {
    let target = run.cast.target(who)?;
    let slack = round(run, target) + SLACK;
    // Who is told to stop ends first, and then tells so.
    if !run.ledger.is_up(node, at, at) {
        return None;
    }
    let of_it = |it: &&Relayed| {
        (it.connection.node, it.connection.who) == (node, who)
            && it.connection.dialed.at <= at
            && run.ledger.is_up(node, it.connection.dialed.at, at)
    };
    let mine = || run.ledger.relayed.iter().filter(of_it);
    let publishing = || mine().filter(|it| it.key() == Some(told.key.as_str()));
    let is_calm = |from: SimTime| {
        !run.cast.is_touched(who, from - slack, at) && !run.cast.is_touched(node, from - slack, at)
    };
    let RelayTold { key, state, sent_tags, .. } = told;
    match state {
        RelayState::Live => {
            let newest = publishing().next_back();
            let over = newest.map(|it| it.over().map(|(over, _)| over));
            let is_live = match over {
                None => false,
                Some(None) => true,
                Some(Some(over)) => over + slack >= at || !is_calm(over),
            };
            if !is_live {
                return Some(("not live", format!("{key} is told to be live, and is not")));
            }
        }
        RelayState::Connecting | RelayState::Backoff => {
            let live = publishing().find(|it| {
                let published = it.published().unwrap_or(SimTime::MAX);
                published + slack < at
                    && it.over().is_none_or(|(over, _)| over > at)
                    && is_calm(published)
                    && it.ended.is_none()
            });
            if live.is_some() {
                return Some(("live", format!("{key} is told to be in {state:?}, and is live")));
            }
        }
        RelayState::Rejected => {
            let said_no = |it: &Relayed| {
                it.refused.as_ref().is_some_and(|(_, code)| FINAL.contains(&&**code))
            };
            let doubts = || {
                let refusals = mine().filter_map(|it| it.refused.as_ref());
                let first = refusals.map(|(told, _)| told.at).min();
                first.is_some_and(|first| at.since(first) >= run.limits.relays.doubt)
            };
            let by_codec =
                || target.quirks.iter().any(|quirk| matches!(quirk, TargetQuirk::Takes(_)));
            if !mine().any(said_no) && !by_codec() && !doubts() {
                return Some(("not rejected", format!("{key} is told to be rejected")));
            }
        }
    }
    // A relay of the next stream counts anew.
    let topic = run
        .ledger
        .topics
        .iter()
        .rposition(|topic| topic.node == node && *topic.key == **key && topic.began() <= at)?;
    let overs = run.ledger.topics[topic].overs.iter().filter(|over| over.at <= at);
    let since = overs.map(|over| over.at).max().unwrap_or(run.ledger.topics[topic].began());
    let got = publishing().filter(|it| it.connection.topic == Some(topic));
    let of_it = got.filter(|it| it.connection.dialed.at >= since);
    let came = of_it.map(|it| it.connection.got.iter().filter(|got| got.at <= at).count());
    let (got, is_new) = (came.sum::<usize>(), since + slack >= at);
    (got as u64 > *sent_tags && !is_new).then(|| {
        ("more than was sent", format!("{sent_tags} tags of {key} were sent, it got {got}"))
    })
}
