//! ffmpeg decodes what viewers get, whichever tag they join at.

use std::collections::BTreeMap;
use std::path::Path;
use std::process::Command;

use forebay::hub::Start;
use forebay::wire_log::Protocol;

use super::capture::{self, Seen, is_keyframe, read, watch};
use super::{ffmpeg, scratch};

/// What ffmpeg has to say about a file. Nothing, if every frame of it decodes.
pub(crate) fn complaints(ffmpeg: &str, file: &Path) -> String {
    let output = Command::new(ffmpeg)
        .args(["-nostdin", "-v", "error", "-xerror", "-i"])
        .arg(file)
        // Milliseconds are kept: rounded to frames of a thirtieth of a second, neighbours may fall
        // on one another, which is nobody's fault.
        .args(["-map", "0:v?", "-map", "0:a?", "-enc_time_base:v", "1:1000", "-f", "null", "-"])
        .output()
        .unwrap_or_else(|error| panic!("{ffmpeg}: {error}; `cargo ci judges` installs it"));
    let said = without_addresses(&String::from_utf8_lossy(&output.stderr));
    match output.status.success() {
        true => said,
        false => format!("{}\n{said}", output.status),
    }
}

/// ffmpeg names its parts by where they are in memory, which is elsewhere each time.
fn without_addresses(said: &str) -> String {
    let mut pieces = said.split("0x");
    let first = pieces.next().unwrap_or_default().to_owned();
    pieces
        .fold(first, |said, piece| said + piece.trim_start_matches(|c: char| c.is_ascii_hexdigit()))
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
fn moments(recording: &[Seen]) -> usize {
    let keyframes = recording.iter().enumerate().filter(|(_, tag)| is_keyframe(tag));
    keyframes.map(|(index, _)| index).nth(2).unwrap_or(recording.len())
}

/// The recording itself from where a viewer came in, behind the headers that it begins with, which
/// have the time of a file's first tag.
fn piece(recording: &[Seen], joined_at: usize) -> Vec<Seen> {
    let first = recording.iter().position(is_keyframe).expect("a recording of pictures");
    let entry = recording[..joined_at].iter().rposition(is_keyframe).unwrap_or(first);
    let headers = recording[..first].iter().map(|header| Seen { ms: 0, ..header.clone() });
    headers.chain(recording[entry..].iter().cloned()).collect()
}

/// Most joiners of one GOP get the same bytes: each different outcome is decoded once.
///
/// Time goes back or stands still in some recordings: their pictures decode, but ffmpeg complains
/// about each of those times. From such a recording a viewer must get what ffmpeg says exactly the
/// same about as about that piece of the recording: nothing at all if it came in behind the damage.
fn decode_all_joins(protocol: Protocol) {
    let mut wrong = Vec::new();
    let (mut decoded, mut without_complaint) = (0, 0);
    for capture in capture::intact() {
        let ffmpeg = ffmpeg(&capture.name);
        let file = scratch(&format!("{}-{protocol:?}.flv", capture.name));
        let complaints_about = |tags: &[Seen]| {
            std::fs::write(&file, write_flv(tags)).unwrap();
            complaints(&ffmpeg, &file)
        };
        let recording: Vec<_> = capture.tags.iter().map(Seen::of).collect();
        let own = complaints_about(&recording);
        assert!(
            own.lines().all(|line| line.contains("non monotonically increasing dts")),
            "{} does not decode as recorded: {own}",
            capture.name
        );
        let is_odd = !own.is_empty();
        // Of the odd ones, what lies behind the damage too.
        let moments = if is_odd { recording.len() } else { moments(&recording) };
        let mut outcomes: BTreeMap<Vec<u8>, usize> = BTreeMap::new();
        for joined_at in 0..moments {
            let received = watch(&capture.tags, joined_at, protocol, Start::Gop);
            outcomes.entry(received).or_insert(joined_at);
        }
        for (received, joined_at) in outcomes {
            let given = complaints_about(&read(protocol, &received));
            let expected = match is_odd {
                true => complaints_about(&piece(&recording, joined_at)),
                false => String::new(),
            };
            decoded += 1;
            without_complaint += usize::from(given.is_empty());
            if is_odd {
                let count = given.lines().count();
                println!("{} joined at tag {joined_at}: {count} complaints", capture.name);
            }
            if given != expected {
                wrong.push(format!(
                    "{} joined at tag {joined_at}: {given}instead of: {expected}",
                    capture.name
                ));
            }
        }
        std::fs::remove_file(&file).unwrap();
    }
    println!("{protocol:?}: {decoded} different outcomes decoded, {without_complaint} in silence");
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
    assert!(without_complaint > 60, "only {without_complaint} of {decoded} outcomes");
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
