//! The versions of a playlist that one player saw, in order.

use std::collections::BTreeMap;
use std::sync::Arc;

use crate::invariant::Judged;
use crate::ledger::{Connection, Topic};
use crate::time::SimTime;
use crate::trace::{HlsSeen, What, Who};
use crate::viewer::hls::Playlist;

pub(super) struct Version {
    pub(super) event: usize,
    pub(super) at: SimTime,
    pub(super) playlist: Arc<Playlist>,
}

pub(super) struct History {
    pub(super) who: Who,
    pub(super) node: Who,
    pub(super) key: String,
    pub(super) versions: Vec<Version>,
}

/// Of every player.
pub(super) fn histories(run: &Judged<'_>) -> Vec<History> {
    let mut by_viewer: BTreeMap<Who, Vec<Version>> = BTreeMap::new();
    for (event, seen) in run.trace.events.iter().enumerate() {
        if let What::Hls(HlsSeen::Version(playlist)) = &seen.what {
            let version = Version { event, at: seen.at, playlist: playlist.clone() };
            by_viewer.entry(seen.who).or_default().push(version);
        }
    }
    let history = |(who, versions)| {
        let key = run.cast.play(who)?.key.clone();
        let node = super::node_of(run, who)?;
        Some(History { who, node, key, versions })
    };
    by_viewer.into_iter().filter_map(history).collect()
}

impl History {
    pub(super) fn pairs(&self) -> impl Iterator<Item = (&Version, &Version)> {
        self.versions.iter().zip(self.versions.iter().skip(1))
    }

    pub(super) fn is_of(&self, topic: &Topic) -> bool {
        topic.node == self.node && *topic.key == *self.key
    }

    pub(super) fn connection<'r>(&self, run: &'r Judged<'_>) -> Option<&'r Connection> {
        super::connection_of(run, self.who)
    }

    /// How many discontinuities are in front of a segment, by the first version that lists it.
    pub(super) fn discontinuity(&self, sequence: u64) -> Option<u64> {
        let playlists = self.versions.iter().map(|version| &version.playlist);
        let mut listing = playlists.filter(|playlist| playlist.segment(sequence).is_some());
        let playlist = listing.next()?;
        let so_far = playlist.segments.iter().take_while(|segment| segment.sequence <= sequence);
        let tags = so_far.filter(|segment| segment.is_discontinuity).count();
        Some(playlist.discontinuity_sequence + tags as u64)
    }

    /// Whether a segment does not go on where the one before it ends, as far as players are told.
    pub(super) fn is_discontinuity(&self, sequence: u64) -> bool {
        self.discontinuity(sequence) != self.discontinuity(sequence - 1)
    }

    pub(super) fn map(&self, sequence: u64) -> Option<&str> {
        let said = self.versions.iter().find_map(|version| version.playlist.segment(sequence));
        said.map(|segment| segment.map.as_str())
    }
}
