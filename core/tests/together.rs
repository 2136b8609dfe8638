//! All consumers at once, on a network in memory, in paused time: what they do, and what becomes of
//! them, is nothing that the publisher or a viewer could notice.
#![cfg(feature = "shell")]
#![allow(clippy::unwrap_used, reason = "a test that cannot go on has failed")]

#[allow(dead_code, reason = "this disk does not fail")]
#[path = "common/mem_disk.rs"]
mod mem_disk;
#[path = "common/mem_net.rs"]
mod mem_net;
#[allow(dead_code, reason = "not every test dials as this one does")]
#[path = "common/peer.rs"]
mod peer;

use std::path::Path;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use forebay::config::Builder;
use forebay::shell::net::Net as _;
use forebay::shell::{Origin, Server};
use mem_disk::MemDisk;
use mem_net::MemNet;
use peer::Peer;
use rml_rtmp::sessions::ClientSessionEvent as Event;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::time::{Instant, sleep, sleep_until};

const SECONDS: u32 = 50;
const VIEWERS: usize = 20;
const POLLING: usize = 50;
const FRAME: Duration = Duration::from_millis(40);

/// With nothing but the hub.
const ALONE: &str = "[hls]\nenabled = false\n";

/// HLS, an archive, a relay to a server that takes everything, and one to a server that accepts
/// connections and never says a word.
const TOGETHER: &str = r#"
[archive]
directory = "records"

[[relay]]
stream = "live/*"
url = "rtmp://target:2935/live"

[[relay]]
stream = "live/*"
url = "rtmp://dead:3935/live"
"#;

/// What the publisher and the viewers of one run saw, and when.
#[derive(Default, PartialEq, Eq, Debug)]
struct Noticed {
    /// When each frame was taken from the publisher.
    taken: Vec<Duration>,
    viewers: Vec<Vec<Delivered>>,
}

/// One picture or sound: when it came, its own time, and its length.
type Delivered = (Duration, u32, usize);

/// What the consumers of one run did.
struct Done {
    noticed: Noticed,
    /// Bytes of media that the players of HLS fetched.
    fetched: usize,
    recorded: usize,
    relayed: usize,
    /// How long the disk took for its slowest operation.
    stalled: Duration,
}

async fn serve(net: &MemNet, disk: &MemDisk, ports: [u16; 2], config: &str) {
    let config = Builder::new()
        .file("forebay.toml", config)
        .and_then(|it| it.set("test", &format!("listen.rtmp=127.0.0.1:{}", ports[0])))
        .and_then(|it| it.set("test", &format!("listen.http=127.0.0.1:{}", ports[1])))
        .and_then(Builder::build)
        .unwrap();
    let origin = Origin { seed: 1, utc: Duration::from_secs(1_700_000_000) };
    let server = Server::bind(net.clone(), disk.clone(), config, origin).await.unwrap();
    tokio::spawn(server.run(std::future::pending()));
}

/// A keyframe every two seconds, and a sound with each frame.
async fn studio(net: MemNet, start: Instant) -> Vec<Duration> {
    let mut peer = Peer::publish(&net, "cam").await;
    peer.send_audio(0, vec![0xAF, 0, 0x12, 0x10]).await;
    let header =
        b"\x17\0\0\0\0\x01\x64\x00\x1f\xff\xe1\x00\x04\x67\x64\x00\x1f\x01\x00\x02\x68\xee";
    peer.send_video(0, header.to_vec()).await;
    let mut taken = Vec::new();
    for frame in 0..SECONDS * 25 {
        sleep_until(start + FRAME * frame).await;
        let mut payload = vec![if frame % 50 == 0 { 0x17 } else { 0x27 }, 1, 0, 0, 0];
        payload.resize(if frame % 50 == 0 { 60_000 } else { 6_000 }, frame as u8);
        peer.send_video(frame * 40, payload).await;
        peer.send_audio(frame * 40, vec![0xAF, 1, frame as u8]).await;
        taken.push(start.elapsed());
    }
    peer.stop_publishing().await;
    taken
}

