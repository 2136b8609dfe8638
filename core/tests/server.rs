//! The whole server on a network in memory, with peers that others wrote, in paused time.
#![cfg(feature = "shell")]
#![allow(clippy::unwrap_used, reason = "a test that cannot go on has failed")]

#[path = "common/mem_net.rs"]
mod mem_net;
#[path = "common/peer.rs"]
mod peer;

use std::collections::BTreeMap;
use std::future::Future;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use forebay::config::{Builder, Config};
use forebay::hub::Hub;
use forebay::shell::disk::RealDisk;
use forebay::shell::net::Net as _;
use forebay::shell::{Origin, Server};
use mem_net::MemNet;
use peer::Peer;
use rml_rtmp::sessions::ClientSessionEvent as Event;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::sync::oneshot;
use tokio::task::JoinHandle;
use tokio::time::{Instant, sleep};

const SECOND: Duration = Duration::from_secs(1);

/// A running server.
struct World {
    net: MemNet,
    hub: Hub,
    stop: oneshot::Sender<()>,
    server: JoinHandle<usize>,
}

impl World {
    async fn new(config: Config) -> Self {
        let net = MemNet::default();
        let server = Server::bind(
            net.clone(),
            RealDisk::default(),
            config,
            Origin { seed: 1, utc: Duration::ZERO },
        )
        .await
        .unwrap();
        let hub = server.hub().clone();
        let (stop, stopped) = oneshot::channel();
        let server = tokio::spawn(server.run(async {
            // Dropped is not told to stop.
            if stopped.await.is_err() {
                std::future::pending::<()>().await;
            }
        }));
        Self { net, hub, stop, server }
    }
}

/// Runs a test with a server, in paused time.
fn simulate<F: Future>(settings: &[&str], test: impl FnOnce(World) -> F) -> F::Output {
    // Viewers are counted, and ticks begin with the first of them: a consumer would be one more.
    let mut settings = ["hls.enabled=false"].iter().chain(settings);
    let builder =
        settings.try_fold(Builder::new(), |builder, setting| builder.set("test", setting));
    let config = builder.and_then(Builder::build).unwrap();
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_time()
        .start_paused(true)
        .build()
        .unwrap();
    runtime.block_on(async { test(World::new(config).await).await })
}

/// Publishes 25 frames a second of `frame_len` bytes with a keyframe every two seconds, and audio
/// behind each, until it is told to stop or its time is over.
async fn studio(net: MemNet, name: &'static str, seconds: u32, frame_len: usize) -> Peer {
    let mut peer = Peer::publish(&net, name).await;
    peer.send_audio(0, vec![0xAF, 0, 0x12, 0x10]).await;
    peer.send_video(0, vec![0x17, 0, 0, 0, 0, 1, 2, 3]).await;
    let start = Instant::now();
    for frame in 0..seconds * 25 {
        tokio::time::sleep_until(start + Duration::from_millis(40) * frame).await;
        let ms = frame * 40;
        let mut payload = vec![if frame % 50 == 0 { 0x17 } else { 0x27 }, 1, 0, 0, 0];
        payload.resize(frame_len, frame as u8);
        peer.send_video(ms, payload).await;
        peer.send_audio(ms, vec![0xAF, 1, frame as u8]).await;
    }
    peer
}

/// What a player has received.
#[derive(Default, Clone)]
struct Played {
    /// Decode times of the pictures; `true` for a keyframe.
    pictures: Vec<(u32, bool)>,
    sounds: Vec<u32>,
    headers: usize,
    closed: bool,
}

impl Played {
    fn add(&mut self, event: Event) {
        match event {
            Event::VideoDataReceived { data, .. } if data[1] == 0 => self.headers += 1,
            Event::VideoDataReceived { data, timestamp } => {
                self.pictures.push((timestamp.value, data[0] == 0x17))
            }
            Event::AudioDataReceived { data, .. } if data[1] == 0 => self.headers += 1,
            Event::AudioDataReceived { timestamp, .. } => self.sounds.push(timestamp.value),
            _ => {}
        }
    }

    /// Where pictures are missing: before, after, and whether the one after is a keyframe.
    fn gaps(&self) -> Vec<(u32, u32, bool)> {
        let pairs = self.pictures.windows(2).filter(|pair| pair[1].0 != pair[0].0 + 40);
        pairs.map(|pair| (pair[0].0, pair[1].0, pair[1].1)).collect()
    }
}

