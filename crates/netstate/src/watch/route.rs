//! Messages of rtnetlink as changes.

use netlink_packet_core::{NetlinkMessage, NetlinkPayload};
use netlink_packet_route::address::AddressMessage;
use netlink_packet_route::link::LinkMessage;
use netlink_packet_route::neighbour::NeighbourMessage;
use netlink_packet_route::route::{RouteFlags, RouteMessage, RouteProtocol};
use netlink_packet_route::rule::RuleMessage;
use netlink_packet_route::tc::TcMessage;
use netlink_packet_route::{AddressFamily, RouteNetlinkMessage as M};
use std::net::IpAddr;
use taproot_model::ChangeKind;

use super::known::{Known, KnownLink};
use super::{Noted, words};
use crate::netlink::{Raw, attributes};
use crate::state::{Reach, RouteKind, links, neighbours, queues, routes};

/// `RTM_NEWNETCONF`.
const NEW_NETCONF: u16 = 80;
/// `NLM_F_REPLACE`.
const REPLACE: u16 = 0x100;
/// The index that stands for all devices (`NETCONFA_IFINDEX_ALL`), and the one for
/// devices to come.
const ALL: i32 = -1;
const TO_COME: i32 = -2;

/// A message that cannot be read.
#[derive(Debug)]
pub(super) struct Unreadable;

/// Takes in one message of the route socket.
pub(super) fn take(
    known: &mut Known,
    raw: &Raw<'_>,
    out: &mut Vec<Noted>,
) -> Result<(), Unreadable> {
    if raw.kind == NEW_NETCONF {
        out.extend(switch(known, raw));
        return Ok(());
    }
    let message = match NetlinkMessage::<M>::deserialize(raw.whole) {
        Ok(message) => message.payload,
        // Of the groups that are joined, only what is below is of interest.
        Err(_) if !(16..=45).contains(&raw.kind) => return Ok(()),
        Err(_) => return Err(Unreadable),
    };
    let NetlinkPayload::InnerMessage(message) = message else { return Ok(()) };
    match message {
        M::NewLink(message) => link(known, message, raw.port, out),
        M::DelLink(message) => link_gone(known, &message, raw.port, out),
        M::NewAddress(message) => out.extend(address(known, &message, true, raw.port)),
        M::DelAddress(message) => out.extend(address(known, &message, false, raw.port)),
        M::NewRoute(message) => out.extend(route_made(known, &message, raw)),
        M::DelRoute(message) => out.extend(route_gone(known, &message, raw)),
        M::NewRule(message) => out.push(rule(&message, true, raw.port)),
        M::DelRule(message) => out.push(rule(&message, false, raw.port)),
        M::NewNeighbour(message) => out.extend(neighbour(known, &message, true, raw.port)),
        M::DelNeighbour(message) => out.extend(neighbour(known, &message, false, raw.port)),
        M::NewQueueDiscipline(message) => out.extend(queue(known, &message, true, raw.port)),
        M::DelQueueDiscipline(message) => out.extend(queue(known, &message, false, raw.port)),
        M::NewTrafficFilter(message) => out.extend(filter(known, &message, true, raw.port)),
        M::DelTrafficFilter(message) => out.extend(filter(known, &message, false, raw.port)),
        _ => {}
    }
    Ok(())
}

