//! Archiver: one stream's tags in, operations on a disk out.

use std::collections::VecDeque;
use std::time::{Duration, Instant};

use bytes::Bytes;

use super::gap::Gap;
use super::recording::Recording;
use crate::flv::Tag;
use crate::gop::{GopWatch, Placement};
use crate::time::Timestamp;

/// How files are cut and how much may be lost.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ArchiveLimits {
    /// How long what was published may be not durable yet, apart from what the disk takes.
    pub sync: Duration,
    /// A file that is so long ends before the next keyframe, in milliseconds of the stream.
    pub file_ms_max: u64,
    /// A file of so many bytes ends before the next keyframe.
    pub file_bytes_max: u64,
    /// Bytes gathered for one write, at most; one tag more.
    pub write_len_max: usize,
    /// After a failure: how long until the next file is tried.
    pub retry: Duration,
}

impl Default for ArchiveLimits {
    fn default() -> Self {
        Self {
            sync: Duration::from_secs(1),
            file_ms_max: 3_600_000,
            file_bytes_max: 4 << 30,
            write_len_max: 1 << 20,
            retry: Duration::from_secs(1),
        }
    }
}

/// What to do next, in this order, on the stream's current file. The next one is only asked for
/// when this one has succeeded; if it has not, [`Archiver::failed`] is told.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Operation {
    /// Make the next file, under a name that says that it is not complete, in such a way that the
    /// name is durable.
    Create {
        /// When its first tag came, since 1970.
        utc: Duration,
    },
    /// Write this behind the rest.
    Append(Vec<Bytes>),
    /// Write this over what is there.
    Write {
        /// Where.
        at: u64,
        /// What.
        bytes: Bytes,
    },
    /// Make all that was written durable.
    Sync,
    /// The file is complete and durable: give it its name.
    Finish,
}

/// Up to where the stream is on the disk, whatever happens: with the gaps that were declared.
#[derive(Clone, Copy, Default, PartialEq, Eq, Debug)]
pub struct Durable {
    /// The number of the newest tag that is, in the stream's topic.
    pub number: u64,
    /// The publisher's time of it.
    pub timestamp: Timestamp,
    /// Which publish it is of.
    pub session: u64,
}

/// What came of a stream so far.
#[derive(Clone, Copy, Default, PartialEq, Eq, Debug)]
pub struct Status {
    /// Up to where all is durable; nothing yet if `None`.
    pub durable: Option<Durable>,
    /// Tags given to the archive.
    pub tags: u64,
    /// Bytes written, heads and tag headers included.
    pub written_bytes: u64,
    /// Times that everything was made durable.
    pub syncs: u64,
    /// Files that are complete.
    pub files: u64,
    /// Times that something is missing in the files.
    pub gaps: u64,
    /// What is missing. Tags whose fate nobody knows, as a write or a sync failed, are counted.
    pub missing: Gap,
    /// Operations that failed.
    pub errors: u64,
}

/// Decides what of one stream is written, and when.
///
/// ```
/// # use std::time::{Duration, Instant};
/// use forebay::archive::{ArchiveLimits, Archiver, Operation};
/// # use forebay::{flv::{Tag, TagKind}, time::Timestamp};
/// # let tag = Tag { kind: TagKind::Audio, timestamp: Timestamp::ZERO, payload: b"\x2f\0".as_slice().into() };
/// let (now, utc) = (Instant::now(), Duration::ZERO);
/// let mut archiver = Archiver::new(ArchiveLimits::default());
/// archiver.take(now, utc, 1, Some(0), &tag);
/// archiver.end();
/// while let Some(operation) = archiver.next_operation() {
///     match operation {
///         Operation::Create { .. } => println!("create"),
///         Operation::Append(slices) => println!("append {} slices", slices.len()),
///         Operation::Write { at, bytes } => println!("write {} bytes at {at}", bytes.len()),
///         Operation::Sync => println!("sync"),
///         Operation::Finish => println!("rename"),
///     }
///     archiver.succeeded();
/// }
/// assert_eq!(archiver.status().files, 1);
/// ```
pub struct Archiver {
    limits: ArchiveLimits,
    watch: GopWatch,
    session: Option<u64>,
    file: Option<Recording>,
    /// No file before this moment.
    retry_at: Option<Instant>,
    /// The next tag is a session's first: a file may begin with it.
    at_start: bool,
    /// When the gathered tags are to be written.
    due: Option<Instant>,
    /// When they were the last time.
    flushed: Option<Instant>,
    todo: VecDeque<(Operation, Option<Mark>)>,
    /// What the operation in work achieves.
    in_work: Option<(Done, Option<Mark>)>,
    /// All that was taken, and what of it is durable or declared missing.
    taken: Mark,
    settled: Mark,
    /// Missing, and not yet told in a file.
    untold: Option<Gap>,
    /// The time of the last tag that went into a file.
    newest: Option<Timestamp>,
    status: Status,
}

