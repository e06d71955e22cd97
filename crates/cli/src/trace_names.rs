//! Who is who, for a trace.

use std::collections::{BTreeMap, BTreeSet, HashSet};
use std::net::{IpAddr, SocketAddr};
use std::os::unix::fs::MetadataExt;
use std::path::Path;

use taproot_kube::{Resolver, Service, netns};
use taproot_model::{PacketId, Timestamp};
use taproot_probes::trace::Event;
use taproot_trace::Names;
use taproot_trace::filter::{Expr, Side};

/// Names out of the cluster's, the runtime's and this machine's own.
pub(crate) struct ClusterNames {
    resolver: Resolver,
    /// Inode of the node's own namespace.
    node: Option<u32>,
    /// Names below `/run/netns`, by inode.
    named: BTreeMap<u32, String>,
}

impl ClusterNames {
    /// `node_netns` is a file of the node's namespace; this process's own when none.
    pub(crate) fn new(resolver: Resolver, node_netns: Option<&Path>) -> Self {
        let node = node_netns.unwrap_or(Path::new("/proc/self/ns/net"));
        let node = std::fs::metadata(node).ok().map(|meta| meta.ino() as u32);
        let named = netns::named(Path::new("/run/netns"))
            .into_iter()
            .filter_map(|(inode, path)| {
                Some((inode as u32, path.file_name()?.to_string_lossy().into_owned()))
            })
            .collect();
        Self { resolver, node, named }
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

    /// Namespace and name of the pod that owns a namespace.
    fn pod_of(&self, inode: u64) -> Option<(String, String)> {
        let owner = self.resolver.resolve_netns(inode, 0, Timestamp::now())?;
        (!owner.pod.is_empty()).then(|| (owner.namespace.to_string(), owner.pod.to_string()))
    }

    /// The addresses of a pod of this node, all of them.
    pub(crate) fn pod(&self, namespace: &str, name: &str) -> Option<Vec<IpAddr>> {
        let wanted = (namespace.to_owned(), name.to_owned());
        let (_, pid) = Self::processes()
            .into_iter()
            .find(|(inode, _)| self.pod_of(*inode).as_ref() == Some(&wanted))?;
        netns::addresses(Path::new("/proc"), pid).ok().filter(|found| !found.is_empty())
    }

    /// The pods of this node, for messages.
    pub(crate) fn pods(&self) -> Vec<String> {
        let found: BTreeSet<String> = Self::processes()
            .into_keys()
            .filter_map(|inode| self.pod_of(inode))
            .map(|(namespace, name)| format!("{namespace}/{name}"))
            .collect();
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
        self.named.get(&inode).map(|name| format!("netns {name}"))
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
