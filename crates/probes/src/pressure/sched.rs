//! Who waited for a CPU, how long, and who ran instead. The kernel side and the
//! reasoning are in `sched.bpf.c`.

use std::collections::HashMap;
use std::os::fd::{AsFd, BorrowedFd};

use libbpf_rs::{Link, MapCore, MapFlags};

use super::Lost;
use super::counters::{LostCounters, gained};
use crate::maps::entries;
use crate::{Error, Pod, Result, as_bytes, attach_all, from_bytes, load_tolerant};

mod skeleton {
    #![allow(warnings, clippy::all, clippy::pedantic, reason = "generated")]
    include!(concat!(env!("OUT_DIR"), "/sched.skel.rs"));
}

use skeleton::types::wait_key;

// SAFETY: two integers.
unsafe impl Pod for wait_key {}

/// Names of `enum sched_lost`, in its order.
const LOST: &[&str] = &["matrix_full_ns", "throttle_note_full", "migrated_wait_forgotten"];

/// Cells that did not change for this many readings make room for others.
const QUIET_READINGS: u32 = 120;

/// First of the `WHO_` values in `sched.h`; they count down from it.
const WHO_FIRST: u64 = u64::MAX;

/// Who had the CPU while a task waited for it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Culprit {
    /// Tasks of another cgroup, by id.
    Cgroup(u64),
    /// Other tasks of the same cgroup: it has more to do than its CPUs can take.
    Own,
    /// Kernel threads.
    Kernel,
    /// Its own CPU quota (or that of a cgroup above) was used up.
    Throttled,
    /// Nobody: the CPU was idle for long although the task has no quota. It was
    /// placed badly, or the CPU itself was stopped (by a hypervisor).
    Idle,
    /// Nobody: the idle CPU needed this long (under 1 ms) to wake up.
    Waking,
    /// Not told: the kernel accounts the wait, but no switch to the task was seen.
    /// It was moved to another CPU before it ran, or (rarely, on busy machines) the
    /// tracepoint did not fire.
    Migrated,
    /// Somebody, longer ago than the CPU's history reaches.
    Unknown,
}

impl Culprit {
    /// Reads the kernel's encoding.
    fn decode(victim: u64, culprit: u64) -> Self {
        match WHO_FIRST - culprit {
            0 => Self::Idle,
            1 => Self::Kernel,
            2 => Self::Throttled,
            3 => Self::Migrated,
            4 => Self::Unknown,
            5 => Self::Waking,
            _ if culprit == victim => Self::Own,
            _ => Self::Cgroup(culprit),
        }
    }

    /// Whether the time counts as run-queue wait: the task could have run, had the
    /// CPU been free. Stops by the own quota and wake-ups of idle CPUs do not.
    pub fn is_queueing(self) -> bool {
        !matches!(self, Self::Throttled | Self::Idle | Self::Waking)
    }
}

/// Time that tasks of one cgroup waited while somebody else had the CPU.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Wait {
    /// Who waited: cgroup id.
    pub victim: u64,
    /// Who ran.
    pub culprit: Culprit,
    /// How long since the last reading, nanoseconds, summed over the waiting tasks.
    pub ns: u64,
}

struct Cell {
    sum: u64,
    quiet: u32,
}

/// The scheduler collector.
pub struct Sched {
    _links: Vec<Link>,
    skel: skeleton::SchedSkel<'static>,
    cells: HashMap<(u64, u64), Cell>,
    lost: LostCounters,
}

impl Sched {
    /// Loads and attaches. With `only_watched`, waits are accounted for the cgroups
    /// named by [`Self::watch`] alone (anybody can be the culprit); without, for all.
    ///
    /// # Errors
    /// When the kernel refuses the program: it lacks `tp_btf`, `CONFIG_SCHED_INFO`
    /// or `CONFIG_FAIR_GROUP_SCHED`.
    pub fn start(only_watched: bool) -> Result<Self> {
        let (skel, _) =
            load_tolerant("sched", &["on_switch"], skeleton::SchedSkelBuilder::default, |open| {
                let data = open.maps.rodata_data.as_mut().ok_or_else(|| {
                    Error::Invalid("the scheduler program has no read-only data".into())
                })?;
                data.only_watched = only_watched;
                Ok(())
            })?;
        let attached = attach_all(&skel, &[]);
        if let Some(off) = attached.off.into_iter().next() {
            return Err(Error::NothingLoads { collector: "sched", why: off.why });
        }
        let lost = LostCounters::new(LOST);
        Ok(Self { _links: attached.links, skel, cells: HashMap::new(), lost })
    }

