//! FileScanner: an FLV file's bytes to tags and damaged regions; finds the way back behind damage.

use std::collections::VecDeque;

use bytes::Bytes;

use crate::flv::file::{
    FileError, FileHeader, FileReader, FileTag, PREVIOUS_TAG_SIZE_LEN, TAG_HEADER_LEN,
};
use crate::flv::{Tag, TagKind};
use crate::rope::Rope;
use crate::time::Timestamp;

/// What a scanner found next.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Event {
    /// A tag; what follows it has confirmed its length.
    Tag(FileTag),
    /// Bytes that are no tags. Tags follow, or the end.
    Damage(Damage),
}

/// Bytes that break the format.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Damage {
    /// The first byte that belongs to no tag.
    pub from: u64,
    /// The first byte that does again, or the end of the file. Equal to `from` if something is
    /// missing that takes no room: the last PreviousTagSize.
    pub to: u64,
    /// What was violated, as a strict reader says it.
    pub what: String,
    /// What looked like a tag and lies about its length: all that it claims to have. If only the
    /// length is damaged the tag follows with the length that it has; else it is in the region.
    pub suspect: Option<FileTag>,
}

/// Reads an FLV file as it arrives, cut anywhere, to its end, whatever is in between.
///
/// Push what was read and take events until there is none; at the end of the file call
/// [`finish`](Self::finish) and take the rest. The framing is [`FileReader`]'s. Where that stops, the
/// next tag is looked for: a header that makes sense, and behind its payload a PreviousTagSize
/// that agrees, or a few more such headers.
///
/// It holds a payload and the piece after it, about 17 MiB at most, or 33 MiB while it looks for a tag.
pub struct FileScanner {
    checks_previous_tag_size: bool,
    reader: FileReader,
    header: Option<FileHeader>,
    /// From the last tag on: where to look when it turns out to be none.
    recent: Recent,
    /// Not yet confirmed by what follows.
    pending: Option<FileTag>,
    search: Option<Search>,
    events: VecDeque<Event>,
    is_finished: bool,
    /// PreviousTagSizes behind tags that were given.
    right_sizes: u64,
    wrong_sizes: u64,
}

struct Search {
    what: String,
    from: u64,
    /// Where the next tag is if only a PreviousTagSize is wrong.
    guess: Option<u64>,
    /// No tag begins before this.
    at: u64,
    suspect: Option<FileTag>,
}

/// Whether a tag begins at some byte.
enum Evidence {
    Yes,
    No,
    /// More bytes are needed to tell.
    Wait,
}

impl FileScanner {
    /// A wrong PreviousTagSize is damage.
    pub fn strict() -> Self {
        Self::new(true)
    }

    /// A wrong PreviousTagSize is only counted, as players do not look at it.
    pub fn lenient() -> Self {
        Self::new(false)
    }

    fn new(checks_previous_tag_size: bool) -> Self {
        Self {
            checks_previous_tag_size,
            reader: reader(checks_previous_tag_size),
            header: None,
            recent: Recent::default(),
            pending: None,
            search: None,
            events: VecDeque::new(),
            is_finished: false,
            right_sizes: 0,
            wrong_sizes: 0,
        }
    }

    /// What the file header said, once it was read.
    pub fn header(&self) -> Option<FileHeader> {
        self.header.or_else(|| self.reader.header())
    }

    /// PreviousTagSizes that were wrong and not taken for damage.
    pub fn wrong_previous_tag_sizes(&self) -> u64 {
        if self.checks_previous_tag_size { 0 } else { self.wrong_sizes }
    }

    /// Whether nothing of what was read looks like FLV.
    pub fn is_lost(&self) -> bool {
        self.header().is_none() && self.search.is_some()
    }

    /// Gives the scanner the next bytes of the file. All events must have been taken.
    pub fn push(&mut self, bytes: Bytes) {
        if self.search.is_none() {
            self.reader.push(bytes.clone());
        }
        self.recent.push(bytes);
    }

    /// Says that the file ends here. Take the remaining events then.
    pub fn finish(&mut self) {
        self.is_finished = true;
    }

