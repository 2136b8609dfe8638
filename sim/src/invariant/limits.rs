//! The configured bounds that a run is judged by.

use std::time::Duration;

/// What the nodes of a run are configured to, and what the judges allow on top. The defaults are
/// those of `forebay.toml`; a world fills in what its plan sets.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Limits {
    /// The grain of time.
    pub tick: Duration,
    /// `rtmp.handshake_timeout_ms`.
    pub handshake: Duration,
    /// `rtmp.setup_timeout_ms`.
    pub setup: Duration,
    /// `rtmp.publish_idle_timeout_ms`.
    pub publisher_idle: Duration,
    /// `hub.ring_bytes_max`.
    pub ring_bytes: u64,
    /// `hub.ring_tags_max`.
    pub ring_tags: u64,
    /// `hub.gop_ms_max`.
    pub gop_ms: u64,
    /// `hub.history_ms`.
    pub history_ms: u64,
    /// `hub.audio_gop_ms`.
    pub audio_gop_ms: u64,
    /// `hub.coalesce_ms`.
    pub coalesce: Duration,
    /// Ticks are out of step by so much, at most, with those of a run with another audience: where
    /// nobody is there all the time, ticks depend on who is.
    pub out_of_step: Duration,
    /// `hub.takeover`.
    pub takeover: bool,
    /// `hub.grace_ms`.
    pub grace: Duration,
    /// `play.start` is `gop`.
    pub starts_with_gop: bool,
    /// `play.backlog_bytes_max`.
    pub backlog_bytes: u64,
    /// `play.backlog_ms_max`.
    pub backlog_ms: u64,
    /// `play.overflow` is `disconnect`: slow viewers are let go.
    pub disconnects: bool,
    /// `play.wait_ms`.
    pub play_wait: Duration,
    /// `play.write_stall_timeout_ms`.
    pub write_stall: Duration,
    /// `play.write_len_max` and `play.unsent_len_max`: bytes that wait for a socket.
    pub unsent_bytes: u64,
    /// `listen.connections_max`.
    pub connections: usize,
    /// `archive.sync_ms`.
    pub archive_sync: Duration,
    /// `archive.file_ms_max`.
    pub archive_file_ms: u64,
    /// `shutdown.drain_ms`.
    pub drain: Duration,

    /// Those of `relays`.
    pub relays: RelayBounds,

    /// How long the last words of a connection may take: the node's own constant.
    pub linger: Duration,
    /// What a node may add to a tag's way besides `coalesce`: `hub_ms_max`.
    pub hub: Duration,
    /// What a node may add to a joiner's wait: `start_slack_ms`.
    pub start_slack: Duration,
    /// `live_edge_ms_max`: how close to the newest tag a healed viewer is.
    pub live_edge_ms: u64,
    /// `resume_skew_ms_max`: how long before the picture sound may resume.
    pub resume_skew_ms: u32,
    /// `end_ms_max`: from the end of a stream to a viewer that knows.
    pub end: Duration,
    /// Timers of a node may fire so late, because the plan lets them.
    pub late: Duration,
    /// `restart_ms_max`: from dialing a node that is back to the first tag.
    pub restart: Duration,
    /// `log_lines_max`: lines of log that one cause may produce.
    pub log_lines: usize,
    /// How long a publisher may wait for an acknowledgement.
    pub acknowledgement: Duration,
}

/// How relays of a run are configured.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RelayBounds {
    /// `relays.connect_timeout_ms`.
    pub connect: Duration,
    /// `relays.backoff_ms_min`.
    pub backoff_min: Duration,
    /// `relays.backoff_ms_max`.
    pub backoff_max: Duration,
    /// `relays.stable_ms`.
    pub stable: Duration,
    /// `relays.doubt_ms`.
    pub doubt: Duration,
    /// `relays.write_stall_timeout_ms`.
    pub write_stall: Duration,
    /// `relays.end_timeout_ms`.
    pub end: Duration,
}

impl Default for RelayBounds {
    fn default() -> Self {
        let ms = Duration::from_millis;
        Self {
            connect: ms(10_000),
            backoff_min: ms(1_000),
            backoff_max: ms(60_000),
            stable: ms(20_000),
            doubt: ms(180_000),
            write_stall: ms(10_000),
            end: ms(5_000),
        }
    }
}

impl Default for Limits {
    fn default() -> Self {
        let ms = Duration::from_millis;
        Self {
            tick: ms(5),
            handshake: ms(10_000),
            setup: ms(15_000),
            publisher_idle: ms(20_000),
            ring_bytes: 64 << 20,
            ring_tags: 100_000,
            gop_ms: 600_000,
            history_ms: 10_000,
            audio_gop_ms: 2_000,
            coalesce: ms(50),
            out_of_step: Duration::ZERO,
            takeover: true,
            grace: ms(10_000),
            starts_with_gop: true,
            backlog_bytes: 16 << 20,
            backlog_ms: 5_000,
            disconnects: false,
            play_wait: ms(5_000),
            write_stall: ms(120_000),
            unsent_bytes: (256 << 10) + (512 << 10),
            connections: 20_000,
            archive_sync: ms(1_000),
            archive_file_ms: 3_600_000,
            drain: ms(10_000),
            relays: RelayBounds::default(),
            linger: ms(5_000),
            hub: ms(20),
            start_slack: ms(150),
            live_edge_ms: 1_000,
            resume_skew_ms: 500,
            end: ms(2_000),
            late: ms(0),
            restart: ms(5_000),
            log_lines: 8,
            acknowledgement: ms(2_000),
        }
    }
}

impl Limits {
    /// The witness sees a tag at most so long after it can be given to a joiner.
    pub(super) fn unseen(&self) -> Duration {
        self.coalesce + 2 * self.tick + self.late
    }
}
