//! From the plan to the state: the lab as it will be, before anything is made.

use std::fs;
use std::io::Read;
use std::path::Path;
use std::time::{SystemTime, UNIX_EPOCH};

use crate::cgroup::Hierarchy;
use crate::error::{Error, Result};
use crate::options::{Names, Options};
use crate::plan::{self, NAMESPACE, PodPlan};
use crate::state::{Backend, Container, Interface, Lab, Netns, Node, Pod, Service, VERSION};
use crate::tools;

/// Now, in nanoseconds since the Unix epoch.
pub(crate) fn unix_ns() -> u64 {
    SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default().as_nanos() as u64
}

/// `bytes` random bytes as hexadecimal digits.
pub(crate) fn random_hex(bytes: usize) -> Result<String> {
    let path = Path::new("/dev/urandom");
    let mut buffer = vec![0_u8; bytes];
    fs::File::open(path)
        .and_then(|mut f| f.read_exact(&mut buffer))
        .map_err(Error::io("read", path))?;
    let digit = |n: u8| char::from_digit(u32::from(n), 16).unwrap_or('0');
    Ok(buffer.iter().flat_map(|b| [digit(b >> 4), digit(b & 15)]).collect())
}

/// A random uid as Kubernetes writes it (RFC 9562 version 4).
fn random_uid() -> Result<String> {
    let hex = random_hex(16)?;
    let part = |from: usize, to: usize| &hex[from..to];
    Ok(format!(
        "{}-{}-4{}-a{}-{}",
        part(0, 8),
        part(8, 12),
        part(13, 16),
        part(17, 20),
        part(20, 32)
    ))
}

/// The lab as it will be. Namespace inodes and processes are filled in later.
pub(crate) fn lab(names: &Names, options: &Options, hierarchies: Vec<Hierarchy>) -> Result<Lab> {
    let pods = plan::pods(options);
    let made = pods.iter().map(|p| pod(names, options, p)).collect::<Result<Vec<Pod>>>()?;
    Ok(Lab {
        version: VERSION,
        name: names.lab.clone(),
        namespace: NAMESPACE.into(),
        ready: false,
        created_unix_ns: unix_ns(),
        node: Node {
            name: "lab-node".into(),
            netns: Netns { name: names.node_netns(), inode: 0 },
            ip: plan::pod_ip(options, 1),
            bridge: plan::BRIDGE.into(),
        },
        cgroup_root: names.cgroup_root.clone(),
        hierarchies,
        launcher: options.launcher.clone(),
        supervisor: None,
        requests_per_second: options.requests_per_second,
        product_burn_us: options.product_burn_us,
        services: services(options, &made),
        pods: made,
        edges: plan::edges(options),
        fault: None,
        past_faults: Vec::new(),
    })
}

fn pod(names: &Names, options: &Options, plan: &PodPlan) -> Result<Pod> {
    let uid = random_uid()?;
    let netns = if plan.host_network { names.node_netns() } else { names.netns(plan.name) };
    let log_dir = names
        .state_dir
        .join("pods")
        .join(format!("{NAMESPACE}_{}_{uid}", plan.name))
        .join(plan.name);
    let to_come = plan.name == plan::SECOND_JOB;
    Ok(Pod {
        name: plan.name.into(),
        namespace: NAMESPACE.into(),
        workload: plan.name.into(),
        role: plan.role.into(),
        node: "lab-node".into(),
        host_network: plan.host_network,
        netns: Netns { name: netns, inode: 0 },
        interfaces: interfaces(options, plan),
        cgroup: names.cgroup_root.join("kubepods").join("burstable").join(format!("pod{uid}")),
        uid,
        limits: plan.limits,
        port: plan.port,
        container: Container {
            name: plan.name.into(),
            image: image(options, plan.role),
            ..Container::default()
        },
        restarts: 0,
        history: Vec::new(),
        log_dir,
        started_unix_ns: if to_come { 0 } else { unix_ns() },
        ended_unix_ns: None,
    })
}

