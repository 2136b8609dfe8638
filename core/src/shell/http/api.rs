//! `/api/streams`: what is published, by whom, in which shape, and how its viewers keep up.

use serde::Serialize;

use crate::describe::{self, AudioInfo, VideoInfo};
use crate::hls::{Presentation, State};
use crate::hub::{Cause, Kind, Overflow, SubscriberInfo, TopicInfo};
use crate::shell::archive::Report;
use crate::shell::hls::{LiveStream, Watched};
use crate::shell::relay::{Phase, Status};
use crate::shell::store::Counts;
use crate::shell::{Shared, now};
use crate::wire_log::Protocol;

#[derive(Serialize)]
pub(super) struct Streams {
    version: &'static str,
    uptime_seconds: u64,
    /// Where encoders publish, on the same host.
    rtmp_port: u16,
    /// `None` where nothing is copied to a store.
    #[serde(skip_serializing_if = "Option::is_none")]
    store: Option<Store>,
    streams: Vec<Stream>,
}

/// What is copied to the object store, since the start.
#[derive(Serialize)]
struct Store {
    /// `ok`, or `failing` (why is in `reason`).
    state: &'static str,
    reason: Option<String>,
    recordings: u64,
    recording_bytes: u64,
    /// Complete, and not there yet.
    waiting_recordings: u64,
    segments: u64,
    segment_bytes: u64,
    /// Not taken within `hls.window_ms`.
    missing_segments: u64,
    errors: u64,
}

impl From<Counts> for Store {
    fn from(counts: Counts) -> Self {
        Self {
            state: if counts.failure.is_some() { "failing" } else { "ok" },
            reason: counts.failure,
            recordings: counts.recordings,
            recording_bytes: counts.recording_bytes,
            waiting_recordings: counts.waiting_recordings,
            segments: counts.segments,
            segment_bytes: counts.segment_bytes,
            missing_segments: counts.missing_segments,
            errors: counts.errors,
        }
    }
}

#[derive(Serialize)]
struct Stream {
    /// App and name, as in the URLs.
    key: String,
    /// `live`, `grace` (its publisher vanished and may return) or `waiting` (only players).
    state: &'static str,
    /// Which publish of this key it is.
    session: u64,
    publisher: Option<String>,
    encoder: Option<String>,
    video: Option<VideoInfo>,
    audio: Option<AudioInfo>,
    /// Over the last five seconds of stream time.
    bits_per_second: u64,
    published_tags: u64,
    published_bytes: u64,
    /// The last complete GOP.
    gop: Gop,
    cache: Cache,
    memory: Memory,
    #[serde(skip_serializing_if = "Option::is_none")]
    hls: Option<Hls>,
    /// `None` where it is not recorded.
    archive: Option<Archive>,
    subscribers: Vec<Subscriber>,
    /// Where else it is published by us.
    relays: Vec<Relay>,
}

#[derive(Serialize)]
struct Relay {
    /// Where to, without keys.
    target: String,
    /// `connecting`, `live`, `backoff` (until `until_unix_ms`) or `rejected`.
    state: &'static str,
    until_unix_ms: Option<u64>,
    /// Why the last connection or attempt came to nothing.
    reason: Option<String>,
    attempts: u64,
    sent_tags: u64,
    sent_bytes: u64,
    /// Lost because the target was slow or away.
    lag_tags: u64,
    /// Not sent because their GOP began on a connection that was cut.
    skipped_tags: u64,
    backlog_tags: u64,
}

/// What of the stream is in files.
#[derive(Serialize)]
struct Archive {
    /// The file that is being written; `None` between files, and while writing fails.
    file: Option<String>,
    /// Why writing fails, while it does.
    failure: Option<String>,
    /// Up to here all is safe from a loss of power, but for the gaps below.
    durable: Option<Durable>,
    written_bytes: u64,
    complete_files: u64,
    gaps: u64,
    missing_tags: u64,
    missing_bytes: u64,
    errors: u64,
}

#[derive(Serialize)]
struct Durable {
    session: u64,
    /// The place of the newest tag that is, among all of the stream.
    tag: u64,
    /// Its time as the publisher counts.
    timestamp_ms: u32,
}

