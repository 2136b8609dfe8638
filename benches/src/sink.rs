//! A process with many sockets that throws away what comes, and counts it.

use std::collections::HashMap;
use std::net::{Ipv4Addr, TcpStream};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use anyhow::{Context as _, bail};
use forebay::rtmp::client::Role;
use rustix::buffer::spare_capacity;
use rustix::event::epoll;
use rustix::net::{RecvFlags, recv};

use crate::peer::Peer;
use crate::process::{Helper, obey};

/// Bytes thrown away with one call: more than a socket ever holds.
const DISCARD_LEN: usize = 16 << 20;

/// The process, from outside.
pub struct Sink {
    helper: Helper,
    groups: u64,
}

/// Sockets that are counted together.
#[derive(Clone, Copy)]
pub struct Group(u64);

/// What a group received, in bytes.
#[derive(Clone, Copy, Default, Debug)]
pub struct Received {
    /// All its sockets together.
    pub total: u64,
    /// The socket that received least.
    pub least: u64,
    /// Sockets that are closed by now.
    pub closed: u64,
}

impl Sink {
    /// Starts it on one core.
    pub fn start(core: usize) -> anyhow::Result<Self> {
        Ok(Self { helper: Helper::start("sink", core)?, groups: 0 })
    }

    /// Opens players of `live/NAME`.
    pub fn play(&mut self, port: u16, name: &str, count: usize) -> anyhow::Result<Group> {
        self.open(format!("play {port} {name} {count}"))
    }

    /// Opens connections on which nothing is said.
    pub fn connect(&mut self, port: u16, count: usize) -> anyhow::Result<Group> {
        self.open(format!("connect {port} - {count}"))
    }

    fn open(&mut self, order: String) -> anyhow::Result<Group> {
        let group = Group(self.groups);
        self.groups += 1;
        self.helper.ask(&format!("{order} {}", group.0))?;
        Ok(group)
    }

    /// What has come since the last time that this was asked.
    pub fn received(&mut self, group: Group) -> anyhow::Result<Received> {
        let numbers = self.helper.ask(&format!("count {}", group.0))?;
        let [total, least, closed] = numbers[..] else { bail!("no count: {numbers:?}") };
        Ok(Received { total, least, closed })
    }

    /// Closes a group's sockets.
    pub fn close(&mut self, group: Group) -> anyhow::Result<()> {
        self.helper.ask(&format!("close {}", group.0)).map(drop)
    }

    /// Its process id.
    pub fn pid(&self) -> u32 {
        self.helper.pid()
    }
}

struct Socket {
    stream: TcpStream,
    group: u64,
    received: u64,
    is_closed: bool,
}

type Sockets = Arc<Mutex<HashMap<u64, Socket>>>;

fn lock(sockets: &Sockets) -> MutexGuard<'_, HashMap<u64, Socket>> {
    sockets.lock().unwrap_or_else(PoisonError::into_inner)
}

/// The process, from inside.
pub fn run() -> anyhow::Result<()> {
    let sockets = Sockets::default();
    let epoll = Arc::new(epoll::create(epoll::CreateFlags::CLOEXEC)?);
    let (drained, drained_by) = (sockets.clone(), epoll.clone());
    std::thread::spawn(move || drain(&drained, &drained_by));
    let mut next = 0;
    obey(|words| match words {
        [how @ ("play" | "connect"), port, name, count, group] => {
            let (port, group) = (port.parse()?, group.parse()?);
            for index in 0..count.parse::<usize>()? {
                // `*` in a name is the number of the player.
                let stream = match *how {
                    "play" => {
                        let name = name.replace('*', &index.to_string());
                        Peer::open(port, Role::Play, &name)?.into_socket()
                    }
                    _ => TcpStream::connect((Ipv4Addr::LOCALHOST, port)).context("connect")?,
                };
                let flags = epoll::EventFlags::IN;
                let key = next;
                next += 1;
                let mut open = lock(&sockets);
                epoll::add(&epoll, &stream, epoll::EventData::new_u64(key), flags)?;
                open.insert(key, Socket { stream, group, received: 0, is_closed: false });
            }
            Ok(vec![])
        }
        ["count", group] => {
            let group = group.parse::<u64>()?;
            let (mut total, mut least, mut closed) = (0, u64::MAX, 0);
            for socket in lock(&sockets).values_mut().filter(|socket| socket.group == group) {
                total += socket.received;
                least = least.min(socket.received);
                closed += u64::from(socket.is_closed);
                socket.received = 0;
            }
            Ok(vec![total, least, closed])
        }
        ["close", group] => {
            let group = group.parse::<u64>()?;
            lock(&sockets).retain(|_, socket| socket.group != group);
            Ok(vec![])
        }
        _ => bail!("no such order: {words:?}"),
    })
}

fn drain(sockets: &Sockets, epoll: &impl std::os::fd::AsFd) -> anyhow::Result<()> {
    let mut events = Vec::with_capacity(1024);
    // Never written to: the system copies nothing that is to be thrown away.
    let mut discarded = vec![0; DISCARD_LEN];
    loop {
        events.clear();
        epoll::wait(epoll, spare_capacity(&mut events), None)?;
        let mut open = lock(sockets);
        for event in &events {
            let Some(socket) = open.get_mut(&event.data.u64()) else { continue };
            let flags = RecvFlags::TRUNC | RecvFlags::DONTWAIT;
            match recv(&socket.stream, discarded.as_mut_slice(), flags) {
                Ok((_, len @ 1..)) => socket.received += len as u64,
                Err(rustix::io::Errno::AGAIN) => {}
                Ok(_) | Err(_) => {
                    socket.is_closed = true;
                    epoll::delete(epoll, &socket.stream)?;
                }
            }
        }
    }
}
