//! Our client and our server.

use std::time::{Duration, Instant};

use bytes::Bytes;
use forebay::flv::{Tag, TagKind};
use forebay::rtmp::chunk::{ChunkWriter, MessageHeader};
use forebay::rtmp::client::{ClientError, ClientOptions, Output, Role};
use forebay::rtmp::{ClientConnection, Input};

use crate::{Host, epoch, tag};

pub(crate) struct Guest {
    pub(crate) connection: ClientConnection,
    now: Instant,
    pub(crate) sent: Vec<Bytes>,
    pub(crate) tags: Vec<Tag>,
    pub(crate) started: bool,
    pub(crate) ended: usize,
    pub(crate) closed: bool,
    pub(crate) error: Option<ClientError>,
    deadline: Option<Instant>,
}

impl Guest {
    pub(crate) fn new(role: Role, url: &str) -> Self {
        let now = epoch();
        let url = url.parse().unwrap();
        let options = ClientOptions::default();
        let mut guest = Self {
            connection: ClientConnection::new(now, role, &url, 1, options),
            now,
            sent: Vec::new(),
            tags: Vec::new(),
            started: false,
            ended: 0,
            closed: false,
            error: None,
            deadline: None,
        };
        guest.drain();
        guest
    }

    pub(crate) fn input(&mut self, input: Input) {
        self.connection.handle_input(self.now, input);
        self.drain();
    }

    pub(crate) fn drain(&mut self) {
        loop {
            match self.connection.poll_output() {
                Output::Send(bytes) => self.sent.push(bytes),
                Output::Started => self.started = true,
                Output::Tag { tag, .. } => self.tags.push(tag),
                Output::Ended => self.ended += 1,
                Output::Close(error) => {
                    self.closed = true;
                    self.error = self.error.take().or(error);
                    return;
                }
                Output::Wait(deadline) => {
                    self.deadline = deadline;
                    return;
                }
            }
        }
    }

    /// Carries bytes in both directions, in pieces of at most `cut`, until both are silent.
    fn meet(&mut self, host: &mut Host, cut: usize) {
        loop {
            let from_host = host.take_sent();
            if self.sent.is_empty() && from_host.is_empty() {
                return;
            }
            for bytes in std::mem::take(&mut self.sent) {
                bytes.chunks(cut).for_each(|piece| host.receive(bytes.slice_ref(piece)));
            }
            from_host.chunks(cut).for_each(|piece| {
                self.input(Input::Received(from_host.slice_ref(piece)));
            });
        }
    }
}

pub(crate) fn some_tags() -> Vec<Tag> {
    vec![
        tag(TagKind::Script, 0, *b"\x02\0\x0aonMetaData\x05"),
        tag(TagKind::Audio, 0, [0xAF, 0]),
        tag(TagKind::Video, 0, [0x17; 70_000]),
        tag(TagKind::Script, 5, *b"\x02\0\x0aonTextData\x05"),
        tag(TagKind::Video, u32::MAX, []),
        tag(TagKind::Video, 20, [0x27; 200_000]),
    ]
}

#[test]
fn what_is_published_arrives_and_ends_properly() {
    for cut in [1, 1000, usize::MAX] {
        let mut host = Host::new();
        let mut guest = Guest::new(Role::Publish, "rtmp://host/live/cam/1?k=v");
        guest.meet(&mut host, cut);
        assert!(guest.started, "cut {cut}");
        assert_eq!(guest.deadline, None, "a publisher is owed nothing");
        for tag in some_tags() {
            guest.connection.send_tag(&tag);
        }
        guest.drain();
        assert_eq!(guest.sent.len(), 1, "tags sent together are one write");
        guest.meet(&mut host, cut);
        guest.connection.finish();
        guest.drain();
        assert!(guest.closed && guest.error.is_none());
        guest.meet(&mut host, cut);
        let tags: Vec<_> = host.seen.tags.drain(..).map(|(_, tag)| tag).collect();
        assert_eq!(tags, some_tags(), "cut {cut}");
        assert_eq!(host.seen.events, ["publish 1 live cam/1 k=v", "unpublish 1"]);
        assert!(!host.seen.closed);
    }
}

