//! Who parses: each from bytes in the form it likes best to messages, which are dropped at once.

use std::hint::black_box;

use anyhow::{Context as _, bail};
use bytes::{Bytes, BytesMut};
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

/// Slices of receive blocks in, ropes out: what the server does.
pub(crate) fn forebay(stream: &Stream) -> anyhow::Result<Seen> {
    let mut reader = ChunkReader::new(ChunkLimits::default());
    let mut seen = Seen::default();
    for piece in &stream.pieces {
        let mut piece = piece.clone();
        while let Some(message) = reader.read(&mut piece)? {
            seen.add(black_box(&message).payload.len());
        }
    }
    Ok(seen)
}

/// Slices in, which it copies into its buffer; a `Bytes` of its own for each message.
pub(crate) fn rml_rtmp(stream: &Stream) -> anyhow::Result<Seen> {
    let mut reader = rml_rtmp::chunk_io::ChunkDeserializer::new();
    let mut seen = Seen::default();
    for piece in &stream.pieces {
        let mut piece: &[u8] = piece;
        while let Some(message) = reader
            .get_next_message(std::mem::take(&mut piece))
            .map_err(|e| anyhow::anyhow!("{e:?}"))?
        {
            seen.add(black_box(&message).data.len());
            if message.type_id == SET_CHUNK_SIZE {
                let size = chunk_size(&message.data)?;
                reader.set_max_chunk_size(size).map_err(|e| anyhow::anyhow!("{e:?}"))?;
            }
        }
    }
    Ok(seen)
}

/// All of the stream in a buffer that is its own already; a message of one chunk is a slice of it,
/// any other one is joined.
pub(crate) fn scuffle_rtmp(mut buffer: BytesMut) -> anyhow::Result<Seen> {
    let mut reader = scuffle_rtmp::chunk::reader::ChunkReader::default();
    let mut seen = Seen::default();
    while let Some(message) = reader.read_chunk(&mut buffer)? {
        seen.add(black_box(&message).payload.len());
        if message.message_header.msg_type_id.0 == SET_CHUNK_SIZE {
            let size = chunk_size(&message.payload)?;
            anyhow::ensure!(reader.update_max_chunk_size(size), "chunk size {size} is refused");
        }
    }
    Ok(seen)
}

/// All of the stream as one slice, without the buffer that its connections keep; a `Vec` for each
/// message.
pub(crate) fn shiguredo_rtmp(stream: &Stream) -> anyhow::Result<Seen> {
    let mut reader = shiguredo::RtmpChunkDecoder::default();
    let mut seen = Seen::default();
    let mut rest = &stream.whole[..];
    while !rest.is_empty() {
        let (len, message) = reader.decode(rest).map_err(|e| anyhow::anyhow!("{e:?}"))?;
        rest = &rest[len..];
        let Some(message) = message else { continue };
        seen.add(black_box(&message).payload.len());
        if message.message_type as u8 == SET_CHUNK_SIZE {
            let size = shiguredo::RtmpChunkSize::new(chunk_size(&message.payload)?);
            reader.set_chunk_size(size.context("chunk size is refused")?);
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
    pub(crate) keyframes: u64,
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
                let header = black_box(VideoHeader::parse(&found.tag.payload)?);
                tags.video += 1;
                tags.keyframes += u64::from(header.is_keyframe());
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
    use scuffle_flv::video::body::{VideoTagBody, legacy::LegacyVideoTagBody};
    use scuffle_flv::video::header::VideoFrameType;
    let mut reader = std::io::Cursor::new(file.clone());
    scuffle_flv::header::FlvHeader::demux(&mut reader)?;
    let mut tags = Tags::default();
    // Each tag is behind the length of the one before it.
    while reader.position() + 4 < file.len() as u64 {
        reader.set_position(reader.position() + 4);
        match black_box(FlvTag::demux(&mut reader)?).data {
            FlvTagData::Audio(_) => tags.audio += 1,
            FlvTagData::Video(video) => {
                tags.video += 1;
                let is_picture = !matches!(
                    video.body,
                    VideoTagBody::Legacy(LegacyVideoTagBody::AvcVideoPacketSeqHdr(_))
                );
                let is_key = video.header.frame_type == VideoFrameType::KeyFrame;
                tags.keyframes += u64::from(is_key && is_picture);
            }
            _ => tags.script += 1,
        }
    }
    Ok(tags)
}
