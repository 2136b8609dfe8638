//! A disk of vectors, and what is in the files on it by their lengths alone.

use std::time::{Duration, Instant};

use bytes::Bytes;
use forebay::archive::head::HEAD_LEN;
use forebay::archive::{ArchiveLimits, Archiver, Operation, Recovery, Sound};
use forebay::flv::{Tag, TagKind};

use crate::common::capture::epoch;

/// A file, and whether it has its final name.
pub(crate) struct OnDisk {
    pub(crate) bytes: Vec<u8>,
    pub(crate) is_final: bool,
}

/// What an archiver wrote.
pub(crate) struct Written {
    pub(crate) files: Vec<OnDisk>,
    /// For each sync of the last file: its size, and how many tags were durable.
    pub(crate) syncs: Vec<(usize, usize)>,
    /// The last file as it was at each of them.
    snapshots: Vec<Vec<u8>>,
    pub(crate) archiver: Archiver,
}

impl Written {
    pub(crate) fn of(hands: Hands, archiver: Archiver) -> Self {
        let Hands { files, syncs, snapshots } = hands;
        Self { files, syncs, snapshots, archiver }
    }

    /// The last file as it was synced with this size.
    pub(crate) fn head_at(&self, size: usize) -> Vec<u8> {
        let at = self.syncs.iter().position(|&(synced, _)| synced == size);
        self.snapshots[at.expect("it was synced with this size")].clone()
    }
}

/// Does what the archiver asks for.
#[derive(Default)]
pub(crate) struct Hands {
    pub(crate) files: Vec<OnDisk>,
    syncs: Vec<(usize, usize)>,
    snapshots: Vec<Vec<u8>>,
}

impl Hands {
    pub(crate) fn work(&mut self, archiver: &mut Archiver) {
        while let Some(operation) = archiver.next_operation() {
            let is_sync = operation == Operation::Sync;
            self.perform(operation);
            archiver.succeeded();
            let file = self.files.last().expect("a file was made");
            if is_sync && !file.is_final {
                let durable = archiver.status().durable.map_or(0, |durable| durable.number + 1);
                self.syncs.push((file.bytes.len(), durable as usize));
                self.snapshots.push(file.bytes.clone());
            }
        }
    }

    pub(crate) fn perform(&mut self, operation: Operation) {
        if let Operation::Create { .. } = operation {
            self.syncs.clear();
            self.snapshots.clear();
            self.files.push(OnDisk { bytes: Vec::new(), is_final: false });
        }
        let file = self.files.last_mut().expect("a file was made");
        match operation {
            Operation::Append(slices) => slices.iter().for_each(|slice| file.bytes.extend(slice)),
            Operation::Write { at, bytes } => {
                let at = at as usize;
                file.bytes[at..at + bytes.len()].copy_from_slice(&bytes);
            }
            Operation::Finish => file.is_final = true,
            Operation::Create { .. } | Operation::Sync => {}
        }
    }
}

/// Records tags, with a sync after each group of them.
pub(crate) fn record(
    limits: ArchiveLimits,
    tags: &[Tag],
    group: usize,
    to_the_end: bool,
) -> Written {
    let (mut archiver, mut hands) = (Archiver::new(limits), Hands::default());
    let now: Instant = epoch();
    for (number, tag) in tags.iter().enumerate() {
        archiver.take(now, Duration::from_secs(number as u64), 1, Some(number as u64), tag);
        if (number + 1) % group == 0 {
            archiver.flush(now);
            hands.work(&mut archiver);
        }
    }
    if to_the_end {
        archiver.end();
        hands.work(&mut archiver);
        // The last sync is the completed head's.
        hands.syncs.pop();
        hands.snapshots.pop();
    }
    Written::of(hands, archiver)
}

/// What recovery makes of these bytes.
pub(crate) fn recovered(mut recovery: Recovery, bytes: &[u8]) -> (Sound, Vec<u8>) {
    // In pieces that divide nothing.
    for piece in bytes.chunks(4093) {
        recovery.push(Bytes::copy_from_slice(piece));
    }
    let sound = recovery.finish();
    let mut kept = bytes[..sound.keep as usize].to_vec();
    if let Some(head) = &sound.head {
        kept[..head.len()].copy_from_slice(head);
    }
    (sound, kept)
}

/// Kind, time and payload of a tag.
pub(crate) type Plain = (u8, u32, Vec<u8>);

/// The tags of a file, read with nothing of the core's.
pub(crate) fn tags(bytes: &[u8]) -> Vec<Plain> {
    assert_eq!(&bytes[..4], b"FLV\x01");
    let (mut at, mut found) = (13, Vec::new());
    while at < bytes.len() {
        let len = u32::from_be_bytes([0, bytes[at + 1], bytes[at + 2], bytes[at + 3]]) as usize;
        let time = [bytes[at + 7], bytes[at + 4], bytes[at + 5], bytes[at + 6]];
        let body = at + 11..at + 11 + len;
        let size = u32::from_be_bytes(bytes[body.end..body.end + 4].try_into().expect("four"));
        assert_eq!(size as usize, 11 + len, "tag at {at}");
        found.push((bytes[at], u32::from_be_bytes(time), bytes[body.clone()].to_vec()));
        at = body.end + 4;
    }
    found
}

/// Those behind the head.
pub(crate) fn media(bytes: &[u8]) -> Vec<Plain> {
    let head = tags(&bytes[..HEAD_LEN]);
    assert_eq!(head.len(), 1, "the head is one tag");
    tags(bytes).split_off(1)
}

/// What was published, as a file is to have it: of time zero at its first frame, and with the bits
/// that FLV wants in front of AAC.
pub(crate) fn published(tags: &[Tag]) -> Vec<Plain> {
    let is_frame = |tag: &&Tag| {
        let head: [u8; 2] = tag.payload.first_chunk().unwrap_or_default();
        match tag.kind {
            TagKind::Script => false,
            TagKind::Audio => head[0] >> 4 != 10 || head[1] == 1,
            TagKind::Video => head[1] == 1,
        }
    };
    let base = tags.iter().find(is_frame).map(|tag| tag.timestamp);
    let mut seen_frame = false;
    let plain = |tag: &Tag| {
        seen_frame |= is_frame(&tag);
        let mut payload = tag.payload.to_bytes().to_vec();
        if tag.kind == TagKind::Audio && payload.first().is_some_and(|first| first >> 4 == 10) {
            payload[0] = 0xAF;
        }
        let ms = match (seen_frame, base) {
            (true, Some(base)) => tag.timestamp.since(base).max(0),
            _ => 0,
        };
        (tag.kind as u8, ms as u32, payload)
    };
    tags.iter().map(plain).collect()
}
