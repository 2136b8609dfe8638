//! Programs that know nothing of us decide: they publish, they play, and they read what we send.
//!
//! `cargo ci judges` installs them, says where they are, and runs these tests.
#![allow(clippy::unwrap_used, reason = "a test that cannot go on has failed")]

mod browser;
#[path = "../common/capture.rs"]
mod capture;
#[cfg(feature = "hls")]
mod hls;
mod joins;
mod live;
mod page;
mod programs;
mod recordings;
mod relays;

use std::path::PathBuf;

/// ffmpeg from the distribution, or the newer one that knows Enhanced RTMP.
fn ffmpeg(capture: &str) -> String {
    let (variable, default) = match capture.starts_with("enh-") {
        true => ("FOREBAY_FFMPEG_NEW", "ffmpeg-new"),
        false => ("FOREBAY_FFMPEG", "ffmpeg"),
    };
    std::env::var(variable)
        .ok()
        .filter(|path| !path.is_empty())
        .unwrap_or_else(|| default.to_owned())
}

fn scratch(name: &str) -> PathBuf {
    let folder = PathBuf::from(env!("CARGO_TARGET_TMPDIR")).join("judges");
    std::fs::create_dir_all(&folder).unwrap();
    folder.join(name)
}
