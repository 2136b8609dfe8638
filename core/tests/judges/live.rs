//! Encoders and players of others, live: they publish to the built server, and play from it.

use std::path::{Path, PathBuf};

use super::programs::{Done, Program, Server};
use super::{ffmpeg, scratch};

const KEY: &str = "live/x";
pub(crate) const OBS: &str = "obs-720p30-cbr2500.flv";

/// A second and a half of what both captures of OBS have: 30 frames per second.
const SOME_FRAMES: u64 = 45;

pub(crate) fn testdata(file: &str) -> String {
    let path = PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("../testdata/flv").join(file);
    path.to_str().unwrap().to_owned()
}

/// ffmpeg publishes a recording as it is, at its own pace; for ever, or for some seconds.
pub(crate) fn publish(server: &Server, file: &str, seconds: Option<u32>) -> Program {
    let repeat = seconds.map_or("-stream_loop -1".to_owned(), |seconds| format!("-t {seconds}"));
    let enhanced = match file.starts_with("enh-") {
        true => "-rtmp_enhanced_codecs hvc1,av01,vp09,Opus,fLaC",
        false => "",
    };
    let (input, url) = (testdata(file), server.rtmp(KEY));
    let input = format!("-nostdin -v error -re {repeat} -i {input}");
    Program::start(&ffmpeg(file), &format!("{input} -c copy -f flv {enhanced} {url}"))
}

/// ffmpeg decodes what it is sent, for some seconds or until the stream ends.
pub(crate) fn play(ffmpeg: &str, url: &str, seconds: Option<u32>) -> Program {
    let limit = seconds.map(|seconds| format!("-t {seconds}")).unwrap_or_default();
    let input = format!("-nostdin -v error -xerror -i {url} {limit} -map 0:v? -map 0:a?");
    // Milliseconds are kept, as in `joins`.
    let output = "-enc_time_base:v 1:1000 -progress pipe:1 -f null -";
    Program::start(ffmpeg, &format!("{input} {output}"))
}

fn play_by_both(server: &Server, file: &str, seconds: Option<u32>) -> [Program; 2] {
    server.urls(KEY).map(|url| play(&ffmpeg(file), &url, seconds))
}

#[test]
#[ignore = "needs ffmpeg: cargo ci judges"]
fn ffmpeg_plays_what_ffmpeg_publishes() {
    let server = Server::start("");
    let _publisher = publish(&server, OBS, None);
    server.wait_until_live(KEY);
    for player in play_by_both(&server, OBS, Some(4)) {
        player.finish().assert_decoded(100);
    }
}

#[test]
#[ignore = "needs ffmpeg: cargo ci judges"]
fn ffmpeg_plays_a_replayed_recording_across_its_ends() {
    let file = "obs-360p30-base.flv";
    let server = Server::start(&format!("--replay {} --replay-as {KEY}", testdata(file)));
    server.wait_until_live(KEY);
    // More than two times 3.6 seconds.
    for player in play_by_both(&server, file, Some(8)) {
        player.finish().assert_decoded(220);
    }
}

