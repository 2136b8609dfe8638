//! Samples as the tags that they were: so what came by HLS is compared with what was published.

use xxhash_rust::xxh3::xxh3_64;

use super::{Fragment, Init, Sample, Track};
use crate::tag::{Kind, TagSeen};

/// Where a track's samples begin and end in a segment, in microseconds of decode time.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Span {
    /// Pictures, or sound.
    pub is_video: bool,
    /// The first sample's time.
    pub start_us: u64,
    /// Where the last one ends.
    pub end_us: u64,
    /// A decoder can begin with the first one.
    pub begins_with_sync: bool,
}

/// What each track has in these fragments.
pub fn spans(fragments: &[Fragment], init: &Init) -> Vec<Span> {
    let span = |(id, track): (&u32, &Track)| {
        let mine = || fragments.iter().filter(|fragment| fragment.track == *id);
        let us = |ticks: u64| ticks * 1_000_000 / u64::from(track.timescale.max(1));
        let first = mine().next()?;
        Some(Span {
            is_video: track.is_video,
            start_us: us(first.decode_time),
            end_us: us(mine().map(Fragment::end).max()?),
            begins_with_sync: first.samples.first().is_some_and(|sample| sample.is_sync),
        })
    };
    init.0.iter().filter_map(span).collect()
}

/// The tags that these samples were, of one kind after the other, each in order. Only of codecs whose
/// tags can be told from their samples.
pub fn tags(fragments: &[Fragment], init: &Init) -> Vec<TagSeen> {
    let mut tags = Vec::new();
    for (id, track) in &init.0 {
        for fragment in fragments.iter().filter(|fragment| fragment.track == *id) {
            let mut time = fragment.decode_time;
            for sample in &fragment.samples {
                tags.extend(tag(track, sample, time));
                time += u64::from(sample.duration);
            }
        }
    }
    tags
}

fn tag(track: &Track, sample: &Sample, time: u64) -> Option<TagSeen> {
    let scale = u64::from(track.timescale.max(1));
    let ms = (time * 1_000 + scale / 2) / scale;
    let frame_type = if sample.is_sync { 1 } else { 2 };
    let composition_ms = sample.composition * 1_000 / scale as i64;
    let composition = (composition_ms as u32).to_be_bytes();
    let (kind, head): (Kind, Vec<u8>) = match &track.entry {
        b"avc1" => (Kind::Video, [&[frame_type << 4 | 7, 1][..], &composition[1..]].concat()),
        b"mp4a" => (Kind::Audio, vec![0xAF, 1]),
        _ => return None,
    };
    Some(TagSeen::of(kind, ms as u32, &[&head[..], &sample.data].concat()))
}

/// Digests of each track's decoder configuration, whatever else its sample entry says.
pub fn configs(init: &Init) -> Vec<u64> {
    init.0.values().map(|track| xxh3_64(&track.description)).collect()
}
