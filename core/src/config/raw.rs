//! The file's own shape, its ranges, and what becomes of it.

use core::net::SocketAddr;
use std::time::Duration;

use serde::Deserialize;

use super::store::RawStore;
use super::{
    Archive, Builder, Config, ConfigError, Hls, Listen, Play, RelayTo, Relays, start_by_name,
};
use crate::archive::ArchiveLimits;
use crate::blocks::BlockLimits;
use crate::hls::Settings;
use crate::hub::{HubLimits, Overflow, Policy, RingLimits, Start};
use crate::relay::{BackoffLimits, RelayLimits};
use crate::rtmp::chunk::ChunkLimits;
use crate::rtmp::server::ConnectionLimits;

/// The file's own shape. Signed numbers, so that a negative one gets our error and not serde's.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Raw {
    listen: RawListen,
    receive: RawReceive,
    rtmp: RawRtmp,
    hub: RawHub,
    play: RawPlay,
    hls: RawHls,
    archive: RawArchive,
    store: RawStore,
    http: RawHttp,
    relays: RawRelays,
    shutdown: RawShutdown,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct RawListen {
    rtmp: String,
    http: String,
    connections_max: i64,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct RawReceive {
    block_len: i64,
    waiting_blocks_max: i64,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct RawRtmp {
    handshake_timeout_ms: i64,
    setup_timeout_ms: i64,
    publish_idle_timeout_ms: i64,
    play_idle_timeout_ms: i64,
    ping_interval_ms: i64,
    message_len_max: i64,
    chunk_streams_max: i64,
    unfinished_messages_max: i64,
    buffered_bytes_max: i64,
    streams_max: i64,
    window_ack_size: i64,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct RawHub {
    ring_bytes_max: i64,
    ring_tags_max: i64,
    gop_ms_max: i64,
    history_ms: i64,
    audio_gop_ms: i64,
    topics_max: i64,
    subscribers_max: i64,
    coalesce_ms: i64,
    takeover: bool,
    grace_ms: i64,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct RawPlay {
    start: String,
    auto_gop_ms_max: i64,
    backlog_bytes_max: i64,
    backlog_ms_max: i64,
    overflow: String,
    wait_ms: i64,
    write_stall_timeout_ms: i64,
    write_len_max: i64,
    unsent_len_max: i64,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct RawArchive {
    directory: String,
    stream: String,
    sync_ms: i64,
    file_ms_max: i64,
    file_bytes_max: i64,
    backlog_bytes_max: i64,
    backlog_ms_max: i64,
    write_len_max: i64,
    retry_ms: i64,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct RawHls {
    enabled: bool,
    segment_duration_ms: i64,
    target_duration_ms_max: i64,
    part_duration_ms: i64,
    window_ms: i64,
    bytes_max: i64,
    backlog_ms_max: i64,
    blocked_requests_max: i64,
    viewers_max: i64,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct RawHttp {
    header_timeout_ms: i64,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct RawRelays {
    connect_timeout_ms: i64,
    backoff_ms_min: i64,
    backoff_ms_max: i64,
    stable_ms: i64,
    doubt_ms: i64,
    backlog_bytes_max: i64,
    backlog_ms_max: i64,
    write_stall_timeout_ms: i64,
    end_timeout_ms: i64,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct RawShutdown {
    drain_ms: i64,
}

/// A day: a longer time-out is a typing error.
pub(super) const MS_MAX: i64 = 86_400_000;

/// What a machine may have, in bytes: 1 TiB.
const BYTES_MAX: i64 = 1 << 40;

fn overflow_by_name(name: &str) -> Option<Overflow> {
    match name {
        "skip-to-keyframe" => Some(Overflow::SkipToKeyframe),
        "drop-disposable-first" => Some(Overflow::DropDisposableFirst),
        "disconnect" => Some(Overflow::Disconnect),
        _ => None,
    }
}

impl RawArchive {
    fn check(&self, builder: &Builder) -> Result<(), ConfigError> {
        for (key, value, min, max, unit) in [
            ("sync_ms", self.sync_ms, 10, MS_MAX, " milliseconds"),
            ("file_ms_max", self.file_ms_max, 1_000, MS_MAX, " milliseconds"),
            // A head alone has 40 KiB.
            ("file_bytes_max", self.file_bytes_max, 1 << 16, BYTES_MAX, " bytes"),
            ("backlog_bytes_max", self.backlog_bytes_max, 0, BYTES_MAX, " bytes"),
            ("backlog_ms_max", self.backlog_ms_max, 0, MS_MAX, " milliseconds"),
            ("write_len_max", self.write_len_max, 1024, 64 << 20, " bytes"),
            ("retry_ms", self.retry_ms, 10, MS_MAX, " milliseconds"),
        ] {
            let expected = format!("{min} to {max}{unit}");
            let is_within = (min..=max).contains(&value);
            builder.expect(&format!("archive.{key}"), is_within, &expected)?;
        }
        // What is gathered for a sync must not count as falling behind.
        let room = self.backlog_ms_max >= self.sync_ms;
        builder.expect("archive.backlog_ms_max", room, "at least archive.sync_ms")
    }

    fn into_config(self) -> Archive {
        let ms = |ms: i64| Duration::from_millis(ms as u64);
        Archive {
            directory: (!self.directory.is_empty()).then(|| self.directory.into()),
            stream: self.stream.as_str().into(),
            limits: ArchiveLimits {
                sync: ms(self.sync_ms),
                file_ms_max: self.file_ms_max as u64,
                file_bytes_max: self.file_bytes_max as u64,
                write_len_max: self.write_len_max as usize,
                retry: ms(self.retry_ms),
            },
            policy: Policy {
                backlog_bytes_max: self.backlog_bytes_max as u64,
                backlog_ms_max: self.backlog_ms_max as u64,
                overflow: Overflow::SkipToKeyframe,
                witness: false,
            },
        }
    }
}

impl RawHls {
    fn check(&self, builder: &Builder) -> Result<(), ConfigError> {
        let within = |key: &str, value: i64, min: i64, max: i64, unit: &str| {
            let expected = format!("{min} to {max}{unit}");
            builder.expect(&format!("hls.{key}"), (min..=max).contains(&value), &expected)
        };
        // Numbers of segments are seconds at the start: more than one a second would outrun the clock.
        let segment_ms = self.segment_duration_ms;
        within("segment_duration_ms", segment_ms, 1_000, 60_000, " milliseconds")?;
        within(
            "target_duration_ms_max",
            self.target_duration_ms_max,
            1_000,
            60_000,
            " milliseconds",
        )?;
        let fits = self.target_duration_ms_max >= segment_ms;
        builder.expect("hls.target_duration_ms_max", fits, "at least hls.segment_duration_ms")?;
        within("part_duration_ms", self.part_duration_ms, 50, 5_000, " milliseconds")?;
        let fits = self.part_duration_ms <= segment_ms;
        builder.expect("hls.part_duration_ms", fits, "at most hls.segment_duration_ms")?;
        within("window_ms", self.window_ms, 3_000, MS_MAX, " milliseconds")?;
        within("bytes_max", self.bytes_max, 1 << 20, BYTES_MAX, " bytes")?;
        within("backlog_ms_max", self.backlog_ms_max, 0, MS_MAX, " milliseconds")?;
        within("blocked_requests_max", self.blocked_requests_max, 0, 1_000_000, "")?;
        within("viewers_max", self.viewers_max, 0, 1_000_000, "")
    }

    /// After [`check`](Self::check).
    fn into_hls(self) -> Hls {
        Hls {
            enabled: self.enabled,
            settings: Settings {
                segment_duration_ms: self.segment_duration_ms as u64,
                target_duration_ms_max: self.target_duration_ms_max as u64,
                part_duration_ms: self.part_duration_ms as u64,
                window_ms: self.window_ms as u64,
                bytes_max: self.bytes_max as u64,
            },
            policy: Policy {
                backlog_bytes_max: self.bytes_max as u64,
                backlog_ms_max: self.backlog_ms_max as u64,
                ..Policy::default()
            },
            blocked_requests_max: self.blocked_requests_max as usize,
            viewers_max: self.viewers_max as usize,
        }
    }
}

impl Raw {
    pub(super) fn check(&self, builder: &Builder) -> Result<(), ConfigError> {
        let Self { listen, receive, rtmp, hub, play, hls, archive, store, http, relays, shutdown } =
            self;
        for (key, address) in [("listen.rtmp", &listen.rtmp), ("listen.http", &listen.http)] {
            let is_address = address.parse::<SocketAddr>().is_ok();
            builder.expect(key, is_address, "an address and a port, as in \"0.0.0.0:1935\"")?;
        }
        let within = |key: &str, value: i64, min: i64, max: i64, unit: &str| {
            builder.expect(key, (min..=max).contains(&value), &format!("{min} to {max}{unit}"))
        };
        within("listen.connections_max", listen.connections_max, 1, 1_000_000, "")?;
        within("receive.block_len", receive.block_len, 4096, 16 << 20, " bytes")?;
        within("receive.waiting_blocks_max", receive.waiting_blocks_max, 1, 1_000_000, "")?;
        for (key, ms) in [
            ("rtmp.handshake_timeout_ms", rtmp.handshake_timeout_ms),
            ("rtmp.setup_timeout_ms", rtmp.setup_timeout_ms),
            ("rtmp.publish_idle_timeout_ms", rtmp.publish_idle_timeout_ms),
            ("rtmp.play_idle_timeout_ms", rtmp.play_idle_timeout_ms),
            ("rtmp.ping_interval_ms", rtmp.ping_interval_ms),
            ("hub.gop_ms_max", hub.gop_ms_max),
            ("play.write_stall_timeout_ms", play.write_stall_timeout_ms),
            ("http.header_timeout_ms", http.header_timeout_ms),
            ("relays.connect_timeout_ms", relays.connect_timeout_ms),
            // Two relays whose pauses are nothing would do nothing else.
            ("relays.backoff_ms_min", relays.backoff_ms_min),
            ("relays.backoff_ms_max", relays.backoff_ms_max),
            ("relays.write_stall_timeout_ms", relays.write_stall_timeout_ms),
        ] {
            within(key, ms, 1, MS_MAX, " milliseconds")?;
        }
        for (key, ms) in [
            ("hub.audio_gop_ms", hub.audio_gop_ms),
            ("hub.grace_ms", hub.grace_ms),
            ("play.auto_gop_ms_max", play.auto_gop_ms_max),
            ("play.backlog_ms_max", play.backlog_ms_max),
            ("play.wait_ms", play.wait_ms),
            ("relays.stable_ms", relays.stable_ms),
            ("relays.doubt_ms", relays.doubt_ms),
            ("relays.backlog_ms_max", relays.backlog_ms_max),
            ("relays.end_timeout_ms", relays.end_timeout_ms),
            ("shutdown.drain_ms", shutdown.drain_ms),
        ] {
            within(key, ms, 0, MS_MAX, " milliseconds")?;
        }
        // Tags wait for the next flush, and an encoder that was held back sends seconds at once:
        // without any history those would be gone before anybody could take them.
        within("hub.history_ms", hub.history_ms, 1_000, MS_MAX, " milliseconds")?;
        within("hub.coalesce_ms", hub.coalesce_ms, 0, 10_000, " milliseconds")?;
        // A message has a 24-bit length (RTMP 5.3.1.2).
        within("rtmp.message_len_max", rtmp.message_len_max, 1024, 0xFF_FFFF, " bytes")?;
        within("rtmp.chunk_streams_max", rtmp.chunk_streams_max, 4, 65_598, "")?;
        within("rtmp.unfinished_messages_max", rtmp.unfinished_messages_max, 2, 65_598, "")?;
        within("rtmp.buffered_bytes_max", rtmp.buffered_bytes_max, 1024, BYTES_MAX, " bytes")?;
        let room = rtmp.buffered_bytes_max >= rtmp.message_len_max;
        builder.expect("rtmp.buffered_bytes_max", room, "at least rtmp.message_len_max")?;
        within("rtmp.streams_max", rtmp.streams_max, 1, 1000, "")?;
        within("rtmp.window_ack_size", rtmp.window_ack_size, 1024, i64::from(u32::MAX), " bytes")?;
        within("hub.ring_bytes_max", hub.ring_bytes_max, 1024, BYTES_MAX, " bytes")?;
        let room = hub.ring_bytes_max >= rtmp.message_len_max;
        builder.expect("hub.ring_bytes_max", room, "at least rtmp.message_len_max")?;
        within("hub.ring_tags_max", hub.ring_tags_max, 16, 100_000_000, "")?;
        within("hub.topics_max", hub.topics_max, 1, 1_000_000, "")?;
        within("hub.subscribers_max", hub.subscribers_max, 1, 1_000_000, "")?;
        within("play.backlog_bytes_max", play.backlog_bytes_max, 0, BYTES_MAX, " bytes")?;
        within("play.unsent_len_max", play.unsent_len_max, 4096, i64::from(u32::MAX), " bytes")?;
        within("play.write_len_max", play.write_len_max, 1024, 16 << 20, " bytes")?;
        hls.check(builder)?;
        archive.check(builder)?;
        store.check(builder)?;
        within("relays.backlog_bytes_max", relays.backlog_bytes_max, 0, BYTES_MAX, " bytes")?;
        let grows = relays.backoff_ms_max >= relays.backoff_ms_min;
        builder.expect("relays.backoff_ms_max", grows, "at least relays.backoff_ms_min")?;
        let is_start = start_by_name(&play.start, 0).is_some();
        builder.expect("play.start", is_start, "\"gop\", \"live\" or \"auto\"")?;
        builder.expect(
            "play.overflow",
            overflow_by_name(&play.overflow).is_some(),
            "\"skip-to-keyframe\", \"drop-disposable-first\" or \"disconnect\"",
        )
    }

    /// After [`check`](Self::check), which leaves no number negative and no name unknown.
    pub(super) fn into_config(self, relay_to: Vec<RelayTo>, text: String) -> Config {
        let Self { listen, receive, rtmp, hub, play, hls, archive, store, http, relays, shutdown } =
            self;
        let ms = |ms: i64| Duration::from_millis(ms as u64);
        let local = SocketAddr::from(([127, 0, 0, 1], 0));
        let auto_gop_ms_max = play.auto_gop_ms_max as u64;
        Config {
            listen: Listen {
                rtmp: listen.rtmp.parse().unwrap_or(local),
                http: listen.http.parse().unwrap_or(local),
                connections_max: listen.connections_max as usize,
            },
            blocks: BlockLimits {
                block_len: receive.block_len as usize,
                waiting_blocks_max: receive.waiting_blocks_max as usize,
                ..BlockLimits::default()
            },
            connection: ConnectionLimits {
                chunks: ChunkLimits {
                    message_len_max: rtmp.message_len_max as usize,
                    chunk_streams_max: rtmp.chunk_streams_max as usize,
                    unfinished_messages_max: rtmp.unfinished_messages_max as usize,
                    buffered_bytes_max: rtmp.buffered_bytes_max as usize,
                    ..ChunkLimits::default()
                },
                handshake_timeout: ms(rtmp.handshake_timeout_ms),
                setup_timeout: ms(rtmp.setup_timeout_ms),
                publish_idle_timeout: ms(rtmp.publish_idle_timeout_ms),
                play_idle_timeout: ms(rtmp.play_idle_timeout_ms),
                ping_interval: ms(rtmp.ping_interval_ms),
                streams_max: rtmp.streams_max as usize,
                window_ack_size: rtmp.window_ack_size as u32,
                ..ConnectionLimits::default()
            },
            hub: HubLimits {
                ring: RingLimits {
                    pinned_bytes_max: hub.ring_bytes_max as u64,
                    tags_max: hub.ring_tags_max as usize,
                    gop_ms_max: hub.gop_ms_max as u64,
                    history_ms: hub.history_ms as u64,
                },
                audio_gop_ms: hub.audio_gop_ms as u64,
                topics_max: hub.topics_max as usize,
                subscribers_max: hub.subscribers_max as usize,
                coalesce: ms(hub.coalesce_ms),
                takeover: hub.takeover,
            },
            grace: ms(hub.grace_ms),
            play: Play {
                start: start_by_name(&play.start, auto_gop_ms_max).unwrap_or(Start::Gop),
                auto_gop_ms_max,
                policy: Policy {
                    backlog_bytes_max: play.backlog_bytes_max as u64,
                    backlog_ms_max: play.backlog_ms_max as u64,
                    overflow: overflow_by_name(&play.overflow).unwrap_or(Overflow::SkipToKeyframe),
                    witness: false,
                },
                wait: ms(play.wait_ms),
                write_stall_timeout: ms(play.write_stall_timeout_ms),
                write_len_max: play.write_len_max as usize,
                unsent_len_max: play.unsent_len_max as u32,
            },
            hls: hls.into_hls(),
            archive: archive.into_config(),
            store: store.into_config(),
            http_header_timeout: ms(http.header_timeout_ms),
            relays: Relays {
                connect_timeout: ms(relays.connect_timeout_ms),
                limits: RelayLimits {
                    backoff: BackoffLimits {
                        min: ms(relays.backoff_ms_min),
                        max: ms(relays.backoff_ms_max),
                        stable: ms(relays.stable_ms),
                    },
                    doubt: ms(relays.doubt_ms),
                },
                policy: Policy {
                    backlog_bytes_max: relays.backlog_bytes_max as u64,
                    backlog_ms_max: relays.backlog_ms_max as u64,
                    overflow: Overflow::SkipToKeyframe,
                    witness: false,
                },
                write_stall_timeout: ms(relays.write_stall_timeout_ms),
                end_timeout: ms(relays.end_timeout_ms),
            },
            relay_to,
            drain_timeout: ms(shutdown.drain_ms),
            text,
        }
    }
}
