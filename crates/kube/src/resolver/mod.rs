//! The one thing an agent asks.

mod nat;
mod options;
mod pids;
mod shared;
mod status;

pub use options::{HttpTarget, Options};
pub use status::{Counters, SourceState, SourceStatus};

pub(crate) use shared::{Job, Shared};

use crate::cgroup::{Layout, LayoutError, Membership, Owner, Tree};
use crate::directory::Directory;
use crate::facts::End;
use crate::objects::{EventFact, Service};
use crate::{netns, process, sources};
use shared::lock;
use std::collections::HashSet;
use std::net::IpAddr;
use std::sync::{Arc, PoisonError};
use std::time::{Duration, Instant};
use taproot_model::{Entity, Name, Timestamp};

/// At most one walk of the tree in this time for ids that nobody knows.
const WALK_PAUSE: Duration = Duration::from_millis(200);

/// How long the owner of a group told by its processes is believed.
const PLAIN_BELIEVED: Duration = Duration::from_secs(5);

/// Names the owners of control groups, processes and addresses.
///
/// Sources (container runtime, kubelet, API server, files, the kernel's own
/// trees) are read by threads of their own; a question never waits for one. What
/// is not known yet is answered with what is (a container's id), and once the
/// name comes in the entity appears in [`Resolver::drain_changes`]. When a source
/// is away, what it said before is still used.
pub struct Resolver {
    shared: Arc<Shared>,
}

impl Resolver {
    /// Starts the sources, after one walk of the control groups.
    pub fn start(options: Options) -> Self {
        let shared = Arc::new(Shared::new(options));
        walk(&shared);
        sources::start(&shared);
        Self { shared }
    }

    /// How control groups are arranged here, or why that could not be told.
    pub fn layout(&self) -> Result<&Layout, &LayoutError> {
        self.shared.layout.as_ref()
    }

    /// How every source does.
    pub fn status(&self) -> Vec<SourceStatus> {
        self.shared.statuses()
    }

    /// What could not be named, and why.
    pub fn counters(&self) -> Counters {
        self.shared.counters()
    }

    /// This node.
    pub fn node(&self) -> Arc<Entity> {
        self.shared.read().directory.node().clone()
    }

    /// Entities that are new or changed since the last call.
    pub fn drain_changes(&self) -> Vec<Arc<Entity>> {
        self.shared.write().directory.drain_changes()
    }

    /// What the cluster said happened here since the last call, with whom it happened to.
    pub fn drain_events(&self) -> Vec<(Arc<Entity>, EventFact)> {
        let state = self.shared.read();
        self.shared.drain_events(|fact| state.directory.subject(fact).cloned())
    }

    /// The owner of a control group, by the id that BPF reads
    /// (`bpf_get_current_cgroup_id()`).
    ///
    /// A group that is neither of a container nor of a unit is owned by the
    /// program whose processes are in it, or, when there are several and in the
    /// root group, by the node: then ask [`Resolver::resolve_pid`].
    pub fn resolve_cgroup(&self, id: u64) -> Arc<Entity> {
        if let Some(owner) = self.shared.read().directory.group(id) {
            return owner.clone();
        }
        if self.shared.read().tree.path(id).is_none() && !self.walk_for(id) {
            self.shared.count_unknown_group();
            return self.node();
        }
        let state = self.shared.read();
        match (state.directory.group(id), state.tree.path(id)) {
            (Some(owner), _) => owner.clone(),
            (None, path) => {
                let path = path.cloned().unwrap_or_default();
                drop(state);
                self.plain_group(id, &path)
            }
        }
    }

    /// The path of a control group of the v2 tree.
    pub fn cgroup_path(&self, id: u64) -> Option<Name> {
        self.shared.read().tree.path(id).cloned()
    }

    /// Ids of all control groups that are known now.
    pub fn cgroups(&self) -> Vec<u64> {
        self.shared.read().tree.ids().collect()
    }

    /// The id of the control group at a path of the v2 tree.
    pub fn cgroup_id(&self, path: &str) -> Option<u64> {
        self.shared.read().tree.id_of(path).ok()
    }

