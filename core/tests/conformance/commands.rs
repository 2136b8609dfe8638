//! §4: commands. A row is decided by what peers hear and what players are given.

use std::path::PathBuf;
use std::time::Duration;

use forebay::hub::HubLimits;
use forebay::rtmp::server::ConnectionLimits;

use crate::camera::{Camera, What, as_played, decode, split_start, whats};
use crate::codec::{Amf, ChunkReader, Media, Message, message_type};
use crate::studio::{Heard, Peer, Pieces, STREAM_BEGIN, STREAM_EOF, Studio};

const PUBLISH_START: &str = "NetStream.Publish.Start";
const BAD_NAME: &str = "NetStream.Publish.BadName";
const PLAY_START: &str = "NetStream.Play.Start";
const PLAY_RESET: &str = "NetStream.Play.Reset";
const UNPUBLISH_NOTIFY: &str = "NetStream.Play.UnpublishNotify";

fn app(name: &str) -> Amf {
    Amf::object(&[("app", name.into())])
}

fn is_command(heard: &Heard, at: usize) -> bool {
    heard.0[at].type_id == message_type::COMMAND
}

#[test]
fn cm_1_connect_is_answered_by_window_bandwidth_stream_begin_and_result() {
    for transaction_id in [1.0, 7.0] {
        let mut studio = Studio::new();
        let peer = studio.dial();
        assert_eq!(studio.take(peer).0, [], "nobody asked yet");
        studio.command(peer, 0, "connect", transaction_id, &[app("live")]);
        let heard = studio.take(peer);

        let window = heard.position(|message| message.type_id == message_type::WINDOW_ACK_SIZE);
        let bandwidth =
            heard.position(|message| message.type_id == message_type::SET_PEER_BANDWIDTH);
        let begin = heard.position_of_event(STREAM_BEGIN, 0);
        let result = heard.position(|message| message.type_id == message_type::COMMAND);
        assert!(window < bandwidth && bandwidth < begin && begin < result, "{heard:?}");
        assert_eq!(heard.0[window].body.len(), 4);
        assert_ne!(heard.0[window].body, [0; 4]);
        assert_eq!(heard.0[bandwidth].body.len(), 5);
        assert!(heard.0[bandwidth].body[4] <= 2, "a limit type");

        let answer = heard.answer(transaction_id);
        assert_eq!((answer.name.as_str(), answer.stream_id), ("_result", 0));
        assert_eq!(answer.code(), "NetConnection.Connect.Success");
        assert_eq!(answer.level(), "status");
        assert!(studio.is_open(peer));
    }
}

#[test]
fn cm_1_a_refused_connect_gets_error_and_then_the_close() {
    let long = "a".repeat(60_000);
    let refused = [
        vec![],
        vec![Amf::Null],
        vec![Amf::object(&[])],
        vec![app("")],
        vec![app("li\0ve")],
        vec![app("li\nve")],
        vec![app(&long)],
        vec![Amf::object(&[("app", 5.0.into())])],
    ];
    for values in refused {
        let mut studio = Studio::new();
        let camera = Camera::legacy();
        let (other, _) = studio.encoder("other");
        let peer = studio.dial();
        studio.command(peer, 0, "connect", 4.0, &values);
        let heard = studio.take(peer);
        let answer = heard.answer(4.0);
        assert_eq!(answer.name, "_error", "{values:?}");
        assert_eq!(answer.level(), "error");
        let last = heard.0.len() - 1;
        assert!(is_command(&heard, last), "said something behind the refusal: {heard:?}");
        assert!(!studio.is_open(peer), "still open after {values:?}");
        // Nobody else notices.
        studio.send_all((other, 1), &camera.start());
        assert!(studio.is_open(other));
    }
}

#[test]
fn cm_2_create_stream_returns_distinct_ids_with_the_requests_transaction_id() {
    let mut studio = Studio::new();
    let peer = studio.dial_app("live");
    let mut ids = Vec::new();
    for transaction_id in [2.0, 3.0, 0.0, 4.5, 3.0, 1e9] {
        studio.command(peer, 0, "createStream", transaction_id, &[Amf::Null]);
        let answer = studio.take(peer).answer(transaction_id);
        assert_eq!((answer.name.as_str(), answer.stream_id), ("_result", 0));
        assert_eq!(answer.values[0], Amf::Null);
        ids.push(answer.values[1].number());
    }
    assert!(ids.iter().all(|id| *id > 0.0 && id.fract() == 0.0), "{ids:?}");
    // An id that comes again after its stream was deleted is no second one.
    studio.command(peer, 0, "deleteStream", 0.0, &[Amf::Null, ids[1].into()]);
    let deleted = ids.remove(1);
    studio.command(peer, 0, "createStream", 9.0, &[Amf::Null]);
    ids.push(studio.take(peer).answer(9.0).values[1].number());
    ids.sort_by(f64::total_cmp);
    let count = ids.len();
    ids.dedup();
    assert_eq!(ids.len(), count, "{ids:?}, {deleted} was deleted");
}

