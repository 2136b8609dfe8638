//! A live-streaming core without I/O.
//!
//! ```text
//! socket ─recv→ block ─slices→ chunks → message → tag ─→ topic: headers + ring + GOP index
//!                    wire logs (RTMP, FLV), a position per viewer ←─┤
//!                    Delivery::{Tag, Lag, End}, a cursor per subscriber ←─┘
//! ```
//!
//! # Invariants
//!
//! - Only `shell` (and the binary's `cli`) touches sockets, files, tasks or a clock. The rest takes
//!   `now`, bytes and random numbers as arguments. Without the feature `shell` none of it is built.
//! - A payload is never copied on its way into the hub: it stays the slices it arrived in. Encoding
//!   it for a protocol copies it once, for all viewers of that protocol.
//! - Nothing waits for a subscriber. One that cannot keep up loses tags and is told so.
//! - A viewer's first picture is a keyframe behind the headers it needs, after a join and after
//!   every lag; if there is none, it waits for one.
//! - Whatever a peer can make grow has a limit in somebody's constructor.
//!
//! # Layers
//!
//! A module uses modules of lower numbers only, and modules of one number are strangers.
//! `cargo ci layers` reads this block and checks the code against it.
//!
//! ```text
//! sync      0  the locks of what several tasks share
//! time      0  milliseconds that wrap, and composition time
//! rope      0  a payload as slices of the blocks it arrived in
//! blocks    0  where bytes are received, and how blocks return
//! amf0      0  AMF0 values, with bounded depth and count
//! flv       1  tags, and the headers inside audio and video
//! rtmp      2  handshake, chunks, messages, commands, both ends of a connection
//! gop       2  where a joiner may start
//! archive   3  tags to FLV files that survive a crash; recovery
//! relay     3  when to connect, back off and resume; what a target is sent
//! wire_log  3  a topic's stream as one protocol's bytes
//! describe  3  headers in words: codec, resolution, sample rate
//! hls       4  segments, parts and playlists: CMAF by HLS with low latency
//! hub       4  topics, publishers, subscribers: lossy fan-out
//! inspect   4  what is in a stream, and what is wrong with it
//! config    5  every limit and cadence, with its default and its reason
//! shell     6  sockets, files, tasks, the clock
//! cli       7  one file per command
//! main      8  the command line
//! ```

pub mod amf0;
pub mod archive;
pub mod blocks;
#[cfg(feature = "shell")]
pub mod config;
#[cfg(feature = "hls")]
pub mod describe;
pub mod flv;
pub mod gop;
#[cfg(feature = "hls")]
pub mod hls;
pub mod hub;
#[cfg(feature = "shell")]
pub mod inspect;
pub mod relay;
pub mod rope;
pub mod rtmp;
#[cfg(feature = "shell")]
pub mod shell;
mod sync;
pub mod time;
pub mod wire_log;
