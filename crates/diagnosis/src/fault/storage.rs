//! Resource family, disks, and the node as a whole.

use super::{Case, Class, Finding, Leaf};
use crate::scene::{Scene, Windows};
use crate::stats::grade;
use crate::units::{self, was};
use taproot_model::{Entity, EntityKind, SyscallFailure, metric};

/// Seconds a second of waiting for a disk that is slow.
const WAITS: f64 = 0.2;
/// The same without a past to compare with.
const WAITS_AT_ALL: f64 = 0.5;
/// Seconds a second of waiting for memory in which a node is in trouble.
const SHORT: f64 = 0.2;
/// Refused calls that are more than a hiccup.
const ENOUGH: u64 = 3;
/// Calls whose errors are a disk's: those that make, write and flush files.
const FILE_CALLS: [&str; 16] = [
    "write",
    "pwrite64",
    "writev",
    "pwritev",
    "openat",
    "creat",
    "fsync",
    "fdatasync",
    "fallocate",
    "mkdirat",
    "mkdir",
    "renameat2",
    "rename",
    "ftruncate",
    "msync",
    "sync_file_range",
];
/// Reasons of cluster events by which a node says that it is short of something.
const SHORT_OF: [&str; 5] = [
    "NodeHasDiskPressure",
    "NodeHasInsufficientMemory",
    "NodeHasInsufficientPID",
    "SystemOOM",
    "EvictionThresholdMet",
];

pub(super) fn find(scene: &Scene<'_>, out: &mut Vec<Finding>) {
    for entity in scene.workloads() {
        out.extend(disk_slow(scene, entity));
        out.extend(disk_full(scene, entity));
        out.extend(disk_fault(scene, entity));
    }
    for node in scene.entities.values().filter(|e| e.kind == EntityKind::Node) {
        out.extend(node_pressure(scene, node));
    }
}

fn disk_slow(scene: &Scene<'_>, entity: &Entity) -> Option<Finding> {
    let windows = scene.trouble?;
    let (id, name) = (&entity.id, entity.instance());
    let wait = scene.compare(id, metric::PRESSURE_TIME, "resource=io.some", &windows)?;
    let least = if wait.before.is_some() { WAITS } else { WAITS_AT_ALL };
    if wait.during < least || !wait.grew(2.0) || wait.added() < WAITS / 2.0 {
        return None;
    }
    let mut case = Case::new(Class::DiskSlow, scene.place(id));
    case.during(scene, &windows);
    let text = format!(
        "{name} stood still {} of every second waiting for a disk{}",
        units::time(wait.during),
        was(wait.before, units::time)
    );
    let strength = 0.4 + 0.35 * grade(wait.during, WAITS, 0.8);
    let values = scene.rates(id, metric::PRESSURE_TIME, "resource=io.some");
    let leaf = Leaf::new(metric::PRESSURE_TIME, wait.during, strength, text);
    case.leaf(leaf.before(wait.before).series(values));
    memory_or_disk(scene, &mut case, entity, &windows, wait.during);
    if let Some(queue) = scene.rate(id, metric::CPU_RUNQUEUE_TIME, "", windows.during) {
        let text = format!("{name} waits only {} a second for a CPU", units::time(queue));
        if queue < wait.during / 2.0 {
            case.rule_out(Class::NoisyNeighbour, text);
        } else {
            case.doubt(0.4);
        }
    }
    Some(
        case.close(format!(
            "{name} waits for its disk {} of every second",
            units::time(wait.during)
        )),
    )
}

/// Who is short of memory reads again what was thrown out: then the disk is an effect.
fn memory_or_disk(scene: &Scene<'_>, case: &mut Case, entity: &Entity, w: &Windows, io: f64) {
    let memory = scene.rate(&entity.id, metric::PRESSURE_TIME, "resource=memory.some", w.during);
    let Some(memory) = memory else { return };
    if memory >= io / 2.0 {
        case.doubt(0.5);
    } else {
        let name = entity.instance();
        let text = format!("{name} waits {} a second for memory", units::time(memory));
        case.rule_out(Class::MemoryPressure, text);
    }
}

/// Failed calls on files with one of the errors.
fn refused<'s>(
    scene: &'s Scene<'_>,
    entity: &'s Entity,
    errnos: &'s [&str],
) -> impl Iterator<Item = &'s SyscallFailure> {
    scene.happenings.failures.iter().filter(move |f| {
        f.entity == entity.id && errnos.contains(&&*f.errno) && FILE_CALLS.contains(&&*f.syscall)
    })
}

