//! What a step has to say: its output, kept until it fails, and the lines everybody shall see.

use std::io::{self, IsTerminal, Write};
use std::time::{Duration, Instant};

/// How a step ended.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Verdict {
    Passed,
    Failed,
    /// Nothing was checked, and why.
    Skipped(String),
}

impl Verdict {
    pub(crate) fn passed_if(passed: bool) -> Self {
        if passed { Self::Passed } else { Self::Failed }
    }

    /// Failed with these lines, or passed if there is none.
    pub(crate) fn from_problems(problems: Vec<String>, report: &mut Report) -> Self {
        let passed = problems.is_empty();
        problems.into_iter().for_each(|problem| report.say(problem));
        Self::passed_if(passed)
    }
}

/// One step's lines.
pub(crate) struct Report {
    name: &'static str,
    start: Instant,
    verbose: bool,
    /// On a terminal the step's line shows what is going on.
    live: bool,
    log: Vec<String>,
    summary: Option<String>,
    shown: Vec<String>,
    not_run: Vec<String>,
}

impl Report {
    /// Begins the step's line.
    pub(crate) fn begin(name: &'static str, verbose: bool) -> Self {
        // Without the rest of the line, a log that ends here tells which step was running.
        print(&format!("{name:<10} {}", if verbose { "\n" } else { "" }));
        Self { live: io::stdout().is_terminal() && !verbose, ..Self::silent(name, verbose) }
    }

    /// Has printed nothing yet and, unless it is `verbose`, prints nothing before its end.
    pub(crate) fn silent(name: &'static str, verbose: bool) -> Self {
        Self {
            name,
            start: Instant::now(),
            verbose,
            live: false,
            log: Vec::new(),
            summary: None,
            shown: Vec::new(),
            not_run: Vec::new(),
        }
    }

    /// A line of output. It is shown if the step fails.
    pub(crate) fn say(&mut self, line: impl Into<String>) {
        let line = line.into();
        if self.verbose {
            print(&format!("{line}\n"));
        } else if self.live {
            let seconds = self.start.elapsed().as_secs();
            let plain: String = without_colour(&line).chars().take(60).collect();
            print(&format!("\r\x1b[K{:<10} {seconds:>4} s  {}", self.name, plain.trim()));
        }
        self.log.push(line);
    }

    /// What was checked, in a few words, for the end of the step's line.
    pub(crate) fn summary(&mut self, words: impl Into<String>) {
        self.summary = Some(words.into());
    }

    /// A line to show under the step's line even if it passes, as it is.
    pub(crate) fn show(&mut self, line: impl Into<String>) {
        self.shown.push(line.into());
    }

    /// Something that should have been checked, could not be, and why.
    pub(crate) fn not_run(&mut self, what: impl Into<String>) {
        self.not_run.push(what.into());
    }

    /// The lines said from number `from` on.
    pub(crate) fn lines_from(&self, from: usize) -> &[String] {
        &self.log[from..]
    }

    /// How many lines were said.
    pub(crate) fn line_count(&self) -> usize {
        self.log.len()
    }

    /// Ends the step's line and says what has to be said; returns what was not run.
    pub(crate) fn end(self, verdict: &Verdict) -> Vec<String> {
        let begin = match (self.live, self.verbose) {
            (true, _) => format!("\r\x1b[K{:<10} ", self.name),
            (_, true) => format!("{:<10} ", self.name),
            _ => String::new(), // It stands there already.
        };
        let word = match verdict {
            Verdict::Passed => "ok",
            Verdict::Failed => "FAILED",
            Verdict::Skipped(_) => "skipped",
        };
        let reason = match verdict {
            Verdict::Skipped(reason) => Some(reason),
            _ => self.summary.as_ref(),
        };
        let time = duration(self.start.elapsed());
        let line = format!("{begin}{word:<8} {time:>12}   {}", reason.map_or("", String::as_str));
        print(&format!("{}\n", line.trim_end()));
        let failed = *verdict == Verdict::Failed && !self.verbose;
        for line in if failed { &self.log } else { &self.shown } {
            print(&format!("{line}\n"));
        }
        for what in &self.not_run {
            print(&format!("           NOT RUN  {what}\n"));
        }
        self.not_run
    }
}

/// Prints at once. If nobody reads any more (`cargo ci | head`), there is nothing left to do.
pub(crate) fn print(text: &str) {
    let mut stdout = io::stdout().lock();
    if stdout.write_all(text.as_bytes()).and_then(|()| stdout.flush()).is_err() {
        std::process::exit(1);
    }
}

/// `0.4 s`, `59.9 s`, `2 min 05 s`.
pub(crate) fn duration(duration: Duration) -> String {
    let tenths = duration.as_millis() / 100;
    if tenths < 600 {
        format!("{}.{} s", tenths / 10, tenths % 10)
    } else {
        format!("{} min {:02} s", tenths / 600, tenths % 600 / 10)
    }
}

/// `line` without terminal colours.
pub(crate) fn without_colour(line: &str) -> String {
    let mut parts = line.split("\x1b[");
    let mut out = parts.next().unwrap_or_default().to_owned();
    for part in parts {
        out += part.split_once('m').map_or(part, |(_, text)| text);
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn durations_are_short() {
        let text = |ms| duration(Duration::from_millis(ms));
        assert_eq!([text(0), text(1_250), text(59_999)], ["0.0 s", "1.2 s", "59.9 s"]);
        assert_eq!([text(60_000), text(125_900)], ["1 min 00 s", "2 min 05 s"]);
    }

    #[test]
    fn colours_go_and_text_stays() {
        assert_eq!(without_colour("\x1b[32;1m Summary\x1b[0m [ 1s]"), " Summary [ 1s]");
    }
}
