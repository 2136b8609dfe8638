//! One read from a socket into the blocks that its connection receives in.

use std::future::Future;
use std::io;
use std::pin::pin;
use std::task::{Context, Poll, ready};

use tokio::io::AsyncReadExt;

use super::net::Stream;
use crate::blocks::BlockPool;
use crate::rtmp::Input;

/// Reads all that is there, up to the end of the block, in one call. Nothing: the peer has closed
/// its side.
pub(super) fn poll_receive<S: Stream>(
    cx: &mut Context<'_>,
    stream: &mut S,
    blocks: &mut BlockPool,
) -> Poll<io::Result<Input>> {
    let len = ready!(pin!(stream.read_buf(blocks.writable())).poll(cx))?;
    Poll::Ready(Ok(match len {
        0 => Input::Close,
        _ => Input::Received(blocks.take_received()),
    }))
}
