//! A socket of the operating system whose owner may look by himself what has come.

use std::io::{self, IoSlice, Read as _};
use std::pin::Pin;
use std::task::{Context, Poll};
use std::time::Duration;

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

    // Others have no such option that `socket2` knows.
    #[cfg(target_os = "linux")]
    fn set_unacknowledged_max(&self, time: Duration) -> io::Result<()> {
        SockRef::from(&self.stream).set_tcp_user_timeout(Some(time))
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

#[cfg(all(test, target_os = "linux"))]
mod tests {
    use super::*;
    use crate::shell::net::{Net as _, TokioNet};
    use rustix::event::{PollFd, PollFlags, Timespec, poll};
    use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};

    #[tokio::test]
    async fn a_connection_may_be_given_a_time_in_which_it_must_be_acknowledged() {
        let listener = TokioNet.bind(([127, 0, 0, 1], 0).into()).await.expect("a port");
        let port = TokioNet.local_addr(&listener).expect("it has one").port();
        let socket = TokioNet.connect("127.0.0.1", port).await.expect("it listens");
        let timeout = || SockRef::from(&socket.stream).tcp_user_timeout().expect("it is TCP");
        assert_eq!(timeout().unwrap_or_default(), Duration::ZERO, "the system's own");
        socket.set_unacknowledged_max(Duration::from_secs(3)).expect("Linux can");
        assert_eq!(timeout(), Some(Duration::from_secs(3)));
    }

    /// Less than what wakes is there for whoever looks.
    #[tokio::test]
    async fn what_nobody_was_told_of_is_there_to_be_read() {
        let listener = TokioNet.bind(([127, 0, 0, 1], 0).into()).await.expect("a port");
        let port = TokioNet.local_addr(&listener).expect("it has one").port();
        let mut sender = TokioNet.connect("127.0.0.1", port).await.expect("it listens");
        let (mut socket, _) = TokioNet.accept(&listener).await.expect("somebody came");
        socket.set_receive_len_min(1 << 10).expect("Linux can");
        // Tokio tries a first read without being told of anything.
        let mut bytes = [0; 2048];
        assert!(futures_util::poll!(Box::pin(socket.read(&mut bytes))).is_pending());
        sender.write_all(&[7; 100]).await.expect("it is sent");
        while ioctl_fionread(&socket.stream).expect("it is TCP") < 100 {
            tokio::task::yield_now().await;
        }
        let mut told = [PollFd::new(&socket.stream, PollFlags::IN)];
        let at_once = Some(&Timespec::default());
        assert_eq!(poll(&mut told, at_once), Ok(0), "100 bytes are no reason to wake anybody");
        let mut reading = Box::pin(socket.read(&mut bytes));
        let read = futures_util::poll!(&mut reading);
        assert!(matches!(read, Poll::Ready(Ok(100))), "{read:?}");
        drop(reading);
        // And the rest, with the end behind it, is told.
        sender.write_all(&[8; 1100]).await.expect("it is sent");
        sender.shutdown().await.expect("it ends");
        let mut rest = Vec::new();
        socket.read_to_end(&mut rest).await.expect("it comes");
        assert_eq!(rest, [8; 1100]);
    }
}
