//! What `forebay_fuzz::flv` says, for libFuzzer.
#![no_main]

use forebay_fuzz::{flv, within_memory};

libfuzzer_sys::fuzz_target!(|data: &[u8]| within_memory(flv::check, data));
