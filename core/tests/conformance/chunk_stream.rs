//! §2: chunk streams (RTMP 5.3, 5.4.1).

use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use bytes::Bytes;
use forebay::rope::Rope;
use forebay::rtmp::chunk::{ChunkError, ChunkLimits, ChunkReader, ChunkWriter, MessageHeader};
use forebay::rtmp::server::ConnectionLimits;
use forebay::time::Timestamp;
use proptest::prelude::*;

use crate::wire::{
    Chunk, Decoder, Msg, Server, basic, basic_of_three, block, chunks, extended, handshake,
    however_cut, messages, noise, opening, read, set_chunk_size, type_0, type_1, type_2, type_3,
    user_control,
};

/// Times around the largest that has no extended field, and the largest of all.
const TIMES: [u32; 4] = [0xFF_FFFE, 0xFF_FFFF, 0x100_0000, 0xFFFF_FFFF];

fn header_of(message: &Msg) -> MessageHeader {
    let &Msg { csid, time, type_id, stream_id, .. } = message;
    MessageHeader { csid, type_id, stream_id, timestamp: Timestamp::from_ms(time) }
}

/// What `ChunkWriter` makes of `messages`, body by body in one piece.
fn written(messages: &[Msg], chunk_size: u32) -> Vec<u8> {
    let mut writer = ChunkWriter::new();
    let mut bytes = vec![];
    if chunk_size != 128 {
        let message = set_chunk_size(chunk_size);
        writer.write(header_of(&message), &message.body, &mut bytes);
        writer.set_chunk_size(chunk_size);
    }
    for message in messages {
        writer.write(header_of(message), &message.body, &mut bytes);
    }
    bytes
}

/// The headers that `ChunkWriter` gives `messages`, which it must also have written correctly.
fn written_chunks(messages: &[Msg]) -> Vec<Chunk> {
    let decoder = Decoder::of(&written(messages, 128));
    assert_eq!(decoder.messages, messages);
    decoder.chunks
}

fn audio(csid: u32, time: u32, body: &[u8]) -> Msg {
    Msg::new(csid, time, 8, 1, body)
}

fn video(csid: u32, time: u32, len: usize) -> Msg {
    Msg::new(csid, time, 9, 1, &noise(len, time ^ len as u32))
}

#[test]
fn ch_1_basic_headers_of_every_length_are_read() {
    for (csid, header) in [
        (2, vec![0x02]),
        (63, vec![0x3F]),
        (64, vec![0x00, 0]),
        (319, vec![0x00, 255]),
        // The second byte is the low-order one: 320 is 64 + 0 + 1 * 256.
        (320, vec![0x01, 0, 1]),
        (64, vec![0x01, 0, 0]),
        (319, vec![0x01, 255, 0]),
        (65599, vec![0x01, 255, 255]),
        (65343, vec![0x01, 255, 254]),
    ] {
        let rest = [0, 0, 9, 0, 0, 2, 8, 1, 0, 0, 0, 0xAF, 1];
        let bytes = [&header[..], &rest].concat();
        assert_eq!(messages(&[bytes]), [audio(csid, 9, &[0xAF, 1])], "{header:?}");
    }
}

#[test]
fn ch_1_every_form_continues_the_same_chunk_stream() {
    // 100 can be written in two ways; both mean the same chunk stream.
    let message = video(100, 5, 300);
    let parts = message.chunks(128);
    let long = [basic_of_three(3, 100), message.body[128..256].to_vec()].concat();
    assert_eq!(messages(&[parts[0].clone(), long, parts[2].clone()]), [message]);
}

#[test]
fn ch_1_ids_round_trip() {
    let ids = [2, 3, 63, 64, 65, 319, 320, 321, 65598, 65599];
    let sent: Vec<_> = ids.iter().map(|&csid| video(csid, csid, 200)).collect();
    assert_eq!(messages(&[written(&sent, 128)]), sent);
    let lens = written_chunks(&sent).into_iter().map(|chunk| (chunk.csid, chunk.basic_len));
    for (csid, len) in lens {
        assert_eq!(
            len,
            if csid < 64 {
                1
            } else if csid < 320 {
                2
            } else {
                3
            },
            "{csid}"
        );
    }
}

#[test]
fn ch_2_only_the_message_stream_id_is_little_endian() {
    let body = noise(0x0102, 1);
    let message = Msg::new(3, 0x0A_0B0C, 9, 0x0102_0304, &body);
    let header = [3, 0x0A, 0x0B, 0x0C, 0, 1, 2, 9, 4, 3, 2, 1];
    let parts = chunks(&header, &[0xC3], &body, 128);
    assert_eq!(messages(&parts), std::slice::from_ref(&message));
    assert_eq!(written(&[message], 128), parts.concat());
}

#[test]
fn ch_2_the_extended_timestamp_is_big_endian() {
    let message = Msg::new(3, 0x0102_0304, 8, 0x8000_0000, &[7]);
    let bytes = vec![3, 255, 255, 255, 0, 0, 1, 8, 0, 0, 0, 0x80, 1, 2, 3, 4, 7];
    assert_eq!(messages(std::slice::from_ref(&bytes)), std::slice::from_ref(&message));
    assert_eq!(written(&[message], 128), bytes);
}

