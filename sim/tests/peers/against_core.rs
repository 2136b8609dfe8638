//! The core's own connection as the server: what it accepts is what encoders announced, and what it
//! says is what players understand.

use std::time::{Duration, Instant};

use bytes::{Bytes, BytesMut};
use forebay::flv::{Tag, TagKind, TagRole};
use forebay::rope::Rope;
use forebay::rtmp::server::{ConnectionLimits, Output};
use forebay::rtmp::{Input, ServerConnection};
use forebay::time::Timestamp;
use forebay::wire_log;
use forebay_sim::capture::{self, Capture};
use forebay_sim::neighbour::speech;
use forebay_sim::plan::{Player, Quirk, Receive, Speech, Start};
use forebay_sim::publisher::Heard;
use forebay_sim::tag::{Kind, Role, TagSeen};
use forebay_sim::viewer::{Seen, Session};

use crate::studio::{Run, run};
use crate::{encoder, every_quirk, publish};

/// The core, saying yes to everything.
struct Core {
    connection: ServerConnection,
    now: Instant,
    sent: BytesMut,
    tags: Vec<Tag>,
    events: Vec<String>,
    error: Option<String>,
}

impl Core {
    fn new() -> Self {
        let now = Instant::now();
        let connection = ServerConnection::new(now, 3, ConnectionLimits::default());
        let (sent, tags, events) = (BytesMut::new(), Vec::new(), Vec::new());
        Self { connection, now, sent, tags, events, error: None }
    }

    fn receive(&mut self, bytes: &[u8]) -> Vec<u8> {
        self.input(Input::Received(Bytes::copy_from_slice(bytes)));
        self.sent.split().to_vec()
    }

    fn input(&mut self, input: Input) {
        self.connection.handle_input(self.now, input);
        self.drain();
    }

    fn drain(&mut self) {
        loop {
            match self.connection.poll_output() {
                Output::Send(bytes) => self.sent.extend_from_slice(&bytes),
                Output::Publish { stream_id, app, name, query } => {
                    self.events.push(format!("publish {app}/{name}?{query}"));
                    self.connection.accept_publish(stream_id);
                }
                Output::Play { stream_id, app, name, query, .. } => {
                    self.events.push(format!("play {app}/{name}?{query}"));
                    self.connection.accept_play(stream_id);
                }
                Output::Tag { tag, .. } => self.tags.push(tag),
                Output::Close(error) => {
                    self.error = error.map(|error| error.to_string());
                    return;
                }
                Output::Wait(_) => return,
                Output::Receive { audio, video, pause, .. } => {
                    self.events.push(format!("receive {audio:?} {video:?} {pause:?}"));
                }
                Output::Unpublish { .. } => self.events.push("unpublish".to_owned()),
                Output::StopPlay { .. } => self.events.push("stop".to_owned()),
            }
        }
    }
}

fn seen(tag: &Tag) -> TagSeen {
    let kind = match tag.kind {
        TagKind::Audio => Kind::Audio,
        TagKind::Video => Kind::Video,
        TagKind::Script => Kind::Script,
    };
    TagSeen::of(kind, tag.timestamp.as_ms(), &tag.payload.to_bytes())
}

/// What the core's role is in our words.
fn role(tag: &Tag) -> Role {
    match tag.role() {
        _ if tag.kind == TagKind::Script => Role::Script,
        TagRole::VideoSequenceHeader(_) | TagRole::AudioSequenceHeader(_) => Role::Header,
        TagRole::Keyframe => Role::Keyframe,
        TagRole::InterFrame { disposable: false } => Role::Inter,
        TagRole::InterFrame { disposable: true } => Role::Disposable,
        TagRole::AudioFrame => Role::Sound,
        _ => Role::Other,
    }
}

fn publish_to_core(capture: &str, quirks: &[Quirk]) -> (Run, Core) {
    let mut encoder = encoder(&publish(capture, quirks)).unwrap();
    let mut core = Core::new();
    let run = run(&mut encoder, usize::MAX, |bytes, complete| {
        let answer = core.receive(bytes);
        assert_eq!(core.tags.len(), complete, "{capture} {quirks:?}: a tag with its last byte");
        answer
    });
    let goodbye = encoder.goodbye();
    for heard in encoder.receive(&core.receive(&goodbye)) {
        assert_eq!(heard, Heard::ToldEnd);
    }
    assert_eq!(core.error, None, "{capture} {quirks:?}");
    (run, core)
}

fn compare(capture: &str, quirks: &[Quirk]) {
    let (run, core) = publish_to_core(capture, quirks);
    let others =
        run.heard.iter().find(|heard| !matches!(heard, Heard::Publishing | Heard::ToldEnd));
    assert_eq!(others, None, "{capture} {quirks:?}");
    let announced = run.tags();
    let accepted: Vec<_> = core.tags.iter().map(seen).collect();
    if let Some(at) = announced.iter().zip(&accepted).position(|(a, b)| a != b) {
        panic!("{capture} {quirks:?}: tag {at}: {} and {}", announced[at], accepted[at]);
    }
    assert_eq!(announced.len(), accepted.len(), "{capture} {quirks:?}");
    for (tag, seen) in core.tags.iter().zip(&accepted) {
        assert_eq!(role(tag), seen.role, "{capture} {quirks:?}: {seen}");
    }
    if !capture.contains("killed") {
        assert_eq!(core.events.last().unwrap(), "unpublish", "{capture} {quirks:?}");
    }
}