#[test]
fn cm_2_two_streams_on_one_connection_do_not_mix() {
    let mut studio = Studio::new();
    let player = studio.dial_app("live");
    let plays = [studio.create_stream(player), studio.create_stream(player)];
    for (stream_id, name) in plays.into_iter().zip(["a", "b"]) {
        studio.command(player, stream_id, "play", 0.0, &[Amf::Null, name.into()]);
    }
    let encoder = studio.dial_app("live");
    let publishes = [studio.create_stream(encoder), studio.create_stream(encoder)];
    for (stream_id, name) in publishes.into_iter().zip(["a", "b"]) {
        let heard = studio.publish(encoder, stream_id, name);
        assert_eq!(heard.codes(stream_id), [PUBLISH_START]);
    }
    let mut cameras = [Camera::legacy(), Camera { video: 7, audio: 8, ..Camera::legacy() }];
    let mut sent = cameras.each_ref().map(Camera::start);
    for _ in 0..20 {
        for (sent, camera) in sent.iter_mut().zip(&mut cameras) {
            sent.extend(camera.run(1));
        }
    }
    for (a, b) in sent[0].iter().zip(&sent[1]) {
        studio.send((encoder, publishes[0]), a);
        studio.send((encoder, publishes[1]), b);
    }
    let heard = studio.take(player);
    for (stream_id, sent) in plays.into_iter().zip(&sent) {
        assert_eq!(heard.media(stream_id), as_played(sent), "stream {stream_id}");
    }
    // The end of one is not the end of the other.
    studio.command(encoder, 0, "deleteStream", 0.0, &[Amf::Null, f64::from(publishes[0]).into()]);
    let heard = studio.take(player);
    assert!(heard.has_event(STREAM_EOF, plays[0]) && !heard.has_event(STREAM_EOF, plays[1]));
    let more = cameras[1].run(1);
    studio.send_all((encoder, publishes[1]), &more);
    assert_eq!(studio.played((player, plays[1])), more);
}

#[test]
fn cm_3_commands_beside_the_protocol_never_break_a_session() {
    let names = [
        "releaseStream",
        "FCPublish",
        "FCUnpublish",
        "_checkbw",
        "getStreamLength",
        "FCSubscribe",
        "setPlaylist",
        "",
        "_result",
        "onStatus",
        "somethingUnheardOf",
    ];
    let arguments = [
        vec![],
        vec![Amf::Null],
        vec![Amf::Null, "other".into()],
        vec![Amf::Null, 3.0.into(), Amf::Null],
        vec![app("live"), "other".into(), app("x")],
    ];
    for name in names {
        for values in &arguments {
            for transaction_id in [0.0, 11.0] {
                let is_answer_due =
                    transaction_id != 0.0 && !["_result", "onStatus"].contains(&name);
                let mut studio = Studio::new();
                let peer = studio.dial_app("live");
                let say = |studio: &mut Studio, stream_id| {
                    studio.command(peer, stream_id, name, transaction_id, values);
                    let heard = studio.take(peer);
                    let place = format!("{name} {values:?} on {stream_id}");
                    assert!(studio.is_open(peer), "{place} closed it");
                    if is_answer_due {
                        heard.answer(transaction_id);
                    }
                };
                say(&mut studio, 0);
                let stream_id = studio.create_stream(peer);
                say(&mut studio, 0);
                say(&mut studio, stream_id);
                say(&mut studio, 77);
                let heard = studio.publish(peer, stream_id, "cam");
                assert_eq!(heard.codes(stream_id), [PUBLISH_START], "after {name} {values:?}");
                if name != "FCUnpublish" {
                    say(&mut studio, stream_id);
                    let sent = Camera::legacy().start();
                    let player = studio.player("cam");
                    studio.send_all((peer, stream_id), &sent);
                    assert_eq!(studio.played(player), as_played(&sent));
                }
            }
        }
    }
}

/// As OBS starts: what needs no answer goes out before the answers, here even in one segment.
#[test]
fn cm_3_everything_up_to_publish_may_come_in_one_piece() {
    for pieces in [Pieces::Whole, Pieces::Bytes] {
        let mut studio = Studio::new();
        let player = studio.player("cam");
        let peer = studio.accept();
        let mut camera = Camera::legacy();
        let mut sent = camera.start();
        sent.extend(camera.run(3));

        let mut bytes = Studio::handshake_bytes();
        bytes.extend(studio.set_chunk_size(peer, 4096));
        bytes.extend(studio.command_bytes(peer, 0, "connect", 1.0, &[app("live")]));
        let name = [Amf::Null, "cam".into()];
        bytes.extend(studio.command_bytes(peer, 0, "releaseStream", 2.0, &name));
        bytes.extend(studio.command_bytes(peer, 0, "FCPublish", 3.0, &name));
        bytes.extend(studio.command_bytes(peer, 0, "createStream", 4.0, &[Amf::Null]));
        let publish = [Amf::Null, "cam".into(), "live".into()];
        bytes.extend(studio.command_bytes(peer, 1, "publish", 5.0, &publish));
        for media in &sent {
            let message = media.on_stream(1);
            bytes.extend(studio.message_bytes(peer, 4, &message));
        }
        studio.pieces = pieces;
        studio.send_bytes(peer, &bytes);
        let heard = studio.take(peer);
        assert_eq!(heard.answer(4.0).values[1], 1.0.into());
        assert!(heard.has_code(1, PUBLISH_START));
        assert_eq!(studio.played(player), as_played(&sent));
    }
}

/// As OBS stops: the last frame, `FCUnpublish`, `deleteStream` and the FIN at once.
#[test]
fn cm_3_an_encoder_may_say_goodbye_and_close_at_once() {
    let mut studio = Studio::new();
    studio.grace = Duration::from_secs(3600);
    let player = studio.player("cam");
    let (peer, stream_id) = studio.encoder("cam");
    let mut camera = Camera::legacy();
    let mut sent = camera.start();
    sent.extend(camera.run(3));
    studio.send_all((peer, stream_id), &sent);
    let last = camera.picture();
    sent.push(last.clone());
    let message = last.on_stream(stream_id);
    let mut bytes = studio.message_bytes(peer, 4, &message);
    let name = [Amf::Null, "cam".into()];
    bytes.extend(studio.command_bytes(peer, 0, "FCUnpublish", 6.0, &name));
    let id = [Amf::Null, f64::from(stream_id).into()];
    bytes.extend(studio.command_bytes(peer, 0, "deleteStream", 7.0, &id));
    studio.send_bytes(peer, &bytes);
    studio.hang_up(peer);
    assert_eq!(studio.error(peer), None, "no mistake");
    let heard = studio.take(player.0);
    assert_eq!(heard.media(player.1), as_played(&sent), "all of it, to the last frame");
    assert_told_of_the_end(&heard, player.1);
}

