//! Fragmented MP4 (ISO/IEC 14496-12), as far as segments need it.

use std::collections::BTreeMap;

/// An initialization section: tracks by their numbers.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Init(pub BTreeMap<u32, Track>);

/// A track.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Track {
    /// Ticks per second.
    pub timescale: u32,
    /// Pictures, or sound.
    pub is_video: bool,
    /// The sample entry's type, as in `avc1`.
    pub entry: [u8; 4],
    /// The sample entry, whole.
    pub description: Vec<u8>,
    default: Defaults,
}

#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
struct Defaults {
    duration: u32,
    size: u32,
    flags: u32,
}

/// What one `moof` says of one track.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Fragment {
    /// `mfhd`'s number.
    pub sequence: u32,
    /// The track.
    pub track: u32,
    /// In ticks.
    pub decode_time: u64,
    /// In order.
    pub samples: Vec<Sample>,
}

/// A sample.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Sample {
    /// In ticks.
    pub duration: u32,
    /// Presentation behind decoding, in ticks.
    pub composition: i64,
    /// A decoder can begin with it.
    pub is_sync: bool,
    /// Its bytes.
    pub data: Vec<u8>,
}

impl Fragment {
    /// Where its last sample ends, in ticks.
    pub fn end(&self) -> u64 {
        self.decode_time + self.samples.iter().map(|sample| u64::from(sample.duration)).sum::<u64>()
    }
}

/// Bytes that are read from their start.
struct Cursor<'a>(&'a [u8]);

impl<'a> Cursor<'a> {
    fn take(&mut self, len: usize) -> Result<&'a [u8], String> {
        let (taken, rest) = self.0.split_at_checked(len).ok_or("a box is cut short")?;
        self.0 = rest;
        Ok(taken)
    }

    fn u32(&mut self) -> Result<u32, String> {
        Ok(self.take(4)?.iter().fold(0, |sum, &byte| sum << 8 | u32::from(byte)))
    }

    fn u64(&mut self) -> Result<u64, String> {
        Ok(u64::from(self.u32()?) << 32 | u64::from(self.u32()?))
    }

    /// A full box's version and flags.
    fn version(&mut self) -> Result<(u8, u32), String> {
        let word = self.u32()?;
        Ok(((word >> 24) as u8, word & 0xFF_FFFF))
    }
}

type Boxes<'a> = Vec<(usize, [u8; 4], &'a [u8])>;

/// Where each box begins, its type and its body; these are all of the bytes.
fn boxes(bytes: &[u8]) -> Result<Boxes<'_>, String> {
    let mut found = Vec::new();
    let mut rest = Cursor(bytes);
    while !rest.0.is_empty() {
        let at = bytes.len() - rest.0.len();
        let mut len = u64::from(rest.u32()?);
        let kind: [u8; 4] = rest.take(4)?.try_into().map_err(|_| "a box's type")?;
        let mut head_len = 8;
        if len == 1 {
            (len, head_len) = (rest.u64()?, 16);
        }
        let body_len = usize::try_from(len).ok().and_then(|len| len.checked_sub(head_len));
        let body = body_len.ok_or_else(|| format!("a box of {len} bytes"))?;
        found.push((at, kind, rest.take(body)?));
    }
    Ok(found)
}

fn all<'a>(bytes: &'a [u8], kind: &[u8; 4]) -> Result<Vec<&'a [u8]>, String> {
    let boxes = boxes(bytes)?.into_iter();
    Ok(boxes.filter(|(_, it, _)| it == kind).map(|(_, _, body)| body).collect())
}

fn one<'a>(bytes: &'a [u8], path: &[&[u8; 4]]) -> Result<&'a [u8], String> {
    path.iter().try_fold(bytes, |bytes, kind| {
        let missing = || format!("no box {}", kind.escape_ascii());
        all(bytes, kind)?.first().copied().ok_or_else(missing)
    })
}

