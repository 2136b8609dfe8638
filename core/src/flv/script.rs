//! What a script payload is about, told from its first bytes without decoding AMF (FLV E.4.4, E.5).

use crate::rope::Rope;

/// The AMF0 string `@setDataFrame`: marker 2, a length of 13, the characters.
const SET_DATA_FRAME: &[u8; 16] = b"\x02\x00\x0d@setDataFrame";

/// The AMF0 string `onMetaData`.
const ON_META_DATA: &[u8; 13] = b"\x02\x00\x0aonMetaData";

/// The payload without `@setDataFrame`, which an encoder puts in front of what a server is to keep
/// and players are not to see. Nothing is copied.
pub fn strip_set_data_frame(payload: &Rope) -> Rope {
    if starts_with(payload, 0, SET_DATA_FRAME) {
        payload.slice(SET_DATA_FRAME.len()..payload.len())
    } else {
        payload.clone()
    }
}

/// Whether the payload is `onMetaData`, with `@setDataFrame` in front or without.
pub fn is_on_meta_data(payload: &Rope) -> bool {
    let at = if starts_with(payload, 0, SET_DATA_FRAME) { SET_DATA_FRAME.len() } else { 0 };
    starts_with(payload, at, ON_META_DATA)
}

fn starts_with<const N: usize>(payload: &Rope, at: usize, wanted: &[u8; N]) -> bool {
    let mut bytes = [0; N];
    payload.read_at(at, &mut bytes) == N && bytes == *wanted
}
