//! What a server answers to commands and control messages, read by hand.

use std::time::Duration;

use bytes::{Bytes, BytesMut};
use forebay::amf0::{self, Value};
use forebay::flv::TagKind;
use forebay::rtmp::chunk::{ChunkLimits, ChunkReader, ChunkWriter, MessageHeader};
use forebay::rtmp::command::Command;
use forebay::rtmp::server::ConnectionLimits;
use forebay::rtmp::{ConnectionError, Input};
use forebay::time::Timestamp;

use crate::Host;

/// A client that says exactly what it is told to.
struct Peer {
    writer: ChunkWriter,
    reader: ChunkReader,
    /// What it says next.
    wire: BytesMut,
}

const HANDSHAKE_LEN: usize = 1 + 2 * 1536;

impl Peer {
    /// Its handshake is in the wire.
    fn new() -> Self {
        let mut wire = BytesMut::zeroed(HANDSHAKE_LEN);
        wire[0] = 3;
        let (writer, reader) = (ChunkWriter::new(), ChunkReader::new(ChunkLimits::default()));
        Self { writer, reader, wire }
    }

    /// Behind the handshake and `connect`.
    fn connected(host: &mut Host) -> Self {
        let mut peer = Self::new();
        peer.connect(b"live");
        host.receive(peer.wire.split());
        let answers = host.take_sent().split_off(HANDSHAKE_LEN);
        peer.read(answers);
        peer
    }

    fn message(&mut self, type_id: u8, stream_id: u32, ms: u32, body: &[u8]) -> &mut Self {
        let timestamp = Timestamp::from_ms(ms);
        let csid = match type_id {
            1..=6 => 2,
            8 | 9 => 4,
            _ => 3,
        };
        let header = MessageHeader { csid, type_id, stream_id, timestamp };
        self.writer.write(header, body, &mut self.wire);
        self
    }

    fn call(&mut self, stream_id: u32, name: &str, id: f64, arguments: &[Value<'_>]) -> &mut Self {
        let arguments = arguments.to_vec();
        self.command(
            stream_id,
            &Command { name, transaction_id: id, object: Value::Null, arguments },
        )
    }

    fn command(&mut self, stream_id: u32, command: &Command<'_>) -> &mut Self {
        let mut body = BytesMut::new();
        command.write(&mut body);
        self.message(20, stream_id, 0, &body)
    }

    fn connect(&mut self, app: &[u8]) -> &mut Self {
        let object = Value::Object(vec![(b"app", Value::String(app))]);
        let (name, transaction_id) = ("connect", 1.0);
        self.command(0, &Command { name, transaction_id, object, arguments: vec![] })
    }

    fn publish(&mut self, stream_id: u32, name: &str) -> &mut Self {
        self.call(stream_id, "publish", 5.0, &[text(name), text("live")])
    }

    fn play(&mut self, stream_id: u32, name: &str) -> &mut Self {
        self.call(stream_id, "play", 5.0, &[text(name)])
    }

    /// Says it, and reads what comes back: one line a message, with type, csid and stream.
    fn exchange(&mut self, host: &mut Host) -> Vec<String> {
        host.receive(self.wire.split());
        self.read(host.take_sent())
    }

    fn read(&mut self, mut sent: Bytes) -> Vec<String> {
        let mut lines = Vec::new();
        while let Some(message) = self.reader.read(&mut sent).unwrap() {
            let body = message.payload.to_bytes();
            let text = match message.type_id {
                20 => {
                    let command = Command::parse(20, &body, amf0::Limits::default()).unwrap();
                    let information = command.arguments.first().cloned().unwrap_or(Value::Null);
                    let what = match information.get("code").and_then(Value::as_str) {
                        Some(code) => {
                            let level = information.get("level").and_then(Value::as_str).unwrap();
                            format!("{level} {code}")
                        }
                        None => format!("{information:?}"),
                    };
                    format!("{} {} {what}", command.name, command.transaction_id)
                }
                _ => format!("{:?}", &body[..]),
            };
            lines
                .push(format!("{}/{}/{} {text}", message.type_id, message.csid, message.stream_id));
        }
        lines
    }
}

fn text(text: &str) -> Value<'_> {
    Value::String(text.as_bytes())
}

