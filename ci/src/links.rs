//! `readme`: what the READMEs name exists: files, linked or in backquotes, and steps of `cargo ci`.

use std::fs;
use std::path::Path;

use anyhow::{Context, Result};

use crate::report::{Report, Verdict};
use crate::steps::STEPS;

const FILES: [&str; 2] = ["README.md", "testdata/README.md"];

/// A word that begins with one of these is meant as a path, from the root or from the README's
/// folder.
const TOPS: [&str; 12] = [
    "core/",
    "sim/",
    "benches/",
    "ci/",
    "testdata/",
    ".ci/",
    ".cargo/",
    ".config/",
    ".github/",
    "flv/obs",
    "flv/enh",
    "recipes/",
];

/// Checks the READMEs that are there.
pub(crate) fn run(root: &Path, report: &mut Report) -> Result<Verdict> {
    let (mut count, mut problems) = (0, Vec::new());
    for file in FILES {
        let path = root.join(file);
        if !path.exists() {
            report.not_run(format!("{file} is not there"));
            continue;
        }
        let text = fs::read_to_string(&path).context(file)?;
        let folder = path.parent().context(file)?;
        for (line, claim) in claims(&text) {
            count += 1;
            if !holds(&claim, root, folder) {
                problems.push(format!("{file}:{line}: {claim:?} does not exist"));
            }
        }
    }
    report.summary(format!("{count} paths and commands"));
    Ok(Verdict::from_problems(problems, report))
}

#[derive(Debug, PartialEq, Eq)]
enum Claim {
    /// A Markdown link's target, relative to the file.
    Link(String),
    /// A word that looks like a path.
    Path(String),
    /// A word after `cargo ci`.
    Step(String),
}

fn holds(claim: &Claim, root: &Path, folder: &Path) -> bool {
    match claim {
        Claim::Link(target) => folder.join(target).exists(),
        Claim::Path(path) => root.join(path).exists() || folder.join(path).exists(),
        Claim::Step(name) => STEPS.iter().any(|step| step.name == name),
    }
}

/// What the text says exists, with its line.
fn claims(text: &str) -> Vec<(usize, Claim)> {
    let (mut claims, mut fenced) = (Vec::new(), false);
    for (index, line) in text.lines().enumerate() {
        let mut push = |claim| claims.push((index + 1, claim));
        if line.trim_start().starts_with("```") {
            fenced = !fenced;
            continue;
        }
        if fenced {
            code(line, &mut push);
            continue;
        }
        // Every second piece between backquotes is code.
        line.split('`').skip(1).step_by(2).for_each(|piece| code(piece, &mut push));
        for after in line.split("](").skip(1) {
            let target = after.split([')', ' ', '#']).next().unwrap_or_default();
            if !target.is_empty() && !target.contains("://") && !target.starts_with("mailto:") {
                push(Claim::Link(target.to_owned()));
            }
        }
    }
    claims
}

fn code(piece: &str, push: &mut impl FnMut(Claim)) {
    let piece = piece.split('#').next().unwrap_or_default();
    for word in piece.split_whitespace() {
        let word = word.trim_end_matches([',', ';', ':', '.']);
        // Patterns and placeholders stand for many names or for none.
        let literal = !word.contains(['*', '{', '<', '…', '$', '|', '(']);
        if literal && TOPS.iter().any(|top| word.starts_with(top)) {
            push(Claim::Path(word.to_owned()));
        }
    }
    if let Some((_, words)) = piece.split_once("cargo ci ") {
        let is_step = |word: &&str| word.starts_with(|c: char| c.is_ascii_lowercase());
        words.split_whitespace().take_while(is_step).for_each(|w| push(Claim::Step(w.to_owned())));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn found(text: &str) -> Vec<String> {
        claims(text).into_iter().map(|(line, claim)| format!("{line} {claim:?}")).collect()
    }

    #[test]
    fn links_paths_and_steps_are_found_on_their_lines() {
        let text = "See [the map](core/src/lib.rs#layers) and\n`testdata/flv/a.flv`.\n\n```\n\
            cargo run -- serve --replay testdata/b.flv   # core/none\ncargo ci fmt clippy\n```\n";
        assert_eq!(
            found(text),
            [
                "1 Link(\"core/src/lib.rs\")",
                "2 Path(\"testdata/flv/a.flv\")",
                "5 Path(\"testdata/b.flv\")",
                "6 Step(\"fmt\")",
                "6 Step(\"clippy\")",
            ]
        );
    }

    #[test]
    fn addresses_patterns_and_prose_are_not_paths() {
        let text = "[x](https://example.org/core/y) core/none `core/*.rs` `core/{a,b}` [y](#here)\n\
            `rtmp://host/live` `cargo ci STEP…` `cargo ci --list`";
        assert_eq!(found(text), Vec::<String>::new());
    }

    #[test]
    fn what_does_not_exist_does_not_hold() {
        let root = Path::new(env!("CARGO_MANIFEST_DIR"));
        assert!(holds(&Claim::Link("Cargo.toml".into()), root, root));
        assert!(holds(&Claim::Step("fmt".into()), root, root));
        assert!(!holds(&Claim::Path("src/none.rs".into()), root, root));
        assert!(!holds(&Claim::Step("none".into()), root, root));
    }
}
