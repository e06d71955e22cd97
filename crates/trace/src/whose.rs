//! Packets of processes and containers, which no header tells.
//!
//! The kernel's side ([`Owner`]) knows a packet at the hop where its socket sends it,
//! and follows the conversation from there. What comes in before that is known by the
//! sockets that wait for it; what was connected before is followed from the start.

use std::collections::BTreeMap;
use std::net::{IpAddr, SocketAddr};
use std::path::Path;

use taproot_netstate::state::Held;
use taproot_probes::trace::{Field, Leg, Owner, Test};

use crate::filter::{Expr, Seen, Side, evaluate};

const TCP: u8 = 6;
const UDP: u8 = 17;

/// Somebody whose packets are asked for: a process, or all of a container.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Whose {
    /// Processes.
    pub pids: Vec<u32>,
    /// Ids of control groups of the v2 tree.
    pub cgroups: Vec<u64>,
    /// Addresses at which the sockets that wait at every address are reached.
    pub addresses: Vec<IpAddr>,
}

/// The sockets that somebody holds now.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Sockets(Vec<Held>);

impl Whose {
    /// Whom the kernel has to know.
    pub fn owners(&self) -> Vec<Owner> {
        let pids = self.pids.iter().map(|pid| Owner::Process(*pid));
        pids.chain(self.cgroups.iter().map(|id| Owner::Cgroup(*id))).collect()
    }

    /// Reads the sockets that the processes hold.
    ///
    /// # Errors
    /// When the kernel does not tell.
    pub fn sockets(&self, proc: &Path) -> taproot_netstate::Result<Sockets> {
        taproot_netstate::state::held_by(proc, &self.pids).map(Sockets)
    }

    /// The condition on a packet: an owner's socket sends it, or it is from or to a
    /// socket that waits. Sockets that wait at loopback addresses only are known once
    /// they answer.
    pub fn condition(&self, sockets: &Sockets) -> Expr {
        let mut ports: BTreeMap<(bool, Option<IpAddr>), Vec<u16>> = BTreeMap::new();
        for held in sockets.0.iter().filter(|held| held.peer.is_none()) {
            let ip = held.local.ip();
            if !ip.is_loopback() {
                let at = (held.tcp, Some(ip).filter(|ip| !ip.is_unspecified()));
                ports.entry(at).or_default().push(held.local.port());
            }
        }
        let waits = ports.into_iter().map(|((tcp, ip), mut ports)| {
            ports.sort_unstable();
            ports.dedup();
            waiting(
                tcp,
                ip.as_slice().first().map_or(&self.addresses, std::slice::from_ref),
                &ports,
            )
        });
        Expr::Any(std::iter::once(Expr::is(Field::Owned, 1)).chain(waits).collect())
    }
}

impl Sockets {
    /// The conversations that they are in, as far as the other conditions let them pass.
    pub fn legs(&self, tests: &[Test]) -> Vec<Leg> {
        let leg = |held: &Held| {
            let protocol = if held.tcp { TCP } else { UDP };
            Some(Leg { local: held.local, peer: held.peer?, protocol })
        };
        let passes = |leg: &Leg| {
            evaluate(tests, &fields(leg.local, leg.peer, leg.protocol))
                || evaluate(tests, &fields(leg.peer, leg.local, leg.protocol))
        };
        self.0.iter().filter_map(leg).filter(passes).collect()
    }
}

/// Packets from or to these ports of these addresses.
fn waiting(tcp: bool, addresses: &[IpAddr], ports: &[u16]) -> Expr {
    let end = |side| {
        let hosts = addresses.iter().map(|ip| Expr::host(*ip, side));
        let ports = ports.iter().map(|port| Expr::ports(*port, *port, side));
        Expr::Any(hosts.collect()).and(Expr::Any(ports.collect()))
    };
    let protocol = if tcp { TCP } else { UDP };
    Expr::is(Field::Protocol, u32::from(protocol))
        .and(Expr::Any(vec![end(Side::Destination), end(Side::Source)]))
}

