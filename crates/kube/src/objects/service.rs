//! `v1.Service` and `discovery.k8s.io/v1.EndpointSlice`.

use super::Metadata;
use super::pod::Pod;
use serde::Deserialize;
use std::collections::{BTreeMap, HashMap};
use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;
use taproot_model::Name;

/// A service of the cluster, with the pods behind it.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Service {
    /// Its namespace.
    pub namespace: Name,
    /// Its name.
    pub name: Name,
    /// Virtual addresses: cluster, external and load balancer addresses.
    /// Empty for a headless service.
    pub addresses: Vec<IpAddr>,
    /// Its ports.
    pub ports: Vec<ServicePort>,
    /// Who answers, of all ports.
    pub backends: Vec<Backend>,
}

/// One port of a service.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct ServicePort {
    /// Its name; empty where there is one port only.
    pub name: Name,
    /// The virtual port.
    pub port: u16,
    /// Port on every node, if any.
    pub node_port: Option<u16>,
    /// `TCP`, `UDP` or `SCTP`.
    pub transport: Name,
}

/// One backend of a service.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Backend {
    /// Where it listens.
    pub addr: SocketAddr,
    /// Which service port leads here.
    pub port_name: Name,
    /// `k8s.pod.uid`, when a pod stands behind the address.
    pub pod_uid: Name,
    /// `k8s.pod.name`.
    pub pod: Name,
    /// Node it runs on.
    pub node: Name,
    /// Whether it takes new connections.
    pub ready: bool,
}

/// All services, findable by virtual address and by pod.
#[derive(Clone, Debug, Default)]
pub struct Services {
    all: Vec<Arc<Service>>,
    by_address: HashMap<(IpAddr, u16), usize>,
    by_pod: HashMap<Name, Vec<usize>>,
    by_backend: HashMap<SocketAddr, (usize, usize)>,
    by_backend_ip: HashMap<IpAddr, (usize, usize)>,
}

impl Services {
    /// Puts services into findable form.
    pub fn new(services: Vec<Service>) -> Self {
        let mut index = Self::default();
        for (i, service) in services.iter().enumerate() {
            for address in &service.addresses {
                for port in &service.ports {
                    index.by_address.entry((*address, port.port)).or_insert(i);
                }
            }
            for (j, backend) in service.backends.iter().enumerate() {
                index.by_backend.entry(backend.addr).or_insert((i, j));
                index.by_backend_ip.entry(backend.addr.ip()).or_insert((i, j));
                let services = index.by_pod.entry(backend.pod_uid.clone()).or_default();
                if !backend.pod_uid.is_empty() && services.last() != Some(&i) {
                    services.push(i);
                }
            }
        }
        index.all = services.into_iter().map(Arc::new).collect();
        index
    }

    /// All of them.
    pub fn all(&self) -> &[Arc<Service>] {
        &self.all
    }

    /// The service that has this virtual address and port.
    pub fn at(&self, address: IpAddr, port: u16) -> Option<&Arc<Service>> {
        self.all.get(*self.by_address.get(&(address, port))?)
    }

    /// The services a pod stands behind, in order of name.
    pub fn of_pod(&self, uid: &str) -> impl Iterator<Item = &Arc<Service>> {
        self.by_pod.get(uid).into_iter().flatten().filter_map(|i| self.all.get(*i))
    }

    /// The backend that listens at this address and port.
    /// Slices cover the whole cluster: this knows pods of other nodes, too.
    pub fn backend(&self, addr: SocketAddr) -> Option<&Backend> {
        self.backend_at(*self.by_backend.get(&addr)?)
    }

    /// A backend with this address at any port. Not for addresses of nodes,
    /// which pods in the node's network share.
    pub fn backend_ip(&self, ip: IpAddr) -> Option<&Backend> {
        self.backend_at(*self.by_backend_ip.get(&ip)?)
    }

    fn backend_at(&self, (service, backend): (usize, usize)) -> Option<&Backend> {
        self.all.get(service)?.backends.get(backend)
    }
}

#[derive(Debug, Default, Deserialize)]
#[serde(default)]
pub(super) struct ServiceObject {
    metadata: Metadata,
    spec: ServiceSpec,
    status: ServiceStatus,
}

#[derive(Debug, Default, Deserialize)]
#[serde(rename_all = "camelCase", default)]
struct ServiceSpec {
    #[serde(rename = "clusterIP")]
    cluster_ip: String,
    #[serde(rename = "clusterIPs")]
    cluster_ips: Vec<String>,
    #[serde(rename = "externalIPs")]
    external_ips: Vec<String>,
    ports: Vec<PortSpec>,
    selector: BTreeMap<Name, Name>,
}

#[derive(Debug, Deserialize)]
#[serde(rename_all = "camelCase")]
struct PortSpec {
    port: u16,
    #[serde(default)]
    name: Name,
    #[serde(default)]
    protocol: Name,
    node_port: Option<u16>,
    target_port: Option<TargetPort>,
}

/// `IntOrString`: a number, or the name of a container's port.
#[derive(Debug, Deserialize)]
#[serde(untagged)]
enum TargetPort {
    Number(u16),
    Named(String),
}

#[derive(Debug, Default, Deserialize)]
#[serde(rename_all = "camelCase", default)]
struct ServiceStatus {
    load_balancer: LoadBalancer,
}

