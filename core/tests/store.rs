//! Recordings and segments that go to a store of others: what is there, when, and what stays here
//! while it cannot be reached. On a network, a disk and a store in memory, in paused time.
#![cfg(feature = "shell")]
#![allow(clippy::unwrap_used, reason = "a test that cannot go on has failed")]

#[allow(dead_code, reason = "not every test looks at all of it")]
#[cfg(test)]
mod archive {
    pub(crate) mod files;
}
#[allow(dead_code, reason = "not every test looks at all of it")]
#[cfg(test)]
mod common {
    pub(crate) mod capture;
    pub(crate) mod faulty_store;
}
#[allow(dead_code, reason = "this disk is never slow")]
#[path = "common/mem_disk.rs"]
mod mem_disk;
#[path = "common/mem_net.rs"]
mod mem_net;
#[allow(dead_code, reason = "not every test dials as this one does")]
#[path = "common/peer.rs"]
mod peer;

use std::collections::{BTreeMap, BTreeSet};
use std::future::Future;
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use archive::files::media;
use common::faulty_store::{Answer, FaultyStore};
use forebay::config::Builder;
use forebay::shell::disk::Disk as _;
use forebay::shell::store::Store;
use forebay::shell::{Origin, Server};
use mem_disk::MemDisk;
use mem_net::MemNet;
use peer::Peer;
use tokio::sync::Notify;
use tokio::task::JoinHandle;
use tokio::time::{Instant, sleep, sleep_until};

const FRAME: Duration = Duration::from_millis(40);
const AVC_CONFIG: &[u8] =
    b"\x17\0\0\0\0\x01\x64\x00\x1f\xff\xe1\x00\x04\x67\x64\x00\x1f\x01\x00\x02\x68\xee";

/// A server's machine: what outlives the server.
#[derive(Clone, Default)]
struct Machine {
    net: MemNet,
    disk: MemDisk,
    store: FaultyStore,
}

struct Running {
    stop: Arc<Notify>,
    server: JoinHandle<usize>,
}

impl Machine {
    async fn start(&mut self, settings: &[&str]) -> Running {
        self.net = MemNet::default();
        let builder = settings
            .iter()
            .try_fold(Builder::new(), |builder, setting| builder.set("test", setting));
        let config = builder.and_then(Builder::build).unwrap();
        let utc = Duration::from_secs(1_700_000_000) + self.store.start().elapsed();
        let origin = Origin { seed: 1, utc };
        let server =
            Server::bind(self.net.clone(), self.disk.clone(), config, origin).await.unwrap();
        let server = server.with_store(Store::new(Arc::new(self.store.clone()), "node-1"));
        let stop = Arc::new(Notify::new());
        let stopped = stop.clone();
        let server = tokio::spawn(server.run(async move { stopped.notified().await }));
        Running { stop, server }
    }

    /// Publishes so many pictures, 25 a second, each fiftieth a keyframe.
    async fn publish(&self, name: &'static str, frames: u32, len: usize) {
        let (mut peer, start) = (Peer::publish(&self.net, name).await, Instant::now());
        peer.send_video(0, AVC_CONFIG.to_vec()).await;
        for frame in 0..frames {
            sleep_until(start + FRAME * frame).await;
            let mut payload = vec![if frame % 50 == 0 { 0x17 } else { 0x27 }, 1, 0, 0, 0];
            payload.extend((len as u32 + frame / 50 + 5).to_be_bytes());
            payload.push(if frame % 50 == 0 { 0x65 } else { 0x41 });
            payload.extend(frame.to_be_bytes());
            // No segment is as long as another.
            payload.resize(payload.len() + len + frame as usize / 50, frame as u8);
            peer.send_video(frame * 40, payload).await;
        }
        peer.stop_publishing().await;
    }

    /// What is on the disk, by name.
    fn here(&self) -> Vec<String> {
        self.disk.files().keys().map(|path| path.display().to_string()).collect()
    }
}

impl Running {
    /// Stops as one that is told to.
    async fn stop(self) {
        self.stop.notify_one();
        self.server.await.unwrap();
    }
}

