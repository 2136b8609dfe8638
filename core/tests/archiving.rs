//! What an archiver asks a disk for: files that hold all that was taken, in order, each of which can
//! be played from its start; gaps that are said; and nothing that costs a copy.

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

use archive::files::{Hands, Plain, Written, media, published, record, tags};
use common::capture::{epoch, intact};
use forebay::archive::head::HEAD_LEN;
use forebay::archive::{ArchiveLimits, Archiver, Operation};
use forebay::flv::file::file_payload;
use forebay::flv::{Tag, TagKind, TagRole};
use forebay::rope::{Rope, copied_bytes};
use forebay::time::Timestamp;

fn obs(name: &str) -> Vec<Tag> {
    intact().into_iter().find(|capture| capture.name == name).expect("it is in the set").tags
}

fn limits(file_ms_max: u64) -> ArchiveLimits {
    ArchiveLimits { file_ms_max, ..ArchiveLimits::default() }
}

fn is_picture_start(tag: &Plain) -> bool {
    tag.0 == 9 && tag.2[0] >> 4 == 1 && tag.2[1] == 1
}

#[test]
fn every_recording_is_in_its_file_as_it_came() {
    for capture in intact() {
        let written = record(ArchiveLimits::default(), &capture.tags, 40, true);
        let files: Vec<_> = written.files.iter().collect();
        let mut found = Vec::new();
        for file in &files {
            assert!(file.is_final, "{}", capture.name);
            found.extend(media(&file.bytes));
        }
        if let [_] = files[..] {
            // Kinds and payloads; the times of streams whose clock jumps are another test's.
            let plain = |tags: &[Plain]| -> Vec<_> {
                tags.iter().map(|tag| (tag.0, tag.2.clone())).collect()
            };
            assert!(plain(&found) == plain(&published(&capture.tags)), "{}", capture.name);
        }
        let payloads = capture.tags.iter().map(|tag| file_payload(tag).len()).sum::<usize>();
        assert!(found.iter().map(|tag| tag.2.len()).sum::<usize>() >= payloads, "{}", capture.name);
    }
}

#[test]
fn what_waits_behind_a_full_write_is_gathered_at_once() {
    let tags = obs("obs-360p30-base.flv");
    let due_behind_a_write = |write_len_max| {
        let limits = ArchiveLimits { write_len_max, ..ArchiveLimits::default() };
        let (mut archiver, now) = (Archiver::new(limits), epoch());
        archiver.take(now, Duration::ZERO, 1, Some(0), &tags[0]);
        archiver.flush(now);
        archiver.take(now, Duration::ZERO, 1, Some(1), &tags[1]);
        archiver.due().map(|due| due - now)
    };
    assert_eq!(due_behind_a_write(1), Some(Duration::ZERO));
    assert_eq!(due_behind_a_write(1 << 20), Some(ArchiveLimits::default().sync / 2));
}

#[test]
fn files_joined_are_the_stream_and_each_opens_with_headers_and_a_keyframe() {
    let tags = obs("obs-720p30-keyint10.flv");
    let written = record(limits(2_000), &tags, 7, true);
    assert!(written.files.len() > 2, "{} files", written.files.len());
    let all: Vec<_> = tags.iter().map(|tag| file_payload(tag).to_bytes().to_vec()).collect();
    let mut joined: Vec<Vec<u8>> = Vec::new();
    for (n, file) in written.files.iter().enumerate() {
        let mut tags = media(&file.bytes);
        assert!(tags.iter().all(|tag| tag.1 < 10_000), "time begins anew with each file");
        if n > 0 {
            let first = tags.iter().position(is_picture_start).expect("a keyframe");
            let frames = |tag: &Plain| tag.0 != 18 && tag.2[1] != 0;
            assert!(!tags[..first].iter().any(frames), "file {n}: nothing before its keyframe");
            assert_eq!(tags[first].1, 0, "file {n}");
            let headers = tags.drain(..first).collect::<Vec<_>>();
            assert_eq!(headers.iter().filter(|tag| tag.0 != 18).count(), 2, "file {n}");
        }
        joined.extend(tags.into_iter().map(|tag| tag.2));
    }
    assert!(joined == all);
}

#[test]
fn a_file_ends_by_size_too() {
    let tags = obs("obs-360p30-base.flv");
    let by_size = ArchiveLimits { file_bytes_max: 100_000, ..ArchiveLimits::default() };
    let written = record(by_size, &tags, 7, true);
    assert!(written.files.len() > 2, "{} files", written.files.len());
    let (last, ended) = written.files.split_last().expect("files");
    assert!(ended.iter().all(|file| file.bytes.len() >= 100_000));
    assert!(last.is_final && media(&last.bytes).len() > 3);
}

