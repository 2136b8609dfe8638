//! Text to plan.

use std::str::FromStr;
use std::time::Duration;

use super::cast::{Cast, Part};
use super::units::{RATE_MAX, RATES, SPANS};
use super::vocabulary::{
    DIRECTIONS, LEAVES, MOMENTS, NODE, PLAYERS, RECEIVES, SPEECHES, STARTS, hint,
};
use super::words::{Read, Words};
use super::{
    Act, Actor, Direction, Line, Moment, MomentKind, Plan, Play, Publish, Target, VERSION, When,
    disk, link, quirk, target,
};
use crate::time::SimTime;

/// Where a text is no plan: line and column, from 1.
#[derive(Debug, thiserror::Error, PartialEq, Eq)]
#[error("line {line}, column {column}: {reason}")]
pub struct PlanError {
    /// The line.
    pub line: usize,
    /// The column, in characters.
    pub column: usize,
    /// What was expected, and what was there.
    pub reason: String,
}

/// The largest group.
const GROUP_MAX: u32 = 10_000;
/// Why a line is wrong that says what was said.
const TWICE: &str = "said for the second time";
/// The grain of time where the text does not say it.
const TICK: Duration = Duration::from_millis(5);

impl FromStr for Plan {
    type Err = PlanError;

    fn from_str(text: &str) -> Read<Self> {
        let mut reader = Reader::default();
        for (index, line) in text.split('\n').enumerate() {
            let line = line.strip_suffix('\r').unwrap_or(line);
            reader.line(&mut Words::of(index + 1, line), line)?;
        }
        reader.finish()
    }
}

/// What was read so far.
#[derive(Default)]
struct Reader {
    /// Whether the first line was seen: which format this is.
    known: bool,
    /// Whether a comment still belongs to the title.
    titling: bool,
    title: Option<String>,
    seed: Option<u64>,
    tick: Option<Duration>,
    settings: Vec<String>,
    lines: Vec<Line>,
    /// Where each line stands in the text.
    places: Vec<Place>,
    quiet: Option<SimTime>,
    end: Option<SimTime>,
    lines_seen: usize,
}

/// Where a line's parts stand in the text.
struct Place {
    line: usize,
    when: usize,
    who: usize,
    act: usize,
}

impl Reader {
    fn line(&mut self, words: &mut Words<'_>, text: &str) -> Read<()> {
        self.lines_seen += 1;
        if words.is_empty() {
            match text.trim_start().strip_prefix('#') {
                Some(comment) if self.titling => self.title_line(comment),
                _ => self.titling = false,
            }
            return Ok(());
        }
        self.titling = false;
        if self.end.is_some() {
            return Err(words.expected("nothing after the end"));
        }
        if !self.known {
            return self.version(words);
        }
        let column = words.column();
        let twice = if words.eat("seed") {
            let what = "a number from 0 to 2^64-1";
            self.seed.replace(words.value(what, |word| word.parse().ok())?).is_some()
        } else if words.eat("tick") {
            let tick = words.amount("a tick", &SPANS, 1..=1_000_000)?;
            self.tick.replace(Duration::from_micros(tick)).is_some()
        } else if words.eat("set") {
            let setting = words.value("a setting, as section.key=value", read_setting)?;
            self.settings.push(setting);
            false
        } else {
            self.happening(words)?
        };
        once(twice, words, column)?;
        words.finish()
    }

    fn title_line(&mut self, comment: &str) {
        let line = comment.strip_prefix(' ').unwrap_or(comment);
        match &mut self.title {
            Some(title) => {
                title.push('\n');
                title.push_str(line);
            }
            None => self.title = Some(line.to_owned()),
        }
    }

    fn version(&mut self, words: &mut Words<'_>) -> Read<()> {
        words.must("plan")?;
        let column = words.column();
        let version = words.number(0..=i64::from(u32::MAX))?;
        if version != i64::from(VERSION) {
            let reason =
                format!("plan format {version} is not known; this simulator reads {VERSION}");
            return Err(words.error(column, reason));
        }
        (self.known, self.titling) = (true, true);
        words.finish()
    }

