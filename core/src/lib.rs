//! A live-streaming core without I/O.
#![cfg_attr(not(test), warn(clippy::unwrap_used))]

pub mod amf0;
pub mod blocks;
pub mod flv;
pub mod rope;
pub mod rtmp;
pub mod time;
