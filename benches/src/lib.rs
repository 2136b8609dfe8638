//! What the benches share: where tags come from, where bytes go, and how figures are told.

pub mod callgrind;
pub mod capture;
pub mod charts;
pub mod loopback;
pub mod measured;
pub mod obs;
pub mod program;
pub mod received;
pub mod strace;