/// A packet between two ends as the filter sees it.
fn fields(source: SocketAddr, destination: SocketAddr, protocol: u8) -> Seen<'static> {
    let mut all = Seen::default();
    let mut set = |field: Field, value| all.fields[usize::from(field.number())] = value;
    set(Field::Family, if source.is_ipv4() { 4 } else { 6 });
    set(Field::Protocol, u32::from(protocol));
    set(Field::Ports, 1);
    set(Field::SourcePort, u32::from(source.port()));
    set(Field::DestinationPort, u32::from(destination.port()));
    for at in 0..4 {
        set(Field::Source(at), word(source.ip(), at));
        set(Field::Destination(at), word(destination.ip(), at));
    }
    all
}

/// One word of an address; IPv4 has one.
fn word(ip: IpAddr, at: u8) -> u32 {
    match ip {
        IpAddr::V4(v4) if at == 0 => v4.to_bits(),
        IpAddr::V4(_) => 0,
        IpAddr::V6(v6) => (v6.to_bits() >> (96 - 32 * u32::from(at))) as u32,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn held(tcp: bool, local: &str, peer: Option<&str>) -> Held {
        let end = |text: &str| text.parse().expect("an end");
        Held { tcp, local: end(local), peer: peer.map(end) }
    }

    fn passes(expr: &Expr, protocol: u8, source: &str, destination: &str) -> bool {
        let tests = expr.compile().expect("short");
        let end = |text: &str| text.parse().expect("an end");
        evaluate(&tests, &fields(end(source), end(destination), protocol))
    }

    #[test]
    fn what_comes_in_is_known_by_the_sockets_that_wait() {
        let whose = Whose { addresses: vec!["10.0.0.2".parse().unwrap()], ..Whose::default() };
        let sockets = Sockets(vec![
            held(true, "0.0.0.0:80", None),
            held(true, "[::]:80", None),
            held(false, "10.0.0.9:53", None),
            held(true, "127.0.0.1:90", None),
            held(true, "10.0.0.2:4000", Some("10.0.0.7:443")),
        ]);
        let condition = whose.condition(&sockets);
        assert!(passes(&condition, TCP, "10.0.0.1:5000", "10.0.0.2:80"));
        assert!(passes(&condition, TCP, "10.0.0.2:80", "10.0.0.1:5000"));
        assert!(passes(&condition, UDP, "10.0.0.1:5000", "10.0.0.9:53"));
        assert!(!passes(&condition, UDP, "10.0.0.1:5000", "10.0.0.2:80"), "another protocol");
        assert!(!passes(&condition, TCP, "10.0.0.2:5000", "10.0.0.1:80"), "another's port");
        assert!(!passes(&condition, TCP, "10.0.0.1:5000", "10.0.0.2:90"), "loopback only");
        assert!(!passes(&condition, TCP, "10.0.0.2:4000", "10.0.0.7:443"), "it is a leg");
    }

    #[test]
    fn connections_of_before_are_legs_where_the_rest_of_the_filter_lets_them() {
        let sockets = Sockets(vec![
            held(true, "10.0.0.2:4000", Some("10.0.0.7:443")),
            held(false, "10.0.0.2:4001", Some("10.0.0.7:53")),
            held(true, "10.0.0.2:80", None),
        ]);
        let legs = |filter: &str| {
            let tests = Expr::parse(filter).expect(filter).compile().expect(filter);
            let legs = sockets.legs(&tests);
            legs.iter().map(|leg| leg.peer.port()).collect::<Vec<_>>()
        };
        assert_eq!(legs(""), [443, 53]);
        assert_eq!(legs("tcp"), [443]);
        assert_eq!(legs("src port 53"), [53], "the answers pass");
        assert!(legs("host 10.0.0.9").is_empty());
    }

    #[test]
    fn the_kernel_knows_processes_and_groups() {
        let whose = Whose { pids: vec![7], cgroups: vec![9], addresses: Vec::new() };
        assert_eq!(whose.owners(), [Owner::Process(7), Owner::Cgroup(9)]);
    }
}
