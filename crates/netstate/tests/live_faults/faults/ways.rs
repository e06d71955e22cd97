//! Routes, rules, the reverse path filter, forwarding, neighbours.

use taproot_model::Category;

use super::faults;
use crate::fault::{Fault, SYN, TCP, UDP};

/// How kernels say that a received packet has no way on. Before 6.17 or so, what
/// `ip_error` drops for a blackhole or the like has no reason.
const ROUTE: &[(&str, &str)] = &[
    ("NOT_SPECIFIED", "ip_error"),
    ("IP_INNOROUTES", "ip_error"),
    ("IP_INADDRERRORS", "ip_error"),
    ("NOT_SPECIFIED", "ip_rcv_finish_core"),
];

const ELSEWHERE: (&str, &str, u8, u8, u8, u16) =
    ("10.1.0.2:40000", "10.9.0.2:8080", TCP, SYN, 64, 60);

/// A TCP connection from the client to an address behind the node.
const ROUTED: Fault = Fault {
    traffic: |bed| Box::new(bed.connect("client", "10.9.0.2:8080")),
    packet: ELSEWHERE,
    kernel: ROUTE,
    category: Category::Routing,
    ..Fault::FORWARDED
};

faults! {
    blackhole => Fault {
        set_up: &[("node", "ip route add blackhole 10.9.0.0/16")],
        object: &["route blackhole 10.9.0.0/16 table main"],
        advice: "ip route del blackhole 10.9.0.0/16 table main",
        ..ROUTED
    };
    prohibit => Fault {
        set_up: &[("node", "ip route add prohibit 10.9.0.0/24")],
        object: &["route prohibit 10.9.0.0/24 table main"],
        advice: "ip route del prohibit 10.9.0.0/24 table main",
        ..ROUTED
    };
    unreachable => Fault {
        set_up: &[("node", "ip route add unreachable 10.9.0.2")],
        object: &["route unreachable 10.9.0.2/32 table main"],
        advice: "ip route del unreachable 10.9.0.2/32 table main",
        ..ROUTED
    };
    no_route => Fault {
        object: &["no route to 10.9.0.2"],
        advice: "ip route add 10.9.0.2 via",
        ..ROUTED
    };
    rule_to_an_empty_table => Fault {
        set_up: &[("node", "ip rule add to 10.9.0.0/16 lookup 100 priority 77")],
        object: &["rule 77: from all to 10.9.0.0/16 lookup 100", "is empty"],
        advice: "table 100",
        ..ROUTED
    };
    /// The sender itself has the blackhole: its connect fails, no packet is dropped.
    blackhole_at_the_sender => Fault {
        set_up: &[("client", "ip route add blackhole 10.9.0.0/16")],
        at: ("client", "", ""),
        kernel: &[],
        object: &["route blackhole 10.9.0.0/16 table main"],
        advice: "ip route del blackhole 10.9.0.0/16 table main",
        ..ROUTED
    };
    forwarding_off => Fault {
        set_up: &[("node", "sysctl -qw net.ipv4.ip_forward=0")],
        packet: ("10.1.0.2:40000", "10.2.0.2:8080", TCP, SYN, 64, 60),
        kernel: ROUTE,
        category: Category::Sysctl,
        object: &["net.ipv4.ip_forward=0"],
        advice: "sysctl -w net.ipv4.ip_forward=1",
        ..Fault::FORWARDED
    };
    reverse_path_filter => Fault {
        set_up: &[
            ("node", "sysctl -qw net.ipv4.conf.c0.rp_filter=1
                      ip route add 172.31.0.0/16 via 10.2.0.3"),
            ("client", "ip addr add 172.31.0.9/32 dev lo"),
        ],
        traffic: |bed| {
            // The node has to know the client's link address before.
            bed.send("client", "10.1.0.2:0", "10.1.0.1:9", 10, 1);
            bed.send("client", "172.31.0.9:0", "10.2.0.2:9000", 10, 1);
            Box::new(())
        },
        packet: ("172.31.0.9:40000", "10.2.0.2:9000", UDP, 0, 64, 38),
        kernel: &[("IP_RPFILTER", "ip_rcv_finish_core"), ("IP_RPFILTER", "")],
        category: Category::Sysctl,
        object: &["net.ipv4.conf.c0.rp_filter=1"],
        advice: "net.ipv4.conf.c0.rp_filter=2",
        ..Fault::FORWARDED
    };
    neighbour_does_not_answer => Fault {
        traffic: |bed| {
            bed.connect("client", "10.2.0.99:8080");
            Box::new(bed.connect("client", "10.2.0.99:8080"))
        },
        at: ("node", "c0", "br0"),
        packet: ("10.1.0.2:40000", "10.2.0.99:8080", TCP, SYN, 63, 60),
        kernel: &[("NEIGH_FAILED", "neigh_invalidate"), ("NEIGH_FAILED", "arp_error_report")],
        category: Category::Neighbour,
        object: &["neighbour 10.2.0.99 dev br0 FAILED"],
        advice: "arping -I br0 10.2.0.99",
        ..Fault::FORWARDED
    };
    neighbour_has_a_wrong_address => Fault {
        set_up: &[("node", "ip neigh replace 10.2.0.2 lladdr 02:00:00:00:00:99 dev br0 nud permanent")],
        at: ("pod1", "eth0", "eth0"),
        kernel: &[("OTHERHOST", "ip_rcv_core"), ("OTHERHOST", "ip_rcv")],
        category: Category::Neighbour,
        object: &["neighbour 10.2.0.2 dev br0 lladdr 02:00:00:00:00:99", "node"],
        advice: "ip neigh del 10.2.0.2 dev br0",
        ..Fault::FORWARDED
    };
    time_to_live_used_up => Fault {
        set_up: &[("client", "sysctl -qw net.ipv4.ip_default_ttl=1")],
        packet: ("10.1.0.2:40000", "10.2.0.2:8080", TCP, SYN, 1, 60),
        kernel: &[("IP_INHDR", "ip_forward"), ("NOT_SPECIFIED", "ip_forward")],
        category: Category::Packet,
        object: &["TTL=1 from 10.1.0.2"],
        advice: "traceroute 10.2.0.2",
        ..Fault::FORWARDED
    };
}
