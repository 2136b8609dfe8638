//! rml_rtmp, written by others, as the peer.

use bytes::Bytes;
use forebay::flv::TagKind;
use forebay::rtmp::chunk::{ChunkWriter, MessageHeader};
use forebay::rtmp::client::Role;
use forebay::rtmp::{ClientHandshake, Input, ServerHandshake};
use forebay::time::Timestamp;
use rml_rtmp::handshake::{Handshake, HandshakeProcessResult, PeerType};
use rml_rtmp::sessions::{
    ClientSession, ClientSessionConfig, ClientSessionEvent, ClientSessionResult,
    PublishRequestType, ServerSession, ServerSessionConfig, ServerSessionEvent,
    ServerSessionResult, StreamMetadata,
};
use rml_rtmp::time::RtmpTimestamp;

use crate::Host;
use crate::pair::{Guest, some_tags};

/// A client session of rml_rtmp behind its handshake with `host`.
struct Peer {
    session: ClientSession,
    events: Vec<ClientSessionEvent>,
}

impl Peer {
    fn connect(host: &mut Host) -> Self {
        let mut handshake = Handshake::new(PeerType::Client);
        host.receive(handshake.generate_outbound_p0_and_p1().unwrap());
        let result = handshake.process_bytes(&host.take_sent()).unwrap();
        let HandshakeProcessResult::Completed { response_bytes, remaining_bytes } = result else {
            panic!("S0 to S2 come in one piece: {result:?}");
        };
        assert!(remaining_bytes.is_empty(), "nothing is sent before C2");
        host.receive(response_bytes);
        let (session, results) = ClientSession::new(ClientSessionConfig::new()).unwrap();
        let mut peer = Self { session, events: Vec::new() };
        peer.exchange(host, results);
        let request = peer.session.request_connection("live".into()).unwrap();
        peer.exchange(host, vec![request]);
        assert_eq!(peer.events, [ClientSessionEvent::ConnectionRequestAccepted]);
        peer.events.clear();
        peer
    }

    /// Carries `results` to the host and its answers back, until both are silent.
    fn exchange(&mut self, host: &mut Host, mut results: Vec<ClientSessionResult>) {
        while !results.is_empty() {
            for result in results.drain(..) {
                match result {
                    ClientSessionResult::OutboundResponse(packet) => host.receive(packet.bytes),
                    ClientSessionResult::RaisedEvent(event) => self.events.push(event),
                    ClientSessionResult::UnhandleableMessageReceived(message) => {
                        // It does not know Set Peer Bandwidth and Stream Begin of stream 0.
                        assert!([4, 6].contains(&message.type_id), "{message:?}");
                    }
                }
            }
            results = self.session.handle_input(&host.take_sent()).unwrap();
        }
    }
}

#[test]
fn rml_client_publishes() {
    let mut host = Host::new();
    let mut peer = Peer::connect(&mut host);
    let request = peer.session.request_publishing("cam?k=v".into(), PublishRequestType::Live);
    peer.exchange(&mut host, vec![request.unwrap()]);
    assert_eq!(peer.events, [ClientSessionEvent::PublishRequestAccepted]);

    let mut metadata = StreamMetadata::new();
    metadata.video_width = Some(640);
    let frame: Vec<u8> = [0x17, 1].into_iter().chain((0..5000).map(|i| i as u8)).collect();
    let time = RtmpTimestamp::new;
    let results = vec![
        peer.session.publish_metadata(&metadata).unwrap(),
        peer.session.publish_audio_data(Bytes::from_static(b"\xaf\0"), time(0), false).unwrap(),
        peer.session.publish_video_data(frame.clone().into(), time(40), false).unwrap(),
    ];
    peer.exchange(&mut host, results);
    let results = peer.session.stop_publishing().unwrap();
    peer.exchange(&mut host, results);

    let tags: Vec<_> = host.seen.tags.iter().map(|(_, tag)| tag).collect();
    assert_eq!(tags.len(), 3);
    assert_eq!(tags[0].payload.first_chunk(), Some(*b"\x02\0\x0aonMetaData"));
    assert_eq!((tags[1].kind, tags[1].timestamp.as_ms()), (TagKind::Audio, 0));
    assert_eq!((tags[2].kind, tags[2].timestamp.as_ms()), (TagKind::Video, 40));
    assert!(tags[2].payload == frame[..]);
    assert_eq!(host.seen.events, ["publish 1 live cam k=v", "unpublish 1"]);
}

