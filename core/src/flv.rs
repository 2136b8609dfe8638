//! What a tag is: its kinds, and the headers inside audio and video.

mod audio;
mod enhanced;
pub mod file;
mod role;
pub mod script;
mod tag;
mod video;

pub use audio::{AudioCodec, AudioHeader, AudioPacketType, AudioTrack, Sound};
pub use enhanced::{HeaderError, MultitrackKind, TRACK_COUNT_MAX};
pub use role::{TagRole, TrackSet};
pub use tag::{Tag, TagKind};
pub use video::{FrameType, VideoCodec, VideoHeader, VideoPacketType, VideoTrack};