#[test]
fn ch_3_type_3_that_begins_a_message_repeats_all_and_the_delta() {
    let got = messages(&[
        type_0(4, 1000, 2, 8, 7),
        vec![1, 1],
        // Behind a type 0 the delta is its timestamp.
        type_3(4, None),
        vec![2, 2],
        type_3(4, None),
        vec![3, 3],
        type_1(4, 40, 3, 9),
        vec![4, 4, 4],
        type_3(4, None),
        vec![5, 5, 5],
        type_2(4, 20),
        vec![6, 6, 6],
        type_3(4, None),
        vec![7, 7, 7],
        type_3(4, None),
        vec![8, 8, 8],
    ]);
    let expected = [
        Msg::new(4, 1000, 8, 7, &[1, 1]),
        Msg::new(4, 2000, 8, 7, &[2, 2]),
        Msg::new(4, 3000, 8, 7, &[3, 3]),
        Msg::new(4, 3040, 9, 7, &[4, 4, 4]),
        Msg::new(4, 3080, 9, 7, &[5, 5, 5]),
        Msg::new(4, 3100, 9, 7, &[6, 6, 6]),
        Msg::new(4, 3120, 9, 7, &[7, 7, 7]),
        Msg::new(4, 3140, 9, 7, &[8, 8, 8]),
    ];
    assert_eq!(got, expected);
}

#[test]
fn ch_3_type_3_repeats_an_extended_delta_too() {
    let got = messages(&[
        type_0(4, 0x100_0000, 1, 8, 1),
        vec![1],
        type_3(4, Some(0x100_0000)),
        vec![2],
        type_2(4, 0x200_0000),
        vec![3],
        type_3(4, Some(0x200_0000)),
        vec![4],
    ]);
    let times: Vec<_> = got.iter().map(|message| message.time).collect();
    assert_eq!(times, [0x100_0000, 0x200_0000, 0x400_0000, 0x600_0000]);
    assert_eq!(got[3].body, [4]);
}

#[test]
fn ch_3_type_3_that_continues_a_message_does_not_advance_time() {
    let body = noise(300, 3);
    let next = type_3(6, None);
    let mut parts = chunks(&type_0(6, 1000, 300, 9, 1), &next, &body, 128);
    parts.extend(chunks(&type_2(6, 40), &next, &body, 128));
    parts.extend(chunks(&next, &next, &body, 128));
    let times: Vec<_> = messages(&parts).iter().map(|message| message.time).collect();
    assert_eq!(times, [1000, 1040, 1080]);
}

#[test]
fn ch_3_deltas_run_on_across_the_wrap() {
    let got = messages(&[
        type_0(4, 0xFFFF_FFF0, 1, 8, 1),
        vec![1],
        type_2(4, 20),
        vec![2],
        type_3(4, None),
        vec![3],
    ]);
    let times: Vec<_> = got.iter().map(|message| message.time).collect();
    assert_eq!(times, [0xFFFF_FFF0, 4, 24]);
}

#[test]
fn ch_4_the_extended_field_is_read_exactly_behind_ffffff() {
    for time in TIMES {
        let headers = [type_0(4, time, 3, 9, 1), type_1(4, time, 3, 9), type_2(4, time)];
        let field_len = if time == 0xFF_FFFE { 0 } else { 4 };
        let lens = headers.each_ref().map(|header| header.len());
        assert_eq!(lens, [12, 8, 4].map(|len| len + field_len), "this test's own headers");
        let [absolute, with_len, with_delta] = headers;
        let body = vec![1, 2, 3];
        let got = messages(&[absolute, body.clone()]);
        assert_eq!(got, [Msg::new(4, time, 9, 1, &body)], "type 0 of {time:#x}");
        for (fmt, header) in [(1, with_len), (2, with_delta)] {
            // A delta, not an absolute time; it may wrap.
            let before = [type_0(4, 1000, 3, 9, 1), vec![9, 9, 9]].concat();
            let got = messages(&[before, header, body.clone()]);
            let expected = Msg::new(4, time.wrapping_add(1000), 9, 1, &body);
            assert_eq!(got[1..], [expected], "type {fmt} of {time:#x}");
        }
    }
}

#[test]
fn ch_4_the_extended_field_may_hold_less_than_ffffff() {
    // Nobody has to write this, but it says what it says.
    let bytes = vec![4, 255, 255, 255, 0, 0, 1, 8, 1, 0, 0, 0, 0, 0, 0, 5, 0xAF];
    assert_eq!(messages(&[bytes]), [audio(4, 5, &[0xAF])]);
}

