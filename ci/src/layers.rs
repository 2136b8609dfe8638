//! `layers`: a module of `core` uses modules of lower numbers only; only the shell does I/O.
//!
//! The numbers stand in the documentation of `core/src/lib.rs`, where readers meet them: under the
//! heading `# Layers`, in the first fenced block, a line per module with its name, its number, and
//! what it is for. A module in the table need not exist yet; a module that exists must be in it.

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};

use anyhow::{Context, Result, ensure};

use crate::report::{Report, Verdict};
use crate::tokens::{self, Token};
use crate::workspace;

const HEADING: &str = "# Layers";

/// Module name to layer number.
type Table = BTreeMap<String, u32>;

/// Checks all of `core/src`.
pub(crate) fn run(root: &Path, report: &mut Report) -> Result<Verdict> {
    let src = root.join("core/src");
    let lib = fs::read_to_string(src.join("lib.rs")).context("core/src/lib.rs")?;
    let table = table(&lib).context("core/src/lib.rs")?;
    let (mut files, mut problems) = (0, Vec::new());
    for path in workspace::rust_files(&src)? {
        let inner = path.strip_prefix(&src)?.to_owned();
        let source = fs::read_to_string(&path).with_context(|| path.display().to_string())?;
        let found = check(&table, &inner, &source).with_context(|| path.display().to_string())?;
        problems.extend(found.into_iter().map(|p| format!("core/src/{}:{p}", inner.display())));
        files += 1;
    }
    report.summary(format!("{files} files, {} layers", table.values().max().map_or(0, |n| n + 1)));
    Ok(Verdict::from_problems(problems, report))
}

/// Reads the table out of the crate's documentation.
fn table(lib: &str) -> Result<Table> {
    let docs: Vec<_> =
        lib.lines().filter_map(|line| line.strip_prefix("//!")).map(str::trim).collect();
    let heading = docs.iter().position(|line| *line == HEADING);
    let heading = heading.with_context(|| format!("no heading `{HEADING}` in the crate's docs"))?;
    let is_fence = |line: &&str| line.starts_with("```");
    let block = docs[heading..].iter().skip_while(|line| !is_fence(line)).skip(1);
    let mut table = Table::new();
    for line in block.take_while(|line| !is_fence(line)).filter(|line| !line.is_empty()) {
        let mut words = line.split_whitespace();
        let (name, number) = (words.next().unwrap_or_default(), words.next().unwrap_or_default());
        let number = number.parse().with_context(|| format!("`{line}`: want `name number …`"))?;
        let twice = table.insert(name.to_owned(), number);
        ensure!(twice.is_none(), "`{name}` is in the table twice");
    }
    ensure!(!table.is_empty(), "no fenced block with lines `name number …` under `{HEADING}`");
    Ok(table)
}

/// What is wrong in the file `inner` (relative to `core/src`), as `line: what`.
fn check(table: &Table, inner: &Path, source: &str) -> Result<Vec<String>> {
    let module = module_path(inner);
    let tokens = tokens::without_tests(source)?;
    let mut problems = Vec::new();
    if !may_do_io(inner) {
        problems.extend(io(&tokens));
    }
    let Some(own) = module.first() else {
        // lib.rs shows what is public and so names everything; it only must not add a layer.
        problems.extend(inline_modules(&tokens).filter(|(_, name)| !table.contains_key(name)).map(
            |(line, name)| {
                format!("{line}: `{name}` is not in the table under `{HEADING}` in lib.rs")
            },
        ));
        return Ok(problems);
    };
    let Some(&number) = table.get(own) else {
        problems.push(format!("1: `{own}` is not in the table under `{HEADING}` in lib.rs"));
        return Ok(problems);
    };
    for (line, used) in uses(&tokens, &module) {
        if used == *own {
            continue;
        }
        match table.get(&used) {
            Some(lower) if *lower < number => {}
            Some(same) if *same == number => problems
                .push(format!("{line}: `{own}` uses `{used}`: both are layer {number}, strangers")),
            Some(higher) => problems.push(format!(
                "{line}: `{own}` ({number}) uses `{used}` ({higher}): a layer uses lower ones only"
            )),
            // The binary is above every layer, and its own modules are its own affair.
            None if own == "main" => {}
            None => problems.push(format!(
                "{line}: `crate::{used}` is no module of the table; name the module it lives in"
            )),
        }
    }
    Ok(problems)
}

/// `hub.rs` is `[hub]`, `flv/tag.rs` is `[flv, tag]`, `lib.rs` is `[]`.
fn module_path(inner: &Path) -> Vec<String> {
    let mut module = inner.with_extension("");
    if module == Path::new("lib") {
        module = PathBuf::new();
    }
    module.iter().map(|part| part.to_string_lossy().into_owned()).collect()
}

