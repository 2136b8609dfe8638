//! ffmpeg decodes what viewers get, whichever tag they join at.

use std::collections::BTreeMap;
use std::path::Path;
use std::process::Command;

use forebay::hub::Start;
use forebay::wire_log::Protocol;

use super::capture::{self, Capture, Seen, is_keyframe, read, watch};
use super::{ffmpeg, scratch};

/// What ffmpeg has to say about a file. Nothing, if every frame of it decodes.
fn complaints(ffmpeg: &str, file: &Path) -> String {
    let output = Command::new(ffmpeg)
        .args(["-nostdin", "-v", "error", "-xerror", "-i"])
        .arg(file)
        // Milliseconds are kept: rounded to frames of a thirtieth of a second, neighbours may fall
        // on one another, which is nobody's fault.
        .args(["-map", "0:v?", "-map", "0:a?", "-enc_time_base:v", "1:1000", "-f", "null", "-"])
        .output()
        .unwrap_or_else(|error| panic!("{ffmpeg}: {error}; `cargo ci judges` installs it"));
    let said = String::from_utf8_lossy(&output.stderr).into_owned();
    match output.status.success() {
        true => said,
        false => format!("{}\n{said}", output.status),
    }
}

/// An FLV file of tags, for programs that read files.
fn write_flv(tags: &[Seen]) -> Vec<u8> {
    let mut file = b"FLV\x01\x05\0\0\0\x09\0\0\0\0".to_vec();
    for tag in tags {
        file.push(tag.kind);
        file.extend(&(tag.payload.len() as u32).to_be_bytes()[1..]);
        let [high, rest @ ..] = tag.ms.to_be_bytes();
        file.extend(rest);
        file.extend([high, 0, 0, 0]);
        file.extend(&tag.payload);
        file.extend((tag.payload.len() as u32 + 11).to_be_bytes());
    }
    file
}

/// The moments of the first two GOPs.
fn moments(capture: &Capture) -> usize {
    let keyframes = capture.tags.iter().enumerate().filter(|(_, tag)| is_keyframe(&Seen::of(tag)));
    keyframes.map(|(index, _)| index).nth(2).unwrap_or(capture.tags.len())
}

/// Most joiners of one GOP get the same bytes: each different outcome is decoded once.
fn decode_all_joins(protocol: Protocol) {
    let mut wrong = Vec::new();
    let mut decoded = 0;
    for capture in capture::intact() {
        let ffmpeg = ffmpeg(&capture.name);
        let file = scratch(&format!("{}-{protocol:?}.flv", capture.name));
        // What does not decode as it was recorded cannot be asked of us: frames are missing.
        let whole: Vec<_> = capture.tags.iter().map(Seen::of).collect();
        std::fs::write(&file, write_flv(&whole)).unwrap();
        let own = complaints(&ffmpeg, &file);
        if !own.is_empty() {
            assert!(
                capture.name.starts_with("odd-"),
                "{} does not decode as recorded: {own}",
                capture.name
            );
            println!("{}: not asked for, ffmpeg rejects the recording itself", capture.name);
            continue;
        }
        let mut outcomes: BTreeMap<Vec<u8>, usize> = BTreeMap::new();
        for joined_at in 0..moments(&capture) {
            let received = watch(&capture.tags, joined_at, protocol, Start::Gop);
            outcomes.entry(received).or_insert(joined_at);
        }
        for (received, joined_at) in outcomes {
            std::fs::write(&file, write_flv(&read(protocol, &received))).unwrap();
            let complaints = complaints(&ffmpeg, &file);
            decoded += 1;
            if !complaints.is_empty() {
                wrong.push(format!("{} joined at tag {joined_at}: {complaints}", capture.name));
            }
        }
        std::fs::remove_file(&file).unwrap();
    }
    println!("{protocol:?}: {decoded} different outcomes decoded");
    assert!(decoded > 60, "only {decoded} outcomes");
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}

#[test]
#[ignore = "needs ffmpeg: cargo ci judges"]
fn ffmpeg_decodes_what_an_rtmp_viewer_gets_wherever_it_joins() {
    decode_all_joins(Protocol::Rtmp);
}

#[test]
#[ignore = "needs ffmpeg: cargo ci judges"]
fn ffmpeg_decodes_what_an_http_flv_viewer_gets_wherever_it_joins() {
    decode_all_joins(Protocol::Flv);
}
