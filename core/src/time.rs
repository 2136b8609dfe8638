//! Media time: milliseconds that wrap, and the distance of a picture from its decoding.

use std::fmt;

/// A point in a stream, in milliseconds modulo 2^32, as FLV and RTMP carry it.
///
/// It wraps every 49.7 days, so it has no `<`: ask [`later.since(earlier)`](Self::since).
#[derive(Clone, Copy, PartialEq, Eq, Hash, Default)]
pub struct Timestamp(u32);

impl Timestamp {
    /// The start of a stream that counts from zero.
    pub const ZERO: Self = Self(0);

    /// From milliseconds.
    pub const fn from_ms(ms: u32) -> Self {
        Self(ms)
    }

    /// To milliseconds.
    pub const fn as_ms(self) -> u32 {
        self.0
    }

    /// Milliseconds from `earlier` to `self`, negative if `self` comes first.
    ///
    /// Serial-number arithmetic: of the two ways round the circle, the shorter one (RTMP 4).
    pub const fn since(self, earlier: Self) -> i32 {
        self.0.wrapping_sub(earlier.0) as i32
    }

    /// `self` plus `ms`, wrapping.
    pub const fn plus_ms(self, ms: u32) -> Self {
        Self(self.0.wrapping_add(ms))
    }
}

impl fmt::Debug for Timestamp {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}ms", self.0)
    }
}

/// Presentation time minus decode time, in milliseconds: a signed 24-bit field on the wire.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Default, Debug, PartialOrd, Ord)]
pub struct CompositionTime(i32);

impl CompositionTime {
    /// The picture is shown when it is decoded.
    pub const ZERO: Self = Self(0);

    /// Reads the 24-bit field (FLV E.4.3.2), extending its sign.
    pub const fn from_be_bytes(field: [u8; 3]) -> Self {
        Self(i32::from_be_bytes([field[0], field[1], field[2], 0]) >> 8)
    }

    /// To milliseconds.
    pub const fn as_ms(self) -> i32 {
        self.0
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_later_timestamp_is_later_across_the_wrap() {
        let before = Timestamp::from_ms(u32::MAX - 9);
        let after = before.plus_ms(30);
        assert_eq!(after.as_ms(), 20);
        assert_eq!(after.since(before), 30);
        assert_eq!(before.since(after), -30);
    }

    #[test]
    fn composition_time_keeps_its_sign() {
        assert_eq!(CompositionTime::from_be_bytes([0, 0, 66]).as_ms(), 66);
        assert_eq!(CompositionTime::from_be_bytes([0xFF, 0xFF, 0xFF]).as_ms(), -1);
        assert_eq!(CompositionTime::from_be_bytes([0x80, 0, 0]).as_ms(), -(1 << 23));
    }
}