/// How far one had come.
#[derive(Clone, Copy, Default)]
struct Mark {
    tags: u64,
    bytes: u64,
    newest: Option<Durable>,
    /// All that was said to be missing.
    told: Gap,
}

#[derive(Clone, Copy)]
enum Done {
    Wrote(u64),
    Synced,
    Finished,
    Nothing,
}

impl Archiver {
    /// Nothing is written before the first tag.
    pub fn new(limits: ArchiveLimits) -> Self {
        Self {
            limits,
            watch: GopWatch::new(),
            session: None,
            file: None,
            retry_at: None,
            at_start: true,
            due: None,
            flushed: None,
            todo: VecDeque::new(),
            in_work: None,
            taken: Mark::default(),
            settled: Mark::default(),
            untold: None,
            newest: None,
            status: Status::default(),
        }
    }

    /// A tag of the stream. `number` is its place in the topic, `None` for a header that is only
    /// repeated; another `session` is another encoder run, whose tags get files of their own.
    pub fn take(
        &mut self,
        now: Instant,
        utc: Duration,
        session: u64,
        number: Option<u64>,
        tag: &Tag,
    ) {
        if self.session != Some(session) {
            self.finish_file();
            self.watch = GopWatch::new();
            self.session = Some(session);
            self.at_start = true;
        }
        let placement = self.watch.place(tag);
        let is_entry = placement == Placement::Entry;
        if is_entry && self.file.as_ref().is_some_and(|file| self.is_to_end(file)) {
            self.finish_file();
        }
        if let Some(number) = number {
            let newest = Durable { number, timestamp: tag.timestamp, session };
            self.status.tags += 1;
            self.taken.tags += 1;
            self.taken.bytes += tag.payload.len() as u64;
            self.taken.newest = Some(newest);
        }
        let may_retry = self.retry_at.is_none_or(|at| now >= at);
        if self.file.is_none() && may_retry && (self.at_start || is_entry) {
            self.begin_file(utc, tag.timestamp);
        }
        self.at_start = false;
        let is_frame = !matches!(placement, Placement::Header | Placement::NewSequenceHeader);
        let gap = self.tell();
        match &mut self.file {
            Some(file) => {
                if let Some(gap) = gap {
                    let ms = self.newest.map_or(0, |newest| tag.timestamp.since(newest).max(0));
                    file.push(&gap.to_tag(tag.timestamp, ms.unsigned_abs()), false);
                }
                file.push(tag, is_frame);
                self.newest = Some(tag.timestamp);
                // Half of the time is the disk's, half is for gathering: so that what is promised
                // holds on a disk that takes its time.
                let gathered = self.flushed.map_or(now, |at| at + self.limits.sync / 2);
                self.due.get_or_insert(gathered.max(now));
            }
            None if number.is_some() => {
                self.missing(1, tag.payload.len() as u64);
                self.settled = self.taken;
            }
            None => {}
        }
    }

    /// Tags were lost before they came here, because this was too slow. They count as a gap.
    pub fn lost(&mut self, tags: u64, bytes: u64) {
        if tags > 0 {
            self.missing(tags, bytes);
        }
    }

    /// Nothing comes any more: the file ends.
    pub fn end(&mut self) {
        let gap = self.tell();
        if let (Some(file), Some(gap)) = (&mut self.file, gap) {
            file.push(&gap.to_tag(file.last_timestamp(), 0), false);
        }
        self.finish_file();
    }

    /// When what was gathered is to be written at the latest.
    pub fn due(&self) -> Option<Instant> {
        self.due
    }

    /// Whether no more may be gathered before something was written.
    pub fn is_full(&self) -> bool {
        self.file.as_ref().is_some_and(|file| file.gathered_len() >= self.limits.write_len_max)
    }

