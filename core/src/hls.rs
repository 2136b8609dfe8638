//! Segments, parts and playlists of one stream: CMAF by HLS, with low latency.
//!
//! A [`Presentation`] is what viewers of a stream see. It takes tags, cuts them into parts of a
//! fraction of a second and segments that begin with a keyframe, and answers for playlists, parts
//! and segments by name. It knows neither the hub nor sockets nor a clock: a `Vec<Tag>` drives it.
//!
//! ```text
//! tags → intake: samples with exact durations → cutter: parts, segments → window: playlists, bytes
//! ```
//!
//! # What always holds
//!
//! - A sample's payload is copied once, into its part. A segment is its parts, and whoever fetches
//!   either is given the same memory.
//! - Times run on: within a track each fragment begins where the last one ended, also across
//!   discontinuities, so that the endless `.mp4` has one time line.
//! - A name means one thing for ever: it holds the presentation's id, which no other life of the
//!   stream has, and numbers that only grow.

mod cutter;
mod follow;
mod intake;
mod mux;
mod playlist;
mod presentation;
mod shelf;
mod sound;
mod track;
mod window;

pub use self::follow::{Follow, Position};
pub use self::playlist::{Delta, PlaylistRequest, RequestError};
pub use self::presentation::{Found, Presentation, State, Wanted};
pub use self::shelf::{Content, Operation, Shelf, ShelfTotals};
pub use self::track::{TrackKind, Unsupported};
pub use self::window::{Init, Part, Segment, Totals};

/// How a stream is cut, and what of it is kept.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Settings {
    /// A segment ends at the first keyframe from here on, in milliseconds.
    pub segment_duration_ms: u64,
    /// The target duration of a stream whose first GOP is longer than this: then segments begin
    /// with any frame.
    pub target_duration_ms_max: u64,
    /// What a part should last, in milliseconds; made a whole number of frames.
    pub part_duration_ms: u64,
    /// What a playlist lists, at least, once there is so much.
    pub window_ms: u64,
    /// Bytes of segments held, listed or not. Past it the window gets shorter.
    pub bytes_max: u64,
}

impl Default for Settings {
    fn default() -> Self {
        Self {
            segment_duration_ms: 2_000,
            target_duration_ms_max: 10_000,
            part_duration_ms: 200,
            window_ms: 30_000,
            bytes_max: 256 << 20,
        }
    }
}
