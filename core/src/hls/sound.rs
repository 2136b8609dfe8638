//! How long a frame of sound lasts and how fast it is sampled, by its first bytes.

use mp4_atom::{Codec, Dfla, Flac, FlacMetadataBlock};

use super::track::audio;

/// The core's sampling rate in an AudioSpecificConfig (ISO/IEC 14496-3 1.6.2.1), which is the one
/// that its frames are counted in, with or without SBR.
pub(super) fn aac_sample_rate(config: &[u8]) -> Option<u32> {
    const RATES: [u32; 13] =
        [96000, 88200, 64000, 48000, 44100, 32000, 24000, 22050, 16000, 12000, 11025, 8000, 7350];
    const EXPLICIT: u16 = 15;
    let bits = u16::from_be_bytes(*config.first_chunk()?);
    match bits >> 7 & 15 {
        EXPLICIT => {
            let &[_, b, c, d, e] = config.first_chunk()?;
            let rate = u32::from_be_bytes([b, c, d, e]) >> 7 & 0xFF_FFFF;
            (rate > 0).then_some(rate)
        }
        index => RATES.get(usize::from(index)).copied(),
    }
}

/// Samples of an AAC frame: 960 if the GASpecificConfig behind says so.
pub(super) fn aac_frame_len(config: &[u8]) -> u32 {
    const SHORT_FRAMES: u8 = 4;
    match config {
        // Object type 2 with a rate by index: the flag is the 14th bit.
        [first, second, ..] if first >> 3 == 2 && (first & 7) << 1 | second >> 7 != 15 => {
            if second & SHORT_FRAMES == 0 { 1024 } else { 960 }
        }
        _ => 1024,
    }
}

/// Samples at 48 kHz in an Opus packet (RFC 6716 3.1).
pub(super) fn opus_frame_len(packet: &[u8]) -> Option<u32> {
    let (&toc, rest) = packet.split_first()?;
    let frame = match toc >> 3 {
        config @ 0..12 => [480, 960, 1920, 2880][usize::from(config & 3)],
        config @ 12..16 => [480, 960][usize::from(config & 1)],
        config => [120, 240, 480, 960][usize::from(config & 3)],
    };
    let count = match toc & 3 {
        0 => 1,
        1 | 2 => 2,
        _ => u32::from(rest.first()? & 0x3F),
    };
    // No packet is longer than 120 ms.
    Some(frame * count).filter(|len| (1..=5760).contains(len))
}

/// Samples in a FLAC frame (RFC 9639 9.1).
pub(super) fn flac_frame_len(frame: &[u8]) -> Option<u32> {
    let &[0xFF, 0xF8..=0xF9, sizes, _, coded_number, ..] = frame else { return None };
    // The number behind the header's four bytes is coded as UTF-8 does it.
    let number_len = match coded_number.leading_ones() {
        0 => 1,
        ones => ones as usize,
    };
    match sizes >> 4 {
        1 => Some(192),
        code @ 2..=5 => Some(144 << code),
        6 => Some(u32::from(*frame.get(4 + number_len)?) + 1),
        7 => {
            let &[high, low] = frame.get(4 + number_len..)?.first_chunk()?;
            Some(u32::from(u16::from_be_bytes([high, low])) + 1)
        }
        code @ 8..=15 => Some(1 << code),
        _ => None,
    }
}

const STREAMINFO_LEN: usize = 34;

/// What a FLAC track's STREAMINFO block (RFC 9639 8.2) says of how it sounds.
///
/// Enhanced RTMP has it behind `fLaC` and the block's header; FFmpeg sends the block alone. Sizes of
/// frames, the count of samples and their checksum are left unknown, which is 0: nobody knows them
/// of a live stream, and an encoder that does at its end sends another header for them.
pub(super) fn flac_record(record: &[u8]) -> Option<[u8; STREAMINFO_LEN]> {
    let blocks = record.strip_prefix(b"fLaC");
    let mut info: [u8; STREAMINFO_LEN] = match record.try_into() {
        Ok(info) if blocks.is_none() => info,
        _ => {
            // It is the first block, of type 0 and 34 bytes.
            let (&[kind, 0, 0, 34], info) = blocks.unwrap_or(record).split_first_chunk()? else {
                return None;
            };
            (kind & 0x7F == 0).then(|| info.first_chunk())?.copied()?
        }
    };
    info[4..10].fill(0);
    info[13] &= 0xF0;
    info[14..].fill(0);
    Some(info)
}

/// The rate and the sample entry of a FLAC track.
pub(super) fn flac(record: &[u8]) -> Option<(u32, Codec)> {
    let info = flac_record(record)?;
    let mut packed = [0; 8];
    packed.copy_from_slice(&info[10..18]);
    let packed = u64::from_be_bytes(packed);
    let (rate, channels) = ((packed >> 44) as u32, (packed >> 41 & 7) as u8);
    let block = FlacMetadataBlock::StreamInfo {
        minimum_block_size: u16::from_be_bytes([info[0], info[1]]),
        maximum_block_size: u16::from_be_bytes([info[2], info[3]]),
        minimum_frame_size: [0; 3].into(),
        maximum_frame_size: [0; 3].into(),
        sample_rate: rate,
        num_channels_minus_one: channels,
        bits_per_sample_minus_one: (packed >> 36 & 0x1F) as u8,
        number_of_interchannel_samples: 0,
        md5_checksum: info[18..].to_vec(),
    };
    let entry =
        Flac { audio: audio(rate, u16::from(channels) + 1), dfla: Dfla { blocks: vec![block] } };
    (rate > 0).then(|| (rate, entry.into()))
}

