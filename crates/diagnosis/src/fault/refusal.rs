//! Network family, refusals: connections that somebody on the way drops, or that
//! nobody at the other end can take.

use super::network::{Seen, by_name, is_dns, link_place};
use super::routing::{NO_WAY, TIMED_OUT, failed};
use super::{Case, Class, Finding, Leaf};
use crate::evidence::Link;
use crate::scene::Scene;
use crate::stats::grade;
use crate::units::{self, was};
use taproot_model::{Entity, EntityKind, Name, Transport};
use taproot_world::FlowTotals;

/// Kernel drop reasons of whatever filters packets on purpose.
const FILTERS: [&str; 5] =
    ["NETFILTER_DROP", "TC_INGRESS", "TC_EGRESS", "BPF_CGROUP_EGRESS", "XDP"];
/// Kernel drop reasons of packets whose next hop's link address nobody told.
const NO_NEIGHBOUR: [&str; 3] = ["NEIGH_FAILED", "NEIGH_DEAD", "NEIGH_QUEUEFULL"];
/// Attempts that are more than a hiccup.
const ENOUGH: u64 = 3;

pub(super) fn find(scene: &Scene<'_>, out: &mut Vec<Finding>) {
    for link in scene.links.iter().filter(|l| l.key.transport == Transport::Tcp && !is_dns(l)) {
        let seen = Seen::of(scene, link);
        out.extend(firewall_drop(scene, link, &seen));
        out.extend(no_endpoints(scene, link, &seen));
        out.extend(stale_address(scene, link, &seen));
    }
    for entity in scene.workloads() {
        out.extend(port_exhaustion(scene, entity));
    }
}

/// Packets dropped for any of `reasons`.
pub(super) fn dropped_for(totals: &FlowTotals, reasons: &[&str]) -> u64 {
    reasons.iter().filter_map(|r| totals.drops.get(*r)).sum()
}

/// Whether packets of the link had no neighbour to go to.
pub(super) fn no_neighbour(totals: &FlowTotals) -> bool {
    dropped_for(totals, &NO_NEIGHBOUR) > 0
}

fn firewall_drop(scene: &Scene<'_>, link: &Link, seen: &Seen) -> Option<Finding> {
    let f = &seen.during;
    let dropped = dropped_for(f, &FILTERS);
    let tried = f.syn_retransmits + failed(f, &TIMED_OUT);
    // One connection that comes about shows that not all are dropped: that is loss.
    if dropped < ENOUGH || dropped * 2 < seen.dropped() || tried < 2 || f.connects > 0 {
        return None;
    }
    let rate = seen.rate(|f| dropped_for(f, &FILTERS));
    if !rate.grew(3.0) {
        return None;
    }
    let (client, server) = (&link.client, &link.server);
    let mut case = Case::new(Class::FirewallDrop, link_place(link));
    case.during(scene, &seen.windows).fact("port", link.key.port.to_string());
    let entity = Some(link.key.client.clone());
    case.culprit(format!("a packet filter between {client} and {server}"), entity);
    let text = format!(
        "a packet filter on the way dropped {dropped} packets from {client} to {server} ({}){}",
        by_name(&f.drops),
        was(rate.before, |b| format!("{} a second", units::number(b)))
    );
    let strength = 0.5 + 0.3 * grade(dropped as f64, 2.0, 30.0);
    case.leaf(
        Leaf::new("flow.drops", dropped as f64, strength, text)
            .before(rate.before)
            .series(scene.flow_rates(link, |f| dropped_for(f, &FILTERS))),
    );
    let text = format!(
        "no connection to port {} came about: {tried} times the first packet was sent again or \
         the attempt given up",
        link.key.port
    );
    case.leaf(Leaf::new("flow.connects", 0.0, 0.3, text));
    if f.retransmits.saturating_sub(f.syn_retransmits) > dropped {
        // Open connections lose packets too: a lossy link drops first packets as well.
        case.doubt(0.4);
    }
    case.fact("drop_reason", f.drops.iter().max_by_key(|d| d.1).map_or("", |d| d.0.as_str()));
    let text = "nothing came back: a closed port would have said no at once".to_owned();
    case.rule_out(Class::ConnectionRefused, text);
    case.rule_out(Class::PacketLoss, "not some first packets are dropped, but all".to_owned());
    Some(case.close(format!(
        "a packet filter drops every new connection from {client} to {server} port {}",
        link.key.port
    )))
}

