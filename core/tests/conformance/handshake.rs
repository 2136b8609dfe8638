//! §1: the handshake (RTMP 5.2), and the digest one that Adobe's own clients speak.

use std::mem::size_of;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use bytes::Bytes;
use forebay::rtmp::server::ConnectionLimits;
use forebay::rtmp::{ServerConnection, ServerHandshake};
use hmac::{Hmac, KeyInit, Mac};
use sha2::Sha256;

use crate::wire::{HANDSHAKE, PACKET, Seen, Server, block, c1, connect, handshake, however_cut};

/// What a server sent and did, however `parts` were cut.
fn outcome(parts: &[Vec<u8>]) -> (Vec<u8>, Vec<Seen>) {
    however_cut(parts, |pieces| {
        let server = Server::fed(pieces);
        (server.sent, server.seen)
    })
}

fn s0_s1_s2(sent: &[u8]) -> (u8, &[u8], &[u8]) {
    assert!(sent.len() >= HANDSHAKE, "{} bytes are no S0, S1 and S2", sent.len());
    (sent[0], &sent[1..1 + PACKET], &sent[1 + PACKET..HANDSHAKE])
}

/// C0, C1 and C2 as three parts; C2 repeats nothing.
fn with_c1(c1: &[u8]) -> [Vec<u8>; 3] {
    [vec![3], c1.to_vec(), vec![0; PACKET]]
}

#[test]
fn hs_1_version_3_is_answered_by_version_3() {
    let (sent, seen) = outcome(&with_c1(&c1(0)));
    assert_eq!((s0_s1_s2(&sent).0, seen), (3, vec![]));
}

#[test]
fn hs_1_another_version_is_not_echoed() {
    for version in (0..32).filter(|&version| version != 3) {
        let parts = [vec![version], c1(0), vec![0; PACKET]];
        let (sent, seen) = match version {
            0 | 2 | 6 | 31 => outcome(&parts),
            _ => {
                let server = Server::fed(&[parts.concat().into()]);
                (server.sent, server.seen)
            }
        };
        match seen[..] {
            [] => assert_eq!((s0_s1_s2(&sent).0, sent.len()), (3, HANDSHAKE), "{version}"),
            [Seen::Closed(_)] => assert_ne!(sent.first(), Some(&version), "{version}"),
            _ => panic!("version {version}: {seen:?}"),
        }
    }
}

#[test]
fn hs_1_a_text_protocol_is_closed_without_an_answer() {
    for first in 32..=255 {
        let server = Server::fed(&[vec![first].into()]);
        assert!(server.is_closed(), "first byte {first}");
        assert!(server.sent.is_empty(), "first byte {first}");
    }
    let (sent, seen) = outcome(&[b"GET / HTTP/1.1\r\nHost: example.org\r\n\r\n".to_vec()]);
    assert!(sent.is_empty());
    assert!(matches!(seen[..], [Seen::Closed(Some(_))]), "{seen:?}");
}

/// How much a server may have sent, and must have sent, once `received` bytes are there.
fn hs_2_sent(received: usize) -> (usize, usize) {
    match received {
        0 => (0, 0),
        1..=PACKET => (0, 1 + PACKET),
        // Now the client can wait no longer for S1; and S2 needs nothing more than C1.
        _ => (HANDSHAKE, HANDSHAKE),
    }
}

#[test]
fn hs_2_nothing_is_sent_before_its_turn() {
    let bytes = Bytes::from(handshake());
    let mut by_the_byte = Server::fed(&[]);
    assert!(by_the_byte.sent.is_empty(), "before C0");
    for received in 1..=HANDSHAKE {
        by_the_byte.receive(bytes.slice(received - 1..received));
        let at_once = Server::fed(&[bytes.slice(..received)]);
        assert_eq!(at_once.sent, by_the_byte.sent, "after {received} bytes");
        let (min, max) = hs_2_sent(received);
        let len = at_once.sent.len();
        assert!((min..=max).contains(&len), "{len} bytes sent after {received} received");
    }
}

#[test]
fn hs_2_nothing_follows_s2_before_all_of_c2_has_arrived() {
    // A C2 that would end the session if any byte of it were taken for a chunk.
    let bytes = [vec![3], c1(0), vec![0xFF; PACKET], connect().bytes(128)].concat();
    let bytes = Bytes::from(bytes);
    let mut server = Server::fed(&[bytes.slice(..HANDSHAKE - 1)]);
    assert_eq!(server.sent.len(), HANDSHAKE);
    // Time alone must not make it talk either; the clock stays short of the handshake's end.
    server.pass(Duration::from_secs(1));
    assert_eq!(server.sent.len(), HANDSHAKE);
    server.receive(bytes.slice(HANDSHAKE - 1..));
    assert_eq!(server.answered_commands(), ["_result"]);
}

