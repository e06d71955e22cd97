//! Running QEMU, and understanding what the guest says.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::{Duration, Instant};

use anyhow::{Result, bail, ensure};

use super::image::Image;
use super::kernel::Kernel;
use crate::command::{self, Ended};

/// Before what the guest's init says to us; see `init.sh`.
const MARK: &str = "@@taproot ";

/// How a guest is run.
#[derive(Debug)]
pub(crate) struct Guest {
    /// Memory in MiB.
    pub(crate) memory: u32,
    /// Its CPUs.
    pub(crate) cpus: u8,
    /// Where the guest's time comes from.
    pub(crate) clock: Clock,
    /// When it is stopped.
    pub(crate) limit: Duration,
    /// Whether the kernel's console is shown as well.
    pub(crate) console: bool,
}

/// Where a guest's time comes from.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Clock {
    /// The host's clock: a busy host makes a slow guest.
    Host,
    /// Each instruction takes two to this power nanoseconds, and time without work
    /// passes at once: a busy host changes nothing but how long one has to wait.
    Instructions(u8),
}

impl Default for Guest {
    fn default() -> Self {
        Self {
            memory: 2048,
            cpus: 2,
            clock: Clock::Host,
            limit: Duration::from_mins(10),
            console: false,
        }
    }
}

/// What a guest did.
#[derive(Debug)]
pub(crate) struct Outcome {
    /// Exit code of the command.
    pub(crate) code: u8,
    /// From the start of QEMU to the start of the command.
    pub(crate) boot: Duration,
}

impl Guest {
    /// Boots the kernel with the image, in which `/taproot/command` is a shell
    /// script, and hands on each line of that script's output.
    pub(crate) fn run(
        &self,
        kernel: &Kernel,
        image: &Image,
        mut on_line: impl FnMut(&str),
    ) -> Result<Outcome> {
        let scratch = scratch(&format!("run-{}", kernel.series))?;
        let result = self.run_in(&scratch, kernel, image, &mut on_line);
        fs::remove_dir_all(&scratch)?;
        result
    }

    fn run_in(
        &self,
        scratch: &Path,
        kernel: &Kernel,
        image: &Image,
        on_line: &mut dyn FnMut(&str),
    ) -> Result<Outcome> {
        let (initramfs, console) = (scratch.join("initramfs"), scratch.join("console"));
        image.write(&initramfs)?;
        let start = Instant::now();
        let mut talk = Talk::default();
        let mut qemu = self.qemu(kernel, &initramfs, &console);
        let ended = command::watch(&mut qemu, self.limit, |line| {
            if let Some(output) = talk.line(line, start.elapsed()) {
                on_line(output);
            }
        })?;
        let console = String::from_utf8_lossy(&fs::read(&console).unwrap_or_default()).into_owned();
        if self.console {
            eprint!("{console}");
        }
        if matches!(ended, Ended::TimedOut) {
            bail!("guest {} was stopped after {:?}", kernel.series, self.limit);
        }
        talk.outcome(kernel).map_err(|error| {
            error.context(format!("the guest's console ends with:\n{}", tail(&console, 30)))
        })
    }

    fn qemu(&self, kernel: &Kernel, initramfs: &Path, console: &Path) -> Command {
        let mut qemu = Command::new("qemu-system-x86_64");
        // One thread runs all CPUs in turn. With a thread for each, a CPU may still
        // run the breakpoint of an instruction that another has finished patching,
        // and the kernel, which relies on the hardware's order there, falls over it:
        // attaching programs under traffic patches static calls all the time.
        qemu.args(["-accel", "tcg,thread=single"]);
        if let Clock::Instructions(shift) = self.clock {
            qemu.args(["-icount", &format!("shift={shift},sleep=off")]);
        }
        qemu.args(["-cpu", "max", "-nodefaults", "-no-reboot", "-display", "none"])
            .args(["-m", &self.memory.to_string(), "-smp", &self.cpus.to_string()])
            .arg("-kernel")
            .arg(kernel.image())
            .arg("-initrd")
            .arg(initramfs)
            .args(["-append", "console=ttyS0 loglevel=4 panic=-1 mitigations=off nokaslr"])
            .arg("-serial")
            .arg(format!("file:{}", console.display()))
            .args(["-serial", "stdio"]);
        qemu
    }
}

