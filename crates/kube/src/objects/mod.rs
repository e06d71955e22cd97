//! Kubernetes objects as JSON, only the fields that tell who is who.
//!
//! One parser reads what the kubelet (`/pods`), the API server (any list), and
//! `kubectl get pods,services,endpointslices,replicasets -A -o json` write.

mod event;
mod node;
mod pod;
mod service;
mod time;

pub use event::{EventFact, EventObject};
pub use service::{Backend, Service, ServicePort, Services};

use crate::facts::{PodFact, Workload};
use event::Event;
use node::Node;
use pod::Pod;
use serde::Deserialize;
use serde::de::DeserializeOwned;
use service::{EndpointSlice, ServiceObject};
use std::collections::{BTreeMap, HashMap};
use std::net::IpAddr;
use taproot_model::{Name, Timestamp};

pub(crate) use event::{Watched, list_version, watched};
pub(crate) use time::parse as parse_time;

/// Why objects could not be read.
#[derive(Debug, thiserror::Error)]
pub enum ObjectError {
    /// Not JSON, or a field of another type than Kubernetes writes.
    #[error("not a list of Kubernetes objects: {0}")]
    Malformed(#[from] serde_json::Error),
    /// A kind that says nothing of identity.
    #[error(
        "cannot use a {0:?}: expected a List of pods, services, endpoint slices or replica sets, as `kubectl get ... -o json` writes it"
    )]
    Kind(String),
}

/// Objects of one or more lists.
#[derive(Debug, Default)]
pub struct Objects {
    pods: Vec<Pod>,
    services: Vec<ServiceObject>,
    slices: Vec<EndpointSlice>,
    nodes: Vec<Node>,
    events: Vec<Event>,
    /// Owners of controllers, by namespace, kind and name.
    owners: HashMap<(Name, Name, Name), Workload>,
}

impl Objects {
    /// Reads a list: of one kind (`PodList`), or a `List` of mixed kinds, in
    /// which kinds that say nothing of identity are passed over.
    pub fn parse(json: &[u8]) -> Result<Self, ObjectError> {
        let mut objects = Self::default();
        objects.add(json)?;
        Ok(objects)
    }

    /// Reads another list into the same collection.
    pub fn add(&mut self, json: &[u8]) -> Result<(), ObjectError> {
        let Kind { kind } = serde_json::from_slice(json)?;
        self.add_as(&kind, json)
    }

    /// Reads another list that is known to be of this kind, whatever it says: an
    /// answer with metadata only calls itself `PartialObjectMetadataList`.
    pub fn add_as(&mut self, kind: &str, json: &[u8]) -> Result<(), ObjectError> {
        match kind {
            "PodList" => self.pods.extend(items(json)?),
            "ServiceList" => self.services.extend(items(json)?),
            "EndpointSliceList" => self.slices.extend(items(json)?),
            "NodeList" => self.nodes.extend(items(json)?),
            "EventList" => self.events.extend(items(json)?),
            "ReplicaSetList" => self.add_owners("ReplicaSet", items(json)?),
            "JobList" => self.add_owners("Job", items(json)?),
            "List" => {
                for item in items::<serde_json::Value>(json)? {
                    self.add_item(item)?;
                }
            }
            _ => return Err(ObjectError::Kind(kind.to_owned())),
        }
        Ok(())
    }

    fn add_item(&mut self, item: serde_json::Value) -> Result<(), ObjectError> {
        let kind = item.get("kind").and_then(|kind| kind.as_str()).unwrap_or_default().to_owned();
        match kind.as_str() {
            "Pod" => self.pods.push(serde_json::from_value(item)?),
            "Service" => self.services.push(serde_json::from_value(item)?),
            "EndpointSlice" => self.slices.push(serde_json::from_value(item)?),
            "Node" => self.nodes.push(serde_json::from_value(item)?),
            "Event" => self.events.push(serde_json::from_value(item)?),
            "ReplicaSet" | "Job" => self.add_owners(&kind, vec![serde_json::from_value(item)?]),
            _ => {}
        }
        Ok(())
    }

    fn add_owners(&mut self, kind: &str, objects: Vec<Owned>) {
        for Owned { metadata } in objects {
            if let Some(owner) = metadata.controller() {
                let key = (metadata.namespace, Name::from(kind), metadata.name);
                self.owners.insert(key, owner);
            }
        }
    }

    /// The pods as facts, as they were listed `at` that time. Pods that have not
    /// been given to a node are left out.
    pub fn pod_facts(&self, at: Timestamp) -> Vec<PodFact> {
        let fact = |pod: &Pod| pod.fact(at, |owner| self.owner_of(pod, owner));
        self.pods.iter().filter_map(fact).collect()
    }

    fn owner_of(&self, pod: &Pod, owner: &Workload) -> Option<Workload> {
        let key = (pod.metadata.namespace.clone(), owner.kind.clone(), owner.name.clone());
        self.owners.get(&key).cloned()
    }

    /// The services with their backends. Where a service has no slices here,
    /// its backends are the pods its selector matches.
    pub fn services(&self) -> Services {
        service::collect(&self.services, &self.slices, &self.pods)
    }

    /// Names of the nodes by their addresses.
    pub fn node_addresses(&self) -> HashMap<IpAddr, Name> {
        self.nodes.iter().flat_map(Node::addresses).collect()
    }

    /// What happened, oldest first.
    pub fn events(&self) -> Vec<EventFact> {
        let mut facts: Vec<EventFact> = self.events.iter().filter_map(Event::fact).collect();
        facts.sort_by_key(|fact| fact.at);
        facts
    }

    /// How many pods, services and slices were read.
    pub fn counts(&self) -> (usize, usize, usize) {
        (self.pods.len(), self.services.len(), self.slices.len())
    }
}

fn items<T: DeserializeOwned>(json: &[u8]) -> Result<Vec<T>, serde_json::Error> {
    // The Go encoder writes an empty list as null.
    Ok(serde_json::from_slice::<List<T>>(json)?.items.unwrap_or_default())
}

#[derive(Deserialize)]
struct Kind {
    #[serde(default)]
    kind: String,
}

#[derive(Deserialize)]
struct List<T> {
    items: Option<Vec<T>>,
}

#[derive(Deserialize)]
struct Owned {
    metadata: Metadata,
}

/// `ObjectMeta`.
#[derive(Debug, Default, Deserialize)]
#[serde(rename_all = "camelCase", default)]
struct Metadata {
    name: Name,
    namespace: Name,
    uid: Name,
    creation_timestamp: Option<String>,
    labels: BTreeMap<Name, Name>,
    annotations: BTreeMap<Name, Name>,
    owner_references: Vec<OwnerReference>,
}

impl Metadata {
    fn controller(&self) -> Option<Workload> {
        let owners = &self.owner_references;
        let owner = owners.iter().find(|owner| owner.controller).or_else(|| owners.first())?;
        Some(Workload { kind: owner.kind.clone(), name: owner.name.clone() })
    }
}

#[derive(Debug, Deserialize)]
struct OwnerReference {
    #[serde(default)]
    kind: Name,
    #[serde(default)]
    name: Name,
    #[serde(default)]
    controller: bool,
}
