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
use taproot_probes::trace::{Compare, Field, Leg, Owner, Test};
use taproot_trace::Namespaces;
use taproot_trace::filter::{Expr, Side};
use taproot_trace::whose::Whose;

use crate::trace_names::{ClusterNames, inside};
use crate::trace_whose;

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
    /// Only packets from or to the pods of this node with this label.
    #[arg(long, value_name = "KEY=VALUE", value_parser = label)]
    label: Option<(String, String)>,
    /// Only packets of this container: a name, NAMESPACE/POD/NAME, or the beginning of an id.
    #[arg(long, value_name = "CONTAINER", conflicts_with = "pid")]
    container: Option<String>,
    /// Only packets of this process's sockets.
    #[arg(long, value_name = "PID")]
    pid: Option<u32>,
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

/// What the kernel is asked for.
#[derive(Debug)]
pub(crate) struct Asked {
    /// The conditions, compiled.
    pub(crate) tests: Vec<Test>,
    /// Whose packets, where that is a condition.
    pub(crate) owners: Vec<Owner>,
    /// Their conversations of before.
    pub(crate) legs: Vec<Leg>,
}

impl Narrow {
    /// The filter with what these flags add to it.
    pub(crate) fn apply(
        &self,
        filter: Expr,
        names: &ClusterNames,
        namespaces: &Namespaces,
    ) -> Result<Asked> {
        let rest = self.conditions(filter, names, namespaces)?;
        let Some(whose) = self.whose(names)? else {
            return Ok(Asked { tests: rest.compile()?, owners: Vec::new(), legs: Vec::new() });
        };
        let sockets =
            whose.sockets(Path::new("/proc")).context("the process's sockets cannot be read")?;
        let legs = sockets.legs(&rest.compile()?);
        let tests = rest.and(whose.condition(&sockets)).compile()?;
        Ok(Asked { tests, owners: whose.owners(), legs })
    }

    /// Whose packets are asked for, if anybody's.
    fn whose(&self, names: &ClusterNames) -> Result<Option<Whose>> {
        if let Some(pid) = self.pid {
            return trace_whose::process(pid).map(Some);
        }
        let Some(name) = &self.container else { return Ok(None) };
        let found = patient(|| trace_whose::containers(names.resolver(), name));
        let found = found.with_context(|| {
            let known = trace_whose::known_containers(names.resolver()).join(", ");
            format!("no container {name} runs on this node; known are: {known}")
        })?;
        Ok(Some(found))
    }

    fn conditions(
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
        if let Some((key, value)) = &self.label {
            let addresses = patient(|| names.pods_labelled(key, value)).with_context(|| {
                let known = names.pods().join(", ");
                format!("no pod with the label {key}={value} runs on this node; it has: {known}")
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
pub(crate) fn patient<T>(ask: impl Fn() -> Option<T>) -> Option<T> {
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

/// `app=gateway`.
fn label(text: &str) -> Result<(String, String), String> {
    let (key, value) = text.split_once('=').filter(|(key, _)| !key.is_empty()).ok_or_else(|| {
        format!("`{text}` is no label: write it as KEY=VALUE, as `kubectl get pods --show-labels` does")
    })?;
    Ok((key.to_owned(), value.to_owned()))
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
    fn labels_have_a_key() {
        assert_eq!(label("app=a=b"), Ok(("app".to_owned(), "a=b".to_owned())));
        assert!(label("app").is_err_and(|why| why.contains("KEY=VALUE")));
        assert!(label("=x").is_err());
    }

    #[test]
    fn marks_have_masks() {
        assert_eq!(mark("16"), Ok((16, u32::MAX)));
        assert_eq!(mark("0x1234/0xf0"), Ok((0x30, 0xf0)));
        assert!(mark("tcp").is_err_and(|why| why.contains("0x10")));
    }
}
