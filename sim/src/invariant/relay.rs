//! PROPERTIES 1.7: relays, by what their targets got. When they dial, and when they stop, is in
//! [`pace`]; what their nodes say of them in [`told`](mod@told).

mod pace;
mod told;

use std::time::Duration;

pub(super) use self::pace::{ends, polite, returns};
pub(super) use self::told::told;
use super::cast::round_trip;
use super::{Finding, Judged, Verdict, decodability, fanout, first};
use crate::ledger::{Connection, Relayed, Topic};
use crate::plan::Target;
use crate::tag::{Kind, Role, TagSeen};
use crate::time::SimTime;
use crate::trace::{Close, What, Who};

/// What may lie between something and the moment at which it is told.
const SLACK: Duration = Duration::from_millis(500);

/// R1. What a target parses is as a viewer's: G1 to G6, H1 to H3. What is missing between two tags
/// of a connection was told, and had a reason.
pub(super) fn clean(run: &Judged<'_>) -> Verdict {
    if run.ledger.relayed.is_empty() {
        return None;
    }
    let targets = run.of_targets();
    let judges = [
        decodability::first_video,
        decodability::reference_chain,
        decodability::gop_prefix,
        decodability::header_first,
        decodability::header_matches,
        decodability::leading_pictures,
        fanout::order,
        fanout::nothing_twice,
        fanout::untouched,
    ];
    let as_viewers = judges.into_iter().filter_map(|judge| judge(&targets));
    let holes = run.ledger.relays().filter_map(|(relayed, topic)| hole(run, relayed, topic));
    first(as_viewers.chain(holes))
}

/// A hole that nobody told of, or that nothing explains.
fn hole(run: &Judged<'_>, relayed: &Relayed, topic: &Topic) -> Verdict {
    let connection = &relayed.connection;
    let started = |got: &crate::ledger::GotTag| got.is_media();
    let first = connection.got.iter().position(started)?;
    let mut missing = 0;
    connection.holes.iter().filter(|hole| hole.got > first).find_map(|hole| {
        missing += u64::from(hole.tags() - hole.orphans);
        let got = &connection.got[hole.got];
        if missing == 0 {
            return None;
        }
        let finding = |kind: &str| {
            let saw = format!("{missing} tags of {} are missing before {}", topic.key, got.tag);
            Some(Finding::new(got.event, connection.who, kind, saw))
        };
        if run.is_healthy(connection) {
            return finding("loss without a reason");
        }
        let told_by = got.at + SLACK + run.limits.late;
        let is_told = lag_told(run, connection, told_by) >= missing;
        let is_sure = told_by < run.end()
            && run.ledger.is_up(connection.node, connection.dialed.at, told_by)
            && !run.cast.is_touched(connection.node, connection.dialed.at, told_by);
        (is_sure && !is_told).then(|| finding("loss that is not told")).flatten()
    })
}

/// The most tags that its node had said to have lost on the way to this target.
fn lag_told(run: &Judged<'_>, connection: &Connection, by: SimTime) -> u64 {
    let told = tells(run).filter(|(_, at, node, target, told)| {
        (*node, *target) == (connection.node, connection.who)
            && *at <= by
            && connection.playing.as_ref().is_some_and(|(_, key)| **key == told.key)
    });
    told.map(|(.., told)| told.lag_tags).max().unwrap_or(0)
}

/// What nodes told of their relays: the event, when, the node, and the target.
fn tells<'r>(
    run: &'r Judged<'_>,
) -> impl Iterator<Item = (usize, SimTime, Who, Who, &'r crate::trace::RelayTold)> {
    (0..).zip(&run.trace.events).filter_map(|(index, event)| {
        let What::Relay(crate::trace::RelaySeen::Told(told)) = &event.what else { return None };
        let (name, _) =
            targets(run).find(|(name, _)| crate::relay::label(name, &told.key) == told.target)?;
        Some((index, event.at, event.who, who(run, name)?, &**told))
    })
}

fn targets<'r>(run: &'r Judged<'_>) -> impl Iterator<Item = (&'r str, &'r Target)> {
    run.plan.targets()
}

fn who(run: &Judged<'_>, name: &str) -> Option<Who> {
    let index = run.trace.names.iter().position(|known| known == name)?;
    Some(Who(index as u32))
}

