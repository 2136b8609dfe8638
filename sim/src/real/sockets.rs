//! Sockets: the operating system's network as peers dial through it, on loopback.

use std::collections::BTreeMap;
use std::future::pending;
use std::io;
use std::net::{Ipv4Addr, SocketAddr};
use std::sync::Arc;

use tokio::net::{TcpSocket, TcpStream};

use crate::peer::{Dial, Line, RTMP_PORT};

/// Loopback, and where each node listens on it: for RTMP and for HTTP.
#[derive(Clone)]
pub(super) struct Loopback(Arc<BTreeMap<String, [SocketAddr; 2]>>);

impl Loopback {
    pub(super) fn new(nodes: BTreeMap<String, [SocketAddr; 2]>) -> Self {
        Self(Arc::new(nodes))
    }
}

impl Dial for Loopback {
    type Stream = TcpStream;
    type Socket = TcpSocket;

    fn socket(&self) -> io::Result<(SocketAddr, TcpSocket)> {
        let socket = TcpSocket::new_v4()?;
        socket.bind((Ipv4Addr::LOCALHOST, 0).into())?;
        Ok((socket.local_addr()?, socket))
    }

    async fn connect(self, from: TcpSocket, node: String, port: u16) -> io::Result<TcpStream> {
        let [rtmp, http] = *self.0.get(&node).ok_or(io::ErrorKind::NotFound)?;
        let stream = from.connect(if port == RTMP_PORT { rtmp } else { http }).await?;
        stream.set_nodelay(true)?;
        Ok(stream)
    }
}

impl Line for TcpStream {
    /// Loopback loses nothing, so the socket stays open, and nobody looks at it until the end.
    fn vanish(self) {
        drop(tokio::spawn(async move {
            let _held = self;
            pending::<()>().await
        }));
    }

    fn reset(self) {
        // Closed in order it is as gone, if the system does not know how.
        let _in_order = self.set_zero_linger();
    }
}
