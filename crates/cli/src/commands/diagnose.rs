//! `taproot diagnose [SERVICE]`.

use std::process::ExitCode;

use anyhow::Result;
use taproot_diagnosis::{Evidence, Question, Report, diagnose, render};

use crate::args::{DiagnoseArgs, ReportForm};
use crate::reading;

pub(crate) fn run(args: &DiagnoseArgs) -> Result<ExitCode> {
    let world = reading::world(&args.source, &args.agent)?;
    let span = Evidence::span(&world);
    let question = Question { service: args.service.as_ref().map(Into::into), span };
    let report = diagnose(&world, &question)?;
    println!("{}", print(&report, args.output)?.trim_end());
    Ok(ExitCode::SUCCESS)
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
