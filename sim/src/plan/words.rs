//! Words: a walk through one line of a plan's text that knows what it could have read instead.

use std::ops::RangeInclusive;
use std::time::Duration;

use super::PlanError;
use super::units::{self, Unit};
use super::vocabulary::hint;

pub(super) type Read<T> = Result<T, PlanError>;

pub(super) struct Words<'a> {
    line: usize,
    /// With their columns.
    words: Vec<(usize, &'a str)>,
    next: usize,
    /// The column behind the last word.
    over: usize,
    /// What was looked for at this place, in vain.
    tried: Vec<&'static str>,
}

impl<'a> Words<'a> {
    /// The words before a comment: `#` at the start of a word. Within a word it counts moments.
    pub(super) fn of(line: usize, text: &'a str) -> Self {
        let mut words = Vec::new();
        let mut start = None;
        let mut over = 1;
        let ends = std::iter::once((text.len(), ' '));
        for (index, (at, letter)) in text.char_indices().chain(ends).enumerate() {
            match start {
                None if letter == '#' => break,
                None if !letter.is_whitespace() => start = Some((index + 1, at)),
                Some((column, from)) if letter.is_whitespace() => {
                    words.push((column, &text[from..at]));
                    over = index + 1;
                    start = None;
                }
                _ => {}
            }
        }
        Self { line, words, next: 0, over, tried: Vec::new() }
    }

    pub(super) fn is_empty(&self) -> bool {
        self.words.is_empty()
    }

    /// The column of the next word.
    pub(super) fn column(&self) -> usize {
        self.words.get(self.next).map_or(self.over, |(column, _)| *column)
    }

    pub(super) fn peek(&self) -> Option<&'a str> {
        self.words.get(self.next).map(|(_, word)| *word)
    }

    fn advance(&mut self) {
        self.next += 1;
        self.tried.clear();
    }

    /// Takes the next word if it is this one.
    pub(super) fn eat(&mut self, word: &'static str) -> bool {
        let is = self.peek() == Some(word);
        if is {
            self.advance();
        } else {
            self.tried.push(word);
        }
        is
    }

    /// Takes any word.
    pub(super) fn any(&mut self, what: &str) -> Read<&'a str> {
        let Some(word) = self.peek() else { return Err(self.expected(what)) };
        self.advance();
        Ok(word)
    }

    /// Takes this word.
    pub(super) fn must(&mut self, word: &'static str) -> Read<()> {
        if self.eat(word) { Ok(()) } else { Err(self.expected(&format!("`{word}`"))) }
    }

    /// Takes a word of a table, if one is next.
    pub(super) fn some_of<T: Copy>(&mut self, table: &[(&'static str, T)]) -> Option<T> {
        table.iter().find(|(word, _)| self.eat(word)).map(|(_, value)| *value)
    }

    /// Takes a word of a table.
    pub(super) fn one_of<T: Copy>(&mut self, what: &str, table: &[(&'static str, T)]) -> Read<T> {
        self.some_of(table).ok_or_else(|| self.expected(what))
    }

    /// Takes a value that is one word.
    pub(super) fn value<T>(
        &mut self,
        what: &str,
        read: impl FnOnce(&'a str) -> Option<T>,
    ) -> Read<T> {
        match self.peek().and_then(read) {
            Some(value) => {
                self.advance();
                Ok(value)
            }
            None => Err(self.expected(what)),
        }
    }

    /// Takes a whole number.
    pub(super) fn number(&mut self, range: RangeInclusive<i64>) -> Read<i64> {
        let what = format!("a number from {} to {}", range.start(), range.end());
        self.value(&what, |word| word.parse().ok().filter(|number| range.contains(number)))
    }

    /// Takes seconds, as `0.310`.
    pub(super) fn seconds(&mut self) -> Read<Duration> {
        self.value("seconds, as 0.310", |word| {
            let micros = units::scaled(word, units::SECOND)?;
            (micros <= units::MICROS_MAX).then(|| Duration::from_micros(micros))
        })
    }

    /// Takes `for 1.300`.
    pub(super) fn lasting(&mut self) -> Read<Duration> {
        self.must("for")?;
        self.seconds()
    }

    /// Takes `for 1.300`, if it is said.
    pub(super) fn maybe_lasting(&mut self) -> Read<Option<Duration>> {
        if self.eat("for") { self.seconds().map(Some) } else { Ok(None) }
    }

    /// Takes a number and its unit, as `3 Mbit/s`.
    pub(super) fn amount(
        &mut self,
        what: &str,
        units: &[Unit],
        range: RangeInclusive<u64>,
    ) -> Read<u64> {
        let column = self.column();
        let number = self.value(what, |word| word.starts_with(digit).then_some(word))?;
        let of = units.iter().map(|&(name, worth, _)| (name, (name, worth))).collect::<Vec<_>>();
        let (unit, worth) = self.one_of("a unit", &of)?;
        let value = units::scaled(number, worth).filter(|value| range.contains(value));
        value.ok_or_else(|| {
            let [from, to] = [range.start(), range.end()].map(|end| units::amount(*end, units));
            let reason = format!("expected {what} from {from} to {to}, not `{number} {unit}`");
            self.error(column, reason)
        })
    }

    /// Takes a time with its unit, as `40 ms`.
    pub(super) fn span(&mut self) -> Read<Duration> {
        let micros = self.amount("a time", &units::SPANS, 0..=units::MICROS_MAX)?;
        Ok(Duration::from_micros(micros))
    }

    /// Whether a number is next, and which unit comes with it.
    pub(super) fn peek_unit(&self) -> Option<&'a str> {
        self.peek().filter(|word| word.starts_with(digit))?;
        self.words.get(self.next + 1).map(|(_, unit)| *unit)
    }

    /// All words must have been taken.
    pub(super) fn finish(&self) -> Read<()> {
        if self.peek().is_none() { Ok(()) } else { Err(self.expected("the end of the line")) }
    }

    /// The next word is not what it should be.
    pub(super) fn expected(&self, what: &str) -> PlanError {
        let Some(word) = self.peek() else {
            return self.error(self.over, format!("expected {what}, not the end of the line"));
        };
        // Where only one word would do, it was just named.
        let only = self.tried.iter().any(|tried| what == format!("`{tried}`"));
        let hint = if only { String::new() } else { hint(word, &self.tried) };
        self.error(self.column(), format!("expected {what}, not `{word}`{hint}"))
    }

    pub(super) fn error(&self, column: usize, reason: String) -> PlanError {
        PlanError { line: self.line, column, reason }
    }
}

fn digit(letter: char) -> bool {
    letter.is_ascii_digit()
}
