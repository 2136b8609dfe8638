//! What faults do to connections that stand: cut, reset, forget, freeze, dark.

use std::io::ErrorKind;

use forebay::shell::net::Net as _;
use forebay_sim::plan::Direction;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};

use crate::{Connected, PORT, World, at, feed, free, ms, pattern, read_within, simulate};

/// Both ends write ten bytes every ten milliseconds from 500 ms on, for four seconds; the link is
/// cut from 1 s to 3 s. Gives what came by the peer's and by the node's end, between two moments.
fn cut(direction: Direction, until: u64) -> [Vec<(u64, u64)>; 2] {
    let mut came = [Vec::new(), Vec::new()];
    simulate(1, async |world| {
        let Connected { host, peer, node } = world.connect(&free(20)).await;
        let (peer_reads, mut peer_writes) = tokio::io::split(peer);
        let (node_reads, mut node_writes) = tokio::io::split(node);
        let arrivals = [world.read_all(peer_reads), world.read_all(node_reads)];
        let mut offset = 0;
        for millis in (500..4_500).step_by(10) {
            world.until(millis).await;
            if millis == 1_000 {
                world.fabric.set_cut(host, direction, true);
            }
            if millis == until {
                world.fabric.set_cut(host, direction, false);
            }
            peer_writes.write_all(&pattern(offset, 10)).await.expect("it is open");
            node_writes.write_all(&pattern(offset, 10)).await.expect("it is open");
            offset += 10;
        }
        world.until(30_000).await;
        for (came, arrivals) in came.iter_mut().zip(&arrivals) {
            let pieces = arrivals.pieces().into_iter();
            *came = pieces.map(|(at, total)| (at.millis(), total)).collect();
            assert_eq!(arrivals.total(), offset, "{direction:?}");
        }
    });
    came
}

/// The longest time without anything: from when to when.
fn pause(came: &[(u64, u64)]) -> (u64, u64) {
    let pairs = came.windows(2).map(|pair| (pair[0].0, pair[1].0));
    pairs.max_by_key(|(from, to)| to - from).unwrap_or_default()
}

#[test]
fn a_cut_stops_its_direction_and_everything_comes_with_a_retransmission_after_it() {
    // What was sent at 0.98 s is there at 1 s, what was sent at 0.99 s is not. Retransmissions
    // are tried 0.2, 0.6, 1.4 and 3.0 s after the cut; at 3 s the link is whole.
    let stops = (1_000, 4_000);
    for (direction, down, up) in [
        (Direction::Both, stops, stops),
        (Direction::Down, stops, (0, 0)),
        (Direction::Up, (0, 0), stops),
    ] {
        let [to_peer, to_node] = cut(direction, 3_000);
        for (came, expected) in [(to_peer, down), (to_node, up)] {
            let (from, to) = pause(&came);
            match expected {
                (0, 0) => assert!(to - from <= 11, "{direction:?}: {from} to {to} ms"),
                (begins, ends) => assert!(
                    from.abs_diff(begins) <= 10 && to == ends,
                    "{direction:?}: nothing between {from} and {to} ms"
                ),
            }
        }
    }
}

#[test]
fn a_short_cut_costs_the_first_retransmission() {
    let [to_peer, to_node] = cut(Direction::Both, 1_100);
    for came in [to_peer, to_node] {
        assert_eq!(pause(&came).1, 1_200);
    }
}

#[test]
fn a_cut_through_an_idle_connection_costs_it_nothing() {
    simulate(1, async |world| {
        let mut connection = world.connect(&free(20)).await;
        world.until(1_000).await;
        world.fabric.set_cut(connection.host, Direction::Both, true);
        world.until(2_500).await;
        world.fabric.set_cut(connection.host, Direction::Both, false);
        connection.node.write_all(&pattern(0, 10)).await.expect("it is open");
        let arrivals = world.read_all(connection.peer);
        world.until(5_000).await;
        assert_eq!(arrivals.pieces(), [(at(2_520), 10)]);
    });
}

#[test]
fn the_end_of_a_stream_comes_behind_its_last_byte_also_through_a_cut() {
    simulate(1, async |world| {
        let mut connection = world.connect(&free(20)).await;
        world.until(1_000).await;
        world.fabric.set_cut(connection.host, Direction::Both, true);
        connection.node.write_all(&pattern(0, 100)).await.expect("it is open");
        connection.node.shutdown().await.expect("it is open");
        let arrivals = world.read_all(connection.peer);
        world.until(10_000).await;
        assert_eq!((arrivals.total(), arrivals.end()), (0, None));
        world.fabric.set_cut(connection.host, Direction::Both, false);
        world.until(60_000).await;
        assert_eq!(arrivals.total(), 100);
        assert_eq!(arrivals.end().map(|end| end.1), Some(Ok(())));
    });
}

