//! `deny`: what we depend on may be depended on, by the rules of `ci/deny.toml`.
//!
//! cargo-deny would do all of it. But it takes minutes to compile on a small machine, and its list
//! of advisories is a git repository that a build without internet cannot reach. So licences and
//! sources are checked here, from `cargo metadata`, always; and the advisories by cargo-deny where
//! it is installed and can fetch them.

use std::collections::BTreeSet;
use std::fs;
use std::path::Path;

use anyhow::{Context, Result, bail, ensure};
use serde::Deserialize;

use crate::command::{cargo, has_cargo, output_or_say, run as run_command};
use crate::report::{Report, Verdict};

const RULES: &str = "ci/deny.toml";

#[derive(Deserialize)]
struct Rules {
    licenses: Licenses,
}

#[derive(Deserialize)]
struct Licenses {
    allow: BTreeSet<String>,
}

#[derive(Deserialize)]
struct Metadata {
    packages: Vec<Package>,
}

#[derive(Deserialize)]
struct Package {
    name: String,
    version: String,
    license: Option<String>,
    /// `None` is a member of this workspace.
    source: Option<String>,
}

/// Checks every package of `Cargo.lock`, for every platform and feature.
pub(crate) fn run(root: &Path, report: &mut Report) -> Result<Verdict> {
    let rules = fs::read_to_string(root.join(RULES)).context(RULES)?;
    let rules: Rules = toml::from_str(&rules).context(RULES)?;
    let metadata = cargo("metadata --format-version 1 --locked --all-features");
    let Some(metadata) = output_or_say(metadata, report)? else { return Ok(Verdict::Failed) };
    let metadata: Metadata = serde_json::from_str(&metadata).context("cargo metadata")?;
    let problems = check(&metadata.packages, &rules.licenses.allow);
    report.summary(format!("{} packages", metadata.packages.len()));
    let own = Verdict::from_problems(problems, report);
    let advisories = advisories(report)?;
    Ok(Verdict::passed_if(own == Verdict::Passed && advisories))
}

/// Whether no advisory applies, as far as that can be known here.
fn advisories(report: &mut Report) -> Result<bool> {
    if !has_cargo("deny") {
        report.not_run("advisories: cargo install --locked cargo-deny");
        return Ok(true);
    }
    let deny = |args: &str| cargo(&format!("deny --config {RULES} {args}"));
    let mut passed = run_command(deny("check licenses bans sources"), report)?;
    if run_command(deny("fetch db"), report)? {
        passed &= run_command(deny("check advisories"), report)?;
    } else {
        report.not_run("advisories: their list cannot be fetched (see -v)");
    }
    Ok(passed)
}

fn check(packages: &[Package], allowed: &BTreeSet<String>) -> Vec<String> {
    let mut problems = Vec::new();
    for Package { name, version, license, source } in packages {
        let Some(source) = source else { continue };
        if !source.starts_with("registry+") && !source.starts_with("sparse+") {
            problems.push(format!("{name} {version} comes from {source}, not from a registry"));
        }
        let license = license.as_deref().unwrap_or("no licence at all");
        match is_allowed(license, allowed) {
            Ok(true) => {}
            Ok(false) => problems.push(format!("{name} {version}: {license}: not in {RULES}")),
            Err(error) => problems.push(format!("{name} {version}: `{license}`: {error}")),
        }
    }
    problems
}

/// Whether an SPDX expression can be met with allowed licences only. The old `A/B` means `A OR B`.
fn is_allowed(expression: &str, allowed: &BTreeSet<String>) -> Result<bool> {
    let spaced = expression.replace('(', " ( ").replace(')', " ) ").replace('/', " OR ");
    let mut words = spaced.split_whitespace().collect::<Vec<_>>();
    words.reverse();
    let met = either(&mut words, allowed)?;
    ensure!(words.is_empty(), "what is `{}`?", words[words.len() - 1]);
    Ok(met)
}

fn either(words: &mut Vec<&str>, allowed: &BTreeSet<String>) -> Result<bool> {
    let mut met = both(words, allowed)?;
    while words.pop_if(|word| *word == "OR").is_some() {
        met |= both(words, allowed)?;
    }
    Ok(met)
}

fn both(words: &mut Vec<&str>, allowed: &BTreeSet<String>) -> Result<bool> {
    let mut met = one(words, allowed)?;
    while words.pop_if(|word| *word == "AND").is_some() {
        met &= one(words, allowed)?;
    }
    Ok(met)
}

fn one(words: &mut Vec<&str>, allowed: &BTreeSet<String>) -> Result<bool> {
    match words.pop() {
        Some("(") => {
            let met = either(words, allowed)?;
            ensure!(words.pop() == Some(")"), "a `)` is missing");
            Ok(met)
        }
        Some("AND" | "OR" | "WITH" | ")") | None => bail!("a licence is missing"),
        Some(name) if words.pop_if(|word| *word == "WITH").is_some() => {
            let exception = words.pop().context("an exception is missing")?;
            Ok(allowed.contains(&format!("{name} WITH {exception}")))
        }
        Some(name) => Ok(allowed.contains(name)),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn allowed() -> BTreeSet<String> {
        ["MIT", "Apache-2.0", "Apache-2.0 WITH LLVM-exception", "Unicode-3.0"]
            .map(str::to_owned)
            .into()
    }

    #[test]
    fn expressions_are_met_or_not() {
        for (expression, met) in [
            ("MIT", true),
            ("GPL-3.0-only", false),
            ("MIT/GPL-3.0-only", true),
            ("Apache-2.0 / MIT", true),
            ("(MIT OR Apache-2.0) AND Unicode-3.0", true),
            ("(MIT OR Apache-2.0) AND OpenSSL", false),
            ("GPL-3.0-only OR MIT AND OpenSSL", false),
            ("Apache-2.0 WITH LLVM-exception", true),
            ("GPL-2.0 WITH Classpath-exception-2.0", false),
        ] {
            assert_eq!(is_allowed(expression, &allowed()).unwrap(), met, "{expression}");
        }
    }

    #[test]
    fn what_is_no_expression_is_an_error() {
        for expression in ["", "MIT OR", "(MIT", "MIT MIT", "AND", "no licence at all"] {
            assert!(is_allowed(expression, &allowed()).is_err(), "{expression}");
        }
    }

    #[test]
    fn only_registries_and_allowed_licences_pass() {
        let package = |license: Option<&str>, source: Option<&str>| Package {
            name: "a".into(),
            version: "1.0.0".into(),
            license: license.map(str::to_owned),
            source: source.map(str::to_owned),
        };
        let registry = Some("registry+https://example.org/index");
        let found = |package| check(&[package], &allowed()).len();
        assert_eq!(found(package(Some("MIT"), registry)), 0);
        assert_eq!(found(package(Some("GPL-3.0-only"), registry)), 1);
        assert_eq!(found(package(None, registry)), 1);
        assert_eq!(found(package(Some("MIT"), Some("git+https://example.org/a"))), 1);
        assert_eq!(found(package(None, None)), 0, "our own packages are not dependencies");
    }
}
