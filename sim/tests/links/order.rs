//! What a way does to pieces without losing or overtaking any: jitter, queues, loss, cut reads.

use forebay_sim::link::{Capacity, Loss};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};

use crate::{at, bounded, feed, free, ms, pattern, simulate};

#[test]
fn jitter_delays_pieces_alike_and_reorders_none() {
    simulate(3, async |world| {
        let mut link = free(50);
        link.down.jitter = ms(90);
        let mut connection = world.connect(&link).await;
        let arrivals = world.read_all(connection.peer);
        // So far apart that none waits for the one before.
        for index in 0..100 {
            world.until(1_000 + index * 200).await;
            connection.node.write_all(&pattern(index * 10, 10)).await.expect("it is open");
        }
        world.until(25_000).await;
        let sent = (0..).map(|index| 1_000 + index * 200);
        let delays: Vec<_> = arrivals.times().into_iter().zip(sent).map(|(at, s)| at - s).collect();
        assert_eq!(delays.len(), 100);
        assert!(delays.iter().all(|delay| (50..=141).contains(delay)), "{delays:?}");
        let spread = delays.iter().max().zip(delays.iter().min()).map_or(0, |(max, min)| max - min);
        assert!(spread >= 30, "this is no jitter: {delays:?}");
        // A third of the jitter, and the grain of the clock.
        assert!(delays.windows(2).all(|pair| pair[0].abs_diff(pair[1]) <= 31), "{delays:?}");
    });
}

#[test]
fn pieces_in_a_hurry_stay_in_order_under_jitter() {
    for seed in 0..20 {
        simulate(seed, async |world| {
            let mut link = free(20);
            link.down.jitter = ms(100);
            let mut connection = world.connect(&link).await;
            // Its reader checks each byte's place.
            let arrivals = world.read_all(connection.peer);
            for index in 0..500 {
                world.until(1_000 + index).await;
                connection.node.write_all(&pattern(index * 30, 30)).await.expect("it is open");
            }
            world.until(2_000).await;
            assert_eq!(arrivals.total(), 500 * 30);
        });
    }
}

/// The times of a burst of 200 kB through 8 Mbit/s and 100 ms, with this queue.
fn burst(queue: u64) -> Vec<(u64, u64)> {
    let mut times = Vec::new();
    simulate(1, async |world| {
        let mut link = bounded(Capacity::Constant(8_000_000), 100);
        link.down.queue = queue;
        let mut connection = world.connect(&link).await;
        let arrivals = world.read_all(connection.peer);
        world.until(1_000).await;
        connection.node.write_all(&pattern(0, 200_000)).await.expect("it is open");
        world.until(5_000).await;
        let pieces = arrivals.pieces().into_iter();
        times = pieces.map(|(at, total)| (at.millis() - 1_000, total)).collect();
    });
    times
}

#[test]
fn a_burst_that_fits_into_the_queue_comes_without_a_pause() {
    let times = burst(200_000);
    assert!(times.windows(2).all(|pair| pair[1].0 - pair[0].0 <= 6), "{times:?}");
    assert_eq!(times.last().map(|last| last.0), Some(300), "200 ms of 8 Mbit/s, and 100 ms");
}

#[test]
fn a_burst_that_does_not_fit_costs_a_round_trip_and_loses_nothing() {
    let times = burst(50_000);
    let gaps: Vec<_> =
        times.windows(2).filter(|p| p[1].0 > p[0].0 + 6).map(|p| (p[0], p[1].0)).collect();
    // What fitted is through after 50 ms; what did not is sent again after 200, four times over.
    assert_eq!(gaps.first(), Some(&((150, 50_000), 305)), "{times:?}");
    assert_eq!(gaps.len(), 3, "{times:?}");
    assert_eq!(times.last(), Some(&(750, 200_000)));
}

