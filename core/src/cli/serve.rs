//! `forebay serve`: the server, with a configuration, until it is told to stop.

use std::hash::{BuildHasher, Hasher};
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::time::{Duration, SystemTime};

use anyhow::{Context as _, bail};
use forebay::config::{Builder, Config, ConfigError, Outside};
use forebay::rtmp::{Url, UrlError};
use forebay::shell::disk::RealDisk;
use forebay::shell::net::TokioNet;
use forebay::shell::store::Store;
use forebay::shell::{Origin, Server};
use tokio::signal::unix::{SignalKind, signal};

use super::replay;

/// The server. Without options it listens on loopback: RTMP on port 1935, HTTP on port 8080.
#[derive(clap::Args)]
pub(crate) struct Arguments {
    /// A configuration file. Every key has a default; see --print-config.
    #[arg(long, env = "FOREBAY_CONFIG", value_name = "FILE")]
    config: Option<PathBuf>,
    /// Where encoders publish and RTMP players play: an address and a port, 0 for any free one.
    #[arg(long, value_name = "ADDRESS")]
    rtmp: Option<String>,
    /// Where HTTP-FLV, the API and the metrics are.
    #[arg(long, value_name = "ADDRESS")]
    http: Option<String>,
    /// Overrides one key of the configuration, as in `--set hub.coalesce_ms=0`. May be repeated.
    #[arg(long, value_name = "SECTION.KEY=VALUE")]
    set: Vec<String>,
    /// Prints the configuration that results, with a comment for every key, and exits.
    #[arg(long)]
    print_config: bool,
    /// Publishes this recording into the server by RTMP, over and over: an FLV file, with time
    /// running on, or a `.rtmpcap` capture of an encoder, byte for byte.
    #[arg(long, value_name = "FILE")]
    replay: Option<PathBuf>,
    /// The stream that --replay publishes, as APP/NAME: live/obs unless it is said. A capture
    /// publishes the stream that was recorded.
    #[arg(long, value_name = "APP/NAME", requires = "replay")]
    replay_as: Option<String>,
}

pub(crate) async fn run(arguments: Arguments) -> anyhow::Result<ExitCode> {
    let config = configure(&arguments)?;
    if arguments.print_config {
        print!("{}", config.text);
        return Ok(ExitCode::SUCCESS);
    }
    let replayed = match &arguments.replay {
        Some(file) => Some((file.clone(), replayed_stream(file, arguments.replay_as.as_deref())?)),
        None => None,
    };
    for line in config.changes().lines() {
        tracing::info!("configured: {line}");
    }
    raise_open_files(config.listen.connections_max);
    let store = match &config.store.url {
        Some(url) => Some(Store::open(url, &std::env::vars().collect())?),
        None => None,
    };
    // Any number that differs from run to run will do.
    let seed = std::hash::RandomState::new().build_hasher().finish();
    let server =
        Server::bind(TokioNet, RealDisk::default(), config, Origin { seed, utc: utc()? }).await?;
    let server = match store {
        Some(store) => server.with_store(store),
        None => server,
    };
    let (rtmp, http) = (server.rtmp_addr()?, server.http_addr()?);
    // Registered before anybody is told that the server runs.
    let (mut terminate, mut interrupt) =
        (signal(SignalKind::terminate())?, signal(SignalKind::interrupt())?);
    let stream = replayed.as_ref().map(|(_, stream)| stream.as_str());
    super::print(&invitation(rtmp, http, stream));

    let replaying = match replayed {
        Some((file, stream)) => {
            let url = stream_url(rtmp, &stream)?;
            Some(tokio::spawn(replay::publish_for_ever(file, url)))
        }
        None => None,
    };
    let stop = async {
        tokio::select! {
            biased;
            _ = terminate.recv() => {}
            _ = interrupt.recv() => {}
        }
        replaying.iter().for_each(|task| task.abort());
    };
    let _cut = server.run(stop).await;
    Ok(ExitCode::SUCCESS)
}

/// The time of day.
fn utc() -> anyhow::Result<Duration> {
    #[expect(clippy::disallowed_methods, reason = "read once, here; from then on it is counted")]
    let now = SystemTime::now();
    now.duration_since(SystemTime::UNIX_EPOCH).context("the system's clock is before 1970")
}

