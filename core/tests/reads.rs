//! How often the server asks the system for bytes: once per wake, never once per header.
#![cfg(feature = "shell")]
#![allow(clippy::unwrap_used, reason = "a test that cannot go on has failed")]

#[path = "common/mem_net.rs"]
mod mem_net;
#[allow(dead_code, reason = "peers can do more than publish")]
#[path = "common/peer.rs"]
mod peer;

use std::future::Future;
use std::path::{Path, PathBuf};
use std::time::Duration;

use forebay::config::Builder;
use forebay::flv::TagKind;
use forebay::flv::file::FileReader;
use forebay::hub::Hub;
use forebay::shell::disk::RealDisk;
use forebay::shell::net::Net as _;
use forebay::shell::{Origin, Server};
use mem_net::{Calls, MemNet};
use peer::Peer;
use rml_rtmp::sessions::ClientSessionConfig;
use tokio::io::AsyncWriteExt;
use tokio::time::{Instant, sleep};

const MIB: usize = 1 << 20;

/// Runs a test with a server, in paused time.
fn simulate<F: Future>(test: impl FnOnce(MemNet, Hub) -> F) -> F::Output {
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_time()
        .start_paused(true)
        .build()
        .unwrap();
    runtime.block_on(async {
        let net = MemNet::default();
        let config = Builder::new().build().unwrap();
        let server = Server::bind(
            net.clone(),
            RealDisk::default(),
            config,
            Origin { seed: 1, utc: Duration::ZERO },
        )
        .await
        .unwrap();
        let hub = server.hub().clone();
        tokio::spawn(server.run(std::future::pending()));
        test(net, hub).await
    })
}

fn testdata(path: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../testdata").join(path)
}

/// A client's writes and their times, as a recording has them.
fn recorded_writes(path: &Path) -> Vec<(Duration, Vec<u8>)> {
    let file = std::fs::read(path).unwrap();
    let mut rest = file.strip_prefix(b"RTMPCAP1").unwrap();
    let mut writes = Vec::new();
    while let Some(header) = rest.split_off(..13) {
        let at = Duration::from_micros(u64::from_le_bytes(header[..8].try_into().unwrap()));
        let len = u32::from_le_bytes(header[9..].try_into().unwrap()) as usize;
        let bytes = rest.split_off(..len).unwrap();
        if header[8] == 0 && len > 0 {
            writes.push((at, bytes.to_vec()));
        }
    }
    writes
}

/// What the server did while a client wrote what is recorded, when it is recorded.
async fn replay(net: MemNet, writes: &[(Duration, Vec<u8>)]) -> Calls {
    let mut client = net.connect("", 1935).await.unwrap();
    let start = Instant::now();
    for (at, bytes) in writes {
        tokio::time::sleep_until(start + *at).await;
        client.write_all(bytes).await.unwrap();
    }
    sleep(Duration::from_millis(1)).await;
    client.peer_calls.lock().unwrap().clone()
}

#[test]
fn a_read_takes_all_that_an_encoder_wrote() {
    let mut count = 0;
    for entry in std::fs::read_dir(testdata("rtmp")).unwrap() {
        let path = entry.unwrap().path();
        let name = path.file_name().unwrap().to_string_lossy().into_owned();
        let writes = recorded_writes(&path);
        let sent: usize = writes.iter().map(|(_, bytes)| bytes.len()).sum();
        let calls = simulate(|net, _| async { replay(net, &writes).await });
        let (reads, writes) = (calls.reads.len(), writes.len());
        println!("{name}: {reads} reads of {writes} writes, {sent} bytes");
        assert_eq!(calls.reads.iter().sum::<usize>(), sent, "{name}");
        assert!(reads <= writes, "{name}: {reads} reads of {writes} writes");
        count += 1;
    }
    assert!(count >= 10, "the captures are missing");
}

/// What the server did while it was given a recorded stream as fast as it took it.
fn flat_out(chunk_size: u32) -> Vec<usize> {
    let mut reader = FileReader::strict();
    reader.push(std::fs::read(testdata("flv/obs-1080p30-cbr6000.flv")).unwrap().into());
    let tags: Vec<_> =
        std::iter::from_fn(|| reader.next_tag().unwrap()).map(|found| found.tag).collect();
    simulate(|net, hub| async move {
        let mut config = ClientSessionConfig::new();
        config.chunk_size = chunk_size;
        let mut studio = Peer::publish_with(&net, "cam", config).await;
        let before = studio.server_calls().reads.len();
        let mut published = 0;
        for tag in tags.iter().filter(|tag| tag.kind != TagKind::Script) {
            let (ms, payload) = (tag.timestamp.as_ms(), tag.payload.to_bytes().to_vec());
            published += payload.len() as u64;
            match tag.kind {
                TagKind::Video => studio.send_video(ms, payload).await,
                _ => studio.send_audio(ms, payload).await,
            }
        }
        sleep(Duration::from_millis(1)).await;
        assert_eq!(hub.topics()[0].published_bytes, published);
        studio.server_calls().reads.split_off(before)
    })
}

#[test]
fn reads_are_large_whatever_the_chunk_size() {
    let counts = [128, 4096, 65536].map(|chunk_size| {
        let reads = flat_out(chunk_size);
        let (count, received) = (reads.len(), reads.iter().sum::<usize>());
        println!("chunk size {chunk_size}: {count} reads of {received} bytes");
        // Two for a block of 256 KiB: one up to its end, one of what the socket still held then.
        // And what the blocks need to grow that large.
        let count_max = 8 * received / MIB + 4;
        assert!(count <= count_max, "chunk size {chunk_size}: {count} reads of {received} bytes");
        count
    });
    assert!(counts.iter().all(|count| count.abs_diff(counts[0]) <= 2), "{counts:?}");
}
