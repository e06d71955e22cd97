//! System calls that fail for want of something, by cgroup, call and errno.
//!
//! Blind spots: a non-blocking `connect` fails later, without a system call that
//! returns the error (the flow collector sees it), and so does `io_uring`.

use std::collections::HashMap;

use libbpf_rs::{Link, MapCore};

use super::Lost;
use super::counters::{LostCounters, gained};
use super::syscalls::{syscall_name, syscall_number};
use crate::maps::entries;
use crate::{Error, Pod, Result, as_bytes, attach_all, load_tolerant};

mod skeleton {
    #![allow(warnings, clippy::all, clippy::pedantic, reason = "generated")]
    include!(concat!(env!("OUT_DIR"), "/failures.skel.rs"));
}

use skeleton::types::{failure, failure_key};

// SAFETY: integers without padding.
unsafe impl Pod for failure_key {}
// SAFETY: integers without padding.
unsafe impl Pod for failure {}

/// Names of `enum failure_lost`, in its order.
const LOST: &[&str] = &["failures_full"];

/// Kinds of failure that did not occur for this many readings make room for others.
const QUIET_READINGS: u32 = 600;

/// Sorts of calls, as in `failures.h`.
const PLAIN: u8 = 1;
const FORK: u8 = 2;
const CONNECT: u8 = 4;
const WAIT: u8 = 8;

/// Any call that does not fail with this error as a matter of course.
const ANY: u8 = PLAIN | FORK | CONNECT;

/// Errors that are counted: number, name, for which sorts of call.
const ERRORS: &[(u8, &str, u8)] = &[
    (1, "EPERM", CONNECT),
    (5, "EIO", ANY),
    (11, "EAGAIN", FORK),
    (12, "ENOMEM", ANY | WAIT),
    (13, "EACCES", CONNECT),
    (22, "EINVAL", CONNECT),
    (23, "ENFILE", ANY),
    (24, "EMFILE", ANY),
    (27, "EFBIG", ANY),
    (28, "ENOSPC", ANY),
    (30, "EROFS", ANY),
    (32, "EPIPE", ANY),
    (90, "EMSGSIZE", ANY),
    (98, "EADDRINUSE", ANY),
    (99, "EADDRNOTAVAIL", ANY),
    (100, "ENETDOWN", ANY),
    (101, "ENETUNREACH", ANY),
    (103, "ECONNABORTED", ANY),
    (104, "ECONNRESET", ANY),
    (105, "ENOBUFS", ANY),
    (110, "ETIMEDOUT", ANY),
    (111, "ECONNREFUSED", ANY),
    (112, "EHOSTDOWN", ANY),
    (113, "EHOSTUNREACH", ANY),
    (122, "EDQUOT", ANY),
];

/// Calls that are not [`PLAIN`].
const SORTS: &[(&str, u8)] = &[
    ("clone", FORK),
    ("clone3", FORK),
    ("fork", FORK),
    ("vfork", FORK),
    ("connect", CONNECT),
    ("bind", CONNECT),
    ("sendto", CONNECT),
    ("sendmsg", CONNECT),
    ("sendmmsg", CONNECT),
    ("futex", WAIT),
    ("futex_wait", WAIT),
    ("futex_waitv", WAIT),
    ("rt_sigtimedwait", WAIT),
    ("semtimedop", WAIT),
    ("mq_timedreceive", WAIT),
    ("mq_timedsend", WAIT),
];

/// The name of an error that this collector counts (`EMFILE`).
pub fn errno_name(number: u32) -> Option<&'static str> {
    ERRORS.iter().find(|e| u32::from(e.0) == number).map(|e| e.1)
}

/// One kind of failure of one cgroup.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Failure {
    /// Cgroup id.
    pub cgroup: u64,
    /// Name of the call (`accept4`); `other` for calls of the 32-bit table.
    pub syscall: &'static str,
    /// Name of the error (`EMFILE`).
    pub errno: &'static str,
    /// How often since the last reading.
    pub count: u64,
    /// When it occurred for the first time ever, monotonic nanoseconds.
    pub first: u64,
    /// When it occurred last, monotonic nanoseconds.
    pub last: u64,
    /// Process that it occurred to last.
    pub pid: u32,
}

#[derive(Default)]
struct Known {
    total: u64,
    taken: u64,
    first: u64,
    last: u64,
    pid: u32,
    quiet: u32,
}

/// The collector of failing system calls.
pub struct Failures {
    _links: Vec<Link>,
    skel: skeleton::FailuresSkel<'static>,
    known: HashMap<(u64, u32, u32), Known>,
    lost: LostCounters,
}

impl Failures {
    /// Loads and attaches, node-wide. What it costs every system call of the node
    /// is in `docs/decisions/0006-failing-syscalls.md`.
    ///
    /// # Errors
    /// When the kernel refuses the program (no `tp_btf`).
    pub fn start() -> Result<Self> {
        let (skel, _) = load_tolerant(
            "failures",
            &["on_sys_exit"],
            skeleton::FailuresSkelBuilder::default,
            |open| {
                let data = open.maps.rodata_data.as_mut().ok_or_else(|| {
                    Error::Invalid("the failures program has no read-only data".into())
                })?;
                fill_tables(&mut data.wanted, &mut data.sort_of);
                Ok(())
            },
        )?;
        let attached = attach_all(&skel, &[]);
        if let Some(off) = attached.off.into_iter().next() {
            return Err(Error::NothingLoads { collector: "failures", why: off.why });
        }
        let lost = LostCounters::new(LOST);
        Ok(Self { _links: attached.links, skel, known: HashMap::new(), lost })
    }