/// Only a proper goodbye ends a stream that has a minute of grace.
fn gstreamer_publishes(sink: &str) {
    let server = Server::start("--set hub.grace_ms=60000");
    // Exact time stamps, paced behind the source: those of live sources are what a busy machine's
    // clock says, and two frames may then have one millisecond.
    let video = "videotestsrc num-buffers=120 \
                 ! video/x-raw,width=320,height=180,framerate=30/1 ! identity sync=true \
                 ! x264enc tune=zerolatency speed-preset=ultrafast key-int-max=30 \
                 ! h264parse ! queue ! mux.";
    let audio = "audiotestsrc num-buffers=172 samplesperbuffer=1024 \
                 ! audio/x-raw,rate=44100,channels=2 ! identity sync=true ! avenc_aac ! aacparse ! queue ! mux.";
    let output = format!("flvmux name=mux streamable=true ! {sink} location={}", server.rtmp(KEY));
    let publisher = Program::start("gst-launch-1.0", &format!("-q {video} {audio} {output}"));
    server.wait_until_live(KEY);
    // Decoded from files: GStreamer repeats its metadata all the time, and ffmpeg 5 goes astray in
    // them when one comes in two reads from what it cannot seek in.
    let files = ["rtmp", "http"].map(|protocol| scratch(&format!("{sink}-{protocol}.flv")));
    let (url, file) = (server.rtmp(KEY), files[0].to_str().unwrap());
    let recording =
        Program::start("rtmpdump", &format!("--quiet --live --rtmp {url} --flv {file}"));
    std::fs::write(&files[1], server.get("/live/x.flv")).unwrap();
    publisher.finish().assert_content();
    recording.finish().assert_content();
    // flvmux gives sound that is late on a busy machine the time of what it wrote last: the file
    // it writes beside the stream has the same two frames in one millisecond.
    let same_time = "non monotonically increasing dts to muxer";
    for file in files {
        let done = play("ffmpeg", file.to_str().unwrap(), None).finish();
        done.without(same_time).assert_decoded(SOME_FRAMES);
    }
    server.wait_until(KEY, serde_json::Value::is_null);
}

#[test]
#[ignore = "needs ffmpeg, gstreamer, rtmpdump: cargo ci judges"]
fn gstreamer_publishes_and_ends_by_rtmp2sink() {
    gstreamer_publishes("rtmp2sink");
}

#[test]
#[ignore = "needs ffmpeg, gstreamer, rtmpdump: cargo ci judges"]
fn gstreamer_publishes_and_ends_by_librtmp() {
    gstreamer_publishes("rtmpsink");
}

/// Enhanced RTMP, there and back.
fn ffmpeg_new_plays_what_it_publishes(file: &str) {
    let server = Server::start("");
    let _publisher = publish(&server, file, None);
    server.wait_until_live(KEY);
    for player in play_by_both(&server, file, Some(3)) {
        player.finish().assert_decoded(60);
    }
}

#[test]
#[ignore = "needs ffmpeg-new: cargo ci judges"]
fn ffmpeg_publishes_and_plays_hevc() {
    ffmpeg_new_plays_what_it_publishes("enh-hevc-aac.flv");
}

#[test]
#[ignore = "needs ffmpeg-new: cargo ci judges"]
fn ffmpeg_publishes_and_plays_av1_and_opus() {
    ffmpeg_new_plays_what_it_publishes("enh-av1-opus.flv");
}

fn assert_valid_flv(file: &Path) {
    let file = file.to_str().unwrap();
    let checked = Program::start("flvmeta", &format!("--check --level=error {file}")).finish();
    checked.assert_content();
    let count = "-v error -count_packets -show_entries stream=codec_name,nb_read_packets -of csv";
    let probed = Program::start("ffprobe", &format!("{count} {file}")).finish();
    probed.assert_content();
    let said = String::from_utf8(probed.stdout).unwrap();
    for codec in ["h264", "aac"] {
        let line = said.lines().find(|line| line.contains(codec)).expect(codec);
        let packets: u64 = line.rsplit(',').next().unwrap().parse().unwrap();
        assert!(packets >= SOME_FRAMES, "{file}: {said}");
    }
}

#[test]
#[ignore = "needs ffmpeg, ffprobe, rtmpdump, flvmeta: cargo ci judges"]
fn rtmpdump_records_what_flvmeta_accepts() {
    let server = Server::start("");
    let publisher = publish(&server, OBS, Some(4));
    server.wait_until_live(KEY);
    let file = scratch("rtmpdump.flv");
    let url = server.rtmp(KEY);
    let player = Program::start(
        "rtmpdump",
        &format!("--quiet --live --rtmp {url} --flv {}", file.to_str().unwrap()),
    );
    publisher.finish().assert_content();
    player.finish().assert_content();
    assert_valid_flv(&file);
}

