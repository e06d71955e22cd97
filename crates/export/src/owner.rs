use taproot_model::{Endpoint, Entity, EntityId, EntityKind, Name};

/// Whose values they are: an OpenTelemetry resource.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Owner {
    /// Key and value, in the order of the table of attributes; none is empty.
    pub attributes: Vec<(&'static str, Name)>,
}

/// Workload kinds that have an attribute of their own.
const WORKLOADS: [(&str, &str); 6] = [
    ("Deployment", "k8s.deployment.name"),
    ("StatefulSet", "k8s.statefulset.name"),
    ("DaemonSet", "k8s.daemonset.name"),
    ("Job", "k8s.job.name"),
    ("CronJob", "k8s.cronjob.name"),
    ("ReplicaSet", "k8s.replicaset.name"),
];

/// Namespace and name of a service.
pub(crate) fn split(service: &str) -> (&str, &str) {
    service.split_once('/').unwrap_or(("", service))
}

impl Owner {
    fn new(parts: impl IntoIterator<Item = (&'static str, Name)>) -> Self {
        let known = parts.into_iter().filter(|(_, value)| !value.is_empty());
        Self { attributes: known.collect() }
    }

    fn service(service: &str, id: &EntityId) -> [(&'static str, Name); 3] {
        let (namespace, name) = split(service);
        [
            ("service.name", name.into()),
            ("service.namespace", namespace.into()),
            ("service.instance.id", id.clone()),
        ]
    }

    /// What is known of an entity.
    pub(crate) fn of(entity: &Entity) -> Self {
        let in_pod = !entity.pod.is_empty();
        let image = without_tag(&entity.image);
        let workload = WORKLOADS.iter().find(|(kind, _)| **kind == *entity.workload_kind);
        let parts = [
            ("k8s.namespace.name", entity.namespace.clone()),
            ("k8s.pod.name", entity.pod.clone()),
            ("k8s.pod.uid", entity.pod_uid.clone()),
            ("k8s.container.name", if in_pod { entity.container.clone() } else { Name::default() }),
            ("k8s.node.name", if in_pod { entity.node.clone() } else { Name::default() }),
            (
                workload.map_or("k8s.deployment.name", |w| w.1),
                match workload {
                    Some(_) => entity.workload.clone(),
                    None => Name::default(),
                },
            ),
            ("container.id", entity.container_id.clone()),
            ("container.image.name", image.into()),
            (
                "host.name",
                match entity.kind {
                    EntityKind::External => Name::default(),
                    _ => entity.node.clone(),
                },
            ),
        ];
        Self::new(Self::service(&entity.service, &entity.id).into_iter().chain(parts))
    }

    /// What one end of a connection tells of its owner.
    pub(crate) fn of_end(end: &Endpoint) -> Self {
        Self::new(Self::service(&end.service, &end.entity))
    }

    /// Somebody of whom only the key is known.
    pub(crate) fn unnamed(id: &EntityId) -> Self {
        Self::new([("service.instance.id", id.clone())])
    }

    /// A service as a whole.
    pub(crate) fn of_service(service: &str) -> Self {
        Self::new(Self::service(service, &Name::default()))
    }

    /// Taproot itself.
    pub(crate) fn taproot(version: &str) -> Self {
        Self::new([("service.name", "taproot".into()), ("service.version", version.into())])
    }
}

/// An image without tag and digest: `registry:5000/shop/cart:1.2` is `registry:5000/shop/cart`.
fn without_tag(image: &str) -> &str {
    let image = image.split('@').next().unwrap_or(image);
    match image.rsplit_once(':') {
        Some((name, tag)) if !tag.contains('/') => name,
        _ => image,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_pod_is_described_by_what_is_known_of_it() {
        let entity = Entity {
            id: "container:abc".into(),
            kind: EntityKind::Container,
            service: "shop/cart".into(),
            namespace: "shop".into(),
            workload_kind: "StatefulSet".into(),
            workload: "cart".into(),
            pod: "cart-0".into(),
            image: "registry:5000/shop/cart:1.2@sha256:00".into(),
            node: "n1".into(),
            ..Entity::default()
        };
        let owner = Owner::of(&entity);
        let found: Vec<_> = owner.attributes.iter().map(|(k, v)| (*k, v.as_str())).collect();
        let expected = [
            ("service.name", "cart"),
            ("service.namespace", "shop"),
            ("service.instance.id", "container:abc"),
            ("k8s.namespace.name", "shop"),
            ("k8s.pod.name", "cart-0"),
            ("k8s.node.name", "n1"),
            ("k8s.statefulset.name", "cart"),
            ("container.image.name", "registry:5000/shop/cart"),
            ("host.name", "n1"),
        ];
        assert_eq!(found, expected);
    }

    #[test]
    fn an_image_loses_its_tag_and_nothing_else() {
        for (image, name) in [("a", "a"), ("a:1", "a"), ("r:5000/a", "r:5000/a"), ("", "")] {
            assert_eq!(without_tag(image), name);
        }
    }
}
