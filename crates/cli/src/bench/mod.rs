//! `taproot lab bench`: what Taproot costs, measured with and without it in turn.
//!
//! nginx and its clients run in a network namespace and a control group of their
//! own; Taproot runs beside them as `taproot record`, a process of its own, and
//! observes both ends. What a trace costs the packets is measured after that, in
//! namespaces of its own. The method and the figures are told in docs/performance.md.

mod args;
mod client;
mod figure;
mod load;
mod round;
mod site;
mod summary;
mod taproot;
mod trace;

use std::process::ExitCode;

use anyhow::{Context, Result};

pub(crate) use args::{BenchArgs, BenchClientArgs};
pub(crate) use client::main as client_main;

use args::Part;
use figure::Figure;
use round::Plan;
use site::Site;

pub(crate) fn run(args: &BenchArgs) -> Result<ExitCode> {
    let mut figures = Vec::new();
    if args.only != Some(Part::Trace) {
        figures.extend(of_agent(args)?);
    }
    if args.only != Some(Part::Agent) {
        let _alone = site::lock()?;
        figures.extend(trace::figures(args.rounds)?);
    }
    print!("{}", summary::table(&figures));
    if let Some(file) = &args.output {
        let text = serde_json::to_string_pretty(&figures)?;
        let what = || format!("writing {}", file.display());
        std::fs::write(file, text + "\n").with_context(what)?;
    }
    Ok(ExitCode::SUCCESS)
}

fn of_agent(args: &BenchArgs) -> Result<Vec<Figure>> {
    let interrupted = crate::live::interrupt_flag()?;
    let site = Site::up()?;
    eprintln!("· nginx answers in a network namespace of its own; {} CPU(s)", site::cpus());
    let rate = round::half_of_saturation(&site, args.requests)?;
    eprintln!("· half of saturation: {rate:.0} requests/s");
    let plan = Plan { args, site: &site, rate, interrupted: &interrupted };
    let mut rounds = Vec::new();
    for number in 1..=args.rounds {
        rounds.push(plan.round(number)?);
        eprintln!("· round {number} of {} is done", args.rounds);
    }
    Ok(summary::figures(&rounds))
}
