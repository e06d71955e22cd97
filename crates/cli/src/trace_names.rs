//! Who is who, for a trace.

use std::cell::OnceCell;
use std::collections::{BTreeMap, BTreeSet, HashSet};
use std::fs::File;
use std::io;
use std::net::{IpAddr, SocketAddr};
use std::os::fd::AsFd;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use rustix::thread::{LinkNameSpaceType, move_into_link_name_space};

use taproot_kube::{Resolver, Service, netns};
use taproot_model::{Entity, PacketId, Timestamp};
use taproot_probes::trace::Event;
use taproot_trace::Names;
use taproot_trace::filter::{Expr, Side};

/// Names out of the cluster's, the runtime's and this machine's own.
pub(crate) struct ClusterNames {
    resolver: Resolver,
    /// Inode of the node's own namespace.
    node: Option<u32>,
    /// Files below `/run/netns`, by inode.
    named: BTreeMap<u32, PathBuf>,
    /// Addresses in those of them that no process is in, read when first asked for.
    silent: OnceCell<BTreeMap<u32, Vec<IpAddr>>>,
}

impl ClusterNames {
    /// `node_netns` is a file of the node's namespace; this process's own when none.
    pub(crate) fn new(resolver: Resolver, node_netns: Option<&Path>) -> Self {
        let node = node_netns.unwrap_or(Path::new("/proc/self/ns/net"));
        let node = std::fs::metadata(node).ok().map(|meta| meta.ino() as u32);
        let named = netns::named(Path::new("/run/netns"))
            .into_iter()
            .map(|(inode, path)| (inode as u32, path))
            .collect();
        Self { resolver, node, named, silent: OnceCell::new() }
    }

    /// What the names come from.
    pub(crate) fn resolver(&self) -> &Resolver {
        &self.resolver
    }

    /// A process in each network namespace of this machine, by inode.
    fn processes() -> BTreeMap<u64, u32> {
        let proc = Path::new("/proc");
        let entries = std::fs::read_dir(proc).into_iter().flatten().flatten();
        entries
            .filter_map(|entry| entry.file_name().to_str()?.parse().ok())
            .filter_map(|pid: u32| Some((netns::of_pid(proc, pid).ok()?, pid)))
            .collect()
    }

    /// Namespace and name of the pod that owns a namespace: by the processes in it, or
    /// else by its addresses.
    fn pod_of(&self, inode: u64) -> Option<(String, String)> {
        let now = Timestamp::now();
        let pod = |owner: Arc<Entity>| {
            (!owner.pod.is_empty()).then(|| (owner.namespace.to_string(), owner.pod.to_string()))
        };
        if let Some(found) = self.resolver.resolve_netns(inode, 0, now).and_then(pod) {
            return Some(found);
        }
        let addresses = self.silent().get(&(inode as u32))?;
        addresses.iter().find_map(|ip| self.resolver.resolve_addr(None, *ip, 0, now).and_then(pod))
    }

    /// Named namespaces without a process, which nobody can be told by: their addresses.
    fn silent(&self) -> &BTreeMap<u32, Vec<IpAddr>> {
        self.silent.get_or_init(|| {
            let busy = Self::processes();
            let silent = self.named.iter().filter(|(inode, _)| {
                !busy.contains_key(&u64::from(**inode)) && self.node != Some(**inode)
            });
            silent.filter_map(|(inode, file)| Some((*inode, addresses_in(file)?))).collect()
        })
    }

    /// Every pod of this node with all its addresses.
    fn pods_with_addresses(&self) -> Vec<((String, String), Vec<IpAddr>)> {
        let busy = Self::processes().into_iter().map(|(inode, pid)| {
            (inode, netns::addresses(Path::new("/proc"), pid).unwrap_or_default())
        });
        let silent = self.silent().iter().map(|(inode, found)| (u64::from(*inode), found.clone()));
        let named = |(inode, found)| Some((self.pod_of(inode)?, found));
        busy.chain(silent).filter_map(named).collect()
    }

    /// The addresses of a pod of this node, all of them.
    pub(crate) fn pod(&self, namespace: &str, name: &str) -> Option<Vec<IpAddr>> {
        let wanted = (namespace.to_owned(), name.to_owned());
        let mut pods = self.pods_with_addresses().into_iter();
        pods.find(|(pod, found)| *pod == wanted && !found.is_empty()).map(|(_, found)| found)
    }

    /// The addresses of all pods of a Kubernetes namespace on this node.
    pub(crate) fn pods_in(&self, namespace: &str) -> Option<Vec<IpAddr>> {
        self.pods_that(|pod| pod.0 == namespace)
    }

    /// The addresses of all pods of this node with a label.
    pub(crate) fn pods_labelled(&self, key: &str, value: &str) -> Option<Vec<IpAddr>> {
        self.pods_that(|(namespace, name)| {
            self.resolver.with_directory(|directory| {
                let label = directory.pod_label(namespace, name, key);
                label.is_some_and(|found| found.as_str() == value)
            })
        })
    }

