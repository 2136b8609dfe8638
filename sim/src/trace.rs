//! Trace: what happened in a run, in simulated time. Invariants, goals and the timeline read it;
//! its text is the same in two runs of one seed.

mod archive;
mod hls;
mod relay;

use std::fmt;
use std::sync::Arc;

use crate::tag::TagSeen;
use crate::time::SimTime;

pub use self::archive::{
    DiskCall, DiskOutcome, DiskSeen, RecordedTag, Recording, RecordingHead, Recordings,
};
pub use self::hls::{Fetched, HlsSeen, Listed, Reloaded, Resource};
pub use self::relay::{RelaySeen, RelayState, RelayTold};

/// Who did it, or to whom it happened: an index into [`Trace::names`].
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
pub struct Who(pub u32);

impl Who {
    /// The world itself: its faults, its end.
    pub const WORLD: Self = Self(0);
}

/// One thing that happened.
#[derive(Clone, Debug, PartialEq)]
pub struct Event {
    /// When.
    pub at: SimTime,
    /// Who did it, or to whom it happened.
    pub who: Who,
    /// What.
    pub what: What,
}

/// What can happen.
#[derive(Clone, Debug, PartialEq)]
pub enum What {
    // What peers (publishers, viewers, bad neighbours) do and see. A peer's connections follow
    // one another: what comes between a `Dialed` and the next is of one connection.
    /// Began to connect to a node.
    Dialed {
        /// The node.
        node: Who,
        /// The connection's address as the node sees it, which is how the node's logs name it.
        address: Arc<str>,
    },
    /// The connection stands.
    Connected,
    /// The publisher may publish.
    Publishing {
        /// The stream.
        key: Arc<str>,
    },
    /// The publisher has handed the last byte of a tag to its socket.
    Sent(TagSeen),
    /// The viewer was told that it plays (RTMP `NetStream.Play.Start`, HTTP 200).
    Playing {
        /// The stream.
        key: Arc<str>,
    },
    /// The viewer has received the last byte of a tag.
    Got(TagSeen),
    /// The viewer plays HLS, and has seen something.
    Hls(HlsSeen),
    /// A target of a relay, or the relay's node, has seen something.
    Relay(RelaySeen),
    /// The viewer was told that the stream is over (RTMP `StreamEOF` or an unpublish status; the
    /// end of an HTTP body).
    ToldEnd,
    /// The peer was told a status with level `error`, `_error`, or an HTTP status that is not 200.
    ToldError {
        /// The code, as in `NetStream.Publish.BadName` or `404`.
        code: Arc<str>,
        /// The words.
        words: Arc<str>,
    },
    /// What the peer received breaks the protocol.
    Garbled {
        /// How, and at which byte of the connection.
        why: Arc<str>,
    },
    /// The peer's connection is over.
    Closed(Close),
    /// The peer stops (`false`) or resumes (`true`) to read.
    Reads(bool),

    // What is seen inside a node.
    /// A tag entered the hub, as a subscriber of the hub that is never slow saw it.
    Entered {
        /// The stream.
        key: Arc<str>,
        /// Which publish of the stream, counted by the hub.
        session: u64,
        /// The tag's number in the topic.
        number: u64,
        /// The tag.
        tag: TagSeen,
    },
    /// More entered at once than the hub keeps: that subscriber did not see some of it.
    Missed {
        /// The stream.
        key: Arc<str>,
        /// So many.
        tags: u64,
    },
    /// The stream is over, as that subscriber saw it.
    Over {
        /// The stream.
        key: Arc<str>,
    },
    /// A viewer lost tags, as its node tells it. `who` is the viewer.
    Lag {
        /// The connection's address, as in its `Dialed`.
        from: Arc<str>,
        /// Why.
        cause: LagCause,
        /// How many.
        tags: u64,
        /// Their payload bytes.
        bytes: u64,
    },
    /// A viewer's account when its connection closed, as its node tells it. `who` is the viewer.
    Account {
        /// The connection's address, as in its `Dialed`.
        from: Arc<str>,
        /// The account.
        account: Account,
    },
    /// A line of the node's log, of level INFO or worse.
    Log {
        /// How bad.
        level: Level,
        /// The message with its fields.
        text: Arc<str>,
    },
    /// A task of the node panicked.
    Panicked {
        /// The message and the place.
        why: Arc<str>,
        /// The simulation wanted it.
        injected: bool,
    },
    /// A quantity that has a configured bound, sampled. Only the largest since the last sample of
    /// its name is kept.
    Gauge {
        /// Its name, as in `ring_pinned_bytes`.
        name: &'static str,
        /// The value.
        value: u64,
        /// What it may not exceed.
        bound: u64,
    },

