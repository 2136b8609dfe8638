//! Encoders without I/O.
pub mod encode;
