//! HLS by HTTP: playlists, segments and parts, and the endless file; `/APP/NAME/…`, `/APP/NAME.mp4`.

mod endless;

use std::io::Write as _;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::{Duration, Instant};

use axum::http::{HeaderMap, HeaderValue, Method, StatusCode, header};
use axum::response::Response;
use bytes::Bytes;
use hyper::Request;

pub(super) use self::endless::EndlessBody;
use super::body::{Body, Slices};
use super::flv::key_of;
use super::problem;
use crate::hls::{Found, PlaylistRequest, Presentation, State};
use crate::hub::StreamKey;
use crate::shell::hls::{LiveStream, Whose};
use crate::shell::{Shared, now};

/// What a path asks for. The stream's own path has no slash at its ends.
pub(super) enum Route<'a> {
    /// `/APP/NAME.mp4`.
    Endless(&'a str),
    /// `/APP/NAME/index.m3u8`.
    Multivariant(&'a str),
    /// `/APP/NAME/media.m3u8`.
    Media(&'a str),
    /// `/APP/NAME/….m4s`.
    File(&'a str, &'a str),
}

impl<'a> Route<'a> {
    pub(super) fn of<B>(request: &'a Request<B>) -> Option<Self> {
        let is_asked = matches!(*request.method(), Method::GET | Method::HEAD | Method::OPTIONS);
        let path = request.uri().path().trim_start_matches('/');
        if !is_asked {
            return None;
        }
        if let Some(stream) = path.strip_suffix(".mp4") {
            return Some(Self::Endless(stream));
        }
        let (stream, file) = path.rsplit_once('/')?;
        match file {
            "index.m3u8" => Some(Self::Multivariant(stream)),
            "media.m3u8" => Some(Self::Media(stream)),
            file if file.ends_with(".m4s") => Some(Self::File(stream, file)),
            _ => None,
        }
    }

    fn stream(&self) -> &'a str {
        match self {
            Self::Endless(stream) | Self::Multivariant(stream) => stream,
            Self::Media(stream) | Self::File(stream, _) => stream,
        }
    }
}

/// A request in short.
struct Asked<'a> {
    shared: &'a Arc<Shared>,
    key: StreamKey,
    query: &'a str,
    is_gzip_welcome: bool,
    is_head: bool,
    peer: SocketAddr,
}

pub(super) async fn serve<B>(
    shared: Arc<Shared>,
    peer: SocketAddr,
    route: Route<'_>,
    request: &Request<B>,
) -> Response<Body> {
    let mut response = match key_of(route.stream()) {
        _ if *request.method() == Method::OPTIONS => empty(StatusCode::NO_CONTENT),
        Err(reason) => problem(StatusCode::BAD_REQUEST, reason).map(Body::from),
        Ok(_) if !shared.config.hls.enabled => {
            let reason = "HLS is off: hls.enabled is false";
            problem(StatusCode::NOT_FOUND, reason).map(Body::from)
        }
        Ok(key) => {
            let asked = Asked {
                shared: &shared,
                key,
                query: request.uri().query().unwrap_or_default(),
                is_gzip_welcome: is_gzip_welcome(request.headers()),
                is_head: *request.method() == Method::HEAD,
                peer,
            };
            match route {
                Route::Endless(_) => endless::play(asked).await,
                Route::Multivariant(_) => asked.multivariant().await,
                Route::Media(_) => asked.media().await,
                Route::File(_, file) => asked.file(file).await,
            }
            .unwrap_or_else(|refusal| *refusal)
        }
    };
    let headers = response.headers_mut();
    let any = HeaderValue::from_static("*");
    headers.insert(header::ACCESS_CONTROL_ALLOW_ORIGIN, any.clone());
    headers.insert(header::ACCESS_CONTROL_ALLOW_HEADERS, any.clone());
    headers.insert(header::ACCESS_CONTROL_EXPOSE_HEADERS, any);
    // What goes wrong now may be right in a moment.
    headers.entry(header::CACHE_CONTROL).or_insert(HeaderValue::from_static("no-store"));
    response
}

