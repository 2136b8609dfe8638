//! A report as text, for a terminal of a hundred columns or a pipe.

use std::fmt::Write as _;
use std::io::{self, IsTerminal};

use comfy_table::{Attribute, Cell, CellAlignment, ContentArrangement, Table, presets};
use forebay::inspect::{
    CompositionTimes, ConnectionReport, GopReport, Report, Spread, Status, Step, TrackReport,
};
use serde_json::{Map, Value};

use super::{Source, live::Watched};

/// Columns where nobody says how many there are.
const WIDTH: usize = 100;
/// Characters of a sparkline.
const SPARKS_MAX: usize = 72;
/// Rows of each list.
const ROWS_MAX: usize = 12;

pub(super) fn report(source: &Source, report: &Report) -> String {
    let mut page = Page::new();
    page.head(source, report);
    if let Some(watched) = &source.live {
        page.watched(watched);
    }
    if let Some(connection) = &source.connection {
        page.connection(connection);
    }
    page.metadata(report);
    page.tracks(report);
    page.tags(report);
    page.gops(report);
    page.bitrate(report);
    page.timestamps(report);
    page.sequence_headers(report);
    page.damage(report);
    page.verdict(report);
    page.text
}

pub(super) fn verdict(report: &Report) -> String {
    Paint::new().verdict(report)
}

/// Colours, on a terminal only.
struct Paint {
    is_on: bool,
}

impl Paint {
    fn new() -> Self {
        let is_wanted = std::env::var_os("NO_COLOR").is_none_or(|value| value.is_empty());
        Self { is_on: is_wanted && io::stdout().is_terminal() }
    }

    fn paint(&self, code: u8, text: &str) -> String {
        if self.is_on { format!("\x1b[{code}m{text}\x1b[0m") } else { text.to_owned() }
    }

    fn bold(&self, text: &str) -> String {
        self.paint(1, text)
    }

    fn dim(&self, text: &str) -> String {
        self.paint(2, text)
    }

    /// A table counts the columns of what it paints itself.
    fn dim_cell(&self, text: &str) -> Cell {
        let cell = Cell::new(text);
        if self.is_on { cell.add_attribute(Attribute::Dim) } else { cell }
    }

    fn verdict(&self, report: &Report) -> String {
        const RED: u8 = 31;
        const GREEN: u8 = 32;
        const YELLOW: u8 = 33;
        let color = match report.verdict.status {
            Status::Intact => GREEN,
            Status::Odd => YELLOW,
            Status::Damaged => RED,
        };
        self.paint(color, &plain(&report.verdict.text))
    }
}

struct Page {
    text: String,
    paint: Paint,
    width: usize,
}

impl Page {
    fn new() -> Self {
        let width = Table::new().width().map_or(WIDTH, usize::from).max(60);
        Self { text: String::new(), paint: Paint::new(), width }
    }

    fn line(&mut self, text: &str) {
        self.text.push_str(text.trim_end());
        self.text.push('\n');
    }

    /// A label and what it is about.
    fn fact(&mut self, label: &str, text: &str) {
        const LABEL_WIDTH: usize = 12;
        let label = self.paint.dim(&format!("{label:<LABEL_WIDTH$}"));
        let indent = " ".repeat(LABEL_WIDTH + 2);
        let lines = wrap(text, self.width.saturating_sub(LABEL_WIDTH + 2));
        for (index, line) in lines.iter().enumerate() {
            match index {
                0 => self.line(&format!("  {label}{line}")),
                _ => self.line(&format!("{indent}{line}")),
            }
        }
    }

    fn heading(&mut self, text: &str) {
        let text = self.paint.bold(text);
        self.line("");
        self.line(&text);
    }

    fn table(&self, header: &[&str]) -> Table {
        let mut table = Table::new();
        table
            .load_preset(presets::NOTHING)
            .set_content_arrangement(ContentArrangement::Dynamic)
            .set_width(u16::try_from(self.width).unwrap_or(u16::MAX))
            .set_header(header.iter().map(|text| self.paint.dim_cell(text)));
        table
    }

