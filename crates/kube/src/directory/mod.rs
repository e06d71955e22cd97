//! All that is known of who is who, from all sources together. No I/O.

mod entity;
mod events;
mod merge;
mod pod;

use crate::cgroup::Owner;
use crate::facts::{ContainerFact, End, PodFact};
use crate::history::History;
use crate::objects::{Backend, Service, Services};
use pod::Pod;
use std::collections::{HashMap, HashSet};
use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;
use taproot_model::{Entity, EntityId, Name, Timestamp};

/// Plain processes remembered by name: far more than a sane machine has.
const MAX_PROCESS_NAMES: usize = 16_384;

/// Where a fact comes from. A later one is believed more where two disagree on
/// the owning workload, because it needs to guess less.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum FactSource {
    /// The path of a control group.
    Cgroup,
    /// The state files of a container runtime.
    Runtime,
    /// The CRI socket.
    Cri,
    /// The kubelet.
    Kubelet,
    /// A file with a list of objects.
    File,
    /// The API server.
    ApiServer,
}

/// Who is who on this node, now and a while ago.
#[derive(Debug, Default)]
pub struct Directory {
    node: Arc<Entity>,
    /// By pod uid; a container without a pod stands for itself, see [`pod_key`].
    pods: HashMap<Name, Pod>,
    /// Key of the pod of each container.
    pod_of: HashMap<Name, Name>,
    addresses: History<IpAddr, Name>,
    netns: HashMap<u64, Name>,
    services: Services,
    nodes: HashMap<IpAddr, Arc<Entity>>,
    /// Owners of the ports of this node's own addresses.
    listeners: HashMap<u16, Arc<Entity>>,
    /// Pods elsewhere, known only as backends, by uid.
    remote: HashMap<Name, Arc<Entity>>,
    entities: HashMap<EntityId, Arc<Entity>>,
    processes: HashMap<Name, Arc<Entity>>,
    /// Owner of each control group of the v2 tree.
    groups: HashMap<u64, EntityId>,
    /// Outermost control group of each owner.
    paths: HashMap<EntityId, Name>,
    changed: HashSet<EntityId>,
}

impl Directory {
    /// An empty directory of the node of that name.
    pub fn new(node: &str) -> Self {
        let node = Arc::new(entity::node(node));
        let mut directory = Self { node: node.clone(), ..Self::default() };
        directory.publish(node);
        directory
    }

    /// This node.
    pub fn node(&self) -> &Arc<Entity> {
        &self.node
    }

    /// The owner of a control group of the v2 tree, if the path of the group
    /// tells one.
    pub fn group(&self, id: u64) -> Option<&Arc<Entity>> {
        self.entities.get(self.groups.get(&id)?)
    }

    /// The entity with that key.
    pub fn entity(&self, id: &str) -> Option<&Arc<Entity>> {
        self.entities.get(id)
    }

    /// Who owned an address then. `port` picks among the containers of a pod
    /// and the pods that share a node's address.
    pub fn address(&self, ip: IpAddr, port: u16, at: Timestamp) -> Option<&Arc<Entity>> {
        if let Some(key) = self.addresses.owner(&ip, at) {
            return self.of_pod(key, port, at);
        }
        // Services tell of pods elsewhere. Of a pod that had a lease here they
        // may be behind: it had the address at another time.
        let leases = self.addresses.leases(&ip);
        let elsewhere = |backend: &&Backend| leases.iter().all(|l| l.owner != backend.pod_uid);
        let at_port = self.services.backend(SocketAddr::new(ip, port)).filter(elsewhere);
        if let Some(backend) = at_port {
            return self.of_backend(&backend.pod_uid, port, at).or_else(|| self.at_node(ip, port));
        }
        if let Some(owner) = self.at_node(ip, port) {
            return Some(owner);
        }
        let backend = self.services.backend_ip(ip).filter(elsewhere)?;
        self.of_backend(&backend.pod_uid, port, at)
    }

    /// Who listens on a port of this node's own addresses, loopback included;
    /// the node itself if nobody known does.
    pub fn here(&self, port: u16) -> &Arc<Entity> {
        self.listeners.get(&port).unwrap_or(&self.node)
    }

    /// Takes in who listens on this node's own addresses, in place of before.
    pub fn set_listeners(&mut self, listeners: HashMap<u16, Arc<Entity>>) {
        self.listeners = listeners;
    }

    /// Who owns a network namespace; `port` picks among the containers of a pod.
    pub fn netns(&self, inode: u64, port: u16, at: Timestamp) -> Option<&Arc<Entity>> {
        self.of_pod(self.netns.get(&inode)?, port, at)
    }

    /// The value of a label of a pod, whichever label; entities carry only those that
    /// people slice by.
    pub fn pod_label(&self, namespace: &str, pod: &str, key: &str) -> Option<&Name> {
        let named =
            |known: &&Pod| known.name.as_str() == pod && known.namespace.as_str() == namespace;
        self.pods.values().find(named)?.labels.get(key)
    }

    /// The service with that virtual address.
    pub fn service(&self, ip: IpAddr, port: u16) -> Option<&Arc<Service>> {
        self.services.at(ip, port)
    }

    /// All services.
    pub fn services(&self) -> &Services {
        &self.services
    }

