//! A network in memory: pipes with a window, as a socket's buffers are one. Nothing takes time on
//! it, so with tokio's clock paused a test of minutes takes none and always goes the same way.

use std::collections::BTreeMap;
use std::io::{self, IoSlice};
use std::net::SocketAddr;
use std::pin::Pin;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex};
use std::task::{Context, Poll};

use forebay::shell::net::{Net, Stream};
use tokio::io::{AsyncRead, AsyncWrite, DuplexStream, ReadBuf};
use tokio::sync::mpsc::{UnboundedReceiver, UnboundedSender, unbounded_channel};

/// Bytes that one direction of a connection holds, unless the test says otherwise.
const WINDOW: usize = 256 << 10;

type Arrival = (MemStream, SocketAddr);

#[derive(Clone, Default)]
pub(crate) struct MemNet {
    shared: Arc<Mutex<Ports>>,
    window: Option<usize>,
}

impl MemNet {
    /// A network whose connections hold so many bytes in each direction.
    #[allow(dead_code, reason = "not every test needs a wide one")]
    pub(crate) fn with_window(window: usize) -> Self {
        Self { window: Some(window), ..Self::default() }
    }
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

/// One end of a connection.
pub(crate) struct MemStream {
    pipe: DuplexStream,
    calls: Arc<Mutex<Calls>>,
    /// What the other end did.
    #[allow(dead_code, reason = "not every test counts")]
    pub(crate) peer_calls: Arc<Mutex<Calls>>,
    panics: Arc<AtomicBool>,
    /// The other end's next read panics.
    #[allow(dead_code, reason = "not every test breaks its server")]
    pub(crate) peer_panics: Arc<AtomicBool>,
    /// Where it was dialled from, which is how the server knows it.
    #[allow(dead_code, reason = "not every test names its peers")]
    pub(crate) dialed_from: SocketAddr,
}

/// How many bytes each call moved that moved any, as system calls would have.
#[derive(Clone, Default)]
pub(crate) struct Calls {
    pub(crate) reads: Vec<usize>,
    pub(crate) writes: Vec<usize>,
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
        let (ours, theirs) = tokio::io::duplex(self.window.unwrap_or(WINDOW));
        let mut ports = self.shared.lock().unwrap();
        ports.connections += 1;
        let peer = SocketAddr::from(([10, 0, 0, 1], 1024 + ports.connections));
        let refused = || io::Error::from(io::ErrorKind::ConnectionRefused);
        let listener = ports.listeners.get(&port).ok_or_else(refused)?;
        let (client, server) = MemStream::pair(ours, theirs, peer);
        listener.send((server, peer)).map_err(|_| refused())?;
        Ok(client)
    }
}

impl MemStream {
    fn pair(client: DuplexStream, server: DuplexStream, dialed_from: SocketAddr) -> (Self, Self) {
        let calls: [Arc<Mutex<Calls>>; 2] = Default::default();
        let panics: [Arc<AtomicBool>; 2] = Default::default();
        let end = |pipe, here: usize, there: usize| Self {
            pipe,
            calls: calls[here].clone(),
            peer_calls: calls[there].clone(),
            panics: panics[here].clone(),
            peer_panics: panics[there].clone(),
            dialed_from,
        };
        (end(client, 0, 1), end(server, 1, 0))
    }

    fn count_write(&self, written: Poll<io::Result<usize>>) -> Poll<io::Result<usize>> {
        if let Poll::Ready(Ok(len)) = written {
            self.calls.lock().unwrap().writes.push(len);
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
        if self.panics.swap(false, Ordering::Relaxed) {
            panic!("a panic that the test asked for");
        }
        let before = buf.filled().len();
        let read = Pin::new(&mut self.pipe).poll_read(cx, buf);
        let len = buf.filled().len() - before;
        if len > 0 {
            self.calls.lock().unwrap().reads.push(len);
        }
        read
    }
}

impl AsyncWrite for MemStream {
    fn poll_write(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: &[u8],
    ) -> Poll<io::Result<usize>> {
        let written = Pin::new(&mut self.pipe).poll_write(cx, buf);
        self.count_write(written)
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        bufs: &[IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        let written = Pin::new(&mut self.pipe).poll_write_vectored(cx, bufs);
        self.count_write(written)
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
