//! Links as words, both ways: a link with a name, then what differs from it, in both directions,
//! then `up` and what differs there only. `3 Mbit/s 40 ms queue 64 KiB up 1 Mbit/s`.

use std::fmt;
use std::time::Duration;

use super::units::{self, LENGTHS, RATES, SPANS, amount, seconds};
use super::words::{Read, Words};
use crate::link::{Capacity, Link, Loss, NAMED, Path};
use crate::time::SimTime;

/// How one path differs from another.
#[derive(Default)]
struct Changes {
    capacity: Option<Capacity>,
    delay: Option<Duration>,
    jitter: Option<Duration>,
    queue: Option<u64>,
    /// Of the whole link, so only in what is said of both directions.
    window: Option<u64>,
    loss: Option<Loss>,
    segment: Option<Option<u64>>,
    burst: Option<Duration>,
}

impl Changes {
    fn between(from: &Path, to: &Path) -> Self {
        fn changed<T: Clone + PartialEq>(from: &T, to: &T) -> Option<T> {
            (from != to).then(|| to.clone())
        }
        Self {
            capacity: changed(&from.capacity, &to.capacity),
            delay: changed(&from.delay, &to.delay),
            jitter: changed(&from.jitter, &to.jitter),
            queue: changed(&from.queue, &to.queue),
            window: None,
            loss: changed(&from.loss, &to.loss),
            segment: changed(&from.segment, &to.segment),
            burst: changed(&from.burst, &to.burst),
        }
    }

    fn apply(&self, path: &mut Path) {
        fn set<T: Clone>(to: &mut T, from: &Option<T>) {
            if let Some(value) = from {
                to.clone_from(value);
            }
        }
        set(&mut path.capacity, &self.capacity);
        set(&mut path.delay, &self.delay);
        set(&mut path.jitter, &self.jitter);
        set(&mut path.queue, &self.queue);
        set(&mut path.loss, &self.loss);
        set(&mut path.segment, &self.segment);
        set(&mut path.burst, &self.burst);
    }

    /// Reads one change, if the next word begins one.
    fn read_one(&mut self, words: &mut Words<'_>) -> Read<bool> {
        let column = words.column();
        let first = words.peek().unwrap_or_default();
        let twice = match words.peek_unit() {
            Some(unit) if SPANS.iter().any(|(name, ..)| *name == unit) => {
                self.delay.replace(words.span()?).is_some()
            }
            Some(_) => self.capacity.replace(read_rates(words)?).is_some(),
            None if words.eat("unlimited") => self.capacity.replace(Capacity::Unlimited).is_some(),
            None if words.eat("jitter") => self.jitter.replace(words.span()?).is_some(),
            None if words.eat("queue") => self.queue.replace(read_len(words, 0)?).is_some(),
            None if words.eat("window") => self.window.replace(read_len(words, 1)?).is_some(),
            None if words.eat("loss") => self.loss.replace(read_loss(words)?).is_some(),
            None if words.eat("segment") => {
                let none = words.eat("none");
                let len = if none { None } else { Some(words.number(1..=1 << 30)? as u64) };
                self.segment.replace(len).is_some()
            }
            None if words.eat("burst") => self.burst.replace(words.span()?).is_some(),
            None => return Ok(false),
        };
        if twice {
            return Err(words.error(column, format!("`{first}` says again what was said")));
        }
        Ok(true)
    }

    fn read(words: &mut Words<'_>) -> Read<Self> {
        let mut changes = Self::default();
        while changes.read_one(words)? {}
        Ok(changes)
    }

    /// In words.
    fn words(&self) -> Vec<String> {
        let span = |duration: &Duration| amount(micros(*duration), &SPANS);
        let mut words = Vec::new();
        words.extend(self.capacity.as_ref().map(rates));
        words.extend(self.delay.iter().map(span));
        words.extend(self.jitter.iter().map(|jitter| format!("jitter {}", span(jitter))));
        words.extend(self.queue.map(|len| format!("queue {}", amount(len, &LENGTHS))));
        words.extend(self.window.map(|len| format!("window {}", amount(len, &LENGTHS))));
        words.extend(self.loss.map(|loss| match loss {
            Loss::NONE => "loss none".to_owned(),
            Loss { share, bad, good } => {
                format!(
                    "loss {share} of {} every {}",
                    span(&bad),
                    span(&(bad.saturating_add(good)))
                )
            }
        }));
        words.extend(self.segment.map(|segment| match segment {
            Some(len) => format!("segment {len}"),
            None => "segment none".to_owned(),
        }));
        words.extend(self.burst.iter().map(|burst| format!("burst {}", span(burst))));
        words
    }
}

