//! From the runtime's answers to facts.

use super::client::{Cri, CriError};
use super::messages::{
    Container, ContainerStatus, ImageSpec, PodSandbox, PodSandboxStatusResponse,
};
use crate::facts::{ContainerFact, End, PodFact};
use crate::workload;
use serde::Deserialize;
use std::collections::{BTreeMap, HashMap};
use std::net::IpAddr;
use taproot_model::{Name, Timestamp};

const READY: i32 = 0;
const EXITED: i32 = 2;

/// What was asked once of a sandbox or container and does not change.
#[derive(Default)]
pub(crate) struct Asked {
    networks: HashMap<String, Network>,
    exits: HashMap<String, ContainerStatus>,
}

/// The network of a pod, from the status of its sandbox.
#[derive(Clone, Default, PartialEq, Debug)]
struct Network {
    ips: Vec<IpAddr>,
    /// The pause process, for its network namespace.
    pid: Option<u32>,
}

impl Cri {
    /// All pods with their containers. `netns` gives the network namespace of a
    /// process, if it is not the node's.
    pub(crate) fn pods(
        &self,
        asked: &mut Asked,
        netns: impl Fn(u32) -> Option<u64>,
    ) -> Result<Vec<PodFact>, CriError> {
        let sandboxes = self.sandboxes()?.items;
        let containers = self.containers()?.containers;
        asked.networks.retain(|id, _| sandboxes.iter().any(|sandbox| sandbox.id == *id));
        asked.exits.retain(|id, _| containers.iter().any(|container| container.id == *id));
        let now = Timestamp::now();
        let mut pods = Vec::new();
        for sandbox in &sandboxes {
            let network = self.network(sandbox, asked);
            let mut fact = sandbox_fact(sandbox, &network, now);
            fact.netns = network.pid.and_then(&netns);
            for container in containers.iter().filter(|c| c.pod_sandbox_id == sandbox.id) {
                let exit = self.exit(container, asked);
                fact.containers.push(container_fact(container, exit.as_ref()));
            }
            pods.push(fact);
        }
        Ok(pods)
    }

    /// The network of a pod. Asked until the pod has an address; a sandbox that
    /// is gone in between has none.
    fn network(&self, sandbox: &PodSandbox, asked: &mut Asked) -> Network {
        if let Some(known) = asked.networks.get(&sandbox.id) {
            return known.clone();
        }
        if sandbox.state != READY {
            return Network::default();
        }
        let network = self.sandbox(&sandbox.id).map(|status| network(&status)).unwrap_or_default();
        if network.pid.is_some() {
            asked.networks.insert(sandbox.id.clone(), network.clone());
        }
        network
    }

    fn exit(&self, container: &Container, asked: &mut Asked) -> Option<ContainerStatus> {
        if container.state != EXITED {
            return None;
        }
        if let Some(known) = asked.exits.get(&container.id) {
            return Some(known.clone());
        }
        let status = self.container(&container.id).ok()?;
        asked.exits.insert(container.id.clone(), status.clone());
        Some(status)
    }
}

fn sandbox_fact(sandbox: &PodSandbox, network: &Network, now: Timestamp) -> PodFact {
    let metadata = sandbox.metadata.clone().unwrap_or_default();
    let labels: BTreeMap<Name, Name> = sandbox
        .labels
        .iter()
        .filter(|(key, _)| !key.starts_with("io.kubernetes."))
        .map(|(key, value)| (Name::from(key), Name::from(value)))
        .collect();
    // The CRI gives a sandbox's state but not since when it is so.
    let pause = ContainerFact {
        id: Name::from(&sandbox.id),
        started: time(sandbox.created_at),
        ended: (sandbox.state != READY).then_some(End::By(now)),
        sandbox: true,
        ..ContainerFact::default()
    };
    let hash = sandbox.annotations.get("kubernetes.io/config.hash");
    PodFact {
        uid: Name::from(hash.unwrap_or(&metadata.uid)),
        workload: workload::of_labels(&metadata.name, &labels),
        name: Name::from(metadata.name),
        namespace: Name::from(metadata.namespace),
        labels,
        ips: network.ips.clone(),
        created: time(sandbox.created_at),
        containers: vec![pause],
        ..PodFact::default()
    }
}

fn container_fact(container: &Container, exit: Option<&ContainerStatus>) -> ContainerFact {
    let status_image = exit.and_then(|status| status.image.as_ref());
    ContainerFact {
        id: Name::from(&container.id),
        name: Name::from(container.metadata.clone().unwrap_or_default().name),
        image: Name::from(image(status_image, container)),
        ports: ports(container),
        started: exit
            .and_then(|status| time(status.started_at))
            .or_else(|| time(container.created_at)),
        ended: exit.and_then(|status| time(status.finished_at)).map(End::At),
        sandbox: false,
    }
}

/// The most telling name of an image: as the user wrote it, else any name that
/// is not a bare digest.
fn image<'a>(status: Option<&'a ImageSpec>, container: &'a Container) -> &'a str {
    let specs = || container.image.iter().chain(status);
    let written = specs().map(|spec| spec.user_specified_image.as_str());
    let names = written.chain(specs().map(|spec| spec.image.as_str()));
    let telling = |name: &&str| !name.is_empty() && !name.starts_with("sha256:");
    names.clone().find(telling).unwrap_or(&container.image_ref)
}