/// What the guest's init has said so far.
#[derive(Debug, Default)]
struct Talk {
    release: Option<String>,
    boot: Duration,
    code: Option<u8>,
}

impl Talk {
    /// Takes in one line; returns the part of it that is the command's output.
    fn line<'a>(&mut self, line: &'a str, elapsed: Duration) -> Option<&'a str> {
        // Output without a final newline stands before the mark.
        let Some((before, said)) = line.split_once(MARK) else { return Some(line) };
        match said.split_once(' ') {
            Some(("ready", release)) => {
                self.release = Some(release.to_owned());
                self.boot = elapsed;
            }
            Some(("exit", code)) => self.code = code.trim().parse().ok(),
            _ => return Some(line),
        }
        (!before.is_empty()).then_some(before)
    }

    fn outcome(self, kernel: &Kernel) -> Result<Outcome> {
        match (self.release, self.code) {
            (Some(release), Some(code)) => {
                // Else results would stand under the name of the wrong kernel.
                ensure!(release == kernel.release, "guest runs {release}, not {}", kernel.release);
                Ok(Outcome { code, boot: self.boot })
            }
            (None, _) => bail!("guest {} did not come up", kernel.series),
            (_, None) => bail!("guest {} ended without an exit code", kernel.series),
        }
    }
}

/// A folder of this process below `target/guest`. Folders that a killed process
/// left there are removed: each may hold hundreds of megabytes.
pub(crate) fn scratch(purpose: &str) -> Result<PathBuf> {
    let guests = command::target_dir().join("guest");
    fs::create_dir_all(&guests)?;
    for entry in fs::read_dir(&guests)?.filter_map(Result::ok) {
        if owner(&entry.file_name().to_string_lossy()).is_some_and(|pid| !is_alive(pid)) {
            // Another process may be removing the same one.
            let _ = fs::remove_dir_all(entry.path());
        }
    }
    let folder = guests.join(format!("{purpose}-{}", std::process::id()));
    fs::create_dir_all(&folder)?;
    Ok(folder)
}

/// The process that a scratch folder belongs to.
fn owner(folder: &str) -> Option<u32> {
    folder.rsplit_once('-')?.1.parse().ok()
}

fn is_alive(pid: u32) -> bool {
    Path::new("/proc").join(pid.to_string()).exists()
}

fn tail(text: &str, lines: usize) -> String {
    let all: Vec<&str> = text.lines().collect();
    all[all.len().saturating_sub(lines)..].join("\n")
}

#[cfg(test)]
mod tests {
    use super::*;

    fn talk(lines: &[&str]) -> (Talk, Vec<String>) {
        let (mut talk, mut output) = (Talk::default(), Vec::new());
        for line in lines {
            output.extend(talk.line(line, Duration::from_secs(3)).map(str::to_owned));
        }
        (talk, output)
    }

    #[test]
    fn output_and_marks_are_told_apart() {
        let (talk, output) = talk(&["@@taproot ready 6.1.0-1", "a", "no newline@@taproot exit 3"]);
        assert_eq!(output, ["a", "no newline"]);
        assert_eq!((talk.release.as_deref(), talk.code), (Some("6.1.0-1"), Some(3)));
    }

    #[test]
    fn another_kernel_or_no_exit_code_is_an_error() {
        let outcome = |lines: &[&str]| talk(lines).0.outcome(&Kernel::named("6.1", "6.1.0-1"));
        assert_eq!(
            outcome(&["@@taproot ready 6.1.0-1", "@@taproot exit 7"]).map(|o| o.code).ok(),
            Some(7)
        );
        for broken in [
            &["@@taproot ready 6.12.0-1", "@@taproot exit 0"][..],
            &["@@taproot ready 6.1.0-1"],
            &["@@taproot exit 0"],
        ] {
            assert!(outcome(broken).is_err(), "{broken:?}");
        }
    }

    #[test]
    fn only_folders_of_dead_processes_may_go() {
        assert_eq!(owner("run-123"), Some(123));
        assert_eq!(owner("kernels"), None);
        assert!(is_alive(std::process::id()));
        assert!(!is_alive(u32::MAX));
    }

    #[test]
    fn the_tail_of_a_short_text_is_all_of_it() {
        assert_eq!(tail("a\nb", 5), "a\nb");
        assert_eq!(tail("a\nb\nc", 2), "b\nc");
    }
}