fn link(known: &mut Known, message: LinkMessage, port: u32, out: &mut Vec<Noted>) {
    // Ports of bridges and addresses of IPv6 are told in messages of their own.
    if message.header.interface_family != AddressFamily::Unspec {
        return;
    }
    let now = links::from_message(message);
    let name = now.name.clone();
    let mut say = |what: String, undo: String| {
        out.push(Noted::new(ChangeKind::Link, what, undo, port));
    };
    let Some(before) = known.links.get(&now.index) else {
        // A pod's cable comes with the pod, and what it is given is told as addresses.
        if now.kind != "veth" {
            say(format!("added device {name}"), format!("ip link del {name}"));
        }
        known.links.insert(now.index, KnownLink { fresh: !now.up, link: now });
        return;
    };
    let (fresh, was) = (before.fresh, &before.link);
    if was.name != name {
        say(
            format!("renamed device {} to {name}", was.name),
            format!("ip link set {name} name {}", was.name),
        );
    }
    if was.up && !now.up {
        say(format!("switched off device {name}"), format!("ip link set {name} up"));
    } else if !was.up && now.up && !fresh {
        say(format!("switched on device {name}"), format!("ip link set {name} down"));
    } else if was.up && now.up && was.carrier && !now.carrier {
        say(format!("device {name} lost its carrier"), String::new());
    }
    if was.mtu != now.mtu && now.mtu != 0 && was.mtu != 0 {
        say(
            format!("MTU of {name} {} -> {}", was.mtu, now.mtu),
            format!("ip link set {name} mtu {}", was.mtu),
        );
    }
    if was.master != now.master && !fresh {
        let called = |index| known.device(index).unwrap_or_else(|| "none".to_owned());
        let (from, to) = (called(was.master), called(now.master));
        let undo = match was.master {
            Some(_) => format!("ip link set {name} master {from}"),
            None => format!("ip link set {name} nomaster"),
        };
        say(format!("{name} is a port of {from} -> {to}"), undo);
    }
    if was.xdp != now.xdp {
        let called = |id: Option<u32>| id.map_or_else(|| "none".to_owned(), |id| id.to_string());
        let undo =
            if was.xdp.is_none() { format!("ip link set {name} xdp off") } else { String::new() };
        say(format!("XDP program of {name} {} -> {}", called(was.xdp), called(now.xdp)), undo);
    }
    let fresh = fresh && !now.up;
    known.links.insert(now.index, KnownLink { link: now, fresh });
}

fn link_gone(known: &mut Known, message: &LinkMessage, port: u32, out: &mut Vec<Noted>) {
    if message.header.interface_family != AddressFamily::Unspec {
        return;
    }
    let Some(gone) = known.links.remove(&message.header.index) else { return };
    let name = &gone.link.name;
    known.queues.retain(|(link, _), _| *link != message.header.index);
    if gone.link.kind == "veth" {
        // What led up to the end of a cable is part of it; its addresses were told.
        let about =
            |n: &Noted| n.kind == ChangeKind::Link && n.what.split(' ').any(|word| word == name);
        out.retain(|noted| !about(noted));
        return;
    }
    out.push(Noted::new(ChangeKind::Link, format!("removed device {name}"), String::new(), port));
}

fn address(known: &mut Known, message: &AddressMessage, added: bool, port: u32) -> Option<Noted> {
    let own = neighbours::own(message)?;
    let news = if added {
        known.addresses.insert((own.link, own.prefix))
    } else {
        known.addresses.remove(&(own.link, own.prefix))
    };
    // Every device gives itself one.
    let of_itself = match own.prefix.address {
        IpAddr::V6(v6) => v6.is_unicast_link_local(),
        IpAddr::V4(_) => false,
    };
    if !news || of_itself {
        return None;
    }
    let device = known.device(Some(own.link))?;
    let prefix = own.prefix;
    let (what, verb) = if added {
        (format!("added address {prefix} to {device}"), "del")
    } else {
        (format!("removed address {prefix} from {device}"), "add")
    };
    let undo = format!("ip addr {verb} {prefix} dev {device}");
    Some(Noted::new(ChangeKind::Address, what, undo, port))
}

/// Whether a route comes and goes with something else that is told, or is no decision.
fn follows(message: &RouteMessage, port: u32) -> bool {
    let by_itself = matches!(message.header.protocol, RouteProtocol::Kernel | RouteProtocol::Ra);
    let cached = message.header.flags.contains(RouteFlags::Cloned);
    cached || (by_itself && port == 0)
}

fn of_its_own(kind: RouteKind) -> bool {
    !matches!(kind, RouteKind::Local | RouteKind::Broadcast | RouteKind::Multicast)
}