fn micros(duration: Duration) -> u64 {
    SimTime::from(duration).micros()
}

fn rates(capacity: &Capacity) -> String {
    match capacity {
        Capacity::Unlimited => "unlimited".to_owned(),
        Capacity::Constant(bits) => amount(*bits, &RATES),
        Capacity::Trace { steps, period } => {
            let ends = steps.iter().skip(1).map(|(from, _)| from).chain([period]);
            let parts = steps.iter().zip(ends).map(|((_, bits), end)| {
                format!("{} to {}", amount(*bits, &RATES), seconds(micros(*end)))
            });
            parts.collect::<Vec<_>>().join(" ")
        }
    }
}

/// `3 Mbit/s`, or `12 Mbit/s to 0.700 24 Mbit/s to 1.500`: a trace that starts over at 1.5 s.
fn read_rates(words: &mut Words<'_>) -> Read<Capacity> {
    let mut steps = Vec::new();
    let mut from = Duration::ZERO;
    loop {
        let bits = words.amount("a rate", &RATES, 0..=units::RATE_MAX)?;
        steps.push((from, bits));
        if !words.eat("to") {
            if let [(_, bits)] = steps[..] {
                return Ok(Capacity::Constant(bits));
            }
            return Err(words.expected("`to` and when the trace starts over"));
        }
        let column = words.column();
        let end = words.seconds()?;
        if end <= from {
            let from = seconds(micros(from));
            return Err(words.error(column, format!("expected a time after {from}")));
        }
        from = end;
        let goes_on = words.peek_unit().is_some_and(|unit| RATES.iter().any(|it| it.0 == unit));
        if !goes_on {
            return Ok(Capacity::Trace { steps, period: end });
        }
    }
}

fn read_len(words: &mut Words<'_>, min: u64) -> Read<u64> {
    words.amount("a length", &LENGTHS, min..=units::LENGTH_MAX)
}

/// `0.02 of 200 ms every 2 s`: so much is lost in 200 ms of every 2 s, which leaves 1.8 s good.
fn read_loss(words: &mut Words<'_>) -> Read<Loss> {
    if words.eat("none") {
        return Ok(Loss::NONE);
    }
    let share = words.value("a share from 0 to 1, as 0.02", |word| {
        let plain = word.bytes().all(|byte| byte.is_ascii_digit() || byte == b'.');
        word.parse().ok().filter(|share| plain && (0.0..=1.0).contains(share))
    })?;
    words.must("of")?;
    let bad = words.span()?;
    words.must("every")?;
    let column = words.column();
    let every = words.span()?;
    let good = every.checked_sub(bad);
    let good = good.ok_or_else(|| {
        words.error(column, format!("expected at least {}", amount(micros(bad), &SPANS)))
    })?;
    Ok(Loss { share, bad, good })
}

/// Reads a link.
pub(super) fn read(words: &mut Words<'_>) -> Read<Link> {
    let start = words.column();
    let base = words.some_of(&NAMED);
    let mut link = base.unwrap_or(Link::lan)();
    let both = Changes::read(words)?;
    both.apply(&mut link.down);
    both.apply(&mut link.up);
    if let Some(window) = both.window {
        link.window = window;
    }
    if words.eat("up") {
        let column = words.column();
        let up = Changes::read(words)?;
        if up.window.is_some() {
            let reason = "a window is of both directions: expected it before `up`";
            return Err(words.error(column, reason.to_owned()));
        }
        if words.column() == column {
            return Err(words.expected("what differs from the node's direction"));
        }
        up.apply(&mut link.up);
    }
    if words.column() == start {
        return Err(words.expected("a link's name, its rate or its delay"));
    }
    Ok(link)
}

impl fmt::Display for Link {
    /// From the named link that leaves least to say.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let texts = NAMED.iter().map(|(name, base)| {
            let mut base = base();
            let mut both = Changes::between(&base.down, &self.down);
            both.window = (base.window != self.window).then_some(self.window);
            both.apply(&mut base.up);
            let up = Changes::between(&base.up, &self.up).words();
            let mut words = both.words();
            if !up.is_empty() {
                words.push("up".to_owned());
                words.extend(up);
            }
            if *name != "lan" || words.is_empty() {
                words.insert(0, (*name).to_owned());
            }
            words.join(" ")
        });
        let shortest = texts.min_by_key(|text| text.split(' ').count());
        f.write_str(&shortest.unwrap_or_default())
    }
}
