//! The shape of the shop: which pods there are, where, and who calls whom.

use std::net::Ipv4Addr;

use crate::options::Options;
use crate::state::{Edge, Limits};

/// Kubernetes-like namespace of every pod.
pub const NAMESPACE: &str = "shop";
/// Pod bridge in the node's namespace.
pub(crate) const BRIDGE: &str = "cni0";
/// Bridge of the second subnet, to which only the reporter is attached.
pub(crate) const SECOND_BRIDGE: &str = "cni1";
/// Second subnet, three bytes of it.
pub(crate) const SECOND_SUBNET: [u8; 3] = [192, 168, 77];
/// Address that two pods of the extras use one after the other (last byte).
const REUSED_HOST: u8 = 40;
/// First pod with that address: deleted after a few seconds.
pub(crate) const FIRST_JOB: &str = "job-a";
/// Second pod with that address: created when the first is gone.
pub(crate) const SECOND_JOB: &str = "job-b";

/// A pod to be made.
#[derive(Debug, Clone)]
pub(crate) struct PodPlan {
    /// Pod and workload name.
    pub(crate) name: &'static str,
    /// Word after `serve`.
    pub(crate) role: &'static str,
    /// Last byte of the pod's address.
    pub(crate) host: u8,
    /// Port the container listens on.
    pub(crate) port: Option<u16>,
    /// Limits.
    pub(crate) limits: Limits,
    /// Lives in the node's network namespace.
    pub(crate) host_network: bool,
    /// Has a second interface in the second subnet.
    pub(crate) multi_homed: bool,
}

/// A service to be made.
#[derive(Debug, Clone, Copy)]
pub(crate) struct ServicePlan {
    pub(crate) name: &'static str,
    pub(crate) host: u8,
    pub(crate) port: u16,
    pub(crate) transport: &'static str,
    pub(crate) backend: &'static str,
}

const MIB: u64 = 1 << 20;

fn limits(cpu_milli: u32, request_milli: u32, memory_mib: u64) -> Limits {
    Limits {
        cpu_milli: Some(cpu_milli),
        cpu_request_milli: request_milli,
        memory_bytes: memory_mib * MIB,
        pids: 128,
        files: 1024,
        cpu: None,
    }
}

fn pod(name: &'static str, host: u8, port: Option<u16>, limits: Limits) -> PodPlan {
    PodPlan { name, role: name, host, port, limits, host_network: false, multi_homed: false }
}

/// All pods of a lab.
pub(crate) fn pods(options: &Options) -> Vec<PodPlan> {
    let shared_cpu = std::thread::available_parallelism().map_or(0, |n| n.get() as u32 - 1);
    let product = Limits { files: 256, cpu: Some(shared_cpu), ..limits(400, 200, 96) };
    // The batch pod asks for much and is bounded by nothing: the classic neighbour.
    let batch = Limits { cpu_milli: None, cpu: Some(shared_cpu), ..limits(0, 2000, 64) };
    let mut pods = vec![
        pod("loadgen", 10, None, limits(800, 400, 96)),
        pod("gateway", 11, Some(8080), limits(800, 400, 96)),
        pod("product", 12, Some(8080), product),
        pod("inventory", 13, Some(8080), limits(400, 200, 96)),
        pod("cache", 14, Some(6379), limits(400, 200, 96)),
        pod("dns", 15, Some(53), limits(200, 100, 48)),
        pod("apiserver", 16, Some(6443), limits(400, 200, 64)),
        PodPlan { multi_homed: true, ..pod("reporter", 17, None, limits(200, 100, 48)) },
        pod("batch", 18, None, batch),
    ];
    if options.extras {
        pods.extend(extras());
    }
    pods
}

fn extras() -> [PodPlan; 4] {
    let small = || limits(200, 100, 48);
    let job = |name, role| PodPlan { role, ..pod(name, REUSED_HOST, None, small()) };
    [
        pod("echo", 30, Some(8080), small()),
        PodPlan { host_network: true, ..pod("hostweb", 1, Some(9100), small()) },
        job(FIRST_JOB, "job-inventory"),
        job(SECOND_JOB, "job-cache"),
    ]
}

/// All services of a lab.
pub(crate) fn services(options: &Options) -> Vec<ServicePlan> {
    let service = |name, host, port, backend| ServicePlan {
        name,
        host,
        port,
        transport: if name == "dns" { "udp" } else { "tcp" },
        backend,
    };
    let mut all = vec![
        service("kubernetes", 1, 443, "apiserver"),
        service("dns", 10, 53, "dns"),
        service("gateway", 20, 80, "gateway"),
        service("product", 21, 80, "product"),
        service("inventory", 22, 80, "inventory"),
        service("cache", 23, 6379, "cache"),
    ];
    if options.extras {
        all.push(service("echo", 30, 80, "echo"));
    }
    all
}

/// Who truly calls whom.
pub(crate) fn edges(options: &Options) -> Vec<Edge> {
    let edge = |caller: &str, callee: &str, service: Option<&str>, protocol: &str| Edge {
        caller: caller.into(),
        callee: callee.into(),
        service: service.map(Into::into),
        protocol: protocol.into(),
    };
    let mut edges = vec![
        edge("loadgen", "gateway", Some("gateway"), "http"),
        edge("gateway", "product", Some("product"), "http"),
        edge("product", "inventory", Some("inventory"), "http"),
        edge("product", "cache", Some("cache"), "redis"),
        edge("product", "dns", Some("dns"), "dns"),
        edge("reporter", "apiserver", Some("kubernetes"), "http"),
    ];
    if options.extras {
        edges.extend([
            edge("echo", "echo", Some("echo"), "http"),
            edge("echo", "hostweb", None, "http"),
            edge("hostweb", "inventory", Some("inventory"), "http"),
            edge("job-a", "inventory", Some("inventory"), "http"),
            edge("job-b", "cache", Some("cache"), "redis"),
        ]);
    }
    edges
}

/// An address of the pod subnet.
pub(crate) fn pod_ip(options: &Options, host: u8) -> Ipv4Addr {
    address(options.pod_subnet, host)
}

/// An address of the service subnet.
pub(crate) fn service_ip(options: &Options, host: u8) -> Ipv4Addr {
    address(options.service_subnet, host)
}

/// An address from three bytes of subnet and one of host.
pub(crate) fn address(subnet: [u8; 3], host: u8) -> Ipv4Addr {
    Ipv4Addr::new(subnet[0], subnet[1], subnet[2], host)
}
