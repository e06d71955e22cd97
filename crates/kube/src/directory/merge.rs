//! How a directory takes in what sources say.

use super::pod::Pod;
use super::{Directory, FactSource, entity, pod_key};
use crate::facts::{ContainerFact, End, PodFact};
use crate::objects::Services;
use std::collections::{HashMap, HashSet};
use std::net::IpAddr;
use std::sync::Arc;
use taproot_model::{Entity, EntityId, Name, Timestamp};

impl Directory {
    /// Takes in what one source says of one pod, or of a container on its own.
    pub fn merge(&mut self, mut fact: PodFact, source: FactSource) {
        self.adopt(&mut fact);
        let Some(key) = pod_key(&fact) else { return };
        for container in &fact.containers {
            self.pod_of.insert(container.id.clone(), key.clone());
        }
        for ip in std::mem::take(&mut fact.ips) {
            self.addresses.open(ip, &key, fact.created);
        }
        if let Some(inode) = fact.netns {
            self.netns.insert(inode, key.clone());
        }
        let pod = self.pods.entry(key.clone()).or_default();
        pod.merge(fact, source);
        if let Some(ended) = pod.ended {
            self.addresses.close(&key, ended);
        }
        self.publish_pod(&key);
    }

    /// Takes in a whole list: pods that this source named before and does not
    /// name now have ended.
    pub fn merge_list(&mut self, facts: Vec<PodFact>, source: FactSource, at: Timestamp) {
        let named: HashSet<Name> = facts.iter().filter_map(pod_key).collect();
        for fact in facts {
            self.merge(fact, source);
        }
        let missing = |(key, pod): &(&Name, &Pod)| {
            pod.ended.is_none() && pod.sources.contains(&source) && !named.contains(*key)
        };
        let gone: Vec<Name> =
            self.pods.iter().filter(missing).map(|(key, _)| key.clone()).collect();
        for key in gone {
            self.pod_ended(&key, End::By(at));
        }
    }

    /// Takes in the services of the cluster, in place of those before.
    pub fn set_services(&mut self, services: Services) {
        self.services = services;
        self.remote = self.remote_pods();
        for remote in self.remote.values() {
            self.changed.insert(remote.id.clone());
        }
        let keys: Vec<Name> = self.pods.keys().cloned().collect();
        for key in keys {
            self.publish_pod(&key);
        }
    }

    /// Takes in the addresses of the cluster's nodes.
    pub fn set_nodes(&mut self, nodes: HashMap<IpAddr, Name>) {
        for (ip, name) in nodes {
            let node = Arc::new(entity::node(&name));
            self.publish(node.clone());
            self.nodes.insert(ip, node);
        }
    }

    /// Notes addresses and network namespace that a container was found to
    /// have. `since` is when it was made, if that was seen.
    pub fn see_network(
        &mut self,
        container: &str,
        inode: u64,
        ips: &[IpAddr],
        since: Option<Timestamp>,
    ) {
        let Some(key) = self.pod_of.get(container).cloned() else { return };
        self.netns.insert(inode, key.clone());
        for ip in ips {
            self.addresses.open(*ip, &key, since);
        }
    }

    /// Whether the network namespace of a container's pod is known.
    pub fn has_network(&self, container: &str) -> bool {
        let key = self.pod_of.get(container);
        key.is_some_and(|key| self.netns.values().any(|owner| owner == key))
    }

    /// The control group of a container.
    pub fn group_of(&self, container: &str) -> Option<&Name> {
        self.paths.get(&entity::container_id(container))
    }

    /// Live containers whose network is not known, each with its control group.
    pub fn without_network(&self) -> Vec<(Name, Name)> {
        let known: HashSet<&Name> = self.netns.values().collect();
        let pods =
            self.pods.iter().filter(|(key, pod)| pod.ended.is_none() && !known.contains(key));
        pods.flat_map(|(_, pod)| pod.containers.iter().filter(|c| c.ended.is_none()))
            .filter_map(|c| {
                Some((c.id.clone(), self.paths.get(&entity::container_id(&c.id))?.clone()))
            })
            .collect()
    }

    /// Notes that a container ended.
    pub fn container_ended(&mut self, id: &str, end: End) {
        let Some(key) = self.pod_of.get(id).cloned() else { return };
        let Some(pod) = self.pods.get_mut(&key) else { return };
        if let Some(container) = pod.container_mut(id) {
            container.ended = Some(container.ended.map_or(end, |known| known.better(end)));
        }
        pod.conclude();
        if let Some(ended) = pod.ended {
            self.addresses.close(&key, ended);
        }
    }

