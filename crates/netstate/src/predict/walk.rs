//! The walk of a packet through one namespace.

use std::net::SocketAddr;

use taproot_model::{NetfilterHook, Tuple};

use super::{Decided, End, Packet, Way};
use crate::culprit::{device, firewall, neighbour, routing, socket};
use crate::firewall::Passage;
use crate::incident::{Incident, TCP, UDP};
use crate::route::{rule_text, table_name};
use crate::state::{NetState, Reach, RouteKind};

/// Says which way a packet would take through a namespace.
///
/// Judged: DNAT in PREROUTING and OUTPUT, policy rules and routes, the reverse
/// path filter, forwarding, packet size, filter rules of all hooks, neighbours,
/// sockets that wait. Not judged, and entered as doubts: programs of XDP and
/// traffic control, and conditions of rules that this crate does not know.
pub fn predict(state: &NetState, packet: &Packet<'_>) -> Way {
    let mut walk = Walk {
        state,
        tuple: packet.tuple.clone(),
        packet,
        decided: Vec::new(),
        doubts: Vec::new(),
    };
    let end = walk.run();
    Way { decided: walk.decided, end, doubts: walk.doubts }
}

struct Walk<'a> {
    state: &'a NetState,
    /// The headers, as translated so far.
    tuple: Tuple,
    packet: &'a Packet<'a>,
    decided: Vec<Decided>,
    doubts: Vec<String>,
}

impl<'a> Walk<'a> {
    fn run(&mut self) -> End {
        self.programs();
        let unread = self.state.firewall.unread.iter();
        self.doubts.extend(unread.map(|what| format!("rules could not be read: {what}")));
        let door = match self.packet.came_in {
            Some(_) => NetfilterHook::Prerouting,
            None => NetfilterHook::Output,
        };
        if let Some(end) = self.hook(door) {
            return end;
        }
        let route = match self.route() {
            Ok(kind) => kind,
            Err(end) => return end,
        };
        match route {
            RouteKind::Unicast => self.onward(),
            _ => self.arrive(),
        }
    }

    /// Programs judge in ways that cannot be read from outside.
    fn programs(&mut self) {
        let Some(link) = self.packet.came_in.and_then(|index| self.state.link(index)) else {
            return;
        };
        if let Some(id) = link.xdp {
            self.doubts.push(format!("XDP program {id} on {} is not judged", link.name));
        }
        let filters = self.state.filters.iter().filter(|f| f.link == link.index && f.ingress);
        if filters.count() > 0 {
            self.doubts.push(format!("traffic-control filters on {} are not judged", link.name));
        }
    }

    /// Asks the rules of a hook; they may write a new destination.
    fn hook(&mut self, hook: NetfilterHook) -> Option<End> {
        let state = self.state;
        let tuple = self.tuple.clone();
        let incident = self.incident(&tuple);
        let came_in = incident.came_in_name();
        let leaves = incident.next().map(|(out, _)| state.link_name(out));
        let passage = state.firewall.passage(hook, &incident.flow(&came_in, leaves.as_deref()));
        let (Passage::Passes { certain }
        | Passage::Translated { certain, .. }
        | Passage::Rule { certain, .. }
        | Passage::Policy { certain, .. }) = &passage;
        if !certain {
            self.doubts.push(format!("rules at {} are not fully judged", hook.as_str()));
        }
        match passage {
            Passage::Passes { .. } => None,
            Passage::Translated { to, .. } => {
                self.decided.push(Decided::Translated { from: tuple.destination, to });
                self.tuple.destination = to;
                None
            }
            Passage::Rule { .. } | Passage::Policy { .. } => {
                firewall::stopper(&incident, Some(hook)).map(End::Stopped)
            }
        }
    }

    fn route(&mut self) -> Result<RouteKind, End> {
        let tuple = self.tuple.clone();
        let incident = self.incident(&tuple);
        let decision = incident.decision();
        if decision.uncertain {
            self.doubts.push("a policy rule has a condition that is not judged".to_owned());
        }
        if let (Some(rule), Some(route)) = (decision.rule, decision.route) {
            self.decided.push(Decided::Routed {
                rule: rule_text(rule),
                table: table_name(route.table),
                route: route.to_string(),
            });
        }
        if let Some(blame) = routing::unroutable(&incident) {
            return Err(End::Stopped(blame));
        }
        if let Some(blame) = routing::reverse_path(&incident) {
            return Err(End::Stopped(blame));
        }
        Ok(decision.route.map_or(RouteKind::Other, |route| route.kind))
    }

    /// The packet is for another host.
    fn onward(&mut self) -> End {
        let tuple = self.tuple.clone();
        let incident = self.incident(&tuple);
        if self.packet.came_in.is_some() {
            if self.packet.whole
                && tuple.length != 0
                && let Some(blame) = device::too_small(&incident)
            {
                return End::Stopped(blame);
            }
            if let Some(end) = self.hook(NetfilterHook::Forward) {
                return end;
            }
        }
        if let Some(end) = self.hook(NetfilterHook::Postrouting) {
            return end;
        }
        let Some((out, next)) = incident.next() else { return End::Here };
        if let Some(blame) = device::not_ready(&incident) {
            return End::Stopped(blame);
        }
        let failed = |entry: &&crate::state::Neighbour| {
            entry.link == out && entry.address == next && entry.reach == Reach::Failed
        };
        if self.state.neighbours.iter().any(|entry| failed(&entry))
            && let Some(blame) = neighbour::silent(&incident)
        {
            return End::Stopped(blame);
        }
        End::Leaves { device: self.state.link_name(out), next }
    }

    /// The packet is for this namespace.
    fn arrive(&mut self) -> End {
        if let Some(end) = self.hook(NetfilterHook::Input) {
            return end;
        }
        let tuple = self.tuple.clone();
        let incident = self.incident(&tuple);
        // Only what begins a connection, or knows none, needs somebody who waits.
        let begins = match tuple.protocol {
            TCP => tuple.tcp_flags == 0 || tuple.tcp_flags & 0x12 == 2,
            UDP => true,
            _ => return End::Here,
        };
        let to: SocketAddr = tuple.destination;
        if !begins || to.ip().is_multicast() {
            return End::Here;
        }
        if let Some(blame) = socket::line_full(&incident) {
            return End::Stopped(blame);
        }
        match self.state.sockets_at(incident.tcp(), to).first() {
            Some(socket) => End::Delivered(socket.at),
            None => End::Stopped(socket::nobody(&incident)),
        }
    }

    fn incident<'t>(&self, tuple: &'t Tuple) -> Incident<'t>
    where
        'a: 't,
    {
        Incident {
            drop: None,
            tuple,
            original: Some(self.packet.tuple),
            came_in: self.packet.came_in.unwrap_or(0),
            device: self.packet.came_in.unwrap_or(0),
            mark: self.packet.mark,
            control_group: None,
            before: None,
            state: self.state,
            others: &[],
        }
    }
}
