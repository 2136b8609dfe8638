//! The seam between the server and the network: the server is generic over [`Net`]. Production
//! hands it [`TokioNet`], a simulation hands it a network of its own; nothing is boxed.

mod socket;

use std::future::Future;
use std::io;
use std::net::SocketAddr;
use std::time::Duration;

use tokio::io::{AsyncRead, AsyncWrite};

pub use self::socket::Socket;

/// A network to listen on and to dial through.
pub trait Net: Clone + Send + Sync + 'static {
    /// A connection.
    type Stream: Stream;
    /// Where connections arrive.
    type Listener: Send + Sync + 'static;

    /// Listens on `address`; port 0 takes a free one.
    fn bind(&self, address: SocketAddr) -> impl Future<Output = io::Result<Self::Listener>> + Send;

    /// Where a listener listens.
    fn local_addr(&self, listener: &Self::Listener) -> io::Result<SocketAddr>;

    /// Waits for the next connection.
    fn accept(
        &self,
        listener: &Self::Listener,
    ) -> impl Future<Output = io::Result<(Self::Stream, SocketAddr)>> + Send;

    /// Dials `host:port`; the network itself resolves the name.
    fn connect(
        &self,
        host: &str,
        port: u16,
    ) -> impl Future<Output = io::Result<Self::Stream>> + Send;
}

/// A connected byte stream.
pub trait Stream: AsyncRead + AsyncWrite + Unpin + Send + 'static {
    /// Sends small writes at once instead of waiting for acknowledgements.
    fn set_nodelay(&self, on: bool) -> io::Result<()>;

    /// Bounds what waits to be sent behind what is on its way, in bytes. Without a bound the
    /// system holds megabytes for a slow peer, which are minutes of the past.
    fn set_unsent_len_max(&self, _len: u32) -> io::Result<()> {
        Ok(())
    }

    /// Bounds how long what was sent may wait for its acknowledgement; behind that the connection
    /// is lost. Without a bound, a peer that is gone without a word is missed once all buffers are
    /// full: minutes of a thin stream.
    fn set_unacknowledged_max(&self, _time: Duration) -> io::Result<()> {
        Ok(())
    }

    /// Wakes the reader only for so many bytes, or for the end; 1 at first. Whoever reads without
    /// having been woken gets whatever there is. To be woken for each piece costs a system more than
    /// the piece; where it costs nothing, this may do nothing.
    fn set_receive_len_min(&mut self, _len: u32) -> io::Result<()> {
        Ok(())
    }
}

/// The operating system's network.
#[derive(Clone, Copy, Debug, Default)]
pub struct TokioNet;

impl Net for TokioNet {
    type Stream = Socket;
    type Listener = tokio::net::TcpListener;

    async fn bind(&self, address: SocketAddr) -> io::Result<Self::Listener> {
        tokio::net::TcpListener::bind(address).await
    }

    fn local_addr(&self, listener: &Self::Listener) -> io::Result<SocketAddr> {
        listener.local_addr()
    }

    async fn accept(&self, listener: &Self::Listener) -> io::Result<(Self::Stream, SocketAddr)> {
        let (stream, peer) = listener.accept().await?;
        Ok((stream.into(), peer))
    }

    async fn connect(&self, host: &str, port: u16) -> io::Result<Self::Stream> {
        Ok(tokio::net::TcpStream::connect((host, port)).await?.into())
    }
}