    fn print_table(&mut self, table: &Table) {
        for line in table.lines() {
            self.line(&format!(" {line}"));
        }
    }

    fn head(&mut self, source: &Source, report: &Report) {
        let container = match source.container {
            "flv" => "FLV",
            "rtmpcap" => "a captured RTMP connection",
            "http-flv" => "HTTP-FLV",
            _ => "RTMP",
        };
        let streamed = report.tracks.iter().map(|track| track.streamed_ms).max();
        let facts = [
            container.to_owned(),
            size(source.bytes),
            counted(report.tags.total, "tag", "tags"),
            streamed.map_or_else(|| "no media".to_owned(), |ms| format!("{} s", thousandths(ms))),
        ];
        let name = self.paint.bold(&plain(&source.name));
        self.line(&name);
        let mut facts = facts.join(", ");
        let claims = [(source.claims_video, "video"), (source.claims_audio, "audio")];
        let of_kind = |kind| report.tracks.iter().any(|track| track.kind == kind);
        for (claim, kind) in claims {
            if claim.is_some_and(|claim| claim != of_kind(kind)) {
                let not = if of_kind(kind) { "no " } else { "" };
                let _infallible = write!(facts, "; its header claims {not}{kind}");
            }
        }
        self.line(&format!("  {facts}"));
    }

    fn watched(&mut self, watched: &Watched) {
        let after = |ms: Option<u64>| ms.map_or("never".to_owned(), |ms| format!("after {ms} ms"));
        let text = format!(
            "for {} s, ended by {}; the first tag came {}, the first keyframe {}",
            thousandths(watched.watched_ms),
            watched.ended_by,
            after(watched.first_tag_ms),
            after(watched.first_keyframe_ms),
        );
        self.fact("watched", &text);
    }

    fn connection(&mut self, connection: &ConnectionReport) {
        self.heading("Connection");
        self.fact("handshake", connection.handshake);
        for (name, side) in [("client", &connection.client), ("server", &connection.server)] {
            let sizes: Vec<_> = side.chunk_sizes.iter().map(u32::to_string).collect();
            let chunks = if sizes.is_empty() { "128".to_owned() } else { sizes.join(", then ") };
            let closed = if side.is_closed { ", closed" } else { "" };
            let text = format!(
                "{} in {} pieces, {} messages, chunks of {chunks}{closed}",
                size(side.bytes),
                grouped(side.reads),
                grouped(side.messages),
            );
            self.fact(name, &text);
        }
        let mut duration = format!("{} s", thousandths(connection.duration_ms));
        if let Some((silence, at)) =
            connection.longest_silence_ms.zip(connection.longest_silence_at_ms)
        {
            let (silence, at) = (thousandths(silence), thousandths(at));
            let _infallible = write!(duration, "; the longest silence {silence} s, after {at} s");
        }
        self.fact("duration", &duration);
        for command in connection.commands.iter().take(ROWS_MAX) {
            let label = format!("{:>8} s", thousandths(command.ms));
            let text = format!("{} {} {}", command.from, command.name, command.about);
            self.fact(&label, &shortened(&plain(&text), self.width.saturating_sub(14)));
        }
        self.more(connection.commands.len() as u64);
    }

    fn more(&mut self, count: u64) {
        if count > ROWS_MAX as u64 {
            let text = format!("and {} more", grouped(count - ROWS_MAX as u64));
            self.fact("", &text);
        }
    }

    fn metadata(&mut self, report: &Report) {
        let metadata = &report.metadata;
        let count = match (metadata.count, metadata.changes) {
            (0, _) => "Metadata: none".to_owned(),
            (1, _) => "Metadata".to_owned(),
            (count, 0) => format!("Metadata: {count} times the same"),
            (count, changes) => format!("Metadata: {count} times, {changes} changes"),
        };
        self.heading(&count);
        if let Some(error) = &metadata.error {
            self.fact("unreadable", error);
        }
        if !metadata.first.is_empty() {
            self.properties(&metadata.first);
        }
        if !metadata.last.is_empty() {
            let changed =
                |(key, value): &(&String, &Value)| metadata.first.get(*key) != Some(*value);
            let last = metadata.last.iter().filter(changed);
            let last: Map<_, _> = last.map(|(key, value)| (key.clone(), value.clone())).collect();
            self.line("  in the last:");
            self.properties(&last);
        }
    }

