//! A bad neighbour: dials, says what it has to say, hears nothing of what it is told.

use bytes::Bytes;
use tokio::time::Instant;

use super::drive::{Happened, next};
use super::view::finish;
use super::{Dial, HTTP_PORT, Order, PATIENCE, Peer, RTMP_PORT};
use crate::neighbour;
use crate::plan::Speech;
use crate::trace::{Close, What};

pub(crate) async fn speak<N: Dial>(mut peer: Peer<N>, speech: Speech, key: String) {
    let port = if speech == Speech::SlowHttp { HTTP_PORT } else { RTMP_PORT };
    let words = neighbour::speech(speech, &key, peer.seed);
    let close = match peer.dial(port).await {
        Ok(stream) => say(&mut peer, stream, words).await,
        Err(close) => close,
    };
    peer.push(What::Closed(close));
}

async fn say<N: Dial>(
    peer: &mut Peer<N>,
    mut stream: N::Stream,
    words: Vec<(std::time::Duration, Vec<u8>)>,
) -> Close {
    let mut buffer = vec![0; 16 << 10];
    let start = Instant::now();
    let mut words = words.into_iter().peekable();
    let mut out = Bytes::new();
    loop {
        let now = Instant::now();
        if out.is_empty()
            && let Some((_, bytes)) = words.next_if(|(at, _)| start + *at <= now)
        {
            out = bytes.into();
        }
        let due = match words.peek() {
            Some((at, _)) if out.is_empty() => start + *at,
            // It has said everything, and waits to be thrown out.
            _ => now + PATIENCE * 4,
        };
        match next(&mut stream, &mut buffer, false, &mut out, due, &mut peer.orders).await {
            Happened::Read(0) => return Close::Eof,
            Happened::Read(_) | Happened::Written => {}
            Happened::Lost => return Close::Reset,
            Happened::Due if words.peek().is_none() => return Close::TimedOut,
            Happened::Due => {}
            Happened::Told(Order::Leave(leave)) => return finish(stream, Close::Left, leave),
            Happened::Told(_) => {}
        }
    }
}
