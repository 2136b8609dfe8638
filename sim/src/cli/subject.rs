//! What a command is about: a scenario with its seed, or a plan in a file.

use std::path::Path;

use anyhow::Context as _;
use forebay_sim::plan::Plan;
use forebay_sim::report::{self, Outcome};
use forebay_sim::scenario::{self, Scenario};

/// A scenario or a plan.
#[derive(clap::Args)]
pub(crate) struct Subject {
    /// A scenario, or the file of a plan.
    #[arg(value_name = "SCENARIO | PLAN")]
    pub(crate) subject: String,
    /// The scenario's seed.
    #[arg(long, default_value_t = 0)]
    pub(crate) seed: u64,
}

impl Subject {
    /// Plays it.
    pub(crate) fn play(&self) -> anyhow::Result<Outcome> {
        match self.find()? {
            Some(scenario) => Ok(scenario.play(self.seed)?),
            None => Ok(report::run_and_judge(&read_plan(Path::new(&self.subject))?)?),
        }
    }

    /// What it carries out. The plan of a scenario is known when it has been played.
    pub(crate) fn plan(&self) -> anyhow::Result<Plan> {
        match self.find()? {
            Some(scenario) => Ok(scenario.play(self.seed)?.run.plan),
            None => read_plan(Path::new(&self.subject)),
        }
    }

    /// The scenario; `None` if it is a plan in a file.
    fn find(&self) -> anyhow::Result<Option<&'static Scenario>> {
        match scenario::find(&self.subject) {
            Ok(scenario) => Ok(Some(scenario)),
            Err(_) if Path::new(&self.subject).exists() || self.subject.contains(['.', '/']) => {
                Ok(None)
            }
            Err(why) => anyhow::bail!("{why}; nor is there a file of this name"),
        }
    }

    /// A short name for files about it.
    pub(crate) fn name(&self) -> String {
        match scenario::find(&self.subject) {
            Ok(scenario) => format!("{}-{}", scenario.name, self.seed),
            Err(_) => {
                let stem = Path::new(&self.subject).file_stem().unwrap_or_default();
                stem.to_string_lossy().into_owned()
            }
        }
    }
}

/// The plan in this file.
pub(crate) fn read_plan(path: &Path) -> anyhow::Result<Plan> {
    let text = std::fs::read_to_string(path).with_context(|| path.display().to_string())?;
    let plan: Plan = text.parse().with_context(|| path.display().to_string())?;
    plan.check().map_err(anyhow::Error::msg).with_context(|| path.display().to_string())?;
    Ok(plan)
}
