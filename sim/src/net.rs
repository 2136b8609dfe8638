//! Net: the server's network, modelled. Time on it is the simulation's: the world moves it on with
//! [`Fabric::advance`] between the steps of the hosts, so nothing here reads a clock or sleeps, and
//! what an event at one end causes is seen at the other end in a later step at the earliest.
//!
//! Connections are our own, not turmoil's: turmoil's know no bandwidth and no retransmission, lose
//! a FIN behind a full window, do not wake a blocked writer when its peer is gone, and panic at a
//! full backlog. turmoil has the hosts: their clocks, their runtimes, their crashes.

mod connection;
mod fabric;
mod nic;
mod physics;
mod pipe;

use std::io::{self, IoSlice};
use std::net::SocketAddr;
use std::pin::Pin;
use std::task::{Context, Poll};
use std::time::Duration;

use forebay::shell::net::{Net, Stream};
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};

pub(crate) use self::fabric::is_injected_panic;
pub use self::fabric::{ConnectionId, Fabric, HostId};
use crate::landmark::Landmark;

/// The network as one host sees it.
#[derive(Clone)]
pub struct SimNet {
    fabric: Fabric,
    host: HostId,
}

impl SimNet {
    pub(crate) fn new(fabric: Fabric, host: HostId) -> Self {
        Self { fabric, host }
    }

    /// The address that the next connection comes from. Each call takes a new one.
    pub fn next_address(&self) -> SocketAddr {
        self.fabric.next_address(self.host)
    }

    /// Dials a host by its name, from an address of [`next_address`](Self::next_address).
    pub async fn connect_from(
        &self,
        from: SocketAddr,
        host: &str,
        port: u16,
    ) -> io::Result<SimStream> {
        let id = self.fabric.dial(self.host, from, host, port)?;
        // The guard ends the connection if nobody waits for it any longer.
        let stream = SimStream { fabric: self.fabric.clone(), id, end: End::Dialer };
        std::future::poll_fn(|cx| self.fabric.poll_connected(id, cx)).await?;
        Ok(stream)
    }
}

/// Where a simulated host listens.
pub struct SimListener {
    fabric: Fabric,
    host: HostId,
    address: SocketAddr,
}

impl Drop for SimListener {
    fn drop(&mut self) {
        self.fabric.unlisten(self.host, self.address.port());
    }
}

/// Which end of a connection.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum End {
    Dialer = 0,
    Acceptor = 1,
}

impl End {
    pub(crate) fn other(self) -> Self {
        match self {
            Self::Dialer => Self::Acceptor,
            Self::Acceptor => Self::Dialer,
        }
    }
}

/// One end of a simulated connection. Dropped it closes, as a socket does when its process dies: in
/// order, or with a reset where bytes were not read.
pub struct SimStream {
    fabric: Fabric,
    id: ConnectionId,
    end: End,
}

impl SimStream {
    /// The connection, for faults that are done to it.
    pub fn id(&self) -> ConnectionId {
        self.id
    }

    /// Tells the network what is where in all bytes written here, so that it sees how reads at the
    /// other end cut it.
    pub fn note(&self, landmarks: Vec<Landmark>) {
        self.fabric.note(self.id, self.end, landmarks);
    }

    /// Ends the connection without a word to the other side.
    pub fn vanish(self) {
        self.fabric.vanish(self.id, self.end);
    }

    /// Resets the connection: the other side is told as soon as its network can.
    pub fn reset(self) {
        self.fabric.reset(self.id, self.end);
    }
}

impl Drop for SimStream {
    fn drop(&mut self) {
        self.fabric.close(self.id, self.end);
    }
}

impl Net for SimNet {
    type Stream = SimStream;
    type Listener = SimListener;

    async fn bind(&self, address: SocketAddr) -> io::Result<SimListener> {
        self.fabric.listen(self.host, address.port())?;
        Ok(SimListener { fabric: self.fabric.clone(), host: self.host, address })
    }

    fn local_addr(&self, listener: &SimListener) -> io::Result<SocketAddr> {
        Ok(listener.address)
    }

    async fn accept(&self, listener: &SimListener) -> io::Result<(SimStream, SocketAddr)> {
        let port = listener.address.port();
        let (id, peer) =
            std::future::poll_fn(|cx| self.fabric.poll_accept(self.host, port, cx)).await?;
        Ok((SimStream { fabric: self.fabric.clone(), id, end: End::Acceptor }, peer))
    }

    async fn connect(&self, host: &str, port: u16) -> io::Result<SimStream> {
        self.connect_from(self.next_address(), host, port).await
    }
}

impl Stream for SimStream {
    fn set_nodelay(&self, _on: bool) -> io::Result<()> {
        Ok(())
    }

    fn set_unsent_len_max(&self, len: u32) -> io::Result<()> {
        self.fabric.set_unsent_max(self.id, self.end, len as usize);
        Ok(())
    }

    fn set_receive_len_min(&mut self, len: u32) -> io::Result<()> {
        self.fabric.set_receive_len_min(self.id, self.end, len as usize);
        Ok(())
    }

    fn set_unacknowledged_max(&self, time: Duration) -> io::Result<()> {
        self.fabric.set_unacknowledged_max(self.id, self.end, time);
        Ok(())
    }
}

impl AsyncRead for SimStream {
    fn poll_read(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        self.fabric.poll_read(self.id, self.end, cx, buf)
    }
}

impl AsyncWrite for SimStream {
    fn poll_write(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: &[u8],
    ) -> Poll<io::Result<usize>> {
        self.fabric.poll_write(self.id, self.end, cx, &[IoSlice::new(buf)])
    }

    fn poll_write_vectored(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        bufs: &[IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        self.fabric.poll_write(self.id, self.end, cx, bufs)
    }

    fn is_write_vectored(&self) -> bool {
        true
    }

    fn poll_flush(self: Pin<&mut Self>, _cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Poll::Ready(Ok(()))
    }

    fn poll_shutdown(self: Pin<&mut Self>, _cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        self.fabric.shutdown(self.id, self.end);
        Poll::Ready(Ok(()))
    }
}