const PUBLISH_START: &str = "20/5/1 onStatus 0 status NetStream.Publish.Start";
const UNPUBLISHED: &str = "20/5/1 onStatus 0 status NetStream.Unpublish.Success";

#[test]
fn everything_in_one_piece_is_answered_in_one_piece() {
    let (mut host, mut peer) = (Host::new(), Peer::new());
    peer.connect(b"live?token=a")
        .call(0, "releaseStream", 2.0, &[text("cam")])
        .call(0, "FCPublish", 3.0, &[text("cam")])
        .call(0, "createStream", 4.0, &[])
        .publish(1, "cam?b=c")
        .message(18, 1, 0, b"\x02\0\x0d@setDataFrame\x02\0\x0aonMetaData\x05")
        .message(18, 1, 0, b"\x02\0\x0f@clearDataFrame")
        .message(9, 1, 0, b"\x17\0")
        .call(0, "FCUnpublish", 6.0, &[text("cam?b=c")])
        .call(0, "deleteStream", 7.0, &[Value::Number(1.0)])
        .message(9, 1, 40, b"\x17\x01");
    host.receive(peer.wire.split());
    assert_eq!(host.seen.sends, 1);
    let mut sent = host.take_sent();
    assert_eq!(sent[0], 3);
    assert_eq!(
        peer.read(sent.split_off(HANDSHAKE_LEN)),
        [
            "5/2/0 [0, 38, 37, 160]",
            "6/2/0 [0, 38, 37, 160, 2]",
            "1/2/0 [0, 1, 0, 0]",
            "4/2/0 [0, 0, 0, 0, 0, 0]",
            "20/3/0 _result 1 status NetConnection.Connect.Success",
            "20/3/0 _result 2 Undefined",
            "20/3/0 _result 3 Undefined",
            "20/3/0 _result 4 1.0",
            PUBLISH_START,
            UNPUBLISHED,
            "20/3/0 _result 6 Undefined",
        ]
    );
    assert_eq!(host.seen.events, ["publish 1 live cam b=c&token=a", "unpublish 1"]);
    let kinds: Vec<_> = host.seen.tags.iter().map(|(_, tag)| tag.kind).collect();
    assert_eq!(kinds, [TagKind::Script, TagKind::Video], "media of an ended stream are ignored");
    assert!(host.seen.tags[0].1.payload == *b"\x02\0\x0aonMetaData\x05".as_slice());
    host.input(Input::Close);
    assert!(host.seen.closed && host.seen.error.is_none());
}

#[test]
fn an_enhanced_client_is_told_that_everything_is_passed_on() {
    for key in ["fourCcList", "capsEx"] {
        let (mut host, mut peer) = (Host::new(), Peer::new());
        let value = match key {
            "capsEx" => Value::Number(1.0),
            _ => Value::StrictArray(vec![text("hvc1")]),
        };
        let object = Value::Object(vec![(b"app", text("live")), (key.as_bytes(), value)]);
        let connect = Command { name: "connect", transaction_id: 1.0, object, arguments: vec![] };
        peer.command(0, &connect);
        host.receive(peer.wire.split());
        let sent = host.take_sent();
        let found = |text: &[u8]| sent.windows(text.len()).any(|window| window == text);
        assert!(found(b"\0\x0afourCcList\x0a\0\0\0\x01\x02\0\x01*"));
        assert!(found(b"\0\x12videoFourCcInfoMap\x03\0\x01*\0\x40\x10"));
        assert_eq!(host.connection.reconnect(None, "moving"), key == "capsEx");
    }
}

