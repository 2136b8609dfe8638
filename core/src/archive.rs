//! Tags to FLV files that a loss of power cannot spoil: what is written when, and recovery.
//!
//! A file is a *head* of fixed size (see [`head`]) and behind it the tags as they were received.
//! While it grows, the head says how far it is checked: a length and a checksum, written with every
//! sync, in two places in turn, so that a crash can spoil only the newer one. When a file is
//! closed the head is completed in place: duration, file size, index of keyframes. No tag is ever
//! written twice.
//!
//! [`Archiver`] takes tags and says what to do on a disk, step by step; [`Recovery`] reads a file
//! and says what of it is sound. Neither touches a disk: a `Vec<Tag>` drives one in a test, a
//! `Vec<u8>` the other.

mod archiver;
mod gap;
pub mod head;
mod name;
mod recording;
mod recovery;
mod summary;

pub use self::archiver::{ArchiveLimits, Archiver, Durable, Operation, Status};
pub use self::gap::Gap;
pub use self::name::{PART, StreamPath, file_stem};
pub use self::recovery::{Checked, Recovery, Sound};
