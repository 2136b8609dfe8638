//! `forebay inspect`.

use std::process::ExitCode;

/// TODO
#[derive(clap::Args)]
pub(crate) struct Arguments {}

pub(crate) async fn run(_: Arguments) -> anyhow::Result<ExitCode> {
    anyhow::bail!("not there yet")
}
