//! What the benches share: where tags come from, and where bytes go.

pub mod callgrind;
pub mod capture;
pub mod charts;
pub mod loopback;
pub mod measured;
pub mod obs;
pub mod received;
