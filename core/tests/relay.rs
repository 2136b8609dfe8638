//! Relays of the whole server on a network in memory, in paused time: to targets that others wrote,
//! and to another server of ours.
#![cfg(feature = "shell")]
#![allow(clippy::unwrap_used, reason = "a test that cannot go on has failed")]

#[path = "common/mem_net.rs"]
mod mem_net;
#[path = "common/peer.rs"]
mod peer;
#[path = "common/target.rs"]
mod target;
#[path = "common/tls.rs"]
mod tls;

use std::future::Future;
use std::time::Duration;

use forebay::config::Builder;
use forebay::hub::Hub;
use forebay::shell::disk::RealDisk;
use forebay::shell::net::Net as _;
use forebay::shell::{Origin, Server};
use mem_net::MemNet;
use peer::Peer;
use rml_rtmp::sessions::ClientSessionEvent as Event;
use serde_json::Value;
use target::{Manners, Seen};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::task::JoinHandle;
use tokio::time::{Instant, sleep, sleep_until};

const SECOND: Duration = Duration::from_secs(1);

/// Runs a test in paused time.
fn simulate<F: Future>(test: impl FnOnce(MemNet) -> F) -> F::Output {
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_time()
        .start_paused(true)
        .build()
        .unwrap();
    runtime.block_on(async { test(MemNet::default()).await })
}

/// A server with this configuration, RTMP and HTTP on these ports.
async fn serve(net: &MemNet, ports: [u16; 2], config: &str) -> (Hub, JoinHandle<usize>) {
    let config = Builder::new()
        .file("forebay.toml", config)
        .and_then(|it| it.set("test", &format!("listen.rtmp=127.0.0.1:{}", ports[0])))
        .and_then(|it| it.set("test", &format!("listen.http=127.0.0.1:{}", ports[1])))
        .and_then(Builder::build)
        .unwrap();
    let origin = Origin { seed: 1, utc: 1_000_000 * SECOND };
    let server = Server::bind(net.clone(), RealDisk::default(), config, origin).await.unwrap();
    (server.hub().clone(), tokio::spawn(server.run(std::future::pending())))
}

/// 25 frames a second with a keyframe each second, and a sound with each.
async fn studio(net: MemNet, seconds: u32, frame_len: usize) {
    studio_with(net, seconds, frame_len, 25).await;
}

/// A keyframe and `gop - 1` others, again and again. They have their time in them.
async fn studio_with(net: MemNet, seconds: u32, frame_len: usize, gop: u32) {
    let mut peer = Peer::publish(&net, "cam").await;
    peer.send_audio(0, vec![0xAF, 0, 0x12, 0x10]).await;
    peer.send_video(0, vec![0x17, 0, 0, 0, 0, 1, 2, 3]).await;
    let start = Instant::now();
    for frame in 0..seconds * 25 {
        sleep_until(start + Duration::from_millis(40) * frame).await;
        let ms = frame * 40;
        let mut payload = vec![if frame % gop == 0 { 0x17 } else { 0x27 }, 1, 0, 0, 0];
        payload.extend(ms.to_be_bytes());
        payload.resize(frame_len, frame as u8);
        peer.send_video(ms, payload).await;
        peer.send_audio(ms, vec![0xAF, 1, frame as u8]).await;
    }
    peer.stop_publishing().await;
}

async fn get(net: &MemNet, port: u16, path: &str) -> String {
    let mut socket = net.connect("", port).await.unwrap();
    let request = format!("GET {path} HTTP/1.0\r\nHost: x\r\n\r\n");
    socket.write_all(request.as_bytes()).await.unwrap();
    let mut response = String::new();
    socket.read_to_string(&mut response).await.unwrap();
    response.split_once("\r\n\r\n").unwrap().1.to_owned()
}

/// What the API says about the relays of the only stream.
async fn relays(net: &MemNet) -> Value {
    let document: Value = serde_json::from_str(&get(net, 8080, "/api/streams").await).unwrap();
    document["streams"][0]["relays"].clone()
}

/// Whatever the connection was, what it was sent can be decoded: headers, a keyframe, no hole.
#[track_caller]
fn assert_clean(seen: &Seen, what: &str) {
    if seen.media.is_empty() {
        return;
    }
    let (headers, frames) = seen.media.split_at(2.min(seen.media.len()));
    assert!(headers.iter().all(|(_, payload)| payload[1] == 0), "{what}: headers first");
    let videos: Vec<_> = frames.iter().filter(|(_, payload)| Seen::is_video(payload)).collect();
    if let Some((at, first)) = frames.first() {
        assert_eq!(first[0], 0x17, "{what}: begins with a keyframe");
        assert!(headers.iter().all(|(ms, _)| ms == at), "{what}: headers at the keyframe's time");
    }
    assert!(videos.windows(2).all(|pair| pair[1].0 == pair[0].0 + 40), "{what}: no hole");
    assert!(
        videos.iter().all(|(ms, payload)| payload[5..9] == ms.to_be_bytes()),
        "{what}: the encoder's own time"
    );
}

