//! A viewer of HLS: reloads the playlist, fetches what it names, and plays it as a model player
//! does. Some poll as players did before there were parts, too early and too late; some ask for
//! every part while it is being made. All of them also ask for what they need not, at the last
//! moment at which it must still be there.

mod fetch;
mod model;

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use tokio::time::{Instant, sleep, sleep_until, timeout};

use self::fetch::{Answer, request};
use self::model::Shared;
use super::{Dial, HTTP_PORT, Order, Peer};
use crate::plan::{Leave, Play};
use crate::random;
use crate::time::SimTime;
use crate::trace::{Close, HlsSeen, Listed, Reloaded, Resource, What};
use crate::viewer::hls::{Playlist, Segment, resolve};

/// A request that is not answered for so long is given up.
const PATIENCE: Duration = Duration::from_secs(30);

/// Between two attempts to have a playlist that is not there yet, or no longer.
const RETRY: Duration = Duration::from_millis(500);

pub(super) async fn view<N: Dial>(mut peer: Peer<N>, play: Play) {
    let mut attempt = 0;
    loop {
        // The first connection shows that the node is there, and is the one that it names.
        let close = match peer.dial(HTTP_PORT).await {
            Ok(stream) => {
                drop(stream);
                watch(&mut peer, &play, attempt).await
            }
            Err(close) => close,
        };
        peer.push(What::Closed(close));
        attempt += 1;
        if !peer.comes_again(play.again).await {
            return;
        }
    }
}

async fn watch<N: Dial>(peer: &mut Peer<N>, play: &Play, attempt: u64) -> Close {
    let leaves_at = play.stay.map(|stay| Instant::now() + stay);
    let player = Player {
        shared: Shared::new(peer.recorder.clone(), peer.who),
        net: peer.net.clone(),
        node: peer.node.as_str().into(),
        playlist_path: format!("/{}/media.m3u8", play.key).into(),
        random: random::stream(peer.seed ^ attempt, "hls player"),
        seen: None,
        asked: SimTime::ZERO,
        is_lost: false,
        longest: BTreeMap::new(),
    };
    let mut playing = std::pin::pin!(player.play(play.key.as_str().into()));
    loop {
        tokio::select! {
            biased;
            Some(order) = peer.orders.recv() => match order {
                Order::Leave(Leave::Vanish) => return Close::Vanished,
                Order::Leave(_) => return Close::Left,
                Order::StopReading(_) | Order::Stall(_) | Order::Receive(_) | Order::Crash | Order::Start => {}
            },
            () = async {
                match leaves_at {
                    Some(at) => sleep_until(at).await,
                    None => std::future::pending().await,
                }
            } => return Close::Left,
            close = &mut playing => return close,
        }
    }
}

struct Player<N> {
    shared: Shared,
    net: N,
    node: Arc<str>,
    playlist_path: Arc<str>,
    random: fastrand::Rng,
    /// The newest playlist.
    seen: Option<Arc<Playlist>>,
    /// When it was asked for.
    asked: SimTime,
    /// The last reload was not answered with a playlist: it may have asked for what never comes.
    is_lost: bool,
    /// The longest playlist that listed a segment, by its number.
    longest: BTreeMap<u64, Duration>,
}

impl<N: Dial> Player<N> {
    async fn play(mut self, key: Arc<str>) -> Close {
        let asks_for_parts = self.random.bool();
        let mut has_played = false;
        loop {
            let Some(playlist) = self.reload(asks_for_parts).await else {
                sleep(RETRY).await;
                continue;
            };
            if !has_played {
                self.shared.push(What::Playing { key: key.clone() });
                has_played = true;
            }
            self.fetch_new(&playlist, asks_for_parts).await;
            if playlist.is_ended {
                // Whoever publishes next publishes to the same address.
                sleep(4 * RETRY).await;
            } else if !(asks_for_parts && playlist.can_block) {
                self.wait(&playlist).await;
            }
        }
    }

    /// As the specification has it: a target duration, half of one when nothing was new; and as
    /// players do it: at once, or much later.
    async fn wait(&mut self, playlist: &Playlist) {
        let target = Duration::from_secs(playlist.target_duration.max(1));
        sleep(match self.random.u8(..10) {
            0 => Duration::from_millis(1),
            1 => target,
            _ => target / 2,
        })
        .await;
    }

    /// The playlist, if there is one; the old one if nothing new came.
    async fn reload(&mut self, asks_for_parts: bool) -> Option<Arc<Playlist>> {
        let before = self.seen.clone();
        let may_block = asks_for_parts && !self.is_lost;
        let blocks = before.as_ref().filter(|it| may_block && it.can_block && !it.is_ended);
        let wanted = blocks.map(|playlist| match playlist.part_target {
            Some(_) => (playlist.next_sequence(), Some(playlist.parts.len() as u64)),
            None => (playlist.next_sequence(), None),
        });
        if self.random.u8(..40) == 0 && blocks.is_some() {
            self.ask_oddly(before.as_deref());
        }
        let asked = self.shared.now();
        let answer = reload(self.request(), wanted, before.as_deref()).await;
        self.is_lost = answer.is_none();
        let answer = Arc::new(answer?);
        if before.as_ref() != Some(&answer) {
            self.shared.see(HlsSeen::Version(answer.clone()));
            if let Some(before) = &before {
                self.note_removed(before, &answer);
            }
            for segment in &answer.segments {
                let longest = self.longest.entry(segment.sequence).or_default();
                *longest = (*longest).max(answer.duration());
            }
            self.seen = Some(answer.clone());
        }
        self.asked = asked;
        Some(answer)
    }

    fn request(&self) -> Request<N> {
        let (net, node) = (self.net.clone(), self.node.clone());
        let (path, shared) = (self.playlist_path.clone(), self.shared.clone());
        Request { net, node, path, shared }
    }