#[test]
fn commands_at_any_time_are_answered_if_they_have_an_id() {
    let mut host = Host::new();
    let mut peer = Peer::connected(&mut host);
    for name in ["releaseStream", "FCPublish", "FCUnpublish", "FCSubscribe", "_checkbw"] {
        let lines = peer.call(0, name, 9.0, &[text("x")]).exchange(&mut host);
        assert_eq!(lines, ["20/3/0 _result 9 Undefined"], "{name}");
    }
    let lines = peer.call(0, "getStreamLength", 9.5, &[text("x")]).exchange(&mut host);
    assert_eq!(lines, ["20/3/0 _result 9.5 0.0"]);
    let lines = peer.call(0, "noSuchThing", 3.0, &[]).exchange(&mut host);
    assert_eq!(lines, ["20/3/0 _error 3 error NetConnection.Call.Failed"]);
    for name in ["releaseStream", "getStreamLength", "noSuchThing", "_result", "onStatus"] {
        let lines = peer.call(0, name, 0.0, &[text("x")]).exchange(&mut host);
        assert!(lines.is_empty(), "{name}: {lines:?}");
    }
    let lines = peer.call(0, "_error", 4.0, &[]).exchange(&mut host);
    assert!(lines.is_empty(), "an answer has no answer: {lines:?}");
    assert!(!host.seen.closed);
}

#[test]
fn two_streams_on_one_connection_do_not_mix() {
    let mut host = Host::new();
    let mut peer = Peer::connected(&mut host);
    peer.call(0, "createStream", 2.0, &[]).call(0, "createStream", 3.0, &[]);
    let lines = peer.publish(1, "one").publish(2, "two").exchange(&mut host);
    assert_eq!(lines[..2], ["20/3/0 _result 2 1.0", "20/3/0 _result 3 2.0"]);
    assert_eq!(lines[3], "20/5/2 onStatus 0 status NetStream.Publish.Start");
    peer.message(9, 1, 0, b"1").message(9, 2, 0, b"2").message(9, 3, 0, b"3");
    peer.call(0, "FCUnpublish", 0.0, &[text("two")]).message(9, 2, 0, b"2").message(9, 1, 0, b"1");
    peer.exchange(&mut host);
    let streams: Vec<_> = host.seen.tags.iter().map(|(stream_id, _)| *stream_id).collect();
    assert_eq!(streams, [1, 2, 1]);
    assert_eq!(host.seen.events[2..], ["unpublish 2"]);
    // The other stream may be used again, and a third has another id.
    let lines = peer.publish(2, "two").call(0, "createStream", 4.0, &[]).exchange(&mut host);
    assert_eq!(lines[1], "20/3/0 _result 4 3.0");
}

#[test]
fn delete_stream_with_a_name_ends_the_stream_it_names_or_the_only_one() {
    for argument in [text("cam"), text("another"), Value::Number(1.0), Value::Null] {
        let mut host = Host::new();
        let mut peer = Peer::connected(&mut host);
        peer.call(0, "createStream", 2.0, &[]).publish(1, "cam");
        peer.call(0, "deleteStream", 0.0, &[argument]).exchange(&mut host);
        assert_eq!(host.seen.events, ["publish 1 live cam ", "unpublish 1"]);
    }
    let mut host = Host::new();
    let mut peer = Peer::connected(&mut host);
    peer.call(0, "createStream", 2.0, &[]).publish(1, "cam");
    peer.call(0, "deleteStream", 0.0, &[Value::Number(7.0)]);
    peer.call(0, "deleteStream", 0.0, &[Value::Number(f64::NAN)]).exchange(&mut host);
    assert_eq!(host.seen.events, ["publish 1 live cam "], "there is no such stream");
}