#[test]
fn a_loss_is_a_pause_and_the_next_in_a_row_one_twice_as_long() {
    simulate(1, async |world| {
        let mut link = free(10);
        // Everything is lost in the first 25 ms of each second.
        link.down.loss = Loss { share: 1.0, bad: ms(25), good: ms(975) };
        let mut connection = world.connect(&link).await;
        let arrivals = world.read_all(connection.peer);
        // The first three are lost; the fourth waits behind them.
        for index in 0..5 {
            world.until(1_000 + index * 10).await;
            connection.node.write_all(&pattern(index * 100, 100)).await.expect("it is open");
        }
        world.until(2_500).await;
        // A loss that follows a success costs 200 ms again.
        world.until(3_000).await;
        connection.node.write_all(&pattern(500, 100)).await.expect("it is open");
        world.until(5_000).await;
        let lost = [(1_210, 100), (1_420, 200), (1_830, 500), (3_210, 600)];
        assert_eq!(arrivals.pieces(), lost.map(|(millis, total)| (at(millis), total)));
    });
}

#[test]
fn loss_takes_no_byte_away() {
    for seed in 0..10 {
        simulate(seed, async |world| {
            let mut link = bounded(Capacity::Constant(4_000_000), 30);
            link.down.loss = Loss { share: 0.2, bad: ms(300), good: ms(700) };
            let connection = world.connect(&link).await;
            let arrivals = world.read_all(connection.peer);
            feed(connection.node, 0, 2_000_000);
            world.until(120_000).await;
            assert_eq!(arrivals.total(), 2_000_000, "seed {seed}");
            let pauses =
                arrivals.times().windows(2).filter(|pair| pair[1] - pair[0] >= 150).count();
            assert!(pauses > 3, "nothing was lost");
        });
    }
}

#[test]
fn what_arrives_in_bursts_arrives_at_their_times() {
    simulate(1, async |world| {
        let mut link = free(10);
        link.down.burst = ms(120);
        let mut connection = world.connect(&link).await;
        let arrivals = world.read_all(connection.peer);
        for index in 0..100 {
            world.until(500 + index * 7).await;
            connection.node.write_all(&pattern(index * 10, 10)).await.expect("it is open");
        }
        world.until(2_000).await;
        let mut times = arrivals.times();
        times.dedup();
        assert_eq!(times, [600, 720, 840, 960, 1_080, 1_200, 1_320]);
        assert_eq!(arrivals.total(), 1_000);
    });
}

#[test]
fn reads_are_cut_to_segments_and_otherwise_take_all_there_is() {
    simulate(1, async |world| {
        let mut cut = free(1);
        cut.down.segment = Some(7);
        for (link, len_max) in [(cut, 7), (free(1), 5_000)] {
            let mut connection = world.connect(&link).await;
            // Five pieces, which are there before anybody reads.
            for index in 0..5 {
                connection
                    .node
                    .write_all(&pattern(index * 1_000, 1_000))
                    .await
                    .expect("it is open");
            }
            world.until(world.now().millis() + 10).await;
            let (mut reads, mut total) = (Vec::new(), 0);
            let mut buffer = [0; 10_000];
            while total < 5_000 {
                let len = connection.peer.read(&mut buffer).await.expect("it is open");
                assert_eq!(buffer[..len], pattern(total, len as u64));
                total += len as u64;
                reads.push(len);
            }
            assert_eq!(reads.iter().copied().max(), Some(len_max));
        }
    });
}

/// When everything came in a world of this seed, through a link that leaves much to chance.
fn story(seed: u64) -> Vec<Vec<(u64, u64)>> {
    let mut all = Vec::new();
    simulate(seed, async |world| {
        world.fabric.set_egress(world.node, Some(9_000_000));
        let mut link = bounded(Capacity::Constant(6_000_000), 15);
        link.down.jitter = ms(40);
        link.down.loss = Loss { share: 0.05, bad: ms(400), good: ms(600) };
        link.down.segment = Some(9_000);
        let mut arrivals = Vec::new();
        for _ in 0..3 {
            let connection = world.connect(&link).await;
            arrivals.push(world.read_all(connection.peer));
            feed(connection.node, 0, 1_500_000);
        }
        world.until(20_000).await;
        all.extend(arrivals.iter().map(|arrivals| {
            arrivals.pieces().into_iter().map(|(at, total)| (at.micros(), total)).collect()
        }));
    });
    all
}

#[test]
fn one_seed_is_one_story_and_another_seed_another() {
    let first = story(7);
    assert!(first.iter().all(|pieces| pieces.last().is_some_and(|last| last.1 == 1_500_000)));
    assert_eq!(first, story(7));
    assert_ne!(first, story(8));
    // Each connection draws for itself.
    assert_ne!(first[0], first[1]);
}
