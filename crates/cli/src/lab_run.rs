//! `taproot lab run`: real faults, diagnosed live, compared with the lab's truth.

use std::process::ExitCode;
use std::sync::atomic::AtomicBool;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail};
use serde::Serialize;
use taproot_agent::Options as AgentOptions;
use taproot_diagnosis::{Evidence, Place, Question, Report, diagnose, render};
use taproot_lab::state::{Culprit, Truth};
use taproot_lab::{Fault, Lab, Params};
use taproot_model::{Span, Timestamp};

use crate::args::{LabRunArgs, Output};
use crate::commands::lab;
use crate::lab_recorder::Recorder;
use crate::live::{self, Live};

/// Longest wait for the shop to recover from a fault.
const RECOVERY: Duration = Duration::from_mins(1);
/// How long it must have been well.
const CALM: Duration = Duration::from_secs(4);
/// What "well" is: nine requests in ten are faster, microseconds.
const WELL_US: f64 = 100_000.0;
/// How long one must be unwell for it to count.
const SPELL: Duration = Duration::from_secs(5);
/// How often a run is tried whose users were unwell before anything was injected.
const TRIES: u32 = 3;

/// One run, as a JSON line.
#[derive(Debug, Serialize)]
struct Run {
    fault: &'static str,
    repeat: u32,
    expected_class: String,
    expected_culprit: Culprit,
    class: &'static str,
    culprit: Option<String>,
    confidence: f64,
    score: f64,
    class_right: bool,
    culprit_right: bool,
    seconds: f64,
    headline: String,
}

/// The last line.
#[derive(Debug, Serialize)]
struct Totals {
    summary: bool,
    runs: usize,
    right: usize,
    wrong: Vec<String>,
    /// Runs thrown away, because users were unwell without a fault.
    discarded: u32,
    seconds: f64,
}

/// How a try of one fault ended.
enum Try {
    Done(Box<Run>),
    Interrupted,
    /// The load generator itself says that users were unwell when nothing was wrong:
    /// no verdict on such a time could be called right or wrong.
    Unwell(String),
}

pub(crate) fn run(args: &LabRunArgs) -> Result<ExitCode> {
    let all = taproot_lab::faults::faults();
    if args.faults.is_empty() && !args.all {
        let names: Vec<&str> = all.iter().map(|f| f.name).collect();
        bail!("name a fault, or give --all; the faults are {}", names.join(", "));
    }
    let faults = if args.all {
        all.iter().map(|f| Fault::parse(f.name)).collect()
    } else {
        args.faults.iter().map(|name| Fault::parse(name)).collect::<taproot_lab::Result<Vec<_>>>()
    }?;
    let begin = Instant::now();
    let interrupted = live::interrupt_flag()?;
    let mut how = lab::options(&args.lab.name)?;
    how.requests_per_second = args.rps;
    how.product_burn_us = args.burn.as_micros() as u64;
    let shop = Lab::up(&how)?;
    say(args, &format!("the shop is up ({:.1} s)", begin.elapsed().as_secs_f64()));
    let mut options = AgentOptions::default();
    live::of_lab(&mut options, shop.state_dir())?;
    let recorder = args.record.as_deref().map(Recorder::create).transpose()?;
    let live = Live::start(options, recorder.as_ref().map(Recorder::sink))?;
    let stage = Stage {
        args,
        shop: &shop,
        live: &live,
        recorder: recorder.as_ref(),
        interrupted: &interrupted,
    };
    let outcome = stage.run_all(&faults);
    live.stop()?;
    shop.down()?;
    let (runs, discarded) = outcome?;
    Ok(summary(args, &runs, discarded, begin))
}

/// What every run needs.
struct Stage<'a> {
    args: &'a LabRunArgs,
    shop: &'a Lab,
    live: &'a Live,
    recorder: Option<&'a Recorder>,
    interrupted: &'a AtomicBool,
}

