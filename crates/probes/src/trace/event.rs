//! An event of the kernel as a hop.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};

use serde::{Deserialize, Serialize};
use taproot_model::{
    Direction, Drop, Frame, Hop, Name, Neighbour, PacketId, Place, Route, Socket, Step, Timestamp,
    Tuple,
};

use super::call;
use super::raw::{FRAGMENT_OFFSET, flag, step, tracked};
use super::skeleton::types::{trace_call, trace_event, trace_tuple};
use super::symbols::{Symbols, netfilter_hook};
use crate::btf::KernelBtf;
use crate::flow::DropReasons;

/// `TRACE_STACK_DEPTH`.
const STACK_DEPTH: usize = 16;

/// A hop, and what else is known to find out where it belongs.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[allow(clippy::struct_excessive_bools, reason = "independent facts about one packet")]
pub struct Event {
    /// The hop; its node is not filled in.
    pub hop: Hop,
    /// Headers of the tunnel that carries the packet.
    pub outer: Option<Tuple>,
    /// What replies to the packet look like before they are translated back.
    pub reply: Option<Tuple>,
    /// Whether conntrack says that addresses are translated.
    pub translated: bool,
    /// Whether the filter matched only through a translation or an answer to it.
    pub followed: bool,
    /// Whether a socket of the hop's own namespace sends it: its way begins here.
    pub own_socket: bool,
    /// Where in its datagram it begins, bytes, if it is a piece of one; only the first
    /// piece has ports.
    pub fragment: Option<u16>,
    /// The thread whose system call it is, of a lookup before there is a packet and of the
    /// hop with which a socket's packet begins; 0 where that is not known.
    #[serde(default)]
    pub thread: u32,
    /// The CPU that saw it.
    pub cpu: u32,
    /// Firewall mark.
    pub mark: u32,
    /// The packet itself, where it is not IP. Of ARP the hop's tuple has the addresses, of
    /// others nothing.
    pub frame: Option<Frame>,
}

/// What follows an event, by its kind.
#[derive(Clone, Copy, Default)]
pub(super) struct More {
    pub(super) stack: Option<[u64; STACK_DEPTH]>,
    pub(super) call: Option<trace_call>,
}

/// Turns records into events.
pub(super) struct Decoder {
    /// Read at the first drop: the kernel's types are many.
    reasons: Option<DropReasons>,
    symbols: Symbols,
    /// Wall time less monotonic time, nanoseconds.
    offset: u64,
}

impl Decoder {
    pub(super) fn new() -> Self {
        let monotonic = rustix::time::clock_gettime(rustix::time::ClockId::Monotonic);
        let monotonic = monotonic.tv_sec as u64 * 1_000_000_000 + monotonic.tv_nsec as u64;
        Self {
            reasons: None,
            symbols: Symbols::default(),
            offset: Timestamp::now().0.saturating_sub(monotonic),
        }
    }

    /// Wall time less monotonic time, nanoseconds.
    pub(super) fn offset(&self) -> u64 {
        self.offset
    }

