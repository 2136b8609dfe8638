//! Viewer: one player, from its connection to its verdict.

use std::io;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use anyhow::{Context as _, anyhow, bail};
use bytes::Bytes;
use forebay::blocks::BlockLimits;
use forebay::flv::file::FileReader;
use forebay::flv::{Tag, TagKind, TagRole};
use forebay::rtmp::Url;
use forebay::rtmp::client::{ClientOptions, Role};
use forebay::shell::client::{Client, Event};
use http_body_util::{BodyExt as _, Empty};
use hyper::{Request, Uri, header};
use hyper_util::rt::TokioIo;
use tokio::net::{TcpSocket, TcpStream, lookup_host};
use tokio::sync::watch;
use tokio::time::{Instant, timeout, timeout_at};

use super::judge::Judge;
use super::late::Late;
use super::target::Target;
use super::throttle::Throttled;
use crate::cli::replay::seed;

/// How long a server may take to answer a TCP connection.
const CONNECT_TIMEOUT: Duration = Duration::from_secs(10);

/// A thousand viewers in one process: each reads into little.
const BLOCKS: BlockLimits =
    BlockLimits { first_block_len: 4 << 10, block_len: 32 << 10, waiting_blocks_max: 8 };
const HTTP_BUFFER_LEN: usize = 32 << 10;

/// What a slow viewer's socket holds, in bytes: its slowness must reach the server.
const SLOW_RECEIVE_BUFFER_LEN: u32 = 4 << 10;

/// Bytes of an error's page that are shown.
const REASON_LEN_MAX: usize = 300;

/// What all viewers of a command are told.
pub(super) struct Order {
    pub(super) target: Target,
    /// From the connection to the first byte of the stream.
    pub(super) timeout: Duration,
    /// How long each watches.
    pub(super) seconds: Option<Duration>,
    pub(super) begun: Instant,
    pub(super) totals: Totals,
}

/// What all viewers together have seen so far.
#[derive(Default)]
pub(super) struct Totals {
    pub(super) playing: AtomicU64,
    pub(super) pictures: AtomicU64,
    pub(super) failed: AtomicU64,
    pub(super) tags: AtomicU64,
    pub(super) bytes: AtomicU64,
    pub(super) lags: AtomicU64,
    pub(super) late: Late,
}

impl Totals {
    fn add(counter: &AtomicU64, n: u64) {
        counter.fetch_add(n, Ordering::Relaxed);
    }
}

/// What one viewer has seen. The times count from when it began to connect.
#[derive(Default)]
pub(super) struct Seen {
    pub(super) is_slow: bool,
    pub(super) connected_after: Option<Duration>,
    /// The first byte of the stream: of the body in HTTP, of a tag in RTMP.
    pub(super) first_byte_after: Option<Duration>,
    pub(super) first_keyframe_after: Option<Duration>,
    pub(super) watched: Duration,
    /// Received: all of the connection in RTMP, the body in HTTP.
    pub(super) bytes: u64,
    pub(super) judge: Judge,
    pub(super) error: Option<String>,
}

impl Seen {
    /// Why the stream was not decodable. Nothing if it was.
    pub(super) fn problems(&self) -> Vec<String> {
        match &self.error {
            Some(error) if self.first_byte_after.is_none() => vec![error.clone()],
            error => self.judge.problems().into_iter().chain(error.clone()).collect(),
        }
    }
}

/// Watches until the stream ends, the time is over, or `stop` says so.
pub(super) async fn watch(
    order: Arc<Order>,
    bytes_per_second: Option<u32>,
    mut stop: watch::Receiver<bool>,
) -> Seen {
    let mut viewer = Viewer {
        order: order.clone(),
        begun: Instant::now(),
        seen: Seen { is_slow: bytes_per_second.is_some(), ..Seen::default() },
        rtmp: None,
    };
    let over = async {
        match order.seconds {
            Some(seconds) => tokio::time::sleep(seconds).await,
            None => std::future::pending().await,
        }
    };
    let played = tokio::select! {
        biased;
        // An error: nobody is left to say it.
        _stopped = stop.wait_for(|&stop| stop) => Ok(()),
        () = over => Ok(()),
        played = viewer.play(bytes_per_second) => played,
    };
    let Viewer { begun, mut seen, rtmp, .. } = viewer;
    seen.watched = begun.elapsed();
    if let Err(error) = played {
        seen.error = Some(format!("{error:#}"));
    }
    if !seen.problems().is_empty() {
        Totals::add(&order.totals.failed, 1);
    }
    // A slow one would read what is left for long.
    if let Some(client) = rtmp.filter(|_| !seen.is_slow) {
        client.finish().await;
    }
    seen
}

struct Viewer {
    order: Arc<Order>,
    begun: Instant,
    seen: Seen,
    rtmp: Option<Client<Throttled>>,
}

impl Viewer {
    async fn play(&mut self, bytes_per_second: Option<u32>) -> anyhow::Result<()> {
        let order = self.order.clone();
        let (host, port) = (order.target.host(), order.target.port());
        let connected = timeout(CONNECT_TIMEOUT, connect(host, port, bytes_per_second.is_some()));
        let stream = connected
            .await
            .unwrap_or_else(|_| Err(io::ErrorKind::TimedOut.into()))
            .with_context(|| format!("cannot connect to {host}:{port}"))?;
        self.seen.connected_after = Some(self.begun.elapsed());
        let stream = Throttled::new(stream, bytes_per_second);
        match &order.target {
            Target::Rtmp(url) => self.play_rtmp(url, stream).await,
            Target::Http(uri) => self.play_http(uri, stream).await,
        }
    }

