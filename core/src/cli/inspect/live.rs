//! A live stream, watched for a while: by RTMP, or as HTTP-FLV.

use std::pin::pin;
use std::time::Duration;

use anyhow::{Context as _, bail, ensure};
use bytes::Bytes;
use forebay::blocks::BlockLimits;
use forebay::flv::TagRole;
use forebay::flv::file::FileTag;
use forebay::inspect::{Event, FileScanner};
use forebay::rtmp::Url;
use forebay::rtmp::client::{ClientOptions, Role};
use forebay::shell::client::{self, Client, dial};
use forebay::shell::net::{Net, Stream as _, TokioNet};
use http_body_util::{BodyExt, Empty};
use hyper::body::Incoming;
use hyper::{Request, Response, StatusCode, Uri, header};
use hyper_util::rt::TokioIo;
use serde::Serialize;
use tokio::time::{Instant, sleep_until, timeout};

use super::super::replay::seed;
use super::{Arguments, Output, Source, file_scanner};

/// How long a server may take to answer.
const ANSWER_TIMEOUT: Duration = Duration::from_secs(10);

/// How the watching went.
#[derive(Serialize)]
pub(super) struct Watched {
    /// From the first packet sent on.
    pub(super) watched_ms: u64,
    /// When the first tag came.
    pub(super) first_tag_ms: Option<u64>,
    /// When the first keyframe came.
    pub(super) first_keyframe_ms: Option<u64>,
    /// Who ended it.
    pub(super) ended_by: String,
}

pub(super) async fn inspect(
    arguments: &Arguments,
    output: &mut Output<'_>,
) -> anyhow::Result<Source> {
    let mut watch = Watch::begin(output);
    let url = arguments.source.as_str();
    let scheme = url.split("://").next().unwrap_or_default().to_ascii_lowercase();
    let (container, bytes, claims) = match scheme.as_str() {
        "rtmp" | "rtmps" => ("rtmp", watch.rtmp(url, arguments.seconds).await?, None),
        "http" => {
            let scanner = file_scanner(arguments);
            let (bytes, claims) = watch.http(url, arguments.seconds, scanner).await?;
            ("http-flv", bytes, claims)
        }
        "https" => bail!("{url}: https is not supported; http and rtmp are"),
        _ => bail!("{url}: a live stream is at rtmp:// or http://"),
    };
    Ok(Source {
        name: url.to_owned(),
        container,
        bytes,
        claims_audio: claims.map(|(audio, _)| audio),
        claims_video: claims.map(|(_, video)| video),
        connection: None,
        live: Some(watch.end()),
    })
}

/// What the FLV header says about audio and video.
type Claims = Option<(bool, bool)>;

struct Watch<'a, 'b> {
    output: &'a mut Output<'b>,
    begun: Instant,
    first_tag: Option<Instant>,
    first_keyframe: Option<Instant>,
    ended_by: String,
}

impl<'a, 'b> Watch<'a, 'b> {
    fn begin(output: &'a mut Output<'b>) -> Self {
        let begun = Instant::now();
        Self { output, begun, first_tag: None, first_keyframe: None, ended_by: String::new() }
    }

    fn end(self) -> Watched {
        let since = |then: Instant| then.duration_since(self.begun).as_millis() as u64;
        Watched {
            watched_ms: since(Instant::now()),
            first_tag_ms: self.first_tag.map(since),
            first_keyframe_ms: self.first_keyframe.map(since),
            ended_by: self.ended_by,
        }
    }

    fn take(&mut self, event: Event) -> anyhow::Result<()> {
        if let Event::Tag(found) = &event {
            let now = Instant::now();
            self.first_tag.get_or_insert(now);
            if found.tag.role() == TagRole::Keyframe {
                self.first_keyframe.get_or_insert(now);
            }
        }
        Ok(self.output.take(event)?)
    }

