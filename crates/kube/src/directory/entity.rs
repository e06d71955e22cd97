//! From what is known to the [`Entity`] that signals carry.

use super::pod::Pod;
use crate::facts::ContainerFact;
use crate::objects::Services;
use std::collections::BTreeMap;
use taproot_model::{Entity, EntityId, EntityKind, Name};

/// Labels that people slice by: version, rollout, place, part.
const SLICING_LABELS: [&str; 12] = [
    "app",
    "app.kubernetes.io/component",
    "app.kubernetes.io/name",
    "app.kubernetes.io/part-of",
    "app.kubernetes.io/version",
    "controller-revision-hash",
    "pod-template-hash",
    "topology.kubernetes.io/region",
    "topology.kubernetes.io/zone",
    "track",
    "version",
    "zone",
];

/// Characters of a container id that people quote.
const SHORT_ID: usize = 12;

pub(super) fn container_id(id: &str) -> EntityId {
    Name::from(format!("container:{id}"))
}

/// Key of a pod as a whole: of its control group, and of a pod elsewhere whose
/// containers are not known.
pub(super) fn pod_id(uid: &str) -> EntityId {
    Name::from(format!("pod:{uid}"))
}

pub(super) fn node(name: &str) -> Entity {
    Entity {
        id: Name::from(format!("node:{name}")),
        kind: EntityKind::Node,
        service: Name::from(name),
        node: Name::from(name),
        ..Entity::default()
    }
}

pub(super) fn process(comm: &str, node: &Name) -> Entity {
    Entity {
        id: Name::from(format!("process:{comm}")),
        kind: EntityKind::Process,
        service: Name::from(comm),
        node: node.clone(),
        ..Entity::default()
    }
}

pub(super) fn unit(id: &EntityId, unit: &Name, node: &Name) -> Entity {
    Entity {
        id: id.clone(),
        kind: EntityKind::Unit,
        service: Name::from(unit.strip_suffix(".service").unwrap_or(unit)),
        node: node.clone(),
        ..Entity::default()
    }
}

/// A pod of which only what a service says of its backend is known.
pub(super) fn remote(
    uid: &Name,
    pod: &Name,
    namespace: &Name,
    node: &Name,
    service: &Name,
) -> Entity {
    Entity {
        id: pod_id(uid),
        kind: EntityKind::Container,
        service: Name::from(format!("{namespace}/{service}")),
        namespace: namespace.clone(),
        pod: pod.clone(),
        pod_uid: uid.clone(),
        node: node.clone(),
        ..Entity::default()
    }
}

/// A container of a pod, a container on its own, or (`None`) a pod as a whole.
pub(super) fn of_pod(
    pod: &Pod,
    container: Option<&ContainerFact>,
    services: &Services,
    node: &Name,
) -> Entity {
    let workload = pod.workload.clone().unwrap_or_default();
    Entity {
        id: container.map_or_else(|| pod_id(&pod.uid), |container| container_id(&container.id)),
        kind: EntityKind::Container,
        service: service(pod, container, services),
        namespace: pod.namespace.clone(),
        workload_kind: workload.kind,
        workload: workload.name,
        pod: pod.name.clone(),
        pod_uid: pod.uid.clone(),
        container: container.map(container_name).unwrap_or_default(),
        container_id: container.map(|container| container.id.clone()).unwrap_or_default(),
        node: if pod.node.is_empty() { node.clone() } else { pod.node.clone() },
        cgroup_path: Name::default(),
        image: container.map(|container| container.image.clone()).unwrap_or_default(),
        labels: slicing(&pod.labels),
    }
}

fn container_name(container: &ContainerFact) -> Name {
    if container.sandbox && container.name.is_empty() {
        return Name::from("pause");
    }
    container.name.clone()
}

/// The name that people know it by: its service if it has one, else its
/// workload, pod, container; the best that is known so far.
fn service(pod: &Pod, container: Option<&ContainerFact>, services: &Services) -> Name {
    let in_namespace = |name: &Name| Name::from(format!("{}/{name}", pod.namespace));
    let workload = pod.workload.as_ref().map(|workload| &workload.name);
    // A pod may stand behind several (one headless, one per port): the one that
    // is named like the workload, else the first by name.
    let mut found = services.of_pod(&pod.uid);
    let first = found.next();
    let same = first.into_iter().chain(found).find(|s| Some(&s.name) == workload);
    let name = same.or(first).map(|service| &service.name).or(workload);
    if let Some(name) = name.or(Some(&pod.name)).filter(|name| !name.is_empty()) {
        return if pod.namespace.is_empty() { name.clone() } else { in_namespace(name) };
    }
    match container {
        Some(container) if !container.name.is_empty() => container.name.clone(),
        Some(container) => short(&container.id),
        None => short(&pod.uid),
    }
}

fn short(id: &Name) -> Name {
    id.get(..SHORT_ID).map_or_else(|| id.clone(), Name::from)
}

fn slicing(labels: &BTreeMap<Name, Name>) -> BTreeMap<Name, Name> {
    let wanted = SLICING_LABELS.iter().filter_map(|key| labels.get_key_value(*key));
    wanted.map(|(key, value)| (key.clone(), value.clone())).collect()
}
