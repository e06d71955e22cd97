//! Development tasks of the house, as one program that needs nothing but cargo.
//!
//! `cargo xtask help` lists them. What a task decides is a pure function over
//! plain data with its own unit tests; what it does to the machine is kept thin.
#![forbid(unsafe_code)]

mod args;
mod command;
mod files;
mod guest;
mod licences;
mod metadata;
mod spdx;
mod test;
mod tidy;

use std::process::ExitCode;

use args::Args;

const HELP: &str = "\
Development tasks of Taproot.

usage: cargo xtask TASK [options]

  test [-p PACKAGE] [STEP...]
                        all checks and tests, as `make test` runs them; with names,
                        only these steps: fmt tidy licences clippy unit doc live
                        guest-6.1 guest-6.12
  tidy                  the rules of the house that no compiler checks
  licences              licences of all dependencies against deny.toml
  guest [options] -- COMMAND [ARG...]
                        run a command in a virtual machine with a Debian kernel
      --kernel SERIES   6.1 or 6.12 (default 6.12)
      --memory MIB      memory of the guest (default 2048)
      --cpus N          CPUs of the guest (default 2)
      --timeout SECONDS the guest is stopped after this time (default 600)
      --with FILE       also copy this file, and the libraries it needs (repeatable)
      --env NAME=VALUE  environment of the command (repeatable)
      --icount          one CPU, and a nanosecond an instruction: repeatable timing
      --icount-shift N  an instruction takes two to the power of N nanoseconds
      --console         show the kernel's console too
  guest-test [-p PACKAGE] [SERIES...]
                        the live tests in guests (default: 6.1 and 6.12)
";

fn main() -> ExitCode {
    match run() {
        Ok(code) => code,
        Err(error) => {
            eprintln!("xtask: {error:#}");
            ExitCode::FAILURE
        }
    }
}

fn run() -> anyhow::Result<ExitCode> {
    let mut args = Args::from_env();
    match args.next().as_deref() {
        Some("test") => test::main(args),
        Some("tidy") => tidy::main(),
        Some("licences") => licences::main(),
        Some("guest") => guest::main(args),
        Some("guest-test") => test::guests_main(args),
        Some("help" | "--help" | "-h") | None => {
            print!("{HELP}");
            Ok(ExitCode::SUCCESS)
        }
        Some(other) => anyhow::bail!("no task `{other}`; `cargo xtask help` lists them"),
    }
}
