//! `cargo sim judge`: plans come in, verdicts go out. With it one build of the simulator asks
//! another, as one whose core has a mistake.

use std::io::BufRead as _;

use forebay_sim::plan::Plan;
use forebay_sim::report;
use serde_json::json;

use super::print;

/// Judge every plan on the standard input; an empty line, or the end, ends each. A line of JSON answers.
#[derive(clap::Args)]
pub(crate) struct Arguments {}

pub(crate) fn run(_: &Arguments) -> anyhow::Result<bool> {
    let mut text = String::new();
    for line in std::io::stdin().lock().lines() {
        let line = line?;
        if line.is_empty() {
            print(&answer(&text)?);
            text.clear();
        } else {
            text.push_str(&line);
            text.push('\n');
        }
    }
    if !text.is_empty() {
        print(&answer(&text)?);
    }
    Ok(true)
}

fn answer(text: &str) -> anyhow::Result<String> {
    let plan: Plan = text.parse()?;
    let answer = match report::run_and_judge(&plan) {
        Ok(outcome) => {
            let violations = outcome.violations.iter();
            let violations = violations
                .map(|violation| json!({"invariant": violation.invariant, "kind": violation.kind}));
            json!({
                "cpu_s": outcome.run.cost.as_secs_f64(),
                "violations": violations.collect::<Vec<_>>(),
            })
        }
        Err(error) => json!({"cpu_s": 0.0, "violations": [], "error": error.to_string()}),
    };
    Ok(answer.to_string())
}