impl Stage<'_> {
    /// All runs, and how many were thrown away.
    fn run_all(&self, faults: &[Fault]) -> Result<(Vec<Run>, u32)> {
        let (mut runs, mut discarded) = (Vec::new(), 0);
        settle(self.shop, self.interrupted);
        for repeat in 1..=self.args.repeat {
            for &fault in faults {
                let Some(run) = self.tried(fault, repeat, &mut discarded)? else {
                    return Ok((runs, discarded));
                };
                if self.args.output == Output::Json {
                    println!("{}", serde_json::to_string(&run)?);
                }
                runs.push(run);
            }
        }
        Ok((runs, discarded))
    }

    /// One fault, again where the machine itself spoiled the run. `None` when interrupted.
    fn tried(&self, fault: Fault, repeat: u32, discarded: &mut u32) -> Result<Option<Run>> {
        for left in (0..TRIES).rev() {
            match self.one(fault, repeat, left == 0)? {
                Try::Done(run) => return Ok(Some(*run)),
                Try::Interrupted => break,
                Try::Unwell(why) => {
                    *discarded += 1;
                    let name = fault.name();
                    eprintln!("taproot: {name}#{repeat} is tried again: without a fault, {why}");
                    settle(self.shop, self.interrupted);
                }
            }
        }
        Ok(None)
    }

    /// One fault from a healthy shop to a verdict; the last try counts in any case.
    fn one(&self, fault: Fault, repeat: u32, last: bool) -> Result<Try> {
        let begin = Instant::now();
        self.live.forget();
        if let Some(recorder) = self.recorder {
            recorder.begin(&format!("{}-{repeat}", fault.name()), self.live)?;
        }
        let since = Timestamp::now();
        self.say(&format!("healthy for {} s ...", self.args.healthy.as_secs()));
        if live::pause(self.args.healthy, self.interrupted) {
            return Ok(Try::Interrupted);
        }
        let unwell = || if last { Ok(None) } else { unwell(self.shop, since) };
        if let Some(how) = unwell()? {
            return Ok(Try::Unwell(how));
        }
        self.say(&format!("injecting {}: {}", fault.name(), fault.sentence()));
        let handle = self.shop.inject(fault, &Params::default())?;
        let truth = handle.truth().clone();
        let stopped = live::pause(self.args.time, self.interrupted);
        let report = (!stopped).then(|| ask(self.shop, self.live, &truth, since)).transpose();
        self.recorder.map_or(Ok(()), Recorder::finish)?;
        handle.clear()?;
        let Some(report) = report? else { return Ok(Try::Interrupted) };
        let spoiled = if fault == Fault::Healthy { unwell()? } else { None };
        let run = compare(fault, repeat, &truth, &report, begin);
        self.show(&run, &truth, &report);
        settle(self.shop, self.interrupted);
        Ok(spoiled.map_or_else(|| Try::Done(Box::new(run)), Try::Unwell))
    }

    fn show(&self, run: &Run, truth: &Truth, report: &Report) {
        let right = run.class_right && run.culprit_right;
        let text = render::text(report);
        match self.args.output {
            Output::Table => println!("{}", text.trim_end()),
            // Whoever reads the line wants to know what was believed, and why.
            Output::Json if !right => eprintln!("{}", text.trim_end()),
            Output::Json => {}
        }
        let word = if right { "right" } else { "WRONG" };
        self.say(&format!("truth: {} ({:?}); verdict {word}", truth.class, truth.culprit));
    }

    fn say(&self, text: &str) {
        say(self.args, text);
    }
}

/// How users were unwell since then, by the load generator's own count: in whole,
/// or for as long as a diagnosis would call it trouble.
fn unwell(shop: &Lab, since: Timestamp) -> Result<Option<String>> {
    let load = shop.load()?;
    let all = load.since(since.secs());
    if all.bad > 0 {
        return Ok(Some(format!("{} of {} requests failed", all.bad, all.ok + all.bad)));
    }
    let end = load.seconds.last().map_or(0, |s| s.unix_s);
    let spells = since.secs()..=end.saturating_sub(SPELL.as_secs());
    let p90 = |from: u64| load.during(from..from + SPELL.as_secs()).latency.quantile(0.9);
    let worst = spells.filter_map(p90).fold(0.0, f64::max);
    let slow = || format!("one request in ten took more than {:.0} ms", worst / 1e3);
    Ok((worst >= WELL_US).then(slow))
}

