//! The whole server on a network in memory, in paused time: what encoders announce is what every
//! kind of player sees.

use std::time::Duration;

use forebay::config::Builder;
use forebay::shell::disk::RealDisk;
use forebay::shell::net::Net as _;
use forebay::shell::{Origin, Server};
use forebay_sim::plan::{Player, Quirk};
use forebay_sim::publisher::{Encoder, Heard, Step};
use forebay_sim::tag::{Kind, Role, TagSeen};
use forebay_sim::viewer::{Seen, Session};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::time::{Instant, sleep, sleep_until};

use crate::mem_net::MemNet;
use crate::{MS, encoder, publish};

async fn play(net: MemNet, player: Player) -> Vec<Seen> {
    let port = if player == Player::Flv { 8080 } else { 1935 };
    let mut stream = net.connect("", port).await.unwrap();
    let mut session = Session::new(player, "live/a", None, 2);
    let (mut seen, mut received) = (Vec::new(), vec![0; 64 << 10]);
    while !seen.contains(&Seen::ToldEnd) {
        // The server may be gone already: what it said is still to be read.
        let _gone = stream.write_all(&session.take_output()).await;
        match stream.read(&mut received).await.unwrap() {
            0 => {
                seen.extend(session.end_of_input());
                break;
            }
            len => seen.extend(session.receive(&received[..len])),
        }
    }
    seen
}

async fn studio(net: MemNet, mut encoder: Encoder) -> Vec<TagSeen> {
    let mut stream = net.connect("", 1935).await.unwrap();
    let (mut announced, mut received) = (Vec::new(), vec![0; 64 << 10]);
    let mut start = Instant::now();
    while let Some(step) = encoder.poll() {
        match step {
            Step::Send { at, bytes, tags } => {
                sleep_until(start + at).await;
                stream.write_all(&bytes).await.unwrap();
                announced.extend(tags.into_iter().map(|(_, tag)| tag));
            }
            Step::WaitForServer | Step::WaitForAcknowledgement => {
                let len = stream.read(&mut received).await.unwrap();
                let heard = encoder.receive(&received[..len]);
                assert!(heard.iter().all(|heard| *heard == Heard::Publishing), "{heard:?}");
                if announced.is_empty() && !heard.is_empty() {
                    start = Instant::now();
                }
            }
        }
    }
    stream.write_all(&encoder.goodbye()).await.unwrap();
    stream.shutdown().await.unwrap();
    announced
}

fn simulate(capture: &str, quirks: &[Quirk]) {
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_time()
        .start_paused(true)
        .build()
        .unwrap();
    runtime.block_on(async {
        let net = MemNet::default();
        let config = Builder::new().build().unwrap();
        let server = Server::bind(
            net.clone(),
            RealDisk::default(),
            config,
            Origin { seed: 1, utc: Duration::ZERO },
        )
        .await
        .unwrap();
        let server = tokio::spawn(server.run(std::future::pending()));
        let players = [Player::Rtmp, Player::Flv, Player::Rml]
            .map(|player| (player, tokio::spawn(play(net.clone(), player))));
        sleep(500 * MS).await;
        let encoder = encoder(&publish(capture, quirks)).unwrap();
        let announced = studio(net, encoder).await;
        for (player, seen) in players {
            let mut seen = seen.await.unwrap();
            assert_eq!(seen.first(), Some(&Seen::Playing), "{player:?} {quirks:?}");
            assert_eq!(seen.pop(), Some(Seen::ToldEnd), "{player:?} {quirks:?}");
            let mut got: Vec<_> = seen
                .into_iter()
                .filter_map(|seen| match seen {
                    Seen::Tag(tag) => Some(tag),
                    _ => None,
                })
                .collect();
            if player == Player::Flv && capture == "enh-hevc-aac" {
                // An FLV file ends with an end of sequence, although this encoder sends none.
                let end = got.pop().map(|tag| (tag.kind, tag.role));
                assert_eq!(end, Some((Kind::Video, Role::Other)), "{capture} {quirks:?}");
            }
            let expected = announced.clone();
            if let Some(at) = expected.iter().zip(&got).position(|(a, b)| a != b) {
                let [sent, got] = [expected[at], got[at]];
                panic!("{player:?} {quirks:?}: tag {at}: {sent} and {got}");
            }
            assert_eq!(expected.len(), got.len(), "{player:?} {quirks:?}");
        }
        server.abort();
    });
}

#[test]
fn every_player_sees_what_an_encoder_sends() {
    use Quirk::*;
    simulate("obs-360p30-base", &[]);
    simulate("obs-360p30-base", &[Interleaved, ChunkSizeChanges, UnknownTypes]);
    simulate("obs-360p30-base", &[Aggregates, HeadersRepeated]);
    simulate("obs-360p30-base", &[ChunkSize(1), Storm(3), Window(20_000)]);
    simulate("obs-360p30-base", &[CodecChanges(2)]);
    simulate("enh-hevc-aac", &[StartsAt(u32::MAX - 900), Drift(500)]);
    simulate("enh-two-audio", &[HeaderChanges { every: 1, offset: 2 }]);
}
