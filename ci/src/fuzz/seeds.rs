//! Seeds: the starts of recorded streams, from which the fuzzer goes astray.

use std::fs;
use std::path::Path;

use anyhow::{Context, Result, ensure};

use crate::workspace;

/// Bytes of a long seed: more make an execution slow and change little.
const SEED_LEN: usize = 4 << 10;
/// Bytes of a short seed.
const SHORT_SEED_LEN: usize = 600;
/// C0, C1 and C2, or S0, S1 and S2.
const HANDSHAKE_LEN: usize = 1 + 2 * 1536;
/// The first byte of an input says how the rest is cut: one piece, and short ones.
const CUTS: [u8; 2] = [255, 16];
/// Tags of each file that become a seed of their own.
const TAG_COUNT: usize = 12;

/// What recordings show rarely or late, in the fewest bytes.
const SMALL: &[(&str, &str, &[u8])] = &[
    (
        "chunk",
        "extended-timestamp-repeated",
        b"\x04\xff\xff\xff\0\0\x01\x08\x01\0\0\0\x01\x02\x03\x04a\xc4\x01\x02\x03\x04b",
    ),
    (
        "chunk",
        "extended-timestamp-left-out",
        b"\x04\xff\xff\xff\0\0\x02\x08\x01\0\0\0\x01\x02\x03\x04ab\xc4\x01\x05\xc4de",
    ),
    (
        "chunk",
        "one-message-inside-another",
        b"\x02\0\0\0\0\0\x04\x01\0\0\0\0\0\0\0\x02\x04\0\0\0\0\0\x03\x08\x01\0\0\0ab\
          \x06\0\0\0\0\0\x03\x09\x01\0\0\0cd\xc4e\xc6f",
    ),
    (
        "chunk",
        "abort",
        b"\x02\0\0\0\0\0\x04\x01\0\0\0\0\0\0\0\x02\x02\0\0\0\0\0\x04\x02\0\0\0\0\0\0\xc2\0\x04\
          \x04\0\0\0\0\0\x03\x08\x01\0\0\0ab\xc2\0\0\xc2\0\x04",
    ),
    ("flv", "many-tracks", b"\x96\x11avc1\0\0\0\x04abcd\x01\0\0\x04efgh"),
    ("flv", "many-codecs", b"\x96\x21hvc1\0\0\0\x04abcdav01\x01\0\0\x01e"),
    ("flv", "mod-ex", b"\x97\x02abc\x01hvc1\0\0\0pict"),
    ("flv", "many-sound-tracks", b"\x95\x11Opus\0\0\0\x02ab\x01\0\0\x02cd"),
];

/// Writes the seeds of all targets into folders below `folder` that have their names.
pub(super) fn write(testdata: &Path, folder: &Path) -> Result<()> {
    let seeds = Seeds { folder };
    for (target, name, bytes) in SMALL {
        seeds.put(target, name, bytes)?;
    }
    seeds.put("chunk", "held-up", &held_up())?;
    for path in workspace::files(&testdata.join("rtmp"))? {
        let capture = fs::read(&path)?;
        let name = path.file_stem().context("a file has a name")?.to_string_lossy();
        let [client, server] = sides(&capture).with_context(|| path.display().to_string())?;
        seeds.connection(&name, &client)?;
        seeds.put("handshake", &format!("{name}-server"), start(&server, HANDSHAKE_LEN + 9))?;
        seeds.put("chunk", &format!("{name}-server"), chunks(&server, SHORT_SEED_LEN))?;
    }
    for path in workspace::files(&testdata.join("flv"))? {
        let file = fs::read(&path)?;
        let name = path.file_stem().context("a file has a name")?.to_string_lossy();
        seeds.put("flv", &name, start(&file, SEED_LEN))?;
        for (index, (kind, payload)) in tags(&file).take(TAG_COUNT).enumerate() {
            let target = if kind == 18 { "amf0" } else { "flv" };
            seeds.put(target, &format!("{name}-{index}"), start(payload, SHORT_SEED_LEN))?;
        }
    }
    Ok(())
}

