//! Virtual machines with Debian's kernels, to run live tests on the kernels that
//! clusters really have.
//!
//! The guest is emulated (QEMU's TCG), so it needs no `/dev/kvm` and no root.
//! Its root file system is an initramfs made on the spot; the command's output
//! comes back over a second serial port, apart from the kernel's console, and
//! its exit code as the last line of it.

mod cpio;
mod image;
mod kernel;
mod machine;
mod modules;

use std::fs;
use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::time::Duration;

use anyhow::{Context, Result, bail, ensure};

pub(crate) use image::Image;
pub(crate) use kernel::{Kernel, SERIES};
pub(crate) use machine::{Clock, Guest, scratch};

use crate::args::Args;
use crate::command;

/// Programs a guest is made of, and the Debian packages that hold them.
const NEEDED: [(&str, &str); 5] = [
    ("qemu-system-x86_64", "qemu-system-x86"),
    ("busybox", "busybox-static"),
    ("xz", "xz-utils"),
    ("dpkg", "dpkg"),
    ("apt-get", "apt"),
];

/// Why no guest can run here; `None` when one can.
pub(crate) fn unavailable() -> Option<String> {
    if !cfg!(target_arch = "x86_64") {
        return Some("guests are made for x86_64 only".to_owned());
    }
    let missing: Vec<&str> = NEEDED
        .iter()
        .filter(|(program, _)| command::installed(program).is_none())
        .map(|(_, package)| *package)
        .collect();
    (!missing.is_empty()).then(|| format!("not installed: {} (make setup)", missing.join(", ")))
}

/// `cargo xtask guest`.
pub(crate) fn main(args: Args) -> Result<ExitCode> {
    let request = Request::parse(args)?;
    if let Some(why) = unavailable() {
        bail!("no guest can run here: {why}");
    }
    let kernel = Kernel::prepare(&request.series)?;
    let image = request.image(&kernel)?;
    let outcome = request.guest.run(&kernel, &image, |line| println!("{line}"))?;
    eprintln!(
        "guest {}: exit code {}, command started {:.1} s after power-on",
        kernel.release,
        outcome.code,
        outcome.boot.as_secs_f64()
    );
    Ok(ExitCode::from(outcome.code))
}

/// Our own programs, which a guest can run by name where they have been built.
const PROGRAMS: [&str; 2] = ["taproot", "taproot-labd"];

/// What the command line asks for.
#[derive(Debug)]
struct Request {
    series: String,
    guest: Guest,
    with: Vec<PathBuf>,
    env: Vec<String>,
    command: Vec<String>,
}

impl Request {
    fn parse(mut args: Args) -> Result<Self> {
        let mut request = Self {
            series: "6.12".to_owned(),
            guest: Guest::default(),
            with: Vec::new(),
            env: Vec::new(),
            command: Vec::new(),
        };
        while let Some(arg) = args.next() {
            match arg.as_str() {
                "--kernel" => request.series = args.value(&arg)?,
                "--memory" => request.guest.memory = args.parsed(&arg)?,
                "--cpus" => request.guest.cpus = args.parsed(&arg)?,
                "--timeout" => request.guest.limit = Duration::from_secs(args.parsed(&arg)?),
                "--with" => request.with.push(PathBuf::from(args.value(&arg)?)),
                "--env" => request.env.push(args.value(&arg)?),
                "--icount" => {
                    (request.guest.cpus, request.guest.clock) = (1, Clock::Instructions(0));
                }
                "--icount-shift" => request.guest.clock = Clock::Instructions(args.parsed(&arg)?),
                "--console" => request.guest.console = true,
                "--" => break,
                other => bail!("guest: unknown option {other} (the command comes after `--`)"),
            }
        }
        request.command = args.rest();
        ensure!(!request.command.is_empty(), "guest: no command; say it after `--`");
        Ok(request)
    }

    fn image(&self, kernel: &Kernel) -> Result<Image> {
        let mut image = Image::base(kernel)?;
        for program in PROGRAMS.into_iter().filter_map(newest_build) {
            let name = program.file_name().unwrap_or_default();
            image.program(&program, &Path::new("/usr/bin").join(name))?;
        }
        let named = self.command.first().map(PathBuf::from);
        let program = named.filter(|path| path.is_absolute() && path.is_file());
        for file in self.with.iter().chain(&program) {
            let file = fs::canonicalize(file).with_context(|| file.display().to_string())?;
            image.program(&file, &file)?;
        }
        image.text("/taproot/command", &script(&kernel.series, &self.env, &self.command), 0o755);
        Ok(image)
    }
}

/// The newest build of one of our programs.
fn newest_build(name: &str) -> Option<PathBuf> {
    let target = command::target_dir().join("x86_64-unknown-linux-gnu");
    ["release", "debug"]
        .map(|profile| target.join(profile).join(name))
        .into_iter()
        .filter_map(|path| Some((fs::metadata(&path).ok()?.modified().ok()?, path)))
        .max()
        .map(|(_, path)| path)
}

/// A shell script that runs one command with its environment.
fn script(series: &str, env: &[String], command: &[String]) -> String {
    let guest = format!("TAPROOT_GUEST={series}");
    let exports =
        std::iter::once(&guest).chain(env).map(|pair| format!("export {}\n", quoted(pair)));
    let words: Vec<String> = command.iter().map(|word| quoted(word)).collect();
    format!("{}exec {}\n", exports.collect::<String>(), words.join(" "))
}

/// A word as the shell reads it back.
pub(crate) fn quoted(word: &str) -> String {
    format!("'{}'", word.replace('\'', r"'\''"))
}

#[cfg(test)]
mod tests {
    use std::process::Command;

    use super::*;

    #[test]
    fn words_survive_the_shell() {
        let word = "it's $HOME \"quoted\"";
        let script = format!("printf %s {}", quoted(word));
        let printed = command::output(Command::new("sh").args(["-c", &script]));
        assert_eq!(printed.expect("a shell"), word);
    }

    #[test]
    fn the_script_carries_series_environment_and_command() {
        let words = |list: &[&str]| list.iter().map(|w| (*w).to_owned()).collect::<Vec<_>>();
        let text = script("6.1", &words(&["A=b c"]), &words(&["echo", "x"]));
        assert_eq!(text, "export 'TAPROOT_GUEST=6.1'\nexport 'A=b c'\nexec 'echo' 'x'\n");
    }
}
