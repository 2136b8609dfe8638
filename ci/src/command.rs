//! Running other programs: their output goes to the report, and none of them may hang.

use std::ffi::OsStr;
use std::io::{BufRead, BufReader};
use std::process::{Command, Stdio};
use std::sync::mpsc::{self, RecvTimeoutError};
use std::thread;
use std::time::{Duration, Instant};

use anyhow::{Context, Result};

use crate::report::{Report, without_colour};
use crate::workspace;

/// No command of ours needs as long on two slow cores, so it hangs; better to hear which one it was
/// than to run into the time limit of the whole.
const DURATION_MAX: Duration = Duration::from_secs(40 * 60);

/// A cargo command, split at spaces.
pub(crate) fn cargo(args: &str) -> Command {
    program(workspace::cargo(), args)
}

/// A command, its arguments split at spaces.
pub(crate) fn program(name: impl AsRef<OsStr>, args: &str) -> Command {
    let mut command = Command::new(name);
    command.args(args.split_whitespace());
    command
}

/// Runs `command` to its end; says everything it prints. Whether it succeeded.
pub(crate) fn run(command: Command, report: &mut Report) -> Result<bool> {
    run_for(command, DURATION_MAX, report)
}

fn run_for(mut command: Command, duration_max: Duration, report: &mut Report) -> Result<bool> {
    let shown = shown(&command);
    report.say(format!("$ {shown}"));
    // One pipe for both, so that errors stay between the lines they belong to.
    let (reader, writer) = std::io::pipe()?;
    command.stdin(Stdio::null()).stdout(writer.try_clone()?).stderr(writer);
    let mut child = command.spawn().with_context(|| format!("cannot run `{shown}`"))?;
    drop(command); // It holds our ends of the pipe, which would never close.
    let (sender, lines) = mpsc::channel();
    thread::spawn(move || {
        let mut reader = BufReader::new(reader);
        let mut line = Vec::new();
        while reader.read_until(b'\n', &mut line).is_ok_and(|len| len > 0) {
            let text = String::from_utf8_lossy(&line).trim_end().to_owned();
            line.clear();
            if sender.send(text).is_err() {
                break;
            }
        }
    });
    let end = Instant::now() + duration_max;
    loop {
        match lines.recv_timeout(end.saturating_duration_since(Instant::now())) {
            Ok(line) => report.say(line),
            Err(RecvTimeoutError::Disconnected) => break,
            Err(RecvTimeoutError::Timeout) => {
                child.kill().ok();
                child.wait().ok();
                report.say(format!("`{shown}` was ended after {} s", duration_max.as_secs()));
                return Ok(false);
            }
        }
    }
    let status = child.wait()?;
    if !status.success() {
        report.say(format!("`{shown}` ended with {status}"));
    }
    Ok(status.success())
}

/// Runs a test command and shows its runner's closing lines even if all is well.
pub(crate) fn run_tests(command: Command, report: &mut Report) -> Result<bool> {
    let from = report.line_count();
    let passed = run(command, report)?;
    let closing = report.lines_from(from).iter().filter(|line| is_closing_line(line));
    for line in closing.cloned().collect::<Vec<_>>() {
        report.show(line);
    }
    Ok(passed)
}

/// What the command prints to standard output, or `None` if it fails or is not there.
pub(crate) fn output(mut command: Command) -> Option<String> {
    let output = command.stdin(Stdio::null()).output().ok()?;
    output.status.success().then(|| String::from_utf8_lossy(&output.stdout).into_owned())
}

/// What the command prints to standard output; if it fails, what it says.
pub(crate) fn output_or_say(mut command: Command, report: &mut Report) -> Result<Option<String>> {
    let shown = shown(&command);
    report.say(format!("$ {shown}"));
    let output = command.stdin(Stdio::null()).output();
    let output = output.with_context(|| format!("cannot run `{shown}`"))?;
    if !output.status.success() {
        String::from_utf8_lossy(&output.stderr).lines().for_each(|line| report.say(line));
        return Ok(None);
    }
    Ok(Some(String::from_utf8_lossy(&output.stdout).into_owned()))
}

/// Whether `cargo NAME` exists.
pub(crate) fn has_cargo(name: &str) -> bool {
    output(cargo(&format!("{name} --version"))).is_some()
}

fn is_closing_line(line: &str) -> bool {
    let line = without_colour(line);
    let line = line.trim_start();
    line.starts_with("test result:") || line.starts_with("Summary [")
}

fn shown(command: &Command) -> String {
    let name = std::path::Path::new(command.get_program()).file_name().unwrap_or_default();
    let words = std::iter::once(name).chain(command.get_args());
    words.map(|word| word.to_string_lossy()).collect::<Vec<_>>().join(" ")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn output_of_both_kinds_arrives_in_order() {
        let mut report = Report::silent("test", false);
        let mut command = program("sh", "-c");
        command.arg("echo one; echo two >&2; echo three; exit 3");
        assert!(!run(command, &mut report).unwrap());
        assert_eq!(report.lines_from(1)[..3], ["one", "two", "three"]);
        assert!(report.lines_from(4)[0].contains("exit status: 3"));
    }

    #[test]
    fn a_command_that_hangs_is_ended() {
        let mut report = Report::silent("test", false);
        let command = program("sleep", "60");
        assert!(!run_for(command, Duration::from_millis(50), &mut report).unwrap());
        assert!(report.lines_from(1)[0].contains("was ended"));
    }

    #[test]
    fn a_program_that_is_not_there_is_an_error_with_its_name() {
        let mut report = Report::silent("test", false);
        let error = run(program("no-such-program", "--x"), &mut report).unwrap_err();
        assert_eq!(error.to_string(), "cannot run `no-such-program --x`");
    }

    #[test]
    fn closing_lines_of_both_test_runners_are_known() {
        assert!(is_closing_line("     Summary [   0.123s] 20 tests run: 20 passed, 0 skipped"));
        assert!(is_closing_line("test result: ok. 3 passed; 0 failed; 0 ignored"));
        assert!(!is_closing_line("test tests::a ... ok"));
    }
}