/// Waits until the shop's users are well again, by the load generator's own count:
/// a backlog of one fault must not be the beginning of the next.
fn settle(shop: &Lab, interrupted: &AtomicBool) {
    let end = Instant::now() + RECOVERY;
    live::pause(CALM, interrupted);
    while Instant::now() < end && !live::pause(Duration::from_secs(1), interrupted) {
        let from = Timestamp::now() - CALM;
        let Ok(load) = shop.load() else { continue };
        let lately = load.since(from.secs());
        let quick = lately.latency.quantile(0.9).is_some_and(|us| us < WELL_US);
        if lately.ok > 0 && lately.bad == 0 && quick {
            return;
        }
    }
}

/// Asks as an on-call engineer would: about the service that raised the alarm.
fn ask(shop: &Lab, live: &Live, truth: &Truth, since: Timestamp) -> Result<Report> {
    let namespace = shop.state()?.namespace;
    let service = truth.symptom.as_ref().map(|s| format!("{namespace}/{s}").into());
    let world = live.world();
    let span = Span::new(since, Evidence::span(&*world).to);
    diagnose(&*world, &Question { service, span }).context("diagnosing")
}

fn compare(fault: Fault, repeat: u32, truth: &Truth, report: &Report, begin: Instant) -> Run {
    let verdict = &report.verdict;
    let class = verdict.class.id();
    Run {
        fault: fault.name(),
        repeat,
        expected_class: truth.class.clone(),
        expected_culprit: truth.culprit.clone(),
        class,
        culprit: verdict.culprit.as_ref().map(|c| c.name.clone()),
        confidence: verdict.confidence,
        score: verdict.score,
        class_right: class == truth.class,
        culprit_right: guilty(&truth.culprit, report),
        seconds: begin.elapsed().as_secs_f64(),
        headline: verdict.headline.clone(),
    }
}

/// Whether the report blames what is truly guilty.
fn guilty(truth: &Culprit, report: &Report) -> bool {
    let verdict = &report.verdict;
    let blamed = verdict.culprit.as_ref();
    let named = |name: &str| {
        let of = |text: &str| text == name || text.ends_with(&format!("/{name}"));
        blamed.is_some_and(|c| {
            c.instance.as_ref().is_some_and(|i| of(i)) || c.service.as_ref().is_some_and(|s| of(s))
        })
    };
    match truth {
        Culprit::None => blamed.is_none(),
        Culprit::Pod { name } | Culprit::Node { name } => named(name),
        Culprit::Link { from, to } => match &verdict.place {
            Some(Place::Link { client, server, .. }) => {
                client.ends_with(&format!("/{from}")) && server.ends_with(&format!("/{to}"))
            }
            _ => false,
        },
    }
}

fn summary(args: &LabRunArgs, runs: &[Run], discarded: u32, begin: Instant) -> ExitCode {
    let wrong: Vec<String> = runs
        .iter()
        .filter(|r| !r.class_right || !r.culprit_right)
        .map(|r| format!("{}#{}: {} ({:?})", r.fault, r.repeat, r.class, r.culprit))
        .collect();
    let all = Totals {
        summary: true,
        runs: runs.len(),
        right: runs.len() - wrong.len(),
        wrong,
        discarded,
        seconds: begin.elapsed().as_secs_f64(),
    };
    if args.output == Output::Json {
        println!("{}", serde_json::to_string(&all).unwrap_or_default());
    } else {
        eprintln!("{} of {} verdicts right in {:.0} s", all.right, all.runs, all.seconds);
        all.wrong.iter().for_each(|w| eprintln!("  wrong: {w}"));
    }
    let good = all.right == all.runs && all.runs > 0;
    if good { ExitCode::SUCCESS } else { ExitCode::FAILURE }
}

fn say(args: &LabRunArgs, text: &str) {
    if args.output == Output::Table {
        eprintln!("· {text}");
    }
}
