//! Completions and man pages, out of the flag definitions.

use std::path::Path;
use std::process::ExitCode;

use anyhow::{Context, Result};
use clap::CommandFactory;
use clap_complete::Shell;

use crate::args::Cli;

/// Prints completions for a shell.
pub(crate) fn completions(shell: Shell) -> ExitCode {
    clap_complete::generate(shell, &mut Cli::command(), "taproot", &mut std::io::stdout());
    ExitCode::SUCCESS
}

/// Writes a man page for each command into a folder.
pub(crate) fn man(folder: &Path) -> Result<ExitCode> {
    std::fs::create_dir_all(folder).with_context(|| format!("cannot make {}", folder.display()))?;
    clap_mangen::generate_to(Cli::command(), folder)
        .with_context(|| format!("cannot write to {}", folder.display()))?;
    println!("man pages are in {}; read one with `man -l`", folder.display());
    Ok(ExitCode::SUCCESS)
}