    /// A line with a time. Whether it says again what may be said once.
    fn happening(&mut self, words: &mut Words<'_>) -> Read<bool> {
        let when_column = words.column();
        let when = read_when(words)?;
        if let When::At(time) = when {
            if words.eat("quiet") {
                return Ok(self.quiet.replace(time).is_some());
            }
            if words.eat("end") {
                if time == SimTime::ZERO {
                    return Err(words.error(when_column, "a run must last".to_owned()));
                }
                if self.quiet.is_some_and(|quiet| quiet > time) {
                    let reason = "the run ends before it is quiet";
                    return Err(words.error(when_column, reason.to_owned()));
                }
                return Ok(self.end.replace(time).is_some());
            }
        }
        let who_column = words.column();
        let who = read_actor(words)?;
        let place = Place {
            line: self.lines_seen,
            when: when_column,
            who: who_column,
            act: words.column(),
        };
        let act = read_act(words)?;
        self.lines.push(Line { when, who, act });
        self.places.push(place);
        Ok(false)
    }

    fn finish(self) -> Read<Plan> {
        let error = |reason: &str| PlanError {
            line: self.lines_seen,
            column: 1,
            reason: reason.to_owned(),
        };
        if !self.known {
            return Err(error("expected `plan 1`, not the end of the text"));
        }
        let Some(end) = self.end else {
            return Err(error("expected when the run is over, as `4.200 end`"));
        };
        let plan = Plan {
            title: self.title.unwrap_or_default(),
            seed: self.seed.unwrap_or(0),
            tick: self.tick.unwrap_or(TICK),
            settings: self.settings,
            lines: self.lines,
            quiet: self.quiet,
            end,
        };
        match Cast::of(&plan).1 {
            None => Ok(plan),
            Some(objection) => {
                let Place { line, when, who, act } = self.places[objection.line];
                let column = match objection.part {
                    Part::When => when,
                    Part::Who => who,
                    Part::Act => act,
                };
                Err(PlanError { line, column, reason: objection.reason })
            }
        }
    }
}

fn read_setting(word: &str) -> Option<String> {
    let (key, _) = word.split_once('=')?;
    let (section, name) = key.split_once('.')?;
    (!section.is_empty() && !name.is_empty()).then(|| word.to_owned())
}

fn is_name(name: &str) -> bool {
    name.starts_with(|letter: char| letter.is_ascii_alphabetic())
        && name.chars().all(|letter| letter.is_ascii_alphanumeric() || "-_".contains(letter))
        && !["quiet", "end"].contains(&name)
}

fn read_name(word: &str) -> Option<String> {
    is_name(word).then(|| word.to_owned())
}

/// `0.310`, or `studio.keyframe#3+0.005`.
fn read_when(words: &mut Words<'_>) -> Read<When> {
    if words.peek().is_some_and(|word| !word.starts_with(|it: char| it.is_ascii_digit())) {
        let column = words.column();
        let what = "a time, or a moment as studio.keyframe#3";
        let (who, event) = words.value(what, |word| word.split_once('.'))?;
        let (event, delay) = event.split_once('+').unwrap_or((event, "0"));
        let (event, count) = event.split_once('#').unwrap_or((event, "1"));
        let delay = Words::of(0, delay).seconds().map_err(|_| {
            words.error(column, format!("expected seconds after `+`, not `{delay}`"))
        })?;
        let moment = read_moment(who, event, count).map_err(|why| words.error(column, why))?;
        return Ok(When::On { moment, delay });
    }
    Ok(When::At(words.seconds()?.into()))
}

