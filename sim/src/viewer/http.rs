//! HttpPlayer: HTTP-FLV: a request, a response head, and a body in chunks or until the close
//! (RFC 9112).

use super::flv::FlvReader;
use super::{Seen, Target};

/// Bytes of a response head, at most: a server that says more is talking nonsense.
const HEAD_LEN_MAX: usize = 16 << 10;

/// A strict player of HTTP-FLV.
pub(super) struct HttpPlayer {
    out: Vec<u8>,
    /// Bytes of the connection taken so far.
    offset: u64,
    state: State,
    /// The line or the head being read.
    have: Vec<u8>,
    status: String,
    /// The start of a body that is no FLV: what an error says.
    words: Vec<u8>,
    flv: FlvReader,
}

#[derive(Clone, Copy, Debug, PartialEq)]
enum State {
    Head,
    /// A chunk's length, in a line.
    ChunkSize,
    /// So many bytes of a chunk are missing.
    Chunk(u64),
    /// The end of line behind a chunk.
    ChunkEnd,
    /// Lines up to an empty one.
    Trailer,
    /// A body of known length, of which so much is missing.
    Sized(u64),
    UntilClose,
    Over,
}

fn is_whole_head(have: &[u8]) -> bool {
    have.ends_with(b"\r\n\r\n")
}

impl HttpPlayer {
    pub(super) fn new(target: &Target) -> Self {
        let Target { app, name, query } = target;
        let request = format!(
            "GET /{app}/{name}.flv{query} HTTP/1.1\r\nHost: sim\r\nUser-Agent: forebay-sim\r\n\
             Accept: */*\r\n\r\n"
        );
        Self {
            out: request.into_bytes(),
            offset: 0,
            state: State::Head,
            have: Vec::new(),
            status: String::new(),
            words: Vec::new(),
            flv: FlvReader::new(),
        }
    }

    pub(super) fn take_output(&mut self) -> Vec<u8> {
        std::mem::take(&mut self.out)
    }

    pub(super) fn receive(&mut self, bytes: &[u8]) -> Vec<Seen> {
        let mut seen = Vec::new();
        if let Err(why) = self.read(bytes, &mut seen) {
            seen.push(Seen::Garbled(format!("byte {}: {why}", self.offset)));
            self.state = State::Over;
        }
        seen
    }

    pub(super) fn end_of_input(&mut self) -> Vec<Seen> {
        let mut seen = Vec::new();
        let whole = self.state == State::UntilClose
            && (self.status != "200" || self.flv.is_at_end_of_tag());
        if whole {
            self.end_of_body(&mut seen);
        } else if self.state != State::Over {
            let words = format!("byte {}: the response ends in {:?}", self.offset, self.state);
            seen.push(Seen::ToldError { code: "incomplete".to_owned(), words });
        }
        self.state = State::Over;
        seen
    }

    fn read(&mut self, mut bytes: &[u8], seen: &mut Vec<Seen>) -> Result<(), String> {
        while !bytes.is_empty() {
            match self.state {
                State::Head => {
                    if self.line(&mut bytes, is_whole_head, HEAD_LEN_MAX)? {
                        self.state = self.head(seen)?;
                    }
                }
                State::ChunkSize => {
                    if self.line(&mut bytes, |line| line.ends_with(b"\r\n"), 64)? {
                        let line = String::from_utf8_lossy(&self.have).into_owned();
                        self.have.clear();
                        let size = line.trim_end().split(';').next().unwrap_or_default();
                        let size = u64::from_str_radix(size, 16);
                        self.state = match size.map_err(|_| format!("chunk size {line:?}"))? {
                            0 => State::Trailer,
                            size => State::Chunk(size),
                        };
                    }
                }
                State::Chunk(left) => {
                    let taken = self.body(&mut bytes, left, seen)?;
                    self.state = match left - taken {
                        0 => State::ChunkEnd,
                        left => State::Chunk(left),
                    };
                }
                State::ChunkEnd => {
                    if self.line(&mut bytes, |line| line.len() == 2, 2)? {
                        if self.have != b"\r\n" {
                            return Err(format!("{:x?} behind a chunk", self.have));
                        }
                        self.have.clear();
                        self.state = State::ChunkSize;
                    }
                }
                State::Trailer => {
                    let is_whole = |lines: &[u8]| lines == b"\r\n" || is_whole_head(lines);
                    if self.line(&mut bytes, is_whole, HEAD_LEN_MAX)? {
                        if self.status == "200" && !self.flv.is_at_end_of_tag() {
                            let at = self.flv.offset();
                            return Err(format!("the body ends inside a tag, at its byte {at}"));
                        }
                        self.end_of_body(seen);
                    }
                }
                State::Sized(left) => {
                    let taken = self.body(&mut bytes, left, seen)?;
                    self.state = State::Sized(left - taken);
                    if left == taken {
                        self.end_of_body(seen);
                    }
                }
                State::UntilClose => {
                    self.body(&mut bytes, u64::MAX, seen)?;
                }
                State::Over => return Ok(()),
            }
        }
        Ok(())
    }

