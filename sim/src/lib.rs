//! The simulator: the real core under modelled networks, one seed one trace, and every failure a
//! small plan.

pub mod capture;
pub mod link;
pub mod neighbour;
pub mod plan;
pub mod publisher;
pub mod tag;
pub mod time;
pub mod trace;
pub mod viewer;
