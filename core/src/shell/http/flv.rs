//! HTTP-FLV: a viewer as the body of a response that ends with the stream.

use std::convert::Infallible;
use std::future::poll_fn;
use std::net::SocketAddr;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};

use axum::http::{HeaderValue, Method, StatusCode, header};
use axum::response::{IntoResponse as _, Response};
use bytes::Bytes;
use http_body::Frame;
use percent_encoding::percent_decode_str;

use super::body::{Body, Slices};
use super::problem;
use crate::flv::file;
use crate::hub::{HubError, Next, StreamKey, Viewer};
use crate::shell::viewer_log::ViewerLog;
use crate::shell::{Shared, now};
use crate::wire_log::Protocol;

/// The stream of a path without its `.flv`: the last segment is the name, the rest the app.
pub(super) fn key_of(path: &str) -> Result<StreamKey, &'static str> {
    let (app, name) = path.rsplit_once('/').ok_or("streams are at /APP/NAME.flv")?;
    let decode = |text: &str| {
        let text = percent_decode_str(text).decode_utf8().ok()?;
        (!text.is_empty() && !text.contains('\0')).then(|| text.into_owned())
    };
    let wrong = "app and name are UTF-8 without NUL, and not empty";
    Ok(StreamKey::new(&decode(app).ok_or(wrong)?, &decode(name).ok_or(wrong)?))
}

pub(super) async fn play(
    shared: Arc<Shared>,
    key: StreamKey,
    query: &str,
    peer: SocketAddr,
    method: &Method,
) -> Response<Body> {
    let play = shared.config.play;
    if *method == Method::HEAD {
        let is_live = shared.hub.is_live(&key);
        let head = if is_live { StatusCode::OK } else { StatusCode::NOT_FOUND };
        return (head, [(header::CONTENT_TYPE, "video/x-flv")]).into_response().map(Body::from);
    }
    let start = play.start_of(query);
    let view =
        shared.hub.view(key.clone(), Protocol::Flv, 0, start, play.policy, &peer.to_string());
    let viewer = match view {
        Ok(viewer) => viewer,
        Err(error @ (HubError::TooManyTopics { .. } | HubError::TooManySubscribers { .. })) => {
            return problem(StatusCode::SERVICE_UNAVAILABLE, error).map(Body::from);
        }
        Err(error @ HubError::InUse { .. }) => {
            return problem(StatusCode::CONFLICT, error).map(Body::from);
        }
    };
    let log = ViewerLog::begin(&peer.to_string(), key.clone(), start);
    let mut watched = Watched { viewer, log };
    let Watched { viewer, log } = &mut watched;
    // The first bytes say which kinds of media the file header has to name.
    let deadline = now() + play.wait;
    loop {
        let first = poll_fn(|cx| {
            viewer.poll_batch(cx, play.write_len_max).map(|next| match next {
                Next::Batch(batch) => {
                    log.lags(batch.lags());
                    true
                }
                Next::End | Next::Disconnected => false,
            })
        });
        match tokio::time::timeout_at(deadline.into(), first).await {
            Ok(true) => break,
            Err(_) if shared.hub.is_live(&key) => {
                // Published and silent: the publisher has a time-out of its own.
                let any = poll_fn(|cx| viewer.poll_batch(cx, play.write_len_max).map(|_| ()));
                any.await;
            }
            Ok(false) | Err(_) => {
                let reason = format_args!("nobody publishes {key}");
                return problem(StatusCode::NOT_FOUND, reason).map(Body::from);
            }
        }
    }
    let (has_audio, has_video) = viewer.has_audio_video();
    let file_header = file::file_header(has_audio || !has_video, has_video || !has_audio);
    let file_header = Some(Bytes::copy_from_slice(&file_header));
    let body = FlvBody { watched, file_header, write_len_max: play.write_len_max };
    let mut response = Response::new(Body::Stream(Box::new(body)));
    let headers = response.headers_mut();
    headers.insert(header::CONTENT_TYPE, HeaderValue::from_static("video/x-flv"));
    headers.insert(header::CACHE_CONTROL, HeaderValue::from_static("no-store"));
    headers.insert(header::ACCESS_CONTROL_ALLOW_ORIGIN, HeaderValue::from_static("*"));
    response
}

/// A viewer whose account is logged when it leaves, however it leaves.
struct Watched {
    viewer: Viewer,
    log: ViewerLog,
}

impl Drop for Watched {
    fn drop(&mut self) {
        self.log.end(self.viewer.counters());
    }
}

/// The stream from where its viewer is. hyper asks for more when it has written what it was given.
pub(super) struct FlvBody {
    watched: Watched,
    /// Before anything else.
    file_header: Option<Bytes>,
    write_len_max: usize,
}

impl http_body::Body for FlvBody {
    type Data = Slices;
    type Error = Infallible;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Slices>, Infallible>>> {
        let body = &mut *self;
        let Watched { viewer, log } = &mut body.watched;
        match viewer.poll_batch(cx, body.write_len_max) {
            Poll::Ready(Next::Batch(batch)) => {
                log.lags(batch.lags());
                let len = batch.len();
                let slices = batch.slices().iter().cloned();
                let frame = body.file_header.take().into_iter().chain(slices).collect();
                viewer.advance(len);
                Poll::Ready(Some(Ok(Frame::data(frame))))
            }
            Poll::Ready(Next::End | Next::Disconnected) => Poll::Ready(None),
            Poll::Pending => Poll::Pending,
        }
    }
}
