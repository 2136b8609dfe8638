//! Budgets and measurements, side by side.

use std::collections::BTreeMap;
use std::fmt;

use comfy_table::{CellAlignment, Table, presets};

use super::file::{Budget, FALL_MAX, Limit, RISE_MAX};
use super::lines::Measured;

/// One name, from the file, from a prover, or from both.
#[derive(Debug)]
pub(crate) struct Row {
    pub(crate) name: String,
    limit: Option<Limit>,
    unit: String,
    measured: Option<f64>,
    pub(crate) outcome: Outcome,
}

/// What came of it.
#[derive(Debug, PartialEq)]
pub(crate) enum Outcome {
    Within,
    /// Over what is allowed, or under.
    Exceeded,
    /// A recorded count rose.
    Rose,
    /// A recorded count fell: the record does not protect what was won.
    Renew,
    /// No prover said anything, or it said why it could not.
    NotMeasured {
        reason: Option<String>,
    },
    /// Measured, and promised by nothing in the file.
    NoEntry,
}

impl fmt::Display for Outcome {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Within => "within",
            Self::Exceeded => "EXCEEDED",
            Self::Rose => "ROSE",
            Self::Renew => "fell",
            Self::NotMeasured { .. } => "NOT MEASURED",
            Self::NoEntry => "NO ENTRY",
        })
    }
}

/// Every budget and every measurement, by name.
pub(crate) fn compare(
    budgets: &BTreeMap<String, Budget>,
    measured: &BTreeMap<String, Measured>,
) -> Vec<Row> {
    let mut rows: Vec<_> = budgets
        .iter()
        .map(|(name, budget)| {
            let (outcome, value) = match measured.get(name) {
                Some(Measured::Value(value)) => (judge(budget.limit, *value), Some(*value)),
                Some(Measured::Impossible(reason)) => {
                    (Outcome::NotMeasured { reason: Some(reason.clone()) }, None)
                }
                None => (Outcome::NotMeasured { reason: None }, None),
            };
            Row {
                name: name.clone(),
                limit: Some(budget.limit),
                unit: budget.unit.clone(),
                measured: value,
                outcome,
            }
        })
        .collect();
    let unknown = measured.iter().filter(|(name, _)| !budgets.contains_key(*name));
    rows.extend(unknown.map(|(name, measured)| Row {
        name: name.clone(),
        limit: None,
        unit: String::new(),
        measured: match measured {
            Measured::Value(value) => Some(*value),
            Measured::Impossible(_) => None,
        },
        outcome: Outcome::NoEntry,
    }));
    rows
}

fn judge(limit: Limit, value: f64) -> Outcome {
    match limit {
        Limit::Max(max) if value > max => Outcome::Exceeded,
        Limit::Min(min) if value < min => Outcome::Exceeded,
        Limit::Recorded(recorded) if value > recorded * RISE_MAX => Outcome::Rose,
        Limit::Recorded(recorded) if value < recorded * FALL_MAX => Outcome::Renew,
        _ => Outcome::Within,
    }
}

impl Row {
    /// What is left of the limit, in percent of it; below 0 it is exceeded.
    fn headroom_percent(&self) -> Option<f64> {
        let value = self.measured?;
        let share = match self.limit? {
            Limit::Max(limit) => (limit - value) / limit,
            Limit::Min(limit) => (value - limit) / limit,
            Limit::Recorded(recorded) => (recorded * RISE_MAX - value) / (recorded * RISE_MAX),
        };
        // Nothing is allowed, and nothing is left of it.
        Some(if share.is_nan() { 0.0 } else { share * 100.0 })
    }

    /// The row in words.
    pub(crate) fn explanation(&self) -> String {
        let Self { name, unit, .. } = self;
        match (&self.outcome, self.measured, self.limit) {
            (Outcome::NotMeasured { reason }, ..) => {
                let reason = reason.as_deref().unwrap_or("its prover says nothing about it");
                format!("{name}: {reason}")
            }
            (_, Some(value), Some(limit)) => {
                format!("{name}: {} {unit}, allowed {}", number(value), shown(limit))
            }
            _ => format!("{name}: ci/budgets.toml has no such entry"),
        }
    }
}

/// A limit as the table shows it.
fn shown(limit: Limit) -> String {
    match limit {
        Limit::Max(max) => format!("<= {}", number(max)),
        Limit::Min(min) => format!(">= {}", number(min)),
        Limit::Recorded(recorded) => format!("{} + 3 %", number(recorded)),
    }
}

