//! Who parses: each receives as its own server does, and drops the messages at once.

use std::hint::black_box;

use anyhow::{Context as _, anyhow, bail, ensure};
use bytes::{Bytes, BytesMut};
use forebay::blocks::{BlockLimits, BlockPool};
use forebay::rtmp::chunk::{ChunkLimits, ChunkReader};
use forebay_benches::capture::Stream;
use shiguredo_rtmp::tests as shiguredo;

const SET_CHUNK_SIZE: u8 = 1;

/// What a contestant found. All have to find the same.
#[derive(Clone, Copy, Default, PartialEq, Eq, Debug)]
pub(crate) struct Seen {
    pub(crate) messages: u64,
    pub(crate) payload_bytes: u64,
}

impl Seen {
    fn add(&mut self, payload_len: usize) {
        self.messages += 1;
        self.payload_bytes += payload_len as u64;
    }
}

/// As much as one read may return to those who read into an array.
const ARRAY_LEN: usize = 64 << 10;
/// What scuffle-rtmp's session makes room for before each read.
const SCUFFLE_RESERVE: usize = 4096;

/// Only what `recv` would do: copies every piece into memory that is used again and again.
pub(crate) fn receive(stream: &Stream) -> anyhow::Result<Seen> {
    let (mut block, mut at) = (vec![0; 4 * ARRAY_LEN], 0);
    for piece in stream.pieces() {
        at = if at + piece.len() > block.len() { 0 } else { at };
        block[at..at + piece.len()].copy_from_slice(piece);
        black_box(&block[at..]);
        at += piece.len();
    }
    Ok(Seen::default())
}

/// Receive blocks, their slices in, ropes out; once per tick.
pub(crate) fn forebay(stream: &Stream) -> anyhow::Result<Seen> {
    forebay_reads(stream.ticks())
}

/// With a read for all that came, as others do.
pub(crate) fn forebay_as_it_came(stream: &Stream) -> anyhow::Result<Seen> {
    forebay_reads(stream.pieces())
}

fn forebay_reads<'s>(reads: impl Iterator<Item = &'s Bytes>) -> anyhow::Result<Seen> {
    let mut blocks = BlockPool::new(BlockLimits::default());
    let mut reader = ChunkReader::new(ChunkLimits::default());
    let mut seen = Seen::default();
    for piece in reads {
        let mut piece = &piece[..];
        while !piece.is_empty() {
            let block = blocks.writable();
            let len = piece.len().min(block.capacity() - block.len());
            block.extend_from_slice(&piece[..len]);
            piece = &piece[len..];
            let mut received = blocks.take_received();
            while let Some(message) = reader.read(&mut received)? {
                seen.add(black_box(&message).payload.len());
            }
        }
    }
    Ok(seen)
}

/// Read into an array, copied into the reader's buffer; a `Bytes` of its own for each message.
pub(crate) fn rml_rtmp(stream: &Stream) -> anyhow::Result<Seen> {
    let mut reader = rml_rtmp::chunk_io::ChunkDeserializer::new();
    let mut seen = Seen::default();
    let mut array = vec![0; ARRAY_LEN];
    for piece in stream.pieces().flat_map(|piece| piece.chunks(ARRAY_LEN)) {
        array[..piece.len()].copy_from_slice(piece);
        let mut received = black_box(&array[..piece.len()]);
        while let Some(message) = reader
            .get_next_message(std::mem::take(&mut received))
            .map_err(|error| anyhow!("{error:?}"))?
        {
            seen.add(black_box(&message).data.len());
            if message.type_id == SET_CHUNK_SIZE {
                let size = chunk_size(&message.data)?;
                reader.set_max_chunk_size(size).map_err(|error| anyhow!("{error:?}"))?;
            }
        }
    }
    Ok(seen)
}

