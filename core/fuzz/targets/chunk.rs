//! What `forebay_fuzz::chunk` says, for libFuzzer.
#![no_main]

use forebay_fuzz::{chunk, within_memory};

libfuzzer_sys::fuzz_target!(|data: &[u8]| within_memory(chunk::check, data));
