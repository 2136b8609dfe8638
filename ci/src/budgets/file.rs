//! `ci/budgets.toml`: provers, budgets, and the counts recorded in it.

use std::collections::BTreeMap;

use anyhow::{Context, Result, bail, ensure};
use serde::Deserialize;
use toml_edit::{DocumentMut, Item, Value};

use super::lines::Measured;

/// A count may rise by so much over its record before it is too much.
pub(crate) const RISE_MAX: f64 = 1.03;
/// A count that fell below so much of its record should be recorded again.
pub(crate) const FALL_MAX: f64 = 0.97;

/// The file.
#[derive(Debug)]
pub(crate) struct Budgets {
    pub(crate) provers: BTreeMap<String, Prover>,
    /// By `group.name`.
    pub(crate) budgets: BTreeMap<String, Budget>,
}

/// A program that measures.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Prover {
    /// Arguments of cargo, run one after the other; the last one measures.
    pub(crate) cargo: Vec<String>,
    /// Programs that have to be there, each with Debian's packages that have it.
    #[serde(default)]
    pub(crate) needs: BTreeMap<String, String>,
}

/// A promise.
#[derive(Debug)]
pub(crate) struct Budget {
    pub(crate) limit: Limit,
    pub(crate) unit: String,
    /// The prover's name.
    pub(crate) proof: String,
}

/// What is promised.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(crate) enum Limit {
    Max(f64),
    Min(f64),
    /// A count of the last time: it is the same in each run, so every rise is the code's.
    Recorded(f64),
}

#[derive(Deserialize)]
struct Raw {
    #[serde(default)]
    prover: BTreeMap<String, Prover>,
    #[serde(flatten)]
    groups: BTreeMap<String, BTreeMap<String, Entry>>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Entry {
    max: Option<f64>,
    min: Option<f64>,
    recorded: Option<f64>,
    unit: String,
    why: String,
    proof: String,
}

impl Budgets {
    pub(crate) fn parse(text: &str) -> Result<Self> {
        let Raw { prover: provers, groups } = toml::from_str(text)?;
        let mut budgets = BTreeMap::new();
        for (group, entries) in groups {
            for (name, entry) in entries {
                let name = format!("{group}.{name}");
                let budget = entry.into_budget().with_context(|| name.clone())?;
                let proof = &budget.proof;
                ensure!(provers.contains_key(proof), "{name}: there is no prover {proof}");
                budgets.insert(name, budget);
            }
        }
        Ok(Self { provers, budgets })
    }
}

impl Entry {
    fn into_budget(self) -> Result<Budget> {
        ensure!(!self.why.is_empty(), "`why` is empty");
        let limit = match (self.max, self.min, self.recorded) {
            (Some(max), None, None) => Limit::Max(max),
            (None, Some(min), None) => Limit::Min(min),
            (None, None, Some(recorded)) => Limit::Recorded(recorded),
            _ => bail!("expected one of `max`, `min` and `recorded`"),
        };
        Ok(Budget { limit, unit: self.unit, proof: self.proof })
    }
}

/// The text with every recorded count as it was measured now, and a line for each that changed.
/// Everything else in the text stays, comments included.
pub(crate) fn update(
    text: &str,
    measured: &BTreeMap<String, Measured>,
) -> Result<(String, Vec<String>)> {
    let mut document: DocumentMut = text.parse()?;
    let mut changes = Vec::new();
    for (name, measured) in measured {
        let (Some((group, entry)), Measured::Value(value)) = (name.split_once('.'), measured)
        else {
            continue;
        };
        let item = document.get_mut(group).and_then(|group| group.get_mut(entry));
        let Some(Item::Value(old)) = item.and_then(|entry| entry.get_mut("recorded")) else {
            continue;
        };
        let new = rounded(*value);
        let (before, after) = (old.clone().decorated("", "").to_string(), new.to_string());
        if before != after {
            let percent = old.as_float().or(old.as_integer().map(|old| old as f64));
            let percent = percent.map_or(0.0, |old| (value / old - 1.0) * 100.0);
            changes.push(format!("{name}: {before} -> {after} ({percent:+.1} %)"));
            let decor = old.decor().clone();
            *old = new;
            *old.decor_mut() = decor;
        }
    }
    Ok((document.to_string(), changes))
}

/// Four digits behind the point of what is small, none of what is large: as fine as 3 % need it.
fn rounded(value: f64) -> Value {
    match value {
        large if large >= 1000.0 => Value::from(large.round() as i64),
        small => Value::from((small * 10_000.0).round() / 10_000.0),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const TEXT: &str = "\
# Promises.
[prover.counts]
cargo = [\"build -p x\", \"run -p x\"]
needs = { strace = \"strace\" }

[reads.per_mib] # Of the wire.
max = 8
unit = \"calls\"
why = \"a call costs more than a copy\"
proof = \"counts\"

[instructions.per_tag]
recorded = 1200 # Not by hand.
unit = \"instructions\"
why = \"slow is many\"
proof = \"counts\"
";

    fn error(text: &str) -> String {
        format!("{:#}", Budgets::parse(text).unwrap_err())
    }

    #[test]
    fn provers_and_budgets_are_read() {
        let Budgets { provers, budgets } = Budgets::parse(TEXT).unwrap();
        assert_eq!(provers["counts"].cargo, ["build -p x", "run -p x"]);
        assert_eq!(budgets["reads.per_mib"].limit, Limit::Max(8.0));
        assert_eq!(budgets["instructions.per_tag"].limit, Limit::Recorded(1200.0));
    }

    #[test]
    fn an_entry_that_promises_nothing_is_refused() {
        assert!(error(&TEXT.replace("max = 8", "")).contains("reads.per_mib: expected one of"));
        assert!(error(&TEXT.replace("max = 8", "max = 8\nmin = 7")).contains("expected one of"));
        assert!(error(&TEXT.replace("max = 8", "maxx = 8")).contains("maxx"));
        assert!(
            error(&TEXT.replace("proof = \"counts\"", "proof = \"count\"")).contains("no prover")
        );
    }

    #[test]
    fn an_update_changes_recorded_counts_and_no_other_byte() {
        let measured = [("instructions.per_tag", 1100.4), ("reads.per_mib", 5.0), ("new.one", 1.0)]
            .map(|(name, value)| (name.to_owned(), Measured::Value(value)));
        let (text, changes) = update(TEXT, &measured.into()).unwrap();
        assert_eq!(text, TEXT.replace("1200", "1100"));
        assert_eq!(changes, ["instructions.per_tag: 1200 -> 1100 (-8.3 %)"]);
        let (again, changes) = update(&text, &BTreeMap::new()).unwrap();
        assert_eq!((again, changes.len()), (text, 0));
    }
}