    /// A node's disk was told to do something, or has done it.
    Disk(DiskSeen),
    /// The node says that so much of a stream is durable.
    Durable {
        /// The stream.
        key: Arc<str>,
        /// Which publish.
        session: u64,
        /// The newest tag's number in the topic.
        number: u64,
    },
    /// What is on a node's disk while none of its processes runs.
    Recordings(Arc<Recordings>),

    // What the world does.
    /// A fault begins: the plan's line.
    FaultBegins {
        /// Which family, as in `N10`.
        family: &'static str,
        /// The plan's line without its time.
        line: Arc<str>,
    },
    /// A fault is over.
    FaultEnds {
        /// Which family.
        family: &'static str,
        /// The plan's line without its time.
        line: Arc<str>,
    },
    /// The node's process is dead.
    Crashed,
    /// The node was told to stop, as by SIGTERM.
    Stopping,
    /// The node stopped by itself; so many connections had to be cut.
    Stopped {
        /// Connections.
        cut: u64,
    },
    /// The node listens.
    Started,
    /// From now on faults have ended, and liveness is judged.
    Quiet,
    /// A state was reached that a campaign has to reach.
    Goal(&'static str),
    /// A link broke physics, as the checker on the links sees it.
    Unphysical {
        /// How.
        why: Arc<str>,
    },
    /// The run is over.
    Finished,
}

/// How a connection ended for a peer.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Close {
    /// The node closed it in order.
    Eof,
    /// The node, or something on the way, reset it.
    Reset,
    /// It could not be opened.
    Refused,
    /// The peer gave up waiting.
    TimedOut,
    /// The peer left in order.
    Left,
    /// The peer vanished: nothing was said to the node.
    Vanished,
}

/// Why a viewer was not given a tag; the names are those of `forebay::hub::Cause`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum LagCause {
    /// It was too slow.
    Overflow,
    /// A frame that no other needs, left out for one that was about to be too slow.
    Disposable,
    /// It could not have been decoded.
    NoKeyframe,
    /// The viewer did not want it.
    Filtered,
}

/// A viewer's account, as the node tells it when the connection closes.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Account {
    /// Tags published since its first.
    pub published: u64,
    /// Tags written to its socket.
    pub delivered: u64,
    /// Tags lost, whatever the cause.
    pub lag: u64,
    /// Tags not written.
    pub unsent: u64,
}

/// How bad a line of a log is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Level {
    /// For the record.
    Info,
    /// Somebody did something wrong.
    Warn,
    /// The node did something wrong.
    Error,
}

/// Everything that happened, in order.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Trace {
    /// Names by [`Who`]; the first is the world.
    pub names: Vec<String>,
    /// In order of time; within one moment in the order in which they happened.
    pub events: Vec<Event>,
}

impl Trace {
    /// A trace in which nothing happened yet.
    pub fn new() -> Self {
        Self { names: vec!["world".to_owned()], events: Vec::new() }
    }

    /// The number of this name; new ones get the next.
    pub fn who(&mut self, name: &str) -> Who {
        let known = self.names.iter().position(|known| known == name);
        let index = known.unwrap_or_else(|| {
            self.names.push(name.to_owned());
            self.names.len() - 1
        });
        Who(index as u32)
    }

    /// The name behind a number.
    pub fn name(&self, who: Who) -> &str {
        self.names.get(who.0 as usize).map_or("?", String::as_str)
    }

