//! The simulator: the real core under modelled networks, one seed one trace, and every failure a
//! small plan.

pub mod capture;
pub mod link;
mod log;
mod neighbour;
mod node;
mod peer;
mod recorder;
pub mod run;
pub mod net;
pub mod plan;
pub mod publisher;
pub mod random;
pub mod tag;
pub mod time;
pub mod trace;
pub mod viewer;
