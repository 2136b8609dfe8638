//! The bytes before the first chunk: C0, C1 and C2 from the client, S0, S1 and S2 from the server.
//!
//! Two kinds are in use. The *plain* one is RTMP 5.2: each side sends 1536 bytes and repeats the
//! other's. In the *digest* one, which Adobe never published and FFmpeg speaks, the 1536 bytes
//! hide an HMAC at a place that they determine themselves, and the answer is signed instead of
//! repeated. Neither proves who anybody is: the keys are known to all.

use bytes::{Buf, Bytes, BytesMut};
use hmac::{Hmac, KeyInit, Mac};
use sha2::Sha256;

/// The only version without encryption (RTMP 5.2.2).
const VERSION: u8 = 3;
/// First bytes from here on are letters: somebody speaks a text protocol (RTMP 5.2.2).
const VERSION_TEXT_MIN: u8 = 32;
/// Length of C1, C2, S1 and S2 in bytes (RTMP 5.2.3).
const PACKET_LEN: usize = 1536;
const DIGEST_LEN: usize = 32;

type Packet = [u8; PACKET_LEN];
type Digest = [u8; DIGEST_LEN];

/// A peer that does not speak RTMP.
#[derive(Clone, PartialEq, Eq, Debug, thiserror::Error)]
pub enum HandshakeError {
    /// A text protocol on the RTMP port, or something that is no RTMP at all.
    #[error("the first byte is {first:#04x}, which is no RTMP version")]
    NotRtmp {
        /// What C0 or S0 should have been.
        first: u8,
    },
}

/// The server's side: reads C0, C1 and C2, writes S0, S1 and S2.
///
/// It holds 1536 bytes whatever the peer does. When C1 carries a valid digest the answer is
/// signed, otherwise the plain handshake is used, also by a peer whose digest is wrong.
pub struct ServerHandshake {
    seed: u64,
    stage: Stage,
    c1: Packet,
}

/// What is awaited next, and how much of it has arrived.
#[derive(Clone, Copy)]
enum Stage {
    Version,
    First { len: usize },
    Second { len: usize },
    Done,
}

impl ServerHandshake {
    /// `seed` fills S1. It is no secret, it only has to differ between connections.
    pub fn new(seed: u64) -> Self {
        Self { seed, stage: Stage::Version, c1: [0; PACKET_LEN] }
    }

    /// Takes what belongs to the handshake off the front of `input` and returns what to send now:
    /// S0, S1 and S2 in one piece, once all of C1 is here.
    ///
    /// What the peer sent behind C2 stays in `input`.
    pub fn read(&mut self, input: &mut Bytes) -> Result<Option<Bytes>, HandshakeError> {
        let mut answer = None;
        if let Stage::Version = self.stage {
            // RTMP 5.2.2: a version we do not know is answered with the one we do.
            self.stage = read_version(input)?;
        }
        if let Stage::First { len } = &mut self.stage
            && read_packet(&mut self.c1, len, input)
        {
            answer = Some(self.answer());
            self.stage = Stage::Second { len: 0 };
        }
        if let Stage::Second { len } = self.stage {
            // Nobody fills C2 reliably, so it is counted and not looked at.
            self.stage = skip_packet(len, input);
        }
        Ok(answer)
    }

    /// Whether C1 carries a valid digest, once it has arrived.
    pub fn has_digest(&self) -> bool {
        find_digest(&self.c1, CLIENT_KEY).is_some()
    }

    /// Whether all of C2 has arrived, so that chunks follow.
    pub fn is_done(&self) -> bool {
        matches!(self.stage, Stage::Done)
    }

    fn answer(&self) -> Bytes {
        let mut s1 = random_packet(self.seed);
        let mut s2 = self.c1;
        if let Some((place, digest)) = find_digest(&self.c1, CLIENT_KEY) {
            s1[4..8].copy_from_slice(&SERVER_VERSION);
            write_digest(&mut s1, place, SERVER_KEY);
            sign(&mut s2, &digest, SERVER_KEY);
        }
        let mut out = BytesMut::with_capacity(1 + 2 * PACKET_LEN);
        out.extend_from_slice(&[VERSION]);
        out.extend_from_slice(&s1);
        out.extend_from_slice(&s2);
        out.freeze()
    }
}

