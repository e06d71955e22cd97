//! Addresses of this namespace, and the hardware addresses of its neighbours.

use std::net::IpAddr;

use netlink_packet_route::RouteNetlinkMessage;
use netlink_packet_route::address::{AddressAttribute, AddressMessage};
use netlink_packet_route::neighbour::{
    NeighbourAddress, NeighbourAttribute, NeighbourMessage, NeighbourState,
};
use netlink_sys::protocols::NETLINK_ROUTE;
use serde::{Deserialize, Serialize};

use super::Prefix;
use super::links::hardware_address;
use crate::Result;
use crate::netlink::dump;

/// An address of the namespace.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Address {
    /// The address and the length of its subnet.
    pub prefix: Prefix,
    /// The device that has it, by number.
    pub link: u32,
}

/// How much is known of a neighbour.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Reach {
    /// Asked for, no answer yet.
    Incomplete,
    /// Answered not long ago, or being asked again.
    Known,
    /// Did not answer.
    Failed,
    /// Entered by hand or by a program: never asked.
    Permanent,
    /// Needs no asking (loopback, point to point).
    NoArp,
}

/// What the namespace knows of a host on one of its links.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Neighbour {
    /// Its address.
    pub address: IpAddr,
    /// The device that leads to it, by number.
    pub link: u32,
    /// Its hardware address, empty when not known.
    pub hardware: Vec<u8>,
    /// How much is known of it.
    pub reach: Reach,
}

impl Neighbour {
    /// The hardware address as people write it.
    pub fn hardware_text(&self) -> String {
        hardware_address(&self.hardware)
    }
}

/// All addresses of the calling thread's namespace.
pub(crate) fn read_addresses() -> Result<Vec<Address>> {
    let question = RouteNetlinkMessage::GetAddress(AddressMessage::default());
    let answers = dump(NETLINK_ROUTE, "addresses", question)?;
    let address = |answer| match answer {
        RouteNetlinkMessage::NewAddress(message) => own(&message),
        _ => None,
    };
    Ok(answers.into_iter().filter_map(address).collect())
}

/// `IFA_LOCAL` is ours; on point-to-point links `IFA_ADDRESS` is the peer's.
pub(crate) fn own(message: &AddressMessage) -> Option<Address> {
    let local = message.attributes.iter().find_map(|attribute| match attribute {
        AddressAttribute::Local(address) => Some(*address),
        _ => None,
    });
    let any = message.attributes.iter().find_map(|attribute| match attribute {
        AddressAttribute::Address(address) => Some(*address),
        _ => None,
    });
    let prefix = Prefix { address: local.or(any)?, length: message.header.prefix_len };
    Some(Address { prefix, link: message.header.index })
}

/// All neighbours of the calling thread's namespace.
pub(crate) fn read_neighbours() -> Result<Vec<Neighbour>> {
    let question = RouteNetlinkMessage::GetNeighbour(NeighbourMessage::default());
    let answers = dump(NETLINK_ROUTE, "neighbours", question)?;
    let neighbour = |answer| match answer {
        RouteNetlinkMessage::NewNeighbour(message) => entry(&message),
        _ => None,
    };
    Ok(answers.into_iter().filter_map(neighbour).collect())
}

pub(crate) fn entry(message: &NeighbourMessage) -> Option<Neighbour> {
    let mut address = None;
    let mut hardware = Vec::new();
    for attribute in &message.attributes {
        match attribute {
            NeighbourAttribute::Destination(NeighbourAddress::Inet(v4)) => {
                address = Some(IpAddr::V4(*v4));
            }
            NeighbourAttribute::Destination(NeighbourAddress::Inet6(v6)) => {
                address = Some(IpAddr::V6(*v6));
            }
            NeighbourAttribute::LinkLayerAddress(bytes) => hardware.clone_from(bytes),
            _ => {}
        }
    }
    let reach = match message.header.state {
        NeighbourState::Incomplete => Reach::Incomplete,
        NeighbourState::Failed => Reach::Failed,
        NeighbourState::Permanent => Reach::Permanent,
        NeighbourState::Noarp => Reach::NoArp,
        _ => Reach::Known,
    };
    Some(Neighbour { address: address?, link: message.header.ifindex, hardware, reach })
}
