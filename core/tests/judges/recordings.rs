//! flvmeta, ffprobe and ffmpeg accept recordings, complete ones and recovered ones.

use std::path::{Path, PathBuf};

use serde_json::Value;

use super::programs::{Program, Server};
use super::scratch;

const REPLAY: &str = "--replay ../testdata/flv/obs-360p30-base.flv";

/// Records until so many tags are durable.
fn record(name: &str, tags: u64) -> (Server, PathBuf) {
    let directory = scratch(name);
    let _none_yet = std::fs::remove_dir_all(&directory);
    let archive = format!("--set archive.directory={}", directory.display());
    let server = Server::start(&format!("{archive} --set archive.file_ms_max=1500 {REPLAY}"));
    server.wait_until("live/obs", |stream| {
        stream["archive"]["durable"]["tag"].as_u64().is_some_and(|tag| tag >= tags)
    });
    (server, directory)
}

/// All complete recordings, in order.
fn files(directory: &Path) -> Vec<PathBuf> {
    let entries = std::fs::read_dir(directory.join("live")).unwrap();
    let mut files: Vec<_> = entries.map(|entry| entry.unwrap().path()).collect();
    files.retain(|file| file.extension().is_some_and(|extension| extension == "flv"));
    files.sort();
    files
}

fn judge(file: &Path) {
    let name = file.display();
    let flvmeta = Program::start("flvmeta", &format!("--check {name}")).finish();
    // It warns of what encoders say of themselves; what is no FLV is an error, and its exit status.
    assert_eq!(flvmeta.code, Some(0), "{name}: {}", String::from_utf8_lossy(&flvmeta.stdout));
    let shown = "-v error -of json -show_entries format=duration,size:stream=codec_name";
    let ffprobe = Program::start("ffprobe", &format!("{shown} {name}")).finish();
    ffprobe.assert_content();
    let found: Value = serde_json::from_slice(&ffprobe.stdout).unwrap();
    let text = |value: &Value| value.as_str().and_then(|text| text.parse::<f64>().ok());
    assert!(text(&found["format"]["duration"]).is_some_and(|seconds| seconds >= 0.0), "{found}");
    let codecs: Vec<_> =
        found["streams"].as_array().unwrap().iter().map(|one| one["codec_name"].clone()).collect();
    assert!(codecs.contains(&"h264".into()) && codecs.contains(&"aac".into()), "{found}");
    let decode = "-nostdin -v error -progress - -i";
    Program::start(&super::ffmpeg(""), &format!("{decode} {name} -f null -"))
        .finish()
        .assert_decoded(1);
}

#[test]
#[ignore = "needs flvmeta and ffmpeg: cargo ci judges"]
fn recordings_of_a_server_that_stops_pass() {
    let (server, directory) = record("recorded", 400);
    assert_eq!(server.terminate().code, Some(0));
    let files = files(&directory);
    assert!(files.len() > 1, "{files:?}");
    files.iter().for_each(|file| judge(file));
}

#[test]
#[ignore = "needs flvmeta and ffmpeg: cargo ci judges"]
fn recordings_of_a_server_that_is_killed_pass_when_they_are_recovered() {
    let (server, directory) = record("killed", 400);
    server.kill();
    let before = files(&directory).len();
    let recover = format!("recover {}", directory.display());
    let forebay = env!("CARGO_BIN_EXE_forebay");
    for _ in 0..2 {
        Program::start(forebay, &recover).finish().assert_content();
    }
    let files = files(&directory);
    assert_eq!(files.len(), before + 1, "{files:?}");
    files.iter().for_each(|file| judge(file));
}
