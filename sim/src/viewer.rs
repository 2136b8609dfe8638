//! Players without I/O: bytes in, what a player saw out. They are strict, and share no code with
//! the core.

pub mod amf0;
pub mod chunks;
pub mod connection;
pub(crate) mod flv;
pub mod hls;
mod http;
mod rml;
mod rtmp;

use crate::plan::{Player, Receive, Start};
use crate::tag::{Kind, SET_DATA_FRAME, TagSeen};

/// What a player sees.
#[derive(Clone, Debug, PartialEq)]
pub enum Seen {
    /// It was told that it plays.
    Playing,
    /// A tag came, whole.
    Tag(TagSeen),
    /// It was told, in the protocol's terms, that the stream is over.
    ToldEnd,
    /// It was told that something is wrong.
    ToldError {
        /// A code of RTMP, the status of HTTP, or `incomplete`: the connection ended inside an
        /// HTTP response.
        code: String,
        /// For people.
        words: String,
    },
    /// What came breaks the protocol: `byte N: why`, counted from the connection's first byte.
    /// Nothing is seen after it.
    Garbled(String),
}

/// What is played.
struct Target {
    app: String,
    name: String,
    query: &'static str,
}

impl Target {
    fn name_and_query(&self) -> String {
        format!("{}{}", self.name, self.query)
    }
}

/// What no player may be given. `TagSeen` would hide it.
fn check(kind: Kind, payload: &[u8]) -> Result<(), String> {
    match kind == Kind::Script && payload.starts_with(SET_DATA_FRAME) {
        true => Err("@setDataFrame, which is for servers".to_owned()),
        false => Ok(()),
    }
}

/// A player at the end of a connection.
///
/// # Driving it
///
/// After `new` and after every other call, send what `take_output` gives. Give `receive` what
/// comes, cut anywhere, and call `end_of_input` when the server closes in order.
pub struct Session(Inside);

enum Inside {
    Rtmp(Box<rtmp::RtmpPlayer>),
    Http(Box<http::HttpPlayer>),
    Rml(Box<rml::RmlPlayer>),
}

impl Session {
    /// A player of `key` (`live/a`) on a connection that has just been opened.
    pub fn new(player: Player, key: &str, start: Option<Start>, seed: u64) -> Self {
        let (app, name) = key.rsplit_once('/').unwrap_or(("", key));
        let query = match start {
            None => "",
            Some(Start::Gop) => "?start=gop",
            Some(Start::Live) => "?start=live",
            Some(Start::Auto) => "?start=auto",
        };
        let target = Target { app: app.to_owned(), name: name.to_owned(), query };
        Self(match player {
            Player::Rtmp => Inside::Rtmp(Box::new(rtmp::RtmpPlayer::new(target, seed))),
            // HLS is many requests, and no session: `peer` makes them.
            Player::Flv | Player::Hls => Inside::Http(Box::new(http::HttpPlayer::new(&target))),
            Player::Rml => Inside::Rml(Box::new(rml::RmlPlayer::new(target))),
        })
    }

    /// Bytes to send; empty when there are none.
    pub fn take_output(&mut self) -> Vec<u8> {
        match &mut self.0 {
            Inside::Rtmp(player) => player.take_output(),
            Inside::Http(player) => player.take_output(),
            Inside::Rml(player) => player.take_output(),
        }
    }

    /// Takes what came.
    pub fn receive(&mut self, bytes: &[u8]) -> Vec<Seen> {
        match &mut self.0 {
            Inside::Rtmp(player) => player.receive(bytes),
            Inside::Http(player) => player.receive(bytes),
            Inside::Rml(player) => player.receive(bytes),
        }
    }

    /// The server has closed in order. In RTMP that may happen anywhere.
    pub fn end_of_input(&mut self) -> Vec<Seen> {
        match &mut self.0 {
            Inside::Http(player) => player.end_of_input(),
            Inside::Rtmp(_) | Inside::Rml(_) => Vec::new(),
        }
    }

    /// Asks for less, or for more again. Only our own RTMP player can.
    pub fn set_receive(&mut self, receive: Receive) {
        if let Inside::Rtmp(player) = &mut self.0 {
            player.set_receive(receive);
        }
    }

    /// Says goodbye in the protocol's terms; HTTP has none.
    pub fn goodbye(&mut self) {
        match &mut self.0 {
            Inside::Rtmp(player) => player.goodbye(),
            Inside::Http(_) => {}
            Inside::Rml(player) => player.goodbye(),
        }
    }
}
