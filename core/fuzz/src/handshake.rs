//! Handshake: the same answer wherever the bytes are cut, and nothing behind it is consumed.

use bytes::Bytes;
use forebay::rtmp::{ClientHandshake, HandshakeError, ServerHandshake};

use crate::pieces::{cut, split};

/// C1, C2, S1 and S2 have so many bytes each (RTMP 5.2.3).
const PACKET_LEN: usize = 1536;
/// C0, C1 and C2, or S0, S1 and S2.
const HANDSHAKE_LEN: usize = 1 + 2 * PACKET_LEN;

/// Panics if a server or a client that is sent `data` behind its first byte breaks a promise.
pub fn check(data: &[u8]) {
    let Some((cuts, data)) = split(data) else { return };
    check_server(data, cuts);
    check_client(data, cuts);
}

/// One side of a handshake.
trait Side {
    fn read(&mut self, input: &mut Bytes) -> Result<Option<Bytes>, HandshakeError>;
    fn is_done(&self) -> bool;
}

impl Side for ServerHandshake {
    fn read(&mut self, input: &mut Bytes) -> Result<Option<Bytes>, HandshakeError> {
        self.read(input)
    }

    fn is_done(&self) -> bool {
        self.is_done()
    }
}

impl Side for ClientHandshake {
    fn read(&mut self, input: &mut Bytes) -> Result<Option<Bytes>, HandshakeError> {
        self.read(input)
    }

    fn is_done(&self) -> bool {
        self.is_done()
    }
}

fn check_server(data: &[u8], cuts: u8) {
    let (mut server, mut whole) = (ServerHandshake::new(7), ServerHandshake::new(7));
    let answer = feed(&mut server, cut(data, cuts), data);
    assert_eq!(feed(&mut whole, std::iter::once(data), data), answer, "cuts {cuts}");
    assert_eq!(server.has_digest(), whole.has_digest());
    let Some(answer) = answer else { return };
    let c1 = &data[1..=PACKET_LEN];
    assert_eq!((answer.len(), answer[0]), (HANDSHAKE_LEN, 3));
    let s2 = &answer[1 + PACKET_LEN..];
    // RTMP 5.2.4 repeats C1; a digest is answered with a signature over it.
    assert_eq!(s2 == c1, !server.has_digest());
    let (mut client, _) = ClientHandshake::new(1);
    let c2 = feed(&mut client, cut(&answer, cuts), &answer).expect("it has S1");
    assert!(client.is_done() && c2 == answer[1..=PACKET_LEN], "our client and our server disagree");
}

fn check_client(data: &[u8], cuts: u8) {
    let ((mut client, c0_c1), (mut whole, _)) = (ClientHandshake::new(7), ClientHandshake::new(7));
    assert_eq!((c0_c1.len(), c0_c1[0]), (1 + PACKET_LEN, 3));
    let answer = feed(&mut client, cut(data, cuts), data);
    assert_eq!(feed(&mut whole, std::iter::once(data), data), answer, "cuts {cuts}");
    if let Some(c2) = answer {
        assert_eq!(c2, data[1..=PACKET_LEN], "C2 repeats S1 (RTMP 5.2.4)");
    }
}

/// What is answered to `pieces`, which together are `all`.
fn feed<'a>(
    side: &mut impl Side,
    pieces: impl Iterator<Item = &'a [u8]>,
    all: &[u8],
) -> Option<Bytes> {
    let (mut fed, mut answer) = (0, None);
    for piece in pieces {
        let mut input = Bytes::copy_from_slice(piece);
        fed += piece.len();
        match side.read(&mut input) {
            Ok(said) => {
                assert!(answer.is_none() || said.is_none(), "answered twice");
                answer = answer.or(said);
            }
            Err(HandshakeError::NotRtmp { first }) => {
                assert!(first == all[0] && first >= 32 && answer.is_none());
                return None;
            }
        }
        assert_eq!(answer.is_some(), fed > PACKET_LEN, "answered behind the first packet");
        assert_eq!(side.is_done(), fed >= HANDSHAKE_LEN);
        let left = fed.saturating_sub(HANDSHAKE_LEN).min(piece.len());
        assert_eq!(input, piece[piece.len() - left..], "what follows the handshake stays");
    }
    answer
}