    pub(super) fn decode(&mut self, raw: &trace_event, more: More) -> Event {
        let has = |bit| raw.flags & bit != 0;
        let sides = sides(raw);
        let (original, reply) = sides.map_or((None, None), |(o, r)| (Some(o), Some(r)));
        let step = self.step(raw, more);
        let hook = match &step {
            Step::Called(call) => call.function.clone(),
            _ => Name::from(hook(raw.step)),
        };
        let hop = Hop {
            at: Timestamp(raw.time + self.offset),
            node: Name::default(),
            place: Place {
                netns: (raw.netns != 0).then_some(raw.netns),
                ifindex: raw.ifindex,
                device: text(&raw.device),
                came_in: raw.came_in,
                direction: direction(raw.step),
            },
            step,
            tuple: tuple(&raw.tuple),
            original,
            id: PacketId {
                skb: raw.skb,
                head: raw.head,
                ip_id: raw.ip_id,
                sequence: raw.sequence,
                acknowledgement: raw.acknowledgement,
            },
            socket: (raw.cookie != 0 || raw.pid != 0).then(|| Socket {
                cookie: raw.cookie,
                pid: raw.pid,
                command: text(&raw.command),
            }),
            hook,
        };
        Event {
            hop,
            outer: has(flag::INNER).then(|| tuple(&raw.outer)),
            reply,
            translated: raw.tracked & tracked::TRANSLATED != 0,
            followed: has(flag::FOLLOWED),
            own_socket: has(flag::OWN_SOCKET),
            fragment: (raw.fragment != 0).then_some((raw.fragment & FRAGMENT_OFFSET) << 3),
            thread: thread(raw),
            cpu: raw.cpu,
            mark: raw.mark,
            frame: has(flag::FRAME).then(|| frame(raw)),
        }
    }

    fn step(&mut self, raw: &trace_event, more: More) -> Step {
        match raw.step {
            step::RECEIVED => Step::Received,
            step::QUEUED => Step::Queued,
            step::TRANSMITTED => Step::Transmitted,
            step::ROUTED => Step::Routed(route(raw)),
            step::NEIGHBOUR => Step::Neighbour(neighbour(raw)),
            step::DELIVERED => Step::Delivered,
            step::RETRANSMITTED => Step::Retransmitted,
            step::RESET_SENT => Step::ResetSent,
            step::RESET_RECEIVED => Step::ResetReceived,
            step::ICMP_SENT => Step::IcmpSent { kind: raw.code as u8, code: raw.extra as u8 },
            step::SOCKET_STATE => {
                Step::SocketState { from: tcp_state(raw.extra), to: tcp_state(raw.code) }
            }
            step::SOCKET_ERROR => Step::SocketError(raw.code),
            step::SOCKET_FULL => Step::SocketFull,
            step::CALLED => {
                let any = || self.symbols.name(raw.location);
                Step::Called(call::decode(&more.call.unwrap_or_default(), any))
            }
            _ => Step::Dropped(self.dropped(raw, more.stack)),
        }
    }

    fn dropped(&mut self, raw: &trace_event, stack: Option<[u64; STACK_DEPTH]>) -> Drop {
        let frames = stack.filter(|_| raw.flags & flag::STACK != 0).unwrap_or_default();
        let mut stack: Vec<Name> = frames
            .iter()
            .take_while(|frame| **frame != 0)
            .map(|frame| self.symbols.name(*frame))
            .collect();
        let function = self.symbols.name(raw.location);
        // The frames before it are the tracing's own and the freeing's.
        if let Some(at) = stack.iter().position(|name| *name == function) {
            stack.drain(..at);
        }
        // Without types no program would have been loaded that could tell of a drop.
        let read = || KernelBtf::load().map(|kernel| DropReasons::of(&kernel)).unwrap_or_default();
        Drop {
            reason: self.reasons.get_or_insert_with(read).name(raw.code as u32),
            function,
            netfilter: netfilter_hook(&stack),
            stack,
        }
    }
}

fn frame(raw: &trace_event) -> Frame {
    let copied = (raw.frame_copied as usize).min(raw.frame.len());
    Frame {
        ether_type: raw.ether_type,
        length: raw.frame_length,
        bytes: raw.frame[..copied].to_vec(),
    }
}

/// What a tracked connection began with, and what its answers look like. Where nothing
/// is translated, the packet itself says both.
fn sides(raw: &trace_event) -> Option<(Tuple, Tuple)> {
    if raw.tracked == 0 {
        return None;
    }
    if raw.tracked & tracked::TRANSLATED != 0 {
        return Some((tuple(&raw.original), tuple(&raw.reply)));
    }
    let outside = if raw.flags & flag::INNER != 0 { &raw.outer } else { &raw.tuple };
    let seen = tuple(outside);
    let there = Tuple { tcp_flags: 0, icmp: seen.icmp.map(|_| (0, 0)), ttl: 0, length: 0, ..seen };
    let back = Tuple { source: there.destination, destination: there.source, ..there.clone() };
    Some(if raw.tracked & tracked::REPLY != 0 { (back, there) } else { (there, back) })
}