/// What the header of an MP3 frame says (ISO/IEC 11172-3 2.4.1.3).
pub(super) struct Mp3Frame {
    pub(super) sample_rate: u32,
    pub(super) channels: u16,
    pub(super) samples: u32,
}

impl Mp3Frame {
    pub(super) fn parse(frame: &[u8]) -> Option<Self> {
        let &[0xFF, second, third, fourth] = frame.first_chunk()? else { return None };
        // Eleven bits of ones, then the version, then layer III.
        if second & 0xE6 != 0xE2 {
            return None;
        }
        let (divisor, samples) = match second >> 3 & 3 {
            3 => (1, 1152),
            2 => (2, 576),
            0 => (4, 576),
            _ => return None,
        };
        let sample_rate = [44100, 48000, 32000].get(usize::from(third >> 2 & 3))? / divisor;
        Some(Self { sample_rate, channels: if fourth >> 6 == 3 { 1 } else { 2 }, samples })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn aac_rates_are_read_by_index_and_in_full() {
        assert_eq!(aac_sample_rate(&[0x11, 0x90]), Some(48000));
        assert_eq!(aac_sample_rate(&[0x12, 0x10]), Some(44100));
        // Object type 2, index 15, 12345 Hz, stereo.
        assert_eq!(aac_sample_rate(&[0x17, 0x80, 0x18, 0x1C, 0x90]), Some(12345));
        assert_eq!(aac_sample_rate(&[0x16, 0x90]), None, "index 13 means nothing");
        assert_eq!([aac_frame_len(&[0x12, 0x10]), aac_frame_len(&[0x12, 0x14])], [1024, 960]);
    }

    #[test]
    fn opus_packets_say_how_long_they_are() {
        // 20 ms CELT, one frame; two of 10 ms; 3 of 20 ms, counted; SILK 60 ms; hybrid 10 ms.
        assert_eq!(opus_frame_len(&[0xFC, 1]), Some(960));
        assert_eq!(opus_frame_len(&[0xF1, 1]), Some(960));
        assert_eq!(opus_frame_len(&[0xFF, 3]), Some(2880));
        assert_eq!(opus_frame_len(&[0x18, 1]), Some(2880));
        assert_eq!(opus_frame_len(&[0x60, 1]), Some(480));
        assert_eq!(opus_frame_len(&[0xFF, 0]), None);
        assert_eq!(opus_frame_len(&[0xFF, 63]), None, "more than 120 ms");
        assert_eq!(opus_frame_len(&[]), None);
    }

    #[test]
    fn a_flac_track_is_known_by_its_block_with_and_without_headers() {
        // FFmpeg's, when all is said: mono at 48 kHz, 16 bits.
        let mut block = [0; 34];
        block[..18].copy_from_slice(b"\x04\0\x04\0\0\0\xF7\0\x04\x60\x0B\xB8\0\xF0\0\x02\xEE\0");
        block[18..].fill(0x5A);
        let native = [b"fLaC\x80\0\0\x22", &block[..]].concat();
        let sounds = flac_record(&block).unwrap();
        assert_eq!(sounds[..18], *b"\x04\0\x04\0\0\0\0\0\0\0\x0B\xB8\0\xF0\0\0\0\0");
        assert_eq!(sounds[18..], [0; 16]);
        for record in [&block[..], &native, &native[4..], &sounds] {
            assert_eq!(flac_record(record), Some(sounds));
            assert_eq!(flac(record).map(|(rate, _)| rate), Some(48_000));
        }
        assert!((0..native.len()).all(|len| flac_record(&native[..len]).is_none()), "cut");
    }

    #[test]
    fn mp3_and_flac_frames_say_how_long_they_are() {
        let frame = Mp3Frame::parse(&[0xFF, 0xFB, 0x90, 0x64]).unwrap();
        assert_eq!((frame.sample_rate, frame.channels, frame.samples), (44100, 2, 1152));
        let frame = Mp3Frame::parse(&[0xFF, 0xF3, 0x44, 0xC4]).unwrap();
        assert_eq!((frame.sample_rate, frame.channels, frame.samples), (24000, 1, 576));
        assert!(Mp3Frame::parse(b"ID3\x03").is_none());
        assert_eq!(flac_frame_len(&[0xFF, 0xF8, 0xC9, 0x18, 0, 0xC2]), Some(4096));
        assert_eq!(flac_frame_len(&[0xFF, 0xF8, 0x79, 0x18, 5, 0x03, 0xE7]), Some(1000));
        assert_eq!(flac_frame_len(&[0xFF, 0xF8, 0x69, 0x18, 0xC2, 0x80, 0x63]), Some(100));
        assert_eq!(flac_frame_len(&[0xFF, 0xF8, 0x79, 0x18, 5, 0x03]), None);
    }
}
