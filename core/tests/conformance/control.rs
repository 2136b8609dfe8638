//! §3: protocol control and user control messages (RTMP 5.4, 6.2).

use std::time::Duration;

use bytes::Bytes;
use forebay::rtmp::chunk::ChunkLimits;
use forebay::rtmp::server::ConnectionLimits;

use crate::wire::{
    HANDSHAKE, Msg, Seen, Server, basic, be, connect, handshake, however_cut, messages, noise,
    opening, read, set_chunk_size, type_0, type_3, user_control,
};

const WINDOW: u8 = 5;
const PEER_BANDWIDTH: u8 = 6;
const PING: u16 = 6;

fn window(size: u32) -> Msg {
    Msg::control(WINDOW, &size.to_be_bytes())
}

fn peer_bandwidth(size: u32, limit_type: u8) -> Msg {
    Msg::control(PEER_BANDWIDTH, &[&size.to_be_bytes()[..], &[limit_type]].concat())
}

fn abort(csid: u32) -> Msg {
    Msg::control(2, &csid.to_be_bytes())
}

fn video(time: u32, len: usize) -> Msg {
    Msg::new(6, time, 9, 1, &noise(len, time))
}

/// A server to which `name` is being published.
fn publishing(name: &str) -> Server {
    let mut server = Server::open();
    server.receive(opening("publish", name));
    assert_eq!(server.seen, [Seen::Publish(name.to_owned())]);
    server
}

/// What a server with a publisher saw of `parts`, however they were cut, and whether it goes on.
fn seen(parts: &[Vec<u8>]) -> Vec<Seen> {
    let before: Bytes = [handshake(), opening("publish", "stream")].concat().into();
    however_cut(parts, |pieces| {
        let mut server = Server::fed(std::slice::from_ref(&before));
        pieces.iter().for_each(|piece| server.receive(piece.clone()));
        server.seen.split_off(1)
    })
}

#[test]
fn ct_1_protocol_control_is_on_chunk_stream_2_and_message_stream_0() {
    let mut types = vec![];
    for verb in ["publish", "play"] {
        let mut server = Server::open();
        server.say(&window(1000));
        server.receive(opening(verb, "stream"));
        server.say(&peer_bandwidth(77_777, 0));
        server.say(&user_control(PING, &[0; 4]));
        server.say(&Msg::new(4, 0, 8, 1, &noise(3000, 1)));
        server.pass(Duration::from_secs(60));
        for message in server.answer().messages {
            if let 1..=6 = message.type_id {
                assert_eq!((message.csid, message.stream_id), (2, 0), "{message:?}");
                types.push(message.type_id);
            }
        }
    }
    types.sort_unstable();
    types.dedup();
    // It has nothing to abort; of all else there was some.
    assert_eq!(types, [1, 3, 4, 5, 6]);
}

#[test]
fn ct_2_the_smallest_and_the_largest_chunk_size_are_accepted() {
    for size in [1, 128, 65536, 0xFF_FFFF, 0x7FFF_FFFF] {
        let sent = video(40, 300);
        let mut parts = vec![set_chunk_size(size).bytes(128)];
        parts.extend(sent.chunks(size as usize));
        assert_eq!(messages(&parts), [set_chunk_size(size), sent.clone()]);
        assert_eq!(seen(&parts), [Seen::Tag(40, sent.body)], "{size}");
    }
}

#[test]
fn ct_2_a_chunk_size_of_zero_or_with_the_top_bit_ends_the_session() {
    for size in [0, 0x8000_0000, 0x8000_0001, 0x8000_0080, 0xFFFF_FFFF] {
        let parts = [set_chunk_size(size).bytes(128), video(40, 10).bytes(128)];
        let seen = seen(&parts);
        assert!(matches!(seen[..], [Seen::Closed(Some(_))]), "{size:#x}: {seen:?}");
        let (got, error) = however_cut(&parts, |pieces| read(pieces, ChunkLimits::default()));
        assert!(got.is_empty() && error.is_some(), "{size:#x}: {got:?}, {error:?}");
    }
}

