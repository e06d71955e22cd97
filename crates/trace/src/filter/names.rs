//! Names of hosts and services, as this machine has them in files. No other machine is
//! asked: that would take time, and packets.

use std::fs;
use std::net::IpAddr;

use taproot_probes::trace::Field;

use super::{Expr, Side};

const TCP: u32 = 6;
const UDP: u32 = 17;

/// Packets from or to the addresses of a host of `/etc/hosts`.
pub(super) fn host(name: &str, side: Side) -> Option<Expr> {
    let found = addresses(&fs::read_to_string("/etc/hosts").ok()?, name);
    let hosts = found.into_iter().map(|address| Expr::host(address, side)).collect::<Vec<_>>();
    (!hosts.is_empty()).then_some(Expr::Any(hosts))
}

/// Packets from or to the port of a service of `/etc/services`: of the protocol that it
/// is known for, or of any where both are.
pub(super) fn service(name: &str, protocol: Option<u32>, side: Side) -> Option<Expr> {
    let found = ports(&fs::read_to_string("/etc/services").ok()?, name);
    let other = |at: (u16, u32)| (at.0, TCP + UDP - at.1);
    let wanted = found.iter().filter(|(_, of)| protocol.is_none_or(|asked| asked == *of));
    let conditions: Vec<Expr> = wanted
        .map(|&(port, of)| {
            let ports = Expr::ports(port, port, side);
            let both = protocol.is_none() && found.contains(&other((port, of)));
            if both { ports } else { Expr::is(Field::Protocol, of).and(ports) }
        })
        .collect();
    (!conditions.is_empty()).then_some(Expr::Any(conditions))
}

/// Lines are an address and its names; `#` begins a comment.
fn addresses(file: &str, name: &str) -> Vec<IpAddr> {
    let named = entries(file).filter(|(_, names)| names.contains(&name));
    let mut found: Vec<IpAddr> = named.filter_map(|(address, _)| address.parse().ok()).collect();
    found.sort_unstable();
    found.dedup();
    found
}

/// Lines are a name, `PORT/PROTOCOL`, and other names. Of each port and protocol one.
fn ports(file: &str, name: &str) -> Vec<(u16, u32)> {
    let of = |(first, rest): (&str, Vec<&str>)| {
        let (port, protocol) = rest.first()?.split_once('/')?;
        let is_named = first == name || rest[1..].contains(&name);
        let protocol = match protocol {
            "tcp" => TCP,
            "udp" => UDP,
            _ => return None,
        };
        is_named.then_some((port.parse().ok()?, protocol))
    };
    let mut found: Vec<_> = entries(file).filter_map(of).collect();
    found.sort_unstable();
    found.dedup();
    found
}

/// The first word of each line and the others.
fn entries(file: &str) -> impl Iterator<Item = (&str, Vec<&str>)> {
    file.lines().filter_map(|line| {
        let line = line.split_once('#').map_or(line, |(before, _)| before);
        let mut words = line.split_whitespace();
        Some((words.next()?, words.collect()))
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn hosts_have_all_their_addresses() {
        let file = "# local\n127.0.0.1\tlocalhost here # not there\n\n::1 localhost\nx localhost\n";
        let ips = |name| addresses(file, name).iter().map(ToString::to_string).collect::<Vec<_>>();
        assert_eq!(ips("localhost"), ["127.0.0.1", "::1"]);
        assert_eq!(ips("here"), ["127.0.0.1"]);
        assert!(ips("there").is_empty() && ips("127.0.0.1").is_empty());
    }

    #[test]
    fn services_have_ports_of_protocols() {
        let file =
            "http 80/tcp www # the web\ndomain 53/tcp\ndomain 53/udp\nodd 70000/tcp\nsip 5/sctp";
        assert_eq!(ports(file, "www"), [(80, TCP)]);
        assert_eq!(ports(file, "domain"), [(53, TCP), (53, UDP)]);
        assert!(ports(file, "odd").is_empty() && ports(file, "sip").is_empty());
        assert!(ports(file, "80/tcp").is_empty());
    }
}
