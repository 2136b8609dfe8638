//! Faults of plans, one family at a time: each is seen to do to its victim what PROPERTIES says it
//! does, and nothing to anybody else.

mod links;
mod nodes;
mod peers;

use std::time::Duration;

use forebay_sim::plan::Plan;
use forebay_sim::run::{self, Run};
use forebay_sim::tag::TagSeen;
use forebay_sim::time::SimTime;
use forebay_sim::trace::{Close, Level, What, Who};

/// A plan that was carried out, to ask questions about.
struct Ran {
    text: String,
    run: Run,
}

/// A studio from the start on, a viewer that something will happen to, and a witness that is left
/// alone; and these lines.
fn with_viewers(lines: &str) -> Ran {
    carry_out(&format!(
        "0.000 studio publish live/a obs-360p30-base repeats\n\
         0.500 phone play live/a rtmp\n\
         0.500 sofa play live/a flv\n{lines}"
    ))
}

fn carry_out(lines: &str) -> Ran {
    let text = format!("plan 1\nseed 1\n{lines}\n");
    let plan: Plan = text.parse().unwrap_or_else(|error| panic!("{error} in\n{text}"));
    let run = run::run(&plan).unwrap_or_else(|error| panic!("{error} in\n{text}"));
    let ran = Ran { text, run };
    let broken: Vec<_> =
        ran.of("world").filter(|(_, what)| matches!(what, What::Unphysical { .. })).collect();
    assert!(broken.is_empty(), "{broken:?} in\n{}", ran.text);
    ran
}

fn at(millis: u64) -> SimTime {
    SimTime::from_millis(millis)
}

const fn ms(millis: u64) -> Duration {
    Duration::from_millis(millis)
}

impl Ran {
    fn who(&self, name: &str) -> Option<Who> {
        let index = self.run.trace.names.iter().position(|known| known == name)?;
        Some(Who(index as u32))
    }

    /// What happened to somebody.
    fn of(&self, name: &str) -> impl Iterator<Item = (SimTime, &What)> {
        let who = self.who(name).unwrap_or_else(|| panic!("nobody is {name} in\n{}", self.text));
        let events = self.run.trace.events.iter().filter(move |event| event.who == who);
        events.map(|event| (event.at, &event.what))
    }

    /// When this happened to somebody.
    fn times(&self, name: &str, is_it: impl Fn(&What) -> bool) -> Vec<SimTime> {
        self.of(name).filter(|(_, what)| is_it(what)).map(|(at, _)| at).collect()
    }

    fn got(&self, name: &str) -> Vec<(SimTime, TagSeen)> {
        let tags = self.of(name).filter_map(|(at, what)| match what {
            What::Got(tag) => Some((at, *tag)),
            _ => None,
        });
        tags.collect()
    }

    fn sent(&self, name: &str) -> Vec<(SimTime, TagSeen)> {
        let tags = self.of(name).filter_map(|(at, what)| match what {
            What::Sent(tag) => Some((at, *tag)),
            _ => None,
        });
        tags.collect()
    }

    fn entered(&self, node: &str) -> Vec<(SimTime, TagSeen)> {
        let tags = self.of(node).filter_map(|(at, what)| match what {
            What::Entered { tag, .. } => Some((at, *tag)),
            _ => None,
        });
        tags.collect()
    }

    fn closed(&self, name: &str) -> Vec<(SimTime, Close)> {
        let ends = self.of(name).filter_map(|(at, what)| match what {
            What::Closed(close) => Some((at, *close)),
            _ => None,
        });
        ends.collect()
    }

    /// The only end of somebody's only connection.
    #[track_caller]
    fn end(&self, name: &str) -> (SimTime, Close) {
        let ends = self.closed(name);
        let [end] = ends[..] else { panic!("{name} ended {ends:?} in\n{}", self.text) };
        end
    }

    /// What somebody was told of errors, the codes.
    fn errors(&self, name: &str) -> Vec<(SimTime, String)> {
        let told = self.of(name).filter_map(|(at, what)| match what {
            What::ToldError { code, .. } => Some((at, code.to_string())),
            _ => None,
        });
        told.collect()
    }

    /// Lines of a node's log that are at least so bad.
    fn log(&self, node: &str, at_least: Level) -> Vec<String> {
        let lines = self.of(node).filter_map(|(_, what)| match what {
            What::Log { level, text } if *level >= at_least => Some(text.to_string()),
            _ => None,
        });
        lines.collect()
    }

    /// Who left nothing out, and when it lasted to: it got all that entered from its first picture
    /// on, in order.
    #[track_caller]
    fn is_untouched(&self, name: &str) {
        let (got, entered) = (self.got(name), self.entered("node"));
        let is_first = |tag: &TagSeen| tag.role.is_picture();
        let first = got.iter().position(|(_, tag)| is_first(tag));
        let got = &got[first.unwrap_or_else(|| panic!("{name} saw nothing in\n{}", self.text))..];
        let from = entered.iter().position(|(_, tag)| *tag == got[0].1);
        let from = from.unwrap_or_else(|| panic!("{name} got what never entered: {}", got[0].1));
        let same = got.iter().zip(&entered[from..]).take_while(|(a, b)| a.1 == b.1).count();
        assert_eq!(same, got.len(), "{name} lost or got a tag it should not in\n{}", self.text);
        let missing = entered.len() - from - got.len();
        assert!(missing <= 20, "{name} is {missing} tags behind at the end of\n{}", self.text);
        assert!(self.closed(name).is_empty(), "{name} was closed in\n{}", self.text);
    }

    /// How long after its node each tag came to somebody, by the time it came: those between two
    /// times.
    fn delays(&self, name: &str, from: u64, to: u64) -> Vec<Duration> {
        let entered = self.entered("node");
        let delay = |(at, tag): (SimTime, TagSeen)| {
            // The same tag comes again in the next round of the capture, with other timestamps.
            let same = entered.iter().find(|(_, known)| *known == tag);
            same.map(|(since, _)| at.since(*since))
        };
        let got = self.got(name).into_iter().filter(|(time, _)| (at(from)..at(to)).contains(time));
        got.filter_map(delay).collect()
    }
}

/// Tags between two times.
fn between(tags: &[(SimTime, TagSeen)], from: u64, to: u64) -> Vec<TagSeen> {
    let tags = tags.iter().filter(|(time, _)| (at(from)..at(to)).contains(time));
    tags.map(|(_, tag)| *tag).collect()
}

/// Payload bytes between two times.
fn bytes(tags: &[(SimTime, TagSeen)], from: u64, to: u64) -> u64 {
    between(tags, from, to).iter().map(|tag| u64::from(tag.len)).sum()
}

/// The longest time without a tag: from when to when.
fn pause(tags: &[(SimTime, TagSeen)]) -> (SimTime, SimTime) {
    let pairs = tags.windows(2).map(|pair| (pair[0].0, pair[1].0));
    pairs.max_by_key(|(from, to)| to.since(*from)).unwrap_or_default()
}
