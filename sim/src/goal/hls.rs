//! Goals about HLS.

use std::collections::BTreeSet;
use std::time::Duration;

use crate::invariant::Judged;
use crate::tag::Role;
use crate::time::SimTime;
use crate::trace::{Fetched, HlsSeen, Listed, What, Who};
use crate::viewer::hls::Playlist;

fn seen<'r>(run: &'r Judged<'_>) -> impl Iterator<Item = (SimTime, Who, &'r HlsSeen)> {
    run.trace.events.iter().filter_map(|event| match &event.what {
        What::Hls(seen) => Some((event.at, event.who, seen)),
        _ => None,
    })
}

fn fetched<'r>(run: &'r Judged<'_>) -> impl Iterator<Item = (SimTime, Who, &'r Fetched)> {
    seen(run).filter_map(|(at, who, seen)| match seen {
        HlsSeen::Fetched(fetched) => Some((at, who, &**fetched)),
        _ => None,
    })
}

fn versions<'r>(run: &'r Judged<'_>) -> impl Iterator<Item = (SimTime, Who, &'r Playlist)> {
    seen(run).filter_map(|(at, who, seen)| match seen {
        HlsSeen::Version(playlist) => Some((at, who, &**playlist)),
        _ => None,
    })
}

/// Within the time in which it must still be there.
pub(super) fn after_removal(run: &Judged<'_>) -> bool {
    fetched(run).any(|(at, _, fetched)| {
        matches!(fetched.listed, Listed::RemovedUntil(until) if at <= until)
            && fetched.status == 200
    })
}

/// Asked for within 5 ms of the playlist that was the first to list it.
pub(super) fn raced_end(run: &Judged<'_>) -> bool {
    let mut known: BTreeSet<(Who, &str)> = BTreeSet::new();
    let mut new: BTreeSet<(Who, &str, SimTime)> = BTreeSet::new();
    for (at, who, playlist) in versions(run) {
        for uri in playlist.uris() {
            if known.insert((who, uri)) {
                new.insert((who, uri, at));
            }
        }
    }
    fetched(run).filter(|(_, _, fetched)| fetched.status == 200).any(|(_, who, fetched)| {
        let range = (who, &*fetched.uri, SimTime::ZERO)..=(who, &*fetched.uri, SimTime::MAX);
        let listed = new.range(range).next();
        listed.is_some_and(|(_, _, at)| fetched.asked <= *at + Duration::from_millis(5))
    })
}

/// A GOP was longer than the target duration while somebody watched by HLS.
pub(super) fn no_keyframe_in_time(run: &Judged<'_>) -> bool {
    versions(run).any(|(at, _, playlist)| {
        let target_ms = playlist.target_duration * 1_000;
        run.ledger.topics.iter().any(|topic| {
            let entered = &topic.tags[..topic.entered_by(at)];
            let keyframe = entered.iter().rev().find(|tag| tag.tag.role == Role::Keyframe);
            let last = entered.last();
            keyframe.zip(last).is_some_and(|(keyframe, last)| {
                last.clock_ms - keyframe.clock_ms > target_ms && !playlist.segments.is_empty()
            })
        })
    })
}

pub(super) fn slid_out(run: &Judged<'_>) -> bool {
    versions(run).any(|(_, _, playlist)| playlist.discontinuity_sequence > 0)
}

/// And was answered by a new part.
pub(super) fn reload_waited(run: &Judged<'_>) -> bool {
    seen(run).any(|(at, _, seen)| match seen {
        HlsSeen::Reloaded(reload) => {
            at > reload.asked + Duration::from_millis(20)
                && reload.progress.is_some_and(|progress| progress > reload.seen)
        }
        _ => false,
    })
}