    fn properties(&mut self, map: &Map<String, Value>) {
        const GAP: &str = "  ";
        let mut line = String::new();
        for (key, value) in map {
            let text = format!("{}={}", plain(key), shortened(&json(value), 60));
            let is_full = line.chars().count() + GAP.len() + text.chars().count() + 2 > self.width;
            if !line.is_empty() && is_full {
                self.line(&format!("  {line}"));
                line.clear();
            }
            if !line.is_empty() {
                line += GAP;
            }
            line += &text;
        }
        self.line(&format!("  {line}"));
    }

    fn tracks(&mut self, report: &Report) {
        self.heading("Tracks");
        if report.tracks.is_empty() {
            return self.line("  none");
        }
        let mut table = self.table(&[
            "track", "codec", "format", "frames", "frames/s", "kbit/s", "peak 1 s", "bytes",
        ]);
        for track in &report.tracks {
            table.add_row([
                track_name(track),
                codec(track),
                format(track, &report.metadata.first),
                grouped(track.frames),
                rates(track),
                track.bits_per_second.map_or_else(String::new, |bits| grouped(bits / 1000)),
                grouped(track.bits_per_second_peak / 1000),
                size(track.bytes),
            ]);
        }
        for index in [3, 5, 6, 7] {
            if let Some(column) = table.column_mut(index) {
                column.set_cell_alignment(CellAlignment::Right);
            }
        }
        self.print_table(&table);
    }

    fn tags(&mut self, report: &Report) {
        let tags = &report.tags;
        let counts = [
            (tags.keyframes, "keyframe", "keyframes"),
            (tags.inter_frames, "inter frame", "inter frames"),
            (tags.secondary_frames, "frame of another track", "frames of other tracks"),
            (tags.audio_frames, "audio frame", "audio frames"),
            (tags.video_sequence_headers, "video sequence header", "video sequence headers"),
            (tags.audio_sequence_headers, "audio sequence header", "audio sequence headers"),
            (tags.video_metadata, "video metadata", "video metadata"),
            (tags.multichannel_configs, "multichannel config", "multichannel configs"),
            (tags.video_ends, "end of video", "ends of video"),
            (tags.audio_ends, "end of audio", "ends of audio"),
            (tags.metadata, "onMetaData", "onMetaData"),
            (tags.script, "other script data", "other script data"),
            (tags.empty, "empty", "empty"),
            (tags.unreadable, "unreadable", "unreadable"),
            (tags.other, "other", "other"),
        ];
        let counts = counts.iter().filter(|(count, ..)| *count > 0);
        let texts = counts.map(|&(count, one, many)| counted(count, one, many));
        let texts: Vec<_> = texts.collect();
        self.fact("tags", &texts.join(", "));
    }

    fn gops(&mut self, report: &Report) {
        let Some(gops) = &report.gops else { return };
        self.heading(&format!(
            "Groups of pictures: {} (open or closed is not told)",
            grouped(gops.count)
        ));
        if let (Some(duration), Some(frames), Some(bytes)) =
            (gops.duration_ms, gops.frames, gops.bytes)
        {
            let mut table = self.table(&["complete ones", "min", "median", "max"]);
            let row = |what: &str, spread: Spread, text: &dyn Fn(i64) -> String| {
                [what.to_owned(), text(spread.min), text(spread.median), text(spread.max)]
            };
            table.add_row(row("duration", duration, &|ms| format!("{} s", signed_thousandths(ms))));
            table.add_row(row("pictures", frames, &|count| count.to_string()));
            table.add_row(row("size", bytes, &|len| size(len.unsigned_abs())));
            for index in 1..4 {
                if let Some(column) = table.column_mut(index) {
                    column.set_cell_alignment(CellAlignment::Right);
                }
            }
            self.print_table(&table);
        }
        self.gop_sparks(gops);
        if gops.frames_before > 0 {
            self.fact("orphans", &format!("{} pictures before the first", gops.frames_before));
        }
    }

