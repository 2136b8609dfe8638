//! FLV files: the file header, tag headers and PreviousTagSize, both directions (FLV E.2, E.3, E.4).

use std::collections::VecDeque;

use bytes::{Buf, Bytes};

use crate::rope::{Rope, RopeBuilder, RopePool};
use crate::time::Timestamp;

use super::{Tag, TagKind};

/// Bytes of the file header.
pub const FILE_HEADER_LEN: usize = 9;
/// Bytes of a tag header.
pub const TAG_HEADER_LEN: usize = 11;
/// Bytes of a PreviousTagSize.
pub const PREVIOUS_TAG_SIZE_LEN: usize = 4;
/// Bytes of a payload, at most: the field has 24 bits.
pub const PAYLOAD_LEN_MAX: usize = (1 << 24) - 1;
/// Bytes a file header may say it has. The format sets no limit; nobody is known to use more than 9.
pub const FILE_HEADER_LEN_MAX: usize = 64 << 10;

const SIGNATURE: &[u8; 3] = b"FLV";
const VERSION: u8 = 1;
const HAS_AUDIO: u8 = 4;
const HAS_VIDEO: u8 = 1;
/// In the first byte of a tag: the payload is encrypted (FLV E.4.1, Filter).
const FILTER: u8 = 0x20;
const KIND: u8 = 0x1F;

/// The start of a file: its header and the first PreviousTagSize, which is 0 (FLV E.2, E.3).
pub const fn file_header(
    has_audio: bool,
    has_video: bool,
) -> [u8; FILE_HEADER_LEN + PREVIOUS_TAG_SIZE_LEN] {
    let flags = if has_audio { HAS_AUDIO } else { 0 } | if has_video { HAS_VIDEO } else { 0 };
    let [f, l, v] = *SIGNATURE;
    [f, l, v, VERSION, flags, 0, 0, 0, FILE_HEADER_LEN as u8, 0, 0, 0, 0]
}

/// The header in front of a payload of `payload_len` bytes (FLV E.4.1).
///
/// # Panics
///
/// If the payload is longer than [`PAYLOAD_LEN_MAX`], which no RTMP message is.
pub fn tag_header(kind: TagKind, payload_len: usize, timestamp: Timestamp) -> [u8; TAG_HEADER_LEN] {
    assert!(payload_len <= PAYLOAD_LEN_MAX, "a payload of {payload_len} bytes fits no FLV tag");
    let [_, l0, l1, l2] = (payload_len as u32).to_be_bytes();
    // The high byte comes last: the field had 24 bits before it grew (TimestampExtended).
    let [extended, t0, t1, t2] = timestamp.as_ms().to_be_bytes();
    [kind as u8, l0, l1, l2, t0, t1, t2, extended, 0, 0, 0]
}

/// What follows a payload of `payload_len` bytes: the length of its tag, header included (FLV E.3).
pub const fn previous_tag_size(payload_len: usize) -> [u8; PREVIOUS_TAG_SIZE_LEN] {
    ((TAG_HEADER_LEN + payload_len) as u32).to_be_bytes()
}

/// The payload as a file is to have it: legacy AAC says 44.1 kHz, 16 bits and stereo, whatever is
/// true (FLV E.4.2.1). Anything else is as it was; nothing is copied.
pub fn file_payload(tag: &Tag) -> Rope {
    const AAC: u8 = 0xAF;
    let is_other_aac = |first: u8| first >> 4 == AAC >> 4 && first != AAC;
    if tag.kind != TagKind::Audio || !tag.payload.get(0).is_some_and(is_other_aac) {
        return tag.payload.clone();
    }
    let rest = tag.payload.slice(1..tag.payload.len());
    std::iter::once(Bytes::from_static(&[AAC])).chain(rest.owned_slices()).collect()
}

/// What the file header says (FLV E.2). Many writers set both flags whatever follows.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct FileHeader {
    /// Whether there are audio tags.
    pub has_audio: bool,
    /// Whether there are video tags.
    pub has_video: bool,
    /// Bytes of it.
    pub len: usize,
}

/// A tag and where it was.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct FileTag {
    /// Where its header begins, in bytes from the start of the file.
    pub at: u64,
    /// Its payload shares the bytes the reader was given.
    pub tag: Tag,
}