/// Files that the server has open besides its connections, with room.
const OTHER_FILES: u64 = 64;

/// Lets as many connections come as are configured: systems let a process open 1024 files unless it
/// asks for more.
fn raise_open_files(connections_max: usize) {
    let wanted = connections_max as u64 + OTHER_FILES;
    match rlimit::increase_nofile_limit(wanted) {
        // What is configured is a ceiling that most servers never see; who does is told of each
        // connection that cannot be accepted.
        Ok(limit) if limit < wanted => tracing::info!(
            "the system lets {limit} files be open, too few for listen.connections_max = {connections_max}"
        ),
        Ok(_) => {}
        Err(error) => tracing::warn!(%error, "cannot raise the limit of open files"),
    }
}

/// The stream that a recording is published as.
fn replayed_stream(file: &Path, wanted: Option<&str>) -> anyhow::Result<String> {
    let recorded = replay::check_file(file)?;
    let stream = match (recorded, wanted) {
        (None, wanted) => wanted.unwrap_or("live/obs").to_owned(),
        (Some(recorded), None) => recorded,
        (Some(recorded), Some(wanted)) if recorded == wanted => recorded,
        (Some(recorded), Some(_)) => {
            bail!("--replay-as: a capture is published as it was recorded, which is {recorded}")
        }
    };
    // Whether it can be a stream's name, before the server is there.
    stream_url(SocketAddr::from(([127, 0, 0, 1], 1935)), &stream)
        .with_context(|| format!("--replay-as {stream:?}"))?;
    Ok(stream)
}

/// Where the server itself is reached: one that listens everywhere does so on loopback.
fn stream_url(rtmp: SocketAddr, stream: &str) -> Result<Url, UrlError> {
    let host = match rtmp.ip() {
        IpAddr::V4(ip) if ip.is_unspecified() => IpAddr::V4(Ipv4Addr::LOCALHOST),
        IpAddr::V6(ip) if ip.is_unspecified() => IpAddr::V6(Ipv6Addr::LOCALHOST),
        ip => ip,
    };
    format!("rtmp://{}/{stream}", SocketAddr::new(host, rtmp.port())).parse()
}

fn configure(arguments: &Arguments) -> anyhow::Result<Config> {
    let mut builder = Builder::new();
    if let Some(path) = &arguments.config {
        let name = path.display().to_string();
        let unreadable = |error: std::io::Error| ConfigError::Unreadable {
            source_name: name.clone(),
            message: error.to_string(),
        };
        let text = std::fs::read_to_string(path).map_err(unreadable)?;
        builder = builder.file(&name, &text)?;
    }
    builder =
        builder.variables(std::env::vars_os().filter_map(|(name, value)| {
            Some((name.into_string().ok()?, value.into_string().ok()?))
        }))?;
    for assignment in &arguments.set {
        builder = builder.set("--set", assignment)?;
    }
    for (flag, key, value) in
        [("--rtmp", "listen.rtmp", &arguments.rtmp), ("--http", "listen.http", &arguments.http)]
    {
        if let Some(address) = value {
            builder = builder.set(flag, &format!("{key}={address}"))?;
        }
    }
    Ok(builder.build_with(&System)?)
}

/// What a configuration points at, on this machine.
struct System;

impl Outside for System {
    fn read(&self, path: &str) -> std::io::Result<Vec<u8>> {
        std::fs::read(path)
    }

    fn variable(&self, name: &str) -> Option<String> {
        std::env::var(name).ok()
    }
}

fn invitation(rtmp: SocketAddr, http: SocketAddr, replayed: Option<&str>) -> String {
    let stream = replayed.unwrap_or("live/NAME");
    let publish = if replayed.is_some() {
        format!("publishing  the recording, as {stream}\npublish too  rtmp://{rtmp}/live/NAME")
    } else {
        format!(
            "publish to  rtmp://{rtmp}/live/NAME   (OBS: server rtmp://{rtmp}/live, stream key NAME)"
        )
    };
    format!(
        "{publish}\nplay        rtmp://{rtmp}/{stream}\n            http://{http}/{stream}.flv\n            http://{http}/{stream}.mp4\n            http://{http}/{stream}/index.m3u8\nwatch       http://{http}/\nstatus      http://{http}/api/streams"
    )
}
