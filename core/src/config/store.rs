//! `[store]`: what is copied to an object store.

use std::time::Duration;

use serde::Deserialize;

use super::raw::MS_MAX;
use super::{Builder, ConfigError};
use crate::relay::BackoffLimits;

/// What is copied to an object store, and where that is.
#[derive(Clone, Debug, PartialEq, Eq)]
#[allow(missing_docs, reason = "config/forebay.toml describes every key")]
pub struct Store {
    /// `None`: nothing is.
    pub url: Option<String>,
    pub recordings: bool,
    pub keep_recordings: bool,
    pub hls: bool,
    pub timeout: Duration,
    pub backoff: BackoffLimits,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct RawStore {
    url: String,
    recordings: bool,
    keep_recordings: bool,
    hls: bool,
    timeout_ms: i64,
    retry_ms_min: i64,
    retry_ms_max: i64,
}

impl RawStore {
    pub(super) fn check(&self, builder: &Builder) -> Result<(), ConfigError> {
        let known = match cfg!(feature = "s3") {
            true => &["file:///", "memory:///", "s3://"][..],
            false => &["file:///", "memory:///"],
        };
        let is_known = known.iter().any(|start| self.url.starts_with(start));
        let expected = match self.url.starts_with("s3:") && !cfg!(feature = "s3") {
            true => "another store: this build has no S3, which takes --features s3".to_owned(),
            false => format!("a URL that begins with {}", known.join(" or ")),
        };
        builder.expect("store.url", self.url.is_empty() || is_known, &expected)?;
        for (key, ms) in [
            ("store.timeout_ms", self.timeout_ms),
            ("store.retry_ms_min", self.retry_ms_min),
            ("store.retry_ms_max", self.retry_ms_max),
        ] {
            let is_within = (1..=MS_MAX).contains(&ms);
            builder.expect(key, is_within, &format!("1 to {MS_MAX} milliseconds"))?;
        }
        let grows = self.retry_ms_max >= self.retry_ms_min;
        builder.expect("store.retry_ms_max", grows, "at least store.retry_ms_min")
    }

    /// After [`check`](Self::check).
    pub(super) fn into_config(self) -> Store {
        let ms = |ms: i64| Duration::from_millis(ms as u64);
        Store {
            url: (!self.url.is_empty()).then_some(self.url),
            recordings: self.recordings,
            keep_recordings: self.keep_recordings,
            hls: self.hls,
            timeout: ms(self.timeout_ms),
            backoff: BackoffLimits {
                min: ms(self.retry_ms_min),
                max: ms(self.retry_ms_max),
                ..BackoffLimits::default()
            },
        }
    }
}
