//! Plan to text. What is as it usually is goes unsaid.

use std::fmt::{self, Display, Formatter, Write};
use std::time::Duration;

use super::units::{self, amount};
use super::vocabulary::{
    DIRECTIONS, LEAVES, MOMENTS, NODE, PLAYERS, RECEIVES, SPEECHES, STARTS, word,
};
use super::{Act, Actor, Direction, Line, Moment, Plan, Play, Publish, Target, VERSION, When};
use crate::link::Link;
use crate::time::SimTime;

/// Seconds, as the text has them.
struct Secs(SimTime);

impl Display for Secs {
    fn fmt(&self, f: &mut Formatter<'_>) -> fmt::Result {
        f.write_str(&units::seconds(self.0.micros()))
    }
}

fn secs(duration: Duration) -> Secs {
    Secs(SimTime::from(duration))
}

/// A word and seconds, if there are any.
fn option(f: &mut Formatter<'_>, word: &str, duration: Option<Duration>) -> fmt::Result {
    duration.map_or(Ok(()), |duration| write!(f, " {word} {}", secs(duration)))
}

fn at_node(f: &mut Formatter<'_>, node: &str) -> fmt::Result {
    if node == NODE { Ok(()) } else { write!(f, " at {node}") }
}

fn over(f: &mut Formatter<'_>, link: &Link) -> fmt::Result {
    if *link == Link::lan() { Ok(()) } else { write!(f, " link {link}") }
}

impl Display for Plan {
    /// The columns have fixed widths: aligned to the longest, one line would move all others.
    fn fmt(&self, f: &mut Formatter<'_>) -> fmt::Result {
        writeln!(f, "plan {VERSION}")?;
        if !self.title.is_empty() {
            for line in self.title.split('\n') {
                f.write_str("#")?;
                if !line.is_empty() {
                    write!(f, " {line}")?;
                }
                f.write_char('\n')?;
            }
        }
        writeln!(f, "{:<8} {}", "seed", self.seed)?;
        let tick = SimTime::from(self.tick).micros();
        writeln!(f, "{:<8} {}", "tick", amount(tick, &units::SPANS))?;
        for setting in &self.settings {
            writeln!(f, "{:<8} {setting}", "set")?;
        }
        for line in &self.lines {
            writeln!(f, "{line}")?;
        }
        if let Some(quiet) = self.quiet {
            writeln!(f, "{:<8} quiet", Secs(quiet).to_string())?;
        }
        writeln!(f, "{:<8} end", Secs(self.end).to_string())
    }
}

impl Display for Line {
    fn fmt(&self, f: &mut Formatter<'_>) -> fmt::Result {
        write!(f, "{:<8} {:<8} {}", self.when.to_string(), self.who.to_string(), self.act)
    }
}

impl Display for When {
    fn fmt(&self, f: &mut Formatter<'_>) -> fmt::Result {
        match self {
            Self::At(time) => write!(f, "{}", Secs(*time)),
            Self::On { moment, delay } if delay.is_zero() => write!(f, "{moment}"),
            Self::On { moment, delay } => write!(f, "{moment}+{}", secs(*delay)),
        }
    }
}

impl Display for Moment {
    fn fmt(&self, f: &mut Formatter<'_>) -> fmt::Result {
        write!(f, "{}.{}", self.who, word(&MOMENTS, &self.event))?;
        if self.count == 1 { Ok(()) } else { write!(f, "#{}", self.count) }
    }
}

impl Display for Actor {
    fn fmt(&self, f: &mut Formatter<'_>) -> fmt::Result {
        f.write_str(&self.name)?;
        if self.count == 1 { Ok(()) } else { write!(f, "*{}", self.count) }
    }
}

impl Display for Act {
    fn fmt(&self, f: &mut Formatter<'_>) -> fmt::Result {
        let (words, lasts): (String, Option<Duration>) = match self {
            Self::Publish(publish) => (publish.to_string(), None),
            Self::Play(play) => (play.to_string(), None),
            Self::Speak { speech, node } => {
                write!(f, "speak {}", word(&SPEECHES, speech))?;
                return at_node(f, node);
            }
            Self::Target(target) => (target.to_string(), None),
            Self::StopReading(lasts) => ("stop-reading".to_owned(), Some(*lasts)),
            Self::Leave(leave) => (format!("leave {}", word(&LEAVES, leave)), None),
            Self::Link(link, lasts) => (format!("link {link}"), *lasts),
            Self::Cut(Direction::Both, lasts) => ("cut".to_owned(), Some(*lasts)),
            Self::Cut(direction, lasts) => {
                (format!("cut {}", word(&DIRECTIONS, direction)), Some(*lasts))
            }
            Self::Forget => ("forget".to_owned(), None),
            Self::Reset => ("reset".to_owned(), None),
            Self::Stall(lasts) => ("stall".to_owned(), Some(*lasts)),
            Self::Receive(receive) => (format!("receive {}", word(&RECEIVES, receive)), None),
            Self::Cancel => ("cancel".to_owned(), None),
            Self::Panic => ("panic".to_owned(), None),
            Self::Crash { down, silent: false } => ("crash".to_owned(), *down),
            Self::Crash { down, silent: true } => ("crash silent".to_owned(), *down),
            Self::Stop(down) => ("stop".to_owned(), *down),
            Self::Freeze(lasts) => ("freeze".to_owned(), Some(*lasts)),
            Self::Late(up_to, lasts) => {
                let up_to = amount(SimTime::from(*up_to).micros(), &units::SPANS);
                (format!("late {up_to}"), Some(*lasts))
            }
            Self::Egress(bits, lasts) => {
                (format!("egress {}", amount(*bits, &units::RATES)), *lasts)
            }
            Self::Refuse(lasts) => ("refuse".to_owned(), Some(*lasts)),
            Self::Hang(lasts) => ("hang".to_owned(), Some(*lasts)),
            Self::Disk(fault, lasts) => (format!("disk {fault}"), *lasts),
        };
        f.write_str(&words)?;
        option(f, "for", lasts)
    }
}

impl Display for Publish {
    fn fmt(&self, f: &mut Formatter<'_>) -> fmt::Result {
        write!(f, "publish {} {}", self.key, self.capture)?;
        if let Some((from, to)) = self.part {
            write!(f, " {}..{}", Secs(from), Secs(to))?;
        }
        if self.repeats {
            f.write_str(" repeats")?;
        }
        for quirk in &self.quirks {
            write!(f, " quirk {quirk}")?;
        }
        option(f, "again", self.again)?;
        at_node(f, &self.node)?;
        over(f, &self.link)
    }
}

impl Display for Play {
    fn fmt(&self, f: &mut Formatter<'_>) -> fmt::Result {
        write!(f, "play {} {}", self.key, word(&PLAYERS, &self.player))?;
        if let Some(start) = self.start {
            write!(f, " start {}", word(&STARTS, &start))?;
        }
        option(f, "apart", (!self.apart.is_zero()).then_some(self.apart))?;
        option(f, "stay", self.stay)?;
        option(f, "again", self.again)?;
        at_node(f, &self.node)?;
        over(f, &self.link)
    }
}

impl Display for Target {
    fn fmt(&self, f: &mut Formatter<'_>) -> fmt::Result {
        write!(f, "target {}", self.streams)?;
        if let Some(key) = &self.key {
            write!(f, " key {key}")?;
        }
        for quirk in &self.quirks {
            write!(f, " quirk {quirk}")?;
        }
        at_node(f, &self.node)?;
        over(f, &self.link)
    }
}
