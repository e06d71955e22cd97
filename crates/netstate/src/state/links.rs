//! Devices: up or down, sizes, whose port they are, and what is attached to them.

use netlink_packet_route::RouteNetlinkMessage;
use netlink_packet_route::link::{
    BridgePortState, InfoBridgePort, InfoData, InfoPortData, InfoVxlan, LinkAttribute, LinkFlags,
    LinkInfo, LinkMessage, LinkXdp,
};
use netlink_sys::protocols::NETLINK_ROUTE;
use serde::{Deserialize, Serialize};

use crate::Result;
use crate::netlink::dump;

/// One network device.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Link {
    /// Its number in the namespace.
    pub index: u32,
    /// Its name.
    pub name: String,
    /// What it is (`veth`, `bridge`, `vxlan`...); empty for hardware and loopback.
    pub kind: String,
    /// Whether it was switched on.
    pub up: bool,
    /// Whether it has a carrier: a cable, or a peer that is switched on.
    pub carrier: bool,
    /// Whether it is the loopback device.
    pub loopback: bool,
    /// Largest packet in bytes, without the Ethernet header.
    pub mtu: u32,
    /// Its hardware address, empty where the kind has none.
    pub address: Vec<u8>,
    /// The bridge, bond or VRF that it is a port of, by number.
    pub master: Option<u32>,
    /// The other end of a veth pair, or the lower device, by number (which may be
    /// a number of another namespace).
    pub lower: Option<u32>,
    /// How it behaves as a port of a bridge.
    pub port: Option<BridgePort>,
    /// Network id and UDP port of a VXLAN.
    pub vxlan: Option<Vxlan>,
    /// The number of the XDP program attached to it.
    pub xdp: Option<u32>,
}

/// A port of a bridge.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct BridgePort {
    /// Whether it forwards; otherwise spanning tree or the user blocked it.
    pub forwarding: bool,
    /// Whether isolated ports are kept from each other.
    pub isolated: bool,
    /// Whether a frame may leave by the port that it came in by.
    pub hairpin: bool,
}

/// A VXLAN device.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Vxlan {
    /// Its network id (VNI).
    pub vni: u32,
    /// The UDP port that it sends to and listens on.
    pub port: u16,
    /// Whether it carries any id, chosen by route or program.
    pub external: bool,
}

impl Link {
    /// The hardware address as people write it.
    pub fn address_text(&self) -> String {
        hardware_address(&self.address)
    }
}

/// Bytes of a hardware address, as people write them.
pub(crate) fn hardware_address(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect::<Vec<_>>().join(":")
}

/// All devices of the calling thread's namespace.
pub(crate) fn read() -> Result<Vec<Link>> {
    let question = RouteNetlinkMessage::GetLink(LinkMessage::default());
    let answers = dump(NETLINK_ROUTE, "devices", question)?;
    let link = |message| match message {
        RouteNetlinkMessage::NewLink(link) => Some(from_message(link)),
        _ => None,
    };
    Ok(answers.into_iter().filter_map(link).collect())
}

pub(crate) fn from_message(message: LinkMessage) -> Link {
    let flags = message.header.flags;
    let mut link = Link {
        index: message.header.index,
        up: flags.contains(LinkFlags::Up),
        carrier: flags.contains(LinkFlags::LowerUp),
        loopback: flags.contains(LinkFlags::Loopback),
        ..Link::default()
    };
    for attribute in message.attributes {
        match attribute {
            LinkAttribute::IfName(name) => link.name = name,
            LinkAttribute::Mtu(mtu) => link.mtu = mtu,
            LinkAttribute::Address(address) => link.address = address,
            LinkAttribute::Controller(master) => link.master = Some(master),
            LinkAttribute::Link(lower) => link.lower = Some(lower),
            LinkAttribute::LinkInfo(infos) => {
                for info in infos {
                    add(&mut link, info);
                }
            }
            LinkAttribute::Xdp(xdp) => link.xdp = xdp.iter().find_map(program),
            _ => {}
        }
    }
    link
}

fn program(attribute: &LinkXdp) -> Option<u32> {
    match attribute {
        LinkXdp::ProgId(id) if *id != 0 => Some(*id),
        _ => None,
    }
}

fn add(link: &mut Link, info: LinkInfo) {
    match info {
        LinkInfo::Kind(kind) => link.kind = kind.to_string(),
        LinkInfo::Data(InfoData::Vxlan(attributes)) => link.vxlan = Some(vxlan(&attributes)),
        LinkInfo::PortData(InfoPortData::BridgePort(attributes)) => {
            link.port = Some(bridge_port(&attributes));
        }
        _ => {}
    }
}

fn vxlan(attributes: &[InfoVxlan]) -> Vxlan {
    let mut found = Vxlan { vni: 0, port: 0, external: false };
    for attribute in attributes {
        match attribute {
            InfoVxlan::Id(vni) => found.vni = *vni,
            InfoVxlan::Port(port) => found.port = *port,
            InfoVxlan::CollectMetadata(external) => found.external = *external,
            _ => {}
        }
    }
    found
}

fn bridge_port(attributes: &[InfoBridgePort]) -> BridgePort {
    let mut port = BridgePort { forwarding: true, isolated: false, hairpin: false };
    for attribute in attributes {
        match attribute {
            InfoBridgePort::State(state) => port.forwarding = *state == BridgePortState::Forwarding,
            InfoBridgePort::Isolated(isolated) => port.isolated = *isolated,
            InfoBridgePort::HairpinMode(hairpin) => port.hairpin = *hairpin,
            _ => {}
        }
    }
    port
}