    /// The owner of a process: its container or unit, else the program itself.
    /// A process that is gone and was never seen belongs to the node.
    pub fn resolve_pid(&self, pid: u32) -> Arc<Entity> {
        let known = lock(&self.shared.pids).fresh(pid);
        if let Some(owner) = known {
            return self.as_known_now(owner);
        }
        let Some(owner) = owner_of(&self.shared, pid) else {
            let last = lock(&self.shared.pids).last(pid);
            return last.map_or_else(|| self.node(), |owner| self.as_known_now(owner));
        };
        lock(&self.shared.pids).learn(pid, owner.clone());
        owner
    }

    /// Who owned an address at a time. `netns` is the network namespace in which
    /// the address was seen, by inode (`net->ns.inum`) or by cookie if
    /// [`Resolver::learn_netns`] was told; it tells whose loopback it is.
    ///
    /// `None` when nobody known owned it: then it is an external address.
    pub fn resolve_addr(
        &self,
        netns: Option<u64>,
        ip: IpAddr,
        port: u16,
        at: Timestamp,
    ) -> Option<Arc<Entity>> {
        let ip = ip.to_canonical();
        let state = self.shared.read();
        if ip.is_loopback() || ip.is_unspecified() {
            let inode = self.inode(netns?);
            if Some(inode) == self.shared.node_netns {
                return Some(state.directory.here(port).clone());
            }
            return state.directory.netns(inode, port, at).cloned();
        }
        state.directory.address(ip, port, at).cloned()
    }

    /// The service with a virtual address and port, with its backends.
    pub fn service_for(&self, ip: IpAddr, port: u16) -> Option<Arc<Service>> {
        self.shared.read().directory.service(ip.to_canonical(), port).cloned()
    }

    /// All services of the cluster.
    pub fn services(&self) -> Vec<Arc<Service>> {
        self.shared.read().directory.services().all().to_vec()
    }

    /// The network namespace of a process, by inode.
    pub fn netns(&self, pid: u32) -> Option<u64> {
        netns::of_pid(&self.shared.options.proc_root, pid).ok()
    }

    /// Who owns a network namespace; `port` picks among the containers of a pod.
    pub fn resolve_netns(&self, netns: u64, port: u16, at: Timestamp) -> Option<Arc<Entity>> {
        self.shared.read().directory.netns(self.inode(netns), port, at).cloned()
    }

    /// Notes which namespace a netns cookie stands for.
    pub fn learn_netns(&self, cookie: u64, inode: u64) {
        // Told with every flow, new only once.
        if self.inode(cookie) != inode {
            let mut cookies = self.shared.cookies.write().unwrap_or_else(PoisonError::into_inner);
            cookies.insert(cookie, inode);
        }
    }

    /// The kernel made a control group (tracepoint `cgroup_mkdir`; only
    /// hierarchy 0, ids of v1 trees overlap with those of v2). The container is
    /// looked up at once: it may live for a moment only.
    pub fn on_cgroup_mkdir(&self, path: &str, id: u64, at: Timestamp) {
        let path = Name::from(path);
        {
            let mut state = self.shared.write();
            state.tree.insert(id, path.clone());
            state.directory.see_group(id, &path, Some(at));
        }
        if let Owner::Container(container) = Owner::of(&path) {
            self.shared.post(&Job::Container(container.id));
        }
    }

    /// The kernel removed a control group (tracepoint `cgroup_rmdir`).
    pub fn on_cgroup_rmdir(&self, id: u64, at: Timestamp) {
        let mut state = self.shared.write();
        if let Some(path) = state.tree.remove(id) {
            state.directory.lose_group(id, &path, End::At(at));
        }
    }

    /// A process began a program. Its owner is kept for events that are read
    /// after its end; a container's network is looked at while it has one.
    pub fn on_exec(&self, pid: u32, cgroup_id: u64, comm: &str, at: Timestamp) {
        let owner = self.shared.read().directory.group(cgroup_id).cloned();
        let owner =
            owner.unwrap_or_else(|| match Membership::of(&self.shared.options.proc_root, pid) {
                Ok(groups) => {
                    owner_in(&self.shared, &groups).unwrap_or_else(|| program(&self.shared, comm))
                }
                Err(_) => program(&self.shared, comm),
            });
        let container = owner.container_id.clone();
        lock(&self.shared.pids).learn(pid, owner);
        if !container.is_empty() && !self.shared.read().directory.has_network(&container) {
            self.shared.post(&Job::Network { container, pid, since: Some(at) });
        }
    }