/// As GStreamer's `rtmp2sink` stops: `deleteStream` with the stream's name, transaction id 0.
#[test]
fn cm_3_delete_stream_may_name_the_stream() {
    let mut studio = Studio::new();
    studio.grace = Duration::from_secs(3600);
    let player = studio.player("cam");
    let (peer, _) = studio.encoder("cam");
    studio.command(peer, 0, "deleteStream", 0.0, &[Amf::Null, "cam".into()]);
    assert_told_of_the_end(&studio.take(player.0), player.1);
    let second = studio.encoder("cam");
    assert!(studio.is_open(second.0));
}

#[test]
fn cm_3_a_deleted_stream_that_does_not_exist_ends_nothing() {
    let mut studio = Studio::new();
    let player = studio.player("cam");
    let (peer, stream_id) = studio.encoder("cam");
    for id in [0.0, 2.0, 77.0, -1.0, f64::NAN, f64::INFINITY, 1e300] {
        studio.command(peer, 0, "deleteStream", 0.0, &[Amf::Null, id.into()]);
    }
    let sent = Camera::legacy().start();
    studio.send_all((peer, stream_id), &sent);
    assert_eq!(studio.played(player), as_played(&sent));
}

/// Every recorded encoder, as it was: players are given exactly what it sent.
#[test]
fn cm_3_recorded_encoders_are_relayed_tag_by_tag() {
    let folder = PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("../testdata/rtmp");
    let mut count = 0;
    for entry in std::fs::read_dir(&folder).expect("the captures") {
        let path = entry.unwrap().path();
        if path.extension().is_none_or(|extension| extension != "rtmpcap") {
            continue;
        }
        count += 1;
        let records = client_records(&std::fs::read(&path).unwrap());
        let (name, sent) = recorded_media(&records.concat());
        let mut studio = Studio::new();
        let player = studio.player(&name);
        let flv = studio.flv_player(&name);
        let peer = studio.accept();
        for record in &records {
            studio.send_bytes(peer, record);
        }
        let heard = studio.take(peer);
        assert!(heard.has_code(1, PUBLISH_START), "{}: {heard:?}", path.display());
        studio.hang_up(peer);
        assert_eq!(studio.error(peer), None);
        let heard = studio.take(player.0);
        assert!(heard.media(player.1) == as_played(&sent), "{}", path.display());
        assert_told_of_the_end(&heard, player.1);
        assert!(studio.is_flv_over(flv));
        let filed = without_end_of_sequence(studio.played_flv(flv), &as_played(&sent));
        assert!(filed == as_played(&sent), "{}: FLV", path.display());
    }
    assert!(count >= 15, "{count} files are not the capture set");
}

/// FL-4: an FLV stream of pictures ends with an end of sequence, whether it was sent or not.
fn without_end_of_sequence(mut filed: Vec<Media>, sent: &[Media]) -> Vec<Media> {
    if filed.len() == sent.len() + 1 {
        let end = filed.pop().unwrap();
        let is_end = match end.body[..] {
            [first, ..] if first & 0x80 != 0 => first & 15 == 2,
            [first, packet_type, ..] => first & 15 == 7 && packet_type == 2,
            _ => false,
        };
        assert!(end.kind == 9 && is_end, "{end:?} is no end of sequence");
    }
    filed
}

/// What the client sent, read by read.
fn client_records(mut capture: &[u8]) -> Vec<Vec<u8>> {
    capture = capture.strip_prefix(b"RTMPCAP1").expect("a capture");
    let mut records = Vec::new();
    while !capture.is_empty() {
        let (header, rest) = capture.split_at(13);
        let len = u32::from_le_bytes(header[9..].try_into().unwrap()) as usize;
        let (record, rest) = rest.split_at(len);
        capture = rest;
        if header[8] == 0 && len > 0 {
            records.push(record.to_vec());
        }
    }
    records
}

/// The stream's name and its media, read by our own reader.
fn recorded_media(sent: &[u8]) -> (String, Vec<Media>) {
    let messages = ChunkReader::new().read(&sent[1 + 2 * 1536..]);
    let commands: Vec<_> = messages.iter().filter(|m| m.type_id == message_type::COMMAND).collect();
    let names = commands.iter().map(|message| Amf::read_all(&message.body));
    let publish = names.into_iter().find(|values| values[0] == "publish".into()).expect("publish");
    (publish[3].text().into(), Heard(messages).media(1))
}

#[test]
fn cm_4_publish_accepts_any_type_in_any_letter_case() {
    let types =
        ["live", "LIVE", "Live", "record", "Record", "RECORD", "append", "aPPend", "APPEND"];
    let mut arguments = vec![vec![], vec![Amf::Null]];
    arguments.extend(types.map(|kind| vec![kind.into()]));
    for (index, kind) in arguments.into_iter().enumerate() {
        let mut studio = Studio::new();
        let peer = studio.dial_app("live");
        // Not the first stream, so that an answer on stream 1 is wrong.
        studio.create_stream(peer);
        let stream_id = studio.create_stream(peer);
        let transaction_id = [0.0, 5.0][index % 2];
        let mut values = vec![Amf::Null, "cam".into()];
        values.extend(kind);
        studio.command(peer, stream_id, "publish", transaction_id, &values);
        let heard = studio.take(peer);
        let statuses: Vec<_> =
            heard.commands().into_iter().filter(|command| command.name == "onStatus").collect();
        assert_eq!(statuses.len(), 1, "{values:?}: {heard:?}");
        let status = &statuses[0];
        assert_eq!((status.stream_id, status.transaction_id), (stream_id, 0.0));
        assert_eq!(status.values[0], Amf::Null);
        assert_eq!((status.level(), status.code()), ("status", PUBLISH_START));

        let player = studio.player("cam");
        let sent = Camera::legacy().start();
        studio.send_all((peer, stream_id), &sent);
        assert_eq!(studio.played(player), as_played(&sent), "{values:?}");
    }
}