#[test]
fn a_stream_is_published_to_another_server_from_its_first_tag_to_its_end() {
    simulate(|net| async move {
        let (_, _source) = serve(
            &net,
            [1935, 8080],
            "[[relay]]\nstream = \"live/*\"\nurl = \"rtmp://second:1936/live\"\n",
        )
        .await;
        let (hub, _second) = serve(&net, [1936, 8081], "").await;
        let publishing = tokio::spawn(studio(net.clone(), 10, 500));
        sleep(3 * SECOND).await;
        let relays = relays(&net).await;
        assert_eq!(relays[0]["state"], "live", "{relays}");
        assert_eq!(relays[0]["target"], "rtmp://second:1936/live/cam");
        assert_eq!((&relays[0]["attempts"], &relays[0]["lag_tags"]), (&1.into(), &0.into()));
        sleep(6 * SECOND).await;
        let topics = hub.topics();
        assert_eq!(topics[0].key.as_str(), "live/cam");
        assert!(topics[0].published_tags >= 448, "{}", topics[0].published_tags);
        publishing.await.unwrap();
        sleep(SECOND).await;
        assert!(hub.topics().is_empty(), "it ends with its stream, without a grace period");
        let metrics = get(&net, 8080, "/metrics").await;
        assert!(!metrics.contains("forebay_relay_attempts{"), "and is forgotten: {metrics}");
    });
}

#[test]
fn r1_r2_a_connection_that_is_cut_at_any_byte_is_followed_by_a_clean_one() {
    simulate(|net| async move {
        // The handshake has 3073 bytes, what follows up to the accepted `publish` some 500.
        const CUTS: usize = 5_000;
        let book = target::listen(&net, 1936, |index| Manners {
            cut_at: (index < CUTS).then_some(index),
            ..Manners::default()
        })
        .await;
        let (_, _source) = serve(
            &net,
            [1935, 8080],
            "[relays]\nbackoff_ms_min = 1\nbackoff_ms_max = 8\n\
             [[relay]]\nstream = \"live/cam\"\nurl = \"rtmp://target:1936/app\"\n",
        )
        .await;
        // Each waits for a keyframe.
        studio_with(net.clone(), 300, 300, 2).await;
        sleep(SECOND).await;
        let book = book.lock().unwrap();
        assert_eq!(book.len(), CUTS + 1, "each was followed by one more");
        let published = book.iter().filter(|seen| seen.stream_key.is_some()).count();
        assert!(published > 1_000, "{published} came as far as `publish`");
        assert!(book.iter().filter(|seen| seen.media.len() > 3).count() > 500, "cut in media");
        for (index, seen) in book.iter().enumerate() {
            assert_clean(seen, &format!("cut at {index}"));
        }
        let last = book.last().unwrap();
        assert_eq!(last.stream_key.as_deref(), Some("cam"));
        assert!(last.is_finished && last.is_closed, "it said goodbye");
        assert_eq!(last.media.last().unwrap().0, 299_960, "and nothing was missing before it");
    });
}

#[test]
fn r3_attempts_are_spaced_by_growing_pauses_and_a_refusal_is_shown() {
    simulate(|net| async move {
        let book = target::listen(&net, 1936, |_| Manners { refuse: true, ..Manners::default() });
        let book = book.await;
        let (_, _source) = serve(
            &net,
            [1935, 8080],
            "[[relay]]\nstream = \"live/cam\"\nurl = \"rtmp://target:1936/app\"\n",
        )
        .await;
        let _publishing = tokio::spawn(studio(net.clone(), 600, 300));
        sleep(10 * SECOND).await;
        let shown = relays(&net).await;
        assert_eq!(shown[0]["state"], "backoff", "{shown}");
        let until = shown[0]["until_unix_ms"].as_u64().unwrap();
        assert!(until > 1_000_010_000 && until < 1_000_080_000, "{until}");
        assert!(shown[0]["reason"].as_str().unwrap().contains("BadName (Already publishing)"));
        sleep(400 * SECOND).await;
        let shown = relays(&net).await;
        assert_eq!(shown[0]["state"], "rejected", "believed by now: {shown}");
        let metrics = get(&net, 8080, "/metrics").await;
        let line = "forebay_relay_state{stream=\"live/cam\",target=\"rtmp://target:1936/app/cam\",\
                    state=\"rejected\"} 1";
        assert!(metrics.contains(line), "{metrics}");
        let times: Vec<_> = book.lock().unwrap().iter().map(|seen| seen.began.unwrap()).collect();
        let pauses: Vec<_> = times.windows(2).map(|pair| pair[1] - pair[0]).collect();
        assert!(pauses.len() >= 6, "{pauses:?}");
        assert!(pauses.is_sorted_by(|a, b| a <= b || *b >= 30 * SECOND), "{pauses:?}");
        assert!(pauses[0] >= SECOND && pauses[0] <= 2 * SECOND, "{pauses:?}");
        assert!(pauses.iter().all(|pause| *pause <= 60 * SECOND), "{pauses:?}");
    });
}

