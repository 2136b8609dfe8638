//! What an archive leaves on a disk at any moment of a crash is recovered to a beginning of what was
//! published, and to no less than what it had said to be durable.

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

use std::time::Duration;

use archive::files::{Written, media, published, record, recovered, tags};
use bytes::Bytes;
use common::capture::{epoch, intact};
use forebay::archive::head::{HEAD_LEN, RECORDS_AT, Record};
use forebay::archive::{ArchiveLimits, Archiver, Checked, Operation, Recovery, Sound};
use forebay::flv::Tag;
use forebay::flv::file::FileReader;

fn stream() -> Vec<Tag> {
    let obs = intact().into_iter().find(|capture| capture.name == "obs-360p30-base.flv");
    let mut tags = obs.expect("it is in the set").tags;
    tags.truncate(120);
    tags
}

/// A file that is being written, with a sync after each group of tags.
fn growing(tags: &[Tag], group: usize) -> Written {
    record(ArchiveLimits::default(), tags, group, false)
}

#[test]
fn a_file_cut_at_every_byte_is_a_beginning_with_all_that_was_durable() {
    let tags = stream();
    let written = growing(&tags, 10);
    let whole = written.files[0].bytes.clone();
    // Between two syncs the disk may have any beginning of what was written after the first.
    for (at, durable) in &written.syncs {
        for cut in (*at..whole.len()).step_by(97).take(60) {
            let mut torn = written.head_at(*at);
            torn.extend_from_slice(&whole[torn.len().min(cut)..cut]);
            let sound = Recovery::new();
            let (sound, bytes) = recovered(sound, &torn);
            let kept = media(&bytes);
            assert_eq!(sound.checked, Checked::Sound, "cut at {cut}");
            assert!(kept.len() >= *durable, "cut at {cut}: {} of {durable}", kept.len());
            assert_eq!(kept, published(&tags)[..kept.len()], "cut at {cut}");
            again_is_the_same(&bytes);
        }
    }
}

fn again_is_the_same(bytes: &[u8]) {
    let mut recovery = Recovery::new();
    recovery.push(Bytes::copy_from_slice(bytes));
    let sound = recovery.finish();
    assert!(sound.is_complete(), "{sound:?}");
}

#[test]
fn holes_of_zeros_in_what_was_not_synced_are_not_kept() {
    let tags = stream();
    let written = growing(&tags, 12);
    let whole = &written.files[0].bytes;
    for window in written.syncs.windows(2) {
        let [(from, durable), (to, _)] = window else { continue };
        for sector in (from / 512..=to / 512).filter(|sector| sector * 512 >= HEAD_LEN) {
            // The second batch is there with its record, but for one sector.
            let mut torn = written.head_at(*to);
            torn.truncate(HEAD_LEN);
            torn.extend_from_slice(&whole[HEAD_LEN..*to]);
            let hole = (sector * 512).max(*from)..((sector + 1) * 512).min(*to);
            if torn[hole.clone()].iter().all(|&byte| byte == 0) {
                continue;
            }
            torn[hole.clone()].fill(0);
            let (sound, bytes) = recovered(Recovery::new(), &torn);
            let kept = media(&bytes);
            assert_eq!(sound.checked, Checked::Sound, "{hole:?}");
            assert_eq!(kept.len(), *durable, "{hole:?}");
            assert_eq!(kept, published(&tags)[..kept.len()], "{hole:?}");
            again_is_the_same(&bytes);
        }
    }
}

#[test]
fn a_head_torn_at_every_sector_while_it_is_completed_loses_nothing() {
    let tags = stream();
    let written = record(ArchiveLimits::default(), &tags, 10, true);
    let file = &written.files[0];
    let before = written.head_at(written.syncs.last().expect("it was synced").0);
    assert_eq!(file.bytes.len(), before.len());
    for mask in 0..256_u32 {
        // Which sectors of the new head are on the disk: any of them.
        let mut torn = before.clone();
        for sector in 0..HEAD_LEN / 512 {
            if mask.rotate_left(sector as u32) & 1 == 1 || (mask >> (sector % 8)) & 1 == 1 {
                let range = sector * 512..(sector + 1) * 512;
                torn[range.clone()].copy_from_slice(&file.bytes[range]);
            }
        }
        let (sound, bytes) = recovered(Recovery::new(), &torn);
        assert_eq!(sound.checked, Checked::Sound);
        assert!(bytes == file.bytes, "mask {mask:x}");
    }
}

#[test]
fn a_recovery_cut_short_at_every_step_ends_in_the_same_bytes() {
    let tags = stream();
    let written = growing(&tags, 10);
    let (at, _) = written.syncs[3];
    let mut torn = written.head_at(at);
    torn.extend_from_slice(&written.files[0].bytes[at..at + 1000]);
    let (sound, want) = recovered(Recovery::new(), &torn);
    let head = sound.head.expect("the head of a growing file is not complete");
    // Cut off and not yet sure, so that the end may still be there; then any part of the head.
    for size in [torn.len(), want.len()] {
        for sectors in 0..=HEAD_LEN / 512 {
            let mut state = torn[..size].to_vec();
            state[..sectors * 512].copy_from_slice(&head[..sectors * 512]);
            let (_, bytes) = recovered(Recovery::new(), &state);
            assert!(bytes == want, "{size} bytes, {sectors} sectors of the head");
        }
    }
}

