//! A live-streaming core without I/O.
#![cfg_attr(not(test), warn(clippy::unwrap_used))]

pub mod amf0;
pub mod blocks;
pub mod flv;
pub mod gop;
pub mod hub;
pub mod rope;
pub mod rtmp;
mod sync;
pub mod time;
pub mod wire_log;
