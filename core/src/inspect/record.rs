//! RecordHeader: what stands in front of each piece of a recorded RTMP connection (`.rtmpcap`).

/// What a capture begins with. Records follow: a [`RecordHeader`], and as many bytes as it says.
pub const SIGNATURE: &[u8; 8] = b"RTMPCAP1";

/// The front of a record. All numbers are little-endian.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct RecordHeader {
    /// Microseconds since the client was accepted: 8 bytes.
    pub us: u64,
    /// Who sent what follows: one byte, 0 for the client and 1 for the server.
    pub from_client: bool,
    /// Bytes that follow: 4 bytes. None: the sender closed its side.
    pub len: usize,
}

/// What cannot be the front of a record.
#[derive(Clone, Copy, PartialEq, Eq, Debug, thiserror::Error)]
pub enum RecordError {
    /// Neither the client nor the server.
    #[error("has direction {0}")]
    Direction(u8),
    /// Longer than any.
    #[error("has {len} bytes, over the limit of {max}")]
    TooLong {
        /// What it says.
        len: usize,
        /// What may be.
        max: usize,
    },
}

impl RecordHeader {
    /// Bytes of it.
    pub const LEN: usize = 13;

    /// A record is one read of the proxy that wrote it.
    const RECORD_LEN_MAX: usize = 16 << 20;

    /// Reads it.
    ///
    /// # Errors
    ///
    /// If it is none, which is seen by its direction and by its length.
    pub fn parse(bytes: [u8; Self::LEN]) -> Result<Self, RecordError> {
        let [t0, t1, t2, t3, t4, t5, t6, t7, direction, len @ ..] = bytes;
        let len = u32::from_le_bytes(len) as usize;
        let from_client = match direction {
            0 => true,
            1 => false,
            other => return Err(RecordError::Direction(other)),
        };
        if len > Self::RECORD_LEN_MAX {
            return Err(RecordError::TooLong { len, max: Self::RECORD_LEN_MAX });
        }
        Ok(Self { us: u64::from_le_bytes([t0, t1, t2, t3, t4, t5, t6, t7]), from_client, len })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn header(direction: u8, len: u32) -> [u8; RecordHeader::LEN] {
        let mut bytes = [0; RecordHeader::LEN];
        bytes[0] = 7;
        bytes[8] = direction;
        bytes[9..].copy_from_slice(&len.to_le_bytes());
        bytes
    }

    #[test]
    fn what_no_proxy_writes_is_an_error() {
        let record = RecordHeader { us: 7, from_client: false, len: 300 };
        assert_eq!(RecordHeader::parse(header(1, 300)), Ok(record));
        assert_eq!(RecordHeader::parse(header(2, 300)), Err(RecordError::Direction(2)));
        let error = RecordHeader::parse(header(0, u32::MAX)).unwrap_err();
        assert_eq!(error.to_string(), "has 4294967295 bytes, over the limit of 16777216");
    }
}
