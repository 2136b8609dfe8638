//! `fuzz`: libFuzzer looks for bytes that break what `core/fuzz` says must always hold.
//!
//! On the stable toolchain: the compiler's own coverage pass is asked for by name, and libFuzzer
//! is built from source by a C++ compiler. The instrumented build is `target/fuzz`. What reached
//! new code stays in `target/fuzz-corpus` for the next run; delete it to begin again with the
//! seeds, which are cut out of `testdata`. What broke a promise is put into `target/fuzz-finds`,
//! and into `testdata/fuzz/TARGET` by whoever mends it.

mod seeds;

use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::sync::Mutex;
use std::thread;
use std::time::Duration;

use anyhow::{Context, Result, ensure};
use clap::Parser;

use crate::Args;
use crate::command::{cargo, output_or_say, program, run as run_command};
use crate::packages::install;
use crate::report::{Report, Verdict, duration};
use crate::workspace::{files, find_program, in_ci};

const TARGETS: &str = "core/fuzz/targets";
const DICTIONARY: &str = "core/fuzz/dictionary.txt";
const REGRESSIONS: &str = "testdata/fuzz";
const CORPUS: &str = "target/fuzz-corpus";
const FINDS: &str = "target/fuzz-finds";

/// What `cargo fuzz` passes too: counters at every edge, and the operands of comparisons.
const INSTRUMENTATION: &str = "--cfg tokio_unstable -Cpasses=sancov-module \
    -Cllvm-args=-sanitizer-coverage-level=4 -Cllvm-args=-sanitizer-coverage-inline-8bit-counters \
    -Cllvm-args=-sanitizer-coverage-pc-table -Cllvm-args=-sanitizer-coverage-trace-compares";

/// The same choices in every run, and an end to memory and to an input that takes for ever. The
/// limit for one allocation works with a sanitizer only; without, the targets count themselves.
const LIBFUZZER: &str = "-seed=1 -max_len=8192 -rss_limit_mb=512 -malloc_limit_mb=64 -timeout=10 \
    -print_final_stats=1";

/// What can be chosen for this step.
#[derive(clap::Args)]
pub(crate) struct Options {
    /// Step fuzz: how long each target is tried
    #[arg(long, value_name = "N", default_value_t = 20, value_parser = clap::value_parser!(u64).range(1..))]
    seconds: u64,

    /// Step fuzz: only this target
    #[arg(long, value_name = "NAME")]
    target: Option<String>,
}

/// Builds the targets and tries each of them for a while.
pub(crate) fn run(root: &Path, report: &mut Report) -> Result<Verdict> {
    let Options { seconds, target } = Args::parse().fuzz;
    let names = chosen(targets(&root.join(TARGETS))?, target.as_deref())?;
    if find_program("c++").is_none() {
        install(&["g++"], report)?;
    }
    if find_program("c++").is_none() {
        report.not_run("fuzz targets: apt-get install g++");
        let reason = "libFuzzer needs a C++ compiler".to_owned();
        return Ok(if in_ci() { Verdict::Failed } else { Verdict::Skipped(reason) });
    }
    let Some(programs) = build(report)? else { return Ok(Verdict::Failed) };
    seeds::write(&root.join("testdata"), &root.join(CORPUS))?;
    fs::create_dir_all(FINDS)?;

    let (waiting, runs) = (Mutex::new(names), Mutex::new(Vec::new()));
    thread::scope(|scope| {
        for _ in 0..thread::available_parallelism().map_or(1, usize::from) {
            scope.spawn(|| {
                while let Some(name) = pop(&waiting) {
                    let fuzzed = fuzz(&programs, &name, seconds);
                    runs.lock().unwrap_or_else(|error| error.into_inner()).push((name, fuzzed));
                }
            });
        }
    });
    let mut runs = runs.into_inner()?;
    runs.sort_by(|(one, _), (other, _)| one.cmp(other));
    let mut total = 0;
    let mut problems = Vec::new();
    for (name, fuzzed) in runs {
        let Fuzzed { command, passed, said } = fuzzed?;
        report.say(format!("$ {command}"));
        lines_of_interest(&said).for_each(|line| report.say(line));
        let (executions, edges) = figures(&said);
        total += executions;
        report.show(format!("{name:<10} {executions:>9} executions, {edges:>5} edges"));
        if !passed {
            problems.extend(how_to_go_on(&programs, &name, &said));
        }
    }
    let time = duration(Duration::from_secs(seconds));
    report.summary(format!("{total} executions, {time} per target"));
    Ok(Verdict::from_problems(problems, report))
}

/// The names of all targets, sorted.
fn targets(folder: &Path) -> Result<Vec<String>> {
    let name = |path: PathBuf| Some(path.file_stem()?.to_string_lossy().into_owned());
    Ok(files(folder)?.into_iter().filter_map(name).collect())
}

fn chosen(names: Vec<String>, target: Option<&str>) -> Result<Vec<String>> {
    let Some(target) = target else { return Ok(names) };
    ensure!(names.iter().any(|name| name == target), "no target {target}: {}", names.join(", "));
    Ok(vec![target.to_owned()])
}

fn pop(names: &Mutex<Vec<String>>) -> Option<String> {
    names.lock().unwrap_or_else(|error| error.into_inner()).pop()
}