    /// Notes that a pod ended: its addresses are free.
    pub fn pod_ended(&mut self, key: &str, end: End) {
        let Some(pod) = self.pods.get_mut(key) else { return };
        pod.end(end);
        self.addresses.close(&Name::from(key), pod.ended.unwrap_or(end));
    }

    /// Containers known by their id alone, for sources to ask after.
    pub fn nameless(&self) -> Vec<Name> {
        let pods = self.pods.values().filter(|pod| pod.ended.is_none() || pod.name.is_empty());
        let containers = pods.flat_map(|pod| {
            let nameless = move |container: &&ContainerFact| {
                (container.name.is_empty() && !container.sandbox)
                    || (pod.name.is_empty() && !pod.uid.is_empty())
            };
            pod.containers.iter().filter(nameless)
        });
        containers.map(|container| container.id.clone()).collect()
    }

    /// Forgets what ended before that time.
    pub fn purge(&mut self, before: Timestamp) {
        self.addresses.purge(before);
        let over = |pod: &Pod| pod.ended.is_some_and(|end| end.time() < before);
        let gone: HashSet<Name> =
            self.pods.iter().filter(|(_, pod)| over(pod)).map(|(key, _)| key.clone()).collect();
        let mut ids: HashSet<EntityId> = HashSet::new();
        for (key, pod) in &mut self.pods {
            ids.extend(gone.contains(key).then(|| entity::pod_id(&pod.uid)));
            let (old, kept) =
                std::mem::take(&mut pod.containers).into_iter().partition(|container| {
                    gone.contains(key) || container.ended.is_some_and(|end| end.time() < before)
                });
            let old: Vec<ContainerFact> = old;
            pod.containers = kept;
            ids.extend(old.iter().map(|container| entity::container_id(&container.id)));
            for container in &old {
                self.pod_of.remove(&container.id);
            }
        }
        self.pods.retain(|key, _| !gone.contains(key));
        self.netns.retain(|_, key| !gone.contains(key));
        self.entities.retain(|id, _| !ids.contains(id));
        self.groups.retain(|_, owner| !ids.contains(owner));
        self.paths.retain(|owner, _| !ids.contains(owner));
    }

    /// Joins a container that stood for itself with the pod that a better
    /// source puts it in, and the other way round.
    fn adopt(&mut self, fact: &mut PodFact) {
        for container in &fact.containers {
            let Some(known) = self.pod_of.get(&container.id).cloned() else { continue };
            if fact.uid.is_empty() {
                let uid = self.pods.get(&known).map(|pod| pod.uid.clone());
                fact.uid = uid.unwrap_or_default();
            } else if known != fact.uid && known == entity::container_id(&container.id) {
                self.pods.remove(&known);
            }
        }
    }

    /// The outermost group of an owner is its own; it may have made more inside.
    pub(super) fn note_path(&mut self, id: &EntityId, path: &Name) {
        if self.paths.get(id).is_some_and(|known| known.len() <= path.len()) {
            return;
        }
        self.paths.insert(id.clone(), path.clone());
        if let Some(entity) = self.entities.get(id) {
            let mut entity = Entity::clone(entity);
            entity.cgroup_path = path.clone();
            self.publish(Arc::new(entity));
        }
    }

    fn publish_pod(&mut self, key: &str) {
        let Some(pod) = self.pods.get(key) else { return };
        let whole = (!pod.uid.is_empty()).then_some(None);
        let parts = whole.into_iter().chain(pod.containers.iter().map(Some));
        let entities: Vec<Entity> =
            parts.map(|part| entity::of_pod(pod, part, &self.services, &self.node.node)).collect();
        for mut entity in entities {
            entity.cgroup_path = self.paths.get(&entity.id).cloned().unwrap_or_default();
            self.publish(Arc::new(entity));
        }
    }

    /// Pods that only services know: those of other nodes.
    fn remote_pods(&self) -> HashMap<Name, Arc<Entity>> {
        let mut found = HashMap::new();
        for service in self.services.all() {
            for backend in &service.backends {
                let uid = &backend.pod_uid;
                if !uid.is_empty() && !self.pods.contains_key(uid) && !found.contains_key(uid) {
                    let (pod, node) = (&backend.pod, &backend.node);
                    let pod = entity::remote(uid, pod, &service.namespace, node, &service.name);
                    found.insert(uid.clone(), Arc::new(pod));
                }
            }
        }
        found
    }
}
