//! Recorded connections: what an encoder sent behind its handshake, piece by piece as it was received.

use std::time::Duration;

use anyhow::{Context as _, bail, ensure};
use bytes::Bytes;
use forebay::rtmp::chunk::{ChunkLimits, ChunkReader};
use forebay::rtmp::message::message_type;

const FOLDER: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/../testdata/rtmp");
/// `RTMPCAP` and a version.
const FILE_HEADER_LEN: usize = 8;
/// Time in µs, who sent it, how many bytes.
const RECORD_HEADER_LEN: usize = 13;
/// Version and two packets of 1536 bytes.
const HANDSHAKE_LEN: usize = 1 + 2 * 1536;

/// `hub.coalesce_ms`, and how much wakes our server before it has passed.
const TICK: Duration = Duration::from_millis(50);
const TICK_LEN_MAX: usize = 48 << 10;

/// What an encoder sent, made longer by repeating its media.
pub struct Stream {
    first: Part,
    again: Part,
    again_count: usize,
}

/// Whole messages.
pub struct Part {
    /// As the encoder's socket gave it: one piece is what one read returned.
    pub pieces: Vec<Bytes>,
    /// As our server receives it: what came within a tick of `hub.coalesce_ms` by one read, or
    /// 48 KiB of it.
    pub ticks: Vec<Bytes>,
    /// The same in one piece.
    pub whole: Bytes,
}

impl Stream {
    /// The recording `name`, from its handshake to its last whole message, and then what it sent
    /// behind its last Set Chunk Size again and again, up to `len` bytes.
    pub fn repeated(name: &str, len: usize) -> anyhow::Result<Self> {
        let received = sent_by_encoder(name)?;
        let (start, end) = repeatable(&received)?;
        let lens: Vec<_> = received.iter().map(|(_, piece)| piece.len()).collect();
        let ticks = in_ticks(received.iter().map(|(at, piece)| (*at, piece.len())));
        let whole =
            Bytes::from(received.into_iter().flat_map(|(_, piece)| piece).collect::<Vec<_>>());
        let part = |start, end| {
            let of = |lens: &[usize]| pieces(whole.slice(start..end), cut(lens, start, end));
            Part { pieces: of(&lens), ticks: of(&ticks), whole: whole.slice(start..end) }
        };
        let again_count = len.saturating_sub(end) / (end - start);
        Ok(Self { first: part(0, end), again: part(start, end), again_count })
    }

    /// One after the other they are the stream. All but the first are the same memory.
    pub fn parts(&self) -> impl Iterator<Item = &Part> {
        std::iter::once(&self.first).chain(std::iter::repeat_n(&self.again, self.again_count))
    }

    /// What one read after the other returned.
    pub fn pieces(&self) -> impl Iterator<Item = &Bytes> {
        self.parts().flat_map(|part| &part.pieces)
    }

    /// The same, as our server reads it.
    pub fn ticks(&self) -> impl Iterator<Item = &Bytes> {
        self.parts().flat_map(|part| &part.ticks)
    }

    /// Bytes of all parts.
    pub fn len(&self) -> usize {
        self.parts().map(|part| part.whole.len()).sum()
    }

    /// Whether there is no byte.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }
}

fn pieces(mut whole: Bytes, lens: Vec<usize>) -> Vec<Bytes> {
    lens.into_iter().map(|len| whole.split_to(len)).collect()
}

/// How long the reads are that take what came, and when, once per tick.
fn in_ticks(came: impl Iterator<Item = (Duration, usize)>) -> Vec<usize> {
    let mut lens = Vec::new();
    let mut begun = None;
    for (at, len) in came {
        match (lens.last_mut(), begun) {
            (Some(last), Some(begun)) if at < begun + TICK && *last < TICK_LEN_MAX => *last += len,
            _ => {
                lens.push(len);
                begun = Some(at);
            }
        }
    }
    lens
}

