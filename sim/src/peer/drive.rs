//! One connection, driven: whichever of its events comes first.

use std::future::{Future, poll_fn};
use std::io;
use std::pin::{Pin, pin};
use std::task::Poll;

use bytes::{Buf, Bytes};
use tokio::io::ReadBuf;
use tokio::sync::mpsc::UnboundedReceiver;
use tokio::time::{Instant, sleep_until};

use super::{Line, Order};

/// What a connection waited for.
#[derive(Debug)]
pub(super) enum Happened {
    /// The plan wants something.
    Told(Order),
    /// So many bytes are in the buffer; none: the node has closed.
    Read(usize),
    /// The last byte of what was to be written is.
    Written,
    /// The time has come.
    Due,
    /// The connection is lost.
    Lost,
}

/// Waits for the first of: an order, bytes (unless `is_deaf`), `out` being written to its end, and
/// the time `due`.
pub(super) async fn next<S: Line>(
    stream: &mut S,
    buffer: &mut [u8],
    is_deaf: bool,
    out: &mut Bytes,
    due: Instant,
    orders: &mut UnboundedReceiver<Order>,
) -> Happened {
    let mut sleep = pin!(sleep_until(due));
    poll_fn(|cx| {
        if let Poll::Ready(Some(order)) = orders.poll_recv(cx) {
            return Poll::Ready(Happened::Told(order));
        }
        if !is_deaf {
            let mut read = ReadBuf::new(buffer);
            match Pin::new(&mut *stream).poll_read(cx, &mut read) {
                Poll::Ready(Ok(())) => return Poll::Ready(Happened::Read(read.filled().len())),
                Poll::Ready(Err(_)) => return Poll::Ready(Happened::Lost),
                Poll::Pending => {}
            }
        }
        while !out.is_empty() {
            match Pin::new(&mut *stream).poll_write(cx, out) {
                Poll::Ready(Ok(len)) => {
                    out.advance(len);
                    if out.is_empty() {
                        return Poll::Ready(Happened::Written);
                    }
                }
                Poll::Ready(Err(_)) => return Poll::Ready(Happened::Lost),
                Poll::Pending => break,
            }
        }
        sleep.as_mut().poll(cx).map(|()| Happened::Due)
    })
    .await
}

/// Writes all of it, or as much as the connection takes in its last moments.
pub(super) async fn write_last<S: Line>(stream: &mut S, bytes: &[u8]) -> io::Result<()> {
    use tokio::io::AsyncWriteExt as _;
    let write = async {
        stream.write_all(bytes).await?;
        stream.shutdown().await
    };
    tokio::time::timeout(std::time::Duration::from_secs(1), write)
        .await
        .unwrap_or_else(|_| Err(io::ErrorKind::TimedOut.into()))
}
