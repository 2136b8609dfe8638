//! Every recorded stream, cut into segments: what the playlists say, what is in the segments, and
//! what a fetcher gets. Playlists are read by quick-m3u8, boxes by a parser of our own.
#![cfg(feature = "shell")]
#![allow(clippy::unwrap_used, reason = "a test that cannot go on has failed")]

mod boxes;
#[allow(dead_code, reason = "viewers of FLV and RTMP are not looked at here")]
#[path = "../common/capture.rs"]
mod capture;
mod captures;
mod playlists;
mod synthetic;