#[test]
#[ignore = "needs ffmpeg, ffprobe, flvmeta: cargo ci judges"]
fn flvmeta_accepts_the_body_of_an_http_response() {
    let server = Server::start("");
    let publisher = publish(&server, OBS, Some(4));
    server.wait_until_live(KEY);
    let file = scratch("http.flv");
    std::fs::write(&file, server.get("/live/x.flv")).unwrap();
    publisher.finish().assert_content();
    assert_valid_flv(&file);
}

#[test]
#[ignore = "needs ffmpeg, gstreamer: cargo ci judges"]
fn gstreamer_plays_by_rtmp2src() {
    let server = Server::start(&format!("--replay {} --replay-as {KEY}", testdata(OBS)));
    server.wait_until_live(KEY);
    let source =
        format!("rtmp2src location={} num-buffers=200 ! flvdemux name=d", server.rtmp(KEY));
    // Small pictures, to be counted by their bytes.
    let video = "d.video ! queue ! h264parse ! avdec_h264 ! videoscale add-borders=false \
                 ! videoconvert ! video/x-raw,format=GRAY8,width=16,height=16 ! fdsink";
    let audio = "d.audio ! queue ! aacparse ! avdec_aac ! fakesink";
    let done = Program::start("gst-launch-1.0", &format!("-q {source} {video} {audio}")).finish();
    done.assert_content();
    let frames = done.stdout.len() / (16 * 16);
    assert!(frames as u64 >= SOME_FRAMES, "{frames} frames");
}

#[test]
#[ignore = "needs ffmpeg: cargo ci judges"]
fn players_stay_when_a_killed_encoder_returns() {
    let server = Server::start("");
    let publisher = publish(&server, OBS, None);
    server.wait_until_live(KEY);
    let players = play_by_both(&server, OBS, None);
    server.wait_for_subscribers(KEY, players.len());
    let tags = |stream: &serde_json::Value| stream["published_tags"].as_u64().unwrap_or(0);
    server.wait_until(KEY, |stream| tags(stream) > 150);
    publisher.kill();
    server.wait_until(KEY, |stream| stream["state"] != "live");
    server.wait_for_subscribers(KEY, players.len());
    let publisher = publish(&server, OBS, Some(4));
    server.wait_until(KEY, |stream| stream["session"] == 2 && stream["state"] == "live");
    server.wait_for_subscribers(KEY, players.len());
    publisher.finish().assert_content();
    // Two seconds of the first, and all four of the second.
    for player in players {
        player.finish().assert_decoded(30 + 110);
    }
}

#[test]
#[ignore = "needs ffmpeg: cargo ci judges"]
fn a_terminated_server_ends_its_players_properly() {
    let server = Server::start(&format!("--replay {} --replay-as {KEY}", testdata(OBS)));
    server.wait_until_live(KEY);
    let players = play_by_both(&server, OBS, None);
    server.wait_for_subscribers(KEY, players.len());
    let before = server.stream(KEY)["published_tags"].as_u64().unwrap();
    // Three seconds of pictures and sound.
    server.wait_until(KEY, |stream| stream["published_tags"].as_u64() > Some(before + 230));
    server.terminate().assert_content();
    for player in players {
        player.finish().assert_decoded(SOME_FRAMES);
    }
}

#[test]
#[ignore = "needs ffmpeg: cargo ci judges"]
fn a_refused_encoder_says_why() {
    let server = Server::start("--set hub.takeover=false");
    let _publisher = publish(&server, OBS, None);
    server.wait_until_live(KEY);
    let Done { code, stderr, .. } = publish(&server, OBS, None).finish();
    assert!(code.is_some_and(|code| code != 0), "{code:?}");
    assert!(stderr.contains("stream live/x is being published already"), "{stderr}");
}