fn route_made(known: &mut Known, message: &RouteMessage, raw: &Raw<'_>) -> Option<Noted> {
    let route = routes::from_message(message);
    if message.header.flags.contains(RouteFlags::Cloned) || !of_its_own(route.kind) {
        return None;
    }
    let text = words::route(&route, known.device(route.out).as_deref());
    let before = known.remember((route.table, route.to, route.metric), text.clone());
    if follows(message, raw.port) {
        return None;
    }
    let ip = words::ip(route.to.address.is_ipv6());
    let (what, undo) = match before.filter(|_| raw.flags & REPLACE != 0) {
        Some(before) if before == text => return None,
        Some(before) => {
            (format!("replaced route {before} -> {text}"), format!("{ip} route replace {before}"))
        }
        None => (format!("added route {text}"), format!("{ip} route del {text}")),
    };
    Some(Noted::new(ChangeKind::Route, what, undo, raw.port))
}

fn route_gone(known: &mut Known, message: &RouteMessage, raw: &Raw<'_>) -> Option<Noted> {
    let route = routes::from_message(message);
    let text = words::route(&route, known.device(route.out).as_deref());
    known.routes.remove(&(route.table, route.to, route.metric));
    if follows(message, raw.port) || !of_its_own(route.kind) {
        return None;
    }
    let ip = words::ip(route.to.address.is_ipv6());
    let undo = format!("{ip} route add {text}");
    Some(Noted::new(ChangeKind::Route, format!("removed route {text}"), undo, raw.port))
}

fn rule(message: &RuleMessage, added: bool, port: u32) -> Noted {
    let rule = routes::rule_of(message);
    let text = words::rule(&rule);
    let ip = words::ip(rule.v6);
    let (verb, back) = if added { ("added", "del") } else { ("removed", "add") };
    // A rule with conditions that are not read cannot be written down to be taken back.
    let undo = if rule.more { String::new() } else { format!("{ip} rule {back} {text}") };
    Noted::new(ChangeKind::Rule, format!("{verb} rule {text}"), undo, port)
}

fn neighbour(
    known: &mut Known,
    message: &NeighbourMessage,
    there: bool,
    port: u32,
) -> Option<Noted> {
    if !matches!(message.header.family, AddressFamily::Inet | AddressFamily::Inet6) {
        return None;
    }
    let entry = neighbours::entry(message)?;
    let key = (entry.link, entry.address);
    let address = entry.address;
    let device = known.device(Some(entry.link))?;
    let (what, undo) = if there && entry.reach == Reach::Permanent {
        let hardware = entry.hardware_text();
        let before = known.permanent.insert(key, hardware.clone());
        match before {
            Some(before) if before == hardware => return None,
            Some(before) => (
                format!("neighbour {address} dev {device} {before} -> {hardware}"),
                format!("ip neigh replace {address} lladdr {before} dev {device}"),
            ),
            None => (
                format!("added permanent neighbour {address} dev {device} at {hardware}"),
                format!("ip neigh del {address} dev {device}"),
            ),
        }
    } else {
        let before = known.permanent.remove(&key)?;
        (
            format!("removed permanent neighbour {address} dev {device} at {before}"),
            format!("ip neigh add {address} lladdr {before} dev {device}"),
        )
    };
    Some(Noted::new(ChangeKind::Neighbour, what, undo, port))
}

impl Known {
    /// Remembers a queue; what was at its place before.
    pub(super) fn note_queue(&mut self, message: &TcMessage) -> Option<(String, u32)> {
        let queue = queues::queue(message);
        let place = (queue.link, u32::from(message.header.parent));
        self.queues.insert(place, (queue.kind, queue.handle))
    }
}