#[test]
fn cm_5_without_takeover_the_second_publisher_is_refused_and_the_first_unharmed() {
    let mut studio = Studio::with(HubLimits { takeover: false, ..HubLimits::default() });
    let first = studio.encoder("cam");
    let player = studio.player("cam");
    let flv = studio.flv_player("cam");
    let mut camera = Camera::legacy();
    let mut sent = camera.start();
    sent.extend(camera.run(10));
    studio.send_all(first, &sent);

    let second = studio.dial_app("live");
    let stream_id = studio.create_stream(second);
    // Its media come along with `publish`, as an encoder does that does not wait.
    let publish = [Amf::Null, "cam".into(), "live".into()];
    let mut bytes = studio.command_bytes(second, stream_id, "publish", 3.0, &publish);
    for media in (Camera { video: 9, ..Camera::legacy() }).run(2) {
        let message = media.on_stream(stream_id);
        bytes.extend(studio.message_bytes(second, 4, &message));
    }
    studio.send_bytes(second, &bytes);
    let heard = studio.take(second);
    assert_eq!(heard.codes(stream_id), [BAD_NAME]);
    let status = heard.commands().pop().unwrap();
    assert_eq!((status.level(), status.transaction_id), ("error", 0.0));

    let more = camera.run(10);
    studio.send_all(first, &more);
    sent.extend(more);
    assert_eq!(studio.take(first.0).codes(first.1), [] as [&str; 0], "the first noticed");
    assert_eq!(studio.played(player), as_played(&sent));
    assert_eq!(studio.played_flv(flv), as_played(&sent));
    // When the first is gone the name is free.
    studio.command(first.0, first.1, "closeStream", 0.0, &[Amf::Null]);
    studio.encoder("cam");
}

#[test]
fn cm_5_the_name_is_in_use_for_the_same_connection_too() {
    let mut studio = Studio::with(HubLimits { takeover: false, ..HubLimits::default() });
    let first = studio.encoder("cam");
    let second = studio.create_stream(first.0);
    let heard = studio.publish(first.0, second, "cam");
    assert_eq!(heard.codes(second), [BAD_NAME]);
    assert!(studio.is_open(first.0), "its first stream goes on");
    let player = studio.player("cam");
    let sent = Camera::legacy().start();
    studio.send_all(first, &sent);
    studio.send_all((first.0, second), &Camera { video: 9, ..Camera::legacy() }.start());
    assert_eq!(studio.played(player), as_played(&sent));
}

#[test]
fn cm_5_a_second_publish_on_a_publishing_stream_leaves_one_that_works() {
    for takeover in [false, true] {
        for name in ["cam", "other"] {
            let mut studio = Studio::with(HubLimits { takeover, ..HubLimits::default() });
            let (peer, stream_id) = studio.encoder("cam");
            let players = ["cam", "other"].map(|name| studio.player(name));
            let heard = studio.publish(peer, stream_id, name);
            let last = heard.codes(stream_id).pop();
            studio.send_all((peer, stream_id), &Camera::legacy().start());
            let given = players.map(|player| studio.played(player).len());
            // Which of the two it is is not said; that what is said is so, is.
            match last.as_deref() {
                Some(PUBLISH_START) => {
                    assert_eq!(given, if name == "cam" { [3, 0] } else { [0, 3] });
                }
                _ if studio.is_open(peer) => assert_eq!(given, [3, 0]),
                _ => assert_eq!(given, [0, 0]),
            }
        }
    }
}

/// Players stay and see a new sequence header and a keyframe first, whether it differs or not.
#[test]
fn cm_5_with_takeover_players_stay_and_see_a_header_and_a_keyframe_first() {
    for new_header in [1, 2] {
        for frames_before_key in [0, 3] {
            let mut studio = Studio::with(HubLimits { takeover: true, ..HubLimits::default() });
            studio.grace = Duration::from_secs(30);
            let first = studio.encoder("cam");
            let player = studio.player("cam");
            let flv = studio.flv_player("cam");
            let mut camera = Camera::legacy();
            let mut sent = camera.start();
            sent.extend(camera.run(11));
            studio.send_all(first, &sent);
            assert_eq!(studio.played(player), as_played(&sent));
            assert_eq!(studio.played_flv(flv), as_played(&sent));

            let second = studio.encoder("cam");
            let told = studio.take(first.0);
            let is_told = told.has_code(first.1, BAD_NAME) || !studio.is_open(first.0);
            assert!(is_told, "the first believes it is live: {told:?}");
            if studio.is_open(first.0) {
                studio.send_all(first, &camera.run(2));
            }
            // An encoder that connects again goes on in the middle of a group.
            let mut camera = Camera { video: new_header, ..Camera::legacy() };
            let mut sent = camera.start();
            camera.run(8 - frames_before_key);
            sent.extend(camera.run(frames_before_key + 4));
            studio.send_all(second, &sent);

            let heard = studio.take(player.0);
            assert!(studio.is_open(player.0));
            assert_eq!(heard.codes(player.1), [] as [&str; 0], "players notice nothing");
            assert!(!heard.has_event(STREAM_EOF, player.1));
            for given in [heard.media(player.1), studio.played_flv(flv)] {
                let whats = whats(&given);
                let header = whats.iter().position(|what| *what == What::VideoHeader(new_header));
                let picture = whats.iter().position(|what| matches!(what, What::Picture(_)));
                assert!(header.expect("a header") < picture.expect("a picture"), "{whats:?}");
                assert_eq!(decode(&given).pictures, 4, "{whats:?}");
            }
        }
    }
}

#[test]
fn cm_5_a_takeover_by_an_encoder_that_then_fails_is_no_silence() {
    let mut studio = Studio::new();
    studio.encoder("cam");
    let player = studio.player("cam");
    let second = studio.encoder("cam");
    studio.hang_up(second.0);
    assert_told_of_the_end(&studio.take(player.0), player.1);
}