/// What `extra` says for these two kinds of hops.
fn thread(raw: &trace_event) -> u32 {
    match raw.step {
        step::QUEUED | step::ROUTED => raw.extra.cast_unsigned(),
        _ => 0,
    }
}

fn direction(number: u32) -> Direction {
    match number {
        step::RECEIVED => Direction::In,
        step::QUEUED | step::TRANSMITTED => Direction::Out,
        _ => Direction::Within,
    }
}

/// The tracepoint behind a step.
fn hook(number: u32) -> &'static str {
    match number {
        step::RECEIVED => "netif_receive_skb",
        step::QUEUED => "net_dev_queue",
        step::TRANSMITTED => "net_dev_start_xmit",
        step::ROUTED => "fib_table_lookup",
        step::NEIGHBOUR => "neigh_event_send_done",
        step::DELIVERED => "skb_copy_datagram_iovec",
        step::RETRANSMITTED => "tcp_retransmit_skb",
        step::RESET_SENT => "tcp_send_reset",
        step::RESET_RECEIVED => "tcp_receive_reset",
        step::ICMP_SENT => "icmp_send",
        step::SOCKET_STATE => "inet_sock_set_state",
        step::SOCKET_ERROR => "inet_sk_error_report",
        step::SOCKET_FULL => "sock_rcvqueue_full",
        _ => "kfree_skb",
    }
}

fn route(raw: &trace_event) -> Route {
    let ends = tuple(&raw.tuple);
    let known = raw.route.gateway_family != 0;
    Route {
        table: raw.route.table,
        error: raw.code,
        source: ends.source.ip(),
        destination: ends.destination.ip(),
        gateway: known.then(|| address(raw.route.gateway_family, raw.route.gateway)),
        ifindex: raw.route.ifindex,
        device: text(&raw.route.device),
    }
}

fn neighbour(raw: &trace_event) -> Neighbour {
    let known = raw.route.gateway_family != 0;
    Neighbour {
        address: known.then(|| address(raw.route.gateway_family, raw.route.gateway)),
        state: Name::from(neighbour_state(raw.code)),
    }
}

/// `NUD_*` as `ip neighbour` spells them.
fn neighbour_state(number: i32) -> &'static str {
    match number {
        0x00 => "NONE",
        0x01 => "INCOMPLETE",
        0x02 => "REACHABLE",
        0x04 => "STALE",
        0x08 => "DELAY",
        0x10 => "PROBE",
        0x20 => "FAILED",
        0x40 => "NOARP",
        0x80 => "PERMANENT",
        _ => "?",
    }
}

/// `TCP_*` of `include/net/tcp_states.h`.
pub(super) fn tcp_state(number: i32) -> Name {
    const NAMES: [&str; 13] = [
        "?",
        "ESTABLISHED",
        "SYN_SENT",
        "SYN_RECV",
        "FIN_WAIT1",
        "FIN_WAIT2",
        "TIME_WAIT",
        "CLOSE",
        "CLOSE_WAIT",
        "LAST_ACK",
        "LISTEN",
        "CLOSING",
        "NEW_SYN_RECV",
    ];
    Name::from(usize::try_from(number).ok().and_then(|n| NAMES.get(n)).unwrap_or(&"?"))
}

fn tuple(raw: &trace_tuple) -> Tuple {
    let end = |words, port| SocketAddr::new(address(raw.family, words), port);
    let is_icmp = matches!(raw.protocol, 1 | 58);
    Tuple {
        source: end(raw.source, raw.source_port),
        destination: end(raw.destination, raw.destination_port),
        protocol: raw.protocol,
        tcp_flags: raw.tcp_flags,
        icmp: is_icmp.then_some((raw.icmp_type, raw.icmp_code)),
        ttl: raw.ttl,
        length: raw.length,
    }
}