impl FileTag {
    /// Where the PreviousTagSize behind it begins, in bytes from the start of the file.
    pub fn end(&self) -> u64 {
        self.at + (TAG_HEADER_LEN + self.tag.payload.len()) as u64
    }
}

/// What is wrong with a file, and where: `at` is in bytes from its start.
#[derive(Clone, Copy, PartialEq, Eq, Debug, thiserror::Error)]
pub enum FileError {
    /// The first three bytes are others.
    #[error("no FLV signature")]
    NoSignature,
    /// The format has version 1 only.
    #[error("version {version} at 3, only 1 is known")]
    UnknownVersion {
        /// What the header says.
        version: u8,
    },
    /// The file header says it is shorter than itself, or longer than [`FILE_HEADER_LEN_MAX`].
    #[error("the file header at 0 says it has {len} bytes")]
    HeaderLen {
        /// What DataOffset says.
        len: u32,
    },
    /// Neither 8, 9 nor 18.
    #[error("unknown tag type {kind} at {at}")]
    UnknownKind {
        /// The whole byte.
        kind: u8,
        /// Where the tag begins.
        at: u64,
    },
    /// The filter bit is set; there is no key to undo it.
    #[error("encrypted tag at {at}")]
    Encrypted {
        /// Where the tag begins.
        at: u64,
    },
    /// The payload is over the reader's limit.
    #[error("tag at {at} has {len} bytes, over the limit of {max}")]
    PayloadTooLong {
        /// Where the tag begins.
        at: u64,
        /// What DataSize says.
        len: usize,
        /// The limit.
        max: usize,
    },
    /// A PreviousTagSize is not the size of the tag before it.
    #[error("PreviousTagSize at {at} is {found}, the tag has {expected}")]
    WrongPreviousTagSize {
        /// Where the field is.
        at: u64,
        /// What it says.
        found: u32,
        /// What it should say. 0 in front of the first tag.
        expected: u32,
    },
    /// The file ends inside its header.
    #[error("cut inside the file header at {at}")]
    CutInFileHeader {
        /// Where the file ends.
        at: u64,
    },
    /// The file ends inside a tag header.
    #[error("cut inside a tag header at {at}")]
    CutInTagHeader {
        /// Where the tag begins.
        at: u64,
    },
    /// The file ends inside a payload.
    #[error("cut inside a tag body: tag at {at} wants {len} bytes")]
    CutInPayload {
        /// Where the tag begins.
        at: u64,
        /// What DataSize says.
        len: usize,
    },
    /// The file ends inside a PreviousTagSize, or without the last one.
    #[error("cut inside a PreviousTagSize at {at}")]
    CutInPreviousTagSize {
        /// Where the field is.
        at: u64,
    },
}

/// Reads a file as it arrives, cut anywhere, and stops at the first byte that breaks the framing.
///
/// Push what was read and take tags until there is none; when the file is at its end, ask
/// [`finish`](Self::finish) whether it was whole. A tag is given as soon as its payload is there,
/// so a wrong PreviousTagSize is an error *behind* its tag. After an error there are no more tags.
///
/// What was pushed is held until its tag is whole: at most one payload, and about 80 bytes of
/// bookkeeping for every piece, so pieces should not be tiny.
///
/// ```
/// use bytes::Bytes;
/// use forebay::flv::file::{self, FileReader};
/// let mut reader = FileReader::strict();
/// reader.push(Bytes::copy_from_slice(&file::file_header(true, true)));
/// while let Some(found) = reader.next_tag()? {
///     println!("{:?} at byte {}", found.tag.kind, found.at);
/// }
/// reader.finish()?;
/// # Ok::<(), file::FileError>(())
/// ```
pub struct FileReader {
    checks_previous_tag_size: bool,
    payload_len_max: usize,
    pieces: VecDeque<Bytes>,
    pieces_len: usize,
    /// Bytes taken off `pieces` since the start of the file.
    at: u64,
    next: Next,
    header: Option<FileHeader>,
    ropes: RopePool,
}

/// What the next bytes are.
#[derive(Clone, Copy)]
enum Next {
    FileHeader,
    /// The rest of a file header of more than 9 bytes.
    HeaderRest {
        len: usize,
    },
    PreviousTagSize {
        expected: u32,
    },
    TagHeader,
    Payload {
        tag_at: u64,
        kind: TagKind,
        timestamp: Timestamp,
        len: usize,
    },
    Nothing(FileError),
}

