//! The command line: serve, replay, watch, inspect, recover.

mod cli {
    //! One file per command.
    pub(crate) mod inspect;
    mod percentiles;
    pub(crate) mod recover;
    pub(crate) mod replay;
    pub(crate) mod serve;
    pub(crate) mod watch;

    /// Prints a result. Whoever reads it may stop in the middle, as `head` does.
    pub(crate) fn print(text: &str) {
        use std::io::Write as _;
        drop(writeln!(std::io::stdout(), "{text}"));
    }
}

use std::io::IsTerminal as _;
use std::process::ExitCode;

use clap::{Parser, Subcommand};

/// A live-streaming server and the tools around it.
///
/// An encoder (OBS, ffmpeg, GStreamer) publishes by RTMP; players join by RTMP and HTTP-FLV and
/// see a picture at once; a slow player loses its own tags and nobody else's.
#[derive(Parser)]
#[command(version, max_term_width = 100, after_long_help = EXAMPLES)]
struct Arguments {
    /// What is logged, to standard error: `error`, `warn`, `info`, `debug`, `trace`, or by module
    /// as in `warn,forebay::shell=debug`.
    #[arg(long, global = true, env = "FOREBAY_LOG", default_value = "info", value_name = "FILTER")]
    log: String,
    #[command(subcommand)]
    command: Command,
}

const EXAMPLES: &str = "\
Examples:
  A server, and a recorded OBS stream that is published into it for ever:
      forebay serve --replay testdata/flv/obs-720p30-cbr2500.flv
  In another terminal, watch it as twenty players do, of which two are slow:
      forebay watch rtmp://127.0.0.1:1935/live/obs -n 20 --slow 2 --slow-rate 50000 --seconds 20
  What is in a recording, or in a live stream, and what is wrong with it:
      forebay inspect testdata/flv/bad-garbage-between.flv
      forebay inspect http://127.0.0.1:8080/live/obs.flv";

#[derive(Subcommand)]
enum Command {
    /// Run the server.
    Serve(cli::serve::Arguments),
    /// Publish a recording as an encoder would.
    Replay(cli::replay::Arguments),
    /// Play a stream as many players would, and judge what they get.
    Watch(cli::watch::Arguments),
    Inspect(cli::inspect::Arguments),
    Recover(cli::recover::Arguments),
}

fn main() -> ExitCode {
    let arguments = Arguments::parse();
    let filter = tracing_subscriber::EnvFilter::try_new(&arguments.log);
    let filter = match filter {
        Ok(filter) => filter,
        Err(error) => return fail(2, &format!("--log {:?}: {error}", arguments.log)),
    };
    tracing_subscriber::fmt()
        .with_env_filter(filter)
        .with_writer(std::io::stderr)
        .with_ansi(std::io::stderr().is_terminal())
        .init();
    let runtime = match tokio::runtime::Builder::new_multi_thread().enable_all().build() {
        Ok(runtime) => runtime,
        Err(error) => return fail(1, &format!("cannot start: {error}")),
    };
    let done = runtime.block_on(async {
        match arguments.command {
            Command::Serve(arguments) => cli::serve::run(arguments).await,
            Command::Replay(arguments) => cli::replay::run(arguments).await,
            Command::Watch(arguments) => cli::watch::run(arguments).await,
            Command::Inspect(arguments) => cli::inspect::run(arguments).await,
            Command::Recover(arguments) => cli::recover::run(arguments).await,
        }
    });
    // Name look-ups may hang for long after an interrupted command.
    runtime.shutdown_background();
    match done {
        Ok(code) => code,
        Err(error) => fail(usage_error(&error), &format!("{error:#}")),
    }
}

/// 2 for what the caller wrote wrongly, as clap does; 1 for what went wrong.
fn usage_error(error: &anyhow::Error) -> u8 {
    let is_usage =
        error.is::<forebay::config::ConfigError>() || error.is::<forebay::rtmp::UrlError>();
    if is_usage { 2 } else { 1 }
}

fn fail(code: u8, message: &str) -> ExitCode {
    eprintln!("forebay: {message}");
    ExitCode::from(code)
}
