//! From a drop to the thing at fault.

use taproot_model::{Blame, Category, Drop};

use crate::culprit::{device, firewall, neighbour, program, routing, socket, tunnel};
use crate::incident::{Incident, answers_syn, protocol_name};
use crate::predict::{End, Packet, predict};
use crate::reasons;

/// Says what is at fault for a packet that did not arrive.
///
/// The kernel's reason chooses where to look, the state names the object. Where
/// the kernel gave no reason, the function that dropped it chooses; where there
/// was no drop, the namespace's own prediction does; and where that sees no
/// obstacle, a program in the driver of the device is suspected, whose drops the
/// kernel tells nobody.
pub fn explain(incident: &Incident<'_>) -> Blame {
    let Some(drop) = incident.drop else {
        return expected(incident).or_else(|| suspected(incident)).unwrap_or_else(unknown);
    };
    by_reason(incident, drop)
        .or_else(|| by_function(incident, drop))
        .or_else(|| guess(incident, drop))
        .unwrap_or_else(|| by_words(incident, drop))
}

fn by_reason(incident: &Incident<'_>, drop: &Drop) -> Option<Blame> {
    match drop.reason.as_ref() {
        "NETFILTER_DROP" => filtered(incident, drop),
        "IP_RPFILTER" => routing::reverse_path(incident),
        "IP_INNOROUTES" | "IP_OUTNOROUTES" | "IP_INADDRERRORS" => routing::unroutable(incident),
        "NEIGH_FAILED" | "NEIGH_QUEUEFULL" | "NEIGH_DEAD" => neighbour::silent(incident),
        "OTHERHOST" => neighbour::wrong(incident),
        "DEV_READY" => device::not_ready(incident).or_else(|| device::no_port(incident)),
        "NO_TX_TARGET" | "BRIDGE_INGRESS_STP_STATE" => device::no_port(incident),
        "PKT_TOO_BIG" => device::too_small(incident),
        "IP_INHDR" => used_up(incident),
        "NO_SOCKET" => Some(unwanted(incident)),
        "TCP_LISTEN_OVERFLOW" => socket::line_full(incident),
        "SOCKET_RCVBUFF" | "SOCKET_BACKLOG" | "PROTO_MEM" => socket::buffer_full(incident),
        "SOCKET_FILTER" => program::control_group(incident, false),
        "BPF_CGROUP_EGRESS" => program::control_group(incident, true),
        "XDP" => program::xdp(incident),
        "TC_INGRESS" => program::filter(incident, true),
        "TC_EGRESS" => program::filter(incident, false),
        "VXLAN_VNI_NOT_FOUND" => tunnel::unknown_vni(incident),
        // A device that has just lost its carrier has its queue taken away.
        reason if reasons::words(reason).category == Category::Queue => {
            device::not_ready(incident).or_else(|| device::full_queue(incident))
        }
        reason if reason.ends_with("_CSUM") => Some(damaged(incident, reason)),
        _ => None,
    }
}

/// Older kernels give no reason at many places; the place tells then.
fn by_function(incident: &Incident<'_>, drop: &Drop) -> Option<Blame> {
    match drop.function.as_ref() {
        "nf_hook_slow" | "nft_do_chain" | "ipt_do_table" | "nf_conntrack_in" => {
            filtered(incident, drop)
        }
        "ip_error"
        | "ip_route_input_slow"
        | "ip_route_input_noref"
        | "ip_rcv_finish_core"
        | "ip6_pkt_drop" => routing::reverse_path(incident)
            .or_else(|| routing::unroutable(incident))
            .or_else(|| routing::not_forwarding(incident)),
        "ip_forward" => used_up(incident).or_else(|| device::too_small(incident)),
        "neigh_invalidate" | "arp_error_report" | "ndisc_error_report" => {
            neighbour::silent(incident)
        }
        "__br_forward"
        | "br_flood"
        | "br_dev_xmit"
        | "br_handle_frame_finish"
        | "br_handle_frame" => device::no_port(incident),
        // Generic XDP, and drivers' own functions, `veth_xdp_rcv_skb` for one.
        function if function.contains("xdp") => program::xdp(incident),
        "vxlan_rcv" => tunnel::unknown_vni(incident),
        "ip_rcv" | "ip_rcv_core" => neighbour::wrong(incident),
        "tcp_v4_rcv" | "tcp_v6_rcv" | "tcp_conn_request" | "tcp_v4_syn_recv_sock" => {
            socket::line_full(incident)
        }
        _ => None,
    }
}