/// Every module directly below the crate's root that these tokens name, with the line.
fn uses(tokens: &[Token], module: &[String]) -> Vec<(usize, String)> {
    let mut out = Vec::new();
    let mut inside: Vec<(String, usize)> = Vec::new(); // Inline modules, and where each ends.
    for at in 0..tokens.len() {
        inside.retain(|(_, end)| at < *end);
        let text = tokens[at].text.as_str();
        let starts_path = at == 0 || tokens[at - 1].text != "::";
        if text == "mod" && tokens.get(at + 2).is_some_and(|token| token.text == "{") {
            inside.push((tokens[at + 1].text.clone(), tokens::close_of(tokens, at + 2)));
        } else if matches!(text, "crate" | "super") && starts_path {
            let here = module.iter().chain(inside.iter().map(|(name, _)| name));
            resolve(tokens, at, here.map(String::as_str).collect(), &mut out);
        } else if text == "forebay" && starts_path && module[0] == "main" {
            // The binary is a crate of its own and sees the library from outside.
            resolve_after(tokens, at, Vec::new(), &mut out);
        }
    }
    out
}

/// Follows the path at `at`, seen from the module `here`, to its first step below the root.
fn resolve(tokens: &[Token], at: usize, mut here: Vec<&str>, out: &mut Vec<(usize, String)>) {
    let Some(token) = tokens.get(at) else { return };
    match token.text.as_str() {
        "{" => {
            for start in tree_elements(tokens, at) {
                resolve(tokens, start, here.clone(), out);
            }
        }
        "crate" => resolve_after(tokens, at, Vec::new(), out),
        "super" => {
            here.pop();
            resolve_after(tokens, at, here, out);
        }
        // A macro lives at the root whatever module defines it.
        _ if tokens.get(at + 1).is_some_and(|next| next.text == "!") => {}
        name if here.is_empty() => out.push((token.line, name.to_owned())),
        _ => {}
    }
}

fn resolve_after(tokens: &[Token], at: usize, here: Vec<&str>, out: &mut Vec<(usize, String)>) {
    if tokens.get(at + 1).is_some_and(|token| token.text == "::") {
        resolve(tokens, at + 2, here, out);
    }
}

/// Where the elements of the use tree in the braces at `open` begin.
fn tree_elements(tokens: &[Token], open: usize) -> Vec<usize> {
    let (end, mut starts, mut at) = (tokens::close_of(tokens, open), Vec::new(), open + 1);
    while at < end {
        starts.push(at);
        while at < end && tokens[at].text != "," {
            at = if tokens[at].text == "{" { tokens::close_of(tokens, at) + 1 } else { at + 1 };
        }
        at += 1;
    }
    starts
}

fn inline_modules(tokens: &[Token]) -> impl Iterator<Item = (usize, String)> {
    tokens
        .windows(3)
        .filter(|three| three[0].text == "mod" && matches!(three[2].text.as_str(), "{" | ";"))
        .map(|three| (three[1].line, three[1].text.clone()))
}

/// Only the shell and the command line may touch sockets, files and the runtime.
fn may_do_io(inner: &Path) -> bool {
    let first = inner.iter().next().map(|part| part.to_string_lossy().into_owned());
    let first = first.unwrap_or_default();
    first.starts_with("shell") || first.starts_with("cli") || matches!(&*first, "main.rs" | "main")
}

fn io(tokens: &[Token]) -> Vec<String> {
    let mut problems = Vec::new();
    for (at, token) in tokens.iter().enumerate() {
        let path = tokens.get(at + 1).is_some_and(|next| next.text == "::");
        let imported = at > 0 && matches!(tokens[at - 1].text.as_str(), "use" | "crate");
        if token.text == "tokio" && (path || imported) {
            problems.push(format!("{}: tokio belongs to the shell", token.line));
        }
        if token.text == "std" && path {
            let mut steps = Vec::new();
            resolve(tokens, at + 2, Vec::new(), &mut steps);
            for (line, step) in steps {
                match step.as_str() {
                    "fs" => problems.push(format!("{line}: std::fs belongs to the shell")),
                    "net" => problems.push(format!(
                        "{line}: std::net belongs to the shell (an address alone: core::net)"
                    )),
                    _ => {}
                }
            }
        }
    }
    problems
}

#[cfg(test)]
mod tests {
    use super::*;

    const LIB: &str = "//! A core.\n//!\n//! # Layers\n//!\n//! Downwards only.\n//!\n//! ```text\n\
        //! time  0  milliseconds\n//! rope  0\n//! flv   1  tags\n//! hub   4\n//! shell 6\n//! main  7\n\
        //! ```\n//!\n//! ```text\n//! other 9\n//! ```\n\npub mod flv;\n";

    fn problems(file: &str, source: &str) -> Vec<String> {
        check(&table(LIB).unwrap(), Path::new(file), source).unwrap()
    }

    #[track_caller]
    fn fails(file: &str, source: &str, with: &str) {
        let found = problems(file, source);
        assert!(found.len() == 1 && found[0].contains(with), "want one with {with:?}: {found:#?}");
    }

