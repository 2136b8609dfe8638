//! What `forebay_fuzz::amf0` says, for libFuzzer.
#![no_main]

use forebay_fuzz::{amf0, within_memory};

libfuzzer_sys::fuzz_target!(|data: &[u8]| within_memory(amf0::check, data));
