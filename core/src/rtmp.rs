//! How a connection unfolds: handshake, chunks, commands, media.

pub mod chunk;
pub mod client;
pub mod command;
mod handshake;
pub mod message;
pub mod server;
mod session;
mod url;

pub use client::ClientConnection;
pub use handshake::{ClientHandshake, HandshakeError, ServerHandshake};
pub use server::ServerConnection;
pub use session::{ConnectionError, Input};
pub use url::{Url, UrlError};