#[test]
fn connect_to_publish_takes_four_round_trips_and_one_write_each() {
    let mut host = Host::new();
    let mut guest = Guest::new(Role::Publish, "rtmp://host/live/cam");
    let mut trips = 0;
    while !guest.started {
        assert_eq!(guest.sent.len(), 1);
        host.receive(guest.sent.remove(0));
        assert_eq!(host.seen.sends, trips + 1);
        trips += 1;
        guest.input(Input::Received(host.take_sent()));
    }
    assert_eq!(trips, 4, "handshake, connect, createStream, publish");
}

#[test]
fn what_is_played_arrives_and_the_end_is_told() {
    let mut host = Host::new();
    let mut guest = Guest::new(Role::Play, "rtmp://host/live/cam");
    guest.meet(&mut host, usize::MAX);
    assert!(guest.started);
    assert_eq!(host.seen.plays, [1]);
    let mut writer = ChunkWriter::new();
    writer.set_chunk_size(65536);
    for Tag { kind, timestamp, payload } in some_tags() {
        let csid = if kind == TagKind::Video { 6 } else { 4 };
        let header = MessageHeader { csid, type_id: kind as u8, stream_id: 1, timestamp };
        writer.write_rope(header, &payload, &mut host.seen.sent);
    }
    guest.meet(&mut host, 777);
    assert_eq!(guest.tags, some_tags());
    host.connection.end_play(1);
    host.drain();
    guest.meet(&mut host, usize::MAX);
    assert_eq!((guest.ended, guest.closed), (1, false));
    guest.input(Input::Close);
    assert!(guest.closed && guest.error.is_none());
}

#[test]
fn the_reason_of_a_refusal_reaches_the_client() {
    for (role, url, code) in [
        (Role::Publish, "rtmp://host/live/taken", "NetStream.Publish.BadName"),
        (Role::Play, "rtmp://host/live/missing", "NetStream.Play.StreamNotFound"),
    ] {
        let mut host = Host::new();
        let mut guest = Guest::new(role, url);
        guest.meet(&mut host, usize::MAX);
        assert!(host.seen.closed && guest.closed && !guest.started);
        let Some(ClientError::Refused { code: found, description, .. }) = guest.error else {
            panic!("{:?}", guest.error)
        };
        assert_eq!(found, code);
        assert!(!description.is_empty());
    }
    let mut host = Host::new();
    let url = format!("rtmp://host/{}/cam", "a".repeat(300));
    let mut guest = Guest::new(Role::Publish, &url);
    guest.meet(&mut host, usize::MAX);
    let error = guest.error.unwrap().to_string();
    assert_eq!(
        error,
        "connect was refused: NetConnection.Connect.InvalidApp \
         (app: 300 bytes are over the limit of 255)"
    );
}

#[test]
fn a_server_that_does_not_answer_is_given_up() {
    let mut guest = Guest::new(Role::Publish, "rtmp://host/live/cam");
    guest.now = guest.deadline.unwrap();
    guest.input(Input::Timeout);
    assert_eq!(
        guest.error.unwrap().to_string(),
        "the server did not answer the handshake within 10s"
    );

    let mut host = Host::new();
    let mut guest = Guest::new(Role::Publish, "rtmp://host/live/cam");
    host.receive(guest.sent.remove(0));
    guest.input(Input::Received(host.take_sent()));
    guest.input(Input::Close);
    assert_eq!(guest.error, Some(ClientError::ClosedEarly { awaited: "connect" }));

    let mut host = Host::new();
    let mut guest = Guest::new(Role::Play, "rtmp://host/live/cam");
    guest.meet(&mut host, usize::MAX);
    guest.now += Duration::from_secs(90);
    guest.input(Input::Timeout);
    let error = guest.error.unwrap().to_string();
    assert_eq!(error, "a sign of life from the server did not come within 90s");
}

#[test]
fn a_text_server_is_no_rtmp_server() {
    let mut guest = Guest::new(Role::Play, "rtmp://host/live/cam");
    guest.input(Input::Received(Bytes::from_static(b"HTTP/1.1 400 Bad Request")));
    let error = guest.error.unwrap().to_string();
    assert_eq!(error, "handshake, at byte 0: the first byte is 0x48, which is no RTMP version");
}
