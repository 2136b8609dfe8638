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
mod media;
mod studio;
mod wire;