#[test]
fn ch_4_the_extended_field_is_written_exactly_from_ffffff_on() {
    for time in TIMES {
        let chunks = written_chunks(&[audio(4, time, &[1])]);
        assert_eq!((chunks[0].fmt, chunks[0].extended), (0, extended(time)));
        // Behind another time, on types 1 (another length) and 2 or as an absolute time: it is the
        // decoder that insists on the field, and `written_chunks` on the time.
        for (fmt, body) in [(1, &[1, 2][..]), (2, &[1])] {
            let sent = [audio(4, 1000, &[1]), audio(4, time.wrapping_add(1000), body)];
            let second = &written_chunks(&sent)[1];
            assert!([fmt, 0].contains(&second.fmt), "{second:?}");
        }
    }
    // The largest delta without the field.
    let sent = [audio(4, 0xFF_FFFE, &[1]), audio(4, 0x1FF_FFFC, &[2])];
    let chunks = written_chunks(&sent);
    assert_eq!((chunks[1].fmt, chunks[1].extended), (2, None));
}

#[test]
fn ch_5_type_3_repeats_the_extended_timestamp() {
    for time in [0xFF_FFFF, 0x100_0000, 0x7FFF_FFFF] {
        // Another length, and then the same twice, with the same step; 3 chunks each.
        let sent = [
            video(6, time, 300),
            video(6, time.wrapping_mul(2), 301),
            video(6, time.wrapping_mul(3), 301),
            video(6, time.wrapping_mul(4), 301),
        ];
        // The decoder insists on the repetition; this says that there was something to repeat.
        let chunks = written_chunks(&sent);
        assert_eq!(chunks.len(), 12);
        assert!(chunks[..3].iter().all(|chunk| chunk.extended == Some(time)), "{chunks:?}");
        assert_eq!(chunks[1..3].iter().map(|chunk| chunk.fmt).collect::<Vec<_>>(), [3, 3]);
        assert_eq!(messages(&[written(&sent, 128)]), sent, "and is read back");
    }
}

#[test]
fn ch_5_a_stream_goes_on_at_4_h_39_min() {
    let sent: Vec<_> = (0..6).map(|index| video(6, 0xFF_FFFF - 90 + index * 40, 150)).collect();
    assert_eq!(messages(&[written(&sent, 128)]), sent);
    assert_eq!(Decoder::of(&written(&sent, 128)).messages, sent);
    // A writer that starts here says the time in full, and later no more.
    let extended: Vec<_> = written_chunks(&sent[3..]).iter().map(|c| c.extended).collect();
    let first = Some(sent[3].time);
    assert_eq!(extended, [first, first, None, None, None, None]);
}

#[test]
fn ch_5_nothing_is_repeated_behind_a_header_without_the_field() {
    // Payloads that look like the field that was there before.
    let body = vec![1, 0, 0, 0, 7];
    let got = messages(&[
        type_0(4, 0x100_0000, 5, 8, 1),
        body.clone(),
        type_1(4, 20, 5, 8),
        body.clone(),
        type_3(4, None),
        body.clone(),
    ]);
    assert_eq!(got.iter().map(|message| &message.body).collect::<Vec<_>>(), [&body; 3]);
}

#[test]
fn ch_5_type_3_that_repeats_is_read() {
    let time = 0x0200_0001;
    let sent = [video(6, time, 400), video(6, time, 129)];
    let mut parts = sent[0].chunks(128);
    parts.extend(sent[1].chunks(128));
    assert_eq!(messages(&parts), sent);
}

#[test]
fn ch_6_type_3_that_does_not_repeat_is_read_too() {
    let (body, next) = (noise(400, 6), type_3(6, None));
    for time in [0xFF_FFFF, 0x100_0000, 0x8765_4321] {
        let mut parts = chunks(&type_0(6, time, 400, 9, 1), &next, &body, 128);
        parts.extend(chunks(&type_1(6, time, 399, 9), &next, &body[1..], 128));
        parts.extend(chunks(&type_2(6, time), &next, &body[..399], 128));
        // A new message, with nothing repeated either.
        parts.extend(chunks(&next, &next, &body[1..], 128));
        let times = [1, 2, 3, 4].map(|factor| time.wrapping_mul(factor));
        let expected = [
            Msg::new(6, times[0], 9, 1, &body),
            Msg::new(6, times[1], 9, 1, &body[1..]),
            Msg::new(6, times[2], 9, 1, &body[..399]),
            Msg::new(6, times[3], 9, 1, &body[1..]),
        ];
        assert_eq!(messages(&parts), expected, "{time:#x}");
    }
}

#[test]
fn ch_6_a_short_last_chunk_that_does_not_repeat_is_read() {
    for len in 129..136 {
        let mut body = noise(len, len as u32);
        // The first three bytes could still be the field; what follows is not, message or header.
        for (index, byte) in body[128..].iter_mut().enumerate() {
            *byte = [1, 2, 3, 5][index % 4];
        }
        let mut parts = chunks(&type_0(6, 0x0102_0304, len, 9, 1), &type_3(6, None), &body, 128);
        parts.push(audio(5, 7, &[0xAF]).bytes(128));
        let expected = [Msg::new(6, 0x0102_0304, 9, 1, &body), audio(5, 7, &[0xAF])];
        assert_eq!(messages(&parts), expected, "{len} bytes");
    }
}

#[test]
fn ch_6_a_message_whose_last_byte_differs_is_not_held_back() {
    let mut body = noise(129, 9);
    body[128] = 9;
    let parts = chunks(&type_0(6, 0x0102_0304, 129, 9, 1), &type_3(6, None), &body, 128);
    assert_eq!(messages(&parts), [Msg::new(6, 0x0102_0304, 9, 1, &body)]);
}