fn told(case: &mut Case, signal: &'static str, failures: &[&SyscallFailure], words: &str) {
    let n: u64 = failures.iter().map(|f| f.count).sum();
    let first = failures.first();
    let call = first.map_or_else(String::new, |f| f.syscall.to_string());
    case.since(first.map(|f| f.at));
    let strength = 0.7 + 0.2 * grade(n as f64, 2.0, 30.0);
    let text = format!("{words} {n} times ({call})");
    case.leaf(Leaf::new(signal, n as f64, strength, text));
}

fn disk_full(scene: &Scene<'_>, entity: &Entity) -> Option<Finding> {
    let failures: Vec<_> = refused(scene, entity, &["ENOSPC", "EDQUOT"]).collect();
    let n: u64 = failures.iter().map(|f| f.count).sum();
    if n < ENOUGH {
        return None;
    }
    let name = entity.instance();
    let mut case = Case::new(Class::DiskFull, scene.place(&entity.id));
    let quota = failures.iter().any(|f| &*f.errno == "EDQUOT");
    let what = if quota { "its quota is used up" } else { "no space is left" };
    let words = format!("the kernel refused {name} to write: {what},");
    told(&mut case, "syscall_failure.errno=ENOSPC", &failures, &words);
    let text = "writes fail at once, they are not slow".to_owned();
    case.rule_out(Class::DiskSlow, text);
    Some(case.close(format!("the disk of {name} is full: {n} writes failed")))
}

fn disk_fault(scene: &Scene<'_>, entity: &Entity) -> Option<Finding> {
    let failures: Vec<_> = refused(scene, entity, &["EROFS", "EIO"]).collect();
    let n: u64 = failures.iter().map(|f| f.count).sum();
    if n < ENOUGH {
        return None;
    }
    let name = entity.instance();
    let read_only = failures.iter().any(|f| &*f.errno == "EROFS");
    let mut case = Case::new(Class::DiskFault, scene.place(&entity.id));
    let what = if read_only { "the file system is read-only" } else { "the device failed" };
    let words = format!("the kernel refused {name} to write: {what},");
    let signal =
        if read_only { "syscall_failure.errno=EROFS" } else { "syscall_failure.errno=EIO" };
    told(&mut case, signal, &failures, &words);
    case.rule_out(Class::DiskFull, "space is not what is missing".to_owned());
    let headline = if read_only {
        format!("{name} cannot write: its file system is read-only")
    } else {
        format!("the disk of {name} fails: {n} calls ended with an error of the device")
    };
    Some(case.close(headline))
}

fn node_pressure(scene: &Scene<'_>, node: &Entity) -> Option<Finding> {
    let windows = scene.trouble?;
    let name = &node.node;
    let mut case = Case::new(Class::NodePressure, scene.place(&node.id));
    case.during(scene, &windows);
    let mut known = false;
    let some = "resource=memory.some";
    let wait = scene.compare(&node.id, metric::PRESSURE_TIME, some, &windows);
    if let Some(wait) = wait.filter(|w| w.during >= SHORT && w.grew(2.0)) {
        known = true;
        let text = format!(
            "tasks of {name} stood still {} of every second for want of memory{}",
            units::time(wait.during),
            was(wait.before, units::time)
        );
        let strength = 0.45 + 0.35 * grade(wait.during, SHORT, 0.8);
        let leaf = Leaf::new(metric::PRESSURE_TIME, wait.during, strength, text);
        let values = scene.rates(&node.id, metric::PRESSURE_TIME, some);
        case.leaf(leaf.before(wait.before).series(values));
    }
    let mut events = scene.happenings.cluster.iter().filter(|e| {
        e.entity == node.id && SHORT_OF.contains(&&*e.reason) && windows.during.to >= e.at
    });
    if let Some(event) = events.next_back() {
        known = true;
        let text = format!("the cluster says of {name} at {}: {}", event.at, event.message);
        case.leaf(Leaf::new("cluster_event.reason", 1.0, 0.6, text));
    }
    if !known {
        return None;
    }
    let cpu = scene.rate(&node.id, metric::NODE_CPU_TIME, "", windows.during);
    if let Some((busy, all)) = cpu.zip(scene.last(&node.id, metric::NODE_CPUS)) {
        let text = format!("{} of {} CPUs are busy", units::number(busy), units::number(all));
        case.rule_out(Class::NoisyNeighbour, text);
    }
    Some(case.close(format!(
        "{name} as a whole is short of memory or disk: all that runs there suffers"
    )))
}