/// A player that reads all the time, except between two moments.
fn player(net: &MemNet, pause: Option<(Duration, Duration)>) -> Arc<Mutex<Played>> {
    let played = Arc::new(Mutex::new(Played::default()));
    let (net, mine) = (net.clone(), played.clone());
    tokio::spawn(async move {
        let start = Instant::now();
        let mut peer = Peer::play(&net, "cam").await;
        let mut pause = pause;
        while let Some(event) = peer.next().await {
            mine.lock().unwrap().add(event);
            if let Some((from, to)) = pause
                && start.elapsed() >= from
            {
                tokio::time::sleep_until(start + to).await;
                pause = None;
            }
        }
        mine.lock().unwrap().closed = true;
    });
    played
}

fn lag_by_peer(hub: &Hub) -> BTreeMap<String, forebay::hub::Counters> {
    let topics = hub.topics();
    let subscribers = topics.iter().flat_map(|topic| &topic.subscribers);
    subscribers.map(|subscriber| (subscriber.peer.clone(), subscriber.counters)).collect()
}

#[test]
fn twenty_viewers_notice_nothing_of_one_that_stops_reading_for_a_minute() {
    simulate(&[], |world| async move {
        // 12 Mbit/s, so that the stuck one's socket is full at once.
        let publishing = tokio::spawn(studio(world.net.clone(), "cam", 100, 60_000));
        sleep(SECOND).await;
        let healthy: Vec<_> = (0..20).map(|_| player(&world.net, None)).collect();
        let slow = player(&world.net, Some((10 * SECOND, 70 * SECOND)));

        let held = || {
            let topic = &world.hub.topics()[0];
            (topic.pinned_bytes, topic.log_bytes)
        };
        sleep(20 * SECOND).await;
        let early = held();
        sleep(45 * SECOND).await;
        let late = held();
        assert!(
            late.0 <= early.0 * 11 / 10 && late.1 <= early.1 * 11 / 10,
            "memory grew: {early:?} to {late:?}"
        );

        sleep(33 * SECOND).await;
        let _studio = publishing.await.unwrap();
        sleep(SECOND).await;
        let accounts = lag_by_peer(&world.hub);
        assert_eq!(accounts.len(), 21);
        assert!(
            accounts.values().all(|counters| counters.is_balanced() && counters.unsent_tags == 0)
        );
        let lagged: Vec<_> =
            accounts.values().filter(|counters| counters.overflow_tags() > 0).collect();
        assert_eq!(lagged.len(), 1, "only the one that stopped");

        for played in &healthy {
            let played = played.lock().unwrap();
            assert_eq!(played.gaps(), []);
            assert_eq!(played.pictures.last().unwrap().0, 99_960);
        }
        let played = slow.lock().unwrap().clone();
        let gaps = played.gaps();
        assert_eq!(gaps.len(), 1, "{gaps:?}");
        let (before, after, is_keyframe) = gaps[0];
        assert!(is_keyframe, "it resumed at {after}, which is no keyframe");
        assert!(before < 13_000 && after >= 68_000, "{gaps:?}");
        // What the player missed, counted by itself, is what the server says it lost.
        let missed_pictures = u64::from((after - before) / 40 - 1);
        let missed_sounds = u64::from((played.sounds.last().unwrap() - played.sounds[0]) / 40 + 1)
            - played.sounds.len() as u64;
        assert_eq!(lagged[0].overflow_tags(), missed_pictures + missed_sounds);
        assert_eq!(lagged[0].delivered_tags, (played.pictures.len() + played.sounds.len()) as u64);
    });
}

#[test]
fn a_joiner_has_its_keyframe_in_the_answer_to_play() {
    simulate(&[], |world| async move {
        let _studio = tokio::spawn(studio(world.net.clone(), "cam", 20, 3_000));
        sleep(3 * SECOND).await;
        let mut peer = Peer::connect(&world.net).await;
        // Everything that the play is answered with, up to the newest tag, without any time passing.
        let asked = Instant::now();
        peer.request_play("cam").await;
        let mut played = Played::default();
        while played.pictures.len() < 25 {
            played.add(peer.next().await.unwrap());
        }
        assert_eq!(asked.elapsed(), Duration::ZERO, "the joiner waited");
        assert_eq!(played.headers, 2);
        assert!(played.pictures[0].1, "the first picture is no keyframe");
    });
}

#[test]
fn a_stuck_viewer_is_let_go() {
    simulate(&["play.write_stall_timeout_ms=30000"], |world| async move {
        let _studio = tokio::spawn(studio(world.net.clone(), "cam", 100, 60_000));
        sleep(SECOND).await;
        let _stuck = Peer::play(&world.net, "cam").await;
        sleep(10 * SECOND).await;
        assert_eq!(lag_by_peer(&world.hub).len(), 1);
        sleep(30 * SECOND).await;
        assert_eq!(lag_by_peer(&world.hub).len(), 0, "it is still there");
    });
}

