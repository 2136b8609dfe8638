//! FlvReader: an FLV file as it arrives (FLV E.2 to E.4), strict.

use crate::tag::{Kind, TagSeen};

/// Reads a file header and tags, however they are cut. After an error it must not be used.
pub(crate) struct FlvReader {
    state: State,
    /// What has come of the present field.
    have: Vec<u8>,
    /// Bytes of the file taken so far.
    offset: u64,
}

enum State {
    /// The file header and the first PreviousTagSize.
    FileHeader,
    TagHeader,
    /// A payload and the PreviousTagSize behind it.
    Body {
        kind: Kind,
        timestamp_ms: u32,
        len: usize,
    },
}

const FILE_HEADER_LEN: usize = 9 + 4;
const TAG_HEADER_LEN: usize = 11;
const BACK_POINTER_LEN: usize = 4;

impl FlvReader {
    pub(crate) fn new() -> Self {
        Self { state: State::FileHeader, have: Vec::new(), offset: 0 }
    }

    /// Whether the file may end here.
    pub(crate) fn is_at_end_of_tag(&self) -> bool {
        matches!(self.state, State::TagHeader) && self.have.is_empty()
    }

    /// Bytes of the file taken so far.
    pub(crate) fn offset(&self) -> u64 {
        self.offset
    }

    /// Takes bytes from the front of `input` up to the end of the next tag. `Ok(None)`: all of it
    /// was taken, and no tag is complete.
    pub(crate) fn read(&mut self, input: &mut &[u8]) -> Result<Option<TagSeen>, String> {
        loop {
            let wanted = match self.state {
                State::FileHeader => FILE_HEADER_LEN,
                State::TagHeader => TAG_HEADER_LEN,
                State::Body { len, .. } => len + BACK_POINTER_LEN,
            };
            let (bytes, rest) = input.split_at(input.len().min(wanted - self.have.len()));
            *input = rest;
            self.offset += bytes.len() as u64;
            self.have.extend_from_slice(bytes);
            if self.have.len() < wanted {
                return Ok(None);
            }
            let tag = self.take_field()?;
            self.have.clear();
            if tag.is_some() {
                return Ok(tag);
            }
        }
    }

    fn take_field(&mut self) -> Result<Option<TagSeen>, String> {
        match self.state {
            State::FileHeader => {
                let [f, l, v, version, flags, a, b, c, d, first_pointer @ ..] = &self.have[..]
                else {
                    return Ok(None);
                };
                let data_offset = u32::from_be_bytes([*a, *b, *c, *d]);
                if [*f, *l, *v] != *b"FLV" || (*version, data_offset) != (1, 9) {
                    return Err(format!("file header {:x?}", self.have));
                }
                if flags & !5 != 0 || first_pointer != [0; 4] {
                    return Err(format!("flags {flags:#x}, first back-pointer {first_pointer:x?}"));
                }
                self.state = State::TagHeader;
                Ok(None)
            }
            State::TagHeader => {
                let [kind, l2, l1, l0, t2, t1, t0, t3, stream_id @ ..] = &self.have[..] else {
                    return Ok(None);
                };
                let Some(kind) = Kind::of_type(*kind) else {
                    return Err(format!("tag of type {kind}"));
                };
                if stream_id != [0; 3] {
                    return Err(format!("tag of stream {stream_id:x?}"));
                }
                let len = u32::from_be_bytes([0, *l2, *l1, *l0]) as usize;
                let timestamp_ms = u32::from_be_bytes([*t3, *t2, *t1, *t0]);
                self.state = State::Body { kind, timestamp_ms, len };
                Ok(None)
            }
            State::Body { kind, timestamp_ms, len } => {
                let (payload, back) = self.have.split_at(len);
                let back = back.first_chunk().map_or(0, |&back| u32::from_be_bytes(back));
                if back as usize != TAG_HEADER_LEN + len {
                    return Err(format!("back-pointer {back} behind {len} bytes of payload"));
                }
                super::check(kind, payload)?;
                self.state = State::TagHeader;
                Ok(Some(TagSeen::of(kind, timestamp_ms, payload)))
            }
        }
    }
}
