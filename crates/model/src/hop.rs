//! One packet on its way through the kernel, step by step.

use crate::{Name, Timestamp};
use serde::{Deserialize, Serialize};
use std::net::{IpAddr, SocketAddr};

/// One step of one packet, as one hook saw it.
///
/// Fields that the hook does not know are `None` (or empty). A hop says nothing
/// about the packet's other hops: what belongs together is found by [`PacketId`].
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Hop {
    /// When.
    pub at: Timestamp,
    /// Name of the node that saw it.
    pub node: Name,
    /// Where in the kernel.
    pub place: Place,
    /// What happened.
    pub step: Step,
    /// The headers as they were then.
    pub tuple: Tuple,
    /// The connection as it was before any address was translated, where the
    /// kernel tracks it (conntrack's original direction).
    pub original: Option<Tuple>,
    /// What this packet is known by.
    pub id: PacketId,
    /// The socket at this end, where the packet is at an end.
    pub socket: Option<Socket>,
    /// Name of the hook: a tracepoint (`net_dev_queue`) or function.
    pub hook: Name,
}

/// Where in the kernel a hop is.
#[derive(Clone, Debug, Default, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct Place {
    /// Inode of the network namespace, as `/proc/<pid>/ns/net` shows it.
    pub netns: Option<u32>,
    /// Number of the device within its namespace; 0 where there is none.
    pub ifindex: u32,
    /// Name of the device (`eth0`); empty where there is none.
    pub device: Name,
    /// Number of the device that the packet came in by; 0 where it was made here.
    pub came_in: u32,
    /// Which way it goes, seen from this namespace.
    pub direction: Direction,
}

/// Which way a packet goes, seen from the network namespace it is in.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Direction {
    /// It came from a device.
    In,
    /// It is handed to a device.
    Out,
    /// In between, or not known.
    #[default]
    Within,
}

/// What happened to a packet at one hop.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Step {
    /// A device handed it to the network stack.
    Received,
    /// The stack handed it to a device's queue.
    Queued,
    /// The queue handed it to the device's driver.
    Transmitted,
    /// A route was looked up.
    Routed(Route),
    /// Its next hop's link address had to be asked for.
    Neighbour(Neighbour),
    /// A socket took it.
    Delivered,
    /// TCP sends it again.
    Retransmitted,
    /// A reset goes out in answer to it.
    ResetSent,
    /// It was a reset, and it ended a connection.
    ResetReceived,
    /// The kernel answers it with an ICMP error.
    IcmpSent {
        /// ICMP type (3: unreachable, 11: time exceeded).
        kind: u8,
        /// Code within the type (3/13: administratively prohibited).
        code: u8,
    },
    /// A TCP socket changed its state (`SYN_SENT`, `CLOSE`).
    SocketState {
        /// State before.
        from: Name,
        /// State after.
        to: Name,
    },
    /// A socket had an error: its errno as a positive number.
    SocketError(i32),
    /// A socket's queue of received data is full.
    SocketFull,
    /// It was dropped.
    Dropped(Drop),
    /// A function of the kernel handled it.
    Called(Call),
}

/// What a function of the kernel did with a packet.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Call {
    /// The function (`nft_do_chain`).
    pub function: Name,
    /// What it returned; `None` where it was seen at its beginning.
    pub returned: Option<i32>,
    /// What it decided: `accept` or `drop` of firewalls; `local`, `forward` or a refusal
    /// of routing; `source` or `destination` of translation; a TCP socket's state. Empty
    /// where it decides nothing.
    pub meaning: Name,
    /// What decided, as its tool names it (`iptables filter`, `nft fw forward`); of routing
    /// the device that it leads to. Empty where there is none.
    pub object: Name,
    /// The place in netfilter, where it is in one.
    pub netfilter: Option<NetfilterHook>,
}

/// One lookup in a routing table.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Route {
    /// Number of the table (254: main, 255: local).
    pub table: u32,
    /// 0, or a negative errno: -11 no route in this table, -22 blackhole,
    /// -13 prohibit, -113 unreachable.
    pub error: i32,
    /// Source that was looked up; unspecified where it is not chosen yet.
    pub source: IpAddr,
    /// Destination that was looked up. The address of the packet's *source* in the
    /// reverse lookup that strict `rp_filter` does.
    pub destination: IpAddr,
    /// Gateway found; `None` where the destination is on the link.
    pub gateway: Option<IpAddr>,
    /// Number of the device found; 0 where there is none.
    pub ifindex: u32,
    /// Name of the device found.
    pub device: Name,
}

