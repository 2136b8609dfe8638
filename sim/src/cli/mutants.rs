//! `cargo sim mutants`: whether mistakes in the core are seen.

mod child;
mod hunt;
mod tree;

use std::fs;
use std::time::Duration;

use anyhow::{Context as _, bail};
use forebay_sim::mutant::Mutant;
use serde_json::json;

use self::hunt::{Kill, Small};
use self::tree::{Built, Tree};
use super::print;

/// Plant mistakes in the core, one after the other, and see each die by a right invariant.
///
/// Each patch of sim/mutants is applied to a copy of the workspace in target/mutants and built
/// there. The mutated simulator plays the scenarios that the patch names, then all, until a world
/// violates an invariant that the patch calls a right reason to die, and does not without the
/// patch. That world is made small. A line each is printed, as
///
///     lag_counts_one_less killed by every_gap_is_told seed 0 cpu 0.9 plan 3 lines 3 hosts (tunnel)
///
/// `cpu` is what was played until it died, in seconds; the plan is what is left of its world.
#[derive(clap::Args)]
#[command(verbatim_doc_comment)]
pub(crate) struct Arguments {
    /// Only these.
    #[arg(value_name = "NAME")]
    names: Vec<String>,
    /// So much CPU time to kill each, without building it and making its world small.
    #[arg(long, value_name = "TIME", default_value = "60s")]
    #[arg(value_parser = humantime::parse_duration)]
    cpu: Duration,
    /// Keep the small plans in target/mutants/plans.
    #[arg(long)]
    keep: bool,
    /// Take what was built last time, although it may be of another core.
    #[arg(long)]
    built: bool,
    /// As JSON: a line per mutant, and one for all.
    #[arg(long)]
    json: bool,
}

impl Arguments {
    /// Whether a mutant need not be built.
    fn takes(&self, tree: &Tree, mutant: &Mutant) -> bool {
        self.built && tree.binary(mutant).exists()
    }
}

/// Making a world small may take so much CPU time.
const SHRINK_CPU_MAX: Duration = Duration::from_secs(60);
/// A plan that fits on a slide has at most so many lines, and so many hosts.
const SMALL_LINES: usize = 6;
const SMALL_HOSTS: usize = 3;

/// What came of a mutant.
enum Fate {
    Killed(Kill, Small),
    Survived,
    DoesNotCompile(String),
}

pub(crate) fn run(arguments: &Arguments) -> anyhow::Result<bool> {
    let tree = Tree::new()?;
    let mutants = mutants(&tree, &arguments.names)?;
    if mutants.iter().any(|mutant| !arguments.takes(&tree, mutant)) {
        tree.update()?;
        mutants.iter().try_for_each(|mutant| tree.check(mutant))?;
    }
    let mut fates = Vec::new();
    for mutant in &mutants {
        let fate = fate(&tree, mutant, arguments)?;
        print(&match arguments.json {
            true => fate.json(mutant).to_string(),
            false => fate.line(&mutant.name),
        });
        fates.push(fate);
    }
    let sum = Sum::of(&fates);
    print(&match arguments.json {
        true => sum.json().to_string(),
        false => sum.words(arguments.cpu),
    });
    Ok(sum.killed == sum.mutants)
}

/// Those that are asked for, or all.
fn mutants(tree: &Tree, names: &[String]) -> anyhow::Result<Vec<Mutant>> {
    let mut all = Vec::new();
    for entry in fs::read_dir(tree.patches())? {
        let path = entry?.path();
        if path.extension().is_some_and(|extension| extension == "patch") {
            all.push(path.file_stem().unwrap_or_default().to_string_lossy().into_owned());
        }
    }
    all.sort_unstable();
    if let Some(unknown) = names.iter().find(|name| !all.contains(name)) {
        bail!("there is no mutant `{unknown}`; there are {}", all.join(", "));
    }
    all.retain(|name| names.is_empty() || names.contains(name));
    let read = all.iter().map(|name| {
        let patch = fs::read_to_string(tree.patches().join(format!("{name}.patch")))?;
        let mutant = Mutant::parse(name, &patch).with_context(|| name.clone())?;
        Ok(mutant)
    });
    read.collect()
}

