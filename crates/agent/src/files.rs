//! What the kernel's files say about each container and the node, as metrics.

use std::collections::HashMap;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::mpsc::{Sender, channel};

use taproot_kube::cgroup::Layout;
use taproot_model::{Entity, EntityId, Metric, MetricKind, Signal, Timestamp, metric};
use taproot_probes::pressure::{
    self, CgroupPaths, CgroupReader, CgroupReading, Conditions, Conntrack, NetnsCounters,
    NodeCounters, Stalls,
};

use crate::changes;
use crate::error::{Error, Result};

/// The level of figures of a pod's own group.
const POD: &str = "level=pod";

/// Kinds of open files are counted on one interval in so many: it reads a link per file.
const KINDS_EVERY: u64 = 5;

/// Collects metrics of one interval, all of one time.
pub(crate) struct Sheet<'a> {
    pub(crate) at: Timestamp,
    pub(crate) interval: u64,
    pub(crate) out: &'a mut Vec<Signal>,
}

impl Sheet<'_> {
    fn put(&mut self, id: &EntityId, name: &str, attribute: &str, kind: MetricKind, value: f64) {
        let interval = if kind == MetricKind::Delta { self.interval } else { 0 };
        self.out.push(Signal::Metric(Metric {
            at: self.at,
            interval,
            entity: id.clone(),
            name: name.into(),
            attribute: attribute.into(),
            kind,
            value,
        }));
    }

    fn gauge(&mut self, id: &EntityId, name: &str, value: f64) {
        self.put(id, name, "", MetricKind::Gauge, value);
    }

    fn delta(&mut self, id: &EntityId, name: &str, value: f64) {
        self.put(id, name, "", MetricKind::Delta, value);
    }

    fn nanos(&mut self, id: &EntityId, name: &str, attribute: &str, ns: Option<u64>) {
        if let Some(ns) = ns {
            self.put(id, name, attribute, MetricKind::Delta, ns as f64 / 1e9);
        }
    }

    fn count(&mut self, id: &EntityId, name: &str, attribute: &str, count: Option<u64>) {
        if let Some(count) = count {
            self.put(id, name, attribute, MetricKind::Delta, count as f64);
        }
    }

    fn stalls(&mut self, id: &EntityId, stalls: &Stalls) {
        let all = [("cpu", stalls.cpu), ("memory", stalls.memory), ("io", stalls.io)];
        for (resource, stall) in all {
            let Some(stall) = stall else { continue };
            let name = metric::PRESSURE_TIME;
            self.nanos(id, name, &format!("resource={resource}.some"), Some(stall.some));
            self.nanos(id, name, &format!("resource={resource}.full"), stall.full);
        }
    }
}

/// One followed container.
pub(crate) struct Followed {
    pub(crate) entity: Arc<Entity>,
    paths: CgroupPaths,
    container: CgroupReader,
    pod: Option<CgroupReader>,
    netns: Option<NetnsCounters>,
    ticks: u64,
    fresh: bool,
    /// Open files and their limit at the last look.
    pub(crate) fds: Option<(u64, u64)>,
    /// Memory and its limit at the last look.
    pub(crate) memory: Option<(u64, u64)>,
    /// Its network namespace, and a process in it.
    pub(crate) namespace: Option<(u64, u32)>,
    /// When it was read first.
    pub(crate) since: Option<Timestamp>,
    limits: Option<Limits>,
}

/// The limits of a container: CPUs, bytes, processes.
#[derive(Clone, Copy, Debug, PartialEq)]
struct Limits {
    cpu: Option<f64>,
    memory: Option<u64>,
    pids: Option<u64>,
}

impl Limits {
    fn of(reading: &CgroupReading) -> Self {
        Self {
            cpu: reading.cpu.limit,
            memory: reading.memory.as_ref().and_then(|memory| memory.limit),
            pids: reading.pids.as_ref().and_then(|pids| pids.limit),
        }
    }

    fn tell(self, before: Self, owner: &Entity, sheet: &mut Sheet<'_>) {
        let cpus = |l: Self| l.cpu.map(|cpus| format!("{} CPU", (cpus * 1e3).round() / 1e3));
        let bytes = |l: Self| l.memory.map(|bytes| format!("{bytes} bytes"));
        let pids = |l: Self| l.pids.map(|pids| format!("{pids} processes"));
        let all = [
            ("CPU", (cpus(before), cpus(self))),
            ("memory", (bytes(before), bytes(self))),
            ("processes", (pids(before), pids(self))),
        ];
        let at = sheet.at;
        sheet
            .out
            .extend(all.into_iter().filter_map(|(w, both)| changes::limit(at, owner, w, both)));
    }
}

