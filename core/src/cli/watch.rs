//! `forebay watch`: a stream, played as many players would, and judged.

mod judge;
mod late;
mod report;
mod target;
mod throttle;
mod viewer;

use std::process::ExitCode;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use anyhow::{Context as _, bail};
use indicatif::{HumanBytes, ProgressBar, ProgressStyle};
use tokio::task::JoinHandle;
use tokio::time::{Instant, sleep};

use self::report::Report;
use self::target::Target;
use self::viewer::{Order, Seen, Totals};
use super::print;
use super::replay::parse_seconds;

/// Files that the process has open besides a socket per viewer.
const FILES_BESIDE: u64 = 64;

/// The line on a terminal changes this often.
const REDRAW: Duration = Duration::from_millis(250);

/// Play a stream as many players would, and judge what they get.
///
/// Every viewer has a connection of its own. A stream is decodable if sequence headers come before
/// the media of their codec, the first picture is a keyframe, no track steps back in time, and
/// nothing is missing inside a group of pictures, as far as the timestamps show it. Where pictures
/// are missing up to a keyframe the viewer lagged: it was too slow, or the encoder left them out.
#[derive(clap::Args)]
#[command(after_long_help = EXAMPLES)]
pub(crate) struct Arguments {
    /// rtmp://HOST[:PORT]/APP/NAME[?QUERY], or http://HOST[:PORT]/APP/NAME.flv[?QUERY].
    url: Target,
    /// How many viewers.
    #[arg(short, long, default_value_t = 1, value_name = "N",
        value_parser = clap::value_parser!(u32).range(1..=100_000))]
    n: u32,
    /// How long each viewer watches. Without it: until the stream ends, or an interrupt.
    #[arg(long, value_name = "SECONDS", value_parser = parse_seconds)]
    seconds: Option<Duration>,
    /// The viewers join one after the other, spread over so many seconds, instead of all at once.
    #[arg(long, value_name = "SECONDS", value_parser = parse_seconds)]
    spread: Option<Duration>,
    /// How many of the viewers, the last ones, are slow.
    #[arg(long, default_value_t = 0, value_name = "K")]
    slow: u32,
    /// What a slow viewer reads, in bytes per second. Its socket holds a few KiB, so that the
    /// server feels it.
    #[arg(long, default_value_t = 50_000, value_name = "BYTES",
        value_parser = clap::value_parser!(u32).range(100..))]
    slow_rate: u32,
    /// Where a viewer starts: `gop` at once with what the server has cached, `live` at the next
    /// keyframe, `auto` as the server thinks better. Sent as `start=` in the URL's query, which
    /// servers other than forebay ignore.
    #[arg(long, value_name = "WHERE", value_parser = ["gop", "live", "auto"])]
    start: Option<String>,
    /// How long the first byte of the stream may take.
    #[arg(long, default_value = "10", value_name = "SECONDS", value_parser = parse_seconds)]
    timeout: Duration,
    /// Print one JSON document instead of tables.
    #[arg(long)]
    json: bool,
}

const EXAMPLES: &str = "\
Times are milliseconds from when a viewer begins to connect. `first byte` is the first of the
stream: of a tag in RTMP, of the response's body in HTTP. `late` is how much later than the earliest
the tags of all viewers came, by their timestamps: also those of the past that a joiner is given at
once. `lost ms` is how much of the video the lags
left out. The exit code is 0 if every viewer got a decodable stream, 1 if not, 2 if the command line
is wrong.

Examples:
  One player, for ten seconds:
      forebay watch rtmp://127.0.0.1/live/obs --seconds 10
  How a server bears a thousand players that join within ten seconds, a hundred of them slow:
      forebay watch http://127.0.0.1:8080/live/obs.flv -n 1000 --spread 10 --slow 100 --seconds 60
  How long the picture takes, for a program:
      forebay watch rtmp://127.0.0.1/live/obs -n 50 --spread 10 --seconds 3 --json";

