//! What a tag is: its kinds, and the headers inside audio and video.

mod tag;

pub use tag::{Tag, TagKind};
