//! A viewer: dials, plays, reads as it was told to, leaves, perhaps comes again.

use bytes::Bytes;
use tokio::time::Instant;

use super::drive::{Happened, next, write_last};
use super::{Dial, HTTP_PORT, Line, Order, PATIENCE, Peer, RTMP_PORT, hls};
use crate::plan::{Leave, Play, Player};
use crate::trace::{Close, What};
use crate::viewer::{Seen, Session};

/// Bytes of one read: what a player's buffer takes.
const READ_LEN: usize = 64 << 10;

pub(crate) async fn view<N: Dial>(mut peer: Peer<N>, play: Play) {
    if play.player == Player::Hls {
        return hls::view(peer, play).await;
    }
    let mut attempt = 0;
    loop {
        let port = if play.player == Player::Flv { HTTP_PORT } else { RTMP_PORT };
        let close = match peer.dial(port).await {
            Ok(stream) => watch(&mut peer, &play, stream, attempt).await,
            Err(close) => close,
        };
        peer.push(What::Closed(close));
        attempt += 1;
        if !peer.comes_again(play.again).await {
            return;
        }
    }
}

async fn watch<N: Dial>(
    peer: &mut Peer<N>,
    play: &Play,
    mut stream: N::Stream,
    attempt: u64,
) -> Close {
    let mut session = Session::new(play.player, &play.key, play.start, peer.seed ^ attempt);
    let mut buffer = vec![0; READ_LEN];
    let mut out = Bytes::from(session.take_output());
    let leaves_at = play.stay.map(|stay| Instant::now() + stay);
    let mut deaf_until: Option<Instant> = None;
    let mut heard_at = Instant::now();
    loop {
        let patience = heard_at + PATIENCE;
        let due = [leaves_at, deaf_until, Some(patience)].into_iter().flatten().min();
        let due = due.unwrap_or(patience);
        let is_deaf = deaf_until.is_some();
        let happened =
            next(&mut stream, &mut buffer, is_deaf, &mut out, due, &mut peer.orders).await;
        match happened {
            Happened::Read(0) => {
                let seen = session.end_of_input();
                tell(peer, play, seen);
                return Close::Eof;
            }
            Happened::Read(len) => {
                heard_at = Instant::now();
                let seen = session.receive(&buffer[..len]);
                tell(peer, play, seen);
                out = append(out, session.take_output());
            }
            Happened::Written => {}
            Happened::Lost => return Close::Reset,
            Happened::Told(Order::StopReading(time)) => {
                peer.push(What::Reads(false));
                deaf_until = Some(Instant::now() + time);
            }
            Happened::Told(Order::Receive(receive)) => {
                session.set_receive(receive);
                out = append(out, session.take_output());
            }
            Happened::Told(Order::Stall(_) | Order::Crash | Order::Start) => {}
            Happened::Told(Order::Leave(leave)) => {
                if let Some(close) = depart(&mut stream, &mut session, leave).await {
                    return finish(stream, close, leave);
                }
            }
            Happened::Due => {
                let now = Instant::now();
                if deaf_until.is_some_and(|until| until <= now) {
                    peer.push(What::Reads(true));
                    deaf_until = None;
                    heard_at = now;
                } else if leaves_at.is_some_and(|at| at <= now) {
                    return Close::Left;
                } else if patience <= now && !is_deaf {
                    return Close::TimedOut;
                } else {
                    heard_at = now;
                }
            }
        }
    }
}

/// Leaves as it was told to; `None`: it has closed its half and goes on reading.
async fn depart<S: Line>(stream: &mut S, session: &mut Session, leave: Leave) -> Option<Close> {
    match leave {
        Leave::Goodbye => {
            session.goodbye();
            let _gone_as_well = write_last(stream, &session.take_output()).await;
            Some(Close::Left)
        }
        Leave::Close | Leave::Reset => Some(Close::Left),
        Leave::HalfClose => {
            let _gone_as_well = write_last(stream, &[]).await;
            None
        }
        Leave::Vanish => Some(Close::Vanished),
    }
}

pub(super) fn finish<S: Line>(stream: S, close: Close, leave: Leave) -> Close {
    match leave {
        Leave::Vanish => stream.vanish(),
        Leave::Reset => stream.reset(),
        Leave::Goodbye | Leave::Close | Leave::HalfClose => drop(stream),
    }
    close
}

fn tell<N: Dial>(peer: &Peer<N>, play: &Play, seen: Vec<Seen>) {
    for seen in seen {
        peer.push(match seen {
            Seen::Playing => What::Playing { key: play.key.as_str().into() },
            Seen::Tag(tag) => What::Got(tag),
            Seen::ToldEnd => What::ToldEnd,
            Seen::ToldError { code, words } => {
                What::ToldError { code: code.into(), words: words.into() }
            }
            Seen::Garbled(why) => What::Garbled { why: why.into() },
        });
    }
}

pub(super) fn append(out: Bytes, more: Vec<u8>) -> Bytes {
    match (out.is_empty(), more.is_empty()) {
        (_, true) => out,
        (true, false) => more.into(),
        (false, false) => [&out[..], &more].concat().into(),
    }
}
