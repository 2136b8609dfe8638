//! HLS by the whole server, on a network in memory, in paused time.
#![cfg(feature = "shell")]
#![allow(clippy::unwrap_used, reason = "a test that cannot go on has failed")]

#[path = "common/mem_net.rs"]
mod mem_net;
#[allow(dead_code, reason = "players of RTMP are not needed here")]
#[path = "common/peer.rs"]
mod peer;

use std::future::Future;
use std::io::Read as _;
use std::time::Duration;

use forebay::config::Builder;
use forebay::shell::disk::RealDisk;
use forebay::shell::net::Net as _;
use forebay::shell::{Origin, Server};
use mem_net::MemNet;
use peer::Peer;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::task::JoinHandle;
use tokio::time::{Instant, sleep};

const START: Duration = Duration::from_secs(1_700_000_000);
const AVC_CONFIG: &[u8] =
    b"\x17\0\0\0\0\x01\x64\x00\x1f\xff\xe1\x00\x04\x67\x64\x00\x1f\x01\x00\x02\x68\xee";

/// Runs a test with a server, in paused time.
fn simulate<F: Future>(settings: &[&str], test: impl FnOnce(MemNet) -> F) -> F::Output {
    let builder =
        settings.iter().try_fold(Builder::new(), |builder, setting| builder.set("test", setting));
    let config = builder.and_then(Builder::build).unwrap();
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_time()
        .start_paused(true)
        .build()
        .unwrap();
    runtime.block_on(async {
        let net = MemNet::default();
        let origin = Origin { seed: 0xABCD, utc: START };
        let server = Server::bind(net.clone(), RealDisk::default(), config, origin).await.unwrap();
        let server = tokio::spawn(server.run(std::future::pending()));
        let outcome = test(net).await;
        server.abort();
        outcome
    })
}

/// Publishes 25 pictures a second, every fiftieth a keyframe, until it is aborted.
fn camera(net: &MemNet, name: &'static str) -> JoinHandle<()> {
    let net = net.clone();
    tokio::spawn(async move {
        let mut peer = Peer::publish(&net, name).await;
        peer.send_video(0, AVC_CONFIG.to_vec()).await;
        for frame in 0u32.. {
            let first = if frame % 50 == 0 { 0x17 } else { 0x27 };
            let mut payload = vec![first, 1, 0, 0, 0, 0, 0, 1, 0];
            payload.resize(9 + 0x100, frame as u8);
            peer.send_video(frame * 40, payload).await;
            sleep(Duration::from_millis(40)).await;
        }
    })
}

struct Response {
    status: u16,
    head: String,
    body: Vec<u8>,
}

impl Response {
    fn text(&self) -> String {
        match self.head.contains("content-encoding: gzip") {
            false => String::from_utf8(self.body.clone()).unwrap(),
            true => {
                let mut text = String::new();
                flate2::read::GzDecoder::new(&*self.body).read_to_string(&mut text).unwrap();
                text
            }
        }
    }
}

async fn get(net: &MemNet, path: &str) -> Response {
    ask(net, "GET", path, "").await
}

async fn ask(net: &MemNet, method: &str, path: &str, headers: &str) -> Response {
    let mut stream = net.connect("", 8080).await.unwrap();
    let request =
        format!("{method} {path} HTTP/1.1\r\nHost: x\r\nConnection: close\r\n{headers}\r\n");
    stream.write_all(request.as_bytes()).await.unwrap();
    let mut response = Vec::new();
    stream.read_to_end(&mut response).await.unwrap();
    let head_len = response.windows(4).position(|bytes| bytes == b"\r\n\r\n").unwrap() + 4;
    let body = response.split_off(head_len);
    let head = String::from_utf8(response).unwrap().to_lowercase();
    Response { status: head[9..12].parse().unwrap(), head, body }
}

fn names<'a>(playlist: &'a str, prefix: &'a str) -> impl Iterator<Item = &'a str> {
    playlist
        .split(['"', '\n', ','])
        .filter(move |word| word.starts_with(prefix) && word.ends_with(".m4s"))
}