impl FileReader {
    /// Refuses whatever breaks the framing.
    pub fn strict() -> Self {
        Self {
            checks_previous_tag_size: true,
            payload_len_max: PAYLOAD_LEN_MAX,
            pieces: VecDeque::new(),
            pieces_len: 0,
            at: 0,
            next: Next::FileHeader,
            header: None,
            ropes: RopePool::new(64),
        }
    }

    /// Does not look at what PreviousTagSize says, as players do not.
    pub fn lenient() -> Self {
        Self { checks_previous_tag_size: false, ..Self::strict() }
    }

    /// Refuses payloads of more than `max` bytes. The default is [`PAYLOAD_LEN_MAX`].
    pub fn with_payload_len_max(self, max: usize) -> Self {
        Self { payload_len_max: max, ..self }
    }

    /// Begins in the middle of a file, `at` bytes from its start, where a tag does.
    pub fn at_tag(self, at: u64) -> Self {
        Self { at, next: Next::TagHeader, ..self }
    }

    /// What the file header said, once it was read.
    pub fn header(&self) -> Option<FileHeader> {
        self.header
    }

    /// Gives the reader the next bytes of the file.
    pub fn push(&mut self, bytes: Bytes) {
        if !bytes.is_empty() && !matches!(self.next, Next::Nothing(_)) {
            self.pieces_len += bytes.len();
            self.pieces.push_back(bytes);
        }
    }

    /// The next tag, or `None` if more bytes are needed.
    ///
    /// # Errors
    ///
    /// Where the framing breaks; from then on always the same.
    pub fn next_tag(&mut self) -> Result<Option<FileTag>, FileError> {
        loop {
            match self.step() {
                Ok(Step::Tag(tag)) => return Ok(Some(tag)),
                Ok(Step::Go) => {}
                Ok(Step::Wait) => return Ok(None),
                Err(error) => return Err(self.fail(error)),
            }
        }
    }

    /// Says that the file ends here.
    ///
    /// # Errors
    ///
    /// If a structure was begun and is not whole, or tags that were not taken are broken.
    pub fn finish(&mut self) -> Result<(), FileError> {
        while self.next_tag()?.is_some() {}
        let (at, have) = (self.at, self.pieces_len);
        let error = match self.next {
            Next::TagHeader if have == 0 => return Ok(()),
            Next::TagHeader => FileError::CutInTagHeader { at },
            Next::Payload { tag_at, len, .. } => FileError::CutInPayload { at: tag_at, len },
            Next::PreviousTagSize { .. } => FileError::CutInPreviousTagSize { at },
            Next::FileHeader if !self.may_be_flv() => FileError::NoSignature,
            Next::FileHeader | Next::HeaderRest { .. } => {
                FileError::CutInFileHeader { at: at + have as u64 }
            }
            Next::Nothing(error) => error,
        };
        Err(self.fail(error))
    }

    fn step(&mut self) -> Result<Step, FileError> {
        match self.next {
            Next::FileHeader => {
                let Some(bytes) = self.take() else { return Ok(Step::Wait) };
                let header = parse_file_header(bytes)?;
                self.header = Some(header);
                self.next = Next::HeaderRest { len: header.len - FILE_HEADER_LEN };
            }
            Next::HeaderRest { len } => {
                let n = len.min(self.pieces_len);
                self.skip(n);
                if n < len {
                    self.next = Next::HeaderRest { len: len - n };
                    return Ok(Step::Wait);
                }
                self.next = Next::PreviousTagSize { expected: 0 };
            }
            Next::PreviousTagSize { expected } => {
                let at = self.at;
                let Some(bytes) = self.take() else { return Ok(Step::Wait) };
                let found = u32::from_be_bytes(bytes);
                if found != expected && self.checks_previous_tag_size {
                    return Err(FileError::WrongPreviousTagSize { at, found, expected });
                }
                self.next = Next::TagHeader;
            }
            Next::TagHeader => {
                let tag_at = self.at;
                let Some(bytes) = self.take() else { return Ok(Step::Wait) };
                self.next = self.parse_tag_header(tag_at, bytes)?;
            }
            Next::Payload { tag_at, kind, timestamp, len } => {
                if self.pieces_len < len {
                    return Ok(Step::Wait);
                }
                let tag = Tag { kind, timestamp, payload: self.take_rope(len) };
                self.next = Next::PreviousTagSize { expected: (TAG_HEADER_LEN + len) as u32 };
                return Ok(Step::Tag(FileTag { at: tag_at, tag }));
            }
            Next::Nothing(error) => return Err(error),
        }
        Ok(Step::Go)
    }

