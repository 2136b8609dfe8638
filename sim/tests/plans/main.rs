//! Plans: what their text says, and how they shrink.

mod any;
mod shrunk;
mod text;
