//! What does a second of one published stream cost the server, on real and on simulated time?
//!
//! Real: the server on loopback, in one thread whose CPU time is read when it ends, system calls included.
//! OBS's recorded bytes are sent as they were, at their times; one viewer takes them by HTTP-FLV, so that it is
//! publish to delivery. Simulated: the simulator's scenario `reference`, which has eight viewers, the network and
//! the judges in it; how many of its seconds a CPU second plays, in the fastest of five.

use std::io::{Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::thread;
use std::time::{Duration, Instant};

use anyhow::{Context as _, anyhow, ensure};
use clap::Parser;
use forebay::config::Builder;
use forebay::shell::disk::RealDisk;
use forebay::shell::net::TokioNet;
use forebay::shell::{Origin, Server};
use forebay_benches::capture;
use forebay_benches::loopback::thread_cpu_s;
use forebay_benches::measured::measured;
use tokio::sync::oneshot;

const RECORDING: &str = "obs-publish-720p30";
const SIMULATIONS: usize = 5;
const PLAY: &[u8] = b"GET /live/KEY.flv HTTP/1.1\r\nHost: localhost\r\n\r\n";

/// Measures the server's CPU time per stream-second, and the simulator's speed.
#[derive(Parser)]
struct Args {
    /// Real seconds to publish for, at most as long as the recording.
    #[arg(long, default_value_t = 6)]
    seconds: u64,
    /// Leaves the simulation out.
    #[arg(long)]
    real_only: bool,
    /// Given by `cargo bench`, and of no meaning here.
    #[arg(long, hide = true)]
    bench: bool,
}

fn main() -> anyhow::Result<()> {
    let args = Args::parse();
    let [idle, publish, deliver] = [(false, false), (true, false), (true, true)]
        .map(|(publishes, views)| real(args.seconds, publishes, views));
    let (idle, publish, deliver) = (idle?, publish?, deliver?);
    println!(
        "server's CPU ms per second: idle {idle:.2}, a publisher {publish:.2}, and a viewer {deliver:.2}"
    );
    println!(
        "CPU ms per stream-second {:.2}, per viewer-second {:.2}",
        publish - idle,
        deliver - publish
    );
    if !args.real_only {
        let scenario = forebay_sim::scenario::find("reference").map_err(|error| anyhow!(error))?;
        let mut fastest = 0.0_f64;
        // The first one also faults its memory in, and others who use the memory only slow it down.
        for _ in 0..SIMULATIONS {
            let outcome = scenario.play(1)?;
            ensure!(outcome.violations.is_empty(), "the simulation found {:?}", outcome.violations);
            println!("simulated seconds per CPU second {:.1}", outcome.run.speed());
            fastest = fastest.max(outcome.run.speed());
        }
        measured("simulator.simulated_s_per_cpu_s", round(fastest));
    }
    Ok(())
}

/// CPU milliseconds of a server's thread per second.
fn real(seconds: u64, publishes: bool, views: bool) -> anyhow::Result<f64> {
    let (stop, stopped) = oneshot::channel();
    let (tell, told) = std::sync::mpsc::channel();
    let server = thread::spawn(move || -> anyhow::Result<f64> {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
        runtime.block_on(async {
            let config = ["listen.rtmp=\"127.0.0.1:0\"", "listen.http=\"127.0.0.1:0\""]
                .into_iter()
                .try_fold(Builder::new(), |builder, setting| builder.set("bench", setting))?
                .build()?;
            let server = Server::bind(
                TokioNet,
                RealDisk::default(),
                config,
                Origin { seed: 1, utc: Duration::ZERO },
            )
            .await?;
            tell.send((server.rtmp_addr()?, server.http_addr()?, server.hub().clone()))?;
            let start = thread_cpu_s();
            let wait = async move { stopped.await.unwrap_or_default() };
            server.run(wait).await;
            Ok(thread_cpu_s() - start)
        })
    });
    let Ok((rtmp, http, hub)) = told.recv() else {
        return server.join().map_err(|_| anyhow!("the server panicked"))?;
    };
    let end = Instant::now() + Duration::from_secs(seconds);
    let publisher = publishes.then(|| thread::spawn(move || publish(rtmp, end)));
    if views {
        while hub.topics().is_empty() {
            ensure!(Instant::now() < end, "nobody published");
            thread::sleep(Duration::from_millis(10));
        }
        let key = hub.topics()[0].key.to_string();
        let mut viewer = TcpStream::connect(http)?;
        let request = String::from_utf8_lossy(PLAY).replace("live/KEY", &key);
        viewer.write_all(request.as_bytes())?;
        thread::spawn(move || std::io::copy(&mut viewer, &mut std::io::sink()));
    }
    thread::sleep(end.saturating_duration_since(Instant::now()));
    let published_tags = hub.topics().first().map_or(0, |topic| topic.published_tags);
    ensure!(!publishes || published_tags > seconds * 40, "{published_tags} tags were published");
    stop.send(()).map_err(|()| anyhow!("the server ended early"))?;
    if let Some(publisher) = publisher {
        publisher.join().map_err(|_| anyhow!("the publisher panicked"))??;
    }
    let cpu_s = server.join().map_err(|_| anyhow!("the server panicked"))??;
    Ok(cpu_s * 1000.0 / seconds as f64)
}

/// Sends the recording at its times until `end`, and reads what the server answers.
fn publish(server: SocketAddr, end: Instant) -> anyhow::Result<()> {
    let mut socket = TcpStream::connect(server).context("no server")?;
    socket.set_nodelay(true)?;
    let mut answers = socket.try_clone()?;
    thread::spawn(move || {
        let mut buffer = [0; 4096];
        while answers.read(&mut buffer).is_ok_and(|len| len > 0) {}
    });
    let start = Instant::now();
    for (time, piece) in capture::timed(RECORDING)? {
        let at = start + time;
        if at >= end {
            break;
        }
        thread::sleep(at.saturating_duration_since(Instant::now()));
        socket.write_all(&piece)?;
    }
    Ok(())
}

fn round(value: f64) -> f64 {
    (value * 1000.0).round() / 1000.0
}
