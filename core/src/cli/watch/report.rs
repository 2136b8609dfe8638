//! Report: what all viewers saw, as tables for a person and as JSON for a program.

use std::time::Duration;

use comfy_table::{CellAlignment, Table, presets};
use indicatif::HumanBytes;
use serde_json::{Value, json};

use super::late::Late;
use super::viewer::Seen;
use crate::cli::percentiles::{self, ms, percentile};

/// Viewers that get a row each.
const ROWS_MAX: usize = 30;
/// Different problems that are printed.
const PROBLEMS_MAX: usize = 10;

pub(super) struct Report<'a> {
    pub(super) target: String,
    pub(super) took: Duration,
    pub(super) viewers: &'a [Seen],
    pub(super) late: &'a Late,
}

impl Report<'_> {
    /// Viewers that could not decode what they got.
    pub(super) fn failed(&self) -> usize {
        self.viewers.iter().filter(|seen| !seen.problems().is_empty()).count()
    }

    pub(super) fn to_text(&self) -> String {
        let mut text = String::new();
        if self.viewers.len() <= ROWS_MAX {
            text += &format!("{}\n", self.rows());
        }
        text += &format!("{}\n", self.percentiles());
        for (problem, count) in self.problems().into_iter().take(PROBLEMS_MAX) {
            text += &format!("{count} of {}: {problem}\n", self.viewers.len());
        }
        let sum = |count: fn(&Seen) -> u64| self.viewers.iter().map(count).sum::<u64>();
        let (bytes, lags) = (sum(|seen| seen.bytes), sum(|seen| seen.judge.lags));
        let seconds = self.took.as_secs_f64();
        text += &format!(
            "{} of {} viewers got a decodable stream; {} tags, {}, {lags} lags in {seconds:.1} s, {:.2} Mbit/s",
            self.viewers.len() - self.failed(),
            self.viewers.len(),
            sum(|seen| seen.judge.video_tags + seen.judge.audio_tags + seen.judge.script_tags),
            HumanBytes(bytes),
            if seconds > 0.0 { bytes as f64 * 8.0 / 1e6 / seconds } else { 0.0 },
        );
        text
    }

    fn rows(&self) -> Table {
        let mut table = table(&[
            "viewer",
            "connected ms",
            "first byte ms",
            "keyframe ms",
            "video",
            "keyframes",
            "audio",
            "script",
            "bytes",
            "lags",
            "lost ms",
            "decodable",
        ]);
        for (index, seen) in self.viewers.iter().enumerate() {
            let judge = &seen.judge;
            let slow = if seen.is_slow { " slow" } else { "" };
            table.add_row([
                format!("{}{slow}", index + 1),
                cell(seen.connected_after),
                cell(seen.first_byte_after),
                cell(seen.first_keyframe_after),
                judge.video_tags.to_string(),
                judge.keyframes.to_string(),
                judge.audio_tags.to_string(),
                judge.script_tags.to_string(),
                HumanBytes(seen.bytes).to_string(),
                judge.lags.to_string(),
                judge.lag_ms.to_string(),
                if seen.problems().is_empty() { "yes" } else { "NO" }.to_owned(),
            ]);
        }
        align(&mut table, 1..11);
        table
    }

    fn percentiles(&self) -> Table {
        let mut table = table(&["ms", "p50", "p90", "p99", "max"]);
        for (name, times) in self.times() {
            let at = |percent| cell(percentile(&times, percent));
            table.add_row([name.replace('_', " "), at(50), at(90), at(99), at(100)]);
        }
        let at = |percent| cell(self.late.percentile(percent));
        table.add_row(["late".to_owned(), at(50), at(90), at(99), at(100)]);
        align(&mut table, 1..5);
        table
    }

    /// What took how long, sorted.
    fn times(&self) -> [(&'static str, Vec<Duration>); 3] {
        let of = |time: fn(&Seen) -> Option<Duration>| {
            let mut times: Vec<_> = self.viewers.iter().filter_map(time).collect();
            times.sort_unstable();
            times
        };
        [
            ("connected", of(|seen| seen.connected_after)),
            ("first_byte", of(|seen| seen.first_byte_after)),
            ("first_keyframe", of(|seen| seen.first_keyframe_after)),
        ]
    }

    /// The different problems, the most frequent first.
    pub(super) fn problems(&self) -> Vec<(String, usize)> {
        let mut problems: Vec<(String, usize)> = Vec::new();
        for seen in self.viewers {
            let text = seen.problems().join("; ");
            if text.is_empty() {
                continue;
            }
            match problems.iter_mut().find(|(known, _)| *known == text) {
                Some((_, count)) => *count += 1,
                None => problems.push((text, 1)),
            }
        }
        problems.sort_by_key(|(_, count)| std::cmp::Reverse(*count));
        problems
    }

    pub(super) fn to_json(&self) -> String {
        let viewers: Vec<Value> = self.viewers.iter().map(viewer_json).collect();
        let percentiles: serde_json::Map<String, Value> = self
            .times()
            .into_iter()
            .map(|(name, times)| {
                let at = |percent| percentile(&times, percent);
                (format!("{name}_ms"), percentiles::to_json(at))
            })
            .collect();
        let sum = |count: fn(&Seen) -> u64| self.viewers.iter().map(count).sum::<u64>();
        let document = json!({
            "url": self.target,
            "seconds": self.took.as_secs_f64(),
            "viewer_count": self.viewers.len(),
            "decodable_count": self.viewers.len() - self.failed(),
            "totals": {
                "video_tags": sum(|seen| seen.judge.video_tags),
                "audio_tags": sum(|seen| seen.judge.audio_tags),
                "script_tags": sum(|seen| seen.judge.script_tags),
                "bytes": sum(|seen| seen.bytes),
                "lags": sum(|seen| seen.judge.lags),
            },
            "percentiles": percentiles,
            "late_ms": percentiles::to_json(|percent| self.late.percentile(percent)),
            "viewers": viewers,
        });
        format!("{document:#}")
    }
}

fn viewer_json(seen: &Seen) -> Value {
    let judge = &seen.judge;
    let problems = seen.problems();
    json!({
        "slow": seen.is_slow,
        "connected_ms": seen.connected_after.map(ms),
        "first_byte_ms": seen.first_byte_after.map(ms),
        "first_keyframe_ms": seen.first_keyframe_after.map(ms),
        "watched_ms": ms(seen.watched),
        "video_tags": judge.video_tags,
        "keyframes": judge.keyframes,
        "audio_tags": judge.audio_tags,
        "script_tags": judge.script_tags,
        "bytes": seen.bytes,
        "lags": judge.lags,
        "lag_ms": judge.lag_ms,
        "restarts": judge.restarts,
        "decodable": problems.is_empty(),
        "problems": problems,
    })
}

fn table(header: &[&str]) -> Table {
    let mut table = Table::new();
    table.load_preset(presets::NOTHING).set_header(header);
    table
}

fn align(table: &mut Table, numbers: std::ops::Range<usize>) {
    for index in numbers {
        if let Some(column) = table.column_mut(index) {
            column.set_cell_alignment(CellAlignment::Right);
        }
    }
}

fn cell(duration: Option<Duration>) -> String {
    duration.map_or_else(|| "-".to_owned(), |duration| format!("{:.1}", ms(duration)))
}
