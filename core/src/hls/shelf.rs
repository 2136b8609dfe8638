//! Shelf: what of a presentation is kept in a store of others, which takes its time.
//!
//! A store has whole segments and playlists of those that it has: parts are gone before it would have
//! taken them. What to do next is an [`Operation`]; whoever carries it out says when it is done.

use std::collections::VecDeque;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;

use super::Settings;
use super::playlist::{self, Names, Shelved};
use super::presentation::{Presentation, State};
use super::window::{Init, Segment};

/// The playlist that players open, and the one that it names.
const MULTIVARIANT: &str = "index.m3u8";
const MEDIA: &str = "media.m3u8";

/// One thing to do to the store.
#[derive(Clone, PartialEq, Debug)]
pub enum Operation {
    /// Put this there, or in the place of what is called so.
    Put {
        /// The name, without the stream's.
        name: String,
        /// What it is.
        content: Content,
        /// All of it, in pieces.
        bytes: Vec<Bytes>,
    },
    /// This may go.
    Remove {
        /// The name, without the stream's.
        name: String,
    },
}

/// What is put into a store.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Content {
    /// It changes with every segment.
    Playlist,
    /// It never changes.
    Media,
}

/// What has been done so far.
#[derive(Clone, Copy, Default, PartialEq, Eq, Debug)]
pub struct ShelfTotals {
    /// Segments that the store took.
    pub segments: u64,
    /// Bytes of them.
    pub bytes: u64,
    /// Segments that it did not take in time: the playlist has gaps instead.
    pub missing_segments: u64,
}

/// What an operation does to what is known of the store.
enum Step {
    Init(Arc<Init>),
    Segment(Arc<Segment>),
    Media,
    Multivariant,
    /// The oldest of what is no longer listed goes.
    Expire(u64),
}

/// An object that is no longer listed.
struct Removed {
    until: Duration,
    number: u64,
}

/// Keeps a store up with a presentation.
pub struct Shelf {
    settings: Settings,
    id: String,
    /// Complete segments that the store does not have.
    waiting: VecDeque<Arc<Segment>>,
    /// Of the segment behind those that were seen, and where it begins.
    next_number: u64,
    next_start_ms: u64,
    listed: VecDeque<Shelved>,
    removed: VecDeque<Removed>,
    inits: Vec<u64>,
    target: Option<Duration>,
    discontinuity_sequence: u64,
    multivariant: String,
    variant: Option<(u64, u64)>,
    /// What the store's multivariant playlist says.
    has_variant: Option<(u64, u64)>,
    is_listed: bool,
    is_ended: bool,
    utc: Duration,
    totals: ShelfTotals,
}

impl Shelf {
    /// An empty one.
    pub fn new(settings: Settings) -> Self {
        Self {
            settings,
            id: String::new(),
            waiting: VecDeque::new(),
            next_number: 0,
            next_start_ms: 0,
            listed: VecDeque::new(),
            removed: VecDeque::new(),
            inits: Vec::new(),
            target: None,
            discontinuity_sequence: 0,
            multivariant: String::new(),
            variant: None,
            has_variant: None,
            is_listed: true,
            is_ended: false,
            utc: Duration::ZERO,
            totals: ShelfTotals::default(),
        }
    }

    /// Whether there is anything new for it.
    pub fn is_behind(&self, presentation: &Presentation) -> bool {
        let is_over = matches!(presentation.state(), State::Ended | State::Unsupported(_));
        presentation.complete_from(self.next_number).next().is_some() || (is_over && !self.is_ended)
    }

    /// Looks at what the presentation has that the store has not. A segment that waited for longer
    /// than the window lasts is given up: what waits is bounded, and old news by then.
    pub fn take(&mut self, presentation: &Presentation, utc: Duration) {
        self.utc = self.utc.max(utc);
        if self.id.is_empty() {
            self.id = presentation.id().to_owned();
            self.discontinuity_sequence = presentation.discontinuity_sequence();
        }
        for segment in presentation.complete_from(self.next_number) {
            self.wait_for_missed(segment);
            self.next_number = segment.number + 1;
            self.next_start_ms = segment.start_ms + segment.duration_ms;
            self.waiting.push_back(segment.clone());
        }
        self.target = presentation.target_duration().or(self.target);
        self.multivariant = presentation.multivariant();
        self.variant = presentation.variant();
        if presentation.state() == State::Ended && !self.is_ended {
            self.is_ended = true;
            self.is_listed = self.listed.is_empty();
        }
        if matches!(presentation.state(), State::Unsupported(_)) {
            self.is_ended = true;
        }
        let waiting_ms = |waiting: &VecDeque<Arc<Segment>>| {
            waiting.iter().map(|segment| segment.duration_ms).sum::<u64>()
        };
        while self.waiting.len() > 1 && waiting_ms(&self.waiting) > self.settings.window_ms {
            if let Some(segment) = self.waiting.pop_front() {
                self.totals.missing_segments += u64::from(!segment.is_gap);
                self.list(Shelved { is_gap: true, ..Shelved::of(&segment) });
            }
        }
        self.list_gaps();
    }

