//! Network namespaces, bridges, veths and service addresses.
//!
//! All of it lives in namespaces of the lab's own: the node's namespace holds
//! the bridges and the DNAT rules, so the machine's own stays untouched. Pods
//! have /32 addresses and a route over the node, so every packet is routed
//! there (as Calico does it) and service addresses work without `br_netfilter`.

use std::fmt::Write as _;
use std::fs::{self, File};
use std::os::fd::AsFd;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};

use rustix::thread::{LinkNameSpaceType, move_into_link_name_space};

use crate::error::{Error, Result};
use crate::options::Names;
use crate::plan;
use crate::state::{Lab, Netns, Pod};
use crate::tools;

const NETNS_DIR: &str = "/run/netns";

/// Path of a named network namespace.
pub(crate) fn netns_path(name: &str) -> PathBuf {
    Path::new(NETNS_DIR).join(name)
}

/// Looks a named network namespace up.
pub(crate) fn netns(name: &str) -> Result<Netns> {
    let path = netns_path(name);
    let meta = fs::metadata(&path).map_err(Error::io("find", &path))?;
    Ok(Netns { name: name.to_owned(), inode: meta.ino() })
}

/// Moves the calling thread into a named network namespace.
pub(crate) fn enter(name: &str) -> Result<()> {
    let path = netns_path(name);
    let file = File::open(&path).map_err(Error::io("open", &path))?;
    move_into_link_name_space(file.as_fd(), Some(LinkNameSpaceType::Network))
        .map_err(|e| Error::io("enter", &path)(e.into()))
}

/// Runs `work` on a thread of its own inside a named network namespace.
pub(crate) fn inside<T: Send>(name: &str, work: impl FnOnce() -> T + Send) -> Result<T> {
    std::thread::scope(|scope| {
        let thread = scope.spawn(|| enter(name).map(|()| work()));
        thread.join().unwrap_or_else(|panic| std::panic::resume_unwind(panic))
    })
}

/// Writes a sysctl of a network namespace (`net/ipv4/ip_forward`).
pub(crate) fn sysctl(netns: &str, key: &str, value: &str) -> Result<()> {
    let path = Path::new("/proc/sys").join(key);
    inside(netns, || fs::write(&path, value).map_err(Error::io("write", &path)))?
}

/// Makes the node's namespace and one for each pod that has its own.
pub(crate) fn create(lab: &Lab) -> Result<()> {
    let own: Vec<&Pod> = lab.pods.iter().filter(|p| !p.host_network).collect();
    let mut add = vec![format!("netns add {}", lab.node.netns.name)];
    add.extend(own.iter().map(|p| format!("netns add {}", p.netns.name)));
    tools::ip_batch(None, &add)?;
    create_node(lab)?;
    for pod in own.iter().filter(|p| p.started_unix_ns > 0) {
        plug(lab, pod)?;
    }
    tools::nft(&lab.node.netns.name, &service_rules(lab))
}

fn create_node(lab: &Lab) -> Result<()> {
    let node = lab.node.netns.name.as_str();
    sysctl(node, "net/ipv4/ip_forward", "1")?;
    // All pods hang on one bridge, so the node would tell each of a shorter way.
    for scope in ["all", "default"] {
        sysctl(node, &format!("net/ipv4/conf/{scope}/send_redirects"), "0")?;
    }
    if Path::new("/proc/sys/net/bridge/bridge-nf-call-iptables").exists() {
        sysctl(node, "net/bridge/bridge-nf-call-iptables", "0")?;
    }
    let bridge = |name: &str, ip| {
        [
            format!("link add {name} type bridge"),
            format!("address add {ip}/24 dev {name}"),
            format!("link set {name} up"),
        ]
    };
    let mut lines = vec!["link set lo up".to_owned()];
    lines.extend(bridge(plan::BRIDGE, lab.node.ip));
    lines.extend(bridge(plan::SECOND_BRIDGE, plan::address(plan::SECOND_SUBNET, 1)));
    // Host network pods call services too: the route only has to exist, DNAT does the rest.
    lines.extend(
        lab.services.iter().map(|s| format!("route add {} dev {}", s.cluster_ip, plan::BRIDGE)),
    );
    tools::ip_batch(Some(node), &lines)
}

