//! Viewers in a process of their own, so that their time is not the writer's.

use std::io::{IoSlice, PipeReader, PipeWriter, Read, Write, pipe};
use std::net::{Ipv4Addr, TcpListener, TcpStream};
use std::process::{Child, Command};

use anyhow::ensure;
use rustix::event::epoll;
use rustix::time::{ClockId, clock_gettime};

/// Connections to the process that drains them. It is told what was sent, and answers when it has it.
pub struct Sockets {
    /// One for each viewer.
    pub viewers: Vec<TcpStream>,
    /// Bytes written to all of them; whoever writes counts.
    pub sent: u64,
    child: Child,
    ask: PipeWriter,
    answer: PipeReader,
}

impl Sockets {
    /// Starts the process, which is this program with `--drain=PORT --viewers=COUNT`.
    pub fn open(count: usize) -> anyhow::Result<Self> {
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0))?;
        let port = listener.local_addr()?.port();
        let ((asked, ask), (answer, answers)) = (pipe()?, pipe()?);
        let child = Command::new(std::env::current_exe()?)
            .args([format!("--drain={port}"), format!("--viewers={count}")])
            .stdin(asked)
            .stdout(answers)
            .spawn()?;
        let mut viewers = Vec::new();
        for _ in 0..count {
            let (socket, _) = listener.accept()?;
            socket.set_nodelay(true)?;
            viewers.push(socket);
        }
        Ok(Self { viewers, sent: 0, child, ask, answer })
    }

    /// Waits until the viewers have all that was sent.
    pub fn settle(&mut self) -> anyhow::Result<()> {
        self.ask.write_all(&self.sent.to_le_bytes())?;
        Ok(self.answer.read_exact(&mut [0])?)
    }

    /// Ends the process.
    pub fn close(mut self) -> anyhow::Result<()> {
        drop((self.viewers, self.ask));
        ensure!(self.child.wait()?.success(), "the process that drains failed");
        Ok(())
    }
}

/// The second process.
pub fn drain(port: u16, count: usize) -> anyhow::Result<()> {
    let epoll = epoll::create(epoll::CreateFlags::CLOEXEC)?;
    let (mut sockets, mut stdin) = (Vec::new(), std::io::stdin().lock());
    let flags = epoll::EventFlags::IN;
    epoll::add(&epoll, &stdin, epoll::EventData::new_u64(count as u64), flags)?;
    for index in 0..count {
        let socket = TcpStream::connect((Ipv4Addr::LOCALHOST, port))?;
        epoll::add(&epoll, &socket, epoll::EventData::new_u64(index as u64), flags)?;
        sockets.push(socket);
    }
    let mut events = Vec::with_capacity(count + 1);
    let mut buffer = vec![0; 256 << 10];
    let (mut drained, mut asked) = (0, None);
    loop {
        events.clear();
        epoll::wait(&epoll, rustix::buffer::spare_capacity(&mut events), None)?;
        for event in &events {
            match sockets.get_mut(event.data.u64() as usize) {
                Some(socket) => match socket.read(&mut buffer)? {
                    0 => return Ok(()),
                    len => drained += len as u64,
                },
                None => {
                    let mut sent = [0; 8];
                    if stdin.read_exact(&mut sent).is_err() {
                        return Ok(());
                    }
                    asked = Some(u64::from_le_bytes(sent));
                }
            }
        }
        if asked == Some(drained) {
            asked = None;
            let mut stdout = std::io::stdout();
            stdout.write_all(b".")?;
            stdout.flush()?;
        }
    }
}

/// Writes all slices. Says how many bytes they have.
pub fn write_all(socket: &mut TcpStream, mut slices: &mut [IoSlice<'_>]) -> anyhow::Result<u64> {
    let mut sent = 0;
    while !slices.is_empty() {
        let written = socket.write_vectored(slices)?;
        ensure!(written > 0, "a viewer is gone");
        sent += written as u64;
        IoSlice::advance_slices(&mut slices, written);
    }
    Ok(sent)
}

/// CPU time of the calling thread, user and system, in seconds.
pub fn thread_cpu_s() -> f64 {
    let time = clock_gettime(ClockId::ThreadCPUTime);
    time.tv_sec as f64 + time.tv_nsec as f64 / 1e9
}
