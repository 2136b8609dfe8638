//! A network in memory: pipes with a window, as a socket's buffers are one. Nothing takes time on
//! it, so with tokio's clock paused a test of minutes takes none and always goes the same way.

use std::collections::BTreeMap;
use std::io::{self, IoSlice};
use std::net::SocketAddr;
use std::pin::Pin;
use std::sync::{Arc, Mutex};
use std::task::{Context, Poll};

use forebay::shell::net::{Net, Stream};
use tokio::io::{AsyncRead, AsyncWrite, DuplexStream, ReadBuf};
use tokio::sync::mpsc::{UnboundedReceiver, UnboundedSender, unbounded_channel};

/// Bytes that one direction of a connection holds.
const WINDOW: usize = 256 << 10;

type Arrival = (MemStream, SocketAddr);

#[derive(Clone, Default)]
pub(crate) struct MemNet {
    shared: Arc<Mutex<Ports>>,
}

#[derive(Default)]
struct Ports {
    listeners: BTreeMap<u16, UnboundedSender<Arrival>>,
    connections: u16,
}

pub(crate) struct MemListener {
    address: SocketAddr,
    arrivals: tokio::sync::Mutex<UnboundedReceiver<Arrival>>,
}

/// One end of a connection. Counts its writes.
pub(crate) struct MemStream {
    pipe: DuplexStream,
    pub(crate) writes: Arc<Mutex<Vec<usize>>>,
}

impl Net for MemNet {
    type Stream = MemStream;
    type Listener = MemListener;

    async fn bind(&self, address: SocketAddr) -> io::Result<MemListener> {
        let (sender, receiver) = unbounded_channel();
        let known = self.shared.lock().unwrap().listeners.insert(address.port(), sender);
        assert!(known.is_none(), "port {} is taken", address.port());
        Ok(MemListener { address, arrivals: tokio::sync::Mutex::new(receiver) })
    }

    fn local_addr(&self, listener: &MemListener) -> io::Result<SocketAddr> {
        Ok(listener.address)
    }

    async fn accept(&self, listener: &MemListener) -> io::Result<Arrival> {
        Ok(listener.arrivals.lock().await.recv().await.expect("the net holds the sender"))
    }

    async fn connect(&self, _host: &str, port: u16) -> io::Result<MemStream> {
        let (ours, theirs) = tokio::io::duplex(WINDOW);
        let mut ports = self.shared.lock().unwrap();
        ports.connections += 1;
        let peer = SocketAddr::from(([10, 0, 0, 1], 1024 + ports.connections));
        let refused = || io::Error::from(io::ErrorKind::ConnectionRefused);
        let listener = ports.listeners.get(&port).ok_or_else(refused)?;
        listener.send((MemStream::new(theirs), peer)).map_err(|_| refused())?;
        Ok(MemStream::new(ours))
    }
}

impl MemStream {
    fn new(pipe: DuplexStream) -> Self {
        Self { pipe, writes: Arc::default() }
    }

    fn count(&self, written: Poll<io::Result<usize>>) -> Poll<io::Result<usize>> {
        if let Poll::Ready(Ok(len)) = written {
            self.writes.lock().unwrap().push(len);
        }
        written
    }
}

impl Stream for MemStream {
    fn set_nodelay(&self, _on: bool) -> io::Result<()> {
        Ok(())
    }
}

impl AsyncRead for MemStream {
    fn poll_read(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        Pin::new(&mut self.pipe).poll_read(cx, buf)
    }
}

impl AsyncWrite for MemStream {
    fn poll_write(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: &[u8],
    ) -> Poll<io::Result<usize>> {
        let written = Pin::new(&mut self.pipe).poll_write(cx, buf);
        self.count(written)
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        bufs: &[IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        let written = Pin::new(&mut self.pipe).poll_write_vectored(cx, bufs);
        self.count(written)
    }

    fn is_write_vectored(&self) -> bool {
        true
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.pipe).poll_flush(cx)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.pipe).poll_shutdown(cx)
    }
}