#[test]
fn hs_3_s1_is_1536_bytes_with_four_zeros_and_s2_repeats_c1() {
    for time in [0, 1, 0xDEAD_BEEF] {
        let c1 = c1(time);
        let (sent, seen) = outcome(&with_c1(&c1));
        assert_eq!((sent.len(), seen), (HANDSHAKE, vec![]), "S0, S1, S2 and no byte more");
        let (_, s1, s2) = s0_s1_s2(&sent);
        assert_eq!(s1[4..8], [0; 4], "S1's zeros");
        assert_eq!(s2[..4], c1[..4], "the time of C1");
        assert_eq!(s2[8..], c1[8..], "the random bytes of C1");
    }
}

#[test]
fn hs_3_s1_is_random_enough_to_tell_its_echo() {
    let (sent, _) = outcome(&with_c1(&c1(0)));
    let mut values = s0_s1_s2(&sent).1[8..].to_vec();
    values.sort_unstable();
    values.dedup();
    assert!(values.len() > 128, "1528 random bytes have nearly all 256 values");
}

#[test]
fn hs_4_connect_in_one_segment_with_the_handshake_is_answered() {
    let (sent, _) = outcome(&[handshake(), connect().bytes(128)]);
    let server = Server::fed(&[[handshake(), connect().bytes(128)].concat().into()]);
    assert_eq!(server.sent, sent);
    assert_eq!(server.answered_commands(), ["_result"]);
}

#[test]
fn hs_4_whatever_c2_says_is_accepted() {
    let s1 = Server::fed(&[handshake().into()]).sent[1..1 + PACKET].to_vec();
    for c2 in [s1, vec![0; PACKET], vec![255; PACKET], c1(5)] {
        let bytes = [vec![3], c1(0), c2, connect().bytes(128)].concat();
        assert_eq!(Server::fed(&[bytes.into()]).answered_commands(), ["_result"]);
    }
}

// The digest handshake. Adobe published nothing about it; this is what its clients check, as
// written down for rtmpdump and implemented alike by all that speak it.

const CLIENT_KEY: &[u8] = b"Genuine Adobe Flash Player 001";
const SERVER_KEY: &[u8] = b"Genuine Adobe Flash Media Server 001";
/// Follows both keys when an answer is signed.
const SECRET: [u8; 32] = [
    0xF0, 0xEE, 0xC2, 0x4A, 0x80, 0x68, 0xBE, 0xE8, 0x2E, 0x00, 0xD0, 0xD1, 0x02, 0x9E, 0x7E, 0x57,
    0x6E, 0xEC, 0x5D, 0x2D, 0x29, 0x80, 0x6F, 0xAB, 0x93, 0xB8, 0xE6, 0x36, 0xCF, 0xEB, 0x31, 0xAE,
];
/// What a client puts in bytes 4 to 7 of C1 to say that it speaks it.
const CLIENT_VERSION: [u8; 4] = [128, 0, 7, 2];
/// Where the four bytes are whose sum says where the digest is.
const OFFSETS_AT: [usize; 2] = [8, 772];

fn mac(key: &[u8], message: &[u8]) -> Vec<u8> {
    let mut mac = Hmac::<Sha256>::new_from_slice(key).unwrap();
    mac.update(message);
    mac.finalize().into_bytes().to_vec()
}

fn digest_at(packet: &[u8], offset_at: usize) -> usize {
    let sum: usize = packet[offset_at..offset_at + 4].iter().map(|&byte| usize::from(byte)).sum();
    offset_at + 4 + sum % 728
}

/// The digest that belongs at `at`: of all bytes around it.
fn digest(packet: &[u8], at: usize, key: &[u8]) -> Vec<u8> {
    mac(key, &[&packet[..at], &packet[at + 32..]].concat())
}

/// A C1 with its digest, where the four bytes at `offset_at` have the sum `offset`.
fn c1_with_digest(offset_at: usize, offset: usize) -> Vec<u8> {
    let mut packet = c1(0x0A0B_0C0D);
    packet[4..8].copy_from_slice(&CLIENT_VERSION);
    for (index, byte) in packet[offset_at..offset_at + 4].iter_mut().enumerate() {
        *byte = offset.saturating_sub(index * 255).min(255) as u8;
    }
    let at = digest_at(&packet, offset_at);
    let digest = digest(&packet, at, CLIENT_KEY);
    packet[at..at + 32].copy_from_slice(&digest);
    packet
}

