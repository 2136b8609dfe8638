//! The simulator: the real core under modelled networks, one seed one trace, and every failure a
//! small plan.

pub mod campaign;
mod canary;
pub mod capture;
pub mod cpu;
pub mod differential;
mod draw;
pub mod goal;
pub mod invariant;
pub mod landmark;
pub mod ledger;
pub mod link;
mod log;
pub mod neighbour;
pub mod net;
mod node;
mod panics;
mod peer;
pub mod plan;
pub mod publisher;
pub mod random;
mod recorder;
pub mod report;
pub mod run;
pub mod scenario;
pub mod shrink;
pub mod tag;
pub mod time;
pub mod timeline;
pub mod trace;
pub mod viewer;
pub mod world;

pub use link::Link;
pub use world::{Play, Units, World};