/// Connects a pod's namespace to the bridges.
pub(crate) fn plug(lab: &Lab, pod: &Pod) -> Result<()> {
    let (node, netns) = (lab.node.netns.name.as_str(), pod.netns.name.as_str());
    let mut outside = Vec::new();
    let mut inside = vec!["link set lo up".to_owned()];
    // The second subnet's bridge comes second, as its interface does.
    for (port, bridge) in pod.interfaces.iter().zip([plan::BRIDGE, plan::SECOND_BRIDGE]) {
        let (host, name, ip) = (&port.host_side, &port.name, port.ip);
        let prefix = if bridge == plan::BRIDGE { 32 } else { 24 };
        outside.push(format!("link add {host} type veth peer name {name} netns {netns}"));
        outside.push(format!("link set {host} master {bridge} up"));
        inside.push(format!("address add {ip}/{prefix} dev {name}"));
        inside.push(format!("link set {name} up"));
    }
    inside.push(format!("route add {} dev eth0 scope link", lab.node.ip));
    inside.push(format!("route add default via {} dev eth0", lab.node.ip));
    tools::ip_batch(Some(node), &outside)?;
    tools::ip_batch(Some(netns), &inside)?;
    if pod.interfaces.len() > 1 {
        // Strict, as many distributions set it: answers must come in where calls go out.
        sysctl(netns, "net/ipv4/conf/all/rp_filter", "1")?;
    }
    Ok(())
}

/// Takes a pod off the bridges; its namespace stays.
pub(crate) fn unplug(lab: &Lab, pod: &Pod) -> Result<()> {
    let links: Vec<String> =
        pod.interfaces.iter().map(|i| format!("link del {}", i.host_side)).collect();
    tools::ip_batch(Some(&lab.node.netns.name), &links)
}

/// nft rules for the service addresses, for pods and for host network pods.
fn service_rules(lab: &Lab) -> String {
    let mut dnat = String::new();
    let mut hairpin = String::new();
    for s in &lab.services {
        for backend in &s.backends {
            let _ = writeln!(
                dnat,
                "ip daddr {} {} dport {} counter dnat to {}:{} comment \"{}\"",
                s.cluster_ip, s.transport, s.port, backend.ip, backend.port, s.name
            );
            // A pod that reaches itself through its service would see its own
            // address as the source.
            let ip = backend.ip;
            let _ = writeln!(hairpin, "ip saddr {ip} ip daddr {ip} counter masquerade");
        }
    }
    format!(
        "table ip taproot_lab {{
chain prerouting {{ type nat hook prerouting priority -100; policy accept;
{dnat}}}
chain output {{ type nat hook output priority -100; policy accept;
{dnat}}}
chain postrouting {{ type nat hook postrouting priority 100; policy accept;
{hairpin}}}
chain forward {{ type filter hook forward priority 0; policy accept; }}
}}
"
    )
}

/// Removes every network namespace of this lab; their veths, bridges and rules go with them.
pub(crate) fn destroy(names: &Names) -> Result<()> {
    let mut failed = None;
    for name in existing(names) {
        // One that resists must not keep the others alive.
        if let Err(e) = tools::run("ip", &["netns", "del", &name]) {
            failed = Some(e);
        }
    }
    failed.map_or(Ok(()), Err)
}

/// Names of this lab's network namespaces that exist now.
pub(crate) fn existing(names: &Names) -> Vec<String> {
    let entries = fs::read_dir(NETNS_DIR).into_iter().flatten().flatten();
    entries
        .filter_map(|e| e.file_name().into_string().ok())
        .filter(|n| n.starts_with(&names.netns_prefix))
        .collect()
}
