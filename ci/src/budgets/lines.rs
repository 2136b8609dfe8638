//! What a prover printed: its lines `measured NAME VALUE` and `unmeasured NAME REASON...`.

use std::collections::BTreeMap;

/// What is known about one name.
#[derive(Clone, Debug, PartialEq)]
pub(crate) enum Measured {
    Value(f64),
    /// It cannot be measured on this machine, and why.
    Impossible(String),
}

/// All of them. A wrong line is a mistake of the prover, and so is a name that comes twice.
pub(crate) fn parse(lines: &[String]) -> Result<BTreeMap<String, Measured>, String> {
    let mut found = BTreeMap::new();
    for line in lines {
        let Some((name, measured)) = parse_line(line.trim_end())? else { continue };
        if found.insert(name.to_owned(), measured).is_some() {
            return Err(format!("{name} was measured twice"));
        }
    }
    Ok(found)
}

fn parse_line(line: &str) -> Result<Option<(&str, Measured)>, String> {
    let wrong = || format!("not `measured NAME VALUE`: {line}");
    if let Some(rest) = line.strip_prefix("measured ") {
        let (name, value) = rest.split_once(' ').ok_or_else(wrong)?;
        let value: f64 = value.parse().map_err(|_| wrong())?;
        // A division by nothing that happened is no measurement.
        return if value.is_finite() {
            Ok(Some((name, Measured::Value(value))))
        } else {
            Err(wrong())
        };
    }
    let Some(rest) = line.strip_prefix("unmeasured ") else { return Ok(None) };
    let (name, reason) = rest.split_once(' ').ok_or_else(wrong)?;
    Ok(Some((name, Measured::Impossible(reason.to_owned()))))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parse_text(text: &str) -> Result<BTreeMap<String, Measured>, String> {
        parse(&text.lines().map(str::to_owned).collect::<Vec<_>>())
    }

    #[test]
    fn lines_for_people_are_passed_over() {
        let found = parse_text(
            "   Compiling x\n| measured | no |\nmeasured a.b 1.25\nunmeasured a.c strace is missing\n",
        );
        let found = found.unwrap();
        assert_eq!(found.len(), 2);
        assert_eq!(found["a.b"], Measured::Value(1.25));
        assert_eq!(found["a.c"], Measured::Impossible("strace is missing".to_owned()));
    }

    #[test]
    fn a_value_that_is_none_is_a_mistake() {
        for line in ["measured a.b", "measured a.b many", "measured a.b NaN", "unmeasured a.b"] {
            assert!(parse_text(line).unwrap_err().contains(line), "{line}");
        }
    }

    #[test]
    fn a_name_that_comes_twice_is_a_mistake() {
        let error = parse_text("measured a.b 1\nmeasured a.b 2").unwrap_err();
        assert_eq!(error, "a.b was measured twice");
    }
}