#[test]
fn viewers_stay_when_their_publisher_vanishes_and_returns() {
    simulate(&[], |world| async move {
        let first = studio(world.net.clone(), "cam", 1, 1_000).await;
        let watching = player(&world.net, None);
        sleep(SECOND).await;
        drop(first);
        sleep(5 * SECOND).await;
        assert!(!watching.lock().unwrap().closed);
        let _second = studio(world.net.clone(), "cam", 3, 1_000).await;
        sleep(SECOND).await;
        let played = watching.lock().unwrap().clone();
        assert_eq!(played.headers, 4, "the headers of both publishes");
        let gaps = played.gaps();
        assert_eq!(gaps.len(), 1);
        let (before, after, is_keyframe) = gaps[0];
        assert!(is_keyframe && after > before, "time goes on at a keyframe: {gaps:?}");
    });
}

#[test]
fn viewers_are_told_when_the_grace_period_is_over() {
    simulate(&["hub.grace_ms=5000"], |world| async move {
        let first = studio(world.net.clone(), "cam", 1, 1_000).await;
        let mut viewer = Peer::play(&world.net, "cam").await;
        drop(first);
        sleep(4 * SECOND).await;
        assert!(world.hub.is_live(&"live/cam".into()));
        sleep(2 * SECOND).await;
        assert!(!world.hub.is_live(&"live/cam".into()));
        // What it is told in which bytes: conformance row CM-9. Then it may play something else.
        let ended = Instant::now();
        while viewer.next().await.is_some() {}
        assert!(ended.elapsed() <= 16 * SECOND, "{:?}", ended.elapsed());
    });
}

#[test]
fn a_publisher_that_stops_properly_ends_the_stream_at_once() {
    simulate(&[], |world| async move {
        let first = studio(world.net.clone(), "cam", 1, 1_000).await;
        let watching = player(&world.net, None);
        sleep(SECOND).await;
        first.stop_publishing().await;
        sleep(Duration::from_millis(1)).await;
        assert!(!world.hub.is_live(&"live/cam".into()));
        sleep(20 * SECOND).await;
        assert!(watching.lock().unwrap().closed);
        assert_eq!(watching.lock().unwrap().pictures.len(), 25);
        assert!(world.hub.topics().is_empty(), "something is left");
    });
}

#[test]
fn a_silent_publisher_loses_its_name() {
    simulate(&["hub.grace_ms=0"], |world| async move {
        let _silent = studio(world.net.clone(), "cam", 1, 1_000).await;
        sleep(19 * SECOND).await;
        assert!(world.hub.is_live(&"live/cam".into()));
        sleep(2 * SECOND).await;
        assert!(!world.hub.is_live(&"live/cam".into()));
    });
}

#[test]
fn a_second_publisher_takes_over_and_the_first_is_told() {
    simulate(&[], |world| async move {
        let mut first = studio(world.net.clone(), "cam", 1, 1_000).await;
        let watching = player(&world.net, None);
        sleep(SECOND).await;
        let _second = studio(world.net.clone(), "cam", 2, 1_000).await;
        // The first hears it although it is silent, and its connection is closed.
        let told = Instant::now();
        while first.next().await.is_some() {}
        assert_eq!(told.elapsed(), Duration::ZERO, "it was not told, it timed out");
        sleep(SECOND).await;
        let played = watching.lock().unwrap().clone();
        assert_eq!(played.pictures.len(), 75);
        assert_eq!(played.headers, 4);
        assert!(!played.closed);
    });
}

#[test]
fn a_second_publisher_is_refused_if_so_configured() {
    simulate(&["hub.takeover=false"], |world| async move {
        let first = studio(world.net.clone(), "cam", 1, 1_000).await;
        let refused = tokio::spawn(studio(world.net.clone(), "cam", 1, 1_000));
        assert!(refused.await.is_err(), "rml_rtmp's session was accepted");
        assert!(world.hub.is_live(&"live/cam".into()));
        drop(first);
    });
}

#[test]
fn a_player_waits_for_a_publisher_and_not_for_ever() {
    simulate(&["play.wait_ms=5000"], |world| async move {
        let watching = player(&world.net, None);
        sleep(3 * SECOND).await;
        let _studio = tokio::spawn(studio(world.net.clone(), "cam", 5, 1_000));
        sleep(2 * SECOND).await;
        assert!(
            watching.lock().unwrap().pictures[0].1,
            "it saw the stream from its first keyframe"
        );

        let mut nobody = Peer::connect(&world.net).await;
        let asked = Instant::now();
        nobody.request_play("other").await;
        while nobody.next().await.is_some() {}
        assert!(
            asked.elapsed() >= 5 * SECOND && asked.elapsed() < 12 * SECOND,
            "{:?}",
            asked.elapsed()
        );
    });
}