    /// What was found next, or `None` if more bytes are needed, or all is over.
    pub fn poll_event(&mut self) -> Option<Event> {
        loop {
            if let Some(event) = self.events.pop_front() {
                return Some(event);
            }
            let goes_on = if self.search.is_some() { self.search_on() } else { self.read_on() };
            if !goes_on {
                return self.events.pop_front();
            }
        }
    }

    /// Whether there may be more to do without more bytes.
    fn read_on(&mut self) -> bool {
        match self.reader.next_tag() {
            Ok(Some(tag)) => {
                self.confirm_pending();
                self.recent.drop_before(tag.at);
                self.pending = Some(tag);
                true
            }
            Ok(None) if !self.is_finished => false,
            Ok(None) => match self.reader.finish() {
                Ok(()) => {
                    self.confirm_pending();
                    false
                }
                // Said before, and nothing has come since.
                Err(_) if self.recent.is_over => false,
                Err(error) => {
                    self.begin_search(error);
                    true
                }
            },
            Err(_) if self.recent.is_over => false,
            Err(error) => {
                self.begin_search(error);
                true
            }
        }
    }

    fn confirm_pending(&mut self) {
        let Some(tag) = self.pending.take() else { return };
        match self.previous_tag_size_agrees(&tag) {
            Some(true) => self.right_sizes += 1,
            Some(false) => self.wrong_sizes += 1,
            None => {}
        }
        self.events.push_back(Event::Tag(tag));
    }

    fn previous_tag_size_agrees(&self, tag: &FileTag) -> Option<bool> {
        let field = self.recent.read(tag.end())?;
        Some(u64::from(u32::from_be_bytes(field)) == tag.end() - tag.at)
    }

    fn begin_search(&mut self, error: FileError) {
        self.header = self.header();
        let mut search =
            Search { what: error.to_string(), from: 0, guess: None, at: 0, suspect: None };
        match error {
            FileError::WrongPreviousTagSize { at, .. } => {
                search.from = at;
                search.guess = Some(at + PREVIOUS_TAG_SIZE_LEN as u64);
            }
            FileError::UnknownKind { at, .. }
            | FileError::Encrypted { at }
            | FileError::PayloadTooLong { at, .. }
            | FileError::CutInTagHeader { at }
            | FileError::CutInPayload { at, .. }
            | FileError::CutInPreviousTagSize { at } => {
                search.from = at;
                let before = self.pending.as_ref();
                let agrees = before.and_then(|tag| self.previous_tag_size_agrees(tag));
                if agrees == Some(false) && self.sizes_are_right() {
                    self.suspect_pending(&mut search);
                } else {
                    self.confirm_pending();
                }
            }
            FileError::NoSignature
            | FileError::UnknownVersion { .. }
            | FileError::HeaderLen { .. }
            | FileError::CutInFileHeader { .. } => {}
        }
        search.at = search.at.max(search.from + 1);
        self.search = Some(search);
    }

    /// Whether a wrong PreviousTagSize means something in this file: some writers never fill it in.
    fn sizes_are_right(&self) -> bool {
        self.right_sizes >= self.wrong_sizes
    }

    /// The length of the tag before the break cannot be right: the way back may begin inside it.
    fn suspect_pending(&mut self, search: &mut Search) {
        search.suspect = self.pending.take();
        if let Some(suspect) = &search.suspect {
            search.from = suspect.at;
        }
        search.at = search.from + 1;
    }

    fn search_on(&mut self) -> bool {
        let Some(mut search) = self.search.take() else { return false };
        if let Some(guess) = search.guess {
            match self.evidence_behind_pending(guess) {
                Evidence::Yes => {
                    self.confirm_pending();
                    self.resume(search, guess);
                    return true;
                }
                Evidence::No => {
                    search.guess = None;
                    if self.sizes_are_right() {
                        self.suspect_pending(&mut search);
                    } else {
                        self.confirm_pending();
                    }
                }
                Evidence::Wait => {
                    self.search = Some(search);
                    return false;
                }
            }
        }
        while let Some(candidate) = self.recent.find(search.at, is_kind) {
            search.at = candidate;
            match self.evidence(candidate) {
                Evidence::Yes => {
                    self.resume(search, candidate);
                    return true;
                }
                Evidence::No => search.at = candidate + 1,
                Evidence::Wait => {
                    self.search = Some(search);
                    return false;
                }
            }
        }
        search.at = search.at.max(self.recent.end());
        if self.is_finished {
            self.give_up(search);
        } else {
            self.recent.drop_before(search.at);
            self.search = Some(search);
        }
        false
    }

