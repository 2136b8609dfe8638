//! `cargo sim list`: the scenarios.

use forebay_sim::scenario;
use serde_json::json;

use super::print;

/// Name the scenarios.
#[derive(clap::Args)]
pub(crate) struct Arguments {
    /// As JSON.
    #[arg(long)]
    json: bool,
}

pub(crate) fn run(arguments: &Arguments) -> anyhow::Result<bool> {
    if arguments.json {
        let all = scenario::ALL.iter().map(|scenario| {
            json!({"name": scenario.name, "about": scenario.about, "share": scenario.share})
        });
        print(&serde_json::Value::Array(all.collect()).to_string());
        return Ok(true);
    }
    print("scenario           share  what it is about");
    for scenario in scenario::ALL {
        print(&format!("{:<18} {:>5}  {}", scenario.name, scenario.share, scenario.about));
    }
    print("\nshare: how often `cargo sim sweep` draws it; 0: only when it is asked for.");
    Ok(true)
}