    fn gop_sparks(&mut self, gops: &GopReport) {
        let durations: Vec<u64> = gops
            .list
            .iter()
            .filter_map(|gop| gop.duration_ms.map(|ms| u64::from(ms.max(0).unsigned_abs())))
            .collect();
        if durations.len() > 1 {
            let (sparks, per_spark) = sparkline(&durations);
            let each =
                if per_spark == 1 { String::new() } else { format!("  ({per_spark} a character)") };
            self.fact("durations", &format!("{sparks}{each}"));
        }
    }

    fn bitrate(&mut self, report: &Report) {
        let bitrate_of = &report.bitrate;
        if bitrate_of.bits_per_second.len() < 2 {
            return;
        }
        self.heading("Bitrate");
        let (sparks, per_spark) = sparkline(&bitrate_of.bits_per_second);
        let each = bitrate_of.piece_ms * per_spark as u64;
        let max = bitrate_of.bits_per_second.iter().max().copied().unwrap_or_default();
        self.fact("over time", &sparks);
        let text = format!("a character is {} s, the highest {}", each / 1000, bitrate(max));
        self.fact("", &text);
    }

    fn timestamps(&mut self, report: &Report) {
        let times = &report.timestamps;
        self.heading("Timestamps");
        if let (Some(first), Some(last)) = (times.first_media_ms, times.last_media_ms) {
            self.fact("media", &format!("{} to {}", at(first), at(last)));
        }
        for track in &report.tracks {
            self.track_times(track);
        }
        if let (Some(decoded), Some(shown)) =
            (times.audio_after_video_ms, times.audio_after_picture_ms)
        {
            let text = format!(
                "the first sound is {} the first picture is decoded, {} it is shown",
                after(decoded),
                after(shown)
            );
            self.fact("start", &text);
        }
        let mut order = match times.backward_steps {
            0 => "no tag is earlier than the one before".to_owned(),
            1 => "1 tag is earlier than the one before".to_owned(),
            count => format!("{} tags are earlier than the one before", grouped(count)),
        };
        if times.extended > 0 {
            let _infallible = write!(order, "; {} need more than 24 bits", grouped(times.extended));
        }
        self.fact("order", &order);
        self.ends(report);
    }

    fn ends(&mut self, report: &Report) {
        const SHOWN_MAX: usize = 3;
        let ends = report.ends_of_sequence.iter().take(SHOWN_MAX);
        let texts = ends.map(|end| {
            format!("{} ends at {}, says byte {}", end.kind, at(end.timestamp_ms), end.at)
        });
        let mut text = texts.collect::<Vec<_>>().join("; ");
        let count = report.tags.video_ends + report.tags.audio_ends;
        if count > SHOWN_MAX as u64 {
            let _infallible = write!(text, "; {} in all", grouped(count));
        }
        if count > 0 {
            self.fact("end", &text);
        }
    }

    fn track_times(&mut self, track: &TrackReport) {
        let steps = &track.steps;
        let (Some(typical), Some(min), Some(max)) = (steps.typical_ms, steps.min_ms, steps.max_ms)
        else {
            return;
        };
        let mut text = format!("a frame every {typical} ms");
        if min != max {
            let _infallible = write!(text, " ({min} to {max})");
        }
        if let Some(CompositionTimes { min, max }) = track.composition_time {
            let _infallible = match (min, max) {
                (0, 0) => write!(text, ", shown when decoded"),
                _ => write!(text, ", shown {min} to {max} ms later"),
            };
        }
        self.fact(&track_name(track), &text);
        let lists = [
            ("back", steps.backward_count, &steps.backward),
            ("gap", steps.gap_count, &steps.gaps),
            ("wraps", steps.wraps.len() as u64, &steps.wraps),
            ("24 bits", steps.crosses_24_bits.len() as u64, &steps.crosses_24_bits),
        ];
        for (what, count, list) in lists {
            if count > 0 {
                self.steps(what, count, list);
            }
        }
    }