/// How a publisher may stop saying anything useful without closing.
fn frozen_publisher_frees_its_name(keep_alive: impl Fn(&mut Studio, (Peer, u32), u64)) {
    let mut studio = Studio::with(HubLimits { takeover: false, ..HubLimits::default() });
    studio.limits = ConnectionLimits {
        publish_idle_timeout: Duration::from_secs(12),
        ping_interval: Duration::from_secs(5),
        ..studio.limits
    };
    let frozen = studio.encoder("cam");
    let player = studio.player("cam");
    let mut camera = Camera::legacy();
    studio.send_all(frozen, &camera.start());
    studio.send_all(frozen, &camera.run(3));
    for second in 0..13 {
        keep_alive(&mut studio, frozen, second);
        if second == 10 {
            let probe = studio.dial_app("live");
            let stream_id = studio.create_stream(probe);
            assert_eq!(studio.publish(probe, stream_id, "cam").codes(stream_id), [BAD_NAME]);
        }
        studio.pass(Duration::from_secs(1));
    }
    assert!(!studio.is_open(frozen.0), "it still has its connection");
    assert!(studio.error(frozen.0).is_some(), "closed without a reason");
    assert_told_of_the_end(&studio.take(player.0), player.1);
    studio.encoder("cam");
}

#[test]
fn cm_6_a_publisher_that_freezes_frees_its_name_in_time() {
    frozen_publisher_frees_its_name(|_, _, _| ());
}

#[test]
fn cm_6_a_publisher_that_vanishes_frees_its_name_in_time() {
    frozen_publisher_frees_its_name(|studio, frozen, _| studio.freeze(frozen.0));
}

/// The encoder hangs and its network thread does not: acknowledgements, but no media.
#[test]
fn cm_6_a_publisher_that_only_acknowledges_frees_its_name_in_time() {
    frozen_publisher_frees_its_name(|studio, frozen, second| {
        let body = (5000 + second as u32).to_be_bytes().to_vec();
        let message = Message { type_id: 3, stream_id: 0, time: 0, body };
        let bytes = studio.message_bytes(frozen.0, 2, &message);
        studio.send_bytes(frozen.0, &bytes);
    });
}

#[test]
fn cm_6_a_publisher_that_sends_now_and_then_keeps_its_name() {
    let mut studio = Studio::new();
    let encoder = studio.encoder("cam");
    let player = studio.player("cam");
    let mut camera = Camera::legacy();
    let mut sent = camera.start();
    studio.send_all(encoder, &sent);
    for _ in 0..20 {
        let patience = studio.limits.publish_idle_timeout - Duration::from_millis(1);
        studio.pass(patience);
        camera.ms += patience.as_millis() as u32;
        let more = camera.run(1);
        studio.send_all(encoder, &more);
        sent.extend(more);
    }
    assert!(studio.is_open(encoder.0));
    assert_eq!(studio.played(player), as_played(&sent));
}

#[test]
fn cm_6_a_publisher_that_returns_in_the_grace_period_keeps_its_players() {
    for takeover in [false, true] {
        for is_frozen in [false, true] {
            let mut studio = Studio::with(HubLimits { takeover, ..HubLimits::default() });
            studio.grace = Duration::from_secs(20);
            let first = studio.encoder("cam");
            let player = studio.player("cam");
            let flv = studio.flv_player("cam");
            let mut camera = Camera { ms: 500_000, ..Camera::legacy() };
            studio.send_all(first, &camera.start());
            studio.send_all(first, &camera.run(11));
            let before = studio.played(player);
            studio.played_flv(flv);

            match is_frozen {
                true => studio.pass(studio.limits.publish_idle_timeout),
                false => studio.hang_up(first.0),
            }
            assert!(!studio.is_open(first.0));
            studio.pass(Duration::from_secs(19));
            let mut camera = Camera { video: 2, ..Camera::legacy() };
            let second = studio.encoder("cam");
            studio.send_all(second, &camera.start());
            studio.send_all(second, &camera.run(10));
            studio.pass(Duration::from_secs(15));
            studio.send_all(second, &camera.run(10));

            let heard = studio.take(player.0);
            assert!(!heard.has_event(STREAM_EOF, player.1) && heard.codes(player.1).is_empty());
            for given in [heard.media(player.1), studio.played_flv(flv)] {
                assert_eq!(decode(&given).pictures, 20);
                let (headers, media) = split_start(&given);
                assert!(whats(headers).contains(&What::VideoHeader(2)));
                assert!(media[0].is_keyframe());
                let mut last = before.last().unwrap().time;
                for media in &given {
                    let step = media.time.wrapping_sub(last) as i32;
                    assert!(step >= 0, "time goes back for players: {last}, then {}", media.time);
                    last = media.time;
                }
            }
        }
    }
}

#[test]
fn cm_6_when_the_grace_period_is_over_players_are_told_and_the_name_is_free() {
    let mut studio = Studio::with(HubLimits { takeover: false, ..HubLimits::default() });
    studio.grace = Duration::from_secs(20);
    let first = studio.encoder("cam");
    let player = studio.player("cam");
    studio.hang_up(first.0);
    studio.pass(Duration::from_millis(19_999));
    assert!(studio.take(player.0).codes(player.1).len() == 1, "they wait, and heard Play.Start");
    studio.pass(Duration::from_millis(1));
    assert_told_of_the_end(&studio.take(player.0), player.1);
    studio.encoder("cam");
}