/// Plays to the end of the stream.
async fn view(net: MemNet, port: u16, start: Instant) -> Vec<Delivered> {
    let mut delivered = Vec::new();
    let mut peer = Peer::play_at(&net, port, "cam").await;
    while let Some(event) = peer.next().await {
        if let Event::VideoDataReceived { data, timestamp }
        | Event::AudioDataReceived { data, timestamp } = event
        {
            delivered.push((start.elapsed(), timestamp.value, data.len()));
        }
    }
    delivered
}

async fn get(net: &MemNet, path: &str) -> Option<Vec<u8>> {
    let mut stream = net.connect("", 8080).await.ok()?;
    let request = format!("GET {path} HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n");
    stream.write_all(request.as_bytes()).await.ok()?;
    let mut response = Vec::new();
    stream.read_to_end(&mut response).await.ok()?;
    let head_len = response.windows(4).position(|bytes| bytes == b"\r\n\r\n")? + 4;
    let is_there = response.starts_with(b"HTTP/1.1 200");
    is_there.then(|| response.split_off(head_len))
}

/// Asks for the playlist again and again, and for the newest name in it.
async fn poll(net: MemNet, fetched: Arc<Mutex<usize>>) {
    let mut last = String::new();
    loop {
        sleep(Duration::from_millis(300)).await;
        let Some(playlist) = get(&net, "/live/cam/media.m3u8").await else { continue };
        let playlist = String::from_utf8(playlist).unwrap();
        let newest = playlist.lines().rev().find(|line| line.ends_with(".m4s"));
        if let Some(name) = newest.filter(|name| **name != last) {
            last = name.to_owned();
            let media = get(&net, &format!("/live/cam/{name}")).await;
            *fetched.lock().unwrap() += media.map_or(0, |media| media.len());
        }
    }
}

/// One run, to the end of the stream and a little further.
fn run(config: &'static str) -> Done {
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_time()
        .start_paused(true)
        .build()
        .unwrap();
    runtime.block_on(async {
        let net = MemNet::default();
        // Five seconds of nothing out of every twenty.
        let disk = MemDisk::stalling(Duration::from_secs(20), Duration::from_secs(5));
        serve(&net, &disk, [1935, 8080], config).await;
        serve(&net, &MemDisk::default(), [2935, 9080], ALONE).await;
        let dead = net.bind(([0, 0, 0, 0], 3935).into()).await.unwrap();
        let start = Instant::now();
        let viewers: Vec<_> =
            (0..VIEWERS).map(|_| tokio::spawn(view(net.clone(), 1935, start))).collect();
        let copy = (config == TOGETHER).then(|| tokio::spawn(view(net.clone(), 2935, start)));
        let fetched = Arc::new(Mutex::new(0));
        for _ in 0..POLLING {
            tokio::spawn(poll(net.clone(), fetched.clone()));
        }
        let mut noticed = Noticed { taken: studio(net.clone(), start).await, ..Noticed::default() };
        for viewer in viewers {
            noticed.viewers.push(viewer.await.unwrap());
        }
        // The disk may be in the middle of nothing.
        sleep(Duration::from_secs(10)).await;
        let relayed = match copy {
            Some(copy) => copy.await.unwrap().len(),
            None => 0,
        };
        drop(dead);
        let recorded = disk.files().values().map(Vec::len).sum();
        assert!(disk.files().keys().all(|path| path.starts_with(Path::new("records"))));
        let fetched = *fetched.lock().unwrap();
        Done { noticed, fetched, recorded, relayed, stalled: disk.slowest() }
    })
}

#[test]
fn nobody_notices_what_the_consumers_do() {
    let (alone, together) = (run(ALONE), run(TOGETHER));
    let frames = (SECONDS * 25) as usize;
    for viewer in &alone.noticed.viewers {
        assert_eq!(viewer.len(), 2 + 2 * frames, "headers, pictures and sounds");
    }
    assert!(alone.noticed == together.noticed, "the publisher or a viewer noticed");
    // They were there, each of them.
    assert_eq!((alone.fetched, alone.recorded), (0, 0));
    let published: usize = together.noticed.viewers[0].iter().map(|(_, _, len)| len).sum();
    assert!(together.recorded > published, "{} of {published} bytes", together.recorded);
    assert!(together.fetched > published, "{} of {published} bytes", together.fetched);
    assert_eq!(together.relayed, 2 + 2 * frames);
    assert!(together.stalled >= Duration::from_secs(4), "{:?}", together.stalled);
}
