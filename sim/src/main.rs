//! `cargo sim`: nothing to simulate yet.

use std::process::ExitCode;

fn main() -> ExitCode {
    eprintln!("cargo sim: there is no scenario yet");
    ExitCode::from(2)
}