    fn parse_tag_header(&self, at: u64, bytes: [u8; TAG_HEADER_LEN]) -> Result<Next, FileError> {
        let [first, l0, l1, l2, t0, t1, t2, extended, ..] = bytes;
        let kind = match first & KIND {
            8 => TagKind::Audio,
            9 => TagKind::Video,
            18 => TagKind::Script,
            _ => return Err(FileError::UnknownKind { kind: first, at }),
        };
        if first & FILTER != 0 {
            return Err(FileError::Encrypted { at });
        }
        let len = u32::from_be_bytes([0, l0, l1, l2]) as usize;
        if len > self.payload_len_max {
            return Err(FileError::PayloadTooLong { at, len, max: self.payload_len_max });
        }
        // FLV E.4.1: TimestampExtended is the *high* byte, although it comes last.
        let timestamp = Timestamp::from_ms(u32::from_be_bytes([extended, t0, t1, t2]));
        Ok(Next::Payload { tag_at: at, kind, timestamp, len })
    }

    fn fail(&mut self, error: FileError) -> FileError {
        self.next = Next::Nothing(error);
        self.pieces.clear();
        self.pieces_len = 0;
        error
    }

    /// Whether what there is of the signature is right.
    fn may_be_flv(&self) -> bool {
        self.pieces.iter().flatten().zip(SIGNATURE).all(|(found, wanted)| found == wanted)
    }

    /// The next `N` bytes, if they are all there.
    fn take<const N: usize>(&mut self) -> Option<[u8; N]> {
        // Whole in the first piece, nearly always: then nothing is shared for the sake of a header.
        if let Some(front) = self.pieces.front_mut()
            && let Some(&bytes) = front.first_chunk::<N>()
        {
            front.advance(N);
            self.count(N);
            return Some(bytes);
        }
        if self.pieces_len < N {
            return None;
        }
        let mut out = [0; N];
        let mut filled = 0;
        while let Some(piece) = self.take_piece(N - filled) {
            out[filled..filled + piece.len()].copy_from_slice(&piece);
            filled += piece.len();
        }
        Some(out)
    }

    fn take_rope(&mut self, len: usize) -> Rope {
        if self.pieces.front().is_some_and(|front| front.len() >= len) {
            return self.take_piece(len).unwrap_or_default().into();
        }
        let mut rope = RopeBuilder::default();
        let mut left = len;
        while let Some(piece) = self.take_piece(left) {
            left -= piece.len();
            rope.push_piece(&self.ropes, piece);
        }
        rope.finish()
    }

    fn skip(&mut self, len: usize) {
        let mut left = len;
        while let Some(piece) = self.take_piece(left) {
            left -= piece.len();
        }
    }

    /// At most `len_max` bytes off the front, all of one piece; `None` if there is nothing to take.
    fn take_piece(&mut self, len_max: usize) -> Option<Bytes> {
        let front = self.pieces.front_mut().filter(|_| len_max > 0)?;
        let taken = front.split_to(len_max.min(front.len()));
        self.count(taken.len());
        Some(taken)
    }

    /// So many bytes were taken off the first piece.
    fn count(&mut self, len: usize) {
        if self.pieces.front().is_some_and(Bytes::is_empty) {
            self.pieces.pop_front();
        }
        self.pieces_len -= len;
        self.at += len as u64;
    }
}

enum Step {
    Tag(FileTag),
    /// Something was read; go on.
    Go,
    /// More bytes are needed.
    Wait,
}

fn parse_file_header(bytes: [u8; FILE_HEADER_LEN]) -> Result<FileHeader, FileError> {
    let [f, l, v, version, flags, len @ ..] = bytes;
    if [f, l, v] != *SIGNATURE {
        return Err(FileError::NoSignature);
    }
    if version != VERSION {
        return Err(FileError::UnknownVersion { version });
    }
    let len = u32::from_be_bytes(len);
    if !(FILE_HEADER_LEN..=FILE_HEADER_LEN_MAX).contains(&(len as usize)) {
        return Err(FileError::HeaderLen { len });
    }
    Ok(FileHeader {
        has_audio: flags & HAS_AUDIO != 0,
        has_video: flags & HAS_VIDEO != 0,
        len: len as usize,
    })
}