#[test]
fn ct_2_the_two_directions_are_independent() {
    // What the server sends is cut as before, although its peer now sends single bytes.
    let mut plain = Server::open();
    plain.say(&connect());
    let mut small = Server::open();
    small.say(&set_chunk_size(1));
    small.receive(connect().bytes(1));
    assert_eq!(small.sent, plain.sent);
    assert_eq!(small.answered_commands(), ["_result"]);
    // And what it announced for itself did not change what it reads: 128 until it is told.
    let announced = plain.answers(1);
    assert!(announced.iter().any(|body| be(body) != 128), "{announced:?}");
    plain.say(&Msg::new(4, 0, 8, 1, &noise(400, 2)));
    assert!(plain.is_alive());
}

#[test]
fn ct_3_abort_discards_the_partial_message_of_one_chunk_stream() {
    let (cut_off, other) = (video(40, 300), Msg::new(4, 41, 8, 1, &noise(200, 9)));
    let next = video(80, 300);
    for count in 1..3 {
        // Chunk stream 4 is in the middle of a message as well, and must not care.
        let mut parts = cut_off.chunks(128)[..count].to_vec();
        let other_parts = other.chunks(128);
        parts.push(other_parts[0].clone());
        parts.push(abort(6).bytes(128));
        parts.push(other_parts[1].clone());
        parts.extend(next.chunks(128));
        assert_eq!(messages(&parts), [abort(6), other.clone(), next.clone()]);
        let tags = [&other, &next].map(|message| Seen::Tag(message.time, message.body.clone()));
        assert_eq!(seen(&parts), tags);
    }
}

#[test]
fn ct_3_the_next_chunk_starts_a_message_also_with_type_3() {
    let body = noise(300, 4);
    let mut parts = vec![[type_0(6, 1000, 300, 9, 1), vec![0x0D; 128]].concat()];
    parts.push(abort(6).bytes(128));
    parts.extend(body.chunks(128).map(|part| [type_3(6, None), part.to_vec()].concat()));
    // RTMP 5.3.1.2.4: length and type as before, and time advances by the type 0's timestamp.
    assert_eq!(messages(&parts), [abort(6), Msg::new(6, 2000, 9, 1, &body)]);
}

#[test]
fn ct_3_abort_with_nothing_pending_changes_nothing() {
    let sent = [video(40, 300), video(80, 300)];
    // Of a chunk stream that is complete, of one never used, of itself, and of none at all.
    for csid in [6, 7, 2, 65599, 0, 1, 0xFFFF_FFFF] {
        let mut parts = sent[0].chunks(128);
        parts.push(abort(csid).bytes(128));
        parts.extend(sent[1].chunks(128));
        assert_eq!(messages(&parts), [sent[0].clone(), abort(csid), sent[1].clone()]);
    }
    // Of another than the one that is pending.
    let mut parts = sent[0].chunks(128);
    parts.insert(1, abort(7).bytes(128));
    assert_eq!(messages(&parts), [abort(7), sent[0].clone()]);
}

#[test]
fn ct_3_aborted_messages_leave_no_trace_however_many() {
    let (partial, last) = (video(40, 300).chunks(128).swap_remove(0), video(80, 10));
    let mut parts = vec![];
    for _ in 0..1000 {
        parts.extend([partial.clone(), abort(6).bytes(128)]);
    }
    parts.push(last.bytes(128));
    let whole = parts.concat().into();
    let (got, error) = read(&[whole], ChunkLimits::default());
    assert_eq!((got.last(), got.len(), error), (Some(&last), 1001, None));
}

/// The byte counts of all Acknowledgements.
fn acknowledged(server: &Server) -> Vec<u32> {
    server.answers(3).iter().map(|body| be(body)).collect()
}

