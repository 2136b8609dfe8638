//! Players of hand-written bytes, cut at every byte.

use forebay_sim::plan::{Player, Receive, Start};
use forebay_sim::tag::{Kind, TagSeen};
use forebay_sim::viewer::amf0::{self, Value};
use forebay_sim::viewer::{Seen, Session};
use proptest::prelude::*;

const HANDSHAKE_LEN: usize = 1 + 2 * 1536;

/// A chunk with a full header; the message fits in it.
fn chunk(csid: u8, type_id: u8, stream_id: u8, ms: u32, body: &[u8]) -> Vec<u8> {
    let [extended, t2, t1, t0] = ms.to_be_bytes();
    assert_eq!(extended, 0);
    let len = (body.len() as u32).to_be_bytes();
    let mut bytes = vec![csid, t2, t1, t0, len[1], len[2], len[3], type_id, stream_id, 0, 0, 0];
    bytes.extend(body);
    bytes
}

fn status(level: &str, code: &str) -> Vec<u8> {
    let property = |name: &str, text| (name.to_owned(), Value::text(text));
    let information = Value::Object(vec![
        property("level", level),
        property("code", code),
        property("description", "why"),
    ]);
    let values = [Value::text("onStatus"), Value::Number(0.0), Value::Null, information];
    chunk(5, 20, 1, 0, &amf0::to_bytes(&values))
}

/// What a server says up to `_result` of `createStream`, behind the handshake.
fn welcome() -> Vec<u8> {
    let result = |id, value| {
        let values = [Value::text("_result"), Value::Number(id), Value::Null, value];
        chunk(3, 20, 0, 0, &amf0::to_bytes(&values))
    };
    [
        chunk(2, 5, 0, 0, &2_000u32.to_be_bytes()),
        chunk(2, 6, 0, 0, &[0, 0, 16, 0, 2]),
        chunk(2, 1, 0, 0, &4096u32.to_be_bytes()),
        chunk(2, 4, 0, 0, &[0, 0, 0, 0, 0, 0]),
        result(1.0, Value::Null),
        result(2.0, Value::Number(1.0)),
    ]
    .concat()
}

/// Tags in every kind of header: full, two kinds of shorter ones, repeated, extended.
fn media() -> (Vec<u8>, Vec<TagSeen>) {
    let tag = TagSeen::of;
    let (video, audio) = ([&[0x27, 1][..], &[7; 5_000]].concat(), b"\xaf\x01abc");
    let mut bytes = chunk(4, 8, 1, 20, audio);
    bytes.extend(b"\x44\0\0\x15\0\0\x04\x08\xaf\x01ab"); // Type 1: 21 ms later, another length.
    bytes.extend(b"\x84\0\0\x16\xaf\x01cd"); // Type 2: 22 ms later.
    bytes.extend(b"\xc4\xaf\x01ef"); // Type 3: 22 ms later again.
    // A keyframe in two chunks with an extended timestamp, and audio between them.
    bytes.extend(b"\x06\xff\xff\xff\0\x13\x8a\x09\x01\0\0\0\xff\xff\xff\xf0");
    bytes.extend(&video[..4096]);
    bytes.extend(b"\xc4\xaf\x01gh");
    bytes.extend(b"\xc6\xff\xff\xff\xf0");
    bytes.extend(&video[4096..]);
    bytes.extend(b"\x46\0\0\x20\0\0\0\x09"); // An empty one; the time wraps.
    let kinds = [
        tag(Kind::Audio, 20, audio),
        tag(Kind::Audio, 41, b"\xaf\x01ab"),
        tag(Kind::Audio, 63, b"\xaf\x01cd"),
        tag(Kind::Audio, 85, b"\xaf\x01ef"),
        tag(Kind::Audio, 107, b"\xaf\x01gh"),
        tag(Kind::Video, 0xFFFF_FFF0, &video),
        tag(Kind::Video, 0x10, b""),
    ];
    (bytes, kinds.to_vec())
}

