//! A host's network card: it bounds the sum of what leaves the host, and is shared in equal parts.

use std::time::Duration;

use forebay_sim::Link;
use forebay_sim::link::Capacity;
use tokio::io::AsyncWriteExt as _;

use crate::{Arrivals, World, at, bounded, feed, free, ms, pattern, simulate};

const MBIT: u64 = 1_000_000;

/// Connections over which the node sends as much as it can.
async fn busy(world: &World, links: &[Link]) -> Vec<Arrivals> {
    let mut all = Vec::new();
    for link in links {
        let connection = world.connect(link).await;
        all.push(world.read_all(connection.peer));
        feed(connection.node, 0, u64::MAX);
    }
    all
}

fn came(arrivals: &[Arrivals], from: u64, to: u64) -> Vec<u64> {
    arrivals.iter().map(|arrivals| arrivals.by(at(to)) - arrivals.by(at(from))).collect()
}

#[test]
fn equal_connections_get_equal_parts_and_the_sum_is_the_rate() {
    for (rate, seconds) in [(MBIT, 4), (10 * MBIT, 4), (90 * MBIT, 2), (333_333_333, 1)] {
        simulate(1, async |world| {
            world.fabric.set_egress(world.node, Some(rate));
            let arrivals = busy(world, &vec![free(20); 4]).await;
            world.until(1_000).await;
            let before = world.fabric.carried(world.node);
            let end = 1_000 + seconds * 1_000;
            world.until(end).await;
            let came = came(&arrivals, 1_000, end);
            let (sum, expected) = (came.iter().sum::<u64>(), rate / 8 * seconds);
            // A turn of each at both ends.
            let turn = (rate / 8 / 10_000).clamp(1_460, 64 << 10);
            assert!(sum.abs_diff(expected) <= 2 * turn, "{rate} bit/s: {sum}, not {expected}");
            assert!(came.iter().all(|part| part.abs_diff(sum / 4) <= 2 * turn), "{came:?}");
            let carried = world.fabric.carried(world.node) - before;
            assert!(carried.abs_diff(sum) <= 2 * turn, "{carried} counted, {sum} came");
        });
    }
}

#[test]
fn what_one_cannot_take_is_the_others() {
    simulate(1, async |world| {
        world.fabric.set_egress(world.node, Some(10 * MBIT));
        let slow = bounded(Capacity::Constant(MBIT), 20);
        let arrivals = busy(world, &[slow, free(20), free(20)]).await;
        world.until(5_000).await;
        // The slow one's queue is full after some time.
        world.until(25_000).await;
        let came = came(&arrivals, 15_000, 25_000);
        let expected = [MBIT, 4_500_000, 4_500_000].map(|rate| rate / 8 * 10);
        for (came, expected) in came.iter().zip(expected) {
            assert!(came.abs_diff(expected) <= expected / 100, "{came} bytes, not {expected}");
        }
    });
}

#[test]
fn who_wants_little_does_not_wait_for_those_who_want_much() {
    simulate(1, async |world| {
        world.fabric.set_egress(world.node, Some(10 * MBIT));
        let _busy = busy(world, &vec![free(20); 5]).await;
        let mut modest = world.connect(&free(20)).await;
        let arrivals = world.read_all(modest.peer);
        for index in 0..50 {
            world.until(2_000 + index * 100).await;
            modest.node.write_all(&pattern(index * 500, 500)).await.expect("it is open");
        }
        world.until(8_000).await;
        // A turn of each of the others: 1.2 ms of the wire.
        let sent = (0..).map(|index| 2_000 + index * 100);
        let slowest = arrivals.times().into_iter().zip(sent).map(|(at, sent)| at - sent).max();
        assert!(slowest <= Some(20 + 5 * 2 + 1), "{slowest:?}");
        assert_eq!(arrivals.total(), 50 * 500);
    });
}

#[test]
fn the_bound_of_one_host_is_no_other_hosts() {
    simulate(1, async |world| {
        world.fabric.set_egress(world.node, Some(100_000));
        let connection = world.connect(&free(20)).await;
        let (host, _) = world.host(&free(20));
        world.fabric.set_egress(host, Some(100_000));
        let arrivals = world.read_all(connection.node);
        feed(connection.peer, 0, 5_000_000);
        world.until(200).await;
        assert_eq!(arrivals.total(), 5_000_000);
    });
}

