//! Devices, bridges, queues, tunnels.

use taproot_model::Category;

use super::faults;
use crate::fault::{Fault, SYN, TCP, UDP};

/// A UDP packet from the client to pod 1.
const DATAGRAM: (&str, &str, u8, u8, u8, u16) =
    ("10.1.0.2:40000", "10.2.0.2:9000", UDP, 0, 64, 1328);

/// How kernels say that a bridge has no port for a frame; older ones say nothing.
const NO_PORT: &[(&str, &str)] =
    &[("NO_TX_TARGET", "br_"), ("NOT_SPECIFIED", "br_"), ("NOT_SPECIFIED", "__br_forward")];

/// The same for a bridge whose only port is down: soon it has no carrier, and no queue.
const NO_CARRIER: &[(&str, &str)] = &[
    ("NO_TX_TARGET", "br_"),
    ("NOT_SPECIFIED", "br_"),
    ("NOT_SPECIFIED", "__br_forward"),
    ("QDISC_DROP", "__dev_queue_xmit"),
];

faults! {
    device_down => Fault {
        set_up: &[("node", "ip link set br0 down")],
        packet: ("10.1.0.2:40000", "10.2.0.2:8080", TCP, SYN, 64, 60),
        kernel: &[("IP_INNOROUTES", "ip_error"), ("NOT_SPECIFIED", "ip_error")],
        category: Category::Device,
        object: &["device br0 down"],
        advice: "ip link set br0 up",
        ..Fault::FORWARDED
    };
    bridge_port_down => Fault {
        set_up: &[("node", "ip neigh replace 10.2.0.2 lladdr 02:00:00:00:00:02 dev br0 nud permanent
                            ip link set p2 nomaster; ip link set p1 down")],
        at: ("node", "c0", "br0"),
        kernel: NO_CARRIER,
        category: Category::Device,
        object: &["device p1 down"],
        advice: "ip link set p1 up",
        ..Fault::FORWARDED
    };
    mtu_too_small_and_dont_fragment => Fault {
        set_up: &[("node", "ip link set br0 mtu 1000")],
        traffic: |bed| {
            bed.send("client", "10.1.0.2:0", "10.2.0.2:9000", 1300, 1);
            Box::new(())
        },
        packet: DATAGRAM,
        kernel: &[("PKT_TOO_BIG", "ip_forward"), ("NOT_SPECIFIED", "ip_forward")],
        category: Category::Device,
        object: &["device br0 mtu 1000"],
        advice: "ip link set br0 mtu",
        ..Fault::FORWARDED
    };
    bridge_port_isolated => Fault {
        set_up: &[
            ("node", "bridge link set dev p1 isolated on; bridge link set dev p2 isolated on"),
            ("pod1", "ip neigh replace 10.2.0.3 lladdr 02:00:00:00:00:03 dev eth0 nud permanent"),
        ],
        traffic: |bed| {
            bed.send("pod1", "10.2.0.2:0", "10.2.0.3:9000", 10, 1);
            Box::new(())
        },
        at: ("node", "p1", "p1"),
        packet: ("10.2.0.2:40000", "10.2.0.3:9000", UDP, 0, 64, 38),
        kernel: NO_PORT,
        category: Category::Device,
        object: &["bridge port p1 isolated"],
        advice: "bridge link set dev p1 isolated off",
        ..Fault::FORWARDED
    };
    queue_limit => Fault {
        set_up: &[("node", "tc qdisc add dev p1 root tbf rate 8kbit burst 1600 limit 3000")],
        traffic: |bed| {
            let socket = bed.udp("pod1", "10.2.0.2:9000");
            bed.send("client", "10.1.0.2:0", "10.2.0.2:9000", 1300, 20);
            Box::new(socket)
        },
        at: ("node", "c0", "p1"),
        packet: DATAGRAM,
        kernel: &[("QDISC_DROP", ""), ("QDISC_OVERLIMIT", "")],
        category: Category::Queue,
        object: &["qdisc tbf", "dev p1"],
        advice: "tc qdisc change dev p1 root tbf",
        ..Fault::FORWARDED
    };
    vxlan_with_a_wrong_id => Fault {
        set_up: &[
            ("node", "ip link add vx0 type vxlan id 43 local 10.1.0.1 remote 10.1.0.2 dstport 8472
                      ip addr add 10.3.0.1/24 dev vx0; ip link set vx0 up"),
            ("client", "ip link add vx0 type vxlan id 42 local 10.1.0.2 remote 10.1.0.1 dstport 8472
                        ip addr add 10.3.0.2/24 dev vx0; ip link set vx0 up"),
        ],
        traffic: |bed| {
            bed.send("client", "10.3.0.2:0", "10.3.0.1:9000", 10, 1);
            Box::new(())
        },
        packet: ("10.1.0.2:40000", "10.1.0.1:8472", UDP, 0, 64, 110),
        kernel: &[("VXLAN_VNI_NOT_FOUND", "vxlan_rcv"), ("NOT_SPECIFIED", "vxlan_rcv")],
        category: Category::Tunnel,
        object: &["vxlan vx0 vni 43"],
        advice: "type vxlan id 42 dstport 8472",
        ..Fault::FORWARDED
    };
}