    /// Failures since the last reading; kinds that did not occur are left out.
    pub fn read(&mut self) -> Result<Vec<Failure>> {
        self.refresh()?;
        let mut found = Vec::new();
        let mut stale = Vec::new();
        for (&key, known) in &mut self.known {
            let count = gained(known.total, known.taken);
            known.taken = known.total;
            known.quiet = if count == 0 { known.quiet + 1 } else { 0 };
            if count > 0 {
                found.push(failure_of(key, known, count));
            } else if known.quiet > QUIET_READINGS {
                stale.push(key);
            }
        }
        for (cgroup, call, error) in stale {
            self.known.remove(&(cgroup, call, error));
            // Gone already is as good.
            let _ = self.skel.maps.failures.delete(as_bytes(&failure_key { cgroup, call, error }));
        }
        Ok(found)
    }

    /// The last failures of a cgroup, newest first, at most `limit`, with their
    /// totals: what a process did before it died. Does not disturb [`Self::read`].
    pub fn last_of(&mut self, cgroup: u64, limit: usize) -> Result<Vec<Failure>> {
        self.refresh()?;
        let mut found: Vec<Failure> = self
            .known
            .iter()
            .filter(|((owner, ..), _)| *owner == cgroup)
            .map(|(&key, known)| failure_of(key, known, known.total))
            .collect();
        found.sort_by_key(|f| std::cmp::Reverse(f.last));
        found.truncate(limit);
        Ok(found)
    }

    /// What could not be counted since the last call.
    pub fn lost(&mut self) -> Result<Vec<Lost>> {
        self.lost.read(&self.skel.maps.failures_lost)
    }

    fn refresh(&mut self) -> Result<()> {
        let all = entries::<failure_key, failure>(&self.skel.maps.failures)?;
        for (key, value) in all {
            let known = self.known.entry((key.cgroup, key.call, key.error)).or_default();
            known.total = value.count;
            known.first = value.first;
            known.last = value.last;
            known.pid = value.pid;
        }
        Ok(())
    }
}

fn failure_of((cgroup, call, error): (u64, u32, u32), known: &Known, count: u64) -> Failure {
    Failure {
        cgroup,
        syscall: syscall_name(call).unwrap_or("other"),
        errno: errno_name(error).unwrap_or("unknown"),
        count,
        first: known.first,
        last: known.last,
        pid: known.pid,
    }
}

/// Writes the kernel's tables: errors that count, and the sort of each call.
fn fill_tables(wanted: &mut [u8], sort_of: &mut [u8]) {
    for &(number, _, sorts) in ERRORS {
        wanted[usize::from(number)] = sorts;
    }
    sort_of.fill(PLAIN);
    for &(name, sort) in SORTS {
        if let Some(slot) = syscall_number(name).and_then(|n| sort_of.get_mut(n as usize)) {
            *slot = sort;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn counted(call: &str, errno: &str) -> bool {
        let (mut wanted, mut sort_of) = ([0; 256], [0; 512]);
        fill_tables(&mut wanted, &mut sort_of);
        let number = ERRORS.iter().find(|e| e.1 == errno).expect("known error").0;
        let call = syscall_number(call).expect("known call") as usize;
        wanted[usize::from(number)] & sort_of[call] != 0
    }

    #[test]
    fn daily_bread_is_not_counted() {
        assert!(!counted("read", "EAGAIN"));
        assert!(!counted("futex", "ETIMEDOUT"));
        assert!(!counted("openat", "EINVAL"));
        assert!(!counted("kill", "EPERM"));
    }

    #[test]
    fn want_is_counted() {
        for (call, errno) in [
            ("accept4", "EMFILE"),
            ("openat", "ENFILE"),
            ("clone3", "EAGAIN"),
            ("connect", "EINVAL"),
            ("connect", "EADDRNOTAVAIL"),
            ("read", "ETIMEDOUT"),
            ("sendto", "EPERM"),
            ("mmap", "ENOMEM"),
        ] {
            assert!(counted(call, errno), "{call} {errno}");
        }
    }

    #[test]
    fn tables_name_only_calls_that_exist() {
        for (name, _) in SORTS {
            assert!(syscall_number(name).is_some(), "{name}");
        }
        assert_eq!(errno_name(24), Some("EMFILE"));
        assert_eq!(errno_name(2), None);
    }

    #[test]
    fn sorts_are_those_of_the_header() {
        let header = include_str!("failures.h");
        for (name, value) in
            [("PLAIN", PLAIN), ("FORK", FORK), ("CONNECT", CONNECT), ("WAIT", WAIT)]
        {
            assert!(header.contains(&format!("#define CALL_{name} {value}")), "{name}");
        }
    }
}