#[derive(Debug, Default, Deserialize)]
#[serde(default)]
struct LoadBalancer {
    ingress: Vec<Ingress>,
}

#[derive(Debug, Default, Deserialize)]
#[serde(default)]
struct Ingress {
    ip: String,
}

#[derive(Debug, Default, Deserialize)]
#[serde(default)]
pub(super) struct EndpointSlice {
    metadata: Metadata,
    endpoints: Option<Vec<Endpoint>>,
    ports: Option<Vec<EndpointPort>>,
}

#[derive(Debug, Default, Deserialize)]
#[serde(rename_all = "camelCase", default)]
struct Endpoint {
    addresses: Vec<String>,
    conditions: Conditions,
    node_name: Name,
    target_ref: Option<TargetRef>,
}

#[derive(Debug, Default, Deserialize)]
#[serde(default)]
struct Conditions {
    ready: Option<bool>,
}

#[derive(Debug, Default, Deserialize)]
#[serde(default)]
struct TargetRef {
    kind: String,
    name: Name,
    uid: Name,
}

#[derive(Debug, Deserialize)]
struct EndpointPort {
    #[serde(default)]
    name: Option<Name>,
    port: Option<u16>,
}

/// Joins services with their slices, or with the pods that they select.
pub(super) fn collect(
    services: &[ServiceObject],
    slices: &[EndpointSlice],
    pods: &[Pod],
) -> Services {
    let mut by_service: HashMap<(&str, &str), Vec<Backend>> = HashMap::new();
    for slice in slices {
        let Some(service) = slice.metadata.labels.get("kubernetes.io/service-name") else {
            continue;
        };
        let key = (slice.metadata.namespace.as_str(), service.as_str());
        by_service.entry(key).or_default().extend(slice.backends());
    }
    let mut found = Vec::with_capacity(services.len());
    for object in services {
        let key = (object.metadata.namespace.as_str(), object.metadata.name.as_str());
        let backends = by_service.remove(&key).unwrap_or_else(|| object.selected(pods));
        found.push(object.service(backends));
    }
    found.sort_by(|a, b| (&a.namespace, &a.name).cmp(&(&b.namespace, &b.name)));
    Services::new(found)
}

impl ServiceObject {
    fn service(&self, backends: Vec<Backend>) -> Service {
        let spec = &self.spec;
        let mut addresses: Vec<IpAddr> = [&spec.cluster_ip]
            .into_iter()
            .chain(&spec.cluster_ips)
            .chain(&spec.external_ips)
            .chain(self.status.load_balancer.ingress.iter().map(|ingress| &ingress.ip))
            .filter_map(|ip| ip.parse().ok())
            .collect();
        addresses.sort_unstable();
        addresses.dedup();
        let port = |port: &PortSpec| ServicePort {
            name: port.name.clone(),
            port: port.port,
            node_port: port.node_port.filter(|port| *port != 0),
            transport: if port.protocol.is_empty() { "TCP".into() } else { port.protocol.clone() },
        };
        Service {
            namespace: self.metadata.namespace.clone(),
            name: self.metadata.name.clone(),
            addresses,
            ports: spec.ports.iter().map(port).collect(),
            backends,
        }
    }

    /// The backends the endpoint controller would find.
    fn selected(&self, pods: &[Pod]) -> Vec<Backend> {
        let selector = &self.spec.selector;
        let matches = |pod: &&Pod| {
            pod.metadata.namespace == self.metadata.namespace
                && !pod.is_over()
                && selector.iter().all(|(key, value)| pod.metadata.labels.get(key) == Some(value))
        };
        if selector.is_empty() {
            return Vec::new();
        }
        pods.iter().filter(matches).flat_map(|pod| self.backends_in(pod)).collect()
    }

    fn backends_in(&self, pod: &Pod) -> Vec<Backend> {
        let mut found = Vec::new();
        for ip in pod.ips() {
            for port in &self.spec.ports {
                let number = match &port.target_port {
                    Some(TargetPort::Number(number)) => Some(*number),
                    Some(TargetPort::Named(name)) => pod.port(name),
                    None => Some(port.port),
                };
                let Some(number) = number else { continue };
                found.push(Backend {
                    addr: SocketAddr::new(ip, number),
                    port_name: port.name.clone(),
                    pod_uid: pod.uid(),
                    pod: pod.metadata.name.clone(),
                    node: Name::default(),
                    ready: true,
                });
            }
        }
        found
    }
}

impl EndpointSlice {
    fn backends(&self) -> Vec<Backend> {
        let mut found = Vec::new();
        for endpoint in self.endpoints.iter().flatten() {
            let target = endpoint.target_ref.as_ref().filter(|target| target.kind == "Pod");
            for ip in endpoint.addresses.iter().filter_map(|ip| ip.parse().ok()) {
                for port in self.ports.iter().flatten() {
                    found.push(Backend {
                        addr: SocketAddr::new(ip, port.port.unwrap_or(0)),
                        port_name: port.name.clone().unwrap_or_default(),
                        pod_uid: target.map(|t| t.uid.clone()).unwrap_or_default(),
                        pod: target.map(|t| t.name.clone()).unwrap_or_default(),
                        node: endpoint.node_name.clone(),
                        ready: endpoint.conditions.ready.unwrap_or(true),
                    });
                }
            }
        }
        found
    }
}
