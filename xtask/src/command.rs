//! Running other programs, with errors that name them.

use std::io::{BufRead, BufReader};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitStatus, Stdio};
use std::sync::mpsc::{self, Receiver, RecvTimeoutError};
use std::thread;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, ensure};

/// Root folder of the workspace.
pub(crate) fn root() -> PathBuf {
    let xtask = Path::new(env!("CARGO_MANIFEST_DIR"));
    xtask.parent().unwrap_or(xtask).to_path_buf()
}

/// Where everything that can be made again is kept.
pub(crate) fn target_dir() -> PathBuf {
    std::env::var_os("CARGO_TARGET_DIR").map_or_else(|| root().join("target"), PathBuf::from)
}

/// A call of the cargo that runs us, in the workspace's root.
pub(crate) fn cargo() -> Command {
    let mut command = Command::new(std::env::var_os("CARGO").unwrap_or_else(|| "cargo".into()));
    command.current_dir(root());
    command
}

/// Standard output of a program that must succeed.
pub(crate) fn output(command: &mut Command) -> Result<String> {
    let output = command.stdin(Stdio::null()).output().with_context(|| describe(command))?;
    ensure!(
        output.status.success(),
        "{}: {}: {}",
        describe(command),
        output.status,
        String::from_utf8_lossy(&output.stderr).trim()
    );
    Ok(String::from_utf8_lossy(&output.stdout).into_owned())
}

/// Runs a program whose output goes to the terminal; true when it succeeded.
pub(crate) fn succeeds(command: &mut Command) -> Result<bool> {
    Ok(command.stdin(Stdio::null()).status().with_context(|| describe(command))?.success())
}

/// Whether a command of this name can be found in `PATH`.
pub(crate) fn installed(name: &str) -> Option<PathBuf> {
    let path = std::env::var_os("PATH").unwrap_or_default();
    let system = ["/usr/local/sbin", "/usr/sbin", "/sbin", "/usr/bin"].map(PathBuf::from);
    std::env::split_paths(&path)
        .chain(system)
        .map(|folder| folder.join(name))
        .find(|path| path.is_file())
}

fn describe(command: &Command) -> String {
    let words = std::iter::once(command.get_program()).chain(command.get_args());
    words.map(|word| word.to_string_lossy()).collect::<Vec<_>>().join(" ")
}

/// How often a watched program is asked whether it has ended.
const TICK: Duration = Duration::from_millis(200);

/// How long the last lines of a program that has ended are waited for, if something
/// that it left behind holds its stream open.
const LAST_LINES: Duration = Duration::from_secs(2);

/// How a watched program ended.
#[derive(Debug)]
pub(crate) enum Ended {
    /// By itself.
    Exited(ExitStatus),
    /// It was stopped because its time was over.
    TimedOut,
}

/// Runs a program and hands on each line of its standard output (and standard
/// error, when `command` sends it there) as it comes, at most for `limit`.
pub(crate) fn watch(
    command: &mut Command,
    limit: Duration,
    mut on_line: impl FnMut(&str),
) -> Result<Ended> {
    command.stdin(Stdio::null()).stdout(Stdio::piped());
    let mut child = command.spawn().with_context(|| describe(command))?;
    let lines = lines_of(&mut child);
    let deadline = Instant::now() + limit;
    let mut asked = Instant::now();
    loop {
        match lines.recv_timeout(TICK) {
            Ok(line) => on_line(&line),
            Err(RecvTimeoutError::Disconnected) => return Ok(Ended::Exited(child.wait()?)),
            Err(RecvTimeoutError::Timeout) => {}
        }
        if Instant::now() > deadline {
            stop(&mut child)?;
            return Ok(Ended::TimedOut);
        }
        // A server that the program left behind may hold the stream open, and
        // even write to it, after the program itself has ended.
        if asked.elapsed() > TICK {
            asked = Instant::now();
            if let Some(status) = child.try_wait()? {
                drain(&lines, on_line);
                return Ok(Ended::Exited(status));
            }
        }
    }
}

