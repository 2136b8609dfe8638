//! What the benches share: where tags come from, where bytes go, and who is measured.

pub mod floor;
pub mod helpers;
pub mod join;
pub mod loopback;
pub mod measured;
pub mod obs;
pub mod peer;
pub mod process;
pub mod publisher;
pub mod server;
pub mod sink;
pub mod syscalls;
pub mod turn;