/// Ports from the note that a kubelet leaves on a container.
fn ports(container: &Container) -> Vec<u16> {
    #[derive(Deserialize)]
    #[serde(rename_all = "camelCase")]
    struct Port {
        container_port: u16,
    }
    let note = container.annotations.get("io.kubernetes.container.ports");
    let ports: Option<Vec<Port>> = note.and_then(|json| serde_json::from_str(json).ok());
    ports.unwrap_or_default().into_iter().map(|port| port.container_port).collect()
}

/// Reads addresses and the pause process off a verbose sandbox status.
fn network(status: &PodSandboxStatusResponse) -> Network {
    #[derive(Deserialize)]
    struct Info {
        pid: Option<u32>,
    }
    let network = status.status.as_ref().and_then(|status| status.network.clone());
    let network = network.unwrap_or_default();
    let additional = network.additional_ips.iter().map(|ip| &ip.ip);
    let ips = [&network.ip].into_iter().chain(additional).filter_map(|ip| ip.parse().ok());
    let info: Option<Info> =
        status.info.get("info").and_then(|json| serde_json::from_str(json).ok());
    Network { ips: ips.collect(), pid: info.and_then(|info| info.pid).filter(|pid| *pid != 0) }
}

fn time(nanoseconds: i64) -> Option<Timestamp> {
    u64::try_from(nanoseconds).ok().filter(|nanos| *nanos != 0).map(Timestamp)
}

#[cfg(test)]
mod tests {
    use super::super::messages::{ContainerMetadata, PodIp, PodSandboxMetadata};
    use super::super::messages::{PodSandboxNetworkStatus, PodSandboxStatus};
    use super::*;

    fn map(pairs: &[(&str, &str)]) -> HashMap<String, String> {
        pairs.iter().map(|(k, v)| ((*k).to_owned(), (*v).to_owned())).collect()
    }

    fn metadata() -> PodSandboxMetadata {
        PodSandboxMetadata {
            name: "ledger-7c9d8f6b54-x2x4z".into(),
            uid: "u-1".into(),
            namespace: "bank".into(),
        }
    }

    #[test]
    fn a_sandbox_tells_pod_and_workload() {
        let sandbox = PodSandbox {
            id: "s1".into(),
            metadata: Some(metadata()),
            created_at: 5,
            labels: map(&[("pod-template-hash", "7c9d8f6b54"), ("io.kubernetes.pod.uid", "u-1")]),
            ..PodSandbox::default()
        };
        let network = Network { ips: vec!["10.1.0.5".parse().unwrap()], pid: Some(9) };
        let fact = sandbox_fact(&sandbox, &network, Timestamp(100));
        assert_eq!((&*fact.uid, &*fact.namespace), ("u-1", "bank"));
        assert_eq!(fact.workload.as_ref().map(|w| &*w.name), Some("ledger"));
        assert_eq!(fact.labels.len(), 1, "the kubelet's own labels are no labels of the pod");
        assert_eq!((fact.created, fact.containers[0].ended), (Some(Timestamp(5)), None));
        let dead = PodSandbox { state: 1, ..sandbox };
        let fact = sandbox_fact(&dead, &network, Timestamp(100));
        assert_eq!(fact.containers[0].ended, Some(End::By(Timestamp(100))));
    }

    #[test]
    fn static_pods_go_by_the_hash_that_their_group_has() {
        let annotations = map(&[("kubernetes.io/config.hash", "0123abcd")]);
        let sandbox =
            PodSandbox { metadata: Some(metadata()), annotations, ..PodSandbox::default() };
        let fact = sandbox_fact(&sandbox, &Network::default(), Timestamp(1));
        assert_eq!(&*fact.uid, "0123abcd");
    }

    #[test]
    fn a_container_tells_name_image_ports_and_end() {
        let container = Container {
            id: "c1".into(),
            metadata: Some(ContainerMetadata { name: "app".into() }),
            image: Some(ImageSpec { image: "sha256:77".into(), ..ImageSpec::default() }),
            image_ref: "sha256:77".into(),
            state: EXITED,
            created_at: 10,
            annotations: map(&[("io.kubernetes.container.ports", r#"[{"containerPort":8080}]"#)]),
            ..Container::default()
        };
        let exit = ContainerStatus {
            started_at: 11,
            finished_at: 20,
            image: Some(ImageSpec { image: "localhost/app:1".into(), ..ImageSpec::default() }),
        };
        let fact = container_fact(&container, Some(&exit));
        assert_eq!((&*fact.name, &*fact.image), ("app", "localhost/app:1"));
        assert_eq!(fact.ports, [8080]);
        assert_eq!((fact.started, fact.ended), (Some(Timestamp(11)), Some(End::At(Timestamp(20)))));
        let running = container_fact(&container, None);
        assert_eq!((&*running.image, running.started), ("sha256:77", Some(Timestamp(10))));
    }

    #[test]
    fn a_verbose_status_tells_the_network() {
        let addresses = PodSandboxNetworkStatus {
            ip: "10.1.0.5".into(),
            additional_ips: vec![PodIp { ip: "fd00::5".into() }, PodIp { ip: "?".into() }],
        };
        let status = PodSandboxStatusResponse {
            status: Some(PodSandboxStatus { network: Some(addresses) }),
            info: map(&[("info", r#"{"pid":4711,"netNamespaceClosed":false,"config":{}}"#)]),
        };
        let found = network(&status);
        assert_eq!(found.ips, ["10.1.0.5".parse::<IpAddr>().unwrap(), "fd00::5".parse().unwrap()]);
        assert_eq!(found.pid, Some(4711));
        assert_eq!(network(&PodSandboxStatusResponse::default()), Network::default());
    }
}
