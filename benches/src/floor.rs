//! The floor: a process that writes the same bytes to many sockets, and does nothing else.

use std::collections::VecDeque;
use std::io::{self, IoSlice, Write};
use std::net::{Ipv4Addr, TcpListener, TcpStream};
use std::sync::Mutex;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::thread;
use std::time::{Duration, Instant};

use anyhow::{Context as _, bail};
use forebay::flv::Tag;
use forebay::wire_log::{Encoder, Protocol};

use crate::obs;
use crate::process::{Helper, obey};
use crate::publisher::Clock;

/// The process, from outside.
pub struct Floor {
    helper: Helper,
    port: u16,
}

impl Floor {
    /// Starts it on one core. Whoever connects is written to.
    pub fn start(core: usize) -> anyhow::Result<Self> {
        let mut helper = Helper::start("floor", core)?;
        let port = *helper.ask("port")?.first().context("no port")? as u16;
        Ok(Self { helper, port })
    }

    /// Where to connect to.
    pub fn port(&self) -> u16 {
        self.port
    }

    /// Writes for so long, as frames come in real time: each at once, or all that came in
    /// `tick_ms` together. Says how many bytes each socket got.
    pub fn write(&mut self, duration: Duration, tick_ms: u64) -> anyhow::Result<u64> {
        let order = format!("write {} {tick_ms}", duration.as_millis());
        Ok(*self.helper.ask(&order)?.first().context("no length")?)
    }

    /// Its process id.
    pub fn pid(&self) -> u32 {
        self.helper.pid()
    }
}

/// The process, from inside.
pub fn run() -> anyhow::Result<()> {
    let clip = obs::clip()?;
    let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0))?;
    let port = listener.local_addr()?.port();
    let sockets = Mutex::new(Vec::new());
    let is_over = AtomicBool::new(false);
    let accepted = AtomicU64::new(0);
    thread::scope(|scope| {
        scope.spawn(|| {
            for socket in listener.incoming().flatten() {
                if is_over.load(Ordering::Relaxed) || socket.set_nodelay(true).is_err() {
                    return;
                }
                accepted.fetch_add(1, Ordering::Relaxed);
                sockets.lock().unwrap_or_else(|poison| poison.into_inner()).push(socket);
            }
        });
        let done = obey(|words| match words {
            ["port"] => Ok(vec![port.into()]),
            ["write", ms, tick_ms] => {
                let mut sockets = sockets.lock().unwrap_or_else(|poison| poison.into_inner());
                let duration = Duration::from_millis(ms.parse()?);
                Ok(vec![write(&clip, &mut sockets, duration, tick_ms.parse()?)?])
            }
            _ => bail!("no such order: {words:?}"),
        });
        is_over.store(true, Ordering::Relaxed);
        drop(TcpStream::connect((Ipv4Addr::LOCALHOST, port)));
        done
    })
}

fn write(
    clip: &[Tag],
    sockets: &mut Vec<TcpStream>,
    duration: Duration,
    tick_ms: u64,
) -> anyhow::Result<u64> {
    let mut encoder = Encoder::new(Protocol::Rtmp, Encoder::RTMP_STREAM_ID);
    let frames = clip.iter().cycle().map(|tag| {
        let mut bytes = Vec::new();
        encoder.encode(tag, &mut bytes);
        (tag.clone(), bytes)
    });
    // Encoded before the clock starts, as many as there will be.
    let mut clock = Clock::start(Instant::now());
    let mut pending = VecDeque::new();
    for (tag, bytes) in frames {
        let at = clock.at(&tag);
        if at > duration {
            break;
        }
        pending.push_back((at, bytes));
    }
    let mut len = 0;
    let begun = Instant::now();
    let tick = Duration::from_millis(tick_ms);
    let mut next_write = Duration::ZERO;
    while let Some((at, _)) = pending.front() {
        let now = begun.elapsed();
        let wake_at = next_write.max(*at);
        if now < wake_at {
            thread::sleep(wake_at - now);
        }
        let now = begun.elapsed();
        next_write = now + tick;
        let due = pending.iter().take_while(|(at, _)| *at <= now).count();
        let bytes: Vec<_> = pending.drain(..due).map(|(_, bytes)| bytes).collect();
        let joined = bytes.concat();
        sockets.retain_mut(|socket| write_all(socket, &joined).is_ok());
        len += joined.len() as u64;
    }
    Ok(len)
}

fn write_all(socket: &mut TcpStream, bytes: &[u8]) -> io::Result<()> {
    let mut written = 0;
    while written < bytes.len() {
        written += socket.write_vectored(&[IoSlice::new(&bytes[written..])])?;
    }
    Ok(())
}