/// All orders in which the lists can be interleaved, each list in its own order.
fn interleavings(lists: &[Vec<Vec<u8>>]) -> Vec<Vec<Vec<u8>>> {
    if lists.iter().all(|list| list.is_empty()) {
        return vec![vec![]];
    }
    let mut all = vec![];
    for (index, list) in lists.iter().enumerate() {
        let Some((first, rest)) = list.split_first() else { continue };
        let mut others = lists.to_vec();
        others[index] = rest.to_vec();
        for tail in interleavings(&others) {
            all.push([vec![first.clone()], tail].concat());
        }
    }
    all
}

fn sorted(mut messages: Vec<Msg>) -> Vec<Msg> {
    messages.sort_by_key(|message| (message.csid, message.time));
    messages
}

#[test]
fn ch_7_interleaved_chunk_streams_reassemble() {
    let sent = [
        user_control(3, &[0, 0, 0, 1, 0, 0, 0, 100]),
        audio(4, 10, &noise(150, 4)),
        video(6, 11, 290),
    ];
    let orders = interleavings(&sent.each_ref().map(|message| message.chunks(128)));
    assert_eq!(orders.len(), 60);
    for order in orders {
        assert_eq!(sorted(messages(&order)), sent);
    }
}

#[test]
fn ch_7_messages_end_in_the_order_of_their_last_chunks() {
    let (long, short) = (video(6, 11, 290), audio(4, 10, &[1, 2]));
    let mut parts = long.chunks(128);
    parts.insert(1, short.bytes(128));
    assert_eq!(messages(&parts), [short, long]);
}

#[test]
fn ch_7_a_ping_inside_a_video_message_is_answered_and_the_video_goes_on() {
    let frame = Msg::new(6, 20, 9, 1, &[&[0x17, 1, 0, 0, 0][..], &noise(300, 1)].concat());
    let opening = [handshake(), opening("publish", "stream")].concat();
    let mut parts = frame.chunks(128);
    parts.insert(1, user_control(6, &[1, 2, 3, 4]).bytes(128));
    let (seen, pongs) = however_cut(&parts, |pieces| {
        let mut server = Server::fed(&[opening.clone().into()]);
        pieces.iter().for_each(|piece| server.receive(piece.clone()));
        let pongs = server.answers(4);
        (
            server.seen.pop(),
            pongs.into_iter().filter(|body| body[..2] == [0, 7]).collect::<Vec<_>>(),
        )
    });
    assert_eq!(seen, Some(crate::wire::Seen::Tag(20, frame.body)));
    assert_eq!(pongs, [[0, 7, 1, 2, 3, 4]]);
}

#[test]
fn ch_8_set_chunk_size_applies_to_the_very_next_chunk() {
    for size in [1, 2, 100, 127, 129, 171, 172, 173, 4096, 0xFF_FFFF] {
        let (first, second) = (video(6, 40, 300), audio(4, 41, &noise(200, 8)));
        let mut parts = vec![first.chunks(128).swap_remove(0), set_chunk_size(size).bytes(128)];
        let rest = first.body[128..].chunks(size as usize);
        parts.extend(rest.map(|part| [basic(3, 6), part.to_vec()].concat()));
        parts.extend(second.chunks(size as usize));
        assert_eq!(messages(&parts), [set_chunk_size(size), first, second], "{size}");
    }
}

#[test]
fn ch_8_set_chunk_size_may_itself_come_in_chunks() {
    // Chunks of one byte, until the last byte of the message that ends them.
    let frame = video(6, 40, 20);
    let mut parts = vec![set_chunk_size(1).bytes(128)];
    parts.extend(frame.chunks(1).into_iter().take(5));
    parts.extend(set_chunk_size(10).chunks(1));
    parts.extend(frame.body[5..].chunks(10).map(|part| [basic(3, 6), part.to_vec()].concat()));
    assert_eq!(messages(&parts), [set_chunk_size(1), set_chunk_size(10), frame]);
}

#[test]
fn ch_9_a_message_takes_as_many_chunks_as_it_must() {
    for size in [1, 2, 128, 4096] {
        for len in [0, 1, size - 1, size, size + 1, 2 * size, 2 * size + 1, 3 * size] {
            let sent = [video(6, 40, len), video(6, 80, 5)];
            let mut parts = vec![set_chunk_size(size as u32).bytes(128)];
            parts.extend(sent[0].chunks(size));
            assert_eq!(parts.len() - 1, len.div_ceil(size).max(1), "this test's own chunks");
            parts.extend(sent[1].chunks(size));
            let got = match len {
                0..1000 => messages(&parts),
                // Cutting these everywhere takes minutes.
                _ => {
                    let (got, error) = read(&pieces(&parts), ChunkLimits::default());
                    assert_eq!(error, None);
                    got
                }
            };
            assert_eq!(got[1..], sent, "{len} bytes in chunks of {size} are read");
            let bytes = written(&sent, size as u32);
            let decoder = Decoder::of(&bytes);
            // The size that both sides begin with was not announced.
            let of_set_chunk_size = usize::from(size != 128);
            let messages = &decoder.messages[of_set_chunk_size..];
            assert_eq!(messages, sent, "{len} bytes in chunks of {size} are written");
            let of_the_second = 5usize.div_ceil(size);
            let count = decoder.chunks.len() - of_set_chunk_size - of_the_second;
            assert_eq!(count, len.div_ceil(size).max(1), "{len} bytes in chunks of {size}");
        }
    }
}