/// The client's side, always plain: writes C0, C1 and C2 and accepts whatever S1 and S2 hold.
///
/// It holds 1536 bytes whatever the peer does.
pub struct ClientHandshake {
    stage: Stage,
    s1: Packet,
}

impl ClientHandshake {
    /// Also returns C0 and C1, to be sent at once. `seed` fills C1; it is no secret.
    pub fn new(seed: u64) -> (Self, Bytes) {
        let mut out = BytesMut::with_capacity(1 + PACKET_LEN);
        out.extend_from_slice(&[VERSION]);
        out.extend_from_slice(&random_packet(seed));
        (Self { stage: Stage::Version, s1: [0; PACKET_LEN] }, out.freeze())
    }

    /// Takes what belongs to the handshake off the front of `input` and returns what to send now:
    /// C2, once all of S1 is here.
    pub fn read(&mut self, input: &mut Bytes) -> Result<Option<Bytes>, HandshakeError> {
        let mut answer = None;
        if let Stage::Version = self.stage {
            self.stage = read_version(input)?;
        }
        if let Stage::First { len } = &mut self.stage
            && read_packet(&mut self.s1, len, input)
        {
            answer = Some(Bytes::copy_from_slice(&self.s1));
            self.stage = Stage::Second { len: 0 };
        }
        if let Stage::Second { len } = self.stage {
            self.stage = skip_packet(len, input);
        }
        Ok(answer)
    }

    /// Whether all of S2 has arrived: only now may chunks be sent (RTMP 5.2.1).
    pub fn is_done(&self) -> bool {
        matches!(self.stage, Stage::Done)
    }
}

fn read_version(input: &mut Bytes) -> Result<Stage, HandshakeError> {
    match input.first() {
        None => Ok(Stage::Version),
        Some(&first) if first >= VERSION_TEXT_MIN => Err(HandshakeError::NotRtmp { first }),
        Some(_) => {
            input.advance(1);
            Ok(Stage::First { len: 0 })
        }
    }
}

/// Whether `packet` is full now.
fn read_packet(packet: &mut Packet, len: &mut usize, input: &mut Bytes) -> bool {
    let take = input.len().min(PACKET_LEN - *len);
    packet[*len..*len + take].copy_from_slice(&input[..take]);
    input.advance(take);
    *len += take;
    *len == PACKET_LEN
}

fn skip_packet(len: usize, input: &mut Bytes) -> Stage {
    let take = input.len().min(PACKET_LEN - len);
    input.advance(take);
    if len + take == PACKET_LEN { Stage::Done } else { Stage::Second { len: len + take } }
}

/// Time 0, version 0 (RTMP 5.2.3: these four bytes must be zero), and 1528 bytes that differ.
fn random_packet(seed: u64) -> Packet {
    let mut packet = [0; PACKET_LEN];
    let mut state = seed;
    for word in packet[8..].chunks_exact_mut(8) {
        word.copy_from_slice(&split_mix(&mut state).to_be_bytes());
    }
    packet
}

/// SplitMix64: enough to make two handshakes differ, and nothing more is asked of it.
fn split_mix(state: &mut u64) -> u64 {
    *state = state.wrapping_add(0x9E37_79B9_7F4A_7C15);
    let mut z = *state;
    z = (z ^ (z >> 30)).wrapping_mul(0xBF58_476D_1CE4_E5B9);
    z = (z ^ (z >> 27)).wrapping_mul(0x94D0_49BB_1331_11EB);
    z ^ (z >> 31)
}

/// What S1 says in bytes 4 to 7 of a digest handshake. FFmpeg looks for digests from 3 on.
const SERVER_VERSION: [u8; 4] = [4, 5, 0, 1];

/// Digests of C1 and S1 are made with the readable part of a key, signatures with all of it.
struct Key {
    name: &'static [u8],
    whole: &'static [u8],
}

macro_rules! key {
    ($name:literal) => {
        Key {
            name: $name,
            whole: {
                const WHOLE: [u8; $name.len() + KEY_TAIL.len()] = concat($name);
                &WHOLE
            },
        }
    };
}

