//! What was run, what came of it, and how that is printed.

use std::collections::BTreeMap;
use std::fmt::Write;
use std::time::Duration;

/// Counts of one step. A check without tests of its own counts as one test.
#[derive(Debug, Default, PartialEq, Eq)]
pub(super) struct Tally {
    /// Tests that ran and held.
    pub(super) passed: usize,
    /// Names of the tests that did not hold.
    pub(super) failed: Vec<String>,
    /// Names of the tests that did not run, each with the reason.
    pub(super) skipped: Vec<(String, String)>,
    /// Names of the tests that held only when they were run again; counted as passed.
    pub(super) unsteady: Vec<String>,
}

impl Tally {
    /// One check that holds when there is nothing to complain about.
    pub(super) fn of_check(name: &str, complaints: usize) -> Self {
        if complaints == 0 {
            return Self { passed: 1, ..Self::default() };
        }
        Self { failed: vec![format!("{name}: {complaints} complaint(s)")], ..Self::default() }
    }

    /// One thing that could not be done at all.
    pub(super) fn of_skip(name: &str, why: &str) -> Self {
        Self { skipped: vec![(name.to_owned(), why.to_owned())], ..Self::default() }
    }

    /// Takes in the counts of another.
    pub(super) fn add(&mut self, other: Self) {
        self.passed += other.passed;
        self.failed.extend(other.failed);
        self.skipped.extend(other.skipped);
        self.unsteady.extend(other.unsteady);
    }

    fn verdict(&self) -> &'static str {
        match (self.failed.is_empty(), self.passed, self.skipped.is_empty()) {
            (false, ..) => "FAILED",
            (true, 0, false) => "SKIPPED",
            (true, 0, true) => "empty",
            (true, ..) => "passed",
        }
    }
}

/// A finished step.
#[derive(Debug)]
pub(super) struct Step {
    /// As in `cargo xtask test NAME`.
    pub(super) name: String,
    /// Wall time.
    pub(super) took: Duration,
    /// What came of it.
    pub(super) tally: Tally,
}

/// The summary that ends a run: a line for each step, the skipped and the failed
/// by name, and the counts alone on the last line.
pub(super) fn summary(steps: &[Step]) -> String {
    let mut text = format!(
        "{:<12} {:<8} {:>6} {:>6} {:>7} {:>8}\n",
        "step", "result", "passed", "failed", "skipped", "time"
    );
    for Step { name, took, tally } in steps {
        let _ = writeln!(
            text,
            "{name:<12} {:<8} {:>6} {:>6} {:>7} {:>7.1}s",
            tally.verdict(),
            tally.passed,
            tally.failed.len(),
            tally.skipped.len(),
            took.as_secs_f64()
        );
    }
    let took: Duration = steps.iter().map(|step| step.took).sum();
    let _ = writeln!(text, "{:<43} {:>7.1}s", "all steps", took.as_secs_f64());
    skipped(&mut text, steps);
    let unsteady = "UNSTEADY (failed at first, held when run again alone)";
    named(&mut text, steps, unsteady, |tally| &tally.unsteady);
    named(&mut text, steps, "FAILED", |tally| &tally.failed);
    let sum =
        |count: fn(&Tally) -> usize| steps.iter().map(|step| count(&step.tally)).sum::<usize>();
    let _ = write!(
        text,
        "\n{} passed, {} failed, {} skipped",
        sum(|tally| tally.passed),
        sum(|tally| tally.failed.len()),
        sum(|tally| tally.skipped.len())
    );
    text
}

/// Grouped by reason: a machine without root skips many tests for one reason.
fn skipped(text: &mut String, steps: &[Step]) {
    for step in steps.iter().filter(|step| !step.tally.skipped.is_empty()) {
        let mut by_reason: BTreeMap<&str, Vec<&str>> = BTreeMap::new();
        for (name, why) in &step.tally.skipped {
            by_reason.entry(why).or_default().push(name);
        }
        for (why, names) in by_reason {
            let _ = writeln!(text, "\nSKIPPED in {}: {why}", step.name);
            for name in names {
                let _ = writeln!(text, "  {name}");
            }
        }
    }
}

fn named(text: &mut String, steps: &[Step], head: &str, which: fn(&Tally) -> &Vec<String>) {
    for step in steps.iter().filter(|step| !which(&step.tally).is_empty()) {
        let _ = writeln!(text, "\n{head} in {}:", step.name);
        for name in which(&step.tally) {
            let _ = writeln!(text, "  {name}");
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn step(name: &str, tally: Tally) -> Step {
        Step { name: name.to_owned(), took: Duration::from_millis(1500), tally }
    }

    fn sample() -> Vec<Step> {
        let live = Tally {
            passed: 3,
            failed: vec!["live_http::counts".to_owned()],
            skipped: vec![("live_tc::a".to_owned(), "no BPF".to_owned())],
            unsteady: vec!["live_flow::b".to_owned()],
        };
        vec![step("fmt", Tally::of_check("fmt", 0)), step("live", live)]
    }

    #[test]
    fn the_last_line_is_the_counts_alone() {
        let text = summary(&sample());
        assert_eq!(text.lines().last(), Some("4 passed, 1 failed, 1 skipped"));
    }

    #[test]
    fn what_is_skipped_unsteady_or_failed_is_named() {
        let text = summary(&sample());
        assert!(text.contains("SKIPPED in live: no BPF\n  live_tc::a\n"), "{text}");
        assert!(text.contains("held when run again alone) in live:\n  live_flow::b\n"), "{text}");
        assert!(text.contains("FAILED in live:\n  live_http::counts\n"), "{text}");
    }

    #[test]
    fn a_step_in_which_nothing_ran_did_not_pass() {
        assert_eq!(Tally::of_skip("a", "b").verdict(), "SKIPPED");
        assert_eq!(Tally::default().verdict(), "empty");
        assert_eq!(Tally::of_check("tidy", 2).verdict(), "FAILED");
        assert_eq!(Tally::of_check("tidy", 0).verdict(), "passed");
    }
}
