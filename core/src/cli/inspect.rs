//! `forebay inspect`: what is in a recording or a live stream, and what is wrong with it.

mod live;
mod text;

use std::io::{self, BufWriter, IsTerminal, Read, StdoutLock, Write};
use std::path::Path;
use std::process::ExitCode;
use std::time::Duration;

use anyhow::Context as _;
use bytes::{Bytes, BytesMut};
use forebay::inspect::{
    CaptureScanner, ConnectionReport, Event, FileScanner, Inspector, OddityKind, Report, Status,
    TagLine, is_capture,
};
use indicatif::{ProgressBar, ProgressStyle};
use serde::Serialize;

use super::replay;

/// Show what is in a recording or a live stream, and what is wrong with it.
///
/// FILE is an FLV file or a captured RTMP connection (.rtmpcap); its first bytes say which. URL is
/// rtmp://HOST[:PORT]/APP/NAME or http://HOST[:PORT]/APP/NAME.flv, and is watched for a while.
///
/// The report names the tracks with their codecs, sizes and bitrates, the groups of pictures, what
/// the timestamps do, every sequence header, and every damaged region by its bytes. Where a file is
/// damaged the next tag is looked for, and all that follows it is part of the report.
#[derive(clap::Args)]
#[command(after_long_help = EXPLANATION)]
pub(crate) struct Arguments {
    /// A file, or where a live stream is played.
    #[arg(value_name = "FILE|URL")]
    source: String,
    /// Prints one JSON document instead of text; with --tags, a JSON object on each line.
    #[arg(long)]
    json: bool,
    /// Prints a line for every tag as it is read, and the verdict in the end, instead of the report.
    ///
    /// A line has the tag's place in bytes, its kind, its timestamp in milliseconds, how much later a
    /// picture is shown, the length of the payload, the codec, and what the tag is.
    #[arg(long)]
    tags: bool,
    /// Does not look at what PreviousTagSize says, as players do not: wrong ones are odd, not damage.
    #[arg(long)]
    lenient: bool,
    /// How long to watch a live stream. Ctrl-C ends it earlier, and the report is printed.
    #[arg(long, value_name = "N", default_value = "10", value_parser = replay::parse_seconds)]
    seconds: Duration,
}

const EXPLANATION: &str = "\
The last line is the verdict:
  intact               all bytes are tags, and nothing is odd about them
  odd: ...             something may trouble a player: time that jumps, steps back, wraps or passes
                       24 bits; missing, doubled or empty frames; a missing sequence header
  damaged at byte N:   some bytes are no tags, the first of them at N

Exit status: 0 if intact or odd, 1 if damaged, 2 if there was nothing to inspect: a wrong option,
no such file, a file of another format, a server that does not answer.

Examples:
  forebay inspect recording.flv
  forebay inspect --tags recording.flv | grep keyframe
  forebay inspect --json recording.flv | jq .verdict
  forebay inspect --seconds 30 http://127.0.0.1:8080/live/obs.flv";

/// What a report is about.
#[derive(Serialize)]
struct Source {
    name: String,
    /// `flv`, `rtmpcap`, `http-flv` or `rtmp`.
    container: &'static str,
    bytes: u64,
    /// What the FLV header claims.
    #[serde(skip_serializing_if = "Option::is_none")]
    claims_audio: Option<bool>,
    #[serde(skip_serializing_if = "Option::is_none")]
    claims_video: Option<bool>,
    #[serde(skip_serializing_if = "Option::is_none")]
    connection: Option<ConnectionReport>,
    #[serde(skip_serializing_if = "Option::is_none")]
    live: Option<live::Watched>,
}

#[derive(Serialize)]
struct Document<'a> {
    source: &'a Source,
    #[serde(flatten)]
    report: &'a Report,
}

pub(crate) async fn run(arguments: Arguments) -> anyhow::Result<ExitCode> {
    let mut output = Output::new(&arguments);
    let done = if arguments.source.contains("://") {
        live::inspect(&arguments, &mut output).await
    } else {
        inspect_file(Path::new(&arguments.source), &arguments, &mut output)
    };
    match done.and_then(|source| Ok(output.end(&source)?)) {
        Ok(Status::Damaged) => Ok(ExitCode::from(1)),
        Ok(Status::Intact | Status::Odd) => Ok(ExitCode::SUCCESS),
        // Whoever reads has seen enough.
        Err(error) if is_broken_pipe(&error) => Ok(ExitCode::SUCCESS),
        Err(error) => {
            eprintln!("forebay: {error:#}");
            Ok(ExitCode::from(2))
        }
    }
}

