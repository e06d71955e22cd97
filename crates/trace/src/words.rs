//! Hops in words that need no knowledge of the kernel.

use taproot_model::{Call, Drop, NetfilterHook, Route, Step, Tuple};
use taproot_probes::trace::Event;

use crate::frames;

/// TCP's flags.
const FIN: u8 = 1;
const SYN: u8 = 2;
const RST: u8 = 4;
const ACK: u8 = 16;

/// What sort of packet it is.
pub(crate) fn packet(tuple: &Tuple) -> String {
    match (tuple.protocol, tuple.icmp) {
        (6, _) => segment(tuple.tcp_flags).to_owned(),
        (17, _) => "UDP datagram".to_owned(),
        (1, Some((8, _))) | (58, Some((128, _))) => "ping".to_owned(),
        (1, Some((0, _))) | (58, Some((129, _))) => "answer to a ping".to_owned(),
        (1 | 58, Some((kind, code))) => format!("ICMP message ({kind}/{code})"),
        (132, _) => "SCTP packet".to_owned(),
        (protocol, _) => format!("packet of IP protocol {protocol}"),
    }
}

fn segment(flags: u8) -> &'static str {
    match flags {
        f if f & RST != 0 => "TCP reset",
        f if f & (SYN | ACK) == SYN => "TCP connection request (SYN)",
        f if f & (SYN | ACK) == SYN | ACK => "answer to a TCP connection request (SYN-ACK)",
        f if f & FIN != 0 => "end of a TCP connection (FIN)",
        // A lookup or a later fragment knows no flags.
        0 => "TCP packet",
        _ => "TCP segment",
    }
}

/// Whether it asks for a TCP connection.
pub(crate) fn is_request(tuple: &Tuple) -> bool {
    tuple.protocol == 6 && tuple.tcp_flags & (SYN | ACK) == SYN
}

/// What happened at a hop, and what the packet says where it is not IP.
pub(crate) fn told(event: &Event) -> String {
    match &event.frame {
        Some(frame) => format!("{}: {}, {}", hop(event), frames::kind(frame), frames::says(frame)),
        None => hop(event),
    }
}

/// What happened at a hop.
pub(crate) fn hop(event: &Event) -> String {
    let device = &event.hop.place.device;
    match &event.hop.step {
        Step::Received => format!("arrives at {device}"),
        Step::Queued if event.own_socket => format!("is sent out of {device}{}", sender(event)),
        Step::Queued => format!("is handed to {device}"),
        Step::Transmitted => format!("leaves by {device}"),
        Step::Routed(route) => lookup(route),
        Step::Neighbour(neighbour) => match neighbour.address {
            Some(address) => format!(
                "needs the link address of {address} on {device} ({})",
                neighbour.state.to_lowercase()
            ),
            None => format!("needs a link address on {device}"),
        },
        Step::Delivered => format!("is taken by a socket{}", sender(event)),
        Step::Retransmitted => "is sent again".to_owned(),
        Step::ResetSent => "is answered with a TCP reset".to_owned(),
        Step::ResetReceived => "a TCP reset ends the connection".to_owned(),
        Step::IcmpSent { kind, code } => format!("is answered: {}", icmp(*kind, *code)),
        Step::SocketState { from, to } => format!("the socket goes from {from} to {to}"),
        Step::SocketError(error) => format!("the socket reports {}", errno(-error)),
        Step::SocketFull => "finds the socket's receive queue full".to_owned(),
        Step::Dropped(drop) => format!("DROPPED: {}", dropped(drop)),
        Step::Called(call) => called(call),
    }
}

/// What a function did.
fn called(call: &Call) -> String {
    let hook = call.netfilter.map_or("netfilter", NetfilterHook::as_str);
    let by = if call.object.is_empty() { "the kernel" } else { call.object.as_str() };
    match call.function.as_str() {
        "nf_hook_slow" => format!("has passed {hook}"),
        "ipt_do_table" | "ip6t_do_table" | "nft_do_chain" => {
            format!("{by} says {} in {hook}", call.meaning)
        }
        "nf_nat_manip_pkt" => format!("has its {} address written over", call.meaning),
        "ip_route_input_noref" | "ip6_route_input" => match call.meaning.as_str() {
            "forward" => format!("is to be forwarded by {by}"),
            "local" => "is for this machine".to_owned(),
            other => format!("is routed: {other}"),
        },
        "tcp_v4_do_rcv" | "tcp_v6_do_rcv" => format!("reaches a TCP socket ({})", call.meaning),
        "__udp_enqueue_schedule_skb" => "reaches a UDP socket".to_owned(),
        "__cgroup_bpf_run_filter_skb" => "is refused by a program of a control group".to_owned(),
        other => format!("passes {other}()"),
    }
}