    fn steps(&mut self, what: &str, count: u64, list: &[Step]) {
        const SHOWN_MAX: usize = 3;
        let shown = list.iter().take(SHOWN_MAX).map(|step| {
            format!("{:+} ms at {} (byte {})", step.step_ms, at(step.from_ms), step.at)
        });
        let mut text = shown.collect::<Vec<_>>().join("; ");
        if count > SHOWN_MAX as u64 {
            let _infallible = write!(text, "; {} in all", grouped(count));
        }
        self.fact(&format!("  {what}"), &text);
    }

    fn sequence_headers(&mut self, report: &Report) {
        if report.sequence_headers.is_empty() {
            return;
        }
        self.heading("Sequence headers");
        for header in report.sequence_headers.iter().take(ROWS_MAX) {
            let track = if header.track > 0 { format!(" {}", header.track) } else { String::new() };
            let change = if header.is_change { "changes to " } else { "" };
            let text = format!(
                "{}{track}: {change}{} (byte {})",
                header.kind,
                plain(&header.describes),
                header.at
            );
            self.fact(&at(header.timestamp_ms), &text);
        }
        self.more(report.sequence_headers.len() as u64);
    }

    fn damage(&mut self, report: &Report) {
        let damage = &report.damage;
        if damage.count == 0 {
            return;
        }
        let count = counted(damage.count, "region", "regions");
        self.heading(&format!("Damage: {count}, {}", size(damage.bytes)));
        let mut table = self.table(&["bytes from", "to", "length", "what", "tags behind"]);
        for region in damage.regions.iter().take(ROWS_MAX) {
            table.add_row([
                region.from.to_string(),
                region.to.to_string(),
                (region.to - region.from).to_string(),
                region.what.clone(),
                region.tags_behind.to_string(),
            ]);
        }
        for index in [0, 1, 2, 4] {
            if let Some(column) = table.column_mut(index) {
                column.set_cell_alignment(CellAlignment::Right);
            }
        }
        self.print_table(&table);
        self.more(damage.count);
    }

    fn verdict(&mut self, report: &Report) {
        self.line("");
        if report.verdict.status == Status::Damaged {
            for oddity in &report.verdict.odd {
                self.line(&format!("odd besides: {}", plain(&oddity.text)));
            }
        }
        let text = self.paint.verdict(report);
        self.line(&text);
    }
}

fn track_name(track: &TrackReport) -> String {
    match track.id {
        0 => track.kind.to_owned(),
        id => format!("{} {id}", track.kind),
    }
}

fn codec(track: &TrackReport) -> String {
    let codec = plain(&track.codec);
    track.codec_string.as_ref().map_or(codec.clone(), |text| format!("{codec} {text}"))
}

fn format(track: &TrackReport, metadata: &Map<String, Value>) -> String {
    if track.kind == "video" {
        let claimed = |key: &str| metadata.get(key).and_then(Value::as_f64);
        return match (track.width.zip(track.height), claimed("width").zip(claimed("height"))) {
            (Some((width, height)), _) => format!("{width}x{height}"),
            (None, Some((width, height))) => format!("{width}x{height} claimed"),
            (None, None) => String::new(),
        };
    }
    let rate = track.sample_rate.map(|rate| format!("{} kHz", f64::from(rate) / 1000.0));
    let channels = track.channels.map(|count| match count {
        1 => "mono".to_owned(),
        2 => "stereo".to_owned(),
        count => format!("{count} channels"),
    });
    [rate, channels].into_iter().flatten().collect::<Vec<_>>().join(" ")
}

fn rates(track: &TrackReport) -> String {
    let measured = track.frame_rate.map_or_else(String::new, |rate| format!("{rate:.2}"));
    match track.frame_rate_claimed {
        Some(claimed) => format!("{measured} of {}", (claimed * 100.0).round() / 100.0),
        None => measured,
    }
}

fn after(ms: i32) -> String {
    match ms {
        0.. => format!("{ms} ms after"),
        _ => format!("{} ms before", ms.unsigned_abs()),
    }
}

