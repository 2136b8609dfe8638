//! `/metrics` in the OpenMetrics text format that Prometheus reads.

use std::sync::atomic::{AtomicI64, AtomicU64, Ordering};

use prometheus_client::encoding::{EncodeLabelSet, text};
use prometheus_client::metrics::counter::Counter;
use prometheus_client::metrics::family::Family;
use prometheus_client::metrics::gauge::Gauge;
use prometheus_client::registry::Registry;

use crate::hub::{Kind, TopicInfo};
use crate::rope;
use crate::shell::hls::Watched;
use crate::shell::relay::{Phase, Status};
use crate::shell::{Shared, now};
use crate::wire_log::Protocol;

#[derive(Clone, PartialEq, Eq, Hash, Debug, EncodeLabelSet)]
struct StreamLabels {
    stream: String,
}

#[derive(Clone, PartialEq, Eq, Hash, Debug, EncodeLabelSet)]
struct ProtocolLabels {
    stream: String,
    protocol: &'static str,
}

#[derive(Clone, PartialEq, Eq, Hash, Debug, EncodeLabelSet)]
struct RelayLabels {
    stream: String,
    target: String,
}

#[derive(Clone, PartialEq, Eq, Hash, Debug, EncodeLabelSet)]
struct RelayStateLabels {
    stream: String,
    target: String,
    state: &'static str,
}

/// Everything as of now: the numbers live in the hub, so a registry is filled for each scrape.
pub(super) fn encode(shared: &Shared) -> String {
    let mut registry = Registry::with_prefix("forebay");
    server(&mut registry, shared);
    let topics = shared.hub.topics();
    streams(&mut registry, &topics);
    hls(&mut registry, shared);
    relays(&mut registry, shared, &topics);
    let mut out = String::new();
    match text::encode(&mut out, &registry) {
        Ok(()) => out,
        Err(error) => format!("# {error}\n"),
    }
}

fn server(registry: &mut Registry, shared: &Shared) {
    let counters = &shared.counters;
    let mut count = |name: &str, help: &str, value: u64| {
        let counter = Counter::<u64, AtomicU64>::default();
        counter.inc_by(value);
        registry.register(name, help, counter);
    };
    let load = |counter: &AtomicU64| counter.load(Ordering::Relaxed);
    count("connections", "Connections accepted", load(&counters.connections));
    count("connections_refused", "Connections over the limit", load(&counters.refused_connections));
    count(
        "connections_failed",
        "RTMP connections ended by a peer's mistake",
        load(&counters.failed_connections),
    );
    count("rtmp_received_bytes", "Bytes received by RTMP", load(&counters.received_bytes));
    count("sent_bytes", "Bytes sent by RTMP and HTTP", load(&counters.sent_bytes));
    count("published_tags", "Tags published in all streams", load(&counters.published_tags));
    count("payload_copied_bytes", "Payload bytes copied in user space", rope::copied_bytes());
    let blocks = shared.blocks.counters();
    count("receive_blocks_allocated", "Receive blocks allocated", blocks.allocated);
    count("receive_blocks_reclaimed", "Receive blocks used again", blocks.reclaimed);
    count(
        "receive_blocks_past_bound",
        "Receive blocks not waited for: receive.waiting_blocks_max was reached",
        blocks.past_bound,
    );
    if shared.config.archive.directory.is_some() {
        let archive = shared.archive.totals();
        count("archive_tags", "Tags given to the archive", archive.tags);
        count("archive_written_bytes", "Bytes written to recordings", archive.written_bytes);
        count("archive_syncs", "Times that a recording was made durable", archive.syncs);
        count("archive_files", "Recordings completed", archive.files);
        count("archive_gaps", "Times that something is missing in recordings", archive.gaps);
        count("archive_missing_tags", "Tags that are in no recording", archive.missing_tags);
        count("archive_errors", "Operations on recordings that failed", archive.errors);
        count("archive_recovered_files", "Recordings recovered", archive.recovered_files);
    }
    if let Some(store) = shared.store.counts() {
        count("store_recordings", "Recordings copied to the store", store.recordings);
        count("store_recording_bytes", "Bytes of them", store.recording_bytes);
        count("store_segments", "Segments copied to the store", store.segments);
        count("store_segment_bytes", "Bytes of them", store.segment_bytes);
        count("store_missing_segments", "Segments it did not take", store.missing_segments);
        count("store_errors", "Requests to the store that failed", store.errors);
    }
    let uptime_seconds = now().saturating_duration_since(shared.started).as_secs();
    let mut gauge = |name: &str, help: &str, value: u64| {
        let gauge = Gauge::<i64, AtomicI64>::default();
        gauge.set(value as i64);
        registry.register(name, help, gauge);
    };
    if let Some(store) = shared.store.counts() {
        let waiting = store.waiting_recordings;
        gauge("store_waiting_recordings", "Recordings that are complete and not there", waiting);
    }
    gauge("uptime_seconds", "Seconds since the start", uptime_seconds);
    gauge("receive_blocks_bytes", "Bytes of receive blocks held", blocks.held_bytes as u64);
    gauge("receive_blocks_pinned_bytes", "Of these, bytes in use", blocks.pinned_bytes as u64);
}

