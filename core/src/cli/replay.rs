//! `forebay replay`: a recording, published as an encoder would.

mod acknowledged;
mod capture;
mod pace;
mod recording;
mod report;

use std::hash::{BuildHasher, Hasher};
use std::io::Read;
use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::time::{Duration, Instant};

use anyhow::{Context as _, bail};
use forebay::blocks::BlockLimits;
use forebay::inspect::{SIGNATURE, is_capture};
use forebay::rtmp::Url;
use forebay::rtmp::client::{ClientOptions, Role};
use forebay::shell::client::{Client, Event, dial};
use forebay::shell::net::{Stream, TokioNet};
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWriteExt};
use tokio::time::{Instant as Clock, sleep_until};

use self::capture::{Capture, Listener};
pub(crate) use self::pace::Pace;
use self::pace::Pacer;
use self::recording::Recording;
use self::report::Report;
use super::print;

/// How long a server may take to answer a TCP connection.
const CONNECT_TIMEOUT: Duration = Duration::from_secs(10);

/// How long a server is listened to after the last byte was sent.
const LINGER: Duration = Duration::from_secs(2);

/// What is sent in one write at most, as far as whole tags go.
const WRITE_LEN_MAX: usize = 64 << 10;

/// Between two attempts to connect: doubles from the first to the last, give or take a half.
const BACK_OFF_MIN: Duration = Duration::from_millis(500);
const BACK_OFF_MAX: Duration = Duration::from_secs(15);

/// Publish a recording as an encoder would.
///
/// FILE is an FLV file, or a `.rtmpcap` capture of an encoder's connection. The tags of an FLV file
/// are published to URL by a client of our own, at the pace of their timestamps. A capture is sent
/// byte for byte, in the recorded pieces and with the recorded pauses, to the host of URL; app and
/// stream name are in the recorded bytes, so those of URL do not matter.
#[derive(clap::Args)]
#[command(after_long_help = EXAMPLES)]
pub(crate) struct Arguments {
    /// An FLV file or a `.rtmpcap` capture. Which one, its first bytes tell.
    file: PathBuf,
    /// rtmp://HOST[:PORT]/APP/NAME[?QUERY]; the port is 1935 unless it is said. A capture keeps the
    /// app and the name that it was recorded with: they are in its bytes.
    #[arg(value_parser = parse_url)]
    url: Url,
    /// `realtime`, a factor such as `x4` or `x0.5`, or `max`: as fast as the server takes it.
    ///
    /// In real time no tag is sent before its time, and what a stalled connection held up is caught
    /// up at once, up to 10 seconds of it. A jump of the timestamps of more than 10 seconds is a
    /// cut, and not waited for.
    #[arg(long, default_value = "realtime", value_name = "PACE")]
    pace: Pace,
    /// Over and over, until interrupted.
    ///
    /// The timestamps of an FLV file run on: every pass comes later than the one before by the
    /// duration of the media plus one frame. A capture is sent again on a new connection.
    #[arg(long = "loop")]
    is_looped: bool,
    /// Stop when so many seconds of the recording were sent, whatever the pace.
    #[arg(long, value_name = "SECONDS", value_parser = parse_seconds)]
    seconds: Option<Duration>,
    /// Ask the server to say at least twice in so many bytes how many it has received, and measure
    /// how long it takes: from when they were due to be sent to when that is heard.
    ///
    /// Only for FLV files. It is the Window Acknowledgement Size of RTMP 5.4.4; encoders use some
    /// megabytes.
    #[arg(long, value_name = "BYTES", value_parser = clap::value_parser!(u32).range(1024..))]
    window: Option<u32>,
    /// Print the summary as JSON, for programs.
    #[arg(long)]
    json: bool,
}

const EXAMPLES: &str = "\
The last line says what was sent: tags, passes, bytes on the wire (mebibytes), seconds and Mbit/s.
The exit code is 0 if everything was sent or the command was interrupted, 1 if the file is damaged
or the server is lost or refuses, 2 if the command line is wrong.

Examples:
  An encoder that never stops:
      forebay replay --loop testdata/flv/obs-720p30-cbr2500.flv rtmp://127.0.0.1/live/obs
  Ten minutes of stream as fast as the server takes them:
      forebay replay --loop --seconds 600 --pace max recording.flv rtmp://127.0.0.1/live/fast
  What OBS sent, byte for byte, to find out what a server makes of it:
      forebay replay testdata/rtmp/obs-publish-720p30.rtmpcap rtmp://127.0.0.1/live/any";

fn parse_url(text: &str) -> Result<Url, String> {
    let url: Url = text.parse().map_err(|error: forebay::rtmp::UrlError| error.to_string())?;
    if url.is_tls() {
        return Err("rtmps is not supported; rtmp is".to_owned());
    }
    Ok(url)
}