#[test]
fn ct_4_every_window_is_acknowledged_with_the_running_count() {
    for (size, step) in [(1000, 100), (1000, 485), (5000, 333), (1, 50), (300, 4000)] {
        let mut server = publishing("stream");
        let mut received = (HANDSHAKE + opening("publish", "stream").len()) as u32;
        assert_eq!(acknowledged(&server), [0u32; 0], "nobody has asked yet");
        let mut receive = |bytes: Vec<u8>| {
            received += bytes.len() as u32;
            server.receive(bytes);
            let counts = acknowledged(&server);
            (received, counts)
        };
        // In chunks, 485 bytes are 500: exactly a window in two messages.
        // What is unacknowledged is less than a window, by either way to count: a server may
        // leave out the handshake, but must go on as it has begun.
        let (mut known, mut last, mut offset) = (0, None, None);
        let messages = (0..100).map(|time| video(time, step).bytes(128));
        for bytes in std::iter::once(window(size).bytes(128)).chain(messages) {
            let (received, counts) = receive(bytes);
            // Since the window was announced, until the first comes.
            let last = last.get_or_insert(received);
            if counts.len() > known {
                known = counts.len();
                let count = counts[known - 1];
                let offset = *offset.get_or_insert(received - count);
                assert!([0, HANDSHAKE as u32].contains(&offset), "{count} of {received}");
                assert_eq!(count + offset, received, "with a window of {size}");
                *last = received;
            }
            assert!(received - *last < size, "{last} of {received} with a window of {size}");
        }
    }
}

#[test]
fn ct_4_nobody_is_told_what_nobody_asked_for() {
    let mut server = publishing("stream");
    (0..100).for_each(|time| server.receive(video(time, 100_000).bytes(128)));
    assert_eq!(acknowledged(&server), [0u32; 0]);
    server.say(&window(0));
    assert!(server.is_alive(), "a window of nothing");
}

#[test]
fn ct_4_the_count_wraps_at_4_gib_and_the_session_goes_on() {
    const LEN: usize = 8 << 20;
    let mut server = Server::open();
    server.say(&connect());
    server.say(&set_chunk_size(0x7FFF_FFFF));
    server.receive(window(64 << 20).bytes(0x7FFF_FFFF));
    // Nothing is copied: the same piece of memory over and over.
    let piece = Bytes::from([type_0(6, 0, LEN, 9, 1), vec![0; LEN]].concat());
    let before = (HANDSHAKE + connect().bytes(128).len() + 2 * (12 + 4)) as u64;
    let mut counts = vec![];
    for index in 1..=600 {
        server.receive(piece.clone());
        assert!(!server.is_closed(), "after {index} times 8 MiB");
        let all = acknowledged(&server);
        if all.len() > counts.len() {
            counts = all;
            let received = before + index * piece.len() as u64;
            let count = *counts.last().unwrap();
            let ways = [received, received - HANDSHAKE as u64].map(|way| way as u32);
            assert!(ways.contains(&count), "{count} for {received}");
        }
    }
    assert!(600 * piece.len() as u64 > 1 << 32);
    assert!(counts.len() >= 70, "{counts:?}");
    let wraps = counts.windows(2).filter(|pair| pair[1] < pair[0]).count();
    assert_eq!(wraps, 1, "{counts:?}");
}

/// The Window Acknowledgement Sizes that the last of `said` was answered by.
fn windows_answered(said: &[Msg]) -> Vec<u32> {
    let mut server = Server::open();
    server.say(&connect());
    let mut before = 0;
    for message in said {
        before = server.answers(WINDOW).len();
        server.say(message);
    }
    assert!(server.is_alive());
    server.answers(WINDOW).split_off(before).iter().map(|body| be(body)).collect()
}

#[test]
fn ct_5_peer_bandwidth_that_is_new_is_answered_by_a_window() {
    for limit_type in [0, 1] {
        let answer = windows_answered(&[peer_bandwidth(300_000, limit_type)]);
        assert!(matches!(answer[..], [1..=300_000]), "{answer:?}");
        let answer = windows_answered(&[
            peer_bandwidth(300_000, limit_type),
            peer_bandwidth(200_000, limit_type),
        ]);
        assert!(matches!(answer[..], [1..=200_000]), "{answer:?}");
    }
}

#[test]
fn ct_5_peer_bandwidth_that_is_known_is_not_answered() {
    let said = [peer_bandwidth(300_000, 0), peer_bandwidth(300_000, 0)];
    assert_eq!(windows_answered(&said), [0u32; 0]);
}