    /// For what is long gone and for what is far away: both have an answer at once.
    fn ask_oddly(&mut self, playlist: Option<&Playlist>) {
        let Some(playlist) = playlist else { return };
        let next = playlist.next_sequence();
        let msn = match self.random.bool() {
            true => playlist.media_sequence.saturating_sub(1),
            false => next + self.random.u64(3..1_000),
        };
        let (request, playlist) = (self.request(), playlist.clone());
        tokio::spawn(async move {
            let _seen = reload(request, Some((msn, None)), Some(&playlist)).await;
        });
    }

    /// Segments that left are asked for once more at the last moment, some of them.
    fn note_removed(&mut self, before: &Playlist, after: &Playlist) {
        for segment in &before.segments {
            if segment.sequence >= after.media_sequence || segment.is_gap {
                continue;
            }
            let longest = self.longest.remove(&segment.sequence).unwrap_or_default();
            // It was there when the playlist before this one was asked for; the request needs its
            // time too.
            let until = self.asked + segment.duration + longest;
            let last = until.since(self.shared.now()).saturating_sub(Duration::from_secs(1));
            if self.random.u8(..4) != 0 || last.is_zero() {
                continue;
            }
            let (request, segment) = (self.request(), segment.clone());
            tokio::spawn(async move {
                sleep(last).await;
                fetch_segment(&request, &segment, Listed::RemovedUntil(until)).await;
            });
        }
    }

    async fn fetch_new(&mut self, playlist: &Playlist, asks_for_parts: bool) {
        let request = self.request();
        if asks_for_parts {
            if let Some(hint) = &playlist.hint {
                let (request, hint) = (request.clone(), hint.clone());
                tokio::spawn(async move { fetch_part(&request, &hint, Listed::Hinted).await });
            }
            for part in playlist.parts.iter().filter(|part| !part.is_gap) {
                if self.shared.with(|model| model.begin(&part.uri)) {
                    fetch_part(&request, &part.uri, Listed::Yes).await;
                }
            }
        }
        let hold_back = Duration::from_secs(3 * playlist.target_duration);
        let begin = self.shared.with(|model| model.begin_at(playlist, hold_back));
        for segment in playlist.segments.iter().filter(|segment| segment.sequence >= begin) {
            if segment.is_gap || !self.shared.with(|model| model.begin(&segment.uri)) {
                continue;
            }
            if self.shared.with(|model| model.begin(&segment.map)) {
                fetch_init(&request, &segment.map).await;
            }
            if asks_for_parts {
                let (request, segment) = (request.clone(), segment.clone());
                tokio::spawn(async move { fetch_segment(&request, &segment, Listed::Yes).await });
            } else if fetch_segment(&request, segment, Listed::Yes).await {
                self.shared.played(segment.duration, hold_back);
            }
        }
    }
}

/// Where requests of a player go.
#[derive(Clone)]
struct Request<N> {
    net: N,
    node: Arc<str>,
    /// Of the playlist.
    path: Arc<str>,
    shared: Shared,
}

impl<N: Dial> Request<N> {
    async fn get(&self, path: &str) -> Answer {
        let asked = request(self.net.clone(), self.node.to_string(), path);
        timeout(PATIENCE, asked).await.unwrap_or_default()
    }
}

/// A reload, which waits for what it asks for. `None`: there is no playlist.
async fn reload<N: Dial>(
    request: Request<N>,
    wanted: Option<(u64, Option<u64>)>,
    before: Option<&Playlist>,
) -> Option<Playlist> {
    let asked = request.shared.now();
    let query = match wanted {
        None => String::new(),
        Some((msn, None)) => format!("?_HLS_msn={msn}"),
        Some((msn, Some(part))) => format!("?_HLS_msn={msn}&_HLS_part={part}"),
    };
    let answer = request.get(&format!("{}{query}", request.path)).await;
    let playlist = (answer.status == 200).then(|| {
        let text = std::str::from_utf8(&answer.body).map_err(|error| error.to_string())?;
        Playlist::parse(text)
    });
    let playlist = match playlist {
        Some(Err(why)) => {
            request.shared.push(What::Garbled { why: format!("playlist: {why}").into() });
            return None;
        }
        Some(Ok(playlist)) => Some(playlist),
        None => None,
    };
    if let (Some((msn, part)), Some(before)) = (wanted, before) {
        request.shared.see(HlsSeen::Reloaded(Reloaded {
            msn,
            part,
            seen: before.progress(),
            asked,
            status: answer.status,
            progress: playlist.as_ref().map(Playlist::progress),
            is_ended: playlist.as_ref().is_some_and(|playlist| playlist.is_ended),
        }));
    }
    playlist
}

async fn fetch_init<N: Dial>(request: &Request<N>, uri: &str) {
    let asked = request.shared.now();
    let answer = request.get(&resolve(&request.path, uri)).await;
    request.shared.fetched(uri, Resource::Init, Listed::Yes, asked, &answer, None);
}

async fn fetch_part<N: Dial>(request: &Request<N>, uri: &str, listed: Listed) {
    let asked = request.shared.now();
    let answer = request.get(&resolve(&request.path, uri)).await;
    request.shared.fetched(uri, Resource::Part, listed, asked, &answer, None);
}

/// Whether it came.
async fn fetch_segment<N: Dial>(request: &Request<N>, segment: &Segment, listed: Listed) -> bool {
    let asked = request.shared.now();
    let answer = request.get(&resolve(&request.path, &segment.uri)).await;
    let what = Resource::Segment(segment.sequence);
    request.shared.fetched(&segment.uri, what, listed, asked, &answer, Some(segment));
    answer.status == 200
}