fn sender(event: &Event) -> String {
    match &event.hop.socket {
        Some(socket) if socket.pid != 0 && !socket.command.is_empty() => {
            format!(" of {} (pid {})", socket.command, socket.pid)
        }
        _ => String::new(),
    }
}

/// Reason, hook and function of a drop.
pub(crate) fn dropped(drop: &Drop) -> String {
    let hook = drop.netfilter.map(NetfilterHook::as_str);
    let hook = hook.map(|hook| format!(" in {hook}")).unwrap_or_default();
    let function =
        if drop.function.is_empty() { String::new() } else { format!(", by {}", drop.function) };
    format!("{}{hook}{function}", drop.reason)
}

/// One route lookup.
pub(crate) fn lookup(route: &Route) -> String {
    let table = table(route.table);
    if route.error != 0 {
        return format!("route to {}: {} in table {table}", route.destination, errno(route.error));
    }
    let via = route.gateway.map(|gateway| format!(" via {gateway}")).unwrap_or_default();
    let device = if route.device.is_empty() { "this machine" } else { route.device.as_str() };
    format!("route to {}: {device}{via} (table {table})", route.destination)
}

fn table(number: u32) -> String {
    match number {
        253 => "default".to_owned(),
        254 => "main".to_owned(),
        255 => "local".to_owned(),
        other => other.to_string(),
    }
}

/// A negative errno as a route lookup gives it.
fn errno(error: i32) -> String {
    match error {
        -11 => "none".to_owned(),
        -13 => "prohibited".to_owned(),
        -22 => "blackhole".to_owned(),
        -113 => "unreachable".to_owned(),
        -101 => "network unreachable".to_owned(),
        -111 => "connection refused".to_owned(),
        -110 => "timed out".to_owned(),
        -104 => "connection reset".to_owned(),
        other => format!("error {}", other.unsigned_abs()),
    }
}

/// An ICMP error in words.
fn icmp(kind: u8, code: u8) -> String {
    match (kind, code) {
        (3, 0) => "ICMP, network unreachable".to_owned(),
        (3, 1) => "ICMP, host unreachable".to_owned(),
        (3, 3) => "ICMP, port unreachable: nobody listens there".to_owned(),
        (3, 4) => "ICMP, too big for the next link and not to be split".to_owned(),
        (3, 9 | 10 | 13) => "ICMP, administratively prohibited".to_owned(),
        (11, 0) => "ICMP, time to live exceeded".to_owned(),
        (5, _) => "ICMP, there is a better router".to_owned(),
        _ => format!("ICMP {kind}/{code}"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn segments_by_their_flags() {
        assert_eq!(segment(SYN), "TCP connection request (SYN)");
        assert!(segment(SYN | ACK).contains("SYN-ACK"));
        assert_eq!(segment(RST | ACK), "TCP reset");
        assert_eq!(segment(ACK | 8), "TCP segment");
    }

    #[test]
    fn calls_say_who_decided_what() {
        let call = |function: &str, meaning: &str, object: &str, netfilter| {
            called(&Call {
                function: function.into(),
                returned: None,
                meaning: meaning.into(),
                object: object.into(),
                netfilter,
            })
        };
        let forward = Some(NetfilterHook::Forward);
        assert_eq!(
            call("nft_do_chain", "drop", "nft fw forward", forward),
            "nft fw forward says drop in FORWARD"
        );
        assert_eq!(call("nf_hook_slow", "accept", "", forward), "has passed FORWARD");
        assert_eq!(
            call("ip_route_input_noref", "forward", "eth1", None),
            "is to be forwarded by eth1"
        );
        assert_eq!(call("skb_clone", "", "", None), "passes skb_clone()");
    }

    #[test]
    fn lookups_name_table_device_and_failure() {
        let route = Route {
            table: 254,
            error: 0,
            source: "10.0.0.1".parse().unwrap(),
            destination: "10.9.0.1".parse().unwrap(),
            gateway: Some("10.0.0.254".parse().unwrap()),
            ifindex: 2,
            device: "eth0".into(),
        };
        assert_eq!(lookup(&route), "route to 10.9.0.1: eth0 via 10.0.0.254 (table main)");
        let failed = Route { error: -22, table: 100, ..route };
        assert_eq!(lookup(&failed), "route to 10.9.0.1: blackhole in table 100");
    }
}