fn simulate<F: Future>(test: impl FnOnce(Machine) -> F) -> F::Output {
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_time()
        .start_paused(true)
        .build()
        .unwrap();
    runtime.block_on(test(Machine::default()))
}

/// Numbers of the frames in a recording.
fn frames(recording: &[u8]) -> Vec<u32> {
    let pictures = media(recording).into_iter().filter(|tag| tag.0 == 9 && tag.2[1] == 1);
    pictures.map(|tag| u32::from_be_bytes(tag.2[10..14].try_into().unwrap())).collect()
}

const RECORD: [&str; 3] = ["hls.enabled=false", "archive.directory=records", "hub.grace_ms=0"];

#[test]
fn a_complete_recording_moves_to_the_store() {
    simulate(async |mut machine| {
        let server = machine.start(&RECORD).await;
        machine.publish("cam", 250, 200).await;
        sleep(Duration::from_secs(5)).await;
        let stored = machine.store.objects().await;
        let names: Vec<_> = stored.keys().collect();
        assert_eq!(names, ["node-1/live/cam-20231114T221320.000Z.flv"], "{:?}", machine.here());
        assert_eq!(
            frames(&stored["node-1/live/cam-20231114T221320.000Z.flv"]),
            Vec::from_iter(0..250)
        );
        assert_eq!(machine.here(), Vec::<String>::new());
        server.stop().await;
    });
}

#[test]
fn a_large_recording_goes_there_in_parts_and_is_whole() {
    simulate(async |mut machine| {
        let server = machine.start(&RECORD).await;
        machine.publish("cam", 500, 60_000).await;
        sleep(Duration::from_secs(5)).await;
        let stored = machine.store.objects().await;
        let recording = stored.values().next().unwrap();
        assert!(recording.len() > 3 * (8 << 20), "{} bytes are one part", recording.len());
        assert_eq!(frames(recording), Vec::from_iter(0..500));
        assert_eq!(machine.store.parts(), recording.len().div_ceil(8 << 20));
        assert_eq!(machine.here(), Vec::<String>::new());
        server.stop().await;
    });
}

/// Whatever the store answers, and however long it takes: a recording is here or there, and in the
/// end there.
#[test]
fn a_recording_stays_here_until_the_store_has_it() {
    for answer in [Answer::Error, Answer::Never, Answer::Torn] {
        simulate(async |mut machine| {
            machine.store.fail(answer, Duration::ZERO..Duration::from_secs(120));
            let server =
                machine.start(&[&RECORD[..], &["archive.file_ms_max=5000"]].concat()).await;
            machine.publish("cam", 500, 200).await;
            sleep(Duration::from_secs(5)).await;
            let complete: Vec<_> = machine.here();
            assert_eq!(complete.len(), 4, "{answer:?}: {complete:?}");
            assert!(machine.store.failed() > 0, "{answer:?}");
            sleep_until(machine.store.start() + Duration::from_secs(300)).await;
            assert_eq!(machine.here(), Vec::<String>::new(), "{answer:?}");
            let stored = machine.store.objects().await;
            let all: Vec<_> = stored.values().flat_map(|recording| frames(recording)).collect();
            assert_eq!(all, Vec::from_iter(0..500), "{answer:?}");
            server.stop().await;
        });
    }
}

/// A server that stops copies its last recordings within its time; the next one those before.
#[test]
fn a_stop_copies_what_it_completed_and_the_next_start_what_was_left() {
    simulate(async |mut machine| {
        let server = machine.start(&RECORD).await;
        let camera = tokio::spawn({
            let machine = machine.clone();
            async move { machine.publish("cam", 100_000, 200).await }
        });
        sleep(Duration::from_secs(10)).await;
        server.stop().await;
        camera.abort();
        assert_eq!((machine.here().len(), machine.store.objects().await.len()), (0, 1));

        machine.store.fail(Answer::Error, Duration::ZERO..Duration::from_secs(60));
        let server = machine.start(&[&RECORD[..], &["shutdown.drain_ms=1000"]].concat()).await;
        machine.publish("cam", 50, 200).await;
        server.stop().await;
        assert_eq!((machine.here().len(), machine.store.objects().await.len()), (1, 1));
        sleep(Duration::from_secs(60)).await;
        let server = machine.start(&RECORD).await;
        sleep(Duration::from_secs(1)).await;
        assert_eq!((machine.here().len(), machine.store.objects().await.len()), (0, 2));
        server.stop().await;
    });
}

