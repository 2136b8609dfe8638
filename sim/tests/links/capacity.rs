//! What passes in a time: capacity, constant and over time, and the delay.

use forebay_sim::Link;
use forebay_sim::link::Capacity;
use forebay_sim::time::SimTime;
use tokio::io::AsyncWriteExt as _;

use crate::{at, bounded, feed, free, ms, pattern, simulate};

const MBIT: u64 = 1_000_000;

/// `(from, to, bits per second)` of each part of a period, in milliseconds.
fn trace(parts: &[(u64, u64, u64)]) -> Capacity {
    let steps = parts.iter().map(|(from, _, rate)| (ms(*from), *rate)).collect();
    Capacity::Trace { steps, period: ms(parts[parts.len() - 1].1) }
}

/// Feeds a link for so long: at every millisecond, what has come is what could have passed.
fn check(name: &str, link: &Link, seconds: u64, rate: impl Fn(u64) -> u64) {
    simulate(1, async |world| {
        let connection = world.connect(link).await;
        let begin = world.now().millis();
        let arrivals = world.read_all(connection.peer);
        feed(connection.node, 0, u64::MAX);
        let end = begin + seconds * 1_000;
        world.until(end).await;
        let delay = link.down.delay.as_millis() as u64;
        let peak = (0..20_000).map(&rate).max().unwrap_or(0);
        // Served at once: five milliseconds of the rate. Rounded: a millisecond at each end.
        let grain = (peak / 8 / 200).clamp(1_460, 64 << 10) + 2 * peak / 8_000;
        let mut may = 0;
        for millis in begin + delay..end {
            // In thousandths of a bit; all rates change at whole milliseconds.
            may += rate(millis - delay);
            let (may, came) = (may / 8_000, arrivals.by(at(millis)));
            assert!(
                came <= may + 1 && came + grain >= may,
                "{name} at {millis} ms: {came} bytes came where {may} could, grain {grain}"
            );
        }
    });
}

#[test]
fn a_constant_rate_lets_through_what_it_says() {
    let rates = [100_000, MBIT, 3_333_333, 8 * MBIT, 90 * MBIT, 200 * MBIT];
    for (rate, seconds) in rates.into_iter().zip([5, 5, 5, 5, 2, 1]) {
        let link = bounded(Capacity::Constant(rate), 20);
        let name = format!("{rate} bit/s");
        check(&name, &link, seconds, |_| rate);
    }
}

#[test]
fn a_long_time_adds_no_error() {
    check("3333333 bit/s", &bounded(Capacity::Constant(3_333_333), 20), 120, |_| 3_333_333);
}

#[test]
fn every_named_link_lets_through_what_it_says() {
    for (name, link) in forebay_sim::link::NAMED {
        let mut link = link();
        if link.down.capacity == Capacity::Unlimited {
            continue;
        }
        let capacity = link.down.capacity.clone();
        // Its delay is another test's, and a queue that overflows as well.
        link.down.jitter = ms(0);
        link.down.queue = 64 << 20;
        let seconds = if matches!(capacity, Capacity::Trace { .. }) { 6 } else { 2 };
        check(name, &link, seconds, |millis| capacity.rate_at(at(millis)));
    }
}

#[test]
fn steps_let_through_the_rate_of_the_moment() {
    let parts = [(0, 1_000, 2 * MBIT), (1_000, 1_700, 10 * MBIT), (1_700, 2_300, 500_000)];
    check("steps", &bounded(trace(&parts), 30), 10, rate_of(&parts));
}

#[test]
fn a_sawtooth_lets_through_the_rate_of_the_moment() {
    let parts: Vec<_> = (0..20).map(|i| (i * 100, i * 100 + 100, (i + 1) * MBIT)).collect();
    check("sawtooth", &bounded(trace(&parts), 5), 10, rate_of(&parts));
}

#[test]
fn nothing_passes_in_an_outage_and_everything_after_it() {
    let parts = [(0, 2_000, 5 * MBIT), (2_000, 3_500, 0)];
    check("outage", &bounded(trace(&parts), 10), 12, rate_of(&parts));
}