/// Hands on what a program that has ended left in its stream: its last lines are
/// still on their way through the reading thread.
fn drain(lines: &Receiver<String>, mut on_line: impl FnMut(&str)) {
    let deadline = Instant::now() + LAST_LINES;
    while let Ok(line) = lines.recv_timeout(deadline.saturating_duration_since(Instant::now())) {
        on_line(&line);
    }
}

/// Reads standard output in a thread; the channel closes at its end.
fn lines_of(child: &mut Child) -> Receiver<String> {
    let (sender, receiver) = mpsc::channel();
    if let Some(stdout) = child.stdout.take() {
        thread::spawn(move || {
            let mut reader = BufReader::new(stdout);
            let mut line = Vec::new();
            while matches!(reader.read_until(b'\n', &mut line), Ok(read) if read > 0) {
                let text = String::from_utf8_lossy(&line);
                if sender.send(text.trim_end_matches(['\n', '\r']).to_owned()).is_err() {
                    return;
                }
                line.clear();
            }
        });
    }
    receiver
}

/// Asks politely first (through `kill`, since std can only send SIGKILL), so that
/// a test can still remove what it made.
fn stop(child: &mut Child) -> Result<()> {
    let asked = Command::new("kill").arg(child.id().to_string()).status();
    let patience = Instant::now() + Duration::from_secs(5);
    while asked.as_ref().is_ok_and(ExitStatus::success) && Instant::now() < patience {
        if child.try_wait()?.is_some() {
            return Ok(());
        }
        thread::sleep(Duration::from_millis(50));
    }
    child.kill()?;
    child.wait()?;
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn shell(script: &str) -> Command {
        let mut command = Command::new("sh");
        command.args(["-c", script]);
        command
    }

    #[test]
    fn lines_arrive_in_order_and_the_status_is_kept() {
        let mut seen = Vec::new();
        let ended =
            watch(&mut shell("echo a; printf b; exit 3"), Duration::from_secs(20), |line| {
                seen.push(line.to_owned());
            });
        assert!(matches!(ended, Ok(Ended::Exited(status)) if status.code() == Some(3)));
        assert_eq!(seen, ["a", "b"]);
    }

    #[test]
    fn a_server_left_behind_holds_nobody_up() {
        let start = Instant::now();
        let (mut seen, mut pid) = (0, String::new());
        let script = "(while sleep 0.05; do echo noise; done) & echo $!; exit 4";
        let ended = watch(&mut shell(script), Duration::from_mins(1), |line| {
            if seen == 0 {
                line.clone_into(&mut pid);
            }
            seen += 1;
        });
        let killed = Command::new("kill").arg(&pid).status();
        assert!(matches!(ended, Ok(Ended::Exited(status)) if status.code() == Some(4)));
        assert!(start.elapsed() < Duration::from_secs(20));
        assert!(killed.is_ok_and(|status| status.success()), "the server was still there");
    }

    #[test]
    fn the_last_lines_of_a_program_that_has_ended_are_waited_for() {
        let mut seen = Vec::new();
        let script = "sleep 0.5; (sleep 0.7; echo last) & exit 0";
        let ended = watch(&mut shell(script), Duration::from_mins(1), |line| {
            seen.push(line.to_owned());
        });
        assert!(matches!(ended, Ok(Ended::Exited(status)) if status.success()));
        assert_eq!(seen, ["last"]);
    }

    #[test]
    fn a_program_that_hangs_is_stopped() {
        let start = Instant::now();
        let ended = watch(&mut shell("exec sleep 60"), Duration::from_millis(100), |_| {});
        assert!(matches!(ended, Ok(Ended::TimedOut)));
        assert!(start.elapsed() < Duration::from_secs(30));
    }

    #[test]
    fn a_failing_program_is_named_with_its_complaint() {
        let error = output(&mut shell("echo broken >&2; exit 1")).expect_err("it fails");
        assert!(format!("{error:#}").contains("broken"));
    }
}
