//! Goals about relays.

use crate::invariant::Judged;
use crate::ledger::Relayed;
use crate::tag::Role;
use crate::trace::Close;

/// Connections that were published on and broke.
fn broken<'r>(run: &'r Judged<'_>) -> impl Iterator<Item = &'r Relayed> {
    run.ledger.relayed.iter().filter(|relayed| {
        let close = relayed.over().map(|(_, close)| close);
        relayed.published().is_some() && close.is_some_and(|close| close != Close::Eof)
    })
}

/// And another came for the same stream.
fn was_followed(run: &Judged<'_>, broken: &Relayed) -> bool {
    let again = |it: &Relayed| {
        it.connection.who == broken.connection.who
            && it.connection.dialed.at > broken.connection.dialed.at
            && it.key() == broken.key()
            && it.connection.got.len() > 10
    };
    run.ledger.relayed.iter().any(again)
}

pub(super) fn cut_inside_chunk(run: &Judged<'_>) -> bool {
    broken(run).any(|relayed| relayed.was_partial && was_followed(run, relayed))
}

/// Before the first picture or sound.
pub(super) fn cut_inside_headers(run: &Judged<'_>) -> bool {
    broken(run).any(|relayed| {
        let is_header = |role| matches!(role, Role::Script | Role::Header);
        let got = &relayed.connection.got;
        got.iter().all(|got| is_header(got.tag.role))
            && (relayed.was_partial || !got.is_empty())
            && was_followed(run, relayed)
    })
}

/// A pause of half the longest at least, and something got there afterwards.
pub(super) fn at_cap(run: &Judged<'_>) -> bool {
    let dials = &run.ledger.dials;
    dials.iter().enumerate().any(|(index, dial)| {
        let mut later = dials[index + 1..]
            .iter()
            .filter(|it| (it.target, it.node, it.life) == (dial.target, dial.node, dial.life));
        let Some(next) = later.next() else { return false };
        let came = run.ledger.relayed.iter().any(|it| {
            it.connection.who == dial.target
                && it.connection.dialed.at >= next.at
                && it.connection.got.len() > 10
        });
        let known = run.ledger.relayed.iter().find(|it| it.connection.address == dial.from);
        // Who hears nothing waits for that, too.
        let is_heard = known.is_some_and(|it| it.published().is_some() || it.refused.is_some());
        let bounds = &run.limits.relays;
        let waited = if is_heard { Default::default() } else { bounds.connect };
        next.at.since(dial.at) >= bounds.backoff_max / 2 + waited && came
    })
}
