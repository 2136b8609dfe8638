//! How a connection unfolds: handshake, chunks, commands, media.

pub mod chunk;
pub mod message;