#[test]
fn publish_and_play_need_no_create_stream_and_no_type() {
    let mut host = Host::new();
    let mut peer = Peer::connected(&mut host);
    let lines = peer.call(5, "publish", 0.0, &[text("cam")]).exchange(&mut host);
    assert_eq!(lines, ["20/5/5 onStatus 0 status NetStream.Publish.Start"]);
    let lines = peer.publish(5, "cam2").exchange(&mut host);
    assert_eq!(lines, ["20/5/5 onStatus 0 error NetStream.Publish.BadName"]);
    for n in 1..8 {
        peer.call(0, "createStream", f64::from(n), &[]);
    }
    let lines = peer.call(0, "createStream", 8.0, &[]).publish(99, "cam3").exchange(&mut host);
    assert_eq!(lines[4], "20/3/0 _result 5 6.0", "5 is taken: {lines:?}");
    assert_eq!(
        lines[7..],
        [
            "20/3/0 _error 8 error NetConnection.Call.Failed",
            "20/5/99 onStatus 0 error NetStream.Publish.BadName"
        ]
    );
    assert!(!host.seen.closed);
}

#[test]
fn names_that_could_be_two_things_are_refused_with_a_reason() {
    for app in [&b"li\0ve"[..], b"\xff", b"", b"a\xc0\x80"] {
        let (mut host, mut peer) = (Host::new(), Peer::new());
        peer.connect(app);
        host.receive(peer.wire.split());
        let mut sent = host.take_sent();
        let lines = peer.read(sent.split_off(HANDSHAKE_LEN));
        assert_eq!(lines, ["20/3/0 _error 1 error NetConnection.Connect.InvalidApp"]);
        assert!(matches!(host.seen.error, Some(ConnectionError::Command { .. })), "{app:?}");
    }
    for (command, code) in
        [("publish", "NetStream.Publish.BadName"), ("play", "NetStream.Play.StreamNotFound")]
    {
        let mut host = Host::new();
        let mut peer = Peer::connected(&mut host);
        let name = [Value::String(b"ca\xe9")];
        let lines = peer.call(1, command, 2.0, &name).exchange(&mut host);
        assert_eq!(lines, [format!("20/5/1 onStatus 0 error {code}")]);
        let error = host.seen.error.unwrap().to_string();
        assert!(error.ends_with("stream name: byte 2 is not UTF-8"), "{error}");
    }
    let (mut host, mut peer) = (Host::new(), Peer::new());
    peer.publish(1, "cam");
    host.receive(peer.wire.split());
    assert!(host.seen.closed, "publish before connect");
    assert!(host.seen.events.is_empty());
}

#[test]
fn a_refused_publisher_is_told_and_leaves_nothing_behind() {
    let mut host = Host::new();
    let mut peer = Peer::connected(&mut host);
    peer.call(0, "createStream", 2.0, &[]).publish(1, "taken").message(9, 1, 0, b"x");
    let lines = peer.exchange(&mut host);
    assert_eq!(lines[1], "20/5/1 onStatus 0 error NetStream.Publish.BadName");
    assert!(host.seen.tags.is_empty());
    assert!(host.seen.closed && host.seen.error.is_none());
    host.receive(&b"more"[..]);
    assert!(host.take_sent().is_empty());
}

#[test]
fn a_refusal_does_not_end_the_other_stream_of_the_connection() {
    let mut host = Host::new();
    let mut peer = Peer::connected(&mut host);
    peer.publish(1, "cam").publish(2, "taken").play(3, "missing").message(9, 1, 0, b"x");
    peer.exchange(&mut host);
    assert!(!host.seen.closed);
    assert_eq!(host.seen.tags.len(), 1);
    host.connection.refuse_publish(1, "NetStream.Publish.BadName", "Another took over.");
    host.drain();
    assert!(host.seen.closed, "that was the last one");
}

