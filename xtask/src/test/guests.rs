//! Running the live tests in guests: all binaries in one boot per kernel, and in another
//! those tests that failed.

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::{Duration, Instant};

use anyhow::Result;

use super::again::{self, Job};
use super::binaries::{Binary, Built};
use super::libtest::{self, Reader};
use super::native;
use super::report::Tally;
use crate::guest::{self, Guest, Image, Kernel, quoted};
use crate::{command, files};

/// Longest time for one binary in an emulated guest.
const BINARY_LIMIT: Duration = Duration::from_mins(15);

/// Longest time for a guest with all of them.
const GUEST_LIMIT: Duration = Duration::from_mins(40);

/// Lines by which the script in the guest speaks to us.
const MARK: &str = "@@test ";

/// Test data larger than this stays on the host.
const LARGEST_DATA: u64 = 4 << 20;

/// Runs the live tests under a kernel of the series. Without a way to run
/// guests, each of the tests is skipped by name.
pub(super) fn run(series: &str, built: &Built) -> Result<Tally> {
    let live: Vec<&Binary> = built.tests.iter().filter(|binary| binary.is_live()).collect();
    if live.is_empty() {
        return Ok(Tally::of_skip(&format!("guest-{series}"), "there are no live tests"));
    }
    if let Some(why) = guest::unavailable() {
        return skip_all(&live, &why);
    }
    match Kernel::prepare(series) {
        Ok(kernel) => run_in(&kernel, built, &live),
        Err(error) => skip_all(&live, &format!("no kernel {series}: {error:#}")),
    }
}

fn skip_all(live: &[&Binary], why: &str) -> Result<Tally> {
    let mut tally = Tally::default();
    for binary in live {
        tally.skipped.extend(native::names(binary)?.into_iter().map(|name| (name, why.to_owned())));
    }
    Ok(tally)
}

fn run_in(kernel: &Kernel, built: &Built, live: &[&Binary]) -> Result<Tally> {
    let all: Vec<Job> = live.iter().map(|binary| Job::all(binary)).collect();
    let mut sum = Tally::default();
    boot(kernel, built, &all)?.into_iter().for_each(|tally| sum.add(tally));
    let jobs = again::jobs(live, &sum);
    if !jobs.is_empty() {
        let alone = boot(kernel, built, &jobs)?;
        jobs.iter().zip(&alone).for_each(|(job, tally)| job.judge(tally, &mut sum));
    }
    Ok(sum)
}

/// Does the jobs in one boot, and says what came of each.
fn boot(kernel: &Kernel, built: &Built, jobs: &[Job]) -> Result<Vec<Tally>> {
    let scratch = guest::scratch(&format!("stripped-{}", kernel.series))?;
    let image = image(kernel, built, jobs, &scratch)?;
    let guest = Guest { limit: GUEST_LIMIT, ..Guest::default() };
    let mut listener = Listener { series: kernel.series.clone(), ..Listener::default() };
    let outcome = guest.run(kernel, &image, |line| listener.line(line));
    fs::remove_dir_all(&scratch)?;
    match outcome {
        Ok(outcome) => {
            println!("  {} booted in {:.1} s", kernel.release, outcome.boot.as_secs_f64());
        }
        Err(error) => {
            println!("{}\n{error:#}", listener.output.join("\n"));
            // Also of a guest that fails after its last binary: that one is blamed.
            let last = jobs.last().map(Job::label);
            let label = listener.current.take().or(last).unwrap_or_default();
            let failure = format!("{label}: {error:#}");
            listener.ended.entry(label).or_default().failed.push(failure);
        }
    }
    let unended = |label: &str| Tally {
        failed: vec![format!("{label}: did not come to an end")],
        ..Tally::default()
    };
    let mut of = |label: String| listener.ended.remove(&label).unwrap_or_else(|| unended(&label));
    Ok(jobs.iter().map(|job| of(job.label())).collect())
}

/// The guest's files: each test binary, the programs they start at the very
/// place they were built at (it is compiled in), and the data beside the tests.
fn image(kernel: &Kernel, built: &Built, jobs: &[Job], scratch: &Path) -> Result<Image> {
    let mut image = Image::base(kernel)?;
    let series = quoted(&kernel.series);
    let mut script =
        format!("export TAPROOT_SKIP_LOG=/tmp/taproot-skips\nexport TAPROOT_GUEST={series}\n");
    for program in &built.programs {
        image.program(&stripped(program, scratch)?, program)?;
        let name = program.file_name().unwrap_or_default();
        image.link(&Path::new("/usr/bin").join(name), &program.to_string_lossy());
    }
    for job in jobs {
        let binary = job.binary;
        image.program(&stripped(&binary.path, scratch)?, &binary.path)?;
        image.directory(&binary.folder);
        copy_data(&mut image, &binary.folder.join("tests"), scratch)?;
        script += &lines_for(job);
    }
    image.text("/taproot/command", &script, 0o755);
    Ok(image)
}

/// BPF programs among the data lie there compiled as well: a guest has no compiler.
fn copy_data(image: &mut Image, folder: &Path, scratch: &Path) -> Result<()> {
    for path in files::walk(folder)? {
        if let Some(stem) = path.to_str().and_then(|path| path.strip_suffix(".bpf.c")) {
            let guest = PathBuf::from(format!("{stem}.o"));
            let object = scratch.join(guest.file_name().unwrap_or_default());
            let mut clang = Command::new("clang");
            clang.args(["-O2", "-g", "-target", "bpf", "-c", "-o"]).arg(&object).arg(&path);
            // Where that fails the test that wants it says so by name.
            if command::output(&mut clang).is_ok() {
                image.copy(&object, &guest)?;
            }
        }
        let source = path.extension().is_some_and(|extension| extension == "rs");
        if !source && fs::metadata(&path)?.len() <= LARGEST_DATA {
            image.copy(&path, &path)?;
        }
    }
    Ok(())
}