    /// Whether what is read has come whole into `have`.
    fn line(
        &mut self,
        bytes: &mut &[u8],
        is_whole: impl Fn(&[u8]) -> bool,
        len_max: usize,
    ) -> Result<bool, String> {
        while let Some((&byte, rest)) = bytes.split_first() {
            *bytes = rest;
            self.offset += 1;
            self.have.push(byte);
            if is_whole(&self.have) {
                return Ok(true);
            }
            if self.have.len() >= len_max {
                return Err(format!("{len_max} bytes without an end of {:?}", self.state));
            }
        }
        Ok(false)
    }

    fn head(&mut self, seen: &mut Vec<Seen>) -> Result<State, String> {
        let head = String::from_utf8_lossy(&std::mem::take(&mut self.have)).into_owned();
        let mut lines = head.split("\r\n");
        let first = lines.next().unwrap_or_default();
        let mut words = first.split(' ');
        let (Some("HTTP/1.1" | "HTTP/1.0"), Some(status)) = (words.next(), words.next()) else {
            return Err(format!("status line {first:?}"));
        };
        self.status = status.to_owned();
        let mut state = State::UntilClose;
        for (name, value) in lines.filter_map(|line| line.split_once(':')) {
            let value = value.trim();
            match name.to_ascii_lowercase().as_str() {
                "transfer-encoding" if value.eq_ignore_ascii_case("chunked") => {
                    state = State::ChunkSize;
                }
                "content-length" if state != State::ChunkSize => {
                    let len = value.parse().map_err(|_| format!("content-length {value:?}"))?;
                    state = State::Sized(len);
                }
                "content-type" if status == "200" && value != "video/x-flv" => {
                    return Err(format!("content-type {value:?}"));
                }
                _ => {}
            }
        }
        if status == "200" {
            seen.push(Seen::Playing);
        }
        if state == State::Sized(0) {
            self.end_of_body(seen);
            state = State::Over;
        }
        Ok(state)
    }

    /// Takes up to `left` bytes of the body, and returns how many it took.
    fn body(&mut self, bytes: &mut &[u8], left: u64, seen: &mut Vec<Seen>) -> Result<u64, String> {
        const WORDS_LEN_MAX: usize = 1000;
        let taken = usize::try_from(left).unwrap_or(usize::MAX).min(bytes.len());
        let (mut part, rest) = bytes.split_at(taken);
        *bytes = rest;
        if self.status != "200" {
            let room = WORDS_LEN_MAX - self.words.len();
            self.words.extend_from_slice(&part[..part.len().min(room)]);
            part = &[];
        }
        let before = self.flv.offset();
        loop {
            match self.flv.read(&mut part) {
                Ok(Some(tag)) => seen.push(Seen::Tag(tag)),
                Ok(None) => break,
                Err(why) => {
                    // The connection's byte is that of the field that broke.
                    self.offset += self.flv.offset() - before;
                    return Err(format!("byte {} of the body: {why}", self.flv.offset()));
                }
            }
        }
        self.offset += taken as u64;
        Ok(taken as u64)
    }

    fn end_of_body(&mut self, seen: &mut Vec<Seen>) {
        self.state = State::Over;
        seen.push(match self.status.as_str() {
            "200" => Seen::ToldEnd,
            status => Seen::ToldError {
                code: status.to_owned(),
                words: String::from_utf8_lossy(&self.words).trim().to_owned(),
            },
        });
    }
}