fn at(ms: u32) -> String {
    format!("{} s", thousandths(ms.into()))
}

fn thousandths(ms: u64) -> String {
    format!("{}.{:03}", ms / 1000, ms % 1000)
}

fn signed_thousandths(ms: i64) -> String {
    let sign = if ms < 0 { "-" } else { "" };
    format!("{sign}{}", thousandths(ms.unsigned_abs()))
}

fn counted(count: u64, one: &str, many: &str) -> String {
    format!("{} {}", grouped(count), if count == 1 { one } else { many })
}

/// `1 234 567`.
fn grouped(number: u64) -> String {
    let digits = number.to_string();
    let mut out = String::new();
    for (index, digit) in digits.chars().enumerate() {
        if index > 0 && (digits.len() - index).is_multiple_of(3) {
            out.push(' ');
        }
        out.push(digit);
    }
    out
}

fn size(bytes: u64) -> String {
    match bytes {
        0..10_000 => format!("{} B", grouped(bytes)),
        10_000..1_000_000 => format!("{:.1} kB", bytes as f64 / 1e3),
        1_000_000..1_000_000_000 => format!("{:.2} MB", bytes as f64 / 1e6),
        _ => format!("{:.2} GB", bytes as f64 / 1e9),
    }
}

fn bitrate(bits_per_second: u64) -> String {
    match bits_per_second {
        0..1_000_000 => format!("{:.0} kbit/s", bits_per_second as f64 / 1e3),
        _ => format!("{:.2} Mbit/s", bits_per_second as f64 / 1e6),
    }
}

/// What the values look like, the highest a full block; and how many values a character stands for.
fn sparkline(values: &[u64]) -> (String, usize) {
    const BLOCKS: [char; 8] = ['▁', '▂', '▃', '▄', '▅', '▆', '▇', '█'];
    let per_spark = values.len().div_ceil(SPARKS_MAX).max(1);
    let means = values.chunks(per_spark).map(|some| some.iter().sum::<u64>() / some.len() as u64);
    let means: Vec<u64> = means.collect();
    let max = means.iter().max().copied().unwrap_or_default().max(1);
    let block = |mean: &u64| match mean {
        0 => ' ',
        &mean => {
            let index = (mean as f64 / max as f64 * BLOCKS.len() as f64).ceil() as usize;
            BLOCKS[index.clamp(1, BLOCKS.len()) - 1]
        }
    };
    (means.iter().map(block).collect(), per_spark)
}

/// Lines of at most `width` characters, broken at spaces where there are any.
fn wrap(text: &str, width: usize) -> Vec<String> {
    let mut lines = vec![String::new()];
    for word in text.split(' ') {
        let len = lines.last().map_or(0, |line| line.chars().count());
        if len > 0 && len + 1 + word.chars().count() > width {
            lines.push(String::new());
        }
        if let Some(line) = lines.last_mut() {
            if len > 0 && !line.is_empty() {
                line.push(' ');
            }
            line.push_str(word);
        }
    }
    lines
}

/// A value on one line. What a terminal would act on is escaped.
fn json(value: &Value) -> String {
    match value {
        Value::String(text) => plain(text),
        Value::Array(values) if values.len() > 8 => format!("[{} values]", values.len()),
        Value::Object(entries) if entries.len() > 8 => format!("{{{} entries}}", entries.len()),
        value => plain(&value.to_string()),
    }
}

/// The text with everything a terminal would act on escaped: it came from a peer.
fn plain(text: &str) -> String {
    let escape = |c: char| {
        let is_harmless = !c.is_control();
        let escaped = (!is_harmless).then(|| c.escape_default());
        escaped.into_iter().flatten().chain(is_harmless.then_some(c)).collect::<String>()
    };
    text.chars().map(escape).collect()
}

fn shortened(text: &str, len_max: usize) -> String {
    if text.chars().count() <= len_max {
        return text.to_owned();
    }
    text.chars().take(len_max.saturating_sub(1)).chain(['…']).collect()
}