fn fate(tree: &Tree, mutant: &Mutant, arguments: &Arguments) -> anyhow::Result<Fate> {
    let binary = if arguments.takes(tree, mutant) {
        tree.binary(mutant)
    } else {
        eprintln!("{}: is built", mutant.name);
        match tree.build(mutant)? {
            Built::Binary(binary) => binary,
            Built::DoesNotCompile(why) => return Ok(Fate::DoesNotCompile(why)),
        }
    };
    eprintln!("{}: is hunted: {}", mutant.name, mutant.what);
    let Some(kill) = hunt::hunt(mutant, &binary, arguments.cpu)? else {
        return Ok(Fate::Survived);
    };
    let small = hunt::make_small(&kill, &binary, SHRINK_CPU_MAX)?;
    if arguments.keep {
        let path = tree.plan(mutant);
        fs::create_dir_all(path.parent().unwrap_or(&path))?;
        fs::write(path, small.plan.to_string())?;
    }
    Ok(Fate::Killed(kill, small))
}

impl Fate {
    fn line(&self, name: &str) -> String {
        match self {
            Self::Killed(kill, small) => format!(
                "{name} killed by {} seed {} cpu {:.1} plan {} lines {} hosts ({})",
                kill.invariant,
                kill.seed,
                kill.cpu.as_secs_f64(),
                small.plan.line_count(),
                small.plan.hosts(),
                kill.scenario,
            ),
            Self::Survived => format!("{name} survived"),
            Self::DoesNotCompile(why) => format!("{name} does not compile\n{why}"),
        }
    }

    fn json(&self, mutant: &Mutant) -> serde_json::Value {
        match self {
            Self::Killed(kill, small) => json!({
                "mutant": mutant.name,
                "killed": true,
                "invariant": kill.invariant,
                "scenario": kill.scenario,
                "seed": kill.seed,
                "cpu_s": kill.cpu.as_secs_f64(),
                "lines": small.plan.line_count(),
                "hosts": small.plan.hosts(),
                "shrink_runs": small.runs,
                "shrink_cpu_s": small.cpu.as_secs_f64(),
                "plan": small.plan.to_string(),
            }),
            Self::Survived => json!({"mutant": mutant.name, "killed": false}),
            Self::DoesNotCompile(why) => {
                json!({"mutant": mutant.name, "killed": false, "does_not_compile": why})
            }
        }
    }
}

/// All of them together.
struct Sum {
    mutants: usize,
    killed: usize,
    small: usize,
}

impl Sum {
    fn of(fates: &[Fate]) -> Self {
        let plans = fates.iter().filter_map(|fate| match fate {
            Fate::Killed(_, small) => Some(&small.plan),
            Fate::Survived | Fate::DoesNotCompile(_) => None,
        });
        let is_small = |plan: &&forebay_sim::plan::Plan| {
            plan.line_count() <= SMALL_LINES && plan.hosts() <= SMALL_HOSTS
        };
        let (killed, small) = (plans.clone().count(), plans.filter(is_small).count());
        Self { mutants: fates.len(), killed, small }
    }

    fn small_percent(&self) -> usize {
        self.small * 100 / self.killed.max(1)
    }

    fn words(&self, cpu_max: Duration) -> String {
        format!(
            "{} of {} killed by a right invariant, each within {} of CPU time\n{} of {} plans \
                ({} %) have at most {SMALL_LINES} lines and {SMALL_HOSTS} hosts",
            self.killed,
            self.mutants,
            humantime::format_duration(cpu_max),
            self.small,
            self.killed,
            self.small_percent(),
        )
    }

    fn json(&self) -> serde_json::Value {
        json!({
            "mutants": self.mutants,
            "killed": self.killed,
            "small": self.small,
            "small_percent": self.small_percent(),
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn killed(lines: usize) -> Fate {
        let mut text = "plan 1\nseed 1\ntick 5 ms\n".to_owned();
        for index in 0..lines {
            text += &format!("0.{index} peer-{index}x publish live/a obs-360p30-base\n");
        }
        text += "4 end\n";
        let plan = text.parse().expect("it is a plan");
        let kill = Kill {
            invariant: "every_gap_is_told",
            scenario: "tunnel",
            seed: 7,
            cpu: Duration::from_millis(1_260),
        };
        Fate::Killed(kill, Small { plan, runs: 9, cpu: Duration::ZERO })
    }

    #[test]
    fn line_says_by_what_and_where_a_mutant_died() {
        assert_eq!(
            killed(2).line("lag_counts_one_less"),
            "lag_counts_one_less killed by every_gap_is_told seed 7 cpu 1.3 plan 2 lines \
                3 hosts (tunnel)"
        );
        assert_eq!(Fate::Survived.line("a"), "a survived");
    }

    #[test]
    fn plans_that_fit_on_a_slide_are_counted() {
        let sum = Sum::of(&[killed(2), killed(3), Fate::Survived, killed(7)]);
        assert_eq!((sum.mutants, sum.killed, sum.small, sum.small_percent()), (4, 3, 1, 33));
    }
}
