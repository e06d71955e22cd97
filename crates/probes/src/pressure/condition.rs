//! Processes that do not run, by what keeps them from it.

use std::fs;
use std::path::Path;

/// Processes looked at in one reading: each costs one small file.
const MOST: usize = 256;

/// How many processes of a group do not run.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Conditions {
    /// Stopped by a signal, held by a tracer, or frozen with their control group.
    pub stopped: u64,
    /// In a wait that no signal ends, most often for a device.
    pub uninterruptible: u64,
}

impl Conditions {
    /// Reads the state of `pids` (at most 256 of them), and whether their control group,
    /// a directory of the unified hierarchy, is frozen. Processes that are gone do not count.
    pub fn read(pids: &[u32], group: Option<&Path>) -> Self {
        let frozen = group.is_some_and(|dir| {
            fs::read_to_string(dir.join("cgroup.events")).is_ok_and(|text| is_frozen(&text))
        });
        let mut out = Self::default();
        for pid in pids.iter().take(MOST) {
            let Ok(stat) = fs::read_to_string(format!("/proc/{pid}/stat")) else { continue };
            match state(&stat) {
                Some('T' | 't') => out.stopped += 1,
                Some(_) if frozen => out.stopped += 1,
                Some('D') => out.uninterruptible += 1,
                _ => {}
            }
        }
        out
    }
}

/// The state in a `/proc/<pid>/stat`: the field behind the name, which may hold anything.
fn state(stat: &str) -> Option<char> {
    stat.rsplit_once(')')?.1.trim_start().chars().next()
}

/// Whether a `cgroup.events` says that the group is frozen.
fn is_frozen(events: &str) -> bool {
    events.lines().any(|line| line == "frozen 1")
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::process::{Command, Stdio};

    /// What `condition` of the child becomes within some seconds.
    fn until(pid: u32, wanted: Conditions) -> Conditions {
        for _ in 0..500 {
            if Conditions::read(&[pid], None) == wanted {
                break;
            }
            std::thread::sleep(std::time::Duration::from_millis(10));
        }
        Conditions::read(&[pid], None)
    }

    #[test]
    fn a_stopped_process_is_counted_until_it_goes_on() {
        let mut child = Command::new("sleep").arg("60").stdout(Stdio::null()).spawn().unwrap();
        let pid = child.id();
        let told = |signal| {
            let child = rustix::process::Pid::from_raw(pid.cast_signed()).expect("a process id");
            rustix::process::kill_process(child, signal).expect("our own child");
        };
        let stopped = Conditions { stopped: 1, uninterruptible: 0 };
        told(rustix::process::Signal::STOP);
        let seen = until(pid, stopped);
        told(rustix::process::Signal::CONT);
        let after = until(pid, Conditions::default());
        let (ended, waited) = (child.kill(), child.wait());
        assert!(ended.is_ok() && waited.is_ok());
        assert_eq!((seen, after), (stopped, Conditions::default()));
        assert_eq!(Conditions::read(&[pid], None), Conditions::default(), "it is gone");
    }

    #[test]
    fn a_name_may_look_like_a_state() {
        assert_eq!(state("7 (a) T (b) S 1 7"), Some('S'));
        assert_eq!(state("no name"), None);
        assert!(is_frozen("populated 1\nfrozen 1\n") && !is_frozen("populated 1\nfrozen 0\n"));
    }
}