/// A stop goes on trying for as long as it may take.
#[test]
fn a_stop_waits_for_a_store_that_comes_back_in_time() {
    simulate(async |mut machine| {
        machine.store.fail(Answer::Error, Duration::ZERO..Duration::from_secs(20));
        let server = machine.start(&[&RECORD[..], &["shutdown.drain_ms=30000"]].concat()).await;
        machine.publish("cam", 50, 200).await;
        server.stop().await;
        assert!(machine.store.failed() > 0);
        assert_eq!((machine.here().len(), machine.store.objects().await.len()), (0, 1));
    });
}

#[test]
fn recordings_that_are_kept_are_copied_once() {
    simulate(async |mut machine| {
        let settings = [&RECORD[..], &["store.keep_recordings=true"]].concat();
        for start in 1..=2 {
            let server = machine.start(&settings).await;
            machine.publish("cam", 50, 200).await;
            sleep(Duration::from_secs(5)).await;
            assert_eq!((machine.here().len(), machine.store.puts()), (start, start));
            server.stop().await;
        }
    });
}

/// Two servers that share a prefix by mistake must not cost either its recordings.
#[test]
fn an_object_of_another_server_is_not_replaced() {
    simulate(async |mut machine| {
        let name = "node-1/live/cam-20231114T221320.000Z.flv";
        machine.store.put_text(name, "what another server recorded").await;
        let server = machine.start(&RECORD).await;
        machine.publish("cam", 50, 200).await;
        sleep(Duration::from_secs(5)).await;
        assert_eq!(machine.here(), ["records/live/cam-20231114T221320.000Z.flv"]);
        assert_eq!(machine.store.objects().await[name], b"what another server recorded");
        server.stop().await;
    });
}

#[test]
fn files_of_others_stay_where_they_are() {
    simulate(async |mut machine| {
        let holiday = Path::new("records/holiday.flv");
        machine.disk.create_dir(Path::new("records")).await.unwrap();
        drop(machine.disk.create(holiday).await.unwrap());
        let server = machine.start(&RECORD).await;
        machine.publish("cam", 50, 200).await;
        sleep(Duration::from_secs(5)).await;
        assert_eq!(machine.here(), ["records/holiday.flv"]);
        assert_eq!(machine.store.objects().await.len(), 1);
        server.stop().await;
    });
}

const SEGMENTS: [&str; 2] = ["store.hls=true", "hub.grace_ms=0"];

/// The lines of a playlist that are names.
fn listed(playlist: &str) -> Vec<&str> {
    playlist.lines().filter(|line| !line.starts_with('#')).collect()
}

fn map(playlist: &str) -> &str {
    playlist.split("URI=\"").nth(1).unwrap().split('"').next().unwrap()
}

fn sequence(playlist: &str) -> usize {
    let line = playlist.lines().find_map(|line| line.strip_prefix("#EXT-X-MEDIA-SEQUENCE:"));
    line.unwrap().parse().unwrap()
}