#[test]
fn a_bound_that_changes_holds_from_then_on() {
    simulate(1, async |world| {
        world.fabric.set_egress(world.node, Some(MBIT));
        let arrivals = busy(world, &vec![free(10); 2]).await;
        world.until(1_000).await;
        world.fabric.set_egress(world.node, Some(8 * MBIT));
        world.until(2_000).await;
        world.fabric.set_egress(world.node, Some(0));
        world.until(3_000).await;
        world.fabric.set_egress(world.node, Some(4 * MBIT));
        world.until(4_000).await;
        for (from, to, rate) in [
            (100, 1_000, MBIT),
            (1_020, 2_000, 8 * MBIT),
            (2_020, 3_000, 0),
            (3_020, 4_000, 4 * MBIT),
        ] {
            let sum = came(&arrivals, from, to).iter().sum::<u64>();
            let expected = rate / 8 * (to - from) / 1_000;
            assert!(
                sum.abs_diff(expected) <= 4 * 1_460,
                "{sum} bytes between {from} and {to} ms, expected {expected}"
            );
        }
    });
}

#[test]
fn a_bound_that_is_lifted_delivers_what_waited() {
    simulate(1, async |world| {
        let connection = world.connect(&free(10)).await;
        let arrivals = world.read_all(connection.peer);
        world.fabric.set_egress(world.node, Some(0));
        feed(connection.node, 0, 800_000);
        world.until(5_000).await;
        assert_eq!(arrivals.total(), 0);
        world.fabric.set_egress(world.node, None);
        world.until(5_020).await;
        assert_eq!(arrivals.total(), 800_000);
        world.fabric.set_egress(world.node, Some(MBIT));
        let second = world.connect(&free(10)).await;
        let arrivals = world.read_all(second.peer);
        feed(second.node, 0, 12_500);
        world.until(5_200).await;
        assert_eq!(arrivals.total(), 12_500, "the card is still busy with what was before");
    });
}

#[test]
fn what_did_not_leave_is_not_counted() {
    simulate(1, async |world| {
        world.fabric.set_egress(world.node, Some(100_000));
        let connection = world.connect(&free(10)).await;
        let arrivals = world.read_all(connection.peer);
        feed(connection.node, 0, 100_000);
        world.until(1_000).await;
        world.fabric.set_cut(connection.host, forebay_sim::plan::Direction::Both, true);
        tokio::time::sleep(Duration::from_secs(2)).await;
        let carried = world.fabric.carried(world.node);
        // What was on its way when the link was cut is lost to nobody but late: it has left.
        let came = arrivals.total();
        assert!(carried <= came + 2 * 1_460, "{carried} left, {came} came");
        world.fabric.set_cut(connection.host, forebay_sim::plan::Direction::Both, false);
        world.until(60_000).await;
        assert_eq!((arrivals.total(), world.fabric.carried(world.node)), (100_000, 100_000));
    });
}

#[test]
fn a_connection_that_ends_while_it_waits_gives_its_turn_away() {
    simulate(1, async |world| {
        world.fabric.set_egress(world.node, Some(MBIT));
        let mut gone = world.connect(&free(10)).await;
        let stays = world.connect(&free(10)).await;
        let arrivals = world.read_all(stays.peer);
        gone.node.write_all(&pattern(0, 500_000)).await.expect("it is open");
        feed(stays.node, 0, 125_000);
        world.until(200).await;
        world.fabric.reset_all(gone.host);
        drop((gone.node, gone.peer));
        let begin = world.now().millis();
        let before = arrivals.total();
        world.until(begin + 500).await;
        let came = arrivals.total() - before;
        assert!(came.abs_diff(62_500) <= 2 * 1_460, "{came} bytes in half a second of 1 Mbit/s");
        tokio::time::sleep(ms(1_000)).await;
        assert_eq!(arrivals.total(), 125_000);
    });
}
