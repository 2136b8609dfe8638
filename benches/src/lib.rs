//! What the benches share: where tags come from, where bytes go, and who is measured.

pub mod callgrind;
pub mod capture;
pub mod charts;
pub mod floor;
pub mod helpers;
pub mod join;
pub mod loopback;
pub mod measured;
pub mod obs;
pub mod peer;
pub mod process;
pub mod program;
pub mod publisher;
pub mod received;
pub mod server;
pub mod sink;
pub mod strace;
pub mod turn;