#[test]
fn a_flipped_bit_anywhere_is_noticed_or_mended_and_no_tag_is_invented() {
    let tags = stream();
    let written = record(ArchiveLimits::default(), &tags, 10, true);
    let whole = &written.files[0].bytes;
    let all = published(&tags);
    for at in (0..HEAD_LEN).step_by(211).chain((HEAD_LEN..whole.len()).step_by(131)) {
        let mut flipped = whole.to_vec();
        flipped[at] ^= 1 << (at % 8);
        let mut recovery = Recovery::new();
        recovery.push(flipped.clone().into());
        let sound = recovery.finish();
        let is_noticed = sound.checked != Checked::Sound || sound.head.is_some();
        assert!(is_noticed, "byte {at}");
        if at >= HEAD_LEN {
            // What is before it is as it was; what framing shows is cut off there.
            let (_, bytes) = recovered(Recovery::new(), &flipped);
            let kept = media(&bytes);
            let others = kept.iter().zip(&all).filter(|(one, other)| one != other).count();
            assert!(kept.len() <= all.len() && others <= 1, "byte {at}: {others} differ");
        } else if sound.is_ours {
            let (_, bytes) = recovered(Recovery::new(), &flipped);
            assert!(at < 13 || bytes == whole[..], "byte {at} of the head is mended");
        }
    }
}

#[test]
fn a_file_of_another_program_keeps_its_sound_beginning_and_its_own_header() {
    for name in ["bad-cut-in-body.flv", "bad-garbage-between.flv", "bad-prevsize-one.flv"] {
        let bytes = common::capture::testdata(&format!("flv/{name}"));
        let (sound, kept) = recovered(Recovery::new(), &bytes);
        assert!(!sound.is_ours && sound.head.is_none() && sound.keep < sound.size, "{name}");
        assert!(sound.framing.is_some(), "{name}");
        assert_eq!(kept, bytes[..kept.len()]);
        let mut reader = FileReader::strict();
        reader.push(kept.into());
        while reader.next_tag().unwrap().is_some() {}
        reader.finish().unwrap();
    }
}

#[test]
fn every_cut_of_any_recording_ends_with_a_whole_tag() {
    let bytes = common::capture::testdata("flv/obs-360p30-base.flv");
    let bytes = &bytes[..20_000];
    let ends: Vec<_> = ends(bytes);
    for cut in 0..bytes.len() {
        let mut recovery = Recovery::new();
        recovery.push(Bytes::copy_from_slice(&bytes[..cut]));
        let sound = recovery.finish();
        let want = ends.iter().rev().find(|&&end| end <= cut).copied().unwrap_or(0);
        assert_eq!(
            sound.keep,
            if want <= 13 && cut >= 13 { sound.keep.min(13) } else { want as u64 }
        );
        assert_eq!(sound.tags as usize, ends.iter().filter(|&&end| end <= cut).count(), "{cut}");
    }
}

/// Where tags end with the size behind them, by the lengths alone.
fn ends(bytes: &[u8]) -> Vec<usize> {
    let mut ends = Vec::new();
    let mut at = 13;
    while let Some(len) = bytes.get(at + 1..at + 4) {
        at += 11 + u32::from_be_bytes([0, len[0], len[1], len[2]]) as usize + 4;
        ends.push(at);
    }
    ends
}

#[test]
fn what_was_never_synced_is_not_kept() {
    let tags = stream();
    let mut archiver = Archiver::new(ArchiveLimits::default());
    for (number, tag) in tags.iter().enumerate() {
        archiver.take(epoch(), Duration::ZERO, 1, Some(number as u64), tag);
    }
    archiver.flush(epoch());
    let mut file = Vec::new();
    while let Some(operation) = archiver.next_operation() {
        match operation {
            Operation::Append(slices) => file.extend(slices.iter().flatten()),
            Operation::Write { at, bytes } => {
                assert_eq!(at, RECORDS_AT[0]);
                // Before the record, and with the record and a hole.
                let (sound, _) = recovered(Recovery::new(), &file);
                assert_eq!((sound.checked, sound.tags), (Checked::NeverSynced, 0));
                let at = at as usize;
                file[at..at + bytes.len()].copy_from_slice(&bytes);
                let mut torn = file.clone();
                torn[HEAD_LEN + 700..HEAD_LEN + 1200].fill(0);
                let (sound, _) = recovered(Recovery::new(), &torn);
                assert_eq!((sound.checked, sound.tags), (Checked::NeverSynced, 0));
            }
            _ => {}
        }
        archiver.succeeded();
    }
    let (sound, bytes): (Sound, _) = recovered(Recovery::new(), &file);
    assert_eq!(sound.checked, Checked::Sound);
    assert_eq!(tags_of(&bytes), tags.len());
    assert!(Record::parse(&bytes[RECORDS_AT[1] as usize..]).is_some());
}

fn tags_of(bytes: &[u8]) -> usize {
    tags(bytes).len() - 1
}
