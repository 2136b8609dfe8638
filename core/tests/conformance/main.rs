//! The conformance checklist: a module per section, a test per row, named after the row.

// The helpers of tests are tests too; clippy's own exception covers only `#[test]` functions.
#![allow(clippy::unwrap_used)]

mod amf0;
mod camera;
mod chunk_stream;
mod codec;
mod commands;
mod control;
mod enhanced;
mod flv_files;
mod handshake;
#[cfg(feature = "shell")]
mod hls;
#[cfg(feature = "shell")]
mod hls_fmp4;
#[cfg(feature = "shell")]
mod hls_playlist;
#[cfg(feature = "shell")]
mod hls_stage;
#[cfg(feature = "shell")]
mod hls_watch;
#[cfg(feature = "shell")]
mod ll_hls;
mod media;
#[cfg(feature = "shell")]
#[path = "../common/mem_net.rs"]
mod mem_net;
#[cfg(feature = "shell")]
#[allow(dead_code, reason = "it only publishes here")]
#[path = "../common/peer.rs"]
mod peer;
mod studio;
mod wire;
