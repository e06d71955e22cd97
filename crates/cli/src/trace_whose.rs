//! Whose packets: a process or container by name, for a trace.

use std::collections::BTreeSet;
use std::path::Path;

use anyhow::{Result, bail};
use taproot_kube::{Resolver, netns};
use taproot_model::Entity;
use taproot_trace::whose::Whose;

/// Characters of a container's id that are enough to name it.
const SHORT_ID: usize = 8;

/// A process by its id.
pub(crate) fn process(pid: u32) -> Result<Whose> {
    if !Path::new("/proc").join(pid.to_string()).exists() {
        bail!("--pid {pid}: no process has this id; `ps ax` lists them");
    }
    Ok(of_pids(vec![pid], Vec::new()))
}

/// All containers of a name, `gateway` or `shop/gateway-1/app` or the beginning of an
/// id; `None` while none is known.
pub(crate) fn containers(resolver: &Resolver, name: &str) -> Option<Whose> {
    let groups = resolver.cgroups().into_iter();
    let cgroups: Vec<u64> =
        groups.filter(|id| is_called(&resolver.resolve_cgroup(*id), name)).collect();
    let pids: Vec<u32> =
        pids().into_iter().filter(|pid| is_called(&resolver.resolve_pid(*pid), name)).collect();
    (!pids.is_empty()).then(|| of_pids(pids, cgroups))
}

/// The containers of this node, for messages.
pub(crate) fn known_containers(resolver: &Resolver) -> Vec<String> {
    let owners = pids().into_iter().map(|pid| resolver.resolve_pid(pid));
    let names: BTreeSet<String> = owners.filter_map(|owner| full_name(&owner)).collect();
    names.into_iter().collect()
}

fn of_pids(pids: Vec<u32>, cgroups: Vec<u64>) -> Whose {
    let proc = Path::new("/proc");
    let found = pids.iter().filter_map(|pid| netns::addresses(proc, *pid).ok()).flatten();
    let addresses: BTreeSet<_> = found.collect();
    Whose { pids, cgroups, addresses: addresses.into_iter().collect() }
}

fn pids() -> Vec<u32> {
    let entries = std::fs::read_dir("/proc").into_iter().flatten().flatten();
    entries.filter_map(|entry| entry.file_name().to_str()?.parse().ok()).collect()
}

fn full_name(owner: &Entity) -> Option<String> {
    let (name, id) = (&owner.container, &owner.container_id);
    if name.is_empty() {
        return id.get(..SHORT_ID).map(str::to_owned);
    }
    if owner.pod.is_empty() {
        return Some(name.to_string());
    }
    Some(format!("{}/{}/{name}", owner.namespace, owner.pod))
}

fn is_called(owner: &Entity, name: &str) -> bool {
    if owner.container_id.is_empty() {
        return false;
    }
    owner.container.as_str() == name
        || full_name(owner).as_deref() == Some(name)
        || (name.len() >= SHORT_ID && owner.container_id.starts_with(name))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn containers_are_called_by_name_pod_or_id() {
        let owner = Entity {
            container: "app".into(),
            container_id: "0123456789abcdef".into(),
            pod: "gateway-1".into(),
            namespace: "shop".into(),
            ..Entity::default()
        };
        for name in ["app", "shop/gateway-1/app", "0123456789ab"] {
            assert!(is_called(&owner, name), "{name}");
        }
        for name in ["gateway-1", "shop/app", "0123", "1234567890"] {
            assert!(!is_called(&owner, name), "{name}");
        }
        assert!(!is_called(&Entity::default(), ""));
    }

    #[test]
    fn a_process_has_to_be_there() {
        assert_eq!(process(std::process::id()).expect("this one is").pids, [std::process::id()]);
        let error = process(u32::MAX).expect_err("none");
        assert!(error.to_string().contains("`ps ax`"), "{error}");
    }
}
