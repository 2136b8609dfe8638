//! What a node's disk is told, and what is on it.

use std::fmt;
use std::sync::Arc;

use crate::tag::TagSeen;

/// A disk was told to do something, or has done it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct DiskSeen {
    /// What it was told.
    pub call: DiskCall,
    /// To which file or directory.
    pub path: Arc<str>,
    /// What came of it.
    pub outcome: DiskOutcome,
}

/// What a disk can be told.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
#[allow(missing_docs, reason = "the core's own names")]
pub enum DiskCall {
    Create,
    Open,
    CreateDir,
    List,
    Rename,
    Remove,
    SyncDir,
    Append,
    WriteAt,
    Read,
    Truncate,
    Sync,
}

/// What came of it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum DiskOutcome {
    /// It has only been told.
    Begun,
    /// It was done.
    Done,
    /// It failed, and the caller was told.
    Failed,
    /// Nothing was done, and the caller was told that it was.
    Lied,
    /// What was read is not what is there.
    Flipped,
}

/// What is recorded on a node's disk, at a moment at which none of its processes runs.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Recordings {
    /// The machine lost its power.
    pub has_lost_power: bool,
    /// As it is.
    pub found: Vec<Recording>,
    /// As recovery leaves a copy of it.
    pub recovered: Vec<Recording>,
    /// As recovery leaves a copy of it that has lost its power now.
    pub unpowered: Vec<Recording>,
    /// How a second recovery, or one that was interrupted, leaves something else.
    pub uneven: Option<Arc<str>>,
    /// How a reader did not see that a bit of a file is another.
    pub unnoticed: Option<Arc<str>>,
}

/// A file, as a reader of FLV finds it.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Recording {
    /// Its name, with its directories'.
    pub path: Arc<str>,
    /// Bytes.
    pub len: u64,
    /// Their digest.
    pub digest: u64,
    /// What its first tag says of it.
    pub head: Option<RecordingHead>,
    /// Its tags behind that.
    pub tags: Vec<RecordedTag>,
    /// It cannot be read from here on, because.
    pub broken: Option<(u64, Arc<str>)>,
}

/// What a file says of itself.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct RecordingHead {
    /// `duration`, in milliseconds.
    pub duration_ms: u64,
    /// `filesize`.
    pub filesize: u64,
    /// `keyframes`: milliseconds, and where.
    pub index: Vec<(u64, u64)>,
}

/// A tag in a file.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct RecordedTag {
    /// Where.
    pub at: u64,
    /// What. Its time is the file's.
    pub tag: TagSeen,
    /// It is `onGap`: so many tags are missing here.
    pub gap: Option<u64>,
}

impl Recording {
    /// Whether it has the name of a file that is complete.
    pub fn is_final(&self) -> bool {
        self.path.ends_with(".flv")
    }
}

impl fmt::Display for DiskCall {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Create => "create",
            Self::Open => "open",
            Self::CreateDir => "create directory",
            Self::List => "list",
            Self::Rename => "rename",
            Self::Remove => "remove",
            Self::SyncDir => "sync directory",
            Self::Append => "append to",
            Self::WriteAt => "write into",
            Self::Read => "read",
            Self::Truncate => "truncate",
            Self::Sync => "sync",
        })
    }
}

impl fmt::Display for DiskSeen {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "disk: {} {}: {:?}", self.call, self.path, self.outcome)
    }
}

impl fmt::Display for Recordings {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let power = if self.has_lost_power { " behind a loss of power" } else { "" };
        write!(f, "recorded{power}:")?;
        for file in &self.found {
            write!(f, " {} ({} bytes, {:016x})", file.path, file.len, file.digest)?;
        }
        write!(f, "; recovered:")?;
        for file in &self.recovered {
            let (tags, gaps) = (file.tags.len(), file.tags.iter().filter_map(|tag| tag.gap));
            write!(f, " {} ({tags} tags, {} missing)", file.path, gaps.sum::<u64>())?;
        }
        Ok(())
    }
}