/// Two messages of 300 bytes that take turns, so that each waits for the other.
fn held_up() -> Vec<u8> {
    let first = |csid: u8| [&[csid, 0, 0, 0, 0, 1, 44, 9, 1, 0, 0, 0][..], &[csid; 128]].concat();
    let next = |csid: u8, len: usize| [&[0xC0 | csid][..], &vec![csid; len]].concat();
    [first(4), first(6), next(4, 128), next(6, 128), next(4, 44), next(6, 44)].concat()
}

struct Seeds<'a> {
    folder: &'a Path,
}

impl Seeds<'_> {
    fn connection(&self, name: &str, client: &[u8]) -> Result<()> {
        self.put("handshake", name, start(client, HANDSHAKE_LEN + 9))?;
        for (kind, len) in [("long", SEED_LEN), ("short", SHORT_SEED_LEN)] {
            let name = format!("{name}-{kind}");
            self.put("chunk", &name, chunks(client, len))?;
            self.put("session", &name, chunks(client, len))?;
        }
        let connect = b"\x02\x00\x07connect";
        if let Some(at) = client.windows(connect.len()).position(|window| window == connect) {
            self.put("amf0", name, start(&client[at..], SHORT_SEED_LEN))?;
        }
        Ok(())
    }

    fn put(&self, target: &str, name: &str, bytes: &[u8]) -> Result<()> {
        let folder = self.folder.join(target).join("seeds");
        fs::create_dir_all(&folder)?;
        for cuts in CUTS {
            fs::write(folder.join(format!("{name}-{cuts}")), [&[cuts], bytes].concat())?;
        }
        Ok(())
    }
}

fn start(bytes: &[u8], len_max: usize) -> &[u8] {
    &bytes[..bytes.len().min(len_max)]
}

/// What follows the handshake.
fn chunks(side: &[u8], len_max: usize) -> &[u8] {
    start(side.get(HANDSHAKE_LEN..).unwrap_or_default(), len_max)
}

/// What client and server sent; the format is in `testdata/README.md`.
fn sides(capture: &[u8]) -> Result<[Vec<u8>; 2]> {
    let mut rest = capture.strip_prefix(b"RTMPCAP1").context("no RTMPCAP1 signature")?;
    let mut sides = [Vec::new(), Vec::new()];
    while let Some((&[.., direction, l0, l1, l2, l3], behind)) = rest.split_first_chunk::<13>() {
        let len = u32::from_le_bytes([l0, l1, l2, l3]) as usize;
        ensure!(direction < 2 && len <= behind.len(), "a record of direction {direction}, {len}");
        sides[usize::from(direction)].extend_from_slice(&behind[..len]);
        rest = &behind[len..];
    }
    Ok(sides)
}

/// Kinds and payloads, until the framing breaks.
fn tags(file: &[u8]) -> impl Iterator<Item = (u8, &[u8])> {
    let mut rest = file.get(13..).unwrap_or_default();
    std::iter::from_fn(move || {
        let (&[kind, l0, l1, l2, ..], behind) = rest.split_first_chunk::<11>()?;
        let payload = behind.get(..u32::from_be_bytes([0, l0, l1, l2]) as usize)?;
        rest = behind.get(payload.len() + 4..).unwrap_or_default();
        Some((kind, payload))
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_capture_is_taken_apart() {
        let mut capture = b"RTMPCAP1".to_vec();
        for (direction, bytes) in [(0, &b"ab"[..]), (1, b"cde"), (0, b"f")] {
            capture.extend([0; 8]);
            capture.extend([direction, bytes.len() as u8, 0, 0, 0]);
            capture.extend(bytes);
        }
        assert_eq!(sides(&capture).unwrap(), [b"abf".to_vec(), b"cde".to_vec()]);
        assert!(sides(&capture[..capture.len() - 1]).is_err());
        assert!(sides(b"FLV").is_err());
    }

    #[test]
    fn tags_end_where_the_framing_does() {
        let tag = |kind: u8, payload: &[u8]| {
            [&[kind, 0, 0, payload.len() as u8, 0, 0, 0, 0, 0, 0, 0], payload, &[0; 4]].concat()
        };
        let file = [vec![0; 13], tag(18, b"abc"), tag(9, b""), tag(8, b"de")].concat();
        assert_eq!(tags(&file).count(), 3);
        assert_eq!(tags(&file).next(), Some((18, &b"abc"[..])));
        assert_eq!(tags(&file[..file.len() - 5]).count(), 2);
        assert_eq!(tags(b"").count(), 0);
    }
}
