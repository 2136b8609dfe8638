//! FLV files (FLV E.2 to E.4), up to the first break.

use bytes::Bytes;

use super::CaptureTag;
use crate::tag::Kind;

/// The tags, and why they end before the file does, if they do.
pub(super) fn read(file: &Bytes) -> (Vec<CaptureTag>, Option<String>) {
    let mut tags = Vec::new();
    // The file header says how long it is; a PreviousTagSize of 0 follows.
    let data_offset = file.get(5..9).and_then(|field| field.first_chunk());
    let mut at = data_offset.map_or(file.len(), |&field| u32::from_be_bytes(field) as usize + 4);
    if !file.starts_with(b"FLV\x01") || file.get(at - 4..at) != Some(&[0; 4]) {
        return (tags, Some("no FLV file".to_owned()));
    }
    while at < file.len() {
        match read_tag(file, at) {
            Ok((tag, end)) => {
                tags.push(tag);
                at = end;
            }
            Err((tag, why)) => {
                tags.extend(tag);
                return (tags, Some(format!("byte {at}: {why}")));
            }
        }
    }
    (tags, None)
}

type Broken = (Option<CaptureTag>, String);

/// The tag at `at`, and where the next one is. A tag whose back-pointer is wrong counts.
fn read_tag(file: &Bytes, at: usize) -> Result<(CaptureTag, usize), Broken> {
    let cut = |part: &str| (None, format!("cut inside the {part}"));
    let header: Option<&[u8; 11]> = file.get(at..).and_then(<[u8]>::first_chunk);
    let Some(&[kind, l2, l1, l0, t2, t1, t0, t3, s2, s1, s0]) = header else {
        return Err(cut("header"));
    };
    let len = u32::from_be_bytes([0, l2, l1, l0]) as usize;
    let start = at + 11;
    let Some(kind) = Kind::of_type(kind).filter(|_| [s2, s1, s0] == [0; 3]) else {
        return Err((None, format!("no tag: type {kind}, stream {:x?}", [s2, s1, s0])));
    };
    if start + len > file.len() {
        return Err(cut("payload"));
    }
    let timestamp_ms = u32::from_be_bytes([t3, t2, t1, t0]);
    let tag = CaptureTag { kind, timestamp_ms, payload: file.slice(start..start + len) };
    let Some(&back) = file[start + len..].first_chunk() else {
        return Err((Some(tag), "cut inside the back-pointer".to_owned()));
    };
    let back = u32::from_be_bytes(back) as usize;
    if back != 11 + len {
        return Err((Some(tag), format!("back-pointer {back} behind {len} bytes")));
    }
    Ok((tag, start + len + 4))
}