    #[track_caller]
    fn passes(file: &str, source: &str) {
        assert_eq!(problems(file, source), Vec::<String>::new());
    }

    #[test]
    fn the_table_is_the_first_block_under_its_heading() {
        let table = table(LIB).unwrap();
        assert_eq!(table.len(), 6);
        assert_eq!((table["time"], table["main"]), (0, 7));
    }

    #[test]
    fn a_table_that_cannot_be_read_is_an_error() {
        for lib in [
            "//! No heading.\n",
            "//! # Layers\n//! no block\n",
            "//! # Layers\n//! ```text\n//! time zero\n//! ```\n",
            "//! # Layers\n//! ```text\n//! time 0\n//! time 1\n//! ```\n",
        ] {
            assert!(table(lib).is_err(), "{lib}");
        }
    }

    #[test]
    fn a_lower_layer_may_be_used() {
        passes("hub.rs", "use crate::flv::Tag;\nfn f(t: crate::time::Timestamp) {}");
        passes("flv/tag.rs", "use super::video::VideoHeader;\nuse crate::flv::video::CodecId;");
        passes("shell/net.rs", "use crate::{hub::Hub, flv::{Tag, TagKind}};");
    }

    #[test]
    fn a_higher_layer_may_not_be_used() {
        fails(
            "flv.rs",
            "use crate::time::Timestamp;\nuse crate::hub::Hub;",
            "2: `flv` (1) uses `hub` (4)",
        );
        fails(
            "flv/tag.rs",
            "fn f() {\n    crate::shell::run();\n}",
            "2: `flv` (1) uses `shell` (6)",
        );
        fails(
            "hub.rs",
            "use crate::{\n    flv::{Tag, TagKind},\n    shell::{self, net},\n};",
            "3: `hub`",
        );
    }

    #[test]
    fn modules_of_one_number_are_strangers() {
        fails("rope.rs", "use crate::time::Timestamp;", "1: `rope` uses `time`: both are layer 0");
    }

    #[test]
    fn super_is_followed_to_the_root() {
        fails("flv.rs", "use super::hub::Hub;", "`flv` (1) uses `hub` (4)");
        fails("flv/tag.rs", "use super::super::hub;", "`flv` (1) uses `hub` (4)");
        fails(
            "flv.rs",
            "mod inner { fn f() { super::super::hub::f() } }",
            "`flv` (1) uses `hub` (4)",
        );
        passes("flv.rs", "mod inner { use super::hub; }\nmod hub {}");
    }

    #[test]
    fn comments_strings_and_tests_do_not_count() {
        passes(
            "flv.rs",
            "//! See [`crate::hub`].\n// crate::hub\nconst S: &str = \"crate::hub\";\n\
             #[cfg(test)]\nmod tests {\n    use crate::hub::Hub;\n    use std::fs;\n}\n",
        );
    }

    #[test]
    fn a_macro_body_counts() {
        fails(
            "flv.rs",
            "macro_rules! m { () => { $crate::hub::f() } }",
            "`flv` (1) uses `hub` (4)",
        );
    }

    #[test]
    fn a_name_that_hides_its_layer_is_refused() {
        fails("hub.rs", "use crate::Tag;", "`crate::Tag` is no module of the table");
        fails("hub.rs", "use crate::*;", "`crate::*`");
        passes("hub.rs", "crate::ensure!(true);");
    }

    #[test]
    fn a_module_missing_from_the_table_is_named() {
        fails("gop.rs", "", "1: `gop` is not in the table");
        fails("gop/window.rs", "", "1: `gop` is not in the table");
        fails("lib.rs", "pub mod flv;\nmod secret { }", "2: `secret` is not in the table");
    }

    #[test]
    fn the_binary_sees_the_library_from_outside() {
        passes("main.rs", "use forebay::shell::Server;\nuse crate::serve::serve;\nmod serve;");
        let sunk = LIB.replace("main  7", "main  5");
        let found = check(&table(&sunk).unwrap(), Path::new("main.rs"), "use forebay::shell;");
        assert!(found.unwrap()[0].contains("`main` (5) uses `shell` (6)"));
    }

    #[test]
    fn io_belongs_to_the_shell() {
        for source in [
            "use tokio::net::TcpStream;",
            "use tokio;",
            "fn f() { ::tokio::spawn(g()); }",
            "use std::fs::File;",
            "use std::{collections::BTreeMap, fs};",
            "fn f(a: std::net::SocketAddr) {}",
            "use std::{io, net::{IpAddr, TcpStream}};",
        ] {
            fails("hub.rs", source, "belongs to the shell");
            passes("shell.rs", source);
            passes("shell/disk.rs", source);
            passes("main.rs", source);
            passes("main/serve.rs", source);
        }
        passes("hub.rs", "use std::io::Write;\nuse core::net::SocketAddr;\nlet net = a.fs();");
    }
}
