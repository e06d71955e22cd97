//! `taproot diagnose [SERVICE]`.

use std::process::ExitCode;
use std::sync::atomic::{AtomicBool, Ordering};

use anyhow::Result;
use taproot_diagnosis::{
    Evidence, Question, Report, Traced, WithTraces, diagnose, render, to_trace,
};
use taproot_world::World;

use super::diagnose_trace;
use crate::args::{DiagnoseArgs, ReportForm};
use crate::{live, reading};

pub(crate) fn run(args: &DiagnoseArgs) -> Result<ExitCode> {
    let interrupted = live::interrupt_flag()?;
    let world = reading::world(&args.source, &args.agent)?;
    let span = Evidence::span(&world);
    let question = Question { service: args.service.as_ref().map(Into::into), span };
    let mut report = diagnose(&world, &question)?;
    let traces = follow(args, &world, &report, &interrupted)?;
    if !traces.is_empty() {
        report = diagnose(&WithTraces::new(&world, traces), &question)?;
    }
    println!("{}", print(&report, args.output)?.trim_end());
    Ok(ExitCode::SUCCESS)
}

/// Follows the packets of links that are at fault. What is over, as in a recording, has none.
fn follow(
    args: &DiagnoseArgs,
    world: &World,
    report: &Report,
    interrupted: &AtomicBool,
) -> Result<Vec<Traced>> {
    let is_live = args.source.replay.is_none() && args.source.store.is_none();
    // Who ended the look early wants to hear what there is.
    if !is_live || args.no_trace || interrupted.load(Ordering::Relaxed) {
        return Ok(Vec::new());
    }
    let links = to_trace(world, report);
    if links.is_empty() {
        return Ok(Vec::new());
    }
    let seconds = args.trace_for.as_secs_f64();
    for link in &links {
        eprintln!("following packets of {} → {} for {seconds} s ...", link.client, link.server);
    }
    let (options, entities) = (live::options(&args.agent)?, Evidence::entities(world));
    Ok(diagnose_trace::follow(&links, entities, options, args.trace_for, interrupted))
}

/// A report in the form asked for.
pub(crate) fn print(report: &Report, form: ReportForm) -> Result<String> {
    Ok(match form {
        ReportForm::Text => render::text(report),
        ReportForm::Json => serde_json::to_string_pretty(report)?,
        ReportForm::Markdown => render::markdown(report),
        ReportForm::Svg => render::svg(report),
    })
}