    /// The entity of a plain process of that name.
    pub fn process(&mut self, comm: &str) -> Arc<Entity> {
        if let Some(known) = self.processes.get(comm) {
            return known.clone();
        }
        if self.processes.len() >= MAX_PROCESS_NAMES {
            self.processes.clear();
        }
        let process = Arc::new(entity::process(comm, &self.node.node));
        self.processes.insert(Name::from(comm), process.clone());
        self.changed.insert(process.id.clone());
        process
    }

    /// A plain process that was asked for before.
    pub fn known_process(&self, comm: &str) -> Option<&Arc<Entity>> {
        self.processes.get(comm)
    }

    /// Notes a control group, and its owner as far as its path tells. `made` is
    /// when the group was made, if that was seen.
    pub fn see_group(&mut self, id: u64, path: &Name, made: Option<Timestamp>) {
        if let Some(owner) = self.see_path(path, made) {
            self.groups.insert(id, owner);
        }
    }

    /// Notes the owner that the path of a control group of any tree tells, and
    /// returns its key.
    pub fn see_path(&mut self, path: &Name, made: Option<Timestamp>) -> Option<EntityId> {
        let id = match Owner::of(path) {
            Owner::Container(found) => {
                let id = entity::container_id(&found.id);
                if made.is_some() || !self.pod_of.contains_key(&found.id) {
                    let container =
                        ContainerFact { id: found.id, started: made, ..ContainerFact::default() };
                    let uid = found.pod.map(|pod| pod.uid).unwrap_or_default();
                    self.merge(
                        PodFact { uid, containers: vec![container], ..PodFact::default() },
                        FactSource::Cgroup,
                    );
                }
                id
            }
            Owner::Pod(found) => {
                let id = entity::pod_id(&found.uid);
                if !self.pods.contains_key(&found.uid) {
                    self.merge(
                        PodFact { uid: found.uid, ..PodFact::default() },
                        FactSource::Cgroup,
                    );
                }
                id
            }
            Owner::Unit(unit) => self.unit(&unit),
            Owner::Session(session) => self.unit(&session.scope),
            Owner::None => return None,
        };
        self.note_path(&id, path);
        Some(id)
    }

    /// Notes that a control group is no more.
    ///
    /// With its own group a container has ended; with the group of its pause
    /// container or of the whole, a pod has, and its addresses are free. Who
    /// owned the group is still answered until [`Directory::purge`].
    pub fn lose_group(&mut self, id: u64, path: &Name, end: End) {
        let Some(owner) = self.groups.get(&id).cloned() else { return };
        if self.paths.get(&owner) != Some(path) {
            return;
        }
        match Owner::of(path) {
            Owner::Container(container) => self.container_ended(&container.id, end),
            Owner::Pod(pod) => self.pod_ended(&pod.uid, end),
            Owner::Unit(_) | Owner::Session(_) | Owner::None => {}
        }
    }

    /// Entities that are new or changed since the last call.
    pub fn drain_changes(&mut self) -> Vec<Arc<Entity>> {
        let changed = std::mem::take(&mut self.changed);
        changed.iter().filter_map(|id| self.published(id)).cloned().collect()
    }

    fn published(&self, id: &str) -> Option<&Arc<Entity>> {
        self.entities.get(id).or_else(|| match id.split_once(':')? {
            ("process", comm) => self.processes.get(comm),
            ("pod", uid) => self.remote.get(uid),
            _ => None,
        })
    }

    /// How many live pods and containers are known.
    pub fn counts(&self) -> (usize, usize) {
        let live = self.pods.values().filter(|pod| pod.ended.is_none());
        live.fold((0, 0), |(pods, all), pod| {
            let running = pod.containers.iter().filter(|c| !c.sandbox && c.ended.is_none());
            (pods + usize::from(!pod.uid.is_empty()), all + running.count())
        })
    }

    fn of_pod(&self, key: &str, port: u16, at: Timestamp) -> Option<&Arc<Entity>> {
        let pod = self.pods.get(key)?;
        match pod.serving(port, at) {
            Some(container) => self.entities.get(&entity::container_id(&container.id)),
            None => self.entities.get(&entity::pod_id(&pod.uid)),
        }
    }

    fn at_node(&self, ip: IpAddr, port: u16) -> Option<&Arc<Entity>> {
        let node = self.nodes.get(&ip)?;
        Some(if node.id == self.node.id { self.here(port) } else { node })
    }

    fn of_backend(&self, uid: &Name, port: u16, at: Timestamp) -> Option<&Arc<Entity>> {
        self.of_pod(uid, port, at).or_else(|| self.remote.get(uid))
    }

    fn unit(&mut self, unit: &Name) -> EntityId {
        let id = Name::from(format!("unit:{unit}"));
        if !self.entities.contains_key(&id) {
            let unit = entity::unit(&id, unit, &self.node.node);
            self.publish(Arc::new(unit));
        }
        id
    }

    /// Takes an entity in, and notes it as changed if it is.
    fn publish(&mut self, entity: Arc<Entity>) {
        if self.entities.get(&entity.id) != Some(&entity) {
            self.changed.insert(entity.id.clone());
            self.entities.insert(entity.id.clone(), entity);
        }
    }
}

/// The key of a pod in the directory: its uid, or the container that stands for
/// itself.
fn pod_key(fact: &PodFact) -> Option<Name> {
    if !fact.uid.is_empty() {
        return Some(fact.uid.clone());
    }
    Some(entity::container_id(&fact.containers.first()?.id))
}
