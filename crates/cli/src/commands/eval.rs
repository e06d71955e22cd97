//! `taproot eval NAME DATA`.
//!
//! Standard output is equal, byte for byte, in each run; what a run cost goes to
//! standard error.

use std::path::Path;
use std::process::ExitCode;

use anyhow::{Context, Result, ensure};
use taproot_eval::{EvalError, Outcome, peers, reliability, sets};

use crate::args::{EvalArgs, Output};
use crate::table::Table;

pub(crate) fn run(args: &EvalArgs) -> Result<ExitCode> {
    match args.name.as_str() {
        "list" => list(),
        "all" => all(args)?,
        name => {
            let outcome = one(name, args)?;
            if matches!(args.output, Output::Table) {
                print!("{}", reliability::text(&[outcome]));
            }
        }
    }
    Ok(ExitCode::SUCCESS)
}

fn all(args: &EvalArgs) -> Result<()> {
    let mut outcomes = Vec::new();
    for set in sets::all() {
        match one(set.name(), args) {
            Err(error) if is_absent(&error) => eprintln!("left out: {error}"),
            result => outcomes.push(result?),
        }
    }
    ensure!(
        !outcomes.is_empty(),
        "{} holds none of the sets; `taproot eval list` names them",
        args.data.display()
    );
    if matches!(args.output, Output::Table) {
        print!("{}", reliability::text(&outcomes));
    }
    Ok(())
}

fn list() {
    let mut table = Table::new(&["NAME", "WHAT"]);
    for set in sets::all() {
        table.row(&[set.name(), set.about()]);
    }
    print!("{table}");
}

fn is_absent(error: &anyhow::Error) -> bool {
    matches!(error.downcast_ref(), Some(EvalError::NotFound { .. }))
}

fn one(name: &str, args: &EvalArgs) -> Result<Outcome> {
    let (outcome, cost) = taproot_eval::run(name, &args.data, args.mode)?;
    match args.output {
        Output::Json => println!("{}", serde_json::to_string(&outcome)?),
        Output::Table => {
            if !args.brief {
                print!("{}", outcome.rows_text());
            }
            println!("{}{}", outcome.table_text(), peers::text(&outcome));
        }
    }
    eprintln!("{name}: {}", cost.text());
    if let Some(folder) = args.write.as_deref() {
        write(&outcome, folder)?;
    }
    Ok(outcome)
}

fn write(outcome: &Outcome, folder: &Path) -> Result<()> {
    let mode = outcome.mode.replace([':', '='], "-");
    let path = folder.join(format!("{}-{mode}.json", outcome.set));
    let text = serde_json::to_string_pretty(outcome)?;
    std::fs::create_dir_all(folder)
        .and_then(|()| std::fs::write(&path, text + "\n"))
        .with_context(|| format!("cannot write {}", path.display()))
}
