//! How a connection unfolds: handshake, chunks, commands, media.
//!
//! 1. **Handshake** ([`ServerHandshake`], [`ClientHandshake`]): 1 + 1536 + 1536 bytes in each
//!    direction. Who has read all of the other's may send chunks.
//! 2. **Chunks** ([`chunk`]): messages cut into pieces, so that a long one does not hold up a
//!    short one. Both sides begin with 128 bytes a piece and may announce more.
//! 3. **Messages** ([`message`]): numbers 1 to 6 are the connection's own housekeeping
//!    (acknowledgements, pings) on message stream 0. All others belong to a message stream.
//! 4. **Commands** ([`command`]): the client says `connect` with an app and is given a `_result`;
//!    `createStream`, and is given the number of a message stream; on that, `publish` or `play`
//!    with a name, and is given an `onStatus`. Encoders do not wait: OBS sends `releaseStream`,
//!    `FCPublish` and `createStream` at once.
//! 5. **Media**: audio, video and data messages on that message stream, each one a
//!    [`Tag`](crate::flv::Tag), until `FCUnpublish`, `deleteStream`, or the end of the connection.
//!
//! [`ServerConnection`] and [`ClientConnection`] put this together. Neither does I/O nor knows the
//! time: bytes and `now` go in, bytes, tags and requests come out.
//!
//! # Invariants
//!
//! - A media payload is not copied on its way in: a tag's rope is made of slices of the bytes that
//!   were received.
//! - What a peer is granted is bounded by [`ConnectionLimits`](server::ConnectionLimits), and what
//!   it did not ask for in time ends its connection.
//! - A refusal is said before the connection is closed, in words for a person.

pub mod chunk;
pub mod client;
mod codecs;
pub mod command;
mod handshake;
pub mod message;
pub mod server;
mod session;
mod url;

pub use client::ClientConnection;
pub use codecs::ServerCodecs;
pub use handshake::{ClientHandshake, HandshakeError, ServerHandshake};
pub use server::ServerConnection;
pub use session::{ConnectionError, Input};
pub use url::{Url, UrlError};
