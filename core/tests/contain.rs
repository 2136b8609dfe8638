//! What happens to one connection happens to no other: its task panics, or it is ended from outside
//! in the middle of its work, and its name, its memory and its place are free again.
#![cfg(feature = "shell")]

#[path = "common/mem_net.rs"]
#[allow(clippy::unwrap_used, dead_code, reason = "a test that cannot go on has failed")]
mod mem_net;
#[path = "common/peer.rs"]
#[allow(clippy::unwrap_used, dead_code, reason = "a test that cannot go on has failed")]
mod peer;

use std::future::Future;
use std::io::Write;
use std::net::SocketAddr;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use forebay::config::Builder;
use forebay::hub::{Hub, TopicInfo};
use forebay::shell::disk::RealDisk;
use forebay::shell::net::Net as _;
use forebay::shell::{Control, Origin, Server};
use mem_net::{MemNet, MemStream};
use peer::Peer;
use rml_rtmp::sessions::ClientSessionEvent as Event;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::task::JoinHandle;
use tokio::time::{Instant, sleep, sleep_until};

const SECOND: Duration = Duration::from_secs(1);
const FRAME: Duration = Duration::from_millis(40);

/// A running server.
struct World {
    net: MemNet,
    hub: Hub,
    control: Control,
}

impl World {
    async fn new(settings: &[&str]) -> Self {
        let builder =
            // Viewers are counted: a consumer would be one more.
            ["hls.enabled=false"].iter().chain(settings).try_fold(Builder::new(), |it, setting| it.set("test", setting));
        let config = builder.and_then(Builder::build).expect("the settings are right");
        let net = MemNet::default();
        let server = Server::bind(
            net.clone(),
            RealDisk::default(),
            config,
            Origin { seed: 1, utc: Duration::ZERO },
        )
        .await
        .expect("the ports are free");
        let (hub, control) = (server.hub().clone(), server.control());
        tokio::spawn(server.run(std::future::pending()));
        Self { net, hub, control }
    }

    fn topic(&self, key: &str) -> Option<TopicInfo> {
        self.hub.topics().into_iter().find(|topic| topic.key.as_str() == key)
    }

    fn subscribers(&self, key: &str) -> usize {
        self.topic(key).map_or(0, |topic| topic.subscribers.len())
    }
}

fn runtime() -> tokio::runtime::Runtime {
    let mut builder = tokio::runtime::Builder::new_current_thread();
    builder.enable_time().start_paused(true).build().expect("there is nothing that could fail")
}

/// Runs a test with a server, in paused time, and gives the log of its warnings and errors.
fn simulate<F: Future<Output = ()>>(settings: &[&str], test: impl FnOnce(World) -> F) -> String {
    let log = Log::default();
    let writer = log.clone();
    let subscriber = tracing_subscriber::fmt()
        .with_ansi(false)
        .with_max_level(tracing::Level::WARN)
        .with_writer(move || writer.clone())
        .finish();
    tracing::subscriber::with_default(subscriber, || {
        runtime().block_on(async { test(World::new(settings).await).await });
    });
    let bytes = log.0.lock().expect("nobody panics with the log").clone();
    String::from_utf8(bytes).expect("the log is text")
}

/// What the server has logged.
#[derive(Clone, Default)]
struct Log(Arc<Mutex<Vec<u8>>>);

impl Write for Log {
    fn write(&mut self, bytes: &[u8]) -> std::io::Result<usize> {
        self.0.lock().expect("nobody panics with the log").extend_from_slice(bytes);
        Ok(bytes.len())
    }

    fn flush(&mut self) -> std::io::Result<()> {
        Ok(())
    }
}

/// A picture of the stream: a keyframe once a second.
async fn send_frame(peer: &mut Peer, frame: u32, len: usize) {
    let mut payload = vec![if frame.is_multiple_of(25) { 0x17 } else { 0x27 }, 1, 0, 0, 0];
    payload.resize(len, frame as u8);
    peer.send_video(frame * 40, payload).await;
}

/// Publishes the header and so many frames, 25 a second.
async fn studio(net: &MemNet, name: &str, frames: u32, len: usize) -> Peer {
    let mut peer = Peer::publish(net, name).await;
    peer.send_video(0, vec![0x17, 0, 0, 0, 0, 1, 2, 3]).await;
    let start = Instant::now();
    for frame in 0..frames {
        sleep_until(start + FRAME * frame).await;
        send_frame(&mut peer, frame, len).await;
    }
    peer
}

/// What a player saw until its connection ended.
#[derive(Clone, Default)]
struct Played {
    /// Decode times.
    pictures: Vec<u32>,
    headers: usize,
    is_over: bool,
}

impl Played {
    fn has_gaps(&self) -> bool {
        self.pictures.windows(2).any(|pair| pair[1] != pair[0] + 40)
    }
}