/// The part of the guest's script that runs one binary.
fn lines_for(job: &Job) -> String {
    let binary = job.binary;
    let path = quoted(&binary.path.to_string_lossy());
    let folder = quoted(&binary.folder.to_string_lossy());
    let label = quoted(&job.label());
    let flags = job.flags().into_iter().map(quoted).collect::<Vec<_>>().join(" ");
    let seconds = BINARY_LIMIT.as_secs();
    format!(
        "echo {MARK}begin {label}\n\
         cd {folder}\n\
         CARGO_MANIFEST_DIR={folder} timeout -k 10 {seconds} {path} --test-threads=1 {flags}\n\
         code=$?\n\
         [ -f /tmp/taproot-skips ] && sed 's/^/{MARK}skip /' /tmp/taproot-skips && rm /tmp/taproot-skips\n\
         printf '\\n{MARK}end %d\\n' $code\n"
    )
}

/// A copy without debug information, which would only fill the guest's memory.
fn stripped(path: &Path, scratch: &Path) -> Result<PathBuf> {
    let copy = scratch.join(path.file_name().unwrap_or_default());
    let mut strip = Command::new("strip");
    if command::output(strip.arg("--strip-debug").arg("-o").arg(&copy).arg(path)).is_err() {
        fs::copy(path, &copy)?;
    }
    Ok(copy)
}

/// Follows the guest's output from binary to binary.
#[derive(Debug, Default)]
struct Listener {
    /// Guests run side by side: each line says whose it is.
    series: String,
    current: Option<String>,
    started: Option<Instant>,
    reader: Reader,
    skips: String,
    output: Vec<String>,
    ended: BTreeMap<String, Tally>,
}

impl Listener {
    fn line(&mut self, line: &str) {
        match line.split_once(MARK).map(|(_, said)| said.split_once(' ').unwrap_or((said, ""))) {
            Some(("begin", label)) => {
                self.current = Some(label.to_owned());
                self.started = Some(Instant::now());
            }
            Some(("skip", skip)) => self.skips.extend([skip, "\n"]),
            Some(("end", code)) => self.end(code.trim().parse().unwrap_or(-1)),
            _ => {
                self.reader.line(line);
                self.output.push(line.to_owned());
            }
        }
    }

    fn end(&mut self, code: i32) {
        let label = self.current.take().unwrap_or_default();
        let end = (code != 0).then(|| format!("exit code {code}"));
        let reader = std::mem::take(&mut self.reader);
        let skips = libtest::skips(&std::mem::take(&mut self.skips));
        // The label of one test alone ends with its name.
        let binary = label.split(' ').take(2).collect::<Vec<_>>().join(" ");
        let tally = reader.tally(&binary, &skips, end);
        let output = std::mem::take(&mut self.output);
        if !tally.failed.is_empty() {
            println!("{}", output.join("\n"));
        }
        let took = self.started.take().map(|start| start.elapsed()).unwrap_or_default();
        native::print_line(format!("{} {label}", self.series).trim(), &tally, took);
        self.ended.insert(label, tally);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const RESULT: &str =
        "test result: ok. 2 passed; 0 failed; 0 ignored; 0 measured; 0 filtered out";

    fn listen(lines: &[&str]) -> Listener {
        let mut listener = Listener::default();
        for line in lines {
            listener.line(line);
        }
        listener
    }

    #[test]
    fn each_binary_is_counted_by_itself() {
        let listener = listen(&[
            "@@test begin probes live_a",
            RESULT,
            "@@test skip t::x\tno netem",
            "",
            "@@test end 0",
            "@@test begin probes live_b",
            "test y ... @@test end 124",
        ]);
        let (first, second) = (&listener.ended["probes live_a"], &listener.ended["probes live_b"]);
        assert_eq!(first.passed, 1);
        assert_eq!(first.skipped, [("probes live_a t::x".to_owned(), "no netem".to_owned())]);
        assert_eq!(second.failed, ["probes live_b: exit code 124"]);
    }

    #[test]
    fn a_binary_without_an_end_is_known() {
        let listener = listen(&["@@test begin a live_a", RESULT]);
        assert!(listener.ended.is_empty());
    }

    #[test]
    fn a_test_alone_is_counted_as_the_binarys() {
        let failed = RESULT.replace("2 passed; 0 failed", "0 passed; 1 failed");
        let listener = listen(&[
            "@@test begin a live_a t::x",
            "test t::x ... FAILED",
            &failed,
            "@@test end 101",
        ]);
        assert_eq!(listener.ended["a live_a t::x"].failed, ["a live_a t::x"]);
    }

    #[test]
    fn the_script_runs_the_binary_in_its_folder() {
        let binary = Binary {
            package: "probes".to_owned(),
            target: "live_a".to_owned(),
            integration: true,
            path: PathBuf::from("/t/live_a-1"),
            folder: PathBuf::from("/p/crates/probes"),
        };
        let script = lines_for(&Job::all(&binary));
        assert!(script.contains("cd '/p/crates/probes'\n"), "{script}");
        assert!(script.contains("'/t/live_a-1' --test-threads=1 \n"), "{script}");
        let script = lines_for(&Job { binary: &binary, only: Some("t::x".to_owned()) });
        assert!(script.contains("--test-threads=1 '--exact' 't::x'\n"), "{script}");
    }
}