#[test]
fn the_head_says_what_is_in_the_file() {
    let tags = obs("obs-720p30-keyint10.flv");
    let written = record(ArchiveLimits::default(), &tags, 7, true);
    let bytes = &written.files[0].bytes;
    assert_eq!(bytes[4], 5, "sound and pictures");
    let head = &self::tags(&bytes[..HEAD_LEN])[0].2;
    let number = |key: &str| {
        let at = head.windows(key.len()).position(|window| window == key.as_bytes());
        let at = at.unwrap_or_else(|| panic!("no {key}")) + key.len() + 1;
        f64::from_be_bytes(head[at..at + 8].try_into().expect("eight bytes"))
    };
    let last = media(bytes).iter().filter(|tag| tag.0 != 18).map(|tag| tag.1).max();
    assert_eq!(number("duration"), f64::from(last.expect("frames")) / 1000.0);
    assert_eq!(number("filesize"), bytes.len() as f64);
    assert_eq!(number("width"), 1280.0, "what the publisher said is there");
    // Every place in the index is a keyframe's.
    let at = head.windows(13).position(|window| window == b"filepositions").expect("an index") + 14;
    let count = u32::from_be_bytes(head[at..at + 4].try_into().expect("four bytes")) as usize;
    assert_eq!(count, media(bytes).iter().filter(|tag| is_picture_start(tag)).count());
    for n in 0..count {
        let field = at + 4 + n * 9;
        let place = f64::from_be_bytes(head[field + 1..field + 9].try_into().expect("eight"));
        let place = place as usize;
        assert_eq!((bytes[place], bytes[place + 11] >> 4), (9, 1), "{n}: {place}");
    }
}

#[test]
fn sound_alone_has_a_head_that_says_so() {
    let tags: Vec<_> =
        obs("obs-360p30-base.flv").into_iter().filter(|tag| tag.kind != TagKind::Video).collect();
    let written = record(limits(1_000), &tags, 7, true);
    assert!(written.files.len() > 1, "sound can be cut anywhere");
    assert!(written.files.iter().all(|file| file.bytes[4] == 4));
}

#[test]
fn another_publish_is_another_file() {
    let tags = obs("obs-360p30-base.flv");
    let (mut archiver, mut hands) = (Archiver::new(ArchiveLimits::default()), Hands::default());
    for session in 1..=3 {
        for (number, tag) in tags[..50].iter().enumerate() {
            archiver.take(epoch(), Duration::ZERO, session, Some(number as u64), tag);
        }
    }
    archiver.end();
    hands.work(&mut archiver);
    let all = published(&tags[..50]);
    assert_eq!(hands.files.len(), 3);
    assert!(hands.files.iter().all(|file| media(&file.bytes) == all));
}

#[test]
fn a_clock_that_steps_back_begins_a_file_at_the_next_keyframe() {
    let tags = obs("obs-720p30-keyint10.flv");
    let back = tags.iter().map(|tag| Tag {
        timestamp: tag.timestamp.plus_ms(10_000_000_u32.wrapping_neg()),
        ..tag.clone()
    });
    let all: Vec<_> = tags.iter().cloned().chain(back).collect();
    let written = record(ArchiveLimits::default(), &all, 7, true);
    assert_eq!(written.files.len(), 2);
    let times: Vec<_> = media(&written.files[1].bytes).iter().map(|tag| tag.1).collect();
    // The end of the sequence comes with the time of the last picture, behind later sound.
    assert!(times.windows(2).all(|pair| pair[0] <= pair[1] + 50));
}

#[test]
fn time_that_wraps_goes_on_in_the_file() {
    let tags: Vec<_> = obs("obs-360p30-base.flv")
        .into_iter()
        .map(|tag| Tag { timestamp: tag.timestamp.plus_ms(u32::MAX - 1_000), ..tag })
        .collect();
    let written = record(ArchiveLimits::default(), &tags, 7, true);
    assert_eq!(written.files.len(), 1);
    assert!(media(&written.files[0].bytes) == published(&tags));
}

#[test]
fn what_was_lost_before_it_came_is_said_where_it_is_missing() {
    let tags = obs("obs-360p30-base.flv");
    let keyframe = |tag: &Tag| tag.role() == TagRole::Keyframe;
    let (mut archiver, mut hands) = (Archiver::new(ArchiveLimits::default()), Hands::default());
    let resume = tags.iter().enumerate().filter(|(_, tag)| keyframe(tag)).nth(2).expect("many").0;
    for (number, tag) in tags.iter().enumerate() {
        if (40..resume).contains(&number) {
            archiver.lost(1, tag.payload.len() as u64);
            continue;
        }
        archiver.take(epoch(), Duration::ZERO, 1, Some(number as u64), tag);
    }
    archiver.end();
    hands.work(&mut archiver);
    let found = media(&hands.files[0].bytes);
    let gap = found.iter().position(|tag| tag.2.windows(5).any(|word| word == b"onGap"));
    assert_eq!(gap, Some(40));
    assert!(is_picture_start(&found[41]));
    let status = archiver.status();
    assert_eq!((status.gaps, status.missing.tags), (1, resume as u64 - 40));
    assert_eq!(status.tags + status.missing.tags, tags.len() as u64);
}