#[test]
fn a_live_stream_is_had_by_its_playlists_and_their_names() {
    simulate(&[], |net| async move {
        let _camera = camera(&net, "cam");
        sleep(Duration::from_millis(50)).await;
        // Asked before there is a segment: the answer waits for it.
        let index = get(&net, "/live/cam/index.m3u8").await;
        assert_eq!(index.status, 200, "{}", index.head);
        assert!(index.head.contains("content-type: application/vnd.apple.mpegurl"));
        assert!(index.head.contains("access-control-allow-origin: *"));
        assert!(index.text().contains("CODECS=\"avc1.64001f\""), "{}", index.text());
        sleep(Duration::from_secs(7)).await;
        let media = get(&net, "/live/cam/media.m3u8").await.text();
        let segment = names(&media, "seg-").last().unwrap();
        let whole = get(&net, &format!("/live/cam/{segment}")).await;
        assert_eq!(whole.status, 200);
        assert!(whole.head.contains("immutable") && whole.head.contains("content-type: video/mp4"));
        assert!(whole.head.contains(&format!("content-length: {}", whole.body.len())));
        let number = segment.rsplit('-').next().unwrap().trim_end_matches(".m4s");
        let prefix =
            format!("{}-{number}-", segment.rsplit_once('-').unwrap().0.replace("seg", "part"));
        let mut joined = Vec::new();
        for part in names(&media, &prefix) {
            joined.extend(get(&net, &format!("/live/cam/{part}")).await.body);
        }
        assert!(joined == whole.body, "parts joined are their segment");
        let init =
            get(&net, &format!("/live/cam/{}", names(&media, "init-").next().unwrap())).await;
        assert_eq!(&init.body[4..8], b"ftyp");
        let zipped =
            ask(&net, "GET", "/live/cam/media.m3u8", "Accept-Encoding: br, gzip\r\n").await;
        assert!(zipped.head.contains("content-encoding: gzip"), "{}", zipped.head);
        assert!(zipped.text().starts_with("#EXTM3U\n"));
        let head = ask(&net, "HEAD", "/live/cam/media.m3u8", "").await;
        assert_eq!((head.status, head.body.len()), (200, 0));
    });
}

#[test]
fn a_hinted_part_is_answered_when_it_is_there_and_an_unknown_name_at_once() {
    simulate(&[], |net| async move {
        let _camera = camera(&net, "cam");
        sleep(Duration::from_millis(5_100)).await;
        let media = get(&net, "/live/cam/media.m3u8").await.text();
        let hint = media.lines().last().unwrap().split('"').nth(1).unwrap().to_owned();
        let before = Instant::now();
        let part = get(&net, &format!("/live/cam/{hint}")).await;
        let waited = before.elapsed();
        assert_eq!(part.status, 200);
        assert!(waited > Duration::ZERO && waited <= Duration::from_millis(300), "{waited:?}");
        let before = Instant::now();
        for name in ["part-x-1-1.m4s", "seg-1.m4s", &hint.replace(".m4s", "0.m4s")] {
            assert_eq!(get(&net, &format!("/live/cam/{name}")).await.status, 404, "{name}");
        }
        assert_eq!(get(&net, "/live/nobody/media.m3u8").await.status, 404);
        assert_eq!(before.elapsed(), Duration::ZERO);
    });
}

#[test]
fn a_blocking_reload_is_held_until_its_part_is_listed() {
    simulate(&[], |net| async move {
        let _camera = camera(&net, "cam");
        sleep(Duration::from_millis(5_100)).await;
        let media = get(&net, "/live/cam/media.m3u8").await.text();
        let hint = media.lines().last().unwrap().split('"').nth(1).unwrap();
        let mut words = hint.trim_end_matches(".m4s").rsplit('-');
        let (part, number) = (words.next().unwrap(), words.next().unwrap());
        let before = Instant::now();
        let path = format!("/live/cam/media.m3u8?_HLS_msn={number}&_HLS_part={part}");
        let reloaded = get(&net, &path).await;
        assert!(before.elapsed() > Duration::ZERO);
        assert!(names(&reloaded.text(), "part-").any(|name| name == hint), "{}", reloaded.text());
        for (query, status) in
            [("_HLS_part=1", 400), ("_HLS_msn=99999999999", 400), ("_HLS_x=1", 200)]
        {
            assert_eq!(get(&net, &format!("/live/cam/media.m3u8?{query}")).await.status, status);
        }
    });
}

#[test]
fn a_stream_that_ends_ends_its_playlist_and_is_gone_some_time_later() {
    simulate(&["hub.grace_ms=0"], |net| async move {
        let camera = camera(&net, "cam");
        sleep(Duration::from_millis(7_100)).await;
        camera.abort();
        sleep(Duration::from_secs(1)).await;
        let media = get(&net, "/live/cam/media.m3u8?_HLS_msn=99999999999").await.text();
        assert!(media.ends_with("#EXT-X-ENDLIST\n"), "{media}");
        let last = names(&media, "seg-").last().unwrap();
        assert_eq!(get(&net, &format!("/live/cam/{last}")).await.status, 200);
        let mp4 = get(&net, "/live/cam.mp4").await;
        assert_eq!(mp4.status, 404);
        sleep(Duration::from_secs(120)).await;
        assert_eq!(get(&net, "/live/cam/media.m3u8").await.status, 404);
    });
}

