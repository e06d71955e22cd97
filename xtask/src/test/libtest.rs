//! Reading what a Rust test binary prints.
//!
//! libtest's JSON is not stable, its text is. Counts are taken from the line
//! `test result:` alone: a program started by a test may write into the middle
//! of any other line.

use std::collections::BTreeSet;

use super::report::Tally;

/// What was read so far.
#[derive(Debug, Default)]
pub(super) struct Reader {
    passed: usize,
    failed: usize,
    ignored: usize,
    results: usize,
    failed_names: BTreeSet<String>,
    ignored_names: Vec<(String, String)>,
    in_failures: bool,
}

impl Reader {
    /// Takes in one line.
    pub(super) fn line(&mut self, line: &str) {
        if let Some(result) = line.strip_prefix("test result: ") {
            self.results += 1;
            self.passed += count(result, "passed");
            self.failed += count(result, "failed");
            self.ignored += count(result, "ignored");
        } else if let Some(test) = line.strip_prefix("test ") {
            self.test_line(test);
        }
        self.failure_list(line);
    }

    fn test_line(&mut self, test: &str) {
        let Some((name, verdict)) = test.rsplit_once(" ... ") else { return };
        if verdict == "FAILED" {
            self.failed_names.insert(name.to_owned());
        } else if let Some(why) = verdict.strip_prefix("ignored") {
            let why = why.trim_start_matches(", ");
            let why = if why.is_empty() { "marked #[ignore]" } else { why };
            self.ignored_names.push((name.to_owned(), why.to_owned()));
        }
    }

    /// The closing list: "failures:" and one indented name a line.
    fn failure_list(&mut self, line: &str) {
        match line.strip_prefix("    ") {
            Some(name) if self.in_failures => {
                self.failed_names.insert(name.to_owned());
            }
            _ => self.in_failures = line == "failures:",
        }
    }

    /// The counts, once the binary has ended. `label` says which binary it was,
    /// `skips` are the lines of its skip log, `end` is why it ended badly, if so.
    pub(super) fn tally(
        self,
        label: &str,
        skips: &[(String, String)],
        end: Option<String>,
    ) -> Tally {
        let named = |name: &str| format!("{label} {name}");
        let mut failed: Vec<String> = self.failed_names.iter().map(|name| named(name)).collect();
        failed.resize(failed.len().max(self.failed), named("(name not seen)"));
        if let Some(end) = end.filter(|_| failed.is_empty() || self.results == 0) {
            failed.push(format!("{label}: {end}"));
        } else if self.results == 0 && failed.is_empty() {
            failed.push(format!("{label}: printed no result"));
        }
        let mut ignored = self.ignored_names;
        let unseen = ("(name not seen)".to_owned(), "marked #[ignore]".to_owned());
        ignored.resize(ignored.len().max(self.ignored), unseen);
        // One test may say several times that it skips.
        let said: BTreeSet<&(String, String)> = skips.iter().collect();
        let names: BTreeSet<&str> = said.iter().map(|(name, _)| name.as_str()).collect();
        let reason = |name: &str| {
            said.iter()
                .find(|(said, _)| said == name)
                .map(|(_, why)| why.clone())
                .unwrap_or_default()
        };
        let skipped = names.iter().map(|name| ((*name).to_owned(), reason(name)));
        Tally {
            passed: self.passed.saturating_sub(names.len()),
            failed,
            skipped: skipped.chain(ignored).map(|(name, why)| (named(&name), why)).collect(),
            unsteady: Vec::new(),
        }
    }
}

/// The number before a word: `count("ok. 3 passed; 1 failed;", "failed") == 1`.
fn count(result: &str, word: &str) -> usize {
    let words: Vec<&str> = result.split_whitespace().collect();
    let pairs = words.windows(2);
    let found = pairs.rev().find(|pair| pair[1].trim_end_matches(';') == word);
    found.and_then(|pair| pair[0].parse().ok()).unwrap_or(0)
}

/// The lines of a skip log: name, tab, reason.
pub(super) fn skips(log: &str) -> Vec<(String, String)> {
    let pair = |line: &str| {
        let (name, why) = line.split_once('\t').unwrap_or((line, "no reason given"));
        (name.to_owned(), why.to_owned())
    };
    log.lines().filter(|line| !line.is_empty()).map(pair).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    const OUTPUT: &str = "
running 4 tests
test a::fine ... ok
test a::left ... ignored, needs hardware
test b::bad ... noise of a server
FAILED
test b::skips ... ok

failures:

---- b::bad stdout ----
    indented output that is no name

failures:
    b::bad

test result: FAILED. 2 passed; 1 failed; 1 ignored; 0 measured; 0 filtered out; finished in 0.03s
";

    fn read(output: &str) -> Reader {
        let mut reader = Reader::default();
        output.lines().for_each(|line| reader.line(line));
        reader
    }

    #[test]
    fn a_skipped_test_is_not_a_passed_one() {
        let log = skips("b::skips\tno root\nb::skips\tno root\n");
        let tally = read(OUTPUT).tally("probes", &log, Some("exit code 101".to_owned()));
        assert_eq!(tally.passed, 1);
        assert_eq!(tally.failed, ["probes b::bad"]);
        assert_eq!(
            tally.skipped,
            [
                ("probes b::skips".to_owned(), "no root".to_owned()),
                ("probes a::left".to_owned(), "needs hardware".to_owned()),
            ]
        );
    }

    #[test]
    fn a_binary_that_dies_has_failed() {
        let tally = read("running 2 tests\ntest a ... ").tally("x", &[], Some("signal".to_owned()));
        assert_eq!(tally.failed, ["x: signal"]);
        assert_eq!(read("").tally("x", &[], None).failed, ["x: printed no result"]);
    }

    #[test]
    fn several_results_add_up() {
        let line = "test result: ok. 5 passed; 0 failed; 0 ignored; 0 measured; 0 filtered out\n";
        assert_eq!(read(&line.repeat(3)).tally("doc", &[], None).passed, 15);
    }

    #[test]
    fn a_failure_whose_name_was_garbled_still_counts() {
        let line = "test result: FAILED. 0 passed; 2 failed; 0 ignored; 0 measured; 0 filtered out";
        assert_eq!(read(line).tally("x", &[], None).failed.len(), 2);
    }
}
