//! What must hold whatever a peer sends.
//!
//! Each module has one function, `check`, that takes bytes and panics if a property does not hold.
//! `cargo ci fuzz` has libFuzzer look for such bytes, guided by what code they reach; what it ever
//! found is kept in `testdata/fuzz/TARGET` and is tried again by `cargo test -p forebay-fuzz`.
//!
//! The first byte of every input says how the rest is cut into the pieces that a socket delivers.

pub mod amf0;
pub mod chunk;
pub mod flv;
pub mod handshake;
mod pieces;
pub mod session;

/// A target: its name and its property.
pub type Target = (&'static str, fn(&[u8]));

/// All of them.
pub const TARGETS: [Target; 5] = [
    ("chunk", chunk::check),
    ("amf0", amf0::check),
    ("flv", flv::check),
    ("handshake", handshake::check),
    ("session", session::check),
];

/// Runs `check` and panics if its heap grew past what so much input may cost.
///
/// libFuzzer's own limit for one allocation needs a sanitizer's hooks, which stable Rust has not.
pub fn within_memory(check: fn(&[u8]), data: &[u8]) {
    let allocated = allocation_counter::measure(|| check(data)).bytes_max;
    let allocated_max = ALLOCATED_BASE_MAX + ALLOCATED_PER_BYTE_MAX * data.len() as u64;
    assert!(
        allocated <= allocated_max,
        "{allocated} bytes on the heap for {} bytes of input, the limit is {allocated_max}",
        data.len()
    );
}

/// What an input may cost however short it is: the limits that our peers are granted by the targets
/// add up to less.
const ALLOCATED_BASE_MAX: u64 = 1 << 20;
/// What a byte of input may cost: an empty AMF0 object in an object is 3 bytes and 256 in memory,
/// and a target holds it twice, with its text.
const ALLOCATED_PER_BYTE_MAX: u64 = 512;