struct Watching {
    address: SocketAddr,
    played: Arc<Mutex<Played>>,
}

impl Watching {
    fn played(&self) -> Played {
        self.played.lock().expect("no player panics").clone()
    }
}

/// A player that reads all the time.
async fn watch(net: &MemNet, name: &str) -> Watching {
    let mut peer = Peer::play(net, name).await;
    let address = peer.address();
    let played = Arc::new(Mutex::new(Played::default()));
    let mine = played.clone();
    tokio::spawn(async move {
        while let Some(event) = peer.next().await {
            let mut played = mine.lock().expect("no player panics");
            match event {
                Event::VideoDataReceived { data, .. } if data[1] == 0 => played.headers += 1,
                Event::VideoDataReceived { timestamp, .. } => played.pictures.push(timestamp.value),
                _ => {}
            }
        }
        mine.lock().expect("no player panics").is_over = true;
    });
    Watching { address, played }
}

fn publish_in_background(world: &World, name: &'static str, frames: u32) -> JoinHandle<Peer> {
    let net = world.net.clone();
    tokio::spawn(async move { studio(&net, name, frames, 3_000).await })
}

/// Asks for a stream by HTTP and does not read.
async fn watch_http(net: &MemNet, name: &str) -> MemStream {
    let mut stream = net.connect("", 8080).await.expect("the server listens");
    let request = format!("GET /live/{name}.flv HTTP/1.1\r\nHost: x\r\n\r\n");
    stream.write_all(request.as_bytes()).await.expect("the window is empty");
    stream
}

async fn is_closed(peer: &mut Peer) -> bool {
    tokio::time::timeout(SECOND, async { while peer.next().await.is_some() {} }).await.is_ok()
}

#[test]
fn a_panic_ends_its_own_connection_and_no_other() {
    let mut broken = None;
    let log = simulate(&[], |world| {
        let broken = &mut broken;
        async move {
            let other = publish_in_background(&world, "other", 100);
            let mut cam = studio(&world.net, "cam", 25, 3_000).await;
            *broken = Some(cam.address());
            let watching_other = watch(&world.net, "other").await;
            let watching_cam = watch(&world.net, "cam").await;
            sleep(SECOND).await;
            assert_eq!(world.control.open_connections(), 4);

            cam.panic_server().await;
            assert!(is_closed(&mut cam).await, "its socket is still open");
            assert_eq!(world.control.open_connections(), 3);
            assert!(!world.control.disconnect(cam.address()), "it is still listed");
            assert!(!watching_cam.played().is_over, "a viewer was lost with its publisher");

            let _other = other.await.expect("the other studio is served to its end");
            sleep(SECOND).await;
            let played = watching_other.played();
            assert!(!played.has_gaps(), "{:?}", played.pictures);
            assert_eq!(played.pictures.last(), Some(&(99 * 40)));
            let accounts = world.topic("live/other").expect("it is in its grace").subscribers;
            assert!(accounts.iter().all(|it| it.counters.is_balanced()), "{accounts:?}");
        }
    });
    let errors: Vec<_> = log.lines().filter(|line| line.contains("ERROR")).collect();
    let [error] = errors[..] else { panic!("one panic, and the log says: {log}") };
    let peer = broken.expect("the test ran").to_string();
    assert!(error.contains(&format!("peer={peer}")) && error.contains("panicked"), "{error}");
}

#[test]
fn the_name_of_a_publisher_that_panicked_is_free_again() {
    simulate(&["hub.takeover=false"], |world| async move {
        let mut first = studio(&world.net, "cam", 25, 3_000).await;
        let watching = watch(&world.net, "cam").await;
        sleep(SECOND).await;
        first.panic_server().await;
        assert!(is_closed(&mut first).await);
        // Refused, this would panic: nobody takes over here.
        let _second = studio(&world.net, "cam", 25, 3_000).await;
        sleep(SECOND).await;
        let played = watching.played();
        assert!(!played.is_over, "the viewer did not wait for the one who returned");
        assert_eq!((played.headers, played.pictures.len()), (2, 50));
    });
}

#[test]
fn a_publisher_that_panicked_and_stays_away_ends_its_stream_after_the_grace_period() {
    simulate(&["hub.grace_ms=5000"], |world| async move {
        let mut cam = studio(&world.net, "cam", 25, 3_000).await;
        let watching = watch(&world.net, "cam").await;
        cam.panic_server().await;
        sleep(4 * SECOND).await;
        assert!(world.hub.is_live(&"live/cam".into()), "it may still return");
        sleep(2 * SECOND).await;
        assert!(!world.hub.is_live(&"live/cam".into()), "nobody ended it");
        sleep(20 * SECOND).await;
        assert!(watching.played().is_over);
        assert!(world.hub.topics().is_empty(), "something is left of it");
        assert_eq!(world.control.open_connections(), 0);
    });
}

