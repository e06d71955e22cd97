//! Sockets: none, full; and damaged packets.

use taproot_model::Category;

use super::faults;
use crate::fault::{Fault, SYN, TCP, UDP};

/// A packet that reached pod 1.
const ARRIVED: Fault =
    Fault { at: ("pod1", "eth0", "eth0"), category: Category::Socket, ..Fault::FORWARDED };

faults! {
    no_listener => Fault {
        traffic: |bed| {
            let elsewhere = bed.listen("pod1", "127.0.0.1:8080");
            Box::new((bed.connect("client", "10.2.0.2:8080"), elsewhere))
        },
        kernel: &[("NO_SOCKET", "tcp_v4_rcv")],
        object: &["no TCP socket at 10.2.0.2:8080"],
        advice: "listen on 10.2.0.2 (or 0.0.0.0) instead of 127.0.0.1",
        ..ARRIVED
    };
    no_udp_socket => Fault {
        traffic: |bed| {
            bed.send("client", "10.1.0.2:0", "10.2.0.2:9000", 10, 1);
            Box::new(())
        },
        packet: ("10.1.0.2:40000", "10.2.0.2:9000", UDP, 0, 63, 38),
        kernel: &[("NO_SOCKET", "__udp4_lib_rcv")],
        object: &["no UDP socket at 10.2.0.2:9000"],
        advice: "ss -ln",
        ..ARRIVED
    };
    /// The kernel forgets the SYN without counting it as a drop.
    listen_overflow => Fault {
        set_up: &[("pod1", "sysctl -qw net.core.somaxconn=1")],
        traffic: |bed| {
            let listener = bed.listen("pod1", "10.2.0.2:8080");
            let streams: Vec<_> = (0..4).map(|_| bed.connect("client", "10.2.0.2:8080")).collect();
            assert!(streams[0].is_some() && streams[3].is_none(), "the line is full");
            Box::new((listener, streams))
        },
        packet: ("10.1.0.2:40000", "10.2.0.2:8080", TCP, SYN, 63, 60),
        object: &["listener 10.2.0.2:8080", "limit 1"],
        advice: "net.core.somaxconn",
        ..ARRIVED
    };
    receive_buffer_full => Fault {
        traffic: |bed| {
            let socket = bed.udp("pod1", "10.2.0.2:9000");
            bed.send("client", "10.1.0.2:0", "10.2.0.2:9000", 1300, 600);
            Box::new(socket)
        },
        packet: ("10.1.0.2:40000", "10.2.0.2:9000", UDP, 0, 63, 1328),
        kernel: &[("SOCKET_RCVBUFF", "udp_queue_rcv_one_skb"), ("SOCKET_RCVBUFF", "__udp_queue_rcv_skb")],
        object: &["receive buffer of UDP 10.2.0.2:9000"],
        advice: "read faster",
        ..ARRIVED
    };
    bad_checksum => Fault {
        traffic: |bed| {
            let socket = bed.udp("pod1", "10.2.0.2:9000");
            bed.damaged_datagram("client", "10.2.0.2:9000");
            Box::new(socket)
        },
        packet: ("10.1.0.2:40000", "10.2.0.2:9000", UDP, 0, 63, 32),
        kernel: &[("UDP_CSUM", "__udp4_lib_rcv"), ("UDP_CSUM", "udp_queue_rcv_one_skb")],
        category: Category::Packet,
        object: &["UDP checksum of packets from 10.1.0.2"],
        advice: "checksum offload",
        ..ARRIVED
    };
}
