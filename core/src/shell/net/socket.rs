//! A socket of the operating system whose owner may look by himself what has come.

use std::io::{self, IoSlice, Read as _};
use std::pin::Pin;
use std::task::{Context, Poll};

use nix::sys::socket::setsockopt;
use nix::sys::socket::sockopt::SetStruct;
use nix::{libc, setsockopt_impl};
use rustix::io::ioctl_fionread;
use socket2::SockRef;
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::net::TcpStream;

use super::Stream;

/// How much must have come before somebody is told: `SO_RCVLOWAT` of socket(7).
#[derive(Clone, Copy, Debug)]
struct ReceiveLowWater;
setsockopt_impl!(ReceiveLowWater, libc::SOL_SOCKET, libc::SO_RCVLOWAT, u32, SetStruct<'_, u32>);

/// A connection.
pub struct Socket {
    stream: TcpStream,
    /// Reads look first, as they may find what nobody was told of.
    looks: bool,
}

impl From<TcpStream> for Socket {
    fn from(stream: TcpStream) -> Self {
        Self { stream, looks: false }
    }
}

impl Stream for Socket {
    fn set_nodelay(&self, on: bool) -> io::Result<()> {
        self.stream.set_nodelay(on)
    }

    fn set_unsent_len_max(&self, len: u32) -> io::Result<()> {
        SockRef::from(&self.stream).set_tcp_notsent_lowat(len)
    }

    fn set_receive_len_min(&mut self, len: u32) -> io::Result<()> {
        setsockopt(&self.stream, ReceiveLowWater, &len)?;
        self.looks = len > 1;
        Ok(())
    }
}

impl AsyncRead for Socket {
    fn poll_read(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        if self.looks {
            // No more is cleared, in memory that is not written to twice, than is there to be read.
            let there = ioctl_fionread(&self.stream)?.min(buf.remaining() as u64) as usize;
            if there > 0 {
                let socket = SockRef::from(&self.stream);
                match (&*socket).read(buf.initialize_unfilled_to(there)) {
                    Ok(len) => {
                        buf.advance(len);
                        return Poll::Ready(Ok(()));
                    }
                    Err(error) if error.kind() == io::ErrorKind::WouldBlock => {}
                    Err(error) => return Poll::Ready(Err(error)),
                }
            }
        }
        // The end of it, and what is wrong with it, is told however little has come.
        Pin::new(&mut self.stream).poll_read(cx, buf)
    }
}

impl AsyncWrite for Socket {
    fn poll_write(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        bytes: &[u8],
    ) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.stream).poll_write(cx, bytes)
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        slices: &[IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.stream).poll_write_vectored(cx, slices)
    }

    fn is_write_vectored(&self) -> bool {
        self.stream.is_write_vectored()
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_flush(cx)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_shutdown(cx)
    }
}