fn pieces(parts: &[Vec<u8>]) -> Vec<Bytes> {
    parts.iter().map(|part| Bytes::copy_from_slice(part)).collect()
}

#[test]
fn ch_9_a_body_in_slices_is_cut_like_one_in_one_piece() {
    let message = video(6, 40, 1000);
    for len in [1, 100, 128, 129, 500, 1000] {
        let rope: Rope = message.body.chunks(len).map(Bytes::copy_from_slice).collect();
        let mut bytes = vec![];
        ChunkWriter::new().write_rope(header_of(&message), &rope, &mut bytes);
        assert_eq!(bytes, written(std::slice::from_ref(&message), 128), "slices of {len}");
    }
}

#[test]
fn ch_10_another_length_in_the_middle_drops_the_message_or_ends_the_session() {
    for (announced, then) in [(300, 10), (300, 1000), (300, 0xFF_FFFF), (10_000, 129), (300, 0)] {
        for fmt in [0, 1] {
            let header = match fmt {
                0 => type_0(6, 50, then, 9, 1),
                _ => type_1(6, 10, then, 9),
            };
            let old = vec![0x0D; 128];
            let body = vec![0xEE; then.min(2000)];
            let mut parts = vec![[type_0(6, 40, announced, 9, 1), old].concat()];
            parts.extend(chunks(&header, &type_3(6, None), &body, 128));
            let (got, error) = however_cut(&parts, |pieces| read(pieces, ChunkLimits::default()));
            let then = format!("type {fmt}, {announced} then {then}: {got:?}, {error:?}");
            match &got[..] {
                // Still to come, or the end.
                [] => assert!(error.is_some() || body.len() > 1000, "{then}"),
                [message] => assert_eq!((&message.body, error), (&body, None), "{then}"),
                _ => panic!("{then}"),
            }
        }
    }
}

#[test]
fn ch_10_a_chunk_stream_goes_on_behind_a_dropped_message() {
    let mut parts = vec![[type_0(6, 40, 300, 9, 1), vec![0x0D; 128]].concat()];
    let next = [video(6, 80, 500), video(6, 90, 3)];
    parts.extend(next.iter().flat_map(|message| message.chunks(128)));
    let (got, error) = however_cut(&parts, |pieces| read(pieces, ChunkLimits::default()));
    assert!(next.starts_with(&got), "{got:?}");
    assert!(error.is_some() || got == next, "{got:?}");
}

/// One chunk of a message that never ends, on a chunk stream of its own.
fn beginning(csid: u32, len: usize) -> Vec<u8> {
    [type_0(csid, 0, len, 9, 1), vec![0; 128]].concat()
}

#[test]
fn ch_11_more_chunk_streams_than_allowed_end_the_session() {
    let limits = ChunkLimits { chunk_streams_max: 10, ..Default::default() };
    let mut reader = ChunkReader::new(limits);
    for csid in 2..12 {
        let message = audio(csid, 0, &[1]).bytes(128);
        assert!(matches!(reader.read(&mut message.into()), Ok(Some(_))), "{csid}");
    }
    let message = audio(12, 0, &[1]).bytes(128);
    let error = reader.read(&mut message.into()).unwrap_err();
    assert!(matches!(error, ChunkError::TooManyChunkStreams { max: 10, .. }), "{error}");
}

#[test]
fn ch_11_more_unfinished_messages_than_allowed_end_the_session() {
    let limits = ChunkLimits { unfinished_messages_max: 5, ..Default::default() };
    let mut reader = ChunkReader::new(limits);
    for csid in 2..7 {
        assert!(matches!(reader.read(&mut beginning(csid, 1000).into()), Ok(None)), "{csid}");
    }
    let error = reader.read(&mut beginning(7, 1000).into()).unwrap_err();
    assert!(matches!(error, ChunkError::TooManyUnfinishedMessages { max: 5, .. }), "{error}");
}

#[test]
fn ch_11_a_length_over_the_limit_is_refused_when_it_is_announced() {
    let limits = ChunkLimits { message_len_max: 1000, ..Default::default() };
    let header = |len| Bytes::from(type_0(6, 0, len, 9, 1));
    assert!(matches!(ChunkReader::new(limits).read(&mut header(1000)), Ok(None)));
    let error = ChunkReader::new(limits).read(&mut header(1001)).unwrap_err();
    assert!(matches!(error, ChunkError::MessageTooLong { len: 1001, max: 1000, .. }), "{error}");
}