#[test]
fn a_viewer_whose_task_panicked_leaves_the_topic() {
    let log = simulate(&[], |world| async move {
        let studio = publish_in_background(&world, "cam", 100);
        sleep(SECOND).await;
        let healthy = watch(&world.net, "cam").await;
        let mut broken = Peer::play(&world.net, "cam").await;
        assert_eq!(world.subscribers("live/cam"), 2);
        broken.panic_server().await;
        sleep(FRAME).await;
        assert_eq!(world.subscribers("live/cam"), 1);
        assert_eq!(world.control.open_connections(), 2);
        let _studio = studio.await.expect("the studio is served to its end");
        sleep(SECOND).await;
        let played = healthy.played();
        assert!(!played.has_gaps() && played.pictures.last() == Some(&(99 * 40)));
    });
    assert_eq!(log.matches("ERROR").count(), 1, "{log}");
}

#[test]
fn disconnect_ends_a_publisher_in_the_middle_of_a_message_and_its_name_is_free() {
    let log = simulate(&["hub.takeover=false"], |world| async move {
        let mut first = studio(&world.net, "cam", 25, 3_000).await;
        let other = publish_in_background(&world, "other", 50);
        let watching = watch(&world.net, "cam").await;
        first.send_video_up_to(1_000, vec![0x17; 100_000], 50_000).await;
        sleep(FRAME).await;

        assert!(world.control.disconnect(first.address()));
        assert!(is_closed(&mut first).await, "its socket is still open");
        assert_eq!(world.control.open_connections(), 2);
        assert!(!world.control.disconnect(first.address()), "there is nobody to disconnect");
        // As if its network had gone: its viewers wait for it, and it may come back.
        assert!(world.hub.is_live(&"live/cam".into()));
        let _second = studio(&world.net, "cam", 25, 3_000).await;
        sleep(SECOND).await;
        let played = watching.played();
        assert!(!played.is_over);
        assert_eq!((played.headers, played.pictures.len()), (2, 50), "the half is no picture");
        let _other = other.await.expect("the other studio is served to its end");
    });
    assert!(!log.contains("ERROR"), "{log}");
}

#[test]
fn a_disconnected_publisher_that_stays_away_ends_its_stream_after_the_grace_period() {
    simulate(&["hub.grace_ms=5000"], |world| async move {
        let cam = studio(&world.net, "cam", 25, 3_000).await;
        assert!(world.control.disconnect(cam.address()));
        sleep(4 * SECOND).await;
        assert!(world.hub.is_live(&"live/cam".into()), "it may still return");
        sleep(2 * SECOND).await;
        assert!(world.hub.topics().is_empty(), "nobody ended it");
    });
}

#[test]
fn disconnect_ends_one_viewer_in_the_middle_of_a_tag() {
    simulate(&[], |world| async move {
        let net = world.net.clone();
        // Large enough that a socket nobody reads is full within a second.
        let studio = tokio::spawn(async move { studio(&net, "cam", 100, 60_000).await });
        sleep(SECOND).await;
        let healthy = watch(&world.net, "cam").await;
        let mut stuck = Peer::play(&world.net, "cam").await;
        let mut stuck_http = watch_http(&world.net, "cam").await;
        sleep(SECOND).await;
        assert_eq!(world.subscribers("live/cam"), 3);
        let info = world.topic("live/cam").expect("it is live");
        let unsent = info.subscribers.iter().filter(|it| it.counters.unsent_tags > 0).count();
        assert_eq!(unsent, 2, "they are not in the middle of anything");

        assert!(world.control.disconnect(stuck.address()));
        sleep(FRAME).await;
        assert_eq!(world.subscribers("live/cam"), 2);
        assert!(world.control.disconnect(stuck_http.dialed_from));
        sleep(FRAME).await;
        assert_eq!(world.subscribers("live/cam"), 1);
        assert_eq!(world.control.open_connections(), 2);
        assert!(is_closed(&mut stuck).await);
        stuck_http.read_to_end(&mut Vec::new()).await.expect("it is closed");

        let _studio = studio.await.expect("the studio is served to its end");
        sleep(SECOND).await;
        let played = healthy.played();
        assert!(!played.has_gaps() && played.pictures.last() == Some(&(99 * 40)));
        assert!(world.control.disconnect(healthy.address));
        sleep(FRAME).await;
        assert!(healthy.played().is_over);
    });
}

#[test]
fn disconnect_of_somebody_unknown_says_so() {
    simulate(&[], |world| async move {
        let nobody = SocketAddr::from(([10, 9, 9, 9], 1));
        assert!(!world.control.disconnect(nobody));
        let cam = studio(&world.net, "cam", 1, 3_000).await;
        assert!(!world.control.disconnect(nobody));
        let same_host = SocketAddr::new(cam.address().ip(), cam.address().port() + 1);
        assert!(!world.control.disconnect(same_host), "an address has a port");
        assert_eq!(world.control.open_connections(), 1);
        assert!(world.hub.is_live(&"live/cam".into()));
    });
}