/// Behind the handshake: the player, and what the server says first.
fn greeting(session: &mut Session) -> Vec<u8> {
    let c0_c1 = session.take_output();
    assert_eq!((c0_c1.len(), c0_c1[0], &c0_c1[5..9]), (1537, 3, &[0; 4][..]));
    let mut s1 = vec![0x5A; 1536];
    s1[4..8].fill(0);
    [&[3][..], &s1, &c0_c1[1..]].concat()
}

fn rtmp() -> Session {
    Session::new(Player::Rtmp, "live/a", Some(Start::Gop), 1)
}

fn play_cut(cut: usize) -> (Vec<Seen>, Vec<u8>) {
    let mut session = rtmp();
    let (media, _) = media();
    let said = [
        greeting(&mut session),
        welcome(),
        chunk(2, 4, 0, 0, &[0, 0, 0, 0, 0, 1]),
        status("status", "NetStream.Play.Start"),
        chunk(2, 4, 0, 0, b"\0\x06wxyz"),
        media,
        chunk(2, 4, 0, 0, &[0, 1, 0, 0, 0, 1]),
        status("status", "NetStream.Play.UnpublishNotify"),
    ]
    .concat();
    let cut = cut.min(said.len());
    let (mut seen, mut sent) = (session.receive(&said[..cut]), session.take_output());
    seen.extend(session.receive(&said[cut..]));
    sent.extend(session.take_output());
    (seen, sent)
}

#[test]
fn a_player_sees_the_same_wherever_it_is_cut() {
    let (seen, sent) = play_cut(usize::MAX);
    let tags = media().1.into_iter().map(Seen::Tag);
    let expected: Vec<_> = [Seen::Playing].into_iter().chain(tags).chain([Seen::ToldEnd]).collect();
    assert_eq!(seen, expected);
    let said = |text: &[u8]| sent.windows(text.len()).any(|window| window == text);
    assert_eq!(sent[0], 0x5A, "C2 repeats S1");
    assert!(said(b"connect") && said(b"createStream") && said(b"a?start=gop"));
    assert!(said(b"\0\x07wxyz"), "the ping is answered");
    assert!(said(&[0, 0, 4, 3, 0, 0, 0, 0]), "what came is acknowledged");
    for cut in 0..10_000 {
        assert_eq!(play_cut(cut).0, expected, "cut at {cut}");
    }
}

#[test]
fn what_breaks_the_protocol_is_garbled_with_its_place() {
    let begin = HANDSHAKE_LEN + welcome().len();
    let header = |fmt_and_csid| [&[fmt_and_csid][..], &[0, 0, 1, 0, 0, 1, 8]].concat();
    let open_then = |csid: u8, more: &[u8]| {
        let mut bytes = chunk(csid, 9, 1, 0, &[0; 100]);
        bytes[5] = 0x20; // Of 8292 bytes, 100 have come, and 3996 more do.
        bytes.extend([0; 3996]);
        [&bytes[..], more].concat()
    };
    let mut extended = b"\x06\xff\xff\xff\0\x20\x00\x09\x01\0\0\0\x01\0\0\0".to_vec();
    extended.extend([0; 4096]);
    let extended_end = extended.len();
    for (what, bytes, at) in [
        ("a stream that begins with type 1", header(0x44), 7),
        ("a stream that begins with type 3", vec![0xC9], 0),
        ("a message inside another", open_then(4, &chunk(4, 9, 1, 0, b"x")), 4108 + 11),
        ("another extended timestamp", [&extended[..], b"\xc6\x01\0\0\x01"].concat(), extended_end),
        ("a chunk size of 0", chunk(2, 1, 0, 0, &[0; 4]), 16),
        ("a chunk size of 32 bits", chunk(2, 1, 0, 0, &[0x80, 0, 0, 1]), 16),
        ("control on another chunk stream", chunk(3, 5, 0, 0, &[0, 0, 1, 0]), 16),
        ("control on a message stream", chunk(2, 5, 1, 0, &[0, 0, 1, 0]), 16),
        ("a short window", chunk(2, 5, 0, 0, &[0]), 13),
        ("media on another stream", chunk(4, 9, 2, 0, b"x"), 13),
        ("a type nobody announced", chunk(4, 99, 1, 0, b"x"), 13),
        ("what is for servers", chunk(6, 18, 1, 0, b"\x02\0\x0d@setDataFrame\x05"), 29),
        ("a command that is none", chunk(3, 20, 0, 0, b"x"), 13),
    ] {
        let mut session = rtmp();
        let said = [greeting(&mut session), welcome(), bytes].concat();
        let seen = session.receive(&said);
        let [Seen::Garbled(why)] = &seen[..] else { panic!("{what}: {seen:?}") };
        let place = why.strip_prefix("byte ").and_then(|why| why.split_once(':')).unwrap().0;
        let place = place.parse::<usize>().unwrap();
        assert!(place >= begin && place <= begin + at, "{what}: {why}, not {}", begin + at);
        assert!(session.receive(&chunk(4, 9, 1, 0, b"x")).is_empty());
    }
    let mut session = rtmp();
    let mut wrong = greeting(&mut session);
    wrong[2000] ^= 1;
    assert!(matches!(&session.receive(&wrong)[..], [Seen::Garbled(why)] if why.contains("S2")));
    assert!(matches!(&rtmp().receive(b"H")[..], [Seen::Garbled(_)]));
}