fn rate_of(parts: &[(u64, u64, u64)]) -> impl Fn(u64) -> u64 {
    move |millis| {
        let phase = millis % parts[parts.len() - 1].1;
        parts.iter().find(|part| (part.0..part.1).contains(&phase)).map_or(0, |part| part.2)
    }
}

#[test]
fn a_link_that_changes_lets_through_the_new_rate_from_then_on() {
    simulate(1, async |world| {
        let slow = bounded(Capacity::Constant(MBIT), 10);
        let connection = world.connect(&slow).await;
        let arrivals = world.read_all(connection.peer);
        feed(connection.node, 0, u64::MAX);
        world.until(1_000).await;
        world.fabric.set_link(connection.host, &bounded(Capacity::Constant(8 * MBIT), 10));
        world.until(2_000).await;
        world.fabric.set_link(connection.host, &bounded(Capacity::Constant(0), 10));
        world.until(3_000).await;
        world.fabric.set_link(connection.host, &slow);
        world.until(4_000).await;
        let came = |from, to| arrivals.by(at(to)) - arrivals.by(at(from));
        // A change loses what was being served: a grain of 12 ms at most.
        for (from, to, bytes) in [
            (50, 1_000, 118_750),
            (1_030, 2_000, 970_000),
            (2_020, 3_000, 0),
            (3_030, 4_000, 121_250),
        ] {
            let came = came(from, to);
            let grain = 8 * bytes / 100;
            assert!(
                came.abs_diff(bytes) <= grain,
                "{came} bytes between {from} and {to} ms, expected {bytes}"
            );
        }
    });
}

#[test]
fn a_limit_that_is_lifted_keeps_the_order_of_what_was_on_its_way() {
    simulate(1, async |world| {
        let mut connection = world.connect(&bounded(Capacity::Constant(100_000), 10)).await;
        let arrivals = world.read_all(connection.peer);
        // One piece, which is being served when the limit goes and more is written at once.
        connection.node.write_all(&pattern(0, 1_000)).await.expect("it is open");
        world.fabric.set_link(connection.host, &free(10));
        connection.node.write_all(&pattern(1_000, 5_000)).await.expect("it is open");
        world.until(1_000).await;
        assert_eq!(arrivals.total(), 6_000);
    });
}

#[test]
fn a_byte_takes_the_delay_of_its_direction() {
    simulate(1, async |world| {
        let mut link = free(40);
        link.up.delay = ms(150);
        let mut connection = world.connect(&link).await;
        world.until(1_000).await;
        connection.node.write_all(&pattern(0, 10)).await.expect("it is open");
        connection.peer.write_all(&pattern(0, 10)).await.expect("it is open");
        let (down, up) = (world.read_all(connection.peer), world.read_all(connection.node));
        world.until(1_500).await;
        assert_eq!((down.times(), up.times()), (vec![1_040], vec![1_150]));
    });
}

#[test]
fn an_unlimited_link_takes_any_burst_at_once() {
    simulate(1, async |world| {
        let mut connection = world.connect(&free(25)).await;
        world.until(1_000).await;
        connection.node.write_all(&pattern(0, 900_000)).await.expect("it is open");
        let arrivals = world.read_all(connection.peer);
        world.until(1_026).await;
        assert_eq!((arrivals.by(at(1_024)), arrivals.by(at(1_025))), (0, 900_000));
    });
}

#[test]
fn a_capacity_without_any_never_lets_anything_through() {
    let none = [Capacity::Constant(0), trace(&[(0, 1_000, 0), (1_000, 2_000, 0)])];
    assert!(none.iter().all(|none| none.time_to_pass(at(5), 8.0) == SimTime::MAX));
    simulate(1, async |world| {
        for capacity in none {
            let connection = world.connect(&bounded(capacity, 1)).await;
            let arrivals = world.read_all(connection.peer);
            feed(connection.node, 0, 10_000);
            world.until(world.now().millis() + 10_000).await;
            assert_eq!(arrivals.total(), 0);
        }
    });
}