const PLAYLIST: &str = "application/vnd.apple.mpegurl";
/// Segments and parts never change under their names. Longer than any of them is listed.
const FOR_EVER: &str = "public, max-age=3600, immutable";

/// Why there is nothing, in a box: it is rare, and answers are passed through many hands.
type Refusal = Box<Response<Body>>;

type Answer = Result<Response<Body>, Refusal>;

fn refuse(status: StatusCode, reason: impl std::fmt::Display) -> Refusal {
    Box::new(problem(status, reason).map(Body::from))
}

impl Asked<'_> {
    /// The stream, if it is live or was until a moment ago.
    async fn stream(&self) -> Result<Arc<LiveStream>, Refusal> {
        let (shared, key) = (self.shared, &self.key);
        let deadline = now() + shared.config.play.wait;
        let stream = shared.presentations.wait_for(key, deadline, || shared.hub.is_live(key)).await;
        stream.ok_or_else(|| {
            let reason = format_args!("nobody publishes {key}");
            refuse(StatusCode::NOT_FOUND, reason)
        })
    }

    /// Waits until `read` finds something, or says why nothing comes.
    async fn wait<T>(
        &self,
        stream: &Arc<LiveStream>,
        read: impl Fn(&Presentation) -> Option<Result<T, Refusal>>,
    ) -> Result<T, Refusal> {
        let is_supported = |presentation: &Presentation| match presentation.state() {
            State::Unsupported(reason) => Some(Err(refuse(
                StatusCode::UNSUPPORTED_MEDIA_TYPE,
                format_args!("{}: {reason}", self.key),
            ))),
            _ => read(presentation),
        };
        if let Some(found) = stream.read(is_supported) {
            return found;
        }
        let Some(waiter) = stream.wait_in_line(Whose::Request) else {
            let reason = format_args!("hls.blocked_requests_max requests wait for {}", self.key);
            return Err(refuse(StatusCode::SERVICE_UNAVAILABLE, reason));
        };
        match waiter.wait(self.deadline(stream), is_supported).await {
            Some(found) => found,
            None => {
                let reason = format_args!("{}: nothing new in three target durations", self.key);
                let mut late = refuse(StatusCode::SERVICE_UNAVAILABLE, reason);
                late.headers_mut().insert(header::RETRY_AFTER, HeaderValue::from_static("1"));
                Err(late)
            }
        }
    }

    /// Three target durations (bis 6.2.5.2); of the longest there may be, before it is known.
    fn deadline(&self, stream: &LiveStream) -> Instant {
        let longest = self.shared.config.hls.settings.target_duration_ms_max;
        let target = stream.read(Presentation::target_duration);
        now() + target.map_or(Duration::from_millis(longest + 5_000), |target| 3 * target)
    }

    async fn multivariant(&self) -> Answer {
        let stream = self.stream().await?;
        let text = self
            .wait(&stream, |presentation| match presentation.state() {
                State::Starting => None,
                _ => Some(Ok(presentation.multivariant())),
            })
            .await?;
        self.is_there(&text)?;
        Ok(self.playlist_response(
            if self.is_gzip_welcome { gzip(&text) } else { None },
            text.into(),
            1,
        ))
    }

    async fn media(&self) -> Answer {
        let request = PlaylistRequest::parse(self.query)
            .map_err(|error| refuse(StatusCode::BAD_REQUEST, error))?;
        let stream = self.stream().await?;
        self.wait(&stream, |presentation| match presentation.is_met(&request) {
            Ok(false) if presentation.state() == State::Ended => Some(Ok(())),
            Ok(false) => None,
            Ok(true) => Some(Ok(())),
            Err(error) => Some(Err(refuse(StatusCode::BAD_REQUEST, error))),
        })
        .await?;
        let plain = stream.playlist(request.delta(), |_| None).unwrap_or_default();
        if plain.is_empty() {
            self.is_there("")?;
        }
        let gzipped =
            if self.is_gzip_welcome { stream.playlist(request.delta(), gzip) } else { None };
        // A URL that names a part is for that part: caches may keep what they got for it.
        let target = stream.read(Presentation::target_duration).unwrap_or_default().as_secs();
        let max_age = if request.number.is_some() { 6 * target } else { 1 };
        Ok(self.playlist_response(gzipped, plain, max_age))
    }

    fn is_there(&self, text: &str) -> Result<(), Refusal> {
        match text.is_empty() {
            false => Ok(()),
            true => {
                let reason = format_args!("{} ended before it had a segment", self.key);
                Err(refuse(StatusCode::NOT_FOUND, reason))
            }
        }
    }

    fn playlist_response(
        &self,
        gzipped: Option<Bytes>,
        plain: Bytes,
        max_age: u64,
    ) -> Response<Body> {
        let is_gzipped = gzipped.is_some();
        let mut response = file_response(PLAYLIST, [gzipped.unwrap_or(plain)]);
        let headers = response.headers_mut();
        if is_gzipped {
            headers.insert(header::CONTENT_ENCODING, HeaderValue::from_static("gzip"));
        }
        headers.insert(header::VARY, HeaderValue::from_static("Accept-Encoding"));
        if let Ok(value) = HeaderValue::try_from(format!("public, max-age={max_age}")) {
            headers.insert(header::CACHE_CONTROL, value);
        }
        response
    }

    async fn file(&self, name: &str) -> Answer {
        let nothing = || {
            let reason = format_args!("{} has no {name}, or no longer", self.key);
            refuse(StatusCode::NOT_FOUND, reason)
        };
        // What is over can still be fetched, also when another life has begun.
        let found = self.shared.presentations.of_name(&self.key, name);
        let (stream, wanted) = found.ok_or_else(nothing)?;
        let found = self
            .wait(&stream, |presentation| match presentation.find(wanted) {
                Some(Found::NotYet) => None,
                Some(found) => Some(Ok(found)),
                None => Some(Err(nothing())),
            })
            .await?;
        let mut response = match found {
            Found::Init(init) => file_response("video/mp4", [init.bytes.clone()]),
            Found::Part(bytes) => file_response("video/mp4", [bytes]),
            Found::Segment(segment) => {
                let parts = segment.parts.iter().map(|part| part.bytes.clone());
                file_response("video/mp4", parts)
            }
            Found::NotYet => return Err(nothing()),
        };
        let for_ever = HeaderValue::from_static(FOR_EVER);
        response.headers_mut().insert(header::CACHE_CONTROL, for_ever);
        Ok(response)
    }
}