    async fn play_rtmp(&mut self, url: &Url, stream: Throttled) -> anyhow::Result<()> {
        let options = ClientOptions::default();
        let client = Client::new(stream, Role::Play, url, seed(), options, BLOCKS);
        self.rtmp = Some(client);
        while let Some(client) = &mut self.rtmp {
            let event = match self.seen.first_byte_after {
                Some(_) => client.event().await,
                None => before_timeout(&self.order, self.begun, client.event()).await?,
            };
            let before = std::mem::replace(&mut self.seen.bytes, client.received_bytes());
            Totals::add(&self.order.totals.bytes, self.seen.bytes - before);
            match event? {
                Event::Started => {}
                Event::Tag(tag, _) => {
                    self.see_byte();
                    self.see(&tag);
                }
                Event::Ended | Event::Closed => break,
            }
        }
        Ok(())
    }

    async fn play_http(&mut self, uri: &Uri, stream: Throttled) -> anyhow::Result<()> {
        let peer = self.order.target.to_string();
        let (mut sender, connection) = hyper::client::conn::http1::Builder::new()
            .max_buf_size(HTTP_BUFFER_LEN)
            .handshake(TokioIo::new(stream))
            .await?;
        // It ends when the response is dropped.
        tokio::spawn(connection);
        let path = uri.path_and_query().map_or("/", |path| path.as_str());
        let request = Request::get(path)
            .header(header::HOST, uri.authority().map_or("", |authority| authority.as_str()))
            .header(header::USER_AGENT, concat!("forebay/", env!("CARGO_PKG_VERSION")))
            .body(Empty::<Bytes>::new())?;
        let response =
            before_timeout(&self.order, self.begun, sender.send_request(request)).await?;
        let response = response.with_context(|| peer.clone())?;
        let status = response.status();
        let mut body = response.into_body();
        if !status.is_success() {
            let mut reason = Vec::new();
            while let Ok(Some(Ok(frame))) =
                before_timeout(&self.order, self.begun, body.frame()).await
                && reason.len() < REASON_LEN_MAX
            {
                reason.extend_from_slice(frame.data_ref().map_or(&[][..], |data| data));
            }
            reason.truncate(REASON_LEN_MAX);
            let reason = String::from_utf8_lossy(&reason);
            bail!("{peer}: {status}: {}", reason.trim().replace(char::is_control, " "));
        }
        let mut reader = FileReader::strict();
        loop {
            let frame = match self.seen.first_byte_after {
                Some(_) => body.frame().await,
                None => before_timeout(&self.order, self.begun, body.frame()).await?,
            };
            let Some(frame) = frame else {
                return reader.finish().with_context(|| format!("{peer}: the body ended"));
            };
            let frame = frame.with_context(|| format!("{peer}: the connection was lost"))?;
            let Ok(data) = frame.into_data() else { continue };
            self.see_byte();
            self.seen.bytes += data.len() as u64;
            Totals::add(&self.order.totals.bytes, data.len() as u64);
            reader.push(data);
            while let Some(found) =
                reader.next_tag().with_context(|| format!("{peer}: the body is no FLV"))?
            {
                self.see(&found.tag);
            }
        }
    }

    fn see_byte(&mut self) {
        if self.seen.first_byte_after.is_none() {
            self.seen.first_byte_after = Some(self.begun.elapsed());
            Totals::add(&self.order.totals.playing, 1);
        }
    }

    fn see(&mut self, tag: &Tag) {
        let totals = &self.order.totals;
        Totals::add(&totals.tags, 1);
        if tag.kind != TagKind::Script {
            totals.late.count(self.order.begun.elapsed(), tag.timestamp);
        }
        let lags = self.seen.judge.lags;
        self.seen.judge.see(tag);
        Totals::add(&totals.lags, self.seen.judge.lags - lags);
        if self.seen.first_keyframe_after.is_none() && tag.role() == TagRole::Keyframe {
            self.seen.first_keyframe_after = Some(self.begun.elapsed());
            Totals::add(&totals.pictures, 1);
        }
    }
}

/// What comes before the first byte has to come in time.
async fn before_timeout<T>(
    order: &Order,
    begun: Instant,
    future: impl Future<Output = T>,
) -> anyhow::Result<T> {
    let Order { target, timeout, .. } = order;
    let came = timeout_at(begun + *timeout, future).await;
    came.map_err(|_| anyhow!("{target}: nothing of the stream came within {timeout:?}"))
}

/// Tries one address of the host after the other.
async fn connect(host: &str, port: u16, is_slow: bool) -> io::Result<TcpStream> {
    let mut error = io::Error::new(io::ErrorKind::NotFound, "the host has no address");
    for address in lookup_host((host, port)).await? {
        let socket = if address.is_ipv4() { TcpSocket::new_v4()? } else { TcpSocket::new_v6()? };
        if is_slow {
            socket.set_recv_buffer_size(SLOW_RECEIVE_BUFFER_LEN)?;
        }
        match socket.connect(address).await {
            Ok(stream) => {
                stream.set_nodelay(true)?;
                return Ok(stream);
            }
            Err(refused) => error = refused,
        }
    }
    Err(error)
}
