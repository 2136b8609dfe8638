//! `forebay recover`: completes recordings that a crash left behind, and checks complete ones.

use std::io;
use std::path::{Path, PathBuf};
use std::process::ExitCode;

use anyhow::Context as _;
use forebay::archive::Checked;
use forebay::shell::disk::{Disk as _, RealDisk};
use forebay::shell::recover::{Action, Recovered, recordings, recover};
use serde::Serialize;

/// Complete recordings that a crash or a loss of power left behind.
///
/// The server does this for its own directory at every start; this is for a directory that was
/// copied, for looking first, and for FLV files of other programs.
#[derive(clap::Args)]
#[command(after_long_help = EXPLANATION)]
pub(crate) struct Arguments {
    /// A recording, or a directory: all that is not complete (.flv.part) in it and below it.
    #[arg(value_name = "FILE|DIR", required = true)]
    paths: Vec<PathBuf>,
    /// Says what would be done, and changes nothing.
    #[arg(long)]
    dry_run: bool,
    /// In directories, looks at complete recordings (.flv) too: their checksums are verified.
    #[arg(long)]
    all: bool,
    /// Prints a JSON object on each line instead of text.
    #[arg(long)]
    json: bool,
}

const EXPLANATION: &str = "\
What is done to a file:
  1. Every tag is checked, and in recordings of forebay a checksum over all of them, because a loss
     of power leaves holes in the middle of a file. The longest sound beginning is kept.
  2. What is behind it is cut off. It was never reported as durable.
  3. Duration, file size and the index of keyframes are written into the room that forebay leaves
     for them at the start of a file. A file of another program has no such room and keeps its own.
  4. NAME.flv.part becomes NAME.flv.

It may be interrupted at any step and run again, and a second run finds nothing to do. A file that a
server is writing is refused. A .part file in which nothing was ever durable is removed.

What is printed for each file:
  recovered     it was completed; how much was kept and what was cut off
  sound         there was nothing to do
  removed       it was made, and nothing of it was ever durable
  left alone    nothing in it is sound, or it is no FLV: look at it with `forebay inspect`
  failed        the system did not let us
and behind it, if there is anything wrong: `differs` where some byte is not what was written, `cut`
where a part is missing that had been written, and where the framing breaks.

Exit status: 0 if every file is sound now, 1 if something that had been written is lost or differs,
2 if there was something that could not be looked at: a wrong option, no such file, one in use.

Examples:
  forebay recover --dry-run /srv/recordings
  forebay recover /srv/recordings/live/obs-20260131T200000.000Z.flv.part
  forebay recover --all --json /srv/recordings | jq 'select(.damaged)'";

/// One line of output.
#[derive(Serialize)]
struct Line {
    file: String,
    action: &'static str,
    #[serde(skip_serializing_if = "Option::is_none")]
    renamed: Option<String>,
    size: u64,
    kept: u64,
    tags: u64,
    duration_ms: u32,
    keyframes: usize,
    checked: &'static str,
    /// Something that had been written is lost or differs.
    damaged: bool,
    #[serde(skip_serializing_if = "Option::is_none")]
    framing: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    error: Option<String>,
}

pub(crate) async fn run(arguments: Arguments) -> anyhow::Result<ExitCode> {
    let disk = RealDisk::default();
    let mut worst = 0;
    for path in &arguments.paths {
        let files = match files(&disk, path, arguments.all).await {
            Ok(files) => files,
            Err(error) => {
                eprintln!("forebay: {error:#}");
                worst = 2;
                continue;
            }
        };
        if files.is_empty() && !arguments.json {
            super::print(&format!("{}: nothing to recover", path.display()));
        }
        for file in files {
            let done = recover(&disk, &file, arguments.dry_run).await;
            worst = worst.max(code(&done));
            let line = line(&file, &done);
            match arguments.json {
                true => super::print(&serde_json::to_string(&line)?),
                false => super::print(&text(&line, arguments.dry_run)),
            }
        }
    }
    Ok(ExitCode::from(worst))
}

async fn files(disk: &RealDisk, path: &Path, all: bool) -> anyhow::Result<Vec<PathBuf>> {
    match disk.list(path).await {
        Ok(_) => Ok(recordings(disk, path, all).await?),
        Err(error) if error.kind() == io::ErrorKind::NotADirectory => Ok(vec![path.to_owned()]),
        Err(error) => Err(error).context("nothing to look at"),
    }
}

fn code(done: &io::Result<Recovered>) -> u8 {
    match done {
        Ok(done) if done.is_damaged() || done.action == Action::LeftAlone => 1,
        Ok(_) => 0,
        Err(_) => 2,
    }
}

fn line(file: &Path, done: &io::Result<Recovered>) -> Line {
    let mut line = Line {
        file: file.display().to_string(),
        action: "failed",
        renamed: None,
        size: 0,
        kept: 0,
        tags: 0,
        duration_ms: 0,
        keyframes: 0,
        checked: "not",
        damaged: false,
        framing: None,
        error: None,
    };
    match done {
        Ok(done) => {
            let sound = &done.sound;
            line.action = match done.action {
                Action::Nothing => "sound",
                Action::Recovered => "recovered",
                Action::Removed => "removed",
                Action::LeftAlone => "left alone",
            };
            line.renamed = done.renamed.as_ref().map(|renamed| renamed.display().to_string());
            (line.size, line.kept) = (sound.size, sound.keep);
            (line.tags, line.duration_ms) = (sound.tags, sound.last_ms);
            line.keyframes = sound.keyframes;
            line.checked = match sound.checked {
                Checked::Sound => "sound",
                Checked::NeverSynced => "never durable",
                Checked::Cut => "cut",
                Checked::Differs => "differs",
                Checked::Without => "framing only",
            };
            line.damaged = done.is_damaged();
            line.framing = sound.framing.map(|error| error.to_string());
        }
        Err(error) => line.error = Some(error.to_string()),
    }
    line
}

fn text(line: &Line, dry_run: bool) -> String {
    let Line { file, action, size, kept, tags, .. } = line;
    let would = if dry_run { "would be " } else { "" };
    if let Some(error) = &line.error {
        return format!("{file}: failed: {error}");
    }
    let mut out = match *action {
        "sound" => format!("{file}: sound, {tags} tags, {}", duration(line.duration_ms)),
        "removed" => format!("{file}: {would}removed: nothing in it was ever durable"),
        "left alone" => format!("{file}: left alone, {size} bytes"),
        _ => {
            let cut = match size - kept {
                0 => "nothing to cut off".to_owned(),
                cut => format!("{cut} bytes cut off"),
            };
            let duration = duration(line.duration_ms);
            format!("{file}: {would}recovered: {tags} tags, {duration}, {kept} bytes kept, {cut}")
        }
    };
    if line.damaged {
        out.push_str(match line.checked {
            "differs" => "; differs from what was written",
            "cut" => "; cut: a part is missing that had been written",
            _ => "; damaged",
        });
    }
    if let Some(framing) = line.framing.as_ref().filter(|_| line.action != "removed") {
        out.push_str(&format!("; {framing}"));
    }
    out
}

fn duration(ms: u32) -> String {
    let seconds = ms / 1000;
    format!("{}:{:02}:{:02}.{:03}", seconds / 3600, seconds / 60 % 60, seconds % 60, ms % 1000)
}
