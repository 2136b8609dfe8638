//! The simulator: the real core under modelled networks, one seed one trace, and every failure a
//! small plan.
//!
//! A scenario says what happens in a [`World`]; the seed says how, as far as the scenario leaves it
//! open; every [`invariant`] is always on. What is simulated is the shipped server, with its
//! sessions, hub and time-outs: only its clock and its sockets are ours ([`net`]).
//!
//! ```
//! use forebay_sim::{Link, Play, Units as _, World};
//!
//! // Whoever falls a second behind is let go; others must not notice.
//! let mut world = World::new("own_policy", 42);
//! world.set("play.overflow=\"disconnect\"");
//! world.set("play.backlog_ms_max=1000");
//! world.publisher("studio", "obs-360p30-base");
//! world.viewers("sofa", 2, Play::Flv).link(Link::fiber());
//! world.viewer("phone", Play::Rtmp).comes(1.s()).again(200.ms());
//! world.at(3.s()).cut("phone", 4.s());
//! world.run(12.s());
//! assert_eq!(world.log("sofa").lag(), 0);
//! assert!(world.log("phone").pictures() > 0);
//! ```
//!
//! A test wants [`World::run`], which panics with a report that ends in the plan; [`campaign`] plays
//! many seeds; [`shrink`](mod@shrink) makes what failed small; [`timeline`] draws it. `sim/examples` holds
//! such a scenario as a program of its own.
//!
//! A server of one's own takes the shipped one's place by [`World::program`]: it listens and speaks on
//! the simulated network, and says what enters its hub. `sim/examples/own_hub.rs` has one that is whole,
//! and a mistake of it that is seen.
//!
//! ```no_run
//! use forebay::shell::net::Net as _;
//! use forebay_sim::program::{Place, Program};
//! use forebay_sim::{Link, Play, Units as _, World, tag::Kind};
//!
//! async fn serve(place: Place) -> std::io::Result<()> {
//!     let listener = place.net().bind(place.config().listen.rtmp).await?;
//!     while let Ok((stream, _peer)) = place.net().accept(&listener).await {
//!         tokio::spawn(my_connection(stream, place.clone()));
//!     }
//!     Ok(())
//! }
//!
//! async fn my_connection(stream: impl forebay::shell::net::Stream, place: Place) {
//!     // Where a publisher begins, where a tag enters the hub, and where the stream ends:
//!     place.begins("live/a");
//!     place.entered("live/a", Kind::Audio, 40, b"payload");
//!     place.over("live/a");
//! }
//!
//! let mut world = World::new("own_server", 42);
//! world.program(Program::new(serve));
//! world.publisher("studio", "obs-360p30-base");
//! world.viewers("sofa", 2, Play::Rtmp).link(Link::fiber());
//! world.viewer("phone", Play::Rtmp).comes(1.s()).again(200.ms());
//! world.at(3.s()).cut("phone", 4.s());
//! world.run(12.s());
//! ```
//!
//! | question | where |
//! |---|---|
//! | what happens in a run | [`plan`], made by [`world`] and [`scenario`] |
//! | who takes part | [`publisher`], [`viewer`], [`neighbour`], [`target`] |
//! | what is between them | [`link`], [`net`] |
//! | what nodes record on | [`disk`] |
//! | what happened | [`trace`], and side by side with what should have: [`ledger`] |
//! | what must hold, and what must be reached | [`invariant`], [`differential`], [`goal`] |

pub mod campaign;
mod canary;
pub mod capture;
pub mod cpu;
pub mod differential;
pub mod disk;
mod draw;
pub mod goal;
pub mod invariant;
pub mod landmark;
pub mod ledger;
pub mod link;
mod log;
pub mod mutant;
pub mod neighbour;
pub mod net;
mod node;
mod panics;
mod peer;
pub mod plan;
pub mod program;
pub mod publisher;
pub mod random;
pub mod real;
mod recorder;
mod relay;
pub mod report;
pub mod run;
pub mod scenario;
pub mod shrink;
pub mod tag;
pub mod target;
pub mod time;
pub mod timeline;
pub mod trace;
pub mod viewer;
pub mod world;

pub use link::Link;
pub use world::{Play, Units, World};
