//! Running test binaries on this machine.

use std::fs;
use std::path::Path;
use std::process::Command;
use std::time::{Duration, Instant};

use anyhow::Result;

use super::again::{self, Job};
use super::binaries::Binary;
use super::libtest::{self, Reader};
use super::report::Tally;
use crate::command::{self, Ended};

/// Longest time for one binary. A test that needs longer belongs in `make bench`.
const LIMIT: Duration = Duration::from_mins(10);

/// Runs the binaries one after another. Of `live` ones the tests run one at a time, and
/// those that failed once more at the end.
pub(super) fn run(binaries: &[&Binary], live: bool) -> Result<Tally> {
    let mut sum = Tally::default();
    for binary in binaries {
        sum.add(told(&Job::all(binary), live)?);
    }
    for job in if live { again::jobs(binaries, &sum) } else { Vec::new() } {
        job.judge(&told(&job, live)?, &mut sum);
    }
    Ok(sum)
}

/// Runs one and prints a line for it; its whole output only if it fails.
fn told(job: &Job, serial: bool) -> Result<Tally> {
    let start = Instant::now();
    let mut output = Vec::new();
    let tally = run_one(job, serial, &mut output)?;
    if !tally.failed.is_empty() {
        println!("{}", output.join("\n"));
    }
    print_line(&job.label(), &tally, start.elapsed());
    Ok(tally)
}

/// One line of progress.
pub(super) fn print_line(label: &str, tally: &Tally, took: Duration) {
    let some = |count: usize, word: &str| match count {
        0 => String::new(),
        _ => format!(", {count} {word}"),
    };
    println!(
        "  {label:<34} {:>4} passed{}{}  {:.1}s",
        tally.passed,
        some(tally.failed.len(), "FAILED"),
        some(tally.skipped.len(), "skipped"),
        took.as_secs_f64()
    );
}

/// The names of a binary's tests.
pub(super) fn names(binary: &Binary) -> Result<Vec<String>> {
    let mut command = Command::new(&binary.path);
    let listing = command::output(command.args(["--list", "--format=terse"]))?;
    let names = listing.lines().filter_map(|line| line.strip_suffix(": test"));
    Ok(names.map(|name| format!("{} {name}", binary.label())).collect())
}

fn run_one(job: &Job, serial: bool, output: &mut Vec<String>) -> Result<Tally> {
    let log = command::target_dir().join(format!("skips-{}", std::process::id()));
    let mut reader = Reader::default();
    let ended = command::watch(&mut invocation(job, serial, &log), LIMIT, |line| {
        reader.line(line);
        output.push(line.to_owned());
    })?;
    let skips = libtest::skips(&fs::read_to_string(&log).unwrap_or_default());
    if log.exists() {
        fs::remove_file(&log)?;
    }
    let end = match ended {
        Ended::Exited(status) => (!status.success()).then(|| status.to_string()),
        Ended::TimedOut => Some(format!("stopped after {LIMIT:?}")),
    };
    Ok(reader.tally(&job.binary.label(), &skips, end))
}

/// The binary as cargo would run it, with standard error in the same stream, so
/// that the output of servers that a test starts stays with the test.
fn invocation(job: &Job, serial: bool, log: &Path) -> Command {
    let binary = job.binary;
    let mut command = Command::new("sh");
    command
        .args(["-c", "exec \"$@\" 2>&1", "sh"])
        .arg(&binary.path)
        .current_dir(&binary.folder)
        .env("CARGO_MANIFEST_DIR", &binary.folder)
        .env_remove("CARGO_PKG_NAME")
        .env("TAPROOT_SKIP_LOG", log);
    if serial {
        command.arg("--test-threads=1");
    }
    command.args(job.flags());
    command
}
