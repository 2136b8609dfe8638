//! The checker complains about what cannot be, and not about what just can.

use std::time::Duration;

use super::*;

const MBIT: Capacity = Capacity::Constant(1_000_000);

/// Bytes that 1 Mbit/s lets through in a millisecond.
const PER_MS: usize = 125;

fn at(millis: u64) -> SimTime {
    SimTime::from_millis(millis)
}

/// A direction into which much was sent.
fn fed() -> Physics {
    let mut physics = Physics::default();
    physics.enter(100 << 20);
    physics
}

/// Passes so many bytes each millisecond, from the first to the last one. Says when it complains.
fn complains(capacity: &Capacity, millis: std::ops::Range<u64>, len: usize) -> Option<u64> {
    let mut physics = fed();
    physics.forget_debt(at(millis.start));
    let mut times = millis.skip(1);
    times.find(|millis| physics.pass(at(*millis), len, capacity).is_err())
}

#[test]
fn what_passes_at_its_rate_is_possible_for_ever() {
    assert_eq!(complains(&MBIT, 0..600_000, PER_MS), None);
}

#[test]
fn what_passes_faster_than_its_rate_is_not() {
    // One byte a millisecond too much is more than 64 KiB too much after 65 seconds.
    let told = complains(&MBIT, 0..600_000, PER_MS + 1);
    assert!(told.is_some_and(|at| (65_000..66_000).contains(&at)), "{told:?}");
    assert!(complains(&MBIT, 0..1_000, 2 * PER_MS).is_some());
}

#[test]
fn a_pause_is_no_credit() {
    let mut physics = fed();
    physics.pass(at(0), 1, &MBIT).expect("it is little");
    physics.pass(at(100_000), 64 << 10, &MBIT).expect("it is what is served at once");
    assert!(physics.pass(at(100_001), 1_000, &MBIT).is_err(), "a hundred idle seconds ago");
}

#[test]
fn a_trace_pays_by_its_parts() {
    let steps = vec![(Duration::ZERO, 1_000_000), (Duration::from_secs(1), 0)];
    let half = Capacity::Trace { steps, period: Duration::from_secs(2) };
    assert_eq!(complains(&half, 0..100_000, PER_MS / 2), None);
    assert!(complains(&half, 0..100_000, PER_MS).is_some());
    assert!(complains(&half, 1_000..2_000, PER_MS).is_some(), "nothing passes in its second part");
}

#[test]
fn an_unlimited_way_passes_anything_but_what_never_entered() {
    let mut physics = Physics::default();
    physics.enter(1_000_000);
    physics.pass(at(0), 1_000_000, &Capacity::Unlimited).expect("there is no limit");
    assert!(physics.pass(at(1), 1, &Capacity::Unlimited).is_err(), "it was never sent");
}

#[test]
fn bytes_arrive_in_order_and_once_and_behind_the_bottleneck() {
    let arrivals = [
        ("in order", [(0, 100), (100, 100)], true),
        ("overtaken", [(100, 100), (0, 100)], false),
        ("twice", [(0, 100), (0, 100)], false),
        ("lost", [(0, 100), (101, 50)], false),
    ];
    for (name, pieces, is_possible) in arrivals {
        let mut physics = fed();
        physics.pass(at(0), 200, &MBIT).expect("it is little");
        let arrived = pieces.map(|(offset, len)| physics.arrive(offset, len));
        assert_eq!(arrived.iter().all(Result::is_ok), is_possible, "{name}");
    }
    let mut physics = fed();
    physics.pass(at(0), 100, &MBIT).expect("it is little");
    assert!(physics.arrive(0, 101).is_err(), "one byte did not come through the bottleneck");
}

#[test]
fn another_capacity_begins_without_debt() {
    let mut physics = fed();
    physics.pass(at(0), 64 << 10, &MBIT).expect("it is what is served at once");
    physics.forget_debt(at(0));
    physics.pass(at(0), 64 << 10, &MBIT).expect("the debt is forgotten");
    assert!(physics.pass(at(0), 64 << 10, &MBIT).is_err());
}
