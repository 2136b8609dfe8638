//! What was done to whom, and from when to when, as the trace tells it.

use crate::time::SimTime;
use crate::trace::{Trace, What, Who};

/// A fault of a run.
pub(super) struct Fault<'a> {
    /// Whom the plan names: a peer, a node or a group.
    pub(super) who: Who,
    pub(super) family: &'static str,
    pub(super) line: &'a str,
    pub(super) from: SimTime,
    /// `None`: it took a moment.
    pub(super) to: Option<SimTime>,
}

impl Fault<'_> {
    /// The plan's words with the family that PROPERTIES puts them in.
    pub(super) fn words(&self) -> String {
        format!("{} {}", self.family, self.line)
    }

    pub(super) fn title(&self, name: &str) -> String {
        let until = match self.to {
            Some(to) => format!("{} … {to} s", self.from),
            None => format!("{} s", self.from),
        };
        format!("{until}\n{name}: fault {}", self.words())
    }

    /// It ends the node's process: that is drawn as the process being down.
    pub(super) fn is_end_of_process(&self) -> bool {
        matches!(self.line.split(' ').next(), Some("crash" | "stop"))
    }
}

/// All faults, in order of their beginning.
pub(super) fn read(trace: &Trace, end: SimTime) -> Vec<Fault<'_>> {
    let mut faults: Vec<Fault<'_>> = Vec::new();
    let mut open: Vec<usize> = Vec::new();
    for event in &trace.events {
        let Some((begins, family, line)) = (match &event.what {
            What::FaultBegins { family, line } => Some((true, *family, &**line)),
            What::FaultEnds { family, line } => Some((false, *family, &**line)),
            _ => None,
        }) else {
            close_processes(&mut faults, &mut open, event.who, event.at, &event.what);
            continue;
        };
        if begins {
            let to = lasts(line).then_some(end);
            open.push(faults.len());
            faults.push(Fault { who: event.who, family, line, from: event.at, to });
            continue;
        }
        let same = |index: &usize| faults[*index].who == event.who && faults[*index].line == line;
        if let Some(place) = open.iter().position(same) {
            faults[open.remove(place)].to = Some(event.at);
        }
    }
    faults
}

/// A node that listens again is neither stopped nor crashed any more.
fn close_processes(
    faults: &mut [Fault<'_>],
    open: &mut Vec<usize>,
    who: Who,
    at: SimTime,
    what: &What,
) {
    if *what == What::Started {
        open.retain(|index| {
            let fault = &mut faults[*index];
            let is_over = fault.who == who && fault.is_end_of_process();
            if is_over {
                fault.to = Some(at);
            }
            !is_over
        });
    }
}

/// Whether a line does something for a while, or for good; otherwise it takes a moment.
fn lasts(line: &str) -> bool {
    let word = line.split(' ').next().unwrap_or_default();
    line.contains(" for ") || matches!(word, "link" | "egress" | "crash" | "stop")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn faults_last_as_their_words_say() {
        let mut trace = Trace::new();
        let (node, phone) = (trace.who("node"), trace.who("phone"));
        let at = SimTime::from_millis;
        let begins = |line: &str| What::FaultBegins { family: "N10", line: line.into() };
        trace.push(at(1), phone, begins("cut for 0.002"));
        trace.push(at(2), phone, begins("reset"));
        trace.push(at(3), phone, What::FaultEnds { family: "N10", line: "cut for 0.002".into() });
        trace.push(at(4), node, begins("stop for 0.001"));
        trace.push(at(6), node, What::Started);
        trace.push(at(7), phone, begins("link 0 bit/s"));
        let spans: Vec<_> =
            read(&trace, at(9)).iter().map(|fault| (fault.from, fault.to)).collect();
        let expected =
            [(1, Some(3)), (2, None), (4, Some(6)), (7, Some(9))].map(|(a, b)| (at(a), b.map(at)));
        assert_eq!(spans, expected);
    }
}