impl From<Report> for Archive {
    fn from(report: Report) -> Self {
        let Report { status, file, failure } = report;
        Self {
            file,
            failure,
            durable: status.durable.map(|durable| Durable {
                session: durable.session,
                tag: durable.number,
                timestamp_ms: durable.timestamp.as_ms(),
            }),
            written_bytes: status.written_bytes,
            complete_files: status.files,
            gaps: status.gaps,
            missing_tags: status.missing.tags,
            missing_bytes: status.missing.bytes,
            errors: status.errors,
        }
    }
}

#[derive(Serialize)]
struct Gop {
    duration_ms: u64,
    tags: u64,
}

#[derive(Serialize)]
struct Cache {
    /// `picture`: a joiner sees at once. `headers_only`: it hears, and sees from the next keyframe.
    state: &'static str,
    /// How far behind the newest tag a joiner begins.
    duration_ms: u64,
    tags: u64,
}

#[derive(Serialize)]
struct Memory {
    ring_tags: u64,
    ring_bytes: u64,
    wire_log_bytes: u64,
    /// Of these, what is in use; the rest waits to be used again.
    wire_log_pinned_bytes: u64,
}

/// Segments and parts.
#[derive(Serialize)]
struct Hls {
    /// `starting`, `live`, `ended`, or `unsupported`: then `reason` says why.
    state: &'static str,
    #[serde(skip_serializing_if = "Option::is_none")]
    reason: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    target_duration_seconds: Option<u64>,
    /// Of the segment that is being made.
    media_sequence: u64,
    segments: u64,
    parts: u64,
    discontinuities: u64,
    listed_segments: u64,
    /// No longer listed, and still to be had.
    removed_segments: u64,
    /// Given up before their time: hls.bytes_max was reached.
    evicted_segments: u64,
    held_bytes: u64,
    /// Requests that wait for a part or a playlist.
    waiting_requests: usize,
    /// Of the endless file.
    mp4_viewers: usize,
}

#[derive(Serialize)]
struct Subscriber {
    kind: &'static str,
    peer: String,
    policy: Policy,
    backlog_tags: u64,
    backlog_bytes: u64,
    backlog_ms: u64,
    delivered_tags: u64,
    delivered_bytes: u64,
    lag: Lag,
}

#[derive(Serialize)]
struct Policy {
    overflow: &'static str,
    backlog_bytes_max: u64,
    backlog_ms_max: u64,
}

/// Tags not given, by cause.
#[derive(Serialize)]
struct Lag {
    /// It was too slow.
    overflow_tags: u64,
    overflow_bytes: u64,
    /// Frames left out because no other frame needs them and it was about to be too slow.
    disposable_tags: u64,
    /// Nobody could have decoded them.
    no_keyframe_tags: u64,
    /// It did not want them.
    filtered_tags: u64,
}

pub(super) fn streams(shared: &Shared) -> Streams {
    Streams {
        version: env!("CARGO_PKG_VERSION"),
        uptime_seconds: now().saturating_duration_since(shared.started).as_secs(),
        rtmp_port: shared.rtmp_port,
        store: shared.store.counts().map(Store::from),
        streams: shared.hub.topics().into_iter().map(|topic| stream(shared, topic)).collect(),
    }
}

fn stream(shared: &Shared, topic: TopicInfo) -> Stream {
    let archive = shared.archive.of(&topic.key).map(Archive::from);
    let hls = shared.presentations.get(&topic.key).map(|stream| Hls::of(&stream));
    let relays = shared.relays.of(&topic.key).into_iter().map(Relay::from).collect();
    Stream { archive, hls, relays, ..topic.into() }
}