/// What a viewer of the source receives, with the times at which it does.
async fn view(net: MemNet) -> Vec<(Instant, u32)> {
    let mut peer = Peer::play(&net, "cam").await;
    let mut pictures = Vec::new();
    while let Some(event) = peer.next().await {
        if let Event::VideoDataReceived { timestamp, .. } = event {
            pictures.push((Instant::now(), timestamp.value));
        }
    }
    pictures
}

#[test]
fn r5_targets_that_are_dead_stuck_or_rude_cost_viewers_nothing() {
    // Tag by tag: how tags are put together depends on when the first subscriber came.
    const AT_ONCE: &str = "[hub]\ncoalesce_ms = 0\n";
    let run = |config: &'static str| {
        simulate(|net| async move {
            let start = Instant::now();
            let stuck = |_| Manners { is_stuck: true, ..Manners::default() };
            let book = target::listen(&net, 1936, stuck).await;
            let rude =
                |index| Manners { cut_at: Some(4_000 + index * 1_000), ..Manners::default() };
            let rude = target::listen(&net, 1937, rude).await;
            let (hub, _source) = serve(&net, [1935, 8080], &format!("{AT_ONCE}{config}")).await;
            let publishing = tokio::spawn(studio(net.clone(), 60, 10_000));
            sleep(SECOND).await;
            let viewer = tokio::spawn(view(net.clone()));
            sleep(50 * SECOND).await;
            let held = hub.topics()[0].pinned_bytes;
            let shown = if config.is_empty() { Value::Null } else { relays(&net).await };
            publishing.await.unwrap();
            let pictures = viewer.await.unwrap();
            let pictures: Vec<_> = pictures.into_iter().map(|(at, ms)| (at - start, ms)).collect();
            let counts = [book, rude].map(|book| book.lock().unwrap().len());
            (pictures, held, shown, counts)
        })
    };
    let (alone, held_alone, _, _) = run("");
    let (beside, held_beside, shown, counts) =
        run("[[relay]]\nstream = \"*/*\"\nurl = \"rtmp://nobody:9/app\"\n\
         [[relay]]\nstream = \"live/c*\"\nurl = \"rtmp://stuck:1936/app\"\n\
         [[relay]]\nstream = \"live/cam\"\nurl = \"rtmp://rude:1937/app\"\n");
    assert!(alone.len() > 1_400);
    let differs = alone.iter().zip(&beside).find(|(alone, beside)| alone != beside);
    assert_eq!((differs, alone.len()), (None, beside.len()));
    assert_eq!(held_alone, held_beside, "nor memory");
    assert_eq!(shown[0]["state"], "backoff", "{shown}");
    assert!(shown[0]["reason"].as_str().unwrap().contains("cannot connect to nobody:9"));
    assert!(shown[1]["reason"].as_str().unwrap().contains("nothing was taken for 10s"), "{shown}");
    assert!(shown[1]["lag_tags"].as_u64().unwrap() > 0, "{shown}");
    assert!(counts[0] >= 2 && counts[1] >= 4, "{counts:?}");
}

#[test]
fn r7_no_connection_outlives_its_stream_however_slow_its_target_is() {
    simulate(|net| async move {
        let stuck = |_| Manners { is_stuck: true, ..Manners::default() };
        let _book = target::listen(&net, 1936, stuck).await;
        let (hub, _source) = serve(
            &net,
            [1935, 8080],
            "[relays]\nend_timeout_ms = 2000\nwrite_stall_timeout_ms = 60000\n\
             [[relay]]\nstream = \"live/cam\"\nurl = \"rtmp://stuck:1936/app\"\n\
             [[relay]]\nstream = \"live/cam\"\nurl = \"rtmp://nobody:9/app\"\n",
        )
        .await;
        studio(net.clone(), 20, 20_000).await;
        sleep(SECOND).await;
        let topics = hub.topics();
        assert_eq!(topics[0].subscribers.len(), 1, "the one that waits to connect is gone at once");
        sleep(3 * SECOND).await;
        assert!(hub.topics().is_empty(), "and the other one a moment later");
    });
}

