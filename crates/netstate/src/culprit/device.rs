//! Devices: down, too small, ports that do not forward, full queues.

use std::net::IpAddr;

use taproot_model::{Blame, Category};

use crate::incident::Incident;
use crate::state::{Link, Queue};

/// A device that is down although it has the subnet of an address.
pub(crate) fn down_for(incident: &Incident<'_>, to: IpAddr) -> Option<Blame> {
    let state = incident.state;
    let address = state
        .addresses
        .iter()
        .find(|own| own.prefix.contains(to) && state.link(own.link).is_some_and(|link| !link.up))?;
    state.link(address.link).map(down)
}

/// The packet's device, or the one it should leave by, is down.
pub(crate) fn not_ready(incident: &Incident<'_>) -> Option<Blame> {
    let state = incident.state;
    let next = incident.next().map(|(out, _)| out);
    let named = [Some(incident.device), next].into_iter().flatten();
    let found = named.filter_map(|index| state.link(index)).find(|link| !link.up || !link.carrier);
    let found = found.map(|link| port_of(incident, link).unwrap_or(link));
    found.map(down).or_else(|| down_for(incident, incident.to()))
}

/// A bridge has no carrier when all its ports are down: then they are to blame.
fn port_of<'a>(incident: &Incident<'a>, bridge: &Link) -> Option<&'a Link> {
    let lost = bridge.kind == "bridge" && bridge.up && !bridge.carrier;
    let port = |link: &&Link| link.master == Some(bridge.index) && !link.up;
    incident.state.links.iter().find(port).filter(|_| lost)
}

fn down(link: &Link) -> Blame {
    let name = &link.name;
    let (because, advice) = if link.up {
        (
            format!("The device {name} has no carrier: its other end is down or unplugged."),
            format!("Switch the other end of {name} on, or plug the cable in."),
        )
    } else {
        (
            format!("The device {name}, by which the packet should go, is switched off."),
            format!("Switch it on: ip link set {name} up"),
        )
    };
    Incident::blame(Category::Device, format!("device {name} down"), because, advice, true)
}

/// The packet is larger than the device that it should leave by can carry.
pub(crate) fn too_small(incident: &Incident<'_>) -> Option<Blame> {
    let (out, _) = incident.next()?;
    let link = incident.state.link(out)?;
    let length = u32::from(incident.tuple.length);
    if length != 0 && length <= link.mtu {
        return None;
    }
    let name = &link.name;
    let size =
        if length == 0 { "The packet".to_owned() } else { format!("A packet of {length} bytes") };
    Some(Incident::blame(
        Category::Device,
        format!("device {name} mtu {}", link.mtu),
        format!(
            "{size} from {} may not be cut, and {name} carries at most {} bytes.",
            incident.from(),
            link.mtu
        ),
        format!(
            "Make the MTU equal along the path (ip link set {name} mtu N), or make the sender use \
             {} and let ICMP \"fragmentation needed\" through.",
            link.mtu
        ),
        length != 0,
    ))
}

/// A bridge found no port for the frame.
pub(crate) fn no_port(incident: &Incident<'_>) -> Option<Blame> {
    let state = incident.state;
    let bridge = bridge_of(incident)?;
    let ports: Vec<&Link> =
        state.links.iter().filter(|link| link.master == Some(bridge.index)).collect();
    let own = ports.iter().find(|port| [incident.came_in, incident.device].contains(&port.index));
    if let Some(blocked) = own.filter(|port| port.port.is_some_and(|flags| !flags.forwarding)) {
        return Some(blocked_port(blocked));
    }
    if let Some(isolated) = ports.iter().find(|port| is_isolated(port))
        && own.is_none_or(|own| is_isolated(own))
        && ports.iter().filter(|port| is_isolated(port)).count() > 1
    {
        let own = own.unwrap_or(isolated);
        return Some(isolation(own, bridge));
    }
    if let Some(port) = ports.iter().find(|port| !port.up) {
        return Some(down(port));
    }
    ports
        .iter()
        .find(|port| port.port.is_some_and(|flags| !flags.forwarding))
        .map(|port| blocked_port(port))
}

fn bridge_of<'a>(incident: &Incident<'a>) -> Option<&'a Link> {
    let state = incident.state;
    let next = incident.next().map_or(0, |(out, _)| out);
    [incident.device, incident.came_in, next].into_iter().find_map(|index| {
        let link = state.link(index)?;
        if link.kind == "bridge" { Some(link) } else { state.link(link.master?) }
    })
}

fn is_isolated(port: &Link) -> bool {
    port.port.is_some_and(|flags| flags.isolated)
}

fn isolation(port: &Link, bridge: &Link) -> Blame {
    let name = &port.name;
    Incident::blame(
        Category::Device,
        format!("bridge port {name} isolated"),
        format!(
            "The port {name} of the bridge {} is isolated: it may not reach other isolated ports.",
            bridge.name
        ),
        format!("Allow it: bridge link set dev {name} isolated off"),
        true,
    )
}

fn blocked_port(port: &Link) -> Blame {
    let name = &port.name;
    if !port.up {
        return down(port);
    }
    Incident::blame(
        Category::Device,
        format!("bridge port {name} not forwarding"),
        format!("The bridge's port {name} does not forward: spanning tree or somebody blocked it."),
        format!(
            "Look at it: bridge link show dev {name}; allow it: bridge link set dev {name} state 3"
        ),
        true,
    )
}

/// The queue that dropped the packet: the one at its device, or the one whose
/// counter of drops moved.
pub(crate) fn full_queue(incident: &Incident<'_>) -> Option<Blame> {
    let queues: Vec<&Queue> = incident.state.queues.iter().filter(|queue| !queue.holder).collect();
    let before = |queue: &Queue| {
        let same = |old: &&Queue| old.link == queue.link && old.handle == queue.handle;
        Some(incident.before?.queues.iter().find(same)?.drops)
    };
    let moved = |queue: &Queue| queue.drops > before(queue).unwrap_or(0);
    let here = queues.iter().find(|queue| queue.link == incident.device && moved(queue));
    let queue = here.or_else(|| queues.iter().find(|queue| moved(queue)))?;
    let device = incident.state.link_name(queue.link);
    let major = queue.handle >> 16;
    Some(Incident::blame(
        Category::Queue,
        format!("qdisc {} {major:x}: dev {device}", queue.kind),
        format!(
            "More packets came to {device} than its queue ({}) lets out or holds; it has dropped \
             {}.",
            queue.kind, queue.drops
        ),
        format!(
            "Raise its rate or limit, or send less; see tc -s qdisc show dev {device}, change with \
             tc qdisc change dev {device} root {} ...",
            queue.kind
        ),
        true,
    ))
}