fn queue(known: &mut Known, message: &TcMessage, there: bool, port: u32) -> Option<Noted> {
    let queue = queues::queue(message);
    let device = known.device(Some(queue.link))?;
    let place = at(u32::from(message.header.parent));
    let before = if there {
        known.note_queue(message)
    } else {
        known.queues.remove(&(queue.link, u32::from(message.header.parent)))
    };
    let kind = &queue.kind;
    // The kernel puts its own queues in itself: when a device is made or switched on.
    if port == 0 {
        return None;
    }
    let back = format!("tc qdisc del dev {device} {place}");
    let (what, undo) = match (there, before) {
        (false, _) => (format!("removed qdisc {kind} {place} of {device}"), String::new()),
        (true, Some((was, handle))) if was == *kind && handle == queue.handle => {
            (format!("changed qdisc {kind} {place} of {device}"), String::new())
        }
        (true, Some((was, handle))) if handle != 0 => {
            (format!("replaced qdisc {was} -> {kind} {place} of {device}"), back)
        }
        (true, _) => (format!("added qdisc {kind} {place} of {device}"), back),
    };
    Some(Noted::new(ChangeKind::Queue, what, undo, port))
}

/// Where a queue hangs, as `tc` writes it.
fn at(parent: u32) -> String {
    match parent {
        0xffff_ffff => "root".to_owned(),
        0xffff_fff1 => "clsact".to_owned(),
        other => format!("parent {:x}:{:x}", other >> 16, other & 0xffff),
    }
}

fn filter(known: &Known, message: &TcMessage, added: bool, port: u32) -> Option<Noted> {
    let link = message.header.index.cast_unsigned();
    let device = known.device(Some(link))?;
    let parent = u32::from(message.header.parent);
    let filter = queues::filter(message, link, parent == queues::INGRESS);
    let (verb, kind, preference) =
        (if added { "added" } else { "removed" }, &filter.kind, filter.preference);
    let place = match parent {
        queues::INGRESS => "ingress".to_owned(),
        queues::EGRESS => "egress".to_owned(),
        other => at(other),
    };
    let what = format!("{verb} filter {kind} pref {preference} at {place} of {device}");
    let undo = if added {
        format!("tc filter del dev {device} {place} pref {preference}")
    } else {
        String::new()
    };
    Some(Noted::new(ChangeKind::Queue, what, undo, port))
}

/// A switch of a device or of all (`struct netconfmsg` and attributes, `linux/netconf.h`).
fn switch(known: &mut Known, raw: &Raw<'_>) -> Vec<Noted> {
    const IFINDEX: u16 = 1;
    let (Some(family), Some(body)) = (raw.payload.first(), raw.payload.get(4..)) else {
        return Vec::new();
    };
    let number = |bytes: &[u8]| Some(i32::from_ne_bytes(bytes.try_into().ok()?));
    let value = |wanted| attributes(body).find(|(k, _)| *k == wanted).and_then(|(_, v)| number(v));
    let Some(index) = value(IFINDEX).filter(|index| *index != TO_COME) else { return Vec::new() };
    let device = if index == ALL {
        Some("all".to_owned())
    } else {
        u32::try_from(index).ok().and_then(|i| known.device(Some(i)))
    };
    let (Some(device), Some((family_name, switches))) = (device, of_family(*family)) else {
        return Vec::new();
    };
    let mut out = Vec::new();
    for &(kind, name) in switches {
        let Some(now) = value(kind) else { continue };
        let name = format!("{family_name}/conf/{device}/{name}");
        let before = known.sysctls.0.insert(name.clone(), now.to_string());
        let Some(before) = before.filter(|before| *before != now.to_string()) else { continue };
        if index == ALL {
            known.set_for_all = Some((*family, kind, now));
        } else if known.set_for_all == Some((*family, kind, now)) {
            continue;
        }
        let what = format!("net/{name} {before} -> {now}");
        let undo = format!("sysctl -w net/{name}={before}");
        out.push(Noted::new(ChangeKind::Sysctl, what, undo, 0));
    }
    out
}

/// The switches of a family that are told, by attribute (`NETCONFA_*`).
fn of_family(number: u8) -> Option<(&'static str, &'static [(u16, &'static str)])> {
    match number {
        2 => Some(("ipv4", &[(2, "forwarding"), (3, "rp_filter"), (5, "proxy_arp")])),
        10 => Some(("ipv6", &[(2, "forwarding"), (5, "proxy_ndp")])),
        _ => None,
    }
}
