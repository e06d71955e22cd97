//! `v1.Pod`.

use super::{Metadata, parse_time};
use crate::facts::{ContainerFact, End, PodFact, Workload};
use crate::workload;
use serde::Deserialize;
use std::net::IpAddr;
use taproot_model::{Name, Timestamp};

#[derive(Debug, Default, Deserialize)]
#[serde(default)]
pub(super) struct Pod {
    pub(super) metadata: Metadata,
    spec: Spec,
    status: Status,
}

#[derive(Debug, Default, Deserialize)]
#[serde(rename_all = "camelCase", default)]
struct Spec {
    node_name: Name,
    host_network: bool,
    containers: Vec<ContainerSpec>,
    init_containers: Vec<ContainerSpec>,
}

#[derive(Debug, Default, Deserialize)]
#[serde(default)]
struct ContainerSpec {
    name: Name,
    image: Name,
    ports: Vec<ContainerPort>,
}

#[derive(Debug, Deserialize)]
#[serde(rename_all = "camelCase")]
struct ContainerPort {
    container_port: u16,
    #[serde(default)]
    name: Name,
}

#[derive(Debug, Default, Deserialize)]
#[serde(rename_all = "camelCase", default)]
struct Status {
    phase: String,
    #[serde(rename = "podIP")]
    pod_ip: String,
    #[serde(rename = "podIPs")]
    pod_ips: Vec<PodIp>,
    start_time: Option<String>,
    container_statuses: Vec<ContainerStatus>,
    init_container_statuses: Vec<ContainerStatus>,
    ephemeral_container_statuses: Vec<ContainerStatus>,
}

#[derive(Debug, Deserialize)]
struct PodIp {
    ip: String,
}

#[derive(Debug, Default, Deserialize)]
#[serde(default)]
struct ContainerStatus {
    name: Name,
    #[serde(rename = "containerID")]
    container_id: String,
    image: Name,
    state: State,
    #[serde(rename = "lastState")]
    last_state: State,
}

#[derive(Debug, Default, Deserialize)]
#[serde(default)]
struct State {
    running: Option<Run>,
    terminated: Option<Run>,
}

#[derive(Debug, Default, Deserialize)]
#[serde(rename_all = "camelCase", default)]
struct Run {
    #[serde(rename = "containerID")]
    container_id: String,
    started_at: Option<String>,
    finished_at: Option<String>,
}

impl Pod {
    /// The pod as a fact; `None` before a node was chosen for it.
    pub(super) fn fact(
        &self,
        at: Timestamp,
        controllers: impl Fn(&Workload) -> Option<Workload>,
    ) -> Option<PodFact> {
        if self.spec.node_name.is_empty() {
            return None;
        }
        let containers = self.containers();
        let workload = self
            .metadata
            .controller()
            .filter(|owner| owner.kind.as_str() != "Node")
            .map(|owner| workload::of_owner(&owner, &self.metadata.labels, controllers));
        Some(PodFact {
            uid: self.uid(),
            name: self.metadata.name.clone(),
            namespace: self.metadata.namespace.clone(),
            node: self.spec.node_name.clone(),
            labels: self.metadata.labels.clone(),
            workload,
            ips: self.ips(),
            netns: None,
            created: time(self.status.start_time.as_deref())
                .or_else(|| time(self.metadata.creation_timestamp.as_deref())),
            ended: self.is_over().then(|| last_end(&containers).unwrap_or(End::By(at))),
            containers,
        })
    }

    /// The uid that control groups have: for a static pod the hash of its
    /// manifest, which the mirror pod in the API server has only in a note.
    pub(super) fn uid(&self) -> Name {
        let notes = &self.metadata.annotations;
        let hash = ["kubernetes.io/config.mirror", "kubernetes.io/config.hash"];
        hash.iter().find_map(|key| notes.get(*key)).unwrap_or(&self.metadata.uid).clone()
    }

    /// Addresses of its own: a pod in the node's network has none.
    pub(super) fn ips(&self) -> Vec<IpAddr> {
        if self.spec.host_network {
            return Vec::new();
        }
        let all = self.status.pod_ips.iter().map(|ip| &ip.ip);
        let mut ips: Vec<IpAddr> =
            all.chain([&self.status.pod_ip]).filter_map(|ip| ip.parse().ok()).collect();
        ips.sort_unstable();
        ips.dedup();
        ips
    }

    /// The number of a named port.
    pub(super) fn port(&self, name: &str) -> Option<u16> {
        let mut ports = self.spec.containers.iter().flat_map(|container| &container.ports);
        ports.find(|port| port.name.as_str() == name).map(|port| port.container_port)
    }

    /// Whether the pod is over for good: its address may belong to another.
    pub(super) fn is_over(&self) -> bool {
        matches!(self.status.phase.as_str(), "Succeeded" | "Failed")
    }

    /// Its containers in the order of the specification, the present one of
    /// each name before its predecessor.
    fn containers(&self) -> Vec<ContainerFact> {
        let status = &self.status;
        status
            .container_statuses
            .iter()
            .chain(&status.init_container_statuses)
            .chain(&status.ephemeral_container_statuses)
            .flat_map(|status| self.container(status))
            .collect()
    }

    fn container(&self, status: &ContainerStatus) -> Vec<ContainerFact> {
        let specs = self.spec.containers.iter().chain(&self.spec.init_containers);
        let spec = specs.into_iter().find(|spec| spec.name == status.name);
        let image = spec.map_or(&status.image, |spec| &spec.image);
        let ports: Vec<u16> =
            spec.iter().flat_map(|spec| spec.ports.iter().map(|p| p.container_port)).collect();
        let fact = |id: &str, run: Option<&Run>| ContainerFact {
            id: bare_id(id).into(),
            name: status.name.clone(),
            image: image.clone(),
            ports: ports.clone(),
            started: run.and_then(|run| time(run.started_at.as_deref())),
            ended: run.and_then(|run| time(run.finished_at.as_deref())).map(End::At),
            sandbox: false,
        };
        let now = status.state.running.as_ref().or(status.state.terminated.as_ref());
        let mut found = vec![fact(&status.container_id, now)];
        if let Some(last) = &status.last_state.terminated {
            found.push(fact(&last.container_id, Some(last)));
        }
        found.retain(|container| !container.id.is_empty());
        found
    }
}

/// The id in `containerd://<id>`.
fn bare_id(id: &str) -> &str {
    id.split_once("://").map_or(id, |(_runtime, id)| id)
}

/// When the last of them ended, if that is known of all. A pod that was evicted
/// may have none.
fn last_end(containers: &[ContainerFact]) -> Option<End> {
    let mut ends = containers.iter().map(|container| container.ended);
    let first = ends.next()??;
    ends.try_fold(first, |last, end| Some(std::cmp::max_by_key(last, end?, |end| end.time())))
}

fn time(text: Option<&str>) -> Option<Timestamp> {
    text.and_then(parse_time)
}
