//! Which process of a cgroup is its main one: when it ends, the container ends.
//!
//! Process 1 of a pid namespace is. Elsewhere (shared pid namespaces, systemd
//! units, plain cgroups) it is the first process that executed a program inside
//! the cgroup, or, when none did, the first that was moved in. Runtimes move a
//! helper in first, which ends as soon as the real process lives: a process that
//! was only moved in and leaves others behind is not the main one.

use std::collections::{HashMap, VecDeque};
use std::fs;
use std::os::unix::fs::MetadataExt;
use std::path::Path;

use super::event::{Decoded, Event, Kind, Process};

/// Ends and kills remembered, to tell repetitions and fill in what is missing.
const REMEMBERED: usize = 64;

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Main {
    /// Moved in; nobody has executed a program there yet.
    Joined(u32),
    /// Executed a program there.
    Executed(u32),
    /// Has ended; what is left are others.
    Ended,
}

impl Main {
    fn is(self, pid: u32) -> bool {
        matches!(self, Self::Joined(p) | Self::Executed(p) if p == pid)
    }
}

/// Follows the main processes of all cgroups.
#[derive(Debug, Default)]
pub(super) struct Mains {
    of: HashMap<u64, Main>,
    /// The last processes that ended: pid and start.
    ended: VecDeque<(u32, u64)>,
    /// The last processes that were sent a fatal signal: their cgroup and themselves.
    signalled: VecDeque<(u64, Process)>,
}

impl Mains {
    /// Takes the oldest process of every cgroup below a mount point as its main one.
    pub(super) fn scan(unified: &Path) -> Self {
        let mut mains = Self::default();
        let mut left = vec![unified.to_owned()];
        while let Some(dir) = left.pop() {
            // A cgroup that goes while we look needs no main process.
            let (Ok(meta), Ok(entries)) = (fs::metadata(&dir), fs::read_dir(&dir)) else {
                continue;
            };
            let dirs = entries.flatten().filter(|e| e.file_type().is_ok_and(|t| t.is_dir()));
            left.extend(dirs.map(|e| e.path()));
            let pids = fs::read_to_string(dir.join("cgroup.procs")).unwrap_or_default();
            let oldest = pids
                .lines()
                .filter_map(|pid| pid.parse().ok())
                .min_by_key(|pid| started(*pid).unwrap_or(u64::MAX));
            if let Some(pid) = oldest {
                // The inode of a cgroup's directory is the cgroup's id.
                mains.of.insert(meta.ino(), Main::Executed(pid));
            }
        }
        mains
    }

    /// Takes note of an event and completes it; `None` when it repeats another.
    pub(super) fn follow(&mut self, decoded: Decoded) -> Option<Event> {
        let Decoded { mut event, others } = decoded;
        let pid = event.process.as_ref().map_or(0, |p| p.pid);
        match &mut event.kind {
            Kind::CgroupMade { .. } | Kind::CgroupRemoved { .. } => {
                self.of.remove(&event.cgroup);
            }
            Kind::CgroupJoined { first, .. } => *first = self.joined(event.cgroup, pid),
            Kind::Exec { .. } => self.executed(event.cgroup, pid),
            Kind::Exit(exit) => {
                let process = event.process.as_ref()?;
                if !self.is_new_end(process) {
                    return None;
                }
                exit.main = self.ends(event.cgroup, process, others);
            }
            Kind::Signal { .. } => {
                let process = event.process.clone()?;
                remember(&mut self.signalled, (event.cgroup, process));
            }
            Kind::OomKill => self.fill_in(&mut event),
        }
        Some(event)
    }

    fn joined(&mut self, cgroup: u64, pid: u32) -> bool {
        // A process that is moved away is no longer the main one where it was.
        self.of.retain(|id, main| *id == cgroup || *main != Main::Joined(pid));
        match self.of.get(&cgroup) {
            None | Some(Main::Ended) => {
                self.of.insert(cgroup, Main::Joined(pid));
                true
            }
            Some(_) => false,
        }
    }

    fn executed(&mut self, cgroup: u64, pid: u32) {
        if matches!(self.of.get(&cgroup), None | Some(Main::Joined(_))) {
            self.of.insert(cgroup, Main::Executed(pid));
        }
    }

    /// Whether a process that ends is the main one of its container.
    fn ends(&mut self, cgroup: u64, process: &Process, others: bool) -> bool {
        let main = self.of.get(&cgroup).copied();
        let first = main.is_some_and(|main| main.is(process.pid));
        let helper = others && main == Some(Main::Joined(process.pid));
        if first {
            self.of.insert(cgroup, Main::Ended);
        }
        (first && !helper) || (process.ns_level > 0 && process.ns_pid == 1)
    }

