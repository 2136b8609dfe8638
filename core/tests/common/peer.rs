//! Encoders and players made of rml_rtmp, which others wrote.

use std::collections::VecDeque;
use std::net::SocketAddr;
use std::sync::atomic::Ordering;
use std::sync::{Arc, Mutex};

use forebay::shell::net::Net as _;
use rml_rtmp::handshake::{Handshake, HandshakeProcessResult, PeerType};
use rml_rtmp::sessions::{
    ClientSession, ClientSessionConfig, ClientSessionEvent as Event, ClientSessionResult,
    PublishRequestType,
};
use rml_rtmp::time::RtmpTimestamp;
use tokio::io::{AsyncReadExt, AsyncWriteExt};

use crate::mem_net::{Calls, MemNet, MemStream};

/// A client that has connected to app `live`.
pub(crate) struct Peer {
    stream: MemStream,
    session: ClientSession,
    events: VecDeque<Event>,
}

impl Peer {
    #[allow(dead_code, reason = "not every test stops there")]
    pub(crate) async fn connect(net: &MemNet) -> Self {
        Self::connect_with(net, 1935, ClientSessionConfig::new()).await
    }

    async fn connect_with(net: &MemNet, port: u16, config: ClientSessionConfig) -> Self {
        let mut stream = net.connect("", port).await.unwrap();
        let mut handshake = Handshake::new(PeerType::Client);
        stream.write_all(&handshake.generate_outbound_p0_and_p1().unwrap()).await.unwrap();
        let mut received = [0; 4096];
        loop {
            let len = stream.read(&mut received).await.unwrap();
            match handshake.process_bytes(&received[..len]).unwrap() {
                HandshakeProcessResult::InProgress { response_bytes } => {
                    stream.write_all(&response_bytes).await.unwrap();
                }
                HandshakeProcessResult::Completed { response_bytes, .. } => {
                    stream.write_all(&response_bytes).await.unwrap();
                    break;
                }
            }
        }
        let (session, results) = ClientSession::new(config).unwrap();
        let mut peer = Self { stream, session, events: VecDeque::new() };
        peer.carry(results).await;
        let request = peer.session.request_connection("live".into()).unwrap();
        peer.carry(vec![request]).await;
        assert_eq!(peer.next().await, Some(Event::ConnectionRequestAccepted));
        peer
    }

    async fn carry(&mut self, results: Vec<ClientSessionResult>) {
        for result in results {
            match result {
                ClientSessionResult::OutboundResponse(packet) => {
                    // The server may have closed: what it said before is still to be read.
                    let _gone = self.stream.write_all(&packet.bytes).await;
                }
                ClientSessionResult::RaisedEvent(event) => self.events.push_back(event),
                ClientSessionResult::UnhandleableMessageReceived(_) => {}
            }
        }
    }

    /// The next event; `None` when the server has closed.
    pub(crate) async fn next(&mut self) -> Option<Event> {
        let mut received = vec![0; 64 << 10];
        while self.events.is_empty() {
            let len = self.stream.read(&mut received).await.ok().filter(|&len| len > 0)?;
            let results = self.session.handle_input(&received[..len]).unwrap();
            self.carry(results).await;
        }
        self.events.pop_front()
    }

    pub(crate) async fn request_play(&mut self, name: &str) {
        let request = self.session.request_playback(name.into()).unwrap();
        self.carry(vec![request]).await;
    }

    /// Plays, and waits until the server says so.
    pub(crate) async fn play(net: &MemNet, name: &str) -> Self {
        Self::play_at(net, 1935, name).await
    }

    /// The same, from the server that listens on this port.
    pub(crate) async fn play_at(net: &MemNet, port: u16, name: &str) -> Self {
        let mut peer = Self::connect_with(net, port, ClientSessionConfig::new()).await;
        peer.request_play(name).await;
        assert_eq!(peer.next().await, Some(Event::PlaybackRequestAccepted));
        peer
    }

    /// Publishes, and waits until the server says so.
    pub(crate) async fn publish(net: &MemNet, name: &str) -> Self {
        Self::publish_with(net, name, ClientSessionConfig::new()).await
    }

    pub(crate) async fn publish_with(
        net: &MemNet,
        name: &str,
        config: ClientSessionConfig,
    ) -> Self {
        let mut peer = Self::connect_with(net, 1935, config).await;
        let request =
            peer.session.request_publishing(name.into(), PublishRequestType::Live).unwrap();
        peer.carry(vec![request]).await;
        assert_eq!(peer.next().await, Some(Event::PublishRequestAccepted));
        peer
    }

    pub(crate) async fn send_video(&mut self, ms: u32, payload: Vec<u8>) {
        let result = self.session.publish_video_data(payload.into(), RtmpTimestamp::new(ms), false);
        self.carry(vec![result.unwrap()]).await;
    }

    pub(crate) async fn send_audio(&mut self, ms: u32, payload: Vec<u8>) {
        let result = self.session.publish_audio_data(payload.into(), RtmpTimestamp::new(ms), false);
        self.carry(vec![result.unwrap()]).await;
    }

    /// Sends the first `len` bytes of a video message.
    #[allow(dead_code, reason = "not every test stops in the middle")]
    pub(crate) async fn send_video_up_to(&mut self, ms: u32, payload: Vec<u8>, len: usize) {
        let result = self.session.publish_video_data(payload.into(), RtmpTimestamp::new(ms), false);
        let ClientSessionResult::OutboundResponse(packet) = result.unwrap() else { return };
        self.stream.write_all(&packet.bytes[..len]).await.unwrap();
    }

    /// Where it was dialled from, which is how the server knows it.
    #[allow(dead_code, reason = "not every test names its peers")]
    pub(crate) fn address(&self) -> SocketAddr {
        self.stream.dialed_from
    }

    /// The server's next read of this connection panics, which is at once.
    #[allow(dead_code, reason = "not every test breaks its server")]
    pub(crate) async fn panic_server(&mut self) {
        self.stream.peer_panics.store(true, Ordering::Relaxed);
        self.stream.write_all(&[3]).await.unwrap();
    }

    /// What the server did on this connection.
    #[allow(dead_code, reason = "not every test counts")]
    pub(crate) fn server_calls(&self) -> Calls {
        self.stream.peer_calls.lock().unwrap().clone()
    }

    /// The same, for whoever gives the peer away.
    #[allow(dead_code, reason = "not every test counts")]
    pub(crate) fn shared_calls(&self) -> Arc<Mutex<Calls>> {
        self.stream.peer_calls.clone()
    }

    /// Says goodbye and closes.
    pub(crate) async fn stop_publishing(mut self) {
        let results = self.session.stop_publishing().unwrap();
        self.carry(results).await;
        self.stream.shutdown().await.unwrap();
    }
}
