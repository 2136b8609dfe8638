//! `cargo sim goals`: which states a campaign reaches, and which rules mean nothing yet.

use forebay_sim::campaign::Tally;
use forebay_sim::{goal, invariant};

use super::{print, sweep};

/// Play many seeds, and count the goals they reach.
///
/// A goal that no world reaches fails the campaign: the invariants that need it are not tested.
#[derive(clap::Args)]
pub(crate) struct Arguments {
    #[command(flatten)]
    bounds: sweep::Bounds,
}

pub(crate) fn run(arguments: &Arguments) -> anyhow::Result<bool> {
    let mut campaign = arguments.bounds.campaign()?;
    campaign.keeps_going = true;
    let progress = sweep::Progress::of(&campaign);
    let tally = campaign.run(&mut |_, tally| progress.advance(tally))?;
    progress.finish();
    print(&table(&tally));
    print(&sweep::words(&tally));
    Ok(tally.is_fine() && goal::ALL.iter().all(|goal| tally.goals.contains_key(goal.name)))
}

fn table(tally: &Tally) -> String {
    let mut text = String::from("goal                                    worlds  first");
    for goal in goal::ALL {
        let (count, first) =
            tally.goals.get(goal.name).map_or((0, "NOT REACHED"), |(count, first)| (*count, first));
        text += &format!("\n{:>2} {:<36} {count:>6}  {first}", goal.number, goal.name);
    }
    let untested: Vec<_> = invariant::ALL
        .iter()
        .filter(|invariant| invariant.goal.is_some_and(|goal| !tally.goals.contains_key(goal)))
        .map(|invariant| format!("{} {}", invariant.id, invariant.name))
        .collect();
    let reached = goal::ALL.iter().filter(|goal| tally.goals.contains_key(goal.name)).count();
    text += &format!("\n{reached} of {} reached", goal::ALL.len());
    if !untested.is_empty() {
        text += &format!("; NOT TESTED: {}", untested.join(", "));
    }
    text
}