fn file_response(
    content_type: &'static str,
    pieces: impl IntoIterator<Item = Bytes>,
) -> Response<Body> {
    let mut response = Response::new(Body::Whole(Some(Slices::from_iter(pieces))));
    response.headers_mut().insert(header::CONTENT_TYPE, HeaderValue::from_static(content_type));
    response
}

fn empty(status: StatusCode) -> Response<Body> {
    let mut response = Response::new(Body::Whole(None));
    *response.status_mut() = status;
    response
}

/// RFC 9110 12.5.3, as far as clients of HLS use it.
fn is_gzip_welcome(headers: &HeaderMap) -> bool {
    headers.get_all(header::ACCEPT_ENCODING).iter().filter_map(|value| value.to_str().ok()).any(
        |value| {
            value.split(',').any(|coding| {
                let (name, parameters) = coding.split_once(';').unwrap_or((coding, ""));
                let is_refused = parameters.trim().strip_prefix("q=").is_some_and(|quality| {
                    quality.trim().parse::<f32>().is_ok_and(|quality| quality == 0.0)
                });
                name.trim().eq_ignore_ascii_case("gzip") && !is_refused
            })
        },
    )
}

fn gzip(text: &str) -> Option<Bytes> {
    let mut encoder = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::fast());
    encoder.write_all(text.as_bytes()).ok()?;
    encoder.finish().ok().map(Bytes::from)
}