    fn pods_that(&self, wanted: impl Fn(&(String, String)) -> bool) -> Option<Vec<IpAddr>> {
        let pods = self.pods_with_addresses().into_iter();
        let found: Vec<IpAddr> =
            pods.filter(|(pod, _)| wanted(pod)).flat_map(|(_, found)| found).collect();
        (!found.is_empty()).then_some(found)
    }

    /// The pods of this node, for messages.
    pub(crate) fn pods(&self) -> Vec<String> {
        let pods = self.pods_with_addresses().into_iter();
        let found: BTreeSet<String> =
            pods.map(|((namespace, name), _)| format!("{namespace}/{name}")).collect();
        found.into_iter().collect()
    }

    /// Packets of a service by its virtual addresses and ports; of a headless one,
    /// by those of its backends.
    pub(crate) fn service(&self, text: &str) -> Option<Expr> {
        let (namespace, name) = match text.split_once('/') {
            Some((namespace, name)) => (Some(namespace), name),
            None => (None, text),
        };
        let services = self.resolver.services();
        let mut found = services.iter().filter(|service| {
            service.name.as_str() == name
                && namespace.is_none_or(|wanted| service.namespace.as_str() == wanted)
        });
        found.next().map(|service| packets_of(service))
    }

    /// The services, for messages.
    pub(crate) fn services(&self) -> Vec<String> {
        let name = |service: &Service| format!("{}/{}", service.namespace, service.name);
        self.resolver.services().iter().map(|service| name(service)).collect()
    }

    /// The namespaces that a packet of a pod may pass: the pods' and the node's.
    pub(crate) fn inodes(&self) -> Vec<u32> {
        let pods = Self::processes().into_keys().filter(|inode| self.pod_of(*inode).is_some());
        self.node.into_iter().chain(pods.map(|inode| inode as u32)).collect()
    }
}

/// Does something on a thread in a network namespace.
pub(crate) fn inside<T: Send>(file: &Path, task: impl FnOnce() -> T + Send) -> io::Result<T> {
    let file = File::open(file)?;
    let enter = || {
        move_into_link_name_space(file.as_fd(), Some(LinkNameSpaceType::Network))?;
        Ok(task())
    };
    std::thread::scope(|scope| scope.spawn(enter).join())
        .unwrap_or_else(|panic| std::panic::resume_unwind(panic))
}

fn addresses_in(file: &Path) -> Option<Vec<IpAddr>> {
    // A thread has a folder in /proc like a process, and sees its own network there.
    let own = || u32::try_from(rustix::thread::gettid().as_raw_nonzero().get()).ok();
    let read = || netns::addresses(Path::new("/proc"), own()?).ok();
    inside(file, read).ok().flatten()
}

fn packets_of(service: &Service) -> Expr {
    let at = |address: SocketAddr| {
        let host = Expr::host(address.ip(), Side::Either);
        host.and(Expr::ports(address.port(), address.port(), Side::Either))
    };
    let ports = service.ports.iter().map(|port| port.port);
    let virtual_ends = service
        .addresses
        .iter()
        .flat_map(|ip| ports.clone().map(|port| at(SocketAddr::new(*ip, port))));
    let ends: Vec<Expr> = virtual_ends.collect();
    if ends.is_empty() {
        return Expr::Any(service.backends.iter().map(|backend| at(backend.addr)).collect());
    }
    Expr::Any(ends)
}

impl Names for ClusterNames {
    fn place(&self, inode: u32) -> Option<String> {
        if let Some((namespace, pod)) = self.pod_of(u64::from(inode)) {
            return Some(format!("pod {namespace}/{pod}"));
        }
        if self.node == Some(inode) {
            return Some(format!("node {}", self.resolver.node().node));
        }
        let name = self.named.get(&inode)?.file_name()?;
        Some(format!("netns {}", name.to_string_lossy()))
    }

    fn address(&self, address: SocketAddr) -> Option<String> {
        let (ip, port) = (address.ip(), address.port());
        if let Some(service) = self.resolver.service_for(ip, port) {
            return Some(format!("service {}/{}", service.namespace, service.name));
        }
        let owner = self.resolver.resolve_addr(None, ip, port, Timestamp::now())?;
        if owner.pod.is_empty() {
            return Some(owner.instance().to_string()).filter(|name| !name.is_empty());
        }
        Some(format!("pod {}/{}", owner.namespace, owner.pod))
    }
}

/// How many packets a trace has seen so far, about: a packet is counted by where
/// its headers put it among those of its connection.
#[derive(Debug, Default)]
pub(crate) struct Scene {
    packets: HashSet<(u16, u32, u32)>,
}

impl Scene {
    /// Takes in hops and returns the number of packets so far.
    pub(crate) fn count(&mut self, events: &[Event]) -> usize {
        let print = |id: &PacketId| (id.ip_id, id.sequence, id.acknowledgement);
        let sent = events.iter().filter(|event| event.hop.id.skb != 0);
        self.packets.extend(sent.map(|event| print(&event.hop.id)));
        self.packets.len()
    }
}