fn no_endpoints(scene: &Scene<'_>, link: &Link, seen: &Seen) -> Option<Finding> {
    let f = &seen.during;
    let n = f.failed_connects.get("ECONNREFUSED").copied().unwrap_or(0);
    let nobody =
        scene.entities.get(&link.key.server).is_none_or(|e| e.kind == EntityKind::External);
    // A closed port answers with a reset; a service's address with an ICMP error of the node.
    if n < ENOUGH || f.connects > 0 || f.server_resets > 0 || !nobody || !link.client_seen {
        return None;
    }
    let rate = seen.rate(|f| f.failed_connects.get("ECONNREFUSED").copied().unwrap_or(0));
    let (client, server) = (&link.client, &link.server);
    let mut case = Case::new(Class::NoEndpoints, link_place(link));
    case.during(scene, &seen.windows).fact("port", link.key.port.to_string());
    case.culprit(server.to_string(), Some(link.key.server.clone()));
    let text = format!(
        "{n} connections from {client} to {server} port {} were refused, none came about{}",
        link.key.port,
        was(rate.before, |b| format!("{} a second", units::number(b)))
    );
    let strength = 0.4 + 0.2 * grade(n as f64, 2.0, 30.0);
    let leaf = Leaf::new("flow.failed_connects=ECONNREFUSED", n as f64, strength, text);
    case.leaf(leaf.before(rate.before).series(scene.flow_rates(link, FlowTotals::failed)));
    let text = format!(
        "no reset came back from {server}: the node itself refuses, as it does for a service \
         without endpoints"
    );
    case.leaf(Leaf::new("flow.server_resets", 0.0, 0.35, text));
    let text = format!("no known workload has the address of {server}");
    case.leaf(Leaf::new("flow.connects", 0.0, 0.15, text));
    let text = "no packet reached a listener: the refusal came without a reset".to_owned();
    case.rule_out(Class::ConnectionRefused, text);
    Some(case.close(format!(
        "nobody is behind {server} port {}: {n} connections from {client} were refused by the node",
        link.key.port
    )))
}

fn stale_address(scene: &Scene<'_>, link: &Link, seen: &Seen) -> Option<Finding> {
    let f = &seen.during;
    let lost = dropped_for(f, &NO_NEIGHBOUR);
    let no_way = failed(f, &NO_WAY);
    if lost == 0 || f.connects > 0 || no_way + f.syn_retransmits + failed(f, &TIMED_OUT) < 2 {
        return None;
    }
    let (client, server) = (&link.client, &link.server);
    let mut case = Case::new(Class::StaleAddress, link_place(link));
    case.during(scene, &seen.windows).fact("port", link.key.port.to_string());
    case.culprit(server.to_string(), Some(link.key.server.clone()));
    let at = link.address.map_or_else(|| server.to_string(), |a| a.ip().to_string());
    case.fact("address", at.clone());
    let text = format!("nobody answers for the address {at}: {lost} packets to it were dropped");
    let strength = 0.6 + 0.2 * grade(lost as f64, 1.0, 10.0);
    let leaf = Leaf::new("flow.drops", lost as f64, strength, text);
    case.leaf(leaf.series(scene.flow_rates(link, |f| dropped_for(f, &NO_NEIGHBOUR))));
    if no_way > 0 {
        let text = format!(
            "{client} was told that the host cannot be reached {no_way} times: {}",
            by_name(&f.failed_connects)
        );
        case.leaf(Leaf::new("flow.failed_connects", no_way as f64, 0.4, text));
    }
    let text = format!("there is a route to {at}; only nobody is at its end");
    case.rule_out(Class::WrongRoute, text);
    case.rule_out(Class::ConnectionRefused, "nobody said no".to_owned());
    Some(case.close(format!("{client} calls {server} at {at}, where nobody is any more")))
}

/// Attempts of an entity that found no local port, and the links they were for.
fn portless(scene: &Scene<'_>, entity: &Entity) -> (u64, Vec<Name>) {
    let calls = scene.happenings.failures.iter().filter(|f| {
        f.entity == entity.id && &*f.errno == "EADDRNOTAVAIL" && &*f.syscall == "connect"
    });
    let told: u64 = calls.map(|f| f.count).sum();
    let mut seen = 0;
    let mut servers = Vec::new();
    for link in scene.links.iter().filter(|l| l.key.client == entity.id) {
        let flow = scene.flow(link, scene.span);
        let n = flow.failed_connects.get("EADDRNOTAVAIL").copied().unwrap_or(0);
        if n > 0 {
            seen += n;
            servers.push(link.server.clone());
        }
    }
    (told.max(seen), servers)
}

fn port_exhaustion(scene: &Scene<'_>, entity: &Entity) -> Option<Finding> {
    let (n, servers) = portless(scene, entity);
    if n < ENOUGH {
        return None;
    }
    let name = entity.instance();
    let mut case = Case::new(Class::PortExhaustion, scene.place(&entity.id));
    let first = scene.happenings.failures.iter().find(|f| {
        f.entity == entity.id && &*f.errno == "EADDRNOTAVAIL" && &*f.syscall == "connect"
    });
    case.since(first.map(|f| f.at));
    let to = servers.first().map_or_else(String::new, |s| format!(" to {s}"));
    let text = format!(
        "the kernel had no local port left for a connection of {name}{to} {n} times \
         (EADDRNOTAVAIL)"
    );
    let strength = 0.65 + 0.2 * grade(n as f64, 2.0, 30.0);
    case.leaf(Leaf::new("syscall_failure.errno=EADDRNOTAVAIL", n as f64, strength, text));
    let outbound = scene.links.iter().filter(|l| l.key.client == entity.id);
    let w = scene.trouble.map_or(scene.span, |w| w.during);
    let made: u64 = outbound.map(|l| scene.flow(l, w).connects).sum();
    let rate = made as f64 / w.length().as_secs_f64().max(1e-9);
    if made > 0 {
        let text = format!("{name} opens {} connections a second", units::number(rate));
        case.leaf(Leaf::new("flow.connects", rate, 0.1 * grade(rate, 1.0, 100.0), text));
    }
    let text = "no packet left: it fails before anything is sent".to_owned();
    case.rule_out(Class::ConnectionRefused, text.clone());
    case.rule_out(Class::PacketLoss, text);
    Some(case.close(format!("{name} has no local port left for another connection{to}")))
}