    /// The kernel may report the end of a process twice when its last two threads
    /// end at once.
    fn is_new_end(&mut self, process: &Process) -> bool {
        let key = (process.pid, process.started);
        let new = !self.ended.contains(&key);
        remember(&mut self.ended, key);
        new
    }

    /// Kernels before 6.9 name the victim of the OOM killer by pid alone; its cgroup
    /// and name are those of the SIGKILL that was sent just before.
    fn fill_in(&self, event: &mut Event) {
        let Some(process) = &mut event.process else { return };
        if event.cgroup != 0 {
            return;
        }
        if let Some((cgroup, known)) = self.signalled.iter().rev().find(|s| s.1.pid == process.pid)
        {
            event.cgroup = *cgroup;
            *process = known.clone();
        }
    }
}

fn remember<T>(last: &mut VecDeque<T>, item: T) {
    if last.len() == REMEMBERED {
        last.pop_front();
    }
    last.push_back(item);
}

/// When a process started, in clock ticks since the node did: field 22 of its
/// `stat`, counted after the name, which may hold anything.
fn started(pid: u32) -> Option<u64> {
    let stat = fs::read_to_string(format!("/proc/{pid}/stat")).ok()?;
    stat.rsplit_once(')')?.1.split_whitespace().nth(19)?.parse().ok()
}

#[cfg(test)]
mod tests {
    use super::super::event::Exit;
    use super::*;

    const GROUP: u64 = 77;

    fn event(pid: u32, kind: Kind) -> Decoded {
        let process = Process { pid, ns_pid: pid, ns_level: 0, started: 1, comm: "x".into() };
        let event = Event { at: 0, cgroup: GROUP, process: Some(process), kind };
        Decoded { event, others: false }
    }

    fn joined() -> Kind {
        Kind::CgroupJoined { path: "/g".into(), first: false }
    }

    fn exec() -> Kind {
        Kind::Exec { parent: 1, path: "/bin/x".into() }
    }

    fn main_ends(mains: &mut Mains, mut end: Decoded, others: bool) -> bool {
        end.others = others;
        match mains.follow(end).expect("not a repetition").kind {
            Kind::Exit(exit) => exit.main,
            other => panic!("{other:?} is no exit"),
        }
    }

    fn exit(pid: u32) -> Decoded {
        event(pid, Kind::Exit(Exit::default()))
    }

    #[test]
    fn the_first_to_execute_is_the_main_process() {
        let mut mains = Mains::default();
        for (pid, kind) in [(10, joined()), (11, exec()), (12, exec())] {
            mains.follow(event(pid, kind));
        }
        assert!(!main_ends(&mut mains, exit(12), true));
        assert!(!main_ends(&mut mains, exit(10), true));
        assert!(main_ends(&mut mains, exit(11), false));
    }

    #[test]
    fn a_runtime_helper_that_leaves_others_is_not() {
        let mut mains = Mains::default();
        mains.follow(event(10, joined()));
        assert!(!main_ends(&mut mains, exit(10), true));
    }

    #[test]
    fn without_any_exec_the_first_moved_in_is() {
        let mut mains = Mains::default();
        mains.follow(event(10, joined()));
        mains.follow(event(11, joined()));
        assert!(main_ends(&mut mains, exit(10), false));
        assert!(!main_ends(&mut mains, exit(11), false));
    }

    #[test]
    fn process_one_of_a_namespace_always_is() {
        let mut mains = Mains::default();
        let mut end = exit(500);
        let process = end.event.process.as_mut().expect("set");
        (process.ns_pid, process.ns_level) = (1, 1);
        assert!(main_ends(&mut mains, end, true));
    }

    #[test]
    fn an_end_is_told_once() {
        let mut mains = Mains::default();
        assert!(mains.follow(exit(10)).is_some());
        assert!(mains.follow(exit(10)).is_none());
        let mut reused = exit(10);
        reused.event.process.as_mut().expect("set").started = 2;
        assert!(mains.follow(reused).is_some());
    }

    #[test]
    fn an_oom_victim_known_by_pid_gets_its_cgroup_from_the_signal() {
        let mut mains = Mains::default();
        mains.follow(event(10, Kind::Signal { number: 9, code: 128, sender: None }));
        let mut kill = event(10, Kind::OomKill);
        kill.event.cgroup = 0;
        let kill = mains.follow(kill).expect("an event");
        assert_eq!(kill.cgroup, GROUP);
    }

    #[test]
    fn a_removed_cgroup_is_forgotten() {
        let mut mains = Mains::default();
        mains.follow(event(10, exec()));
        mains.follow(event(0, Kind::CgroupRemoved { path: "/g".into() }));
        assert!(!main_ends(&mut mains, exit(10), false));
    }

    #[test]
    fn knows_when_a_process_started() {
        assert!(started(std::process::id()).is_some_and(|ticks| ticks > 0));
        assert_eq!(started(u32::MAX), None);
    }
}
