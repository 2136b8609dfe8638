//! How often the server writes to a viewer: once per tick, whatever the tick brought.
#![cfg(feature = "shell")]
#![allow(clippy::unwrap_used, reason = "a test that cannot go on has failed")]

#[path = "common/mem_net.rs"]
mod mem_net;
#[allow(dead_code, reason = "peers can do more than publish and play")]
#[path = "common/peer.rs"]
mod peer;

use std::sync::{Arc, Mutex};
use std::time::Duration;

use forebay::config::Builder;
use forebay::shell::disk::RealDisk;
use forebay::shell::net::Net as _;
use forebay::shell::{Origin, Server};
use mem_net::{Calls, MemNet};
use peer::Peer;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::time::{Instant, sleep, sleep_until};

/// More than a tick brings at any bitrate here, so that a socket takes all of it.
const WINDOW: usize = 4 << 20;
const SECONDS: u32 = 10;
const FRAMES_PER_SECOND: u32 = 25;

/// Publishes pictures of a constant bitrate, each with a sound behind it.
async fn publish(net: MemNet, bits_per_second: u32) {
    let mut studio = Peer::publish(&net, "cam").await;
    studio.send_audio(0, vec![0xAF, 0, 0x12, 0x10]).await;
    studio.send_video(0, vec![0x17, 0, 0, 0, 0, 1, 2, 3]).await;
    let start = Instant::now();
    for frame in 0.. {
        sleep_until(start + Duration::from_secs(1) / FRAMES_PER_SECOND * frame).await;
        let ms = frame * 1000 / FRAMES_PER_SECOND;
        let mut payload = vec![if frame % 50 == 0 { 0x17 } else { 0x27 }, 1, 0, 0, 0];
        payload.resize((bits_per_second / 8 / FRAMES_PER_SECOND) as usize, frame as u8);
        studio.send_video(ms, payload).await;
        studio.send_audio(ms, vec![0xAF, 1, frame as u8]).await;
    }
}

/// Plays by RTMP as fast as bytes come. What the server does on its connection.
async fn play(net: &MemNet) -> Arc<Mutex<Calls>> {
    let mut player = Peer::play(net, "cam").await;
    let calls = player.shared_calls();
    tokio::spawn(async move { while player.next().await.is_some() {} });
    calls
}

/// Plays by HTTP-FLV as fast as bytes come. What the server does on its connection.
async fn play_http(net: &MemNet) -> Arc<Mutex<Calls>> {
    let mut stream = net.connect("", 8080).await.unwrap();
    stream.write_all(b"GET /live/cam.flv HTTP/1.1\r\nHost: here\r\n\r\n").await.unwrap();
    let calls = stream.peer_calls.clone();
    tokio::spawn(async move {
        let mut received = vec![0; WINDOW];
        while stream.read(&mut received).await.unwrap() > 0 {}
    });
    calls
}

/// The writes of ten seconds to a viewer by RTMP and to one by HTTP-FLV.
fn writes(coalesce_ms: u32, bits_per_second: u32) -> [Vec<usize>; 2] {
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_time()
        .start_paused(true)
        .build()
        .unwrap();
    runtime.block_on(async {
        let setting = format!("hub.coalesce_ms={coalesce_ms}");
        let config = Builder::new().set("test", &setting).and_then(Builder::build).unwrap();
        let net = MemNet::with_window(WINDOW);
        let server = Server::bind(
            net.clone(),
            RealDisk::default(),
            config,
            Origin { seed: 1, utc: Duration::ZERO },
        )
        .await
        .unwrap();
        tokio::spawn(server.run(std::future::pending()));
        tokio::spawn(publish(net.clone(), bits_per_second));
        sleep(Duration::from_secs(1)).await;
        let viewers = [play(&net).await, play_http(&net).await];
        sleep(Duration::from_secs(2)).await;
        let count = |calls: &Arc<Mutex<Calls>>| calls.lock().unwrap().writes.len();
        let before = viewers.each_ref().map(count);
        sleep(Duration::from_secs(SECONDS.into())).await;
        std::array::from_fn(|index| viewers[index].lock().unwrap().writes.split_off(before[index]))
    })
}

#[test]
fn a_tick_is_one_write_at_any_bitrate() {
    for coalesce_ms in [50, 350] {
        for mbit_per_second in [1, 6, 20] {
            let ticks = SECONDS * 1000 / coalesce_ms + 1;
            for (writes, protocol) in
                writes(coalesce_ms, mbit_per_second * 1_000_000).iter().zip(["RTMP", "HTTP-FLV"])
            {
                let run = format!("{protocol}, {mbit_per_second} Mbit/s, {coalesce_ms} ms");
                let (count, sent) = (writes.len(), writes.iter().sum::<usize>());
                println!("{run}: {count} writes of {sent} bytes in {SECONDS} s");
                let published = (mbit_per_second * SECONDS * 1_000_000 / 8) as usize;
                assert!(sent > published * 9 / 10, "{run}: {sent} bytes of {published}");
                assert!(count <= ticks as usize, "{run}: {count} writes in {ticks} ticks");
            }
        }
    }
}
