//! What is in a stream, and what is wrong with it; for people, and for programs that look on.
//!
//! [`FileScanner`] and [`CaptureScanner`] make tags of a file's bytes and say which bytes are damaged;
//! [`Inspector`] takes tags, wherever they come from, and knows at any time what they were:
//!
//! ```
//! use bytes::Bytes;
//! use forebay::inspect::{Event, FileScanner, Inspector, Status};
//!
//! # let file = Bytes::copy_from_slice(&forebay::flv::file::file_header(true, true));
//! let (mut scanner, mut inspector) = (FileScanner::strict(), Inspector::new());
//! scanner.push(file);
//! scanner.finish();
//! while let Some(event) = scanner.poll_event() {
//!     match event {
//!         Event::Tag(found) => inspector.add(found.at, &found.tag),
//!         Event::Damage(damage) => inspector.add_damage(damage),
//!     }
//! }
//! let report = inspector.report();
//! assert_eq!((report.tags.total, report.verdict.status), (0, Status::Odd));
//! ```
//!
//! # Invariants
//!
//! - Memory does not grow with the stream but for lists, and each of those has a named bound.
//! - Nothing here ends early: what cannot be understood is counted, and the next tag is looked at.

mod capture;
mod gops;
mod inspector;
mod metadata;
mod record;
mod report;
mod scan;
mod steps;
mod tag_line;
mod timeline;
mod track;
mod verdict;

pub use capture::{
    CaptureError, CaptureScanner, CommandSeen, ConnectionReport, SideReport, is_capture,
};
pub use gops::{Gop, GopReport, Spread};
pub use inspector::Inspector;
pub use record::{RecordError, RecordHeader, SIGNATURE};
pub use report::{
    CompositionTimes, DamageReport, MetadataReport, Region, Report, SequenceHeader, Start,
    TagCounts, TimestampReport,
};
pub use scan::{Damage, Event, FileScanner};
pub use steps::{Step, StepReport};
pub use tag_line::TagLine;
pub use timeline::BitrateTimeline;
pub use track::TrackReport;
pub use verdict::{Oddity, OddityKind, Status, Verdict};