impl Followed {
    pub(crate) fn new(entity: Arc<Entity>, layout: &Layout, fresh: bool) -> Self {
        let paths = paths(layout, entity.cgroup_path.as_str());
        let in_pod = !entity.pod_uid.is_empty();
        Self {
            container: if fresh {
                CgroupReader::fresh(paths.clone())
            } else {
                CgroupReader::existing(paths.clone())
            },
            pod: in_pod.then(|| CgroupReader::existing(paths.parent())),
            entity,
            paths,
            netns: None,
            ticks: 0,
            fresh,
            fds: None,
            memory: None,
            namespace: None,
            since: None,
            limits: None,
        }
    }

    /// Whether it was seen to begin.
    pub(crate) fn is_fresh(&self) -> bool {
        self.fresh
    }

    /// Its processes.
    pub(crate) fn pids(&self) -> Vec<u32> {
        let paths = [&self.paths.unified, &self.paths.pids, &self.paths.cpu];
        paths
            .into_iter()
            .flatten()
            .map(|dir| pids_of(dir))
            .find(|p| !p.is_empty())
            .unwrap_or_default()
    }

    /// Reads everything once; `false` when the container is gone.
    pub(crate) fn read(&mut self, sheet: &mut Sheet<'_>) -> bool {
        self.ticks += 1;
        self.since.get_or_insert(sheet.at);
        match self.container.read() {
            Ok(Some(reading)) => self.resources(&reading, sheet),
            Ok(None) => return false,
            Err(error) => tracing::debug!(container = %self.entity.id, %error, "cgroup files"),
        }
        if let Some(Ok(Some(pod))) = self.pod.as_mut().map(CgroupReader::read) {
            let id = &self.entity.id;
            sheet.nanos(id, metric::CPU_THROTTLED_TIME, POD, pod.cpu.throttled);
            sheet.count(id, metric::CPU_PERIODS, POD, pod.cpu.periods);
            sheet.count(id, metric::CPU_THROTTLED_PERIODS, POD, pod.cpu.throttled_periods);
        }
        let pids = self.pids();
        self.find_namespace(&pids);
        self.conditions(&pids, sheet);
        self.files(&pids, sheet);
        self.network(pids.first().copied(), sheet);
        true
    }

    fn resources(&mut self, reading: &CgroupReading, sheet: &mut Sheet<'_>) {
        let id = &self.entity.id;
        let cpu = &reading.cpu;
        sheet.nanos(id, metric::CPU_TIME, "", cpu.usage);
        sheet.nanos(id, metric::CPU_THROTTLED_TIME, "level=container", cpu.throttled);
        sheet.count(id, metric::CPU_PERIODS, "", cpu.periods);
        sheet.count(id, metric::CPU_THROTTLED_PERIODS, "", cpu.throttled_periods);
        if let Some(limit) = cpu.limit {
            sheet.gauge(id, metric::CPU_LIMIT, limit);
        }
        if let Some(memory) = &reading.memory {
            self.memory = memory.limit.map(|limit| (memory.working_set, limit));
            sheet.gauge(id, metric::MEMORY_USAGE, memory.working_set as f64);
            if let Some(limit) = memory.limit {
                sheet.gauge(id, metric::MEMORY_LIMIT, limit as f64);
            }
            sheet.delta(id, metric::MEMORY_FAILURES, memory.limit_hits.unwrap_or(0) as f64);
            sheet.delta(id, metric::OOM_KILLS, memory.oom_kills.unwrap_or(0) as f64);
        }
        if let Some(pids) = &reading.pids {
            sheet.gauge(id, metric::PIDS, pids.count as f64);
            if let Some(limit) = pids.limit {
                sheet.gauge(id, metric::PIDS_LIMIT, limit as f64);
            }
        }
        sheet.stalls(id, &reading.stalls);
        let limits = Limits::of(reading);
        // What is written while a container is being made is no change.
        if let Some(before) = self.limits.replace(limits).filter(|_| self.ticks > 2) {
            limits.tell(before, &self.entity, sheet);
        }
    }

    /// The network namespace. Looked up anew each time: what starts a container joins its
    /// group first and its namespaces later, with the same process.
    fn find_namespace(&mut self, pids: &[u32]) {
        let of =
            |pid: &u32| Some((taproot_kube::netns::of_pid(Path::new("/proc"), *pid).ok()?, *pid));
        self.namespace = pids.iter().find_map(of);
    }

