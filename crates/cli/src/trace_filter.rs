//! What narrows a trace beside its expression: names of things instead of addresses.

use std::net::IpAddr;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail};
use clap::Args;
use rustix::net::{AddressFamily, SocketType, netdevice};
use taproot_probes::btf::KernelBtf;
use taproot_probes::flow::DropReasons;
use taproot_probes::trace::{Compare, Field};
use taproot_trace::Namespaces;
use taproot_trace::filter::{Expr, Side};

use crate::trace_names::{ClusterNames, inside};

/// How long names are waited for.
const PATIENCE: Duration = Duration::from_secs(5);

/// Flags that narrow a trace; all of them have to hold.
#[derive(Debug, Args)]
pub(crate) struct Narrow {
    /// Only packets from or to this pod, followed wherever they go.
    #[arg(long, value_name = "NAMESPACE/NAME")]
    pod: Option<String>,
    /// Only packets from or to the pods of this Kubernetes namespace on this node.
    #[arg(long, value_name = "NAMESPACE")]
    namespace: Option<String>,
    /// Only packets from or to this service (and, once translated, its backends).
    #[arg(long, value_name = "[NAMESPACE/]NAME")]
    service: Option<String>,
    /// Only hops in this network namespace: a name below /run/netns, a file, or a pid.
    #[arg(long, value_name = "NETNS")]
    netns: Option<String>,
    /// Only hops at devices of this name, in whatever network namespace.
    #[arg(long, value_name = "NAME")]
    interface: Option<String>,
    /// Only hops with this firewall mark, as `0x10` or `0x10/0xf0`.
    #[arg(long, value_name = "MARK[/MASK]", value_parser = mark)]
    mark: Option<(u32, u32)>,
    /// Only drops for this reason (`NETFILTER_DROP`), as the kernel spells it.
    #[arg(long, value_name = "REASON")]
    reason: Option<String>,
}

impl Narrow {
    /// The filter with what these flags add to it.
    pub(crate) fn apply(
        &self,
        filter: Expr,
        names: &ClusterNames,
        namespaces: &Namespaces,
    ) -> Result<Expr> {
        let mut parts = vec![filter];
        if let Some(pod) = &self.pod {
            parts.push(of_pod(pod, names)?);
        }
        if let Some(namespace) = &self.namespace {
            let addresses = patient(|| names.pods_in(namespace)).with_context(|| {
                let known = names.pods().join(", ");
                format!("no pod of {namespace} runs on this node; known are: {known}")
            })?;
            parts.push(hosts(addresses));
        }
        if let Some(service) = &self.service {
            let found = patient(|| names.service(service)).with_context(|| {
                let known = names.services().join(", ");
                format!("no service {service} is known; known are: {known}")
            })?;
            parts.push(found);
        }
        if let Some(netns) = &self.netns {
            parts.push(Expr::is(Field::Netns, netns_inode(netns)?));
        }
        if let Some(interface) = &self.interface {
            parts.push(devices(interface, namespaces)?);
        }
        if let Some((value, mask)) = self.mark {
            let (field, compare) = (Field::Mark, Compare::Equal);
            parts.push(Expr::Ask { field, compare, mask, value });
        }
        if let Some(reason) = &self.reason {
            parts.push(Expr::is(Field::Reason, reason_number(reason)?));
        }
        Ok(Expr::All(parts))
    }
}

fn of_pod(pod: &str, names: &ClusterNames) -> Result<Expr> {
    let (namespace, name) =
        pod.split_once('/').with_context(|| format!("--pod {pod}: write it as NAMESPACE/NAME"))?;
    let addresses = patient(|| names.pod(namespace, name)).with_context(|| {
        let known = names.pods().join(", ");
        format!("no pod {pod} runs on this node; known are: {known}")
    })?;
    Ok(hosts(addresses))
}

fn hosts(addresses: Vec<IpAddr>) -> Expr {
    Expr::Any(addresses.into_iter().map(|ip| Expr::host(ip, Side::Either)).collect())
}

/// Asks again until there is an answer: sources of names need a moment.
fn patient<T>(ask: impl Fn() -> Option<T>) -> Option<T> {
    let end = Instant::now() + PATIENCE;
    loop {
        let answer = ask();
        if answer.is_some() || Instant::now() > end {
            return answer;
        }
        std::thread::sleep(Duration::from_millis(100));
    }
}

/// The inode of a namespace by name, file or pid.
fn netns_inode(text: &str) -> Result<u32> {
    let path = match text.parse::<u32>() {
        Ok(pid) => PathBuf::from(format!("/proc/{pid}/ns/net")),
        Err(_) if text.contains('/') => PathBuf::from(text),
        Err(_) => Path::new("/run/netns").join(text),
    };
    let meta = std::fs::metadata(&path).with_context(|| {
        format!("--netns {text}: no namespace at {}; `ip netns` lists names", path.display())
    })?;
    Ok(meta.ino() as u32)
}

/// The devices of a name: each is a number within its namespace.
fn devices(name: &str, namespaces: &Namespaces) -> Result<Expr> {
    let number = || {
        let socket = rustix::net::socket(AddressFamily::INET, SocketType::DGRAM, None).ok()?;
        netdevice::name_to_index(&socket, name).ok()
    };
    let at = |(inode, file): (u32, &Path)| {
        let index = inside(file, number).ok().flatten()?;
        Some(Expr::is(Field::Netns, inode).and(Expr::is(Field::Ifindex, index)))
    };
    let found: Vec<Expr> = namespaces.files().filter_map(at).collect();
    if found.is_empty() {
        bail!(
            "--interface {name}: no network namespace here has such a device; `ip link` lists them"
        );
    }
    Ok(Expr::Any(found))
}

/// `0x10`, `16`, `0x10/0xf0`.
fn mark(text: &str) -> Result<(u32, u32), String> {
    let number = |text: &str| {
        let parsed = match text.strip_prefix("0x") {
            Some(digits) => u32::from_str_radix(digits, 16),
            None => text.parse(),
        };
        parsed.map_err(|_| format!("`{text}` is no mark: write it as 16 or 0x10"))
    };
    let (value, mask) = text.split_once('/').unwrap_or((text, "0xffffffff"));
    let mask = number(mask)?;
    Ok((number(value)? & mask, mask))
}

fn reason_number(name: &str) -> Result<u32> {
    const PREFIX: &str = "SKB_DROP_REASON_";
    let kernel = KernelBtf::load()?;
    let number = DropReasons::of(&kernel).number(name.trim_start_matches(PREFIX));
    number.with_context(|| {
        let known = kernel.enumeration("skb_drop_reason").into_values();
        let known: Vec<String> =
            known.filter_map(|n| Some(n.strip_prefix(PREFIX)?.into())).collect();
        format!("--reason {name}: this kernel has no such reason; it has {}", known.join(", "))
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn marks_have_masks() {
        assert_eq!(mark("16"), Ok((16, u32::MAX)));
        assert_eq!(mark("0x1234/0xf0"), Ok((0x30, 0xf0)));
        assert!(mark("tcp").is_err_and(|why| why.contains("0x10")));
    }
}
