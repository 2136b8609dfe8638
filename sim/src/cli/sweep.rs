//! `cargo sim sweep`: many seeds.

use std::io::{IsTerminal as _, stderr};
use std::time::Duration;

use forebay_sim::campaign::{Campaign, Played, Tally};
use forebay_sim::scenario;
use indicatif::{ProgressBar, ProgressStyle};
use serde_json::json;

use super::print;

/// Play many seeds, until one fails.
#[derive(clap::Args)]
pub(crate) struct Arguments {
    #[command(flatten)]
    pub(crate) bounds: Bounds,
    /// Go on behind a failure, and name all of them.
    #[arg(long)]
    keep_going: bool,
    /// As JSON: a line per world, and one for all.
    #[arg(long)]
    json: bool,
}

#[derive(clap::Args)]
pub(crate) struct Bounds {
    /// So many seeds.
    #[arg(long, value_name = "N")]
    seeds: Option<u64>,
    /// So much CPU time, of all threads together, as in `90s` or `2m`. Without `--seeds` and
    /// `--cpu`: a minute.
    #[arg(long, value_name = "TIME", value_parser = humantime::parse_duration)]
    cpu: Option<Duration>,
    /// The first seed; any text is one too, as the hash of a commit.
    #[arg(long, value_name = "SEED", default_value = "0", value_parser = seed)]
    from: u64,
    /// Only this scenario; may be given several times.
    #[arg(long, value_name = "SCENARIO")]
    mix: Vec<String>,
    /// Worlds played at once; all cores if it is not given.
    #[arg(long, value_name = "N")]
    threads: Option<usize>,
}

/// A number, or the digest of any other text.
fn seed(text: &str) -> Result<u64, String> {
    let digest = || xxhash_rust::xxh3::xxh3_64(text.as_bytes()) >> 16;
    Ok(text.parse().unwrap_or_else(|_| digest()))
}

impl Bounds {
    pub(crate) fn campaign(&self) -> anyhow::Result<Campaign> {
        let mut campaign = Campaign::new();
        if !self.mix.is_empty() {
            let found = self.mix.iter().map(|name| scenario::find(name));
            campaign.scenarios = found.collect::<Result<_, _>>().map_err(anyhow::Error::msg)?;
        }
        campaign.first_seed = self.from;
        campaign.seeds_max = self.seeds.unwrap_or(u64::MAX);
        let unbounded = if self.seeds.is_some() { Duration::MAX } else { Duration::from_secs(60) };
        campaign.cpu_max = self.cpu.unwrap_or(unbounded);
        campaign.threads = self.threads.unwrap_or(campaign.threads);
        Ok(campaign)
    }
}

pub(crate) fn run(arguments: &Arguments) -> anyhow::Result<bool> {
    let mut campaign = arguments.bounds.campaign()?;
    campaign.keeps_going = arguments.keep_going;
    let progress = Progress::of(&campaign);
    let tally = campaign.run(&mut |played, tally| {
        progress.advance(tally);
        if arguments.json {
            print(&json(played).to_string());
        } else if let Some(failure) = &played.failure {
            progress.suspend(|| print(&failure.text));
        }
    })?;
    progress.finish();
    match arguments.json {
        true => print(&sum(&tally).to_string()),
        false => print(&words(&tally)),
    }
    Ok(tally.is_fine())
}

/// A bar on a terminal, quiet in a pipe.
pub(crate) struct Progress {
    bar: ProgressBar,
    /// Worlds are bounded, and not CPU time.
    by_worlds: bool,
}

impl Progress {
    pub(crate) fn of(campaign: &Campaign) -> Self {
        let by_worlds = campaign.cpu_max == Duration::MAX;
        if !stderr().is_terminal() {
            return Self { bar: ProgressBar::hidden(), by_worlds };
        }
        let len = if by_worlds { campaign.seeds_max } else { campaign.cpu_max.as_secs() };
        let bar = ProgressBar::new(len);
        let unit = if by_worlds { "worlds" } else { "s of CPU time" };
        let template = format!("{{bar:40}} {{pos}}/{{len}} {unit}  {{msg}}");
        if let Ok(style) = ProgressStyle::with_template(&template) {
            bar.set_style(style);
        }
        Self { bar, by_worlds }
    }

    pub(crate) fn advance(&self, tally: &Tally) {
        self.bar.set_position(if self.by_worlds { tally.worlds } else { tally.cpu.as_secs() });
        let (worlds, goals) = (tally.worlds, tally.goals.len());
        self.bar.set_message(format!(
            "{worlds} worlds, {goals} goals, {} failed",
            tally.failures.len()
        ));
    }

    pub(crate) fn suspend(&self, f: impl FnOnce()) {
        self.bar.suspend(f);
    }

    pub(crate) fn finish(&self) {
        self.bar.finish_and_clear();
    }
}

/// What it came to, in a few lines.
pub(crate) fn words(tally: &Tally) -> String {
    let cpu_s = tally.cpu.as_secs_f64().max(1e-9);
    let mut text = format!(
        "{} worlds, {:.0} simulated s in {:.1} s of CPU time ({:.0} times as fast, {:.0} worlds a minute), {} events",
        tally.worlds,
        tally.simulated.as_secs_f64(),
        cpu_s,
        tally.simulated.as_secs_f64() / cpu_s,
        tally.worlds as f64 * 60.0 / cpu_s,
        tally.events,
    );
    let twins: Vec<_> = tally.twins.iter().map(|(rule, count)| format!("{rule} {count}")).collect();
    text += &format!("\ncompared with a twin: {}", twins.join(", "));
    text += &format!(
        "\n{} goals reached; {} of {} planted failures found; {} worlds FAILED",
        tally.goals.len(),
        tally.canaries.1,
        tally.canaries.0,
        tally.failures.len()
    );
    for played in &tally.failures {
        let failure = played.failure.as_ref();
        if let Some(violation) = failure.and_then(|failure| failure.violations.first()) {
            text += &format!(
                "\n  {} --seed {}  {} at {}: {}",
                played.scenario.name, played.seed, violation.invariant, violation.at, violation.saw
            );
        }
    }
    text
}

fn json(played: &Played) -> serde_json::Value {
    let failure = played.failure.iter();
    let violations = failure.flat_map(|failure| &failure.violations).map(|violation| {
        json!({
            "invariant": violation.invariant,
            "at_s": violation.at.secs_f64(),
            "saw": violation.saw,
        })
    });
    json!({
        "scenario": played.scenario.name,
        "seed": played.seed,
        "digest": format!("{:016x}", played.digest),
        "events": played.events,
        "simulated_s": played.simulated.as_secs_f64(),
        "cpu_s": played.cost.as_secs_f64(),
        "goals": played.goals,
        "twin": played.twin,
        "violations": violations.collect::<Vec<_>>(),
    })
}

fn sum(tally: &Tally) -> serde_json::Value {
    json!({
        "worlds": tally.worlds,
        "simulated_s": tally.simulated.as_secs_f64(),
        "cpu_s": tally.cpu.as_secs_f64(),
        "events": tally.events,
        "goals": tally.goals.len(),
        "canaries": {"planted": tally.canaries.0, "found": tally.canaries.1},
        "twins": tally.twins,
        "failed": tally.failures.len(),
    })
}
