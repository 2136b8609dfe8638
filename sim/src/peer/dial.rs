//! Dial: what a peer needs of a network. The modelled one is here, the real one is in
//! [`crate::real`]; the same publishers and viewers work through both.

use std::future::Future;
use std::io;
use std::net::SocketAddr;

use tokio::io::{AsyncRead, AsyncWrite};

use crate::landmark::Landmark;
use crate::net::{SimNet, SimStream};

/// A network to dial through.
pub(crate) trait Dial: Clone + Send + Sync + 'static {
    /// A connection.
    type Stream: Line;
    /// Where a connection is dialed from. Its address is known before it stands: that is how nodes
    /// name it from their first word on.
    type Socket: Send + 'static;

    /// A socket of a new address.
    fn socket(&self) -> io::Result<(SocketAddr, Self::Socket)>;

    /// Dials a node by its name. Whoever no longer waits for it ends it.
    fn connect(
        self,
        from: Self::Socket,
        node: String,
        port: u16,
    ) -> impl Future<Output = io::Result<Self::Stream>> + Send;
}

/// A connection as its peer holds it. Dropped it closes.
pub(crate) trait Line: AsyncRead + AsyncWrite + Unpin + Send + 'static {
    /// Ends it without a word to the other side.
    fn vanish(self);

    /// Resets it.
    fn reset(self);

    /// What is where in all that was written here, for a network that watches how reads cut it.
    fn note(&self, _landmarks: Vec<Landmark>) {}
}

impl Dial for SimNet {
    type Stream = SimStream;
    type Socket = SocketAddr;

    fn socket(&self) -> io::Result<(SocketAddr, SocketAddr)> {
        let address = self.next_address();
        Ok((address, address))
    }

    async fn connect(self, from: SocketAddr, node: String, port: u16) -> io::Result<SimStream> {
        self.connect_from(from, &node, port).await
    }
}

impl Line for SimStream {
    fn vanish(self) {
        Self::vanish(self);
    }

    fn reset(self) {
        Self::reset(self);
    }

    fn note(&self, landmarks: Vec<Landmark>) {
        Self::note(self, landmarks);
    }
}