/// Four significant digits, and all digits in front of the point.
fn number(value: f64) -> String {
    let magnitude = if value == 0.0 { 0 } else { value.abs().log10().floor() as i32 };
    let decimals = (3 - magnitude).clamp(0, 6) as usize;
    let text = format!("{value:.decimals$}");
    match text.contains('.') {
        true => text.trim_end_matches('0').trim_end_matches('.').to_owned(),
        false => text,
    }
}

/// For people.
pub(crate) fn table(rows: &[Row]) -> Table {
    let mut table = Table::new();
    table.load_preset(presets::ASCII_MARKDOWN);
    table.set_header(["budget", "limit", "measured", "headroom", "unit"]);
    for row in rows {
        let is_fine = matches!(row.outcome, Outcome::Within | Outcome::Renew);
        let headroom = match row.headroom_percent() {
            Some(percent) if is_fine => format!("{percent:.0} %"),
            _ => row.outcome.to_string(),
        };
        table.add_row([
            row.name.clone(),
            row.limit.map_or_else(String::new, shown),
            row.measured.map_or_else(String::new, number),
            headroom,
            row.unit.clone(),
        ]);
    }
    for column in table.column_iter_mut().skip(1).take(3) {
        column.set_cell_alignment(CellAlignment::Right);
    }
    table
}

#[cfg(test)]
mod tests {
    use super::*;

    fn rows(limit: Limit, measured: &[(&str, Measured)]) -> Vec<Row> {
        let budget = Budget { limit, unit: "calls".to_owned(), proof: "counts".to_owned() };
        let measured = measured.iter().cloned().map(|(name, value)| (name.to_owned(), value));
        compare(&[("a.b".to_owned(), budget)].into(), &measured.collect())
    }

    fn outcome(limit: Limit, value: f64) -> Outcome {
        rows(limit, &[("a.b", Measured::Value(value))]).remove(0).outcome
    }

    #[test]
    fn a_limit_may_be_reached_and_not_exceeded() {
        assert_eq!(outcome(Limit::Max(8.0), 8.0), Outcome::Within);
        assert_eq!(outcome(Limit::Max(8.0), 8.01), Outcome::Exceeded);
        assert_eq!(outcome(Limit::Max(0.0), 0.0), Outcome::Within);
        assert_eq!(outcome(Limit::Min(10.0), 9.9), Outcome::Exceeded);
        assert_eq!(outcome(Limit::Min(10.0), 10.0), Outcome::Within);
    }

    #[test]
    fn a_record_bears_three_percent_both_ways() {
        let recorded = Limit::Recorded(1000.0);
        assert_eq!(outcome(recorded, 1029.0), Outcome::Within);
        assert_eq!(outcome(recorded, 1031.0), Outcome::Rose);
        assert_eq!(outcome(recorded, 971.0), Outcome::Within);
        assert_eq!(outcome(recorded, 969.0), Outcome::Renew);
    }

    #[test]
    fn silence_is_no_success() {
        assert_eq!(rows(Limit::Max(1.0), &[])[0].outcome, Outcome::NotMeasured { reason: None });
        let why = Measured::Impossible("strace is missing".to_owned());
        let row = rows(Limit::Max(1.0), &[("a.b", why)]).remove(0);
        assert_eq!(
            format!("{} {}", row.outcome, row.explanation()),
            "NOT MEASURED a.b: strace is missing"
        );
    }

    #[test]
    fn a_measurement_that_nothing_limits_is_found() {
        let found =
            rows(Limit::Max(1.0), &[("a.b", Measured::Value(1.0)), ("a.c", Measured::Value(1.0))]);
        assert_eq!(found[1].outcome, Outcome::NoEntry);
        assert_eq!(found[1].explanation(), "a.c: ci/budgets.toml has no such entry");
    }

    #[test]
    fn the_table_says_what_is_left() {
        let shown =
            |limit, value| table(&rows(limit, &[("a.b", Measured::Value(value))])).to_string();
        assert!(shown(Limit::Max(8.0), 4.128).contains("48 %"));
        assert!(shown(Limit::Max(0.0), 0.0).contains("0 %"));
        assert!(shown(Limit::Max(8.0), 8.5).contains("EXCEEDED"));
        assert!(shown(Limit::Recorded(1000.0), 1000.0).contains("3 %"));
    }

    #[test]
    fn numbers_are_short_and_exact_enough() {
        assert_eq!(
            [8.0, 0.0, 4.128_528, 123_456.7, 0.000_16].map(number),
            ["8", "0", "4.129", "123457", "0.00016"]
        );
    }
}