#[test]
fn whole_segments_are_stored_before_a_playlist_names_them() {
    simulate(async |mut machine| {
        let server = machine.start(&SEGMENTS).await;
        machine.publish("cam", 1_500, 200).await;
        sleep(Duration::from_secs(1)).await;
        let playlists = machine.store.history("node-1/live/cam/media.m3u8");
        assert!(playlists.len() > 25, "{} playlists for 30 segments", playlists.len());
        let mut sequences = BTreeMap::new();
        for (playlist, there) in &playlists {
            for name in listed(playlist).into_iter().chain([map(playlist)]) {
                let name = format!("node-1/live/cam/{name}");
                assert!(there.contains(&name), "{name} is named before it is there");
            }
            for (index, name) in listed(playlist).into_iter().enumerate() {
                let number = sequence(playlist) + index;
                assert_eq!(sequences.entry(number).or_insert(name.to_owned()), name);
            }
            assert!(!playlist.contains("EXT-X-PART"), "parts are not there");
        }
        let numbers: Vec<_> = sequences.keys().collect();
        assert!(numbers.windows(2).all(|pair| pair[1] - pair[0] == 1), "{numbers:?}");
        assert_eq!(sequences.len(), 30);
        let (last, _) = playlists.last().unwrap();
        assert!(last.ends_with("#EXT-X-ENDLIST\n"), "{last}");
        let others: Vec<_> = playlists.iter().rev().skip(1).collect();
        assert!(others.iter().all(|(playlist, _)| !playlist.contains("ENDLIST")));
        let multivariant = machine.store.history("node-1/live/cam/index.m3u8");
        assert!(multivariant.iter().all(|(playlist, there)| {
            listed(playlist) == ["media.m3u8"] && there.contains("node-1/live/cam/media.m3u8")
        }));
        server.stop().await;
    });
}

/// What was never listed long enough ago is gone, and after the end all of it.
#[test]
fn segments_leave_the_store_when_no_player_may_ask_for_them() {
    simulate(async |mut machine| {
        let server = machine.start(&[&SEGMENTS[..], &["hls.window_ms=6000"]].concat()).await;
        machine.publish("cam", 3_000, 200).await;
        sleep(Duration::from_secs(1)).await;
        let segments =
            |names: &BTreeSet<String>| names.iter().filter(|name| name.contains("/seg-")).count();
        let all = machine.store.history("node-1/live/cam/media.m3u8");
        let most = all.iter().map(|(_, there)| segments(there)).max().unwrap();
        // A playlist of 10 s, and what was in one in the last 16 s (its own length, the playlist's and
        // two targets), looked at when the next segment comes: of 2 s each.
        assert!((8..=15).contains(&most), "{most} of 60 segments were there");
        sleep(Duration::from_secs(120)).await;
        let left = machine.store.objects().await;
        assert!(left.is_empty(), "{:?}", left.keys());
        server.stop().await;
    });
}

#[test]
fn a_store_that_was_gone_for_longer_than_the_window_has_gaps() {
    gone_and_back(Answer::Error);
}

/// It takes as long as the window to see that a store says nothing.
#[test]
fn a_store_that_said_nothing_for_longer_than_the_window_has_gaps() {
    gone_and_back(Answer::Never);
}

fn gone_and_back(answer: Answer) {
    simulate(async |mut machine| {
        let gone = Duration::from_secs(20)..Duration::from_secs(80);
        machine.store.fail(answer, gone);
        let server = machine.start(&SEGMENTS).await;
        machine.publish("cam", 2_500, 200).await;
        sleep(Duration::from_secs(1)).await;
        let playlists = machine.store.history("node-1/live/cam/media.m3u8");
        let mut numbers = BTreeSet::new();
        let mut gaps = BTreeSet::new();
        for (playlist, there) in &playlists {
            let mut is_gap = false;
            let mut number = sequence(playlist);
            for line in playlist.lines() {
                is_gap |= line == "#EXT-X-GAP";
                if line.starts_with("seg-") {
                    numbers.insert(number);
                    if is_gap {
                        gaps.insert(number);
                    }
                    let is_there = there.contains(&format!("node-1/live/cam/{line}"));
                    assert_eq!(is_there, !is_gap, "{line}");
                    assert!(line.ends_with(&format!("-{number}.m4s")), "{line} is not {number}");
                    (is_gap, number) = (false, number + 1);
                }
            }
        }
        assert_eq!(numbers.last().unwrap() - numbers.first().unwrap(), 49);
        // Sixty seconds were not taken, of which thirty could wait.
        assert!((10..=20).contains(&gaps.len()), "{gaps:?}");
        server.stop().await;
    });
}