#[test]
fn rml_client_plays_media_written_beside_the_connection() {
    let mut host = Host::new();
    let mut peer = Peer::connect(&mut host);
    let request = peer.session.request_playback("cam".into()).unwrap();
    peer.exchange(&mut host, vec![request]);
    assert_eq!(peer.events, [ClientSessionEvent::PlaybackRequestAccepted]);
    assert_eq!(host.seen.events, ["play 1 live cam  false"]);
    peer.events.clear();

    // What the shell's wire log does: chunk streams 4 and 6, chunk size 65536.
    let mut writer = ChunkWriter::new();
    writer.set_chunk_size(65536);
    let frame = Bytes::from(vec![0x17; 100_000]);
    let timestamp = Timestamp::from_ms(0x1000000);
    for (csid, type_id, payload) in [(4, 8, &b"\xaf\x01"[..]), (6, 9, &frame)] {
        let header = MessageHeader { csid, type_id, stream_id: 1, timestamp };
        writer.write(header, payload, &mut host.seen.sent);
    }
    peer.exchange(&mut host, vec![]);
    let results = peer.session.handle_input(&host.take_sent()).unwrap();
    peer.exchange(&mut host, results);
    let time = RtmpTimestamp::new(0x1000000);
    let audio =
        ClientSessionEvent::AudioDataReceived { timestamp: time, data: b"\xaf\x01"[..].into() };
    assert_eq!(peer.events[0], audio);
    let video = ClientSessionEvent::VideoDataReceived { timestamp: time, data: frame };
    assert!(peer.events[1] == video);

    peer.events.clear();
    host.connection.end_play(1);
    host.drain();
    let results = peer.session.handle_input(&host.take_sent()).unwrap();
    peer.exchange(&mut host, results);
    let code = "NetStream.Play.UnpublishNotify".to_string();
    assert_eq!(peer.events, [ClientSessionEvent::UnhandleableOnStatusCode { code }]);
}

#[test]
fn rml_client_signs_its_handshake_and_ours_is_accepted_byte_by_byte() {
    let mut rml = Handshake::new(PeerType::Client);
    let mut ours = ServerHandshake::new(3);
    let mut answer = Vec::new();
    for byte in rml.generate_outbound_p0_and_p1().unwrap() {
        let sent = ours.read(&mut Bytes::from(vec![byte])).unwrap();
        answer.extend(sent.unwrap_or_default());
    }
    // S1 has a version, so the digest of C1 was found.
    assert_ne!(answer[5..9], [0; 4]);
    let mut c2 = Vec::new();
    for (index, byte) in answer.iter().enumerate() {
        let result = rml.process_bytes(&[*byte]).unwrap();
        let last = index + 1 == answer.len();
        match result {
            HandshakeProcessResult::Completed { response_bytes, .. } if last => {
                c2.extend(response_bytes);
            }
            HandshakeProcessResult::InProgress { response_bytes } if !last => {
                c2.extend(response_bytes);
            }
            result => panic!("byte {index}: {result:?}"),
        }
    }
    assert_eq!(c2.len(), 1536);
    assert_eq!(ours.read(&mut c2.into()).unwrap(), None);
    assert!(ours.is_done());
}