const SERVER_KEY: &Key = &key!(b"Genuine Adobe Flash Media Server 001");
const CLIENT_KEY: &Key = &key!(b"Genuine Adobe Flash Player 001");
const KEY_TAIL: &[u8; 32] = &[
    0xF0, 0xEE, 0xC2, 0x4A, 0x80, 0x68, 0xBE, 0xE8, 0x2E, 0x00, 0xD0, 0xD1, 0x02, 0x9E, 0x7E, 0x57,
    0x6E, 0xEC, 0x5D, 0x2D, 0x29, 0x80, 0x6F, 0xAB, 0x93, 0xB8, 0xE6, 0x36, 0xCF, 0xEB, 0x31, 0xAE,
];

const fn concat<const N: usize>(name: &[u8]) -> [u8; N] {
    let mut out = [0; N];
    let mut i = 0;
    while i < N {
        out[i] = if i < name.len() { name[i] } else { KEY_TAIL[i - name.len()] };
        i += 1;
    }
    out
}

/// Which of two places holds the four bytes that say where the digest is.
#[derive(Clone, Copy, PartialEq, Debug)]
enum Place {
    /// Bytes 8 to 11; the digest is in the first half.
    FirstHalf = 8,
    /// Bytes 772 to 775; the digest is in the second half.
    SecondHalf = 772,
}

impl Place {
    /// Where the digest begins. At most 772 + 4 + 727, so it ends inside the packet.
    fn digest_start(self, packet: &Packet) -> usize {
        let at = self as usize;
        let sum: usize = packet[at..at + 4].iter().map(|&byte| byte as usize).sum();
        at + 4 + sum % 728
    }
}

fn find_digest(packet: &Packet, key: &Key) -> Option<(Place, Digest)> {
    // HS-3: a peer with zeros here asked for the plain handshake.
    if packet[4..8] == [0; 4] {
        return None;
    }
    [Place::SecondHalf, Place::FirstHalf].into_iter().find_map(|place| {
        let start = place.digest_start(packet);
        let digest = digest_without(packet, start, key);
        (packet[start..start + DIGEST_LEN] == digest).then_some((place, digest))
    })
}

fn write_digest(packet: &mut Packet, place: Place, key: &Key) {
    let start = place.digest_start(packet);
    let digest = digest_without(packet, start, key);
    packet[start..start + DIGEST_LEN].copy_from_slice(&digest);
}

/// The digest of all bytes but those where it is written.
fn digest_without(packet: &Packet, start: usize, key: &Key) -> Digest {
    hmac(key.name, &[&packet[..start], &packet[start + DIGEST_LEN..]])
}

/// Signs C2 or S2: its last 32 bytes depend on the digest that it answers.
fn sign(packet: &mut Packet, answered: &Digest, key: &Key) {
    let key = hmac(key.whole, &[answered]);
    let (body, signature) = packet.split_at_mut(PACKET_LEN - DIGEST_LEN);
    signature.copy_from_slice(&hmac(&key, &[body]));
}