#[test]
fn cm_7_play_is_answered_on_its_stream_and_by_reset_only_if_asked_for() {
    let number = |value: f64| Amf::Number(value);
    let cases = [
        (vec![], false),
        (vec![number(-2.0)], false),
        (vec![number(-2.0), number(-1.0)], false),
        (vec![number(-1.0), number(-1.0), false.into()], false),
        (vec![number(-2.0), number(-1.0), number(0.0)], false),
        (vec![number(-2.0), number(-1.0), Amf::Null], false),
        (vec![number(-2.0), number(-1.0), true.into()], true),
        (vec![number(0.0), number(-1.0), number(1.0)], true),
    ];
    for (arguments, is_reset) in cases {
        for is_published in [false, true] {
            let mut studio = Studio::new();
            let mut camera = Camera::legacy();
            if is_published {
                let encoder = studio.encoder("cam");
                studio.send_all(encoder, &camera.start());
                studio.send_all(encoder, &camera.run(3));
            }
            let peer = studio.dial_app("live");
            studio.create_stream(peer);
            let stream_id = studio.create_stream(peer);
            let mut values = vec![Amf::Null, "cam".into()];
            values.extend(arguments.clone());
            studio.command(peer, stream_id, "play", 4.0, &values);
            let heard = studio.take(peer);
            let begin = heard.position_of_event(STREAM_BEGIN, stream_id);
            let start = heard.position_of_code(stream_id, PLAY_START);
            assert!(begin < start, "{heard:?}");
            for status in heard.commands().iter().filter(|command| command.name == "onStatus") {
                assert_eq!((status.level(), status.transaction_id), ("status", 0.0));
                assert_eq!(status.stream_id, stream_id);
            }
            assert_eq!(heard.has_code(stream_id, PLAY_RESET), is_reset, "{arguments:?}");
            if is_reset {
                assert!(heard.position_of_code(stream_id, PLAY_RESET) < start);
            }
            let media = heard.0.iter().position(|m| [8, 9].contains(&m.type_id));
            assert_eq!(media.is_some(), is_published);
            assert!(media.is_none_or(|media| start < media), "media before Play.Start");
        }
    }
}

/// A player switches streams without another message stream.
#[test]
fn cm_7_play_again_on_the_same_stream_replaces_what_played() {
    for reset in [false, true] {
        let mut studio = Studio::new();
        let mut cameras = [Camera::legacy(), Camera { video: 7, audio: 8, ..Camera::legacy() }];
        let encoders = ["a", "b"].map(|name| studio.encoder(name));
        for (encoder, camera) in encoders.into_iter().zip(&mut cameras) {
            studio.send_all(encoder, &camera.start());
            studio.send_all(encoder, &camera.run(3));
        }
        let (peer, stream_id) = studio.player("a");
        assert_eq!(decode(&studio.played((peer, stream_id))).pictures, 3);
        let values = [Amf::Null, "b".into(), (-2.0).into(), (-1.0).into(), reset.into()];
        studio.command(peer, stream_id, "play", 0.0, &values);
        let heard = studio.take(peer);
        let start = heard.position_of_code(stream_id, PLAY_START);
        assert!(heard.position_of_event(STREAM_BEGIN, stream_id) < start);
        assert_eq!(heard.has_code(stream_id, PLAY_RESET), reset);
        let mut given = heard.media(stream_id);
        for (encoder, camera) in encoders.into_iter().zip(&mut cameras) {
            studio.send_all(encoder, &camera.run(3));
        }
        given.extend(studio.played((peer, stream_id)));
        assert_eq!(decode(&given).pictures, 6);
        assert!(whats(&given).contains(&What::VideoHeader(7)));
        assert!(!whats(&given).contains(&What::VideoHeader(1)));
    }
}

/// What a joiner must be given when it joins behind `before` of what is sent: the headers in force
/// at the newest keyframe, and everything from that keyframe on.
fn expected_start(sent: &[Media], before: usize) -> (Vec<Media>, usize) {
    let from = sent[..before].iter().rposition(Media::is_keyframe).unwrap_or(before);
    let mut headers: [Option<&Media>; 3] = [None; 3];
    for media in &sent[..from] {
        match media.what() {
            What::Metadata => headers[0] = Some(media),
            What::AudioHeader(_) => headers[1] = Some(media),
            What::VideoHeader(_) => headers[2] = Some(media),
            _ => {}
        }
    }
    (headers.into_iter().flatten().cloned().collect(), from)
}

fn assert_joined(given: &[Media], sent: &[Media], before: usize, place: &str) {
    let (headers, from) = expected_start(sent, before);
    decode(given);
    assert!(given.len() >= headers.len(), "{place}: {:?}", whats(given));
    let (start, media) = given.split_at(headers.len());
    assert_eq!(whats(start).first(), whats(&headers).first(), "{place}: metadata first");
    for header in &headers {
        let found = start.iter().filter(|tag| tag.body == header.body).count();
        assert_eq!(found, 1, "{place}: {:?} in {:?}", header.what(), whats(start));
    }
    assert!(media == &sent[from..], "{place}: {:?}, then {:?}", whats(start), whats(media));
    // A player counts from the first timestamp it sees.
    if let Some(first) = media.first() {
        for header in start {
            let late = header.time.wrapping_sub(first.time) as i32;
            assert!(late <= 0, "{place}: a header at {}, media at {}", header.time, first.time);
        }
    }
}

fn join_at_every_tag(sent: &[Media], batch_len: usize) {
    let played = as_played(sent);
    let mut studio = Studio::new();
    studio.batch_len = batch_len;
    let mut joiners = vec![(0, studio.player("cam"), studio.flv_player("cam"))];
    let encoder = studio.encoder("cam");
    for (index, media) in sent.iter().enumerate() {
        studio.send(encoder, media);
        // Every other player is on another stream than 1.
        let player = match index % 2 {
            0 => studio.player("cam"),
            _ => {
                let peer = studio.dial_app("live");
                studio.create_stream(peer);
                let stream_id = studio.create_stream(peer);
                studio.command(peer, stream_id, "play", 0.0, &[Amf::Null, "cam".into()]);
                (peer, stream_id)
            }
        };
        joiners.push((index + 1, player, studio.flv_player("cam")));
    }
    for (before, player, flv) in joiners {
        let given = studio.played(player);
        assert_joined(&given, &played, before, &format!("RTMP, joined behind {before}"));
        let given = studio.played_flv(flv);
        assert_joined(&given, &played, before, &format!("FLV, joined behind {before}"));
    }
}

#[test]
fn cm_8_a_joiner_at_any_tag_gets_metadata_headers_and_a_keyframe_first() {
    for batch_len in [1, 500, 1 << 20] {
        let mut camera = Camera { ms: 5000, padding: 300, ..Camera::legacy() };
        let mut sent = camera.start();
        sent.extend(camera.run(17));
        join_at_every_tag(&sent, batch_len);
    }
}

