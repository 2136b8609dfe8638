//! The whole history of a playlist: every version that an impatient player sees, and all that it lists.

use std::collections::BTreeMap;
use std::time::Duration;

use tokio::time::{Instant, sleep};

use crate::hls_fmp4::{Fragment, Init, read_fragments, read_init};
use crate::hls_playlist::{Playlist, Segment, resolve};
use crate::hls_stage::{MEDIA, Stage, ms};

/// A version of the playlist that differs from the one before.
#[derive(Clone)]
pub(crate) struct Version {
    /// Since the stage was set up.
    pub(crate) at: Duration,
    pub(crate) playlist: Playlist,
}

#[derive(Default)]
pub(crate) struct Watch {
    pub(crate) versions: Vec<Version>,
    /// By URI: what it was when it was first listed. Whatever else it is later is a failure.
    pub(crate) bodies: BTreeMap<String, Vec<u8>>,
}

impl Watch {
    /// Watches for so long.
    pub(crate) async fn go_on(&mut self, stage: &Stage, duration: Duration) {
        let end = Instant::now() + duration;
        while Instant::now() < end {
            self.look(stage).await;
            sleep(ms(20)).await;
        }
    }

    /// A stream that ran from its first tag to its last, seen from the beginning.
    pub(crate) async fn of(stage: &Stage, duration: Duration) -> Self {
        let mut watch = Self::default();
        watch.go_on(stage, duration).await;
        assert!(watch.versions.len() > 2, "hardly any playlist was seen");
        watch
    }

    pub(crate) async fn look(&mut self, stage: &Stage) {
        let answer = stage.get(MEDIA).await;
        if answer.status == 404 {
            return;
        }
        let playlist = Playlist::parse(answer.text());
        if self.versions.last().is_some_and(|last| last.playlist == playlist) {
            return;
        }
        let at = stage.started.elapsed();
        self.versions.push(Version { at, playlist: playlist.clone() });
        for segment in playlist.segments.iter().filter(|segment| !segment.is_gap) {
            self.fetch(stage, &segment.map).await;
            self.fetch(stage, &segment.uri).await;
            for part in segment.parts.iter().filter(|part| !part.is_gap) {
                self.fetch(stage, &part.uri).await;
            }
        }
        for part in playlist.parts.iter().filter(|part| !part.is_gap) {
            self.fetch(stage, &part.uri).await;
        }
    }

    async fn fetch(&mut self, stage: &Stage, uri: &str) {
        if self.bodies.contains_key(uri) {
            return;
        }
        assert!(!uri.is_empty(), "an entry without a URI or a map");
        let answer = stage.get(&resolve(MEDIA, uri)).await;
        assert_eq!(answer.status, 200, "{uri} is listed");
        assert!(answer.after < ms(5), "{uri} is listed and came {:?} later", answer.after);
        self.bodies.insert(uri.to_owned(), answer.body);
    }

    pub(crate) fn last(&self) -> &Playlist {
        &self.versions.last().expect("a version").playlist
    }

    /// Each segment once, as it was first listed, in order.
    pub(crate) fn segments(&self) -> Vec<Segment> {
        let all = self.versions.iter().flat_map(|version| &version.playlist.segments);
        let by_number: BTreeMap<_, _> =
            all.rev().map(|segment| (segment.sequence, segment.clone())).collect();
        by_number.into_values().collect()
    }

    pub(crate) fn init(&self, segment: &Segment) -> Init {
        read_init(&self.bodies[&segment.map])
    }

    pub(crate) fn fragments(&self, segment: &Segment) -> Vec<Fragment> {
        read_fragments(&self.bodies[&segment.uri], &self.init(segment))
    }

    pub(crate) fn pairs(&self) -> impl Iterator<Item = (&Version, &Version)> {
        self.versions.iter().zip(self.versions.iter().skip(1))
    }

    /// Of one kind of track, in this segment: where its samples begin and end, in seconds.
    pub(crate) fn span(&self, segment: &Segment, handler: &str) -> Option<(f64, f64)> {
        let init = self.init(segment);
        let (id, track) = init.tracks.iter().find(|(_, track)| track.handler == handler)?;
        let fragments = self.fragments(segment);
        let mine = || fragments.iter().filter(|fragment| fragment.track == *id);
        let scale = f64::from(track.timescale);
        let start = mine().map(|fragment| fragment.decode_time).min()?;
        let end = mine().map(Fragment::end).max()?;
        Some((start as f64 / scale, end as f64 / scale))
    }
}