#[test]
fn ch_11_memory_follows_bytes_received_not_lengths_announced() {
    let limits = ChunkLimits {
        message_len_max: 0xFF_FFFF,
        chunk_streams_max: 60_000,
        unfinished_messages_max: 60_000,
        buffered_bytes_max: 1 << 20,
        ..Default::default()
    };
    let held = Arc::new(AtomicUsize::new(0));
    let mut reader = ChunkReader::new(limits);
    let mut received = 0;
    let error = (2..60_000).find_map(|csid| {
        let bytes = beginning(csid, 0xFF_FFFF);
        received += bytes.len();
        let result = reader.read(&mut block(bytes, &held)).err();
        let held = held.load(Ordering::Relaxed);
        assert!(held <= limits.buffered_bytes_max + 200, "{held} bytes held");
        result
    });
    let error = error.expect("an end, long before 60,000 chunk streams");
    assert!(matches!(error, ChunkError::TooMuchBuffered { max: 0x10_0000, .. }), "{error}");
    // A hundred times 16 MiB were announced before a tenth of one was received.
    assert!(received > limits.buffered_bytes_max / 10, "ended after {received} bytes");
    drop(reader);
    assert_eq!(held.load(Ordering::Relaxed), 0, "all is given back");
}

#[test]
fn ch_11_the_bound_is_on_what_is_kept_not_on_what_flows_through() {
    let limits = ChunkLimits { buffered_bytes_max: 10_000, ..Default::default() };
    let held = Arc::new(AtomicUsize::new(0));
    let mut reader = ChunkReader::new(limits);
    for time in 0..100 {
        let bytes = video(6, time, 5000).bytes(128);
        assert!(reader.read(&mut block(bytes, &held)).unwrap().is_some());
        assert_eq!(held.load(Ordering::Relaxed), 0, "a message taken is not kept");
    }
}

#[test]
fn ch_11_only_the_session_that_asked_too_much_ends() {
    let limits = ConnectionLimits::default();
    let (mut good, mut bad) = (Server::open(), Server::open());
    let mut sent = 0;
    for csid in 6..6006 {
        let bytes = beginning(csid, limits.chunks.message_len_max);
        sent += bytes.len();
        bad.receive(bytes);
        if bad.is_closed() {
            break;
        }
    }
    assert!(bad.has_failed(), "{sent} bytes of endless messages were taken");
    assert!(good.is_alive());
    let mut long = Server::open();
    long.receive(beginning(6, 0xFF_FFFF));
    assert!(long.has_failed() || long.is_alive());
}

/// The smallest header type that says what differs from the message before on the chunk stream
/// (RTMP 5.3.1.2). The server departs from it twice. Type 3 is not used where the header before
/// was of type 0: by RTMP 5.3.1.2.4 it would repeat the timestamp as a delta, but readers disagree,
/// and type 2 says it to all. And where a delta would need the extended field, the absolute time
/// is said instead: 16777215 ms of silence are a new start.
fn most_compact(before: Option<(&Msg, u8, u32)>, message: &Msg) -> u8 {
    let Some((last, fmt, delta)) = before else { return 0 };
    let step = message.time.wrapping_sub(last.time);
    let same = (last.body.len(), last.type_id) == (message.body.len(), message.type_id);
    match () {
        () if last.stream_id != message.stream_id || step >= 0xFF_FFFF => 0,
        () if !same => 1,
        () if fmt == 0 || delta != step => 2,
        () => 3,
    }
}

/// Whether every header of `decoder` is the smallest that says what it says.
fn assert_compact(decoder: &Decoder) {
    let mut last: BTreeMap<u32, (&Msg, u8, u32)> = BTreeMap::new();
    let mut messages = decoder.messages.iter();
    for chunk in &decoder.chunks {
        let smallest = match chunk.csid {
            ..64 => 1,
            64..320 => 2,
            _ => 3,
        };
        assert_eq!(chunk.basic_len, smallest, "{chunk:?}");
        if chunk.begins {
            let message = messages.next().unwrap();
            let before = last.get(&chunk.csid).copied();
            assert_eq!(chunk.fmt, most_compact(before, message), "{before:?}, {message:?}");
            let delta = before.map_or(0, |(last, ..)| message.time.wrapping_sub(last.time));
            last.insert(chunk.csid, (message, chunk.fmt, delta));
        } else {
            assert_eq!(chunk.fmt, 3, "{chunk:?}");
        }
    }
}

#[test]
fn ch_12_the_writer_uses_the_smallest_headers() {
    let sent = [
        (Msg::new(4, 1000, 8, 1, &[1]), 0),
        (Msg::new(4, 1040, 8, 1, &[2]), 2),
        (Msg::new(4, 1080, 8, 1, &[3]), 3),
        (Msg::new(4, 1120, 8, 1, &[4]), 3),
        (Msg::new(4, 1121, 8, 1, &[5]), 2),
        (Msg::new(4, 1122, 9, 1, &[6]), 1),
        (Msg::new(4, 1123, 9, 1, &[7]), 3),
        (Msg::new(4, 1124, 9, 1, &[8, 8]), 1),
        (Msg::new(4, 1125, 9, 2, &[9, 9]), 0),
        // Back in time: type 0 (RTMP 5.3.1.2.1).
        (Msg::new(4, 1124, 9, 2, &[9, 9]), 0),
        (Msg::new(5, 1124, 9, 2, &[9, 9]), 0),
        (Msg::new(70, 1124, 9, 2, &[9, 9]), 0),
        (Msg::new(400, 1124, 9, 2, &[9, 9]), 0),
        (Msg::new(4, 1124, 9, 2, &[1, 1]), 2),
        (Msg::new(4, 1124, 9, 2, &[2, 2]), 3),
    ];
    let (sent, types): (Vec<_>, Vec<u8>) = sent.into_iter().unzip();
    let decoder = Decoder::of(&written(&sent, 128));
    assert_eq!(decoder.messages, sent);
    assert_eq!(decoder.chunks.iter().map(|chunk| chunk.fmt).collect::<Vec<_>>(), types);
    assert_compact(&decoder);
}

