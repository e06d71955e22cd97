//! `taproot lab ...`.

use std::process::ExitCode;

use anyhow::Result;
use taproot_lab::{Launcher, Options, Params, cli};

use crate::args::{LabAction, LabArgs};
use crate::{bench, lab_run};

/// How this binary starts a pod of the lab.
const SERVE: [&str; 2] = ["lab", "serve"];

pub(crate) fn run(args: LabArgs) -> Result<ExitCode> {
    let text = match args.action {
        LabAction::Up { lab, foreground, rps, extras } => {
            let mut options = options(&lab.name)?;
            options.requests_per_second = rps;
            options.extras = extras;
            cli::up(&options, foreground)?
        }
        LabAction::Down { lab } => cli::down(&lab.name, None)?,
        LabAction::List => cli::list(),
        LabAction::Fault { fault, params, time, lab } => {
            let dir = cli::state_dir(&lab.name, None)?;
            if fault == "clear" {
                cli::clear(&dir)?
            } else {
                let params = Params::parse(params.iter().map(String::as_str))?;
                cli::fault(&fault, &params, &dir, time)?
            }
        }
        LabAction::Run(args) => return lab_run::run(&args),
        LabAction::Bench(args) => return bench::run(&args),
        LabAction::BenchClient(args) => {
            bench::client_main(&args)?;
            return Ok(ExitCode::SUCCESS);
        }
    };
    println!("{}", text.trim_end());
    Ok(ExitCode::SUCCESS)
}

/// Options of a lab whose pods are this binary.
pub(crate) fn options(name: &str) -> Result<Options> {
    let mut options = Options::new(Launcher::current(&SERVE)?);
    name.clone_into(&mut options.name);
    Ok(options)
}
