//! Faults of the network, made in the lab's own namespaces.

use std::net::Ipv4Addr;

use crate::error::{Error, Result};
use crate::faults::inject::Injection;
use crate::faults::{Fault, INVENTORY, PRODUCT, Undo, helper};
use crate::net;
use crate::serve::{conntrack, delay};
use crate::state::Pod;
use crate::tools;

/// Injects a fault of the network.
pub(crate) fn inject(injection: &mut Injection<'_>) -> Result<()> {
    match injection.fault {
        Fault::PacketLoss => lose_packets(injection),
        Fault::WrongRoute => misroute(injection),
        Fault::ConntrackFull => fill_conntrack(injection),
        _ => delay_link(injection),
    }
}

fn pod<'a>(injection: &'a Injection<'_>, name: &str) -> Result<&'a Pod> {
    injection.lab.pod(name).ok_or_else(|| Error::Usage(format!("the lab has no pod {name}")))
}

fn ip(injection: &Injection<'_>, name: &str) -> Result<Ipv4Addr> {
    pod(injection, name)?.ip().ok_or_else(|| Error::Usage(format!("pod {name} has no address")))
}

fn words(line: &str) -> Vec<String> {
    line.split_ascii_whitespace().map(str::to_owned).collect()
}

/// A rule in the node's forward chain drops a share of the packets one way.
fn lose_packets(injection: &mut Injection<'_>) -> Result<()> {
    let node = injection.node().to_owned();
    let (from, to) = (ip(injection, PRODUCT)?, ip(injection, INVENTORY)?);
    let flush = format!("ip netns exec {node} nft flush chain ip taproot_lab forward");
    injection.undo_by(Undo::Run { argv: words(&flush) })?;
    let share = (injection.get("percent") * 100.0).round();
    tools::nft(
        &node,
        &format!(
            "add rule ip taproot_lab forward ip saddr {from} ip daddr {to} \
             numgen random mod 10000 < {share} counter drop\n"
        ),
    )
}

/// The reporter's way to the API server leaves by its first interface, but with
/// the address of the second: the answers come in there, where strict reverse
/// path filtering drops them.
fn misroute(injection: &mut Injection<'_>) -> Result<()> {
    let reporter = pod(injection, "reporter")?;
    let netns = reporter.netns.name.clone();
    let second = reporter.interfaces.get(1).map(|i| i.ip);
    let api = injection.lab.service("kubernetes").map(|s| s.cluster_ip);
    let (Some(second), Some(api)) = (second, api) else {
        return Err(Error::Usage("the lab's reporter has no second interface".into()));
    };
    let gateway = injection.lab.node.ip;
    injection.undo_by(Undo::Run {
        argv: words(&format!("ip -n {netns} route del {api}/32 dev eth0")),
    })?;
    tools::ip_batch(
        Some(&netns),
        &[format!("route add {api}/32 via {gateway} dev eth0 src {second}")],
    )
}

/// Entries of ours fill the table; a helper takes the place of each that ends.
fn fill_conntrack(injection: &mut Injection<'_>) -> Result<()> {
    let node = injection.node().to_owned();
    injection.undo_by(Undo::FlushConntrack)?;
    let full = || conntrack::fill_level(&node).is_ok_and(|(count, max)| count >= max);
    helper::start(injection, "conntrack", &[], full)
}

/// netem where the kernel has it, otherwise a relay between two TUN devices.
fn delay_link(injection: &mut Injection<'_>) -> Result<()> {
    let node = injection.node().to_owned();
    let (ms, jitter) = (injection.get("ms"), injection.get("jitter_ms"));
    let inventory = pod(injection, INVENTORY)?;
    let device = inventory.interfaces.first().map(|i| i.host_side.clone()).unwrap_or_default();
    // A rate makes netem keep the order of packets in spite of the jitter.
    let netem = format!(
        "netns exec {node} tc qdisc add dev {device} root netem \
         delay {ms}ms {jitter}ms rate 10gbit limit 10000"
    );
    let netem = words(&netem);
    let netem: Vec<&str> = netem.iter().map(String::as_str).collect();
    if tools::run("ip", &netem).is_ok() {
        let undo = format!("ip netns exec {node} tc qdisc del dev {device} root");
        return injection.undo_by(Undo::Run { argv: words(&undo) });
    }
    let to = ip(injection, INVENTORY)?;
    let entry = delay::ENTRY;
    let there = || {
        net::inside(&node, || tools::run("ip", &["link", "show", "dev", entry]).is_ok())
            .unwrap_or(false)
    };
    let arguments = [INVENTORY.to_owned(), ms.to_string(), jitter.to_string()];
    helper::start(injection, "delay", &arguments, there)?;
    // The route goes with the device when the helper ends.
    tools::ip_batch(Some(&node), &[format!("route add {to}/32 dev {entry}")])
}
