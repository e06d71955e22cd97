//! A packet that did not arrive, with what is known around it.

use std::net::IpAddr;

use taproot_model::{Blame, Category, Drop, Hop, Step, Tuple};

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
    /// The namespaces on its way, as they are after it; that of the drop may be among
    /// them.
    pub others: &'a [NetState],
}

impl<'a> Incident<'a> {
    /// The incident at the hop where a packet's way ended.
    ///
    /// A packet that was handed to one end of a veth pair and not seen at the other
    /// is taken to have come to the other end: programs in a driver drop it there
    /// before any hook.
    ///
    /// `outer` are the headers of the tunnel that carried the packet there: they are
    /// what that namespace judged. `before` and `after` are the states of the
    /// namespaces on the way, in any order. None when the hop's own is not among
    /// those after.
    pub fn at(
        hop: &'a Hop,
        outer: Option<&'a Tuple>,
        before: &'a [NetState],
        after: &'a [NetState],
    ) -> Option<Self> {
        let netns = hop.place.netns?;
        let here = |state: &&NetState| state.inode == netns;
        let drop = match &hop.step {
            Step::Dropped(drop) => Some(drop),
            _ => None,
        };
        let incident = Self {
            drop,
            tuple: outer.unwrap_or(&hop.tuple),
            original: hop.original.as_ref(),
            came_in: hop.place.came_in,
            device: hop.place.ifindex,
            mark: 0,
            control_group: None,
            before: before.iter().find(here),
            state: after.iter().find(here)?,
            others: after,
        };
        let handed_over = hop.step == Step::Transmitted;
        Some(if handed_over { incident.beyond(before) } else { incident })
    }

    /// The incident at the other end of the veth pair, where there is just one that
    /// it can be.
    fn beyond(self, before: &'a [NetState]) -> Self {
        let Some(own) = self.state.link(self.device).filter(|link| link.kind == "veth") else {
            return self;
        };
        let mut ends =
            self.others.iter().filter(|state| state.inode != self.state.inode).filter(|state| {
                own.lower
                    .and_then(|index| state.link(index))
                    .is_some_and(|link| link.kind == "veth" && link.lower == Some(own.index))
            });
        match (ends.next(), ends.next(), own.lower) {
            (Some(state), None, Some(index)) => Self {
                state,
                before: before.iter().find(|earlier| earlier.inode == state.inode),
                came_in: index,
                device: index,
                ..self
            },
            _ => self,
        }
    }

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

#[cfg(test)]
mod tests {
    use super::*;
    use crate::explain::explain;
    use crate::state::Link;
    use taproot_model::{Name, PacketId, Place, Timestamp};

    fn veth(name: &str, index: u32, lower: u32) -> Link {
        let (name, kind) = (name.to_owned(), "veth".to_owned());
        Link { index, name, kind, up: true, carrier: true, lower: Some(lower), ..Link::default() }
    }

    fn states() -> Vec<NetState> {
        let client = NetState {
            inode: 1,
            name: "client".to_owned(),
            links: vec![veth("eth0", 2, 7)],
            ..NetState::default()
        };
        let program = Link { xdp: Some(33), ..veth("c0", 7, 2) };
        let node = NetState { inode: 2, links: vec![program], ..NetState::default() };
        vec![client, node]
    }

    fn transmitted() -> Hop {
        let address = |text: &str| text.parse().expect("an address");
        Hop {
            at: Timestamp(0),
            node: Name::default(),
            place: Place { netns: Some(1), ifindex: 2, ..Place::default() },
            step: Step::Transmitted,
            tuple: Tuple {
                source: address("10.1.0.2:40000"),
                destination: address("10.2.0.2:80"),
                protocol: TCP,
                tcp_flags: SYN,
                icmp: None,
                ttl: 64,
                length: 60,
            },
            original: None,
            id: PacketId::default(),
            socket: None,
            hook: Name::default(),
        }
    }

    #[test]
    fn what_vanishes_in_a_cable_is_looked_for_at_its_other_end() {
        let (states, hop) = (states(), transmitted());
        let incident = Incident::at(&hop, None, &states, &states).expect("the state is there");
        assert_eq!((incident.state.inode, incident.device, incident.came_in), (2, 7, 7));
        let mut twice = states.clone();
        twice.push(NetState { inode: 3, ..states[1].clone() });
        let incident = Incident::at(&hop, None, &twice, &twice).expect("the state is there");
        assert_eq!(incident.state.inode, 1, "two ends fit: none is taken");
        let elsewhere = Hop { place: Place { netns: Some(9), ..Place::default() }, ..hop };
        assert!(Incident::at(&elsewhere, None, &states, &states).is_none());
    }

    #[test]
    fn a_program_in_the_driver_is_suspected_where_nothing_else_stops_the_packet() {
        let hop = transmitted();
        let mut states = states();
        states[1].addresses.push(crate::state::Address {
            prefix: "10.2.0.2/24".parse().expect("a subnet"),
            link: 7,
        });
        // Table `local` and a socket: the namespace would deliver it.
        states[1].rules.push(local_rule());
        states[1].routes.push(local_route());
        states[1].sockets.push(crate::state::Waiting {
            tcp: true,
            at: hop.tuple.destination,
            connected: false,
            waiting: 0,
            limit: 5,
            drops: 0,
            inode: 1,
        });
        let incident = Incident::at(&hop, None, &states, &states).expect("the state is there");
        let blame = explain(&incident);
        assert_eq!(blame.object, "XDP program 33 dev c0");
        assert!(!blame.proved);
    }

    fn local_rule() -> crate::state::Rule {
        crate::state::Rule {
            priority: 0,
            v6: false,
            from: None,
            to: None,
            iif: None,
            oif: None,
            mark: None,
            invert: false,
            action: crate::state::PolicyAction::Table,
            table: crate::state::LOCAL_TABLE,
            suppress_length: None,
            more: false,
        }
    }

    fn local_route() -> crate::state::Route {
        crate::state::Route {
            table: crate::state::LOCAL_TABLE,
            kind: crate::state::RouteKind::Local,
            to: "10.2.0.2/32".parse().expect("a subnet"),
            gateway: None,
            out: None,
            metric: 0,
            source: None,
            more_hops: 0,
        }
    }
}
