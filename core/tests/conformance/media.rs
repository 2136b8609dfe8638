//! §6: media through RTMP, and what §8 says of joiners.

use std::time::Duration;

use forebay::hub::{HubLimits, Policy, RingLimits};

use crate::camera::{
    Camera, Picture, Seen, What, as_played, decode, decode_with_losses, on_meta_data,
    set_data_frame, split_start, whats,
};
use crate::codec::{Amf, Media, Message, amf, message_type};
use crate::studio::{FlvPeer, Peer, Pieces, Studio};

type Player = (Peer, u32);

/// One player of each protocol.
fn players(studio: &mut Studio) -> (Player, FlvPeer) {
    (studio.player("cam"), studio.flv_player("cam"))
}

/// What both were given.
fn played(studio: &mut Studio, (rtmp, flv): (Player, FlvPeer)) -> [(&'static str, Vec<Media>); 2] {
    [("RTMP", studio.played(rtmp)), ("FLV", studio.played_flv(flv))]
}

/// What a joiner was given, the same on both outputs but for the time of the headers: an FLV file
/// begins at 0.
fn played_alike(studio: &mut Studio, players: (Player, FlvPeer)) -> Vec<Media> {
    let [(_, rtmp), (_, flv)] = played(studio, players);
    assert_eq!(whats(&rtmp), whats(&flv));
    let frames = [&rtmp, &flv].map(|given| split_start(given).1);
    assert_eq!(frames[0], frames[1]);
    rtmp
}

fn data(type_id: u8, body: Vec<u8>) -> Message {
    Message { type_id, stream_id: 1, time: 0, body }
}

#[test]
fn md_1_set_data_frame_is_removed_and_on_meta_data_comes_first() {
    let entries = [("width", 1920.0.into()), ("stereo", true.into()), ("encoder", "x".into())];
    let object = Amf::object(&entries);
    let Amf::Object(list) = object.clone() else { unreachable!() };
    for value in [object, Amf::EcmaArray(list), Amf::Null] {
        let plain = amf(&["onMetaData".into(), value]);
        let marked = [amf(&["@setDataFrame".into()]), plain.clone()].concat();
        let amf3 = [&[0], &marked[..]].concat();
        let messages = [
            data(message_type::DATA, plain.clone()),
            data(message_type::DATA, marked),
            // Type 15 is AMF3, and what encoders put behind its first byte is AMF0.
            data(15, amf3),
        ];
        for message in messages {
            for pieces in [Pieces::Whole, Pieces::Bytes] {
                let mut studio = Studio::new();
                let early = players(&mut studio);
                let (encoder, stream_id) = studio.encoder("cam");
                assert_eq!(stream_id, 1);
                studio.pieces = pieces;
                let bytes = studio.message_bytes(encoder, 4, &message);
                studio.send_bytes(encoder, &bytes);
                studio.pieces = Pieces::Whole;
                let late = players(&mut studio);
                let expected = Media { kind: 18, time: 0, body: plain.clone() };
                for players in [early, late] {
                    for (protocol, given) in played(&mut studio, players) {
                        assert_eq!(given, std::slice::from_ref(&expected), "{protocol}");
                        assert_eq!(Amf::read_all(&given[0].body)[0], "onMetaData".into());
                    }
                }
            }
        }
    }
}

#[test]
fn md_1_changed_metadata_reach_players_and_replace_the_stored_copy() {
    for frames_behind in [0, 3, 8, 12] {
        let mut studio = Studio::new();
        let early = players(&mut studio);
        let encoder = studio.encoder("cam");
        let mut camera = Camera::legacy();
        let mut sent = camera.start();
        sent.extend(camera.run(5));
        sent.push(set_data_frame(camera.ms, 2.0));
        let changed = on_meta_data(0, 2.0).body;
        sent.extend(camera.run(frames_behind));
        studio.send_all(encoder, &sent);
        let late = players(&mut studio);
        studio.send_all(encoder, &camera.run(1));
        for (protocol, given) in played(&mut studio, early) {
            assert_eq!(given[..sent.len()], as_played(&sent), "{protocol}");
        }
        for (protocol, given) in played(&mut studio, late) {
            decode(&given);
            let metadata: Vec<_> = given.iter().filter(|m| m.kind == message_type::DATA).collect();
            assert_eq!(metadata[0].body, changed, "{protocol}: {frames_behind} frames later");
        }
    }
}

/// Both GStreamer sinks say their metadata about ten times a second.
#[test]
fn md_1_metadata_repeated_all_the_time_cost_nobody_a_picture() {
    let mut studio = Studio::new();
    let encoder = studio.encoder("cam");
    let early = players(&mut studio);
    let mut camera = Camera::legacy();
    let mut sent = camera.start();
    for n in 0..100 {
        sent.push(set_data_frame(camera.ms, f64::from(n % 2)));
        sent.extend(camera.run(1));
    }
    studio.send_all(encoder, &sent);
    let late = players(&mut studio);
    for (protocol, given) in played(&mut studio, early) {
        assert_eq!(given, as_played(&sent), "{protocol}");
    }
    for (protocol, given) in played(&mut studio, late) {
        assert_eq!(decode(&given).pictures, 4, "{protocol}");
    }
}

/// A stream whose video header changes in the middle of a group, as an encoder does it: the new
/// header and then a keyframe.
fn resolution_change(camera: &mut Camera) -> Vec<Media> {
    let mut sent = camera.start();
    sent.extend(camera.run(12));
    camera.video = 2;
    sent.push(camera.video_header());
    camera.cut();
    sent.extend(camera.run(12));
    sent
}

#[test]
fn md_2_a_new_video_header_reaches_players_in_order_and_joiners_alone() {
    for camera in [Camera::legacy(), Camera { color: 0, channels: 0, ..Camera::enhanced() }] {
        let sent = resolution_change(&mut camera.clone());
        let change = as_played(&sent).iter().position(|m| m.what() == What::VideoHeader(2));
        let change = change.unwrap();
        let mut studio = Studio::new();
        let early = players(&mut studio);
        let encoder = studio.encoder("cam");
        let mut joiners = Vec::new();
        for (index, media) in sent.iter().enumerate() {
            studio.send(encoder, media);
            joiners.push((index, players(&mut studio)));
        }
        for (protocol, given) in played(&mut studio, early) {
            assert_eq!(given, as_played(&sent), "{protocol}");
        }
        for (index, joiner) in joiners {
            for (protocol, given) in played(&mut studio, joiner) {
                let place = format!("{protocol}, joined behind {index}");
                let seen = decode(&given);
                assert!(seen.keyframes > 0, "{place}");
                if index >= change {
                    let has_old = whats(&given).contains(&What::VideoHeader(1));
                    assert!(!has_old, "{place}: {:?}", whats(&given));
                }
            }
        }
    }
}

/// A profile change of the audio in the middle of a group of pictures.
fn profile_change(check: impl Fn(&str, bool, &[Media])) {
    let mut camera = Camera::legacy();
    let mut sent = camera.start();
    sent.extend(camera.run(12));
    camera.audio = 2;
    sent.push(camera.audio_header());
    let change = sent.len();
    sent.extend(camera.run(12));
    let mut studio = Studio::new();
    let early = players(&mut studio);
    let encoder = studio.encoder("cam");
    let mut joiners = Vec::new();
    for (index, media) in sent.iter().enumerate() {
        studio.send(encoder, media);
        joiners.push((index, players(&mut studio)));
    }
    for (protocol, given) in played(&mut studio, early) {
        assert_eq!(given, as_played(&sent), "{protocol}");
    }
    for (index, joiner) in joiners {
        for (protocol, given) in played(&mut studio, joiner) {
            check(&format!("{protocol}, joined behind {index}"), index + 1 >= change, &given);
        }
    }
}

#[test]
fn md_2_a_new_audio_header_leaves_every_joiner_decodable() {
    profile_change(|_, _, given| {
        assert!(decode(given).sounds > 0);
    });
}

#[test]
fn md_2_a_joiner_gets_only_the_new_audio_header() {
    profile_change(|place, is_behind, given| {
        let has_old = whats(given).contains(&What::AudioHeader(1));
        assert!(!(is_behind && has_old), "{place}: {:?}", whats(given));
    });
}

#[test]
fn md_2_a_repeated_identical_header_is_no_change() {
    for repeat in [Camera::video_header, Camera::audio_header] {
        for at in 1..8 {
            let mut studio = Studio::new();
            let early = players(&mut studio);
            let encoder = studio.encoder("cam");
            let mut camera = Camera::legacy();
            let mut sent = camera.start();
            sent.extend(camera.run(at));
            sent.push(repeat(&camera));
            sent.extend(camera.run(8 - at));
            studio.send_all(encoder, &sent);
            let late = players(&mut studio);
            for (protocol, given) in played(&mut studio, early) {
                assert_eq!(given, as_played(&sent), "{protocol}");
            }
            for (protocol, given) in played(&mut studio, late) {
                let place = format!("{protocol}, repeated behind {at}");
                assert_eq!(decode(&given).pictures, 8, "{place}: the group was forgotten");
            }
        }
    }
}

#[test]
fn md_3_a_stream_crosses_2_to_the_31_and_2_to_the_32_on_every_output() {
    for boundary in [1 << 24, 1 << 31, 0_u32] {
        for padding in [20, 200_000] {
            let mut studio = Studio::new();
            let early = players(&mut studio);
            let encoder = studio.encoder("cam");
            let begin = boundary.wrapping_sub(410);
            let mut camera = Camera { ms: begin, padding, ..Camera::legacy() };
            studio.send_all(encoder, &camera.start());
            let mut sent = as_played(&camera.start());
            let mut joiners = Vec::new();
            for media in camera.run(20) {
                studio.send(encoder, &media);
                sent.push(media);
                joiners.push(players(&mut studio));
            }
            let times: Vec<_> = sent.iter().map(|media| media.time).collect();
            assert!(times.contains(&begin) && times.contains(&boundary.wrapping_add(30)));
            for (protocol, given) in played(&mut studio, early) {
                assert!(given == sent, "{protocol} over {boundary:#x}: {:?}", whats(&given));
            }
            for (index, joiner) in joiners.into_iter().enumerate() {
                for (protocol, given) in played(&mut studio, joiner) {
                    let place = format!("{protocol} over {boundary:#x}, joined behind {index}");
                    assert!(decode(&given).pictures > 0, "{place}");
                    let (headers, media) = split_start(&given);
                    assert!(sent.ends_with(media), "{place}");
                    for header in headers {
                        let late = header.time.wrapping_sub(media[0].time) as i32;
                        // An FLV file begins at 0, and metadata are of the whole stream.
                        let is_timely = (-1000..=0).contains(&late);
                        let is_first = (protocol == "FLV" || header.kind == 18) && header.time == 0;
                        assert!(is_timely || is_first, "{place}");
                    }
                }
            }
        }
    }
}

/// A player too slow for the stream while it crosses the boundary goes on behind it.
#[test]
fn md_3_a_slow_player_goes_on_behind_the_wrap() {
    for boundary in [1 << 31, 0_u32] {
        let mut studio = Studio::new();
        studio.policy = Policy { backlog_ms_max: 500, ..Policy::default() };
        let slow = studio.flv_player("cam");
        let encoder = studio.encoder("cam");
        let mut camera = Camera { ms: boundary.wrapping_sub(410), ..Camera::legacy() };
        studio.send_all(encoder, &camera.start());
        studio.send_all(encoder, &camera.run(3));
        studio.set_stuck(slow, true);
        studio.send_all(encoder, &camera.run(40));
        studio.set_stuck(slow, false);
        let sent = camera.run(20);
        studio.send_all(encoder, &sent);
        let given = studio.played_flv(slow);
        assert!(given.ends_with(&sent), "it did not go on");
        let seen = decode_with_losses(&given);
        assert!(seen.pictures < 63 && seen.pictures > 22, "{seen:?}");
    }
}

const JUMPS_MS: [i32; 8] =
    [-40, -1_500, -9_999, -3_600_000, 9_999, 60_000, 3_600_000, i32::MAX - 100];

/// Adds to the times of one kind, or of both.
fn shift(media: &mut [Media], kind: Option<u8>, ms: i32) {
    for media in media.iter_mut().filter(|media| kind.is_none_or(|kind| media.kind == kind)) {
        media.time = media.time.wrapping_add_signed(ms);
    }
}

#[test]
fn md_3_no_backward_step_or_jump_of_any_track_stops_an_output() {
    let tracks = [None, Some(message_type::AUDIO), Some(message_type::VIDEO)];
    for track in tracks {
        for jump in JUMPS_MS {
            let place = format!("track {track:?} by {jump} ms");
            let mut studio = Studio::new();
            studio.policy = Policy { backlog_ms_max: 500, ..Policy::default() };
            let early = players(&mut studio);
            let slow = studio.flv_player("cam");
            let encoder = studio.encoder("cam");
            let mut camera = Camera { ms: 10_000_000, ..Camera::legacy() };
            let mut sent = camera.start();
            sent.extend(camera.run(20));
            studio.send_all(encoder, &sent);
            studio.set_stuck(slow, true);

            let mut jumped = camera.run(100);
            shift(&mut jumped, track, jump);
            studio.send_all(encoder, &jumped);
            sent.extend(jumped);
            let late = players(&mut studio);
            studio.set_stuck(slow, false);
            let mut more = camera.run(20);
            shift(&mut more, track, jump);
            studio.send_all(encoder, &more);
            sent.extend(more.clone());

            assert!(studio.is_open(encoder.0), "{place} ended the session");
            for (protocol, given) in played(&mut studio, early) {
                assert!(given == as_played(&sent), "{place}: {protocol} {:?}", whats(&given));
            }
            for (protocol, given) in played(&mut studio, late) {
                assert!(given.ends_with(&more), "{place}: {protocol}");
                assert!((20..=28).contains(&decode(&given).pictures), "{place}: {protocol}");
            }
            let given = studio.played_flv(slow);
            assert!(given.ends_with(&more), "{place}: the slow one stopped");
            decode_with_losses(&given);
        }
    }
}

/// A part of an aggregate as FLV writes it, with a stream id that is to be ignored.
fn part(media: &Media, stream_id: u32) -> Vec<u8> {
    let mut part = vec![media.kind];
    part.extend(&(media.body.len() as u32).to_be_bytes()[1..]);
    part.extend(&media.time.to_be_bytes()[1..]);
    part.push((media.time >> 24) as u8);
    part.extend(&stream_id.to_be_bytes()[1..]);
    part.extend(&media.body);
    part.extend((11 + media.body.len() as u32).to_be_bytes());
    part
}

fn aggregate(parts: &[Media], part_stream_id: u32) -> Vec<u8> {
    parts.iter().flat_map(|media| part(media, part_stream_id)).collect()
}

/// Sends one aggregate behind the start of a stream, and says what players were given of it.
fn relayed_aggregate(body: &[u8], time: u32, pieces: Pieces, stream_index: usize) -> Vec<Media> {
    let mut studio = Studio::new();
    let encoder = studio.dial_app("live");
    let streams = ["first", "second"].map(|name| {
        let stream_id = studio.create_stream(encoder);
        studio.publish(encoder, stream_id, name);
        stream_id
    });
    let names = ["first", "second"];
    let players = names.map(|name| (studio.player(name), studio.flv_player(name)));
    for stream_id in streams {
        studio.send_all((encoder, stream_id), &Camera::legacy().start());
    }
    for players in players {
        played(&mut studio, players);
    }
    let type_id = message_type::AGGREGATE;
    let stream_id = streams[stream_index];
    let message = Message { type_id, stream_id, time, body: body.to_vec() };
    let bytes = studio.message_bytes(encoder, 7, &message);
    studio.pieces = pieces;
    studio.send_bytes(encoder, &bytes);
    studio.pieces = Pieces::Whole;
    assert!(studio.is_open(encoder), "closed: {:?}", studio.error(encoder));
    let [(_, rtmp), (_, flv)] = played(&mut studio, players[stream_index]);
    assert_eq!(rtmp, flv);
    for (protocol, given) in played(&mut studio, players[1 - stream_index]) {
        assert_eq!(given, [], "{protocol}: on the other stream");
    }
    rtmp
}

#[test]
fn md_4_an_aggregate_is_split_and_shifted_however_it_is_cut() {
    let mut camera = Camera { padding: 150, ..Camera::legacy() };
    // Time of the aggregate and of its first part.
    let times = [
        (1_000, 1_000),
        (1_000, 0),
        (0, 5_000),
        (90_000, 0xFF_FFF0),
        (0xFFFF_FFF0, 40),
        (7, 0xFFFF_FFF0),
        (1 << 31, 0x1234_5678),
    ];
    for (time, first) in times {
        camera.ms = first;
        camera.cut();
        let mut parts = camera.run(2);
        parts.push(on_meta_data(camera.ms, 3.0));
        // Parts need not be in order.
        parts.push(Media { time: first.wrapping_sub(20), ..camera.sound() });
        let expected: Vec<_> = parts
            .iter()
            .map(|media| {
                let time = media.time.wrapping_sub(first).wrapping_add(time);
                Media { time, ..media.clone() }
            })
            .collect();
        let body = aggregate(&parts, 1);
        let len = body.len() + 40;
        let whole = relayed_aggregate(&body, time, Pieces::Whole, 1);
        assert_eq!(whole, expected, "at {time}, first part at {first}");
        assert_eq!(relayed_aggregate(&body, time, Pieces::Bytes, 1), expected);
        if time == 1_000 {
            for at in 0..len {
                let given = relayed_aggregate(&body, time, Pieces::CutAt(at), 1);
                assert_eq!(given, expected, "cut at {at}");
            }
        }
    }
}

#[test]
fn md_4_the_aggregates_stream_id_wins() {
    let parts = Camera::legacy().run(3);
    for part_stream_id in [0, 1, 2, 0xFF_FFFF] {
        for stream_index in [0, 1] {
            let body = aggregate(&parts, part_stream_id);
            for pieces in [Pieces::Whole, Pieces::Bytes] {
                assert_eq!(relayed_aggregate(&body, 0, pieces, stream_index), parts);
            }
        }
    }
}

#[test]
fn md_4_set_data_frame_inside_an_aggregate_is_removed_too() {
    let mut camera = Camera::legacy();
    let mut parts = vec![set_data_frame(0, 4.0)];
    parts.extend(camera.run(1));
    let given = relayed_aggregate(&aggregate(&parts, 0), 0, Pieces::Whole, 0);
    assert_eq!(given, as_played(&parts));
}

/// A part of an unknown type is no reason to lose the others, and none at all is no mistake.
#[test]
fn md_4_what_is_no_media_in_an_aggregate_is_left_out() {
    let media = Camera::legacy().run(2);
    let mut parts = media.clone();
    parts.insert(1, Media { kind: 20, time: 5, body: vec![2, 0, 0] });
    parts.insert(3, Media { kind: 0, time: 5, body: vec![] });
    let given = relayed_aggregate(&aggregate(&parts, 0), 0, Pieces::Whole, 0);
    assert_eq!(given, media);
    assert_eq!(relayed_aggregate(&[], 0, Pieces::Whole, 0), []);
}

/// An aggregate cut anywhere inside ends that session or is read as far as it goes; nobody else
/// notices, and nothing is made up.
#[test]
fn md_4_an_aggregate_that_does_not_add_up_harms_nobody_else() {
    let parts = Camera::legacy().run(2);
    let body = aggregate(&parts, 0);
    for len in 0..body.len() {
        let mut studio = Studio::new();
        let other = studio.encoder("other");
        let other_player = studio.player("other");
        let encoder = studio.encoder("cam");
        let player = studio.player("cam");
        studio.send_all(encoder, &Camera::legacy().start());
        studio.played(player);
        let message = Message {
            type_id: message_type::AGGREGATE,
            stream_id: encoder.1,
            time: 0,
            body: body[..len].to_vec(),
        };
        let bytes = studio.message_bytes(encoder.0, 7, &message);
        studio.send_bytes(encoder.0, &bytes);
        let given = studio.played(player);
        assert!(parts.starts_with(&given), "{len} bytes: {given:?}");
        let start = Camera::legacy().start();
        studio.send_all(other, &start);
        assert_eq!(studio.played(other_player), as_played(&start));
    }
}

/// Sends a stream to players that are there from the beginning, who must get all of it, and to
/// some that join at every tag, who must be able to decode what they get.
fn relayed_to_all(sent: &[Media]) -> Vec<(usize, Seen)> {
    let mut studio = Studio::new();
    let early = players(&mut studio);
    let encoder = studio.encoder("cam");
    let mut joiners = Vec::new();
    for (index, media) in sent.iter().enumerate() {
        studio.send(encoder, media);
        joiners.push((index, players(&mut studio)));
    }
    let all = as_played(sent);
    for (protocol, given) in played(&mut studio, early) {
        assert!(given == all, "{protocol}: {:?} of {:?}", whats(&given), whats(&all));
    }
    let mut seen = Vec::new();
    for (index, joiner) in joiners {
        let rtmp = played_alike(&mut studio, joiner);
        let (_, media) = split_start(&rtmp);
        assert!(all.ends_with(media), "joined behind {index}: a hole in {:?}", whats(&rtmp));
        seen.push((index, decode(&rtmp)));
    }
    seen
}

fn empty(kind: u8, time: u32) -> Media {
    Media { kind, time, body: Vec::new() }
}

#[test]
fn md_5_empty_payloads_are_relayed_and_confuse_nobody() {
    let mut camera = Camera::legacy();
    let mut sent = Vec::new();
    let (audio, video) = (message_type::AUDIO, message_type::VIDEO);
    for media in camera.start() {
        sent.extend([empty(audio, 0), media]);
    }
    sent.push(empty(audio, 0));
    for _ in 0..10 {
        let ms = camera.ms;
        sent.extend(camera.run(1));
        sent.extend([empty(video, ms), empty(audio, ms + 1)]);
    }
    let seen = relayed_to_all(&sent);
    assert!(seen.iter().all(|(_, seen)| seen.keyframes > 0));
}

/// Before the first keyframe a player expects no video: whether it gets an empty message is open.
#[test]
fn md_5_empty_video_before_the_first_keyframe_confuses_nobody() {
    let mut camera = Camera::legacy();
    let mut sent = Vec::new();
    for media in camera.start() {
        sent.extend([empty(message_type::VIDEO, 0), media]);
    }
    sent.push(empty(message_type::VIDEO, 0));
    sent.extend(camera.run(10));
    let mut studio = Studio::new();
    let mut all = vec![players(&mut studio)];
    let encoder = studio.encoder("cam");
    for media in &sent {
        studio.send(encoder, media);
        all.push(players(&mut studio));
    }
    for (index, players) in all.into_iter().enumerate() {
        assert!(decode(&played_alike(&mut studio, players)).keyframes > 0, "joined behind {index}");
    }
}

#[test]
fn md_5_negative_composition_times_are_relayed() {
    for style in [Camera::legacy(), Camera { color: 0, channels: 0, ..Camera::enhanced() }] {
        for composition_ms in [-1, -40, -(1 << 23)] {
            let mut camera = Camera { composition_ms, ..style.clone() };
            let mut sent = camera.start();
            sent.extend(camera.run(12));
            let seen = relayed_to_all(&sent);
            assert!(seen.iter().all(|(_, seen)| seen.keyframes > 0));
        }
    }
}

#[test]
fn md_5_a_stream_with_audio_only_is_relayed() {
    let mut camera = Camera::legacy();
    let mut sent = vec![set_data_frame(0, 0.0), camera.audio_header()];
    sent.extend(camera.run_audio(200));
    let sent = as_played(&sent);
    let cached_max = HubLimits::default().audio_gop_ms / u64::from(camera.step_ms) + 1;
    for (index, seen) in relayed_to_all(&sent) {
        let later = sent[index + 1..].iter().filter(|media| media.is_frame()).count();
        let cached = u64::from(seen.sounds) - later as u64;
        assert!(index < 2 || cached > 0, "joined behind {index}: no sound at once");
        assert!(cached <= cached_max, "joined behind {index}: {cached} old sounds");
    }
}

#[test]
fn md_5_a_stream_with_video_only_is_relayed() {
    let mut camera = Camera::legacy();
    let mut sent = vec![set_data_frame(0, 0.0), camera.video_header()];
    sent.extend(camera.run_video(20));
    for (index, seen) in relayed_to_all(&sent) {
        assert!(seen.keyframes > 0, "joined behind {index}");
    }
}

#[test]
fn md_5_a_second_track_may_come_late() {
    let mut camera = Camera::legacy();
    let mut sent = vec![camera.audio_header()];
    sent.extend(camera.run_audio(60));
    sent.push(camera.video_header());
    sent.extend(camera.run_audio(2));
    sent.extend(camera.run(20));
    let seen = relayed_to_all(&sent);
    assert!(seen.iter().all(|(_, seen)| seen.keyframes > 0 && seen.sounds > 0));

    let mut camera = Camera::legacy();
    let mut sent = vec![camera.video_header()];
    sent.extend(camera.run_video(20));
    sent.push(camera.audio_header());
    sent.extend(camera.run(20));
    let seen = relayed_to_all(&sent);
    assert!(seen.iter().all(|(_, seen)| seen.keyframes > 0 && seen.sounds > 0));
}

/// A header of a track that never comes.
#[test]
fn md_5_an_announced_track_that_never_comes_is_not_waited_for() {
    let mut camera = Camera::legacy();
    let mut sent = camera.start();
    sent.extend(camera.run_audio(60));
    let last = sent.len() - 1;
    for (index, seen) in relayed_to_all(&sent) {
        assert!(index == last || seen.sounds > 0, "joined behind {index}: silence");
    }
}

/// Runs a stream through a hub with little room. Whoever joins must be able to decode what he gets,
/// and has a picture at the latest behind the next keyframe.
fn bounded(ring: RingLimits, sent: &[Media], mut check: impl FnMut(&Studio)) -> Vec<Seen> {
    let mut studio = Studio::with(HubLimits { ring, ..HubLimits::default() });
    let encoder = studio.encoder("cam");
    let mut joiners = Vec::new();
    for media in sent {
        studio.send(encoder, media);
        check(&studio);
        joiners.push(players(&mut studio));
    }
    let seen = joiners.into_iter().map(|joiner| decode(&played_alike(&mut studio, joiner)));
    seen.collect()
}

/// Groups of 100 pictures, which no bound in these tests has room for, and the start of another.
fn long_groups() -> Vec<Media> {
    let mut camera = Camera { gop_len: 100, padding: 1000, ..Camera::legacy() };
    let mut sent = camera.start();
    sent.extend(camera.run(205));
    sent
}

fn assert_bound_was_met_and_hit(seen: &[Seen], sent: &[Media]) {
    let last_group = sent.iter().rposition(Media::is_keyframe).unwrap();
    let with_old_picture = |at: usize| {
        let later = sent[at + 1..].iter().filter(|media| media.kind == 9).count() as u32;
        seen[at].pictures > later
    };
    assert!((0..last_group).any(with_old_picture), "nothing was cached");
    let is_key_left = |at: usize| sent[at + 1..].iter().any(Media::is_keyframe);
    assert!((0..last_group).all(|at| !is_key_left(at) || seen[at].keyframes > 0));
    let waited = |at: usize| seen[at].pictures > 0 && !with_old_picture(at);
    assert!((10..last_group).any(waited), "the bound was never hit");
    assert!((0..last_group).all(|at| seen[at].sounds > 0));
}

#[test]
fn md_5_the_bound_in_bytes_leaves_joiners_decodable() {
    let ring = RingLimits { pinned_bytes_max: 40_000, ..RingLimits::default() };
    let sent = long_groups();
    let seen = bounded(ring, &sent, |studio| {
        assert!(studio.hub.topics()[0].pinned_bytes <= 40_000);
    });
    assert_bound_was_met_and_hit(&seen, &sent);
}

#[test]
fn md_5_the_bound_in_tags_leaves_joiners_decodable() {
    let ring = RingLimits { tags_max: 50, ..RingLimits::default() };
    let sent = long_groups();
    let seen = bounded(ring, &sent, |studio| assert!(studio.hub.topics()[0].ring_tags <= 50));
    assert_bound_was_met_and_hit(&seen, &sent);
}

#[test]
fn md_5_the_bound_in_time_leaves_joiners_decodable() {
    let ring = RingLimits { gop_ms_max: 1_000, history_ms: 500, ..RingLimits::default() };
    let sent = long_groups();
    let seen = bounded(ring, &sent, |studio| {
        let topic = &studio.hub.topics()[0];
        assert!(topic.cached_ms.is_none_or(|ms| ms <= 1_000), "{:?} ms", topic.cached_ms);
        assert!(topic.ring_tags <= 2 * (1_500 / 40 + 2) + 3, "{} tags", topic.ring_tags);
    });
    assert_bound_was_met_and_hit(&seen, &sent);
}

/// Tags of a stream that runs for hours, or for no time at all, and no keyframe that would end a
/// group: what is kept stays inside the bounds.
#[test]
fn md_5_caches_without_keyframes_stay_inside_their_bounds() {
    let time_bound = RingLimits { gop_ms_max: 2_000, history_ms: 1_000, ..RingLimits::default() };
    let byte_bound = RingLimits { pinned_bytes_max: 100_000, ..RingLimits::default() };
    let tags_max = 2 * (3_000 + 2_000) / 40 + 10;
    for step_ms in [40, 0] {
        let mut camera = Camera { step_ms, gop_len: u16::MAX, ..Camera::legacy() };
        let audio_only = [vec![camera.audio_header()], camera.run_audio(1500)].concat();
        let announced = [camera.start(), camera.run_audio(1500)].concat();
        let video_only = [vec![camera.video_header()], camera.run_video(1500)].concat();
        // The camera is off and the microphone is not.
        let one_picture = [camera.start(), camera.run(1), camera.run_audio(1500)].concat();
        for sent in [audio_only, announced, video_only, one_picture] {
            for ring in [time_bound, byte_bound] {
                let mut studio = Studio::with(HubLimits { ring, ..HubLimits::default() });
                let encoder = studio.encoder("cam");
                for (index, media) in sent.iter().enumerate() {
                    studio.send(encoder, media);
                    if index % 100 == 0 {
                        let joiner = players(&mut studio);
                        decode(&played(&mut studio, joiner)[0].1);
                    }
                    let topic = &studio.hub.topics()[0];
                    assert!(topic.pinned_bytes <= ring.pinned_bytes_max);
                    let is_in_time = step_ms == 0 || ring != time_bound;
                    assert!(is_in_time || topic.ring_tags <= tags_max, "{} tags", topic.ring_tags);
                }
            }
        }
    }
}

/// One track's clock is an hour off, so that time seems to jump with every tag.
#[test]
fn md_5_the_bound_in_time_holds_when_tracks_disagree_about_time() {
    let ring = RingLimits { gop_ms_max: 2_000, history_ms: 1_000, ..RingLimits::default() };
    let mut studio = Studio::with(HubLimits { ring, ..HubLimits::default() });
    let encoder = studio.encoder("cam");
    let mut camera = Camera::legacy();
    let mut sent = camera.start();
    sent.extend(camera.run(1000));
    shift(&mut sent, Some(message_type::AUDIO), 3_600_000);
    let mut most = 0;
    for media in &sent {
        studio.send(encoder, media);
        most = most.max(studio.hub.topics()[0].ring_tags);
    }
    assert!(most <= 2 * (3_000 + 2_000) / 40 + 10, "{most} tags");
}

/// A group that outgrew the bound: sound at once, and a picture with the next keyframe.
#[test]
fn md_5_behind_a_bound_a_joiner_hears_and_then_sees() {
    let ring = RingLimits { tags_max: 50, ..RingLimits::default() };
    let mut studio = Studio::with(HubLimits { ring, ..HubLimits::default() });
    let encoder = studio.encoder("cam");
    let mut camera = Camera { gop_len: 1000, ..Camera::legacy() };
    studio.send_all(encoder, &camera.start());
    studio.send_all(encoder, &camera.run(100));
    let joiner = players(&mut studio);
    studio.send_all(encoder, &camera.run(10));
    let heard = played(&mut studio, joiner);
    camera.cut();
    studio.send_all(encoder, &camera.run(3));
    let seen = played(&mut studio, joiner);
    for ((protocol, mut given), (_, more)) in heard.into_iter().zip(seen) {
        let before = decode(&given);
        assert_eq!((before.pictures, before.sounds >= 10), (0, true), "{protocol}: {before:?}");
        given.extend(more);
        assert_eq!(decode(&given).pictures, 3, "{protocol}");
    }
}

/// A stream whose colours and channels are described, and described anew: in the middle of a group,
/// right before a keyframe, and twice in a row.
fn described_stream() -> Vec<Media> {
    let mut camera = Camera::enhanced();
    let mut sent = camera.start();
    sent.extend([camera.color_info(), camera.channel_config()]);
    sent.extend(camera.run(4));
    camera.color = 2;
    sent.push(camera.color_info());
    sent.extend(camera.run(2));
    camera.channels = 2;
    sent.push(camera.channel_config());
    sent.extend(camera.run(2));
    for color in [3, 4] {
        camera.color = color;
        sent.push(camera.color_info());
    }
    sent.extend(camera.run(3));
    camera.channels = 3;
    sent.push(camera.channel_config());
    sent.extend(camera.run(10));
    sent
}

#[test]
fn er_9_a_joiner_at_any_tag_knows_the_colours_and_channels_of_every_frame() {
    let sent = described_stream();
    let last_key = sent.iter().rposition(Media::is_keyframe).unwrap();
    for (index, seen) in relayed_to_all(&sent) {
        assert!(index > last_key || seen.keyframes > 0, "joined behind {index}: {seen:?}");
    }
}

#[test]
fn er_9_a_description_replaces_the_earlier_one_for_joiners() {
    let mut studio = Studio::new();
    let encoder = studio.encoder("cam");
    studio.send_all(encoder, &described_stream());
    let late = players(&mut studio);
    for (protocol, given) in played(&mut studio, late) {
        let start = whats(split_start(&given).0);
        let at = |wanted: What| start.iter().position(|what| *what == wanted);
        assert!(at(What::VideoHeader(1)).unwrap() < at(What::Color(4)).unwrap(), "{start:?}");
        assert!(at(What::AudioHeader(1)).unwrap() < at(What::Channels(3)).unwrap(), "{start:?}");
        let descriptions = |what: &&What| matches!(what, What::Color(_) | What::Channels(_));
        assert_eq!(start.iter().filter(descriptions).count(), 2, "{protocol}: {start:?}");
    }
}

/// What the last publisher described is not said of the next one's pictures.
#[test]
fn er_9_a_description_ends_with_its_publisher() {
    let mut studio = Studio::new();
    studio.grace = Duration::from_secs(10);
    let first = studio.encoder("cam");
    studio.send_all(first, &described_stream());
    studio.hang_up(first.0);
    let second = studio.encoder("cam");
    let mut camera = Camera { color: 0, channels: 0, ..Camera::enhanced() };
    studio.send_all(second, &camera.start());
    studio.send_all(second, &camera.run(3));
    let late = players(&mut studio);
    for (protocol, given) in played(&mut studio, late) {
        assert_eq!(decode(&given).pictures, 3, "{protocol}: {:?}", whats(&given));
    }
}

/// A metadata packet is no frame: it opens no group, and none is lost for it.
#[test]
fn er_9_a_description_is_no_frame() {
    let mut studio = Studio::new();
    let encoder = studio.encoder("cam");
    let mut camera = Camera::enhanced();
    let mut sent = camera.start();
    sent.extend([camera.color_info(), camera.channel_config()]);
    sent.extend(camera.run(6));
    sent.push(camera.color_info());
    studio.send_all(encoder, &sent);
    let late = players(&mut studio);
    for (protocol, given) in played(&mut studio, late) {
        let is_first =
            |what: &What| matches!(what, What::Picture(Picture { is_key: true, frame: 0, .. }));
        assert!(whats(&given).iter().any(is_first), "{protocol}");
        assert_eq!(decode(&given).pictures, 6, "{protocol}");
    }
}

#[test]
fn er_10_a_joiner_reads_four_cc_codec_ids_and_extended_headers_as_they_were_sent() {
    let four_cc = |name: &[u8; 4]| Amf::Number(f64::from(u32::from_be_bytes(*name)));
    let metadata = Amf::object(&[
        ("videocodecid", four_cc(b"hvc1")),
        ("audiocodecid", four_cc(b"Opus")),
        ("videoTrackIdInfoMap", Amf::object(&[])),
    ]);
    let plain = amf(&["onMetaData".into(), metadata]);
    let mut camera = Camera::enhanced();
    let mut sent = camera.start();
    sent[0].body = [amf(&["@setDataFrame".into()]), plain.clone()].concat();
    sent.extend([camera.color_info(), camera.channel_config()]);
    sent.extend(camera.run(6));
    for batch_len in [1, 1 << 20] {
        let mut studio = Studio::new();
        studio.batch_len = batch_len;
        let early = players(&mut studio);
        let encoder = studio.encoder("cam");
        studio.send_all(encoder, &sent);
        let late = players(&mut studio);
        for players in [early, late] {
            for (protocol, given) in played(&mut studio, players) {
                let values = Amf::read_all(&given[0].body);
                assert_eq!(values[1].get("videocodecid").number(), 1_752_589_105.0, "{protocol}");
                assert_eq!(values[1].get("audiocodecid").number(), 1_332_770_163.0);
                let mut bodies: Vec<_> = given.iter().map(|media| &media.body).collect();
                let played = as_played(&sent);
                let mut expected: Vec<_> = played.iter().map(|media| &media.body).collect();
                // Joiners get headers in an order of their own.
                bodies[..5].sort();
                expected[..5].sort();
                assert_eq!(bodies, expected, "{protocol}");
            }
        }
    }
}