#[test]
fn a_player_is_told_when_it_starts_pauses_and_ends() {
    let mut host = Host::new();
    let mut peer = Peer::connected(&mut host);
    // FFmpeg asks for a buffer before it plays.
    peer.call(0, "createStream", 2.0, &[]).message(4, 0, 0, &[0, 3, 0, 0, 0, 1, 0, 0, 11, 184]);
    let arguments = [text("cam"), Value::Number(-2.0), Value::Number(-1.0), Value::Boolean(true)];
    let lines = peer.call(1, "play", 0.0, &arguments).exchange(&mut host);
    assert_eq!(
        lines[1..],
        [
            "4/2/0 [0, 0, 0, 0, 0, 1]",
            "20/5/1 onStatus 0 status NetStream.Play.Reset",
            "20/5/1 onStatus 0 status NetStream.Play.Start",
        ]
    );
    peer.call(1, "receiveVideo", 0.0, &[Value::Boolean(false)]);
    assert!(peer.exchange(&mut host).is_empty());
    peer.call(1, "receiveVideo", 0.0, &[Value::Boolean(true)]);
    let lines = peer.exchange(&mut host);
    assert_eq!(lines[0], "20/5/1 onStatus 0 status NetStream.Seek.Notify");
    peer.call(1, "pause", 3.0, &[Value::Boolean(true), Value::Number(0.0)]);
    let lines = peer.exchange(&mut host);
    assert_eq!(lines, ["20/5/1 onStatus 0 status NetStream.Pause.Notify"]);
    assert_eq!(
        host.seen.events,
        [
            "play 1 live cam  true",
            "receive 1 None Some(false) None",
            "receive 1 None Some(true) None",
            "receive 1 None None Some(true)",
        ]
    );
    host.connection.end_play(1);
    host.connection.end_play(1);
    host.drain();
    let sent = host.take_sent();
    assert_eq!(
        peer.read(sent),
        ["4/2/0 [0, 1, 0, 0, 0, 1]", "20/5/1 onStatus 0 status NetStream.Play.UnpublishNotify"]
    );
    let lines = peer.play(1, "cam").exchange(&mut host);
    assert_eq!(lines[1], "20/5/1 onStatus 0 status NetStream.Play.Start", "no reset asked for");
    peer.call(1, "closeStream", 0.0, &[]).exchange(&mut host);
    assert_eq!(host.seen.events.last().unwrap(), "stop 1");
}

#[test]
fn control_messages_are_answered_or_ignored() {
    let mut host = Host::new();
    let mut peer = Peer::connected(&mut host);
    let lines = peer.message(4, 0, 0, &[0, 6, 1, 2, 3, 4]).exchange(&mut host);
    assert_eq!(lines, ["4/2/0 [0, 7, 1, 2, 3, 4]"]);
    for (type_id, body) in [
        (3, &b"\0"[..]),
        (4, b""),
        (4, b"\0\x06\x01"),
        (4, b"\0\x63\0\0"),
        (5, b"\0\0"),
        (6, b"\0\0\0\0"),
        (5, b"\0\0\0\0"),
        (7, b"x"),
        (0, b""),
        (255, b"x"),
        (16, b"\0"),
        (19, b"x"),
    ] {
        peer.message(type_id, 0, 0, body);
    }
    assert!(peer.exchange(&mut host).is_empty());
    assert!(!host.seen.closed);

    // RTMP 5.4.5. The last window sent was 2 500 000.
    let mut limit = |size: u32, limit_type: u8| {
        let body = [&size.to_be_bytes()[..], &[limit_type]].concat();
        peer.message(6, 0, 0, &body).exchange(&mut host)
    };
    assert!(limit(2_500_000, 0).is_empty());
    assert_eq!(limit(1000, 2), ["5/2/0 [0, 0, 3, 232]"], "dynamic behind hard is hard");
    assert!(limit(2000, 1).is_empty(), "the smaller of the two is in effect");
    assert!(limit(500, 2).is_empty(), "dynamic behind soft is ignored");
    assert_eq!(limit(500, 1), ["5/2/0 [0, 0, 1, 244]"]);
}

#[test]
fn a_publisher_that_waits_at_its_window_never_has_to() {
    let mut host = Host::new();
    let mut peer = Peer::connected(&mut host);
    peer.message(5, 0, 0, &10_000_u32.to_be_bytes()).publish(1, "cam").exchange(&mut host);
    let (mut acknowledged, mut total) = (0, host.connection.received_bytes());
    for ms in 0..1000 {
        peer.message(9, 1, ms, &[0; 700]);
        total += peer.wire.len() as u64;
        for line in peer.exchange(&mut host) {
            acknowledged = total;
            assert_eq!(line, format!("3/2/0 {:?}", (total as u32).to_be_bytes()));
        }
        assert!(total - acknowledged < 10_000);
    }
}

