//! The endless file: a viewer as the body of a response, of fragments that all viewers share.

use std::convert::Infallible;
use std::net::SocketAddr;
use std::pin::Pin;
use std::task::{Context, Poll};

use axum::http::{HeaderValue, StatusCode, header};
use axum::response::Response;
use http_body::Frame;

use super::{Answer, Asked, empty, file_response, refuse};
use crate::hls::{Follow, Position, Presentation, State};
use crate::hub::StreamKey;
use crate::shell::hls::{Waiter, Whose};
use crate::shell::http::body::{Body, Slices};

pub(super) async fn play(asked: Asked<'_>) -> Answer {
    let stream = asked.stream().await?;
    let position = asked
        .wait(&stream, |presentation| match presentation.state() {
            State::Ended => Some(Ok(None)),
            _ => presentation.join().map(|position| Ok(Some(position))),
        })
        .await?;
    let gone = || {
        let reason = format_args!("nobody publishes {}", asked.key);
        refuse(StatusCode::NOT_FOUND, reason)
    };
    let position = position.ok_or_else(gone)?;
    let mut response = match asked.is_head {
        true => empty(StatusCode::OK),
        false => {
            let Some(waiter) = stream.wait_in_line(Whose::Viewer) else {
                let reason = format_args!("hls.viewers_max viewers watch {}.mp4", asked.key);
                return Err(refuse(StatusCode::SERVICE_UNAVAILABLE, reason));
            };
            let play = &asked.shared.config.play;
            let (peer, key) = (asked.peer, asked.key.clone());
            tracing::info!(%peer, stream = %key, "playing MP4");
            Response::new(Body::Endless(Box::new(EndlessBody {
                waiter,
                position,
                is_begun: false,
                write_len_max: play.write_len_max,
                behind_ms_max: play.policy.backlog_ms_max,
                sent_bytes: 0,
                skipped_ms: 0,
                peer,
                key,
            })))
        }
    };
    let content_type = file_response("video/mp4", []).headers().get(header::CONTENT_TYPE).cloned();
    let headers = response.headers_mut();
    headers.insert(
        header::CONTENT_TYPE,
        content_type.unwrap_or(HeaderValue::from_static("video/mp4")),
    );
    headers.insert(header::CACHE_CONTROL, HeaderValue::from_static("no-store"));
    Ok(response)
}

/// The stream from where its viewer is. hyper asks for more when it has written what it was given.
pub(in crate::shell::http) struct EndlessBody {
    waiter: Waiter,
    position: Position,
    is_begun: bool,
    write_len_max: usize,
    behind_ms_max: u64,
    sent_bytes: u64,
    skipped_ms: u64,
    peer: SocketAddr,
    key: StreamKey,
}

impl http_body::Body for EndlessBody {
    type Data = Slices;
    type Error = Infallible;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Slices>, Infallible>>> {
        let body = &mut *self;
        let (position, skipped_ms) = (&mut body.position, &mut body.skipped_ms);
        let (len_max, behind_ms_max) = (body.write_len_max, body.behind_ms_max);
        let mut next = |presentation: &Presentation| {
            loop {
                match presentation.follow(position, len_max, behind_ms_max) {
                    Follow::Fragments(fragments) => return Some(Some(fragments)),
                    Follow::Skipped { ms } => *skipped_ms += ms,
                    Follow::End => return Some(None),
                    Follow::Pending => return None,
                }
            }
        };
        match body.waiter.poll(cx, &mut next) {
            Poll::Ready(Some(fragments)) => {
                let init = (!std::mem::replace(&mut body.is_begun, true))
                    .then(|| body.position.init().bytes.clone());
                let slices: Slices = init.into_iter().chain(fragments).collect();
                body.sent_bytes += slices.len() as u64;
                Poll::Ready(Some(Ok(Frame::data(slices))))
            }
            Poll::Ready(None) => Poll::Ready(None),
            Poll::Pending => Poll::Pending,
        }
    }
}

impl Drop for EndlessBody {
    fn drop(&mut self) {
        let Self { peer, key, sent_bytes, skipped_ms, .. } = self;
        tracing::info!(%peer, stream = %key, sent_bytes, skipped_ms, "no longer playing MP4");
    }
}