    fn conditions(&self, pids: &[u32], sheet: &mut Sheet<'_>) {
        let found = Conditions::read(pids, self.paths.unified.as_deref());
        let all = [("stopped", found.stopped), ("uninterruptible", found.uninterruptible)];
        for (condition, count) in all {
            let attribute = format!("condition={condition}");
            let id = &self.entity.id;
            sheet.put(id, metric::PROCESSES, &attribute, MetricKind::Gauge, count as f64);
        }
    }

    fn files(&mut self, pids: &[u32], sheet: &mut Sheet<'_>) {
        let share =
            |count: u64, limit: Option<u64>| limit.map_or(0.0, |l| count as f64 / l.max(1) as f64);
        let closest = pids
            .iter()
            .filter_map(|&pid| {
                Some((pid, pressure::fd_count(pid).ok()?, pressure::fd_limit(pid).ok()?))
            })
            .max_by(|a, b| share(a.1, a.2).total_cmp(&share(b.1, b.2)));
        let Some((pid, count, limit)) = closest else { return };
        let id = &self.entity.id;
        self.fds = limit.map(|limit| (count, limit));
        sheet.gauge(id, metric::FD_COUNT, count as f64);
        if let Some(limit) = limit {
            sheet.gauge(id, metric::FD_LIMIT, limit as f64);
        }
        if self.ticks % KINDS_EVERY != 1 {
            return;
        }
        for (kind, count) in pressure::fd_kinds(pid).map(|(kinds, _)| kinds).unwrap_or_default() {
            let attribute = format!("kind={}", kind.name());
            sheet.put(id, metric::FD_KIND, &attribute, MetricKind::Gauge, count as f64);
        }
    }

    /// Counters of the network namespace, read through one of its processes.
    fn network(&mut self, pid: Option<u32>, sheet: &mut Sheet<'_>) {
        let Some(now) = pid.and_then(|pid| NetnsCounters::read(pid).ok()) else { return };
        let before = self.netns.replace(now).unwrap_or(now);
        network(&self.entity.id, &now.since(before), sheet);
    }
}

fn network(id: &EntityId, delta: &NetnsCounters, sheet: &mut Sheet<'_>) {
    sheet.delta(id, metric::RP_FILTER_DROPS, delta.rp_filter as f64);
    sheet.delta(id, metric::NO_ROUTES, delta.no_routes as f64);
    sheet.delta(id, metric::UDP_BUFFER_DROPS, delta.udp_buffer_drops as f64);
    sheet.delta(id, metric::ZERO_WINDOWS, delta.zero_windows as f64);
    sheet.delta(id, metric::SYN_QUEUE_FULL, delta.syn_queue_full as f64);
    sheet.delta(id, metric::CHECKSUM_ERRORS, delta.checksum_errors as f64);
    if let Some(conntrack) = &delta.conntrack {
        table(id, conntrack, sheet);
    }
}

fn table(id: &EntityId, conntrack: &Conntrack, sheet: &mut Sheet<'_>) {
    sheet.gauge(id, metric::CONNTRACK_COUNT, conntrack.count as f64);
    sheet.delta(id, metric::CONNTRACK_DROPS, (conntrack.drops + conntrack.early_drops) as f64);
    if let Some(limit) = Conntrack::limit() {
        sheet.gauge(id, metric::CONNTRACK_LIMIT, limit as f64);
    }
}

fn pids_of(dir: &Path) -> Vec<u32> {
    let text = std::fs::read_to_string(dir.join("cgroup.procs")).unwrap_or_default();
    text.lines().filter_map(|line| line.parse().ok()).collect()
}

/// The node's own counters.
pub(crate) struct Node {
    before: Option<NodeCounters>,
    netns_before: Option<NetnsCounters>,
    /// A thread that lives in the node's network namespace; its `/proc/<tid>/net` is read.
    tenant: Option<Tenant>,
}

impl Node {
    /// `netns` is the node's network namespace where it is not this process' own.
    pub(crate) fn new(netns: Option<&Path>) -> Result<Self> {
        let tenant = netns.map(Tenant::move_in).transpose()?;
        Ok(Self { before: None, netns_before: None, tenant })
    }

    /// A process (or thread) inside the node's network namespace, where it is not ours.
    pub(crate) fn resident(&self) -> Option<u32> {
        self.tenant.as_ref().map(|tenant| tenant.tid)
    }