/// What is left of a life that the store missed the end of must not be put over the next one's.
#[test]
fn a_life_that_is_over_leaves_the_playlists_to_the_next() {
    // Which of the two tries first when the store is back is chance.
    for until in (20_000..38_000).step_by(1_700).map(Duration::from_millis) {
        simulate(async |mut machine| {
            machine.store.fail(Answer::Error, Duration::from_secs(8)..until);
            let server = machine.start(&SEGMENTS).await;
            machine.publish("cam", 250, 200).await;
            machine.publish("cam", 1_000, 200).await;
            sleep(Duration::from_secs(1)).await;
            let playlists = machine.store.history("node-1/live/cam/media.m3u8");
            let lives: Vec<_> = playlists.iter().map(|(playlist, _)| map(playlist)).collect();
            assert!(lives.is_sorted(), "back after {until:?}: {lives:?}");
            assert_ne!(lives.first(), lives.last());
            let (last, _) = playlists.last().unwrap();
            assert!(last.ends_with("#EXT-X-ENDLIST\n"), "{last}");
            server.stop().await;
        });
    }
}

/// Players ask for it once; who pays for requests pays for each.
#[test]
fn the_multivariant_playlist_is_put_when_it_says_something_new() {
    simulate(async |mut machine| {
        let server = machine.start(&SEGMENTS).await;
        machine.publish("cam", 1_500, 200).await;
        sleep(Duration::from_secs(1)).await;
        let times = machine.store.history("node-1/live/cam/index.m3u8").len();
        assert!((1..=3).contains(&times), "{times} times for 30 segments that are alike");
        server.stop().await;
    });
}

/// A directory is a store as well, and on this machine the simplest one.
#[test]
fn a_directory_is_a_store() {
    let directory = std::env::temp_dir().join(format!("forebay-store-{}", std::process::id()));
    let url = format!("file://{}", directory.display());
    let store = Store::open(&url, &BTreeMap::new()).unwrap();
    let runtime = tokio::runtime::Builder::new_current_thread().enable_time().build().unwrap();
    runtime.block_on(async {
        let (net, disk) = (MemNet::default(), MemDisk::default());
        let settings = ["hls.enabled=false", "archive.directory=records", "archive.sync_ms=10"];
        let builder = settings.iter().try_fold(Builder::new(), |b, setting| b.set("test", setting));
        let config = builder.and_then(Builder::build).unwrap();
        let origin = Origin { seed: 1, utc: Duration::from_secs(1_700_000_000) };
        let server = Server::bind(net.clone(), disk.clone(), config, origin).await.unwrap();
        let stop = Arc::new(Notify::new());
        let stopped = stop.clone();
        let server = server.with_store(store).run(async move { stopped.notified().await });
        let machine = Machine { net, disk, ..Machine::default() };
        let server = tokio::spawn(server);
        machine.publish("cam", 3, 200).await;
        stop.notify_one();
        server.await.unwrap();
        assert_eq!(machine.here(), Vec::<String>::new());
    });
    let found: Vec<_> = std::fs::read_dir(directory.join("live")).unwrap().collect();
    assert_eq!(found.len(), 1);
    let recording = std::fs::read(found[0].as_ref().unwrap().path()).unwrap();
    assert_eq!(frames(&recording), [0, 1, 2]);
    std::fs::remove_dir_all(directory).unwrap();
}

#[test]
fn a_url_that_is_none_of_a_store_is_refused_by_name() {
    let open = |url: &str| Store::open(url, &BTreeMap::new()).err().map(|error| error.to_string());
    let expect = |url: &str, message: &str| {
        assert_eq!(open(url), Some(format!("store.url = \"{url}\": {message}")));
    };
    expect("ftp://there", "it is none of a store that there is");
    expect("file://here", "it is none of a store that there is");
    expect("file:///dev/null/store", "cannot make the directory: Not a directory (os error 20)");
    #[cfg(not(feature = "s3"))]
    expect("s3://bucket", "this build has no S3, which takes --features s3");
    assert_eq!(open("memory:///"), None);
}