/// What a way to a target and back takes at most, with what programs need.
fn round(run: &Judged<'_>, target: &Target) -> Duration {
    round_trip(&target.link) + 4 * run.limits.tick + run.limits.late
}

/// R2. Each connection begins anew, and goes on behind where the last one was cut.
pub(super) fn resumes(run: &Judged<'_>) -> Verdict {
    first(run.ledger.relays().filter_map(|(relayed, topic)| {
        let connection = &relayed.connection;
        begins_anew(connection, topic).or_else(|| {
            let (place, got) = connection.places().find(|(_, got)| got.is_media())?;
            let before = run.ledger.relays().take_while(|(it, _)| {
                it.connection.connected.map(|it| it.event) < connection.connected.map(|it| it.event)
            });
            let last = before
                .filter(|(it, of)| it.connection.who == connection.who && std::ptr::eq(*of, topic))
                .filter_map(|(it, _)| it.connection.places().next_back())
                .map(|(place, _)| place)
                .max()?;
            (place <= last).then(|| {
                let saw = format!("begins with {}, which it had got before", got.tag);
                Finding::new(got.event, connection.who, "again after a reconnect", saw)
            })
        })
    }))
}

/// With metadata, headers, and a keyframe where there are pictures.
fn begins_anew(connection: &Connection, topic: &Topic) -> Verdict {
    let index = connection.got.iter().position(crate::ledger::GotTag::is_media)?;
    let got = &connection.got[index];
    let finding =
        |kind: &str, saw: String| Some(Finding::new(got.event, connection.who, kind, saw));
    let tag = &topic.tags[got.matched.place()? as usize];
    let has_pictures = topic.has_video_before(got.matched.place()? as usize)
        && topic
            .tags
            .iter()
            .take(got.matched.place()? as usize)
            .any(|it| it.session == tag.session && it.tag.role.is_picture() && !it.is_orphan);
    if got.tag.role != Role::Keyframe && has_pictures {
        return finding("resumes without a keyframe", format!("begins with {}", got.tag));
    }
    let before = &connection.got[..index];
    let missing = [tag.header, tag.metadata].into_iter().flatten().find(|place| {
        let needed = topic.tags[*place as usize].tag;
        let same = |kind: Kind| {
            let mut held = before.iter().rev().map(|got| got.tag);
            held.find(|held| held.kind == kind && matches!(held.role, Role::Header | Role::Script))
        };
        // Of metadata the newest is as good as what was in force.
        let is_newer = |held: TagSeen| {
            let mut newer = topic.tags[*place as usize..].iter();
            needed.kind == Kind::Script
                && newer.any(|it| it.session == tag.session && it.tag.digest == held.digest)
        };
        same(needed.kind).is_none_or(|held| {
            (held.digest, held.len) != (needed.digest, needed.len) && !is_newer(held)
        })
    })?;
    let needed = topic.tags[missing as usize].tag;
    finding("resumes without what is in force", format!("begins with {} and not {needed}", got.tag))
}

/// D4, of targets without quirks: nothing is lost, and nothing is cut.
pub(super) fn calm(run: &Judged<'_>) -> Verdict {
    let good = run.ledger.relayed.iter().filter(|it| {
        run.cast.target(it.connection.who).is_some_and(|target| target.quirks.is_empty())
    });
    first(good.filter_map(|relayed| {
        let connection = &relayed.connection;
        let cut = relayed.over().filter(|(_, close)| *close != Close::Eof);
        let cut = cut.map(|(_, close)| {
            let event = connection.closed.map_or(0, |(told, _)| told.event);
            (event, format!("closed: {close:?}"))
        });
        let is_hole = |hole: &&crate::ledger::Hole| hole.tags() > hole.orphans;
        let picture = connection.got.iter().position(crate::ledger::GotTag::is_media);
        let lost = connection.holes.iter().filter(|it| Some(it.got) > picture).find(is_hole);
        let lost = lost.map(|hole| {
            (connection.got[hole.got].event, format!("{} tags are missing", hole.tags()))
        });
        let (event, saw) = cut.or(lost)?;
        Some(Finding::new(event, connection.who, "relay on a calm day", saw))
    }))
}