fn image(options: &Options, role: &str) -> String {
    let real = match role {
        "gateway" => Some(("nginx", "nginx")),
        "cache" => Some(("redis-server", "redis")),
        _ => None,
    };
    match real {
        Some((program, name)) if options.real_servers && tools::which(program).is_some() => {
            name.into()
        }
        _ => own_image(role, 1),
    }
}

/// Image of a program of the lab's own.
pub(crate) fn own_image(role: &str, version: u32) -> String {
    format!("taproot-lab/{role}:{version}")
}

fn interfaces(options: &Options, plan: &PodPlan) -> Vec<Interface> {
    let ip = plan::pod_ip(options, plan.host);
    if plan.host_network {
        return vec![Interface { name: plan::BRIDGE.into(), ip, host_side: String::new() }];
    }
    let mut all =
        vec![Interface { name: "eth0".into(), ip, host_side: format!("v-{}", plan.name) }];
    if plan.multi_homed {
        all.push(Interface {
            name: "net1".into(),
            ip: plan::address(plan::SECOND_SUBNET, plan.host),
            host_side: format!("w-{}", plan.name),
        });
    }
    all
}

fn services(options: &Options, pods: &[Pod]) -> Vec<Service> {
    let backends = |name: &str| {
        let behind = pods.iter().filter(|p| p.name == name);
        behind
            .filter_map(|p| Some(Backend { pod: p.name.clone(), ip: p.ip()?, port: p.port? }))
            .collect()
    };
    plan::services(options)
        .into_iter()
        .map(|s| Service {
            name: s.name.into(),
            cluster_ip: plan::service_ip(options, s.host),
            port: s.port,
            transport: s.transport.into(),
            backends: backends(s.backend),
        })
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::options::Launcher;

    fn example(extras: bool) -> Lab {
        let options = Options { extras, ..Options::new(Launcher::new("/bin/true", &[])) };
        lab(&options.names().unwrap(), &options, Vec::new()).unwrap()
    }

    #[test]
    fn every_edge_ends_at_pods_and_services_that_exist() {
        for lab in [example(false), example(true)] {
            for edge in &lab.edges {
                assert!(lab.pod(&edge.caller).is_some(), "{edge:?}");
                assert!(lab.pod(&edge.callee).is_some(), "{edge:?}");
                if let Some(name) = &edge.service {
                    let service = lab.service(name).unwrap();
                    assert_eq!(service.backends[0].pod, edge.callee);
                }
            }
        }
    }

    #[test]
    fn addresses_are_unique_but_for_the_reused_one() {
        let lab = example(true);
        let mut ips: Vec<_> = lab.pods.iter().filter_map(Pod::ip).collect();
        ips.sort();
        let all = ips.len();
        ips.dedup();
        assert_eq!(all - ips.len(), 1);
        let jobs = [plan::FIRST_JOB, plan::SECOND_JOB].map(|n| lab.pod(n).unwrap().ip());
        assert_eq!(jobs[0], jobs[1]);
    }

    #[test]
    fn uids_and_ids_have_kubernetes_shape() {
        let uid = random_uid().unwrap();
        let parts: Vec<usize> = uid.split('-').map(str::len).collect();
        assert_eq!(parts, [8, 4, 4, 4, 12]);
        assert_eq!(random_hex(32).unwrap().len(), 64);
        assert_ne!(random_uid().unwrap(), uid);
    }

    #[test]
    fn the_state_survives_a_round_trip() {
        let dir = tempfile::tempdir().unwrap();
        assert!(matches!(Lab::load(dir.path()), Err(Error::NotUp { .. })));
        let lab = example(true);
        lab.save(dir.path()).unwrap();
        assert_eq!(Lab::load(dir.path()).unwrap().pods.len(), lab.pods.len());
        fs::write(dir.path().join("lab.json"), b"{").unwrap();
        assert!(matches!(Lab::load(dir.path()), Err(Error::State { .. })));
    }
}
