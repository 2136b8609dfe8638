//! `forebay replay`: a recording, published as an encoder would.

use std::path::{Path, PathBuf};
use std::process::ExitCode;

/// TODO
#[derive(clap::Args)]
pub(crate) struct Arguments {}

pub(crate) async fn run(_: Arguments) -> anyhow::Result<ExitCode> {
    anyhow::bail!("not there yet")
}

/// Whether the recording can be replayed, before anything else is begun.
pub(crate) fn check_file(_path: &Path) -> anyhow::Result<()> {
    Ok(())
}

/// Publishes in a loop; connects again when the connection is lost.
pub(crate) async fn publish_for_ever(_path: PathBuf, _url: String) {}
