//! This machine's own word: control groups, network namespaces, addresses.

use super::Source;
use crate::listeners::{self, Listeners};
use crate::resolver::{Job, Shared, owner_of, walk};
use crate::{netns, process};
use std::collections::{BTreeMap, HashMap};
use std::time::Duration;
use taproot_model::{Name, Timestamp};

/// How often the tree is walked: catches what kernel events did not tell.
const INTERVAL: Duration = Duration::from_secs(2);

/// The control group trees, and `/proc` of the processes in them.
#[derive(Default)]
pub(super) struct Local {
    /// Sockets that listened on the node's addresses when last looked at.
    listening: BTreeMap<u64, u16>,
    listeners: Option<Listeners>,
}

impl Local {
    /// Finds out who listens on the node's own addresses. Looking through all
    /// processes is dear, so only when a socket has come or gone.
    fn listeners(&mut self, shared: &Shared) {
        let proc_root = &shared.options.proc_root;
        let node = shared.options.node_pid;
        let listeners = self.listeners.get_or_insert_with(|| Listeners::of(proc_root, node));
        let sockets = listeners.sockets(proc_root, node);
        if sockets == self.listening {
            return;
        }
        let holders = listeners::holders(proc_root, &sockets);
        let owners =
            holders.into_iter().filter_map(|(port, pid)| Some((port, owner_of(shared, pid)?)));
        let owners: HashMap<_, _> = owners.collect();
        shared.write().directory.set_listeners(owners);
        self.listening = sockets;
    }
}

impl Source for Local {
    fn name(&self) -> &'static str {
        "cgroup"
    }

    fn interval(&self, shared: &Shared) -> Duration {
        INTERVAL.min(shared.options.refresh)
    }

    fn refresh(&mut self, shared: &Shared) -> Result<String, String> {
        walk(shared);
        node_addresses(shared);
        networks(shared);
        self.listeners(shared);
        purge(shared);
        let layout = shared.layout.as_ref().map_err(ToString::to_string)?;
        let state = shared.read();
        let (pods, containers) = state.directory.counts();
        let groups = state.tree.len();
        Ok(format!("{}: {groups} groups, {pods} pods, {containers} containers", layout.kind))
    }

    fn job(&mut self, shared: &Shared, job: &Job) -> bool {
        if let Job::Network { container, pid, since } = job
            && shared.read().directory.group_of(container).is_some_and(|g| inside(shared, g))
        {
            see_network(shared, container, *pid, *since);
        }
        false
    }
}

/// Looks at the network of one process of a container. One that shares the
/// node's namespace has no address of its own.
fn see_network(shared: &Shared, container: &str, pid: u32, since: Option<Timestamp>) -> bool {
    let proc_root = &shared.options.proc_root;
    let Ok(inode) = netns::of_pid(proc_root, pid) else { return false };
    if Some(inode) == shared.node_netns {
        return false;
    }
    let ips = netns::addresses(proc_root, pid).unwrap_or_default();
    if ips.is_empty() {
        return false;
    }
    shared.write().directory.see_network(container, inode, &ips, since);
    true
}

/// Whether the network of a control group's containers is the one that is observed.
fn inside(shared: &Shared, group: &Name) -> bool {
    let below = shared.options.networks_below.as_deref();
    below.is_none_or(|below| std::path::Path::new(group.as_str()).starts_with(below))
}

/// Looks at the network of containers of which it is not known.
fn networks(shared: &Shared) {
    let Ok(layout) = &shared.layout else { return };
    let unknown = shared.read().directory.without_network();
    for (container, group) in unknown.into_iter().filter(|(_, group)| inside(shared, group)) {
        // The oldest process: the address is not younger than that one.
        let age = |pid: u32| Some((process::started(&shared.options.proc_root, pid)?, pid));
        let places = layout.directories(&group);
        let oldest = places.iter().flat_map(|p| process::of_group(p)).filter_map(age).min();
        if let Some((since, pid)) = oldest {
            see_network(shared, &container, pid, Some(since));
        }
    }
}

/// The node's own addresses are the node.
fn node_addresses(shared: &Shared) {
    let ips = netns::addresses(&shared.options.proc_root, shared.options.node_pid);
    let name = Name::from(&shared.options.node);
    let nodes: HashMap<_, _> =
        ips.unwrap_or_default().into_iter().map(|ip| (ip, name.clone())).collect();
    shared.write().directory.set_nodes(nodes);
}

fn purge(shared: &Shared) {
    let before = Timestamp::now() - shared.options.memory;
    shared.write().directory.purge(before);
}
