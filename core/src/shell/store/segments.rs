//! Segments: keeps the store up with a live stream.

use std::future::poll_fn;
use std::sync::Arc;
use std::time::Duration;

use super::{Label, MEDIA, PLAYLIST, Store, within};
use crate::archive::StreamPath;
use crate::hls::{Content, Operation, Presentation, Shelf};
use crate::hub::StreamKey;
use crate::relay::{Backoff, BackoffLimits};
use crate::shell::Shared;
use crate::shell::hls::{LiveStream, Whose};
use crate::shell::random::{Random, hash};

/// Copies what is complete until the stream is over, and says what is there then. A store that does
/// not answer any more is given up a window after the end.
pub(in crate::shell) async fn keep_up(
    store: &Store,
    shared: &Shared,
    key: &StreamKey,
    stream: &Arc<LiveStream>,
) -> Shelf {
    let settings = shared.config.hls.settings;
    let mut shelf = Shelf::new(settings);
    let mut random = Random::new(shared.origin.seed ^ hash(key.as_str()));
    // A pause as long as the window would be a gap.
    let max = Duration::from_millis(settings.window_ms / 4).min(shared.config.store.backoff.max);
    let limits = BackoffLimits { max, ..shared.config.store.backoff };
    let mut backoff = Backoff::new(limits);
    let mut failures = 0_u64;
    let mut ended = None;
    let Some(line) = stream.wait_in_line(Whose::Task) else { return shelf };
    let mut told = shelf.totals();
    // What is left of one that is over must not replace the playlists of the next.
    while !stream.is_over() || shared.presentations.is_newest(key, stream) {
        stream.read(|presentation| shelf.take(presentation, shared.utc()));
        shared.store.stored_segments(told, shelf.totals());
        told = shelf.totals();
        let done = match shelf.next_operation() {
            Some(operation) => perform(store, shared, key, operation).await,
            None => {
                if failures > 0 {
                    tracing::info!(stream = %key, failures, "segments are stored again");
                    shared.store.succeeded();
                    failures = 0;
                }
                if shelf.is_over() {
                    break;
                }
                let is_behind = |now: &Presentation| shelf.is_behind(now).then_some(());
                poll_fn(|cx| line.poll(cx, is_behind)).await;
                continue;
            }
        };
        match done {
            Ok(()) => {
                shelf.succeeded();
                backoff = Backoff::new(limits);
            }
            Err(error) => {
                failures += 1;
                shared.store.failed(&error);
                if failures == 1 {
                    tracing::warn!(stream = %key, %error, "segments cannot be stored");
                }
                if stream.is_over() {
                    let now = shared.utc();
                    let since = now - *ended.get_or_insert(now);
                    if since.as_millis() >= u128::from(settings.window_ms) {
                        tracing::warn!(stream = %key, %error, "the end of the stream is not stored");
                        break;
                    }
                }
                tokio::time::sleep(backoff.next(random.next())).await;
            }
        }
    }
    shared.store.stored_segments(told, shelf.totals());
    shelf
}

async fn perform(
    store: &Store,
    shared: &Shared,
    key: &StreamKey,
    operation: Operation,
) -> Result<(), String> {
    let timeout = shared.config.store.timeout;
    match operation {
        Operation::Put { name, content, bytes } => {
            let label: Label = match content {
                Content::Playlist => PLAYLIST,
                Content::Media => MEDIA,
            };
            within(timeout, store.put(&object(key, &name), label, bytes)).await
        }
        Operation::Remove { name } => within(timeout, store.remove(&object(key, &name))).await,
    }
}

/// Removes what is left of a stream that has been over for long enough; its playlists too, if no
/// other life of the stream has put its own there.
pub(in crate::shell) async fn clear(
    store: &Store,
    shared: &Shared,
    key: &StreamKey,
    shelf: &Shelf,
    with_playlists: bool,
) {
    let playlists = Shelf::playlist_names().into_iter().filter(|_| with_playlists);
    for name in playlists.map(str::to_owned).chain(shelf.media_names()) {
        let removed = perform(store, shared, key, Operation::Remove { name }).await;
        if let Err(error) = removed {
            tracing::warn!(stream = %key, %error, "what is left of a stream stays in the store");
            return;
        }
    }
}

/// Below the stream's own directory, which is called as that of its recordings.
fn object(key: &StreamKey, name: &str) -> String {
    let StreamPath { directory, name: stream } = StreamPath::new(key.as_str());
    format!("{directory}/{stream}/{name}")
}
