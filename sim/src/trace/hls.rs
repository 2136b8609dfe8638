//! What a player of HLS saw.

use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use crate::tag::TagSeen;
use crate::time::SimTime;
use crate::viewer::hls::{Playlist, Span};

/// Something that a player of HLS saw.
#[derive(Clone, Debug, PartialEq)]
pub enum HlsSeen {
    /// A version of the media playlist that differs from the one that this player saw before.
    Version(Arc<Playlist>),
    /// What a playlist names has come, or has not.
    Fetched(Arc<Fetched>),
    /// A reload that asked for something has been answered.
    Reloaded(Reloaded),
    /// There was nothing more to play, for so long.
    Stalled(Duration),
}

/// An answer to a request for a segment, a part or an initialization section.
#[derive(Clone, Debug, PartialEq)]
pub struct Fetched {
    /// Its URI, as the playlist has it.
    pub uri: Arc<str>,
    /// What it is.
    pub what: Resource,
    /// What the playlist that the player had seen last said of it when it asked.
    pub listed: Listed,
    /// When it was asked for.
    pub asked: SimTime,
    /// Of HTTP; 0: the connection was lost before the answer was whole.
    pub status: u16,
    /// Bytes of the body.
    pub len: u64,
    /// Their digest.
    pub digest: u64,
    /// It cannot be read, because.
    pub garbled: Option<Arc<str>>,
    /// Where its samples are in time; of segments only.
    pub spans: Vec<Span>,
    /// The tags that its samples were; of segments only.
    pub tags: Vec<TagSeen>,
    /// Digests of its tracks' decoder configurations; of initialization sections only.
    pub configs: Vec<u64>,
    /// Whether the parts that were fetched, joined, are it: of segments all of whose parts were.
    pub is_its_parts: Option<bool>,
}

/// What a URI leads to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Resource {
    /// An initialization section.
    Init,
    /// A segment, of this media sequence number.
    Segment(u64),
    /// A part.
    Part,
}

/// What a player knew of what it asked for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Listed {
    /// It is in the playlist.
    Yes,
    /// The playlist says that it comes next.
    Hinted,
    /// It was removed, and may be asked for until this.
    RemovedUntil(SimTime),
}

/// An answer to a reload of the playlist.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Reloaded {
    /// `_HLS_msn`.
    pub msn: u64,
    /// `_HLS_part`.
    pub part: Option<u64>,
    /// How far the playlist was that the player had seen last.
    pub seen: (u64, u64),
    /// When it was asked for.
    pub asked: SimTime,
    /// Of HTTP; 0: the connection was lost.
    pub status: u16,
    /// How far the playlist is that came.
    pub progress: Option<(u64, u64)>,
    /// It has ended.
    pub is_ended: bool,
}

impl fmt::Display for HlsSeen {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Version(playlist) => {
                let (next, parts) = playlist.progress();
                let end = if playlist.is_ended { ", ended" } else { "" };
                write!(f, "playlist {}..{next} and {parts} parts{end}", playlist.media_sequence)
            }
            Self::Fetched(fetched) => {
                let Fetched { uri, status, len, digest, .. } = &**fetched;
                write!(f, "fetched {uri}: {status}, {len} bytes, {digest:016x}")
            }
            Self::Reloaded(Reloaded { msn, part, status, progress, .. }) => {
                write!(f, "reload for {msn} {part:?}: {status} {progress:?}")
            }
            Self::Stalled(time) => write!(f, "stalled for {} ms", time.as_millis()),
        }
    }
}
