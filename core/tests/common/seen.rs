//! What viewers receive, read by parsers that share no code with the server's.

use forebay::flv::{Tag, TagKind};
use forebay::wire_log::Protocol;

/// A tag as a viewer sees it.
#[derive(Clone, PartialEq, Eq)]
pub(crate) struct Seen {
    pub(crate) kind: u8,
    pub(crate) ms: u32,
    pub(crate) payload: Vec<u8>,
}

impl Seen {
    #[allow(dead_code, reason = "not every test compares with what was published")]
    pub(crate) fn of(tag: &Tag) -> Self {
        Self {
            kind: tag.kind as u8,
            ms: tag.timestamp.as_ms(),
            payload: tag.payload.to_bytes().into(),
        }
    }
}

impl std::fmt::Debug for Seen {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let head = &self.payload[..self.payload.len().min(6)];
        write!(f, "{}@{} {head:02x?}+{}", self.kind, self.ms, self.payload.len())
    }
}

/// FLV tags, read here and not with the parser under test.
pub(crate) fn read_flv(mut bytes: &[u8]) -> Vec<Seen> {
    let mut seen = Vec::new();
    while !bytes.is_empty() {
        let len = u32::from_be_bytes([0, bytes[1], bytes[2], bytes[3]]) as usize;
        let ms = u32::from_be_bytes([bytes[7], bytes[4], bytes[5], bytes[6]]);
        seen.push(Seen { kind: bytes[0], ms, payload: bytes[11..11 + len].to_vec() });
        let back = u32::from_be_bytes(bytes[11 + len..15 + len].try_into().unwrap());
        assert_eq!(back as usize, 11 + len, "PreviousTagSize");
        bytes = &bytes[15 + len..];
    }
    seen
}

/// RTMP messages, read by rml_rtmp.
pub(crate) fn read_rtmp(bytes: &[u8]) -> Vec<Seen> {
    let mut chunks = rml_rtmp::chunk_io::ChunkDeserializer::new();
    chunks.set_max_chunk_size(65536).unwrap();
    let mut seen = Vec::new();
    let mut input = bytes;
    while let Some(message) = chunks.get_next_message(input).unwrap() {
        input = &[];
        assert_eq!(message.message_stream_id, 1);
        seen.push(Seen {
            kind: message.type_id,
            ms: message.timestamp.value,
            payload: message.data.to_vec(),
        });
    }
    seen
}

/// Both protocols' bytes as tags.
pub(crate) fn read(protocol: Protocol, bytes: &[u8]) -> Vec<Seen> {
    match protocol {
        Protocol::Flv => read_flv(bytes),
        Protocol::Rtmp => read_rtmp(bytes),
    }
}

/// Coded media, by the first two bytes (FLV E.4.2, E.4.3; E-RTMP), read here.
pub(crate) fn is_keyframe(tag: &Seen) -> bool {
    is_picture(tag) && tag.payload[0] >> 4 & 7 == 1
}

pub(crate) fn is_picture(tag: &Seen) -> bool {
    match (tag.kind == TagKind::Video as u8, &tag.payload[..]) {
        // Extended: coded frames with and without composition time.
        (true, [first, ..]) if first & 0x80 != 0 => matches!(first & 15, 1 | 3),
        (true, [first, packet_type, ..]) if first & 15 == 7 => *packet_type == 1,
        _ => false,
    }
}
