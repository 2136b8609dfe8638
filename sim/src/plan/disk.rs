//! What goes wrong with a node's disk, as data and as words. The numbers are those of PROPERTIES 2.4.

use std::fmt;
use std::time::Duration;

use super::Act;
use super::units::{RATE_MAX, RATES, SPANS, amount};
use super::vocabulary::{DISK_CALLS, word};
use super::words::{Read, Words};
use crate::time::SimTime;

/// How a disk fails. What a loss of power takes (K6 to K8) is drawn when a node crashes silently.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum DiskFault {
    /// K1: whatever it does takes so much longer.
    Slow(Duration),
    /// K1: it does nothing at all.
    Stall,
    /// K2: it takes so many bits per second.
    Rate(u64),
    /// K3: there is no room for anything more.
    Full,
    /// K4: calls of a kind fail, and nothing is done; of what could not be synced, nobody knows.
    Fail(DiskCalls),
    /// K5: it says that what it was told is durable, and it is not.
    Lie,
    /// K9: a write ends in its middle, with an error.
    Short,
    /// K10: a bit of what is read is another.
    Flip,
    /// K11: nothing can be changed.
    ReadOnly,
    /// K11: no file can be opened.
    NoFiles,
    /// K12: files that an earlier life, or somebody else, has left behind.
    Leftovers,
}

/// Calls that fail together.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum DiskCalls {
    /// Writes of bytes.
    Write,
    /// Syncs, of files and of directories.
    Sync,
    /// Whatever changes a name.
    Names,
}

impl DiskFault {
    pub(super) fn family(self) -> &'static str {
        match self {
            Self::Slow(_) | Self::Stall => "K1",
            Self::Rate(_) => "K2",
            Self::Full => "K3",
            Self::Fail(_) => "K4",
            Self::Lie => "K5",
            Self::Short => "K9",
            Self::Flip => "K10",
            Self::ReadOnly | Self::NoFiles => "K11",
            Self::Leftovers => "K12",
        }
    }

    /// Whether it happens to one call where the plan says no time.
    pub(crate) fn is_single(self) -> bool {
        matches!(self, Self::Fail(_) | Self::Short | Self::Flip)
    }
}

impl fmt::Display for DiskFault {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Slow(by) => write!(f, "slow {}", amount(SimTime::from(*by).micros(), &SPANS)),
            Self::Stall => f.write_str("stall"),
            Self::Rate(bits) => write!(f, "rate {}", amount(*bits, &RATES)),
            Self::Full => f.write_str("full"),
            Self::Fail(calls) => write!(f, "fail {}", word(&DISK_CALLS, calls)),
            Self::Lie => f.write_str("lie"),
            Self::Short => f.write_str("short"),
            Self::Flip => f.write_str("flip"),
            Self::ReadOnly => f.write_str("read-only"),
            Self::NoFiles => f.write_str("no-files"),
            Self::Leftovers => f.write_str("leftovers"),
        }
    }
}

type ReadFault = fn(&mut Words<'_>) -> Read<DiskFault>;

const FAULTS: [(&str, ReadFault); 11] = [
    ("slow", |words| words.span().map(DiskFault::Slow)),
    ("stall", |_| Ok(DiskFault::Stall)),
    ("rate", |words| words.amount("a rate", &RATES, 1..=RATE_MAX).map(DiskFault::Rate)),
    ("full", |_| Ok(DiskFault::Full)),
    ("fail", |words| words.one_of("what fails", &DISK_CALLS).map(DiskFault::Fail)),
    ("lie", |_| Ok(DiskFault::Lie)),
    ("short", |_| Ok(DiskFault::Short)),
    ("flip", |_| Ok(DiskFault::Flip)),
    ("read-only", |_| Ok(DiskFault::ReadOnly)),
    ("no-files", |_| Ok(DiskFault::NoFiles)),
    ("leftovers", |_| Ok(DiskFault::Leftovers)),
];

pub(super) fn read(words: &mut Words<'_>) -> Read<Act> {
    let fault = words.one_of("what happens to the disk", &FAULTS)?(words)?;
    let lasts = match fault {
        DiskFault::Leftovers => None,
        _ => words.maybe_lasting()?,
    };
    Ok(Act::Disk(fault, lasts))
}