    /// The map in which the waits of single threads are kept, for whoever watches some.
    pub(crate) fn threads(&self) -> BorrowedFd<'_> {
        self.skel.maps.threads.as_fd()
    }

    /// Adds a cgroup to those whose waits are accounted.
    pub fn watch(&self, cgroup: u64) -> Result<()> {
        let watched = &self.skel.maps.watched;
        watched
            .update(as_bytes(&cgroup), &[1], MapFlags::ANY)
            .map_err(Error::bpf(format!("watching cgroup {cgroup}")))
    }

    /// Takes a cgroup out again; one that is not watched is no error.
    pub fn unwatch(&self, cgroup: u64) {
        // The only failure is that the key is not there, which is what was asked for.
        let _ = self.skel.maps.watched.delete(as_bytes(&cgroup));
    }

    /// What was waited since the last reading. A wait is accounted when it ends:
    /// a task that starves shows up once it runs.
    pub fn read(&mut self) -> Result<Vec<Wait>> {
        let mut waits = Vec::new();
        let mut stale = Vec::new();
        for (key, sum) in entries::<wait_key, u64>(&self.skel.maps.waits)? {
            let id = (key.victim, key.culprit);
            let cell = self.cells.entry(id).or_insert(Cell { sum: 0, quiet: 0 });
            let ns = gained(sum, cell.sum);
            cell.sum = sum;
            cell.quiet = if ns == 0 { cell.quiet + 1 } else { 0 };
            if cell.quiet > QUIET_READINGS {
                stale.push(id);
            }
            waits.extend(wait(id, ns));
        }
        for id in stale {
            waits.extend(self.forget(id)?);
        }
        Ok(waits)
    }

    /// Removes a cell, with what it gained until this moment.
    fn forget(&mut self, id: (u64, u64)) -> Result<Option<Wait>> {
        let key = wait_key { victim: id.0, culprit: id.1 };
        let last = self
            .skel
            .maps
            .waits
            .lookup_and_delete(as_bytes(&key))
            .map_err(Error::bpf("removing a cell of the waiting matrix"))?;
        let before = self.cells.remove(&id).map_or(0, |cell| cell.sum);
        let sum = last.as_deref().and_then(from_bytes::<u64>).unwrap_or(before);
        Ok(wait(id, gained(sum, before)))
    }

    /// What could not be accounted since the last call.
    pub fn lost(&mut self) -> Result<Vec<Lost>> {
        self.lost.read(&self.skel.maps.lost)
    }
}

fn wait((victim, culprit): (u64, u64), ns: u64) -> Option<Wait> {
    (ns > 0).then(|| Wait { victim, culprit: Culprit::decode(victim, culprit), ns })
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Value of a `#define NAME (~0ULL - n)` in the shared header.
    fn who(name: &str) -> u64 {
        let header = include_str!("sched.h");
        let line = header
            .lines()
            .find(|l| l.split_whitespace().nth(1) == Some(name))
            .unwrap_or_else(|| panic!("{name} is not in sched.h"));
        let down = line.split("~0ULL - ").nth(1).and_then(|rest| rest.split(')').next());
        WHO_FIRST - down.map_or(0, |n| n.parse::<u64>().expect("a number"))
    }

    #[test]
    fn decodes_what_the_header_defines() {
        for (name, culprit) in [
            ("WHO_IDLE", Culprit::Idle),
            ("WHO_KERNEL", Culprit::Kernel),
            ("WHO_THROTTLED", Culprit::Throttled),
            ("WHO_MIGRATED", Culprit::Migrated),
            ("WHO_UNKNOWN", Culprit::Unknown),
            ("WHO_WAKING", Culprit::Waking),
        ] {
            assert_eq!(Culprit::decode(7, who(name)), culprit, "{name}");
        }
    }

    #[test]
    fn own_is_not_a_neighbour() {
        assert_eq!(Culprit::decode(7, 7), Culprit::Own);
        assert_eq!(Culprit::decode(7, 8), Culprit::Cgroup(8));
        assert!(Culprit::Cgroup(8).is_queueing());
        assert!(!Culprit::Throttled.is_queueing());
    }

    #[test]
    fn every_loss_has_a_name() {
        let reasons = include_str!("sched.h").matches("\tSCHED_LOST_").count() - 1;
        assert_eq!(LOST.len(), reasons);
    }
}
