//! `cargo sim real`: a plan on real sockets, beside the simulation of it.

use std::io::{IsTerminal as _, stderr};
use std::time::Duration;

use forebay_sim::real::{self, Agreement, JUDGED, LeftOut, Row};
use forebay_sim::run;
use serde_json::json;

use super::print;
use super::subject::Subject;

/// Carry out a plan on loopback sockets, and compare with the simulation what everybody got.
///
/// The real server, in real time: it takes as long as the plan. Contents are compared, times are
/// not. What loopback cannot do is left out of both runs, and said.
#[derive(clap::Args)]
pub(crate) struct Arguments {
    #[command(flatten)]
    subject: Subject,
    /// So long at most.
    #[arg(long, value_name = "N")]
    seconds: Option<u64>,
    /// As JSON.
    #[arg(long)]
    json: bool,
}

pub(crate) fn run(arguments: &Arguments) -> anyhow::Result<bool> {
    let asked = arguments.subject.plan()?;
    let at_most = arguments.seconds.map(Duration::from_secs);
    let (plan, left_out) = real::possible(&asked, at_most).map_err(anyhow::Error::msg)?;
    let simulated = run::run(&plan)?;
    if stderr().is_terminal() {
        eprintln!("on sockets for {} s ...", plan.end);
    }
    let agreement = real::compare(&simulated, &real::run(&plan)?);
    let name = arguments.subject.name();
    match arguments.json {
        true => print(&as_json(&name, plan.end.secs_f64(), &left_out, &agreement).to_string()),
        false => print(&words(&name, &plan.end.to_string(), &left_out, &agreement)),
    }
    Ok(agreement.is_fine())
}

fn words(name: &str, end: &str, left_out: &[LeftOut], agreement: &Agreement) -> String {
    let verdict = match agreement.is_fine() {
        true => "sockets and simulation agree",
        false => "DIFFERENT on sockets",
    };
    let mut lines = vec![format!("{name}, {end} s: {verdict}")];
    lines.extend(left_out.iter().map(|out| format!("  left out: {} ({})", out.what, out.why)));
    let rows = || agreement.streams.iter().chain(&agreement.viewers);
    let width = rows().map(|row| row.name.len()).max().unwrap_or(0).max(12);
    lines.push(format!("  {:<width$}  simulated  on sockets", "tags"));
    lines.extend(rows().map(|row| {
        let Row { name, simulated, real, agrees, words } = row;
        let mark = if *agrees { "" } else { "DIFFERENT: " };
        format!("  {name:<width$}  {simulated:>9}  {real:>10}  {mark}{words}")
    }));
    let judged: Vec<_> = JUDGED.iter().map(|(id, _)| *id).collect();
    lines.push(format!("  on sockets judged by {}", judged.join(" ")));
    lines.extend(agreement.violations.iter().map(|violation| {
        format!("  VIOLATED {} at {}s: {}", violation.invariant, violation.at, violation.saw)
    }));
    lines.join("\n")
}

fn as_json(
    name: &str,
    end_s: f64,
    left_out: &[LeftOut],
    agreement: &Agreement,
) -> serde_json::Value {
    let rows = |rows: &[Row]| -> Vec<_> {
        let row = |row: &Row| {
            json!({
                "name": row.name,
                "simulated": row.simulated,
                "real": row.real,
                "agrees": row.agrees,
                "words": row.words,
            })
        };
        rows.iter().map(row).collect()
    };
    let left_out = left_out.iter().map(|out| json!({ "what": out.what, "why": out.why }));
    let violations = agreement.violations.iter().map(|violation| {
        json!({
            "invariant": violation.invariant,
            "at_s": violation.at.secs_f64(),
            "saw": violation.saw,
        })
    });
    json!({
        "name": name,
        "agrees": agreement.is_fine(),
        "seconds": end_s,
        "left_out": left_out.collect::<Vec<_>>(),
        "streams": rows(&agreement.streams),
        "viewers": rows(&agreement.viewers),
        "judged": JUDGED.iter().map(|(id, _)| *id).collect::<Vec<_>>(),
        "violations": violations.collect::<Vec<_>>(),
    })
}
