//! Capture: what a client sent on one RTMP connection, with its cuts and its pauses.

use std::io::{BufReader, Read};
use std::path::Path;
use std::time::{Duration, Instant};

use anyhow::{Context as _, anyhow, bail};
use bytes::Bytes;
use forebay::inspect::{RecordHeader, SIGNATURE};
use forebay::rtmp::server::{ConnectionLimits, Output};
use forebay::rtmp::{Input, ServerConnection};

#[expect(clippy::disallowed_types, reason = "a command reads its own files; nothing is simulated")]
type File = std::fs::File;

/// One write of the client.
pub(super) struct Record {
    /// Since the connection was made.
    pub(super) at: Duration,
    /// None in it: the client closed its side.
    pub(super) bytes: Bytes,
}

/// A `.rtmpcap` file, read from its start to its end.
pub(super) struct Capture {
    name: String,
    file: BufReader<File>,
    offset: u64,
}

impl Capture {
    pub(super) fn open(path: &Path) -> anyhow::Result<Self> {
        let name = path.display().to_string();
        let file = File::open(path).with_context(|| format!("cannot read {name}"))?;
        let mut capture = Self { name, file: BufReader::new(file), offset: 0 };
        let mut signature = [0; SIGNATURE.len()];
        if !capture.fill(&mut signature)? || signature != *SIGNATURE {
            bail!("{} is no .rtmpcap: it does not begin with RTMPCAP1", capture.name);
        }
        Ok(capture)
    }

    /// The client's next record.
    pub(super) fn next(&mut self) -> anyhow::Result<Option<Record>> {
        loop {
            let at = self.offset;
            let mut header = [0; RecordHeader::LEN];
            if !self.fill(&mut header)? {
                return Ok(None);
            }
            let RecordHeader { us, from_client, len } = RecordHeader::parse(header)
                .map_err(|error| anyhow!("{} is damaged: the record at {at} {error}", self.name))?;
            let mut bytes = vec![0; len];
            if len > 0 && !self.fill(&mut bytes)? {
                bail!("{} is damaged: cut inside the record at {at}", self.name);
            }
            if from_client {
                let at = Duration::from_micros(us);
                return Ok(Some(Record { at, bytes: bytes.into() }));
            }
        }
    }

    /// Whether there was something; an error if it was not enough.
    fn fill(&mut self, out: &mut [u8]) -> anyhow::Result<bool> {
        let mut len = 0;
        while len < out.len() {
            let read = self.file.read(&mut out[len..]);
            match read.with_context(|| format!("cannot read {}", self.name))? {
                0 if len == 0 => return Ok(false),
                0 => bail!("{} is damaged: it is cut at {}", self.name, self.offset),
                n => {
                    len += n;
                    self.offset += n as u64;
                }
            }
        }
        Ok(true)
    }
}

/// Reads along what a client says: which stream it publishes, and how many tags.
pub(super) struct Listener {
    server: Option<ServerConnection>,
    /// `APP/NAME`, once it was said.
    pub(super) stream: Option<String>,
    pub(super) tags: u64,
}

impl Listener {
    pub(super) fn new(now: Instant) -> Self {
        let server = ServerConnection::new(now, 0, ConnectionLimits::default());
        Self { server: Some(server), stream: None, tags: 0 }
    }

    pub(super) fn hear(&mut self, now: Instant, bytes: Bytes) {
        let Some(server) = &mut self.server else { return };
        server.handle_input(now, Input::Received(bytes));
        loop {
            match server.poll_output() {
                Output::Publish { stream_id, app, name, .. } => {
                    self.stream.get_or_insert_with(|| format!("{app}/{name}"));
                    server.accept_publish(stream_id);
                }
                Output::Tag { .. } => self.tags += 1,
                Output::Close(_) => {
                    self.server = None;
                    return;
                }
                Output::Wait(_) => return,
                _ => {}
            }
        }
    }
}

/// The stream that a capture publishes.
pub(super) fn stream_of(path: &Path, now: Instant) -> anyhow::Result<String> {
    let mut capture = Capture::open(path)?;
    let mut listener = Listener::new(now);
    while let Some(record) = capture.next()? {
        listener.hear(now, record.bytes);
        if let Some(stream) = listener.stream {
            return Ok(stream);
        }
    }
    bail!("{} publishes nothing", path.display())
}