/// Whether S2 is the signed answer to C1, whose digest it depends on.
fn is_signed(s2: &[u8], c1_digest: &[u8]) -> bool {
    let key = mac(&[SERVER_KEY, &SECRET].concat(), c1_digest);
    s2[PACKET - 32..] == mac(&key, &s2[..PACKET - 32])
}

fn has_digest(s1: &[u8], offset_at: usize) -> bool {
    let at = digest_at(s1, offset_at);
    s1[at..at + 32] == digest(s1, at, SERVER_KEY)
}

#[test]
fn hs_4_a_digest_in_either_place_is_answered_by_digests() {
    for offset_at in OFFSETS_AT {
        // 728 is the first to come round, 1020 the largest sum of four bytes.
        for offset in [0, 1, 500, 727, 728, 1020] {
            let c1 = c1_with_digest(offset_at, offset);
            let bytes = [with_c1(&c1).concat(), connect().bytes(128)].concat();
            let server = Server::fed(&[bytes.into()]);
            let (s0, s1, s2) = s0_s1_s2(&server.sent);
            assert_eq!(s0, 3);
            assert!(has_digest(s1, offset_at), "S1 at {offset_at}, {offset}");
            assert_ne!(s1[4..8], [0; 4], "a version says that there is a digest");
            let at = digest_at(&c1, offset_at);
            assert!(is_signed(s2, &c1[at..at + 32]), "S2 at {offset_at}, {offset}");
            assert_eq!(server.answered_commands(), ["_result"]);
        }
    }
}

#[test]
fn hs_4_a_digest_handshake_has_one_outcome_however_it_is_cut() {
    for offset_at in OFFSETS_AT {
        let (sent, seen) = outcome(&with_c1(&c1_with_digest(offset_at, 300)));
        assert!(has_digest(s0_s1_s2(&sent).1, offset_at));
        assert_eq!((sent.len(), seen), (HANDSHAKE, vec![]));
    }
}

#[test]
fn hs_4_a_wrong_digest_gets_the_plain_handshake() {
    for offset_at in OFFSETS_AT {
        let right = c1_with_digest(offset_at, 300);
        let at = digest_at(&right, offset_at);
        for wrong in [at, at + 31, at + 32, 0, PACKET - 1] {
            let mut c1 = right.clone();
            c1[wrong] ^= 1;
            let bytes = [with_c1(&c1).concat(), connect().bytes(128)].concat();
            let server = Server::fed(&[bytes.into()]);
            let (_, _, s2) = s0_s1_s2(&server.sent);
            assert_eq!(s2[..4], c1[..4]);
            assert_eq!(s2[8..], c1[8..], "byte {wrong} wrong: S2 repeats C1");
            assert_eq!(server.answered_commands(), ["_result"]);
        }
    }
}

#[test]
fn hs_5_whoever_stops_in_the_handshake_is_disconnected() {
    let timeout = Duration::from_secs(4);
    let limits = || ConnectionLimits { handshake_timeout: timeout, ..Default::default() };
    let bytes = Bytes::from(handshake());
    for len in 0..HANDSHAKE {
        let mut server = Server::new(limits());
        if len > 0 {
            server.receive(bytes.slice(..len));
        }
        server.pass(timeout - Duration::from_millis(1));
        assert!(!server.is_closed(), "{len} bytes: too early");
        server.pass(Duration::from_millis(1));
        assert!(server.has_failed(), "{len} bytes: still there");
    }
}

#[test]
fn hs_5_a_byte_now_and_then_buys_no_time() {
    let timeout = Duration::from_secs(4);
    let limits = ConnectionLimits { handshake_timeout: timeout, ..Default::default() };
    let mut server = Server::new(limits);
    for byte in handshake() {
        if server.is_closed() {
            break;
        }
        server.receive(vec![byte]);
        server.pass(Duration::from_millis(10));
    }
    assert!(server.has_failed());
    assert_eq!(server.age(), timeout);
}

#[test]
fn hs_5_ten_thousand_in_the_handshake_hold_a_fixed_number_of_bytes() {
    // What it keeps of C1, and a page for all else.
    assert!(size_of::<ServerHandshake>() <= PACKET + 64);
    assert!(size_of::<ServerConnection>() <= 4096);
    let held = Arc::new(AtomicUsize::new(0));
    let bytes = handshake();
    let mut servers = vec![];
    for index in 0..10_000 {
        let len = 1 + index % (HANDSHAKE - 1);
        let mut server = Server::new(ConnectionLimits::default());
        server.receive(block(bytes[..len].to_vec(), &held));
        server.sent = vec![];
        servers.push(server);
    }
    assert_eq!(held.load(Ordering::Relaxed), 0, "no received block outlives its input");
    for server in &mut servers {
        server.pass(ConnectionLimits::default().handshake_timeout);
        assert!(server.has_failed());
    }
}