#[test]
fn the_acknowledged_count_wraps_at_4_gib() {
    let mut host = Host::new();
    let mut peer = Peer::connected(&mut host);
    let window = 1_u32 << 30;
    peer.message(1, 0, 0, &[0, 0x7F, 0xFF, 0xFF]).message(5, 0, 0, &window.to_be_bytes());
    peer.publish(1, "cam").exchange(&mut host);
    peer.writer.set_chunk_size(0x7F_FFFF);
    // Two alike, so that the second has a type 3 header and so have all after it.
    peer.message(9, 1, 0, &[0; 8_000_000]).message(9, 1, 0, &[0; 8_000_000]);
    peer.exchange(&mut host);
    let frame = peer.message(9, 1, 0, &[0; 8_000_000]).wire.split().freeze();
    let mut counts = Vec::new();
    for _ in 0..700 {
        host.receive(frame.clone());
        host.seen.tags.clear();
        for line in peer.read(host.take_sent()) {
            assert!(line.starts_with("3/2/0"), "{line}");
            counts.push(host.connection.received_bytes());
        }
    }
    assert_eq!(counts.len(), 10, "two a window: {counts:?}");
    assert!(!host.seen.closed);
    assert!(host.connection.received_bytes() > 5 << 30);
}

#[test]
fn amf0_in_type_17_is_understood() {
    let mut host = Host::new();
    let mut peer = Peer::connected(&mut host);
    let mut body = BytesMut::from(&[0][..]);
    Command { name: "createStream", transaction_id: 2.0, object: Value::Null, arguments: vec![] }
        .write(&mut body);
    let lines = peer.message(17, 0, 0, &body).message(17, 0, 0, &body[1..]).exchange(&mut host);
    assert_eq!(lines, ["20/3/0 _result 2 1.0", "20/3/0 _result 2 2.0"]);
}

#[test]
fn whoever_stops_on_the_way_is_disconnected() {
    let limits = ConnectionLimits::default();
    // Anywhere in the handshake, also if bytes trickle in.
    for len in [0, 1, 2, 1536, 1537, HANDSHAKE_LEN - 1] {
        let mut host = Host::new();
        let wire = Peer::new().wire.split_to(len);
        host.receive(wire);
        assert_eq!(host.seen.deadline, Some(host.now + limits.handshake_timeout));
        host.now += limits.handshake_timeout;
        host.receive(Bytes::new());
        assert!(matches!(host.seen.error, Some(ConnectionError::Timeout { .. })), "{len}");
    }
    // Behind it.
    let mut host = Host::new();
    let mut peer = Peer::connected(&mut host);
    let start = host.now;
    host.now += Duration::from_secs(14);
    peer.call(0, "createStream", 2.0, &[]).exchange(&mut host);
    assert_eq!(host.seen.deadline, Some(start + limits.setup_timeout));
    host.now += Duration::from_secs(1);
    host.input(Input::Timeout);
    let error = host.seen.error.unwrap().to_string();
    assert_eq!(error, "publish or play did not come within 15s");
}

#[test]
fn a_frozen_publisher_is_told_and_ended() {
    let limits = ConnectionLimits::default();
    let mut host = Host::new();
    let mut peer = Peer::connected(&mut host);
    peer.publish(1, "cam").exchange(&mut host);
    for ms in 0..10 {
        host.now += Duration::from_secs(19);
        peer.message(9, 1, ms, b"x").exchange(&mut host);
    }
    assert_eq!(host.seen.deadline, Some(host.now + limits.publish_idle_timeout));
    host.now += Duration::from_secs(19);
    host.input(Input::Timeout);
    assert!(!host.seen.closed, "too early");
    host.now += Duration::from_secs(1);
    host.input(Input::Timeout);
    let sent = host.take_sent();
    assert_eq!(peer.read(sent), ["20/5/1 onStatus 0 error NetStream.Failed"]);
    assert_eq!(
        host.seen.error.unwrap().to_string(),
        "media from the publisher did not come within 20s"
    );
}

