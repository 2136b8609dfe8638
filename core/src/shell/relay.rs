//! Relays: publishes streams to other servers, a task for each stream and target.
//!
//! What to do and when is for [`crate::relay`] to say; here are its socket and its clock. A target
//! is a subscriber with a backlog of its own: while it is away nothing is taken from the hub, which
//! moves it on to the newest keyframe once it is too far behind.

mod status;

use std::future::poll_fn;
use std::io;
use std::sync::Arc;
use std::time::{Duration, Instant};

use tokio::time::{sleep_until, timeout};

use self::status::Place;
use super::client::{Client, Error, Event, dial_host};
use super::consumers::Consumer;
use super::net::{Net, Stream as _};
use super::random::{Random, hash};
use super::stall::StallGuard;
use super::tls::{Connection, TimeOfDay, Tls, is_untrusted};
use super::{Shared, now};
use crate::config::{RelayTo, Relays};
use crate::flv::Tag;
use crate::hub::{Delivery, Policy, StreamKey, Subscriber};
use crate::relay::{Failure, Outlook, Relay, State};
use crate::rtmp::Url;
use crate::rtmp::client::{ClientOptions, Role};

pub(super) use self::status::Board;
pub use self::status::{Phase, Status};

/// Payload bytes that are given to the socket together, about. What a target that is slow has not
/// taken of them is late, and cannot be skipped any more.
const WRITE_LEN_MAX: usize = 256 << 10;

/// Publishes the streams of one `[[relay]]`.
pub(super) struct RelayConsumer<N> {
    net: N,
    shared: Arc<Shared>,
    /// Which of `config.relay_to`.
    index: usize,
    tls: Option<Tls>,
}

/// Those of the configuration.
///
/// # Errors
///
/// If one needs certificates to trust and there are none.
pub(super) fn consumers<N: Net>(
    net: &N,
    shared: &Arc<Shared>,
) -> io::Result<Vec<RelayConsumer<N>>> {
    let all = 0..shared.config.relay_to.len();
    all.map(|index| RelayConsumer::new(net.clone(), shared.clone(), index)).collect()
}

type Target<N> = Client<StallGuard<Connection<<N as Net>::Stream>>>;

impl<N: Net> RelayConsumer<N> {
    fn new(net: N, shared: Arc<Shared>, index: usize) -> io::Result<Self> {
        let to = &shared.config.relay_to[index];
        let time = TimeOfDay { at_start: shared.origin.utc, started: shared.started };
        let tls = to.target.is_tls().then(|| Tls::new(&to.certificates, time)).transpose()?;
        Ok(Self { net, shared, index, tls })
    }

    fn to(&self) -> &RelayTo {
        &self.shared.config.relay_to[self.index]
    }

    fn limits(&self) -> &Relays {
        &self.shared.config.relays
    }

    /// Dials, and publishes.
    async fn connect(&self, url: &Url, seed: u64) -> Result<Target<N>, Failure> {
        let deadline = now() + self.limits().connect_timeout;
        let left = || deadline.saturating_duration_since(now());
        let stream = dial_host(&self.net, url, left()).await.map_err(|error| failure(&error))?;
        let _best_effort = stream.set_unsent_len_max(self.shared.config.play.unsent_len_max);
        // What the system takes says nothing of who is there.
        let stall_timeout = self.limits().write_stall_timeout;
        let _best_effort = stream.set_unacknowledged_max(stall_timeout);
        let stream = match &self.tls {
            Some(tls) => self.encrypt(tls, url.host(), stream, left()).await?,
            None => Connection::Plain(stream),
        };
        let stream = StallGuard::new(stream, self.shared.clone(), stall_timeout);
        let options = ClientOptions {
            setup_timeout: left(),
            enhanced: self.to().enhanced,
            ..ClientOptions::default()
        };
        let blocks = self.shared.config.blocks;
        let mut client = Client::new(stream, Role::Publish, url, seed, options, blocks);
        client.start().await.map_err(|error| failure(&error))?;
        Ok(client)
    }

    async fn encrypt(
        &self,
        tls: &Tls,
        host: &str,
        stream: N::Stream,
        left: Duration,
    ) -> Result<Connection<N::Stream>, Failure> {
        match timeout(left, tls.connect(host, stream)).await {
            Ok(Ok(stream)) => Ok(stream),
            Ok(Err(error)) if is_untrusted(&error) => {
                Err(Failure::is_final(format!("{host}: {error}")))
            }
            Ok(Err(error)) => Err(Failure::passing(format!("{host}: TLS: {error}"))),
            Err(_) => {
                Err(Failure::passing(format!("{host}: the TLS handshake was not answered in time")))
            }
        }
    }
}

