//! A live-streaming core without I/O.
//!
//! # Layers
//!
//! A module uses modules of lower numbers only, and modules of one number are strangers.
//! `cargo ci layers` reads this block and checks the code against it.
//!
//! ```text
//! time      0  milliseconds that wrap, and composition time
//! rope      0  a payload as slices of the blocks it arrived in
//! blocks    0  where bytes are received, and how blocks return
//! amf0      0  AMF0 values, with bounded depth and count
//! flv       1  tags, and the headers inside audio and video
//! rtmp      2  handshake, chunks, messages, commands, both ends of a connection
//! gop       2  where a joiner may start
//! wire_log  3  a topic's stream as one protocol's bytes
//! hub       4  topics, publishers, subscribers: lossy fan-out
//! describe  3  headers in words: codec, resolution, sample rate
//! inspect   4  what is in a stream, and what is wrong with it
//! config    5  every limit and cadence, with its default and its reason
//! shell     6  sockets, files, tasks, the clock
//! main      7  the command line
//! ```
#![cfg_attr(not(test), warn(clippy::unwrap_used))]

pub mod amf0;
pub mod blocks;
#[cfg(feature = "shell")]
pub mod config;
#[cfg(feature = "shell")]
pub mod describe;
pub mod flv;
pub mod gop;
pub mod hub;
#[cfg(feature = "shell")]
pub mod inspect;
pub mod rope;
pub mod rtmp;
#[cfg(feature = "shell")]
pub mod shell;
mod sync;
pub mod time;
pub mod wire_log;