#[test]
fn cm_8_so_it_does_without_metadata_and_in_another_order() {
    let mut camera = Camera::legacy();
    let mut sent = camera.start().split_off(1);
    sent.reverse();
    sent.extend(camera.run(17));
    join_at_every_tag(&sent, 500);
}

#[test]
fn cm_8_so_it_does_with_enhanced_codecs_past_the_24_bits_of_time() {
    let mut camera = Camera { ms: 0xFF_FF00, padding: 70_000, ..Camera::enhanced() };
    (camera.color, camera.channels) = (0, 0);
    let mut sent = camera.start();
    sent.extend(camera.run(17));
    join_at_every_tag(&sent, 1 << 20);
}

#[test]
fn cm_8_a_joiner_that_waits_for_a_keyframe_gets_the_same_order() {
    let mut studio = Studio::new();
    studio.start = forebay::hub::Start::Live;
    let encoder = studio.encoder("cam");
    let mut camera = Camera::legacy();
    studio.send_all(encoder, &camera.start());
    let mut joiners = Vec::new();
    for media in camera.run(17) {
        studio.send(encoder, &media);
        joiners.push((studio.player("cam"), studio.flv_player("cam")));
    }
    studio.send_all(encoder, &camera.run(9));
    for (player, flv) in joiners {
        for given in [studio.played(player), studio.played_flv(flv)] {
            assert!(decode(&given).keyframes > 0);
            let headers = whats(split_start(&given).0);
            assert_eq!(headers[0], What::Metadata);
            assert!(headers.contains(&What::VideoHeader(1)), "{headers:?}");
            assert!(headers.contains(&What::AudioHeader(1)), "{headers:?}");
        }
    }
}

fn assert_told_of_the_end(heard: &Heard, stream_id: u32) {
    let eof = heard.position_of_event(STREAM_EOF, stream_id);
    let notify = heard.position_of_code(stream_id, UNPUBLISH_NOTIFY);
    let last = heard.0.iter().rposition(|message| [8, 9, 18].contains(&message.type_id));
    assert!(last.is_none_or(|last| last < eof && last < notify), "media behind the end");
    let eofs = heard.events().iter().filter(|event| **event == (STREAM_EOF, stream_id)).count();
    assert_eq!(eofs, 1);
    assert_eq!(heard.codes(stream_id).iter().filter(|code| *code == UNPUBLISH_NOTIFY).count(), 1);
}

type Leave = fn(&mut Studio, (Peer, u32));

const WAYS_TO_LEAVE: [(&str, Leave); 7] = [
    ("deleteStream", |studio, (peer, stream_id)| {
        let id = [Amf::Null, f64::from(stream_id).into()];
        studio.command(peer, 0, "deleteStream", 0.0, &id);
    }),
    ("deleteStream on the stream itself", |studio, (peer, stream_id)| {
        let id = [Amf::Null, f64::from(stream_id).into()];
        studio.command(peer, stream_id, "deleteStream", 8.0, &id);
    }),
    ("closeStream", |studio, (peer, stream_id)| {
        studio.command(peer, stream_id, "closeStream", 0.0, &[Amf::Null]);
    }),
    ("FCUnpublish", |studio, (peer, _)| {
        studio.command(peer, 0, "FCUnpublish", 6.0, &[Amf::Null, "cam".into()]);
    }),
    ("TCP close", |studio, (peer, _)| studio.hang_up(peer)),
    ("time-out", |studio, _| studio.pass(studio.limits.publish_idle_timeout)),
    ("a chunk stream that breaks", |studio, (peer, _)| studio.send_bytes(peer, &[0xC0 | 63; 64])),
];

#[test]
fn cm_9_when_the_publisher_leaves_each_player_is_told() {
    for (way, leave) in WAYS_TO_LEAVE {
        let mut studio = Studio::new();
        let encoder = studio.encoder("cam");
        let first = studio.player("cam");
        let second = studio.dial_app("live");
        studio.create_stream(second);
        let second = (second, studio.create_stream(second));
        studio.command(second.0, second.1, "play", 0.0, &[Amf::Null, "cam".into()]);
        let other = studio.player("other");
        let flv = studio.flv_player("cam");
        let mut camera = Camera::legacy();
        let mut sent = camera.start();
        sent.extend(camera.run(11));
        studio.send_all(encoder, &sent);
        leave(&mut studio, encoder);
        for player in [first, second] {
            assert!(studio.is_open(player.0), "{way}");
            let heard = studio.take(player.0);
            assert_eq!(heard.media(player.1), as_played(&sent), "{way}: all of it");
            assert_told_of_the_end(&heard, player.1);
        }
        assert!(studio.is_flv_over(flv), "{way}");
        let filed = without_end_of_sequence(studio.played_flv(flv), &as_played(&sent));
        assert_eq!(filed, as_played(&sent));
        assert!(!studio.take(other.0).has_event(STREAM_EOF, other.1), "{way} told everybody");
        // It may play again on the same stream, and the name is free.
        studio.command(first.0, first.1, "play", 0.0, &[Amf::Null, "cam".into()]);
        let encoder = studio.encoder("cam");
        let sent = Camera::legacy().start();
        studio.send_all(encoder, &sent);
        assert_eq!(studio.played(first), as_played(&sent), "{way}");
    }
}

/// Whoever joins while a publisher is awaited is told as well.
#[test]
fn cm_9_players_kept_waiting_are_told_in_the_end() {
    for (way, leave) in &WAYS_TO_LEAVE[4..] {
        let mut studio = Studio::new();
        studio.grace = Duration::from_secs(10);
        let encoder = studio.encoder("cam");
        let early = studio.player("cam");
        leave(&mut studio, encoder);
        let late = studio.player("cam");
        for player in [early, late] {
            assert_eq!(studio.take(player.0).codes(player.1), [PLAY_START], "{way}: it waits");
        }
        studio.pass(Duration::from_secs(10));
        for player in [early, late] {
            assert_told_of_the_end(&studio.take(player.0), player.1);
        }
    }
}