#[test]
fn ct_5_a_dynamic_limit_counts_only_behind_a_hard_one() {
    let dynamic = || peer_bandwidth(200_000, 2);
    let behind_hard = windows_answered(&[peer_bandwidth(300_000, 0), dynamic()]);
    assert!(matches!(behind_hard[..], [1..=200_000]), "{behind_hard:?}");
    assert_eq!(windows_answered(&[peer_bandwidth(300_000, 1), dynamic()]), [0u32; 0]);
    assert_eq!(windows_answered(&[dynamic()]), [0u32; 0]);
    // Treated as hard, it is a hard one to the next (RTMP 5.4.5).
    let said = [peer_bandwidth(300_000, 0), dynamic(), peer_bandwidth(100_000, 2)];
    assert!(matches!(windows_answered(&said)[..], [1..=100_000]));
}

#[test]
fn ct_5_an_ignored_dynamic_limit_leaves_no_trace() {
    let ignored = peer_bandwidth(200_000, 2);
    let said = [peer_bandwidth(300_000, 1), ignored.clone(), peer_bandwidth(300_000, 1)];
    assert_eq!(windows_answered(&said), [0u32; 0], "300,000 is still what was said last");
    // The previous limit type stays soft: a second dynamic one is ignored as well.
    assert_eq!(
        windows_answered(&[peer_bandwidth(300_000, 1), ignored.clone(), ignored]),
        [0u32; 0]
    );
}

#[test]
fn ct_6_a_ping_is_answered_by_the_same_four_bytes() {
    for data in [[0; 4], [1, 2, 3, 4], [255; 4]] {
        let mut server = Server::open();
        server.say(&user_control(PING, &data));
        assert_eq!(server.answers(4), [[&[0, 7][..], &data].concat()]);
        let mut server = publishing("stream");
        let before = server.answers(4).len();
        server.say(&user_control(PING, &data));
        assert_eq!(server.answers(4)[before..], [[&[0, 7][..], &data].concat()]);
    }
}

#[test]
fn ct_6_a_publisher_that_vanished_frees_its_name_within_the_bound() {
    let bound = ConnectionLimits::default().publish_idle_timeout;
    let mut server = publishing("stream");
    server.pass(Duration::from_secs(5));
    server.receive(video(0, 10).bytes(128));
    server.pass(bound - Duration::from_millis(1));
    assert!(!server.is_closed(), "too early");
    server.pass(Duration::from_millis(1));
    assert!(server.has_failed(), "{:?}", server.seen);
}

#[test]
fn ct_6_a_publisher_that_sends_stays() {
    let bound = ConnectionLimits::default().publish_idle_timeout;
    let mut server = publishing("stream");
    for time in 0..20 {
        server.pass(bound - Duration::from_millis(1));
        server.receive(video(time, 10).bytes(128));
    }
    assert!(server.is_alive());
}

/// Lets a player live for a while, and says how many pings it got.
fn play(duration: Duration, answers: bool) -> (Server, usize) {
    let mut server = Server::open();
    server.receive(opening("play", "stream"));
    let (mut pings, step) = (0, Duration::from_secs(1));
    let mut read = server.answers(4).len();
    while server.age() < duration && !server.is_closed() {
        server.pass(step);
        for body in server.answers(4).split_off(read) {
            read += 1;
            if body[..2] == [0, 6] {
                assert_eq!(body.len(), 6, "a ping carries four bytes");
                pings += 1;
                if answers {
                    server.say(&user_control(7, &body[2..]));
                }
            }
        }
    }
    (server, pings)
}

#[test]
fn ct_6_a_player_that_vanished_is_pinged_and_ends_within_the_bound() {
    let bound = ConnectionLimits::default().play_idle_timeout;
    let (server, pings) = play(3 * bound, false);
    assert!(server.has_failed(), "{:?}", server.seen);
    assert!(server.age() <= bound + Duration::from_secs(1), "{:?}", server.age());
    assert!(pings >= 1);
}

#[test]
fn ct_6_a_player_that_answers_pings_stays() {
    let bound = ConnectionLimits::default().play_idle_timeout;
    let (mut server, pings) = play(10 * bound, true);
    assert!(server.is_alive(), "{:?}", server.seen);
    assert!(pings >= 10);
}