#[test]
fn a_player_is_told_errors_and_says_what_it_wants() {
    let mut session = rtmp();
    session.set_receive(Receive::AudioOff);
    let greeting = greeting(&mut session);
    session.receive(&[greeting, welcome()].concat());
    let sent = session.take_output();
    let said = |sent: &[u8], text: &[u8]| sent.windows(text.len()).any(|window| window == text);
    assert!(said(&sent, b"receiveAudio\0\0\0\0\0\0\0\0\0\x05\x01\0"));
    let seen = session.receive(&status("error", "NetStream.Play.StreamNotFound"));
    let code = "NetStream.Play.StreamNotFound".to_owned();
    assert_eq!(seen, [Seen::ToldError { code, words: "why".to_owned() }]);
    session.set_receive(Receive::Pause);
    assert!(said(&session.take_output(), b"pause\0\0\0\0\0\0\0\0\0\x05\x01\x01\0"));
    session.goodbye();
    let sent = session.take_output();
    assert!(said(&sent, b"closeStream") && said(&sent, b"deleteStream"));
    assert!(session.end_of_input().is_empty());
}

fn flv_file() -> (Vec<u8>, Vec<Seen>) {
    let mut file = b"FLV\x01\x05\0\0\0\x09\0\0\0\0".to_vec();
    let mut seen = vec![Seen::Playing];
    for (kind, ms, payload) in [
        (Kind::Script, 0, &b"\x02\0\x0aonMetaData\x05"[..]),
        (Kind::Video, 0x0100_0005, b"\x17\x01\0\0\0abc"),
        (Kind::Audio, 7, b""),
    ] {
        let [t3, t2, t1, t0] = u32::to_be_bytes(ms);
        file.extend([kind.type_id(), 0, 0, payload.len() as u8, t2, t1, t0, t3, 0, 0, 0]);
        file.extend(payload);
        file.extend((11 + payload.len() as u32).to_be_bytes());
        seen.push(Seen::Tag(TagSeen::of(kind, ms, payload)));
    }
    (file, seen)
}

fn http(said: &[u8], cut: usize, ends: bool) -> Vec<Seen> {
    let mut session = Session::new(Player::Flv, "live/a", Some(Start::Live), 1);
    let request = String::from_utf8(session.take_output()).unwrap();
    assert!(request.starts_with("GET /live/a.flv?start=live HTTP/1.1\r\nHost: "), "{request}");
    assert!(request.ends_with("\r\n\r\n"));
    let mut seen = session.receive(&said[..cut]);
    seen.extend(session.receive(&said[cut..]));
    if ends {
        seen.extend(session.end_of_input());
    }
    seen
}

