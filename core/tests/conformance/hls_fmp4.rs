//! Fragmented MP4 as ISO/IEC 14496-12 describes it, as far as segments need it.

use std::collections::BTreeMap;

/// An initialization section.
#[derive(Clone, Debug, Default, PartialEq)]
pub(crate) struct Init {
    pub(crate) tracks: BTreeMap<u32, Track>,
}

#[derive(Clone, Debug, Default, PartialEq)]
pub(crate) struct Track {
    pub(crate) timescale: u32,
    /// `vide` or `soun`.
    pub(crate) handler: String,
    /// The sample entry's type, as in `avc1`.
    pub(crate) entry: String,
    /// The sample entry, whole.
    pub(crate) description: Vec<u8>,
    default_flags: u32,
    default_duration: u32,
    default_size: u32,
}

/// What one `moof` says of one track.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct Fragment {
    /// `mfhd`'s.
    pub(crate) sequence: u32,
    pub(crate) track: u32,
    /// In the track's timescale.
    pub(crate) decode_time: u64,
    pub(crate) samples: Vec<Sample>,
}

#[derive(Clone, Debug, PartialEq)]
pub(crate) struct Sample {
    pub(crate) duration: u32,
    pub(crate) composition: i64,
    pub(crate) is_sync: bool,
    pub(crate) data: Vec<u8>,
}

impl Fragment {
    pub(crate) fn end(&self) -> u64 {
        self.decode_time + self.samples.iter().map(|sample| u64::from(sample.duration)).sum::<u64>()
    }
}

fn u16_at(bytes: &[u8], at: usize) -> u16 {
    u16::from_be_bytes(bytes[at..at + 2].try_into().unwrap())
}

fn u32_at(bytes: &[u8], at: usize) -> u32 {
    u32::from_be_bytes(bytes[at..at + 4].try_into().unwrap())
}

fn u64_at(bytes: &[u8], at: usize) -> u64 {
    u64::from_be_bytes(bytes[at..at + 8].try_into().unwrap())
}

/// The boxes that these bytes are: where each begins, its type and its body. All of the bytes.
#[track_caller]
pub(crate) fn boxes(bytes: &[u8]) -> Vec<(usize, String, &[u8])> {
    let mut found = Vec::new();
    let mut at = 0;
    while at < bytes.len() {
        assert!(bytes.len() - at >= 8, "{} bytes behind the last box", bytes.len() - at);
        let (len, head_len) = match u32_at(bytes, at) {
            1 => (u64_at(bytes, at + 8) as usize, 16),
            len => (len as usize, 8),
        };
        let kind = String::from_utf8_lossy(&bytes[at + 4..at + 8]).into_owned();
        assert!(
            len >= head_len && at + len <= bytes.len(),
            "box {kind} of {len} bytes does not fit"
        );
        found.push((at, kind, &bytes[at + head_len..at + len]));
        at += len;
    }
    found
}

fn child<'a>(bytes: &'a [u8], path: &str) -> &'a [u8] {
    path.split('/').fold(bytes, |bytes, name| {
        let found = boxes(bytes).into_iter().find(|(_, kind, _)| kind == name);
        found.unwrap_or_else(|| panic!("no {name} of {path}")).2
    })
}

#[track_caller]
pub(crate) fn read_init(bytes: &[u8]) -> Init {
    assert_eq!(boxes(bytes)[0].1, "ftyp");
    let moov = child(bytes, "moov");
    let mut init = Init::default();
    for (_, _, trak) in boxes(moov).iter().filter(|(_, kind, _)| kind == "trak") {
        let head = child(trak, "tkhd");
        let id = u32_at(head, if head[0] == 1 { 20 } else { 12 });
        let media = child(trak, "mdia/mdhd");
        let timescale = u32_at(media, if media[0] == 1 { 20 } else { 12 });
        let handler = String::from_utf8_lossy(&child(trak, "mdia/hdlr")[8..12]).into_owned();
        let description = child(trak, "mdia/minf/stbl/stsd")[8..].to_vec();
        let entry = String::from_utf8_lossy(&description[4..8]).into_owned();
        let track = Track { timescale, handler, entry, description, ..Track::default() };
        init.tracks.insert(id, track);
    }
    for (_, _, extends) in boxes(child(moov, "mvex")).iter().filter(|(_, kind, _)| kind == "trex") {
        let track = init.tracks.get_mut(&u32_at(extends, 4)).expect("trex of a track");
        track.default_duration = u32_at(extends, 12);
        track.default_size = u32_at(extends, 16);
        track.default_flags = u32_at(extends, 20);
    }
    assert!(!init.tracks.is_empty(), "no track");
    init
}

