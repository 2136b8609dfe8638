//! The simulator: the real core under modelled networks, one seed one trace, and every failure a
//! small plan.

pub mod differential;
pub mod goal;
pub mod invariant;
pub mod ledger;
pub mod link;
pub mod plan;
pub mod tag;
pub mod time;
pub mod trace;
