//! An RTMP client on a blocking socket, without a runtime.

use std::io::{Read, Write};
use std::net::{Ipv4Addr, TcpStream};
use std::time::{Duration, Instant};

use anyhow::{Context as _, bail};
use bytes::Bytes;
use forebay::flv::Tag;
use forebay::rtmp::client::{ClientOptions, Output, Role};
use forebay::rtmp::{ClientConnection, Input, Url};

/// The chunks that OBS sends, in bytes.
const CHUNK_SIZE: u32 = 4096;
/// A server that says nothing for so long is broken.
const PATIENCE: Duration = Duration::from_secs(20);

/// Bytes read with one call.
const BUFFER_LEN: usize = 64 << 10;

/// One connection to a server on this machine that publishes or plays `live/NAME`.
pub struct Peer {
    socket: TcpStream,
    rtmp: ClientConnection,
    is_started: bool,
    buffer: Vec<u8>,
}

impl Peer {
    /// Connects, and waits until the server has accepted.
    pub fn open(port: u16, role: Role, name: &str) -> anyhow::Result<Self> {
        Self::open_seeing(port, role, name, &mut |_| {})
    }

    /// The same, and shows the tags that came with the answer.
    pub fn open_seeing(
        port: u16,
        role: Role,
        name: &str,
        see: &mut impl FnMut(Tag),
    ) -> anyhow::Result<Self> {
        let url: Url = format!("rtmp://127.0.0.1:{port}/live/{name}").parse()?;
        let socket = TcpStream::connect((Ipv4Addr::LOCALHOST, port))?;
        socket.set_nodelay(true)?;
        socket.set_read_timeout(Some(PATIENCE))?;
        let options = ClientOptions { chunk_size: CHUNK_SIZE, ..ClientOptions::default() };
        let rtmp = ClientConnection::new(Instant::now(), role, &url, 7, options);
        let mut peer = Self { socket, rtmp, is_started: false, buffer: vec![0; BUFFER_LEN] };
        peer.drain(see)?;
        while !peer.is_started {
            peer.receive(see).with_context(|| format!("{role:?} {url}"))?;
        }
        Ok(peer)
    }

    /// Waits for bytes, and shows the tags in them.
    pub fn receive(&mut self, see: &mut impl FnMut(Tag)) -> anyhow::Result<()> {
        match self.socket.read(&mut self.buffer)? {
            0 => bail!("the server closed the connection"),
            len => self.take(len, see),
        }
    }

    fn take(&mut self, len: usize, see: &mut impl FnMut(Tag)) -> anyhow::Result<()> {
        let bytes = Bytes::copy_from_slice(&self.buffer[..len]);
        self.rtmp.handle_input(Instant::now(), Input::Received(bytes));
        self.drain(see)
    }

    /// Sends a tag, in one write, and reads what the server may have said meanwhile.
    pub fn send(&mut self, tag: &Tag) -> anyhow::Result<()> {
        self.rtmp.send_tag(tag);
        self.drain(&mut |_| {})?;
        let flags = rustix::net::RecvFlags::DONTWAIT;
        match rustix::net::recv(&self.socket, self.buffer.as_mut_slice(), flags) {
            Ok((0, _)) => bail!("the server closed the connection"),
            Ok((len, _)) => self.take(len, &mut |_| {}),
            Err(rustix::io::Errno::AGAIN) => Ok(()),
            Err(error) => Err(error.into()),
        }
    }

    fn drain(&mut self, see: &mut impl FnMut(Tag)) -> anyhow::Result<()> {
        loop {
            match self.rtmp.poll_output() {
                Output::Send(bytes) => self.socket.write_all(&bytes)?,
                Output::Started => self.is_started = true,
                Output::Tag { tag, .. } => see(tag),
                Output::Ended => {}
                Output::Close(Some(error)) => return Err(error.into()),
                Output::Close(None) => bail!("the server closed the connection"),
                Output::Wait(_) => return Ok(()),
            }
        }
    }

    /// The socket alone: whatever comes now is for somebody who does not read RTMP.
    pub fn into_socket(self) -> TcpStream {
        self.socket
    }
}