/// Reads an initialization section.
///
/// # Errors
///
/// What is wrong with it.
pub fn read_init(bytes: &[u8]) -> Result<Init, String> {
    let moov = one(bytes, &[b"moov"])?;
    let mut tracks = BTreeMap::new();
    for trak in all(moov, b"trak")? {
        let times_len = |version| if version == 1 { 16 } else { 8 };
        let mut head = Cursor(one(trak, &[b"tkhd"])?);
        let version = head.version()?.0;
        head.take(times_len(version))?;
        let id = head.u32()?;
        let mut media = Cursor(one(trak, &[b"mdia", b"mdhd"])?);
        let version = media.version()?.0;
        media.take(times_len(version))?;
        let timescale = media.u32()?;
        let mut handler = Cursor(one(trak, &[b"mdia", b"hdlr"])?);
        handler.take(8)?;
        let is_video = handler.take(4)? == b"vide";
        let mut entries = Cursor(one(trak, &[b"mdia", b"minf", b"stbl", b"stsd"])?);
        entries.take(8)?;
        let description = entries.0.to_vec();
        let entry = description.get(4..8).and_then(|kind| kind.try_into().ok());
        let entry = entry.ok_or("a track without a sample entry")?;
        let default = Defaults::default();
        tracks.insert(id, Track { timescale, is_video, entry, description, default });
    }
    for extends in all(one(moov, &[b"mvex"])?, b"trex")? {
        let mut extends = Cursor(extends);
        extends.take(4)?;
        let track = tracks.get_mut(&extends.u32()?).ok_or("trex of no track")?;
        extends.take(4)?;
        let (duration, size, flags) = (extends.u32()?, extends.u32()?, extends.u32()?);
        track.default = Defaults { duration, size, flags };
    }
    if tracks.is_empty() { Err("no tracks".to_owned()) } else { Ok(Init(tracks)) }
}

/// Reads a segment or a part: the `moof`s, and the samples in their `mdat`s.
///
/// # Errors
///
/// What is wrong with it.
pub fn read_fragments(bytes: &[u8], init: &Init) -> Result<Vec<Fragment>, String> {
    let mut fragments = Vec::new();
    for (at, kind, moof) in boxes(bytes)? {
        if &kind != b"moof" {
            continue;
        }
        let mut head = Cursor(one(moof, &[b"mfhd"])?);
        head.take(4)?;
        let sequence = head.u32()?;
        for traf in all(moof, b"traf")? {
            fragments.push(read_traf(&bytes[at..], traf, sequence, init)?);
        }
    }
    if fragments.is_empty() { Err("no moof".to_owned()) } else { Ok(fragments) }
}

fn read_traf(moof: &[u8], traf: &[u8], sequence: u32, init: &Init) -> Result<Fragment, String> {
    let mut head = Cursor(one(traf, &[b"tfhd"])?);
    let (_, flags) = head.version()?;
    let id = head.u32()?;
    let track = init.0.get(&id).ok_or_else(|| format!("track {id} has no initialization"))?;
    if flags & 1 != 0 || flags & 0x2_0000 == 0 {
        return Err("offsets do not count from the moof".to_owned());
    }
    let mut optional =
        |bit: u32, default: u32| if flags & bit != 0 { head.u32() } else { Ok(default) };
    optional(0x02, 1)?;
    let duration = optional(0x08, track.default.duration)?;
    let size = optional(0x10, track.default.size)?;
    let default = Defaults { duration, size, flags: optional(0x20, track.default.flags)? };
    let mut time = Cursor(one(traf, &[b"tfdt"])?);
    let is_long = time.version()?.0 == 1;
    let decode_time = if is_long { time.u64()? } else { u64::from(time.u32()?) };
    let mut samples = Vec::new();
    for run in all(traf, b"trun")? {
        read_run(moof, Cursor(run), default, &mut samples)?;
    }
    Ok(Fragment { sequence, track: id, decode_time, samples })
}

fn read_run(
    moof: &[u8],
    mut run: Cursor<'_>,
    default: Defaults,
    samples: &mut Vec<Sample>,
) -> Result<(), String> {
    let (version, flags) = run.version()?;
    let count = run.u32()?;
    let mut next = |bit: u32| (flags & bit != 0).then(|| run.u32()).transpose();
    let mut at = next(0x01)?.ok_or("a run without an offset")? as usize;
    let first_flags = next(0x04)?;
    for n in 0..count {
        let duration = next(0x100)?.unwrap_or(default.duration);
        let len = next(0x200)?.unwrap_or(default.size) as usize;
        let own = next(0x400)?.or(first_flags.filter(|_| n == 0)).unwrap_or(default.flags);
        let composition = next(0x800)?.unwrap_or(0);
        let composition =
            if version == 0 { i64::from(composition) } else { i64::from(composition as i32) };
        let data = moof.get(at..at + len).ok_or("a sample outside of the segment")?.to_vec();
        at += len;
        // `sample_is_non_sync_sample`.
        samples.push(Sample { duration, composition, is_sync: own & 0x1_0000 == 0, data });
    }
    Ok(())
}