impl From<TopicInfo> for Stream {
    fn from(topic: TopicInfo) -> Self {
        let state = match (topic.is_live, &topic.publisher) {
            (true, _) => "live",
            (false, Some(_)) => "grace",
            (false, None) => "waiting",
        };
        Self {
            key: topic.key.to_string(),
            state,
            session: topic.session,
            publisher: topic.publisher,
            encoder: describe::encoder(&topic.headers),
            video: describe::video(&topic.headers).filter(|_| topic.has_video),
            audio: describe::audio(&topic.headers).filter(|_| topic.has_audio),
            bits_per_second: topic.bits_per_second,
            published_tags: topic.published_tags,
            published_bytes: topic.published_bytes,
            gop: Gop { duration_ms: topic.gop_ms, tags: topic.gop_tags },
            cache: Cache {
                state: if topic.cached_ms.is_some() { "picture" } else { "headers_only" },
                duration_ms: topic.cached_ms.unwrap_or(0),
                tags: topic.cached_tags,
            },
            memory: Memory {
                ring_tags: topic.ring_tags,
                ring_bytes: topic.pinned_bytes,
                wire_log_bytes: topic.log_bytes,
                wire_log_pinned_bytes: topic.log_pinned_bytes,
            },
            hls: None,
            archive: None,
            relays: Vec::new(),
            subscribers: topic.subscribers.into_iter().map(Subscriber::from).collect(),
        }
    }
}

impl Hls {
    fn of(stream: &LiveStream) -> Self {
        let Watched { state, totals, blocked, viewers } = stream.watched();
        let (state, reason) = match state {
            State::Starting => ("starting", None),
            State::Live => ("live", None),
            State::Ended => ("ended", None),
            State::Unsupported(reason) => ("unsupported", Some(reason.to_string())),
        };
        let target = stream.read(Presentation::target_duration);
        Self {
            state,
            reason,
            target_duration_seconds: target.map(|target| target.as_secs()),
            media_sequence: totals.media_sequence,
            segments: totals.segments,
            parts: totals.parts,
            discontinuities: totals.discontinuities,
            listed_segments: totals.listed_segments,
            removed_segments: totals.removed_segments,
            evicted_segments: totals.evicted_segments,
            held_bytes: totals.held_bytes,
            waiting_requests: blocked,
            mp4_viewers: viewers,
        }
    }
}

impl From<Status> for Relay {
    fn from(status: Status) -> Self {
        Self {
            state: status.phase.name(),
            until_unix_ms: match status.phase {
                Phase::Backoff(until) => Some(until.as_millis() as u64),
                _ => None,
            },
            target: status.target,
            reason: status.reason,
            attempts: status.attempts,
            sent_tags: status.sent_tags,
            sent_bytes: status.sent_bytes,
            lag_tags: status.lag_tags,
            skipped_tags: status.skipped_tags,
            backlog_tags: status.backlog_tags,
        }
    }
}

impl From<SubscriberInfo> for Subscriber {
    fn from(info: SubscriberInfo) -> Self {
        let lag_tags = |cause: Cause| info.counters.lag_tags[cause as usize];
        Self {
            kind: match info.kind {
                Kind::Viewer(Protocol::Rtmp) => "rtmp",
                Kind::Viewer(Protocol::Flv) => "http-flv",
                Kind::Subscriber | Kind::Consumer => "consumer",
            },
            policy: Policy {
                overflow: match info.policy.overflow {
                    Overflow::SkipToKeyframe => "skip-to-keyframe",
                    Overflow::DropDisposableFirst => "drop-disposable-first",
                    Overflow::Disconnect => "disconnect",
                },
                backlog_bytes_max: info.policy.backlog_bytes_max,
                backlog_ms_max: info.policy.backlog_ms_max,
            },
            backlog_tags: info.backlog_tags,
            backlog_bytes: info.backlog_bytes,
            backlog_ms: info.backlog_ms,
            delivered_tags: info.counters.delivered_tags,
            delivered_bytes: info.counters.delivered_bytes,
            lag: Lag {
                overflow_tags: lag_tags(Cause::Overflow),
                overflow_bytes: info.counters.lag_bytes[Cause::Overflow as usize],
                disposable_tags: lag_tags(Cause::Disposable),
                no_keyframe_tags: lag_tags(Cause::NoKeyframe),
                filtered_tags: lag_tags(Cause::Filtered),
            },
            peer: info.peer,
        }
    }
}
