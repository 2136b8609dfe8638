//! HTTP: HTTP-FLV, HLS, the page, the API, metrics and health; a connection at a time.

mod api;
mod body;
mod flv;
mod hls;
mod metrics;
mod page;

use std::future::Future;
use std::net::SocketAddr;
use std::pin::pin;
use std::sync::Arc;

use axum::extract::State;
use axum::http::{HeaderValue, Method, StatusCode, header};
use axum::response::{IntoResponse, Response};
use axum::routing::get;
use axum::{Json, Router};
use hyper::Request;
use hyper::body::Incoming;
use hyper::server::conn::http1;
use hyper::service::{Service as _, service_fn};
use hyper_util::rt::{TokioIo, TokioTimer};
use hyper_util::service::TowerToHyperService;
use tokio::sync::watch;

use self::body::Body;
use super::net::Stream;
use super::stall::StallGuard;
use super::{OpenConnection, Shared, shutdown};

/// Bytes of a request's head, which is also what one idle connection may buffer.
const HEAD_LEN_MAX: usize = 16 << 10;

pub(super) async fn serve<S: Stream>(
    shared: Arc<Shared>,
    stream: S,
    peer: SocketAddr,
    stopped: watch::Receiver<bool>,
    _open: OpenConnection,
) {
    let timeout = shared.config.http_header_timeout;
    let stall_timeout = shared.config.play.write_stall_timeout;
    let io = TokioIo::new(StallGuard::new(stream, shared.clone(), stall_timeout));
    let service = service_fn(move |request: Request<Incoming>| {
        let shared = shared.clone();
        async move {
            if let Some(path) = stream_of(&request) {
                return Ok(media(shared, peer, path, &request).await);
            }
            if let Some(route) = hls::Route::of(&request) {
                return Ok(hls::serve(shared, peer, route, &request).await);
            }
            // Made when it is needed: thousands of players would each hold one.
            let others = TowerToHyperService::new(router(shared));
            others.call(request).await.map(|response| response.map(Body::from))
        }
    });
    let connection = http1::Builder::new()
        // It would read the system's clock.
        .auto_date_header(false)
        .timer(TokioTimer::new())
        .header_read_timeout(timeout)
        .max_buf_size(HEAD_LEN_MAX)
        .half_close(false)
        .serve_connection(io, service);
    let mut connection = pin!(connection);
    let mut stopping = shutdown(stopped);
    let mut is_stopping = false;
    let served = std::future::poll_fn(|cx| {
        if !is_stopping && stopping.as_mut().poll(cx).is_ready() {
            is_stopping = true;
            connection.as_mut().graceful_shutdown();
        }
        connection.as_mut().poll(cx)
    });
    if let Err(error) = served.await {
        tracing::debug!(%peer, %error, "HTTP connection lost");
    }
}

fn router(shared: Arc<Shared>) -> Router {
    let nothing = async || {
        problem(
            StatusCode::NOT_FOUND,
            "there is nothing here; streams are at /APP/NAME.flv, /APP/NAME.mp4 and /APP/NAME/index.m3u8",
        )
    };
    page::routes()
        .route("/healthz", get(async || "ok\n"))
        .route("/metrics", get(metrics))
        .route("/api/streams", get(streams))
        .route("/{*path}", get(nothing))
        .fallback(async || {
            problem(StatusCode::NOT_FOUND, "there is nothing here; try /api/streams")
        })
        .with_state(shared)
}

async fn metrics(State(shared): State<Arc<Shared>>) -> Response {
    let content_type =
        [(header::CONTENT_TYPE, "application/openmetrics-text; version=1.0.0; charset=utf-8")];
    (content_type, metrics::encode(&shared)).into_response()
}

async fn streams(State(shared): State<Arc<Shared>>) -> Response {
    let mut response = Json(api::streams(&shared)).into_response();
    let headers = response.headers_mut();
    headers.insert(header::CACHE_CONTROL, HeaderValue::from_static("no-store"));
    headers.insert(header::ACCESS_CONTROL_ALLOW_ORIGIN, HeaderValue::from_static("*"));
    response
}

/// What stands before `.flv` in a request for a stream. It does not go through the router, whose
/// bodies are single pieces of memory: what a tick brought is several, and one write.
fn stream_of<B>(request: &Request<B>) -> Option<&str> {
    let is_play = matches!(*request.method(), Method::GET | Method::HEAD);
    request.uri().path().trim_start_matches('/').strip_suffix(".flv").filter(|_| is_play)
}

/// `/APP/NAME.flv`, where APP may have slashes and NAME may have escaped ones.
async fn media<B>(
    shared: Arc<Shared>,
    peer: SocketAddr,
    path: &str,
    request: &Request<B>,
) -> Response<Body> {
    let query = request.uri().query().unwrap_or_default();
    match flv::key_of(path) {
        Ok(key) => flv::play(shared, key, query, peer, request.method()).await,
        Err(reason) => problem(StatusCode::BAD_REQUEST, reason).map(Body::from),
    }
}

fn problem(status: StatusCode, reason: impl std::fmt::Display) -> Response {
    (status, format!("{reason}\n")).into_response()
}