#[test]
fn the_core_accepts_what_every_capture_announces() {
    for name in capture::names() {
        if Capture::load(&name).unwrap().tags.len() > 1 {
            compare(&name, &[]);
        }
    }
}

#[test]
fn the_core_accepts_what_every_quirk_announces() {
    for quirks in every_quirk() {
        for name in ["obs-360p30-base", "enh-hevc-aac", "enh-two-audio"] {
            if encoder(&publish(name, &quirks)).is_ok() {
                compare(name, &quirks);
            }
        }
    }
}

/// Plays what a capture holds, as the core's encoder writes it for viewers.
fn play(player: Player, start: Option<Start>, piece_len: usize) {
    let tags = &Capture::load("obs-publish-360p60").unwrap().tags;
    let mut session = Session::new(player, "live/a", start, 1);
    let mut core = Core::new();
    let mut got = Vec::new();
    loop {
        let sent = session.take_output();
        if sent.is_empty() {
            break;
        }
        for piece in core.receive(&sent).chunks(piece_len) {
            got.extend(session.receive(piece));
        }
    }
    assert_eq!(got, [Seen::Playing], "{player:?}");
    let query = if start.is_some() { "start=live" } else { "" };
    assert_eq!(core.events, [format!("play live/a?{query}")]);

    let stream_id = wire_log::Encoder::RTMP_STREAM_ID;
    let mut writer = wire_log::Encoder::new(wire_log::Protocol::Rtmp, stream_id);
    let mut wire = Vec::new();
    let mut expected = Vec::new();
    for (index, tag) in tags.iter().enumerate() {
        let kind = match tag.kind {
            Kind::Audio => TagKind::Audio,
            Kind::Video => TagKind::Video,
            Kind::Script => TagKind::Script,
        };
        // Through 2^24 and 2^32.
        let ms = tag.timestamp_ms.wrapping_add([0, 0xFF_F000, 0xFFFF_F000][index * 3 / tags.len()]);
        let payload = Rope::from(tag.payload.to_vec());
        let tag = Tag { kind, timestamp: Timestamp::from_ms(ms), payload };
        writer.encode(&tag, &mut wire);
        expected.push(Seen::Tag(seen(&tag)));
    }
    got.clear();
    for piece in wire.chunks(piece_len) {
        got.extend(session.receive(piece));
    }
    assert_eq!(got.len(), expected.len(), "{player:?}");
    assert!(got == expected, "{player:?}");
    core.connection.end_play(1);
    core.drain();
    assert_eq!(session.receive(&core.sent.split()), [Seen::ToldEnd]);
}

#[test]
fn our_player_and_rmls_play_from_the_core() {
    for piece_len in [1, 1000, usize::MAX] {
        play(Player::Rtmp, Some(Start::Live), piece_len);
        play(Player::Rtmp, None, piece_len);
        play(Player::Rml, Some(Start::Live), piece_len);
    }
}

#[test]
fn the_core_understands_what_a_player_wants_and_its_goodbye() {
    for player in [Player::Rtmp, Player::Rml] {
        let mut session = Session::new(player, "live/a", None, 1);
        let mut core = Core::new();
        let mut exchange = |session: &mut Session| {
            let mut got = Vec::new();
            loop {
                let sent = session.take_output();
                if sent.is_empty() {
                    return got;
                }
                got.extend(session.receive(&core.receive(&sent)));
            }
        };
        assert_eq!(exchange(&mut session), [Seen::Playing]);
        for receive in [Receive::Pause, Receive::Resume, Receive::AudioOff, Receive::VideoOn] {
            session.set_receive(receive);
            assert!(exchange(&mut session).is_empty(), "playing is not told twice");
        }
        session.goodbye();
        assert!(exchange(&mut session).is_empty());
        if player == Player::Rtmp {
            let expected = [
                "receive None None Some(true)",
                "receive None None Some(false)",
                "receive Some(false) None None",
                "receive None Some(true) None",
                "stop",
            ];
            assert_eq!(core.events[1..], expected);
        } else {
            assert_eq!(core.events[1..], ["stop"]);
        }
    }
}

#[test]
fn bad_neighbours_do_what_their_names_say() {
    for kind in Speech::ALL {
        let said = speech(kind, "live/a", 5);
        assert_eq!(said, speech(kind, "live/a", 5), "{kind:?}");
        assert!(said.windows(2).all(|pair| pair[0].0 < pair[1].0), "{kind:?}: in order");
        let mut core = Core::new();
        for (at, bytes) in said {
            core.now += Duration::from_millis(1).min(at);
            core.receive(&bytes);
            if core.error.is_some() {
                break;
            }
        }
        let (error, events) = (core.error.as_deref(), core.events.join(", "));
        println!("{kind:?}: {error:?}, {events}, {} tags", core.tags.len());
        let is_told = match kind {
            // A TLS record begins with 22, which may be a version: only time tells.
            Speech::Silence | Speech::Tls | Speech::HalfHandshake | Speech::SlowHandshake => {
                error.is_none()
            }
            Speech::MediaFirst => core.tags.is_empty(),
            Speech::PlaysNothing => events.contains("play live/nothing-"),
            Speech::Intruder => events.starts_with("publish live/a"),
            Speech::UnknownCommands => true,
            _ => error.is_some(),
        };
        assert!(is_told, "{kind:?}: {error:?}, {events}");
    }
}