#[test]
fn connections_that_do_nothing_are_closed() {
    simulate(&[], |world| async move {
        let mut silent = world.net.connect("", 1935).await.unwrap();
        let mut http = world.net.connect("", 8080).await.unwrap();
        let start = Instant::now();
        assert_eq!(silent.read(&mut [0; 10]).await.unwrap(), 0);
        assert!(start.elapsed() <= 16 * SECOND);
        http.read_to_end(&mut Vec::new()).await.unwrap();
        assert!(start.elapsed() <= 31 * SECOND);
    });
}

#[test]
fn who_asks_much_and_listens_late_is_heard_to_the_end() {
    simulate(&[], |world| async move {
        let mut peer = world.net.connect("", 1935).await.unwrap();
        peer.write_all(&[3; 1537]).await.unwrap();
        peer.read_exact(&mut [0; 3073]).await.unwrap();
        peer.write_all(&[0; 1536]).await.unwrap();
        let connect = b"\x02\0\x07connect\0\x3f\xf0\0\0\0\0\0\0\x03\0\x03app\x02\0\x04live\0\0\x09";
        let message = |command: &[u8]| {
            let header = [3, 0, 0, 0, 0, 0, command.len() as u8, 20, 0, 0, 0, 0];
            [&header, command].concat()
        };
        peer.write_all(&message(connect)).await.unwrap();
        let question = message(b"\x02\0\x08_checkbw\0\x3f\xf0\0\0\0\0\0\0\x05");
        let (mut listening, mut asking) = tokio::io::split(peer);
        let questions = question.repeat(40_000);
        let asked = tokio::spawn(async move { asking.write_all(&questions).await });
        sleep(SECOND).await;
        assert!(!asked.is_finished(), "the server reads on although nobody listens");
        let listened = tokio::spawn(async move {
            let mut buffer = vec![0; 4096];
            while listening.read(&mut buffer).await.is_ok_and(|len| len > 0) {}
        });
        tokio::time::timeout(SECOND, asked).await.expect("heard again").unwrap().unwrap();
        listened.abort();
    });
}

#[test]
fn one_connection_too_many_is_closed() {
    simulate(&["listen.connections_max=2"], |world| async move {
        let first = world.net.connect("", 1935).await.unwrap();
        let mut second = world.net.connect("", 1935).await.unwrap();
        let mut third = world.net.connect("", 1935).await.unwrap();
        let asked = Instant::now();
        assert_eq!(third.read(&mut [0; 10]).await.unwrap(), 0);
        assert_eq!(asked.elapsed(), Duration::ZERO, "it was let in, and timed out");
        second.write_all(&[3]).await.unwrap();
        drop(first);
        sleep(SECOND).await;
        let mut fourth = world.net.connect("", 1935).await.unwrap();
        fourth.write_all(&[3; 1537]).await.unwrap();
        assert_eq!(fourth.read(&mut [0; 1]).await.unwrap(), 1, "there is room again");
    });
}

#[test]
fn stopping_gives_viewers_what_was_published() {
    // The last third of a second is not shown yet when the server stops: ticks begin with the viewer.
    simulate(&["hub.coalesce_ms=900"], |world| async move {
        let _studio = tokio::spawn(studio(world.net.clone(), "cam", 100, 1_000));
        sleep(2 * SECOND).await;
        let watching = player(&world.net, None);
        sleep(3 * SECOND + Duration::from_millis(20)).await;
        assert_eq!(watching.lock().unwrap().pictures.last().unwrap().0, 4_720, "not shown yet");
        world.stop.send(()).unwrap();
        assert_eq!(world.server.await.unwrap(), 0, "connections were cut");
        let played = watching.lock().unwrap().clone();
        assert!(played.closed);
        assert_eq!(played.gaps(), []);
        assert_eq!(
            played.pictures.last().unwrap().0 / 40,
            5 * 25,
            "the last picture before the stop"
        );
    });
}

async fn get(net: &MemNet, path: &str) -> String {
    let mut stream = net.connect("", 8080).await.unwrap();
    let request = format!("GET {path} HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n");
    stream.write_all(request.as_bytes()).await.unwrap();
    let mut response = Vec::new();
    stream.read_to_end(&mut response).await.unwrap();
    String::from_utf8_lossy(&response).into_owned()
}

