//! A stage for HLS: the whole server on a network in memory, in paused time; an encoder whose every
//! tag is planned; and an HTTP client of our own.

use std::collections::BTreeMap;
use std::future::Future;
use std::time::Duration;

use forebay::config::Builder;
use forebay::shell::disk::RealDisk;
use forebay::shell::net::Net as _;
use forebay::shell::{Origin, Server};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::sync::oneshot;
use tokio::task::JoinHandle;
use tokio::time::{Instant, sleep_until};

use crate::mem_net::MemNet;
use crate::peer::Peer;

pub(crate) const SECOND: Duration = Duration::from_secs(1);
pub(crate) const NAME: &str = "cam";
pub(crate) const MEDIA: &str = "/live/cam/media.m3u8";
pub(crate) const MULTIVARIANT: &str = "/live/cam/index.m3u8";

/// When the first server of a test starts: a time of day like any other.
const FIRST_START: Duration = Duration::from_millis(1_790_000_000_123);

pub(crate) const fn ms(milliseconds: u64) -> Duration {
    Duration::from_millis(milliseconds)
}

pub(crate) struct Stage {
    pub(crate) net: MemNet,
    pub(crate) started: Instant,
    settings: Vec<String>,
    running: Option<(oneshot::Sender<()>, JoinHandle<usize>)>,
}

/// Runs a test with a server, in paused time.
pub(crate) fn simulate<F: Future>(settings: &[&str], test: impl FnOnce(Stage) -> F) -> F::Output {
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_time()
        .start_paused(true)
        .build()
        .unwrap();
    let settings = settings.iter().map(|&setting| setting.to_owned()).collect();
    runtime.block_on(async {
        let (net, started) = (MemNet::default(), Instant::now());
        let mut stage = Stage { net, started, settings, running: None };
        stage.start().await;
        test(stage).await
    })
}

impl Stage {
    /// Starts a server; after a stop, one that knows nothing of the one before but the time of day.
    pub(crate) async fn start(&mut self) {
        let with = |builder: Builder, setting: &String| builder.set("test", setting);
        let config = self.settings.iter().try_fold(Builder::new(), with);
        let config = config.and_then(Builder::build).unwrap();
        self.net = MemNet::default();
        let origin = Origin { seed: 1, utc: FIRST_START + self.started.elapsed() };
        let server =
            Server::bind(self.net.clone(), RealDisk::default(), config, origin).await.unwrap();
        let (stop, stopped) = oneshot::channel();
        let server = tokio::spawn(server.run(async {
            // Dropped is not told to stop.
            if stopped.await.is_err() {
                std::future::pending::<()>().await;
            }
        }));
        self.running = Some((stop, server));
    }

    /// Ends the server in the middle of whatever it does.
    pub(crate) async fn crash(&mut self) {
        let (_stop, server) = self.running.take().unwrap();
        server.abort();
        drop(server.await);
    }

    /// Publishes what is planned, at the pace of its time stamps, from now on.
    pub(crate) fn publish(&self, plan: Vec<Planned>) -> JoinHandle<Peer> {
        let (net, start) = (self.net.clone(), Instant::now());
        tokio::spawn(async move {
            let mut peer = Peer::publish(&net, NAME).await;
            let first_ms = plan.first().map_or(0, |tag| tag.ms);
            for Planned { ms, is_video, payload } in plan {
                sleep_until(start + Duration::from_millis(u64::from(ms - first_ms))).await;
                match is_video {
                    true => peer.send_video(ms, payload).await,
                    false => peer.send_audio(ms, payload).await,
                }
            }
            peer
        })
    }

    pub(crate) async fn get(&self, path: &str) -> Answer {
        get(&self.net, path, "").await
    }

    /// Asks without waiting.
    pub(crate) fn ask(&self, path: &str) -> JoinHandle<Answer> {
        let (net, path) = (self.net.clone(), path.to_owned());
        tokio::spawn(async move { get(&net, &path, "").await })
    }

