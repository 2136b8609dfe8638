//! The conformance checklist: a module per section, a test per row, named after the row.

// The helpers of tests are tests too; clippy's own exception covers only `#[test]` functions.
#![allow(clippy::unwrap_used)]

mod amf0;
mod camera;
mod codec;
mod commands;
mod enhanced;
mod flv_files;
mod media;
mod studio;