pub(super) fn parse_seconds(text: &str) -> Result<Duration, &'static str> {
    let seconds = text.parse().ok().filter(|&seconds: &f64| seconds > 0.0);
    seconds
        .and_then(|seconds| Duration::try_from_secs_f64(seconds).ok())
        .ok_or("expected a number of seconds above 0, as in 10 or 0.5")
}

pub(crate) async fn run(arguments: Arguments) -> anyhow::Result<ExitCode> {
    check_file(&arguments.file)?;
    let Arguments { file, url, pace, is_looped, seconds, window, json } = arguments;
    if window.is_some() && matches!(Kind::of(&file)?, Kind::Capture) {
        bail!("--window is for FLV files: a capture is sent as it was recorded");
    }
    let replay = Replay { file, url, pace, is_looped, seconds, window };
    let mut report = Report::new(&replay.file, &replay.url);
    let done = replay.run(&mut report).await;
    report.finish();
    if json {
        print(&report.to_json(done.as_ref().err()));
    } else if report.has_started() {
        print(&report.summary());
    }
    done.map(|()| ExitCode::SUCCESS)
}

/// Whether the recording can be replayed, before anything else is begun. The stream (`APP/NAME`)
/// that it publishes, if it is a capture: that cannot be chosen.
pub(crate) fn check_file(path: &Path) -> anyhow::Result<Option<String>> {
    match Kind::of(path)? {
        Kind::Capture => capture::stream_of(path, now()).map(Some),
        Kind::Flv => {
            let mut recording = Recording::open(path, false)?;
            while recording.frames() == 0 {
                if recording.next()?.is_none() {
                    bail!("{} has neither audio nor video in it", path.display());
                }
            }
            Ok(None)
        }
    }
}

/// Publishes in a loop; connects again when the connection is lost.
pub(crate) async fn publish_for_ever(file: PathBuf, url: Url) {
    let (pace, is_looped, seconds, window) = (Pace::Times(1.0), true, None, None);
    let replay = Replay { file, url, pace, is_looped, seconds, window };
    let mut back_off = BACK_OFF_MIN;
    loop {
        let mut report = Report::silent(&replay.file, &replay.url);
        let Err(error) = replay.run(&mut report).await else { return };
        if report.has_started() {
            back_off = BACK_OFF_MIN;
        }
        let wait = back_off.mul_f64(0.5 + (seed() >> 11) as f64 / (1_u64 << 53) as f64);
        tracing::warn!("replay: {error:#}; trying again in {:.1} s", wait.as_secs_f64());
        tokio::time::sleep(wait).await;
        back_off = (back_off * 2).min(BACK_OFF_MAX);
    }
}

enum Kind {
    Flv,
    Capture,
}

impl Kind {
    fn of(path: &Path) -> anyhow::Result<Self> {
        let name = path.display();
        #[expect(clippy::disallowed_types, reason = "a command reads its own files")]
        let file = std::fs::File::open(path).with_context(|| format!("cannot read {name}"))?;
        let mut start = Vec::new();
        let read = file.take(SIGNATURE.len() as u64).read_to_end(&mut start);
        read.with_context(|| format!("cannot read {name}"))?;
        if start.starts_with(b"FLV") {
            Ok(Self::Flv)
        } else if is_capture(&start) {
            Ok(Self::Capture)
        } else {
            let start = start.escape_ascii();
            bail!(
                "{name} is neither an FLV file nor an .rtmpcap capture: it begins with \"{start}\""
            )
        }
    }
}

fn now() -> Instant {
    Clock::now().into_std()
}

/// Differs from call to call, which is all that is asked of it.
pub(super) fn seed() -> u64 {
    std::hash::RandomState::new().build_hasher().finish()
}

struct Replay {
    file: PathBuf,
    url: Url,
    pace: Pace,
    is_looped: bool,
    seconds: Option<Duration>,
    window: Option<u32>,
}

impl Replay {
    /// Returns when everything was sent, or on an interrupt.
    async fn run(&self, report: &mut Report) -> anyhow::Result<()> {
        match Kind::of(&self.file)? {
            Kind::Flv => self.publish(report).await,
            Kind::Capture => loop {
                let is_over = self.repeat(report).await?;
                if is_over || !self.is_looped {
                    return Ok(());
                }
                report.count_pass();
            },
        }
    }

    async fn publish(&self, report: &mut Report) -> anyhow::Result<()> {
        let mut recording = Recording::open(&self.file, self.is_looped)?;
        let stream = dial(&TokioNet, &self.url, CONNECT_TIMEOUT).await?;
        let (mut options, blocks) = (ClientOptions::default(), BlockLimits::default());
        options.window_ack_size = self.window.unwrap_or(options.window_ack_size);
        let mut client = Client::new(stream, Role::Publish, &self.url, seed(), options, blocks);
        client.start().await?;
        report.start();
        let sent = tokio::select! {
            biased;
            interrupted = tokio::signal::ctrl_c() => interrupted.context("no signals"),
            sent = self.send_tags(&mut client, &mut recording, report) => sent,
        };
        // What was sent before the damage of a file ends as properly as a whole one.
        client.finish().await;
        sent
    }

