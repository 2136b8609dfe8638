//! `cargo sim show`: a world as a page to look at.

use std::path::PathBuf;

use anyhow::Context as _;
use forebay_sim::timeline;

use super::print;
use super::subject::Subject;

/// Draw a world: one HTML page that needs no network.
///
/// Who was there, what was done to whom, what everybody got and lost, and where a rule broke. It
/// can be drawn whether the world fails or not.
#[derive(clap::Args)]
pub(crate) struct Arguments {
    #[command(flatten)]
    subject: Subject,
    /// Where the page goes; `NAME-SEED.html` here if it is not given.
    #[arg(long, value_name = "FILE")]
    out: Option<PathBuf>,
}

pub(crate) fn run(arguments: &Arguments) -> anyhow::Result<bool> {
    let outcome = arguments.subject.play()?;
    let page = timeline::page(&outcome);
    let out = arguments
        .out
        .clone()
        .unwrap_or_else(|| format!("{}.html", arguments.subject.name()).into());
    std::fs::write(&out, &page).with_context(|| out.display().to_string())?;
    let verdict = match outcome.violations.first() {
        None => "every invariant holds".to_owned(),
        Some(first) => format!("FAILED {} at {}s", first.invariant, first.at),
    };
    print(&format!("{}: {} kB, {verdict}", out.display(), page.len().div_ceil(1_000)));
    Ok(true)
}
