//! Target: a server that a node relays to, and its words, both ways.

use std::fmt::{self, Display, Formatter};

use super::units::{LENGTH_MAX, LENGTHS, amount};
use super::vocabulary::{REFUSALS, word};
use super::words::{Read, Words};
use crate::link::Link;

/// A server that a node publishes streams to. The node is configured with it from its start; the
/// server listens from its line's time on.
#[derive(Clone, Debug, PartialEq)]
pub struct Target {
    /// Which streams: `live/a`, or `live/*`.
    pub streams: String,
    /// What it wants to be told by whoever publishes, and the node knows.
    pub key: Option<String>,
    /// How it differs from a good server.
    pub quirks: Vec<TargetQuirk>,
    /// Its way to the node: `up` is what it sends.
    pub link: Link,
    /// The node.
    pub node: String,
}

/// How a target differs from a good one.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum TargetQuirk {
    /// Says no.
    Refuses {
        /// In which words.
        refusal: Refusal,
        /// So many times; always if `None`.
        times: Option<u32>,
    },
    /// Closes every connection behind so many bytes of it.
    Cuts(u64),
    /// Lets connections come, and says nothing.
    Silent,
    /// Says that of the codecs behind a FourCC it takes this one.
    Takes([u8; 4]),
    /// Its window acknowledgement size, in bytes.
    Window(u32),
}

/// How a target says no.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Refusal {
    /// The name is in use, or wrong: `NetStream.Publish.BadName`.
    BadName,
    /// The credentials are wrong: `NetConnection.Connect.Rejected`.
    Auth,
    /// It has too much to do: `NetStream.Failed`.
    Busy,
}

impl Target {
    /// The app of these streams.
    pub fn app(&self) -> &str {
        self.streams.split_once('/').map_or("", |(app, _)| app)
    }

    /// Whether it is sent this stream.
    pub fn takes(&self, key: &str) -> bool {
        match self.streams.strip_suffix('*') {
            Some(start) => key.starts_with(start),
            None => key == self.streams,
        }
    }

    /// Whether no stream ever gets to it, whatever happens.
    pub fn is_dead(&self) -> bool {
        self.quirks.iter().any(|quirk| {
            matches!(quirk, TargetQuirk::Silent | TargetQuirk::Refuses { times: None, .. })
        })
    }
}

/// Reads `target live/*` behind its first word; the node and the link are the caller's.
pub(super) fn read_streams(words: &mut Words<'_>) -> Read<String> {
    words.value("streams, as live/a or live/*", |word| {
        let (app, name) = word.split_once('/')?;
        let name =
            name.strip_suffix('*').map_or(name, |start| if start.is_empty() { "*" } else { start });
        let plain = |text: &str| {
            !text.is_empty()
                && text
                    .chars()
                    .all(|letter| letter.is_ascii_alphanumeric() || "-_".contains(letter))
        };
        (plain(app) && (name == "*" || plain(name))).then(|| word.to_owned())
    })
}

/// Reads a key.
pub(super) fn read_key(words: &mut Words<'_>) -> Read<String> {
    words.value("a key of letters and digits", |word| {
        let plain = word.bytes().all(|byte| byte.is_ascii_alphanumeric());
        plain.then(|| word.to_owned())
    })
}

type ReadQuirk = fn(&mut Words<'_>) -> Read<TargetQuirk>;

const QUIRKS: [(&str, ReadQuirk); 5] = [
    ("refuses", |words| {
        let refusal = words.one_of("how it refuses", &REFUSALS)?;
        let times = if words.eat("times") {
            Some(words.number(1..=i64::from(u32::MAX))? as u32)
        } else {
            None
        };
        Ok(TargetQuirk::Refuses { refusal, times })
    }),
    ("cuts", |words| {
        words.must("after")?;
        words.amount("bytes", &LENGTHS, 1..=LENGTH_MAX).map(TargetQuirk::Cuts)
    }),
    ("silent", |_| Ok(TargetQuirk::Silent)),
    ("takes", |words| {
        let four_cc = words.value("a FourCC, as av01", |word| {
            let bytes: [u8; 4] = word.as_bytes().try_into().ok()?;
            bytes.iter().all(u8::is_ascii_alphanumeric).then_some(bytes)
        })?;
        Ok(TargetQuirk::Takes(four_cc))
    }),
    ("window", |words| {
        let bytes = words.amount("bytes", &LENGTHS, 1..=u64::from(u32::MAX))?;
        Ok(TargetQuirk::Window(bytes as u32))
    }),
];

/// Reads the words behind `quirk`.
pub(super) fn read_quirk(words: &mut Words<'_>) -> Read<TargetQuirk> {
    words.one_of("a quirk of a target", &QUIRKS)?(words)
}

impl Display for TargetQuirk {
    fn fmt(&self, f: &mut Formatter<'_>) -> fmt::Result {
        match self {
            Self::Refuses { refusal, times } => {
                write!(f, "refuses {}", word(&REFUSALS, refusal))?;
                times.map_or(Ok(()), |times| write!(f, " times {times}"))
            }
            Self::Cuts(bytes) => write!(f, "cuts after {}", amount(*bytes, &LENGTHS)),
            Self::Silent => f.write_str("silent"),
            Self::Takes(four_cc) => write!(f, "takes {}", four_cc.escape_ascii()),
            Self::Window(bytes) => write!(f, "window {}", amount((*bytes).into(), &LENGTHS)),
        }
    }
}