    /// Writes what was gathered, and makes it durable.
    pub fn flush(&mut self, now: Instant) {
        self.due = None;
        // Where more waits than is gathered at once, gathering needs no time.
        self.flushed = (!self.is_full()).then_some(now);
        self.gather_done();
    }

    fn gather_done(&mut self) {
        let Some(file) = self.file.as_mut().filter(|file| file.has_gathered()) else { return };
        self.todo.push_back((Operation::Append(file.take_gathered()), None));
        let (at, bytes) = file.record();
        self.todo.push_back((Operation::Write { at, bytes }, None));
        self.todo.push_back((Operation::Sync, Some(self.taken)));
    }

    /// What to do now; `None` if there is nothing.
    pub fn next_operation(&mut self) -> Option<Operation> {
        let (operation, mark) = self.todo.pop_front()?;
        let done = match &operation {
            Operation::Create { .. } => Done::Nothing,
            Operation::Append(slices) => {
                Done::Wrote(slices.iter().map(|slice| slice.len() as u64).sum())
            }
            Operation::Write { bytes, .. } => Done::Wrote(bytes.len() as u64),
            Operation::Sync => Done::Synced,
            Operation::Finish => Done::Finished,
        };
        self.in_work = Some((done, mark));
        Some(operation)
    }

    /// The operation is done.
    pub fn succeeded(&mut self) {
        let Some((done, mark)) = self.in_work.take() else { return };
        match done {
            Done::Wrote(len) => self.status.written_bytes += len,
            Done::Synced => self.status.syncs += 1,
            Done::Finished => self.status.files += 1,
            Done::Nothing => {}
        }
        if let Some(mark) = mark {
            self.settled = mark;
            self.status.durable = mark.newest;
            self.retry_at = None;
        }
    }

    /// The operation failed, and with it the file: nobody knows what of it is on the disk. What is
    /// not durable is declared missing, and another file begins at a keyframe.
    pub fn failed(&mut self, now: Instant) {
        self.todo.clear();
        self.in_work = None;
        self.file = None;
        self.due = None;
        self.status.errors += 1;
        self.retry_at = Some(now + self.limits.retry);
        // A gap that the lost file told of has to be told again.
        let (taken, settled) = (self.taken.told, self.settled.told);
        if taken.tags > settled.tags {
            let untold = self.untold.get_or_insert_default();
            untold.add(taken.tags - settled.tags, taken.bytes - settled.bytes);
        }
        self.newest = self.status.durable.map(|durable| durable.timestamp);
        let tags = self.taken.tags - self.settled.tags;
        if tags > 0 {
            self.missing(tags, self.taken.bytes - self.settled.bytes);
        }
        self.settled = self.taken;
    }

    /// What came of it so far.
    pub fn status(&self) -> Status {
        self.status
    }

    /// What is missing and was not told in a file yet: the next one begins with it.
    pub fn untold(&self) -> Option<Gap> {
        self.untold
    }

    fn missing(&mut self, tags: u64, bytes: u64) {
        let gap = match &mut self.untold {
            Some(gap) => gap,
            None => {
                self.status.gaps += 1;
                self.untold.insert(Gap::default())
            }
        };
        gap.add(tags, bytes);
        self.status.missing.add(tags, bytes);
    }

    /// What is missing, if there is a file to say it in.
    fn tell(&mut self) -> Option<Gap> {
        self.file.as_ref()?;
        let gap = self.untold.take()?;
        self.taken.told.add(gap.tags, gap.bytes);
        Some(gap)
    }

    fn is_to_end(&self, file: &Recording) -> bool {
        file.duration_ms() >= self.limits.file_ms_max
            || file.len() >= self.limits.file_bytes_max
            || file.clock_stepped_back()
    }

    fn begin_file(&mut self, utc: Duration, timestamp: Timestamp) {
        self.todo.push_back((Operation::Create { utc }, None));
        let file = self.file.insert(Recording::new());
        if !self.at_start {
            for header in self.watch.headers().tags() {
                file.push(&Tag { timestamp, ..header.clone() }, false);
            }
        }
    }

    fn finish_file(&mut self) {
        self.gather_done();
        let Some(file) = self.file.take() else { return };
        self.todo.push_back((Operation::Write { at: 0, bytes: file.finished_head() }, None));
        self.todo.push_back((Operation::Sync, None));
        self.todo.push_back((Operation::Finish, None));
    }
}