fn hls(registry: &mut Registry, shared: &Shared) {
    let streams: Vec<_> = shared.presentations.all();
    let watched: Vec<_> = streams.iter().map(|(key, stream)| (key, stream.watched())).collect();
    let mut gauge = |name: &str, help: &str, value: fn(&Watched) -> u64| {
        let family = Family::<StreamLabels, Gauge>::default();
        for (key, watched) in &watched {
            let labels = StreamLabels { stream: key.to_string() };
            family.get_or_create(&labels).set(value(watched).min(i64::MAX as u64) as i64);
        }
        registry.register(name, help, family);
    };
    gauge("hls_media_sequence", "Number of the segment that is being made", |watched| {
        watched.totals.media_sequence
    });
    gauge("hls_segments", "Segments made", |watched| watched.totals.segments);
    gauge("hls_parts", "Parts made", |watched| watched.totals.parts);
    gauge("hls_discontinuities", "Discontinuities", |watched| watched.totals.discontinuities);
    gauge(
        "hls_evicted_segments",
        "Segments given up early: hls.bytes_max was reached",
        |watched| watched.totals.evicted_segments,
    );
    gauge("hls_held_bytes", "Bytes of segments held", |watched| watched.totals.held_bytes);
    gauge("hls_waiting_requests", "Requests that wait for something new", |watched| {
        watched.blocked as u64
    });
    gauge("hls_mp4_viewers", "Viewers of the endless file", |watched| watched.viewers as u64);
}

fn streams(registry: &mut Registry, topics: &[TopicInfo]) {
    let mut gauge = |name: &str, help: &str, value: fn(&TopicInfo) -> u64| {
        let family = Family::<StreamLabels, Gauge>::default();
        for topic in topics {
            let labels = StreamLabels { stream: topic.key.to_string() };
            family.get_or_create(&labels).set(value(topic).min(i64::MAX as u64) as i64);
        }
        registry.register(name, help, family);
    };
    gauge("stream_live", "1 if somebody publishes", |topic| topic.is_live.into());
    gauge("stream_bits_per_second", "Over five seconds of stream time", |topic| {
        topic.bits_per_second
    });
    gauge("stream_gop_milliseconds", "Length of the last complete GOP", |topic| topic.gop_ms);
    gauge("stream_cached_picture", "1 if a joiner sees a picture at once", |topic| {
        topic.cached_ms.is_some().into()
    });
    gauge("stream_ring_bytes", "Bytes of receive blocks kept", |topic| topic.pinned_bytes);
    gauge("stream_wire_log_bytes", "Bytes of encoded stream kept", |topic| topic.log_bytes);
    gauge("stream_wire_log_pinned_bytes", "Of these, bytes in use", |topic| topic.log_pinned_bytes);
    gauge("stream_backlog_milliseconds_max", "How far the slowest subscriber is behind", |topic| {
        topic.subscribers.iter().map(|subscriber| subscriber.backlog_ms).max().unwrap_or(0)
    });

    let subscribers = Family::<ProtocolLabels, Gauge>::default();
    let lag = Family::<ProtocolLabels, Gauge>::default();
    for topic in topics {
        for subscriber in &topic.subscribers {
            let protocol = match subscriber.kind {
                Kind::Viewer(Protocol::Rtmp) => "rtmp",
                Kind::Viewer(Protocol::Flv) => "http-flv",
                Kind::Subscriber | Kind::Consumer => "consumer",
            };
            let labels = ProtocolLabels { stream: topic.key.to_string(), protocol };
            subscribers.get_or_create(&labels).inc();
            lag.get_or_create(&labels).inc_by(subscriber.counters.overflow_tags() as i64);
        }
    }
    registry.register("stream_subscribers", "Subscribers connected", subscribers);
    registry.register("stream_lag_tags", "Tags lost to slowness by those connected", lag);
}

fn relays(registry: &mut Registry, shared: &Shared, topics: &[TopicInfo]) {
    let of_topic = |topic: &TopicInfo| {
        let stream = topic.key.to_string();
        shared.relays.of(&topic.key).into_iter().map(move |status| (stream.clone(), status))
    };
    let all: Vec<_> = topics.iter().flat_map(of_topic).collect();
    let mut gauge = |name: &str, help: &str, value: fn(&Status) -> u64| {
        let family = Family::<RelayLabels, Gauge>::default();
        for (stream, status) in &all {
            let labels = RelayLabels { stream: stream.clone(), target: status.target.clone() };
            // Two targets may differ by no more than what is not shown.
            family.get_or_create(&labels).inc_by(value(status).min(i64::MAX as u64) as i64);
        }
        registry.register(name, help, family);
    };
    gauge("relay_attempts", "Connections dialled", |status| status.attempts);
    gauge("relay_sent_tags", "Tags sent", |status| status.sent_tags);
    gauge("relay_sent_bytes", "Payload bytes sent", |status| status.sent_bytes);
    gauge("relay_lag_tags", "Tags lost because the target was slow or away", |status| {
        status.lag_tags
    });
    gauge("relay_skipped_tags", "Tags whose GOP began on a connection that was cut", |status| {
        status.skipped_tags
    });
    gauge("relay_backlog_tags", "Tags waiting to be sent", |status| status.backlog_tags);
    let states = Family::<RelayStateLabels, Gauge>::default();
    for (stream, status) in &all {
        for state in Phase::NAMES {
            let (stream, target) = (stream.clone(), status.target.clone());
            let is_so = i64::from(state == status.phase.name());
            states.get_or_create(&RelayStateLabels { stream, target, state }).inc_by(is_so);
        }
    }
    registry.register("relay_state", "1 for the state that a relay is in", states);
}