/// The state of a next hop's link address.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Neighbour {
    /// Address asked for; `None` where it is of no known family.
    pub address: Option<IpAddr>,
    /// State, as `ip neighbour` spells it (`INCOMPLETE`, `FAILED`).
    pub state: Name,
}

/// A packet's end, as far as the kernel says.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Drop {
    /// The kernel's reason without its prefix (`NETFILTER_DROP`); also subsystems'
    /// reasons. `NOT_SPECIFIED` where the kernel says none.
    pub reason: Name,
    /// Function that dropped it (`nf_hook_slow`); empty where it has no name.
    pub function: Name,
    /// Functions that led there, the innermost first, [`Drop::function`] included.
    /// Empty where no stack could be taken.
    pub stack: Vec<Name>,
    /// The netfilter hook that was passing it, read from the stack.
    pub netfilter: Option<NetfilterHook>,
}

/// The five places where netfilter looks at a packet.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "SCREAMING_SNAKE_CASE")]
pub enum NetfilterHook {
    /// Received, before routing.
    Prerouting,
    /// For this machine.
    Input,
    /// For another machine.
    Forward,
    /// Made here, before it leaves.
    Output,
    /// About to leave.
    Postrouting,
}

impl NetfilterHook {
    /// As `iptables` and `nft` spell it (`FORWARD`).
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Prerouting => "PREROUTING",
            Self::Input => "INPUT",
            Self::Forward => "FORWARD",
            Self::Output => "OUTPUT",
            Self::Postrouting => "POSTROUTING",
        }
    }
}

/// Addresses, ports and what else of the headers tells packets apart.
#[derive(Clone, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct Tuple {
    /// Source; the port is 0 where the protocol has none (or a fragment lacks it).
    pub source: SocketAddr,
    /// Destination, likewise.
    pub destination: SocketAddr,
    /// IP protocol number (6: TCP, 17: UDP, 1: ICMP, 58: `ICMPv6`).
    pub protocol: u8,
    /// TCP flags as in the header (2: SYN, 16: ACK, 4: RST, 1: FIN); 0 otherwise.
    pub tcp_flags: u8,
    /// ICMP type and code, where it is ICMP.
    pub icmp: Option<(u8, u8)>,
    /// Time to live or hop limit; 0 where not known.
    pub ttl: u8,
    /// Bytes of the IP packet, header included; 0 where not known.
    pub length: u16,
}

/// What a packet is known by from hop to hop.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct PacketId {
    /// Address of the kernel's record (`struct sk_buff`); reused after its end.
    pub skb: u64,
    /// Address of its data; shared by clones, changes when it is copied.
    pub head: u64,
    /// IPv4 identification; 0 for IPv6.
    pub ip_id: u16,
    /// TCP sequence number, or 0.
    pub sequence: u32,
    /// TCP acknowledgement number, ICMP identifier and sequence, or 0.
    pub acknowledgement: u32,
}

/// The socket at an end of a packet's way.
#[derive(Clone, Debug, Default, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct Socket {
    /// Its cookie: unique while the machine is up.
    pub cookie: u64,
    /// Process that was running then; only at a send in the process's own system
    /// call is that surely the owner. 0 where not known.
    pub pid: u32,
    /// That process's name.
    pub command: Name,
}

/// The thing that is at fault, found by looking at what the node has configured.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Blame {
    /// What class of thing.
    pub category: Category,
    /// The thing itself, as its tool names it: `iptables filter FORWARD rule 1`,
    /// `nft inet fw forward handle 7`, `route blackhole 10.9.0.0/16 table main`,
    /// `net.ipv4.ip_forward=0`.
    pub object: String,
    /// One sentence for somebody who knows no kernel.
    pub because: String,
    /// What to do, as a sentence or a command.
    pub advice: String,
    /// Whether the object was proved (the only candidate, or its counter moved)
    /// rather than inferred.
    pub proved: bool,
}

/// What class of thing stopped a packet.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Category {
    /// A rule of iptables, nftables or a policy.
    Firewall,
    /// A route, a routing rule, or the lack of one.
    Routing,
    /// A kernel setting.
    Sysctl,
    /// A link address that is missing or wrong.
    Neighbour,
    /// A device: down, wrong size, isolated.
    Device,
    /// A queue of a device is full or limits.
    Queue,
    /// No socket, or one that cannot take more.
    Socket,
    /// Address translation or connection tracking.
    Conntrack,
    /// A BPF program or XDP.
    Program,
    /// A tunnel.
    Tunnel,
    /// The packet itself is wrong (checksum, header).
    Packet,
    /// None of these could be shown.
    Unknown,
}
