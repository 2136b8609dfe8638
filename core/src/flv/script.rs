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

#[cfg(test)]
mod tests {
    use super::*;
    use bytes::Bytes;

    const WITH: &[u8] = b"\x02\x00\x0d@setDataFrame\x02\x00\x0aonMetaData\x08\x00\x00\x00\x00";
    const WITHOUT: &[u8] = b"\x02\x00\x0aonMetaData\x08\x00\x00\x00\x00";

    #[test]
    fn md_1_set_data_frame_is_stripped_wherever_the_payload_is_cut() {
        let bytes = Bytes::from_static(WITH);
        for cut in 0..=bytes.len() {
            let payload = Rope::from_iter([bytes.slice(..cut), bytes.slice(cut..)]);
            let stripped = strip_set_data_frame(&payload);
            assert!(stripped == *WITHOUT, "cut at {cut}");
            assert!(is_on_meta_data(&payload) && is_on_meta_data(&stripped), "cut at {cut}");
            for slice in stripped.owned_slices() {
                assert!(bytes.as_ptr_range().contains(&slice.as_ptr()), "copied, cut at {cut}");
            }
        }
    }

    #[test]
    fn md_1_what_has_no_set_data_frame_stays_as_it_is() {
        // Without, cut inside, with another length, and not in front.
        let not_in_front = [WITHOUT, WITH].concat();
        for bytes in [WITHOUT, &WITH[..15], b"\x02\x00\x0e@setDataFrame!", &not_in_front, b""] {
            let payload = Rope::from(bytes.to_vec());
            assert_eq!(strip_set_data_frame(&payload), payload);
        }
        assert!(strip_set_data_frame(&Rope::from(&WITH[..16])).is_empty());
    }

    #[test]
    fn other_script_data_is_not_on_meta_data() {
        for bytes in [
            &b"\x02\x00\x0aonCuePoint\x05"[..],
            b"\x02\x00\x0d@setDataFrame\x02\x00\x0aonTextData",
            b"\x02\x00\x0aonMetaDat",
            b"\x02\x00\x0bonMetaDataX",
            b"",
        ] {
            assert!(!is_on_meta_data(&Rope::from(bytes)), "{bytes:x?}");
        }
    }
}