/// Read into its buffer, as its session does; a message of one chunk is a slice of that, any other
/// one is joined.
pub(crate) fn scuffle_rtmp(stream: &Stream) -> anyhow::Result<Seen> {
    let mut reader = scuffle_rtmp::chunk::reader::ChunkReader::default();
    let mut seen = Seen::default();
    let mut buffer = BytesMut::new();
    for piece in stream.pieces() {
        let mut piece = &piece[..];
        while !piece.is_empty() {
            buffer.reserve(SCUFFLE_RESERVE);
            let len = piece.len().min(buffer.capacity() - buffer.len());
            buffer.extend_from_slice(&piece[..len]);
            piece = &piece[len..];
            while let Some(message) = reader.read_chunk(&mut buffer)? {
                seen.add(black_box(&message).payload.len());
                if message.message_header.msg_type_id.0 == SET_CHUNK_SIZE {
                    let size = chunk_size(&message.payload)?;
                    ensure!(reader.update_max_chunk_size(size), "chunk size {size} is refused");
                }
            }
        }
    }
    Ok(seen)
}

/// Read into an array, and then as one slice: the buffer that its connections copy into, and look
/// at again from the front with each read, is left out. A `Vec` for each message.
pub(crate) fn shiguredo_rtmp(stream: &Stream) -> anyhow::Result<Seen> {
    let mut reader = shiguredo::RtmpChunkDecoder::default();
    let mut seen = receive(stream)?;
    for part in stream.parts() {
        let mut rest = &part.whole[..];
        while !rest.is_empty() {
            let (len, message) = reader.decode(rest).map_err(|error| anyhow!("{error:?}"))?;
            rest = &rest[len..];
            let Some(message) = message else { continue };
            seen.add(black_box(&message).payload.len());
            if message.message_type as u8 == SET_CHUNK_SIZE {
                let size = shiguredo::RtmpChunkSize::new(chunk_size(&message.payload)?);
                reader.set_chunk_size(size.context("chunk size is refused")?);
            }
        }
    }
    Ok(seen)
}

fn chunk_size(payload: &[u8]) -> anyhow::Result<usize> {
    let Some(size) = payload.first_chunk() else {
        bail!("Set Chunk Size of {} bytes", payload.len())
    };
    Ok(u32::from_be_bytes(*size) as usize)
}

/// What an FLV file holds.
#[derive(Clone, Copy, Default, PartialEq, Eq, Debug)]
pub(crate) struct Tags {
    pub(crate) audio: u64,
    pub(crate) video: u64,
    pub(crate) script: u64,
}

/// Every tag's header, and the headers inside audio and video.
pub(crate) fn forebay_tags(file: &Bytes) -> anyhow::Result<Tags> {
    use forebay::flv::{AudioHeader, TagKind, VideoHeader, file::FileReader};
    let mut reader = FileReader::strict();
    reader.push(file.clone());
    let mut tags = Tags::default();
    while let Some(found) = reader.next_tag()? {
        match found.tag.kind {
            TagKind::Audio => {
                black_box(AudioHeader::parse(&found.tag.payload)?);
                tags.audio += 1;
            }
            TagKind::Video => {
                black_box(VideoHeader::parse(&found.tag.payload)?);
                tags.video += 1;
            }
            TagKind::Script => {
                black_box(&found.tag.payload);
                tags.script += 1;
            }
        }
    }
    Ok(tags)
}

/// The same, and what it cannot be asked to leave out: sequence headers and metadata, of which
/// there is one each.
pub(crate) fn scuffle_tags(file: &Bytes) -> anyhow::Result<Tags> {
    use scuffle_flv::tag::{FlvTag, FlvTagData};
    let mut reader = std::io::Cursor::new(file.clone());
    scuffle_flv::header::FlvHeader::demux(&mut reader)?;
    let mut tags = Tags::default();
    // Each tag is behind the length of the one before it.
    while reader.position() + 4 < file.len() as u64 {
        reader.set_position(reader.position() + 4);
        match black_box(FlvTag::demux(&mut reader)?).data {
            FlvTagData::Audio(_) => tags.audio += 1,
            FlvTagData::Video(_) => tags.video += 1,
            _ => tags.script += 1,
        }
    }
    Ok(tags)
}
