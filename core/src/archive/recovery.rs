//! Recovery: what of a file is sound, told from its bytes alone.

use std::collections::VecDeque;

use bytes::{Buf, Bytes, BytesMut};

use super::head::{self, HEAD_LEN, RECORDS_AT, Record};
use super::summary::Summary;
use crate::flv::file::{FileError, FileReader, FileTag, PREVIOUS_TAG_SIZE_LEN};

/// Whether the bytes behind the head are those that were written.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Checked {
    /// All that is kept has the checksum that was written for it.
    Sound,
    /// Nothing was ever made durable, so nothing is known: nothing is kept.
    NeverSynced,
    /// The file ends before the place that a checksum is for: it was cut. Framing is all there is
    /// to go by.
    Cut,
    /// The framing holds, but some byte is another than was written.
    Differs,
    /// The file has no checksums: another program's, or its head is damaged.
    Without,
}

/// What is sound of a file, and what makes it a good one.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Sound {
    /// Bytes that there are.
    pub size: u64,
    /// Bytes to keep. What is behind them is to be cut off.
    pub keep: u64,
    /// To be written at the start of the file, if what is there is not right. Always of one length.
    pub head: Option<Bytes>,
    /// Tags in what is kept, without the head.
    pub tags: u64,
    /// Stream time of the newest of them.
    pub last_ms: u32,
    /// Keyframes in the index.
    pub keyframes: usize,
    /// Whether the file was written by an [`Archiver`](super::Archiver).
    pub is_ours: bool,
    /// Whether it is shorter than a head, or its first sector has only zeros: it was made, and
    /// nothing of it was ever synced.
    pub is_stillborn: bool,
    /// What the checksums say.
    pub checked: Checked,
    /// Where the framing broke, if it did.
    pub framing: Option<FileError>,
}

impl Sound {
    /// Whether there is nothing to do.
    pub fn is_complete(&self) -> bool {
        self.keep == self.size && self.head.is_none()
    }
}

/// Reads a file from its start to its end, in pieces of any size, and says what of it is sound.
///
/// A file of ours is sound up to the last record whose checksum is right: after a loss of power
/// there may be holes *inside* tags, which no framing shows. Any other file is sound up to the last
/// tag whose length is repeated behind it.
///
/// ```
/// # use bytes::Bytes;
/// use forebay::archive::Recovery;
/// # let bytes = b"FLV\x01\x05\0\0\0\x09\0\0\0\0torn".as_slice();
/// let mut recovery = Recovery::new();
/// recovery.push(Bytes::from_static(bytes));
/// let sound = recovery.finish();
/// println!("keep {} of {} bytes", sound.keep, sound.size);
/// ```
pub struct Recovery {
    /// The start of the file, until it is known what kind it is, and for a file of ours its head.
    start: BytesMut,
    is_blank: bool,
    /// A head of ours that is not all there.
    is_short: bool,
    size: u64,
    kind: Option<Kind>,
    reader: FileReader,
    /// A tag whose PreviousTagSize is still to come.
    unconfirmed: Option<FileTag>,
    /// Of the tags that are confirmed.
    summary: Summary,
    /// Where the newest of them ends.
    end: u64,
    framing: Option<FileError>,
    /// Of the bytes behind the head, up to `end`.
    crc: crc32fast::Hasher,
    /// Those from `end` on.
    unchecked: VecDeque<Bytes>,
    candidates: Vec<Candidate>,
}

/// What disks write as a whole or not at all, at least.
const SECTOR_LEN: u64 = 512;

#[derive(Clone, Copy, PartialEq, Eq)]
enum Kind {
    Ours,
    Foreign,
}

/// A record, and what there is where it points.
struct Candidate {
    record: Record,
    found: Option<(u32, Summary)>,
}

impl Candidate {
    /// What there is, if it is what was written.
    fn sound(&self) -> Option<&Summary> {
        let (crc, summary) = self.found.as_ref()?;
        (*crc == self.record.crc).then_some(summary)
    }
}

impl Default for Recovery {
    fn default() -> Self {
        Self::new()
    }
}

impl Recovery {
    /// At the start of a file.
    pub fn new() -> Self {
        Self {
            start: BytesMut::new(),
            is_blank: true,
            is_short: false,
            size: 0,
            kind: None,
            reader: FileReader::strict(),
            unconfirmed: None,
            summary: Summary::default(),
            end: 0,
            framing: None,
            crc: crc32fast::Hasher::new(),
            unchecked: VecDeque::new(),
            candidates: Vec::new(),
        }
    }

    /// The next bytes.
    pub fn push(&mut self, bytes: Bytes) {
        let of_first_sector = SECTOR_LEN.saturating_sub(self.size).min(bytes.len() as u64) as usize;
        self.is_blank &= bytes[..of_first_sector].iter().all(|&byte| byte == 0);
        self.size += bytes.len() as u64;
        match self.kind {
            Some(_) => self.read(bytes),
            None => {
                self.start.extend_from_slice(&bytes);
                if self.start.len() >= HEAD_LEN {
                    self.choose_kind();
                }
            }
        }
    }

