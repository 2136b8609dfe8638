//! HTTP: HTTP-FLV, the API, metrics and health; a connection at a time.

mod api;
mod flv;
mod metrics;

use std::future::Future;
use std::net::SocketAddr;
use std::pin::pin;
use std::sync::Arc;

use axum::extract::{Path, RawQuery, State};
use axum::http::{HeaderMap, HeaderValue, StatusCode, header};
use axum::response::{IntoResponse, Response};
use axum::routing::get;
use axum::{Extension, Json, Router};
use hyper::server::conn::http1;
use hyper_util::rt::{TokioIo, TokioTimer};
use hyper_util::service::TowerToHyperService;
use tokio::sync::watch;

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
    let io = TokioIo::new(StallGuard::new(stream, shared.clone()));
    let service = TowerToHyperService::new(router(shared, Peer(peer)));
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

#[derive(Clone, Copy)]
struct Peer(SocketAddr);

fn router(shared: Arc<Shared>, peer: Peer) -> Router {
    Router::new()
        .route("/healthz", get(async || "ok\n"))
        .route("/metrics", get(metrics))
        .route("/api/streams", get(streams))
        .route("/{*path}", get(media))
        .fallback(async || {
            problem(StatusCode::NOT_FOUND, "there is nothing here; try /api/streams")
        })
        .layer(Extension(peer))
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

/// `/APP/NAME.flv`, where APP may have slashes and NAME may have escaped ones.
async fn media(
    State(shared): State<Arc<Shared>>,
    Extension(Peer(peer)): Extension<Peer>,
    Path(_): Path<String>,
    RawQuery(query): RawQuery,
    method: axum::http::Method,
    uri: axum::http::Uri,
    _headers: HeaderMap,
) -> Response {
    let Some(path) = uri.path().trim_start_matches('/').strip_suffix(".flv") else {
        return problem(
            StatusCode::NOT_FOUND,
            "there is nothing here; streams are at /APP/NAME.flv",
        );
    };
    match flv::key_of(path) {
        Ok(key) => flv::play(shared, key, query.unwrap_or_default(), peer, method).await,
        Err(reason) => problem(StatusCode::BAD_REQUEST, reason),
    }
}

fn problem(status: StatusCode, reason: impl std::fmt::Display) -> Response {
    (status, format!("{reason}\n")).into_response()
}