fn read_moment(who: &str, event: &str, count: &str) -> Result<Moment, String> {
    if !is_name(who) {
        return Err(format!("expected a name before the point, not `{who}`"));
    }
    let event = read_event(event).ok_or_else(|| {
        let hint = hint(event, &MOMENTS.map(|(word, _)| word));
        format!("expected a moment, not `{event}`{hint}")
    })?;
    match count.parse() {
        Ok(count @ 1..) => Ok(Moment { who: who.to_owned(), event, count }),
        _ => Err(format!("expected a count from 1 after `#`, not `{count}`")),
    }
}

fn read_event(word: &str) -> Option<MomentKind> {
    MOMENTS.iter().find(|(known, _)| *known == word).map(|(_, kind)| *kind)
}

/// `phone`, or `crowd*20`.
fn read_actor(words: &mut Words<'_>) -> Read<Actor> {
    let column = words.column();
    let word = words.any("a name, `quiet` or `end`")?;
    let (name, count) = word.split_once('*').unwrap_or((word, "1"));
    if !is_name(name) {
        return Err(words.error(column, format!("expected a name, not `{name}`")));
    }
    match count.parse() {
        Ok(count @ 1..=GROUP_MAX) => Ok(Actor { name: name.to_owned(), count }),
        _ => {
            let reason = format!("expected a count from 1 to {GROUP_MAX}, not `{count}`");
            Err(words.error(column, reason))
        }
    }
}

