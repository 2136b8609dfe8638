//! What `forebay_fuzz::session` says, for libFuzzer.
#![no_main]

use forebay_fuzz::{session, within_memory};

libfuzzer_sys::fuzz_target!(|data: &[u8]| within_memory(session::check, data));
