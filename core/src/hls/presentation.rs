//! Presentation: one life of a stream as viewers of segments see it.

use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;

use super::Settings;
use super::cutter::Cutter;
use super::follow::{Follow, Position};
use super::playlist::{self, Delta, Names, PlaylistRequest, RequestError};
use super::track::Unsupported;
use super::window::{Init, Segment, Totals, Window};
use crate::flv::Tag;

/// What can be had of a presentation.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum State {
    /// No segment is complete: there is no playlist yet.
    Starting,
    /// There are playlists.
    Live,
    /// There are playlists, and nothing will be added to them.
    Ended,
    /// There is nothing, because of this.
    Unsupported(Unsupported),
}

/// What a file name asks for.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Wanted {
    /// An init section.
    Init(u64),
    /// A segment.
    Segment(u64),
    /// A part of a segment.
    Part(u64, usize),
}

/// What there is of it.
#[derive(Clone, PartialEq, Debug)]
pub enum Found {
    /// All of it, in pieces.
    Init(Arc<Init>),
    /// A complete segment.
    Segment(Arc<Segment>),
    /// A part.
    Part(Bytes),
    /// A player was told that it comes.
    NotYet,
}

/// Takes a stream's tags and has what its viewers ask for.
///
/// Push tags as they come; whenever [`version`](Self::version) has grown there is something new.
pub struct Presentation {
    id: String,
    cutter: Cutter,
    window: Window,
}

impl Presentation {
    /// A new life of a stream. No other one has this `id`, whatever happens: it is in every name.
    /// `first_number` is larger than every number that a segment of this stream has had.
    pub fn new(settings: Settings, id: String, first_number: u64) -> Self {
        let window = Window::new(settings, first_number.max(1));
        Self { id, cutter: Cutter::new(settings, first_number as u32), window }
    }

    /// Goes on where another life of the stream has ended: players that know that one's playlist have
    /// been promised how long segments and parts are at most.
    pub fn keep_promises_of(&mut self, former: &Self) {
        self.cutter.keep_promises_of(&former.cutter, &mut self.window);
    }

    /// Takes the next tag. `session` is which publish it belongs to, `utc` the time.
    pub fn push(&mut self, tag: &Tag, session: u64, utc: Duration) {
        if !self.window.is_ended {
            self.window.expire(utc);
            self.cutter.push(tag, session, utc, &mut self.window);
        }
    }

    /// Looks at the time, a few times a second: whether players have to be told that nothing comes.
    pub fn idle(&mut self, utc: Duration) {
        if !self.window.is_ended {
            self.window.expire(utc);
            self.cutter.idle(utc, &mut self.window);
        }
    }

    /// Tags before the next one were lost.
    pub fn lose(&mut self) {
        self.cutter.lose(&mut self.window);
    }

    /// No tag follows.
    pub fn end(&mut self) {
        if !self.window.is_ended {
            self.cutter.finish(&mut self.window);
            self.window.open = None;
            self.window.is_ended = true;
            self.window.version += 1;
        }
    }

    /// What can be had.
    pub fn state(&self) -> State {
        match self.cutter.unsupported() {
            Some(reason) if !self.window.is_ready() => State::Unsupported(reason.clone()),
            _ if self.window.is_ended => State::Ended,
            _ if self.window.is_ready() => State::Live,
            _ => State::Starting,
        }
    }

    /// Grows with everything that viewers can see.
    pub fn version(&self) -> u64 {
        self.window.version
    }

    /// What is held.
    pub fn totals(&self) -> Totals {
        self.window.totals()
    }

    /// The number behind every number used so far.
    pub fn next_number(&self) -> u64 {
        self.window.open_number() + 1
    }

    /// What is in every name.
    pub fn id(&self) -> &str {
        &self.id
    }

    /// Complete segments that are had, listed or not, from this number on.
    pub fn complete_from(&self, number: u64) -> impl Iterator<Item = &Arc<Segment>> {
        self.window.complete().filter(move |segment| segment.number >= number)
    }

    /// What the multivariant playlist says, but for averages: the init section that it describes, and
    /// the bits per second that it promises to be enough.
    pub fn variant(&self) -> Option<(u64, u64)> {
        let init = self.window.newest_init()?;
        Some((init.number, playlist::bandwidth(&self.window)))
    }

    /// How many discontinuities are behind what is listed, counted over all lives of the stream.
    pub fn discontinuity_sequence(&self) -> u64 {
        self.window.discontinuity_sequence
    }

    /// What the playlist's segments last at most, once it is known.
    pub fn target_duration(&self) -> Option<Duration> {
        self.window.target_ms.map(Duration::from_millis)
    }

    /// The multivariant playlist; empty before there is anything to list.
    pub fn multivariant(&self) -> String {
        playlist::multivariant(&self.window)
    }

    /// The media playlist; empty before there is one.
    pub fn media(&self, delta: Delta) -> String {
        playlist::media(&self.window, &Names(&self.id), delta)
    }

    /// Whether a request for the media playlist can be answered now.
    pub fn is_met(&self, request: &PlaylistRequest) -> Result<bool, RequestError> {
        Ok(self.window.is_ready() && request.is_met(&self.window)?)
    }

    /// Where a viewer of the endless file begins, once there is anything.
    pub fn join(&self) -> Option<Position> {
        self.window.join()
    }

    /// What comes next for a viewer of the endless file: about `len_max` bytes. One that is further
    /// behind than `behind_ms_max`, beyond what it began with, skips to the newest place to start.
    pub fn follow(&self, position: &mut Position, len_max: usize, behind_ms_max: u64) -> Follow {
        self.window.follow(position, len_max, behind_ms_max)
    }

    /// What a file name of this presentation asks for.
    pub fn wanted(&self, name: &str) -> Option<Wanted> {
        let mut words = name.strip_suffix(".m4s")?.split('-');
        let kind = words.next()?;
        (words.next()? == self.id).then_some(())?;
        let mut number = || {
            let word = words.next()?;
            // One thing has one name: no signs, no zeros in front.
            let number = word.parse::<u64>().ok()?;
            (number.to_string() == word).then_some(number)
        };
        let wanted = match kind {
            "init" => Wanted::Init(number()?),
            "seg" => Wanted::Segment(number()?),
            "part" => Wanted::Part(number()?, usize::try_from(number()?).ok()?),
            _ => return None,
        };
        words.next().is_none().then_some(wanted)
    }

    /// What there is of it; `None`: nothing, and nothing will come.
    pub fn find(&self, wanted: Wanted) -> Option<Found> {
        let window = &self.window;
        match wanted {
            Wanted::Init(number) => window.init(number).cloned().map(Found::Init),
            Wanted::Segment(number) => {
                let segment = window.segment(number).filter(|segment| !segment.is_gap);
                segment.cloned().map(Found::Segment)
            }
            Wanted::Part(number, index) => match window.part(number, index) {
                Some(part) => Some(Found::Part(part.bytes.clone())),
                None if window.is_ended => None,
                None => {
                    let hinted = window.open.as_ref().map_or(0, |open| open.parts.len());
                    let is_hinted = number == window.open_number() && index == hinted;
                    is_hinted.then_some(Found::NotYet)
                }
            },
        }
    }
}