fn is_broken_pipe(error: &anyhow::Error) -> bool {
    let kind = error.downcast_ref::<io::Error>().map(io::Error::kind);
    kind == Some(io::ErrorKind::BrokenPipe)
}

/// Where tags go: to the inspector, and as lines to standard output if that was asked for.
struct Output<'a> {
    arguments: &'a Arguments,
    inspector: Inspector,
    out: BufWriter<StdoutLock<'static>>,
}

impl<'a> Output<'a> {
    fn new(arguments: &'a Arguments) -> Self {
        let out = BufWriter::new(io::stdout().lock());
        Self { arguments, inspector: Inspector::new(), out }
    }

    fn take(&mut self, event: Event) -> io::Result<()> {
        match event {
            Event::Tag(found) => {
                if self.arguments.tags {
                    let line = TagLine::new(found.at, &found.tag);
                    self.print_line(&line.to_string(), &line)?;
                }
                self.inspector.add(found.at, &found.tag);
            }
            Event::Damage(damage) => {
                if self.arguments.tags {
                    let (from, to, what) = (damage.from, damage.to, &damage.what);
                    let text = format!("{from:>10}  damage up to {to}: {what}");
                    let json =
                        serde_json::json!({"damage": {"from": from, "to": to, "what": what}});
                    self.print_line(&text, &json)?;
                }
                self.inspector.add_damage(damage);
            }
        }
        Ok(())
    }

    fn print_line(&mut self, text: &str, json: &impl Serialize) -> io::Result<()> {
        if self.arguments.json {
            serde_json::to_writer(&mut self.out, json)?;
            return writeln!(self.out);
        }
        writeln!(self.out, "{text}")
    }

    /// What a live stream has said so far is to be seen now.
    fn flush(&mut self) -> io::Result<()> {
        self.out.flush()
    }

    fn end(mut self, source: &Source) -> io::Result<Status> {
        let report = self.inspector.report();
        let Arguments { tags, json, .. } = *self.arguments;
        if tags {
            let verdict = serde_json::json!({"verdict": report.verdict});
            self.print_line(&text::verdict(&report), &verdict)?;
        } else if json {
            let document = Document { source, report: &report };
            serde_json::to_writer_pretty(&mut self.out, &document)?;
            writeln!(self.out)?;
        } else {
            self.out.write_all(text::report(source, &report).as_bytes())?;
        }
        self.out.flush()?;
        Ok(report.verdict.status)
    }
}

/// Read at once, in bytes.
const BLOCK_LEN: usize = 1 << 20;

#[allow(clippy::disallowed_types, reason = "the command line reads the files it is given")]
type File = std::fs::File;

fn inspect_file(
    path: &Path,
    arguments: &Arguments,
    output: &mut Output<'_>,
) -> anyhow::Result<Source> {
    let name = path.display().to_string();
    let cannot = || format!("cannot read {name}");
    let file = File::open(path).with_context(cannot)?;
    let metadata = file.metadata().with_context(cannot)?;
    anyhow::ensure!(!metadata.is_dir(), "cannot read {name}: it is a directory");
    let mut blocks = Blocks::new(file, progress(metadata.len(), arguments));
    let first = blocks.next().with_context(cannot)?;
    if first.as_deref().is_some_and(is_capture) {
        return inspect_capture(&name, first, &mut blocks, output);
    }
    inspect_flv(&name, first, &mut blocks, output)
}

/// A file, a block at a time.
struct Blocks {
    file: File,
    read_len: u64,
    progress: ProgressBar,
}

impl Blocks {
    fn new(file: File, progress: ProgressBar) -> Self {
        Self { file, read_len: 0, progress }
    }

    /// `None` at the end of the file.
    fn next(&mut self) -> io::Result<Option<Bytes>> {
        let mut block = BytesMut::zeroed(BLOCK_LEN);
        let len = loop {
            match self.file.read(&mut block) {
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                read => break read?,
            }
        };
        self.read_len += len as u64;
        self.progress.set_position(self.read_len);
        if len == 0 {
            self.progress.finish_and_clear();
            return Ok(None);
        }
        Ok(Some(block.freeze().slice(..len)))
    }
}