#[test]
fn another_life_of_a_stream_has_higher_numbers_and_other_names() {
    simulate(&["hub.grace_ms=0"], |net| async move {
        let first = camera(&net, "cam");
        sleep(Duration::from_millis(7_100)).await;
        let before = get(&net, "/live/cam/media.m3u8").await.text();
        first.abort();
        sleep(Duration::from_millis(500)).await;
        let _second = camera(&net, "cam");
        sleep(Duration::from_millis(7_100)).await;
        let after = get(&net, "/live/cam/media.m3u8").await.text();
        let number = |playlist: &str, index: usize| {
            let name = names(playlist, "seg-").nth(index).unwrap();
            name.trim_end_matches(".m4s").rsplit('-').next().unwrap().parse::<u64>().unwrap()
        };
        assert!(number(&after, 0) > number(&before, 2), "{before}{after}");
        let old: Vec<_> = names(&before, "seg-").collect();
        assert!(names(&after, "seg-").all(|name| !old.contains(&name)));
        for name in old {
            assert_eq!(get(&net, &format!("/live/cam/{name}")).await.status, 200, "{name}");
        }
    });
}

#[test]
fn the_endless_file_begins_with_a_keyframe_and_ends_with_the_stream() {
    simulate(&["hub.grace_ms=0"], |net| async move {
        let camera = camera(&net, "cam");
        sleep(Duration::from_millis(5_100)).await;
        let watching = {
            let net = net.clone();
            tokio::spawn(async move { get(&net, "/live/cam.mp4").await })
        };
        sleep(Duration::from_secs(4)).await;
        camera.abort();
        let mp4 = watching.await.unwrap();
        assert_eq!(mp4.status, 200);
        assert!(mp4.head.contains("content-type: video/mp4"));
        let find = |kind: &[u8]| mp4.body.windows(4).position(|bytes| bytes == kind).unwrap();
        assert!(find(b"ftyp") < find(b"moov") && find(b"moov") < find(b"moof"));
        // From the keyframe at 4 s to the end at 9.1 s.
        let pictures = mp4.body.windows(3).filter(|bytes| *bytes == [0, 1, 0]).count();
        assert!(pictures >= 120, "{pictures}");
    });
}

#[test]
fn a_codec_without_a_place_in_mp4_is_a_reason_and_plays_elsewhere() {
    simulate(&[], |net| async move {
        let mut peer = Peer::publish(&net, "old").await;
        for frame in 0..50 {
            peer.send_video(frame * 40, vec![0x12, 1, 2, 3]).await;
            sleep(Duration::from_millis(40)).await;
        }
        for path in ["/live/old/index.m3u8", "/live/old/media.m3u8", "/live/old.mp4"] {
            let response = get(&net, path).await;
            assert_eq!(response.status, 415, "{path}");
            assert!(response.text().contains("the video is h263"), "{}", response.text());
        }
        let streams: serde_json::Value =
            serde_json::from_str(&get(&net, "/api/streams").await.text()).unwrap();
        assert_eq!(streams["streams"][0]["hls"]["state"], "unsupported", "{streams}");
        assert_eq!(streams["streams"][0]["state"], "live");
    });
}

#[test]
fn hls_that_is_off_says_so() {
    simulate(&["hls.enabled=false"], |net| async move {
        let _camera = camera(&net, "cam");
        sleep(Duration::from_secs(3)).await;
        let response = get(&net, "/live/cam/index.m3u8").await;
        assert_eq!(response.status, 404);
        assert!(response.text().contains("hls.enabled"), "{}", response.text());
    });
}

#[test]
fn more_requests_than_may_wait_are_refused() {
    simulate(&["hls.blocked_requests_max=3"], |net| async move {
        let _camera = camera(&net, "cam");
        sleep(Duration::from_millis(100)).await;
        let asking: Vec<_> = (0..5)
            .map(|_| {
                let net = net.clone();
                tokio::spawn(async move { get(&net, "/live/cam/index.m3u8").await.status })
            })
            .collect();
        let mut statuses = Vec::new();
        for one in asking {
            statuses.push(one.await.unwrap());
        }
        statuses.sort_unstable();
        assert_eq!(statuses, [200, 200, 200, 503, 503]);
    });
}