async fn is_reset(world: &World, connection: &mut Connected) {
    for stream in [&mut connection.peer, &mut connection.node] {
        let read = read_within(stream, ms(10)).await.expect("it was told");
        assert_eq!(read.expect_err("there is nothing to read").kind(), ErrorKind::ConnectionReset);
        let written = stream.write(&[1]).await;
        assert_eq!(written.expect_err("nobody reads it").kind(), ErrorKind::ConnectionReset);
    }
    assert_eq!(world.now().millis() % 1_000, 0, "they were told at once");
}

#[test]
fn a_reset_on_the_way_is_told_to_both_ends_of_all_of_a_hosts_connections() {
    simulate(1, async |world| {
        let (host, net) = world.host(&free(20));
        let mut both = Vec::new();
        for _ in 0..2 {
            let (peer, node) = tokio::join!(net.connect("node", PORT), world.accept());
            both.push(Connected { host, peer: peer.expect("it listens"), node: node.0 });
        }
        let mut other = world.connect(&free(20)).await;
        world.until(1_000).await;
        world.fabric.reset_all(host);
        for connection in &mut both {
            is_reset(world, connection).await;
        }
        assert!(read_within(&mut other.peer, ms(500)).await.is_none(), "it is another host's");
        // Whoever dials again is as new.
        let (peer, node) = tokio::join!(net.connect("node", PORT), world.accept());
        let mut peer = peer.expect("the node listens");
        let mut node = node.0;
        node.write_all(b"again").await.expect("it is open");
        assert_eq!(read_within(&mut peer, ms(50)).await.map(Result::ok), Some(Some(5)));
        drop((both, other, peer, node));
        world.until(5_000).await;
        assert_eq!(world.fabric.open_connections(), 0);
    });
}

#[test]
fn a_peer_that_resets_is_heard_a_way_later() {
    simulate(1, async |world| {
        let mut connection = world.connect(&free(20)).await;
        connection.node.write_all(b"unread").await.expect("it is open");
        world.until(1_000).await;
        connection.peer.reset();
        assert!(read_within(&mut connection.node, ms(19)).await.is_none(), "it is on its way");
        let read = read_within(&mut connection.node, ms(2)).await.expect("it was told");
        assert_eq!(read.expect_err("nothing comes").kind(), ErrorKind::ConnectionReset);
        drop(connection.node);
        assert_eq!(world.fabric.open_connections(), 0);
    });
}

#[test]
fn a_reset_does_not_pass_where_nothing_does() {
    simulate(1, async |world| {
        let mut connection = world.connect(&free(20)).await;
        world.fabric.set_cut(connection.host, Direction::Up, true);
        connection.peer.reset();
        assert!(read_within(&mut connection.node, ms(60_000)).await.is_none());
        drop(connection.node);
        world.until(world.now().millis() + 100).await;
        assert_eq!(world.fabric.open_connections(), 0);
    });
}

#[test]
fn a_forgotten_connection_is_silent_for_ever_and_leaves_nothing() {
    simulate(1, async |world| {
        let (host, net) = world.host(&free(20));
        let (peer, node) = tokio::join!(net.connect("node", PORT), world.accept());
        let (mut peer, mut node) = (peer.expect("the node listens"), node.0);
        let mut other = world.connect(&free(20)).await;
        // One way more than the window takes, so that something is left unsent.
        world.until(1_000).await;
        world.fabric.forget(host);
        peer.write_all(&pattern(0, 100)).await.expect("nobody tells it");
        node.write_all(&pattern(0, 100)).await.expect("nobody tells it");
        assert!(read_within(&mut peer, ms(120_000)).await.is_none());
        assert!(read_within(&mut node, ms(1_000)).await.is_none());
        other.node.write_all(b"others").await.expect("it is open");
        assert_eq!(read_within(&mut other.peer, ms(50)).await.map(Result::ok), Some(Some(6)));
        let (again, accepted) = tokio::join!(net.connect("node", PORT), world.accept());
        let (mut again, mut accepted) = (again.expect("the node listens"), accepted.0);
        again.write_all(b"again").await.expect("it is open");
        assert_eq!(read_within(&mut accepted, ms(50)).await.map(Result::ok), Some(Some(5)));
        drop((peer, node, other, again, accepted));
        world.until(200_000).await;
        assert_eq!(world.fabric.open_connections(), 0);
    });
}

#[test]
fn a_forgotten_connection_with_bytes_that_no_window_took_leaves_nothing() {
    simulate(1, async |world| {
        let mut link = free(20);
        link.window = 1_000;
        let mut connection = world.connect(&link).await;
        connection.node.write_all(&pattern(0, 50_000)).await.expect("it is open");
        world.fabric.forget(connection.host);
        drop((connection.peer, connection.node));
        world.until(10_000).await;
        assert_eq!(world.fabric.open_connections(), 0);
    });
}

