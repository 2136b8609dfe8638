//! What a target of a relay saw, and what a node says of its relays.

use std::fmt;
use std::sync::Arc;

use super::{Close, Who};
use crate::tag::TagSeen;

/// Something that has to do with a relay. A target numbers its connections: they may overlap.
#[derive(Clone, Debug, PartialEq)]
pub enum RelaySeen {
    /// The node dialed a target.
    Dialed {
        /// Which.
        target: Who,
        /// The connection's address, as in the target's `Accepted`.
        from: Arc<str>,
    },
    /// A connection reached the target.
    Accepted {
        /// Its number.
        connection: u32,
        /// Its address.
        from: Arc<str>,
    },
    /// The target let it publish.
    Publishing {
        /// The connection.
        connection: u32,
        /// The stream, as its node has it.
        key: Arc<str>,
    },
    /// The target said no.
    Refused {
        /// To which connection.
        connection: u32,
        /// In which words.
        code: Arc<str>,
    },
    /// The target has received the last byte of a tag.
    Got {
        /// On which connection.
        connection: u32,
        /// The tag.
        tag: TagSeen,
    },
    /// The target was told that the stream is over.
    Ended {
        /// On which connection.
        connection: u32,
    },
    /// What the target received breaks the protocol.
    Garbled {
        /// On which connection.
        connection: u32,
        /// How, and at which byte of the connection.
        why: Arc<str>,
    },
    /// A connection is over for the target.
    Over {
        /// Which.
        connection: u32,
        /// How; `Left`: the target closed it.
        close: Close,
        /// A message was under way.
        is_partial: bool,
    },
    /// What the node says of one of its relays, when that changes.
    Told(Arc<RelayTold>),
}

/// What a node says of a relay.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RelayTold {
    /// The stream.
    pub key: String,
    /// Where to, as people are told.
    pub target: String,
    /// What it is doing.
    pub state: RelayState,
    /// Connections dialed.
    pub attempts: u64,
    /// Given to connections.
    pub sent_tags: u64,
    /// Lost because the target was slow or away.
    pub lag_tags: u64,
    /// Not sent because what they need was not.
    pub skipped_tags: u64,
}

/// What a relay is doing, by its node.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[allow(missing_docs, reason = "the server's own names")]
pub enum RelayState {
    Connecting,
    Live,
    Backoff,
    Rejected,
}

impl fmt::Display for RelaySeen {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Dialed { target, from } => write!(f, "relay dials #{} from {from}", target.0),
            Self::Accepted { connection, from } => write!(f, "accepts {connection} from {from}"),
            Self::Publishing { connection, key } => write!(f, "{connection} publishes {key}"),
            Self::Refused { connection, code } => write!(f, "{connection} is refused: {code}"),
            Self::Got { connection, tag } => write!(f, "{connection} got {tag}"),
            Self::Ended { connection } => write!(f, "{connection} was told the end"),
            Self::Garbled { connection, why } => write!(f, "{connection} cannot be parsed: {why}"),
            Self::Over { connection, close, is_partial } => {
                let inside = if *is_partial { " inside a message" } else { "" };
                write!(f, "{connection} is over{inside}: {close:?}")
            }
            Self::Told(told) => {
                let RelayTold { key, target, state, attempts, .. } = &**told;
                let RelayTold { sent_tags, lag_tags, skipped_tags, .. } = &**told;
                write!(
                    f,
                    "relay of {key} to {target}: {state:?}, attempt {attempts}, sent {sent_tags}, lag {lag_tags}, skipped {skipped_tags}"
                )
            }
        }
    }
}