pub(crate) async fn run(arguments: Arguments) -> anyhow::Result<ExitCode> {
    let Arguments { url, n, seconds, spread, slow, slow_rate, start, timeout, json } = arguments;
    if slow > n {
        bail!("--slow {slow} is more than the {n} viewers");
    }
    raise_file_limit(n.into())?;
    let target = match start {
        Some(start) => url.with_start(&start).map_err(anyhow::Error::msg)?,
        None => url,
    };
    let begun = Instant::now();
    let totals = Totals::default();
    let order = Arc::new(Order { target, timeout, seconds, begun, totals });
    let (stop, stopped) = tokio::sync::watch::channel(false);
    let viewers: Vec<_> = (0..n)
        .map(|index| {
            let joins_after = spread.unwrap_or_default().mul_f64(f64::from(index) / f64::from(n));
            let rate = (index >= n - slow).then_some(slow_rate);
            let (order, mut stopped) = (order.clone(), stopped.clone());
            tokio::spawn(async move {
                let is_stopped = tokio::select! {
                    biased;
                    _said = stopped.wait_for(|&stop| stop) => true,
                    () = sleep(joins_after) => false,
                };
                match is_stopped {
                    true => None,
                    false => Some(viewer::watch(order, rate, stopped).await),
                }
            })
        })
        .collect();

    let line = Line::new(&order, n);
    let mut joined = Box::pin(join(viewers));
    let viewers = tokio::select! {
        biased;
        interrupted = tokio::signal::ctrl_c() => {
            interrupted.context("no signals")?;
            let _nobody_listens = stop.send(true);
            joined.await
        }
        viewers = &mut joined => viewers,
        never = line.redraw(&order) => match never {},
    }?;
    line.bar.finish_and_clear();

    let report = Report {
        target: order.target.to_string(),
        took: begun.elapsed(),
        viewers: &viewers,
        late: &order.totals.late,
    };
    if json {
        print(&report.to_json());
    } else if viewers.iter().any(|seen| seen.first_byte_after.is_some()) {
        print(&report.to_text());
    }
    match (report.failed(), report.problems().into_iter().next()) {
        (0, _) | (_, None) => Ok(ExitCode::SUCCESS),
        (1, Some((problem, _))) if viewers.len() == 1 => bail!("{problem}"),
        (failed, Some((problem, count))) => bail!(
            "{failed} of {} viewers did not get a decodable stream; {count} of them: {problem}",
            viewers.len(),
        ),
    }
}

/// What those saw that had begun.
async fn join(viewers: Vec<JoinHandle<Option<Seen>>>) -> anyhow::Result<Vec<Seen>> {
    let mut seen = Vec::with_capacity(viewers.len());
    for viewer in viewers {
        seen.extend(viewer.await.context("a viewer failed")?);
    }
    Ok(seen)
}

fn raise_file_limit(viewers: u64) -> anyhow::Result<()> {
    let wanted = viewers + FILES_BESIDE;
    let limit = rlimit::increase_nofile_limit(wanted).context("the limit of open files")?;
    if limit < wanted {
        bail!(
            "{viewers} viewers need {wanted} open files, the limit is {limit}: `ulimit -Hn`, or fewer viewers"
        );
    }
    Ok(())
}

/// How it goes, on a terminal.
struct Line {
    bar: ProgressBar,
    n: u32,
}

impl Line {
    fn new(order: &Order, n: u32) -> Self {
        let bar = ProgressBar::new_spinner();
        // The template is a constant.
        if let Ok(style) = ProgressStyle::with_template("{spinner} {msg}") {
            bar.set_style(style);
        }
        bar.set_message(format!("connecting to {}", order.target));
        bar.tick();
        Self { bar, n }
    }

    async fn redraw(&self, order: &Order) -> std::convert::Infallible {
        let totals = &order.totals;
        let read = |counter: &AtomicU64| counter.load(Ordering::Relaxed);
        let (mut bytes, mut at) = (0, Instant::now());
        loop {
            sleep(REDRAW).await;
            if self.bar.is_hidden() {
                continue;
            }
            let bytes_before = std::mem::replace(&mut bytes, read(&totals.bytes));
            let took = std::mem::replace(&mut at, Instant::now()).elapsed().as_secs_f64();
            self.bar.set_message(format!(
                "{} of {} play, {} see a picture, {} failed; {} tags, {}, {:.2} Mbit/s, {} lags",
                read(&totals.playing),
                self.n,
                read(&totals.pictures),
                read(&totals.failed),
                read(&totals.tags),
                HumanBytes(bytes),
                (bytes - bytes_before) as f64 * 8.0 / 1e6 / took.max(0.001),
                read(&totals.lags),
            ));
            self.bar.tick();
        }
    }
}