#[test]
fn ch_12_the_writer_steps_over_the_wrap_without_a_new_start() {
    let sent = [audio(4, 0xFFFF_FFF0, &[1]), audio(4, 4, &[2]), audio(4, 24, &[3])];
    let types: Vec<_> = written_chunks(&sent).iter().map(|chunk| chunk.fmt).collect();
    assert_eq!(types, [0, 2, 3]);
}

#[test]
fn ch_12_a_connection_uses_the_smallest_headers() {
    for verb in ["publish", "play"] {
        let mut server = Server::open();
        server.receive(opening(verb, "stream"));
        for data in 0..5 {
            server.say(&user_control(6, &[data; 4]));
        }
        let answer = server.answer();
        assert!(answer.messages.len() > 10);
        assert_compact(&answer);
    }
}

/// A message to be sent, and with which of the header types that can express it.
#[derive(Clone, Debug)]
struct Plan {
    step: u32,
    type_id: u8,
    len: usize,
    header: u8,
}

fn plan() -> impl Strategy<Value = Plan> {
    let step = prop_oneof![
        4 => 0u32..100,
        2 => Just(0),
        1 => 0xFF_FFF0u32..0x100_0010,
        1 => any::<u32>(),
    ];
    let len = prop_oneof![2 => Just(0usize), 4 => 1usize..700, 2 => Just(128), 2 => Just(256)];
    (step, prop::sample::select(vec![8u8, 9, 18]), len, 0u8..4)
        .prop_map(|(step, type_id, len, header)| Plan { step, type_id, len, header })
}

/// What is left to send of one chunk stream.
struct Sender {
    csid: u32,
    plans: std::vec::IntoIter<Plan>,
    before: Option<Msg>,
    /// The last header's delta, and what type 3 repeats of it.
    delta: u32,
    /// Whether it does; some peers do not (CH-6).
    repeats: bool,
    current: Option<(Msg, usize)>,
}

impl Sender {
    fn type_3(&self) -> Vec<u8> {
        type_3(self.csid, extended(self.delta).filter(|_| self.repeats))
    }

    /// The next chunk, and the message if it is its last. `None`: all was sent.
    fn chunk(&mut self, chunk_size: usize) -> Option<(Vec<u8>, Option<Msg>)> {
        let (header, message, start) = match self.current.take() {
            Some((message, start)) => (self.type_3(), message, start),
            None => {
                let (header, message) = self.begin()?;
                (header, message, 0)
            }
        };
        let end = message.body.len().min(start + chunk_size);
        let bytes = [&header, &message.body[start..end]].concat();
        if end < message.body.len() {
            self.current = Some((message, end));
            return Some((bytes, None));
        }
        self.before = Some(message.clone());
        Some((bytes, Some(message)))
    }

    /// The header that is asked for, if it can say it; else the next that can.
    fn begin(&mut self) -> Option<(Vec<u8>, Msg)> {
        let Plan { step, type_id, len, header } = self.plans.next()?;
        let body = noise(len, step ^ self.csid);
        let Some(before) = &self.before else {
            self.delta = step;
            let message = Msg::new(self.csid, step, type_id, 1, &body);
            return Some((type_0(self.csid, step, len, type_id, 1), message));
        };
        let same = (before.type_id, before.body.len()) == (type_id, len);
        let time = before.time.wrapping_add(step);
        let message = Msg::new(self.csid, time, type_id, 1, &body);
        let bytes = match header {
            3 if same && step == self.delta => self.type_3(),
            2.. if same => type_2(self.csid, step),
            1.. => type_1(self.csid, step, len, type_id),
            0 => type_0(self.csid, time, len, type_id, 1),
        };
        self.delta = if header == 0 { time } else { step };
        Some((bytes, message))
    }
}

/// What happens next on the wire: a chunk of one of the chunk streams, or another chunk size.
#[derive(Clone, Debug)]
enum Next {
    Chunk(usize),
    Size(u32),
}

fn next() -> impl Strategy<Value = Next> {
    let size = prop_oneof![1u32..10, 10u32..1000, Just(128), Just(0x7FFF_FFFF)];
    prop_oneof![
        8 => (0usize..60).prop_map(Next::Chunk),
        1 => size.prop_map(Next::Size),
    ]
}

fn csids() -> impl Strategy<Value = Vec<u32>> {
    let csid = prop_oneof![3u32..64, 64u32..320, 320u32..65600];
    prop::collection::btree_set(csid, 1..=5).prop_map(|ids| ids.into_iter().collect())
}