    pub(crate) fn read(&mut self, node: &Arc<Entity>, sheet: &mut Sheet<'_>) {
        if let Ok(now) = NodeCounters::read() {
            let delta = now.since(self.before.replace(now).unwrap_or(now));
            sheet.gauge(&node.id, metric::NODE_CPUS, delta.cpus as f64);
            sheet.nanos(&node.id, metric::NODE_CPU_TIME, "", Some(delta.busy));
            sheet.delta(&node.id, metric::SOFTNET_DROPS, delta.softnet_drops as f64);
            sheet.delta(&node.id, metric::SOFTNET_SQUEEZED, delta.softnet_squeezed as f64);
            sheet.stalls(&node.id, &delta.stalls);
        }
        let pid = self.tenant.as_ref().map_or_else(std::process::id, |t| t.tid);
        if let Ok(now) = NetnsCounters::read(pid) {
            let before = self.netns_before.replace(now).unwrap_or(now);
            network(&node.id, &now.since(before), sheet);
        }
    }
}

/// A parked thread inside another network namespace.
struct Tenant {
    tid: u32,
    /// Dropping it ends the thread.
    _leave: Sender<()>,
}

impl Tenant {
    fn move_in(path: &Path) -> Result<Self> {
        let failed = |source| Error::Netns { path: path.to_owned(), source };
        let netns = std::fs::File::open(path).map_err(failed)?;
        let (leave, stay) = channel::<()>();
        let (ready, arrived) = channel();
        std::thread::Builder::new()
            .name("node-netns".into())
            .spawn(move || {
                use rustix::thread::{LinkNameSpaceType, gettid, move_into_link_name_space};
                use std::os::fd::AsFd;
                let kind = Some(LinkNameSpaceType::Network);
                let moved = move_into_link_name_space(netns.as_fd(), kind);
                let _ = ready.send(moved.map(|()| gettid().as_raw_nonzero().get() as u32));
                // Returns with an error once the other end is dropped.
                let _ = stay.recv();
            })
            .map_err(failed)?;
        let tid = arrived
            .recv()
            .map_err(|_| failed(std::io::ErrorKind::BrokenPipe.into()))?
            .map_err(|errno| failed(errno.into()))?;
        Ok(Self { tid, _leave: leave })
    }
}

/// Where the figures of a group are. A controller that is in the unified tree has no
/// tree of its own: read as one of v1, what v1 calls otherwise would be missing.
fn paths(layout: &Layout, group: &str) -> CgroupPaths {
    let unified = layout.unified.as_ref().map(|root| root.join(group.trim_start_matches('/')));
    let at =
        |controller| layout.directory(controller, group).filter(|v1| Some(v1) != unified.as_ref());
    CgroupPaths {
        cpu: at("cpu"),
        cpuacct: at("cpuacct"),
        memory: at("memory"),
        pids: at("pids"),
        unified,
    }
}

/// The directory of a container's logs below the kubelet's log root.
pub(crate) fn log_dir(root: &Path, entity: &Entity) -> Option<PathBuf> {
    if entity.pod.is_empty() || entity.pod_uid.is_empty() || entity.container.is_empty() {
        return None;
    }
    let pod = format!("{}_{}_{}", entity.namespace, entity.pod, entity.pod_uid);
    Some(root.join(pod).join(entity.container.as_str()))
}

/// All followed containers, by control-group id.
pub(crate) type FollowedById = HashMap<u64, Followed>;

#[cfg(test)]
mod tests {
    use super::*;

    const V2: &str = "30 24 0:26 / /sys/fs/cgroup rw - cgroup2 cgroup2 rw\n";
    const V1: &str = "31 24 0:27 / /sys/fs/cgroup/cpu,cpuacct rw - cgroup cgroup rw,cpu,cpuacct\n";

    fn paths_of(mounts: &str, v2_controllers: &str) -> CgroupPaths {
        let layout = Layout::from_mountinfo(mounts, None, |_| v2_controllers.to_owned());
        paths(&layout.expect("a layout"), "/pod1/c1")
    }

    #[test]
    fn a_controller_of_the_unified_tree_is_not_read_as_one_of_v1() {
        let v2 = paths_of(V2, "cpu memory pids");
        assert_eq!(v2.unified, Some("/sys/fs/cgroup/pod1/c1".into()));
        assert_eq!((v2.cpu, v2.cpuacct, v2.memory, v2.pids), (None, None, None, None));
    }

    #[test]
    fn in_a_hybrid_layout_each_controller_is_read_where_it_is() {
        let hybrid = paths_of(&format!("{V2}{V1}"), "memory");
        assert_eq!(hybrid.cpu, Some("/sys/fs/cgroup/cpu,cpuacct/pod1/c1".into()));
        assert_eq!(hybrid.memory, None);
        let v1 = paths_of(V1, "");
        assert_eq!(
            (v1.unified, v1.cpuacct),
            (None, Some("/sys/fs/cgroup/cpu,cpuacct/pod1/c1".into()))
        );
    }
}
