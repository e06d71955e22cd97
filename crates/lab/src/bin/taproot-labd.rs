//! The lab alone, without the rest of Taproot: for its own tests and for others'.

use std::path::PathBuf;
use std::process::ExitCode;
use std::time::Duration;

use taproot_lab::{DEFAULT_NAME, Error, Launcher, Options, Params, Result, cli, serve};

const USAGE: &str = "\
usage: taproot-labd COMMAND [OPTIONS]
  up [--foreground] [--rps N] [--burn-us N] [--extras] [--no-real-servers]
  down
  list
  fault NAME [PARAMETER=NUMBER ...] [--for SECONDS]
  fault clear
options of all: --name NAME (a-z, 0-9), --state-dir DIR";

fn main() -> ExitCode {
    let args: Vec<String> = std::env::args().skip(1).collect();
    match run(&args) {
        Ok(text) => {
            if !text.is_empty() {
                println!("{}", text.trim_end());
            }
            ExitCode::SUCCESS
        }
        Err(e) => {
            eprintln!("taproot-labd: {e}");
            ExitCode::FAILURE
        }
    }
}

fn run(args: &[String]) -> Result<String> {
    let (command, rest) = args.split_first().ok_or_else(|| Error::Usage(USAGE.into()))?;
    if command == "serve" {
        return serve::main(rest).map(|()| String::new());
    }
    let flags = Flags::parse(rest)?;
    let dir = || cli::state_dir(&flags.name, flags.state_dir.as_deref());
    match (command.as_str(), flags.words.as_slice()) {
        ("up", []) => cli::up(&flags.options()?, flags.foreground),
        ("down", []) => cli::down(&flags.name, flags.state_dir.as_deref()),
        ("list", []) => Ok(cli::list()),
        ("fault", [word]) if word == "clear" => cli::clear(&dir()?),
        ("fault", [name, params @ ..]) => {
            let params = Params::parse(params.iter().map(String::as_str))?;
            cli::fault(name, &params, &dir()?, flags.time)
        }
        _ => Err(Error::Usage(USAGE.into())),
    }
}

#[derive(Default)]
struct Flags {
    name: String,
    state_dir: Option<PathBuf>,
    foreground: bool,
    extras: bool,
    no_real_servers: bool,
    rps: Option<f64>,
    burn_us: Option<u64>,
    time: Option<Duration>,
    words: Vec<String>,
}

impl Flags {
    fn parse(args: &[String]) -> Result<Self> {
        let mut flags = Self { name: DEFAULT_NAME.into(), ..Self::default() };
        let mut args = args.iter();
        while let Some(arg) = args.next() {
            let mut value = || {
                let next = args.next().cloned();
                next.ok_or_else(|| Error::Usage(format!("{arg} needs a value\n{USAGE}")))
            };
            match arg.as_str() {
                "--name" => flags.name = value()?,
                "--state-dir" => flags.state_dir = Some(value()?.into()),
                "--foreground" => flags.foreground = true,
                "--extras" => flags.extras = true,
                "--no-real-servers" => flags.no_real_servers = true,
                "--rps" => flags.rps = Some(number(arg, &value()?, 2000.0)?),
                "--burn-us" => flags.burn_us = Some(number(arg, &value()?, 1e6)? as u64),
                "--for" => {
                    flags.time = Some(Duration::from_secs_f64(number(arg, &value()?, 86_400.0)?));
                }
                other if other.starts_with("--") => {
                    return Err(Error::Usage(format!("unknown option {other}\n{USAGE}")));
                }
                word => flags.words.push(word.to_owned()),
            }
        }
        Ok(flags)
    }

    fn options(&self) -> Result<Options> {
        let mut options = Options::new(Launcher::current(&["serve"])?);
        options.name.clone_from(&self.name);
        options.state_dir.clone_from(&self.state_dir);
        options.extras = self.extras;
        options.real_servers = !self.no_real_servers;
        options.requests_per_second = self.rps.unwrap_or(options.requests_per_second);
        options.product_burn_us = self.burn_us.unwrap_or(options.product_burn_us);
        Ok(options)
    }
}

fn number(flag: &str, text: &str, most: f64) -> Result<f64> {
    let parsed = text.parse::<f64>().ok().filter(|n| (0.0..=most).contains(n));
    parsed.ok_or_else(|| Error::Usage(format!("{flag} {text}: give a number from 0 to {most}")))
}
