//! A live test that failed is run once more, alone.
//!
//! Live tests share two cores with servers, loads and emulators; now and then one of
//! them is held up for longer than any patience that it has. Run again it says whether
//! that was it. What fails twice has failed; what held the second time counts as passed
//! and is listed as unsteady, so that nobody takes it for a test that is as it should be.

use super::binaries::Binary;
use super::report::Tally;

/// With more failures than this something is broken, and all of them stand.
const MOST: usize = 6;

/// A run of one binary: all of its tests, or one of them.
#[derive(Clone, Debug)]
pub(super) struct Job<'a> {
    /// The program.
    pub(super) binary: &'a Binary,
    /// The test that is wanted; all of them without.
    pub(super) only: Option<String>,
}

impl<'a> Job<'a> {
    /// All tests of a binary.
    pub(super) fn all(binary: &'a Binary) -> Self {
        Self { binary, only: None }
    }

    /// What the binary has to be told.
    pub(super) fn flags(&self) -> Vec<&str> {
        self.only.as_deref().map_or_else(Vec::new, |name| vec!["--exact", name])
    }

    /// How it is named in reports: as its test is named among the failed.
    pub(super) fn label(&self) -> String {
        let label = self.binary.label();
        self.only.as_deref().map_or(label.clone(), |name| format!("{label} {name}"))
    }

    /// Takes in how the test did alone.
    pub(super) fn judge(&self, alone: &Tally, sum: &mut Tally) {
        // One that skips itself the second time has not held.
        if alone.passed == 1 && alone.failed.is_empty() {
            let name = self.label();
            sum.failed.retain(|failed| *failed != name);
            sum.passed += 1;
            sum.unsteady.push(name);
        }
    }
}

/// The tests that are to be run again. A binary that died or hung is none: its failure
/// has no test's name.
pub(super) fn jobs<'a>(binaries: &[&'a Binary], tally: &Tally) -> Vec<Job<'a>> {
    if tally.failed.len() > MOST {
        return Vec::new();
    }
    let job = |failed: &String| {
        binaries.iter().find_map(|binary| {
            let name = failed.strip_prefix(&binary.label())?.strip_prefix(' ')?;
            (!name.contains(' ')).then(|| Job { binary, only: Some(name.to_owned()) })
        })
    };
    tally.failed.iter().filter_map(job).collect()
}

#[cfg(test)]
mod tests {
    use std::path::PathBuf;

    use super::*;

    fn binary() -> Binary {
        Binary {
            package: "agent".to_owned(),
            target: "live_calls".to_owned(),
            integration: true,
            path: PathBuf::from("/t/live_calls-1"),
            folder: PathBuf::from("/p/crates/agent"),
        }
    }

    fn failed(names: &[&str]) -> Tally {
        Tally { failed: names.iter().map(|&name| name.to_owned()).collect(), ..Tally::default() }
    }

    #[test]
    fn tests_with_a_name_are_run_again() {
        let binary = binary();
        let sum = failed(&[
            "agent live_calls dns::over_tcp",
            "agent live_calls: exit code 124",
            "agent live_calls (name not seen)",
            "agent live_calls_more dns::other",
        ]);
        let jobs = jobs(&[&binary], &sum);
        let [job] = &jobs[..] else { panic!("{jobs:?}") };
        assert_eq!(job.flags(), ["--exact", "dns::over_tcp"]);
        assert!(Job::all(&binary).flags().is_empty());
    }

    #[test]
    fn what_fails_or_skips_alone_has_failed() {
        let binary = binary();
        let name = "agent live_calls dns::over_tcp";
        let job = Job { binary: &binary, only: Some("dns::over_tcp".to_owned()) };
        for alone in [failed(&[name]), Tally::of_skip(name, "no dnsmasq"), Tally::default()] {
            let mut sum = failed(&[name]);
            job.judge(&alone, &mut sum);
            assert_eq!(sum, failed(&[name]));
        }
    }

    #[test]
    fn what_holds_alone_is_passed_and_said() {
        let binary = binary();
        let job = Job { binary: &binary, only: Some("b".to_owned()) };
        let mut sum = failed(&["agent live_calls a", "agent live_calls b"]);
        job.judge(&Tally { passed: 1, ..Tally::default() }, &mut sum);
        assert_eq!(sum.failed, ["agent live_calls a"]);
        assert_eq!((sum.passed, sum.unsteady), (1, vec!["agent live_calls b".to_owned()]));
    }

    #[test]
    fn many_failures_stand() {
        let binary = binary();
        let sum = failed(&["agent live_calls a"; MOST + 1]);
        assert!(jobs(&[&binary], &sum).is_empty());
    }
}
