//! A server of one's own, judged as ours is: it takes RTMP by the core's state machine and gives
//! HTTP-FLV from a hub of thirty lines. Run with `cargo run -p forebay-sim --example own_hub`.

use std::collections::BTreeMap;
use std::io;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use bytes::{Bytes, BytesMut};
use forebay::flv::{Tag, TagKind, TagRole, file};
use forebay::rtmp::server::{ConnectionLimits, Output, ServerConnection};
use forebay::rtmp::{ConnectionError, Input};
use forebay::shell::net::Net as _;
use forebay_sim::net::SimStream;
use forebay_sim::plan::Leave;
use forebay_sim::program::{Place, Program};
use forebay_sim::run::RunError;
use forebay_sim::tag::Kind;
use forebay_sim::{Link, Play, Units as _, World};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::sync::mpsc::{UnboundedReceiver, UnboundedSender, unbounded_channel};

/// The scenario; `cache` says what joiners are given.
fn world(seed: u64, cache: Cache) -> World {
    let mut world = World::new("own_hub", seed);
    world.program(Program::new(move |place| serve(place, cache)));
    world.publisher("studio", "obs-360p30-base");
    world.viewers("sofa", 2, Play::Flv).link(Link::fiber());
    world.viewer("phone", Play::Flv).comes(4.s()).link(Link::fiber());
    world.at(9.s()).leave("studio", Leave::Goodbye);
    world
}

fn main() -> Result<(), RunError> {
    for seed in 0..5 {
        let mut world = world(seed, Cache::Gop);
        world.run(12.s());
        println!("seed {seed}: the phone saw {} pictures", world.log("phone").pictures());
    }
    // With a mistake: whoever joins is not given the GOP that goes on.
    let mut world = world(0, Cache::Headers);
    world.try_run(12.s())?;
    let violations = world.outcome().map(|outcome| &outcome.violations[..]).unwrap_or_default();
    let seen = violations.iter().find(|found| found.invariant == "first_video_is_a_keyframe");
    let seen = seen.expect("whoever starts between keyframes is seen");
    println!("with a mistake: {}", seen.saw);
    Ok(())
}

const KEY: &str = "live/a";

#[derive(Clone, Copy, PartialEq)]
enum Cache {
    Gop,
    Headers,
}

/// One stream: what a joiner is given, and who is to have what comes.
struct Hub {
    cache: Cache,
    headers: BTreeMap<TagKind, Bytes>,
    gop: Vec<Bytes>,
    viewers: Vec<UnboundedSender<Bytes>>,
}

impl Hub {
    fn push(&mut self, tag: &Tag) {
        let bytes = flv(tag);
        let role = tag.role();
        match role {
            TagRole::Metadata
            | TagRole::VideoSequenceHeader(_)
            | TagRole::AudioSequenceHeader(_) => {
                self.headers.insert(tag.kind, bytes.clone());
            }
            _ if role == TagRole::Keyframe => self.gop = vec![bytes.clone()],
            _ => self.gop.push(bytes.clone()),
        }
        self.viewers.retain(|viewer| viewer.send(bytes.clone()).is_ok());
    }

    fn join(&mut self) -> UnboundedReceiver<Bytes> {
        let (viewer, tags) = unbounded_channel();
        let gop = self.gop.iter().filter(|_| self.cache == Cache::Gop);
        for bytes in self.headers.values().rev().chain(gop) {
            drop(viewer.send(bytes.clone()));
        }
        self.viewers.push(viewer);
        tags
    }
}

fn flv(tag: &Tag) -> Bytes {
    let len = tag.payload.len();
    let mut bytes = BytesMut::new();
    bytes.extend_from_slice(&file::tag_header(tag.kind, len, tag.timestamp));
    tag.payload.slices().for_each(|slice| bytes.extend_from_slice(slice));
    bytes.extend_from_slice(&file::previous_tag_size(len));
    bytes.freeze()
}

type SharedHub = Arc<Mutex<Hub>>;

fn lock(hub: &SharedHub) -> MutexGuard<'_, Hub> {
    hub.lock().unwrap_or_else(PoisonError::into_inner)
}

/// The program of a node, for as long as it lives.
async fn serve(place: Place, cache: Cache) -> io::Result<()> {
    let (headers, gop, viewers) = (BTreeMap::new(), Vec::new(), Vec::new());
    let hub = Arc::new(Mutex::new(Hub { cache, headers, gop, viewers }));
    let (net, listen) = (place.net(), place.config().listen);
    let rtmp = net.bind(listen.rtmp).await?;
    let http = net.bind(listen.http).await?;
    loop {
        tokio::select! {
            biased;
            () = place.stopped() => return Ok(()),
            accepted = net.accept(&rtmp) => {
                tokio::spawn(ingest(place.clone(), hub.clone(), accepted?.0));
            }
            accepted = net.accept(&http) => {
                let tags = lock(&hub).join();
                tokio::spawn(play(accepted?.0, tags));
            }
        }
    }
}

async fn ingest(place: Place, hub: SharedHub, mut stream: SimStream) -> io::Result<()> {
    let now = || tokio::time::Instant::now().into_std();
    let mut connection = ServerConnection::new(now(), place.seed(), ConnectionLimits::default());
    loop {
        let mut received = BytesMut::with_capacity(16 << 10);
        let input = match stream.read_buf(&mut received).await? {
            0 => Input::Close,
            _ => Input::Received(received.freeze()),
        };
        connection.handle_input(now(), input);
        loop {
            match connection.poll_output() {
                Output::Send(bytes) => stream.write_all(&bytes).await?,
                Output::Publish { stream_id, .. } => {
                    place.begins(KEY);
                    connection.accept_publish(stream_id);
                }
                Output::Tag { tag, .. } => {
                    let kind = match tag.kind {
                        TagKind::Audio => Kind::Audio,
                        TagKind::Video => Kind::Video,
                        TagKind::Script => Kind::Script,
                    };
                    let payload: Vec<u8> = tag.payload.slices().flatten().copied().collect();
                    place.entered(KEY, kind, tag.timestamp.as_ms(), &payload);
                    lock(&hub).push(&tag);
                }
                Output::Unpublish { .. } => end(&place, &hub),
                Output::Close(error) => return closed(error),
                Output::Wait(_) => break,
                _ => {}
            }
        }
    }
}

fn end(place: &Place, hub: &SharedHub) {
    place.over(KEY);
    lock(hub).viewers.clear();
}

fn closed(error: Option<ConnectionError>) -> io::Result<()> {
    error.map_or(Ok(()), |error| Err(io::Error::other(error)))
}

async fn play(mut stream: SimStream, mut tags: UnboundedReceiver<Bytes>) -> io::Result<()> {
    let mut request = BytesMut::new();
    while !request.ends_with(b"\r\n\r\n") {
        if stream.read_buf(&mut request).await? == 0 {
            return Ok(());
        }
    }
    let head = b"HTTP/1.1 200 OK\r\ncontent-type: video/x-flv\r\nconnection: close\r\n\r\n";
    stream.write_all(head).await?;
    stream.write_all(&file::file_header(true, true)).await?;
    while let Some(bytes) = tags.recv().await {
        stream.write_all(&bytes).await?;
    }
    stream.shutdown().await
}
