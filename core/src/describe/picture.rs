//! How large the pictures are, by the first bits of an HEVC or an AV1 sequence header.

/// Width and height in an HEVCDecoderConfigurationRecord (ISO/IEC 14496-15 8.3.3.1).
pub(super) fn hevc_size(record: &[u8]) -> Option<(u32, u32)> {
    const SPS: u8 = 33;
    let mut rest = record.get(22..)?;
    let array_count = *rest.split_off_first()?;
    for _ in 0..array_count {
        let nal_type = *rest.split_off_first()? & 0x3F;
        let nal_count = read_u16(&mut rest)?;
        for _ in 0..nal_count {
            let len = read_u16(&mut rest)?;
            let nal = rest.split_off(..usize::from(len))?;
            if nal_type == SPS {
                return hevc_sps_size(&without_emulation_prevention(nal.get(2..)?));
            }
        }
    }
    None
}

fn read_u16(bytes: &mut &[u8]) -> Option<u16> {
    let (&head, rest) = bytes.split_first_chunk()?;
    *bytes = rest;
    Some(u16::from_be_bytes(head))
}

/// ITU-T H.265 7.3.2.2.1.
fn hevc_sps_size(rbsp: &[u8]) -> Option<(u32, u32)> {
    const PROFILE_LEN: u32 = 88;
    const LEVEL_LEN: u32 = 8;
    let mut bits = Bits::new(rbsp);
    bits.skip(4);
    let sub_layers = bits.read(3)?;
    bits.skip(1 + PROFILE_LEN + LEVEL_LEN);
    let mut sub_layers_len = 0;
    for _ in 0..sub_layers {
        sub_layers_len += bits.read(1)? * PROFILE_LEN + bits.read(1)? * LEVEL_LEN;
    }
    if sub_layers > 0 {
        bits.skip(2 * (8 - sub_layers));
    }
    bits.skip(sub_layers_len);
    let _id = bits.exp_golomb()?;
    let chroma_format = bits.exp_golomb()?;
    if chroma_format == 3 {
        bits.skip(1);
    }
    let (width, height) = (bits.exp_golomb()?, bits.exp_golomb()?);
    let (mut cut_x, mut cut_y) = (0u32, 0u32);
    if bits.read(1)? == 1 {
        cut_x = bits.exp_golomb()?.checked_add(bits.exp_golomb()?)?;
        cut_y = bits.exp_golomb()?.checked_add(bits.exp_golomb()?)?;
    }
    let unit_x = if matches!(chroma_format, 1 | 2) { 2 } else { 1 };
    let unit_y = if chroma_format == 1 { 2 } else { 1 };
    Some((
        width.checked_sub(cut_x.checked_mul(unit_x)?)?,
        height.checked_sub(cut_y.checked_mul(unit_y)?)?,
    ))
}

/// Width and height in the sequence header among `obus` (AV1 5.3, 5.5.1).
pub(super) fn av1_size(mut obus: &[u8]) -> Option<(u32, u32)> {
    const SEQUENCE_HEADER: u8 = 1;
    loop {
        let header = *obus.split_off_first()?;
        if header & 4 != 0 {
            obus.split_off_first()?;
        }
        // Every OBU in a configuration has a size.
        let len = if header & 2 != 0 { leb128(&mut obus)? } else { obus.len() };
        let obu = obus.split_off(..len)?;
        if header >> 3 & 15 == SEQUENCE_HEADER {
            return av1_sequence_size(obu);
        }
    }
}