/// What the namespace's own prediction says; never proved, as the kernel said
/// something else.
fn guess(incident: &Incident<'_>, drop: &Drop) -> Option<Blame> {
    let unnamed = reasons::words(&drop.reason).category == Category::Unknown;
    let blame = expected(incident).filter(|_| unnamed)?;
    Some(Blame { proved: false, ..blame })
}

fn suspected(incident: &Incident<'_>) -> Option<Blame> {
    let link = incident.state.link(incident.came_in)?;
    link.xdp?;
    program::xdp(incident).map(|blame| Blame { proved: false, ..blame })
}

fn expected(incident: &Incident<'_>) -> Option<Blame> {
    let packet =
        Packet { tuple: incident.tuple, came_in: incident.iif(), mark: incident.mark, whole: true };
    match predict(incident.state, &packet).end {
        End::Stopped(blame) => Some(blame),
        _ => None,
    }
}

fn filtered(incident: &Incident<'_>, drop: &Drop) -> Option<Blame> {
    firewall::stopper(incident, drop.netfilter)
        .filter(|blame| blame.proved)
        .or_else(|| firewall::table_full(incident))
        .or_else(|| firewall::stopper(incident, drop.netfilter))
}

fn unwanted(incident: &Incident<'_>) -> Blame {
    if let Some(blame) = firewall::hairpin(incident) {
        return blame;
    }
    let middle =
        incident.tcp() && (answers_syn(incident.tuple) || incident.tuple.tcp_flags & 2 == 0);
    if middle { socket::no_connection(incident) } else { socket::nobody(incident) }
}

/// The time to live was used up where the packet should have been sent on.
fn used_up(incident: &Incident<'_>) -> Option<Blame> {
    let ttl = incident.tuple.ttl;
    if ttl != 1 || incident.state.owns(incident.to()) {
        return None;
    }
    Some(Incident::blame(
        Category::Packet,
        format!("packet TTL=1 from {}", incident.from()),
        format!(
            "The packet from {} to {} has been through as many routers as its time to live \
             allows.",
            incident.from(),
            incident.to()
        ),
        format!(
            "Look for a routing loop (traceroute {}); if there is none, let the sender start with \
             a larger time to live (net.ipv4.ip_default_ttl).",
            incident.to()
        ),
        true,
    ))
}

fn damaged(incident: &Incident<'_>, reason: &str) -> Blame {
    let words = reasons::words(reason);
    let protocol = match reason {
        "IP_CSUM" => "IP".to_owned(),
        _ => protocol_name(incident.tuple.protocol),
    };
    let object = format!("{protocol} checksum of packets from {}", incident.from());
    Incident::blame(words.category, object, words.what, words.advice, true)
}

/// Nothing in the state fits: the reason's own words.
fn by_words(incident: &Incident<'_>, drop: &Drop) -> Blame {
    let words = reasons::words(&drop.reason);
    let object = match drop.function.as_ref() {
        "" => drop.reason.to_string(),
        function => format!("{} at {function}", drop.reason),
    };
    let device = incident.state.link_name(incident.device);
    let advice = words.advice.replace("DEVICE", &device);
    Incident::blame(words.category, object, words.what, advice, false)
}

fn unknown() -> Blame {
    Incident::blame(
        Category::Unknown,
        "nothing found",
        "The configuration of this namespace explains no loss of this packet.",
        "Trace the packet in the next namespace on its way.",
        false,
    )
}
