//! How far behind the live edge viewers are: stream time that entered the hub and had not come.

use std::fmt::Write as _;

use super::scale::Scale;
use super::story::Story;
use super::text::Px;
use crate::ledger::{Connection, Topic};
use crate::time::SimTime;
use crate::trace::Who;

/// The delay of one viewer in each column of the picture, in milliseconds, at its worst; `None`
/// where it had nothing yet, or nothing any more.
pub(super) type Series = Vec<Option<u64>>;

/// Delays of a peer over all its connections.
pub(super) fn series(story: &Story<'_>, who: Who, columns: usize) -> Series {
    let mut series = vec![None; columns];
    for connection in story.connections(who) {
        if let Some(topic) = story.ledger.topic_of(connection) {
            add(story, connection, topic, &mut series);
        }
    }
    series
}

fn add(story: &Story<'_>, connection: &Connection, topic: &Topic, series: &mut Series) {
    let columns = series.len() as u64;
    let column_micros = (story.end.micros() / columns).max(1);
    let over = story.over_at(connection);
    let clock = |place: u32| topic.tags[place as usize].clock_ms;
    let edge = |at: SimTime| {
        topic.entered_by(at).checked_sub(1).map_or(0, |newest| topic.tags[newest].clock_ms)
    };
    let mut got = connection.places().filter(|(_, got)| got.is_media()).peekable();
    let Some((mut last, first)) = got.next().map(|(place, got)| (place, got.at)) else { return };
    for column in first.micros() / column_micros..columns {
        let ends = SimTime::from_micros((column + 1) * column_micros);
        let mut worst = 0;
        while let Some((place, tag)) = got.next_if(|(_, got)| got.at < ends) {
            worst = worst.max(edge(tag.at).saturating_sub(clock(last)));
            last = place;
        }
        worst = worst.max(edge(ends.min(over)).saturating_sub(clock(last)));
        let known = series[column as usize].unwrap_or(0);
        series[column as usize] = Some(worst.max(known));
        if over < ends {
            break;
        }
    }
}

/// Of several viewers, the one in the middle and the worst of each column.
pub(super) fn middle_and_worst(all: &[Series], columns: usize) -> (Series, Series) {
    let mut middle = vec![None; columns];
    let mut worst = vec![None; columns];
    for column in 0..columns {
        let mut values: Vec<_> = all.iter().filter_map(|series| series[column]).collect();
        values.sort_unstable();
        middle[column] = values.get(values.len() / 2).copied();
        worst[column] = values.last().copied();
    }
    (middle, worst)
}

/// The curve of a series, `height` high above `base`; closed down to it if `is_area`.
pub(super) fn path(
    series: &[Option<u64>],
    scale: &Scale,
    base: f64,
    height: f64,
    is_area: bool,
) -> String {
    curve(series, |ms| base - scale.up(ms, height), base, is_area)
}

/// A step per column; equal neighbours are one.
pub(super) fn curve(
    series: &[Option<u64>],
    y: impl Fn(u64) -> f64,
    base: f64,
    is_area: bool,
) -> String {
    let width = super::scale::WIDTH / series.len() as f64;
    let mut path = String::new();
    let mut open: Option<(u64, usize)> = None;
    for (column, value) in series.iter().map(|v| v.map(|v| (Px(y(v)).tenths(), v))).enumerate() {
        let x = Px(column as f64 * width);
        match (open, value) {
            (None, Some((_, ms))) if is_area => {
                put!(path, "M{x} {}V{}", Px(base), Px(y(ms)));
                open = Some((ms, column));
            }
            (None, Some((_, ms))) => {
                put!(path, "M{x} {}", Px(y(ms)));
                open = Some((ms, column));
            }
            (Some((before, _)), Some((tenths, ms))) => {
                if Px(y(before)).tenths() != tenths {
                    put!(path, "H{x}V{}", Px(y(ms)));
                    open = Some((ms, column));
                }
            }
            (Some(_), None) => {
                put!(path, "H{x}{}", Down(is_area.then_some(base)));
                open = None;
            }
            (None, None) => {}
        }
    }
    if open.is_some() {
        put!(path, "H{}{}", Px(super::scale::WIDTH), Down(is_area.then_some(base)));
    }
    path
}

/// The way back to the base, for areas.
struct Down(Option<f64>);

impl std::fmt::Display for Down {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        self.0.map_or(Ok(()), |base| write!(f, "V{}Z", Px(base)))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_curve_says_only_what_changes() {
        let series = [None, Some(1), Some(1), Some(2), None];
        let x = |column: f64| Px(column * super::super::scale::WIDTH / 5.0).to_string();
        let y = |value: u64| 10.0 - value as f64;
        let expected = format!("M{} 10V9H{}V8H{}V10Z", x(1.0), x(3.0), x(4.0));
        assert_eq!(curve(&series, y, 10.0, true), expected);
        assert!(curve(&series, y, 10.0, false).ends_with(&format!("H{}", x(4.0))));
    }
}