/// Sends `message` however it is cut: the session goes on as if nothing had been said, or ends.
fn ignored_or_the_end(message: &Msg) {
    let before: Bytes = [handshake(), opening("publish", "stream")].concat().into();
    let after = video(40, 10);
    let parts = [message.bytes(128), after.bytes(128)];
    let outcome = however_cut(&parts, |pieces| {
        let mut server = Server::fed(std::slice::from_ref(&before));
        pieces.iter().for_each(|piece| server.receive(piece.clone()));
        let alive = !server.is_closed() && server.is_alive();
        (server.seen.split_off(1), alive)
    });
    let tag = Seen::Tag(40, after.body);
    match &outcome {
        (seen, true) => assert_eq!(seen, &[tag], "{message:?}"),
        (seen, false) => assert!(matches!(seen[..], [Seen::Closed(Some(_))]), "{message:?}"),
    }
}

#[test]
fn ct_7_control_shorter_than_its_format_is_ignored_or_the_end() {
    for (type_id, len) in [(1, 4), (2, 4), (3, 4), (4, 2), (5, 4), (6, 5)] {
        for short in 0..len {
            ignored_or_the_end(&Msg::control(type_id, &vec![0; short]));
        }
    }
    // Events whose data are missing or cut, known and unknown.
    for event in 0..=33 {
        let len = if event == 3 { 8 } else { 4 };
        for short in 0..len {
            ignored_or_the_end(&user_control(event, &vec![1; short]));
        }
    }
}

#[test]
fn ct_7_a_ping_without_its_time_is_not_answered_with_what_is_not_there() {
    for len in 0..4 {
        let mut server = Server::open();
        server.say(&user_control(PING, &vec![9; len]));
        let answers = server.answers(4);
        assert!(answers.iter().all(|body| body.len() <= 2 + len), "{len}: {answers:?}");
    }
}

#[test]
fn ct_7_unknown_user_control_events_are_ignored() {
    for event in [5, 8, 9, 30, 31, 32, 0x100, 0x0600, 0x7FFF, 0xFFFF] {
        for len in [0, 1, 4, 8, 300] {
            let mut server = publishing("stream");
            let before = server.sent.len();
            server.say(&user_control(event, &noise(len, 1)));
            assert_eq!(server.sent.len(), before, "event {event} is no question");
            assert!(server.is_alive(), "event {event} with {len} bytes");
        }
        ignored_or_the_end(&user_control(event, &[1, 2, 3, 4]));
    }
}

#[test]
fn ct_7_unknown_message_types_are_ignored() {
    for type_id in [0, 7, 10, 11, 12, 13, 14, 16, 19, 21, 23, 24, 100, 255] {
        for stream_id in [0, 1, 9] {
            for csid in [2, 3, 6] {
                let mut server = publishing("stream");
                server.say(&Msg::new(csid, 0, type_id, stream_id, &noise(200, 1)));
                let after = video(40, 10);
                server.receive(after.bytes(128));
                assert_eq!(server.seen[1..], [Seen::Tag(40, after.body)], "type {type_id}");
                assert!(server.is_alive(), "type {type_id}");
            }
        }
        ignored_or_the_end(&Msg::new(3, 0, type_id, 1, &[]));
    }
}

#[test]
fn ct_7_control_longer_than_its_format_is_read_as_far_as_it_goes() {
    let sent = video(40, 300);
    let long = Msg::control(1, &[0, 0, 1, 44, 9, 9, 9]);
    let whole = [type_0(6, 40, 300, 9, 1), sent.body.clone()].concat();
    assert_eq!(messages(&[long.bytes(128), whole]), [long, sent]);
    let mut server = Server::open();
    server.say(&user_control(PING, &[1, 2, 3, 4, 5, 6]));
    assert_eq!(server.answers(4)[0][..6], [0, 7, 1, 2, 3, 4]);
}

#[test]
fn ct_7_a_control_message_on_another_stream_does_not_break_the_session() {
    // RTMP 5.4 says where it has to be, and some peers do not care.
    let sent = video(40, 300);
    let size = Msg::new(3, 0, 1, 1, &[0, 0, 0, 200]);
    let parts = [
        size.bytes(128),
        [type_0(6, 40, 300, 9, 1), sent.body[..200].to_vec()].concat(),
        [basic(3, 6), sent.body[200..].to_vec()].concat(),
    ];
    assert_eq!(messages(&parts), [size, sent]);
}