fn receive(studio: &mut Studio, player: (Peer, u32), command: &str, flag: bool) -> Heard {
    studio.command(player.0, player.1, command, 0.0, &[Amf::Null, flag.into()]);
    studio.take(player.0)
}

fn kinds(media: &[Media]) -> (bool, bool) {
    let has = |kind| media.iter().any(|media| media.kind == kind);
    (has(message_type::AUDIO), has(message_type::VIDEO))
}

#[test]
fn cm_10_receive_video_and_receive_audio_stop_that_kind_only() {
    let mut studio = Studio::new();
    let encoder = studio.encoder("cam");
    let player = studio.player("cam");
    let other = studio.player("cam");
    let mut camera = Camera::legacy();
    studio.send_all(encoder, &camera.start());
    studio.send_all(encoder, &camera.run(3));
    let mut given = studio.played(player);

    receive(&mut studio, player, "receiveVideo", false);
    let sent = camera.run(3);
    studio.send_all(encoder, &sent);
    let more = studio.played(player);
    let sounds: Vec<_> = sent.iter().filter(|m| m.kind == message_type::AUDIO).cloned().collect();
    assert_eq!(more, sounds, "all sound and nothing else");
    given.extend(more);

    // The header changes while it does not look; then it looks again in the middle of a group.
    camera.video = 2;
    studio.send(encoder, &camera.video_header());
    camera.cut();
    studio.send_all(encoder, &camera.run(3));
    given.extend(studio.played(player));
    let heard = receive(&mut studio, player, "receiveVideo", true);
    assert_eq!(heard.codes(player.1), ["NetStream.Seek.Notify", PLAY_START]);
    given.extend(heard.media(player.1));
    studio.send_all(encoder, &camera.run(8));
    let more = studio.played(player);
    given.extend(more.clone());
    let first = more.iter().find(|media| matches!(media.what(), What::Picture(_)));
    let already = heard.media(player.1).iter().any(Media::is_keyframe);
    assert!(already || first.expect("pictures again").is_keyframe());
    let seen = decode(&given);
    assert_eq!(seen.sounds, 17, "no sound was lost");

    receive(&mut studio, player, "receiveAudio", false);
    let sent = camera.run(10);
    studio.send_all(encoder, &sent);
    let more = studio.played(player);
    let pictures: Vec<_> = sent.iter().filter(|m| m.kind == message_type::VIDEO).cloned().collect();
    assert_eq!(more, pictures, "all pictures and nothing else");

    receive(&mut studio, player, "receiveVideo", false);
    studio.send_all(encoder, &camera.run(10));
    assert_eq!(studio.played(player), []);
    receive(&mut studio, player, "receiveAudio", true);
    studio.send_all(encoder, &camera.run(1));
    assert_eq!(kinds(&studio.played(player)), (true, false));
    assert_eq!(decode(&studio.played(other)).pictures, 38, "others notice nothing");
}

#[test]
fn cm_10_video_turned_on_at_any_tag_resumes_at_a_keyframe() {
    for batch_len in [1, 1 << 20] {
        for at in 0..34 {
            let mut studio = Studio::new();
            studio.batch_len = batch_len;
            let encoder = studio.encoder("cam");
            let player = studio.player("cam");
            let mut camera = Camera::legacy();
            studio.send_all(encoder, &camera.start());
            let sent = camera.run(26);
            for (index, media) in sent.iter().enumerate() {
                match index {
                    _ if index == at => studio.command(
                        player.0,
                        player.1,
                        "receiveVideo",
                        0.0,
                        &[Amf::Null, false.into()],
                    ),
                    _ if index == at + 5 => studio.command(
                        player.0,
                        player.1,
                        "receiveVideo",
                        0.0,
                        &[Amf::Null, true.into()],
                    ),
                    _ => {}
                }
                studio.send(encoder, media);
            }
            let given = studio.played(player);
            let seen = decode(&given);
            assert_eq!(seen.sounds, 26, "at {at}");
            // At most what it did not want, and the rest of that group.
            assert!(seen.pictures >= 26 - 3 - 8, "at {at}: {seen:?}");
        }
    }
}

#[test]
fn cm_10_pause_is_acknowledged_and_ends_at_a_keyframe() {
    let mut studio = Studio::new();
    let encoder = studio.encoder("cam");
    let player = studio.player("cam");
    let mut camera = Camera::legacy();
    studio.send_all(encoder, &camera.start());
    studio.send_all(encoder, &camera.run(3));
    studio.take(player.0);

    let pause = |studio: &mut Studio, flag: bool| {
        studio.command(player.0, player.1, "pause", 0.0, &[Amf::Null, flag.into(), 120.0.into()]);
        studio.take(player.0)
    };
    let heard = pause(&mut studio, true);
    assert_eq!(heard.codes(player.1), ["NetStream.Pause.Notify"]);
    assert_eq!(heard.commands()[0].level(), "status");
    studio.send_all(encoder, &camera.run(9));
    assert_eq!(studio.played(player), [], "it is paused");

    (camera.video, camera.audio) = (2, 2);
    studio.send_all(encoder, &[camera.video_header(), camera.audio_header()]);
    camera.cut();
    studio.send_all(encoder, &camera.run(3));
    let heard = pause(&mut studio, false);
    assert_eq!(heard.codes(player.1), ["NetStream.Unpause.Notify"]);
    let mut given = heard.media(player.1);
    studio.send_all(encoder, &camera.run(8));
    given.extend(studio.played(player));
    assert!(whats(&given).contains(&What::VideoHeader(2)), "{:?}", whats(&given));
    let frames = given.iter().find(|media| matches!(media.what(), What::Picture(_)));
    assert!(frames.expect("pictures").is_keyframe());
    decode(&given);
    assert!(studio.is_open(player.0));
}