/// What the encoder of recording `name` sent, handshake included, and when.
pub fn timed(name: &str) -> anyhow::Result<Vec<(Duration, Bytes)>> {
    let path = format!("{FOLDER}/{name}.rtmpcap");
    let mut rest = Bytes::from(std::fs::read(&path).context(path)?);
    ensure!(rest.starts_with(b"RTMPCAP"), "{name} is no recorded connection");
    let _header = rest.split_to(FILE_HEADER_LEN);
    let mut sent = Vec::new();
    while rest.len() >= RECORD_HEADER_LEN {
        let header: [u8; RECORD_HEADER_LEN] = rest.split_to(RECORD_HEADER_LEN)[..].try_into()?;
        let [us @ .., by, len_0, len_1, len_2, len_3] = header;
        let len = u32::from_le_bytes([len_0, len_1, len_2, len_3]) as usize;
        ensure!(len <= rest.len(), "{name} ends in a record");
        let bytes = rest.split_to(len);
        if by == 0 {
            sent.push((Duration::from_micros(u64::from_le_bytes(us)), bytes));
        }
    }
    Ok(sent)
}

/// The pieces of the encoder's side behind the handshake, and when they came.
fn sent_by_encoder(name: &str) -> anyhow::Result<Vec<(Duration, Bytes)>> {
    let (mut pieces, mut handshake) = (Vec::new(), HANDSHAKE_LEN);
    for (at, mut piece) in timed(name)? {
        let skip = handshake.min(piece.len());
        handshake -= skip;
        let _handshake = piece.split_to(skip);
        pieces.extend((!piece.is_empty()).then_some((at, piece)));
    }
    Ok(pieces)
}

/// From behind the last Set Chunk Size to behind the last whole message: what can follow itself.
fn repeatable(pieces: &[(Duration, Bytes)]) -> anyhow::Result<(usize, usize)> {
    let mut reader = ChunkReader::new(ChunkLimits::default());
    let (mut start, mut end) = (None, 0);
    for (_, piece) in pieces {
        let mut piece = piece.clone();
        while let Some(message) = reader.read(&mut piece)? {
            end = reader.offset() as usize;
            match message.type_id {
                message_type::SET_CHUNK_SIZE => start = None,
                message_type::AUDIO | message_type::VIDEO => _ = start.get_or_insert(end),
                _ => {}
            }
        }
    }
    match start {
        Some(start) if start < end => Ok((start, end)),
        _ => bail!("nothing in it can be repeated"),
    }
}

/// Lengths of the pieces of `start..end` if all of it comes in pieces of `lens`.
fn cut(lens: &[usize], start: usize, end: usize) -> Vec<usize> {
    let ends = lens.iter().scan(0, |at, len| {
        *at += len;
        Some(*at)
    });
    let mut at = start;
    let mut cut = Vec::new();
    for piece_end in ends.map(|at| at.min(end)).filter(|&at| at > start) {
        cut.extend((piece_end > at).then(|| piece_end - at));
        at = piece_end;
    }
    cut
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn pieces_are_cut_where_the_reads_were() {
        assert_eq!(cut(&[3, 4, 5], 0, 12), [3, 4, 5]);
        assert_eq!(cut(&[3, 4, 5], 4, 10), [3, 3]);
        assert_eq!(cut(&[3, 4, 5], 3, 7), [4]);
    }

    #[test]
    fn a_read_takes_what_came_within_a_tick_or_enough() {
        let came = [(0, 1_000), (49, 1), (50, 2), (70, 48 << 10), (71, 3), (500, 4)];
        let came = came.map(|(ms, len)| (Duration::from_millis(ms), len));
        assert_eq!(in_ticks(came.into_iter()), [1_001, 2 + (48 << 10), 3, 4]);
    }

    #[test]
    fn a_repeated_stream_is_read_to_its_end() -> anyhow::Result<()> {
        for name in ["obs-publish-720p30", "ffmpeg5-publish-360p30", "gst-librtmp-360p30"] {
            let stream = Stream::repeated(name, 8 << 20)?;
            let mut reader = ChunkReader::new(ChunkLimits::default());
            let mut messages = 0;
            for part in stream.parts() {
                assert_eq!(part.pieces.concat(), part.whole);
                assert_eq!(part.ticks.concat(), part.whole);
                let mut rest = part.whole.clone();
                while reader.read(&mut rest)?.is_some() {
                    messages += 1;
                }
                assert!(!reader.is_mid_message(), "{name}");
            }
            assert!(messages > 1_000, "{name}: {messages} messages");
            assert!((6 << 20..=8 << 20).contains(&stream.len()), "{name}: {}", stream.len());
        }
        Ok(())
    }
}
