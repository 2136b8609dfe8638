//! What the benches share: where tags come from, and where bytes go.

pub mod loopback;
pub mod obs;
