//! What a source of identity can say, in one vocabulary for all of them.

use std::collections::BTreeMap;
use std::net::IpAddr;
use taproot_model::{Name, Timestamp};

/// What one source knows of one pod, or of a container without a pod.
///
/// A field that the source does not know is empty; [`crate::Directory`] merges
/// the facts of all sources.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct PodFact {
    /// `k8s.pod.uid`, as control groups spell it; empty for a container that
    /// belongs to no pod (there is then exactly one container).
    pub uid: Name,
    /// `k8s.pod.name`.
    pub name: Name,
    /// `k8s.namespace.name`.
    pub namespace: Name,
    /// `k8s.node.name`.
    pub node: Name,
    /// Labels of the pod.
    pub labels: BTreeMap<Name, Name>,
    /// The workload that owns it.
    pub workload: Option<Workload>,
    /// Addresses of its own; empty when it shares the node's.
    pub ips: Vec<IpAddr>,
    /// Inode of its network namespace, when it has one of its own.
    pub netns: Option<u64>,
    /// Since when it may have owned its addresses.
    pub created: Option<Timestamp>,
    /// Since when it owns them no more.
    pub ended: Option<End>,
    /// Its containers, in the order of the specification.
    pub containers: Vec<ContainerFact>,
}

/// When something ended, and how well that is known.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum End {
    /// Then, by the word of who ended it.
    At(Timestamp),
    /// Before then: it was found to be gone.
    By(Timestamp),
}

impl End {
    /// The time, whichever way it is known.
    pub fn time(self) -> Timestamp {
        match self {
            Self::At(time) | Self::By(time) => time,
        }
    }

    /// Whether the time is that of the end itself.
    pub fn is_certain(self) -> bool {
        matches!(self, Self::At(_))
    }

    /// The better of two words on one end: the certain one, else the earlier.
    #[must_use]
    pub fn better(self, other: Self) -> Self {
        let order = |end: &Self| (!end.is_certain(), end.time());
        std::cmp::min_by_key(self, other, order)
    }
}

/// What one source knows of one container.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct ContainerFact {
    /// `container.id`, without the runtime's prefix.
    pub id: Name,
    /// `k8s.container.name`, or the name its user gave it.
    pub name: Name,
    /// `container.image.name`.
    pub image: Name,
    /// Ports it says it serves.
    pub ports: Vec<u16>,
    /// When it was started.
    pub started: Option<Timestamp>,
    /// When it ended.
    pub ended: Option<End>,
    /// Whether it only holds the pod's namespaces (the pause container).
    pub sandbox: bool,
}

/// The controller that owns a pod.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Workload {
    /// As Kubernetes spells it: `Deployment`, `StatefulSet`, `DaemonSet`, `Job`, ...
    pub kind: Name,
    /// Its name.
    pub name: Name,
}

impl Workload {
    /// A workload of this kind and name.
    pub fn new(kind: impl AsRef<str>, name: impl AsRef<str>) -> Self {
        Self { kind: Name::from(kind), name: Name::from(name) }
    }
}
