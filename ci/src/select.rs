//! `select`: every `select!` begins with `biased;`, or two runs of one seed poll in another order.

use std::fs;
use std::path::Path;

use anyhow::{Context, Result};

use crate::report::{Report, Verdict};
use crate::tokens;
use crate::workspace;

/// Checks `core/src` and `sim/src`.
pub(crate) fn run(root: &Path, report: &mut Report) -> Result<Verdict> {
    let (mut count, mut problems) = (0, Vec::new());
    for folder in ["core/src", "sim/src"] {
        for path in workspace::rust_files(&root.join(folder))? {
            let source = fs::read_to_string(&path)?;
            let shown = path.strip_prefix(root)?.display().to_string();
            let (found, unbiased) = check(&source).context(shown.clone())?;
            count += found;
            problems.extend(
                unbiased.into_iter().map(|line| {
                    format!("{shown}:{line}: this select! does not begin with `biased;`")
                }),
            );
        }
    }
    report.summary(format!("{count} of them"));
    Ok(Verdict::from_problems(problems, report))
}

/// How many `select!` there are, and the lines of those without `biased;`.
fn check(source: &str) -> Result<(usize, Vec<usize>)> {
    let tokens = tokens::all(source)?;
    let (mut count, mut unbiased) = (0, Vec::new());
    for (at, token) in tokens.iter().enumerate() {
        let after = &tokens[at + 1..];
        let opens = after.get(1).is_some_and(|t| matches!(t.text.as_str(), "{" | "(" | "["));
        if token.text == "select" && tokens::starts_with(after, &["!"]) && opens {
            count += 1;
            if !tokens::starts_with(&after[2..], &["biased", ";"]) {
                unbiased.push(token.line);
            }
        }
    }
    Ok((count, unbiased))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_unbiased_select_is_found_on_its_line() {
        let source = "async fn f() {\n    tokio::select! {\n        a = b() => {}\n    }\n}";
        assert_eq!(check(source).unwrap(), (1, vec![2]));
        assert_eq!(check("fn f() { select!(a = b() => {}) }").unwrap(), (1, vec![1]));
    }

    #[test]
    fn a_biased_select_passes_whatever_stands_before_it() {
        let source = "async fn f() { tokio::select! {\n // why\n biased;\n a = b() => {} } }";
        assert_eq!(check(source).unwrap(), (1, vec![]));
    }

    #[test]
    fn a_select_in_words_is_none() {
        assert_eq!(
            check("/// A `select! {}`.\nfn select() {} // select! {}").unwrap(),
            (0, vec![])
        );
    }
}
