//! What belongs to the node and to no cgroup.

use std::fs;

use super::cgroup::Stalls;
use super::counters::gained;
use super::fd::NodeFiles;
use crate::{Error, Result};

/// Nanoseconds per tick of `/proc/stat`: `USER_HZ` is 100 on every architecture
/// that Linux still supports.
const TICK: u64 = 10_000_000;

/// Counters of the node since it started, and levels.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct NodeCounters {
    /// CPUs online.
    pub cpus: u64,
    /// CPU time not idle, nanoseconds.
    pub busy: u64,
    /// CPU time that the hypervisor gave to others, nanoseconds.
    pub stolen: u64,
    /// Packets the network backlog dropped.
    pub softnet_drops: u64,
    /// Times the network backlog ran out of its budget.
    pub softnet_squeezed: u64,
    /// Open files (a level).
    pub files: NodeFiles,
    /// Stall times (PSI); empty where the kernel has none.
    pub stalls: Stalls,
}

impl NodeCounters {
    /// Reads `/proc/stat`, `/proc/net/softnet_stat`, `file-nr` and `/proc/pressure`.
    pub fn read() -> Result<Self> {
        let (cpus, busy, stolen) = cpu(&text("/proc/stat")?)
            .ok_or_else(|| Error::Invalid("/proc/stat: no line \"cpu\"".into()))?;
        let (softnet_drops, softnet_squeezed) = softnet(&text("/proc/net/softnet_stat")?);
        let files = NodeFiles::read()?;
        let stalls = Stalls::read(|resource| format!("/proc/pressure/{resource}").into())?;
        Ok(Self { cpus, busy, stolen, softnet_drops, softnet_squeezed, files, stalls })
    }

    /// What was added since an earlier reading; levels stay levels.
    #[must_use]
    pub fn since(self, before: Self) -> Self {
        Self {
            busy: gained(self.busy, before.busy),
            stolen: gained(self.stolen, before.stolen),
            softnet_drops: gained(self.softnet_drops, before.softnet_drops),
            softnet_squeezed: gained(self.softnet_squeezed, before.softnet_squeezed),
            stalls: self.stalls.since(before.stalls),
            ..self
        }
    }
}

fn text(file: &str) -> Result<String> {
    fs::read_to_string(file).map_err(Error::io(format!("reading {file}")))
}

/// CPUs, busy and stolen nanoseconds in `/proc/stat`.
fn cpu(stat: &str) -> Option<(u64, u64, u64)> {
    let all = stat.lines().find_map(|line| line.strip_prefix("cpu "))?;
    let ticks: Vec<u64> = all.split_whitespace().filter_map(|v| v.parse().ok()).collect();
    // user nice system idle iowait irq softirq steal; guest time is part of user.
    let [user, nice, system, _, _, irq, softirq, steal, ..] = ticks[..] else { return None };
    let cpus = stat.lines().filter(|l| l.starts_with("cpu") && !l.starts_with("cpu ")).count();
    Some((cpus as u64, (user + nice + system + irq + softirq) * TICK, steal * TICK))
}

/// Dropped and squeezed, summed over the CPUs' hexadecimal lines.
fn softnet(text: &str) -> (u64, u64) {
    let column = |line: &str, index: usize| {
        let word = line.split_whitespace().nth(index)?;
        u64::from_str_radix(word, 16).ok()
    };
    let sum = |index| text.lines().filter_map(|line| column(line, index)).sum();
    (sum(1), sum(2))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn busy_is_all_but_idle_waiting_and_stolen() {
        let stat = "cpu  100 1 20 5000 30 4 5 7 60 0\ncpu0 50 0 10 2500 15 2 2 3 30 0\n\
                    cpu1 50 1 10 2500 15 2 3 4 30 0\nintr 5\n";
        assert_eq!(cpu(stat), Some((2, 130 * TICK, 7 * TICK)));
        assert_eq!(cpu("intr 5\n"), None);
    }

    #[test]
    fn softnet_is_hexadecimal_and_per_cpu() {
        let text = "0000000f 00000002 0000000a 00000000\n00003bdc 00000010 00000001 00000000\n";
        assert_eq!(softnet(text), (18, 11));
        assert_eq!(softnet(""), (0, 0));
    }

    #[test]
    fn reads_this_node() {
        let first = NodeCounters::read().expect("every Linux");
        assert!(first.cpus > 0 && first.busy > 0);
        let delta = NodeCounters::read().expect("every Linux").since(first);
        assert!(delta.busy < first.busy.max(TICK * 100));
        assert_eq!(delta.cpus, first.cpus);
    }
}
