//! The words of a plan's text: each list once, for reading and for writing.

use super::{Direction, DiskCalls, Leave, MomentKind, Player, Receive, Refusal, Speech, Start};

pub(super) const MOMENTS: [(&str, MomentKind); 12] = [
    ("connected", MomentKind::Connected),
    ("publishing", MomentKind::Publishing),
    ("playing", MomentKind::Playing),
    ("keyframe", MomentKind::Keyframe),
    ("header", MomentKind::Header),
    ("tag", MomentKind::Tag),
    ("picture", MomentKind::Picture),
    ("lag", MomentKind::Lag),
    ("closed", MomentKind::Closed),
    ("started", MomentKind::Started),
    ("down", MomentKind::Down),
    ("disk", MomentKind::Disk),
];

pub(super) const PLAYERS: [(&str, Player); 4] =
    [("rtmp", Player::Rtmp), ("flv", Player::Flv), ("rml", Player::Rml), ("hls", Player::Hls)];

pub(super) const STARTS: [(&str, Start); 3] =
    [("gop", Start::Gop), ("live", Start::Live), ("auto", Start::Auto)];

pub(super) const LEAVES: [(&str, Leave); 5] = [
    ("goodbye", Leave::Goodbye),
    ("close", Leave::Close),
    ("half-close", Leave::HalfClose),
    ("reset", Leave::Reset),
    ("vanish", Leave::Vanish),
];

/// `cut` alone cuts both ways.
pub(super) const DIRECTIONS: [(&str, Direction); 2] =
    [("up", Direction::Up), ("down", Direction::Down)];

pub(super) const RECEIVES: [(&str, Receive); 6] = [
    ("pause", Receive::Pause),
    ("resume", Receive::Resume),
    ("audio-off", Receive::AudioOff),
    ("audio-on", Receive::AudioOn),
    ("video-off", Receive::VideoOff),
    ("video-on", Receive::VideoOn),
];

pub(super) const REFUSALS: [(&str, Refusal); 3] =
    [("bad-name", Refusal::BadName), ("auth", Refusal::Auth), ("busy", Refusal::Busy)];

pub(super) const DISK_CALLS: [(&str, DiskCalls); 3] =
    [("write", DiskCalls::Write), ("sync", DiskCalls::Sync), ("names", DiskCalls::Names)];

pub(super) const SPEECHES: [(&str, Speech); 16] = [
    ("silence", Speech::Silence),
    ("garbage", Speech::Garbage),
    ("http", Speech::Http),
    ("tls", Speech::Tls),
    ("half-handshake", Speech::HalfHandshake),
    ("slow-handshake", Speech::SlowHandshake),
    ("wrong-version", Speech::WrongVersion),
    ("garbage-after-handshake", Speech::GarbageAfterHandshake),
    ("long-message", Speech::LongMessage),
    ("many-chunk-streams", Speech::ManyChunkStreams),
    ("deep-amf", Speech::DeepAmf),
    ("unknown-commands", Speech::UnknownCommands),
    ("media-first", Speech::MediaFirst),
    ("plays-nothing", Speech::PlaysNothing),
    ("intruder", Speech::Intruder),
    ("slow-http", Speech::SlowHttp),
];

/// The node that is meant where none is named.
pub(super) const NODE: &str = "node";

/// A value's word; empty for a value that has none.
pub(super) fn word<T: PartialEq>(table: &[(&'static str, T)], value: &T) -> &'static str {
    table.iter().find(|(_, known)| known == value).map_or("", |(word, _)| word)
}

/// The known word that takes the fewest edits, the first of several; none if nothing would stay.
fn nearest<'a>(word: &str, known: &[&'a str]) -> Option<&'a str> {
    let longest = |known: &str| word.chars().count().max(known.len());
    let related = known.iter().copied().filter(|known| distance(word, known) < longest(known));
    related.min_by_key(|known| distance(word, known))
}

/// What an error ends with: the nearest known word, if there is one.
pub(super) fn hint(word: &str, known: &[&str]) -> String {
    nearest(word, known).map_or_else(String::new, |it| format!(": did you mean `{it}`?"))
}

/// Levenshtein's.
fn distance(from: &str, to: &str) -> usize {
    let to: Vec<char> = to.chars().collect();
    let mut row: Vec<usize> = (0..=to.len()).collect();
    for (index, letter) in from.chars().enumerate() {
        let mut diagonal = row[0];
        row[0] = index + 1;
        for (column, other) in to.iter().enumerate() {
            let replaced = diagonal + usize::from(letter != *other);
            diagonal = row[column + 1];
            row[column + 1] = replaced.min(diagonal + 1).min(row[column] + 1);
        }
    }
    row[to.len()]
}