    /// Appends.
    pub fn push(&mut self, at: SimTime, who: Who, what: What) {
        self.events.push(Event { at, who, what });
    }

    /// One event as a line.
    pub fn line(&self, event: &Event) -> String {
        format!("{} {} {}", event.at, self.name(event.who), self.describe(&event.what))
    }

    fn describe(&self, what: &What) -> String {
        match what {
            What::Relay(RelaySeen::Dialed { target, from }) => {
                format!("relay dials {} from {from}", self.name(*target))
            }
            What::Dialed { node, address } => format!("dials {} from {address}", self.name(*node)),
            other => other.to_string(),
        }
    }

    /// What two runs of one seed have in common: the digest of every line.
    pub fn digest(&self) -> u64 {
        let mut hasher = xxhash_rust::xxh3::Xxh3::new();
        for event in &self.events {
            hasher.update(self.line(event).as_bytes());
            hasher.update(b"\n");
        }
        hasher.digest()
    }
}

impl fmt::Display for What {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Dialed { node, address } => write!(f, "dials #{} from {address}", node.0),
            Self::Connected => write!(f, "connected"),
            Self::Publishing { key } => write!(f, "publishes {key}"),
            Self::Sent(tag) => write!(f, "sent {tag}"),
            Self::Playing { key } => write!(f, "plays {key}"),
            Self::Got(tag) => write!(f, "got {tag}"),
            Self::Hls(seen) => write!(f, "{seen}"),
            Self::Relay(seen) => write!(f, "{seen}"),
            Self::ToldEnd => write!(f, "was told the end"),
            Self::ToldError { code, words } => write!(f, "was told {code}: {words}"),
            Self::Garbled { why } => write!(f, "cannot parse: {why}"),
            Self::Closed(close) => write!(f, "closed: {close:?}"),
            Self::Reads(true) => write!(f, "reads again"),
            Self::Reads(false) => write!(f, "stops reading"),
            Self::Entered { key, session, number, tag } => {
                write!(f, "{key} session {session} number {number}: {tag}")
            }
            Self::Missed { key, tags } => write!(f, "{key}: {tags} tags entered unseen"),
            Self::Over { key } => write!(f, "{key} is over"),
            Self::Lag { cause, tags, bytes, .. } => {
                write!(f, "lost {tags} tags, {bytes} bytes: {cause:?}")
            }
            Self::Account { from, account: Account { published, delivered, lag, unsent } } => {
                write!(
                    f,
                    "account of {from}: published {published}, delivered {delivered}, lag {lag}, unsent {unsent}"
                )
            }
            Self::Log { level, text } => write!(f, "log {level:?}: {text}"),
            Self::Panicked { why, injected } => {
                write!(f, "panicked{}: {why}", if *injected { " as planned" } else { "" })
            }
            Self::Gauge { name, value, bound } => write!(f, "{name} {value} of {bound}"),
            Self::Disk(seen) => write!(f, "{seen}"),
            Self::Durable { key, session, number } => {
                write!(f, "{key} session {session} is durable up to {number}")
            }
            Self::Recordings(recordings) => write!(f, "{recordings}"),
            Self::FaultBegins { family, line } => write!(f, "fault {family} begins: {line}"),
            Self::FaultEnds { family, line } => write!(f, "fault {family} ends: {line}"),
            Self::Crashed => write!(f, "crashed"),
            Self::Stopping => write!(f, "told to stop"),
            Self::Stopped { cut } => write!(f, "stopped, {cut} connections cut"),
            Self::Started => write!(f, "listens"),
            Self::Quiet => write!(f, "quiet phase"),
            Self::Goal(name) => write!(f, "goal {name}"),
            Self::Unphysical { why } => write!(f, "broke physics: {why}"),
            Self::Finished => write!(f, "finished"),
        }
    }
}

impl What {
    /// Whether the plan did it.
    pub fn is_fault(&self) -> bool {
        matches!(
            self,
            Self::FaultBegins { .. } | Self::FaultEnds { .. } | Self::Crashed | Self::Stopping
        )
    }
}