/// The fragments of a segment or a part: `moof`s and what they point to in their `mdat`s.
#[track_caller]
pub(crate) fn read_fragments(bytes: &[u8], init: &Init) -> Vec<Fragment> {
    let mut fragments = Vec::new();
    let top = boxes(bytes);
    for (index, (at, kind, moof)) in top.iter().enumerate() {
        match kind.as_str() {
            "moof" => {
                let next = top.get(index + 1).map(|(_, kind, _)| kind.as_str());
                assert_eq!(next, Some("mdat"), "behind a moof");
                let sequence = u32_at(child(moof, "mfhd"), 4);
                for (_, _, traf) in boxes(moof).iter().filter(|(_, kind, _)| kind == "traf") {
                    fragments.push(read_traf(&bytes[*at..], traf, sequence, init));
                }
            }
            "mdat" | "styp" | "sidx" | "prft" | "emsg" => {}
            other => panic!("box {other} in a segment"),
        }
    }
    assert!(!fragments.is_empty(), "no moof");
    fragments
}

fn read_traf(from_moof: &[u8], traf: &[u8], sequence: u32, init: &Init) -> Fragment {
    let head = child(traf, "tfhd");
    let flags = u32_at(head, 0) & 0xFF_FFFF;
    let id = u32_at(head, 4);
    let track =
        init.tracks.get(&id).unwrap_or_else(|| panic!("track {id} is not in the init section"));
    // CMAF: offsets count from the moof.
    assert!(flags & 0x02_0000 != 0 && flags & 1 == 0, "default-base-is-moof");
    let mut at = 8;
    let mut optional = |bit: u32, default: u32| {
        let is_there = flags & bit != 0;
        at += if is_there { 4 } else { 0 };
        if is_there { u32_at(head, at - 4) } else { default }
    };
    let _description = optional(0x02, 1);
    let default_duration = optional(0x08, track.default_duration);
    let default_size = optional(0x10, track.default_size);
    let default_flags = optional(0x20, track.default_flags);
    let time = child(traf, "tfdt");
    let decode_time = if time[0] == 1 { u64_at(time, 4) } else { u64::from(u32_at(time, 4)) };
    let mut samples = Vec::new();
    for (_, _, run) in boxes(traf).iter().filter(|(_, kind, _)| kind == "trun") {
        let flags = u32_at(run, 0) & 0xFF_FFFF;
        let mut at = 8;
        let mut next = |is_there: bool| {
            at += if is_there { 4 } else { 0 };
            is_there.then(|| u32_at(run, at - 4))
        };
        let mut data_at = next(flags & 0x01 != 0).expect("a data offset") as usize;
        let first_flags = next(flags & 0x04 != 0);
        for n in 0..u32_at(run, 4) {
            let duration = next(flags & 0x100 != 0).unwrap_or(default_duration);
            let len = next(flags & 0x200 != 0).unwrap_or(default_size) as usize;
            let own_flags = next(flags & 0x400 != 0);
            let composition = next(flags & 0x800 != 0).unwrap_or(0);
            let sample_flags =
                own_flags.or(first_flags.filter(|_| n == 0)).unwrap_or(default_flags);
            let composition = match run[0] {
                0 => i64::from(composition),
                _ => i64::from(composition as i32),
            };
            // `sample_is_non_sync_sample`.
            let is_sync = sample_flags & 0x01_0000 == 0;
            let data = from_moof[data_at..data_at + len].to_vec();
            samples.push(Sample { duration, composition, is_sync, data });
            data_at += len;
        }
    }
    Fragment { sequence, track: id, decode_time, samples }
}

/// The AudioSpecificConfig or other record, found in a sample entry's own box: `avcC`, `esds`.
pub(crate) fn contains_box(description: &[u8], name: &str) -> bool {
    description.windows(4).any(|bytes| bytes == name.as_bytes())
}

/// For tests of this file's own reading of lengths.
pub(crate) fn width_height(description: &[u8]) -> (u16, u16) {
    // VisualSampleEntry: 8 of the box, 8 of the entry, 16 reserved.
    (u16_at(description, 32), u16_at(description, 34))
}
