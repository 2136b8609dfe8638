//! What a judge finds on a disk: each file read by our own parser, before recovery and behind it.

use std::future::Future;
use std::path::Path;
use std::pin::pin;
use std::sync::Arc;
use std::task::{Context, Poll, Waker};

use bytes::Bytes;
use forebay::shell::recover::{Recovered, recordings, recover};
use xxhash_rust::xxh3::xxh3_64;

use super::{Death, SimDisk};
use crate::random::{self, Rng};
use crate::trace::{RecordedTag, Recording, RecordingHead, Recordings};
use crate::viewer::amf0::{self, Value};
use crate::viewer::flv::FlvReader;

/// What is on a disk, and what recovery makes of copies of it.
pub fn look(disk: &SimDisk, has_lost_power: bool, seed: u64) -> Recordings {
    let mut random = random::stream(seed, "look");
    let straight = disk.copy(0);
    let calls = recover_all(&straight).unwrap_or_default();
    let files = straight.files();
    let uneven = uneven(disk, &straight, &files, calls, &mut random);
    let unpowered = disk.copy(random.u64(..));
    unpowered.died(Death::OfMachine);
    recover_all(&unpowered);
    let unnoticed = unnoticed(&straight, &files, &mut random);
    Recordings {
        has_lost_power,
        found: read_all(&disk.files()),
        recovered: read_all(&files),
        unpowered: read_all(&unpowered.files()),
        uneven: uneven.map(Arc::from),
        unnoticed: unnoticed.map(Arc::from),
    }
}

/// Lets the shipped recovery complete all that is not. So many calls it took; `None`: it was
/// interrupted.
pub fn recover_all(disk: &SimDisk) -> Option<u64> {
    let all = async {
        let Ok(files) = recordings(disk, Path::new(""), false).await else { return };
        for path in files {
            // What it will not touch is none of ours.
            let _left_alone = recover(disk, &path, false).await;
        }
    };
    at_once(all).map(|()| disk.calls())
}

/// How recovery that is run twice, or that loses its power, leaves something else.
fn uneven(
    disk: &SimDisk,
    straight: &SimDisk,
    files: &[(String, Bytes)],
    calls: u64,
    random: &mut Rng,
) -> Option<String> {
    let again = straight.copy(0);
    recover_all(&again);
    if let Some(name) = differs(files, &again.files()) {
        return Some(format!("a second recovery changes {name}"));
    }
    let cut = random.u64(1..=calls.max(1));
    let interrupted = disk.copy(random.u64(..));
    // What it reads must not be gone afterwards.
    interrupted.settle();
    interrupted.halt_at(cut);
    recover_all(&interrupted);
    interrupted.died(Death::OfMachine);
    recover_all(&interrupted);
    let name = differs(files, &interrupted.files())?;
    Some(format!("recovery that loses its power at call {cut} of {calls} leaves another {name}"))
}

fn differs(one: &[(String, Bytes)], other: &[(String, Bytes)]) -> Option<String> {
    let both = one.iter().zip(other).find(|(one, other)| one != other);
    let longer = if one.len() > other.len() { one } else { other };
    let more = longer.get(one.len().min(other.len()));
    both.map(|(one, _)| one).or(more).map(|(name, _)| name.clone())
}

/// How a reader does not see that a bit of a complete file is another.
fn unnoticed(disk: &SimDisk, files: &[(String, Bytes)], random: &mut Rng) -> Option<String> {
    let complete = |(name, bytes): &&(String, Bytes)| {
        name.ends_with(".flv") && first_tag(bytes).is_some_and(|first| bytes.len() > first)
    };
    let complete: Vec<_> = files.iter().filter(complete).collect();
    let (name, bytes) = complete.get(random.usize(..complete.len().max(1)))?;
    let from = first_tag(bytes)? as u64 * 8;
    let bit = random.u64(from..bytes.len() as u64 * 8);
    let damaged = disk.copy(0);
    damaged.flip(Path::new(name), bit).ok()?;
    let Some(Ok(seen)) = at_once(recover(&damaged, Path::new(name), true)) else { return None };
    let is_noticed = Recovered::is_damaged(&seen);
    (!is_noticed).then(|| format!("{name}: bit {bit} is another, and nobody says so"))
}

/// A future in which nothing is waited for, or only what never comes.
fn at_once<T>(future: impl Future<Output = T>) -> Option<T> {
    match pin!(future).poll(&mut Context::from_waker(Waker::noop())) {
        Poll::Ready(value) => Some(value),
        Poll::Pending => None,
    }
}

fn read_all(files: &[(String, Bytes)]) -> Vec<Recording> {
    let is_ours = |name: &str| name.ends_with(".flv") || name.ends_with(".flv.part");
    let ours = files.iter().filter(|(name, _)| is_ours(name));
    ours.map(|(name, bytes)| read(name, bytes)).collect()
}

/// Where the tag behind the head is.
fn first_tag(bytes: &[u8]) -> Option<usize> {
    let [kind, a, b, c] = *bytes.get(13..)?.first_chunk()?;
    (kind == 18).then_some(13 + 11 + u32::from_be_bytes([0, a, b, c]) as usize + 4)
}

fn read(name: &str, bytes: &[u8]) -> Recording {
    let mut recording = Recording {
        path: name.into(),
        len: bytes.len() as u64,
        digest: xxh3_64(bytes),
        ..Recording::default()
    };
    let (mut reader, mut rest) = (FlvReader::new(), bytes);
    let mut at = 13;
    recording.broken = loop {
        match reader.read(&mut rest) {
            Ok(Some(tag)) => {
                let body = payload(bytes, at, tag.len);
                match at == 13 {
                    true => recording.head = head(body),
                    false => recording.tags.push(RecordedTag { at, tag, gap: gap(body) }),
                }
                at = reader.offset();
            }
            Ok(None) if reader.is_at_end_of_tag() && at > 13 => break None,
            Ok(None) => break Some((at, "it ends inside a tag".into())),
            Err(why) => break Some((at, why.into())),
        }
    };
    recording
}

fn payload(bytes: &[u8], at: u64, len: u32) -> &[u8] {
    let from = at as usize + 11;
    bytes.get(from..from + len as usize).unwrap_or_default()
}

fn named(body: &[u8], name: &str) -> Option<Value> {
    let mut values = amf0::read_all(body).ok()?.into_iter();
    let is_it = values.next()?.as_text() == Some(name);
    values.next().filter(|_| is_it)
}

fn gap(body: &[u8]) -> Option<u64> {
    // Most tags are not.
    let starts = body.starts_with(b"\x02\0\x05onGap");
    let value = named(body, "onGap").filter(|_| starts)?;
    Some(value.get("tags")?.as_number()? as u64)
}

fn head(body: &[u8]) -> Option<RecordingHead> {
    let value = named(body, "onMetaData")?;
    let number = |name: &str| value.get(name)?.as_number();
    let list = |name: &str| match value.get("keyframes")?.get(name)? {
        Value::StrictArray(all) => {
            Some(all.iter().filter_map(Value::as_number).collect::<Vec<_>>())
        }
        _ => None,
    };
    let ms = |seconds: f64| (seconds * 1000.0).round() as u64;
    let (times, places) = (list("times")?, list("filepositions")?);
    Some(RecordingHead {
        duration_ms: ms(number("duration")?),
        filesize: number("filesize")? as u64,
        index: times.into_iter().map(ms).zip(places.into_iter().map(|at| at as u64)).collect(),
    })
}