type ReadAct = fn(&mut Words<'_>) -> Read<Act>;

const ACTS: [(&str, ReadAct); 22] = [
    ("publish", |words| read_publish(words).map(Act::Publish)),
    ("play", |words| read_play(words).map(Act::Play)),
    ("speak", |words| {
        let speech = words.one_of("how to speak", &SPEECHES)?;
        Ok(Act::Speak { speech, node: read_node(words)? })
    }),
    ("target", |words| read_target(words).map(Act::Target)),
    ("stop-reading", |words| words.lasting().map(Act::StopReading)),
    ("leave", |words| words.one_of("how to leave", &LEAVES).map(Act::Leave)),
    ("link", |words| Ok(Act::Link(link::read(words)?, words.maybe_lasting()?))),
    ("cut", |words| {
        let direction = words.some_of(&DIRECTIONS).unwrap_or(Direction::Both);
        Ok(Act::Cut(direction, words.lasting()?))
    }),
    ("forget", |_| Ok(Act::Forget)),
    ("reset", |_| Ok(Act::Reset)),
    ("stall", |words| words.lasting().map(Act::Stall)),
    ("receive", |words| words.one_of("what to receive", &RECEIVES).map(Act::Receive)),
    ("cancel", |_| Ok(Act::Cancel)),
    ("panic", |_| Ok(Act::Panic)),
    ("crash", |words| Ok(Act::Crash { silent: words.eat("silent"), down: words.maybe_lasting()? })),
    ("stop", |words| words.maybe_lasting().map(Act::Stop)),
    ("freeze", |words| words.lasting().map(Act::Freeze)),
    ("late", |words| Ok(Act::Late(words.span()?, words.lasting()?))),
    ("egress", |words| {
        Ok(Act::Egress(words.amount("a rate", &RATES, 0..=RATE_MAX)?, words.maybe_lasting()?))
    }),
    ("refuse", |words| words.lasting().map(Act::Refuse)),
    ("hang", |words| words.lasting().map(Act::Hang)),
    ("disk", disk::read),
];

fn read_act(words: &mut Words<'_>) -> Read<Act> {
    words.one_of("what happens", &ACTS)?(words)
}

/// `at b`, if it is said.
fn read_node(words: &mut Words<'_>) -> Read<String> {
    if words.eat("at") { words.value("a node's name", read_name) } else { Ok(NODE.to_owned()) }
}

/// `live/a`.
fn read_key(words: &mut Words<'_>) -> Read<String> {
    words.value("a stream, as live/a", |word| {
        let (app, name) = word.split_once('/')?;
        (!app.is_empty() && !name.is_empty()).then(|| word.to_owned())
    })
}

fn read_capture(words: &mut Words<'_>) -> Read<String> {
    words.value("a capture, as obs-360p30-base", |word| {
        let plain = |letter: char| letter.is_ascii_alphanumeric() || "-_.".contains(letter);
        word.chars().all(plain).then(|| word.to_owned())
    })
}

/// `0.000..4.200`, if it is said.
fn read_part(words: &mut Words<'_>) -> Read<Option<(SimTime, SimTime)>> {
    let Some((from, to)) = words.peek().and_then(|word| word.split_once("..")) else {
        return Ok(None);
    };
    let part = words.value("a part that begins before it ends, as 0.000..4.200", |_| {
        let [from, to] = [from, to].map(|end| Words::of(0, end).seconds().ok().map(SimTime::from));
        Some((from?, to?)).filter(|(from, to)| from < to)
    })?;
    Ok(Some(part))
}

fn read_publish(words: &mut Words<'_>) -> Read<Publish> {
    let (key, capture, part) = (read_key(words)?, read_capture(words)?, read_part(words)?);
    let (mut repeats, mut quirks) = (false, Vec::new());
    let (mut again, mut node, mut link) = (None, None, None);
    loop {
        let column = words.column();
        let twice = if words.eat("repeats") {
            std::mem::replace(&mut repeats, true)
        } else if words.eat("quirk") {
            quirks.push(quirk::read(words)?);
            false
        } else if words.eat("again") {
            again.replace(words.seconds()?).is_some()
        } else if words.eat("at") {
            node.replace(words.value("a node's name", read_name)?).is_some()
        } else if words.eat("link") {
            link.replace(link::read(words)?).is_some()
        } else {
            break;
        };
        once(twice, words, column)?;
    }
    let node = node.unwrap_or_else(|| NODE.to_owned());
    let link = link.unwrap_or_default();
    Ok(Publish { key, capture, part, repeats, quirks, link, again, node })
}

fn read_play(words: &mut Words<'_>) -> Read<Play> {
    let (key, player) = (read_key(words)?, words.one_of("a player", &PLAYERS)?);
    let (mut start, mut apart, mut stay) = (None, None, None);
    let (mut again, mut node, mut link) = (None, None, None);
    loop {
        let column = words.column();
        let twice = if words.eat("start") {
            start.replace(words.one_of("a start", &STARTS)?).is_some()
        } else if words.eat("apart") {
            apart.replace(words.seconds()?).is_some()
        } else if words.eat("stay") {
            stay.replace(words.seconds()?).is_some()
        } else if words.eat("again") {
            again.replace(words.seconds()?).is_some()
        } else if words.eat("at") {
            node.replace(words.value("a node's name", read_name)?).is_some()
        } else if words.eat("link") {
            link.replace(link::read(words)?).is_some()
        } else {
            break;
        };
        once(twice, words, column)?;
    }
    let node = node.unwrap_or_else(|| NODE.to_owned());
    let (link, apart) = (link.unwrap_or_default(), apart.unwrap_or_default());
    Ok(Play { key, player, start, link, stay, again, apart, node })
}

fn read_target(words: &mut Words<'_>) -> Read<Target> {
    let streams = target::read_streams(words)?;
    let (mut key, mut quirks, mut node, mut link) = (None, Vec::new(), None, None);
    loop {
        let column = words.column();
        let twice = if words.eat("key") {
            key.replace(target::read_key(words)?).is_some()
        } else if words.eat("quirk") {
            quirks.push(target::read_quirk(words)?);
            false
        } else if words.eat("at") {
            node.replace(words.value("a node's name", read_name)?).is_some()
        } else if words.eat("link") {
            link.replace(link::read(words)?).is_some()
        } else {
            break;
        };
        once(twice, words, column)?;
    }
    let node = node.unwrap_or_else(|| NODE.to_owned());
    Ok(Target { streams, key, quirks, link: link.unwrap_or_default(), node })
}

fn once(twice: bool, words: &Words<'_>, column: usize) -> Read<()> {
    if twice { Err(words.error(column, TWICE.to_owned())) } else { Ok(()) }
}
