//! The binary `taproot`: flags, terminal faces, wiring.
#![forbid(unsafe_code)]

mod args;
mod bench;
mod commands;
mod lab_recorder;
mod lab_run;
mod live;
mod reading;
mod request_filter;
mod table;
mod trace;
mod trace_filter;
mod trace_names;
mod trace_nodes;
mod trace_whose;
mod units;

use std::process::ExitCode;
use std::sync::Arc;
use std::sync::atomic::AtomicBool;

use clap::Parser;

use args::{Cli, Command};
use commands::read::View;

fn main() -> ExitCode {
    // `taproot lab serve ...` is a pod of the lab: it gets its words as they are.
    let words: Vec<String> = std::env::args().skip(1).collect();
    if let [lab, serve, rest @ ..] = words.as_slice()
        && lab == "lab"
        && serve == "serve"
    {
        return finish(taproot_lab::serve::main(rest).map(|()| ExitCode::SUCCESS));
    }
    let cli = Cli::parse();
    init_log(cli.verbose);
    if let Err(error) = end_with_the_reader(&cli.command) {
        return finish(Err::<ExitCode, _>(error));
    }
    finish(run(cli.command))
}

/// A command that only prints ends when nobody reads on (`taproot map | head`), as
/// other programs do. Those that have something to put away fail at their next line
/// instead.
fn end_with_the_reader(command: &Command) -> std::io::Result<()> {
    use signal_hook::consts::SIGPIPE;
    if matches!(command, Command::Run(_) | Command::Record(_) | Command::Lab(_)) {
        return Ok(());
    }
    let always = Arc::new(AtomicBool::new(true));
    signal_hook::flag::register_conditional_shutdown(SIGPIPE, 128 + SIGPIPE, always).map(drop)
}

fn run(command: Command) -> anyhow::Result<ExitCode> {
    match command {
        Command::Doctor(args) => commands::doctor::run(&args),
        Command::Run(args) => commands::run::run(&args),
        Command::Map(args) => commands::read::run(View::Map, &args),
        Command::Top(args) => commands::read::run(View::Top(args.sort), &args.read),
        Command::Requests(args) => commands::requests::run(&args),
        Command::Flows(args) => commands::read::run(View::Flows, &args),
        Command::Record(args) => commands::record::run(&args),
        Command::Diagnose(args) => commands::diagnose::run(&args),
        Command::Trace(args) => trace::run(&args),
        Command::Logs(args) => match args.action {
            args::LogsAction::Patterns(args) => commands::logs::run(&args),
        },
        Command::Eval(args) => commands::eval::run(&args),
        Command::Completions { shell } => Ok(commands::shell::completions(shell)),
        Command::Man { folder } => commands::shell::man(&folder),
        Command::Lab(args) => commands::lab::run(args),
    }
}

fn finish<E: std::fmt::Display>(result: Result<ExitCode, E>) -> ExitCode {
    match result {
        Ok(code) => code,
        Err(error) => {
            eprintln!("taproot: {error:#}");
            ExitCode::FAILURE
        }
    }
}

fn init_log(verbose: u8) {
    use tracing_subscriber::EnvFilter;
    let default = match verbose {
        0 => "error",
        1 => "info",
        _ => "debug",
    };
    let filter = EnvFilter::try_from_env("TAPROOT_LOG").unwrap_or_else(|_| EnvFilter::new(default));
    tracing_subscriber::fmt().with_env_filter(filter).with_writer(std::io::stderr).init();
}