fn av1_sequence_size(obu: &[u8]) -> Option<(u32, u32)> {
    let mut bits = Bits::new(obu);
    bits.skip(4);
    let is_reduced_still = bits.read(1)? == 1;
    if is_reduced_still {
        bits.skip(5);
    } else {
        let has_timing = bits.read(1)? == 1;
        if has_timing {
            // Nobody streams it, and it brings decoder models with it.
            return None;
        }
        let has_display_delay = bits.read(1)? == 1;
        let operating_points = bits.read(5)? + 1;
        for _ in 0..operating_points {
            bits.skip(12);
            let level = bits.read(5)?;
            bits.skip(u32::from(level > 7));
            if has_display_delay && bits.read(1)? == 1 {
                bits.skip(4);
            }
        }
    }
    let (width_len, height_len) = (bits.read(4)? + 1, bits.read(4)? + 1);
    Some((bits.read(width_len)? + 1, bits.read(height_len)? + 1))
}

/// AV1 4.10.5.
fn leb128(bytes: &mut &[u8]) -> Option<usize> {
    let mut value = 0;
    for shift in (0..32).step_by(7) {
        let byte = *bytes.split_off_first()?;
        value |= usize::from(byte & 0x7F) << shift;
        if byte & 0x80 == 0 {
            return Some(value);
        }
    }
    None
}

/// ITU-T H.265 7.3.1.1: a 3 behind two zeros is not part of what is said.
fn without_emulation_prevention(nal: &[u8]) -> Vec<u8> {
    let mut out = Vec::with_capacity(nal.len());
    let mut zeros = 0;
    for &byte in nal {
        if zeros >= 2 && byte == 3 {
            zeros = 0;
            continue;
        }
        zeros = if byte == 0 { zeros + 1 } else { 0 };
        out.push(byte);
    }
    out
}

/// Bits, the high one of each byte first.
struct Bits<'a> {
    bytes: &'a [u8],
    at: u64,
}

impl<'a> Bits<'a> {
    fn new(bytes: &'a [u8]) -> Self {
        Self { bytes, at: 0 }
    }

    fn skip(&mut self, count: u32) {
        self.at += u64::from(count);
    }

    /// At most 32.
    fn read(&mut self, count: u32) -> Option<u32> {
        (0..count).try_fold(0u32, |value, _| {
            let byte = *self.bytes.get((self.at / 8) as usize)?;
            let bit = byte >> (7 - self.at % 8) & 1;
            self.at += 1;
            Some(value << 1 | u32::from(bit))
        })
    }

    /// ITU-T H.265 9.2: `ue(v)`, of values that fit 31 bits.
    fn exp_golomb(&mut self) -> Option<u32> {
        let mut len = 0;
        while self.read(1)? == 0 {
            len += 1;
            if len > 30 {
                return None;
            }
        }
        Some((1 << len) - 1 + self.read(len)?)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// FFmpeg's libsvtav1 at 640x360.
    const AV1: &[u8] = b"\x0a\x0c\x02\x00\x00\x0d\x26\x27\xfb\x38\x05\xf0\x00\x80";

    #[test]
    fn exp_golomb_numbers_are_read() {
        // 1, 010, 011, 00100, padding.
        let mut bits = Bits::new(&[0b1010_0110, 0b0100_0000]);
        let read: Vec<_> = std::iter::from_fn(|| bits.exp_golomb()).collect();
        assert_eq!(read, [0, 1, 2, 3]);
    }

    #[test]
    fn the_size_of_an_av1_picture_is_read() {
        assert_eq!(av1_size(AV1), Some((640, 360)));
    }

    #[test]
    fn what_is_cut_has_no_size() {
        assert!((0..AV1.len()).all(|len| av1_size(&AV1[..len]).is_none()));
        assert_eq!(hevc_size(&[1; 40]), None);
        assert_eq!(hevc_size(&[0xFF; 400]), None);
        assert_eq!(av1_size(&[0xFF; 400]), None);
    }

    #[test]
    fn a_three_behind_two_zeros_is_left_out() {
        assert_eq!(
            without_emulation_prevention(&[0, 0, 3, 1, 3, 0, 0, 3, 0, 0, 3]),
            [0, 0, 1, 3, 0, 0, 0, 0]
        );
    }
}
