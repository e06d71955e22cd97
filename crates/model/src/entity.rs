use serde::{Deserialize, Serialize};
use std::borrow::Borrow;
use std::collections::BTreeMap;
use std::fmt;
use std::net::SocketAddr;
use std::sync::Arc;

/// A cheap, shared string: names are cloned into every signal.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(transparent)]
pub struct Name(Arc<str>);

impl Name {
    /// The text.
    pub fn as_str(&self) -> &str {
        &self.0
    }

    /// Whether the text is empty.
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }
}

impl Default for Name {
    fn default() -> Self {
        Self(Arc::from(""))
    }
}

impl<T: AsRef<str>> From<T> for Name {
    fn from(text: T) -> Self {
        Self(Arc::from(text.as_ref()))
    }
}

impl std::ops::Deref for Name {
    type Target = str;
    fn deref(&self) -> &str {
        &self.0
    }
}

impl Borrow<str> for Name {
    fn borrow(&self) -> &str {
        &self.0
    }
}

impl fmt::Debug for Name {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:?}", &self.0)
    }
}

impl fmt::Display for Name {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(&self.0)
    }
}

/// The stable key of an [`Entity`].
///
/// One of `container:<container id>`, `pod:<pod uid>` (a pod as a whole, or one
/// elsewhere whose containers are not known), `unit:<systemd unit>`, `process:<comm>`
/// (a plain process with neither), `node:<node name>` or `external:<ip>`
/// (an address no local or known workload owns).
pub type EntityId = Name;

/// What sort of thing an [`Entity`] is.
#[derive(
    Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize,
)]
#[serde(rename_all = "snake_case")]
pub enum EntityKind {
    /// A container, of a pod or on its own.
    Container,
    /// A systemd unit on a plain host.
    Unit,
    /// A process (or processes of one name) in neither.
    #[default]
    Process,
    /// A node of the cluster, or this machine.
    Node,
    /// An address that nobody known owns.
    External,
}

/// Who: the owner of a control group, process, address or node.
///
/// Fields that do not apply are empty. `service` is never empty: it is the name
/// under which people know the thing, and the name of a node of the service map.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Entity {
    /// Stable key.
    pub id: EntityId,
    /// What it is.
    pub kind: EntityKind,
    /// The service it belongs to: `namespace/name` in a cluster (Kubernetes
    /// service or workload), else the container's, unit's or program's name.
    pub service: Name,
    /// `k8s.namespace.name`.
    pub namespace: Name,
    /// Kind of the owning workload, as Kubernetes spells it (`Deployment`).
    pub workload_kind: Name,
    /// Name of the owning workload.
    pub workload: Name,
    /// `k8s.pod.name`.
    pub pod: Name,
    /// `k8s.pod.uid`.
    pub pod_uid: Name,
    /// `k8s.container.name`.
    pub container: Name,
    /// `container.id`.
    pub container_id: Name,
    /// `k8s.node.name`: where it runs.
    pub node: Name,
    /// Path of its control group, relative to the hierarchy's root.
    pub cgroup_path: Name,
    /// `container.image.name`.
    pub image: Name,
    /// Labels worth slicing by (version, zone, ...).
    pub labels: BTreeMap<Name, Name>,
}

impl Entity {
    /// What people call this instance: the pod, else the container, unit, program or address.
    pub fn instance(&self) -> &Name {
        if !self.pod.is_empty() {
            &self.pod
        } else if !self.container.is_empty() {
            &self.container
        } else {
            &self.service
        }
    }
}

/// One end of a connection.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct Endpoint {
    /// Key of the owner.
    pub entity: EntityId,
    /// The owner's service, repeated so that a signal can be read alone.
    pub service: Name,
    /// The owner's instance name (pod or equivalent).
    pub instance: Name,
    /// Address; the port is 0 where it is ephemeral (the client's end).
    pub addr: SocketAddr,
}