#[test]
fn http_answers() {
    simulate(&["play.wait_ms=100"], |world| async move {
        let net = &world.net;
        assert!(get(net, "/healthz").await.ends_with("ok\n"));
        assert!(get(net, "/live/nobody.flv").await.starts_with("HTTP/1.1 404"));
        assert!(get(net, "/favicon.ico").await.starts_with("HTTP/1.1 404"));
        assert!(get(net, "/%FF/x.flv").await.starts_with("HTTP/1.1 400"));
        let _studio = studio(world.net.clone(), "cam", 5, 1_000).await;
        let streams = get(net, "/api/streams").await;
        let body = streams.split_once("\r\n\r\n").unwrap().1;
        let streams: serde_json::Value = serde_json::from_str(body).unwrap();
        let stream = &streams["streams"][0];
        assert_eq!(stream["key"], "live/cam");
        assert_eq!(stream["state"], "live");
        assert_eq!(stream["gop"]["duration_ms"], 2000);
        assert_eq!(stream["cache"]["state"], "picture");
        assert_eq!(stream["audio"]["codec_string"], "mp4a.40.2");
        assert_eq!(stream["memory"]["wire_log_pinned_bytes"], 0, "nobody watches");
        let metrics = get(net, "/metrics").await;
        assert!(metrics.contains("forebay_stream_live{stream=\"live/cam\"} 1"), "{metrics}");
        assert!(
            metrics.contains("forebay_stream_wire_log_pinned_bytes{stream=\"live/cam\"} 0"),
            "{metrics}"
        );
        assert!(metrics.contains("forebay_receive_blocks_allocated_total "), "{metrics}");
        assert!(metrics.contains("forebay_receive_blocks_past_bound_total 0"), "{metrics}");
        assert!(metrics.ends_with("# EOF\n"));
    });
}

#[test]
fn the_page_is_three_files_under_a_strict_policy() {
    simulate(&[], |world| async move {
        let files =
            [("/", "text/html"), ("/page.js", "text/javascript"), ("/page.css", "text/css")];
        for (path, content_type) in files {
            let response = get(&world.net, path).await;
            let (head, body) = response.split_once("\r\n\r\n").unwrap();
            assert!(head.starts_with("HTTP/1.1 200"), "{path}: {head}");
            assert!(head.contains(&format!("content-type: {content_type}")), "{path}: {head}");
            let policy = head.lines().find(|line| line.starts_with("content-security-policy: "));
            let policy = policy.unwrap_or_else(|| panic!("{path}: {head}"));
            assert!(policy.contains("default-src 'none'"), "{policy}");
            assert!(!policy.contains("unsafe"), "{policy}");
            assert!(head.contains("x-content-type-options: nosniff"), "{path}: {head}");
            assert!(body.len() > 1_000, "{path} is empty");
        }
        // What is not there is said in words, as before.
        for path in ["/page.html", "/index.html", "/live/cam", "/page.js/x"] {
            let response = get(&world.net, path).await;
            assert!(response.starts_with("HTTP/1.1 404"), "{path}: {response}");
            assert!(response.contains("there is nothing here"), "{path}: {response}");
        }
    });
}

#[test]
fn http_flv_begins_with_a_true_header_and_ends_with_the_stream() {
    simulate(&[], |world| async move {
        let studio = studio(world.net.clone(), "cam", 3, 1_000).await;
        let net = world.net.clone();
        let watching = tokio::spawn(async move { get(&net, "/live/cam.flv").await });
        sleep(SECOND).await;
        studio.stop_publishing().await;
        let response = watching.await.unwrap();
        assert!(response.starts_with("HTTP/1.1 200 OK\r\n"), "{response}");
        assert!(response.contains("content-type: video/x-flv\r\n"));
        let body = response.split_once("\r\n\r\n").unwrap().1;
        assert!(body.contains("FLV\u{1}\u{5}\0\0\0\u{9}"), "{body:?}");
        assert!(response.ends_with("\r\n0\r\n\r\n"), "the body is not whole");
    });
}

#[test]
fn start_is_chosen_by_the_query() {
    simulate(&[], |world| async move {
        let _studio = tokio::spawn(studio(world.net.clone(), "cam", 20, 1_000));
        sleep(3 * SECOND).await;
        let mut peer = Peer::connect(&world.net).await;
        peer.request_play("cam?start=live").await;
        let mut played = Played::default();
        while played.pictures.is_empty() {
            played.add(peer.next().await.unwrap());
        }
        assert_eq!(played.pictures[0], (4_000, true), "the next keyframe");
        assert!(
            played.sounds[0] >= 3_000 && played.sounds[0] < 3_200,
            "sound from now on: {:?}",
            played.sounds[0]
        );
    });
}
