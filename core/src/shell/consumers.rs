//! Consumer: what takes whole streams out of the hub without a peer asking for them.
//!
//! A consumer says which streams it wants, and runs once for each, in a task of its own, from the
//! stream's first tag to its end. To add one: a file beside this one, and a line in [`start`].

use std::future::{Future, poll_fn};
use std::path::PathBuf;
use std::sync::Arc;

use tokio::sync::watch;
use tokio::task::JoinSet;

use super::archive::{self, Archive};
use super::disk::Disk;
use super::hls::HlsConsumer;
use super::net::Net;
use super::relay::RelayConsumer;
use super::store::{Recordings, Store};
use super::{Shared, contain, shutdown};
use crate::hub::{Follower, Policy, StreamKey, Subscriber};

/// One way to consume streams.
pub(super) trait Consumer: Send + Sync + 'static {
    /// In the API and in logs.
    const NAME: &'static str;

    /// How far it may fall behind with this stream; `None` if it does not want it.
    fn policy(&self, key: &StreamKey) -> Option<Policy>;

    /// Consumes one stream, until its subscriber says [`End`](crate::hub::Delivery::End). It is
    /// waited for when the server stops, within `shutdown.drain_ms`.
    fn run(self: Arc<Self>, subscriber: Subscriber) -> impl Future<Output = ()> + Send;
}

/// All consumers of a server. Dropped they are cut off where they are.
#[derive(Default)]
pub(super) struct Consumers {
    running: JoinSet<()>,
    ending: watch::Sender<bool>,
    /// What copies that which the others leave behind.
    last: JoinSet<()>,
    last_ending: watch::Sender<bool>,
}

/// Starts the consumers that the configuration wants.
pub(super) fn start<N: Net, D: Disk>(
    shared: &Arc<Shared>,
    disk: &D,
    leftovers: Vec<PathBuf>,
    relays: Vec<RelayConsumer<N>>,
    store: Option<Store>,
) -> Consumers {
    let mut consumers = Consumers::default();
    if shared.config.hls.enabled {
        consumers.add(shared, HlsConsumer::new(shared, store.clone()));
    }
    if let Some(archive) = Archive::new(disk, shared) {
        let recovery = archive::recover_leftovers(disk.clone(), shared.clone(), leftovers);
        consumers.running.spawn(recovery);
        consumers.add(shared, archive);
    }
    relays.into_iter().for_each(|relay| consumers.add(shared, relay));
    if let Some(recordings) = store.and_then(|store| Recordings::new(disk, shared, &store)) {
        consumers.last.spawn(recordings.run(consumers.last_ending.subscribe()));
    }
    consumers
}

impl Consumers {
    /// Starts one more.
    fn add<C: Consumer>(&mut self, shared: &Arc<Shared>, consumer: C) {
        let consumer = Arc::new(consumer);
        let wanted = consumer.clone();
        let follower = shared.hub.follow(C::NAME, move |key| wanted.policy(key));
        self.running.spawn(follow(consumer, follower, self.ending.subscribe()));
    }

    /// Waits until each has consumed what is left of its streams. They must have ended: nobody
    /// publishes any more.
    pub(super) async fn finish(&mut self) {
        self.ending.send_replace(true);
        while self.running.join_next().await.is_some() {}
        self.last_ending.send_replace(true);
        while self.last.join_next().await.is_some() {}
    }
}

/// Runs a consumer for each stream that begins.
async fn follow<C: Consumer>(
    consumer: Arc<C>,
    mut follower: Follower,
    ending: watch::Receiver<bool>,
) {
    let mut runs = JoinSet::new();
    let mut ending = shutdown(ending);
    loop {
        tokio::select! {
            biased;
            subscriber = poll_fn(|cx| follower.poll_stream(cx)) => {
                let key = subscriber.key().clone();
                let run = consumer.clone().run(subscriber);
                runs.spawn(contain(run, move || {
                    let consumer = C::NAME;
                    tracing::error!(consumer, stream = %key, "lost: its task panicked, which is a bug");
                }));
            }
            Some(_) = runs.join_next() => {}
            () = &mut ending => break,
        }
    }
    drop(follower);
    while runs.join_next().await.is_some() {}
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::hub::{Delivery, Hub, HubLimits};
    use crate::sync::Mutex;

    /// Writes down which streams it saw the end of; panics over one of them.
    #[derive(Default)]
    struct Witness {
        ended: Mutex<Vec<String>>,
    }

    impl Consumer for Witness {
        const NAME: &'static str = "witness";

        fn policy(&self, _key: &StreamKey) -> Option<Policy> {
            Some(Policy::default())
        }

        async fn run(self: Arc<Self>, mut subscriber: Subscriber) {
            assert_ne!(subscriber.key().as_str(), "live/bad", "as the test wants it");
            while poll_fn(|cx| subscriber.poll_delivery(cx)).await != Delivery::End {}
            self.ended.lock().push(subscriber.key().to_string());
        }
    }

    #[tokio::test]
    async fn a_run_that_panics_costs_its_own_stream_and_the_end_waits_for_the_others() {
        let hub = Hub::new(HubLimits::default());
        let witness = Arc::new(Witness::default());
        let follower = hub.follow(Witness::NAME, |_| Some(Policy::default()));
        let ending = watch::Sender::new(false);
        let following = tokio::spawn(follow(witness.clone(), follower, ending.subscribe()));
        let streams = ["live/bad", "live/a", "live/b"];
        let mut publishers: Vec<_> = streams
            .into_iter()
            .map(|key| hub.publish(key.into(), "studio").expect("there is room"))
            .collect();
        ending.send_replace(true);
        let last = publishers.pop();
        drop(publishers);
        assert!(!following.is_finished(), "one stream is still live");
        drop(last);
        following.await.expect("the follower does not panic");
        let mut ended = witness.ended.lock().clone();
        ended.sort();
        assert_eq!(ended, ["live/a", "live/b"]);
    }
}
