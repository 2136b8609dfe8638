//! ISO/IEC 14496-12 boxes, as far as fragments have them; written apart from what writes them.

/// A sample of a fragment.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(crate) struct Sample {
    pub(crate) track: u32,
    pub(crate) decode_time: u64,
    pub(crate) duration: u32,
    pub(crate) composition: i32,
    pub(crate) is_sync: bool,
    pub(crate) bytes: Vec<u8>,
}

/// A box's type and what is in it.
pub(crate) fn boxes(mut bytes: &[u8]) -> Vec<(&str, &[u8])> {
    let mut found = Vec::new();
    while !bytes.is_empty() {
        let len = u32_at(bytes, 0) as usize;
        assert!(len >= 8 && len <= bytes.len(), "a box of {len} bytes in {}", bytes.len());
        found.push((std::str::from_utf8(&bytes[4..8]).unwrap(), &bytes[8..len]));
        bytes = &bytes[len..];
    }
    found
}

fn u32_at(bytes: &[u8], at: usize) -> u32 {
    u32::from_be_bytes(bytes[at..at + 4].try_into().unwrap())
}

fn u64_at(bytes: &[u8], at: usize) -> u64 {
    u64::from_be_bytes(bytes[at..at + 8].try_into().unwrap())
}

/// The sequence numbers of fragments, and their samples track by track.
pub(crate) fn fragments(bytes: &[u8]) -> (Vec<u32>, Vec<Sample>) {
    let (mut numbers, mut samples) = (Vec::new(), Vec::new());
    let mut rest = bytes;
    while !rest.is_empty() {
        let moof_len = u32_at(rest, 0) as usize;
        let mdat_len = u32_at(rest, moof_len) as usize;
        let fragment = &rest[..moof_len + mdat_len];
        rest = &rest[moof_len + mdat_len..];
        let found = boxes(fragment);
        assert_eq!(found.iter().map(|(kind, _)| *kind).collect::<Vec<_>>(), ["moof", "mdat"]);
        let mut covered = moof_len + 8;
        for (kind, body) in boxes(found[0].1) {
            match kind {
                "mfhd" => numbers.push(u32_at(body, 4)),
                "traf" => samples.extend(traf(body, fragment, &mut covered)),
                other => panic!("{other} in a moof"),
            }
        }
        assert_eq!(covered, fragment.len(), "every byte of the mdat belongs to a sample");
    }
    (numbers, samples)
}

fn traf(body: &[u8], fragment: &[u8], covered: &mut usize) -> Vec<Sample> {
    let parts = boxes(body);
    assert_eq!(parts.iter().map(|(kind, _)| *kind).collect::<Vec<_>>(), ["tfhd", "tfdt", "trun"]);
    let (tfhd, tfdt, trun) = (parts[0].1, parts[1].1, parts[2].1);
    assert_eq!(u32_at(tfhd, 0), 0x02_0000, "default-base-is-moof and nothing else");
    let track = u32_at(tfhd, 4);
    assert_eq!(tfdt[0], 1, "64 bits of time");
    let mut decode_time = u64_at(tfdt, 4);
    let flags = u32_at(trun, 0) & 0xFF_FFFF;
    let count = u32_at(trun, 4) as usize;
    let mut at = 8;
    let mut next = |present: bool| {
        present.then(|| {
            at += 4;
            u32_at(trun, at - 4)
        })
    };
    let mut data = next(flags & 1 != 0).unwrap() as usize;
    assert_eq!(data, *covered, "samples lie one behind the other");
    let first_flags = next(flags & 4 != 0);
    let mut samples = Vec::new();
    for index in 0..count {
        let duration = next(flags & 0x100 != 0).unwrap();
        let len = next(flags & 0x200 != 0).unwrap() as usize;
        let own_flags = next(flags & 0x400 != 0).or(first_flags.filter(|_| index == 0));
        let composition = next(flags & 0x800 != 0).unwrap_or(0) as i32;
        // Sound has its flags in the init section: all of it is in sync.
        let is_sync = own_flags.is_none_or(|flags| flags & 0x01_0000 == 0);
        let bytes = fragment[data..data + len].to_vec();
        samples.push(Sample { track, decode_time, duration, composition, is_sync, bytes });
        data += len;
        decode_time += u64::from(duration);
    }
    *covered = data;
    samples
}

/// The timescales of an init section's tracks, by number.
pub(crate) fn timescales(init: &[u8]) -> Vec<(u32, u32)> {
    let top = boxes(init);
    assert_eq!(top.iter().map(|(kind, _)| *kind).collect::<Vec<_>>(), ["ftyp", "moov"]);
    let inner = |body, wanted| boxes(body).into_iter().find(|(kind, _)| *kind == wanted).unwrap().1;
    let traks = boxes(top[1].1).into_iter().filter(|(kind, _)| *kind == "trak");
    traks
        .map(|(_, trak)| {
            let (tkhd, mdhd) = (inner(trak, "tkhd"), inner(inner(trak, "mdia"), "mdhd"));
            let at = |body: &[u8]| if body[0] == 1 { 20 } else { 12 };
            (u32_at(tkhd, at(tkhd)), u32_at(mdhd, at(mdhd)))
        })
        .collect()
}

/// The sample entry of an init section's track: its type, and what is in it.
pub(crate) fn sample_entry(init: &[u8], track: usize) -> (&str, &[u8]) {
    let inner = |body, wanted| boxes(body).into_iter().find(|(kind, _)| *kind == wanted).unwrap().1;
    let traks = boxes(inner(init, "moov")).into_iter().filter(|(kind, _)| *kind == "trak");
    let (_, trak) = traks.into_iter().nth(track - 1).unwrap();
    let path = ["mdia", "minf", "stbl", "stsd"];
    // Behind version, flags and a count.
    boxes(&path.into_iter().fold(trak, inner)[8..])[0]
}
