//! A server made of rml_rtmp, which others wrote, to publish to: it writes down what it is sent, and
//! cuts the connection where it is told to.

use std::sync::{Arc, Mutex};

use forebay::shell::net::Net as _;
use rml_rtmp::handshake::{Handshake, HandshakeProcessResult, PeerType};
use rml_rtmp::sessions::{
    ServerSession, ServerSessionConfig, ServerSessionEvent as Event, ServerSessionResult,
};
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt};
use tokio::time::{Duration, Instant, sleep_until};
use tokio_rustls::TlsAcceptor;

use crate::mem_net::MemNet;

/// What a target does with one connection.
#[derive(Clone, Copy, Default)]
pub(crate) struct Manners {
    /// Cuts it behind so many received bytes.
    pub(crate) cut_at: Option<usize>,
    /// Says that the name is in use.
    pub(crate) refuse: bool,
    /// Reads nothing behind the accepted `publish`.
    pub(crate) is_stuck: bool,
}

/// One connection, as its server saw it.
#[derive(Clone, Default)]
pub(crate) struct Seen {
    pub(crate) began: Option<Instant>,
    pub(crate) received: usize,
    pub(crate) stream_key: Option<String>,
    pub(crate) has_metadata: bool,
    /// Decode time and payload of pictures and sounds, headers included, in order.
    pub(crate) media: Vec<(u32, Vec<u8>)>,
    /// The publisher said goodbye.
    pub(crate) is_finished: bool,
    pub(crate) is_closed: bool,
}

impl Seen {
    pub(crate) fn is_video(payload: &[u8]) -> bool {
        matches!(payload[0], 0x17 | 0x27)
    }

    fn add(&mut self, event: Event) {
        match event {
            Event::StreamMetadataChanged { .. } => self.has_metadata = true,
            Event::AudioDataReceived { data, timestamp, .. }
            | Event::VideoDataReceived { data, timestamp, .. } => {
                self.media.push((timestamp.value, data.to_vec()));
            }
            Event::PublishStreamFinished { .. } => self.is_finished = true,
            _ => {}
        }
    }
}

/// All connections that a target had, in order.
pub(crate) type Book = Arc<Mutex<Vec<Seen>>>;

/// Listens on `port` for as long as the runtime lasts; `manners` says what to do with the nth
/// connection.
pub(crate) async fn listen(
    net: &MemNet,
    port: u16,
    manners: impl Fn(usize) -> Manners + Send + 'static,
) -> Book {
    listen_with(net, port, None, manners).await
}

/// The same, behind TLS.
pub(crate) async fn listen_with(
    net: &MemNet,
    port: u16,
    tls: Option<TlsAcceptor>,
    manners: impl Fn(usize) -> Manners + Send + 'static,
) -> Book {
    let listener = net.bind(([0, 0, 0, 0], port).into()).await.unwrap();
    let (book, net) = (Book::default(), net.clone());
    let mine = book.clone();
    tokio::spawn(async move {
        for index in 0.. {
            let (stream, _) = net.accept(&listener).await.unwrap();
            let seen = Seen { began: Some(Instant::now()), ..Seen::default() };
            mine.lock().unwrap().push(seen);
            let (book, manners) = (mine.clone(), manners(index));
            match tls.clone() {
                None => drop(tokio::spawn(One { stream, book, index, manners }.serve())),
                Some(tls) => drop(tokio::spawn(async move {
                    if let Ok(stream) = tls.accept(stream).await {
                        One { stream, book, index, manners }.serve().await;
                    }
                })),
            }
        }
    });
    book
}

struct One<S> {
    stream: S,
    book: Book,
    index: usize,
    manners: Manners,
}

impl<S: AsyncRead + AsyncWrite + Unpin> One<S> {
    async fn serve(mut self) {
        let _over = self.converse().await;
        self.note(|seen| seen.is_closed = true);
    }

    fn note(&self, change: impl FnOnce(&mut Seen)) {
        change(&mut self.book.lock().unwrap()[self.index]);
    }

    /// `None`: the connection is over.
    async fn converse(&mut self) -> Option<()> {
        let mut handshake = Handshake::new(PeerType::Server);
        let mut rest = loop {
            let received = self.receive().await?;
            match handshake.process_bytes(&received).ok()? {
                HandshakeProcessResult::InProgress { response_bytes } => {
                    self.stream.write_all(&response_bytes).await.ok()?;
                }
                HandshakeProcessResult::Completed { response_bytes, remaining_bytes } => {
                    self.stream.write_all(&response_bytes).await.ok()?;
                    break remaining_bytes;
                }
            }
        };
        let (mut session, mut results) = ServerSession::new(ServerSessionConfig::new()).ok()?;
        loop {
            results.extend(session.handle_input(&rest).ok()?);
            while !results.is_empty() {
                for result in std::mem::take(&mut results) {
                    results.extend(self.carry(&mut session, result).await?);
                }
            }
            rest = self.receive().await?;
        }
    }

    async fn carry(
        &mut self,
        session: &mut ServerSession,
        result: ServerSessionResult,
    ) -> Option<Vec<ServerSessionResult>> {
        match result {
            ServerSessionResult::OutboundResponse(packet) => {
                self.stream.write_all(&packet.bytes).await.ok()?;
            }
            ServerSessionResult::RaisedEvent(Event::ConnectionRequested { request_id, .. }) => {
                return session.accept_request(request_id).ok();
            }
            ServerSessionResult::RaisedEvent(Event::PublishStreamRequested {
                request_id,
                stream_key,
                ..
            }) => {
                self.note(|seen| seen.stream_key = Some(stream_key));
                if self.manners.refuse {
                    let code = "NetStream.Publish.BadName";
                    return session.reject_request(request_id, code, "Already publishing").ok();
                }
                return session.accept_request(request_id).ok();
            }
            ServerSessionResult::RaisedEvent(event) => self.note(|seen| seen.add(event)),
            ServerSessionResult::UnhandleableMessageReceived(_) => {}
        }
        Some(Vec::new())
    }

    async fn receive(&mut self) -> Option<Vec<u8>> {
        let (received, is_started) = {
            let seen = &self.book.lock().unwrap()[self.index];
            (seen.received, !seen.media.is_empty())
        };
        if self.manners.is_stuck && is_started {
            sleep_until(Instant::now() + Duration::from_secs(1_000_000)).await;
        }
        let room = self.manners.cut_at.map_or(usize::MAX, |cut_at| cut_at - received);
        let mut bytes = vec![0; room.min(64 << 10)];
        if room == 0 {
            return None;
        }
        let len = self.stream.read(&mut bytes).await.ok().filter(|&len| len > 0)?;
        bytes.truncate(len);
        self.note(|seen| seen.received += len);
        Some(bytes)
    }
}