/// Builds all targets. Says in which folder they are.
fn build(report: &mut Report) -> Result<Option<PathBuf>> {
    let Some(version) = output_or_say(program("rustc", "-vV"), report)? else { return Ok(None) };
    let host = version.lines().find_map(|line| line.strip_prefix("host: "));
    let host = host.context("`rustc -vV` names no host")?;
    // With a target given, build scripts and macros are not instrumented.
    let mut build = cargo(&format!(
        "build -p forebay-fuzz --features libfuzzer --bins --profile fuzz --target {host} \
         --target-dir target/fuzz"
    ));
    build.env("RUSTFLAGS", INSTRUMENTATION);
    let built = run_command(build, report)?;
    Ok(built.then(|| Path::new("target/fuzz").join(host).join("fuzz")))
}

/// What one target's run came to.
struct Fuzzed {
    command: String,
    passed: bool,
    said: String,
}

fn fuzz(programs: &Path, name: &str, seconds: u64) -> Result<Fuzzed> {
    let corpus = Path::new(CORPUS).join(name);
    let found = corpus.join("found");
    fs::create_dir_all(&found)?;
    let mut args: Vec<String> = LIBFUZZER.split_whitespace().map(str::to_owned).collect();
    args.push(format!("-max_total_time={seconds}"));
    args.push(format!("-dict={DICTIONARY}"));
    args.push(format!("-artifact_prefix={FINDS}/{name}-"));
    // What reaches new code is written to the first folder.
    let known = [found, corpus.join("seeds"), Path::new(REGRESSIONS).join(name)];
    args.extend(known.iter().filter(|folder| folder.exists()).map(|f| f.display().to_string()));
    let program = programs.join(name);
    let mut command = Command::new(&program);
    command.args(&args).env("RUST_BACKTRACE", "1").stdin(Stdio::null());
    let output = command.output().with_context(|| program.display().to_string())?;
    Ok(Fuzzed {
        command: format!("{} {}", program.display(), args.join(" ")),
        passed: output.status.success(),
        said: String::from_utf8_lossy(&[output.stdout, output.stderr].concat()).into_owned(),
    })
}

/// Without the thousands that say that something new was reached.
fn lines_of_interest(said: &str) -> impl Iterator<Item = &str> {
    let is_news = |line: &&str| {
        let mut words = line.split_whitespace();
        words.next().is_some_and(|word| word.starts_with('#'))
            && !matches!(words.next(), Some("INITED" | "DONE"))
    };
    said.lines().filter(move |line| !is_news(line) && !line.contains("# Uses:"))
}

/// Executions, and edges of the program that were reached.
fn figures(said: &str) -> (u64, u64) {
    let number = |word: Option<&str>| word.and_then(|word| word.parse().ok()).unwrap_or(0);
    let executions =
        said.lines().find_map(|line| line.strip_prefix("stat::number_of_executed_units:"));
    let edges = said.lines().rev().find_map(|line| line.split_once(" cov: "));
    let edges = edges.and_then(|(_, rest)| rest.split_whitespace().next());
    (number(executions.map(str::trim)), number(edges))
}

/// Where the input is that broke a promise, how to see it again, and how to keep it.
fn how_to_go_on(programs: &Path, name: &str, said: &str) -> Vec<String> {
    let file = said.lines().find_map(|line| line.split_once("Test unit written to "));
    let Some((_, file)) = file else {
        return vec![format!("{name}: the fuzzer failed and left no input")];
    };
    let (program, kept) =
        (programs.join(name).display().to_string(), format!("{REGRESSIONS}/{name}"));
    vec![
        format!("FAILED {name}: {file}"),
        format!("  replay  {program} {file}"),
        format!("  shrink  {program} -minimize_crash=1 -runs=100000 {file}"),
        format!(
            "  keep    mkdir -p {kept} && cp {file} {kept}/WHAT_IT_IS && cargo test -p forebay-fuzz"
        ),
    ]
}

#[cfg(test)]
mod tests {
    use super::*;

    const SAID: &str = "\
INFO: seed corpus: files: 31
#61\tINITED cov: 414 ft: 897 corp: 22/41Kb exec/s: 0 rss: 27Mb
#70\tNEW    cov: 420 ft: 899 corp: 23/41Kb lim: 4229 exec/s: 0 rss: 27Mb
thread '<unnamed>' panicked at core/fuzz/src/flv.rs:68:5:
artifact_prefix='target/fuzz-finds/flv-'; Test unit written to target/fuzz-finds/flv-crash-1
stat::number_of_executed_units: 1025
";

    #[test]
    fn a_run_is_told_in_figures() {
        assert_eq!(figures(SAID), (1025, 420));
        assert_eq!(figures("cannot execute"), (0, 0));
        let lines: Vec<_> = lines_of_interest(SAID).collect();
        assert!(lines.len() == 5 && lines[1].contains("INITED"), "{lines:?}");
    }

    #[test]
    fn a_find_is_told_with_the_command_that_replays_it() {
        let lines = how_to_go_on(Path::new("target/fuzz/fuzz"), "flv", SAID);
        assert_eq!(lines[0], "FAILED flv: target/fuzz-finds/flv-crash-1");
        assert_eq!(lines[1], "  replay  target/fuzz/fuzz/flv target/fuzz-finds/flv-crash-1");
        assert_eq!(how_to_go_on(Path::new(""), "flv", "killed").len(), 1);
    }

    #[test]
    fn a_misspelt_target_is_refused() {
        let names = || vec!["amf0".to_owned(), "flv".to_owned()];
        assert_eq!(chosen(names(), None).unwrap().len(), 2);
        assert_eq!(chosen(names(), Some("flv")).unwrap(), ["flv"]);
        assert!(chosen(names(), Some("flw")).is_err());
    }
}