    fn resume(&mut self, search: Search, at: u64) {
        let rescued = search.suspect.as_ref().and_then(|suspect| self.rescue(suspect, at));
        self.recent.drop_before(at);
        self.reader = reader(self.checks_previous_tag_size).at_tag(at);
        self.recent.pieces.iter().for_each(|piece| self.reader.push(piece.clone()));
        let Some(tag) = rescued else { return self.report(search, at) };
        // DataSize: three bytes behind the first.
        let (from, len) = (tag.at + 1, tag.tag.payload.len());
        let what = format!("{}; DataSize at {from} should be {len}", search.what);
        self.report(Search { from, what, ..search }, from + 3);
        self.pending = Some(tag);
    }

    /// The tag that `suspect` is, if all that is wrong is the length that it claims: the
    /// PreviousTagSize in front of the next tag, at `next`, tells the true one.
    fn rescue(&self, suspect: &FileTag, next: u64) -> Option<FileTag> {
        let end = next.checked_sub(PREVIOUS_TAG_SIZE_LEN as u64)?;
        let len = u64::from(u32::from_be_bytes(self.recent.read(end)?));
        if end.checked_sub(suspect.at)? != len {
            return None;
        }
        let payload = self.recent.rope(suspect.at + TAG_HEADER_LEN as u64, end)?;
        Some(FileTag { at: suspect.at, tag: Tag { payload, ..suspect.tag } })
    }

    fn give_up(&mut self, search: Search) {
        let end = self.recent.end();
        self.recent.is_over = true;
        self.report(search, end);
    }

    fn report(&mut self, search: Search, to: u64) {
        let Search { what, from, suspect, .. } = search;
        self.events.push_back(Event::Damage(Damage { from, to, what, suspect }));
    }

    /// Where a tag is expected one header is enough.
    fn evidence_behind_pending(&self, at: u64) -> Evidence {
        let Some(bytes) = self.recent.read(at) else {
            return if self.is_finished { Evidence::Yes } else { Evidence::Wait };
        };
        let last = self.pending.as_ref().map(|tag| tag.tag.timestamp);
        match parse_header(bytes) {
            Some(header) if header.is_near(last) => Evidence::Yes,
            _ => Evidence::No,
        }
    }

    fn evidence(&self, at: u64) -> Evidence {
        let end = self.recent.end();
        // A kind, 21 more bits of stream id and timestamps that agree are not many for garbage of
        // gigabytes; 32 bits of PreviousTagSize besides are.
        let mut next = at;
        let mut last: Option<Timestamp> = None;
        for walked in 0..CHAIN_COUNT {
            if next == end && self.is_finished && walked > 0 {
                return Evidence::Yes;
            }
            let Some(bytes) = self.recent.read(next) else { return self.wait_for(at) };
            let Some(header) = parse_header(bytes) else { return Evidence::No };
            if !header.is_near(last) {
                return Evidence::No;
            }
            last = Some(header.timestamp);
            next += (TAG_HEADER_LEN + header.len) as u64;
            let Some(field) = self.recent.read(next) else { return self.wait_for(at) };
            if u32::from_be_bytes(field) as usize == TAG_HEADER_LEN + header.len {
                return Evidence::Yes;
            }
            next += PREVIOUS_TAG_SIZE_LEN as u64;
        }
        Evidence::Yes
    }

    fn wait_for(&self, at: u64) -> Evidence {
        let has_enough = self.recent.end().saturating_sub(at) > CHAIN_LEN_MAX;
        if self.is_finished || has_enough { Evidence::No } else { Evidence::Wait }
    }
}

/// Headers in a row that are as good as a PreviousTagSize that agrees.
const CHAIN_COUNT: usize = 4;
/// Between two headers of a row, in milliseconds; either way.
const CHAIN_STEP_MS_MAX: u32 = 60_000;
/// How far to look for evidence, in bytes: past the longest payload there can be.
const CHAIN_LEN_MAX: u64 = 32 << 20;

