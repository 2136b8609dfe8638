//! Every invariant can fail (D5): a bad trace that it rejects, and a near miss that it accepts.
//! A near miss is accepted by all others too, unless it says otherwise.

mod archive;
mod decodability;
mod fanout;
mod hls;
mod ingest;
mod memory;
mod pace;
mod relay;
mod runs;
mod story;
mod twins;

use std::collections::BTreeSet;

use forebay_sim::invariant::ALL;

use self::story::Story;

/// An invariant's bad trace and near miss.
pub(crate) struct Case {
    pub(crate) id: &'static str,
    pub(crate) bad: fn() -> Story,
    pub(crate) near: fn() -> Story,
    /// Other invariants do not hold in the near miss, and need not.
    pub(crate) is_lonely: bool,
}

pub(crate) const fn case(id: &'static str, bad: fn() -> Story, near: fn() -> Story) -> Case {
    Case { id, bad, near, is_lonely: false }
}

fn cases() -> impl Iterator<Item = &'static Case> {
    let sections = [
        ingest::CASES,
        decodability::CASES,
        fanout::CASES,
        pace::CASES,
        memory::CASES,
        hls::CASES,
        relay::CASES,
        archive::CASES,
    ];
    sections.into_iter().flatten().chain(runs::CASES)
}

#[test]
fn every_invariant_has_a_bad_trace_and_a_near_miss() {
    let tested: BTreeSet<_> = cases().map(|case| case.id).collect();
    let known: BTreeSet<_> = ALL.iter().map(|invariant| invariant.id).collect();
    assert_eq!(tested, known);
    assert_eq!(known.len(), ALL.len(), "two invariants of one number");
}

#[test]
fn bad_traces_are_rejected() {
    let mut missed = Vec::new();
    for case in cases() {
        let violations = (case.bad)().violations();
        if !violations.iter().any(|(id, _)| *id == case.id) {
            missed.push(format!("{} accepted its bad trace; others saw {violations:?}", case.id));
        }
    }
    assert!(missed.is_empty(), "{}", missed.join("\n"));
}

#[test]
fn near_misses_are_accepted() {
    let mut alarms = Vec::new();
    for case in cases() {
        for (id, saw) in (case.near)().violations() {
            if id == case.id || !case.is_lonely {
                alarms.push(format!("{}: {id} rejected its near miss: {saw}", case.id));
            }
        }
    }
    assert!(alarms.is_empty(), "{}", alarms.join("\n"));
}
