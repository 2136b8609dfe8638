//! A disk that fails while a server records: recording goes on at a keyframe when it works again,
//! whatever failed, and the files say what is missing.
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
}
#[allow(dead_code, reason = "this disk is never slow")]
#[path = "common/mem_disk.rs"]
mod mem_disk;
#[path = "common/mem_net.rs"]
mod mem_net;
#[allow(dead_code, reason = "not every test dials as this one does")]
#[path = "common/peer.rs"]
mod peer;

use std::collections::BTreeSet;
use std::io::ErrorKind;
use std::time::Duration;

use archive::files::{Plain, media};
use forebay::config::Builder;
use forebay::shell::{Origin, Server};
use mem_disk::{Call, Fault, MemDisk};
use mem_net::MemNet;
use peer::Peer;
use tokio::time::{Instant, sleep, sleep_until};

/// Twenty-five of them are a second; every fiftieth is a keyframe.
const FRAMES: u32 = 1_000;
const FRAME: Duration = Duration::from_millis(40);

/// All frames from here on are recorded: the disk works from the 20th second on, `archive.retry_ms`
/// are a second, a keyframe comes every two; and a file of five seconds has ended.
const WORKS_AGAIN: u32 = 25 * 25;

const CONFIG: &str = "[hls]\nenabled = false\n[archive]\ndirectory = \"records\"\nfile_ms_max = 5000\n\
                      [listen]\nrtmp = \"127.0.0.1:1935\"\nhttp = \"127.0.0.1:8080\"\n";

fn fault(call: Call, seconds: std::ops::Range<u64>, times: usize) -> Fault {
    let (from, until) = (Duration::from_secs(seconds.start), Duration::from_secs(seconds.end));
    Fault { call, from, until, times, kind: ErrorKind::StorageFull }
}

/// Records one stream on a disk that fails.
fn record(faults: Vec<Fault>) -> MemDisk {
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_time()
        .start_paused(true)
        .build()
        .unwrap();
    runtime.block_on(async {
        let (net, disk) = (MemNet::default(), MemDisk::failing(faults));
        let config = Builder::new().file("forebay.toml", CONFIG).and_then(Builder::build).unwrap();
        let origin = Origin { seed: 1, utc: Duration::from_secs(1_700_000_000) };
        let server = Server::bind(net.clone(), disk.clone(), config, origin).await.unwrap();
        tokio::spawn(server.run(std::future::pending()));
        let (mut peer, start) = (Peer::publish(&net, "cam").await, Instant::now());
        let header =
            b"\x17\0\0\0\0\x01\x64\x00\x1f\xff\xe1\x00\x04\x67\x64\x00\x1f\x01\x00\x02\x68\xee";
        peer.send_video(0, header.to_vec()).await;
        for frame in 0..FRAMES {
            sleep_until(start + FRAME * frame).await;
            let mut payload = vec![if frame % 50 == 0 { 0x17 } else { 0x27 }, 1, 0, 0, 0];
            payload.extend(frame.to_be_bytes());
            peer.send_video(frame * 40, payload).await;
        }
        peer.stop_publishing().await;
        sleep(Duration::from_secs(10)).await;
        disk
    })
}

fn frame(tag: &Plain) -> Option<u32> {
    (tag.0 == 9 && tag.2[1] == 1).then(|| u32::from_be_bytes(tag.2[5..9].try_into().unwrap()))
}

/// What an `onGap` says to be missing.
fn gap(tag: &Plain) -> Option<u64> {
    tag.2.windows(5).find(|word| word == b"onGap")?;
    let at = tag.2.windows(4).position(|word| word == b"tags")? + 5;
    Some(f64::from_be_bytes(tag.2[at..at + 8].try_into().unwrap()) as u64)
}

fn check(faults: &[Fault]) {
    let disk = record(faults.to_vec());
    assert!(disk.failed() > 0, "nothing failed: {faults:?}, {:?}", disk.files().keys());
    let (mut kept, mut said) = (BTreeSet::new(), 0);
    for (path, bytes) in disk.files() {
        assert!(path.extension().is_some_and(|end| end == "flv"), "{path:?} is left: {faults:?}");
        let tags = media(&bytes);
        let first = tags.iter().find_map(frame).unwrap();
        assert_eq!(first % 50, 0, "{path:?} begins with no keyframe: {faults:?}");
        kept.extend(tags.iter().filter_map(frame));
        said += tags.iter().filter_map(gap).sum::<u64>();
    }
    let lost: Vec<_> = (WORKS_AGAIN..FRAMES).filter(|frame| !kept.contains(frame)).collect();
    assert!(lost.is_empty(), "it does not go on: {lost:?} are missing: {faults:?}");
    // Of some nobody knows whether they are there: these are said to be missing as well.
    let missing = u64::from(FRAMES) - kept.len() as u64;
    assert!(said >= missing, "{missing} are missing, {said} are said to be: {faults:?}");
}

const ALL: [Call; 12] = [
    Call::Create,
    Call::Open,
    Call::CreateDir,
    Call::List,
    Call::Rename,
    Call::Remove,
    Call::SyncDir,
    Call::Append,
    Call::WriteAt,
    Call::ReadAt,
    Call::Truncate,
    Call::Sync,
];

#[test]
fn recording_goes_on_at_a_keyframe_when_there_is_room_again() {
    for until in 10..20 {
        check(&[fault(Call::Append, 9..until, usize::MAX)]);
        let no_room = [Call::Append, Call::Create, Call::WriteAt, Call::Sync, Call::CreateDir];
        check(&no_room.map(|call| fault(call, 9..until, usize::MAX)));
    }
}

#[test]
fn recording_goes_on_whatever_fails_once_or_for_a_while() {
    for call in ALL {
        for times in [1, 2, 3, usize::MAX] {
            // Some of them only happen when a file is recovered.
            check(&[fault(Call::Append, 9..11, 1), fault(call, 9..20, times)]);
        }
    }
}

#[test]
fn a_gap_that_was_told_in_a_file_that_is_lost_is_told_again() {
    for times in 1..6 {
        check(&[fault(Call::Append, 6..20, 1), fault(Call::Sync, 8..20, times)]);
    }
}