    async fn send_tags<S: Stream>(
        &self,
        client: &mut Client<S>,
        recording: &mut Recording,
        report: &mut Report,
    ) -> anyhow::Result<()> {
        let mut pacer = Pacer::new(self.pace);
        let mut gathered_len = 0;
        let end_ms = self.seconds.map(|seconds| seconds.as_millis() as i64);
        let ended = loop {
            let next = match recording.next() {
                Ok(Some(next)) => next,
                Ok(None) => break Ok(()),
                Err(error) => break Err(error),
            };
            if end_ms.is_some_and(|end_ms| recording.played_ms() >= end_ms) {
                break Ok(());
            }
            if let Some(due) = pacer.due(now(), next.at_ms) {
                flush(client, report).await?;
                gathered_len = 0;
                report.see(client.sent_bytes(), recording.played_ms(), recording.passes());
                wait(client, due).await?;
            }
            client.send(&next.tag);
            report.count(next.tag.kind);
            gathered_len += next.tag.payload.len();
            if gathered_len >= WRITE_LEN_MAX {
                flush(client, report).await?;
                gathered_len = 0;
                report.see(client.sent_bytes(), recording.played_ms(), recording.passes());
            }
        };
        flush(client, report).await?;
        report.see(client.sent_bytes(), recording.played_ms(), recording.passes());
        ended
    }

    /// Sends a capture once. Whether that is all.
    async fn repeat(&self, report: &mut Report) -> anyhow::Result<bool> {
        let stream = dial(&TokioNet, &self.url, CONNECT_TIMEOUT).await?;
        stream.set_nodelay(true).context("the socket")?;
        report.start();
        let (mut from_server, to_server) = tokio::io::split(stream);
        let peer = &self.url;
        tokio::select! {
            biased;
            interrupted = tokio::signal::ctrl_c() => {
                interrupted.context("no signals").map(|()| true)
            }
            // Sent to its end even when the server has hung up: the capture may end there, too.
            sent = self.send_records(to_server, report) => {
                drop(tokio::time::timeout(LINGER, discard(&mut from_server)).await);
                sent
            }
            closed = discard(&mut from_server) => {
                closed.with_context(|| format!("{peer}: the connection was lost"))?;
                bail!("{peer}: the server closed the connection after {} bytes", report.bytes())
            }
        }
    }

    async fn send_records(
        &self,
        mut to_server: impl tokio::io::AsyncWrite + Unpin,
        report: &mut Report,
    ) -> anyhow::Result<bool> {
        let mut capture = Capture::open(&self.file)?;
        let mut listener = Listener::new(now());
        let mut pacer = Pacer::new(self.pace);
        let before = report.so_far();
        let mut sent_bytes = 0;
        while let Some(record) = capture.next()? {
            let played = before.played + record.at;
            if self.seconds.is_some_and(|seconds| played >= seconds) {
                to_server.shutdown().await.ok();
                return Ok(true);
            }
            if let Some(due) = pacer.due(now(), record.at.as_millis() as i64) {
                sleep_until(due.into()).await;
            }
            let written = match record.bytes.is_empty() {
                true => to_server.shutdown().await,
                false => to_server.write_all(&record.bytes).await,
            };
            written.with_context(|| format!("{}: the connection was lost", self.url))?;
            sent_bytes += record.bytes.len() as u64;
            listener.hear(now(), record.bytes);
            report.set_tags(before.tags + listener.tags);
            report.see_record(before.bytes + sent_bytes, played);
        }
        // Who was killed while it recorded did not close anything.
        to_server.shutdown().await.ok();
        Ok(false)
    }
}

/// Waits until the socket has taken everything, and looks what the server has received by then.
async fn flush<S: Stream>(client: &mut Client<S>, report: &mut Report) -> anyhow::Result<()> {
    // What waits for the socket is on its way already.
    let due = now();
    client.flush().await?;
    report.acknowledged.sent(client.sent_bytes(), due);
    if let Some(heard) = client.acknowledgement() {
        report.acknowledged.hear(heard);
    }
    Ok(())
}

/// Until it is time. Answers pings, and notices when the server is lost.
async fn wait<S: Stream>(client: &mut Client<S>, due: Instant) -> anyhow::Result<()> {
    let sleep = sleep_until(due.into());
    tokio::pin!(sleep);
    loop {
        tokio::select! {
            biased;
            event = client.event() => {
                if let Event::Closed = event? {
                    bail!("{}: the server closed the connection", client.peer());
                }
            }
            () = &mut sleep => return Ok(()),
        }
    }
}

/// Reads until the other side hangs up.
async fn discard(from_server: &mut (impl AsyncRead + Unpin)) -> std::io::Result<()> {
    let mut buffer = vec![0; 16 << 10];
    while from_server.read(&mut buffer).await? > 0 {}
    Ok(())
}
