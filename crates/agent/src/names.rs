//! From what the kernel knows (cookies, addresses, group ids) to who that is.

use std::collections::{BTreeMap, HashMap};
use std::net::{IpAddr, SocketAddr};
use std::os::unix::fs::MetadataExt;
use std::path::Path;
use std::sync::Arc;

use taproot_kube::Resolver;
use taproot_model::{Edge, Endpoint, Entity, EntityKind, Name, Role, Signal, Timestamp};

use crate::Scope;

/// Names things, and tells the first time (and again when it changes) who they are.
pub(crate) struct Names {
    pub(crate) resolver: Resolver,
    pub(crate) scope: Scope,
    told: HashMap<Name, Arc<Entity>>,
    /// Inode of the node's network namespace.
    node_netns: Option<u64>,
}

/// One end of a connection as the kernel saw it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(crate) struct Seen {
    /// Cookie of the network namespace; 0 where not known.
    pub(crate) netns: u64,
    pub(crate) cgroup: u64,
    pub(crate) local: IpAddr,
    pub(crate) remote: IpAddr,
    /// Port of the server.
    pub(crate) port: u16,
    pub(crate) role: Role,
}

impl Names {
    /// `node_netns` is a file of the node's network namespace.
    pub(crate) fn new(resolver: Resolver, scope: Scope, node_netns: &Path) -> Self {
        let node_netns = std::fs::metadata(node_netns).ok().map(|meta| meta.ino());
        Self { resolver, scope, told: HashMap::new(), node_netns }
    }

    /// The inode of the node's network namespace.
    pub(crate) fn node_netns(&self) -> Option<u64> {
        self.node_netns
    }

    /// Puts the entity before the signals that refer to it.
    pub(crate) fn tell(&mut self, entity: &Arc<Entity>, out: &mut Vec<Signal>) {
        match self.told.get(&entity.id) {
            Some(known) if Arc::ptr_eq(known, entity) || known == entity => {}
            _ => {
                out.push(Signal::Entity(Box::new(Entity::clone(entity))));
                self.told.insert(entity.id.clone(), Arc::clone(entity));
            }
        }
    }

    /// Entities that were told before and are known better by now.
    pub(crate) fn tell_changes(&mut self, out: &mut Vec<Signal>) {
        for entity in self.resolver.drain_changes() {
            if self.told.contains_key(&entity.id) || self.scope.admits(&entity) {
                self.tell(&entity, out);
            }
        }
    }

    /// The owner of a control group if it lies in the scope.
    pub(crate) fn inside(&self, cgroup: u64) -> Option<Arc<Entity>> {
        let entity = self.resolver.resolve_cgroup(cgroup);
        self.scope.admits(&entity).then_some(entity)
    }

    /// The edge of a packet that died in a namespace of the scope, or in the node's.
    pub(crate) fn edge_of_drop(
        &mut self,
        seen: &Seen,
        netns_inode: u32,
        at: Timestamp,
        out: &mut Vec<Signal>,
    ) -> Option<Edge> {
        let place = u64::from(netns_inode);
        let inside = self.scope == Scope::All
            || self.node_netns == Some(place)
            || self.resolver.resolve_netns(place, 0, at).is_some_and(|e| self.scope.admits(&e));
        inside.then(|| self.describe(seen, at, out))
    }

    /// The edge of a socket. `None`: it does not lie in the scope.
    pub(crate) fn edge(
        &mut self,
        seen: &Seen,
        at: Timestamp,
        out: &mut Vec<Signal>,
    ) -> Option<Edge> {
        let own = self.own(seen, at);
        // The end inside the scope tells the edge; what the other end says would come
        // by address alone, and two networks of one machine may use the same ones.
        if !self.scope.admits(&own) {
            return None;
        }
        Some(self.describe(seen, at, out))
    }

    fn describe(&mut self, seen: &Seen, at: Timestamp, out: &mut Vec<Signal>) -> Edge {
        let own = self.own(seen, at);
        let remote_port = if seen.role == Role::Client { seen.port } else { 0 };
        let (other, via) = self.remote(seen.netns, seen.remote, remote_port, at);
        self.tell(&own, out);
        self.tell(&other.entity, out);
        let end = |entity: &Entity, ip, port| Endpoint {
            entity: entity.id.clone(),
            service: entity.service.clone(),
            instance: entity.instance().clone(),
            addr: SocketAddr::new(ip, port),
        };
        let (client, server) = if seen.role == Role::Client {
            (end(&own, seen.local, 0), end(&other.entity, other.ip, other.port))
        } else {
            (end(&other.entity, other.ip, 0), end(&own, seen.local, seen.port))
        };
        Edge { client, server, via, role: seen.role }
    }

    /// Who owns the observed socket: by its control group, which is exact; where
    /// that says no more than "this node", by its address.
    fn own(&self, seen: &Seen, at: Timestamp) -> Arc<Entity> {
        let by_group = self.resolver.resolve_cgroup(seen.cgroup);
        if by_group.kind != EntityKind::Node {
            return by_group;
        }
        let port = if seen.role == Role::Client { 0 } else { seen.port };
        self.resolver.resolve_addr(Some(seen.netns), seen.local, port, at).unwrap_or(by_group)
    }

    /// Who is behind a remote address; the second value is the address dialled when
    /// that is a service's.
    fn remote(
        &self,
        netns: u64,
        ip: IpAddr,
        port: u16,
        at: Timestamp,
    ) -> (Other, Option<SocketAddr>) {
        if port != 0
            && let Some(service) = self.resolver.service_for(ip, port)
        {
            let via = Some(SocketAddr::new(ip, port));
            let mut backends = service.backends.iter();
            if let (Some(only), None) = (backends.next(), backends.next()) {
                let (ip, port) = (only.addr.ip(), only.addr.port());
                let entity = self.resolver.resolve_addr(None, ip, port, at);
                let entity = entity.unwrap_or_else(|| external(ip));
                return (Other { entity, ip, port }, via);
            }
            let name = Name::from(format!("{}/{}", service.namespace, service.name));
            let entity = Arc::new(Entity {
                id: format!("service:{name}").into(),
                kind: EntityKind::External,
                service: name,
                namespace: service.namespace.clone(),
                ..Entity::default()
            });
            return (Other { entity, ip, port }, via);
        }
        let entity = self.resolver.resolve_addr(Some(netns), ip, port, at);
        (Other { entity: entity.unwrap_or_else(|| external(ip)), ip, port }, None)
    }
}

/// The other end of a connection.
struct Other {
    entity: Arc<Entity>,
    ip: IpAddr,
    port: u16,
}

/// An address that nobody known owns.
fn external(ip: IpAddr) -> Arc<Entity> {
    Arc::new(Entity {
        id: format!("external:{ip}").into(),
        kind: EntityKind::External,
        service: ip.to_string().into(),
        labels: BTreeMap::new(),
        ..Entity::default()
    })
}