/// Words in network order; IPv4 in the first.
fn address(family: u8, words: [u32; 4]) -> IpAddr {
    if family == 6 {
        let mut bytes = [0; 16];
        for (to, word) in bytes.chunks_exact_mut(4).zip(words) {
            to.copy_from_slice(&word.to_ne_bytes());
        }
        IpAddr::V6(Ipv6Addr::from(bytes))
    } else {
        IpAddr::V4(Ipv4Addr::from(words[0].to_ne_bytes()))
    }
}

/// A C string in an array.
pub(super) fn text<T: Copy + Into<i64>>(chars: &[T]) -> Name {
    let bytes: Vec<u8> =
        chars.iter().map(|c| (*c).into() as u8).take_while(|byte| *byte != 0).collect();
    Name::from(String::from_utf8_lossy(&bytes))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn blank<T: crate::Pod>() -> T {
        crate::from_bytes(&vec![0; size_of::<T>()]).expect("long enough")
    }

    #[test]
    fn addresses_and_ports_come_out_in_order() {
        let mut raw: trace_tuple = blank();
        raw.family = 4;
        raw.protocol = 6;
        raw.source[0] = u32::from_ne_bytes([10, 244, 1, 3]);
        raw.destination[0] = u32::from_ne_bytes([10, 96, 0, 1]);
        raw.source_port = 40_000;
        raw.destination_port = 443;
        let decoded = tuple(&raw);
        assert_eq!(decoded.source.to_string(), "10.244.1.3:40000");
        assert_eq!(decoded.destination.to_string(), "10.96.0.1:443");
        assert_eq!(decoded.icmp, None);
        raw.family = 6;
        raw.source = [0xfd, 0, 0, 0x77].map(|byte: u32| (byte).to_be());
        assert_eq!(tuple(&raw).source.ip().to_string(), "0:fd::77");
    }

    #[test]
    fn an_untranslated_connection_has_the_packets_own_ends() {
        let mut raw: trace_event = blank();
        assert_eq!(sides(&raw), None);
        (raw.tuple.family, raw.tuple.protocol) = (4, 17);
        (raw.tuple.source_port, raw.tuple.destination_port) = (53, 4000);
        raw.tracked = 1;
        let ports = |raw: &trace_event| {
            let (original, reply) = sides(raw).expect("tracked");
            (original.source.port(), reply.source.port())
        };
        assert_eq!(ports(&raw), (53, 4000));
        raw.tracked = 1 | tracked::REPLY;
        assert_eq!(ports(&raw), (4000, 53), "an answer: the other end asked");
        (raw.original.source_port, raw.reply.source_port) = (1, 2);
        raw.tracked |= tracked::TRANSLATED;
        assert_eq!(ports(&raw), (1, 2), "translated: conntrack's own");
    }

    #[test]
    fn a_frame_is_as_much_as_was_copied() {
        let mut raw: trace_event = blank();
        (raw.ether_type, raw.frame_length, raw.frame_copied) = (0x88cc, 120, 16);
        raw.frame[..2].copy_from_slice(&[1, 0x80]);
        let made = frame(&raw);
        assert_eq!((made.ether_type, made.length, made.bytes.len()), (0x88cc, 120, 16));
        assert_eq!(made.bytes[..3], [1, 0x80, 0]);
        raw.frame_copied = 9999;
        assert_eq!(frame(&raw).bytes.len(), 64, "never more than there is");
    }

    #[test]
    fn states_have_the_names_that_tools_print() {
        assert_eq!(tcp_state(2).as_str(), "SYN_SENT");
        assert_eq!(tcp_state(-1).as_str(), "?");
        assert_eq!(neighbour_state(0x20), "FAILED");
    }
}