#[test]
fn a_key_is_where_it_belongs_and_nowhere_else() {
    struct Secret;
    impl forebay::config::Outside for Secret {
        fn read(&self, path: &str) -> std::io::Result<Vec<u8>> {
            assert_eq!(path, "the.key");
            Ok(b"s3cret\n".to_vec())
        }
        fn variable(&self, _name: &str) -> Option<String> {
            None
        }
    }
    simulate(|net| async move {
        let refuse = |index| Manners { refuse: index == 0, ..Manners::default() };
        let book = target::listen(&net, 1936, refuse).await;
        let text = "[[relay]]\nstream = \"live/*\"\nurl = \"rtmp://target:1936/app\"\nkey_file = \"the.key\"\n";
        let builder = Builder::new().file("forebay.toml", text).unwrap();
        let config = builder.build_with(&Secret).unwrap();
        let printed = format!("{} {} {config:?}", config.text, config.changes());
        assert!(printed.contains("the.key") && !printed.contains("s3cret"), "{printed}");
        let origin = Origin { seed: 1, utc: SECOND };
        let server = Server::bind(net.clone(), RealDisk::default(), config, origin).await.unwrap();
        tokio::spawn(server.run(std::future::pending()));
        let _publishing = tokio::spawn(studio(net.clone(), 10, 300));
        sleep(4 * SECOND).await;
        let shown = get(&net, 8080, "/api/streams").await + &get(&net, 8080, "/metrics").await;
        assert!(shown.contains("rtmp://target:1936/app/{key}"), "{shown}");
        assert!(!shown.contains("s3cret"), "{shown}");
        assert_eq!(book.lock().unwrap()[1].stream_key.as_deref(), Some("s3cret"));
    });
}

/// Relays for ten seconds by TLS to `host`, from this time of day on. What the API says of it, and
/// what the target saw of its first connection.
fn relay_by_tls(host: &str, at: u64) -> (Value, Seen) {
    struct Authority;
    impl forebay::config::Outside for Authority {
        fn read(&self, _path: &str) -> std::io::Result<Vec<u8>> {
            Ok(tls::CA.into())
        }
        fn variable(&self, _name: &str) -> Option<String> {
            None
        }
    }
    simulate(|net| async move {
        let book =
            target::listen_with(&net, 443, Some(tls::acceptor()), |_| Manners::default()).await;
        let text = format!(
            "[[relay]]\nstream = \"live/cam\"\nurl = \"rtmps://{host}/app\"\nca_file = \"ca.pem\"\n"
        );
        let builder = Builder::new().file("forebay.toml", &text).unwrap();
        let config = builder.build_with(&Authority).unwrap();
        let origin = Origin { seed: 1, utc: Duration::from_secs(at) };
        let server = Server::bind(net.clone(), RealDisk::default(), config, origin).await.unwrap();
        tokio::spawn(server.run(std::future::pending()));
        let publishing = tokio::spawn(studio(net.clone(), 10, 20_000));
        sleep(9 * SECOND).await;
        let shown = relays(&net).await[0].clone();
        publishing.await.unwrap();
        sleep(SECOND).await;
        let seen = book.lock().unwrap()[0].clone();
        (shown, seen)
    })
}

#[test]
fn rtmps_is_rtmp_to_a_target_that_proves_who_it_is() {
    let (shown, seen) = relay_by_tls("target.test", tls::VALID_AT);
    assert_eq!(shown["state"], "live", "{shown}");
    assert_clean(&seen, "by TLS");
    assert_eq!(seen.media.last().unwrap().0, 9_960, "to the last tag");
    assert!(seen.is_finished);
}

#[test]
fn an_expired_certificate_or_another_hosts_is_refused_and_the_api_says_so() {
    for (host, at, expected) in [
        ("target.test", tls::EXPIRED_AT, "certificate expired"),
        ("other.test", tls::VALID_AT, "not valid for name"),
    ] {
        let (shown, seen) = relay_by_tls(host, at);
        assert_eq!(shown["state"], "rejected", "{shown}");
        let reason = shown["reason"].as_str().unwrap();
        assert!(
            reason.contains("invalid peer certificate") && reason.contains(expected),
            "{reason}"
        );
        assert!(seen.stream_key.is_none() && seen.received == 0, "nothing was said to it");
    }
}
