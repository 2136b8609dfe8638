//! Which family of faults a line belongs to; the names are those of PROPERTIES 2.

use super::cast::{Cast, Role, introduction};
use super::{Act, Direction, Leave, Line, Plan, Speech};
use crate::link::{Capacity, Link, Path};

impl Act {
    /// Its family as far as the act alone tells; `None` if it is no fault.
    pub fn family(&self) -> Option<&'static str> {
        Some(match self {
            Self::Publish(_) | Self::Play(_) | Self::Target(_) => return None,
            Self::Speak { speech, .. } => spoken(*speech),
            Self::StopReading(_) => "V4",
            Self::Leave(Leave::HalfClose) => "N15",
            Self::Leave(_) => "V10",
            Self::Link(link, _) => relinked(&Link::lan(), link),
            Self::Cut(Direction::Both, _) => "N10",
            Self::Cut(Direction::Up | Direction::Down, _) => "N12",
            Self::Forget => "N16",
            Self::Reset => "N14",
            Self::Stall(_) => "P19",
            Self::Receive(_) => "V11",
            Self::Cancel => "X5",
            Self::Panic => "X6",
            Self::Crash { .. } => "X1",
            Self::Stop(_) => "X2",
            Self::Freeze(_) => "T4",
            Self::Late(..) => "T5",
            Self::Egress(..) => "N8",
            Self::Refuse(_) | Self::Hang(_) => "N20",
            Self::Disk(fault, _) => fault.family(),
        })
    }
}

impl Plan {
    /// A line's family. It takes the plan to know who leaves, and from what a link changes.
    pub fn family(&self, line: &Line) -> Option<&'static str> {
        match &line.act {
            Act::Leave(leave) if *leave != Leave::HalfClose => {
                let publishes = Cast::of(self).0.role(&line.who.name) == Some(Role::Publisher);
                Some(if publishes { "P22" } else { "V10" })
            }
            Act::Cut(Direction::Both, _)
                if Cast::of(self).0.role(&line.who.name) == Some(Role::Node) =>
            {
                Some("N11")
            }
            Act::Link(link, _) => {
                let before = self.link_of(&line.who.name);
                Some(relinked(before.unwrap_or(&Link::lan()), link))
            }
            act => act.family(),
        }
    }

    /// The link that a peer or its group came with.
    fn link_of(&self, name: &str) -> Option<&Link> {
        let group = name.rsplit_once('-').map_or(name, |(group, _)| group);
        let comes = |known: &str| {
            let mut lines = self.lines.iter();
            lines.find(|line| line.who.name == known && introduction(&line.act).is_some())
        };
        match &comes(name).or_else(|| comes(group))?.act {
            Act::Publish(publish) => Some(&publish.link),
            Act::Play(play) => Some(&play.link),
            Act::Target(target) => Some(&target.link),
            _ => None,
        }
    }
}

/// What changed, the most telling first.
fn relinked(from: &Link, to: &Link) -> &'static str {
    let differs =
        |part: fn(&Path, &Path) -> bool| part(&from.down, &to.down) || part(&from.up, &to.up);
    // Two rates in turn: what others leave, who come and go.
    let is_shared = |path: &Path| {
        matches!(&path.capacity, Capacity::Trace { steps, .. }
            if steps.len() == 2 && steps.iter().all(|(_, bits)| *bits > 0))
    };
    let is_traced = |path: &Path| matches!(path.capacity, Capacity::Trace { .. });
    let any = |is: &dyn Fn(&Path) -> bool| is(&to.down) || is(&to.up);
    if differs(|a, b| a.capacity != b.capacity) {
        if any(&is_shared) {
            "N9"
        } else if any(&is_traced) {
            "N5"
        } else {
            "N4"
        }
    } else if differs(|a, b| a.loss != b.loss) {
        "N7"
    } else if differs(|a, b| a.jitter != b.jitter) {
        "N2"
    } else if differs(|a, b| a.queue != b.queue) {
        "N6"
    } else if differs(|a, b| a.segment != b.segment) {
        "N17"
    } else if differs(|a, b| a.burst != b.burst) {
        "N18"
    } else if from.window != to.window {
        "N19"
    } else {
        "N1"
    }
}

fn spoken(speech: Speech) -> &'static str {
    match speech {
        Speech::Silence
        | Speech::Garbage
        | Speech::HalfHandshake
        | Speech::SlowHandshake
        | Speech::WrongVersion => "P25",
        Speech::Http | Speech::Tls => "P26",
        Speech::GarbageAfterHandshake
        | Speech::LongMessage
        | Speech::ManyChunkStreams
        | Speech::DeepAmf
        | Speech::UnknownCommands
        | Speech::MediaFirst => "P28",
        Speech::PlaysNothing => "V9",
        Speech::Intruder => "P23",
        Speech::SlowHttp => "V15",
    }
}
