//! Beginnings and ends of processes as signals, and the crash black box: what a
//! container did last, kept for the moment it dies.

use taproot_model::{Entity, ErrnoCount, Exit, Lifecycle, LifecycleKind, Signal};
use taproot_probes::lifecycle::{Event, Kind, Process};

use crate::clock::Clock;
use crate::names::Names;

/// What is known of a container when it ends.
#[derive(Default)]
pub(crate) struct BlackBox {
    pub(crate) last_failures: Vec<ErrnoCount>,
    pub(crate) fds: Option<(u64, u64)>,
    pub(crate) memory: Option<(u64, u64)>,
    pub(crate) last_words: Vec<String>,
}

/// Failing calls told with an end.
pub(crate) const LAST_FAILURES: usize = 8;

/// Tells the resolver what an event means for names. Comes before everything else:
/// a pod may live for a second only.
pub(crate) fn learn(event: &Event, names: &Names, clock: Clock) {
    let at = clock.at(event.at);
    match &event.kind {
        Kind::CgroupMade { path } => names.resolver.on_cgroup_mkdir(path, event.cgroup, at),
        Kind::CgroupRemoved { .. } => names.resolver.on_cgroup_rmdir(event.cgroup, at),
        Kind::Exec { .. } => {
            if let Some(process) = &event.process {
                names.resolver.on_exec(process.pid, event.cgroup, &process.comm, at);
            }
        }
        _ => {}
    }
}

/// The signal of an event, if its owner lies in the scope. `black_box` is asked
/// only for an end that is not an ordinary one.
pub(crate) fn signal(
    event: &Event,
    names: &mut Names,
    clock: Clock,
    black_box: impl FnOnce(&Entity) -> BlackBox,
    out: &mut Vec<Signal>,
) {
    let Some(process) = &event.process else { return };
    let Some(owner) = names.inside(event.cgroup) else { return };
    let Some(mut told) = lifecycle(event, process, names, clock) else { return };
    names.tell(&owner, out);
    told.entity = owner.id.clone();
    if told.main && abnormal(&told) || told.kind == LifecycleKind::OomKill {
        let kept = black_box(&owner);
        told.last_failures = kept.last_failures;
        told.fds = kept.fds;
        told.memory = kept.memory;
        told.last_words = kept.last_words;
    }
    out.push(Signal::Lifecycle(Box::new(told)));
}

fn abnormal(told: &Lifecycle) -> bool {
    told.exit.is_some_and(|exit| exit.code != 0 || exit.signal != 0)
}

fn lifecycle(event: &Event, process: &Process, names: &Names, clock: Clock) -> Option<Lifecycle> {
    let mut told = Lifecycle {
        at: clock.at(event.at),
        entity: taproot_model::Name::default(),
        kind: LifecycleKind::Exec,
        pid: process.pid,
        comm: process.comm.as_str().into(),
        main: false,
        exit: None,
        signal: 0,
        sender: None,
        last_failures: Vec::new(),
        fds: None,
        memory: None,
        last_words: Vec::new(),
    };
    match &event.kind {
        Kind::Exec { .. } => {}
        Kind::Exit(exit) => {
            told.kind = LifecycleKind::Exit;
            told.main = exit.main;
            told.signal = exit.signal;
            told.exit = Some(Exit { code: exit.code, signal: exit.signal, core: exit.core });
        }
        Kind::OomKill => {
            told.kind = LifecycleKind::OomKill;
            told.signal = 9;
        }
        Kind::Signal { number, sender, .. } => {
            told.kind = LifecycleKind::Signal;
            told.signal = *number;
            told.sender =
                sender.as_ref().map(|s| names.resolver.resolve_cgroup(s.cgroup).id.clone());
        }
        Kind::CgroupMade { .. } | Kind::CgroupRemoved { .. } | Kind::CgroupJoined { .. } => {
            return None;
        }
    }
    Some(told)
}