/// Pieces of the given lengths, over and over.
fn cut(bytes: &Bytes, lens: &[usize]) -> Vec<Bytes> {
    let (mut rest, mut pieces) = (bytes.clone(), vec![]);
    for &len in lens.iter().cycle() {
        if rest.is_empty() {
            break;
        }
        pieces.push(rest.split_to(len.min(rest.len())));
    }
    pieces
}

/// Bytes that are chunks more often than chance would have it.
fn nearly_chunks() -> impl Strategy<Value = Vec<u8>> {
    let csid = || prop::sample::select(vec![2u32, 3, 4, 64, 320]);
    let time = || prop_oneof![0u32..100, 0xFF_FFF0u32..0x100_0010, any::<u32>()];
    let len = || prop_oneof![4 => 0usize..300, 1 => 0usize..0x100_0000];
    let type_id = || prop_oneof![4 => 0u8..24, 1 => any::<u8>()];
    let piece = prop_oneof![
        (csid(), time(), len(), type_id(), 0u32..3)
            .prop_map(|(csid, time, len, kind, id)| type_0(csid, time, len, kind, id)),
        (csid(), time(), len(), type_id())
            .prop_map(|(csid, delta, len, kind)| type_1(csid, delta, len, kind)),
        (csid(), time()).prop_map(|(csid, delta)| type_2(csid, delta)),
        (csid(), prop::option::of(time())).prop_map(|(csid, time)| type_3(csid, time)),
        (0usize..300, any::<u32>()).prop_map(|(len, seed)| noise(len, seed)),
        prop_oneof![0u32..300, any::<u32>()].prop_map(|size| set_chunk_size(size).bytes(128)),
        (0u32..70).prop_map(|csid| Msg::control(2, &csid.to_be_bytes()).bytes(128)),
        prop::collection::vec(any::<u8>(), 0..50),
    ];
    prop::collection::vec(piece, 0..30).prop_map(|pieces| pieces.concat())
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 500, failure_persistence: None, ..Default::default() })]

    /// CH-6 to CH-9 at once.
    #[test]
    fn ch_6_to_9_any_interleaving_with_any_chunk_sizes_reassembles(
        csids in csids(),
        plans in prop::collection::vec(prop::collection::vec(plan(), 0..5), 5),
        steps in prop::collection::vec(next(), 0..60),
        repeats in any::<bool>(),
        lens in prop::collection::vec(1usize..300, 1..5),
    ) {
        let sender = |(csid, plans): (u32, Vec<Plan>)| {
            let plans = plans.into_iter();
            Sender { csid, plans, before: None, delta: 0, repeats, current: None }
        };
        let mut senders: Vec<_> = csids.into_iter().zip(plans).map(sender).collect();
        let (mut chunk_size, mut bytes, mut sent) = (128, vec![], vec![]);
        let to_the_end = std::iter::repeat(Next::Chunk(0));
        for step in steps.into_iter().chain(to_the_end) {
            if senders.is_empty() {
                break;
            }
            match step {
                Next::Size(size) => {
                    bytes.extend(set_chunk_size(size).bytes(chunk_size));
                    sent.push(set_chunk_size(size));
                    chunk_size = size as usize;
                }
                Next::Chunk(index) => {
                    let index = index % senders.len();
                    match senders[index].chunk(chunk_size) {
                        None => drop(senders.remove(index)),
                        Some((chunk, done)) => {
                            bytes.extend(chunk);
                            sent.extend(done);
                        }
                    }
                }
            }
        }
        // If the last byte of all could still be a timestamp's, this tells.
        bytes.extend(user_control(6, &[0; 4]).bytes(chunk_size));
        sent.push(user_control(6, &[0; 4]));
        let bytes = Bytes::from(bytes);
        let limits = ChunkLimits::default();
        let got = read(std::slice::from_ref(&bytes), limits);
        prop_assert_eq!(&got, &(sent, None));
        prop_assert_eq!(read(&cut(&bytes, &lens), limits), got);
    }

    #[test]
    fn arbitrary_chunks_never_panic(
        bytes in prop_oneof![nearly_chunks(), prop::collection::vec(any::<u8>(), 0..2000)],
        lens in prop::collection::vec(1usize..100, 1..5),
    ) {
        let limits = ChunkLimits::default();
        let bytes = Bytes::from(bytes);
        let whole = read(std::slice::from_ref(&bytes), limits);
        prop_assert_eq!(read(&cut(&bytes, &lens), limits), whole);
    }

    #[test]
    fn arbitrary_bytes_into_a_connection_never_panic(
        opened in 0..3,
        bytes in prop_oneof![nearly_chunks(), prop::collection::vec(any::<u8>(), 0..2000)],
        lens in prop::collection::vec(1usize..100, 1..5),
    ) {
        let before = match opened {
            0 => vec![],
            1 => handshake(),
            _ => [handshake(), opening("publish", "stream")].concat(),
        };
        let bytes = Bytes::from([before, bytes].concat());
        let whole = Server::fed(std::slice::from_ref(&bytes));
        let cut = Server::fed(&cut(&bytes, &lens));
        prop_assert_eq!(cut.seen, whole.seen);
    }
}