fn failure(error: &Error) -> Failure {
    let outlook = match error {
        Error::Rtmp { reason, .. } => Outlook::of(reason),
        _ => Outlook::Passing,
    };
    Failure { reason: error.to_string(), outlook }
}

impl<N: Net> Consumer for RelayConsumer<N> {
    const NAME: &'static str = "relay";

    fn policy(&self, key: &StreamKey) -> Option<Policy> {
        self.to().streams.matches(key.as_str()).then_some(self.limits().policy)
    }

    async fn run(self: Arc<Self>, subscriber: Subscriber) {
        let key = subscriber.key().clone();
        let name = key.name();
        let target = &self.to().target;
        let status = Status::new(target.label(&name));
        let label = status.target.clone();
        let run = Run {
            machine: Relay::new(self.limits().limits),
            url: target.url(&name),
            random: Random::new(self.shared.origin.seed ^ hash(key.as_str()) ^ self.index as u64),
            place: Place::take(&self.shared, &key, self.index, status),
            stream: Source { subscriber, session: None, over_at: None },
            label,
            relay: &self,
        };
        run.run().await;
    }
}

/// One stream on its way to one target.
struct Run<'a, N> {
    relay: &'a RelayConsumer<N>,
    machine: Relay,
    stream: Source,
    /// Has the key in it.
    url: Url,
    label: String,
    random: Random,
    place: Place<'a>,
}

/// Where the tags come from.
struct Source {
    subscriber: Subscriber,
    session: Option<u64>,
    over_at: Option<Instant>,
}

impl Source {
    /// The stream's end, whatever is left of it.
    async fn over(&mut self) -> Instant {
        if let Some(at) = self.over_at {
            return at;
        }
        poll_fn(|cx| self.subscriber.poll_over(cx)).await;
        *self.over_at.insert(now())
    }

    async fn next(&mut self) -> Delivery {
        poll_fn(|cx| self.subscriber.poll_delivery(cx)).await
    }

    /// Whether the last tag is the first one of another publish.
    fn is_new_session(&mut self) -> bool {
        let session = self.subscriber.session();
        self.session.replace(session).is_some_and(|known| known != session)
    }
}

/// The stream is over.
struct Over;