    /// Segments that were gone before they were seen, because the store took so long or the memory was
    /// needed, still have their numbers.
    fn wait_for_missed(&mut self, next: &Segment) {
        let missed = match self.next_number {
            0 => 0,
            number => next.number - number,
        };
        let missed_ms = next.start_ms.saturating_sub(self.next_start_ms);
        for index in 0..missed {
            let start_ms = self.next_start_ms + missed_ms * index / missed;
            let before_ms = next.start_ms.saturating_sub(start_ms);
            self.totals.missing_segments += 1;
            self.waiting.push_back(Arc::new(Segment {
                number: self.next_number + index,
                start_ms,
                duration_ms: (missed_ms / missed).max(1),
                parts: Vec::new(),
                init: next.init.clone(),
                // What was in between may have been of another kind.
                has_discontinuity: index == 0,
                utc: next.utc.saturating_sub(Duration::from_millis(before_ms)),
                is_gap: true,
                len: 0,
            }));
        }
    }

    /// Whether the store's multivariant playlist says what is no longer true. What it promises to be
    /// enough need not be as generous as it was.
    fn is_variant_outdated(&self) -> bool {
        let Some((init, bandwidth)) = self.variant else { return false };
        self.has_variant.is_none_or(|(stored_init, promised)| {
            stored_init != init || bandwidth > promised * playlist::HEADROOM
        })
    }

    /// What is to be done next; nothing before [`take`](Self::take) finds more.
    pub fn next_operation(&self) -> Option<Operation> {
        let put = |name, content, bytes| Operation::Put { name, content, bytes };
        let names = Names(&self.id);
        Some(match self.next_step()? {
            Step::Init(init) => {
                put(names.init(init.number), Content::Media, vec![init.bytes.clone()])
            }
            Step::Segment(segment) => {
                let parts = segment.parts.iter().map(|part| part.bytes.clone());
                put(names.segment(segment.number), Content::Media, parts.collect())
            }
            Step::Media => put(MEDIA.to_owned(), Content::Playlist, vec![self.media().into()]),
            Step::Multivariant => {
                let text = self.multivariant.clone();
                put(MULTIVARIANT.to_owned(), Content::Playlist, vec![text.into()])
            }
            Step::Expire(number) => Operation::Remove { name: names.segment(number) },
        })
    }

    fn next_step(&self) -> Option<Step> {
        // Players are told of a segment as soon as it is there.
        if !self.is_listed && self.target.is_some() {
            return Some(Step::Media);
        }
        if !self.listed.is_empty() && self.is_variant_outdated() {
            return Some(Step::Multivariant);
        }
        if let Some(segment) = self.waiting.front() {
            let init = &segment.init;
            return Some(match self.inits.contains(&init.number) {
                true => Step::Segment(segment.clone()),
                false => Step::Init(init.clone()),
            });
        }
        let oldest = self.removed.front().filter(|removed| removed.until < self.utc)?;
        Some(Step::Expire(oldest.number))
    }

    /// The operation that was asked for last is done.
    pub fn succeeded(&mut self) {
        match self.next_step() {
            Some(Step::Init(init)) => self.inits.push(init.number),
            Some(Step::Segment(segment)) => {
                self.waiting.pop_front();
                self.totals.segments += 1;
                self.totals.bytes += segment.len;
                self.list(Shelved::of(&segment));
            }
            Some(Step::Media) => self.is_listed = true,
            Some(Step::Multivariant) => self.has_variant = self.variant,
            Some(Step::Expire(_)) => drop(self.removed.pop_front()),
            None => {}
        }
        self.list_gaps();
    }

    /// Lists segments that nothing is in: there is no object to wait for.
    fn list_gaps(&mut self) {
        while let Some(gap) = self.waiting.pop_front_if(|segment| segment.is_gap) {
            self.list(Shelved::of(&gap));
        }
    }

    fn list(&mut self, shelved: Shelved) {
        self.listed.push_back(shelved);
        self.is_listed = false;
        let Some(target) = self.target else { return };
        let target_ms = target.as_millis() as u64;
        let keep_ms = self.settings.window_ms.max(4 * target_ms);
        let mut listed_ms: u64 = self.listed.iter().map(|shelved| shelved.duration_ms).sum();
        while let Some(first) = self.listed.front()
            && listed_ms - first.duration_ms >= keep_ms
            && let Some(first) = self.listed.pop_front()
        {
            self.discontinuity_sequence += u64::from(first.has_discontinuity);
            // As for segments of ours (RFC 8216 6.2.2).
            let keep = Duration::from_millis(first.duration_ms + listed_ms) + 2 * target;
            listed_ms -= first.duration_ms;
            if !first.is_gap {
                self.removed.push_back(Removed { until: self.utc + keep, number: first.number });
            }
        }
    }

    fn media(&self) -> String {
        let (Some(target), names) = (self.target, Names(&self.id)) else { return String::new() };
        playlist::shelved(&self.listed, &names, target, self.discontinuity_sequence, self.is_over())
    }

    /// Nothing is left to do but to remove what is old.
    pub fn is_over(&self) -> bool {
        self.is_ended && self.waiting.is_empty()
    }

    /// Whether the playlists name anything.
    pub fn is_empty(&self) -> bool {
        self.listed.is_empty()
    }

    /// What it has done.
    pub fn totals(&self) -> ShelfTotals {
        self.totals
    }

    /// The names of all media that are there, those of init sections last.
    pub fn media_names(&self) -> Vec<String> {
        let names = Names(&self.id);
        let listed = self.listed.iter().filter(|shelved| !shelved.is_gap);
        let numbers = self.removed.iter().map(|removed| removed.number);
        let segments = numbers.chain(listed.map(|shelved| shelved.number));
        let inits = self.inits.iter().map(|init| names.init(*init));
        segments.map(|number| names.segment(number)).chain(inits).collect()
    }

    /// The names of the playlists, the one that players open first.
    pub fn playlist_names() -> [&'static str; 2] {
        [MULTIVARIANT, MEDIA]
    }
}
