//! A packet that did not arrive, with what is known around it.

use std::net::IpAddr;

use taproot_model::{Blame, Category, Drop, Tuple};

use crate::firewall::Flow;
use crate::route::{Decision, decide};
use crate::state::{Lookup, NetState};

/// A packet that did not arrive.
#[derive(Clone, Debug)]
pub struct Incident<'a> {
    /// How the kernel dropped it; none where it was refused without a drop (an
    /// error to the sender) or its trace simply ends.
    pub drop: Option<&'a Drop>,
    /// Its headers where it was last seen.
    pub tuple: &'a Tuple,
    /// Its headers as the sender wrote them, where connection tracking knows them.
    pub original: Option<&'a Tuple>,
    /// The device that it came in by, by number; 0 for a packet made here.
    pub came_in: u32,
    /// The device that it was last seen at, by number; 0 for none.
    pub device: u32,
    /// Its mark; 0 for none.
    pub mark: u32,
    /// The control group (`/kubepods/...`) of the process at this end, where known.
    pub control_group: Option<&'a str>,
    /// The namespace where it was last seen, before the packet.
    pub before: Option<&'a NetState>,
    /// The same namespace after it.
    pub state: &'a NetState,
    /// The other namespaces on its way, as they are after it.
    pub others: &'a [NetState],
}

impl<'a> Incident<'a> {
    /// The device that it came in by.
    pub(crate) fn iif(&self) -> Option<u32> {
        (self.came_in != 0).then_some(self.came_in)
    }

    pub(crate) fn tcp(&self) -> bool {
        self.tuple.protocol == TCP
    }

    pub(crate) fn from(&self) -> IpAddr {
        self.tuple.source.ip()
    }

    pub(crate) fn to(&self) -> IpAddr {
        self.tuple.destination.ip()
    }

    /// What the namespace decides over the packet.
    pub(crate) fn decision(&self) -> Decision<'a> {
        let lookup =
            Lookup { to: self.to(), from: Some(self.from()), iif: self.iif(), mark: self.mark };
        decide(self.state, &lookup)
    }

    /// The device that the packet would leave by, and the next host on that link.
    pub(crate) fn next(&self) -> Option<(u32, IpAddr)> {
        let route = self.decision().route?;
        Some((route.out?, route.gateway.unwrap_or(self.to())))
    }

    /// The packet as firewall rules see it.
    pub(crate) fn flow<'s>(&'s self, came_in: &'s str, leaves: Option<&'s str>) -> Flow<'s> {
        Flow {
            tuple: self.tuple,
            came_in: Some(came_in),
            leaves,
            begins: begins(self.tuple),
            mark: Some(self.mark),
        }
    }

    /// The name of the device that it came in by; empty for none.
    pub(crate) fn came_in_name(&self) -> String {
        self.iif().map_or_else(String::new, |index| self.state.link_name(index))
    }

    /// This namespace and the others.
    pub(crate) fn everywhere(&self) -> impl Iterator<Item = &'a NetState> + use<'a> {
        std::iter::once(self.state).chain(self.others)
    }

    /// " in NAME" for a namespace other than that of the drop.
    pub(crate) fn whereabouts(&self, state: &NetState) -> String {
        if std::ptr::eq(state, self.state) { String::new() } else { format!(" in {}", state.name) }
    }

    /// Blames something.
    pub(crate) fn blame(
        category: Category,
        object: impl Into<String>,
        because: impl Into<String>,
        advice: impl Into<String>,
        proved: bool,
    ) -> Blame {
        let (object, because, advice) = (object.into(), because.into(), advice.into());
        Blame { category, object, because, advice, proved }
    }
}

/// IP protocol numbers.
pub(crate) const TCP: u8 = 6;
/// As above.
pub(crate) const UDP: u8 = 17;

const SYN: u8 = 2;
const RST: u8 = 4;
const ACK: u8 = 16;

/// Whether a packet begins a connection; only TCP says so.
fn begins(tuple: &Tuple) -> Option<bool> {
    match tuple.protocol {
        TCP if tuple.tcp_flags & RST != 0 => None,
        TCP => Some(tuple.tcp_flags & (SYN | ACK) == SYN),
        _ => None,
    }
}

/// Whether a packet answers the beginning of a TCP connection.
pub(crate) fn answers_syn(tuple: &Tuple) -> bool {
    tuple.protocol == TCP && tuple.tcp_flags & (SYN | ACK | RST) == SYN | ACK
}

/// A protocol as people call it.
pub(crate) fn protocol_name(protocol: u8) -> String {
    match protocol {
        TCP => "TCP".to_owned(),
        UDP => "UDP".to_owned(),
        1 => "ICMP".to_owned(),
        58 => "ICMPv6".to_owned(),
        other => format!("protocol {other}"),
    }
}