/// Shown where somebody waits for it: on a terminal, for files that take a while.
fn progress(len: u64, arguments: &Arguments) -> ProgressBar {
    const LONG: u64 = 64 << 20;
    if arguments.tags || len < LONG || !io::stderr().is_terminal() {
        return ProgressBar::hidden();
    }
    let style = ProgressStyle::with_template("{bar:40} {bytes} of {total_bytes}, {eta} left");
    ProgressBar::new(len).with_style(style.unwrap_or_else(|_| ProgressStyle::default_bar()))
}

fn inspect_flv(
    name: &str,
    first: Option<Bytes>,
    blocks: &mut Blocks,
    output: &mut Output<'_>,
) -> anyhow::Result<Source> {
    let mut scanner = file_scanner(output.arguments);
    let start = first.clone().unwrap_or_default();
    let mut block = first;
    while let Some(bytes) = block {
        scanner.push(bytes);
        take_all(&mut scanner, output)?;
        // What has no tag in its first block is something else, however long it is.
        anyhow::ensure!(!scanner.is_lost(), not_flv(name, &start));
        block = blocks.next().with_context(|| format!("cannot read {name}"))?;
    }
    finish(&mut scanner, output)?;
    let is_flv = scanner.header().is_some() || start.is_empty() || start.starts_with(b"FLV");
    anyhow::ensure!(is_flv || output.inspector.report().tags.total > 0, not_flv(name, &start));
    let header = scanner.header();
    Ok(Source {
        name: name.to_owned(),
        container: "flv",
        bytes: blocks.read_len,
        claims_audio: header.map(|header| header.has_audio),
        claims_video: header.map(|header| header.has_video),
        connection: None,
        live: None,
    })
}

fn file_scanner(arguments: &Arguments) -> FileScanner {
    if arguments.lenient { FileScanner::lenient() } else { FileScanner::strict() }
}

fn take_all(scanner: &mut FileScanner, output: &mut Output<'_>) -> io::Result<()> {
    while let Some(event) = scanner.poll_event() {
        output.take(event)?;
    }
    Ok(())
}

fn finish(scanner: &mut FileScanner, output: &mut Output<'_>) -> io::Result<()> {
    scanner.finish();
    take_all(scanner, output)?;
    note_wrong_sizes(scanner, output);
    Ok(())
}

fn note_wrong_sizes(scanner: &FileScanner, output: &mut Output<'_>) {
    let wrong = scanner.wrong_previous_tag_sizes();
    if wrong > 0 {
        let are = if wrong == 1 { "field is" } else { "fields are" };
        let text = format!("{wrong} PreviousTagSize {are} wrong");
        output.inspector.add_oddity(OddityKind::WrongPreviousTagSizes, text);
    }
}

fn not_flv(name: &str, start: &[u8]) -> String {
    let start = &start[..start.len().min(8)];
    format!(
        "{name} is neither FLV nor an RTMP capture: it begins with \"{}\"",
        start.escape_ascii()
    )
}

fn inspect_capture(
    name: &str,
    first: Option<Bytes>,
    blocks: &mut Blocks,
    output: &mut Output<'_>,
) -> anyhow::Result<Source> {
    let mut scanner = CaptureScanner::new();
    let mut block = first;
    while let Some(bytes) = block {
        scanner.push(&bytes)?;
        while let Some(event) = scanner.poll_event() {
            output.take(event)?;
        }
        block = blocks.next().with_context(|| format!("cannot read {name}"))?;
    }
    scanner.finish();
    while let Some(event) = scanner.poll_event() {
        output.take(event)?;
    }
    let unfinished = scanner.unfinished_bytes();
    if unfinished > 0 {
        let text = format!("the last message is not whole: {unfinished} bytes of it came");
        output.inspector.add_oddity(OddityKind::UnfinishedMessage, text);
    }
    Ok(Source {
        name: name.to_owned(),
        container: "rtmpcap",
        bytes: blocks.read_len,
        claims_audio: None,
        claims_video: None,
        connection: Some(scanner.report()),
        live: None,
    })
}