fn hmac(key: &[u8], parts: &[&[u8]]) -> Digest {
    let mut mac = Hmac::<Sha256>::new_from_slice(key).expect("HMAC takes keys of any length");
    parts.iter().for_each(|part| mac.update(part));
    mac.finalize().into_bytes().into()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn c0_c1(version: u8, c1: &Packet) -> Vec<u8> {
        [&[version], c1.as_slice()].concat()
    }

    fn digest_c1(place: Place) -> Packet {
        let mut c1 = random_packet(99);
        c1[4..8].copy_from_slice(&[9, 0, 124, 2]);
        write_digest(&mut c1, place, CLIENT_KEY);
        c1
    }

    /// S0, S1, S2 of a server that got `wire` cut into pieces of `cut` bytes, and what it left.
    fn serve(wire: &[u8], cut: usize) -> (Vec<u8>, Vec<u8>, bool) {
        let mut server = ServerHandshake::new(7);
        let (mut sent, mut rest) = (Vec::new(), Vec::new());
        let mut received = 0;
        for piece in wire.chunks(cut) {
            let mut input = Bytes::copy_from_slice(piece);
            received += piece.len();
            if let Some(bytes) = server.read(&mut input).unwrap() {
                assert!(received > PACKET_LEN, "S0 to S2 before all of C1");
                sent.extend_from_slice(&bytes);
            }
            assert!(input.is_empty() || server.is_done());
            rest.extend_from_slice(&input);
        }
        (sent, rest, server.is_done())
    }

    #[test]
    fn a_plain_client_gets_zeros_and_its_own_bytes_however_they_are_cut() {
        let c1 = random_packet(1);
        let wire = [c0_c1(3, &c1), vec![0; PACKET_LEN], b"chunks".to_vec()].concat();
        let whole = serve(&wire, wire.len());
        let (sent, rest, done) = &whole;
        assert_eq!(sent.len(), 1 + 2 * PACKET_LEN);
        assert_eq!(sent[0], 3);
        assert_eq!(sent[5..9], [0; 4], "S1 bytes 4 to 7");
        assert_eq!(sent[1 + PACKET_LEN..], c1, "S2 is C1");
        assert_eq!(rest, b"chunks");
        assert!(done);
        for cut in [1, 2, 3, 1535, 1536, 1537, 1538, 3072, 3073, 3074] {
            assert_eq!(serve(&wire, cut), whole, "cut {cut}");
        }
    }

    #[test]
    fn a_digest_at_either_place_is_answered_by_a_signature() {
        for place in [Place::FirstHalf, Place::SecondHalf] {
            let c1 = digest_c1(place);
            let (found, c1_digest) = find_digest(&c1, CLIENT_KEY).unwrap();
            assert_eq!(found, place);
            let (sent, ..) = serve(&c0_c1(3, &c1), 100);
            let s1: Packet = sent[1..1 + PACKET_LEN].try_into().unwrap();
            assert_eq!(find_digest(&s1, SERVER_KEY).unwrap().0, place);
            let s2: Packet = sent[1 + PACKET_LEN..].try_into().unwrap();
            let mut signed = s2;
            sign(&mut signed, &c1_digest, SERVER_KEY);
            assert_eq!(s2, signed);
        }
    }

    #[test]
    fn a_wrong_digest_falls_back_to_the_plain_handshake() {
        let mut c1 = digest_c1(Place::SecondHalf);
        c1[1535] ^= 1;
        let (sent, ..) = serve(&c0_c1(3, &c1), 2000);
        assert_eq!(sent[5..9], [0; 4]);
        assert_eq!(sent[1 + PACKET_LEN..], c1);
    }

    #[test]
    fn the_digest_stays_inside_the_packet_wherever_it_points() {
        for place in [Place::FirstHalf, Place::SecondHalf] {
            for sum in 0..=4 * 255_usize {
                let mut packet = random_packet(sum as u64);
                let mut left = sum;
                for byte in &mut packet[place as usize..place as usize + 4] {
                    *byte = left.min(255) as u8;
                    left -= *byte as usize;
                }
                packet[4] = 1;
                write_digest(&mut packet, place, CLIENT_KEY);
                assert!(find_digest(&packet, CLIENT_KEY).is_some(), "sum {sum}");
            }
        }
    }

    #[test]
    fn another_version_is_answered_by_ours_and_text_is_refused_at_once() {
        for version in [0, 2, 6, 31] {
            let (sent, ..) = serve(&c0_c1(version, &random_packet(5)), 1537);
            assert_eq!(sent[0], 3);
        }
        for first in [32, b'G', 0x80, 0xFF] {
            let error = ServerHandshake::new(0).read(&mut Bytes::from(vec![first])).unwrap_err();
            assert_eq!(error, HandshakeError::NotRtmp { first });
        }
    }

    #[test]
    fn client_and_server_meet_byte_by_byte() {
        let (mut client, c0_c1) = ClientHandshake::new(1);
        let mut server = ServerHandshake::new(2);
        let mut to_server = BytesMut::from(&c0_c1[..]);
        let mut to_client = BytesMut::new();
        while !(client.is_done() && server.is_done()) {
            assert!(!to_server.is_empty() || !to_client.is_empty(), "both wait for the other");
            if !to_server.is_empty() {
                let sent = server.read(&mut to_server.split_to(1).freeze()).unwrap();
                to_client.extend(sent.unwrap_or_default());
            }
            if !to_client.is_empty() {
                let sent = client.read(&mut to_client.split_to(1).freeze()).unwrap();
                to_server.extend(sent.unwrap_or_default());
            }
        }
        assert!(to_server.is_empty() && to_client.is_empty());
    }
}
