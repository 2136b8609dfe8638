//! What `forebay_fuzz::handshake` says, for libFuzzer.
#![no_main]

use forebay_fuzz::{handshake, within_memory};

libfuzzer_sys::fuzz_target!(|data: &[u8]| within_memory(handshake::check, data));
