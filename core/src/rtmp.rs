//! How a connection unfolds: handshake, chunks, commands, media.

pub mod chunk;
pub mod command;
mod handshake;
pub mod message;
mod url;

pub use handshake::{ClientHandshake, HandshakeError, ServerHandshake};
pub use url::{Url, UrlError};
