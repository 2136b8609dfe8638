//! ffmpeg decodes the segments of every recording, and plays a live stream's playlist and its
//! endless file.

use std::path::{Path, PathBuf};
use std::time::Duration;

use forebay::hls::{Delta, Found, Presentation, Settings, State};

use super::joins::complaints;
use super::live::{play, publish};
use super::programs::{Program, Server};
use super::{capture, ffmpeg, scratch};

const KEY: &str = "live/x";
/// What [`write`] makes for a judge: the segments by their playlist, and in one file.
const FILES: [&str; 2] = ["media.m3u8", "joined.mp4"];

/// Writes a presentation's files into a folder, and its segments in one file behind its first init
/// section. Says how many init sections there are.
fn write(presentation: &Presentation, folder: &Path) -> usize {
    let text = presentation.media(Delta::Full);
    let (mut joined, mut inits) = (Vec::new(), 0);
    for line in text.lines() {
        let name = match line.strip_prefix("#EXT-X-MAP:URI=\"") {
            Some(rest) => rest.trim_end_matches('"'),
            None if line.starts_with('#') => continue,
            None => line,
        };
        let bytes: Vec<u8> = match presentation.find(presentation.wanted(name).unwrap()).unwrap() {
            Found::Init(init) => {
                inits += 1;
                init.bytes.to_vec()
            }
            Found::Segment(segment) => {
                segment.parts.iter().flat_map(|part| part.bytes.to_vec()).collect()
            }
            other => panic!("{name}: {other:?}"),
        };
        joined.extend_from_slice(&bytes);
        std::fs::write(folder.join(name), bytes).unwrap();
    }
    std::fs::write(folder.join("media.m3u8"), text).unwrap();
    std::fs::write(folder.join("joined.mp4"), joined).unwrap();
    inits
}

/// The whole life of a recording, in a folder of its own.
fn written(capture: &capture::Capture, name: &str) -> PathBuf {
    let folder = scratch(&format!("{name}-{}", capture.name));
    std::fs::create_dir_all(&folder).unwrap();
    let settings = Settings { window_ms: 600_000, ..Settings::default() };
    let mut presentation = Presentation::new(settings, "x".to_owned(), 1);
    for (index, tag) in capture.tags.iter().enumerate() {
        presentation.push(tag, 1, Duration::from_millis(15 * index as u64));
    }
    presentation.end();
    assert_eq!(presentation.state(), State::Ended, "{}", capture.name);
    assert_eq!(write(&presentation, &folder), 1, "{}", capture.name);
    folder
}

#[test]
#[ignore = "needs ffmpeg: cargo ci judges"]
fn ffmpeg_decodes_the_segments_of_every_recording() {
    let mut wrong = Vec::new();
    for capture in capture::intact() {
        let folder = written(&capture, "hls");
        for file in FILES {
            let said = complaints(&ffmpeg(&capture.name), &folder.join(file));
            if !said.is_empty() {
                wrong.push(format!("{} {file}: {said}", capture.name));
            }
        }
        std::fs::remove_dir_all(&folder).unwrap();
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}

#[test]
#[ignore = "needs ffmpeg of 2023 or later: cargo ci judges"]
fn ffmpeg_decodes_as_many_sounds_of_each_codec_as_were_recorded() {
    let recordings = [
        ("obs-360p30-base.flv", "aac", 166),
        ("ffmpeg5-avc-mp3.flv", "mp3", 155),
        ("enh-avc-opus.flv", "opus", 201),
        ("enh-avc-flac.flv", "flac", 188),
    ];
    for capture in capture::intact() {
        let Some((_, codec, count)) = recordings.iter().find(|(name, ..)| *name == capture.name)
        else {
            continue;
        };
        let folder = written(&capture, "sounds");
        for file in FILES {
            let file = folder.join(file);
            // A line for each that was decoded, behind lines about all of them.
            let arguments =
                format!("-nostdin -v info -xerror -i {} -map 0:a -f framecrc -", file.display());
            let done = Program::start(&ffmpeg(&capture.name), &arguments).finish();
            assert_eq!(done.code, Some(0), "{}: {}", capture.name, done.stderr);
            assert!(done.stderr.contains(&format!("Audio: {codec}")), "{codec}: {}", done.stderr);
            let lines = String::from_utf8(done.stdout).unwrap();
            let sounds = lines.lines().filter(|line| !line.starts_with('#')).count();
            assert_eq!(sounds, *count, "{}", file.display());
        }
        std::fs::remove_dir_all(&folder).unwrap();
    }
}

/// The multivariant playlist, and the file that does not end.
fn urls(server: &Server) -> [String; 2] {
    let flv = server.http(KEY);
    let stream = flv.trim_end_matches(".flv");
    [format!("{stream}/index.m3u8"), format!("{stream}.mp4")]
}

/// By the multivariant playlist, and as one file that does not end.
fn ffmpeg_plays(file: &str) {
    let server = Server::start("");
    let _publisher = publish(&server, file, None);
    server.wait_until_live(KEY);
    for player in urls(&server).map(|url| play(&ffmpeg(file), &url, Some(4))) {
        player.finish().assert_decoded(90);
    }
}

#[test]
#[ignore = "needs ffmpeg: cargo ci judges"]
fn ffmpeg_plays_hls_of_a_live_stream() {
    ffmpeg_plays("obs-720p30-cbr2500.flv");
}

#[test]
#[ignore = "needs ffmpeg of 2023 or later: cargo ci judges"]
fn ffmpeg_new_plays_hls_of_av1_and_opus() {
    ffmpeg_plays("enh-av1-opus.flv");
}

#[test]
#[ignore = "needs ffmpeg of 2023 or later: cargo ci judges"]
fn ffmpeg_new_plays_hls_of_flac() {
    ffmpeg_plays("enh-avc-flac.flv");
}

#[test]
#[ignore = "needs ffmpeg: cargo ci judges"]
fn ffmpeg_plays_hls_of_mp3() {
    ffmpeg_plays("ffmpeg5-avc-mp3.flv");
}

#[test]
#[ignore = "needs ffprobe: cargo ci judges"]
fn ffprobe_finds_both_tracks_by_both_urls() {
    let server = Server::start("");
    let _publisher = publish(&server, "obs-720p30-cbr2500.flv", None);
    server.wait_until_live(KEY);
    for url in urls(&server) {
        let entries = "-v error -show_entries stream=codec_name,width -of csv=p=0";
        let done = Program::start("ffprobe", &format!("{entries} {url}")).finish();
        let said = String::from_utf8_lossy(&done.stdout);
        assert!(said.contains("h264,1280") && said.contains("aac"), "{url}: {said}{}", done.stderr);
        assert!(done.stderr.is_empty(), "{url}: {}", done.stderr);
    }
}