    /// Says how many bytes came.
    async fn rtmp(&mut self, url: &str, duration: Duration) -> anyhow::Result<u64> {
        let url: Url = url.parse().with_context(|| url.to_owned())?;
        let socket = dial(&TokioNet, &url, ANSWER_TIMEOUT).await?;
        let (options, blocks) = (ClientOptions::default(), BlockLimits::default());
        let mut client = Client::new(socket, Role::Play, &url, seed(), options, blocks);
        let mut has_started = false;
        let mut over = pin!(over(self.begun + duration));
        loop {
            let event = tokio::select! {
                biased;
                who = &mut over => {
                    self.ended_by = who;
                    break;
                }
                event = client.event() => event,
            };
            match event {
                Ok(client::Event::Tag(tag, _)) => {
                    let at = client.received_bytes();
                    self.take(Event::Tag(FileTag { at, tag }))?;
                    self.output.flush()?;
                }
                Ok(client::Event::Started) => has_started = true,
                Ok(client::Event::Ended) => {
                    "the publisher".clone_into(&mut self.ended_by);
                    break;
                }
                Ok(client::Event::Closed) if has_started => {
                    "the server".clone_into(&mut self.ended_by);
                    break;
                }
                Ok(client::Event::Closed) => bail!("{}: the server hangs up", client.peer()),
                Err(error) if !has_started => return Err(error.into()),
                Err(error) => {
                    self.ended_by = error.to_string();
                    break;
                }
            }
        }
        let bytes = client.received_bytes();
        client.finish().await;
        Ok(bytes)
    }

    /// Says how many bytes came, and what the file header says.
    async fn http(
        &mut self,
        url: &str,
        duration: Duration,
        mut scanner: FileScanner,
    ) -> anyhow::Result<(u64, Claims)> {
        let response = timeout(ANSWER_TIMEOUT, request(url)).await;
        let response = response.with_context(|| format!("{url}: no answer"))??;
        let status = response.status();
        ensure!(status == StatusCode::OK, "{url}: the server answers {status}");
        let mut body = response.into_body();
        let mut over = pin!(over(self.begun + duration));
        let mut start = Bytes::new();
        let mut bytes = 0;
        loop {
            let frame = tokio::select! {
                biased;
                who = &mut over => {
                    self.ended_by = who;
                    break;
                }
                frame = body.frame() => frame,
            };
            match frame {
                Some(Ok(frame)) => {
                    let Ok(data) = frame.into_data() else { continue };
                    bytes += data.len() as u64;
                    if start.is_empty() {
                        start = data.clone();
                    }
                    scanner.push(data);
                }
                Some(Err(error)) => {
                    self.ended_by = format!("a lost connection: {error}");
                    break;
                }
                None => {
                    "the server".clone_into(&mut self.ended_by);
                    scanner.finish();
                }
            }
            while let Some(event) = scanner.poll_event() {
                self.take(event)?;
            }
            ensure!(!scanner.is_lost(), super::not_flv(url, &start));
            self.output.flush()?;
            if !self.ended_by.is_empty() {
                break;
            }
        }
        super::note_wrong_sizes(&scanner, self.output);
        Ok((bytes, scanner.header().map(|header| (header.has_audio, header.has_video))))
    }
}

/// Says who ends the watching: the clock or the user.
async fn over(deadline: Instant) -> String {
    tokio::select! {
        biased;
        _interrupt = tokio::signal::ctrl_c() => "an interrupt".to_owned(),
        () = sleep_until(deadline) => "the clock".to_owned(),
    }
}

async fn request(url: &str) -> anyhow::Result<Response<Incoming>> {
    let uri: Uri = url.parse().with_context(|| url.to_owned())?;
    let host = uri.host().with_context(|| format!("{url}: there is no host"))?;
    let authority = uri.authority().map_or(host, |authority| authority.as_str()).to_owned();
    let port = uri.port_u16().unwrap_or(80);
    let cannot = || format!("{url}: cannot connect");
    let bare = host.trim_start_matches('[').trim_end_matches(']');
    let socket = TokioNet.connect(bare, port).await.with_context(cannot)?;
    let _best_effort = socket.set_nodelay(true);
    let io = TokioIo::new(socket);
    let (mut sender, connection) =
        hyper::client::conn::http1::handshake(io).await.with_context(cannot)?;
    // Ends with the sender and the body.
    tokio::spawn(connection);
    let path = uri.path_and_query().map_or("/", |path| path.as_str());
    let request = Request::get(path)
        .header(header::HOST, authority)
        .header(header::USER_AGENT, "forebay")
        .body(Empty::<Bytes>::new())?;
    sender.send_request(request).await.with_context(|| url.to_owned())
}