/// Fails one operation, and says which it was.
fn failing_at(tags: &[Tag], nth: usize) -> Option<(Written, u64)> {
    let retry = Duration::from_millis(100);
    let limits = ArchiveLimits { retry, ..limits(1_000) };
    let (mut archiver, mut hands) = (Archiver::new(limits), Hands::default());
    let (mut count, mut failed) = (0, false);
    let mut work = |archiver: &mut Archiver, hands: &mut Hands, now| {
        while let Some(operation) = archiver.next_operation() {
            count += 1;
            if count == nth {
                failed = true;
                archiver.failed(now);
                return;
            }
            hands.perform(operation);
            archiver.succeeded();
        }
    };
    for (number, tag) in tags.iter().enumerate() {
        let now = epoch() + Duration::from_millis(tag.timestamp.as_ms().into());
        archiver.take(now, Duration::ZERO, 1, Some(number as u64), tag);
        if number % 20 == 19 {
            archiver.flush(now);
            work(&mut archiver, &mut hands, now);
        }
    }
    archiver.end();
    work(&mut archiver, &mut hands, epoch());
    let missing = archiver.status().missing.tags;
    failed.then(|| (Written::of(hands, archiver), missing))
}

#[test]
fn after_any_operation_that_fails_the_gap_is_said_and_a_keyframe_follows() {
    let tags = obs("obs-720p30-keyint10.flv");
    let mut tried = 0;
    for nth in 1.. {
        let Some((written, missing)) = failing_at(&tags, nth) else { break };
        tried += 1;
        assert_eq!(written.archiver.status().errors, 1);
        let finals: Vec<_> = written.files.iter().filter(|file| file.is_final).collect();
        let after = finals.iter().filter(|file| {
            media(&file.bytes).iter().any(|tag| tag.2.windows(5).any(|word| word == b"onGap"))
        });
        // The last file's own failure has nothing after it that could say so.
        let said = after.count();
        assert!(
            said <= 1 && (said == 1 || missing > 0 || written.archiver.status().gaps == 0),
            "{nth}"
        );
        for file in finals {
            let tags = media(&file.bytes);
            let first = tags.iter().position(|tag| tag.0 != 18 && tag.2[1] != 0);
            let first = first.map(|first| &tags[first]);
            assert!(first.is_some_and(|tag| is_picture_start(tag) || tag.0 == 8), "{nth}");
        }
    }
    assert!(tried > 20, "{tried} operations");
}

#[test]
fn no_payload_is_copied() {
    let tags = obs("obs-720p30-cbr2500.flv");
    let payload_len: usize = tags.iter().map(|tag| tag.payload.len()).sum();
    let (mut archiver, now) = (Archiver::new(ArchiveLimits::default()), epoch());
    let inside = |slice: &bytes::Bytes, tag: &Tag| {
        tag.payload.slices().any(|whole| whole.as_ptr_range().contains(&slice.as_ptr()))
    };
    let (before, mut shared) = (copied_bytes(), 0);
    for (number, tag) in tags.iter().enumerate() {
        archiver.take(now, Duration::ZERO, 1, Some(number as u64), tag);
        archiver.flush(now);
        while let Some(operation) = archiver.next_operation() {
            if let Operation::Append(slices) = operation {
                let of_tag = slices.iter().filter(|slice| inside(slice, tag));
                shared += of_tag.map(bytes::Bytes::len).sum::<usize>();
            }
            archiver.succeeded();
        }
    }
    // Headers are kept by copies of their own, some hundred bytes: nothing that grows.
    assert!(copied_bytes() - before < 20_000, "{}", copied_bytes() - before);
    assert!(shared + 20_000 > payload_len, "{shared} of {payload_len} bytes are shared");
}

#[test]
fn the_smallest_stream_is_a_file() {
    let payload = Rope::from(&b"\x2f\0"[..]);
    let tag = Tag { kind: TagKind::Audio, timestamp: Timestamp::ZERO, payload };
    let written = record(ArchiveLimits::default(), &[tag], 1, true);
    assert_eq!(written.files[0].bytes.len(), HEAD_LEN + 11 + 2 + 4);
    assert_eq!(written.archiver.status().durable.map(|durable| durable.number), Some(0));
}
