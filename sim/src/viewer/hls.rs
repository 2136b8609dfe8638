//! HLS as a player reads it: playlists and fragmented MP4, by small parsers of our own.

mod fmp4;
mod media;
mod playlist;

pub use self::fmp4::{Fragment, Init, Sample, Track, read_fragments, read_init};
pub use self::media::{Span, configs, spans, tags};
pub use self::playlist::{Part, Playlist, Segment, resolve};