#[test]
fn an_http_player_sees_the_same_in_chunks_and_without_wherever_it_is_cut() {
    let (file, mut expected) = flv_file();
    let mut chunked =
        b"HTTP/1.1 200 OK\r\nContent-Type: video/x-flv\r\ntransfer-encoding: chunked\r\n\r\n"
            .to_vec();
    for piece in file.chunks(13) {
        chunked.extend(format!("{:X};x=y\r\n", piece.len()).as_bytes());
        chunked.extend(piece);
        chunked.extend(b"\r\n");
    }
    chunked.extend(b"0\r\n\r\n");
    expected.push(Seen::ToldEnd);
    for cut in 0..chunked.len() {
        assert_eq!(http(&chunked, cut, true), expected, "cut at {cut}");
    }
    let until_close = [b"HTTP/1.0 200 OK\r\n\r\n", &file[..]].concat();
    assert_eq!(http(&until_close, 5, true), expected);
    assert!(!http(&until_close, 5, false).contains(&Seen::ToldEnd));
    let trailed = [&chunked[..chunked.len() - 2], b"A: b\r\n\r\n"].concat();
    assert_eq!(http(&trailed, 5, true), expected);
    // The connection is closed inside the body.
    for end in [chunked.len() - 1, chunked.len() - 20, 3] {
        let seen = http(&chunked[..end], 0, true);
        let incomplete =
            matches!(seen.last(), Some(Seen::ToldError { code, .. }) if code == "incomplete");
        assert!(incomplete, "{seen:?}");
    }
}

#[test]
fn an_http_player_is_told_errors_and_garbage() {
    let refusal = b"HTTP/1.1 404 Not Found\r\nContent-Length: 7\r\n\r\nnobody\n";
    for cut in 0..refusal.len() {
        let (code, words) = ("404".to_owned(), "nobody".to_owned());
        assert_eq!(http(refusal, cut, true), [Seen::ToldError { code, words }]);
    }
    let empty = b"HTTP/1.1 503 No\r\nContent-Length: 0\r\n\r\n";
    assert!(matches!(&http(empty, 0, true)[..], [Seen::ToldError { .. }]));

    let (file, _) = flv_file();
    let head = b"HTTP/1.0 200 OK\r\n\r\n";
    for (place, value) in [(0, b'f'), (3, 2), (4, 0x45), (12, 1), (13, 10), (23, 1), (41, 9)] {
        let mut wrong = file.clone();
        wrong[place] = value;
        let seen = http(&[&head[..], &wrong].concat(), 0, true);
        let Some(Seen::Garbled(why)) = seen.last() else { panic!("byte {place}: {seen:?}") };
        let at = why.strip_prefix("byte ").unwrap().split_once(':').unwrap().0;
        let at = at.parse::<usize>().unwrap();
        assert!(at > head.len() + place && at <= head.len() + place + 30, "{place}: {why}");
    }
    for wrong in
        [&b"SSH-2.0-x\r\n\r\n"[..], b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\nx\r\n"]
    {
        assert!(matches!(http(wrong, 0, false).last(), Some(Seen::Garbled(_))));
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 400, ..ProptestConfig::default() })]

    /// A damaged stream is seen as damaged, or as other tags; it is never the end of a run.
    #[test]
    fn no_damage_makes_a_player_panic(
        damage in prop::collection::vec((any::<prop::sample::Index>(), any::<u8>()), 1..8),
        cut in any::<prop::sample::Index>(),
        // Not rml_rtmp's: it is the work of others, and subtracts below zero.
        player in 0_usize..2,
    ) {
        let player = [Player::Rtmp, Player::Flv][player];
        let mut session = Session::new(player, "live/a", None, 1);
        let mut said = match player {
            Player::Flv => [&b"HTTP/1.1 200 OK\r\n\r\n"[..], &flv_file().0].concat(),
            Player::Rtmp | Player::Rml | Player::Hls => {
                [greeting(&mut session), welcome(), media().0].concat()
            }
        };
        for (place, byte) in damage {
            // Most of it behind the handshake, which little can happen to.
            let from = if byte % 8 == 0 { 0 } else { said.len().saturating_sub(7_000) };
            let place = from + place.index(said.len() - from);
            said[place] = byte;
        }
        let cut = cut.index(said.len());
        let mut seen = session.receive(&said[..cut]);
        seen.extend(session.receive(&said[cut..]));
        seen.extend(session.end_of_input());
        let garbled = seen.iter().position(|seen| matches!(seen, Seen::Garbled(_)));
        prop_assert!(garbled.is_none_or(|at| at + 1 == seen.len()), "{:?}", seen);
    }
}