    /// The answer, once it is there at all: a stream has no playlist before its first segment.
    pub(crate) async fn get_when_there(&self, path: &str) -> Answer {
        for _ in 0..300 {
            let answer = self.get(path).await;
            if answer.status == 200 {
                return answer;
            }
            tokio::time::sleep(ms(100)).await;
        }
        panic!("{path} never came");
    }
}

/// An HTTP response, whole.
#[derive(Clone, Debug)]
pub(crate) struct Answer {
    pub(crate) status: u16,
    pub(crate) headers: BTreeMap<String, String>,
    pub(crate) body: Vec<u8>,
    /// How long it took.
    pub(crate) after: Duration,
}

impl Answer {
    #[track_caller]
    pub(crate) fn text(&self) -> &str {
        assert_eq!(self.status, 200, "{}", String::from_utf8_lossy(&self.body));
        std::str::from_utf8(&self.body).expect("UTF-8")
    }

    pub(crate) fn header(&self, name: &str) -> &str {
        self.headers.get(name).map_or("", String::as_str)
    }
}

/// A connection, a request and its answer. `more` are header lines.
pub(crate) async fn get(net: &MemNet, path: &str, more: &str) -> Answer {
    let asked = Instant::now();
    let mut stream = net.connect("", 8080).await.unwrap();
    let request = format!("GET {path} HTTP/1.1\r\nHost: x\r\nConnection: close\r\n{more}\r\n");
    stream.write_all(request.as_bytes()).await.unwrap();
    let mut received = Vec::new();
    stream.read_to_end(&mut received).await.unwrap();
    let head_len = received.windows(4).position(|bytes| bytes == b"\r\n\r\n").expect("a head") + 4;
    let head = std::str::from_utf8(&received[..head_len]).unwrap();
    let mut lines = head.trim_end().split("\r\n");
    let status = lines.next().unwrap().split(' ').nth(1).unwrap().parse().unwrap();
    let header = |line: &str| {
        let (name, value) = line.split_once(": ").unwrap();
        (name.to_ascii_lowercase(), value.to_owned())
    };
    let headers: BTreeMap<_, _> = lines.map(header).collect();
    let body = &received[head_len..];
    let body = match headers.get("transfer-encoding").map(String::as_str) {
        Some("chunked") => unchunked(body),
        _ => body.to_vec(),
    };
    if let Some(len) = headers.get("content-length") {
        assert_eq!(body.len(), len.parse::<usize>().unwrap(), "{path}: a body cut short");
    }
    Answer { status, headers, body, after: asked.elapsed() }
}

fn unchunked(mut body: &[u8]) -> Vec<u8> {
    let mut whole = Vec::new();
    loop {
        let line_len = body.windows(2).position(|bytes| bytes == b"\r\n").expect("a chunk's size");
        let size = std::str::from_utf8(&body[..line_len]).unwrap();
        let len = usize::from_str_radix(size, 16).unwrap();
        if len == 0 {
            return whole;
        }
        let start = line_len + 2;
        whole.extend_from_slice(&body[start..start + len]);
        body = &body[start + len + 2..];
    }
}

/// A tag that will be published.
#[derive(Clone)]
pub(crate) struct Planned {
    pub(crate) ms: u32,
    pub(crate) is_video: bool,
    pub(crate) payload: Vec<u8>,
}

/// What an encoder sends: made by naming what is unusual.
#[derive(Clone, Copy)]
pub(crate) struct Camera<'a> {
    /// Of the first picture.
    pub(crate) start_ms: u32,
    pub(crate) seconds: u32,
    /// Where keyframes are, in milliseconds from the start: these, and then every so often.
    pub(crate) keyframes: &'a [u32],
    pub(crate) keyframe_every_ms: Option<u32>,
    pub(crate) has_video: bool,
    pub(crate) has_audio: bool,
    /// Large pictures are another camera's.
    pub(crate) sps: &'a [u8],
    pub(crate) frame_len: usize,
}

