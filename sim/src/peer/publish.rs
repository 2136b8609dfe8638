//! A publisher: dials, plays a capture as its encoder says, stalls, leaves, perhaps comes again.

use std::collections::VecDeque;
use std::sync::Arc;

use bytes::Bytes;
use tokio::time::Instant;

use super::drive::{Happened, next, write_last};
use super::view::{append, finish};
use super::{Dial, Line as _, Order, PATIENCE, Peer, RTMP_PORT};
use crate::capture::Capture;
use crate::plan::{Leave, Publish};
use crate::publisher::{Encoder, Heard, Step};
use crate::tag::TagSeen;
use crate::trace::{Close, What};

pub(crate) async fn publish<N: Dial>(mut peer: Peer<N>, publish: Publish, capture: Arc<Capture>) {
    let mut attempt = 0_u32;
    loop {
        let encoder =
            Encoder::new(&publish, capture.clone(), peer.seed ^ u64::from(attempt), attempt);
        let close = match (peer.dial(RTMP_PORT).await, encoder) {
            (Ok(stream), Ok(encoder)) => send(&mut peer, &publish, stream, encoder).await,
            (Ok(_), Err(_)) => Close::Left,
            (Err(close), _) => close,
        };
        peer.push(What::Closed(close));
        attempt += 1;
        if !peer.comes_again(publish.again).await {
            return;
        }
    }
}

/// What is being written: up to where the next tags are complete.
#[derive(Default)]
struct Writing {
    bytes: Bytes,
    /// Tags that are sent with its last byte.
    tags: Vec<TagSeen>,
    /// What comes then.
    rest: Bytes,
    /// The tags in it, each with how many of its bytes it takes.
    tags_of_rest: VecDeque<(usize, TagSeen)>,
}

impl Writing {
    fn new(bytes: Bytes, tags: Vec<(usize, TagSeen)>) -> Self {
        let mut writing = Self { rest: bytes, tags_of_rest: tags.into(), ..Self::default() };
        writing.go_on();
        writing
    }

    fn go_on(&mut self) {
        let end = self.tags_of_rest.front().map_or(self.rest.len(), |(end, _)| *end);
        while let Some((_, tag)) = self.tags_of_rest.pop_front_if(|(next, _)| *next == end) {
            self.tags.push(tag);
        }
        self.tags_of_rest.iter_mut().for_each(|(next, _)| *next -= end);
        self.bytes = self.rest.split_to(end);
    }

    /// All that is left.
    fn take_all(&mut self) -> Bytes {
        self.tags.extend(self.tags_of_rest.drain(..).map(|(_, tag)| tag));
        append(std::mem::take(&mut self.bytes), std::mem::take(&mut self.rest).into())
    }
}

async fn send<N: Dial>(
    peer: &mut Peer<N>,
    publish: &Publish,
    mut stream: N::Stream,
    mut encoder: Encoder,
) -> Close {
    let mut buffer = vec![0; 16 << 10];
    let mut writing = Writing::default();
    let mut waiting: Option<(Instant, Writing)> = None;
    let mut start = Instant::now();
    let mut silent_until = start;
    // Until something is heard there is nothing to send.
    let mut listens = false;
    let mut heard_at = start;
    loop {
        let now = Instant::now();
        if writing.bytes.is_empty() && waiting.is_none() && !listens {
            match encoder.poll() {
                Some(Step::Send { at, bytes, tags }) => {
                    waiting = Some((start + at, Writing::new(bytes, tags)));
                }
                Some(Step::WaitForServer) => listens = true,
                Some(Step::WaitForAcknowledgement) => {
                    peer.recorder.reach(peer.who, "window_blocked_publisher");
                    listens = true;
                }
                None => {
                    let _gone_as_well = write_last(&mut stream, &encoder.goodbye()).await;
                    return Close::Left;
                }
            }
            stream.note(encoder.take_landmarks());
        }
        if let Some((_, due)) =
            waiting.take_if(|(at, _)| *at <= now && silent_until <= now && writing.bytes.is_empty())
        {
            writing = due;
            heard_at = now;
            if writing.bytes.is_empty() {
                sent(peer, &mut writing);
                continue;
            }
        }
        let due = match &waiting {
            Some((at, ..)) if writing.bytes.is_empty() => (*at).max(silent_until),
            // Waiting for the node: to take bytes, or to say something.
            _ => heard_at + PATIENCE,
        };
        let happened =
            next(&mut stream, &mut buffer, false, &mut writing.bytes, due, &mut peer.orders).await;
        match happened {
            Happened::Read(0) => return Close::Eof,
            Happened::Read(len) => {
                heard_at = Instant::now();
                listens = false;
                for heard in encoder.receive(&buffer[..len]) {
                    if let Heard::Publishing = heard {
                        start = Instant::now();
                    }
                    tell(peer, publish, heard);
                }
            }
            Happened::Written => {
                heard_at = Instant::now();
                sent(peer, &mut writing);
                writing.go_on();
            }
            Happened::Lost => return Close::Reset,
            Happened::Told(Order::Stall(time)) => silent_until = Instant::now() + time,
            Happened::Told(
                Order::StopReading(_) | Order::Receive(_) | Order::Crash | Order::Start,
            ) => {}
            Happened::Told(Order::Leave(leave)) => match leave {
                Leave::Goodbye => {
                    let last = append(writing.take_all(), encoder.goodbye());
                    if write_last(&mut stream, &last).await.is_ok() {
                        sent(peer, &mut writing);
                    }
                    return Close::Left;
                }
                Leave::HalfClose => {
                    let _gone_as_well = write_last(&mut stream, &[]).await;
                    listens = true;
                    waiting = None;
                    writing = Writing::default();
                }
                Leave::Close | Leave::Reset => return finish(stream, Close::Left, leave),
                Leave::Vanish => return finish(stream, Close::Vanished, leave),
            },
            Happened::Due if listens || !writing.bytes.is_empty() => return Close::TimedOut,
            Happened::Due => {}
        }
    }
}

fn sent<N: Dial>(peer: &Peer<N>, writing: &mut Writing) {
    writing.tags.drain(..).for_each(|tag| peer.push(What::Sent(tag)));
}

fn tell<N: Dial>(peer: &Peer<N>, publish: &Publish, heard: Heard) {
    peer.push(match heard {
        Heard::Publishing => What::Publishing { key: publish.key.as_str().into() },
        Heard::ToldError { code, words } => {
            What::ToldError { code: code.into(), words: words.into() }
        }
        Heard::ToldEnd => What::ToldEnd,
        Heard::Garbled(why) => What::Garbled { why: why.into() },
    });
}
