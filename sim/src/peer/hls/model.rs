//! What a player has fetched, and how far it has played.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use tokio::time::Instant;
use xxhash_rust::xxh3::xxh3_64;

use super::fetch::Answer;
use crate::recorder::Recorder;
use crate::time::SimTime;
use crate::trace::{Fetched, HlsSeen, Listed, Resource, What, Who};
use crate::viewer::hls::{
    Init, Playlist, Segment, configs, read_fragments, read_init, spans, tags,
};

/// Bodies of parts that are kept until their segment comes.
const PARTS_MAX: usize = 200;

/// What all requests of a player share.
#[derive(Clone)]
pub(super) struct Shared {
    recorder: Recorder,
    who: Who,
    model: Arc<Mutex<Model>>,
}

#[derive(Default)]
pub(super) struct Model {
    begun: BTreeSet<String>,
    inits: BTreeMap<String, Init>,
    parts: BTreeMap<String, Vec<u8>>,
    /// The first segment that is played.
    first: Option<u64>,
    /// What has come before it plays.
    buffered: Duration,
    /// Until when there is something to play, once it plays.
    lasts_until: Option<Instant>,
}

impl Model {
    /// Whether nobody has asked for it before.
    pub(super) fn begin(&mut self, uri: &str) -> bool {
        self.begun.insert(uri.to_owned())
    }

    /// Where it begins: so far from the end that what is not there yet can be waited for.
    pub(super) fn begin_at(&mut self, playlist: &Playlist, hold_back: Duration) -> u64 {
        *self.first.get_or_insert_with(|| {
            let mut behind = Duration::ZERO;
            let mut segments = playlist.segments.iter().rev();
            let far = segments.find(|segment| {
                behind += segment.duration;
                behind >= hold_back
            });
            far.map_or(playlist.media_sequence, |segment| segment.sequence)
        })
    }
}

impl Shared {
    pub(super) fn new(recorder: Recorder, who: Who) -> Self {
        Self { recorder, who, model: Arc::default() }
    }

    pub(super) fn now(&self) -> SimTime {
        self.recorder.now()
    }

    pub(super) fn push(&self, what: What) {
        self.recorder.push(self.who, what);
    }

    pub(super) fn see(&self, seen: HlsSeen) {
        self.push(What::Hls(seen));
    }

    pub(super) fn with<T>(&self, f: impl FnOnce(&mut Model) -> T) -> T {
        f(&mut self.model.lock().unwrap_or_else(PoisonError::into_inner))
    }

    /// So much more can be played from now on. It begins to play when it has as much as it is to
    /// be behind: who joins a stream in its first seconds waits for that.
    pub(super) fn played(&self, more: Duration, hold_back: Duration) {
        let now = Instant::now();
        let stalled = self.with(|model| {
            let Some(until) = model.lasts_until else {
                model.buffered += more;
                model.lasts_until = (model.buffered >= hold_back).then(|| now + model.buffered);
                return Duration::ZERO;
            };
            model.lasts_until = Some(until.max(now) + more);
            now.saturating_duration_since(until)
        });
        if !stalled.is_zero() {
            self.see(HlsSeen::Stalled(stalled));
        }
    }

    pub(super) fn fetched(
        &self,
        uri: &str,
        what: Resource,
        listed: Listed,
        asked: SimTime,
        answer: &Answer,
        segment: Option<&Segment>,
    ) {
        let (len, digest) = (answer.body.len() as u64, xxh3_64(&answer.body));
        let mut fetched = Fetched {
            uri: uri.into(),
            what,
            listed,
            asked,
            status: answer.status,
            len,
            digest,
            garbled: None,
            spans: Vec::new(),
            tags: Vec::new(),
            configs: Vec::new(),
            is_its_parts: None,
        };
        if answer.status == 200
            && let Err(why) = self.with(|model| model.read(&mut fetched, answer, segment))
        {
            fetched.garbled = Some(why.into());
        }
        self.see(HlsSeen::Fetched(Arc::new(fetched)));
    }
}

impl Model {
    fn read(
        &mut self,
        fetched: &mut Fetched,
        answer: &Answer,
        segment: Option<&Segment>,
    ) -> Result<(), String> {
        match (fetched.what, segment) {
            (Resource::Init, _) => {
                let init = read_init(&answer.body)?;
                fetched.configs = configs(&init);
                self.inits.insert(fetched.uri.to_string(), init);
            }
            (Resource::Part, _) => {
                self.parts.insert(fetched.uri.to_string(), answer.body.clone());
                while self.parts.len() > PARTS_MAX {
                    self.parts.pop_first();
                }
            }
            (Resource::Segment(_), Some(segment)) => {
                let parts: Option<Vec<_>> =
                    segment.parts.iter().map(|part| self.parts.get(&part.uri)).collect();
                let parts = parts.filter(|parts| !parts.is_empty());
                fetched.is_its_parts =
                    parts.map(|parts| parts.into_iter().flatten().eq(&answer.body));
                // A player that lost the initialization section has nothing to read it with.
                let Some(init) = self.inits.get(&segment.map) else { return Ok(()) };
                let fragments = read_fragments(&answer.body, init)?;
                fetched.spans = spans(&fragments, init);
                fetched.tags = tags(&fragments, init);
            }
            (Resource::Segment(_), None) => {}
        }
        Ok(())
    }
}