/// H.264 of libx264: 640 by 360, and 320 by 180.
pub(crate) const SPS_360: &[u8] = &[
    0x67, 0x64, 0x00, 0x1e, 0xac, 0xb2, 0x01, 0x40, 0x5f, 0xf2, 0xe0, 0x22, 0x00, 0x00, 0x03, 0x00,
    0x02, 0x00, 0x00, 0x03, 0x00, 0x64, 0x1e, 0x2c, 0x5c, 0x90,
];
pub(crate) const SPS_180: &[u8] = &[
    0x67, 0x64, 0x00, 0x1e, 0xac, 0xb2, 0x02, 0x83, 0x3f, 0x3e, 0x02, 0x20, 0x00, 0x00, 0x03, 0x00,
    0x20, 0x00, 0x00, 0x06, 0x41, 0xe2, 0xc5, 0xc9,
];
const PPS: &[u8] = &[0x68, 0xeb, 0xc3, 0xcb, 0x22, 0xc0];

impl Default for Camera<'_> {
    fn default() -> Self {
        Self {
            start_ms: 0,
            seconds: 30,
            keyframes: &[],
            keyframe_every_ms: Some(2000),
            has_video: true,
            has_audio: true,
            sps: SPS_360,
            frame_len: 300,
        }
    }
}

/// Milliseconds of a picture.
const FRAME_MS: u32 = 40;

impl Camera<'_> {
    /// Headers, then 25 pictures a second and AAC at 48 kHz, in order of time. Each payload is its
    /// own, so that none can be taken for another.
    pub(crate) fn plan(self) -> Vec<Planned> {
        let mut plan = Vec::new();
        if self.has_video {
            plan.push(self.tag(0, true, avc_header(self.sps)));
        }
        if self.has_audio {
            plan.push(self.tag(0, false, vec![0xAF, 0, 0x11, 0x90]));
        }
        let frames = if self.has_video { self.seconds * 1000 / FRAME_MS } else { 0 };
        let sounds = if self.has_audio { self.seconds * 48_000 / 1024 } else { 0 };
        let mut media: Vec<_> = (0..frames).map(|n| self.picture(n)).collect();
        media.extend((0..sounds).map(|n| {
            let ms = (u64::from(n) * 1024 * 1000 / 48_000) as u32;
            let mut payload = vec![0xAF, 1];
            payload.extend_from_slice(&(self.start_ms + ms).to_be_bytes());
            self.tag(ms, false, payload)
        }));
        media.sort_by_key(|tag| tag.ms);
        plan.extend(media);
        plan
    }

    fn picture(&self, n: u32) -> Planned {
        let ms = n * FRAME_MS;
        let last_named = self.keyframes.last().copied();
        let regular = |every: u32| match last_named {
            Some(last) => ms > last && (ms - last).is_multiple_of(every),
            None => ms.is_multiple_of(every),
        };
        let is_keyframe =
            ms == 0 || self.keyframes.contains(&ms) || self.keyframe_every_ms.is_some_and(regular);
        let mut payload = vec![if is_keyframe { 0x17 } else { 0x27 }, 1, 0, 0, 0];
        payload.extend_from_slice(&(self.frame_len as u32).to_be_bytes());
        payload.push(if is_keyframe { 0x65 } else { 0x41 });
        payload.extend_from_slice(&(self.start_ms + ms).to_be_bytes());
        payload.resize(9 + self.frame_len, n as u8);
        self.tag(ms, true, payload)
    }

    fn tag(&self, ms: u32, is_video: bool, payload: Vec<u8>) -> Planned {
        Planned { ms: self.start_ms + ms, is_video, payload }
    }
}

/// An AVCDecoderConfigurationRecord behind FLV's header.
fn avc_header(sps: &[u8]) -> Vec<u8> {
    let mut header = vec![0x17, 0, 0, 0, 0, 1, sps[1], sps[2], sps[3], 0xFF, 0xE1];
    header.extend_from_slice(&(sps.len() as u16).to_be_bytes());
    header.extend_from_slice(sps);
    header.push(1);
    header.extend_from_slice(&(PPS.len() as u16).to_be_bytes());
    header.extend_from_slice(PPS);
    header
}