fn reader(checks_previous_tag_size: bool) -> FileReader {
    if checks_previous_tag_size { FileReader::strict() } else { FileReader::lenient() }
}

fn is_kind(byte: u8) -> bool {
    [TagKind::Audio, TagKind::Video, TagKind::Script].iter().any(|&kind| kind as u8 == byte)
}

struct PlausibleHeader {
    len: usize,
    timestamp: Timestamp,
}

impl PlausibleHeader {
    fn is_near(&self, last: Option<Timestamp>) -> bool {
        // Metadata and sequence headers are at 0, whenever the media begin.
        let last = last.filter(|&last| last != Timestamp::ZERO);
        last.is_none_or(|last| self.timestamp.since(last).unsigned_abs() <= CHAIN_STEP_MS_MAX)
    }
}

/// A tag header as all writers write it: unencrypted, and its stream id 0 (FLV E.4.1).
fn parse_header(bytes: [u8; TAG_HEADER_LEN]) -> Option<PlausibleHeader> {
    let [kind, l0, l1, l2, t0, t1, t2, extended, stream_id @ ..] = bytes;
    (is_kind(kind) && stream_id == [0; 3]).then(|| PlausibleHeader {
        len: u32::from_be_bytes([0, l0, l1, l2]) as usize,
        timestamp: Timestamp::from_ms(u32::from_be_bytes([extended, t0, t1, t2])),
    })
}

/// The last bytes that were pushed, by their place in the file.
#[derive(Default)]
struct Recent {
    pieces: VecDeque<Bytes>,
    /// Where the first piece begins.
    at: u64,
    len: u64,
    /// The end of the file was reached inside damage.
    is_over: bool,
}

impl Recent {
    fn push(&mut self, bytes: Bytes) {
        if !bytes.is_empty() {
            self.len += bytes.len() as u64;
            self.pieces.push_back(bytes);
        }
    }

    fn end(&self) -> u64 {
        self.at + self.len
    }

    fn drop_before(&mut self, at: u64) {
        while self.at < at {
            let Some(front) = self.pieces.front_mut() else { return };
            let n = front.len().min(usize::try_from(at - self.at).unwrap_or(usize::MAX));
            bytes::Buf::advance(front, n);
            self.at += n as u64;
            self.len -= n as u64;
            if front.is_empty() {
                self.pieces.pop_front();
            }
        }
    }

    /// Pieces from `at` on, each with the place of its first byte.
    fn from(&self, at: u64) -> impl Iterator<Item = (u64, &[u8])> {
        let mut start = self.at;
        self.pieces.iter().filter_map(move |piece| {
            let (from, len) = (start, piece.len() as u64);
            start += len;
            let skip = at.saturating_sub(from).min(len);
            (skip < len).then(|| (from + skip, &piece[skip as usize..]))
        })
    }

    fn read<const N: usize>(&self, at: u64) -> Option<[u8; N]> {
        if at < self.at || self.end() < at.checked_add(N as u64)? {
            return None;
        }
        let mut out = [0; N];
        let bytes = self.from(at).flat_map(|(_, piece)| piece);
        out.iter_mut().zip(bytes).for_each(|(to, from)| *to = *from);
        Some(out)
    }

    fn rope(&self, from: u64, to: u64) -> Option<Rope> {
        if from < self.at || to < from || self.end() < to {
            return None;
        }
        let mut start = self.at;
        let slices = self.pieces.iter().filter_map(|piece| {
            let (at, len) = (start, piece.len() as u64);
            start += len;
            let cut = |place: u64| place.saturating_sub(at).min(len) as usize;
            (cut(from) < cut(to)).then(|| piece.slice(cut(from)..cut(to)))
        });
        Some(slices.collect())
    }

    fn find(&self, at: u64, is_wanted: impl Fn(u8) -> bool) -> Option<u64> {
        self.from(at).find_map(|(from, piece)| {
            piece.iter().position(|&byte| is_wanted(byte)).map(|index| from + index as u64)
        })
    }
}