    /// That was all.
    pub fn finish(mut self) -> Sound {
        if self.kind.is_none() {
            self.choose_kind();
        }
        let ended = self.reader.finish();
        if ended.is_ok() && self.unconfirmed.is_none() && self.kind == Some(Kind::Foreign) {
            // A file header and nothing more.
            self.end = self.size;
        }
        // The reader has said all of its tags; if it ended inside another one, the last one was
        // whole, and so it was if the file ends behind it.
        let is_confirmed = !matches!(
            ended,
            Err(FileError::CutInPreviousTagSize { .. } | FileError::WrongPreviousTagSize { .. })
        );
        if is_confirmed {
            self.confirm();
        }
        self.framing = self.framing.or(ended.err());
        match self.kind {
            Some(Kind::Ours) => self.ours(),
            _ => self.foreign(),
        }
    }

    fn choose_kind(&mut self) {
        let start = self.start.clone().freeze();
        if !head::is_ours(&start) || start.len() < HEAD_LEN {
            self.kind = Some(Kind::Foreign);
            self.is_short = head::is_ours(&start);
            self.start.clear();
            return self.read(start);
        }
        self.kind = Some(Kind::Ours);
        self.start.truncate(HEAD_LEN);
        let records = RECORDS_AT.map(|at| Record::parse(&start[at as usize..]));
        let candidate = |record| Candidate { record, found: None };
        self.candidates.extend(records.into_iter().flatten().map(candidate));
        self.end = HEAD_LEN as u64;
        self.reader = FileReader::strict().at_tag(self.end);
        self.note_candidates();
        self.read(start.slice(HEAD_LEN..));
    }

    fn read(&mut self, bytes: Bytes) {
        if self.kind == Some(Kind::Ours) {
            self.unchecked.push_back(bytes.clone());
        }
        self.reader.push(bytes);
        loop {
            match self.reader.next_tag() {
                Ok(Some(tag)) => {
                    self.confirm();
                    self.unconfirmed = Some(tag);
                }
                Ok(None) => return,
                Err(error) => {
                    self.framing = Some(error);
                    return;
                }
            }
        }
    }

    /// The tag that was read last is whole: what is behind it shows that.
    fn confirm(&mut self) {
        let Some(found) = self.unconfirmed.take() else { return };
        let end = found.end() + PREVIOUS_TAG_SIZE_LEN as u64;
        self.check(end - self.end);
        self.end = end;
        self.summary.add(found.at, &found.tag);
        self.note_candidates();
    }

    fn note_candidates(&mut self) {
        for candidate in &mut self.candidates {
            if candidate.record.len == self.end {
                candidate.found = Some((self.crc.clone().finalize(), self.summary.clone()));
            }
        }
    }

    /// Takes so many bytes into the checksum.
    fn check(&mut self, len: u64) {
        let mut left = len;
        while let Some(front) = self.unchecked.front_mut().filter(|_| left > 0) {
            let taken = front.len().min(usize::try_from(left).unwrap_or(usize::MAX));
            self.crc.update(&front[..taken]);
            front.advance(taken);
            left -= taken as u64;
            if front.is_empty() {
                self.unchecked.pop_front();
            }
        }
    }

    fn ours(self) -> Sound {
        let sound = self.candidates.iter().filter_map(|candidate| {
            candidate.sound().map(|summary| (candidate.record, summary.clone()))
        });
        if let Some((record, summary)) = sound.max_by_key(|(record, _)| record.len) {
            return self.completed(record, &summary, Checked::Sound);
        }
        let is_past_end = |candidate: &Candidate| candidate.record.len > self.size;
        let checked = match self.candidates.as_slice() {
            [] if self.has_blank() => Checked::NeverSynced,
            [] => Checked::Without,
            // The first sync was never done: it writes one, and the second one the other.
            [_] if self.has_blank() => Checked::NeverSynced,
            all if all.iter().all(is_past_end) => Checked::Cut,
            _ => Checked::Differs,
        };
        if checked == Checked::NeverSynced {
            let record = Record { len: HEAD_LEN as u64, crc: 0 };
            return self.completed(record, &Summary::default(), checked);
        }
        let record = Record { len: self.end, crc: self.crc.clone().finalize() };
        let mut sound = self.completed(record, &self.summary, checked);
        // A complete file's head stays: a new checksum would declare right what is wrong.
        let was_complete = matches!(&*self.candidates, [one, other] if one.record == other.record);
        if checked == Checked::Differs && was_complete && sound.keep == sound.size {
            sound.head = None;
        }
        sound
    }

    fn completed(&self, record: Record, summary: &Summary, checked: Checked) -> Sound {
        let head = head::finished(summary, record);
        let head = (self.start[..] != head[..]).then_some(head);
        Sound { head, ..self.sound(record.len, summary, checked) }
    }

    fn foreign(self) -> Sound {
        self.sound(self.end, &self.summary, Checked::Without)
    }

    fn sound(&self, keep: u64, summary: &Summary, checked: Checked) -> Sound {
        Sound {
            size: self.size,
            keep,
            head: None,
            tags: summary.tags,
            last_ms: summary.last_ms,
            keyframes: summary.keyframes.len(),
            is_ours: self.kind == Some(Kind::Ours),
            is_stillborn: self.is_blank || self.is_short,
            checked,
            framing: self.framing,
        }
    }

    /// Whether one of the records has not been written.
    fn has_blank(&self) -> bool {
        RECORDS_AT.iter().any(|&at| {
            let bytes = &self.start[at as usize..at as usize + Record::LEN];
            bytes.iter().all(|&byte| byte == b' ') || bytes.iter().all(|&byte| byte == 0)
        })
    }
}
