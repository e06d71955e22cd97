//! `make test`: every check and every test, and an honest account of them.
//!
//! Test binaries are built once and run by us rather than by `cargo test` or
//! nextest, because the same reading of the same binaries must hold on this
//! machine and in the guests, where there is no cargo.

mod again;
mod binaries;
mod guests;
mod libtest;
mod native;
mod report;

use std::process::{Command, ExitCode};
use std::thread;
use std::time::{Duration, Instant};

use anyhow::{Result, bail, ensure};

use crate::args::Args;
use crate::guest::SERIES;
use crate::{command, licences, tidy};
use binaries::{Binary, Built};
use libtest::Reader;
use report::{Step, Tally};

/// The packages that the cargo steps are about; all of them when empty.
#[derive(Debug, Default)]
struct Scope(Vec<String>);

impl Scope {
    /// What cargo has to be told.
    fn flags(&self) -> Vec<&str> {
        if self.0.is_empty() {
            return vec!["--workspace"];
        }
        self.0.iter().flat_map(|package| ["--package", package]).collect()
    }
}

/// Steps in the order they run: the fast ones first.
const STEPS: [&str; 9] =
    ["fmt", "tidy", "licences", "clippy", "unit", "doc", "live", "guest-6.1", "guest-6.12"];

/// Longest time for the examples in the documentation.
const DOC_LIMIT: Duration = Duration::from_mins(20);

/// Steps that run test binaries.
const NEED_BUILD: [&str; 2] = ["unit", "live"];

/// How the names of steps begin that run in a guest; they come last.
const GUEST: &str = "guest-";

const NOT_BUILT: &str = "the tests could not be built";

/// `cargo xtask test [-p PACKAGE] [STEP...]`.
pub(crate) fn main(args: Args) -> Result<ExitCode> {
    let (scope, chosen) = parse(args, "")?;
    let wanted = |step: &&str| chosen.is_empty() || chosen.iter().any(|name| name == step);
    run(&scope, &STEPS.into_iter().filter(wanted).collect::<Vec<_>>())
}

/// `cargo xtask guest-test [-p PACKAGE] [SERIES...]`.
pub(crate) fn guests_main(args: Args) -> Result<ExitCode> {
    let (scope, mut chosen) = parse(args, GUEST)?;
    if chosen.is_empty() {
        chosen = SERIES.map(|series| format!("{GUEST}{series}")).into();
    }
    run(&scope, &chosen.iter().map(String::as_str).collect::<Vec<_>>())
}

/// Packages and steps; `prefix` goes before the name of each step.
fn parse(mut args: Args, prefix: &str) -> Result<(Scope, Vec<String>)> {
    let (mut scope, mut chosen) = (Scope::default(), Vec::new());
    while let Some(arg) = args.next() {
        if arg == "-p" || arg == "--package" {
            scope.0.push(args.value(&arg)?);
            continue;
        }
        let step = format!("{prefix}{arg}");
        ensure!(STEPS.contains(&step.as_str()), "no step `{step}`; steps: {}", STEPS.join(" "));
        chosen.push(step);
    }
    Ok((scope, chosen))
}

fn run(scope: &Scope, names: &[&str]) -> Result<ExitCode> {
    let mut steps = Vec::new();
    let mut built: Option<Option<Built>> = None;
    let (guests, here): (Vec<&str>, Vec<&str>) =
        names.iter().partition(|name| name.starts_with(GUEST));
    for name in here {
        if NEED_BUILD.contains(&name) && built.is_none() {
            built = Some(build(scope, &mut steps)?);
        }
        steps.push(timed(name, || one(scope, name, built.as_ref().and_then(Option::as_ref)))?);
    }
    if !guests.is_empty() && built.is_none() {
        built = Some(build(scope, &mut steps)?);
    }
    steps.extend(side_by_side(&guests, built.as_ref().and_then(Option::as_ref))?);
    println!("\n{}", report::summary(&steps));
    let failed = steps.iter().any(|step| !step.tally.failed.is_empty());
    Ok(if failed { ExitCode::FAILURE } else { ExitCode::SUCCESS })
}