#[test]
fn a_peer_that_vanishes_says_nothing_and_hears_nothing() {
    simulate(1, async |world| {
        let mut connection = world.connect(&free(20)).await;
        connection.peer.write_all(b"last words").await.expect("it is open");
        connection.peer.vanish();
        connection.node.write_all(&pattern(0, 100)).await.expect("nobody tells it");
        assert!(read_within(&mut connection.node, ms(120_000)).await.is_none());
        drop(connection.node);
        assert_eq!(world.fabric.open_connections(), 0);
    });
}

#[test]
fn a_frozen_host_neither_reads_nor_writes_nor_accepts_until_it_goes_on() {
    simulate(1, async |world| {
        let Connected { mut peer, mut node, .. } = world.connect(&free(20)).await;
        let (_, net) = world.host(&free(20));
        world.until(1_000).await;
        world.fabric.set_frozen(world.node, true);
        peer.write_all(&pattern(0, 5_000)).await.expect("the peer is not frozen");
        // Its system does what it always does: it receives, and it answers who dials.
        let dialed = net.connect("node", PORT).await;
        assert!(dialed.is_ok() && world.now() == at(1_040), "{:?}", world.now());
        let frozen = async {
            let (_accepted, _) = world.accept().await;
            let mut buffer = vec![0; 10_000];
            let len = node.read(&mut buffer).await.expect("it is open");
            node.write_all(&pattern(0, 10)).await.expect("it is open");
            (world.now(), len, node)
        };
        let goes_on = async {
            world.until(3_000).await;
            world.fabric.set_frozen(world.node, false);
        };
        let ((when, len, _node), ()) = tokio::join!(frozen, goes_on);
        assert_eq!((when, len), (at(3_000), 5_000), "all that came in the meantime is there");
        let arrivals = world.read_all(peer);
        world.until(4_000).await;
        assert_eq!(arrivals.pieces(), [(at(3_020), 10)]);
    });
}

#[test]
fn a_frozen_host_still_sends_what_its_system_holds() {
    simulate(1, async |world| {
        let mut link = free(10);
        link.window = 10_000;
        let mut connection = world.connect(&link).await;
        connection.node.write_all(&pattern(0, 100_000)).await.expect("it is open");
        world.fabric.set_frozen(world.node, true);
        let arrivals = world.read_all(connection.peer);
        world.until(2_000).await;
        assert_eq!(arrivals.total(), 100_000);
    });
}

#[test]
fn a_host_without_power_tells_nobody_and_answers_nobody() {
    simulate(1, async |world| {
        let mut connection = world.connect(&free(20)).await;
        connection.node.write_all(&pattern(0, 10)).await.expect("it is open");
        world.fabric.set_dark(world.node, true);
        drop(connection.node);
        connection.peer.write_all(&pattern(0, 10)).await.expect("nobody tells it");
        assert!(read_within(&mut connection.peer, ms(120_000)).await.is_none());
        let (_, net) = world.host(&free(20));
        let dialing = tokio::time::timeout(ms(10_000), net.connect("node", PORT)).await;
        assert!(dialing.is_err(), "it was answered");
        drop(connection.peer);
        world.fabric.set_dark(world.node, false);
        let again = tokio::join!(net.connect("node", PORT), world.accept());
        assert!(again.0.is_ok());
    });
}

#[test]
fn a_host_whose_process_dies_with_power_tells_its_peers() {
    simulate(1, async |world| {
        let mut told = world.connect(&free(20)).await;
        let mut unread = world.connect(&free(20)).await;
        unread.peer.write_all(&pattern(0, 10)).await.expect("it is open");
        world.until(1_000).await;
        // What its system does with their sockets: an end, or a reset where bytes were unread.
        drop((told.node, unread.node));
        let end = read_within(&mut told.peer, ms(21)).await.expect("it is told");
        assert_eq!(end.expect("in order"), 0);
        let end = read_within(&mut unread.peer, ms(21)).await.expect("it is told");
        assert_eq!(end.expect_err("not in order").kind(), ErrorKind::ConnectionReset);
    });
}

#[test]
fn a_panic_that_was_asked_for_comes_with_the_nodes_next_read_and_only_there() {
    simulate(1, async |world| {
        let mut connection = world.connect(&free(20)).await;
        let other = world.connect(&free(20)).await;
        world.fabric.panic_at_next_read(connection.host);
        assert!(read_within(&mut connection.peer, ms(100)).await.is_none(), "it is the node's");
        let arrivals = world.read_all(other.node);
        feed(other.peer, 0, 1_000);
        let reading = tokio::spawn(async move { connection.node.read(&mut [0; 10]).await });
        assert!(reading.await.expect_err("it panics").is_panic());
        world.until(1_000).await;
        assert_eq!(arrivals.total(), 1_000);
        let end = read_within(&mut connection.peer, ms(100)).await.expect("it is told");
        assert_eq!(end.expect("its socket was closed"), 0);
    });
}
