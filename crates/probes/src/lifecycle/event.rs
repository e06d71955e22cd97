//! Events as user space sees them.

use super::skeleton::types::{event, event_kind};
use crate::{Pod, from_bytes};

// SAFETY: integers and arrays of them; the kind is a transparent integer.
unsafe impl Pod for event {}

/// A record as it lay in the ring.
pub(super) struct Raw {
    fixed: Option<event>,
    text: String,
}

impl Raw {
    pub(super) fn new(bytes: &[u8]) -> Self {
        let fixed = from_bytes::<event>(bytes);
        let rest = bytes.get(size_of::<event>()..).unwrap_or_default();
        let length = fixed.map_or(0, |e| e.text_length as usize).min(rest.len());
        Self { fixed, text: String::from_utf8_lossy(&rest[..length]).into_owned() }
    }
}

/// Something that happened to a process or cgroup.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Event {
    /// When, nanoseconds of the monotonic clock.
    pub at: u64,
    /// Cgroup id: where the process lives, or the cgroup that is made, removed or
    /// joined. 0 when the kernel did not tell.
    pub cgroup: u64,
    /// The process; `None` when a cgroup was made or removed.
    pub process: Option<Process>,
    /// What happened.
    pub kind: Kind,
}

/// A process (thread group).
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Process {
    /// Process id on the node.
    pub pid: u32,
    /// Process id in its own pid namespace.
    pub ns_pid: u32,
    /// How deep that namespace lies; 0 is the node's own.
    pub ns_level: u32,
    /// When it began, nanoseconds of the monotonic clock.
    pub started: u64,
    /// Short name of its leader.
    pub comm: String,
}

/// How a process ended.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Exit {
    /// Exit code; 0 when a signal ended it.
    pub code: u8,
    /// The signal that ended it, or 0.
    pub signal: u8,
    /// Whether it dumped core.
    pub core: bool,
    /// Whether its end is its container's end: process 1 of its pid namespace, or
    /// the first of its cgroup.
    pub main: bool,
}

/// Who sent a signal.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Sender {
    /// Process id on the node.
    pub pid: u32,
    /// Its cgroup id.
    pub cgroup: u64,
    /// Its short name.
    pub comm: String,
}

/// What happened.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Kind {
    /// A program was executed.
    Exec {
        /// Process id of the parent.
        parent: u32,
        /// Path as it was given to `execve`.
        path: String,
    },
    /// A process ended, with its last thread.
    Exit(Exit),
    /// The out-of-memory killer chose it.
    OomKill,
    /// A signal was queued for it that will end it.
    Signal {
        /// Signal number.
        number: u8,
        /// `si_code`: positive when the kernel sent it (a fault, the OOM killer).
        code: i32,
        /// Who sent it; `None` for the kernel.
        sender: Option<Sender>,
    },
    /// A cgroup was made; its path in the unified hierarchy.
    CgroupMade {
        /// `/kubepods/...`
        path: String,
    },
    /// A cgroup was removed.
    CgroupRemoved {
        /// `/kubepods/...`
        path: String,
    },
    /// A process was moved into the cgroup.
    CgroupJoined {
        /// `/kubepods/...`
        path: String,
        /// Whether it began there alone; see [`Exit::main`].
        first: bool,
    },
}

/// An event, and what only the tracking of main processes needs.
pub(super) struct Decoded {
    pub(super) event: Event,
    /// Exit: whether other tasks share its cgroups.
    pub(super) others: bool,
}