#[test]
fn the_time_to_set_up_starts_again_when_the_last_stream_ends() {
    let limits = ConnectionLimits::default();
    let mut host = Host::new();
    let mut peer = Peer::connected(&mut host);
    peer.publish(1, "cam").exchange(&mut host);
    host.now += Duration::from_secs(18);
    peer.call(0, "FCUnpublish", 0.0, &[text("cam")]).exchange(&mut host);
    assert_eq!(host.seen.deadline, Some(host.now + limits.setup_timeout));
    host.now += Duration::from_secs(10);
    let lines = peer.publish(1, "cam").exchange(&mut host);
    assert_eq!(lines, [PUBLISH_START]);
}

#[test]
fn players_are_pinged_and_end_when_they_do_not_answer() {
    let limits = ConnectionLimits::default();
    let mut host = Host::new();
    let mut peer = Peer::connected(&mut host);
    peer.play(1, "cam").exchange(&mut host);
    let start = host.now;
    let mut pings = Vec::new();
    while !host.seen.closed {
        let deadline = host.seen.deadline.unwrap();
        assert!(deadline > host.now, "a deadline that does not move is a busy loop");
        host.now = deadline;
        host.input(Input::Timeout);
        let sent = host.take_sent();
        for line in peer.read(sent) {
            pings.push(line);
            if host.now - start < Duration::from_secs(61) {
                peer.message(4, 0, 0, &[0, 7, 0, 0, 0, 0]).exchange(&mut host);
            }
        }
    }
    assert_eq!(pings[0], "4/2/0 [0, 6, 0, 0, 117, 48]", "30 000 ms");
    // Answered at 30 and 60 s; then 90 s of silence.
    assert_eq!(host.now - start, Duration::from_secs(60) + limits.play_idle_timeout);
    let error = host.seen.error.unwrap().to_string();
    assert_eq!(error, "a sign of life from the player did not come within 90s");
}

#[test]
fn broken_chunks_end_the_connection_behind_what_came_before() {
    let mut host = Host::new();
    let mut peer = Peer::connected(&mut host);
    peer.publish(1, "cam").message(9, 1, 0, b"fine").message(1, 0, 0, &[0; 4]);
    peer.message(9, 1, 0, b"too late");
    let lines = peer.exchange(&mut host);
    assert_eq!(lines, [PUBLISH_START, "20/5/1 onStatus 0 error NetStream.Failed"]);
    assert_eq!(host.seen.tags.len(), 1);
    assert!(matches!(host.seen.error, Some(ConnectionError::Chunk { .. })));
}

#[test]
fn an_aggregate_of_nothing_but_empty_parts_is_refused() {
    let mut host = Host::new();
    let mut peer = Peer::connected(&mut host);
    let part = |ms: u8| [8, 0, 0, 2, 0, 0, ms, 0, 0, 0, 0, 0xAF, ms, 0, 0, 0, 13];
    peer.publish(1, "cam").message(22, 1, 1000, &[part(10), part(33)].concat());
    peer.message(22, 1, 2000, &[0; 15].repeat(100_000)).exchange(&mut host);
    let times: Vec<_> = host.seen.tags.iter().map(|(_, tag)| tag.timestamp.as_ms()).collect();
    assert_eq!(times, [1000, 1023]);
    assert!(matches!(host.seen.error, Some(ConnectionError::Aggregate { .. })));
}

#[test]
fn answers_do_not_pile_up() {
    let mut host = Host::new();
    let mut peer = Peer::connected(&mut host);
    for _ in 0..10_000 {
        peer.call(0, "x", 1.0, &[]);
    }
    let lines = peer.exchange(&mut host);
    assert_eq!(lines.len(), 10_000);
    assert!(host.seen.sends > 10, "one Send of everything");
}
