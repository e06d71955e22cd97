//! Helper processes of faults: they run as long as the fault is in force.

use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use crate::cgroup::Cgroup;
use crate::error::{Error, Result};
use crate::faults::Undo;
use crate::faults::inject::Injection;
use crate::process::ProcessId;

/// Longest wait until a helper is at work.
const READY: Duration = Duration::from_mins(3);

/// Starts `serve ROLE STATE-DIR WORDS...` in a cgroup of the lab, and waits
/// until `at_work` says that it does what it should.
pub(crate) fn start(
    injection: &mut Injection<'_>,
    role: &str,
    words: &[String],
    at_work: impl Fn() -> bool,
) -> Result<()> {
    let lab = injection.lab;
    let group = Cgroup::new(&lab.hierarchies, &lab.cgroup_root.join("helper"));
    group.create()?;
    let log_path = injection.state_dir.join("helper.log");
    let log = std::fs::File::create(&log_path).map_err(Error::io("create", &log_path))?;
    let mut child = Command::new(&lab.launcher.program)
        .args(&lab.launcher.prefix)
        .arg(role)
        .arg(injection.state_dir)
        .args(words)
        .stdin(Stdio::null())
        .stdout(Stdio::null())
        .stderr(log)
        .spawn()
        .map_err(Error::io("run", &lab.launcher.program))?;
    if let Some(process) = ProcessId::of(child.id().cast_signed()) {
        injection.undo_by(Undo::End { process })?;
    }
    let start = Instant::now();
    while !at_work() {
        let ended = !matches!(child.try_wait(), Ok(None));
        if ended || start.elapsed() > READY {
            let said = std::fs::read_to_string(&log_path).unwrap_or_default();
            return Err(Error::Unsupported {
                what: format!("fault {}", injection.fault.name()),
                why: format!("its helper said: {}", said.trim()),
            });
        }
        std::thread::sleep(Duration::from_millis(50));
    }
    // Collects the exit status when the helper is ended, so that no zombie stays.
    std::thread::spawn(move || child.wait());
    Ok(())
}

/// A helper joins the lab's cgroup, so that `down` finds it after a crash.
pub(crate) fn join(lab: &crate::state::Lab) -> Result<()> {
    let group = Cgroup::new(&lab.hierarchies, &lab.cgroup_root.join("helper"));
    let pid = std::process::id().to_string();
    for file in group.join_files() {
        std::fs::write(&file, &pid).map_err(Error::io("join", &file))?;
    }
    Ok(())
}
