//! Samples to bytes: the init section of a set of tracks, and fragments of media.

use bytes::{Bytes, BytesMut};
use mp4_atom::{
    Dinf, Dref, DrefEntry, Encode as _, FourCC, Ftyp, Hdlr, Mdhd, Mdia, Mfhd, Minf, Moof, Moov,
    Mvex, Mvhd, Smhd, Stbl, Stco, Stsd, Tfdt, Tfhd, Tkhd, Traf, Trak, Trex, Trun, TrunEntry,
    TrunSamples, Url, Vmhd,
};

use super::track::{Track, TrackKind};
use crate::rope::Rope;

/// A frame with its place on its track's time line, in units of the track's timescale.
#[derive(Clone, Debug)]
pub(super) struct Sample {
    pub(super) decode_time: u64,
    pub(super) duration: u32,
    pub(super) composition: i32,
    pub(super) is_key: bool,
    pub(super) body: Rope,
}

/// ISO/IEC 14496-12 8.8.3.1: depends on no other sample; depends on others and is no sync sample.
const KEY_FLAGS: u32 = 0x0200_0000;
const INTER_FLAGS: u32 = 0x0101_0000;

/// The number of a kind's track in every file of ours.
pub(super) fn track_id(kind: TrackKind) -> u32 {
    match kind {
        TrackKind::Video => 1,
        TrackKind::Audio => 2,
    }
}

/// The init section: file type and an empty movie of these tracks.
pub(super) fn init<'a>(
    tracks: impl Iterator<Item = &'a Track> + Clone,
) -> Result<Bytes, mp4_atom::Error> {
    let brands = [b"iso6", b"cmfc", b"mp41"].map(FourCC::new).to_vec();
    let ftyp =
        Ftyp { major_brand: FourCC::new(b"iso6"), minor_version: 0, compatible_brands: brands };
    let trex = |track: &Track| Trex {
        track_id: track_id(track.kind),
        default_sample_description_index: 1,
        default_sample_duration: 0,
        default_sample_size: 0,
        default_sample_flags: if track.kind == TrackKind::Audio { KEY_FLAGS } else { INTER_FLAGS },
    };
    let moov = Moov {
        mvhd: Mvhd {
            timescale: 1000,
            rate: 1.into(),
            volume: 1.into(),
            next_track_id: 3,
            ..Mvhd::default()
        },
        meta: None,
        mvex: Some(Mvex { mehd: None, trex: tracks.clone().map(trex).collect() }),
        trak: tracks.map(trak).collect(),
        udta: None,
        ainf: None,
    };
    let mut out = Vec::with_capacity(1024);
    ftyp.encode(&mut out)?;
    moov.encode(&mut out)?;
    Ok(out.into())
}

fn trak(track: &Track) -> Trak {
    let is_video = track.kind == TrackKind::Video;
    let handler = FourCC::new(if is_video { b"vide" } else { b"soun" });
    let name = if is_video { "video" } else { "audio" }.to_owned();
    let url = DrefEntry::Url(Url { location: String::new() });
    let stbl = Stbl {
        stsd: Stsd { codecs: vec![track.entry.clone()] },
        stco: Some(Stco::default()),
        ..Stbl::default()
    };
    let minf = Minf {
        vmhd: is_video.then(Vmhd::default),
        smhd: (!is_video).then(Smhd::default),
        dinf: Dinf { dref: Dref { entries: vec![url] } },
        stbl,
        ..Minf::default()
    };
    Trak {
        tkhd: Tkhd {
            track_id: track_id(track.kind),
            enabled: true,
            in_movie: true,
            volume: if is_video { 0.into() } else { 1.into() },
            width: track.width.into(),
            height: track.height.into(),
            ..Tkhd::default()
        },
        edts: None,
        meta: None,
        mdia: Mdia {
            mdhd: Mdhd {
                timescale: track.timescale,
                language: "und".to_owned(),
                ..Mdhd::default()
            },
            hdlr: Hdlr { handler, name },
            minf,
        },
        senc: None,
        tref: None,
        udta: None,
    }
}

/// Bytes of boxes: header, `mfhd`, and of a `traf` without its samples.
const BOX_HEADER_LEN: usize = 8;
const MFHD_LEN: usize = 16;
const TRAF_LEN: usize = BOX_HEADER_LEN + 16 + 20 + 20;
/// Bytes of a sample's entry: four fields for pictures, two for sound.
const VIDEO_ENTRY_LEN: usize = 16;
const AUDIO_ENTRY_LEN: usize = 8;

/// One fragment, `moof` and `mdat`: the samples of each kind, in [`TrackKind`]'s order. The only
/// place where payload is copied.
pub(super) fn fragment(number: u32, samples: &[Vec<Sample>; 2]) -> Result<Bytes, mp4_atom::Error> {
    let [video, audio] = samples;
    let mut moof_len = BOX_HEADER_LEN + MFHD_LEN;
    for (samples, entry_len) in [(video, VIDEO_ENTRY_LEN), (audio, AUDIO_ENTRY_LEN)] {
        if !samples.is_empty() {
            moof_len += TRAF_LEN + samples.len() * entry_len;
        }
    }
    let mut data_offset = moof_len + BOX_HEADER_LEN;
    let mut traf = Vec::with_capacity(2);
    for (kind, samples) in [(TrackKind::Video, video), (TrackKind::Audio, audio)] {
        if let Some(first) = samples.first() {
            traf.push(Traf {
                tfhd: Tfhd {
                    track_id: track_id(kind),
                    default_base_is_moof: true,
                    ..Tfhd::default()
                },
                tfdt: Some(Tfdt { base_media_decode_time: first.decode_time }),
                trun: vec![trun(kind, samples, data_offset)],
                ..Traf::default()
            });
        }
        data_offset += samples.iter().map(|sample| sample.body.len()).sum::<usize>();
    }
    let len = data_offset;
    let mut out = BytesMut::with_capacity(len);
    let moof = Moof { mfhd: Mfhd { sequence_number: number }, traf };
    let mut head = Vec::with_capacity(moof_len + BOX_HEADER_LEN);
    moof.encode(&mut head)?;
    assert_eq!(head.len(), moof_len, "the length of a moof is what its samples say");
    // mp4-atom has no way to write a box around bytes that lie elsewhere.
    head.extend_from_slice(&((len - moof_len) as u32).to_be_bytes());
    head.extend_from_slice(b"mdat");
    out.extend_from_slice(&head);
    samples.iter().flatten().for_each(|sample| sample.body.copy_to(&mut out));
    Ok(out.freeze())
}

fn trun(kind: TrackKind, samples: &[Sample], data_offset: usize) -> Trun {
    let entry = |sample: &Sample| {
        let (duration, size) = (Some(sample.duration), Some(sample.body.len() as u32));
        match kind {
            TrackKind::Video => TrunEntry {
                duration,
                size,
                flags: Some(if sample.is_key { KEY_FLAGS } else { INTER_FLAGS }),
                cts: Some(sample.composition.into()),
            },
            TrackKind::Audio => TrunEntry { duration, size, flags: None, cts: None },
        }
    };
    let entries: Vec<_> = samples.iter().map(entry).collect();
    Trun { data_offset: Some(data_offset as i32), samples: TrunSamples::Explicit(entries) }
}