impl<N: Net> Run<'_, N> {
    async fn run(mut self) {
        loop {
            self.show();
            let over = match self.machine.state() {
                State::Connecting => self.connect().await,
                State::Backoff { until } => self.wait(until).await,
                State::Live { .. } => unreachable!("`publish` does not return with a connection"),
                State::Rejected => self.watch().await,
            };
            if let Err(Over) = over {
                return;
            }
        }
    }

    async fn connect(&mut self) -> Result<(), Over> {
        let seed = self.random.next();
        let connected = tokio::select! {
            biased;
            _ = self.stream.over() => return Err(Over),
            connected = self.relay.connect(&self.url, seed) => connected,
        };
        match connected {
            Ok(client) => return self.publish(client).await,
            Err(failure) => self.fail(failure),
        }
        Ok(())
    }

    async fn wait(&mut self, until: Instant) -> Result<(), Over> {
        tokio::select! {
            biased;
            _ = self.stream.over() => return Err(Over),
            () = sleep_until(until.into()) => self.machine.handle_timeout(now()),
        }
        Ok(())
    }

    /// Waits for an encoder with another codec, or for the end.
    async fn watch(&mut self) -> Result<(), Over> {
        while self.machine.state() == State::Rejected {
            match self.stream.next().await {
                Delivery::Tag { tag, .. } => self.take(&tag, &mut Vec::new()),
                Delivery::Lag(_) => {}
                Delivery::End | Delivery::Disconnected => return Err(Over),
            }
        }
        Ok(())
    }

    /// Sends what comes until the stream is over or the connection is.
    async fn publish(&mut self, mut client: Target<N>) -> Result<(), Over> {
        self.machine.handle_started(now(), client.server_codecs().clone());
        self.show();
        tracing::info!(target = %self.label, "relay: live");
        if let Err(failure) = self.send(&mut client).await {
            self.fail(failure);
            return Ok(());
        }
        client.finish().await;
        if matches!(self.machine.state(), State::Live { .. }) {
            return Err(Over);
        }
        self.tell();
        Ok(())
    }

    /// Until the stream is over, or has a codec that the target does not take.
    async fn send(&mut self, client: &mut Target<N>) -> Result<(), Failure> {
        let mut to_send = Vec::new();
        loop {
            let delivery = tokio::select! {
                biased;
                event = client.event() => match event {
                    Ok(Event::Closed) => return Err(Failure::passing(CLOSED)),
                    Ok(_) => continue,
                    Err(error) => return Err(failure(&error)),
                },
                delivery = self.stream.next() => delivery,
            };
            let goes_on = self.gather(delivery, client, &mut to_send);
            self.flush(client).await?;
            if !goes_on {
                return Ok(());
            }
        }
    }

    /// Gives the client what is there, up to a bound. Whether more may come.
    fn gather(&mut self, first: Delivery, client: &mut Target<N>, to_send: &mut Vec<Tag>) -> bool {
        let (mut sent_tags, mut sent_bytes, mut lag_tags, mut skipped_tags) = (0, 0, 0, 0);
        let mut next = Some(first);
        let goes_on = loop {
            match next {
                Some(Delivery::Tag { tag, number }) => {
                    self.take(&tag, to_send);
                    skipped_tags += u64::from(number.is_some() && to_send.is_empty());
                }
                Some(Delivery::Lag(lag)) => lag_tags += lag.tags,
                Some(Delivery::End | Delivery::Disconnected) => break false,
                None => break true,
            }
            for tag in to_send.drain(..) {
                sent_tags += 1;
                sent_bytes += tag.payload.len() as u64;
                client.send(&tag);
            }
            if !matches!(self.machine.state(), State::Live { .. }) {
                break false;
            }
            if sent_bytes >= WRITE_LEN_MAX as u64 {
                break true;
            }
            next = self.stream.subscriber.next_delivery();
        };
        let backlog_tags = self.stream.subscriber.counters().unsent_tags;
        self.place.change(|status| {
            status.sent_tags += sent_tags;
            status.sent_bytes += sent_bytes;
            status.lag_tags += lag_tags;
            status.skipped_tags += skipped_tags;
            status.backlog_tags = backlog_tags;
        });
        goes_on
    }

    /// Waits until the socket has taken everything; once the stream is over, not for long.
    async fn flush(&mut self, client: &mut Target<N>) -> Result<(), Failure> {
        let end_timeout = self.relay.limits().end_timeout;
        let stream = &mut self.stream;
        let too_late = async {
            let over_at = stream.over().await;
            sleep_until((over_at + end_timeout).into()).await;
        };
        tokio::select! {
            biased;
            flushed = client.flush() => flushed.map_err(|error| failure(&error)),
            () = too_late => Err(Failure::passing("the stream is over, and the target too slow")),
        }
    }

    fn take(&mut self, tag: &Tag, to_send: &mut Vec<Tag>) {
        if self.stream.is_new_session() {
            let random = self.random.next();
            self.machine.handle_session(now(), random);
        }
        self.machine.handle_tag(tag, to_send);
    }

    fn fail(&mut self, failure: Failure) {
        let reason = self.relay.to().target.redacted(&failure.reason);
        let random = self.random.next();
        self.machine.handle_failure(now(), Failure { reason, ..failure }, random);
        self.tell();
    }

    /// Says in the log that there is no connection, and why.
    fn tell(&self) {
        let (target, stream) = (&self.label, self.stream.subscriber.key());
        let reason = self.machine.reason().unwrap_or_default();
        match self.machine.state() {
            State::Backoff { until } => {
                let pause = until.saturating_duration_since(now());
                tracing::warn!(%stream, %target, "relay: {reason}; trying again in {pause:.1?}");
            }
            _ => tracing::error!(%stream, %target, "relay: given up: {reason}"),
        }
    }

    fn show(&self) {
        let phase = match self.machine.state() {
            State::Connecting => Phase::Connecting,
            State::Live { .. } => Phase::Live,
            State::Backoff { until } => {
                let pause = until.saturating_duration_since(now());
                Phase::Backoff(self.relay.shared.utc() + pause)
            }
            State::Rejected => Phase::Rejected,
        };
        self.place.change(|status| {
            status.phase = phase;
            status.attempts = self.machine.attempts();
            status.reason = self.machine.reason().map(str::to_owned);
        });
    }
}

const CLOSED: &str = "the target closed the connection";