#[test]
fn rml_server_takes_our_client() {
    let mut rml = Handshake::new(PeerType::Server);
    let (mut ours, c0_c1) = ClientHandshake::new(5);
    let HandshakeProcessResult::InProgress { response_bytes } = rml.process_bytes(&c0_c1).unwrap()
    else {
        panic!("it waits for C2")
    };
    let mut input = Bytes::from(response_bytes);
    let c2 = ours.read(&mut input).unwrap().expect("C2 answers S1");
    assert!(ours.is_done());
    let result = rml.process_bytes(&[&c2[..], b"chunks"].concat()).unwrap();
    let HandshakeProcessResult::Completed { remaining_bytes, .. } = result else {
        panic!("C2 was the last")
    };
    assert_eq!(remaining_bytes, b"chunks");
}

/// Carries bytes between `guest` and a server session of rml_rtmp until both are silent.
fn serve(session: &mut ServerSession, guest: &mut Guest) -> Vec<ServerSessionEvent> {
    let mut events = Vec::new();
    while !guest.sent.is_empty() {
        let bytes = std::mem::take(&mut guest.sent).concat();
        let mut results = session.handle_input(&bytes).unwrap();
        while !results.is_empty() {
            for result in std::mem::take(&mut results) {
                match result {
                    ServerSessionResult::OutboundResponse(packet) => {
                        guest.input(Input::Received(packet.bytes.into()));
                    }
                    ServerSessionResult::RaisedEvent(event) => {
                        if let ServerSessionEvent::ConnectionRequested { request_id, .. }
                        | ServerSessionEvent::PublishStreamRequested { request_id, .. } = event
                        {
                            results.extend(session.accept_request(request_id).unwrap());
                        }
                        events.push(event);
                    }
                    ServerSessionResult::UnhandleableMessageReceived(_) => {}
                }
            }
        }
    }
    events
}

#[test]
fn rml_server_takes_what_our_client_publishes() {
    let mut guest = Guest::new(Role::Publish, "rtmp://host/live/cam?k=v");
    let mut handshake = Handshake::new(PeerType::Server);
    let c0_c1 = guest.sent.remove(0);
    let HandshakeProcessResult::InProgress { response_bytes } =
        handshake.process_bytes(&c0_c1).unwrap()
    else {
        panic!("it waits for C2")
    };
    guest.input(Input::Received(response_bytes.into()));
    let result = handshake.process_bytes(&guest.sent.remove(0)).unwrap();
    let HandshakeProcessResult::Completed { remaining_bytes, .. } = result else {
        panic!("C2 was in there")
    };
    guest.sent.push(remaining_bytes.into());

    let (mut session, results) = ServerSession::new(ServerSessionConfig::new()).unwrap();
    for result in results {
        if let ServerSessionResult::OutboundResponse(packet) = result {
            guest.input(Input::Received(packet.bytes.into()));
        }
    }
    let events = serve(&mut session, &mut guest);
    assert!(guest.started, "{events:?}");
    // An empty message is more than it understands.
    let tags: Vec<_> = some_tags().into_iter().filter(|tag| !tag.payload.is_empty()).collect();
    tags.iter().for_each(|tag| guest.connection.send_tag(tag));
    guest.connection.finish();
    guest.drain();
    assert!(guest.closed && guest.error.is_none());
    let mut media = tags.iter().filter(|tag| tag.kind != TagKind::Script);
    let mut others = Vec::new();
    for event in serve(&mut session, &mut guest) {
        match event {
            ServerSessionEvent::AudioDataReceived { data, timestamp, .. }
            | ServerSessionEvent::VideoDataReceived { data, timestamp, .. } => {
                let tag = media.next().unwrap();
                assert!(tag.payload == data[..]);
                assert_eq!(tag.timestamp.as_ms(), timestamp.value);
            }
            other => others.push(other),
        }
    }
    assert_eq!(media.next(), None);
    let finished = ServerSessionEvent::PublishStreamFinished {
        app_name: "live".into(),
        stream_key: "cam?k=v".into(),
    };
    assert!(others.contains(&finished), "{others:?}");
}
