//! TLS to other servers: whom we trust, and a stream that may be encrypted.

use std::io::{self, IoSlice};
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::{Duration, Instant};

use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio_rustls::TlsConnector;
use tokio_rustls::client::TlsStream;
use tokio_rustls::rustls::crypto::ring;
use tokio_rustls::rustls::pki_types::{CertificateDer, ServerName, UnixTime};
use tokio_rustls::rustls::time_provider::TimeProvider;
use tokio_rustls::rustls::{self, ClientConfig, RootCertStore};

use super::net::Stream;
use super::now;

/// Makes encrypted connections to servers that somebody we trust vouches for.
#[derive(Clone)]
pub(super) struct Tls {
    connector: TlsConnector,
}

/// The time of day as the server counts it: certificates have an end.
#[derive(Clone, Copy, Debug)]
pub(super) struct TimeOfDay {
    pub(super) at_start: Duration,
    pub(super) started: Instant,
}

impl TimeProvider for TimeOfDay {
    fn current_time(&self) -> Option<UnixTime> {
        let since_start = now().saturating_duration_since(self.started);
        Some(UnixTime::since_unix_epoch(self.at_start + since_start))
    }
}

impl Tls {
    /// Trusts the system's certificates, and these.
    ///
    /// # Errors
    ///
    /// If there is nobody to trust.
    pub(super) fn new(more: &[CertificateDer<'static>], time: TimeOfDay) -> io::Result<Self> {
        let mut roots = RootCertStore::empty();
        let system = rustls_native_certs::load_native_certs();
        let (trusted, _) =
            roots.add_parsable_certificates(system.certs.into_iter().chain(more.iter().cloned()));
        if trusted == 0 {
            let why = system.errors.first().map_or_else(String::new, |error| format!(": {error}"));
            let text = format!("rtmps needs certificates to trust, and the system has none{why}");
            return Err(io::Error::new(io::ErrorKind::NotFound, text));
        }
        let provider = Arc::new(ring::default_provider());
        let config = ClientConfig::builder_with_details(provider, Arc::new(time))
            .with_safe_default_protocol_versions()
            .map_err(io::Error::other)?
            .with_root_certificates(roots)
            .with_no_client_auth();
        Ok(Self { connector: TlsConnector::from(Arc::new(config)) })
    }

    /// Encrypts a connection to `host`, which has to prove that it is.
    ///
    /// # Errors
    ///
    /// If it does not, or cannot.
    pub(super) async fn connect<S: Stream>(
        &self,
        host: &str,
        stream: S,
    ) -> io::Result<Connection<S>> {
        let name = ServerName::try_from(host.to_owned()).map_err(io::Error::other)?;
        let stream = self.connector.connect(name, stream).await?;
        Ok(Connection::Tls(Box::new(stream)))
    }
}

/// Whether the other side could not prove that it is who it should be.
pub(super) fn is_untrusted(error: &io::Error) -> bool {
    let inner = error.get_ref().and_then(|inner| inner.downcast_ref::<rustls::Error>());
    matches!(inner, Some(rustls::Error::InvalidCertificate(_)))
}

/// A connection that may be encrypted.
pub(super) enum Connection<S> {
    Plain(S),
    Tls(Box<TlsStream<S>>),
}

impl<S: Stream> Stream for Connection<S> {
    fn set_nodelay(&self, on: bool) -> io::Result<()> {
        self.socket().set_nodelay(on)
    }

    fn set_unsent_len_max(&self, len: u32) -> io::Result<()> {
        self.socket().set_unsent_len_max(len)
    }
}

impl<S> Connection<S> {
    fn socket(&self) -> &S {
        match self {
            Self::Plain(stream) => stream,
            Self::Tls(stream) => stream.get_ref().0,
        }
    }
}

impl<S: Stream> AsyncRead for Connection<S> {
    fn poll_read(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        match self.get_mut() {
            Self::Plain(stream) => Pin::new(stream).poll_read(cx, buf),
            Self::Tls(stream) => Pin::new(stream).poll_read(cx, buf),
        }
    }
}

impl<S: Stream> AsyncWrite for Connection<S> {
    fn poll_write(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: &[u8],
    ) -> Poll<io::Result<usize>> {
        match self.get_mut() {
            Self::Plain(stream) => Pin::new(stream).poll_write(cx, buf),
            Self::Tls(stream) => Pin::new(stream).poll_write(cx, buf),
        }
    }

    fn poll_write_vectored(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        bufs: &[IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        match self.get_mut() {
            Self::Plain(stream) => Pin::new(stream).poll_write_vectored(cx, bufs),
            Self::Tls(stream) => Pin::new(stream).poll_write_vectored(cx, bufs),
        }
    }

    fn is_write_vectored(&self) -> bool {
        match self {
            Self::Plain(stream) => stream.is_write_vectored(),
            Self::Tls(stream) => stream.is_write_vectored(),
        }
    }

    fn poll_flush(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        match self.get_mut() {
            Self::Plain(stream) => Pin::new(stream).poll_flush(cx),
            Self::Tls(stream) => Pin::new(stream).poll_flush(cx),
        }
    }

    fn poll_shutdown(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        match self.get_mut() {
            Self::Plain(stream) => Pin::new(stream).poll_shutdown(cx),
            Self::Tls(stream) => Pin::new(stream).poll_shutdown(cx),
        }
    }
}
