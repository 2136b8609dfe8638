//! Quirks as words, both ways: `chunk-size 1`, `huge 900000 B every 2`.

use std::fmt;
use std::ops::RangeInclusive;

use super::Quirk;
use super::words::{Read, Words};

/// What a quirk looks like: words with `N` for its numbers, which numbers it may have, and what
/// they mean.
struct Form {
    words: &'static str,
    numbers: [RangeInclusive<i64>; 2],
    quirk: fn(i64, i64) -> Quirk,
}

const fn form(words: &'static str, quirk: fn(i64, i64) -> Quirk) -> Form {
    Form { words, numbers: [ANY, ANY], quirk }
}

const fn form_of(
    words: &'static str,
    first: RangeInclusive<i64>,
    second: RangeInclusive<i64>,
    quirk: fn(i64, i64) -> Quirk,
) -> Form {
    Form { words, numbers: [first, second], quirk }
}

const ANY: RangeInclusive<i64> = 0..=u32::MAX as i64;
const FROM_1: RangeInclusive<i64> = 1..=u32::MAX as i64;
const CHUNK_SIZE: RangeInclusive<i64> = 1..=i32::MAX as i64;
const SIGNED: RangeInclusive<i64> = i32::MIN as i64..=i32::MAX as i64;

const FORMS: [Form; 33] = [
    form("starts-at N", |n, _| Quirk::StartsAt(n as u32)),
    form("no-extended-on-type-3", |_, _| Quirk::NoExtendedOnType3),
    form_of("jumps N ms at tag N", SIGNED, ANY, |by, at| Quirk::Jumps {
        at_tag: at as u32,
        by_ms: by as i32,
    }),
    form("all-zero", |_, _| Quirk::AllZero),
    form("audio-late N ms", |n, _| Quirk::AudioLate(n as u32)),
    form("no-audio", |_, _| Quirk::NoAudio),
    form("no-video", |_, _| Quirk::NoVideo),
    form("video-after N ms", |n, _| Quirk::VideoAfter(n as u32)),
    form("headers-repeated", |_, _| Quirk::HeadersRepeated),
    form_of("header-changes every N offset N", FROM_1, SIGNED, |every, offset| {
        Quirk::HeaderChanges { every: every as u32, offset: offset as i32 }
    }),
    form("codec-changes after N", |n, _| Quirk::CodecChanges(n as u32)),
    form("headers-late N ms", |n, _| Quirk::HeadersLate(n as u32)),
    form("no-headers", |_, _| Quirk::NoHeaders),
    form("keyframe-every N", |n, _| Quirk::KeyframeEvery(n as u32)),
    form("all-keyframes", |_, _| Quirk::AllKeyframes),
    form_of("disposable every N", FROM_1, ANY, |n, _| Quirk::Disposable(n as u32)),
    form_of("composition-time N ms", SIGNED, ANY, |n, _| Quirk::CompositionTime(n as i32)),
    form_of("huge N B every N", ANY, FROM_1, |len, every| Quirk::Huge {
        len: len as u32,
        every: every as u32,
    }),
    form("storm N", |n, _| Quirk::Storm(n as u32)),
    form_of("empty-tags every N", FROM_1, ANY, |n, _| Quirk::EmptyTags(n as u32)),
    form_of("chunk-size N", CHUNK_SIZE, ANY, |n, _| Quirk::ChunkSize(n as u32)),
    form("chunk-size-changes", |_, _| Quirk::ChunkSizeChanges),
    form("interleaved", |_, _| Quirk::Interleaved),
    form("aborts", |_, _| Quirk::Aborts),
    form("aggregates", |_, _| Quirk::Aggregates),
    form("unknown-types", |_, _| Quirk::UnknownTypes),
    form("metadata-updates", |_, _| Quirk::MetadataUpdates),
    form("bursts N ms", |n, _| Quirk::Bursts(n as u32)),
    form_of("drift N ppm", SIGNED, ANY, |n, _| Quirk::Drift(n as i32)),
    form_of("swings N", FROM_1, ANY, |n, _| Quirk::Swings(n as u32)),
    form_of("republishes after N", FROM_1, ANY, |n, _| Quirk::Republishes(n as u32)),
    form_of("thin N", FROM_1, ANY, |n, _| Quirk::Thin(n as u32)),
    form_of("window N B", FROM_1, ANY, |n, _| Quirk::Window(n as u32)),
];

impl Quirk {
    /// Its numbers, in the order of its words.
    fn numbers(self) -> [i64; 2] {
        match self {
            Self::StartsAt(n)
            | Self::AudioLate(n)
            | Self::VideoAfter(n)
            | Self::CodecChanges(n)
            | Self::HeadersLate(n)
            | Self::KeyframeEvery(n)
            | Self::Disposable(n)
            | Self::Storm(n)
            | Self::EmptyTags(n)
            | Self::ChunkSize(n)
            | Self::Bursts(n)
            | Self::Swings(n)
            | Self::Republishes(n)
            | Self::Thin(n)
            | Self::Window(n) => [n.into(), 0],
            Self::CompositionTime(n) | Self::Drift(n) => [n.into(), 0],
            Self::Jumps { at_tag, by_ms } => [by_ms.into(), at_tag.into()],
            Self::HeaderChanges { every, offset } => [every.into(), offset.into()],
            Self::Huge { len, every } => [len.into(), every.into()],
            Self::NoExtendedOnType3
            | Self::AllZero
            | Self::NoAudio
            | Self::NoVideo
            | Self::HeadersRepeated
            | Self::NoHeaders
            | Self::AllKeyframes
            | Self::ChunkSizeChanges
            | Self::Interleaved
            | Self::Aborts
            | Self::Aggregates
            | Self::UnknownTypes
            | Self::MetadataUpdates => [0, 0],
        }
    }
}

impl fmt::Display for Quirk {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let [first, second] = self.numbers();
        let form = FORMS.iter().find(|form| (form.quirk)(first, second) == *self);
        let words = form.map_or("", |form| form.words);
        let text = words.replacen('N', &first.to_string(), 1).replacen('N', &second.to_string(), 1);
        f.write_str(&text)
    }
}

/// Reads the words behind `quirk`.
pub(super) fn read(words: &mut Words<'_>) -> Read<Quirk> {
    let heads = FORMS.each_ref().map(|form| (form.words.split(' ').next().unwrap_or(""), form));
    let form = words.one_of("a quirk", &heads)?;
    let mut numbers = [0; 2];
    let mut next = form.numbers.iter().zip(&mut numbers);
    for word in form.words.split(' ').skip(1) {
        match (word, &mut next) {
            ("N", next) => {
                if let Some((range, number)) = next.next() {
                    *number = words.number(range.clone())?;
                }
            }
            _ => words.must(word)?,
        }
    }
    Ok((form.quirk)(numbers[0], numbers[1]))
}