    /// Reads the directory as it is now.
    pub fn with_directory<T>(&self, read: impl FnOnce(&Directory) -> T) -> T {
        read(&self.shared.read().directory)
    }

    /// An owner remembered from before, with what was learnt of it since.
    fn as_known_now(&self, owner: Arc<Entity>) -> Arc<Entity> {
        self.shared.read().directory.entity(&owner.id).cloned().unwrap_or(owner)
    }

    fn inode(&self, netns: u64) -> u64 {
        let cookies = self.shared.cookies.read().unwrap_or_else(PoisonError::into_inner);
        cookies.get(&netns).copied().unwrap_or(netns)
    }

    /// Looks for a group that no scan has seen; not more often than is cheap.
    fn walk_for(&self, id: u64) -> bool {
        let mut last = lock(&self.shared.last_walk);
        if last.is_some_and(|last| last.elapsed() < WALK_PAUSE) {
            return false;
        }
        walk(&self.shared);
        *last = Some(Instant::now());
        self.shared.read().tree.path(id).is_some()
    }

    /// The owner of a group that only its processes tell.
    fn plain_group(&self, id: u64, path: &str) -> Arc<Entity> {
        if path == "/" {
            return self.node();
        }
        if let Some((owner, since)) = lock(&self.shared.plain).get(&id)
            && since.elapsed() < PLAIN_BELIEVED
        {
            return owner.clone();
        }
        let owner = self
            .only_program(path)
            .map_or_else(|| self.node(), |comm| program(&self.shared, &comm));
        let mut plain = lock(&self.shared.plain);
        plain.retain(|_, (_, since)| since.elapsed() < PLAIN_BELIEVED);
        plain.insert(id, (owner.clone(), Instant::now()));
        owner
    }

    /// The name of all processes in a group, if it is one name.
    fn only_program(&self, path: &str) -> Option<Name> {
        let root = self.shared.layout.as_ref().ok()?.tree()?;
        let proc_root = &self.shared.options.proc_root;
        let pids = process::of_group(&root.join(path.trim_start_matches('/')));
        let comms: HashSet<Name> =
            pids.iter().filter_map(|pid| process::comm(proc_root, *pid).ok()).collect();
        if comms.len() == 1 { comms.into_iter().next() } else { None }
    }
}

impl Drop for Resolver {
    fn drop(&mut self) {
        self.shared.stop();
    }
}

/// The owner of a process as it is now; `None` if it is gone.
pub(crate) fn owner_of(shared: &Shared, pid: u32) -> Option<Arc<Entity>> {
    let proc_root = &shared.options.proc_root;
    let groups = Membership::of(proc_root, pid).ok()?;
    let comm = process::comm(proc_root, pid).ok()?;
    Some(owner_in(shared, &groups).unwrap_or_else(|| program(shared, &comm)))
}

/// The owner that a process' groups tell, taken into the directory if new.
fn owner_in(shared: &Shared, groups: &Membership) -> Option<Arc<Entity>> {
    let (path, owner) = groups.owner();
    if matches!(owner, Owner::None | Owner::Session(_)) {
        return None;
    }
    let mut state = shared.write();
    let id = state.directory.see_path(&Name::from(path), None)?;
    state.directory.entity(&id).cloned()
}

fn program(shared: &Shared, comm: &str) -> Arc<Entity> {
    if let Some(known) = shared.read().directory.known_process(comm) {
        return known.clone();
    }
    shared.write().directory.process(comm)
}

/// Brings the tree of control groups up to date, and tells the sources of
/// containers that are new.
pub(crate) fn walk(shared: &Shared) {
    let at = Timestamp::now();
    let root = shared.read().tree.root().map(std::path::Path::to_owned);
    let Some(found) = root.and_then(|root| Tree::walk(&root).ok()) else { return };
    let mut fresh = Vec::new();
    {
        let mut state = shared.write();
        let change = state.tree.replace(found);
        for (id, path) in &change.removed {
            state.directory.lose_group(*id, path, End::By(at));
        }
        for (id, path) in &change.added {
            state.directory.see_group(*id, path, None);
            if let Owner::Container(container) = Owner::of(path) {
                fresh.push(container.id);
            }
        }
    }
    for id in fresh {
        shared.post(&Job::Container(id));
    }
}