impl Event {
    /// Reads a record; `None` when it is too short or of an unknown kind.
    pub(super) fn decode(raw: &Raw) -> Option<Decoded> {
        let e = raw.fixed?;
        let text = || raw.text.clone();
        let kind = match e.kind {
            event_kind::EVENT_EXEC => Kind::Exec { parent: e.parent, path: text() },
            event_kind::EVENT_EXIT => Kind::Exit(Exit::of_status(e.status)),
            event_kind::EVENT_OOM_KILL => Kind::OomKill,
            event_kind::EVENT_SIGNAL => {
                Kind::Signal { number: e.status as u8, code: e.code, sender: sender(&e) }
            }
            event_kind::EVENT_CGROUP_MADE => Kind::CgroupMade { path: text() },
            event_kind::EVENT_CGROUP_REMOVED => Kind::CgroupRemoved { path: text() },
            event_kind::EVENT_CGROUP_JOINED => Kind::CgroupJoined { path: text(), first: false },
            _ => return None,
        };
        let process = (e.pid != 0).then(|| Process {
            pid: e.pid,
            ns_pid: e.ns_pid,
            ns_level: e.level,
            started: e.started,
            comm: name(&e.comm),
        });
        let event = Self { at: e.at, cgroup: e.cgroup, process, kind };
        Some(Decoded { event, others: e.others != 0 })
    }
}

impl Exit {
    /// Reads a status as `wait(2)` gives it.
    fn of_status(status: u32) -> Self {
        let signal = (status & 0x7f) as u8;
        Self {
            code: if signal == 0 { (status >> 8) as u8 } else { 0 },
            signal,
            core: status & 0x80 != 0,
            main: false,
        }
    }
}

fn sender(e: &event) -> Option<Sender> {
    (e.parent != 0).then(|| Sender {
        pid: e.parent,
        cgroup: e.sender_cgroup,
        comm: name(&e.sender_comm),
    })
}

/// A kernel `comm`: bytes up to the first zero.
fn name(comm: &[i8; 16]) -> String {
    let bytes: Vec<u8> = comm.iter().map(|c| c.cast_unsigned()).take_while(|c| *c != 0).collect();
    String::from_utf8_lossy(&bytes).into_owned()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::as_bytes;

    fn record(kind: event_kind, status: u32, text: &str) -> Vec<u8> {
        let mut e = from_bytes::<event>(&[0; size_of::<event>()]).expect("long enough");
        (e.kind, e.status, e.pid, e.cgroup) = (kind, status, 42, 7);
        e.text_length = text.len() as u32;
        e.comm[..2].copy_from_slice(&[115, 104]);
        [as_bytes(&e), text.as_bytes()].concat()
    }

    fn decode(bytes: &[u8]) -> Option<Event> {
        Event::decode(&Raw::new(bytes)).map(|d| d.event)
    }

    #[test]
    fn reads_the_ends_of_processes_as_wait_does() {
        let exit = |status| Exit::of_status(status);
        assert_eq!(exit(3 << 8), Exit { code: 3, ..Exit::default() });
        assert_eq!(exit(9), Exit { signal: 9, ..Exit::default() });
        assert_eq!(exit(0x8b), Exit { signal: 11, core: true, ..Exit::default() });
    }

    #[test]
    fn reads_text_as_long_as_it_is() {
        let event = decode(&record(event_kind::EVENT_EXEC, 0, "/bin/sh")).expect("an event");
        assert_eq!(event.kind, Kind::Exec { parent: 0, path: "/bin/sh".into() });
        let process = event.process.expect("a process");
        assert_eq!((process.pid, process.comm.as_str()), (42, "sh"));
    }

    #[test]
    fn a_cut_or_unknown_record_is_no_event() {
        let whole = record(event_kind::EVENT_CGROUP_MADE, 0, "/a/b");
        assert_eq!(decode(&whole[..20]), None);
        assert_eq!(decode(&record(event_kind(99), 0, "")), None);
        // A text cut short is read as far as it goes.
        let event = decode(&whole[..whole.len() - 2]).expect("an event");
        assert_eq!(event.kind, Kind::CgroupMade { path: "/a".into() });
    }

    #[test]
    fn the_kernel_is_no_sender() {
        let event = decode(&record(event_kind::EVENT_SIGNAL, 11, "")).expect("an event");
        assert_eq!(event.kind, Kind::Signal { number: 11, code: 0, sender: None });
    }
}