/// Guests at the same time: each is emulated by one thread.
fn side_by_side(guests: &[&str], built: Option<&Built>) -> Result<Vec<Step>> {
    thread::scope(|scope| {
        let start = |name: &&str| {
            let name = (*name).to_owned();
            scope.spawn(move || timed(&name, || guest(&name, built)))
        };
        let running: Vec<_> = guests.iter().map(start).collect();
        let ended = running.into_iter().map(|step| {
            step.join().unwrap_or_else(|_| bail!("the thread of a guest did not come to its end"))
        });
        ended.collect()
    })
}

fn guest(name: &str, built: Option<&Built>) -> Result<Tally> {
    let Some(built) = built else { return Ok(Tally::of_skip(name, NOT_BUILT)) };
    guests::run(name.trim_start_matches(GUEST), built)
}

/// Builds the tests as a step of its own.
fn build(scope: &Scope, steps: &mut Vec<Step>) -> Result<Option<Built>> {
    let mut built = None;
    steps.push(timed("build", || {
        built = binaries::build(scope)?;
        Ok(Tally::of_check("build of the tests", usize::from(built.is_none())))
    })?);
    Ok(built)
}

fn timed(name: &str, work: impl FnOnce() -> Result<Tally>) -> Result<Step> {
    println!("== {name}");
    let start = Instant::now();
    let tally = work()?;
    Ok(Step { name: name.to_owned(), took: start.elapsed(), tally })
}

fn one(scope: &Scope, name: &str, built: Option<&Built>) -> Result<Tally> {
    match (name, built) {
        ("fmt", _) => cargo_check(name, &["fmt", "--all", "--check"]),
        ("clippy", _) => {
            let flags = ["--all-targets", "--locked", "--", "-D", "warnings"];
            cargo_check(name, &[&["clippy"][..], &scope.flags(), &flags].concat())
        }
        ("tidy", _) => Ok(complaints(name, &tidy::check()?)),
        ("licences", _) => Ok(complaints(name, &licences::check()?)),
        ("doc", _) => doc_tests(scope),
        (_, None) => Ok(Tally::of_skip(name, NOT_BUILT)),
        ("unit", Some(built)) => native::run(&chosen(built, false), false),
        (_, Some(built)) => native::run(&chosen(built, true), true),
    }
}

fn chosen(built: &Built, live: bool) -> Vec<&Binary> {
    built.tests.iter().filter(|binary| binary.is_live() == live).collect()
}

fn cargo_check(name: &str, args: &[&str]) -> Result<Tally> {
    let holds = command::succeeds(command::cargo().args(args))?;
    Ok(Tally::of_check(name, usize::from(!holds)))
}

fn complaints(name: &str, problems: &[String]) -> Tally {
    for problem in problems {
        println!("{problem}");
    }
    Tally::of_check(name, problems.len())
}

/// Examples in the documentation; rustdoc runs these itself.
fn doc_tests(scope: &Scope) -> Result<Tally> {
    let mut reader = Reader::default();
    let mut output = Vec::new();
    let cargo = command::cargo();
    let mut shell = Command::new("sh");
    shell
        .args(["-c", "exec \"$@\" 2>&1", "sh"])
        .arg(cargo.get_program())
        .args(["test", "--doc", "--locked"])
        .args(scope.flags())
        .current_dir(command::root());
    let ended = command::watch(&mut shell, DOC_LIMIT, |line| {
        reader.line(line);
        output.push(line.to_owned());
    })?;
    let end = match ended {
        command::Ended::Exited(status) => (!status.success()).then(|| status.to_string()),
        command::Ended::TimedOut => Some(format!("stopped after {DOC_LIMIT:?}")),
    };
    let tally = reader.tally("doc", &[], end);
    if !tally.failed.is_empty() {
        println!("{}", output.join("\n"));
    }
    Ok(tally)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn packages_and_steps_are_told_apart() {
        let (scope, chosen) = parse(Args::of(&["live", "-p", "xtask", "doc"]), "").expect("valid");
        assert_eq!(scope.flags(), ["--package", "xtask"]);
        assert_eq!(chosen, ["live", "doc"]);
        assert_eq!(Scope::default().flags(), ["--workspace"]);
    }

    #[test]
    fn an_unknown_step_is_an_error_and_no_empty_run() {
        assert!(parse(Args::of(&["lives"]), "").is_err());
        assert!(parse(Args::of(&["5.10"]), "guest-").is_err());
        assert!(parse(Args::of(&["-p"]), "").is_err());
    }
}
