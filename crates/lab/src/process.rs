//! Processes by pid and start time, so that a recycled pid is never killed.

use std::fs;
use std::time::{Duration, Instant};

use rustix::process::{Pid, Signal, kill_process};
use serde::{Deserialize, Serialize};

/// A process that cannot be mistaken for a later one with the same pid.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct ProcessId {
    /// Process id in the machine's own pid namespace.
    pub pid: i32,
    /// Start time in clock ticks since boot (field 22 of `/proc/<pid>/stat`).
    pub start_ticks: u64,
}

impl ProcessId {
    /// Looks up a live process.
    pub fn of(pid: i32) -> Option<Self> {
        let stat = fs::read_to_string(format!("/proc/{pid}/stat")).ok()?;
        Some(Self { pid, start_ticks: start_ticks(&stat)? })
    }

    /// True while exactly this process exists and is not a zombie.
    pub fn is_alive(self) -> bool {
        let Ok(stat) = fs::read_to_string(format!("/proc/{}/stat", self.pid)) else {
            return false;
        };
        start_ticks(&stat) == Some(self.start_ticks) && state(&stat) != Some('Z')
    }

    /// CPU time it has used so far, to the tick; none once it is gone.
    pub(crate) fn cpu_time(self) -> Option<Duration> {
        let stat = fs::read_to_string(format!("/proc/{}/stat", self.pid)).ok()?;
        let ticks = cpu_ticks(&stat).filter(|_| start_ticks(&stat) == Some(self.start_ticks))?;
        Some(Duration::from_secs(ticks) / rustix::param::clock_ticks_per_second() as u32)
    }

    /// Sends a signal if this very process still runs.
    pub fn signal(self, signal: Signal) {
        if self.is_alive() {
            send(self.pid, signal);
        }
    }

    /// Waits until the process is gone; false when `limit` passed first.
    pub fn wait_gone(self, limit: Duration) -> bool {
        let end = Instant::now() + limit;
        while self.is_alive() {
            if Instant::now() >= end {
                return false;
            }
            std::thread::sleep(Duration::from_millis(20));
        }
        true
    }
}

/// Sends a signal to a pid; a process that is gone already is not an error.
pub(crate) fn send(pid: i32, signal: Signal) {
    if let Some(pid) = Pid::from_raw(pid) {
        // The only failure possible for root is that the process ended first.
        let _ = kill_process(pid, signal);
    }
}

/// Fields after the command name, which may itself hold spaces and brackets.
fn after_name(stat: &str) -> impl Iterator<Item = &str> {
    stat.rsplit_once(')').map_or("", |(_, rest)| rest).split_ascii_whitespace()
}

fn start_ticks(stat: &str) -> Option<u64> {
    after_name(stat).nth(19)?.parse().ok()
}

/// In user and in kernel mode, all threads together.
fn cpu_ticks(stat: &str) -> Option<u64> {
    let mut fields = after_name(stat).skip(11);
    Some(fields.next()?.parse::<u64>().ok()? + fields.next()?.parse::<u64>().ok()?)
}

fn state(stat: &str) -> Option<char> {
    after_name(stat).next()?.chars().next()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn start_time_is_found_behind_an_awkward_name() {
        let stat = "42 (a) b) c) S 1 42 42 0 -1 4194560 1 0 0 0 1 2 0 0 20 0 1 0 98765 0 0";
        assert_eq!(start_ticks(stat), Some(98765));
        assert_eq!(cpu_ticks(stat), Some(3));
        assert_eq!(state(stat), Some('S'));
    }

    #[test]
    fn a_recycled_pid_is_not_alive() {
        let me = ProcessId::of(std::process::id().cast_signed()).expect("own process");
        assert!(me.is_alive());
        assert!(!ProcessId { start_ticks: me.start_ticks + 1, ..me }.is_alive());
    }
}
