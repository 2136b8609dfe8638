//! Canary: a planted, permanent failure, which proves that the alarm rings (D9).

use crate::report;
use crate::run::{Run, RunError};
use crate::scenario;
use crate::tag::Role;
use crate::trace::{What, Who};

/// So many seeds have one canary among them.
const SEEDS: u64 = 100;

/// Whether this seed has one.
pub(crate) fn is_due(seed: u64) -> bool {
    seed.is_multiple_of(SEEDS)
}

/// Plays a calm world, takes one picture from a viewer, and says whether anybody noticed.
///
/// # Errors
///
/// If the world cannot be played.
pub(crate) fn is_noticed(seed: u64) -> Result<bool, RunError> {
    let smoke = scenario::find("smoke").map_err(RunError::Plan)?;
    let mut run = smoke.play(seed)?.run;
    Ok(take_a_picture(&mut run).is_some() && !report::judge(run).is_fine())
}

/// Takes an inter picture in the middle of what a viewer got, as if it had never come.
fn take_a_picture(run: &mut Run) -> Option<Who> {
    let events = &mut run.trace.events;
    let is_picture = |what: &What| matches!(what, What::Got(tag) if tag.role == Role::Inter);
    let pictures: Vec<_> =
        (0..events.len()).filter(|index| is_picture(&events[*index].what)).collect();
    let taken = *pictures.get(pictures.len() / 2)?;
    Some(events.remove(taken).who)
}
