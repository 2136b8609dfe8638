//! Throttle: a socket that is read at a bounded rate, so that its peer feels it.

use std::io;
use std::pin::Pin;
use std::task::{Context, Poll, ready};
use std::time::{Duration, Instant};

use forebay::shell::net::Stream;
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::net::TcpStream;
use tokio::time::Sleep;

/// What may be read at once after nothing was, as a part of a second.
const BURSTS_PER_SECOND: f64 = 10.0;

/// A socket, with a token bucket for reading if it is to be slow.
pub(super) struct Throttled {
    stream: TcpStream,
    bucket: Option<Bucket>,
}

struct Bucket {
    bytes_per_second: f64,
    tokens: f64,
    filled: Instant,
    timer: Pin<Box<Sleep>>,
}

impl Throttled {
    pub(super) fn new(stream: TcpStream, bytes_per_second: Option<u32>) -> Self {
        let now = now();
        let bucket = bytes_per_second.map(|rate| Bucket {
            bytes_per_second: rate.into(),
            tokens: f64::from(rate) / BURSTS_PER_SECOND,
            filled: now,
            timer: Box::pin(tokio::time::sleep_until(now.into())),
        });
        Self { stream, bucket }
    }
}

impl Bucket {
    /// How many bytes may be read now, at least one.
    fn poll_tokens(&mut self, cx: &mut Context<'_>) -> Poll<usize> {
        loop {
            let now = now();
            let earned = (now - self.filled).as_secs_f64() * self.bytes_per_second;
            let most = (self.bytes_per_second / BURSTS_PER_SECOND).max(1.0);
            self.tokens = (self.tokens + earned).min(most);
            self.filled = now;
            if self.tokens >= 1.0 {
                return Poll::Ready(self.tokens as usize);
            }
            // Half a burst, or it would wake for every byte.
            let wait = Duration::from_secs_f64(most.max(2.0) / 2.0 / self.bytes_per_second);
            self.timer.as_mut().reset((now + wait).into());
            ready!(self.timer.as_mut().poll(cx));
        }
    }
}

fn now() -> Instant {
    tokio::time::Instant::now().into_std()
}

impl AsyncRead for Throttled {
    fn poll_read(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        out: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        let Self { stream, bucket } = &mut *self;
        let Some(bucket) = bucket else { return Pin::new(stream).poll_read(cx, out) };
        let len = ready!(bucket.poll_tokens(cx)).min(out.remaining());
        let mut part = ReadBuf::new(out.initialize_unfilled_to(len));
        ready!(Pin::new(stream).poll_read(cx, &mut part))?;
        let len = part.filled().len();
        bucket.tokens -= len as f64;
        out.advance(len);
        Poll::Ready(Ok(()))
    }
}

impl AsyncWrite for Throttled {
    fn poll_write(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        bytes: &[u8],
    ) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.stream).poll_write(cx, bytes)
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_flush(cx)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_shutdown(cx)
    }
}

impl Stream for Throttled {
    fn set_nodelay(&self, on: bool) -> io::Result<()> {
        self.stream.set_nodelay(on)
    }
}
