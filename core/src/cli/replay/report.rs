//! Report: how far a replay is, while it runs and in the end.

use std::path::Path;
use std::time::Duration;

use forebay::flv::TagKind;
use forebay::rtmp::Url;
use indicatif::{HumanBytes, ProgressBar, ProgressStyle};
use serde_json::json;
use tokio::time::Instant;

use super::acknowledged::Acknowledged;

/// The line on a terminal changes this often.
const REDRAW: Duration = Duration::from_millis(200);

/// What was sent so far.
#[derive(Clone, Copy, Default)]
pub(super) struct Sent {
    /// All of them, or by kind if that is known.
    pub(super) tags: u64,
    video: u64,
    audio: u64,
    script: u64,
    /// On the wire.
    pub(super) bytes: u64,
    /// Of the recording.
    pub(super) played: Duration,
    passes: u64,
}

pub(super) struct Report {
    file: String,
    url: String,
    is_silent: bool,
    started: Option<Instant>,
    took: Duration,
    sent: Sent,
    pub(super) acknowledged: Acknowledged,
    bar: ProgressBar,
    drawn: Instant,
}

impl Report {
    /// With a line on a terminal.
    pub(super) fn new(file: &Path, url: &Url) -> Self {
        let bar = ProgressBar::new_spinner();
        // The template is a constant.
        if let Ok(style) = ProgressStyle::with_template("{spinner} {msg}") {
            bar.set_style(style);
        }
        bar.set_message(format!("connecting to {url}"));
        bar.tick();
        let (file, url) = (file.display().to_string(), url.to_string());
        let (took, sent, drawn) = (Duration::ZERO, Sent::default(), Instant::now());
        let acknowledged = Acknowledged::default();
        Self { file, url, is_silent: false, started: None, took, sent, acknowledged, bar, drawn }
    }

    /// With a line in the log.
    pub(super) fn silent(file: &Path, url: &Url) -> Self {
        Self { is_silent: true, bar: ProgressBar::hidden(), ..Self::new(file, url) }
    }

    pub(super) fn start(&mut self) {
        if self.is_silent {
            tracing::info!("replay: {} is published to {}", self.file, self.url);
        }
        self.started.get_or_insert(Instant::now());
    }

    pub(super) fn has_started(&self) -> bool {
        self.started.is_some()
    }

    pub(super) fn so_far(&self) -> Sent {
        self.sent
    }

    pub(super) fn bytes(&self) -> u64 {
        self.sent.bytes
    }

    pub(super) fn count(&mut self, kind: TagKind) {
        self.sent.tags += 1;
        match kind {
            TagKind::Video => self.sent.video += 1,
            TagKind::Audio => self.sent.audio += 1,
            TagKind::Script => self.sent.script += 1,
        }
    }

    pub(super) fn set_tags(&mut self, tags: u64) {
        self.sent.tags = tags;
    }

    pub(super) fn count_pass(&mut self) {
        self.sent.passes += 1;
    }

    pub(super) fn see(&mut self, bytes: u64, played_ms: i64, passes: u64) {
        self.sent.passes = passes;
        self.see_record(bytes, Duration::from_millis(played_ms.max(0) as u64));
    }

    pub(super) fn see_record(&mut self, bytes: u64, played: Duration) {
        (self.sent.bytes, self.sent.played) = (bytes, played);
        if self.bar.is_hidden() || self.drawn.elapsed() < REDRAW {
            return;
        }
        self.drawn = Instant::now();
        self.took = self.elapsed();
        let message = format!("{} -> {}  {}", self.file, self.url, self.figures());
        self.bar.set_message(message);
        self.bar.tick();
    }

    pub(super) fn finish(&mut self) {
        self.took = self.elapsed();
        self.bar.finish_and_clear();
    }

    fn elapsed(&self) -> Duration {
        self.started.map_or(Duration::ZERO, |started| started.elapsed())
    }

    fn figures(&self) -> String {
        let sent = &self.sent;
        let passes = match sent.passes {
            0 => String::new(),
            passes => format!(", pass {}", passes + 1),
        };
        format!(
            "{} tags, {}, {:.1} s of stream in {:.1} s{passes}, {:.2} Mbit/s",
            sent.tags,
            HumanBytes(sent.bytes),
            sent.played.as_secs_f64(),
            self.took.as_secs_f64(),
            self.mbit_per_second(),
        )
    }

    fn mbit_per_second(&self) -> f64 {
        let seconds = self.took.as_secs_f64();
        if seconds > 0.0 { self.sent.bytes as f64 * 8.0 / 1e6 / seconds } else { 0.0 }
    }

    pub(super) fn summary(&self) -> String {
        let acknowledged = self.acknowledged.figures();
        let acknowledged = acknowledged.map_or_else(String::new, |figures| format!("; {figures}"));
        format!("sent {}{acknowledged}", self.figures())
    }

    pub(super) fn to_json(&self, error: Option<&anyhow::Error>) -> String {
        let Sent { tags, video, audio, script, bytes, played, passes } = self.sent;
        let by_kind = (video + audio + script > 0)
            .then(|| json!({ "video": video, "audio": audio, "script": script }));
        let document = json!({
            "file": self.file,
            "url": self.url,
            "tags": tags,
            "tags_by_kind": by_kind,
            "bytes": bytes,
            "passes": passes + 1,
            "stream_seconds": played.as_secs_f64(),
            "seconds": self.took.as_secs_f64(),
            "mbit_per_second": self.mbit_per_second(),
            "acknowledged_ms": self.acknowledged.to_json(),
            "error": error.map(|error| format!("{error:#}")),
        });
        format!("{document:#}")
    }
}
