//! What a program of ours does when it was started as its own helper.

use crate::{floor, process, sink};

/// Is a helper to the end, if this process was started as one.
pub fn run_if_asked() -> Option<anyhow::Result<()>> {
    match process::helper()?.as_str() {
        "sink" => Some(sink::run()),
        "floor" => Some(floor::run()),
        other => Some(Err(anyhow::anyhow!("there is no helper {other:?}"))),
    }
}