#[test]
fn every_connection_is_counted_while_it_is_open_whatever_it_does() {
    simulate(&[], |world| async move {
        assert_eq!(world.control.open_connections(), 0);
        let silent = world.net.connect("", 1935).await.expect("the server listens");
        let http = world.net.connect("", 8080).await.expect("the server listens");
        let cam = studio(&world.net, "cam", 1, 3_000).await;
        let player = Peer::play(&world.net, "cam").await;
        assert_eq!(world.control.open_connections(), 4);
        drop(silent);
        sleep(FRAME).await;
        assert_eq!(world.control.open_connections(), 3);
        drop((http, player));
        sleep(FRAME).await;
        assert_eq!(world.control.open_connections(), 1);
        cam.stop_publishing().await;
        sleep(SECOND).await;
        assert_eq!(world.control.open_connections(), 0);
    });
}

#[test]
fn a_place_is_free_again_behind_a_panic_and_a_disconnect() {
    simulate(&["listen.connections_max=1"], |world| async move {
        let mut first = Peer::connect(&world.net).await;
        first.panic_server().await;
        assert!(is_closed(&mut first).await);
        let second = Peer::connect(&world.net).await;
        assert!(world.control.disconnect(second.address()));
        sleep(FRAME).await;
        let _third = Peer::connect(&world.net).await;
        assert_eq!(world.control.open_connections(), 1);
    });
}

#[test]
fn a_connection_that_is_over_at_once_is_not_listed_for_ever() {
    // In real time and in threads: the connection's task may end before its accept goes on.
    let mut builder = tokio::runtime::Builder::new_multi_thread();
    let runtime = builder.worker_threads(2).enable_time().build().expect("there are threads");
    let net = MemNet::default();
    let server = runtime.block_on(Server::bind(
        net.clone(),
        RealDisk::default(),
        Builder::new().build().expect(
            "the \
        defaults are right",
        ),
        Origin { seed: 1, utc: Duration::ZERO },
    ));
    let server = server.expect("the ports are free");
    let control = server.control();
    let coming = runtime.spawn(async move {
        let mut addresses = Vec::new();
        for _ in 0..20_000 {
            let stream = net.connect("", 1935).await.expect("the server listens");
            addresses.push(stream.dialed_from);
            drop(stream);
            tokio::task::yield_now().await;
        }
        addresses
    });
    let (addresses, cut) = runtime.block_on(async {
        let mut addresses = Vec::new();
        let cut = server.run(async { addresses = coming.await.expect("all were let in") }).await;
        (addresses, cut)
    });
    assert_eq!(cut, 0, "connections were cut");
    let listed = addresses.iter().filter(|address| control.disconnect(**address)).count();
    assert_eq!(listed, 0, "of {} connections that are over", addresses.len());
}

/// A publisher with two viewers, of which one does not read, comes and is ended in the middle of
/// a message; then everybody else leaves.
async fn come_and_be_ended(world: &World, by_panic: bool) {
    let mut cam = studio(&world.net, "cam", 25, 60_000).await;
    let healthy = watch(&world.net, "cam").await;
    let stuck = Peer::play(&world.net, "cam").await;
    for frame in 25..50 {
        send_frame(&mut cam, frame, 60_000).await;
        sleep(FRAME).await;
    }
    cam.send_video_up_to(2_000, vec![0x17; 100_000], 50_000).await;
    sleep(FRAME).await;
    if by_panic {
        cam.panic_server().await;
    } else {
        assert!(world.control.disconnect(cam.address()));
    }
    assert!(is_closed(&mut cam).await);
    for viewer in [healthy.address, stuck.address()] {
        assert!(world.control.disconnect(viewer));
    }
    sleep(20 * SECOND).await;
    assert!(world.hub.topics().is_empty() && world.control.open_connections() == 0);
}

#[test]
fn the_memory_of_ended_connections_comes_back() {
    let runtime = runtime();
    let world = runtime.block_on(World::new(&[]));
    for by_panic in [false, true] {
        let round = || {
            let round = || runtime.block_on(come_and_be_ended(&world, by_panic));
            allocation_counter::measure(round).bytes_current
        };
        // The first ones fill what is kept on purpose.
        let first = [round(), round()];
        let kept: i64 = (0..8).map(|_| round()).sum();
        // Each round received three megabytes into blocks of 256 KiB, and the test's own output
        // grows by the words of each panic.
        assert!(
            kept < 8 * (64 << 10),
            "{kept} bytes are left of 8 rounds, by panic: {by_panic}; of the first two {first:?}"
        );
    }
}
